//! What a container cannot do to its host.

use std::fs;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::MetadataExt as _;

use crate::host::{Host, RUNTIMES, until};

#[test]
fn a_container_cannot_change_its_own_limits() {
    let Some(host) = Host::new("a_container_cannot_change_its_own_limits") else { return };
    for runtime in RUNTIMES {
        // Root of the container, with a mount of its own, if it can get one.
        let line = "mkdir /c; mount -t cgroup -o memory none /c 2>/dev/null; mount -t cgroup2 none /c 2>/dev/null; \
            find / -xdev -name memory.limit_in_bytes -o -name memory.max 2>/dev/null | head -n 1; \
            find /sys/fs/cgroup -type f 2>/dev/null | head -n 1";
        let called =
            host.ok(&["run", "--rm", "--runtime", runtime, "--memory", "64m", "box", "sh", "-c", line]);
        assert_eq!(called.text(), "", "{runtime}");
    }
    host.assert_clean();
}

#[test]
fn a_container_sees_no_process_and_no_file_of_the_host() {
    let Some(host) = Host::new("a_container_sees_no_process_and_no_file_of_the_host") else { return };
    fs::write(host.path("secret"), "secret").unwrap();
    for runtime in RUNTIMES {
        let line = format!(
            "ls -d /proc/[0-9]* | wc -l; cat {0} /proc/1/root{0} /proc/self/cwd/../../../..{0} 2>/dev/null; ls /proc/1/fd",
            host.path("secret").display()
        );
        let called = host.ok(&["run", "--rm", "--runtime", runtime, "box", "sh", "-c", &line]);
        assert!(!called.text().contains("secret"), "{runtime}: {}", called.text());
        let processes: usize = called.text().lines().next().unwrap().parse().unwrap();
        assert!(processes <= 4, "{runtime}: {processes}");
    }
}

#[test]
fn a_mount_through_a_link_of_the_image_stays_in_the_container() {
    let Some(host) = Host::new("a_mount_through_a_link_of_the_image_stays_in_the_container") else { return };
    fs::create_dir(host.path("shared")).unwrap();
    fs::write(host.path("shared/file"), "shared\n").unwrap();
    let name = format!("layerstone-escape-{}", std::process::id());
    for runtime in RUNTIMES {
        // `escape` leads to /tmp of the host, if anybody followed it there.
        let volume = format!("{}:/escape/{name}", host.path("shared").display());
        let line = format!("cat /tmp/{name}/file");
        let called = host.ok(&["run", "--rm", "--runtime", runtime, "-v", &volume, "box", "sh", "-c", &line]);
        assert_eq!(called.text(), "shared\n", "{runtime}");
        assert!(!std::path::Path::new("/tmp").join(&name).exists(), "{runtime}");
        let workdir = format!("/escape/{name}-w");
        let called = host.ok(&["run", "--rm", "--runtime", runtime, "-w", &workdir, "box", "pwd"]);
        assert_eq!(called.text(), format!("/tmp/{name}-w\n"), "{runtime}");
        assert!(!std::path::Path::new("/tmp").join(format!("{name}-w")).exists(), "{runtime}");
    }
}

#[test]
fn the_stored_layers_stay_as_they_are_whatever_containers_write() {
    let Some(host) = Host::new("the_stored_layers_stay_as_they_are_whatever_containers_write") else {
        return;
    };
    for runtime in RUNTIMES {
        let line = "rm -r /data /etc/motd; echo changed > /etc/passwd; chmod 777 /bin/busybox; mv /srv /srv2";
        host.ok(&["run", "--name", runtime, "--runtime", runtime, "box", "sh", "-c", line]);
        assert_eq!(host.ok(&["run", "--rm", "--runtime", runtime, "box"]).text(), "hello from the image\n");
    }
    host.ok(&["verify", "--all"]);
    let changes = host.json(&["diff", host.json(&["inspect", "youki"])["scratch"].as_str().unwrap()]);
    assert!(changes.to_string().contains("etc/passwd"), "{changes}");
    // The image cannot go while containers lie on it, stopped or not.
    let refused = host.call(&["rmi", "box"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("in use"), "{}", refused.stderr);
    host.ok(&["gc"]);
    host.ok(&["verify", "--all"]);
    host.ok(&["rm", "-a"]);
    host.ok(&["rmi", "box"]);
    host.ok(&["gc"]);
    host.assert_clean();
    host.ok(&["fsck"]);
}

#[test]
fn the_program_of_a_shim_cannot_be_written_to_and_is_not_the_file_of_the_host() {
    const TEST: &str = "the_program_of_a_shim_cannot_be_written_to_and_is_not_the_file_of_the_host";
    let Some(host) = Host::new(TEST) else { return };
    let own = fs::metadata(env!("CARGO_BIN_EXE_layerstone")).unwrap();
    let program = |name: &str| {
        host.ok(&["run", "-d", "--name", name, "box", "sleep", "600"]);
        format!("/proc/{}/exe", host.json(&["inspect", name])["state"]["shim"]["pid"])
    };
    let (a, b) = (program("a"), program("b"));
    // Found while it runs, opened when nobody executes it any more: what is busy could not be written to in any case.
    let held = fs::File::open(&a).unwrap();
    let metadata = fs::metadata(&a).unwrap();
    assert_ne!((metadata.dev(), metadata.ino()), (own.dev(), own.ino()));
    assert_eq!(metadata.ino(), fs::metadata(&b).unwrap().ino(), "the second shim has a copy of its own");
    host.ok(&["rm", "-f", "a", "b"]);
    until("both are gone", || host.ids().is_empty());
    host.assert_clean();
    for how in [fs::File::options().write(true), fs::File::options().append(true)] {
        let error = how.open(format!("/proc/self/fd/{}", held.as_raw_fd())).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ReadOnlyFilesystem, "{error}");
    }
}
