//! A key, folders, and pictures of trees to compare.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyward_age::{Recipient, SealWriter, SoftIdentity, Suite};
use keyward_archive::{Archive, Error, ExtractOptions, SealOptions, SealReport, Sealed, seal_tree};

pub(crate) fn identity() -> SoftIdentity {
    SoftIdentity::from_seed(Suite::Classic, &[7; 32]).unwrap()
}

pub(crate) fn recipients() -> Vec<Recipient> {
    vec![identity().recipient().unwrap()]
}

pub(crate) fn seal(sources: &[&Path], to: &Path) -> Result<SealReport, Error> {
    let sources: Vec<PathBuf> = sources.iter().map(|source| source.to_path_buf()).collect();
    seal_tree(&sources, &recipients(), to, &SealOptions::default(), &())
}

pub(crate) fn unlock(path: &Path) -> Result<Archive, Error> {
    let sealed = Sealed::open(path)?;
    let key = sealed.header().unwrap_soft(&identity()).map_err(Error::Age)?;
    Ok(sealed.unlock(key))
}

pub(crate) fn extract(path: &Path, to: &Path) -> Result<keyward_archive::ExtractReport, Error> {
    unlock(path)?.extract(to, &ExtractOptions::default(), &())
}

/// Seals bytes as they are, as stock age would.
pub(crate) fn seal_bytes(bytes: &[u8], to: &Path) {
    let mut writer =
        SealWriter::new(&recipients(), fs::File::create(to).unwrap(), Default::default()).unwrap();
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap();
}

pub(crate) fn decrypted(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    unlock(path).unwrap().copy_to(&mut bytes, 1, &()).unwrap();
    bytes
}

/// All that a tree is, by path: kind, mode, time, target or contents, and which names are one file.
pub(crate) type Picture = BTreeMap<Vec<u8>, Seen>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) mode: u32,
    pub(crate) mtime: (i64, i64),
    pub(crate) contents: Vec<u8>,
    /// The first path of the same file.
    pub(crate) first: Vec<u8>,
}

pub(crate) fn picture(root: &Path) -> Picture {
    let mut picture = Picture::new();
    let mut firsts = BTreeMap::new();
    look(root, b"", &mut picture, &mut firsts);
    picture
}

fn look(at: &Path, path: &[u8], picture: &mut Picture, firsts: &mut BTreeMap<u64, Vec<u8>>) {
    let metadata = fs::symlink_metadata(at).unwrap();
    let kind = metadata.file_type();
    let contents = if kind.is_symlink() {
        fs::read_link(at).unwrap().as_os_str().as_bytes().to_vec()
    } else if kind.is_file() {
        fs::read(at).unwrap()
    } else {
        Vec::new()
    };
    let first = if kind.is_dir() {
        path.to_vec()
    } else {
        firsts.entry(metadata.ino()).or_insert_with(|| path.to_vec()).clone()
    };
    let mtime = (metadata.mtime(), metadata.mtime_nsec());
    picture.insert(path.to_vec(), Seen { mode: metadata.mode(), mtime, contents, first });
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(at).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            let below = [path, if path.is_empty() { b"" } else { b"/" }, name.as_bytes()].concat();
            look(&at.join(&name), &below, picture, firsts);
        }
    }
}

/// Names in a folder, sorted: what is left behind.
pub(crate) fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Runs a program with `input`, and gives what it wrote; it must succeed.
pub(crate) fn run(program: &str, arguments: &[&str], folder: &Path, input: Vec<u8>) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        // A program may stop reading early; its exit code tells whether that was right.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap();
    assert!(output.status.success(), "{program} failed: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Sets the time of modification of anything, links too.
pub(crate) fn set_time(path: &Path, seconds: i64, nanos: u32) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
    let times = Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT as _ },
        last_modification: Timespec { tv_sec: seconds, tv_nsec: nanos.into() },
    };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Bytes that do not compress.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
