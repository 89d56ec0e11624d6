//! When something is tried again, and after how long.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::TransportError;
use crate::limits::MAX_RETRY_AFTER;

/// How patient a client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How often one request is made at most, and how often in a row a blob's connection may break without progress.
    pub attempts: u32,
    /// The pause before the second attempt; each further one is twice as long.
    pub first_pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
    /// How long to wait for a connection, and then for the head of an answer.
    pub answer: Duration,
    /// How long nothing may come, or go, on a connection.
    pub stall: Duration,
    /// The time in which a blob's connection has to bring [`least_bytes`](Self::least_bytes).
    pub window: Duration,
    /// See there.
    pub least_bytes: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(16),
            answer: Duration::from_secs(60),
            stall: Duration::from_secs(30),
            // Slower than a modem.
            window: Duration::from_secs(60),
            least_bytes: 64 << 10,
        }
    }
}

impl Patience {
    /// The pause after attempt `attempt` (from 1) has failed: half of it always, the other half by chance, so that many
    /// clients do not come back at the same moment.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let doubled =
            self.first_pause.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        let half = doubled.min(self.longest_pause) / 2;
        // Keyed anew each time it is made: that is chance enough here.
        let chance = RandomState::new().build_hasher().finish() % 1024;
        half + half.mul_f64(chance as f64 / 1024.0)
    }
}

/// Statuses after which the same request may succeed.
pub(crate) const fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 429 | 500 | 502 | 503 | 504)
}

/// Whether a connection that failed like this may succeed next time. Certificates do not change in seconds.
pub(crate) fn may_pass(error: &TransportError) -> bool {
    use std::io::ErrorKind;
    match error {
        TransportError::Tls(_) => false,
        TransportError::Io(error) => !matches!(
            error.kind(),
            ErrorKind::NotFound
                | ErrorKind::InvalidInput
                | ErrorKind::Unsupported
                | ErrorKind::PermissionDenied
        ),
        TransportError::Stalled(_) | TransportError::Slow { .. } | TransportError::Http(_) => true,
    }
}

/// What a `Retry-After` header asks for: seconds, or a date (RFC 9110, 10.2.3). `Err` when that is longer than anybody waits.
pub fn parse_retry_after(value: &str, now: SystemTime) -> Option<Result<Duration, Duration>> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) if !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit()) => Duration::MAX,
        Err(_) => {
            let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
            Duration::from_secs(parse_http_date(value)?.saturating_sub(now))
        }
    };
    Some(if wait <= MAX_RETRY_AFTER { Ok(wait) } else { Err(wait) })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since 1970: the one form that is still written (RFC 9110, 5.6.7).
fn parse_http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let mut words = text.split_once(", ")?.1.split(' ');
    let day: u64 = words.next()?.parse().ok().filter(|day| (1..=31).contains(day))?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as u64 + 1;
    let year: u64 = words.next()?.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock = words.next()?.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if words.next()? != "GMT" || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days since the epoch, with the year beginning in March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_770);
        assert_eq!(parse_retry_after("7", now), Some(Ok(Duration::from_secs(7))));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(Ok(Duration::from_secs(7))));
        assert_eq!(parse_retry_after("Sun, 06 Nov 1993 08:49:37 GMT", now), Some(Ok(Duration::ZERO)));
        assert_eq!(parse_retry_after("3600", now), Some(Err(Duration::from_secs(3600))));
        assert_eq!(parse_retry_after("99999999999999999999999", now), Some(Err(Duration::MAX)));
        for nonsense in ["", "soon", "-1", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 8 GMT"] {
            assert_eq!(parse_retry_after(nonsense, now), None, "{nonsense}");
        }
    }

    #[test]
    fn pauses_grow_and_stay_bounded() {
        let patience = Patience::default();
        for attempt in 1..80 {
            let pause = patience.pause(attempt);
            assert!(pause <= patience.longest_pause);
            assert!(pause >= patience.first_pause / 2);
        }
    }
}
