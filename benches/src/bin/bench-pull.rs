//! Pulling from a registry on the loopback device, until everything is unpacked and on the disk: against `skopeo copy` with
//! `umoci unpack`, and against containerd. The registry's own work is in all of them.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender, Sample, timed};
use layerstone_benches::operation::{self, Operation};
use layerstone_benches::registry::{self, Registry};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, containerd, mib, rate};

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if !registry::available() || !there("skopeo") {
        return Err("docker-registry and skopeo are needed".into());
    }
    let corpus = Corpus::open()?;
    let layout = corpus.layout();
    let work = corpus.work()?;
    let registry = Registry::start(&work.path().join("registry"))?;
    let (one, eight) =
        (publish(&layout, corpus::ONE, &registry)?, publish(&layout, corpus::EIGHT, &registry)?);
    let blob = corpus.layers(corpus::ONE)?.remove(0);
    let parts = corpus.layers(corpus::EIGHT)?;

    let pull = |reference: String| {
        let work = work.path();
        move || pull_fresh(&reference, work)
    };
    let mut contenders = vec![
        Contender::new("pull", pull(one.clone())),
        Contender::new("pull, 8 layers", pull(eight.clone())),
    ];
    let umoci = there("umoci");
    if umoci {
        contenders.push(Contender::new("skopeo and umoci", || copy_and_unpack(&one, work.path())));
        contenders
            .push(Contender::new("skopeo and umoci, 8 layers", || copy_and_unpack(&eight, work.path())));
    }
    let daemon = containerd::available();
    if daemon {
        contenders.push(Contender::new("containerd", || containerd::pull(&one, work.path())));
    }
    contenders.push(Contender::new("import", || {
        let root = work.path().join("store");
        let sample = operation::run(Operation::Import, &[&layout, Path::new(corpus::ONE), &root])?;
        fs::remove_dir_all(root)?;
        Ok(sample)
    }));
    let medians = measure::in_turns(measure::rounds(3), &mut contenders)?;

    let ours = medians.get("pull")?;
    let many = medians.get("pull, 8 layers")?;
    let mut report = Report::default();
    report.row("pull of one gzip layer", ours.seconds, " s", Goal::None);
    report.row("  archive bytes a second", rate(blob.archive, ours.seconds), " MiB/s", Goal::None);
    if umoci {
        let theirs = medians.get("skopeo and umoci")?.seconds;
        report.row(
            "  time against skopeo copy and umoci unpack",
            ours.seconds / theirs,
            "",
            Goal::AtMost(0.25),
        );
    } else {
        report.missing("  time against skopeo copy and umoci unpack", "umoci is not installed");
    }
    if daemon {
        let theirs = medians.get("containerd")?.seconds;
        report.row("  time against ctr images pull", ours.seconds / theirs, "", Goal::None);
    } else {
        report.missing("  time against ctr images pull", "containerd and root are needed");
    }
    let import = medians.get("import")?.seconds;
    report.row("  time against an import from the disk", ours.seconds / import, "", Goal::None);
    report.row("  peak memory", mib(ours.peak_bytes), " MiB", Goal::None);
    report.row("pull of 8 layers", many.seconds, " s", Goal::None);
    if umoci {
        let theirs = medians.get("skopeo and umoci, 8 layers")?.seconds;
        report.row(
            "  time against skopeo copy and umoci unpack",
            many.seconds / theirs,
            "",
            Goal::AtMost(0.25),
        );
    }
    report.row("  peak memory", mib(many.peak_bytes), " MiB", Goal::AtMost(128.0));
    for name in ["skopeo and umoci", "skopeo and umoci, 8 layers", "containerd", "import"] {
        if let Some(sample) = medians.find(name) {
            report.row(name, sample.seconds, " s", Goal::None);
        }
    }
    let bytes: u64 = parts.iter().map(|part| part.compressed).sum();
    report.print(&format!(
        "Pull over loopback: {:.0} MiB archive, {:.0} MiB gzip in one layer, {:.0} MiB in eight",
        mib(blob.archive),
        mib(blob.compressed),
        mib(bytes),
    ));
    Ok(())
}

/// Puts an image of the corpus into the registry.
fn publish(layout: &Path, name: &str, registry: &Registry) -> Result<String> {
    let reference = format!("{}/bench/{name}:1", registry.host());
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"])
        .arg(format!("oci:{}:{name}", layout.display()))
        .arg(format!("docker://{reference}")))?;
    Ok(reference)
}

/// Pulls into a new store, and deletes it.
fn pull_fresh(reference: &str, work: &Path) -> Result<Sample> {
    let root = work.join("store");
    let sample = operation::run(Operation::Pull, &[Path::new(reference), &root])?;
    fs::remove_dir_all(root)?;
    Ok(sample)
}

fn copy_and_unpack(reference: &str, work: &Path) -> Result<Sample> {
    let (layout, bundle) = (work.join("copied"), work.join("umoci"));
    let sample = timed(|| {
        run(Command::new("skopeo")
            .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"])
            .arg(format!("docker://{reference}"))
            .arg(format!("oci:{}:image", layout.display())))?;
        run(Command::new("umoci")
            .args(["unpack", "--image"])
            .arg(format!("{}:image", layout.display()))
            .arg(&bundle))?;
        measure::settle();
        Ok(())
    })?;
    fs::remove_dir_all(layout)?;
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
