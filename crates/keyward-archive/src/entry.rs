//! What an archive says of one file, folder or link. Paths are bytes with `/` between components,
//! as tar has them; they are another's words until [`extract`](crate::extract) has judged them.

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Symlink,
    /// Another name of an earlier entry.
    Hardlink,
    /// A device, fifo or vendor's entry of a foreign tar: listed, never extracted.
    Special,
}

/// A time of modification: seconds since 1970 (negative before), and nanoseconds after that second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Whole seconds, rounded down.
    pub seconds: i64,
    /// 0 to 999,999,999.
    pub nanos: u32,
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path inside the archive, without a slash at its end.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of contents, holes included; 0 for everything but files.
    pub size: u64,
    /// Permission bits, with set-id and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Time of modification.
    pub mtime: Time,
    /// Target of a symbolic link, or path of the entry that a hard link names; else empty.
    pub link: Vec<u8>,
    /// Where the entry's first tar header begins in the uncompressed stream, in bytes.
    pub offset: u64,
}
