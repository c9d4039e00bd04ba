//! Opening anywhere: listings and single files out of a large archive without reading all of it.
//!
//! Before anything else the last chunk is verified (<https://c2sp.org/age>, on seeking): it alone
//! proves where the payload ends, so that a cut or extended file is noticed though most of it is
//! never read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::{CHUNK_LEN, NONCE_LEN, PayloadKey, SEALED_CHUNK_LEN, TAG_LEN};
use crate::error::Error;
use crate::file_key::FileKey;

/// Bytes that can be read from any offset.
pub trait ReadAt {
    /// Reads into `buf` from `offset`, and says how much; 0 at the end only.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// The length of the whole, in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Told that these bytes are to be read next, so that they can be fetched in one piece.
    ///
    /// # Errors
    /// Those of reading them now.
    fn ahead(&self, range: Range<u64>) -> io::Result<()> {
        let _ = range;
        Ok(())
    }
}

#[cfg(unix)]
impl ReadAt for File {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..));
        from.unwrap_or_default().read(buf)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.as_slice().read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        self.as_slice().size()
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn ahead(&self, range: Range<u64>) -> io::Result<()> {
        (**self).ahead(range)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buf, offset)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn ahead(&self, range: Range<u64>) -> io::Result<()> {
        (**self).ahead(range)
    }
}

/// Reads the plaintext of a payload from any place. One chunk is kept, so small reads side by side
/// cost one. As in [`super::open::OpenReader`], only verified bytes are given, and errors are
/// [`io::Error`]s that carry an [`Error`].
pub struct OpenAt<F> {
    file: F,
    key: PayloadKey,
    /// Where chunk 0 begins in the file.
    start: u64,
    /// The number of chunks, at least 1.
    chunks: u64,
    /// The length of the plaintext.
    size: u64,
    /// Where the next read begins; it may be beyond the end.
    position: u64,
    /// The chunk in `plain`.
    current: Option<u64>,
    plain: Zeroizing<Vec<u8>>,
    sealed: Vec<u8>,
}

impl<F: ReadAt> OpenAt<F> {
    /// Begins to read a file whose header is `header_len` bytes long, and verifies its last chunk.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Chunk`] or [`Error::EmptyLastChunk`] if the file does not end
    /// where it should, [`Error::Io`] of `file`.
    pub fn new(file: F, header_len: usize, file_key: &FileKey) -> Result<OpenAt<F>, Error> {
        let nonce_at = header_len as u64;
        let start = nonce_at + NONCE_LEN as u64;
        let sealed_len =
            file.size()?.checked_sub(start).filter(|&length| length > 0).ok_or(Error::Truncated)?;
        let mut nonce = [0; NONCE_LEN];
        read_exact_at(&file, &mut nonce, nonce_at)?;

        let chunks = sealed_len.div_ceil(SEALED_CHUNK_LEN as u64);
        let size = sealed_len.checked_sub(chunks * TAG_LEN as u64).ok_or(Error::Truncated)?;
        let mut reader = OpenAt {
            file,
            key: PayloadKey::derive(file_key, &nonce)?,
            start,
            chunks,
            size,
            position: 0,
            current: None,
            plain: Zeroizing::new(vec![0; CHUNK_LEN]),
            sealed: vec![0; SEALED_CHUNK_LEN],
        };
        reader.load(chunks - 1)?;
        Ok(reader)
    }

    /// The length of the plaintext, in bytes; it is authentic.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Tells the file which of its bytes are needed to read these of the plaintext.
    ///
    /// # Errors
    /// [`Error::Io`] of the file.
    pub fn ahead(&self, plain: Range<u64>) -> Result<(), Error> {
        let end = plain.end.min(self.size);
        if plain.start >= end {
            return Ok(());
        }
        let sealed = |chunk: u64| chunk.saturating_mul(SEALED_CHUNK_LEN as u64);
        let last = sealed(end.div_ceil(CHUNK_LEN as u64)).min(self.size + self.chunks * TAG_LEN as u64);
        let range = self.start + sealed(plain.start / CHUNK_LEN as u64)..self.start + last;
        self.file.ahead(range).map_err(Error::Io)
    }

    /// Reads chunk `index` and verifies it, unless it is the one at hand.
    fn load(&mut self, index: u64) -> Result<(), Error> {
        if self.current == Some(index) {
            return Ok(());
        }
        self.current = None;
        let last = index + 1 == self.chunks;
        let before = index * SEALED_CHUNK_LEN as u64;
        let total = self.size + self.chunks * TAG_LEN as u64;
        let length = (total - before).min(SEALED_CHUNK_LEN as u64) as usize;
        let sealed = self.sealed.get_mut(..length).ok_or(Error::Truncated)?;
        read_exact_at(&self.file, sealed, self.start + before)?;
        if let Some(fault) = self.key.open_chunk(index, last, sealed, &mut self.plain).fault {
            return Err(fault.into());
        }
        self.current = Some(index);
        Ok(())
    }
}

impl<F: ReadAt> Read for OpenAt<F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.size.saturating_sub(self.position);
        if rest == 0 || buf.is_empty() {
            return Ok(0);
        }
        self.load(self.position / CHUNK_LEN as u64)?;
        let within = (self.position % CHUNK_LEN as u64) as usize;
        let length = rest.min((CHUNK_LEN - within) as u64) as usize;
        let mut verified = self.plain.get(within..within + length).unwrap_or_default();
        let count = verified.read(buf)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<F: ReadAt> Seek for OpenAt<F> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "seek before the beginning"))?;
        Ok(self.position)
    }
}

/// Fills `buf`; a file that became shorter meanwhile is a truncated one.
fn read_exact_at(file: &impl ReadAt, buf: &mut [u8], offset: u64) -> Result<(), Error> {
    let mut done = 0;
    while let Some(room) = buf.get_mut(done..)
        && !room.is_empty()
    {
        match file.read_at(room, offset + done as u64) {
            Ok(0) => return Err(Error::Truncated),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::Io(error)),
        }
    }
    Ok(())
}
