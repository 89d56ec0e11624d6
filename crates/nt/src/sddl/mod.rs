//! SDDL, the text form of security descriptors ([MS-DTYP] 2.5.1), both ways and without Windows.
//!
//! ```text
//! O:owner G:group D:flags(ace)(ace)… S:flags(ace)…      (without the spaces)
//! ace    = (type;flags;rights;object guid;inherited object guid;sid)
//! flags  = P, AR, AI, NO_ACCESS_CONTROL (a list that is present and NULL)
//! rights = two-letter names, or a number: 0x hexadecimal, 0 octal, else decimal
//! sid    = S-1-… or a two-letter alias
//! ```
//!
//! Aliases such as `DA` or `LA` mean an account of the machine's domain. A layer has no domain: [`parse`] refuses them with
//! [`Error::NeedsDomain`](crate::Error::NeedsDomain), [`parse_in_domain`] takes the SID to use. Conditional ACEs
//! (`XA`, `XD`, `XU`, `ZA`), resource attributes (`RA`) and access filters (`FL`) are refused as
//! [`Error::UnsupportedSddl`](crate::Error::UnsupportedSddl), never skipped.

mod format;
mod parse;
mod tables;

pub use format::format;
pub use parse::{parse, parse_in_domain};
