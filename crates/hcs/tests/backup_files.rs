//! Files through the backup API. Wine has no `BackupWrite`: there the calls are made and their refusal is looked at.
#![cfg(windows)]

use std::fs;
use std::io::Write as _;
use std::os::windows::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use layerstone_hcs::backup_files::{self, BackupFile, BasicInfo};
use layerstone_hcs::{Error, ErrorKind, Privilege, privilege, verbatim};
use layerstone_testing::skip;

/// Enables what opening a file with its audit part takes, or says that it is not held.
fn privileges(test: &str) -> Option<privilege::Enabled> {
    match privilege::enable(&[Privilege::Backup, Privilege::Restore, Privilege::Security]) {
        Ok(enabled) => Some(enabled),
        Err(error) => {
            skip(test, error);
            None
        }
    }
}

fn path(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    verbatim(&dir.path().join(name)).unwrap()
}

const THEN: i64 = 132_445_440_000_000_000;

/// A file of 5 bytes as a backup stream.
const STREAM: &[u8] = b"\x01\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0hello";

#[test]
fn files_and_directories_are_made_exclusively_and_have_their_times_before_their_content() {
    let Some(_enabled) = privileges("files_and_directories_are_made_exclusively") else { return };
    let dir = tempfile::tempdir().unwrap();
    let basic =
        BasicInfo { last_write: THEN, creation: THEN, attributes: 0x1 | 0x2 | 0x400, ..BasicInfo::default() };
    for directory in [false, true] {
        let path = path(&dir, if directory { "d" } else { "f" });
        let file = BackupFile::create(&path, directory).unwrap();
        file.set_basic_info(&basic).unwrap();
        let found = file.basic_info().unwrap();
        assert_eq!(found.last_write, THEN);
        file.close().unwrap();
        let stat = fs::symlink_metadata(&path).unwrap();
        assert_eq!((stat.is_dir(), stat.last_write_time()), (directory, THEN as u64));
        // That it were a reparse point cannot be set. (Wine keeps no read-only directories.)
        assert_eq!(stat.file_attributes() & 0x400, 0);
        assert!(directory || stat.file_attributes() & 0x1 != 0, "{:#x}", stat.file_attributes());
        let error = BackupFile::create(&path, directory).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    }
}

#[test]
fn a_backup_stream_is_written_and_read_or_refused_with_the_name_of_the_function() {
    const TEST: &str = "a_backup_stream_is_written_and_read_or_refused_with_the_name_of_the_function";
    let Some(_enabled) = privileges(TEST) else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir, "f");
    let mut file = BackupFile::create(&path, false).unwrap();
    match file.write_stream(STREAM) {
        Ok(()) => {
            file.close().unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"hello");
            let mut file = BackupFile::open_for_read(&path).unwrap();
            let mut stream = Vec::new();
            std::io::Read::read_to_end(&mut file, &mut stream).unwrap();
            assert!(stream.windows(STREAM.len()).any(|part| part == STREAM));
            file.close().unwrap();
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            let Error::Call { function, subject, code } = &error else { panic!("{error:?}") };
            assert_eq!((*function, subject, code.win32()), ("BackupWrite", &path, Some(50)));
            // As an error of the standard library it is the same one.
            assert_eq!(file.write(STREAM).unwrap_err().raw_os_error(), Some(50));
        }
    }
}

#[test]
fn a_file_that_is_open_in_one_direction_is_refused_in_the_other() {
    let Some(_enabled) = privileges("a_file_that_is_open_in_one_direction") else { return };
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir, "f");
    let mut file = BackupFile::create(&path, false).unwrap();
    assert_eq!(file.read_stream(&mut [0; 8]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    file.close().unwrap();
    let mut file = BackupFile::open_for_read(&path).unwrap();
    assert_eq!(file.write_stream(STREAM).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_hard_link_is_one_more_name_and_replaces_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (target, name) = (path(&dir, "target"), path(&dir, "name"));
    fs::write(&target, "one").unwrap();
    backup_files::hard_link(&target, &name).unwrap();
    fs::write(&name, "two").unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "two");

    let error = backup_files::hard_link(&target, &name).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
    let error = backup_files::hard_link(&path(&dir, "nothing"), &path(&dir, "other")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = backup_files::hard_link(&target, Path::new(r"C:\relative to nothing")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
}

#[test]
fn all_four_times_of_an_open_file_can_be_set_and_zero_leaves_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = path(&dir, "f");
    fs::write(&path, "x").unwrap();
    let file = backup_files::open_attributes(&path, true).unwrap();
    let times = BasicInfo {
        creation: THEN + 10,
        last_access: THEN + 20,
        last_write: THEN + 30,
        ..BasicInfo::default()
    };
    backup_files::set_basic_info(&file, &times).unwrap();
    backup_files::set_basic_info(&file, &BasicInfo { last_write: THEN + 40, ..BasicInfo::default() })
        .unwrap();
    let found = backup_files::basic_info(&file).unwrap();
    assert_eq!((found.last_access, found.last_write), (THEN + 20, THEN + 40));
}
