//! The signed vault: who holds the keys, who may change that, and what a reader accepts as true.
//!
//! Bytes in, bytes out: this crate reads no file, no clock and no environment, and never prompts. It knows neither
//! cards nor archives; the command line brings it the files of a vault, the pins of this host and the signatures a
//! token made. What it writes is fixed in `docs/formats.md`.
//!
//! ```text
//! Draft ──new_epoch, rewrap──> KeyFile                                     written first, by public keys alone
//!   └────build──> Statement ──Pending──add(signature) … is_complete        making a generation
//!
//! VaultFiles ──verify_chain(pins)──────────────────────────> Verified<Statement> ──> recipients, candidates
//! VaultFiles ──Unpinned::read──trust(Confirmation)──> Pins + Verified<Statement>       the first time
//!
//! SealerKey ──sign──> SignedReceipt          Verified<Statement> + Heads ──Auditor──> Origin, Audit      archives' origin
//!
//! Verified<Statement> ──key_file──> KeyFile ──open_leaf──> Share ──Combiner──> IdentitySeed     opening an epoch
//! ```
//!
//! A parsed [`Statement`] is a claim. Only [`verify_chain`] and [`Unpinned::trust`] make a [`Verified`] one, and only
//! that lends recipients to seal to and holders to open with.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod audit;
mod canonical;
mod chain;
mod change;
mod combine;
mod difference;
mod draft;
mod epoch;
mod error;
mod finding;
mod fingerprint;
mod heads;
mod holder;
mod key;
mod key_file;
mod name;
mod numbers;
mod own_key;
mod own_series;
mod paper;
mod passphrase;
mod pending;
mod pins;
mod policy;
mod receipt;
mod recover;
mod require;
mod sealer;
mod sealer_key;
mod secret;
mod shamir;
mod signature;
mod statement;
mod time;
mod vault;

pub use audit::{
    Audit, AuditLine, Auditor, FoundArchive, FoundReceipt, Freshness, Origin, RECEIPT_SUFFIX, last_component,
};
pub use canonical::Digest;
pub use chain::{SealedTo, Unpinned, Verified, verify_chain};
pub use change::{Change, Needs};
pub use combine::{Combined, Combiner, Way, ways};
pub use difference::{DifferenceLine, difference};
pub use draft::{Draft, Removal, Removed};
pub use epoch::Epoch;
pub use error::{Class, Error};
pub use finding::{Differs, Finding};
pub use fingerprint::{Confirmation, Fingerprint, FingerprintClaim, WORDS, Words};
pub use heads::{Head, Heads};
pub use holder::{
    AgeHolder, Candidate, Firmware, Holder, PaperHolder, PassphraseHolder, PinPolicy, SeedObject, SigningKey,
    SlotId, Token, TouchPolicy, Verdict,
};
pub use key::PublicKey;
pub use key_file::{KeyFile, KeyId, Leaf, Share, SharePath};
pub use name::Name;
pub use numbers::{Numbers, Sequence};
pub use own_key::{OwnKey, own_key_suffix};
pub use own_series::{OwnSeries, Waiting};
pub use paper::{PAPER_WORDS, Paper, Sheet, SheetFacts};
pub use passphrase::{
    PASSPHRASE_BITS, PASSPHRASE_WORK, check_passphrase, first_identity, generate_passphrase, identity_file,
    lock_identity, passphrase_bits, unlock_identity,
};
pub use pending::{Pending, Quorum};
pub use pins::Pins;
pub use policy::{Policy, PolicyError, PolicyPart};
pub use receipt::{ArchiveFacts, Blake3, Gone, GoneMap, Receipt, ReceiptFacts, SignedReceipt};
pub use recover::WhatIf;
pub use require::Requirements;
pub use sealer::{Link, RemovedSealer, Sealer, Series};
pub use sealer_key::{SealerKey, allowed_sealers_line};
pub use secret::IdentitySeed;
pub use signature::{
    Namespace, Signature, SignatureError, allowed_signers_line, signed_blob, signing_digest,
};
pub use statement::{Generation, Statement, Thresholds, VaultId};
pub use time::{Expiry, Timestamp};
pub use vault::{VaultFile, VaultFiles};
