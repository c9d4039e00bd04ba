//! The management applet: what the device is, and which of its applications are switched on.
//!
//! Yubico's "YubiKey 5 Series Configuration Reference Guide": SELECT answers a version string, INS 1D reads the
//! configuration as tags, INS 1C writes it. Only PIV and OTP are advertised, so that clients do not look for applets that
//! are not there. The layout is that of real keys: the tags of 4.3.7, 5.2.3, 5.4.3 and 5.7.4 as Yubico's SDK and
//! yubikey-manager's tests print them, in their order.

use serde::{Deserialize, Serialize};

use super::{
    apdu::Command,
    attest::FORM_FACTOR,
    firmware::Firmware,
    state::{Secret, State},
    status::Sw,
    tlv,
};

/// INS 1D, READ CONFIG; P1 is the page.
const INS_READ_CONFIG: u8 = 0x1D;
/// INS 1C, WRITE CONFIG.
const INS_WRITE_CONFIG: u8 = 0x1C;

/// The capability bit of the OTP applet.
const CAPABILITY_OTP: u16 = 0x01;
/// The bit of the CCID interface as such; not settable, so the reader stays whatever is switched off.
const CAPABILITY_CCID: u16 = 0x04;
/// The capability bit of the PIV applet.
const CAPABILITY_PIV: u16 = 0x10;
/// All that there is here.
const SUPPORTED: u16 = CAPABILITY_OTP | CAPABILITY_CCID | CAPABILITY_PIV;

const TAG_USB_ENABLED: u16 = 0x03;
const TAG_AUTO_EJECT: u16 = 0x06;
const TAG_CHALLENGE_TIMEOUT: u16 = 0x07;
const TAG_DEVICE_FLAGS: u16 = 0x08;
const TAG_LOCK: u16 = 0x0A;
const TAG_UNLOCK: u16 = 0x0B;
const TAG_REBOOT: u16 = 0x0C;
const TAG_NFC_ENABLED: u16 = 0x0E;
const TAG_NFC_RESTRICTED: u16 = 0x17;

/// Length of a lock code; all zero takes the lock off.
const LOCK_CODE: usize = 16;
/// What stands where real keys have the number of their part.
const PART_NUMBER: &[u8] = b"EMULATED";

/// The settings of the device, apart from any applet; a RESET of PIV leaves them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Device {
    usb_enabled: u16,
    nfc_enabled: u16,
    auto_eject: u16,
    challenge_timeout: u8,
    flags: u8,
    nfc_restricted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<Secret>,
}

impl Default for Device {
    fn default() -> Self {
        Self {
            usb_enabled: SUPPORTED,
            nfc_enabled: SUPPORTED,
            auto_eject: 0,
            challenge_timeout: 15,
            flags: 0,
            nfc_restricted: false,
            lock: None,
        }
    }
}

impl Device {
    /// Whether a state that was read makes sense.
    pub(crate) fn is_sound(&self) -> bool {
        let of_ours = |enabled: u16| enabled & !SUPPORTED == 0;
        of_ours(self.usb_enabled)
            && of_ours(self.nfc_enabled)
            && self.lock.as_ref().is_none_or(|code| code.expose().len() == LOCK_CODE)
    }

    /// Whether PIV can be selected.
    pub(crate) fn has_piv(&self) -> bool {
        self.usb_enabled & CAPABILITY_PIV != 0
    }

    /// Whether OTP can be selected.
    pub(crate) fn has_otp(&self) -> bool {
        self.usb_enabled & CAPABILITY_OTP != 0
    }

    /// Checks and applies a configuration as a whole; whether a reboot was asked for.
    fn write(&mut self, firmware: Firmware, data: &[u8]) -> Result<bool, Sw> {
        let (&length, tags) = data.split_first().ok_or(Sw::WRONG_DATA)?;
        if usize::from(length) != tags.len() {
            return Err(Sw::WRONG_DATA);
        }
        let tags = tlv::read_all(tags).ok_or(Sw::WRONG_DATA)?;
        if let Some(code) = &self.lock
            && !tlv::find(&tags, TAG_UNLOCK).is_some_and(|given| code.is(given))
        {
            return Err(Sw::SECURITY_STATUS);
        }
        let word = |value: &[u8]| value.try_into().map(u16::from_be_bytes).map_err(|_| Sw::WRONG_DATA);
        let byte = |value: &[u8]| match value {
            &[byte] => Ok(byte),
            _ => Err(Sw::WRONG_DATA),
        };
        let mut new = Self { lock: self.lock.as_ref().map(|code| Secret::new(code.expose())), ..*self };
        let mut reboot = false;
        for tag in &tags {
            match tag.tag {
                TAG_USB_ENABLED => new.usb_enabled = word(tag.value)? & SUPPORTED,
                TAG_NFC_ENABLED => new.nfc_enabled = word(tag.value)? & SUPPORTED,
                TAG_AUTO_EJECT => new.auto_eject = word(tag.value)?,
                TAG_CHALLENGE_TIMEOUT => new.challenge_timeout = byte(tag.value)?,
                TAG_DEVICE_FLAGS => new.flags = byte(tag.value)?,
                TAG_LOCK if tag.value.len() != LOCK_CODE => return Err(Sw::WRONG_DATA),
                TAG_LOCK if tag.value.iter().all(|&byte| byte == 0) => new.lock = None,
                TAG_LOCK => new.lock = Some(Secret::new(tag.value)),
                TAG_NFC_RESTRICTED if firmware.has_pin_complexity() => {
                    new.nfc_restricted = byte(tag.value)? != 0;
                }
                TAG_UNLOCK => {}
                TAG_REBOOT => reboot = true,
                _ => return Err(Sw::WRONG_DATA),
            }
        }
        if new.usb_enabled & !CAPABILITY_CCID == 0 {
            return Err(Sw::WRONG_DATA); // somebody must be left to answer
        }
        *self = new;
        Ok(reboot)
    }

    /// A page of the device information, its length in front.
    pub(crate) fn page(&self, serial: u32, firmware: Firmware, page: u8) -> Result<Vec<u8>, Sw> {
        let mut tags = Vec::new();
        let mut put = |tag, value: &[u8]| tlv::write(&mut tags, tag, value);
        match page {
            0 if !firmware.has_write_config() => {
                let [_, supported] = SUPPORTED.to_be_bytes();
                put(0x01, &[supported]);
                put(0x02, &serial.to_be_bytes());
                put(TAG_USB_ENABLED, &[supported]);
            }
            0 => {
                put(0x01, &SUPPORTED.to_be_bytes());
                put(TAG_USB_ENABLED, &self.usb_enabled.to_be_bytes());
                put(0x02, &serial.to_be_bytes());
                put(0x04, &[FORM_FACTOR]);
                put(0x05, &firmware.bytes());
                put(TAG_AUTO_EJECT, &self.auto_eject.to_be_bytes());
                put(TAG_CHALLENGE_TIMEOUT, &[self.challenge_timeout]);
                put(TAG_DEVICE_FLAGS, &[self.flags]);
                put(0x0D, &SUPPORTED.to_be_bytes()); // supported over NFC
                put(TAG_NFC_ENABLED, &self.nfc_enabled.to_be_bytes());
                put(TAG_LOCK, &[self.lock.is_some().into()]);
                put(0x0F, &[0]); // an iPhone's connector is not there
                if firmware.has_pin_complexity() {
                    put(0x20, &[0; 3]); // version of a fingerprint reader
                    put(0x21, &[0; 3]); // and of its processor
                    put(0x10, &[1]); // there is one more page
                }
            }
            1 if firmware.has_pin_complexity() => {
                put(0x11, &[0; 4]); // free form
                put(0x12, &[0]); // HID start-up delay
                put(0x13, PART_NUMBER);
                put(0x14, &[0, 0]); // FIPS: not capable
                put(0x15, &[0, 0]); // and so not approved
                put(0x16, &[0]); // PIN complexity is not enforced
                put(TAG_NFC_RESTRICTED, &[self.nfc_restricted.into()]);
                put(0x18, &[0, 0]); // no applet's reset is blocked
            }
            _ => return Err(Sw::WRONG_P1_P2),
        }
        let mut page = vec![u8::try_from(tags.len()).unwrap_or(u8::MAX)];
        page.extend_from_slice(&tags);
        Ok(page)
    }
}

/// The answer to SELECT.
pub(crate) fn select(firmware: Firmware) -> Vec<u8> {
    format!("Virtual mgr - FW version {firmware}").into_bytes()
}

/// A command to the selected applet; `changed` and `reboot` tell who drives the card what follows.
pub(crate) fn command(
    state: &mut State,
    command: &Command,
    changed: &mut bool,
    reboot: &mut bool,
) -> Result<Vec<u8>, Sw> {
    match command.ins {
        INS_READ_CONFIG => state.device.page(state.serial, state.firmware, command.p1),
        INS_WRITE_CONFIG if state.firmware.has_write_config() => {
            *reboot |= state.device.write(state.firmware, &command.data)?;
            *changed = true;
            Ok(Vec::new())
        }
        _ => Err(Sw::WRONG_INS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn firmware(version: &str) -> Firmware {
        version.parse().unwrap()
    }

    #[test]
    fn pages_are_laid_out_as_on_real_keys() {
        let device = Device::default();
        let page = |version: &str, page| device.page(7_050_602, firmware(version), page);
        assert_eq!(page("4.3.7", 0).unwrap(), hex!("0c 010115 0204006b956a 030115"));
        let of_5_4 = hex!(
            "2e 01020015 03020015 0204006b956a 040101 0503050403 06020000 07010f 080100 0d020015 0e020015 0a0100 0f0100"
        );
        assert_eq!(page("5.4.3", 0).unwrap(), of_5_4);
        assert_eq!(page("5.2.7", 0).unwrap()[0], 0x2E);
        let of_5_7 = page("5.7.4", 0).unwrap();
        assert_eq!(of_5_7[..5], hex!("3b01020015"));
        assert!(of_5_7.ends_with(&hex!("0f0100 2003000000 2103000000 100101")));
        assert_eq!(
            page("5.7.4", 1).unwrap(),
            hex!("25 110400000000 120100 1308454d554c41544544 14020000 15020000 160100 170100 18020000")
        );
        for (version, number) in [("4.3.7", 1), ("5.2.7", 1), ("5.4.3", 1), ("5.7.4", 2), ("5.7.4", 255)] {
            assert_eq!(page(version, number), Err(Sw::WRONG_P1_P2), "{version}, page {number}");
        }
    }

    #[test]
    fn applications_are_masked_and_one_must_stay() {
        let mut device = Device::default();
        assert_eq!(device.write(firmware("5.4.3"), &hex!("04 0302ffff")), Ok(false));
        assert!(device.has_piv() && device.has_otp());
        assert_eq!(device.write(firmware("5.4.3"), &hex!("06 0c00 03020005")), Ok(true));
        assert!(!device.has_piv() && device.has_otp());
        for nothing in [hex!("04 03020000"), hex!("04 03020004"), hex!("04 03020200")] {
            assert_eq!(device.write(firmware("5.4.3"), &nothing), Err(Sw::WRONG_DATA));
        }
        assert!(!device.has_piv() && device.has_otp());
        assert_eq!(device.write(firmware("5.4.3"), &hex!("04 0e020000")), Ok(false), "NFC may be all off");
    }

    #[test]
    fn a_lock_code_is_asked_for_until_it_is_cleared() {
        let mut device = Device::default();
        let f = firmware("5.7.1");
        let of = |tags: &[&[u8]]| {
            let tags = tags.concat();
            [&[u8::try_from(tags.len()).unwrap()][..], &tags].concat()
        };
        let code = |tag, byte: u8| [&[tag, 16][..], &[byte; 16]].concat();
        assert_eq!(device.write(f, &of(&[&code(0x0A, 1)])), Ok(false));
        assert!(device.page(1, f, 0).unwrap().windows(3).any(|tag| tag == hex!("0a0101")));
        let timeout = hex!("070114");
        assert_eq!(device.write(f, &of(&[&timeout])), Err(Sw::SECURITY_STATUS));
        assert_eq!(device.write(f, &of(&[&code(0x0B, 2), &timeout])), Err(Sw::SECURITY_STATUS));
        assert_eq!(device.challenge_timeout, 15);
        assert_eq!(device.write(f, &of(&[&code(0x0B, 1), &timeout])), Ok(false));
        assert_eq!(device.challenge_timeout, 20);
        assert_eq!(device.write(f, &of(&[&code(0x0B, 1), &code(0x0A, 2)])), Ok(false));
        assert_eq!(device.write(f, &of(&[&code(0x0B, 1), &code(0x0A, 0)])), Err(Sw::SECURITY_STATUS));
        assert_eq!(device.write(f, &of(&[&code(0x0B, 2), &code(0x0A, 0)])), Ok(false));
        assert_eq!(device.write(f, &of(&[&timeout])), Ok(false));
    }

    #[test]
    fn what_is_malformed_changes_nothing() {
        let mut device = Device::default();
        let before = device.page(1, firmware("5.7.1"), 0).unwrap();
        for data in [
            &hex!("")[..],
            &hex!("01"),
            &hex!("05 03020011"),
            &hex!("03 030111"),
            &hex!("04 07020001"),
            &hex!("07 03020005 0a0101"),
            &hex!("03 050101"),
            &hex!("07 03020005 7f0100"),
        ] {
            assert_eq!(device.write(firmware("5.7.1"), data), Err(Sw::WRONG_DATA), "{data:02x?}");
        }
        assert_eq!(device.page(1, firmware("5.7.1"), 0).unwrap(), before);
        assert_eq!(device.write(firmware("5.4.3"), &hex!("03 170101")), Err(Sw::WRONG_DATA), "since 5.7");
    }

    #[test]
    fn settings_survive_in_the_file_and_odd_ones_are_noticed() {
        let mut device = Device::default();
        device.write(firmware("5.7.1"), &hex!("15 03020011 060200ff 07010a 080180 0e020000 170101")).unwrap();
        let json = serde_json::to_string(&device).unwrap();
        let again: Device = serde_json::from_str(&json).unwrap();
        assert_eq!(again.page(1, firmware("5.7.1"), 0), device.page(1, firmware("5.7.1"), 0));
        assert_eq!(again.page(1, firmware("5.7.1"), 1), device.page(1, firmware("5.7.1"), 1));
        let old: Device = serde_json::from_str("{}").unwrap();
        assert!(old.is_sound() && old.has_piv(), "a file of before has the factory's settings");
        assert!(!serde_json::from_str::<Device>("{\"usb_enabled\":512}").unwrap().is_sound());
        assert!(!serde_json::from_str::<Device>("{\"lock\":\"00\"}").unwrap().is_sound());
    }
}
