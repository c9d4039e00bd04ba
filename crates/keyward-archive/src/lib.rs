//! Archives for Keyward: trees and streams to sealed files and back.
//!
//! A folder becomes a tar in zstd's seekable format in an age file; `age -d | zstd -d | tar x` opens
//! it without Keyward. A single file or a stream is sealed as it is. The rooms:
//!
//! | room | what it knows |
//! |---|---|
//! | [`seal_tree`], [`seal_stream`] (`seal`), `walk` | reading a tree that may change under our eyes |
//! | [`Sealed`], [`Archive`] (`open`) | header, file key, stream, listing |
//! | `extract`, `chain`, `staging` | a folder that nothing leaves, and that appears whole or not at all |
//! | `tar`, `frames`, `index` | the three formats inside, each with its bounds |
//! | `place` | where files live: today a local folder |
//!
//! The crate prints nothing, asks nothing and reads no environment; [`Progress`] is how a caller
//! watches and stops it. It runs on Unix systems.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod chain;
mod entry;
mod error;
mod extract;
mod frames;
mod index;
mod open;
mod place;
mod progress;
mod seal;
mod staging;
mod tar;
mod walk;

pub use entry::{Entry, Kind, Time};
pub use error::{Error, Printable, Unsafe};
pub use extract::{ExtractOptions, ExtractReport};
pub use index::Totals;
pub use open::{Archive, Index, MOST_INDEXED, Sealed};
pub use place::{Overwrite, TEMPORARY_PREFIX};
pub use progress::Progress;
pub use seal::{
    Notice, Noticed, SealOptions, SealReport, seal_stream, seal_stream_to, seal_tree, seal_tree_to,
};
