//! `keyward reseal`: an archive anew, with another file key, for the holders and the epoch of today. What its old copies
//! can be opened with stays what it was.

use std::io;
use std::path::Path;
use std::thread;

use keyward_archive::{Overwrite, SealOptions, prepare_stream};

use crate::cli::ResealArgs;
use crate::commands::open::{sealed_at, unlock};
use crate::interrupt::LongStep;
use crate::opening::Opener;
use crate::receipts::{self, Audience, Scribe};
use crate::report::{Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::{attested, places, vault_folder};

const SAFE: &str = "The archive is as it was.";

/// Reseals one archive after another.
///
/// # Errors
/// Those of opening and sealing; the archives before are then done.
pub fn run(ui: Ui, vault: Option<&Path>, args: ResealArgs) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    vault.check_expiry_for_sealing(ui)?;
    attested::check_all(vault.verified())?;
    let opener = Opener::new(ui, &state, Some(&vault), &args.unlock)?;
    let scribe = Scribe::find(ui, &state, &vault)?;
    for path in &args.archives {
        let what = path.display().to_string();
        let place = places::place(&state, path)?;
        if scribe.is_none() {
            receipts::allow_none(ui, &vault, &place)?;
        }
        let series = match &args.series {
            Some(name) => receipts::series(name)?,
            None => receipts::series_at(&place)?,
        };
        // An archive with a key of its own gets another: nothing that was apart comes under the epoch.
        let audience = Audience::of(&vault, receipts::has_own_key(&place)?)?;
        audience.check(scribe.as_ref())?;
        let archive = unlock(ui, &state, Some(&vault), &opener, &args.unlock, sealed_at(&place)?)?;
        let options = SealOptions { overwrite: Overwrite::Replace, ..SealOptions::default() };
        let bar = ui.progress();
        let step = LongStep::begin();
        let fail = |error| archive_failure(&what, SAFE, error);
        let (plain, mut out) =
            io::pipe().map_err(|source| fail(keyward_archive::Error::Io { path: path.clone(), source }))?;
        let resealed = thread::scope(|scope| {
            // The writer's end closes when the copy ends; the reader's end goes with the sealing, so that neither
            // waits for the other when one fails.
            let copy = scope.spawn(|| {
                let copied = archive.copy_to(&mut out, 0, &());
                drop(out);
                copied
            });
            let mut checked = Checked { plain, copy: Some(copy) };
            prepare_stream(&mut checked, &audience.recipients, &place, &options, &bar)
        });
        drop(step);
        bar.finish();
        let prepared = resealed.map_err(fail)?;
        let report = prepared.report().clone();
        let publish = || audience.publish(&place, prepared).map_err(fail);
        let receipt = match &scribe {
            Some(scribe) => {
                let facts = audience.facts(&vault, &place, &report);
                format!(", {}", scribe.publish(&series, &place, facts, publish)?)
            }
            None => {
                publish()?;
                String::new()
            }
        };
        ui.say(format!(
            "Resealed: {what}, {}, for {}{receipt}.",
            ui::bytes(report.sealed),
            ui::list(&audience.names, "and")
        ));
    }
    Ok(())
}

/// The decrypted bytes; their end is believed only when the copy says that every chunk was verified.
struct Checked<'scope> {
    plain: io::PipeReader,
    copy: Option<thread::ScopedJoinHandle<'scope, std::result::Result<u64, keyward_archive::Error>>>,
}

impl io::Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.plain.read(buffer)?;
        if count == 0
            && !buffer.is_empty()
            && let Some(copy) = self.copy.take()
        {
            copy.join()
                .map_err(|_| io::Error::other("the decrypting thread failed"))?
                .map_err(io::Error::from)?;
        }
        Ok(count)
    }
}
