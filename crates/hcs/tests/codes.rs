//! What a code means, on every system.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use layerstone_hcs::catalogue;
use layerstone_hcs::functions::{self, Build};
use layerstone_hcs::{Error, ErrorKind, HResult, Privilege, Retry};
use windows_sys::Win32::Foundation as sys;

fn call(code: HResult) -> Error {
    Error::Call { function: "HcsImportLayer", subject: PathBuf::from("layer"), code }
}

/// Microsoft's constants, by name: an HRESULT, an NTSTATUS, or a code of Win32.
fn microsofts(name: &str) -> HResult {
    macro_rules! table {
        (win32: $($win32:ident)*; as_it_is: $($other:ident)*) => {
            match name {
                "RPC_S_SERVER_UNAVAILABLE" => {
                    HResult::from_win32(windows_sys::Win32::System::Rpc::RPC_S_SERVER_UNAVAILABLE.cast_unsigned())
                }
                $(stringify!($win32) => HResult::from_win32(sys::$win32),)*
                $(stringify!($other) => HResult(sys::$other as u32),)*
                _ => panic!("{name} is not compared with Microsoft's number"),
            }
        };
    }
    table! {
        win32:
            ERROR_INVALID_FUNCTION ERROR_FILE_NOT_FOUND ERROR_PATH_NOT_FOUND ERROR_BAD_FORMAT ERROR_WRITE_PROTECT
            ERROR_NOT_READY ERROR_GEN_FAILURE ERROR_SHARING_VIOLATION ERROR_LOCK_VIOLATION ERROR_NOT_SUPPORTED
            ERROR_DEV_NOT_EXIST ERROR_FILE_EXISTS ERROR_DISK_FULL ERROR_CALL_NOT_IMPLEMENTED ERROR_INVALID_NAME
            ERROR_MOD_NOT_FOUND ERROR_PROC_NOT_FOUND ERROR_DIR_NOT_EMPTY ERROR_BAD_PATHNAME ERROR_BUSY
            ERROR_ALREADY_EXISTS ERROR_FILENAME_EXCED_RANGE ERROR_DIRECTORY ERROR_FAILED_DRIVER_ENTRY
            ERROR_UNRECOGNIZED_VOLUME ERROR_BADDB ERROR_REGISTRY_IO_FAILED ERROR_NOT_REGISTRY_FILE
            ERROR_SERVICE_DISABLED ERROR_SERVICE_NOT_ACTIVE ERROR_IO_DEVICE ERROR_DEVICE_NOT_CONNECTED ERROR_NOT_FOUND
            ERROR_NOT_ALL_ASSIGNED ERROR_PRIVILEGE_NOT_HELD ERROR_BAD_IMPERSONATION_LEVEL ERROR_FILE_CORRUPT
            ERROR_NO_SYSTEM_RESOURCES ERROR_TIMEOUT ERROR_CANT_ACCESS_FILE
            ERROR_NOT_A_REPARSE_POINT ERROR_INVALID_REPARSE_DATA ERROR_VHD_FORMAT_UNKNOWN
            ERROR_VHD_PARENT_VHD_NOT_FOUND ERROR_VHD_CHILD_PARENT_ID_MISMATCH ERROR_VHD_INVALID_SIZE
            ERROR_VIRTDISK_PROVIDER_NOT_FOUND ERROR_VIRTDISK_NOT_VIRTUAL_DISK ERROR_VHD_PARENT_VHD_ACCESS_DENIED
            ERROR_VIRTUAL_DISK_LIMITATION ERROR_VIRTDISK_DISK_ALREADY_OWNED;
        as_it_is:
            E_ACCESSDENIED E_HANDLE E_OUTOFMEMORY E_INVALIDARG E_NOTIMPL E_POINTER E_FAIL E_UNEXPECTED
            ERROR_FLT_DO_NOT_ATTACH ERROR_FLT_DO_NOT_DETACH ERROR_FLT_INSTANCE_ALTITUDE_COLLISION
            ERROR_FLT_INSTANCE_NAME_COLLISION ERROR_FLT_FILTER_NOT_FOUND ERROR_FLT_VOLUME_NOT_FOUND
            ERROR_FLT_INSTANCE_NOT_FOUND STATUS_ACCESS_DENIED STATUS_SHARING_VIOLATION STATUS_PRIVILEGE_NOT_HELD
            STATUS_DISK_FULL STATUS_ASSERTION_FAILURE HCS_E_TERMINATED_DURING_START HCS_E_IMAGE_MISMATCH
            HCS_E_HYPERV_NOT_INSTALLED HCS_E_INVALID_STATE HCS_E_UNEXPECTED_EXIT HCS_E_TERMINATED HCS_E_CONNECT_FAILED
            HCS_E_CONNECTION_TIMEOUT HCS_E_CONNECTION_CLOSED HCS_E_INVALID_JSON HCS_E_SYSTEM_NOT_FOUND
            HCS_E_SYSTEM_ALREADY_EXISTS HCS_E_SYSTEM_ALREADY_STOPPED HCS_E_INVALID_LAYER HCS_E_WINDOWS_INSIDER_REQUIRED
            HCS_E_SERVICE_NOT_AVAILABLE HCS_E_OPERATION_TIMEOUT HCS_E_ACCESS_DENIED HCS_E_GUEST_CRITICAL_ERROR
            HCS_E_SERVICE_DISCONNECT HCS_E_OPERATION_PENDING HCS_E_PROCESS_INFO_NOT_AVAILABLE
            HCS_E_PROCESS_ALREADY_STOPPED HCS_E_SYSTEM_NOT_CONFIGURED_FOR_OPERATION
    }
}

#[test]
fn every_name_has_microsofts_number() {
    for known in catalogue::all() {
        assert_eq!(known.code, microsofts(known.name), "{}", known.name);
    }
}

#[test]
fn the_catalogue_says_of_every_code_what_causes_it_and_what_to_do() {
    let mut seen = HashSet::new();
    for known in catalogue::all() {
        assert!(seen.insert(known.code.0), "{} is there twice", known.name);
        assert!(!known.code.is_success() && known.code.canonical() == known.code, "{}", known.name);
        assert!(
            !known.causes.is_empty() && known.causes.iter().all(|cause| !cause.is_empty()),
            "{}",
            known.name
        );
        for text in [known.text, known.here, known.remedy, known.source] {
            assert!(
                !text.is_empty() && !text.contains("  ") && !text.ends_with('.'),
                "{}: {text}",
                known.name
            );
        }
    }
    assert!(seen.len() >= 40, "{}", seen.len());
}

#[test]
fn the_kind_of_a_code_is_the_catalogues() {
    for known in catalogue::all() {
        assert_eq!(known.code.kind(), known.kind, "{}", known.name);
        assert_eq!(call(known.code).kind(), known.kind);
        assert_eq!(call(known.code).known(), Some(known));
    }
    assert_eq!(HResult(0x8007_FFFF).kind(), ErrorKind::Other);
    assert_eq!(call(HResult(0x8007_FFFF)).known(), None);
}

#[test]
fn both_spellings_of_a_code_are_the_same() {
    for known in catalogue::all().filter(|known| matches!(known.code.0 >> 16, 0x8037 | 0x8007)) {
        let other = HResult(known.code.0 | 0x4000_0000);
        assert_eq!(other.canonical(), known.code);
        assert_eq!((other.kind(), other.known()), (known.kind, Some(known)));
    }
    // Those of the kernel and of virtual disks are not shortened.
    assert_eq!(HResult(0xC000_0420).known().unwrap().name, "STATUS_ASSERTION_FAILURE");
    assert_eq!(HResult(0xC000_0420).kind(), ErrorKind::InUse);
    assert_eq!(HResult(0x8000_0420).known(), None);
    assert_eq!(HResult::from_win32(0xC03A_000D).0, 0xC03A_000D);
}

#[test]
fn win32_codes_are_found_in_both_severities_and_only_in_their_facility() {
    assert_eq!(HResult(0x8007_0005).win32(), Some(5));
    assert_eq!(HResult(0xC007_0005).win32(), Some(5));
    assert_eq!(HResult(0x0007_0005).win32(), None);
    assert_eq!(HResult(0x8037_0105).win32(), None);
    assert_eq!(HResult::from_win32(0), HResult::OK);
    assert_eq!(HResult::from_win32(1314).0, 0x8007_0522);
}

#[test]
fn a_positive_code_is_a_success() {
    for code in [HResult::OK, HResult::FALSE, HResult(0x7FFF_FFFF)] {
        assert!(code.is_success());
    }
    assert!(!HResult(0x8000_0000).is_success());
}

#[test]
fn messages_have_the_number_the_name_and_the_meaning() {
    let error = call(HResult::from_win32(5));
    assert_eq!(error.to_string(), "HcsImportLayer on `layer`: 0x80070005 E_ACCESSDENIED (access is denied)");
    let older = HResult(0xC037_0112).to_string();
    assert_eq!(older, "0xc0370112 HCS_E_INVALID_LAYER (the layer is not valid)");
    assert_eq!(HResult::from_win32(4660).to_string(), "0x80071234 (error 4660 of Win32)");
    assert_eq!(HResult(0x8899_0001).to_string(), "0x88990001");
    assert_eq!(format!("{:?}", HResult::from_win32(5)), "0x80070005");
}

#[test]
fn an_explanation_names_causes_and_what_to_do() {
    let text = call(HResult(0xC037_0112)).known().unwrap().to_string();
    assert!(text.starts_with("HCS_E_INVALID_LAYER: the folder is not a layer"), "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("  may be: ")).count(), 3, "{text}");
    assert!(text.contains("  what to do: import the image again; "), "{text}");
    assert!(text.lines().last().unwrap().starts_with("  see: learn.microsoft.com/"), "{text}");
}

#[test]
fn a_missing_function_is_named_with_the_build_that_has_it() {
    let error = Error::Unavailable {
        library: "computestorage.dll".into(),
        function: "HcsSetupBaseOSVolume",
        since: functions::find("HcsSetupBaseOSVolume").unwrap().since,
        code: HResult::from_win32(127),
    };
    let text = error.to_string();
    for part in
        ["HcsSetupBaseOSVolume", "computestorage.dll", "ERROR_PROC_NOT_FOUND", "19645", "Windows Server 2022"]
    {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.code(), Some(HResult::from_win32(127)));
}

#[test]
fn a_missing_privilege_says_how_to_get_it() {
    for privilege in Privilege::ALL {
        let error = Error::Privilege { privilege };
        let text = error.to_string();
        assert!(text.contains(privilege.name()) && text.contains(privilege.user_right()), "{text}");
        assert!(text.contains("Run as administrator"), "{text}");
        assert_eq!(error.kind(), ErrorKind::PrivilegeNotHeld);
    }
}

#[test]
fn every_function_is_listed_once() {
    let names: HashSet<_> = functions::all().map(|function| (function.library, function.name)).collect();
    assert_eq!(names.len(), 14 + 15 + 5 + 25);
    // The two that no documentation has are those whose first build is not known.
    let unknown: Vec<_> =
        functions::all().filter(|function| function.since.is_none()).map(|function| function.name).collect();
    assert_eq!(unknown, ["HcsAttachOverlayFilter", "HcsDetachOverlayFilter"]);
    assert_eq!(functions::find("HcsImportLayer").unwrap().since, Some(Build::SERVER_2019));
    assert_eq!(functions::find("HcsNoSuchFunction"), None);
}

/// Runs a call that fails with each code in turn and then succeeds; says how often it was made.
fn run(retry: Retry, failures: &[HResult]) -> (u32, Result<(), Error>) {
    let mut calls = 0;
    let codes = [HResult::NOT_READY, HResult::DEVICE_NOT_CONNECTED];
    let result = retry.run(&codes, || {
        let failure = failures.get(calls as usize).copied();
        calls += 1;
        failure.map_or(Ok(()), |code| Err(call(code)))
    });
    (calls, result)
}

#[test]
fn a_failure_that_passes_is_waited_out() {
    let retry = Retry { attempts: 5, delay: Duration::from_millis(20) };
    let start = Instant::now();
    let (calls, result) =
        run(retry, &[HResult::NOT_READY, HResult(0xC007_048F), HResult::DEVICE_NOT_CONNECTED]);
    result.unwrap();
    assert_eq!(calls, 4);
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[test]
fn the_last_error_is_returned_when_patience_ends() {
    let retry = Retry { attempts: 3, delay: Duration::ZERO };
    let codes = [HResult::NOT_READY, HResult::NOT_READY, HResult::DEVICE_NOT_CONNECTED, HResult::NOT_READY];
    let (calls, result) = run(retry, &codes);
    assert_eq!((calls, result.unwrap_err().code()), (3, Some(HResult::DEVICE_NOT_CONNECTED)));
}

#[test]
fn other_failures_are_not_tried_again() {
    let (calls, result) = run(Retry::TRANSIENT, &[HResult::from_win32(5)]);
    assert_eq!((calls, result.unwrap_err().code()), (1, Some(HResult::from_win32(5))));
    let (calls, result) = run(Retry::NEVER, &[HResult::NOT_READY]);
    assert_eq!((calls, result.unwrap_err().code()), (1, Some(HResult::NOT_READY)));
    assert_eq!((Retry::TRANSIENT.attempts, Retry::TRANSIENT.delay), (5, Duration::from_millis(100)));
    assert_eq!((Retry::DETACH.attempts, Retry::DETACH.delay), (10, Duration::from_secs(1)));
}

/// Keeps the messages of events.
struct Log(std::sync::Arc<std::sync::Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl tracing::field::Visit for Fields {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.push_str(&format!("{}={value:?} ", field.name()));
            }
        }
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn every_further_try_is_logged() {
    let log = std::sync::Arc::default();
    let retry = Retry { attempts: 3, delay: Duration::ZERO };
    let (calls, result) = tracing::subscriber::with_default(Log(std::sync::Arc::clone(&log)), || {
        run(retry, &[HResult::NOT_READY, HResult::DEVICE_NOT_CONNECTED])
    });
    result.unwrap();
    assert_eq!(calls, 3);
    let log = log.lock().unwrap();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].contains("ERROR_NOT_READY") && log[0].contains("attempt=1"), "{log:?}");
    assert!(log[1].contains("ERROR_DEVICE_NOT_CONNECTED") && log[1].contains("attempt=2"), "{log:?}");
}
