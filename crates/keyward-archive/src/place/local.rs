//! Files in local folders. A result is written under a temporary name beside its final one, and gets
//! the final name in one step when it is complete; an existing file keeps its name unless the caller
//! overwrites it.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::{Overwrite, TEMPORARY_PREFIX};
use crate::error::Error;

/// A file in the making. Dropped without [`publish`](Self::publish), it is gone.
pub(crate) struct Pending {
    temporary: NamedTempFile,
    path: PathBuf,
    overwrite: Overwrite,
}

impl Pending {
    /// Begins the file that will be `path`; fails at once if the name is taken.
    pub(crate) fn create(path: &Path, overwrite: Overwrite) -> Result<Self, Error> {
        if path.file_name().is_none() {
            return Err(Error::Exists { path: path.to_path_buf() });
        }
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_dir() || overwrite == Overwrite::Refuse => {
                return Err(Error::Exists { path: path.to_path_buf() });
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Error::io(path, error)),
            _ => {}
        }
        let folder = folder_of(path);
        fs::metadata(folder).map_err(|error| Error::io(folder, error))?;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|error| Error::io(path, error))?;
        Ok(Self { temporary, path: path.to_path_buf(), overwrite })
    }

    /// A second handle to write through; it names the file in what goes wrong.
    pub(crate) fn writer(&self) -> Result<Named<File>, Error> {
        let inner = self.temporary.as_file().try_clone().map_err(|error| Error::io(&self.path, error))?;
        Ok(Named { inner, path: self.path.clone() })
    }

    /// Device and inode, by which a walk over the same folder knows the file.
    pub(crate) fn identity(&self) -> Result<(u64, u64), Error> {
        let metadata = self.temporary.as_file().metadata().map_err(|error| Error::io(&self.path, error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Makes the contents durable and gives the file its name. Returns its size in bytes.
    pub(crate) fn publish(self) -> Result<u64, Error> {
        let Self { temporary, path, overwrite } = self;
        let sync = |file: &File| -> io::Result<u64> {
            file.sync_all()?;
            Ok(file.metadata()?.len())
        };
        let size = sync(temporary.as_file()).map_err(|error| Error::io(&path, error))?;
        let published = match overwrite {
            Overwrite::Refuse => temporary.persist_noclobber(&path),
            Overwrite::Replace => temporary.persist(&path),
        };
        published.map_err(|failed| match failed.error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::io(&path, failed.error),
        })?;
        sync_folder(folder_of(&path));
        Ok(size)
    }
}

/// The folder that `path` is in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a new name durable. Some file systems cannot; the name is there all the same.
fn sync_folder(folder: &Path) {
    if let Ok(folder) = File::open(folder) {
        let _ = folder.sync_all();
    }
}

/// Reads a file of at most `most` bytes.
pub(super) fn read_small(path: &Path, most: usize) -> Result<Vec<u8>, Error> {
    let file = Local::open(path)?;
    let mut bytes = Vec::new();
    let mut limited = file.from(0).take(most as u64 + 1);
    limited.read_to_end(&mut bytes).map_err(|error| Error::io(path, error))?;
    if bytes.len() > most { Err(Error::TooLarge { path: path.to_path_buf(), most }) } else { Ok(bytes) }
}

/// Writes a whole file in one step.
pub(super) fn write_small(path: &Path, bytes: &[u8], overwrite: Overwrite) -> Result<(), Error> {
    let pending = Pending::create(path, overwrite)?;
    pending.writer()?.write_all(bytes).map_err(|error| Error::io(path, error))?;
    pending.publish().map(drop)
}

/// The files below `path`, or that file itself, with their sizes. Links are not followed, and
/// temporary files are left out.
pub(super) fn list(path: &Path) -> Result<Vec<(PathBuf, u64)>, Error> {
    let mut found = Vec::new();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Error::Missing { path: path.to_path_buf() },
        _ => Error::io(path, error),
    })?;
    if !metadata.is_dir() {
        return Ok(vec![(path.to_path_buf(), metadata.len())]);
    }
    let mut folders = vec![path.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| Error::io(&folder, error))? {
            let entry = entry.map_err(|error| Error::io(&folder, error))?;
            if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY_PREFIX.as_bytes()) {
                continue;
            }
            let metadata = match entry.metadata() {
                // Gone between the two looks.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata.map_err(|error| Error::io(entry.path(), error))?,
            };
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                found.push((entry.path(), metadata.len()));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// An archive in a local file, read at any offset; handles share nothing but the file.
#[derive(Debug, Clone)]
pub(crate) struct Local {
    file: Arc<File>,
    length: u64,
}

impl Local {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Error::Missing { path: path.to_path_buf() },
            _ => Error::io(path, error),
        };
        // Looked at before it is opened: a fifo would hold us until somebody writes to it.
        if !fs::metadata(path).map_err(failed)?.is_file() {
            return Err(Error::NotAnArchive { path: path.to_path_buf() });
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        Ok(Self { file: Arc::new(file), length: metadata.len() })
    }

    /// Size in bytes when it was opened.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Reads front to back from `offset`.
    pub(crate) fn from(&self, offset: u64) -> FromOffset {
        FromOffset { file: Arc::clone(&self.file), offset }
    }
}

impl keyward_age::ReadAt for Local {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.length)
    }
}

/// Reads a file front to back with a position of its own.
pub(crate) struct FromOffset {
    file: Arc<File>,
    offset: u64,
}

impl Read for FromOffset {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Names `path` in what goes wrong while writing to `inner`, so that a full disk is told with the
/// file that met it.
pub(crate) struct Named<W> {
    pub(crate) inner: W,
    pub(crate) path: PathBuf,
}

impl<W: Write> Write for Named<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.inner.write(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            _ => Error::io(&self.path, error).into(),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush().map_err(|error| Error::io(&self.path, error).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_given_once_and_only_when_complete() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a");
        let names = || fs::read_dir(temp.path()).unwrap().count();
        let pending = Pending::create(&path, Overwrite::Refuse).unwrap();
        pending.writer().unwrap().write_all(b"one").unwrap();
        assert!(!path.exists());
        drop(pending);
        assert_eq!(names(), 0);

        let slow = Pending::create(&path, Overwrite::Refuse).unwrap();
        let fast = Pending::create(&path, Overwrite::Refuse).unwrap();
        fast.writer().unwrap().write_all(b"fast").unwrap();
        assert_eq!(fast.publish().unwrap(), 4);
        assert!(matches!(slow.publish(), Err(Error::Exists { .. })));
        assert!(matches!(Pending::create(&path, Overwrite::Refuse), Err(Error::Exists { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"fast");

        let new = Pending::create(&path, Overwrite::Replace).unwrap();
        new.writer().unwrap().write_all(b"new").unwrap();
        new.publish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(), 1);
        assert!(matches!(Pending::create(temp.path(), Overwrite::Replace), Err(Error::Exists { .. })));
        assert!(matches!(Pending::create(Path::new("/"), Overwrite::Replace), Err(Error::Exists { .. })));
    }
}
