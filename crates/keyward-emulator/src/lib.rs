//! A virtual YubiKey: a pure card, its state in a file, and a PC/SC server on a Unix socket.
//!
//! ```text
//! main (run, serve, ctl, new)
//!   └─> pcsclite   PC/SC clients ──┐
//!   └─> control    the test's hand ┴─> reader table ─> token file ─> card
//! ```
//!
//! It stands alone: no other crate of the workspace is used, so that those can be tested against it.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod card;
mod error;

pub use card::{Card, attest::TEST_ROOT_CERTIFICATE, firmware::Firmware, policy::Touch};
pub use error::{Error, Result};
