//! What the tests of the projects that the samples come from say of them.

#[cfg(unix)]
use layerstone_nt::hive::Version;
use layerstone_nt::hive::{Content, Hive, KeyFlags};
use layerstone_nt::{FileTime, WideString};

use crate::support::{hives, sample};

#[test]
fn every_sample_has_the_keys_and_values_that_other_readers_find() {
    const TEST: &str = "every_sample_has_the_keys_and_values_that_other_readers_find";
    for (name, keys, values) in hives() {
        let Some(bytes) = sample(TEST, name) else { return };
        let hive = Hive::open(&bytes).unwrap();
        let (mut found_keys, mut found_values) = (0, 0);
        for key in hive.walk() {
            let key = key.unwrap_or_else(|error| panic!("{name}: {error}"));
            found_keys += 1;
            for value in key.values() {
                value.and_then(|value| value.data()).unwrap_or_else(|error| panic!("{name}: {error}"));
                found_values += 1;
            }
            key.security_descriptor().unwrap_or_else(|error| panic!("{name}: {error}"));
            key.class().unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        assert_eq!((found_keys, found_values), (keys, values), "{name}");
    }
}

/// dfwinreg, `tests/regf.py`.
#[test]
fn keys_and_values_are_where_the_tests_of_dfwinreg_find_them() {
    const TEST: &str = "keys_and_values_are_where_the_tests_of_dfwinreg_find_them";
    let Some(bytes) = sample(TEST, "plaso/NTUSER.DAT.gz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let software = hive.key(r"\Software").unwrap().unwrap();
    assert_eq!((software.subkeys().count(), software.values().count()), (7, 0));
    // There, a key is where its content is.
    assert_eq!(software.position() + 4, 4372);
    assert_eq!(software.last_written(), FileTime(131_205_170_396_534_120));
    assert_eq!(software.class(), Ok(None));
    let console = hive.key("console").unwrap().unwrap();
    assert_eq!(console.values().count(), 37);
    assert!(console.value("colortable14").unwrap().is_some());
    assert!(console.value("Bogus").unwrap().is_none());
    assert!(hive.key("Bogus").unwrap().is_none());
    let default = hive.key(r"AppEvents\EventLabels\.Default").unwrap().unwrap().value("").unwrap().unwrap();
    assert!(default.is_default());
    assert_eq!(hive.root().unwrap().subkeys().next().unwrap().unwrap().name().to_string(), "AppEvents");
    let below = hive.walk().map(Result::unwrap).skip_while(|key| key.cell() != software.cell());
    // With the key itself.
    assert_eq!(1 + below.skip(1).take_while(|key| key.depth() > 1).count(), 1219);
}

/// notatin, `src/parser.rs`.
#[test]
fn keys_are_where_the_tests_of_notatin_find_them() {
    const TEST: &str = "keys_are_where_the_tests_of_notatin_find_them";
    let Some(bytes) = sample(TEST, "notatin/NTUSER.DAT.gz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let root = hive.root().unwrap();
    assert_eq!(root.name().to_string(), "CsiTool-CreateHive-{00000000-0000-0000-0000-000000000000}");
    assert_eq!(root.values().count(), 0);
    let response = hive.key(r"Control Panel\Accessibility\Keyboard Response").unwrap().unwrap();
    assert_eq!(response.values().count(), 9);
    assert!(hive.key(r"Control Panel\Accessibility\XYZ").unwrap().is_none());
    let microsoft = hive.key(r"software\microsoft").unwrap().unwrap();
    let keys: Vec<_> = hive
        .walk()
        .map(Result::unwrap)
        .skip_while(|key| key.cell() != microsoft.cell())
        .enumerate()
        .take_while(|(n, key)| *n == 0 || key.depth() > 2)
        .map(|(_, key)| key.values().count())
        .collect();
    assert_eq!((keys.len(), keys.iter().sum()), (2390, 4791));
}

/// python-registry, `tests/test_issue22.py` and `tests/test_reorganized_values.py`.
#[test]
fn text_and_access_bits_are_those_of_the_tests_of_python_registry() {
    const TEST: &str = "text_and_access_bits_are_those_of_the_tests_of_python_registry";
    let Some(bytes) = sample(TEST, "python-registry/issue22.hive") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let value = hive.root().unwrap().value("TimeZoneKeyName").unwrap().unwrap();
    let Content::Text(text) = value.content().unwrap() else { panic!() };
    // What follows the first NUL is left from another name.
    let ends = text.units().iter().position(|&unit| unit == 0).unwrap_or(text.len());
    assert_eq!(WideString::from(&text.units()[..ends]), WideString::from("W. Europe Standard Time"));

    let Some(bytes) = sample(TEST, "python-registry/REORGANIZED_VALUES_TESTS") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let subkeys: Vec<_> = hive.root().unwrap().subkeys().map(Result::unwrap).collect();
    assert_eq!(subkeys.len(), 2);
    assert!(subkeys.iter().all(|key| key.access_bits() == 2));
}

/// EricZimmerman/Registry, `Registry.Test/TestRegistryHive.cs`.
#[test]
fn keys_are_where_the_tests_of_eric_zimmermans_parser_find_them() {
    const TEST: &str = "keys_are_where_the_tests_of_eric_zimmermans_parser_find_them";
    let Some(bytes) = sample(TEST, "ericz/SAM.gz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    assert!(hive.key(r"SAM\Domains").unwrap().is_some());
    assert!(hive.key(r"SAM\Domains\DoesNotExist").unwrap().is_none());
    assert!(hive.walk().any(|key| key.unwrap().cell() == 0x418));

    let Some(bytes) = sample(TEST, "ericz/UsrClassDeletedBags.dat.gz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let key = hive.key(r"Local Settings\MuiCache\6\52C64B7E").unwrap().unwrap();
    let languages = key.value("LanguageList").unwrap().unwrap().content().unwrap();
    assert_eq!(languages, Content::List(vec!["en-US".into(), "en".into()]));

    // The offline registry library does not mark the root; readers that look for the mark find none.
    let Some(bytes) = sample(TEST, "ericz/SECURITYNoRoot") else { return };
    let hive = Hive::open(&bytes).unwrap();
    assert!(hive.base().written_offline.is_some());
    assert!(!hive.root().unwrap().flags().has(KeyFlags::HIVE_ENTRY));
}

/// regipy, `regipy_tests/tests.py`.
#[cfg(unix)]
#[test]
fn base_block_and_names_are_those_of_the_tests_of_regipy() {
    const TEST: &str = "base_block_and_names_are_those_of_the_tests_of_regipy";
    let Some(bytes) = sample(TEST, "regipy/NTUSER.DAT.xz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    let base = hive.base();
    assert_eq!((base.primary_sequence, base.secondary_sequence), (749, 749));
    assert_eq!(base.last_written, FileTime(129_782_982_453_388_850));
    assert_eq!((base.version, base.root, base.bins_size), (Version::V1_3, 32, 733_184));
    assert_eq!(base.file_name.to_string(), r"?\C:\Users\vibranium\ntuser.dat");
    assert!(!base.is_dirty());
    let root = hive.root().unwrap();
    assert_eq!(root.name().to_string(), "CMI-CreateHive{6A1C4018-979D-4291-A7DC-7AED1C75B67C}");
    let run = hive.key(r"\Software\Microsoft\Windows\CurrentVersion\Run").unwrap().unwrap();
    assert_eq!(run.name().to_string(), "Run");
    let first = run.values().next().unwrap().unwrap();
    assert_eq!(
        (first.name().to_string(), first.value_type().to_string()),
        ("Sidebar".into(), "REG_EXPAND_SZ".into())
    );

    let Some(bytes) = sample(TEST, "regipy/transactions_NTUSER.DAT.xz") else { return };
    let hive = Hive::open(&bytes).unwrap();
    assert!(hive.base().is_dirty());
    let international = hive.key(r"\Control Panel\International").unwrap().unwrap();
    let names: Vec<_> = international.subkeys().map(|key| key.unwrap().name().to_string()).collect();
    assert_eq!(names, ["Geo", "User Profile", "User Profile System Backup", "🌎🌏🌍"]);
    assert!(hive.key("Control Panel\\International\\🌎🌏🌍").unwrap().is_some());
}
