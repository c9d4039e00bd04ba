//! `mlkem768p256tag`, the hybrid token stanza (<https://c2sp.org/age>): HPKE with MLKEM768-P256
//! (draft-ietf-hpke-pq, KEM 0x0050), HKDF-SHA256 and ChaCha20Poly1305.
//!
//! ```text
//! -> mlkem768p256tag base64(tag, 4 bytes) base64(enc, 1153 bytes)
//! base64(Seal(file key), 32 bytes)
//!
//! enc = ML-KEM ciphertext (1088) ‖ ephemeral P-256 point (65, uncompressed)
//! ```
//!
//! The Diffie-Hellman happens in the token; the ML-KEM half is decapsulated here, from the seed that
//! the token hands out. ML-KEM rejects implicitly: a wrong seed gives a wrong secret, not an error.
//! The AEAD of the schedule is what notices.

use age_core::format::Stanza;
use ml_kem::kem::Decapsulate;
use sha3::{Digest, Sha3_256};
use zeroize::{Zeroize, Zeroizing};

use super::{BODY_LEN, args, body, check_ephemeral, recipient_tag};
use crate::encoding::base64_arg;
use crate::error::Error;
use crate::file_key::FileKey;
use crate::hpke::{self, Secret};
use crate::recipient::POINT_LEN;
use crate::token_key::{MlKemSeed, SharedSecret, TokenKey};

pub(crate) const KIND: &str = "mlkem768p256tag";
const INFO: &str = "age-encryption.org/mlkem768p256tag";
/// The length of an ML-KEM-768 ciphertext.
pub(crate) const CIPHERTEXT_LEN: usize = 1088;
const ENC_LEN: usize = CIPHERTEXT_LEN + POINT_LEN;
/// The label of the combiner.
const LABEL: &[u8] = b"MLKEM768-P256";

pub(crate) struct Parsed {
    ciphertext: [u8; CIPHERTEXT_LEN],
    ephemeral: [u8; POINT_LEN],
    body: [u8; BODY_LEN],
}

/// `None` if the stanza is for another key.
pub(super) fn parse(stanza: &Stanza, point: &[u8; POINT_LEN]) -> Result<Option<Box<Parsed>>, Error> {
    let [tag, enc] = args(stanza)?;
    let tag: [u8; 4] =
        base64_arg(tag).ok_or(Error::Header("an mlkem768p256tag stanza has a malformed tag"))?;
    let malformed = Error::Header("an mlkem768p256tag stanza has a malformed key");
    let Some(enc) = base64_arg::<ENC_LEN>(enc) else { return Err(malformed) };
    let body = body(stanza)?;
    if recipient_tag(&enc, point, INFO) != Some(tag) {
        return Ok(None);
    }
    let Some((ciphertext, ephemeral)) = enc.split_first_chunk::<CIPHERTEXT_LEN>() else {
        return Err(malformed);
    };
    let ephemeral = ephemeral.try_into().map_err(|_| malformed)?;
    check_ephemeral(&ephemeral)?;
    Ok(Some(Box::new(Parsed { ciphertext: *ciphertext, ephemeral, body })))
}

impl Parsed {
    pub(super) fn unwrap(&self, key: &mut dyn TokenKey) -> Result<FileKey, Error> {
        let point = key.point();
        let dh = key.ecdh(&self.ephemeral).map_err(Error::Token)?;
        let seed = key.seed().map_err(Error::Token)?;
        decapsulate(&self.ciphertext, &self.ephemeral, &point, &dh, &seed)
            .and_then(|secret| hpke::open(hpke::MLKEM768_P256, &secret, INFO.as_bytes(), &self.body))
            .and_then(|plaintext| FileKey::from_plaintext(&plaintext))
            .ok_or(Error::Seed)
    }
}

/// Decapsulation of MLKEM768-P256 once the Diffie-Hellman `dh` is known: the combiner of
/// draft-irtf-cfrg-hybrid-kems,
/// `SHA3-256(ss_PQ ‖ ss_T ‖ ct_T ‖ ek_T ‖ "MLKEM768-P256")`.
pub(crate) fn decapsulate(
    ciphertext: &[u8; CIPHERTEXT_LEN],
    ephemeral: &[u8; POINT_LEN],
    point: &[u8; POINT_LEN],
    dh: &SharedSecret,
    seed: &MlKemSeed,
) -> Option<Secret> {
    let (dk, _) = seed.expand();
    let mut ss_pq = dk.decapsulate(&(*ciphertext).into()).ok()?;
    let mut digest = Sha3_256::new();
    for part in [ss_pq.as_slice(), dh.expose(), ephemeral, point, LABEL] {
        digest.update(part);
    }
    ss_pq.as_mut_slice().zeroize();
    Some(Zeroizing::new(digest.finalize().into()))
}
