//! The agent is killed at any moment, and everything comes out right.

use std::time::{Duration, Instant};

use crate::host::until;
use crate::station::Station;

/// How often the agent is killed, unless `LAYERSTONE_CRASH_ROUNDS` says something else.
const ROUNDS: u32 = 30;

#[test]
fn an_agent_that_is_killed_at_any_moment_loses_and_doubles_no_container() {
    const TEST: &str = "an_agent_that_is_killed_at_any_moment_loses_and_doubles_no_container";
    let Some(mut station) = Station::new(TEST) else { return };
    let one = |name: &str, round: u32, on: &str| {
        format!(
            "  {name}: {{image: box, command: [sleep, 600], stop_signal: KILL, env: {{ROUND: {round}}}{on}}}\n"
        )
    };
    let asked = std::env::var("LAYERSTONE_CRASH_ROUNDS").ok();
    let rounds: u32 =
        asked.map_or(ROUNDS, |rounds| rounds.parse().expect("LAYERSTONE_CRASH_ROUNDS is a number"));
    // One stays as it is, two change in every round, one comes and goes.
    let text = |round: u32| {
        let mut text = "containers:\n".to_owned();
        text.push_str(&one("stays", 0, ""));
        text.push_str(&one("a", round, ", depends_on: [stays]"));
        text.push_str(&one("b", round, ", depends_on: [a]"));
        if round.is_multiple_of(2) {
            text.push_str(&one("sometimes", 0, ""));
        }
        text
    };
    let start = Instant::now();
    station.keep(&text(0));
    station.run(&["stays", "a", "b", "sometimes"]);
    let whole = start.elapsed().min(Duration::from_secs(2));
    let stays = station.identities()["stays"].clone();
    station.kill();
    for round in 1..=rounds {
        station.write(&text(round));
        let spec = station.spec();
        let mut agent = station.spawn(&["--spec", spec.to_str().unwrap()]);
        // A multiplication that visits all moments in an order that looks like none.
        let share = f64::from(round * 17 % ROUNDS) / f64::from(ROUNDS);
        std::thread::sleep(whole.mul_f64(share * 1.2));
        agent.kill().unwrap();
        agent.wait().unwrap();
        // Whoever was just being started goes on without the agent.
        if round.is_multiple_of(5) {
            station.keep_again(&[]);
            station.run(&["stays", "a", "b"]);
            let expected: &[&str] = if round.is_multiple_of(2) {
                &["a", "b", "sometimes", "stays"]
            } else {
                &["a", "b", "stays"]
            };
            until("only what is wanted is there", || {
                station.containers().keys().map(String::as_str).eq(expected.iter().copied())
            });
            let spec = || station.client().get("/v1/spec").json();
            let start = Instant::now();
            while !spec()["containers"].as_object().unwrap().values().all(|phase| phase["phase"] == "up") {
                assert!(start.elapsed() < Duration::from_secs(60), "{}", spec());
                std::thread::sleep(Duration::from_millis(20));
            }
            for name in ["a", "b"] {
                let round_of = station.host.ok(&["exec", name, "sh", "-c", "echo $ROUND"]).text();
                assert_eq!(round_of, format!("{round}\n"), "{name}");
            }
            station.kill();
        }
    }
    station.keep_again(&[]);
    assert_eq!(station.identities()["stays"], stays, "it was never touched");
    let scratches = station.host.json(&["scratch", "ls"]).as_array().unwrap().len();
    assert_eq!(
        scratches,
        station.containers().len(),
        "each container has a scratch, and each scratch a container"
    );
    station.kill();
    station.host.ok(&["rm", "-a", "-f"]);
    assert_eq!(station.host.json(&["scratch", "ls"]).as_array().unwrap().len(), 0);
    station.host.assert_clean();
    station.host.ok(&["verify", "--all"]);
}
