//! What a walk leaves out: patterns, ignore files, caches, other file systems.
//!
//! Patterns are those of gitignore(5), by the crate `ignore` of ripgrep. What was asked for by name
//! comes before what a file in the tree says, the deeper ignore file before the one above it. A file
//! in the tree is asked only with [`Filter::ignore_files`], since whoever can write there could
//! otherwise keep things out of a backup unseen. The sources themselves are never left out.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;

use crate::error::Error;

/// The ignore files of one folder; of two that speak of a name, the later counts.
const IGNORE_FILES: [&str; 3] = [".gitignore", ".ignore", ".keywardignore"];
/// Longest ignore file, in bytes.
const LONGEST_IGNORE_FILE: u64 = 1 << 20;
/// The file that marks a folder as a cache, and how it begins (Cache Directory Tagging Specification).
const TAG_FILE: &str = "CACHEDIR.TAG";
const TAG: &[u8; 43] = b"Signature: 8a477f597d28d172789f06886806bc55";

/// What of a tree is left out.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    patterns: Option<Gitignore>,
    /// Whether `.keywardignore`, `.ignore` and `.gitignore` in the folders of a tree count.
    pub ignore_files: bool,
    /// Whether what is in a folder with a valid `CACHEDIR.TAG` stays out, but for that file.
    pub caches: bool,
    /// Whether what is in a folder on another file system than its source stays out.
    pub one_file_system: bool,
}

impl Filter {
    /// A filter by patterns of gitignore(5), relative to each source; of several that match, the
    /// last one counts.
    ///
    /// # Errors
    /// [`Error::Pattern`] naming the first that is none.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        let mut last = "";
        for pattern in patterns {
            last = pattern;
            builder.add_line(None, pattern).map_err(|error| wrong(pattern, &error))?;
        }
        let built = builder.build().map_err(|error| wrong(last, &error))?;
        Ok(Self { patterns: (!built.is_empty()).then_some(built), ..Self::default() })
    }

    /// Lists a folder at `relative` below its source, without what is left out.
    pub(crate) fn list(
        &self,
        folder: BorrowedFd<'_>,
        relative: &[u8],
        above: &Scope,
    ) -> Result<Listing, Errno> {
        let mut names = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." {
                names.push((name.to_vec(), entry.file_type()));
            }
        }
        let mut listing = Listing { names, scope: above.clone(), excluded: 0, unread: Vec::new() };
        if self.ignore_files {
            listing.read_ignore_files(folder, relative);
        }
        let cache = self.caches && is_cache(folder);
        if self.patterns.is_none() && listing.scope.0.is_none() && !cache {
            return Ok(listing);
        }
        let before = listing.names.len();
        let mut path = relative.to_vec();
        let (names, scope) = (&mut listing.names, &listing.scope);
        names.retain(|(name, kind)| {
            if cache {
                return name == TAG_FILE.as_bytes();
            }
            path.truncate(relative.len());
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            let folder_below = match kind {
                FileType::Unknown => statat(folder, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory),
                kind => *kind == FileType::Directory,
            };
            !self.leaves_out(&path, folder_below, scope)
        });
        listing.excluded = (before - listing.names.len()) as u64;
        Ok(listing)
    }

    fn leaves_out(&self, path: &[u8], folder: bool, scope: &Scope) -> bool {
        let decided = |matcher: &Gitignore, path: &[u8]| match matcher
            .matched(Path::new(std::ffi::OsStr::from_bytes(path)), folder)
        {
            Match::None => None,
            Match::Ignore(_) => Some(true),
            Match::Whitelist(_) => Some(false),
        };
        if let Some(out) = self.patterns.as_ref().and_then(|patterns| decided(patterns, path)) {
            return out;
        }
        let mut scope = scope;
        while let Some(file) = scope.0.as_deref() {
            if let Some(out) = decided(&file.patterns, path.get(file.skip..).unwrap_or_default()) {
                return out;
            }
            scope = &file.above;
        }
        false
    }
}

/// What is in a folder and not left out, unsorted.
pub(crate) struct Listing {
    pub(crate) names: Vec<(Vec<u8>, FileType)>,
    /// For the folders below.
    pub(crate) scope: Scope,
    /// Names that are left out.
    pub(crate) excluded: u64,
    /// Ignore files of which not every line could be taken.
    pub(crate) unread: Vec<&'static str>,
}

impl Listing {
    fn read_ignore_files(&mut self, folder: BorrowedFd<'_>, relative: &[u8]) {
        let skip = if relative.is_empty() { 0 } else { relative.len() + 1 };
        for name in IGNORE_FILES {
            if !self.names.iter().any(|(there, _)| there == name.as_bytes()) {
                continue;
            }
            let (patterns, whole) = read_patterns(folder, name);
            if !whole {
                self.unread.push(name);
            }
            if !patterns.is_empty() {
                let above = self.scope.clone();
                self.scope = Scope(Some(Arc::new(IgnoreFile { patterns, skip, above })));
            }
        }
    }
}

/// The ignore files in force in a folder, the nearest first.
#[derive(Clone, Default)]
pub(crate) struct Scope(Option<Arc<IgnoreFile>>);

struct IgnoreFile {
    patterns: Gitignore,
    /// Bytes of a path that lead to the file's folder.
    skip: usize,
    above: Scope,
}

/// The patterns of an ignore file, and whether they are all that it says.
fn read_patterns(folder: BorrowedFd<'_>, name: &str) -> (Gitignore, bool) {
    let Some(bytes) = read_start(folder, name, LONGEST_IGNORE_FILE + 1) else {
        return (Gitignore::empty(), false);
    };
    let mut whole = bytes.len() as u64 <= LONGEST_IGNORE_FILE;
    let mut builder = GitignoreBuilder::new("");
    for line in bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes).split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        whole &= std::str::from_utf8(line).is_ok_and(|line| builder.add_line(None, line).is_ok());
    }
    match builder.build() {
        Ok(patterns) => (patterns, whole),
        Err(_) => (Gitignore::empty(), false),
    }
}

fn is_cache(folder: BorrowedFd<'_>) -> bool {
    read_start(folder, TAG_FILE, TAG.len() as u64).is_some_and(|start| start == TAG)
}

/// The first bytes of a regular file; no link is followed and no fifo waited for.
fn read_start(folder: BorrowedFd<'_>, name: &str, most: u64) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(openat(folder, name, flags, Mode::empty()).ok()?);
    if FileType::from_raw_mode(fstat(&file).ok()?.st_mode) != FileType::RegularFile {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

fn wrong(pattern: &str, error: &ignore::Error) -> Error {
    // The crate's text begins with the pattern, which the message has already.
    let text = error.to_string();
    let reason = text.rsplit(": ").next().unwrap_or(&text).to_owned();
    Error::Pattern { pattern: pattern.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::fd::AsFd;

    fn kept(filter: &Filter, at: &Path, relative: &str, above: &Scope) -> (Vec<String>, Scope) {
        let folder = File::open(at.join(relative)).unwrap();
        let listing = filter.list(folder.as_fd(), relative.as_bytes(), above).unwrap();
        let mut names: Vec<String> =
            listing.names.iter().map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect();
        names.sort();
        (names, listing.scope)
    }

    #[test]
    fn patterns_are_those_of_gitignore() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("target/target")).unwrap();
        for file in ["a.tmp", "b.tmp", "keep.tmp", "n", "target/n"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        let names = |patterns: &[&str]| {
            kept(&Filter::new(patterns.iter().copied()).unwrap(), temp.path(), "", &Scope::default()).0
        };
        assert_eq!(names(&[]), ["a.tmp", "b.tmp", "keep.tmp", "n", "target"]);
        assert_eq!(names(&["*.tmp", "!keep.tmp"]), ["keep.tmp", "n", "target"]);
        assert_eq!(names(&["n/"]), ["a.tmp", "b.tmp", "keep.tmp", "n", "target"]);
        assert_eq!(names(&["target/", "[ab].tmp"]), ["keep.tmp", "n"]);
        assert_eq!(names(&["# a comment", "", "{a,b}.tmp"]), ["keep.tmp", "n", "target"]);
        let below = |pattern: &str| {
            kept(&Filter::new([pattern]).unwrap(), temp.path(), "target", &Scope::default()).0
        };
        assert_eq!(below("n"), ["target"]);
        assert_eq!(below("/n"), ["n", "target"]);
        assert_eq!(below("target/n"), ["target"]);
        assert_eq!(below("**/target/target"), ["n"]);
        for bad in ["a{b", "[z-a]"] {
            let wrong = Filter::new(["fine", bad]);
            assert!(matches!(wrong, Err(Error::Pattern { pattern, .. }) if pattern == bad));
        }
    }

    #[test]
    fn ignore_files_count_where_they_are_and_below() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("sub")).unwrap();
        for file in ["a.o", "b.o", "c.o", "sub/a.o", "sub/b.o", "sub/c.o", "sub/x"] {
            fs::write(temp.path().join(file), "").unwrap();
        }
        fs::write(temp.path().join(".gitignore"), "*.o\n/x\n").unwrap();
        fs::write(temp.path().join(".keywardignore"), "!a.o\r\n").unwrap();
        fs::write(temp.path().join("sub/.ignore"), "!b.o\n/x\n").unwrap();
        let mut filter = Filter { ignore_files: true, ..Filter::default() };
        let (names, scope) = kept(&filter, temp.path(), "", &Scope::default());
        assert_eq!(names, [".gitignore", ".keywardignore", "a.o", "sub"]);
        assert_eq!(kept(&filter, temp.path(), "sub", &scope).0, [".ignore", "a.o", "b.o"]);
        // What was asked for comes first.
        filter = Filter { ignore_files: true, ..Filter::new(["a.*", "!c.o"]).unwrap() };
        let (names, scope) = kept(&filter, temp.path(), "", &Scope::default());
        assert_eq!(names, [".gitignore", ".keywardignore", "c.o", "sub"]);
        assert_eq!(kept(&filter, temp.path(), "sub", &scope).0, [".ignore", "b.o", "c.o"]);
        // Unless it is asked for, no file in the tree says what is sealed.
        assert_eq!(kept(&Filter::default(), temp.path(), "sub", &Scope::default()).0.len(), 5);
    }

    #[test]
    fn an_ignore_file_that_is_none_is_told() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join(".gitignore"), b"a\nb{\nc\xff\n").unwrap();
        fs::create_dir(temp.path().join(".ignore")).unwrap();
        rustix::fs::mknodat(
            File::open(temp.path()).unwrap(),
            ".keywardignore",
            FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        fs::write(temp.path().join("a"), "").unwrap();
        let folder = File::open(temp.path()).unwrap();
        let filter = Filter { ignore_files: true, ..Filter::default() };
        let listing = filter.list(folder.as_fd(), b"", &Scope::default()).unwrap();
        assert_eq!(listing.unread, IGNORE_FILES);
        assert_eq!((listing.names.len(), listing.excluded), (3, 1));
    }

    #[test]
    fn of_a_cache_its_tag_alone_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("data"), "").unwrap();
        fs::write(temp.path().join(TAG_FILE), "Signature: something else").unwrap();
        let filter = Filter { caches: true, ..Filter::default() };
        assert_eq!(kept(&filter, temp.path(), "", &Scope::default()).0, [TAG_FILE, "data"]);
        fs::write(temp.path().join(TAG_FILE), [&TAG[..], b"\n# of a browser\n"].concat()).unwrap();
        assert_eq!(kept(&filter, temp.path(), "", &Scope::default()).0, [TAG_FILE]);
        assert_eq!(kept(&Filter::default(), temp.path(), "", &Scope::default()).0, [TAG_FILE, "data"]);
    }
}
