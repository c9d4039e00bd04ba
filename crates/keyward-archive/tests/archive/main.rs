//! What the crate promises, from outside: round trips, refusals, and what is left behind.

// Helpers of tests are not tests to clippy; a panic is how each of them fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod damage;
mod digests;
mod hostile;
mod limits;
mod pick;
mod places;
mod round_trip;
mod support;
