//! What every end-to-end test needs: a sandbox with its own home and sockets, programs run with a bound on
//! their time, trees of real files and a comparison of everything a file system says about them.
//!
//! The tests see Keyward from outside: they run its binaries and other people's programs, and link none of its
//! crates. A program that is missing fails a test, and says what to run; nothing is skipped.
//!
//! No test can reach a token of yours: each program is started with `PCSCLITE_CSOCK_NAME` naming a socket that
//! only an emulator can open.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test harness ends a test by panicking"
)]

mod compare;
mod dialog;
mod emulator;
mod noise;
mod pcsc_client;
mod pcscd;
mod programs;
mod run;
mod sandbox;
mod store;
mod trace;
mod tree;

pub use compare::{Snapshot, assert_same, snapshot};
pub use dialog::Dialog;
pub use emulator::Emulator;
pub use noise::Noise;
pub use pcsc_client::PcscClient;
pub use pcscd::{Pcscd, Service};
pub use programs::{Peer, campaign_is_long, peer, program, update_is_wanted, workspace_root};
pub use run::{Outcome, Run};
pub use sandbox::{Files, PIN, SUITES, Sandbox};
pub use store::{Fault, Kind, Message, Proxy, Seen, Store};
pub use trace::{Exchange, read_trace};
pub use tree::{EVERYDAY_FILES, links_out, real_tree, small_tree};
