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

use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::{
    apdu::Command,
    attest::{self, Attestation},
    firmware::Firmware,
    key::{Algorithm, Key, Origin},
    management_key::{ManagementKey, MgmAlgorithm},
    object::{self, Name, ObjectId},
    pin::{self, Pin, Puk},
    policy::{PinPolicy, TOUCH_CACHE, TouchPolicy},
    slot::Slot,
    state::{Bytes, PivState, State},
    status::Sw,
    tlv::{self, Tlv},
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
            INS_GET_SERIAL => Ok(self.state.serial.to_be_bytes().to_vec()),
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

    /// CHANGE REFERENCE DATA, section 3.2.2: the old value, then the new one.
    fn change_reference(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        if p1 != 0 {
            return Err(Sw::WRONG_P1_P2);
        }
        let (old, new) = data.split_at_checked(8).filter(|(_, new)| new.len() == 8).ok_or(Sw::WRONG_DATA)?;
        *self.changed = true;
        match p2 {
            REFERENCE_PIN => {
                if let Err(status) = self.state.piv.pin.check(old) {
                    self.forget_pin();
                    return Err(status);
                }
                if !pin::is_acceptable(new) {
                    return Err(Sw::WRONG_DATA);
                }
                self.state.piv.pin.set(new);
            }
            REFERENCE_PUK => {
                self.state.piv.puk.check(old)?;
                if !pin::is_acceptable(new) {
                    return Err(Sw::WRONG_DATA);
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
        if !pin::is_acceptable(new) {
            return Err(Sw::WRONG_DATA);
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

    // --- Keys

    /// GENERATE ASYMMETRIC KEY PAIR, section 3.3.2; Yubico's tags AA and AB set the policies.
    fn generate(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.need_management()?;
        if p1 != 0 {
            return Err(Sw::WRONG_P1_P2);
        }
        let slot = Slot::new(p2).ok_or(Sw::WRONG_DATA)?;
        let (template, rest) = tlv::read(data).ok_or(Sw::WRONG_DATA)?;
        if template.tag != 0xAC || !rest.is_empty() {
            return Err(Sw::WRONG_DATA);
        }
        let all = tlv::read_all(template.value).ok_or(Sw::WRONG_DATA)?;
        let &[algorithm] = tlv::find(&all, 0x80).ok_or(Sw::WRONG_DATA)? else { return Err(Sw::WRONG_DATA) };
        let (pin, touch) = policies(&all, slot)?;
        let key = Key::generate(Algorithm::from_byte(algorithm)?, pin, touch)?;
        let answer = tlv::encode(0x7F49, &tlv::encode(0x86, &key.point()?));
        self.state.piv.keys.insert(slot, key);
        *self.changed = true;
        Ok(answer)
    }

    /// IMPORT ASYMMETRIC KEY: the scalar in tag 06.
    fn import(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.need_management()?;
        let algorithm = Algorithm::from_byte(p1)?;
        let slot = Slot::new(p2).ok_or(Sw::WRONG_DATA)?;
        let all = tlv::read_all(data).ok_or(Sw::WRONG_DATA)?;
        let (pin, touch) = policies(&all, slot)?;
        let key = Key::import(algorithm, tlv::find(&all, 0x06).ok_or(Sw::WRONG_DATA)?, pin, touch)?;
        self.state.piv.keys.insert(slot, key);
        *self.changed = true;
        DONE
    }

    /// MOVE KEY: from P2 to P1; to FF means delete. The key keeps its policies and origin.
    fn move_key(&mut self, p1: u8, p2: u8) -> Answer {
        self.need_management()?;
        let from = Slot::new(p2).ok_or(Sw::WRONG_DATA)?;
        let to = match p1 {
            0xFF => None,
            reference => Some(Slot::new(reference).ok_or(Sw::WRONG_DATA)?),
        };
        if to == Some(from) {
            return Err(Sw::WRONG_DATA);
        }
        let key = self.state.piv.keys.remove(&from).ok_or(Sw::NO_REFERENCE)?;
        if let Some(to) = to {
            self.state.piv.keys.insert(to, key);
        }
        *self.changed = true;
        DONE
    }

    /// ATTEST: only keys that were generated here.
    fn attest(&mut self, p1: u8) -> Answer {
        let slot = Slot::new(p1).ok_or(Sw::WRONG_DATA)?;
        let State { attestation, serial, firmware, piv, .. } = &*self.state;
        let key = piv.keys.get(&slot).filter(|key| key.origin == Origin::Generated).ok_or(Sw::WRONG_DATA)?;
        attest::slot_certificate(attestation, *serial, *firmware, slot, key)
    }

    /// GET METADATA: 01 algorithm, 02 policies, 03 origin, 04 public key, 05 factory value, 06 tries.
    fn metadata(&self, p1: u8, p2: u8) -> Answer {
        if p1 != 0 {
            return Err(Sw::WRONG_P1_P2);
        }
        let PivState { pin, puk, management_key, keys, .. } = &self.state.piv;
        let secret = |factory: bool, (left, most): (u8, u8)| {
            let mut out = tlv::encode(0x01, &[0xFF]);
            tlv::write(&mut out, 0x05, &[factory.into()]);
            tlv::write(&mut out, 0x06, &[most, left]);
            out
        };
        match p2 {
            REFERENCE_PIN => Ok(secret(pin.is_factory(), pin.tries())),
            REFERENCE_PUK => Ok(secret(puk.is_factory(), puk.tries())),
            REFERENCE_MANAGEMENT_KEY => {
                let mut out = tlv::encode(0x01, &[management_key.algorithm.byte()]);
                tlv::write(&mut out, 0x02, &[0, management_key.touch_policy.byte()]);
                tlv::write(&mut out, 0x05, &[management_key.is_factory(self.firmware()).into()]);
                Ok(out)
            }
            REFERENCE_ATTESTATION => {
                let Attestation { key, .. } = &self.state.attestation;
                key_metadata(key)
            }
            reference => {
                let key = Slot::new(reference).and_then(|slot| keys.get(&slot));
                key_metadata(key.ok_or(Sw::NO_REFERENCE)?)
            }
        }
    }

    /// GENERAL AUTHENTICATE, section 3.2.4: the management key proves itself, or a private key is used.
    fn general_authenticate(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        let (template, rest) = tlv::read(data).ok_or(Sw::WRONG_DATA)?;
        if template.tag != 0x7C || !rest.is_empty() {
            return Err(Sw::WRONG_DATA);
        }
        let all = tlv::read_all(template.value).ok_or(Sw::WRONG_DATA)?;
        if p2 == REFERENCE_MANAGEMENT_KEY {
            return self.authenticate_management(p1, &all);
        }
        self.use_key(p1, p2, &all)
    }

    fn use_key(&mut self, p1: u8, p2: u8, template: &[Tlv<'_>]) -> Answer {
        let slot = Slot::new(p2).ok_or(Sw::WRONG_DATA)?;
        let key = self.state.piv.keys.get(&slot).ok_or(Sw::WRONG_DATA)?;
        if Algorithm::from_byte(p1)? != key.algorithm {
            return Err(Sw::WRONG_DATA);
        }
        let (challenge, peer) = (tlv::find(template, 0x81), tlv::find(template, 0x85));
        if tlv::find(template, 0x82).is_none_or(|response| !response.is_empty())
            || challenge.is_some() == peer.is_some()
        {
            return Err(Sw::WRONG_DATA);
        }

        let Session { pin_verified, pin_fresh, .. } = *self.session;
        let allowed = match key.pin_policy {
            PinPolicy::Never => true,
            PinPolicy::Once => pin_verified,
            PinPolicy::Always => pin_verified && pin_fresh,
        };
        if !allowed {
            return Err(Sw::SECURITY_STATUS);
        }
        if key.pin_policy == PinPolicy::Always {
            self.session.pin_fresh = false;
        }
        let touch_policy = key.touch_policy;
        self.need_touch(touch_policy)?;

        let key = self.state.piv.keys.get(&slot).ok_or(Sw::WRONG_DATA)?;
        let result = Zeroizing::new(match (challenge, peer) {
            (Some(digest), None) => key.sign(digest)?,
            (None, Some(point)) => key.ecdh(point)?,
            _ => return Err(Sw::WRONG_DATA),
        });
        Ok(tlv::encode(0x7C, &Zeroizing::new(tlv::encode(0x82, &result))))
    }

    fn authenticate_management(&mut self, p1: u8, template: &[Tlv<'_>]) -> Answer {
        let expected = self.session.expected.take();
        let key = &self.state.piv.management_key;
        if MgmAlgorithm::from_byte(p1) != Some(key.algorithm) {
            return Err(Sw::WRONG_DATA);
        }
        let find = |tag| tlv::find(template, tag);
        match (find(0x80), find(0x81), find(0x82), expected) {
            (Some([]), _, _, _) => {
                let witness = key.random_block()?;
                let answer = tlv::encode(0x7C, &tlv::encode(0x80, &key.encrypt(&witness)?));
                self.session.expected = Some(Expected::Witness(witness));
                Ok(answer)
            }
            (Some(witness), Some(challenge), _, Some(Expected::Witness(expected))) => {
                let answer = tlv::encode(0x7C, &tlv::encode(0x82, &key.encrypt(challenge)?));
                self.finish_management(same(witness, &expected))?;
                Ok(answer)
            }
            (None, Some([]), _, _) => {
                let challenge = key.random_block()?;
                self.session.expected = Some(Expected::Response(key.encrypt(&challenge)?));
                Ok(tlv::encode(0x7C, &tlv::encode(0x81, &challenge)))
            }
            (None, None, Some(response), Some(Expected::Response(expected))) => {
                self.finish_management(same(response, &expected))?;
                DONE
            }
            _ => Err(Sw::WRONG_DATA),
        }
    }

    fn finish_management(&mut self, proven: bool) -> Result<(), Sw> {
        self.session.management = false;
        if !proven {
            return Err(Sw::SECURITY_STATUS);
        }
        self.need_touch(self.state.piv.management_key.touch_policy)?;
        self.session.management = true;
        Ok(())
    }

    /// SET MANAGEMENT KEY.
    fn set_management_key(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.need_management()?;
        if p1 != 0xFF {
            return Err(Sw::WRONG_P1_P2);
        }
        self.state.piv.management_key = ManagementKey::from_command(self.firmware(), p2, data)?;
        *self.changed = true;
        DONE
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    subtle::ConstantTimeEq::ct_eq(a, b).into()
}

fn policies(template: &[Tlv<'_>], slot: Slot) -> Result<(PinPolicy, TouchPolicy), Sw> {
    let byte = |tag| match tlv::find(template, tag) {
        None => Ok(0),
        Some(&[byte]) => Ok(byte),
        Some(_) => Err(Sw::WRONG_DATA),
    };
    let pin = PinPolicy::from_byte(byte(0xAA)?, slot.default_pin_policy()).ok_or(Sw::WRONG_DATA)?;
    let touch = TouchPolicy::from_byte(byte(0xAB)?).ok_or(Sw::WRONG_DATA)?;
    Ok((pin, touch))
}

fn key_metadata(key: &Key) -> Answer {
    let mut out = tlv::encode(0x01, &[key.algorithm.byte()]);
    tlv::write(&mut out, 0x02, &[key.pin_policy.byte(), key.touch_policy.byte()]);
    tlv::write(&mut out, 0x03, &[key.origin.byte()]);
    tlv::write(&mut out, 0x04, &tlv::encode(0x86, &key.point()?));
    Ok(out)
}
