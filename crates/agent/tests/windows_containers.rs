//! Containers on Windows, over the DLL that stands in for those of Windows: real shims, real processes, real pipes.
//!
//! This program is three things: the tests; the shim that they start (`shim`); and programs that run in containers (`helper`) or start
//! them (`client`). So it has a `main` of its own, which prints what the usual one prints.

#[cfg(not(windows))]
fn main() {}

#[cfg(windows)]
fn main() -> std::process::ExitCode {
    windows::main()
}

#[cfg(windows)]
mod windows {
    use std::io::{Read as _, Write as _};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::{Path, PathBuf};
    use std::process::{Child, Command, ExitCode, Output, Stdio};
    use std::time::{Duration, Instant};

    use layerstone_agent::log::Reader;
    use layerstone_agent::model::Status;
    use layerstone_agent::options::{Limits, Network, RunOptions, RuntimeChoice, Volume};
    use layerstone_agent::{Agent, Attached, Container, Error, Host, ShimProgram, parse_volume, shim_main};
    use layerstone_oci::{
        Descriptor, DiffId, Digest, HistoryEntry, ImageConfig, Layout, Manifest, MediaType, Platform,
        open_source,
    };
    use layerstone_store::storage::CONFIG_HIVES;
    use layerstone_store::{ImportOptions, Store};
    use serde_json::Value;
    use tempfile::TempDir;

    const LONG: Duration = Duration::from_secs(60);

    type Test = (&'static str, fn());
    macro_rules! tests {
        ($($name:ident),* $(,)?) => { &[$((stringify!($name), $name as fn())),*] };
    }
    const TESTS: &[Test] = tests![
        a_program_of_the_image_runs_and_its_streams_and_exit_code_are_the_clients,
        input_of_the_client_reaches_the_program_and_ends,
        a_detached_container_is_listed_waited_for_and_its_log_kept,
        a_container_that_is_to_be_removed_leaves_nothing,
        stop_asks_and_then_ends,
        a_container_goes_on_without_its_client_and_not_without_its_shim,
        a_shim_that_dies_between_disk_and_filter_leaves_nothing_attached,
        a_program_that_cannot_be_started_has_the_exit_code_of_podman,
        what_windows_has_no_like_of_is_refused_before_anything_is_made,
        the_compute_system_is_what_was_asked_for,
        an_image_of_another_system_is_refused,
        volumes_are_written_as_on_windows,
    ];

    pub(crate) fn main() -> ExitCode {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.first().map(String::as_str) {
            Some("shim") => return shim_main(Host::load(&standin().expect("it was there for the tests"))),
            Some("helper") => return helper(&arguments[1..]),
            Some("client") => return client(&arguments[1..]),
            _ => {}
        }
        // The stand-in makes real files, in this process and in all that it starts.
        if std::env::var_os("STANDIN_ENGINE").is_none() {
            let mut again = Command::new(std::env::current_exe().unwrap());
            let status = again.args(&arguments).env("STANDIN_ENGINE", "files").status().unwrap();
            return if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        let wanted: Vec<&String> = arguments.iter().filter(|word| !word.starts_with('-')).collect();
        let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
        let tests: Vec<&Test> = TESTS.iter().filter(|(name, _)| chosen(name)).collect();
        println!("\nrunning {} tests", tests.len());
        let mut failed = 0;
        for (name, test) in &tests {
            if standin().is_none() {
                layerstone_testing::skip(
                    name,
                    "the package layerstone-standin was not built for this target",
                );
            }
            let passed = standin().is_none() || catch_unwind(AssertUnwindSafe(test)).is_ok();
            failed += usize::from(!passed);
            println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        }
        let result = if failed == 0 { "ok" } else { "FAILED" };
        let passed = tests.len() - failed;
        println!(
            "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out\n"
        );
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    /// The DLL, two levels above this program, which is in `deps`.
    fn standin() -> Option<PathBuf> {
        let path = match std::env::var_os("LAYERSTONE_STANDIN") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe().ok()?.ancestors().nth(2)?.join("layerstone_standin.dll"),
        };
        path.is_file().then_some(path)
    }

    /// A program that runs in a container.
    fn helper(arguments: &[String]) -> ExitCode {
        match arguments[0].as_str() {
            "cat" => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes).unwrap();
                std::io::stdout().write_all(&bytes).unwrap();
            }
            "code" => std::process::exit(arguments[1].parse::<u32>().unwrap().cast_signed()),
            "sleep" => {
                println!("ready");
                std::thread::sleep(Duration::from_secs(600));
            }
            "beats" => loop {
                // Shows on the host that it is alive.
                std::fs::write(&arguments[1], format!("{:?}", Instant::now())).unwrap();
                std::thread::sleep(Duration::from_millis(20));
            },
            "ticks" => {
                for tick in 0..arguments[1].parse::<u32>().unwrap() {
                    println!("tick {tick}");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            other => panic!("{other}"),
        }
        ExitCode::SUCCESS
    }

    /// Runs a container as the program does: `client ROOT NAME INTERACTIVE COMMAND...`.
    fn client(arguments: &[String]) -> ExitCode {
        let [root, name, interactive, command @ ..] = arguments else { panic!("{arguments:?}") };
        let agent = agent(Path::new(root));
        let interactive = interactive == "true";
        let options =
            RunOptions { name: Some(name.clone()), interactive, command: command.to_vec(), ..options() };
        let image = agent.store().image("app", None).unwrap();
        let container = agent.create(&image, &options).unwrap();
        match agent.start(&container, Some(Attached { interactive })).and_then(|client| client.attach()) {
            Ok(ended) => std::process::exit(ended.code().cast_signed()),
            Err(error) => {
                eprintln!("{}", error.in_one_line());
                ExitCode::from(error.exit_code())
            }
        }
    }

    fn agent(root: &Path) -> Agent {
        let host = Host::load(&standin().unwrap());
        Agent::with(Store::open(root).unwrap(), host, ShimProgram::this().unwrap()).unwrap()
    }

    fn options() -> RunOptions {
        RunOptions { runtime: RuntimeChoice::Hcs, ..RunOptions::default() }
    }

    /// A command that runs this program in the container.
    fn this(words: &[&str]) -> Vec<String> {
        let program = std::env::current_exe().unwrap().to_str().unwrap().to_owned();
        [program, "helper".into()].into_iter().chain(words.iter().map(|word| (*word).to_owned())).collect()
    }

    /// A store with the image `app`, gone when this is dropped.
    struct Fixture {
        dir: TempDir,
        agent: Agent,
    }

    fn layer(files: &[(String, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (path, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            tar.append_data(&mut header, path, *bytes).unwrap();
        }
        tar.into_inner().unwrap()
    }

    fn import(dir: &Path, store: &Store, platform: &str, name: &str, layers: &[Vec<u8>]) {
        let source = Layout::create(dir.join(format!("source-{name}"))).unwrap();
        let mut config = ImageConfig::new(&Platform::parse(platform).unwrap());
        let mut descriptors = Vec::new();
        for tar in layers {
            let digest = source.put_blob_bytes(tar).unwrap();
            descriptors.push(Descriptor::new(MediaType::OCI_LAYER, digest, tar.len() as u64));
            config = config.append_layer(&DiffId(Digest::of(tar)), HistoryEntry::default()).unwrap();
        }
        source.put_blob_bytes(config.bytes()).unwrap();
        let manifest = Manifest::build(config.descriptor(), descriptors, Default::default()).unwrap();
        source.put_blob_bytes(manifest.bytes()).unwrap();
        source.set_image(name, &manifest.descriptor()).unwrap();
        let opened = open_source(source.root(), dir).unwrap();
        let image = opened.resolve(Some(name), None).unwrap();
        store.import_image(&opened, &image, name, &ImportOptions::default(), &|_| {}).unwrap();
    }

    impl Fixture {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::create(dir.path().join("store")).unwrap();
            let hive = |name: &str| (format!("Files/Windows/System32/config/{name}"), &b"hive"[..]);
            let mut base: Vec<(String, &[u8])> = CONFIG_HIVES.iter().map(|name| hive(name)).collect();
            base.push(("Files/app/hello.txt".into(), b"hello of the image\r\n"));
            let layers = [layer(&base), layer(&[("Files/more.txt".into(), b"more")])];
            import(dir.path(), &store, "windows/amd64", "app", &layers);
            let agent = agent(store.root());
            Fixture { dir, agent }
        }

        fn root(&self) -> &Path {
            self.agent.store().root()
        }

        fn create(&self, options: &RunOptions) -> Result<Container, Error> {
            let image = self.agent.store().image("app", None).unwrap();
            self.agent.create(&image, options)
        }

        /// One that runs, and has printed what it prints first.
        fn start(&self, name: &str, options: RunOptions) -> Container {
            let container = self.create(&RunOptions { name: Some(name.into()), ..options }).unwrap();
            self.agent.start(&container, None).unwrap();
            self.agent.find(name).unwrap()
        }

        fn client(&self, name: &str, interactive: bool, command: &[String]) -> Command {
            let mut client = Command::new(std::env::current_exe().unwrap());
            client.arg("client").arg(self.root()).args([name, if interactive { "true" } else { "false" }]);
            client.args(command).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
            client
        }

        fn run(&self, name: &str, command: &[String], input: Option<&[u8]>) -> Output {
            let mut child = self.client(name, input.is_some(), command).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            let input = input.unwrap_or_default().to_vec();
            let writer = std::thread::spawn(move || stdin.write_all(&input));
            let output = child.wait_with_output().unwrap();
            let _ = writer.join().unwrap();
            output
        }

        fn log(&self, container: &Container) -> String {
            let mut reader = Reader::open(container.directory()).unwrap();
            let mut bytes = Vec::new();
            while let Some(record) = reader.next_record().unwrap() {
                bytes.extend(record.data());
            }
            String::from_utf8(bytes).unwrap()
        }

        fn scratches(&self) -> usize {
            self.agent.store().scratches().unwrap().len()
        }
    }

    impl Drop for Fixture {
        fn drop(&mut self) {
            for container in self.agent.containers().unwrap_or_default() {
                let _ = self.agent.remove(&container, true);
            }
        }
    }

    fn until(what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + LONG;
        while !done() {
            assert!(Instant::now() < deadline, "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn a_program_of_the_image_runs_and_its_streams_and_exit_code_are_the_clients() {
        let fixture = Fixture::new();
        let command = words(&["cmd", "/c", "echo out& echo error 1>&2& exit 7"]);
        let output = fixture.run("one", &command, None);
        assert_eq!(output.status.code(), Some(7), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "out");
        assert_eq!(String::from_utf8_lossy(&output.stderr).trim(), "error");
        let container = fixture.agent.find("one").unwrap();
        assert_eq!(container.state().status, Status::Stopped);
        assert_eq!(container.state().exit.as_ref().unwrap().code, 7);
        assert!(container.state().shim.is_none() && container.state().rootfs.is_none());
        let log = fixture.log(&container);
        assert!(log.contains("out") && log.contains("error"), "{log}");

        // Codes of Windows are larger than those of others.
        let output = fixture.run("two", &this(&["code", "3221225786"]), None);
        assert_eq!(output.status.code().map(i32::cast_unsigned), Some(0xC000_013A));
        let container = fixture.agent.find("two").unwrap();
        assert_eq!(container.state().exit.as_ref().unwrap().code, 255);
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0xC000_013A);

        // What the image has is where the program starts.
        let container = fixture.start(
            "three",
            RunOptions {
                workdir: Some("C:/app".into()),
                command: words(&["cmd", "/c", "type hello.txt"]),
                ..options()
            },
        );
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0);
        assert_eq!(fixture.log(&container).trim(), "hello of the image");
    }

    fn input_of_the_client_reaches_the_program_and_ends() {
        let fixture = Fixture::new();
        let input: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
        let output = fixture.run("cat", &this(&["cat"]), Some(&input));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stdout == input, "{} bytes came back", output.stdout.len());
        // Without being asked to pass it on, there is none.
        let output = fixture.run("nothing", &this(&["cat"]), None);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    }

    fn a_detached_container_is_listed_waited_for_and_its_log_kept() {
        let fixture = Fixture::new();
        let options = RunOptions { command: this(&["ticks", "20"]), ..options() };
        let container = fixture.start("ticks", options.clone());
        assert_eq!(container.state().status, Status::Running);
        assert!(container.state().init.is_some() && container.state().rootfs.is_some());
        let listed = fixture.agent.containers().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].name(), "ticks");
        let taken = fixture.create(&RunOptions { name: Some("ticks".into()), ..options }).unwrap_err();
        assert!(matches!(taken, Error::NameTaken { .. }), "{taken}");
        // One that runs is not removed by accident.
        let error = fixture.agent.remove(&container, false).unwrap_err();
        assert!(matches!(error, Error::State { .. }), "{error}");
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0);
        let container = fixture.agent.find(&container.config().id[..6]).unwrap();
        assert_eq!(container.state().status, Status::Stopped);
        let log = fixture.log(&container);
        assert_eq!(log.lines().count(), 20, "{log}");
        assert!(log.trim_end().ends_with("tick 19"), "{log}");
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0, "it has ended already");
        assert!(!fixture.agent.stop(&container, None).unwrap());
        assert!(fixture.agent.start(&container, None).is_err(), "a container runs once");
        fixture.agent.remove(&container, false).unwrap();
        assert!(matches!(fixture.agent.find("ticks"), Err(Error::NoContainer(_))));
        assert_eq!((fixture.agent.containers().unwrap().len(), fixture.scratches()), (0, 0));
    }

    fn a_container_that_is_to_be_removed_leaves_nothing() {
        let fixture = Fixture::new();
        let options = RunOptions { auto_remove: true, command: this(&["code", "9"]), ..options() };
        let container = fixture.create(&options).unwrap();
        fixture.agent.start(&container, None).unwrap();
        until("it removes itself", || fixture.agent.find(&container.config().id).is_err());
        until("so does its directory", || !container.directory().exists());
        assert_eq!(fixture.scratches(), 0);
        // Its exit code is still told to whoever waits.
        let options = RunOptions { command: this(&["ticks", "10"]), ..options };
        let container = fixture.start("waited", options);
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0);
        assert!(fixture.agent.find("waited").is_err());
        assert_eq!(fixture.agent.containers().unwrap().len(), 0);
        // A shim has its own log open until it ends.
        until("the lock alone is left", || {
            let listed = fixture.agent.containers().unwrap();
            let left = std::fs::read_dir(fixture.root().join("containers")).unwrap().count();
            listed.is_empty() && left == 1
        });
    }

    fn stop_asks_and_then_ends() {
        let fixture = Fixture::new();
        let sleep = RunOptions { command: this(&["sleep"]), ..options() };
        let container = fixture.start("polite", sleep.clone());
        assert!(fixture.agent.stop(&container, Some(30)).unwrap());
        let container = fixture.agent.find("polite").unwrap();
        assert_eq!(container.state().status, Status::Stopped);
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0xC000_013A);

        let deaf = RunOptions { env: words(&["STANDIN_IGNORES_SIGNALS=1"]), ..sleep.clone() };
        let container = fixture.start("deaf", deaf);
        let start = Instant::now();
        assert!(fixture.agent.stop(&container, Some(1)).unwrap());
        assert!(start.elapsed() >= Duration::from_secs(1));
        assert_eq!(fixture.agent.find("deaf").unwrap().state().status, Status::Stopped);

        let container = fixture.start("killed", sleep);
        let unknown = fixture.agent.kill(&container, 10).unwrap_err();
        assert!(matches!(unknown, Error::Unsupported { .. }), "{unknown}");
        fixture.agent.kill(&container, 9).unwrap();
        fixture.agent.wait(&container).unwrap();
        let container = fixture.agent.find("killed").unwrap();
        assert!(matches!(fixture.agent.kill(&container, 9), Err(Error::State { .. })));
    }

    fn ended(child: &mut Child) {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn a_container_goes_on_without_its_client_and_not_without_its_shim() {
        let fixture = Fixture::new();
        let mut client = fixture.client("orphan", false, &this(&["ticks", "40"])).spawn().unwrap();
        until("it runs", || {
            fixture.agent.find("orphan").is_ok_and(|found| found.state().status == Status::Running)
        });
        ended(&mut client);
        let container = fixture.agent.find("orphan").unwrap();
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0);
        let log = fixture.log(&container);
        assert_eq!(log.lines().count(), 40, "{log}");

        let heart = fixture.dir.path().join("heart");
        let beat = || std::fs::read_to_string(&heart).unwrap_or_default();
        let command = this(&["beats", heart.to_str().unwrap()]);
        let container = fixture.start("lost", RunOptions { command, ..options() });
        until("it is alive", || !beat().is_empty());
        let shim = container.state().shim.as_ref().unwrap().pid.to_string();
        let mut kill = Command::new("taskkill");
        kill.args(["/F", "/PID", &shim]).stdout(Stdio::null());
        assert!(kill.status().unwrap().success());
        until("it is put in order", || fixture.agent.find("lost").unwrap().state().status == Status::Stopped);
        let container = fixture.agent.find("lost").unwrap();
        let exit = container.state().exit.clone().unwrap();
        assert_eq!(exit.code, 137);
        assert!(exit.error.unwrap().contains("shim"));
        until("its program has ended with it", || {
            let before = beat();
            std::thread::sleep(Duration::from_millis(500));
            beat() == before
        });
        // Nothing is attached any more, or it could not be removed.
        fixture.agent.remove(&container, false).unwrap();
        assert_eq!(fixture.scratches(), 1, "that of the other one");
    }

    fn a_shim_that_dies_between_disk_and_filter_leaves_nothing_attached() {
        let fixture = Fixture::new();
        let options = RunOptions { name: Some("halfway".into()), command: this(&["code", "0"]), ..options() };
        let container = fixture.create(&options).unwrap();
        // A client in a process of its own, which waits for a shim that takes long to attach the filter.
        let mut client = fixture.client("another", false, &this(&["code", "0"]));
        client.env("STANDIN_DELAY", "HcsAttachLayerStorageFilter=60000");
        let mut client = client.spawn().unwrap();
        let disk = |container: &Container| {
            let scratch = fixture.agent.store().scratch(&container.config().scratch).unwrap();
            scratch.path().join("hcs").join("sandbox.vhdx")
        };
        let attached = |container: &Container| {
            std::fs::read_to_string(disk(container)).is_ok_and(|text| text.contains("permanently"))
        };
        let another = || fixture.agent.find("another").ok();
        until("its disk is attached", || another().is_some_and(|found| attached(&found)));
        let shim = another().unwrap().state().shim.as_ref().unwrap().pid.to_string();
        let mut kill = Command::new("taskkill");
        kill.args(["/F", "/PID", &shim]).stdout(Stdio::null());
        assert!(kill.status().unwrap().success());
        client.wait().unwrap();
        until("it is put in order", || another().unwrap().state().status == Status::Stopped);
        assert!(!attached(&another().unwrap()));
        fixture.agent.remove(&another().unwrap(), false).unwrap();
        // The layers that it had made are whole: the next container runs.
        fixture.agent.start(&container, None).unwrap();
        assert_eq!(fixture.agent.wait(&container).unwrap().code(), 0);
    }

    fn a_program_that_cannot_be_started_has_the_exit_code_of_podman() {
        let fixture = Fixture::new();
        let output = fixture.run("missing", &words(&[r"C:\no\such.exe"]), None);
        assert_eq!(output.status.code(), Some(127), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(r"C:\no\such.exe") && said.contains("_NOT_FOUND"), "{said}");
        let container = fixture.agent.find("missing").unwrap();
        assert_eq!(container.state().status, Status::Stopped);
        assert_eq!(container.state().exit.as_ref().unwrap().code, 127);
        fixture.agent.remove(&container, false).unwrap();

        let nowhere = RunOptions {
            workdir: Some(r"C:\no\such".into()),
            command: this(&["code", "0"]),
            auto_remove: true,
            ..options()
        };
        let container = fixture.create(&nowhere).unwrap();
        let error = fixture.agent.start(&container, None).unwrap_err();
        assert_eq!(error.exit_code(), 125, "{error}");
        assert!(error.to_string().contains("ERROR_DIRECTORY"), "{error}");
        assert_eq!((fixture.agent.containers().unwrap().len(), fixture.scratches()), (0, 0));
    }

    fn what_windows_has_no_like_of_is_refused_before_anything_is_made() {
        let fixture = Fixture::new();
        let tmpfs = Volume { source: None, destination: r"C:\tmp".into(), options: Vec::new() };
        for refused in [
            RunOptions { tty: true, ..options() },
            RunOptions { read_only: true, ..options() },
            RunOptions { cap_add: words(&["ALL"]), ..options() },
            RunOptions { no_new_privileges: true, ..options() },
            RunOptions { limits: Limits { pids: Some(1), ..Limits::default() }, ..options() },
            RunOptions { network: Network::Host, ..options() },
            RunOptions { volumes: vec![tmpfs], ..options() },
            RunOptions { runtime: RuntimeChoice::Youki, ..options() },
        ] {
            let refused = RunOptions { command: words(&["cmd"]), ..refused };
            let error = fixture.create(&refused).unwrap_err();
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        }
        let nonsense = RunOptions {
            network: Network::Namespace("nonsense".into()),
            command: words(&["cmd"]),
            ..options()
        };
        assert!(matches!(fixture.create(&nonsense), Err(Error::Invalid { .. })));
        assert!(matches!(fixture.create(&options()), Err(Error::NoCommand(_))));
        assert_eq!((fixture.agent.containers().unwrap().len(), fixture.scratches()), (0, 0));
    }

    fn the_compute_system_is_what_was_asked_for() {
        let fixture = Fixture::new();
        let shared = fixture.dir.path().join("shared");
        std::fs::create_dir(&shared).unwrap();
        let volume = format!(r"{}:C:\shared:ro", shared.display());
        let options = RunOptions {
            env: words(&["GREETING=good morning"]),
            user: Some("ContainerUser".into()),
            hostname: Some("web".into()),
            limits: Limits { memory: Some(256 << 20), cpus: Some(0.5), pids: None },
            network: Network::Namespace("11111111-2222-3333-4444-555555555555".into()),
            volumes: vec![parse_volume(&volume).unwrap()],
            command: words(&["cmd", "/c", "echo %GREETING%"]),
            ..options()
        };
        let log = fixture.dir.path().join("calls");
        let container = fixture.create(&options).unwrap();
        // The client of another process, whose environment is its own.
        let mut shim = fixture.agent_with_log(&log);
        shim(&container);
        assert_eq!(fixture.log(&container).trim(), "good morning");

        let calls = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<Value> = calls.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let argument = |function: &str, name: &str| -> String {
            let call = calls.iter().find(|call| call["function"] == function).expect(function);
            let arguments = call["arguments"].as_array().unwrap();
            arguments.iter().find(|argument| argument["name"] == name).unwrap()["value"]
                .as_str()
                .unwrap()
                .into()
        };
        assert_eq!(argument("HcsCreateComputeSystem", "id"), container.config().id);
        let document: Value =
            serde_json::from_str(&argument("HcsCreateComputeSystem", "configuration")).unwrap();
        assert_eq!(document["Owner"], "layerstone");
        assert_eq!(document["ShouldTerminateOnLastHandleClosed"], true);
        let system = &document["Container"];
        assert_eq!(system["GuestOs"]["HostName"], "web");
        assert_eq!(system["Memory"]["SizeInMB"], 256);
        let all = std::thread::available_parallelism().unwrap().get() as f64;
        assert_eq!(system["Processor"]["Maximum"], (0.5 / all * 10_000.0) as u32);
        assert_eq!(system["Networking"]["Namespace"], "11111111-2222-3333-4444-555555555555");
        assert_eq!(system["MappedDirectories"][0]["ContainerPath"], r"C:\shared");
        assert_eq!(system["MappedDirectories"][0]["ReadOnly"], true);
        // The nearest parent first, and as the storage calls have it: the same ids and paths, and the volume of the scratch.
        let layers = system["Storage"]["Layers"].as_array().unwrap();
        let image = fixture.agent.store().image("app", None).unwrap();
        let chain_ids = image.chain_ids();
        assert_eq!(layers.len(), 2);
        for (layer, id) in layers.iter().zip(chain_ids.iter().rev()) {
            assert!(
                layer["Path"].as_str().unwrap().ends_with(&format!(r"\windows\{}", id.0.hex())),
                "{layer}"
            );
        }
        for function in ["HcsInitializeWritableLayer", "HcsAttachLayerStorageFilter"] {
            let data: Value = serde_json::from_str(&argument(function, "layerData")).unwrap();
            assert_eq!(data["Layers"], system["Storage"]["Layers"], "{function}");
        }
        assert_eq!(system["Storage"]["Path"], argument("HcsAttachLayerStorageFilter", "layerPath"));

        let parameters: Value =
            serde_json::from_str(&argument("HcsCreateProcess", "processParameters")).unwrap();
        assert_eq!(parameters["User"], "ContainerUser");
        assert_eq!(parameters["Environment"]["GREETING"], "good morning");
        assert_eq!(parameters["CommandLine"], "cmd /c \"echo %GREETING%\"");
        // Layers are made once: a second container makes none.
        let imports = |calls: &str| calls.matches("\"HcsImportLayer\"").count();
        assert_eq!(imports(&std::fs::read_to_string(&log).unwrap()), 1);
        let second = fixture.create(&RunOptions { command: words(&["cmd", "/c", "ver"]), ..self::options() });
        shim(&second.unwrap());
        assert_eq!(imports(&std::fs::read_to_string(&log).unwrap()), 1);
        // Everything is taken down, in the reverse order.
        let functions: Vec<&str> = calls.iter().filter_map(|call| call["function"].as_str()).collect();
        let last = |name: &str| functions.iter().rposition(|function| *function == name).expect(name);
        assert!(last("HcsCreateProcess") < last("HcsTerminateComputeSystem"));
        assert!(last("HcsTerminateComputeSystem") < last("HcsDetachLayerStorageFilter"));
        assert!(last("HcsDetachLayerStorageFilter") < last("DetachVirtualDisk"));
    }

    impl Fixture {
        /// Starts containers with shims that write their calls down, and waits for them.
        fn agent_with_log(&self, log: &Path) -> impl FnMut(&Container) {
            let shim = ShimProgram {
                path: "cmd".into(),
                arguments: vec![
                    "/c".into(),
                    format!(
                        "set STANDIN_LOG={}&& {} shim",
                        log.display(),
                        std::env::current_exe().unwrap().display()
                    )
                    .into(),
                ],
            };
            let host = Host::load(&standin().unwrap());
            let agent = Agent::with(Store::open(self.root()).unwrap(), host, shim).unwrap();
            move |container| {
                agent.start(container, None).unwrap();
                assert_eq!(agent.wait(&agent.find(&container.config().id).unwrap()).unwrap().code(), 0);
            }
        }
    }

    fn an_image_of_another_system_is_refused() {
        let fixture = Fixture::new();
        import(
            fixture.dir.path(),
            fixture.agent.store(),
            "linux/amd64",
            "tux",
            &[layer(&[("a".into(), b"b")])],
        );
        let platform = Platform::parse("linux/amd64").unwrap();
        let image = fixture.agent.store().image("tux", Some(&platform)).unwrap();
        let error = fixture.agent.create(&image, &options()).unwrap_err();
        assert!(matches!(error, Error::ForeignImage { .. }), "{error}");
    }

    fn volumes_are_written_as_on_windows() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().display();
        let volume = parse_volume(&format!(r"{source}:D:/data")).unwrap();
        assert_eq!((volume.source.as_deref(), volume.destination.as_str()), (Some(dir.path()), r"D:\data"));
        assert!(volume.options.is_empty());
        assert_eq!(parse_volume(&format!(r"{source}:C:\data:ro")).unwrap().options, ["ro"]);
        for wrong in [
            String::new(),
            source.to_string(),
            format!("{source}:data"),
            format!(r"{source}:C:\data:nonsense"),
            r"C:\no\such\directory:C:\data".to_owned(),
            "/srv:/srv".to_owned(),
        ] {
            let error = parse_volume(&wrong).unwrap_err();
            assert!(matches!(error, Error::Invalid { .. }), "{wrong}: {error}");
        }
    }
}
