//! The payload: 64 KiB chunks under ChaCha20-Poly1305 (<https://c2sp.org/age>, STREAM).
//!
//! ```text
//! nonce (16) ‖ chunk 0 ‖ chunk 1 ‖ … ‖ last chunk        each: ciphertext ‖ tag (16)
//! payload key = HKDF-SHA256(ikm = file key, salt = nonce, info = "payload")
//! chunk nonce = counter (11 bytes, big-endian) ‖ 1 for the last chunk, else 0
//! ```
//!
//! Every chunk but the last is full; the last is empty only if the whole payload is. So where a file
//! ends is authentic: cut at a chunk's border, the end lacks its flag; extended, the flag comes early.
//!
//! Chunks are independent, so [`seal::SealWriter`] and [`open::OpenReader`] hand them in batches to
//! worker threads. Buffers are few and go round: memory depends on the number of threads alone.

pub(crate) mod open;
pub(crate) mod open_at;
mod pool;
pub(crate) mod seal;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::error::Error;
use crate::file_key::FileKey;

/// The plaintext of a full chunk, in bytes.
pub const CHUNK_LEN: usize = 64 * 1024;
/// A full chunk with its tag, in bytes.
pub const SEALED_CHUNK_LEN: usize = CHUNK_LEN + TAG_LEN;
/// The payload's nonce, in bytes; it stands between header and chunks.
pub const NONCE_LEN: usize = 16;

const TAG_LEN: usize = 16;
/// How many chunks go to a worker at a time: enough to make the hand-over cheap, and few enough to
/// stay in a core's cache between reading, sealing and writing.
const BATCH_CHUNKS: usize = 4;
/// The most workers that are started on their own account.
const MAX_THREADS: usize = 16;

/// The number of workers for a caller's wish, where 0 leaves it to the machine.
fn workers(wish: usize) -> usize {
    let wish = match wish {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get()).min(MAX_THREADS),
        wish => wish,
    };
    wish.min(256)
}

/// The key of one payload. It may be used by many threads at once.
struct PayloadKey(LessSafeKey);

impl PayloadKey {
    fn derive(file_key: &FileKey, nonce: &[u8; NONCE_LEN]) -> Result<PayloadKey, Error> {
        let mut key = Zeroizing::new([0; 32]);
        Hkdf::<Sha256>::new(Some(nonce), file_key.expose())
            .expand(b"payload", key.as_mut_slice())
            .map_err(|_| Error::Primitive("HKDF"))?;
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_slice())
            .map_err(|_| Error::Primitive("ChaCha20-Poly1305"))?;
        Ok(PayloadKey(LessSafeKey::new(key)))
    }

    /// Seals in place: `slot` is the plaintext followed by room for the tag.
    fn seal(&self, index: u64, last: bool, slot: &mut [u8]) -> Option<()> {
        let (text, room) = slot.split_at_mut_checked(slot.len().checked_sub(TAG_LEN)?)?;
        let tag = self.0.seal_in_place_separate_tag(nonce(index, last), Aad::empty(), text).ok()?;
        room.copy_from_slice(tag.as_ref());
        Some(())
    }

    /// Opens `sealed` into `plain`, which is shorter by the tag, and says whether it verified.
    fn open(&self, index: u64, last: bool, sealed: &[u8], plain: &mut [u8]) -> bool {
        let Some((text, tag)) = sealed.split_at_checked(plain.len()) else { return false };
        self.0.open_separate_gather(nonce(index, last), Aad::empty(), text, tag, plain).is_ok()
    }

    /// Opens the chunk that stands at `index`, where `at_end` says whether the input ends with it.
    fn open_chunk(&self, index: u64, at_end: bool, sealed: &[u8], plain: &mut [u8]) -> Opened {
        let failed = |fault| Opened { length: 0, fault: Some(fault) };
        let Some(length) = sealed.len().checked_sub(TAG_LEN) else { return failed(Fault::Truncated) };
        let Some(plain) = plain.get_mut(..length) else { return failed(Fault::Trailing) };
        if self.open(index, at_end, sealed, plain) {
            return if length == 0 && index > 0 {
                failed(Fault::EmptyLastChunk)
            } else {
                Opened { length, fault: None }
            };
        }
        // The chunk may be authentic and only stand in the wrong place: then the file's end is.
        if length == CHUNK_LEN && at_end && self.open(index, false, sealed, plain) {
            return Opened { length, fault: Some(Fault::Truncated) };
        }
        if !at_end && self.open(index, true, sealed, plain) {
            return Opened { length, fault: Some(Fault::Trailing) };
        }
        plain.fill(0);
        failed(Fault::Chunk { index, last: at_end })
    }
}

/// What became of a chunk.
struct Opened {
    /// Bytes of plaintext that verified.
    length: usize,
    /// Why the payload ends here in an error.
    fault: Option<Fault>,
}

/// The nonce of a chunk. The counter's 11 bytes hold any `u64`.
fn nonce(index: u64, last: bool) -> Nonce {
    let mut bytes = [0; 12];
    for (to, from) in bytes.iter_mut().skip(3).zip(index.to_be_bytes()) {
        *to = from;
    }
    if let Some(flag) = bytes.last_mut() {
        *flag = u8::from(last);
    }
    Nonce::assume_unique_for_key(bytes)
}

/// What a payload failed with. It can be reported any number of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Chunk { index: u64, last: bool },
    EmptyLastChunk,
    Truncated,
    Trailing,
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Error {
        match fault {
            Fault::Chunk { index, last } => Error::Chunk { index, last },
            Fault::EmptyLastChunk => Error::EmptyLastChunk,
            Fault::Truncated => Error::Truncated,
            Fault::Trailing => Error::Trailing,
        }
    }
}
