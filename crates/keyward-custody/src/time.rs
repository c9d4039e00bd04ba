//! Times in a statement (RFC 3339, UTC, whole seconds) and what an expiry date means.
//!
//! No clock is read here: whoever asks passes the time it is.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Error;
use crate::canonical::serde_as_text;

const DAY: i64 = 86_400;

/// 9999-12-31T23:59:59Z, the last time that four digits of a year can say.
const MAX: i64 = 253_402_300_799;

/// A second in UTC between 1970 and 9999, written `2026-11-24T16:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The time that is `seconds` after 1970-01-01T00:00:00Z, without leap seconds. [`Error::Timestamp`] if that is
    /// before 1970 or after 9999.
    pub fn from_unix(seconds: i64) -> Result<Timestamp, Error> {
        match seconds {
            0..=MAX => Ok(Timestamp(seconds)),
            _ => Err(Error::Timestamp { text: seconds.to_string() }),
        }
    }

    /// A system time, its fraction of a second cut off.
    pub fn from_system(time: SystemTime) -> Result<Timestamp, Error> {
        let seconds =
            time.duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok());
        Timestamp::from_unix(seconds.unwrap_or(-1))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub fn unix(self) -> i64 {
        self.0
    }

    /// The same time of day, `days` later; the last second of 9999 if that would be later.
    pub fn plus_days(self, days: u32) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::from(days) * DAY).min(MAX))
    }

    /// The same date and time a year later; 29 February becomes 1 March.
    pub fn plus_year(self) -> Timestamp {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let (month, day) = if (month, day) == (2, 29) && !is_leap(year + 1) { (3, 1) } else { (month, day) };
        let seconds = days_from_civil(year + 1, month, day) * DAY + self.0.rem_euclid(DAY);
        Timestamp(seconds.min(MAX))
    }
}

/// How a statement stands to its expiry date, for somebody about to seal. Opening never asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// More than 60 days are left.
    Fresh,
    /// At most 60 days are left: seal, and say so. Whole days until then.
    Warn {
        /// Whole days until the date.
        days_left: u32,
    },
    /// The date has passed, by at most 30 days: seal, and say so.
    Grace {
        /// Whole days until sealing is refused.
        days_left: u32,
    },
    /// More than 30 days have passed: refuse to seal.
    Expired {
        /// Whole days since the date.
        days_ago: u32,
    },
}

impl Expiry {
    /// Days before the date from which sealing warns.
    pub const WARN_DAYS: u32 = 60;
    /// Days after the date during which sealing still works.
    pub const GRACE_DAYS: u32 = 30;

    /// The state at `now` of something that expires at `expires`.
    pub fn at(now: Timestamp, expires: Timestamp) -> Expiry {
        let days = |seconds: i64| u32::try_from(seconds / DAY).unwrap_or(u32::MAX);
        let left = expires.0 - now.0;
        if left > i64::from(Expiry::WARN_DAYS) * DAY {
            Expiry::Fresh
        } else if left > 0 {
            Expiry::Warn { days_left: days(left) }
        } else if -left <= i64::from(Expiry::GRACE_DAYS) * DAY {
            Expiry::Grace { days_left: days(i64::from(Expiry::GRACE_DAYS) * DAY + left) }
        } else {
            Expiry::Expired { days_ago: days(-left) }
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil_from_days(self.0.div_euclid(DAY));
        let second = self.0.rem_euclid(DAY);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
            second / 3600,
            second / 60 % 60,
            second % 60
        )
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp, Error> {
        parse(text).ok_or_else(|| Error::Timestamp { text: text.chars().take(64).collect() })
    }
}

serde_as_text!(Timestamp);

fn parse(text: &str) -> Option<Timestamp> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    for (byte, pattern) in bytes.iter().zip(b"0000-00-00T00:00:00Z") {
        let fits = if *pattern == b'0' { byte.is_ascii_digit() } else { byte == pattern };
        if !fits {
            return None;
        }
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    valid.then(|| Timestamp(days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the years from 1970 to before `year`: every fourth is leap, centuries are not, every fourth century is.
fn days_before_year(year: i64) -> i64 {
    let leaps = |y: i64| y / 4 - y / 100 + y / 400;
    (year - 1970) * 365 + leaps(year - 1) - leaps(1969)
}

fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    days_before_year(year) + (1..month).map(|earlier| days_in(year, earlier)).sum::<i64>() + day - 1
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    // The guess is the year or the one after it: 366 days a year are too many, 365 too few.
    let mut year = 1970 + days / 366;
    while days_before_year(year + 1) <= days {
        year += 1;
    }
    let mut rest = days - days_before_year(year);
    let mut month = 1;
    while rest >= days_in(year, month) {
        rest -= days_in(year, month);
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn known_times() {
        // Values of GNU date: `date -u -d TEXT +%s`.
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-24T16:00:00Z", 1_795_536_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", MAX),
        ] {
            assert_eq!(at(text).unix(), unix);
            assert_eq!(Timestamp::from_unix(unix).unwrap().to_string(), text);
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T16:00:00",
            "2026-11-24 16:00:00Z",
            "2026-11-24T16:00:00z",
            "2026-11-24T16:00:00.0Z",
            "2026-11-24T16:00:00+00:00",
            "2026-02-29T00:00:00Z",
            "2100-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T23:60:00Z",
            "2026-01-01T23:59:60Z",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert!(matches!(text.parse::<Timestamp>(), Err(Error::Timestamp { .. })), "{text:?}");
        }
        assert!(Timestamp::from_unix(-1).is_err());
        assert!(Timestamp::from_unix(MAX + 1).is_err());
    }

    #[test]
    fn years() {
        assert_eq!(at("2026-11-24T16:00:00Z").plus_year(), at("2027-11-24T16:00:00Z"));
        assert_eq!(at("2028-02-29T01:02:03Z").plus_year(), at("2029-03-01T01:02:03Z"));
        assert_eq!(at("9999-06-01T00:00:00Z").plus_year(), at("9999-12-31T23:59:59Z"));
    }

    #[test]
    fn expiry_at_its_edges() {
        let expires = at("2027-11-24T16:00:00Z");
        let before =
            |seconds: i64| Expiry::at(Timestamp::from_unix(expires.unix() - seconds).unwrap(), expires);
        assert_eq!(before(60 * DAY + 1), Expiry::Fresh);
        assert_eq!(before(60 * DAY), Expiry::Warn { days_left: 60 });
        assert_eq!(before(1), Expiry::Warn { days_left: 0 });
        assert_eq!(before(0), Expiry::Grace { days_left: 30 });
        assert_eq!(before(-30 * DAY), Expiry::Grace { days_left: 0 });
        assert_eq!(before(-30 * DAY - 1), Expiry::Expired { days_ago: 30 });
        assert_eq!(before(-400 * DAY), Expiry::Expired { days_ago: 400 });
    }

    proptest! {
        #[test]
        fn text_and_seconds_agree(seconds in 0..=MAX) {
            let time = Timestamp::from_unix(seconds).unwrap();
            prop_assert_eq!(at(&time.to_string()), time);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".{0,24}") {
            if let Ok(time) = text.parse::<Timestamp>() {
                prop_assert_eq!(time.to_string(), text);
            }
        }
    }
}
