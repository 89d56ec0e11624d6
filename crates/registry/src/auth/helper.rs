//! Programs that keep credentials: `docker-credential-<name>`
//! ([protocol](https://github.com/docker/docker-credential-helpers#development)).
//!
//! `get` reads a server's address from its standard input and writes `{"ServerURL", "Username", "Secret"}`; `store` reads that;
//! `erase` reads the address. The user `<token>` says that the secret is an identity token.

use std::io::{self, Read as _, Write as _};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Credentials;
use crate::error::{Error, Result};
use crate::limits::MAX_HELPER_OUTPUT;
use crate::reference::Reference;

const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Document {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

pub(super) fn get(program: &str, registry: &str) -> Result<Option<Credentials>> {
    let failed = |reason: String| error(program, "get", registry, reason);
    for server in addresses(registry) {
        let (success, output) = run(program, "get", server.as_bytes()).map_err(|e| failed(e.to_string()))?;
        if !success {
            let text = String::from_utf8_lossy(&output);
            // The protocol's words for "nothing here".
            if text.contains("credentials not found") {
                continue;
            }
            return Err(failed(text.trim().chars().take(300).collect()));
        }
        let document: Document = serde_json::from_slice(&output).map_err(|e| failed(e.to_string()))?;
        if document.username.is_empty() && document.secret.is_empty() {
            continue;
        }
        return Ok(Some(match document.username.as_str() {
            TOKEN_USER => Credentials::IdentityToken(document.secret),
            _ => Credentials::Password { username: document.username, password: document.secret },
        }));
    }
    Ok(None)
}

pub(super) fn store(program: &str, registry: &str, credentials: &Credentials) -> Result<()> {
    let failed = |reason: String| error(program, "store", registry, reason);
    let (username, secret) = match credentials {
        Credentials::Password { username, password } => (username.clone(), password.clone()),
        Credentials::IdentityToken(token) | Credentials::RegistryToken(token) => {
            (TOKEN_USER.to_owned(), token.clone())
        }
    };
    let server_url = addresses(registry).into_iter().next().unwrap_or_default();
    let document =
        serde_json::to_vec(&Document { server_url, username, secret }).map_err(|e| failed(e.to_string()))?;
    match run(program, "store", &document) {
        Ok((true, _)) => Ok(()),
        Ok((false, output)) => {
            Err(failed(String::from_utf8_lossy(&output).trim().chars().take(300).collect()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

pub(super) fn erase(program: &str, registry: &str) -> Result<()> {
    for server in addresses(registry) {
        let failed = |reason: String| error(program, "erase", registry, reason);
        match run(program, "erase", server.as_bytes()) {
            Ok((true, _)) => {}
            Ok((false, output)) if String::from_utf8_lossy(&output).contains("credentials not found") => {}
            Ok((false, output)) => {
                return Err(failed(String::from_utf8_lossy(&output).trim().chars().take(300).collect()));
            }
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    Ok(())
}

/// What helpers know a registry by. Docker's own has an address of the time before there were others.
fn addresses(registry: &str) -> Vec<String> {
    match registry {
        Reference::DOCKER_HUB => vec!["https://index.docker.io/v1/".into(), registry.into()],
        other => vec![other.into()],
    }
}

/// Whether it succeeded, and what it wrote.
fn run(program: &str, action: &str, input: &[u8]) -> io::Result<(bool, Vec<u8>)> {
    // The name comes from a file: no paths, no options.
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if program.is_empty() || !program.bytes().all(plain) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "its name is not plain letters and digits"));
    }
    let mut child = Command::new(format!("docker-credential-{program}"))
        .arg(action)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    // Both ends are small; a helper that does not read what it is given has ended.
    if let Some(mut stdin) = child.stdin.take() {
        match stdin.write_all(input) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error),
            _ => {}
        }
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(MAX_HELPER_OUTPUT).read_to_end(&mut output)?;
    }
    Ok((child.wait()?.success(), output))
}

fn error(program: &str, doing: &'static str, registry: &str, reason: String) -> Error {
    Error::Helper {
        program: format!("docker-credential-{program}"),
        doing,
        registry: registry.to_owned(),
        reason,
    }
}
