//! `keyward seal`: for the holders of a verified vault, without any token.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use keyward_archive::{
    Filter, Noticed, Overwrite, Printable, SealOptions, SealReport, seal_stream, seal_tree,
};

use crate::cli::{SealArgs, TreeArgs, Xattrs};
use crate::interrupt::LongStep;
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
    let recipients = vault.recipients();
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
    let destination = if args.resume { destination.spooled(args.spool.as_deref()) } else { destination };
    if args.resume
        && let Some(size) = places::resume(ui, &destination, &args)?
    {
        if args.json.json {
            let line = serde_json::json!({
                "archive": args.output.to_string_lossy(), "sealed_bytes": size, "resumed": true,
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
        ui::list(&vault.sealed_to(), "and"),
        vault.name(),
        vault.generation()
    ));
    let bar = ui.progress();
    let step = LongStep::begin();
    let sealed = if from_stdin {
        seal_stream(&mut io::stdin().lock(), &recipients, &destination, &options, &bar)
    } else {
        seal_tree(&args.sources, &recipients, &destination, &options, &bar)
    };
    drop(step);
    bar.finish();
    let report = sealed.map_err(|error| {
        let store = matches!(error, keyward_archive::Error::Store { .. });
        let interrupted = matches!(error, keyward_archive::Error::Interrupted);
        let failure = archive_failure(&shown, SAFE, error);
        if store || interrupted { places::interrupted(failure, &destination, &args, store) } else { failure }
    })?;
    notices(ui, &report);
    if report.excluded > 0 {
        ui.say(format!("Left out, as asked: {}.", ui::count(report.excluded, "name", "names")));
    }
    let what = match report.entries {
        0 => ui::bytes(report.bytes),
        entries => format!("{}, {}", ui::count(entries, "entry", "entries"), ui::bytes(report.bytes)),
    };
    ui.say(format!("Sealed: {}, {} from {what}.", args.output.display(), ui::bytes(report.sealed)));
    if args.json.json {
        let line = serde_json::json!({
            "archive": args.output.to_string_lossy(),
            "entries": report.entries,
            "bytes": report.bytes,
            "excluded": report.excluded,
            "sealed_bytes": report.sealed,
            "vault": vault.id(),
            "generation": vault.generation(),
            "notices": report.notices.len() as u64 + report.more_notices,
        });
        writeln!(io::stdout(), "{line}")
            .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))?;
    }
    Ok(())
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
