//! Where archives live, and the small objects beside them.
//!
//! A [`Place`] is a name; nothing is looked up until it is used. What every place keeps: a result
//! appears under its name in one step when it is complete, and an existing one is not replaced
//! unless the caller says so.

mod finishing;
mod journal;
mod local;
mod parts;
mod read;
mod resume;
mod stores;
mod upload;

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::TryStreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path as Key;

pub(crate) use local::folder_of;
pub(crate) use read::{Object, Sequential};
pub use resume::{Left, Unfinished};
use stores::Bucket;
pub use stores::{Patience, Stores};

use crate::error::Error;

/// Temporary names begin so; what a killed run leaves behind is recognised by it.
pub const TEMPORARY_PREFIX: &str = ".keyward-";

/// Whether the result may take the place of an existing file or object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// An existing one is kept, and the work fails.
    #[default]
    Refuse,
    /// An existing one is replaced in one step, once the new one is complete.
    Replace,
}

/// The name of a file or of an object in a store. `Display` shows it as it was given.
#[derive(Clone)]
pub struct Place {
    at: At,
}

#[derive(Clone)]
enum At {
    Local(PathBuf),
    Remote(Remote),
}

/// The name of an object in a store.
#[derive(Clone)]
struct Remote {
    bucket: Arc<Bucket>,
    key: Key,
    spool: Option<Spool>,
}

/// Keep the bytes of an upload, so that it can be finished after a kill.
#[derive(Clone)]
struct Spool {
    folder: Option<PathBuf>,
    /// The caller's own bytes.
    note: Arc<[u8]>,
}

/// One file or object of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// Where it is.
    pub place: Place,
    /// Its size in bytes.
    pub size: u64,
}

impl Place {
    /// The path of a local place, else `None`.
    pub fn path(&self) -> Option<&Path> {
        match &self.at {
            At::Local(path) => Some(path),
            At::Remote(_) => None,
        }
    }

    /// The last component of the name, or the whole where it has none.
    pub fn name(&self) -> &OsStr {
        match &self.at {
            At::Local(path) => path.file_name().unwrap_or(path.as_os_str()),
            At::Remote(remote) => OsStr::new(remote.key.filename().unwrap_or_default()),
        }
    }

    /// The place whose name is this one's with `suffix` at its end.
    #[must_use]
    pub fn sibling(&self, suffix: &str) -> Place {
        match &self.at {
            At::Local(path) => {
                let mut name = path.clone().into_os_string();
                name.push(suffix);
                Place { at: At::Local(name.into()) }
            }
            At::Remote(remote) => {
                // A suffix has no slash, so the name stays one that an object can have.
                let key =
                    Key::parse(format!("{}{suffix}", remote.key)).unwrap_or_else(|_| remote.key.clone());
                Place { at: At::Remote(Remote { key, ..remote.clone() }) }
            }
        }
    }

    /// The whole of a small object.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::TooLarge`] beyond `most` bytes; [`Error::NotAnArchive`] for what
    /// is no file; [`Error::Io`].
    pub fn read_small(&self, most: usize) -> Result<Vec<u8>, Error> {
        match &self.at {
            At::Local(path) => local::read_small(path, most),
            At::Remote(remote) => read::small(remote, most),
        }
    }

    /// Makes a small object in one step; of several who try at once, one succeeds.
    ///
    /// # Errors
    /// [`Error::Exists`] if there is one; [`Error::Io`].
    pub fn create_small(&self, bytes: &[u8]) -> Result<(), Error> {
        self.write_small(bytes, Overwrite::Refuse)
    }

    /// Makes or replaces a small object in one step.
    ///
    /// # Errors
    /// [`Error::Exists`] if a folder has the name; [`Error::Io`].
    pub fn replace_small(&self, bytes: &[u8]) -> Result<(), Error> {
        self.write_small(bytes, Overwrite::Replace)
    }

    fn write_small(&self, bytes: &[u8], overwrite: Overwrite) -> Result<(), Error> {
        match &self.at {
            At::Local(path) => local::write_small(path, bytes, overwrite),
            At::Remote(remote) => upload::put_small(remote, bytes, overwrite),
        }
    }

    /// Removes a small object that the caller made. One that is not there is removed already.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Io`].
    pub fn remove(&self) -> Result<(), Error> {
        match &self.at {
            At::Local(path) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
                _ => Ok(()),
            },
            At::Remote(remote) => remote.remove(),
        }
    }

    /// The files below a folder at any depth, sorted by name; of a file, that one. Links are not
    /// followed, and temporary files are left out.
    ///
    /// # Errors
    /// [`Error::Missing`]; [`Error::Io`].
    pub fn list(&self) -> Result<Vec<Found>, Error> {
        match &self.at {
            At::Local(path) => Ok(local::list(path)?
                .into_iter()
                .map(|(path, size)| Found { place: path.into(), size })
                .collect()),
            At::Remote(remote) => remote.list(),
        }
    }

    /// Whether something is there. Where a store does not let us look, it is taken for nothing.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Io`].
    pub fn exists(&self) -> Result<bool, Error> {
        match &self.at {
            At::Local(path) => match std::fs::symlink_metadata(path) {
                Ok(_) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
                Err(error) => Err(Error::io(path, error)),
            },
            At::Remote(remote) => Ok(matches!(remote.writer_there()?, upload::There::Object(_))),
        }
    }

    /// The same place; what is sealed to it is kept in a file as well until it is at the store, in
    /// `folder` or else beside the notes of uploads, so that [`left`](Self::left) can finish it
    /// after a kill. `note` is on the disk before the first byte is, and who finishes the archive
    /// gets it back. Of no effect on local places.
    #[must_use]
    pub fn spooled(self, folder: Option<&Path>, note: &[u8]) -> Place {
        match self.at {
            At::Local(_) => self,
            At::Remote(remote) => {
                let spool = Some(Spool { folder: folder.map(Path::to_path_buf), note: note.into() });
                Place { at: At::Remote(Remote { spool, ..remote }) }
            }
        }
    }

    /// What killed runs on this host left of an archive at this place. What cannot be finished is
    /// removed from the store.
    ///
    /// # Errors
    /// [`Error::Store`]; [`Error::Io`].
    pub fn left(&self) -> Result<Left, Error> {
        match &self.at {
            At::Local(_) => Ok(Left::Nothing),
            At::Remote(remote) => resume::left(remote),
        }
    }

    /// The name in the form that errors carry.
    pub(crate) fn shown(&self) -> PathBuf {
        match &self.at {
            At::Local(path) => path.clone(),
            At::Remote(remote) => remote.shown().into(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Local(path) => path.display().fmt(f),
            At::Remote(remote) => f.write_str(&remote.shown()),
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Place {}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        match (&self.at, &other.at) {
            (At::Local(one), At::Local(other)) => one.cmp(other),
            (At::Local(_), At::Remote(_)) => Ordering::Less,
            (At::Remote(_), At::Local(_)) => Ordering::Greater,
            (At::Remote(one), At::Remote(other)) => one.shown().cmp(&other.shown()),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
}

impl Remote {
    fn shown(&self) -> String {
        format!("{}://{}/{}", self.bucket.cloud.scheme(), self.bucket.name, self.key)
    }

    fn uploads(&self) -> PathBuf {
        self.bucket.stores.uploads()
    }

    fn names_an_object(&self) -> Result<(), Error> {
        if self.key.as_ref().is_empty() {
            return Err(Error::Place { place: self.shown().into(), reason: "it names no object".into() });
        }
        Ok(())
    }

    fn exists(&self) -> Error {
        Error::Exists { path: self.shown().into() }
    }

    fn store(&self, reason: impl fmt::Display) -> Error {
        Error::Store { place: self.shown(), reason: reason.to_string(), denied: false, missing: false }
    }

    fn failed(&self, error: &object_store::Error) -> Error {
        let Cause { reason, denied } = cause(error);
        let missing = matches!(error, object_store::Error::NotFound { .. });
        Error::Store { place: self.shown(), reason, denied, missing }
    }

    fn remove(&self) -> Result<(), Error> {
        self.names_an_object()?;
        self.bucket.stores.wait(async {
            match self.bucket.client.delete(&self.key).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(self.failed(&error)),
            }
        })
    }

    fn list(&self) -> Result<Vec<Found>, Error> {
        let found =
            |key: Key, size| Found { place: Place { at: At::Remote(Remote { key, ..self.clone() }) }, size };
        let mut all: Vec<_> = self.bucket.stores.wait(async {
            let prefix = (!self.key.as_ref().is_empty()).then_some(&self.key);
            let listing = self.bucket.client.list(prefix).map_ok(|meta| found(meta.location, meta.size));
            listing.try_collect().await.map_err(|error| self.failed(&error))
        })?;
        all.retain(|one| !one.place.name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()));
        all.sort_by_cached_key(|one| one.place.shown());
        if all.is_empty() && !self.key.as_ref().is_empty() {
            // The name of an object is a listing of that one.
            let object = self.bucket.stores.wait(async {
                let options = object_store::GetOptions { head: true, ..Default::default() };
                match self.bucket.client.get_opts(&self.key, options).await {
                    Ok(object) => Ok(Some(object.meta.size)),
                    Err(object_store::Error::NotFound { .. }) => Ok(None),
                    Err(error) => Err(self.failed(&error)),
                }
            })?;
            all.extend(object.map(|size| found(self.key.clone(), size)));
        }
        Ok(all)
    }
}

/// Why a store failed, in words that show nothing secret.
struct Cause {
    reason: String,
    denied: bool,
}

/// Takes the store's own words out of an error: the status, the code and message of its XML, or
/// what the network said.
fn cause(error: &object_store::Error) -> Cause {
    let denied = matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    );
    let text = error.to_string();
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from)?;
        rest.split_once(to).map(|(inner, _)| inner.trim().to_owned())
    };
    let status = between("status code: ", ":");
    if let Some(code) = between("<Code>", "</Code>") {
        let message = between("<Message>", "</Message>").unwrap_or_default();
        let message = message.lines().next().unwrap_or_default();
        let status =
            status.and_then(|status| status.split(' ').next().map(str::to_owned)).unwrap_or_default();
        return Cause {
            reason: format!("the store answered {status} {code}: {message}")
                .trim_end_matches([' ', ':', '.'])
                .to_owned(),
            denied,
        };
    }
    if let Some(status) = status {
        return Cause { reason: format!("the store answered {status}"), denied };
    }
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    Cause { reason: innermost.to_string(), denied }
}

impl From<PathBuf> for Place {
    fn from(path: PathBuf) -> Self {
        Place { at: At::Local(path) }
    }
}

impl From<&Path> for Place {
    fn from(path: &Path) -> Self {
        path.to_path_buf().into()
    }
}

impl From<&PathBuf> for Place {
    fn from(path: &PathBuf) -> Self {
        path.clone().into()
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Self {
        place.clone()
    }
}

/// A result in the making. Dropped without [`publish`](Self::publish), it is gone.
pub(crate) enum Pending {
    Local(local::Pending),
    Remote(upload::Upload),
}

/// Writes what a [`Pending`] will be.
pub(crate) enum PendingWriter {
    Local(local::Named<File>),
    Remote(upload::Writer),
}

impl Pending {
    /// Begins what will be at `place`; fails at once if the name is taken.
    pub(crate) fn create(place: &Place, overwrite: Overwrite) -> Result<Self, Error> {
        match &place.at {
            At::Local(path) => Ok(Self::Local(local::Pending::create(path, overwrite)?)),
            At::Remote(remote) => Ok(Self::Remote(upload::Upload::create(remote, overwrite)?)),
        }
    }

    /// What to write through; asked for once.
    pub(crate) fn writer(&mut self) -> Result<PendingWriter, Error> {
        match self {
            Self::Local(pending) => Ok(PendingWriter::Local(pending.writer()?)),
            Self::Remote(upload) => Ok(PendingWriter::Remote(upload.writer())),
        }
    }

    /// Device and inode of a local file, by which a walk over the same folder knows it.
    pub(crate) fn identity(&self) -> Result<Option<(u64, u64)>, Error> {
        match self {
            Self::Local(pending) => pending.identity().map(Some),
            Self::Remote(_) => Ok(None),
        }
    }

    /// Makes the contents durable and gives them their name. Returns their size in bytes.
    pub(crate) fn publish(self) -> Result<u64, Error> {
        match self {
            Self::Local(pending) => pending.publish(),
            Self::Remote(upload) => upload.publish(),
        }
    }

    /// Goes, but what can be finished from a spool stays.
    pub(crate) fn leave(self) {
        match self {
            Self::Local(_) => {}
            Self::Remote(upload) => upload.leave(),
        }
    }

    /// All has been written; its BLAKE3 tells it from another after a kill.
    pub(crate) fn sealed(&self, blake3: [u8; 32]) -> Result<(), Error> {
        match self {
            Self::Local(_) => Ok(()),
            Self::Remote(upload) => upload.sealed(blake3),
        }
    }
}

impl Write for PendingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.write(bytes),
            Self::Remote(upload) => upload.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(file) => file.flush(),
            Self::Remote(upload) => upload.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn small_objects_in_a_folder() {
        let temp = tempfile::tempdir().unwrap();
        let archive = Place::from(temp.path().join("a.age"));
        let receipt = archive.sibling(".receipt");
        assert_eq!(receipt.path().unwrap(), temp.path().join("a.age.receipt"));
        assert!(matches!(receipt.read_small(10), Err(Error::Missing { .. })));
        receipt.create_small(b"one").unwrap();
        assert!(matches!(receipt.create_small(b"two"), Err(Error::Exists { .. })));
        assert_eq!(receipt.read_small(3).unwrap(), b"one");
        assert!(matches!(receipt.read_small(2), Err(Error::TooLarge { most: 2, .. })));
        receipt.replace_small(b"three").unwrap();
        assert_eq!(receipt.read_small(10).unwrap(), b"three");

        fs::create_dir(temp.path().join("b")).unwrap();
        fs::write(temp.path().join("b/c"), "c").unwrap();
        fs::write(temp.path().join(".keyward-left"), "left").unwrap();
        std::os::unix::fs::symlink(temp.path(), temp.path().join("loop")).unwrap();
        let found = Place::from(temp.path()).list().unwrap();
        let names: Vec<_> =
            found.iter().map(|found| (found.place.name().to_str().unwrap(), found.size)).collect();
        assert_eq!(names, [("a.age.receipt", 5), ("c", 1)]);
        assert_eq!(receipt.list().unwrap()[0].size, 5);
        assert!(matches!(archive.list(), Err(Error::Missing { .. })));
    }

    #[test]
    fn of_eight_who_create_at_once_one_succeeds() {
        let temp = tempfile::tempdir().unwrap();
        let place = Place::from(temp.path().join("a"));
        let made: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|number: u8| {
                    let place = &place;
                    scope.spawn(move || place.create_small(&[number; 100]).is_ok())
                })
                .collect();
            tries.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
        });
        assert_eq!(made, 1);
        assert_eq!(place.read_small(200).unwrap().len(), 100);
    }
}
