//! Between a program and a PC/SC service: everything passes unchanged, and what is said to cards is written down.
//!
//! The program speaks to our socket, the service (a system's pcscd with a real token, or another emulator) is spoken
//! to at its own. Both sides speak pcsc-lite's client protocol, so replies have the length of their requests but for
//! a few. Secrets are left out as in every trace.

use std::{
    collections::HashMap,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use rustix::event::{PollFd, PollFlags, poll};
use zeroize::Zeroizing;

use super::{Event, Trace};
use crate::{
    Error, Result,
    listener::{Handler, Listener},
    pcsclite::wire::{Command, HEADER, MAX_BUFFER, Message},
};

/// Where pcscd listens.
pub const SYSTEM_SERVICE: &str = "/run/pcscd/pcscd.comm";

/// No struct of the protocol is longer.
const LONGEST_STRUCT: usize = 512;
/// The states of sixteen readers, as protocol 4.4 and 4.5 send them.
const READER_STATE: usize = 184;
const READERS: usize = 16;
/// `{u32 timeout, u32 rv}`: the end of a wait.
const WAIT_OVER: usize = 8;

/// A recorder at work. Dropping it takes no more programs and hangs up on those there are.
#[derive(Debug)]
pub struct Recorder {
    listener: Option<Listener>,
    lines: Arc<Lines>,
}

/// The two ends of every conversation, to hang up on them.
#[derive(Debug, Default)]
struct Lines {
    next: AtomicU64,
    open: Mutex<(bool, HashMap<u64, [UnixStream; 2]>)>,
}

impl Recorder {
    /// Listens at `socket` and passes on to `service`; what is exchanged with cards is written to `trace`, whose
    /// content so far is gone.
    ///
    /// # Errors
    /// Fails if the socket's path is taken, the trace cannot be written or no service answers.
    pub fn start(socket: &Path, service: &Path, trace: &Path) -> Result<Self> {
        UnixStream::connect(service).map_err(|source| Error::Service { path: service.to_owned(), source })?;
        let trace = Arc::new(Mutex::new(Trace::new(Some(trace), false)?));
        let lines = Arc::new(Lines::default());
        let (service, all) = (PathBuf::from(service), Arc::clone(&lines));
        let handler: Handler = Box::new(move |client| {
            let Ok(service) = UnixStream::connect(&service) else { return };
            let Some(id) = all.enter(&client, &service) else { return };
            let mut relay = Relay {
                client: &client,
                service: &service,
                trace: &trace,
                minor: 4,
                waiting: false,
                cards: HashMap::new(),
            };
            while relay.pass_one().is_some() {}
            all.leave(id);
        });
        Ok(Self { listener: Some(Listener::start(socket, handler)?), lines })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Some(mut listener) = self.listener.take() {
            listener.stop();
            self.lines.hang_up();
            listener.finish();
        }
    }
}

impl Lines {
    fn enter(&self, client: &UnixStream, service: &UnixStream) -> Option<u64> {
        let ends = [client.try_clone().ok()?, service.try_clone().ok()?];
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (closed, open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return None;
        }
        open.insert(id, ends);
        Some(id)
    }

    /// Ends both sides of a conversation.
    fn leave(&self, id: u64) {
        let ends = self.open.lock().unwrap_or_else(PoisonError::into_inner).1.remove(&id);
        shut_down(ends.iter().flatten());
    }

    fn hang_up(&self) {
        let (closed, open) = &mut *self.open.lock().unwrap_or_else(PoisonError::into_inner);
        *closed = true;
        shut_down(open.values().flatten());
    }
}

fn shut_down<'a>(ends: impl Iterator<Item = &'a UnixStream>) {
    for end in ends {
        let _ = end.shutdown(std::net::Shutdown::Both); // it may be closed already, which is what is wanted
    }
}

/// A card as one conversation knows it.
struct Card {
    reader: String,
    serial: Option<u32>,
}

/// One conversation.
struct Relay<'a> {
    client: &'a UnixStream,
    service: &'a UnixStream,
    trace: &'a Mutex<Trace>,
    minor: u32,
    /// The program waits for a change, and the service has not told it yet.
    waiting: bool,
    cards: HashMap<i32, Card>,
}

impl Relay<'_> {
    /// Passes one request and its reply, or the end of a wait; `None` ends the conversation.
    fn pass_one(&mut self) -> Option<()> {
        if self.waiting && self.service_speaks_first()? {
            self.waiting = false;
            return self.pass_back(WAIT_OVER).map(|_| ());
        }
        let header: [u8; HEADER] = read(self.client, HEADER)?.get(..HEADER)?.try_into().ok()?;
        let fields = Message::new(header.to_vec());
        let (size, number) = (usize::try_from(fields.u32(0)).ok()?, fields.u32(4));
        if size > LONGEST_STRUCT {
            return None;
        }
        let (command, _) = Command::from_number(number)?;
        let body = Message::new(read(self.client, size)?.to_vec());
        let carried = match command {
            Command::Transmit => bounded(body.u32(12))?,
            Command::Control => bounded(body.u32(8))?,
            _ => 0,
        };
        let data = read(self.client, carried)?;
        send(self.service, &[&header, body.bytes(), &data].concat())?;
        let reply = Message::new(self.pass_back(self.reply_length(command, size))?.to_vec());
        match command {
            Command::WaitForChange => self.waiting = true,
            Command::StopWaiting => self.waiting = false,
            Command::Version => self.minor = reply.u32(4),
            Command::ReaderStatesSize => {
                self.pass_states_after(reply.u32(0))?;
            }
            Command::Transmit => {
                let succeeded = reply.u32(28) == 0;
                let answer = if succeeded { Some(self.pass_back(bounded(reply.u32(24))?)?) } else { None };
                self.write_exchange(body.i32(0), &data, answer.as_deref().map(Vec::as_slice));
            }
            Command::Control if reply.u32(20) == 0 => {
                self.pass_back(bounded(reply.u32(16))?)?;
            }
            Command::Connect if reply.u32(148) == 0 => {
                let reader = reply.text(4, 128).unwrap_or_default().to_owned();
                self.cards.insert(reply.i32(140), Card { reader, serial: None });
            }
            Command::Reconnect if reply.u32(20) == 0 => self.write_reset(body.i32(0), body.u32(12)),
            Command::EndTransaction if reply.u32(8) == 0 => self.write_reset(body.i32(0), body.u32(4)),
            Command::Disconnect if reply.u32(8) == 0 => {
                self.write_reset(body.i32(0), body.u32(4));
                self.cards.remove(&body.i32(0));
            }
            _ => {}
        }
        Some(())
    }

    /// How long the reply to a request is, without data that follows it.
    fn reply_length(&self, command: Command, size: usize) -> usize {
        match command {
            Command::ReaderStates | Command::ReaderStatesArray => READERS * READER_STATE,
            Command::WaitForChange if self.minor < 6 => READERS * READER_STATE,
            Command::WaitForChange => 0,
            // The service answers, or has just sent the end of the wait: one of the two.
            Command::StopWaiting => {
                if self.waiting {
                    WAIT_OVER
                } else {
                    0
                }
            }
            Command::ReaderEvents => 8,
            Command::ReaderStatesSize => 4,
            _ => size,
        }
    }

    /// Protocol 4.6 says how many states there are before they are asked for. Other counts than sixteen are passed here,
    /// with the request that follows.
    fn pass_states_after(&mut self, count: u32) -> Option<()> {
        if usize::try_from(count).ok()? == READERS {
            return Some(());
        }
        let header = read(self.client, HEADER)?;
        send(self.service, &header)?;
        self.pass_back(usize::try_from(count).ok()?.checked_mul(READER_STATE)?.min(1 << 20))?;
        Some(())
    }

    /// Whether the service has something to say before the program does; waits for either.
    fn service_speaks_first(&self) -> Option<bool> {
        let mut ends = [PollFd::new(self.service, PollFlags::IN), PollFd::new(self.client, PollFlags::IN)];
        poll(&mut ends, None).ok()?;
        let [service, client] = ends;
        if service.revents().contains(PollFlags::IN) {
            return Some(true);
        }
        // A service that hung up ends it here; a program that did, at the next reading.
        (!client.revents().is_empty()).then_some(false)
    }

    fn pass_back(&self, length: usize) -> Option<Zeroizing<Vec<u8>>> {
        let bytes = read(self.service, length)?;
        send(self.client, &bytes)?;
        Some(bytes)
    }

    fn write_exchange(&mut self, handle: i32, command: &[u8], answer: Option<&[u8]>) {
        let Some(card) = self.cards.get_mut(&handle) else { return };
        // GET SERIAL of Yubico's PIV extensions tells which token it is.
        if let ([0, 0xF8, 0, 0, ..], Some(&[a, b, c, d, 0x90, 0])) = (command, answer) {
            card.serial = Some(u32::from_be_bytes([a, b, c, d]));
        }
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        // A trace that cannot be written ends with its first missing line; the program is not to suffer from it.
        let _ = trace.exchange((&card.reader, card.serial), command, answer);
    }

    /// A disposition of 1 (reset) or 2 (unpower) took what the card was shown.
    fn write_reset(&self, handle: i32, disposition: u32) {
        let (1 | 2, Some(card)) = (disposition, self.cards.get(&handle)) else { return };
        let mut trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner);
        trace.event(&card.reader, card.serial, Event::Reset);
    }
}

fn bounded(length: u32) -> Option<usize> {
    (length <= MAX_BUFFER).then(|| usize::try_from(length).ok())?
}

fn read(mut from: &UnixStream, length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; length]);
    from.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn send(mut to: &UnixStream, bytes: &[u8]) -> Option<()> {
    to.write_all(bytes).ok()
}

#[cfg(test)]
mod tests;
