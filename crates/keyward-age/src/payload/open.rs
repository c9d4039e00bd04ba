//! Opening from front to back: an age file's payload in, verified plaintext out.
//!
//! The caller's thread reads ahead and hands batches to the workers; it gets them back in order and
//! releases only what verified. A byte is read beyond each batch, since the end of the input decides
//! which chunk must carry the last flag.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::pool::Pool;
use super::{BATCH_CHUNKS, CHUNK_LEN, Fault, NONCE_LEN, PayloadKey, SEALED_CHUNK_LEN, workers};
use crate::error::Error;
use crate::file_key::FileKey;

const BATCH_SEALED_LEN: usize = BATCH_CHUNKS * SEALED_CHUNK_LEN;

/// Reads the plaintext of a payload. It never gives a byte of a chunk that did not verify; bytes
/// before a bad chunk it does give, so a caller who must have all or nothing keeps them under a
/// temporary name until the end was reached.
///
/// Errors are [`io::Error`]s that carry an [`Error`] (see [`Error::from_io`]): [`Error::Chunk`],
/// [`Error::Truncated`], [`Error::Trailing`], [`Error::EmptyLastChunk`].
pub struct OpenReader<R: Read> {
    input: R,
    nonce: [u8; NONCE_LEN],
    key: Arc<PayloadKey>,
    threads: usize,
    /// Started when the payload turns out to be longer than a batch.
    pool: Option<Pool<Batch>>,
    /// The number of the next chunk to be read.
    next: u64,
    /// The byte that was read beyond the last batch.
    beyond: Option<u8>,
    /// Whether reading is over: at the end, or after an error.
    exhausted: bool,
    /// An error of the input, reported after the plaintext before it.
    broken: Option<io::Error>,
    releasing: Batch,
    released: usize,
    spare: Vec<Batch>,
    fault: Option<Failure>,
}

/// Why there is nothing more to read, for every later call.
#[derive(Clone, Copy)]
enum Failure {
    Payload(Fault),
    Input(io::ErrorKind),
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> io::Error {
        match failure {
            Failure::Payload(fault) => Error::from(fault).into(),
            Failure::Input(kind) => kind.into(),
        }
    }
}

impl<R: Read> OpenReader<R> {
    /// Begins to read: `input` stands right behind the header. `threads` is the number of workers,
    /// 0 leaves it to the machine; memory is about 2 MiB for each.
    ///
    /// # Errors
    /// [`Error::Truncated`] if not even the payload's nonce is there, [`Error::Io`] of `input`.
    pub fn new(mut input: R, file_key: &FileKey, threads: usize) -> Result<OpenReader<R>, Error> {
        let mut nonce = [0; NONCE_LEN];
        input.read_exact(&mut nonce).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof if error.get_ref().is_none_or(|inner| !inner.is::<Error>()) => {
                Error::Truncated
            }
            _ => Error::from_io(error),
        })?;
        Ok(OpenReader {
            input,
            nonce,
            key: Arc::new(PayloadKey::derive(file_key, &nonce)?),
            threads: workers(threads),
            pool: None,
            next: 0,
            beyond: None,
            exhausted: false,
            broken: None,
            releasing: Batch::empty(),
            released: 0,
            spare: Vec::new(),
            fault: None,
        })
    }

    /// The payload's nonce.
    pub fn payload_nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// Reads the next batch; `None` if the input gave an error, which is kept for later.
    fn read_batch(&mut self) -> Option<Batch> {
        let mut batch = self.spare.pop().unwrap_or_else(Batch::new);
        batch.start(self.next);
        match batch.read_from(&mut self.input, &mut self.beyond) {
            Ok(()) => {
                self.next += BATCH_CHUNKS as u64;
                self.exhausted = batch.at_end;
                Some(batch)
            }
            Err(error) => {
                self.exhausted = true;
                self.broken = Some(error);
                None
            }
        }
    }

    /// Gets the next opened batch; `None` at the end.
    fn next_batch(&mut self) -> io::Result<Option<Batch>> {
        while !self.exhausted && !self.pool.as_ref().is_some_and(Pool::is_full) {
            let Some(mut batch) = self.read_batch() else { break };
            let pool = match &mut self.pool {
                Some(pool) => pool,
                None if batch.at_end => {
                    batch.open(&self.key);
                    return Ok(Some(batch));
                }
                none => {
                    let key = Arc::clone(&self.key);
                    none.insert(Pool::start(self.threads, move |batch: &mut Batch| batch.open(&key))?)
                }
            };
            pool.give(batch)?;
        }
        match self.pool.as_mut().map(Pool::take).transpose()?.flatten() {
            Some(batch) => Ok(Some(batch)),
            None => self.broken.take().map_or(Ok(None), Err),
        }
    }

    /// Makes plaintext ready; at the end it stays empty.
    fn advance(&mut self) -> io::Result<()> {
        if let Some(failure) = self.fault {
            return Err(failure.into());
        }
        if let Some(fault) = self.releasing.fault {
            return Err(self.fail(Failure::Payload(fault)));
        }
        match self.next_batch() {
            Ok(Some(batch)) => {
                let old = std::mem::replace(&mut self.releasing, batch);
                if !old.sealed.is_empty() {
                    self.spare.push(old);
                }
            }
            // The last batch, which is used up, stays.
            Ok(None) => return Ok(()),
            Err(error) => {
                self.fail(Failure::Input(error.kind()));
                return Err(error);
            }
        }
        self.released = 0;
        if self.releasing.verified == 0
            && let Some(fault) = self.releasing.fault
        {
            return Err(self.fail(Failure::Payload(fault)));
        }
        Ok(())
    }

    /// Ends all work, and remembers why.
    fn fail(&mut self, failure: Failure) -> io::Error {
        self.fault = Some(failure);
        self.exhausted = true;
        self.pool = None;
        failure.into()
    }
}

impl<R: Read> BufRead for OpenReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.released == self.releasing.verified {
            self.advance()?;
        }
        Ok(self.releasing.plain.get(self.released..self.releasing.verified).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.released = self.releasing.verified.min(self.released + count);
    }
}

impl<R: Read> Read for OpenReader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let count = self.fill_buf()?.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

/// Some consecutive chunks as they came, and what of them verified.
struct Batch {
    sealed: Vec<u8>,
    /// Bytes in `sealed`.
    filled: usize,
    /// The first chunk's number.
    first: u64,
    /// Whether the input ends with this batch.
    at_end: bool,
    plain: Zeroizing<Vec<u8>>,
    /// Bytes in `plain` that may be released.
    verified: usize,
    /// What stopped the rest.
    fault: Option<Fault>,
}

impl Batch {
    fn new() -> Batch {
        Batch {
            // With room for the byte beyond, so that it costs no read of its own.
            sealed: vec![0; BATCH_SEALED_LEN + 1],
            plain: Zeroizing::new(vec![0; BATCH_CHUNKS * CHUNK_LEN]),
            ..Batch::empty()
        }
    }

    /// A batch without room, for before the first.
    fn empty() -> Batch {
        Batch {
            sealed: Vec::new(),
            filled: 0,
            first: 0,
            at_end: false,
            plain: Zeroizing::new(Vec::new()),
            verified: 0,
            fault: None,
        }
    }

    fn start(&mut self, first: u64) {
        self.filled = 0;
        self.first = first;
        self.at_end = false;
        self.verified = 0;
        self.fault = None;
    }

    /// Fills the batch, beginning with the byte `beyond` the one before, and reads one byte beyond
    /// this one to learn whether the input ends here.
    fn read_from(&mut self, input: &mut impl Read, beyond: &mut Option<u8>) -> io::Result<()> {
        if let (Some(byte), Some(slot)) = (beyond.take(), self.sealed.first_mut()) {
            *slot = byte;
            self.filled = 1;
        }
        while let Some(room) = self.sealed.get_mut(self.filled..)
            && !room.is_empty()
        {
            match read_some(input, room)? {
                0 => {
                    self.at_end = true;
                    return Ok(());
                }
                count => self.filled += count,
            }
        }
        *beyond = self.sealed.last().copied();
        self.filled = BATCH_SEALED_LEN;
        Ok(())
    }

    /// Opens chunk after chunk, up to the first that does not verify.
    fn open(&mut self, key: &PayloadKey) {
        let sealed = self.sealed.get(..self.filled).unwrap_or_default();
        if sealed.is_empty() {
            self.fault = Some(Fault::Truncated);
            return;
        }
        let chunks = sealed.len().div_ceil(SEALED_CHUNK_LEN);
        let slots = sealed.chunks(SEALED_CHUNK_LEN).zip(self.plain.chunks_mut(CHUNK_LEN));
        for (number, (index, (sealed, plain))) in (self.first..).zip(slots).enumerate() {
            let opened = key.open_chunk(index, self.at_end && number + 1 == chunks, sealed, plain);
            self.verified += opened.length;
            self.fault = opened.fault;
            if self.fault.is_some() {
                return;
            }
        }
    }
}

/// One read, again if a signal interrupted it.
fn read_some(input: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match input.read(buf) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}
