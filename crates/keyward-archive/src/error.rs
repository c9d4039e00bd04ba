//! What can go wrong with an archive, as facts: the entry, the path, the offset. What is safe and
//! what to do next is for the caller to say.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// An error of sealing, opening or listing an archive.
///
/// Paths inside an archive are bytes that somebody else chose. `Display` shows them with control
/// characters escaped, so that a message cannot steer a terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something is there already under the name of the result; it was not touched.
    #[error("{} exists", .path.display())]
    Exists {
        /// The name that is taken.
        path: PathBuf,
    },
    /// The folder to open into holds something; it was not touched.
    #[error("{} is not empty", .path.display())]
    DestinationNotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// What is at the destination is not a folder; it was not touched.
    #[error("{} is not a folder", .path.display())]
    DestinationNotFolder {
        /// The destination.
        path: PathBuf,
    },
    /// A source to seal, or an archive to open, is not there.
    #[error("{} does not exist", .path.display())]
    Missing {
        /// The missing path.
        path: PathBuf,
    },
    /// The name of a place that is none, or that cannot be reached as the caller's variables say.
    #[error("{}: {reason}", .place.display())]
    Place {
        /// The name as it was given.
        place: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A store did not do what it was asked for, after repetitions where they can help.
    #[error("{place}: {reason}")]
    Store {
        /// The place.
        place: String,
        /// The store's or the network's answer.
        reason: String,
        /// Whether the store refused the credentials.
        denied: bool,
        /// Whether what was asked for, or its bucket, is not there.
        missing: bool,
    },
    /// The object became another one while it was read.
    #[error("{} changed while it was read", .path.display())]
    Changed {
        /// The object.
        path: PathBuf,
    },
    /// An object that should be small is not; it was not read.
    #[error("{} is larger than {most} bytes", .path.display())]
    TooLarge {
        /// The object.
        path: PathBuf,
        /// The bound, in bytes.
        most: usize,
    },
    /// A source has no name of its own to store it under, such as `/`.
    #[error("{} has no name to be stored under", .path.display())]
    NoName {
        /// The source as it was given.
        path: PathBuf,
    },
    /// A source is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", .path.display())]
    SourceKind {
        /// The source as it was given.
        path: PathBuf,
    },
    /// Two sources would be stored under one name.
    #[error("two sources are named {}", Printable(.name))]
    SameName {
        /// The common last component.
        name: Vec<u8>,
    },
    /// A pattern of what to leave out is none.
    #[error("{pattern:?} is no pattern: {reason}")]
    Pattern {
        /// The pattern as it was given.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A single file or a stream was to be padded; it is sealed as it is, and has no room for that.
    #[error("a single file or stream is sealed as it is and cannot be padded")]
    NotPadded,
    /// Nothing was named to be sealed.
    #[error("no source was named")]
    NoSource,
    /// The file is no age file, so no archive.
    #[error("{} is not an archive", .path.display())]
    NotAnArchive {
        /// The file.
        path: PathBuf,
    },
    /// The archive opens, but what is in it is neither a tar nor a tar in zstd.
    #[error("{} holds a single file or stream, not a tree", .path.display())]
    NotATree {
        /// The archive.
        path: PathBuf,
    },
    /// The age layer refused: header, recipient or a chunk that does not verify.
    #[error(transparent)]
    Age(keyward_age::Error),
    /// An entry would reach outside the folder that is opened into, or replace another entry.
    #[error("entry {} is refused: {reason}", Printable(.entry))]
    UnsafeEntry {
        /// The entry's path as the archive has it.
        entry: Vec<u8>,
        /// What makes it unsafe.
        reason: Unsafe,
    },
    /// An entry of a kind that is not extracted.
    #[error("entry {} is {what}, which is not extracted", Printable(.entry))]
    Unsupported {
        /// The entry's path as the archive has it.
        entry: Vec<u8>,
        /// What it is.
        what: &'static str,
    },
    /// The tar inside is malformed.
    #[error("the tar is malformed at byte {offset}: {reason}")]
    Tar {
        /// Offset in the uncompressed stream, in bytes.
        offset: u64,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The zstd frames inside are malformed.
    #[error("the compressed stream is malformed: {reason}")]
    Zstd {
        /// What is wrong.
        reason: String,
    },
    /// The index frame is malformed.
    #[error("the index is malformed: {reason}")]
    Index {
        /// What is wrong.
        reason: &'static str,
    },
    /// The list of all entries, or of all folders, takes more memory than is given to it.
    #[error("the names in the archive take more than {most} bytes of memory")]
    TooManyNames {
        /// The bound, in bytes.
        most: u64,
    },
    /// Index and tar are each well-formed, but do not describe the same tree.
    #[error("the index lists {listed} entries, the tar has {found}, and they are not the same")]
    IndexMismatch {
        /// Entries in the index.
        listed: u64,
        /// Entries in the tar.
        found: u64,
    },
    /// The index describes an entry otherwise than the tar holds it.
    #[error("the index is not that of the tar: entry {} is another one there", Printable(.entry))]
    IndexEntry {
        /// The entry's path as the index has it.
        entry: Vec<u8>,
    },
    /// The archive was read whole, and is not the one that was expected.
    #[error("this is not the archive that was expected: the digest of its bytes is another one")]
    Digest {
        /// BLAKE3 of the bytes that were read.
        found: [u8; 32],
    },
    /// Nothing in the archive has this path.
    #[error("{} is not in the archive", Printable(.path))]
    NoEntry {
        /// The path as it was asked for.
        path: Vec<u8>,
    },
    /// The content of an entry was asked for that has none.
    #[error("{} is {what}, not a file", Printable(.entry))]
    NotAFile {
        /// The entry's path as the archive has it.
        entry: Vec<u8>,
        /// What it is.
        what: &'static str,
    },
    /// Reading or writing failed; the kind of `source` tells a full disk and missing rights apart.
    #[error("{}{source}", At(.path))]
    Io {
        /// The file or folder in use; empty for a reader or writer that the caller brought.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The caller's [`Progress`](crate::Progress) asked to stop. Temporary files are gone.
    #[error("interrupted")]
    Interrupted,
}

/// Why an entry is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unsafe {
    /// The path begins with `/`.
    #[error("its path is absolute")]
    Absolute,
    /// The path has a `..` component.
    #[error("its path climbs with `..`")]
    Climbs,
    /// The path is empty or has a zero byte.
    #[error("its path is no path")]
    NoPath,
    /// A folder on the way is a link or a file in this archive.
    #[error("its path leads through something that is not a folder")]
    Through,
    /// A symbolic link's target is absolute, or can leave the tree.
    #[error("it is a link that leads out of the tree")]
    LinkOut,
    /// A hard link names nothing that came before it in this archive.
    #[error("it is a hard link to something that is not in the tree")]
    LinkTarget,
    /// A device node.
    #[error("it is a device")]
    Device,
    /// The path was there already.
    #[error("its path occurs twice")]
    Twice,
    /// The map of a file with holes is out of order, overlaps, or does not fit size or data.
    #[error("its map of holes is not that of a file")]
    Holes,
}

impl Error {
    /// The error of an operation on `path`. Errors of ours that travelled inside an `io::Error`
    /// come out again as themselves.
    pub(crate) fn io(path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        let source = match source.into().downcast::<Error>() {
            Ok(ours) => return ours,
            Err(other) => other,
        };
        match source.downcast::<keyward_age::Error>() {
            Ok(keyward_age::Error::Io(source)) => Self::io(path, source),
            Ok(age) => Self::Age(age),
            Err(source) => Self::Io { path: path.as_ref().to_path_buf(), source },
        }
    }
}

/// Wraps the error for a trip through `Read` or `Write`; `Error::io` unwraps it.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}

/// Shows bytes of a path from an archive as text: what is not UTF-8 and every control character is
/// escaped, and so is the backslash, so that two different paths never look the same.
pub struct Printable<'a>(pub &'a [u8]);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() || character == '\\' || steers(character) {
                    write!(f, "{}", character.escape_default())?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

/// A path before its error, or nothing for the caller's own streams.
struct At<'a>(&'a Path);

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.as_os_str().is_empty() { Ok(()) } else { write!(f, "{}: ", self.0.display()) }
    }
}

/// Characters that reorder or hide the text around them.
fn steers(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_in_messages_cannot_steer_a_terminal() {
        let shown = Printable(b"a\x1b[2Jb\n\xff\\c\xe2\x80\xae\xc3\xa4").to_string();
        assert_eq!(shown, "a\\u{1b}[2Jb\\n\\xff\\\\c\\u{202e}ä");
    }

    #[test]
    fn errors_survive_a_trip_through_io() {
        let io: io::Error = Error::Interrupted.into();
        assert!(matches!(Error::io("x", io), Error::Interrupted));
        let io: io::Error = io::Error::other(keyward_age::Error::Truncated);
        assert!(matches!(Error::io("x", io), Error::Age(keyward_age::Error::Truncated)));
        let full = || io::Error::from(io::ErrorKind::StorageFull);
        let within = Error::io("a/b", io::Error::from(keyward_age::Error::Io(full())));
        assert_eq!(within.to_string(), format!("a/b: {}", full()));
        assert_eq!(Error::io("", full()).to_string(), full().to_string());
    }
}
