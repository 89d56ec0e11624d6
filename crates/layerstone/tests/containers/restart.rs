//! Containers that are started again: by somebody, or by their restart policy.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::crash::{is_alive, kill};
use crate::host::{Host, RUNTIMES, cgroups_of, until, wait};

/// A program that fails at once, and says that it ran.
const FAILS: [&str; 3] = ["sh", "-c", "echo run; exit 4"];

/// `run` with these flags and `FAILS`.
fn failing<'a>(flags: &[&'a str]) -> Vec<&'a str> {
    [&["run"], flags, &["box"], &FAILS].concat()
}

fn lines(host: &Host, name: &str) -> usize {
    host.ok(&["logs", name]).text().lines().count()
}

#[test]
fn a_container_that_was_made_or_has_stopped_is_started_and_keeps_its_files_and_its_log() {
    const TEST: &str = "a_container_that_was_made_or_has_stopped_is_started_and_keeps_its_files_and_its_log";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let line = "echo x >> /kept; wc -l < /kept; exit $(wc -l < /kept)";
        let id = host.ok(&["create", "--name", "c", "--runtime", runtime, "box", "sh", "-c", line]).text();
        assert_eq!(id.trim().len(), 64);
        assert_eq!(host.state("c")["status"], "created");
        assert_eq!(host.ok(&["ps", "-q"]).text(), "");
        for count in 1..4 {
            let called = host.call(&["start", "-a", "c"]);
            assert_eq!((called.code, called.text()), (count, format!("{count}\n")), "{}", called.stderr);
            assert_eq!(host.ok(&["wait", "c"]).text(), format!("{count}\n"));
        }
        assert_eq!(host.ok(&["start", "c"]).text(), "c\n");
        assert_eq!(host.ok(&["wait", "c"]).text(), "4\n");
        assert_eq!(host.ok(&["logs", "c"]).text(), "1\n2\n3\n4\n");
        host.ok(&["rm", "c"]);

        // One that runs: starting it is nothing, restarting it ends it first.
        let line = "trap 'exit 5' TERM; echo $(cat /n 2>/dev/null)n > /n; while :; do usleep 10000; done";
        let start = ["--stop-signal", "TERM", "--runtime", runtime, "box", "sh", "-c", line];
        host.ok(&[&["run", "-d", "--name", "d"], start.as_slice()].concat());
        let before = host.state("d");
        host.ok(&["start", "d"]);
        assert_eq!(host.state("d"), before);
        let refused = host.call(&["start", "-a", "d"]);
        assert_eq!(refused.code, 125);
        assert!(refused.stderr.contains("running"), "{}", refused.stderr);
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(host.ok(&["restart", "d"]).text(), "d\n");
        let after = host.state("d");
        assert_eq!(after["status"], "running");
        assert!(after.get("exit").is_none() && after["restarts"] == 0, "{after}");
        assert_ne!(after["init"], before["init"]);
        assert!(!is_alive(before["init"]["pid"].as_i64().unwrap()));
        until("it has counted", || host.call(&["exec", "d", "cat", "/n"]).text() == "nn\n");
        host.ok(&["stop", "d"]);
        assert_eq!(host.ok(&["wait", "d"]).text(), "5\n");
        host.ok(&["restart", "d"]);
        assert_eq!(host.state("d")["status"], "running");
        host.ok(&["rm", "-f", "d"]);
    }
    host.assert_clean();
}

#[test]
fn a_container_that_removes_itself_can_be_made_for_later_but_not_restarted() {
    const TEST: &str = "a_container_that_removes_itself_can_be_made_for_later_but_not_restarted";
    let Some(host) = Host::new(TEST) else { return };
    host.ok(&["create", "--rm", "--name", "later", "box", "echo", "now"]);
    // Its maker has ended, and others have looked.
    assert_eq!(host.json(&["ps", "-a"]).as_array().unwrap().len(), 1);
    assert_eq!(host.ok(&["start", "-a", "later"]).text(), "now\n");
    assert!(host.ids().is_empty());

    host.ok(&["run", "-d", "--rm", "--name", "brief", "box", "sleep", "600"]);
    let refused = host.call(&["restart", "brief"]);
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("removed"), "{}", refused.stderr);
    assert_eq!(host.state("brief")["status"], "running");
    host.ok(&["rm", "-f", "brief"]);

    let refused = host.call(&["run", "--rm", "--restart", "always", "box", "true"]);
    assert_eq!(refused.code, 125);
    assert!(refused.stderr.contains("--rm"), "{}", refused.stderr);
    let called = host.call(&failing(&["--rm", "--restart", "on-failure:1"]));
    assert_eq!((called.code, called.text()), (4, "run\nrun\n".to_owned()));
    assert!(host.ids().is_empty());
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    host.assert_clean();
}

#[test]
fn each_restart_policy_starts_what_it_is_for_and_an_attached_client_sees_every_run() {
    const TEST: &str = "each_restart_policy_starts_what_it_is_for_and_an_attached_client_sees_every_run";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        for (policy, code, runs) in [("no", 4, 1), ("on-failure:0x", 125, 0), ("on-failure:2", 4, 3)] {
            let name = format!("{runtime}-{}", policy.replace(':', "-"));
            let args = failing(&["--name", &name, "--runtime", runtime, "--restart", policy]);
            let called = host.call(&args);
            assert_eq!((called.code, called.text()), (code, "run\n".repeat(runs)), "{}", called.stderr);
            if runs > 0 {
                assert_eq!(lines(&host, &name), runs);
                let state = host.state(&name);
                assert_eq!(state["restarts"], runs - 1, "{state}");
                assert_eq!((&state["status"], &state["exit"]["code"]), (&"stopped".into(), &4.into()));
                assert_eq!(host.ok(&["wait", &name]).text(), "4\n");
            }
        }
        // What cannot be executed at all is an error, and no end.
        let called =
            host.call(&["run", "--name", "nope", "--restart", "always", "--runtime", runtime, "box", "nope"]);
        assert_eq!(called.code, 127, "{}", called.stderr);
        let state = host.state("nope");
        assert_eq!((&state["status"], &state["restarts"]), (&"stopped".into(), &0.into()), "{state}");
        host.ok(&["rm", "nope"]);
        // What ends well has not failed.
        let fine = "echo run; test -f /second && exit 0; touch /second; exit 1";
        let args = [
            "run",
            "--name",
            "fine",
            "--restart",
            "on-failure",
            "--runtime",
            runtime,
            "box",
            "sh",
            "-c",
            fine,
        ];
        let called = host.call(&args);
        assert_eq!((called.code, called.text()), (0, "run\nrun\n".to_owned()), "{}", called.stderr);
        // What is always started again ends when somebody says so, with whatever reason it ends itself.
        let args =
            ["run", "-d", "--name", "always", "--restart", "always", "--runtime", runtime, "box", "sh"];
        host.ok(&[&args[..], &["-c", "echo run"]].concat());
        until("it has run often", || lines(&host, "always") >= 4);
        assert_eq!(host.json(&["ps"]).as_array().unwrap().len(), 1, "what waits is listed");
        host.ok(&["stop", "always"]);
        let state = host.state("always");
        assert_eq!((&state["status"], &state["stop_wanted"]), (&"stopped".into(), &true.into()), "{state}");
        assert!(state["restarts"].as_u64().unwrap() >= 3, "{state}");
        let runs = lines(&host, "always");
        // Somebody starts it, and it counts from the beginning.
        host.ok(&["start", "always"]);
        until("it runs again and again", || lines(&host, "always") >= runs + 2);
        assert!(host.state("always")["restarts"].as_u64().unwrap() < 3);
        host.ok(&["rm", "-f", "always", "fine"]);
    }
    host.assert_clean();
}

#[test]
fn signals_that_ask_for_the_end_are_the_end_and_others_are_not() {
    const TEST: &str = "signals_that_ask_for_the_end_are_the_end_and_others_are_not";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let line = "trap 'exit 5' HUP; trap 'exit 6' TERM; trap 'exit 7' USR1; echo run; while :; do usleep 10000; done";
        let args =
            ["run", "-d", "--name", "c", "--restart", "always", "--runtime", runtime, "box", "sh", "-c"];
        host.ok(&[&args[..], &[line]].concat());
        until("it runs", || lines(&host, "c") == 1);
        host.ok(&["kill", "-s", "HUP", "c"]);
        until("it runs again", || lines(&host, "c") == 2 && host.state("c")["status"] == "running");
        assert_eq!(host.state("c")["restarts"], 1);
        // USR1 is the image's stop signal.
        for (signal, code) in [("TERM", "6\n"), ("USR1", "7\n"), ("KILL", "137\n")] {
            let before = lines(&host, "c");
            host.ok(&["kill", "-s", signal, "c"]);
            assert_eq!(host.ok(&["wait", "c"]).text(), code, "{runtime} {signal}");
            host.ok(&["start", "c"]);
            until("it runs", || lines(&host, "c") == before + 1);
        }
        host.ok(&["stop", "c"]);
        assert_eq!(host.ok(&["wait", "c"]).text(), "7\n");
        host.ok(&["rm", "c"]);
    }
    host.assert_clean();
}

#[test]
fn the_wait_before_a_restart_doubles_each_time() {
    let Some(host) = Host::new("the_wait_before_a_restart_doubles_each_time") else { return };
    let called = host.call(&failing(&["--name", "c", "--restart", "on-failure:4"]));
    assert_eq!(called.code, 4);
    let log = host.ok(&["--json", "logs", "c"]).text();
    let times: Vec<f64> = log
        .lines()
        .map(|line| {
            let record: serde_json::Value = serde_json::from_str(line).unwrap();
            let time: jiff::Timestamp = record["time"].as_str().unwrap().parse().unwrap();
            time.as_millisecond() as f64
        })
        .collect();
    assert_eq!(times.len(), 5);
    let mut least = 100.0;
    for pair in times.windows(2) {
        assert!(pair[1] - pair[0] >= least, "{times:?}");
        least *= 2.0;
    }
    host.assert_clean();
}

/// Runs a container that fails again and again, until it waits for a second or more.
fn until_it_waits(host: &Host, flags: &[&str]) {
    host.ok(&failing(&[&["-d", "--restart", "always", "--name", "c"], flags].concat()));
    until("it waits for long", || {
        let state = host.state("c");
        // It has no process while it waits; it has one, for a moment, when it is about to run.
        state["status"] == "restarting"
            && state.get("init").is_none()
            && state["restarts"].as_u64().unwrap() >= 4
    });
}

#[test]
fn a_container_that_waits_to_be_started_again_is_ended_at_once() {
    let Some(host) = Host::new("a_container_that_waits_to_be_started_again_is_ended_at_once") else { return };
    for (runtime, verb) in [
        ("youki", &["stop", "c"][..]),
        ("runc", &["stop", "c"]),
        ("youki", &["kill", "c"]),
        ("youki", &["kill", "-s", "TERM", "c"]),
        ("youki", &["rm", "-f", "c"]),
    ] {
        until_it_waits(&host, &["--runtime", runtime]);
        let id = host.json(&["inspect", "c"])["id"].as_str().unwrap().to_owned();
        let row = host.json(&["ps"])[0].clone();
        assert_eq!((&row["status"], &row["exit_code"]), (&"restarting".into(), &4.into()), "{row}");
        assert!(cgroups_of(&id).is_empty(), "what waits has a control group");
        for refused in
            [&["exec", "c", "true"][..], &["pause", "c"], &["kill", "-s", "HUP", "c"], &["rm", "c"]]
        {
            let called = host.call(refused);
            assert!(
                called.code != 0 && called.stderr.contains("restarting"),
                "{refused:?}: {}",
                called.stderr
            );
        }
        assert_eq!(host.call(&["stats", "--no-stream"]).code, 0);
        let waiting = host.command(&["wait", "c"]).stdout(Stdio::null()).spawn().unwrap();
        let before = Instant::now();
        host.ok(verb);
        assert_eq!(wait(waiting, "the one that waits"), 0);
        assert!(before.elapsed() < Duration::from_secs(1), "{verb:?} took {:?}", before.elapsed());
        if verb[0] != "rm" {
            let state = host.state("c");
            assert_eq!((&state["status"], &state["exit"]["code"]), (&"stopped".into(), &4.into()), "{state}");
            host.ok(&["rm", "c"]);
        }
        host.assert_clean();
    }
}

#[test]
fn an_attached_client_that_is_asked_to_end_ends_what_waits_to_be_started_again() {
    const TEST: &str = "an_attached_client_that_is_asked_to_end_ends_what_waits_to_be_started_again";
    let Some(host) = Host::new(TEST) else { return };
    let args = failing(&["--restart", "always", "--name", "c", "-i"]);
    let mut client = host.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(client.stdout.take().unwrap());
    for _ in 0..4 {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "run\n");
    }
    until("it waits", || host.state("c")["status"] == "restarting" && host.state("c").get("init").is_none());
    Command::new("kill").args(["-TERM", &client.id().to_string()]).status().unwrap();
    assert_eq!(wait(client, "the client"), 4);
    assert_eq!(host.state("c")["status"], "stopped");
    host.assert_clean();
}

#[test]
fn a_container_whose_shim_is_killed_while_it_waits_has_stopped_and_can_be_started() {
    const TEST: &str = "a_container_whose_shim_is_killed_while_it_waits_has_stopped_and_can_be_started";
    let Some(host) = Host::new(TEST) else { return };
    until_it_waits(&host, &[]);
    let shim = host.state("c")["shim"]["pid"].as_i64().unwrap();
    kill(shim);
    let state = host.state("c");
    // The program has ended by itself, and that is what is known of it.
    assert_eq!((&state["status"], &state["exit"]["code"]), (&"stopped".into(), &4.into()), "{state}");
    host.assert_clean();
    let runs = lines(&host, "c");
    host.ok(&["start", "c"]);
    until("it runs again and again", || lines(&host, "c") >= runs + 2);
    host.ok(&["rm", "-f", "c"]);
    host.assert_clean();
}

#[test]
fn a_program_that_is_gone_when_it_is_started_again_has_failed() {
    let Some(host) = Host::new("a_program_that_is_gone_when_it_is_started_again_has_failed") else { return };
    let once = "#!/bin/sh\nrm $0\nexit 3\n";
    for runtime in RUNTIMES {
        std::fs::write(host.path("once"), once).unwrap();
        let made =
            ["create", "--name", "c", "--restart", "on-failure:2", "--runtime", runtime, "box", "/srv/once"];
        host.ok(&made);
        // Where the container writes, before it runs.
        let scratch = host.json(&["inspect", "c"])["scratch"].as_str().unwrap().to_owned();
        let point = host.path("point");
        std::fs::create_dir_all(&point).unwrap();
        let point = point.to_str().unwrap();
        host.ok(&["mount", &scratch, point]);
        std::fs::write(format!("{point}/srv/once"), once).unwrap();
        std::fs::set_permissions(
            format!("{point}/srv/once"),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        host.ok(&["umount", point]);
        let called = host.call(&["start", "-a", "c"]);
        assert_eq!(called.code, 127, "{runtime}: {}", called.stderr);
        let state = host.state("c");
        assert_eq!((&state["restarts"], &state["exit"]["code"]), (&2.into(), &127.into()), "{state}");
        assert!(state["exit"]["error"].as_str().unwrap().contains("once"), "{state}");
        // Now that is the first start, and an error.
        let called = host.call(&["start", "c"]);
        assert_eq!(called.code, 127, "{}", called.stderr);
        assert!(called.stderr.contains("once"), "{}", called.stderr);
        assert_eq!(host.state("c")["restarts"], 0);
        host.ok(&["rm", "c"]);
    }
    host.assert_clean();
}

#[test]
fn a_terminal_is_a_new_one_of_the_same_size_after_a_restart() {
    const TEST: &str = "a_terminal_is_a_new_one_of_the_same_size_after_a_restart";
    let Some(host) = Host::new(TEST) else { return };
    let Some(_) = layerstone_testing::tool(TEST, "script") else { return };
    for runtime in RUNTIMES {
        let words = format!(
            "run -it --restart on-failure:1 --runtime {runtime} box sh -c 'stty size; read a; echo $a; exit 3'"
        );
        let mut client = host.typed(&words).spawn().unwrap();
        let mut out = BufReader::new(client.stdout.take().unwrap());
        let mut keys = client.stdin.take().unwrap();
        let mut read = || {
            let mut line = String::new();
            out.read_line(&mut line).unwrap();
            line.trim().to_owned()
        };
        for word in ["first", "second"] {
            assert_eq!(read(), "33 99", "{runtime}");
            keys.write_all(format!("{word}\r").as_bytes()).unwrap();
            // What is typed is shown, and then printed.
            assert_eq!((read(), read()), (word.to_owned(), word.to_owned()), "{runtime}");
        }
        assert_eq!(wait(client, "the client"), 3, "{runtime}");
    }
    host.assert_clean();
}

#[test]
fn a_shim_does_not_grow_with_each_restart() {
    let Some(host) = Host::new("a_shim_does_not_grow_with_each_restart") else { return };
    for runtime in RUNTIMES {
        host.ok(&failing(&["-d", "--restart", "always", "--name", "c", "--runtime", runtime]));
        let open_after = |restarts: u64| {
            until("it waits", || {
                let state = host.state("c");
                state.get("init").is_none() && state["restarts"].as_u64().unwrap() == restarts
            });
            let shim = host.state("c")["shim"]["pid"].as_i64().unwrap();
            std::fs::read_dir(format!("/proc/{shim}/fd")).unwrap().count()
        };
        assert_eq!(open_after(1), open_after(4), "{runtime}");
        host.ok(&["rm", "-f", "c"]);
    }
    host.assert_clean();
}
