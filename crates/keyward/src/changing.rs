//! Changing a vault: from a draft to a generation in force, with what changes shown before anybody signs.

use std::path::Path;

use keyward_custody::{Draft, IdentitySeed, KeyFile, Pending, difference};

use crate::cli::{ChangeArgs, UnlockArgs};
use crate::generations::{Beside, draft_failure};
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Failure, Kind, Result};
use crate::shares::Combining;
use crate::signing::Admins;
use crate::state::State;
use crate::ui::Ui;
use crate::vault_folder::{self, Trusted};

const SAFE: &str = "Nothing was changed.";

/// A vault that is about to be changed, and who is here for it.
#[derive(Debug)]
pub struct Changing {
    pub ui: Ui,
    pub state: State,
    pub vault: Trusted,
    pub company: Company,
    pub pins: Pins,
    yes: bool,
}

impl Changing {
    /// Opens the vault, finishes what an interrupted command left, and reads who is here.
    ///
    /// # Errors
    /// Those of opening the vault and of `--with`.
    pub fn begin(ui: Ui, vault: Option<&Path>, args: &ChangeArgs) -> Result<Self> {
        let state = State::find()?;
        let vault = vault_folder::open_to_change(ui, &state, vault)?;
        let company = Company::gather(ui, &vault, &args.with.with)?;
        let pins = Pins::find(vault.statement().is_test())?;
        Ok(Changing { ui, state, vault, company, pins, yes: args.yes })
    }

    /// The next generation, to be changed.
    ///
    /// # Errors
    /// A clock outside of 1970 to 9999.
    pub fn draft(&self) -> Result<Draft> {
        Ok(Draft::after(self.vault.verified(), vault_folder::now()?))
    }

    /// Shows what a draft changes, asks, and carries it out.
    ///
    /// # Errors
    /// A draft that may not follow; a no; signatures that are missing; those of the tokens and the file system.
    pub fn carry_out(&self, draft: &Draft, mut beside: Vec<Beside>) -> Result<()> {
        let statement = draft.build().map_err(draft_failure)?;
        for line in difference(self.vault.statement(), &statement) {
            self.ui.say(format!("  {}", crate::ui::printable(&line.to_string())));
        }
        self.confirm("Sign this?")?;
        beside.extend(draft.key_files().map(|file| Beside {
            folder: "keys",
            name: file.file_name(),
            bytes: file.bytes().to_vec(),
        }));
        let pending = Pending::next(self.vault.verified(), statement.bytes()).map_err(draft_failure)?;
        self.admins().carry_out(pending, &beside)
    }

    /// The identity that a key file keeps, with who is here.
    ///
    /// # Errors
    /// Who is missing (8); shares that are wrong (7); those of a token.
    pub fn combine(&self, file: &KeyFile, what: &str) -> Result<IdentitySeed> {
        let combining = Combining {
            ui: self.ui,
            state: &self.state,
            holders: &self.vault.holders()?,
            pins: &self.pins,
            company: &self.company,
            args: &UnlockArgs::default(),
            what,
        };
        combining.combine(file)
    }

    /// Asks, unless `--yes` was said.
    ///
    /// # Errors
    /// Refused (9) by a no; no terminal to ask on.
    pub fn confirm(&self, question: &str) -> Result<()> {
        if self.yes || self.ui.confirm(question, false, "--yes")? {
            return Ok(());
        }
        Err(Failure::new(Kind::Refused, format!("It was not confirmed. {SAFE}")))
    }

    /// Those who sign.
    pub fn admins(&self) -> Admins<'_> {
        Admins {
            ui: self.ui,
            state: &self.state,
            folder: self.vault.folder(),
            vault: &self.vault,
            pins: &self.pins,
            company: &self.company,
        }
    }
}
