//! A program that uses the calls does not import them: it starts on every Windows.
#![cfg(windows)]

use layerstone_hcs::compute::ComputeCore;
use layerstone_hcs::virtdisk::{CreateDisk, VirtDisk};
use layerstone_hcs::{ComputeStorage, Error, ErrorKind, FilterType, HResult, LayerChain, VmCompute, host};
use object::LittleEndian;
use object::read::pe::PeFile64;
use std::path::Path;

/// Refers to every DLL's functions, so that they would be imported if that were how they are called.
fn use_them_all() -> Vec<Result<(), Error>> {
    let nowhere = Path::new(r"C:\there is no such layer\x");
    let disk = VirtDisk::load(r"C:\no\virtdisk.dll");
    vec![
        ComputeStorage::load(r"C:\no\computestorage.dll").import_layer(nowhere, nowhere, &LayerChain::base()),
        ComputeStorage::load(r"C:\no\computestorage.dll").detach_overlay_filter(nowhere, FilterType::UnionFs),
        VmCompute::load(r"C:\no\vmcompute.dll").activate_layer(nowhere),
        disk.create(nowhere, &CreateDisk::dynamic(1 << 20)).map(drop),
        ComputeCore::load(r"C:\no\computecore.dll").open_system("x").map(drop),
    ]
}

#[test]
fn the_program_file_imports_no_dll_that_may_be_missing() {
    assert!(use_them_all().iter().all(Result::is_err));
    let _drivers = host::filter_drivers();
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    let program = PeFile64::parse(&*program).unwrap();
    let imports = program.import_table().unwrap().expect("a program imports something");
    let mut descriptors = imports.descriptors().unwrap();
    let mut libraries = Vec::new();
    while let Some(descriptor) = descriptors.next().unwrap() {
        let name = imports.name(descriptor.name.get(LittleEndian)).unwrap();
        libraries.push(String::from_utf8_lossy(name).to_ascii_lowercase());
    }
    assert!(libraries.iter().any(|library| library == "kernel32.dll"), "{libraries:?}");
    for missing in ["computestorage.dll", "vmcompute.dll", "computecore.dll", "virtdisk.dll", "fltlib.dll"] {
        assert!(!libraries.iter().any(|library| library == missing), "{libraries:?}");
    }
}

#[test]
fn a_missing_dll_is_an_error_of_the_call_that_names_the_function() {
    let storage = ComputeStorage::load(r"C:\no\computestorage.dll");
    let error = storage.destroy_layer(Path::new(r"C:\layer")).unwrap_err();
    let Error::Unavailable { library, function, since, code } = &error else { panic!("{error}") };
    assert_eq!(library, Path::new(r"C:\no\computestorage.dll"));
    assert_eq!(*function, "HcsDestroyLayer");
    assert_eq!(since.unwrap().0, 17763);
    assert_eq!(*code, HResult::from_win32(126));
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("17763"), "{error}");
}

#[test]
fn a_windows_without_containers_says_which_feature_brings_them() {
    let error = ComputeCore::load(r"C:\no\computecore.dll").open_system("x").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.code(), Some(HResult::from_win32(126)));
    let message = error.to_string();
    for part in ["HcsOpenComputeSystem", "computecore.dll", "17763", "the Windows feature `Containers`"] {
        assert!(message.contains(part), "{message}");
    }
    // A DLL that is there and has no such function.
    let other = ComputeCore::load(r"C:\windows\system32\kernel32.dll");
    assert_eq!(other.open_system("x").unwrap_err().code(), Some(HResult::from_win32(127)));
}

#[test]
fn a_missing_function_is_an_error_of_its_own_call() {
    // A DLL that every Windows has, and that has none of the functions.
    let other = r"C:\windows\system32\kernel32.dll";
    let error = ComputeStorage::load(other)
        .attach_overlay_filter(Path::new(r"C:\volume\"), &LayerChain::base())
        .unwrap_err();
    let Error::Unavailable { function, since, code, .. } = &error else { panic!("{error}") };
    assert_eq!((*function, *since, *code), ("HcsAttachOverlayFilter", None, HResult::from_win32(127)));

    let error = VmCompute::load(other).layer_id(Path::new(r"C:\layers\4")).unwrap_err();
    let Error::Unavailable { function, since, code, .. } = &error else { panic!("{error}") };
    assert_eq!((*function, since.unwrap().0, *code), ("NameToGuid", 14393, HResult::from_win32(127)));
}

#[test]
fn the_systems_dll_is_looked_for_in_system32_alone() {
    // A DLL of that name beside the program and in the current folder is not taken.
    let beside = std::env::current_exe().unwrap().with_file_name("computestorage.dll");
    let planted = std::fs::copy(r"C:\windows\system32\version.dll", &beside).is_ok();
    assert!(planted, "cannot plant a DLL");
    let result = ComputeStorage::system().destroy_layer(Path::new(r"C:\there is no such layer\x"));
    std::fs::remove_file(&beside).unwrap();
    if Path::new(r"C:\windows\system32\computestorage.dll").exists() {
        assert!(!matches!(result, Err(Error::Unavailable { .. })), "{result:?}");
    } else {
        let error = result.unwrap_err();
        // Not found at all, and not: found, without the function.
        assert_eq!(error.code(), Some(HResult::from_win32(126)), "{error}");
    }
}
