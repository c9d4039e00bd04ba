//! What the crate promises, from outside: round trips, refusals, and what is left behind.

// Helpers of tests are not tests to clippy; a panic is how each of them fails.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bombs;
mod damage;
mod digests;
mod hostile;
mod left_out;
mod limits;
mod metadata;
mod padding;
mod pick;
mod places;
mod round_trip;
mod support;
