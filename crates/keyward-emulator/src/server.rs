//! Everything together: tokens in readers, a PC/SC socket or a driver's port, a control socket.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::{
    Error, Exchange, Fault, FaultKind, Result, TokenFile, Touch, control,
    listener::Listener,
    pcsclite::{self, Clients},
    readers::{Readers, TokenStatus},
    touch::Ask,
    trace::Trace,
    vpcd::Vpcd,
};

/// How a server behaves.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What happens when a key wants a touch.
    pub touch: Touch,
    /// Who is asked, with [`Touch::Ask`].
    pub ask: Option<Ask>,
    /// Where each APDU exchange is written down; a file that exists is emptied.
    pub trace: Option<PathBuf>,
    /// Whether exchanges are kept in memory, for [`Server::exchanges`].
    pub keep_exchanges: bool,
    /// Faults that are armed from the start: of the token with this serial, else of the first.
    pub faults: Vec<(Option<u32>, Fault)>,
    /// Pulls the first reader's token out right before its n-th answer; 0 counts as never.
    pub remove_at: Option<u64>,
    /// Somebody else holds every reader exclusively from the start.
    pub occupied: bool,
}

/// Running tokens. Dropping it hangs up on every client, removes both sockets and unlocks the tokens.
pub struct Server {
    readers: Arc<Readers>,
    clients: Clients,
    listener: Option<Listener>,
    control: Option<Listener>,
    vpcd: Option<Vpcd>,
}

impl Server {
    /// Plugs the tokens in, in this order, and listens at both paths.
    ///
    /// # Errors
    /// Fails if a path is taken, the trace cannot be written, two tokens have one serial, or there are more than 16.
    pub fn start(tokens: Vec<TokenFile>, socket: &Path, control: &Path, options: &Options) -> Result<Self> {
        let mut server = Self::prepare(tokens, Some(control), options)?;
        let listener = pcsclite::listen(socket, Arc::clone(&server.readers), server.clients.clone())?;
        server.listener = Some(listener);
        Ok(server)
    }

    /// Plugs the tokens into a system's pcscd through the ports of vsmartcard's driver vpcd: the first into this
    /// one, the others into those that follow, as the driver numbers its slots. A driver that is not there yet is
    /// waited for.
    ///
    /// # Errors
    /// As [`Server::start`], and if there are no such ports.
    pub fn attach(
        tokens: Vec<TokenFile>,
        vpcd: SocketAddr,
        control: Option<&Path>,
        options: &Options,
    ) -> Result<Self> {
        let mut server = Self::prepare(tokens, control, options)?;
        server.vpcd = Some(Vpcd::start(vpcd, &server.readers)?);
        Ok(server)
    }

    fn prepare(tokens: Vec<TokenFile>, control: Option<&Path>, options: &Options) -> Result<Self> {
        let clients = Clients::default();
        let announcer = clients.clone();
        let trace = Trace::new(options.trace.as_deref(), options.keep_exchanges)?;
        let notify = Box::new(move |client, code| announcer.notify(client, code));
        let readers = Arc::new(Readers::new(tokens, options, trace, notify)?);
        let all = readers.tokens();
        for (serial, fault) in &options.faults {
            let token = serial.or(all.first().map(|token| token.serial)).unwrap_or_default();
            readers.arm(&token.to_string(), *fault)?;
        }
        if let (Some(n), Some(first)) = (options.remove_at.filter(|&n| n > 0), all.first()) {
            readers.arm(&first.reader, Fault::nth(FaultKind::Remove, n))?;
        }
        for token in all.iter().filter(|_| options.occupied) {
            readers.occupy(&token.reader, true)?;
        }
        let control = control.map(|path| control::listen(path, Arc::clone(&readers))).transpose()?;
        Ok(Self { readers, clients, listener: None, control, vpcd: None })
    }

    /// Pulls a token out, named by reader or serial.
    ///
    /// # Errors
    /// [`Error::Control`] if there is none or it is out already.
    pub fn remove(&self, token: &str) -> Result<()> {
        self.readers.remove(token)
    }

    /// Plugs a token back in, named by reader or serial.
    ///
    /// # Errors
    /// [`Error::Control`] if there is none or it is in already.
    pub fn insert(&self, token: &str) -> Result<()> {
        self.readers.insert(token)
    }

    /// Resets a card, as another program might; whoever is connected hears of it.
    ///
    /// # Errors
    /// [`Error::Control`] if there is none or it is out.
    pub fn reset(&self, token: &str) -> Result<()> {
        self.readers.reset_token(token)
    }

    /// Changes what happens when a key wants a touch, on every token.
    pub fn set_touch(&self, touch: Touch) {
        self.readers.set_touch(touch);
    }

    /// Touches the token that waits for it.
    ///
    /// # Errors
    /// [`Error::NothingWaits`] if it does not wait, [`Error::Control`] if there is no such token.
    pub fn touch(&self, token: &str) -> Result<()> {
        self.readers.decide(Some(token), true)
    }

    /// Ends a token's wait for a touch as a time-out would.
    ///
    /// # Errors
    /// As [`Server::touch`].
    pub fn deny(&self, token: &str) -> Result<()> {
        self.readers.decide(Some(token), false)
    }

    /// Waits until a token asks for a touch; false if it has not by then.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token.
    pub fn wait_for_touch(&self, token: &str, limit: Duration) -> Result<bool> {
        self.readers.wait_until_asked(token, limit)
    }

    /// Waits until so many APDUs have been sent to a token; false if they have not by then.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token.
    pub fn wait_for_apdus(&self, token: &str, count: u64, limit: Duration) -> Result<bool> {
        self.readers.wait_for_apdus(token, count, limit)
    }

    /// Arms a fault of a token.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token.
    pub fn fault(&self, token: &str, fault: Fault) -> Result<()> {
        self.readers.arm(token, fault)
    }

    /// Disarms every fault of a token.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token.
    pub fn clear_faults(&self, token: &str) -> Result<()> {
        self.readers.disarm(token)
    }

    /// Lets an answer go that [`FaultKind::Hold`](crate::FaultKind::Hold) holds back.
    ///
    /// # Errors
    /// [`Error::Control`] if none is held.
    pub fn release(&self, token: &str) -> Result<()> {
        self.readers.release_answer(token)
    }

    /// Has somebody else hold a reader exclusively.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token, or it has connections open.
    pub fn occupy(&self, token: &str) -> Result<()> {
        self.readers.occupy(token, true)
    }

    /// Lets somebody else let go of a reader.
    ///
    /// # Errors
    /// [`Error::Control`] if there is no such token, or nobody holds it.
    pub fn vacate(&self, token: &str) -> Result<()> {
        self.readers.occupy(token, false)
    }

    /// The tokens, in the order of their readers.
    pub fn tokens(&self) -> Vec<TokenStatus> {
        self.readers.tokens()
    }

    /// The exchanges so far, oldest first, where [`Options::keep_exchanges`] asks for it; the last 65,536 are kept.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.readers.exchanges()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.control = None;
        self.readers.close();
        if let Some(mut listener) = self.listener.take() {
            listener.stop(); // before hanging up, so that nobody comes in between
            self.clients.shut_down();
            listener.finish();
        }
        self.vpcd = None;
        self.readers.give_back_tokens();
    }
}

/// A socket's path has room for 108 bytes with its NUL.
const SOCKET_PATH: usize = 107;

/// A private folder (0700) whose socket paths are short enough wherever temporary files live.
///
/// # Errors
/// Fails if it cannot be made.
pub fn socket_folder() -> Result<tempfile::TempDir> {
    use std::os::unix::{ffi::OsStrExt, fs::PermissionsExt};
    let place = std::env::temp_dir();
    let longest = place.as_os_str().as_bytes().len() + "/keyward-emulator-XXXXXX/pcscd.comm".len();
    let place = if longest <= SOCKET_PATH { place } else { PathBuf::from("/tmp") };
    tempfile::Builder::new()
        .prefix("keyward-emulator-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempdir_in(&place)
        .map_err(Error::io(&place))
}
