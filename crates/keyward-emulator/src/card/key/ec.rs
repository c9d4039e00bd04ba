//! Keys on P-256 and P-384: ECDSA over a digest, ECDH.
//!
//! SP 800-78-4 section 3.1; SEC 1. A private key is its scalar. The digest is the client's business: the card signs
//! what it is given.

use p256::{ecdsa::signature::hazmat::PrehashSigner, elliptic_curve::sec1::ToSec1Point};
use zeroize::Zeroizing;

use super::Algorithm;
use crate::card::status::Sw;

/// Whether the bytes are a private scalar of the curve: of its length, not zero, below the group's order.
pub(super) fn is_sound(algorithm: Algorithm, scalar: &[u8]) -> bool {
    scalar.len() == algorithm.length()
        && match algorithm {
            Algorithm::P256 => p256(scalar).is_ok(),
            Algorithm::P384 => p384(scalar).is_ok(),
            _ => false,
        }
}

/// The private key on P-256.
pub(super) fn p256(scalar: &[u8]) -> Result<p256::SecretKey, Sw> {
    p256::SecretKey::from_slice(scalar).map_err(|_| Sw::INTERNAL)
}

fn p384(scalar: &[u8]) -> Result<p384::SecretKey, Sw> {
    p384::SecretKey::from_slice(scalar).map_err(|_| Sw::INTERNAL)
}

/// The public point, uncompressed (SEC 1 section 2.3.3).
pub(super) fn point(algorithm: Algorithm, scalar: &[u8]) -> Result<Vec<u8>, Sw> {
    match algorithm {
        Algorithm::P256 => Ok(p256(scalar)?.public_key().to_sec1_point(false).as_bytes().to_vec()),
        Algorithm::P384 => Ok(p384(scalar)?.public_key().to_sec1_point(false).as_bytes().to_vec()),
        _ => Err(Sw::INTERNAL),
    }
}

/// ECDSA over a digest no longer than the curve's order, DER; a shorter one is a smaller number.
pub(super) fn sign(algorithm: Algorithm, scalar: &[u8], digest: &[u8]) -> Result<Vec<u8>, Sw> {
    let padding = algorithm.length().checked_sub(digest.len()).ok_or(Sw::WRONG_DATA)?;
    if digest.is_empty() {
        return Err(Sw::WRONG_DATA);
    }
    let mut padded = vec![0; padding];
    padded.extend_from_slice(digest);
    match algorithm {
        Algorithm::P256 => {
            let signer = p256::ecdsa::SigningKey::from(&p256(scalar)?);
            let signature: p256::ecdsa::Signature = signer.sign_prehash(&padded).map_err(|_| Sw::INTERNAL)?;
            Ok(signature.to_der().as_bytes().to_vec())
        }
        Algorithm::P384 => {
            let signer = p384::ecdsa::SigningKey::from(&p384(scalar)?);
            let signature: p384::ecdsa::Signature = signer.sign_prehash(&padded).map_err(|_| Sw::INTERNAL)?;
            Ok(signature.to_der().as_bytes().to_vec())
        }
        _ => Err(Sw::INTERNAL),
    }
}

/// The x coordinate of the shared point; 6A80 if the other side's is not an uncompressed point of the curve.
pub(super) fn agree(algorithm: Algorithm, scalar: &[u8], peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sw> {
    if peer.len() != 2 * algorithm.length() + 1 {
        return Err(Sw::WRONG_DATA);
    }
    let shared = match algorithm {
        Algorithm::P256 => {
            let peer = p256::PublicKey::from_sec1_bytes(peer).map_err(|_| Sw::WRONG_DATA)?;
            p256(scalar)?.diffie_hellman(&peer).raw_secret_bytes().to_vec()
        }
        Algorithm::P384 => {
            let peer = p384::PublicKey::from_sec1_bytes(peer).map_err(|_| Sw::WRONG_DATA)?;
            p384(scalar)?.diffie_hellman(&peer).raw_secret_bytes().to_vec()
        }
        _ => return Err(Sw::INTERNAL),
    };
    Ok(Zeroizing::new(shared))
}
