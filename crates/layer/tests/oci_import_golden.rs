//! What Microsoft's `ociwclayer` does with the entries of a layer tar (recorded in `backuptar.json`), and what ours are: names,
//! links and whiteouts. Metadata and data of the same vectors are compared in `layerstone-nt`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_layer::tar::source::Mapper;
use layerstone_layer::tar::{Event, TarReader};
use layerstone_layer::{EntryKind, Os, Report};
use serde_json::Value;

/// Where ours differs on purpose: theirs, ours, why.
const DEVIATIONS: &[(&str, &str, &str)] = &[
    ("Remove Files/.wh..opq", "Opaque Files", "the opaque marker is one"),
    ("Remove Files", "", "`.wh.` names nothing that could be removed"),
    ("Add ./Files/a", "Add Files/a", "names are normalised"),
    ("Add /Files/b", "Add Files/b", "names are normalised"),
    ("Add Files/../../c", "Add c", "names never leave the layer"),
    ("Remove Files/.wh.d/d", "Remove Files/d", "a whiteout that is a directory removes what it names"),
];

fn theirs(vector: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('\\', "/");
    let files = vector["files"].as_array().unwrap().iter();
    files
        .map(|file| match file["call"].as_str().unwrap() {
            "AddLink" => format!("AddLink {} {}", text(&file["name"]), text(&file["link"])),
            call => format!("{call} {}", text(&file["name"]).trim_end_matches('/')),
        })
        .collect()
}

fn ours(archive: &[u8]) -> Vec<String> {
    let mut reader = TarReader::new(archive);
    let mut mapper = Mapper::new(Os::Windows);
    let mut report = Report::default();
    let mut found = Vec::new();
    loop {
        match reader.next_event().unwrap() {
            Event::Raw(_) | Event::Data(_) => {}
            Event::Member(member) => match mapper.entry(&member, &mut report).unwrap() {
                None => found.push(String::new()),
                Some(entry) => found.push(match &entry.kind {
                    EntryKind::HardLink { target } => format!("AddLink {} {target}", entry.path),
                    EntryKind::Whiteout => format!("Remove {}", entry.path),
                    EntryKind::Opaque => format!("Opaque {}", entry.path),
                    _ => format!("Add {}", entry.path),
                }),
            },
            Event::End => return found,
        }
    }
}

#[test]
fn every_recorded_import_has_the_same_calls_or_the_difference_is_on_record() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../nt/tests/golden/backuptar.json");
    let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let (mut vectors, mut agreed, mut deviated) = (0, 0, Vec::new());
    for vector in file["vectors"].as_array().unwrap().iter().filter(|v| v["op"] == "oci_import") {
        let case = vector["case"].as_str().unwrap();
        let (theirs, ours) =
            (theirs(vector), ours(&STANDARD.decode(vector["tar"]["b64"].as_str().unwrap()).unwrap()));
        assert_eq!(theirs.len(), ours.len(), "{case}: {theirs:?} {ours:?}");
        for (theirs, ours) in theirs.iter().zip(&ours) {
            if theirs == ours {
                agreed += 1;
                continue;
            }
            let known = DEVIATIONS.iter().find(|(known, our, _)| known == theirs && our == ours);
            let (_, _, reason) = known.unwrap_or_else(|| panic!("{case}: {theirs}, ours {ours}"));
            let call = |call: &str| if call.is_empty() { "nothing".to_owned() } else { format!("`{call}`") };
            deviated.push(format!("| {} | {} | {reason} |", call(theirs), call(ours)));
        }
        vectors += 1;
    }
    assert_eq!(vectors, 5);
    let found = format!(
        "{agreed} calls the same, {} not:\n\n| theirs | ours | why |\n| --- | --- | --- |\n{}",
        deviated.len(),
        deviated.join("\n")
    );
    layerstone_testing::documented("deviations.md", "calls", &found);
}
