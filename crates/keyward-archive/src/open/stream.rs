//! The tar out of an archive, on several threads.
//!
//! ```text
//! decrypt ──> frame ──> lane 0: decompress ──piece──┐
//!    │    ──> frame ──> lane 1: decompress ──piece──┼─> the caller reads
//!    └──────────────────> …                          ┘
//! ```
//!
//! Frames go to the lanes in turn and pieces are taken from them in the same turn, so order needs no
//! sorting. Buffers go back to where they came from; each lane holds three of them at most.

use std::io::{self, BufRead, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread;

use crate::error::Error;
use crate::frames::FRAME;
use crate::frames::read::{Part, Unframe, decompress};
use crate::index::Summary;

/// Most threads that decompress.
const MOST_LANES: usize = 8;

/// Buffers of a lane, for frames and for what is in them: one waits, one is worked on, one is taken.
const BUFFERS: usize = 3;

/// The stream inside an archive that holds a tree.
pub(super) enum Stream<R: Read> {
    Plain(Box<R>),
    /// With the first block, which has been read already.
    Zstd(Vec<u8>, Box<Unframe<R>>),
}

enum Piece {
    Data(Vec<u8>),
    End(Option<Summary>),
}

enum Job {
    Frame {
        bytes: Vec<u8>,
        compressed: usize,
        length: usize,
    },
    /// Nothing is left to do.
    Done(Result<Piece, Error>),
}

impl<R: Read + Send> Stream<R> {
    /// Runs `work` on the tar, with up to `threads` threads that decompress beside it.
    pub(super) fn read_by<T>(
        self,
        threads: usize,
        work: impl FnOnce(&mut Pieces) -> Result<T, Error>,
    ) -> Result<T, Error> {
        thread::scope(|scope| {
            let (spare_out, spare) = channel();
            let (mut lanes, mut outlets) = (Vec::new(), Vec::new());
            for _ in 0..threads.clamp(1, MOST_LANES) {
                let (jobs_in, jobs) = sync_channel(1);
                let (pieces, pieces_out) = sync_channel(1);
                let (give_back, used) = channel();
                // Every buffer that there can be goes round from the start: what the whole takes does not depend on who
                // is slow, and so not on how long the archive is.
                for _ in 0..BUFFERS {
                    let _ = (give_back.send(Vec::new()), spare_out.send(Vec::new()));
                }
                let spare = spare_out.clone();
                scope.spawn(move || lane(&jobs, &pieces, &spare, &used));
                lanes.push(jobs_in);
                outlets.push((pieces_out, give_back));
            }
            scope.spawn(move || self.pump(&lanes, &spare));
            // Dropped before the threads are waited for, which ends them.
            let mut pieces = Pieces { lanes: outlets, turn: 0, piece: Vec::new(), at: 0, end: None };
            work(&mut pieces)
        })
    }

    /// Hands the stream to the lanes, then its end; stops when nobody listens any more.
    fn pump(mut self, lanes: &[SyncSender<Job>], spare: &Receiver<Vec<u8>>) {
        for lane in lanes.iter().cycle() {
            let job = self.job(spare.try_recv().unwrap_or_default());
            let last = matches!(job, Job::Done(Ok(Piece::End(_)) | Err(_)));
            if lane.send(job).is_err() || last {
                return;
            }
        }
    }

    fn job(&mut self, spare: Vec<u8>) -> Job {
        match self {
            Self::Plain(stream) => Job::Done(plain(stream, spare)),
            Self::Zstd(start, _) if !start.is_empty() => Job::Done(Ok(Piece::Data(std::mem::take(start)))),
            Self::Zstd(_, unframe) => match unframe.part(spare) {
                Ok(Some(Part::Frame { bytes, compressed, length })) => {
                    Job::Frame { bytes, compressed, length }
                }
                Ok(Some(Part::Data(data))) => Job::Done(Ok(Piece::Data(data))),
                Ok(None) => Job::Done(Ok(Piece::End(unframe.index()))),
                Err(error) => Job::Done(Err(error)),
            },
        }
    }
}

/// The next of a stream that is not compressed.
fn plain(stream: &mut impl Read, mut spare: Vec<u8>) -> Result<Piece, Error> {
    spare.resize(FRAME, 0);
    loop {
        match stream.read(&mut spare) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("", error)),
            Ok(0) => return Ok(Piece::End(None)),
            Ok(count) => {
                spare.truncate(count);
                return Ok(Piece::Data(spare));
            }
        }
    }
}

fn lane(
    jobs: &Receiver<Job>,
    pieces: &SyncSender<Result<Piece, Error>>,
    spare: &Sender<Vec<u8>>,
    used: &Receiver<Vec<u8>>,
) {
    let mut decompressor = zstd::bulk::Decompressor::new();
    for job in jobs {
        let piece = match (job, &mut decompressor) {
            (Job::Done(piece), _) => {
                // Its buffer was the pump's: one goes back there for it, and the lane keeps its own number.
                if let Ok(buffer) = used.try_recv() {
                    let _ = spare.send(buffer);
                }
                piece
            }
            (Job::Frame { bytes, compressed, length }, Ok(decompressor)) => {
                let mut data = used.try_recv().unwrap_or_default();
                let frame = bytes.get(..compressed).unwrap_or_default();
                let made = decompress(decompressor, frame, length, &mut data);
                let _ = spare.send(bytes);
                made.map(|()| Piece::Data(data))
            }
            (Job::Frame { .. }, Err(error)) => Err(Error::Zstd { reason: error.to_string() }),
        };
        if pieces.send(piece).is_err() {
            return;
        }
    }
}

/// Where a lane's pieces come out, and where their buffers go back.
type Outlet = (Receiver<Result<Piece, Error>>, Sender<Vec<u8>>);

/// The tar, as it comes from the lanes.
pub(super) struct Pieces {
    lanes: Vec<Outlet>,
    /// The lane whose piece is next.
    turn: usize,
    piece: Vec<u8>,
    at: usize,
    end: Option<Option<Summary>>,
}

impl Pieces {
    /// The index's summary, once all has been read.
    pub(super) fn end(&mut self) -> Result<Option<Summary>, Error> {
        io::copy(self, &mut io::sink()).map_err(|error| Error::io("", error))?;
        Ok(self.end.flatten())
    }
}

impl BufRead for Pieces {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at >= self.piece.len() && self.end.is_none() {
            let (pieces, give_back) = self.lanes.get(self.turn).ok_or(io::ErrorKind::UnexpectedEof)?;
            self.turn = (self.turn + 1) % self.lanes.len();
            match pieces.recv() {
                Ok(Ok(Piece::Data(piece))) => {
                    let old = std::mem::replace(&mut self.piece, piece);
                    if old.capacity() > 0 {
                        let _ = give_back.send(old);
                    }
                    self.at = 0;
                }
                Ok(Ok(Piece::End(index))) => self.end = Some(index),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(self.piece.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
