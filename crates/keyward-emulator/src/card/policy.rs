//! PIN and touch policies of keys.
//!
//! Yubico's PIV extensions: tags AA and AB of GENERATE and IMPORT, tag 02 of GET METADATA, extension
//! 1.3.6.1.4.1.41482.3.8 of an attestation.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a touch counts for keys with policy `cached`.
pub(crate) const TOUCH_CACHE: Duration = Duration::from_secs(15);

/// When a key asks for the PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PinPolicy {
    /// 01, not at all.
    Never,
    /// 02, once after power-on.
    Once,
    /// 03, each operation uses up one VERIFY.
    Always,
}

impl PinPolicy {
    /// Reads the byte of tag AA; 00 and an absent tag mean the slot's default.
    pub(crate) fn from_byte(byte: u8, default: PinPolicy) -> Option<Self> {
        match byte {
            0 => Some(default),
            1 => Some(Self::Never),
            2 => Some(Self::Once),
            3 => Some(Self::Always),
            _ => None, // 04 and 05 need a fingerprint reader
        }
    }

    /// The byte in metadata and attestations.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Never => 1,
            Self::Once => 2,
            Self::Always => 3,
        }
    }
}

/// When a key asks for a touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TouchPolicy {
    /// 01, not at all.
    Never,
    /// 02, for each operation.
    Always,
    /// 03, unless the token was touched in the last 15 seconds.
    Cached,
}

impl TouchPolicy {
    /// Reads the byte of tag AB; 00 and an absent tag mean never.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 | 1 => Some(Self::Never),
            2 => Some(Self::Always),
            3 => Some(Self::Cached),
            _ => None,
        }
    }

    /// The byte in metadata and attestations.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Never => 1,
            Self::Always => 2,
            Self::Cached => 3,
        }
    }
}
