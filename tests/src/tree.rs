//! Trees to seal: real files of this machine, and everything odd that a file system allows.

use std::{
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{MetadataExt, PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};

use crate::{Noise, programs};

/// How many files of this machine a real tree has.
pub const EVERYDAY_FILES: usize = 5_000;
/// Larger files of the machine are left out, so that their number counts and not their size.
const LARGEST_COPY: u64 = 256 << 10;
/// The one large file: 100 MB.
const LARGE: u64 = 100_000_000;

/// Makes `folder` with [`EVERYDAY_FILES`] files copied from this machine, a file of 100 MB, and the oddities.
pub fn real_tree(folder: &Path) {
    fs::create_dir(folder).unwrap();
    copy_real_files(&folder.join("real"), EVERYDAY_FILES);
    let mut large = File::create(folder.join("large.bin")).unwrap();
    Noise::new(1).write(&mut large, LARGE).unwrap();
    drop(large);
    odd_entries(&folder.join("odd"));
    set_times(folder);
}

/// Makes `folder` with a few files, the oddities and nothing large.
pub fn small_tree(folder: &Path) {
    fs::create_dir(folder).unwrap();
    fs::write(folder.join("letter.txt"), "Dear bob,\nthe photos are in the usual place.\n").unwrap();
    let mut picture = File::create(folder.join("picture.raw")).unwrap();
    Noise::new(2).write(&mut picture, 3 << 20).unwrap();
    drop(picture);
    odd_entries(&folder.join("odd"));
    set_times(folder);
}

/// Copies `wanted` files, with their folders and modes, from what every development machine has.
fn copy_real_files(target: &Path, wanted: usize) {
    fs::create_dir(target).unwrap();
    let mut sources = vec![PathBuf::from("/usr/share/doc"), PathBuf::from("/usr/include")];
    sources.extend(programs::cargo_registry());
    sources.push(PathBuf::from("/usr/lib"));
    let mut copied = 0;
    for (number, source) in sources.iter().enumerate() {
        copy_folder(source, &target.join(format!("from-{number}")), wanted, &mut copied);
    }
    assert_eq!(copied, wanted, "this machine has too few files under {sources:?}");
}

fn copy_folder(source: &Path, target: &Path, wanted: usize, copied: &mut usize) {
    let Ok(entries) = fs::read_dir(source) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        if *copied == wanted {
            return;
        }
        let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
        let destination = target.join(path.file_name().unwrap());
        if metadata.is_dir() {
            copy_folder(&path, &destination, wanted, copied);
        } else if metadata.is_file() && metadata.len() <= LARGEST_COPY {
            fs::create_dir_all(target).unwrap();
            // A file may be unreadable for this user, or go while a package manager works.
            if fs::copy(&path, &destination).is_ok() {
                *copied += 1;
            }
        }
    }
}

/// Names that break programs which take a name for text.
fn odd_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"two\nlines"[..],
        b"tab\there",
        b"-leading-dash",
        b"--help",
        b" spaces at both ends ",
        b"...",
        b"back\\slash",
        b"quote\"and'quote",
        b"$(not-run)`not-run`",
        b"*?[glob]",
        b"esc\x1b[31mred",
        "caf\u{e9}".as_bytes(),
        "cafe\u{301}".as_bytes(),
        "写真".as_bytes(),
        b"not-utf8-\xff\xfe",
        b"latin1-caf\xe9",
        b"a=b",
        b"C:colon",
    ]
    .iter()
    .map(|name| name.to_vec())
    .collect();
    names.push(vec![b'n'; 255]);
    names
}

fn odd_entries(folder: &Path) {
    fs::create_dir(folder).unwrap();
    let names = folder.join("names");
    fs::create_dir(&names).unwrap();
    for name in odd_names() {
        fs::write(names.join(OsStr::from_bytes(&name)), &name).unwrap();
    }
    let odd_folder = names.join(OsStr::from_bytes(b"folder\n\xff"));
    fs::create_dir(&odd_folder).unwrap();
    fs::write(odd_folder.join("inside"), "inside").unwrap();

    // Longer than the 255 bytes that a plain tar header can say.
    let mut deep = folder.join("deep");
    for level in 0..12 {
        deep.push(format!("{level:02}-{}", "d".repeat(97)));
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("at the bottom"), "deep").unwrap();

    let empty = folder.join("empty");
    fs::create_dir_all(empty.join("folder/in a folder")).unwrap();
    fs::write(empty.join("file"), "").unwrap();

    links(&folder.join("links"));
    modes(&folder.join("modes"));
}

fn links(folder: &Path) {
    fs::create_dir_all(folder.join("inner")).unwrap();
    fs::write(folder.join("target"), "the target").unwrap();
    symlink("target", folder.join("relative")).unwrap();
    symlink("inner", folder.join("to-folder")).unwrap();
    symlink("../target", folder.join("inner/upwards")).unwrap();
    symlink("nowhere", folder.join("dangling")).unwrap();
    symlink("relative", folder.join("to-link")).unwrap();
    symlink("itself", folder.join("itself")).unwrap();
    symlink(OsStr::from_bytes(b"bytes-\xff\n"), folder.join("odd-target")).unwrap();
    symlink("t".repeat(300), folder.join("long-target")).unwrap();
    fs::hard_link(folder.join("target"), folder.join("hard")).unwrap();
    fs::hard_link(folder.join("target"), folder.join("inner/hard")).unwrap();
}

/// Adds links that lead out of the tree, which opening refuses unless it is told to make them.
pub fn links_out(folder: &Path) {
    symlink("/etc/hostname", folder.join("absolute")).unwrap();
    symlink("/nonexistent/keyward", folder.join("absolute-dangling")).unwrap();
    symlink("../../../../outside", folder.join("climbing")).unwrap();
    set_times(folder);
}

fn modes(folder: &Path) {
    fs::create_dir(folder).unwrap();
    for mode in [0o400, 0o444, 0o600, 0o640, 0o644, 0o664, 0o700, 0o750, 0o755, 0o777] {
        let file = folder.join(format!("file-{mode:o}"));
        fs::write(&file, format!("{mode:o}")).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
    }
    for mode in [0o500, 0o555, 0o700, 0o750, 0o755, 0o777] {
        let inner = folder.join(format!("folder-{mode:o}"));
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("inside"), format!("{mode:o}")).unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(mode)).unwrap();
    }
}

/// Gives every entry, links too, a time with nanoseconds, some of them before 1970 or far ahead.
fn set_times(folder: &Path) {
    let mut noise = Noise::new(3);
    set_times_below(folder, &mut noise);
}

fn set_times_below(path: &Path, noise: &mut Noise) {
    if fs::symlink_metadata(path).unwrap().is_dir() {
        let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            set_times_below(&entry, noise);
        }
    }
    let seconds = match noise.below(50) {
        0 => -86_400,
        1 => 0,
        2 => 4_102_444_800,
        _ => i64::try_from(noise.below(1_700_000_000)).unwrap(),
    };
    let time = Timespec { tv_sec: seconds, tv_nsec: i64::try_from(noise.below(1_000_000_000)).unwrap() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    debug_assert_eq!(fs::symlink_metadata(path).unwrap().mtime(), seconds);
}
