//! Finding tokens over the socket: what is there, what is held, what is gone.

use keyward_token::{Card, Error, Slot, list, readers};

use crate::harness::{Peer, SERIAL, Tokens, VAULT, enrolled, options, pin, reader, under};

fn connect(reader: &str, mode: pcsc::ShareMode) -> pcsc::Card {
    let context = pcsc::Context::establish(pcsc::Scope::User).unwrap();
    let name = std::ffi::CString::new(reader).unwrap();
    context.connect(&name, mode, pcsc::Protocols::ANY).unwrap()
}

#[test]
fn tokens_are_listed_with_serial_and_firmware() {
    under(&Tokens { count: 2, ..Tokens::default() }, |hand| {
        let found = list().unwrap();
        let serials: Vec<_> = found.iter().map(|token| token.serial).collect();
        assert_eq!(serials, [Some(SERIAL), Some(SERIAL + 1)]);
        assert_eq!(found[0].firmware.unwrap().to_string(), "5.7.1");
        assert_eq!(found[0].atr, readers().unwrap()[0].atr);
        assert!(readers().unwrap().iter().all(|reader| reader.looks_like_yubikey() && !reader.held));

        hand.does(&format!("remove {SERIAL}"));
        assert_eq!(list().unwrap().iter().map(|token| token.serial).collect::<Vec<_>>(), [Some(SERIAL + 1)]);
        hand.does(&format!("remove {}", SERIAL + 1));
        assert!(matches!(readers(), Err(Error::NoToken)));
        assert!(matches!(list(), Err(Error::NoToken)));
    });
}

#[test]
fn without_a_service_it_says_so() {
    under(&Tokens::default(), |hand| {
        assert!(readers().is_ok());
        std::fs::remove_file(hand.folder().join("pcscd")).unwrap();
        assert!(matches!(readers(), Err(Error::NoService)), "{:?}", readers());
    });
}

#[test]
fn a_reader_that_another_program_holds_is_busy() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let holder = connect(&name, pcsc::ShareMode::Exclusive);
        assert!(matches!(Card::open(&name), Err(Error::Busy { reader }) if reader == name));
        let found = list().unwrap();
        assert!(found[0].busy && found[0].serial.is_none());
        assert!(matches!(enrolled(&name, &options()), Err(Error::Busy { .. })));
        drop(holder);
        assert_eq!(list().unwrap()[0].serial, Some(SERIAL));
        assert!(matches!(Card::open("no such reader"), Err(Error::NoReader { .. })));
    });
}

#[test]
fn a_reset_between_uses_is_reconnected() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let token = enrolled(&name, &options()).unwrap();
        let mut card = Card::open(&name).unwrap();
        for _ in 0..2 {
            let other = connect(&name, pcsc::ShareMode::Shared);
            other.disconnect(pcsc::Disposition::ResetCard).map_err(|(_, error)| error).unwrap();
            let piv = card.begin().unwrap().select_piv().unwrap();
            let piv = piv.card_proof(VAULT, &[token.card_proof.unwrap()]).unwrap();
            piv.verify(&pin()).unwrap().ecdh(Slot::ARCHIVE, &Peer::new().point()).unwrap();
        }
    });
}

#[test]
fn the_pin_does_not_stay_behind_and_what_others_verified_does() {
    under(&Tokens::default(), |_| {
        let name = reader(0);
        let token = enrolled(&name, &options()).unwrap();
        let verified = |other: &pcsc::Card| {
            let mut buffer = [0; 16];
            other.transmit(&[0, 0x20, 0, 0x80], &mut buffer).unwrap() == [0x90, 0x00]
        };
        // A use by us: nothing is left for the program that comes next.
        let mut card = Card::open(&name).unwrap();
        let piv = card.begin().unwrap().select_piv().unwrap();
        let piv = piv.card_proof(VAULT, &[token.card_proof.unwrap()]).unwrap();
        drop(piv.verify(&pin()).unwrap());
        drop(card);
        let other = connect(&name, pcsc::ShareMode::Shared);
        let mut buffer = [0; 64];
        other.transmit(&[0, 0xA4, 4, 0, 5, 0xA0, 0, 0, 3, 8], &mut buffer).unwrap();
        assert!(!verified(&other));
        // A look by us does not take away what another program has.
        let mut verify = vec![0, 0x20, 0, 0x80, 8];
        verify.extend_from_slice(crate::harness::PIN);
        assert_eq!(other.transmit(&verify, &mut buffer).unwrap(), [0x90, 0x00]);
        Card::open(&name).unwrap().begin().unwrap();
        assert!(verified(&other));
    });
}

#[test]
fn a_token_pulled_out_in_use() {
    under(&Tokens::default(), |hand| {
        let mut card = Card::open(&reader(0)).unwrap();
        let piv = card.begin().unwrap().select_piv().unwrap();
        hand.does(&format!("remove {SERIAL}"));
        let failed = piv.accept_card_without_proof().verify(&pin()).unwrap_err();
        assert!(matches!(failed, Error::Removed { .. }), "{failed:?}");
    });
}
