//! Reading an archive, wherever it is: at any offset, or front to back.
//!
//! A store is asked for ranges. The first answer tells the object's length and ETag, and every later
//! request and answer is held to them: an object that is another one in the middle is refused. An
//! answer of another range or length is asked for again a few times, then refused.
//!
//! Listings and single files are to cost few requests. What was read is kept, the end is read in one
//! piece, and whoever knows what comes next says so ([`ReadAt::ahead`]).

use std::collections::VecDeque;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use keyward_age::ReadAt;
use object_store::{GetOptions, GetRange, GetResult};
use tokio::task::JoinHandle;

use super::local::{FromOffset, Local};
use super::{At, Place, Remote};
use crate::error::Error;

/// What the first request asks for: header, nonce and, of a small archive, all.
const START: u64 = 64 << 10;
/// What a read near the end asks for: the last chunks with the end of the seek table.
const END: u64 = 160 << 10;
/// What a read elsewhere asks for that nobody told us to expect.
const ELSEWHERE: u64 = 1 << 20;
/// The most that is asked for because of an [`ahead`](ReadAt::ahead).
const AHEAD: u64 = 16 << 20;
/// The most that is kept, beside start and end.
const KEPT: usize = 32 << 20;
/// Bytes of a request of those who read all, and how many such requests are under way.
const PIECE: u64 = 4 << 20;
const PIECES: usize = 3;
/// How often a range is asked for.
const TRIES: u32 = 5;

/// An archive that is open for reading. Clones share what they keep.
#[derive(Clone)]
pub(crate) enum Object {
    Local(Local),
    Remote(Arc<Ranged>),
}

impl Object {
    /// Opens what is at `place`.
    pub(crate) fn open(place: &Place) -> Result<Self, Error> {
        match &place.at {
            At::Local(path) => Local::open(path).map(Self::Local),
            At::Remote(remote) => Ranged::open(remote).map(|ranged| Self::Remote(Arc::new(ranged))),
        }
    }

    /// Size in bytes when it was opened.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Local(file) => file.length(),
            Self::Remote(ranged) => ranged.size,
        }
    }

    /// Reads front to back from `offset`.
    pub(crate) fn from(&self, offset: u64) -> Sequential {
        match self {
            Self::Local(file) => Sequential::Local(file.from(offset)),
            Self::Remote(ranged) => Sequential::Remote(Pieces {
                ranged: Arc::clone(ranged),
                next: offset,
                under_way: VecDeque::new(),
                piece: Bytes::new(),
            }),
        }
    }
}

impl ReadAt for Object {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read_at(buffer, offset),
            Self::Remote(ranged) => ranged.read_at(buffer, offset),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.length())
    }

    fn ahead(&self, range: Range<u64>) -> io::Result<()> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Remote(ranged) => ranged.ahead(range),
        }
    }
}

/// The whole of a small object.
pub(super) fn small(remote: &Remote, most: usize) -> Result<Vec<u8>, Error> {
    remote.names_an_object()?;
    let too_large = || Error::TooLarge { path: remote.shown().into(), most };
    let stores = &remote.bucket.stores;
    let mut wait = stores.patience().first_wait;
    for _ in 1..TRIES {
        let (size, got) = stores.wait(async {
            let got = remote.bucket.client.get_opts(&remote.key, GetOptions::default()).await;
            let got = got.map_err(|error| remote.unread(&error))?;
            if got.meta.size > most as u64 {
                return Err(too_large());
            }
            Ok((got.meta.size, collect(got, most as u64).await))
        })?;
        match got {
            Some(bytes) if bytes.len() as u64 == size => return Ok(bytes.to_vec()),
            _ => pause(remote, &mut wait)?,
        }
    }
    Err(remote.store("its answer has another length than it says"))
}

/// An object in a store, read in ranges.
pub(crate) struct Ranged {
    remote: Remote,
    size: u64,
    e_tag: Option<String>,
    kept: Mutex<Kept>,
}

/// Ranges that were read: the start and the end for good, of the others the last.
#[derive(Default)]
struct Kept {
    lasting: Vec<(u64, Bytes)>,
    passing: VecDeque<(u64, Bytes)>,
}

impl Kept {
    /// What is kept from `offset` on.
    fn from(&self, offset: u64) -> Option<Bytes> {
        self.lasting.iter().chain(self.passing.iter().rev()).find_map(|(at, bytes)| {
            let within = usize::try_from(offset.checked_sub(*at)?).ok()?;
            (within < bytes.len()).then(|| bytes.slice(within..))
        })
    }

    fn keep(&mut self, at: u64, bytes: Bytes) {
        self.passing.push_back((at, bytes));
        let mut sum: usize = self.passing.iter().map(|(_, bytes)| bytes.len()).sum();
        while sum > KEPT && self.passing.len() > 1 {
            sum -= self.passing.pop_front().map_or(0, |(_, bytes)| bytes.len());
        }
    }
}

impl Ranged {
    fn open(remote: &Remote) -> Result<Self, Error> {
        remote.names_an_object()?;
        let stores = &remote.bucket.stores;
        let mut wait = stores.patience().first_wait;
        let mut left = TRIES;
        loop {
            let options = GetOptions { range: Some(GetRange::Bounded(0..START)), ..GetOptions::default() };
            let begun = stores.wait(async {
                match remote.bucket.client.get_opts(&remote.key, options).await {
                    Err(error) => Ok(Err(error)),
                    Ok(got) => {
                        let (size, e_tag) = (got.meta.size, got.meta.e_tag.clone());
                        Ok(Ok((size, e_tag, collect(got, START.min(size)).await)))
                    }
                }
            })?;
            left -= 1;
            let error = match begun {
                Ok((size, e_tag, Some(bytes))) if bytes.len() as u64 == START.min(size) => {
                    let kept = Mutex::new(Kept { lasting: vec![(0, bytes)], passing: VecDeque::new() });
                    return Ok(Self { remote: remote.clone(), size, e_tag, kept });
                }
                Ok(_) => remote.store("its answer has another length than it says"),
                Err(error) => {
                    if has_no_such_range(&error) {
                        // It has no first byte.
                        return Err(Error::NotAnArchive { path: remote.shown().into() });
                    }
                    remote.unread(&error)
                }
            };
            if left == 0 || !matches!(error, Error::Store { denied: false, .. }) {
                return Err(error);
            }
            pause(remote, &mut wait)?;
        }
    }

    /// Asks for a range, again and again if need be.
    async fn fetch(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let stores = &self.remote.bucket.stores;
        let mut wait = stores.patience().first_wait;
        let mut left = TRIES;
        loop {
            left -= 1;
            let error = match self.fetch_once(range.clone()).await {
                Ok(bytes) => return Ok(bytes),
                Err(error) => error,
            };
            if left == 0 || !matches!(error, Error::Store { denied: false, .. }) {
                return Err(error);
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(Duration::from_secs(15));
        }
    }

    async fn fetch_once(&self, range: Range<u64>) -> Result<Bytes, Error> {
        let remote = &self.remote;
        let changed = || Error::Changed { path: remote.shown().into() };
        // A weak ETag is none that a range may be asked for by.
        let if_match = self.e_tag.clone().filter(|tag| !tag.starts_with("W/"));
        let options =
            GetOptions { range: Some(GetRange::Bounded(range.clone())), if_match, ..GetOptions::default() };
        let got = match remote.bucket.client.get_opts(&remote.key, options).await {
            Ok(got) => got,
            Err(object_store::Error::Precondition { .. } | object_store::Error::NotFound { .. }) => {
                return Err(changed());
            }
            Err(error) => return Err(remote.failed(&error)),
        };
        if got.meta.e_tag != self.e_tag || got.meta.size != self.size {
            return Err(changed());
        }
        if got.range != range {
            return Err(remote.store(format!("it answered bytes {:?} for {range:?}", got.range)));
        }
        let length = range.end - range.start;
        match collect(got, length).await {
            Some(bytes) if bytes.len() as u64 == length => Ok(bytes),
            Some(bytes) => {
                Err(remote.store(format!("its answer ended after {} of {length} bytes", bytes.len())))
            }
            None => Err(remote.store("its answer did not come to its end")),
        }
    }

    fn kept(&self, offset: u64) -> Option<Bytes> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).from(offset)
    }

    fn read(&self, range: Range<u64>, lasting: bool) -> Result<Bytes, Error> {
        let at = range.start;
        let bytes = self.remote.bucket.stores.wait(self.fetch(range))?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if lasting {
            kept.lasting.push((at, bytes.clone()));
        } else {
            kept.keep(at, bytes.clone());
        }
        Ok(bytes)
    }
}

impl ReadAt for Ranged {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        if offset >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        let bytes = match self.kept(offset) {
            Some(bytes) => bytes,
            None => {
                let end = self.size.saturating_sub(END).max(START.min(self.size));
                if offset >= end {
                    let whole = self.read(end..self.size, true)?;
                    whole.slice(usize::try_from(offset - end).unwrap_or(whole.len()).min(whole.len())..)
                } else {
                    self.read(offset..self.size.min(offset + ELSEWHERE.max(buffer.len() as u64)), false)?
                }
            }
        };
        (&*bytes).read(buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.size)
    }

    fn ahead(&self, range: Range<u64>) -> io::Result<()> {
        let mut range = range.start..range.end.min(self.size);
        // What is kept at either end is not asked for again.
        while range.start < range.end
            && let Some(bytes) = self.kept(range.start)
        {
            range.start += bytes.len() as u64;
        }
        while range.start < range.end {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let covering = kept
                .lasting
                .iter()
                .chain(&kept.passing)
                .find(|(at, bytes)| *at < range.end && range.end <= at + bytes.len() as u64);
            let Some((at, _)) = covering else { break };
            range.end = *at;
        }
        range.end = range.end.min(range.start.saturating_add(AHEAD));
        if range.start < range.end {
            self.read(range, false)?;
        }
        Ok(())
    }
}

/// An archive, front to back.
pub(crate) enum Sequential {
    Local(FromOffset),
    Remote(Pieces),
}

/// Asks for the next ranges while the one before is used.
pub(crate) struct Pieces {
    ranged: Arc<Ranged>,
    /// Where the next request begins.
    next: u64,
    under_way: VecDeque<JoinHandle<Result<Bytes, Error>>>,
    piece: Bytes,
}

impl Read for Sequential {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.read(buffer),
            Self::Remote(pieces) => pieces.read(buffer),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() && !buffer.is_empty() {
            self.piece = self.take()?;
        }
        let count = (&*self.piece).read(buffer)?;
        let _ = self.piece.split_to(count);
        Ok(count)
    }
}

impl Pieces {
    fn take(&mut self) -> Result<Bytes, Error> {
        if self.under_way.is_empty()
            && let Some(bytes) = self.ranged.kept(self.next)
        {
            self.next += bytes.len() as u64;
            return Ok(bytes);
        }
        let remote = &self.ranged.remote;
        let stores = &remote.bucket.stores;
        let runtime = stores.runtime().map_err(|reason| remote.store(reason))?;
        while self.under_way.len() < PIECES && self.next < self.ranged.size {
            let range = self.next..self.ranged.size.min(self.next + PIECE);
            self.next = range.end;
            let ranged = Arc::clone(&self.ranged);
            self.under_way.push_back(runtime.spawn(async move { ranged.fetch(range).await }));
        }
        let Some(first) = self.under_way.pop_front() else { return Ok(Bytes::new()) };
        let fetched = stores.wait(async { Ok(first.await) })?;
        fetched.map_err(|_| remote.store("a read did not come to its end"))?
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for read in &self.under_way {
            read.abort();
        }
    }
}

impl Remote {
    /// The error of a read.
    fn unread(&self, error: &object_store::Error) -> Error {
        match error {
            object_store::Error::NotFound { .. } => Error::Missing { path: self.shown().into() },
            other => self.failed(other),
        }
    }
}

/// Whether the answer was 416 (RFC 9110, 15.5.17), of which `object_store` makes no error of its own. The status alone
/// tells: digits like these stand in times, in names and in the numbers that stores give to requests.
fn has_no_such_range(error: &object_store::Error) -> bool {
    let object_store::Error::Generic { source, .. } = error else { return false };
    let text = source.to_string();
    text.split_once("status code: ").is_some_and(|(_, status)| status.starts_with("416 "))
}

/// The body of an answer, but no more than one byte past `most`; `None` if it breaks off.
async fn collect(got: GetResult, most: u64) -> Option<Bytes> {
    let mut stream = got.into_stream();
    let mut whole = BytesMut::new();
    while let Some(bytes) = stream.next().await {
        whole.extend_from_slice(&bytes.ok()?);
        if whole.len() as u64 > most {
            break;
        }
    }
    Some(whole.freeze())
}

fn pause(remote: &Remote, wait: &mut Duration) -> Result<(), Error> {
    let now = *wait;
    *wait = (*wait * 2).min(Duration::from_secs(15));
    remote.bucket.stores.wait(async {
        tokio::time::sleep(now).await;
        Ok(())
    })
}
