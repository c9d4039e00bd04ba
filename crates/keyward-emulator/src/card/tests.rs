//! The card as a client meets it: APDUs in, APDUs out.

mod algorithms;
mod device;

use std::time::{Duration, Instant};

use der::{Decode, Encode, asn1::ObjectIdentifier};
use hex_literal::hex;
use p256::ecdsa::signature::{Verifier, hazmat::PrehashVerifier};
use proptest::prelude::*;
use x509_cert::Certificate;

use super::{attest::TEST_ROOT_CERTIFICATE, *};

const SELECT: &[u8] = &hex!("00a4040005a000000308");
const OK: &[u8] = &hex!("9000");

fn card() -> Card {
    card_of("5.7.1")
}

fn card_of(firmware: &str) -> Card {
    let mut card = Card::new(11_110_001, firmware.parse().unwrap()).unwrap();
    card.transmit(SELECT);
    card
}

fn apdu(header: [u8; 4], data: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(data.len()).unwrap().to_be_bytes();
    match data.len() {
        0 => header.to_vec(),
        1..=255 => [&header[..], &[low], data].concat(),
        _ => [&header[..], &[0, high, low], data].concat(),
    }
}

/// Sends a command and gives back all of its data; panics on a status other than 9000.
fn good(card: &mut Card, header: [u8; 4], data: &[u8]) -> Vec<u8> {
    let mut all = Vec::new();
    let mut answer = card.transmit(&apdu(header, data));
    loop {
        let status = answer.split_off(answer.len() - 2);
        all.append(&mut answer);
        match status[0] {
            0x61 => answer = card.transmit(&hex!("00c00000")),
            _ => {
                assert_eq!(status, OK, "{header:02x?}");
                return all;
            }
        }
    }
}

fn status(card: &mut Card, header: [u8; 4], data: &[u8]) -> [u8; 2] {
    let answer = card.transmit(&apdu(header, data));
    assert_eq!(answer.len(), 2, "{answer:02x?}");
    [answer[0], answer[1]]
}

fn verify(card: &mut Card) {
    good(card, [0, 0x20, 0, 0x80], b"123456\xff\xff");
}

fn manage(card: &mut Card) {
    let (algorithm, block) = match card.state.piv.management_key.algorithm.byte() {
        3 => (3, 8),
        other => (other, 16),
    };
    let witness = good(card, [0, 0x87, algorithm, 0x9B], &hex!("7c028000"));
    let clear = card.state.piv.management_key.decrypt(&witness[4..]);
    let mut template = tlv::encode(0x80, &clear);
    tlv::write(&mut template, 0x81, &vec![7; block]);
    let answer = good(card, [0, 0x87, algorithm, 0x9B], &tlv::encode(0x7C, &template));
    assert_eq!(answer[4..], card.state.piv.management_key.encrypt(&vec![7; block]).unwrap());
}

/// Generates a key and gives back its public point.
fn generate(card: &mut Card, slot: u8, algorithm: u8, pin: u8, touch: u8) -> Vec<u8> {
    let template = [0xAC, 9, 0x80, 1, algorithm, 0xAA, 1, pin, 0xAB, 1, touch];
    good(card, [0, 0x47, 0, slot], &template)[5..].to_vec()
}

fn sign_command(digest: &[u8]) -> Vec<u8> {
    let mut template = tlv::encode(0x82, &[]);
    tlv::write(&mut template, 0x81, digest);
    tlv::encode(0x7C, &template)
}

fn ecdh_command(point: &[u8]) -> Vec<u8> {
    let mut template = tlv::encode(0x82, &[]);
    tlv::write(&mut template, 0x85, point);
    tlv::encode(0x7C, &template)
}

#[test]
fn selection_finds_whole_and_cut_names_only() {
    let mut card = Card::new(1, "5.7.1".parse().unwrap()).unwrap();
    assert_eq!(status(&mut card, [0, 0xFD, 0, 0], &[]), hex!("6d00"), "nothing is selected at power-on");
    for aid in [&hex!("a000000308")[..], &hex!("a0000003080000100001"), &hex!("a000000308000010000100")] {
        let answer = good(&mut card, [0, 0xA4, 4, 0], aid);
        assert_eq!(answer, hex!("61114f0600001000010079074f05a000000308"));
    }
    for aid in [
        &hex!("a0000003")[..],
        &hex!("a000000308ff"),
        &hex!("d27600012401"),
        &hex!("a0000006472f0001"),
        &hex!("a000000151000000"),
    ] {
        assert_eq!(status(&mut card, [0, 0xA4, 4, 0], aid), hex!("6a82"), "{aid:02x?}");
    }
    assert_eq!(good(&mut card, [0, 0xFD, 0, 0], &[]), hex!("050701"), "PIV stays selected");
    assert_eq!(good(&mut card, [0, 0xF8, 0, 0], &[]), 1u32.to_be_bytes());
    assert_eq!(status(&mut card, [0, 0x77, 0, 0], &[]), hex!("6d00"));
}

#[test]
fn management_and_otp_say_what_the_device_is() {
    let mut card = card();
    let name = good(&mut card, [0, 0xA4, 4, 0], &hex!("a000000527471117"));
    assert_eq!(name, b"Virtual mgr - FW version 5.7.1");
    let page = good(&mut card, [0, 0x1D, 0, 0], &[]);
    assert_eq!(usize::from(page[0]), page.len() - 1);
    let tags = tlv::read_all(&page[1..]).unwrap();
    assert_eq!(tlv::find(&tags, 2), Some(&11_110_001u32.to_be_bytes()[..]));
    assert_eq!(tlv::find(&tags, 5), Some(&hex!("050701")[..]));
    assert_eq!(tlv::find(&tags, 1), Some(&hex!("0015")[..]), "PIV, OTP and nothing that is not there");

    assert_eq!(good(&mut card, [0, 0xA4, 4, 0], &hex!("a0000005272001")), hex!("050701000000"));
    assert_eq!(good(&mut card, [0, 0x01, 0x10, 0], &[]), 11_110_001u32.to_be_bytes());
}

#[test]
fn the_pin_counts_and_an_empty_verify_reports() {
    let mut card = card();
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c3"));
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], b"12345"), hex!("6a80"), "another length costs nothing");
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], b"111111\xff\xff"), hex!("63c2"));
    verify(&mut card);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("9000"));
    assert_eq!(status(&mut card, [0, 0x20, 0xFF, 0x80], &[]), hex!("9000"));
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c3"), "taken back, all tries there");
    verify(&mut card);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[0xFF; 8]), hex!("63c2"));
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c2"), "a wrong PIN ends the verification");
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x96], &[]), hex!("6a88"), "no fingerprint reader");
}

#[test]
fn blocked_pin_unblocked_by_puk_and_reset_when_both_are_blocked() {
    let mut card = card();
    assert_eq!(status(&mut card, [0, 0xFB, 0, 0], &[]), hex!("6985"));
    for expected in [hex!("63c2"), hex!("63c1"), hex!("63c0"), hex!("6983")] {
        assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[0xFF; 8]), expected);
    }
    good(&mut card, [0, 0x2C, 0, 0x80], b"12345678654321\xff\xff");
    good(&mut card, [0, 0x20, 0, 0x80], b"654321\xff\xff");
    good(&mut card, [0, 0x24, 0, 0x80], b"654321\xff\xff24681357");
    good(&mut card, [0, 0x24, 0, 0x81], b"1234567887654321");
    manage(&mut card);
    generate(&mut card, 0x9A, 0x11, 0, 0);
    good(&mut card, [0, 0xDB, 0x3F, 0xFF], &hex!("5c035fc1025303010203"));
    for reference in [0x20, 0x2C] {
        let data = if reference == 0x20 { vec![0xFF; 8] } else { vec![0xFF; 16] };
        for _ in 0..3 {
            assert_eq!(status(&mut card, [0, reference, 0, 0x80], &data)[0], 0x63);
        }
        assert_eq!(status(&mut card, [0, reference, 0, 0x80], &data), hex!("6983"));
    }
    good(&mut card, [0, 0xFB, 0, 0], &[]);
    verify(&mut card);
    assert_eq!(status(&mut card, [0, 0xF7, 0, 0x9A], &[]), hex!("6a88"));
    assert_eq!(status(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c035fc102")), hex!("6a82"));
    manage(&mut card);
}

#[test]
fn tries_are_set_with_management_key_and_pin_and_reset_both_secrets() {
    let mut card = card();
    good(&mut card, [0, 0x24, 0, 0x80], b"123456\xff\xff654321\xff\xff");
    assert_eq!(status(&mut card, [0, 0xFA, 5, 6], &[]), hex!("6982"));
    manage(&mut card);
    assert_eq!(status(&mut card, [0, 0xFA, 5, 6], &[]), hex!("6982"));
    good(&mut card, [0, 0x20, 0, 0x80], b"654321\xff\xff");
    assert_eq!(status(&mut card, [0, 0xFA, 0, 6], &[]), hex!("6a86"));
    good(&mut card, [0, 0xFA, 5, 6], &[]);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c5"));
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x81], &[]), hex!("0101ff 050101 06020606"));
    verify(&mut card);
}

#[test]
fn the_management_key_proves_itself_both_ways_with_every_cipher() {
    for firmware in ["5.2.7", "5.4.3", "5.7.1"] {
        let mut card = card_of(firmware);
        manage(&mut card);
        for (algorithm, length) in [(3, 24), (8, 16), (0x0A, 24), (0x0C, 32)] {
            let key = [&[algorithm, 0x9B, length][..], &vec![0x5A; length.into()]].concat();
            if firmware == "5.2.7" && algorithm != 3 {
                assert_eq!(status(&mut card, [0, 0xFF, 0xFF, 0xFF], &key), hex!("6a80"));
                continue;
            }
            good(&mut card, [0, 0xFF, 0xFF, 0xFF], &key);
            card.power_cycle();
            card.transmit(SELECT);
            assert_eq!(status(&mut card, [0, 0xFF, 0xFF, 0xFF], &key), hex!("6982"));
            manage(&mut card);
        }
    }
}

#[test]
fn single_authentication_takes_the_encrypted_challenge_once() {
    let mut card = card();
    let challenge = good(&mut card, [0, 0x87, 0x0A, 0x9B], &hex!("7c028100"));
    let response = card.state.piv.management_key.encrypt(&challenge[4..]).unwrap();
    let command = tlv::encode(0x7C, &tlv::encode(0x82, &response));
    good(&mut card, [0, 0x87, 0x0A, 0x9B], &command);
    good(&mut card, [0, 0xDB, 0x3F, 0xFF], &hex!("5c035fc1025303010203"));
    assert_eq!(status(&mut card, [0, 0x87, 0x0A, 0x9B], &command), hex!("6a80"), "a replay has no challenge");

    good(&mut card, [0, 0x87, 0x0A, 0x9B], &hex!("7c028100"));
    assert_eq!(status(&mut card, [0, 0x87, 0x0A, 0x9B], &command), hex!("6982"));
    assert_eq!(status(&mut card, [0, 0xDB, 0x3F, 0xFF], &hex!("5c035fc1025300")), hex!("6982"));
    assert_eq!(
        status(&mut card, [0, 0x87, 0x03, 0x9B], &hex!("7c028100")),
        hex!("6a80"),
        "another algorithm"
    );
}

#[test]
fn objects_are_written_with_the_management_key_and_some_read_with_the_pin() {
    let mut card = card();
    let put = |id: u8| [&[0x5C, 3, 0x5F, 0xC1, id, 0x53, 3], &b"abc"[..]].concat();
    let get = |id: u8| [0x5C, 3, 0x5F, 0xC1, id];
    assert_eq!(status(&mut card, [0, 0xDB, 0x3F, 0xFF], &put(5)), hex!("6982"));
    manage(&mut card);
    for id in 1..=0x21 {
        good(&mut card, [0, 0xDB, 0x3F, 0xFF], &put(id));
    }
    for id in 1..=0x21 {
        if [3, 8, 9, 0x21].contains(&id) {
            assert_eq!(status(&mut card, [0, 0xCB, 0x3F, 0xFF], &get(id)), hex!("6982"), "{id:02x}");
        } else {
            assert_eq!(good(&mut card, [0, 0xCB, 0x3F, 0xFF], &get(id)), b"\x53\x03abc", "{id:02x}");
        }
    }
    verify(&mut card);
    assert_eq!(good(&mut card, [0, 0xCB, 0x3F, 0xFF], &get(0x21)), b"\x53\x03abc");
    good(&mut card, [0, 0xDB, 0x3F, 0xFF], &hex!("5c035fc10a5300"));
    assert_eq!(status(&mut card, [0, 0xCB, 0x3F, 0xFF], &get(0x0A)), hex!("6a82"), "deleted");
    let discovery = good(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c017e"));
    assert_eq!(discovery, hex!("7e124f0ba0000003080000100001005f2f024000"));
    for (list, expected) in [
        (&hex!("5c027f61")[..], hex!("6a82")),
        (&hex!("5c0360c105"), hex!("6a82")),
        (&hex!("5c025fc1"), hex!("6a80")),
        (&hex!("53025fc1"), hex!("6a80")),
        (&[], hex!("6a80")),
    ] {
        assert_eq!(status(&mut card, [0, 0xCB, 0x3F, 0xFF], list), expected, "{list:02x?}");
    }
}

#[test]
fn large_objects_come_and_go_in_pieces_and_whole() {
    let mut card = card();
    manage(&mut card);
    let content: Vec<u8> = (0..3052u32).map(|i| (i % 251) as u8).collect();
    let mut put = hex!("5c035fff12").to_vec();
    tlv::write(&mut put, 0x53, &content);
    let parts: Vec<&[u8]> = put.chunks(255).collect();
    for (i, part) in parts.iter().enumerate() {
        let class = if i + 1 == parts.len() { 0 } else { 0x10 };
        good(&mut card, [class, 0xDB, 0x3F, 0xFF], part);
    }
    let expected = tlv::encode(0x53, &content);
    assert_eq!(good(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c035fff12")), expected);
    let whole = card.transmit(&hex!("00cb3fff0000055c035fff120000"));
    assert_eq!(whole, [&expected[..], OK].concat());

    let mut too_long = hex!("5c035fff12").to_vec();
    tlv::write(&mut too_long, 0x53, &[1; 3053]);
    assert_eq!(status(&mut card, [0, 0xDB, 0x3F, 0xFF], &too_long), hex!("6a84"));
    assert_eq!(good(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c035fff12")), expected, "unchanged");
}

#[test]
fn generated_keys_compute_what_software_computes() {
    let mut card = card();
    assert_eq!(status(&mut card, [0, 0x47, 0, 0x82], &hex!("ac03800111")), hex!("6982"));
    manage(&mut card);
    let point = generate(&mut card, 0x82, 0x11, 2, 1);
    let public = p256::PublicKey::from_sec1_bytes(&point).unwrap();
    assert_eq!(status(&mut card, [0, 0x87, 0x11, 0x82], &sign_command(&[5; 32])), hex!("6982"));
    verify(&mut card);

    let signature = good(&mut card, [0, 0x87, 0x11, 0x82], &sign_command(&[5; 32]));
    let signature = p256::ecdsa::Signature::from_der(&signature[4..]).unwrap();
    p256::ecdsa::VerifyingKey::from(public).verify_prehash(&[5; 32], &signature).unwrap();

    let other = p256::SecretKey::from_slice(&[9; 32]).unwrap();
    let other_point = p256::elliptic_curve::sec1::ToSec1Point::to_sec1_point(&other.public_key(), false);
    let shared = good(&mut card, [0, 0x87, 0x11, 0x82], &ecdh_command(other_point.as_bytes()));
    assert_eq!(shared[4..], other.diffie_hellman(&public).raw_secret_bytes()[..]);

    for (p1, command) in [
        (0x14, sign_command(&[5; 32])),
        (0x07, sign_command(&[5; 32])),
        (0x11, sign_command(&[5; 33])),
        (0x11, ecdh_command(&[4; 65])),
        (0x11, hex!("7c028200").to_vec()),
        (0x11, hex!("7c00").to_vec()),
        (0x11, hex!("8200").to_vec()),
    ] {
        assert_eq!(status(&mut card, [0, 0x87, p1, 0x82], &command), hex!("6a80"), "{command:02x?}");
    }
    assert_eq!(status(&mut card, [0, 0x87, 0x11, 0x83], &sign_command(&[5; 32])), hex!("6a80"), "empty slot");
}

#[test]
fn algorithms_and_policies_that_are_not_there_are_refused_and_keep_the_key() {
    let mut card = card_of("5.4.3");
    manage(&mut card);
    let point = generate(&mut card, 0x9A, 0x11, 0, 0);
    for algorithm in [0x05, 0x16, 0xE0, 0xE1, 0x00, 0xFF] {
        let command = [0xAC, 3, 0x80, 1, algorithm];
        assert_eq!(status(&mut card, [0, 0x47, 0, 0x9A], &command), hex!("6a80"), "{algorithm:02x}");
    }
    for template in
        [&hex!("ac06800111aa0104")[..], &hex!("ac06800111ab0104"), &hex!("ac00"), &hex!("ab03800111")]
    {
        assert_eq!(status(&mut card, [0, 0x47, 0, 0x9A], template), hex!("6a80"), "{template:02x?}");
    }
    assert_eq!(status(&mut card, [0, 0x47, 0, 0x81], &hex!("ac03800111")), hex!("6a80"));
    let metadata = good(&mut card, [0, 0xF7, 0, 0x9A], &[]);
    assert!(metadata.ends_with(&point));
}

#[test]
fn policy_always_uses_up_one_verification_and_leaves_the_rest() {
    let mut card = card();
    manage(&mut card);
    generate(&mut card, 0x82, 0x11, 3, 1);
    generate(&mut card, 0x9A, 0x11, 2, 1);
    generate(&mut card, 0x9E, 0x11, 0, 1);
    good(&mut card, [0, 0xDB, 0x3F, 0xFF], &hex!("5c035fc1215303616263"));
    let sign = sign_command(&[5; 32]);
    good(&mut card, [0, 0x87, 0x11, 0x9E], &sign);
    verify(&mut card);
    good(&mut card, [0, 0x87, 0x11, 0x9E], &sign);
    good(&mut card, [0, 0x87, 0x11, 0x9A], &sign);
    good(&mut card, [0, 0x87, 0x11, 0x82], &sign);
    assert_eq!(status(&mut card, [0, 0x87, 0x11, 0x82], &sign), hex!("6982"));
    good(&mut card, [0, 0x87, 0x11, 0x9A], &sign);
    good(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c035fc121"));
    verify(&mut card);
    good(&mut card, [0, 0x87, 0x11, 0x82], &sign);
}

#[test]
fn default_policies_are_those_of_the_slot() {
    let mut card = card();
    manage(&mut card);
    for (slot, pin) in [(0x9A, 2), (0x9C, 3), (0x9D, 2), (0x9E, 1), (0x82, 2), (0x95, 2)] {
        let point = good(&mut card, [0, 0x47, 0, slot], &hex!("ac03800114"))[5..].to_vec();
        let metadata = good(&mut card, [0, 0xF7, 0, slot], &[]);
        let tags = tlv::read_all(&metadata).unwrap();
        assert_eq!(tlv::find(&tags, 1), Some(&[0x14][..]));
        assert_eq!(tlv::find(&tags, 2), Some(&[pin, 1][..]), "{slot:02x}");
        assert_eq!(tlv::find(&tags, 3), Some(&[1][..]));
        assert_eq!(tlv::find(&tags, 4).unwrap()[2..], point);
    }
}

#[test]
fn touch_is_refused_cached_and_asked_again() {
    let mut card = card();
    manage(&mut card);
    generate(&mut card, 0x82, 0x11, 1, 2);
    generate(&mut card, 0x83, 0x11, 1, 3);
    let (always, cached) = ([0, 0x87, 0x11, 0x82], [0, 0x87, 0x11, 0x83]);
    let sign = sign_command(&[5; 32]);
    card.set_touch(Touch::Deny);
    assert_eq!(status(&mut card, always, &sign), hex!("6982"));
    assert_eq!(status(&mut card, cached, &sign), hex!("6982"));

    let start = Instant::now();
    card.set_touch(Touch::Auto);
    assert!(card.transmit_at(&apdu(cached, &sign), start).ends_with(OK));
    card.set_touch(Touch::Deny);
    let at = |card: &mut Card, header, seconds| {
        card.transmit_at(&apdu(header, &sign), start + Duration::from_secs(seconds)).ends_with(OK)
    };
    assert!(at(&mut card, cached, 14));
    assert!(!at(&mut card, always, 14), "always means each time");
    assert!(!at(&mut card, cached, 15));
    card.power_cycle();
    card.transmit(SELECT);
    assert!(!at(&mut card, cached, 1), "a touch does not outlive the power");
}

#[test]
fn an_always_key_takes_its_verification_even_without_a_touch() {
    let mut card = card();
    manage(&mut card);
    generate(&mut card, 0x82, 0x11, 3, 2);
    verify(&mut card);
    card.set_touch(Touch::Deny);
    assert_eq!(status(&mut card, [0, 0x87, 0x11, 0x82], &sign_command(&[5; 32])), hex!("6982"));
    card.set_touch(Touch::Auto);
    assert_eq!(status(&mut card, [0, 0x87, 0x11, 0x82], &sign_command(&[5; 32])), hex!("6982"));
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("9000"));
}

#[test]
fn a_reset_forgets_and_another_applet_does_too_but_not_the_same_again() {
    let mut card = card();
    verify(&mut card);
    card.transmit(SELECT);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("9000"));
    good(&mut card, [0, 0xA4, 4, 0], &hex!("a000000527471117"));
    card.transmit(SELECT);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c3"));
    verify(&mut card);
    card.power_cycle();
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("6d00"));
    card.transmit(SELECT);
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c3"));
}

#[test]
fn imported_keys_work_and_are_not_attested() {
    let mut card = card();
    let import = [&[0x06, 32][..], &[9; 32], &[0xAA, 1, 1]].concat();
    assert_eq!(status(&mut card, [0, 0xFE, 0x11, 0x9A], &import), hex!("6982"));
    manage(&mut card);
    good(&mut card, [0, 0xFE, 0x11, 0x9A], &import);
    let tags_of = good(&mut card, [0, 0xF7, 0, 0x9A], &[]);
    assert_eq!(tlv::find(&tlv::read_all(&tags_of).unwrap(), 3), Some(&[2][..]));
    good(&mut card, [0, 0x87, 0x11, 0x9A], &sign_command(&[5; 32]));
    assert_eq!(status(&mut card, [0, 0xF9, 0x9A, 0], &[]), hex!("6a80"));
    assert_eq!(status(&mut card, [0, 0xF9, 0x9C, 0], &[]), hex!("6a80"), "empty slot");
    assert_eq!(status(&mut card, [0, 0xFE, 0x11, 0x9A], &import[2..]), hex!("6a80"));
}

#[test]
fn keys_move_with_their_policies_and_are_deleted() {
    let mut card = card();
    assert_eq!(status(&mut card, [0, 0xF6, 0x83, 0x82], &[]), hex!("6982"));
    manage(&mut card);
    generate(&mut card, 0x82, 0x11, 3, 2);
    let before = good(&mut card, [0, 0xF7, 0, 0x82], &[]);
    good(&mut card, [0, 0xF6, 0x83, 0x82], &[]);
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x83], &[]), before);
    assert_eq!(status(&mut card, [0, 0xF7, 0, 0x82], &[]), hex!("6a88"));
    assert_eq!(status(&mut card, [0, 0xF6, 0x84, 0x82], &[]), hex!("6a88"));
    good(&mut card, [0, 0xF6, 0xFF, 0x83], &[]);
    assert_eq!(status(&mut card, [0, 0xF7, 0, 0x83], &[]), hex!("6a88"));
    let mut old = card_of("5.4.3");
    assert_eq!(status(&mut old, [0, 0xF6, 0xFF, 0x83], &[]), hex!("6d00"));
}

#[test]
fn metadata_tells_defaults_where_the_firmware_has_it() {
    let mut card = card();
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x80], &[]), hex!("0101ff 050101 06020303"));
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x9B], &[]), hex!("01010a 02020001 050101"));
    good(&mut card, [0, 0x24, 0, 0x80], b"123456\xff\xff24681357");
    manage(&mut card);
    let key = [&hex!("0c9b20")[..], &[1; 32]].concat();
    good(&mut card, [0, 0xFF, 0xFF, 0xFE], &key);
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x80], &[]), hex!("0101ff 050100 06020303"));
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0x9B], &[]), hex!("01010c 02020002 050100"));
    assert_eq!(good(&mut card, [0, 0xF7, 0, 0xF9], &[])[..3], hex!("010111"));
    assert_eq!(status(&mut card, [0, 0xF7, 0, 0x96], &[]), hex!("6a88"));
    let mut old = card_of("5.2.7");
    assert_eq!(status(&mut old, [0, 0xF7, 0, 0x80], &[]), hex!("6d00"));
}

/// Checks that `issuer` signed `certificate`, names included.
fn issued(issuer: &Certificate, certificate: &Certificate) {
    assert_eq!(certificate.tbs_certificate().issuer(), issuer.tbs_certificate().subject());
    let key = issuer.tbs_certificate().subject_public_key_info().subject_public_key.raw_bytes();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).unwrap();
    let signature = p256::ecdsa::DerSignature::from_bytes(certificate.signature().raw_bytes()).unwrap();
    key.verify(&certificate.tbs_certificate().to_der().unwrap(), &signature).unwrap();
}

#[test]
fn an_attestation_leads_to_the_published_root() {
    let mut card = card();
    manage(&mut card);
    for (slot, algorithm) in [(0x82, 0x11), (0x9C, 0x14)] {
        let point = generate(&mut card, slot, algorithm, 3, 2);
        let leaf = Certificate::from_der(&good(&mut card, [0, 0xF9, slot, 0], &[])).unwrap();
        let object = good(&mut card, [0, 0xCB, 0x3F, 0xFF], &hex!("5c035fff01"));
        let (object, _) = tlv::read(&object).unwrap();
        let parts = tlv::read_all(object.value).unwrap();
        let token = Certificate::from_der(tlv::find(&parts, 0x70).unwrap()).unwrap();
        let root = Certificate::from_der(TEST_ROOT_CERTIFICATE).unwrap();
        issued(&root, &root);
        issued(&root, &token);
        issued(&token, &leaf);
        assert!(root.tbs_certificate().subject().to_string().contains("Keyward Emulator Test Root"));

        let leaf = leaf.tbs_certificate();
        assert_eq!(leaf.subject_public_key_info().subject_public_key.raw_bytes(), point);
        let extension = |id: &str| {
            let id = ObjectIdentifier::new(id).unwrap();
            let all = leaf.extensions().unwrap();
            all.iter().find(|extension| extension.extn_id == id).unwrap().extn_value.as_bytes().to_vec()
        };
        assert_eq!(extension("1.3.6.1.4.1.41482.3.3"), hex!("050701"));
        assert_eq!(extension("1.3.6.1.4.1.41482.3.7"), 11_110_001u32.to_der().unwrap());
        assert_eq!(extension("1.3.6.1.4.1.41482.3.8"), hex!("0302"));
        assert_eq!(extension("1.3.6.1.4.1.41482.3.9"), hex!("01"));
    }
    let put = hex!("5c035fff015300");
    assert_eq!(status(&mut card, [0, 0xDB, 0x3F, 0xFF], &put), hex!("6a80"), "the chain stays");
}

#[test]
fn only_what_changes_the_state_says_so() {
    let mut card = card();
    let mut changed = |header, data: &[u8]| {
        card.transmit(&apdu(header, data));
        card.take_changed()
    };
    assert!(!changed([0, 0x20, 0, 0x80], &[]));
    assert!(changed([0, 0x20, 0, 0x80], &[0xFF; 8]));
    assert!(changed([0, 0x20, 0, 0x80], b"123456\xff\xff"));
    assert!(!changed([0, 0x20, 0, 0x80], b"123456\xff\xff"));
    assert!(!changed([0, 0xCB, 0x3F, 0xFF], &hex!("5c035fc121")));
    assert!(!changed([0, 0x47, 0, 0x82], &hex!("ac03800111")));
    assert!(changed([0, 0x24, 0, 0x80], b"123456\xff\xff24681357"));
}

/// A command that looks like one: a known instruction, plausible parameters, any data.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let ins = prop::sample::select(vec![
        0x20, 0x24, 0x2C, 0x47, 0x87, 0xA4, 0xC0, 0xCB, 0xDB, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFD, 0xFE,
        0xFF, 0x1D, 0x01,
    ]);
    let parameter =
        prop::sample::select(vec![0, 4, 0x0A, 0x11, 0x14, 0x3F, 0x80, 0x82, 0x9A, 0x9B, 0xF9, 0xFF]);
    let template = (
        prop::sample::select(vec![0x7Cu16, 0xAC, 0x5C, 0x53, 0x06]),
        prop::collection::vec(any::<u8>(), 0..80),
    )
        .prop_map(|(tag, value)| tlv::encode(tag, &value));
    let data = prop_oneof![prop::collection::vec(any::<u8>(), 0..80), template];
    (prop::sample::select(vec![0u8, 0x10]), ins, parameter.clone(), parameter, data)
        .prop_map(|(cla, ins, p1, p2, data)| apdu([cla, ins, p1, p2], &data))
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer_and_the_state_stays_sound(
        commands in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 0..300), plausible()], 1..40),
        managed: bool,
        verified: bool,
    ) {
        let mut card = card();
        if managed {
            manage(&mut card);
        }
        if verified {
            verify(&mut card);
        }
        for command in commands {
            prop_assert!(card.transmit(&command).len() >= 2);
        }
        prop_assert!(Card::from_json(&card.to_json().unwrap()).is_ok());
    }
}
