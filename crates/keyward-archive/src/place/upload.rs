//! Writing an object. Its name shows it when it is complete and not before, and an object that has
//! the name keeps it unless the caller replaces it.
//!
//! | size | S3 | Azure | Google |
//! |---|---|---|---|
//! | to 8 MiB | one request under the condition | the same | the same |
//! | beyond | parts to the name itself, completed under the condition | blocks, likewise | parts to a temporary name, then a copy under the condition |
//!
//! Each run carries a random number, the writer, in the object's metadata. By it an answer that was
//! lost is told from another's success: whoever finds its own number at the name has won.

use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use object_store::multipart::PartId;
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, GetOptions, ObjectStoreExt, PutMode, PutMultipartOptions,
    PutOptions, PutPayload,
};
use tokio::task::JoinSet;

use super::finishing::Condition;
use super::journal::{Journal, hex};
use super::stores::Cloud;
use super::{Overwrite, Remote, TEMPORARY_PREFIX, parts};
use crate::error::Error;

/// How often a part is begun anew after the store's client gave up on it.
const PART_TRIES: u32 = 3;

/// An upload, shared by who writes and who publishes.
pub(crate) struct Upload(Arc<Mutex<State>>);

/// Writes an [`Upload`].
pub(crate) struct Writer(Arc<Mutex<State>>);

struct State {
    remote: Remote,
    overwrite: Overwrite,
    /// `None` once the upload is over.
    journal: Option<Journal>,
    spool: Option<File>,
    /// The part that fills.
    part: Vec<u8>,
    /// Its index.
    index: usize,
    total: u64,
    under_way: JoinSet<(usize, Result<PartId, Error>)>,
    /// With a spool, what ended the sending; the archive is sealed to its end all the same.
    failed: Option<Error>,
}

impl Upload {
    /// Begins. What killed runs left at the same place is removed.
    pub(super) fn create(remote: &Remote, overwrite: Overwrite) -> Result<Self, Error> {
        remote.names_an_object()?;
        for left in Journal::left(&remote.uploads(), &remote.shown()) {
            discard(remote, left);
        }
        if overwrite == Overwrite::Refuse && !matches!(remote.writer_there()?, There::Nothing | There::Hidden)
        {
            return Err(remote.exists());
        }
        let mut journal = Journal::begin(&remote.uploads(), &remote.shown(), &new_writer()?)?;
        let spool = match &remote.spool {
            Some(spool) => {
                let noted = journal.note(&spool.note);
                match noted.and_then(|()| journal.spool(spool.folder.as_deref())) {
                    Ok(file) => Some(file),
                    Err(error) => {
                        journal.remove();
                        return Err(error);
                    }
                }
            }
            None => None,
        };
        Ok(Self(Arc::new(Mutex::new(State {
            remote: remote.clone(),
            overwrite,
            journal: Some(journal),
            spool,
            part: Vec::new(),
            index: 0,
            total: 0,
            under_way: JoinSet::new(),
            failed: None,
        }))))
    }

    pub(super) fn writer(&self) -> Writer {
        Writer(Arc::clone(&self.0))
    }

    /// Notes that all has been written, with its BLAKE3; from here on an interrupted upload with a
    /// spool can be finished.
    pub(super) fn sealed(&self, blake3: [u8; 32]) -> Result<(), Error> {
        let mut state = lock(&self.0);
        let total = state.total;
        let State { spool, journal, .. } = &mut *state;
        let (Some(spool), Some(journal)) = (spool, journal) else { return Ok(()) };
        spool.sync_all().map_err(|error| Error::io("", error))?;
        journal.sealed(total, blake3)
    }

    /// Sends what is left, and gives the object its name. Returns its size in bytes.
    pub(super) fn publish(self) -> Result<u64, Error> {
        let mut state = lock(&self.0);
        let published = state.publish();
        // With all of it in the spool, a failure of the store is no reason to lose the work.
        if matches!(&published, Err(Error::Store { .. })) {
            state.leave();
        }
        published
    }

    /// Ends here, but leaves what another run can finish.
    pub(super) fn leave(self) {
        lock(&self.0).leave();
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        state.under_way.abort_all();
        if let Some(journal) = state.journal.take() {
            discard(&state.remote, journal);
        }
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn publish(&mut self) -> Result<u64, Error> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let Some(journal) = &mut self.journal else { return Err(Error::Interrupted) };
        if journal.record.upload.is_none() {
            let bytes = std::mem::take(&mut self.part);
            put(&self.remote, bytes.into(), self.overwrite, &journal.record.writer)?;
        } else {
            if !self.part.is_empty() {
                self.send()?;
            }
            while !self.under_way.is_empty() {
                self.arrived()?;
            }
            let Some(journal) = &mut self.journal else { return Err(Error::Interrupted) };
            complete(&self.remote, journal, self.overwrite)?;
        }
        if let Some(journal) = self.journal.take() {
            journal.remove();
        }
        Ok(self.total)
    }

    /// Gives up the notes without removing them, if all of the archive is in the spool.
    fn leave(&mut self) {
        if self.journal.as_ref().is_some_and(|journal| journal.record.sealed.is_some()) {
            self.under_way.abort_all();
            self.journal = None;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        let full =
            |state: &Self| parts::size(state.index).is_some_and(|size| state.part.len() as u64 >= size);
        // A full part waits for what comes: an archive of one part is no multipart upload.
        if self.failed.is_none() && full(self) {
            let sent = self.send();
            self.hold(sent)?;
        }
        let mut piece = bytes;
        if self.failed.is_none() {
            let size =
                parts::size(self.index).ok_or_else(|| self.remote.store("10,000 parts do not hold it"))?;
            let room = usize::try_from(size).unwrap_or(usize::MAX).saturating_sub(self.part.len());
            piece = bytes.get(..bytes.len().min(room)).unwrap_or_default();
            self.part.extend_from_slice(piece);
        }
        if let Some(spool) = &mut self.spool {
            spool.write_all(piece).map_err(|error| Error::io("the spool", error))?;
        }
        self.total += piece.len() as u64;
        Ok(piece.len())
    }

    /// Keeps an error of the store for the end, where a spool makes that worth while.
    fn hold(&mut self, sent: Result<(), Error>) -> Result<(), Error> {
        match sent {
            Err(error @ Error::Store { .. }) if self.spool.is_some() => {
                self.under_way.abort_all();
                self.part = Vec::new();
                self.failed = Some(error);
                Ok(())
            }
            sent => sent,
        }
    }

    /// Begins to send the part that is full.
    fn send(&mut self) -> Result<(), Error> {
        let Some(journal) = &mut self.journal else { return Err(Error::Interrupted) };
        if journal.record.upload.is_none() {
            begin(&self.remote, journal)?;
        }
        let Some((key, id)) = journal.record.upload.clone() else { return Err(Error::Interrupted) };
        let size = self.part.len();
        while self.under_way.len() >= parts::at_a_time(size as u64) {
            self.arrived()?;
        }
        let bytes = std::mem::take(&mut self.part);
        let (remote, index) = (self.remote.clone(), self.index);
        let runtime = self.remote.bucket.stores.runtime().map_err(|reason| self.remote.store(reason))?;
        let task = async move { (index, send_part(&remote, &key, &id, index, bytes.into()).await) };
        self.under_way.spawn_on(task, runtime.handle());
        self.index += 1;
        Ok(())
    }

    /// Waits for one part.
    fn arrived(&mut self) -> Result<(), Error> {
        let remote = &self.remote;
        let under_way = &mut self.under_way;
        let stores = remote.bucket.stores.clone();
        let next = stores.wait(async { Ok(under_way.join_next().await) })?;
        let (index, sent) = match next {
            None => return Ok(()),
            Some(Err(_)) => return Err(remote.store("a part was not sent to its end")),
            Some(Ok(done)) => done,
        };
        let part = sent?;
        match &mut self.journal {
            Some(journal) => journal.part(index, &part.content_id),
            None => Err(Error::Interrupted),
        }
    }
}

impl Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(lock(&self.0).write(bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What is at the name.
pub(super) enum There {
    Nothing,
    /// We may not look.
    Hidden,
    /// An object, with the number of its writer if it has one.
    Object(Option<String>),
}

impl Remote {
    /// Looks who wrote what is at the name.
    pub(super) fn writer_there(&self) -> Result<There, Error> {
        self.bucket.stores.wait(async {
            let options = GetOptions { head: true, ..GetOptions::default() };
            match self.bucket.client.get_opts(&self.key, options).await {
                Ok(found) => Ok(There::Object(
                    found
                        .attributes
                        .get(&Attribute::Metadata("keyward".into()))
                        .map(|writer| writer.as_ref().to_owned()),
                )),
                Err(object_store::Error::NotFound { .. }) => Ok(There::Nothing),
                Err(object_store::Error::PermissionDenied { .. }) => Ok(There::Hidden),
                Err(error) => Err(self.failed(&error)),
            }
        })
    }

    /// What became of a last request that failed: perhaps it succeeded and its answer was lost.
    fn settle(
        &self,
        error: &object_store::Error,
        overwrite: Overwrite,
        writer: &str,
    ) -> Result<Settled, Error> {
        let refused = matches!(
            error,
            object_store::Error::AlreadyExists { .. }
                | object_store::Error::Precondition { .. }
                | object_store::Error::NotModified { .. }
        );
        match self.writer_there() {
            Ok(There::Object(Some(found))) if found == writer => Ok(Settled::Ours),
            Ok(There::Object(_)) if overwrite == Overwrite::Refuse => Err(self.exists()),
            Ok(There::Hidden) if refused && overwrite == Overwrite::Refuse => Err(self.exists()),
            Ok(There::Nothing) => Ok(Settled::Nothing),
            _ => Err(self.failed(error)),
        }
    }

    /// Whether a condition on the last request is asked for; a store without one can be told so.
    fn conditional(&self, overwrite: Overwrite) -> Result<bool, Error> {
        if overwrite == Overwrite::Replace {
            return Ok(false);
        }
        let disabled = self.bucket.cloud == Cloud::S3
            && self.bucket.stores.variable("AWS_CONDITIONAL_PUT") == Some("disabled");
        if disabled && matches!(self.writer_there()?, There::Object(_)) {
            return Err(self.exists());
        }
        Ok(!disabled)
    }
}

enum Settled {
    Ours,
    Nothing,
}

/// Writes an object in one request.
pub(super) fn put(
    remote: &Remote,
    bytes: PutPayload,
    overwrite: Overwrite,
    writer: &str,
) -> Result<(), Error> {
    let mode = if remote.conditional(overwrite)? { PutMode::Create } else { PutMode::Overwrite };
    let mut tries = 0;
    loop {
        let options = PutOptions { mode: mode.clone(), attributes: signed(writer), ..PutOptions::default() };
        let put = remote
            .bucket
            .stores
            .wait(async { Ok(remote.bucket.client.put_opts(&remote.key, bytes.clone(), options).await) })?;
        let Err(error) = put else { return Ok(()) };
        match remote.settle(&error, overwrite, writer)? {
            Settled::Ours => return Ok(()),
            Settled::Nothing if tries < PART_TRIES && transient(&error) => tries += 1,
            Settled::Nothing => return Err(remote.failed(&error)),
        }
    }
}

/// Writes a small object of its own.
pub(super) fn put_small(remote: &Remote, bytes: &[u8], overwrite: Overwrite) -> Result<(), Error> {
    remote.names_an_object()?;
    put(remote, bytes.to_vec().into(), overwrite, &new_writer()?)
}

fn new_writer() -> Result<String, Error> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| Error::io("", io::Error::other(error)))?;
    Ok(hex(&random))
}

/// Begins a multipart upload and notes it.
pub(super) fn begin(remote: &Remote, journal: &mut Journal) -> Result<(), Error> {
    let key = match remote.bucket.cloud {
        // Google's last request knows no condition: the whole is made under another name first.
        Cloud::Google => {
            let name = format!("{TEMPORARY_PREFIX}{}", journal.record.writer);
            match remote.key.as_ref().rsplit_once('/') {
                Some((folder, _)) => Key::parse(format!("{folder}/{name}")),
                None => Key::parse(name),
            }
            .map_err(|error| remote.store(error))?
        }
        Cloud::S3 | Cloud::Azure => remote.key.clone(),
    };
    let options = PutMultipartOptions { attributes: signed(&journal.record.writer), ..Default::default() };
    let id = remote.bucket.stores.wait(async {
        let client = &remote.bucket.client;
        let begun = match remote.bucket.cloud {
            // Azure takes metadata with the last request.
            Cloud::Azure => client.create_multipart(&key).await,
            Cloud::S3 | Cloud::Google => client.create_multipart_opts(&key, options).await,
        };
        begun.map_err(|error| remote.failed(&error))
    })?;
    journal.upload(key.as_ref(), &id)
}

pub(super) async fn send_part(
    remote: &Remote,
    key: &str,
    id: &String,
    index: usize,
    bytes: PutPayload,
) -> Result<PartId, Error> {
    let key = Key::parse(key).map_err(|error| remote.store(error))?;
    let mut wait = remote.bucket.stores.patience().first_wait;
    let mut tries = 0;
    loop {
        match remote.bucket.client.put_part(&key, id, index, bytes.clone()).await {
            Ok(part) => return Ok(part),
            Err(error) if tries == PART_TRIES || !transient(&error) => return Err(remote.failed(&error)),
            Err(_) => {
                tries += 1;
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(15));
            }
        }
    }
}

/// Makes the parts one object under its name.
pub(super) fn complete(remote: &Remote, journal: &mut Journal, overwrite: Overwrite) -> Result<(), Error> {
    let Some((key, id)) = &journal.record.upload else { return Err(Error::Interrupted) };
    let key = Key::parse(key).map_err(|error| remote.store(error))?;
    let writer = &journal.record.writer;
    let parts: Vec<_> =
        journal.record.parts.values().map(|name| PartId { content_id: name.clone() }).collect();
    let bucket = &remote.bucket;
    let create = remote.conditional(overwrite)?;
    if bucket.cloud == Cloud::Google {
        return complete_by_copy(remote, &key, id, parts, create, overwrite, writer);
    }
    let condition = Condition { create, writer: writer.clone() };
    let client = bucket
        .stores
        .client(bucket.cloud, &bucket.name, Some(condition))
        .map_err(|reason| remote.store(reason))?;
    let completed = bucket.stores.wait(async { Ok(client.complete_multipart(&key, id, parts).await) })?;
    let Err(error) = completed else { return Ok(()) };
    match remote.settle(&error, overwrite, writer)? {
        Settled::Ours => Ok(()),
        Settled::Nothing => Err(remote.failed(&error)),
    }
}

fn complete_by_copy(
    remote: &Remote,
    from: &Key,
    id: &String,
    parts: Vec<PartId>,
    create: bool,
    overwrite: Overwrite,
    writer: &str,
) -> Result<(), Error> {
    let bucket = &remote.bucket;
    let completed =
        bucket.stores.wait(async { Ok(bucket.client.complete_multipart(from, id, parts).await) })?;
    if let Err(error) = completed {
        let whole = Remote { key: from.clone(), ..remote.clone() };
        match whole.writer_there()? {
            There::Object(Some(found)) if found == writer => {}
            _ => return Err(remote.failed(&error)),
        }
    }
    let mode = if create { CopyMode::Create } else { CopyMode::Overwrite };
    let options = CopyOptions { mode, ..CopyOptions::default() };
    let copied =
        bucket.stores.wait(async { Ok(bucket.client.copy_opts(from, &remote.key, options).await) })?;
    if let Err(error) = copied {
        match remote.settle(&error, overwrite, writer)? {
            Settled::Ours => {}
            Settled::Nothing => return Err(remote.failed(&error)),
        }
    }
    bucket.stores.wait(async {
        match bucket.client.delete(from).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            // The archive is there; the note that stays has the next run remove the rest.
            Err(error) => Err(remote.failed(&error)),
        }
    })
}

/// Removes what an upload left at the store, and its notes. Where the store does not answer the
/// notes stay, for the next run to the same place.
pub(super) fn discard(remote: &Remote, journal: Journal) {
    let Some((key, id)) = &journal.record.upload else { return journal.remove() };
    let Ok(key) = Key::parse(key) else { return journal.remove() };
    let client = &remote.bucket.client;
    let gone = |done: object_store::Result<()>| match done {
        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(remote.failed(&error)),
    };
    let discarded = remote.bucket.stores.wait(async {
        gone(client.abort_multipart(&key, id).await)?;
        if key != remote.key {
            gone(client.delete(&key).await)?;
        }
        Ok(())
    });
    if discarded.is_ok() {
        journal.remove();
    }
}

fn signed(writer: &str) -> Attributes {
    Attributes::from_iter([(Attribute::Metadata("keyward".into()), writer.to_owned())])
}

/// Whether a repetition may help.
fn transient(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::Generic { .. } | object_store::Error::JoinError { .. })
}
