//! A tar into one folder and never beside it.
//!
//! An archive is another's word, even one that opens: whoever knows a vault can seal to it. So each
//! path is split into components and judged; each folder on the way is entered without following
//! links ([`Chain`]); each file, link and folder must be new, so nothing an archive made is replaced
//! or written through. What would break a rule ends the extraction, by the entry's name.
//!
//! Folders get their modes and times last, deepest first: writing into a folder changes its time,
//! and a folder may forbid writing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat,
    futimens, linkat, mkdirat, openat, readlinkat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::attributes::{self, Attribute, Attributes};
use crate::chain::Chain;
use crate::entry::{Entry, Kind, Time};
use crate::error::{Error, Unsafe};
use crate::index::{Hashing, Recorder, Summary};
use crate::owners::Owners;
use crate::progress::Progress;
use crate::tar::header::Member;
use crate::tar::reader::{Found, Piece, Reader};

/// How to extract.
#[derive(Debug, Clone)]
pub struct ExtractOptions {
    /// Threads that decrypt; at most 8 are used.
    pub threads: usize,
    /// Gives files to the owners that the archive names: by name where this system knows it, else by
    /// number. Only root can; for anybody else it has no effect.
    pub owners: bool,
    /// Which extended attributes are set.
    pub attributes: Attributes,
    /// Makes symbolic links whose targets lie outside the tree, instead of refusing the archive.
    /// Extraction itself still follows none.
    pub keep_links_out: bool,
    /// Paths inside the archive to extract, with the folders on the way to them; a folder takes
    /// all below it. Empty: everything. A hard link whose other name is not among them becomes a
    /// file of its own.
    pub only: Vec<Vec<u8>>,
}

impl Default for ExtractOptions {
    /// All cores, owners left alone, no attributes, links out of the tree refused, everything.
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Self { threads, owners: false, attributes: Attributes::None, keep_links_out: false, only: Vec::new() }
    }
}

/// What was extracted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExtractReport {
    /// Entries that were extracted.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Files that lost their set-user-ID or set-group-ID bit, because they now belong to somebody
    /// else than in the archive.
    pub set_id_dropped: u64,
    /// Attributes that were asked for and could not be set: the file system has none, our rights do
    /// not allow them, or an ACL names somebody who is not known here.
    pub attributes_dropped: u64,
    /// Whether the archive had an index, which was then found to be that of its tar, as far as
    /// that was read.
    pub indexed: bool,
    /// Names at the top of what was extracted.
    pub tops: Vec<Vec<u8>>,
}

/// Names at the top that a report keeps.
const MOST_TOPS: usize = 1000;

/// Extraction under way.
pub(crate) struct Extraction<'a> {
    chain: Chain,
    /// Stands where hard links point.
    targets: Chain,
    /// Where the folder lies, for messages.
    shown: &'a Path,
    /// Modes and times of folders, to be set at the end, by path.
    folders: BTreeMap<Vec<u8>, Facts>,
    folder_bytes: u64,
    owners: bool,
    names: Owners,
    attributes: Attributes,
    keep_links_out: bool,
    us: (u32, u32),
    /// Permission bits that a new file does not get, whatever it asks for.
    masked: u32,
    recorder: Recorder<Hashing>,
    progress: &'a dyn Progress,
    report: ExtractReport,
}

/// Bytes of memory that the paths of folders take at most: some millions of folders.
const MOST_FOLDER_BYTES: u64 = 1 << 28;

/// What is set on a file or folder once its contents are there.
struct Facts {
    mode: u32,
    mtime: Time,
    owner: Option<(u32, u32)>,
    attributes: Vec<Attribute>,
}

impl<'a> Extraction<'a> {
    /// Extracts into `root`, an empty folder of our own.
    pub(crate) fn new(
        root: OwnedFd,
        shown: &'a Path,
        options: &ExtractOptions,
        progress: &'a dyn Progress,
    ) -> Result<Self, Error> {
        let second = root.try_clone().map_err(|error| Error::io(shown, error))?;
        let masked = masked(root.as_fd()).map_err(|errno| Error::io(shown, errno))?;
        let us = (rustix::process::geteuid(), rustix::process::getegid());
        Ok(Self {
            chain: Chain::new(root),
            targets: Chain::new(second),
            shown,
            folders: BTreeMap::new(),
            folder_bytes: 0,
            owners: options.owners && us.0.is_root(),
            names: Owners::default(),
            attributes: options.attributes,
            keep_links_out: options.keep_links_out,
            us: (us.0.as_raw(), us.1.as_raw()),
            masked,
            recorder: Recorder::hashing(),
            progress,
            report: ExtractReport::default(),
        })
    }

    /// Extracts every member of the tar and reads the stream to its end.
    pub(crate) fn all(&mut self, input: impl BufRead) -> Result<(), Error> {
        let mut reader = Reader::new(input);
        while let Some(Found { member, offset }) = reader.next()? {
            if self.progress.stopped() {
                return Err(Error::Interrupted);
            }
            self.take(&member, &mut reader)?;
            let Member { path, kind, size, mode, mtime, link, .. } = member;
            let entry = Entry { path, kind, size, mode, mtime, link, offset };
            self.recorder.push(&entry).map_err(|error| Error::io("", error))?;
        }
        Ok(())
    }

    /// Checks that the archive's index is that of the tar which was extracted.
    pub(crate) fn check(&self, index: Summary) -> Result<(), Error> {
        let found = self.recorder.summary();
        if index == found {
            return Ok(());
        }
        Err(Error::IndexMismatch { listed: index.totals.entries, found: found.totals.entries })
    }

    pub(crate) fn report(self, indexed: bool) -> ExtractReport {
        ExtractReport { indexed, ..self.report }
    }

    /// Extracts the member whose contents `reader` has before it.
    pub(crate) fn take(&mut self, member: &Member, reader: &mut Reader<impl BufRead>) -> Result<(), Error> {
        self.one(member, reader)?;
        self.report.entries += 1;
        self.report.bytes += member.size;
        self.progress.done(1, 0);
        Ok(())
    }

    fn one(&mut self, member: &Member, reader: &mut Reader<impl BufRead>) -> Result<(), Error> {
        let refuse = |reason| Error::UnsafeEntry { entry: member.path.clone(), reason };
        let components = components(&member.path).map_err(refuse)?;
        if matches!(member.flag, b'3' | b'4') {
            return Err(refuse(Unsafe::Device));
        }
        if member.kind == Kind::Special {
            let what = match member.flag {
                b'6' => "a fifo",
                b'M' => "part of a tar of several volumes",
                _ => "of a kind of its own maker",
            };
            return Err(Error::Unsupported { entry: member.path.clone(), what });
        }
        let Some((name, folders)) = components.split_last() else {
            // `./` is the folder that is extracted into, and stays as the caller made it.
            return match member.kind {
                Kind::Folder => Ok(()),
                _ => Err(refuse(Unsafe::NoPath)),
            };
        };
        self.chain.go(folders.iter().copied(), true).map_err(|errno| self.told(member, errno))?;
        match member.kind {
            Kind::Folder => self.folder(member, &components, name),
            Kind::Symlink => self.symlink(member, name),
            Kind::Hardlink => self.hard_link(member, name),
            Kind::File | Kind::Special => self.file(member, name, reader),
        }?;
        if folders.is_empty()
            && self.report.tops.len() < MOST_TOPS
            && !self.report.tops.iter().any(|top| top == name)
        {
            self.report.tops.push(name.to_vec());
        }
        Ok(())
    }

    fn folder(&mut self, member: &Member, components: &[&[u8]], name: &[u8]) -> Result<(), Error> {
        let here = self.chain.here().map_err(|errno| Self::tell(self.shown, member, errno))?;
        match mkdirat(here, name, Mode::RWXU) {
            // Made on the way to something below it, or named twice: then it must be a folder.
            Err(Errno::EXIST) => match statat(here, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {}
                Ok(_) => {
                    return Err(Error::UnsafeEntry { entry: member.path.clone(), reason: Unsafe::Twice });
                }
                Err(errno) => return Err(self.told(member, errno)),
            },
            made => made.map_err(|errno| self.told(member, errno))?,
        }
        let path = components.join(&b'/');
        let facts = self.facts(member);
        let attributes: usize = facts
            .attributes
            .iter()
            .map(|(name, value)| size_of::<Attribute>() + name.len() + value.len())
            .sum();
        self.folder_bytes += (size_of::<Facts>() + path.len() + attributes) as u64;
        if self.folder_bytes > MOST_FOLDER_BYTES {
            return Err(Error::TooManyNames { most: MOST_FOLDER_BYTES });
        }
        // Of two entries for one folder the later counts.
        self.folders.insert(path, facts);
        Ok(())
    }

    fn file(&mut self, member: &Member, name: &[u8], reader: &mut Reader<impl BufRead>) -> Result<(), Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let facts = self.facts(member);
        // Made with its mode, where it would get it and nothing else is to be set: that saves a call
        // for each file. Nobody else sees it, since the folder is private until all is verified.
        let plain = facts.owner.is_none() && facts.attributes.is_empty();
        let at_once = plain && facts.mode & (self.masked | 0o7000) == 0;
        let first = if at_once { Mode::from_raw_mode(facts.mode) } else { Mode::RUSR | Mode::WUSR };
        let here = self.chain.here().map_err(|errno| Self::tell(self.shown, member, errno))?;
        let file = openat(here, name, flags, first).map_err(|errno| self.told(member, errno))?;
        let mut file = File::from(file);
        let (shown, progress) = (self.shown, self.progress);
        let failed = |error: io::Error| Error::io(shown.join(os(&member.path)), error);
        if member.sparse.is_some() {
            // First, so that a size that the file system does not have is refused at once.
            file.set_len(member.size).map_err(failed)?;
        }
        loop {
            let more = reader.piece(|piece| {
                let count = match piece {
                    Piece::Data(bytes) => file.write_all(bytes).map(|()| bytes.len() as u64),
                    Piece::Hole(length) => file.seek(SeekFrom::Current(length as i64)).map(|_| length),
                };
                progress.done(0, count.map_err(failed)?);
                if progress.stopped() { Err(Error::Interrupted) } else { Ok(()) }
            })?;
            if !more {
                break;
            }
        }
        let settled = match at_once {
            true => futimens(file.as_fd(), &times(facts.mtime)).map(|()| 0),
            false => settle(file.as_fd(), &facts),
        };
        self.report.attributes_dropped += settled.map_err(|errno| self.told(member, errno))?;
        Ok(())
    }

    fn symlink(&mut self, member: &Member, name: &[u8]) -> Result<(), Error> {
        if member.link.is_empty() || member.link.contains(&0) {
            return Err(Error::UnsafeEntry { entry: member.path.clone(), reason: Unsafe::NoPath });
        }
        if leads_out(&member.path, &member.link) && !self.keep_links_out {
            return Err(Error::UnsafeEntry { entry: member.path.clone(), reason: Unsafe::LinkOut });
        }
        let owner = self.owner(member);
        let mut make = || -> Result<(), Errno> {
            let here = self.chain.here()?;
            symlinkat(member.link.as_slice(), here, name)?;
            if let Some(owner) = owner {
                let (owner, group) = ids(owner);
                chownat(here, name, owner, group, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            utimensat(here, name, &times(member.mtime), AtFlags::SYMLINK_NOFOLLOW)
        };
        make().map_err(|errno| self.told(member, errno))
    }

    fn hard_link(&mut self, member: &Member, name: &[u8]) -> Result<(), Error> {
        let refuse = |reason| Error::UnsafeEntry { entry: member.path.clone(), reason };
        let target = components(&member.link).map_err(|_| refuse(Unsafe::LinkTarget))?;
        let (target, folders) = target.split_last().ok_or_else(|| refuse(Unsafe::LinkTarget))?;
        self.targets.go(folders.iter().copied(), false).map_err(|_| refuse(Unsafe::LinkTarget))?;
        let mut make = || {
            let here = self.chain.here()?;
            // Without AT_SYMLINK_FOLLOW, a link is itself linked, not what it points at.
            linkat(self.targets.here()?, *target, here, name, AtFlags::empty())?;
            let stat = statat(here, name, AtFlags::SYMLINK_NOFOLLOW)?;
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => readlinkat(here, name, Vec::new()).map(Some),
                _ => Ok(None),
            }
        };
        let symlink = make().map_err(|errno| match errno {
            Errno::NOENT | Errno::PERM | Errno::NOTDIR | Errno::LOOP => refuse(Unsafe::LinkTarget),
            errno => self.told(member, errno),
        })?;
        // A symbolic link leads elsewhere from here than from where its first name is.
        match symlink {
            Some(to) if !self.keep_links_out && leads_out(&member.path, to.as_bytes()) => {
                Err(refuse(Unsafe::LinkOut))
            }
            _ => Ok(()),
        }
    }

    /// Goes on in another folder, which what was extracted has moved to.
    pub(crate) fn moved_to(&mut self, root: OwnedFd) {
        self.chain = Chain::new(root);
    }

    /// Sets modes and times of the folders deeper than `above` levels, deepest first; those that
    /// are not, stay for a later call.
    pub(crate) fn settle_folders(&mut self, above: usize) -> Result<(), Error> {
        let depth = |path: &[u8]| path.split(|byte| *byte == b'/').count();
        let (now, later) =
            std::mem::take(&mut self.folders).into_iter().partition(|(path, _)| depth(path) > above);
        self.folders = later;
        let now: BTreeMap<Vec<u8>, Facts> = now;
        // A path sorts before all below it, so the reverse order has the deepest first.
        for (path, facts) in now.into_iter().rev() {
            let shown = self.shown;
            let told = |errno| Error::io(shown.join(os(&path)), errno);
            self.chain.go(path.split(|byte| *byte == b'/'), false).map_err(told)?;
            let here = self.chain.here().map_err(told)?;
            self.report.attributes_dropped += settle(here, &facts).map_err(told)?;
        }
        Ok(())
    }

    fn facts(&mut self, member: &Member) -> Facts {
        let (attributes, dropped) = self.attributes.to_set(&member.attributes, &mut self.names);
        self.report.attributes_dropped += dropped;
        Facts {
            mode: self.mode(member.mode, (member.uid, member.gid)),
            mtime: member.mtime,
            owner: self.owner(member),
            attributes,
        }
    }

    /// The owners to set: by name where there is one that is known here, else by number.
    fn owner(&mut self, member: &Member) -> Option<(u32, u32)> {
        self.owners.then(|| {
            let user = self.names.user_id(&member.uname).unwrap_or(member.uid);
            (user, self.names.group_id(&member.gname).unwrap_or(member.gid))
        })
    }

    /// The mode to set. A set-id bit would hand out the rights of whoever owns the file now.
    fn mode(&mut self, mode: u32, owner: (u32, u32)) -> u32 {
        let keep = self.owners || (owner == self.us);
        if keep || mode & 0o6000 == 0 {
            return mode;
        }
        self.report.set_id_dropped += 1;
        mode & 0o1777
    }

    fn told(&self, member: &Member, errno: Errno) -> Error {
        Self::tell(self.shown, member, errno)
    }

    /// What an operating system's refusal means for a member: in a folder of our own, a name that
    /// is taken or a folder that is none was made by the archive itself.
    fn tell(shown: &Path, member: &Member, errno: Errno) -> Error {
        let refuse = |reason| Error::UnsafeEntry { entry: member.path.clone(), reason };
        match errno {
            Errno::EXIST => refuse(Unsafe::Twice),
            Errno::LOOP | Errno::NOTDIR => refuse(Unsafe::Through),
            errno => Error::io(shown.join(os(&member.path)), errno),
        }
    }
}

fn os(path: &[u8]) -> PathBuf {
    // Joined for messages only: the first component is never taken as absolute.
    let relative = path.iter().position(|byte| *byte != b'/').and_then(|start| path.get(start..));
    PathBuf::from(std::ffi::OsStr::from_bytes(relative.unwrap_or_default()))
}

/// The permission bits that a new file in `folder` does not get: the umask, or what an ACL of the
/// folder leaves out. It is found by making a file, since asking for the umask changes it.
fn masked(folder: BorrowedFd<'_>) -> Result<u32, Errno> {
    const PROBE: &[u8] = b".mode";
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let probe = openat(folder, PROBE, flags, Mode::from_raw_mode(0o777))?;
    unlinkat(folder, PROBE, AtFlags::empty())?;
    Ok(0o777 & !fstat(probe)?.st_mode)
}

/// Returns how many attributes could not be set. A change of owner takes capabilities away, a mode
/// may forbid to set attributes, and an ACL has the last word on what a mode means: that is the order.
fn settle(at: BorrowedFd<'_>, facts: &Facts) -> Result<u64, Errno> {
    if let Some(owner) = facts.owner {
        let (owner, group) = ids(owner);
        fchown(at, owner, group)?;
    }
    let others = attributes::set(at, &facts.attributes, false)?;
    fchmod(at, Mode::from_raw_mode(facts.mode))?;
    let acls = attributes::set(at, &facts.attributes, true)?;
    futimens(at, &times(facts.mtime))?;
    Ok(others + acls)
}

fn ids(owner: (u32, u32)) -> (Option<Uid>, Option<Gid>) {
    // The highest number means "unchanged" to the kernel.
    let given = |id: u32| (id != u32::MAX).then_some(id);
    (given(owner.0).map(Uid::from_raw), given(owner.1).map(Gid::from_raw))
}

fn times(mtime: Time) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanos.into() },
    }
}

/// The components of a path that stays where it begins.
pub(crate) fn components(path: &[u8]) -> Result<Vec<&[u8]>, Unsafe> {
    if path.is_empty() || path.contains(&0) {
        return Err(Unsafe::NoPath);
    }
    if path.starts_with(b"/") {
        return Err(Unsafe::Absolute);
    }
    let components: Vec<_> =
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").collect();
    if components.contains(&&b".."[..]) { Err(Unsafe::Climbs) } else { Ok(components) }
}

/// Whether a symbolic link at `path` can lead out of the tree that it is in.
///
/// Its folder is a real one, so leading `..` are counted against the depth of `path`. A `..` after
/// a name may follow another link first and then climb from where that leads; it counts as leading
/// out. Links that pass lead inside, and so does any way through several of them.
pub(crate) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let names = |path: &'_ [u8]| {
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".").count()
    };
    let depth = names(path).saturating_sub(1);
    let mut parts = target.split(|byte| *byte == b'/').filter(|name| !name.is_empty() && *name != b".");
    let mut climbs = 0;
    loop {
        match parts.next() {
            Some(b"..") => climbs += 1,
            Some(_) => return climbs > depth || parts.any(|name| name == b".."),
            None => return climbs > depth,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_judged() {
        assert_eq!(components(b"a/b").unwrap(), [b"a", b"b"]);
        assert_eq!(components(b"./a//b/.").unwrap(), [b"a", b"b"]);
        assert_eq!(components(b".").unwrap(), [b""; 0]);
        assert_eq!(components(b"a/..b/...").unwrap(), [&b"a"[..], b"..b", b"..."]);
        assert_eq!(components(b""), Err(Unsafe::NoPath));
        assert_eq!(components(b"a\0b"), Err(Unsafe::NoPath));
        assert_eq!(components(b"/a"), Err(Unsafe::Absolute));
        for path in [&b".."[..], b"../a", b"a/..", b"a/../b", b"./..", b"a//.."] {
            assert_eq!(components(path), Err(Unsafe::Climbs));
        }
    }

    #[test]
    fn links_are_judged_by_where_they_can_lead() {
        for (path, target) in
            [("a/l", "b"), ("a/l", ".."), ("a/l", "../b"), ("a/b/l", "../../c/d"), ("l", "a/b"), ("l", ".")]
        {
            assert!(!leads_out(path.as_bytes(), target.as_bytes()), "{path} -> {target}");
        }
        for (path, target) in [
            ("l", ".."),
            ("l", "/"),
            ("a/l", "/etc/passwd"),
            ("a/l", "../.."),
            ("a/l", "../../b"),
            ("a/l", ".././../b"),
            ("./a/l", "../.."),
            ("a/l", "b/../../.."),
            ("a/l", "b/.."),
        ] {
            assert!(leads_out(path.as_bytes(), target.as_bytes()), "{path} -> {target}");
        }
    }
}
