//! Epochs from outside: holders of every kind, what they open under every kind of policy, and what is refused.

// Helpers outside of test functions fail a test the same way as the functions do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[allow(dead_code)]
#[path = "../vault/fixed.rs"]
mod fixed;
mod key_files;
mod life;
mod own_keys;
mod people;
mod policies;
mod statements;
mod vector_files;
mod vectors;
