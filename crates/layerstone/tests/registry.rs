//! The program and a real registry, with skopeo as the other client.

#![cfg(target_os = "linux")]

#[allow(dead_code, reason = "shared by several test programs")]
mod common;
mod registry_server;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Dir, sample};
use registry_server::RealRegistry;

/// Runs a program and expects success.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("the program runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// skopeo, which asks nobody for permission.
fn skopeo(test: &str) -> Option<()> {
    layerstone_testing::tool(test, "skopeo").map(drop)
}

fn copy(from: &str, to: &str, more: &[&str]) {
    run(Command::new("skopeo")
        .args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", "--dest-tls-verify=false"])
        .args(more)
        .args([from, to]));
}

/// The digest and the configuration's digest of what a registry has.
fn digests(reference: &str) -> (String, String) {
    let manifest = run(Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{reference}"),
    ]));
    let digest = layerstone_oci::Digest::of(manifest.as_bytes()).to_string();
    let json: serde_json::Value = serde_json::from_str(&manifest).expect("a manifest");
    (digest, json["config"]["digest"].as_str().unwrap_or_default().to_owned())
}

fn diff_ids(dir: &Dir, name: &str) -> Vec<String> {
    let image = dir.json(&format!("inspect {name}"));
    image["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["diff_id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_skopeo_pushed_is_pulled_and_what_is_pushed_skopeo_pulls() {
    const TEST: &str = "what_skopeo_pushed_is_pulled_and_what_is_pushed_skopeo_pulls";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let host = registry.host();
    for (name, compression) in
        [("windows", "gzip"), ("windows", "zstd"), ("linux", "gzip"), ("linux", "zstd")]
    {
        let dir = Dir::new();
        let source = format!("oci-archive:{}", sample(name).display());
        let reference = format!("{host}/{name}/{compression}:1");
        let more = ["--dest-compress-format", compression, "--dest-force-compress-format"];
        // Old ones lack the last flag; then the layers are as they were.
        let forced = Command::new("skopeo").args(["copy", "--help"]).output().expect("skopeo").stdout;
        let more = if String::from_utf8_lossy(&forced).contains(more[2]) { &more[..] } else { &more[..2] };
        copy(&source, &format!("docker://{reference}"), more);
        let (manifest, config) = digests(&reference);

        let pulled = dir.ok(&format!("pull {reference} --keep-blobs"));
        assert!(pulled.stdout.contains(&manifest), "{}", pulled.stdout);
        let inspected = dir.json(&format!("inspect {reference}"));
        assert_eq!(inspected["manifest"], manifest.as_str());
        assert_eq!(inspected["config_digest"], config.as_str());
        dir.ok("verify");

        // Kept blobs: the same image under another name, byte for byte.
        let kept = format!("{host}/kept/{name}:{compression}");
        dir.ok(&format!("push {reference} {kept}"));
        assert_eq!(digests(&kept), (manifest.clone(), config.clone()));
        let layout = dir.path("copied");
        copy(&format!("docker://{kept}"), &format!("oci:{}:x", layout.display()), &[]);
        let imported = Dir::new();
        imported.ok(&format!("import {} --name x:1", layout.display()));
        assert_eq!(diff_ids(&imported, "x:1"), diff_ids(&dir, &reference));

        // No blobs kept: other blobs, the same layers.
        let lean = Dir::new();
        lean.ok(&format!("pull {reference}"));
        let anew = format!("{host}/anew/{name}:{compression}");
        let pushed = lean.ok(&format!("push {reference} {anew} --compression {compression}"));
        assert!(pushed.stderr.contains("DiffIDs stay"), "{}", pushed.stderr);
        let layout = lean.path("copied");
        copy(&format!("docker://{anew}"), &format!("oci:{}:x", layout.display()), &[]);
        let imported = Dir::new();
        imported.ok(&format!("import {} --name x:1", layout.display()));
        assert_eq!(diff_ids(&imported, "x:1"), diff_ids(&dir, &reference));
        assert_eq!(digests(&anew).1, config, "the configuration is what the image is");
    }
}

#[test]
fn samples_of_others_go_through_a_registry_unchanged() {
    const TEST: &str = "samples_of_others_go_through_a_registry_unchanged";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let mut sources = Vec::new();
    let made = Dir::new();
    for name in ["linux/container-inspector/hello-world.tar", "linux/ggcr/hello-world-v25.tar.gz"] {
        let Some(path) = layerstone_testing::sample(TEST, name) else { return };
        sources.push(path);
    }
    for name in
        ["layers/converted/imgutil-windows-baselayer.tar", "layers/converted/ggcr-windows-content.tar"]
    {
        let Some(path) = layerstone_testing::sample(TEST, name) else { return };
        let directory = made.path(&sources.len().to_string());
        std::fs::create_dir(&directory).unwrap();
        sources.push(docker_archive(&directory, "windows", &[std::fs::read(path).unwrap()]));
    }
    for (at, path) in sources.into_iter().enumerate() {
        let dir = Dir::new();
        dir.ok(&format!("import {} --name first:1", path.display()));
        let reference = format!("{}/sample/{at}:1", registry.host());
        dir.ok(&format!("push first:1 {reference}"));
        let other = Dir::new();
        let platform = dir.json("inspect first:1")["platform"].as_str().unwrap().to_owned();
        other.ok(&format!("pull {reference} --platform {platform}"));
        assert_eq!(diff_ids(&dir, "first:1"), diff_ids(&other, &reference));
        let config = dir.json("inspect first:1")["config_digest"].clone();
        assert_eq!(digests(&reference).1, config.as_str().unwrap());
        other.ok("verify");
    }
}

#[test]
fn a_layer_that_may_not_be_distributed_stays_where_it_is_unless_it_is_sent_on_purpose() {
    const TEST: &str = "a_layer_that_may_not_be_distributed_stays_where_it_is_unless_it_is_sent_on_purpose";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let host = registry.host();
    let dir = Dir::new();
    // The place that the layer's descriptor names is another repository, as Windows base layers have one.
    let base = format!("{host}/owner/base:1");
    copy(&format!("oci-archive:{}", sample("windows").display()), &format!("docker://{base}"), &[]);
    let source = layerstone_oci::open_source(&sample("windows"), &dir.path(".")).unwrap();
    let image = source.resolve(None, None).unwrap();
    let mut layers: Vec<_> = image.layers.iter().map(|layer| layer.descriptor.clone()).collect();
    let foreign = layers[0].digest.to_string();
    layers[0].media_type = layerstone_oci::MediaType::oci_layer(layerstone_oci::Compression::Gzip, true);
    layers[0].urls = vec![format!("http://{host}/v2/owner/base/blobs/{foreign}")];
    let layout = layerstone_oci::Layout::create(dir.path("layout")).unwrap();
    for layer in &image.layers {
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut source.open_layer(layer).unwrap(), &mut bytes).unwrap();
        layout.put_blob_bytes(&bytes).unwrap();
    }
    layout.put_blob_bytes(image.config.bytes()).unwrap();
    let manifest =
        layerstone_oci::Manifest::build(image.config.descriptor(), layers, Default::default()).unwrap();
    layout.put_blob_bytes(manifest.bytes()).unwrap();
    layout.set_image("windows:1", &manifest.descriptor()).unwrap();
    dir.ok(&format!("import {} --keep-blobs", layout.root().display()));

    let name = format!("{host}/mine/app:1");
    let pushed = dir.ok(&format!("push windows:1 {name}"));
    assert!(pushed.stderr.contains("may not be distributed"), "{}", pushed.stderr);
    assert_eq!(digests(&name).0, manifest.digest().to_string());
    assert_eq!(registry.requests("PUT", &format!("/v2/mine/app/blobs/{foreign}")), 0);

    let other = Dir::new();
    other.ok(&format!("pull {name}"));
    assert_eq!(other.json(&format!("inspect {name}"))["manifest"], manifest.digest().to_string());
    other.ok("verify");
    // Without its blob it is left where it is, too, and so the manifest stays.
    let again = format!("{host}/mine/again:1");
    other.ok(&format!("push {name} {again} --compression gzip"));
    let again = other.json(&format!("inspect --remote {again}"));
    assert_eq!(again["images"][0]["layers"][0]["digest"], foreign.as_str());

    let sent = format!("{host}/sent/app:1");
    dir.ok(&format!("push windows:1 {sent} --allow-nondistributable-artifacts"));
    assert_eq!(digests(&sent).0, manifest.digest().to_string());
    let blob = registry.get(&format!("/v2/sent/app/blobs/{foreign}"));
    assert!(blob.starts_with("HTTP/1.1 200"), "{blob}");
}

/// Both samples in one index, in a registry.
fn push_index(registry: &RealRegistry, scratch: &Path, name: &str) -> String {
    let layout = layerstone_oci::Layout::create(scratch.join("index")).unwrap();
    let mut index = layerstone_oci::Index::new();
    for sample_name in ["windows", "linux"] {
        let source = layerstone_oci::open_source(&sample(sample_name), scratch).unwrap();
        let image = source.resolve(None, None).unwrap();
        for layer in &image.layers {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut source.open_layer(layer).unwrap(), &mut bytes).unwrap();
            layout.put_blob_bytes(&bytes).unwrap();
        }
        layout.put_blob_bytes(image.config.bytes()).unwrap();
        layout.put_blob_bytes(image.manifest.bytes()).unwrap();
        index.manifests.push(image.manifest.descriptor().with_platform(image.platform));
    }
    let bytes = index.to_bytes().unwrap();
    layout.put_blob_bytes(&bytes).unwrap();
    layout.set_image("all", &index.descriptor().unwrap()).unwrap();
    let reference = format!("{}/{name}", registry.host());
    copy(&format!("oci:{}:all", layout.root().display()), &format!("docker://{reference}"), &["--all"]);
    reference
}

#[test]
fn an_index_is_chosen_from_by_platform_or_pulled_and_pushed_whole() {
    const TEST: &str = "an_index_is_chosen_from_by_platform_or_pulled_and_pushed_whole";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let dir = Dir::new();
    let reference = push_index(&registry, &dir.path("."), "multi/app:1");
    let index = digests(&reference).0;

    dir.ok(&format!("pull {reference} --platform windows/amd64"));
    assert_eq!(dir.json(&format!("inspect {reference}"))["platform"], "windows/amd64:10.0.20348.2113");
    dir.ok(&format!("pull {reference} --platform windows/amd64:10.0.20348.9999 --name older:1"));
    dir.fails(
        &format!("pull {reference} --platform windows/amd64:10.0.17763.1"),
        1,
        &["windows/amd64:10.0.20348.2113", "linux/amd64", "--platform"],
    );

    let all = Dir::new();
    let pulled = all.ok(&format!("pull {reference} --all-platforms --keep-blobs"));
    assert!(pulled.stdout.contains(&index), "{}", pulled.stdout);
    for platform in ["windows/amd64", "linux/amd64"] {
        let inspected = all.json(&format!("inspect {reference} --platform {platform}"));
        assert!(inspected["platform"].as_str().unwrap().starts_with(platform));
    }
    all.ok("verify");
    all.ok("gc");
    all.ok("fsck");
    let copy_of = format!("{}/multi/copy:1", registry.host());
    all.ok(&format!("push {reference} {copy_of} --all-platforms"));
    assert_eq!(digests(&copy_of).0, index, "the index as it was");

    let remote = all.json(&format!("inspect --remote {reference}"));
    assert_eq!(remote["images"].as_array().unwrap().len(), 2);
}

#[test]
fn a_registry_with_passwords_is_logged_in_to_and_out_of() {
    const TEST: &str = "a_registry_with_passwords_is_logged_in_to_and_out_of";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, Some(("ann", "s3cret"))), skopeo(TEST))
    else {
        return;
    };
    let host = registry.host();
    let dir = Dir::new();
    let auth = dir.path("auth.json");
    std::fs::write(&auth, r#"{"auths":{"other.example":{"auth":"eDp5"}}}"#).unwrap();
    dir.ok(&format!("import {} --name own:1", sample("linux").display()));
    let flags = format!("--authfile {}", auth.display());
    dir.fails(&format!("push own:1 {host}/own:1 {flags}"), 1, &["401", "layerstone login"]);

    let password = dir.path("password");
    std::fs::write(&password, "wrong\n").unwrap();
    let wrong = dir.call_with(&format!("login {host} -u ann --password-stdin {flags}"), Some(&password));
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("401"), "{}", wrong.stderr);
    std::fs::write(&password, "s3cret\n").unwrap();
    let right = dir.call_with(&format!("login {host} -u ann --password-stdin {flags}"), Some(&password));
    assert_eq!(right.code, 0, "{}", right.stderr);
    assert!(!right.stdout.contains("s3cret") && !right.stderr.contains("s3cret"));

    dir.ok(&format!("push own:1 {host}/own:1 {flags}"));
    // skopeo reads what login wrote.
    let auth_text = auth.display().to_string();
    let layout = dir.path("layout");
    copy(
        &format!("docker://{host}/own:1"),
        &format!("oci:{}:x", layout.display()),
        &["--authfile", &auth_text],
    );
    dir.ok(&format!("pull {host}/own:1 --name back:1 {flags}"));
    dir.ok(&format!(
        "pull {host}/own:1 --name back:2 --authfile {} --creds ann:s3cret",
        dir.path("none").display()
    ));
    dir.ok(&format!("logout {host} {flags}"));
    dir.fails(&format!("pull {host}/own:1 {flags}"), 1, &["401"]);
    dir.fails(&format!("logout {host} {flags}"), 1, &["not logged in"]);
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(&auth).unwrap()).unwrap();
    assert_eq!(json["auths"]["other.example"]["auth"], "eDp5", "what else was there stays");
}

#[test]
fn a_credential_helper_is_asked() {
    use std::os::unix::fs::PermissionsExt as _;
    const TEST: &str = "a_credential_helper_is_asked";
    let Some(registry) = RealRegistry::start(TEST, Some(("bob", "helped"))) else { return };
    let host = registry.host();
    let dir = Dir::new();
    let bin = dir.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let helper = bin.join("docker-credential-test");
    let kept = dir.path("kept");
    let script = format!(
        "#!/bin/sh\ncase $1 in\nget) read server; [ -f {0} ] && [ \"$server\" = {host} ] && exec cat {0}; echo 'credentials not found in native keychain'; exit 1;;\nstore) exec cat > {0};;\nerase) cat >/dev/null; rm -f {0};;\nesac\n",
        kept.display()
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    let auth = dir.path("config.json");
    std::fs::write(&auth, format!(r#"{{"credHelpers":{{"{host}":"test"}}}}"#)).unwrap();
    dir.ok(&format!("import {} --name own:1", sample("linux").display()));
    let call = |line: &str| {
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerstone"));
        command.env("LAYERSTONE_ROOT", dir.path("store")).env("PATH", path).env("REGISTRY_AUTH_FILE", &auth);
        command.args(line.split(' ')).stdin(Stdio::null());
        command.output().unwrap()
    };
    assert!(!call(&format!("push own:1 {host}/own:1")).status.success());
    let login = call(&format!("login {host} -u bob -p helped"));
    assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
    assert!(kept.exists());
    assert!(!std::fs::read_to_string(&auth).unwrap().contains("auths"), "nothing in the file");
    assert!(call(&format!("push own:1 {host}/own:1")).status.success());
    assert!(call(&format!("logout {host}")).status.success());
    assert!(!kept.exists());
}

/// An authority of its own, and a certificate for this machine that it has signed: paths of authority, certificate, key.
fn certificates(test: &str, dir: &Dir) -> Option<[PathBuf; 3]> {
    layerstone_testing::tool(test, "openssl")?;
    let [ca, ca_key, request, certificate, key, more] =
        ["ca.crt", "ca.key", "x.csr", "x.crt", "x.key", "more"].map(|name| dir.path(name));
    std::fs::write(&more, "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    let openssl = |arguments: &[&str], paths: &[(&str, &Path)]| {
        let mut command = Command::new("openssl");
        command.args(arguments);
        for (flag, path) in paths {
            command.arg(flag).arg(path);
        }
        run(&mut command);
    };
    let new = ["-newkey", "rsa:2048", "-nodes", "-subj", "/CN=layerstone test"];
    openssl(&[&["req", "-x509", "-days", "2"], &new[..]].concat(), &[("-keyout", &ca_key), ("-out", &ca)]);
    openssl(&[&["req"], &new[..]].concat(), &[("-keyout", &key), ("-out", &request)]);
    openssl(
        &["x509", "-req", "-days", "2", "-CAcreateserial"],
        &[("-in", &request), ("-CA", &ca), ("-CAkey", &ca_key), ("-extfile", &more), ("-out", &certificate)],
    );
    Some([ca, certificate, key])
}

#[test]
fn a_registry_with_a_certificate_of_its_own_is_trusted_when_that_is_said() {
    const TEST: &str = "a_registry_with_a_certificate_of_its_own_is_trusted_when_that_is_said";
    let dir = Dir::new();
    let Some([ca, certificate, key]) = certificates(TEST, &dir) else { return };
    let Some(registry) = RealRegistry::start_with_tls(TEST, &certificate, &key) else { return };
    let host = registry.host();
    dir.ok(&format!("import {} --name own:1", sample("linux").display()));
    dir.fails(&format!("push own:1 {host}/own:1"), 1, &["TLS", "--ca-cert"]);
    dir.ok(&format!("push own:1 {host}/own:1 --ca-cert {}", ca.display()));
    dir.ok(&format!("pull {host}/own:1 --name back:1 --insecure-skip-tls-verify"));
    let config = dir.path("config");
    let own = config.join("containers/certs.d").join(host);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::copy(&ca, own.join("ca.crt")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_layerstone"));
    command.env("LAYERSTONE_ROOT", dir.path("other")).env("XDG_CONFIG_HOME", &config);
    run(command.args(["pull", &format!("{host}/own:1")]));
}

#[test]
fn a_proxy_from_the_environment_is_used_and_its_exceptions_are_not() {
    const TEST: &str = "a_proxy_from_the_environment_is_used_and_its_exceptions_are_not";
    let Some(registry) = RealRegistry::start(TEST, None) else { return };
    let dir = Dir::new();
    dir.ok(&format!("import {} --name own:1", sample("linux").display()));
    dir.ok(&format!("push own:1 {}/own:1", registry.host()));
    let proxy = registry_server::Proxy::start(registry.host());
    let pull = |exceptions: &str| {
        Command::new(env!("CARGO_BIN_EXE_layerstone"))
            .env("LAYERSTONE_ROOT", dir.path("other"))
            .env("http_proxy", format!("http://{}", proxy.host()))
            .env("no_proxy", exceptions)
            .args(["pull", "--plain-http", "registry.test:8080/own:1"])
            .stdin(Stdio::null())
            .output()
            .expect("the program runs")
    };
    let through = pull("other.test");
    assert!(through.status.success(), "{}", String::from_utf8_lossy(&through.stderr));
    assert!(!proxy.targets().is_empty());
    assert!(proxy.targets().iter().all(|target| target == "registry.test:8080"), "{:?}", proxy.targets());
    let before = proxy.targets().len();
    assert!(!pull("test").status.success(), "there is no such host");
    assert_eq!(proxy.targets().len(), before);
}

#[test]
fn an_artifact_is_pulled_inspected_and_kept() {
    const TEST: &str = "an_artifact_is_pulled_inspected_and_kept";
    let Some(registry) = RealRegistry::start(TEST, None) else { return };
    let host = registry.host();
    let put = |path: &str, content_type: &str, body: &[u8]| registry.put(path, content_type, body);
    let blob = b"{\"sbom\":true}";
    for bytes in [&blob[..], b"{}"] {
        registry.put_blob("tools/sbom", bytes);
    }
    let (config, layer) = (layerstone_oci::Digest::of(b"{}"), layerstone_oci::Digest::of(blob));
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","artifactType":"application/spdx+json","config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{config}","size":2}},"layers":[{{"mediaType":"application/spdx+json","digest":"{layer}","size":{},"annotations":{{"org.opencontainers.image.title":"sbom.json"}}}}]}}"#,
        blob.len()
    );
    put("/v2/tools/sbom/manifests/1", "application/vnd.oci.image.manifest.v1+json", manifest.as_bytes());
    let dir = Dir::new();
    let name = format!("{host}/tools/sbom:1");
    let pulled = dir.ok(&format!("pull {name}"));
    assert!(pulled.stdout.contains("application/spdx+json"), "{}", pulled.stdout);
    let inspected = dir.json(&format!("inspect {name}"));
    assert_eq!(inspected["kind"], "artifact");
    assert_eq!(inspected["blobs"][0]["title"], "sbom.json");
    dir.ok("gc");
    dir.ok("fsck");
    assert_eq!(dir.json(&format!("inspect {name}"))["kind"], "artifact");
    assert_eq!(std::fs::read(dir.path("store").join("blobs/sha256").join(layer.hex())).unwrap(), blob);
}

#[test]
fn the_json_of_a_pull_is_one_event_a_line() {
    const TEST: &str = "the_json_of_a_pull_is_one_event_a_line";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let reference = format!("{}/json:1", registry.host());
    copy(&format!("oci-archive:{}", sample("windows").display()), &format!("docker://{reference}"), &[]);
    let dir = Dir::new();
    let called = dir.ok(&format!("--json pull {reference}"));
    let events: Vec<serde_json::Value> =
        called.stdout.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"resolved"));
    assert_eq!(kinds.last(), Some(&"done"));
    assert_eq!(kinds.iter().filter(|kind| **kind == "layer-done").count(), 2);
    assert_eq!(called.stderr, "");
    assert_eq!(called.bytes.last(), Some(&b'\n'));
    let quiet = Dir::new().ok(&format!("-q pull {reference}"));
    assert_eq!(quiet.stderr, "");
}

#[test]
fn two_processes_that_pull_the_same_image_fetch_it_once() {
    const TEST: &str = "two_processes_that_pull_the_same_image_fetch_it_once";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let reference = format!("{}/shared:1", registry.host());
    let dir = Dir::new();
    let layers = [large_tar(24, 1), large_tar(16, 2), large_tar(8, 3)];
    let archive = docker_archive(&dir.path("."), "linux", &layers);
    copy(&format!("docker-archive:{}", archive.display()), &format!("docker://{reference}"), &[]);
    let spawn = || {
        Command::new(env!("CARGO_BIN_EXE_layerstone"))
            .env("LAYERSTONE_ROOT", dir.path("store"))
            .args(["pull", &reference])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts")
    };
    let both: Vec<_> = [spawn(), spawn(), spawn()].into();
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let manifest = run(Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{reference}"),
    ]));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    for layer in manifest["layers"].as_array().unwrap() {
        let digest = layer["digest"].as_str().unwrap();
        let asked = registry.requests("GET", &format!("/v2/shared/blobs/{digest}"));
        assert_eq!(asked, 1, "layer {digest}");
    }
    dir.ok("fsck");
    dir.ok("verify");
}

#[test]
fn a_pull_that_was_killed_goes_on_with_what_it_had_kept() {
    const TEST: &str = "a_pull_that_was_killed_goes_on_with_what_it_had_kept";
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let dir = Dir::new();
    let archive = docker_archive(&dir.path("."), "linux", &[large_tar(1, 21), large_tar(24, 22)]);
    let reference = format!("{}/killed:1", registry.host());
    copy(&format!("docker-archive:{}", archive.display()), &format!("docker://{reference}"), &[]);
    let manifest = run(Command::new("skopeo").args([
        "inspect",
        "--tls-verify=false",
        "--raw",
        &format!("docker://{reference}"),
    ]));
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let digest = |at: usize| manifest["layers"][at]["digest"].as_str().unwrap().to_owned();
    let blob = |at: usize| format!("/v2/killed/blobs/{}", digest(at));

    let slow = registry_server::Proxy::with_pause(registry.host(), Duration::from_millis(20));
    let mut child = Command::new(env!("CARGO_BIN_EXE_layerstone"))
        .env("LAYERSTONE_ROOT", dir.path("store"))
        .env("http_proxy", format!("http://{}", slow.host()))
        .args(["-q", "pull", "--keep-blobs", "--plain-http", "registry.test:80/killed:1"])
        .stdin(Stdio::null())
        .spawn()
        .expect("the program starts");
    let partial = dir
        .path("store")
        .join("staging")
        .join(format!("{}.partial", digest(1).trim_start_matches("sha256:")));
    let until = Instant::now() + Duration::from_secs(60);
    let arrived = || std::fs::metadata(&partial).map_or(0, |metadata| metadata.len());
    while arrived() < 2 << 20 {
        assert!(Instant::now() < until && child.try_wait().unwrap().is_none(), "{} bytes", arrived());
        std::thread::sleep(Duration::from_millis(5));
    }
    // By SIGKILL: nothing of it cleans up.
    child.kill().unwrap();
    child.wait().unwrap();
    dir.ok("fsck");
    let first = registry.requests("GET", &blob(0));
    dir.ok(&format!("pull {reference} --keep-blobs"));
    assert_eq!(registry.parts(&blob(1)), 1, "the rest only");
    assert!(registry.requests("GET", &blob(0)) <= first + 1);
    dir.ok("verify");
    dir.ok("fsck");
    assert!(!partial.exists());
}

#[test]
fn eight_layers_in_flight_take_less_than_128_mebibytes() {
    const TEST: &str = "eight_layers_in_flight_take_less_than_128_mebibytes";
    const LIMIT_KIB: u64 = 128 << 10;
    let (Some(registry), Some(())) = (RealRegistry::start(TEST, None), skopeo(TEST)) else { return };
    let reference = format!("{}/wide:1", registry.host());
    let dir = Dir::new();
    let layers: Vec<Vec<u8>> = (0..8).map(|n| large_tar(24, 10 + n)).collect();
    let archive = docker_archive(&dir.path("."), "linux", &layers);
    drop(layers);
    copy(&format!("docker-archive:{}", archive.display()), &format!("docker://{reference}"), &[]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_layerstone"))
        .env("LAYERSTONE_ROOT", dir.path("store"))
        .args(["-q", "pull", "--jobs", "8", &reference])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let (mut peak, until) = (0, Instant::now() + Duration::from_secs(300));
    let exit = loop {
        // The high-water mark never falls, so the last one that is read is the peak.
        if let Ok(text) = std::fs::read_to_string(&status) {
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        if let Some(exit) = child.try_wait().unwrap() {
            break exit;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it takes too long");
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    assert!(exit.success());
    println!("peak {} MiB", peak >> 10);
    assert!(peak > 0 && peak <= LIMIT_KIB, "{peak} KiB");
}

/// A tar of so many MiB of files that compress by half.
fn large_tar(mebibytes: usize, seed: u64) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for n in 0..mebibytes {
        let mut content = vec![b'x'; 1 << 20];
        for chunk in content[..1 << 19].chunks_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            chunk.copy_from_slice(&state.to_le_bytes());
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        builder.append_data(&mut header, format!("layer-{seed}/{n}"), content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A docker archive of these layers.
fn docker_archive(directory: &Path, os: &str, layers: &[Vec<u8>]) -> PathBuf {
    let path = directory.join("image.tar");
    let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
    let (mut names, mut diff_ids) = (Vec::new(), Vec::new());
    for (n, bytes) in layers.iter().enumerate() {
        diff_ids.push(layerstone_oci::Digest::of(bytes).to_string());
        let name = format!("{n}/layer.tar");
        append(&mut builder, &name, bytes);
        names.push(name);
    }
    let config = serde_json::json!({
        "architecture": "amd64", "os": os, "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    append(&mut builder, "config.json", config.to_string().as_bytes());
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["large:1"], "Layers": names}]);
    append(&mut builder, "manifest.json", manifest.to_string().as_bytes());
    builder.finish().unwrap();
    path
}

fn append(builder: &mut tar::Builder<std::fs::File>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_entry_type(tar::EntryType::Regular);
    builder.append_data(&mut header, name, bytes).unwrap();
}
