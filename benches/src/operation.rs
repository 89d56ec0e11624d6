//! What is measured of ours, each run in a process of its own: `bench-* --child OPERATION ARGUMENTS` does it and prints
//! the time and the peak memory.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::process::{Command, ExitCode};

use layerstone_oci::compress::{self, Encoder};
use layerstone_oci::{Compression, SourceLayer, open_source};
use layerstone_registry::{Client, ClientOptions, Select};
use layerstone_store::import::LayerBlobs;
use layerstone_store::{ImportOptions, Store};

use crate::Result;
use crate::measure::{Sample, timed};

/// Something of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `LAYOUT NAME ROOT`: imports an image into the store at `ROOT`, made if needed.
    Import,
    /// `REFERENCE ROOT`: pulls an image from a registry without TLS into the store at `ROOT`, made if needed.
    Pull,
    /// `ROOT NAME`: proves all layers of an image.
    Verify,
    /// `ROOT NAME LEVEL`: writes the archives of all layers again, compressed with gzip, to nowhere.
    Export,
    /// `BLOB`: inflates a blob to nowhere.
    Inflate,
}

const OPERATIONS: [(Operation, &str); 5] = [
    (Operation::Import, "import"),
    (Operation::Pull, "pull"),
    (Operation::Verify, "verify"),
    (Operation::Export, "export"),
    (Operation::Inflate, "inflate"),
];

/// `main` of every bench: the operation, when this process was started for one, otherwise the bench.
pub fn main(bench: fn() -> Result<()>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.as_slice() {
        [child, name, rest @ ..] if child == "--child" => child_main(name, rest),
        _ => bench(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Runs an operation in a child process.
///
/// # Errors
/// When the child fails.
pub fn run(operation: Operation, arguments: &[&Path]) -> Result<Sample> {
    let name = OPERATIONS.iter().find(|(known, _)| *known == operation).map_or("", |(_, name)| name);
    let output = Command::new(std::env::current_exe()?)
        .args(["--child", name])
        .args(arguments)
        .stderr(std::process::Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("{name} failed").into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (seconds, peak) = text.trim().split_once(' ').ok_or("the child said nothing")?;
    Ok(Sample { seconds: seconds.parse()?, peak_bytes: peak.parse()? })
}

fn child_main(name: &str, arguments: &[String]) -> Result<()> {
    let sample = match (name, arguments) {
        ("import", [layout, name, root]) => timed(|| import(layout, name, root)),
        ("pull", [reference, root]) => timed(|| pull(reference, root)),
        ("verify", [root, name]) => timed(|| verify(root, name)),
        ("export", [root, name, level]) => timed(|| export(root, name, level)),
        ("inflate", [blob]) => timed(|| inflate(blob)),
        _ => Err("no such operation".into()),
    }?;
    println!("{} {}", sample.seconds, peak_memory()?);
    Ok(())
}

fn import(layout: &str, name: &str, root: &str) -> Result<()> {
    let source = open_source(Path::new(layout), Path::new(root).parent().unwrap_or(Path::new("/")))?;
    let image = source.resolve(Some(name), None)?;
    let store = Store::create(root)?;
    store.import_image(&source, &image, name, &ImportOptions::default(), &|_| {})?;
    Ok(())
}

/// A registry as a source of layers.
struct Remote(layerstone_registry::Pull);

impl LayerBlobs for Remote {
    fn open(&self, layer: &SourceLayer) -> layerstone_store::Result<Box<dyn io::Read + Send + '_>> {
        Ok(Box::new(self.0.blob(&layer.descriptor, 0)))
    }
}

fn pull(reference: &str, root: &str) -> Result<()> {
    let options = ClientOptions { plain_http: true, ..ClientOptions::default() };
    let remote = Remote(Client::new(options)?.resolve(reference, &Select::Host)?);
    let store = Store::create(root)?;
    let image = remote.0.images().first().ok_or("no image")?;
    store.import_image(&remote, image, reference, &ImportOptions::default(), &|_| {})?;
    Ok(())
}

fn verify(root: &str, name: &str) -> Result<()> {
    let store = Store::open(root)?;
    for chain in store.image(name, None)?.chain_ids() {
        let verified = store.layer(&chain)?.verify(&|_| {})?;
        if let Some(damage) = verified.damage.first() {
            return Err(damage.to_string().into());
        }
    }
    Ok(())
}

fn export(root: &str, name: &str, level: &str) -> Result<()> {
    let store = Store::open(root)?;
    for chain in store.image(name, None)?.chain_ids() {
        let mut encoder = Encoder::new(Compression::Gzip, Some(level.parse()?), None, io::sink())?;
        store.layer(&chain)?.write_archive(&mut encoder)?;
        encoder.finish()?;
    }
    Ok(())
}

fn inflate(blob: &str) -> Result<()> {
    let input = BufReader::with_capacity(256 << 10, File::open(blob)?);
    let mut decoder = compress::decoder(Compression::Gzip, input)?;
    // As large as what the import inflates at once.
    let mut buffer = vec![0; 512 << 10];
    while io::Read::read(&mut decoder, &mut buffer)? > 0 {}
    Ok(())
}

/// The most memory that this process had, in bytes.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? * 1024)
}
