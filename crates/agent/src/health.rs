//! Health checks: what is asked for, what an image says, and what follows from what was seen.
//!
//! Names and defaults are podman's (podman-run(1), `--health-*`), the image's part is docker's `HEALTHCHECK` (image-spec,
//! config.md, "Healthcheck").

use std::time::Duration;

use jiff::SignedDuration;
use layerstone_oci::Healthcheck as OfImage;

use crate::error::{Error, Result};
use crate::model::{Health, HealthLook, HealthStatus};
use crate::options::{HealthCheck, HealthOptions, OnUnhealthy};

/// podman's time between two checks.
const INTERVAL: Duration = Duration::from_secs(30);
/// podman's time that a check may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// podman's number of failures in a row that make a container unhealthy.
const RETRIES: u32 = 3;
/// How many checks are remembered, as docker does.
pub const LOOKS: usize = 5;
/// The most bytes that are kept of what a check prints: podman's `--health-max-log-size`.
pub const MAX_OUTPUT: usize = 500;

/// A length of time as flags have it: `30s`, `1m30s`, `500ms`, `0s`.
///
/// # Errors
/// When it is none, or negative.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let parsed = text.parse::<SignedDuration>().ok();
    parsed.and_then(|duration| Duration::try_from(duration).ok()).ok_or_else(|| Error::Invalid {
        what: "a length of time",
        value: text.to_owned(),
        expected: "a number with a unit behind it, like 30s, 1m30s or 500ms".to_owned(),
    })
}

/// The command of `--health-cmd`: text is for a shell, a JSON list is executed as it is, `none` means no check. The result is
/// for [`HealthOptions::command`].
pub fn parse_command(text: &str) -> Vec<String> {
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|word| is_form(word)) => words,
        Ok(words) => [vec!["CMD".to_owned()], words].concat(),
        Err(_) if text == "none" => vec!["NONE".to_owned()],
        Err(_) => vec!["CMD-SHELL".to_owned(), text.to_owned()],
    }
}

/// The first word of docker's `Test`, which says what the others are.
fn is_form(word: &str) -> bool {
    matches!(word, "NONE" | "CMD" | "CMD-SHELL")
}

impl OnUnhealthy {
    /// Reads `none`, `kill`, `restart` or `stop`.
    ///
    /// # Errors
    /// When it is none of these.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "none" => Ok(OnUnhealthy::None),
            "kill" => Ok(OnUnhealthy::Kill),
            "restart" => Ok(OnUnhealthy::Restart),
            "stop" => Ok(OnUnhealthy::Stop),
            _ => Err(Error::Invalid {
                what: "what happens to an unhealthy container",
                value: text.to_owned(),
                expected: "none, kill, restart or stop".to_owned(),
            }),
        }
    }
}

fn invalid(value: impl Into<String>, expected: &str) -> Error {
    Error::Invalid { what: "the health check", value: value.into(), expected: expected.to_owned() }
}

/// The program of a check; `None` when there is to be no check.
fn program(test: &[String]) -> Result<Option<Vec<String>>> {
    let shell = |line: &str| Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), line.to_owned()]);
    let program = match test {
        [] => None,
        [form] if form == "NONE" => None,
        [line] | [_, line] if line.is_empty() => Some(Vec::new()),
        [form, line] if form == "CMD-SHELL" => shell(line),
        [form, words @ ..] if form == "CMD" => Some(words.to_vec()),
        [form, ..] if is_form(form) => {
            return Err(invalid(test.join(" "), "NONE, CMD with a program, or CMD-SHELL with one line"));
        }
        [line] => shell(line),
        words => Some(words.to_vec()),
    };
    match program {
        Some(words) if words.first().is_none_or(String::is_empty) => {
            Err(invalid(test.join(" "), "a program to execute"))
        }
        program => Ok(program),
    }
}

/// The check that a container gets: what was asked for, else the image's, else podman's defaults.
///
/// # Errors
/// When there is no command but something else was asked for, or a value makes no sense.
pub fn resolve(options: &HealthOptions, image: Option<&OfImage>) -> Result<Option<HealthCheck>> {
    if options.disabled {
        return Ok(None);
    }
    let of_image = image.map(|image| image.test.as_slice());
    let Some(command) = program(options.command.as_deref().or(of_image).unwrap_or_default())? else {
        let nothing = HealthOptions { command: options.command.clone(), ..HealthOptions::default() };
        if *options != nothing && options.command.is_none() {
            return Err(invalid("", "given, and the image has none: --health-cmd says what to execute"));
        }
        return Ok(None);
    };
    let ns = |asked: Option<Duration>, image: Option<u64>, default: Duration| match asked {
        Some(asked) => u64::try_from(asked.as_nanos()).unwrap_or(u64::MAX),
        None => image.unwrap_or(u64::try_from(default.as_nanos()).unwrap_or(u64::MAX)),
    };
    let check = HealthCheck {
        command,
        interval_ns: ns(options.interval, image.and_then(|image| image.interval_ns), INTERVAL),
        timeout_ns: ns(options.timeout, image.and_then(|image| image.timeout_ns), TIMEOUT),
        retries: options.retries.or(image.and_then(|image| image.retries)).unwrap_or(RETRIES),
        start_period_ns: ns(
            options.start_period,
            image.and_then(|image| image.start_period_ns),
            Duration::ZERO,
        ),
        on_unhealthy: options.on_unhealthy,
    };
    if check.timeout_ns == 0 {
        return Err(invalid("0s", "longer than nothing: the time that a check may take"));
    }
    if check.retries == 0 {
        return Err(invalid("0", "at least 1: the number of failures that make a container unhealthy"));
    }
    Ok(Some(check))
}

impl Health {
    /// That of a container whose program has just been started; what was seen before is remembered.
    pub fn starting(before: Option<Health>) -> Self {
        Health {
            status: HealthStatus::Starting,
            failing_streak: 0,
            log: before.map(|health| health.log).unwrap_or_default(),
        }
    }

    /// Takes a look into account. True when the container has become unhealthy by it.
    ///
    /// A check that succeeds always counts; one that fails within the start period does not.
    pub fn note(&mut self, look: HealthLook, retries: u32, in_start_period: bool) -> bool {
        let before = self.status;
        if look.exit_code == Some(0) {
            self.status = HealthStatus::Healthy;
            self.failing_streak = 0;
        } else if !in_start_period {
            self.failing_streak = self.failing_streak.saturating_add(1);
            if self.failing_streak >= retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        self.log.push(look);
        let surplus = self.log.len().saturating_sub(LOOKS);
        self.log.drain(..surplus);
        before != self.status && self.status == HealthStatus::Unhealthy
    }
}
