//! What each verb does, with both runtimes where that makes a difference.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::host::{Host, RUNTIMES, until, wait};

#[test]
fn another_program_runs_in_a_container_with_what_that_has() {
    let Some(host) = Host::new("another_program_runs_in_a_container_with_what_that_has") else { return };
    let table: &[(&[&str], &[&str], i32, &str)] = &[
        (&[], &["true"], 0, ""),
        (&[], &["sh", "-c", "exit 3"], 3, ""),
        (&[], &["sh", "-c", "kill -9 $$"], 137, ""),
        (&[], &["sh", "-c", "echo out; echo err >&2"], 0, "out\n"),
        (&[], &["nope"], 127, ""),
        (&[], &["/bin/plain"], 126, ""),
        (&[], &["pwd"], 0, "/srv\n"),
        (&["-w", "/tmp"], &["pwd"], 0, "/tmp\n"),
        (&[], &["sh", "-c", "echo $A $FROM_IMAGE $HOME"], 0, "1 yes /home/anna\n"),
        (&["-e", "A=2"], &["sh", "-c", "echo $A"], 0, "2\n"),
        (&[], &["id", "-u"], 0, "1001\n"),
        (&["-u", "root"], &["sh", "-c", "id -u; echo $HOME"], 0, "0\n/root\n"),
        (&["-u", "new"], &["id", "-u"], 0, "77\n"),
        (&["-u", "nobody-here"], &["id"], 125, ""),
        (&[], &["grep", "CapEff", "/proc/self/status"], 0, "CapEff:\t0000000000000000\n"),
        (&["-u", "0"], &["grep", "CapEff", "/proc/self/status"], 0, "CapEff:\t00000000800405fb\n"),
        (
            &[],
            &["grep", "-E", "NoNewPrivs|Seccomp:", "/proc/self/status"],
            0,
            "NoNewPrivs:\t1\nSeccomp:\t2\n",
        ),
        (&[], &["sh", "-c", "hostname; ls /sys/class/net"], 0, "inside\nlo\n"),
        (&[], &["sh", "-c", "ls -d /proc/1"], 0, "/proc/1\n"),
        (&["-t"], &["test", "-t", "0"], 0, ""),
        (&["-t"], &["sh", "-c", "echo x; tty | cut -c1-9"], 0, "x\r\n/dev/pts/\r\n"),
        (&["-i"], &["wc", "-c"], 0, "200000\n"),
        (&[], &["wc", "-c"], 0, "0\n"),
        (&[], &["sh", "-c", "cut -d: -f3 /proc/self/cgroup | grep -c layerstone"], 1, "0\n"),
    ];
    let input = vec![b'x'; 200_000];
    for runtime in RUNTIMES {
        let start = [
            "run",
            "-d",
            "--name",
            runtime,
            "--runtime",
            runtime,
            "-u",
            "anna",
            "-e",
            "A=1",
            "--hostname",
            "inside",
            "--security-opt",
            "no-new-privileges",
            "box",
            "sleep",
            "600",
        ];
        host.ok(&start);
        let add = "echo new:x:77:77::/: >> /etc/passwd";
        host.ok(&["exec", "-u", "0", runtime, "sh", "-c", add]);
        for (flags, command, code, out) in table {
            let args = [&["exec"], *flags, &[runtime], *command].concat();
            let input: &[u8] = if flags.contains(&"-i") { &input } else { b"" };
            let called = host.call_with(&args, input);
            assert_eq!(called.code, *code, "{args:?}: {:?} {}", called.text(), called.stderr);
            assert_eq!(called.text(), *out, "{args:?}: {}", called.stderr);
        }
        if runtime == "youki" {
            let id = host.json(&["inspect", runtime])["id"].as_str().unwrap().to_owned();
            let state =
                std::fs::read_dir(host.path("run/containers").join(&id).join("runtime/youki").join(&id));
            let names = state.unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let left: Vec<_> = names.filter(|name| name.starts_with("tenant")).collect();
            assert!(left.is_empty(), "each program that was executed has left something: {left:?}");
        }
        host.ok(&["exec", "-d", runtime, "sh", "-c", "echo done > /tmp/detached"]);
        until("the detached program has written", || {
            host.call(&["exec", runtime, "cat", "/tmp/detached"]).text() == "done\n"
        });
        host.ok(&["stop", "-t", "0", runtime]);
        let refused = host.call(&["exec", runtime, "true"]);
        assert_eq!(refused.code, 125);
        assert!(refused.stderr.contains("stopped"), "{}", refused.stderr);
    }
    host.assert_clean();
}

#[test]
fn a_container_stops_on_its_signal_or_is_killed() {
    let Some(host) = Host::new("a_container_stops_on_its_signal_or_is_killed") else { return };
    for runtime in RUNTIMES {
        // The image says SIGUSR1.
        let obeys = "trap 'echo asked; exit 5' USR1; while :; do usleep 10000; done";
        host.ok(&["run", "-d", "--name", "obeys", "--runtime", runtime, "box", "sh", "-c", obeys]);
        until("it runs", || host.call(&["ps", "-q"]).stdout.len() > 8);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(host.ok(&["stop", "obeys"]).text(), "obeys\n");
        assert_eq!(host.ok(&["wait", "obeys"]).text(), "5\n");
        assert_eq!(host.ok(&["logs", "obeys"]).text(), "asked\n");

        // The first process of a container ignores what it has no handler for.
        let start = [
            "run",
            "-d",
            "--name",
            "stubborn",
            "--runtime",
            runtime,
            "--stop-signal",
            "TERM",
            "box",
            "sleep",
            "600",
        ];
        host.ok(&start);
        let began = Instant::now();
        host.ok(&["stop", "-t", "1", "stubborn"]);
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(host.ok(&["wait", "stubborn"]).text(), "137\n");

        host.ok(&["run", "-d", "--name", "killed", "--runtime", runtime, "box", "sleep", "600"]);
        host.ok(&["kill", "killed"]);
        assert_eq!(host.ok(&["wait", "killed"]).text(), "137\n");
        let again = host.call(&["kill", "killed"]);
        assert_eq!(again.code, 1);
        assert!(again.stderr.contains("stopped"), "{}", again.stderr);
        host.ok(&["stop", "killed"]);

        let realtime = "trap 'exit 6' RTMIN+2; while :; do usleep 10000; done";
        host.ok(&["run", "-d", "--name", "realtime", "--runtime", runtime, "box", "sh", "-c", realtime]);
        std::thread::sleep(Duration::from_millis(200));
        let sent = host.call(&["kill", "-s", "RTMIN+2", "realtime"]);
        assert_eq!(sent.code, 0, "{}", sent.stderr);
        host.ok(&["rm", "-f", "obeys", "stubborn", "killed", "realtime"]);
    }
    host.assert_clean();
}

#[test]
fn a_paused_container_does_nothing_until_it_goes_on_and_can_be_stopped_all_the_same() {
    const TEST: &str = "a_paused_container_does_nothing_until_it_goes_on_and_can_be_stopped_all_the_same";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let count = "while :; do echo tick; usleep 5000; done";
        host.ok(&["run", "-d", "--name", "c", "--runtime", runtime, "box", "sh", "-c", count]);
        until("it has ticked", || host.ok(&["logs", "c"]).stdout.len() > 20);
        host.ok(&["pause", "c"]);
        assert_eq!(host.json(&["ps"])[0]["status"], "paused");
        // What was in the pipe when it was frozen.
        std::thread::sleep(Duration::from_millis(100));
        let before = host.ok(&["logs", "c"]).stdout.len();
        std::thread::sleep(Duration::from_millis(200));
        assert_eq!(host.ok(&["logs", "c"]).stdout.len(), before, "{runtime}");
        assert_eq!(host.call(&["pause", "c"]).code, 1);
        assert_eq!(host.call(&["exec", "c", "true"]).code, 125);
        host.ok(&["unpause", "c"]);
        until("it ticks again", || host.ok(&["logs", "c"]).stdout.len() > before + 20);
        assert_eq!(host.call(&["unpause", "c"]).code, 1);
        host.ok(&["pause", "c"]);
        host.ok(&["stop", "-t", "1", "c"]);
        host.ok(&["rm", "c"]);
        host.ok(&["run", "-d", "--name", "d", "--runtime", runtime, "box", "sleep", "600"]);
        host.ok(&["pause", "d"]);
        host.ok(&["kill", "d"]);
        assert_eq!(host.ok(&["wait", "d"]).text(), "137\n");
        host.ok(&["run", "-d", "--name", "e", "--runtime", runtime, "box", "sleep", "600"]);
        host.ok(&["pause", "e"]);
        host.ok(&["rm", "-f", "d", "e"]);
    }
    host.assert_clean();
}

#[test]
fn the_log_has_every_byte_and_can_be_followed_and_cut() {
    let Some(host) = Host::new("the_log_has_every_byte_and_can_be_followed_and_cut") else { return };
    // More than one file of the log.
    let line = "seq 1 400000; printf 'bytes \\377\\000 and \\303\\244'; echo error >&2";
    let run = host.ok(&["run", "--name", "big", "box", "sh", "-c", line]);
    let logged = host.ok(&["logs", "big"]);
    assert!(run.stdout.len() > 2_000_000);
    assert!(run.stdout.ends_with(b"bytes \xff\x00 and \xc3\xa4"));
    assert!(logged.stdout == run.stdout, "{} logged of {}", logged.stdout.len(), run.stdout.len());
    assert_eq!(logged.stderr, "error\n");
    assert!(
        host.path("store/containers").join(&host.ids()[0]).join("log.jsonl.1").exists(),
        "it was not rotated"
    );
    let tail = host.ok(&["logs", "--tail", "3", "big"]);
    assert!(tail.text().starts_with("400000\n") || tail.text().starts_with("399999\n"), "{:?}", tail.text());
    assert_eq!(host.ok(&["logs", "--since", "2099-01-01T00:00:00Z", "big"]).text(), "");
    assert_eq!(host.ok(&["logs", "--since", "1h", "big"]).stdout.len(), run.stdout.len());
    assert_eq!(host.call(&["logs", "--since", "tomorrow", "big"]).code, 2);
    let stamped = host.ok(&["logs", "-t", "-n", "2", "big"]).text();
    assert!(stamped.contains("T") && stamped.contains("Z "), "{stamped}");

    let slow = "for i in 1 2 3 4 5; do echo $i; usleep 100000; done";
    host.ok(&["run", "-d", "--name", "slow", "box", "sh", "-c", slow]);
    assert_eq!(host.ok(&["logs", "-f", "slow"]).text(), "1\n2\n3\n4\n5\n");
    // One that removes itself is followed to its end too.
    host.ok(&["run", "-d", "--rm", "--name", "gone", "box", "sh", "-c", slow]);
    assert!(host.ok(&["logs", "-f", "gone"]).text().starts_with("1\n2\n3\n4\n"));
    host.assert_clean();
}

#[test]
fn input_goes_to_the_program_and_signals_of_the_client_too() {
    let Some(host) = Host::new("input_goes_to_the_program_and_signals_of_the_client_too") else { return };
    let input: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    for runtime in RUNTIMES {
        let called = host.call_with(&["run", "--rm", "-i", "--runtime", runtime, "box", "cat"], &input);
        assert!(called.stdout == input, "{runtime}: {} of {}", called.stdout.len(), input.len());
        // A program that reads nothing does not keep its client from ending.
        let called = host.call_with(&["run", "--rm", "-i", "--runtime", runtime, "box", "true"], &input);
        assert_eq!(called.code, 0);

        let line = "trap 'echo caught; exit 4' TERM; echo ready; while :; do usleep 10000; done";
        let args = ["run", "--rm", "--runtime", runtime, "box", "sh", "-c", line];
        let mut client = host.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        assert_eq!(first, "ready\n");
        let pid = client.id().to_string();
        std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert_eq!(wait(client, "the client"), 4);
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "caught\n");
    }
    host.assert_clean();
}

#[test]
fn a_terminal_passes_keys_and_sizes_on_and_can_be_let_go_of() {
    const TEST: &str = "a_terminal_passes_keys_and_sizes_on_and_can_be_let_go_of";
    let Some(host) = Host::new(TEST) else { return };
    let Some(_) = layerstone_testing::tool(TEST, "script") else { return };
    for runtime in RUNTIMES {
        let run = |name: &str, rest: &str| {
            let binary = env!("CARGO_BIN_EXE_layerstone");
            let line = format!(
                "stty rows 33 cols 99; exec {binary} run -it --name {name} --runtime {runtime} box {rest}"
            );
            let mut command = host.command(&[]);
            let environment: Vec<_> =
                command.get_envs().map(|(k, v)| (k.to_owned(), v.unwrap_or_default().to_owned())).collect();
            command = std::process::Command::new("script");
            command.envs(environment).args(["-qec", &line, "/dev/null"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut client = run("t", "sh -c 'stty size; read line; echo got:$line; read other'");
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut read = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        assert_eq!(read(), "33 99", "{runtime}");
        let mut keys = client.stdin.take().unwrap();
        keys.write_all(b"hello\r").unwrap();
        assert_eq!(read(), "hello");
        assert_eq!(read(), "got:hello");
        keys.write_all(b"\x10\x11").unwrap();
        assert_eq!(wait(client, "the client that lets go"), 0);
        assert_eq!(host.json(&["ps"])[0]["status"], "running");
        host.ok(&["rm", "-f", "t"]);

        // Ctrl-c is a key, and becomes a signal in the container.
        let mut client = run("c", "sh -c 'trap \"exit 8\" INT; echo ready; while :; do usleep 10000; done'");
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "ready");
        client.stdin.take().unwrap().write_all(b"\x03").unwrap();
        assert_eq!(wait(client, "the client of the interrupted program"), 8, "{runtime}");
        host.ok(&["rm", "c"]);
    }
    host.assert_clean();
}

#[test]
fn containers_have_names_and_are_listed_inspected_measured_and_removed() {
    const TEST: &str = "containers_have_names_and_are_listed_inspected_measured_and_removed";
    let Some(host) = Host::new(TEST) else { return };
    let id = host
        .ok(&["run", "-d", "--name", "one", "--memory", "64m", "box", "sh", "-c", "while :; do :; done"])
        .text();
    let id = id.trim();
    assert_eq!(id.len(), 64);
    let taken = host.call(&["run", "--name", "one", "box", "true"]);
    assert_eq!(taken.code, 125);
    assert!(taken.stderr.contains("hint:"), "{}", taken.stderr);
    assert_eq!(host.call(&["run", "--name", "no!", "box", "true"]).code, 125);
    assert_eq!(host.call(&["run", "nothing-here", "true"]).code, 125);
    assert_eq!(host.ids().len(), 1, "a failed run has left a container");

    assert!(host.ok(&["ps"]).text().contains("one"));
    assert_eq!(host.ok(&["ps", "-q"]).text(), format!("{}\n", &id[..12]));
    let inspected = host.json(&["inspect", &id[..6]]);
    assert_eq!(inspected["name"], "one");
    assert_eq!(inspected["spec"]["linux"]["cgroupsPath"], format!("/layerstone/{id}"));
    assert_eq!(inspected["spec"]["linux"]["resources"]["memory"]["limit"], 64 << 20);

    let stats = host.json(&["stats", "--no-stream"]);
    assert_eq!(stats[0]["memory_limit"], 64 << 20, "{stats}");
    assert!(stats[0]["cpu_percent"].as_f64().unwrap() > 1.0, "{stats}");
    assert!(stats[0]["pids"].as_u64().unwrap() >= 1, "{stats}");

    let refused = host.call(&["rm", "one"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("-f"), "{}", refused.stderr);
    host.ok(&["rm", "-f", "one"]);
    assert_eq!(host.call(&["inspect", "one"]).code, 1);
    assert_eq!(host.call(&["rm", "one"]).code, 1);
    let verbose = host.ok(&["-v", "run", "--rm", "--runtime", "runc", "box", "true"]);
    assert!(verbose.stderr.contains("runtime: ") && verbose.stderr.contains("runc"), "{}", verbose.stderr);
    // What a container has changed can become an image.
    host.ok(&["run", "--name", "two", "box", "sh", "-c", "echo changed > /etc/motd"]);
    let scratch = host.json(&["inspect", "two"])["scratch"].as_str().unwrap().to_owned();
    host.ok(&["commit", &scratch, "box2"]);
    assert_eq!(host.ok(&["run", "--rm", "box2"]).text(), "changed\n");
    host.assert_clean();
}

#[test]
fn a_container_joins_a_network_namespace_that_exists() {
    const TEST: &str = "a_container_joins_a_network_namespace_that_exists";
    let Some(host) = Host::new(TEST) else { return };
    let Some(mut unshare) = layerstone_testing::tool(TEST, "unshare") else { return };
    let mut holder = unshare.args(["--net", "sleep", "60"]).spawn().unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let own = std::fs::read_link("/proc/self/ns/net").unwrap();
    until("it has a network of its own", || std::fs::read_link(&path).is_ok_and(|link| link != own));
    let expected = std::fs::read_link(&path).unwrap().to_string_lossy().into_owned();
    for runtime in RUNTIMES {
        let network = format!("ns:{path}");
        let called = host.call(&[
            "run",
            "--rm",
            "--runtime",
            runtime,
            "--network",
            &network,
            "box",
            "readlink",
            "/proc/self/ns/net",
        ]);
        assert_eq!(
            (called.code, called.text().trim()),
            (0, expected.as_str()),
            "{runtime}: {}",
            called.stderr
        );
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    host.assert_clean();
}

#[test]
fn containers_have_labels_and_are_listed_by_them_their_names_and_their_states() {
    const TEST: &str = "containers_have_labels_and_are_listed_by_them_their_names_and_their_states";
    let Some(host) = Host::new(TEST) else { return };
    host.ok(&["create", "--name", "web-1", "-l", "tier=front", "--label", "note=a=b", "-l", "bare", "box"]);
    host.ok(&["run", "-d", "--name", "web-2", "-l", "tier=back", "box", "sleep", "600"]);
    host.ok(&["run", "--name", "job", "box", "true"]);
    let labels = host.json(&["inspect", "web-1"])["labels"].clone();
    assert_eq!(labels, serde_json::json!({"tier": "front", "note": "a=b", "bare": ""}));
    assert!(host.ok(&["inspect", "web-1"]).text().contains("note=a=b"));
    let listed = |flags: &[&str]| {
        let rows = host.json(&[&["ps"], flags].concat());
        let mut names: Vec<String> =
            rows.as_array().unwrap().iter().map(|row| row["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names.join(" ")
    };
    for (flags, names) in [
        (&["-f", "label=tier"][..], "web-2"),
        (&["-a", "-f", "label=tier"], "web-1 web-2"),
        (&["-a", "-f", "label=tier=front"], "web-1"),
        (&["-a", "-f", "label=tier", "-f", "label=bare"], "web-1"),
        (&["-a", "--filter", "name=web"], "web-1 web-2"),
        (&["-f", "status=created"], "web-1"),
        (&["-f", "status=exited"], "job"),
        (&["-f", "status=stopped"], "job"),
        (&["-f", "status=running", "-f", "name=job"], ""),
    ] {
        assert_eq!(listed(flags), names, "{flags:?}");
    }
    assert_eq!(host.call(&["ps", "-f", "color=red"]).code, 2);
    host.ok(&["rm", "-f", "-a"]);
    host.assert_clean();
}
