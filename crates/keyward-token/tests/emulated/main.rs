//! Enrolling and using emulated YubiKeys: over the PC/SC socket, and in process where APDUs are counted.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected ends there; clippy excuses only functions marked as tests"
)]

mod adopting;
mod attestation;
mod cold;
mod enrolment;
mod forged;
mod harness;
mod readers;
