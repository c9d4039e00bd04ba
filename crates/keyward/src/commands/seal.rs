//! `keyward seal`: for the holders of a verified vault, without any token.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use keyward_archive::{
    Filter, Noticed, Overwrite, Printable, SealOptions, SealReport, prepare_stream, prepare_tree,
};
use keyward_custody::Series;

use crate::cli::{SealArgs, TreeArgs, Xattrs};
use crate::interrupt::LongStep;
use crate::receipts::{self, Audience, Given, Scribe};
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::{attested, places, vault_folder};

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
    let audience = Audience::of(&vault, args.own_key)?;
    let options = SealOptions {
        level: args.level,
        filter: filter(&args.tree)?,
        attributes: Xattrs::attributes(args.tree.xattrs),
        pad: args.tree.pad,
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
    let destination = places::place(&state, &args.output)?;
    let series = series(&args, from_stdin)?;
    let destination = match args.resume {
        true => destination.spooled(args.spool.as_deref(), &audience.noted(&vault, &series).to_bytes()),
        false => destination,
    };
    let scribe = Scribe::find(ui, &state, &vault)?;
    audience.check(scribe.as_ref())?;
    if args.resume
        && let Some(resumed) = places::resume(ui, &vault, &destination, &args)?
    {
        let given = scribe.map(|scribe| scribe.finish(&destination, &resumed)).transpose()?;
        if let Some(given) = &given {
            ui.say(format!("Its receipt is {given}."));
        }
        if args.json.json {
            let line = serde_json::json!({
                "archive": args.output.to_string_lossy(),
                "sealed_bytes": resumed.sealed.map(|(size, _)| size), "resumed": true,
                "receipt": given.as_ref().map(receipt_json),
            });
            writeln!(io::stdout(), "{line}")
                .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))?;
        }
        return Ok(());
    }
    let shown = match args.sources.as_slice() {
        _ if from_stdin => "standard input".to_owned(),
        [one] => one.display().to_string(),
        many => ui::count(many.len() as u64, "source", "sources"),
    };
    ui.say(format!(
        "Sealing {shown} for {} of vault `{}` (generation {}).",
        ui::list(&audience.names, "and"),
        vault.name(),
        vault.generation()
    ));
    if scribe.is_none() {
        receipts::allow_none(ui, &vault, &destination)?;
    }
    let bar = ui.progress();
    let step = LongStep::begin();
    let fail = |error| {
        let store = matches!(error, keyward_archive::Error::Store { .. });
        let interrupted = matches!(error, keyward_archive::Error::Interrupted);
        let failure = archive_failure(&shown, SAFE, error);
        if store || interrupted { places::interrupted(failure, &destination, &args, store) } else { failure }
    };
    let prepared = if from_stdin {
        prepare_stream(&mut io::stdin().lock(), &audience.recipients, &destination, &options, &bar)
    } else {
        prepare_tree(&args.sources, &audience.recipients, &destination, &options, &bar)
    };
    drop(step);
    bar.finish();
    let prepared = prepared.map_err(fail)?;
    let report = prepared.report().clone();
    let facts = audience.facts(&vault, &destination, &report);
    let publish = || audience.publish(&destination, prepared).map_err(fail);
    let given = match &scribe {
        Some(scribe) => Some(scribe.publish(&series, &destination, facts, publish)?),
        None => {
            publish()?;
            None
        }
    };
    notices(ui, &report);
    if report.excluded > 0 {
        ui.say(format!("Left out, as asked: {}.", ui::count(report.excluded, "name", "names")));
    }
    let what = match report.entries {
        0 => ui::bytes(report.bytes),
        entries => format!("{}, {}", ui::count(entries, "entry", "entries"), ui::bytes(report.bytes)),
    };
    let receipt =
        given.as_ref().map_or_else(|| ", without a receipt".to_owned(), |given| format!(", {given}"));
    ui.say(format!("Sealed: {destination}, {} from {what}{receipt}.", ui::bytes(report.sealed)));
    if args.json.json {
        let line = serde_json::json!({
            "archive": args.output.to_string_lossy(),
            "entries": report.entries,
            "bytes": report.bytes,
            "excluded": report.excluded,
            "sealed_bytes": report.sealed,
            "vault": vault.id(),
            "generation": vault.generation(),
            "receipt": given.as_ref().map(receipt_json),
            "notices": report.notices.len() as u64 + report.more_notices,
        });
        writeln!(io::stdout(), "{line}")
            .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))?;
    }
    Ok(())
}

fn receipt_json(given: &Given) -> serde_json::Value {
    serde_json::json!({
        "sealer": given.sealer.as_str(),
        "series": given.series.as_str(),
        "sequence": given.sequence.number(),
    })
}

/// What is left out. Patterns given on the command line come after those of files, so they win.
fn filter(args: &TreeArgs) -> Result<Filter> {
    let mut files = Vec::new();
    for path in &args.exclude_from {
        let text = std::fs::read_to_string(path).map_err(|error| Failure::io("Reading", path, &error))?;
        files.push(text);
    }
    let patterns = files.iter().flat_map(|text| text.lines()).chain(args.exclude.iter().map(String::as_str));
    let mut filter = Filter::new(patterns).map_err(|error| archive_failure("", SAFE, error))?;
    filter.ignore_files = args.ignore_files;
    filter.caches = args.exclude_caches;
    filter.one_file_system = args.one_file_system;
    Ok(filter)
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
            Noticed::Elsewhere => {
                format!("{path} is on another file system; what is in it is not in the archive.")
            }
            Noticed::IgnoreFile => {
                format!("{path} has a line that is no pattern, or cannot be read; its other lines count.")
            }
            Noticed::Attributes => {
                format!("{path} has more extended attributes than fit; some are not in the archive.")
            }
            _ => format!("{path} is not in the archive as it was."),
        });
    }
    let more = (report.notices.len().saturating_sub(SHOWN) as u64).saturating_add(report.more_notices);
    if more > 0 {
        ui.warn(format!("{} of this kind.", ui::count(more, "more notice", "more notices")));
    }
}
