//! Every call that Microsoft's own client makes (`golden/computestorage-calls.json`) is made, and its arguments
//! compared.
#![cfg(windows)]

mod standin;

use std::ffi::OsString;
use std::fs::File;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::io::AsHandle;
use std::path::{Path, PathBuf};

use layerstone_hcs::schema::{CacheMode, Layer, PathType, SchemaVersion};
use layerstone_hcs::{
    BaseOs, ComputeStorage, Document, Error, ErrorKind, ExportLayerOptions, FilterType, Guid, LayerChain,
    LayerData, OsLayerOptions, OsLayerType, RawDocument, Result, WritableLayerOptions,
};
use serde_json::Value;
use standin::{Call, Standin};

const GOLDEN: &str = include_str!("golden/computestorage-calls.json");

const NEW: &str = r"C:\layers\new";
const SCRATCH: &str = r"C:\scratch";
const BASE: &str = r"C:\layers\base";

fn two_parents() -> LayerChain {
    let mut chain = LayerChain::base();
    let id = |text| Guid::parse_str(text).unwrap();
    chain.push(id("9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab"), r"C:\layers\parent");
    chain.push(id("1d2c3b4a-5566-5777-8899-aabbccddeeff"), BASE);
    chain
}

fn data(layers: Vec<Layer>) -> LayerData {
    LayerData { schema_version: SchemaVersion::V2_1, layers, filter_type: None }
}

fn layer(id: &str, path: &str) -> Layer {
    Layer { id: id.into(), path: path.into(), path_type: None, cache: None }
}

fn with_a_lone_surrogate() -> PathBuf {
    let units: Vec<u16> = r"C:\a".encode_utf16().chain([0xD800, u16::from(b'b')]).collect();
    OsString::from_wide(&units).into()
}

/// Makes the call of a recorded case.
fn make(storage: &ComputeStorage, file: &File, function: &str, case: &str) -> Result<()> {
    let (new, source) = (Path::new(NEW), Path::new(r"C:\src\dir"));
    let import = |chain: &dyn Document| storage.import_layer(new, source, chain);
    let export = |chain: &LayerChain, is_writable_layer| {
        storage.export_layer(new, Path::new(r"C:\export"), chain, &ExportLayerOptions { is_writable_layer })
    };
    let scratch = Path::new(SCRATCH);
    match (function, case) {
        ("HcsImportLayer", "ImportLayer base (no parents)") => import(&LayerChain::base()),
        ("HcsImportLayer", "ImportLayer with two parents") => import(&two_parents()),
        ("HcsImportLayer", "ImportLayer zero LayerData") => import(&LayerData::default()),
        ("HcsImportLayer", "ImportLayer empty non-nil Layers") => import(&data(Vec::new())),
        (
            "HcsImportLayer",
            "ImportLayer special characters in Path: ampersand, angle brackets, quote, non-ASCII, U+2028, emoji",
        ) => storage.import_layer(
            Path::new(r"C:\layers\a&b <ü> 日本 😀"),
            Path::new(r"\\?\C:\src\long"),
            &data(vec![layer("x", "C:\\a&b <c> 'q' ü日本😀\u{2028}\t")]),
        ),
        ("HcsImportLayer", "ImportLayer Layer with PathType and Cache") => {
            let layer = Layer {
                path_type: Some(PathType::VirtualDisk),
                cache: Some(CacheMode::Disabled),
                ..layer("i", r"\\.\x")
            };
            import(&data(vec![layer]))
        }
        ("HcsImportLayer", "ImportLayer FilterType UnionFS") => {
            import(&two_parents().with_filter(FilterType::UnionFs))
        }
        ("HcsImportLayer", "ImportLayer SchemaVersion major only") => import(&LayerData {
            schema_version: SchemaVersion { major: 2, minor: 0 },
            ..LayerData::default()
        }),
        // The typed chain refuses such a path; that a document of one's own can still say what hcsshim says is what is
        // shown.
        ("HcsImportLayer", "lone surrogate (WTF-8) in path and in layer data") => storage.import_layer(
            &with_a_lone_surrogate(),
            Path::new(r"C:\src"),
            &data(vec![layer("x", "C:\\a\u{FFFD}\u{FFFD}\u{FFFD}b")]),
        ),
        ("HcsExportLayer", "ExportLayer not writable") => export(&two_parents(), false),
        ("HcsExportLayer", "ExportLayer writable") => export(&two_parents(), true),
        ("HcsExportLayer", "ExportLayer base, no parents") => export(&LayerChain::base(), false),
        ("HcsDestroyLayer", "DestroyLayer") => storage.destroy_layer(new),
        ("HcsDestroyLayer", "path forms passed through untouched") => {
            storage.destroy_layer(Path::new("c:/layers/./x/../new/"))
        }
        ("HcsInitializeWritableLayer", "InitializeWritableLayer") => {
            storage.initialize_writable_layer(scratch, &two_parents(), &WritableLayerOptions::default())
        }
        ("HcsAttachLayerStorageFilter", "AttachLayerStorageFilter") => {
            storage.attach_layer_storage_filter(scratch, &two_parents())
        }
        ("HcsAttachLayerStorageFilter", "AttachLayerStorageFilter with FilterType WCIFS") => {
            storage.attach_layer_storage_filter(scratch, &two_parents().with_filter(FilterType::Wcifs))
        }
        ("HcsDetachLayerStorageFilter", "DetachLayerStorageFilter") => {
            storage.detach_layer_storage_filter(scratch)
        }
        ("HcsFormatWritableLayerVhd", "FormatWritableLayerVhd with a file handle") => {
            storage.format_writable_layer_vhd_handle(file.as_handle())
        }
        ("HcsSetupBaseOSLayer", "SetupBaseOSLayer container, null handle") => {
            storage.setup_base_os_layer(Path::new(BASE), BaseOs::Container, &OsLayerOptions::default())
        }
        ("HcsSetupBaseOSLayer", "SetupBaseOSLayer vm, handle") => storage.setup_base_os_layer(
            Path::new(r"C:\layers\base\UtilityVM"),
            BaseOs::Vm(file.as_handle()),
            &OsLayerOptions::default(),
        ),
        ("HcsSetupBaseOSLayer", "SetupBaseOSLayer all options") => storage.setup_base_os_layer(
            Path::new(BASE),
            BaseOs::Container,
            &OsLayerOptions {
                layer_type: Some(OsLayerType::Container),
                disable_ci_cache_optimization: true,
                skip_update_bcd_for_boot: true,
            },
        ),
        ("HcsSetupBaseOSLayer", "SetupBaseOSLayer zero options") => {
            storage.setup_base_os_layer_raw(Path::new(BASE), BaseOs::Container, &RawDocument("{}".into()))
        }
        ("HcsSetupBaseOSVolume", "SetupBaseOSVolume") => storage.setup_base_os_volume(
            Path::new(BASE),
            Path::new(r"\\?\Volume{01234567-89ab-cdef-0123-456789abcdef}\"),
            &OsLayerOptions { layer_type: Some(OsLayerType::Container), ..OsLayerOptions::default() },
        ),
        ("HcsGetLayerVhdMountPath", "GetLayerVhdMountPath") => storage.layer_vhd_mount_path(file).map(drop),
        ("HcsAttachOverlayFilter", "AttachOverlayFilter UnionFS") => storage
            .attach_overlay_filter(Path::new(r"C:\mnt"), &two_parents().with_filter(FilterType::UnionFs)),
        ("HcsDetachOverlayFilter", "DetachOverlayFilter UnionFS") => {
            storage.detach_overlay_filter(Path::new(r"C:\mnt"), FilterType::UnionFs)
        }
        ("HcsDetachOverlayFilter", "DetachOverlayFilter WCIFS") => {
            storage.detach_overlay_filter(Path::new(r"C:\mnt"), FilterType::Wcifs)
        }
        _ => panic!("nobody makes the recorded call {function}, {case}"),
    }
}

/// Documents are compared as JSON, everything else as it is.
fn assert_same(call: &Call, recorded: &Value, case: &str) {
    let recorded = recorded["arguments"].as_array().unwrap();
    let names: Vec<_> = recorded.iter().map(|argument| argument["name"].as_str().unwrap()).collect();
    let made: Vec<_> = call.arguments.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(made, names, "{case}");
    for argument in recorded {
        let name = argument["name"].as_str().unwrap();
        let (made, expected) = (call.argument(name), &argument["value"]);
        if matches!(name, "layerData" | "options") && expected != "" {
            let parse = |value: &Value| serde_json::from_str::<Value>(value.as_str().unwrap()).unwrap();
            assert_eq!(parse(made), parse(expected), "{case}: {name}");
        } else {
            assert_eq!(made, expected, "{case}: {name}");
        }
    }
}

#[test]
fn calls_are_those_that_hcsshim_makes() {
    let Some(standin) = Standin::new("calls_are_those_that_hcsshim_makes") else { return };
    let storage = standin.storage();
    let file = tempfile::tempfile().unwrap();
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let mut compared = 0;
    for (function, cases) in golden.as_object().unwrap() {
        if function.starts_with('_') {
            continue;
        }
        for recorded in cases.as_array().unwrap() {
            let case = recorded["case"].as_str().unwrap();
            make(&storage, &file, function, case).unwrap_or_else(|error| panic!("{case}: {error}"));
            let call = standin.call();
            assert_eq!(call.function, *function, "{case}");
            assert_same(&call, recorded, case);
            compared += 1;
        }
    }
    assert_eq!(compared, 28);
}

#[test]
fn the_legacy_functions_get_the_arguments_of_their_documentation() {
    let Some(standin) = Standin::new("the_legacy_functions_get_the_arguments_of_their_documentation") else {
        return;
    };
    let storage = standin.storage();
    let (mount, folder) = (Path::new(r"\\?\Volume{x}\"), Path::new(SCRATCH));
    storage
        .export_legacy_writable_layer(mount, folder, Path::new(r"C:\export"), &LayerChain::base())
        .unwrap();
    let call = standin.call();
    assert_eq!(call.function, "HcsExportLegacyWritableLayer");
    let expected = [
        ("writableLayerMountPath", r"\\?\Volume{x}\"),
        ("writableLayerFolderPath", SCRATCH),
        ("exportFolderPath", r"C:\export"),
        ("layerData", r#"{"SchemaVersion":{"Major":2,"Minor":1}}"#),
    ];
    for (name, value) in expected {
        assert_eq!(call.argument(name), value);
    }
    storage
        .initialize_legacy_writable_layer(mount, folder, &two_parents(), &WritableLayerOptions::default())
        .unwrap();
    let call = standin.call();
    assert_eq!(call.function, "HcsInitializeLegacyWritableLayer");
    assert_eq!(call.argument("writableLayerMountPath"), r"\\?\Volume{x}\");
    assert_eq!(call.argument("writableLayerFolderPath"), SCRATCH);
    assert_eq!(call.argument("options"), "");
    assert_eq!(call.arguments.len(), 4);
}

#[test]
fn a_nul_anywhere_is_refused_before_anything_is_called() {
    let Some(standin) = Standin::new("a_nul_anywhere_is_refused_before_anything_is_called") else { return };
    let storage = standin.storage();
    let (good, bad) = (Path::new(NEW), Path::new("C:\\a\0b"));
    let (chain, none) = (LayerChain::base(), WritableLayerOptions::default());
    let options = ExportLayerOptions::default();
    let setup = OsLayerOptions::default();
    let paths = [
        storage.import_layer(bad, good, &chain),
        storage.import_layer(good, bad, &chain),
        storage.export_layer(bad, good, &chain, &options),
        storage.export_layer(good, bad, &chain, &options),
        storage.export_legacy_writable_layer(bad, good, good, &chain),
        storage.export_legacy_writable_layer(good, bad, good, &chain),
        storage.export_legacy_writable_layer(good, good, bad, &chain),
        storage.destroy_layer(bad),
        storage.setup_base_os_layer(bad, BaseOs::Container, &setup),
        storage.setup_base_os_volume(bad, good, &setup),
        storage.setup_base_os_volume(good, bad, &setup),
        storage.initialize_writable_layer(bad, &chain, &none),
        storage.initialize_legacy_writable_layer(bad, good, &chain, &none),
        storage.initialize_legacy_writable_layer(good, bad, &chain, &none),
        storage.attach_layer_storage_filter(bad, &chain),
        storage.detach_layer_storage_filter(bad),
        storage.attach_overlay_filter(bad, &chain),
        storage.detach_overlay_filter(bad, FilterType::Wcifs),
    ];
    for result in paths {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::Nul(path) if path == bad), "{error}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    let raw = RawDocument("{\"a\":\"\0\"}".into());
    for result in [
        storage.import_layer(good, good, &raw),
        storage.export_layer(good, good, &chain, &raw),
        storage.setup_base_os_layer_raw(good, BaseOs::Container, &raw),
        storage.initialize_writable_layer(good, &chain, &raw),
        storage.attach_layer_storage_filter(good, &raw),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(&error, Error::NulInDocument(text) if *text == raw.0), "{error}");
    }
    // JSON escapes a NUL within a parent's path, but no folder has such a name.
    assert_eq!(standin.calls(), []);
}

#[test]
fn a_parent_that_is_no_unicode_is_refused_before_anything_is_called() {
    let Some(standin) = Standin::new("a_parent_that_is_no_unicode_is_refused_before_anything_is_called")
    else {
        return;
    };
    let mut chain = LayerChain::base();
    chain.push(Guid::nil(), with_a_lone_surrogate());
    let error = standin.storage().attach_layer_storage_filter(&with_a_lone_surrogate(), &chain).unwrap_err();
    assert!(matches!(&error, Error::NotUnicode(path) if *path == with_a_lone_surrogate()), "{error}");
    assert_eq!(standin.calls(), []);
}

#[test]
fn a_utility_vm_cannot_be_set_up_as_a_container_nor_the_other_way() {
    let Some(standin) = Standin::new("a_utility_vm_cannot_be_set_up_as_a_container_nor_the_other_way") else {
        return;
    };
    let (storage, file) = (standin.storage(), tempfile::tempfile().unwrap());
    let options = |layer_type| OsLayerOptions { layer_type: Some(layer_type), ..OsLayerOptions::default() };
    for (base, other) in
        [(BaseOs::Container, OsLayerType::Vm), (BaseOs::Vm(file.as_handle()), OsLayerType::Container)]
    {
        let error = storage.setup_base_os_layer(Path::new(BASE), base, &options(other)).unwrap_err();
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    assert_eq!(standin.calls(), []);
}

#[test]
fn paths_go_through_untouched() {
    let Some(standin) = Standin::new("paths_go_through_untouched") else { return };
    let storage = standin.storage();
    let long = format!(r"\\?\C:\layers\{}", "deep\\".repeat(2000));
    for path in [
        "relative",
        r"..\up",
        "",
        "a/b",
        r"\\server\share\layers\a",
        r"\\?\UNC\server\share\a.",
        r"C:\trailing dots...",
        long.as_str(),
    ] {
        storage.detach_layer_storage_filter(Path::new(path)).unwrap();
        assert_eq!(standin.call().argument("layerPath"), path);
    }
    storage.detach_layer_storage_filter(&with_a_lone_surrogate()).unwrap();
    let units: Vec<u16> = r"C:\a".encode_utf16().chain([0xD800, u16::from(b'b')]).collect();
    assert_eq!(standin.call().argument("layerPath"), &serde_json::json!({ "utf16": units }));
}
