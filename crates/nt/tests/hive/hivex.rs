//! hivex, an independent reader of hives: all that `hivexml` shows of a hive, compared with what this crate reads.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_nt::FileTime;
use layerstone_nt::hive::{
    Hive, HiveWriter, Key, KeyTree, Name, SEGMENT, Value, ValueTree, ValueType, Version, recover,
};

use crate::support::{hives, sample};

/// A key as hivexml shows it. Classes and descriptors it does not show.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Shown {
    pub(crate) name: String,
    /// Seconds; a time that is not set is not shown.
    pub(crate) time: Option<String>,
    pub(crate) values: Vec<ShownValue>,
    pub(crate) subkeys: Vec<Shown>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ShownValue {
    /// Without one, the default value.
    pub(crate) name: Option<String>,
    pub(crate) kind: String,
    /// The text, the number, or Base64.
    pub(crate) value: String,
    pub(crate) strings: Vec<String>,
}

/// Reads hivexml's answer. Characters that XML does not allow are in it when they are in the hive, so no XML parser takes it.
fn parse(xml: &str) -> Shown {
    let mut keys = vec![Shown::default()];
    let (mut value, mut text) = (None::<ShownValue>, String::new());
    for part in xml.split('<').skip(1) {
        let (tag, after) = split_tag(part);
        match tag.split([' ', '/']).next().unwrap_or_default() {
            "node" => {
                keys.push(Shown { name: attribute(tag, "name").unwrap_or_default(), ..Shown::default() });
            }
            "value" => {
                let mut shown = ShownValue {
                    name: attribute(tag, "key"),
                    kind: attribute(tag, "type").unwrap_or_default(),
                    value: attribute(tag, "value").unwrap_or_default(),
                    strings: Vec::new(),
                };
                if attribute(tag, "encoding").is_some() {
                    // Base64 has line ends in it.
                    shown.value.retain(|character| !character.is_ascii_whitespace());
                }
                if tag.ends_with('/') {
                    keys.last_mut().unwrap().values.push(shown);
                } else {
                    value = Some(shown);
                }
            }
            "mtime" | "string" => {
                text = unescape(after);
                if tag == "string/" {
                    value.as_mut().unwrap().strings.push(String::new());
                }
            }
            // An end tag.
            "" => match &tag[1..] {
                "node" => {
                    let key = keys.pop().unwrap();
                    keys.last_mut().unwrap().subkeys.push(key);
                }
                "value" => keys.last_mut().unwrap().values.push(value.take().unwrap()),
                "mtime" => keys.last_mut().unwrap().time = Some(std::mem::take(&mut text)),
                "string" => value.as_mut().unwrap().strings.push(std::mem::take(&mut text)),
                _ => {}
            },
            _ => {}
        }
    }
    keys.pop().unwrap().subkeys.pop().expect("hivexml shows a root")
}

/// The tag and what follows it. A `>` in an attribute is escaped.
fn split_tag(part: &str) -> (&str, &str) {
    part.split_once('>').unwrap_or((part, ""))
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = tag.find(&format!(" {name}=\""))? + name.len() + 3;
    let length = tag[start..].find('"')?;
    Some(unescape(&tag[start..start + length]))
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        out.push_str(before);
        let (entity, after) = entity.split_once(';').expect("an entity");
        let character = match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            other => {
                let number = other.strip_prefix('#').expect("a number");
                let number = match number.strip_prefix('x') {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => number.parse(),
                };
                char::from_u32(number.unwrap()).unwrap()
            }
        };
        out.push(character);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// What hivexml ought to show of a key, without its subkeys.
fn shown(key: &Key<'_>) -> Shown {
    Shown {
        name: text(key.name()),
        time: time(key.last_written()),
        values: key.values().map(|value| shown_value(&value.unwrap())).collect(),
        subkeys: Vec::new(),
    }
}

fn text(name: Name<'_>) -> String {
    String::from_utf16(&name.units().collect::<Vec<_>>()).expect("hivex refuses lone surrogates")
}

pub(crate) fn shown_value(value: &Value<'_>) -> ShownValue {
    let data = value.data().unwrap();
    let base64 = || STANDARD.encode(&data);
    // An odd byte at the end is left out.
    let units: Vec<u16> = data.chunks_exact(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
    let string = |kind: &str| {
        let end = units.iter().position(|&unit| unit == 0).unwrap_or(units.len());
        match String::from_utf16(&units[..end]) {
            Ok(text) => (kind.to_owned(), text),
            Err(_) => (format!("bad-{kind}"), base64()),
        }
    };
    let mut strings = Vec::new();
    let (kind, shown) = match value.value_type() {
        ValueType::None => ("none".to_owned(), base64()),
        ValueType::Sz => string("string"),
        ValueType::ExpandSz => string("expand"),
        ValueType::Link => string("link"),
        ValueType::Binary => ("binary".to_owned(), base64()),
        ValueType::Dword | ValueType::DwordBigEndian => {
            // Of more than four bytes the first ones; of fewer, -1.
            let number = match (data.first_chunk(), value.value_type()) {
                (Some(&word), ValueType::Dword) => i32::from_le_bytes(word),
                (Some(&word), _) => i32::from_be_bytes(word),
                (None, _) => -1,
            };
            ("int32".to_owned(), number.to_string())
        }
        ValueType::Qword => {
            let number = data.first_chunk().map_or(-1, |&word| i64::from_le_bytes(word));
            ("int64".to_owned(), number.to_string())
        }
        ValueType::MultiSz => {
            let mut lists: Vec<&[u16]> = units.split(|&unit| unit == 0).collect();
            if lists.last().is_some_and(|last| last.is_empty()) {
                lists.pop();
            }
            match lists.iter().map(|units| String::from_utf16(units)).collect() {
                Ok(texts) => {
                    strings = texts;
                    ("string-list".to_owned(), String::new())
                }
                Err(_) => ("bad-string-list".to_owned(), base64()),
            }
        }
        ValueType::ResourceList => ("resource-list".to_owned(), base64()),
        ValueType::FullResourceDescriptor => ("resource-description".to_owned(), base64()),
        ValueType::ResourceRequirementsList => ("resource-requirements".to_owned(), base64()),
        ValueType::Other(_) => ("unknown".to_owned(), base64()),
    };
    ShownValue { name: (!value.is_default()).then(|| text(value.name())), kind, value: shown, strings }
}

/// `2015-11-10T14:15:22Z`.
fn time(time: FileTime) -> Option<String> {
    if !time.is_set() {
        return None;
    }
    let seconds = time.to_unix().seconds();
    let (mut day, second) = (seconds.div_euclid(86400), seconds.rem_euclid(86400));
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while day < 0 {
        year -= 1;
        day += if leap(year) { 366 } else { 365 };
    }
    while day >= if leap(year) { 366 } else { 365 } {
        day -= if leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    for days in [31, if leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    Some(format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", day + 1, second % 60))
}

/// Compares key by key, value by value; says where the first difference is. The keys compared.
pub(crate) fn compare(what: &str, hive: &Hive<'_>, theirs: &Shown) -> usize {
    let mut stack = vec![(hive.root().unwrap(), theirs, String::new())];
    let mut compared = 0;
    while let Some((key, theirs, path)) = stack.pop() {
        let ours = shown(&key);
        let path = format!("{path}\\{}", ours.name);
        assert_eq!((&ours.name, &ours.time), (&theirs.name, &theirs.time), "{what}: {path}");
        assert_eq!(ours.values.len(), theirs.values.len(), "{what}: {path}");
        for (ours, theirs) in ours.values.iter().zip(&theirs.values) {
            assert_eq!(ours, theirs, "{what}: {path}");
        }
        let subkeys: Vec<_> = key.subkeys().map(Result::unwrap).collect();
        assert_eq!(subkeys.len(), theirs.subkeys.len(), "{what}: {path}");
        stack.extend(
            subkeys.into_iter().zip(&theirs.subkeys).map(|(key, theirs)| (key, theirs, path.clone())),
        );
        compared += 1;
    }
    compared
}

/// Runs hivexml; its answer, or what it complains of.
pub(crate) fn hivexml(test: &str, file: &Path) -> Option<Result<Shown, String>> {
    let output = layerstone_testing::tool(test, "hivexml")?.arg(file).output().unwrap();
    if !output.status.success() {
        return Some(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    Some(Ok(parse(&String::from_utf8(output.stdout).unwrap())))
}

#[test]
fn every_sample_reads_as_hivexml_shows_it() {
    const TEST: &str = "every_sample_reads_as_hivexml_shows_it";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hive");
    for (name, keys, _) in hives() {
        let Some(bytes) = sample(TEST, name) else { return };
        std::fs::write(&file, &bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &file) else { return };
        let theirs = theirs.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(compare(name, &Hive::open(&bytes).unwrap(), &theirs) as u64, keys, "{name}");
    }
    // What hivex does not read at all, and this crate does as far as it goes.
    for name in
        ["ericz/SAMBadHBinHeader.gz", "plaso/corrupt_sub_key_list.hiv", "regipy/corrupted_system_hive.xz"]
    {
        let Some(bytes) = sample(TEST, name) else { return };
        std::fs::write(&file, &bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &file) else { return };
        assert!(theirs.is_err(), "{name}");
    }
}

#[test]
fn recovered_hives_read_as_hivexml_shows_them() {
    const TEST: &str = "recovered_hives_read_as_hivexml_shows_them";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hive");
    for [hive, log1, log2] in [
        ["transactions_NTUSER.DAT", "transactions_ntuser.dat.log1", "transactions_ntuser.dat.log2"],
        ["UsrClass.dat", "UsrClass.dat.LOG1", "UsrClass.dat.LOG2"],
        ["SYSTEM_B", "SYSTEM_B.LOG1", "SYSTEM_B.LOG2"],
    ] {
        let files = [hive, log1, log2].map(|name| sample(TEST, &format!("regipy/{name}.xz")));
        let [Some(primary), Some(log1), Some(log2)] = files else { return };
        let recovered = recover(&primary, &[&log1, &log2]).unwrap();
        std::fs::write(&file, &recovered.bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &file) else { return };
        compare(hive, &Hive::open(&recovered.bytes[..]).unwrap(), &theirs.unwrap());
    }
}

#[test]
fn hivexml_shows_written_samples_as_it_shows_the_originals() {
    const TEST: &str = "hivexml_shows_written_samples_as_it_shows_the_originals";
    let directory = tempfile::tempdir().unwrap();
    let (original, again) = (directory.path().join("original"), directory.path().join("again"));
    for (name, ..) in hives() {
        let Some(bytes) = sample(TEST, name) else { return };
        let hive = Hive::open(&bytes).unwrap();
        let tree = KeyTree::read(&hive).unwrap();
        std::fs::write(&original, &bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &original) else { return };
        let theirs = theirs.unwrap();
        for version in [hive.base().version, Version::V1_6] {
            std::fs::write(&again, HiveWriter::new(version).write(&tree).unwrap()).unwrap();
            let Some(written) = hivexml(TEST, &again) else { return };
            assert!(written.unwrap() == theirs, "{name} as {version}");
        }
    }
}

#[test]
fn hivexml_reads_what_is_written_in_every_version() {
    const TEST: &str = "hivexml_reads_what_is_written_in_every_version";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("hive");
    let mut root = KeyTree::root("ROOT");
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
    let data = [
        vec![],
        vec![1, 2],
        b"a\0b\0\0\0".to_vec(),
        b"abc".to_vec(),
        utf16("ü€🌍\0"),
        vec![0, 0xD8],
        vec![9; 8],
    ];
    for number in (0..13).chain([0xFFFF_0011]) {
        let mut key = KeyTree::new(format!("Typ {number} – ü 🌍 <&>\"").as_str());
        key.last_written = FileTime(132_223_104_001_234_567 + i64::from(number as u16) * 86_400 * 10_000_000);
        for (n, data) in data.iter().enumerate() {
            let kind = ValueType::from_number(number);
            key.values.push(ValueTree::new(format!("Wert {n} é€").as_str(), kind, data.clone()));
        }
        key.values.push(ValueTree::text("", ValueType::Sz, "default"));
        root.subkeys.push(key);
    }
    let mut many = KeyTree::new("many");
    many.subkeys = (0..1500).map(|n| KeyTree::new(format!("{n}").as_str())).collect();
    for more in 0..10 {
        let data: Vec<u8> = (0..2 * SEGMENT + more).map(|n| (n % 251) as u8).collect();
        many.values.push(ValueTree::new(format!("big {more}").as_str(), ValueType::Binary, data));
    }
    root.subkeys.push(many);
    for version in [Version::V1_3, Version::V1_4, Version::V1_5, Version::V1_6] {
        let bytes = HiveWriter::new(version).write(&root).unwrap();
        std::fs::write(&file, &bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &file) else { return };
        assert_eq!(compare(&version.to_string(), &Hive::open(&bytes).unwrap(), &theirs.unwrap()), 1516);
    }
    for bytes in [HiveWriter::empty_delta().unwrap(), HiveWriter::empty_base().unwrap()] {
        std::fs::write(&file, &bytes).unwrap();
        let Some(theirs) = hivexml(TEST, &file) else { return };
        assert_eq!(theirs.unwrap(), Shown { name: "ROOT".to_owned(), ..Shown::default() });
    }
}
