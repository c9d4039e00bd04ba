//! Attestations of emulated tokens, checked offline from DER.

use keyward_emulator::{TEST_ROOT_CERTIFICATE, Touch};
use keyward_token::{
    PinPolicy, Point, Slot, TouchPolicy, Verdict,
    attest::{AttestationError, EMULATOR_ROOT, verdict},
};

use crate::harness::{InProcess, SERIAL, fixture};

/// The chain as a statement has it, and the keys it is for.
fn chain() -> (Vec<Vec<u8>>, Vec<Point>) {
    let token = fixture();
    let (mut card, _) = InProcess::card(&token.state, Touch::Auto, None);
    let mut piv = card.begin().unwrap().select_piv().unwrap();
    let slots = [Slot::ARCHIVE, Slot::CUSTODY, token.signing.0];
    let keys = slots.iter().map(|slot| piv.public_key(*slot).unwrap().unwrap()).collect();
    let mut chain: Vec<_> = slots.iter().map(|slot| piv.attest(*slot).unwrap().unwrap()).collect();
    chain.push(piv.certificate(Slot::Attestation).unwrap().unwrap());
    (chain, keys)
}

#[test]
fn the_test_root_is_the_emulators() {
    assert_eq!(EMULATOR_ROOT, TEST_ROOT_CERTIFICATE);
}

#[test]
fn an_emulated_token_is_called_so() {
    let (chain, keys) = chain();
    let (found, attested) = verdict(&chain, &keys, Some(SERIAL)).unwrap();
    assert_eq!(found, Verdict::Emulated);
    assert_eq!(attested.iter().map(|attested| attested.point).collect::<Vec<_>>(), keys);
    for attested in attested {
        assert_eq!(attested.serial, Some(SERIAL));
        assert_eq!(attested.firmware.to_string(), "5.7.1");
        assert_eq!((attested.pin_policy, attested.touch_policy), (PinPolicy::Always, TouchPolicy::Always));
    }
}

#[test]
fn another_token_another_key_another_order() {
    let (chain, keys) = chain();
    assert_eq!(
        verdict(&chain, &keys, Some(SERIAL + 1)),
        Err(AttestationError::OtherToken { attested: SERIAL, expected: SERIAL + 1 })
    );
    let swapped: Vec<_> = [1, 0, 2].map(|index| keys[index]).to_vec();
    assert_eq!(verdict(&chain, &swapped, None), Err(AttestationError::OtherKey { index: 0 }));
    assert_eq!(verdict(&chain[..3], &keys, None), Err(AttestationError::Incomplete { found: 3, keys: 3 }));
}

#[test]
fn a_key_cannot_vouch_for_another_key() {
    // The archive key's own attestation in the place of the token's certificate.
    let (chain, keys) = chain();
    let forged = [chain[1].clone(), chain[0].clone(), chain[3].clone()];
    assert!(matches!(verdict(&forged, &keys[1..2], None), Err(AttestationError::Issuer { .. })));
}

#[test]
fn no_changed_byte_passes_unnoticed() {
    let (chain, keys) = chain();
    let good = verdict(&chain, &keys, Some(SERIAL)).unwrap();
    for which in 0..chain.len() {
        for at in (0..chain[which].len()).step_by(3) {
            let mut edited = chain.clone();
            edited[which][at] ^= 0x04;
            if let Ok(found) = verdict(&edited, &keys, Some(SERIAL)) {
                // An F9 whose issuer is another name leads nowhere; its keys are then not attested.
                assert_eq!(found.0, Verdict::Unattested, "certificate {which}, byte {at}");
                assert_eq!(found.1, good.1);
            }
        }
    }
}
