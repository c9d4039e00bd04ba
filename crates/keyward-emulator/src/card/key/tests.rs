use super::*;
use p256::ecdsa::signature::hazmat::PrehashVerifier;

fn key(algorithm: Algorithm) -> Key {
    Key::generate(algorithm, PinPolicy::Never, TouchPolicy::Never).unwrap()
}

fn point(key: &Key) -> Vec<u8> {
    match key.public().unwrap() {
        PublicKey::Point(point) => point,
        PublicKey::Modulus(_) => panic!("{:?} has no point", key.algorithm),
    }
}

fn agree(key: &Key, peer: &[u8]) -> Result<Vec<u8>, Sw> {
    key.compute(Input::Peer(peer)).map(|shared| shared.to_vec())
}

fn sign(key: &Key, challenge: &[u8]) -> Result<Vec<u8>, Sw> {
    key.compute(Input::Challenge(challenge)).map(|signature| signature.to_vec())
}

#[test]
fn both_sides_of_an_agreement_agree_on_every_curve() {
    for algorithm in [Algorithm::P256, Algorithm::P384, Algorithm::X25519] {
        let (a, b) = (key(algorithm), key(algorithm));
        let shared = agree(&a, &point(&b)).unwrap();
        assert_eq!(shared, agree(&b, &point(&a)).unwrap());
        assert_eq!(shared.len(), algorithm.length());
    }
}

#[test]
fn points_that_are_none_are_refused() {
    let a = key(Algorithm::P256);
    let mut off_curve = point(&a);
    off_curve[64] ^= 1;
    let compressed = [&[2], &point(&a)[1..33]].concat();
    for peer in [&off_curve[..], &compressed, &[0], &[], &[4; 65], &point(&key(Algorithm::P384))] {
        assert_eq!(agree(&a, peer), Err(Sw::WRONG_DATA));
    }
}

#[test]
fn signatures_verify_for_full_and_short_digests() {
    let a = key(Algorithm::P256);
    let verifier = p256::ecdsa::VerifyingKey::from_sec1_bytes(&point(&a)).unwrap();
    for digest in [vec![7; 32], [vec![0; 12], vec![9; 20]].concat()] {
        let given = if digest[0] == 0 { &digest[12..] } else { &digest[..] };
        let signature = p256::ecdsa::Signature::from_der(&sign(&a, given).unwrap()).unwrap();
        verifier.verify_prehash(&digest, &signature).unwrap();
    }
    let b = key(Algorithm::P384);
    let verifier = p384::ecdsa::VerifyingKey::from_sec1_bytes(&point(&b)).unwrap();
    let signature = p384::ecdsa::Signature::from_der(&sign(&b, &[7; 48]).unwrap()).unwrap();
    verifier.verify_prehash(&[7; 48], &signature).unwrap();
    assert_eq!(sign(&a, &[7; 33]), Err(Sw::WRONG_DATA));
    assert_eq!(sign(&a, &[]), Err(Sw::WRONG_DATA));
}

#[test]
fn an_algorithm_computes_only_what_it_is_for() {
    for algorithm in [Algorithm::Rsa1024, Algorithm::Ed25519] {
        let of = key(algorithm);
        assert_eq!(agree(&of, &vec![9; algorithm.length()]), Err(Sw::WRONG_DATA), "{algorithm:?}");
    }
    assert_eq!(sign(&key(Algorithm::X25519), &[9; 32]), Err(Sw::WRONG_DATA));
}

#[test]
fn scalars_out_of_range_are_not_imported() {
    for scalar in [&[0; 32][..], &[0xFF; 32], &[1; 31], &[1; 33], &[]] {
        let tags = [Tlv { tag: 6, value: scalar }];
        let import = Key::import(Algorithm::P256, &tags, PinPolicy::Once, TouchPolicy::Never);
        assert_eq!(import.err(), Some(Sw::WRONG_DATA));
    }
}

#[test]
fn each_algorithm_has_its_own_tag_for_a_private_key() {
    for (algorithm, right) in
        [(Algorithm::P256, 6), (Algorithm::P384, 6), (Algorithm::Ed25519, 7), (Algorithm::X25519, 8)]
    {
        let private = vec![7; algorithm.length()];
        for tag in 1..=8 {
            let tags = [Tlv { tag, value: &private }];
            let import = Key::import(algorithm, &tags, PinPolicy::Once, TouchPolicy::Never);
            assert_eq!(import.is_ok(), tag == right, "{algorithm:?} in tag {tag}");
        }
    }
}

#[test]
fn public_keys_are_those_that_openssl_and_certificates_write() {
    use der::{Decode, Encode};
    for algorithm in
        Algorithm::ALL.into_iter().filter(|a| !matches!(a, Algorithm::Rsa3072 | Algorithm::Rsa4096))
    {
        let der = key(algorithm).public_info().unwrap().to_der().unwrap();
        let length = match algorithm {
            Algorithm::Rsa1024 => 162,
            Algorithm::Rsa2048 => 294,
            Algorithm::P256 => 91,
            Algorithm::P384 => 120,
            _ => 44,
        };
        assert_eq!(der.len(), length, "{algorithm:?}");
        assert!(SubjectPublicKeyInfoOwned::from_der(&der).is_ok());
    }
}
