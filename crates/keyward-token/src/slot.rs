//! Key slots and data objects, and the policies of keys: SP 800-73-4 part 1 tables 3 and 4, part 2 section 5.
//!
//! Slot F9, objects 5FFFxx and the policies are Yubico's extensions.

use std::{fmt, str::FromStr};

/// A place for one private key and its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// 9A, PIV authentication.
    Authentication,
    /// 9C, digital signature.
    Signature,
    /// 9D, key management.
    KeyManagement,
    /// 9E, card authentication: a key that needs no PIN.
    CardAuthentication,
    /// 82 to 95, retired key management.
    Retired(Retired),
    /// F9, Yubico's attestation key.
    Attestation,
}

/// One of the twenty retired slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Retired(u8);

impl Retired {
    const FIRST: u8 = 0x82;
    const LAST: u8 = 0x95;

    /// 1 for 82, 20 for 95: the count that a Key History object uses.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0 - Self::FIRST + 1
    }
}

impl Slot {
    /// 82: the key that opens archives.
    pub const ARCHIVE: Slot = Slot::Retired(Retired(0x82));
    /// 83: the key that opens policy shares.
    pub const CUSTODY: Slot = Slot::Retired(Retired(0x83));

    /// The slot with this key reference.
    #[must_use]
    pub fn new(reference: u8) -> Option<Self> {
        match reference {
            0x9A => Some(Self::Authentication),
            0x9C => Some(Self::Signature),
            0x9D => Some(Self::KeyManagement),
            0x9E => Some(Self::CardAuthentication),
            Retired::FIRST..=Retired::LAST => Some(Self::Retired(Retired(reference))),
            0xF9 => Some(Self::Attestation),
            _ => None,
        }
    }

    /// The key reference, P2 of most commands.
    #[must_use]
    pub fn reference(self) -> u8 {
        match self {
            Self::Authentication => 0x9A,
            Self::Signature => 0x9C,
            Self::KeyManagement => 0x9D,
            Self::CardAuthentication => 0x9E,
            Self::Retired(Retired(reference)) => reference,
            Self::Attestation => 0xF9,
        }
    }

    /// The object that holds the slot's certificate.
    #[must_use]
    pub fn certificate(self) -> ObjectId {
        ObjectId(match self {
            Self::Authentication => 0x5F_C105,
            Self::Signature => 0x5F_C10A,
            Self::KeyManagement => 0x5F_C10B,
            Self::CardAuthentication => 0x5F_C101,
            Self::Retired(retired) => 0x5F_C10C + u32::from(retired.number()),
            Self::Attestation => 0x5F_FF01,
        })
    }

    /// Every slot that people put keys into, in the order of `ykman piv info`.
    pub fn all() -> impl Iterator<Item = Slot> {
        [Self::Authentication, Self::Signature, Self::KeyManagement, Self::CardAuthentication]
            .into_iter()
            .chain((Retired::FIRST..=Retired::LAST).map(|reference| Self::Retired(Retired(reference))))
    }

    /// Whether a key in this slot may be taken over as the archive key: a retired slot, or 9D, whose keys agree.
    #[must_use]
    pub fn may_be_adopted(self) -> bool {
        matches!(self, Self::KeyManagement | Self::Retired(_))
    }

    /// Where a custody key may go beside an archive key that was taken over, in order of preference.
    pub(crate) fn for_custody() -> impl Iterator<Item = Slot> {
        (Retired::FIRST + 1..=Retired::LAST)
            .chain([Retired::FIRST])
            .map(|reference| Self::Retired(Retired(reference)))
    }

    /// Where a signing key may go, in order of preference: 9C, then the retired slots after custody's.
    pub(crate) fn for_signing() -> impl Iterator<Item = Slot> {
        std::iter::once(Self::Signature)
            .chain((Retired::FIRST + 2..=Retired::LAST).map(|reference| Self::Retired(Retired(reference))))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.reference())
    }
}

/// The text names no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a {0}")]
pub struct Unknown(&'static str);

impl FromStr for Slot {
    type Err = Unknown;

    /// Two hexadecimal digits, in either case.
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let hex = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let reference = hex.then(|| u8::from_str_radix(text, 16).ok()).flatten();
        reference.and_then(Self::new).ok_or(Unknown("PIV slot (9a, 9c, 9d, 9e, 82 to 95, f9)"))
    }
}

/// The number of a data object, its BER-TLV tag in SP 800-73-4 part 1 table 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u32);

impl ObjectId {
    /// 5FC121, iris images: the first choice for the ML-KEM seeds; reading needs the PIN on a YubiKey.
    pub const IRIS: Self = Self(0x5F_C121);
    /// 5FC108, facial image: the second choice.
    pub const FACIAL_IMAGE: Self = Self(0x5F_C108);
    /// 5FC109, printed information: where Yubico's tools keep a PIN-protected management key.
    pub const PRINTED: Self = Self(0x5F_C109);
    /// 5FC10C, Key History.
    pub const KEY_HISTORY: Self = Self(0x5F_C10C);
    /// 5FFF4B, Keyward's own: what an enrolment that is under way has set out to do. In Yubico's range for
    /// private objects, next to none of its own (5FFF00, 01, 10 to 15).
    pub const ENROLMENT: Self = Self(0x5F_FF4B);

    /// The three bytes of the tag.
    pub(crate) fn tag(self) -> [u8; 3] {
        let [_, a, b, c] = self.0.to_be_bytes();
        [a, b, c]
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl FromStr for ObjectId {
    type Err = Unknown;

    /// Six hexadecimal digits from `5f0000` to `5fffff`.
    fn from_str(text: &str) -> Result<Self, Unknown> {
        let hex = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = hex.then(|| u32::from_str_radix(text, 16).ok()).flatten();
        number.filter(|number| number >> 16 == 0x5F).map(Self).ok_or(Unknown("PIV object (5f0000 to 5fffff)"))
    }
}

/// How often a key wants the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinPolicy {
    /// Never.
    Never,
    /// Once a session.
    Once,
    /// Right before each use.
    Always,
}

/// How often a key wants a touch. Ordered by strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TouchPolicy {
    /// Never.
    Never,
    /// A touch counts for 15 seconds.
    Cached,
    /// At each use.
    Always,
}

impl PinPolicy {
    /// From Yubico's byte in metadata, attestations and key generation.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Never),
            2 => Some(Self::Once),
            3 => Some(Self::Always),
            _ => None,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Never => 1,
            Self::Once => 2,
            Self::Always => 3,
        }
    }
}

impl TouchPolicy {
    /// From Yubico's byte.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Never),
            2 => Some(Self::Always),
            3 => Some(Self::Cached),
            _ => None,
        }
    }

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Never => 1,
            Self::Always => 2,
            Self::Cached => 3,
        }
    }
}

impl fmt::Display for PinPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Once => "once",
            Self::Always => "always",
        })
    }
}

impl FromStr for PinPolicy {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text {
            "never" => Ok(Self::Never),
            "once" => Ok(Self::Once),
            "always" => Ok(Self::Always),
            _ => Err(Unknown("PIN policy (never, once, always)")),
        }
    }
}

impl fmt::Display for TouchPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Never => "never",
            Self::Cached => "cached",
            Self::Always => "always",
        })
    }
}

impl FromStr for TouchPolicy {
    type Err = Unknown;

    fn from_str(text: &str) -> Result<Self, Unknown> {
        match text {
            "never" => Ok(Self::Never),
            "cached" => Ok(Self::Cached),
            "always" => Ok(Self::Always),
            _ => Err(Unknown("touch policy (never, cached, always)")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_and_their_certificates() {
        assert_eq!(Slot::all().count(), 24);
        for slot in Slot::all() {
            assert_eq!(Slot::new(slot.reference()), Some(slot));
            assert_eq!(slot.to_string().parse(), Ok(slot));
        }
        assert_eq!(Slot::ARCHIVE.certificate().to_string(), "5fc10d");
        assert_eq!("95".parse::<Slot>().map(Slot::certificate).map(|id| id.to_string()), Ok("5fc120".into()));
        assert_eq!("9C".parse(), Ok(Slot::Signature));
        for text in ["", "9", "9b", "81", "96", "+2", "082"] {
            assert!(text.parse::<Slot>().is_err(), "{text:?}");
        }
        assert_eq!(Slot::for_signing().take(2).map(Slot::reference).collect::<Vec<_>>(), [0x9C, 0x84]);
    }

    #[test]
    fn policies_are_ordered_by_strength_not_by_byte() {
        assert!(TouchPolicy::Never < TouchPolicy::Cached && TouchPolicy::Cached < TouchPolicy::Always);
        assert!(PinPolicy::Never < PinPolicy::Once && PinPolicy::Once < PinPolicy::Always);
        for touch in [TouchPolicy::Never, TouchPolicy::Cached, TouchPolicy::Always] {
            assert_eq!(TouchPolicy::from_byte(touch.byte()), Some(touch));
            assert_eq!(touch.to_string().parse(), Ok(touch));
        }
        for pin in [PinPolicy::Never, PinPolicy::Once, PinPolicy::Always] {
            assert_eq!(PinPolicy::from_byte(pin.byte()), Some(pin));
            assert_eq!(pin.to_string().parse(), Ok(pin));
        }
        assert_eq!((PinPolicy::from_byte(0), TouchPolicy::from_byte(4)), (None, None));
    }

    #[test]
    fn objects_have_six_digits() {
        assert_eq!("5fc121".parse(), Ok(ObjectId::IRIS));
        assert_eq!(ObjectId::IRIS.tag(), [0x5F, 0xC1, 0x21]);
        for text in ["5fc12", "60c121", "+fc121", "5fc1211"] {
            assert!(text.parse::<ObjectId>().is_err(), "{text:?}");
        }
    }
}
