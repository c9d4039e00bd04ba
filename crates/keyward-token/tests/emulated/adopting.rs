//! Taking over a key that is on a YubiKey already: as age-plugin-yubikey leaves one, and as an issuer does.

use keyward_token::{
    Card, Error, Point, Result, Slot, Verdict,
    provision::{EnrollOptions, Enrolled, Stage, Step, enroll, inspect},
};
use p256::{SecretKey, elliptic_curve::sec1::ToSec1Point};
use yubikey::{MgmKey, YubiKey, piv};

use crate::harness::{Peer, Tokens, enrolled, options, pin, reader, under};

/// Works on a token as another program would, with the management key of the factory.
fn another_program(work: impl FnOnce(&mut YubiKey)) {
    let mut other = YubiKey::open().unwrap();
    let key = MgmKey::get_default(&other).unwrap();
    other.authenticate(&key).unwrap();
    work(&mut other);
}

/// A key as age-plugin-yubikey makes it: generated on the token, PIN `once`, touch `cached`.
fn generate(other: &mut YubiKey, slot: u8) -> Point {
    let (pin, touch) = (yubikey::PinPolicy::Once, yubikey::TouchPolicy::Cached);
    let slot = slot.try_into().unwrap();
    let key = piv::generate(other, slot, piv::AlgorithmId::EccP256, pin, touch).unwrap();
    key.subject_public_key.raw_bytes().try_into().unwrap()
}

fn adopt(slot: u8) -> EnrollOptions {
    EnrollOptions { adopt: Slot::new(slot), ..options() }
}

fn opens(reader: &str, slot: Slot, key: &Point) {
    let mut card = Card::open(reader).unwrap();
    let mut piv =
        card.begin().unwrap().select_piv().unwrap().accept_card_without_proof().verify(&pin()).unwrap();
    let peer = Peer::new();
    assert_eq!(*piv.ecdh(slot, &peer.point()).unwrap().expose(), peer.secret_with(key));
}

fn keys(token: &Enrolled) -> (Point, Point, (Slot, Point), Option<Point>) {
    (token.archive, token.custody, token.signing, token.card_proof)
}

#[test]
fn a_key_of_age_plugin_yubikey_stays_where_it_is_and_becomes_the_archive_key() {
    under(&Tokens::default(), |_| {
        let (mut eight_a, mut first) = ([0; 65], [0; 65]);
        another_program(|other| {
            eight_a = generate(other, 0x8A);
            first = generate(other, 0x82);
        });
        let name = reader(0);
        let token = enrolled(&name, &adopt(0x8A)).unwrap();
        assert_eq!((token.archive, token.archive_slot), (eight_a, Slot::new(0x8A).unwrap()));
        assert_eq!((token.custody_slot, token.signing.0), (Slot::CUSTODY, Slot::Signature));
        assert_eq!((token.verdict, token.attestation.len()), (Verdict::Emulated, 4), "its token attests it");
        assert_eq!(
            (token.pin_policy.to_string(), token.touch_policy.to_string()),
            ("once".into(), "cached".into())
        );
        assert!(token.seed_object.is_some() && token.archive_ek.is_some());
        opens(&name, token.archive_slot, &eight_a);
        opens(&name, token.custody_slot, &token.custody);
        let slots = inspect(&name).unwrap().slots;
        let of = |slot: u8| slots.iter().find(|other| other.slot.reference() == slot).unwrap();
        assert_eq!(
            (of(0x82).point, of(0x82).ours),
            (Some(first), false),
            "the other key is nobody's business"
        );
        assert_eq!((of(0x8A).point, of(0x8A).subject.clone()), (Some(eight_a), None));
        assert_eq!(
            of(0x83).subject.as_deref(),
            Some("CN=alice,OU=custody,OU=archive-in-8a,O=Keyward"),
            "how a later run knows it"
        );
        let later = enrolled(&name, &options()).unwrap();
        assert_eq!((keys(&later), later.archive_slot), (keys(&token), token.archive_slot));
        assert_eq!(later.archive_ek, token.archive_ek);
    });
}

/// The plugin's first key is in 82, which is where Keyward's own archive key would be.
#[test]
fn the_first_key_of_age_plugin_yubikey_is_in_the_usual_slot() {
    under(&Tokens::default(), |_| {
        let mut key = [0; 65];
        another_program(|other| key = generate(other, 0x82));
        let name = reader(0);
        let refused = enrolled(&name, &options()).unwrap_err();
        assert!(matches!(&refused, Error::Occupied { slots } if *slots == [Slot::ARCHIVE]), "{refused}");
        let token = enrolled(&name, &adopt(0x82)).unwrap();
        assert_eq!((token.archive, token.archive_slot), (key, Slot::ARCHIVE));
        assert_eq!(token.custody_slot, Slot::CUSTODY);
    });
}

#[test]
fn an_issuers_key_is_issuer_held() {
    under(&Tokens::default(), |_| {
        let secret = SecretKey::from_slice(&[7; 32]).unwrap();
        another_program(|other| {
            piv::import_ecc_key(
                other,
                piv::SlotId::KeyManagement,
                piv::AlgorithmId::EccP256,
                &[7; 32],
                yubikey::TouchPolicy::Never,
                yubikey::PinPolicy::Once,
            )
            .unwrap();
        });
        let name = reader(0);
        let token = enrolled(&name, &adopt(0x9D)).unwrap();
        assert_eq!(token.archive, *secret.public_key().to_sec1_point(false).as_bytes());
        assert_eq!((token.verdict, token.attestation.len()), (Verdict::IssuerHeld, 0));
        assert_eq!(token.touch_policy.to_string(), "never");
        opens(&name, Slot::KeyManagement, &token.archive);
    });
}

#[test]
fn what_is_no_key_to_take_over_is_refused_before_anything_is_changed() {
    under(&Tokens::default(), |_| {
        another_program(|other| {
            let (pin, touch) = (yubikey::PinPolicy::Once, yubikey::TouchPolicy::Never);
            piv::generate(other, 0x84.try_into().unwrap(), piv::AlgorithmId::EccP384, pin, touch).unwrap();
        });
        let name = reader(0);
        let before = inspect(&name).unwrap();
        for slot in [0x8A, 0x84] {
            assert!(matches!(enrolled(&name, &adopt(slot)), Err(Error::NoKey { .. })), "{slot:x}");
        }
        for slot in [0x9A, 0x9C, 0x9E, 0xF9] {
            assert!(matches!(enrolled(&name, &adopt(slot)), Err(Error::NotAdoptable { .. })), "{slot:x}");
        }
        assert_eq!(inspect(&name).unwrap(), before);
    });
}

/// Stopped between two steps and run again, it makes no key in a second slot.
#[test]
fn an_interrupted_taking_over_goes_on_in_the_same_slots() {
    under(&Tokens::default(), |_| {
        let mut key = [0; 65];
        another_program(|other| key = generate(other, 0x83));
        let name = reader(0);
        for stop in [Stage::CardKey, Stage::CustodyKey, Stage::SigningKey, Stage::Seeds, Stage::Certificates]
        {
            let stopped: Result<Enrolled> = enroll(&name, &adopt(0x83), &mut |step| match step {
                Step::Done(stage) if stage == stop => Err(Error::Interrupted),
                _ => Ok(()),
            });
            assert!(matches!(stopped, Err(Error::Interrupted)), "{stop:?}");
        }
        let token = enrolled(&name, &adopt(0x83)).unwrap();
        assert_eq!((token.archive, token.archive_slot), (key, Slot::CUSTODY));
        assert_eq!((token.custody_slot.reference(), token.signing.0), (0x84, Slot::Signature));
        let used: Vec<u8> = inspect(&name).unwrap().slots.iter().map(|slot| slot.slot.reference()).collect();
        assert_eq!(used, [0x9C, 0x9E, 0x83, 0x84]);
    });
}
