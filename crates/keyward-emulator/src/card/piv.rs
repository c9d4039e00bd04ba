//! The PIV applet: SP 800-73-4 part 2 section 3, and Yubico's extensions to it.
//!
//! Each command is one function; what it asks for (PIN, management key, touch) is its first lines.
//! A session lives from power-on to reset or to the selection of another applet. Selecting PIV again keeps it.
//!
//! What a PIN policy `always` does here: VERIFY sets two marks, "verified" and "fresh". A private-key
//! operation under `always` needs both and takes "fresh" away, whether or not the touch follows. "Verified" stays, so
//! keys with policy `once` and the PIN-guarded objects go on working. Yubico's documents demand the PIN
//! "before every operation that uses the key" and say nothing of other rights, so a client must also cope with a card
//! that takes both.

mod keys;

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{
    apdu::Command,
    firmware::Firmware,
    object::{self, Name, ObjectId},
    pin::{self, Pin, Puk},
    policy::{TOUCH_CACHE, TouchPolicy},
    state::{Bytes, PivState, State},
    status::Sw,
    tlv,
};
use crate::touch::Finger;

/// SELECT's answer: application property template, SP 800-73-4 part 2 table 3.
const PROPERTIES: &[u8] = &[
    0x61, 0x11, 0x4F, 0x06, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00, 0x79, 0x07, 0x4F, 0x05, 0xA0, 0x00, 0x00,
    0x03, 0x08,
];

const INS_VERIFY: u8 = 0x20;
const INS_CHANGE_REFERENCE: u8 = 0x24;
const INS_RESET_RETRY: u8 = 0x2C;
const INS_GENERATE: u8 = 0x47;
const INS_GENERAL_AUTHENTICATE: u8 = 0x87;
const INS_GET_DATA: u8 = 0xCB;
const INS_PUT_DATA: u8 = 0xDB;
const INS_MOVE_KEY: u8 = 0xF6; // Yubico, as are all below
const INS_GET_METADATA: u8 = 0xF7;
const INS_GET_SERIAL: u8 = 0xF8;
const INS_ATTEST: u8 = 0xF9;
const INS_SET_PIN_RETRIES: u8 = 0xFA;
const INS_RESET: u8 = 0xFB;
const INS_GET_VERSION: u8 = 0xFD;
const INS_IMPORT_KEY: u8 = 0xFE;
const INS_SET_MANAGEMENT_KEY: u8 = 0xFF;

const REFERENCE_PIN: u8 = 0x80;
const REFERENCE_PUK: u8 = 0x81;
const REFERENCE_MANAGEMENT_KEY: u8 = 0x9B;
const REFERENCE_ATTESTATION: u8 = 0xF9;

/// What has been shown to the card since power-on.
#[derive(Default)]
pub(crate) struct Session {
    pin_verified: bool,
    pin_fresh: bool,
    management: bool,
    expected: Option<Expected>,
    touched: Option<Instant>,
}

/// What the next GENERAL AUTHENTICATE to 9B has to bring.
enum Expected {
    /// The witness, decrypted.
    Witness(Zeroizing<Vec<u8>>),
    /// The encryption of the card's challenge.
    Response(Vec<u8>),
}

/// The applet at work on one command.
pub(crate) struct Piv<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) session: &'a mut Session,
    pub(crate) changed: &'a mut bool,
    pub(crate) finger: &'a mut Finger,
    pub(crate) now: Instant,
}

/// The answer to SELECT.
pub(crate) fn select() -> Vec<u8> {
    PROPERTIES.to_vec()
}

type Answer = Result<Vec<u8>, Sw>;
const DONE: Answer = Ok(Vec::new());

impl Piv<'_> {
    /// Runs one command.
    pub(crate) fn command(&mut self, command: &Command) -> Answer {
        let Command { ins, p1, p2, ref data, .. } = *command;
        match ins {
            INS_VERIFY => self.verify(p1, p2, data),
            INS_CHANGE_REFERENCE => self.change_reference(p1, p2, data),
            INS_RESET_RETRY => self.reset_retry(p1, p2, data),
            INS_GENERATE => self.generate(p1, p2, data),
            INS_GENERAL_AUTHENTICATE => self.general_authenticate(p1, p2, data),
            INS_GET_DATA => self.read_data(p1, p2, data),
            INS_PUT_DATA => self.put_data(p1, p2, data),
            INS_MOVE_KEY if self.firmware().has_move_key() => self.move_key(p1, p2),
            INS_GET_METADATA if self.firmware().has_metadata() => self.metadata(p1, p2),
            INS_GET_SERIAL if self.firmware().has_serial() => Ok(self.state.serial.to_be_bytes().to_vec()),
            INS_ATTEST => self.attest(p1),
            INS_SET_PIN_RETRIES => self.set_pin_retries(p1, p2),
            INS_RESET => self.reset(),
            INS_GET_VERSION => Ok(self.firmware().bytes().to_vec()),
            INS_IMPORT_KEY => self.import(p1, p2, data),
            INS_SET_MANAGEMENT_KEY => self.set_management_key(p1, p2, data),
            _ => Err(Sw::WRONG_INS),
        }
    }

    fn firmware(&self) -> Firmware {
        self.state.firmware
    }

    fn need_management(&self) -> Result<(), Sw> {
        if self.session.management { Ok(()) } else { Err(Sw::SECURITY_STATUS) }
    }

    /// Waits for the finger, if the policy wants it.
    fn need_touch(&mut self, policy: TouchPolicy) -> Result<(), Sw> {
        let recent =
            self.session.touched.is_some_and(|at| self.now.saturating_duration_since(at) < TOUCH_CACHE);
        match policy {
            TouchPolicy::Never => Ok(()),
            TouchPolicy::Cached if recent => Ok(()),
            _ => {
                let asked = Instant::now();
                if !self.finger.touches() {
                    return Err(Sw::SECURITY_STATUS);
                }
                // The wait itself may have taken seconds.
                self.session.touched = self.now.checked_add(Duration::from_secs(asked.elapsed().as_secs()));
                Ok(())
            }
        }
    }

    // --- PIN and PUK

    /// VERIFY, section 3.2.1; without data it asks how things stand, with P1 FF it takes the verification back.
    fn verify(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        if p2 != REFERENCE_PIN {
            return Err(Sw::NO_REFERENCE);
        }
        match (p1, data) {
            (0xFF, []) => {
                self.forget_pin();
                DONE
            }
            (0x00, []) if self.session.pin_verified => DONE,
            (0x00, []) => match self.state.piv.pin.tries() {
                (0, _) => Err(Sw::BLOCKED),
                (left, _) => Err(Sw::tries_left(left)),
            },
            (0x00, data) if data.len() == 8 => {
                self.forget_pin();
                let (before, _) = self.state.piv.pin.tries();
                let result = self.state.piv.pin.check(data);
                *self.changed |= self.state.piv.pin.tries().0 != before;
                result?;
                self.session.pin_verified = true;
                self.session.pin_fresh = true;
                DONE
            }
            (0x00, _) => Err(Sw::WRONG_DATA),
            _ => Err(Sw::WRONG_P1_P2),
        }
    }

    fn forget_pin(&mut self) {
        self.session.pin_verified = false;
        self.session.pin_fresh = false;
    }

    /// CHANGE REFERENCE DATA, section 3.2.2: the old value, then the new one. A new one of another form is 6985.
    fn change_reference(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        if p1 != 0 {
            return Err(Sw::NO_REFERENCE);
        }
        let (old, new) = data.split_at_checked(8).filter(|(_, new)| new.len() == 8).ok_or(Sw::WRONG_DATA)?;
        *self.changed = true;
        match p2 {
            REFERENCE_PIN => {
                if let Err(status) = self.state.piv.pin.check(old) {
                    self.forget_pin();
                    return Err(status);
                }
                if !pin::is_pin(new) {
                    return Err(Sw::CONDITIONS);
                }
                self.state.piv.pin.set(new);
            }
            REFERENCE_PUK => {
                self.state.piv.puk.check(old)?;
                if !pin::is_puk(new, self.firmware()) {
                    return Err(Sw::CONDITIONS);
                }
                self.state.piv.puk.set(new);
            }
            _ => {
                *self.changed = false;
                return Err(Sw::NO_REFERENCE);
            }
        }
        DONE
    }

    /// RESET RETRY COUNTER, section 3.2.3: the PUK, then the new PIN.
    fn reset_retry(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        if p1 != 0 {
            return Err(Sw::WRONG_P1_P2);
        }
        if p2 != REFERENCE_PIN {
            return Err(Sw::NO_REFERENCE);
        }
        let (puk, new) = data.split_at_checked(8).filter(|(_, new)| new.len() == 8).ok_or(Sw::WRONG_DATA)?;
        *self.changed = true;
        self.state.piv.puk.check(puk)?;
        if !pin::is_pin(new) {
            return Err(Sw::CONDITIONS);
        }
        self.state.piv.pin.set(new);
        DONE
    }

    /// SET PIN RETRIES: PIN and PUK go back to the factory's, with new tries.
    fn set_pin_retries(&mut self, pin_tries: u8, puk_tries: u8) -> Answer {
        self.need_management()?;
        if !self.session.pin_verified {
            return Err(Sw::SECURITY_STATUS);
        }
        if pin_tries == 0 || puk_tries == 0 {
            return Err(Sw::WRONG_P1_P2);
        }
        self.state.piv.pin = Pin::with_tries(pin_tries);
        self.state.piv.puk = Puk::with_tries(puk_tries);
        *self.changed = true;
        self.forget_pin();
        DONE
    }

    /// RESET: to the factory's state, only once PIN and PUK are both blocked.
    fn reset(&mut self) -> Answer {
        if self.state.piv.pin.tries().0 > 0 || self.state.piv.puk.tries().0 > 0 {
            return Err(Sw::CONDITIONS);
        }
        self.state.piv = PivState::factory(self.firmware());
        *self.session = Session::default();
        *self.changed = true;
        DONE
    }

    // --- Objects

    /// GET DATA, section 3.1.2.
    fn read_data(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        if (p1, p2) != (0x3F, 0xFF) {
            return Err(Sw::WRONG_P1_P2);
        }
        let all = tlv::read_all(data).ok_or(Sw::WRONG_DATA)?;
        match object::name(tlv::find(&all, 0x5C).ok_or(Sw::WRONG_DATA)?)? {
            Name::Discovery => Ok(object::discovery()),
            Name::Object(id) if id.needs_pin() && !self.session.pin_verified => Err(Sw::SECURITY_STATUS),
            Name::Object(ObjectId::ATTESTATION) => {
                // As any certificate object, SP 800-73-4 part 1 table 10: certificate, CertInfo, error detection.
                let mut content = tlv::encode(0x70, &self.state.attestation.certificate.0);
                tlv::write(&mut content, 0x71, &[0]);
                tlv::write(&mut content, 0xFE, &[]);
                Ok(tlv::encode(0x53, &content))
            }
            Name::Object(id) => {
                let content = self.state.piv.objects.get(&id).ok_or(Sw::NOT_FOUND)?;
                Ok(tlv::encode(0x53, &content.0))
            }
        }
    }

    /// PUT DATA, section 3.3.1; an empty content deletes the object.
    fn put_data(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.need_management()?;
        if (p1, p2) != (0x3F, 0xFF) {
            return Err(Sw::WRONG_P1_P2);
        }
        let (id, content) = object::parse_put(data)?;
        if content.is_empty() {
            self.state.piv.objects.remove(&id);
        } else {
            self.state.piv.objects.insert(id, Bytes(content.to_vec()));
        }
        *self.changed = true;
        DONE
    }
}
