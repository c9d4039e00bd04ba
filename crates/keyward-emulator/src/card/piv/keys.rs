//! Keys in the PIV applet: made, brought, moved, described, attested and used; and the management key's proof.
//!
//! SP 800-73-4 part 2 sections 3.2.4 (GENERAL AUTHENTICATE) and 3.3.2 (GENERATE ASYMMETRIC KEY PAIR); the other commands
//! are Yubico's. What a command asks for (PIN, management key, touch) is its first lines.

use zeroize::Zeroizing;

use super::{
    Answer, DONE, Expected, Piv, REFERENCE_ATTESTATION, REFERENCE_MANAGEMENT_KEY, REFERENCE_PIN,
    REFERENCE_PUK, Session,
};
use crate::card::{
    attest::{self, Attestation},
    key::{Algorithm, Input, Key, Origin},
    management_key::{ManagementKey, MgmAlgorithm},
    policy::{PinPolicy, TouchPolicy},
    slot::Slot,
    state::{PivState, State},
    status::Sw,
    tlv::{self, Tlv},
};

impl Piv<'_> {
    /// The algorithm of this number, if the firmware has it.
    fn algorithm(&self, byte: u8) -> Result<Algorithm, Sw> {
        Algorithm::from_byte(byte).filter(|&algorithm| self.firmware().has(algorithm)).ok_or(Sw::WRONG_DATA)
    }

    /// GENERATE ASYMMETRIC KEY PAIR, section 3.3.2; Yubico's tags AA and AB set the policies.
    pub(super) fn generate(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
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
        let key = Key::generate(self.algorithm(algorithm)?, pin, touch)?;
        let answer = tlv::encode(0x7F49, &key.public()?.template());
        self.state.piv.keys.insert(slot, key);
        *self.changed = true;
        Ok(answer)
    }

    /// IMPORT ASYMMETRIC KEY: 01 to 05 for RSA, 06 a scalar, 07 Ed25519, 08 X25519.
    pub(super) fn import(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
        self.need_management()?;
        let algorithm = self.algorithm(p1)?;
        let slot = Slot::new(p2).ok_or(Sw::WRONG_DATA)?;
        let all = tlv::read_all(data).ok_or(Sw::WRONG_DATA)?;
        let (pin, touch) = policies(&all, slot)?;
        let key = Key::import(algorithm, &all, pin, touch)?;
        self.state.piv.keys.insert(slot, key);
        *self.changed = true;
        DONE
    }

    /// MOVE KEY: from P2 to P1; to FF means delete. The key keeps its policies and origin.
    pub(super) fn move_key(&mut self, p1: u8, p2: u8) -> Answer {
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
    pub(super) fn attest(&mut self, p1: u8) -> Answer {
        let slot = Slot::new(p1).ok_or(Sw::WRONG_DATA)?;
        let State { attestation, serial, firmware, piv, .. } = &*self.state;
        let key = piv.keys.get(&slot).filter(|key| key.origin == Origin::Generated).ok_or(Sw::WRONG_DATA)?;
        attest::slot_certificate(attestation, *serial, *firmware, slot, key)
    }

    /// GET METADATA: 01 algorithm, 02 policies, 03 origin, 04 public key, 05 factory value, 06 tries.
    pub(super) fn metadata(&self, p1: u8, p2: u8) -> Answer {
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
    pub(super) fn general_authenticate(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
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
        if p1 != key.algorithm.byte() || tlv::find(template, 0x82) != Some(&[]) {
            return Err(Sw::WRONG_DATA);
        }
        let input = match (tlv::find(template, 0x81), tlv::find(template, 0x85)) {
            (Some(challenge), None) => Input::Challenge(challenge),
            (None, Some(peer)) => Input::Peer(peer),
            _ => return Err(Sw::WRONG_DATA),
        };

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
        let result = key.compute(input)?;
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
    pub(super) fn set_management_key(&mut self, p1: u8, p2: u8, data: &[u8]) -> Answer {
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
    tlv::write(&mut out, 0x04, &key.public()?.template());
    Ok(out)
}
