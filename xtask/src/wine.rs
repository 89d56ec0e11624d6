//! `cargo xtask wine`: the tests as a Windows program runs them, on Linux.
//!
//! Wine runs the same binary that Windows does: what the standard library and this project ask of the Windows API is
//! answered by a second implementation of it. That shows paths, open files, sharing, case, UTF-16, and that the program
//! starts at all. It is no Windows: where Wine has no answer, or a wrong one, a test says so with a `cfg`.
//!
//! ```text
//! <target>/wine/
//!   lock       held while a prefix is in use: one run at a time
//!   prefix/    what Wine takes for the machine: a C: drive and a registry; made once
//!   shim/      bcryptprimitives.dll, for a Wine that has none
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::command::{self, Failure, WINDOWS, WINDOWS_CC, cargo, present, target, without};
use crate::test;

/// What is tested under Wine.
const PACKAGES: [&str; 10] = [
    "layerstone-standin",
    "layerstone-hcs",
    "layerstone-nt",
    "layerstone-erofs",
    "layerstone-layer",
    "layerstone-oci",
    "layerstone-registry",
    "layerstone-store",
    "layerstone-agent",
    "layerstone",
];
/// What tests start or load.
const BUILT: [&str; 4] = ["--package", "layerstone", "--package", "layerstone-standin"];
/// The package whose binary is compared with the native one, and the test that does it.
const COMPARISON: [&str; 4] = ["--package", "layerstone", "--test", "windows_binary"];

/// The build that Wine is told to be: Windows Server 2022. Debian's Wine says Windows 7 otherwise.
const BUILD: &str = "20348";
/// Where the registry says it.
const CURRENT_VERSION: &str = r"HKLM\Software\Microsoft\Windows NT\CurrentVersion";

/// How long Wine may take for one command. A test program is the longest; a prefix that is broken would wait for ever.
const SECONDS: u32 = 300;

/// Runs the tests, with these arguments for `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    for (program, how) in [
        (WINDOWS_CC, "apt-get install gcc-mingw-w64-x86-64"),
        ("wine", "apt-get install wine wine64"),
        ("wineserver", "apt-get install wine wine64"),
        ("timeout", "apt-get install coreutils"),
    ] {
        if !present(program, "--version") {
            return without(program, how);
        }
    }
    install_target()?;
    // `cargo test` makes neither the program nor a DLL.
    command::run(cargo().args(["build", "--target", WINDOWS]).args(BUILT))?;
    let wine = Wine::prepare(&target().join("wine"))?;
    let mut commands = vec![wine.tests(arguments)];
    if arguments.is_empty() {
        commands.push(wine.comparison());
    }
    test::run_all(commands)
    // `wine` ends here, and with it everything that runs in its prefix.
}

/// The standard library for Windows.
fn install_target() -> Result<(), Failure> {
    let installed = Command::new("rustc").args(["--print", "target-libdir", "--target", WINDOWS]).output();
    let library = installed.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    if library.is_ok_and(|path| !path.is_empty() && Path::new(&path).is_dir()) {
        return Ok(());
    }
    command::run(Command::new("rustup").args(["target", "add", WINDOWS]))
}

/// A Wine that is ready. Ends its server when dropped.
struct Wine {
    prefix: PathBuf,
    /// A directory with the DLL that this Wine lacks.
    shim: Option<PathBuf>,
    /// A program that waits for input as long as this lives. The services that Wine starts with the first program keep that
    /// program's output open until they end, for which a reader would wait a minute; so the first one has none.
    idle: Option<Child>,
    /// Held until the server has ended.
    _lock: File,
}

impl Wine {
    /// Makes the prefix, unless an earlier run did.
    fn prepare(directory: &Path) -> Result<Self, Failure> {
        let io = |doing| move |source| Failure::Io { doing, source };
        fs::create_dir_all(directory).map_err(io("making a directory for Wine"))?;
        let lock = File::create(directory.join("lock")).map_err(io("making a lock file"))?;
        lock.lock().map_err(io("waiting for another run under Wine"))?;
        let mut wine = Wine { prefix: directory.join("prefix"), shim: None, idle: None, _lock: lock };

        let ready = wine.prefix.join("is-ready");
        if !ready.exists() {
            eprintln!("xtask: making a Wine prefix in {}", wine.prefix.display());
            if wine.prefix.exists() {
                fs::remove_dir_all(&wine.prefix).map_err(io("removing half a Wine prefix"))?;
            }
            wine.set_up()?;
            fs::write(&ready, BUILD).map_err(io("finishing the Wine prefix"))?;
        }
        // Wine puts a file there for each DLL that it has.
        if !wine.prefix.join("drive_c/windows/system32/bcryptprimitives.dll").exists() {
            wine.shim = Some(compile_shim(&directory.join("shim"))?);
        }
        let mut idle = Command::new("wine");
        idle.arg("cmd").stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        wine.environment(&mut idle);
        let program = idle.get_program().to_owned();
        wine.idle = Some(idle.spawn().map_err(|source| Failure::Start { program, source })?);
        Ok(wine)
    }

    fn set_up(&self) -> Result<(), Failure> {
        self.wine(&["wineboot", "--init"])?;
        self.wine(&["winecfg", "-v", "win10"])?;
        for (name, value) in
            [("CurrentVersion", "10.0"), ("CurrentBuildNumber", BUILD), ("CurrentBuild", BUILD)]
        {
            self.wine(&["reg", "add", CURRENT_VERSION, "/v", name, "/t", "REG_SZ", "/d", value, "/f"])?;
        }
        // The registry is written to the prefix when the server ends.
        self.server("--wait")
    }

    fn wine(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = Command::new("timeout");
        command.args(timeout()).arg("wine").args(arguments);
        // No window asks whether Mono and Gecko should be fetched.
        command.env("WINEDLLOVERRIDES", "mscoree,mshtml=");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.environment(&mut command);
        command::run(&mut command)
    }

    /// Tells the server of this prefix, and no other.
    fn server(&self, option: &str) -> Result<(), Failure> {
        let mut command = Command::new("timeout");
        command.args(timeout()).args(["wineserver", option]).stdin(Stdio::null());
        self.environment(&mut command);
        command::run(&mut command)
    }

    /// What a program needs to run in this prefix.
    fn environment(&self, command: &mut Command) {
        // Names that are not ASCII are not found in any other locale.
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all").env("LANG", "C.UTF-8");
        command.env_remove("LC_ALL");
        if let Some(shim) = &self.shim {
            command.env("WINEPATH", format!("Z:{}", shim.display().to_string().replace('/', r"\")));
        }
    }

    /// `cargo test` for Windows.
    fn tests(&self, arguments: &[String]) -> Command {
        let (ours, theirs) = test::split(arguments);
        let mut command = cargo();
        command.args(["test", "--no-fail-fast", "--target", WINDOWS]);
        if !test::chooses_packages(ours) {
            command.args(PACKAGES.iter().flat_map(|package| ["--package", package]));
        }
        command.args(ours).args(["--", "--show-output"]).args(theirs);
        self.environment(&mut command);
        command.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", runner());
        // A process takes long to start.
        command.env("LAYERSTONE_CRASH_ROUNDS", "10");
        // The sources are not there to be written to.
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1");
        command
    }

    /// A native test that runs the Windows program and compares what it does.
    fn comparison(&self) -> Command {
        let mut command = cargo();
        command.arg("test").args(COMPARISON).args(["--", "--ignored", "--show-output"]);
        self.environment(&mut command);
        command.env("LAYERSTONE_WINDOWS_RUNNER", runner());
        command.env("LAYERSTONE_WINDOWS_EXE", target().join(WINDOWS).join("debug/layerstone.exe"));
        command
    }
}

impl Drop for Wine {
    fn drop(&mut self) {
        // Its input ends with this.
        let mut idle = self.idle.take();
        drop(idle.as_mut().and_then(|idle| idle.stdin.take()));
        // Fails when no server is running any more.
        let mut command = Command::new("wineserver");
        command.arg("--kill").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.environment(&mut command);
        let _ = command.status();
        if let Some(idle) = &mut idle {
            let _ = idle.wait();
        }
    }
}

fn timeout() -> [String; 2] {
    ["--kill-after=10".into(), SECONDS.to_string()]
}

/// What comes before a Windows program on the command line.
fn runner() -> String {
    format!("timeout {} wine", timeout().join(" "))
}

fn compile_shim(directory: &Path) -> Result<PathBuf, Failure> {
    let source = command::workspace().join("xtask/wine/bcryptprimitives.c");
    let io = |doing| move |source| Failure::Io { doing, source };
    fs::create_dir_all(directory).map_err(io("making a directory for a DLL"))?;
    let mut compiler = Command::new(WINDOWS_CC);
    compiler.args(["-O2", "-shared", "-nostartfiles", "-Wl,-e,0", "-o"]);
    compiler.arg(directory.join("bcryptprimitives.dll")).arg(source).arg("-ladvapi32");
    command::run(&mut compiler)?;
    Ok(directory.to_path_buf())
}
