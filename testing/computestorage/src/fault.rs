//! Calls that fail, take long, or lie, because a test wants to see what the client does.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::code::Code;

/// What is in the place of a mount path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MountPath {
    #[default]
    Right,
    /// Success, and a null pointer.
    Null,
    /// Success, and an empty string: what Windows does when the disk was attached without elevation.
    Empty,
    /// Success, and a lone surrogate.
    NotUtf16,
}

/// Fails the `nth` call of a function, counted from 1, or every one when `nth` is 0.
#[derive(Debug)]
struct Rule {
    function: String,
    nth: u32,
    code: Code,
}

#[derive(Debug, Default)]
struct Faults {
    rules: Vec<Rule>,
    delays: HashMap<String, Duration>,
    mount_path: MountPath,
    /// How often each function was called.
    calls: HashMap<&'static str, u32>,
    /// How many calls of each function are being made now, and were at most.
    at_once: HashMap<&'static str, (u32, u32)>,
    /// The environment said something that makes no sense: then nothing succeeds.
    confused: bool,
}

static FAULTS: LazyLock<Mutex<Faults>> = LazyLock::new(|| Mutex::new(Faults::from_environment()));

fn faults() -> MutexGuard<'static, Faults> {
    FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Faults {
    fn from_environment() -> Self {
        let mut faults = Faults::default();
        for (variable, take) in [
            ("STANDIN_FAIL", Faults::take_failure as fn(&mut Faults, &str) -> Option<()>),
            ("STANDIN_DELAY", Faults::take_delay),
        ] {
            let Ok(settings) = std::env::var(variable) else { continue };
            for setting in settings.split(';').filter(|setting| !setting.is_empty()) {
                if take(&mut faults, setting).is_none() {
                    eprintln!("layerstone-standin: {variable}: `{setting}` makes no sense");
                    faults.confused = true;
                }
            }
        }
        faults
    }

    /// `Function:nth=0x80070005`, `:nth` may be left out.
    fn take_failure(&mut self, setting: &str) -> Option<()> {
        let (which, code) = setting.split_once('=')?;
        let (function, nth) = match which.split_once(':') {
            Some((function, nth)) => (function, nth.parse().ok()?),
            None => (which, 0),
        };
        let code = Code(u32::from_str_radix(code.strip_prefix("0x")?, 16).ok()?);
        self.rules.push(Rule { function: function.to_owned(), nth, code });
        Some(())
    }

    /// `Function=milliseconds`
    fn take_delay(&mut self, setting: &str) -> Option<()> {
        let (function, milliseconds) = setting.split_once('=')?;
        self.delays.insert(function.to_owned(), Duration::from_millis(milliseconds.parse().ok()?));
        Some(())
    }
}

/// A call that is being made.
#[derive(Debug)]
pub(crate) struct Running(&'static str);

/// Counts a call for as long as the answer lives.
pub(crate) fn enter(function: &'static str) -> Running {
    let mut faults = faults();
    let (now, most) = faults.at_once.entry(function).or_default();
    *now += 1;
    *most = (*most).max(*now);
    Running(function)
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some((now, _)) = faults().at_once.get_mut(self.0) {
            *now = now.saturating_sub(1);
        }
    }
}

/// Waits as long as a test wants, then fails if it wants that.
pub(crate) fn strike(function: &'static str) -> Result<(), Code> {
    let (delay, result) = {
        let mut faults = faults();
        let count = faults.calls.entry(function).or_default();
        *count += 1;
        let count = *count;
        let rule = faults
            .rules
            .iter()
            .find(|rule| rule.function == function && (rule.nth == 0 || rule.nth == count));
        let result = match rule {
            _ if faults.confused => Err(Code::UNEXPECTED),
            Some(rule) => Err(rule.code),
            None => Ok(()),
        };
        (faults.delays.get(function).copied(), result)
    };
    if let Some(delay) = delay {
        std::thread::sleep(delay);
    }
    result
}

pub(crate) fn fail(function: String, nth: u32, code: Code) {
    faults().rules.push(Rule { function, nth, code });
}

pub(crate) fn delay(function: String, duration: Duration) {
    faults().delays.insert(function, duration);
}

pub(crate) fn set_mount_path(kind: MountPath) {
    faults().mount_path = kind;
}

pub(crate) fn mount_path() -> MountPath {
    faults().mount_path
}

/// How many calls of a function were being made at the same moment, at most.
pub(crate) fn most_at_once(function: &str) -> u32 {
    faults().at_once.get(function).map_or(0, |(_, most)| *most)
}

/// As it was at the start.
pub(crate) fn reset() {
    *faults() = Faults::from_environment();
}
