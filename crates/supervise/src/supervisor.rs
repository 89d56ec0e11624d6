//! The loop: look, tell what has happened, plan, begin steps, wait until something changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use layerstone_agent::Container;
use layerstone_agent::model::Status;

use crate::error::{Error, Result};
use crate::events::{Kind, News, Of, Seen, diff};
use crate::file::{File, STILL};
use crate::job;
use crate::notice::Notice;
use crate::plan::{Action, Attempts, Found, Phase, SETTLED, Situation, Wanted, last_ones, plan};
use crate::shared::{Done, End, Shared, Snapshot, SpecStatus};
use crate::socket::{Lock, lock};
use crate::spec::{LABEL_DEFINITION, LABEL_DEPENDS_ON, LABEL_PROJECT, Spec};

/// How long nothing is looked at when nothing is noticed: what could not be noticed is seen then.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks, so that what happens at once is looked at together.
const GATHER: Duration = Duration::from_millis(15);
/// The most steps at once.
const MAX_JOBS: usize = 8;
/// How long steps may go on after the end was asked for.
const LAST_STEPS: Duration = Duration::from_secs(2);
/// How often stopping one container may fail at the end before it is left alone.
const MAX_STOPS: u32 = 3;

/// Keeps the containers of a file in their wanted state, and everybody informed.
#[derive(Debug)]
pub struct Supervisor {
    shared: Arc<Shared>,
    file: Option<File>,
    _lock: Option<Lock>,
    notice: Notice,
    seen: Option<BTreeMap<String, Seen>>,
    attempts: BTreeMap<String, Attempts>,
    busy: BTreeSet<String>,
    /// How often stopping each one has failed, at the end.
    stops: BTreeMap<String, u32>,
    phases: BTreeMap<String, Phase>,
}

impl Supervisor {
    /// Reads the file, and makes sure that nobody else keeps its containers.
    pub(crate) fn new(shared: Arc<Shared>) -> Result<Self> {
        let file = match &shared.settings.spec {
            Some(path) => Some(File::open(path)?),
            None => None,
        };
        let lock = match &file {
            Some(file) => {
                let project = &file.loaded.project;
                let path = shared.agent.directory().join(format!("agent-{project}.lock"));
                let kept = |pid| Error::Kept { project: project.clone(), pid };
                Some(lock(&path)?.map_err(kept)?)
            }
            None => None,
        };
        let containers = [shared.agent.directory(), shared.agent.brief_directory()];
        for directory in containers {
            std::fs::create_dir_all(directory).map_err(|source| Error::Io {
                doing: "create",
                path: directory.to_path_buf(),
                source,
            })?;
        }
        let notice = Notice::new(containers, file.as_ref().map(|file| file.loaded.path.as_path()))?;
        Ok(Supervisor {
            shared,
            file,
            _lock: lock,
            notice,
            seen: None,
            attempts: BTreeMap::new(),
            busy: BTreeSet::new(),
            stops: BTreeMap::new(),
            phases: BTreeMap::new(),
        })
    }

    /// Works until the end was asked for. What fails is tried again: it is no reason to leave the containers alone.
    pub(crate) fn run(mut self) {
        let mut ending: Option<Instant> = None;
        let mut told = String::new();
        loop {
            match self.turn(&mut ending) {
                Ok(true) => return,
                Ok(false) => told.clear(),
                Err(error) => {
                    let message = error.in_one_line();
                    if message != told {
                        self.shared.log(&message);
                        told = message;
                    }
                    if self.shared.control().end.is_some() {
                        return;
                    }
                    std::thread::sleep(PATIENCE);
                }
            }
        }
    }

    /// One look, and what follows from it. True when the end has come.
    fn turn(&mut self, ending: &mut Option<Instant>) -> Result<bool> {
        self.shared.reap();
        self.take_done();
        self.read_again();
        let containers = self.look()?;
        let project = self.file.as_ref().map(|file| file.loaded.project.as_str());
        let found: Vec<Found> = containers.iter().map(|container| found(container, project)).collect();
        let end = self.shared.control().end;
        let (next, is_over) = match end {
            None => (self.pursue(&found), false),
            Some(end) => {
                let since = *ending.get_or_insert_with(Instant::now);
                (None, self.is_over(end, &found, since))
            }
        };
        self.publish(containers);
        if is_over {
            return Ok(true);
        }
        let mut patience = PATIENCE;
        if let Some(next) = next {
            patience = patience.min(next.saturating_duration_since(Instant::now()));
        }
        if self.file.as_ref().is_some_and(File::is_changing) {
            patience = patience.min(STILL);
        }
        self.notice.wait(&self.shared, patience)?;
        std::thread::sleep(GATHER);
        Ok(false)
    }

    /// What has come of the steps that are over.
    fn take_done(&mut self) {
        let done = std::mem::take(&mut self.shared.control().done);
        for Done { name, result } in done {
            self.busy.remove(&name);
            let attempts = self.attempts.get_mut(&name);
            match result {
                Ok(()) => {
                    if let Some(attempts) = attempts {
                        attempts.error = None;
                    }
                }
                Err(message) => {
                    if let Some(attempts) = attempts {
                        // However long the attempt took, the next one is a while after it.
                        let count = attempts.count.saturating_sub(1);
                        let before = Attempts { count, ..attempts.clone() };
                        *attempts = Attempts::after(Some(&before), Instant::now());
                        attempts.error = Some(message.clone());
                    }
                    if self.shared.control().end.is_some() {
                        *self.stops.entry(name.clone()).or_default() += 1;
                    }
                    let of = Of { id: String::new(), name: name.clone(), image: self.image(&name) };
                    self.shared.tell(News::new(Kind::Error, Some(of)).saying(message));
                }
            }
        }
    }

    fn image(&self, name: &str) -> String {
        let definition = self.file.as_ref().and_then(|file| file.definition(name));
        definition.map(|definition| definition.image.clone()).unwrap_or_default()
    }

    /// Reads the file again when it has changed, or somebody asks for it.
    fn read_again(&mut self) {
        let asked = std::mem::take(&mut self.shared.control().reload);
        let result = match &mut self.file {
            None => Err("there is no file: this agent was started without --spec".to_owned()),
            Some(file) => {
                if asked.is_empty() && !file.has_changed() {
                    return;
                }
                let before = file.digests();
                let result = file.read_again();
                let after = file.digests();
                // What was changed has not been tried yet.
                self.attempts.retain(|name, _| before.get(name) == after.get(name));
                self.shared.tell(match &result {
                    Ok(count) => {
                        News::new(Kind::SpecReload, None).saying(format!("{count} containers are wanted"))
                    }
                    Err(message) => News::new(Kind::SpecError, None).saying(message.clone()),
                });
                result
            }
        };
        for answer in asked {
            let _ = answer.send(result.clone());
        }
    }

    /// Looks at all containers, and tells what has happened to them since the last time.
    fn look(&mut self) -> Result<Vec<Container>> {
        let survey = self.shared.agent.survey()?;
        let failed: Vec<(String, String)> =
            survey.failed.into_iter().map(|(id, error)| (id, error.in_one_line())).collect();
        let known = self.shared.snapshot.borrow().failed.clone();
        for (id, message) in failed.iter().filter(|failed| !known.contains(failed)) {
            self.shared.log(&format!("{}: {message}", layerstone_agent::model::short(id)));
        }
        let mut seen: BTreeMap<String, Seen> = survey
            .containers
            .iter()
            .map(|container| (container.config().id.clone(), Seen::from(container)))
            .collect();
        match &self.seen {
            Some(before) => {
                // One that cannot be read has not been removed.
                for (id, _) in &failed {
                    if let Some(before) = before.get(id) {
                        seen.entry(id.clone()).or_insert_with(|| before.clone());
                    }
                }
                for news in diff(before, &seen) {
                    self.shared.tell(news);
                }
            }
            None => {
                self.shared.log(&format!("{} containers are there", seen.len()));
                survey.containers.iter().for_each(job::unmark);
            }
        }
        self.seen = Some(seen);
        self.notice.watch(&survey.containers);
        self.shared.snapshot.send_modify(|snapshot| {
            *snapshot = Arc::new(Snapshot { failed, ..(**snapshot).clone() });
        });
        Ok(survey.containers)
    }

    /// Begins the steps that can be made now. When it is worth looking again.
    fn pursue(&mut self, found: &[Found]) -> Option<Instant> {
        self.forgive(found);
        let Some(file) = &self.file else { return None };
        let now = Instant::now();
        let situation =
            Situation { wanted: &file.wanted, found, attempts: &self.attempts, busy: &self.busy, now };
        let plan = plan(&situation);
        self.phases = plan.phases;
        for action in plan.actions {
            if self.busy.len() >= MAX_JOBS {
                // The end of a step is noticed.
                break;
            }
            let name = action.name().to_owned();
            let before = self.attempts.get(&name).cloned();
            // Removing something is no attempt to start it, but what fails is not tried again at once either.
            if let (Action::Remove { .. }, Some(before)) = (&action, &before)
                && before.next > now
            {
                continue;
            }
            self.attempts.insert(name, Attempts::after(before.as_ref(), now));
            let definition = self.file.as_ref().and_then(|file| file.definition(action.name())).cloned();
            self.begin(action.name().to_owned(), move |shared| {
                job::run(shared, &action, definition.as_ref())
            });
        }
        plan.next
    }

    /// Forgets the attempts of those that have settled, and of those that are gone.
    fn forgive(&mut self, found: &[Found]) {
        let settled = |found: &Found| {
            let snapshot = self.shared.snapshot.borrow().clone();
            let container = snapshot.containers.iter().find(|container| container.config().id == found.id);
            let started = container.and_then(|container| container.state().started.as_deref());
            let started = started.and_then(|text| text.parse::<Timestamp>().ok());
            started.is_some_and(|started| {
                let run = Timestamp::now().duration_since(started);
                Duration::try_from(run).is_ok_and(|run| run >= SETTLED)
            })
        };
        let over: Vec<String> = self
            .attempts
            .iter()
            .filter(|(name, attempts)| {
                let one = found.iter().find(|found| found.name == **name);
                match one {
                    Some(found) => {
                        attempts.error.is_none() && found.status == Status::Running && settled(found)
                    }
                    None => {
                        let wanted = self.file.as_ref().and_then(|file| file.definition(name));
                        wanted.is_none() && !self.busy.contains(*name)
                    }
                }
            })
            .map(|(name, _)| name.clone())
            .collect();
        for name in over {
            self.attempts.remove(&name);
        }
    }

    /// Begins a step in a thread of its own.
    fn begin(
        &mut self,
        name: String,
        work: impl FnOnce(&Shared) -> layerstone_agent::Result<()> + Send + 'static,
    ) {
        self.busy.insert(name.clone());
        let shared = Arc::clone(&self.shared);
        let of = name.clone();
        let job = move || {
            let work = std::panic::AssertUnwindSafe(|| work(&shared));
            let result = match std::panic::catch_unwind(work) {
                Ok(result) => result.map_err(|error| error.in_one_line()),
                Err(_) => {
                    Err("the step has failed in a way that nobody expected; the log says where".to_owned())
                }
            };
            shared.control().done.push(Done { name: of, result });
            shared.wake();
        };
        let spawned = std::thread::Builder::new().name("step".to_owned()).spawn(job);
        if let Err(error) = spawned {
            let result = Err(format!("cannot begin a step: {error}"));
            self.shared.control().done.push(Done { name, result });
            self.shared.wake();
        }
    }

    /// Works towards the end. True when it has come.
    fn is_over(&mut self, end: End, found: &[Found], since: Instant) -> bool {
        if end == End::Leave || self.file.is_none() {
            return self.busy.is_empty() || since.elapsed() >= LAST_STEPS;
        }
        let runs = |found: &&Found| {
            found.ours
                && found.status.is_up()
                && self.stops.get(&found.name).is_none_or(|stops| *stops < MAX_STOPS)
        };
        let left: Vec<Found> = found.iter().filter(runs).cloned().collect();
        if left.is_empty() && self.busy.is_empty() {
            return true;
        }
        let wanted = self.file.as_ref().map(|file| file.wanted.clone()).unwrap_or_default();
        for found in last_ones(&wanted, &left, &self.busy) {
            if self.busy.len() < MAX_JOBS {
                let id = found.id.clone();
                self.begin(found.name, move |shared| job::stop_for_now(shared, &id));
            }
        }
        false
    }

    /// Lets everybody see how it is now.
    fn publish(&mut self, containers: Vec<Container>) {
        let spec = self.file.as_ref().map(|file| SpecStatus {
            project: file.loaded.project.clone(),
            file: file.loaded.path.clone(),
            loaded: file.at,
            error: file.error.clone(),
            containers: self.phases.clone(),
        });
        self.shared.snapshot.send_modify(|snapshot| {
            *snapshot = Arc::new(Snapshot { containers, failed: snapshot.failed.clone(), spec });
        });
    }
}

/// What is found of a container, for a file of `project`.
fn found(container: &Container, project: Option<&str>) -> Found {
    let (config, state) = (container.config(), container.state());
    let label = |name: &str| config.labels.get(name).map(String::as_str);
    let ours = project.is_some() && label(LABEL_PROJECT) == project;
    Found {
        id: config.id.clone(),
        name: config.name.clone(),
        ours,
        definition: label(LABEL_DEFINITION).unwrap_or_default().to_owned(),
        depends_on: label(LABEL_DEPENDS_ON).unwrap_or_default().split(',').map(str::to_owned).collect(),
        status: state.status,
        has_shim: state.shim.is_some(),
        has_run: state.started.is_some(),
        exit: state.exit.clone(),
        restarts: state.restarts,
        stop_wanted: state.stop_wanted,
        resume: ours && job::is_stopped_for_now(container),
        health: state.health.as_ref().map(|health| health.status),
    }
}

/// What would be done first for a file, were it kept now: the steps, and how far each container is.
///
/// # Errors
/// When the file cannot be read, or the containers cannot be looked at.
pub fn preview(
    agent: &layerstone_agent::Agent,
    path: &Path,
) -> Result<(Vec<Action>, BTreeMap<String, Phase>)> {
    let loaded = Spec::load(path)?;
    let wanted: Vec<Wanted> = loaded.definitions.iter().map(Wanted::from).collect();
    let survey = agent.survey()?;
    let found: Vec<Found> =
        survey.containers.iter().map(|container| found(container, Some(&loaded.project))).collect();
    let situation = Situation {
        wanted: &wanted,
        found: &found,
        attempts: &BTreeMap::new(),
        busy: &BTreeSet::new(),
        now: Instant::now(),
    };
    let plan = plan(&situation);
    Ok((plan.actions, plan.phases))
}
