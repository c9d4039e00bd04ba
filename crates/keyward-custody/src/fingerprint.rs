//! The fingerprint of a vault: compared once, by a person as words or by a machine as digits.

use std::fmt;
use std::str::FromStr;

use bip39::Language;

use crate::canonical::{Digest, serde_as_text};
use crate::{Error, Statement};

/// Words that stand for a fingerprint: 88 bits. Whoever wants another vault with the same words makes 2^88 of them.
pub const WORDS: usize = 8;

/// Bits of a word, an index into the list of 2048.
const BITS: u32 = 11;

/// The digest of a vault's generation 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(Digest);

impl Fingerprint {
    /// The fingerprint of the vault that begins with this statement; [`Error::Previous`] if it is not generation 1.
    pub fn of(first: &Statement) -> Result<Fingerprint, Error> {
        if first.previous().is_some() {
            return Err(Error::Previous { generation: first.generation() });
        }
        Ok(Fingerprint(first.digest()))
    }

    /// The digest itself.
    pub fn digest(&self) -> Digest {
        self.0
    }

    /// The first 88 bits as eight words of BIP-39's English list, for two people to compare.
    pub fn words(&self) -> Words {
        let list = Language::English.word_list();
        let bits = self.0.as_bytes().iter().take(11).fold(0_u128, |bits, byte| bits << 8 | u128::from(*byte));
        let mut words = [""; WORDS];
        for (word, shift) in words.iter_mut().zip((0..8).rev().map(|place| place * BITS)) {
            let index = usize::try_from(bits >> shift & 0x7ff).unwrap_or(0);
            *word = list.get(index).copied().unwrap_or("");
        }
        Words(words)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Fingerprint, Error> {
        text.parse().map(Fingerprint)
    }
}

serde_as_text!(Fingerprint);

/// Eight words of BIP-39's English list. Displayed with single spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words([&'static str; WORDS]);

impl Words {
    /// The words in order.
    pub fn iter(&self) -> impl Iterator<Item = &'static str> {
        self.0.into_iter()
    }
}

impl fmt::Display for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

/// What somebody says a vault's fingerprint is: all 64 digits, or its eight words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FingerprintClaim {
    /// All of it.
    Whole(Fingerprint),
    /// Its words.
    Words(Words),
}

impl FingerprintClaim {
    /// Whether this is the fingerprint that is meant.
    pub fn matches(&self, fingerprint: &Fingerprint) -> bool {
        match self {
            FingerprintClaim::Whole(whole) => whole == fingerprint,
            FingerprintClaim::Words(words) => *words == fingerprint.words(),
        }
    }
}

impl FromStr for FingerprintClaim {
    type Err = Error;

    /// Reads 64 digits or eight words; a person may have typed capitals and more space.
    fn from_str(text: &str) -> Result<FingerprintClaim, Error> {
        let text = text.trim().to_ascii_lowercase();
        if let Ok(whole) = text.parse() {
            return Ok(FingerprintClaim::Whole(whole));
        }
        let mut words = [""; WORDS];
        let mut given = text.split_ascii_whitespace();
        for (place, word) in words.iter_mut().zip(given.by_ref()) {
            let index = Language::English.find_word(word);
            let known =
                index.and_then(|index| Language::English.word_list().get(usize::from(index)).copied());
            *place = known.ok_or_else(|| Error::Fingerprint {
                reason: format!(
                    "'{}' is not in the list",
                    word.chars().take(40).collect::<String>().escape_debug()
                ),
            })?;
        }
        if words.contains(&"") || given.next().is_some() {
            return Err(Error::Fingerprint { reason: "there are not eight words".to_owned() });
        }
        Ok(FingerprintClaim::Words(Words(words)))
    }
}

/// How somebody made sure that this is the vault that is meant.
#[derive(Clone, Copy, Debug)]
pub enum Confirmation {
    /// Its fingerprint was brought along from elsewhere.
    Fingerprint(FingerprintClaim),
    /// A person looked at the words here and where the vault was made, and says that they are the same.
    ComparedByPerson,
    /// This process has just made the vault.
    MadeHere,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fingerprint(hex: &str) -> Fingerprint {
        format!("{hex:0<64}").parse().unwrap()
    }

    #[test]
    fn words_are_the_first_88_bits() {
        assert_eq!(
            fingerprint("0").words().to_string(),
            "abandon abandon abandon abandon abandon abandon abandon abandon"
        );
        assert_eq!(
            fingerprint("ffffffffffffffffffffff").words().to_string(),
            "zoo zoo zoo zoo zoo zoo zoo zoo"
        );
        // 00000000001 00000000010 00000000011 … 00000001000
        assert_eq!(
            fingerprint("0020080180400a01803808").words().to_string(),
            "ability able about above absent absorb abstract absurd"
        );
        let long = fingerprint(&format!("{}01", "ab".repeat(11)));
        assert_eq!(long.words(), fingerprint(&"ab".repeat(11)).words());
    }

    #[test]
    fn claims() {
        let vault = fingerprint("0123456789abcdef0123456789abcdef");
        let words = vault.words().to_string();
        for right in
            [words.clone(), format!("  {}\n", words.to_uppercase().replace(' ', "   ")), vault.to_string()]
        {
            assert!(right.parse::<FingerprintClaim>().unwrap().matches(&vault), "{right}");
        }
        let other = fingerprint("0123456789abcdef0123456789abcdee");
        assert!(other.to_string().parse::<FingerprintClaim>().is_ok_and(|claim| !claim.matches(&vault)));
        let swapped = "able ability about above absent absorb abstract absurd";
        assert!(swapped.parse::<FingerprintClaim>().is_ok_and(|claim| !claim.matches(&vault)));
        for bad in [
            "",
            "orbit",
            &format!("{words} zoo"),
            &words.replacen(' ', "", 1),
            &"0".repeat(63),
            "keyward a b c d e f g",
        ] {
            assert!(matches!(bad.parse::<FingerprintClaim>(), Err(Error::Fingerprint { .. })), "{bad}");
        }
    }
}
