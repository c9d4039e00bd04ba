//! What is under way at a store, noted in this host's state folder, so that what a killed run left
//! there can be finished or removed.
//!
//! ```text
//! uploads/DESTINATION/WRITER/journal   a line of JSON an event; locked while its run lives
//! uploads/DESTINATION/WRITER/spool     the archive's bytes, for --resume alone
//! ```
//!
//! DESTINATION is a digest of the place's name, WRITER a random number, which the object carries as
//! metadata. Nothing here is secret: the spool is ciphertext, and credentials are never written. A
//! line is on the disk before what it makes possible is done: parts are sent after the line that
//! names their upload. A last line that was cut is passed over.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The largest journal that is read: 10,000 parts take about 1 MiB.
const LARGEST: u64 = 16 << 20;

/// What is known of one upload.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Who writes.
    pub(super) writer: String,
    /// The key that the parts go to, and the store's name for the upload.
    pub(super) upload: Option<(String, String)>,
    /// The store's names for the parts that it has, by index.
    pub(super) parts: BTreeMap<usize, String>,
    /// Where the archive's bytes are kept.
    pub(super) spool: Option<PathBuf>,
    /// Size and BLAKE3 of the whole archive, once it has been sealed to its end.
    pub(super) sealed: Option<(u64, [u8; 32])>,
    /// The caller's own bytes.
    pub(super) note: Vec<u8>,
}

/// The notes of one upload. They stay until [`remove`](Self::remove).
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    /// Holds the lock.
    file: File,
    pub(super) record: Record,
}

impl Journal {
    /// Begins the notes of an upload to `destination` by `writer`.
    pub(super) fn begin(uploads: &Path, destination: &str, writer: &str) -> Result<Self, Error> {
        let all = folder(uploads, destination);
        let (made, folder) = (all.join(format!(".{writer}")), all.join(writer));
        let failed = |error: io::Error| Error::io(&folder, error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&made).map_err(failed)?;
        let mut file = OpenOptions::new()
            .create_new(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(made.join("journal"))
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        // Under its lasting name only with the lock, so that nobody takes it for a dead one.
        writeln!(file, "{}", json!({ "version": 1, "destination": destination, "writer": writer }))
            .map_err(failed)?;
        fs::rename(&made, &folder).map_err(failed)?;
        let record = Record { writer: writer.to_owned(), ..Record::default() };
        Ok(Self { folder, file, record })
    }

    /// The notes on `destination` of runs that are no more.
    pub(super) fn left(uploads: &Path, destination: &str) -> Vec<Self> {
        let entries = fs::read_dir(folder(uploads, destination)).into_iter().flatten().flatten();
        let mut left: Vec<_> = entries
            .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
            .filter_map(|entry| Self::reopen(entry.path(), destination))
            .collect();
        left.sort_by(|a, b| a.folder.cmp(&b.folder));
        left
    }

    fn reopen(folder: PathBuf, destination: &str) -> Option<Self> {
        let file = OpenOptions::new().read(true).append(true).open(folder.join("journal")).ok()?;
        file.try_lock().ok()?;
        let mut text = Vec::new();
        (&file).take(LARGEST).read_to_end(&mut text).ok()?;
        let mut record = Record::default();
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { break };
            record.take(&line, destination)?;
        }
        // A cut last line must not run into the next one.
        if text.last().is_some_and(|byte| *byte != b'\n') {
            (&file).write_all(b"\n").ok()?;
        }
        (!record.writer.is_empty()).then_some(Self { folder, file, record })
    }

    /// Notes the upload before its first part is sent.
    pub(super) fn upload(&mut self, key: &str, id: &str) -> Result<(), Error> {
        self.record.upload = Some((key.to_owned(), id.to_owned()));
        self.record.parts.clear();
        self.line(&json!({ "key": key, "upload": id }), true)
    }

    /// Notes a part that the store has.
    pub(super) fn part(&mut self, index: usize, name: &str) -> Result<(), Error> {
        self.record.parts.insert(index, name.to_owned());
        // Lost, it is sent again.
        self.line(&json!({ "part": index, "name": name }), false)
    }

    /// Opens a new file that takes the archive's bytes, in `elsewhere` or beside these notes.
    pub(super) fn spool(&mut self, elsewhere: Option<&Path>) -> Result<File, Error> {
        let path = match elsewhere {
            Some(folder) => {
                let folder = std::path::absolute(folder).map_err(|error| Error::io(folder, error))?;
                folder.join(format!(".keyward-{}.spool", self.record.writer))
            }
            None => self.folder.join("spool"),
        };
        self.line(&json!({ "spool": path.to_string_lossy() }), true)?;
        let made = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        let file = made.map_err(|error| Error::io(&path, error))?;
        self.record.spool = Some(path);
        Ok(file)
    }

    /// Notes that the archive is sealed to its end, and all of it in the spool.
    pub(super) fn sealed(&mut self, size: u64, blake3: [u8; 32]) -> Result<(), Error> {
        self.record.sealed = Some((size, blake3));
        self.line(&json!({ "size": size, "blake3": hex(&blake3) }), true)
    }

    /// Keeps the caller's own bytes.
    pub(super) fn note(&mut self, note: &[u8]) -> Result<(), Error> {
        self.record.note = note.to_vec();
        self.line(&json!({ "note": hex(note) }), true)
    }

    fn line(&self, line: &Value, durable: bool) -> Result<(), Error> {
        let mut text = line.to_string();
        text.push('\n');
        let written = (&self.file).write_all(text.as_bytes());
        let synced = written.and_then(|()| if durable { self.file.sync_data() } else { Ok(()) });
        synced.map_err(|error| Error::io(&self.folder, error))
    }

    /// Removes the notes and the spool.
    pub(super) fn remove(self) {
        if let Some(spool) = &self.record.spool {
            let _ = fs::remove_file(spool);
        }
        let _ = fs::remove_dir_all(&self.folder);
        if let Some(all) = self.folder.parent() {
            // Fails while another upload to the same place is noted.
            let _ = fs::remove_dir(all);
        }
    }
}

impl Record {
    /// Takes in a line; `None` if these are not notes of ours.
    fn take(&mut self, line: &Value, destination: &str) -> Option<()> {
        let text = |name: &str| line.get(name).and_then(Value::as_str);
        if let Some(version) = line.get("version") {
            if version.as_u64() != Some(1) || text("destination") != Some(destination) {
                return None;
            }
            self.writer = text("writer")?.to_owned();
        }
        if let (Some(key), Some(id)) = (text("key"), text("upload")) {
            self.upload = Some((key.to_owned(), id.to_owned()));
            self.parts.clear();
        }
        if let (Some(part), Some(name)) = (line.get("part").and_then(Value::as_u64), text("name")) {
            self.parts.insert(usize::try_from(part).ok()?, name.to_owned());
        }
        if let Some(spool) = text("spool") {
            self.spool = Some(spool.into());
        }
        if let (Some(size), Some(blake3)) = (line.get("size").and_then(Value::as_u64), text("blake3")) {
            self.sealed = Some((size, unhex(blake3)?.try_into().ok()?));
        }
        if let Some(note) = text("note") {
            self.note = unhex(note)?;
        }
        Some(())
    }
}

fn folder(uploads: &Path, destination: &str) -> PathBuf {
    let digest = Sha256::digest(destination.as_bytes());
    uploads.join(hex(digest.first_chunk::<16>().unwrap_or(&[0; 16])))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_dead_run_noted_is_found_and_of_a_living_one_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let mut journal = Journal::begin(temp.path(), "s3://b/a", "01").unwrap();
        journal.upload("a", "up").unwrap();
        journal.part(0, "\"etag\"").unwrap();
        journal.spool(None).unwrap().write_all(b"abc").unwrap();
        journal.sealed(3, [7; 32]).unwrap();
        journal.note(b"a receipt").unwrap();
        assert!(Journal::left(temp.path(), "s3://b/a").is_empty(), "it lives");
        let path = journal.folder.join("journal");
        drop(journal);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"part\":1,\"na").unwrap();

        assert!(Journal::left(temp.path(), "s3://b/other").is_empty());
        let mut left = Journal::left(temp.path(), "s3://b/a");
        let mut journal = left.pop().unwrap();
        let record = &journal.record;
        assert_eq!((record.writer.as_str(), record.sealed), ("01", Some((3, [7; 32]))));
        assert_eq!(record.upload, Some(("a".into(), "up".into())));
        assert_eq!((record.parts.len(), record.note.as_slice()), (1, &b"a receipt"[..]));
        assert_eq!(fs::read(record.spool.as_ref().unwrap()).unwrap(), b"abc");
        journal.part(2, "x").unwrap();
        drop(journal);
        let mut left = Journal::left(temp.path(), "s3://b/a");
        assert_eq!(left[0].record.parts.len(), 1, "what follows a broken line is not believed");
        left.pop().unwrap().remove();
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0);
    }
}
