//! Errors by what they mean for the one who gets them.

use crate::Error;

/// What an [`Error`] means for the one who gets it; the command line makes exit codes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something that was given cannot be read or does not fit together.
    Input,
    /// Nothing is there.
    NotFound,
    /// Something that was to be verified is not what it should be.
    NotVerified,
    /// It could be done and is refused for safety.
    Refused,
    /// The holders present do not satisfy the policy.
    NotSatisfied,
    /// A passphrase or words are not the right ones.
    WrongSecret,
    /// The machine failed.
    System,
}

impl Error {
    /// What the error means for the one who gets it.
    pub fn class(&self) -> Class {
        match self {
            Error::NoStatement | Error::NoSealer { .. } => Class::NotFound,
            Error::Random(_) => Class::System,
            Error::NotSatisfied { .. } => Class::NotSatisfied,
            Error::WrongPassphrase
            | Error::PaperWords { .. }
            | Error::PaperWord { .. }
            | Error::PaperChecksum
            | Error::PaperIsAnother { .. }
            | Error::IdentityIsAnother { .. } => Class::WrongSecret,
            Error::SingleHolder { .. }
            | Error::TestVault { .. }
            | Error::EmulatedToken { .. }
            | Error::Unsatisfiable { .. }
            | Error::TooFewAdmins { .. }
            | Error::WeakPassphrase { .. }
            | Error::SealerTaken { .. } => Class::Refused,
            Error::KeyFileEdited { .. }
            | Error::KeyFileOfAnother { .. }
            | Error::Leaves { .. }
            | Error::Leaf { .. }
            | Error::ShareOfAnother { .. }
            | Error::WrongShare { .. }
            | Error::Commitment { .. }
            | Error::HolderFileEdited { .. }
            | Error::EpochChanged { .. }
            | Error::SealerChanged { .. }
            | Error::Receipt { .. }
            | Error::SealerKey { .. }
            | Error::EpochStale { .. } => Class::NotVerified,
            Error::Signature(_)
            | Error::Malformed { .. }
            | Error::NotCanonical { .. }
            | Error::TooLong { .. }
            | Error::OtherVault { .. }
            | Error::RolledBack { .. }
            | Error::Gap { .. }
            | Error::Fork { .. }
            | Error::Edited { .. }
            | Error::WrongNumber { .. }
            | Error::Statement { .. }
            | Error::BadSignature { .. }
            | Error::UnknownSigner { .. }
            | Error::Unsigned { .. }
            | Error::FixedMember { .. }
            | Error::OtherFingerprint { .. }
            | Error::Pins { .. } => Class::NotVerified,
            _ => Class::Input,
        }
    }
}
