//! The older interface: structures, mount paths, ids, and the order of things.
#![cfg(windows)]

mod standin;

use std::path::{Path, PathBuf};

use layerstone_hcs::{Error, ErrorKind, Guid, HResult, LayerChain};
use serde_json::{Value, json};
use standin::Standin;

const LAYER: &str = r"C:\layers\scratch";

fn chain() -> LayerChain {
    let mut chain = LayerChain::base();
    chain.push(Guid::parse_str("9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab").unwrap(), r"C:\layers\parent");
    chain.push(Guid::parse_str("1d2c3b4a-5566-5777-8899-aabbccddeeff").unwrap(), r"C:\layers\日本");
    chain
}

/// As the descriptors are recorded.
fn descriptors() -> Value {
    json!([
        {"layerId": "9c1a5f2e-1f2b-5d3c-8a4e-0123456789ab", "flags": 0, "path": r"C:\layers\parent"},
        {"layerId": "1d2c3b4a-5566-5777-8899-aabbccddeeff", "flags": 0, "path": r"C:\layers\日本"},
    ])
}

#[test]
fn the_driver_is_the_filter_driver_with_an_empty_home() {
    let Some(standin) = Standin::new("the_driver_is_the_filter_driver_with_an_empty_home") else { return };
    let vmcompute = standin.vmcompute();
    let (layer, folder) = (Path::new(LAYER), Path::new(r"C:\folder"));
    vmcompute.create_sandbox_layer(layer, &chain()).unwrap();
    vmcompute.activate_layer(layer).unwrap();
    vmcompute.prepare_layer(layer, &chain()).unwrap();
    vmcompute.unprepare_layer(layer).unwrap();
    vmcompute.deactivate_layer(layer).unwrap();
    vmcompute.expand_sandbox_size(layer, 40 << 30).unwrap();
    vmcompute.import_layer(layer, folder, &chain()).unwrap();
    vmcompute.export_layer(layer, folder, &chain()).unwrap();
    vmcompute.destroy_layer(layer).unwrap();
    let calls = standin.calls();
    let functions: Vec<_> = calls.iter().map(|call| call.function.as_str()).collect();
    let expected = [
        "CreateSandboxLayer",
        "ActivateLayer",
        "PrepareLayer",
        "UnprepareLayer",
        "DeactivateLayer",
        "ExpandSandboxSize",
        "ImportLayer",
        "ExportLayer",
        "DestroyLayer",
    ];
    assert_eq!(functions, expected);
    for call in &calls {
        assert_eq!(call.argument("info"), &json!({"flavour": 1, "homeDir": ""}), "{}", call.function);
        assert_eq!(call.argument("id"), LAYER);
        if let Some((_, parents)) = call.arguments.iter().find(|(name, _)| name == "descriptors") {
            assert_eq!(*parents, descriptors(), "{}", call.function);
        }
    }
    assert_eq!(
        calls.iter().filter(|call| call.arguments.iter().any(|(name, _)| name == "descriptors")).count(),
        4
    );
    assert_eq!(calls[0].argument("parent"), 0);
    assert_eq!(calls[5].argument("size"), 40_u64 << 30);
    assert_eq!(calls[6].argument("path"), r"C:\folder");
    assert_eq!(calls[7].argument("path"), r"C:\folder");
}

#[test]
fn no_parents_are_a_null_pointer() {
    let Some(standin) = Standin::new("no_parents_are_a_null_pointer") else { return };
    standin.vmcompute().prepare_layer(Path::new(LAYER), &LayerChain::base()).unwrap();
    assert_eq!(standin.call().argument("descriptors"), &Value::Null);
}

#[test]
fn images_are_processed_by_their_paths_alone() {
    let Some(standin) = Standin::new("images_are_processed_by_their_paths_alone") else { return };
    let vmcompute = standin.vmcompute();
    vmcompute.process_base_image(Path::new(LAYER)).unwrap();
    assert_eq!(standin.call().arguments, [("path".to_owned(), json!(LAYER))]);
    vmcompute.process_utility_image(Path::new(r"C:\layers\base\UtilityVM")).unwrap();
    assert_eq!(standin.call().arguments, [("path".to_owned(), json!(r"C:\layers\base\UtilityVM"))]);
    vmcompute.grant_vm_access("vm 1", Path::new(LAYER)).unwrap();
    let call = standin.call();
    assert_eq!((call.argument("vmid"), call.argument("filepath")), (&json!("vm 1"), &json!(LAYER)));
    let error = vmcompute.grant_vm_access("vm\0", Path::new(LAYER)).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    assert_eq!(standin.calls(), []);
}

#[test]
fn the_id_of_a_layer_is_that_of_the_last_component_of_its_path() {
    let Some(standin) = Standin::new("the_id_of_a_layer_is_that_of_the_last_component_of_its_path") else {
        return;
    };
    let vmcompute = standin.vmcompute();
    let first = vmcompute.layer_id(Path::new(r"C:\layers\305d84fb")).unwrap();
    assert_eq!(standin.call().argument("name"), "305d84fb");
    for path in
        [r"D:\other\305d84fb", r"C:\layers\305d84fb\", "c:/layers/305d84fb/", r"\\?\C:\305d84fb", "305d84fb"]
    {
        assert_eq!(vmcompute.layer_id(Path::new(path)).unwrap(), first, "{path}");
        assert_eq!(standin.call().argument("name"), "305d84fb", "{path}");
    }
    assert_ne!(vmcompute.layer_id(Path::new(r"C:\layers\305d84fc")).unwrap(), first);
    standin.calls();
    for path in ["", r"C:\", r"C:\layers\..", ".."] {
        let error = vmcompute.layer_id(Path::new(path)).unwrap_err();
        assert!(matches!(&error, Error::Argument { .. }), "{path}: {error}");
    }
    assert_eq!(standin.calls(), []);

    let chain = vmcompute.chain([r"C:\layers\app", r"C:\layers\305d84fb"]).unwrap();
    assert_eq!(chain.parents()[1].id, first);
    assert_eq!(chain.parents()[0].path, Path::new(r"C:\layers\app"));
}

#[test]
fn a_mount_path_is_asked_for_twice() {
    let Some(standin) = Standin::new("a_mount_path_is_asked_for_twice") else { return };
    let vmcompute = standin.vmcompute();
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(vmcompute.layer_mount_path(directory.path()).unwrap(), directory.path());
    let calls = standin.calls();
    let buffers: Vec<_> = calls.iter().map(|call| call.argument("buffer").as_str().unwrap()).collect();
    assert_eq!(buffers, ["null", "non-null"]);
    assert_eq!(calls[0].argument("info"), &json!({"flavour": 1, "homeDir": ""}));
}

#[test]
fn a_layer_without_a_mount_path_has_an_empty_one() {
    let Some(standin) = Standin::new("a_layer_without_a_mount_path_has_an_empty_one") else { return };
    // A length of 0: success without anything written, as the first call of the two may end.
    standin.fail("GetLayerMountPath", 0, 0);
    let path = standin.vmcompute().layer_mount_path(Path::new(LAYER)).unwrap();
    assert_eq!(path, PathBuf::new());
    assert_eq!(standin.functions(), ["GetLayerMountPath"]);
}

#[test]
fn a_folder_that_is_there_exists() {
    let Some(standin) = Standin::new("a_folder_that_is_there_exists") else { return };
    let directory = tempfile::tempdir().unwrap();
    assert!(standin.vmcompute().layer_exists(directory.path()).unwrap());
    assert!(!standin.vmcompute().layer_exists(&directory.path().join("nothing")).unwrap());
}

#[test]
fn a_disk_that_comes_late_is_waited_for() {
    let Some(standin) = Standin::new("a_disk_that_comes_late_is_waited_for") else { return };
    let vmcompute = standin.vmcompute();
    standin.fail("ActivateLayer", 1, 0x8007_0015);
    standin.fail("ActivateLayer", 2, 0xC007_048F);
    vmcompute.activate_layer(Path::new(LAYER)).unwrap();
    assert_eq!(standin.functions(), ["ActivateLayer"; 3]);
    // A sharing violation is no late disk: it may have any cause.
    standin.fail("ActivateLayer", 0, 0x8007_0020);
    let error = vmcompute.activate_layer(Path::new(LAYER)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    assert_eq!(standin.functions(), ["ActivateLayer"]);
}

#[test]
fn a_layer_is_deactivated_between_tries_to_prepare_it() {
    let Some(standin) = Standin::new("a_layer_is_deactivated_between_tries_to_prepare_it") else { return };
    let vmcompute = standin.vmcompute();
    standin.fail("PrepareLayer", 1, 0x8007_0015);
    standin.fail("PrepareLayer", 2, 0x8007_048F);
    vmcompute.activate_and_prepare(Path::new(LAYER), &chain()).unwrap();
    let failed = ["ActivateLayer", "PrepareLayer", "DeactivateLayer"];
    let expected: Vec<_> = failed.iter().chain(&failed).chain(&failed[..2]).copied().collect();
    assert_eq!(standin.functions(), expected);
}

#[test]
fn a_layer_that_cannot_be_prepared_is_left_inactive() {
    let Some(standin) = Standin::new("a_layer_that_cannot_be_prepared_is_left_inactive") else { return };
    let vmcompute = standin.vmcompute();
    standin.fail("PrepareLayer", 0, 0x8007_0005);
    let error = vmcompute.activate_and_prepare(Path::new(LAYER), &chain()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AccessDenied);
    assert_eq!(standin.functions(), ["ActivateLayer", "PrepareLayer", "DeactivateLayer"]);

    standin.fail("ActivateLayer", 0, 0x8007_0015);
    let error = vmcompute.activate_and_prepare(Path::new(LAYER), &chain()).unwrap_err();
    assert_eq!(error.code(), Some(HResult::NOT_READY));
    assert_eq!(standin.functions(), ["ActivateLayer"; 4]);
}

#[test]
fn layers_are_prepared_one_at_a_time() {
    let Some(standin) = Standin::new("layers_are_prepared_one_at_a_time") else { return };
    for function in ["PrepareLayer", "ActivateLayer"] {
        standin.delay(function, 100);
    }
    // Also through several objects: what has to take turns is the process.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let vmcompute = standin.vmcompute();
                vmcompute.activate_layer(Path::new(LAYER)).unwrap();
                vmcompute.prepare_layer(Path::new(LAYER), &chain()).unwrap();
            });
        }
    });
    assert_eq!(standin.most_at_once("PrepareLayer"), 1);
    // The measure measures something.
    assert!(standin.most_at_once("ActivateLayer") > 1);
}

#[test]
fn a_nul_is_refused_before_anything_is_called() {
    let Some(standin) = Standin::new("a_nul_is_refused_before_anything_is_called") else { return };
    let vmcompute = standin.vmcompute();
    let (good, bad) = (Path::new(LAYER), Path::new("C:\\a\0b"));
    let mut parents = LayerChain::base();
    parents.push(Guid::nil(), bad);
    for result in [
        vmcompute.activate_layer(bad),
        vmcompute.prepare_layer(good, &parents),
        vmcompute.create_sandbox_layer(good, &parents),
        vmcompute.import_layer(good, bad, &LayerChain::base()),
        vmcompute.destroy_layer(bad),
        vmcompute.layer_id(bad).map(drop),
        vmcompute.layer_mount_path(bad).map(drop),
        vmcompute.process_base_image(bad),
    ] {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Nul(_)), "{error}");
    }
    assert_eq!(standin.calls(), []);
}
