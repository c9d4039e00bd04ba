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
pub(crate) struct Clients(Arc<Mutex<HashMap<ClientId, Arc<Writer>>>>);

impl Clients {
    fn map(&self) -> MutexGuard<'_, HashMap<ClientId, Arc<Writer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a client's wait for a change.
    pub(crate) fn notify(&self, client: ClientId, code: Code) {
        let writer = self.map().get(&client).cloned();
        if let Some(writer) = writer {
            let _ = writer.send(&wire::wait_over(code)); // a dead client's own thread cleans up
        }
    }

    /// Hangs up on all.
    pub(crate) fn shut_down(&self) {
        let writers: Vec<_> = self.map().values().cloned().collect();
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
        clients.map().insert(id, Arc::clone(&writer));
        Client::new(id, &readers, stream, &writer).serve();
        clients.map().remove(&id);
    });
    Listener::start(path, handler)
}

#[cfg(test)]
mod tests;
