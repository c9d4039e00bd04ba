//! `keyward open --all` and `--also`: many archives with one PIN, each into a folder or file of its own.
//!
//! A touch opens one archive and no other. Where tokens that are here open the epoch, a person may choose: the epoch with
//! few touches, and with it every archive of that epoch for as long as the run lasts, or one touch for each archive.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use keyward_archive::{Archive, Error, Overwrite};

use crate::cli::OpenArgs;
use crate::commands::open::{extract_options, sealed, unlock};
use crate::interrupt::LongStep;
use crate::opening::Opener;
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::{self, Trusted};

const SAFE: &str = "Nothing was written.";

/// One archive and where it goes.
struct Job {
    archive: PathBuf,
    to: PathBuf,
}

/// Opens one archive after another; those that are opened already stay.
///
/// # Errors
/// Two archives of one name; those of opening, with what was opened before.
pub fn run(ui: Ui, vault: Option<&Path>, args: &OpenArgs) -> Result<()> {
    let Some(directory) = &args.directory else {
        return Err(Failure::new(Kind::Usage, "Name where to: -C DIR."));
    };
    let mut archives = if args.all { in_folder(&args.archive)? } else { vec![args.archive.clone()] };
    archives.extend(args.also.iter().cloned());
    let jobs = jobs(&archives, directory)?;
    let (done, waiting): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.to.symlink_metadata().is_ok());
    for job in &done {
        ui.say(format!("{} is there; {} is passed over.", job.to.display(), job.archive.display()));
    }
    if waiting.is_empty() {
        ui.say("There is nothing left to open.");
        return Ok(());
    }
    let state = State::find()?;
    let vault = vault_folder::open_if_named(ui, &state, vault, args.unlock.unverified)?;
    let opener = Opener::new(ui, &state, vault.as_ref(), &args.unlock)?;
    if let Some(vault) = &vault {
        choose(ui, vault, &opener, args, &waiting)?;
    }
    fs::create_dir_all(directory).map_err(|error| Failure::io("Making", directory, &error))?;
    let all = waiting.len();
    for (opened, job) in waiting.iter().enumerate() {
        if let Err(failure) = open(ui, &state, vault.as_ref(), &opener, args, job) {
            let so_far = ui::count(opened as u64, "archive was", "archives were");
            return Err(failure
                .fact(format!("{so_far} opened before it, of {all}. The same command goes on from there.")));
        }
    }
    ui.say(format!(
        "Opened {} into {}. Every chunk was verified.",
        ui::count(all as u64, "archive", "archives"),
        directory.display()
    ));
    Ok(())
}

/// The archives in a folder, by name.
fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotADirectory => Failure::new(
            Kind::Usage,
            format!("{} is no folder, and --all opens the archives in one. {SAFE}", folder.display()),
        )
        .hint("Leave out --all, or name the folder."),
        _ => Failure::io("Reading", folder, &error),
    };
    let mut archives = Vec::new();
    for entry in folder.read_dir().map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|extension| extension == "age") && path.is_file() {
            archives.push(path);
        }
    }
    archives.sort();
    if archives.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("There is no archive in {}.", folder.display())));
    }
    Ok(archives)
}

/// Where each archive goes: `DIR/photos-2026-11-24` for `photos-2026-11-24.age`.
fn jobs(archives: &[PathBuf], directory: &Path) -> Result<Vec<Job>> {
    let mut names: BTreeSet<OsString> = BTreeSet::new();
    let mut jobs = Vec::with_capacity(archives.len());
    for archive in archives {
        let Some(name) = archive.file_stem() else {
            return Err(Failure::new(Kind::Usage, format!("{} names no archive. {SAFE}", archive.display())));
        };
        if !names.insert(name.to_owned()) {
            return Err(Failure::new(
                Kind::Usage,
                format!("Two archives would go to {}. {SAFE}", directory.join(name).display()),
            )
            .hint("Open one of them by a command of its own."));
        }
        jobs.push(Job { archive: archive.clone(), to: directory.join(name) });
    }
    Ok(jobs)
}

/// Asks a person which it shall be; off a terminal it stays one touch for each, unless the options say otherwise.
fn choose(ui: Ui, vault: &Trusted, opener: &Opener<'_>, args: &OpenArgs, jobs: &[Job]) -> Result<()> {
    let Some(epoch) = vault.verified().epoch_in_force().map(keyward_custody::Epoch::number) else {
        return Ok(());
    };
    if args.unlock.through_epoch || !args.unlock.with.with.is_empty() || jobs.len() < 2 {
        return Ok(());
    }
    let Some(touches) = opener.touches(epoch)?.filter(|touches| (*touches as usize) < jobs.len()) else {
        return Ok(());
    };
    let each = ui::count(jobs.len() as u64, "touch", "touches");
    if !ui.interactive() {
        ui.say(format!("{each}, one for each archive; --through-epoch opens them through the epoch."));
        return Ok(());
    }
    ui.say(format!(
        "{}: {} opens epoch {epoch} and with it every archive of it, or {each}, one for each.",
        ui::count(jobs.len() as u64, "archive", "archives"),
        ui::count(u64::from(touches), "touch", "touches"),
    ));
    if ui.confirm(&format!("Open epoch {epoch}?"), false, "--through-epoch")? {
        opener.open_epoch(vault, epoch)?;
    }
    Ok(())
}

fn open(
    ui: Ui,
    state: &State,
    vault: Option<&Trusted>,
    opener: &Opener<'_>,
    args: &OpenArgs,
    job: &Job,
) -> Result<()> {
    let what = job.archive.display().to_string();
    let archive = unlock(ui, state, vault, opener, &args.unlock, sealed(&job.archive)?)?;
    let bar = ui.progress();
    let step = LongStep::begin();
    let done = unpack(&archive, args, &job.to, &bar);
    drop(step);
    bar.finish();
    let size = done.map_err(|error| archive_failure(&what, SAFE, error))?;
    ui.say(format!("Opened: {what} into {}, {}.", job.to.display(), ui::bytes(size)));
    Ok(())
}

/// A tree into a folder; what is no tree into a file. Returns the bytes of file contents.
fn unpack(archive: &Archive, args: &OpenArgs, to: &Path, bar: &ui::Bar) -> std::result::Result<u64, Error> {
    match archive.extract(to, &extract_options(args), bar) {
        Err(Error::NotATree { .. }) => archive.copy_to_file(to, Overwrite::Refuse, 0, bar),
        extracted => extracted.map(|report| report.bytes),
    }
}
