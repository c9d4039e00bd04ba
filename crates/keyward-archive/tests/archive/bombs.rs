//! Archives that claim more than they hold, or hold more than they weigh: maps of holes, records,
//! frames and indexes. Each is refused by name, or bounded.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyward_archive::{Error, Progress, Unsafe};
use tar::EntryType;

use crate::hostile::{Tar, refused};
use crate::support::*;

/// A file in PAX form 1.0 with this map, data and claimed size.
fn form_1(map: &[u8], data: &[u8], size: &str) -> Tar {
    let mut contents = map.to_vec();
    contents.resize(map.len().next_multiple_of(512), 0);
    contents.extend_from_slice(data);
    Tar::default()
        .records(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"x"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ])
        .entry(EntryType::Regular, "GNUSparseFile.0/x", "", &contents)
}

/// A file in form 0.1 with this map.
fn form_0(map: &[u8], size: &[u8]) -> Tar {
    Tar::default()
        .records(&[("GNU.sparse.name", b"x"), ("GNU.sparse.size", size), ("GNU.sparse.map", map)])
        .entry(EntryType::Regular, "x", "", b"12345678")
}

/// A file in GNU's oldest form with these spans.
fn old(spans: &[(u64, u64)], size: u64) -> Tar {
    Tar::default().header(EntryType::GNUSparse, "x", "", 8, b"12345678", |header| {
        let gnu = header.as_gnu_mut().unwrap();
        for (field, (offset, length)) in gnu.sparse.iter_mut().zip(spans) {
            field.offset.copy_from_slice(format!("{offset:011o}\0").as_bytes());
            field.numbytes.copy_from_slice(format!("{length:011o}\0").as_bytes());
        }
        gnu.realsize.copy_from_slice(format!("{size:011o}\0").as_bytes());
    })
}

#[test]
fn maps_of_holes_that_are_none() {
    let data = b"12345678";
    for (row, tar) in [
        ("overlap", form_1(b"2\n0\n5\n4\n3\n", data, "100")),
        ("out of order", form_1(b"2\n50\n4\n0\n4\n", data, "100")),
        ("beyond the size", form_1(b"1\n95\n8\n", data, "100")),
        ("beyond 64 bits", form_1(b"1\n18446744073709551615\n8\n", data, "100")),
        ("claims more data than there is", form_1(b"1\n0\n9\n", data, "100")),
        ("claims less data than there is", form_1(b"1\n0\n7\n", data, "100")),
        ("claims 8 EiB of data", form_1(b"1\n0\n9223372036854775807\n", data, "9223372036854775807")),
        ("a size beyond 63 bits", form_1(b"1\n0\n8\n", data, "9223372036854775808")),
        ("10,000,000,000 spans", form_1(b"10000000000\n0\n8\n", data, "100")),
        ("more spans than numbers count", form_1(b"9999999999999999999\n0\n8\n", data, "100")),
        ("a number without end", form_1(&[b'1'; 2000], data, "100")),
        ("no numbers", form_1(b"one\n0\n8\n", data, "100")),
        ("negative", form_1(b"1\n-1\n8\n", data, "100")),
        ("no map", form_1(b"", b"", "100")),
        ("0.1 overlap", form_0(b"0,5,4,3", b"100")),
        ("0.1 odd", form_0(b"0,4,50", b"100")),
        ("0.1 beyond the size", form_0(b"95,8", b"100")),
        ("0.1 less than stored", form_0(b"0,4", b"100")),
        ("old overlap", old(&[(0, 5), (4, 3)], 100)),
        ("old out of order", old(&[(50, 4), (0, 4)], 100)),
        ("old beyond the size", old(&[(0, 8)], 7)),
        ("old nothing", old(&[], 100)),
        (
            "unknown version",
            Tar::default()
                .records(&[
                    ("GNU.sparse.major", b"2"),
                    ("GNU.sparse.minor", b"0"),
                    ("GNU.sparse.name", b"x"),
                    ("GNU.sparse.realsize", b"8"),
                ])
                .file("x"),
        ),
        ("no size", Tar::default().pax("GNU.sparse.major", b"1").file("x")),
    ] {
        let error = refused(&tar.end());
        assert!(
            matches!(&error, Error::UnsafeEntry { entry, reason: Unsafe::Holes } if entry == b"x"),
            "{row}: {error}"
        );
    }
    for (row, tar) in [
        ("0.1 no number", form_0(b"0,x", b"100")),
        ("unknown key", Tar::default().pax("GNU.sparse.surprise", b"1").file("x")),
        ("old negative", old(&[], 100).change(386, 0xff)),
        (
            "old goes on and ends",
            Tar::default().header(EntryType::GNUSparse, "x", "", 0, b"", |header| {
                header.as_gnu_mut().unwrap().isextended = [1];
            }),
        ),
    ] {
        let bytes = if row == "old goes on and ends" { tar.0.clone() } else { tar.end() };
        let error = refused(&bytes);
        assert!(
            matches!(error, Error::Tar { .. } | Error::UnsafeEntry { reason: Unsafe::Holes, .. }),
            "{row}: {error}"
        );
    }
    // The path that counts is the one in the records.
    let out = Tar::default()
        .records(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"../x"),
            ("GNU.sparse.realsize", b"0"),
        ])
        .entry(EntryType::Regular, "x", "", &[b"0\n".to_vec(), vec![0; 510]].concat());
    assert!(
        matches!(refused(&out.end()), Error::UnsafeEntry { entry, reason: Unsafe::Climbs } if entry == b"../x")
    );
}

/// Stops once so many bytes have passed.
struct Until(u64, AtomicU64);

impl Progress for Until {
    fn done(&self, _: u64, bytes: u64) {
        self.1.fetch_add(bytes, Ordering::SeqCst);
    }

    fn stopped(&self) -> bool {
        self.1.load(Ordering::SeqCst) >= self.0
    }
}

#[test]
fn an_exbibyte_of_hole_costs_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let sealed = temp.path().join("a.age");
    seal_bytes(&form_1(b"1\n0\n8\n", b"12345678", "1152921504606846976").end(), &sealed);
    assert_eq!(unlock(&sealed).unwrap().index(&()).unwrap().entries[0].size, 1 << 60);
    let out = temp.path().join("out");
    // A file system either has no such size, and says so, or keeps a hole.
    match extract(&sealed, &out) {
        Err(Error::Io { path, .. }) => assert!(path == out.join("x") && !out.exists()),
        Err(other) => panic!("{other}"),
        Ok(_) => {
            use std::os::unix::fs::MetadataExt;
            assert!(fs::metadata(out.join("x")).unwrap().blocks() < 1000);
        }
    }
    // Reading it is long, and can be stopped.
    let until = Until(10 << 20, AtomicU64::new(0));
    let mut content = Vec::new();
    assert!(matches!(unlock(&sealed).unwrap().cat(b"x", &mut content, &until), Err(Error::Interrupted)));
    assert!(content.len() < 11 << 20);
}

#[test]
fn records_and_long_names_are_bounded() {
    let chain = |kind: EntryType, size: usize, count: usize| {
        let data = if kind == EntryType::XHeader {
            [
                format!("{size} comment=").as_bytes(),
                &vec![b'a'; size - format!("{size} comment=").len() - 1],
                b"\n",
            ]
            .concat()
        } else {
            vec![b'a'; size]
        };
        (0..count).fold(Tar::default(), |tar, _| tar.entry(kind, "e", "", &data)).file("x")
    };
    for (row, tar) in [
        ("one record of 2 MiB", chain(EntryType::XHeader, 2 << 20, 1)),
        ("records of 2 MiB in all", chain(EntryType::XHeader, 2048, 1024)),
        ("long names of 2 MiB in all", chain(EntryType::GNULongName, 2048, 1024)),
        ("long targets of 2 MiB in all", chain(EntryType::GNULongLink, 2048, 1024)),
        ("an attribute of 2 MiB", Tar::default().pax("SCHILY.xattr.user.a", &vec![0; 2 << 20]).file("x")),
        (
            "a record that claims more than there is",
            Tar::default().entry(EntryType::XHeader, "p", "", b"999999 path=a\n").file("x"),
        ),
        ("a record of no length", Tar::default().entry(EntryType::XHeader, "p", "", b"0 path=a\n").file("x")),
        ("a time beyond 64 bits", Tar::default().pax("mtime", b"99999999999999999999").file("x")),
        ("a negative owner", Tar::default().pax("uid", b"-1").file("x")),
        ("an owner beyond 32 bits", Tar::default().pax("gid", b"4294967296").file("x")),
        ("a size beyond 63 bits", Tar::default().pax("size", b"9223372036854775808").file("x")),
        ("a size beyond 64 bits", Tar::default().pax("size", b"99999999999999999999").file("x")),
    ] {
        let error = refused(&tar.end());
        assert!(matches!(error, Error::Tar { .. }), "{row}: {error}");
    }
    // Empty ones cost nothing but the blocks that they are, and the last name counts.
    let many = (0..5000).fold(Tar::default(), |tar, _| tar.entry(EntryType::GNULongName, "L", "", b"n\0"));
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&many.file("x").end(), &temp.path().join("a.age"));
    extract(&temp.path().join("a.age"), &temp.path().join("out")).unwrap();
    assert_eq!(names(&temp.path().join("out")), ["n"]);
}

#[test]
fn any_time_of_64_bits_is_taken_or_refused_whole() {
    for time in ["9223372036854775807", "-9223372036854775808", "-1", "0.999999999", "253402300800"] {
        let temp = tempfile::tempdir().unwrap();
        seal_bytes(&Tar::default().pax("mtime", time.as_bytes()).file("x").end(), &temp.path().join("a.age"));
        match extract(&temp.path().join("a.age"), &temp.path().join("out")) {
            Ok(_) => assert_eq!(names(&temp.path().join("out")), ["x"], "{time}"),
            Err(Error::Io { .. }) => assert_eq!(names(temp.path()), ["a.age"], "{time}"),
            Err(other) => panic!("{time}: {other}"),
        }
    }
}

#[test]
fn names_that_differ_in_case_never_replace_each_other() {
    let temp = tempfile::tempdir().unwrap();
    let tar = Tar::default().file("Name").symlink("NAME", "Name").folder("name");
    seal_bytes(&tar.end(), &temp.path().join("a.age"));
    match extract(&temp.path().join("a.age"), &temp.path().join("out")) {
        Ok(_) => assert_eq!(names(&temp.path().join("out")), ["NAME", "Name", "name"]),
        Err(error) => {
            assert!(matches!(error, Error::UnsafeEntry { reason: Unsafe::Twice, .. }), "{error}");
            assert!(!temp.path().join("out").exists());
        }
    }
}

#[test]
fn a_frame_that_asks_for_a_gibibyte_of_memory_is_refused() {
    // RFC 8878, 3.1.1.1: no content size, window of 2^30 bytes; then an empty last block.
    let frame = [&0xFD2F_B528_u32.to_le_bytes()[..], &[0x00, 20 << 3], &[1, 0, 0]].concat();
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&frame, &temp.path().join("a.age"));
    assert!(matches!(extract(&temp.path().join("a.age"), &temp.path().join("out")), Err(Error::Zstd { .. })));
    assert_eq!(names(temp.path()), ["a.age"]);
}

#[test]
fn a_gibibyte_of_zeros_in_a_few_kilobytes_is_passed_over_in_bounded_memory() {
    const SIZE: u64 = 1 << 30;
    let header = Tar::default().header(EntryType::Regular, "zeros", "", SIZE, b"", |_| {}).0;
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    std::io::copy(
        &mut std::io::Read::chain(&header[..], std::io::Read::take(std::io::repeat(0), SIZE + 1024)),
        &mut bomb,
    )
    .unwrap();
    let bomb = bomb.finish().unwrap();
    assert!(bomb.len() < 1 << 18, "{}", bomb.len());
    let temp = tempfile::tempdir().unwrap();
    seal_bytes(&bomb, &temp.path().join("a.age"));
    let listed = unlock(&temp.path().join("a.age")).unwrap().index(&()).unwrap().entries;
    assert_eq!((listed.len(), listed[0].size), (1, SIZE));
}

/// An archive of one file whose index claims `count` more, all with one path.
fn with_index(count: u64) -> Vec<u8> {
    let tar = Tar::default().file("a").end();
    let frame = zstd::bulk::compress(&tar, 1).unwrap();
    let mut records = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    // kind, shared, rest, offset, size, mode, seconds, nanos
    let first = [0, 0, 1, b'a', 0, 8, 0, 0, 0];
    std::io::Write::write_all(&mut records, &first).unwrap();
    let one = [0, 1, 0, 1, 0, 0, 0, 0];
    let block = one.repeat(1000);
    for _ in 0..count / 1000 {
        std::io::Write::write_all(&mut records, &block).unwrap();
    }
    let records = records.finish().unwrap();
    let mut index = Vec::new();
    index.extend_from_slice(&0x184D_2A5B_u32.to_le_bytes());
    index.extend_from_slice(&(32 + records.len() as u32).to_le_bytes());
    index.extend_from_slice(b"kwindex\x01");
    for word in [count + 1, 8, 9 + 8 * count] {
        index.extend_from_slice(&word.to_le_bytes());
    }
    index.extend_from_slice(&records);
    let mut table = 0x184D_2A5E_u32.to_le_bytes().to_vec();
    for word in [2 * 8 + 9, frame.len() as u32, tar.len() as u32, index.len() as u32, 0, 2] {
        table.extend_from_slice(&word.to_le_bytes());
    }
    table.push(0);
    table.extend_from_slice(&0x8F92_EAB1_u32.to_le_bytes());
    [frame, index, table].concat()
}

#[test]
fn an_index_of_ten_million_entries_is_bounded() {
    const COUNT: u64 = 10_000_000;
    let temp = tempfile::tempdir().unwrap();
    let sealed = temp.path().join("a.age");
    let bytes = with_index(COUNT);
    assert!(bytes.len() < 1 << 20, "{}", bytes.len());
    seal_bytes(&bytes, &sealed);
    let archive = unlock(&sealed).unwrap();
    let begun = Instant::now();
    assert_eq!(archive.totals().unwrap().unwrap().entries, COUNT + 1);
    let mut listed = 0;
    let mut count = |_| {
        listed += 1;
        Ok(())
    };
    assert!(archive.each_entry(&(), &mut count).unwrap());
    assert_eq!(listed, COUNT + 1);
    assert!(matches!(archive.index(&()), Err(Error::TooManyNames { .. })));
    assert!(matches!(
        archive.cat(b"a", &mut Vec::new(), &()),
        Err(Error::UnsafeEntry { reason: Unsafe::Twice, .. })
    ));
    let error = extract(&sealed, &temp.path().join("out")).unwrap_err();
    assert!(matches!(error, Error::IndexMismatch { found: 1, .. }), "{error}");
    assert_eq!(names(temp.path()), ["a.age"]);
    // Seconds, not minutes, on the slowest machine.
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
