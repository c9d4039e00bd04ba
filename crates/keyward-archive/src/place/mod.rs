//! Where archives live, and the small objects beside them.
//!
//! A [`Place`] is a name; nothing is looked up until it is used. What every place keeps: a result
//! appears under its name in one step when it is complete, and an existing one is not replaced
//! unless the caller says so.

mod local;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(crate) use local::{FromOffset, Local, folder_of};

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

/// The name of a file. `Display` shows it as it was given.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    at: At,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
enum At {
    Local(PathBuf),
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
        }
    }

    /// The last component of the name, or the whole where it has none.
    pub fn name(&self) -> &OsStr {
        match &self.at {
            At::Local(path) => path.file_name().unwrap_or(path.as_os_str()),
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
        }
    }

    /// The name in the form that errors carry.
    pub(crate) fn shown(&self) -> PathBuf {
        match &self.at {
            At::Local(path) => path.clone(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Local(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({self})")
    }
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
}

/// Writes what a [`Pending`] will be.
pub(crate) enum PendingWriter {
    Local(local::Named<File>),
}

impl Pending {
    /// Begins what will be at `place`; fails at once if the name is taken.
    pub(crate) fn create(place: &Place, overwrite: Overwrite) -> Result<Self, Error> {
        match &place.at {
            At::Local(path) => Ok(Self::Local(local::Pending::create(path, overwrite)?)),
        }
    }

    /// What to write through; asked for once.
    pub(crate) fn writer(&mut self) -> Result<PendingWriter, Error> {
        match self {
            Self::Local(pending) => Ok(PendingWriter::Local(pending.writer()?)),
        }
    }

    /// Device and inode of a local file, by which a walk over the same folder knows it.
    pub(crate) fn identity(&self) -> Result<Option<(u64, u64)>, Error> {
        match self {
            Self::Local(pending) => pending.identity().map(Some),
        }
    }

    /// Makes the contents durable and gives them their name. Returns their size in bytes.
    pub(crate) fn publish(self) -> Result<u64, Error> {
        match self {
            Self::Local(pending) => pending.publish(),
        }
    }
}

impl Write for PendingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Local(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Local(file) => file.flush(),
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
