//! FILETIME ([MS-DTYP] 2.3.3) and the decimal times of PAX records.
//!
//! A FILETIME counts 100 ns since 1601-01-01 UTC in a signed 64-bit field. Windows writes 0 for "not set", and takes 0
//! as "leave as it is" when times are written ([MS-FSCC] 2.4.7, FILE_BASIC_INFORMATION).
//!
//! A PAX time is `[-]seconds[.fraction]` since 1970-01-01 UTC, a decimal number: `-1.5` is one and a half
//! seconds *before* 1970 (POSIX pax, "extended header keyword/value pairs"). `LIBARCHIVE.creationtime` has the same form.
//!
//! Microsoft's code converts through signed 64-bit nanoseconds and wraps outside 1677..2262. This module
//! computes in 128 bits: every FILETIME has exactly one [`UnixTime`], and back.

use std::fmt;

use crate::error::{Error, Result};

/// 1970-01-01 as FILETIME.
const UNIX_EPOCH: i64 = 116_444_736_000_000_000;
const TICKS_PER_SECOND: i64 = 10_000_000;
const NANOS_PER_SECOND: u32 = 1_000_000_000;
const NANOS_PER_TICK: u32 = 100;

/// A point in time to the nanosecond: `seconds` since 1970 and nanoseconds forward from there.
///
/// Half a second before 1970 is `{ seconds: -1, nanoseconds: 500_000_000 }`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixTime {
    seconds: i64,
    nanoseconds: u32,
}

impl UnixTime {
    /// 1970-01-01 00:00:00 UTC.
    pub const EPOCH: Self = Self { seconds: 0, nanoseconds: 0 };

    /// A time from seconds and nanoseconds; `None` when `nanoseconds` is a second or more.
    pub const fn new(seconds: i64, nanoseconds: u32) -> Option<Self> {
        if nanoseconds < NANOS_PER_SECOND { Some(Self { seconds, nanoseconds }) } else { None }
    }

    /// A time on a whole second.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0 }
    }

    /// Whole seconds since 1970, rounded towards the past.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// Nanoseconds forward from [`seconds`](Self::seconds), below one second.
    pub const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }

    /// Reads the PAX form `[-+]seconds[.fraction]`.
    ///
    /// As Go's `archive/tar` does, digits after the ninth are cut off (towards zero, since they are cut from the
    /// decimal number) and a bare trailing point is allowed. BuildKit writes the nanoseconds unpadded (5 ns as `.5`):
    /// that reads as half a second, nothing in the text tells the two apart.
    pub fn parse(text: &[u8]) -> Result<Self> {
        const WHAT: &str = "PAX time";
        let split = text.iter().position(|&b| b == b'.').unwrap_or(text.len());
        let (whole, fraction) = (&text[..split], text.get(split + 1..).unwrap_or_default());
        let (sign, digits) = match whole {
            [b'-', rest @ ..] => (-1, rest),
            [b'+', rest @ ..] => (1, rest),
            rest => (1, rest),
        };
        let sign_length = whole.len() - digits.len();
        if digits.is_empty() {
            return Err(Error::malformed(WHAT, sign_length, "digits", shown(text)));
        }
        let mut seconds = 0_i64;
        for (n, &digit) in digits.iter().enumerate() {
            let position = sign_length + n;
            if !digit.is_ascii_digit() {
                return Err(Error::malformed(WHAT, position, "a digit", shown(&digits[n..])));
            }
            // Counted with its sign, so that i64::MIN is reachable.
            seconds = seconds
                .checked_mul(10)
                .and_then(|s| s.checked_add(sign * i64::from(digit - b'0')))
                .ok_or_else(|| {
                    Error::malformed(WHAT, position, "seconds of at most 64 bits", shown(whole))
                })?;
        }
        let mut nanoseconds = 0_u32;
        let mut unit = NANOS_PER_SECOND / 10;
        for (n, &digit) in fraction.iter().enumerate() {
            if !digit.is_ascii_digit() {
                return Err(Error::malformed(WHAT, split + 1 + n, "a digit", shown(&fraction[n..])));
            }
            nanoseconds += unit * u32::from(digit - b'0');
            unit /= 10;
        }
        if sign < 0 && nanoseconds > 0 {
            // -1.5 is 1.5 s before 1970: two seconds back, half a second forward.
            seconds = seconds
                .checked_sub(1)
                .ok_or_else(|| Error::malformed(WHAT, 0, "seconds of at most 64 bits", shown(whole)))?;
            nanoseconds = NANOS_PER_SECOND - nanoseconds;
        }
        Ok(Self { seconds, nanoseconds })
    }

    /// Whether this is FILETIME 0 as Microsoft's tar writer puts it: `6802270473.709551616`, 1601 wrapped around 64 bits of
    /// nanoseconds (year 2185). The tick-rounded spelling and the one a second later that is also on record count too.
    pub const fn is_wrapped_zero(self) -> bool {
        matches!(self.seconds, 6_802_270_473 | 6_802_270_474)
            && self.nanoseconds / NANOS_PER_TICK == 7_095_516
    }
}

/// The start of outside text, fit for an error message.
fn shown(text: &[u8]) -> String {
    const MOST: usize = 40;
    let start = String::from_utf8_lossy(&text[..text.len().min(MOST)]).into_owned();
    format!("{start:?}")
}

impl fmt::Display for UnixTime {
    /// Writes the PAX form as Go's `archive/tar` and go-winio do: trailing zeroes of the fraction trimmed,
    /// times before 1970 as a negative decimal number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, nanoseconds } = *self;
        if nanoseconds == 0 {
            return write!(f, "{seconds}");
        }
        let (sign, whole, fraction) = if seconds < 0 {
            ("-", (seconds + 1).unsigned_abs(), NANOS_PER_SECOND - nanoseconds)
        } else {
            ("", seconds.unsigned_abs(), nanoseconds)
        };
        let digits = format!("{fraction:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// A FILETIME: 100 ns units since 1601-01-01 UTC ([MS-DTYP] 2.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FileTime(pub i64);

impl FileTime {
    /// The value 0, which Windows uses for "not set".
    pub const NOT_SET: Self = Self(0);
    /// 1970-01-01 00:00:00 UTC.
    pub const UNIX_EPOCH: Self = Self(UNIX_EPOCH);

    /// Whether a time is there.
    pub const fn is_set(self) -> bool {
        self.0 != 0
    }

    /// The same moment as a FILETIME, rounded down (towards the past) to 100 ns.
    ///
    /// Go's conversion rounds towards 1970 instead; the two differ only for times before 1970 with digits below 100 ns.
    pub fn from_unix(time: UnixTime) -> Result<Self> {
        let ticks = i128::from(time.seconds) * i128::from(TICKS_PER_SECOND)
            + i128::from(time.nanoseconds / NANOS_PER_TICK)
            + i128::from(UNIX_EPOCH);
        match i64::try_from(ticks) {
            Ok(ticks) if ticks >= 0 => Ok(Self(ticks)),
            _ => Err(Error::TimeOutOfRange { seconds: time.seconds, nanoseconds: time.nanoseconds }),
        }
    }

    /// The same moment since 1970, exactly. FILETIME 0 gives 1601 here; ask [`is_set`](Self::is_set) first.
    pub const fn to_unix(self) -> UnixTime {
        // Two steps, as the difference of the epochs may not fit in 64 bits.
        let seconds = self.0.div_euclid(TICKS_PER_SECOND) - UNIX_EPOCH / TICKS_PER_SECOND;
        let nanoseconds = self.0.rem_euclid(TICKS_PER_SECOND) as u32 * NANOS_PER_TICK;
        UnixTime { seconds, nanoseconds }
    }

    /// Reads a PAX time. The wrapped zero that Microsoft's writer leaves behind reads as "not set".
    pub fn parse_pax(text: &[u8]) -> Result<Self> {
        let time = UnixTime::parse(text)?;
        if time.is_wrapped_zero() { Ok(Self::NOT_SET) } else { Self::from_unix(time) }
    }

    /// The PAX form, or `None` when the time is not set: such a record is not written.
    pub fn to_pax(self) -> Option<String> {
        self.is_set().then(|| self.to_unix().to_string())
    }
}

impl TryFrom<UnixTime> for FileTime {
    type Error = Error;

    fn try_from(time: UnixTime) -> Result<Self> {
        Self::from_unix(time)
    }
}

impl From<FileTime> for UnixTime {
    fn from(time: FileTime) -> Self {
        time.to_unix()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(seconds: i64, nanoseconds: u32) -> UnixTime {
        UnixTime::new(seconds, nanoseconds).unwrap()
    }

    #[test]
    fn pax_times_are_decimal_numbers() {
        for (text, seconds, nanoseconds) in [
            ("0", 0, 0),
            ("1577836800.1234567", 1_577_836_800, 123_456_700),
            ("-1.5", -2, 500_000_000),
            ("-0.5", -1, 500_000_000),
            ("-1", -1, 0),
            ("1.", 1, 0),
            ("1.0000000019", 1, 1),
            ("-1.0000000009", -1, 0),
            ("+7.25", 7, 250_000_000),
            ("-9223372036854775808", i64::MIN, 0),
            ("9223372036854775807.999999999", i64::MAX, 999_999_999),
        ] {
            assert_eq!(UnixTime::parse(text.as_bytes()), Ok(unix(seconds, nanoseconds)), "{text}");
        }
        for text in [
            "",
            "-",
            ".5",
            "1x",
            "1.5x",
            "1.-5",
            " 1",
            "1,5",
            "9223372036854775808",
            "-9223372036854775808.5",
        ] {
            assert!(UnixTime::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn pax_times_are_written_as_go_writes_them() {
        assert_eq!(unix(-2, 499_999_900).to_string(), "-1.5000001");
        assert_eq!(unix(-1, 500_000_000).to_string(), "-0.5");
        assert_eq!(unix(i64::MIN, 1).to_string(), "-9223372036854775807.999999999");
        assert_eq!(unix(1_577_836_800, 123_457_000).to_string(), "1577836800.123457");
        assert_eq!(unix(5, 100).to_string(), "5.0000001");
    }

    #[test]
    fn filetimes_outside_gos_range_are_exact() {
        assert_eq!(FileTime(1).to_pax().unwrap(), "-11644473599.9999999");
        assert_eq!(FileTime::NOT_SET.to_pax(), None);
        let end = FileTime(i64::MAX);
        assert_eq!(FileTime::parse_pax(end.to_pax().unwrap().as_bytes()), Ok(end));
        assert!(FileTime::parse_pax(b"-11644473600.0000001").is_err());
        assert_eq!(FileTime::from_unix(unix(-1, 999_999_999)), Ok(FileTime(UNIX_EPOCH - 1)));
        assert_eq!(FileTime(i64::MIN).to_unix().nanoseconds(), 522_419_200);
    }

    #[test]
    fn the_wrapped_zero_reads_as_not_set() {
        for text in ["6802270473.709551616", "6802270473.7095516", "6802270474.7095516"] {
            assert_eq!(FileTime::parse_pax(text.as_bytes()), Ok(FileTime::NOT_SET), "{text}");
        }
        assert!(FileTime::parse_pax(b"6802270473.7095515").unwrap().is_set());
    }
}
