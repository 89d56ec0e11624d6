//! Hosts that cannot run containers, or users that may not: what is missing is named, and the exit code is 4.

use std::process::Command;

use crate::host::Host;

/// Runs the program in a shell that has taken something away before; its exit code and standard error.
fn without(host: &Host, what: &str) -> (Option<i32>, String) {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg(format!("{what} \"$0\" run --rm box true")).arg(env!("CARGO_BIN_EXE_layerstone"));
    command.env("LAYERSTONE_ROOT", host.path("store")).env("LAYERSTONE_RUNTIME_DIR", host.path("run"));
    let output = command.output().expect("unshare is a part of util-linux");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn what_a_host_lacks_is_named() {
    let Some(host) = Host::new("what_a_host_lacks_is_named") else { return };
    let points = "for point in /sys/fs/cgroup /sys/fs/cgroup/*; do mountpoint -q $point && mount -o remount,bind,ro $point; done;";
    for (what, named) in [
        ("setpriv --bounding-set -sys_admin --inh-caps -sys_admin", vec!["CAP_SYS_ADMIN", "namespaces"]),
        ("umount --lazy /sys/fs/cgroup;", vec!["no control groups are mounted at /sys/fs/cgroup"]),
        (points, vec!["no control group can be made in /sys/fs/cgroup", "Read-only"]),
    ] {
        let (code, said) = without(&host, what);
        assert_eq!(code, Some(4), "{what}: {said}");
        for word in named {
            assert!(said.contains(word), "{what}: {said}");
        }
        host.assert_clean();
    }
    // What is the program's fault is not the host's.
    assert_eq!(host.call(&["run", "--rm", "box", "nope"]).code, 127);
    host.assert_clean();
}

#[test]
fn an_ordinary_user_is_told_what_is_missing() {
    let Some(host) = Host::new("an_ordinary_user_is_told_what_is_missing") else { return };
    let (code, said) = without(
        &host,
        "chown -R 23456:23456 \"$LAYERSTONE_ROOT\"; chmod 755 \"$LAYERSTONE_ROOT/..\"; unset LAYERSTONE_RUNTIME_DIR; \
         exec setpriv --reuid 23456 --regid 23456 --clear-groups",
    );
    assert_eq!(code, Some(4), "{said}");
    for word in ["as an ordinary user", "erofs cannot be mounted in a user namespace", "/etc/subuid"] {
        assert!(said.contains(word), "{said}");
    }
}
