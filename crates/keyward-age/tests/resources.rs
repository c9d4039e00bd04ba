//! What the engine holds: memory that does not grow with the input, and no thread after its end. One
//! test, since both are measured for the whole process.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

use std::fs;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use keyward_age::{Header, OpenReader, SealOptions, SealWriter, SoftIdentity, Suite};

const THREADS: usize = 3;
const MIB: usize = 1 << 20;

/// The most memory this process has had resident, in bytes.
fn peak() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn workers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .filter(|name| name.starts_with("keyward-age"))
        .count()
}

/// A joined thread can be listed for a moment longer, and one that has just begun has no name yet.
fn assert_workers(count: usize) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while workers() != count {
        assert!(Instant::now() < deadline, "{} worker threads instead of {count}", workers());
        std::thread::yield_now();
    }
}

/// Seals `size` bytes into `out` in pieces.
fn seal<W: Write>(identity: &SoftIdentity, size: usize, out: W) -> SealWriter<W> {
    let options = SealOptions { threads: THREADS };
    let mut writer = SealWriter::new(&[identity.recipient().unwrap()], out, options).unwrap();
    let piece = vec![0x5a; MIB];
    for _ in 0..size / MIB {
        writer.write_all(&piece).unwrap();
    }
    writer
}

#[test]
fn memory_and_threads_are_bounded() {
    let identity = SoftIdentity::generate(Suite::Hybrid).unwrap();
    let folder = std::env::temp_dir().join(format!("keyward-age-resources-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let mut peaks = Vec::new();
    for size in [32 * MIB, 320 * MIB] {
        let path = folder.join("file.age");
        seal(&identity, size, fs::File::create(&path).unwrap()).finish().unwrap();
        let mut file = fs::File::open(&path).unwrap();
        let header = Header::read(&mut file).unwrap();
        let file_key = header.unwrap_soft(&identity).unwrap();
        let mut reader = OpenReader::new(file, &file_key, THREADS).unwrap();
        assert_eq!(io::copy(&mut reader, &mut io::sink()).unwrap(), size as u64);
        drop(reader);
        assert_workers(0);
        peaks.push(peak());
    }

    // Given up in the middle: sealing, and opening.
    let writer = seal(&identity, 32 * MIB, io::sink());
    assert_workers(THREADS);
    drop(writer);
    assert_workers(0);
    let mut file = fs::File::open(folder.join("file.age")).unwrap();
    let header = Header::read(&mut file).unwrap();
    let file_key = header.unwrap_soft(&identity).unwrap();
    let mut reader = OpenReader::new(file, &file_key, THREADS).unwrap();
    reader.read_exact(&mut [0; 100]).unwrap();
    assert_workers(THREADS);
    drop(reader);
    assert_workers(0);

    fs::remove_dir_all(&folder).unwrap();
    let [small, large] = peaks[..] else { panic!("two sizes") };
    assert!(large <= small + small / 10, "{small} bytes for 32 MiB, {large} for 320 MiB");
}
