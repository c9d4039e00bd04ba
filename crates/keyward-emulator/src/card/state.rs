//! What survives a power cycle: the content of a token file.
//!
//! JSON, byte strings in hexadecimal. A state that was read is checked here once, so that the other rooms
//! can rely on lengths and keys. Nothing of a session (PIN verified, selection, touch) is in it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{
    attest::{self, Attestation},
    firmware::Firmware,
    key::Key,
    management::Device,
    management_key::ManagementKey,
    object::ObjectId,
    pin::{Pin, Puk},
    slot::Slot,
};
use crate::{Error, Result};

/// The word at the head of a token file.
const FORMAT: &str = "keyward-emulator-token-v1";

/// Everything a token keeps.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    format: String,
    pub(crate) serial: u32,
    pub(crate) firmware: Firmware,
    pub(crate) attestation: Attestation,
    #[serde(default)]
    pub(crate) device: Device,
    pub(crate) piv: PivState,
}

/// What RESET gives back its factory values.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PivState {
    pub(crate) pin: Pin,
    pub(crate) puk: Puk,
    pub(crate) management_key: ManagementKey,
    pub(crate) keys: BTreeMap<Slot, Key>,
    pub(crate) objects: BTreeMap<ObjectId, Bytes>,
}

impl PivState {
    /// As it leaves the factory.
    pub(crate) fn factory(firmware: Firmware) -> Self {
        Self {
            pin: Pin::factory(),
            puk: Puk::factory(),
            management_key: ManagementKey::factory(firmware),
            keys: BTreeMap::new(),
            objects: BTreeMap::new(),
        }
    }
}

impl State {
    /// A new token, with its own attestation key under the test root.
    pub(crate) fn factory(serial: u32, firmware: Firmware) -> Result<Self> {
        Ok(Self {
            format: FORMAT.to_owned(),
            serial,
            firmware,
            attestation: attest::new_attestation(serial, firmware)?,
            device: Device::default(),
            piv: PivState::factory(firmware),
        })
    }

    /// Reads a token file's content.
    pub(crate) fn from_json(json: &[u8]) -> Result<Self> {
        let state: State = serde_json::from_slice(json).map_err(|error| Error::State(error.to_string()))?;
        if state.format != FORMAT {
            return Err(Error::State(format!("its format is not {FORMAT}")));
        }
        let checks = [
            (state.attestation.is_sound(), "the attestation key"),
            (state.device.is_sound(), "the configuration"),
            (state.piv.pin.is_sound(), "the PIN"),
            (state.piv.puk.is_sound(), "the PUK"),
            (state.piv.management_key.is_sound(state.firmware), "the management key"),
            (state.piv.keys.values().all(Key::is_sound), "a key"),
        ];
        match checks.into_iter().find(|(sound, _)| !sound) {
            Some((_, what)) => Err(Error::State(format!("{what} in it is not one"))),
            None => Ok(state),
        }
    }

    /// The content of a token file; holds private keys.
    pub(crate) fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut json = serde_json::to_vec_pretty(self).map_err(|error| Error::State(error.to_string()))?;
        json.push(b'\n');
        Ok(Zeroizing::new(json))
    }
}

/// Public bytes, hexadecimal in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

/// Secret bytes: wiped when dropped, compared in constant time, not printed.
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes, for the one operation that needs them.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Whether these are the bytes, in time that does not tell where they differ.
    pub(crate) fn is(&self, other: &[u8]) -> bool {
        self.0.as_slice().ct_eq(other).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble & 15)).copied().unwrap_or('0');
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(*byte));
    }
    text
}

pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = Zeroizing::new(text.chars().map(|c| c.to_digit(16)).collect::<Option<Vec<_>>>()?);
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| u8::try_from(high << 4 | low).ok()).collect()
}

/// Lower-case hexadecimal, for traces.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    hex(bytes).to_string()
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        unhex(&text).map(Bytes).ok_or_else(|| de::Error::custom("bytes that are not hexadecimal"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        match unhex(&text) {
            Some(bytes) => Ok(Self(Zeroizing::new(bytes))),
            None => Err(de::Error::custom("bytes that are not hexadecimal")),
        }
    }
}

/// Writes a value by its `Display`, reads it by its `FromStr`: slots and object numbers as JSON keys.
pub(crate) mod text {
    use super::*;

    pub(crate) fn serialize<T: fmt::Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T: FromStr, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<T, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|_| de::Error::custom("a slot or an object number that does not exist"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_file_reads_back_as_it_was() {
        let state = State::factory(7, "5.7.1".parse().unwrap()).unwrap();
        let json = state.to_json().unwrap();
        let again = State::from_json(&json).unwrap();
        assert_eq!(again.to_json().unwrap(), json);
    }

    #[test]
    fn damage_is_named() {
        let state = State::factory(7, "5.7.1".parse().unwrap()).unwrap();
        let json = String::from_utf8(state.to_json().unwrap().to_vec()).unwrap();
        for (from, to, word) in [
            (FORMAT, "another", "format"),
            ("313233343536ffff", "3132", "PIN"),
            ("3132333435363738\"", "31\"", "PUK"),
            ("010203040506", "01", "management key"),
            ("5.7.1", "9.9.9", "9.9.9"),
            ("\"serial\": 7", "\"serial\": 7, \"more\": 1", "more"),
        ] {
            assert!(json.contains(from), "{from}");
            let message = State::from_json(json.replace(from, to).as_bytes()).err().unwrap().to_string();
            assert!(message.contains(word), "{message}");
        }
    }

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(unhex("00ffA5"), Some(vec![0, 255, 0xA5]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("0g"), None);
        assert_eq!(*hex(&[0, 255, 0xA5]), "00ffa5");
    }

    #[test]
    fn secrets_are_not_printed() {
        assert_eq!(format!("{:?}", Secret::new(b"123456")), "Secret(…)");
    }
}
