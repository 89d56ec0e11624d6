//! Importing what is broken, what lies, what is too much, at the same time, and with the process killed in the middle.

mod proof;

use std::fs;
use std::io::{Read as _, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layerstone_layer::Finding;
use layerstone_layer::LayerPath;
use layerstone_layer::view::LayerView as _;
use layerstone_oci::{DiffId, Digest};
use layerstone_store::import::Limits;
use layerstone_store::{Error, ImportOptions, Store};
#[cfg(target_os = "linux")]
use proof::disk::Mounted;
use proof::image::{LINUX, Layer, WINDOWS, chain_ids, import, import_from, verify_all, write_image};
use proof::skip;

/// A ustar archive of plain files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let entries = files.iter().map(|(name, data)| (*name, b'0', "", *data)).collect::<Vec<_>>();
    tar_of(&entries)
}

/// Name, type, link target and bytes of each entry.
fn tar_of(entries: &[(&str, u8, &str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, kind, target, data) in entries {
        let mut header = [0u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..108].copy_from_slice(b"0000644\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", data.len()).as_bytes());
        header[156] = *kind;
        header[157..157 + target.len()].copy_from_slice(target.as_bytes());
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&b| u32::from(b)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        out.extend_from_slice(&header);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn sample_tar() -> Vec<u8> {
    tar(&[("a", &noise(300_000, 1)), ("dir/b", b"text\n".repeat(5000).as_slice()), ("c", b"")])
}

/// An error with all its causes.
#[cfg(target_os = "linux")]
fn text(error: &Error) -> String {
    let mut out = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        out = format!("{out}: {error}");
        cause = error.source();
    }
    out
}

/// No layer, nothing in flight, no image.
fn assert_untouched(store: &Store, what: &str) {
    assert_eq!(store.layer_ids().unwrap(), [], "{what}");
    let left: Vec<_> = fs::read_dir(store.staging_root()).unwrap().collect();
    assert!(left.is_empty(), "{what}: {left:?}");
    assert!(store.images().unwrap().is_empty(), "{what}");
}

#[test]
fn nothing_broken_gets_into_the_store_and_good_bytes_do_afterwards() {
    let good = sample_tar();
    let (plain, gzip, zstd) = (Layer::tar(&good), Layer::gzip(&good), Layer::zstd(&good));
    let flipped = |layer: &Layer, at: usize| {
        let mut blob = layer.blob.clone();
        blob[at] ^= 0x10;
        blob
    };
    let half = |layer: &Layer| layer.blob[..layer.blob.len() / 2].to_vec();
    let mut wrong_size = gzip.clone();
    wrong_size.size += 1;
    let mut wrong_diff_id = gzip.clone();
    wrong_diff_id.diff_id = DiffId(Digest::of(b"something else"));
    let mut damaged_header = good.clone();
    damaged_header[0] ^= 1;
    let mut cases = vec![
        ("other bytes than the digest's", gzip.with_blob(Layer::gzip(b"other").blob), &gzip),
        ("a longer blob", gzip.with_blob([gzip.blob.clone(), b"more".to_vec()].concat()), &gzip),
        ("wrong size", wrong_size, &gzip),
        ("wrong DiffID", wrong_diff_id, &gzip),
        ("no bytes at all, said to be gzip", gzip.with_sound_blob(Vec::new()), &gzip),
        ("a header with a wrong checksum", plain.with_sound_blob(damaged_header), &plain),
        ("text", plain.with_sound_blob(b"<html>not found</html>".repeat(100)), &plain),
        ("bytes behind the gzip stream", gzip.with_sound_blob([&gzip.blob[..], &[0; 9]].concat()), &gzip),
    ];
    for (name, layer) in [("tar", &plain), ("gzip", &gzip), ("zstd", &zstd)] {
        cases.push((name, layer.with_blob(half(layer)), layer));
        cases.push((name, layer.with_sound_blob(half(layer)), layer));
        for at in (0..layer.blob.len()).step_by(layer.blob.len() / 12 + 1) {
            cases.push((name, layer.with_blob(flipped(layer, at)), layer));
            cases.push((name, layer.with_sound_blob(flipped(layer, at)), layer));
        }
    }
    for keep_blobs in [false, true] {
        let options = ImportOptions { keep_blobs, ..ImportOptions::default() };
        for (name, bad, good) in &cases {
            let folder = tempfile::tempdir().unwrap();
            let store = Store::create(folder.path().join("store")).unwrap();
            let source = folder.path().join("source");
            write_image(&source, "x:1", LINUX, std::slice::from_ref(bad));
            match import_from(&store, &source, "x:1", &options) {
                Err(error) => {
                    assert!(!matches!(error, Error::Worker(_)), "{name}: {error}");
                    assert_untouched(&store, name);
                    let blobs = store.layout().blob_path(&bad.digest);
                    assert!(!blobs.exists(), "{name}: a bad blob was kept");
                }
                // A bit of the compressed form that changes nothing, in a blob that is what it says.
                Ok(_) => assert!(bad.digest != good.digest && verify_all(&store) == 1, "{name}"),
            }
            write_image(&source, "x:1", LINUX, std::slice::from_ref(*good));
            import_from(&store, &source, "x:1", &options).unwrap();
            assert_eq!(verify_all(&store), 1, "{name}");
        }
    }
}

#[test]
fn a_failing_layer_leaves_the_finished_ones_below_it_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let base = Layer::gzip(&tar(&[("base", b"1")]));
    let top = Layer::gzip(&tar(&[("top", b"2")]));
    let bad = Layer { diff_id: DiffId(Digest::of(b"x")), ..top.clone() };
    let error = import(&store, LINUX, &[base.clone(), bad.clone(), top.clone()]).unwrap_err();
    assert!(matches!(error, Error::DiffIdMismatch { .. }), "{error}");
    let ids = store.layer_ids().unwrap();
    assert!(ids.is_empty() || ids == chain_ids(std::slice::from_ref(&base)), "{ids:?}");
    assert_eq!(fs::read_dir(store.staging_root()).unwrap().count(), 0);
    let imported = import(&store, LINUX, &[base, top]).unwrap();
    assert!(imported[1].unpacked);
    assert_eq!(verify_all(&store), 2);
}

#[test]
fn media_types_may_lie_and_bytes_do_not() {
    let bytes = sample_tar();
    let forms = [Layer::tar(&bytes), Layer::gzip(&bytes), Layer::zstd(&bytes)];
    for (at, layer) in forms.iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        let media_type = forms[(at + 1) % 3].media_type.clone();
        import(&store, LINUX, &[Layer { media_type, ..layer.clone() }]).unwrap();
        assert_eq!(verify_all(&store), 1);
    }
}

#[test]
fn an_empty_blob_is_an_empty_layer() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let imported = import(&store, LINUX, &[Layer::tar(b"")]).unwrap();
    assert_eq!(imported[0].description.counts.entries, 0);
    assert_eq!(imported[0].description.report.count(Finding::NoEndMarker), 1);
    assert_eq!(verify_all(&store), 1);
}

#[test]
fn bombs_are_stopped_by_the_limits() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path().join("store")).unwrap();
    let import = |layer: &Layer, limits: Limits| {
        let source = tempfile::tempdir().unwrap();
        write_image(source.path(), "x:1", LINUX, std::slice::from_ref(layer));
        import_from(&store, source.path(), "x:1", &ImportOptions { limits, ..ImportOptions::default() })
    };
    let bomb = Layer::gzip(&tar(&[("zeros", &vec![0; 256 << 20])]));
    assert!(bomb.size < 4 << 20);
    let limits = Limits { archive_bytes: 16 << 20, ..Limits::default() };
    assert!(matches!(import(&bomb, limits).unwrap_err(), Error::Limit { limit, .. } if limit == 16 << 20));
    assert_untouched(&store, "archive_bytes");

    let names: Vec<_> = (0..2000).map(|n| format!("f{n}")).collect();
    let many = Layer::tar(&tar(&names.iter().map(|name| (name.as_str(), &b""[..])).collect::<Vec<_>>()));
    let error = import(&many, Limits { entries: 1999, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, Error::Limit { what: "entries", limit: 1999, .. }), "{error}");
    assert_untouched(&store, "entries");
    import(&many, Limits { entries: 2000, ..Limits::default() }).unwrap();
}

#[test]
fn a_sparse_file_of_exabytes_is_an_error_or_costs_nothing() {
    for size in [1u64 << 40, 1 << 55, 1 << 62, i64::MAX as u64] {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        let mut pax = Vec::new();
        for (key, value) in
            [("GNU.sparse.size", size.to_string()), ("GNU.sparse.map", format!("{},1", size - 1))]
        {
            layerstone_layer::tar::pax::write(&mut pax, key.as_bytes(), value.as_bytes());
        }
        let archive = tar_of(&[("pax", b'x', "", &pax), ("s", b'0', "", b"x")]);
        let started = Instant::now();
        match import(&store, LINUX, &[Layer::tar(&archive)]) {
            Ok(imported) => {
                assert!(imported[0].description.image_size < 64 << 20, "{size}");
                assert_eq!(verify_all(&store), 1);
            }
            Err(error) => {
                assert!(matches!(error, Error::WriteImage { .. }), "{size}: {error}");
                assert_untouched(&store, "sparse");
            }
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{size}: {:?}", started.elapsed());
    }
}

#[test]
fn an_image_on_the_same_base_unpacks_only_its_own_layers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let layer = |n: u64| Layer::gzip(&tar(&[("file", &noise(5000, n))]));
    let unpacked = |layers: &[Layer]| -> Vec<bool> {
        import(&store, LINUX, layers).unwrap().iter().map(|layer| layer.unpacked).collect()
    };
    assert_eq!(unpacked(&[layer(1), layer(2)]), [true, true]);
    assert_eq!(unpacked(&[layer(1), layer(2), layer(3)]), [false, false, true]);
    // The same archive on another base is another layer: names and links depend on what is below.
    assert_eq!(unpacked(&[layer(2)]), [true]);
    assert_eq!(unpacked(&[layer(1), layer(2), layer(3)]), [false, false, false]);
    assert_eq!(verify_all(&store), 4);
}

/// Not a test: what the tests below run in processes of their own. Prints how many layers it unpacked.
#[test]
fn child_imports() {
    let Some(root) = std::env::var_os("PROOF_CHILD_STORE") else { return };
    let source = std::env::var_os("PROOF_CHILD_SOURCE").unwrap();
    let keep_blobs = std::env::var_os("PROOF_CHILD_KEEP").is_some();
    let jobs = NonZeroUsize::new(2).unwrap();
    let options = ImportOptions { keep_blobs, jobs, ..ImportOptions::default() };
    let store = Store::create(root).unwrap();
    let imported = import_from(&store, Path::new(&source), "x:1", &options).unwrap();
    println!("unpacked={};", imported.iter().filter(|layer| layer.unpacked).count());
}

fn child(store: &Path, source: &Path, failpoint: Option<&str>, keep_blobs: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child_imports", "--nocapture"]);
    command.env("PROOF_CHILD_STORE", store).env("PROOF_CHILD_SOURCE", source);
    if keep_blobs {
        command.env("PROOF_CHILD_KEEP", "1");
    }
    if let Some(failpoint) = failpoint {
        command.env("LAYERSTONE_FAILPOINT", failpoint);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn ten_processes_unpack_each_layer_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, source) = (folder.path().join("store"), folder.path().join("source"));
    let layers: Vec<_> =
        (0..5).map(|n| Layer::gzip(&tar(&[(&format!("f{n}"), &noise(400_000, n))]))).collect();
    write_image(&source, "x:1", LINUX, &layers);
    let children: Vec<_> = (0..10).map(|n| child(&store, &source, None, n % 2 == 0)).collect();
    let mut unpacked = 0;
    for child in children {
        let output = child.wait_with_output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
        let (_, rest) = stdout.split_once("unpacked=").unwrap();
        unpacked += rest.split_once(';').unwrap().0.parse::<usize>().unwrap();
    }
    assert_eq!(unpacked, layers.len());
    let store = Store::open(&store).unwrap();
    assert_eq!(verify_all(&store), layers.len());
    assert_eq!(fs::read_dir(store.staging_root()).unwrap().count(), 0);
    assert_eq!(store.images().unwrap().len(), 1);
    assert!(layers.iter().all(|layer| store.layout().has_blob(&layer.digest).unwrap()));
}

/// What must hold after a kill at any moment.
fn sound_after_kill(root: &Path, source: &Path, layers: usize) {
    if let Ok(store) = Store::open(root) {
        verify_all(&store);
        // Whatever is named is there.
        for image in store.images().unwrap() {
            for chain in image.chain_ids() {
                assert!(store.has_layer(&chain).unwrap());
            }
        }
    }
    let output = child(root, source, None, true).wait_with_output().unwrap();
    assert!(output.status.success(), "the retry: {}", String::from_utf8_lossy(&output.stderr));
    let store = Store::open(root).unwrap();
    assert_eq!(verify_all(&store), layers);
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(fs::read_dir(store.staging_root()).unwrap().count(), 0, "the retry sweeps what the kill left");
}

/// Only Linux has the points at which a process kills itself.
#[cfg(target_os = "linux")]
#[test]
fn killed_at_any_step_the_store_is_sound_and_a_retry_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let layers: Vec<_> =
        (0..3).map(|n| Layer::gzip(&tar(&[(&format!("f{n}"), &noise(50_000, n))]))).collect();
    write_image(&source, "x:1", LINUX, &layers);
    for step in [
        "import-staged",
        "import-unpacked",
        "import-finished",
        "import-blob-kept",
        "import-published",
        "import-layers-done",
        "import-blobs-done",
    ] {
        let root = folder.path().join(step);
        let output = child(&root, &source, Some(step), true).wait_with_output().unwrap();
        use std::os::unix::process::ExitStatusExt as _;
        assert_eq!(output.status.signal(), Some(9), "{step} was never reached");
        assert!(Store::open(&root).unwrap().images().unwrap().is_empty(), "{step}");
        sound_after_kill(&root, &source, layers.len());
    }
}

#[test]
fn killed_at_random_moments_the_store_is_sound_and_a_retry_succeeds() {
    let rounds = std::env::var("LAYERSTONE_CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source");
    let layers: Vec<_> =
        (0..4).map(|n| Layer::gzip(&tar(&[(&format!("f{n}"), &noise(600_000, n))]))).collect();
    write_image(&source, "x:1", LINUX, &layers);
    let started = Instant::now();
    assert!(child(&folder.path().join("whole"), &source, None, true).wait().unwrap().success());
    let whole = started.elapsed();
    let moments = noise(rounds * 2, 7);
    for round in 0..rounds {
        let root = folder.path().join(format!("round-{round}"));
        let part = u32::from(moments[2 * round]) * 256 + u32::from(moments[2 * round + 1]);
        let mut child = child(&root, &source, None, true);
        std::thread::sleep(whole * part / 65_536);
        child.kill().unwrap();
        child.wait().unwrap();
        sound_after_kill(&root, &source, layers.len());
        fs::remove_dir_all(&root).unwrap();
    }
}

/// Mounts a file system of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_leaves_nothing_and_does_not_stop_a_retry() {
    const TEST: &str = "a_full_disk_is_told_leaves_nothing_and_does_not_stop_a_retry";
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    fs::create_dir(&root).unwrap();
    let disk = match Mounted::tmpfs(&root, 6 << 20) {
        Ok(disk) => disk,
        Err(error) => return skip(TEST, &format!("mounting tmpfs: {error}")),
    };
    let store = Store::create(&root).unwrap();
    // Bytes for the image, and names for the split stream and the metadata.
    let names: Vec<_> = (0..5000).map(|n| format!("{n}-{}", "n".repeat(60))).collect();
    let many: Vec<_> =
        names.iter().map(|name| (name.as_str(), b"some bytes of a small file".as_slice())).collect();
    let layer = Layer::gzip(&[&tar(&[("big", &noise(12 << 20, 3))])[..12 << 20 | 512], &tar(&many)].concat());
    for keep in [false, true] {
        for size in [1u64 << 20, 3 << 20, 6 << 20, 11 << 20, (12 << 20) + (100 << 10)] {
            disk.resize(size).unwrap();
            let source = folder.path().join("source");
            write_image(&source, "x:1", LINUX, std::slice::from_ref(&layer));
            let options = ImportOptions { keep_blobs: keep, ..ImportOptions::default() };
            let Err(error) = import_from(&store, &source, "x:1", &options) else {
                panic!("{size} was enough")
            };
            assert!(text(&error).contains("No space left"), "{size}: {}", text(&error));
            assert_untouched(&store, "full disk");
            let blob = store.layout().blob_path(&layer.digest);
            assert!(!blob.exists());
        }
    }
    disk.resize(64 << 20).unwrap();
    import(&store, LINUX, std::slice::from_ref(&layer)).unwrap();
    assert_eq!(verify_all(&store), 1);
}

/// Mounts a file system of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_read_only_store_says_so() {
    const TEST: &str = "a_read_only_store_says_so";
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("store");
    fs::create_dir(&root).unwrap();
    let disk = match Mounted::tmpfs(&root, 8 << 20) {
        Ok(disk) => disk,
        Err(error) => return skip(TEST, &format!("mounting tmpfs: {error}")),
    };
    let store = Store::create(&root).unwrap();
    let base = Layer::tar(&tar(&[("a", b"1")]));
    import(&store, LINUX, std::slice::from_ref(&base)).unwrap();
    disk.freeze().unwrap();
    let error = import(&store, LINUX, &[base, Layer::tar(&tar(&[("b", b"2")]))]).unwrap_err();
    assert!(text(&error).contains("Read-only file system"), "{}", text(&error));
    // What is there can be read and proven.
    let store = Store::open(&root).unwrap();
    assert_eq!((verify_all(&store), store.images().unwrap().len()), (1, 1));
}

#[test]
fn a_directory_that_comes_again_without_an_entry_has_nothing_of_the_one_that_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    // 0644 is an odd mode for a directory, and not the one that directories without an entry get.
    let base = tar_of(&[("gone", b'5', "", b""), ("stays", b'5', "", b"")]);
    let top = tar_of(&[
        (".wh.gone", b'0', "", b""),
        ("gone/file", b'0', "", b"1"),
        ("stays/.wh..wh..opq", b'0', "", b""),
        ("stays/file", b'0', "", b"1"),
    ]);
    let layers = [Layer::tar(&base), Layer::tar(&top)];
    import(&store, LINUX, &layers).unwrap();
    let merged = store.merged(&chain_ids(&layers), layerstone_layer::Os::Linux).unwrap();
    let mode = |path| merged.resolve(&LayerPath::from(path), false).unwrap().unwrap().node.meta.mode;
    assert_eq!((mode("gone"), mode("stays")), (0o755, 0o644));
}

#[test]
fn windows_names_take_the_spelling_of_the_parent_layers() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let base = tar_of(&[
        ("Files", b'5', "", b""),
        ("Files/Windows", b'5', "", b""),
        ("Files/Windows/System32", b'5', "", b""),
        ("Files/Windows/System32/kernel.dll", b'0', "", b"base"),
        ("Files/Windows/old.txt", b'0', "", b"old"),
        ("Files/Windows/old.txt:note", b'0', "", b"a stream"),
    ]);
    let top = tar_of(&[
        ("Files/WINDOWS/system32/Kernel.DLL", b'0', "", b"top"),
        ("Files/windows/.wh.OLD.txt", b'0', "", b""),
        ("Files/link.dll", b'1', "Files/windows/SYSTEM32/kernel.dll", b""),
        ("Files/copy.txt", b'1', "Windows/OLD.TXT", b""),
        ("Files/con", b'0', "", b""),
        ("Files/Twice", b'0', "", b"1"),
        ("Files/tWICE", b'0', "", b"2"),
    ]);
    let layers = [Layer::tar(&base), Layer::gzip(&top)];
    let imported = import(&store, WINDOWS, &layers).unwrap();
    assert_eq!(verify_all(&store), 2);
    let report = &imported[1].description.report;
    assert!(report.count(Finding::Respelled) >= 3, "{report:?}");
    assert_eq!(report.count(Finding::CaseClash), 1);
    assert_eq!(report.count(Finding::WindowsName), 1);
    assert_eq!(report.count(Finding::UnprefixedLink), 1);
    let merged = store.merged(&chain_ids(&layers), layerstone_layer::Os::Windows).unwrap();
    let get = |path: &str| merged.resolve_spelled(&LayerPath::from(path), false).unwrap();
    let read = |path: &str, stream: Option<&[u8]>| {
        let (_, node) = get(path).unwrap_or_else(|| panic!("no {path}"));
        let (layer, nid) = node.sources[0];
        let mut text = String::new();
        merged.layers()[layer].open(&nid, stream).unwrap().read_to_string(&mut text).unwrap();
        text
    };
    let (spelled, _) = get("files/windows/system32/KERNEL.dll").unwrap();
    assert_eq!(spelled.to_string(), "Files/Windows/System32/kernel.dll");
    assert_eq!(read("Files/Windows/System32/kernel.dll", None), "top");
    assert_eq!(read("Files/link.dll", None), "top");
    assert!(get("Files/Windows/old.txt").is_none());
    assert_eq!(read("Files/copy.txt", None), "old");
    assert_eq!(read("Files/copy.txt", Some(b"note")), "a stream");
    let names: Vec<_> =
        merged.read_dir(&get("Files").unwrap().1).unwrap().into_iter().map(|(n, _)| n).collect();
    assert!(names.contains(&b"Windows".to_vec()) && !names.contains(&b"WINDOWS".to_vec()), "{names:?}");
}

#[test]
fn windows_metadata_and_streams_come_back_from_the_image_as_the_archive_has_them() {
    use layerstone_layer::tar::source::Mapper;
    use layerstone_layer::tar::{Event, TarReader};
    use layerstone_layer::{EntryKind, Os, Report};
    let all = proof::image::samples("layers");
    if all.is_empty() {
        return skip("windows_metadata", "no samples: set LAYERSTONE_TEST_DATA");
    }
    let mut checked = 0;
    for (path, archive) in all {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(folder.path()).unwrap();
        let imported = import(&store, WINDOWS, &[Layer::tar(&archive)]).unwrap();
        assert_eq!(verify_all(&store), 1, "{}", path.display());
        let layer = store.layer(&imported[0].description.chain_id).unwrap();
        let (mut mapper, mut report) = (Mapper::new(Os::Windows), Report::default());
        let mut reader = TarReader::new(&archive[..]);
        let merged = layerstone_layer::merge::Merged::new(vec![layer], Os::Windows);
        // Of entries with one name the last counts.
        let mut entries = std::collections::BTreeMap::new();
        loop {
            let member = match reader.next_event().unwrap() {
                Event::Member(member) => member,
                Event::End => break,
                _ => continue,
            };
            let Some(entry) = mapper.entry(&member, &mut report).unwrap() else { continue };
            let stream =
                if let EntryKind::Stream { name, .. } = &entry.kind { name.clone() } else { Vec::new() };
            if !matches!(entry.kind, EntryKind::HardLink { .. } | EntryKind::Whiteout | EntryKind::Opaque) {
                entries.insert((entry.path.clone(), stream), entry);
            }
        }
        for entry in entries.into_values() {
            let node = merged.resolve(&entry.path, false).unwrap();
            let node = node.unwrap_or_else(|| panic!("{}: no {}", path.display(), entry.path)).node;
            match entry.kind {
                EntryKind::Stream { name, size } => assert!(node.streams.contains(&(name, size))),
                _ => assert_eq!(node.meta, entry.meta, "{}: {}", path.display(), entry.path),
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}

#[test]
fn a_stream_with_the_longest_name_that_ntfs_has_is_kept() {
    let name = "\u{20ac}".repeat(255);
    let mut pax = Vec::new();
    layerstone_layer::tar::pax::write(&mut pax, b"path", format!("Files/f:{name}").as_bytes());
    let archive =
        tar_of(&[("Files/f", b'0', "", b"main"), ("pax", b'x', "", &pax), ("short", b'0', "", b"stream")]);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::create(folder.path()).unwrap();
    let layers = [Layer::tar(&archive)];
    import(&store, WINDOWS, &layers).unwrap();
    assert_eq!(verify_all(&store), 1);
    let merged = store.merged(&chain_ids(&layers), layerstone_layer::Os::Windows).unwrap();
    let node = merged.resolve(&LayerPath::from("Files/f"), false).unwrap().unwrap();
    assert_eq!(node.node.streams, [(name.clone().into_bytes(), 6)]);
    let mut text = String::new();
    let (layer, nid) = node.sources[0];
    merged.layers()[layer].open(&nid, Some(name.as_bytes())).unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "stream");
    std::io::sink().write_all(text.as_bytes()).unwrap();
}
