//! `p256tag`, the classic token stanza (<https://c2sp.org/age>): HPKE with DHKEM(P-256, HKDF-SHA256),
//! HKDF-SHA256 and ChaCha20Poly1305.
//!
//! ```text
//! -> p256tag base64(tag, 4 bytes) base64(enc, 65 bytes)
//! base64(Seal(file key), 32 bytes)
//! ```

use age_core::format::Stanza;

use super::{BODY_LEN, args, body, check_ephemeral, recipient_tag};
use crate::encoding::base64_arg;
use crate::error::Error;
use crate::file_key::FileKey;
use crate::hpke;
use crate::recipient::{POINT_LEN, compress};
use crate::token_key::TokenKey;

pub(crate) const KIND: &str = "p256tag";
const INFO: &str = "age-encryption.org/p256tag";

pub(crate) struct Parsed {
    enc: [u8; POINT_LEN],
    body: [u8; BODY_LEN],
}

/// `None` if the stanza is for another key.
pub(super) fn parse(stanza: &Stanza, point: &[u8; POINT_LEN]) -> Result<Option<Parsed>, Error> {
    let [tag, enc] = args(stanza)?;
    let tag: [u8; 4] = base64_arg(tag).ok_or(Error::Header("a p256tag stanza has a malformed tag"))?;
    let enc = base64_arg(enc).ok_or(Error::Header("a p256tag stanza has a malformed key"))?;
    let body = body(stanza)?;
    // The tag hashes the compressed key, unlike the hybrid stanza's.
    let compressed = compress(point).ok_or(Error::NoMatch)?;
    if recipient_tag(&enc, &compressed, INFO) != Some(tag) {
        return Ok(None);
    }
    check_ephemeral(&enc)?;
    Ok(Some(Parsed { enc, body }))
}

impl Parsed {
    pub(super) fn unwrap(&self, key: &mut dyn TokenKey) -> Result<FileKey, Error> {
        let point = key.point();
        let dh = key.ecdh(&self.enc).map_err(Error::Token)?;
        let kem_context = [self.enc.as_slice(), &point].concat();
        hpke::extract_and_expand(hpke::DHKEM_P256, dh.expose(), &kem_context)
            .and_then(|secret| hpke::open(hpke::DHKEM_P256, &secret, INFO.as_bytes(), &self.body))
            .and_then(|plaintext| FileKey::from_plaintext(&plaintext))
            .ok_or(Error::Stanza { kind: KIND })
    }
}
