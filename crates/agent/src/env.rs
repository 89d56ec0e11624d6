//! Environments: the image's, `--env-file`, `--env`; the last one to name a variable wins.

use crate::error::{Error, Result};

/// Where programs are looked for when the image does not say.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// An environment: `NAME=value` each, every name once, in the order in which they were first set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(Vec<String>);

impl Environment {
    /// Sets variables, each `NAME=value`. What has no `=` is passed over: no program could read it.
    pub fn set_all(&mut self, variables: impl IntoIterator<Item = String>) {
        for variable in variables {
            let Some((name, _)) = variable.split_once('=') else { continue };
            match self.0.iter_mut().find(|known| is_named(known, name)) {
                Some(known) => *known = variable,
                None => self.0.push(variable),
            }
        }
    }

    /// Sets a variable unless it is set.
    pub fn set_default(&mut self, name: &str, value: &str) {
        if self.get(name).is_none() {
            self.0.push(format!("{name}={value}"));
        }
    }

    /// A variable's value.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|known| is_named(known, name)).and_then(|v| v.split_once('=')).map(|(_, v)| v)
    }

    /// As a runtime wants it.
    pub fn into_vec(self) -> Vec<String> {
        self.0
    }
}

fn is_named(variable: &str, name: &str) -> bool {
    variable.strip_prefix(name).is_some_and(|rest| rest.starts_with('='))
}

/// The variables that `-e` gives: `NAME=value`, or `NAME` for the caller's own value, which `own` finds. A name that the
/// caller does not have sets nothing, as in podman.
///
/// # Errors
/// When there is no name.
pub fn of_flags(flags: &[String], own: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let mut variables = Vec::new();
    for flag in flags {
        let name = flag.split_once('=').map_or(flag.as_str(), |(name, _)| name);
        if name.is_empty() || flag.contains('\0') {
            return Err(Error::Invalid {
                what: "an environment variable",
                value: flag.clone(),
                expected: "NAME=value or NAME".to_owned(),
            });
        }
        if flag.contains('=') {
            variables.push(flag.clone());
        } else {
            variables.extend(own(name).map(|value| format!("{name}={value}")));
        }
    }
    Ok(variables)
}

/// The variables of an `--env-file`: one a line, as `-e` has them; empty lines and those that start with `#` do not count.
///
/// # Errors
/// When a line has no name.
pub fn of_file(text: &str, own: impl Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let lines = text.lines().map(str::trim_start);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
    of_flags(&lines.collect::<Vec<_>>(), own)
}
