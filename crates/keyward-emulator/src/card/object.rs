//! Data objects: which there can be, and which the PIN guards.
//!
//! SP 800-73-4 part 1 table 3 and Yubico's own (5FFF00 up). Every object 5Fxxxx can be written with the
//! management key; reading asks for nothing but, on a YubiKey, for the PIN at the four named here.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{state::text, status::Sw, tlv};

/// Yubico: about 3,052 bytes an object, framing included.
const MAX_OBJECT: usize = 3052;

/// The discovery object, SP 800-73-4 part 1 section 3.3.2: PIV's AID, and a PIV PIN that is the only PIN.
const DISCOVERY: &[u8] = &[
    0x4F, 0x0B, 0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x5F, 0x2F, 0x02, 0x40,
    0x00,
];

/// The number of an object, 5F0000 to 5FFFFF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ObjectId(u32);

impl ObjectId {
    /// The attestation certificate, kept beside its key and not among the objects.
    pub(crate) const ATTESTATION: ObjectId = ObjectId(0x5F_FF01);

    fn new(number: u32) -> Option<Self> {
        (number >> 16 == 0x5F).then_some(Self(number))
    }

    /// Whether reading it needs the PIN: fingerprints, printed information, facial image, iris images.
    pub(crate) fn needs_pin(self) -> bool {
        matches!(self.0, 0x5F_C103 | 0x5F_C108 | 0x5F_C109 | 0x5F_C121)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:06x}", self.0)
    }
}

impl FromStr for ObjectId {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        u32::from_str_radix(text, 16).ok().and_then(ObjectId::new).ok_or(())
    }
}

impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text::serialize(self, serializer)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

/// What GET DATA names in its tag list.
pub(crate) enum Name {
    /// 7E.
    Discovery,
    /// 5Fxxxx.
    Object(ObjectId),
}

/// Reads the tag list `5C` of GET DATA; SP 800-73-4 part 2 section 3.1.2.
pub(crate) fn name(tag_list: &[u8]) -> Result<Name, Sw> {
    match tag_list {
        [0x7E] => Ok(Name::Discovery),
        [0x7F, 0x61] => Err(Sw::NOT_FOUND), // biometric templates
        &[first, second, third] => ObjectId::new(u32::from_be_bytes([0, first, second, third]))
            .map(Name::Object)
            .ok_or(Sw::NOT_FOUND),
        _ => Err(Sw::WRONG_DATA),
    }
}

/// The discovery object as GET DATA answers it.
pub(crate) fn discovery() -> Vec<u8> {
    tlv::encode(0x7E, DISCOVERY)
}

/// Reads the data field of PUT DATA: which object, and its new content, empty to delete it.
pub(crate) fn parse_put(data: &[u8]) -> Result<(ObjectId, &[u8]), Sw> {
    let (list, rest) = tlv::read(data).ok_or(Sw::WRONG_DATA)?;
    let (content, rest) = tlv::read(rest).ok_or(Sw::WRONG_DATA)?;
    if list.tag != 0x5C || content.tag != 0x53 || !rest.is_empty() {
        return Err(Sw::WRONG_DATA);
    }
    match name(list.value)? {
        Name::Object(id) if id == ObjectId::ATTESTATION => Err(Sw::WRONG_DATA),
        Name::Object(_) if content.value.len() > MAX_OBJECT => Err(Sw::NO_SPACE),
        Name::Object(id) => Ok((id, content.value)),
        Name::Discovery => Err(Sw::WRONG_DATA),
    }
}
