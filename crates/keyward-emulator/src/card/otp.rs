//! The OTP applet, as far as PIV clients ask it: status and serial number.
//!
//! Yubico's "OTP: APDU interface". No slot can be programmed here; other commands are 6D00.

use super::{apdu::Command, firmware::Firmware, status::Sw};

/// INS 01, a command to the OTP unit named by P1.
const INS_REQUEST: u8 = 0x01;
/// INS 03, status.
const INS_STATUS: u8 = 0x03;
/// P1 of the request for the serial number.
const SLOT_DEVICE_SERIAL: u8 = 0x10;

/// The answer to SELECT and to INS 03: version, programming sequence and touch level of an empty unit.
pub(crate) fn status(firmware: Firmware) -> Vec<u8> {
    let [major, minor, patch] = firmware.bytes();
    vec![major, minor, patch, 0, 0, 0]
}

/// A command to the selected applet.
pub(crate) fn command(serial: u32, firmware: Firmware, command: &Command) -> Result<Vec<u8>, Sw> {
    match (command.ins, command.p1) {
        (INS_REQUEST, SLOT_DEVICE_SERIAL) => Ok(serial.to_be_bytes().to_vec()),
        (INS_STATUS, _) => Ok(status(firmware)),
        (INS_REQUEST, _) => Err(Sw::WRONG_DATA),
        _ => Err(Sw::WRONG_INS),
    }
}
