//! Public keys that sign, in OpenSSH's form: `TYPE BASE64` without comment (RFC 4253 section 6.6, RFC 5656 section 3.1,
//! RFC 8709 section 4), and the little of SSH's wire encoding (RFC 4251 section 5) that keys and signatures share.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::Error;
use crate::canonical::serde_as_text;

pub(crate) const ECDSA_P256: &str = "ecdsa-sha2-nistp256";
pub(crate) const ED25519: &str = "ssh-ed25519";
const NISTP256: &[u8] = b"nistp256";

/// A key that checks signatures: of a card (P-256) or of paper (Ed25519).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PublicKey {
    /// `ecdsa-sha2-nistp256`: a point on P-256, uncompressed (SEC 1, section 2.3.3).
    EcdsaP256([u8; 65]),
    /// `ssh-ed25519`: 32 bytes as in RFC 8032.
    Ed25519([u8; 32]),
}

impl PublicKey {
    /// The P-256 key with this uncompressed point; [`Error::PublicKey`] if it is not on the curve.
    pub fn from_p256_point(point: &[u8; 65]) -> Result<PublicKey, Error> {
        if point.first() != Some(&4) || p256::ecdsa::VerifyingKey::from_sec1_bytes(point).is_err() {
            return Err(Error::PublicKey { reason: "its point is not on P-256" });
        }
        Ok(PublicKey::EcdsaP256(*point))
    }

    /// The Ed25519 key of these 32 bytes; [`Error::PublicKey`] if they are no point, or one of small order.
    pub fn from_ed25519(bytes: &[u8; 32]) -> Result<PublicKey, Error> {
        match ed25519_dalek::VerifyingKey::from_bytes(bytes) {
            Ok(key) if !key.is_weak() => Ok(PublicKey::Ed25519(*bytes)),
            _ => Err(Error::PublicKey { reason: "its bytes are no Ed25519 key" }),
        }
    }

    /// The uncompressed point of a P-256 key.
    pub fn p256_point(&self) -> Option<&[u8; 65]> {
        match self {
            PublicKey::EcdsaP256(point) => Some(point),
            PublicKey::Ed25519(_) => None,
        }
    }

    /// OpenSSH's name of the key type, which is also that of its signatures.
    pub fn kind(&self) -> &'static str {
        match self {
            PublicKey::EcdsaP256(_) => ECDSA_P256,
            PublicKey::Ed25519(_) => ED25519,
        }
    }

    /// The key blob of RFC 4253.
    pub(crate) fn to_wire(self) -> Vec<u8> {
        let mut wire = Vec::with_capacity(104);
        put_string(&mut wire, self.kind().as_bytes());
        match self {
            PublicKey::EcdsaP256(point) => {
                put_string(&mut wire, NISTP256);
                put_string(&mut wire, &point);
            }
            PublicKey::Ed25519(bytes) => put_string(&mut wire, &bytes),
        }
        wire
    }

    pub(crate) fn from_wire(wire: &[u8]) -> Result<PublicKey, Error> {
        let malformed = Error::PublicKey { reason: "its encoding is damaged" };
        let mut reader = WireReader(wire);
        let key = match reader.string() {
            Some(kind) if kind == ECDSA_P256.as_bytes() => match (reader.string(), reader.string()) {
                (Some(NISTP256), Some(point)) => {
                    let point = point
                        .try_into()
                        .map_err(|_| Error::PublicKey { reason: "its point has not 65 bytes" })?;
                    PublicKey::from_p256_point(point)?
                }
                _ => return Err(malformed),
            },
            Some(kind) if kind == ED25519.as_bytes() => match reader.string().map(<&[u8; 32]>::try_from) {
                Some(Ok(bytes)) => PublicKey::from_ed25519(bytes)?,
                _ => return Err(malformed),
            },
            Some(_) => {
                return Err(Error::PublicKey {
                    reason: "its type is neither ecdsa-sha2-nistp256 nor ssh-ed25519",
                });
            }
            None => return Err(malformed),
        };
        if reader.is_empty() { Ok(key) } else { Err(malformed) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind(), BASE64.encode(self.to_wire()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<PublicKey, Error> {
        let (kind, base64) =
            text.split_once(' ').ok_or(Error::PublicKey { reason: "it is not of the form TYPE BASE64" })?;
        let wire = BASE64
            .decode(base64)
            .map_err(|_| Error::PublicKey { reason: "it is not of the form TYPE BASE64" })?;
        let key = PublicKey::from_wire(&wire)?;
        if kind != key.kind() {
            return Err(Error::PublicKey { reason: "its two types differ" });
        }
        Ok(key)
    }
}

serde_as_text!(PublicKey);

/// Appends a string of RFC 4251: 32-bit big-endian length, bytes. Ours are far below 4 GiB.
pub(crate) fn put_string(wire: &mut Vec<u8>, bytes: &[u8]) {
    wire.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
    wire.extend_from_slice(bytes);
}

/// Reads RFC 4251's types from outside data; `None` where it ends too early.
pub(crate) struct WireReader<'a>(pub(crate) &'a [u8]);

impl<'a> WireReader<'a> {
    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn uint32(&mut self) -> Option<u32> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*taken))
    }

    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.uint32()?).ok()?;
        self.bytes(len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with `ssh-keygen -t ecdsa -b 256` and `ssh-keygen -t ed25519`, OpenSSH 9.2.
    const P256: &str = include_str!("../../../tests/vectors/vault/ssh-ecdsa.pub");
    const ED: &str = include_str!("../../../tests/vectors/vault/ssh-ed25519.pub");

    #[test]
    fn openssh_keys_come_back_unchanged() {
        for line in [P256.trim_end(), ED.trim_end()] {
            let key: PublicKey = line.parse().unwrap();
            assert_eq!(key.to_string(), line);
            assert_eq!(PublicKey::from_wire(&key.to_wire()).unwrap(), key);
        }
    }

    #[test]
    fn other_spellings_are_refused() {
        let line = P256.trim_end();
        let (kind, base64) = line.split_once(' ').unwrap();
        let off_curve = {
            let mut wire = BASE64.decode(base64).unwrap();
            *wire.last_mut().unwrap() ^= 1;
            format!("{kind} {}", BASE64.encode(wire))
        };
        let compressed = {
            let key: PublicKey = line.parse().unwrap();
            let point = key.p256_point().unwrap();
            let mut wire = Vec::new();
            put_string(&mut wire, ECDSA_P256.as_bytes());
            put_string(&mut wire, NISTP256);
            put_string(&mut wire, &[&[2 + (point[64] & 1)], &point[1..33]].concat());
            format!("{kind} {}", BASE64.encode(wire))
        };
        let longer = {
            let mut wire = BASE64.decode(base64).unwrap();
            wire.push(0);
            format!("{kind} {}", BASE64.encode(wire))
        };
        let small_order = {
            let mut wire = Vec::new();
            put_string(&mut wire, ED25519.as_bytes());
            put_string(&mut wire, &[&[1_u8][..], &[0; 31]].concat());
            format!("{ED25519} {}", BASE64.encode(wire))
        };
        for bad in [
            "",
            kind,
            &format!("{line} alice@host"),
            &format!(" {line}"),
            &line.replace("ecdsa-sha2-nistp256 ", "ecdsa-sha2-nistp256  "),
            &format!("{ED25519} {base64}"),
            &base64.replace('A', "B"),
            &format!("{kind} {}", base64.trim_end_matches('=').get(..40).unwrap()),
            &off_curve,
            &compressed,
            &longer,
            &small_order,
        ] {
            assert!(matches!(bad.parse::<PublicKey>(), Err(Error::PublicKey { .. })), "{bad}");
        }
    }
}
