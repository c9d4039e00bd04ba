//! What can go wrong with an age file, each with the facts that a caller needs to act on it.

use std::io;

use crate::token_key::TokenError;

/// An error of this crate.
///
/// Readers and writers surface it through [`io::Error`]; [`Error::from_io`] gets it back.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input does not begin like an age v1 file.
    #[error("this is not an age file")]
    NotAge,

    /// The input begins like an age file, but its header breaks the format.
    #[error("the age header is malformed: {0}")]
    Header(&'static str),

    /// No stanza of the header is addressed to the key at hand. No private-key operation was made
    /// with a token.
    #[error("the file is not sealed to this key")]
    NoMatch,

    /// A stanza opened, but the header was changed after it was made.
    #[error("the age header was changed: its MAC does not verify")]
    HeaderMac,

    /// A hybrid stanza carries this token's tag and does not open: the ML-KEM seed is not the one
    /// of the recipient, or the stanza was damaged.
    #[error(
        "the hybrid stanza for this token does not open: its ML-KEM seed is another one, or the stanza is damaged"
    )]
    Seed,

    /// A classic stanza carries this token's tag and does not open: it was damaged.
    #[error("the {kind} stanza for this token does not open: it is damaged")]
    Stanza {
        /// The stanza's type, as in the header.
        kind: &'static str,
    },

    /// Recipients of both suites were given for one file.
    #[error("hybrid and classic recipients cannot be mixed in one file")]
    MixedSuites,

    /// A file was to be sealed to nobody.
    #[error("no recipient was given")]
    NoRecipients,

    /// A suite's name is neither `hybrid` nor `classic`.
    #[error("the suite is neither `hybrid` nor `classic`")]
    Suite,

    /// A recipient is not well-formed.
    #[error("the recipient is not valid: {reason}")]
    Recipient {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// An identity is not well-formed. The text never contains the identity.
    #[error("the identity is not valid: {reason}")]
    Identity {
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The token refused or failed.
    #[error("the token failed")]
    Token(#[source] TokenError),

    /// A chunk of the payload does not verify. Nothing of it was released.
    #[error("chunk {index}{} of the payload does not verify: {}",
        if *.last { ", the last one," } else { "" },
        if *.last { "the file is damaged or cut short" } else { "the file is damaged" })]
    Chunk {
        /// The chunk's number, from 0; a chunk is 64 KiB of plaintext.
        index: u64,
        /// Whether it stood at the end of the input.
        last: bool,
    },

    /// The last chunk is authentic and empty, which the format allows for an empty payload only.
    #[error("the payload ends in an empty chunk, which age forbids")]
    EmptyLastChunk,

    /// The payload ends before its last chunk.
    #[error("the file is cut short: its last chunk is missing")]
    Truncated,

    /// Something follows the payload's last chunk.
    #[error("the file was extended: data follows its last chunk")]
    Trailing,

    /// The passphrase's work factor is more than this machine should be asked for.
    #[error("the passphrase asks for too much work: 2^{required}, and this machine allows 2^{allowed}")]
    ExcessiveWork {
        /// The base-2 logarithm of the scrypt work factor in the file.
        required: u8,
        /// The largest that was accepted.
        allowed: u8,
    },

    /// A foreign age identity (a plugin, a passphrase) failed.
    #[error("the age identity failed: {0}")]
    Age(#[source] age::DecryptError),

    /// A cryptographic primitive, or the system's random generator, failed.
    #[error("{0} failed")]
    Primitive(&'static str),

    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Error {
    /// Takes this crate's error out of an [`io::Error`] that carries one; any other becomes
    /// [`Error::Io`].
    pub fn from_io(error: io::Error) -> Error {
        match error.downcast::<Error>() {
            Ok(inner) => inner,
            Err(other) => Error::Io(other),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match &error {
            Error::Io(_) => {
                if let Error::Io(inner) = error {
                    return inner;
                }
                io::ErrorKind::Other
            }
            Error::Truncated => io::ErrorKind::UnexpectedEof,
            Error::NotAge
            | Error::Header(_)
            | Error::HeaderMac
            | Error::Chunk { .. }
            | Error::EmptyLastChunk
            | Error::Trailing => io::ErrorKind::InvalidData,
            Error::MixedSuites
            | Error::NoRecipients
            | Error::Suite
            | Error::Recipient { .. }
            | Error::Identity { .. } => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}
