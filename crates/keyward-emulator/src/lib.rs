//! A virtual YubiKey: a pure card, its state in a file, and a PC/SC server on a Unix socket.
//!
//! ```text
//! main: new, run, serve, ctl, trace          virtual_token   the same for Rust tests
//!   └─> server ─┬─> pcsclite   PC/SC clients, a thread each ─┐   └─> server
//!               ├─> vpcd       a system's pcscd              ├─> readers ─> token_file ─> card
//!               └─> control    the hand that plugs and touches ┘     └─> trace, fault, touch
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
mod touch;
pub mod trace;
mod virtual_token;
mod vpcd;

pub use card::{Card, attest::TEST_ROOT_CERTIFICATE, firmware::Firmware};
pub use error::{Error, Result};
pub use fault::{Fault, FaultKind};
pub use readers::TokenStatus;
pub use server::{Options, Server, socket_folder};
pub use token_file::{Cut, TokenFile};
pub use touch::{Ask, TOUCH_TIMEOUT, Touch};
pub use trace::Exchange;
pub use virtual_token::{Builder, VirtualToken};

/// The README's examples are compiled and run as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
