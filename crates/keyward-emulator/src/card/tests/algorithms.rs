//! Every algorithm through the applet: made, brought, used, described and attested, as each firmware has it.

use super::*;
use crate::card::key::{Algorithm, PublicKey};
use rsa::{BoxedUint, Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPublicKey};

/// The public half in an answer of GENERATE or in metadata.
fn public(template: &[u8]) -> PublicKey {
    let tags = tlv::read_all(template).unwrap();
    match (tlv::find(&tags, 0x81), tlv::find(&tags, 0x86)) {
        (Some(modulus), None) => {
            assert_eq!(tlv::find(&tags, 0x82), Some(&[1, 0, 1][..]));
            PublicKey::Modulus(modulus.to_vec())
        }
        (None, Some(point)) => PublicKey::Point(point.to_vec()),
        _ => panic!("{template:02x?}"),
    }
}

fn generate(card: &mut Card, slot: u8, algorithm: Algorithm) -> PublicKey {
    let answer = good(card, [0, 0x47, 0, slot], &[0xAC, 3, 0x80, 1, algorithm.byte()]);
    let (template, rest) = tlv::read(&answer).unwrap();
    assert_eq!((template.tag, rest.len()), (0x7F49, 0));
    public(template.value)
}

fn rsa_key(modulus: &[u8]) -> RsaPublicKey {
    let n = BoxedUint::from_be_slice(modulus, modulus.len() as u32 * 8).unwrap();
    RsaPublicKey::new(n, BoxedUint::from(65537u64)).unwrap()
}

fn use_key(card: &mut Card, slot: u8, algorithm: Algorithm, command: &[u8]) -> Vec<u8> {
    let answer = good(card, [0, 0x87, algorithm.byte(), slot], command);
    let (template, rest) = tlv::read(&answer).unwrap();
    assert_eq!((template.tag, rest.len()), (0x7C, 0));
    let (result, rest) = tlv::read(template.value).unwrap();
    assert_eq!((result.tag, rest.len()), (0x82, 0));
    result.value.to_vec()
}

#[test]
fn each_firmware_makes_the_algorithms_it_has() {
    let old = [Algorithm::Rsa1024, Algorithm::Rsa2048, Algorithm::P256, Algorithm::P384];
    for version in ["4.3.5", "5.2.7", "5.4.3", "5.7.1"] {
        let mut card = card_of(version);
        manage(&mut card);
        for algorithm in Algorithm::ALL {
            if version == "5.7.1" || old.contains(&algorithm) {
                let made = generate(&mut card, 0x9A, algorithm);
                if version >= "5.3" {
                    let metadata = good(&mut card, [0, 0xF7, 0, 0x9A], &[]);
                    let tags = tlv::read_all(&metadata).unwrap();
                    assert_eq!(tlv::find(&tags, 1), Some(&[algorithm.byte()][..]));
                    assert_eq!(public(tlv::find(&tags, 4).unwrap()), made);
                }
            } else {
                let command = [0xAC, 3, 0x80, 1, algorithm.byte()];
                assert_eq!(status(&mut card, [0, 0x47, 0, 0x9A], &command), hex!("6a80"), "{version}");
                let import = [&hex!("0720")[..], &[9; 32], &hex!("0820"), &[9; 32]].concat();
                let header = [0, 0xFE, algorithm.byte(), 0x9A];
                assert_eq!(status(&mut card, header, &import), hex!("6a80"), "{version}");
            }
        }
    }
}

#[test]
fn rsa_signs_and_decrypts_through_chains_and_whole() {
    let mut card = card();
    manage(&mut card);
    verify(&mut card);
    let PublicKey::Modulus(modulus) = generate(&mut card, 0x9D, Algorithm::Rsa2048) else { panic!() };
    let key = rsa_key(&modulus);

    let mut block = vec![0xFF; 256];
    block[..2].copy_from_slice(&[0, 1]);
    block[223] = 0;
    block[224..].copy_from_slice(&[7; 32]);
    let signature = use_key(&mut card, 0x9D, Algorithm::Rsa2048, &sign_command(&block));
    key.verify(Pkcs1v15Sign::new_unprefixed(), &[7; 32], &signature).unwrap();

    // The same in two short commands, and the answer in pieces.
    let command = sign_command(&block);
    good(&mut card, [0x10, 0x87, 0x07, 0x9D], &command[..200]);
    let again = good(&mut card, [0, 0x87, 0x07, 0x9D], &command[200..]);
    assert!(again.ends_with(&signature));

    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::from_seed([3; 32]);
    let sealed = key.encrypt(&mut random, Pkcs1v15Encrypt, b"a secret").unwrap();
    let opened = use_key(&mut card, 0x9D, Algorithm::Rsa2048, &sign_command(&sealed));
    assert!(opened.starts_with(&[0, 2]) && opened.ends_with(b"\0a secret"));

    for command in [sign_command(&block[1..]), sign_command(&[0xFF; 256]), ecdh_command(&block)] {
        assert_eq!(status(&mut card, [0, 0x87, 0x07, 0x9D], &command), hex!("6a80"));
    }
    assert_eq!(
        status(&mut card, [0, 0x87, 0x06, 0x9D], &sign_command(&block)),
        hex!("6a80"),
        "P1 is RSA-1024"
    );
}

#[test]
fn ed25519_signs_messages_and_x25519_agrees() {
    let mut card = card();
    manage(&mut card);
    verify(&mut card);
    let PublicKey::Point(point) = generate(&mut card, 0x9A, Algorithm::Ed25519) else { panic!() };
    let verifier = ed25519_dalek::VerifyingKey::from_bytes(&point[..].try_into().unwrap()).unwrap();
    for message in [&b""[..], b"a message", &[7; 2000]] {
        let signature = use_key(&mut card, 0x9A, Algorithm::Ed25519, &sign_command(message));
        let signature = ed25519_dalek::Signature::from_slice(&signature).unwrap();
        ed25519_dalek::Verifier::verify(&verifier, message, &signature).unwrap();
    }
    let PublicKey::Point(point) = generate(&mut card, 0x9D, Algorithm::X25519) else { panic!() };
    let other = x25519_dalek::StaticSecret::from([9; 32]);
    let command = ecdh_command(x25519_dalek::PublicKey::from(&other).as_bytes());
    let shared = use_key(&mut card, 0x9D, Algorithm::X25519, &command);
    let peer = x25519_dalek::PublicKey::from(<[u8; 32]>::try_from(&point[..]).unwrap());
    assert_eq!(shared, other.diffie_hellman(&peer).as_bytes());
    assert_eq!(status(&mut card, [0, 0x87, 0xE1, 0x9D], &sign_command(&[7; 32])), hex!("6a80"));
    assert_eq!(status(&mut card, [0, 0x87, 0xE0, 0x9A], &ecdh_command(&[7; 32])), hex!("6a80"));
}

#[test]
fn every_algorithm_is_attested_with_the_key_that_was_made() {
    let mut card = card();
    manage(&mut card);
    for algorithm in Algorithm::ALL {
        let made = generate(&mut card, 0x82, algorithm);
        let leaf = Certificate::from_der(&good(&mut card, [0, 0xF9, 0x82, 0], &[])).unwrap();
        let info = leaf.tbs_certificate().subject_public_key_info();
        assert_eq!(info.algorithm, algorithm.identifier());
        let bits = info.subject_public_key.raw_bytes();
        match made {
            PublicKey::Point(point) => assert_eq!(bits, point),
            PublicKey::Modulus(modulus) => {
                let inside = bits.windows(modulus.len()).any(|window| window == modulus);
                assert!(inside, "{algorithm:?}");
            }
        }
    }
}

#[test]
fn before_5_0_an_attestation_names_neither_serial_nor_form() {
    let mut card = card_of("4.3.5");
    manage(&mut card);
    generate(&mut card, 0x9A, Algorithm::P256);
    let leaf = Certificate::from_der(&good(&mut card, [0, 0xF9, 0x9A, 0], &[])).unwrap();
    let all = leaf.tbs_certificate().extensions().unwrap();
    let ids: Vec<_> = all.iter().map(|extension| extension.extn_id.to_string()).collect();
    assert_eq!(ids, ["1.3.6.1.4.1.41482.3.3", "1.3.6.1.4.1.41482.3.8"]);
    assert_eq!(all[0].extn_value.as_bytes(), hex!("040305"));
    assert_eq!(status(&mut card, [0, 0xF8, 0, 0], &[]), hex!("6d00"), "the OTP applet tells the serial");
    assert_eq!(status(&mut card, [0, 0xF7, 0, 0x9A], &[]), hex!("6d00"));
}

#[test]
fn imported_rsa_and_curve25519_keys_compute_as_their_software_halves() {
    let mut card = card();
    manage(&mut card);
    verify(&mut card);
    let mut random = <rand::rngs::StdRng as rand::SeedableRng>::from_seed([5; 32]);
    let key = rsa::RsaPrivateKey::new(&mut random, 1024).unwrap();
    let [p, q] = rsa::traits::PrivateKeyParts::primes(&key) else { panic!() };
    let mut import = Vec::new();
    for (tag, part) in (1..).zip([&p.to_be_bytes()[..], &q.to_be_bytes(), &[1; 64], &[1; 64], &[1; 63]]) {
        tlv::write(&mut import, tag, part);
    }
    good(&mut card, [0, 0xFE, 0x06, 0x9C], &import);
    let mut block = vec![0xFF; 128];
    block[..2].copy_from_slice(&[0, 1]);
    block[95] = 0;
    let signature = use_key(&mut card, 0x9C, Algorithm::Rsa1024, &sign_command(&block));
    key.to_public_key().verify(Pkcs1v15Sign::new_unprefixed(), &[0xFF; 32], &signature).unwrap();
    assert_eq!(status(&mut card, [0, 0xFE, 0x07, 0x9C], &import), hex!("6a80"), "RSA-2048 is longer");

    let seed = [0x0B; 32];
    good(&mut card, [0, 0xFE, 0xE0, 0x9A], &[&[7, 32][..], &seed].concat());
    let expected = ed25519_dalek::Signer::sign(&ed25519_dalek::SigningKey::from_bytes(&seed), b"a message");
    let signature = use_key(&mut card, 0x9A, Algorithm::Ed25519, &sign_command(b"a message"));
    assert_eq!(signature, expected.to_bytes());
    assert_eq!(status(&mut card, [0, 0xFE, 0xE1, 0x9A], &[&[7, 32][..], &seed].concat()), hex!("6a80"));
}
