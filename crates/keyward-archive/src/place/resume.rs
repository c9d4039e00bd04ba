//! What killed runs left: an archive that was sealed to its end waits in its spool and is sent from
//! there; everything else is removed. An archive's file key is never on a disk, so nothing can be
//! sealed to go on where another run stopped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::journal::Journal;
use super::upload::{There, begin, complete, discard, put, send_part};
use super::{Overwrite, Remote, parts};
use crate::error::Error;
use crate::progress::Progress;

/// What an earlier run left at a place.
#[derive(Debug)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// The archive was not sealed to its end; what there was of it has been removed.
    Dropped,
    /// The archive is at its place already.
    Done {
        /// What was kept with [`Place::spooled`](crate::Place::spooled).
        note: Vec<u8>,
        /// The archive's size in bytes, and its BLAKE3; `None` if the run had no spool.
        sealed: Option<(u64, [u8; 32])>,
    },
    /// The archive is sealed, and not all of it at the store.
    Sealed(Box<Unfinished>),
}

/// An archive that is sealed to its end and waits in a spool.
#[derive(Debug)]
pub struct Unfinished {
    remote: Remote,
    journal: Journal,
    size: u64,
    blake3: [u8; 32],
}

/// Finds what earlier runs left at a place, and removes what cannot be finished.
pub(super) fn left(remote: &Remote) -> Result<Left, Error> {
    let mut found = Left::Nothing;
    for journal in Journal::left(&remote.uploads(), &remote.shown()) {
        let spooled = |size| {
            let length = |spool| std::fs::metadata(spool).is_ok_and(|metadata| metadata.len() == size);
            journal.record.spool.as_ref().is_some_and(length)
        };
        let sealed = journal.record.sealed.filter(|(size, _)| spooled(*size));
        if let There::Object(Some(writer)) = remote.writer_there()?
            && writer == journal.record.writer
        {
            found = Left::Done { note: journal.record.note.clone(), sealed: journal.record.sealed };
            discard(remote, journal);
            continue;
        }
        match (sealed, &found) {
            (Some((size, blake3)), Left::Nothing | Left::Dropped) => {
                let remote = remote.clone();
                found = Left::Sealed(Box::new(Unfinished { remote, journal, size, blake3 }));
            }
            _ => {
                discard(remote, journal);
                if matches!(found, Left::Nothing) {
                    found = Left::Dropped;
                }
            }
        }
    }
    Ok(found)
}

impl Unfinished {
    /// Size of the archive in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// BLAKE3 of the archive.
    pub fn blake3(&self) -> [u8; 32] {
        self.blake3
    }

    /// What was kept with [`Place::spooled`](crate::Place::spooled).
    pub fn note(&self) -> &[u8] {
        &self.journal.record.note
    }

    /// How many bytes the store has already.
    pub fn sent(&self) -> u64 {
        let parts = self.journal.record.parts.keys().filter_map(|index| parts::size(*index));
        parts.sum::<u64>().min(self.size)
    }

    /// Sends what the store does not have, and gives the archive its name.
    ///
    /// # Errors
    /// [`Error::Digest`] if the spool is not what was sealed; then all of it is removed.
    /// [`Error::Exists`]; [`Error::Store`], after which it can be tried again; [`Error::Io`].
    pub fn finish(mut self, overwrite: Overwrite, progress: &dyn Progress) -> Result<u64, Error> {
        let finished = self.send(overwrite, progress);
        match &finished {
            Ok(_) => self.journal.remove(),
            Err(Error::Digest { .. } | Error::Exists { .. }) => discard(&self.remote, self.journal),
            // What is there can be finished by another run.
            Err(_) => {}
        }
        finished
    }

    fn send(&mut self, overwrite: Overwrite, progress: &dyn Progress) -> Result<u64, Error> {
        let path = self.journal.record.spool.clone().unwrap_or_default();
        let mut spool = File::open(&path).map_err(|error| Error::io(&path, error))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update_reader(&mut spool).map_err(|error| Error::io(&path, error))?;
        let found: [u8; 32] = hasher.finalize().into();
        if found != self.blake3 {
            return Err(Error::Digest { found });
        }
        progress.found(0, self.size);
        if self.size <= parts::FIRST && self.journal.record.upload.is_none() {
            let bytes = read_at(&mut spool, &path, 0, self.size)?;
            put(&self.remote, bytes.into(), overwrite, &self.journal.record.writer)?;
            return Ok(self.size);
        }
        for again in [false, true] {
            if again || self.journal.record.upload.is_none() {
                begin(&self.remote, &mut self.journal)?;
            }
            match self.send_missing(&mut spool, &path, progress) {
                Err(Error::Store { missing: true, .. }) if !again => continue,
                sent => sent?,
            }
            match complete(&self.remote, &mut self.journal, overwrite) {
                // The store has forgotten the upload: once more from the beginning.
                Err(Error::Store { missing: true, .. }) if !again => {}
                completed => return completed.map(|()| self.size),
            }
        }
        Err(self.remote.store("the store forgot the upload twice"))
    }

    fn send_missing(&mut self, spool: &mut File, path: &Path, progress: &dyn Progress) -> Result<(), Error> {
        let Some((key, id)) = self.journal.record.upload.clone() else { return Err(Error::Interrupted) };
        let mut at = 0;
        let mut have = BTreeMap::new();
        std::mem::swap(&mut have, &mut self.journal.record.parts);
        for index in 0.. {
            if at >= self.size {
                break;
            }
            let Some(size) = parts::size(index) else {
                return Err(self.remote.store("it has too many parts"));
            };
            let size = size.min(self.size - at);
            if progress.stopped() {
                return Err(Error::Interrupted);
            }
            if let Some(name) = have.remove(&index) {
                self.journal.record.parts.insert(index, name);
            } else {
                let bytes = read_at(spool, path, at, size)?;
                let remote = &self.remote;
                let part = remote.bucket.stores.wait(send_part(remote, &key, &id, index, bytes.into()))?;
                self.journal.part(index, &part.content_id)?;
            }
            at += size;
            progress.done(0, size);
        }
        Ok(())
    }
}

fn read_at(spool: &mut File, path: &Path, at: u64, size: u64) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    spool
        .seek(SeekFrom::Start(at))
        .and_then(|_| spool.take(size).read_to_end(&mut bytes))
        .map_err(|error| Error::io(path, error))?;
    if bytes.len() as u64 == size {
        Ok(bytes)
    } else {
        Err(Error::io(path, io::Error::from(io::ErrorKind::UnexpectedEof)))
    }
}
