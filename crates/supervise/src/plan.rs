//! What to do next, from what is wanted and what is found. Pure: no clock, no files, no processes.
//!
//! [`plan`] is asked again whenever something has changed. It answers with the steps that can be made now, at most one for each
//! container, and with how far each wanted container is. It remembers nothing: that a container was asked to stop, how often it was
//! tried to start it, which steps are under way, all of that is told to it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use layerstone_agent::model::{Exit, HealthStatus, Status};
use layerstone_agent::options::RestartPolicy;
use serde::Serialize;

use crate::spec::{Condition, Definition};

/// The first delay between two attempts.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest one.
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// Who has run for so long begins with the first delay again.
pub const SETTLED: Duration = Duration::from_secs(10);

/// A container that is wanted.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Digest of its definition.
    pub definition: String,
    /// Whether it is started again when it has ended.
    pub restart: RestartPolicy,
    /// What has to be there before it is started.
    pub depends_on: BTreeMap<String, Condition>,
}

impl From<&Definition> for Wanted {
    fn from(definition: &Definition) -> Self {
        Wanted {
            name: definition.name.clone(),
            definition: definition.digest.clone(),
            restart: definition.restart,
            depends_on: definition.depends_on.0.clone(),
        }
    }
}

/// A container that is there.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// It is one of this file's; otherwise it is not touched.
    pub ours: bool,
    /// The definition by which it was made.
    pub definition: String,
    /// What it was said to depend on when it was made.
    pub depends_on: Vec<String>,
    /// How far it is.
    pub status: Status,
    /// A shim looks after it.
    pub has_shim: bool,
    /// Its program has run.
    pub has_run: bool,
    /// How it ended, the last time.
    pub exit: Option<Exit>,
    /// How often its shim has started it again.
    pub restarts: u32,
    /// Somebody asked for its end.
    pub stop_wanted: bool,
    /// It was this program that asked for it, when it ended itself; now it is here again.
    pub resume: bool,
    /// Its health, where that is looked at.
    pub health: Option<HealthStatus>,
}

/// Attempts to start a container that has not settled yet.
#[derive(Debug, Clone)]
pub struct Attempts {
    /// How many.
    pub count: u32,
    /// When the next one may be.
    pub next: Instant,
    /// Why the last one failed, if it did.
    pub error: Option<String>,
}

impl Attempts {
    /// One more than `before`, at `now`.
    pub fn after(before: Option<&Attempts>, now: Instant) -> Self {
        let count = before.map_or(0, |before| before.count).saturating_add(1);
        let delay = FIRST_DELAY.saturating_mul(1 << (count - 1).min(16)).min(LONGEST_DELAY);
        Attempts { count, next: now + delay, error: None }
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "lowercase")]
pub enum Action {
    /// Make a container and start it.
    Create {
        /// Which.
        name: String,
    },
    /// Start one that is there.
    Start {
        /// Which.
        name: String,
        /// Its id.
        id: String,
    },
    /// Stop one whose definition has changed, remove it, make it again and start it.
    Replace {
        /// Which.
        name: String,
        /// The id of the one that goes.
        id: String,
    },
    /// Stop one that is wanted no more, and remove it.
    Remove {
        /// Which.
        name: String,
        /// Its id.
        id: String,
    },
}

impl Action {
    /// The name of the container.
    pub fn name(&self) -> &str {
        match self {
            Action::Create { name }
            | Action::Start { name, .. }
            | Action::Replace { name, .. }
            | Action::Remove { name, .. } => name,
        }
    }

    /// What it does, as a word.
    pub fn verb(&self) -> &'static str {
        match self {
            Action::Create { .. } => "create",
            Action::Start { .. } => "start",
            Action::Replace { .. } => "replace",
            Action::Remove { .. } => "remove",
        }
    }
}

/// How far a wanted container is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "phase", rename_all = "lowercase")]
pub enum Phase {
    /// A step is under way, or begins now.
    Changing,
    /// It is as it should be: its program runs, or its shim will start it again.
    Up,
    /// Its program has ended, and that is fine.
    Done,
    /// Somebody stopped it.
    Stopped,
    /// It has failed, and is not started again.
    Failed {
        /// Why.
        reason: String,
    },
    /// It waits for another one.
    Waiting {
        /// For which.
        on: String,
        /// Until when.
        condition: Condition,
        /// Why that is not so yet.
        reason: String,
    },
    /// The last attempt failed, or it ended soon after; the next one is in a while.
    Backoff {
        /// Attempts so far.
        attempts: u32,
        /// Why the last one failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// Its name is that of a container that is not the file's.
    Conflict {
        /// The id of that one.
        by: String,
    },
}

/// What to do, and how far everything is.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The steps that can be made now.
    pub actions: Vec<Action>,
    /// Of each wanted container.
    pub phases: BTreeMap<String, Phase>,
    /// When it is worth asking again, though nothing has changed.
    pub next: Option<Instant>,
}

/// Everything that a plan is made from.
#[derive(Debug)]
pub struct Situation<'a> {
    /// The wanted containers.
    pub wanted: &'a [Wanted],
    /// All containers that there are.
    pub found: &'a [Found],
    /// Attempts to start, by name.
    pub attempts: &'a BTreeMap<String, Attempts>,
    /// Names of containers with which something is being done.
    pub busy: &'a BTreeSet<String>,
    /// Now.
    pub now: Instant,
}

/// What to do now.
pub fn plan(situation: &Situation<'_>) -> Plan {
    let world = World {
        wanted: situation.wanted.iter().map(|wanted| (wanted.name.as_str(), wanted)).collect(),
        found: situation.found.iter().map(|found| (found.name.as_str(), found)).collect(),
        attempts: situation.attempts,
        busy: situation.busy,
    };
    let mut plan = Plan::default();
    for wanted in situation.wanted {
        let (phase, action) = world.step(wanted);
        // Between two attempts, whatever they are, is a while.
        let early = action.is_some().then(|| world.attempts.get(&wanted.name)).flatten();
        let phase = match early.filter(|attempts| attempts.next > situation.now) {
            Some(attempts) => {
                plan.next = Some(plan.next.map_or(attempts.next, |next| next.min(attempts.next)));
                Phase::Backoff { attempts: attempts.count, error: attempts.error.clone() }
            }
            None => {
                plan.actions.extend(action);
                phase
            }
        };
        plan.phases.insert(wanted.name.clone(), phase);
    }
    plan.actions.extend(world.removals());
    plan
}

/// The containers of the file that run and that no other one which runs depends on: those are the next to be stopped when all are.
pub fn last_ones(wanted: &[Wanted], found: &[Found], busy: &BTreeSet<String>) -> Vec<Found> {
    let runs = |found: &&Found| found.ours && found.status.is_up();
    let needs = |found: &Found, other: &Found| {
        let known = wanted.iter().find(|wanted| wanted.name == found.name);
        match known {
            Some(wanted) => wanted.depends_on.contains_key(&other.name),
            None => found.depends_on.contains(&other.name),
        }
    };
    let running: Vec<&Found> = found.iter().filter(runs).collect();
    let is_free = |candidate: &&&Found| {
        !running.iter().any(|other| other.id != candidate.id && needs(other, candidate))
    };
    let mut free: Vec<Found> = running.iter().filter(is_free).map(|found| (*found).clone()).collect();
    if free.is_empty() {
        // Labels of different times may make a circle, which nobody may be caught in.
        free = running.into_iter().cloned().collect();
    }
    free.retain(|found| !busy.contains(&found.name));
    free
}

struct World<'a> {
    wanted: BTreeMap<&'a str, &'a Wanted>,
    found: BTreeMap<&'a str, &'a Found>,
    attempts: &'a BTreeMap<String, Attempts>,
    busy: &'a BTreeSet<String>,
}

impl World<'_> {
    fn step(&self, wanted: &Wanted) -> (Phase, Option<Action>) {
        let name = wanted.name.clone();
        if self.busy.contains(&name) {
            return (Phase::Changing, None);
        }
        let action = match self.found.get(name.as_str()) {
            None => Action::Create { name },
            Some(found) if !found.ours => return (Phase::Conflict { by: found.id.clone() }, None),
            Some(found) if found.definition != wanted.definition => {
                Action::Replace { name, id: found.id.clone() }
            }
            Some(found) => match self.rest(wanted, found) {
                Some(phase) => return (phase, None),
                None => Action::Start { name, id: found.id.clone() },
            },
        };
        match self.waits_for(wanted) {
            Some(waiting) => (waiting, None),
            None => (Phase::Changing, Some(action)),
        }
    }

    /// How far a container is that need not be started; nothing when it has to be.
    fn rest(&self, wanted: &Wanted, found: &Found) -> Option<Phase> {
        match found.status {
            status if status.is_up() => return Some(Phase::Up),
            // Somebody is just starting it.
            Status::Created if found.has_shim => return Some(Phase::Changing),
            Status::Created => return None,
            _ => {}
        }
        if found.resume {
            return None;
        }
        if found.stop_wanted {
            return Some(Phase::Stopped);
        }
        let exit = found.exit.as_ref()?;
        let failed = exit.code != 0 || exit.error.is_some();
        let again = match wanted.restart {
            RestartPolicy::Always => true,
            RestartPolicy::No => false,
            RestartPolicy::OnFailure { max } => {
                let tried = self.attempts.get(&wanted.name).map_or(0, |attempts| attempts.count);
                // As in podman, 0 is no end as well.
                failed && max.is_none_or(|max| max == 0 || (found.restarts < max && tried <= max))
            }
        };
        match (again, failed) {
            (true, _) => None,
            (false, false) => Some(Phase::Done),
            (false, true) => Some(Phase::Failed { reason: how(exit) }),
        }
    }

    /// The first dependency that is not far enough.
    fn waits_for(&self, wanted: &Wanted) -> Option<Phase> {
        wanted.depends_on.iter().find_map(|(on, condition)| {
            let reason = self.lacks(on, *condition)?;
            Some(Phase::Waiting { on: on.clone(), condition: *condition, reason })
        })
    }

    /// Why a dependency is not far enough; nothing when it is.
    fn lacks(&self, on: &str, condition: Condition) -> Option<String> {
        let said = |reason: &str| Some(reason.to_owned());
        let Some(wanted) = self.wanted.get(on) else { return said("it is not in the file") };
        let Some(found) = self.found.get(on).filter(|found| found.ours) else {
            return said("it is not there");
        };
        if self.busy.contains(on) {
            return said("it is being changed");
        }
        if found.definition != wanted.definition {
            return said("it has still to be replaced");
        }
        let runs = matches!(found.status, Status::Running | Status::Paused);
        let phase = self.rest(wanted, found);
        match condition {
            Condition::Started if runs || (found.has_run && phase == Some(Phase::Done)) => None,
            Condition::Healthy if runs => match found.health {
                Some(HealthStatus::Healthy) => None,
                Some(HealthStatus::Starting) => said("its health is not known yet"),
                Some(HealthStatus::Unhealthy) => said("it is unhealthy"),
                None => said("its health is not looked at"),
            },
            Condition::Completed if found.has_run && phase == Some(Phase::Done) => None,
            _ => Some(match phase {
                Some(Phase::Up) if condition == Condition::Completed => "it still runs".to_owned(),
                Some(Phase::Up) => "it ended, and will be started again".to_owned(),
                Some(Phase::Stopped) => "it was stopped".to_owned(),
                Some(Phase::Failed { reason }) => reason,
                Some(Phase::Done) => "it has ended".to_owned(),
                _ => "it does not run".to_owned(),
            }),
        }
    }

    /// Those of ours that are not wanted, and that no other such one depends on.
    fn removals(&self) -> Vec<Action> {
        let gone: Vec<&Found> = self
            .found
            .values()
            .copied()
            .filter(|found| found.ours && !self.wanted.contains_key(found.name.as_str()))
            .collect();
        let is_needed = |candidate: &Found| {
            gone.iter().any(|other| other.id != candidate.id && other.depends_on.contains(&candidate.name))
        };
        let mut free: Vec<&Found> = gone.iter().copied().filter(|found| !is_needed(found)).collect();
        if free.is_empty() {
            free = gone;
        }
        free.retain(|found| !self.busy.contains(&found.name));
        free.iter().map(|found| Action::Remove { name: found.name.clone(), id: found.id.clone() }).collect()
    }
}

/// How something ended, in words.
fn how(exit: &Exit) -> String {
    match (&exit.error, exit.signal) {
        (Some(error), _) => error.clone(),
        (None, _) if exit.oom_killed => "it ran out of memory".to_owned(),
        (None, Some(signal)) => format!("it was ended by signal {signal}"),
        (None, None) => format!("it ended with exit code {}", exit.code),
    }
}

#[cfg(test)]
mod tests;
