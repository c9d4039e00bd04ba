//! `keyward open`: by PIN and touch, into a folder or as the decrypted bytes.

use std::io::{self, IsTerminal};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use keyward_archive::{Archive, ExtractOptions, Overwrite, Place, Printable, Sealed};
use keyward_custody::{KeyFile, Origin, own_key_suffix};

use crate::cli::{OpenArgs, UnlockArgs, Xattrs};
use crate::commands::open_many;
use crate::interrupt::LongStep;
use crate::opening::{Kept, Opener};
use crate::report::{Failure, Kind, Result, archive_failure, custody_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::{self, Trusted};
use crate::{origin, places};

const SAFE: &str = "Nothing was written.";

/// Opens.
///
/// # Errors
/// Those of unlocking; an archive that is not verified to its end; a destination that exists.
pub fn run(ui: Ui, vault: Option<&Path>, args: OpenArgs) -> Result<()> {
    if args.all || !args.also.is_empty() {
        return open_many::run(ui, vault, &args);
    }
    let what = args.archive.display().to_string();
    let to_stdout = args.output.as_deref() == Some(Path::new("-"));
    // What is refused anyway is refused before anybody enters a PIN.
    if let Some(directory) = &args.directory {
        check_directory(directory)?;
    }
    if let Some(output) = args.output.as_deref().filter(|_| !to_stdout && !args.force)
        && output.symlink_metadata().is_ok()
    {
        return Err(archive_failure(
            &what,
            SAFE,
            keyward_archive::Error::Exists { path: output.to_path_buf() },
        ));
    }
    let archive = unlocked(ui, vault, &args.archive, &args.unlock)?;
    let bar = ui.progress();
    let step = LongStep::begin();
    let done = match (&args.directory, &args.output) {
        (Some(directory), _) => archive.extract(directory, &extract_options(&args), &bar).map(|report| {
            let tops: Vec<String> = report
                .tops
                .iter()
                .take(3)
                .map(|top| format!("{}/{}", directory.display(), Printable(top)))
                .collect();
            let into = if tops.is_empty() { directory.display().to_string() } else { ui::list(&tops, "and") };
            let mut lines = vec![format!(
                "Opened into {into}: {}, {}. {}",
                ui::count(report.entries, "entry", "entries"),
                ui::bytes(report.bytes),
                if args.paths.is_empty() || !report.indexed {
                    "Every chunk was verified."
                } else {
                    "Every chunk that was read was verified."
                }
            )];
            if report.set_id_dropped > 0 {
                lines.push(format!(
                    "{} left off (setuid or setgid).",
                    ui::count(report.set_id_dropped, "permission was", "permissions were")
                ));
            }
            if report.attributes_dropped > 0 {
                lines.push(format!(
                    "{} not set: this file system or our rights do not allow it, or nobody of that name is here.",
                    ui::count(report.attributes_dropped, "attribute was", "attributes were")
                ));
            }
            lines
        }),
        (None, Some(_)) if to_stdout => {
            if io::stdout().is_terminal() {
                return Err(Failure::new(
                    Kind::Usage,
                    "Standard output is a terminal; the decrypted bytes are not shown.",
                )
                .hint("Pipe them into a program, or name a file."));
            }
            archive
                .copy_to(&mut io::stdout().lock(), 0, &bar)
                .map(|bytes| vec![format!("Opened: {}. Every chunk was verified.", ui::bytes(bytes))])
        }
        (None, Some(output)) => {
            let overwrite = if args.force { Overwrite::Replace } else { Overwrite::Refuse };
            archive.copy_to_file(output, overwrite, 0, &bar).map(|bytes| {
                vec![format!("Opened: {}, {}. Every chunk was verified.", output.display(), ui::bytes(bytes))]
            })
        }
        (None, None) => return Err(Failure::new(Kind::Usage, "Name where to: -C DIR or -o FILE.")),
    };
    drop(step);
    bar.finish();
    // A reader further down the pipe that stopped early ends this run; what it has was verified.
    let safe = if to_stdout { "What was passed on so far is not the whole." } else { SAFE };
    for line in done.map_err(|error| archive_failure(&what, safe, error))? {
        ui.say(line);
    }
    Ok(())
}

/// What is asked of the extraction.
pub fn extract_options(args: &OpenArgs) -> ExtractOptions {
    ExtractOptions {
        owners: args.owners,
        attributes: Xattrs::attributes(args.xattrs),
        keep_links_out: args.links_out,
        only: args.paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect(),
        ..ExtractOptions::default()
    }
}

/// An archive, unlocked by who is here.
///
/// # Errors
/// Those of reading its header and of unlocking; one whose receipt does not hold (7).
pub fn unlocked(ui: Ui, vault: Option<&Path>, path: &Path, args: &UnlockArgs) -> Result<Archive> {
    let sealed = sealed(path)?;
    let state = State::find()?;
    let vault = vault_folder::open_if_named(ui, &state, vault, args.unverified)?;
    let opener = Opener::new(ui, &state, vault.as_ref(), args)?;
    unlock(ui, &state, vault.as_ref(), &opener, args, sealed)
}

/// Checks where an archive comes from, then unlocks it by who is here.
///
/// # Errors
/// As [`unlocked`].
pub fn unlock(
    ui: Ui,
    state: &State,
    vault: Option<&Trusted>,
    opener: &Opener<'_>,
    args: &UnlockArgs,
    sealed: Sealed,
) -> Result<Archive> {
    let place = places::place(state, sealed.path())?;
    let origin = match vault {
        Some(vault) => origin::check(ui, state, vault, &place, &sealed, args.unverified)?,
        None => None,
    };
    let kept = kept(state, vault, args, &place, origin.as_ref())?;
    let key = opener.file_key(sealed.header(), &place.to_string(), &kept)?;
    let archive = sealed.unlock(key);
    Ok(match origin {
        Some(origin) => archive.expecting(*origin.archive().blake3.as_bytes()),
        None => archive,
    })
}

/// What keeps the archive's key: as its receipt says, or the file that was named.
fn kept(
    state: &State,
    vault: Option<&Trusted>,
    args: &UnlockArgs,
    place: &Place,
    origin: Option<&Origin>,
) -> Result<Kept> {
    let facts = origin.map(Origin::archive);
    let digest = facts.and_then(|facts| facts.own_key);
    let at = match (&args.key_file, digest) {
        (Some(file), _) => places::place(state, file)?,
        (None, Some(digest)) => place.sibling(&own_key_suffix(digest)),
        (None, None) => {
            let epoch = facts.and_then(|facts| facts.epoch);
            return Ok(epoch.map_or(Kept::Unknown, |epoch| Kept::Epoch(epoch.get())));
        }
    };
    let Some(vault) = vault else {
        return Err(Failure::new(Kind::Usage, format!("--key-file needs a vault. {SAFE}")));
    };
    let shown = at.to_string();
    let bytes = at.read_small(KeyFile::MAX_LEN).map_err(|error| archive_failure(&shown, SAFE, error))?;
    let file = vault.verified().own_key_file(&bytes).map_err(|error| custody_failure(&shown, SAFE, error))?;
    if digest.is_some_and(|digest| digest != file.digest()) {
        return Err(Failure::new(
            Kind::NotVerified,
            format!("{shown} is not the key file that the receipt of {place} names. {SAFE}"),
        ));
    }
    Ok(Kept::Own(Box::new(file)))
}

/// Reads an archive's header.
///
/// # Errors
/// No such file; a folder; a file that is no archive.
pub fn sealed(path: &Path) -> Result<Sealed> {
    if path.is_dir() {
        return Err(Failure::new(
            Kind::NotVerified,
            format!("{} is a folder, not an archive.", path.display()),
        )
        .hint("Name the sealed file."));
    }
    sealed_at(&places::place(&State::find()?, path)?)
}

/// Reads the header of an archive at a place.
///
/// # Errors
/// As [`sealed`].
pub fn sealed_at(place: &Place) -> Result<Sealed> {
    Sealed::open(place).map_err(|error| {
        let failure = archive_failure(&place.to_string(), SAFE, error);
        if place.path().is_some_and(is_armored) {
            return failure
                .fact("It is an age file in ASCII armor, whose chunks cannot be found without reading all of it.")
                .hint(format!("Take the armor off: grep -v -e ----- {place} | base64 -d >FILE"));
        }
        failure
    })
}

fn check_directory(directory: &Path) -> Result<()> {
    let refused = match directory.symlink_metadata() {
        Err(_) => return Ok(()),
        Ok(meta) if meta.is_dir() => match directory.read_dir().map(|mut entries| entries.next().is_none()) {
            Ok(true) => return Ok(()),
            Ok(false) => keyward_archive::Error::DestinationNotEmpty { path: directory.to_path_buf() },
            Err(error) => return Err(Failure::io("Reading", directory, &error)),
        },
        Ok(_) => keyward_archive::Error::DestinationNotFolder { path: directory.to_path_buf() },
    };
    Err(archive_failure("", SAFE, refused))
}

/// Whether the file begins with age's armor (C2SP age.md, "ASCII armor").
fn is_armored(path: &Path) -> bool {
    use std::io::Read;

    const BEGIN: &[u8] = b"-----BEGIN AGE ENCRYPTED FILE-----";
    let mut start = Vec::with_capacity(BEGIN.len());
    std::fs::File::open(path)
        .and_then(|file| file.take(BEGIN.len() as u64).read_to_end(&mut start))
        .is_ok_and(|_| start == BEGIN)
}
