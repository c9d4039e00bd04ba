//! Archives that were made to do harm. Each row is refused by its entry's name, and nothing is left
//! where it was to be opened, nor beside it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;

use keyward_archive::{Error, ExtractOptions, Unsafe};
use tar::{EntryType, Header};

use crate::support::*;

/// A tar of the crate `tar`, written field by field: it would refuse to write most of these.
#[derive(Default)]
pub(crate) struct Tar(pub(crate) Vec<u8>);

impl Tar {
    pub(crate) fn entry(self, kind: EntryType, path: &str, link: &str, contents: &[u8]) -> Self {
        self.header(kind, path, link, contents.len() as u64, contents, |_| {})
    }

    pub(crate) fn header(
        mut self,
        kind: EntryType,
        path: &str,
        link: &str,
        size: u64,
        contents: &[u8],
        more: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_size(size);
        more(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub(crate) fn file(self, path: &str) -> Self {
        self.entry(EntryType::Regular, path, "", b"contents")
    }

    pub(crate) fn folder(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    pub(crate) fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, path, to, b"")
    }

    pub(crate) fn hard_link(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Link, path, to, b"")
    }

    pub(crate) fn pax(self, key: &str, value: &[u8]) -> Self {
        self.records(&[(key, value)])
    }

    /// A pax header with these records.
    pub(crate) fn records(self, records: &[(&str, &[u8])]) -> Self {
        let records: Vec<u8> = records.iter().flat_map(|(key, value)| Self::record(key, value)).collect();
        self.entry(EntryType::XHeader, "pax", "", &records)
    }

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let mut length = key.len() + value.len() + 4;
        while length != length.to_string().len() + key.len() + value.len() + 3 {
            length += 1;
        }
        [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
    }

    /// Sets a byte of the last header, and its checksum again.
    pub(crate) fn change(mut self, at: usize, byte: u8) -> Self {
        let start = self.0.len() - 1024;
        self.0[start + at] = byte;
        let header = &mut self.0[start..start + 512];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self
    }

    pub(crate) fn owned(self, path: &str, uid: u64, gid: u64, user: &str, group: &str) -> Self {
        self.header(EntryType::Regular, path, "", 0, b"", |header| {
            header.set_uid(uid);
            header.set_gid(gid);
            header.set_username(user).unwrap();
            header.set_groupname(group).unwrap();
        })
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

/// Opens a tar plain and compressed, into a folder that is absent and one that is there, and tells
/// the error; checks that nothing came of it.
pub(crate) fn refused(tar: &[u8]) -> Error {
    let mut last = None;
    for compress in [false, true] {
        for there in [false, true] {
            let temp = tempfile::tempdir().unwrap();
            let around = temp.path().join("around");
            fs::create_dir_all(&around).unwrap();
            fs::write(around.join("bystander"), "as it was").unwrap();
            let out = around.join("out");
            if there {
                fs::create_dir(&out).unwrap();
            }
            let bytes = if compress { zstd::encode_all(tar, 1).unwrap() } else { tar.to_vec() };
            let sealed = temp.path().join("a.age");
            seal_bytes(&bytes, &sealed);
            let error = extract(&sealed, &out).unwrap_err();
            assert_eq!(names(temp.path()), ["a.age", "around"], "{error}");
            assert_eq!(
                names(&around),
                if there { vec!["bystander", "out"] } else { vec!["bystander"] },
                "{error}"
            );
            assert!(!there || names(&out).is_empty(), "{error}");
            assert_eq!(fs::read(around.join("bystander")).unwrap(), b"as it was");
            last = Some(error);
        }
    }
    last.unwrap()
}

#[test]
fn nothing_leaves_its_folder() {
    use Unsafe::*;
    let good = || Tar::default().folder("d").file("d/f");
    let table: Vec<(&str, Unsafe, &str, Tar)> = vec![
        ("absolute", Absolute, "/tmp/evil", good().file("/tmp/evil")),
        ("parent", Climbs, "../evil", good().file("../evil")),
        ("parent inside", Climbs, "d/../../evil", good().file("d/../../evil")),
        ("parent harmless", Climbs, "d/../e", good().file("d/../e")),
        ("parent folder", Climbs, "..", good().folder("..")),
        ("pax absolute", Absolute, "/evil", good().pax("path", b"/evil").file("x")),
        ("pax zero byte", NoPath, "a\0b", good().pax("path", b"a\0b").file("x")),
        ("pax empty", NoPath, "", good().pax("path", b"").file("x")),
        (
            "long name parent",
            Climbs,
            "../evil",
            good().entry(EntryType::GNULongName, "L", "", b"../evil\0").file("x"),
        ),
        ("file named dot", NoPath, ".", good().file(".")),
        ("through a link", Through, "l/evil", good().symlink("l", "d").file("l/evil")),
        ("folder through a link", Through, "l/evil", good().symlink("l", "d").folder("l/evil")),
        ("through a link below", Through, "d/l/e/evil", good().symlink("d/l", "..").file("d/l/e/evil")),
        ("through a file", Through, "d/f/evil", good().file("d/f/evil")),
        ("folder where a link is", Twice, "l", good().symlink("l", "d").folder("l")),
        ("link out", LinkOut, "l", good().symlink("l", "../x")),
        ("link absolute", LinkOut, "l", good().symlink("l", "/etc")),
        ("link that climbs through another", LinkOut, "m", good().symlink("l", "d").symlink("m", "l/../..")),
        ("link without target", NoPath, "l", good().symlink("l", "")),
        ("hard link out", LinkTarget, "h", good().hard_link("h", "/etc/passwd")),
        ("hard link climbs", LinkTarget, "h", good().hard_link("h", "../bystander")),
        ("hard link through a link", LinkTarget, "h", good().symlink("l", "d").hard_link("h", "l/f")),
        ("hard link to nothing", LinkTarget, "h", good().hard_link("h", "none")),
        ("hard link to itself", LinkTarget, "h", good().hard_link("h", "h")),
        ("hard link to a folder", LinkTarget, "h", good().hard_link("h", "d")),
        ("hard link to the root", LinkTarget, "h", good().hard_link("h", ".")),
        ("hard link of a link leads out", LinkOut, "h", good().symlink("d/l", "../d").hard_link("h", "d/l")),
        ("hard link over a file", Twice, "d/f", good().hard_link("d/f", "d/f")),
        ("a file twice", Twice, "d/f", good().file("d/f")),
        ("a file over a link", Twice, "l", good().symlink("l", "d/f").file("l")),
        ("a link over a file", Twice, "d/f", good().symlink("d/f", "x")),
        ("a link over a folder", Twice, "d", good().symlink("d", "x")),
        ("a folder over a file", Twice, "d/f", good().folder("d/f")),
        ("spelt in another way", Twice, "./d//f", good().file("./d//f")),
        ("character device", Device, "c", good().entry(EntryType::Char, "c", "", b"")),
        ("block device", Device, "b", good().entry(EntryType::Block, "b", "", b"")),
    ];
    for (row, reason, entry, tar) in table {
        match refused(&tar.end()) {
            Error::UnsafeEntry { entry: named, reason: found } => {
                assert_eq!((found, String::from_utf8_lossy(&named).as_ref()), (reason, entry), "{row}");
            }
            other => panic!("{row}: {other}"),
        }
    }
}

#[test]
fn kinds_that_are_not_extracted_are_named() {
    for (what, tar) in [
        ("a fifo", Tar::default().entry(EntryType::Fifo, "x", "", b"")),
        ("of a kind of its own maker", Tar::default().entry(EntryType::new(b'V'), "x", "", b"")),
        ("part of a tar of several volumes", Tar::default().entry(EntryType::new(b'M'), "x", "", b"")),
    ] {
        let tar = tar.end();
        assert!(
            matches!(refused(&tar), Error::Unsupported { entry, what: found } if entry == b"x" && found == what)
        );
        // A listing shows them all the same.
        let temp = tempfile::tempdir().unwrap();
        seal_bytes(&tar, &temp.path().join("a.age"));
        let listed = unlock(&temp.path().join("a.age")).unwrap().index(&()).unwrap().entries;
        assert_eq!(listed[0].kind, keyward_archive::Kind::Special);
    }
}

#[test]
fn malformed_tars_are_refused() {
    let good = Tar::default().folder("d").file("d/f").end();
    let claims = |size: u64| Tar::default().header(EntryType::Regular, "x", "", size, b"", |_| {}).end();
    let size = |text: &[u8; 12]| {
        let text = *text;
        Tar::default()
            .header(EntryType::Regular, "x", "", 0, b"", move |header| header.as_old_mut().size = text)
            .end()
    };
    let mut checksum = Tar::default().folder("d").file("x").end();
    checksum[512] ^= 1;
    for (row, tar) in [
        ("no end mark", good[..good.len() - 1024].to_vec()),
        ("half an end mark", good[..good.len() - 512].to_vec()),
        ("cut in contents", good[..1536 - 1].to_vec()),
        ("something after the end", [&good[..], b"x"].concat()),
        ("a second tar after the end", [&good[..], &good].concat()),
        ("checksum", checksum),
        ("claims 8 EiB", claims(i64::MAX as u64)),
        ("claims more than there is", claims(1 << 40)),
        ("negative size", size(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("size beyond 64 bits", size(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("size no number", size(b"00000000008\0")),
        ("folder with contents", Tar::default().entry(EntryType::Directory, "d", "", b"x").end()),
        ("link with contents", Tar::default().entry(EntryType::Symlink, "l", "d", b"x").end()),
        ("pax size no number", Tar::default().pax("size", b"-1").file("x").end()),
        ("pax time no time", Tar::default().pax("mtime", b"soon").file("x").end()),
        ("pax without a member", Tar::default().pax("path", b"x").end()),
        ("pax malformed", Tar::default().entry(EntryType::XHeader, "p", "", b"9 a=b\n").file("x").end()),
        (
            "global path",
            Tar::default().entry(EntryType::XGlobalHeader, "g", "", b"10 path=x\n").file("x").end(),
        ),
        (
            "long name of 100 KB",
            Tar::default().entry(EntryType::GNULongName, "L", "", &[b'a'; 100_000]).file("x").end(),
        ),
        ("path of 100 KB", Tar::default().pax("path", &[b'a'; 100_000]).file("x").end()),
    ] {
        let error = refused(&tar);
        assert!(matches!(error, Error::Tar { .. }), "{row}: {error}");
    }
}

#[test]
fn set_id_bits_are_kept_for_their_owner_only() {
    let us = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    let owned = |tar: Tar, path: &str, uid: u32, gid: u32| {
        tar.header(EntryType::Regular, path, "", 1, b"x", |header| {
            header.set_mode(0o6755);
            header.set_uid(uid.into());
            header.set_gid(gid.into());
        })
    };
    let tar = owned(
        owned(owned(Tar::default(), "ours", us, group), "theirs", us + 1, group),
        "group",
        us,
        group + 1,
    );
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&tar.end(), &temp.path().join("a.age"));
    let report = extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap();
    assert_eq!(report.set_id_dropped, 2);
    let mode =
        |name: &str| fs::metadata(temp.path().join("out").join(name)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("ours"), mode("theirs"), mode("group")), (0o6755, 0o755, 0o755));
}

#[test]
fn owners_are_given_to_root_who_asks() {
    use std::os::unix::fs::MetadataExt;
    let tar = Tar::default().header(EntryType::Regular, "f", "", 1, b"x", |header| {
        header.set_uid(1234);
        header.set_gid(2345);
    });
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&tar.end(), &temp.path().join("a.age"));
    let archive = unlock(&temp.path().join("a.age")).unwrap();
    let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for owners in [false, true] {
        let out = temp.path().join(format!("out{owners}"));
        archive.extract(&out, &ExtractOptions { owners, ..ExtractOptions::default() }, &()).unwrap();
        let metadata = fs::metadata(out.join("f")).unwrap();
        let expected = if owners && us.0 == 0 { (1234, 2345) } else { us };
        assert_eq!((metadata.uid(), metadata.gid()), expected);
    }
}

#[test]
fn a_folder_named_late_or_twice_is_one_folder() {
    let mode = |mode: u32| move |header: &mut Header| header.set_mode(mode);
    let tar = Tar::default()
        .file("d/e/f")
        .header(EntryType::Directory, "d", "", 0, b"", mode(0o700))
        .header(EntryType::Directory, "d/e/", "", 0, b"", mode(0o500))
        .header(EntryType::Directory, "./d", "", 0, b"", mode(0o711))
        .end();
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&tar, &temp.path().join("a.age"));
    extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap();
    let mode =
        |path: &str| fs::metadata(temp.path().join("out").join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("d"), mode("d/e")), (0o711, 0o500));
    fs::set_permissions(temp.path().join("out/d/e"), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn memory_is_bounded_whatever_the_names() {
    // A few bytes each once compressed, 60 KB each in memory.
    const ENTRIES: u64 = 4600;
    let long = Tar::default().pax("path", &[b'a'; 60_000]).file("x");
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..ENTRIES {
        bomb.write_all(&long.0).unwrap();
    }
    bomb.write_all(&[0; 1024]).unwrap();
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&bomb.finish().unwrap(), &temp.path().join("a.age"));
    let archive = unlock(&temp.path().join("a.age")).unwrap();
    assert!(matches!(archive.index(&()), Err(Error::TooManyNames { .. })));
    let mut entries = 0;
    archive
        .each_entry(&(), &mut |_| {
            entries += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(entries, ENTRIES);
    let error = extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap_err();
    assert!(
        matches!(error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::InvalidFilename)
    );
    assert_eq!(names(temp.path()), ["a.age"]);
}

#[test]
fn deep_trees_need_no_more_open_files() {
    let mut tar = Tar::default();
    let mut path = String::new();
    for _ in 0..45 {
        path.push_str("d/");
        tar = tar.folder(&path);
    }
    // Deeper by pax, past the limit of open files.
    let deep = "x/".repeat(1500);
    let tar = tar.pax("path", format!("{deep}f").as_bytes()).file("f").end();
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&tar, &temp.path().join("a.age"));
    extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap();
    assert_eq!(fs::read(temp.path().join("out").join(deep).join("f")).unwrap(), b"contents");
    // And back again.
    let again = temp.path().join("again.age");
    seal(&[&temp.path().join("out")], &again).unwrap();
    extract(&again, &temp.path().join("twice")).unwrap();
    assert_eq!(picture(&temp.path().join("out")), picture(&temp.path().join("twice/out")));
}
