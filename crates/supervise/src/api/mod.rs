//! The API: HTTP and JSON over a Unix socket.
//!
//! One thread has all connections; whatever may block (files, shims, locks) is done in others, of which there is a bounded
//! number. What goes on and on (logs, events, `wait`) holds none of them while nothing happens, and is sent no faster than its
//! client reads: a slow client costs a few kilobytes, and nobody else's time.
//!
//! `openapi.json` describes every request and answer; `GET /v1/openapi.json` gives it.

mod answer;
mod containers;
mod exec;
mod logs;
mod request;
mod routes;
mod views;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use layerstone_agent::Agent;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::error::{Error, IoContext as _, Result};
use crate::shared::{End, Log, Settings, Shared};
use crate::socket::Socket;
use crate::supervisor::Supervisor;

/// The description of the API.
pub const OPENAPI: &str = include_str!("../../openapi.json");

/// The most connections at once; more wait until one ends.
const MAX_CONNECTIONS: usize = 512;
/// The most threads for what may block.
const MAX_THREADS: usize = 64;
/// How many of them may be busy with what takes its time, such as stopping a container: the others stay free for what does not.
const MAX_SLOW: usize = 48;
/// The most programs that are executed for clients at once.
const MAX_EXECS: usize = 32;
/// How long a client may take for the head of a request, and stay silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// The most bytes of a request's head.
const MAX_HEAD: usize = 32 << 10;
/// How long answers may still take when the agent ends.
const LAST_ANSWERS: Duration = Duration::from_millis(500);

/// What every request can use.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    pub(crate) execs: Arc<Semaphore>,
    pub(crate) slow: Semaphore,
}

/// Keeps the containers of a file in their wanted state, and serves the API at `socket`, until the process is told to end by
/// SIGTERM, SIGINT, or through the API. SIGHUP has it read the file again. `socket` defaults to `agent.sock` in the runtime directory.
///
/// # Errors
/// When another agent does so already, the file is wrong, or the system refuses.
pub fn serve(agent: Agent, settings: Settings, socket: Option<PathBuf>, log: Log) -> Result<()> {
    let socket = socket.unwrap_or_else(|| agent.store().runtime_root().join("agent.sock"));
    let mut socket = Socket::listen(&socket)?;
    let shared = Shared::new(agent, settings, log)?;
    let supervisor = Supervisor::new(Arc::clone(&shared))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(MAX_THREADS)
        .build()
        .doing("begin to serve at", socket.path())?;
    let (ended, has_ended) = watch::channel(());
    let thread = std::thread::Builder::new()
        .name("supervisor".to_owned())
        .spawn(move || {
            // Dropped when this ends, however it does.
            let _ended = ended;
            supervisor.run();
        })
        .doing("begin to serve at", socket.path())?;
    let listener = socket.take().ok_or_else(|| Error::NoSocket { path: socket.path().to_path_buf() })?;
    let served = runtime.block_on(work(&shared, listener, &socket, has_ended));
    shared.end(End::Leave);
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    // Threads that wait for what may never come, such as a container's end, are not waited for.
    runtime.shutdown_background();
    served
}

async fn work(
    shared: &Arc<Shared>,
    listener: std::os::unix::net::UnixListener,
    socket: &Socket,
    mut has_ended: watch::Receiver<()>,
) -> Result<()> {
    let path = socket.path();
    let listener = UnixListener::from_std(listener).doing("listen on", path)?;
    let on = |kind| signal(kind).doing("take", "signals");
    let (mut terminate, mut interrupt, mut hang_up) =
        (on(SignalKind::terminate())?, on(SignalKind::interrupt())?, on(SignalKind::hangup())?);
    let api = Arc::new(Api {
        shared: Arc::clone(shared),
        execs: Arc::new(Semaphore::new(MAX_EXECS)),
        slow: Semaphore::new(MAX_SLOW),
    });
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    shared.log(&format!("serving at {}", path.display()));
    let end = || shared.end(if shared.settings.stop_on_exit { End::Stop } else { End::Leave });
    loop {
        // Who comes when there are too many waits in the socket's queue.
        let accepted = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        tokio::select! {
            (accepted, permit) = accepted => match accepted {
                Ok((stream, _)) => {
                    let api = Arc::clone(&api);
                    tasks.spawn(async move {
                        connection(api, stream).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    shared.log(&format!("cannot take a connection: {error}"));
                    // Out of descriptors: it does not help to ask at once again.
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
            _ = tasks.join_next(), if !tasks.is_empty() => {}
            _ = terminate.recv() => end(),
            _ = interrupt.recv() => end(),
            _ = hang_up.recv() => drop(shared.reload()),
            _ = has_ended.changed() => break,
        }
    }
    // Who asked for the end gets an answer; streams are cut off.
    let _ = tokio::time::timeout(LAST_ANSWERS, async { while tasks.join_next().await.is_some() {} }).await;
    Ok(())
}

async fn connection(api: Arc<Api>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let api = Arc::clone(&api);
        async move { Ok::<_, std::convert::Infallible>(routes::answer(&api, request).await) }
    });
    // A client that goes away, or does not speak HTTP, is its own affair.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

#[cfg(test)]
mod tests;
