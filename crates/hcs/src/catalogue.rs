//! What the codes of the layer calls mean, what causes them, and what to do.
//!
//! The service answers with a number, and the same number has quite different causes. The tables here hold those that
//! its layer functions are known to return, each with its source: a documentation page, a thread where it was found
//! out, or measurements that others have published.
//!
//! Most codes of HCS have two spellings, `0x8037xxxx` and `0xC037xxxx`, and mean the same ([`HResult::canonical`]).

mod hcs;
mod storage;
mod win32;

use std::fmt;

use crate::error::ErrorKind;
use crate::hresult::HResult;

/// What is known about a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Known {
    /// The code, in the spelling of [`HResult::canonical`].
    pub code: HResult,
    /// Its name in the headers of Windows.
    pub name: &'static str,
    /// What the name says.
    pub text: &'static str,
    /// The sort of failure.
    pub kind: ErrorKind,
    /// What it says when a layer call returns it.
    pub here: &'static str,
    /// What has caused it, likeliest first.
    pub causes: &'static [&'static str],
    /// What to do.
    pub remedy: &'static str,
    /// Where that is from.
    pub source: &'static str,
}

/// The whole explanation, in lines: what it means here, what causes it, what to do.
impl fmt::Display for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.name, self.here)?;
        for cause in self.causes {
            writeln!(f, "  may be: {cause}")?;
        }
        writeln!(f, "  what to do: {}", self.remedy)?;
        write!(f, "  see: {}", self.source)
    }
}

/// A code of Win32, as the header names it without `ERROR_`.
const fn win32(code: u32) -> HResult {
    HResult::from_win32(code)
}

/// Every code that is known.
pub fn all() -> impl Iterator<Item = &'static Known> {
    win32::CODES.iter().chain(storage::CODES).chain(hcs::CODES)
}

/// What is known about a code, in any of its spellings.
pub fn find(code: HResult) -> Option<&'static Known> {
    let code = code.canonical();
    all().find(|known| known.code == code)
}
