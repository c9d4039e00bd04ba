//! A vault whose keys anybody can compute: the ground of the tests and of `tests/vectors/vault`.
//!
//! A P-256 key is the SHA-256 of `keyward test key: LABEL`, an ML-KEM seed the SHA-512 of the same text. Signatures are
//! deterministic (RFC 6979), so everything here has one value.

use keyward_age::{MlKemSeed, Recipient, Suite};
use keyward_custody::{
    Draft, Firmware, Name, Namespace, PinPolicy, PublicKey, SeedObject, Signature, SigningKey, SlotId,
    Statement, Timestamp, Token, TouchPolicy, VaultFile, VaultFiles, VaultId, Verdict, signing_digest,
};
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256, Sha512};

/// The text whose digests are the private keys.
fn secret_text(label: &str) -> String {
    format!("keyward test key: {label}")
}

pub(crate) fn secret(label: &str) -> [u8; 32] {
    Sha256::digest(secret_text(label)).into()
}

fn signing_key(label: &str) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&secret(label)).unwrap()
}

pub(crate) fn point(label: &str) -> [u8; 65] {
    signing_key(label).verifying_key().to_sec1_bytes().as_ref().try_into().unwrap()
}

pub(crate) fn public_key(label: &str) -> PublicKey {
    PublicKey::from_p256_point(&point(label)).unwrap()
}

pub(crate) fn recipient(suite: Suite, label: &str) -> Recipient {
    let seed = MlKemSeed::init_with(|seed| seed.copy_from_slice(&Sha512::digest(secret_text(label))));
    let ek = (suite == Suite::Hybrid).then(|| seed.encapsulation_key());
    Recipient::token(suite, &point(label), ek.as_ref()).unwrap()
}

pub(crate) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn token(suite: Suite, holder: &str, serial: u32) -> Token {
    Token {
        serial: Some(serial),
        firmware: Some(Firmware([5, 7, 1])),
        archive: recipient(suite, &format!("{holder} archive")),
        archive_slot: SlotId::ARCHIVE,
        custody: recipient(suite, &format!("{holder} custody")),
        custody_slot: SlotId::CUSTODY,
        card_proof: Some(public_key(&format!("{holder} card proof"))),
        signing: SigningKey { slot: SlotId(0x9c), key: public_key(&format!("{holder} signing")) },
        pin_policy: PinPolicy::Always,
        touch_policy: TouchPolicy::Always,
        seed_object: (suite == Suite::Hybrid).then_some(SeedObject::Iris),
        verdict: Verdict::Emulated,
        attestation: vec![b"attestation of the archive key".to_vec(), b"its issuer".to_vec()],
    }
}

/// Generation 1 of the test vault `home`: `holders or …`, each an admin.
pub(crate) fn first(suite: Suite, holders: &[&str]) -> Draft {
    let id = VaultId::from_bytes(*b"keyward vault 01");
    let policy = holders.join(" or ").parse().unwrap();
    let mut draft = Draft::first(id, name("home"), suite, true, policy, time("2026-11-24T16:00:00Z"));
    for (holder, serial) in holders.iter().zip(11_110_001..) {
        draft.add_token(name(holder), token(suite, holder, serial));
    }
    draft
}

/// The signature file that the key of this label makes over these bytes.
pub(crate) fn sign(label: &str, message: &[u8]) -> Vec<u8> {
    let answer: p256::ecdsa::Signature =
        signing_key(label).sign_prehash(&signing_digest(Namespace::Vault, message)).unwrap();
    Signature::from_ecdsa_der(&public_key(label), Namespace::Vault, answer.to_der().as_bytes())
        .unwrap()
        .to_armored()
        .into_bytes()
}

/// Adds a statement and the signatures of these holders' tokens.
pub(crate) fn put(files: &mut VaultFiles, statement: &Statement, signers: &[&str]) {
    put_bytes(files, statement.generation().number(), statement.bytes(), signers);
}

/// The same for bytes that need be no statement.
pub(crate) fn put_bytes(files: &mut VaultFiles, generation: u32, bytes: &[u8], signers: &[&str]) {
    let generation = keyward_custody::Generation::new(generation).unwrap();
    files.insert(VaultFile::Statement(generation), bytes.to_vec());
    for signer in signers {
        let file = sign(&format!("{signer} signing"), bytes);
        files.insert(VaultFile::Signature(generation, name(signer)), file);
    }
}

/// A statement's JSON, changed and canonical again.
pub(crate) fn edited(statement: &Statement, change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(statement.bytes()).unwrap();
    change(&mut value);
    serde_json_canonicalizer::to_vec(&value).unwrap()
}
