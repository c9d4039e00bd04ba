//! Kinds of holder and what a statement says of each: a token, paper, a passphrase, another age identity.
//!
//! Every holder is public keys only, so that no rotation needs one present. A token has two keys that open, one for
//! archives and one for shares, because it is asked by programs that do not know what they ask for. The others have one
//! recipient for both: their private key is in the hands of whoever reads the words or types the passphrase, and there
//! is no oracle between them and it.

use std::fmt;
use std::str::FromStr;

use keyward_age::{Recipient, SoftIdentity, Suite};
use serde::{Deserialize, Serialize};

use crate::canonical::{self, serde_as_text};
use crate::{Digest, Error, Name, PublicKey};

/// Who can contribute to opening.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Holder {
    /// A PIV card or YubiKey with keys enrolled by Keyward.
    Token(Box<Token>),
    /// 24 words on paper.
    Paper(Box<PaperHolder>),
    /// A passphrase, which opens the identity in the vault's `holders/NAME.age`.
    Passphrase(Box<PassphraseHolder>),
    /// An age identity that is kept elsewhere.
    Age(Box<AgeHolder>),
}

impl Holder {
    /// Where archives are sealed to, for a holder who opens alone.
    pub fn archive(&self) -> &Recipient {
        match self {
            Holder::Token(token) => &token.archive,
            Holder::Paper(paper) => &paper.recipient,
            Holder::Passphrase(passphrase) => &passphrase.recipient,
            Holder::Age(age) => &age.recipient,
        }
    }

    /// Where policy shares are sealed to.
    pub fn custody(&self) -> &Recipient {
        match self {
            Holder::Token(token) => &token.custody,
            software => software.archive(),
        }
    }

    /// The token, if the holder is one.
    pub fn token(&self) -> Option<&Token> {
        match self {
            Holder::Token(token) => Some(token),
            _ => None,
        }
    }

    /// The key by which the holder can sign as admin: a token's, or a paper's that has one.
    pub fn signing_key(&self) -> Option<&PublicKey> {
        match self {
            Holder::Token(token) => Some(&token.signing.key),
            Holder::Paper(paper) => paper.signing.as_ref(),
            Holder::Passphrase(_) | Holder::Age(_) => None,
        }
    }

    /// The kind as the statement names it: `token`, `paper`, `passphrase`, `age`.
    pub fn kind(&self) -> &'static str {
        match self {
            Holder::Token(_) => "token",
            Holder::Paper(_) => "paper",
            Holder::Passphrase(_) => "passphrase",
            Holder::Age(_) => "age",
        }
    }

    /// Checks that this identity is the holder's: what it opens, the holder opens. [`Error::IdentityIsAnother`] if not, as for
    /// any token.
    pub fn check_identity(&self, name: &Name, identity: &SoftIdentity) -> Result<(), Error> {
        match identity.recipient()? == *self.custody() {
            true => Ok(()),
            false => Err(Error::IdentityIsAnother { holder: name.clone() }),
        }
    }

    /// Checks what can be checked of a holder by itself (`docs/formats.md`, "Statement", 6).
    pub(crate) fn check(&self, name: &Name, suite: Suite) -> Result<(), Error> {
        if let Holder::Token(token) = self {
            return token.check(name, suite);
        }
        if self.archive().suite() != suite || self.archive().point().is_some() {
            return Err(Error::SoftRecipient { holder: name.clone(), suite });
        }
        match self.signing_key() {
            Some(PublicKey::EcdsaP256(_)) => Err(Error::PaperKey { holder: name.clone() }),
            _ => Ok(()),
        }
    }
}

/// A paper as the statement knows it. The words are in [`crate::Paper`], and on the sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperHolder {
    /// The public half of the age identity that its words give.
    #[serde(with = "canonical::text")]
    pub recipient: Recipient,
    /// The Ed25519 key that its words give, if it may sign as admin.
    pub signing: Option<PublicKey>,
}

/// A passphrase as the statement knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PassphraseHolder {
    /// The digest of the vault's `holders/NAME.age`.
    pub file: Digest,
    /// The public half of the age identity in that file.
    #[serde(with = "canonical::text")]
    pub recipient: Recipient,
}

/// A foreign age identity as the statement knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgeHolder {
    /// Its public half.
    #[serde(with = "canonical::text")]
    pub recipient: Recipient,
}

/// A token as its enrolment found and made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// The serial number printed on it; generic PIV cards have none.
    pub serial: Option<u32>,
    /// Its firmware; generic PIV cards do not tell.
    pub firmware: Option<Firmware>,
    /// The archive key, as the recipient that archives are sealed to.
    #[serde(with = "canonical::text")]
    pub archive: Recipient,
    /// Where the archive key is. The member is absent for 82, so that 82 has one spelling.
    #[serde(default = "SlotId::archive", skip_serializing_if = "SlotId::is_archive")]
    pub archive_slot: SlotId,
    /// The custody key, as the recipient that policy shares are sealed to.
    #[serde(with = "canonical::text")]
    pub custody: Recipient,
    /// Where the custody key is. The member is absent for 83.
    #[serde(default = "SlotId::custody", skip_serializing_if = "SlotId::is_custody")]
    pub custody_slot: SlotId,
    /// The key in 9E by which the card proves itself before the PIN; none if it has none there.
    pub card_proof: Option<PublicKey>,
    /// The key by which its holder signs as admin.
    pub signing: SigningKey,
    /// When the archive key asks for the PIN.
    pub pin_policy: PinPolicy,
    /// When the archive key asks for a touch.
    pub touch_policy: TouchPolicy,
    /// The data object with its ML-KEM seeds; none in suite classic.
    pub seed_object: Option<SeedObject>,
    /// What the attestation proved when the token was enrolled.
    pub verdict: Verdict,
    /// X.509 certificates in DER that prove it again: one for each attested key, then their issuers.
    #[serde(with = "ders")]
    pub attestation: Vec<Vec<u8>>,
}

/// A token's signing key and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKey {
    /// The slot.
    pub slot: SlotId,
    /// The key.
    pub key: PublicKey,
}

/// What using a token needs to know of it. Lent by `Verified<Statement>` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The holder's name.
    pub name: Name,
    /// The token's serial number, if it has one.
    pub serial: Option<u32>,
    /// The recipient that archives are sealed to.
    pub archive: Recipient,
    /// The archive key as an uncompressed point.
    pub archive_point: [u8; 65],
    /// Where the archive key is.
    pub archive_slot: SlotId,
    /// The recipient that policy shares are sealed to.
    pub custody: Recipient,
    /// The custody key as an uncompressed point.
    pub custody_point: [u8; 65],
    /// Where the custody key is.
    pub custody_slot: SlotId,
    /// The key by which its holder signs as admin, and where it is.
    pub signing: SigningKey,
    /// The 9E key as an uncompressed point; none if the card cannot prove itself.
    pub card_proof: Option<[u8; 65]>,
    /// Whether opening will ask for a touch.
    pub touch_policy: TouchPolicy,
    /// Where the token's ML-KEM seeds are; none in suite classic.
    pub seed_object: Option<SeedObject>,
}

impl Candidate {
    /// The candidate that this token is; none if one of its recipients is no token's, which no statement has.
    pub(crate) fn of(name: &Name, token: &Token) -> Option<Candidate> {
        Some(Candidate {
            name: name.clone(),
            serial: token.serial,
            archive: token.archive.clone(),
            archive_point: token.archive.point()?,
            archive_slot: token.archive_slot,
            custody: token.custody.clone(),
            custody_point: token.custody.point()?,
            custody_slot: token.custody_slot,
            signing: token.signing.clone(),
            card_proof: token.card_proof.and_then(|key| key.p256_point().copied()),
            touch_policy: token.touch_policy,
            seed_object: token.seed_object,
        })
    }
}

impl Token {
    /// Checks what can be checked of a token by itself (`docs/formats.md`, "Statement", 6).
    pub(crate) fn check(&self, name: &Name, suite: Suite) -> Result<(), Error> {
        for (which, recipient) in [("archive", &self.archive), ("custody", &self.custody)] {
            if recipient.suite() != suite || recipient.point().is_none() {
                return Err(Error::Recipient { holder: name.clone(), which, suite });
            }
        }
        if self.seed_object.is_some() != (suite == Suite::Hybrid) {
            return Err(Error::SeedObject { holder: name.clone(), suite });
        }
        let (archive, custody, signing) = (self.archive_slot, self.custody_slot, self.signing.slot);
        for (which, slot, may) in [
            ("archive", archive, archive.is_retired() || archive == SlotId::KEY_MANAGEMENT),
            ("custody", custody, custody.is_retired() && custody != archive),
        ] {
            if !may {
                return Err(Error::KeySlot { holder: name.clone(), which, slot });
            }
        }
        let twice = signing == archive || signing == custody;
        if twice || !signing.can_sign() || self.signing.key.p256_point().is_none() {
            return Err(Error::SigningSlot { holder: name.clone(), slot: self.signing.slot });
        }
        Ok(())
    }

    /// Its P-256 keys, each with what it is for. No two of them may be the same.
    pub(crate) fn points(&self) -> impl Iterator<Item = (&'static str, [u8; 65])> {
        [
            ("archive key", self.archive.point()),
            ("custody key", self.custody.point()),
            ("signing key", self.signing.key.p256_point().copied()),
            ("card proof key", self.card_proof.and_then(|key| key.p256_point().copied())),
        ]
        .into_iter()
        .filter_map(|(which, point)| point.map(|point| (which, point)))
    }
}

/// `MAJOR.MINOR.PATCH` as a YubiKey tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Firmware(pub [u8; 3]);

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.0;
        write!(f, "{major}.{minor}.{patch}")
    }
}

impl FromStr for Firmware {
    type Err = Error;

    fn from_str(text: &str) -> Result<Firmware, Error> {
        let mut numbers = [0; 3];
        let mut parts = text.split('.');
        let mut whole = true;
        for number in &mut numbers {
            let part = parts.next().unwrap_or("");
            match part.parse::<u8>() {
                Ok(value) if value.to_string() == part => *number = value,
                _ => whole = false,
            }
        }
        if whole && parts.next().is_none() {
            Ok(Firmware(numbers))
        } else {
            Err(token_word("firmware", text))
        }
    }
}

serde_as_text!(Firmware);

/// A PIV key reference, two hexadecimal digits: `9c`, `82`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u8);

impl SlotId {
    /// 82, where enrolment makes the archive key.
    pub const ARCHIVE: SlotId = SlotId(0x82);
    /// 83, where enrolment makes the custody key.
    pub const CUSTODY: SlotId = SlotId(0x83);
    const KEY_MANAGEMENT: SlotId = SlotId(0x9d);

    fn archive() -> SlotId {
        SlotId::ARCHIVE
    }

    fn is_archive(&self) -> bool {
        *self == SlotId::ARCHIVE
    }

    fn custody() -> SlotId {
        SlotId::CUSTODY
    }

    fn is_custody(&self) -> bool {
        *self == SlotId::CUSTODY
    }

    fn is_retired(self) -> bool {
        matches!(self.0, 0x82..=0x95)
    }

    /// Digital signature (9C), else 9A, 9D or a retired slot other than 82 and 83.
    fn can_sign(self) -> bool {
        matches!(self.0, 0x9a | 0x9c | 0x9d | 0x84..=0x95)
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl FromStr for SlotId {
    type Err = Error;

    fn from_str(text: &str) -> Result<SlotId, Error> {
        canonical::parse_hex(text).map(|[slot]| SlotId(slot)).ok_or_else(|| token_word("slot", text))
    }
}

serde_as_text!(SlotId);

/// A set of words, each a variant, with text both ways.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal, $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$variant_doc])* $variant,)+
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $($type::$variant => $word,)+ })
            }
        }

        impl FromStr for $type {
            type Err = Error;

            fn from_str(text: &str) -> Result<$type, Error> {
                match text {
                    $($word => Ok($type::$variant),)+
                    _ => Err(token_word($what, text)),
                }
            }
        }

        serde_as_text!($type);
    };
}

words! {
    /// When a key asks for the PIN; ordered from weak to strong.
    PinPolicy, "PIN policy",
    /// Never.
    Never = "never",
    /// Once in a session.
    Once = "once",
    /// For each use.
    Always = "always",
}

words! {
    /// When a key asks for a touch; ordered from weak to strong.
    TouchPolicy, "touch policy",
    /// Never.
    Never = "never",
    /// Unless one was given within 15 seconds.
    Cached = "cached",
    /// For each use.
    Always = "always",
}

words! {
    /// The data object that holds a token's ML-KEM seeds.
    SeedObject, "seed object",
    /// Cardholder iris images, 5FC121.
    Iris = "5fc121",
    /// Cardholder facial image, 5FC108.
    FacialImage = "5fc108",
}

words! {
    /// What a token's attestation proves.
    Verdict, "verdict",
    /// Generated on a genuine YubiKey.
    Verified = "verified",
    /// Nothing: the token cannot attest.
    Unattested = "unattested",
    /// Nothing, and whoever issued the card may have a copy of the key.
    IssuerHeld = "issuer-held",
    /// That it is software: the chain ends in the emulator's published test root.
    Emulated = "emulated",
}

fn token_word(what: &'static str, text: &str) -> Error {
    Error::TokenWord { what, text: text.chars().take(64).collect() }
}

/// A list of DER certificates as base64.
mod ders {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(ders: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(ders.iter().map(|der| BASE64.encode(der)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| BASE64.decode(text).map_err(de::Error::custom)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers() {
        assert_eq!("5.7.1".parse::<Firmware>().unwrap(), Firmware([5, 7, 1]));
        assert!("5.10.0".parse::<Firmware>().unwrap() > "5.7.4".parse().unwrap());
        for bad in ["", "5", "5.7", "5.7.1.0", "5.07.1", "5.7.256", "5.7.-1", "5.7.+1", "a.b.c", "5.7.1 "] {
            assert!(
                matches!(bad.parse::<Firmware>(), Err(Error::TokenWord { what: "firmware", .. })),
                "{bad}"
            );
        }
        assert_eq!("9c".parse::<SlotId>().unwrap(), SlotId(0x9c));
        for bad in ["", "9C", "9", "9c0", "0x"] {
            assert!(bad.parse::<SlotId>().is_err(), "{bad}");
        }
        let signing: Vec<u8> = (0..=255).filter(|slot| SlotId(*slot).can_sign()).collect();
        assert_eq!(signing.len(), 3 + 18);
        assert!(!signing.contains(&0x82) && !signing.contains(&0x83) && !signing.contains(&0x9e));
        assert!(PinPolicy::Never < PinPolicy::Once && PinPolicy::Once < PinPolicy::Always);
        assert!(TouchPolicy::Never < TouchPolicy::Cached && TouchPolicy::Cached < TouchPolicy::Always);
        assert_eq!("issuer-held".parse::<Verdict>().unwrap(), Verdict::IssuerHeld);
        assert!("Verified".parse::<Verdict>().is_err());
    }
}
