//! Paper: 256 random bits as 24 words, from which an age identity and a signing key follow (`docs/formats.md`, "Paper").
//!
//! The words are BIP-39's English list with BIP-39's checksum; the keys are not BIP-39's. Nothing here prints: the sheet is
//! text that the caller shows or writes once. What is read back may be a sheet, or the words alone as somebody typed them.

use std::fmt;

use bip39::Language;
use ed25519_dalek::Signer as _;
use hkdf::Hkdf;
use keyward_age::{Recipient, SoftIdentity, Suite};
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::secret::Secret;
use crate::{Error, Holder, Name, Namespace, PaperHolder, PublicKey, Signature, VaultId, signed_blob};

/// Words of a paper: 256 bits and a checksum of 8.
pub const PAPER_WORDS: usize = 24;

/// Bits of a word.
const BITS: usize = 11;
/// No sheet is near this many bytes.
const MAX_LEN: usize = 1 << 16;
/// Letters that tell every word of the list from every other.
const ENOUGH_LETTERS: usize = 4;

/// What HKDF-SHA256 expands for (RFC 5869, `info`), by use.
const INFO_HYBRID: &[u8] = b"keyward-paper-v1 age hybrid";
const INFO_CLASSIC: &[u8] = b"keyward-paper-v1 age classic";
const INFO_SIGNING: &[u8] = b"keyward-paper-v1 ed25519";

/// The secret of a paper. Whoever has it is its holder.
pub struct Paper {
    entropy: Secret,
}

impl Paper {
    /// A new one from the operating system's randomness.
    pub fn generate() -> Result<Paper, Error> {
        Ok(Paper { entropy: Secret::random()? })
    }

    /// The paper whose words encode these 32 bytes.
    pub fn from_entropy(entropy: &[u8; 32]) -> Paper {
        Paper { entropy: Secret::init_with(|place| place.copy_from_slice(entropy)) }
    }

    /// Reads 24 words. Capitals, any space and words cut after their fourth letter are taken as meant.
    ///
    /// [`Error::PaperWords`], [`Error::PaperWord`] with the place of the first word that is not in the list,
    /// [`Error::PaperChecksum`].
    pub fn from_words(text: &str) -> Result<Paper, Error> {
        if text.len() > MAX_LEN {
            return Err(Error::PaperSheet { reason: "it is too long" });
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        from_word_list(&words)
    }

    /// The word at a place from 1 to 24; none elsewhere.
    pub fn word(&self, place: usize) -> Option<&'static str> {
        let checksum = self.checksum();
        let bit = |index: usize| {
            let byte = self.entropy.expose().get(index / 8).copied().unwrap_or(checksum);
            usize::from(byte >> (7 - index % 8) & 1)
        };
        let first = place.checked_sub(1).filter(|index| *index < PAPER_WORDS)? * BITS;
        let index = (first..first + BITS).fold(0, |index, at| index << 1 | bit(at));
        Language::English.word_list().get(index).copied()
    }

    /// Whether this is the word at that place, as somebody typed it back.
    pub fn has_word(&self, place: usize, typed: &str) -> bool {
        let typed = typed.trim().to_ascii_lowercase();
        self.word(place).is_some_and(|word| word_index(&typed) == word_index(word))
    }

    /// The words with single spaces between them.
    pub fn words(&self) -> SecretString {
        let mut words = Zeroizing::new(String::with_capacity(PAPER_WORDS * 9));
        for word in (1..=PAPER_WORDS).filter_map(|place| self.word(place)) {
            if !words.is_empty() {
                words.push(' ');
            }
            words.push_str(word);
        }
        SecretString::from(words.as_str())
    }

    /// The age identity of a vault of this suite.
    pub fn identity(&self, suite: Suite) -> Result<SoftIdentity, Error> {
        let info = match suite {
            Suite::Hybrid => INFO_HYBRID,
            Suite::Classic => INFO_CLASSIC,
        };
        Ok(SoftIdentity::from_seed(suite, self.derive(info)?.expose())?)
    }

    /// The public half of [`Paper::identity`].
    pub fn recipient(&self, suite: Suite) -> Result<Recipient, Error> {
        Ok(self.identity(suite)?.recipient()?)
    }

    /// The key by which [`Paper::sign`] is checked.
    pub fn signing_key(&self) -> Result<PublicKey, Error> {
        PublicKey::from_ed25519(&self.ed25519()?.verifying_key().to_bytes())
    }

    /// Signs `message` as admin.
    pub fn sign(&self, namespace: Namespace, message: &[u8]) -> Result<Signature, Error> {
        let value = self.ed25519()?.sign(&signed_blob(namespace, message)).to_bytes();
        Ok(Signature::from_bytes(&self.signing_key()?, namespace, value))
    }

    /// The holder that a statement lists; `signs` if it may be an admin.
    pub fn holder(&self, suite: Suite, signs: bool) -> Result<Holder, Error> {
        let signing = signs.then(|| self.signing_key()).transpose()?;
        Ok(Holder::Paper(Box::new(PaperHolder { recipient: self.recipient(suite)?, signing })))
    }

    /// Checks that these are the words of that holder. [`Error::PaperIsAnother`] if not, [`Error::HolderKind`] if it is no
    /// paper.
    pub fn check(&self, name: &Name, holder: &Holder) -> Result<(), Error> {
        if !matches!(holder, Holder::Paper(_)) {
            return Err(Error::HolderKind { holder: name.clone(), kind: holder.kind(), wanted: "paper" });
        }
        let another = |member| Err(Error::PaperIsAnother { of: name.to_string(), member });
        if self.recipient(holder.archive().suite())? != *holder.archive() {
            return another("recipient");
        }
        match holder.signing_key() {
            Some(key) if *key != self.signing_key()? => another("signing key"),
            _ => Ok(()),
        }
    }

    /// The sheet to print or to write down: who it is for, and the words.
    pub fn sheet(&self, facts: &SheetFacts<'_>) -> Result<SecretString, Error> {
        use fmt::Write as _;

        let SheetFacts { holder, vault_name, vault_id, suite, signs } = *facts;
        let recipient = self.recipient(suite)?;
        let mut sheet = Zeroizing::new(String::with_capacity(4096));
        let mut put = |text: fmt::Arguments<'_>| {
            // Writing to a String does not fail.
            let _ = sheet.write_fmt(text);
        };
        put(format_args!("# Keyward: the paper of {holder}, a holder of vault {vault_name}.\n"));
        put(format_args!(
            "# Whoever reads the words below can do what {holder} can. Keep them out of sight,\n"
        ));
        put(format_args!("# and never in a file on a machine that is used every day.\n"));
        put(format_args!("holder: {holder}\nvault: {vault_name} {vault_id}\nsuite: {suite}\n"));
        put(format_args!("recipient: {recipient}\n"));
        if signs {
            put(format_args!("signs: {}\n", self.signing_key()?));
        }
        for place in 1..=PAPER_WORDS {
            let word = self.word(place).unwrap_or_default();
            match place % 4 {
                1 => put(format_args!("\n{place:2} {word:<8}")),
                _ => put(format_args!("  {place:2} {word:<8}")),
            }
        }
        put(format_args!("\n"));
        // Padding at the ends of lines is not worth keeping; the copy is wiped like the original.
        let mut trimmed = Zeroizing::new(String::with_capacity(sheet.len()));
        for line in sheet.lines() {
            trimmed.push_str(line.trim_end());
            trimmed.push('\n');
        }
        Ok(SecretString::from(trimmed.as_str()))
    }

    fn checksum(&self) -> u8 {
        Sha256::digest(self.entropy.expose()).first().copied().unwrap_or(0)
    }

    fn derive(&self, info: &[u8]) -> Result<Secret, Error> {
        let mut result = Ok(());
        let hkdf = Hkdf::<Sha256>::new(None, self.entropy.expose());
        let derived = Secret::init_with(|place| result = hkdf.expand(info, place));
        result.map_err(|error| Error::Sharing { reason: error.to_string() })?;
        Ok(derived)
    }

    fn ed25519(&self) -> Result<ed25519_dalek::SigningKey, Error> {
        Ok(ed25519_dalek::SigningKey::from_bytes(self.derive(INFO_SIGNING)?.expose()))
    }
}

impl fmt::Debug for Paper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Paper(redacted)")
    }
}

/// What a sheet says beside the words.
#[derive(Clone, Copy, Debug)]
pub struct SheetFacts<'a> {
    /// The holder it is.
    pub holder: &'a Name,
    /// The vault's name.
    pub vault_name: &'a Name,
    /// The vault.
    pub vault_id: VaultId,
    /// The vault's suite.
    pub suite: Suite,
    /// Whether it may sign as admin.
    pub signs: bool,
}

/// A sheet, read back.
#[derive(Debug)]
pub struct Sheet {
    /// The secret.
    pub paper: Paper,
    /// Whose it is, if the sheet says so.
    pub holder: Option<Name>,
    /// Of which vault, if the sheet says so.
    pub vault: Option<VaultId>,
    /// Of which suite, if the sheet says so.
    pub suite: Option<Suite>,
}

impl Sheet {
    /// Reads a sheet, or 24 words alone. Lines that begin with `#` are passed over.
    ///
    /// As [`Paper::from_words`]; [`Error::PaperSheet`] for a line that no sheet has, [`Error::PaperIsAnother`] if the words
    /// do not give the recipient or the signing key that the sheet names.
    pub fn parse(text: &str) -> Result<Sheet, Error> {
        if text.len() > MAX_LEN {
            return Err(Error::PaperSheet { reason: "it is too long" });
        }
        let (mut holder, mut vault, mut suite) = (None, None, None);
        let (mut recipient, mut signs): (Option<Recipient>, Option<PublicKey>) = (None, None);
        let mut words: Vec<&str> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let Some((member, value)) = line.split_once(':') else {
                for token in line.split_whitespace() {
                    match token.trim_end_matches('.').parse::<usize>() {
                        Ok(place) if place == words.len() + 1 => {}
                        Ok(_) => {
                            return Err(Error::PaperSheet { reason: "the numbers of its words have a gap" });
                        }
                        Err(_) => words.push(token),
                    }
                }
                continue;
            };
            let value = value.trim();
            let bad = |reason| move |_| Error::PaperSheet { reason };
            match member {
                "holder" => holder = Some(value.parse()?),
                "vault" => {
                    let id = value.split_whitespace().last().unwrap_or_default();
                    vault = Some(id.parse()?);
                }
                "suite" => suite = Some(value.parse().map_err(bad("its suite is not known"))?),
                "recipient" => recipient = Some(value.parse().map_err(bad("its recipient is damaged"))?),
                "signs" => signs = Some(value.parse()?),
                _ => return Err(Error::PaperSheet { reason: "a line of it is none of a sheet's" }),
            }
        }
        let paper = from_word_list(&words)?;
        let another = |member| Err(Error::PaperIsAnother { of: "this sheet".to_owned(), member });
        if let Some(recipient) = &recipient {
            if suite.is_some_and(|suite| suite != recipient.suite()) {
                return Err(Error::PaperSheet { reason: "its recipient is not of its suite" });
            }
            if paper.recipient(recipient.suite())? != *recipient {
                return another("recipient");
            }
        }
        if signs.is_some_and(|key| !paper.signing_key().is_ok_and(|own| own == key)) {
            return another("signing key");
        }
        Ok(Sheet { paper, holder, vault, suite: suite.or(recipient.map(|recipient| recipient.suite())) })
    }
}

fn from_word_list(words: &[&str]) -> Result<Paper, Error> {
    if words.len() != PAPER_WORDS {
        return Err(Error::PaperWords { found: words.len() });
    }
    // 264 bits: the entropy, then its checksum.
    let mut bytes = Zeroizing::new([0_u8; 33]);
    for (place, word) in words.iter().enumerate() {
        let lower = Zeroizing::new(word.to_ascii_lowercase());
        let index = word_index(&lower).ok_or(Error::PaperWord { place: place + 1 })?;
        for bit in 0..BITS {
            if index >> (BITS - 1 - bit) & 1 == 1 {
                let at = place * BITS + bit;
                if let Some(byte) = bytes.get_mut(at / 8) {
                    *byte |= 1 << (7 - at % 8);
                }
            }
        }
    }
    let (entropy, checksum) = bytes.split_first_chunk::<32>().ok_or(Error::PaperChecksum)?;
    let paper = Paper::from_entropy(entropy);
    if checksum.first() == Some(&paper.checksum()) { Ok(paper) } else { Err(Error::PaperChecksum) }
}

/// The place in the list of a word in lower case, or of one cut after its fourth letter or later.
fn word_index(word: &str) -> Option<usize> {
    let list = Language::English.word_list();
    list.iter().position(|known| *known == word).or_else(|| {
        let prefix = word.len() >= ENOUGH_LETTERS;
        list.iter().position(|known| prefix && known.starts_with(word))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;

    fn paper() -> Paper {
        Paper::from_entropy(&[0x5a; 32])
    }

    fn facts(holder: &Name, suite: Suite) -> SheetFacts<'_> {
        SheetFacts {
            holder,
            vault_name: holder,
            vault_id: VaultId::from_bytes(*b"keyward vault 01"),
            suite,
            signs: true,
        }
    }

    #[test]
    fn the_words_are_those_of_bip39() {
        // Trezor's vectors of BIP-39, 256 bits.
        let zeros = Paper::from_entropy(&[0; 32]);
        assert_eq!(zeros.words().expose_secret(), &format!("{}art", "abandon ".repeat(23)));
        let ones = Paper::from_entropy(&[0xff; 32]);
        assert_eq!(ones.words().expose_secret(), &format!("{}vote", "zoo ".repeat(23)));
        assert_eq!(zeros.word(24), Some("art"));
        assert_eq!((zeros.word(0), zeros.word(25)), (None, None));
    }

    #[test]
    fn read_as_people_write() {
        let words = paper().words().expose_secret().to_owned();
        let cut: Vec<String> = words.split(' ').map(|word| word.chars().take(4).collect()).collect();
        for written in [words.to_uppercase(), words.replace(' ', "\n\t "), cut.join(" ")] {
            let read = Paper::from_words(&written).unwrap();
            assert!(read.entropy == paper().entropy, "{written}");
        }
        assert!(paper().has_word(3, &format!(" {} ", paper().word(3).unwrap().to_uppercase())));
        assert!(!paper().has_word(3, "zoo") && !paper().has_word(3, "") && !paper().has_word(25, "zoo"));
    }

    #[test]
    fn wrong_words_are_named_by_place() {
        let words = paper().words().expose_secret().to_owned();
        let list: Vec<&str> = words.split(' ').collect();
        for place in [1, 7, 24] {
            for wrong in ["keyward", "ab", "zoox", "é"] {
                let mut list = list.clone();
                list[place - 1] = wrong;
                let error = Paper::from_words(&list.join(" ")).unwrap_err();
                assert!(matches!(error, Error::PaperWord { place: found } if found == place), "{error}");
                assert!(!error.to_string().contains(wrong), "a word near to the secret is not repeated");
            }
        }
        for found in [0, 12, 23, 25] {
            let text = list.iter().cycle().take(found).copied().collect::<Vec<_>>().join(" ");
            assert!(matches!(Paper::from_words(&text), Err(Error::PaperWords { found: n }) if n == found));
        }
        let swapped = words.replacen(list[0], "zoo", 1);
        assert!(matches!(Paper::from_words(&swapped), Err(Error::PaperChecksum)));
        assert!(Paper::from_words(&"a ".repeat(MAX_LEN)).is_err());
    }

    #[test]
    fn keys_are_apart() {
        let hybrid = paper().recipient(Suite::Hybrid).unwrap();
        let classic = paper().recipient(Suite::Classic).unwrap();
        assert_eq!((hybrid.suite(), classic.suite()), (Suite::Hybrid, Suite::Classic));
        let [a, b, c] =
            [INFO_HYBRID, INFO_CLASSIC, INFO_SIGNING].map(|info| *paper().derive(info).unwrap().expose());
        assert!(a != b && b != c && a != c && a != [0x5a; 32]);
        let signature = paper().sign(Namespace::Vault, b"a statement").unwrap();
        let key = paper().signing_key().unwrap();
        assert_eq!(signature.verify(Namespace::Vault, b"a statement", &key), Ok(()));
        assert!(signature.verify(Namespace::Receipt, b"a statement", &key).is_err());
        assert_eq!(format!("{:?}", paper()), "Paper(redacted)");
    }

    #[test]
    fn a_sheet_and_back() {
        let carol: Name = "carol".parse().unwrap();
        for suite in [Suite::Hybrid, Suite::Classic] {
            let sheet = paper().sheet(&facts(&carol, suite)).unwrap();
            let text = sheet.expose_secret();
            let read = Sheet::parse(text).unwrap();
            assert!(read.paper.entropy == paper().entropy);
            assert_eq!((read.holder.as_ref(), read.suite), (Some(&carol), Some(suite)));
            assert_eq!(read.vault.unwrap().to_string(), "6b657977617264207661756c74203031");
            assert!(text.lines().all(|line| !line.ends_with(' ')));

            let other = Paper::from_entropy(&[1; 32]);
            let recipient = |paper: &Paper| paper.recipient(suite).unwrap().to_string();
            let lied = text.replace(&recipient(&paper()), &recipient(&other));
            assert!(matches!(Sheet::parse(&lied), Err(Error::PaperIsAnother { member: "recipient", .. })));
            let key = |paper: &Paper| paper.signing_key().unwrap().to_string();
            let lied = text.replace(&key(&paper()), &key(&other));
            assert!(matches!(Sheet::parse(&lied), Err(Error::PaperIsAnother { member: "signing key", .. })));
            let gap = text.replacen(" 7 ", " 8 ", 1);
            assert!(matches!(Sheet::parse(&gap), Err(Error::PaperSheet { .. })));
            assert!(matches!(Sheet::parse(&format!("{text}note: hello\n")), Err(Error::PaperSheet { .. })));
        }
        let alone = Sheet::parse(paper().words().expose_secret()).unwrap();
        assert!(alone.holder.is_none() && alone.suite.is_none());
    }

    #[test]
    fn whose_words_they_are() {
        let carol: Name = "carol".parse().unwrap();
        let holder = paper().holder(Suite::Classic, true).unwrap();
        assert!(paper().check(&carol, &holder).is_ok());
        let error = Paper::from_entropy(&[1; 32]).check(&carol, &holder).unwrap_err();
        assert!(error.to_string().contains("carol"), "{error}");
        assert_eq!(error.class(), crate::Class::WrongSecret);
        let recipient = paper().recipient(Suite::Classic).unwrap();
        let age = Holder::Age(Box::new(crate::AgeHolder { recipient }));
        assert!(matches!(paper().check(&carol, &age), Err(Error::HolderKind { kind: "age", .. })));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn as_the_bip39_crate_writes_them(entropy in any::<[u8; 32]>()) {
            let theirs = bip39::Mnemonic::from_entropy_in(Language::English, &entropy).unwrap().to_string();
            let ours = Paper::from_entropy(&entropy);
            let words = ours.words();
            prop_assert_eq!(words.expose_secret(), theirs.as_str());
            prop_assert!(Paper::from_words(&theirs).unwrap().entropy == ours.entropy);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "(.|\n){0,300}|((zoo|abandon|art|holder:|suite:|1|#|\n) ){0,40}") {
            if let Ok(sheet) = Sheet::parse(&text) {
                prop_assert!(sheet.paper.word(1).is_some());
            }
        }
    }
}
