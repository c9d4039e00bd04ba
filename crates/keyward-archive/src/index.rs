//! The file index of an archive: written beside the tar, so that a listing needs the end of the
//! archive only, and checked against the tar whenever that is read whole.
//!
//! It is one skippable frame (RFC 8878, 3.1.2) between the last data frame and the seek table.
//! Numbers with a fixed width are little-endian.
//!
//! | offset | bytes | meaning |
//! |---|---|---|
//! | 0 | 4 | `0x184D2A5B`: the skippable frame's magic, which marks the kind |
//! | 4 | 4 | bytes that follow |
//! | 8 | 8 | `kwindex` and the version, 1 |
//! | 16 | 8 | number of entries |
//! | 24 | 8 | sum of the sizes of all entries |
//! | 32 | 8 | length of the records, uncompressed |
//! | 40 | … | the records, as one zstd frame |
//!
//! A record, in the order of the tar. A number is a LEB128 varint of at most 64 bits in its
//! shortest form.
//!
//! | field | form | meaning |
//! |---|---|---|
//! | kind | byte | 0 file, 1 folder, 2 symbolic link, 3 hard link |
//! | shared | number | bytes that the path has in common with the path before it |
//! | rest | number, bytes | length and bytes of the rest of the path |
//! | offset | number | where the entry's first header begins in the uncompressed stream, in blocks of 512 bytes, counted from the entry before |
//! | size | number | files only: bytes of contents |
//! | mode | number | permission bits, at most 0o7777 |
//! | seconds | number | of the time of modification; zigzag, so 0, −1, 1, −2 … are 0, 1, 2, 3 … |
//! | nanos | number | below 1,000,000,000 |
//! | link | number, bytes | links only: length and bytes of the target |
//!
//! A reader rejects: another tag; a length that is not that of the records; too few or too many
//! records; a number in a longer form; an unknown kind; a shared length beyond the path before; an
//! empty path, one with a zero byte, or one of more than 65,536 bytes; an offset that does not
//! grow; anything after the records' frame.

use std::io::{self, BufRead, BufReader, Read, Write};

use sha2::{Digest, Sha256};

use crate::entry::{Entry, Kind, Time};
use crate::error::Error;
use crate::tar::BLOCK;
use crate::tar::reader::LONGEST_PATH;

/// Magic of the skippable frame that holds the index.
pub(crate) const MAGIC: u32 = 0x184D_2A5B;
const TAG: [u8; 8] = *b"kwindex\x01";
/// Bytes of tag and counts, after the skippable frame's own eight.
const HEAD: usize = 32;

/// What an index says of itself in its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of all file contents together.
    pub bytes: u64,
    /// Length of the records, uncompressed, in bytes.
    pub(crate) length: u64,
}

/// An index reduced to what tells two of them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) totals: Totals,
    digest: [u8; 32],
}

/// Turns entries into records, one after another.
pub(crate) struct Recorder<S> {
    sink: S,
    path: Vec<u8>,
    offset: u64,
    totals: Totals,
    record: Vec<u8>,
}

impl<S: Write> Recorder<S> {
    fn into(sink: S) -> Self {
        let totals = Totals { entries: 0, bytes: 0, length: 0 };
        Self { sink, path: Vec::new(), offset: 0, totals, record: Vec::new() }
    }

    /// Adds the next entry. Special entries have no record: an archive of ours has none.
    pub(crate) fn push(&mut self, entry: &Entry) -> io::Result<()> {
        let record = &mut self.record;
        record.clear();
        record.push(match entry.kind {
            Kind::File => 0,
            Kind::Folder => 1,
            Kind::Symlink => 2,
            Kind::Hardlink => 3,
            Kind::Special => return Ok(()),
        });
        let shared = self.path.iter().zip(&entry.path).take_while(|(before, now)| before == now).count();
        number(record, shared as u64);
        bytes(record, entry.path.get(shared..).unwrap_or_default());
        number(record, entry.offset.wrapping_sub(self.offset) / BLOCK as u64);
        if entry.kind == Kind::File {
            number(record, entry.size);
        }
        number(record, u64::from(entry.mode));
        number(record, ((entry.mtime.seconds << 1) ^ (entry.mtime.seconds >> 63)) as u64);
        number(record, u64::from(entry.mtime.nanos));
        if matches!(entry.kind, Kind::Symlink | Kind::Hardlink) {
            bytes(record, &entry.link);
        }
        self.sink.write_all(record)?;
        self.path.clone_from(&entry.path);
        self.offset = entry.offset;
        self.totals.entries += 1;
        self.totals.bytes = self.totals.bytes.saturating_add(entry.size);
        self.totals.length += record.len() as u64;
        Ok(())
    }
}

impl Recorder<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    /// A recorder for sealing: the records are compressed as they come.
    pub(crate) fn compressing(level: i32) -> io::Result<Self> {
        Ok(Self::into(zstd::stream::write::Encoder::new(Vec::new(), level)?))
    }

    /// The whole skippable frame.
    pub(crate) fn finish(self) -> Result<Vec<u8>, Error> {
        let records = self.sink.finish().map_err(|error| Error::io("", error))?;
        let length =
            u32::try_from(HEAD + records.len()).map_err(|_| Error::Index { reason: "it is too large" })?;
        let mut frame = Vec::with_capacity(8 + HEAD + records.len());
        frame.extend_from_slice(&MAGIC.to_le_bytes());
        frame.extend_from_slice(&length.to_le_bytes());
        frame.extend_from_slice(&TAG);
        for value in [self.totals.entries, self.totals.bytes, self.totals.length] {
            frame.extend_from_slice(&value.to_le_bytes());
        }
        frame.extend_from_slice(&records);
        Ok(frame)
    }
}

/// Swallows records and keeps their digest.
pub(crate) struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Recorder<Hashing> {
    /// A recorder for opening: the tar's entries become the summary that its index must have.
    pub(crate) fn hashing() -> Self {
        Self::into(Hashing(Sha256::new()))
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary { totals: self.totals, digest: self.sink.0.clone().finalize().into() }
    }
}

/// Reads the head of an index from what follows the skippable frame's first eight bytes.
fn totals(input: &mut impl Read) -> Result<Totals, Error> {
    let mut head = [0; HEAD];
    fill(input, &mut head)?;
    let mut words = head.as_chunks::<8>().0.iter();
    if words.next() != Some(&TAG) {
        return Err(Error::Index { reason: "its tag is unknown" });
    }
    let mut word = || words.next().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    Ok(Totals { entries: word(), bytes: word(), length: word() })
}

/// Reduces an index frame (all after its first eight bytes) to its summary, in constant memory.
pub(crate) fn summarize(mut input: impl BufRead) -> Result<Summary, Error> {
    let totals = totals(&mut input)?;
    let mut hashing = Hashing(Sha256::new());
    let mut records = decoder(&mut input)?.take(totals.length.saturating_add(1));
    let length = io::copy(&mut records, &mut hashing).map_err(malformed)?;
    if length != totals.length {
        return Err(Error::Index { reason: "its records have another length than it says" });
    }
    drop(records);
    nothing_left(&mut input)?;
    Ok(Summary { totals, digest: hashing.0.finalize().into() })
}

/// The entries of an index frame, one after another, in bounded memory.
pub(crate) struct Entries<R: BufRead> {
    totals: Totals,
    records: BufReader<io::Take<zstd::stream::read::Decoder<'static, R>>>,
    path: Vec<u8>,
    offset: u64,
    read: u64,
}

impl<R: BufRead> Entries<R> {
    /// Reads the head from what follows the skippable frame's first eight bytes.
    pub(crate) fn new(mut input: R) -> Result<Self, Error> {
        let totals = totals(&mut input)?;
        let records = BufReader::new(decoder(input)?.take(totals.length));
        Ok(Self { totals, records, path: Vec::new(), offset: 0, read: 0 })
    }

    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// The next entry; `None` after the last one, when nothing is left over.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, Error> {
        if self.read == self.totals.entries {
            return self.end().map(|()| None);
        }
        let kind = match self.byte()? {
            0 => Kind::File,
            1 => Kind::Folder,
            2 => Kind::Symlink,
            3 => Kind::Hardlink,
            _ => return Err(Error::Index { reason: "a kind is unknown" }),
        };
        let shared = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if shared > self.path.len() {
            return Err(Error::Index { reason: "a path shares more than there is" });
        }
        let mut path = std::mem::take(&mut self.path);
        path.truncate(shared);
        self.bytes(&mut path)?;
        if path.is_empty() || path.contains(&0) {
            return Err(Error::Index { reason: "a path is empty or has a zero byte" });
        }
        let step = self.number()?.checked_mul(BLOCK as u64);
        let offset = match step.and_then(|step| self.offset.checked_add(step)) {
            Some(offset) if offset > self.offset || self.read == 0 => offset,
            _ => return Err(Error::Index { reason: "an offset does not grow" }),
        };
        let size = if kind == Kind::File { self.number()? } else { 0 };
        let mode = u32::try_from(self.number()?).ok().filter(|mode| *mode <= 0o7777);
        let mode = mode.ok_or(Error::Index { reason: "a mode is out of range" })?;
        let zigzag = self.number()?;
        let seconds = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        let nanos = u32::try_from(self.number()?).ok().filter(|nanos| *nanos < 1_000_000_000);
        let nanos = nanos.ok_or(Error::Index { reason: "a time is out of range" })?;
        let mut link = Vec::new();
        if matches!(kind, Kind::Symlink | Kind::Hardlink) {
            self.bytes(&mut link)?;
        }
        self.path.clone_from(&path);
        self.offset = offset;
        self.read += 1;
        Ok(Some(Entry { path, kind, size, mode, mtime: Time { seconds, nanos }, link, offset }))
    }

    fn end(&mut self) -> Result<(), Error> {
        let mut one = [0];
        if self.records.read(&mut one).map_err(malformed)? != 0 || self.records.get_ref().limit() != 0 {
            return Err(Error::Index { reason: "its records have another length than it says" });
        }
        // One byte past the promised length tells whether the frame really ends there.
        self.records.get_mut().set_limit(1);
        if self.records.get_mut().read(&mut one).map_err(malformed)? != 0 {
            return Err(Error::Index { reason: "its records have another length than it says" });
        }
        nothing_left(self.records.get_mut().get_mut().get_mut())?;
        self.records.get_mut().set_limit(0);
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, Error> {
        let mut byte = [0];
        fill(&mut self.records, &mut byte)?;
        let [byte] = byte;
        Ok(byte)
    }

    fn number(&mut self) -> Result<u64, Error> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits || (byte == 0 && shift > 0) {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Error::Index { reason: "a number is not in its shortest form or too large" })
    }

    /// Appends counted bytes to `out`, which stays within the longest path.
    fn bytes(&mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        let count = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let start = out.len();
        if count > LONGEST_PATH.saturating_sub(start) {
            return Err(Error::Index { reason: "a path is too long" });
        }
        out.resize(start + count, 0);
        fill(&mut self.records, out.get_mut(start..).unwrap_or_default())
    }
}

fn decoder<R: BufRead>(input: R) -> Result<zstd::stream::read::Decoder<'static, R>, Error> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input).map_err(malformed)?.single_frame();
    // Our frames need at most 8 MiB; a hostile one shall not ask for more.
    decoder.window_log_max(23).map_err(malformed)?;
    Ok(decoder)
}

fn nothing_left(input: &mut impl BufRead) -> Result<(), Error> {
    match input.fill_buf().map_err(malformed)? {
        [] => Ok(()),
        _ => Err(Error::Index { reason: "there is something after its records" }),
    }
}

fn fill(input: &mut impl Read, buffer: &mut [u8]) -> Result<(), Error> {
    input.read_exact(buffer).map_err(malformed)
}

/// Errors while reading an index: those of the archive below keep their meaning, the rest are the
/// index's own.
fn malformed(error: io::Error) -> Error {
    let os = error.raw_os_error().is_some();
    match Error::io("", error) {
        Error::Io { path, source } if os => Error::Io { path, source },
        Error::Io { .. } => Error::Index { reason: "its records do not decompress" },
        other => other,
    }
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn frame(entries: &[Entry]) -> Vec<u8> {
        let mut recorder = Recorder::compressing(3).unwrap();
        entries.iter().for_each(|entry| recorder.push(entry).unwrap());
        recorder.finish().unwrap()
    }

    fn list(body: &[u8]) -> Result<Vec<Entry>, Error> {
        let mut entries = Entries::new(body)?;
        let mut listed = Vec::new();
        while let Some(entry) = entries.next()? {
            listed.push(entry);
        }
        Ok(listed)
    }

    /// An index whose records are given as they are.
    fn raw(count: u64, records: &[u8]) -> Vec<u8> {
        let mut body = TAG.to_vec();
        for value in [count, 0, records.len() as u64] {
            body.extend_from_slice(&value.to_le_bytes());
        }
        body.extend_from_slice(&zstd::bulk::compress(records, 3).unwrap());
        body
    }

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let kind =
            prop_oneof![Just(Kind::File), Just(Kind::Folder), Just(Kind::Symlink), Just(Kind::Hardlink)];
        let path = proptest::collection::vec(1_u8..=255, 1..40);
        let time = (any::<i64>(), 0_u32..1_000_000_000);
        let one = (kind, path.clone(), path, any::<u64>(), 0_u32..0o10000, time, 1_u64..1 << 40);
        proptest::collection::vec(one, 0..20).prop_map(|list| {
            let mut offset = 0;
            list.into_iter()
                .map(|(kind, path, link, size, mode, (seconds, nanos), step)| {
                    offset += step * 512;
                    let links = matches!(kind, Kind::Symlink | Kind::Hardlink);
                    Entry {
                        path,
                        kind,
                        size: if kind == Kind::File { size } else { 0 },
                        mode,
                        mtime: Time { seconds, nanos },
                        link: if links { link } else { Vec::new() },
                        offset,
                    }
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_recorded_is_listed(entries in entries()) {
            let frame = frame(&entries);
            prop_assert_eq!(&frame[..4], &MAGIC.to_le_bytes());
            prop_assert_eq!(&list(&frame[8..]).unwrap(), &entries);
            let mut derived = Recorder::hashing();
            entries.iter().for_each(|entry| derived.push(entry).unwrap());
            prop_assert_eq!(summarize(&frame[8..]).unwrap(), derived.summary());
        }

        #[test]
        fn hostile_records_never_panic_and_never_pass_as_others(entries in entries(), at in any::<usize>(), flip in 1_u8..) {
            let mut body = frame(&entries).split_off(8);
            let at = at % body.len();
            body[at] ^= flip;
            // No checksum guards the frame (age does): a changed index may list, but it never has
            // the summary of the tar.
            let _ = list(&body);
            let mut derived = Recorder::hashing();
            entries.iter().for_each(|entry| derived.push(entry).unwrap());
            let derived = derived.summary();
            match summarize(body.as_slice()) {
                Ok(summary) if summary == derived => prop_assert_eq!(list(&body).unwrap(), entries),
                _ => {}
            }
        }

        #[test]
        fn foreign_records_never_panic(count in 0_u64..5, records in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = list(&raw(count, &records));
        }
    }

    #[test]
    fn each_rule_of_the_format_is_kept() {
        let good: &[u8] = &[0, 0, 1, b'a', 0, 0, 0, 0, 0];
        assert_eq!(list(&raw(1, good)).unwrap().len(), 1);
        let table: &[(&str, u64, &[u8])] = &[
            ("too few records", 2, good),
            ("too many records", 0, good),
            ("unknown kind", 1, &[4, 0, 1, b'a', 0, 0, 0, 0, 0]),
            ("shares more than there is", 1, &[0, 1, 1, b'a', 0, 0, 0, 0, 0]),
            ("empty path", 1, &[0, 0, 0, 0, 0, 0, 0, 0]),
            ("zero byte", 1, &[0, 0, 1, 0, 0, 0, 0, 0, 0]),
            ("longer form", 1, &[0, 0x80, 0, 1, b'a', 0, 0, 0, 0, 0]),
            ("number beyond 64 bits", 1, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
            ("mode", 1, &[0, 0, 1, b'a', 0, 0, 0x80, 0x20, 0, 0]),
            ("nanos", 1, &[0, 0, 1, b'a', 0, 0, 0, 0, 0x80, 0x94, 0xeb, 0xdc, 3]),
            ("offset stands still", 2, &[0, 0, 1, b'a', 0, 0, 0, 0, 0, 0, 0, 1, b'b', 0, 0, 0, 0, 0]),
            ("path of 4 GiB", 1, &[0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ];
        for (rule, count, records) in table {
            assert!(matches!(list(&raw(*count, records)), Err(Error::Index { .. })), "{rule}");
        }
        let mut tag = raw(1, good);
        tag[7] = 2;
        assert!(matches!(list(&tag), Err(Error::Index { .. })));
        let mut after = raw(1, good);
        after.push(0);
        assert!(matches!(list(&after), Err(Error::Index { .. })));
        assert!(matches!(summarize(after.as_slice()), Err(Error::Index { .. })));
        for length in [8_u64, 10, u64::MAX] {
            let mut lies = raw(1, good);
            lies[24..32].copy_from_slice(&length.to_le_bytes());
            assert!(list(&lies).is_err(), "{length}");
            assert!(summarize(lies.as_slice()).is_err(), "{length}");
        }
    }
}
