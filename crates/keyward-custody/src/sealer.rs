//! Sealers: the hosts whose receipts count (`docs/formats.md`, "Sealers").
//!
//! A statement lists every sealer there ever was. One that was removed stays, with the last receipt of each series that
//! still counts: what it made before stays verifiable, what somebody makes with its key afterwards does not count.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::canonical::serde_as_text;
use crate::{Digest, Error, Generation, Name, PublicKey, Sequence, Statement};

/// The longest name of a series, in bytes.
const MAX_SERIES: usize = 64;

/// The name of a series: what one host seals again and again under ever higher numbers.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series(String);

impl Series {
    /// The series that a source of this name belongs to by default: its characters outside of the grammar become
    /// hyphens; `archive` if nothing is left.
    pub fn of_source(name: &str) -> Series {
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '-' };
        let text: String = name.chars().map(plain).collect();
        let text = text.trim_start_matches(|c: char| !c.is_ascii_alphanumeric());
        let text: String = text.chars().take(MAX_SERIES).collect();
        Series(if text.is_empty() { "archive".to_owned() } else { text })
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Series {
    type Err = Error;

    fn from_str(text: &str) -> Result<Series, Error> {
        if !text.is_empty() && Series::of_source(text).0 == text {
            return Ok(Series(text.to_owned()));
        }
        Err(Error::Series { text: text.chars().take(64).collect() })
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(Series);

/// A receipt of a series, by number and digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The digest of the receipt.
    pub digest: Digest,
    /// Its number.
    pub sequence: Sequence,
}

/// What a statement says of a sealer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealer {
    added: Generation,
    by: Option<Name>,
    key: PublicKey,
    removed: Option<RemovedSealer>,
}

/// How a sealer was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemovedSealer {
    generation: Generation,
    last: BTreeMap<Series, Link>,
}

impl Sealer {
    pub(crate) fn new(key: PublicKey, added: Generation, by: Option<Name>) -> Sealer {
        Sealer { added, by, key, removed: None }
    }

    pub(crate) fn remove(&mut self, generation: Generation, last: BTreeMap<Series, Link>) {
        self.removed = Some(RemovedSealer { generation, last });
    }

    /// The key that signs its receipts.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The generation that certified it.
    pub fn added(&self) -> Generation {
        self.added
    }

    /// The person who controls the host, where that was said.
    pub fn by(&self) -> Option<&Name> {
        self.by.as_ref()
    }

    /// How it was removed; none for one in force.
    pub fn removed(&self) -> Option<&RemovedSealer> {
        self.removed.as_ref()
    }
}

impl RemovedSealer {
    /// The generation that removed it.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The last receipt that counts, by series. In a series that is not here, none does.
    pub fn last(&self) -> &BTreeMap<Series, Link> {
        &self.last
    }
}

/// What a statement's sealers have to be by themselves.
pub(crate) fn check_sealers(sealers: &BTreeMap<Name, Sealer>, generation: Generation) -> Result<(), Error> {
    for (name, sealer) in sealers {
        let refuse = |reason| Err(Error::Sealer { name: name.clone(), reason });
        if sealer.added > generation {
            return refuse("was certified by a generation after this statement");
        }
        if let Some(removed) = &sealer.removed
            && (removed.generation <= sealer.added || removed.generation > generation)
        {
            return refuse("was not removed between its certification and this statement");
        }
    }
    Ok(())
}

/// What the next statement may do to the sealers of the one before: certify new ones and remove some, nothing else.
pub(crate) fn check_sealer_succession(before: &Statement, after: &Statement) -> Result<(), Error> {
    let generation = after.generation();
    let (old, new) = (before.claimed_sealers(), after.claimed_sealers());
    for (name, sealer) in old {
        let changed = |member| Err(Error::SealerChanged { generation, name: name.clone(), member });
        let Some(now) = new.get(name) else { return changed("place in the list") };
        if now.key != sealer.key {
            return changed("key");
        }
        if (now.added, &now.by) != (sealer.added, &sealer.by) {
            return changed("certification");
        }
        let removed_now = now.removed.as_ref().is_some_and(|removed| removed.generation == generation);
        if now.removed != sealer.removed && (sealer.removed.is_some() || !removed_now) {
            return changed("removal");
        }
    }
    let added = new.iter().filter(|(name, _)| !old.contains_key(*name));
    for (name, sealer) in added {
        if sealer.added != generation || sealer.removed.is_some() {
            let member = "certification, which was to be its own";
            return Err(Error::SealerChanged { generation, name: name.clone(), member });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_names() {
        for good in ["photos", "a", "Photos-2026_11.tar", "0", &"x".repeat(64)] {
            assert_eq!(good.parse::<Series>().unwrap().to_string(), good);
        }
        for bad in ["", ".hidden", "-x", "a b", "a/b", "é", &"x".repeat(65)] {
            assert!(matches!(bad.parse::<Series>(), Err(Error::Series { .. })), "{bad:?}");
        }
        for (source, series) in [
            ("photos", "photos"),
            ("My Photos", "My-Photos"),
            (".config", "config"),
            ("-", "archive"),
            ("", "archive"),
            ("é", "archive"),
            ("Bücher", "B-cher"),
        ] {
            assert_eq!(Series::of_source(source).as_str(), series);
            assert!(series.parse::<Series>().is_ok());
        }
    }
}
