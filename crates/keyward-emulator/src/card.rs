//! The card: bytes in, bytes out, nothing else.
//!
//! It does no I/O, knows no socket and no file, and waits for nobody. Who drives it writes its state down
//! when [`Card::take_changed`] says so, before passing the answer on. Rooms:
//!
//! ```text
//! apdu     lengths, chaining, GET RESPONSE          tlv, status   notation
//! piv      the applet; uses pin, key, object, management_key, policy, slot, attest
//! management, otp   what clients ask besides        state         what survives power-off
//! ```

pub(crate) mod apdu;
pub(crate) mod attest;
pub(crate) mod firmware;
pub(crate) mod key;
pub(crate) mod management;
pub(crate) mod management_key;
pub(crate) mod object;
pub(crate) mod otp;
pub(crate) mod pin;
pub(crate) mod piv;
pub(crate) mod policy;
pub(crate) mod slot;
pub(crate) mod state;
pub(crate) mod status;
pub(crate) mod tlv;

use std::{fmt, time::Instant};

use zeroize::Zeroizing;

use self::{
    apdu::{Channel, Command, Incoming},
    firmware::Firmware,
    piv::Piv,
    state::State,
    status::Sw,
};
use crate::{
    Result,
    touch::{Finger, Touch},
};

/// SELECT, ISO/IEC 7816-4 section 7.1.1.
const INS_SELECT: u8 = 0xA4;

/// The applets and their full AIDs; clients may cut an AID at its right end.
const APPLETS: [(Applet, usize, &[u8]); 3] = [
    (Applet::Piv, 5, &[0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00]),
    (Applet::Management, 8, &[0xA0, 0x00, 0x00, 0x05, 0x27, 0x47, 0x11, 0x17]),
    (Applet::Otp, 7, &[0xA0, 0x00, 0x00, 0x05, 0x27, 0x20, 0x01, 0x01]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Applet {
    Piv,
    Management,
    Otp,
}

/// A virtual YubiKey.
pub struct Card {
    state: State,
    channel: Channel,
    selected: Option<Applet>,
    session: piv::Session,
    finger: Finger,
    changed: bool,
    reboot: bool,
}

impl Card {
    /// A token as it leaves the factory: PIN 123456, PUK 12345678, the well-known management key,
    /// and an attestation key of its own under the test root.
    ///
    /// # Errors
    /// Fails if the system gives no random bytes.
    pub fn new(serial: u32, firmware: Firmware) -> Result<Self> {
        Ok(Self::with_state(State::factory(serial, firmware)?))
    }

    /// A token from the content of a token file.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) names what in it is not sound.
    pub fn from_json(json: &[u8]) -> Result<Self> {
        Ok(Self::with_state(State::from_json(json)?))
    }

    fn with_state(state: State) -> Self {
        Self {
            state,
            channel: Channel::default(),
            selected: None,
            session: piv::Session::default(),
            finger: Finger::default(),
            changed: false,
            reboot: false,
        }
    }

    /// The content of a token file; it holds the private keys of this test token.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) if it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Zeroizing<Vec<u8>>> {
        self.state.to_json()
    }

    /// The serial number.
    pub fn serial(&self) -> u32 {
        self.state.serial
    }

    /// The firmware version.
    pub fn firmware(&self) -> Firmware {
        self.state.firmware
    }

    /// What happens when a key wants a touch: at once with [`Touch::Auto`]; every other way ends as a time-out, since
    /// nobody stands beside a bare card. [`Card::on_touch`] puts somebody there.
    pub fn set_touch(&mut self, touch: Touch) {
        self.finger = Finger::new(move || touch == Touch::Auto);
    }

    /// Asks this whenever a key wants a touch; it may take its time. False is a time-out.
    pub fn on_touch(&mut self, finger: impl FnMut() -> bool + Send + 'static) {
        self.finger = Finger::new(finger);
    }

    /// Takes the finger off, to put it on a card that replaces this one.
    pub(crate) fn take_finger(&mut self) -> Finger {
        std::mem::take(&mut self.finger)
    }

    /// Puts on a finger that was taken off.
    pub(crate) fn put_finger(&mut self, finger: Finger) {
        self.finger = finger;
    }

    /// Whether the state has changed since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether the card wants to be pulled out and plugged in again, since this was last asked: its configuration
    /// was changed so. The answer goes out first.
    pub fn take_reboot(&mut self) -> bool {
        std::mem::take(&mut self.reboot)
    }

    /// Power off and on, or a reset: selection, verifications and half-done exchanges are gone.
    pub fn power_cycle(&mut self) {
        self.channel.clear();
        self.selected = None;
        self.session = piv::Session::default();
    }

    /// Answers one APDU with data and a status word; any bytes may come.
    pub fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        self.transmit_at(apdu, Instant::now())
    }

    /// As [`Card::transmit`], at a given time: cached touches run out after 15 seconds.
    pub fn transmit_at(&mut self, apdu: &[u8], now: Instant) -> Vec<u8> {
        let command = match self.channel.receive(apdu) {
            Incoming::Answered(answer) => return answer,
            Incoming::Command(command) => command,
        };
        let result = self.run(&command, now);
        self.channel.respond(&command, result)
    }

    fn run(&mut self, command: &Command, now: Instant) -> std::result::Result<Vec<u8>, Sw> {
        if command.ins == INS_SELECT {
            return self.select(command);
        }
        match self.selected {
            None => Err(Sw::WRONG_INS),
            Some(Applet::Management) => {
                management::command(&mut self.state, command, &mut self.changed, &mut self.reboot)
            }
            Some(Applet::Otp) => otp::command(&self.state, command),
            Some(Applet::Piv) => Piv {
                state: &mut self.state,
                session: &mut self.session,
                changed: &mut self.changed,
                finger: &mut self.finger,
                now,
            }
            .command(command),
        }
    }

    /// SELECT by name. An unknown one leaves the selection as it is; another applet ends the PIV session.
    fn select(&mut self, command: &Command) -> std::result::Result<Vec<u8>, Sw> {
        if (command.p1, command.p2) != (0x04, 0x00) {
            return Err(Sw::WRONG_P1_P2);
        }
        let known = APPLETS
            .iter()
            .find(|(_, shortest, aid)| command.data.len() >= *shortest && aid.starts_with(&command.data));
        let enabled = |applet| match applet {
            Applet::Piv => self.state.device.has_piv(),
            Applet::Otp => self.state.device.has_otp(),
            Applet::Management => true,
        };
        let &(applet, ..) = known.filter(|(applet, ..)| enabled(*applet)).ok_or(Sw::NOT_FOUND)?;
        if self.selected != Some(applet) {
            self.session = piv::Session::default();
        }
        self.selected = Some(applet);
        Ok(match applet {
            Applet::Piv => piv::select(),
            Applet::Management => management::select(self.state.firmware),
            Applet::Otp => otp::status(self.state.firmware),
        })
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card")
            .field("serial", &self.state.serial)
            .field("firmware", &self.state.firmware)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
