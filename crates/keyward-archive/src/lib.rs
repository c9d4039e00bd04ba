//! Archives for Keyward: trees and streams to sealed files and back.
//!
//! A folder becomes a tar in zstd's seekable format in an age file; `age -d | zstd -d | tar x` opens
//! it without Keyward. A single file or a stream is sealed as it is. The rooms:
//!
//! | room | what it knows |
//! |---|---|
//! | [`seal_tree`], [`seal_stream`] (`seal`), `walk`, `ahead` | reading a tree that may change under our eyes |
//! | [`Filter`] (`filter`) | what of a tree is left out |
//! | [`Attributes`] (`attributes`), `owners`, `holes` | what a file is besides its bytes |
//! | [`Sealed`], [`Archive`] (`open`) | header, file key, stream, listing, some entries alone |
//! | `extract`, `chain`, `staging` | a folder that nothing leaves, and that appears whole or not at all |
//! | `tar`, `frames`, `index` | the three formats inside, each with its bounds |
//! | `digest` | BLAKE3 of the whole, as its bytes pass |
//! | [`Place`] (`place`) | where archives live, and the small objects beside them |
//!
//! ```
//! use keyward_age::{SoftIdentity, Suite};
//! use keyward_archive::{ExtractOptions, SealOptions, Sealed, seal_tree};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let temp = tempfile::tempdir()?;
//! # let (photos, archive, restored) = (temp.path().join("photos"), temp.path().join("photos.age"), temp.path().join("restored"));
//! # std::fs::create_dir(&photos)?;
//! # std::fs::write(photos.join("1.jpg"), "a photo")?;
//! let identity = SoftIdentity::generate(Suite::Hybrid)?;
//! seal_tree(&[photos], &[identity.recipient()?], &archive, &SealOptions::default(), &())?;
//!
//! let sealed = Sealed::open(&archive)?;
//! let key = sealed.header().unwrap_soft(&identity)?; // or unwrap_token, with PIN and touch
//! sealed.unlock(key).extract(&restored, &ExtractOptions::default(), &())?;
//! assert_eq!(std::fs::read(restored.join("photos/1.jpg"))?, b"a photo");
//! # Ok(())
//! # }
//! ```
//!
//! The crate prints nothing, asks nothing and reads no environment; [`Progress`] is how a caller
//! watches and stops it. It runs on Unix systems.

#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod ahead;
mod attributes;
mod chain;
mod digest;
mod entry;
mod error;
mod extract;
mod filter;
mod frames;
mod holes;
mod index;
mod open;
mod owners;
mod place;
mod progress;
mod seal;
mod staging;
mod tar;
mod walk;

pub use attributes::Attributes;
pub use entry::{Entry, Kind, Time};
pub use error::{Error, Printable, Unsafe};
pub use extract::{ExtractOptions, ExtractReport};
pub use filter::Filter;
pub use index::Totals;
pub use open::{Archive, Index, MOST_INDEX_BYTES, Sealed};
pub use place::{Found, Left, Overwrite, Patience, Place, Stores, TEMPORARY_PREFIX, Unfinished};
pub use progress::Progress;
pub use seal::{
    Notice, Noticed, Prepared, SealOptions, SealReport, prepare_stream, prepare_tree, seal_stream,
    seal_stream_to, seal_tree, seal_tree_to,
};
