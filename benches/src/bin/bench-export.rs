//! Exporting: writing a layer's archive again and compressing it, against `pigz` at the same level on the same bytes.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender, timed};
use layerstone_benches::operation::{self, Operation};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, mib, rate};
use layerstone_oci::{Compression, compress};

/// The level of `docker push`, `pigz` and `gzip` when none is asked for.
const LEVEL: &str = "6";

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let corpus = Corpus::open()?;
    let work = corpus.work()?;
    let one = corpus.layers(corpus::ONE)?.remove(0);
    let root = work.path().join("store");
    let name = Path::new(corpus::ONE);
    operation::run(Operation::Import, &[&corpus.layout(), name, &root])?;
    let archive = work.path().join("archive.tar");
    let blob = io::BufReader::new(File::open(&one.path)?);
    io::copy(&mut compress::decoder(Compression::Gzip, blob)?, &mut File::create(&archive)?)?;

    let mut contenders = vec![Contender::new("export", || {
        operation::run(Operation::Export, &[&root, name, Path::new(LEVEL)])
    })];
    let pigz = Command::new("pigz").arg("--version").output().is_ok();
    if pigz {
        contenders.push(Contender::new("pigz", || {
            timed(|| {
                let mut command = Command::new("pigz");
                command.args(["-c", &format!("-{LEVEL}")]).arg(&archive).stdout(Stdio::null());
                if command.status()?.success() { Ok(()) } else { Err("pigz failed".into()) }
            })
        }));
    }
    let medians = measure::in_turns(measure::rounds(3), &mut contenders)?;

    let export = medians.get("export")?;
    let mut report = Report::default();
    report.row("gzip export", export.seconds, " s", Goal::None);
    report.row("  archive bytes a second", rate(one.archive, export.seconds), " MiB/s", Goal::None);
    match medians.find("pigz") {
        Some(pigz) => {
            report.row("  rate against pigz", pigz.seconds / export.seconds, "", Goal::AtLeast(0.9));
            report.row("pigz", pigz.seconds, " s", Goal::None);
        }
        None => report.missing("  rate against pigz", "pigz is not installed"),
    }
    report.row("  peak memory", mib(export.peak_bytes), " MiB", Goal::AtMost(96.0));
    report.print(&format!("Export at gzip level {LEVEL}: {:.0} MiB archive", mib(one.archive)));
    Ok(())
}
