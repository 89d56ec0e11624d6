//! Command lines: a program and its arguments as the one string that Windows passes on.
//!
//! A process of Windows gets its arguments as one string, and takes it apart itself; nearly all do by the rule of
//! `CommandLineToArgvW`. The first word and the others have different rules:
//!
//! | | first word | others |
//! | --- | --- | --- |
//! | ends at | a blank, or the quote that closes it | a blank outside of quotes |
//! | `\` | itself | itself, unless a quote follows the run: then two are one, and one makes the quote a character |
//! | `"` | opens and closes, cannot be a character | opens and closes, or is a character |
//!
//! <https://learn.microsoft.com/windows/win32/api/shellapi/nf-shellapi-commandlinetoargvw>

use std::path::PathBuf;

use crate::error::{Error, Result};

/// The longest command line of a process, in UTF-16 units, with its NUL (`CreateProcessW`).
pub const LONGEST_COMMAND_LINE: usize = 32_767;

/// A program and its arguments as a command line.
///
/// # Errors
/// [`Error::Argument`] when there is no program, its name has a quote in it, something has a NUL in it, or it all is longer than
/// [`LONGEST_COMMAND_LINE`].
pub fn command_line<S: AsRef<str>>(arguments: &[S]) -> Result<String> {
    let Some((program, rest)) = arguments.split_first() else {
        return Err(refused("", "there is no program"));
    };
    let mut line = quote_program(program.as_ref())?;
    for argument in rest {
        line.push(' ');
        line.push_str(&quote_argument(argument.as_ref())?);
    }
    if line.encode_utf16().count() >= LONGEST_COMMAND_LINE {
        return Err(refused(program.as_ref(), "it is longer than 32766 characters with its arguments"));
    }
    Ok(line)
}

/// The first word of a command line.
///
/// # Errors
/// [`Error::Argument`] when it is empty, or has a quote or a NUL in it.
pub fn quote_program(program: &str) -> Result<String> {
    if program.is_empty() {
        return Err(refused(program, "the name of the program is empty"));
    }
    if program.contains('"') {
        return Err(refused(program, "the name of a program cannot have a quote in it"));
    }
    no_nul(program)?;
    // The rule splits at blanks and control characters alike.
    let quoted = program.chars().any(|c| c <= ' ');
    Ok(if quoted { format!("\"{program}\"") } else { program.to_owned() })
}

/// Any other word of a command line.
///
/// # Errors
/// [`Error::Argument`] when it has a NUL in it.
pub fn quote_argument(argument: &str) -> Result<String> {
    no_nul(argument)?;
    if !argument.is_empty() && !argument.contains([' ', '\t', '\n', '\r', '\u{b}', '\u{c}', '"']) {
        return Ok(argument.to_owned());
    }
    let mut quoted = String::with_capacity(argument.len() + 2);
    quoted.push('"');
    let mut backslashes = 0;
    for character in argument.chars() {
        match character {
            '\\' => backslashes += 1,
            '"' => {
                quoted.extend(std::iter::repeat_n('\\', 2 * backslashes + 1));
                backslashes = 0;
            }
            _ => {
                quoted.extend(std::iter::repeat_n('\\', backslashes));
                backslashes = 0;
            }
        }
        if character != '\\' {
            quoted.push(character);
        }
    }
    // Those at the end stand before the quote that closes the word.
    quoted.extend(std::iter::repeat_n('\\', 2 * backslashes));
    quoted.push('"');
    Ok(quoted)
}

fn no_nul(text: &str) -> Result<()> {
    if text.contains('\0') { Err(refused(text, "it has a NUL character in it")) } else { Ok(()) }
}

fn refused(word: &str, reason: &'static str) -> Error {
    Error::Argument { function: "HcsCreateProcess", subject: PathBuf::from(word), reason }
}
