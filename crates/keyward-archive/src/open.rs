//! Sealed archives to trees and streams. The types are the order of the steps:
//!
//! ```text
//! Sealed::open(path)          header only; tells who can open it
//!   └─ unlock(file key) ─> Archive
//!         ├─ extract(folder)            everything or what is named, into a new folder
//!         ├─ cat(path)                  the content of one file
//!         ├─ copy_to / copy_to_file     the decrypted bytes as they are
//!         └─ index / each_entry         the end of the file only, if there is an index
//! ```
//!
//! Nothing gets its final name before the last chunk has been verified. Bytes copied to a writer are
//! each verified, but the end may still be missing when they arrive.

mod pick;
mod stream;

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use self::stream::{Pieces, Stream};
use keyward_age::{FileKey, Header, NONCE_LEN, OpenAt, OpenReader};

use crate::digest::{Digest, Digested};
use crate::entry::Entry;
use crate::error::Error;
use crate::extract::{ExtractOptions, ExtractReport, Extraction};
use crate::frames::FRAME;
use crate::frames::read::{Unframe, looks_like_zstd};
use crate::frames::seek::{Ahead, Layout};
use crate::index::{Entries, Summary, Totals};
use crate::place::{Object, Overwrite, Pending, Place, Sequential};
use crate::progress::Progress;
use crate::seal::header_digest;
use crate::staging::Staging;
use crate::tar::BLOCK;
use crate::tar::header::Member;
use crate::tar::reader::{Found, Reader, looks_like_tar};

/// Bytes of memory that [`Archive::index`] fills at most; [`Archive::each_entry`] needs next to none.
pub const MOST_INDEX_BYTES: u64 = 1 << 28;

/// A sealed archive of which only the header has been read.
pub struct Sealed {
    path: PathBuf,
    place: Object,
    header: Header,
    header_digest: [u8; 32],
}

impl Sealed {
    /// Reads the header of an archive in a local file, and the payload's nonce after it.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::NotAnArchive`] if it is no age file or no file at all;
    /// [`Error::Age`] for a malformed header, or a file that ends there; [`Error::Io`].
    pub fn open(place: impl Into<Place>) -> Result<Self, Error> {
        let place = place.into();
        let path = place.shown();
        let place = Object::open(&place)?;
        let mut start = BufReader::new(place.from(0));
        let header = Header::read(&mut start).map_err(|error| match error {
            keyward_age::Error::NotAge => Error::NotAnArchive { path: path.clone() },
            other => Error::io(&path, io::Error::from(other)),
        })?;
        let mut nonce = [0; NONCE_LEN];
        start.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Error::Age(keyward_age::Error::Truncated),
            _ => Error::io(&path, error),
        })?;
        let header_digest = header_digest(&header, &nonce);
        Ok(Self { path, place, header, header_digest })
    }

    /// The age header, which tells whom the archive is sealed to.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The archive's path as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the archive in bytes.
    pub fn size(&self) -> u64 {
        self.place.length()
    }

    /// SHA-256 of the header's bytes and the payload's nonce, as [`SealReport::header`] has it.
    ///
    /// [`SealReport::header`]: crate::SealReport::header
    pub fn header_digest(&self) -> [u8; 32] {
        self.header_digest
    }

    /// BLAKE3 of the whole archive, as [`SealReport::blake3`] has it. All of it is read, without
    /// any key; whether the chunks verify, only opening tells.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Interrupted`].
    ///
    /// [`SealReport::blake3`]: crate::SealReport::blake3
    pub fn digest(&self, progress: &dyn Progress) -> Result<[u8; 32], Error> {
        progress.found(0, self.size());
        let mut hasher = blake3::Hasher::new();
        let mut input = self.place.from(0);
        let mut buffer = vec![0; FRAME];
        loop {
            if progress.stopped() {
                return Err(Error::Interrupted);
            }
            let count = match input.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map_err(|error| Error::io(&self.path, error))?,
            };
            if count == 0 {
                return Ok(hasher.finalize().into());
            }
            hasher.update(buffer.get(..count).unwrap_or_default());
            progress.done(0, count as u64);
        }
    }

    /// Takes the file key that a holder unwrapped from the header.
    pub fn unlock(self, key: FileKey) -> Archive {
        let Self { path, place, header, .. } = self;
        Archive { path, place, header, key, expected: None }
    }
}

/// An archive with its file key.
pub struct Archive {
    path: PathBuf,
    place: Object,
    header: Header,
    key: FileKey,
    /// BLAKE3 of the whole archive.
    expected: Option<[u8; 32]>,
}

/// The entries of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// In the order of the tar.
    pub entries: Vec<Entry>,
    /// Whether they come from an index; else the whole archive was read.
    pub indexed: bool,
}

impl Archive {
    /// Holds the archive to the digest of the whole, as [`Sealed::digest`] gives it. Whatever then
    /// reads all of it ends in [`Error::Digest`] if the bytes read are not those; where only a part
    /// is read, it has no effect.
    pub fn expecting(self, blake3: [u8; 32]) -> Self {
        Self { expected: Some(blake3), ..self }
    }

    /// Extracts the tree, or what [`ExtractOptions::only`] names of it, into `destination`, which
    /// must be absent or an empty folder.
    ///
    /// # Errors
    /// [`Error::NoEntry`] if something named is not there; [`Error::IndexEntry`];
    /// [`Error::DestinationNotEmpty`], [`Error::DestinationNotFolder`]; [`Error::NotATree`];
    /// [`Error::UnsafeEntry`], [`Error::Unsupported`] naming the entry; [`Error::Tar`],
    /// [`Error::Zstd`], [`Error::Index`], [`Error::IndexMismatch`]; [`Error::Age`] for a chunk that
    /// does not verify; [`Error::Digest`]; [`Error::Io`] naming the file; [`Error::Interrupted`].
    /// After any of them the destination is as it was.
    pub fn extract(
        &self,
        destination: &Path,
        options: &ExtractOptions,
        progress: &dyn Progress,
    ) -> Result<ExtractReport, Error> {
        if !options.only.is_empty() {
            return self.extract_only(destination, options, progress);
        }
        // The last chunk is verified first: an archive that was cut costs nobody an hour.
        let mut end = self.anywhere()?;
        if let Some(body) = find_index(&mut end).map_err(|error| self.named(error))? {
            let totals = Entries::new(body).map_err(|error| self.named(error))?.totals();
            progress.found(totals.entries, totals.bytes);
        }
        let kind = self.sniff(options.threads)?;
        let staging = Staging::create(destination)?;
        let root = staging.open_root()?;
        let mut extraction = Extraction::new(root, destination, options, progress)?;
        let index = self.with_tar(kind, |tar| extraction.all(tar))?;
        extraction.settle_folders(staging.levels_that_move())?;
        if let Some(index) = index {
            extraction.check(index)?;
        }
        if let Some(moved_to) = staging.publish()? {
            extraction.moved_to(moved_to);
            extraction.settle_folders(0)?;
        }
        Ok(extraction.report(index.is_some()))
    }

    /// Copies the decrypted bytes as they are. Each is verified before it is written; whether the
    /// end is there, only success tells.
    ///
    /// # Errors
    /// [`Error::Age`] for a chunk that does not verify; [`Error::Digest`]; [`Error::Io`];
    /// [`Error::Interrupted`].
    pub fn copy_to(
        &self,
        out: &mut dyn Write,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<u64, Error> {
        let (mut reader, digest) = self.reader(threads)?;
        let mut bytes = 0;
        loop {
            if progress.stopped() {
                return Err(Error::Interrupted);
            }
            let chunk = match reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                filled => filled.map_err(|error| Error::io(&self.path, error))?,
            };
            if chunk.is_empty() {
                break;
            }
            out.write_all(chunk).map_err(|error| Error::io("", error))?;
            let count = chunk.len();
            reader.consume(count);
            bytes += count as u64;
            progress.done(0, count as u64);
        }
        self.check(&digest)?;
        out.flush().map_err(|error| Error::io("", error))?;
        Ok(bytes)
    }

    /// Copies the decrypted bytes as they are into the new file `path`, which appears only when
    /// all of them are verified. Returns their number.
    ///
    /// # Errors
    /// [`Error::Exists`]; [`Error::Age`]; [`Error::Digest`]; [`Error::Io`]; [`Error::Interrupted`].
    pub fn copy_to_file(
        &self,
        path: &Path,
        overwrite: Overwrite,
        threads: usize,
        progress: &dyn Progress,
    ) -> Result<u64, Error> {
        let mut pending = Pending::create(&path.into(), overwrite)?;
        progress.found(0, self.anywhere()?.size());
        let mut out = pending.writer()?;
        self.copy_to(&mut out, threads, progress)?;
        pending.publish()
    }

    /// The totals of the archive's index, or `None` if it has none; reads the end of the file only.
    ///
    /// # Errors
    /// [`Error::Age`] if the last chunk or one that holds the index does not verify;
    /// [`Error::Index`]; [`Error::Io`].
    pub fn totals(&self) -> Result<Option<Totals>, Error> {
        let mut end = self.anywhere()?;
        let Some(body) = find_index(&mut end).map_err(|error| self.named(error))? else { return Ok(None) };
        Ok(Some(Entries::new(body).map_err(|error| self.named(error))?.totals()))
    }

    /// All entries. With an index the end of the file is read, and its last chunk verified first;
    /// without one, all of it.
    ///
    /// # Errors
    /// As [`each_entry`](Self::each_entry); [`Error::TooManyNames`] beyond [`MOST_INDEX_BYTES`].
    pub fn index(&self, progress: &dyn Progress) -> Result<Index, Error> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let indexed = self.each_entry(progress, &mut |entry| {
            bytes += (size_of::<Entry>() + entry.path.len() + entry.link.len()) as u64;
            if bytes > MOST_INDEX_BYTES {
                return Err(Error::TooManyNames { most: MOST_INDEX_BYTES });
            }
            entries.push(entry);
            Ok(())
        })?;
        Ok(Index { entries, indexed })
    }

    /// Tells `tell` of every entry, in the order of the tar and in bounded memory. Returns whether
    /// they came from an index.
    ///
    /// An index is the sealer's word on the tar; it is checked against it when the archive is
    /// extracted, not here.
    ///
    /// # Errors
    /// [`Error::NotATree`]; [`Error::Age`] for a chunk that does not verify; [`Error::Index`];
    /// [`Error::Tar`], [`Error::Zstd`] when there is no index; [`Error::Io`]; what `tell` returns.
    pub fn each_entry(
        &self,
        progress: &dyn Progress,
        tell: &mut dyn FnMut(Entry) -> Result<(), Error>,
    ) -> Result<bool, Error> {
        let mut end = self.anywhere()?;
        if let Some(body) = find_index(&mut end).map_err(|error| self.named(error))? {
            let mut entries = Entries::new(body).map_err(|error| self.named(error))?;
            while let Some(entry) = entries.next().map_err(|error| self.named(error))? {
                if progress.stopped() {
                    return Err(Error::Interrupted);
                }
                tell(entry)?;
            }
            return Ok(true);
        }
        let kind = self.sniff(0)?;
        self.with_tar(kind, |tar| {
            let mut reader = Reader::new(tar);
            while let Some(Found { member, offset }) = reader.next()? {
                if progress.stopped() {
                    return Err(Error::Interrupted);
                }
                progress.done(1, member.size);
                let Member { path, kind, size, mode, mtime, link, .. } = member;
                tell(Entry { path, kind, size, mode, mtime, link, offset })?;
            }
            Ok(())
        })?;
        Ok(false)
    }

    /// All decrypted bytes, and what will be the digest of the archive when they are read.
    fn reader(&self, threads: usize) -> Result<(Plain, Digest), Error> {
        let threads = if threads == 0 { ExtractOptions::default().threads } else { threads };
        let from = self.place.from(self.header.len() as u64);
        let from = match self.expected {
            Some(_) => Digested::new(from, self.header.as_bytes()),
            None => Digested::not(from),
        };
        let digest = from.digest();
        let reader = OpenReader::new(from, &self.key, threads.min(8))
            .map_err(|error| Error::io(&self.path, io::Error::from(error)))?;
        Ok((reader, digest))
    }

    /// Holds what was read to the digest that is expected.
    fn check(&self, digest: &Digest) -> Result<(), Error> {
        let Some(expected) = self.expected else { return Ok(()) };
        match digest.get() {
            Some(found) if found == expected => Ok(()),
            Some(found) => Err(Error::Digest { found }),
            None => Err(Error::io(&self.path, io::Error::from(io::ErrorKind::UnexpectedEof))),
        }
    }

    /// Random access; the last chunk is verified.
    fn anywhere(&self) -> Result<OpenAt<&Object>, Error> {
        OpenAt::new(&self.place, self.header.len(), &self.key)
            .map_err(|error| Error::io(&self.path, io::Error::from(error)))
    }

    /// Looks at the first bytes: a tar, a tar in zstd, or neither.
    fn sniff(&self, threads: usize) -> Result<Tarred, Error> {
        let threads = if threads == 0 { ExtractOptions::default().threads } else { threads };
        let (mut reader, digest) = self.reader(threads)?;
        let mut start = Vec::with_capacity(BLOCK);
        (&mut reader)
            .take(BLOCK as u64)
            .read_to_end(&mut start)
            .map_err(|error| Error::io(&self.path, error))?;
        let zstd = looks_like_zstd(&start);
        if !zstd && !start.first_chunk().is_some_and(looks_like_tar) {
            return Err(Error::NotATree { path: self.path.clone() });
        }
        let stream = io::Cursor::new(start).chain(reader);
        if !zstd {
            return Ok(Tarred { stream: Stream::Plain(Box::new(stream)), digest, threads });
        }
        let mut unframe = Unframe::new(stream)?;
        // The first block tells whether it is a tar that was compressed.
        let mut block = vec![0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match unframe.read(rest).map_err(|error| self.named(error))? {
                0 => break,
                count => filled += count,
            }
        }
        block.truncate(filled);
        let tar = block.first_chunk().is_some_and(|block| looks_like_tar(block) || *block == [0; BLOCK]);
        if !tar {
            return Err(Error::NotATree { path: self.path.clone() });
        }
        Ok(Tarred { stream: Stream::Zstd(block, Box::new(unframe)), digest, threads })
    }

    /// Decrypts and decompresses in other threads while `work` reads the tar. Returns the summary
    /// of the index, if there was one, when the whole stream has been read and verified.
    fn with_tar(
        &self,
        tarred: Tarred,
        work: impl FnOnce(&mut Pieces) -> Result<(), Error>,
    ) -> Result<Option<Summary>, Error> {
        let Tarred { stream, digest, threads } = tarred;
        let worked = stream.read_by(threads, |pieces| {
            work(pieces)?;
            let index = pieces.end()?;
            self.check(&digest)?;
            Ok(index)
        });
        worked.map_err(|error| self.named(error))
    }

    /// Names the archive in an error that knows no path.
    fn named(&self, error: Error) -> Error {
        match error {
            Error::Io { path, source } if path.as_os_str().is_empty() => {
                Error::Io { path: self.path.clone(), source }
            }
            other => other,
        }
    }
}

type Plain = OpenReader<Digested<Sequential>>;

/// The tar in an archive, about to be read.
struct Tarred {
    stream: Stream<io::Chain<io::Cursor<Vec<u8>>, Plain>>,
    digest: Digest,
    threads: usize,
}

/// Finds the index by the seek table at the end; `None` if the stream does not end like one of ours.
fn find_index<R: Ahead>(stream: &mut R) -> Result<Option<BufReader<io::Take<&mut R>>>, Error> {
    Layout::find(stream)?.map(|layout| layout.index(stream)).transpose()
}
