//! `mlkem768x25519`, age's native hybrid stanza (<https://c2sp.org/age>): HPKE with MLKEM768-X25519
//! (X-Wing, draft-connolly-cfrg-xwing-kem, KEM 0x647a), HKDF-SHA256 and ChaCha20Poly1305. The age
//! crate has no such recipient.
//!
//! ```text
//! -> mlkem768x25519 base64(enc, 1120 bytes)
//! base64(Seal(file key), 32 bytes)
//!
//! enc = ML-KEM ciphertext (1088) ‖ ephemeral X25519 key (32)
//! ```

use std::collections::HashSet;
use std::io;

use age_core::format::Stanza;
use ml_kem::kem::Decapsulate;
use ml_kem::{EncapsulateDeterministic, EncodedSizeUser, KemCore, MlKem768};
use secrecy::ExposeSecret;
use sha3::{Digest, Sha3_256};
use shake::Shake256;
use shake::digest::{ExtendableOutput, Update, XofReader};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::{Zeroize, Zeroizing};

use super::mlkem768p256tag::CIPHERTEXT_LEN;
use super::{args, body};
use crate::encoding::{base64_arg, base64_encode};
use crate::error::Error;
use crate::file_key::FileKey;
use crate::hpke::{self, Secret};
use crate::recipient::Hybrid;
use crate::token_key::MlKemSeed;

const KIND: &str = "mlkem768x25519";
const INFO: &str = "age-encryption.org/mlkem768x25519";
const ENC_LEN: usize = CIPHERTEXT_LEN + 32;
/// The label of the combiner, a drawing of an X-Wing fighter.
const LABEL: &[u8] = br"\.//^\";
/// age refuses to combine stanzas with this label and stanzas without it.
const POSTQUANTUM: &str = "postquantum";

/// The private key: a 32-byte seed, wiped when dropped.
pub struct Identity {
    seed: Box<Zeroizing<[u8; 32]>>,
}

/// A seed expanded (X-Wing, section 5.2): SHAKE-256 gives `d ‖ z` and the X25519 scalar.
struct Expanded {
    ml_kem: MlKemSeed,
    x25519: StaticSecret,
}

impl Identity {
    pub(crate) fn new(seed: &[u8; 32]) -> Identity {
        let mut boxed = Box::new(Zeroizing::new([0; 32]));
        boxed.copy_from_slice(seed);
        Identity { seed: boxed }
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    pub(crate) fn recipient(&self) -> Result<Hybrid, Error> {
        let expanded = self.expand();
        let x25519 = PublicKey::from(&expanded.x25519).to_bytes();
        Hybrid::new(Box::new(expanded.ml_kem.encapsulation_key()), x25519)
    }

    fn expand(&self) -> Expanded {
        let mut shake = Shake256::default();
        shake.update(self.seed.as_slice());
        let mut reader = shake.finalize_xof();
        let ml_kem = MlKemSeed::init_with(|bytes| reader.read(bytes));
        let mut scalar = Zeroizing::new([0; 32]);
        reader.read(scalar.as_mut_slice());
        Expanded { ml_kem, x25519: StaticSecret::from(*scalar) }
    }

    /// `Decapsulate` (X-Wing, section 5.5); `None` if the Diffie-Hellman is zero, which age refuses.
    pub(crate) fn decapsulate(&self, enc: &[u8; ENC_LEN]) -> Option<Secret> {
        let (ciphertext, ephemeral) = enc.split_first_chunk::<CIPHERTEXT_LEN>()?;
        let ephemeral: [u8; 32] = ephemeral.try_into().ok()?;
        let expanded = self.expand();
        let (dk, _) = expanded.ml_kem.expand();
        let mut ss_pq = dk.decapsulate(&(*ciphertext).into()).ok()?;
        let ss_x = expanded.x25519.diffie_hellman(&PublicKey::from(ephemeral));
        if !ss_x.was_contributory() {
            return None;
        }
        let public = PublicKey::from(&expanded.x25519);
        let secret = combine(ss_pq.as_slice(), ss_x.as_bytes(), &ephemeral, public.as_bytes());
        ss_pq.as_mut_slice().zeroize();
        Some(secret)
    }
}

/// `SHA3-256(ss_M ‖ ss_X ‖ ct_X ‖ pk_X ‖ label)` (X-Wing, section 5.3).
fn combine(ss_pq: &[u8], ss_x: &[u8; 32], ct_x: &[u8; 32], pk_x: &[u8; 32]) -> Secret {
    let mut digest = Sha3_256::new();
    for part in [ss_pq, ss_x, ct_x, pk_x, LABEL] {
        Digest::update(&mut digest, part);
    }
    Zeroizing::new(digest.finalize().into())
}

/// `Encapsulate` (X-Wing, section 5.4), with `m` for ML-KEM and `ephemeral` for X25519.
pub(crate) fn encapsulate(
    to: &Hybrid,
    m: &[u8; 32],
    ephemeral: &StaticSecret,
) -> Option<(Secret, [u8; ENC_LEN])> {
    let (ek, x25519) = to.parts();
    let ek = <MlKem768 as KemCore>::EncapsulationKey::from_bytes(&(*ek).into());
    let mut randomness = ml_kem::B32::default();
    randomness.copy_from_slice(m);
    let encapsulated = ek.encapsulate_deterministic(&randomness);
    randomness.as_mut_slice().zeroize();
    let (ciphertext, mut ss_pq) = encapsulated.ok()?;
    let ct_x = PublicKey::from(ephemeral).to_bytes();
    let ss_x = ephemeral.diffie_hellman(&PublicKey::from(*x25519));
    let secret = combine(ss_pq.as_slice(), ss_x.as_bytes(), &ct_x, x25519);
    ss_pq.as_mut_slice().zeroize();
    let enc = [ciphertext.as_slice(), &ct_x].concat();
    Some((secret, enc.try_into().ok()?))
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        if stanza.tag != KIND {
            return None;
        }
        let (Ok([enc]), Ok(body)) = (args(stanza), body(stanza)) else {
            return Some(Err(age::DecryptError::InvalidHeader));
        };
        let Some(enc) = base64_arg::<ENC_LEN>(enc) else {
            return Some(Err(age::DecryptError::InvalidHeader));
        };
        let Some(secret) = self.decapsulate(&enc) else {
            return Some(Err(age::DecryptError::InvalidHeader));
        };
        // The stanza has no tag: one for somebody else is recognised by failing to open.
        let plaintext = hpke::open(hpke::MLKEM768_X25519, &secret, INFO.as_bytes(), &body)?;
        FileKey::from_plaintext(&plaintext).map(|key| Ok(key.to_age()))
    }
}

/// The recipient as the age crate wants it.
pub(crate) struct Sealing<'a>(pub(crate) &'a Hybrid);

impl age::Recipient for Sealing<'_> {
    fn wrap_file_key(
        &self,
        file_key: &age_core::format::FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        let failed = |what: &'static str| age::EncryptError::Io(io::Error::from(Error::Primitive(what)));
        let mut random = Zeroizing::new([[0; 32]; 2]);
        for half in random.iter_mut() {
            getrandom::fill(half).map_err(|_| failed("the system's random generator"))?;
        }
        let [m, scalar] = &*random;
        let ephemeral = StaticSecret::from(*scalar);
        let (args, body) = encapsulate(self.0, m, &ephemeral)
            .and_then(|(secret, enc)| {
                let body =
                    hpke::seal(hpke::MLKEM768_X25519, &secret, INFO.as_bytes(), file_key.expose_secret())?;
                Some((vec![base64_encode(&enc)], body))
            })
            .ok_or_else(|| failed("sealing to a hybrid recipient"))?;
        let stanza = Stanza { tag: KIND.to_owned(), args, body };
        Ok((vec![stanza], HashSet::from([POSTQUANTUM.to_owned()])))
    }
}
