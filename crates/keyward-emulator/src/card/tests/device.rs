//! The device as such: configuration, reboot, and applets that are switched off.

use super::*;

const MANAGEMENT: &[u8] = &hex!("a000000527471117");
const OTP: &[u8] = &hex!("a0000005272001");
const PIV: &[u8] = &hex!("a000000308");

fn write(card: &mut Card, tags: &[u8]) -> [u8; 2] {
    good(card, [0, 0xA4, 4, 0], MANAGEMENT);
    let data = [&[u8::try_from(tags.len()).unwrap()][..], tags].concat();
    status(card, [0, 0x1C, 0, 0], &data)
}

#[test]
fn an_applet_that_is_switched_off_cannot_be_selected() {
    let mut card = card();
    assert_eq!(write(&mut card, &hex!("03020001")), hex!("9000"));
    assert!(card.take_changed());
    assert_eq!(status(&mut card, [0, 0xA4, 4, 0], PIV), hex!("6a82"));
    good(&mut card, [0, 0xA4, 4, 0], OTP);
    assert_eq!(write(&mut card, &hex!("03020010")), hex!("9000"));
    assert_eq!(status(&mut card, [0, 0xA4, 4, 0], OTP), hex!("6a82"));
    good(&mut card, [0, 0xA4, 4, 0], PIV);
    assert_eq!(write(&mut card, &hex!("0302023f")), hex!("9000"));
    let page = good(&mut card, [0, 0x1D, 0, 0], &[]);
    assert_eq!(page[5..9], hex!("03020015"), "masked with what there is");
}

#[test]
fn a_reboot_is_told_once_and_only_where_it_was_asked_for() {
    let mut card = card();
    write(&mut card, &hex!("07010a"));
    assert!(!card.take_reboot());
    write(&mut card, &hex!("0c00 070114"));
    assert!(card.take_reboot());
    assert!(!card.take_reboot());
    assert_eq!(write(&mut card, &hex!("0c00 03020000")), hex!("6a80"));
    assert!(!card.take_reboot(), "what was refused reboots nothing");
}

#[test]
fn a_refused_configuration_changes_nothing_and_the_lock_is_kept_in_the_file() {
    let mut card = card();
    let lock = [&hex!("0a10")[..], &[0xAA; 16]].concat();
    assert_eq!(write(&mut card, &lock), hex!("9000"));
    assert!(card.take_changed());
    assert_eq!(write(&mut card, &hex!("03020001")), hex!("6982"));
    assert!(!card.take_changed());
    let mut again = Card::from_json(&card.to_json().unwrap()).unwrap();
    assert_eq!(write(&mut again, &hex!("03020001")), hex!("6982"));
    let unlock = [&hex!("03020001 0b10")[..], &[0xAA; 16]].concat();
    assert_eq!(write(&mut again, &unlock), hex!("9000"));
}

#[test]
fn resetting_piv_leaves_the_configuration() {
    let mut card = card();
    write(&mut card, &hex!("07010a"));
    good(&mut card, [0, 0xA4, 4, 0], PIV);
    for _ in 0..3 {
        status(&mut card, [0, 0x20, 0, 0x80], &[0xFF; 8]);
        status(&mut card, [0, 0x2C, 0, 0x80], &[0xFF; 16]);
    }
    good(&mut card, [0, 0xFB, 0, 0], &[]);
    good(&mut card, [0, 0xA4, 4, 0], MANAGEMENT);
    let page = good(&mut card, [0, 0x1D, 0, 0], &[]);
    assert!(page.windows(3).any(|tag| tag == hex!("07010a")));
}

#[test]
fn a_yubikey_4_is_read_and_not_written() {
    let mut card = card_of("4.3.5");
    assert_eq!(write(&mut card, &hex!("07010a")), hex!("6d00"));
    let page = good(&mut card, [0, 0x1D, 0, 0], &[]);
    assert_eq!(page, hex!("0c 010115 020400a98671 030115"));
    assert_eq!(good(&mut card, [0, 0xA4, 4, 0], OTP), hex!("040305 000000 02 0f 0000"));
    assert_eq!(good(&mut card, [0, 0x01, 0x10, 0], &[]), 11_110_001u32.to_be_bytes());
    assert_eq!(good(&mut card, [0, 0x01, 0x13, 0], &[]), page);
    assert_eq!(status(&mut card, [0, 0x01, 0x01, 0], &[]), hex!("6a80"), "no slot can be programmed");
}

#[test]
fn new_pins_and_puks_of_another_form_are_6985_and_cost_nothing() {
    let mut card = card();
    let change = |old: &[u8], new: &[u8]| [old, new].concat();
    for (reference, old) in [(0x80, b"123456\xff\xff"), (0x81, b"12345678")] {
        for new in [b"12345\xff\xff\xff", b"12345\xff78", b"1234567\x80"] {
            let data = change(old, new);
            assert_eq!(status(&mut card, [0, 0x24, 0, reference], &data), hex!("6985"), "{new:02x?}");
        }
        assert_eq!(status(&mut card, [0, 0x24, 0, reference], &old[..6]), hex!("6a80"));
    }
    assert_eq!(status(&mut card, [0, 0x2C, 0, 0x80], &change(b"12345678", &[0xFF; 8])), hex!("6985"));
    assert_eq!(status(&mut card, [0, 0x24, 1, 0x80], &[0; 16]), hex!("6a88"));
    assert_eq!(status(&mut card, [0, 0x24, 0, 0x82], &[0; 16]), hex!("6a88"));
    let mut old = card_of("5.4.3");
    good(&mut old, [0, 0x24, 0, 0x81], &change(b"12345678", b"1234567\x80"));
    assert_eq!(status(&mut card, [0, 0x20, 0, 0x80], &[]), hex!("63c3"));
}
