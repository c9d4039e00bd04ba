//! Finding and using PIV tokens: PC/SC, the PIV client, provisioning of YubiKeys, attestation.
//!
//! ```text
//!   list / readers ──> Card ──begin──> Session ──select_piv──> Piv<Locked>
//!                                                                 │ card_proof
//!   provision::enroll ─┐                                      Piv<Proven>
//!                      │                                          │ verify
//!        yubico (the yubikey crate and its gaps)              Piv<Unlocked> ── ecdh, sign, seeds
//!        generic, standard (any other PIV card)
//!                      │
//!        furnish (keys, seeds, certificates), attest, advisory
//! ```
//!
//! A private key is made inside the token and never leaves it. Before a PIN is sent the card proves
//! itself; the types say so: only a [`Piv<Proven>`](piv::Piv) has `verify`.
//!
//! This crate states facts as errors; it neither prints nor prompts nor reads the environment. It knows
//! PIV and nothing of age or of vaults beyond their id.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod advisory;
mod apdu;
pub mod attest;
mod beside;
mod certificate;
mod client;
mod error;
mod furnish;
mod generic;
mod inventory;
mod pin;
pub mod piv;
mod plan;
pub mod provision;
pub mod seed;
pub mod slot;
mod standard;
mod tlv;
pub mod transport;
mod yubico;

pub use advisory::{Advisory, Firmware};
pub use apdu::StatusWord;
pub use attest::Verdict;
pub use client::Metadata;
pub use error::{Error, Result};
pub use pin::{Pin, Puk};
pub use piv::{Locked, PinFree, Piv, Proven, SharedSecret, Unlocked};
pub use slot::{ObjectId, PinPolicy, Slot, TouchPolicy};
pub use standard::AdministrationKey;
pub use transport::{Card, Found, Reader, Session, Transport, TransportError, list, readers};
pub use yubico::ManagementKey;

/// An uncompressed point on P-256, SEC 1: `04 ‖ x ‖ y`.
pub type Point = [u8; 65];
