//! An archive's file key by whichever way is asked for: a holder who opens alone, or the epoch through holders together.
//!
//! Without `--with` or `--through-epoch` only tokens that open alone are used: one touch opens one archive and no other.
//! Naming holders who satisfy the policy only together, or `--through-epoch`, is the explicit request to open through the
//! epoch. A run that opens many archives asks for a PIN once, gathers who is here once, and opens an epoch once.

use std::cell::RefCell;
use std::collections::BTreeMap;

use keyward_age::{FileKey, Header, SoftIdentity};
use keyward_custody::KeyFile;

use crate::cli::UnlockArgs;
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Failure, Kind, Result, age_failure, custody_failure};
use crate::shares::Combining;
use crate::state::State;
use crate::ui::Ui;
use crate::unlock::{Holders, Purpose, Unlock};
use crate::vault_folder::Trusted;

const SAFE: &str = "Nothing was written.";

/// What keeps an archive's key for holders who open only together, as far as it is known.
pub enum Kept {
    /// Some epoch: the newest is tried first.
    Unknown,
    /// The epoch of this number.
    Epoch(u32),
    /// A key file of its own.
    Own(Box<KeyFile>),
}

/// Opens one archive after another with the same people.
pub struct Opener<'a> {
    ui: Ui,
    state: &'a State,
    vault: Option<&'a Trusted>,
    args: &'a UnlockArgs,
    holders: Option<Holders>,
    pins: Pins,
    company: Company,
    /// The epochs that this run has opened, by their numbers.
    opened: RefCell<BTreeMap<u32, SoftIdentity>>,
}

impl<'a> Opener<'a> {
    /// Gathers who is here.
    ///
    /// # Errors
    /// A PIN file that cannot be read; those of `--with`.
    pub fn new(
        ui: Ui,
        state: &'a State,
        vault: Option<&'a Trusted>,
        args: &'a UnlockArgs,
    ) -> Result<Opener<'a>> {
        let holders = vault.map(Trusted::holders).transpose()?;
        let pins = Pins::find(holders.as_ref().is_some_and(|holders| holders.test))?;
        let company = match vault {
            Some(vault) => Company::gather(ui, vault, &args.with.with)?,
            None => Company::default(),
        };
        Ok(Opener { ui, state, vault, args, holders, pins, company, opened: RefCell::default() })
    }

    /// Finds the file key of an archive.
    ///
    /// # Errors
    /// Those of unlocking with a token; who is missing (8); shares and key files that are wrong (7).
    pub fn file_key(&self, header: &Header, what: &str, kept: &Kept) -> Result<FileKey> {
        let unlock = Unlock {
            ui: self.ui,
            state: self.state,
            pins: &self.pins,
            header,
            purpose: Purpose::Archive,
            what,
            args: self.args,
        };
        let (Some(vault), Some(known)) = (self.vault, self.holders.as_ref()) else {
            return unlock.file_key(None);
        };
        // Somebody who opens alone needs no epoch, and one that is open costs nothing more.
        let opened = self.opened.borrow();
        let identities = self.company.present.iter().map(|present| &present.identity);
        for identity in identities.chain(opened.values()) {
            match header.unwrap_soft(identity) {
                Ok(key) => return Ok(key),
                Err(keyward_age::Error::NoMatch) => {}
                Err(error) => return Err(age_failure(what, SAFE, error)),
            }
        }
        drop(opened);
        let alone = known.tokens.iter().any(|holder| header.addressed_to(&holder.archive));
        let together = !self.args.with.with.is_empty() || self.args.through_epoch;
        if let Kept::Own(file) = kept
            && (together || !alone)
        {
            // Nothing else opens with it, so those who are here need not be named.
            let what = format!("the key of {what}");
            let seed = self.combining(known, &what).combine(file)?;
            let identity = seed.identity().map_err(|error| custody_failure(&what, SAFE, error))?;
            return header.unwrap_soft(&identity).map_err(|error| age_failure(&what, SAFE, error));
        }
        if !together {
            return unlock.file_key(Some(known));
        }
        let mut not_satisfied = None;
        for number in order(vault, kept) {
            match self.open_epoch(vault, number) {
                Ok(()) => {}
                // An older epoch may have another policy, which they do satisfy; nobody was asked for a touch yet.
                Err(failure) if failure.kind == Kind::NotHolder => {
                    not_satisfied.get_or_insert(failure);
                    continue;
                }
                Err(failure) => return Err(failure),
            }
            let opened = self.opened.borrow();
            let Some(identity) = opened.get(&number) else { continue };
            match header.unwrap_soft(identity) {
                Ok(key) => {
                    self.ui.say(format!("Opened through epoch {number}."));
                    return Ok(key);
                }
                Err(keyward_age::Error::NoMatch) => {}
                Err(error) => return Err(age_failure(what, SAFE, error)),
            }
        }
        Err(not_satisfied.unwrap_or_else(|| age_failure(what, SAFE, keyward_age::Error::NoMatch)))
    }

    /// The touches that opening an epoch costs those who are here, or `None` if they do not open it.
    ///
    /// # Errors
    /// Those of its key file.
    pub fn touches(&self, epoch: u32) -> Result<Option<u32>> {
        let (Some(vault), Some(known)) = (self.vault, self.holders.as_ref()) else { return Ok(None) };
        let what = format!("epoch {epoch}");
        let file = vault.key_file(epoch)?;
        Ok(self.combining(known, &what).touches(&file))
    }

    /// Opens an epoch, for this run alone.
    ///
    /// # Errors
    /// Who is missing (8); shares and key files that are wrong (7); those of a token.
    pub fn open_epoch(&self, vault: &Trusted, number: u32) -> Result<()> {
        if self.opened.borrow().contains_key(&number) {
            return Ok(());
        }
        let what = format!("epoch {number}");
        let Some(known) = &self.holders else {
            return Err(Failure::new(Kind::Usage, format!("Without a vault there is no {what}. {SAFE}")));
        };
        let seed = self.combining(known, &what).combine(&vault.key_file(number)?)?;
        let identity = seed.identity().map_err(|error| custody_failure(&what, SAFE, error))?;
        self.opened.borrow_mut().insert(number, identity);
        Ok(())
    }

    fn combining<'s>(&'s self, holders: &'s Holders, what: &'s str) -> Combining<'s> {
        Combining {
            ui: self.ui,
            state: self.state,
            holders,
            pins: &self.pins,
            company: &self.company,
            args: self.args,
            what,
        }
    }
}

/// The epochs in the order in which they are tried: the known one, then from the newest.
fn order(vault: &Trusted, kept: &Kept) -> Vec<u32> {
    let numbers = vault.verified().epochs().iter().rev().map(keyward_custody::Epoch::number);
    let mut order: Vec<u32> = numbers.collect();
    if let Kept::Epoch(named) = kept {
        order.sort_by_key(|number| number != named);
    }
    order
}
