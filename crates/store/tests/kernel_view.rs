//! What the kernel shows of a stored layer, against what GNU tar unpacks from the same archive.
#![cfg(target_os = "linux")]

mod proof;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerstone_store::Store;
use proof::disk::{Mounted, Snapshot, differences, no_mounts, snapshot};
use proof::image::{LINUX, Layer, import, inflate, samples, verify_all};
use proof::skip;

/// Names that are not as GNU tar unpacks them, and why. Everything below such a name is left out of the comparison.
struct Deviation {
    archive: &'static str,
    names: &'static [&'static str],
    reason: &'static str,
}

///
/// In every archive: names that start with `.wh.` are instructions of a layer, not files of it.
const DEVIATIONS: &[Deviation] = &[
    Deviation {
        archive: "names.tar",
        names: &["up", "x", "y", "stay"],
        reason: "GNU tar leaves out names with `..`; here they are resolved inside the root",
    },
    Deviation {
        archive: "tar_relative-with-whiteouts.tar",
        names: &["another_folder", "folder"],
        reason: "GNU tar leaves out names with `..`",
    },
    Deviation {
        archive: "link-before-target.tar",
        names: &["a", "b", "z"],
        reason: "GNU tar gives up a link whose target comes later; here it finds it",
    },
    Deviation {
        archive: "full-directory-to-file.tar",
        names: &["dir"],
        reason: "GNU tar does not remove a full directory; here the last entry wins, as in container unpackers",
    },
];

/// An archive of samples that GNU tar does not unpack to the end, and why.
const GNU_TAR_FAILS: &[(&str, &str)] = &[
    ("names.tar", "names with `..`"),
    ("tar_relative-with-whiteouts.tar", "names with `..`"),
    ("nothing.tar", "no archive at all; as a layer, an empty one"),
    ("link-before-target.tar", "links without their target"),
    ("full-directory-to-file.tar", "a directory in the way"),
    ("ggcr-windows-input.tar.gz", "a hard link whose target has no Files/ prefix"),
    ("imgutil-windows-input.tar.gz", "a hard link whose target has no Files/ prefix"),
    ("windows-mini-image.tar.gz#0", "hard links whose targets were cut out of the sample"),
];

/// GNU tar takes Go's old GNU sparse map for another; libarchive reads it as Go does.
const BSDTAR_INSTEAD: &str = "golang_tar_sparse-formats.tar.gz";

fn unpack(name: &str, tar: &Path, into: &Path) -> bool {
    if name == BSDTAR_INSTEAD {
        let mut bsdtar = Command::new("bsdtar");
        return bsdtar
            .args(["--numeric-owner", "-p", "-C"])
            .arg(into)
            .arg("-xf")
            .arg(tar)
            .status()
            .unwrap()
            .success();
    }
    let output = Command::new("tar")
        .args([
            "--xattrs",
            "--xattrs-include=*",
            "--numeric-owner",
            "-p",
            "--same-owner",
            "--delay-directory-restore",
            "-C",
        ])
        .arg(into)
        .arg("-xf")
        .arg(tar)
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!("{}: {}", tar.display(), String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

fn fsck(image: &Path) {
    let output = Command::new("fsck.erofs").arg(image).output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "fsck.erofs {}: {text}", image.display());
}

/// Why this host cannot run the comparison.
fn missing() -> Option<String> {
    for tool in ["tar", "fsck.erofs", "python3", "bsdtar"] {
        if let Err(error) = Command::new(tool).arg("--version").output() {
            return Some(format!("{tool}: {error}"));
        }
    }
    no_mounts()
}

/// Imports an archive as an image of one layer and compares; the differences, as text.
fn compare(name: &str, tar: &[u8], folder: &Path) -> Vec<String> {
    let work = tempfile::tempdir_in(folder).unwrap();
    let store = Store::create(work.path().join("store")).unwrap();
    let imported = match import(&store, LINUX, &[Layer::tar(tar)]) {
        Ok(imported) => imported,
        Err(error) => return vec![format!("import: {error:?}")],
    };
    assert_eq!(verify_all(&store), 1, "{name}");
    let image = store.layer_path(&imported[0].description.chain_id).join("layer.erofs");
    fsck(&image);
    let ours = {
        let mounted = Mounted::erofs(&image).unwrap();
        snapshot(mounted.path())
    };
    // In memory: a disk takes longer for 100,000 files than all the rest.
    let unpacked = work.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    let _tmpfs = Mounted::tmpfs(&unpacked, 1 << 30).unwrap();
    let unpacked = unpacked.join("root");
    std::fs::create_dir(&unpacked).unwrap();
    let file = work.path().join("tar");
    std::fs::write(&file, tar).unwrap();
    let file_name = name.rsplit('/').next().unwrap_or_default();
    let fails = GNU_TAR_FAILS.iter().find(|(archive, _)| file_name == *archive);
    let complete = unpack(file_name, &file, &unpacked);
    if complete != fails.is_none() {
        return vec![format!("GNU tar unpacked all: {complete}; the table says {fails:?}")];
    }
    let left_out: Vec<_> = DEVIATIONS.iter().filter(|d| file_name == d.archive).collect();
    for deviation in &left_out {
        eprintln!("{name}: {:?} differ on purpose: {}", deviation.names, deviation.reason);
    }
    let compared = |all: Snapshot| -> Snapshot {
        let deviates = |path: &Path| {
            let marker = |name: &std::ffi::OsStr| name.as_encoded_bytes().starts_with(b".wh.");
            path.file_name().is_some_and(marker)
                || left_out.iter().any(|d| d.names.iter().any(|name| path.starts_with(name)))
        };
        let mut kept: Snapshot = all.into_iter().filter(|(path, _)| !deviates(path)).collect();
        // A file whose first name is left out is known by its next one.
        let gone: Vec<_> = kept.values().map(|i| i.first_name.clone()).filter(|p| deviates(p)).collect();
        for first in gone {
            let next = kept.iter().find(|(_, i)| i.first_name == first).map(|(path, _)| path.clone());
            for item in kept.values_mut().filter(|item| item.first_name == first) {
                item.first_name = next.clone().unwrap_or_default();
            }
        }
        kept
    };
    differences(&compared(ours), &compared(snapshot(&unpacked)))
}

fn report(failures: &[(String, Vec<String>)]) {
    for (name, differences) in failures {
        eprintln!("{name}: {} differences", differences.len());
        differences.iter().take(8).for_each(|difference| eprintln!("  {difference}"));
    }
    assert!(failures.is_empty());
}

#[test]
fn the_kernel_shows_of_every_archive_what_gnu_tar_unpacks() {
    const TEST: &str = "the_kernel_shows_of_every_archive_what_gnu_tar_unpacks";
    if let Some(reason) = missing() {
        return skip(TEST, &reason);
    }
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus");
    std::fs::create_dir(&corpus).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proof/corpus.py");
    assert!(Command::new("python3").arg(script).arg(&corpus).status().unwrap().success());
    let mut archives: Vec<PathBuf> = std::fs::read_dir(&corpus).unwrap().map(|e| e.unwrap().path()).collect();
    archives.retain(|path| path.extension().is_some_and(|extension| extension == "tar"));
    archives.sort();
    assert!(archives.len() >= 25, "{archives:?}");
    let mut failures = Vec::new();
    for path in archives {
        let started = std::time::Instant::now();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let differences = compare(&name, &std::fs::read(&path).unwrap(), folder.path());
        eprintln!("{name}: {:?}", started.elapsed());
        if !differences.is_empty() {
            failures.push((name, differences));
        }
    }
    report(&failures);
}

#[test]
fn the_kernel_shows_of_every_sample_what_gnu_tar_unpacks() {
    const TEST: &str = "the_kernel_shows_of_every_sample_what_gnu_tar_unpacks";
    if let Some(reason) = missing() {
        return skip(TEST, &reason);
    }
    let mut all = samples("linux");
    // Windows layers too, read as what they are to GNU tar: an archive like any other.
    all.extend(samples("layers"));
    if all.is_empty() {
        return skip(TEST, "no samples: set LAYERSTONE_TEST_DATA");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut failures = Vec::new();
    for (path, tar) in all {
        let name = path.to_string_lossy().into_owned();
        let mut archives = vec![(name.clone(), tar)];
        // The layers of images, each on its own.
        if let Ok(source) = layerstone_oci::open_source(&path, folder.path()) {
            for image in (0..source.images().len()).filter_map(|at| {
                let image = &source.images()[at];
                source.resolve(image.names.first().map(String::as_str), None).ok()
            }) {
                for (at, layer) in image.layers.iter().filter(|layer| layer.is_present()).enumerate() {
                    let mut blob = Vec::new();
                    // One sample's layers were cut down, and are not what its configuration says.
                    let mut reader = source.open_layer_unverified(layer).unwrap();
                    std::io::Read::read_to_end(&mut reader, &mut blob).unwrap();
                    archives.push((format!("{name}#{at}"), inflate(&blob)));
                }
            }
        }
        for (name, tar) in archives {
            let differences = compare(&name, &tar, folder.path());
            if !differences.is_empty() {
                failures.push((name, differences));
            }
        }
    }
    report(&failures);
}

/// GNU tar gives up on these.
#[test]
fn links_before_their_target_find_it() {
    const TEST: &str = "links_before_their_target_find_it";
    if let Some(reason) = missing() {
        return skip(TEST, &reason);
    }
    let tar = |entries: &[(&str, &str, &[u8])]| {
        let mut out = Vec::new();
        for (name, target, data) in entries {
            let mut header = [0u8; 512];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..108].copy_from_slice(b"0000644\0");
            header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
            header[156] = if target.is_empty() { b'0' } else { b'1' };
            header[157..157 + target.len()].copy_from_slice(target.as_bytes());
            header[148..156].fill(b' ');
            let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
            header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            out.extend_from_slice(&header);
            out.extend_from_slice(data);
            out.resize(out.len().next_multiple_of(512), 0);
        }
        out.resize(out.len() + 1024, 0);
        out
    };
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("store")).unwrap();
    let archive = tar(&[
        ("a", "b", b""),
        ("b", "c", b""),
        ("z", "a", b""),
        ("gone", "nowhere", b""),
        ("c", "", b"late"),
    ]);
    let imported = import(&store, LINUX, &[Layer::tar(&archive)]).unwrap();
    verify_all(&store);
    let image = store.layer_path(&imported[0].description.chain_id).join("layer.erofs");
    fsck(&image);
    let mounted = Mounted::erofs(&image).unwrap();
    let seen = snapshot(mounted.path());
    let names: Vec<_> = seen.keys().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(names, ["", "a", "b", "c", "z"]);
    assert!(seen.iter().all(|(path, item)| path.as_os_str().is_empty() || item.first_name == Path::new("a")));
    assert_eq!(std::io::read_to_string(File::open(mounted.path().join("z")).unwrap()).unwrap(), "late");
}
