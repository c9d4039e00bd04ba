//! What a reader says of an archive, a receipt or a series. Each verdict has one word for scripts and one sentence for
//! people, which follows the name of what it is about.

use std::fmt;

use crate::{Generation, Name, Sequence, Series, Timestamp, VaultId};

/// What was found of an archive, a receipt or a series.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Finding {
    // --- nothing is wrong
    /// The receipt counts, and the archive is the one it names.
    Ok,
    /// The same, and the archive is of a time before the epoch in force: it opens for who held then.
    Superseded {
        /// The generation it was sealed under.
        generation: Generation,
        /// Its epoch; none where it has a key of its own.
        epoch: Option<u32>,
        /// The epoch in force.
        in_force: u32,
    },
    /// The archive is not there, and a receipt says that it need not be.
    Gone,

    // --- something is wrong with an archive
    /// No receipt stands beside it.
    NoReceipt,
    /// The receipt is none, or its signature is not the sealer's.
    Forged {
        /// Why.
        reason: String,
    },
    /// The receipt counts, and the archive is not the one it names.
    Swapped {
        /// What differs.
        what: Differs,
    },
    /// The archive, or its receipt, belongs under another name.
    Reordered {
        /// The name it belongs under.
        name: String,
        /// The number of its receipt.
        sequence: Sequence,
        /// The series.
        series: Series,
    },
    /// An older archive stands where a newer one was.
    RolledBack {
        /// The name that the older one was sealed under.
        name: String,
        /// The number of its receipt.
        sequence: Sequence,
        /// The newest number that is known of the series.
        newest: Sequence,
        /// The series.
        series: Series,
    },
    /// Another receipt of the same number is known.
    Forked {
        /// The number.
        sequence: Sequence,
        /// The series.
        series: Series,
    },
    /// The receipt is of another vault.
    OtherVault {
        /// That vault.
        found: VaultId,
    },
    /// The sealer was not certified when it made the receipt.
    Uncertified {
        /// The sealer.
        sealer: Name,
        /// The generation that certified it; none if none did.
        added: Option<Generation>,
    },
    /// The sealer was removed, and the receipt is not among those that still count.
    RemovedSealer {
        /// The sealer.
        sealer: Name,
        /// The generation that removed it.
        generation: Generation,
        /// The last number of the series that counts; none if none does.
        last: Option<Sequence>,
    },
    /// The receipt was made under a generation that this reader does not know yet.
    LaterGeneration {
        /// That generation.
        found: Generation,
        /// The one in force here.
        in_force: Generation,
    },

    // --- something is wrong with a series
    /// The receipt, or its archive, is not there, and later ones are.
    Missing,
    /// The newest receipts are not there.
    Truncated,
    /// The newest receipt is older than it should be.
    Stale {
        /// When it was made.
        newest: Timestamp,
        /// Whole days since.
        days: u32,
    },
}

/// How an archive differs from the one its receipt names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Differs {
    /// Its size.
    Size {
        /// Bytes by the receipt.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// Its header or payload nonce.
    Header,
    /// Its content.
    Content,
}

impl Finding {
    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        matches!(self, Finding::Ok | Finding::Superseded { .. } | Finding::Gone)
    }

    /// One word for scripts.
    pub fn word(&self) -> &'static str {
        match self {
            Finding::Ok => "ok",
            Finding::Superseded { .. } => "superseded",
            Finding::Gone => "gone",
            Finding::NoReceipt => "no-receipt",
            Finding::Forged { .. } => "forged",
            Finding::Swapped { .. } => "swapped",
            Finding::Reordered { .. } => "reordered",
            Finding::RolledBack { .. } => "rolled-back",
            Finding::Forked { .. } => "forked",
            Finding::OtherVault { .. } => "other-vault",
            Finding::Uncertified { .. } => "uncertified",
            Finding::RemovedSealer { .. } => "removed-sealer",
            Finding::LaterGeneration { .. } => "later-generation",
            Finding::Missing => "missing",
            Finding::Truncated => "truncated",
            Finding::Stale { .. } => "stale",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Ok => f.write_str("ok"),
            Finding::Superseded { generation, epoch, in_force } => {
                write!(f, "superseded: sealed under generation {generation} ")?;
                match epoch {
                    Some(epoch) => write!(f, "to epoch {epoch}")?,
                    None => f.write_str("with a key of its own")?,
                }
                write!(f, ", and epoch {in_force} is in force")
            }
            Finding::Gone => f.write_str("gone: a later receipt says that it was replaced or may be deleted"),
            Finding::NoReceipt => f.write_str("no receipt stands beside it"),
            Finding::Forged { reason } => write!(f, "its receipt is forged or damaged: {reason}"),
            Finding::Swapped { what } => write!(f, "it is not the archive that its receipt names: {what}"),
            Finding::Reordered { name, sequence, series } => write!(
                f,
                "reordered: it is {}, receipt {sequence} of series {series}, under another name",
                name.escape_debug()
            ),
            Finding::RolledBack { name, sequence, newest, series } => write!(
                f,
                "rolled back: it is {}, receipt {sequence} of series {series}, in the place of a newer one; receipt {newest} is known",
                name.escape_debug()
            ),
            Finding::Forked { sequence, series } => {
                write!(f, "there is another receipt {sequence} of series {series}")
            }
            Finding::OtherVault { found } => write!(f, "its receipt is of another vault, {found}"),
            Finding::Uncertified { sealer, added: None } => {
                write!(f, "its receipt is by {sealer}, who is no sealer of this vault")
            }
            Finding::Uncertified { sealer, added: Some(added) } => {
                write!(f, "its receipt says it is older than generation {added}, which certified {sealer}")
            }
            Finding::RemovedSealer { sealer, generation, last: Some(last) } => write!(
                f,
                "its receipt is by {sealer}, removed in generation {generation}; of this series nothing counts after receipt {last}"
            ),
            Finding::RemovedSealer { sealer, generation, last: None } => write!(
                f,
                "its receipt is by {sealer}, removed in generation {generation}; of this series nothing counts"
            ),
            Finding::LaterGeneration { found, in_force } => write!(
                f,
                "its receipt was made under generation {found}, and generation {in_force} is the newest here"
            ),
            Finding::Missing => f.write_str("missing"),
            Finding::Truncated => f.write_str("missing at the end of its series: it was known before"),
            Finding::Stale { newest, days } => {
                write!(f, "stale: its newest receipt is of {newest}, {days} days ago")
            }
        }
    }
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Differs::Size { expected, found } => write!(f, "it has {found} bytes instead of {expected}"),
            Differs::Header => f.write_str("its header is another"),
            Differs::Content => f.write_str("its content is another"),
        }
    }
}
