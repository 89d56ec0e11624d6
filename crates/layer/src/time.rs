//! Points in time as POSIX metadata has them.

use serde::{Deserialize, Serialize};

/// Seconds and nanoseconds since 1970-01-01 UTC. Before 1970 the seconds are negative and the nanoseconds still
/// count forwards: -0.5 s is `secs: -1, nanos: 500_000_000`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// 0..1,000,000,000.
    pub nanos: u32,
}

impl Timestamp {
    /// A time of whole seconds.
    pub fn from_secs(secs: i64) -> Self {
        Timestamp { secs, nanos: 0 }
    }

    /// Reads a PAX time: `[-]seconds[.fraction]`. Digits after the ninth are cut. `None` when malformed.
    pub fn parse_pax(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let (whole, fraction) = match text.iter().position(|&b| b == b'.') {
            Some(dot) => (&text[..dot], &text[dot + 1..]),
            None => (text, &b""[..]),
        };
        let digits = |text: &[u8]| -> Option<i64> {
            text.iter().try_fold(0i64, |n, &b| match b {
                b'0'..=b'9' => n.checked_mul(10)?.checked_add(i64::from(b - b'0')),
                _ => None,
            })
        };
        if whole.is_empty() || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let secs = digits(whole)?;
        let mut nanos = digits(&fraction[..fraction.len().min(9)])? as u32;
        for _ in fraction.len()..9 {
            nanos *= 10;
        }
        Some(match (negative, nanos) {
            (false, _) => Timestamp { secs, nanos },
            (true, 0) => Timestamp { secs: -secs, nanos },
            (true, _) => Timestamp { secs: (-secs).checked_sub(1)?, nanos: 1_000_000_000 - nanos },
        })
    }

    /// Writes a PAX time, with a fraction only where there is one.
    pub fn to_pax(self) -> String {
        let (sign, secs, nanos) = if self.secs < 0 && self.nanos > 0 {
            ("-", -(i128::from(self.secs) + 1), 1_000_000_000 - self.nanos)
        } else {
            (if self.secs < 0 { "-" } else { "" }, i128::from(self.secs).abs(), self.nanos)
        };
        if nanos == 0 {
            return format!("{sign}{secs}");
        }
        let fraction = format!("{nanos:09}");
        format!("{sign}{secs}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::Timestamp;

    #[test]
    fn pax_times_round_trip_on_both_sides_of_1970() {
        for (text, secs, nanos) in [
            ("0", 0, 0),
            ("1350244992.023960108", 1_350_244_992, 23_960_108),
            ("-1.5", -2, 500_000_000),
            ("-0.000000001", -1, 999_999_999),
            ("-11644473600", -11_644_473_600, 0),
            ("5.1", 5, 100_000_000),
        ] {
            let time = Timestamp::parse_pax(text.as_bytes()).unwrap();
            assert_eq!((time.secs, time.nanos), (secs, nanos), "{text}");
            assert_eq!(time.to_pax(), text);
        }
        assert_eq!(Timestamp::parse_pax(b"1.9999999999").unwrap().nanos, 999_999_999);
        for bad in ["", "-", ".5", "1e9", "1.x", "99999999999999999999"] {
            assert_eq!(Timestamp::parse_pax(bad.as_bytes()), None, "{bad}");
        }
    }
}
