//! Private keys and what they compute: ECDSA over a digest, ECDH.
//!
//! SP 800-78-4 table 6-2 names the algorithms; P-256 and P-384 exist here. The digest is the client's
//! business: the card signs what it is given.

use der::asn1::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use p256::elliptic_curve::sec1::ToSec1Point;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{
    policy::{PinPolicy, TouchPolicy},
    state::Secret,
    status::Sw,
};

/// A key's algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Algorithm {
    /// 11.
    #[serde(rename = "P-256")]
    P256,
    /// 14.
    #[serde(rename = "P-384")]
    P384,
}

impl Algorithm {
    /// Reads tag 80 or P1; what is not emulated (RSA, Ed25519, X25519) is refused like what does not exist.
    pub(crate) fn from_byte(byte: u8) -> Result<Self, Sw> {
        match byte {
            0x11 => Ok(Self::P256),
            0x14 => Ok(Self::P384),
            _ => Err(Sw::WRONG_DATA),
        }
    }

    /// The algorithm's number.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::P256 => 0x11,
            Self::P384 => 0x14,
        }
    }

    /// Length of a private scalar, a coordinate and the longest digest.
    fn length(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }

    /// The named curve, RFC 5480 section 2.1.1.1.
    pub(crate) fn curve(self) -> ObjectIdentifier {
        match self {
            Self::P256 => ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
            Self::P384 => ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        }
    }
}

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
        let mut scalar = Zeroizing::new(vec![0; algorithm.length()]);
        loop {
            getrandom::fill(&mut scalar).map_err(|_| Sw::INTERNAL)?;
            let key = Self {
                algorithm,
                origin: Origin::Generated,
                pin_policy: pin,
                touch_policy: touch,
                private: Secret::new(&scalar),
            };
            if key.is_sound() {
                return Ok(key); // zero and values past the group's order are drawn again
            }
        }
    }

    /// A key from outside; 6A80 if the scalar is none of the curve's.
    pub(crate) fn import(
        algorithm: Algorithm,
        scalar: &[u8],
        pin: PinPolicy,
        touch: TouchPolicy,
    ) -> Result<Self, Sw> {
        let key = Self {
            algorithm,
            origin: Origin::Imported,
            pin_policy: pin,
            touch_policy: touch,
            private: Secret::new(scalar),
        };
        if key.is_sound() { Ok(key) } else { Err(Sw::WRONG_DATA) }
    }

    /// Whether the scalar is a private key of the curve.
    pub(crate) fn is_sound(&self) -> bool {
        let scalar = self.private.expose();
        scalar.len() == self.algorithm.length()
            && match self.algorithm {
                Algorithm::P256 => p256::SecretKey::from_slice(scalar).is_ok(),
                Algorithm::P384 => p384::SecretKey::from_slice(scalar).is_ok(),
            }
    }

    fn p256(&self) -> Result<p256::SecretKey, Sw> {
        p256::SecretKey::from_slice(self.private.expose()).map_err(|_| Sw::INTERNAL)
    }

    fn p384(&self) -> Result<p384::SecretKey, Sw> {
        p384::SecretKey::from_slice(self.private.expose()).map_err(|_| Sw::INTERNAL)
    }

    /// The public point, uncompressed (SEC 1 section 2.3.3).
    pub(crate) fn point(&self) -> Result<Vec<u8>, Sw> {
        Ok(match self.algorithm {
            Algorithm::P256 => self.p256()?.public_key().to_sec1_point(false).as_bytes().to_vec(),
            Algorithm::P384 => self.p384()?.public_key().to_sec1_point(false).as_bytes().to_vec(),
        })
    }

    /// ECDSA over a digest no longer than the curve's order, DER; a shorter one is a smaller number.
    pub(crate) fn sign(&self, digest: &[u8]) -> Result<Vec<u8>, Sw> {
        let padding = self.algorithm.length().checked_sub(digest.len()).ok_or(Sw::WRONG_DATA)?;
        if digest.is_empty() {
            return Err(Sw::WRONG_DATA);
        }
        let mut padded = vec![0; padding];
        padded.extend_from_slice(digest);
        match self.algorithm {
            Algorithm::P256 => {
                let signer = p256::ecdsa::SigningKey::from(&self.p256()?);
                let signature: p256::ecdsa::Signature =
                    signer.sign_prehash(&padded).map_err(|_| Sw::INTERNAL)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
            Algorithm::P384 => {
                let signer = p384::ecdsa::SigningKey::from(&self.p384()?);
                let signature: p384::ecdsa::Signature =
                    signer.sign_prehash(&padded).map_err(|_| Sw::INTERNAL)?;
                Ok(signature.to_der().as_bytes().to_vec())
            }
        }
    }

    /// The x coordinate of the shared point; 6A80 if the other side's is not an uncompressed point of the curve.
    pub(crate) fn ecdh(&self, peer: &[u8]) -> Result<Vec<u8>, Sw> {
        if peer.len() != 2 * self.algorithm.length() + 1 {
            return Err(Sw::WRONG_DATA);
        }
        match self.algorithm {
            Algorithm::P256 => {
                let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| Sw::WRONG_DATA)?;
                Ok(self.p256()?.diffie_hellman(&peer).raw_secret_bytes().to_vec())
            }
            Algorithm::P384 => {
                let peer = p384::PublicKey::from_sec1_bytes(peer).map_err(|_| Sw::WRONG_DATA)?;
                Ok(self.p384()?.diffie_hellman(&peer).raw_secret_bytes().to_vec())
            }
        }
    }

    /// The signing key for attestations; P-256 only.
    pub(crate) fn signer(&self) -> Result<p256::ecdsa::SigningKey, Sw> {
        match self.algorithm {
            Algorithm::P256 => Ok(p256::ecdsa::SigningKey::from(&self.p256()?)),
            Algorithm::P384 => Err(Sw::INTERNAL),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::signature::hazmat::PrehashVerifier;

    fn key(algorithm: Algorithm) -> Key {
        Key::generate(algorithm, PinPolicy::Never, TouchPolicy::Never).unwrap()
    }

    #[test]
    fn both_sides_of_ecdh_agree_on_both_curves() {
        for algorithm in [Algorithm::P256, Algorithm::P384] {
            let (a, b) = (key(algorithm), key(algorithm));
            let shared = a.ecdh(&b.point().unwrap()).unwrap();
            assert_eq!(shared, b.ecdh(&a.point().unwrap()).unwrap());
            assert_eq!(shared.len(), algorithm.length());
        }
    }

    #[test]
    fn points_that_are_none_are_refused() {
        let a = key(Algorithm::P256);
        let mut off_curve = a.point().unwrap();
        off_curve[64] ^= 1;
        let compressed = [&[2], &a.point().unwrap()[1..33]].concat();
        for peer in [&off_curve[..], &compressed, &[0], &[], &[4; 65], &key(Algorithm::P384).point().unwrap()]
        {
            assert_eq!(a.ecdh(peer), Err(Sw::WRONG_DATA));
        }
    }

    #[test]
    fn signatures_verify_for_full_and_short_digests() {
        let a = key(Algorithm::P256);
        let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&a.point().unwrap()).unwrap();
        for digest in [vec![7; 32], [vec![0; 12], vec![9; 20]].concat()] {
            let given = if digest[0] == 0 { &digest[12..] } else { &digest[..] };
            let signature = p256::ecdsa::Signature::from_der(&a.sign(given).unwrap()).unwrap();
            verifier.verify_prehash(&digest, &signature).unwrap();
        }
        let b = key(Algorithm::P384);
        let verifier = p384::ecdsa::VerifyingKey::from_sec1_bytes(&b.point().unwrap()).unwrap();
        let signature = p384::ecdsa::Signature::from_der(&b.sign(&[7; 48]).unwrap()).unwrap();
        verifier.verify_prehash(&[7; 48], &signature).unwrap();
        assert_eq!(a.sign(&[7; 33]), Err(Sw::WRONG_DATA));
        assert_eq!(a.sign(&[]), Err(Sw::WRONG_DATA));
    }

    #[test]
    fn scalars_out_of_range_are_not_imported() {
        for scalar in [&[0; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], &[]] {
            let import = Key::import(Algorithm::P256, scalar, PinPolicy::Once, TouchPolicy::Never);
            assert_eq!(import.err(), Some(Sw::WRONG_DATA));
        }
    }
}
