//! A disk that is full, and a run that is killed. The limit on file sizes stands in for both, since it
//! needs no rights to set: a test that finds itself unlimited starts itself again under one. Without
//! the signal SIGXFSZ a write over the limit fails, with it the process ends there.

use std::fs::{self, File};
use std::io::{self, Read};
use std::process::Command;

use keyward_archive::{Error, Overwrite, SealOptions, seal_stream_to, seal_tree};
use rustix::process::{Resource, getrlimit};

use crate::support::*;

/// Runs the named test again, with files limited to 256 KiB (512 blocks of 512 bytes) and without
/// the signal that would end it (SIGXFSZ, 25).
fn again_limited(test: &str) {
    let here = std::env::current_exe().unwrap();
    let output = Command::new("/bin/sh")
        .args(["-c", "trap '' 25; ulimit -f 512; exec \"$0\" --exact \"$1\" --test-threads=1"])
        .arg(here)
        .arg(test)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}{errors}");
}

fn limited() -> bool {
    getrlimit(Resource::Fsize).current.is_some()
}

/// Text that compresses well, and is longer than the limit.
fn large(folder: &std::path::Path) -> std::path::PathBuf {
    let sealed = folder.join("large.age");
    let tar = {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(900_000);
        header.set_mode(0o644);
        builder.append_data(&mut header, "tree/large", io::repeat(b'a').take(900_000)).unwrap();
        builder.into_inner().unwrap()
    };
    seal_bytes(&zstd::encode_all(tar.as_slice(), 3).unwrap(), &sealed);
    sealed
}

#[test]
fn opening_onto_a_full_disk_leaves_nothing() {
    if !limited() {
        return again_limited("limits::opening_onto_a_full_disk_leaves_nothing");
    }
    let temp = tempfile::tempdir().unwrap();
    let sealed = large(temp.path());
    let out = temp.path().join("out");
    match extract(&sealed, &out).unwrap_err() {
        Error::Io { path, source } => {
            assert_eq!(path, out.join("tree/large"));
            assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
        }
        other => panic!("{other}"),
    }
    assert_eq!(names(temp.path()), ["large.age"]);
    fs::create_dir(&out).unwrap();
    extract(&sealed, &out).unwrap_err();
    assert!(names(&out).is_empty());
}

#[test]
fn sealing_and_copying_onto_a_full_disk_leave_nothing() {
    if !limited() {
        return again_limited("limits::sealing_and_copying_onto_a_full_disk_leave_nothing");
    }
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for n in 0..8 {
        fs::write(tree.join(n.to_string()), noise(200_000)).unwrap();
    }
    let to = temp.path().join("a.age");
    match seal_tree(&[tree], &recipients(), &to, &SealOptions { level: 1, ..SealOptions::default() }, &()) {
        Err(Error::Io { path, source }) => {
            assert_eq!(path, to);
            assert_eq!(source.kind(), io::ErrorKind::FileTooLarge);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(temp.path()), ["tree"]);
    let sealed = temp.path().join("large.age");
    seal_bytes(&zstd::encode_all(io::repeat(b'a').take(900_000), 3).unwrap(), &sealed);
    // What is in it compressed fits, and the file in the making is not mistaken for it.
    let archive = unlock(&sealed).unwrap();
    archive.copy_to_file(&temp.path().join("copy"), Overwrite::Refuse, 1, &()).unwrap();
    assert_eq!(names(temp.path()), ["copy", "large.age", "tree"]);
}

#[test]
fn a_full_device_is_told_as_such() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let sealed = seal_stream_to(&mut &[0; 300_000][..], &recipients(), full, &SealOptions::default(), &());
    match sealed {
        Err(Error::Io { source, .. }) => assert_eq!(source.kind(), io::ErrorKind::StorageFull),
        other => panic!("{:?}", other.map(|(_, report)| report)),
    }
}

#[test]
fn a_run_that_is_killed_leaves_recognisable_names_only() {
    // The child knows by its limit what to do, in the folder where it was started.
    let here = std::path::Path::new(".");
    match getrlimit(Resource::Fsize).current {
        Some(limit) if limit == 301 * 512 => {
            panic!("sealed: {:?}", seal(&[&here.join("tree")], &here.join("new.age")))
        }
        Some(limit) if limit == 302 * 512 => {
            panic!("opened: {:?}", extract(&here.join("tree.age"), &here.join("new")))
        }
        Some(limit) if limit == 303 * 512 => {
            let copied = unlock(&here.join("file.age")).unwrap().copy_to_file(
                &here.join("new"),
                Overwrite::Refuse,
                1,
                &(),
            );
            panic!("copied: {copied:?}")
        }
        _ => {}
    }
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("file"), noise(3_000_000)).unwrap();
    seal(&[&tree], &temp.path().join("tree.age")).unwrap();
    seal(&[&tree.join("file")], &temp.path().join("file.age")).unwrap();
    for blocks in ["301", "302", "303"] {
        let output = Command::new("/bin/sh")
            .args(["-c", "ulimit -c 0; ulimit -f \"$1\"; exec \"$0\" --exact \"$2\" --test-threads=1"])
            .arg(std::env::current_exe().unwrap())
            .args([blocks, "limits::a_run_that_is_killed_leaves_recognisable_names_only"])
            .current_dir(temp.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&output.status),
            Some(25),
            "{blocks}: {text}"
        );
        let mut left = names(temp.path());
        left.retain(|name| !name.starts_with(keyward_archive::TEMPORARY_PREFIX));
        assert_eq!(left, ["file.age", "tree", "tree.age"], "{blocks}");
    }
    // What was left is in nobody's way.
    extract(&temp.path().join("tree.age"), &temp.path().join("new")).unwrap();
    assert_eq!(names(&temp.path().join("new")), ["tree"]);
}
