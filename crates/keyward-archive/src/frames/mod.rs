//! zstd's seekable format (facebook/zstd, `contrib/seekable_format`): independent frames of 1 MiB,
//! the index frame, and a seek table as the last frame. A plain `zstd -d` skips all but the data.
//!
//! | bytes | what |
//! |---|---|
//! | … | data frames, 1 MiB of the stream each (the last one may be shorter) |
//! | … | [padding](pad), if any: skippable frames of zeros |
//! | … | the [index](crate::index) frame |
//! | 4, 4 | `0x184D2A5E`, bytes that follow |
//! | 8 each | for each of these frames: compressed size, decompressed size (0 of padding and index) |
//! | 4 | number of those |
//! | 1 | descriptor, 0: no checksums, since age has verified every chunk |
//! | 4 | `0x8F92EAB1` |
//!
//! [`write`] compresses on several threads, [`read`] takes any zstd stream apart, [`seek`] reads one
//! of ours from any byte.

mod gather;
pub(crate) mod pad;
pub(crate) mod read;
pub(crate) mod seek;
pub(crate) mod write;

/// Bytes of the stream in one data frame.
pub(crate) const FRAME: usize = 1 << 20;
/// Magic of the skippable frame that holds the seek table.
pub(crate) const TABLE_MAGIC: u32 = 0x184D_2A5E;
/// Last four bytes of a seek table.
pub(crate) const TABLE_END: u32 = 0x8F92_EAB1;
/// Bytes after the table's entries: count, descriptor, end.
pub(crate) const TABLE_FOOT: usize = 9;
/// Bytes of one entry.
pub(crate) const TABLE_ENTRY: usize = 8;
/// Most frames of a seekable file.
pub(crate) const MOST_FRAMES: u32 = 0x0800_0000;
