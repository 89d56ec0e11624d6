//! What the host's file system makes of a transport folder: names, times, attributes, links. The same signatures for each
//! system, chosen once.

#[cfg(not(windows))]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(not(windows))]
pub(super) use unix::*;
#[cfg(windows)]
pub(super) use windows::*;

use std::time::{Duration, SystemTime};

use layerstone_nt::{FileTime, UnixTime};

/// Names one file of the host: two paths with the same one are hard links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity(pub(super) u64, pub(super) u64);

/// The moment as the standard library has it; `None` when it is not set, or none that the host can hold.
fn system_time(time: FileTime) -> Option<SystemTime> {
    if !time.is_set() {
        return None;
    }
    let time = time.to_unix();
    let seconds = Duration::from_secs(time.seconds().unsigned_abs());
    let whole = match time.seconds() < 0 {
        true => SystemTime::UNIX_EPOCH.checked_sub(seconds),
        false => SystemTime::UNIX_EPOCH.checked_add(seconds),
    };
    whole?.checked_add(Duration::from_nanos(time.nanoseconds().into()))
}

/// Back, rounded down to 100 ns; "not set" when no FILETIME can hold it.
fn file_time(time: SystemTime) -> FileTime {
    let unix = match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_secs()).ok().and_then(|s| UnixTime::new(s, after.subsec_nanos())),
        Err(before) => {
            let before = before.duration();
            // Half a second before 1970 is second -1 and half a second forward.
            let (borrow, nanoseconds) = match before.subsec_nanos() {
                0 => (0, 0),
                nanoseconds => (1, 1_000_000_000 - nanoseconds),
            };
            i64::try_from(before.as_secs()).ok().and_then(|s| UnixTime::new(-s - borrow, nanoseconds))
        }
    };
    unix.and_then(|time| FileTime::from_unix(time).ok()).unwrap_or(FileTime::NOT_SET)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_pass_through_the_standard_library_exactly() {
        for ticks in [132_223_104_001_234_567, 116_444_736_000_000_000, 116_444_735_999_999_999, 10_000_001] {
            assert_eq!(system_time(FileTime(ticks)).map(file_time), Some(FileTime(ticks)), "{ticks}");
        }
        assert_eq!(system_time(FileTime::NOT_SET), None);
    }
}
