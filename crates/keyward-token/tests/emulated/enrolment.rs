//! Enrolment from end to end over the socket: in one go, interrupted anywhere, over what was there before.

use keyward_emulator::Options;
use keyward_token::{
    Card, Error, ManagementKey, ObjectId, Pin, PinPolicy, Puk, Result, Slot, TouchPolicy, Verdict,
    provision::{
        CurrentSecrets, EnrollOptions, Enrolled, KeepManagementKey, Stage, Step, enroll, inspect, round_trip,
    },
};
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use yubikey::{MgmKey, YubiKey, piv};
use zeroize::Zeroizing;

use crate::harness::{Hand, Peer, SERIAL, Tokens, VAULT, enrolled, options, pin, reader, under, under_each};

/// Opens something with the token, which must be whole.
fn works(reader: &str, token: &Enrolled) {
    let mut card = Card::open(reader).unwrap();
    let piv = card.begin().unwrap().select_piv().unwrap();
    let mut piv = match token.card_proof {
        Some(key) => piv.card_proof(VAULT, &[key]).unwrap(),
        None => piv.accept_card_without_proof(),
    }
    .verify(&pin())
    .unwrap();
    let peer = Peer::new();
    assert_eq!(*piv.ecdh(Slot::ARCHIVE, &peer.point()).unwrap().expose(), peer.secret_with(&token.archive));
    piv.verify_again(&pin()).unwrap();
    assert_eq!(*piv.ecdh(Slot::CUSTODY, &peer.point()).unwrap().expose(), peer.secret_with(&token.custody));
    if let Some(object) = token.seed_object {
        let seeds = piv.seeds(object, &pin()).unwrap();
        assert_eq!(Some(seeds.archive().encapsulation_key()), token.archive_ek);
        assert_eq!(Some(seeds.custody().encapsulation_key()), token.custody_ek);
    }
    piv.verify_again(&pin()).unwrap();
    piv.sign(token.signing.0, &[1; 32]).unwrap();
    for slot in [Slot::ARCHIVE, Slot::CUSTODY, token.signing.0] {
        assert!(piv.certificate(slot).unwrap().is_some(), "{slot}");
    }
}

fn same(a: &Enrolled, b: &Enrolled) {
    assert_eq!(
        (a.archive, a.custody, a.signing, a.card_proof),
        (b.archive, b.custody, b.signing, b.card_proof)
    );
    assert_eq!((a.archive_ek, a.custody_ek, a.seed_object), (b.archive_ek, b.custody_ek, b.seed_object));
    assert_eq!(a.verdict, b.verdict);
}

/// Makes keys as another program would, on a token as from the factory.
fn someone_else(make: impl FnOnce(&mut YubiKey)) {
    let mut other = YubiKey::open().unwrap();
    let key = MgmKey::get_default(&other).unwrap();
    other.authenticate(&key).unwrap();
    make(&mut other);
}

fn generate(other: &mut YubiKey, slot: u8, algorithm: piv::AlgorithmId) -> Vec<u8> {
    let (pin, touch) = (yubikey::PinPolicy::Never, yubikey::TouchPolicy::Never);
    let key = piv::generate(other, slot.try_into().unwrap(), algorithm, pin, touch).unwrap();
    key.subject_public_key.raw_bytes().to_vec()
}

#[test]
fn a_token_from_the_factory() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let before = inspect(&name).unwrap();
        assert_eq!((before.serial, before.factory_pin, before.slots.len()), (Some(SERIAL), Some(true), 0));
        assert_eq!((before.pin_tries, before.unfinished), (Some((3, 3)), false));

        let (mut stages, mut puk) = (Vec::new(), Vec::new());
        let token = enroll(&name, &options(), &mut |step| {
            match step {
                Step::Done(stage) => stages.push(stage),
                Step::NewPuk(new) => puk = new.expose().to_vec(),
                _ => {}
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(
            stages,
            [
                Stage::Pin,
                Stage::Puk,
                Stage::ManagementKey,
                Stage::Intent,
                Stage::CardKey,
                Stage::ArchiveKey,
                Stage::CustodyKey,
                Stage::SigningKey,
                Stage::Seeds,
                Stage::Certificates,
                Stage::KeyHistory,
                Stage::Attestation
            ]
        );
        assert_eq!(token.verdict, Verdict::Emulated);
        assert_eq!((token.pin_policy, token.touch_policy), (PinPolicy::Always, TouchPolicy::Always));
        assert_eq!(token.signing.0, Slot::Signature);
        assert_eq!(token.seed_object, Some(ObjectId::IRIS));
        assert_eq!(token.attestation.len(), 4);
        assert_eq!(
            token.puk.as_ref().unwrap().expose(),
            puk,
            "the PUK that was handed out is the one that was set"
        );
        assert_eq!(puk.len(), 8);
        works(&name, &token);
        round_trip(&name, Slot::ARCHIVE, &token.archive, &pin()).unwrap();
        assert!(matches!(
            round_trip(&name, Slot::ARCHIVE, &token.custody, &pin()),
            Err(Error::RoundTrip { slot: Slot::ARCHIVE })
        ));
        let after = inspect(&name).unwrap();
        assert_eq!(
            (after.factory_pin, after.factory_puk, after.factory_management_key, after.unfinished),
            (Some(false), Some(false), Some(false), false)
        );
        assert!(after.slots.iter().all(|slot| slot.ours));
        assert_eq!(
            after.slots.iter().map(|slot| slot.slot.to_string()).collect::<Vec<_>>(),
            ["9c", "9e", "82", "83"]
        );
        assert_eq!(after.slots[2].subject.as_deref(), Some("CN=alice,OU=archive,O=Keyward"));

        // Once more: everything is found done.
        let again = enrolled(&name, &options()).unwrap();
        same(&token, &again);
        assert!(again.puk.is_none());
    });
}

#[test]
fn interrupted_after_each_step_it_goes_on() {
    under(&Tokens { count: 14, ..Tokens::default() }, |_| {
        for n in 0..14 {
            let name = reader(n);
            let (mut left, mut puk) = (n, None);
            let stopped = enroll(&name, &options(), &mut |step| {
                if let Step::NewPuk(new) = step {
                    puk = Some(new.expose().to_vec());
                }
                left = left.checked_sub(1).ok_or(Error::Interrupted)?;
                Ok(())
            });
            assert!(matches!(stopped, Err(Error::Interrupted)), "{n}: {stopped:?}");
            let made: Vec<_> =
                inspect(&name).unwrap().slots.into_iter().filter_map(|slot| slot.point).collect();
            let token = enrolled(&name, &options()).unwrap();
            works(&name, &token);
            for point in made {
                let keys =
                    [Some(token.archive), Some(token.custody), Some(token.signing.1), token.card_proof];
                assert!(keys.contains(&Some(point)), "{n}: a key that was made is kept");
            }
            assert!(puk.is_some() || token.puk.is_some(), "{n}: the PUK was handed out");
            assert!(!inspect(&name).unwrap().unfinished);
        }
    });
}

/// Power goes at one moment out of many, right before an answer: the token did what it was told and we do not know.
#[test]
fn without_power_at_any_moment_it_goes_on() {
    // An enrolment is about 240 APDUs, listing the slots included.
    let moments = (1..225).step_by(7).map(|n| Options { remove_at: Some(n), ..Options::default() });
    under_each(moments, |hand: &Hand| {
        let name = reader(0);
        let options = EnrollOptions { new_puk: Some(Puk::new(b"87654321").unwrap()), ..self::options() };
        let error = enrolled(&name, &options).unwrap_err();
        assert!(matches!(error, Error::Removed { .. }), "{error:?}");
        hand.does(&format!("insert {SERIAL}"));
        let token = enrolled(&name, &options).unwrap();
        works(&name, &token);
    });
}

#[test]
fn occupied_slots_are_refused_before_anything_is_changed() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let mut theirs = Vec::new();
        someone_else(|other| theirs = generate(other, 0x82, piv::AlgorithmId::EccP256));
        let refused = enrolled(&name, &options()).unwrap_err();
        assert!(matches!(&refused, Error::Occupied { slots } if *slots == [Slot::ARCHIVE]), "{refused:?}");
        let after = inspect(&name).unwrap();
        assert_eq!((after.factory_pin, after.factory_management_key), (Some(true), Some(true)));
        assert_eq!(after.slots[0].point.unwrap().as_slice(), theirs);

        // Overwriting, interrupted right after the intent was noted: the key that goes is not taken for a new one.
        let overwrite = EnrollOptions {
            overwrite: true,
            pin_policy: PinPolicy::Never,
            touch_policy: TouchPolicy::Never,
            ..options()
        };
        let stopped = enroll(&name, &overwrite, &mut |step| match step {
            Step::Done(Stage::Intent) => Err(Error::Interrupted),
            _ => Ok(()),
        });
        assert!(matches!(stopped, Err(Error::Interrupted)));
        let token = enrolled(&name, &overwrite).unwrap();
        assert_ne!(token.archive.as_slice(), theirs);
        assert_eq!((token.pin_policy, token.touch_policy), (PinPolicy::Never, TouchPolicy::Never));
    });
}

#[test]
fn what_is_in_9c_and_9e_stays() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let (mut card, mut signature) = (Vec::new(), Vec::new());
        someone_else(|other| {
            card = generate(other, 0x9E, piv::AlgorithmId::EccP256);
            signature = generate(other, 0x9C, piv::AlgorithmId::EccP384);
            other.save_object(0x5F_C121, &mut [1, 2, 3]).unwrap();
        });
        let token = enrolled(&name, &options()).unwrap();
        assert_eq!(token.card_proof.unwrap().as_slice(), card, "adopted");
        assert_eq!(token.signing.0.to_string(), "84", "9C is occupied");
        assert_eq!(token.seed_object, Some(ObjectId::FACIAL_IMAGE), "5FC121 is occupied");
        works(&name, &token);
        let mut other = YubiKey::open().unwrap();
        other.verify_pin(crate::harness::PIN).unwrap();
        assert_eq!(other.fetch_object(0x5F_C121).unwrap().as_slice(), [1, 2, 3]);
        let metadata = piv::metadata(&mut other, piv::SlotId::Signature).unwrap();
        assert_eq!(metadata.public.unwrap().subject_public_key.raw_bytes(), signature);
        // The Key History counts up to 84, the third retired slot.
        assert_eq!(other.fetch_object(0x5F_C10C).unwrap().as_slice(), [0xC1, 1, 3, 0xC2, 1, 0, 0xFE, 0]);
    });
}

#[test]
fn a_card_key_that_cannot_serve_stays_and_is_recorded_as_none() {
    under(&Tokens::default(), |_| {
        someone_else(|other| drop(generate(other, 0x9E, piv::AlgorithmId::EccP384)));
        let token = enrolled(&reader(0), &options()).unwrap();
        assert_eq!(token.card_proof, None);
        works(&reader(0), &token);
        same(&token, &enrolled(&reader(0), &options()).unwrap());
    });
}

#[test]
fn an_imported_card_key_stays_even_where_it_cannot_be_seen() {
    under(&Tokens { firmware: "5.2.7", ..Tokens::default() }, |_| {
        someone_else(|other| {
            let (touch, pin) = (yubikey::TouchPolicy::Never, yubikey::PinPolicy::Never);
            let slot = piv::SlotId::CardAuthentication;
            piv::import_ecc_key(other, slot, piv::AlgorithmId::EccP256, &[9; 32], touch, pin).unwrap();
        });
        let name = reader(0);
        let token = enrolled(&name, &from_the_factory()).unwrap();
        assert_eq!(token.card_proof, None);
        works(&name, &token);
        let mut card = Card::open(&name).unwrap();
        let mut piv = card.begin().unwrap().select_piv().unwrap().use_without_pin();
        let signature = piv.sign(Slot::CardAuthentication, &[5; 32]).unwrap();
        let theirs = *p256::ecdsa::SigningKey::from_slice(&[9; 32]).unwrap().verifying_key();
        theirs.verify_prehash(&[5; 32], &p256::ecdsa::Signature::from_der(&signature).unwrap()).unwrap();
    });
}

#[test]
fn both_seed_objects_occupied() {
    under(&Tokens::default(), |_| {
        someone_else(|other| {
            other.save_object(0x5F_C121, &mut [1]).unwrap();
            other.save_object(0x5F_C108, &mut [1]).unwrap();
        });
        let name = reader(0);
        assert!(matches!(enrolled(&name, &options()), Err(Error::SeedObjectsOccupied)));
        assert!(inspect(&name).unwrap().slots.is_empty(), "no key was made");
        let classic = EnrollOptions { hybrid: false, ..options() };
        let token = enrolled(&name, &classic).unwrap();
        assert_eq!((token.archive_ek, token.seed_object), (None, None));
        works(&name, &token);
    });
}

#[test]
fn retries_given_management_key_and_policies() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let key = ManagementKey::generate().unwrap();
        let copy = || ManagementKey::new(Zeroizing::new(*key.expose()));
        let options = || EnrollOptions {
            retries: Some((5, 7)),
            management_key: KeepManagementKey::Given(copy()),
            touch_policy: TouchPolicy::Cached,
            pin_policy: PinPolicy::Once,
            new_puk: Some(Puk::new(b"87654321").unwrap()),
            ..options()
        };
        let token = enrolled(&name, &options()).unwrap();
        assert_eq!(inspect(&name).unwrap().pin_tries, Some((5, 5)));
        assert_eq!((token.pin_policy, token.touch_policy), (PinPolicy::Once, TouchPolicy::Cached));
        assert_eq!(token.puk.as_ref().unwrap().expose(), b"87654321");
        same(&token, &enrolled(&name, &options()).unwrap());
        // Without the key nobody administers the token: it is not on it.
        let without = EnrollOptions { retries: None, ..self::options() };
        assert!(matches!(enrolled(&name, &without), Err(Error::ManagementKey)));
        // With it, it can move behind the PIN.
        let moved = EnrollOptions {
            current: CurrentSecrets { management_key: Some(copy()), ..CurrentSecrets::default() },
            ..self::options()
        };
        same(&token, &enrolled(&name, &moved).unwrap());
        same(&token, &enrolled(&name, &self::options()).unwrap());
        works(&name, &token);
    });
}

#[test]
fn a_changed_pin_is_needed_and_tried_once() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        enrolled(&name, &options()).unwrap();
        let wrong = EnrollOptions::new("alice", Pin::new(b"999999").unwrap());
        assert!(matches!(enrolled(&name, &wrong), Err(Error::WrongPin { tries_left: 2 })));
        let changed = EnrollOptions {
            current: CurrentSecrets { pin: Some(pin()), ..CurrentSecrets::default() },
            ..EnrollOptions::new("alice", Pin::new(b"135790").unwrap())
        };
        enrolled(&name, &changed).unwrap();
        enrolled(&name, &EnrollOptions::new("alice", Pin::new(b"135790").unwrap())).unwrap();
    });
}

#[test]
fn overwriting_an_enrolled_token_makes_new_keys_and_seeds() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let old = enrolled(&name, &options()).unwrap();
        let new = enrolled(&name, &EnrollOptions { overwrite: true, ..options() }).unwrap();
        assert!(old.archive != new.archive && old.custody != new.custody && old.signing.1 != new.signing.1);
        assert!(old.archive_ek != new.archive_ek && old.custody_ek != new.custody_ek);
        assert_eq!((old.card_proof, old.signing.0), (new.card_proof, new.signing.0));
        works(&name, &new);
    });
}

#[test]
fn secrets_of_the_factory_and_odd_names_are_refused() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let refused = |options| enrolled(&name, &options).map(|_| ());
        assert!(matches!(
            refused(EnrollOptions::new("alice", Pin::new(b"123456").unwrap())),
            Err(Error::FactorySecret { secret: "PIN" })
        ));
        let puk = Some(Puk::new(b"12345678").unwrap());
        assert!(matches!(
            refused(EnrollOptions { new_puk: puk, ..options() }),
            Err(Error::FactorySecret { secret: "PUK" })
        ));
        assert!(matches!(refused(EnrollOptions::new("a,O=b", pin())), Err(Error::Name { .. })));
        // Two paddings in the middle are no PIN for any card.
        assert!(matches!(
            refused(EnrollOptions::new("alice", Pin::new(b"12\xFF\xFF5678").unwrap())),
            Err(Error::SecretRefused { secret: "PIN", .. })
        ));
        assert_eq!(inspect(&name).unwrap().factory_pin, Some(true));
    });
}

/// For firmware that cannot tell: everything is as it came.
fn from_the_factory() -> EnrollOptions {
    EnrollOptions {
        current: CurrentSecrets {
            pin: Some(Pin::new(b"123456").unwrap()),
            puk: Some(Puk::new(b"12345678").unwrap()),
            management_key: Some(ManagementKey::new(Zeroizing::new([
                1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8,
            ]))),
            ..CurrentSecrets::default()
        },
        ..options()
    }
}

fn older(firmware: &str) {
    under(&Tokens { firmware, ..Tokens::default() }, |_| {
        let name = reader(0);
        let inventory = inspect(&name).unwrap();
        assert_eq!(
            inventory.advisories.iter().map(|advisory| advisory.name).collect::<Vec<_>>(),
            ["EUCLEAK"]
        );
        let tells = inventory.factory_pin.is_some();
        let first: Result<Enrolled> = enrolled(&name, &options());
        let token = match first {
            Ok(token) => token,
            Err(Error::SecretNeeded { secret: "PIN" }) if !tells => {
                enrolled(&name, &from_the_factory()).unwrap()
            }
            Err(error) => panic!("{error:?}"),
        };
        assert_eq!(token.verdict, Verdict::Emulated);
        assert!(token.card_proof.is_some());
        assert!(token.puk.is_some(), "the factory's PUK does not stay");
        works(&name, &token);
        // Run again with what is in force now: nothing is left to do, and no try is spent on it.
        let now = EnrollOptions {
            current: CurrentSecrets {
                pin: Some(pin()),
                puk: token.puk.as_ref().map(copy),
                management_key: None,
                ..CurrentSecrets::default()
            },
            ..options()
        };
        same(&token, &enrolled(&name, &now).unwrap());
        let tries = |piv: &mut keyward_token::Piv<'_, keyward_token::Locked>| piv.tries_left().unwrap();
        let mut card = Card::open(&name).unwrap();
        assert_eq!(tries(&mut card.begin().unwrap().select_piv().unwrap()), Some(3));
    });
}

fn copy(puk: &Puk) -> Puk {
    Puk::new(puk.expose()).unwrap()
}

#[test]
fn firmware_5_4_has_metadata_and_3des() {
    older("5.4.3");
}

#[test]
fn firmware_5_2_cannot_tell_and_asks() {
    older("5.2.7");
}
