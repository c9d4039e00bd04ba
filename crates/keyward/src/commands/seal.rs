//! `keyward seal`: for the holders of a verified vault, without any token.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use keyward_archive::{
    Noticed, Overwrite, Place, Printable, SealOptions, SealReport, prepare_stream, prepare_tree,
};
use keyward_custody::Series;

use crate::cli::SealArgs;
use crate::interrupt::LongStep;
use crate::receipts::{self, Scribe};
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::{attested, vault_folder};

const SAFE: &str = "Nothing was written.";
/// Notices that are shown one by one.
const SHOWN: usize = 20;

/// Seals.
///
/// # Errors
/// A vault that is not verified or has expired; a source that is missing; a destination that exists.
pub fn run(ui: Ui, vault: Option<&Path>, args: SealArgs) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    vault.check_expiry_for_sealing(ui)?;
    attested::check_all(vault.verified())?;
    let recipients = vault.recipients();
    let options = SealOptions {
        level: args.level,
        overwrite: if args.force { Overwrite::Replace } else { Overwrite::Refuse },
        ..SealOptions::default()
    };
    let stdin = Path::new("-");
    let from_stdin = args.sources.iter().any(|source| source == stdin);
    if from_stdin && args.sources.len() > 1 {
        return Err(Failure::new(
            Kind::Usage,
            "Standard input (`-`) is sealed alone, without other sources.",
        ));
    }
    if from_stdin && io::stdin().is_terminal() {
        return Err(Failure::new(Kind::Usage, "Standard input is a terminal; there is nothing to seal."));
    }
    let shown = match args.sources.as_slice() {
        _ if from_stdin => "standard input".to_owned(),
        [one] => one.display().to_string(),
        many => ui::count(many.len() as u64, "source", "sources"),
    };
    ui.say(format!(
        "Sealing {shown} for {} of vault `{}` (generation {}).",
        ui::list(&vault.sealed_to(), "and"),
        vault.name(),
        vault.generation()
    ));
    let place = Place::from(&args.output);
    let series = series(&args, from_stdin)?;
    let scribe = Scribe::find(ui, &state, &vault)?;
    if scribe.is_none() {
        receipts::allow_none(ui, &vault, &place)?;
    }
    let bar = ui.progress();
    let step = LongStep::begin();
    let fail = |error| archive_failure(&shown, SAFE, error);
    let prepared = if from_stdin {
        prepare_stream(&mut io::stdin().lock(), &recipients, &place, &options, &bar)
    } else {
        prepare_tree(&args.sources, &recipients, &place, &options, &bar)
    };
    drop(step);
    bar.finish();
    let prepared = prepared.map_err(fail)?;
    let report = prepared.report().clone();
    let publish = || prepared.publish().map(drop).map_err(fail);
    let given = match &scribe {
        Some(scribe) => {
            Some(scribe.publish(&series, &place, receipts::sealed(&vault, &place, &report), publish)?)
        }
        None => {
            publish()?;
            None
        }
    };
    notices(ui, &report);
    let what = match report.entries {
        0 => ui::bytes(report.bytes),
        entries => format!("{}, {}", ui::count(entries, "entry", "entries"), ui::bytes(report.bytes)),
    };
    let receipt =
        given.as_ref().map_or_else(|| ", without a receipt".to_owned(), |given| format!(", {given}"));
    ui.say(format!("Sealed: {place}, {} from {what}{receipt}.", ui::bytes(report.sealed)));
    if args.json.json {
        let line = serde_json::json!({
            "archive": args.output.to_string_lossy(),
            "entries": report.entries,
            "bytes": report.bytes,
            "sealed_bytes": report.sealed,
            "vault": vault.id(),
            "generation": vault.generation(),
            "receipt": given.map(|given| serde_json::json!({
                "sealer": given.sealer.as_str(),
                "series": given.series.as_str(),
                "sequence": given.sequence.number(),
            })),
            "notices": report.notices.len() as u64 + report.more_notices,
        });
        writeln!(io::stdout(), "{line}")
            .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))?;
    }
    Ok(())
}

/// The series that was asked for, or that of the first source.
fn series(args: &SealArgs, from_stdin: bool) -> Result<Series> {
    if let Some(name) = &args.series {
        return receipts::series(name);
    }
    let source = args.sources.first().filter(|_| !from_stdin);
    // `.` and `..` have a name when they are looked up.
    let resolved = source.and_then(|source| source.canonicalize().ok());
    let name = source.and_then(|source| source.file_name()).or(resolved.as_deref().and_then(Path::file_name));
    Ok(Series::of_source(&name.map_or("stdin".into(), |name| name.to_string_lossy())))
}

fn notices(ui: Ui, report: &SealReport) {
    for notice in report.notices.iter().take(SHOWN) {
        let path = Printable(&notice.path);
        ui.warn(match notice.what {
            Noticed::Changed => format!("{path} was written to while it was read."),
            Noticed::Shrunk => format!("{path} became shorter while it was read; its end is zeros."),
            Noticed::Gone => format!("{path} was gone before it was read; it is not in the archive."),
            Noticed::Special(kind) => format!("{path} is a {kind}; it is not in the archive."),
            Noticed::LinkOut => {
                format!("{path} is a link that leads out of the tree; opening it needs --links-out.")
            }
            _ => format!("{path} is not in the archive as it was."),
        });
    }
    let more = (report.notices.len().saturating_sub(SHOWN) as u64).saturating_add(report.more_notices);
    if more > 0 {
        ui.warn(format!("{} of this kind.", ui::count(more, "more notice", "more notices")));
    }
}
