//! The algorithms of keys: their numbers, names and object identifiers.
//!
//! SP 800-78-4 table 6-2; 05, 16, E0 and E1 are Yubico's, since firmware 5.7. Which of them a token has, `firmware` says.

use der::{
    Any,
    asn1::{Null, ObjectIdentifier},
};
use serde::{Deserialize, Serialize};
use x509_cert::spki::AlgorithmIdentifierOwned;

const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A key's algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    /// 06.
    #[serde(rename = "RSA-1024")]
    Rsa1024,
    /// 07.
    #[serde(rename = "RSA-2048")]
    Rsa2048,
    /// 05.
    #[serde(rename = "RSA-3072")]
    Rsa3072,
    /// 16.
    #[serde(rename = "RSA-4096")]
    Rsa4096,
    /// 11.
    #[serde(rename = "P-256")]
    P256,
    /// 14.
    #[serde(rename = "P-384")]
    P384,
    /// E0.
    Ed25519,
    /// E1.
    X25519,
}

impl Algorithm {
    /// Every algorithm of any firmware.
    pub(crate) const ALL: [Algorithm; 8] = [
        Self::Rsa1024,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::P256,
        Self::P384,
        Self::Ed25519,
        Self::X25519,
    ];

    /// The algorithm with this number in tag 80 or P1.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.byte() == byte)
    }

    /// The algorithm's number.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Rsa3072 => 0x05,
            Self::Rsa1024 => 0x06,
            Self::Rsa2048 => 0x07,
            Self::P256 => 0x11,
            Self::P384 => 0x14,
            Self::Rsa4096 => 0x16,
            Self::Ed25519 => 0xE0,
            Self::X25519 => 0xE1,
        }
    }

    /// Length in bytes of an RSA modulus, or of a coordinate and a private scalar.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Rsa1024 => 128,
            Self::Rsa2048 => 256,
            Self::Rsa3072 => 384,
            Self::Rsa4096 => 512,
            Self::P256 | Self::Ed25519 | Self::X25519 => 32,
            Self::P384 => 48,
        }
    }

    /// Whether it is RSA, of any length.
    pub(crate) fn is_rsa(self) -> bool {
        matches!(self, Self::Rsa1024 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096)
    }

    /// How a certificate names it: RFC 3279 section 2.3.1, RFC 5480 section 2.1.1, RFC 8410 section 3.
    pub(crate) fn identifier(self) -> AlgorithmIdentifierOwned {
        let (oid, parameters) = match self {
            Self::Rsa1024 | Self::Rsa2048 | Self::Rsa3072 | Self::Rsa4096 => {
                (RSA_ENCRYPTION, Some(Any::from(Null)))
            }
            Self::P256 => (EC_PUBLIC_KEY, Some(Any::from(&P256))),
            Self::P384 => (EC_PUBLIC_KEY, Some(Any::from(&P384))),
            Self::Ed25519 => (ED25519, None),
            Self::X25519 => (X25519, None),
        };
        AlgorithmIdentifierOwned { oid, parameters }
    }
}
