//! An archive's file key by whichever way is asked for: a holder who opens alone, or the epoch through holders together.
//!
//! Without `--with` only tokens that open alone are used: one touch opens one archive and no other. Naming holders
//! who satisfy the policy only together is the explicit request to open through the epoch.

use keyward_age::{FileKey, Header};

use crate::cli::UnlockArgs;
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Kind, Result, age_failure, custody_failure};
use crate::shares::Combining;
use crate::state::State;
use crate::ui::Ui;
use crate::unlock::{Purpose, Unlock};
use crate::vault_folder::Trusted;

const SAFE: &str = "Nothing was written.";

/// Finds the file key.
///
/// # Errors
/// Those of unlocking with a token; who is missing (8); shares and key files that are wrong (7).
pub fn file_key(
    ui: Ui,
    state: &State,
    vault: Option<&Trusted>,
    header: &Header,
    what: &str,
    args: &UnlockArgs,
) -> Result<FileKey> {
    let holders = vault.map(Trusted::holders).transpose()?;
    let pins = Pins::find(holders.as_ref().is_some_and(|holders| holders.test))?;
    let unlock = Unlock { ui, state, pins: &pins, header, purpose: Purpose::Archive, what, args };
    let (Some(vault), Some(known)) = (vault, holders.as_ref()) else {
        return unlock.file_key(None);
    };
    if args.with.with.is_empty() {
        return unlock.file_key(Some(known));
    }
    let company = Company::gather(ui, vault, &args.with.with)?;
    // Somebody who opens alone needs no epoch.
    for present in &company.present {
        match header.unwrap_soft(&present.identity) {
            Ok(key) => return Ok(key),
            Err(keyward_age::Error::NoMatch) => {}
            Err(error) => return Err(age_failure(what, SAFE, error)),
        }
    }
    let mut not_satisfied = None;
    // The header does not say which epoch it was sealed under: the newest is tried first.
    for epoch in vault.verified().epochs().iter().rev() {
        let name = epoch.to_string();
        let file = vault.key_file(epoch.number())?;
        let combining =
            Combining { ui, state, holders: known, pins: &pins, company: &company, args, what: &name };
        let seed = match combining.combine(&file) {
            Ok(seed) => seed,
            // An older epoch may have another policy, which they do satisfy; nobody was asked for a touch yet.
            Err(failure) if failure.kind == Kind::NotHolder => {
                not_satisfied.get_or_insert(failure);
                continue;
            }
            Err(failure) => return Err(failure),
        };
        let identity = seed.identity().map_err(|error| custody_failure(&name, SAFE, error))?;
        match header.unwrap_soft(&identity) {
            Ok(key) => {
                ui.say(format!("Opened through {name}."));
                return Ok(key);
            }
            Err(keyward_age::Error::NoMatch) => {}
            Err(error) => return Err(age_failure(what, SAFE, error)),
        }
    }
    Err(not_satisfied.unwrap_or_else(|| age_failure(what, SAFE, keyward_age::Error::NoMatch)))
}
