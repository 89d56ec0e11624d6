//! The documents are those that Microsoft's own client sends, recorded in `golden/computestorage-calls.json`.

use layerstone_hcs::schema::{CacheMode, PathType, SchemaVersion};
use layerstone_hcs::{
    Document, ExportLayerOptions, FilterType, Guid, LayerChain, LayerData, OsLayerOptions, OsLayerType,
    Parent, RawDocument, WritableLayerOptions,
};
use serde_json::Value;

const GOLDEN: &str = include_str!("golden/computestorage-calls.json");

/// An argument of a recorded call.
#[track_caller]
fn recorded(function: &str, case: &str, argument: &str) -> String {
    let golden: Value = serde_json::from_str(GOLDEN).unwrap();
    let cases = golden[function].as_array().unwrap();
    let case = cases.iter().find(|recorded| recorded["case"] == case).expect(case);
    let arguments = case["arguments"].as_array().unwrap();
    let argument = arguments.iter().find(|recorded| recorded["name"] == argument).expect(argument);
    argument["value"].as_str().unwrap().to_owned()
}

/// Compares as JSON: which characters a serialiser escapes is its own affair.
#[track_caller]
fn assert_sent(document: &dyn Document, function: &str, case: &str, argument: &str) {
    let expected: Value = serde_json::from_str(&recorded(function, case, argument)).unwrap();
    let written = document.to_json().unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written, expected, "{case}");
}

fn id(text: &str) -> Guid {
    Guid::parse_str(text).unwrap()
}

fn two_parents() -> LayerChain {
    let mut chain = LayerChain::base();
    chain.push(id("9C1A5F2E-1F2B-5D3C-8A4E-0123456789AB"), r"C:\layers\parent");
    chain.push(id("1d2c3b4a-5566-5777-8899-aabbccddeeff"), r"C:\layers\base");
    chain
}

#[test]
fn a_chain_is_the_document_that_hcsshim_sends() {
    assert_sent(&LayerChain::base(), "HcsImportLayer", "ImportLayer base (no parents)", "layerData");
    assert_sent(&LayerChain::default(), "HcsImportLayer", "ImportLayer empty non-nil Layers", "layerData");
    assert_sent(&two_parents(), "HcsImportLayer", "ImportLayer with two parents", "layerData");
    assert_sent(
        &two_parents().with_filter(FilterType::UnionFs),
        "HcsImportLayer",
        "ImportLayer FilterType UnionFS",
        "layerData",
    );
    assert_sent(
        &two_parents().with_filter(FilterType::Wcifs),
        "HcsAttachLayerStorageFilter",
        "AttachLayerStorageFilter with FilterType WCIFS",
        "layerData",
    );
}

#[test]
fn a_base_layer_has_no_list_of_parents_at_all() {
    assert_eq!(LayerChain::base().to_json().unwrap(), r#"{"SchemaVersion":{"Major":2,"Minor":1}}"#);
}

#[test]
fn documents_without_a_version_say_so_as_hcsshim_does() {
    assert_sent(&LayerData::default(), "HcsImportLayer", "ImportLayer zero LayerData", "layerData");
    let major = LayerData { schema_version: SchemaVersion { major: 2, minor: 0 }, ..LayerData::default() };
    assert_sent(&major, "HcsImportLayer", "ImportLayer SchemaVersion major only", "layerData");
    for (filter, case) in [
        (FilterType::UnionFs, "DetachOverlayFilter UnionFS"),
        (FilterType::Wcifs, "DetachOverlayFilter WCIFS"),
    ] {
        let data = LayerData { filter_type: Some(filter), ..LayerData::default() };
        assert_sent(&data, "HcsDetachOverlayFilter", case, "layerData");
    }
}

#[test]
fn parents_keep_their_order_and_are_named_by_lower_case_ids_without_braces() {
    let data = two_parents().layer_data().unwrap();
    let ids: Vec<_> = data.layers.iter().map(|layer| layer.id.as_str()).collect();
    assert_eq!(ids, ["9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab", "1d2c3b4a-5566-5777-8899-aabbccddeeff"]);
    let child = two_parents().child(id("00000000-0000-0000-0000-000000000001"), r"C:\layers\child");
    let paths: Vec<_> = child.parents().iter().map(|parent| parent.path.to_str().unwrap()).collect();
    assert_eq!(paths, [r"C:\layers\child", r"C:\layers\parent", r"C:\layers\base"]);
    assert_eq!(child.base_layer().unwrap().path.to_str(), Some(r"C:\layers\base"));
}

#[test]
fn what_a_layer_has_besides_its_path_follows_it() {
    // The recorded id is no GUID, which the typed chain cannot say; the keys and their values are what is compared.
    let mut chain = LayerChain::base();
    chain.push_parent(Parent {
        id: id("00000000-0000-0000-0000-000000000001"),
        path: r"\\.\x".into(),
        path_type: Some(PathType::VirtualDisk),
        cache: Some(CacheMode::Disabled),
    });
    let written = chain.to_json().unwrap().replace("00000000-0000-0000-0000-000000000001", "i");
    assert_sent(
        &RawDocument(written),
        "HcsImportLayer",
        "ImportLayer Layer with PathType and Cache",
        "layerData",
    );
}

#[test]
fn any_unicode_goes_into_a_document() {
    let mut chain = LayerChain::base();
    chain.push(id("00000000-0000-0000-0000-000000000001"), "C:\\a&b <c> 'q' ü日本😀\u{2028}\t");
    let written = chain.to_json().unwrap().replace("00000000-0000-0000-0000-000000000001", "x");
    let case =
        "ImportLayer special characters in Path: ampersand, angle brackets, quote, non-ASCII, U+2028, emoji";
    assert_sent(&RawDocument(written), "HcsImportLayer", case, "layerData");
}

#[cfg(unix)]
#[test]
fn a_path_that_json_cannot_hold_is_refused() {
    use layerstone_hcs::{Error, ErrorKind};
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::OsStr::from_bytes(b"/layers/\xFF");
    let mut chain = LayerChain::base();
    chain.push(id("00000000-0000-0000-0000-000000000001"), path);
    let error = chain.to_json().unwrap_err();
    assert!(matches!(&error, Error::NotUnicode(refused) if refused.as_os_str() == path), "{error}");
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn options_are_those_that_hcsshim_sends() {
    let export = |is_writable_layer| ExportLayerOptions { is_writable_layer };
    assert_sent(&export(false), "HcsExportLayer", "ExportLayer not writable", "options");
    assert_sent(&export(true), "HcsExportLayer", "ExportLayer writable", "options");
    let setup = "HcsSetupBaseOSLayer";
    assert_sent(&OsLayerOptions::default(), setup, "SetupBaseOSLayer zero options", "options");
    let options = |layer_type| OsLayerOptions { layer_type: Some(layer_type), ..OsLayerOptions::default() };
    assert_sent(
        &options(OsLayerType::Container),
        setup,
        "SetupBaseOSLayer container, null handle",
        "options",
    );
    assert_sent(&options(OsLayerType::Container), "HcsSetupBaseOSVolume", "SetupBaseOSVolume", "options");
    assert_sent(&options(OsLayerType::Vm), setup, "SetupBaseOSLayer vm, handle", "options");
    let all = OsLayerOptions {
        disable_ci_cache_optimization: true,
        skip_update_bcd_for_boot: true,
        ..options(OsLayerType::Container)
    };
    assert_sent(&all, setup, "SetupBaseOSLayer all options", "options");
}

#[test]
fn a_scratch_is_initialised_with_an_empty_string() {
    let sent = recorded("HcsInitializeWritableLayer", "InitializeWritableLayer", "options");
    assert_eq!(WritableLayerOptions::default().to_json().unwrap(), sent);
}

#[test]
fn a_document_that_was_written_is_read_again() {
    let data = two_parents().with_filter(FilterType::UnionFs).layer_data().unwrap();
    let read: LayerData = serde_json::from_str(&data.to_json().unwrap()).unwrap();
    assert_eq!(read, data);
    assert!(serde_json::from_str::<LayerData>("{}").is_ok());
}
