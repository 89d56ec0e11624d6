//! Digests, ChainIDs, media types and platforms.

use layerstone_oci::{
    Algorithm, ChainId, Compression, DiffId, Digest, Error, MediaKind, MediaType, Platform, chain_ids,
    sniff_compression,
};
use proptest::prelude::*;

fn diff_id(text: &str) -> DiffId {
    text.parse().unwrap()
}

#[test]
fn only_strict_digests_parse() {
    let good = format!("sha256:{}", "a".repeat(64));
    assert_eq!(Digest::parse(&good).unwrap().to_string(), good);
    let long = format!("sha512:{}", "0".repeat(128));
    assert_eq!(Digest::parse(&long).unwrap().algorithm(), Algorithm::Sha512);
    let bad = [
        "sha256:../../x".to_owned(),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{}", "a".repeat(63)),
        format!("sha256:{}/", "a".repeat(63)),
        format!("sha256:{}", "a".repeat(128)),
        format!("sha1:{}", "a".repeat(40)),
        format!("../sha256:{}", "a".repeat(64)),
        "sha256".to_owned(),
        ":".to_owned(),
        String::new(),
    ];
    for text in bad {
        assert!(matches!(Digest::parse(&text), Err(Error::InvalidDigest { .. })), "{text}");
    }
}

#[test]
fn chain_ids_are_those_that_containerd_computed_for_server_core() {
    // servercore:ltsc2022, from containerd's own database.
    let diff_ids = [
        diff_id("sha256:aa27a343ff6a62b6bad81ca57f0f66c9bde947554a41af569eca4ed4822a37f8"),
        diff_id("sha256:0424f7bdb2c74b982057ab491092326eec2567f6aef5ba502132e570e21cc204"),
    ];
    let chain = chain_ids(&diff_ids);
    assert_eq!(chain[0], ChainId::base(&diff_ids[0]));
    assert_eq!(chain[1], chain[0].child(&diff_ids[1]));
    assert_eq!(
        chain[1].to_string(),
        "sha256:f3f9e62abfe69b2839677cc0d21bdf892877479571b1b302f1e75d5d39be596b"
    );
}

#[test]
fn media_types_of_docker_and_oci_mean_the_same() {
    let foreign = MediaKind::Layer { compression: Compression::Gzip, nondistributable: true };
    assert_eq!(MediaType::new(MediaType::DOCKER_FOREIGN_LAYER_GZIP).kind(), foreign);
    assert_eq!(MediaType::new(MediaType::OCI_NONDIST_LAYER_GZIP).kind(), foreign);
    assert_eq!(MediaType::new(MediaType::DOCKER_LIST).kind(), MediaKind::Index);
    assert_eq!(
        MediaType::new("application/vnd.oci.image.layer.v1.tar+gzip+encrypted").kind(),
        MediaKind::Other
    );
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        for nondistributable in [false, true] {
            let kind = MediaType::oci_layer(compression, nondistributable).kind();
            assert_eq!(kind, MediaKind::Layer { compression, nondistributable });
        }
    }
}

#[test]
fn compression_is_told_by_the_first_bytes() {
    assert_eq!(sniff_compression(&[0x1f, 0x8b, 8]), Compression::Gzip);
    assert_eq!(sniff_compression(&[0x28, 0xb5, 0x2f, 0xfd]), Compression::Zstd);
    assert_eq!(sniff_compression(&[0x50, 0x2a, 0x4d, 0x18]), Compression::Zstd);
    assert_eq!(sniff_compression(b"etc/passwd"), Compression::None);
    assert_eq!(sniff_compression(b""), Compression::None);
}

#[test]
fn platforms_are_written_in_their_usual_names() {
    for (text, canonical) in [
        ("linux/x86_64", "linux/amd64"),
        ("Linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/amd64/1", "linux/amd64"),
        ("linux/arm64/8", "linux/arm64"),
        ("windows/amd64:10.0.20348.x", "windows/amd64:10.0.20348.x"),
        ("windows(10.0.17763)/amd64", "windows/amd64:10.0.17763"),
    ] {
        assert_eq!(Platform::parse(text).unwrap().to_string(), canonical);
    }
    for text in [
        "",
        "linux",
        "linux/",
        "/amd64",
        "a/b/c/d",
        "windows/amd64:",
        "linux/amd64:1 2",
        "windows(1)/amd64:2",
    ] {
        assert!(matches!(Platform::parse(text), Err(Error::InvalidPlatform { .. })), "{text}");
    }
}

fn choose(wanted: &str, images: &[&str]) -> Option<usize> {
    let images: Vec<Platform> = images.iter().map(|image| Platform::parse(image).unwrap()).collect();
    Platform::parse(wanted).unwrap().choose(&images)
}

#[test]
fn the_highest_windows_version_of_the_build_is_chosen() {
    let mcr = [
        "windows/amd64:10.0.14393.4889",
        "windows/amd64:10.0.20348.473",
        "windows/amd64:10.0.20348.1129",
        "windows/amd64:10.0.17763.2458",
        "linux/amd64",
    ];
    assert_eq!(choose("windows/amd64", &mcr), Some(2));
    assert_eq!(choose("windows/amd64:10.0.20348.x", &mcr), Some(2));
    assert_eq!(choose("windows/amd64:10.0.20348.473", &mcr), Some(1));
    assert_eq!(choose("windows/amd64:10.0.17763", &mcr), Some(3));
    assert_eq!(choose("windows/amd64:10.0.2", &mcr), None, "a version matches by whole numbers");
    assert_eq!(choose("windows/arm64", &mcr), None);
}

#[test]
fn processor_variants_run_what_is_made_for_lower_ones() {
    let arms = ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6", "linux/arm64"];
    assert_eq!(choose("linux/arm", &arms), Some(1));
    assert_eq!(choose("linux/arm/v6", &arms), Some(2));
    assert_eq!(choose("linux/arm64/v8", &arms), Some(3));
    assert_eq!(choose("linux/amd64", &["linux/amd64/v3", "linux/amd64"]), Some(1));
    assert_eq!(choose("linux/amd64/v3", &["linux/amd64", "linux/amd64/v3"]), Some(1));
}

#[test]
fn features_of_the_operating_system_must_all_be_there() {
    let mut wanted = Platform::parse("windows/amd64").unwrap();
    let image = wanted.clone();
    wanted.os_features.push("win32k".into());
    assert!(!wanted.matches(&image));
    assert!(wanted.matches(&wanted));
    assert!(image.matches(&wanted));
}

proptest! {
    #[test]
    fn digests_survive_being_written_and_parsed(bytes: [u8; 32]) {
        let digest = Digest::from_sha256(bytes);
        prop_assert_eq!(Digest::parse(&digest.to_string()).unwrap(), digest);
        let json = serde_json::to_string(&digest).unwrap();
        prop_assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
    }

    #[test]
    fn no_string_makes_a_parser_panic(text in any::<String>()) {
        let _ = Digest::parse(&text);
        let _ = Digest::parse(&format!("sha256:{text}"));
        let _ = Platform::parse(&text);
    }

    #[test]
    fn platforms_survive_being_written_and_parsed(
        text in "[a-z]{1,8}/[a-z0-9]{1,8}(/v?[0-9]{1,2})?(:[0-9]{1,3}(\\.[0-9x]{1,5}){0,3})?"
    ) {
        let platform = Platform::parse(&text).unwrap();
        prop_assert_eq!(Platform::parse(&platform.to_string()).unwrap(), platform.clone());
        let json = serde_json::to_string(&platform).unwrap();
        prop_assert_eq!(serde_json::from_str::<Platform>(&json).unwrap(), platform);
    }
}
