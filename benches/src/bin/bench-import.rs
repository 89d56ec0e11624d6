//! Importing: against `tar`, `umoci`, containerd and inflating alone; peak memory by size; eight layers; a shared base.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender, Sample, timed};
use layerstone_benches::operation::{self, Operation};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, containerd, mib, rate};

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let corpus = Corpus::open()?;
    let layout = corpus.layout();
    let work = corpus.work()?;
    let one = corpus.layers(corpus::ONE)?.remove(0);
    let eight = corpus.layers(corpus::EIGHT)?;
    let large = corpus.layers(corpus::LARGE)?.remove(0);
    corpus::warm(&one.path)?;

    let import = |name: &'static str| {
        let (layout, work) = (&layout, work.path());
        move || import_fresh(layout, name, work)
    };
    let archive = if containerd::available() {
        Some(containerd::archive(&layout, corpus::ONE, work.path().join("image.tar"))?)
    } else {
        None
    };
    let mut contenders = vec![
        Contender::new("import", import(corpus::ONE)),
        Contender::new("import, 8 layers", import(corpus::EIGHT)),
        Contender::new("inflate alone", || operation::run(Operation::Inflate, &[&one.path])),
        Contender::new("tar xzf + sync", || untar(&one.path, work.path())),
        Contender::new("shared base", || import_child(&layout, work.path())),
    ];
    let umoci = Command::new("umoci").arg("--version").output().is_ok();
    if umoci {
        contenders.push(Contender::new("umoci unpack", || unpack_umoci(&layout, work.path())));
    }
    if let Some(archive) = &archive {
        contenders.push(Contender::new("containerd import", || containerd::import(archive, work.path())));
    }
    let medians = measure::in_turns(measure::rounds(3), &mut contenders)?;
    let at_large = import_fresh(&layout, corpus::LARGE, work.path())?;

    let ours = medians.get("import")?;
    let against = |name: &str| {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(ours.seconds / medians.get(name)?.seconds)
    };
    let mut report = Report::default();
    report.row("import of one gzip layer", ours.seconds, " s", Goal::None);
    report.row("  archive bytes a second", rate(one.archive, ours.seconds), " MiB/s", Goal::None);
    report.row("  time against tar xzf and sync", against("tar xzf + sync")?, "", Goal::AtMost(0.40));
    if umoci {
        report.row("  time against umoci unpack", against("umoci unpack")?, "", Goal::AtMost(0.20));
    } else {
        report.missing("  time against umoci unpack", "umoci is not installed");
    }
    if archive.is_some() {
        report.row("  time against containerd", against("containerd import")?, "", Goal::None);
    } else {
        report.missing("  time against containerd", "containerd and root are needed");
    }
    report.row("  time against inflating alone", against("inflate alone")?, "", Goal::AtMost(1.25));
    report.row("  peak memory", mib(ours.peak_bytes), " MiB", Goal::AtMost(96.0));
    let times = large.archive as f64 / one.archive as f64;
    let what = format!("  peak memory at {times:.1} times the size");
    report.row(what, mib(at_large.peak_bytes), " MiB", Goal::AtMost(96.0));
    let parts = medians.get("import, 8 layers")?;
    let bytes = eight.iter().map(|layer| layer.archive).sum();
    let faster = rate(bytes, parts.seconds) / rate(one.archive, ours.seconds);
    report.row("import of 8 layers, rate against one layer", faster, "", Goal::AtLeast(1.6));
    report.row("  peak memory", mib(parts.peak_bytes), " MiB", Goal::None);
    let child = medians.get("shared base")?;
    report.row("import of an image whose base is stored", child.seconds, " s", Goal::None);
    for name in ["inflate alone", "tar xzf + sync", "umoci unpack", "containerd import"] {
        if let Some(sample) = medians.find(name) {
            report.row(name, sample.seconds, " s", Goal::None);
        }
    }
    report.print(&format!(
        "Import: {:.0} MiB archive, {:.0} MiB gzip, from /usr",
        mib(one.archive),
        mib(one.compressed)
    ));
    Ok(())
}

/// Imports into a new store, and deletes it.
fn import_fresh(layout: &Path, name: &str, work: &Path) -> Result<Sample> {
    let root = work.join("store");
    let sample = operation::run(Operation::Import, &[layout, Path::new(name), &root])?;
    fs::remove_dir_all(root)?;
    Ok(sample)
}

/// Imports an image into a store that has its base.
fn import_child(layout: &Path, work: &Path) -> Result<Sample> {
    let root = work.join("store");
    operation::run(Operation::Import, &[layout, Path::new(corpus::ONE), &root])?;
    measure::settle();
    let sample = operation::run(Operation::Import, &[layout, Path::new(corpus::CHILD), &root])?;
    fs::remove_dir_all(root)?;
    Ok(sample)
}

fn untar(blob: &Path, work: &Path) -> Result<Sample> {
    let directory = work.join("tar");
    fs::create_dir(&directory)?;
    let sample = timed(|| {
        run(Command::new("tar").arg("-xzf").arg(blob).arg("-C").arg(&directory))?;
        measure::settle();
        Ok(())
    })?;
    fs::remove_dir_all(directory)?;
    Ok(sample)
}

fn unpack_umoci(layout: &Path, work: &Path) -> Result<Sample> {
    let bundle = work.join("umoci");
    let mut image = layout.as_os_str().to_owned();
    image.push(":");
    image.push(corpus::ONE);
    let sample = timed(|| run(Command::new("umoci").args(["unpack", "--image"]).arg(image).arg(&bundle)))?;
    fs::remove_dir_all(bundle)?;
    Ok(sample)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
