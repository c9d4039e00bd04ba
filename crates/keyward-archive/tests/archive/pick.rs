//! One file, or some paths, out of an archive: the same as from the whole, and no more is read than
//! that takes.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use keyward_archive::{Archive, Error, ExtractOptions, ExtractReport, Kind, Progress, Unsafe};
use proptest::prelude::*;

use crate::hostile::Tar;
use crate::round_trip::{build, planned, same};
use crate::support::*;

fn only(paths: &[&[u8]]) -> ExtractOptions {
    ExtractOptions { only: paths.iter().map(|path| path.to_vec()).collect(), ..ExtractOptions::default() }
}

fn cat(archive: &Archive, path: &[u8]) -> Result<Vec<u8>, Error> {
    let mut content = Vec::new();
    let length = archive.cat(path, &mut content, &())?;
    assert_eq!(length as usize, content.len());
    Ok(content)
}

/// The picture of a folder that holds `tree`, of which only some paths are left. Names of one file
/// have the first of those names in common.
fn part(whole: &Picture, mut keep: impl FnMut(&[u8]) -> bool) -> Picture {
    let mut firsts = BTreeMap::new();
    whole
        .iter()
        .filter(|(path, _)| keep(path))
        .map(|(path, seen)| {
            let mut seen = seen.clone();
            seen.first = firsts.entry(seen.first).or_insert_with(|| path.clone()).clone();
            (path.clone(), seen)
        })
        .collect()
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path == folder || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with(b"/"))
}

/// A tar without an index.
fn foreign(temp: &Path, tar: Tar) -> Archive {
    let sealed = temp.join("foreign.age");
    seal_bytes(&tar.end(), &sealed);
    unlock(&sealed).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 15, ..ProptestConfig::default() })]

    #[test]
    fn each_entry_alone_is_as_in_the_whole(
        plan in proptest::collection::vec(planned(), 1..30),
        chosen in proptest::collection::vec(any::<prop::sample::Index>(), 1..4),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let source = temp.path().join("source");
        fs::create_dir(&source).unwrap();
        build(&source.join("tree"), &plan);
        let sealed = temp.path().join("tree.age");
        seal(&[&source.join("tree")], &sealed).unwrap();
        let mut whole = picture(&source);
        whole.remove(&b""[..]);

        let archive = unlock(&sealed).unwrap();
        let entries = archive.index(&()).unwrap().entries;
        let tar = run("zstd", &["-dc"], temp.path(), decrypted(&sealed));
        let plain = temp.path().join("plain.age");
        seal_bytes(&tar, &plain);
        let plain = unlock(&plain).unwrap();
        for (number, entry) in entries.iter().enumerate() {
            let seen = &whole[&entry.path];
            let is_file = seen.mode & 0o170_000 == 0o100_000;
            let found = cat(&archive, &entry.path);
            match found {
                Ok(content) => prop_assert!(is_file && content == seen.contents),
                Err(Error::NotAFile { .. }) => prop_assert!(!is_file),
                Err(error) => prop_assert!(false, "{}", error),
            }
            if is_file && number < 8 {
                prop_assert!(cat(&plain, &entry.path).unwrap() == seen.contents);
            }
        }

        let chosen: Vec<&[u8]> = chosen.iter().map(|at| at.get(&entries).path.as_slice()).collect();
        let expected = part(&whole, |path| {
            chosen.iter().any(|chosen| is_below(path, chosen) || is_below(chosen, path))
        });
        for (archive, indexed) in [(&archive, true), (&plain, false)] {
            let out = temp.path().join(format!("out-{indexed}"));
            let report = archive.extract(&out, &only(&chosen), &()).unwrap();
            prop_assert_eq!(report.indexed, indexed);
            prop_assert_eq!(report.entries as usize, expected.len());
            prop_assert_eq!(&report.tops, &[b"tree".to_vec()]);
            let mut found = picture(&out);
            found.remove(&b""[..]);
            same(&expected, &part(&found, |_| true));
        }
    }
}

/// Where the payload's chunks begin in a sealed file.
fn chunks(bytes: &[u8]) -> Vec<usize> {
    let header = bytes.windows(4).position(|four| four == b"--- ").unwrap() + 4 + 43 + 1;
    (header + 16..bytes.len()).step_by(65_536 + 16).collect()
}

#[test]
fn what_is_not_needed_is_not_read() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    let contents = noise(10_000_000);
    for (number, content) in contents.chunks(500_000).enumerate() {
        fs::write(tree.join(format!("d/{number:02}")), content).unwrap();
    }
    let sealed = temp.path().join("a.age");
    seal(&[&tree], &sealed).unwrap();
    let good = fs::read(&sealed).unwrap();
    let chunks = chunks(&good);
    assert!(chunks.len() > 100);
    let expected = &contents[5 * 500_000..6 * 500_000];
    // A chunk was read if spoiling it is noticed; no spoilt one gives other bytes.
    let (mut by_cat, mut by_open) = (Vec::new(), Vec::new());
    for (number, chunk) in chunks.iter().enumerate() {
        let mut spoilt = good.clone();
        spoilt[chunk + 40] ^= 1;
        fs::write(&sealed, spoilt).unwrap();
        let noticed = |error: Error| match error {
            Error::Age(_) => number,
            error => panic!("chunk {number}: {error}"),
        };
        let archive = match unlock(&sealed) {
            Ok(archive) => archive,
            Err(error) => panic!("chunk {number}: {error}"),
        };
        let mut content = Vec::new();
        match archive.cat(b"tree/d/05", &mut content, &()) {
            Ok(_) => assert!(content == expected),
            Err(error) => {
                by_cat.push(noticed(error));
                assert!(expected.starts_with(&content));
            }
        }
        let out = temp.path().join("out");
        match archive.extract(&out, &only(&[b"tree/d/05"]), &()) {
            Ok(_) => {
                assert!(fs::read(out.join("tree/d/05")).unwrap() == expected);
                fs::remove_dir_all(&out).unwrap();
            }
            Err(error) => by_open.push(noticed(error)),
        }
        assert_eq!(names(temp.path()), ["a.age", "tree"]);
    }
    // The end, and the one or two frames of a MiB (17 chunks each) in which the file lies; for the
    // folders on the way also the beginning of the first one.
    let last = chunks.len() - 1;
    assert!(by_cat.contains(&last) && by_cat.len() <= 2 * 17 + 2, "{by_cat:?}");
    assert!(by_open.contains(&0) && by_open.len() <= 2 * 17 + 6, "{by_open:?}");
}

#[test]
fn a_path_that_is_not_there_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/a"), "a").unwrap();
    fs::write(tree.join("d.b"), "b").unwrap();
    let sealed = temp.path().join("a.age");
    seal(&[&tree], &sealed).unwrap();
    let archive = unlock(&sealed).unwrap();
    let out = temp.path().join("out");
    for absent in [&b"tree/d/b"[..], b"d", b"tree/d/a/x", b"", b"/tree/d/a", b"tree/../tree/d/a", b"tr"] {
        let named = |error| matches!(error, Error::NoEntry { path } if path == absent);
        assert!(named(cat(&archive, absent).unwrap_err()));
        assert!(named(archive.extract(&out, &only(&[b"tree/d/a", absent]), &()).unwrap_err()));
    }
    assert_eq!(names(temp.path()), ["a.age", "tree"]);
    for folder in [&b"tree"[..], b"tree/d/"] {
        assert!(matches!(cat(&archive, folder), Err(Error::NotAFile { what: "a folder", .. })));
    }
    assert_eq!(cat(&archive, b"./tree//d/a").unwrap(), b"a");
    let report = archive.extract(&out, &only(&[b"./tree/d/", b"tree/d/a"]), &()).unwrap();
    assert_eq!((report.entries, report.bytes), (3, 1));
    assert_eq!(names(&out.join("tree")), ["d"]);
    archive.extract(&temp.path().join("all"), &only(&[b"."]), &()).unwrap();
    same(&picture(&tree), &picture(&temp.path().join("all/tree")));
}

#[test]
fn hard_links_bring_their_content() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default()
        .file("a/one")
        .symlink("a/to", "one")
        .hard_link("b/two", "a/one")
        .hard_link("b/three", "./a/one")
        .hard_link("c/four", "b/two")
        .hard_link("c/to", "a/to");
    let archive = foreign(temp.path(), tar);
    for path in ["a/one", "b/two", "b/three", "c/four"] {
        assert_eq!(cat(&archive, path.as_bytes()).unwrap(), b"contents", "{path}");
    }
    assert!(matches!(cat(&archive, b"c/to"), Err(Error::NotAFile { what: "a symbolic link", .. })));
    let mut turn = 0;
    let mut extract = |paths: &[&[u8]]| -> (Result<ExtractReport, Error>, Picture) {
        turn += 1;
        let out = temp.path().join(turn.to_string());
        let done = archive.extract(&out, &only(paths), &());
        let picture = if out.exists() { picture(&out) } else { Picture::new() };
        (done, picture)
    };
    let first = |picture: &Picture, path: &[u8]| picture[path].first.clone();

    let (done, seen) = extract(&[b"b"]);
    assert_eq!(done.unwrap().entries, 2);
    assert_eq!(seen[&b"b/two"[..]].contents, b"contents");
    assert_eq!(first(&seen, b"b/two"), first(&seen, b"b/three"));
    assert!(!seen.contains_key(&b"a"[..]));
    // Through a link that is itself one of a file outside.
    let (done, seen) = extract(&[b"b/two", b"c/four"]);
    assert_eq!(done.unwrap().entries, 2);
    assert_eq!(first(&seen, b"b/two"), first(&seen, b"c/four"));
    // A symbolic link has two names.
    let (done, seen) = extract(&[b"c/to"]);
    done.unwrap();
    assert_eq!(seen[&b"c/to"[..]].contents, b"one");
    // The entry that this one names is itself another's name: refused, not guessed.
    let (done, seen) = extract(&[b"c/four"]);
    let refused = |entry: &[u8], why: Unsafe, done: Result<ExtractReport, Error>| {
        let error = done.unwrap_err();
        assert!(
            matches!(&error, Error::UnsafeEntry { entry: named, reason } if named == entry && *reason == why),
            "{error}"
        );
    };
    refused(b"c/four", Unsafe::LinkTarget, done);
    assert!(seen.is_empty());
}

#[test]
fn what_a_whole_archive_is_refused_for_some_paths_are_too() {
    let rows: [(&str, Tar, &str, Unsafe); 8] = [
        ("to nothing", Tar::default().hard_link("l", "gone"), "l", Unsafe::LinkTarget),
        ("to itself", Tar::default().hard_link("l", "l"), "l", Unsafe::LinkTarget),
        ("to a later one", Tar::default().hard_link("l", "a").file("a"), "l", Unsafe::LinkTarget),
        ("to a folder", Tar::default().folder("a").hard_link("l", "a"), "l", Unsafe::LinkTarget),
        ("out of the tree", Tar::default().hard_link("l", "../a"), "l", Unsafe::LinkTarget),
        ("twice", Tar::default().file("l").file("l"), "l", Unsafe::Twice),
        (
            "a link twice",
            Tar::default().file("a").hard_link("l", "a").hard_link("l", "a"),
            "l",
            Unsafe::Twice,
        ),
        (
            "a link that leads out from its other name",
            Tar::default().symlink("d/e/s", "../../x").hard_link("l", "d/e/s"),
            "l",
            Unsafe::LinkOut,
        ),
    ];
    for (row, tar, path, why) in rows {
        let temp = tempfile::tempdir().unwrap();
        let archive = foreign(temp.path(), tar);
        let done = archive.extract(&temp.path().join("out"), &only(&[path.as_bytes()]), &());
        match done {
            Err(Error::UnsafeEntry { entry, reason }) => {
                assert_eq!((entry.as_slice(), reason), (path.as_bytes(), why), "{row}");
            }
            other => panic!("{row}: {other:?}"),
        }
        assert_eq!(names(temp.path()), ["foreign.age"], "{row}");
        assert!(cat(&archive, path.as_bytes()).is_err(), "{row}");
    }
    // Through a link that was made, nothing is written.
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default().folder("d").symlink("s", "d").hard_link("l", "s").file("l/x");
    let archive = foreign(temp.path(), tar);
    let error = archive.extract(&temp.path().join("out"), &only(&[b"l"]), &()).unwrap_err();
    assert!(matches!(error, Error::UnsafeEntry { reason: Unsafe::Through, .. }), "{error}");
    assert_eq!(names(temp.path()), ["foreign.age"]);
}

#[test]
fn a_stop_is_heeded() {
    struct Stopped;
    impl Progress for Stopped {
        fn stopped(&self) -> bool {
            true
        }
    }
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("file");
    fs::write(&file, noise(100_000)).unwrap();
    let folder = temp.path().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::rename(file, folder.join("file")).unwrap();
    let sealed = temp.path().join("a.age");
    seal(&[&folder], &sealed).unwrap();
    let archive = unlock(&sealed).unwrap();
    assert!(matches!(archive.cat(b"tree/file", &mut Vec::new(), &Stopped), Err(Error::Interrupted)));
    let out = temp.path().join("out");
    assert!(matches!(archive.extract(&out, &only(&[b"tree"]), &Stopped), Err(Error::Interrupted)));
    assert_eq!(names(temp.path()), ["a.age", "tree"]);
    assert!(archive.index(&()).unwrap().entries.iter().any(|entry| entry.kind == Kind::File));
}
