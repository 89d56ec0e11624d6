//! What is written reads back as it was, for values of every kind; and no bytes make a parser panic.

use layerstone_nt::reparse::TargetKind;
use layerstone_nt::security::{Ace, AceBody, AceKind, Acl, ObjectAceKind, control};
use layerstone_nt::tar::{EntryKind, TarFacts};
use layerstone_nt::{
    BasicInfo, Ea, FileAttributes, FileTime, ReparseData, ReparsePoint, ReparseTag, SecurityDescriptor, Sid,
    UnixTime, WideString, WindowsMetadata, WindowsRecords, ea, name, sddl,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..most)
}

fn unix_time() -> impl Strategy<Value = UnixTime> {
    (any::<i64>(), 0..1_000_000_000_u32).prop_map(|(seconds, nanos)| UnixTime::new(seconds, nanos).unwrap())
}

fn filetime() -> impl Strategy<Value = FileTime> {
    prop_oneof![0..=i64::MAX, 0..265_000_000_000_000_000_i64].prop_map(FileTime)
}

fn basic_info() -> impl Strategy<Value = BasicInfo> {
    (filetime(), filetime(), filetime(), filetime(), any::<u32>()).prop_map(
        |(creation, access, write, change, bits)| BasicInfo {
            creation,
            last_access: access,
            last_write: write,
            change,
            attributes: FileAttributes(bits),
        },
    )
}

fn wide() -> impl Strategy<Value = WideString> {
    prop_oneof![
        vec(any::<u16>(), 0..40).prop_map(WideString::from_units),
        vec(0xD700..0xE100_u16, 0..40).prop_map(WideString::from_units),
        r"(\\\\\?\\|\\\\|C:|\\)?[a-zA-Z\\.]{0,20}".prop_map(|text| WideString::from(&*text)),
    ]
}

fn reparse_point() -> impl Strategy<Value = ReparsePoint> {
    let raw = |tag| matches!(tag, 0xA000_0003 | 0xA000_000C);
    prop_oneof![
        (wide(), wide(), any::<u32>()).prop_map(|(substitute, print, flags)| ReparsePoint {
            tag: ReparseTag::SYMLINK,
            data: ReparseData::Symlink { substitute, print, flags },
        }),
        (wide(), wide()).prop_map(|(substitute, print)| ReparsePoint {
            tag: ReparseTag::MOUNT_POINT,
            data: ReparseData::MountPoint { substitute, print },
        }),
        (0x8000_0000..=u32::MAX, bytes(60))
            .prop_filter("a link", move |(tag, _)| !raw(*tag))
            .prop_map(|(tag, data)| ReparsePoint { tag: ReparseTag(tag), data: ReparseData::Raw(data) }),
        (0..0x8000_0000_u32, any::<[u8; 16]>(), bytes(60)).prop_map(|(tag, guid, data)| ReparsePoint {
            tag: ReparseTag(tag),
            data: ReparseData::ThirdParty { guid, data },
        }),
    ]
}

fn sid() -> impl Strategy<Value = Sid> {
    prop_oneof![
        (0..1_u64 << 48, vec(any::<u32>(), 0..=15))
            .prop_map(|(authority, parts)| Sid::new(authority, &parts).unwrap()),
        select(vec!["S-1-1-0", "S-1-5-18", "S-1-5-32-544", "S-1-3-0", "S-1-16-8192"])
            .prop_map(|text| text.parse().unwrap()),
    ]
}

fn mask() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), select(vec![0x001F_01FF, 0x1000_0000, 0x0012_00A9, 4, 0])]
}

/// An entry that SDDL can express.
fn ace() -> impl Strategy<Value = Ace> {
    let basic = select(vec![
        AceKind::Allow,
        AceKind::Deny,
        AceKind::Audit,
        AceKind::Alarm,
        AceKind::MandatoryLabel,
        AceKind::ScopedPolicy,
        AceKind::ProcessTrustLabel,
    ]);
    let object =
        select(vec![ObjectAceKind::Allow, ObjectAceKind::Deny, ObjectAceKind::Audit, ObjectAceKind::Alarm]);
    let guid = || option::of(any::<[u8; 16]>());
    prop_oneof![
        (basic, any::<u8>(), mask(), sid())
            .prop_map(|(kind, flags, mask, sid)| Ace::new(kind, flags, mask, sid)),
        (object, any::<u8>(), mask(), guid(), guid(), sid()).prop_map(
            |(kind, flags, mask, object_type, inherited_object_type, sid)| Ace {
                flags,
                body: AceBody::Object { kind, mask, object_type, inherited_object_type, sid },
            }
        ),
    ]
}

fn descriptor(ace: impl Strategy<Value = Ace> + Clone) -> impl Strategy<Value = SecurityDescriptor> {
    // Bits that SDDL holds; DACL_PRESENT alone makes a NULL DACL.
    let bits = (0..=u16::MAX).prop_map(|bits| bits & 0x3F14 | control::SELF_RELATIVE);
    let list = || option::of(vec(ace.clone(), 0..5).prop_map(Acl::new));
    (bits, option::of(sid()), option::of(sid()), list(), list()).prop_map(
        |(mut bits, owner, group, sacl, dacl)| {
            // The flags of a list that is not there have no place in the text.
            if sacl.is_some() {
                bits |= control::SACL_PRESENT;
            } else if bits & control::SACL_PRESENT == 0 {
                bits &= !0x2A00;
            }
            if dacl.is_some() {
                bits |= control::DACL_PRESENT;
            } else if bits & control::DACL_PRESENT == 0 {
                bits &= !0x1500;
            }
            SecurityDescriptor { control: bits, resource_manager: 0, owner, group, sacl, dacl }
        },
    )
}

fn any_ace() -> impl Strategy<Value = Ace> + Clone {
    let raw =
        (0x16..=u8::MAX, any::<u8>(), vec(any::<[u8; 4]>(), 0..8)).prop_map(|(ace_type, flags, words)| Ace {
            flags,
            body: AceBody::Raw { ace_type, bytes: words.concat() },
        });
    prop_oneof![ace(), raw].boxed()
}

fn eas() -> impl Strategy<Value = Vec<Ea>> {
    let one = (any::<u8>(), bytes(20), bytes(50)).prop_map(|(flags, name, value)| Ea { flags, name, value });
    vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn times_come_back_from_text(time in unix_time()) {
        // The one number that has no text: a fraction below the smallest whole second.
        prop_assume!(time.seconds() > i64::MIN || time.nanoseconds() > 0);
        prop_assert_eq!(UnixTime::parse(time.to_string().as_bytes()), Ok(time));
    }

    #[test]
    fn filetimes_come_back_from_unix_and_text(time in filetime()) {
        prop_assert_eq!(FileTime::from_unix(time.to_unix()), Ok(time));
        prop_assume!(time.is_set() && !time.to_unix().is_wrapped_zero());
        prop_assert_eq!(FileTime::parse_pax(time.to_pax().unwrap().as_bytes()), Ok(time));
    }

    #[test]
    fn conversion_to_filetime_rounds_down_and_keeps_order(a in unix_time(), b in unix_time()) {
        let Ok(ticks) = FileTime::from_unix(a) else { return Ok(()) };
        prop_assert!(ticks.to_unix() <= a);
        prop_assert!(FileTime(ticks.0.saturating_add(1)).to_unix() > a || ticks.0 == i64::MAX);
        if let Ok(other) = FileTime::from_unix(b) {
            prop_assert!(a.cmp(&b) == ticks.cmp(&other) || ticks == other);
        }
    }

    #[test]
    fn basic_info_comes_back(info in basic_info()) {
        prop_assert_eq!(BasicInfo::parse(&info.to_bytes()), Ok(info));
        prop_assert_eq!(BasicInfo::parse(&info.to_packed_bytes()), Ok(info));
    }

    #[test]
    fn ea_lists_come_back(list in eas()) {
        let encoded = ea::encode_list(&list).unwrap();
        prop_assert_eq!(encoded.len() % 4, 0);
        prop_assert_eq!(ea::parse_list(&encoded), Ok(list));
    }

    #[test]
    fn wide_strings_come_back_from_bytes(text in wide()) {
        prop_assert_eq!(WideString::from_wtf8(&text.to_wtf8()), Ok(text.clone()));
        prop_assert_eq!(WideString::from_le_bytes(&text.to_le_bytes()), Some(text));
    }

    #[test]
    fn reparse_points_come_back(point in reparse_point()) {
        let encoded = point.encode().unwrap();
        prop_assert!(ReparsePoint::is_canonical(&encoded));
        prop_assert_eq!(ReparsePoint::parse(&encoded), Ok(point));
    }

    #[test]
    fn targets_come_back(target in wide(), junction in any::<bool>()) {
        let kind = if junction { TargetKind::MountPoint } else { TargetKind::Symlink };
        let point = ReparsePoint::from_target(&target, kind);
        prop_assert_eq!(point.target(), Some(target));
        prop_assert_eq!(ReparsePoint::parse(&point.encode().unwrap()), Ok(point));
    }

    #[test]
    fn sids_come_back(sid in sid()) {
        prop_assert_eq!(Sid::parse(&sid.to_bytes()), Ok(sid.clone()));
        prop_assert_eq!(sid.to_string().parse(), Ok(sid));
    }

    #[test]
    fn descriptors_come_back_from_bytes(sd in descriptor(any_ace())) {
        prop_assert_eq!(SecurityDescriptor::parse(&sd.to_bytes().unwrap()), Ok(sd));
    }

    #[test]
    fn descriptors_come_back_from_text(sd in descriptor(ace().boxed())) {
        prop_assert_eq!(sddl::parse(&sddl::format(&sd).unwrap()), Ok(sd));
    }

    #[test]
    fn metadata_come_back_from_records(
        basic in basic_info(),
        sd in option::of(vec(any::<u8>(), 1..60)),
        names in proptest::collection::btree_set("[A-Z.]{1,12}", 0..4),
        target in option::of((wide(), any::<bool>())),
    ) {
        let reparse = target.map(|(target, junction)| {
            // Slashes turn into backslashes on reading.
            let units: Vec<u16> = target.units().iter().map(|&u| if u == 0x2F { 0x5C } else { u }).collect();
            let kind = if junction { TargetKind::MountPoint } else { TargetKind::Symlink };
            ReparsePoint::from_target(&WideString::from_units(units), kind)
        });
        let eas = names.into_iter().map(|name| Ea::new(name, "value")).collect();
        let written = WindowsMetadata { basic, security_descriptor: sd, eas, reparse };
        let times = [basic.creation, basic.last_access, basic.last_write, basic.change];
        prop_assume!(times.iter().all(|time| time.is_set() && !time.to_unix().is_wrapped_zero()));
        let records = written.to_records().unwrap();
        prop_assert!(records.is_sorted());
        let linkname = written.tar_link_name().unwrap_or_default();
        let facts = TarFacts {
            kind: written.entry_kind(),
            linkname: &linkname,
            mtime: UnixTime::from_seconds(basic.last_write.to_unix().seconds()),
            atime: None,
            ctime: None,
        };
        let pairs = records.iter().map(|(key, value)| (key.as_bytes(), value.as_bytes()));
        prop_assert_eq!(WindowsRecords::parse(pairs, &facts).unwrap().metadata, written);
    }

    #[test]
    fn folding_is_stable_and_agrees_with_comparing(a in wide(), b in wide()) {
        let (a, b) = (a.to_wtf8(), b.to_wtf8());
        let (folded_a, folded_b) = (name::fold(&a), name::fold(&b));
        prop_assert_eq!(name::eq_ignore_case(&a, &b), folded_a == folded_b);
        prop_assert!(name::eq_ignore_case(&a, folded_a.as_bytes()));
        prop_assert_eq!(name::fold(folded_a.as_bytes()), folded_a);
    }

    #[test]
    fn no_bytes_make_a_parser_panic(bytes in bytes(200), kind in 0..5_usize) {
        let _ = UnixTime::parse(&bytes);
        let _ = BasicInfo::parse(&bytes);
        let _ = ea::parse_list(&bytes);
        let _ = Sid::parse(&bytes);
        let _ = Acl::parse(&bytes);
        let _ = WideString::from_wtf8(&bytes);
        let _ = name::check_component(&bytes);
        let _ = name::fold(&bytes);
        if let Ok(point) = ReparsePoint::parse(&bytes) {
            let _ = (point.target(), point.to_unix_target(), point.encode());
        }
        let _ = sddl::parse(&String::from_utf8_lossy(&bytes));
        let kinds = [EntryKind::File, EntryKind::Directory, EntryKind::Symlink, EntryKind::HardLink, EntryKind::Other];
        let facts = TarFacts { kind: kinds[kind], linkname: &bytes, ..TarFacts::default() };
        for key in ["MSWINDOWS.fileattr", "MSWINDOWS.rawsd", "MSWINDOWS.sd", "MSWINDOWS.xattr.A", "mtime"] {
            if let Ok(read) = WindowsRecords::parse([(key.as_bytes(), &bytes[..])], &facts) {
                let _ = read.metadata.to_records();
            }
        }
    }

    #[test]
    fn a_flipped_byte_never_makes_a_parser_panic(
        sd in descriptor(any_ace()), point in reparse_point(), list in eas(), at in any::<prop::sample::Index>(), value in any::<u8>(),
    ) {
        let spoil = |mut bytes: Vec<u8>| {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes
        };
        if let Ok(read) = SecurityDescriptor::parse(&spoil(sd.to_bytes().unwrap())) {
            let _ = (read.to_bytes(), sddl::format(&read));
            for is_directory in [false, true] {
                let child = layerstone_nt::security::inherit(&read, is_directory);
                prop_assert!(child.to_bytes().is_ok());
            }
        }
        if let Ok(read) = ReparsePoint::parse(&spoil(point.encode().unwrap())) {
            let _ = (read.target(), read.to_unix_target(), read.encode());
        }
        let _ = ea::parse_list(&spoil(ea::encode_list(&list).unwrap()));
    }

    #[test]
    fn sddl_shaped_text_never_makes_the_parser_panic(
        text in "[OGDS]:[ A-Z]{0,4}(\\([A-Z]{1,2};[A-Z]{0,4};[A-Z0-9x]{0,6};[0-9a-f-]{0,8};;(BA|S-1-5-[0-9]{1,11}|ü)\\)?){0,3}"
    ) {
        let _ = sddl::parse(&text);
    }
}
