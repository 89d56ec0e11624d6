//! Manifests, indexes and configurations, made by hand and real.

mod common;

use std::fs;

use layerstone_oci::{
    Descriptor, Digest, Error, Healthcheck, HistoryEntry, ImageConfig, Index, Manifest, MediaKind, MediaType,
    Platform, limits,
};

use common::sample;

fn config(json: &str) -> ImageConfig {
    ImageConfig::parse(json.as_bytes().to_vec()).unwrap()
}

#[test]
fn appending_a_layer_keeps_every_other_key_in_its_place() {
    let id = Digest::of(b"a");
    let before = config(&format!(
        r#"{{"x-first":1,"created":"2020-01-01T00:00:00Z","rootfs":{{"type":"layers","diff_ids":["{id}"],"x":[]}},"os":"linux","config":{{"Cmd":["a"],"X":null}},"x-last":{{"b":1,"a":2}}}}"#
    ));
    let entry = HistoryEntry {
        created: Some("2024-05-06T07:08:09Z".into()),
        created_by: Some("commit".into()),
        ..HistoryEntry::default()
    };
    let new = Digest::of(b"b").into();
    let after = before.append_layer(&new, entry.clone()).unwrap();
    let expected = format!(
        r#"{{"x-first":1,"created":"2024-05-06T07:08:09Z","rootfs":{{"type":"layers","diff_ids":["{id}","{new}"],"x":[]}},"os":"linux","config":{{"Cmd":["a"],"X":null}},"x-last":{{"b":1,"a":2}},"history":[{{}},{{"created":"2024-05-06T07:08:09Z","created_by":"commit"}}]}}"#
    );
    assert_eq!(String::from_utf8_lossy(after.bytes()), expected);
    assert_eq!(after, before.append_layer(&new, entry).unwrap());
    assert_eq!(after.diff_ids(), [id.into(), new]);
    assert_eq!(after.chain_ids().len(), 2);
}

#[test]
fn keys_in_another_case_are_found_and_changed_where_they_are() {
    let before = config(
        r#"{"OS":"windows","rootfS":{"diff_ids":[]},"config":{"user":"ContainerUser","cmd":"cmd.exe"}}"#,
    );
    assert_eq!(before.os(), "windows");
    assert_eq!(before.user(), Some("ContainerUser"));
    assert_eq!(before.cmd(), Some(vec!["cmd.exe".to_owned()]));
    let after = before.append_layer(&Digest::of(b"").into(), HistoryEntry::default()).unwrap();
    assert_eq!(after.diff_ids().len(), 1);
    assert!(!after.raw().contains_key("rootfs"));
}

#[test]
fn configurations_of_windows_images_are_read() {
    let test = "configurations_of_windows_images_are_read";
    let Some(path) = sample(test, "manifests/mcr-dotnet-framework-runtime-4.8-ltsc2022.config.json") else {
        return;
    };
    let bytes = fs::read(path).unwrap();
    let config = ImageConfig::parse(bytes.clone()).unwrap();
    assert_eq!(config.bytes(), bytes);
    assert_eq!(config.platform().to_string(), "windows/amd64:10.0.20348.473");
    assert_eq!(config.diff_ids().len(), 4);
    assert_eq!(config.history().len(), 4);
    assert_eq!(config.history()[0].created_by.as_deref(), Some("Apply image 2022-RTM-amd64"));
    assert_eq!((config.entrypoint(), config.user()), (None, None));
    assert_eq!(config.cmd().unwrap(), ["c:\\windows\\system32\\cmd.exe"]);
    assert_eq!(config.env()[0], "DOTNET_RUNNING_IN_CONTAINER=true");
    let keys: Vec<&String> = config.raw().keys().collect();
    let after = config.append_layer(&Digest::of(b"x").into(), HistoryEntry::default()).unwrap();
    assert_eq!(after.raw().keys().collect::<Vec<_>>(), keys);
}

#[test]
fn a_health_check_is_read_as_docker_writes_it() {
    let of = |check: &str| config(&format!(r#"{{"config": {{"Healthcheck": {check}}}}}"#)).healthcheck();
    assert_eq!(
        of(
            r#"{"Test": ["CMD-SHELL", "a b"], "Interval": 30000000000, "timeout": 1, "StartPeriod": 0, "Retries": 3}"#
        ),
        Some(Healthcheck {
            test: vec!["CMD-SHELL".to_owned(), "a b".to_owned()],
            interval_ns: Some(30_000_000_000),
            timeout_ns: Some(1),
            start_period_ns: None,
            retries: Some(3),
        })
    );
    assert_eq!(of(r#"{"Test": ["NONE"]}"#).unwrap().test, ["NONE"]);
    // What makes no sense is absent.
    assert_eq!(
        of(r#"{"Interval": -1, "Retries": 4294967296, "Timeout": "1s"}"#),
        Some(Healthcheck::default())
    );
    assert_eq!((of("null"), of("[]"), config("{}").healthcheck()), (None, None, None));
}

#[test]
fn base_layers_of_windows_have_urls_and_may_not_be_distributed() {
    let test = "base_layers_of_windows_have_urls_and_may_not_be_distributed";
    let Some(path) = sample(test, "manifests/mcr-dotnet-framework-runtime-4.8-ltsc2022.manifest.json") else {
        return;
    };
    let manifest = Manifest::parse(fs::read(path).unwrap()).unwrap();
    assert_eq!(manifest.media_type().as_str(), MediaType::DOCKER_MANIFEST);
    assert!(manifest.is_image());
    let base = &manifest.layers()[0];
    assert!(matches!(base.kind(), MediaKind::Layer { nondistributable: true, .. }));
    assert!(base.urls[0].ends_with(&base.digest.to_string()));
    assert!(matches!(manifest.layers()[3].kind(), MediaKind::Layer { nondistributable: false, .. }));
}

#[test]
fn the_right_windows_build_is_chosen_from_a_real_index() {
    let test = "the_right_windows_build_is_chosen_from_a_real_index";
    let Some(path) = sample(test, "manifests/mcr-dotnet-framework-runtime-4.8.index.json") else { return };
    let index = Index::parse(&fs::read(path).unwrap(), "sample").unwrap();
    let platforms: Vec<Platform> = index.manifests.iter().map(|m| m.platform.clone().unwrap()).collect();
    let choose = |wanted: &str| {
        Platform::parse(wanted).unwrap().choose(&platforms).map(|at| platforms[at].to_string())
    };
    assert_eq!(choose("windows/amd64:10.0.17763.x").as_deref(), Some("windows/amd64:10.0.17763.2458"));
    assert_eq!(choose("windows/amd64").as_deref(), Some("windows/amd64:10.0.20348.473"));
    assert_eq!(choose("linux/amd64"), None);
}

#[test]
fn every_manifest_of_the_samples_parses() {
    let test = "every_manifest_of_the_samples_parses";
    let Some(dir) = sample(test, "manifests") else { return };
    let mut seen = 0;
    for dir in [dir.clone(), dir.join("containers-image")] {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".manifest.json") && !name.contains("docker-save") {
                Manifest::parse(fs::read(&path).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
                seen += 1;
            } else if name.ends_with(".index.json") {
                Index::parse(&fs::read(&path).unwrap(), &name).unwrap();
                seen += 1;
            }
        }
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn unknown_fields_of_an_index_are_written_again() {
    let digest = Digest::of(b"");
    let text = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":0,"platform":{{"architecture":"amd64","os":"linux","features":["sse4"]}},"data":""}}],"x":1}}"#,
        MediaType::OCI_MANIFEST
    );
    let index = Index::parse(text.as_bytes(), "test").unwrap();
    assert_eq!(String::from_utf8(index.to_bytes().unwrap()).unwrap(), text);
    let null = Index::parse(br#"{"schemaVersion":2,"manifests":null}"#, "test").unwrap();
    assert!(null.manifests.is_empty());
}

#[test]
fn documents_of_two_kinds_at_once_are_refused() {
    let d = Descriptor::of(MediaType::OCI_CONFIG, b"{}");
    let d = serde_json::to_string(&d).unwrap();
    let both = format!(r#"{{"schemaVersion":2,"config":{d},"layers":[],"manifests":[]}}"#);
    assert!(matches!(Manifest::parse(both.clone().into_bytes()), Err(Error::Malformed { .. })));
    assert!(matches!(Index::parse(both.as_bytes(), "test"), Err(Error::Malformed { .. })));
    let lies =
        format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{d},"layers":[]}}"#, MediaType::OCI_INDEX);
    assert!(matches!(Manifest::parse(lies.into_bytes()), Err(Error::MediaType { .. })));
}

#[test]
fn garbage_is_refused_with_the_name_of_the_document() {
    for bad in
        ["", "{", "[]", "null", "\"x\"", r#"{"schemaVersion":1}"#, r#"{"schemaVersion":2,"config":{}}"#]
    {
        let error = Manifest::parse(bad.as_bytes().to_vec()).unwrap_err().to_string();
        assert!(error.contains(&Digest::of(bad.as_bytes()).to_string()), "{error}");
    }
    for bad in [
        r#"{"rootfs":[]}"#,
        r#"{"rootfs":{"diff_ids":{}}}"#,
        r#"{"rootfs":{"diff_ids":[1]}}"#,
        r#"{"rootfs":{"diff_ids":["sha256:../../x"]}}"#,
        r#"{"rootfs":{"type":"other"}}"#,
        "[]",
    ] {
        assert!(ImageConfig::parse(bad.as_bytes().to_vec()).is_err(), "{bad}");
    }
    let negative = format!(r#"{{"mediaType":"x","digest":"{}","size":-1}}"#, Digest::of(b""));
    assert!(serde_json::from_str::<Descriptor>(&negative).is_err());
}

#[test]
fn documents_above_their_limit_are_not_parsed() {
    let big = vec![b' '; usize::try_from(limits::MAX_MANIFEST_SIZE).unwrap() + 1];
    assert!(matches!(Manifest::parse(big), Err(Error::TooLarge { .. })));
    let layer = serde_json::to_value(Descriptor::of(MediaType::OCI_LAYER, b"")).unwrap();
    let many = serde_json::json!({"schemaVersion": 2,
        "config": serde_json::to_value(Descriptor::of(MediaType::OCI_CONFIG, b"")).unwrap(),
        "layers": vec![layer; limits::MAX_LAYERS + 1]});
    assert!(matches!(Manifest::parse(many.to_string().into_bytes()), Err(Error::TooMany { .. })));
}
