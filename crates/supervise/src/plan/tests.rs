use std::collections::{BTreeMap, BTreeSet};

use layerstone_agent::model::{Exit, HealthStatus, Status};
use proptest::prelude::*;

use super::*;

fn wanted(name: &str, depends_on: &[(&str, Condition)]) -> Wanted {
    Wanted {
        name: name.to_owned(),
        definition: "1".to_owned(),
        restart: RestartPolicy::Always,
        depends_on: depends_on.iter().map(|(name, condition)| ((*name).to_owned(), *condition)).collect(),
    }
}

fn found(name: &str, status: Status) -> Found {
    Found {
        id: format!("id-{name}"),
        name: name.to_owned(),
        ours: true,
        definition: "1".to_owned(),
        depends_on: Vec::new(),
        status,
        has_shim: matches!(status, Status::Running | Status::Paused | Status::Restarting),
        has_run: status != Status::Created,
        exit: None,
        restarts: 0,
        stop_wanted: false,
        resume: false,
        health: None,
    }
}

fn exit(code: u8) -> Option<Exit> {
    Some(Exit { code, signal: None, oom_killed: false, error: None, finished: String::new() })
}

fn ask(wanted: &[Wanted], found: &[Found]) -> Plan {
    plan(&Situation {
        wanted,
        found,
        attempts: &BTreeMap::new(),
        busy: &BTreeSet::new(),
        now: Instant::now(),
    })
}

fn steps(plan: &Plan) -> Vec<String> {
    plan.actions.iter().map(|action| format!("{} {}", action.verb(), action.name())).collect()
}

#[test]
fn what_is_missing_is_made_in_the_order_of_dependencies() {
    let all = [wanted("web", &[("db", Condition::Started)]), wanted("db", &[])];
    let first = ask(&all, &[]);
    assert_eq!(steps(&first), ["create db"]);
    assert!(matches!(&first.phases["web"], Phase::Waiting { on, .. } if on == "db"));
    assert_eq!(steps(&ask(&all, &[found("db", Status::Running)])), ["create web"]);
    let both = [found("db", Status::Running), found("web", Status::Running)];
    assert_eq!(steps(&ask(&all, &both)), [""; 0]);
}

#[test]
fn healthy_means_that_a_check_has_succeeded() {
    let all = [wanted("web", &[("db", Condition::Healthy)]), wanted("db", &[])];
    for (health, expected) in [
        (None, &[][..]),
        (Some(HealthStatus::Starting), &[]),
        (Some(HealthStatus::Unhealthy), &[]),
        (Some(HealthStatus::Healthy), &["create web"]),
    ] {
        let db = Found { health, ..found("db", Status::Running) };
        assert_eq!(steps(&ask(&all, &[db])), expected, "{health:?}");
    }
}

#[test]
fn completed_means_that_it_has_ended_well() {
    let job = Wanted { restart: RestartPolicy::No, ..wanted("job", &[]) };
    let all = [job, wanted("web", &[("job", Condition::Completed)])];
    assert_eq!(steps(&ask(&all, &[found("job", Status::Running)])), [""; 0]);
    let well = Found { exit: exit(0), ..found("job", Status::Stopped) };
    assert_eq!(steps(&ask(&all, std::slice::from_ref(&well))), ["create web"]);
    let badly = Found { exit: exit(3), ..well };
    let plan = ask(&all, &[badly]);
    assert_eq!(steps(&plan), [""; 0]);
    assert_eq!(plan.phases["job"], Phase::Failed { reason: "it ended with exit code 3".to_owned() });
    assert!(matches!(&plan.phases["web"], Phase::Waiting { reason, .. } if reason.contains("exit code 3")));
}

#[test]
fn who_has_ended_is_started_again_as_its_policy_says() {
    let with = |restart, exit: Option<Exit>, restarts, stop_wanted, resume| {
        let one = Wanted { restart, ..wanted("a", &[]) };
        let stopped = Found { exit, restarts, stop_wanted, resume, ..found("a", Status::Stopped) };
        let plan = ask(&[one], &[stopped]);
        (steps(&plan).join(""), plan.phases["a"].clone())
    };
    let always = RestartPolicy::Always;
    let on_failure = RestartPolicy::OnFailure { max: Some(3) };
    assert_eq!(with(always, exit(0), 0, false, false).0, "start a");
    assert_eq!(with(always, exit(0), 0, true, false), (String::new(), Phase::Stopped));
    assert_eq!(with(always, exit(0), 0, true, true).0, "start a", "this program had stopped it");
    assert_eq!(with(on_failure, exit(0), 0, false, false), (String::new(), Phase::Done));
    assert_eq!(with(on_failure, exit(137), 2, false, false).0, "start a");
    assert!(matches!(with(on_failure, exit(137), 3, false, false).1, Phase::Failed { .. }));
    assert!(matches!(with(RestartPolicy::No, exit(1), 0, false, false).1, Phase::Failed { .. }));
    assert_eq!(with(RestartPolicy::No, exit(0), 0, false, false).1, Phase::Done);
    assert_eq!(with(RestartPolicy::No, None, 0, false, false).0, "start a");
}

#[test]
fn what_has_changed_is_replaced_and_nothing_else() {
    let all = [wanted("a", &[]), wanted("b", &[("a", Condition::Started)]), wanted("c", &[])];
    let old = Found { definition: "0".to_owned(), ..found("a", Status::Running) };
    let plan = ask(&all, &[old, found("b", Status::Running), found("c", Status::Running)]);
    assert_eq!(steps(&plan), ["replace a"]);
    assert_eq!(plan.phases["b"], Phase::Up);
}

#[test]
fn what_nobody_wants_goes_dependents_first_and_what_is_not_ours_stays() {
    let web = Found { depends_on: vec!["db".to_owned()], ..found("web", Status::Running) };
    let foreign = Found { ours: false, ..found("foreign", Status::Running) };
    let all = [found("db", Status::Running), web, foreign];
    assert_eq!(steps(&ask(&[], &all)), ["remove web"]);
    assert_eq!(steps(&ask(&[], &[all[0].clone(), all[2].clone()])), ["remove db"]);
    assert_eq!(steps(&ask(&[], &[all[2].clone()])), [""; 0]);
    let taken = ask(&[wanted("foreign", &[])], &[all[2].clone()]);
    assert_eq!(taken.phases["foreign"], Phase::Conflict { by: "id-foreign".to_owned() });
    assert_eq!(steps(&taken), [""; 0]);
}

#[test]
fn what_wait_in_a_circle_of_old_labels_still_goes() {
    let of = |name: &str, on: &str| Found { depends_on: vec![on.to_owned()], ..found(name, Status::Running) };
    assert_eq!(steps(&ask(&[], &[of("a", "b"), of("b", "a")])).len(), 2);
}

#[test]
fn between_two_attempts_is_a_while_that_grows() {
    let now = Instant::now();
    let mut attempts: Option<Attempts> = None;
    let mut delays = Vec::new();
    for _ in 0..40 {
        let next = Attempts::after(attempts.as_ref(), now);
        delays.push(next.next - now);
        attempts = Some(next);
    }
    assert_eq!(delays[0], FIRST_DELAY);
    assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(delays[39], LONGEST_DELAY);
    let attempts = BTreeMap::from([("a".to_owned(), attempts.unwrap())]);
    let all = [wanted("a", &[])];
    let stopped = [Found { exit: exit(1), ..found("a", Status::Stopped) }];
    let at = |now| {
        plan(&Situation { wanted: &all, found: &stopped, attempts: &attempts, busy: &BTreeSet::new(), now })
    };
    let early = at(now);
    assert_eq!(steps(&early), [""; 0]);
    assert_eq!(early.next, Some(now + LONGEST_DELAY));
    assert!(matches!(early.phases["a"], Phase::Backoff { attempts: 40, .. }));
    assert_eq!(steps(&at(now + LONGEST_DELAY)), ["start a"]);
}

#[test]
fn a_start_that_somebody_else_has_begun_is_waited_for() {
    let begun = Found { has_shim: true, ..found("a", Status::Created) };
    let plan = ask(&[wanted("a", &[])], &[begun]);
    assert_eq!((steps(&plan).len(), &plan.phases["a"]), (0, &Phase::Changing));
    assert_eq!(steps(&ask(&[wanted("a", &[])], &[found("a", Status::Created)])), ["start a"]);
}

#[test]
fn at_the_end_the_last_ones_go_first() {
    let all = [
        wanted("web", &[("app", Condition::Started)]),
        wanted("app", &[("db", Condition::Healthy)]),
        wanted("db", &[]),
    ];
    let mut running =
        vec![found("db", Status::Running), found("app", Status::Paused), found("web", Status::Restarting)];
    for expected in ["web", "app", "db"] {
        let next = last_ones(&all, &running, &BTreeSet::new());
        assert_eq!(next.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(), [expected]);
        let busy = BTreeSet::from([expected.to_owned()]);
        assert!(last_ones(&all, &running, &busy).is_empty(), "it is being stopped");
        running.retain(|found| found.name != expected);
    }
}

/// A file: for each container, on which of those before it it depends; and what is there of it.
fn worlds() -> impl Strategy<Value = (Vec<Wanted>, Vec<Found>)> {
    let one = (
        prop::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..3),
        0..3_u8,
        prop::option::of((0..5_u8, any::<bool>(), any::<bool>(), any::<bool>(), 0..3_u8)),
    );
    prop::collection::vec(one, 1..8).prop_map(|ones| {
        let mut all: Vec<Wanted> = Vec::new();
        let mut there = Vec::new();
        for (number, (on, restart, state)) in ones.into_iter().enumerate() {
            let name = format!("c{number}");
            let mut one = wanted(&name, &[]);
            one.restart = match restart {
                0 => RestartPolicy::Always,
                1 => RestartPolicy::No,
                _ => RestartPolicy::OnFailure { max: None },
            };
            for (index, condition) in on {
                if number > 0 {
                    let on = &all[index.index(number)];
                    let condition = match condition {
                        0 => Condition::Started,
                        1 => Condition::Healthy,
                        _ if on.restart == RestartPolicy::Always => Condition::Started,
                        _ => Condition::Completed,
                    };
                    one.depends_on.insert(on.name.clone(), condition);
                }
            }
            if let Some((status, ours, current, wanted_now, code)) = state {
                let status =
                    [Status::Created, Status::Running, Status::Paused, Status::Restarting, Status::Stopped]
                        [usize::from(status)];
                let mut is = found(&name, status);
                is.ours = ours || code > 0;
                is.definition = if current { "1".to_owned() } else { "0".to_owned() };
                is.exit = exit(code).filter(|_| status == Status::Stopped);
                is.health = Some(HealthStatus::Healthy);
                if wanted_now {
                    there.push(is);
                } else {
                    there.push(Found { name: format!("old-{name}"), id: format!("old-{name}"), ..is });
                }
            }
            all.push(one);
        }
        (all, there)
    })
}

/// What a step makes of the world: a program that has to end does so well, all others run and are healthy.
fn carry_out(action: &Action, all: &[Wanted], there: &mut Vec<Found>) {
    there.retain(|found| found.name != action.name() || matches!(action, Action::Start { .. }));
    let Some(one) = all.iter().find(|wanted| wanted.name == action.name()) else { return };
    let status = if one.restart == RestartPolicy::Always { Status::Running } else { Status::Stopped };
    let is = Found {
        exit: exit(0).filter(|_| status == Status::Stopped),
        health: Some(HealthStatus::Healthy),
        ..found(&one.name, status)
    };
    if matches!(action, Action::Remove { .. }) {
        return;
    }
    there.retain(|found| found.name != is.name);
    there.push(is);
}

proptest! {
    #[test]
    fn steps_lead_to_what_is_wanted_in_the_right_order((all, there) in worlds()) {
        let mut now = there.clone();
        let foreign: Vec<String> = there.iter().filter(|f| !f.ours).map(|f| f.id.clone()).collect();
        let mut rounds = 0;
        loop {
            let plan = ask(&all, &now);
            prop_assert_eq!(plan.phases.len(), all.len());
            let names: BTreeSet<&str> = plan.actions.iter().map(Action::name).collect();
            prop_assert_eq!(names.len(), plan.actions.len(), "one step for each container");
            if plan.actions.is_empty() {
                break;
            }
            for action in &plan.actions {
                let one = all.iter().find(|wanted| wanted.name == action.name());
                for on in one.iter().flat_map(|one| one.depends_on.keys()) {
                    let on = now.iter().find(|found| found.name == *on);
                    let fine = on.is_some_and(|on| on.ours && on.definition == "1" && on.has_run);
                    prop_assert!(fine, "{action:?} comes before what it depends on");
                }
            }
            for action in &plan.actions {
                carry_out(action, &all, &mut now);
            }
            rounds += 1;
            prop_assert!(rounds < 40, "it comes to no end");
        }
        for id in foreign {
            prop_assert!(now.iter().any(|found| found.id == id), "what is not ours was touched");
        }
        for found in now.iter().filter(|found| found.ours) {
            prop_assert!(all.iter().any(|one| one.name == found.name), "{} is left", found.name);
            let phase = &ask(&all, &now).phases[&found.name];
            let waits = matches!(phase, Phase::Waiting { .. });
            prop_assert!(waits || found.definition == "1", "{} was not replaced", found.name);
        }
    }
}
