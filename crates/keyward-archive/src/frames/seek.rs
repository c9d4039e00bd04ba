//! A stream in seekable frames, read from any byte: the seek table tells which frame holds it, and
//! only that frame and those after it are decompressed.
//!
//! The table is read a piece at a time and never held whole. What it says is checked as far as it
//! is used: frames lie before the index, and each gives as many bytes as it should.

use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;

use keyward_age::{OpenAt, ReadAt};

use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use super::{MOST_FRAMES, TABLE_END, TABLE_ENTRY, TABLE_FOOT, TABLE_MAGIC};
use crate::error::Error;
use crate::index;

/// A stream that can be told what is read next, so that a store is asked for it in one piece.
pub(crate) trait Ahead: Read + Seek {
    /// These bytes are read next.
    fn ahead(&mut self, range: Range<u64>) -> io::Result<()>;
}

impl<F: ReadAt> Ahead for OpenAt<F> {
    fn ahead(&mut self, range: Range<u64>) -> io::Result<()> {
        Ok(OpenAt::ahead(self, range)?)
    }
}

impl<A: Ahead> Ahead for &mut A {
    fn ahead(&mut self, range: Range<u64>) -> io::Result<()> {
        (**self).ahead(range)
    }
}

#[cfg(test)]
impl<T: AsRef<[u8]>> Ahead for io::Cursor<T> {
    fn ahead(&mut self, _: Range<u64>) -> io::Result<()> {
        Ok(())
    }
}

/// Where the parts of a stream of ours lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The index's skippable frame, with its first eight bytes.
    index_at: u64,
    /// Bytes of the index after those eight.
    index_length: u32,
    /// The first entry of the seek table.
    table_at: u64,
    /// Frames of data and of padding, which the table lists before the index.
    frames: u32,
}

impl Layout {
    /// Finds the parts by the end of the stream; `None` if it does not end like one of ours.
    pub(crate) fn find<R: Ahead>(stream: &mut R) -> Result<Option<Self>, Error> {
        // The last entry of the table and what follows it.
        const TAIL: usize = TABLE_ENTRY + TABLE_FOOT;
        let failed = |error| Error::io("", error);
        let size = stream.seek(SeekFrom::End(0)).map_err(failed)?;
        let at = |stream: &mut R, offset: u64, buffer: &mut [u8]| {
            stream.seek(SeekFrom::Start(offset)).and_then(|_| stream.read_exact(buffer)).map_err(failed)
        };
        let mut tail = [0; TAIL];
        let Some(tail_at) = size.checked_sub(TAIL as u64) else { return Ok(None) };
        at(stream, tail_at, &mut tail)?;
        let [c0, c1, c2, c3, d0, d1, d2, d3, n0, n1, n2, n3, 0, end @ ..] = tail else { return Ok(None) };
        let count = u32::from_le_bytes([n0, n1, n2, n3]);
        let (compressed, decompressed) =
            (u32::from_le_bytes([c0, c1, c2, c3]), u32::from_le_bytes([d0, d1, d2, d3]));
        if end != TABLE_END.to_le_bytes() || decompressed != 0 || count == 0 || count > MOST_FRAMES {
            return Ok(None);
        }
        let table_length = u64::from(count) * TABLE_ENTRY as u64 + TABLE_FOOT as u64;
        let Some(table_at) = size.checked_sub(table_length + 8) else { return Ok(None) };
        let Some(index_at) = table_at.checked_sub(u64::from(compressed)) else { return Ok(None) };
        // All that comes now lies between here and the end.
        stream.ahead(index_at..size).map_err(failed)?;
        let mut head = [0; 8];
        at(stream, table_at, &mut head)?;
        if head != two(TABLE_MAGIC, table_length as u32) {
            return Ok(None);
        }
        at(stream, index_at, &mut head)?;
        let Some(index_length) = compressed.checked_sub(8) else { return Ok(None) };
        if head != two(index::MAGIC, index_length) {
            return Ok(None);
        }
        Ok(Some(Self { index_at, index_length, table_at: table_at + 8, frames: count - 1 }))
    }

    /// The index, limited to it, after the first eight bytes of its frame.
    pub(crate) fn index<R: Read + Seek>(self, stream: R) -> Result<BufReader<io::Take<R>>, Error> {
        let mut stream = stream;
        stream.seek(SeekFrom::Start(self.index_at + 8)).map_err(|error| Error::io("", error))?;
        Ok(BufReader::with_capacity(1 << 16, stream.take(u64::from(self.index_length))))
    }
}

fn two(first: u32, second: u32) -> [u8; 8] {
    (u64::from(first) | u64::from(second) << 32).to_le_bytes()
}

/// Decompressed bytes that are held at a time.
const PIECE: usize = 1 << 17;
/// Bytes of the table that are read at a time.
const TABLE_PIECE: u64 = 512 * TABLE_ENTRY as u64;

/// The decompressed stream, from wherever [`go`](Self::go) was told.
pub(crate) struct Frames<R> {
    input: BufReader<R>,
    /// Where `input` stands.
    input_at: u64,
    layout: Layout,
    /// Entries of the table that were read and not yet used.
    table: std::vec::IntoIter<[u8; TABLE_ENTRY]>,
    /// Entries of the table that are used up.
    used: u32,
    /// Where the frame after those begins, in the file and in the decompressed stream.
    next: (u64, u64),
    decoder: Decoder<'static>,
    /// What is left of the frame under way: compressed, decompressed.
    left: Option<(u64, u64)>,
    piece: Vec<u8>,
    /// How much of `piece` was consumed.
    taken: usize,
    /// How far the caller is going to read, in the decompressed stream.
    until: u64,
    /// Compressed bytes up to here were announced, and how many at the last time.
    announced: (u64, u64),
}

/// Compressed bytes that are announced at a time, but for at least a frame.
const ANNOUNCED: u64 = 8 << 20;

impl<R: Ahead> Frames<R> {
    pub(crate) fn new(input: R, layout: Layout) -> Result<Self, Error> {
        Ok(Self {
            input: BufReader::with_capacity(1 << 16, input),
            input_at: u64::MAX,
            layout,
            table: Vec::new().into_iter(),
            used: 0,
            next: (0, 0),
            decoder: Decoder::new().map_err(zstd_error)?,
            left: None,
            piece: Vec::with_capacity(PIECE),
            taken: 0,
            until: 0,
            announced: (0, 0),
        })
    }

    /// Says how far the next reads go, in the decompressed stream; it need not be exact.
    pub(crate) fn expect(&mut self, until: u64) {
        self.until = until;
    }

    /// Goes to byte `offset` of the decompressed stream. Forward is cheaper than backward.
    pub(crate) fn go(&mut self, offset: u64) -> Result<(), Error> {
        if offset < self.position() {
            (self.used, self.next) = (0, (0, 0));
            self.announced = (0, 0);
            self.table = Vec::new().into_iter();
            self.drop_frame();
        }
        if offset >= self.next.1 {
            self.drop_frame();
            loop {
                let Some((compressed, decompressed)) = self.entry()? else {
                    return Err(Error::Index { reason: "an offset is beyond the end" });
                };
                if offset < self.next.1 {
                    self.begin(compressed, decompressed)?;
                    break;
                }
            }
        }
        while self.position() < offset {
            let wanted = usize::try_from(offset - self.position()).unwrap_or(usize::MAX);
            let count = self.filled()?.len().min(wanted);
            if count == 0 {
                return Err(Error::Index { reason: "an offset is beyond the end" });
            }
            self.taken += count;
        }
        Ok(())
    }

    /// Where the next byte is in the decompressed stream.
    fn position(&self) -> u64 {
        let (_, left) = self.left.unwrap_or_default();
        self.next.1 - left - (self.piece.len() - self.taken) as u64
    }

    fn drop_frame(&mut self) {
        self.left = None;
        self.piece.clear();
        self.taken = 0;
    }

    /// The next entry of the table, counted as used; past padding, of which nothing is decompressed.
    fn entry(&mut self) -> Result<Option<(u64, u64)>, Error> {
        loop {
            match self.any_entry()? {
                Some((_, 0)) => {}
                found => return Ok(found),
            }
        }
    }

    fn any_entry(&mut self) -> Result<Option<(u64, u64)>, Error> {
        if self.used == self.layout.frames {
            return Ok(None);
        }
        if self.table.len() == 0 {
            let at = u64::from(self.used) * TABLE_ENTRY as u64;
            let rest = u64::from(self.layout.frames - self.used) * TABLE_ENTRY as u64;
            let mut bytes = vec![0; rest.min(TABLE_PIECE) as usize];
            self.input
                .seek(SeekFrom::Start(self.layout.table_at + at))
                .and_then(|_| self.input.read_exact(&mut bytes))
                .map_err(|error| Error::io("", error))?;
            self.input_at = u64::MAX;
            self.table = bytes.as_chunks().0.to_vec().into_iter();
        }
        let Some([c0, c1, c2, c3, d0, d1, d2, d3]) = self.table.next() else { return Ok(None) };
        let compressed = u64::from(u32::from_le_bytes([c0, c1, c2, c3]));
        let decompressed = u64::from(u32::from_le_bytes([d0, d1, d2, d3]));
        self.used += 1;
        self.next = (self.next.0 + compressed, self.next.1 + decompressed);
        if self.next.0 > self.layout.index_at {
            return Err(wrong_table());
        }
        Ok(Some((compressed, decompressed)))
    }

    /// Begins the frame of the entry that was just used.
    fn begin(&mut self, compressed: u64, decompressed: u64) -> Result<(), Error> {
        let at = self.next.0 - compressed;
        self.announce(at).map_err(|error| Error::io("", error))?;
        if self.input_at != at {
            self.input.seek(SeekFrom::Start(at)).map_err(|error| Error::io("", error))?;
            self.input_at = at;
        }
        self.decoder.reinit().map_err(zstd_error)?;
        self.left = Some((compressed, decompressed));
        Ok(())
    }

    /// Announces the frame at `at`, and those after it that are going to be read. Who reads on gets
    /// more at a time.
    fn announce(&mut self, at: u64) -> io::Result<()> {
        let (upto, before) = self.announced;
        if at < upto {
            return Ok(());
        }
        let least = if at == upto && before > 0 { (2 * before).min(ANNOUNCED) } else { 0 };
        let (mut end, mut plain) = self.next;
        for [c0, c1, c2, c3, d0, d1, d2, d3] in self.table.as_slice() {
            let compressed = u64::from(u32::from_le_bytes([*c0, *c1, *c2, *c3]));
            let wanted = plain < self.until || end - at < least;
            if !wanted || end - at + compressed > ANNOUNCED {
                break;
            }
            end += compressed;
            plain += u64::from(u32::from_le_bytes([*d0, *d1, *d2, *d3]));
        }
        self.announced = (end, end - at);
        self.input.get_mut().ahead(at..end)
    }

    /// What is at hand; empty only at the end of the data.
    fn filled(&mut self) -> Result<&[u8], Error> {
        while self.taken >= self.piece.len() {
            self.piece.clear();
            self.taken = 0;
            let Some((compressed, decompressed)) = self.left else {
                match self.entry()? {
                    Some((compressed, decompressed)) => self.begin(compressed, decompressed)?,
                    None => break,
                }
                continue;
            };
            let input = self.input.fill_buf().map_err(|error| Error::io("", error))?;
            let most = usize::try_from(compressed).unwrap_or(usize::MAX).min(input.len());
            let mut from = InBuffer::around(input.get(..most).unwrap_or_default());
            self.piece.resize(PIECE, 0);
            let mut to = OutBuffer::around(self.piece.as_mut_slice());
            let hint = self.decoder.run(&mut from, &mut to).map_err(zstd_error)?;
            let (read, made) = (from.pos(), to.pos());
            self.input.consume(read);
            self.input_at += read as u64;
            self.piece.truncate(made);
            let left = (compressed - read as u64, decompressed.checked_sub(made as u64));
            let (compressed, Some(decompressed)) = left else {
                self.drop_frame();
                return Err(wrong_table());
            };
            self.left = Some((compressed, decompressed));
            match (hint, compressed, decompressed) {
                (0, 0, 0) => self.left = None,
                (0, ..) => return Err(wrong_table()),
                _ if read == 0 && made == 0 => {
                    return Err(Error::Zstd { reason: "it ends inside a frame".into() });
                }
                _ => {}
            }
        }
        Ok(self.piece.get(self.taken..).unwrap_or_default())
    }
}

impl<R: Ahead> BufRead for Frames<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.filled().map_err(io::Error::from)
    }

    fn consume(&mut self, count: usize) {
        self.taken = (self.taken + count).min(self.piece.len());
    }
}

impl<R: Ahead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

fn wrong_table() -> Error {
    Error::Zstd { reason: "the seek table is not that of the frames".into() }
}

fn zstd_error(error: io::Error) -> Error {
    Error::Zstd { reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::frames::FRAME;
    use crate::frames::write::compress;
    use crate::index::tests::frame;

    fn data() -> Vec<u8> {
        (0..3 * FRAME as u32 + 4321).map(|n| (n.wrapping_mul(2_654_435_761) >> 23) as u8).collect()
    }

    fn sealed(data: &[u8]) -> Vec<u8> {
        let (framed, ()) = compress(Vec::new(), 2, 3, &(), |blocks| blocks.put(data)).unwrap();
        framed.finish(&frame(&[]), None).unwrap()
    }

    fn frames(stream: &[u8]) -> Frames<Cursor<&[u8]>> {
        let mut stream = Cursor::new(stream);
        let layout = Layout::find(&mut stream).unwrap().unwrap();
        Frames::new(stream, layout).unwrap()
    }

    #[test]
    fn any_byte_is_reached_from_any_other() {
        let data = data();
        let stream = sealed(&data);
        let mut frames = frames(&stream);
        let last = data.len() - 1;
        for at in [0, 5, FRAME - 1, FRAME, last, 3, 2 * FRAME + 7, 2 * FRAME + 9, FRAME + 1, last - 1, 0] {
            frames.go(at as u64).unwrap();
            assert_eq!(frames.position(), at as u64);
            let mut read = vec![0; (data.len() - at).min(FRAME + 17)];
            frames.read_exact(&mut read).unwrap();
            assert!(read == data[at..at + read.len()], "{at}");
        }
        frames.go(last as u64).unwrap();
        let mut rest = Vec::new();
        frames.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, &data[last..]);
        for beyond in [data.len() as u64, u64::MAX] {
            assert!(matches!(frames.go(beyond), Err(Error::Index { .. })));
        }
    }

    #[test]
    fn a_table_that_lies_is_refused_or_gives_the_same_bytes() {
        let data = data();
        let stream = sealed(&data);
        let table = stream.len() - TABLE_FOOT - 5 * TABLE_ENTRY;
        for at in table..stream.len() - TABLE_FOOT - TABLE_ENTRY {
            let mut lies = stream.clone();
            lies[at] ^= 1;
            let mut frames = frames(&lies);
            let read = frames.go(0).and_then(|()| {
                let mut read = Vec::new();
                frames.read_to_end(&mut read).map_err(|error| Error::io("", error)).map(|_| read)
            });
            assert!(read.is_err(), "{at}");
        }
    }
}
