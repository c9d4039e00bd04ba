//! Bytes to and from a card: PC/SC, or anything else that answers APDUs.
//!
//! ```text
//! readers() ──> Card::open(reader) ──> begin() ──> Session (one PC/SC transaction) ──> drop: reset or leave
//! ```
//!
//! One transaction spans a use, so no other program's commands come in between. What is left behind is decided
//! here: once a PIN or the management key has been shown to the card, the end of the session resets it. pcscd's
//! "leave" would keep the PIN verified for whatever program connects next, and the threat model counts such a
//! program as an attacker. A session that showed the card no secret leaves it as it is, since a reset would take
//! away what another program has verified.

use std::{ffi::CString, fmt, time::Duration};

use zeroize::Zeroizing;

use crate::{
    advisory::Firmware,
    error::{Error, Result},
};

/// The longest answer that is taken from PC/SC at once: an extended APDU of a YubiKey has 3,072 bytes.
const RECEIVE_BUFFER: usize = 4096;

/// Why an APDU did not get its answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The card is gone, or without power.
    #[error("the card was removed")]
    Removed,
    /// Somebody reset the card; it has forgotten PIN and selection.
    #[error("the card was reset")]
    Reset,
    /// Another program has the reader for itself.
    #[error("the reader is in use")]
    Busy,
    /// No PC/SC service.
    #[error("no PC/SC service is running")]
    NoService,
    /// The answer has no status word, or no end.
    #[error("the card's answer is no response APDU")]
    Answer,
    /// Another PC/SC error.
    #[error(transparent)]
    Pcsc(pcsc::Error),
}

impl From<pcsc::Error> for TransportError {
    fn from(error: pcsc::Error) -> Self {
        match error {
            pcsc::Error::RemovedCard
            | pcsc::Error::NoSmartcard
            | pcsc::Error::UnpoweredCard
            | pcsc::Error::UnresponsiveCard
            | pcsc::Error::ReaderUnavailable
            | pcsc::Error::UnknownReader => Self::Removed,
            pcsc::Error::ResetCard => Self::Reset,
            pcsc::Error::SharingViolation => Self::Busy,
            pcsc::Error::NoService | pcsc::Error::ServiceStopped => Self::NoService,
            other => Self::Pcsc(other),
        }
    }
}

impl TransportError {
    /// The same, for the reader it happened in.
    pub(crate) fn at(self, reader: &str) -> Error {
        let reader = reader.to_owned();
        match self {
            Self::Removed => Error::Removed { reader },
            Self::Reset => Error::Reset { reader },
            Self::Busy => Error::Busy { reader },
            Self::NoService => Error::NoService,
            source => Error::Transport { reader, source },
        }
    }
}

/// How a use ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Nothing secret was shown to the card.
    Leave,
    /// The card must forget the PIN.
    Reset,
}

/// Something that answers APDUs.
pub trait Transport {
    /// Sends one APDU and returns the answer with its status word.
    ///
    /// # Errors
    /// [`TransportError::Removed`], [`TransportError::Reset`], or what else the transport meets.
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError>;

    /// Connects again after [`TransportError::Reset`].
    ///
    /// # Errors
    /// [`TransportError::Reset`] if this transport cannot.
    fn reconnect(&mut self) -> Result<(), TransportError> {
        Err(TransportError::Reset)
    }

    /// Ends a use.
    fn finish(&mut self, _ending: Ending) {}
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
        (**self).transmit(apdu)
    }

    fn reconnect(&mut self) -> Result<(), TransportError> {
        (**self).reconnect()
    }

    fn finish(&mut self, ending: Ending) {
        (**self).finish(ending);
    }
}

/// A reader with a card in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// PC/SC's name for it.
    pub name: String,
    /// The card's answer to reset.
    pub atr: Vec<u8>,
    /// Whether another program holds it exclusively.
    pub held: bool,
}

impl Reader {
    /// Whether the name is that of a YubiKey, which is how Yubico's own programs tell.
    #[must_use]
    pub fn looks_like_yubikey(&self) -> bool {
        self.name.to_ascii_lowercase().contains("yubikey")
    }
}

/// A PIV card that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// PC/SC's name for its reader.
    pub reader: String,
    /// A YubiKey's serial number; unknown for other cards and for one that is busy.
    pub serial: Option<u32>,
    /// A YubiKey's firmware version.
    pub firmware: Option<Firmware>,
    /// The answer to reset.
    pub atr: Vec<u8>,
    /// Another program holds the reader; whether the card has PIV is not known.
    pub busy: bool,
}

/// The readers with a card in them. Not one APDU is sent.
///
/// # Errors
/// [`Error::NoService`] if no PC/SC service answers; [`Error::NoToken`] if no reader has a card.
pub fn readers() -> Result<Vec<Reader>> {
    let context = establish()?;
    let names = match context.list_readers_owned() {
        Ok(names) => names,
        Err(pcsc::Error::NoReadersAvailable) => Vec::new(),
        Err(error) => return Err(TransportError::from(error).at("")),
    };
    if names.is_empty() {
        return Err(Error::NoToken);
    }
    let mut states: Vec<_> =
        names.into_iter().map(|name| pcsc::ReaderState::new(name, pcsc::State::UNAWARE)).collect();
    context
        .get_status_change(Duration::ZERO, &mut states)
        .map_err(|error| TransportError::from(error).at(""))?;
    let found: Vec<_> = states
        .iter()
        .filter(|state| state.event_state().contains(pcsc::State::PRESENT))
        .map(|state| Reader {
            name: state.name().to_string_lossy().into_owned(),
            atr: state.atr().to_vec(),
            held: state.event_state().contains(pcsc::State::EXCLUSIVE),
        })
        .collect();
    if found.is_empty() { Err(Error::NoToken) } else { Ok(found) }
}

/// The PIV cards present, asked for serial number and firmware.
///
/// # Errors
/// [`Error::NoService`] and [`Error::NoToken`] as for [`readers`]; a card that cannot be used is left out.
pub fn list() -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for Reader { name, atr, .. } in readers()? {
        match probe(&name) {
            Ok((serial, firmware)) => found.push(Found { reader: name, serial, firmware, atr, busy: false }),
            Err(Error::Busy { reader }) => {
                found.push(Found { reader, serial: None, firmware: None, atr, busy: true });
            }
            // Not a PIV card, or gone meanwhile.
            Err(_) => {}
        }
    }
    if found.is_empty() { Err(Error::NoToken) } else { Ok(found) }
}

fn probe(reader: &str) -> Result<(Option<u32>, Option<Firmware>)> {
    let mut card = Card::open(reader)?;
    let mut piv = card.begin()?.select_piv()?;
    Ok(piv.yubikey()?.unzip())
}

fn establish() -> Result<pcsc::Context> {
    pcsc::Context::establish(pcsc::Scope::User).map_err(|error| TransportError::from(error).at(""))
}

/// A connection to a card. Between sessions other programs may use it too.
pub struct Card {
    reader: String,
    link: Link,
}

enum Link {
    Pcsc(Connection),
    Other(Box<dyn Transport + Send>),
}

impl Card {
    /// Connects to the card in a reader, shared with other programs.
    ///
    /// # Errors
    /// [`Error::Busy`] if another program has it for itself; [`Error::NoReader`], [`Error::Removed`],
    /// [`Error::NoService`].
    pub fn open(reader: &str) -> Result<Self> {
        let no_reader = || Error::NoReader { reader: reader.to_owned() };
        let name = CString::new(reader).map_err(|_| no_reader())?;
        let context = establish()?;
        match context.connect(&name, pcsc::ShareMode::Shared, pcsc::Protocols::ANY) {
            Ok(card) => {
                let connection = Connection { card: Some(card), showed_secret: false };
                Ok(Self { reader: reader.to_owned(), link: Link::Pcsc(connection) })
            }
            Err(pcsc::Error::UnknownReader) => Err(no_reader()),
            Err(error) => Err(TransportError::from(error).at(reader)),
        }
    }

    /// A card behind another transport, named `name` in errors.
    #[must_use]
    pub fn over(name: &str, transport: Box<dyn Transport + Send>) -> Self {
        Self { reader: name.to_owned(), link: Link::Other(transport) }
    }

    /// The reader's name.
    #[must_use]
    pub fn reader(&self) -> &str {
        &self.reader
    }

    /// Takes the card for one use. A reset by another program since the last one is reconnected once.
    ///
    /// Waits while another program has a transaction of its own.
    ///
    /// # Errors
    /// [`Error::Removed`], [`Error::Busy`], [`Error::Reset`].
    pub fn begin(&mut self) -> Result<Session<'_>> {
        let Self { reader, link } = self;
        let transport: Box<dyn Transport + '_> = match link {
            Link::Pcsc(connection) => Box::new(connection.begin().map_err(|error| error.at(reader))?),
            Link::Other(transport) => Box::new(transport.as_mut()),
        };
        Ok(Session { reader, transport, ending: Ending::Leave, may_reconnect: true })
    }
}

impl fmt::Debug for Card {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Card").field("reader", &self.reader).finish_non_exhaustive()
    }
}

/// A PC/SC handle. Dropping a [`pcsc::Card`] resets the card; this one does so only if it should.
struct Connection {
    card: Option<pcsc::Card>,
    showed_secret: bool,
}

impl Connection {
    fn begin(&mut self) -> Result<Transaction<'_>, TransportError> {
        let Self { card, showed_secret } = self;
        let card = card.as_mut().ok_or(TransportError::Removed)?;
        let inner = match card.transaction2() {
            Ok(inner) => inner,
            Err((card, pcsc::Error::ResetCard)) => {
                card.reconnect(pcsc::ShareMode::Shared, pcsc::Protocols::ANY, pcsc::Disposition::LeaveCard)?;
                card.transaction2().map_err(|(_, error)| error)?
            }
            Err((_, error)) => return Err(error.into()),
        };
        Ok(Transaction { inner: Some(inner), showed_secret })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(card) = self.card.take() {
            let disposition =
                if self.showed_secret { pcsc::Disposition::ResetCard } else { pcsc::Disposition::LeaveCard };
            // If even this fails, dropping the handle that comes back resets the card.
            drop(card.disconnect(disposition));
        }
    }
}

struct Transaction<'c> {
    inner: Option<pcsc::Transaction<'c>>,
    showed_secret: &'c mut bool,
}

impl Transport for Transaction<'_> {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
        let inner = self.inner.as_ref().ok_or(TransportError::Removed)?;
        let mut buffer = Zeroizing::new(vec![0; RECEIVE_BUFFER]);
        Ok(inner.transmit(apdu, &mut buffer)?.to_vec())
    }

    fn reconnect(&mut self) -> Result<(), TransportError> {
        let inner = self.inner.as_mut().ok_or(TransportError::Removed)?;
        Ok(inner.reconnect(pcsc::ShareMode::Shared, pcsc::Protocols::ANY, pcsc::Disposition::LeaveCard)?)
    }

    fn finish(&mut self, ending: Ending) {
        let Some(inner) = self.inner.take() else { return };
        let disposition = match ending {
            Ending::Leave => pcsc::Disposition::LeaveCard,
            Ending::Reset => pcsc::Disposition::ResetCard,
        };
        // A reset that failed is made up for when the connection closes.
        *self.showed_secret = inner.end(disposition).is_err() && ending == Ending::Reset;
    }
}

/// One use of a card: a PC/SC transaction, from SELECT to the last command.
pub struct Session<'c> {
    pub(crate) reader: &'c str,
    transport: Box<dyn Transport + 'c>,
    ending: Ending,
    may_reconnect: bool,
}

impl Session<'_> {
    pub(crate) fn transport(&mut self) -> &mut dyn Transport {
        &mut *self.transport
    }

    /// From here on the session ends with a reset. Called before the secret is sent, not after.
    pub(crate) fn shows_secret(&mut self) {
        self.ending = Ending::Reset;
        self.may_reconnect = false;
    }

    /// For a session inside the life of another connection of ours that ends with a reset.
    pub(crate) fn leaves_reset_to_another(&mut self) {
        self.ending = Ending::Leave;
    }

    /// Connects again, once a session and only before any secret was shown; says whether it did.
    pub(crate) fn reconnect_once(&mut self) -> bool {
        std::mem::take(&mut self.may_reconnect) && self.transport.reconnect().is_ok()
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        self.transport.finish(self.ending);
    }
}

impl fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("reader", &self.reader)
            .field("ending", &self.ending)
            .finish_non_exhaustive()
    }
}
