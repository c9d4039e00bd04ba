//! Some entries out of an archive. With an index only its end and the frames that hold the entries
//! are read, and each entry must be in the tar as the index says; without one, all of it is.
//!
//! Paths are compared component by component, so `./a//b/` is `a/b`. An entry with a path that
//! climbs or is absolute is never found. What is extracted goes through the same checks as a whole
//! archive; only hard links need more, since the name that holds the content may not be among what
//! was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};
use std::path::Path;

use super::Archive;
use crate::entry::{Entry, Kind};
use crate::error::{Error, Unsafe};
use crate::extract::{ExtractOptions, ExtractReport, Extraction, components};
use crate::frames::seek::{Ahead, Frames, Layout};
use crate::index::Entries;
use crate::progress::Progress;
use crate::staging::Staging;
use crate::tar::header::Member;
use crate::tar::reader::{Found, Piece, Reader};

/// Hard links to hard links that are followed, as many as Linux follows symbolic links.
const MOST_HOPS: usize = 40;
/// Bytes of memory that paths of hard links take at most.
const MOST_LINK_BYTES: u64 = 1 << 28;

type Contents<'a> = Reader<&'a mut dyn BufRead>;

impl Archive {
    /// Writes the content of the file at `path`; for a hard link, of the entry that it names.
    /// Returns its length in bytes. The whole list of entries is read before anything is written,
    /// each byte is verified before it is written, and after an error less than the whole may have
    /// been. An archive without an index is read twice, and once more for a hard link.
    ///
    /// # Errors
    /// [`Error::NoEntry`]; [`Error::NotAFile`]; [`Error::UnsafeEntry`] for a path that occurs
    /// twice or a hard link to nothing before it; [`Error::IndexEntry`]; those of
    /// [`each_entry`](Self::each_entry); [`Error::Io`]; [`Error::Interrupted`].
    pub fn cat(&self, path: &[u8], out: &mut dyn Write, progress: &dyn Progress) -> Result<u64, Error> {
        let wanted = self.content_of(path, progress)?;
        progress.found(1, wanted.size);
        let mut written = 0;
        self.one(&wanted, progress, &mut |reader| {
            let mut copy = |bytes: &[u8]| {
                out.write_all(bytes).map_err(|error| Error::io("", error))?;
                written += bytes.len() as u64;
                progress.done(0, bytes.len() as u64);
                if progress.stopped() { Err(Error::Interrupted) } else { Ok(()) }
            };
            while reader.piece(|piece| match piece {
                Piece::Data(bytes) => copy(bytes),
                Piece::Hole(length) => zeros(length, &mut copy),
            })? {}
            Ok(())
        })?;
        out.flush().map_err(|error| Error::io("", error))?;
        progress.done(1, 0);
        Ok(written)
    }

    /// The file that `path` names, itself or by hard links.
    fn content_of(&self, path: &[u8], progress: &dyn Progress) -> Result<Entry, Error> {
        let mut found = self.lookup(path, u64::MAX, progress)?;
        for _ in 0..MOST_HOPS {
            let Some(entry) = found else { return Err(Error::NoEntry { path: path.to_vec() }) };
            let what = match entry.kind {
                Kind::File => return Ok(entry),
                Kind::Folder => "a folder",
                Kind::Symlink => "a symbolic link",
                Kind::Special => "of a special kind",
                Kind::Hardlink => {
                    let target = self.lookup(&entry.link, entry.offset, progress)?;
                    let refused = Error::UnsafeEntry { entry: entry.path, reason: Unsafe::LinkTarget };
                    found = Some(target.ok_or(refused)?);
                    continue;
                }
            };
            return Err(Error::NotAFile { entry: entry.path, what });
        }
        Err(Error::UnsafeEntry { entry: path.to_vec(), reason: Unsafe::LinkTarget })
    }

    /// The entry with this path that begins before `before`.
    fn lookup(&self, path: &[u8], before: u64, progress: &dyn Progress) -> Result<Option<Entry>, Error> {
        let wanted = plain(path);
        let mut found: Option<Entry> = None;
        self.each_entry(&Searching(progress), &mut |entry| {
            if entry.offset >= before || wanted.is_none() || plain(&entry.path) != wanted {
                return Ok(());
            }
            match &found {
                // Folders may occur twice.
                Some(first) if first.kind != Kind::Folder || entry.kind != Kind::Folder => {
                    Err(Error::UnsafeEntry { entry: entry.path, reason: Unsafe::Twice })
                }
                _ => {
                    found = Some(entry);
                    Ok(())
                }
            }
        })?;
        Ok(found)
    }

    /// Extracts what `options.only` names.
    pub(super) fn extract_only(
        &self,
        destination: &Path,
        options: &ExtractOptions,
        progress: &dyn Progress,
    ) -> Result<ExtractReport, Error> {
        // First all names: what is missing is told before anything is written, and which hard
        // links have their content outside of what is asked for.
        let mut selection = Selection::new(&options.only)?;
        let (mut entries, mut bytes) = (0, 0);
        let indexed = self.each_entry(&Searching(progress), &mut |entry| {
            if selection.meet(&entry)? {
                entries += 1;
                bytes += entry.size;
            }
            Ok(())
        })?;
        selection.complete()?;
        progress.found(entries, bytes);

        let staging = Staging::create(destination)?;
        let mut extraction = Extraction::new(staging.open_root()?, destination, options, progress)?;
        let mut made = Made::default();
        self.each_of(progress, &mut |entry| selection.wants(entry), &mut |member, reader| {
            selection.extract(member, reader, &mut made, &mut extraction)
        })?;
        extraction.settle_folders(staging.levels_that_move())?;
        if let Some(moved_to) = staging.publish()? {
            extraction.moved_to(moved_to);
            extraction.settle_folders(0)?;
        }
        Ok(extraction.report(indexed))
    }

    /// Calls `take` for the one entry, which the list has just once. With an index it is not looked
    /// for again.
    fn one(
        &self,
        wanted: &Entry,
        progress: &dyn Progress,
        take: &mut dyn FnMut(&mut Contents<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut end, mut data) = (self.anywhere()?, self.anywhere()?);
        match Layout::find(&mut end).map_err(|error| self.named(error))? {
            Some(layout) => {
                let mut frames = Frames::new(&mut data, layout).map_err(|error| self.named(error))?;
                at_entry(&mut frames, wanted, &mut |_, reader| take(reader))
                    .map_err(|error| self.named(error))
            }
            None => self.each_of(progress, &mut |entry| entry == wanted, &mut |_, reader| take(reader)),
        }
    }

    /// Calls `take` for each entry that `wants` it, in the order of the tar. With an index only
    /// their frames are read, and each must be in the tar what it is in the index.
    fn each_of(
        &self,
        progress: &dyn Progress,
        wants: &mut dyn FnMut(&Entry) -> bool,
        take: &mut dyn FnMut(Member, &mut Contents<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (mut end, mut data) = (self.anywhere()?, self.anywhere()?);
        let layout = Layout::find(&mut end).map_err(|error| self.named(error))?;
        let Some(layout) = layout else {
            let kind = self.sniff(0)?;
            self.with_tar(kind, |tar| {
                let mut reader = Reader::new(tar as &mut dyn BufRead);
                while let Some(Found { member, offset }) = reader.next()? {
                    if progress.stopped() {
                        return Err(Error::Interrupted);
                    }
                    if wants(&entry_of(&member, offset)) {
                        take(member, &mut reader)?;
                    }
                }
                Ok(())
            })?;
            return Ok(());
        };
        let mut each = || {
            let mut frames = Frames::new(&mut data, layout)?;
            let mut entries = Entries::new(layout.index(&mut end)?)?;
            while let Some(entry) = entries.next()? {
                if progress.stopped() {
                    return Err(Error::Interrupted);
                }
                if !wants(&entry) {
                    continue;
                }
                at_entry(&mut frames, &entry, take)?;
            }
            Ok(())
        };
        each().map_err(|error| self.named(error))
    }
}

/// What was asked for, and what of the archive belongs to it.
struct Selection {
    /// The paths, and whether something was found there.
    wanted: BTreeMap<Vec<u8>, bool>,
    /// The folders on the way to them.
    ways: BTreeSet<Vec<u8>>,
    /// By the path of an entry that was not asked for: the first hard link that was asked for and
    /// names it. It becomes that entry.
    stand_ins: BTreeMap<Vec<u8>, Vec<u8>>,
    stand_in_bytes: u64,
}

/// Which stand-ins have been made, and which hard links were met that they stand for.
#[derive(Default)]
struct Made {
    contents: BTreeSet<Vec<u8>>,
    links: BTreeSet<Vec<u8>>,
}

impl Selection {
    fn new(only: &[Vec<u8>]) -> Result<Self, Error> {
        let mut wanted = BTreeMap::new();
        let mut ways = BTreeSet::new();
        for path in only {
            let plain = plain(path).ok_or_else(|| Error::NoEntry { path: path.clone() })?;
            ways.extend(above(&plain).map(<[u8]>::to_vec));
            wanted.insert(plain, false);
        }
        Ok(Self { wanted, ways, stand_ins: BTreeMap::new(), stand_in_bytes: 0 })
    }

    /// Notes an entry, in the order of the tar. Tells whether it was asked for.
    fn meet(&mut self, entry: &Entry) -> Result<bool, Error> {
        let Some(path) = plain(&entry.path) else { return Ok(false) };
        let mut asked = false;
        for above in above(&path).chain([path.as_slice()]) {
            if let Some(found) = self.wanted.get_mut(above) {
                (*found, asked) = (true, true);
            }
        }
        if asked && entry.kind == Kind::Hardlink
            // A target that is no path is refused when the link is made.
            && let Some(target) = plain(&entry.link).filter(|target| !self.asks_for(target))
        {
            self.stand_in_bytes += (target.len() + path.len() + 100) as u64;
            if self.stand_in_bytes > MOST_LINK_BYTES {
                return Err(Error::TooManyNames { most: MOST_LINK_BYTES });
            }
            self.stand_ins.entry(target).or_insert(path);
        }
        Ok(asked)
    }

    /// Whether all that was asked for has been met.
    fn complete(&self) -> Result<(), Error> {
        match self.wanted.iter().find(|(_, found)| !**found) {
            Some((path, _)) => Err(Error::NoEntry { path: path.clone() }),
            None => Ok(()),
        }
    }

    fn asks_for(&self, path: &[u8]) -> bool {
        above(path).chain([path]).any(|above| self.wanted.contains_key(above))
    }

    /// Whether the entry has to be read.
    fn wants(&self, entry: &Entry) -> bool {
        let Some(path) = plain(&entry.path) else { return false };
        let way = entry.kind == Kind::Folder && self.ways.contains(&path);
        way || self.asks_for(&path) || self.stand_ins.contains_key(&path)
    }

    /// Extracts an entry that [`wants`](Self::wants) told of.
    fn extract(
        &self,
        mut member: Member,
        reader: &mut Contents<'_>,
        made: &mut Made,
        extraction: &mut Extraction<'_>,
    ) -> Result<(), Error> {
        let path = plain(&member.path).unwrap_or_default();
        if let Some(link) = self.stand_ins.get(&path).filter(|_| !self.asks_for(&path)) {
            if !matches!(member.kind, Kind::File | Kind::Symlink) {
                // A folder on the way that a hard link names is refused when the link comes.
                return match member.kind {
                    Kind::Folder if self.ways.contains(&path) => extraction.take(&member, reader),
                    _ => Err(Error::UnsafeEntry { entry: link.clone(), reason: Unsafe::LinkTarget }),
                };
            }
            member.path.clone_from(link);
            made.contents.insert(path);
            return extraction.take(&member, reader);
        }
        if member.kind == Kind::Hardlink
            && let Some((target, link)) = plain(&member.link).and_then(|to| self.stand_ins.get_key_value(&to))
        {
            if !made.contents.contains(target) {
                return Err(Error::UnsafeEntry { entry: member.path, reason: Unsafe::LinkTarget });
            }
            if path == *link {
                // It is there, as the entry that it names; a second entry at its path is refused.
                return match made.links.insert(path) {
                    true => Ok(()),
                    false => Err(Error::UnsafeEntry { entry: member.path, reason: Unsafe::Twice }),
                };
            }
            member.link.clone_from(link);
        }
        extraction.take(&member, reader)
    }
}

/// A path without `.` and empty components; `None` for one that no entry may have.
fn plain(path: &[u8]) -> Option<Vec<u8>> {
    components(path).ok().map(|components| components.join(&b'/'))
}

/// The folders above a plain path, the outermost first; that is the tree itself, with no name.
fn above(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let top = (!path.is_empty()).then_some(&b""[..]);
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    top.into_iter().chain(slashes.map(|(at, _)| path.get(..at).unwrap_or_default()))
}

/// Hands so many zeros to `take`, some at a time.
fn zeros(mut length: u64, take: &mut dyn FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    while length > 0 {
        let now = ZEROS.get(..usize::try_from(length).unwrap_or(usize::MAX)).unwrap_or(&ZEROS);
        take(now)?;
        length -= now.len() as u64;
    }
    Ok(())
}

/// Bytes of headers before an entry's content, at least: a long path, times and the entry's own.
const HEADERS: u64 = 8 << 10;

/// Calls `take` for an entry of the index, if the tar has the same one there.
fn at_entry<R: Ahead>(
    frames: &mut Frames<R>,
    entry: &Entry,
    take: &mut dyn FnMut(Member, &mut Contents<'_>) -> Result<(), Error>,
) -> Result<(), Error> {
    let sized = entry.size.saturating_add(HEADERS + (entry.path.len() + entry.link.len()) as u64);
    frames.expect(entry.offset.saturating_add(sized));
    frames.go(entry.offset)?;
    let mut reader: Contents<'_> = Reader::at(frames, entry.offset);
    match reader.next()? {
        Some(Found { member, offset }) if entry_of(&member, offset) == *entry => take(member, &mut reader),
        _ => Err(Error::IndexEntry { entry: entry.path.clone() }),
    }
}

fn entry_of(member: &Member, offset: u64) -> Entry {
    let Member { path, kind, size, mode, mtime, link, .. } = member;
    let (path, link) = (path.clone(), link.clone());
    Entry { path, kind: *kind, size: *size, mode: *mode, mtime: *mtime, link, offset }
}

/// A search is no progress of the work itself, but it can be stopped.
struct Searching<'a>(&'a dyn Progress);

impl Progress for Searching<'_> {
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
}
