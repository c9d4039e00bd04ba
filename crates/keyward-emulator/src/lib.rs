//! A virtual YubiKey: a pure card, its state in a file, and a PC/SC server on a Unix socket.
//!
//! ```text
//! main: new, run, serve, ctl
//!   └─> server ─┬─> pcsclite   PC/SC clients, a thread each ─┐
//!               └─> control    the hand that plugs and touches ┴─> readers ─> token_file ─> card
//!                                                                   └─> trace, fault
//! ```
//!
//! It stands alone: no other crate of the workspace is used, so that those can be tested against it.
//! The card itself needs no server: [`Card::transmit`] answers APDUs in process.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod card;
pub mod control;
mod error;
mod fault;
mod listener;
mod pcsclite;
mod readers;
mod server;
mod token_file;
mod trace;

pub use card::{Card, attest::TEST_ROOT_CERTIFICATE, firmware::Firmware, policy::Touch};
pub use error::{Error, Result};
pub use readers::TokenStatus;
pub use server::{Options, Server};
pub use token_file::TokenFile;

/// The README's examples are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
