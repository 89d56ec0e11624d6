//! A store with an image of busybox in it, and the binary to call on it. Everything goes when it is dropped.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use layerstone_testing::{root, tool};
use serde_json::json;

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The runtimes that are compared.
pub(crate) const RUNTIMES: [&str; 2] = ["youki", "runc"];

/// What a call gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Called {
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Called {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// The store and its surroundings.
pub(crate) struct Host {
    temporary: tempfile::TempDir,
    busybox: PathBuf,
}

impl Host {
    /// `None` when this machine cannot run containers, after that was said.
    pub(crate) fn new(test: &str) -> Option<Self> {
        if !root(test) {
            return None;
        }
        let busybox = tool(test, "busybox")?;
        tool(test, "runc")?;
        let host = Host {
            temporary: tempfile::tempdir().expect("a temporary directory"),
            busybox: find(busybox.get_program()),
        };
        host.import("box", &json!({}));
        Some(host)
    }

    /// Imports the image, with more in its configuration.
    pub(crate) fn import(&self, name: &str, more: &serde_json::Value) {
        let archive = self.path("image.tar");
        image(&self.busybox, &archive, more);
        self.ok(&["import", archive.to_str().expect("a path of text"), "--name", name]);
        fs::remove_file(archive).unwrap();
    }

    /// What `inspect` says of a container's state.
    pub(crate) fn state(&self, name: &str) -> serde_json::Value {
        self.json(&["inspect", name])["state"].clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temporary.path().join(name)
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_layerstone"));
        command.env("LAYERSTONE_ROOT", self.path("store")).env("LAYERSTONE_RUNTIME_DIR", self.path("run"));
        command.args(args).stdin(Stdio::null());
        command
    }

    /// The binary on a terminal of 33 rows and 99 columns, with these words as a shell reads them.
    pub(crate) fn typed(&self, words: &str) -> Command {
        let line = format!("stty rows 33 cols 99; exec {} {words}", env!("CARGO_BIN_EXE_layerstone"));
        let own = self.command(&[]);
        let mut command = Command::new("script");
        command.envs(own.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// Calls the binary, and kills it when that takes too long.
    pub(crate) fn call(&self, args: &[&str]) -> Called {
        self.call_with(args, b"")
    }

    pub(crate) fn call_with(&self, args: &[&str], input: &[u8]) -> Called {
        let mut command = self.command(args);
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        command.stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
        if !input.is_empty() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(input).unwrap();
            rewind(&mut file);
            command.stdin(file);
        }
        let child = command.spawn().expect("the binary runs");
        let code = wait(child, &format!("{args:?}"));
        Called {
            code,
            stdout: contents(stdout),
            stderr: String::from_utf8_lossy(&contents(stderr)).into_owned(),
        }
    }

    /// Calls and expects success.
    pub(crate) fn ok(&self, args: &[&str]) -> Called {
        let called = self.call(args);
        assert_eq!(called.code, 0, "{args:?}\n{}\n{}", called.text(), called.stderr);
        called
    }

    /// Calls with --json and parses what comes.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let called = self.ok(&[&["--json"], args].concat());
        serde_json::from_slice(&called.stdout)
            .unwrap_or_else(|error| panic!("{args:?}: {error}\n{}", called.text()))
    }

    /// Nothing of any container is left on the host: mounts, control groups, processes.
    pub(crate) fn assert_clean(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let own = self.temporary.path().to_str().unwrap();
        let left: Vec<&str> = mounts.lines().filter(|line| line.contains(own)).collect();
        assert!(left.is_empty(), "mounts are left:\n{}", left.join("\n"));
        for id in self.ids() {
            assert!(cgroups_of(&id).is_empty(), "control groups are left: {:?}", cgroups_of(&id));
        }
        let run = self.path("run/containers");
        let left: Vec<_> =
            fs::read_dir(&run).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "files of running containers are left: {left:?}");
        // A shim says that it has done everything just before it ends.
        until("the last shim has ended", || self.processes().is_empty());
    }

    /// The ids of containers that were ever seen by this: those that are there.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("store/containers")).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| name.len() == 64)
            .collect()
    }

    /// Processes, zombies included, that have this store's directory in their command line or environment.
    fn processes(&self) -> Vec<String> {
        let own = self.temporary.path().as_os_str().as_encoded_bytes().to_vec();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let pid = entry.file_name().to_string_lossy().into_owned();
            if !pid.bytes().all(|b| b.is_ascii_digit()) || pid == std::process::id().to_string() {
                continue;
            }
            let holds = |name: &str| {
                fs::read(entry.path().join(name))
                    .is_ok_and(|bytes| bytes.windows(own.len()).any(|part| part == own))
            };
            // A shim has its log as standard error.
            let log = fs::read_link(entry.path().join("fd/2"))
                .is_ok_and(|link| link.starts_with(self.temporary.path()));
            if holds("cmdline") || log {
                found.push(format!(
                    "{pid}: {}",
                    fs::read_to_string(entry.path().join("comm")).unwrap_or_default()
                ));
            }
        }
        found
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let output = self.command(&["rm", "--all", "--force"]).output();
        if std::thread::panicking() {
            eprintln!("clean-up: {output:?}");
        }
        // What a failing test has left mounted.
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let own = self.temporary.path().to_string_lossy().into_owned();
        for line in mounts.lines().rev().filter(|line| line.contains(&own)) {
            if let Some(point) = line.split(' ').nth(1) {
                let _ = Command::new("umount").args(["-l", point]).status();
            }
        }
    }
}

/// The directories of a container in the hierarchies of control groups.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let hierarchies =
        fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut all: Vec<PathBuf> = hierarchies.collect();
    all.push("/sys/fs/cgroup".into());
    all.into_iter().map(|path| path.join("layerstone").join(id)).filter(|path| path.exists()).collect()
}

/// Waits for a child, and kills it when that takes too long.
pub(crate) fn wait(mut child: Child, what: &str) -> i32 {
    use std::os::unix::process::ExitStatusExt as _;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("the child can be waited for") {
            return status.code().unwrap_or_else(|| -status.signal().unwrap_or(1));
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("the child can be killed");
            child.wait().expect("the child can be waited for");
            panic!("{what} took longer than {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until something is true.
pub(crate) fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come true in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rewind(file: &mut File) {
    use std::io::Seek as _;
    file.rewind().unwrap();
}

fn contents(mut file: File) -> Vec<u8> {
    use std::io::Read as _;
    rewind(&mut file);
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn find(program: &OsStr) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
        .expect("it is there")
}

/// The image's files, besides busybox and its applets: path, mode, owner, contents.
const FILES: [(&str, u32, u32, &str); 10] = [
    (
        "etc/passwd",
        0o644,
        0,
        "root:x:0:0:root:/root:/bin/sh\nanna:x:1001:1002:Anna:/home/anna:/bin/sh\nbert:x:1003:1003::/:/bin/sh\n",
    ),
    (
        "etc/group",
        0o644,
        0,
        "root:x:0:\nstaff:x:1002:\naudio:x:29:anna,bert\nvideo:x:44:anna\nbert:x:1003:\n",
    ),
    ("etc/motd", 0o644, 0, "hello from the image\n"),
    ("bin/script", 0o755, 0, "#!/bin/sh\necho script \"$@\"\n"),
    ("bin/lost", 0o755, 0, "#!/bin/not-there\n"),
    ("bin/private", 0o750, 0, "#!/bin/sh\necho private\n"),
    ("bin/plain", 0o644, 0, "#!/bin/sh\necho plain\n"),
    ("bin/broken", 0o755, 0, "\x7fELF\x02\x01\x01 this is no program"),
    ("bin/shell-less", 0o755, 0, "echo without an interpreter\n"),
    ("data/inside", 0o644, 0, "of the image\n"),
];
const DIRECTORIES: [(&str, u32, u32); 11] = [
    ("bin", 0o755, 0),
    ("etc", 0o755, 0),
    ("root", 0o700, 0),
    ("home", 0o755, 0),
    ("home/anna", 0o755, 1001),
    ("tmp", 0o1777, 0),
    ("proc", 0o755, 0),
    ("sys", 0o755, 0),
    ("dev", 0o755, 0),
    ("data", 0o755, 0),
    ("srv", 0o755, 0),
];
const LINKS: [(&str, &str); 3] =
    [("escape", "/../../../../../../../../tmp"), ("absolute", "/data"), ("etc/localtime", "/nowhere")];

/// Writes a docker archive of an image with busybox, which has an entrypoint, variables and a volume.
fn image(busybox: &Path, archive: &Path, more: &serde_json::Value) {
    let mut layer = tar::Builder::new(Vec::new());
    let header = |kind: tar::EntryType, mode: u32, owner: u32, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.into());
        header.set_gid(owner.into());
        header.set_mtime(1_700_000_000);
        header.set_size(size);
        header
    };
    for (path, mode, owner) in DIRECTORIES {
        let mut header = header(tar::EntryType::Directory, mode, owner, 0);
        layer.append_data(&mut header, path, std::io::empty()).unwrap();
    }
    for (path, mode, owner, text) in FILES {
        let mut header = header(tar::EntryType::Regular, mode, owner, text.len() as u64);
        layer.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    for (path, target) in LINKS {
        layer.append_link(&mut header(tar::EntryType::Symlink, 0o777, 0, 0), path, target).unwrap();
    }
    let program = fs::read(busybox).unwrap();
    let mut of_program = header(tar::EntryType::Regular, 0o755, 0, program.len() as u64);
    layer.append_data(&mut of_program, "bin/busybox", program.as_slice()).unwrap();
    let applets = Command::new(busybox).arg("--list").output().unwrap().stdout;
    for applet in String::from_utf8(applets).unwrap().lines().filter(|applet| *applet != "busybox") {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox").unwrap();
    }
    let layer = layer.into_inner().unwrap();
    let diff_id = layerstone_oci::Digest::of(&layer);
    let mut config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "FROM_IMAGE=yes", "SECOND=2"],
            "Cmd": ["cat", "/etc/motd"],
            "WorkingDir": "/srv",
            "Volumes": {"/data": {}},
            "StopSignal": "SIGUSR1",
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id.to_string()]},
    });
    for (name, value) in more.as_object().expect("an object") {
        config["config"][name] = value.clone();
    }
    let config = config.to_string().into_bytes();
    let manifest = json!([{"Config": "config.json", "RepoTags": ["box:latest"], "Layers": ["layer.tar"]}]);
    let manifest = manifest.to_string().into_bytes();
    let mut out = tar::Builder::new(File::create(archive).unwrap());
    for (name, bytes) in [("layer.tar", &layer), ("config.json", &config), ("manifest.json", &manifest)] {
        let mut header = header(tar::EntryType::Regular, 0o644, 0, bytes.len() as u64);
        out.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    out.into_inner().unwrap();
    fs::set_permissions(archive, fs::Permissions::from_mode(0o600)).unwrap();
}
