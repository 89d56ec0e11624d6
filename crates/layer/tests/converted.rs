//! One Linux layer that three tools made a Windows layer of: what they mean is the same.
//!
//! What differs by their design is Windows' own metadata, and is listed here: the security descriptor (BuildKit two of them,
//! imgutil by owner, go-containerregistry one), attributes (BuildKit 16 and 32, the others none) and the creation time (BuildKit
//! the modification time, the others none, which reads as that). Everything else is compared: names, kinds, bytes, links, modes,
//! owners, times, extended attributes, whiteouts.

#[path = "common/layers.rs"]
mod layers;

use std::io::Read;

use layers::{Layer, Seen, entries, walk};
use layerstone_layer::view::NodeKind;
use layerstone_layer::{EntryKind, Finding, Os};
use layerstone_nt::FileTime;

const CONVERTED: [&str; 3] =
    ["ggcr-windows-input.tar.gz", "imgutil-windows-input.tar.gz", "buildkit-windows-input.tar.gz"];

fn archive(test: &str, name: &str) -> Option<Vec<u8>> {
    let path = layerstone_testing::sample(test, &format!("layers/{name}"))?;
    let bytes = std::fs::read(path).unwrap();
    if !name.ends_with(".gz") {
        return Some(bytes);
    }
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out).unwrap();
    Some(out)
}

fn converted(test: &str, name: &str) -> Option<Vec<u8>> {
    archive(test, &format!("converted/{name}"))
}

/// Without what the tools differ in by design, and without the layers' numbering of files.
fn comparable(mut seen: Vec<Seen>) -> Vec<Seen> {
    for Seen { node, .. } in &mut seen {
        node.meta.windows = None;
        node.inode = 0;
    }
    seen
}

#[test]
fn three_converters_mean_the_same_tree_which_is_the_input() {
    const TEST: &str = "three_converters_mean_the_same_tree_which_is_the_input";
    let Some(input) = converted(TEST, "input.tar.gz") else { return };
    let expected = comparable(walk(&[&Layer::read(&input, Os::Linux)], "", Os::Linux));
    assert_eq!(expected.len(), 18);
    assert!(expected.iter().any(|seen| seen.first != seen.path), "a hard link is among them");
    for name in CONVERTED {
        let Some(archive) = converted(TEST, name) else { return };
        let layer = Layer::read(&archive, Os::Windows);
        let found = comparable(walk(&[&layer], "Files", Os::Windows));
        for (ours, expected) in found.iter().zip(&expected) {
            assert_eq!(ours, expected, "{name}");
        }
        assert_eq!(found.len(), expected.len(), "{name}");
        assert_eq!(removals(&archive, Os::Windows, "Files/"), removals(&input, Os::Linux, ""), "{name}");
    }
}

/// Whiteouts and opaque markers below a directory.
fn removals(archive: &[u8], os: Os, below: &str) -> Vec<(String, EntryKind)> {
    let (entries, _) = entries(archive, os);
    let removals: Vec<_> = entries
        .into_iter()
        .filter(|(entry, _)| matches!(entry.kind, EntryKind::Whiteout | EntryKind::Opaque))
        .map(|(entry, _)| (entry.path.to_string().strip_prefix(below).unwrap().to_owned(), entry.kind))
        .collect();
    assert_eq!(removals.len(), 2);
    removals
}

#[test]
fn over_a_base_layer_they_still_mean_the_same() {
    const TEST: &str = "over_a_base_layer_they_still_mean_the_same";
    let Some(base) = converted(TEST, "imgutil-windows-baselayer.tar") else { return };
    let base = Layer::read(&base, Os::Windows);
    let mut first: Option<Vec<Seen>> = None;
    for name in CONVERTED {
        let Some(archive) = converted(TEST, name) else { return };
        let layer = Layer::read(&archive, Os::Windows);
        let found = comparable(walk(&[&layer, &base], "", Os::Windows));
        // Of the roots each tool has metadata of its own.
        let found: Vec<_> =
            found.into_iter().filter(|seen| !["/Files", "/Hives"].contains(&seen.path.as_str())).collect();
        assert!(found.iter().any(|seen| seen.path == "/Files/Windows/System32/config/SYSTEM"), "{name}");
        assert!(
            found.iter().any(|seen| seen.path == "/UtilityVM/Files/EFI/Microsoft/Boot/BCD"
                && seen.bytes.starts_with(b"regf"))
        );
        match &first {
            None => first = Some(found),
            Some(first) => assert_eq!(*first, found, "{name}"),
        }
    }
}

/// What each tool gives Windows: descriptors (how many kinds), and which attributes.
#[test]
fn what_the_converters_drop_or_make_up_is_what_is_on_record() {
    const TEST: &str = "what_the_converters_drop_or_make_up_is_what_is_on_record";
    for (name, descriptors, attributes) in
        [(CONVERTED[0], 1, vec![0, 16]), (CONVERTED[1], 2, vec![0, 16]), (CONVERTED[2], 2, vec![0, 16, 32])]
    {
        let Some(archive) = converted(TEST, name) else { return };
        let (entries, _) = entries(&archive, Os::Windows);
        let windows: Vec<_> = entries.iter().filter_map(|(entry, _)| entry.meta.windows.as_ref()).collect();
        let mut found: Vec<_> = windows.iter().filter_map(|part| part.security_descriptor.clone()).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), descriptors, "{name}");
        let mut bits: Vec<u32> = windows.iter().map(|part| part.basic.attributes.0).collect();
        bits.sort_unstable();
        bits.dedup();
        assert_eq!(bits, attributes, "{name}");
        for part in windows {
            assert_eq!(part.basic.creation, part.basic.last_write, "{name}");
            assert_eq!(part.basic.last_access, FileTime::NOT_SET, "{name}");
            assert!(part.eas.is_empty(), "{name}: a Linux attribute is none of NTFS");
        }
    }
}

#[test]
fn the_links_that_buildkit_prefixes_wrongly_are_counted() {
    const TEST: &str = "the_links_that_buildkit_prefixes_wrongly_are_counted";
    let Some(archive) = converted(TEST, CONVERTED[2]) else { return };
    let (entries, report) = entries(&archive, Os::Windows);
    assert_eq!(report.count(Finding::PrefixedLinkTarget), 2);
    assert_eq!(report.count(Finding::TrailingSlash), 4);
    assert_eq!(report.count(Finding::UnprefixedLink), 0);
    let target = |path: &str| {
        let (entry, _) = entries.iter().find(|(entry, _)| entry.path.to_string() == path).unwrap();
        let EntryKind::Symlink { target } = &entry.kind else { panic!("{path}") };
        let reparse = entry.meta.windows.as_ref().unwrap().reparse.as_ref().unwrap();
        (String::from_utf8(target.clone()).unwrap(), reparse.target().unwrap().to_string())
    };
    assert_eq!(target("Files/app/link-rel"), ("sub/user.txt".into(), r"sub\user.txt".into()));
    assert_eq!(target("Files/app/link-abs"), ("/app/hello.exe".into(), r"\app\hello.exe".into()));
}

#[test]
fn the_links_without_prefix_of_two_tools_are_counted() {
    const TEST: &str = "the_links_without_prefix_of_two_tools_are_counted";
    for name in &CONVERTED[..2] {
        let Some(archive) = converted(TEST, name) else { return };
        let (_, report) = entries(&archive, Os::Windows);
        assert_eq!(report.count(Finding::UnprefixedLink), 1, "{name}");
        assert_eq!(report.count(Finding::PrefixedLinkTarget), 0, "{name}");
    }
}

#[test]
fn a_doubled_files_of_ggcr_is_one_directory_and_counted() {
    const TEST: &str = "a_doubled_files_of_ggcr_is_one_directory_and_counted";
    let Some(archive) = converted(TEST, "ggcr-windows-content.tar") else { return };
    let layer = Layer::read(&archive, Os::Windows);
    assert_eq!(layer.report.count(Finding::Duplicate), 1);
    let paths: Vec<_> = walk(&[&layer], "", Os::Windows).into_iter().map(|seen| seen.path).collect();
    assert_eq!(paths, ["/Files", "/Files/bat", "/Files/baz", "/Hives"]);
}

#[test]
fn a_base_layer_of_imgutil_has_its_hives_and_its_utility_vm() {
    const TEST: &str = "a_base_layer_of_imgutil_has_its_hives_and_its_utility_vm";
    let Some(archive) = converted(TEST, "imgutil-windows-baselayer.tar") else { return };
    let layer = Layer::read(&archive, Os::Windows);
    let benign = |finding: Finding| finding.is_benign();
    assert!(layer.report.iter().all(|(finding, _)| benign(finding)), "{:?}", layer.report);
    let seen = walk(&[&layer], "", Os::Windows);
    // Directories of mode 0 can be entered all the same.
    for directory in seen.iter().filter(|seen| seen.node.kind.is_directory()) {
        assert_eq!(directory.node.meta.mode, 0o755, "{}", directory.path);
    }
    let sizes: Vec<_> = seen
        .iter()
        .filter_map(|seen| match seen.node.kind {
            NodeKind::File { size } => Some((seen.path.rsplit('/').next().unwrap(), size)),
            _ => None,
        })
        .collect();
    assert_eq!(
        sizes,
        [("DEFAULT", 0), ("SAM", 0), ("SECURITY", 0), ("SOFTWARE", 0), ("SYSTEM", 0), ("BCD", 12288)]
    );
}

#[test]
fn the_image_of_container_inspector_is_a_windows_layer() {
    const TEST: &str = "the_image_of_container_inspector_is_a_windows_layer";
    let Some(archive) = archive(TEST, "container-inspector/windows-container-rootfs.tar") else { return };
    let layer = Layer::read(&archive, Os::Windows);
    assert!(layer.report.iter().all(|(finding, _)| finding.is_benign()), "{:?}", layer.report);
    assert!(layer.report.count(Finding::TrailingSlash) > 5);
    let seen = walk(&[&layer], "Files", Os::Windows);
    assert!(seen.iter().any(|seen| seen.path == "/License.txt" && seen.bytes.len() == 5510));
}
