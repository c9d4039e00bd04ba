//! Keyward's side of each task, in a process of its own so that it is measured as the others are.
//!
//! It is the library without the command line: no vault is read and no token asked, since what a
//! person's PIN and touch take is nothing to compare. Receipts' digests are computed when sealing,
//! and checked when everything is opened.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use keyward_age::{SoftIdentity, Suite};
use keyward_archive::{Archive, ExtractOptions, Overwrite, SealOptions, Sealed, seal_tree};

/// One identity for all runs; it guards nothing.
fn identity() -> Result<SoftIdentity> {
    Ok(SoftIdentity::from_seed(Suite::Hybrid, &[7; 32])?)
}

/// Does the task that the arguments name.
pub(crate) fn run(arguments: &[std::ffi::OsString]) -> Result<()> {
    let words: Vec<&OsStr> = arguments.iter().map(|word| word.as_os_str()).collect();
    match words.as_slice() {
        [task, to, source] if *task == "seal" => {
            let options = SealOptions { overwrite: Overwrite::Replace, ..SealOptions::default() };
            let report = seal_tree(
                &[PathBuf::from(source)],
                &[identity()?.recipient()?],
                Path::new(to),
                &options,
                &(),
            )?;
            fs::write(digest_of(Path::new(to)), report.blake3)?;
        }
        [task, archive, to] if *task == "open" => {
            whole(archive)?.extract(Path::new(to), &ExtractOptions::default(), &())?;
        }
        [task, archive, to] if *task == "open-file" => {
            whole(archive)?.copy_to_file(Path::new(to), Overwrite::Replace, 0, &())?;
        }
        [task, archive] if *task == "ls" => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            part(archive)?.each_entry(&(), &mut |entry| {
                out.write_all(&entry.path)
                    .and_then(|()| out.write_all(b"\n"))
                    .map_err(|source| keyward_archive::Error::Io { path: PathBuf::new(), source })
            })?;
            out.flush()?;
        }
        [task, archive, path] if *task == "cat" => {
            part(archive)?.cat(path.as_bytes(), &mut io::stdout().lock(), &())?;
        }
        _ => bail!("no such task"),
    }
    Ok(())
}

/// An archive of which only a part is read.
fn part(archive: &OsStr) -> Result<Archive> {
    let sealed = Sealed::open(Path::new(archive))?;
    let key = sealed.header().unwrap_soft(&identity()?)?;
    Ok(sealed.unlock(key))
}

/// An archive that is read whole, and held to the digest in its receipt's place.
fn whole(archive: &OsStr) -> Result<Archive> {
    let digest = fs::read(digest_of(Path::new(archive)))?;
    Ok(part(archive)?.expecting(digest.try_into().ok().context("no digest beside the archive")?))
}

/// Where the digest of an archive is kept meanwhile.
fn digest_of(archive: &Path) -> PathBuf {
    archive.with_extension("blake3")
}
