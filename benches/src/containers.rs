//! `bench-run`: the program is its own client, its own shim, and its own bare use of libcontainer.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use layerstone_agent::options::{RunOptions, RuntimeChoice};
use layerstone_agent::{Agent, Attached, Ended, Signals};
use layerstone_oci::Digest;
use layerstone_store::{ImportOptions, Store, UnpackOptions};
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use serde_json::{Value, json};

use crate::measure::{self, Contender};
use crate::report::{Goal, Report};
use crate::{Result, mib};

/// Containers that run at once when their memory is looked at.
const SLEEPERS: u64 = 10;

/// The bench, or one of the processes that it consists of.
///
/// # Errors
/// When something cannot be measured here.
pub fn main() -> Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["shim"] => Ok(layerstone_agent::shim_main()),
        ["once", root, runtime] => once(Path::new(root), runtime),
        ["bare", bundle, state] => bare(Path::new(bundle), Path::new(state)),
        ["--stress", count, at_once] => stress(count.parse()?, at_once.parse()?).map(|()| ExitCode::SUCCESS),
        ["--here"] => bench().map(|()| ExitCode::SUCCESS),
        _ => match private_namespace()? {
            Some(code) => Ok(code),
            None => bench().map(|()| ExitCode::SUCCESS),
        },
    }
}

/// crun refuses hosts that have both versions of control groups. For it, everything is measured where the mount of version 2 is
/// not seen; `None` where that is not needed.
fn private_namespace() -> Result<Option<ExitCode>> {
    const UNIFIED: &str = "/sys/fs/cgroup/unified";
    if find("crun").is_none() || !Path::new(UNIFIED).is_dir() {
        return Ok(None);
    }
    let status = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .arg(format!("umount {UNIFIED} && exec \"$0\" --here"))
        .arg(std::env::current_exe()?)
        .status()?;
    Ok(Some(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))))
}

/// Where runtimes keep what is of this boot only: in memory, as `/run` is. All contenders have theirs there.
fn runtime_directory() -> Result<tempfile::TempDir> {
    Ok(tempfile::Builder::new().prefix("layerstone-bench-").tempdir_in("/dev/shm")?)
}

fn agent(root: &Path) -> Result<Agent> {
    let run = fs::read_link(root.with_extension("run"))?;
    Ok(Agent::open(Store::open(root)?.with_runtime_dir(run))?)
}

fn options(runtime: &str, command: &[&str]) -> RunOptions {
    RunOptions {
        auto_remove: true,
        command: command.iter().map(|&word| word.to_owned()).collect(),
        runtime: match runtime {
            "youki" => RuntimeChoice::Youki,
            program => RuntimeChoice::Program(program.into()),
        },
        ..RunOptions::default()
    }
}

/// What `layerstone run --rm` does.
fn once(root: &Path, runtime: &str) -> Result<ExitCode> {
    let agent = agent(root)?;
    let image = agent.store().image("box", None)?;
    let signals = Signals::take()?;
    let container = agent.create(&image, &options(runtime, &["true"]))?;
    match agent.start(&container, true)?.attach(Attached::default(), &signals)? {
        Ended::Exit(exit) => Ok(exit.code.into()),
        Ended::Detached => Ok(ExitCode::FAILURE),
    }
}

/// libcontainer and nothing else.
fn bare(bundle: &Path, state: &Path) -> Result<ExitCode> {
    let mut container = ContainerBuilder::new(format!("bare-{}", std::process::id()), SyscallType::default())
        .with_root_path(state)?
        .validate_id()?
        .as_init(bundle)
        .with_systemd(false)
        .with_detach(true)
        .build()?;
    container.start()?;
    let pid =
        container.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.as_raw())).ok_or("no process")?;
    let ended = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
    container.delete(true)?;
    let code = ended.and_then(|(_, status)| status.exit_status()).ok_or("it did not exit")?;
    Ok(ExitCode::from(u8::try_from(code)?))
}

struct Work {
    directory: tempfile::TempDir,
    run: tempfile::TempDir,
}

impl Work {
    fn new() -> Result<Self> {
        let work = Work { directory: tempfile::tempdir()?, run: runtime_directory()? };
        std::os::unix::fs::symlink(work.run.path(), work.root().with_extension("run"))?;
        let archive = work.path("image.tar");
        image(Path::new("/bin/busybox"), &archive)?;
        let store = Store::create(work.root())?;
        let source = layerstone_oci::open_source(&archive, work.directory.path())?;
        let resolved = source.resolve(None, None)?;
        store.import_image(&source, &resolved, "box", &ImportOptions::default(), &|_| {})?;
        store.unpack(&store.image("box", None)?, &work.path("rootfs"), &UnpackOptions::default())?;
        Ok(work)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.path("store")
    }

    /// A bundle with the configuration of a container of ours, on a plain directory.
    fn bundle(&self, name: &str) -> Result<PathBuf> {
        let agent = agent(&self.root())?;
        let container = agent.create(&agent.store().image("box", None)?, &options("youki", &["true"]))?;
        let mut spec: Value = serde_json::from_slice(&fs::read(container.bundle().join("config.json"))?)?;
        agent.remove(&container, true)?;
        spec["root"]["path"] = json!(self.path("rootfs"));
        spec["linux"]["cgroupsPath"] = json!(format!("/layerstone-bench-{name}"));
        if let Some(mounts) = spec["mounts"].as_array_mut() {
            mounts.retain(|mount| mount["type"] != "bind");
        }
        let bundle = self.path(name);
        fs::create_dir(&bundle)?;
        fs::write(bundle.join("config.json"), serde_json::to_vec(&spec)?)?;
        Ok(bundle)
    }
}

fn own() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.stdin(Stdio::null());
    Ok(command)
}

fn succeeds(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into())
}

fn bench() -> Result<()> {
    let work = Work::new()?;
    let root = work.root();
    let runc = find("runc").ok_or("runc is not installed")?;
    let external = |program: PathBuf, name: &'static str| -> Result<_> {
        let (bundle, state) = (work.bundle(name)?, work.run.path().join(format!("{name}-state")));
        Ok(move || {
            let id = format!("bench-{name}");
            succeeds(
                Command::new(&program)
                    .arg("--root")
                    .arg(&state)
                    .arg("run")
                    .arg("--bundle")
                    .arg(&bundle)
                    .arg(id),
            )
        })
    };
    let bare_bundle = work.bundle("bare")?;
    let state = work.run.path().join("bare-state");
    fs::create_dir(&state)?;
    let with_runc = runc.clone();
    let mut contenders = vec![
        timed("run", || succeeds(own()?.arg("once").arg(&root).arg("youki"))),
        timed("run --runtime runc", || succeeds(own()?.arg("once").arg(&root).arg(&with_runc))),
        timed("libcontainer", || succeeds(own()?.arg("bare").arg(&bare_bundle).arg(&state))),
        timed("runc", external(runc, "runc")?),
    ];
    let mut without_crun = "it is not installed".to_owned();
    if let Some(crun) = find("crun") {
        let run = external(crun, "crun")?;
        match run() {
            Ok(()) => contenders.push(timed("crun", run)),
            Err(error) => {
                eprintln!("crun cannot run here: {error}");
                without_crun = "it cannot run here".to_owned();
            }
        }
    }
    let medians = measure::in_turns(measure::rounds(30), &mut contenders)?;
    let of = |name: &str| medians.get(name).map(|sample| sample.seconds);
    let mut report = Report::default();
    report.row("create, run `true`, remove: time", of("run")? * 1000.0, " ms", Goal::None);
    report.row("... against runc run", of("run")? / of("runc")?, "x", Goal::AtMost(0.6));
    match medians.find("crun") {
        Some(crun) => report.row("... against crun run", of("run")? / crun.seconds, "x", Goal::AtMost(1.0)),
        None => report.missing("... against crun run", &without_crun),
    }
    report.row(
        "... with runc as the runtime, against runc run",
        of("run --runtime runc")? / of("runc")?,
        "x",
        Goal::None,
    );
    report.row(
        "... more than libcontainer alone",
        (of("run")? - of("libcontainer")?) * 1000.0,
        " ms",
        Goal::AtMost(60.0),
    );
    memory(&root, &mut report)?;
    report.print("containers");
    Ok(())
}

fn timed<'a>(name: &'static str, work: impl Fn() -> Result<()> + 'a) -> Contender<'a> {
    Contender::new(name, move || measure::timed(&work))
}

/// What each container that runs adds: the memory of its shim that is nobody else's.
fn memory(root: &Path, report: &mut Report) -> Result<()> {
    let agent = agent(root)?;
    let image = agent.store().image("box", None)?;
    let mut containers = Vec::new();
    for _ in 0..SLEEPERS {
        let container = agent.create(&image, &options("youki", &["sleep", "600"]))?;
        agent.start(&container, false)?;
        containers.push(agent.find(&container.config().id)?);
    }
    let mut private = 0;
    for container in &containers {
        let shim = container.state().shim.as_ref().ok_or("no shim")?;
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", shim.pid))?;
        let lines = text.lines().filter(|line| line.starts_with("Private_"));
        let kib = lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok());
        private += kib.sum::<u64>() << 10;
    }
    for container in &containers {
        agent.remove(container, true)?;
    }
    report.row(
        "memory of a container's shim, private",
        mib(private) / SLEEPERS as f64,
        " MiB",
        Goal::AtMost(1.0),
    );
    Ok(())
}

/// Many containers, so many at once.
fn stress(count: usize, at_once: usize) -> Result<()> {
    let work = Work::new()?;
    let root = work.root();
    let (next, failed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let run =
                        own().and_then(|mut command| succeeds(command.arg("once").arg(&root).arg("youki")));
                    if let Err(error) = run {
                        eprintln!("{error}");
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let (seconds, failed) = (start.elapsed().as_secs_f64(), failed.into_inner());
    let left = agent(&root)?.containers()?.len();
    let own = root.display().to_string();
    let mounts = fs::read_to_string("/proc/self/mounts")?.lines().filter(|line| line.contains(&own)).count();
    println!(
        "{count} containers, {at_once} at once: {failed} failed, {left} left, {mounts} mounts left, {seconds:.1} s"
    );
    if failed + left + mounts == 0 { Ok(()) } else { Err("not all went well".into()) }
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    directories.map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// A docker archive with busybox in it.
fn image(busybox: &Path, archive: &Path) -> Result<()> {
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header
    };
    let mut layer = tar::Builder::new(Vec::new());
    for directory in ["bin", "etc", "proc", "sys", "dev"] {
        layer.append_data(&mut header(tar::EntryType::Directory, 0o755, 0), directory, std::io::empty())?;
    }
    let program = fs::read(busybox)?;
    let size = program.len() as u64;
    layer.append_data(
        &mut header(tar::EntryType::Regular, 0o755, size),
        "bin/busybox",
        program.as_slice(),
    )?;
    for applet in ["true", "sleep", "sh"] {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        layer.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let layer = layer.into_inner()?;
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["true"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": ["box:latest"], "Layers": ["layer.tar"]}]);
    let (config, manifest) = (config.to_string().into_bytes(), manifest.to_string().into_bytes());
    let mut out = tar::Builder::new(File::create(archive)?);
    for (name, bytes) in [("layer.tar", &layer), ("config.json", &config), ("manifest.json", &manifest)] {
        let size = bytes.len() as u64;
        out.append_data(&mut header(tar::EntryType::Regular, 0o644, size), name, bytes.as_slice())?;
    }
    out.into_inner()?;
    Ok(())
}
