//! The part of HPKE (RFC 9180) that age stanzas use: mode base, HKDF-SHA256, ChaCha20-Poly1305, one
//! message, no associated data, from a KEM's shared secret on.
//!
//! The Diffie-Hellman of a token's recipient happens in the token, so the KEM and the schedule must
//! come apart; libraries offer them as one. Section numbers are RFC 9180's.

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use hkdf::{Hkdf, HkdfExtract};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// DHKEM(P-256, HKDF-SHA256), section 7.1.
pub(crate) const DHKEM_P256: u16 = 0x0010;
/// MLKEM768-P256, draft-ietf-hpke-pq.
pub(crate) const MLKEM768_P256: u16 = 0x0050;
/// MLKEM768-X25519, also called X-Wing, draft-ietf-hpke-pq.
pub(crate) const MLKEM768_X25519: u16 = 0x647a;

/// HKDF-SHA256, section 7.2.
const KDF_ID: u16 = 0x0001;
/// ChaCha20Poly1305, section 7.3.
const AEAD_ID: u16 = 0x0003;
/// The length of the AEAD's tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// A secret of 32 bytes, wiped when dropped.
pub(crate) type Secret = Zeroizing<[u8; 32]>;

/// `LabeledExtract` and `LabeledExpand` (section 4) under one suite id.
struct Labeled<'a> {
    suite_id: &'a [u8],
}

impl Labeled<'_> {
    fn extract(&self, salt: &[u8], label: &[u8], ikm: &[u8]) -> Secret {
        let mut hkdf = HkdfExtract::<Sha256>::new(Some(salt));
        for part in [b"HPKE-v1".as_slice(), self.suite_id, label, ikm] {
            hkdf.input_ikm(part);
        }
        let (mut prk, _) = hkdf.finalize();
        let secret = Zeroizing::new(prk.into());
        prk.as_mut_slice().zeroize();
        secret
    }

    fn expand(&self, prk: &Secret, label: &[u8], info: &[u8], out: &mut [u8]) -> Option<()> {
        let length = u16::try_from(out.len()).ok()?.to_be_bytes();
        Hkdf::<Sha256>::from_prk(prk.as_slice())
            .ok()?
            .expand_multi_info(&[&length, b"HPKE-v1", self.suite_id, label, info], out)
            .ok()
    }
}

/// `ExtractAndExpand` of a Diffie-Hellman KEM (section 4.1); `kem_context` is `enc ‖ pkRm`.
pub(crate) fn extract_and_expand(kem: u16, dh: &[u8; 32], kem_context: &[u8]) -> Option<Secret> {
    let [hi, lo] = kem.to_be_bytes();
    let labeled = Labeled { suite_id: &[b'K', b'E', b'M', hi, lo] };
    let eae_prk = labeled.extract(b"", b"eae_prk", dh);
    let mut shared_secret = Zeroizing::new([0; 32]);
    labeled.expand(&eae_prk, b"shared_secret", kem_context, shared_secret.as_mut_slice())?;
    Some(shared_secret)
}

/// What the key schedule gives (section 5.1).
struct Context {
    key: Secret,
    base_nonce: [u8; 12],
}

impl Context {
    fn base(kem: u16, shared_secret: &Secret, info: &[u8]) -> Option<Context> {
        let suite_id = suite_id(kem, KDF_ID, AEAD_ID);
        let labeled = Labeled { suite_id: &suite_id };
        let (secret, context) = schedule(&labeled, shared_secret, info);
        let mut key = Zeroizing::new([0; 32]);
        let mut base_nonce = [0; 12];
        labeled.expand(&secret, b"key", &context, key.as_mut_slice())?;
        labeled.expand(&secret, b"base_nonce", &context, &mut base_nonce)?;
        Some(Context { key, base_nonce })
    }

    fn aead(&self) -> Option<LessSafeKey> {
        Some(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, self.key.as_slice()).ok()?))
    }
}

/// `"HPKE" ‖ kem_id ‖ kdf_id ‖ aead_id` (section 5.1).
fn suite_id(kem: u16, kdf: u16, aead: u16) -> [u8; 10] {
    let [k0, k1] = kem.to_be_bytes();
    let [d0, d1] = kdf.to_be_bytes();
    let [a0, a1] = aead.to_be_bytes();
    [b'H', b'P', b'K', b'E', k0, k1, d0, d1, a0, a1]
}

/// The schedule's `secret` and `key_schedule_context`; the mode is base, so the PSK is empty.
fn schedule(labeled: &Labeled<'_>, shared_secret: &Secret, info: &[u8]) -> (Secret, [u8; 65]) {
    let psk_id_hash = labeled.extract(b"", b"psk_id_hash", b"");
    let info_hash = labeled.extract(b"", b"info_hash", info);
    let mut context = [0; 65];
    let parts = psk_id_hash.iter().chain(info_hash.iter());
    for (to, from) in context.iter_mut().skip(1).zip(parts) {
        *to = *from;
    }
    (labeled.extract(shared_secret.as_slice(), b"secret", b""), context)
}

/// `Seal` of the first message, with empty associated data; the tag follows the ciphertext.
pub(crate) fn seal(kem: u16, shared_secret: &Secret, info: &[u8], plaintext: &[u8]) -> Option<Vec<u8>> {
    let context = Context::base(kem, shared_secret, info)?;
    let mut sealed = Vec::with_capacity(plaintext.len() + TAG_LEN);
    sealed.extend_from_slice(plaintext);
    let nonce = Nonce::assume_unique_for_key(context.base_nonce);
    context.aead()?.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).ok()?;
    Some(sealed)
}

/// `Open` of the first message, with empty associated data; `None` if it does not verify.
pub(crate) fn open(
    kem: u16,
    shared_secret: &Secret,
    info: &[u8],
    sealed: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let context = Context::base(kem, shared_secret, info)?;
    open_with(&context.aead()?, context.base_nonce, sealed)
}

/// Opens `sealed` (ciphertext and tag) without touching it.
pub(crate) fn open_with(key: &LessSafeKey, nonce: [u8; 12], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (ciphertext, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_LEN)?)?;
    let mut plaintext = Zeroizing::new(vec![0; ciphertext.len()]);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.open_separate_gather(nonce, Aad::empty(), ciphertext, tag, &mut plaintext).ok()?;
    Some(plaintext)
}
