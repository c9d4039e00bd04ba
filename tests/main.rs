//! Keyward from outside: its binaries, other people's programs, real files.

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]

mod claims;
mod cold_open;
mod dialogs;
mod documents;
mod harness;
mod interop;
mod layers;
mod losses;
mod many;
mod memory;
mod origin;
mod own_key;
mod places;
mod refusals;
mod transcripts;
mod trees;
