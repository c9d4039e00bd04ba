//! The key slots of the PIV applet.
//!
//! SP 800-73-4 part 1 table 4b (9A, 9C, 9D, 9E) and section 3.3 (82 to 95, retired key management keys).
//! F9 is Yubico's attestation key; it is no slot here, since it holds nothing a client may use or change.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{policy::PinPolicy, state::text};

/// A slot that can hold a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u8);

impl Slot {
    /// The slot with this key reference.
    pub(crate) fn new(reference: u8) -> Option<Self> {
        matches!(reference, 0x9A | 0x9C | 0x9D | 0x9E | 0x82..=0x95).then_some(Self(reference))
    }

    /// What PIN policy 0 means: signing asks always, card authentication never, the others once.
    pub(crate) fn default_pin_policy(self) -> PinPolicy {
        match self.0 {
            0x9C => PinPolicy::Always,
            0x9E => PinPolicy::Never,
            _ => PinPolicy::Once,
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}", self.0)
    }
}

impl FromStr for Slot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        u8::from_str_radix(text, 16).ok().and_then(Slot::new).ok_or(())
    }
}

impl Serialize for Slot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for Slot {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}
