//! A generic PIV card that owes nothing to Keyward: Nitrokey's `piv-authenticator` with storage in memory, in the
//! virtual reader of a vpcd.
//!
//! `nitrokey-card PORT` connects to the vpcd that listens on loopback port PORT and answers until that goes away.
//! Every start is a new card with the factory's PIN, PUK and management key. Its random numbers come from a fixed seed
//! (trussed's `virt`): for tests, and for nothing else.
//!
//! RSA keys are left out; Keyward makes none.

mod platform;

use std::{
    collections::VecDeque,
    io::ErrorKind,
    net::{Ipv4Addr, SocketAddr},
    process::ExitCode,
};

use apdu_app::App;
use iso7816::{Interface, Status, command::CommandView};
use piv_authenticator::{Authenticator, Client, Options};

/// The longest answer of the applet: an object of 3,052 bytes with framing.
const ANSWER: usize = 3072;
/// The most bytes in the answer to one short APDU.
const PART: usize = 256;

fn main() -> ExitCode {
    let Some(port) = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok()) else {
        eprintln!("usage: nitrokey-card PORT");
        return ExitCode::from(2);
    };
    let ended = platform::with_client(|client| {
        let piv = Authenticator::new(client, Options::new());
        let mut card = Card { piv, selected: false, parts: Vec::new(), rest: VecDeque::new() };
        vpicc::connect_socket(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?.run(&mut card)
    });
    match ended {
        // vpcd went away: the test has ended.
        Err(error)
            if error.kind() != ErrorKind::UnexpectedEof && error.kind() != ErrorKind::ConnectionReset =>
        {
            eprintln!("nitrokey-card: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The card between reader and applet: selection, command chaining and GET RESPONSE (ISO/IEC 7816-4), which on
/// Nitrokey's hardware are the work of its dispatcher.
struct Card<C: Client> {
    piv: Authenticator<C>,
    selected: bool,
    /// The data of a chained command whose last part has not come.
    parts: Vec<u8>,
    /// What of an answer is still to be fetched.
    rest: VecDeque<u8>,
}

impl<C: Client> vpicc::VSmartCard for Card<C> {
    fn power_on(&mut self) {
        self.reset();
    }

    fn reset(&mut self) {
        self.selected = false;
        self.parts.clear();
        self.rest.clear();
        // The applet forgets the PIN by a command of the standard alone. The management key it remembers until it is
        // switched off, which here is the end of this program.
        let mut reply = heapless::Vec::<u8, ANSWER>::new();
        if let Ok(forget) = CommandView::try_from(&[0x00, 0x20, 0xFF, 0x80][..]) {
            let _ = App::call(&mut self.piv, Interface::Contact, forget, &mut reply);
        }
    }

    fn execute(&mut self, apdu: &[u8]) -> Vec<u8> {
        let status = match self.command(apdu) {
            Ok(()) => return self.answer(),
            Err(status) => u16::from(status),
        };
        status.to_be_bytes().to_vec()
    }
}

impl<C: Client> Card<C> {
    fn command(&mut self, apdu: &[u8]) -> Result<(), Status> {
        let &[cla, ins, p1, p2, ..] = apdu else { return Err(Status::WrongLength) };
        if ins == 0xC0 {
            return if self.rest.is_empty() { Err(Status::ConditionsOfUseNotSatisfied) } else { Ok(()) };
        }
        self.rest.clear();
        let view = CommandView::try_from(apdu).map_err(|_| Status::WrongLength)?;
        if cla & 0x10 != 0 {
            self.parts.extend_from_slice(view.data());
            return Ok(());
        }
        let mut data = std::mem::take(&mut self.parts);
        data.extend_from_slice(view.data());
        // The whole command as one extended APDU, in the form that the applet reads.
        let length = u16::try_from(data.len()).map_err(|_| Status::WrongLength)?;
        let mut whole = vec![cla, ins, p1, p2, 0];
        if length > 0 {
            whole.extend(length.to_be_bytes());
            whole.extend_from_slice(&data);
        }
        whole.extend([0, 0]);
        let view = CommandView::try_from(whole.as_slice()).map_err(|_| Status::WrongLength)?;
        let mut reply = heapless::Vec::<u8, ANSWER>::new();
        if ins == 0xA4 {
            self.selected = p1 == 0x04 && self.is_its_name(&data);
            if !self.selected {
                return Err(Status::NotFound);
            }
            App::select(&mut self.piv, Interface::Contact, view, &mut reply)?;
        } else if self.selected {
            App::call(&mut self.piv, Interface::Contact, view, &mut reply)?;
        } else {
            return Err(Status::InstructionNotSupportedOrInvalid);
        }
        self.rest.extend(reply);
        Ok(())
    }

    /// The applet's name in full or cut off where the applet allows it.
    fn is_its_name(&self, name: &[u8]) -> bool {
        iso7816::App::aid(&self.piv).matches(name)
    }

    /// The next part of the answer with its status word.
    fn answer(&mut self) -> Vec<u8> {
        let mut part: Vec<u8> = self.rest.drain(..self.rest.len().min(PART)).collect();
        match self.rest.len() {
            0 => part.extend([0x90, 0x00]),
            left => part.extend([0x61, u8::try_from(left).unwrap_or(0)]),
        }
        part
    }
}
