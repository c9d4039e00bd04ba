//! Ed25519 signatures and X25519 key agreement, Yubico's since firmware 5.7.
//!
//! RFC 8032 and RFC 7748. A private key is its 32 bytes. The card signs the message itself, not a digest of it, and gives the
//! 64 bytes of the signature without any ASN.1 around them.

use ed25519_dalek::{Signer, SigningKey};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::card::status::Sw;

fn bytes(private: &[u8]) -> Result<Zeroizing<[u8; 32]>, Sw> {
    private.try_into().map(Zeroizing::new).map_err(|_| Sw::INTERNAL)
}

/// The public key of a signing key.
pub(super) fn ed25519_public(private: &[u8]) -> Result<Vec<u8>, Sw> {
    Ok(SigningKey::from_bytes(&*bytes(private)?).verifying_key().to_bytes().to_vec())
}

/// Signs a message of any length.
pub(super) fn ed25519_sign(private: &[u8], message: &[u8]) -> Result<Vec<u8>, Sw> {
    Ok(SigningKey::from_bytes(&*bytes(private)?).sign(message).to_bytes().to_vec())
}

/// The public key of a key agreement key.
pub(super) fn x25519_public(private: &[u8]) -> Result<Vec<u8>, Sw> {
    Ok(PublicKey::from(&StaticSecret::from(*bytes(private)?)).as_bytes().to_vec())
}

/// The shared secret; a point of low order, which would give zero for every key, is refused (RFC 7748 section 6.1).
pub(super) fn x25519_agree(private: &[u8], peer: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sw> {
    let peer = PublicKey::from(<[u8; 32]>::try_from(peer).map_err(|_| Sw::WRONG_DATA)?);
    let shared = StaticSecret::from(*bytes(private)?).diffie_hellman(&peer);
    if shared.was_contributory() {
        Ok(Zeroizing::new(shared.as_bytes().to_vec()))
    } else {
        Err(Sw::WRONG_DATA)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        // Section 7.1, TEST 2.
        let private = hex!("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = hex!("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(ed25519_public(&private).unwrap(), public);
        let signature = hex!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert_eq!(ed25519_sign(&private, &[0x72]).unwrap(), signature);
    }

    #[test]
    fn agreement_is_that_of_rfc_7748() {
        // Section 6.1.
        let alice = hex!("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a");
        let bob = hex!("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb");
        let shared = hex!("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742");
        assert_eq!(
            x25519_public(&alice).unwrap(),
            hex!("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
        );
        assert_eq!(*x25519_agree(&alice, &x25519_public(&bob).unwrap()).unwrap(), shared);
        assert_eq!(*x25519_agree(&bob, &x25519_public(&alice).unwrap()).unwrap(), shared);
    }

    #[test]
    fn points_of_low_order_or_another_length_are_refused() {
        let private = [9; 32];
        let mut one = [0; 32];
        one[0] = 1;
        for peer in [&[0; 32][..], &one, &[9; 31], &[9; 33], &[]] {
            assert_eq!(x25519_agree(&private, peer).err(), Some(Sw::WRONG_DATA));
        }
    }
}
