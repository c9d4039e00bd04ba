//! Receipts, from outside: what a certified host makes, and what a reader says of everything that was done to it.

// Helpers outside of test functions fail a test the same way as the functions do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod audits;
mod certified;
#[path = "../vault/fixed.rs"]
#[allow(dead_code)]
mod fixed;
mod hosts;
mod openssh;
mod own;
mod properties;
mod vector_files;
mod vectors;
