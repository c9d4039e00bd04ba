//! The PC/SC side: pcsc-lite's client protocol on a Unix socket, a thread for each client.
//!
//! Any program linked with libpcsclite talks to it when `PCSCLITE_CSOCK_NAME` names the socket. Rooms:
//! `wire` (bytes), `client` (one conversation). What readers and cards do is decided in `readers`.

pub(crate) mod client;
pub(crate) mod wire;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use self::client::{Client, Writer};
use crate::{
    Result,
    listener::{Handler, Listener},
    readers::{ClientId, Code, Readers},
};

/// The clients connected now, to send them announcements.
#[derive(Clone, Default)]
pub(crate) struct Clients(Arc<Mutex<Connected>>);

#[derive(Default)]
struct Connected {
    writers: HashMap<ClientId, Arc<Writer>>,
    closed: bool,
}

impl Clients {
    fn connected(&self) -> MutexGuard<'_, Connected> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a client in, unless everybody has been hung up on.
    fn enter(&self, client: ClientId, writer: &Arc<Writer>) -> bool {
        let mut connected = self.connected();
        if !connected.closed {
            connected.writers.insert(client, Arc::clone(writer));
        }
        !connected.closed
    }

    fn leave(&self, client: ClientId) {
        self.connected().writers.remove(&client);
    }

    /// Ends a client's wait for a change.
    pub(crate) fn notify(&self, client: ClientId, code: Code) {
        let writer = self.connected().writers.get(&client).cloned();
        if let Some(writer) = writer {
            let _ = writer.send(&wire::wait_over(code)); // a dead client's own thread cleans up
        }
    }

    /// Hangs up on all, and on whoever comes later.
    pub(crate) fn shut_down(&self) {
        let mut connected = self.connected();
        connected.closed = true;
        let writers: Vec<_> = connected.writers.values().cloned().collect();
        drop(connected);
        for writer in writers {
            writer.shut_down();
        }
    }
}

/// Listens for PC/SC clients.
pub(crate) fn listen(path: &std::path::Path, readers: Arc<Readers>, clients: Clients) -> Result<Listener> {
    let next = AtomicU64::new(1);
    let handler: Handler = Box::new(move |stream| {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let Ok(writing) = stream.try_clone() else { return };
        let writer = Arc::new(Writer::new(writing));
        if clients.enter(id, &writer) {
            Client::new(id, &readers, stream, &writer).serve();
            clients.leave(id);
        }
    });
    Listener::start(path, handler)
}

#[cfg(test)]
pub(crate) mod peer;
#[cfg(test)]
mod tests;
