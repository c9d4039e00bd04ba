//! A token for a test: made, plugged in and thrown away by one value.
//!
//! It is what `keyward-emulator run` does, for Rust tests. The program under test gets the socket through
//! `PCSCLITE_CSOCK_NAME` ([`VirtualToken::command`] sets it), and the test holds the token in its hand.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crate::{
    Ask, Exchange, Fault, Firmware, Options, Result, Server, TokenFile, TokenStatus, Touch,
    server::socket_folder,
};

/// What a token is to be like; [`VirtualToken::builder`] begins one.
#[derive(Debug)]
pub struct Builder {
    serial: u32,
    firmware: String,
    file: Option<PathBuf>,
    options: Options,
}

impl Builder {
    /// The serial number; 11110001 unless said.
    pub fn serial(mut self, serial: u32) -> Self {
        self.serial = serial;
        self
    }

    /// The firmware, as `5.7.1`, which it is unless said.
    pub fn firmware(mut self, version: &str) -> Self {
        version.clone_into(&mut self.firmware);
        self
    }

    /// What happens when a key wants a touch; [`Touch::Auto`] unless said.
    pub fn touch(mut self, touch: Touch) -> Self {
        self.options.touch = touch;
        self
    }

    /// Who is asked for a touch; turns on [`Touch::Ask`].
    pub fn ask(mut self, ask: impl Fn(u32) -> bool + Send + Sync + 'static) -> Self {
        self.options.touch = Touch::Ask;
        self.options.ask = Some(Ask::new(ask));
        self
    }

    /// A token file that exists, instead of a new token from the factory. It keeps what happens to it.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Arms a fault before the first command.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.options.faults.push((None, fault));
        self
    }

    /// Writes each exchange to a file as well, a line of JSON each.
    pub fn trace(mut self, path: impl Into<PathBuf>) -> Self {
        self.options.trace = Some(path.into());
        self
    }

    /// Plugs the token in.
    ///
    /// # Errors
    /// [`Error::Firmware`](crate::Error::Firmware) for a version without a profile; else what the system refuses.
    pub fn start(self) -> Result<VirtualToken> {
        let folder = socket_folder()?;
        let token = match &self.file {
            Some(path) => TokenFile::open(path)?,
            None => {
                let firmware: Firmware = self.firmware.parse()?;
                TokenFile::create(&folder.path().join("token"), self.serial, firmware)?
            }
        };
        let name = token.serial().to_string();
        let (socket, control) = (folder.path().join("pcscd.comm"), folder.path().join("control"));
        let server = Server::start(vec![token], &socket, &control, &self.options)?;
        Ok(VirtualToken { server, name, socket, control, _folder: folder })
    }
}

/// A plugged-in token. Dropping it hangs up on every program and removes its sockets and, unless it had a file of its
/// own, all that it was.
///
/// ```
/// use std::time::Duration;
/// use keyward_emulator::{Touch, VirtualToken};
///
/// let token = VirtualToken::builder().serial(11110001).firmware("5.7.1").touch(Touch::Manual).start()?;
/// let mut program = token.command("true"); // any program that uses PC/SC: ykman, pkcs11-tool, yours
/// assert!(program.status().unwrap().success());
/// assert!(!token.wait_for_touch(Duration::ZERO)?, "no key was used, so it does not blink");
/// assert_eq!(token.status().apdus, 0);
/// # Ok::<(), keyward_emulator::Error>(())
/// ```
pub struct VirtualToken {
    server: Server,
    name: String,
    socket: PathBuf,
    control: PathBuf,
    _folder: tempfile::TempDir, // last, so that it goes after the sockets
}

impl VirtualToken {
    /// Begins a token: firmware 5.7.1, serial 11110001, touched at once.
    pub fn builder() -> Builder {
        let options = Options { keep_exchanges: true, ..Options::default() };
        Builder { serial: 11_110_001, firmware: "5.7.1".to_owned(), file: None, options }
    }

    /// The PC/SC socket, for `PCSCLITE_CSOCK_NAME`.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The control socket, for `KEYWARD_EMULATOR_CTL`.
    pub fn control_socket(&self) -> &Path {
        &self.control
    }

    /// A program about to be run with this token and no other.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("PCSCLITE_CSOCK_NAME", &self.socket).env("KEYWARD_EMULATOR_CTL", &self.control);
        command
    }

    /// Pulls it out.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if it is out already.
    pub fn remove(&self) -> Result<()> {
        self.server.remove(&self.name)
    }

    /// Plugs it in again.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if it is in already.
    pub fn insert(&self) -> Result<()> {
        self.server.insert(&self.name)
    }

    /// Resets the card, as another program might.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if it is out.
    pub fn reset(&self) -> Result<()> {
        self.server.reset(&self.name)
    }

    /// Changes what happens when a key wants a touch.
    pub fn set_touch(&self, touch: Touch) {
        self.server.set_touch(touch);
    }

    /// Waits until it asks for a touch; false if it has not by then.
    ///
    /// # Errors
    /// None that a token of this kind has.
    pub fn wait_for_touch(&self, limit: Duration) -> Result<bool> {
        self.server.wait_for_touch(&self.name, limit)
    }

    /// Touches it.
    ///
    /// # Errors
    /// [`Error::NothingWaits`](crate::Error::NothingWaits) if it does not wait for that.
    pub fn touch(&self) -> Result<()> {
        self.server.touch(&self.name)
    }

    /// Ends its wait for a touch as a time-out would.
    ///
    /// # Errors
    /// [`Error::NothingWaits`](crate::Error::NothingWaits) if it does not wait for a touch.
    pub fn deny(&self) -> Result<()> {
        self.server.deny(&self.name)
    }

    /// Arms a fault.
    ///
    /// # Errors
    /// None that a token of this kind has.
    pub fn fault(&self, fault: Fault) -> Result<()> {
        self.server.fault(&self.name, fault)
    }

    /// Disarms every fault.
    ///
    /// # Errors
    /// None that a token of this kind has.
    pub fn clear_faults(&self) -> Result<()> {
        self.server.clear_faults(&self.name)
    }

    /// Lets an answer go that is held back.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if none is.
    pub fn release(&self) -> Result<()> {
        self.server.release(&self.name)
    }

    /// Has somebody else hold the reader exclusively.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if connections to it are open.
    pub fn occupy(&self) -> Result<()> {
        self.server.occupy(&self.name)
    }

    /// Lets somebody else let go of the reader.
    ///
    /// # Errors
    /// [`Error::Control`](crate::Error::Control) if nobody holds it.
    pub fn vacate(&self) -> Result<()> {
        self.server.vacate(&self.name)
    }

    /// Waits until so many APDUs have been sent to it; false if they have not by then.
    ///
    /// # Errors
    /// None that a token of this kind has.
    pub fn wait_for_apdus(&self, count: u64, limit: Duration) -> Result<bool> {
        self.server.wait_for_apdus(&self.name, count, limit)
    }

    /// What was exchanged with it so far, secrets left out, oldest first; the last 65,536 exchanges are kept.
    pub fn exchanges(&self) -> Vec<Exchange> {
        self.server.exchanges()
    }

    /// How it stands.
    pub fn status(&self) -> TokenStatus {
        self.server.tokens().swap_remove(0)
    }
}

impl std::fmt::Debug for VirtualToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualToken").field("socket", &self.socket).field("status", &self.status()).finish()
    }
}
