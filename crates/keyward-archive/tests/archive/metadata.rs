//! What a file is besides its bytes: owners, holes, attributes; with GNU tar and bsdtar as peers in
//! both directions.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use keyward_archive::{Attributes, ExtractOptions, ExtractReport, Kind, Noticed, SealOptions, seal_tree};
use proptest::prelude::*;
use rustix::fs::{SeekFrom, XattrFlags, lgetxattr, llistxattr, lsetxattr, seek};

use crate::round_trip::{build, planned, same};
use crate::support::*;

fn with(attributes: Attributes) -> SealOptions {
    SealOptions { attributes, ..SealOptions::default() }
}

fn seal_with(tree: &Path, to: &Path, options: &SealOptions) -> keyward_archive::SealReport {
    seal_tree(&[tree.to_path_buf()], &recipients(), to, options, &()).unwrap()
}

fn extract_with(archive: &Path, to: &Path, attributes: Attributes) -> ExtractReport {
    let options = ExtractOptions { attributes, ..ExtractOptions::default() };
    unlock(archive).unwrap().extract(to, &options, &()).unwrap()
}

/// Whether the tests' file system has attributes of users.
fn has_attributes(folder: &Path) -> bool {
    lsetxattr(folder, "user.keyward", b"x", XattrFlags::empty()).is_ok()
}

/// Pairs of where data begins and where it ends, or how long it is.
type Runs = Vec<(u64, u64)>;
type Planned<'a> = (&'a str, u64, &'a [(u64, u64)]);
type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

fn xattrs(path: &Path) -> Xattrs {
    let mut list = vec![0; 1 << 16];
    let length = llistxattr(path, list.as_mut_slice()).unwrap_or(0);
    list[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 1 << 16];
            let length = lgetxattr(path, name, value.as_mut_slice()).unwrap();
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// Attributes of everything in a tree and where files have data, by path.
fn beside(root: &Path) -> BTreeMap<Vec<u8>, (Xattrs, Runs)> {
    let mut found = BTreeMap::new();
    for path in picture(root).into_keys() {
        let at = root.join(std::ffi::OsStr::from_bytes(&path));
        let metadata = fs::symlink_metadata(&at).unwrap();
        let data = if metadata.is_file() { data(&at) } else { Vec::new() };
        found.insert(path, (xattrs(&at), data));
    }
    found
}

/// Begin and end of each run of data. Blocks would be the shorter answer, but a file system counts
/// some of its own among them.
fn data(path: &Path) -> Runs {
    let file = File::open(path).unwrap();
    let mut runs = Vec::new();
    let mut at = 0;
    while let Ok(start) = seek(&file, SeekFrom::Data(at)) {
        at = seek(&file, SeekFrom::Hole(start)).unwrap();
        runs.push((start, at));
    }
    runs
}

/// A file with data at these places, in units of 64 KiB, and holes between.
fn sparse(path: &Path, size: u64, spans: &[(u64, u64)]) {
    const UNIT: u64 = 1 << 16;
    let file = File::create(path).unwrap();
    file.set_len(size).unwrap();
    for (at, units) in spans {
        let data: Vec<u8> = (0..units * UNIT).map(|n| (n % 251) as u8 + 1).collect();
        let keep = data.len().min(usize::try_from(size.saturating_sub(at * UNIT)).unwrap());
        file.write_all_at(&data[..keep], at * UNIT).unwrap();
    }
    file.sync_all().unwrap();
}

fn tar_of(sealed: &Path, folder: &Path) -> Vec<u8> {
    run("zstd", &["-dc"], folder, decrypted(sealed))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Odd trees, with holes and attributes, as GNU tar extracts them from what is inside.
    #[test]
    fn odd_trees_come_out_as_with_gnu_tar(
        plan in proptest::collection::vec(planned(), 0..20),
        holes in proptest::collection::vec((0_u64..3_000_000, proptest::collection::vec((0_u64..46, 1_u64..4), 0..5)), 0..4),
        notes in proptest::collection::vec((any::<prop::sample::Index>(), "[a-z=%. ]{1,20}", proptest::collection::vec(any::<u8>(), 0..200)), 0..8),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let tree = temp.path().join("tree");
        build(&tree, &plan);
        for (n, (size, spans)) in holes.iter().enumerate() {
            sparse(&tree.join(format!("sparse{n}")), *size, spans);
        }
        let paths: Vec<_> = picture(&tree).into_keys().collect();
        for (at, name, value) in &notes {
            let path = tree.join(std::ffi::OsStr::from_bytes(at.get::<Vec<u8>>(&paths)));
            // Links have none; and root may set one on anything else.
            if !path.is_symlink() {
                let _ = lsetxattr(&path, format!("user.{name}"), value, XattrFlags::empty());
            }
        }
        set_time(&tree, 77, 7);
        let (before, extra) = (picture(&tree), beside(&tree));

        let sealed = temp.path().join("tree.age");
        prop_assert_eq!(seal_with(&tree, &sealed, &with(Attributes::User)).notices, []);
        let out = temp.path().join("out");
        let report = extract_with(&sealed, &out, Attributes::User);
        prop_assert_eq!(report.attributes_dropped, 0);
        prop_assert!(report.indexed);
        same(&before, &picture(&out.join("tree")));
        prop_assert!(extra == beside(&out.join("tree")));

        let gnu = temp.path().join("gnu");
        fs::create_dir(&gnu).unwrap();
        run("tar", &["--xattrs", "--acls", "-xpf", "-"], &gnu, tar_of(&sealed, temp.path()));
        same(&picture(&gnu.join("tree")), &picture(&out.join("tree")));
        prop_assert!(beside(&gnu.join("tree")) == extra);
    }
}

/// Attributes that do not fit beside the file's own facts take a block, which is counted as if it were data.
#[test]
fn a_hole_no_larger_than_the_block_of_an_attribute_comes_back() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    sparse(&tree.join("small"), 1906, &[]);
    lsetxattr(tree.join("small"), "user.note", &[7; 1500], XattrFlags::empty()).unwrap();
    let sealed = temp.path().join("a.age");
    seal_with(&tree, &sealed, &with(Attributes::User));
    let out = temp.path().join("out");
    extract_with(&sealed, &out, Attributes::User);
    assert_eq!(data(&tree.join("small")), data(&out.join("tree/small")));
    assert_eq!(xattrs(&tree.join("small")), xattrs(&out.join("tree/small")));
    assert_eq!(fs::read(out.join("tree/small")).unwrap(), [0; 1906]);
}

#[test]
fn holes_are_neither_read_nor_stored_and_come_back() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let files: [Planned<'_>; 6] = [
        ("nothing", 1 << 40, &[]),
        ("end", (9 << 30) + 100, &[(9 << 14, 1)]),
        ("start", 10 << 30, &[(0, 3)]),
        ("middle", 64 << 20, &[(100, 1), (200, 2), (900, 1)]),
        ("odd", 65_536 * 3 + 17, &[(3, 1)]),
        ("dense", 300_000, &[(0, 5)]),
    ];
    for (name, size, spans) in files {
        sparse(&tree.join(name), size, spans);
    }
    let long = format!("{}/{}", "d".repeat(90), "f".repeat(90));
    fs::create_dir(tree.join("d".repeat(90))).unwrap();
    sparse(&tree.join(&long), 1 << 30, &[(5, 1)]);
    let sealed = temp.path().join("a.age");
    let report = seal(&[&tree], &sealed).unwrap();
    assert!(report.sealed < 2_000_000, "{}", report.sealed);
    assert!(report.bytes > 1 << 40);
    let out = temp.path().join("out");
    extract(&sealed, &out).unwrap();
    fs::create_dir(temp.path().join("gnu")).unwrap();
    let tar = tar_of(&sealed, temp.path());
    assert!(tar.len() < 3_000_000, "{}", tar.len());
    run("tar", &["xpf", "-"], &temp.path().join("gnu"), tar.clone());
    fs::create_dir(temp.path().join("bsd")).unwrap();
    run("bsdtar", &["-xpf", "-"], &temp.path().join("bsd"), tar.clone());
    let index = unlock(&sealed).unwrap().index(&()).unwrap().entries;
    for name in files.iter().map(|(name, ..)| *name).chain([long.as_str()]) {
        let expected = fs::metadata(tree.join(name)).unwrap();
        for opened in ["out", "gnu", "bsd"] {
            let found = fs::metadata(temp.path().join(opened).join("tree").join(name)).unwrap();
            assert_eq!(found.len(), expected.len(), "{opened} {name}");
            let at = temp.path().join(opened).join("tree").join(name);
            assert_eq!(data(&at), data(&tree.join(name)), "{opened} {name}");
            assert_eq!((found.mtime(), found.mode()), (expected.mtime(), expected.mode()), "{opened} {name}");
        }
        let path = format!("tree/{name}").into_bytes();
        let entry = index.iter().find(|entry| entry.path == path).unwrap();
        assert_eq!((entry.kind, entry.size), (Kind::File, expected.len()));
    }
    for name in ["middle", "odd", "dense"] {
        let (from, to) = (tree.join(name), temp.path().join("out/tree").join(name));
        run("cmp", &[from.to_str().unwrap(), to.to_str().unwrap()], temp.path(), Vec::new());
    }
    // One of them alone, holes and all.
    let mut content = Vec::new();
    unlock(&sealed).unwrap().cat(b"tree/odd", &mut content, &()).unwrap();
    assert_eq!(content, fs::read(tree.join("odd")).unwrap());
    let only = ExtractOptions { only: vec![b"tree/start".to_vec()], ..ExtractOptions::default() };
    unlock(&sealed).unwrap().extract(&temp.path().join("one"), &only, &()).unwrap();
    assert_eq!(data(&temp.path().join("one/tree/start")), data(&tree.join("start")));
}

#[test]
fn what_other_programs_make_opens_equally() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("folder")).unwrap();
    fs::write(tree.join("file"), "contents").unwrap();
    fs::hard_link(tree.join("file"), tree.join("other")).unwrap();
    std::os::unix::fs::symlink("file", tree.join("link")).unwrap();
    sparse(&tree.join("sparse"), 40 << 20, &[(1, 1), (3, 2), (7, 1), (9, 1), (11, 1), (13, 1), (500, 1)]);
    sparse(&tree.join("many"), 40 << 20, &(0..80).map(|n| (2 * n, 1)).collect::<Vec<_>>());
    sparse(&tree.join("empty"), 16 << 20, &[]);
    for path in ["file", "folder"] {
        lsetxattr(tree.join(path), "user.a", b"value\n\0", XattrFlags::empty()).unwrap();
    }
    run("setfacl", &["-m", "u:root:rwx,u:4321:r--,g:0:-w-", "file", "folder"], &tree, Vec::new());
    run("setfacl", &["-d", "-m", "u:4321:r-x", "folder"], &tree, Vec::new());
    for path in ["file", "link", "sparse", "many", "empty", "folder", ""] {
        set_time(&tree.join(path), 1_600_000_000, 0);
    }
    let (before, extra) = (picture(&tree), beside(&tree));
    let rows: [(&str, &[&str]); 10] = [
        ("tar", &["--format=gnu"]),
        ("tar", &["--format=ustar"]),
        ("tar", &["--format=gnu", "-S"]),
        ("tar", &["--format=oldgnu", "-S"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=0.0"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=0.1"]),
        ("tar", &["--format=pax", "-S", "--sparse-version=1.0", "--xattrs", "--acls"]),
        ("tar", &["--format=pax", "--xattrs", "--acls"]),
        ("bsdtar", &["--format=pax", "--read-sparse", "--acls", "--xattrs"]),
        ("bsdtar", &["--format=gnutar", "--no-acls"]),
    ];
    for (n, (program, options)) in rows.into_iter().enumerate() {
        let row = format!("{program} {options:?}");
        let arguments = [options, &["-cf", "-", "tree"]].concat();
        let tar = run(program, &arguments, temp.path(), Vec::new());
        let sealed = temp.path().join(format!("{n}.age"));
        seal_bytes(&if n % 2 == 0 { zstd::encode_all(tar.as_slice(), 1).unwrap() } else { tar }, &sealed);
        let out = temp.path().join(format!("{n}"));
        let report = extract_with(&sealed, &out, Attributes::User);
        assert_eq!(report.attributes_dropped, 0, "{row}");
        same(&before, &picture(&out.join("tree")));
        let found = beside(&out.join("tree"));
        for (path, (attributes, runs)) in &extra {
            let (other, other_runs) = &found[path];
            if options.contains(&"--xattrs") {
                assert_eq!(attributes, other, "{row} {}", String::from_utf8_lossy(path));
            } else {
                assert!(other.is_empty(), "{row}");
            }
            if options.contains(&"-S") {
                assert_eq!(runs, other_runs, "{row} {}", String::from_utf8_lossy(path));
            }
        }
    }
}

#[test]
fn attributes_and_acls_come_back_when_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    assert!(has_attributes(temp.path()), "the tests need a file system with extended attributes");
    let tree = temp.path().join("tree");
    fs::create_dir_all(tree.join("folder")).unwrap();
    fs::write(tree.join("file"), "contents").unwrap();
    for (path, name, value) in [
        ("file", "user.note", &b"a\n\0b"[..]),
        ("file", "user.%3D=", b""),
        ("folder", "user.big", &[b'x'; 3000]),
    ] {
        lsetxattr(tree.join(path), name, value, XattrFlags::empty()).unwrap();
    }
    run("setfacl", &["-m", "u:root:rwx,u:4321:r--,g:0:-w-,m::rw-", "file", "folder"], &tree, Vec::new());
    run("setfacl", &["-d", "-m", "u:4321:r-x", "folder"], &tree, Vec::new());
    let all = beside(&tree);
    let sealed = temp.path().join("a.age");
    seal_with(&tree, &sealed, &with(Attributes::User));
    for (name, which, expected) in [("none", Attributes::None, false), ("user", Attributes::User, true)] {
        let out = temp.path().join(name);
        let report = extract_with(&sealed, &out, which);
        assert_eq!(report.attributes_dropped, 0);
        same(&picture(&tree), &picture(&out.join("tree")));
        let found = beside(&out.join("tree"));
        if expected {
            assert!(found == all);
        } else {
            assert!(found.values().all(|(xattrs, _)| xattrs.is_empty()));
        }
    }
    for (program, options) in [("tar", ["--xattrs", "--acls"]), ("bsdtar", ["--xattrs", "--acls"])] {
        let folder = temp.path().join(format!("by-{program}"));
        fs::create_dir(&folder).unwrap();
        let tar = tar_of(&sealed, temp.path());
        run(program, &[options[0], options[1], "-xpf", "-"], &folder, tar);
        let found = beside(&folder.join("tree"));
        for (path, (attributes, _)) in &all {
            // bsdtar takes the escape of a sign of equality for part of the name.
            let plain = |name: &[u8]| program == "tar" || !name.contains(&b'%');
            let kept = |from: &Xattrs| {
                from.iter()
                    .filter(|(name, _)| plain(name))
                    .map(|(n, v)| (n.clone(), v.clone()))
                    .collect::<Xattrs>()
            };
            assert!(kept(attributes) == kept(&found[path].0), "{program} {}", String::from_utf8_lossy(path));
        }
    }
    // Without the flag nothing of it is sealed.
    let plain = temp.path().join("plain.age");
    seal(&[&tree], &plain).unwrap();
    let tar = tar_of(&plain, temp.path());
    assert!(!tar.windows(6).any(|six| six == b"SCHILY"));
}

#[test]
fn attributes_of_the_system_are_set_only_when_all_are_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("f"), "x").unwrap();
    // cap_net_raw+ep, VFS_CAP_REVISION_2.
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let capable = lsetxattr(tree.join("f"), "security.capability", capability, XattrFlags::empty()).is_ok();
    assert_eq!(capable, rustix::process::geteuid().is_root());
    lsetxattr(tree.join("f"), "user.a", b"a", XattrFlags::empty()).unwrap();
    let sealed = temp.path().join("a.age");
    seal_with(&tree, &sealed, &with(Attributes::All));
    for (n, which) in [Attributes::None, Attributes::User, Attributes::All].into_iter().enumerate() {
        let out = temp.path().join(format!("{n}"));
        let owners = ExtractOptions { attributes: which, owners: true, ..ExtractOptions::default() };
        unlock(&sealed).unwrap().extract(&out, &owners, &()).unwrap();
        assert_eq!(xattrs(&out.join("tree/f")).len(), n.min(1 + usize::from(capable)));
    }
    let user = temp.path().join("user.age");
    seal_with(&tree, &user, &with(Attributes::User));
    extract_with(&user, &temp.path().join("u"), Attributes::All);
    assert_eq!(xattrs(&temp.path().join("u/tree/f")).len(), 1);
}

#[test]
fn an_acl_for_somebody_unknown_is_counted_and_left_off() {
    let tar = crate::hostile::Tar::default()
        .pax("SCHILY.acl.access", b"user::rwx,user:nobody of this name:rwx,group::r--,mask::rwx,other::---")
        .file("f")
        .pax("SCHILY.xattr.user.ok", b"yes")
        .file("g");
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&tar.end(), &temp.path().join("a.age"));
    let report = extract_with(&temp.path().join("a.age"), &temp.path().join("out"), Attributes::User);
    assert_eq!(report.attributes_dropped, 1);
    assert!(xattrs(&temp.path().join("out/f")).is_empty());
    assert_eq!(xattrs(&temp.path().join("out/g")).len(), 1);
}

#[test]
fn attributes_that_do_not_fit_a_header_are_told() {
    let temp = tempfile::tempdir().unwrap();
    let tree = temp.path().join("tree");
    fs::create_dir(&tree).unwrap();
    // A file system takes less than this in all; then everything fits, and nothing is told.
    let mut there = 0;
    for n in 0..40 {
        let value = vec![b'x'; 60_000];
        there += usize::from(lsetxattr(&tree, format!("user.{n}"), &value, XattrFlags::empty()).is_ok());
    }
    let report = seal_with(&tree, &temp.path().join("a.age"), &with(Attributes::User));
    let told = report.notices.iter().any(|notice| notice.what == Noticed::Attributes);
    assert_eq!(told, there > 12);
    extract_with(&temp.path().join("a.age"), &temp.path().join("out"), Attributes::User);
}

#[test]
fn owners_go_by_name_and_else_by_number() {
    let member = |name: &str, user: &str, group: &str| {
        crate::hostile::Tar::default().owned(name, 3_000_123, 3_000_124, user, group)
    };
    let tar = [
        member("known", "root", "root"),
        member("unknown", "no such user", "no such group"),
        member("none", "", ""),
    ];
    let bytes = [tar.map(|tar| tar.0).concat(), vec![0; 1024]].concat();
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&bytes, &temp.path().join("a.age"));
    let options = ExtractOptions { owners: true, ..ExtractOptions::default() };
    unlock(&temp.path().join("a.age")).unwrap().extract(&temp.path().join("out"), &options, &()).unwrap();
    let root = rustix::process::geteuid().is_root();
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (name, ids) in
        [("known", (0, 0)), ("unknown", (3_000_123, 3_000_124)), ("none", (3_000_123, 3_000_124))]
    {
        let metadata = fs::metadata(temp.path().join("out").join(name)).unwrap();
        assert_eq!((metadata.uid(), metadata.gid()), if root { ids } else { us }, "{name}");
    }
    // Ours has the names that the system knows.
    seal(&[&temp.path().join("out")], &temp.path().join("b.age")).unwrap();
    let listed = run("tar", &["tvf", "-"], temp.path(), tar_of(&temp.path().join("b.age"), temp.path()));
    let listed = String::from_utf8_lossy(&listed).into_owned();
    if root {
        assert!(
            listed.lines().any(|line| line.contains(" root/root ") && line.ends_with("out/known")),
            "{listed}"
        );
        assert!(
            listed.lines().any(|line| line.contains(" 3000123/3000124 ") && line.ends_with("out/unknown")),
            "{listed}"
        );
    }
}
