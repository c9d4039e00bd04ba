//! Private keys, the terms of their use, and what they compute.
//!
//! One answer a question whatever the algorithm; the mathematics is in `rsa`, `ec` and `curve25519`, the numbers and
//! names in `algorithm`. Whether a key may be used (PIN, touch) is the applet's question, not this room's.

mod algorithm;
mod curve25519;
mod ec;
mod rsa;

use der::{
    Encode, Sequence,
    asn1::{BitString, UintRef},
};
use serde::{Deserialize, Serialize};
use x509_cert::spki::SubjectPublicKeyInfoOwned;
use zeroize::Zeroizing;

pub(crate) use self::algorithm::Algorithm;
use super::{
    policy::{PinPolicy, TouchPolicy},
    state::Secret,
    status::Sw,
    tlv::{self, Tlv},
};

/// Where a key came from; only generated ones are attested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Origin {
    /// 01, made on the token.
    Generated,
    /// 02, brought from outside.
    Imported,
}

impl Origin {
    /// The byte in metadata.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Generated => 1,
            Self::Imported => 2,
        }
    }
}

/// What GENERAL AUTHENTICATE asks a key to compute on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Input<'a> {
    /// Tag 81: what to sign, or an RSA block to decrypt.
    Challenge(&'a [u8]),
    /// Tag 85: the other side's public key.
    Peer(&'a [u8]),
}

/// The public half of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PublicKey {
    /// An RSA modulus; the exponent is 65537.
    Modulus(Vec<u8>),
    /// An uncompressed point, or the 32 bytes of Curve25519.
    Point(Vec<u8>),
}

impl PublicKey {
    /// What stands in tag 7F49 and in metadata: 81 and 82, or 86 (SP 800-73-4 part 2 table 11).
    pub(crate) fn template(&self) -> Vec<u8> {
        match self {
            Self::Modulus(modulus) => {
                let mut out = tlv::encode(0x81, modulus);
                tlv::write(&mut out, 0x82, &rsa::EXPONENT);
                out
            }
            Self::Point(point) => tlv::encode(0x86, point),
        }
    }
}

/// RFC 8017 appendix A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// A private key and the terms of its use.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    pub(crate) origin: Origin,
    pub(crate) pin_policy: PinPolicy,
    pub(crate) touch_policy: TouchPolicy,
    private: Secret,
}

impl Key {
    /// A new random key.
    pub(crate) fn generate(algorithm: Algorithm, pin: PinPolicy, touch: TouchPolicy) -> Result<Self, Sw> {
        let of = |private: &[u8]| Self {
            algorithm,
            origin: Origin::Generated,
            pin_policy: pin,
            touch_policy: touch,
            private: Secret::new(private),
        };
        if algorithm.is_rsa() {
            return Ok(of(&rsa::generate(algorithm.length())?));
        }
        let mut private = Zeroizing::new(vec![0; algorithm.length()]);
        loop {
            getrandom::fill(&mut private).map_err(|_| Sw::INTERNAL)?;
            let key = of(&private);
            if key.is_sound() {
                return Ok(key); // zero and values past the group's order are drawn again
            }
        }
    }

    /// A key from IMPORT's tags; 6A80 if they make no private key of the algorithm.
    pub(crate) fn import(
        algorithm: Algorithm,
        tags: &[Tlv<'_>],
        pin: PinPolicy,
        touch: TouchPolicy,
    ) -> Result<Self, Sw> {
        let of = |private: &[u8]| Self {
            algorithm,
            origin: Origin::Imported,
            pin_policy: pin,
            touch_policy: touch,
            private: Secret::new(private),
        };
        let tag = match algorithm {
            Algorithm::P256 | Algorithm::P384 => 0x06,
            Algorithm::Ed25519 => 0x07,
            Algorithm::X25519 => 0x08,
            _ => return Ok(of(&rsa::import(algorithm.length(), tags)?)),
        };
        let key = of(tlv::find(tags, tag).ok_or(Sw::WRONG_DATA)?);
        if key.is_sound() { Ok(key) } else { Err(Sw::WRONG_DATA) }
    }

    /// Whether the private part is one of the algorithm.
    pub(crate) fn is_sound(&self) -> bool {
        let private = self.private.expose();
        match self.algorithm {
            Algorithm::P256 | Algorithm::P384 => ec::is_sound(self.algorithm, private),
            Algorithm::Ed25519 | Algorithm::X25519 => private.len() == self.algorithm.length(),
            _ => rsa::is_sound(private, self.algorithm.length()),
        }
    }

    /// The public half.
    pub(crate) fn public(&self) -> Result<PublicKey, Sw> {
        let private = self.private.expose();
        match self.algorithm {
            Algorithm::P256 | Algorithm::P384 => ec::point(self.algorithm, private).map(PublicKey::Point),
            Algorithm::Ed25519 => curve25519::ed25519_public(private).map(PublicKey::Point),
            Algorithm::X25519 => curve25519::x25519_public(private).map(PublicKey::Point),
            _ => rsa::modulus(private, self.algorithm.length()).map(PublicKey::Modulus),
        }
    }

    /// The public half as certificates carry it.
    pub(crate) fn public_info(&self) -> Result<SubjectPublicKeyInfoOwned, Sw> {
        let bits = match self.public()? {
            PublicKey::Point(point) => point,
            PublicKey::Modulus(modulus) => UintRef::new(&modulus)
                .and_then(|modulus| {
                    RsaPublicKey { modulus, exponent: UintRef::new(&rsa::EXPONENT)? }.to_der()
                })
                .map_err(|_| Sw::INTERNAL)?,
        };
        let subject_public_key = BitString::from_bytes(&bits).map_err(|_| Sw::INTERNAL)?;
        Ok(SubjectPublicKeyInfoOwned { algorithm: self.algorithm.identifier(), subject_public_key })
    }

    /// Signs, decrypts or agrees, as the algorithm and the input have it; 6A80 where the two do not fit.
    pub(crate) fn compute(&self, input: Input<'_>) -> Result<Zeroizing<Vec<u8>>, Sw> {
        let private = self.private.expose();
        let algorithm = self.algorithm;
        match (algorithm, input) {
            (Algorithm::P256 | Algorithm::P384, Input::Challenge(digest)) => {
                ec::sign(algorithm, private, digest).map(Zeroizing::new)
            }
            (Algorithm::P256 | Algorithm::P384, Input::Peer(point)) => ec::agree(algorithm, private, point),
            (Algorithm::Ed25519, Input::Challenge(message)) => {
                curve25519::ed25519_sign(private, message).map(Zeroizing::new)
            }
            (Algorithm::X25519, Input::Peer(point)) => curve25519::x25519_agree(private, point),
            (Algorithm::Ed25519, Input::Peer(_)) | (Algorithm::X25519, Input::Challenge(_)) => {
                Err(Sw::WRONG_DATA)
            }
            (_, Input::Challenge(block)) => rsa::compute(private, algorithm.length(), block),
            (_, Input::Peer(_)) => Err(Sw::WRONG_DATA),
        }
    }

    /// The signing key for attestations; P-256 only.
    pub(crate) fn signer(&self) -> Result<p256::ecdsa::SigningKey, Sw> {
        match self.algorithm {
            Algorithm::P256 => Ok(p256::ecdsa::SigningKey::from(&ec::p256(self.private.expose())?)),
            _ => Err(Sw::INTERNAL),
        }
    }
}

#[cfg(test)]
mod tests;
