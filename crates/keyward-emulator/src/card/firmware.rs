//! Firmware versions and what each can do.
//!
//! One question a method, asked where behaviour differs; Yubico's technical manual, "PIV: firmware
//! differences". A version without a profile is refused rather than answered for by its neighbour.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize, de};

use super::{key::Algorithm, management_key::MgmAlgorithm};
use crate::Error;

/// A YubiKey's firmware version: 4.3.x, 5.2.x, 5.4.x or 5.7.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Firmware {
    major: u8,
    minor: u8,
    patch: u8,
}

impl Firmware {
    /// The three bytes that GET VERSION answers.
    pub fn bytes(self) -> [u8; 3] {
        [self.major, self.minor, self.patch]
    }

    fn from(self, major: u8, minor: u8) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// GET SERIAL in the PIV applet (INS F8), since 5.0; the OTP applet has it always.
    pub(crate) fn has_serial(self) -> bool {
        self.from(5, 0)
    }

    /// WRITE CONFIG (INS 1C) in the management applet, since 5.0; a YubiKey 4 has modes instead.
    pub(crate) fn has_write_config(self) -> bool {
        self.from(5, 0)
    }

    /// Whether attestations tell serial and form factor, since 5.0.
    pub(crate) fn has_form_factor(self) -> bool {
        self.from(5, 0)
    }

    /// Which keys there can be: RSA-3072, RSA-4096, Ed25519 and X25519 since 5.7.
    pub(crate) fn has(self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::Rsa1024 | Algorithm::Rsa2048 | Algorithm::P256 | Algorithm::P384 => true,
            Algorithm::Rsa3072 | Algorithm::Rsa4096 | Algorithm::Ed25519 | Algorithm::X25519 => {
                self.from(5, 7)
            }
        }
    }

    /// GET METADATA (INS F7), since 5.3.
    pub(crate) fn has_metadata(self) -> bool {
        self.from(5, 3)
    }

    /// MOVE KEY and delete (INS F6), since 5.7.
    pub(crate) fn has_move_key(self) -> bool {
        self.from(5, 7)
    }

    /// Whether a PUK may be of any bytes; since 5.7 of ASCII alone.
    pub(crate) fn allows_any_puk(self) -> bool {
        !self.from(5, 7)
    }

    /// Whether the device information tells of PIN complexity and blocked resets, since 5.7.
    pub(crate) fn has_pin_complexity(self) -> bool {
        self.from(5, 7)
    }

    /// Which management key algorithms SET MANAGEMENT KEY takes: AES since 5.4.
    pub(crate) fn allows(self, algorithm: MgmAlgorithm) -> bool {
        algorithm == MgmAlgorithm::TripleDes || self.from(5, 4)
    }

    /// The factory's management key is 3DES before 5.7, AES-192 since.
    pub(crate) fn default_management_algorithm(self) -> MgmAlgorithm {
        if self.from(5, 7) { MgmAlgorithm::Aes192 } else { MgmAlgorithm::TripleDes }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Firmware {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let refused = || Error::Firmware { version: text.escape_default().to_string() };
        let mut parts = text.split('.').map(|part| part.parse::<u8>().ok());
        let (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(refused());
        };
        match (major, minor) {
            (4, 3) | (5, 2 | 4 | 7) => Ok(Self { major, minor, patch }),
            _ => Err(refused()),
        }
    }
}

impl Serialize for Firmware {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Firmware {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_without_a_profile_are_refused_and_the_existing_named() {
        for version in ["", "5.7", "5.7.1.2", "4.2.6", "5.3.0", "6.0.0", "5.7.256", "5.7.x", "\u{1b}[2J"] {
            let message = version.parse::<Firmware>().unwrap_err().to_string();
            assert!(message.contains("4.3.x, 5.2.x, 5.4.x and 5.7.x"), "{message}");
            assert!(!message.contains('\u{1b}'));
        }
        assert_eq!("5.7.1".parse::<Firmware>().unwrap().bytes(), [5, 7, 1]);
    }

    #[test]
    fn abilities_follow_the_version() {
        let of = |version: &str| {
            let f: Firmware = version.parse().unwrap();
            (
                f.has_metadata(),
                f.allows(MgmAlgorithm::Aes128),
                f.has_move_key(),
                f.has(Algorithm::Rsa4096),
                f.has_serial(),
                f.default_management_algorithm(),
            )
        };
        assert_eq!(of("4.3.5"), (false, false, false, false, false, MgmAlgorithm::TripleDes));
        assert_eq!(of("5.2.7"), (false, false, false, false, true, MgmAlgorithm::TripleDes));
        assert_eq!(of("5.4.3"), (true, true, false, false, true, MgmAlgorithm::TripleDes));
        assert_eq!(of("5.7.4"), (true, true, true, true, true, MgmAlgorithm::Aes192));
    }
}
