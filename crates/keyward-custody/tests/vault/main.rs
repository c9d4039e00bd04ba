//! The signed vault, from outside: what a reader must refuse, what a writer makes, and what OpenSSH says of it.

// Helpers outside of test functions fail a test the same way as the functions do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod cases;
mod chain;
mod fixed;
mod properties;
mod refused;
mod ssh_keygen;
mod vector_files;
mod vectors;
