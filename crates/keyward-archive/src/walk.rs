//! Reading a tree in a fixed order: a folder before what is in it, names sorted as bytes. Links are
//! stored, never followed; only a source that was named itself may be reached through one. What the
//! [filter](crate::filter) leaves out is counted and not looked at.
//!
//! Memory holds the names of the folders on the way down, not the tree.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;

use crate::ahead::{Ahead, WINDOW};
use crate::chain::Chain;
use crate::error::Error;
use crate::filter::{Filter, Scope};
use crate::progress::Progress;

/// A folder or file to seal, and the name it is stored under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) given: PathBuf,
    pub(crate) name: Vec<u8>,
    pub(crate) folder: bool,
}

impl Source {
    /// Looks at a path that a person named. `photos/` and `./photos` are stored as `photos`, `.` by
    /// the name of the folder it is.
    pub(crate) fn new(given: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(given).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing { path: given.to_path_buf() },
            _ => Error::io(given, error),
        })?;
        let name = match given.file_name() {
            Some(name) => name.as_bytes().to_vec(),
            None => {
                let whole = std::fs::canonicalize(given).map_err(|error| Error::io(given, error))?;
                whole.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
            }
        };
        if name.is_empty() {
            return Err(Error::NoName { path: given.to_path_buf() });
        }
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(Error::SourceKind { path: given.to_path_buf() });
        }
        Ok(Self { given: given.to_path_buf(), name, folder: metadata.is_dir() })
    }

    /// Where the stored path lies in the file system.
    pub(crate) fn real(&self, stored: &[u8]) -> PathBuf {
        match self.below(stored) {
            b"" => self.given.clone(),
            rest => self.given.join(OsStr::from_bytes(rest)),
        }
    }

    /// The stored path without the source's own name; empty for the source itself.
    fn below<'a>(&self, stored: &'a [u8]) -> &'a [u8] {
        stored.get(self.name.len() + 1..).unwrap_or_default()
    }
}

/// What a walk meets, in order.
pub(crate) enum Met<'a> {
    /// A folder, open.
    Folder(&'a Stat, BorrowedFd<'a>),
    /// Opened; its status is that of the open file.
    File(&'a Stat, &'a File),
    Symlink(&'a Stat, Vec<u8>),
    /// A fifo, socket or device.
    Special(&'a Stat),
    /// Listed in its folder, and gone or replaced when it was looked at.
    Gone,
    /// The folder just met lies on another file system; what is in it is not visited.
    Elsewhere,
    /// So many names of the folder with this path are left out.
    Excluded(u64),
    /// This file was to say what is left out, and not every line of it could be taken.
    IgnoreFile,
}

type Visit<'v> = dyn FnMut(&[u8], Met<'_>) -> Result<(), Error> + 'v;

/// Walks over one source and tells `visit` of everything that `filter` lets through, with the path it
/// is stored under.
pub(crate) fn walk(
    source: &Source,
    filter: &Filter,
    ahead: &Ahead,
    visit: &mut Visit<'_>,
) -> Result<(), Error> {
    let file = File::open(&source.given).map_err(|error| Error::io(&source.given, error))?;
    let stat = fstat(&file).map_err(|error| Error::io(&source.given, error))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            visit(&source.name, Met::Folder(&stat, file.as_fd()))?;
            let (chain, path) = (Chain::new(file.into()), source.name.clone());
            Walk { source, filter, ahead, scouted: None, device: stat.st_dev, chain, path, visit }.folders()
        }
        FileType::RegularFile => visit(&source.name, Met::File(&stat, &file)),
        _ => Err(Error::SourceKind { path: source.given.clone() }),
    }
}

struct Walk<'a, 'v> {
    source: &'a Source,
    filter: &'a Filter,
    ahead: &'a Ahead,
    /// The folder where the chain stands, if scouts were sent into it.
    scouted: Option<Arc<OwnedFd>>,
    /// The file system of the source.
    device: u64,
    chain: Chain,
    path: Vec<u8>,
    visit: &'a mut Visit<'v>,
}

/// Names in one folder that are still to be visited, the next one last.
struct Level {
    names: Vec<(Vec<u8>, FileType)>,
    scope: Scope,
    path_length: usize,
    /// How many of the names, from the front, no scout was sent to.
    unseen: usize,
}

impl Walk<'_, '_> {
    fn folders(&mut self) -> Result<(), Error> {
        let mut levels = vec![self.level(&Scope::default())?];
        while let Some(level) = levels.last_mut() {
            self.path.truncate(level.path_length);
            if self.ahead.is_worth_it() {
                self.look_ahead(level);
            }
            let Some((name, kind)) = level.names.pop() else {
                levels.pop();
                self.leave();
                continue;
            };
            let scope = level.scope.clone();
            self.path.push(b'/');
            self.path.extend_from_slice(&name);
            if self.one(&name, kind)? {
                levels.push(self.level(&scope)?);
            }
        }
        Ok(())
    }

    /// Sends scouts to the names after the next one of the folder where the chain stands.
    fn look_ahead(&mut self, level: &mut Level) {
        let next = level.names.len().saturating_sub(1);
        level.unseen = level.unseen.min(next);
        let end = next.saturating_sub(WINDOW);
        while level.unseen > end {
            let name = level.unseen.checked_sub(1).and_then(|last| level.names.get(last));
            let (Some(folder), Some((name, kind))) = (self.here_for_scouts(), name) else { return };
            if !self.ahead.send(&folder, name, *kind) {
                return;
            }
            level.unseen -= 1;
        }
    }

    /// The folder where the chain stands, to be held open by scouts. Only this one is: a tree may be deep.
    fn here_for_scouts(&mut self) -> Option<Arc<OwnedFd>> {
        if let Some(folder) = &self.scouted {
            return Some(Arc::clone(folder));
        }
        let folder = Arc::new(self.chain.here().ok()?.try_clone_to_owned().ok()?);
        self.scouted = Some(Arc::clone(&folder));
        Some(folder)
    }

    /// Goes up one folder.
    fn leave(&mut self) {
        self.chain.leave();
        self.scouted = None;
    }

    /// The sorted names of the folder where the chain stands.
    fn level(&mut self, above: &Scope) -> Result<Level, Error> {
        let path_length = self.path.len();
        let below = self.source.below(&self.path);
        let listed = self.chain.here().and_then(|here| self.filter.list(here, below, above));
        let mut listing = listed.map_err(|error| self.error(error))?;
        for name in listing.unread {
            self.path.push(b'/');
            self.path.extend_from_slice(name.as_bytes());
            (self.visit)(&self.path, Met::IgnoreFile)?;
            self.path.truncate(path_length);
        }
        if listing.excluded > 0 {
            (self.visit)(&self.path, Met::Excluded(listing.excluded))?;
        }
        listing.names.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let unseen = listing.names.len();
        Ok(Level { names: listing.names, scope: listing.scope, path_length, unseen })
    }

    /// Visits one name; true if it is a folder, which the chain has then entered.
    fn one(&mut self, name: &[u8], kind: FileType) -> Result<bool, Error> {
        let looked = match kind {
            FileType::RegularFile => self.file(name),
            FileType::Directory => self.folder(name),
            _ => self.other(name),
        };
        match looked {
            Err(Looked::Errno(Errno::NOENT | Errno::LOOP | Errno::NOTDIR)) => {
                (self.visit)(&self.path, Met::Gone).map(|()| false)
            }
            Err(Looked::Errno(errno)) => Err(self.error(errno)),
            Err(Looked::Visit(error)) => Err(error),
            Ok(entered) => Ok(entered),
        }
    }

    fn file(&mut self, name: &[u8]) -> Result<bool, Looked> {
        // Without O_NONBLOCK, a fifo that took the file's name would hold us forever.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let here = self.chain.here()?;
        let (file, stat) = self.ahead.watch(
            |_| 0,
            || -> Result<_, Errno> {
                let file = File::from(openat(here, name, flags, Mode::empty())?);
                let stat = fstat(&file)?;
                Ok((file, stat))
            },
        )?;
        let met = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Met::File(&stat, &file),
            _ => Met::Gone,
        };
        (self.visit)(&self.path, met)?;
        Ok(false)
    }

    fn folder(&mut self, name: &[u8]) -> Result<bool, Looked> {
        self.chain.enter(name)?;
        self.scouted = None;
        let here = self.chain.here()?;
        let stat = fstat(here)?;
        (self.visit)(&self.path, Met::Folder(&stat, here))?;
        if self.filter.one_file_system && stat.st_dev != self.device {
            self.leave();
            (self.visit)(&self.path, Met::Elsewhere)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Links and special files, and every name on file systems that do not tell the kind.
    fn other(&mut self, name: &[u8]) -> Result<bool, Looked> {
        let here = self.chain.here()?;
        let stat = statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => self.file(name),
            FileType::Directory => self.folder(name),
            FileType::Symlink => {
                let target = link_target(here, name)?;
                (self.visit)(&self.path, Met::Symlink(&stat, target))?;
                Ok(false)
            }
            _ => {
                (self.visit)(&self.path, Met::Special(&stat))?;
                Ok(false)
            }
        }
    }

    fn error(&self, errno: Errno) -> Error {
        Error::io(self.source.real(&self.path), errno)
    }
}

fn link_target(folder: BorrowedFd<'_>, name: &[u8]) -> Result<Vec<u8>, Errno> {
    match readlinkat(folder, name, Vec::new()) {
        // It was a link a moment ago.
        Err(Errno::INVAL) => Err(Errno::NOENT),
        other => other.map(|target| target.into_bytes()),
    }
}

/// Looking failed, or what was told of it did.
enum Looked {
    Errno(Errno),
    Visit(Error),
}

impl From<Errno> for Looked {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Error> for Looked {
    fn from(error: Error) -> Self {
        Self::Visit(error)
    }
}

/// Counts entries and bytes beside the sealing, for a progress bar's total. What it cannot read it
/// leaves out: the walk that seals will say so.
pub(crate) fn count(sources: &[Source], filter: &Filter, progress: &dyn Progress, end: &AtomicBool) {
    for source in sources {
        if source.folder {
            progress.found(1, 0);
            count_below(source, filter, progress, end);
        } else if let Ok(metadata) = std::fs::metadata(&source.given) {
            progress.found(1, metadata.len());
        }
    }
}

fn count_below(source: &Source, filter: &Filter, progress: &dyn Progress, end: &AtomicBool) {
    let mut device = None;
    let mut folders = vec![(Vec::new(), Scope::default())];
    while let Some((below, above)) = folders.pop() {
        let Ok(folder) = File::open(source.given.join(OsStr::from_bytes(&below))) else { continue };
        if filter.one_file_system {
            let Ok(stat) = fstat(&folder) else { continue };
            if *device.get_or_insert(stat.st_dev) != stat.st_dev {
                continue;
            }
        }
        let Ok(listing) = filter.list(folder.as_fd(), &below, &above) else { continue };
        let (mut entries, mut bytes) = (0, 0);
        for (name, kind) in listing.names {
            if end.load(Ordering::Relaxed) {
                return;
            }
            entries += 1;
            if kind == FileType::Directory {
                let slash: &[u8] = if below.is_empty() { b"" } else { b"/" };
                folders.push(([&below, slash, &name].concat(), listing.scope.clone()));
            } else if kind == FileType::RegularFile {
                let stat = statat(&folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW);
                bytes += stat.map_or(0, |stat| stat.st_size as u64);
            }
        }
        progress.found(entries, bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn names(source: &Source) -> Vec<String> {
        names_with(source, &Ahead::default())
    }

    fn names_with(source: &Source, ahead: &Ahead) -> Vec<String> {
        let mut seen = Vec::new();
        walk(source, &Filter::default(), ahead, &mut |path, met| {
            let kind = match met {
                Met::Folder(..) => "d",
                Met::File(..) => "f",
                Met::Symlink(..) => "l",
                Met::Special(_) => "s",
                Met::Gone => "gone",
                Met::Elsewhere | Met::Excluded(_) | Met::IgnoreFile => unreachable!(),
            };
            seen.push(format!("{kind} {}", String::from_utf8_lossy(path)));
            Ok(())
        })
        .unwrap();
        seen
    }

    #[test]
    fn scouts_change_nothing_of_what_is_met() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("t");
        for number in 0..20 {
            fs::create_dir_all(root.join(format!("folder-{number}"))).unwrap();
            fs::write(root.join(format!("folder-{number}/x")), "x").unwrap();
        }
        // More than scouts look ahead, and than they can have waiting.
        for number in 0..3 * WINDOW {
            fs::write(root.join(format!("file-{number}")), "x").unwrap();
        }
        symlink("gone", root.join("link")).unwrap();
        let source = Source::new(&root).unwrap();
        let ahead = Ahead::slow();
        let seen = names_with(&source, &ahead);
        assert_eq!(seen, names(&source));
        assert_eq!(seen.len(), 1 + 2 * 20 + 3 * WINDOW + 1);
        assert!(ahead.has_scouts());
    }

    /// However deep a tree is, the walk and its scouts hold a bounded number of folders open.
    #[cfg(target_os = "linux")]
    #[test]
    fn scouts_hold_few_folders_of_a_deep_tree() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("t");
        let mut at = root.clone();
        for _ in 0..500 {
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("b"), "x").unwrap();
            at.push("a");
        }
        let held = || {
            let open = fs::read_dir("/proc/self/fd").unwrap().flatten();
            open.filter(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.starts_with(temp.path()))).count()
        };
        let (mut most, mut met) = (0, 0);
        walk(&Source::new(&root).unwrap(), &Filter::default(), &Ahead::slow(), &mut |_, _| {
            met += 1;
            if met % 20 == 0 {
                most = most.max(held());
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(met, 1000);
        assert!(most < 150, "{most} open at once");
    }

    #[test]
    fn sorted_and_links_not_followed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("t");
        fs::create_dir_all(root.join("b/c")).unwrap();
        fs::write(root.join("b/c/x"), "x").unwrap();
        fs::write(root.join("b-"), "x").unwrap();
        fs::write(root.join("a"), "x").unwrap();
        symlink("b", root.join("z")).unwrap();
        symlink(&root, temp.path().join("way")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("s")).unwrap();
        let expected = ["d t", "f t/a", "d t/b", "d t/b/c", "f t/b/c/x", "f t/b-", "s t/s", "l t/z"];
        assert_eq!(names(&Source::new(&root).unwrap()), expected);
        assert_eq!(names(&Source::new(&root.join("")).unwrap()), expected);
        let through = Source::new(&temp.path().join("way")).unwrap();
        assert_eq!(names(&through).len(), expected.len());
        assert_eq!(names(&through)[0], "d way");
        assert_eq!(names(&Source::new(&root.join("a")).unwrap()), ["f a"]);
        assert_eq!(Source::new(&root.join("b/..")).unwrap().name, b"t");
        assert!(matches!(Source::new(Path::new("/")), Err(Error::NoName { .. })));
        assert!(matches!(Source::new(&root.join("no")), Err(Error::Missing { .. })));
        assert!(matches!(Source::new(&root.join("s")), Err(Error::SourceKind { .. })));
    }
}
