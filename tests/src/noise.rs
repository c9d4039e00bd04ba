//! Bytes that do not compress, the same for the same seed, fast enough for gigabytes.

use std::io::{Result, Write};

/// A xorshift generator: noise for test data, nothing secret.
#[derive(Debug, Clone)]
pub struct Noise(u64);

impl Noise {
    /// The noise of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap();
        usize::try_from((self.number() >> 11) % bound).unwrap()
    }

    /// Fills a buffer.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            let bytes = self.number().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// Writes `count` bytes.
    pub fn write(&mut self, out: &mut impl Write, count: u64) -> Result<()> {
        let mut buffer = vec![0; 1 << 20];
        let mut left = count;
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..now]);
            out.write_all(&buffer[..now])?;
            left -= u64::try_from(now).unwrap();
        }
        Ok(())
    }
}
