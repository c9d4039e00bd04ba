//! Any bytes as APDUs: each gets at least a status word. An input is `{u16 length, bytes}` as often as it fits.
#![no_main]

use std::sync::OnceLock;

use keyward_emulator::Card;
use libfuzzer_sys::fuzz_target;

static FACTORY: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let factory = FACTORY.get_or_init(|| {
        let card = Card::new(1, "5.7.1".parse().expect("a version")).expect("a card");
        card.to_json().expect("a state").to_vec()
    });
    let mut card = Card::from_json(factory).expect("a card");
    let mut rest = input;
    while let Some((length, after)) = rest.split_first_chunk() {
        let (apdu, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
        assert!(card.transmit(apdu).len() >= 2, "no status word to {apdu:02x?}");
        rest = after;
    }
});
