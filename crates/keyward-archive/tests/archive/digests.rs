//! What is told of an archive as a whole, and an archive that is held to it.

use std::fs;

use keyward_archive::{
    Error, ExtractOptions, Overwrite, Progress, SealOptions, Sealed, prepare_stream, prepare_tree,
    seal_stream_to, seal_tree_to,
};
use sha2::{Digest, Sha256};

use crate::support::{names, noise, recipients, seal, unlock};

fn tree(at: &std::path::Path) -> std::path::PathBuf {
    let tree = at.join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("noise"), noise(3_000_000)).unwrap();
    fs::write(tree.join("small"), b"small").unwrap();
    tree
}

#[test]
fn a_report_tells_the_digests_of_the_file() {
    let temp = tempfile::tempdir().unwrap();
    let tree = tree(temp.path());
    let file = tree.join("noise");
    for (source, name) in [(&tree, "tree.age"), (&file, "file.age")] {
        let archive = temp.path().join(name);
        let report = seal(&[source], &archive).unwrap();
        let bytes = fs::read(&archive).unwrap();
        assert_eq!(report.sealed, bytes.len() as u64);
        assert_eq!(report.blake3, *blake3::hash(&bytes).as_bytes());
        let sealed = Sealed::open(&archive).unwrap();
        let head = &bytes[..sealed.header().len() + 16];
        assert_eq!(report.header, *Sha256::digest(head).as_slice());
        assert_eq!(sealed.header_digest(), report.header);
        assert_eq!(sealed.digest(&()).unwrap(), report.blake3);
        assert_eq!(sealed.size(), report.sealed);
    }
    let options = SealOptions::default();
    let (bytes, report) = seal_tree_to(&[tree], &recipients(), Vec::new(), &options, &()).unwrap();
    assert_eq!(report.blake3, *blake3::hash(&bytes).as_bytes());
    let (bytes, report) = seal_stream_to(&mut &b""[..], &recipients(), Vec::new(), &options, &()).unwrap();
    assert_eq!(report.blake3, *blake3::hash(&bytes).as_bytes());
    assert_eq!(report.sealed, bytes.len() as u64);
}

#[test]
fn what_is_prepared_appears_when_published_and_else_never() {
    let temp = tempfile::tempdir().unwrap();
    let tree = tree(temp.path());
    let (to, options) = (temp.path().join("a.age"), SealOptions::default());
    let prepared = prepare_tree(&[tree], &recipients(), &to, &options, &()).unwrap();
    assert!(!to.exists());
    assert_eq!(prepared.report().entries, 3);
    drop(prepared);
    assert_eq!(names(temp.path()), ["tree"]);

    let prepared = prepare_stream(&mut &b"stream"[..], &recipients(), &to, &options, &()).unwrap();
    let report = prepared.report().clone();
    assert_eq!(prepared.publish().unwrap(), report);
    assert_eq!(report.blake3, *blake3::hash(&fs::read(&to).unwrap()).as_bytes());

    let to = temp.path().join("b.age");
    let prepared = prepare_stream(&mut &b"stream"[..], &recipients(), &to, &options, &()).unwrap();
    fs::write(&to, "theirs").unwrap();
    assert!(matches!(prepared.publish(), Err(Error::Exists { .. })));
    assert_eq!(fs::read(&to).unwrap(), b"theirs");
    assert_eq!(names(temp.path()), ["a.age", "b.age", "tree"]);
}

#[test]
fn another_archive_than_was_expected_is_never_published() {
    let temp = tempfile::tempdir().unwrap();
    let tree = tree(temp.path());
    let archive = temp.path().join("a.age");
    let report = seal(&[&tree], &archive).unwrap();
    let mut other = report.blake3;
    other[31] ^= 1;
    let out = temp.path().join("out");
    let everything = ExtractOptions::default();
    let wrong = || unlock(&archive).unwrap().expecting(other);
    let refused = |error: Error| {
        assert!(matches!(error, Error::Digest { found, .. } if found == report.blake3), "{error}");
        assert_eq!(names(temp.path()), ["a.age", "tree"]);
    };
    refused(wrong().extract(&out, &everything, &()).unwrap_err());
    refused(wrong().copy_to_file(&out, Overwrite::Refuse, 2, &()).unwrap_err());
    refused(wrong().copy_to(&mut Vec::new(), 1, &()).unwrap_err());
    // A part is read as ever: its chunks verify, and nobody has the whole.
    assert_eq!(wrong().cat(b"tree/small", &mut Vec::new(), &()).unwrap(), 5);

    let right = || unlock(&archive).unwrap().expecting(report.blake3);
    right().extract(&out, &everything, &()).unwrap();
    assert_eq!(fs::read(out.join("tree/small")).unwrap(), b"small");
    let mut plain = Vec::new();
    right().copy_to(&mut plain, 2, &()).unwrap();
    assert!(zstd::decode_all(plain.as_slice()).unwrap().windows(10).any(|part| part == b"tree/small"));
}

#[test]
fn a_stop_ends_the_digest_of_an_archive_and_a_cut_header_has_none() {
    struct Stopped;
    impl Progress for Stopped {
        fn stopped(&self) -> bool {
            true
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let archive = temp.path().join("a.age");
    seal(&[&tree(temp.path())], &archive).unwrap();
    let sealed = Sealed::open(&archive).unwrap();
    assert!(matches!(sealed.digest(&Stopped), Err(Error::Interrupted)));
    let bytes = fs::read(&archive).unwrap();
    fs::write(&archive, &bytes[..sealed.header().len() + 15]).unwrap();
    assert!(matches!(Sealed::open(&archive), Err(Error::Age(keyward_age::Error::Truncated))));
}
