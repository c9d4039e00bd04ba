//! Destinations that are taken, work that is stopped, and what is left then.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicU64, Ordering};

use keyward_archive::{Error, ExtractOptions, Overwrite, Progress, SealOptions, Sealed, seal_tree};

use crate::support::*;

/// Counts, and stops after so many bytes.
#[derive(Default)]
struct Watch {
    stop_after: Option<u64>,
    found: [AtomicU64; 2],
    done: [AtomicU64; 2],
}

impl Progress for Watch {
    fn wants_total(&self) -> bool {
        true
    }

    fn found(&self, entries: u64, bytes: u64) {
        self.found[0].fetch_add(entries, Ordering::SeqCst);
        self.found[1].fetch_add(bytes, Ordering::SeqCst);
    }

    fn done(&self, entries: u64, bytes: u64) {
        self.done[0].fetch_add(entries, Ordering::SeqCst);
        self.done[1].fetch_add(bytes, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.stop_after.is_some_and(|bytes| self.done[1].load(Ordering::SeqCst) >= bytes)
    }
}

#[test]
fn an_existing_destination_is_not_touched() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let (sealed, taken) = (temp.path().join("a.age"), temp.path().join("taken"));
    seal(&[&tree], &sealed).unwrap();
    fs::write(&taken, "theirs").unwrap();
    symlink("nowhere", temp.path().join("dangling")).unwrap();
    assert!(matches!(seal(&[&tree], &taken), Err(Error::Exists { path }) if path == taken));
    assert!(matches!(seal(&[&tree], &temp.path().join("dangling")), Err(Error::Exists { .. })));
    let archive = unlock(&sealed).unwrap();
    assert!(matches!(archive.copy_to_file(&taken, Overwrite::Refuse, 1, &()), Err(Error::Exists { .. })));
    assert!(matches!(extract(&sealed, &taken), Err(Error::DestinationNotFolder { .. })));
    assert!(matches!(
        extract(&sealed, &temp.path().join("dangling")),
        Err(Error::DestinationNotFolder { .. })
    ));
    assert!(matches!(extract(&sealed, &tree.join("no/such")), Err(Error::Io { .. })));
    fs::write(tree.join("f"), "x").unwrap();
    assert!(matches!(extract(&sealed, &tree), Err(Error::DestinationNotEmpty { .. })));
    assert_eq!(fs::read(&taken).unwrap(), b"theirs");
    assert_eq!(names(&tree), ["f"]);
    assert_eq!(names(temp.path()), ["a.age", "dangling", "taken", "tree"]);
    let replace = SealOptions { overwrite: Overwrite::Replace, ..SealOptions::default() };
    seal_tree(&[tree], &recipients(), &taken, &replace, &()).unwrap();
    extract(&taken, &temp.path().join("out")).unwrap();
    assert_eq!(names(&temp.path().join("out/tree")), ["f"]);
}

#[test]
fn what_is_no_archive_says_so() {
    let temp = tempfile::tempdir().unwrap();
    assert!(matches!(Sealed::open(temp.path().join("none")), Err(Error::Missing { .. })));
    run("mkfifo", &["fifo"], temp.path(), Vec::new());
    assert!(matches!(Sealed::open(temp.path().join("fifo")), Err(Error::NotAnArchive { .. })));
    assert!(matches!(Sealed::open(temp.path()), Err(Error::NotAnArchive { .. })));
    for bytes in [&b""[..], b"hello\n", &[0; 5000]] {
        fs::write(temp.path().join("f"), bytes).unwrap();
        assert!(matches!(Sealed::open(temp.path().join("f")), Err(Error::NotAnArchive { .. })));
    }
}

#[test]
fn progress_is_told_and_can_stop() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    for n in 0..5 {
        fs::write(tree.join(format!("d/{n}")), vec![n; 3_000_000]).unwrap();
    }
    let sources = [tree.clone()];
    let sealed = temp.path().join("a.age");
    let stopped = Watch { stop_after: Some(5_000_000), ..Watch::default() };
    let result = seal_tree(&sources, &recipients(), &sealed, &SealOptions::default(), &stopped);
    assert!(matches!(result, Err(Error::Interrupted)));
    assert_eq!(names(temp.path()), ["tree"]);

    let watch = Watch::default();
    let report = seal_tree(&sources, &recipients(), &sealed, &SealOptions::default(), &watch).unwrap();
    assert_eq!((report.entries, report.bytes), (7, 15_000_000));
    let done = [watch.done[0].load(Ordering::SeqCst), watch.done[1].load(Ordering::SeqCst)];
    assert_eq!(done, [7, 15_000_000]);
    assert!(watch.found[0].load(Ordering::SeqCst) <= 7);

    let archive = unlock(&sealed).unwrap();
    let out = temp.path().join("out");
    for there in [false, true] {
        if there {
            fs::create_dir(&out).unwrap();
        }
        let stopped = Watch { stop_after: Some(7_000_000), ..Watch::default() };
        let result = archive.extract(&out, &ExtractOptions::default(), &stopped);
        assert!(matches!(result, Err(Error::Interrupted)));
        assert_eq!(out.exists(), there);
        assert!(!there || names(&out).is_empty());
        let stopped = Watch { stop_after: Some(0), ..Watch::default() };
        let copied = archive.copy_to_file(&temp.path().join("copy"), Overwrite::Refuse, 1, &stopped);
        assert!(matches!(copied, Err(Error::Interrupted)));
        assert!(!names(temp.path()).iter().any(|name| name.starts_with('.') || name == "copy"));
    }
    let watch = Watch::default();
    archive.extract(&out, &ExtractOptions::default(), &watch).unwrap();
    for counters in [&watch.found, &watch.done] {
        assert_eq!((counters[0].load(Ordering::SeqCst), counters[1].load(Ordering::SeqCst)), (7, 15_000_000));
    }
}

#[test]
fn the_totals_come_from_the_end_of_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "12345").unwrap();
    seal(&[&tree], &temp.path().join("a.age")).unwrap();
    let totals = unlock(&temp.path().join("a.age")).unwrap().totals().unwrap().unwrap();
    assert_eq!((totals.entries, totals.bytes), (2, 5));
    seal_bytes(b"text", &temp.path().join("b.age"));
    assert_eq!(unlock(&temp.path().join("b.age")).unwrap().totals().unwrap(), None);
}
