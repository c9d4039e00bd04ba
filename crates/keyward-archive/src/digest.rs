//! BLAKE3 of an archive's ciphertext, computed as the bytes pass; receipts carry it.

use std::io::{self, Read, Write};
use std::sync::{Arc, OnceLock};

/// What was written through it: how many bytes, and their BLAKE3.
pub(crate) struct Digesting<W> {
    inner: W,
    count: u64,
    hasher: blake3::Hasher,
}

impl<W> Digesting<W> {
    pub(crate) fn new(inner: W) -> Self {
        Self { inner, count: 0, hasher: blake3::Hasher::new() }
    }

    /// The writer, the number of bytes, and their BLAKE3.
    pub(crate) fn finish(self) -> (W, u64, [u8; 32]) {
        (self.inner, self.count, self.hasher.finalize().into())
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        self.count += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A digest that is there once everything has been read.
#[derive(Clone, Default)]
pub(crate) struct Digest(Arc<OnceLock<[u8; 32]>>);

impl Digest {
    /// The BLAKE3; `None` unless the end of the input was reached.
    pub(crate) fn get(&self) -> Option<[u8; 32]> {
        self.0.get().copied()
    }
}

/// Passes on what it reads, and leaves the BLAKE3 of it in a [`Digest`] when it meets the end.
pub(crate) struct Digested<R> {
    inner: R,
    /// `None` where nobody asks for the digest, and after the end.
    hasher: Option<blake3::Hasher>,
    digest: Digest,
}

impl<R> Digested<R> {
    /// Hashes what is read from `inner`, with `before` in front of it.
    pub(crate) fn new(inner: R, before: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(before);
        Self { inner, hasher: Some(hasher), digest: Digest::default() }
    }

    /// Passes on only.
    pub(crate) fn not(inner: R) -> Self {
        Self { inner, hasher: None, digest: Digest::default() }
    }

    pub(crate) fn digest(&self) -> Digest {
        self.digest.clone()
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(buffer.get(..count).unwrap_or_default());
            if count == 0 && !buffer.is_empty() {
                // A second end would be that of other bytes; the first one counts.
                let _ = self.digest.0.set(hasher.finalize().into());
                self.hasher = None;
            }
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_digest_of_all_bytes() {
        let data: Vec<u8> = (0..300_000_u32).map(|n| (n >> 3) as u8).collect();
        let expected: [u8; 32] = blake3::hash(&data).into();
        let mut digesting = Digesting::new(Vec::new());
        for piece in data.chunks(70_001) {
            digesting.write_all(piece).unwrap();
        }
        let (written, count, digest) = digesting.finish();
        assert!(written == data);
        assert_eq!((count, digest), (300_000, expected));

        let (before, rest) = data.split_at(1000);
        let mut reader = Digested::new(rest, before);
        let digest = reader.digest();
        io::copy(&mut (&mut reader).take(200_000), &mut io::sink()).unwrap();
        assert_eq!(digest.get(), None);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(digest.get(), Some(expected));
        let mut silent = Digested::not(rest);
        io::copy(&mut silent, &mut io::sink()).unwrap();
        assert_eq!(silent.digest().get(), None);
    }
}
