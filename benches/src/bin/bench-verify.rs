//! Verifying: against the import of the same image.

use std::path::Path;
use std::process::ExitCode;

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender};
use layerstone_benches::operation::{self, Operation};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, mib, rate};

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let corpus = Corpus::open()?;
    let layout = corpus.layout();
    let work = corpus.work()?;
    let one = corpus.layers(corpus::ONE)?.remove(0);
    let kept = work.path().join("kept");
    let name = Path::new(corpus::ONE);
    operation::run(Operation::Import, &[&layout, name, &kept])?;

    let mut contenders = [
        Contender::new("import", || {
            let root = work.path().join("store");
            let sample = operation::run(Operation::Import, &[&layout, name, &root])?;
            std::fs::remove_dir_all(root)?;
            Ok(sample)
        }),
        Contender::new("verify", || operation::run(Operation::Verify, &[&kept, name])),
    ];
    let medians = measure::in_turns(measure::rounds(3), &mut contenders)?;

    let (import, verify) = (medians.get("import")?, medians.get("verify")?);
    let mut report = Report::default();
    report.row("verify", verify.seconds, " s", Goal::None);
    report.row("  archive bytes a second", rate(one.archive, verify.seconds), " MiB/s", Goal::None);
    report.row("  time against import", verify.seconds / import.seconds, "", Goal::AtMost(1.0));
    report.row("  peak memory", mib(verify.peak_bytes), " MiB", Goal::AtMost(96.0));
    report.row("import", import.seconds, " s", Goal::None);
    report.print(&format!("Verify: {:.0} MiB archive", mib(one.archive)));
    Ok(())
}
