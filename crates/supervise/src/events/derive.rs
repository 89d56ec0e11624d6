//! Events from the difference between two looks.

use std::collections::BTreeMap;

use layerstone_agent::Container;
use layerstone_agent::model::{Exit, HealthStatus, Status};

use super::{Kind, News, Of};

/// What two looks at a container are compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image: String,
    /// How far it is.
    pub status: Status,
    /// When its program was started, the last time.
    pub started: Option<String>,
    /// How it ended, the last time.
    pub exit: Option<Exit>,
    /// How often its shim has started it again.
    pub restarts: u32,
    /// Somebody asked for its end.
    pub stop_wanted: bool,
    /// Its health.
    pub health: Option<HealthStatus>,
}

impl From<&Container> for Seen {
    fn from(container: &Container) -> Self {
        let (config, state) = (container.config(), container.state());
        Seen {
            id: config.id.clone(),
            name: config.name.clone(),
            image: config.image.clone(),
            status: state.status,
            started: state.started.clone(),
            exit: state.exit.clone(),
            restarts: state.restarts,
            stop_wanted: state.stop_wanted,
            health: state.health.as_ref().map(|health| health.status),
        }
    }
}

impl Seen {
    fn news(&self, kind: Kind) -> News {
        let of = Of { id: self.id.clone(), name: self.name.clone(), image: self.image.clone() };
        News::new(kind, Some(of))
    }

    fn runs(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused)
    }

    /// As it was just after it was made.
    fn made(&self) -> Seen {
        Seen {
            status: Status::Created,
            started: None,
            exit: None,
            restarts: 0,
            stop_wanted: false,
            health: None,
            ..self.clone()
        }
    }
}

/// What has happened between two looks, of each container in the order in which it must have.
pub fn diff(before: &BTreeMap<String, Seen>, now: &BTreeMap<String, Seen>) -> Vec<News> {
    let mut news = Vec::new();
    for (id, after) in now {
        match before.get(id) {
            Some(before) => changes(before, after, &mut news),
            None => {
                news.push(after.news(Kind::Create));
                changes(&after.made(), after, &mut news);
            }
        }
    }
    for (id, before) in before {
        if !now.contains_key(id) {
            if before.runs() {
                news.push(before.news(Kind::Die).saying("it was removed with what it ran"));
            }
            news.push(before.news(Kind::Remove));
        }
    }
    news
}

fn changes(before: &Seen, after: &Seen, news: &mut Vec<News>) {
    let ran_anew = after.started.is_some() && after.started != before.started;
    if before.status == Status::Paused && after.status != Status::Paused {
        news.push(after.news(Kind::Unpause));
    }
    // The run that was seen before, or one that was too short to be seen, has ended.
    let ended_first = ran_anew && before.runs();
    if ended_first {
        let exit = after.exit.as_ref().filter(|_| after.exit != before.exit);
        ended(after, exit, news);
    }
    if ran_anew {
        // Who starts it by hand starts the count anew. The count is noted before the program runs, so the look before may have it.
        let again = after.restarts > 0;
        news.push(after.news(if again { Kind::Restart } else { Kind::Start }));
    }
    if after.status == Status::Paused && before.status != Status::Paused {
        news.push(after.news(Kind::Pause));
    }
    let is_over = matches!(after.status, Status::Stopped | Status::Restarting);
    if is_over && (ran_anew || before.runs() || after.exit != before.exit) {
        ended(after, after.exit.as_ref(), news);
    }
    if after.status == Status::Stopped && before.status != Status::Stopped && after.stop_wanted {
        news.push(after.news(Kind::Stop));
    }
    if after.health != before.health && after.health.is_some() {
        let mut changed = after.news(Kind::Health);
        changed.health = after.health;
        news.push(changed);
    }
}

fn ended(seen: &Seen, exit: Option<&Exit>, news: &mut Vec<News>) {
    if exit.is_some_and(|exit| exit.oom_killed) {
        news.push(seen.news(Kind::Oom));
    }
    let mut died = seen.news(Kind::Die);
    if let Some(exit) = exit {
        died.exit_code = Some(exit.code);
        died.signal = exit.signal;
        died.message.clone_from(&exit.error);
    }
    news.push(died);
}
