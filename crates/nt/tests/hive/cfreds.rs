//! The CFReDS registry reference data of NIST: scripts that describe content, made into hives by this crate and by
//! `hivexregedit`, and both shown by `hivexml`.
//!
//! The `nr` scripts add keys and values: every type, names and trees of the largest size, other alphabets. The `nrd` scripts take away and
//! change what is there: what `hivexregedit` makes of them, a delta hive with tombstones has to make as well.

use std::collections::BTreeMap;
use std::path::Path;

use layerstone_nt::WideString;
use layerstone_nt::hive::{
    Hive, HiveWriter, KeyTree, LayerSemantics, Merged, MergedKey, Problem, ProblemKind, ValueTree, ValueType,
    Version,
};

use crate::hivex::{Shown, compare, hivexml, shown_value};
use crate::support::sample;

const ROOT: &str = r"HKEY_LOCAL_MACHINE\ROOT";

/// The scripts that add, with their keys and values.
const SCRIPTS: [(&str, usize, usize); 6] = [
    ("_nr_-01-1_possible-data-types", 1, 12),
    ("_nr_-02-1_simple-tree-structure", 15, 12),
    ("_nr_-03-1_tree-structure-with-the-maximum-levels", 508, 1),
    ("_nr_-04-1_maximum-key-name-length", 6, 4),
    ("_nr_-05-1_maximum-value-name-length", 3, 3),
    ("_nr_-07-1_non-ascii-characters", 8, 16),
];

/// The scripts that take away and change.
const EDITS: [&str; 10] = [
    "_nrd_-01-1_delete-keys-with-values-but-without-subkeys",
    "_nrd_-02-1_delete-keys-with-values-and-subkeys",
    "_nrd_-03-1_delete-keys-without-values-and-subkeys",
    "_nrd_-04-1_delete-a-value-with-normal-data",
    "_nrd_-05-1_delete-a-value-with-big-data",
    "_nrd_-06-1_delete-multiple-values-in-a-key",
    "_nrd_-07-1_change-normal-data-and-remain-original-size",
    "_nrd_-08-1_change-normal-data-to-smaller-size",
    "_nrd_-09-1_change-normal-data-to-larger-size",
    "_nrd_-10-1_change-big-data-to-smaller-size",
];

/// A key of a script.
#[derive(Debug, Clone, Default)]
struct ScriptKey {
    /// The whole key goes.
    removed: bool,
    /// Values; those that go are tombstones.
    values: Vec<ValueTree>,
}

/// Keys by path from the root.
type Content = BTreeMap<Vec<String>, ScriptKey>;

/// The text of a script: UTF-16 with a mark, or ASCII; lines that go on are joined.
fn lines(bytes: &[u8]) -> Vec<String> {
    let text = match bytes.strip_prefix(b"\xFF\xFE") {
        Some(wide) => WideString::from_le_bytes(wide).unwrap().to_utf8().unwrap(),
        None => String::from_utf8(bytes.to_vec()).unwrap(),
    };
    let mut lines: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in text.lines() {
        let part = line.trim_end().strip_suffix('\\').unwrap_or(line.trim_end());
        match lines.last_mut().filter(|_| goes_on) {
            Some(last) => last.push_str(part.trim_start()),
            None => lines.push(part.to_owned()),
        }
        goes_on = line.trim_end().ends_with('\\') && !line.starts_with('[');
    }
    lines
}

/// Text in quotes, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut out, mut characters) = (String::new(), text.strip_prefix('"')?.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => out.push(characters.next()?.1),
            '"' => return Some((out, &text[at + 2..])),
            other => out.push(other),
        }
    }
    None
}

fn value(line: &str) -> Option<ValueTree> {
    let (name, rest) = match line.strip_prefix('@') {
        Some(rest) => (String::new(), rest),
        None => quoted(line)?,
    };
    let data = rest.trim_start().strip_prefix('=')?.trim();
    if data == "-" {
        return Some(ValueTree::tombstone(name.as_str()));
    }
    if let Some((text, _)) = quoted(data) {
        return Some(ValueTree::text(name.as_str(), ValueType::Sz, &text));
    }
    if let Some(number) = data.strip_prefix("dword:") {
        return Some(ValueTree::dword(name.as_str(), u32::from_str_radix(number, 16).unwrap()));
    }
    let data = data.strip_prefix("hex")?;
    let (number, bytes) = match data.strip_prefix('(') {
        Some(rest) => {
            let (number, bytes) = rest.split_once("):").unwrap();
            (u32::from_str_radix(number, 16).unwrap(), bytes)
        }
        None => (3, data.strip_prefix(':')?),
    };
    let bytes = bytes.split(',').map(str::trim).filter(|byte| !byte.is_empty());
    let bytes: Vec<u8> = bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    Some(ValueTree::new(name.as_str(), ValueType::from_number(number), bytes))
}

fn read(bytes: &[u8]) -> Content {
    let mut content = Content::new();
    let mut at = None;
    for line in lines(bytes).iter().skip(1).filter(|line| !line.trim().is_empty()) {
        if let Some(path) = line.strip_prefix('[') {
            let path = path.strip_suffix(']').unwrap();
            let removed = path.starts_with('-');
            let path = path.trim_start_matches('-').strip_prefix(ROOT).expect("in the root");
            let path: Vec<String> = path.split('\\').skip(1).map(str::to_owned).collect();
            // The keys on the way are made, too.
            for length in 1..=path.len() {
                content.entry(path[..length].to_vec()).or_default();
            }
            content.get_mut(&path).unwrap().removed = removed;
            at = Some(path);
        } else {
            let value = value(line).unwrap_or_else(|| panic!("{line}"));
            content.get_mut(at.as_ref().unwrap()).unwrap().values.push(value);
        }
    }
    content
}

fn tree(content: &Content) -> KeyTree {
    let mut root = KeyTree::root("ROOT");
    for (path, from) in content {
        let key = path.iter().fold(&mut root, |key, name| key.subkey_mut(name));
        from.values.iter().for_each(|value| key.set_value(value.clone()));
        if from.removed {
            key.layer.semantics = LayerSemantics::Tombstone;
        }
    }
    root
}

/// The script as `hivexregedit` takes it: UTF-8, no spaces around the equals sign, all data in hexadecimal.
fn plain(content: &Content) -> String {
    let mut out = String::from("Windows Registry Editor Version 5.00\n");
    for (path, key) in content {
        let sign = if key.removed { "-" } else { "" };
        out.push_str(&format!("\n[{sign}{ROOT}\\{}]\n", path.join("\\")));
        for value in &key.values {
            let name = value.name.to_string().replace('\\', r"\\").replace('"', "\\\"");
            let name = if name.is_empty() { "@".to_owned() } else { format!("\"{name}\"") };
            if value.tombstone {
                out.push_str(&format!("{name}=-\n"));
                continue;
            }
            let bytes: Vec<_> = value.data.iter().map(|byte| format!("{byte:02x}")).collect();
            out.push_str(&format!("{name}=hex({:x}):{}\n", value.value_type.number(), bytes.join(",")));
        }
    }
    out
}

/// Without times, and in an order that does not depend on who wrote it.
fn leveled(mut key: Shown) -> Shown {
    key.time = None;
    key.values.sort_by(|one, other| one.name.cmp(&other.name));
    key.subkeys = key.subkeys.into_iter().map(leveled).collect();
    key.subkeys.sort_by(|one, other| one.name.cmp(&other.name));
    key
}

/// Has `hivexregedit` do what a script says. False when it is not installed.
fn merge(test: &str, hive: &Path, script: &Path) -> bool {
    let Some(mut merge) = layerstone_testing::tool(test, "hivexregedit") else { return false };
    let output = merge.args(["--merge", "--prefix", ROOT]).args([hive, script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    true
}

#[test]
fn reference_scripts_become_the_hives_that_hivexregedit_makes_of_them() {
    const TEST: &str = "reference_scripts_become_the_hives_that_hivexregedit_makes_of_them";
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs, script) =
        (directory.path().join("ours"), directory.path().join("theirs"), directory.path().join("script.reg"));
    for (name, keys, values) in SCRIPTS {
        let Some(bytes) = sample(TEST, &format!("cfreds/{name}.reg")) else { return };
        let content = read(&bytes);
        assert_eq!(
            (content.len(), content.values().map(|key| key.values.len()).sum::<usize>()),
            (keys, values),
            "{name}"
        );
        let written = HiveWriter::new(Version::V1_5).write(&tree(&content)).unwrap();
        let hive = Hive::open(&written).unwrap();
        assert!(hive.check().is_clean(), "{name}");
        std::fs::write(&ours, &written).unwrap();
        let Some(shown) = hivexml(TEST, &ours) else { return };
        let shown = shown.unwrap();
        assert_eq!(compare(name, &hive, &shown), keys + 1);

        // Into the empty hive that is among the samples.
        let Some(base) = sample(TEST, "cfreds/base.hive.gz") else { return };
        std::fs::write(&theirs, &base).unwrap();
        std::fs::write(&script, plain(&content)).unwrap();
        if !merge(TEST, &theirs, &script) {
            return;
        }
        let merged = hivexml(TEST, &theirs).unwrap().unwrap();
        let (mut shown, mut merged) = (leveled(shown), leveled(merged));
        (shown.name, merged.name) = (String::new(), String::new());
        assert!(shown == merged, "{name}");

        // And what hivex wrote is read here. Its hashes of names beyond ASCII are wrong, which hides the keys from Windows.
        let bytes = std::fs::read(&theirs).unwrap();
        let hive = Hive::open(&bytes).unwrap();
        assert_eq!(
            hive.walk().map(Result::unwrap).map(|key| key.values().count()).sum::<usize>(),
            values,
            "{name}"
        );
        let wrong = |problem: &Problem| matches!(problem.kind, ProblemKind::Hash { .. });
        let problems = hive.check().problems;
        assert!(problems.iter().all(wrong), "{name}: {problems:#?}");
        let foreign = content.keys().filter(|path| !path.last().unwrap().is_ascii()).count();
        assert_eq!(problems.len(), foreign, "{name}");
        for path in content.keys() {
            assert!(hive.key(&path.join("\\")).unwrap().is_some(), "{name}: {path:?}");
        }
    }
}

/// A merged key as hivexml would show it.
fn shown_merged(key: &MergedKey<'_>) -> Shown {
    let ((values, errors), (subkeys, more)) = (key.values(), key.subkeys());
    assert!(errors.is_empty() && more.is_empty());
    Shown {
        name: key.name().to_string(),
        time: None,
        values: values.iter().map(|value| shown_value(&value.value)).collect(),
        subkeys: subkeys.iter().map(shown_merged).collect(),
    }
}

#[test]
fn reference_edits_as_delta_hives_show_what_hivexregedit_leaves() {
    const TEST: &str = "reference_edits_as_delta_hives_show_what_hivexregedit_leaves";
    let mut content = Content::new();
    for (name, ..) in SCRIPTS {
        let Some(bytes) = sample(TEST, &format!("cfreds/{name}.reg")) else { return };
        content.extend(read(&bytes));
    }
    // What the script for big data, which is not among the samples, would have made.
    let big = content.entry(vec!["0x06_TYPE1_BIG-DATA".to_owned()]).or_default();
    for size in [16345, 20440] {
        let name = format!("BINARY {size}");
        big.values.push(ValueTree::new(name.as_str(), ValueType::Binary, vec![0x42; size]));
    }
    let base = HiveWriter::new(Version::V1_5).write(&tree(&content)).unwrap();
    let base_hive = Hive::open(&base).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let (theirs, script) = (directory.path().join("theirs"), directory.path().join("script.reg"));
    for name in EDITS {
        let Some(bytes) = sample(TEST, &format!("cfreds/{name}.reg")) else { return };
        let edits = read(&bytes);
        let delta = HiveWriter::new(Version::V1_6).write(&tree(&edits)).unwrap();
        let delta = Hive::open(&delta).unwrap();
        let merged = Merged::new([&base_hive, &delta]).unwrap();
        let ours = leveled(shown_merged(&merged.root().unwrap().unwrap()));

        std::fs::write(&theirs, &base).unwrap();
        std::fs::write(&script, plain(&edits)).unwrap();
        if !merge(TEST, &theirs, &script) {
            return;
        }
        let Some(left) = hivexml(TEST, &theirs) else { return };
        let left = left.unwrap();
        assert!(ours == leveled(left.clone()), "{name}");
        // The edit is one.
        let unedited = leveled(shown_merged(&Merged::new([&base_hive]).unwrap().root().unwrap().unwrap()));
        assert!(ours != unedited, "{name}");
    }
}
