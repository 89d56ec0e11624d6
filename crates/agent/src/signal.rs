//! Signals by name.

use crate::error::{Error, Result};

/// Names and numbers of x86 and ARM (`include/uapi/asm-generic/signal.h`).
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// The first real-time signal that the C library leaves to programs, and the last one.
const REALTIME: std::ops::RangeInclusive<i32> = 34..=64;

/// `SIGINT`.
pub const INT: i32 = 2;
/// `SIGKILL`.
pub const KILL: i32 = 9;
/// `SIGTERM`, which stops a container when its image does not say otherwise.
pub const TERM: i32 = 15;

/// A signal's number, from `9`, `KILL`, `SIGKILL`, `kill`, `RTMIN+3` or `SIGRTMAX-1`.
///
/// # Errors
/// When there is no such signal.
pub fn parse(text: &str) -> Result<i32> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let known = || NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    let counted = || {
        let (base, rest) = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(rest), _) => (*REALTIME.start(), rest),
            (_, Some(rest)) => (*REALTIME.end(), rest),
            _ => return None,
        };
        let offset = if rest.is_empty() { 0 } else { rest.parse::<i32>().ok()? };
        Some(base.checked_add(offset)?).filter(|number| REALTIME.contains(number))
    };
    let number = || name.parse::<i32>().ok().filter(|n| (1..=31).contains(n) || REALTIME.contains(n));
    known().or_else(number).or_else(counted).ok_or_else(|| Error::Invalid {
        what: "a signal",
        value: text.to_owned(),
        expected: "the name or number of a signal, as signal(7) lists them".to_owned(),
    })
}
