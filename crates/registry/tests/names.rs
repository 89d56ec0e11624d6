//! Names of images, as people type them.

use layerstone_registry::Reference;
use proptest::prelude::*;

#[test]
fn names_are_completed_as_docker_and_podman_do() {
    let digest = format!("sha256:{}", "a".repeat(64));
    for (text, full) in [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3", "docker.io/library/alpine:3"),
        ("org/app", "docker.io/org/app:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("mcr.microsoft.com/windows/nanoserver:ltsc2022", "mcr.microsoft.com/windows/nanoserver:ltsc2022"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("Registry/app", "Registry/app:latest"),
        ("a__b/c.d-e--f", "docker.io/a__b/c.d-e--f:latest"),
    ] {
        let reference = Reference::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(reference.to_string(), full);
    }
    let by_digest = Reference::parse(&format!("alpine@{digest}")).unwrap();
    assert_eq!(by_digest.to_string(), format!("docker.io/library/alpine@{digest}"));
    assert_eq!(by_digest.tag(), None);
    let both = Reference::parse(&format!("ghcr.io/a/b:1@{digest}")).unwrap();
    assert_eq!((both.tag(), both.manifest()), (Some("1"), digest.clone()), "the digest decides");
}

#[test]
fn what_is_no_name_is_refused_with_the_rule() {
    for (text, rule) in [
        ("", "no repository"),
        (":1", "no repository"),
        ("ghcr.io/", "no repository"),
        ("alpine:", "tag"),
        ("alpine:-x", "tag"),
        ("alpine:a/b", "host name"),
        ("x.y/alpine:a/b", "tag"),
        ("org/App", "capital"),
        ("a..b", "lower-case"),
        ("a/../b", "lower-case"),
        ("-a", "lower-case"),
        ("a___b", "lower-case"),
        ("alpine@sha256:12", "digest"),
        ("host:99999/a", "host name"),
        ("ho st.x/a", "host name"),
        ("user@ghcr.io/a", "digest"),
        ("https://ghcr.io/a", "host name"),
    ] {
        let error = Reference::parse(text).unwrap_err().to_string();
        assert!(error.contains(rule), "{text}: {error}");
    }
    assert!(Reference::parse(&"a".repeat(64)).unwrap_err().to_string().contains("image id"));
    assert!(Reference::parse(&format!("x.y/{}", "b".repeat(300))).is_err());
    assert!(Reference::parse(&format!("b:{}", "1".repeat(129))).is_err());
}

proptest! {
    #[test]
    fn any_text_is_a_name_or_an_error(text in "\\PC{0,80}") {
        let _ = Reference::parse(&text);
    }

    #[test]
    fn a_name_that_was_completed_stays_as_it_is(text in "([a-z]{1,5}\\.[a-z]{2}(:[0-9]{1,4})?/)?[a-z0-9]{1,6}([._-][a-z0-9]{1,4})?(/[a-z0-9]{1,5}){0,2}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,9})?") {
        let once = Reference::parse(&text).unwrap();
        let twice = Reference::parse(&once.to_string()).unwrap();
        prop_assert_eq!(&once, &twice);
        prop_assert_eq!(layerstone_oci::full_name(&text), once.to_string());
    }
}
