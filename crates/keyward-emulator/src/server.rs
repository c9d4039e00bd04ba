//! Everything together: tokens in readers, a PC/SC socket, a control socket.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    Result, TokenFile, Touch, control,
    listener::Listener,
    pcsclite::{self, Clients},
    readers::{Readers, TokenStatus},
    trace::Trace,
};

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Who answers when a key wants a touch.
    pub touch: Touch,
    /// Where each APDU exchange is written down; a file that exists is emptied.
    pub trace: Option<PathBuf>,
    /// Pulls the first reader's token out right before its n-th answer.
    pub remove_at: Option<u64>,
}

/// A running PC/SC server. Dropping it hangs up on every client, removes both sockets and unlocks the tokens.
pub struct Server {
    readers: Arc<Readers>,
    clients: Clients,
    listener: Option<Listener>,
    control: Option<Listener>,
}

impl Server {
    /// Plugs the tokens in, in this order, and listens at both paths.
    ///
    /// # Errors
    /// Fails if a path is taken, the trace cannot be written, two tokens have one serial, or there are more than 16.
    pub fn start(tokens: Vec<TokenFile>, socket: &Path, control: &Path, options: &Options) -> Result<Self> {
        let clients = Clients::default();
        let announcer = clients.clone();
        let trace = options.trace.as_deref().map(Trace::create).transpose()?;
        let readers = Arc::new(Readers::new(
            tokens,
            options.touch,
            options.remove_at,
            trace,
            Box::new(move |client, code| announcer.notify(client, code)),
        )?);
        let control = control::listen(control, Arc::clone(&readers))?;
        let listener = pcsclite::listen(socket, Arc::clone(&readers), clients.clone())?;
        Ok(Self { readers, clients, listener: Some(listener), control: Some(control) })
    }

    /// Pulls a token out, named by reader or serial.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if there is none or it is out already.
    pub fn remove(&self, token: &str) -> Result<()> {
        self.readers.remove(token)
    }

    /// Plugs a token back in, named by reader or serial.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if there is none or it is in already.
    pub fn insert(&self, token: &str) -> Result<()> {
        self.readers.insert(token)
    }

    /// Changes who answers when a key wants a touch.
    pub fn set_touch(&self, touch: Touch) {
        self.readers.set_touch(touch);
    }

    /// The tokens, in the order of their readers.
    pub fn tokens(&self) -> Vec<TokenStatus> {
        self.readers.tokens().1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control = None;
        if let Some(mut listener) = self.listener.take() {
            listener.stop(); // before hanging up, so that nobody comes in between
            self.clients.shut_down();
            listener.finish();
        }
    }
}
