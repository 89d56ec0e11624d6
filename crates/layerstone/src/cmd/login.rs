//! `login` and `logout`.

use std::io::{self, BufRead as _, IsTerminal as _, Read as _, Write as _};

use layerstone_registry::{Client, ClientOptions, Credentials, Keyring, Paths, Reference};
use serde::Serialize;

use super::App;
use super::registry::ask_password;
use crate::args::registry::{Login, Logout};
use crate::error::{Error, IoContext as _, Result};

/// Longest password that is read from standard input; tokens of some clouds have two kilobytes.
const MAX_PASSWORD: u64 = 64 << 10;

pub(crate) fn login(app: &App, args: &Login) -> Result<()> {
    let key = key(args.registry.as_deref());
    let mut paths = Paths::from_environment();
    if let Some(path) = &args.authfile {
        paths = paths.with_auth_file(path.clone());
    }
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask_name()?,
    };
    let password = match &args.password {
        Some(password) => password.clone(),
        None if args.password_stdin => read_password()?,
        None => ask_password(&username)?,
    };
    let credentials = Credentials::Password { username: username.clone(), password };
    let client = Client::new(ClientOptions {
        paths: paths.clone(),
        credentials: Some(credentials.clone()),
        plain_http: args.plain_http,
        insecure_skip_tls_verify: args.insecure_skip_tls_verify,
        ca_certificates: args.ca_cert.clone(),
        ..ClientOptions::default()
    })?;
    client.check_login(&key)?;
    let place = Keyring::new(paths).login(&key, &credentials)?;
    #[derive(Serialize)]
    struct Row<'a> {
        registry: &'a str,
        username: &'a str,
        kept_in: &'a str,
    }
    let row = Row { registry: &key, username: &username, kept_in: &place };
    app.print(&row, |out| writeln!(out, "logged in to {key} as {username} (kept in {place})"))
}

pub(crate) fn logout(app: &App, args: &Logout) -> Result<()> {
    let mut paths = Paths::from_environment();
    if let Some(path) = &args.authfile {
        paths = paths.with_auth_file(path.clone());
    }
    let keyring = Keyring::new(paths);
    let (what, left) = if args.all {
        keyring.logout_all()?;
        ("all registries".to_owned(), Vec::new())
    } else {
        let key = key(args.registry.as_deref());
        let left = keyring.logout(&key)?;
        (key, left)
    };
    #[derive(Serialize)]
    struct Row<'a> {
        registry: &'a str,
        left_in: &'a [String],
    }
    app.print(&Row { registry: &what, left_in: &left }, |out| writeln!(out, "logged out of {what}"))?;
    if !left.is_empty() {
        app.remark(format_args!(
            "credentials are also in {}: other tools wrote them there, and they still apply",
            left.join(", ")
        ));
    }
    Ok(())
}

/// What credentials are filed under.
fn key(registry: Option<&str>) -> String {
    let text = registry.unwrap_or(Reference::DOCKER_HUB);
    let bare = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let bare = bare.trim_end_matches('/');
    match bare {
        "index.docker.io" | "index.docker.io/v1" | "registry-1.docker.io" => Reference::DOCKER_HUB.to_owned(),
        other => other.to_owned(),
    }
}

fn ask_name() -> Result<String> {
    if !io::stdin().is_terminal() {
        return Err(Error::Usage("who logs in? Use --username".into()));
    }
    eprint!("User name: ");
    io::stderr().flush().doing("write to", "standard error")?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).doing("read", "standard input")?;
    Ok(line.trim().to_owned())
}

/// The password is all of standard input, without the end of its last line.
fn read_password() -> Result<String> {
    let mut text = String::new();
    io::stdin().lock().take(MAX_PASSWORD).read_to_string(&mut text).doing("read", "standard input")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}
