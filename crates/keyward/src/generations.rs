//! Writing a vault: a draft that waits for signatures, and the one step that puts it in force.
//!
//! ```text
//! drafts/DIGEST/0002.json, its key files and holder files, its signatures     all that the generation needs
//! statements/0002.json          created exclusively: the commit point; of two admins at once one wins
//! keys/…  holders/…             copied from the draft
//! statements/0002.bob.sig …     copied last: from here on the generation is in force
//! drafts/DIGEST/                removed
//! ```
//!
//! A kill at any point leaves the generation before in force, or the new one with every file that it needs.
//! [`finish_interrupted`] takes a copy that was cut short to its end. A draft that nobody finishes blocks nobody.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use keyward_custody::{Digest, Generation, Name, Pending, VaultFile};

use crate::files;
use crate::report::{Failure, Kind, Result, custody_failure};

const SAFE: &str = "Nothing was changed.";
/// Folders of a draft that become folders of the vault.
const FOLDERS: [&str; 2] = ["keys", "holders"];

/// A file that a generation needs beside its statement: `keys/epoch-2.g2.json`, `holders/dave.age`.
#[derive(Debug)]
pub struct Beside {
    pub folder: &'static str,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// Stores a draft with all that it needs. Stored again, nothing changes.
///
/// # Errors
/// Those of the file system.
pub fn store_draft(vault: &Path, pending: &Pending, beside: &[Beside]) -> Result<()> {
    let draft = draft_folder(vault, pending.digest());
    make(&draft)?;
    for file in beside {
        let folder = draft.join(file.folder);
        make(&folder)?;
        put(&folder.join(&file.name), &file.bytes)?;
    }
    // The statement comes last: a draft that has one has everything.
    put(&draft.join(statement_name(pending.statement().generation())), pending.statement().bytes())?;
    store_signatures(vault, pending)
}

/// Stores the signatures that a draft has got.
///
/// # Errors
/// Those of the file system.
pub fn store_signatures(vault: &Path, pending: &Pending) -> Result<()> {
    let draft = draft_folder(vault, pending.digest());
    for (signer, bytes) in pending.signatures() {
        put(&draft.join(signature_name(pending.statement().generation(), signer)), bytes)?;
    }
    Ok(())
}

/// A draft as it was found.
#[derive(Debug)]
pub struct Found {
    pub statement: Vec<u8>,
    pub signatures: Vec<(Name, Vec<u8>)>,
}

/// The drafts that wait, as bytes that nobody has judged yet: the statement and its signatures.
///
/// # Errors
/// Those of the file system.
pub fn drafts(vault: &Path) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    let Ok(entries) = vault.join("drafts").read_dir() else { return Ok(found) };
    let mut folders: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    folders.sort();
    for folder in folders {
        let mut statement = None;
        let mut signatures = Vec::new();
        for (file, bytes) in vault_files(&folder)? {
            match file {
                VaultFile::Statement(_) => statement = Some(bytes),
                VaultFile::Signature(_, signer) => signatures.push((signer, bytes)),
            }
        }
        if let Some(statement) = statement {
            found.push(Found { statement, signatures });
        }
    }
    Ok(found)
}

/// Puts a complete draft in force.
///
/// # Errors
/// Refused (9) where another generation of this number is there already: somebody was faster. Those of the file system.
pub fn commit(vault: &Path, pending: &Pending) -> Result<()> {
    let generation = pending.statement().generation();
    let statements = vault.join("statements");
    make(&statements)?;
    let path = statements.join(statement_name(generation));
    if let Err(error) = files::create(&path, pending.statement().bytes(), 0o644) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(Failure::io("Writing", &path, &error));
        }
        let there = files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?;
        if there != pending.statement().bytes() {
            return Err(Failure::new(
                Kind::Refused,
                format!("Generation {generation} is there already: another admin was faster. {SAFE}"),
            )
            .hint("Run the command again; it then builds on that generation."));
        }
    }
    copy_out(vault, &draft_folder(vault, pending.digest()), generation)
}

/// Takes commits that were cut short to their end. Gives the generations that were.
///
/// # Errors
/// Those of the file system.
pub fn finish_interrupted(vault: &Path) -> Result<Vec<Generation>> {
    let mut finished = Vec::new();
    let Ok(entries) = vault.join("drafts").read_dir() else { return Ok(finished) };
    for draft in entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.is_dir()) {
        for (file, bytes) in vault_files(&draft)? {
            let VaultFile::Statement(generation) = file else { continue };
            let path = vault.join("statements").join(statement_name(generation));
            if files::read(&path).is_ok_and(|there| there == bytes) {
                copy_out(vault, &draft, generation)?;
                finished.push(generation);
            }
        }
    }
    Ok(finished)
}

/// Checks that a draft's key files are what its statement says, before anybody signs.
///
/// # Errors
/// Not verified (7) where one is missing or another.
pub fn check_key_files(vault: &Path, pending: &Pending) -> Result<()> {
    let folder = draft_folder(vault, pending.digest()).join("keys");
    for (name, digest) in pending.key_files() {
        let path = folder.join(&name);
        let bytes = files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?;
        if Digest::of(&bytes) != digest {
            return Err(Failure::new(
                Kind::NotVerified,
                format!("{} is not the key file that the draft means. {SAFE}", path.display()),
            ));
        }
    }
    Ok(())
}

/// From the draft to the final names: what the generation needs first, its signatures last.
fn copy_out(vault: &Path, draft: &Path, generation: Generation) -> Result<()> {
    for name in FOLDERS {
        let from = draft.join(name);
        let Ok(entries) = from.read_dir() else { continue };
        let to = vault.join(name);
        make(&to)?;
        for entry in entries {
            let path = entry.map_err(|e| Failure::io("Reading", &from, &e))?.path();
            let Some(file) = path.file_name().filter(|file| !file.to_string_lossy().starts_with('.')) else {
                continue;
            };
            let bytes = files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?;
            // Only the one statement of this generation names these files: what another draft left is replaced.
            put(&to.join(file), &bytes)?;
        }
    }
    for (file, bytes) in vault_files(draft)? {
        if matches!(&file, VaultFile::Signature(of, _) if *of == generation) {
            put(&vault.join("statements").join(file.to_string()), &bytes)?;
        }
    }
    // The draft has done its service; one that stays behind harms nobody.
    let _ = fs::remove_dir_all(draft);
    let _ = fs::remove_dir(vault.join("drafts"));
    Ok(())
}

fn vault_files(folder: &Path) -> Result<Vec<(VaultFile, Vec<u8>)>> {
    let mut found = Vec::new();
    let entries = folder.read_dir().map_err(|e| Failure::io("Reading", folder, &e))?;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::io("Reading", folder, &e))?;
        let Some(file) = entry.file_name().to_str().and_then(VaultFile::from_file_name) else { continue };
        let path = entry.path();
        found.push((file, files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?));
    }
    Ok(found)
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if files::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    files::replace(path, bytes, 0o644).map_err(|e| Failure::io("Writing", path, &e))
}

fn make(folder: &Path) -> Result<()> {
    files::make_folder(folder, 0o755).map_err(|e| Failure::io("Making", folder, &e))
}

fn draft_folder(vault: &Path, digest: Digest) -> PathBuf {
    vault.join("drafts").join(digest.to_string())
}

fn statement_name(generation: Generation) -> String {
    VaultFile::Statement(generation).to_string()
}

fn signature_name(generation: Generation, signer: &Name) -> String {
    VaultFile::Signature(generation, signer.clone()).to_string()
}

/// The failure of a draft that the vault does not take.
pub fn draft_failure(error: keyward_custody::Error) -> Failure {
    custody_failure("The new generation", SAFE, error)
}
