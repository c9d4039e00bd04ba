//! `keyward receipt`: vouch for archives that have none, and say which may be deleted.

use std::path::Path;

use keyward_archive::Place;
use keyward_custody::{ArchiveFacts, Auditor, Blake3, Digest, Finding, GoneMap, Numbers, Series};

use crate::cli::{AdoptArgs, ReceiptCommand, RetireArgs};
use crate::commands::open::sealed;
use crate::commands::verify;
use crate::interrupt::LongStep;
use crate::origin;
use crate::places;
use crate::receipts::{self, Scribe};
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::{self, Trusted};

const SAFE: &str = "Nothing was written.";

/// Runs one of the receipt's commands.
///
/// # Errors
/// Refused (9) where this host is no sealer; those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: ReceiptCommand) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    let scribe = Scribe::find(ui, &state, &vault)?.ok_or_else(|| {
        Failure::new(Kind::Refused, format!("This host is no sealer of vault `{}`. {SAFE}", vault.name()))
            .hint("keyward sealer key shows its key; an admin certifies it with keyward sealer add.")
    })?;
    match command {
        ReceiptCommand::Adopt(args) => adopt(ui, &state, &vault, &scribe, &args),
        ReceiptCommand::Retire(args) => retire(ui, &state, &vault, &scribe, &args),
        ReceiptCommand::Finish => scribe.settle_all(),
    }
}

fn adopt(ui: Ui, state: &State, vault: &Trusted, scribe: &Scribe<'_>, args: &AdoptArgs) -> Result<()> {
    scribe.settle_all()?;
    for path in &args.archives {
        let place = places::place(state, path)?;
        let sealed = sealed(path)?;
        let series = match &args.series {
            Some(name) => receipts::series(name)?,
            None => receipts::series_of(&place),
        };
        if let Some(bytes) = origin::read_receipt(&place)? {
            let heads = state.heads(vault.statement().vault_id())?;
            let found = origin::found(&place, &sealed);
            match Auditor::new(vault.verified(), &heads).archive(&found, Some(&bytes)) {
                Ok(origin) => {
                    let receipt = origin.receipt();
                    let (number, series) = (receipt.sequence(), receipt.series());
                    ui.say(format!("{place} has receipt {number} of series {series} already."));
                    continue;
                }
                // Whoever vouches for it would vouch for what somebody put there.
                Err(finding) => {
                    return Err(Failure::new(Kind::Refused, format!("{place}: {finding}. {SAFE}"))
                        .hint("If you know how that came about, move its receipt away and adopt it then."));
                }
            }
        }
        let bar = ui.progress();
        let step = LongStep::begin();
        let blake3 = sealed.digest(&bar);
        drop(step);
        bar.finish();
        let blake3 = blake3.map_err(|error| archive_failure(&place.to_string(), SAFE, error))?;
        let facts = ArchiveFacts {
            adopted: true,
            blake3: Blake3::from_bytes(blake3),
            epoch: None,
            header: Digest::from_bytes(sealed.header_digest()),
            name: receipts::object_name(&place),
            own_key: None,
            size: sealed.size(),
        };
        let given = scribe.publish(&series, &place, facts, || Ok(()))?;
        ui.say(format!(
            "Adopted: {place}, {}, {given}. Host {} vouches for it and did not make it.",
            ui::bytes(sealed.size()),
            scribe.name()
        ));
    }
    Ok(())
}

/// What may be deleted in one folder or prefix.
struct Retired {
    folder: Place,
    series: Series,
    gone: GoneMap,
}

fn retire(ui: Ui, state: &State, vault: &Trusted, scribe: &Scribe<'_>, args: &RetireArgs) -> Result<()> {
    let own = args.series.as_deref().map(receipts::series).transpose()?;
    let retired = match args.missing {
        true => missing(state, vault, args)?,
        false => named(state, vault, args)?,
    };
    if retired.is_empty() {
        ui.say("Nothing is missing there.");
        return Ok(());
    }
    for one in &retired {
        for (sealer, series, gone) in one.gone.iter() {
            ui.say(format!("May be deleted: receipts {} of series {series} by {sealer}.", gone.retired));
        }
    }
    if !args.yes && !ui.confirm("Say so, for everybody who verifies?", false, "--yes")? {
        return Err(Failure::new(Kind::Refused, format!("It was not confirmed. {SAFE}")));
    }
    for one in retired {
        let given = scribe.retire(own.as_ref().unwrap_or(&one.series), &one.folder, &one.gone)?;
        ui.say(format!("Said in {given}, in {}. Nothing was deleted.", one.folder));
    }
    Ok(())
}

/// Archives by name; the archive itself may be gone already.
fn named(state: &State, vault: &Trusted, args: &RetireArgs) -> Result<Vec<Retired>> {
    let heads = state.heads(vault.statement().vault_id())?;
    let mut retired: Vec<Retired> = Vec::new();
    for path in &args.places {
        let place = places::place(state, path)?;
        let refuse = |finding: Finding| {
            Failure::new(Kind::NotVerified, format!("{place}: {finding}. {SAFE}"))
                .hint("What has no receipt that counts is not missed by anybody.")
        };
        let bytes = origin::read_receipt(&place)?.ok_or_else(|| refuse(Finding::NoReceipt))?;
        let receipt = Auditor::new(vault.verified(), &heads).receipt(&bytes).map_err(refuse)?;
        let folder = receipts::folder_of(state, &place)?;
        let known = retired.iter_mut().find(|one| one.folder == folder);
        let one = match known {
            Some(one) => one,
            None => {
                let series = receipt.series().clone();
                retired.push(Retired { folder, series, gone: GoneMap::default() });
                let Some(last) = retired.last_mut() else { continue };
                last
            }
        };
        let mut number = Numbers::new();
        number.insert(receipt.sequence());
        one.gone.retire(receipt.sealer(), receipt.series(), &number);
    }
    Ok(retired)
}

/// All that an audit of these folders misses.
fn missing(state: &State, vault: &Trusted, args: &RetireArgs) -> Result<Vec<Retired>> {
    let mut retired = Vec::new();
    for path in &args.places {
        let place = places::place(state, path)?;
        let found = verify::look(std::slice::from_ref(&place), None)?;
        let heads = state.heads(vault.statement().vault_id())?;
        let audit = found.audit(&Auditor::new(vault.verified(), &heads), None);
        let first = audit.missing.iter().next().map(|(_, series, _)| series.clone());
        if let Some(series) = first {
            retired.push(Retired { folder: place, series, gone: audit.missing });
        }
    }
    Ok(retired)
}
