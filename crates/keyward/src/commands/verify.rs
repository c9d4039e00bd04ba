//! `keyward verify`: whether archives are what certified hosts made, and whether all of them are there. No token is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use keyward_archive::{Place, Sealed};
use keyward_custody::{
    Audit, AuditLine, Auditor, Blake3, Digest, FoundArchive, FoundReceipt, Freshness, RECEIPT_SUFFIX,
    SignedReceipt,
};

use crate::cli::VerifyArgs;
use crate::interrupt::{self, LongStep};
use crate::lanes::side_by_side;
use crate::receipts::{Scribe, address, folder};
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Bar, Ui, printable};
use crate::vault_folder::{self, now};
use crate::{origin, places};

const SAFE: &str = "Nothing was changed.";
const SUFFIX: &str = ".age";
/// Receipts or headers that are read at a time.
const LANES: usize = 8;

/// Verifies.
///
/// # Errors
/// Not verified (7) if anything is wrong; those of the places.
pub fn run(ui: Ui, vault: Option<&Path>, args: &VerifyArgs) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    if let Some(scribe) = Scribe::find(ui, &state, &vault)? {
        scribe.settle_all()?;
    }
    let id = vault.statement().vault_id();
    let places =
        args.places.iter().map(|path| places::place(&state, path)).collect::<Result<Vec<Place>>>()?;
    let bar = args.deep.then(|| ui.progress());
    // Without a bar nothing is left to tidy: the first Ctrl-C ends it, even where a store keeps it waiting.
    let step = args.deep.then(LongStep::begin);
    let found = look(&places, bar.as_ref());
    drop(step);
    if let Some(bar) = &bar {
        bar.finish();
    }
    let found = found?;
    let freshness = match args.max_age {
        Some(days) => Some(Freshness { now: now()?, days }),
        None => None,
    };
    let heads = state.heads(id)?;
    let audit = found.audit(&Auditor::new(vault.verified(), &heads), freshness);
    print(&found, &audit, args.json.json)?;
    // What counts is remembered, whatever else is wrong.
    state.remember(&audit.heads)?;

    if audit.lines.is_empty() {
        let what = args.places.iter().map(|place| place.display().to_string()).collect::<Vec<_>>();
        let what = ui::list(&what, "and");
        return Err(Failure::new(Kind::NotFound, format!("There is neither archive nor receipt in {what}.")));
    }
    let wrong = audit.lines.iter().filter(|line| !line.finding.is_fine()).count() as u64;
    let archives =
        ui::count(found.archives.len().saturating_add(found.alone.len()) as u64, "archive", "archives");
    if wrong > 0 {
        let things = if wrong == 1 { "1 thing is".to_owned() } else { format!("{wrong} things are") };
        return Err(Failure::new(Kind::NotVerified, format!("{archives} looked at; {things} wrong. {SAFE}"))
            .hint(
                "A series that is kept in several places is verified in one run: keyward verify PLACE PLACE.",
            )
            .hint("What was deleted on purpose: keyward receipt retire --missing."));
    }
    let deep = if args.deep { ", to the last byte" } else { "" };
    ui.say(format!("{archives}: all are what their receipts say{deep}."));
    Ok(())
}

/// What was found in some places.
pub struct Found {
    folders: Vec<String>,
    archives: Vec<FoundArchive>,
    receipts: Vec<FoundReceipt>,
    /// Archives that were named one by one: whether others of their series are there is not asked.
    alone: Vec<(FoundArchive, Option<Vec<u8>>)>,
    /// How the command line named what has this address.
    shown: BTreeMap<String, String>,
}

/// An archive to look at, or a file that is none.
struct Candidate {
    place: Place,
    size: u64,
    /// It has the name or the receipt of an archive, so it is judged as one, whatever it holds now.
    is_one: bool,
    /// It was named by itself, so its receipt is asked for by name.
    alone: bool,
}

/// Looks at places: folders at any depth, or single archives. With a bar every archive is read to its end.
///
/// What waits for a store is done side by side; an archive that is read to its end has all cores for itself.
///
/// # Errors
/// A place that is not there; those of reading, of which the first in the order of what is looked at counts.
pub fn look(places: &[Place], deep: Option<&Bar>) -> Result<Found> {
    let mut found = Found {
        folders: Vec::new(),
        archives: Vec::new(),
        receipts: Vec::new(),
        alone: Vec::new(),
        shown: BTreeMap::new(),
    };
    let (mut receipts, mut candidates) = (Vec::new(), Vec::new());
    for place in places {
        let listed = place.list().map_err(|error| archive_failure(&place.to_string(), SAFE, error))?;
        if let [one] = listed.as_slice()
            && address(&one.place) == address(place)
            && !address(place).ends_with(RECEIPT_SUFFIX)
        {
            found.shown.insert(address(place), place.to_string());
            candidates.push(Candidate { place: place.clone(), size: one.size, is_one: true, alone: true });
            continue;
        }
        found.folders.push(address(place));
        let mut with_receipt = BTreeSet::new();
        for one in &listed {
            let (address, name) = (address(&one.place), one.place.to_string());
            if let Some(archive) = address.strip_suffix(RECEIPT_SUFFIX) {
                if let Some(name) = name.strip_suffix(RECEIPT_SUFFIX) {
                    found.shown.insert(archive.to_owned(), name.to_owned());
                }
                with_receipt.insert(archive.to_owned());
            }
            found.shown.insert(address, name);
        }
        for one in listed {
            let at = address(&one.place);
            if at.ends_with(RECEIPT_SUFFIX) {
                receipts.push(one.place);
                continue;
            }
            let is_one = with_receipt.contains(&at) || at.ends_with(SUFFIX);
            candidates.push(Candidate { place: one.place, size: one.size, is_one, alone: false });
        }
    }
    found.receipts = side_by_side(&receipts, LANES, receipt)?;
    let lanes = if deep.is_some() { 1 } else { LANES };
    let looked_at = side_by_side(&candidates, lanes, |one| {
        let receipt = if one.alone { origin::read_receipt(&one.place)? } else { None };
        Ok((archive(one, deep)?, receipt))
    })?;
    for (one, (archive, receipt)) in candidates.iter().zip(looked_at) {
        match one.alone {
            true => found.alone.extend(archive.map(|archive| (archive, receipt))),
            false => found.archives.extend(archive),
        }
    }
    Ok(found)
}

fn receipt(at: &Place) -> Result<FoundReceipt> {
    go_on()?;
    let bytes = match at.read_small(SignedReceipt::MAX_LEN) {
        Ok(bytes) => bytes,
        // No receipt is so large; what is none is found to be forged.
        Err(keyward_archive::Error::TooLarge { .. }) => Vec::new(),
        Err(error) => return Err(archive_failure(&at.to_string(), SAFE, error)),
    };
    Ok(FoundReceipt { path: address(at), bytes })
}

/// An archive, or nothing for a file that is none.
fn archive(one: &Candidate, deep: Option<&Bar>) -> Result<Option<FoundArchive>> {
    go_on()?;
    let place = &one.place;
    let fail = |error| archive_failure(&place.to_string(), SAFE, error);
    let sealed = match Sealed::open(place) {
        Ok(sealed) => sealed,
        Err(keyward_archive::Error::NotAnArchive { .. } | keyward_archive::Error::Age(_)) => {
            let header = Digest::of(b"");
            let (path, size) = (address(place), one.size);
            return Ok(one.is_one.then_some(FoundArchive { path, header, size, blake3: None }));
        }
        Err(error) => return Err(fail(error)),
    };
    let mut found = origin::found(place, &sealed);
    if let Some(bar) = deep {
        found.blake3 = Some(Blake3::from_bytes(sealed.digest(bar).map_err(fail)?));
    }
    Ok(Some(found))
}

/// Between two requests of a long step.
fn go_on() -> Result<()> {
    match interrupt::asked() {
        true => Err(archive_failure("", SAFE, keyward_archive::Error::Interrupted)),
        false => Ok(()),
    }
}

impl Found {
    /// Judges all of it.
    pub fn audit(&self, auditor: &Auditor<'_>, freshness: Option<Freshness>) -> Audit {
        let mut audit = auditor.all(&self.folders, &self.archives, &self.receipts, freshness);
        for (found, receipt) in &self.alone {
            let judged = auditor.archive(found, receipt.as_deref());
            if let Ok(origin) = &judged {
                audit.heads.see(origin.receipt(), folder(&found.path));
            }
            let line = AuditLine {
                subject: found.path.clone(),
                receipt: judged.as_ref().ok().map(|origin| {
                    let receipt = origin.receipt();
                    (receipt.sealer().clone(), receipt.series().clone(), receipt.sequence())
                }),
                finding: judged.map_or_else(|finding| finding, |origin| origin.finding().clone()),
            };
            audit.lines.push(line);
        }
        audit
    }
}

fn print(found: &Found, audit: &Audit, json: bool) -> Result<()> {
    let mut text = String::new();
    for line in &audit.lines {
        let subject = found.shown.get(&line.subject).unwrap_or(&line.subject);
        if json {
            let (sealer, series, sequence) = match &line.receipt {
                Some((sealer, series, sequence)) => {
                    (Some(sealer.as_str()), Some(series.as_str()), Some(sequence.number()))
                }
                None => (None, None, None),
            };
            let line = serde_json::json!({
                "subject": subject,
                "finding": line.finding.word(),
                "fine": line.finding.is_fine(),
                "message": line.finding.to_string(),
                "sealer": sealer,
                "series": series,
                "sequence": sequence,
            });
            text.push_str(&format!("{line}\n"));
            continue;
        }
        let receipt = match &line.receipt {
            Some((sealer, series, sequence)) if line.finding.is_fine() => {
                format!(" (receipt {sequence} of series {series} by {sealer})")
            }
            _ => String::new(),
        };
        text.push_str(&format!("{}: {}{receipt}\n", printable(subject), line.finding));
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e)),
    }
}
