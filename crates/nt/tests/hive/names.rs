//! The names of the five hives.

use layerstone_nt::hive::SystemHive;

#[test]
fn each_hive_is_known_by_all_of_its_names_in_any_case() {
    for hive in SystemHive::ALL {
        for name in
            [hive.file_name().to_owned(), hive.base_name(), hive.delta_name(), hive.mount_point().to_owned()]
        {
            for name in [name.clone(), name.to_uppercase(), name.to_lowercase()] {
                assert_eq!(SystemHive::from_name(&name), Some(hive), "{name}");
            }
        }
    }
    assert_eq!(SystemHive::from_name("software_Delta"), Some(SystemHive::Software));
    assert_eq!(SystemHive::from_name("DefaultUser_Delta"), Some(SystemHive::Default));
    assert_eq!(SystemHive::from_name("Default_Delta"), None);
    assert_eq!(SystemHive::from_name("COMPONENTS"), None);
    assert_eq!(SystemHive::from_name(""), None);
    assert_eq!(SystemHive::from_name("é"), None);
}

#[test]
fn a_registry_path_is_cut_into_hive_and_path() {
    let split = |path| SystemHive::split_path(path);
    assert_eq!(
        split(r"HKLM\SOFTWARE\Microsoft\Windows"),
        Some((SystemHive::Software, r"Microsoft\Windows".to_owned()))
    );
    assert_eq!(split(r"hkey_local_machine\System"), Some((SystemHive::System, String::new())));
    assert_eq!(split(r"HKEY_USERS\.Default\Console"), Some((SystemHive::Default, "Console".to_owned())));
    assert_eq!(split(r"\HKLM\SAM\"), Some((SystemHive::Sam, String::new())));
    assert_eq!(split(r"HKLM\SOFTWARES"), None);
    assert_eq!(split("HKCU"), None);
    assert_eq!(split("HKLM"), None);
}
