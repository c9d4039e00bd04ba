//! Archives that were damaged on the way or by a bucket's owner: never a wrong success, and nothing
//! left under the final name or a temporary one.

use std::fs;
use std::path::Path;

use keyward_archive::{Error, ExtractOptions, Kind, Overwrite};
use proptest::prelude::*;

use crate::support::*;

fn tree(temp: &Path) -> (std::path::PathBuf, Vec<u8>) {
    let tree = temp.join("tree");
    fs::create_dir_all(tree.join("d")).unwrap();
    fs::write(tree.join("d/noise"), noise(300_000)).unwrap();
    fs::write(tree.join("small"), "small").unwrap();
    let sealed = temp.join("a.age");
    seal(&[&tree], &sealed).unwrap();
    let bytes = fs::read(&sealed).unwrap();
    fs::remove_file(sealed).unwrap();
    (tree, bytes)
}

/// Opens damaged bytes in each way; all must fail and leave nothing.
fn fails(temp: &Path, bytes: &[u8]) -> Error {
    let work = temp.join("work");
    fs::create_dir_all(&work).unwrap();
    let sealed = work.join("a.age");
    fs::write(&sealed, bytes).unwrap();
    let out = work.join("out");
    let error = extract(&sealed, &out).unwrap_err();
    let copied = unlock(&sealed).and_then(|archive| archive.copy_to_file(&out, Overwrite::Refuse, 1, &()));
    copied.unwrap_err();
    assert_eq!(names(&work), ["a.age"], "{error}");
    fs::remove_dir_all(&work).unwrap();
    error
}

#[test]
fn cut_extended_and_reordered() {
    let temp = tempfile::tempdir().unwrap();
    let (_, bytes) = tree(temp.path());
    let header = bytes.windows(4).position(|four| four == b"--- ").unwrap() + 4 + 43 + 1;
    let payload = header + 16;
    const CHUNK: usize = 65_536 + 16;
    assert!(bytes.len() > payload + 3 * CHUNK);
    for end in
        [0, 10, header - 1, header, payload - 1, payload, payload + 1, payload + CHUNK, bytes.len() - 1]
    {
        fails(temp.path(), &bytes[..end]);
    }
    for more in [&b"x"[..], &[0; 100_000], &bytes[payload..payload + CHUNK], &bytes] {
        fails(temp.path(), &[&bytes, more].concat());
    }
    let mut swapped = bytes.clone();
    let (first, second) = swapped[payload..].split_at_mut(CHUNK);
    first.swap_with_slice(&mut second[..CHUNK]);
    fails(temp.path(), &swapped);
    let missing = [&bytes[..payload], &bytes[payload + CHUNK..]].concat();
    fails(temp.path(), &missing);
    let twice = [&bytes[..payload + CHUNK], &bytes[payload..]].concat();
    fails(temp.path(), &twice);
    // The chunks of another archive to the same key.
    let other_temp = tempfile::tempdir().unwrap();
    let (_, other) = tree(other_temp.path());
    fails(temp.path(), &[&bytes[..header], &other[header..]].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_never_opens(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let temp = tempfile::tempdir().unwrap();
        let (_, mut bytes) = tree(temp.path());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let error = fails(temp.path(), &bytes);
        prop_assert!(matches!(error, Error::Age(_) | Error::NotAnArchive { .. }), "{}", error);
    }

    #[test]
    fn a_listing_of_changed_bytes_is_the_right_one_or_none(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let temp = tempfile::tempdir().unwrap();
        let (_, mut bytes) = tree(temp.path());
        let sealed = temp.path().join("a.age");
        fs::write(&sealed, &bytes).unwrap();
        let right = unlock(&sealed).unwrap().index(&()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        fs::write(&sealed, &bytes).unwrap();
        // Only the end of the file is read, so damage before it goes unnoticed here.
        if let Ok(listed) = unlock(&sealed).and_then(|archive| archive.index(&())) {
            prop_assert_eq!(listed, right);
        }
    }

    #[test]
    fn what_a_sealer_garbles_inside_never_opens_as_something_else(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        // The sealer holds the key, so age verifies: zstd, index and tar are on their own.
        let temp = tempfile::tempdir().unwrap();
        let (tree, bytes) = tree(temp.path());
        fs::write(temp.path().join("good.age"), bytes).unwrap();
        let mut inside = decrypted(&temp.path().join("good.age"));
        let at = at.index(inside.len());
        inside[at] ^= flip;
        let sealed = temp.path().join("a.age");
        seal_bytes(&inside, &sealed);
        let out = temp.path().join("out");
        match extract(&sealed, &out) {
            Err(_) => prop_assert!(!out.exists()),
            // No checksum guards contents that the sealer chose; names and numbers are checked.
            Ok(report) => {
                let (before, after) = (picture(&tree), picture(&out.join("tree")));
                prop_assert!(before.keys().eq(after.keys()) || !report.indexed);
            }
        }
        prop_assert!(!names(temp.path()).iter().any(|name| name.starts_with(".keyward-")));
    }
}

/// Takes an archive's plaintext apart: frames, index frame, seek table.
fn apart(inside: &[u8]) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let end = inside.len();
    let count = u32::from_le_bytes(inside[end - 9..end - 5].try_into().unwrap()) as usize;
    let table = end - 9 - 8 * count - 8;
    let index = u32::from_le_bytes(inside[end - 17..end - 13].try_into().unwrap()) as usize;
    (inside[..table - index].to_vec(), inside[table - index..table].to_vec(), inside[table..].to_vec())
}

#[test]
fn an_index_that_lies_is_found_out() {
    let temp = tempfile::tempdir().unwrap();
    let (tree, bytes) = tree(temp.path());
    let good = temp.path().join("good.age");
    fs::write(&good, bytes).unwrap();
    let (frames, index, table) = apart(&decrypted(&good));
    // A tree that differs in one name, one size, one mode, one time: its index beside our frames.
    let other = temp.path().join("other");
    for (row, change) in [
        (
            "name",
            Box::new(|tree: &Path| fs::rename(tree.join("small"), tree.join("smell")).unwrap())
                as Box<dyn Fn(&Path)>,
        ),
        ("size", Box::new(|tree: &Path| fs::write(tree.join("small"), "smal").unwrap())),
        ("time", Box::new(|tree: &Path| set_time(&tree.join("small"), 1, 1))),
        ("one more", Box::new(|tree: &Path| fs::write(tree.join("z"), "").unwrap())),
    ] {
        run("cp", &["-a", "tree", "other"], temp.path(), Vec::new());
        change(&other);
        fs::rename(&tree, temp.path().join("kept")).unwrap();
        fs::rename(&other, &tree).unwrap();
        let changed = temp.path().join("changed.age");
        seal(&[&tree], &changed).unwrap();
        fs::remove_dir_all(&tree).unwrap();
        fs::rename(temp.path().join("kept"), &tree).unwrap();
        let (_, lie, _) = apart(&decrypted(&changed));
        assert_ne!(lie, index);
        let mut table = table.clone();
        let at = table.len() - 17;
        table[at..at + 4].copy_from_slice(&(lie.len() as u32).to_le_bytes());
        let sealed = temp.path().join("lie.age");
        seal_bytes(&[&frames[..], &lie, &table].concat(), &sealed);
        // A listing believes its index; opening does not.
        assert!(unlock(&sealed).unwrap().index(&()).unwrap().indexed);
        let error = extract(&sealed, &temp.path().join("out")).unwrap_err();
        assert!(matches!(error, Error::IndexMismatch { .. }), "{row}: {error}");
        let all = ExtractOptions { only: vec![b"tree".to_vec()], ..ExtractOptions::default() };
        let archive = unlock(&sealed).unwrap();
        let error = archive.extract(&temp.path().join("out"), &all, &()).unwrap_err();
        assert!(matches!(error, Error::IndexEntry { .. }), "{row}: {error}");
        let path: &[u8] = match row {
            "name" => b"tree/smell",
            "one more" => b"tree/z",
            _ => b"tree/small",
        };
        let mut content = Vec::new();
        let error = archive.cat(path, &mut content, &()).unwrap_err();
        assert!(matches!(error, Error::IndexEntry { .. }), "{row}: {error}");
        assert!(content.is_empty(), "{row}");
        fs::remove_file(&changed).unwrap();
        assert_eq!(names(temp.path()), ["good.age", "lie.age", "tree"]);
    }
    // The true index opens, so it was the lie that did not.
    seal_bytes(&[&frames[..], &index, &table].concat(), &temp.path().join("true.age"));
    extract(&temp.path().join("true.age"), &temp.path().join("out")).unwrap();
    // Without index and table it is any tar in zstd.
    seal_bytes(&frames, &temp.path().join("bare.age"));
    let bare = unlock(&temp.path().join("bare.age")).unwrap();
    let listed = bare.index(&()).unwrap();
    assert!(!listed.indexed && listed.entries.iter().filter(|entry| entry.kind == Kind::File).count() == 2);
    // An index that is not the table's last entry, or a table for other frames.
    for lie in [
        [&frames[..], &table].concat(),
        [&frames[..], &index].concat(),
        [&frames[..], &index, &index, &table].concat(),
        [&frames[..], &frames, &index, &table].concat(),
    ] {
        seal_bytes(&lie, &temp.path().join("lie.age"));
        let opened = extract(&temp.path().join("lie.age"), &temp.path().join("lie"));
        if let Ok(report) = opened {
            // A foreign seek table without an index is skipped, like any skippable frame.
            assert!(!report.indexed);
            fs::remove_dir_all(temp.path().join("lie")).unwrap();
        }
        assert!(!temp.path().join("lie").exists());
    }
}
