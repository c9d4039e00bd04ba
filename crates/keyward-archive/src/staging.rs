//! A folder under a temporary name that becomes the destination once everything in it is verified.
//!
//! A destination that is absent gets a sibling, renamed in one step. One that is there and empty
//! may be a mount point, somebody's working folder, or carry rights worth keeping: it stays, the
//! temporary folder is made inside, and what is at the top moves up, all of it or nothing.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tempfile::TempDir;

use crate::error::Error;
use crate::place::{TEMPORARY_PREFIX, folder_of};

/// The folder in the making. Dropped without [`publish`](Self::publish), it is gone.
pub(crate) struct Staging {
    /// Private to us until published; `None` once removed.
    private: Option<TempDir>,
    destination: PathBuf,
    /// Whether the destination is there.
    inside: bool,
}

impl Staging {
    /// Begins at `destination`, which must be absent or an empty folder.
    pub(crate) fn create(destination: &Path) -> Result<Self, Error> {
        let inside = match fs::metadata(destination) {
            Ok(found) if !found.is_dir() => {
                return Err(Error::DestinationNotFolder { path: destination.to_path_buf() });
            }
            Ok(_) => {
                let mut listed = fs::read_dir(destination).map_err(|error| Error::io(destination, error))?;
                if listed.next().is_some() {
                    return Err(Error::DestinationNotEmpty { path: destination.to_path_buf() });
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A link that leads nowhere is there too.
                if fs::symlink_metadata(destination).is_ok() || destination.file_name().is_none() {
                    return Err(Error::DestinationNotFolder { path: destination.to_path_buf() });
                }
                false
            }
            Err(error) => return Err(Error::io(destination, error)),
        };
        let parent = if inside { destination } else { folder_of(destination) };
        fs::metadata(parent).map_err(|error| Error::io(parent, error))?;
        let private = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(parent)
            .map_err(|error| Error::io(parent, error))?;
        let staging = Self { private: Some(private), destination: destination.to_path_buf(), inside };
        if !inside {
            // Inside the private folder, so that nobody looks in before it is done, and made with
            // the mode that a new folder has.
            fs::create_dir(staging.root()).map_err(|error| Error::io(staging.root(), error))?;
        }
        Ok(staging)
    }

    /// Where the tree is made.
    pub(crate) fn root(&self) -> PathBuf {
        let private = self.private.as_ref().map(TempDir::path).unwrap_or(Path::new(""));
        if self.inside { private.to_path_buf() } else { private.join("tree") }
    }

    /// The folder where the tree is made, open.
    pub(crate) fn open_root(&self) -> Result<OwnedFd, Error> {
        let root = self.root();
        Ok(File::open(&root).map_err(|error| Error::io(&root, error))?.into())
    }

    /// Levels of folders at the top whose modes must wait until after [`publish`](Self::publish):
    /// a folder that forbids writing cannot move.
    pub(crate) fn levels_that_move(&self) -> usize {
        usize::from(self.inside)
    }

    /// Gives the tree its place. Where what is in the root has moved out of it, returns the folder
    /// that it moved to, open.
    pub(crate) fn publish(mut self) -> Result<Option<OwnedFd>, Error> {
        let root = self.root();
        let mut moved_to = None;
        if self.inside {
            let failed = |error| Error::io(&self.destination, error);
            moved_to = Some(OwnedFd::from(File::open(&self.destination).map_err(failed)?));
            self.move_up(&root)?;
        } else {
            // rename(2) replaces nothing but an empty folder.
            fs::rename(&root, &self.destination).map_err(|error| match error.kind() {
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                    Error::DestinationNotEmpty { path: self.destination.clone() }
                }
                io::ErrorKind::NotADirectory => {
                    Error::DestinationNotFolder { path: self.destination.clone() }
                }
                _ => Error::io(&self.destination, error),
            })?;
        }
        self.discard();
        Ok(moved_to)
    }

    /// Moves what is at the top into the destination; on failure what has moved goes back.
    fn move_up(&self, root: &Path) -> Result<(), Error> {
        let names: io::Result<Vec<OsString>> =
            fs::read_dir(root).and_then(|listed| listed.map(|entry| Ok(entry?.file_name())).collect());
        let names = names.map_err(|error| Error::io(root, error))?;
        let mut moved = Vec::new();
        for name in &names {
            let (from, to) = (root.join(name), self.destination.join(name));
            if let Err(error) = rename_new(&from, &to) {
                for (from, to) in moved.iter().rev() {
                    let _ = fs::rename(to, from);
                }
                return Err(match error.kind() {
                    io::ErrorKind::AlreadyExists => Error::Exists { path: to },
                    _ => Error::io(&to, error),
                });
            }
            moved.push((from, to));
        }
        Ok(())
    }

    fn discard(&mut self) {
        let Some(private) = self.private.take() else { return };
        let path = private.path().to_path_buf();
        if private.close().is_err() {
            // Folders that forbid writing may be in the way; they are ours, so open them first.
            loosen(&path);
            let _ = fs::remove_dir_all(&path);
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        self.discard();
    }
}

/// Renames without replacing. Where the file system has no such rename, a look before is as good
/// as it gets: the destination was empty, and its owner asked us to fill it.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::NOTSUP) => {
            if fs::symlink_metadata(to).is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

/// Gives the owner all rights on the folders below `path`, which lie in a private folder.
fn loosen(path: &Path) {
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            loosen(&entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn absent_and_empty_destinations() {
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("to");
        for round in 0..2 {
            if round == 1 {
                fs::remove_dir_all(&to).unwrap();
                fs::create_dir(&to).unwrap();
                fs::set_permissions(&to, fs::Permissions::from_mode(0o750)).unwrap();
            }
            drop(Staging::create(&to).unwrap());
            assert_eq!(to.exists(), round == 1);
            let staging = Staging::create(&to).unwrap();
            fs::create_dir(staging.root().join("a")).unwrap();
            fs::write(staging.root().join("b"), "b").unwrap();
            staging.publish().unwrap();
            assert_eq!(names(&to), ["a", "b"]);
            assert_eq!(names(temp.path()), ["to"]);
        }
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o7777, 0o750);
        assert!(matches!(Staging::create(&to), Err(Error::DestinationNotEmpty { .. })));
        assert!(matches!(Staging::create(&to.join("b")), Err(Error::DestinationNotFolder { .. })));
        assert!(matches!(Staging::create(&to.join("no/way")), Err(Error::Io { .. })));
        assert_eq!(names(&to), ["a", "b"]);
    }

    #[test]
    fn what_appears_meanwhile_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let to = temp.path().join("to");
        let staging = Staging::create(&to).unwrap();
        fs::create_dir(&to).unwrap();
        fs::write(to.join("theirs"), "x").unwrap();
        assert!(matches!(staging.publish(), Err(Error::DestinationNotEmpty { .. })));
        assert_eq!(names(&to), ["theirs"]);
        fs::remove_file(to.join("theirs")).unwrap();

        let staging = Staging::create(&to).unwrap();
        for name in ["a", "b", "c"] {
            fs::create_dir(staging.root().join(name)).unwrap();
        }
        fs::write(to.join("b"), "theirs").unwrap();
        assert!(matches!(staging.publish(), Err(Error::Exists { .. })));
        assert_eq!(names(&to), ["b"]);
        assert_eq!(names(temp.path()), ["to"]);
    }
}
