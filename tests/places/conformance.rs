//! The same of every place: a local folder, S3, Azure, Google.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use keyward_archive::{Error, Left, Overwrite, Place, SealOptions, prepare_stream, seal_tree};
use keyward_tests::{Kind, Store};

use super::{Holder, noise, stores};

/// More than one part.
const LARGE: usize = (20 << 20) + 5;

/// The place of a name, for a host with this state folder.
type Naming<'a> = Box<dyn Fn(&str, &Path) -> Place + Sync + 'a>;

struct Somewhere<'a> {
    at: Naming<'a>,
    state: PathBuf,
}

impl Somewhere<'_> {
    fn place(&self, name: &str) -> Place {
        (self.at)(name, &self.state)
    }

    fn names(&self) -> Vec<(String, u64)> {
        let found = self.place("").list().unwrap();
        found.iter().map(|one| (one.place.name().to_str().unwrap().to_owned(), one.size)).collect()
    }
}

fn suite(somewhere: &Somewhere<'_>) {
    let holder = Holder::new();
    for (name, bytes) in [("small", noise(1000)), ("empty", Vec::new()), ("large", noise(LARGE))] {
        let place = somewhere.place(&format!("{name}.age"));
        let nothing = holder.open(&place).err();
        assert!(matches!(nothing, Some(Error::Missing { .. })), "{nothing:?}");
        assert!(!place.exists().unwrap());
        let report = holder.seal(&bytes, &place, Overwrite::Refuse).unwrap();
        assert!(place.exists().unwrap());
        assert!(holder.read(&place).unwrap() == bytes);
        assert_eq!(keyward_archive::Sealed::open(&place).unwrap().size(), report.sealed);

        let again = holder.seal(&noise(10), &place, Overwrite::Refuse);
        assert!(matches!(again, Err(Error::Exists { .. })), "{again:?}");
        assert!(holder.read(&place).unwrap() == bytes);
        let other = noise(bytes.len() + 1);
        holder.seal(&other, &place, Overwrite::Replace).unwrap();
        assert!(holder.read(&place).unwrap() == other);
    }
    let names: Vec<String> = somewhere.names().into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["empty.age", "large.age", "small.age"]);

    // An archive that was sealed and not published leaves nothing, of either size.
    for length in [10, LARGE] {
        let place = somewhere.place("never.age");
        let recipients = [holder.0.recipient().unwrap()];
        let bytes = noise(length);
        let prepared =
            prepare_stream(&mut io::Cursor::new(bytes), &recipients, &place, &SealOptions::default(), &())
                .unwrap();
        assert!(!place.exists().unwrap(), "it appears with its name");
        drop(prepared);
        assert!(!place.exists().unwrap());
        assert!(matches!(place.left().unwrap(), Left::Nothing));
    }
    assert_eq!(somewhere.names().len(), 3);

    small_objects(somewhere);
    tree(somewhere, &holder);
    for length in [100, 9 << 20] {
        race(somewhere, &holder, length);
    }
}

fn small_objects(somewhere: &Somewhere<'_>) {
    let receipt = somewhere.place("large.age").sibling(".receipt");
    assert!(matches!(receipt.read_small(100), Err(Error::Missing { .. })));
    receipt.create_small(b"one").unwrap();
    assert!(matches!(receipt.create_small(b"two"), Err(Error::Exists { .. })));
    assert_eq!(receipt.read_small(100).unwrap(), b"one");
    receipt.replace_small(b"three").unwrap();
    assert_eq!(receipt.read_small(5).unwrap(), b"three");
    assert!(matches!(receipt.read_small(4), Err(Error::TooLarge { .. })));
    assert!(somewhere.names().contains(&("large.age.receipt".into(), 5)));
    assert_eq!(receipt.list().unwrap().len(), 1);
    receipt.remove().unwrap();
    assert!(matches!(receipt.read_small(5), Err(Error::Missing { .. })));
    receipt.remove().unwrap();
    receipt.create_small(b"three").unwrap();
    let made: usize = thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|number: u8| {
                scope.spawn(move || somewhere.place("raced").create_small(&[number; 9]).is_ok())
            })
            .collect();
        tries.into_iter().map(|one| usize::from(one.join().unwrap())).sum()
    });
    assert_eq!(made, 1);
    assert_eq!(somewhere.place("raced").read_small(9).unwrap().len(), 9);
}

fn tree(somewhere: &Somewhere<'_>, holder: &Holder) {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("tree");
    fs::create_dir(&folder).unwrap();
    for number in 0..50 {
        fs::write(folder.join(format!("{number:02}")), noise(number * 40_000)).unwrap();
    }
    let place = somewhere.place("in/a folder/tree ä.age");
    seal_tree(&[folder], &[holder.0.recipient().unwrap()], &place, &SealOptions::default(), &()).unwrap();
    let archive = holder.open(&place).unwrap();
    let index = archive.index(&()).unwrap();
    assert!(index.indexed);
    assert_eq!(index.entries.len(), 51);
    for number in [0, 1, 30, 49] {
        let mut out = Vec::new();
        archive.cat(format!("tree/{number:02}").as_bytes(), &mut out, &()).unwrap();
        assert!(out == noise(number * 40_000), "{number}");
    }
    let restored = temp.path().join("restored");
    archive.extract(&restored, &keyward_archive::ExtractOptions::default(), &()).unwrap();
    assert!(fs::read(restored.join("tree/49")).unwrap() == noise(49 * 40_000));
}

/// Eight seal to one name at once: one is told that it did, and it did.
fn race(somewhere: &Somewhere<'_>, holder: &Holder, length: usize) {
    let name = format!("race-{length}.age");
    let results: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|number: u8| {
                let name = &name;
                scope.spawn(move || {
                    let bytes = vec![number; length];
                    holder.seal(&bytes, &somewhere.place(name), Overwrite::Refuse)
                })
            })
            .collect();
        tries.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let winners: Vec<_> = results.iter().enumerate().filter(|(_, result)| result.is_ok()).collect();
    assert_eq!(winners.len(), 1, "{results:?}");
    assert!(results.iter().all(|result| matches!(result, Ok(_) | Err(Error::Exists { .. }))), "{results:?}");
    let read = holder.read(&somewhere.place(&name)).unwrap();
    assert_eq!(read, vec![winners[0].0 as u8; length]);
}

fn in_store(kind: Kind) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::start(kind);
    let at =
        |name: &str, state: &Path| stores(&store, state).place(format!("{}/dir/{name}", store.root)).unwrap();
    suite(&Somewhere { at: Box::new(at), state: temp.path().to_path_buf() });
    let left = fs::read_dir(temp.path().join("uploads")).unwrap().count();
    assert_eq!(left, 0, "no notes are left");
    match kind {
        Kind::S3 => assert_eq!(store.s3_uploads(), [0; 0]),
        Kind::Google => {
            let all = store.google_has().unwrap();
            assert!(
                all.iter().all(|name| !name.contains("parts of") && !name.contains(".keyward-")),
                "{all:?}"
            );
        }
        // Azure drops blocks of no blob by itself.
        Kind::Azure => {}
    }
}

#[test]
fn a_local_folder() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("in/a folder")).unwrap();
    let at = |name: &str, _: &Path| Place::from(temp.path().join(name));
    suite(&Somewhere { at: Box::new(at), state: temp.path().join("state") });
}

#[test]
fn s3() {
    in_store(Kind::S3);
}

#[test]
fn azure() {
    in_store(Kind::Azure);
}

#[test]
fn google() {
    in_store(Kind::Google);
}
