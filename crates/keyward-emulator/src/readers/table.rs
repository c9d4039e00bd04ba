//! What the reader table holds, and the steps that change it. Each step leaves the table whole.
//!
//! Locking, waiting and telling clients is the business of `readers`; nothing here blocks.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{ClientId, Code, Disposition, Outcome, ReaderView};
use crate::{
    Error, Firmware, Result,
    fault::Faults,
    token_file::TokenFile,
    touch::Hand,
    trace::{Event, Trace},
};

pub(super) struct Reader {
    pub(super) name: String,
    pub(super) serial: u32,
    pub(super) firmware: Firmware,
    /// The token; out of the reader while it works on a command, which may wait for a touch.
    pub(super) token: Option<TokenFile>,
    /// It was reset while it was out, and takes note when it is back.
    pub(super) cycle: bool,
    pub(super) hand: Arc<Hand>,
    pub(super) faults: Faults,
    /// How many APDUs the token has answered or not.
    pub(super) apdus: u64,
    /// An answer is held back.
    pub(super) holding: bool,
    pub(super) inserted: bool,
    pub(super) powered: bool,
    pub(super) events: u32,
    pub(super) exclusive: bool,
    /// Somebody who is no client of ours holds it exclusively.
    pub(super) occupied: bool,
    pub(super) shared: i32,
    pub(super) lock: Option<Lock>,
}

impl Reader {
    /// Power off and on.
    pub(super) fn power_cycle(&mut self) {
        match &mut self.token {
            Some(token) => token.power_cycle(),
            None => self.cycle = true,
        }
    }

    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive || self.occupied
    }
}

pub(super) struct Lock {
    pub(super) handle: i32,
    pub(super) depth: u32,
}

pub(super) struct Handle {
    pub(super) client: ClientId,
    pub(super) context: u32,
    pub(super) reader: usize,
    pub(super) state: HandleState,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HandleState {
    Good,
    /// The card was reset by someone; until a reconnect every use says so.
    Reset,
    /// The token was pulled out; only disconnecting is left.
    Gone,
}

pub(super) struct Table {
    pub(super) readers: Vec<Reader>,
    pub(super) handles: HashMap<i32, Handle>,
    pub(super) contexts: HashMap<u32, ClientId>,
    pub(super) waiting: HashSet<ClientId>,
    /// How often a reader came or went.
    pub(super) events: u32,
    pub(super) trace: Trace,
    /// The server is being stopped: nobody waits for anything any more.
    pub(super) closed: bool,
}

impl Table {
    pub(super) fn view(&self) -> Vec<Option<ReaderView>> {
        let view = |reader: &Reader| {
            reader.inserted.then(|| ReaderView {
                name: reader.name.clone(),
                events: reader.events,
                powered: reader.powered,
                sharing: if reader.is_exclusive() { -1 } else { reader.shared },
            })
        };
        self.readers.iter().map(view).collect()
    }

    /// The reader of a client's handle, whatever happened to the card.
    pub(super) fn index_of(&self, client: ClientId, handle: i32) -> Outcome<usize> {
        match self.handles.get(&handle) {
            Some(known) if known.client != client => Err(Code::INVALID_HANDLE),
            Some(known) if known.state == HandleState::Gone => Err(Code::READER_UNAVAILABLE),
            Some(known) => Ok(known.reader),
            None => Err(Code::INVALID_HANDLE),
        }
    }

    /// The reader of a client's handle, unless the card was reset under it.
    pub(super) fn use_handle(&self, client: ClientId, handle: i32) -> Outcome<usize> {
        let index = self.index_of(client, handle)?;
        match self.handles.get(&handle) {
            Some(known) if known.state == HandleState::Reset => Err(Code::RESET_CARD),
            _ => Ok(index),
        }
    }

    pub(super) fn check_lock(&self, index: usize, handle: i32) -> Outcome<()> {
        match self.readers.get(index).and_then(|reader| reader.lock.as_ref()) {
            Some(lock) if lock.handle != handle => Err(Code::SHARING_VIOLATION),
            _ => Ok(()),
        }
    }

    /// Resets the card; every handle on it will hear of it.
    pub(super) fn reset(&mut self, index: usize) {
        if let Some(reader) = self.readers.get_mut(index) {
            reader.power_cycle();
            reader.powered = true;
            self.trace.event(&reader.name, Some(reader.serial), Event::Reset);
        }
        for handle in self.handles.values_mut().filter(|handle| handle.reader == index) {
            if handle.state == HandleState::Good {
                handle.state = HandleState::Reset;
            }
        }
    }

    pub(super) fn remove(&mut self, index: usize) {
        let Some(reader) = self.readers.get_mut(index) else { return };
        reader.inserted = false;
        reader.events = reader.events.wrapping_add(1);
        reader.exclusive = false;
        reader.shared = 0;
        reader.lock = None;
        reader.occupied = false;
        reader.holding = false;
        reader.power_cycle();
        reader.hand.decide(false);
        self.trace.event(&reader.name, Some(reader.serial), Event::Removed);
        self.events = next_event(self.events);
        for handle in self.handles.values_mut().filter(|handle| handle.reader == index) {
            handle.state = HandleState::Gone;
        }
    }

    /// Plugs a token in that is out.
    pub(super) fn insert(&mut self, index: usize) {
        let Some(reader) = self.readers.get_mut(index) else { return };
        reader.inserted = true;
        reader.powered = true;
        reader.events = reader.events.wrapping_add(1);
        self.trace.event(&reader.name, Some(reader.serial), Event::Inserted);
        self.events = next_event(self.events);
    }

    /// A token restarts: it goes, with its handles, and is there again.
    pub(super) fn reboot(&mut self, index: usize) {
        self.remove(index);
        self.insert(index);
    }

    pub(super) fn close(&mut self, handle: i32, disposition: Disposition) {
        let Some(closed) = self.handles.remove(&handle) else { return };
        if closed.state == HandleState::Gone {
            return;
        }
        if let Some(reader) = self.readers.get_mut(closed.reader) {
            let held = reader.lock.as_ref().is_some_and(|lock| lock.handle == handle);
            if held {
                reader.lock = None;
            }
            if held && reader.exclusive {
                reader.exclusive = false;
            } else {
                reader.shared -= 1;
            }
        }
        if disposition.resets() {
            self.reset(closed.reader);
        }
        if disposition == Disposition::Unpower
            && let Some(reader) = self.readers.get_mut(closed.reader)
        {
            reader.powered = false; // until somebody connects again
        }
    }

    /// Closes handles whose owner is gone. One inside a transaction may have left a PIN verified: that card is reset.
    pub(super) fn abandon(&mut self, of: impl Fn(&Handle) -> bool) {
        let abandoned: Vec<i32> =
            self.handles.iter().filter(|(_, handle)| of(handle)).map(|(&id, _)| id).collect();
        for id in abandoned {
            let held = self.handles.get(&id).is_some_and(|handle| {
                let lock = self.readers.get(handle.reader).and_then(|reader| reader.lock.as_ref());
                handle.state == HandleState::Good && lock.is_some_and(|lock| lock.handle == id)
            });
            self.close(id, if held { Disposition::Reset } else { Disposition::Leave });
        }
    }

    pub(super) fn find(&self, which: &str) -> Result<usize> {
        self.readers
            .iter()
            .position(|reader| reader.name == which || which.parse() == Ok(reader.serial))
            .ok_or_else(|| Error::Control(format!("no reader or serial is called {}", printable(which))))
    }
}

/// Counts comings and goings from 1 to 32,767 and round again, as clients keep them in a signed 16-bit field.
fn next_event(events: u32) -> u32 {
    events % 0x7FFF + 1
}

/// Text from outside without control characters.
pub(super) fn printable(text: &str) -> String {
    text.escape_debug().to_string()
}

/// A random number that is free; random, so that a stale handle from before does not fit by chance.
pub(super) fn fresh(free: impl Fn(u32) -> bool) -> Outcome<u32> {
    for _ in 0..64 {
        let number = getrandom::u32().map_err(|_| Code::INVALID_VALUE)? & 0x7FFF_FFFF;
        if number != 0 && free(number) {
            return Ok(number);
        }
    }
    Err(Code::INVALID_VALUE)
}
