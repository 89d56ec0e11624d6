//! Ids and names of containers.

use crate::error::{Error, Result};

/// The longest name.
const MAX_NAME: usize = 128;

/// How many digits an id has.
const ID_DIGITS: usize = 64;

/// True for 64 hexadecimal digits in lower case.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// An id of random bytes.
pub fn from_bytes(bytes: &[u8; 32]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Refuses what cannot be a name: podman's rule.
///
/// # Errors
/// When it is empty or too long, does not start with a letter or digit, or has other characters than letters, digits, `_`, `.`
/// and `-`.
pub fn check_name(name: &str) -> Result<()> {
    let fine = name.len() <= MAX_NAME
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if fine {
        return Ok(());
    }
    Err(Error::Invalid {
        what: "the name of a container",
        value: name.to_owned(),
        expected: format!(
            "at most {MAX_NAME} letters, digits, `_`, `.` and `-`, starting with a letter or digit"
        ),
    })
}

/// Words that made-up names consist of.
const FIRST: [&str; 32] = [
    "amber", "ashen", "basalt", "bright", "broad", "calm", "chalky", "clear", "copper", "dusky", "fallow",
    "flinty", "golden", "gritty", "hidden", "jade", "lofty", "mellow", "misty", "mossy", "opal", "pale",
    "quiet", "ruby", "rugged", "sandy", "silver", "slate", "steady", "stony", "umber", "vivid",
];
const SECOND: [&str; 32] = [
    "arch", "bank", "bluff", "boulder", "butte", "canyon", "cave", "cliff", "cobble", "crag", "crest",
    "delta", "dune", "fold", "geode", "gorge", "granite", "gravel", "karst", "ledge", "marble", "mesa",
    "moraine", "pebble", "plateau", "quarry", "ridge", "scree", "shale", "summit", "terrace", "valley",
];

/// A name for a container that was given none; `attempt` counts those that were taken.
pub fn make_name(id: &str, attempt: usize) -> String {
    let mut bytes = id.bytes().map(usize::from);
    let mut pick = |words: &[&'static str; 32]| {
        let number = bytes.next().unwrap_or(0) * 7 + bytes.next().unwrap_or(0);
        words[(number + attempt) % words.len()]
    };
    let name = format!("{}_{}", pick(&FIRST), pick(&SECOND));
    if attempt == 0 { name } else { format!("{name}_{attempt}") }
}

/// The name of a container that is being made: the one that is wanted, or a made-up one. `taken` tells the short id of the container
/// that has a name.
pub(crate) fn name_for(
    wanted: Option<&str>,
    id: &str,
    taken: impl Fn(&str) -> Option<String>,
) -> Result<String> {
    let Some(name) = wanted else {
        let mut attempt = 0;
        while taken(&make_name(id, attempt)).is_some() {
            attempt += 1;
        }
        return Ok(make_name(id, attempt));
    };
    match taken(name) {
        Some(by) => Err(Error::NameTaken { name: name.to_owned(), by }),
        None => Ok(name.to_owned()),
    }
}
