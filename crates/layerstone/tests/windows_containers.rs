//! The verbs of containers on Windows: what is refused, and how. What they do is tested in the package of containers, over the DLL that stands
//! in for those of Windows.
#![cfg(windows)]

#[allow(dead_code, reason = "shared by several test programs")]
mod common;

use std::path::Path;

use common::{Dir, sample};

fn with_image() -> Dir {
    let dir = Dir::new();
    dir.ok(&format!("import {}", sample("windows").display()));
    dir
}

#[test]
fn what_cannot_be_done_on_windows_ends_with_4_and_says_so() {
    let dir = with_image();
    for (line, word) in [
        ("exec web cmd", "Linux"),
        ("stats", "Linux"),
        ("pause web", "cannot be frozen"),
        ("unpause web", "cannot be frozen"),
        ("run --runtime runc sample/windows:1 cmd", "--runtime hcs"),
        ("run --security-opt seccomp=unconfined sample/windows:1 cmd", "seccomp=unconfined"),
    ] {
        dir.fails(line, 4, &[word, "hint: `layerstone doctor`"]);
    }
    dir.fails("run --cpus 0 sample/windows:1 cmd", 125, &["above 0"]);
    dir.fails(r"run -v C:\no\such:C:\x sample/windows:1 cmd", 125, &["directory of this host"]);
    dir.fails("run no/such:1 cmd", 125, &["no/such:1"]);
    assert!(!dir.path(r"store\containers").exists(), "nothing was made");
}

#[test]
fn containers_are_looked_for_without_the_service() {
    let dir = with_image();
    assert_eq!(dir.ok("ps -a -q").stdout, "");
    assert_eq!(dir.json("ps -a"), serde_json::json!([]));
    for verb in ["stop", "kill", "wait", "rm", "logs"] {
        dir.fails(&format!("{verb} nobody"), 1, &["nobody", "hint: `layerstone ps -a`"]);
    }
    dir.fails("inspect nobody", 1, &["nobody"]);
}

/// Wine has no computecore.dll; on a Windows host that has it this cannot be seen.
#[test]
fn without_the_service_nothing_is_made_and_the_feature_is_named() {
    const TEST: &str = "without_the_service_nothing_is_made_and_the_feature_is_named";
    if Path::new(r"C:\windows\system32\computecore.dll").exists() {
        return layerstone_testing::skip(TEST, "this Windows has computecore.dll");
    }
    let dir = with_image();
    dir.fails(
        "run --rm sample/windows:1 cmd /c ver",
        4,
        &["computecore.dll", "0x8007007e", "Containers", "hint: ", "Enable-WindowsOptionalFeature"],
    );
    assert_eq!(dir.json("ps -a"), serde_json::json!([]));
    assert_eq!(dir.json("scratch ls"), serde_json::json!([]));
}
