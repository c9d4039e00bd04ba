//! What goes in comes out: by us, and by `zstd` and GNU `tar`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use keyward_archive::{
    Error, ExtractOptions, Kind, Noticed, Overwrite, Progress, SealOptions, Time, seal_stream,
    seal_stream_to, seal_tree, seal_tree_to,
};
use proptest::prelude::*;

use crate::support::*;

/// A node of an odd tree. Numbers choose among what is already there.
#[derive(Debug, Clone)]
enum Node {
    Folder,
    File(Vec<u8>),
    Big(u32),
    Symlink(Vec<u8>),
    Hardlink(usize),
}

#[derive(Debug, Clone)]
pub(crate) struct Planned {
    parent: usize,
    name: Vec<u8>,
    node: Node,
    mode: u32,
    seconds: i64,
    nanos: u32,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    let any_bytes = proptest::collection::vec(1_u8..=255, 1..30);
    let long = proptest::collection::vec(b'a'..=b'z', 90..255);
    prop_oneof![
        "[a-z]{1,8}".prop_map(String::into_bytes),
        any_bytes,
        long,
        Just("Ärger \u{1f512} \u{202e}".as_bytes().to_vec()),
        Just(b"new\nline".to_vec()),
        Just(b"-rf".to_vec()),
        Just(b" ".to_vec()),
        Just(b"\\".to_vec()),
    ]
    .prop_map(|mut name| {
        name.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = b'_');
        if name == b"." || name == b".." { b"dots".to_vec() } else { name }
    })
}

pub(crate) fn planned() -> impl Strategy<Value = Planned> {
    let node = prop_oneof![
        3 => Just(Node::Folder),
        4 => proptest::collection::vec(any::<u8>(), 0..1500).prop_map(Node::File),
        1 => (1_u32..2_500_000).prop_map(Node::Big),
        2 => proptest::collection::vec(b'a'..=b'z', 1..200).prop_map(Node::Symlink),
        2 => any::<usize>().prop_map(Node::Hardlink),
    ];
    let mode = prop_oneof![0_u32..0o1000, 0_u32..0o10000, Just(0o644), Just(0)];
    let seconds = prop_oneof![-2_000_000_000_i64..4_000_000_000, Just(0), Just(-1), Just(1_700_000_000)];
    let nanos = prop_oneof![0_u32..1_000_000_000, Just(0), Just(999_999_999)];
    (any::<usize>(), name(), node, mode, seconds, nanos).prop_map(
        |(parent, name, node, mode, seconds, nanos)| Planned { parent, name, node, mode, seconds, nanos },
    )
}

pub(crate) fn build(root: &Path, plan: &[Planned]) {
    fs::create_dir(root).unwrap();
    let mut folders = vec![root.to_path_buf()];
    let mut linkable = Vec::new();
    let mut made = Vec::new();
    for planned in plan {
        let path = folders[planned.parent % folders.len()].join(OsStr::from_bytes(&planned.name));
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        match &planned.node {
            Node::Folder => {
                fs::create_dir(&path).unwrap();
                folders.push(path.clone());
            }
            Node::File(contents) => fs::write(&path, contents).unwrap(),
            Node::Big(size) => {
                let contents: Vec<u8> =
                    (0..*size).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
                fs::write(&path, contents).unwrap();
            }
            Node::Symlink(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Node::Hardlink(which) => {
                let Some(target) = linkable.get(which % usize::max(linkable.len(), 1)) else { continue };
                fs::hard_link(target, &path).unwrap();
                continue;
            }
        }
        if !matches!(planned.node, Node::Folder) {
            linkable.push(path.clone());
        }
        made.push((path, planned));
    }
    for (path, planned) in made.iter().rev() {
        if !matches!(planned.node, Node::Symlink(_)) {
            // Whoever runs this without root must be able to read it all.
            let readable = if rustix::process::geteuid().is_root() { 0 } else { 0o700 };
            fs::set_permissions(path, fs::Permissions::from_mode(planned.mode | readable)).unwrap();
        }
        set_time(path, planned.seconds, planned.nanos);
    }
    set_time(root, -5, 5);
}

pub(crate) fn same(expected: &Picture, found: &Picture) {
    for (path, seen) in expected {
        let other = found.get(path);
        assert_eq!(Some(seen), other, "{}", String::from_utf8_lossy(path));
    }
    assert_eq!(expected.len(), found.len());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn odd_trees_come_out_as_they_went_in(plan in proptest::collection::vec(planned(), 0..40)) {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        build(&tree, &plan);
        let before = picture(&tree);
        let sealed = temp.path().join("tree.age");
        let report = seal(&[&tree], &sealed).unwrap();
        prop_assert_eq!(report.notices, []);
        prop_assert_eq!(report.entries as usize, before.len());
        prop_assert_eq!(report.sealed, fs::metadata(&sealed).unwrap().len());

        let out = temp.path().join("out");
        let opened = extract(&sealed, &out).unwrap();
        prop_assert!(opened.indexed);
        prop_assert_eq!(&opened.tops, &[b"tree".to_vec()]);
        same(&before, &picture(&out.join("tree")));

        // Other people's programs on the decrypted bytes.
        let gnu = temp.path().join("gnu");
        fs::create_dir(&gnu).unwrap();
        let tar = run("zstd", &["-dc"], temp.path(), decrypted(&sealed));
        run("tar", &["xpf", "-"], &gnu, tar.clone());
        same(&before, &picture(&gnu.join("tree")));

        // The index tells the same as a full pass over the tar, and as the tar crate reads there.
        let index = unlock(&sealed).unwrap().index(&()).unwrap();
        prop_assert!(index.indexed);
        let plain = temp.path().join("plain.age");
        seal_bytes(&tar, &plain);
        let listed = unlock(&plain).unwrap().index(&()).unwrap();
        prop_assert!(!listed.indexed);
        prop_assert_eq!(&listed.entries, &index.entries);
        prop_assert_eq!(index.entries.len(), before.len());
        for entry in &index.entries {
            let seen = before.get(entry.path.strip_prefix(b"tree/").unwrap_or(b"")).unwrap();
            prop_assert_eq!(seen.mode & 0o7777, entry.mode);
            prop_assert_eq!(seen.mtime, (entry.mtime.seconds, i64::from(entry.mtime.nanos)));
        }
    }
}

#[test]
fn what_gnu_tar_makes_is_opened_in_each_of_its_formats() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("empty")).unwrap();
    fs::create_dir_all(tree.join("d".repeat(120)).join("e".repeat(120))).unwrap();
    fs::write(tree.join("d".repeat(120)).join("e".repeat(120)).join("f"), "deep").unwrap();
    fs::write(tree.join("file"), vec![b'x'; 70_000]).unwrap();
    fs::hard_link(tree.join("file"), tree.join("other")).unwrap();
    symlink("file", tree.join("link")).unwrap();
    symlink("l".repeat(180), tree.join("long")).unwrap();
    for (path, seconds) in
        [("file", 1_600_000_000), ("link", 1_500_000_000), ("long", 5), ("empty", 1_400_000_000)]
    {
        set_time(&tree.join(path), seconds, 0);
    }
    set_time(&tree.join("file"), 1_600_000_000, 0);
    for path in ["d".repeat(120), format!("{}/{}", "d".repeat(120), "e".repeat(120)), String::new()] {
        set_time(&tree.join(&path), 1_300_000_000, 0);
    }
    set_time(&tree.join("d".repeat(120)).join("e".repeat(120)).join("f"), -7, 0);
    set_time(&tree.join("d".repeat(120)).join("e".repeat(120)), 1_300_000_000, 0);
    let before = picture(&tree);
    for (format, compress) in [("gnu", true), ("pax", true), ("gnu", false), ("oldgnu", false)] {
        let tar = run("tar", &["cf", "-", "--format", format, "tree"], temp.path(), Vec::new());
        let tar = if compress { run("zstd", &["-c"], temp.path(), tar) } else { tar };
        let (sealed, out) = (temp.path().join("a.age"), temp.path().join(format!("{format}{compress}")));
        seal_bytes(&tar, &sealed);
        let report = extract(&sealed, &out).unwrap();
        assert!(!report.indexed);
        same(&before, &picture(&out.join("tree")));
        let listed = unlock(&sealed).unwrap().index(&()).unwrap();
        assert_eq!(listed.entries.len(), before.len());
    }
    // `tar c .` names everything from `./`, and the folder itself.
    let tar = run("tar", &["cf", "-", "."], &tree, Vec::new());
    seal_bytes(&tar, &temp.path().join("dot.age"));
    extract(&temp.path().join("dot.age"), &temp.path().join("dot")).unwrap();
    assert_eq!(names(&temp.path().join("dot")), names(&tree));
}

#[test]
fn the_tar_crate_reads_ours() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("a".repeat(200))).unwrap();
    fs::write(tree.join("a".repeat(200)).join("f"), "contents").unwrap();
    seal(&[&tree], &temp.path().join("a.age")).unwrap();
    let tar = run("zstd", &["-dc"], temp.path(), decrypted(&temp.path().join("a.age")));
    let index = unlock(&temp.path().join("a.age")).unwrap().index(&()).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let found: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path_bytes().into_owned();
            (path.strip_suffix(b"/").unwrap_or(&path).to_vec(), entry.size())
        })
        .collect();
    let ours: Vec<_> = index.entries.iter().map(|entry| (entry.path.clone(), entry.size)).collect();
    assert_eq!(found, ours);
    // The index says where each entry's headers begin.
    for entry in &index.entries {
        let rest = &tar[entry.offset as usize..];
        let mut from = tar::Archive::new(rest);
        let first = from.entries().unwrap().next().unwrap().unwrap();
        assert_eq!(first.path_bytes().strip_suffix(b"/").unwrap_or(&first.path_bytes()), entry.path);
    }
}

#[test]
fn several_sources_keep_their_own_names() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("a/photos")).unwrap();
    fs::create_dir_all(temp.path().join("b/photos")).unwrap();
    fs::write(temp.path().join("b/note"), "n").unwrap();
    let (a, b, note) =
        (temp.path().join("a/photos/"), temp.path().join("b/photos"), temp.path().join("b/note"));
    let sealed = temp.path().join("s.age");
    assert!(matches!(seal(&[&a, &b], &sealed), Err(Error::SameName { name }) if name == b"photos"));
    assert!(matches!(seal(&[], &sealed), Err(Error::NoSource)));
    assert!(matches!(seal(&[&temp.path().join("none")], &sealed), Err(Error::Missing { .. })));
    assert_eq!(names(temp.path()), ["a", "b"]);
    seal(&[&note, &a], &sealed).unwrap();
    let report = extract(&sealed, &temp.path().join("out")).unwrap();
    assert_eq!(report.tops, [b"note".to_vec(), b"photos".to_vec()]);
    assert_eq!(names(&temp.path().join("out")), ["note", "photos"]);
}

#[test]
fn a_file_and_a_stream_are_sealed_as_they_are() {
    let temp = tempfile::tempdir().unwrap();
    let (file, sealed) = (temp.path().join("f"), temp.path().join("f.age"));
    for size in [0, 1, 65_536, 3_000_000] {
        let contents = vec![9; size];
        fs::write(&file, &contents).unwrap();
        let replace = SealOptions { overwrite: Overwrite::Replace, ..SealOptions::default() };
        let report = seal_tree(std::slice::from_ref(&file), &recipients(), &sealed, &replace, &()).unwrap();
        assert_eq!((report.entries, report.bytes), (0, size as u64));
        assert_eq!(decrypted(&sealed), contents);
        let report = seal_stream(&mut contents.as_slice(), &recipients(), &sealed, &replace, &()).unwrap();
        assert_eq!(report.sealed, fs::metadata(&sealed).unwrap().len());
        assert_eq!(decrypted(&sealed), contents);
        let (out, report) =
            seal_stream_to(&mut contents.as_slice(), &recipients(), Vec::new(), &SealOptions::default(), &())
                .unwrap();
        assert_eq!(report.sealed, out.len() as u64);
        fs::write(&sealed, out).unwrap();
        assert_eq!(decrypted(&sealed), contents);
        assert!(matches!(extract(&sealed, &temp.path().join("out")), Err(Error::NotATree { .. })));
        assert!(matches!(unlock(&sealed).unwrap().index(&()), Err(Error::NotATree { .. })));
        let copy = temp.path().join(format!("copy{size}"));
        assert_eq!(
            unlock(&sealed).unwrap().copy_to_file(&copy, Overwrite::Refuse, 2, &()).unwrap(),
            size as u64
        );
        assert_eq!(fs::read(&copy).unwrap(), contents);
    }
    // Compressed, but no tar.
    seal_bytes(&zstd::encode_all(&b"just text"[..], 3).unwrap(), &sealed);
    assert!(matches!(extract(&sealed, &temp.path().join("out")), Err(Error::NotATree { .. })));
    assert!(!temp.path().join("out").exists());
}

#[test]
fn a_tree_sealed_to_a_writer_is_the_same_archive() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), vec![1; 5_000_000]).unwrap();
    let (bytes, report) =
        seal_tree_to(std::slice::from_ref(&tree), &recipients(), Vec::new(), &SealOptions::default(), &())
            .unwrap();
    assert_eq!(report.sealed, bytes.len() as u64);
    fs::write(temp.path().join("a.age"), bytes).unwrap();
    extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap();
    same(&picture(&tree), &picture(&temp.path().join("out/tree")));
}

#[test]
fn an_archive_that_grows_in_its_own_source_leaves_itself_out() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "x").unwrap();
    let report = seal(&[&tree], &tree.join("self.age")).unwrap();
    assert_eq!(report.entries, 2);
    assert_eq!(names(&tree), ["f", "self.age"]);
}

type Meddle<'a> = Box<dyn Fn() + Sync + 'a>;

/// Writes to a file while it is read, once.
struct Meddler<'a> {
    meddle: Meddle<'a>,
    done: AtomicBool,
}

impl Progress for Meddler<'_> {
    fn done(&self, _: u64, bytes: u64) {
        if bytes > 0 && !self.done.swap(true, Ordering::SeqCst) {
            (self.meddle)();
        }
    }
}

#[test]
fn what_changes_while_it_is_read_is_reported() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let big = tree.join("big");
    let size = 4_000_000;
    let resize = |to: u64| File::options().write(true).open(&big).unwrap().set_len(to).unwrap();
    let table: [(&str, Noticed, Meddle<'_>); 3] = [
        ("shrunk", Noticed::Shrunk, Box::new(|| resize(2_500_000))),
        ("grown", Noticed::Changed, Box::new(|| resize(size + 10))),
        (
            "rewritten",
            Noticed::Changed,
            Box::new(|| File::options().write(true).open(&big).unwrap().write_all(b"new").unwrap()),
        ),
    ];
    for (name, what, meddle) in table {
        fs::write(&big, vec![b'a'; size as usize]).unwrap();
        set_time(&big, 1000, 0);
        let meddler = Meddler { meddle, done: AtomicBool::new(false) };
        let sealed = temp.path().join(format!("{name}.age"));
        let report =
            seal_tree(std::slice::from_ref(&tree), &recipients(), &sealed, &SealOptions::default(), &meddler)
                .unwrap();
        assert_eq!(report.notices.len(), 1, "{name}");
        assert_eq!(report.notices[0].path, b"tree/big");
        assert_eq!(report.notices[0].what, what);
        let out = temp.path().join(name);
        extract(&sealed, &out).unwrap();
        let read = fs::read(out.join("tree/big")).unwrap();
        assert_eq!(read.len(), size as usize);
        if what == Noticed::Shrunk {
            assert!(read[2_500_000..].iter().all(|byte| *byte == 0));
        }
    }
    // A single file, sealed as it is.
    let meddler = Meddler { meddle: Box::new(|| resize(1_000_000)), done: AtomicBool::new(false) };
    let sealed = temp.path().join("single.age");
    let report =
        seal_tree(std::slice::from_ref(&big), &recipients(), &sealed, &SealOptions::default(), &meddler)
            .unwrap();
    assert_eq!(report.notices.iter().map(|notice| notice.what).collect::<Vec<_>>(), [Noticed::Changed]);
}

#[test]
fn special_files_and_links_out_are_reported() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    symlink("/etc/passwd", tree.join("out")).unwrap();
    symlink("up/../..", tree.join("up")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
    run("mkfifo", &["fifo"], &tree, Vec::new());
    let sealed = temp.path().join("a.age");
    let report = seal(&[&tree], &sealed).unwrap();
    let noticed: Vec<_> = report
        .notices
        .iter()
        .map(|notice| (String::from_utf8_lossy(&notice.path).into_owned(), notice.what))
        .collect();
    assert_eq!(
        noticed,
        [
            ("tree/fifo".to_owned(), Noticed::Special("a fifo")),
            ("tree/out".to_owned(), Noticed::LinkOut),
            ("tree/socket".to_owned(), Noticed::Special("a socket")),
            ("tree/up".to_owned(), Noticed::LinkOut),
        ]
    );
    assert!(matches!(extract(&sealed, &temp.path().join("refused")), Err(Error::UnsafeEntry { .. })));
    let keep = ExtractOptions { keep_links_out: true, ..ExtractOptions::default() };
    unlock(&sealed).unwrap().extract(&temp.path().join("kept"), &keep, &()).unwrap();
    assert_eq!(fs::read_link(temp.path().join("kept/tree/out")).unwrap(), Path::new("/etc/passwd"));
    assert_eq!(names(temp.path()), ["a.age", "kept", "tree"]);
}

/// Stops once so many bytes were done.
struct StopAfter(u64, AtomicU64);

impl Progress for StopAfter {
    fn done(&self, _: u64, bytes: u64) {
        self.1.fetch_add(bytes, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn what_was_stopped_is_taken_for_whole_by_nobody() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir(temp.path().join("tree")).unwrap();
    fs::write(temp.path().join("tree/big"), noise(40 << 20)).unwrap();
    let partial = temp.path().join("partial.age");
    let stop = StopAfter(32 << 20, AtomicU64::new(0));
    let out = File::create(&partial).unwrap();
    let options = SealOptions::default();
    let sealed = seal_tree_to(&[temp.path().join("tree")], &recipients(), out, &options, &stop);
    assert!(matches!(sealed, Err(Error::Interrupted)));
    assert!(matches!(extract(&partial, &temp.path().join("out")), Err(Error::Age(_))));
    assert!(!temp.path().join("out").exists());
    let mut bytes = Vec::new();
    assert!(matches!(unlock(&partial).unwrap().copy_to(&mut bytes, 1, &()), Err(Error::Age(_))));
}

#[test]
fn folders_at_the_top_that_forbid_writing_are_moved_and_settled() {
    let temp = tempfile::tempdir().unwrap();
    let sources: Vec<_> = ["one", "three", "two"].map(|name| temp.path().join(name)).to_vec();
    for source in &sources {
        fs::create_dir_all(source.join("below")).unwrap();
        for path in [source.join("below"), source.clone()] {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o500)).unwrap();
            set_time(&path, 1_234_567, 89);
        }
    }
    let sealed = temp.path().join("a.age");
    seal(&sources.iter().map(|source| source.as_path()).collect::<Vec<_>>(), &sealed).unwrap();
    let out = temp.path().join("out");
    fs::create_dir(&out).unwrap();
    extract(&sealed, &out).unwrap();
    assert_eq!(names(&out), ["one", "three", "two"]);
    for source in &sources {
        let opened = out.join(source.file_name().unwrap());
        same(&picture(source), &picture(&opened));
        for path in [source, &opened] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
        }
    }
}

#[test]
fn times_and_modes_of_folders_survive_what_is_written_into_them() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("closed/deeper")).unwrap();
    fs::write(tree.join("closed/deeper/f"), "x").unwrap();
    for path in ["closed/deeper", "closed", ""] {
        set_time(&tree.join(path), 1_000_000, 123_456_789);
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(0o555)).unwrap();
    }
    let before = picture(&tree);
    let sealed = temp.path().join("a.age");
    seal(&[&tree], &sealed).unwrap();
    // Once into a folder that is not there, once into one that is.
    fs::create_dir(temp.path().join("there")).unwrap();
    for out in ["absent", "there"] {
        extract(&sealed, &temp.path().join(out)).unwrap();
        same(&before, &picture(&temp.path().join(out).join("tree")));
        assert_eq!(names(&temp.path().join(out)), ["tree"]);
    }
    let index = unlock(&sealed).unwrap().index(&()).unwrap();
    let folders = index.entries.iter().filter(|entry| entry.kind == Kind::Folder);
    assert!(folders.clone().all(|entry| entry.mtime == Time { seconds: 1_000_000, nanos: 123_456_789 }));
    assert_eq!(folders.count(), 3);
    // For whoever cleans up without root.
    for root in ["tree", "absent/tree", "there/tree"] {
        for path in ["", "closed", "closed/deeper"] {
            fs::set_permissions(temp.path().join(root).join(path), fs::Permissions::from_mode(0o755))
                .unwrap();
        }
    }
}
