//! Reading ahead in a stream by as much as a frame of ours, so that a frame can be looked at whole
//! and then handed on in the buffer that it was read into.

use std::io::{self, BufRead, Read};

use zstd::zstd_safe::compress_bound;

use super::FRAME;

/// Bytes that are read at a time.
const PIECE: usize = 1 << 17;

/// Room for the largest frame that can hold [`FRAME`] bytes, and a piece.
fn room() -> usize {
    compress_bound(FRAME) + PIECE
}

pub(super) struct Gather<R> {
    input: R,
    buffer: Vec<u8>,
    /// What of the buffer was read and not yet used.
    begin: usize,
    end: usize,
    /// An error of the input, which comes after the bytes before it.
    broken: Option<io::Error>,
    at_end: bool,
}

impl<R: Read> Gather<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, buffer: vec![0; room()], begin: 0, end: 0, broken: None, at_end: false }
    }

    /// What is at hand.
    pub(super) fn ahead(&self) -> &[u8] {
        self.buffer.get(self.begin..self.end).unwrap_or_default()
    }

    /// Reads more; false when there is no more, or as much at hand as may be.
    pub(super) fn more(&mut self) -> bool {
        if self.at_end || self.broken.is_some() {
            return false;
        }
        if self.begin > 0 && self.buffer.len() - self.end < PIECE {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        let most = self.buffer.len().min(self.end + PIECE);
        let Some(space) = self.buffer.get_mut(self.end..most).filter(|space| !space.is_empty()) else {
            return false;
        };
        loop {
            match self.input.read(space) {
                Ok(0) => self.at_end = true,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => self.broken = Some(error),
            }
            return !self.at_end && self.broken.is_none();
        }
    }

    /// Cuts off the next `count` bytes, which are at hand, in a buffer that begins with them; goes on
    /// in `spare`.
    pub(super) fn cut(&mut self, count: usize, mut spare: Vec<u8>) -> Vec<u8> {
        if self.begin > 0 {
            self.buffer.copy_within(self.begin..self.end, 0);
            self.end -= self.begin;
            self.begin = 0;
        }
        spare.resize(room(), 0);
        let rest = self.buffer.get(count..self.end).unwrap_or_default();
        if let Some(start) = spare.get_mut(..rest.len()) {
            start.copy_from_slice(rest);
        }
        self.end = rest.len();
        std::mem::replace(&mut self.buffer, spare)
    }
}

impl<R: Read> BufRead for Gather<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
            self.more();
            if self.end == 0
                && let Some(error) = self.broken.take()
            {
                self.at_end = true;
                return Err(error);
            }
        }
        Ok(self.ahead())
    }

    fn consume(&mut self, count: usize) {
        self.begin = self.end.min(self.begin + count);
    }
}

impl<R: Read> Read for Gather<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
