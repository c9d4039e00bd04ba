//! The payload engine: round trips at the sizes where something changes, agreement with the age crate,
//! and no success on anything that was altered.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::iter;
use std::sync::LazyLock;

use keyward_age::{
    CHUNK_LEN, Error, FileKey, FillError, Header, NONCE_LEN, OpenAt, OpenReader, SEALED_CHUNK_LEN,
    SealOptions, SealWriter, SoftIdentity, Suite, age,
};
use proptest::prelude::*;
use secrecy::ExposeSecret;

static IDENTITY: LazyLock<SoftIdentity> = LazyLock::new(|| SoftIdentity::generate(Suite::Classic).unwrap());

fn age_identity() -> age::x25519::Identity {
    IDENTITY.to_secret_string().expose_secret().parse().unwrap()
}

/// Bytes that differ from chunk to chunk.
fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at ^ (at >> 8) ^ (at >> 16).wrapping_mul(31)) as u8).collect()
}

fn seal(plaintext: &[u8], threads: usize, piece: usize) -> Vec<u8> {
    let recipient = IDENTITY.recipient().unwrap();
    let mut writer = SealWriter::new(&[recipient], Vec::new(), SealOptions { threads }).unwrap();
    for piece in plaintext.chunks(piece) {
        writer.write_all(piece).unwrap();
    }
    writer.finish().unwrap()
}

/// Gives at most as much at a time, and is interrupted before each time.
struct Piecewise<'a> {
    rest: &'a [u8],
    piece: usize,
    interrupted: bool,
}

impl Read for Piecewise<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.interrupted = !self.interrupted;
        if self.interrupted {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let count = self.rest.len().min(self.piece).min(buf.len());
        let (now, later) = self.rest.split_at(count);
        buf[..count].copy_from_slice(now);
        self.rest = later;
        Ok(count)
    }
}

fn seal_from(mut input: impl Read, threads: usize) -> Vec<u8> {
    let recipient = IDENTITY.recipient().unwrap();
    let mut writer = SealWriter::new(&[recipient], Vec::new(), SealOptions { threads }).unwrap();
    while writer.fill_from(&mut input).unwrap() > 0 {}
    writer.finish().unwrap()
}

/// A sealed file, taken apart.
struct Sealed {
    file: Vec<u8>,
    header_len: usize,
    file_key: FileKey,
}

impl Sealed {
    fn new(file: Vec<u8>) -> Sealed {
        let header = Header::read(&mut &*file).unwrap();
        let file_key = header.unwrap_soft(&IDENTITY).unwrap();
        Sealed { file, header_len: header.len(), file_key }
    }

    fn body(&self) -> usize {
        self.header_len + NONCE_LEN
    }

    fn front_to_back(&self, threads: usize) -> (Vec<u8>, Option<Error>) {
        released(OpenReader::new(&self.file[self.header_len..], &self.file_key, threads))
    }

    fn at_random(&self) -> (Vec<u8>, Option<Error>) {
        released(OpenAt::new(self.file.as_slice(), self.header_len, &self.file_key))
    }

    /// Both readers fail, and what they release before is the beginning of the truth.
    fn assert_fails(&self, truth: &[u8]) {
        for (released, error) in [self.front_to_back(1), self.front_to_back(3), self.at_random()] {
            assert!(error.is_some(), "an altered file opened");
            assert!(truth.starts_with(&released), "something else was released");
        }
    }
}

fn released(reader: Result<impl Read, Error>) -> (Vec<u8>, Option<Error>) {
    let mut released = Vec::new();
    let result = match reader {
        Ok(mut reader) => reader.read_to_end(&mut released).map_err(Error::from_io),
        Err(error) => Err(error),
    };
    (released, result.err())
}

const BATCH: usize = 4 * CHUNK_LEN;

#[test]
fn round_trips_at_every_border() {
    let mut sizes = vec![0, 1, 100];
    for border in [CHUNK_LEN, 2 * CHUNK_LEN, BATCH, 2 * BATCH, 5 * BATCH, 9 * BATCH] {
        sizes.extend([border - 1, border, border + 1]);
    }
    for (number, size) in sizes.into_iter().enumerate() {
        let truth = plaintext(size);
        let threads = 1 + number % 3;
        let sealed = Sealed::new(seal(&truth, threads, [usize::MAX, 10_007, CHUNK_LEN][number % 3]));
        let chunks = size.div_ceil(CHUNK_LEN).max(1);
        assert_eq!(sealed.file.len(), sealed.body() + size + 16 * chunks, "{size}");
        for (released, error) in [sealed.front_to_back(1), sealed.front_to_back(3), sealed.at_random()] {
            assert!(error.is_none(), "{size}: {error:?}");
            assert!(released == truth, "{size}");
        }
        let piecewise = Piecewise { rest: &truth, piece: 30_011, interrupted: false };
        for filled in [seal_from(truth.as_slice(), threads), seal_from(piecewise, threads)] {
            let filled = Sealed::new(filled);
            assert_eq!(filled.file.len(), filled.body() + size + 16 * chunks, "{size}");
            let (released, error) = filled.front_to_back(2);
            assert!(error.is_none() && released == truth, "{size}: {error:?}");
        }
        // The age crate reads ours, and we read what it writes.
        let identity = age_identity();
        let decryptor = age::Decryptor::new(&*sealed.file).unwrap();
        let (released, error) =
            released(Ok(decryptor.decrypt(iter::once(&identity as &dyn age::Identity)).unwrap()));
        assert!(error.is_none() && released == truth, "{size}");
        let recipient = identity.to_public();
        let encryptor =
            age::Encryptor::with_recipients(iter::once(&recipient as &dyn age::Recipient)).unwrap();
        let mut theirs = Vec::new();
        let mut writer = encryptor.wrap_output(&mut theirs).unwrap();
        writer.write_all(&truth).unwrap();
        writer.finish().unwrap();
        let theirs = Sealed::new(theirs);
        for (released, error) in [theirs.front_to_back(2), theirs.at_random()] {
            assert!(error.is_none() && released == truth, "{size}");
        }
    }
}

/// Every way in which chunks as a whole can be rearranged has its error.
#[test]
fn rearranged_chunks_are_named() {
    let truth = plaintext(40 * CHUNK_LEN);
    let original = Sealed::new(seal(&truth, 2, usize::MAX));
    let body = original.body();
    let chunk = |number: usize| body + number * SEALED_CHUNK_LEN..body + (number + 1) * SEALED_CHUNK_LEN;
    let altered = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut file = original.file.clone();
        change(&mut file);
        Sealed::new(file)
    };

    let cut = altered(&|file| file.truncate(chunk(20).start));
    cut.assert_fails(&truth);
    let (released, error) = cut.front_to_back(3);
    assert!(matches!(error, Some(Error::Truncated)));
    assert_eq!(released.len(), 20 * CHUNK_LEN, "what is authentic before the cut");
    assert!(matches!(cut.at_random(), (released, Some(Error::Truncated)) if released.is_empty()));

    let inside = altered(&|file| file.truncate(chunk(20).start + 1000));
    inside.assert_fails(&truth);
    assert!(matches!(inside.front_to_back(3).1, Some(Error::Chunk { index: 20, last: true })));

    let stub = altered(&|file| file.truncate(chunk(20).start + 7));
    stub.assert_fails(&truth);
    assert!(matches!(stub.front_to_back(3).1, Some(Error::Truncated)));

    let none = altered(&|file| file.truncate(body));
    assert!(matches!(none.front_to_back(1).1, Some(Error::Truncated)));
    assert!(matches!(none.at_random().1, Some(Error::Truncated)));

    let extended = altered(&|file| file.push(0));
    extended.assert_fails(&truth);
    assert!(matches!(extended.front_to_back(3).1, Some(Error::Trailing)));

    let swapped = altered(&|file| {
        let first = file[chunk(17)].to_vec();
        file.copy_within(chunk(18), chunk(17).start);
        file[chunk(18)].copy_from_slice(&first);
    });
    swapped.assert_fails(&truth);
    assert!(matches!(swapped.front_to_back(3).1, Some(Error::Chunk { index: 17, last: false })));

    let dropped = altered(&|file| drop(file.drain(chunk(3))));
    dropped.assert_fails(&truth);
    assert!(matches!(dropped.front_to_back(3).1, Some(Error::Chunk { index: 3, last: false })));

    let doubled = altered(&|file| {
        let copy = file[chunk(30)].to_vec();
        file.splice(chunk(31).start..chunk(31).start, copy);
    });
    doubled.assert_fails(&truth);
    assert!(matches!(doubled.front_to_back(3).1, Some(Error::Chunk { index: 31, last: false })));
}

#[test]
fn an_error_is_reported_again() {
    let truth = plaintext(40 * CHUNK_LEN);
    let mut sealed = Sealed::new(seal(&truth, 2, usize::MAX));
    let at = sealed.body() + 25 * SEALED_CHUNK_LEN + 5;
    sealed.file[at] ^= 1;
    let mut reader = OpenReader::new(&sealed.file[sealed.header_len..], &sealed.file_key, 2).unwrap();
    let mut released = Vec::new();
    for _ in 0..3 {
        let error = Error::from_io(reader.read_to_end(&mut released).unwrap_err());
        assert!(matches!(error, Error::Chunk { index: 25, last: false }));
        assert!(released == truth[..25 * CHUNK_LEN]);
    }
    // Elsewhere the file can still be read.
    let mut reader = OpenAt::new(&sealed.file, sealed.header_len, &sealed.file_key).unwrap();
    assert_eq!(reader.size(), truth.len() as u64);
    reader.seek(SeekFrom::Start(26 * CHUNK_LEN as u64)).unwrap();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == truth[26 * CHUNK_LEN..]);
}

/// Fails after a number of bytes.
struct Fails<T> {
    inner: T,
    left: usize,
}

impl<T> Fails<T> {
    fn allow(&mut self, wish: usize) -> io::Result<usize> {
        if self.left == 0 {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "full"));
        }
        let count = wish.min(self.left);
        self.left -= count;
        Ok(count)
    }
}

impl<W: Write> Write for Fails<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let count = self.allow(buf.len())?;
        self.inner.write_all(&buf[..count])?;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Fails<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.allow(buf.len())?;
        self.inner.read(&mut buf[..count])
    }
}

#[test]
fn errors_of_what_is_beneath_come_through() {
    let truth = plaintext(6 * BATCH);
    let recipient = IDENTITY.recipient().unwrap();
    let full = |error: Error| matches!(error, Error::Io(error) if error.kind() == io::ErrorKind::StorageFull);
    for left in [0, 10, 5000, BATCH, 6 * BATCH] {
        let out = Fails { inner: Vec::new(), left };
        match SealWriter::new(std::slice::from_ref(&recipient), out, SealOptions { threads: 2 }) {
            Err(error) => assert!(full(error) && left < 5000),
            Ok(mut writer) => {
                let result = writer.write_all(&truth).map_err(Error::from_io);
                match result {
                    Ok(()) => assert!(writer.finish().is_err_and(full)),
                    Err(error) => {
                        assert!(full(error));
                        assert!(writer.write(b"more").is_err() && writer.flush().is_err());
                        assert!(writer.finish().is_err(), "a failed file is never finished");
                    }
                }
            }
        }
    }
    let sealed = Sealed::new(seal(&truth, 2, usize::MAX));
    for left in [0, 10, 5000, BATCH, 5 * BATCH] {
        let input = Fails { inner: &sealed.file[sealed.header_len..], left };
        let (released, error) = released(OpenReader::new(input, &sealed.file_key, 2));
        assert!(error.is_some_and(full));
        assert!(truth.starts_with(&released));
        assert_eq!(released.len(), left.saturating_sub(NONCE_LEN + 1) / (4 * SEALED_CHUNK_LEN) * BATCH);
    }
}

#[test]
fn filling_tells_a_failed_input_from_a_failed_output() {
    let truth = plaintext(6 * BATCH);
    let recipient = IDENTITY.recipient().unwrap();
    let out = Fails { inner: Vec::new(), left: 5 * BATCH };
    let mut writer =
        SealWriter::new(std::slice::from_ref(&recipient), out, SealOptions { threads: 2 }).unwrap();
    let mut input = truth.as_slice();
    let failed = loop {
        match writer.fill_from(&mut input) {
            Ok(0) => break writer.finish().map(drop).map_err(io::Error::from),
            Ok(_) => {}
            Err(FillError::Output(error)) => break Err(error),
            Err(FillError::Input(error)) => panic!("{error}"),
        }
    };
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);

    let mut writer = SealWriter::new(&[recipient], Vec::new(), SealOptions { threads: 2 }).unwrap();
    let (left, whole) = truth.split_at(BATCH + 5);
    let mut broken = Fails { inner: left.chain(whole), left: left.len() };
    let failed = loop {
        match writer.fill_from(&mut broken) {
            Ok(count) => assert!(count > 0),
            Err(FillError::Input(error)) => break error,
            Err(FillError::Output(error)) => panic!("{error}"),
        }
    };
    assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
    // What was read before is sealed all the same.
    let sealed = Sealed::new(writer.finish().unwrap());
    assert!(sealed.front_to_back(1).0 == left);
}

#[test]
fn an_unfinished_file_does_not_open() {
    let recipient = IDENTITY.recipient().unwrap();
    let mut out = Vec::new();
    let mut writer = SealWriter::new(&[recipient], &mut out, SealOptions { threads: 2 }).unwrap();
    assert_eq!(writer.payload_nonce().len(), NONCE_LEN);
    writer.write_all(&plaintext(3 * BATCH)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    let sealed = Sealed::new(out);
    assert!(sealed.file.len() > sealed.body() + BATCH);
    assert!(matches!(sealed.front_to_back(2).1, Some(Error::Truncated)));
}

#[test]
fn seeking_agrees_with_memory() {
    let truth = plaintext(3 * CHUNK_LEN + 17);
    let sealed = Sealed::new(seal(&truth, 1, usize::MAX));
    let mut ours = OpenAt::new(&sealed.file, sealed.header_len, &sealed.file_key).unwrap();
    let mut memory = Cursor::new(&truth);
    let mut state = 1_u64;
    for _ in 0..500 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let offset = (state >> 33) as i64 % (truth.len() as i64 + 100);
        let to = match state >> 62 {
            0 => SeekFrom::Start(offset.unsigned_abs()),
            1 => SeekFrom::End(-offset),
            2 => SeekFrom::Current(offset - truth.len() as i64 / 2),
            _ => SeekFrom::Current(0),
        };
        assert_eq!(ours.seek(to).ok(), memory.seek(to).ok());
        let mut pair = [vec![0; offset as usize % 200_000], Vec::new()];
        pair[1] = pair[0].clone();
        let [one, two] = &mut pair;
        assert_eq!(
            (&mut ours).take(one.len() as u64).read_to_end(one).unwrap(),
            (&mut memory).take(two.len() as u64).read_to_end(two).unwrap()
        );
        assert!(one == two);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_size_round_trips(size in 0..3 * BATCH, threads in 1..4_usize, piece in 1..300_000_usize) {
        let truth = plaintext(size);
        let sealed = Sealed::new(seal(&truth, threads, piece));
        for (released, error) in [sealed.front_to_back(threads), sealed.at_random()] {
            prop_assert!(error.is_none());
            prop_assert!(released == truth);
        }
    }

    #[test]
    fn no_altered_payload_opens(
        size in 0..BATCH + CHUNK_LEN,
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        change in 0..4_u8,
        extra in prop::collection::vec(any::<u8>(), 1..70_000),
    ) {
        let truth = plaintext(size);
        let mut sealed = Sealed::new(seal(&truth, 1, usize::MAX));
        let start = sealed.header_len;
        let at = start + place.index(sealed.file.len() - start);
        match change {
            0 => sealed.file[at] ^= 1 << bit,
            1 => sealed.file.truncate(at),
            2 => sealed.file.extend_from_slice(&extra),
            _ => drop(sealed.file.splice(at..at, extra)),
        }
        sealed.assert_fails(&truth);
    }

    #[test]
    fn no_altered_file_opens(
        place in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let original = seal(&plaintext(1000), 1, usize::MAX);
        let mut file = original.clone();
        let at = place.index(file.len());
        let end = file.len().min(at + bytes.len());
        file.splice(at..end, bytes);
        prop_assume!(file != original);
        let opened = Header::read(&mut &*file).and_then(|header| {
            let file_key = header.unwrap_soft(&IDENTITY)?;
            match released(OpenReader::new(&file[header.len()..], &file_key, 1)) {
                (_, Some(error)) => Err(error),
                (released, None) => Ok(released),
            }
        });
        prop_assert!(opened.is_err());
    }

    #[test]
    fn arbitrary_bytes_are_no_file(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(Header::read(&mut &*bytes).is_err());
        let mut headed = b"age-encryption.org/v1\n-> ".to_vec();
        headed.extend_from_slice(&bytes);
        prop_assert!(Header::read(&mut &*headed).is_err());
    }
}
