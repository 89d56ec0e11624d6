//! Archives to entries, and to an archive again, uncompressed and without hashing: against reading the archive twice, once by
//! `tar` for its members (it seeks over what is in the files) and once by `cat` for its bytes.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use layerstone_benches::corpus::{self, Corpus};
use layerstone_benches::measure::{self, Contender};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, mib};
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader, TarWriter};
use layerstone_layer::{Os, Report as Findings};

/// The input's buffer: as much as stays in the cache between being read and being used.
const BUFFER: usize = 256 << 10;

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench() -> Result<()> {
    let archive = Corpus::archive()?;
    let bytes = archive.metadata()?.len();
    let archive = archive.as_path();
    corpus::warm(archive)?;
    let entries = read(archive)?;

    let mut contenders = [
        Contender::new("tar tf", || run(Command::new("tar").arg("tf").arg(archive))),
        Contender::new("cat", || run(Command::new("cat").arg(archive))),
        Contender::new("tar to entries", || measure::timed(|| read(archive).map(drop))),
        Contender::new("tar to entries to tar", || measure::timed(|| copy(archive, null()?))),
    ];
    let medians = measure::in_turns(measure::rounds(9), &mut contenders)?;

    let bound = medians.get("tar tf")?.seconds + medians.get("cat")?.seconds;
    let mut report = Report::default();
    for name in ["tar to entries", "tar to entries to tar"] {
        let seconds = medians.get(name)?.seconds;
        report.row(name, bytes as f64 / 1e9 / seconds, " GB/s", Goal::AtLeast(1.0));
        report.row("  time against `tar tf` and `cat`", seconds / bound, "", Goal::AtMost(1.0));
    }
    report.row("tar tf", medians.get("tar tf")?.seconds, " s", Goal::None);
    report.row("cat", medians.get("cat")?.seconds, " s", Goal::None);
    report.print(&format!("Tar: {:.0} MiB, {entries} entries", mib(bytes)));
    Ok(())
}

fn null() -> Result<File> {
    Ok(File::options().write(true).open("/dev/null")?)
}

fn run(command: &mut Command) -> Result<measure::Sample> {
    let command = command.stdout(Stdio::from(null()?));
    measure::timed(|| {
        if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
    })
}

/// Reads every entry and every byte; how many entries there are.
fn read(archive: &Path) -> Result<u64> {
    let mut entries = 0;
    let mut payload = 0;
    each(archive, |piece| {
        match piece {
            Piece::Entry(entry) => {
                entries += 1;
                std::hint::black_box(entry);
            }
            Piece::Data(bytes) => payload += std::hint::black_box(bytes).len(),
        }
        Ok(())
    })?;
    std::hint::black_box(payload);
    Ok(entries)
}

fn copy(archive: &Path, output: File) -> Result<()> {
    let mut writer = TarWriter::new(BufWriter::with_capacity(BUFFER, output));
    each(archive, |piece| {
        match piece {
            Piece::Entry(entry) => writer.entry(&entry)?,
            Piece::Data(bytes) => writer.data(bytes)?,
        }
        Ok(())
    })?;
    writer.finish()?.flush()?;
    Ok(())
}

enum Piece<'a> {
    Entry(layerstone_layer::Entry),
    Data(&'a [u8]),
}

fn each(archive: &Path, mut take: impl FnMut(Piece<'_>) -> Result<()>) -> Result<()> {
    let mut reader = TarReader::new(BufReader::with_capacity(BUFFER, File::open(archive)?));
    let (mut mapper, mut findings) = (Mapper::new(Os::Linux), Findings::default());
    loop {
        match reader.next_event()? {
            Event::Raw(_) => {}
            Event::Member(member) => {
                if let Some(entry) = mapper.entry(&member, &mut findings)? {
                    take(Piece::Entry(entry))?;
                }
            }
            Event::Data(bytes) => take(Piece::Data(bytes))?,
            Event::End => return Ok(()),
        }
    }
}
