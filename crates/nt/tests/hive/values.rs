//! What people see of values.

use std::borrow::Cow;

use layerstone_nt::hive::{Content, ValueType};

fn content(value_type: ValueType, data: &[u8]) -> Content<'_> {
    Content::new(value_type, Cow::Borrowed(data))
}

#[test]
fn each_type_has_the_name_of_the_windows_sdk_and_its_number() {
    let names = [
        "REG_NONE",
        "REG_SZ",
        "REG_EXPAND_SZ",
        "REG_BINARY",
        "REG_DWORD",
        "REG_DWORD_BIG_ENDIAN",
        "REG_LINK",
        "REG_MULTI_SZ",
        "REG_RESOURCE_LIST",
        "REG_FULL_RESOURCE_DESCRIPTOR",
        "REG_RESOURCE_REQUIREMENTS_LIST",
        "REG_QWORD",
    ];
    for (number, name) in names.into_iter().enumerate() {
        let value_type = ValueType::from_number(number as u32);
        assert_eq!((value_type.name(), value_type.number()), (Some(name), number as u32));
    }
    let other = ValueType::from_number(0xFFFF_0011);
    assert_eq!(
        (other.name(), other.number(), other.to_string()),
        (None, 0xFFFF_0011, "0xffff0011".to_owned())
    );
}

#[test]
fn data_is_shown_by_its_type() {
    let cases: [(ValueType, &[u8], &str); 16] = [
        (ValueType::Sz, b"a\0b\0\0\0", "\"ab\""),
        (ValueType::Sz, b"a\0b\0", "\"ab\""),
        (ValueType::Sz, b"", "\"\""),
        (ValueType::Sz, b"a\0\0\0b\0", "\"a\\0b\""),
        (ValueType::Sz, b"abc", "61 62 63"),
        (ValueType::ExpandSz, b"%\0", "\"%\""),
        (ValueType::Dword, &[42, 0, 0, 0], "0x0000002a (42)"),
        (ValueType::Dword, &[42, 0, 0], "2a 00 00"),
        (ValueType::DwordBigEndian, &[0, 0, 0, 42], "0x0000002a (42)"),
        (ValueType::Qword, &[1, 0, 0, 0, 0, 0, 0, 0x80], "0x8000000000000001 (9223372036854775809)"),
        (ValueType::Binary, &[0, 255], "00 ff"),
        (ValueType::MultiSz, b"a\0\0\0b\0\0\0\0\0", "[\"a\", \"b\"]"),
        (ValueType::MultiSz, b"a\0\0\0b\0", "[\"a\", \"b\"]"),
        (ValueType::MultiSz, b"a\0\0\0\0\0b\0\0\0\0\0", "[\"a\", \"\", \"b\"]"),
        (ValueType::MultiSz, b"\0\0", "[]"),
        (ValueType::Other(0x11), &[1], "01"),
    ];
    for (value_type, data, shown) in cases {
        assert_eq!(content(value_type, data).to_string(), shown, "{value_type} {data:?}");
    }
}

#[test]
fn what_is_cut_off_is_counted() {
    assert_eq!(content(ValueType::Binary, &[1, 2, 3, 4]).display(2).to_string(), "01 02 ... 2 more");
    assert_eq!(content(ValueType::Sz, b"a\0b\0c\0\0\0").display(1).to_string(), "\"a\" ... 2 more");
    assert_eq!(
        content(ValueType::MultiSz, b"a\0\0\0b\0\0\0\0\0").display(1).to_string(),
        "[\"a\", ... 1 more]"
    );
}
