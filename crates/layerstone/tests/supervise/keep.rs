//! Containers are kept in the state that the file wants.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::host::until;
use crate::station::Station;

/// A container that only sleeps.
fn sleeper(name: &str, more: &str) -> String {
    format!("  {name}: {{image: box, command: [sleep, 600], stop_signal: KILL{more}}}\n")
}

fn file(containers: &[String]) -> String {
    if containers.is_empty() {
        return "containers: {}\n".to_owned();
    }
    format!("containers:\n{}", containers.concat())
}

fn kill(pid: i64) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn containers_are_made_in_the_order_of_dependencies_and_stopped_in_the_other() {
    const TEST: &str = "containers_are_made_in_the_order_of_dependencies_and_stopped_in_the_other";
    let Some(mut station) = Station::new(TEST) else { return };
    station.write(&file(&[
        sleeper("a-web", ", depends_on: [b-app]"),
        sleeper("b-app", ", depends_on: {c-db: {condition: started}, d-job: {condition: completed}}"),
        sleeper("c-db", ""),
        "  d-job: {image: box, command: [sh, -c, \"sleep 0.5\"], restart: no, depends_on: [c-db]}\n"
            .to_owned(),
    ]));
    station.keep_again(&["--stop-on-exit"]);
    station.run(&["a-web", "b-app", "c-db"]);
    let events = |kind: &str| -> Vec<String> {
        let all = station.client().get("/v1/events?since=0&follow=false").lines();
        let of = |event: &serde_json::Value| event["container"]["name"].as_str().unwrap_or("").to_owned();
        all.iter().filter(|event| event["type"] == kind).map(of).collect()
    };
    until("all starts are told", || events("start").len() == 4);
    assert_eq!(events("start"), ["c-db", "d-job", "b-app", "a-web"]);
    let all = station.containers();
    assert!(
        all["b-app"]["started"].as_str() > all["d-job"]["exit"]["finished"].as_str(),
        "it waits for the end"
    );
    station.signal("-TERM");
    station.ended();
    let rows = station.host.json(&["ps", "-a"]);
    for row in rows.as_array().unwrap() {
        assert_eq!(row["status"], "stopped", "{row}");
    }
    let finished = |name: &str| {
        let state = station.host.json(&["inspect", name])["state"].clone();
        state["exit"]["finished"].as_str().unwrap().to_owned()
    };
    assert!(finished("a-web") < finished("b-app"));
    assert!(finished("b-app") < finished("c-db"));
    station.host.assert_clean();
}

#[test]
fn a_change_of_the_file_changes_only_what_it_is_about() {
    let Some(mut station) = Station::new("a_change_of_the_file_changes_only_what_it_is_about") else {
        return;
    };
    station.keep(&file(&[sleeper("same", ""), sleeper("other", ""), sleeper("gone", "")]));
    station.run(&["same", "other", "gone"]);
    station.host.ok(&["run", "-d", "--name", "foreign", "--stop-signal", "KILL", "box", "sleep", "600"]);
    let before = station.identities();

    // By itself, when the file changes.
    station.write(&file(&[sleeper("same", ""), sleeper("other", ", env: {NEW: 1}"), sleeper("new", "")]));
    until("the file counts", || {
        let now = station.identities();
        !now.contains_key("gone")
            && now.contains_key("new")
            && now.get("other").is_some_and(|o| *o != before["other"])
    });
    station.run(&["same", "other", "new", "foreign"]);
    let after = station.identities();
    assert_eq!(after["same"], before["same"]);
    assert_eq!(after["foreign"], before["foreign"]);
    assert_ne!(after["other"].0, before["other"].0, "it is another container");
    assert_eq!(station.host.ok(&["exec", "other", "sh", "-c", "echo $NEW"]).text(), "1\n");

    // One that is wrong changes nothing, and is told.
    station.write("containers:\n  same: {image: box, memry: 5m}\n");
    until("the error is told", || station.client().get("/v1/spec").json()["error"].is_string());
    let error = station.client().get("/v1/spec").json()["error"].to_string();
    assert!(error.contains("memry") && error.contains("line 2"), "{error}");
    let answer = station.client().call("POST", "/v1/reload", &serde_json::Value::Null);
    assert_eq!((answer.status, &answer.json()["code"]), (400, &"invalid_spec".into()));
    assert_eq!(station.identities(), after);

    // On SIGHUP, and when it is asked for.
    station.write(&file(&[sleeper("same", ""), sleeper("other", ", env: {NEW: 1}")]));
    station.signal("-HUP");
    until("the new one is gone", || !station.identities().contains_key("new"));
    station.write(&file(&[sleeper("same", "")]));
    assert_eq!(station.client().post("/v1/reload").json()["containers"], 1);
    until("the other one is gone", || !station.identities().contains_key("other"));
    let last = station.identities();
    assert_eq!(last.keys().map(String::as_str).collect::<Vec<_>>(), ["foreign", "same"]);
    assert_eq!(last["same"], before["same"]);
    assert_eq!(last["foreign"], before["foreign"]);
}

#[test]
fn an_old_container_stays_until_the_new_one_can_be_made() {
    let Some(mut station) = Station::new("an_old_container_stays_until_the_new_one_can_be_made") else {
        return;
    };
    station.keep(&file(&[sleeper("one", "")]));
    station.run(&["one"]);
    let before = station.identities();
    station.write("containers:\n  one: {image: nowhere, command: [sleep, 600]}\n");
    station.client().post("/v1/reload");
    until("it is told", || {
        let phase = station.client().get("/v1/spec").json()["containers"]["one"].clone();
        phase["phase"] == "backoff" && phase["error"].to_string().contains("nowhere")
    });
    assert_eq!(station.identities(), before);
    station.write(&file(&[sleeper("one", "")]));
    station.client().post("/v1/reload");
    until("all is well", || station.client().get("/v1/spec").json()["containers"]["one"]["phase"] == "up");
    assert_eq!(station.identities(), before);
}

#[test]
fn an_agent_that_is_killed_and_started_again_touches_nothing() {
    let Some(mut station) = Station::new("an_agent_that_is_killed_and_started_again_touches_nothing") else {
        return;
    };
    station.keep(&file(&[sleeper("a", ""), sleeper("b", ", depends_on: [a]")]));
    station.run(&["a", "b"]);
    let before = station.identities();
    for how in ["-KILL", "-TERM", "-INT"] {
        if how == "-KILL" {
            station.kill();
        } else {
            station.signal(how);
            station.ended();
            assert!(!station.host.path("run/agent.sock").exists(), "a socket that nobody serves is left");
        }
        station.keep_again(&[]);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(station.identities(), before, "{how}");
    }
}

#[test]
fn two_agents_do_not_keep_the_same_containers() {
    let Some(mut station) = Station::new("two_agents_do_not_keep_the_same_containers") else { return };
    station.keep(&file(&[]));
    let spec = station.spec();
    let spec = spec.to_str().unwrap();
    let same_socket = station.host.call(&["agent"]);
    assert_eq!(same_socket.code, 1);
    assert!(same_socket.stderr.contains("another agent"), "{}", same_socket.stderr);
    assert!(same_socket.stderr.contains(&station.pid().to_string()), "{}", same_socket.stderr);
    let other = station.host.path("other.sock");
    let same_project = station.host.call(&["agent", "--spec", spec, "--socket", other.to_str().unwrap()]);
    assert!(same_project.stderr.contains("project `default`"), "{}", same_project.stderr);
    assert!(!other.exists());
    let file = station.host.path("file");
    std::fs::write(&file, "keep me").unwrap();
    let no_socket = station.host.call(&["agent", "--socket", file.to_str().unwrap()]);
    assert!(no_socket.stderr.contains("is no socket"), "{}", no_socket.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "keep me");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(station.host.path("run/agent.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_is_checked_without_doing_anything() {
    let Some(station) = Station::new("a_file_is_checked_without_doing_anything") else { return };
    let spec = station.spec();
    let spec = spec.to_str().unwrap();
    station.write(&file(&[sleeper("a", ""), sleeper("b", ", depends_on: [a]")]));
    let called = station.host.ok(&["agent", "--spec", spec, "--check"]);
    assert_eq!(called.text(), "a: create\nb: wait until a is started\n");
    assert!(station.host.ids().is_empty());
    station.write(&file(&[sleeper("a", ", depends_on: [b]"), sleeper("b", ", depends_on: [a]")]));
    let called = station.host.call(&["agent", "--spec", spec, "--check"]);
    assert_eq!(called.code, 2);
    assert!(called.stderr.contains("a -> b -> a"), "{}", called.stderr);
    let started = station.host.call(&["agent", "--spec", spec]);
    assert_eq!(started.code, 2, "{}", started.stderr);
}

#[test]
fn a_container_whose_shim_is_killed_comes_back() {
    let Some(mut station) = Station::new("a_container_whose_shim_is_killed_comes_back") else { return };
    station.keep(&file(&[sleeper("a", ""), sleeper("once", ", restart: no")]));
    station.run(&["a", "once"]);
    let before = station.identities();
    let shim = |name: &str| {
        station.host.json(&["inspect", name])["state"]["shim"]["pid"].as_i64().expect("it has a shim")
    };
    let start = Instant::now();
    kill(shim("a"));
    kill(shim("once"));
    until("it runs again", || {
        let now = station.containers();
        now["a"]["status"] == "running" && now["a"]["pid"] != before["a"].1
    });
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let after = station.identities();
    assert_eq!(after["a"].0, before["a"].0, "it is the same container");
    assert_eq!(station.status("once"), "stopped", "its policy is `no`");
    let phase = station.client().get("/v1/spec").json()["containers"]["once"].clone();
    assert_eq!(phase["phase"], "failed", "{phase}");
}

#[test]
fn a_container_waits_until_what_it_depends_on_is_healthy() {
    let Some(mut station) = Station::new("a_container_waits_until_what_it_depends_on_is_healthy") else {
        return;
    };
    let db = "  db:
    image: box
    command: [sh, -c, \"sleep 1.5; touch /tmp/ready; exec sleep 600\"]
    stop_signal: KILL
    health: {command: [test, -e, /tmp/ready], interval: 200ms, retries: 2, start_period: 1m}
";
    station.keep(&file(&[db.to_owned(), sleeper("web", ", depends_on: {db: {condition: healthy}}")]));
    station.run(&["db"]);
    let phase = station.client().get("/v1/spec").json()["containers"]["web"].clone();
    assert_eq!((&phase["phase"], &phase["condition"]), (&"waiting".into(), &"healthy".into()), "{phase}");
    assert_eq!(station.status("web"), "missing");
    station.run(&["web"]);
    let all = station.containers();
    assert_eq!(all["db"]["health"]["status"], "healthy");
    let healthy = all["db"]["health"]["log"].as_array().unwrap();
    let first = healthy.iter().find(|look| look["exit_code"] == 0).unwrap();
    assert!(all["web"]["created"].as_str() > first["end"].as_str(), "{all:?}");
    let events = station.client().get("/v1/events?since=0&follow=false").lines();
    assert!(
        events.iter().any(|event| event["type"] == "health" && event["health"] == "healthy"),
        "{events:?}"
    );
    let metrics = station.client().get("/v1/metrics").text();
    let health = metrics.lines().find(|line| line.starts_with("layerstone_container_health{")).unwrap();
    assert!(health.contains("name=\"db\"") && health.ends_with(" 1"), "{health}");
}

#[test]
fn a_program_that_ends_is_started_again_and_one_that_was_stopped_is_not() {
    const TEST: &str = "a_program_that_ends_is_started_again_and_one_that_was_stopped_is_not";
    let Some(mut station) = Station::new(TEST) else { return };
    let brief = "  brief: {image: box, command: [sh, -c, \"sleep 0.2; exit 3\"]}\n";
    station.keep(&file(&[brief.to_owned(), sleeper("one", "")]));
    station.run(&["one"]);
    until("it was started again", || station.containers()["brief"]["restarts"].as_u64() >= Some(2));
    let of_brief = || -> Vec<String> {
        let events = station.client().get("/v1/events?since=0&follow=false").lines();
        let of = events.iter().filter(|event| event["container"]["name"] == "brief");
        of.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    until("restarts are told", || of_brief().iter().filter(|kind| *kind == "restart").count() >= 2);
    assert_eq!(of_brief()[..5], ["create", "start", "die", "restart", "die"]);

    // By the API or by the command line: it is the same.
    let stay = |station: &Station| {
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!(station.status("one"), "stopped");
        assert_eq!(station.client().get("/v1/spec").json()["containers"]["one"]["phase"], "stopped");
    };
    let before = station.identities()["one"].clone();
    station.client().post("/v1/containers/one/stop");
    stay(&station);
    station.kill();
    station.keep_again(&[]);
    stay(&station);
    station.client().post("/v1/containers/one/start");
    station.run(&["one"]);
    assert_eq!(station.identities()["one"].0, before.0);
    station.host.ok(&["stop", "one"]);
    stay(&station);
    let restarted = station.client().post("/v1/containers/one/restart").json();
    assert_eq!(restarted["status"], "running");
    until("it is up", || station.client().get("/v1/spec").json()["containers"]["one"]["phase"] == "up");
}

#[test]
fn what_the_end_of_the_agent_has_stopped_its_beginning_starts_again() {
    const TEST: &str = "what_the_end_of_the_agent_has_stopped_its_beginning_starts_again";
    let Some(mut station) = Station::new(TEST) else { return };
    station.keep(&file(&[sleeper("a", ""), sleeper("b", ", depends_on: [a]"), sleeper("stopped", "")]));
    station.run(&["a", "b", "stopped"]);
    station.client().post("/v1/containers/stopped/stop");
    let before = station.identities();
    station.client().post("/v1/shutdown");
    station.ended();
    station.host.assert_clean();
    station.keep_again(&[]);
    station.run(&["a", "b"]);
    let after = station.identities();
    for name in ["a", "b"] {
        assert_eq!(after[name].0, before[name].0, "it is the same container");
    }
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(station.status("stopped"), "stopped", "somebody had stopped it before");
    // And who is stopped by somebody after that is not started by the next one.
    station.host.ok(&["stop", "a"]);
    station.kill();
    station.keep_again(&[]);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(station.status("a"), "stopped");
    // Left running, when that is asked for.
    let running = station.identities()["b"].clone();
    station.client().post("/v1/shutdown?stop=false");
    station.ended();
    station.keep_again(&[]);
    assert_eq!(station.identities()["b"], running);
}

#[test]
fn a_program_that_cannot_be_started_is_tried_again_after_longer_and_longer_whiles() {
    const TEST: &str = "a_program_that_cannot_be_started_is_tried_again_after_longer_and_longer_whiles";
    let Some(mut station) = Station::new(TEST) else { return };
    let bad = "  bad: {image: box, command: [nope]}\n  limited: {image: box, command: [nope], restart: on-failure:2}\n";
    station.keep(&file(&[bad.to_owned(), sleeper("one", "")]));
    station.run(&["one"]);
    let phase = |name: &str| station.client().get("/v1/spec").json()["containers"][name].clone();
    until("it was tried four times", || phase("bad")["attempts"].as_u64() >= Some(4));
    assert!(phase("bad")["error"].to_string().contains("nope"), "{}", phase("bad"));
    until("it is given up", || phase("limited")["phase"] == "failed");
    assert_eq!(station.containers().len(), 3, "it is always the same container");
    let errors = station.client().get("/v1/events?since=0&follow=false").lines();
    let tries = errors.iter().filter(|e| e["type"] == "error" && e["container"]["name"] == "limited").count();
    assert_eq!(tries, 3, "the first time, and two times more");
}

#[test]
fn one_that_takes_its_time_to_stop_holds_nobody_up() {
    let Some(mut station) = Station::new("one_that_takes_its_time_to_stop_holds_nobody_up") else { return };
    let deaf = "  deaf:
    image: box
    command: [sh, -c, \"trap '' TERM; while :; do sleep 0.1; done\"]
    stop_signal: TERM
    stop_timeout: 8s
";
    station.keep(&file(&[deaf.to_owned()]));
    station.run(&["deaf"]);
    station.write(&file(&[sleeper("quick", "")]));
    let start = Instant::now();
    station.client().post("/v1/reload");
    station.run(&["quick"]);
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    assert_eq!(station.status("deaf"), "running", "it still has time");
    until("its time is over", || station.status("deaf") == "missing");
    assert!(start.elapsed() >= Duration::from_secs(7), "{:?}", start.elapsed());
}
