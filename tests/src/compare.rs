//! What a file system says about a tree, and whether two trees say the same.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File, Metadata},
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// Every entry of a tree by its path within it; the tree itself is the empty path.
pub type Snapshot = BTreeMap<PathBuf, Entry>;

/// One entry: kind, mode, time of last change to the nanosecond, and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    kind: Kind,
    mode: u32,
    modified: (i64, i64),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Folder,
    Link(OsString),
    /// The first path, in order, of those that are one file by hard links; its size and digest.
    File {
        same_as: PathBuf,
        size: u64,
        digest: [u8; 32],
    },
    Other(u32),
}

/// Reads a tree.
pub fn snapshot(tree: &Path) -> Snapshot {
    let mut entries = Snapshot::new();
    let mut first_names = BTreeMap::new();
    visit(tree, Path::new(""), &mut entries, &mut first_names);
    entries
}

fn visit(
    tree: &Path,
    relative: &Path,
    entries: &mut Snapshot,
    first_names: &mut BTreeMap<(u64, u64), PathBuf>,
) {
    // `join("")` would end in a slash and follow a link.
    let path = if relative.as_os_str().is_empty() { tree.to_owned() } else { tree.join(relative) };
    let metadata = fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let kind = if metadata.is_dir() {
        let mut names: Vec<_> =
            fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            visit(tree, &relative.join(name), entries, first_names);
        }
        Kind::Folder
    } else if metadata.is_symlink() {
        Kind::Link(fs::read_link(&path).unwrap().into_os_string())
    } else if metadata.is_file() {
        file_kind(&path, relative, &metadata, first_names)
    } else {
        Kind::Other(metadata.mode())
    };
    // A link's own mode means nothing.
    let mode = if metadata.is_symlink() { 0 } else { metadata.permissions().mode() & 0o7777 };
    let modified = (metadata.mtime(), metadata.mtime_nsec());
    entries.insert(relative.to_owned(), Entry { kind, mode, modified });
}

fn file_kind(
    path: &Path,
    relative: &Path,
    metadata: &Metadata,
    first_names: &mut BTreeMap<(u64, u64), PathBuf>,
) -> Kind {
    let mut hash = Sha256::new();
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    let same_as =
        first_names.entry((metadata.dev(), metadata.ino())).or_insert_with(|| relative.to_owned()).clone();
    Kind::File { same_as, size: metadata.len(), digest: hash.finalize().into() }
}

/// Asserts that two trees are the same in names, kinds, modes, link targets, times, hard links and content.
#[track_caller]
pub fn assert_same(expected: &Snapshot, actual: &Snapshot) {
    let mut differences = Vec::new();
    for (path, entry) in expected {
        match actual.get(path) {
            None => differences.push(format!("{path:?} is missing")),
            Some(other) if other != entry => {
                differences.push(format!("{path:?} was {entry:?}\n    and is {other:?}"));
            }
            Some(_) => {}
        }
    }
    let extra = actual.keys().filter(|path| !expected.contains_key(*path));
    differences.extend(extra.map(|path| format!("{path:?} is new")));
    assert!(
        differences.is_empty(),
        "{} differences, first of them:\n{}",
        differences.len(),
        differences.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n")
    );
}
