//! Every endpoint, every refusal, and many clients at once. The client checks each answer with the API's description.

use std::io::{BufRead, BufReader, Read, Write};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::Client;
use crate::host::until;
use crate::station::Station;

const NOTHING: Value = Value::Null;

/// Makes and starts a container.
fn make(client: &Client, name: &str, command: &[&str]) -> Value {
    let body = json!({"name": name, "image": "box", "command": command, "stop_signal": "KILL"});
    let answer = client.call("POST", "/v1/containers?start=true", &body);
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()
}

/// What a program has printed to a stream, put together.
fn printed(lines: &[Value], stream: &str) -> String {
    lines.iter().filter(|line| line["stream"] == stream).filter_map(|line| line["text"].as_str()).collect()
}

#[test]
fn every_endpoint_does_what_its_description_says() {
    let Some(mut station) = Station::new("every_endpoint_does_what_its_description_says") else { return };
    station.start(&[]);
    let client = station.client();
    let alive = client.get("/v1/healthz").json();
    assert_eq!(alive["pid"], station.pid());
    assert_eq!(client.get("/v1/containers").json()["containers"], json!([]));
    assert_eq!(client.get("/v1/openapi.json").json()["openapi"], "3.1.0");
    assert_eq!(client.call("GET", "/v1/spec", &NOTHING).status, 409, "there is no file");
    assert_eq!(client.call("POST", "/v1/reload", &NOTHING).status, 409);

    let body = json!({
        "name": "one", "image": "box", "command": ["sh", "-c", "echo ready; echo bad >&2; exec sleep 600"],
        "env": {"COLOUR": "blue"}, "memory": "64m", "cpus": 0.5, "pids": 50, "read_only": true,
        "tmpfs": ["/cache:size=1m"], "volumes": ["/etc:/host:ro"], "labels": {"tier": "front"},
        "stop_signal": "KILL", "stop_timeout": 3, "hostname": "one",
    });
    let made = client.call("POST", "/v1/containers", &body);
    assert_eq!(made.status, 201, "{}", made.text());
    let one = made.json();
    let id = one["id"].as_str().unwrap().to_owned();
    assert_eq!(made.header("location"), Some(format!("/v1/containers/{id}")));
    assert_eq!((&one["status"], &one["limits"]["memory"]), (&"created".into(), &(64 << 20).into()));
    assert_eq!(one["labels"], json!({"tier": "front"}));
    let by_beginning = client.get(&format!("/v1/containers/{}", &id[..6])).json();
    assert_eq!(by_beginning["id"], id);

    let started = client.post("/v1/containers/one/start").json();
    assert_eq!(started["status"], "running");
    assert!(started["pid"].is_number() && started["started"].is_string());
    let stats = client.get("/v1/containers/one/stats").json();
    assert!(stats["pids"].as_u64().unwrap() >= 1, "{stats}");
    let kinds = || -> Vec<String> {
        let events = client.get("/v1/events?since=0&follow=false").lines();
        let of_one = events.iter().filter(|event| event["container"]["name"] == "one");
        of_one.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(client.post("/v1/containers/one/pause").json()["status"], "paused");
    until("it is told", || kinds().last().is_some_and(|last| last == "pause"));
    assert_eq!(client.call("POST", "/v1/containers/one/pause", &NOTHING).status, 409, "it is paused");
    assert_eq!(client.post("/v1/containers/one/unpause").json()["status"], "running");

    let exec = json!({"command": ["sh", "-c", "cat; echo $A $COLOUR >&2; id -u; pwd; exit 7"], "env": {"A": "x"},
        "user": "anna", "workdir": "/tmp", "stdin": "aW5wdXQK"});
    let answer = client.call("POST", "/v1/containers/one/exec", &exec);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let lines = answer.lines();
    assert_eq!(printed(&lines, "stdout"), "input\n1001\n/tmp\n");
    assert_eq!(printed(&lines, "stderr"), "x blue\n");
    assert_eq!(lines.last(), Some(&json!({"exit_code": 7})));
    let tty = client.call("POST", "/v1/containers/one/exec", &json!({"command": ["tty"], "tty": true}));
    assert!(printed(&tty.lines(), "stdout").starts_with("/dev/pts/"), "{}", tty.text());
    let bytes = json!({"command": ["printf", "\\377\\303\\244"]});
    let lines = client.call("POST", "/v1/containers/one/exec", &bytes).lines();
    assert_eq!(lines[0]["bytes"], "/8Ok", "{lines:?}");

    let logs = client.get("/v1/containers/one/logs").lines();
    assert_eq!((printed(&logs, "stdout"), printed(&logs, "stderr")), ("ready\n".into(), "bad\n".into()));
    assert_eq!(client.get("/v1/containers/one/logs?tail=1").lines().len(), 1);
    assert_eq!(client.get("/v1/containers/one/logs?since=2999-01-01T00:00:00Z").lines().len(), 0);
    assert_eq!(client.get("/v1/containers/one/logs?since=10m").lines().len(), 2);

    let waiting = {
        let client = client.clone();
        std::thread::spawn(move || client.post("/v1/containers/one/wait").json())
    };
    std::thread::sleep(Duration::from_millis(100));
    assert!(!waiting.is_finished());
    client.post("/v1/containers/one/kill?signal=TERM");
    assert_eq!(
        client.get("/v1/containers/one").json()["status"],
        "running",
        "sleep takes no notice as process 1"
    );
    client.post("/v1/containers/one/kill");
    assert_eq!(waiting.join().unwrap()["code"], 137);
    assert_eq!(client.post("/v1/containers/one/wait").json()["code"], 137, "it has ended already");
    until("it has stopped", || client.get("/v1/containers/one").json()["status"] == "stopped");
    assert_eq!(client.call("DELETE", "/v1/containers/one", &NOTHING).status, 204);
    assert_eq!(client.call("GET", "/v1/containers/one", &NOTHING).status, 404);

    make(&client, "two", &["sleep", "600"]);
    // What begins and ends between two looks is not seen at all.
    let told = |kind: &str| {
        let events = client.get("/v1/events?since=0&follow=false").lines();
        events.iter().any(|event| event["container"]["name"] == "two" && event["type"] == kind)
    };
    until("the start of the second is told", || told("start"));
    assert_eq!(client.call("DELETE", "/v1/containers/two", &NOTHING).status, 409);
    assert_eq!(client.post("/v1/containers/two/stop?timeout=1").json()["status"], "stopped");
    until("its end is told", || told("die"));
    assert_eq!(client.call("DELETE", "/v1/containers/two?force=true", &NOTHING).status, 204);

    until("the removal is told", || kinds().last().is_some_and(|last| last == "remove"));
    assert_eq!(kinds(), ["create", "start", "pause", "unpause", "die", "stop", "remove"]);
    // What is counted is what was seen in the last look, which may have been before the end of the second container.
    for line in [
        "layerstone_containers{state=\"running\"} 0",
        "layerstone_events_total{type=\"die\"} 2",
        "layerstone_api_requests_total{method=\"POST\",path=\"/v1/containers/{id}/exec\",status=\"200\"} 3",
    ] {
        until(line, || client.get("/v1/metrics").text().lines().any(|found| found == line));
    }
    assert_eq!(client.call("POST", "/v1/shutdown", &NOTHING).status, 204);
    station.ended();
    station.host.assert_clean();
}

#[test]
fn what_makes_no_sense_is_refused_with_a_word_and_a_sentence() {
    let Some(mut station) = Station::new("what_makes_no_sense_is_refused_with_a_word_and_a_sentence") else {
        return;
    };
    station.start(&[]);
    let client = station.client();
    make(&client, "one", &["sleep", "600"]);
    let cases: [(&str, &str, Value, u16, &str); 27] = [
        ("GET", "/v1/containers/nobody", NOTHING, 404, "no_container"),
        ("GET", "/v1/containers/nobody/logs", NOTHING, 404, "no_container"),
        ("POST", "/v1/containers/nobody/exec", json!({"command": ["x"]}), 404, "no_container"),
        ("POST", "/v1/containers/nobody/wait", NOTHING, 404, "no_container"),
        ("GET", "/v1/nothing", NOTHING, 404, "no_such_path"),
        ("GET", "/", NOTHING, 404, "no_such_path"),
        ("GET", "/v1/containers/a/b/c", NOTHING, 404, "no_such_path"),
        ("PUT", "/v1/containers", NOTHING, 405, "no_such_method"),
        ("GET", "/v1/containers?colour=blue", NOTHING, 400, "invalid"),
        ("GET", "/v1/containers/one/logs?tail=many", NOTHING, 400, "invalid"),
        ("GET", "/v1/containers/one/logs?since=yesterday", NOTHING, 400, "invalid"),
        ("GET", "/v1/containers/one/logs?follow=perhaps", NOTHING, 400, "invalid"),
        ("GET", "/v1/events?since=now", NOTHING, 400, "invalid"),
        ("POST", "/v1/containers/one/kill?signal=NOISE", NOTHING, 400, "invalid"),
        ("POST", "/v1/containers/one/stop?timeout=-1", NOTHING, 400, "invalid"),
        ("POST", "/v1/containers/one/exec", json!({"command": []}), 400, "invalid"),
        ("POST", "/v1/containers/one/exec", json!({"command": ["x"], "stdin": "%"}), 400, "invalid"),
        ("POST", "/v1/containers/one/exec", json!({"command": ["nope"]}), 400, "cannot_execute"),
        ("POST", "/v1/containers/one/exec", json!({"comand": ["x"]}), 400, "invalid"),
        ("POST", "/v1/containers", json!({"name": "one", "image": "box"}), 409, "name_taken"),
        ("POST", "/v1/containers", json!({"name": "a b", "image": "box"}), 400, "invalid"),
        ("POST", "/v1/containers", json!({"image": "nowhere"}), 404, "no_image"),
        ("POST", "/v1/containers", json!({"image": "box", "memry": "1m"}), 400, "invalid"),
        ("POST", "/v1/containers", json!({"image": "box", "volumes": ["./a:/b"]}), 400, "invalid"),
        ("POST", "/v1/containers", json!({"image": "box", "user": "nobody-here"}), 400, "invalid"),
        ("POST", "/v1/containers", json!([1, 2]), 400, "invalid"),
        ("POST", "/v1/containers/one/unpause", json!("ignored"), 409, "wrong_state"),
    ];
    for (method, path, body, status, code) in cases {
        let answer = client.call(method, path, &body);
        let problem = answer.json();
        assert_eq!(
            (answer.status, &problem["code"]),
            (status, &code.into()),
            "{method} {path} {body}: {problem}"
        );
        assert_eq!(answer.header("content-type").as_deref(), Some("application/problem+json"));
        assert!(problem["message"].as_str().is_some_and(|message| message.len() > 5), "{problem}");
    }
    let broken = client.try_call("POST", "/v1/containers", b"{\"image\": ").unwrap();
    assert_eq!((broken.status, &broken.json()["code"]), (400, &"invalid".into()));
    let large = client.try_call("POST", "/v1/containers", &vec![b' '; 5 << 20]).unwrap();
    assert_eq!((large.status, &large.json()["code"]), (413, &"too_large".into()));
    client.post("/v1/containers/one/stop");
    for verb in ["kill", "pause", "unpause"] {
        let answer = client.call("POST", &format!("/v1/containers/one/{verb}"), &NOTHING);
        assert_eq!((answer.status, &answer.json()["code"]), (409, &"wrong_state".into()), "{verb}");
    }
    let stats = client.call("GET", "/v1/containers/one/stats", &NOTHING);
    assert_eq!((stats.status, &stats.json()["code"]), (409, &"wrong_state".into()));
    assert_eq!(station.containers().len(), 1, "nothing was made of what was refused");
    // What is no HTTP at all.
    for text in [
        "nonsense\r\n\r\n",
        "GET / HTTP/1.1\r\nX: \x01\r\n\r\n",
        "\0\0\0\0",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
    ] {
        let mut stream = client.connect().unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{text:?}");
    }
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    let mut stream = client.connect().unwrap();
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&answer));
    client.get("/v1/healthz");
}

#[test]
fn two_hundred_requests_at_once_are_all_answered() {
    let Some(mut station) = Station::new("two_hundred_requests_at_once_are_all_answered") else { return };
    station.start(&[]);
    let client = station.client();
    make(&client, "one", &["sh", "-c", "echo hello; exec sleep 600"]);
    until("it has printed", || !client.get("/v1/containers/one/logs").body.is_empty());
    std::thread::scope(|scope| {
        for number in 0..200 {
            let client = &client;
            scope.spawn(move || match number % 5 {
                0 => assert_eq!(client.get("/v1/containers").json()["containers"][0]["name"], "one"),
                1 => assert_eq!(client.get("/v1/containers/one").json()["status"], "running"),
                2 => assert_eq!(printed(&client.get("/v1/containers/one/logs").lines(), "stdout"), "hello\n"),
                3 => assert!(client.get("/v1/metrics").text().contains("layerstone_container_up{")),
                _ => assert!(client.get("/v1/containers/one/stats").json()["pids"].is_number()),
            });
        }
    });
    std::thread::scope(|scope| {
        for number in 0..20 {
            let client = &client;
            scope.spawn(move || {
                let body = json!({"command": ["echo", number.to_string()]});
                let lines = client.call("POST", "/v1/containers/one/exec", &body).lines();
                assert_eq!(printed(&lines, "stdout"), format!("{number}\n"));
            });
        }
    });
}

#[test]
fn clients_that_do_not_read_cost_the_others_nothing() {
    let Some(mut station) = Station::new("clients_that_do_not_read_cost_the_others_nothing") else { return };
    station.start(&[]);
    let client = station.client();
    make(
        &client,
        "loud",
        &["sh", "-c", "yes a line that is longer than it has to be | head -c 20000000; exec sleep 600"],
    );
    let slow: Vec<_> =
        (0..100).map(|_| client.open("GET", "/v1/containers/loud/logs?follow=true", b"").unwrap()).collect();
    // And some that say nothing at all.
    let silent: Vec<_> = (0..50).map(|_| client.connect().unwrap()).collect();
    let start = Instant::now();
    for _ in 0..20 {
        client.get("/v1/healthz");
        client.get("/v1/containers");
    }
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let lines = client.call("POST", "/v1/containers/loud/exec", &json!({"command": ["echo", "hi"]})).lines();
    assert_eq!(printed(&lines, "stdout"), "hi\n");
    let memory = std::fs::read_to_string(format!("/proc/{}/status", station.pid())).unwrap();
    let memory = memory.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = memory.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 200 << 10, "the agent takes {kilobytes} kB");
    drop((slow, silent));
}

#[test]
fn clients_that_go_away_leave_their_place_to_others() {
    let Some(mut station) = Station::new("clients_that_go_away_leave_their_place_to_others") else { return };
    station.start(&[]);
    let client = station.client();
    make(&client, "one", &["sleep", "600"]);
    // More than there may be at once, if one that is gone still counted.
    for _ in 0..200 {
        drop(client.open("GET", "/v1/events", b"").unwrap());
        drop(client.open("GET", "/v1/containers/one/logs?follow=true", b"").unwrap());
        let mut waiting = client.connect().unwrap();
        waiting.write_all(b"POST /v1/containers/one/wait HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    assert_eq!(client.get("/v1/containers/one").json()["status"], "running");
    let open = || std::fs::read_dir(format!("/proc/{}/fd", station.pid())).unwrap().count();
    until("connections are closed", || open() < 50);
}

#[test]
fn a_log_is_followed_to_the_end_of_its_container() {
    let Some(mut station) = Station::new("a_log_is_followed_to_the_end_of_its_container") else { return };
    station.start(&[]);
    let client = station.client();
    let command = "i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); usleep 20000; done; printf end";
    make(&client, "talks", &["sh", "-c", command]);
    let lines = client.get("/v1/containers/talks/logs?follow=true").lines();
    let expected: String = (0..30).map(|i| format!("line {i}\n")).chain(["end".to_owned()]).collect();
    assert_eq!(printed(&lines, "stdout"), expected);
    let last = client.get("/v1/containers/talks/logs?tail=2").lines();
    assert_eq!(printed(&last, "stdout"), "line 29\nend");
}

#[test]
fn a_log_that_is_damaged_breaks_off_and_does_not_look_whole() {
    const TEST: &str = "a_log_that_is_damaged_breaks_off_and_does_not_look_whole";
    let Some(mut station) = Station::new(TEST) else { return };
    station.start(&[]);
    let client = station.client();
    let made = make(&client, "one", &["sh", "-c", "echo first; echo second"]);
    assert_eq!(client.post("/v1/containers/one/wait").json()["code"], 0);
    let log = station.host.path("store/containers").join(made["id"].as_str().unwrap()).join("log.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let (first, second) = text.split_once('\n').unwrap();
    std::fs::write(&log, format!("{first}\n{}\n", second.replace("\"stream\"", "\"scream\""))).unwrap();
    let error = client.try_call("GET", "/v1/containers/one/logs", b"").unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    let tail = client.call("GET", "/v1/containers/one/logs?tail=1", &NOTHING);
    assert_eq!(tail.status, 500, "{}", tail.text());
    client.get("/v1/healthz");
}

#[test]
fn events_come_as_they_happen_and_go_on_after_an_id() {
    let Some(mut station) = Station::new("events_come_as_they_happen_and_go_on_after_an_id") else { return };
    station.start(&[]);
    let client = station.client();
    let mut stream = BufReader::new(client.open("GET", "/v1/events", b"").unwrap());
    // Not through the API: it is seen all the same.
    let brief = ["run", "--rm", "--name", "brief", "box", "sh", "-c", "sleep 0.3; exit 3"];
    assert_eq!(station.host.call(&brief).code, 3);
    let mut next = || {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        serde_json::from_str::<Value>(&line).unwrap()
    };
    let mut all = Vec::new();
    while all.last().is_none_or(|event: &Value| event["type"] != "remove") {
        all.push(next());
    }
    let kinds: Vec<&str> = all.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"create"), "{kinds:?}");
    assert!(kinds.contains(&"start") && kinds.contains(&"die"), "{kinds:?}");
    let ids: Vec<u64> = all.iter().map(|event| event["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    let rest = client.get(&format!("/v1/events?follow=false&since={}", ids[1])).lines();
    assert_eq!(rest, all[2..], "they are the same events");
    // After a restart it is said that some are lost; new ones have larger ids.
    station.kill();
    station.start(&[]);
    let client = station.client();
    let last = ids.last().unwrap();
    let first = client.get(&format!("/v1/events?follow=false&since={last}")).lines()[0].clone();
    assert_eq!(first["type"], "lost");
    assert!(first["id"].as_u64().unwrap() > *last);
}

#[test]
fn a_program_that_was_executed_outlives_its_client() {
    let Some(mut station) = Station::new("a_program_that_was_executed_outlives_its_client") else { return };
    station.start(&[]);
    let client = station.client();
    make(&client, "one", &["sleep", "600"]);
    let body = json!({"command": ["sh", "-c", "sleep 1; echo done > /tmp/done"]}).to_string();
    drop(client.open("POST", "/v1/containers/one/exec", body.as_bytes()).unwrap());
    let look = json!({"command": ["cat", "/tmp/done"]});
    until("it is done", || {
        let lines = client.call("POST", "/v1/containers/one/exec", &look).lines();
        printed(&lines, "stdout") == "done\n"
    });
    // Whoever has ended is no zombie of the agent's.
    until("there are no zombies", || {
        let children = format!("/proc/{0}/task/{0}/children", station.pid());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        children.split_ascii_whitespace().all(|pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z"))
        })
    });
}
