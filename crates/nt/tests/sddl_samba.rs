//! SDDL against an independent implementation: recorded answers of Samba's (`golden/samba-sddl.json`, which says which version and by
//! which calls).

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_nt::security::Acl;
use layerstone_nt::{SecurityDescriptor, Sid, sddl};
use serde_json::Value;

/// Where ours differs on purpose: a part of the text, why.
const DEVIATIONS: &[(&str, &str)] = &[
    (
        ";FA;;;",
        "FA is FILE_ALL_ACCESS, 0x1f01ff (winnt.h, [MS-DTYP] 2.5.1.1); theirs leaves the standard rights out",
    ),
    (";2032127;", "a mask may be decimal, as C's strtoul takes it; theirs reads none"),
];

fn recorded() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/samba-sddl.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn deviation(text: &str) -> Option<&'static str> {
    DEVIATIONS.iter().find(|(known, _)| text.contains(known)).map(|(_, reason)| *reason)
}

#[test]
fn text_gives_the_bytes_that_samba_gives() {
    let recorded = recorded();
    let domain: Sid = recorded["domain"].as_str().unwrap().parse().unwrap();
    let mut outcomes = BTreeMap::<&str, usize>::new();
    for vector in recorded["vectors"].as_array().unwrap() {
        let text = vector["sddl"].as_str().unwrap();
        let ours = sddl::parse_in_domain(text, &domain).unwrap_or_else(|error| panic!("{text}: {error}"));
        let outcome = match vector["data"].as_str().map(|data| STANDARD.decode(data).unwrap()) {
            None => "unknown to theirs",
            Some(theirs) => {
                // Parts may lie in another order, and theirs gives every list revision 4: what the lists say is compared.
                let mut theirs = SecurityDescriptor::parse(&theirs).unwrap();
                for list in [&mut theirs.dacl, &mut theirs.sacl].into_iter().flatten() {
                    *list = Acl::new(std::mem::take(&mut list.aces));
                }
                match (ours == theirs, deviation(text)) {
                    (true, _) => "agreed",
                    (false, Some(_)) => "deviated",
                    (false, None) => panic!("{text}:\n{ours:?}\n{theirs:?}"),
                }
            }
        };
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    let rows: Vec<_> = DEVIATIONS.iter().map(|(text, reason)| format!("| `{text}` | {reason} |")).collect();
    let found = format!(
        "{} texts give the same, {} not, {} theirs does not read:\n\n| in the text | ours |\n| --- | --- |\n{}",
        outcomes["agreed"],
        outcomes["deviated"],
        outcomes["unknown to theirs"],
        rows.join("\n")
    );
    layerstone_testing::documented("deviations.md", "sddl", &found);
}

#[test]
fn what_samba_writes_reads_as_the_same_descriptor() {
    let recorded = recorded();
    let domain: Sid = recorded["domain"].as_str().unwrap().parse().unwrap();
    for vector in recorded["vectors"].as_array().unwrap() {
        let Some(theirs) = vector["as_sddl"].as_str() else { continue };
        let text = vector["sddl"].as_str().unwrap();
        if deviation(text).is_some() {
            continue;
        }
        let one = sddl::parse_in_domain(text, &domain).unwrap();
        let other =
            sddl::parse_in_domain(theirs, &domain).unwrap_or_else(|error| panic!("{theirs}: {error}"));
        assert_eq!(one, other, "{text} and {theirs}");
        let again = sddl::format(&one).unwrap();
        assert_eq!(sddl::parse_in_domain(&again, &domain).unwrap(), one, "{again}");
    }
}
