use layerstone_agent::model::{Exit, HealthStatus, Status};

use super::*;

fn seen(status: Status) -> Seen {
    Seen {
        id: "1".to_owned(),
        name: "a".to_owned(),
        image: "x".to_owned(),
        status,
        started: (status != Status::Created).then(|| "first".to_owned()),
        exit: None,
        restarts: 0,
        stop_wanted: false,
        health: None,
    }
}

fn ended(code: u8, at: &str) -> Option<Exit> {
    Some(Exit { code, signal: None, oom_killed: false, error: None, finished: at.to_owned() })
}

fn kinds(before: Option<Seen>, after: Option<Seen>) -> Vec<Kind> {
    let map = |seen: Option<Seen>| seen.into_iter().map(|seen| (seen.id.clone(), seen)).collect();
    diff(&map(before), &map(after)).into_iter().map(|news| news.kind).collect()
}

#[test]
fn a_life_is_told_step_by_step() {
    use Kind::{Create, Die, Health, Pause, Remove, Start, Stop, Unpause};
    let created = seen(Status::Created);
    let running = seen(Status::Running);
    let healthy = Seen { health: Some(HealthStatus::Healthy), ..running.clone() };
    let paused = Seen { status: Status::Paused, ..healthy.clone() };
    let stopped =
        Seen { status: Status::Stopped, exit: ended(0, "1"), stop_wanted: true, ..seen(Status::Stopped) };
    let steps = [
        (None, Some(created.clone()), vec![Create]),
        (Some(created), Some(running.clone()), vec![Start]),
        (Some(running), Some(healthy.clone()), vec![Health]),
        (Some(healthy.clone()), Some(paused.clone()), vec![Pause]),
        (Some(paused.clone()), Some(healthy.clone()), vec![Unpause]),
        (Some(paused), Some(stopped.clone()), vec![Unpause, Die, Stop]),
        (Some(healthy.clone()), Some(stopped.clone()), vec![Die, Stop]),
        (Some(stopped.clone()), Some(stopped.clone()), vec![]),
        (Some(stopped), None, vec![Remove]),
        (Some(healthy.clone()), None, vec![Die, Remove]),
        (Some(healthy.clone()), Some(healthy), vec![]),
    ];
    for (before, after, expected) in steps {
        assert_eq!(kinds(before.clone(), after.clone()), expected, "{before:?} -> {after:?}");
    }
}

#[test]
fn what_happened_between_two_looks_is_told_in_its_order() {
    use Kind::{Create, Die, Oom, Restart, Start};
    let stopped = Seen { exit: ended(3, "1"), ..seen(Status::Stopped) };
    assert_eq!(kinds(None, Some(stopped.clone())), [Create, Start, Die]);
    let never_ran = Seen { started: None, exit: ended(127, "1"), ..seen(Status::Stopped) };
    assert_eq!(kinds(None, Some(never_ran)), [Create, Die], "it could not be started");
    let again = Seen {
        started: Some("second".to_owned()),
        exit: ended(3, "1"),
        restarts: 1,
        ..seen(Status::Running)
    };
    assert_eq!(kinds(Some(seen(Status::Running)), Some(again.clone())), [Die, Restart]);
    let waiting = Seen { status: Status::Restarting, exit: ended(3, "1"), ..seen(Status::Stopped) };
    assert_eq!(kinds(Some(seen(Status::Running)), Some(waiting.clone())), [Die]);
    assert_eq!(kinds(Some(waiting), Some(again.clone())), [Restart]);
    let started_by_hand = Seen { restarts: 0, ..again.clone() };
    assert_eq!(kinds(Some(stopped.clone()), Some(started_by_hand)), [Start]);
    let over = Seen { status: Status::Stopped, exit: ended(4, "2"), ..again };
    assert_eq!(kinds(Some(seen(Status::Running)), Some(over)), [Die, Restart, Die]);
    let mut exit = ended(137, "1");
    exit.as_mut().unwrap().oom_killed = true;
    assert_eq!(kinds(Some(seen(Status::Running)), Some(Seen { exit, ..stopped })), [Oom, Die]);
}

#[test]
fn a_client_goes_on_after_the_last_event_that_it_has() {
    let ring = Ring::default();
    let begin = ring.newest();
    for _ in 0..10 {
        ring.add(News::new(Kind::SpecReload, None));
    }
    let ids = |events: Vec<Event>| events.iter().map(|event| event.id - begin).collect::<Vec<_>>();
    assert_eq!(ids(ring.after(begin, 3)), [1, 2, 3]);
    assert_eq!(ids(ring.after(begin + 8, 100)), [9, 10]);
    assert!(ring.after(begin + 10, 100).is_empty());
    assert_eq!(ids(ring.after(0, 2)), [1, 2], "0 means all that are kept");
}

#[test]
fn a_client_is_told_when_events_are_gone() {
    let ring = Ring::default();
    let begin = ring.newest();
    let first = |id| ring.after(id, 1).first().map(|event| (event.kind, event.id - begin));
    // The id of an event of an earlier process.
    assert_eq!(first(begin - 5), Some((Kind::Lost, 0)));
    for _ in 0..KEPT + 7 {
        ring.add(News::new(Kind::SpecReload, None));
    }
    assert_eq!(first(begin + 1), Some((Kind::Lost, 7)));
    assert_eq!(first(begin + 6), Some((Kind::Lost, 7)));
    assert_eq!(first(begin + 7), Some((Kind::SpecReload, 8)));
    assert_eq!(ring.after(0, 2 * KEPT).len(), KEPT);
}
