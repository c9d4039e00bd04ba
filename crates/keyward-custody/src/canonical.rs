//! One content, one encoding: JSON by RFC 8785 (JCS), refused in any other spelling.
//!
//! A signed file is read by decoding it, encoding what was understood again and comparing the bytes. Whatever was not
//! understood, was said twice or was spelled differently makes the comparison fail: there is no second rule to forget.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

use crate::Error;

/// The most bytes a signed file may have.
pub(crate) const MAX_LEN: usize = 1 << 20;

/// Canonical bytes of a value. Our types hold no floats and no map with other keys than text, so encoding them cannot
/// fail; a failure is reported as malformed all the same.
pub(crate) fn encode<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>, Error> {
    let bytes = serde_json_canonicalizer::to_vec(value).map_err(|source| Error::malformed(what, source))?;
    if bytes.len() > MAX_LEN {
        return Err(Error::TooLong { what, len: bytes.len(), max: MAX_LEN });
    }
    Ok(bytes)
}

/// The value whose canonical bytes these are.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, Error> {
    if bytes.len() > MAX_LEN {
        return Err(Error::TooLong { what, len: bytes.len(), max: MAX_LEN });
    }
    let value: T = serde_json::from_slice(bytes).map_err(|source| Error::malformed(what, source))?;
    if encode(what, &value)? != bytes {
        return Err(Error::NotCanonical { what });
    }
    Ok(value)
}

/// The SHA-256 of a file's bytes; as text 64 lower-case hexadecimal digits, the output of `sha256sum`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest with these bytes, computed elsewhere.
    pub fn from_bytes(bytes: [u8; 32]) -> Digest {
        Digest(bytes)
    }

    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Digest, Error> {
        parse_hex(text).map(Digest).ok_or(Error::Hex { what: "a digest", digits: 64 })
    }
}

serde_as_text!(Digest);

pub(crate) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Exactly N bytes from lower-case hexadecimal digits.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    if text.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

/// Serialize through `Display`, deserialize through `FromStr`.
macro_rules! serde_as_text {
    ($type:ty) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_as_text;

/// The same for types of other crates: `#[serde(with = "canonical::text")]`.
pub(crate) mod text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A list that the format has and this version leaves empty. Any entry is refused: what it means is not known here, and
/// it may be a recipient that archives have to be sealed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EmptyList;

impl Serialize for EmptyList {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq::<[(); 0]>([])
    }
}

impl<'de> serde::Deserialize<'de> for EmptyList {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<EmptyList, D::Error> {
        let entries = <Vec<serde::de::IgnoredAny> as serde::Deserialize>::deserialize(deserializer)?;
        if entries.is_empty() {
            Ok(EmptyList)
        } else {
            Err(serde::de::Error::custom("a list has entries that this version of Keyward does not know"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn digest_text() {
        let digest = Digest::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"; // FIPS 180-2, B.1
        assert_eq!(digest.to_string(), text);
        assert_eq!(text.parse::<Digest>().unwrap(), digest);
        for bad in ["", &text[1..], &text.to_uppercase(), &text.replace('b', "g"), &format!("{text}00")] {
            assert!(matches!(bad.parse::<Digest>(), Err(Error::Hex { digits: 64, .. })), "{bad:?}");
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        type Map = BTreeMap<String, u32>;
        assert_eq!(decode::<Map>("test", br#"{"a":1,"b":20}"#).unwrap().len(), 2);
        for spelling in [
            r#"{"a":1, "b":20}"#,
            r#"{"b":20,"a":1}"#,
            r#"{"a":1,"a":1,"b":20}"#,
            r#"{"\u0061":1,"b":20}"#,
            "{\"a\":1,\"b\":20}\n",
        ] {
            assert!(
                matches!(decode::<Map>("test", spelling.as_bytes()), Err(Error::NotCanonical { .. })),
                "{spelling}"
            );
        }
        for junk in ["", "[]", r#"{"a":1.5}"#, r#"{"a":1}x"#, "\u{feff}{}"] {
            assert!(matches!(decode::<Map>("test", junk.as_bytes()), Err(Error::Malformed { .. })), "{junk}");
        }
        let long = vec![b' '; MAX_LEN + 1];
        assert!(matches!(decode::<Map>("test", &long), Err(Error::TooLong { max: MAX_LEN, .. })));
    }

    #[test]
    fn an_empty_list_stays_empty() {
        assert_eq!(decode::<EmptyList>("test", b"[]").unwrap(), EmptyList);
        let refused = decode::<EmptyList>("test", br#"[{"epoch":1}]"#).unwrap_err().to_string();
        assert!(refused.contains("does not know"), "{refused}");
    }
}
