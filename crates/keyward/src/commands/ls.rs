//! `keyward ls`: what is in an archive, by PIN and touch.

use std::io::{self, BufWriter, Write};
use std::path::Path;

use keyward_archive::{Entry, Kind as EntryKind, Printable};
use keyward_custody::Timestamp;

use crate::cli::LsArgs;
use crate::commands::open::unlocked;
use crate::interrupt::LongStep;
use crate::report::{Failure, Result, archive_failure};
use crate::ui::Ui;

/// Lists.
///
/// # Errors
/// Those of unlocking; an archive that does not verify where it is read.
pub fn run(ui: Ui, vault: Option<&Path>, args: LsArgs) -> Result<()> {
    let what = args.archive.display().to_string();
    let archive = unlocked(ui, vault, &args.archive, &args.unlock)?;
    let bar = ui.progress();
    let _step = LongStep::begin();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut write_error = None;
    let listed = archive.each_entry(&bar, &mut |entry| {
        let written = if args.json.json { json(&mut out, &entry) } else { line(&mut out, &entry, args.long) };
        written.map_err(|error| {
            let kind = error.kind();
            write_error = Some(error);
            // The reader of this list went away: the walk ends here.
            keyward_archive::Error::Io { path: "standard output".into(), source: kind.into() }
        })
    });
    bar.finish();
    let ended = write_error.or_else(|| out.flush().err());
    match (listed, ended) {
        (_, Some(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (_, Some(error)) => Err(Failure::io("Writing to", Path::new("standard output"), &error)),
        (Err(error), None) => Err(archive_failure(&what, "The list is not complete.", error)),
        (Ok(_), None) => Ok(()),
    }
}

fn line(out: &mut dyn Write, entry: &Entry, long: bool) -> io::Result<()> {
    let slash = if entry.kind == EntryKind::Folder { "/" } else { "" };
    if !long {
        return writeln!(out, "{}{slash}", Printable(&entry.path));
    }
    let letter = match entry.kind {
        EntryKind::File => '-',
        EntryKind::Folder => 'd',
        EntryKind::Symlink => 'l',
        EntryKind::Hardlink => 'h',
        EntryKind::Special => '?',
    };
    let time = time(entry.mtime.seconds);
    write!(out, "{letter}{:04o} {:>14} {time} {}{slash}", entry.mode, entry.size, Printable(&entry.path))?;
    match entry.kind {
        EntryKind::Symlink => writeln!(out, " -> {}", Printable(&entry.link)),
        EntryKind::Hardlink => writeln!(out, " = {}", Printable(&entry.link)),
        _ => writeln!(out),
    }
}

/// A line of JSON. A path that is no UTF-8 is given as bytes in hexadecimal beside the readable form.
fn json(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    let kind = match entry.kind {
        EntryKind::File => "file",
        EntryKind::Folder => "folder",
        EntryKind::Symlink => "symlink",
        EntryKind::Hardlink => "hardlink",
        EntryKind::Special => "special",
    };
    let mut value = serde_json::json!({
        "path": String::from_utf8_lossy(&entry.path),
        "kind": kind,
        "size": entry.size,
        "mode": format!("{:04o}", entry.mode),
        "mtime": entry.mtime.seconds,
        "mtime_ns": entry.mtime.nanos,
    });
    if let Some(object) = value.as_object_mut() {
        if std::str::from_utf8(&entry.path).is_err() {
            let hex: String = entry.path.iter().map(|byte| format!("{byte:02x}")).collect();
            object.insert("path_hex".into(), hex.into());
        }
        if !entry.link.is_empty() {
            object.insert("link".into(), String::from_utf8_lossy(&entry.link).into());
        }
    }
    writeln!(out, "{value}")
}

/// Seconds since 1970 as a UTC time; outside of 1970 to 9999 the bare number.
fn time(seconds: i64) -> String {
    Timestamp::from_unix(seconds).map_or_else(|_| format!("@{seconds:<19}"), |time| time.to_string())
}
