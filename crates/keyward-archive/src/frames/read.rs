//! Any zstd stream taken apart, frame by frame. An archive of ours is held to its whole format:
//! when an index frame occurs, the seek table must follow and describe exactly the frames that were
//! read, and nothing may come after it.
//!
//! A frame that is no larger than ours is given whole, for somebody else to [`decompress`]; any other
//! is decompressed here. A foreign frame may ask for a window of up to 128 MiB, as plain `zstd -d`
//! allows; ours need 1 MiB.

use std::io::{self, BufRead, Read};

use sha2::{Digest, Sha256};
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe;

use super::gather::Gather;
use super::pad;
use super::{FRAME, TABLE_END, TABLE_ENTRY, TABLE_FOOT, TABLE_MAGIC};
use crate::error::Error;
use crate::index::{self, Summary};

pub(super) const FRAME_MAGIC: [u8; 4] = 0xFD2F_B528_u32.to_le_bytes();
/// The sixteen magics of skippable frames differ in their last four bits.
const SKIPPABLE: u32 = 0x184D_2A50;

/// Whether a stream that begins so is zstd.
pub(crate) fn looks_like_zstd(start: &[u8]) -> bool {
    start.first_chunk().is_some_and(|magic| *magic == FRAME_MAGIC || skippable(*magic).is_some())
}

fn skippable(magic: [u8; 4]) -> Option<u32> {
    let magic = u32::from_le_bytes(magic);
    (magic & !0xf == SKIPPABLE).then_some(magic)
}

/// Decompresses a stream and watches its frames.
pub(crate) struct Unframe<R> {
    input: Gather<R>,
    decoder: Decoder<'static>,
    /// Sizes of the frame that is being read: compressed, decompressed.
    frame: Option<(u64, u64)>,
    frames: Frames,
    padding: Padding,
    index: Option<Summary>,
    ended: bool,
    /// An error that comes after the bytes before it.
    fault: Option<Error>,
}

/// What comes next in a stream.
pub(crate) enum Part {
    /// A whole frame at the beginning of `bytes`, not yet decompressed.
    Frame {
        bytes: Vec<u8>,
        compressed: usize,
        /// Bytes that it gives, at most [`FRAME`].
        length: usize,
    },
    /// Decompressed bytes, at most [`FRAME`].
    Data(Vec<u8>),
}

/// Decompresses a whole frame into `data`, which must come to `length` bytes.
pub(crate) fn decompress(
    decompressor: &mut zstd::bulk::Decompressor<'_>,
    frame: &[u8],
    length: usize,
    data: &mut Vec<u8>,
) -> Result<(), Error> {
    data.clear();
    data.reserve(length);
    match decompressor.decompress_to_buffer(frame, data).map_err(zstd_error)? {
        made if made == length => Ok(()),
        _ => Err(Error::Zstd { reason: "a frame has another length than it says".into() }),
    }
}

/// What there was of padding, for when an index tells that it is ours.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Padding {
    None,
    Zeros,
    /// Something other than zeros, or data after it.
    Wrong,
}

/// The frames so far, as their entries in a seek table.
struct Frames {
    count: u64,
    hash: Sha256,
    fit: bool,
}

impl Frames {
    fn push(&mut self, compressed: u64, decompressed: u64) {
        self.count += 1;
        for size in [compressed, decompressed] {
            self.fit &= u32::try_from(size).is_ok();
            self.hash.update((size as u32).to_le_bytes());
        }
    }
}

impl<R: Read> Unframe<R> {
    pub(crate) fn new(input: R) -> Result<Self, Error> {
        Ok(Self {
            input: Gather::new(input),
            decoder: Decoder::new().map_err(zstd_error)?,
            frame: None,
            frames: Frames { count: 0, hash: Sha256::new(), fit: true },
            padding: Padding::None,
            index: None,
            ended: false,
            fault: None,
        })
    }

    /// The index, once the stream has been read to its end.
    pub(crate) fn index(&self) -> Option<Summary> {
        self.index
    }

    /// The next part; `None` at the verified end of the stream. `spare` is a buffer to use again.
    pub(crate) fn part(&mut self, mut spare: Vec<u8>) -> Result<Option<Part>, Error> {
        if let Some(fault) = self.fault.take() {
            return Err(fault);
        }
        if self.frame.is_none()
            && self.index.is_none()
            && let Some((compressed, length)) = self.small_frame()
        {
            if self.padding == Padding::Zeros {
                self.padding = Padding::Wrong;
            }
            self.frames.push(compressed as u64, length as u64);
            let bytes = self.input.cut(compressed, spare);
            return Ok(Some(Part::Frame { bytes, compressed, length }));
        }
        spare.resize(FRAME, 0);
        let mut filled = 0;
        while let Some(rest) = spare.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read(rest) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if filled == 0 => return Err(error),
                Err(error) => {
                    self.fault = Some(error);
                    break;
                }
            }
            if self.frame.is_none() {
                break;
            }
        }
        spare.truncate(filled);
        Ok((filled > 0).then_some(Part::Data(spare)))
    }

    /// The compressed and decompressed length of the frame that begins here, if it says so and is
    /// all there and no larger than ours.
    fn small_frame(&mut self) -> Option<(usize, usize)> {
        loop {
            let ahead = self.input.ahead();
            if ahead.starts_with(&FRAME_MAGIC) {
                let length = zstd_safe::get_frame_content_size(ahead).ok().flatten()?;
                let length = usize::try_from(length).ok().filter(|length| *length <= FRAME)?;
                if let Ok(compressed) = zstd_safe::find_frame_compressed_size(ahead) {
                    return Some((compressed, length));
                }
            } else if ahead.len() >= FRAME_MAGIC.len() {
                return None;
            }
            if !self.input.more() {
                return None;
            }
        }
    }

    /// Decompressed bytes; 0 at the verified end of the stream.
    pub(crate) fn read(&mut self, out: &mut [u8]) -> Result<usize, Error> {
        loop {
            if self.frame.is_none() && !self.begin()? {
                return Ok(0);
            }
            let input = self.input.fill_buf().map_err(read_error)?;
            let at_end = input.is_empty();
            let mut from = InBuffer::around(input);
            let mut to = OutBuffer::around(&mut *out);
            let hint = self.decoder.run(&mut from, &mut to).map_err(zstd_error)?;
            let (taken, made) = (from.pos(), to.pos());
            self.input.consume(taken);
            let (compressed, decompressed) = self.frame.unwrap_or_default();
            let sizes = (compressed + taken as u64, decompressed + made as u64);
            self.frame = Some(sizes);
            if hint == 0 {
                self.frames.push(sizes.0, sizes.1);
                self.frame = None;
            } else if at_end && made == 0 {
                return Err(Error::Zstd { reason: "it ends inside a frame".into() });
            }
            if made > 0 {
                return Ok(made);
            }
        }
    }

    /// Begins the next data frame, past any skippable ones; false at the end of the stream.
    fn begin(&mut self) -> Result<bool, Error> {
        loop {
            if self.input.fill_buf().map_err(read_error)?.is_empty() {
                if self.index.is_some() && !self.ended {
                    return Err(Error::Zstd { reason: "the seek table is missing".into() });
                }
                return Ok(false);
            }
            if self.ended {
                return Err(Error::Zstd { reason: "there is something after the seek table".into() });
            }
            let magic = self.four()?;
            match skippable(magic) {
                Some(magic) => self.skippable(magic)?,
                None if magic != FRAME_MAGIC => {
                    return Err(Error::Zstd { reason: "there is something that is no frame".into() });
                }
                None if self.index.is_some() => {
                    return Err(Error::Zstd { reason: "there is data after the index".into() });
                }
                None => {
                    if self.padding == Padding::Zeros {
                        self.padding = Padding::Wrong;
                    }
                    self.decoder.reinit().map_err(zstd_error)?;
                    let mut nothing = [];
                    let mut to = OutBuffer::around(nothing.as_mut_slice());
                    self.decoder.run(&mut InBuffer::around(&magic), &mut to).map_err(zstd_error)?;
                    self.frame = Some((magic.len() as u64, 0));
                    return Ok(true);
                }
            }
        }
    }

    fn skippable(&mut self, magic: u32) -> Result<(), Error> {
        let length = u64::from(u32::from_le_bytes(self.four()?));
        if magic == pad::MAGIC && self.index.is_none() {
            return self.padding(length);
        }
        if magic == index::MAGIC && self.index.is_none() {
            if self.padding == Padding::Wrong {
                return Err(Error::Zstd { reason: "the padding is not zeros between data and index".into() });
            }
            self.index = Some(index::summarize((&mut self.input).take(length))?);
            self.frames.push(8 + length, 0);
            return Ok(());
        }
        if self.index.is_some() {
            if magic != TABLE_MAGIC {
                return Err(Error::Zstd { reason: "there is something between index and seek table".into() });
            }
            self.ended = true;
            return self.table(length);
        }
        let skipped = io::copy(&mut (&mut self.input).take(length), &mut io::sink()).map_err(read_error)?;
        if skipped == length { Ok(()) } else { Err(Error::Zstd { reason: "it ends inside a frame".into() }) }
    }

    fn padding(&mut self, length: u64) -> Result<(), Error> {
        let mut left = length;
        while left > 0 {
            let bytes = self.input.fill_buf().map_err(read_error)?;
            let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if count == 0 {
                return Err(Error::Zstd { reason: "it ends inside a frame".into() });
            }
            if bytes.iter().take(count).any(|byte| *byte != 0) {
                self.padding = Padding::Wrong;
            }
            self.input.consume(count);
            left -= count as u64;
        }
        if self.padding == Padding::None {
            self.padding = Padding::Zeros;
        }
        self.frames.push(8 + length, 0);
        Ok(())
    }

    /// The seek table must be that of the frames read.
    fn table(&mut self, length: u64) -> Result<(), Error> {
        let wrong = || Error::Zstd { reason: "the seek table is not that of the frames".into() };
        let entries = self.frames.count * TABLE_ENTRY as u64;
        if length != entries + TABLE_FOOT as u64 || !self.frames.fit {
            return Err(wrong());
        }
        let mut hash = Sha256::new();
        let mut table = (&mut self.input).take(entries);
        loop {
            let bytes = table.fill_buf().map_err(read_error)?;
            if bytes.is_empty() {
                break;
            }
            hash.update(bytes);
            let count = bytes.len();
            table.consume(count);
        }
        let mut foot = [0; TABLE_FOOT];
        self.input.read_exact(&mut foot).map_err(read_error)?;
        let mut expected = Vec::with_capacity(TABLE_FOOT);
        expected.extend_from_slice(&(self.frames.count as u32).to_le_bytes());
        expected.push(0);
        expected.extend_from_slice(&TABLE_END.to_le_bytes());
        if foot.as_slice() != expected || hash.finalize() != self.frames.hash.clone().finalize() {
            return Err(wrong());
        }
        Ok(())
    }

    fn four(&mut self) -> Result<[u8; 4], Error> {
        let mut bytes = [0; 4];
        self.input.read_exact(&mut bytes).map_err(read_error)?;
        Ok(bytes)
    }
}

fn zstd_error(error: io::Error) -> Error {
    Error::Zstd { reason: error.to_string() }
}

fn read_error(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof
        && error.get_ref().is_none_or(|inner| !inner.is::<keyward_age::Error>())
    {
        return Error::Zstd { reason: "it ends inside a frame".into() };
    }
    Error::io("", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::write::compress;
    use crate::index::tests::frame;
    use proptest::prelude::*;

    fn sealed(data: &[u8]) -> Vec<u8> {
        let (framed, ()) = compress(Vec::new(), 2, 3, &(), |blocks| blocks.put(data)).unwrap();
        framed.finish(&frame(&[]), None).unwrap()
    }

    fn read_all(stream: &[u8]) -> Result<(Vec<u8>, Option<Summary>), Error> {
        let mut unframe = Unframe::new(stream)?;
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        let (mut data, mut spare) = (Vec::new(), Vec::new());
        loop {
            match unframe.part(std::mem::take(&mut spare))? {
                None => return Ok((data, unframe.index())),
                Some(Part::Data(piece)) => {
                    data.extend_from_slice(&piece);
                    spare = piece;
                }
                Some(Part::Frame { bytes, compressed, length }) => {
                    let mut piece = Vec::new();
                    decompress(&mut decompressor, &bytes[..compressed], length, &mut piece)?;
                    data.extend_from_slice(&piece);
                    spare = bytes;
                }
            }
        }
    }

    #[test]
    fn frames_like_ours_come_whole_and_others_in_pieces() {
        let data = noise(2 * FRAME + 5);
        let foreign = zstd::stream::encode_all(data.as_slice(), 1).unwrap();
        let small = zstd::bulk::compress(&data[..700_000], 1).unwrap();
        let stream = [&small[..], &foreign, b"\x50\x2a\x4d\x18\x03\0\0\0abc", &small, &small].concat();
        let mut unframe = Unframe::new(&stream[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(part) = unframe.part(Vec::new()).unwrap() {
            seen.push(match part {
                Part::Frame { bytes, compressed, length } => {
                    assert_eq!(bytes[..compressed], small);
                    (true, length)
                }
                Part::Data(piece) => (false, piece.len()),
            });
        }
        // What follows a skippable frame was begun before it was known.
        let frame = (true, 700_000);
        let expected = [frame, (false, FRAME), (false, FRAME), (false, 5), (false, 700_000), frame];
        assert_eq!(seen, expected);
        let (read, _) = read_all(&stream).unwrap();
        assert_eq!(read.len(), data.len() + 3 * 700_000);
        for cut in [1, 17, 100, small.len() - 1] {
            assert!(matches!(read_all(&stream[..cut]), Err(Error::Zstd { .. })), "{cut}");
        }
        // Everything before a fault is given first.
        let mut broken = foreign.clone();
        let at = broken.len() - 3;
        broken[at] ^= 0xff;
        broken.truncate(at + 1);
        let mut unframe = Unframe::new(&broken[..]).unwrap();
        let mut given = 0;
        let error = loop {
            match unframe.part(Vec::new()) {
                Ok(Some(Part::Data(piece))) => given += piece.len(),
                Ok(_) => panic!("it is broken"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::Zstd { .. }) && given >= FRAME, "{given}");
    }

    #[test]
    fn a_frame_that_lies_about_its_length_is_refused() {
        let data = noise(100_000);
        let frame = zstd::bulk::compress(&data, 1).unwrap();
        let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
        for length in [0, 99_999, 100_001] {
            assert!(decompress(&mut decompressor, &frame, length, &mut Vec::new()).is_err(), "{length}");
        }
        decompress(&mut decompressor, &frame, 100_000, &mut Vec::new()).unwrap();
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 26) as u8
            })
            .collect()
    }

    #[test]
    fn our_frames_and_other_peoples() {
        let data = noise(3_000_000);
        let (read, index) = read_all(&sealed(&data)).unwrap();
        assert!(read == data);
        assert!(index.is_some());
        let stock = zstd::stream::encode_all(data.as_slice(), 3).unwrap();
        let (read, index) = read_all(&stock).unwrap();
        assert!(read == data && index.is_none());
        let pieces = [&stock[..], b"\x50\x2a\x4d\x18\x03\0\0\0abc", &stock[..]].concat();
        assert!(read_all(&pieces).unwrap().0.len() == 2 * data.len());
    }

    #[test]
    fn a_stream_of_ours_is_whole_or_refused() {
        let data = noise(1_200_000);
        let stream = sealed(&data);
        let index = frame(&[]);
        let table = stream.len() - 8 - 3 * TABLE_ENTRY - TABLE_FOOT;
        let at_index = table - index.len();
        for end in [at_index + 1, at_index + 8, table, table + 3, stream.len() - 1] {
            assert!(
                matches!(read_all(&stream[..end]), Err(Error::Zstd { .. } | Error::Index { .. })),
                "{end}"
            );
        }
        assert!(read_all(&[&stream[..], b"x"].concat()).is_err());
        assert!(read_all(&[&stream[..], &stream[..]].concat()).is_err());
        for at in table..stream.len() {
            let mut flipped = stream.clone();
            flipped[at] ^= 1;
            assert!(read_all(&flipped).is_err(), "{at}");
        }
        let twice = [&stream[..at_index], &index, &stream[at_index..]].concat();
        assert!(read_all(&twice).is_err());
        let data_after = [&stream[..table], &stream[..at_index], &stream[table..]].concat();
        assert!(read_all(&data_after).is_err());
    }

    #[test]
    fn padding_is_zeros_between_data_and_index() {
        let data = noise(1_200_000);
        let (framed, ()) = compress(Vec::new(), 2, 3, &(), |blocks| blocks.put(&data)).unwrap();
        let stream = framed.finish(&frame(&[]), Some(500)).unwrap();
        let size = 500 + stream.len() as u64 + 16 * (stream.len() as u64).div_ceil(65_536);
        assert_eq!(pad::padme(size), size);
        let (read, index) = read_all(&stream).unwrap();
        assert!(read == data && index.is_some());
        let table = stream.len() - TABLE_FOOT - 4 * TABLE_ENTRY - 8;
        let padding = table - frame(&[]).len() - 1;
        assert_eq!(stream[padding], 0);
        let mut other = stream.clone();
        other[padding] = 1;
        assert!(matches!(read_all(&other), Err(Error::Zstd { .. })));
        // Data after it; the table would have to know.
        let at_index = table - frame(&[]).len();
        let small = zstd::bulk::compress(b"more", 3).unwrap();
        assert!(read_all(&[&stream[..at_index], &small, &stream[at_index..]].concat()).is_err());
        // A foreign stream may have such frames as it likes.
        let foreign =
            [&zstd::bulk::compress(b"a", 3).unwrap()[..], b"\x5c\x2a\x4d\x18\x03\0\0\0abc", &small].concat();
        assert_eq!(read_all(&foreign).unwrap().0, b"amore");
        assert!(read_all(&foreign[..foreign.len() - small.len() - 1]).is_err());
    }

    proptest! {
        #[test]
        fn foreign_streams_never_panic(stream in proptest::collection::vec(any::<u8>(), 0..300), cut in 0_usize..40) {
            let good = sealed(b"abc");
            let _ = read_all(&stream);
            let _ = read_all(&[&good[..cut.min(good.len())], &stream].concat());
        }
    }
}
