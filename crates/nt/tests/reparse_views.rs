//! Reparse points other than links: what is published of them is read, and is written again to the byte.

use layerstone_nt::reparse::{LxSpecial, NameUnit, View, Wof};
use layerstone_nt::tar::WindowsMetadata;
use layerstone_nt::{Error, ReparseData, ReparsePoint, ReparseTag, WideString};
use proptest::prelude::*;

fn raw(tag: ReparseTag, data: &[u8]) -> ReparsePoint {
    ReparsePoint { tag, data: ReparseData::Raw(data.to_vec()) }
}

fn view(tag: ReparseTag, data: &[u8]) -> View {
    let point = raw(tag, data);
    let view = View::of(&point).unwrap().unwrap();
    assert_eq!(view.to_point().unwrap(), point, "{view}");
    view
}

fn utf16(text: &str) -> Vec<u8> {
    WideString::from(text).to_le_bytes()
}

#[test]
fn a_wsl_symlink_has_its_target_behind_the_version() {
    let found = view(ReparseTag::LX_SYMLINK, b"\x02\0\0\0../\xC3\xA9");
    assert_eq!(found, View::LxSymlink { target: "../é".into() });
    assert_eq!(found.to_string(), "WSL symlink to \"../é\"");
    assert!(View::of(&raw(ReparseTag::LX_SYMLINK, b"\x01\0\0\0x")).is_err());
    assert!(View::of(&raw(ReparseTag::LX_SYMLINK, b"\x02\0")).is_err());
}

#[test]
fn special_files_of_wsl_have_no_data() {
    for (tag, kind) in [
        (ReparseTag::AF_UNIX, LxSpecial::Socket),
        (ReparseTag::LX_FIFO, LxSpecial::Fifo),
        (ReparseTag::LX_CHR, LxSpecial::CharDevice),
        (ReparseTag::LX_BLK, LxSpecial::BlockDevice),
    ] {
        assert_eq!(view(tag, b""), View::LxSpecial(kind));
        assert!(View::of(&raw(tag, b"x")).is_err());
    }
}

#[test]
fn a_placeholder_of_a_layer_is_read_in_either_unit_of_its_length() {
    let name = r"Windows\System32\a.dll";
    let data = |length: usize| {
        let mut data = vec![1, 0, 0, 0, 0, 0, 0, 0];
        data.extend_from_slice(&[
            0x33, 0x22, 0x11, 0x00, 0x55, 0x44, 0x77, 0x66, 8, 9, 10, 11, 12, 13, 14, 15,
        ]);
        data.extend_from_slice(&(length as u16).to_le_bytes());
        data.extend_from_slice(&utf16(name));
        data
    };
    for (length, unit) in [(2 * name.len(), NameUnit::Bytes), (name.len(), NameUnit::Characters)] {
        for (tag, directory) in [(ReparseTag::WCI, false), (ReparseTag::WCI_1, true)] {
            let found = view(tag, &data(length));
            let View::Wci { is_directory, layer, name: read, unit: found_unit } = &found else {
                panic!("{found:?}")
            };
            assert_eq!((*is_directory, read.to_string().as_str(), *found_unit), (directory, name, unit));
            assert_eq!(layer[..4], [0x33, 0x22, 0x11, 0x00]);
            assert_eq!(
                found.to_string(),
                r#"placeholder of "Windows\\System32\\a.dll" in layer 00112233-4455-6677-0809-0a0b0c0d0e0f"#
            );
        }
    }
    for wrong in [0, 1, name.len() + 1, 2 * name.len() - 2] {
        let error = View::of(&raw(ReparseTag::WCI, &data(wrong))).unwrap_err();
        assert!(matches!(error, Error::Malformed { position: 24, .. }), "{error}");
    }
    // Without a name both units are 0: the root of the layer.
    let root =
        view(ReparseTag::WCI, &data(2 * name.len())[..24].iter().copied().chain([0, 0]).collect::<Vec<_>>());
    assert!(matches!(root, View::Wci { unit: NameUnit::Bytes, .. }));
    for cut in 0..26 {
        assert!(View::of(&raw(ReparseTag::WCI, &data(name.len())[..cut])).is_err(), "cut at {cut}");
    }
}

#[test]
fn compressed_system_files_say_how() {
    let found = view(ReparseTag::WOF, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(found, View::Wof(Wof::File { version: 1, algorithm: 1, flags: None }));
    assert_eq!(found.to_string(), "compressed by WOF with LZX");
    let longer = view(ReparseTag::WOF, &[1, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0]);
    assert_eq!(longer, View::Wof(Wof::File { version: 1, algorithm: 0, flags: Some(9) }));
    let mut wim = vec![1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0];
    wim.extend_from_slice(&[0xAB; 20]);
    assert_eq!(
        view(ReparseTag::WOF, &wim),
        View::Wof(Wof::Wim { version: 2, flags: 0, source: 7, hash: [0xAB; 20] })
    );
    for wrong in [&wim[..43], &[1, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0], &[2, 0, 0, 0], &[]] {
        assert!(View::of(&raw(ReparseTag::WOF, wrong)).is_err(), "{wrong:?}");
    }
}

#[test]
fn an_application_alias_is_a_list_of_strings() {
    let data = [&[3, 0, 0, 0][..], &utf16("Package_8wekyb\0Package_8wekyb!App\0C:\\a.exe\0")].concat();
    let found = view(ReparseTag::APPEXECLINK, &data);
    assert_eq!(found.to_string(), r#"application alias of "C:\\a.exe""#);
    let View::AppExecLink { version: 3, strings } = found else { panic!() };
    assert_eq!(strings.len(), 3);
    view(ReparseTag::APPEXECLINK, &[3, 0, 0, 0]);
    assert!(View::of(&raw(ReparseTag::APPEXECLINK, &data[..data.len() - 2])).is_err());
    assert!(View::of(&raw(ReparseTag::APPEXECLINK, &data[..data.len() - 1])).is_err());
    let nul = View::AppExecLink { version: 3, strings: vec!["a\0b".into()] };
    assert!(nul.to_point().is_err());
}

#[test]
fn all_sixteen_tags_of_cloud_files_have_a_view() {
    for kind in 0..16_u32 {
        let tag = ReparseTag(ReparseTag::CLOUD.0 | kind << 12);
        let found = view(tag, &[1, 0x80, 4, 0, b'F', b'e', b'R', b'p']);
        assert!(matches!(found, View::Cloud { flags: 0x8001, length: 4, .. }), "{tag}");
        assert!(tag.name().is_some_and(|name| name.starts_with("CLOUD")));
    }
    assert!(!ReparseTag::PROJFS.is_cloud());
}

#[test]
fn tags_without_a_view_stay_raw() {
    for tag in [ReparseTag::WCI_TOMBSTONE, ReparseTag::DEDUP, ReparseTag(0x8000_7777)] {
        assert_eq!(View::of(&raw(tag, b"abc")), Ok(None));
    }
    let link = ReparsePoint::from_target(&"a".into(), layerstone_nt::reparse::TargetKind::Symlink);
    assert_eq!(View::of(&link), Ok(None));
}

#[test]
fn a_layer_tar_refuses_such_a_point_and_says_what_it_is() {
    let wof = View::Wof(Wof::File { version: 1, algorithm: 2, flags: None });
    let metadata = WindowsMetadata { reparse: Some(wof.to_point().unwrap()), ..WindowsMetadata::default() };
    let error = metadata.to_records().unwrap_err().to_string();
    assert!(error.contains("WOF (0x80000017): compressed by WOF with XPRESS8K"), "{error}");
}

proptest! {
    #[test]
    fn whatever_a_view_reads_it_writes_again(
        tag in prop::sample::select(vec![
            ReparseTag::LX_SYMLINK, ReparseTag::WCI, ReparseTag::WCI_1, ReparseTag::WOF, ReparseTag::APPEXECLINK,
            ReparseTag::CLOUD_3, ReparseTag::AF_UNIX,
        ]),
        version in 0..4_u32,
        rest in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..64),
    ) {
        let point = raw(tag, &[&version.to_le_bytes()[..], &rest].concat());
        if let Ok(Some(view)) = View::of(&point) {
            prop_assert_eq!(view.to_point().unwrap(), point);
        }
    }
}
