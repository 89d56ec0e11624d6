//! Reading all files through the kernel's mount of a stored layer, against the same files in a plain directory.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender, Sample, timed};
use layerstone_benches::operation::{self, Operation};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, mib};
use layerstone_store::Store;

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let corpus = Corpus::open()?;
    let work = corpus.work()?;
    let one = corpus.layers(corpus::ONE)?.remove(0);
    let root = work.path().join("store");
    operation::run(Operation::Import, &[&corpus.layout(), Path::new(corpus::ONE), &root])?;
    let plain = work.path().join("plain");
    fs::create_dir(&plain)?;
    run(Command::new("tar").arg("-xzf").arg(&one.path).arg("-C").arg(&plain))?;
    let store = Store::open(&root)?;
    let chain = store.image(corpus::ONE, None)?.top().ok_or("no layer")?;
    let mounted = Mounted::new(&store.layer(&chain)?.image_path(), work.path().join("mounted"))?;

    let cold = |directory: &Path| {
        let directory = directory.to_owned();
        move || {
            if !measure::drop_caches() {
                return Err("emptying the page cache needs root".into());
            }
            read_all(&directory)
        }
    };
    let warm = |directory: &Path| {
        let directory = directory.to_owned();
        move || {
            read_all(&directory)?;
            read_all(&directory)
        }
    };
    let mut contenders = [
        Contender::new("image, cold", cold(&mounted.0)),
        Contender::new("directory, cold", cold(&plain)),
        Contender::new("image, warm", warm(&mounted.0)),
        Contender::new("directory, warm", warm(&plain)),
    ];
    let medians = measure::in_turns(measure::rounds(3), &mut contenders)?;

    let mut report = Report::default();
    for (what, image, directory) in
        [("cold", "image, cold", "directory, cold"), ("warm", "image, warm", "directory, warm")]
    {
        let (image, directory) = (medians.get(image)?, medians.get(directory)?);
        report.row(format!("reading all files, {what}"), image.seconds, " s", Goal::None);
        report.row("  time against the directory", image.seconds / directory.seconds, "", Goal::AtMost(1.2));
        report.row("  the directory", directory.seconds, " s", Goal::None);
    }
    report.print(&format!("Reading {:.0} MiB through the mount", mib(one.archive)));
    Ok(())
}

/// A mounted image.
struct Mounted(PathBuf);

impl Mounted {
    fn new(image: &Path, at: PathBuf) -> Result<Self> {
        fs::create_dir(&at)?;
        run(Command::new("mount").args(["-t", "erofs", "-o", "ro"]).arg(image).arg(&at))?;
        Ok(Mounted(at))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.0)) {
            eprintln!("bench: {error}");
        }
    }
}

/// Reads every file below a directory, as `grep -r` would.
fn read_all(directory: &Path) -> Result<Sample> {
    timed(|| {
        let mut buffer = vec![0; 128 << 10];
        let mut todo = vec![directory.to_owned()];
        while let Some(directory) = todo.pop() {
            for entry in fs::read_dir(directory)? {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() {
                    todo.push(entry.path());
                } else if kind.is_file() {
                    let mut file = File::open(entry.path())?;
                    while file.read(&mut buffer)? > 0 {}
                }
            }
        }
        Ok(())
    })
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
