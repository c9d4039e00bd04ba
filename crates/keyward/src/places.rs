//! Places by the name that a person typed, with this host's variables; and what an interrupted upload left at one.

use std::path::Path;

use keyward_archive::{Left, Overwrite, Place, Stores};

use crate::cli::SealArgs;
use crate::env;
use crate::interrupt::LongStep;
use crate::own_key::Beside;
use crate::receipts::Noted;
use crate::report::{Failure, Result, archive_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::Trusted;

/// The place of this name.
///
/// # Errors
/// A name that is no place (2), or variables that do not fit together.
pub fn place(state: &State, name: &Path) -> Result<Place> {
    // A local path needs no store, whatever the variables are.
    Stores::new(env::store_variables(), state.root()).place(name).map_err(|error| {
        archive_failure(&name.display().to_string(), "Nothing was asked of the store.", error)
    })
}

/// An archive that an earlier run had sealed, and that stands at its place now.
pub struct Resumed {
    /// Size and BLAKE3, where that run had noted them.
    pub sealed: Option<(u64, [u8; 32])>,
    /// What that run had noted before.
    pub noted: Option<Noted>,
}

/// Finishes what a killed run left at the destination of `seal --resume`. Returns the archive if there is nothing left to
/// seal, and says which of the ways it went.
///
/// # Errors
/// Those of the store; what is there can then be tried again.
pub fn resume(ui: Ui, vault: &Trusted, destination: &Place, args: &SealArgs) -> Result<Option<Resumed>> {
    let name = args.output.display();
    let failed = |error| {
        archive_failure(&name.to_string(), "What is sealed is kept.", error)
            .hint("Run the same command again: it goes on with what the store has.")
    };
    match destination.left().map_err(failed)? {
        Left::Nothing => Ok(None),
        Left::Dropped => {
            ui.say("An earlier run ended while it was sealing; what it had sent is removed. Sealing anew.");
            Ok(None)
        }
        Left::Done { note, sealed } => {
            ui.say(format!("{name} is complete: an earlier run had given it its name before it ended."));
            Ok(Some(Resumed { sealed, noted: Noted::parse(destination, &note)? }))
        }
        Left::Sealed(unfinished) => {
            ui.say(format!(
                "An earlier run had sealed to the end; going on with its upload: {} of {} are at the store.",
                ui::bytes(unfinished.sent()),
                ui::bytes(unfinished.size())
            ));
            let noted = Noted::parse(destination, unfinished.note())?;
            let blake3 = unfinished.blake3();
            let overwrite = if args.force { Overwrite::Replace } else { Overwrite::Refuse };
            // That run may have ended before it wrote the archive's own key file.
            let own = noted.as_ref().map(|noted| noted.key_file(vault)).transpose()?.flatten();
            let beside = own.map_or_else(|| Ok(Beside::default()), |own| Beside::write(destination, &own));
            let beside = beside.map_err(failed)?;
            let bar = ui.progress();
            let step = LongStep::begin();
            let finished = beside.publish(|| unfinished.finish(overwrite, &bar));
            drop(step);
            bar.finish();
            let size = finished.map_err(failed)?;
            ui.say(format!("Sealed: {name}, {}.", ui::bytes(size)));
            Ok(Some(Resumed { sealed: Some((size, blake3)), noted }))
        }
    }
}

/// Adds what helps after a seal to a store was interrupted.
pub fn interrupted(failure: Failure, destination: &Place, args: &SealArgs, store: bool) -> Failure {
    if destination.path().is_some() {
        return failure;
    }
    match (args.resume, store) {
        (true, true) => failure.hint("Run the same command again: it goes on with what the store has."),
        (true, false) => failure,
        (false, _) => failure.hint(
            "What had been sent is removed. With --resume the sealed bytes are kept, and their upload can be gone on with.",
        ),
    }
}
