//! What is asked of containers.

use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::{HeaderValue, LOCATION};
use layerstone_agent::model::{Exit, Status};
use layerstone_agent::{Client, Container, Error as AgentError, NetworkUsage, Stats, Usage, signal};
use serde::Serialize;

use super::Api;
use super::answer::{Answer, Problem, json, nothing};
use super::request::Asked;
use super::views::{Full, Summary};
use crate::job;
use crate::shared::Shared;
use crate::spec::{ContainerSpec, Definition};

/// Does what may block, in one of the threads for that.
pub(super) async fn blocking<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    let shared = Arc::clone(&api.shared);
    match tokio::task::spawn_blocking(move || work(&shared)).await {
        Ok(result) => result,
        Err(error) => Err(Problem::internal(format!("it has failed in a way that nobody expected: {error}"))),
    }
}

/// The same for what may take its time.
async fn slow<T: Send + 'static>(
    api: &Api,
    work: impl FnOnce(&Shared) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    // It is never closed.
    let _permit = api.slow.acquire().await;
    blocking(api, work).await
}

/// Does something to a container, and shows how it is then.
async fn change(
    api: &Api,
    asked: Asked,
    work: impl FnOnce(&Shared, &Container) -> Result<(), Problem> + Send + 'static,
) -> Result<Answer, Problem> {
    let full = slow(api, move |shared| {
        let container = shared.agent.find(&asked.id)?;
        work(shared, &container)?;
        shared.wake();
        Ok(Full::from(&shared.agent.find(&container.config().id)?))
    });
    json(StatusCode::OK, &full.await?)
}

pub(super) async fn list(api: &Api) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct List {
        containers: Vec<Summary>,
        /// Those that cannot be read.
        damaged: Vec<Damaged>,
    }
    #[derive(Serialize)]
    struct Damaged {
        id: String,
        message: String,
    }
    // Not what the supervisor saw last: who has just made a container sees it.
    let survey = blocking(api, |shared| Ok(shared.agent.survey()?)).await?;
    let damaged = survey.failed.into_iter().map(|(id, error)| Damaged { id, message: error.in_one_line() });
    let containers = survey.containers.iter().map(Summary::from).collect();
    json(StatusCode::OK, &List { containers, damaged: damaged.collect() })
}

pub(super) async fn create(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    // The name is not one of the keys of a definition, which are all that there are.
    let mut body: serde_json::Map<String, serde_json::Value> = asked.json()?;
    let name = match body.remove("name") {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(name)) => Some(name),
        Some(_) => return Err(Problem::bad("`name` is a text")),
    };
    let spec: ContainerSpec = serde_json::from_value(body.into())
        .map_err(|error| Problem::bad(format!("the body is not what it should be: {error}")))?;
    let start = asked.flag("start")?;
    let made = slow(api, move |shared| {
        let name = name.unwrap_or_default();
        let definition = Definition::alone(&name, &spec).map_err(Problem::bad)?;
        let image = shared.agent.store().image(&definition.image, None).map_err(AgentError::from)?;
        let container = shared.agent.create(&image, &definition.options()?)?;
        if start {
            job::start(shared, &container)?;
        }
        shared.wake();
        Ok(Full::from(&shared.agent.find(&container.config().id)?))
    });
    let made = made.await?;
    let mut answer = json(StatusCode::CREATED, &made)?;
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/containers/{}", made.id())) {
        answer.headers_mut().insert(LOCATION, location);
    }
    Ok(answer)
}

pub(super) async fn get(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let full = blocking(api, move |shared| Ok(Full::from(&shared.agent.find(&asked.id)?)));
    json(StatusCode::OK, &full.await?)
}

pub(super) async fn delete(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let force = asked.flag("force")?;
    slow(api, move |shared| {
        let container = shared.agent.find(&asked.id)?;
        shared.agent.remove(&container, force).map_err(|error| {
            let is_state = matches!(error, AgentError::State { .. });
            let problem = Problem::from(error);
            if is_state { problem.hinting("stop it first, or say force=true") } else { problem }
        })?;
        shared.wake();
        Ok(())
    })
    .await?;
    Ok(nothing())
}

pub(super) async fn start(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    change(api, asked, |shared, container| {
        // As in podman, one that runs is fine.
        if !container.state().status.is_up() {
            job::start(shared, container)?;
        }
        Ok(())
    })
    .await
}

fn seconds(asked: &Asked) -> Result<Option<u32>, Problem> {
    asked.number("timeout", "a number of seconds")
}

pub(super) async fn stop(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let timeout = seconds(&asked)?;
    change(api, asked, move |shared, container| {
        shared.agent.stop(container, timeout)?;
        Ok(())
    })
    .await
}

pub(super) async fn restart(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let timeout = seconds(&asked)?;
    change(api, asked, move |shared, container| {
        shared.adopt(shared.agent.restart(container, timeout)?.into_child());
        Ok(())
    })
    .await
}

/// The shim of a container that is in one of these states.
fn shim(container: &Container, doing: &'static str, states: &[Status]) -> Result<Client, Problem> {
    let status = container.state().status;
    if states.contains(&status) {
        return Ok(Client::connect(container)?);
    }
    let name = container.name().to_owned();
    Err(AgentError::State { doing, name, state: status.name() }.into())
}

pub(super) async fn kill(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let signal = signal::parse(asked.text("signal").unwrap_or("KILL"))?;
    let states = [Status::Running, Status::Paused];
    change(api, asked, move |_, container| Ok(shim(container, "send a signal to", &states)?.kill(signal)?))
        .await
}

pub(super) async fn pause(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    change(api, asked, |_, container| Ok(shim(container, "pause", &[Status::Running])?.pause()?)).await
}

pub(super) async fn unpause(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    change(api, asked, |_, container| Ok(shim(container, "unpause", &[Status::Paused])?.resume()?)).await
}

/// Answers when the container has ended. No thread waits meanwhile.
pub(super) async fn wait(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    let id = asked.id.clone();
    let find = move |shared: &Shared| Ok(shared.agent.find(&id)?);
    let mut changed = api.shared.snapshot.subscribe();
    let container = blocking(api, find).await?;
    let id = container.config().id.clone();
    let stopped = |container: &Container| -> Option<Exit> {
        let state = container.state();
        state.exit.clone().filter(|_| state.status == Status::Stopped)
    };
    let mut exit = stopped(&container);
    // What the supervisor saw last may be older than the start of what is waited for.
    let before = container.state().exit.clone();
    let ended = |container: &Container| stopped(container).filter(|exit| before.as_ref() != Some(exit));
    let mut was_seen = false;
    while exit.is_none() {
        if changed.changed().await.is_err() {
            return Err(Problem::internal("the agent is ending"));
        }
        let snapshot = Arc::clone(&changed.borrow_and_update());
        match snapshot.containers.iter().find(|container| container.config().id == id) {
            Some(container) => {
                was_seen = true;
                exit = ended(container);
            }
            // One that was made just now may not have been seen yet.
            None if was_seen => {
                let message = format!("container `{}` was removed meanwhile", asked.id);
                return Err(Problem::new(StatusCode::NOT_FOUND, "no_container", message));
            }
            None => {
                let id = id.clone();
                exit = ended(&blocking(api, move |shared| Ok(shared.agent.find(&id)?)).await?);
            }
        }
    }
    json(StatusCode::OK, &exit)
}

pub(super) async fn stats(api: &Api, asked: Asked) -> Result<Answer, Problem> {
    #[derive(Serialize)]
    struct Used {
        id: String,
        name: String,
        #[serde(flatten)]
        usage: Usage,
        network: Option<NetworkUsage>,
    }
    let used = blocking(api, move |shared| {
        let container = shared.agent.find(&asked.id)?;
        if !matches!(container.state().status, Status::Running | Status::Paused) {
            let name = container.name().to_owned();
            let state = container.state().status.name();
            return Err(AgentError::State { doing: "measure", name, state }.into());
        }
        let stats = Stats::of(&container)?;
        let config = container.config();
        Ok(Used {
            id: config.id.clone(),
            name: config.name.clone(),
            usage: stats.usage,
            network: stats.network,
        })
    });
    json(StatusCode::OK, &used.await?)
}
