//! `piv-p256`, the stanza of age-plugin-yubikey, opened so that its files keep their value when its
//! token is taken over.
//!
//! ```text
//! -> piv-p256 base64(SHA-256(pk)[..4]) base64(epk, 33 bytes)
//! base64(ChaCha20-Poly1305(key, nonce 0, file key), 32 bytes)
//!
//! key = HKDF-SHA256(ikm = ECDH x, salt = epk ‖ pk, info = "piv-p256"), points compressed
//! ```

use age_core::format::Stanza;
use aws_lc_rs::aead::{CHACHA20_POLY1305, LessSafeKey, UnboundKey};
use hkdf::Hkdf;
use p256::elliptic_curve::sec1::ToSec1Point;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{BODY_LEN, args, body, key_digest};
use crate::encoding::base64_arg;
use crate::error::Error;
use crate::file_key::FileKey;
use crate::hpke;
use crate::recipient::{POINT_LEN, compress};
use crate::token_key::TokenKey;

pub(crate) const KIND: &str = "piv-p256";

pub(crate) struct Parsed {
    compressed: [u8; 33],
    ephemeral: [u8; POINT_LEN],
    body: [u8; BODY_LEN],
}

/// `None` if the stanza is for another key.
pub(super) fn parse(stanza: &Stanza, point: &[u8; POINT_LEN]) -> Result<Option<Parsed>, Error> {
    let [tag, epk] = args(stanza)?;
    let tag: [u8; 4] = base64_arg(tag).ok_or(Error::Header("a piv-p256 stanza has a malformed tag"))?;
    let malformed = || Error::Header("a piv-p256 stanza has a malformed key");
    let compressed: [u8; 33] = base64_arg(epk).ok_or_else(malformed)?;
    let body = body(stanza)?;
    if compress(point).and_then(|own| key_digest(&own)) != Some(tag) {
        return Ok(None);
    }
    let ephemeral = p256::PublicKey::from_sec1_bytes(&compressed)
        .ok()
        .and_then(|key| key.to_sec1_point(false).as_bytes().try_into().ok())
        .ok_or_else(malformed)?;
    Ok(Some(Parsed { compressed, ephemeral, body }))
}

impl Parsed {
    pub(super) fn unwrap(&self, key: &mut dyn TokenKey) -> Result<FileKey, Error> {
        let own = compress(&key.point()).ok_or(Error::NoMatch)?;
        let dh = key.ecdh(&self.ephemeral).map_err(Error::Token)?;
        let salt = [self.compressed, own].concat();
        let mut okm = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(&salt), dh.expose())
            .expand(KIND.as_bytes(), okm.as_mut_slice())
            .map_err(|_| Error::Primitive("HKDF"))?;
        let aead = UnboundKey::new(&CHACHA20_POLY1305, okm.as_slice())
            .map(LessSafeKey::new)
            .map_err(|_| Error::Primitive("ChaCha20-Poly1305"))?;
        hpke::open_with(&aead, [0; 12], &self.body)
            .and_then(|plaintext| FileKey::from_plaintext(&plaintext))
            .ok_or(Error::Stanza { kind: KIND })
    }
}
