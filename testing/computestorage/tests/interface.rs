//! The stand-in, called as a C program would.

#![cfg(windows)]
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::os::windows::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use layerstone_conformance::{base_content, contents, write_transport};
use serde_json::Value;
use windows_sys::Win32::Foundation::{CloseHandle, HANDLE, LocalFree};
use windows_sys::Win32::Storage::Vhd::{
    ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME, CREATE_VIRTUAL_DISK_PARAMETERS,
    CREATE_VIRTUAL_DISK_PARAMETERS_0, CREATE_VIRTUAL_DISK_PARAMETERS_0_1, CREATE_VIRTUAL_DISK_VERSION_2,
    OPEN_VIRTUAL_DISK_PARAMETERS, OPEN_VIRTUAL_DISK_PARAMETERS_0, OPEN_VIRTUAL_DISK_PARAMETERS_0_1,
    OPEN_VIRTUAL_DISK_VERSION_2, VIRTUAL_STORAGE_TYPE, VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
    VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};
use windows_sys::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryW};
use windows_sys::core::GUID;

const E_POINTER: i32 = 0x8000_4003_u32.cast_signed();

/// Calls an export by its name and type.
macro_rules! call {
    ($standin:expr, $name:expr, fn($($type:ty),* $(,)?) -> $result:ty $(, $argument:expr)* $(,)?) => {{
        type Function = unsafe extern "system" fn($($type),*) -> $result;
        // SAFETY: the export has this type.
        let function: Function = unsafe { std::mem::transmute($standin.address($name)) };
        // SAFETY: the arguments keep its contract.
        unsafe { function($($argument),*) }
    }};
}
/// The DLL has one state for the whole process, so tests that look at it take turns.
static TURN: Mutex<()> = Mutex::new(());

struct Standin {
    module: *mut c_void,
    _turn: MutexGuard<'static, ()>,
}

impl Standin {
    fn load() -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // .../debug/deps/interface-0.exe
        let mut path = std::env::current_exe().unwrap();
        path.pop();
        path.pop();
        let path = path.join("layerstone_standin.dll");
        // SAFETY: a string that ends with a NUL; what runs when the DLL is loaded is Rust's.
        let module = unsafe { LoadLibraryW(wide(&path).as_ptr()) };
        assert!(
            !module.is_null(),
            "{}: {}; `cargo build` makes it, `cargo test` does not",
            path.display(),
            std::io::Error::last_os_error()
        );
        let standin = Standin { module, _turn: turn };
        call!(standin, c"StandinReset", fn() -> ());
        standin
    }

    fn address(&self, name: &std::ffi::CStr) -> unsafe extern "system" fn() -> isize {
        // SAFETY: the module stays loaded, and the name ends with a NUL.
        let address = unsafe { GetProcAddress(self.module, name.as_ptr().cast()) };
        address.unwrap_or_else(|| panic!("{name:?} is not exported"))
    }

    fn calls(&self) -> Vec<Value> {
        let take = |buffer: *mut u8, length: usize| {
            call!(self, c"StandinTakeCalls", fn(*mut u8, usize) -> usize, buffer, length)
        };
        let mut buffer = vec![0; take(std::ptr::null_mut(), 0)];
        let length = take(buffer.as_mut_ptr(), buffer.len());
        assert_eq!(length, buffer.len());
        let text = String::from_utf8(buffer).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn live(&self) -> usize {
        call!(self, c"StandinLiveAllocations", fn() -> usize)
    }

    fn create_disk(&self, path: &Path, size: u64, parent: Option<&Path>) -> Result<HANDLE, u32> {
        let parent = parent.map(wide);
        let version2 = CREATE_VIRTUAL_DISK_PARAMETERS_0_1 {
            MaximumSize: size,
            BlockSizeInBytes: 1 << 20,
            ParentPath: parent.as_ref().map_or(std::ptr::null(), |path| path.as_ptr()),
            ..Default::default()
        };
        let parameters = CREATE_VIRTUAL_DISK_PARAMETERS {
            Version: CREATE_VIRTUAL_DISK_VERSION_2,
            Anonymous: CREATE_VIRTUAL_DISK_PARAMETERS_0 { Version2: version2 },
        };
        let mut handle = std::ptr::null_mut();
        let code = call!(
            self,
            c"CreateVirtualDisk",
            fn(
                *const VIRTUAL_STORAGE_TYPE,
                *const u16,
                i32,
                *mut c_void,
                i32,
                u32,
                *const CREATE_VIRTUAL_DISK_PARAMETERS,
                *const c_void,
                *mut HANDLE,
            ) -> u32,
            &VHDX,
            wide(path).as_ptr(),
            0,
            std::ptr::null_mut(),
            0,
            0,
            &parameters,
            std::ptr::null(),
            &mut handle
        );
        if code == 0 { Ok(handle) } else { Err(code) }
    }

    fn open_disk(&self, path: &Path) -> Result<HANDLE, u32> {
        let version2 = OPEN_VIRTUAL_DISK_PARAMETERS_0_1::default();
        let parameters = OPEN_VIRTUAL_DISK_PARAMETERS {
            Version: OPEN_VIRTUAL_DISK_VERSION_2,
            Anonymous: OPEN_VIRTUAL_DISK_PARAMETERS_0 { Version2: version2 },
        };
        let mut handle = std::ptr::null_mut();
        let code = call!(
            self,
            c"OpenVirtualDisk",
            fn(
                *const VIRTUAL_STORAGE_TYPE,
                *const u16,
                i32,
                i32,
                *const OPEN_VIRTUAL_DISK_PARAMETERS,
                *mut HANDLE,
            ) -> u32,
            &VHDX,
            wide(path).as_ptr(),
            0,
            0,
            &parameters,
            &mut handle
        );
        if code == 0 { Ok(handle) } else { Err(code) }
    }

    fn attach(&self, disk: HANDLE, flags: i32) -> u32 {
        call!(
            self,
            c"AttachVirtualDisk",
            fn(HANDLE, *mut c_void, i32, u32, *const c_void, *const c_void) -> u32,
            disk,
            std::ptr::null_mut(),
            flags,
            0,
            std::ptr::null(),
            std::ptr::null()
        )
    }

    fn detach(&self, disk: HANDLE) -> u32 {
        call!(self, c"DetachVirtualDisk", fn(HANDLE, i32, u32) -> u32, disk, 0, 0)
    }

    fn format(&self, disk: HANDLE) -> i32 {
        call!(self, c"HcsFormatWritableLayerVhd", fn(HANDLE) -> i32, disk)
    }

    /// The result, and the string if there is one; the string is freed.
    fn mount_path(&self, disk: HANDLE) -> (i32, Option<String>) {
        let mut path: *mut u16 = std::ptr::null_mut();
        let code = call!(self, c"HcsGetLayerVhdMountPath", fn(HANDLE, *mut *mut u16) -> i32, disk, &mut path);
        if path.is_null() {
            return (code, None);
        }
        let mut length = 0;
        // SAFETY: a string that ends with a NUL.
        while unsafe { *path.add(length) } != 0 {
            length += 1;
        }
        // SAFETY: so long, as was just seen.
        let text = String::from_utf16_lossy(unsafe { std::slice::from_raw_parts(path, length) });
        // SAFETY: the string is ours to free, once.
        unsafe { LocalFree(path.cast()) };
        (code, Some(text))
    }
}

const VHDX: VIRTUAL_STORAGE_TYPE = VIRTUAL_STORAGE_TYPE {
    DeviceId: VIRTUAL_STORAGE_TYPE_DEVICE_VHDX,
    VendorId: VIRTUAL_STORAGE_TYPE_VENDOR_MICROSOFT,
};

fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

fn close(handle: HANDLE) {
    // SAFETY: the handle is ours, and closed once.
    assert_ne!(unsafe { CloseHandle(handle) }, 0);
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    (folder, path)
}

#[test]
fn arguments_are_noted_as_they_came() {
    let standin = Standin::load();
    let path: Vec<u16> = vec![u16::from(b'C'), 0xD800, u16::from(b'b'), 0];
    let import = |layer: *const u16| {
        call!(
            standin,
            c"HcsImportLayer",
            fn(*const u16, *const u16, *const u16) -> i32,
            layer,
            wide(r"C:\source ü").as_ptr(),
            wide("{}").as_ptr()
        )
    };
    assert_eq!(import(path.as_ptr()), 0);
    assert_eq!(import(std::ptr::null()), E_POINTER);
    let calls = standin.calls();
    assert_eq!(calls[0]["function"], "HcsImportLayer");
    assert_eq!(calls[0]["arguments"][0]["name"], "layerPath");
    assert_eq!(calls[0]["arguments"][0]["value"], serde_json::json!({ "utf16": [67, 0xD800, 98] }));
    assert_eq!(calls[0]["arguments"][1]["value"], r"C:\source ü");
    assert_eq!(calls[0]["result"], "0x00000000");
    assert_eq!(calls[1]["arguments"][0]["value"], Value::Null);
    assert_eq!(calls[1]["result"], "0x80004003");
    assert_eq!(standin.calls().len(), 0, "taken lines are gone");
}

#[test]
fn a_call_fails_when_a_test_wants_it() {
    let standin = Standin::load();
    call!(
        standin,
        c"StandinFail",
        fn(*const i8, u32, u32) -> (),
        c"HcsDestroyLayer".as_ptr().cast(),
        2,
        0x8007_0005
    );
    let layer = wide(r"C:\layer");
    let codes: Vec<i32> =
        (0..3).map(|_| call!(standin, c"HcsDestroyLayer", fn(*const u16) -> i32, layer.as_ptr())).collect();
    assert_eq!(codes, [0, 0x8007_0005_u32.cast_signed(), 0]);
    assert_eq!(standin.calls()[1]["result"], "0x80070005");
}

#[test]
fn calls_at_the_same_moment_are_counted() {
    let standin = Standin::load();
    let name = c"HcsDetachLayerStorageFilter";
    call!(standin, c"StandinDelay", fn(*const i8, u32) -> (), name.as_ptr().cast(), 100);
    let detach: unsafe extern "system" fn(*const u16) -> i32 =
        // SAFETY: the export has this type.
        unsafe { std::mem::transmute(standin.address(name)) };
    std::thread::scope(|threads| {
        for _ in 0..3 {
            // SAFETY: a string that ends with a NUL.
            threads.spawn(move || unsafe { detach(wide("x").as_ptr()) });
        }
    });
    let most = call!(standin, c"StandinMostAtOnce", fn(*const i8) -> u32, name.as_ptr().cast());
    assert_eq!(most, 3);
}

#[test]
fn a_disk_is_made_attached_formatted_and_detached() {
    let standin = Standin::load();
    let (_folder, folder) = folder();
    let path = folder.join("sandbox.vhdx");
    let disk = standin.create_disk(&path, 20 << 30, None).unwrap();
    assert_eq!(standin.create_disk(&path, 20 << 30, None), Err(80), "there is a file");
    assert_eq!(standin.open_disk(&path), Err(32), "it is open");
    assert_eq!(standin.mount_path(disk), (0x8007_0490_u32.cast_signed(), None), "not attached");
    assert_eq!(standin.detach(disk), 1168);
    assert_eq!(standin.attach(disk, ATTACH_VIRTUAL_DISK_FLAG_PERMANENT_LIFETIME), 0);
    assert_eq!(standin.attach(disk, 0), 32);
    assert_eq!(standin.format(disk), 0);
    assert_eq!(standin.format(disk), 0x8007_0057_u32.cast_signed(), "formatted already");
    let (code, volume) = standin.mount_path(disk);
    let volume = volume.unwrap();
    assert!(code == 0 && volume.starts_with(r"\\?\Volume{") && volume.ends_with('}'), "{volume}");

    let mut size = 0;
    let physical = |size: &mut u32, path: *mut u16| {
        call!(standin, c"GetVirtualDiskPhysicalPath", fn(HANDLE, *mut u32, *mut u16) -> u32, disk, size, path)
    };
    assert_eq!(physical(&mut size, std::ptr::null_mut()), 122);
    let mut buffer = vec![0; size as usize / 2];
    assert_eq!(physical(&mut size, buffer.as_mut_ptr()), 0);
    assert_eq!(buffer.pop(), Some(0));
    let name = String::from_utf16(&buffer).unwrap();
    assert!(name.strip_prefix(r"\\.\PhysicalDrive").is_some_and(|n| n.parse::<u32>().is_ok()), "{name}");

    close(disk);
    let again = standin.open_disk(&path).unwrap();
    assert_eq!(standin.mount_path(again), (0, Some(volume)), "attached for good");
    assert_eq!(standin.detach(again), 0);
    close(again);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_disk_that_was_attached_by_a_handle_is_detached_with_it() {
    let standin = Standin::load();
    let (_folder, folder) = folder();
    let path = folder.join("a.vhdx");
    let disk = standin.create_disk(&path, 1 << 30, None).unwrap();
    assert_eq!(standin.attach(disk, 0), 0);
    close(disk);
    let disk = standin.open_disk(&path).unwrap();
    assert_eq!(standin.detach(disk), 1168);
    close(disk);
}

#[test]
fn a_differencing_disk_needs_its_parent_and_takes_its_size() {
    let standin = Standin::load();
    let (_folder, folder) = folder();
    let (base, child) = (folder.join("base.vhdx"), folder.join("child.vhdx"));
    assert_eq!(standin.create_disk(&child, 0, Some(&base)), Err(2));
    close(standin.create_disk(&base, 1 << 30, None).unwrap());
    assert_eq!(standin.create_disk(&child, 1 << 30, Some(&base)), Err(87), "only the parent says the size");
    assert_eq!(standin.create_disk(&child, 0, None), Err(87));
    close(standin.create_disk(&child, 0, Some(&base)).unwrap());
    let header = std::fs::read_to_string(child).unwrap();
    let header: Value = serde_json::from_str(header.lines().nth(1).unwrap()).unwrap();
    assert_eq!((&header["kind"], &header["size"]), (&"differencing".into(), &(1u64 << 30).into()));
    std::fs::write(&base, "no disk").unwrap();
    assert_eq!(standin.open_disk(&base), Err(0xC03A_0015));
}

#[test]
fn a_string_counts_until_it_is_freed() {
    let standin = Standin::load();
    let (_folder, folder) = folder();
    let disk = standin.create_disk(&folder.join("a.vhdx"), 1 << 30, None).unwrap();
    standin.attach(disk, 0);
    assert_eq!(standin.live(), 0);
    let get = |path: *mut *mut u16| {
        call!(standin, c"HcsGetLayerVhdMountPath", fn(HANDLE, *mut *mut u16) -> i32, disk, path)
    };
    let mut paths = [std::ptr::null_mut::<u16>(); 3];
    for path in &mut paths {
        assert_eq!(get(path), 0);
    }
    assert_eq!(standin.live(), 3);
    // SAFETY: ours to free, once.
    unsafe { LocalFree(paths[1].cast()) };
    assert_eq!(standin.live(), 2);
    // The place of a freed one may be taken by another block of that size.
    let others: Vec<Vec<u8>> = (0..64).map(|_| vec![7; 118]).collect();
    assert_eq!(standin.live(), 2);
    drop(others);
    for path in [paths[0], paths[2]] {
        // SAFETY: as above.
        unsafe { LocalFree(path.cast()) };
    }
    assert_eq!(standin.live(), 0);
    close(disk);
}

#[test]
fn a_mount_path_can_be_null_empty_or_no_text() {
    let standin = Standin::load();
    let (_folder, folder) = folder();
    let disk = standin.create_disk(&folder.join("a.vhdx"), 1 << 30, None).unwrap();
    standin.attach(disk, 0);
    let mut found = Vec::new();
    for kind in 1..4 {
        assert_eq!(call!(standin, c"StandinMountPath", fn(u32) -> u32, kind), 1);
        found.push(standin.mount_path(disk));
    }
    assert_eq!(found[..2], [(0, None), (0, Some(String::new()))]);
    assert!(found[2].1.as_ref().is_some_and(|path| path.ends_with('\u{FFFD}')));
    assert_eq!(standin.live(), 0);
    close(disk);
}

#[repr(C)]
struct DriverInfo {
    flavour: i32,
    home: *const u16,
}

#[repr(C)]
struct Descriptor {
    id: GUID,
    flags: u32,
    path: *const u16,
}

#[test]
fn the_older_calls_take_a_driver_and_parents() {
    let standin = Standin::load();
    let (empty, layer, parent) = (wide(""), wide(r"C:\layer"), wide(r"C:\base"));
    let info = DriverInfo { flavour: 1, home: empty.as_ptr() };
    let id = GUID::from_u128(0xbd9c_3ef9_f239_59b5_a27e_15c5_23b1_d149);
    let parents = [Descriptor { id, flags: 0, path: parent.as_ptr() }];
    let prepare = |info: *const DriverInfo, parents: *const Descriptor, count: u32| {
        call!(
            standin,
            c"PrepareLayer",
            fn(*const DriverInfo, *const u16, *const Descriptor, u32) -> i32,
            info,
            layer.as_ptr(),
            parents,
            count
        )
    };
    assert_eq!(prepare(&info, parents.as_ptr(), 1), 0);
    assert_eq!(prepare(&info, std::ptr::null(), 0), 0);
    assert_eq!(prepare(&DriverInfo { flavour: 1, home: std::ptr::null() }, std::ptr::null(), 0), E_POINTER);
    assert_eq!(prepare(std::ptr::null(), std::ptr::null(), 0), E_POINTER);
    let arguments = &standin.calls()[0]["arguments"];
    assert_eq!(arguments[0]["value"], serde_json::json!({ "flavour": 1, "homeDir": "" }));
    assert_eq!(
        arguments[2]["value"],
        serde_json::json!([
            { "layerId": "bd9c3ef9-f239-59b5-a27e-15c523b1d149", "flags": 0, "path": r"C:\base" }
        ])
    );
}

#[test]
fn a_mount_path_is_asked_for_twice() {
    let standin = Standin::load();
    let (empty, layer) = (wide(""), wide(r"C:\layer"));
    let info = DriverInfo { flavour: 1, home: empty.as_ptr() };
    let get = |length: &mut usize, buffer: *mut u16| {
        call!(
            standin,
            c"GetLayerMountPath",
            fn(*const DriverInfo, *const u16, *mut usize, *mut u16) -> i32,
            &info,
            layer.as_ptr(),
            length,
            buffer
        )
    };
    let mut length = 0;
    assert_eq!(get(&mut length, std::ptr::null_mut()), 0);
    assert_eq!(length, layer.len());
    let mut buffer = vec![0; length];
    let mut short = length - 1;
    assert_eq!(get(&mut short, buffer.as_mut_ptr()), 0x8007_007A_u32.cast_signed());
    assert_eq!(get(&mut length, buffer.as_mut_ptr()), 0);
    assert_eq!(buffer, layer);
}

#[test]
fn ids_depend_on_the_name_alone() {
    let standin = Standin::load();
    let id = |name: &str| {
        let mut id = GUID::default();
        let code =
            call!(standin, c"NameToGuid", fn(*const u16, *mut GUID) -> i32, wide(name).as_ptr(), &mut id);
        assert_eq!(code, 0);
        (id.data1, id.data2, id.data3, id.data4)
    };
    assert_eq!(id("4"), id("4"));
    assert_ne!(id("4"), id("5"));
    assert_eq!(id("4").2 >> 12, 5, "a name-based UUID");
}

#[test]
fn with_the_portable_engine_layers_come_and_go() {
    let standin = Standin::load();
    assert_eq!(call!(standin, c"StandinEngine", fn(u32) -> u32, 4), 0, "there is no such engine");
    assert_eq!(call!(standin, c"StandinEngine", fn(u32) -> u32, 2), 1);
    let (_folder, folder) = folder();
    let (source, layer, out) = (folder.join("source"), folder.join("layer"), folder.join("out"));
    let scratch = folder.join("scratch");
    write_transport(&source, &base_content());
    std::fs::create_dir(&out).unwrap();
    let base = r#"{"SchemaVersion":{"Major":2,"Minor":1}}"#;
    let id = "9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab";
    let over = serde_json::json!({
        "SchemaVersion": { "Major": 2, "Minor": 1 },
        "Layers": [{ "Id": id, "Path": layer.to_str().unwrap() }],
    })
    .to_string();
    let one =
        |name, path: &Path| call!(standin, name, fn(*const u16) -> i32, wide(path).as_ptr()).cast_unsigned();
    let two = |name, path: &Path, data: &str| {
        call!(standin, name, fn(*const u16, *const u16) -> i32, wide(path).as_ptr(), wide(data).as_ptr())
            .cast_unsigned()
    };
    let import = |source: &Path| {
        let (layer, source, data) = (wide(&layer), wide(source), wide(base));
        call!(
            standin,
            c"HcsImportLayer",
            fn(*const u16, *const u16, *const u16) -> i32,
            layer.as_ptr(),
            source.as_ptr(),
            data.as_ptr()
        )
        .cast_unsigned()
    };
    assert!(matches!(import(&folder.join("nothing")), 0x8007_0002 | 0x8007_0003));
    assert_eq!(import(&source), 0);
    assert_eq!(import(&source), 0x8007_00B7, "there is a layer");
    let code = call!(
        standin,
        c"HcsExportLayer",
        fn(*const u16, *const u16, *const u16, *const u16) -> i32,
        wide(&layer).as_ptr(),
        wide(&out).as_ptr(),
        wide(base).as_ptr(),
        wide("{}").as_ptr()
    );
    assert_eq!(code, 0);
    assert_eq!(contents(&out), contents(&source));

    assert_eq!(two(c"HcsAttachLayerStorageFilter", &scratch, "{"), 0x8037_010D);
    let initialize = call!(
        standin,
        c"HcsInitializeWritableLayer",
        fn(*const u16, *const u16, *const u16) -> i32,
        wide(&scratch).as_ptr(),
        wide(&over).as_ptr(),
        std::ptr::null()
    );
    assert_eq!(initialize, 0);
    assert_eq!(two(c"HcsAttachLayerStorageFilter", &scratch, &over), 0);
    assert_eq!(two(c"HcsAttachLayerStorageFilter", &scratch, &over), 0x8007_0020, "it is attached");
    assert_eq!(one(c"HcsDestroyLayer", &layer), 0x8007_0020, "a scratch over it is attached");
    assert_eq!(one(c"HcsDetachLayerStorageFilter", &scratch), 0);
    for path in [&scratch, &layer] {
        assert_eq!(one(c"HcsDestroyLayer", path), 0);
        assert!(!path.exists());
    }
    let vm = two(c"HcsAttachOverlayFilter", &scratch, &over);
    assert_eq!(vm, 0x8007_0032, "that needs Windows");
}
