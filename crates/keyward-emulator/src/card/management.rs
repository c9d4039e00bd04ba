//! The management applet, read only: what the device is.
//!
//! Yubico's "YubiKey management": SELECT answers a version string, INS 1D reads the configuration as tags.
//! Only PIV is advertised, so that clients do not look for applets that are not there. Nothing can
//! be configured: INS 1C and all others are 6D00.

use super::{apdu::Command, attest::FORM_FACTOR, firmware::Firmware, status::Sw, tlv};

/// INS 1D, READ CONFIG.
const INS_READ_CONFIG: u8 = 0x1D;
/// Capability bit of the PIV applet.
const CAPABILITY_PIV: [u8; 2] = [0x00, 0x10];

/// The answer to SELECT.
pub(crate) fn select(firmware: Firmware) -> Vec<u8> {
    format!("Virtual mgr - FW version {firmware}").into_bytes()
}

/// A command to the selected applet.
pub(crate) fn command(serial: u32, firmware: Firmware, command: &Command) -> Result<Vec<u8>, Sw> {
    match (command.ins, command.p1) {
        (INS_READ_CONFIG, 0) => Ok(device_info(serial, firmware)),
        (INS_READ_CONFIG, _) => Err(Sw::WRONG_P1_P2), // everything is on page 0
        _ => Err(Sw::WRONG_INS),
    }
}

fn device_info(serial: u32, firmware: Firmware) -> Vec<u8> {
    let mut tags = Vec::new();
    let mut put = |tag, value: &[u8]| tlv::write(&mut tags, tag, value);
    put(0x01, &CAPABILITY_PIV); // supported over USB
    put(0x02, &serial.to_be_bytes());
    put(0x03, &CAPABILITY_PIV); // enabled over USB
    put(0x04, &[FORM_FACTOR]);
    put(0x05, &firmware.bytes());
    put(0x06, &[0, 0]); // auto-eject time-out
    put(0x07, &[15]); // challenge-response time-out, seconds
    put(0x08, &[0]); // device flags
    put(0x0A, &[0]); // no configuration lock
    if firmware.has_pin_complexity() {
        put(0x16, &[0]); // PIN complexity is not enforced
        put(0x18, &[0, 0]); // no applet's reset is blocked
    }
    let mut page = vec![u8::try_from(tags.len()).unwrap_or(u8::MAX)];
    page.extend_from_slice(&tags);
    page
}
