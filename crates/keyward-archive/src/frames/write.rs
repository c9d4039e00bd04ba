//! A stream to frames, compressed on several threads and written in order by one more.
//!
//! ```text
//! producer ──block──> lane 0 ──frame──┐
//!    │    ──block──> lane 1 ──frame──┼─> writer
//!    └──────────────> …              ┘
//! ```
//!
//! Blocks go to the lanes in turn and frames are taken from them in the same turn, so order needs
//! no sorting, and each lane holds two blocks and two frames at most, so memory is bounded.

use std::io::{self, Write};
use std::panic::resume_unwind;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use zstd::zstd_safe::CParameter;

use super::pad;
use super::{FRAME, MOST_FRAMES, TABLE_END, TABLE_ENTRY, TABLE_FOOT, TABLE_MAGIC};
use crate::error::Error;
use crate::progress::Progress;

/// Most threads that compress; more would only hold more memory.
const MOST_LANES: usize = 8;

/// Where a producer puts its stream.
pub(crate) struct Blocks<'a> {
    block: Vec<u8>,
    filled: usize,
    position: u64,
    lanes: Vec<SyncSender<Vec<u8>>>,
    turn: usize,
    spare: Receiver<Vec<u8>>,
    progress: &'a dyn Progress,
}

impl Blocks<'_> {
    /// Bytes put so far.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            let space = self.space();
            let count = space.len().min(bytes.len());
            let (now, later) = bytes.split_at_checked(count).unwrap_or((bytes, &[]));
            if let Some(target) = space.get_mut(..count) {
                target.copy_from_slice(now);
            }
            self.advance(count)?;
            bytes = later;
        }
        Ok(())
    }

    pub(crate) fn put_zeros(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            let space = self.space();
            let now = space.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            space.get_mut(..now).unwrap_or_default().fill(0);
            self.advance(now)?;
            count -= now as u64;
        }
        Ok(())
    }

    /// Room for the next bytes, never empty; what was filled is told by [`advance`](Self::advance).
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.block.get_mut(self.filled..).unwrap_or_default()
    }

    pub(crate) fn advance(&mut self, count: usize) -> Result<(), Error> {
        self.filled += count;
        self.position += count as u64;
        if self.filled >= FRAME { self.send() } else { Ok(()) }
    }

    /// Sends the block on. Fails when the writer has stopped, whose own error then counts.
    fn send(&mut self) -> Result<(), Error> {
        if self.progress.stopped() {
            return Err(Error::Interrupted);
        }
        let mut next = self.spare.try_recv().unwrap_or_default();
        next.resize(FRAME, 0);
        let mut block = std::mem::replace(&mut self.block, next);
        block.truncate(self.filled);
        self.filled = 0;
        let lane = self.lanes.get(self.turn).ok_or(Error::Interrupted)?;
        self.turn = (self.turn + 1) % self.lanes.len();
        lane.send(block).map_err(|_| Error::Interrupted)
    }
}

/// Frames that have been written, and where they went.
pub(crate) struct Framed<W> {
    out: W,
    /// Bytes written.
    written: u64,
    table: Vec<u8>,
}

/// Runs `produce`, compresses what it puts and writes the frames to `out`.
pub(crate) fn compress<W: Write + Send, T>(
    out: W,
    threads: usize,
    level: i32,
    progress: &dyn Progress,
    produce: impl FnOnce(&mut Blocks<'_>) -> Result<T, Error>,
) -> Result<(Framed<W>, T), Error> {
    thread::scope(|scope| {
        let (spare_out, spare) = channel();
        let (mut lanes, mut outlets) = (Vec::new(), Vec::new());
        for _ in 0..threads.clamp(1, MOST_LANES) {
            let (blocks_in, blocks) = sync_channel(1);
            let (frames, frames_out) = sync_channel(1);
            let (used, empty) = channel();
            let spare = spare_out.clone();
            scope.spawn(move || lane(level, &blocks, &frames, &spare, &empty));
            lanes.push(blocks_in);
            outlets.push((frames_out, used));
        }
        let writer = scope.spawn(move || write(out, &outlets));
        let mut blocks =
            Blocks { block: vec![0; FRAME], filled: 0, position: 0, lanes, turn: 0, spare, progress };
        let produced = produce(&mut blocks).and_then(|produced| {
            if blocks.filled > 0 {
                blocks.send()?;
            }
            Ok(produced)
        });
        drop(blocks);
        match (writer.join().unwrap_or_else(|panic| resume_unwind(panic)), produced) {
            (Err(error), _) => Err(Error::io("", error)),
            (Ok(_), Err(error)) => Err(error),
            (Ok(framed), Ok(produced)) => Ok((framed, produced)),
        }
    })
}

/// A compressed block, and how long it was.
type Frame = io::Result<(Vec<u8>, usize)>;

fn lane(
    level: i32,
    blocks: &Receiver<Vec<u8>>,
    frames: &SyncSender<Frame>,
    spare: &Sender<Vec<u8>>,
    empty: &Receiver<Vec<u8>>,
) {
    let mut compressor = match compressor(level) {
        Ok(compressor) => compressor,
        Err(error) => {
            let _ = frames.send(Err(error));
            return;
        }
    };
    for block in blocks {
        let mut frame = empty.try_recv().unwrap_or_default();
        frame.clear();
        frame.reserve(zstd::zstd_safe::compress_bound(block.len()));
        let compressed = compressor.compress_to_buffer(&block, &mut frame).map(|_| (frame, block.len()));
        if frames.send(compressed).is_err() {
            return;
        }
        let _ = spare.send(block);
    }
}

/// A compressor of a level. For 3, which is the default, its two tables are made to fit in a core's
/// second cache beside the block: a third less work for a hundredth more bytes.
fn compressor(level: i32) -> io::Result<zstd::bulk::Compressor<'static>> {
    let mut compressor = zstd::bulk::Compressor::new(level)?;
    if level == 3 {
        compressor.set_parameter(CParameter::HashLog(15))?;
        compressor.set_parameter(CParameter::ChainLog(14))?;
    }
    Ok(compressor)
}

fn write<W: Write>(mut out: W, lanes: &[(Receiver<Frame>, Sender<Vec<u8>>)]) -> io::Result<Framed<W>> {
    let (mut table, mut written) = (Vec::new(), 0);
    for (frames, used) in lanes.iter().cycle() {
        let Ok(frame) = frames.recv() else { break };
        let (frame, length) = frame?;
        out.write_all(&frame)?;
        table_entry(&mut table, frame.len(), length)?;
        written += frame.len() as u64;
        let _ = used.send(frame);
    }
    Ok(Framed { out, written, table })
}

fn table_entry(table: &mut Vec<u8>, compressed: usize, decompressed: usize) -> io::Result<()> {
    for size in [compressed, decompressed] {
        table.extend_from_slice(&u32::try_from(size).map_err(io::Error::other)?.to_le_bytes());
    }
    Ok(())
}

impl<W: Write> Framed<W> {
    /// Writes the index frame and the seek table, and hands back the writer. With `padded`, padding
    /// comes before them, for an archive that has so many bytes before this stream.
    pub(crate) fn finish(mut self, index: &[u8], padded: Option<u64>) -> io::Result<W> {
        if let Some(before) = padded {
            let table = self.table.len() + TABLE_ENTRY + TABLE_FOOT + 8;
            for zeros in pad::frames(before, self.written + (index.len() + table) as u64) {
                pad::write(&mut self.out, zeros)?;
                table_entry(&mut self.table, 8 + zeros as usize, 0)?;
            }
        }
        self.out.write_all(index)?;
        table_entry(&mut self.table, index.len(), 0)?;
        let count = u32::try_from(self.table.len() / TABLE_ENTRY).ok().filter(|count| *count <= MOST_FRAMES);
        let count =
            count.ok_or_else(|| io::Error::other(Error::Zstd { reason: "it has too many frames".into() }))?;
        let length = u32::try_from(self.table.len() + TABLE_FOOT).map_err(io::Error::other)?;
        self.out.write_all(&TABLE_MAGIC.to_le_bytes())?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&self.table)?;
        self.out.write_all(&count.to_le_bytes())?;
        self.out.write_all(&[0])?;
        self.out.write_all(&TABLE_END.to_le_bytes())?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn frames(data: &[u8], threads: usize) -> Vec<u8> {
        let (framed, ()) = compress(Vec::new(), threads, 3, &(), |blocks| blocks.put(data)).unwrap();
        framed.finish(&crate::index::tests::frame(&[]), None).unwrap()
    }

    #[test]
    fn frames_come_out_in_order_whatever_the_threads() {
        let data: Vec<u8> = (0..5_300_000_u32).map(|n| (n >> 7) as u8 ^ n as u8).collect();
        let one = frames(&data, 1);
        assert_eq!(one, frames(&data, 3));
        let mut plain = Vec::new();
        zstd::stream::copy_decode(one.as_slice(), &mut plain).unwrap();
        assert!(plain == data);
    }

    #[test]
    fn a_writer_that_fails_ends_the_producer() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = compress(Full, 2, 3, &(), |blocks| -> Result<(), Error> {
            loop {
                blocks.put_zeros(FRAME as u64)?;
            }
        });
        assert!(
            matches!(endless, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull)
        );
    }
}
