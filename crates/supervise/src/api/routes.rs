//! Which request is answered by what.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{ALLOW, HeaderValue};
use hyper::{Method, Request, StatusCode};

use super::answer::{Answer, Problem, json, nothing, text};
use super::request::{Asked, decode};
use super::views::Alive;
use super::{Api, OPENAPI, containers, exec, logs};
use crate::metrics;
use crate::shared::End;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    List,
    Create,
    Get,
    Delete,
    Start,
    Stop,
    Kill,
    Restart,
    Pause,
    Unpause,
    Wait,
    Logs,
    Exec,
    Stats,
    Events,
    Metrics,
    Health,
    OpenApi,
    Spec,
    Reload,
    Shutdown,
}

/// Method, path, what it asks for, and what can be in the query.
pub(super) type Route = (&'static str, &'static str, What, &'static [&'static str]);

/// All routes. `{id}` is a container's name, id, or the beginning of one.
pub(super) const ROUTES: [Route; 21] = [
    ("GET", "/v1/containers", What::List, &[]),
    ("POST", "/v1/containers", What::Create, &["start"]),
    ("GET", "/v1/containers/{id}", What::Get, &[]),
    ("DELETE", "/v1/containers/{id}", What::Delete, &["force"]),
    ("POST", "/v1/containers/{id}/start", What::Start, &[]),
    ("POST", "/v1/containers/{id}/stop", What::Stop, &["timeout"]),
    ("POST", "/v1/containers/{id}/kill", What::Kill, &["signal"]),
    ("POST", "/v1/containers/{id}/restart", What::Restart, &["timeout"]),
    ("POST", "/v1/containers/{id}/pause", What::Pause, &[]),
    ("POST", "/v1/containers/{id}/unpause", What::Unpause, &[]),
    ("POST", "/v1/containers/{id}/wait", What::Wait, &[]),
    ("GET", "/v1/containers/{id}/logs", What::Logs, &["follow", "since", "tail"]),
    ("POST", "/v1/containers/{id}/exec", What::Exec, &[]),
    ("GET", "/v1/containers/{id}/stats", What::Stats, &[]),
    ("GET", "/v1/events", What::Events, &["since", "follow"]),
    ("GET", "/v1/metrics", What::Metrics, &[]),
    ("GET", "/v1/healthz", What::Health, &[]),
    ("GET", "/v1/openapi.json", What::OpenApi, &[]),
    ("GET", "/v1/spec", What::Spec, &[]),
    ("POST", "/v1/reload", What::Reload, &[]),
    ("POST", "/v1/shutdown", What::Shutdown, &["stop"]),
];

/// The container in `path`, if it has the form of `template`.
fn fits(template: &str, path: &str) -> Option<String> {
    let Some((before, after)) = template.split_once("{id}") else {
        return (template == path).then(String::new);
    };
    let id = path.strip_prefix(before)?.strip_suffix(after)?;
    (!id.is_empty() && !id.contains('/')).then(|| decode(id)).flatten()
}

/// Answers a request, whatever it is.
pub(super) async fn answer(api: &Arc<Api>, request: Request<Incoming>) -> Answer {
    let start = Instant::now();
    let path = request.uri().path().to_owned();
    let mut matching = ROUTES.iter().filter_map(|route| fits(route.1, &path).map(|id| (route, id)));
    let wanted = matching.clone().find(|((method, ..), _)| *method == request.method().as_str());
    let Some((route, id)) = wanted else {
        if matching.next().is_none() {
            let message = format!("there is nothing at `{path}`");
            let problem = Problem::new(StatusCode::NOT_FOUND, "no_such_path", message);
            api.shared.metrics.answered("", "", 404, start.elapsed());
            return problem.hinting("GET /v1/openapi.json describes what there is").answer();
        }
        return not_so(api, &path, request.method(), start);
    };
    let (method, template, what, known) = *route;
    let answered = async {
        let asked = Asked::read(id, known, request).await?;
        dispatch(api, what, asked).await
    };
    let answer = answered.await.unwrap_or_else(|problem| problem.answer());
    api.shared.metrics.answered(method, template, answer.status().as_u16(), start.elapsed());
    answer
}

/// There is such a path, but not with this method.
fn not_so(api: &Api, path: &str, method: &Method, start: Instant) -> Answer {
    let methods: Vec<&str> =
        ROUTES.iter().filter(|route| fits(route.1, path).is_some()).map(|route| route.0).collect();
    let methods = methods.join(", ");
    let message = format!("`{path}` takes {methods}, and not {method}");
    let mut answer = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "no_such_method", message).answer();
    if let Ok(value) = HeaderValue::from_str(&methods) {
        answer.headers_mut().insert(ALLOW, value);
    }
    api.shared.metrics.answered("", "", 405, start.elapsed());
    answer
}

async fn dispatch(api: &Arc<Api>, what: What, asked: Asked) -> Result<Answer, Problem> {
    match what {
        What::List => containers::list(api).await,
        What::Create => containers::create(api, asked).await,
        What::Get => containers::get(api, asked).await,
        What::Delete => containers::delete(api, asked).await,
        What::Start => containers::start(api, asked).await,
        What::Stop => containers::stop(api, asked).await,
        What::Kill => containers::kill(api, asked).await,
        What::Restart => containers::restart(api, asked).await,
        What::Pause => containers::pause(api, asked).await,
        What::Unpause => containers::unpause(api, asked).await,
        What::Wait => containers::wait(api, asked).await,
        What::Stats => containers::stats(api, asked).await,
        What::Logs => logs::logs(api, asked).await,
        What::Events => logs::events(api, &asked),
        What::Exec => exec::exec(api, asked).await,
        What::Metrics => {
            let containers = api.shared.snapshot.borrow().containers.clone();
            let page = containers::blocking(api, move |shared| Ok(shared.metrics.text(&containers))).await?;
            Ok(text(metrics::CONTENT_TYPE, page))
        }
        What::Health => json(StatusCode::OK, &Alive::new(api.shared.agent.store())),
        What::OpenApi => Ok(text("application/json", OPENAPI)),
        What::Spec => spec(api).await,
        What::Reload => reload(api).await,
        What::Shutdown => {
            let stop = asked.number::<bool>("stop", "true or false")?.unwrap_or(true);
            api.shared.end(if stop { End::Stop } else { End::Leave });
            Ok(nothing())
        }
    }
}

fn no_spec() -> Problem {
    Problem::new(StatusCode::CONFLICT, "no_spec", "this agent keeps no containers of a file")
        .hinting("start it with --spec FILE")
}

async fn spec(api: &Arc<Api>) -> Result<Answer, Problem> {
    if api.shared.settings.spec.is_none() {
        return Err(no_spec());
    }
    // There is none before the first look.
    let mut snapshots = api.shared.snapshot.subscribe();
    let snapshot = snapshots.wait_for(|snapshot| snapshot.spec.is_some()).await.map(|seen| Arc::clone(&seen));
    match snapshot.as_ref().ok().and_then(|snapshot| snapshot.spec.as_ref()) {
        Some(spec) => json(StatusCode::OK, spec),
        None => Err(Problem::internal("the agent is ending")),
    }
}

async fn reload(api: &Arc<Api>) -> Result<Answer, Problem> {
    #[derive(serde::Serialize)]
    struct Reloaded {
        containers: usize,
    }
    if api.shared.settings.spec.is_none() {
        return Err(no_spec());
    }
    match api.shared.reload().await {
        Ok(Ok(containers)) => json(StatusCode::OK, &Reloaded { containers }),
        Ok(Err(message)) => Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_spec", message)
            .hinting("the file that was read before still counts")),
        Err(_) => Err(Problem::internal("the agent is ending")),
    }
}
