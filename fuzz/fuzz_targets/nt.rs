//! Windows' binary structures: any bytes give a value or an error, and a value that is written reads as itself.

#![no_main]

use layerstone_fuzz::{Bound, bounded};
use layerstone_nt::reparse::View;
use layerstone_nt::tar::{TarFacts, WindowsRecords};
use layerstone_nt::{
    BasicInfo, FileTime, ReparseData, ReparsePoint, ReparseTag, SecurityDescriptor, Sid, UnixTime,
    WideString, ea, name, sddl,
};
use libfuzzer_sys::fuzz_target;

/// What a run may allocate.
const BOUND: Bound = Bound { per_byte: 64, constant: 256 << 10 };

fuzz_target!(|input: &[u8]| bounded(input.len(), BOUND, || run(input)));

fn run(input: &[u8]) {
    let Some((&choice, input)) = input.split_first() else { return };
    match choice % 9 {
        0 => reparse(input),
        1 => security(input),
        2 => extended_attributes(input),
        3 => text(input),
        4 => records(input),
        5 => {
            let _ = Sid::parse(input);
            let _ = BasicInfo::parse(input);
        }
        6 => names(input),
        7 => times(input),
        _ => placeholder(input),
    }
}

fn reparse(input: &[u8]) {
    let Ok(point) = ReparsePoint::parse(input) else { return };
    let _ = (point.target(), point.to_unix_target(), ReparsePoint::is_canonical(input));
    view(&point);
    let bytes = point.encode().expect("what was parsed can be written");
    assert_eq!(ReparsePoint::parse(&bytes).expect("what was written reads"), point);
}

fn view(point: &ReparsePoint) {
    let Ok(Some(view)) = View::of(point) else { return };
    let _ = view.to_string();
    assert_eq!(view.to_point().expect("what was read can be written"), *point);
}

/// The tag by a byte, and the data: headers need not be guessed.
fn placeholder(input: &[u8]) {
    const TAGS: [ReparseTag; 12] = [
        ReparseTag::WCI,
        ReparseTag::WCI_1,
        ReparseTag::WOF,
        ReparseTag::APPEXECLINK,
        ReparseTag::LX_SYMLINK,
        ReparseTag::LX_FIFO,
        ReparseTag::LX_CHR,
        ReparseTag::LX_BLK,
        ReparseTag::AF_UNIX,
        ReparseTag::CLOUD,
        ReparseTag::CLOUD_F,
        ReparseTag::WCI_LINK,
    ];
    let Some((&tag, data)) = input.split_first() else { return };
    view(&ReparsePoint { tag: TAGS[usize::from(tag) % TAGS.len()], data: ReparseData::Raw(data.to_vec()) });
}

fn names(input: &[u8]) {
    let _ = name::check_component(input);
    let folded = name::fold(input);
    assert_eq!(name::fold(folded.as_bytes()), folded);
    assert!(name::eq_ignore_case(input, folded.as_bytes()));
    if let Ok(wide) = WideString::from_wtf8(input) {
        let again = WideString::from_wtf8(&wide.to_wtf8()).expect("what was written reads");
        assert_eq!(again, wide);
    }
    if let Some(wide) = WideString::from_le_bytes(input) {
        assert_eq!(WideString::from_wtf8(&wide.to_wtf8()).expect("what was written reads"), wide);
    }
}

fn times(input: &[u8]) {
    if let Ok(time) = UnixTime::parse(input) {
        assert_eq!(UnixTime::parse(time.to_string().as_bytes()), Ok(time));
        if let Ok(ticks) = FileTime::from_unix(time) {
            assert_eq!(ticks.to_unix().seconds(), time.seconds());
        }
    }
    if let Some(&bytes) = input.first_chunk::<8>() {
        let time = FileTime(i64::from_le_bytes(bytes));
        let _ = FileTime::parse_pax(time.to_unix().to_string().as_bytes());
    }
    if let Ok(info) = BasicInfo::parse(input) {
        assert_eq!(info.to_bytes()[..36], input[..36]);
    }
}

fn security(input: &[u8]) {
    assert!(SecurityDescriptor::validate(input).is_err() || SecurityDescriptor::parse(input).is_ok());
    let Ok(descriptor) = SecurityDescriptor::parse(input) else { return };
    let Ok(bytes) = descriptor.to_bytes() else { return };
    let again = SecurityDescriptor::parse(&bytes).expect("what was written reads");
    assert_eq!(again.to_bytes().expect("it was written before"), bytes);
    let _ = layerstone_nt::security::ntfs_hash(input);
    if let Some(list) = &descriptor.dacl {
        let canonical = list.to_canonical();
        assert!(canonical.is_canonical() && canonical.aces.len() == list.aces.len());
    }
    let _ = layerstone_nt::security::inherit(&descriptor, input.len() % 2 == 0);
    let Ok(text) = sddl::format(&descriptor) else { return };
    let _ = sddl::parse(&text);
}

fn extended_attributes(input: &[u8]) {
    let Ok(list) = ea::parse_list(input) else { return };
    let _ = ea::check_ntfs(&list);
    let Ok(bytes) = ea::encode_list(&list) else { return };
    assert_eq!(ea::parse_list(&bytes).expect("what was written reads"), list);
}

fn text(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    if let Ok(domain) = "S-1-5-21-1-2-3".parse() {
        let _ = sddl::parse_in_domain(text, &domain);
    }
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
