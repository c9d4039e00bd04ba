//! The reader table: which tokens are plugged in, who is connected, who holds a transaction.
//!
//! The rules are those of pcsc-lite's daemon (`winscard.c`, `readerfactory.c`, `winscard_svc.c`), since its
//! library sits at the other end: who resets a card leaves an event at every handle on it, a transaction keeps others out,
//! an exclusive connection is a lock for its whole life, and a client that dies inside a transaction leaves a reset
//! card. Rooms: `pcsc` (the interface's words), `table` (what there is, and its steps), `exchange` (an APDU and
//! its faults), `hand` (what the test does); here is who may do what when, who waits and who is told. It knows no socket and no message; `pcsclite` speaks for it.

mod exchange;
mod hand;
mod pcsc;
mod table;

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::pcsc::TokenStatus;
pub(crate) use self::pcsc::{ClientId, Code, Disposition, Outcome, ReaderView, Share};
use self::table::{Handle, HandleState, Lock, Reader, Table, fresh};
use crate::{
    Error, Result, fault::Faults, server::Options, token_file::TokenFile, touch::Hand, trace::Trace,
};

/// PC/SC clients know this many readers.
pub(crate) const MAX_READERS: usize = 16;

/// ATR of a YubiKey 5 over USB: T=1, "YubiKey" in its historical bytes. Programs read the model from it.
pub(crate) const ATR: [u8; 23] = [
    0x3B, 0xFD, 0x13, 0x00, 0x00, 0x81, 0x31, 0xFE, 0x15, 0x80, 0x73, 0xC0, 0x21, 0xC0, 0x57, 0x59, 0x75,
    0x62, 0x69, 0x4B, 0x65, 0x79, 0x40,
];

/// How long BEGIN TRANSACTION waits before it lets the client ask again.
const TRANSACTION_WAIT: Duration = Duration::from_millis(200);
/// The table, shared by every client's thread.
pub(crate) struct Readers {
    table: Mutex<Table>,
    changed: Condvar,
    notify: Box<dyn Fn(ClientId, Code) + Send + Sync>,
}

impl Readers {
    /// Plugs the tokens in, each in a reader of its own. `notify` tells a waiting client of a change.
    pub(crate) fn new(
        tokens: Vec<TokenFile>,
        options: &Options,
        trace: Trace,
        notify: Box<dyn Fn(ClientId, Code) + Send + Sync>,
    ) -> Result<Self> {
        if tokens.len() > MAX_READERS {
            return Err(Error::TooManyTokens { count: tokens.len() });
        }
        let mut serials = HashSet::new();
        let mut readers = Vec::new();
        for (index, mut token) in tokens.into_iter().enumerate() {
            if !serials.insert(token.serial()) {
                return Err(Error::SameSerial { serial: token.serial() });
            }
            let hand = Arc::new(Hand::new(token.serial(), options.touch, options.ask.clone()));
            token.put_finger(hand.finger());
            readers.push(Reader {
                name: format!("Yubico YubiKey OTP+FIDO+CCID {index:02X} 00"),
                serial: token.serial(),
                firmware: token.firmware(),
                token: Some(token),
                cycle: false,
                hand,
                faults: Faults::default(),
                apdus: 0,
                holding: false,
                inserted: true,
                powered: true,
                events: 0,
                exclusive: false,
                occupied: false,
                shared: 0,
                lock: None,
            });
        }
        let table = Table {
            readers,
            handles: HashMap::new(),
            contexts: HashMap::new(),
            waiting: HashSet::new(),
            events: 1,
            trace,
            closed: false,
        };
        Ok(Self { table: Mutex::new(table), changed: Condvar::new(), notify })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // A panic elsewhere cannot leave the table half changed: each step below is complete in itself.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next change of the table, unless the server is being stopped.
    fn wait_for_change<'a>(&self, table: MutexGuard<'a, Table>) -> Outcome<MutexGuard<'a, Table>> {
        if table.closed {
            return Err(Code::SERVICE_STOPPED);
        }
        Ok(self.changed.wait(table).unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends every wait: for a touch, for an answer that is held, for another's transaction.
    pub(crate) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        for reader in &mut table.readers {
            reader.hand.close();
        }
        drop(table);
        self.changed.notify_all();
    }

    /// Tells everyone who waits that something about a reader is different.
    fn announce(&self, mut table: MutexGuard<'_, Table>) {
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        self.changed.notify_all();
        for client in waiting {
            (self.notify)(client, Code::SUCCESS);
        }
    }

    // --- Contexts and waiting

    /// SCardEstablishContext.
    pub(crate) fn establish(&self, client: ClientId) -> Outcome<u32> {
        let mut table = self.table();
        let context = fresh(|number| !table.contexts.contains_key(&number))?;
        table.contexts.insert(context, client);
        Ok(context)
    }

    /// SCardReleaseContext: its connections go with it.
    pub(crate) fn release(&self, client: ClientId, context: u32) -> Outcome<()> {
        let mut table = self.table();
        if table.contexts.get(&context) != Some(&client) {
            return Err(Code::INVALID_HANDLE);
        }
        table.contexts.remove(&context);
        table.abandon(|handle| handle.context == context);
        self.announce(table);
        Ok(())
    }

    /// A client's socket is closed: everything of it goes.
    pub(crate) fn client_gone(&self, client: ClientId) {
        let mut table = self.table();
        table.waiting.remove(&client);
        table.contexts.retain(|_, owner| *owner != client);
        table.abandon(|handle| handle.client == client);
        self.announce(table);
    }

    /// The readers with a token, each at its place among the sixteen.
    pub(crate) fn view(&self) -> Vec<Option<ReaderView>> {
        self.table().view()
    }

    /// How often a reader came or went.
    pub(crate) fn events(&self) -> u32 {
        self.table().events
    }

    /// Registers a client to be told of the next change, and shows how things stand at that moment.
    pub(crate) fn wait(&self, client: ClientId) -> Vec<Option<ReaderView>> {
        let mut table = self.table();
        table.waiting.insert(client);
        table.view()
    }

    /// Takes the registration back; false if a change was announced before.
    pub(crate) fn stop_waiting(&self, client: ClientId) -> bool {
        self.table().waiting.remove(&client)
    }

    /// SCardCancel: whoever waits under this context is told so.
    pub(crate) fn cancel(&self, context: u32) -> Outcome<()> {
        let mut table = self.table();
        let &client = table.contexts.get(&context).ok_or(Code::INVALID_HANDLE)?;
        let waited = table.waiting.remove(&client);
        drop(table);
        if waited {
            (self.notify)(client, Code::CANCELLED);
        }
        Ok(())
    }

    // --- Connections

    /// SCardConnect; waits while another client's transaction lasts.
    pub(crate) fn connect(&self, client: ClientId, context: u32, name: &str, share: Share) -> Outcome<i32> {
        let mut table = self.table();
        if table.contexts.get(&context) != Some(&client) {
            return Err(Code::INVALID_HANDLE);
        }
        let index = loop {
            let found =
                table.readers.iter().enumerate().find(|(_, reader)| reader.inserted && reader.name == name);
            let (index, reader) = found.ok_or(Code::UNKNOWN_READER)?;
            if reader.is_exclusive() {
                return Err(Code::SHARING_VIOLATION);
            }
            if reader.lock.is_none() {
                break index;
            }
            table = self.wait_for_change(table)?;
        };
        let handle = i32::try_from(fresh(|number| {
            i32::try_from(number).is_ok_and(|number| number > 0 && !table.handles.contains_key(&number))
        })?)
        .map_err(|_| Code::INVALID_VALUE)?;
        let reader = table.readers.get_mut(index).ok_or(Code::UNKNOWN_READER)?;
        if share != Share::Direct {
            reader.powered = true;
        }
        if share == Share::Exclusive {
            if reader.shared > 0 {
                return Err(Code::SHARING_VIOLATION);
            }
            reader.exclusive = true;
            reader.lock = Some(Lock { handle, depth: 1 });
        } else {
            reader.shared += 1;
        }
        table.handles.insert(handle, Handle { client, context, reader: index, state: HandleState::Good });
        self.announce(table);
        Ok(handle)
    }

    /// SCardReconnect: clears what a reset left behind, and may reset or change the sharing itself.
    pub(crate) fn reconnect(
        &self,
        client: ClientId,
        handle: i32,
        share: Share,
        init: Disposition,
    ) -> Outcome<()> {
        let mut table = self.table();
        let index = table.index_of(client, handle)?;
        table.check_lock(index, handle)?;
        if init.resets() {
            table.reset(index);
        }
        let reader = table.readers.get_mut(index).ok_or(Code::READER_UNAVAILABLE)?;
        match (share, reader.exclusive) {
            (Share::Exclusive, false) if reader.shared == 1 => {
                reader.exclusive = true;
                reader.shared = 0;
                reader.lock =
                    Some(Lock { handle, depth: reader.lock.as_ref().map_or(0, |lock| lock.depth) + 1 });
            }
            (Share::Exclusive, false) => return Err(Code::SHARING_VIOLATION),
            (Share::Shared | Share::Direct, true) => {
                reader.exclusive = false;
                reader.shared = 1;
                reader.lock = None;
            }
            _ => {}
        }
        if let Some(handle) = table.handles.get_mut(&handle) {
            handle.state = HandleState::Good;
        }
        self.announce(table);
        Ok(())
    }

    /// SCardDisconnect; waits before a reset while another client's transaction lasts.
    pub(crate) fn disconnect(&self, client: ClientId, handle: i32, disposition: Disposition) -> Outcome<()> {
        let mut table = self.table();
        loop {
            match table.index_of(client, handle) {
                Err(Code::READER_UNAVAILABLE) => {
                    table.handles.remove(&handle);
                    return Ok(());
                }
                Err(code) => return Err(code),
                Ok(index) if disposition == Disposition::Leave || table.check_lock(index, handle).is_ok() => {
                    table.close(handle, disposition);
                    break;
                }
                Ok(_) => table = self.wait_for_change(table)?,
            }
        }
        self.announce(table);
        Ok(())
    }

    /// SCardBeginTransaction. Waits a little for another's to end, then lets the client ask again, as pcscd does.
    pub(crate) fn begin(&self, client: ClientId, handle: i32) -> Outcome<()> {
        let mut table = self.table();
        let mut waited = false;
        loop {
            let index = table.use_handle(client, handle)?;
            let reader = table.readers.get_mut(index).ok_or(Code::READER_UNAVAILABLE)?;
            match &mut reader.lock {
                Some(lock) if lock.handle == handle => lock.depth = lock.depth.saturating_add(1),
                Some(_) if waited => return Err(Code::SHARING_VIOLATION),
                Some(_) => {
                    let locked = |table: &mut Table| {
                        table.readers.get(index).is_some_and(|reader| reader.lock.is_some())
                    };
                    table = self
                        .changed
                        .wait_timeout_while(table, TRANSACTION_WAIT, locked)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                    waited = true;
                    continue;
                }
                none => *none = Some(Lock { handle, depth: 1 }),
            }
            return Ok(());
        }
    }

    /// SCardEndTransaction.
    pub(crate) fn end(&self, client: ClientId, handle: i32, disposition: Disposition) -> Outcome<()> {
        let mut table = self.table();
        let index = table.use_handle(client, handle)?;
        table.check_lock(index, handle)?;
        if disposition.resets() {
            table.reset(index);
        }
        let reader = table.readers.get_mut(index).ok_or(Code::READER_UNAVAILABLE)?;
        let lowest = u32::from(reader.exclusive); // an exclusive connection is a lock itself
        match &mut reader.lock {
            Some(lock) if lock.depth > lowest => lock.depth -= 1,
            _ => return Err(Code::NOT_TRANSACTED),
        }
        if reader.lock.as_ref().is_some_and(|lock| lock.depth == 0) {
            reader.lock = None;
        }
        drop(table);
        self.changed.notify_all();
        Ok(())
    }

    /// SCardStatus, as far as the server has a say: whether the handle can be used.
    pub(crate) fn status(&self, client: ClientId, handle: i32) -> Outcome<()> {
        let table = self.table();
        let index = table.index_of(client, handle)?;
        table.check_lock(index, handle)?;
        table.use_handle(client, handle).map(|_| ())
    }

    /// The name of the reader that a handle is connected to.
    pub(crate) fn name_of(&self, client: ClientId, handle: i32) -> Outcome<String> {
        let table = self.table();
        let index = table.index_of(client, handle)?;
        table.check_lock(index, handle)?;
        table.use_handle(client, handle)?;
        table.readers.get(index).map(|reader| reader.name.clone()).ok_or(Code::READER_UNAVAILABLE)
    }

    /// Whether the handle exists and is this client's; pcscd closes the socket on one that is not.
    pub(crate) fn owns(&self, client: ClientId, handle: i32) -> bool {
        self.table().handles.get(&handle).is_some_and(|known| known.client == client)
    }
}

#[cfg(test)]
mod stress;
#[cfg(test)]
mod tests;
