//! Another program in a container, and what it prints.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hyper::StatusCode;
use layerstone_agent::log::Stream;
use layerstone_agent::{ExecOptions, Heard, Session};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::Api;
use super::answer::{Answer, Piece, Problem, line, lines};
use super::containers::blocking;
use super::request::Asked;
use crate::shared::Shared;

/// How often it is looked whether the client is still there.
const PATIENCE: Duration = Duration::from_millis(250);

/// The body of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exec {
    command: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    user: Option<String>,
    workdir: Option<String>,
    #[serde(default)]
    tty: bool,
    /// Base64: everything that it can read.
    stdin: Option<String>,
}

/// One line of the answer.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Said {
    Text { stream: Stream, text: String },
    Bytes { stream: Stream, bytes: String },
    Exit { exit_code: u8 },
    Failed { error: String },
}

pub(super) async fn exec(api: &Arc<Api>, asked: Asked) -> Result<Answer, Problem> {
    let body: Exec = asked.json()?;
    let input = body.stdin.as_deref().map(|text| BASE64.decode(text)).transpose();
    let input = input.map_err(|error| Problem::bad(format!("`stdin` is not Base64: {error}")))?;
    if let Some(name) = body.env.keys().find(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return Err(Problem::bad(format!("`{name}` cannot be the name of a variable")));
    }
    let options = ExecOptions {
        command: body.command,
        env: body.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        workdir: body.workdir,
        user: body.user,
        tty: body.tty,
        interactive: input.is_some(),
    };
    let permit = Arc::clone(&api.execs).try_acquire_owned().map_err(|_| {
        let message = "so many programs are executed for clients that there is no room for another one";
        Problem::new(StatusCode::TOO_MANY_REQUESTS, "busy", message).hinting("try again in a while")
    })?;
    let session = blocking(api, move |shared| {
        let container = shared.agent.find(&asked.id)?;
        Ok(shared.agent.exec(&container, &options, true)?.converse(input))
    })
    .await?;
    let (sender, answer) = lines();
    let shared = Arc::clone(&api.shared);
    // Not one of the threads for what may block: it goes on as long as the program does.
    let spawned = std::thread::Builder::new().name("exec".to_owned()).spawn(move || {
        listen(&shared, session, &sender);
        drop(permit);
    });
    match spawned {
        Ok(_) => Ok(answer),
        Err(error) => Err(Problem::internal(format!("cannot begin a thread: {error}"))),
    }
}

/// Sends what the program says until it has ended, or the client is gone; then it goes on alone.
fn listen(shared: &Shared, mut session: Session, sender: &mpsc::Sender<Piece>) {
    // The beginnings of characters whose rest has not come yet.
    let mut unfinished: [Vec<u8>; 2] = Default::default();
    let send = |said: &[Said]| {
        let mut bytes = Vec::new();
        said.iter().for_each(|said| line(&mut bytes, said));
        sender.blocking_send(Ok(bytes.into())).is_ok()
    };
    loop {
        let heard = session.hear(PATIENCE);
        let goes_on = match heard {
            Ok(Heard::Output(stream, data)) => {
                let mut all = std::mem::take(&mut unfinished[stream as usize]);
                all.extend_from_slice(&data);
                unfinished[stream as usize] = all.split_off(whole(&all));
                all.is_empty() || send(&[said(stream, &all)])
            }
            Ok(Heard::Exit(exit)) => {
                let rest = [Stream::Stdout, Stream::Stderr].into_iter().zip(&unfinished);
                let mut last: Vec<Said> = rest
                    .filter(|(_, rest)| !rest.is_empty())
                    .map(|(stream, rest)| said(stream, rest))
                    .collect();
                last.push(Said::Exit { exit_code: exit.code });
                send(&last);
                false
            }
            Ok(Heard::Nothing) => !sender.is_closed(),
            Err(error) => {
                send(&[Said::Failed { error: error.in_one_line() }]);
                false
            }
        };
        if !goes_on {
            shared.adopt(session.into_child());
            return;
        }
    }
}

/// How much of it can be sent: a character that is cut in two waits for its rest.
fn whole(data: &[u8]) -> usize {
    let tail = data.len().saturating_sub(3);
    // Where the last character begins, if it is not one of a single byte.
    let begin = (tail..data.len()).rev().find(|at| data[*at] & 0xc0 == 0xc0);
    let Some(begin) = begin else { return data.len() };
    let length = match data[begin] {
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    if data.len() - begin < length { begin } else { data.len() }
}

fn said(stream: Stream, data: &[u8]) -> Said {
    match std::str::from_utf8(data) {
        Ok(text) => Said::Text { stream, text: text.to_owned() },
        Err(_) => Said::Bytes { stream, bytes: BASE64.encode(data) },
    }
}
