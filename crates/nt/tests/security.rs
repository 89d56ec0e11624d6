//! Security descriptors and their text.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use layerstone_nt::security::{
    self, Ace, AceBody, AceKind, Acl, SecurityDescriptor, ace_flags, control, default_descriptor, inherit,
};
use layerstone_nt::{Error, Sid, sddl};

/// The bytes of SDDL text.
fn bytes(text: &str) -> Vec<u8> {
    sddl::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).to_bytes().unwrap()
}

/// What a child of a directory with this descriptor gets, as text.
fn child(parent: &str, is_directory: bool) -> String {
    let child = inherit(&sddl::parse(parent).unwrap(), is_directory);
    assert_eq!(SecurityDescriptor::parse(&child.to_bytes().unwrap()).unwrap(), child);
    sddl::format(&child).unwrap()
}

#[test]
fn the_descriptors_of_known_tools_have_their_known_bytes() {
    // go-containerregistry's fixed value for every entry.
    assert_eq!(
        STANDARD.encode(bytes(security::OWNER_USERS)),
        "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAhAgAAAQIAAAAAAAUgAAAAIQIAAA=="
    );
    assert_eq!(
        STANDARD.encode(bytes(security::OWNER_ADMINISTRATORS)),
        "AQAAgBQAAAAkAAAAAAAAAAAAAAABAgAAAAAABSAAAAAgAgAAAQIAAAAAAAUgAAAAIAIAAA=="
    );
    assert_eq!(bytes(security::NULL_DACL), [&[1, 0, 4, 0x80][..], &[0; 16]].concat());
    for (text, is_directory) in [(security::BUILDKIT_DIRECTORY, true), (security::BUILDKIT_FILE, false)] {
        assert_eq!(sddl::parse(text).unwrap(), default_descriptor(is_directory), "{text}");
        assert_eq!(sddl::format(&default_descriptor(is_directory)).unwrap(), text);
    }
}

#[test]
fn parts_are_laid_out_as_owner_group_sacl_dacl() {
    let sd = bytes("D:(A;;FA;;;WD)S:(ML;;NW;;;LW)G:SYO:BA");
    let offset = |at: usize| u32::from_le_bytes(sd[at..at + 4].try_into().unwrap());
    assert_eq!([4, 8, 12, 16].map(offset), [20, 36, 48, 76]);
}

#[test]
fn sddl_reads_every_form_of_rights() {
    let mask = |rights: &str| match &sddl::parse(&format!("D:(A;;{rights};;;WD)")).unwrap().dacl.unwrap().aces
        [0]
    .body
    {
        AceBody::Basic { mask, .. } => *mask,
        other => panic!("{other:?}"),
    };
    assert_eq!(mask("0x1200a9"), 0x0012_00A9);
    assert_eq!(mask("0X1200A9"), 0x0012_00A9);
    assert_eq!(mask("1179817"), 0x0012_00A9);
    assert_eq!(mask("04400251"), 0x0012_00A9);
    assert_eq!(mask("FRFX"), 0x0012_00A9);
    assert_eq!(mask("frFx"), 0x0012_00A9);
    assert_eq!(mask("CCDCLCSWRPWPDTLOCRSDRCWDWO"), 0x000F_01FF);
    assert_eq!(mask("GAGRGWGX"), 0xF000_0000);
    assert_eq!(mask(""), 0);
    assert_eq!(mask("0"), 0);
}

#[test]
fn sddl_comes_back_as_it_was() {
    for text in [
        "",
        "O:BA",
        "O:BAG:SYD:P(A;OICI;FA;;;BA)",
        "D:PARAI(D;;GA;;;AN)(A;CIIOID;GR;;;CO)",
        "D:",
        "D:NO_ACCESS_CONTROL",
        "S:NO_ACCESS_CONTROL",
        "O:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464G:S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464D:PAI(A;;FA;;;S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464)",
        "D:(OA;;CCDC;bf967aba-0de6-11d0-a285-00aa003049e2;;AO)(OD;CI;RP;;bf967aba-0de6-11d0-a285-00aa003049e2;AU)(OA;;WP;bf967aba-0de6-11d0-a285-00aa003049e2;bf967aba-0de6-11d0-a285-00aa003049e3;PS)",
        "S:AI(AU;SAFA;FA;;;WD)(ML;;NWNRNX;;;HI)(ML;;0x100;;;LW)",
        "D:(A;;0x1200a9;;;WD)",
        "D:(A;CI;LC;;;BU)",
        "S:(SP;;0;;;S-1-17-1)",
    ] {
        let text = text.replace(";;0;;;", ";;0x100000;;;");
        let sd = sddl::parse(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(sddl::format(&sd).unwrap(), text);
        assert_eq!(SecurityDescriptor::parse(&sd.to_bytes().unwrap()).unwrap(), sd, "{text}");
    }
}

#[test]
fn sddl_errors_name_the_place() {
    for (text, position) in [
        ("X:BA", 0),
        ("O:ZZ", 2),
        ("O:BAG:", 6),
        ("O:BAO:BA", 4),
        ("D:(A;;FA;;;BA", 11),
        ("D:(A;QQ;FA;;;BA)", 5),
        ("D:(A;;F;;;BA)", 6),
        ("D:(A;;0x1FFFFFFFF;;;BA)", 6),
        ("D:(A;;08;;;BA)", 6),
        ("D:(B;;FA;;;BA)", 3),
        ("D:(A;;FA;bf967aba-0de6-11d0-a285-00aa003049e2;;BA)", 9),
        ("D:(OA;;FA;bf967aba;;BA)", 10),
        ("D:NO_ACCESS_CONTROL(A;;FA;;;BA)", 19),
        ("D:(A;;FA;;;BA)junk", 14),
        ("O:ü:", 2),
    ] {
        match sddl::parse(text).expect_err(text) {
            Error::Malformed { position: found, .. } => assert_eq!(found, position, "{text}"),
            other => panic!("{text}: {other}"),
        }
    }
}

#[test]
fn aliases_of_a_domain_need_its_sid() {
    let text = "O:LAG:DUD:(A;;FA;;;DA)";
    assert_eq!(sddl::parse(text), Err(Error::NeedsDomain { alias: "LA".into(), position: 2 }));
    let domain: Sid = "S-1-5-21-1-2-3".parse().unwrap();
    let sd = sddl::parse_in_domain(text, &domain).unwrap();
    assert_eq!(sd.owner.unwrap().to_string(), "S-1-5-21-1-2-3-500");
    assert_eq!(sd.group.unwrap().to_string(), "S-1-5-21-1-2-3-513");
}

#[test]
fn conditional_aces_are_refused_by_name() {
    for text in [
        "D:(XA;;FX;;;WD;(@User.Title==\"PM\"))",
        "D:(ZA;;FX;;;WD;(a))",
        "S:(RA;;;;;WD;(\"Secrecy\",TU,0,3))",
        "D:(A;;FA;;;WD;(condition))",
    ] {
        assert!(matches!(sddl::parse(text), Err(Error::UnsupportedSddl { .. })), "{text}");
    }
}

#[test]
fn a_conditional_ace_survives_as_bytes() {
    let raw = Ace { flags: 3, body: AceBody::Raw { ace_type: 9, bytes: b"mask, sid, artx....".to_vec() } };
    let sd = SecurityDescriptor { dacl: Some(Acl::new(vec![raw])), ..SecurityDescriptor::default() };
    let bytes = sd.to_bytes().unwrap();
    let read = SecurityDescriptor::parse(&bytes).unwrap();
    assert_eq!(read.dacl, sd.dacl);
    assert!(matches!(sddl::format(&read), Err(Error::NotRepresentable { .. })));
}

#[test]
fn an_ace_with_bytes_behind_its_sid_survives_as_bytes() {
    let sid: Sid = "S-1-1-0".parse().unwrap();
    let plain = Acl::new(vec![Ace::new(AceKind::Allow, 0, 1, sid)]).to_bytes().unwrap();
    let mut longer = [&plain[..], &[1, 2, 3, 4]].concat();
    longer[2] += 4;
    longer[10] += 4;
    let acl = Acl::parse(&longer).unwrap();
    assert!(matches!(acl.aces[0].body, AceBody::Raw { ace_type: 0, .. }));
    assert_eq!(acl.to_bytes().unwrap(), longer);
}

#[test]
fn broken_descriptors_are_refused_with_their_byte() {
    let good = bytes(security::BUILDKIT_FILE);
    let broken = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        SecurityDescriptor::validate(&bytes)
    };
    assert_eq!(SecurityDescriptor::validate(&good), Ok(()));
    assert!(matches!(broken(0, 2), Err(Error::Malformed { position: 0, .. })));
    assert!(matches!(broken(3, 0), Err(Error::Malformed { position: 2, .. })));
    assert!(matches!(broken(4, 19), Err(Error::Malformed { position: 4, .. })));
    assert!(matches!(broken(6, 1), Err(Error::Malformed { position: 4, .. })));
    assert!(matches!(broken(20, 9), Err(Error::Malformed { position: 20, structure: "SID", .. })));
    assert!(matches!(broken(50, 0xFF), Err(Error::Truncated { position: 48, structure: "ACL", .. })));
    for cut in 0..good.len() {
        assert!(SecurityDescriptor::validate(&good[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn an_error_inside_an_entry_counts_from_the_start_of_the_descriptor() {
    let guid = "bf967aba-0de6-11d0-a285-00aa003049e2";
    // Header 20, list header 8, then the entry: header, mask, flags, GUID, SID.
    for (text, sid) in [("D:(A;;FA;;;WD)".to_owned(), 36), (format!("D:(OA;;FA;{guid};;WD)"), 56)] {
        let mut bytes = bytes(&text);
        bytes[sid] = 9;
        let error = SecurityDescriptor::validate(&bytes).unwrap_err();
        assert!(matches!(error, Error::Malformed { position, .. } if position == sid), "{text}: {error}");
    }
}

#[test]
fn a_list_outside_its_present_bit_is_not_looked_at() {
    let mut sd = bytes(security::BUILDKIT_FILE);
    sd[2] &= !4;
    assert_eq!(SecurityDescriptor::parse(&sd).unwrap().dacl, None);
    assert!(!SecurityDescriptor::parse(&sd).unwrap().has_null_dacl());
    assert!(sddl::parse(security::NULL_DACL).unwrap().has_null_dacl());
}

#[test]
fn children_inherit_by_kind() {
    let parent = "D:(A;OI;FR;;;WD)(A;CI;FX;;;WD)(A;OICI;FA;;;SY)(A;;FA;;;BA)";
    assert_eq!(child(parent, false), "O:BAG:SYD:AI(A;ID;FR;;;WD)(A;ID;FA;;;SY)");
    assert_eq!(child(parent, true), "O:BAG:SYD:AI(A;OIIOID;FR;;;WD)(A;CIID;FX;;;WD)(A;OICIID;FA;;;SY)");
}

#[test]
fn no_propagate_stops_after_one_generation() {
    let parent = "D:(A;OINP;FR;;;WD)(A;CINP;FX;;;WD)(A;OICINPIO;GA;;;CO)";
    assert_eq!(child(parent, false), "O:BAG:SYD:AI(A;ID;FR;;;WD)(A;ID;FA;;;BA)");
    assert_eq!(child(parent, true), "O:BAG:SYD:AI(A;ID;FX;;;WD)(A;ID;FA;;;BA)");
}

#[test]
fn creator_owner_becomes_the_owner_and_goes_on() {
    let parent = "D:(A;OICIIO;GA;;;CO)(A;OICIIO;GR;;;CG)";
    assert_eq!(child(parent, false), "O:BAG:SYD:AI(A;ID;FA;;;BA)(A;ID;FR;;;SY)");
    assert_eq!(
        child(parent, true),
        "O:BAG:SYD:AI(A;ID;FA;;;BA)(A;OICIIOID;GA;;;CO)(A;ID;FR;;;SY)(A;OICIIOID;GR;;;CG)"
    );
}

#[test]
fn a_child_of_buildkits_directory_keeps_its_rights() {
    assert_eq!(
        child(security::BUILDKIT_DIRECTORY, true),
        "O:BAG:SYD:AI(A;OICIID;FA;;;BA)(A;OICIID;FA;;;SY)(A;ID;FA;;;BA)(A;OICIIOID;GA;;;CO)(A;OICIID;0x1200a9;;;BU)(A;CIID;LC;;;BU)(A;CIID;DC;;;BU)"
    );
    assert_eq!(
        child(security::BUILDKIT_DIRECTORY, false),
        "O:BAG:SYD:AI(A;ID;FA;;;BA)(A;ID;FA;;;SY)(A;ID;FA;;;BA)(A;ID;0x1200a9;;;BU)"
    );
}

#[test]
fn without_inheritable_entries_the_default_is_taken() {
    for parent in ["O:BUG:BU", "D:NO_ACCESS_CONTROL", "D:(A;;FA;;;BA)", "D:"] {
        assert_eq!(child(parent, true), security::BUILDKIT_DIRECTORY, "{parent}");
        assert_eq!(child(parent, false), security::BUILDKIT_FILE, "{parent}");
    }
}

#[test]
fn labels_and_audits_are_inherited_too() {
    let parent = "D:(A;OICI;FA;;;WD)S:(AU;OICISA;GA;;;WD)(ML;OICI;NW;;;LW)";
    assert_eq!(child(parent, false), "O:BAG:SYD:AI(A;ID;FA;;;WD)S:AI(AU;IDSA;FA;;;WD)(ML;ID;NW;;;LW)");
}

#[test]
fn entries_for_one_type_of_object_pass_files_by() {
    let guid = "bf967aba-0de6-11d0-a285-00aa003049e2";
    let parent = format!("D:(OA;OICI;RP;;{guid};WD)(A;OICI;FA;;;SY)");
    assert_eq!(child(&parent, false), "O:BAG:SYD:AI(A;ID;FA;;;SY)");
    assert_eq!(child(&parent, true), format!("O:BAG:SYD:AI(OA;OICIIOID;RP;;{guid};WD)(A;OICIID;FA;;;SY)"));
    let flags = inherit(&sddl::parse(&parent).unwrap(), true);
    assert_eq!(flags.control & control::DACL_AUTO_INHERITED, control::DACL_AUTO_INHERITED);
    assert!(flags.dacl.unwrap().aces.iter().all(|ace| ace.flags & ace_flags::INHERITED != 0));
}

#[test]
fn windows_wants_parts_and_entries_on_multiples_of_four() {
    let good = bytes("O:BAG:SYD:(A;;FA;;;BA)");
    assert_eq!(SecurityDescriptor::validate(&good), Ok(()));
    // The DACL moved by two bytes: it reads, and Windows refuses it.
    let dacl = u32::from_le_bytes(good[16..20].try_into().unwrap()) as usize;
    let mut moved = good.clone();
    moved.splice(dacl..dacl, [0, 0]);
    moved[16] += 2;
    assert!(SecurityDescriptor::parse(&moved).is_ok());
    let error = SecurityDescriptor::validate(&moved).unwrap_err();
    assert!(matches!(error, Error::Malformed { position: 16, .. }), "{error}");
    // An ACE of a length that is none, in a list that is one.
    let raw = Ace { flags: 0, body: AceBody::Raw { ace_type: 9, bytes: vec![0; 6] } };
    let sd =
        SecurityDescriptor { dacl: Some(Acl::new(vec![raw.clone(), raw])), ..SecurityDescriptor::default() };
    let odd = sd.to_bytes().unwrap();
    assert!(SecurityDescriptor::parse(&odd).is_ok());
    assert!(matches!(SecurityDescriptor::validate(&odd), Err(Error::Malformed { position: 30, .. })));
}

#[test]
fn an_offset_without_its_bit_means_nothing() {
    let mut bytes = bytes("O:BAD:(A;;FA;;;BA)");
    bytes[2] = 0;
    bytes[16] = 3;
    assert_eq!(SecurityDescriptor::validate(&bytes), Ok(()));
}

#[test]
fn the_canonical_order_refuses_first_and_inherits_last() {
    let guid = "bf967aba-0de6-11d0-a285-00aa003049e2";
    let canonical = format!(
        "D:AI(D;;FW;;;AN)(OD;;WP;{guid};;AN)(A;;FR;;;WD)(A;OICI;FA;;;BA)(OA;;RP;{guid};;WD)(A;ID;FA;;;SY)(D;ID;FA;;;BG)"
    );
    let list = |text: &str| sddl::parse(text).unwrap().dacl.unwrap();
    assert!(list(&canonical).is_canonical());
    assert_eq!(list(&canonical).to_canonical(), list(&canonical));
    let mixed = format!(
        "D:AI(A;ID;FA;;;SY)(OA;;RP;{guid};;WD)(A;;FR;;;WD)(D;ID;FA;;;BG)(A;OICI;FA;;;BA)(OD;;WP;{guid};;AN)(D;;FW;;;AN)"
    );
    assert!(!list(&mixed).is_canonical());
    assert_eq!(list(&mixed).to_canonical(), list(&canonical));
    assert!(list("D:").is_canonical());
    assert!(list(security::BUILDKIT_DIRECTORY).is_canonical());
    // A conditional refusal (callback) is one.
    let callback = Ace { flags: 0, body: AceBody::Raw { ace_type: 0x0A, bytes: vec![0; 16] } };
    let mut list = list("D:(A;;FA;;;BA)");
    list.aces.push(callback.clone());
    assert!(!list.is_canonical());
    assert_eq!(list.to_canonical().aces[0], callback);
}

#[test]
fn the_hash_of_ntfs_adds_words_to_the_rotated_sum() {
    assert_eq!(security::ntfs_hash(&[]), 0);
    assert_eq!(security::ntfs_hash(&[1, 0, 0, 0]), 1);
    assert_eq!(security::ntfs_hash(&[1, 0, 0, 0x80, 2, 0, 0, 0, 9]), (0x8000_0001_u32.rotate_left(3)) + 2);
}
