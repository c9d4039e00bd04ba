//! Names of holders, admins and vaults (`docs/formats.md`, "Common parts").
//!
//! A name is part of file names and of the policy text, so its grammar leaves nothing to escape.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::canonical::serde_as_text;

/// The longest name, in bytes.
const MAX_LEN: usize = 32;

/// Words of the policy text, which no name may be.
const RESERVED: [&str; 3] = ["or", "and", "of"];

/// `[a-z][a-z0-9-]{0,31}`, and none of the policy's own words.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Name, Error> {
        let refuse = |reason| Err(Error::Name { name: text.chars().take(64).collect(), reason });
        let mut bytes = text.bytes();
        if !bytes.next().is_some_and(|first| first.is_ascii_lowercase()) {
            return refuse("it begins with a letter from a to z");
        }
        if !bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return refuse("it has only a to z, 0 to 9 and hyphens");
        }
        if text.len() > MAX_LEN {
            return refuse("it is at most 32 characters long");
        }
        if RESERVED.contains(&text) {
            return refuse("the word belongs to the policy text");
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

serde_as_text!(Name);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for good in ["a", "alice", "x-1", "a23456789012345678901234567890-z", "orion", "off"] {
            assert_eq!(good.parse::<Name>().map(|name| name.to_string()).ok().as_deref(), Some(good));
        }
        for bad in [
            "",
            "Alice",
            "1a",
            "-a",
            "a b",
            "a.b",
            "a/b",
            "é",
            "or",
            "and",
            "of",
            "a23456789012345678901234567890-zz",
        ] {
            assert!(matches!(bad.parse::<Name>(), Err(Error::Name { .. })), "{bad:?}");
        }
    }
}
