//! What the verbs that speak to registries share.

use std::io;
use std::io::IsTerminal as _;

use layerstone_registry::{Client, ClientOptions, Credentials, Event, Paths};
use serde::Serialize;

use super::App;
use crate::args::registry::Access;
use crate::error::{Error, IoContext as _, Result};

/// A client as the flags say.
pub(super) fn client(app: &App, access: &Access) -> Result<Client> {
    let mut paths = Paths::from_environment();
    if let Some(path) = &access.authfile {
        paths = paths.with_auth_file(path.clone());
    }
    let credentials = match &access.creds {
        None => None,
        Some(text) => Some(match text.split_once(':') {
            Some((username, password)) => {
                Credentials::Password { username: username.into(), password: password.into() }
            }
            None => Credentials::Password { username: text.clone(), password: ask_password(text)? },
        }),
    };
    let options = ClientOptions {
        paths,
        credentials,
        plain_http: access.plain_http,
        insecure_skip_tls_verify: access.insecure_skip_tls_verify,
        ca_certificates: access.ca_cert.clone(),
        ..ClientOptions::default()
    };
    let (json, quiet, verbose) = (app.json, app.quiet, app.verbose);
    let listener = move |event: Event| tell(&event, json, quiet, verbose);
    Ok(Client::with_listener(options, Some(Box::new(listener)))?)
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Told<'a> {
    Retry { doing: &'a str, place: &'a str, reason: &'a str, pause_seconds: f64 },
    Next { place: &'a str, reason: &'a str },
}

fn tell(event: &Event, json: bool, quiet: bool, verbose: u8) {
    let (told, words) = match event {
        Event::Retry { doing, place, reason, pause } => (
            Told::Retry { doing, place, reason, pause_seconds: pause.as_secs_f64() },
            // Short ones are nobody's concern.
            (pause.as_secs() >= 2 || verbose > 0).then(|| {
                format!("{place}: {reason}; trying again in {:.0} s ({doing})", pause.as_secs_f64())
            }),
        ),
        Event::Next { place, reason } => {
            (Told::Next { place, reason }, (verbose > 0).then(|| format!("{place} does not do: {reason}")))
        }
        _ => return,
    };
    if json {
        // Progress: whoever does not listen any more misses nothing.
        if let Ok(line) = serde_json::to_string(&told) {
            println!("{line}");
        }
    } else if let (false, Some(words)) = (quiet, words) {
        eprintln!("{words}");
    }
}

/// Asks for a password, which is not shown.
pub(super) fn ask_password(username: &str) -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage(
            "there is no terminal to ask for the password on: use --password-stdin".into(),
        ));
    }
    rpassword::prompt_password(format!("Password of {username}: "))
        .doing("read a password from", "the terminal")
}
