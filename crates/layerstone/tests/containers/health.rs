//! Health checks: what they say, and what is done when it is bad.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::host::{Host, RUNTIMES, until};

/// A program that goes on until it is asked to stop, without a `sleep` of its own.
const STAYS: [&str; 3] = ["tail", "-f", "/dev/null"];

fn start(host: &Host, name: &str, flags: &[&str]) {
    let args = [&["run", "-d", "--name", name, "--health-interval", "100ms"], flags, &["box"], &STAYS];
    host.ok(&args.concat());
}

fn health(host: &Host, name: &str) -> Value {
    host.state(name)["health"].clone()
}

/// Waits until a container is said to be so.
fn until_it_is(host: &Host, name: &str, status: &str) -> Value {
    until(status, || health(host, name)["status"] == status);
    health(host, name)
}

#[test]
fn a_container_is_starting_then_unhealthy_after_its_retries_and_healthy_when_a_check_succeeds() {
    const TEST: &str =
        "a_container_is_starting_then_unhealthy_after_its_retries_and_healthy_when_a_check_succeeds";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let check = "echo looked at $(id -u) >&2; test -f /well";
        let flags = ["--health-cmd", check, "--health-retries", "3", "--runtime", runtime, "-u", "anna"];
        let before = Instant::now();
        start(&host, "c", &flags);
        // The first look is at once, two more follow.
        let seen = until_it_is(&host, "c", "unhealthy");
        assert!(before.elapsed() >= Duration::from_millis(200));
        assert!(seen["failing_streak"].as_u64().unwrap() >= 3, "{seen}");
        let look = &seen["log"][0];
        assert_eq!((&look["exit_code"], &look["output"]), (&1.into(), &"looked at 1001\n".into()), "{look}");
        assert!(look["start"].as_str().unwrap() <= look["end"].as_str().unwrap(), "{look}");
        assert_eq!(host.json(&["ps"])[0]["health"], "unhealthy");
        assert_eq!(host.json(&["ps", "--filter", "health=healthy"]).as_array().unwrap().len(), 0);
        assert!(host.ok(&["ps"]).text().contains("running (unhealthy)"));
        host.ok(&["exec", "-u", "0", "c", "touch", "/well"]);
        let seen = until_it_is(&host, "c", "healthy");
        assert_eq!(seen["failing_streak"], 0, "{seen}");
        assert!(seen["log"].as_array().unwrap().len() <= 5, "{seen}");
        // Some failures are none.
        host.ok(&["exec", "-u", "0", "c", "rm", "/well"]);
        until("one has failed", || health(&host, "c")["failing_streak"].as_u64().unwrap() > 0);
        until_it_is(&host, "c", "unhealthy");
        assert_eq!(host.ok(&["logs", "c"]).text(), "", "what checks print is no output of the container");
        host.ok(&["rm", "-f", "c"]);
    }
    host.assert_clean();
}

#[test]
fn failures_in_the_start_period_do_not_count_and_a_success_does() {
    let Some(host) = Host::new("failures_in_the_start_period_do_not_count_and_a_success_does") else {
        return;
    };
    let flags = ["--health-cmd", "test -f /well", "--health-retries", "1", "--health-start-period", "3s"];
    let before = Instant::now();
    start(&host, "late", &flags);
    until("it was looked at", || health(&host, "late")["log"].as_array().unwrap().len() >= 3);
    let seen = health(&host, "late");
    if before.elapsed() < Duration::from_secs(3) {
        assert_eq!((&seen["status"], &seen["failing_streak"]), (&"starting".into(), &0.into()), "{seen}");
    }
    until_it_is(&host, "late", "unhealthy");
    assert!(before.elapsed() >= Duration::from_secs(3));

    start(&host, "early", &["--health-cmd", "true", "--health-start-period", "1h"]);
    until_it_is(&host, "early", "healthy");
    host.ok(&["rm", "-f", "-a"]);
    host.assert_clean();
}

#[test]
fn a_check_that_takes_too_long_is_killed_with_what_it_has_started() {
    let Some(host) = Host::new("a_check_that_takes_too_long_is_killed_with_what_it_has_started") else {
        return;
    };
    for runtime in RUNTIMES {
        let check = "echo begun; sleep 300 & sleep 300";
        let flags = ["--health-cmd", check, "--health-timeout", "400ms", "--health-retries", "2"];
        start(&host, "c", &[&flags[..], &["--runtime", runtime]].concat());
        let seen = until_it_is(&host, "c", "unhealthy");
        let look = &seen["log"][0];
        assert_eq!(look["exit_code"], Value::Null, "{look}");
        assert!(look["output"].as_str().unwrap().contains("longer than 400ms"), "{look}");
        host.ok(&["exec", "c", "true"]);
        // One may be being made: then it has two of them.
        let asleep = host.call(&["exec", "c", "sh", "-c", "pgrep sleep | wc -l"]).text();
        assert!(asleep.trim().parse::<u32>().unwrap() <= 2, "{runtime}: {asleep}");
        host.ok(&["rm", "-f", "c"]);
    }
    host.assert_clean();
}

#[test]
fn what_is_unhealthy_is_killed_started_again_or_stopped_as_was_asked_for() {
    const TEST: &str = "what_is_unhealthy_is_killed_started_again_or_stopped_as_was_asked_for";
    let Some(host) = Host::new(TEST) else { return };
    let sick = ["--health-cmd", "false", "--health-retries", "2", "--health-on-failure"];
    for runtime in RUNTIMES {
        let with =
            |action, more: &[&'static str]| [&sick[..], &[action, "--runtime", runtime], more].concat();
        start(&host, "kill", &with("kill", &[]));
        assert_eq!(host.ok(&["wait", "kill"]).text(), "137\n");
        let state = host.state("kill");
        assert!(state["exit"]["error"].as_str().unwrap().contains("unhealthy"), "{state}");
        assert_eq!((&state["restarts"], &state["stop_wanted"]), (&0.into(), &false.into()));

        // The policy says what follows.
        start(&host, "policy", &with("kill", &["--restart", "on-failure:1"]));
        assert_eq!(host.ok(&["wait", "policy"]).text(), "137\n");
        assert_eq!(host.state("policy")["restarts"], 1);

        start(&host, "again", &with("restart", &[]));
        until("it was started again", || host.state("again")["restarts"].as_u64().unwrap() >= 2);
        host.ok(&["stop", "-t", "0", "again"]);
        assert_eq!(host.state("again")["status"], "stopped");

        let line = "trap 'echo asked; exit 6' TERM; while :; do usleep 10000; done";
        let flags = with("stop", &["--stop-signal", "TERM", "--restart", "always"]);
        let args = [
            &["run", "--name", "stop", "--health-interval", "300ms"],
            &flags[..],
            &["box", "sh", "-c", line],
        ];
        let called = host.call(&args.concat());
        assert_eq!((called.code, called.text()), (6, "asked\n".to_owned()), "{}", called.stderr);
        assert_eq!(host.state("stop")["stop_wanted"], true);

        // What does not listen is killed after a while.
        start(&host, "deaf", &with("stop", &["--stop-timeout", "1"]));
        assert_eq!(host.ok(&["wait", "deaf"]).text(), "137\n");
        host.ok(&["rm", "-a"]);
    }
    host.assert_clean();
}

#[test]
fn the_check_of_the_image_is_made_unless_another_one_or_none_is_asked_for() {
    const TEST: &str = "the_check_of_the_image_is_made_unless_another_one_or_none_is_asked_for";
    let Some(host) = Host::new(TEST) else { return };
    host.import(
        "checked",
        &json!({"Healthcheck": {
            "Test": ["CMD-SHELL", "echo of the image"], "Interval": 200_000_000, "Timeout": 5_000_000_000_u64, "Retries": 7,
        }}),
    );
    let of = |name: &str, flags: &[&str]| {
        host.ok(&[&["run", "-d", "--name", name], flags, &["checked"], &STAYS].concat());
        host.json(&["inspect", name])["health"].clone()
    };
    let check = of("image", &[]);
    assert_eq!(
        check,
        json!({
            "command": ["/bin/sh", "-c", "echo of the image"], "interval_ns": 200_000_000, "timeout_ns": 5_000_000_000_u64,
            "retries": 7, "start_period_ns": 0, "on_unhealthy": "none",
        })
    );
    let seen = until_it_is(&host, "image", "healthy");
    assert_eq!(seen["log"][0]["output"], "of the image\n");
    let check = of("parts", &["--health-retries", "2", "--health-cmd", "[\"echo\", \"a  b\"]"]);
    assert_eq!((&check["command"], &check["retries"]), (&json!(["echo", "a  b"]), &2.into()));
    assert_eq!(check["interval_ns"], 200_000_000);
    let seen = until_it_is(&host, "parts", "healthy");
    assert_eq!(seen["log"][0]["output"], "a  b\n");
    for (name, flags) in [("no", &["--no-healthcheck"][..]), ("none", &["--health-cmd", "none"])] {
        assert_eq!(of(name, flags), Value::Null);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(health(&host, name), Value::Null);
    }
    for wrong in [
        &["--health-interval", "5s"][..],
        &["--health-cmd", "true", "--health-retries", "0"],
        &["--health-cmd", "true", "--health-timeout", "0s"],
        &["--health-cmd", "true", "--health-interval", "5"],
        &["--health-cmd", "true", "--health-on-failure", "pray"],
    ] {
        let called = host.call(&[&["run"], wrong, &["box", "true"]].concat());
        assert_eq!(called.code, 125, "{wrong:?}: {}", called.stderr);
    }
    host.ok(&["rm", "-f", "-a"]);
    host.assert_clean();
}

#[test]
fn a_check_can_be_asked_for_and_none_is_made_while_the_container_is_frozen() {
    const TEST: &str = "a_check_can_be_asked_for_and_none_is_made_while_the_container_is_frozen";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let run = |name: &str, flags: &[&str]| {
            host.ok(&[&["run", "-d", "--name", name, "--runtime", runtime], flags, &["box"], &STAYS].concat());
        };
        let check = "echo x >> /looks; test -f /well";
        run("c", &["--health-cmd", check, "--health-interval", "disable"]);
        let called = host.call(&["healthcheck", "c"]);
        assert_eq!((called.code, called.text()), (1, "unhealthy\n".to_owned()), "{}", called.stderr);
        host.ok(&["exec", "c", "touch", "/well"]);
        assert_eq!(host.ok(&["healthcheck", "c"]).text(), "");
        assert_eq!(
            host.ok(&["exec", "c", "cat", "/looks"]).text(),
            "x\nx\n",
            "only those that were asked for"
        );
        assert_eq!(health(&host, "c")["status"], "healthy");

        run("none", &[]);
        let refused = host.call(&["healthcheck", "none"]);
        assert!(refused.code == 1 && refused.stderr.contains("--health-cmd"), "{}", refused.stderr);

        let not_there = "[\"/bin/nope\"]";
        run("not-there", &["--health-cmd", not_there, "--health-interval", "disable"]);
        assert_eq!(host.call(&["healthcheck", "not-there"]).code, 1);
        let look = health(&host, "not-there")["log"][0].clone();
        assert_eq!(look["exit_code"], Value::Null, "{look}");
        assert!(look["output"].as_str().unwrap().contains("nope"), "{look}");

        // A check that is under way when everything is frozen does not take too long for that.
        run("f", &["--health-cmd", "usleep 300000", "--health-interval", "50ms", "--health-timeout", "2s"]);
        until_it_is(&host, "f", "healthy");
        host.ok(&["pause", "f"]);
        let refused = host.call(&["healthcheck", "f"]);
        assert!(refused.code == 1 && refused.stderr.contains("paused"), "{}", refused.stderr);
        let before = health(&host, "f");
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(health(&host, "f"), before);
        host.ok(&["unpause", "f"]);
        until("it is looked at again", || health(&host, "f")["log"] != before["log"]);
        assert_eq!(health(&host, "f")["failing_streak"], 0, "{}", health(&host, "f"));
        // Stopping one in the middle of a check.
        host.ok(&["stop", "-t", "0", "f"]);
        host.ok(&["rm", "-f", "-a"]);
    }
    host.assert_clean();
}

#[test]
fn a_check_that_dies_with_its_container_is_no_reason_to_start_that_again() {
    const TEST: &str = "a_check_that_dies_with_its_container_is_no_reason_to_start_that_again";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        for round in 0..5 {
            let name = format!("{runtime}-{round}");
            let flags =
                ["--health-cmd", "sleep 300", "--health-retries", "1", "--health-on-failure", "restart"];
            let head = ["run", "--name", &name, "--runtime", runtime];
            let program = ["box", "sh", "-c", "usleep 300000; exit 9"];
            let before = Instant::now();
            let called = host.call(&[&head[..], &flags, &program].concat());
            assert_eq!(called.code, 9, "{}", called.stderr);
            assert!(before.elapsed() < Duration::from_secs(5), "{:?}", before.elapsed());
            let state = host.state(&name);
            assert_eq!((&state["restarts"], &state["exit"]["code"]), (&0.into(), &9.into()), "{state}");
        }
    }
    host.assert_clean();
}
