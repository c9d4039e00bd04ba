//! Using an enrolled token, in process: which APDUs, in which order, and what each refusal becomes.

use keyward_emulator::{Card as Emulated, Touch};
use keyward_token::{Error, ObjectId, Pin, Slot, seed::SeedError, transport::Ending};
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};

use crate::harness::{
    Fault, InProcess, PIN, Peer, Tokens, VAULT, enrolled, fixture, options, pin, reader, under,
};

const SELECT: u8 = 0xA4;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const VERIFY: u8 = 0x20;
const GET_DATA: u8 = 0xCB;

/// Enrols the token that the tests below use; run by itself it shows that they can be made.
#[test]
fn makes_a_token() {
    under(&Tokens::default(), |hand| {
        let token = enrolled(&reader(0), &options()).unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(hand.folder().join(name), content).unwrap();
        write("archive", &token.archive);
        write("slot", token.signing.0.to_string().as_bytes());
        write("signing", &token.signing.1);
        write("card_proof", &token.card_proof.unwrap());
        write("archive_ek", &token.archive_ek.unwrap());
        write("seed_object", token.seed_object.unwrap().to_string().as_bytes());
    });
}

#[test]
fn a_hybrid_unwrap_is_five_round_trips() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let peer = Peer::new();

    let piv = card.begin().unwrap().select_piv().unwrap();
    let piv = piv.card_proof(VAULT, &[Peer::new().point(), token.card_proof]).unwrap();
    assert_eq!(piv.candidate(), Some(1));
    let mut piv = piv.verify(&pin()).unwrap();
    let secret = piv.ecdh(Slot::ARCHIVE, &peer.point()).unwrap();
    let seeds = piv.seeds(token.seed_object, &pin()).unwrap();
    drop(piv);

    assert_eq!(*secret.expose(), peer.secret_with(&token.archive));
    assert_eq!(seeds.archive().encapsulation_key(), token.archive_ek);
    let log = log.lock().unwrap();
    assert_eq!(log.instructions(), [SELECT, GENERAL_AUTHENTICATE, VERIFY, GENERAL_AUTHENTICATE, GET_DATA]);
    assert_eq!(log.apdus[1][3], 0x9E, "the proof comes first");
    assert_eq!(log.apdus[3][3], 0x82);
    assert_eq!(log.endings, [Ending::Reset], "the PIN does not stay behind");
}

#[test]
fn a_classic_unwrap_is_four() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
    piv.verify(&pin()).unwrap().ecdh(Slot::ARCHIVE, &Peer::new().point()).unwrap();
    assert_eq!(log.lock().unwrap().apdus.len(), 4);
}

#[test]
fn an_impostor_gets_no_pin() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let piv = card.begin().unwrap().select_piv().unwrap();
    let refused = piv.card_proof(VAULT, &[Peer::new().point(), Peer::new().point()]).unwrap_err();
    assert!(matches!(refused, Error::CardProof { candidates: 2 }), "{refused:?}");
    assert_eq!(log.lock().unwrap().instructions(), [SELECT, GENERAL_AUTHENTICATE]);
    assert_eq!(log.lock().unwrap().endings, [Ending::Leave], "nothing secret was shown");
}

#[test]
fn a_card_without_card_key_gets_no_pin_unless_accepted() {
    let factory = Emulated::new(7, "5.7.1".parse().unwrap()).unwrap();
    let (mut card, log) = InProcess::over(factory, None);
    let piv = card.begin().unwrap().select_piv().unwrap();
    let refused = piv.card_proof(VAULT, &[Peer::new().point()]).unwrap_err();
    assert!(matches!(refused, Error::NoCardProof { .. }), "{refused:?}");
    assert!(!log.lock().unwrap().instructions().contains(&VERIFY));
    // Recorded as `card_proof: none`: the caller says so.
    let piv = card.begin().unwrap().select_piv().unwrap().accept_card_without_proof();
    assert_eq!(piv.candidate(), None);
    let mut piv = piv.verify(&Pin::new(b"123456").unwrap()).unwrap();
    assert!(matches!(
        piv.ecdh(Slot::ARCHIVE, &Peer::new().point()),
        Err(Error::NoKey { slot: Slot::ARCHIVE })
    ));
    assert!(matches!(
        piv.seeds(ObjectId::IRIS, &pin()),
        Err(Error::Seed { object: ObjectId::IRIS, source: SeedError::Missing })
    ));
}

#[test]
fn wrong_pins_are_counted_and_then_blocked() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let wrong = Pin::new(b"111111").unwrap();
    let mut attempt = |pin: &Pin| {
        let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
        piv.verify(pin).map(|_| ()).unwrap_err()
    };
    assert!(matches!(attempt(&wrong), Error::WrongPin { tries_left: 2 }));
    assert!(matches!(attempt(&wrong), Error::WrongPin { tries_left: 1 }));
    assert!(matches!(attempt(&wrong), Error::PinBlocked));
    assert!(matches!(attempt(&pin()), Error::PinBlocked), "the right one does not help any more");
    let sent = log.lock().unwrap().instructions().into_iter().filter(|&ins| ins == VERIFY).count();
    assert_eq!(sent, 4, "each attempt is one VERIFY");
    let mut piv = card.begin().unwrap().select_piv().unwrap();
    assert_eq!(piv.tries_left().unwrap(), Some(0));
}

#[test]
fn a_pin_of_impossible_length_is_not_sent() {
    for pin in [&b"12345"[..], b"123456789", b""] {
        assert!(matches!(Pin::new(pin), Err(Error::PinLength { length }) if length == pin.len()));
    }
    assert_eq!(format!("{:?}", Pin::new(PIN).unwrap()), "Pin(…)");
}

#[test]
fn nobody_touches() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Deny, None);
    let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
    let mut piv = piv.verify(&pin()).unwrap();
    let refused = piv.ecdh(Slot::ARCHIVE, &Peer::new().point()).unwrap_err();
    assert!(matches!(refused, Error::TouchDenied { slot: Slot::ARCHIVE }), "{refused:?}");
    assert_eq!(log.lock().unwrap().apdus.len(), 4, "asked once");
}

#[test]
fn the_pin_serves_one_use_until_it_is_verified_again() {
    let token = fixture();
    let (mut card, _) = InProcess::card(&token.state, Touch::Auto, None);
    let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
    let mut piv = piv.verify(&pin()).unwrap();
    let peer = Peer::new();
    piv.ecdh(Slot::ARCHIVE, &peer.point()).unwrap();
    assert!(matches!(piv.ecdh(Slot::ARCHIVE, &peer.point()), Err(Error::PinRequired { .. })));
    piv.verify_again(&pin()).unwrap();
    piv.ecdh(Slot::CUSTODY, &peer.point()).unwrap();
}

#[test]
fn a_key_that_wants_a_pin_is_no_use_without() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let mut piv = card.begin().unwrap().select_piv().unwrap().use_without_pin();
    assert!(piv.ecdh(Slot::ARCHIVE, &Peer::new().point()).is_err());
    let digest = [7; 32];
    let signature = piv.sign(Slot::CardAuthentication, &digest).unwrap();
    let key = VerifyingKey::from_sec1_bytes(&token.card_proof).unwrap();
    key.verify_prehash(&digest, &Signature::from_der(&signature).unwrap()).unwrap();
    assert!(!log.lock().unwrap().instructions().contains(&VERIFY));
}

#[test]
fn an_admin_signs() {
    let token = fixture();
    let (mut card, _) = InProcess::card(&token.state, Touch::Auto, None);
    let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
    let (slot, point) = token.signing;
    let signature = piv.verify(&pin()).unwrap().sign(slot, &[9; 32]).unwrap();
    let key = VerifyingKey::from_sec1_bytes(&point).unwrap();
    key.verify_prehash(&[9; 32], &Signature::from_der(&signature).unwrap()).unwrap();
}

#[test]
fn a_point_off_the_curve_does_not_reach_the_card() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let mut piv = card.begin().unwrap().select_piv().unwrap().use_without_pin();
    let mut point = Peer::new().point();
    point[64] ^= 1;
    assert!(matches!(piv.ecdh(Slot::ARCHIVE, &point), Err(Error::NotOnCurve)));
    assert!(matches!(piv.ecdh(Slot::ARCHIVE, &[0; 65]), Err(Error::NotOnCurve)));
    assert_eq!(log.lock().unwrap().apdus.len(), 1);
}

#[test]
fn a_reset_before_the_pin_is_reconnected_once() {
    let token = fixture();
    for at in [0, 1] {
        let (mut card, log) = InProcess::card(&token.state, Touch::Auto, Some(Fault::Reset(at)));
        let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
        piv.verify(&pin()).unwrap().ecdh(Slot::ARCHIVE, &Peer::new().point()).unwrap();
        let log = log.lock().unwrap();
        assert_eq!(log.reconnects, 1, "before APDU {at}");
        assert_eq!(log.instructions().into_iter().filter(|&ins| ins == VERIFY).count(), 1);
    }
}

#[test]
fn a_reset_from_verify_on_repeats_nothing() {
    let token = fixture();
    for at in [2, 3] {
        let (mut card, log) = InProcess::card(&token.state, Touch::Auto, Some(Fault::Reset(at)));
        let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
        let failed =
            piv.verify(&pin()).and_then(|mut piv| piv.ecdh(Slot::ARCHIVE, &Peer::new().point())).unwrap_err();
        assert!(matches!(failed, Error::Reset { .. }), "{failed:?}");
        let log = log.lock().unwrap();
        assert_eq!((log.reconnects, log.apdus.len()), (0, at));
    }
}

#[test]
fn a_token_pulled_out_says_so_wherever_it_happens() {
    let token = fixture();
    for at in 0..5 {
        let (mut card, log) = InProcess::card(&token.state, Touch::Auto, Some(Fault::Removed(at)));
        let run = || -> keyward_token::Result<()> {
            let piv = card.begin()?.select_piv()?.card_proof(VAULT, &[token.card_proof])?;
            let mut piv = piv.verify(&pin())?;
            piv.ecdh(Slot::ARCHIVE, &Peer::new().point())?;
            piv.seeds(token.seed_object, &pin()).map(|_| ())
        };
        let failed = { run }().unwrap_err();
        assert!(matches!(&failed, Error::Removed { reader } if reader == "in process"), "{at}: {failed:?}");
        assert_eq!(log.lock().unwrap().apdus.len(), at);
    }
}

#[test]
fn seeds_behind_a_used_up_pin_are_asked_for_again() {
    let token = fixture();
    let (mut card, log) = InProcess::card(&token.state, Touch::Auto, None);
    let piv = card.begin().unwrap().select_piv().unwrap().card_proof(VAULT, &[token.card_proof]).unwrap();
    let mut piv = piv.verify(&pin()).unwrap();
    piv.seeds(token.seed_object, &pin()).unwrap();
    assert_eq!(log.lock().unwrap().apdus.len(), 4);
}

#[test]
fn facts_about_slots() {
    let token = fixture();
    let (mut card, _) = InProcess::card(&token.state, Touch::Auto, None);
    let mut piv = card.begin().unwrap().select_piv().unwrap();
    assert_eq!(piv.serial().unwrap(), Some(crate::harness::SERIAL));
    assert_eq!(piv.firmware().unwrap().unwrap().to_string(), "5.7.1");
    assert_eq!(piv.public_key(Slot::ARCHIVE).unwrap(), Some(token.archive));
    assert_eq!(piv.public_key(Slot::Authentication).unwrap(), None);
    assert_eq!(piv.tries_left().unwrap(), Some(3));
    let metadata = piv.metadata(Slot::ARCHIVE).unwrap().unwrap();
    assert!(metadata.is_p256() && metadata.generated == Some(true));
    assert_eq!(piv.metadata(Slot::Authentication).unwrap(), None);
    assert!(piv.attest(Slot::ARCHIVE).unwrap().is_some());
    assert!(piv.attest(Slot::Authentication).unwrap().is_none());
    assert!(piv.certificate(Slot::ARCHIVE).unwrap().is_some());
}
