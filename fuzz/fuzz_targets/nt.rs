//! Windows' binary structures: any bytes give a value or an error, and a value that is written reads as itself.

#![no_main]

use layerstone_nt::tar::{TarFacts, WindowsRecords};
use layerstone_nt::{BasicInfo, ReparsePoint, SecurityDescriptor, Sid, ea, name, sddl};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, input)) = input.split_first() else { return };
    match choice % 7 {
        0 => reparse(input),
        1 => security(input),
        2 => extended_attributes(input),
        3 => text(input),
        4 => records(input),
        5 => {
            let _ = Sid::parse(input);
            let _ = BasicInfo::parse(input);
        }
        _ => {
            let _ = name::fold(input);
            let _ = name::check_component(input);
        }
    }
});

fn reparse(input: &[u8]) {
    let Ok(point) = ReparsePoint::parse(input) else { return };
    let _ = (point.target(), point.to_unix_target(), ReparsePoint::is_canonical(input));
    let bytes = point.encode().expect("what was parsed can be written");
    assert_eq!(ReparsePoint::parse(&bytes).expect("what was written reads"), point);
}

fn security(input: &[u8]) {
    assert!(SecurityDescriptor::validate(input).is_err() || SecurityDescriptor::parse(input).is_ok());
    let Ok(descriptor) = SecurityDescriptor::parse(input) else { return };
    let Ok(bytes) = descriptor.to_bytes() else { return };
    let again = SecurityDescriptor::parse(&bytes).expect("what was written reads");
    assert_eq!(again.to_bytes().expect("it was written before"), bytes);
    let _ = layerstone_nt::security::inherit(&descriptor, input.len() % 2 == 0);
    let Ok(text) = sddl::format(&descriptor) else { return };
    let _ = sddl::parse(&text);
}

fn extended_attributes(input: &[u8]) {
    let Ok(list) = ea::parse_list(input) else { return };
    let Ok(bytes) = ea::encode_list(&list) else { return };
    assert_eq!(ea::parse_list(&bytes).expect("what was written reads"), list);
}

fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(descriptor) = sddl::parse(text) else { return };
    let Ok(bytes) = descriptor.to_bytes() else { return };
    SecurityDescriptor::parse(&bytes).expect("what was written reads");
    if let Ok(text) = sddl::format(&descriptor) {
        let again = sddl::parse(&text).expect("what was formatted parses");
        assert_eq!(again.to_bytes().expect("it was written before"), bytes);
    }
}

/// PAX records, one a line.
fn records(input: &[u8]) {
    let records = input.split(|&b| b == b'\n').filter_map(|line| {
        let at = line.iter().position(|&b| b == b'=')?;
        Some((&line[..at], &line[at + 1..]))
    });
    let Ok(read) = WindowsRecords::parse(records, &TarFacts::default()) else { return };
    let metadata = read.metadata;
    let _ =
        (metadata.to_records(), metadata.to_time_records(), metadata.tar_link_name(), metadata.tar_losses());
}
