//! What the files of podman and docker say, and what is written to them.

mod common;

use std::fs;
use std::path::Path;

use common::paths_in;
use layerstone_registry::{Credentials, Endpoint, Error, Keyring, Reference, Registries};

fn conf(text: &str) -> Registries {
    let mut registries = Registries::default();
    registries.add(text, Path::new("registries.conf")).unwrap();
    registries
}

fn pull(registries: &Registries, name: &str) -> Vec<String> {
    let endpoints = registries.pull_endpoints(&Reference::parse(name).unwrap()).unwrap();
    endpoints.iter().map(|endpoint| format!("{}/{}", endpoint.host, endpoint.repository)).collect()
}

fn password(username: &str, password: &str) -> Credentials {
    Credentials::Password { username: username.into(), password: password.into() }
}

#[test]
fn short_names_are_looked_for_where_the_configuration_says() {
    let none = Registries::default();
    assert_eq!(none.candidates("alpine").unwrap()[0].to_string(), "docker.io/library/alpine:latest");
    let some = conf(
        "unqualified-search-registries = ['reg.example.com', 'docker.io']\n[aliases]\nfedora = 'registry.fedoraproject.org/fedora'",
    );
    let names: Vec<String> = some.candidates("alpine:3").unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["reg.example.com/alpine:3", "docker.io/library/alpine:3"]);
    assert_eq!(some.candidates("fedora:40").unwrap()[0].to_string(), "registry.fedoraproject.org/fedora:40");
    assert_eq!(some.candidates("ghcr.io/a/b").unwrap().len(), 1);
}

#[test]
fn mirrors_are_asked_first_and_locations_are_rewritten() {
    let registries = conf(
        r#"
        [[registry]]
        prefix = "docker.io"
        location = "hub.internal/proxy"
        [[registry.mirror]]
        location = "mirror.internal:5000/hub"
        insecure = true
        [[registry.mirror]]
        location = "digests.internal"
        pull-from-mirror = "digest-only"
        [[registry]]
        prefix = "docker.io/library/secret"
        blocked = true
        [[registry]]
        prefix = "*.example.com"
        insecure = true
        "#,
    );
    assert_eq!(
        pull(&registries, "alpine"),
        ["mirror.internal:5000/hub/library/alpine", "hub.internal/proxy/library/alpine"]
    );
    let by_digest = format!("alpine@sha256:{}", "a".repeat(64));
    assert_eq!(pull(&registries, &by_digest).len(), 3);
    let error = registries.pull_endpoints(&Reference::parse("secret:1").unwrap()).unwrap_err();
    assert!(matches!(error, Error::Blocked { .. }), "{error}");
    assert_eq!(pull(&registries, "secrets:1").len(), 2, "a prefix ends where a name's part ends");
    let wild = registries.push_endpoint(&Reference::parse("a.example.com/x").unwrap()).unwrap();
    let expected =
        Endpoint { host: "a.example.com".into(), repository: "x".into(), insecure: true, mirror: false };
    assert_eq!(wild, expected);
    let push = registries.push_endpoint(&Reference::parse("alpine").unwrap()).unwrap();
    assert_eq!((push.host.as_str(), push.mirror), ("hub.internal", false), "never to a mirror");
}

#[test]
fn files_of_a_directory_win_over_the_main_one_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths_in(dir.path());
    fs::write(
        &paths.registries[0],
        "unqualified-search-registries = ['one.example']\n[[registry]]\nlocation='a.example'\ninsecure=true",
    )
    .unwrap();
    fs::create_dir(&paths.registries_dirs[0]).unwrap();
    fs::write(paths.registries_dirs[0].join("20.conf"), "unqualified-search-registries = ['three.example']")
        .unwrap();
    fs::write(
        paths.registries_dirs[0].join("10.conf"),
        "unqualified-search-registries = ['two.example']\n[[registry]]\nlocation='a.example'\n",
    )
    .unwrap();
    fs::write(paths.registries_dirs[0].join("ignored.txt"), "nonsense").unwrap();
    let registries = Registries::load(&paths).unwrap();
    assert_eq!(registries.candidates("x").unwrap()[0].registry(), "three.example");
    assert!(!registries.push_endpoint(&Reference::parse("a.example/x").unwrap()).unwrap().insecure);
}

#[test]
fn what_is_wrong_with_a_configuration_is_said_with_its_place() {
    for (text, words) in [
        ("[[registry]\n", "line 1"),
        ("[registries.search]\nregistries = ['x']", "version 1"),
        ("[[registry]]\ninsecure = true", "neither prefix nor location"),
        ("[[registry]]\nprefix = '*.x.y'\nlocation = 'z'", "wildcard"),
        ("unqualified-search-registries = 5", "line 1"),
    ] {
        let error = Registries::default().add(text, Path::new("/etc/x.conf")).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("/etc/x.conf"), "{error}");
    }
}

#[test]
fn the_most_special_entry_wins_and_the_first_file_before_the_second() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths_in(dir.path());
    // "a:b" etc. in base64
    fs::write(
        &paths.auth_files[0],
        r#"{"auths":{
        "r.example":{"auth":"cmVnOjE="},
        "r.example/org":{"auth":"b3JnOjI="},
        "r.example/org/app":{"auth":"YXBwOjM="},
        "r.example/organ":{"auth":"!!"}
    }}"#,
    )
    .unwrap();
    fs::write(
        &paths.auth_files[1],
        r#"{"auths":{
        "r.example":{"auth":"bGF0ZXI6OQ=="},
        "https://index.docker.io/v1/":{"auth":"aHViOjQ="},
        "azure.example":{"identitytoken":"refresh"},
        "raw.example":{"registrytoken":"tok"},
        "empty.example":{}
    }}"#,
    )
    .unwrap();
    let keyring = Keyring::new(paths);
    let find = |registry: &str, repository: &str| keyring.find(registry, repository).unwrap();
    assert_eq!(find("r.example", "other"), Some(password("reg", "1")));
    assert_eq!(find("r.example", "org/x"), Some(password("org", "2")));
    assert_eq!(find("r.example", "org/app"), Some(password("app", "3")));
    assert_eq!(find("r.example", "org/app/deeper"), Some(password("app", "3")));
    assert_eq!(find("docker.io", "library/alpine"), Some(password("hub", "4")));
    assert_eq!(find("azure.example", "x"), Some(Credentials::IdentityToken("refresh".into())));
    assert_eq!(find("raw.example", "x"), Some(Credentials::RegistryToken("tok".into())));
    assert_eq!(find("empty.example", "x"), None);
    assert_eq!(find("nobody.example", "x"), None);
    assert!(keyring.find("r.example", "organ/x").unwrap_err().to_string().contains("base64"));
}

#[test]
fn login_keeps_what_else_is_in_the_file_and_only_its_owner_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths_in(dir.path());
    let other =
        r#"{"auths":{"other.example":{"auth":"eDp5"}},"HttpHeaders":{"X":"y"},"detachKeys":"ctrl-e"}"#;
    fs::write(&paths.login_file, other).unwrap();
    let keyring = Keyring::new(paths.clone());
    keyring.login("r.example", &password("user", "pass:word")).unwrap();
    keyring.login("docker.io", &password("hub", "x")).unwrap();
    let text = fs::read_to_string(&paths.login_file).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["auths"]["other.example"]["auth"], "eDp5");
    assert_eq!(json["HttpHeaders"]["X"], "y");
    assert_eq!(json["detachKeys"], "ctrl-e");
    assert_eq!(keyring.find("r.example", "a").unwrap(), Some(password("user", "pass:word")));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(fs::metadata(&paths.login_file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert!(keyring.logout("r.example").unwrap().is_empty());
    assert_eq!(keyring.find("r.example", "a").unwrap(), None);
    assert_eq!(keyring.find("other.example", "a").unwrap(), Some(password("x", "y")));
    assert!(matches!(keyring.logout("r.example"), Err(Error::NotLoggedIn(_))));
    keyring.logout_all().unwrap();
    assert_eq!(keyring.find("docker.io", "a").unwrap(), None);
}

#[test]
fn a_file_that_is_damaged_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths_in(dir.path());
    fs::write(&paths.login_file, "{\"auths\": ").unwrap();
    let keyring = Keyring::new(paths.clone());
    assert!(matches!(keyring.login("r.example", &password("a", "b")), Err(Error::Config { .. })));
    assert_eq!(fs::read_to_string(&paths.login_file).unwrap(), "{\"auths\": ");
}
