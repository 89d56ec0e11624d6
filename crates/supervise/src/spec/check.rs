//! What no single value shows: containers that wait for each other, or for what never comes.

use std::collections::BTreeSet;

use layerstone_agent::options::RestartPolicy;

use super::{Condition, Spec};
use crate::error::Problem;

/// Everything that is wrong with how the containers of a file hang together.
pub(super) fn problems(spec: &Spec) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, container) in &spec.containers {
        for (on, condition) in &container.depends_on.0 {
            let Some(other) = spec.containers.get(on) else {
                problems.push(Problem::Unknown { container: name.clone(), on: on.clone() });
                continue;
            };
            let why = match condition {
                Condition::Healthy if other.health.as_ref().is_some_and(|health| health.disable) => {
                    "its health is not looked at (`health: {disable: true}`)"
                }
                Condition::Completed
                    if other.restart.unwrap_or(RestartPolicy::Always) == RestartPolicy::Always =>
                {
                    "it is started again whenever it ends: give it `restart: no` or `restart: on-failure`"
                }
                _ => continue,
            };
            let condition = condition.name();
            problems.push(Problem::Never { container: name.clone(), on: on.clone(), condition, why });
        }
    }
    problems.extend(cycle(spec).map(|cycle| Problem::Cycle { cycle }));
    problems
}

/// The first circle that there is, if there is one. Without recursion: a file may have a chain of any length.
fn cycle(spec: &Spec) -> Option<Vec<String>> {
    let next = |name: &str| {
        let container = spec.containers.get(name);
        container.into_iter().flat_map(|container| container.depends_on.0.keys().map(String::as_str))
    };
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for start in spec.containers.keys() {
        // Each name on the way, and those that have still to be looked at from there.
        let mut way: Vec<(&str, Vec<&str>)> = vec![(start, next(start).collect())];
        while let Some((name, left)) = way.last_mut() {
            let Some(on) = left.pop() else {
                done.insert(*name);
                way.pop();
                continue;
            };
            if let Some(at) = way.iter().position(|(name, _)| *name == on) {
                let mut cycle: Vec<String> = way[at..].iter().map(|(name, _)| (*name).to_owned()).collect();
                cycle.push(on.to_owned());
                return Some(cycle);
            }
            if !done.contains(on) {
                let following = next(on).collect();
                way.push((on, following));
            }
        }
    }
    None
}
