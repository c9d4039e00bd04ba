//! What can go wrong around the card. What the card itself refuses is a status word, not one of these.

use std::path::PathBuf;

/// Errors of token files, the server and the programs run under it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The firmware version does not parse or has no profile here.
    #[error("there is no emulation of firmware {version}; there is 4.3.x, 5.2.x, 5.4.x and 5.7.x")]
    Firmware {
        /// The version as it was given.
        version: String,
    },
    /// A way to touch that there is not.
    #[error("{text} is no way to touch; there is auto, deny, ask, manual and delay=MILLISECONDS")]
    Touch {
        /// What was given.
        text: String,
    },
    /// A fault that there is not.
    #[error("{text} is no fault; there is {known}")]
    Fault {
        /// What was given.
        text: String,
        /// Every fault there is.
        known: &'static str,
    },
    /// Nothing waits for a touch.
    #[error("no token waits for a touch")]
    NothingWaits,
    /// `new` does not overwrite.
    #[error("{} exists; nothing was changed", path.display())]
    Exists {
        /// The file that is there.
        path: PathBuf,
    },
    /// Another process serves this token.
    #[error("{} is in use by another keyward-emulator", path.display())]
    InUse {
        /// The token file.
        path: PathBuf,
    },
    /// The token file is not one, or was damaged.
    #[error("{} is no token file of keyward-emulator: {reason}", path.display())]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A token's state does not hold together.
    #[error("{0}")]
    State(String),
    /// Two tokens with one serial cannot be told apart.
    #[error("two tokens have serial {serial}")]
    SameSerial {
        /// The serial number.
        serial: u32,
    },
    /// PC/SC clients know 16 readers.
    #[error("{count} tokens were given; PC/SC clients know at most 16 readers")]
    TooManyTokens {
        /// How many tokens were given.
        count: usize,
    },
    /// The socket's path exists.
    #[error("{} exists and something answers there, or it is no socket", path.display())]
    SocketInUse {
        /// The path.
        path: PathBuf,
    },
    /// The machine gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}")]
    Certificate(String),
    /// The control socket refused a command.
    #[error("{0}")]
    Control(String),
    /// No PC/SC service answers there.
    #[error("no PC/SC service answers at {}: {source}", path.display())]
    Service {
        /// Its socket.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A trace that cannot be read.
    #[error("{} is no trace: line {line} is none of its lines", path.display())]
    Trace {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The operating system refused something.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or socket concerned.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
}

impl Error {
    /// An I/O error at a path.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;
