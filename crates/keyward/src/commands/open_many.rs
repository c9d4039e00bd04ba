//! `keyward open --all` and `--also`: many archives with one PIN, each into a folder or file of its own.
//!
//! A touch opens one archive and no other. Where tokens that are here open the epoch, a person may choose: the epoch with
//! few touches, and with it every archive of that epoch for as long as the run lasts, or one touch for each archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};

use keyward_archive::{Archive, Error, Overwrite, Place};
use keyward_custody::{Epoch, SignedReceipt};

use crate::cli::OpenArgs;
use crate::commands::open::{extract_options, sealed_at, unlock};
use crate::interrupt::LongStep;
use crate::opening::Opener;
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::{self, Trusted};
use crate::{origin, places};

const SAFE: &str = "Nothing was written.";

/// One archive and where it goes.
struct Job {
    archive: Place,
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
    let state = State::find()?;
    let mut jobs = match args.all {
        true => in_folder(&state, &args.archive, directory)?,
        false => vec![named(&state, &args.archive, directory)?],
    };
    for archive in &args.also {
        jobs.push(named(&state, archive, directory)?);
    }
    check_apart(&jobs)?;
    let (done, waiting): (Vec<Job>, Vec<Job>) =
        jobs.into_iter().partition(|job| job.to.symlink_metadata().is_ok());
    for job in &done {
        ui.say(format!("{} is there; {} is passed over.", job.to.display(), job.archive));
    }
    if waiting.is_empty() {
        ui.say("There is nothing left to open.");
        return Ok(());
    }
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

/// The archives in a folder or prefix, with all that is below it, by name.
fn in_folder(state: &State, folder: &Path, directory: &Path) -> Result<Vec<Job>> {
    let place = places::place(state, folder)?;
    if place.path().is_some_and(|path| !path.is_dir()) {
        return Err(Failure::new(
            Kind::Usage,
            format!("{place} is no folder, and --all opens the archives in one. {SAFE}"),
        )
        .hint("Leave out --all, or name the folder."));
    }
    let found = place.list().map_err(|error| archive_failure(&place.to_string(), SAFE, error))?;
    let mut jobs = Vec::new();
    for archive in found.into_iter().map(|found| found.place) {
        let name = named_path(&archive);
        if name.extension().is_none_or(|extension| extension != "age") {
            continue;
        }
        // What stands below the folder keeps its place in DIR; a name that would lead out of it is refused.
        let below = name.strip_prefix(named_path(&place)).unwrap_or(&name).with_extension("");
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            let directory = directory.display();
            return Err(Failure::new(
                Kind::Refused,
                format!("{archive} would not go into {directory}. {SAFE}"),
            ));
        }
        jobs.push(Job { to: directory.join(below), archive });
    }
    if jobs.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("There is no archive in {place}.")));
    }
    Ok(jobs)
}

/// A place's name as a path, whose components are taken apart alike for folders and stores.
fn named_path(place: &Place) -> PathBuf {
    place.path().map_or_else(|| PathBuf::from(place.to_string()), Path::to_path_buf)
}

/// Where an archive that was named goes: `DIR/photos-2026-11-24` for `photos-2026-11-24.age`.
fn named(state: &State, archive: &Path, directory: &Path) -> Result<Job> {
    let archive = places::place(state, archive)?;
    match Path::new(archive.name()).file_stem() {
        Some(stem) if stem != ".." => Ok(Job { to: directory.join(stem), archive }),
        _ => Err(Failure::new(Kind::Usage, format!("{archive} names no archive. {SAFE}"))),
    }
}

/// No two archives go to one place.
fn check_apart(jobs: &[Job]) -> Result<()> {
    let mut taken: BTreeSet<&Path> = BTreeSet::new();
    match jobs.iter().find(|job| !taken.insert(&job.to)) {
        None => Ok(()),
        Some(job) => {
            Err(Failure::new(Kind::Usage, format!("Two archives would go to {}. {SAFE}", job.to.display()))
                .hint("Open one of them by a command of its own."))
        }
    }
}

/// How many archives each epoch would open. What a receipt says is only counted here; it is checked when its archive is
/// opened.
fn by_epoch(vault: &Trusted, jobs: &[Job]) -> Result<BTreeMap<u32, usize>> {
    let newest = vault.verified().epoch_in_force().map(Epoch::number);
    let mut counts = BTreeMap::new();
    for job in jobs {
        let receipt = origin::read_receipt(&job.archive)?.and_then(|bytes| SignedReceipt::parse(&bytes).ok());
        let epoch = match receipt.as_ref().and_then(|signed| signed.receipt().archive()) {
            Some(facts) if facts.own_key.is_some() => None,
            Some(facts) => facts.epoch.map(NonZeroU32::get).or(newest),
            None => newest,
        };
        if let Some(epoch) = epoch {
            *counts.entry(epoch).or_insert(0) += 1;
        }
    }
    counts.retain(|epoch, _| vault.verified().epochs().iter().any(|known| known.number() == *epoch));
    Ok(counts)
}

/// Asks a person which it shall be; off a terminal it stays one touch for each, unless the options say otherwise.
fn choose(ui: Ui, vault: &Trusted, opener: &Opener<'_>, args: &OpenArgs, jobs: &[Job]) -> Result<()> {
    if args.unlock.through_epoch || !args.unlock.with.with.is_empty() || jobs.len() < 2 {
        return Ok(());
    }
    for (epoch, count) in by_epoch(vault, jobs)? {
        let Some(touches) = opener.touches(epoch)?.filter(|touches| (*touches as usize) < count) else {
            continue;
        };
        let each = ui::count(count as u64, "touch", "touches");
        if !ui.interactive() {
            ui.say(format!(
                "Epoch {epoch}: {each}, one for each archive; --through-epoch opens them through the epoch."
            ));
            continue;
        }
        ui.say(format!(
            "{} opens epoch {epoch} ({} here, and every other of it), or {each}, one for each.",
            ui::count(u64::from(touches), "touch", "touches"),
            ui::count(count as u64, "archive", "archives"),
        ));
        if ui.confirm(&format!("Open epoch {epoch}?"), false, "--through-epoch")? {
            opener.open_epoch(vault, epoch)?;
        }
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
    let what = job.archive.to_string();
    let archive = unlock(ui, state, vault, opener, &args.unlock, sealed_at(&job.archive)?)?;
    if let Some(above) = job.to.parent() {
        fs::create_dir_all(above).map_err(|error| Failure::io("Making", above, &error))?;
    }
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
