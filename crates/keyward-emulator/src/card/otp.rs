//! The OTP applet, as far as PIV clients ask it: status, serial number and device information.
//!
//! Yubico's "OTP: APDU interface". No slot can be programmed here; other commands are 6D00.

use super::{apdu::Command, firmware::Firmware, state::State, status::Sw};

/// INS 01, a command to the OTP unit named by P1.
const INS_REQUEST: u8 = 0x01;
/// INS 03, status.
const INS_STATUS: u8 = 0x03;
/// P1 of the request for the serial number.
const SLOT_DEVICE_SERIAL: u8 = 0x10;
/// P1 of the request for the device information, the first page of the management applet's.
const SLOT_DEVICE_INFO: u8 = 0x13;

/// The answer to SELECT and to INS 03: version, programming sequence and touch level of an empty unit. A YubiKey 4 adds
/// its mode (02, OTP and CCID) and the two time-outs.
pub(crate) fn status(firmware: Firmware) -> Vec<u8> {
    let mut status = firmware.bytes().to_vec();
    status.extend_from_slice(&[0, 0, 0]);
    if !firmware.has_write_config() {
        status.extend_from_slice(&[0x02, 15, 0, 0]);
    }
    status
}

/// A command to the selected applet.
pub(crate) fn command(state: &State, command: &Command) -> Result<Vec<u8>, Sw> {
    match (command.ins, command.p1) {
        (INS_REQUEST, SLOT_DEVICE_SERIAL) => Ok(state.serial.to_be_bytes().to_vec()),
        (INS_REQUEST, SLOT_DEVICE_INFO) => state.device.page(state.serial, state.firmware, 0),
        (INS_STATUS, _) => Ok(status(state.firmware)),
        (INS_REQUEST, _) => Err(Sw::WRONG_DATA),
        _ => Err(Sw::WRONG_INS),
    }
}
