//! Paths, and what is told of the host.
#![cfg(windows)]

use std::ffi::OsString;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use layerstone_hcs::{Error, ErrorKind, HResult, functions, host, verbatim};

#[test]
fn verbatim_paths_have_no_limit() {
    let cases = [
        (r"C:\layers\a", r"\\?\C:\layers\a"),
        (r"c:/layers/./x/../new", r"\\?\c:\layers\new"),
        (r"C:\layers\", r"\\?\C:\layers\"),
        (r"\\server\share\layers\a", r"\\?\UNC\server\share\layers\a"),
        (r"\\?\C:\layers\.\a", r"\\?\C:\layers\.\a"),
        (r"\\?\UNC\server\share\a", r"\\?\UNC\server\share\a"),
        (r"\\.\PhysicalDrive0", r"\\.\PhysicalDrive0"),
        (
            r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\",
            r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\",
        ),
    ];
    for (path, expected) in cases {
        assert_eq!(verbatim(Path::new(path)).unwrap(), Path::new(expected), "{path}");
        assert_eq!(verbatim(Path::new(path)).unwrap().as_os_str(), expected, "{path}");
    }
    let current = std::env::current_dir().unwrap();
    let relative = verbatim(Path::new(r"layers\a")).unwrap();
    assert!(relative.as_os_str().to_str().unwrap().starts_with(r"\\?\"), "{relative:?}");
    assert!(relative.ends_with(r"layers\a"), "{relative:?}");
    assert_eq!(relative, verbatim(&current).unwrap().join(r"layers\a"));
    let long = format!(r"C:\layers\{}", "deep\\".repeat(100));
    assert_eq!(verbatim(Path::new(&long)).unwrap().as_os_str(), format!(r"\\?\{long}").as_str());
}

#[test]
fn verbatim_paths_keep_what_is_no_unicode_and_refuse_nul() {
    let units: Vec<u16> = r"C:\a".encode_utf16().chain([0xD800, u16::from(b'b')]).collect();
    let path = PathBuf::from(OsString::from_wide(&units));
    let expected: Vec<u16> = r"\\?\C:\a".encode_utf16().chain([0xD800, u16::from(b'b')]).collect();
    assert_eq!(verbatim(&path).unwrap(), PathBuf::from(OsString::from_wide(&expected)));
    assert!(matches!(verbatim(Path::new("C:\\a\0b")), Err(Error::Nul(_))));
    assert!(matches!(verbatim(Path::new("")), Err(Error::Argument { .. })));
}

#[test]
fn a_long_verbatim_path_can_be_made_and_found() {
    let directory = tempfile::tempdir().unwrap();
    let long = directory.path().join("twelve chars\\".repeat(30));
    let long = verbatim(&long).unwrap();
    assert!(long.as_os_str().len() > 300);
    std::fs::create_dir_all(&long).unwrap();
    std::fs::write(long.join("file"), "found").unwrap();
    assert_eq!(std::fs::read_to_string(long.join("file")).unwrap(), "found");
}

#[test]
fn the_mount_path_of_a_disk_gets_its_backslash_by_joining_nothing() {
    // What the crate's example does.
    let volume = PathBuf::from(r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}");
    assert_eq!(volume.join("").as_os_str(), r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\");
}

#[test]
fn the_host_is_described() {
    // Windows 7 is the oldest that Wine claims to be.
    assert!(host::build().0 >= 7600, "{}", host::build());
    let probes = host::probe();
    assert_eq!(probes.len(), functions::all().count());
    let storage = Path::new(r"C:\windows\system32\computestorage.dll").exists();
    for probe in &probes {
        if probe.function.library == "computestorage.dll" && !storage {
            assert_eq!(probe.missing, Some(HResult::from_win32(126)));
            assert!(!probe.is_present());
        }
    }
    let open = probes.iter().find(|probe| probe.function.name == "OpenVirtualDisk").unwrap();
    assert!(open.is_present());
    host::is_elevated().unwrap();
}

#[test]
fn a_volume_is_described_for_paths_that_do_not_exist_too() {
    let here = host::volume(Path::new(r"C:\windows")).unwrap();
    assert_eq!(here.root.as_os_str().to_ascii_lowercase(), r"c:\");
    assert!(here.size > 0 && here.free <= here.size, "{here:?}");
    assert_eq!(here.holds_layers(), here.file_system.eq_ignore_ascii_case("ntfs"));
    let nowhere = host::volume(Path::new(r"C:\there is\nothing here")).unwrap();
    assert_eq!((nowhere.root, nowhere.file_system), (here.root, here.file_system));
    let error = host::volume(Path::new("C:\\a\0b")).unwrap_err();
    assert!(matches!(error, Error::Nul(_)), "{error}");
}

#[test]
fn filter_drivers_are_listed_or_the_reason_is_told() {
    match host::filter_drivers() {
        // Wine has the function and no drivers. On Windows the file system's own filters are always there.
        Ok(drivers) => {
            assert!(drivers.iter().all(|driver| !driver.name.is_empty() && !driver.altitude.is_empty()));
        }
        // Windows wants elevation.
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::AccessDenied | ErrorKind::PrivilegeNotHeld), "{error}")
        }
    }
}
