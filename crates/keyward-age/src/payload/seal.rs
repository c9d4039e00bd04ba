//! Sealing: plaintext in, a whole age file out.
//!
//! The caller's thread fills batches and writes finished ones, workers seal them in between. The last
//! chunk carries a flag, so a full batch waits until more data shows that it is not the last.

use std::cell::RefCell;
use std::io::{self, IoSliceMut, Read, Write};
use std::sync::Arc;

use zeroize::Zeroizing;

use super::pool::Pool;
use super::{BATCH_CHUNKS, CHUNK_LEN, NONCE_LEN, PayloadKey, SEALED_CHUNK_LEN, TAG_LEN, workers};
use crate::error::Error;
use crate::file_key::FileKey;
use crate::header::Header;
use crate::recipient::Recipient;
use crate::stanza::Listening;

const BATCH_PLAIN_LEN: usize = BATCH_CHUNKS * CHUNK_LEN;

/// How to seal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealOptions {
    /// The number of worker threads; 0 leaves it to the machine. Memory is about 1 MiB for each.
    pub threads: usize,
}

/// Why [`SealWriter::fill_from`] failed.
#[derive(Debug)]
pub enum FillError {
    /// Reading the plaintext did.
    Input(io::Error),
    /// Writing the file did; it is not complete.
    Output(io::Error),
}

/// Seals what is written to it. Only after [`SealWriter::finish`] is the file complete; dropped
/// before that, it leaves one that nobody accepts.
pub struct SealWriter<W: Write> {
    out: W,
    header: Header,
    nonce: [u8; NONCE_LEN],
    key: Arc<PayloadKey>,
    threads: usize,
    /// Started with the second batch: most key files never need it.
    pool: Option<Pool<Batch>>,
    filling: Batch,
    spare: Vec<Batch>,
    failed: bool,
}

impl<W: Write> SealWriter<W> {
    /// Makes a file key, wraps it to every recipient, and writes header and payload nonce.
    ///
    /// # Errors
    /// [`Error::NoRecipients`], [`Error::MixedSuites`], [`Error::Io`] of `out`.
    pub fn new(recipients: &[Recipient], out: W, options: SealOptions) -> Result<SealWriter<W>, Error> {
        SealWriter::begin(seal_header(recipients)?, out, options)
    }

    /// As [`SealWriter::new`], to a passphrase: such a file has no other recipient. The work that
    /// opening costs is set in `recipient`.
    ///
    /// # Errors
    /// [`Error::Io`] of `out`.
    pub fn to_passphrase(
        recipient: &age::scrypt::Recipient,
        out: W,
        options: SealOptions,
    ) -> Result<SealWriter<W>, Error> {
        let heard = RefCell::new(None);
        let listening = Listening::to_passphrase(recipient, &heard);
        SealWriter::begin(make_header(&[listening], &heard)?, out, options)
    }

    fn begin(
        (header, nonce, file_key): (Header, [u8; NONCE_LEN], FileKey),
        mut out: W,
        options: SealOptions,
    ) -> Result<SealWriter<W>, Error> {
        let key = Arc::new(PayloadKey::derive(&file_key, &nonce)?);
        out.write_all(header.as_bytes())?;
        out.write_all(&nonce)?;
        Ok(SealWriter {
            out,
            header,
            nonce,
            key,
            threads: workers(options.threads),
            pool: None,
            filling: Batch::new(),
            spare: Vec::new(),
            failed: false,
        })
    }

    /// The header of the file.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The payload's nonce, which follows the header.
    pub fn payload_nonce(&self) -> &[u8; NONCE_LEN] {
        &self.nonce
    }

    /// Seals the last chunk, writes and flushes everything, and gives the writer back.
    ///
    /// # Errors
    /// [`Error::Io`]: the file is not complete.
    pub fn finish(mut self) -> Result<W, Error> {
        self.check()?;
        self.filling.last = true;
        let mut batch = std::mem::replace(&mut self.filling, Batch::empty());
        if let Some(pool) = &mut self.pool {
            pool.give(batch)?;
            while self.write_oldest()? {}
        } else {
            batch.seal(&self.key);
            self.out.write_all(batch.sealed()?)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }

    /// Seals what `input` has at hand, read straight to where it is sealed; says how much that was,
    /// 0 at the end of `input`. An interrupted read is tried again.
    ///
    /// # Errors
    /// Those of `input` come as they are, and sealing can go on; those of writing are the end.
    pub fn fill_from(&mut self, input: &mut (impl Read + ?Sized)) -> Result<usize, FillError> {
        self.check().map_err(FillError::Output)?;
        if !self.filling.is_full() {
            return self.filling.fill_from(input).map_err(FillError::Input);
        }
        // Only what comes next tells whether the full batch was the last.
        let mut fresh = self.fresh();
        match fresh.fill_from(input) {
            Ok(0) => {
                self.spare.push(fresh);
                Ok(0)
            }
            Ok(count) => {
                let turned = self.turn_over(fresh);
                self.failed = turned.is_err();
                turned.map(|()| count).map_err(FillError::Output)
            }
            Err(error) => Err(FillError::Input(error)),
        }
    }

    /// An empty batch, to come after the one that is being filled.
    fn fresh(&mut self) -> Batch {
        let mut fresh = self.spare.pop().unwrap_or_else(Batch::new);
        fresh.start(self.filling.first + BATCH_CHUNKS as u64);
        fresh
    }

    fn check(&self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("sealing went on after a failed write"));
        }
        Ok(())
    }

    /// Sends the full batch away and goes on with another.
    fn turn_over(&mut self, fresh: Batch) -> io::Result<()> {
        if self.pool.is_none() {
            let key = Arc::clone(&self.key);
            self.pool = Some(Pool::start(self.threads, move |batch: &mut Batch| batch.seal(&key))?);
        }
        while self.pool.as_ref().is_some_and(Pool::is_full) {
            self.write_oldest()?;
        }
        let full = std::mem::replace(&mut self.filling, fresh);
        match &mut self.pool {
            Some(pool) => pool.give(full),
            None => Err(io::Error::other("no worker thread")),
        }
    }

    /// Waits for the oldest batch under way and writes it; `false` if there is none.
    fn write_oldest(&mut self) -> io::Result<bool> {
        let Some(batch) = self.pool.as_mut().map(Pool::take).transpose()?.flatten() else {
            return Ok(false);
        };
        self.out.write_all(batch.sealed()?)?;
        self.spare.push(batch);
        Ok(true)
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.check()?;
        if buf.is_empty() {
            return Ok(0);
        }
        if self.filling.is_full() {
            let fresh = self.fresh();
            let turned = self.turn_over(fresh);
            self.failed = turned.is_err();
            turned?;
        }
        Ok(self.filling.fill(buf))
    }

    /// Writes what is sealed. A chunk that is not full stays: only [`SealWriter::finish`] ends one.
    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        let drained = loop {
            match self.write_oldest() {
                Ok(true) => {}
                Ok(false) => break self.out.flush(),
                Err(error) => break Err(error),
            }
        };
        self.failed = drained.is_err();
        drained
    }
}

/// A header for `recipients`, with the nonce and the file key that go with it.
fn seal_header(recipients: &[Recipient]) -> Result<(Header, [u8; NONCE_LEN], FileKey), Error> {
    let suite = recipients.first().ok_or(Error::NoRecipients)?.suite();
    if recipients.iter().any(|recipient| recipient.suite() != suite) {
        return Err(Error::MixedSuites);
    }
    let heard = RefCell::new(None);
    let listening = recipients
        .iter()
        .map(|recipient| Listening::new(recipient, &heard))
        .collect::<Result<Vec<_>, _>>()?;
    make_header(&listening, &heard)
}

/// Has the age crate make a header, whose file key the recipients hear.
fn make_header(
    listening: &[Listening<'_>],
    heard: &RefCell<Option<FileKey>>,
) -> Result<(Header, [u8; NONCE_LEN], FileKey), Error> {
    let encryptor = age::Encryptor::with_recipients(listening.iter().map(|one| one as &dyn age::Recipient))
        .map_err(|error| match error {
        age::EncryptError::Io(error) => Error::from_io(error),
        age::EncryptError::IncompatibleRecipients { .. } => Error::MixedSuites,
        _ => Error::Primitive("making the header"),
    })?;
    let mut head = Vec::new();
    // The age crate's payload writer is dropped unused: it has written header and nonce.
    drop(encryptor.wrap_output(&mut head)?);
    let mut rest = head.as_slice();
    let header = Header::read(&mut rest)?;
    let nonce = rest.try_into().map_err(|_| Error::Primitive("making the header"))?;
    let file_key = heard.take().ok_or(Error::Primitive("making the header"))?;
    Ok((header, nonce, file_key))
}

/// Some consecutive chunks. Each has its slot with room for its tag, so that sealing in place leaves
/// them as they are written.
struct Batch {
    slots: Zeroizing<Vec<u8>>,
    /// The first chunk's number.
    first: u64,
    /// Bytes of plaintext.
    filled: usize,
    /// Whether the payload ends with this batch.
    last: bool,
    /// Whether every chunk was sealed.
    sealed: bool,
}

impl Batch {
    fn new() -> Batch {
        Batch { slots: Zeroizing::new(vec![0; BATCH_CHUNKS * SEALED_CHUNK_LEN]), ..Batch::empty() }
    }

    /// A batch without room, to take another's place.
    fn empty() -> Batch {
        Batch { slots: Zeroizing::new(Vec::new()), first: 0, filled: 0, last: false, sealed: false }
    }

    fn start(&mut self, first: u64) {
        self.first = first;
        self.filled = 0;
        self.last = false;
        self.sealed = false;
    }

    fn is_full(&self) -> bool {
        self.filled == BATCH_PLAIN_LEN
    }

    /// Takes as much of `data` as there is room for, and says how much that was.
    fn fill(&mut self, data: &[u8]) -> usize {
        let mut rest = data;
        while !rest.is_empty() && !self.is_full() {
            let within = self.filled % CHUNK_LEN;
            let at = self.filled / CHUNK_LEN * SEALED_CHUNK_LEN + within;
            let count = rest.len().min(CHUNK_LEN - within);
            let Some((now, later)) = rest.split_at_checked(count) else { break };
            let Some(room) = self.slots.get_mut(at..at + count) else { break };
            room.copy_from_slice(now);
            self.filled += count;
            rest = later;
        }
        data.len() - rest.len()
    }

    /// Reads into the room that there is, up to what one read gives.
    fn fill_from(&mut self, input: &mut (impl Read + ?Sized)) -> io::Result<usize> {
        let from = self.filled / CHUNK_LEN;
        let within = self.filled % CHUNK_LEN;
        let mut rooms: Vec<IoSliceMut<'_>> = Vec::with_capacity(BATCH_CHUNKS);
        for (number, slot) in self.slots.chunks_mut(SEALED_CHUNK_LEN).enumerate().skip(from) {
            let begin = if number == from { within } else { 0 };
            if let Some(room) = slot.get_mut(begin..CHUNK_LEN) {
                rooms.push(IoSliceMut::new(room));
            }
        }
        let count = loop {
            match input.read_vectored(&mut rooms) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.filled = BATCH_PLAIN_LEN.min(self.filled + count);
        Ok(count)
    }

    /// The number of chunks; an empty batch is the one empty chunk of an empty payload.
    fn chunks(&self) -> usize {
        self.filled.div_ceil(CHUNK_LEN).max(1)
    }

    fn sealed_len(&self) -> usize {
        self.filled + self.chunks() * TAG_LEN
    }

    fn seal(&mut self, key: &PayloadKey) {
        let (length, chunks, first, last) = (self.sealed_len(), self.chunks(), self.first, self.last);
        let Some(slots) = self.slots.get_mut(..length) else { return };
        self.sealed = (first..)
            .zip(slots.chunks_mut(SEALED_CHUNK_LEN))
            .enumerate()
            .all(|(number, (index, slot))| key.seal(index, last && number + 1 == chunks, slot).is_some());
    }

    /// The chunks to write; an error if sealing failed, so that plaintext is never written.
    fn sealed(&self) -> io::Result<&[u8]> {
        let chunks = self.slots.get(..self.sealed_len()).filter(|_| self.sealed);
        chunks.ok_or_else(|| Error::Primitive("ChaCha20-Poly1305").into())
    }
}
