//! Numbers of receipts: one, or a set of them as ranges (`docs/formats.md`, "Receipt").

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Error;
use crate::canonical::serde_as_text;

/// The longest text of a set, in bytes.
const MAX_LEN: usize = 16 << 10;

/// The number of a receipt in its series, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(NonZeroU32);

impl Sequence {
    /// The first.
    pub const FIRST: Sequence = Sequence(NonZeroU32::MIN);

    /// The receipt of this number; none for 0.
    pub fn new(number: u32) -> Option<Sequence> {
        NonZeroU32::new(number).map(Sequence)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// The one after it; none after the last that there can be.
    pub fn next(self) -> Option<Sequence> {
        self.0.checked_add(1).map(Sequence)
    }

    /// The one before it; none before the first.
    pub fn before(self) -> Option<Sequence> {
        Sequence::new(self.number().saturating_sub(1))
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A set of numbers, written as ranges in ascending order: `1-16,18`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Numbers {
    /// First and last of each range, from 1; ranges neither overlap nor touch.
    ranges: Vec<(u32, u32)>,
}

impl Numbers {
    /// No number.
    pub fn new() -> Numbers {
        Numbers::default()
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether this number is in it.
    pub fn contains(&self, number: Sequence) -> bool {
        let number = number.number();
        let after = self.ranges.partition_point(|(first, _)| *first <= number);
        after.checked_sub(1).and_then(|index| self.ranges.get(index)).is_some_and(|(_, last)| number <= *last)
    }

    /// Adds a number.
    pub fn insert(&mut self, number: Sequence) {
        self.insert_range(number, number);
    }

    /// Adds the numbers from `first` to `last`; nothing if `last` is before `first`.
    pub fn insert_range(&mut self, first: Sequence, last: Sequence) {
        let (mut first, mut last) = (first.number(), last.number());
        if last < first {
            return;
        }
        // Ranges that overlap the new one or touch it become part of it.
        let from = self.ranges.partition_point(|(_, end)| end.saturating_add(1) < first);
        let to = self.ranges.partition_point(|(start, _)| *start <= last.saturating_add(1));
        for (start, end) in self.ranges.drain(from..to.max(from)) {
            first = first.min(start);
            last = last.max(end);
        }
        self.ranges.insert(from, (first, last));
    }

    /// Adds all numbers of another set.
    pub fn extend(&mut self, other: &Numbers) {
        other.ranges().for_each(|(first, last)| self.insert_range(first, last));
    }

    /// The ranges, first and last number of each, in ascending order.
    pub fn ranges(&self) -> impl Iterator<Item = (Sequence, Sequence)> {
        self.ranges.iter().filter_map(|(first, last)| Some((Sequence::new(*first)?, Sequence::new(*last)?)))
    }

    /// The highest number in it.
    pub fn highest(&self) -> Option<Sequence> {
        self.ranges.last().and_then(|(_, last)| Sequence::new(*last))
    }

    /// The numbers from 1 to `last` that are not in it.
    pub fn missing_below(&self, last: Sequence) -> Numbers {
        let mut missing = Vec::new();
        let mut next = 1;
        for (start, end) in &self.ranges {
            if *start > last.number() {
                break;
            }
            if next < *start {
                missing.push((next, start.saturating_sub(1)));
            }
            next = end.saturating_add(1);
        }
        if next <= last.number() {
            missing.push((next, last.number()));
        }
        Numbers { ranges: missing }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.ranges.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            match first == last {
                true => write!(f, "{first}")?,
                false => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

impl FromStr for Numbers {
    type Err = Error;

    /// Reads the one spelling that [`Display`](fmt::Display) writes; the empty text is the empty set.
    fn from_str(text: &str) -> Result<Numbers, Error> {
        let refuse = || Error::Numbers { text: text.chars().take(64).collect() };
        if text.len() > MAX_LEN {
            return Err(refuse());
        }
        let mut numbers = Numbers::new();
        for range in text.split(',').filter(|_| !text.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let parse = |text: &str| text.parse().ok().and_then(Sequence::new).ok_or_else(refuse);
            numbers.insert_range(parse(first)?, parse(last)?);
        }
        if numbers.to_string() == text { Ok(numbers) } else { Err(refuse()) }
    }
}

serde_as_text!(Numbers);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn at(number: u32) -> Sequence {
        Sequence::new(number).unwrap()
    }

    #[test]
    fn text() {
        for good in ["", "1", "1-2", "1,3", "1-16,18", "5-7,9,4294967295"] {
            assert_eq!(good.parse::<Numbers>().unwrap().to_string(), good);
        }
        for bad in [
            "0",
            "1-1",
            "2-1",
            "1,2",
            "1-3,2-5",
            "3,1",
            "01",
            "+1",
            "1-",
            "-1",
            " 1",
            "1,",
            "a",
            "4294967296",
        ] {
            assert!(matches!(bad.parse::<Numbers>(), Err(Error::Numbers { .. })), "{bad:?}");
        }
    }

    #[test]
    fn what_is_missing() {
        let numbers: Numbers = "2-3,6".parse().unwrap();
        assert_eq!(numbers.missing_below(at(8)).to_string(), "1,4-5,7-8");
        assert_eq!(numbers.missing_below(at(6)).to_string(), "1,4-5");
        assert_eq!(numbers.missing_below(at(2)).to_string(), "1");
        assert_eq!(Numbers::new().missing_below(at(2)).to_string(), "1-2");
    }

    proptest! {
        #[test]
        fn as_a_set(ranges in prop::collection::vec((1_u32..60, 0_u32..6), 0..20), last in 1_u32..80) {
            let mut numbers = Numbers::new();
            let mut set = BTreeSet::new();
            for (first, more) in ranges {
                numbers.insert_range(at(first), at(first + more));
                set.extend(first..=first + more);
            }
            for number in 1..80 {
                prop_assert_eq!(numbers.contains(at(number)), set.contains(&number), "{} in {}", number, numbers);
                let missing = number <= last && !set.contains(&number);
                prop_assert_eq!(numbers.missing_below(at(last)).contains(at(number)), missing);
            }
            prop_assert_eq!(numbers.highest().map(Sequence::number), set.last().copied());
            prop_assert_eq!(numbers.to_string().parse::<Numbers>().unwrap(), numbers);
        }
    }
}
