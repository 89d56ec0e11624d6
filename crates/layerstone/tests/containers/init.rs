//! A first process that reaps and passes signals on.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::process::Stdio;
use std::time::Duration;

use crate::crash::{is_alive, kill};
use crate::host::{Host, RUNTIMES, until, wait};

/// The runtimes that can give a container an init here.
fn runtimes(host: &Host, test: &str) -> Vec<&'static str> {
    RUNTIMES
        .into_iter()
        .filter(|runtime| {
            let called = host.call(&["run", "--rm", "--init", "--runtime", runtime, "box", "true"]);
            if called.code == 4 {
                assert!(called.stderr.contains("catatonit"), "{}", called.stderr);
                assert_ne!(*runtime, "youki");
                layerstone_testing::skip(
                    test,
                    "no static init program is installed for runc (apt install tini)",
                );
                return false;
            }
            assert_eq!(called.code, 0, "{}", called.stderr);
            true
        })
        .collect()
}

#[test]
fn with_an_init_exit_codes_and_what_is_seen_are_those_of_the_program() {
    const TEST: &str = "with_an_init_exit_codes_and_what_is_seen_are_those_of_the_program";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in runtimes(&host, TEST) {
        let run = |flags: &[&str], command: &[&str]| {
            host.call(&[&["run", "--rm", "--init", "--runtime", runtime], flags, &["box"], command].concat())
        };
        for (line, code, out) in [
            ("exit 0", 0, ""),
            ("exit 7", 7, ""),
            ("exit 255", 255, ""),
            ("kill -9 $$", 137, ""),
            ("kill -SEGV $$", 139, ""),
            ("test $$ != 1 && echo not the first", 0, "not the first\n"),
            ("pwd; echo $FROM_IMAGE", 0, "/srv\nyes\n"),
        ] {
            let called = run(&[], &["sh", "-c", line]);
            assert_eq!(
                (called.code, called.text().as_str()),
                (code, out),
                "{runtime} {line}: {}",
                called.stderr
            );
        }
        assert_ne!(run(&[], &["nope"]).code, 0, "{runtime}");
        assert_eq!(run(&["-u", "anna"], &["id", "-u"]).text(), "1001\n");
        assert_eq!(
            run(&["-u", "anna", "--read-only"], &["sh", "-c", "echo x > /tmp/x; cat /tmp/x"]).text(),
            "x\n"
        );
        // catatonit leaves a few signals of terminals blocked in the program.
        let signals = if runtime == "youki" { "Sig(Blk|Ign|Cgt)|" } else { "" };
        let wanted = format!("{signals}Seccomp:|Cap|NoNewPrivs");
        let masks = ["grep", "-E", &wanted, "/proc/self/status"];
        let without = host.call(&[&["run", "--rm", "--runtime", runtime, "box"], &masks[..]].concat());
        assert_eq!(run(&[], &masks), without, "{runtime}");
    }
    // Only with the built-in one is a program that cannot be executed known as such: others have their own words for it.
    for (program, code) in [("nope", 127), ("/bin/plain", 126)] {
        let called = host.call(&["run", "--rm", "--init", "box", program]);
        assert_eq!(called.code, code);
        assert!(called.stderr.contains(program), "{}", called.stderr);
    }
    host.assert_clean();
}

#[test]
fn the_built_in_init_has_nothing_of_the_host() {
    let Some(host) = Host::new("the_built_in_init_has_nothing_of_the_host") else { return };
    host.ok(&["run", "-d", "--init", "--name", "c", "box", "tail", "-f", "/dev/null"]);
    let pid = host.state("c")["init"]["pid"].as_i64().unwrap();
    let mut open: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2"]);
    // The copy of the program that shims have: nobody can write to it, busy or not.
    let shim = host.state("c")["shim"]["pid"].as_i64().unwrap();
    let file = |pid: i64| std::fs::metadata(format!("/proc/{pid}/exe")).unwrap().ino();
    assert_eq!(file(pid), file(shim));
    let written = std::fs::File::options().write(true).open(format!("/proc/{pid}/exe"));
    assert_eq!(written.unwrap_err().kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Seccomp:\t2") && status.contains("CapEff:\t00000000800405fb"), "{status}");
    // Not even root of the container may look into it.
    assert!(host.call(&["exec", "c", "readlink", "/proc/1/exe"]).code != 0);
    assert!(host.call(&["exec", "c", "head", "-c", "1", "/proc/1/environ"]).code != 0);
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let own: u64 = rollup
        .lines()
        .filter(|line| line.starts_with("Private_Dirty:"))
        .filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok())
        .sum();
    assert!(own < 1024, "it has {own} KiB of its own");
    host.ok(&["rm", "-f", "c"]);
    host.assert_clean();
}

#[test]
fn an_init_does_what_it_can_below_a_filter_that_hardly_allows_anything() {
    const TEST: &str = "an_init_does_what_it_can_below_a_filter_that_hardly_allows_anything";
    let Some(host) = Host::new(TEST) else { return };
    for (name, calls) in [("close", r#""close_range""#), ("signals", r#""close_range", "rt_sigtimedwait""#)] {
        let profile = format!(
            r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{{"names": [{calls}], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}}]}}"#
        );
        let path = host.path(name);
        std::fs::write(&path, profile).unwrap();
        let option = format!("seccomp={}", path.display());
        let args =
            ["run", "--rm", "--init", "--security-opt", &option, "box", "sh", "-c", "usleep 100000; exit 7"];
        assert_eq!(host.call(&args).code, 7, "{name}");
    }
    let never = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["clone", "clone3", "fork", "vfork"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
    std::fs::write(host.path("fork"), never).unwrap();
    let option = format!("seccomp={}", host.path("fork").display());
    let called = host.call(&["run", "--rm", "--init", "--security-opt", &option, "box", "true"]);
    assert_eq!(called.code, 125);
    assert!(called.stderr.contains("make a process for the program"), "{}", called.stderr);
    host.assert_clean();
}

#[test]
fn orphans_are_collected_by_the_init_and_by_nobody_without_one() {
    const TEST: &str = "orphans_are_collected_by_the_init_and_by_nobody_without_one";
    let Some(host) = Host::new(TEST) else { return };
    let dead = |name: &str| {
        host.ok(&["exec", name, "sh", "-c", "for i in 1 2 3 4 5; do usleep 50000 & done"]);
        std::thread::sleep(Duration::from_millis(300));
        host.ok(&["exec", name, "sh", "-c", "grep -l 'State:.Z' /proc/[0-9]*/status | wc -l"]).text()
    };
    for runtime in RUNTIMES {
        host.ok(&["run", "-d", "--name", runtime, "--runtime", runtime, "box", "tail", "-f", "/dev/null"]);
        assert_eq!(dead(runtime), "5\n", "{runtime} without an init");
        host.ok(&["rm", "-f", runtime]);
    }
    for runtime in runtimes(&host, TEST) {
        let args = [
            "run",
            "-d",
            "--init",
            "--name",
            runtime,
            "--runtime",
            runtime,
            "box",
            "tail",
            "-f",
            "/dev/null",
        ];
        host.ok(&args);
        assert_eq!(dead(runtime), "0\n", "{runtime} with an init");
        // It does not listen to what is not for it, and passes the rest on.
        host.ok(&["exec", runtime, "kill", "-CHLD", "1"]);
        assert_eq!(host.state(runtime)["status"], "running");
        host.ok(&["exec", runtime, "kill", "-TERM", "1"]);
        assert_eq!(host.ok(&["wait", runtime]).text(), "143\n");
    }
    host.assert_clean();
}

#[test]
fn the_init_passes_signals_on_to_the_program() {
    const TEST: &str = "the_init_passes_signals_on_to_the_program";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in runtimes(&host, TEST) {
        let traps = "for s in HUP INT QUIT USR1 USR2 ALRM TERM CONT WINCH PWR; do trap \"echo $s\" $s; done; \
            trap 'exit 9' 37; echo ready; while :; do usleep 10000; done";
        host.ok(&["run", "-d", "--init", "--name", "c", "--runtime", runtime, "box", "sh", "-c", traps]);
        let mut expected = "ready\n".to_owned();
        let logged = |expected: &str| until(expected, || host.ok(&["logs", "c"]).text() == expected);
        logged(&expected);
        for signal in ["HUP", "INT", "QUIT", "USR1", "USR2", "ALRM", "TERM", "CONT", "WINCH", "PWR"] {
            host.ok(&["kill", "-s", signal, "c"]);
            expected.push_str(&format!("{signal}\n"));
            logged(&expected);
        }
        host.ok(&["kill", "-s", "RTMIN+3", "c"]);
        assert_eq!(host.ok(&["wait", "c"]).text(), "9\n", "{runtime}");
        host.ok(&["rm", "c"]);

        // An init of the host counts as started before it listens to signals; it does when its program runs.
        let run = |name: &str| {
            let line = "echo ready; exec sleep 600";
            host.ok(&["run", "-d", "--init", "--name", name, "--runtime", runtime, "box", "sh", "-c", line]);
            until("its program runs", || host.ok(&["logs", name]).text() == "ready\n");
        };
        // A program without a handler: with an init it is not the first process, and so does end.
        run("d");
        host.ok(&["stop", "d"]);
        assert_eq!(host.ok(&["wait", "d"]).text(), "138\n", "{runtime}: 128 and the image's USR1");
        host.ok(&["rm", "d"]);
        run("e");
        host.ok(&["kill", "-s", "RTMIN+5", "e"]);
        assert_eq!(host.ok(&["wait", "e"]).text(), "167\n", "{runtime}");
        host.ok(&["rm", "e"]);
    }
    host.assert_clean();
}

#[test]
fn keys_of_a_terminal_reach_the_program_once_below_an_init() {
    const TEST: &str = "keys_of_a_terminal_reach_the_program_once_below_an_init";
    let Some(host) = Host::new(TEST) else { return };
    let Some(_) = layerstone_testing::tool(TEST, "script") else { return };
    for runtime in runtimes(&host, TEST) {
        let inner = "trap 'echo caught' INT; stty size; read a; while :; do usleep 10000; done";
        let mut client = host
            .typed(&format!("run -it --init --name c --runtime {runtime} box sh -c \"{inner}\""))
            .spawn()
            .unwrap();
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut read = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(read(), "33 99", "{runtime}");
        let mut keys = client.stdin.take().unwrap();
        keys.write_all(b"\r").unwrap();
        std::thread::sleep(Duration::from_millis(200));
        keys.write_all(b"\x03").unwrap();
        std::thread::sleep(Duration::from_millis(500));
        host.ok(&["kill", "c"]);
        assert_eq!(wait(client, "the client"), 137);
        assert_eq!(host.ok(&["logs", "c"]).text().matches("caught").count(), 1, "{runtime}");
        host.ok(&["rm", "c"]);
    }
    host.assert_clean();
}

#[test]
fn the_program_of_an_init_goes_with_its_shim() {
    const TEST: &str = "the_program_of_an_init_goes_with_its_shim";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in runtimes(&host, TEST) {
        let args = ["run", "-d", "--init", "--name", runtime, "--runtime", runtime, "box", "sleep", "600"];
        host.ok(&args);
        let state = host.state(runtime);
        let init = state["init"]["pid"].as_i64().unwrap();
        let children = || std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).unwrap();
        // An init of the host counts as started before its program does.
        until("it has a child", || !children().is_empty());
        let program: i64 = children().trim().parse().expect("it has one child");
        kill(state["shim"]["pid"].as_i64().unwrap());
        assert_eq!(host.state(runtime)["status"], "stopped");
        assert!(!is_alive(init) && !is_alive(program), "{runtime}");
    }
    host.assert_clean();
}

#[test]
fn a_terminal_has_its_size_before_the_program_looks() {
    const TEST: &str = "a_terminal_has_its_size_before_the_program_looks";
    let Some(host) = Host::new(TEST) else { return };
    let Some(_) = layerstone_testing::tool(TEST, "script") else { return };
    for runtime in RUNTIMES {
        host.ok(&["run", "-d", "--name", "c", "--runtime", runtime, "box", "tail", "-f", "/dev/null"]);
        for round in 0..8 {
            let lines =
                ["exec -t c stty size".to_owned(), format!("run --rm -t --runtime {runtime} box stty size")];
            for line in lines {
                let output = host.typed(&line).stdin(Stdio::null()).output().unwrap();
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                assert_eq!(said.trim(), "33 99", "{runtime}, {round}: {line}");
            }
        }
        host.ok(&["rm", "-f", "c"]);
    }
    host.assert_clean();
}
