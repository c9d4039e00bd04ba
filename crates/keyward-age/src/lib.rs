//! age v1 files for Keyward: the header, the stanzas that tokens and their companions open, and a
//! payload engine that uses every core and a fixed amount of memory.
//!
//! The format is <https://c2sp.org/age>. Work on the header (parsing, the MAC, X25519, sealing to
//! tag recipients) stays with the [`age`] crate; what is added here is what it lacks: opening the
//! tag stanzas with a Diffie-Hellman that happens in a token, the native hybrid recipient
//! `age1pq1…`, and the parallel payload.
//!
//! ```text
//! seal   recipients ──> SealWriter ──> header ‖ nonce ‖ chunks
//! open   Header::read ──> unwrap_token / unwrap_soft ──> FileKey
//!                                     └──> OpenReader (front to back) or OpenAt (anywhere)
//! ```
//!
//! A token is known here as the trait [`TokenKey`] alone: one P-256 Diffie-Hellman and, for the
//! hybrid suite, an ML-KEM seed. This crate never prints, prompts, or reads the environment.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod armor;
mod encoding;
mod error;
mod file_key;
mod header;
mod hpke;
mod identity;
mod payload;
mod recipient;
mod stanza;
mod token_key;
#[cfg(test)]
mod vectors;

pub use age;
pub use armor::dearmor;
pub use error::Error;
pub use file_key::FileKey;
pub use header::Header;
pub use identity::SoftIdentity;
pub use payload::open::OpenReader;
pub use payload::open_at::{OpenAt, ReadAt};
pub use payload::seal::{FillError, SealOptions, SealWriter};
pub use payload::{CHUNK_LEN, NONCE_LEN, SEALED_CHUNK_LEN};
pub use recipient::{Hybrid, Recipient, Suite, Tag, TagPq};
pub use stanza::mlkem768x25519::Identity as HybridIdentity;
pub use token_key::{MlKemSeed, SharedSecret, TokenError, TokenKey};
