//! Reading registry hives: everything in a hive the size of a server's SOFTWARE, against `hivexml` on the same file, and against
//! reading the file alone.

use std::fs;
use std::hint::black_box;
use std::process::{Command, ExitCode, Stdio};

use layerstone_benches::measure::{self, Contender, timed};
use layerstone_benches::report::{Goal, Report};
use layerstone_benches::{Result, mib, operation, rate};
use layerstone_nt::hive::{Hive, HiveWriter, KeyTree, ValueTree, ValueType, Version};

/// Keys under the root, and keys under each of these.
const GROUPS: usize = 400;
const KEYS: usize = 500;
/// Rounds when none are asked for.
const ROUNDS: usize = 5;

fn main() -> ExitCode {
    operation::main(bench)
}

fn bench() -> Result<()> {
    let work = tempfile::tempdir()?;
    let path = work.path().join("SOFTWARE");
    fs::write(&path, HiveWriter::new(Version::V1_5).write(&software())?)?;
    let size = fs::metadata(&path)?.len();

    let mut contenders = vec![
        Contender::new("read", || {
            timed(|| {
                black_box(fs::read(&path)?);
                Ok(())
            })
        }),
        Contender::new("walk", || timed(|| walk(&fs::read(&path)?))),
        Contender::new("check", || {
            timed(|| {
                let check = Hive::open(fs::read(&path)?)?.check();
                if check.is_clean() { Ok(()) } else { Err("the hive is damaged".into()) }
            })
        }),
    ];
    // Without arguments it explains itself and fails.
    let hivexml = Command::new("hivexml").stderr(Stdio::null()).stdout(Stdio::null()).status().is_ok();
    if hivexml {
        contenders.push(Contender::new("hivexml", || {
            timed(|| {
                let status = Command::new("hivexml").arg(&path).stdout(Stdio::null()).status()?;
                if status.success() { Ok(()) } else { Err("hivexml failed".into()) }
            })
        }));
    }
    let medians = measure::in_turns(measure::rounds(ROUNDS), &mut contenders)?;

    let (walk, read) = (medians.get("walk")?, medians.get("read")?);
    let mut report = Report::default();
    report.row(
        "all keys and values with their data",
        rate(size, walk.seconds),
        " MiB/s",
        Goal::AtLeast(100.0),
    );
    report.row("  time against reading the file alone", walk.seconds / read.seconds, "", Goal::None);
    match medians.find("hivexml") {
        Some(hivexml) => {
            report.row("  time against hivexml", walk.seconds / hivexml.seconds, "", Goal::AtMost(1.0))
        }
        None => report.missing("  time against hivexml", "libhivex-bin is not installed"),
    }
    report.row("check", rate(size, medians.get("check")?.seconds), " MiB/s", Goal::None);
    report.print(&format!("Registry hive: {:.0} MiB, {} keys", mib(size), GROUPS * KEYS));
    Ok(())
}

/// Every key, its class and descriptor, and every value by its type.
fn walk(bytes: &[u8]) -> Result<()> {
    let hive = Hive::open(bytes)?;
    for key in hive.walk() {
        let key = key?;
        black_box((key.name().len(), key.class()?, key.security()?));
        for value in key.values() {
            let value = value?;
            black_box((value.name().len(), value.content()?));
        }
    }
    Ok(())
}

/// A tree as COM classes make it: many small keys, a few values each, now and then much data.
fn software() -> KeyTree {
    let mut root = KeyTree::root("ROOT");
    for group in 0..GROUPS {
        let mut above = KeyTree::new(format!("Vendor{group}.Product").as_str());
        for n in 0..KEYS {
            let mut key = KeyTree::new(format!("{{{group:08X}-{n:04X}-11D2-9A2B-00A0C91E7C4A}}").as_str());
            key.values.push(ValueTree::text("", ValueType::Sz, &format!("Class {n} of product {group}")));
            key.values.push(ValueTree::text(
                "InprocServer32",
                ValueType::ExpandSz,
                r"%SystemRoot%\system32\ole32.dll",
            ));
            key.values.push(ValueTree::dword("Version", n as u32));
            if n % 50 == 0 {
                key.values.push(ValueTree::new(
                    "Blob",
                    ValueType::Binary,
                    vec![n as u8; 1500 * (1 + n / 50)],
                ));
            }
            above.subkeys.push(key);
        }
        root.subkeys.push(above);
    }
    root
}
