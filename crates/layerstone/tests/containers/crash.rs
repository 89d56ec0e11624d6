//! Processes that are killed at any moment, and many containers at once: nothing is left, and what is said is true.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::host::{Host, RUNTIMES, cgroups_of, until, wait};

/// How often each kind of crash is tried by itself, unless `LAYERSTONE_CRASH_ROUNDS` says something else.
const EACH: u64 = 20;
/// How often one that is chosen at random.
const RANDOM: u64 = 100;

fn rounds(usual: u64) -> u64 {
    let asked = std::env::var("LAYERSTONE_CRASH_ROUNDS").ok();
    asked.map_or(usual, |rounds| rounds.parse().expect("LAYERSTONE_CRASH_ROUNDS is a number"))
}

pub(crate) fn kill(pid: i64) {
    let done = Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(done.success(), "kill -9 {pid}");
}

pub(crate) fn is_alive(pid: i64) -> bool {
    /// `PF_EXITING` (`include/linux/sched.h`).
    const EXITING: u64 = 4;
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        let fields: Vec<&str> =
            stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        // The state is field 3, the flags are field 9. One that is ending executes nothing any more.
        let flags: u64 = fields.get(6).and_then(|flags| flags.parse().ok()).unwrap_or_default();
        fields.first().is_some_and(|state| *state != "Z") && flags & EXITING == 0
    })
}

/// The shim of a container, as its files say: asking for it would put it in order.
fn shim_of(host: &Host, name: &str) -> Option<i64> {
    let file = std::fs::read_dir(host.path("store/containers")).ok()?.flatten().find_map(|entry| {
        let config = std::fs::read_to_string(entry.path().join("container.json")).ok()?;
        config.contains(&format!("\"name\": \"{name}\"")).then(|| entry.path().join("state.json"))
    })?;
    let state: serde_json::Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    state["shim"]["pid"].as_i64()
}

#[test]
fn a_container_whose_shim_is_killed_has_stopped_and_leaves_nothing() {
    let Some(host) = Host::new("a_container_whose_shim_is_killed_has_stopped_and_leaves_nothing") else {
        return;
    };
    let all = rounds(EACH);
    for round in 0..all {
        for runtime in RUNTIMES {
            let name = format!("{runtime}-{round}");
            host.ok(&[
                "run",
                "-d",
                "--name",
                &name,
                "--runtime",
                runtime,
                "box",
                "sh",
                "-c",
                "sleep 600 & sleep 600",
            ]);
            let before = host.json(&["inspect", &name]);
            let pid = |who: &str| before["state"][who]["pid"].as_i64().unwrap();
            kill(pid("shim"));
            let rows = host.json(&["ps", "-a"]);
            let row =
                rows.as_array().unwrap().iter().find(|row| row["name"] == name.as_str()).unwrap().clone();
            assert_eq!((&row["status"], &row["exit_code"]), (&"stopped".into(), &137.into()), "{row}");
            assert!(!is_alive(pid("init")), "{runtime}: the first process goes on");
            assert!(cgroups_of(before["id"].as_str().unwrap()).is_empty(), "{runtime}");
            let error = host.json(&["inspect", &name])["state"]["exit"]["error"].to_string();
            assert!(error.contains("shim has died"), "{error}");
            assert_eq!(host.ok(&["wait", &name]).text(), "137\n");
        }
    }
    host.assert_clean();
    host.ok(&["rm", "-a"]);
    assert!(host.ids().is_empty());
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    host.ok(&["verify", "--all"]);
}

#[test]
fn a_container_that_removes_itself_is_gone_when_its_shim_is_killed() {
    let Some(host) = Host::new("a_container_that_removes_itself_is_gone_when_its_shim_is_killed") else {
        return;
    };
    host.ok(&["run", "-d", "--rm", "--name", "brief", "box", "sleep", "600"]);
    kill(host.json(&["inspect", "brief"])["state"]["shim"]["pid"].as_i64().unwrap());
    assert_eq!(host.json(&["ps", "-a"]).as_array().unwrap().len(), 0);
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    host.assert_clean();
}

#[test]
fn a_container_outlives_the_client_that_was_killed_and_loses_no_output() {
    let Some(host) = Host::new("a_container_outlives_the_client_that_was_killed_and_loses_no_output") else {
        return;
    };
    for runtime in RUNTIMES {
        let line = "i=0; while [ $i -lt 60 ]; do echo line $i; i=$((i+1)); usleep 10000; done; exit 9";
        let args = ["run", "--name", runtime, "--runtime", runtime, "box", "sh", "-c", line];
        let mut client = host.command(&args).stdout(Stdio::null()).spawn().unwrap();
        until("it runs", || host.call(&["ps", "-q"]).stdout.len() > 8);
        client.kill().unwrap();
        client.wait().unwrap();
        assert_eq!(host.ok(&["wait", runtime]).text(), "9\n");
        let expected: String = (0..60).map(|i| format!("line {i}\n")).collect();
        assert_eq!(host.ok(&["logs", runtime]).text(), expected, "{runtime}");
    }
    host.assert_clean();
}

#[test]
fn a_run_that_is_killed_at_any_moment_leaves_nothing_that_is_not_known_of() {
    let Some(host) = Host::new("a_run_that_is_killed_at_any_moment_leaves_nothing_that_is_not_known_of")
    else {
        return;
    };
    // How long a whole run takes, so that the moments are spread over it.
    let start = Instant::now();
    host.ok(&["run", "--rm", "box", "true"]);
    let whole = start.elapsed();
    let all = rounds(EACH);
    for round in 0..all {
        let runtime = RUNTIMES[usize::try_from(round % 2).unwrap()];
        let args = ["run", "--runtime", runtime, "box", "true"];
        let mut client = host.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(round as f64 / all as f64));
        let _ = client.kill();
        client.wait().unwrap();
    }
    // One whose client died may just be starting.
    until("all can be removed", || host.call(&["rm", "-a"]).code == 0);
    assert!(host.ids().is_empty());
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    until("the last shim has ended", || {
        std::fs::read_dir(host.path("run/containers")).is_ok_and(|mut left| left.next().is_none())
    });
    host.assert_clean();
}

#[test]
fn a_shim_that_is_killed_while_it_sets_up_leaves_nothing() {
    let Some(host) = Host::new("a_shim_that_is_killed_while_it_sets_up_leaves_nothing") else { return };
    let start = Instant::now();
    host.ok(&["run", "--rm", "box", "true"]);
    let whole = start.elapsed();
    let all = rounds(EACH);
    for round in 0..all {
        let runtime = RUNTIMES[usize::try_from(round % 2).unwrap()];
        let name = format!("c{round}");
        let args = ["run", "--name", &name, "--runtime", runtime, "box", "sleep", "600"];
        let client = host.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole.mul_f64(0.1 + round as f64 / all as f64));
        // Its shim, as soon as it is known.
        let shim = || shim_of(&host, &name);
        until("there is a shim", || shim().is_some());
        kill(shim().unwrap());
        let code = wait(client, "the client");
        assert!(code != 0, "the client of {name} does not tell");
        let rows = host.json(&["ps", "-a"]);
        let row = rows.as_array().unwrap().iter().find(|row| row["name"] == name.as_str()).unwrap().clone();
        assert_eq!(row["status"], "stopped", "{row}");
    }
    host.assert_clean();
    host.ok(&["rm", "-a"]);
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
}

/// A sequence that looks random and is the same each time (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

#[test]
fn no_container_is_lost_or_doubled_when_clients_and_shims_are_killed_at_random() {
    const TEST: &str = "no_container_is_lost_or_doubled_when_clients_and_shims_are_killed_at_random";
    let Some(host) = Host::new(TEST) else { return };
    let start = Instant::now();
    host.ok(&["run", "--rm", "box", "sh", "-c", "usleep 30000"]);
    let whole = u64::try_from(start.elapsed().as_micros()).unwrap();
    let mut dice = Dice(7);
    let (mut kept_own, mut killed) = (0, 0);
    let all_rounds = rounds(RANDOM);
    for round in 0..all_rounds {
        let runtime = RUNTIMES[usize::try_from(dice.below(2)).unwrap()];
        let policy = ["no", "on-failure:1"][usize::try_from(dice.below(2)).unwrap()];
        let name = format!("r{round}");
        let code = 1 + dice.below(100);
        // It says how often it has run, on the host as well.
        let volume = format!("{}:/out", host.path("").display());
        let line = format!("echo x >> /out/runs-{name}; usleep 30000; exit {code}");
        let args = [
            "run",
            "--name",
            &name,
            "--runtime",
            runtime,
            "--restart",
            policy,
            "-v",
            &volume,
            "box",
            "sh",
            "-c",
            &line,
        ];
        let mut client = host.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(dice.below(whole * 3 / 2)));
        let (mut client_killed, mut shim_killed) = (false, false);
        match dice.below(3) {
            0 => {
                client_killed = client.try_wait().unwrap().is_none();
                let _ = client.kill();
            }
            1 => {
                // Its shim, if it has one now. It may have ended before it is hit.
                if let Some(shim) = shim_of(&host, &name) {
                    shim_killed = true;
                    let _ =
                        Command::new("kill").args(["-9", &shim.to_string()]).stderr(Stdio::null()).status();
                }
            }
            _ => {}
        }
        let ended = wait(client, "the client");
        let rows = host.json(&["ps", "-a", "--filter", &format!("name={name}")]);
        let rows: Vec<_> =
            rows.as_array().unwrap().iter().filter(|row| row["name"] == name.as_str()).collect();
        assert!(rows.len() <= 1, "{name} is there {} times", rows.len());
        if rows.is_empty() {
            assert!(client_killed, "{name} is lost");
            continue;
        }
        // What was made but not started by the client that was killed stays so; all others come to their end.
        let status = || host.state(&name)["status"].as_str().unwrap().to_owned();
        until("it has ended, or never begins", || {
            status() == "stopped" || (status() == "created" && host.state(&name).get("shim").is_none())
        });
        let state = host.state(&name);
        let runs =
            std::fs::read_to_string(host.path(&format!("runs-{name}"))).unwrap_or_default().lines().count();
        let all = if policy == "no" { 1 } else { 2 };
        assert!(runs <= all, "{name} has run {runs} times");
        if state["status"] == "created" {
            assert!(client_killed && runs == 0, "{name} was not started, and has run {runs} times: {state}");
            continue;
        }
        let found = state["exit"]["code"].as_u64().unwrap();
        let error = state["exit"]["error"].as_str().unwrap_or_default();
        if found == code && error.is_empty() {
            kept_own += 1;
            assert!(runs == all || shim_killed, "{name} has run {runs} times: {state}");
            assert!(client_killed || shim_killed || ended == i32::try_from(code).unwrap(), "{name}: {ended}");
        } else {
            killed += 1;
            assert!(shim_killed && found == 137 && error.contains("shim has died"), "{name}: {state}");
        }
    }
    assert!(
        kept_own > all_rounds / 3 && killed > 0,
        "{kept_own} have ended by themselves, {killed} with their shim"
    );
    host.ok(&["rm", "-a"]);
    host.assert_clean();
    assert_eq!(host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    host.ok(&["verify", "--all"]);
}

#[test]
fn a_program_that_cannot_be_started_leaves_nothing_but_a_container_that_says_why() {
    const TEST: &str = "a_program_that_cannot_be_started_leaves_nothing_but_a_container_that_says_why";
    let Some(host) = Host::new(TEST) else { return };
    for runtime in RUNTIMES {
        let called = host.call(&["run", "--name", runtime, "--runtime", runtime, "box", "nope"]);
        assert_eq!(called.code, 127);
        assert!(called.stderr.contains("nope"), "{}", called.stderr);
        host.assert_clean();
        let exit = host.json(&["inspect", runtime])["state"]["exit"].clone();
        assert_eq!(exit["code"], 127, "{exit}");
        assert!(exit["error"].as_str().unwrap().contains("nope"), "{exit}");
    }
    for _ in 0..rounds(EACH) {
        assert_eq!(host.call(&["run", "--rm", "box", "nope"]).code, 127);
    }
    assert_eq!(host.ids().len(), RUNTIMES.len());
    host.assert_clean();
}

#[test]
fn many_containers_at_once_all_give_their_own_answer() {
    const TEST: &str = "many_containers_at_once_all_give_their_own_answer";
    const ALL: usize = 60;
    const AT_ONCE: usize = 10;
    let Some(host) = Host::new(TEST) else { return };
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if number >= ALL {
                        return;
                    }
                    let runtime = RUNTIMES[usize::from(number % 6 == 5)];
                    let line = format!("echo {number}; exit {}", number % 100);
                    let called = host.call(&["run", "--rm", "--runtime", runtime, "box", "sh", "-c", &line]);
                    let code = i32::try_from(number % 100).unwrap();
                    assert_eq!(
                        (called.code, called.text()),
                        (code, format!("{number}\n")),
                        "{}",
                        called.stderr
                    );
                }
            });
        }
    });
    assert!(host.ids().is_empty());
    host.assert_clean();
}
