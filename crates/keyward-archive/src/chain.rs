//! A walk along folders that never follows a symbolic link.
//!
//! Every step opens one component relative to the folder before it, with `O_NOFOLLOW` and
//! `O_DIRECTORY`, so no name that changes under our feet can lead elsewhere (openat(2)). The chain
//! keeps a bounded number of folders open, however deep the tree is; one that was closed is
//! reached again from its nearest open ancestor, component by component, by the same rule.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

/// Folders kept open on the way down, besides the root; on the way up it can be half as many more.
const MOST_OPEN: usize = 48;

pub(crate) struct Chain {
    root: OwnedFd,
    levels: Vec<Level>,
    open: usize,
}

struct Level {
    name: Vec<u8>,
    folder: Option<OwnedFd>,
}

impl Chain {
    pub(crate) fn new(root: OwnedFd) -> Self {
        Self { root, levels: Vec::new(), open: 0 }
    }

    /// The folder where the walk stands.
    pub(crate) fn here(&mut self) -> Result<BorrowedFd<'_>, Errno> {
        self.reopen()?;
        Ok(self.last())
    }

    /// Goes down into `name`, which must be a real folder.
    pub(crate) fn enter(&mut self, name: &[u8]) -> Result<(), Errno> {
        let folder = open_folder(self.here()?, name)?;
        self.push(name, folder);
        Ok(())
    }

    /// Goes up one level; at the root it stays.
    pub(crate) fn leave(&mut self) {
        if let Some(level) = self.levels.pop()
            && level.folder.is_some()
        {
            self.open -= 1;
        }
    }

    /// Goes to the folder with this path from the root. With `make`, folders that are missing on
    /// the way are made with the default mode.
    pub(crate) fn go<'a>(
        &mut self,
        path: impl Iterator<Item = &'a [u8]> + Clone,
        make: bool,
    ) -> Result<(), Errno> {
        let common =
            self.levels.iter().zip(path.clone()).take_while(|(level, name)| level.name == *name).count();
        while self.levels.len() > common {
            self.leave();
        }
        for name in path.skip(common) {
            match self.enter(name) {
                Err(Errno::NOENT) if make => {
                    mkdirat(self.here()?, name, Mode::from_raw_mode(0o777))?;
                    self.enter(name)?;
                }
                other => other?,
            }
        }
        Ok(())
    }

    fn last(&self) -> BorrowedFd<'_> {
        self.levels.last().and_then(|level| level.folder.as_ref()).unwrap_or(&self.root).as_fd()
    }

    fn push(&mut self, name: &[u8], folder: OwnedFd) {
        self.levels.push(Level { name: name.to_vec(), folder: Some(folder) });
        self.open += 1;
        if self.open > MOST_OPEN
            && let Some(oldest) = self.levels.iter_mut().find(|level| level.folder.is_some())
        {
            oldest.folder = None;
            self.open -= 1;
        }
    }

    /// Opens the last level again if it was closed to make room, and with it those just above it,
    /// since a walk that goes up goes on going up.
    fn reopen(&mut self) -> Result<(), Errno> {
        let closed = self.levels.iter().rev().take_while(|level| level.folder.is_none()).count();
        if closed == 0 {
            return Ok(());
        }
        let kept = self.levels.len() - closed;
        let (above, below) = self.levels.split_at_mut(kept);
        let start = above.last().and_then(|level| level.folder.as_ref()).unwrap_or(&self.root);
        let mut passed: Option<OwnedFd> = None;
        let mut before: Option<&mut Level> = None;
        for (at, level) in below.iter_mut().enumerate() {
            let from = before
                .as_ref()
                .and_then(|before| before.folder.as_ref())
                .or(passed.as_ref())
                .unwrap_or(start);
            let folder = open_folder(from.as_fd(), &level.name)?;
            if closed - at <= MOST_OPEN / 2 {
                level.folder = Some(folder);
                self.open += 1;
            } else {
                passed = Some(folder);
            }
            before = Some(level);
        }
        Ok(())
    }
}

fn open_folder(from: BorrowedFd<'_>, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(from, name, flags, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn chain(at: &std::path::Path) -> Chain {
        Chain::new(File::open(at).unwrap().into())
    }

    #[test]
    fn deeper_than_the_folders_kept_open_and_back() {
        let temp = tempfile::tempdir().unwrap();
        let mut chain = chain(temp.path());
        let names: Vec<Vec<u8>> = (0..300).map(|n| format!("d{n}").into_bytes()).collect();
        chain.go(names.iter().map(Vec::as_slice), true).unwrap();
        assert!(chain.open <= MOST_OPEN);
        for depth in (1..=300).rev() {
            let expected = chain.levels.last().unwrap().name.clone();
            assert_eq!(expected, names[depth - 1]);
            chain.here().unwrap();
            assert!(chain.open <= MOST_OPEN * 3 / 2);
            chain.leave();
        }
        assert_eq!(chain.open, 0);
        chain.leave();
        chain.go(names.iter().map(Vec::as_slice).take(299), false).unwrap();
        assert!(rustix::fs::statat(chain.here().unwrap(), "d299", rustix::fs::AtFlags::empty()).is_ok());
    }

    #[test]
    fn links_are_never_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("root/real")).unwrap();
        std::os::unix::fs::symlink("..", temp.path().join("root/up")).unwrap();
        let mut chain = chain(&temp.path().join("root"));
        assert!(matches!(chain.enter(b"up"), Err(Errno::LOOP | Errno::NOTDIR)));
        assert!(chain.go([&b"up"[..], b"x"].into_iter(), true).is_err());
        assert!(!temp.path().join("x").exists());
        chain.enter(b"real").unwrap();
    }
}
