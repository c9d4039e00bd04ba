//! `keyward cat`: one file out of an archive, by PIN and touch.

use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::cli::CatArgs;
use crate::commands::open::unlocked;
use crate::interrupt::LongStep;
use crate::report::{Failure, Result, archive_failure};
use crate::ui::Ui;

/// Writes the file to standard output.
///
/// # Errors
/// Those of unlocking; no such path, or no file; an archive that does not verify where it is read.
pub fn run(ui: Ui, vault: Option<&Path>, args: CatArgs) -> Result<()> {
    let what = args.archive.display().to_string();
    let archive = unlocked(ui, vault, &args.archive, &args.unlock)?;
    let bar = ui.progress();
    let _step = LongStep::begin();
    let mut out = Passing { out: io::stdout().lock(), bytes: 0, error: None };
    let done = archive.cat(args.path.as_os_str().as_bytes(), &mut out, &bar);
    bar.finish();
    match (done, out.error) {
        // The reader had enough; what it has was verified.
        (Err(_), Some(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        (Err(_), Some(error)) => Err(Failure::io("Writing to", Path::new("standard output"), &error)),
        (Err(error), None) => {
            let safe = match out.bytes {
                0 => "Nothing was written.",
                _ => "What was passed on so far is not the whole.",
            };
            Err(archive_failure(&what, safe, error))
        }
        (Ok(_), _) => Ok(()),
    }
}

/// Counts what was passed on, and keeps the error of standard output apart from the archive's.
struct Passing<W> {
    out: W,
    bytes: u64,
    error: Option<io::Error>,
}

impl<W: Write> Passing<W> {
    fn kept<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        done.map_err(|error| {
            let kind = error.kind();
            if kind != io::ErrorKind::Interrupted {
                self.error = Some(error);
            }
            kind.into()
        })
    }
}

impl<W: Write> Write for Passing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        let count = self.kept(written)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.kept(flushed)
    }
}
