//! Files of the vault and of this host: created whole or not at all, never overwritten by accident.
//!
//! A file is written under a temporary name beside its own, synced, and then linked (create) or renamed
//! (replace); a kill at any point leaves the old state or the new one and at most a leftover whose name begins
//! with `.keyward-`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The largest vault or state file that is read: 8 MiB. A larger one is refused, not loaded.
pub const LARGEST: u64 = 8 << 20;

/// Creates `path` with `bytes`, exclusively: an existing file is never touched.
///
/// # Errors
/// `AlreadyExists` where the name is taken; any other error of the file system.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(path, bytes, mode)?;
    // A hard link is the one portable step that creates a name and fails if it is there.
    fs::hard_link(temporary.path(), path)?;
    drop(temporary);
    sync_folder_of(path)
}

/// Replaces `path` with `bytes` in one step.
///
/// # Errors
/// Those of the file system; the old file is then still whole.
pub fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let temporary = write_temporary(path, bytes, mode)?;
    temporary.persist(path).map_err(|e| e.error)?;
    sync_folder_of(path)
}

/// Reads a file of bounded size.
///
/// # Errors
/// `InvalidData` for a larger file; any error of the file system.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Room for the whole file at once: a buffer that grows would leave unwiped copies of a secret one.
    let room = file.metadata()?.len().min(LARGEST).saturating_add(1);
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(LARGEST.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 8 MiB"));
    }
    Ok(bytes)
}

/// Makes a folder and those above it; 0700 for this host's own state.
///
/// # Errors
/// Those of the file system.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// A new private file (0600) that takes one secret line after another. One that took none is removed again.
#[derive(Debug)]
pub struct PrivateFile {
    file: File,
    path: PathBuf,
    written: bool,
}

impl PrivateFile {
    /// Creates the file; an existing one is never touched, unless it is empty: that is what a killed run leaves.
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; any other error of the file system.
    pub fn create(path: &Path) -> io::Result<Self> {
        if path.symlink_metadata().is_ok_and(|meta| meta.is_file() && meta.len() == 0) {
            fs::remove_file(path)?;
        }
        let file = OpenOptions::new().create_new(true).append(true).mode(0o600).open(path)?;
        Ok(PrivateFile { file, path: path.to_path_buf(), written: false })
    }

    /// Writes a line, and returns when it is on the disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn line(&mut self, line: &[u8]) -> io::Result<()> {
        self.written = true;
        self.file.write_all(line)?;
        self.file.write_all(b"\n")?;
        self.file.sync_all()
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.written {
            // An empty file would only be in the way of the next run.
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_temporary(path: &Path, bytes: &[u8], mode: u32) -> io::Result<tempfile::NamedTempFile> {
    let permissions: fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
    let mut temporary =
        tempfile::Builder::new().prefix(".keyward-").permissions(permissions).tempfile_in(folder_of(path))?;
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    Ok(temporary)
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn create_never_overwrites() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        create(&path, b"one", 0o600).unwrap();
        let again = create(&path, b"two", 0o600).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no leftover");
    }

    #[test]
    fn a_private_file_takes_an_empty_name_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        drop(PrivateFile::create(&path).unwrap());
        assert!(!path.exists(), "one that took no line is gone");
        fs::write(&path, b"").unwrap();
        PrivateFile::create(&path).unwrap().line(b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(PrivateFile::create(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(read(&path).unwrap(), b"secret\n");
    }

    #[test]
    fn replace_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        replace(&path, b"one", 0o644).unwrap();
        replace(&path, b"two", 0o644).unwrap();
        assert_eq!(read(&path).unwrap(), b"two");
    }

    #[test]
    fn a_file_past_the_bound_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        assert_eq!(read(&path).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
