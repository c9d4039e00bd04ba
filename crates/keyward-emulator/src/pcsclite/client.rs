//! One client's conversation: a thread that reads requests and answers each.
//!
//! What pcscd answers with a closed socket (a wrong length, an unknown command, another client's handle)
//! is answered with a closed socket here. When the socket ends, by whichever side, everything of the client is given back.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{Mutex, PoisonError},
};

use zeroize::Zeroizing;

use super::wire::{self, Command, MAX_BUFFER, Message, PROTOCOL_T1};
use crate::readers::{ATR, ClientId, Code, Disposition, MAX_READERS, Readers, Share};

/// Versions of the protocol that are spoken: 4.4 to 4.6, the client's own.
const MAJOR: u32 = 4;
const MINORS: std::ops::RangeInclusive<u32> = 4..=6;

/// Protocols that a client may name beside T=1: the card's own, whichever it is.
const PROTOCOL_RAW: u32 = 4;
const PROTOCOL_ANY_OLD: u32 = 0x1000;

const ATTRIBUTE_VENDOR_NAME: u32 = 0x0001_0100;
const ATTRIBUTE_ATR: u32 = 0x0009_0303;
const ATTRIBUTE_FRIENDLY_NAME: u32 = 0x7FFF_0003;
const ATTRIBUTE_SYSTEM_NAME: u32 = 0x7FFF_0005;
/// Room for an attribute in its message.
const ATTRIBUTE_ROOM: usize = 264;

/// The writing side of a client's socket: its own thread and those who announce changes share it.
pub(crate) struct Writer(Mutex<UnixStream>);

impl Writer {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self(Mutex::new(stream))
    }

    /// Sends bytes; a client that is gone is noticed by its own thread.
    pub(crate) fn send(&self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(bytes)
    }

    /// Sends what `make` gives; nobody else can send between its making and its sending.
    fn send_in_order(&self, make: impl FnOnce() -> Vec<u8>) -> std::io::Result<()> {
        let mut stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = make();
        stream.write_all(&bytes)
    }

    /// Ends the conversation.
    pub(crate) fn shut_down(&self) {
        let stream = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = stream.shutdown(std::net::Shutdown::Both); // it may be closed already, which is what is wanted
    }
}

/// A connected client.
pub(crate) struct Client<'a> {
    pub(crate) id: ClientId,
    pub(crate) readers: &'a Readers,
    pub(crate) stream: UnixStream,
    pub(crate) writer: &'a Writer,
    minor: u32,
}

/// Why a conversation ends: the socket, or a request that pcscd would not answer either.
struct Hangup;

impl From<std::io::Error> for Hangup {
    fn from(_: std::io::Error) -> Self {
        Hangup
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(id: ClientId, readers: &'a Readers, stream: UnixStream, writer: &'a Writer) -> Self {
        Self { id, readers, stream, writer, minor: *MINORS.start() }
    }

    /// Answers until the conversation ends, then gives everything back.
    pub(crate) fn serve(mut self) {
        while let Ok(()) = self.answer_one() {}
        self.readers.client_gone(self.id);
        self.writer.shut_down();
    }

    fn read(&mut self, length: usize) -> Result<Vec<u8>, Hangup> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn answer_one(&mut self) -> Result<(), Hangup> {
        let mut header = [0; wire::HEADER];
        self.stream.read_exact(&mut header)?;
        let (command, length) = wire::header(header).ok_or(Hangup)?;
        let mut message = Message::new(self.read(length)?);
        match command {
            Command::Version => {
                let (major, minor) = (message.u32(0), message.u32(4));
                let known = major == MAJOR && MINORS.contains(&minor);
                if known {
                    self.minor = minor;
                } else {
                    message.set(0, MAJOR);
                    message.set(4, *MINORS.end());
                }
                message.set(8, if known { Code::SUCCESS } else { Code::SERVICE_STOPPED }.0);
            }
            Command::EstablishContext => {
                let result = self.readers.establish(self.id);
                message.set(4, result.unwrap_or(0));
                message.set(8, code(result));
            }
            Command::ReleaseContext => message.set(4, code(self.readers.release(self.id, message.u32(0)))),
            Command::Cancel => message.set(4, code(self.readers.cancel(message.u32(0)))),
            Command::Connect => {
                let result = self.connect(&message);
                message.set(140, result.unwrap_or(0).cast_unsigned());
                message.set(144, if result.is_ok() { PROTOCOL_T1 } else { 0 });
                message.set(148, code(result));
            }
            Command::ReaderStates | Command::ReaderStatesArray => {
                return Ok(self.writer.send(&wire::reader_states(&self.readers.view()))?);
            }
            Command::ReaderStatesSize => {
                return Ok(self.writer.send(&u32::try_from(MAX_READERS).unwrap_or(0).to_ne_bytes())?);
            }
            Command::ReaderEvents => {
                let events = [self.readers.events().to_ne_bytes(), Code::SUCCESS.0.to_ne_bytes()].concat();
                return Ok(self.writer.send(&events)?);
            }
            Command::WaitForChange => {
                // Up to 4.5 the states come at once; 4.6 asks for them itself.
                return Ok(self.writer.send_in_order(|| {
                    let states = self.readers.wait(self.id);
                    if self.minor < 6 { wire::reader_states(&states) } else { Vec::new() }
                })?);
            }
            Command::StopWaiting => {
                return match self.readers.stop_waiting(self.id) {
                    true => Ok(self.writer.send(&wire::wait_over(Code::SUCCESS))?),
                    false => Ok(()), // the announcement is on its way
                };
            }
            _ => {
                let handle = message.i32(0);
                if !self.readers.owns(self.id, handle) {
                    return Err(Hangup);
                }
                return self.answer_for_handle(command, handle, message);
            }
        }
        Ok(self.writer.send(&message.into_bytes())?)
    }

    fn answer_for_handle(
        &mut self,
        command: Command,
        handle: i32,
        mut message: Message,
    ) -> Result<(), Hangup> {
        let (id, readers) = (self.id, self.readers);
        match command {
            Command::Reconnect => {
                let result = share(message.u32(4)).and_then(|share| {
                    protocol(share, message.u32(8))?;
                    readers.reconnect(id, handle, share, initialization(message.u32(12))?)
                });
                message.set(16, if result.is_ok() { PROTOCOL_T1 } else { 0 });
                message.set(20, code(result));
            }
            Command::Disconnect => {
                let result =
                    disposition(message.u32(4)).and_then(|what| readers.disconnect(id, handle, what));
                message.set(8, code(result));
            }
            Command::BeginTransaction => message.set(4, code(readers.begin(id, handle))),
            Command::EndTransaction => {
                let result = disposition(message.u32(4)).and_then(|what| readers.end(id, handle, what));
                message.set(8, code(result));
            }
            Command::Status => message.set(4, code(readers.status(id, handle))),
            Command::Transmit => return self.transmit(handle, message),
            Command::Control => {
                // A YubiKey's reader has no control codes beyond CCID's own, which clients do without.
                let length = message.u32(8);
                self.skip(length)?;
                message.set(16, 0);
                message.set(20, Code::UNSUPPORTED_FEATURE.0);
            }
            Command::GetAttribute => {
                if message.u32(272) > 264 {
                    return Err(Hangup);
                }
                let result = self.attribute(handle, message.u32(4), message.u32(272));
                match result {
                    Ok(value) => {
                        message.set_bytes(8, &value);
                        message.set(272, u32::try_from(value.len()).unwrap_or(0));
                        message.set(276, Code::SUCCESS.0);
                    }
                    Err(code) => message.set(276, code.0),
                }
            }
            Command::SetAttribute => {
                if message.u32(272) > 264 {
                    return Err(Hangup);
                }
                message.set(276, Code::UNSUPPORTED_FEATURE.0);
            }
            _ => return Err(Hangup),
        }
        Ok(self.writer.send(&message.into_bytes())?)
    }

    fn connect(&self, message: &Message) -> Result<i32, Code> {
        let share = share(message.u32(132))?;
        protocol(share, message.u32(136))?;
        let name = message.text(4, 128).ok_or(Code::UNKNOWN_READER)?;
        self.readers.connect(self.id, message.u32(0), name, share)
    }

    fn transmit(&mut self, handle: i32, mut message: Message) -> Result<(), Hangup> {
        let (length, room) = (message.u32(12), message.u32(24));
        if length > MAX_BUFFER {
            return Err(Hangup);
        }
        let apdu = Zeroizing::new(self.read(usize::try_from(length).map_err(|_| Hangup)?)?);
        let result = match (room, message.u32(4)) {
            (..2, _) => Err(Code::INSUFFICIENT_BUFFER), // no room for a status word
            (_, PROTOCOL_T1 | PROTOCOL_RAW | PROTOCOL_ANY_OLD) => {
                self.readers.transmit(self.id, handle, &apdu).map(Zeroizing::new)
            }
            _ => Err(Code::PROTO_MISMATCH),
        };
        let answered = result.as_ref().map_or(0, |answer| u32::try_from(answer.len()).unwrap_or(u32::MAX));
        let result = if answered > room { Err(Code::INSUFFICIENT_BUFFER) } else { result };
        message.set(16, PROTOCOL_T1);
        message.set(24, answered);
        message.set(28, result.as_ref().map_or_else(|code| code.0, |_| Code::SUCCESS.0));
        let mut bytes = Zeroizing::new(message.into_bytes());
        if let Ok(answer) = &result {
            bytes.extend_from_slice(answer);
        }
        Ok(self.writer.send(&bytes)?)
    }

    fn skip(&mut self, length: u32) -> Result<(), Hangup> {
        if length > MAX_BUFFER {
            return Err(Hangup);
        }
        self.read(usize::try_from(length).map_err(|_| Hangup)?)?;
        Ok(())
    }

    fn attribute(&self, handle: i32, attribute: u32, room: u32) -> Result<Vec<u8>, Code> {
        let name = self.readers.name_of(self.id, handle)?;
        let with_nul = |text: &str| [text.as_bytes(), &[0]].concat();
        let value = match attribute {
            ATTRIBUTE_ATR => ATR.to_vec(),
            ATTRIBUTE_VENDOR_NAME => with_nul("Yubico"),
            ATTRIBUTE_FRIENDLY_NAME | ATTRIBUTE_SYSTEM_NAME => with_nul(&name),
            _ => return Err(Code::UNSUPPORTED_FEATURE),
        };
        let room = usize::try_from(room).unwrap_or(0).min(ATTRIBUTE_ROOM);
        if value.len() > room { Err(Code::INSUFFICIENT_BUFFER) } else { Ok(value) }
    }
}

fn code<T>(result: Result<T, Code>) -> u32 {
    match result {
        Ok(_) => Code::SUCCESS.0,
        Err(code) => code.0,
    }
}

fn share(mode: u32) -> Result<Share, Code> {
    match mode {
        1 => Ok(Share::Exclusive),
        2 => Ok(Share::Shared),
        3 => Ok(Share::Direct),
        _ => Err(Code::INVALID_VALUE),
    }
}

/// T=1 must be among the protocols asked for, or "any", except for a direct connection.
fn protocol(share: Share, protocols: u32) -> Result<(), Code> {
    if share == Share::Direct || protocols & (PROTOCOL_T1 | PROTOCOL_ANY_OLD) != 0 {
        Ok(())
    } else {
        Err(Code::PROTO_MISMATCH)
    }
}

fn disposition(number: u32) -> Result<Disposition, Code> {
    match number {
        0 => Ok(Disposition::Leave),
        1 => Ok(Disposition::Reset),
        2 => Ok(Disposition::Unpower),
        3 => Ok(Disposition::Eject),
        _ => Err(Code::INVALID_VALUE),
    }
}

fn initialization(number: u32) -> Result<Disposition, Code> {
    match disposition(number)? {
        Disposition::Eject => Err(Code::INVALID_VALUE),
        known => Ok(known),
    }
}
