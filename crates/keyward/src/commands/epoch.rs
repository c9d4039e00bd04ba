//! `keyward epoch`: begin one, list them, open one with who is here.

use std::io::{self, Write};
use std::path::Path;

use keyward_custody::identity_file;
use secrecy::ExposeSecret;

use crate::changing::Changing;
use crate::cli::{EpochCommand, EpochOpenArgs, JsonArgs, UnlockArgs};
use crate::generations::draft_failure;
use crate::papers;
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::shares::Combining;
use crate::state::State;
use crate::ui::Ui;
use crate::vault_folder;

const SAFE: &str = "Nothing was written.";

/// Runs one of the epoch's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: EpochCommand) -> Result<()> {
    match command {
        EpochCommand::New(args) => {
            let changing = Changing::begin(ui, vault, &args)?;
            let mut draft = changing.draft()?;
            draft.new_epoch().map_err(draft_failure)?;
            changing.carry_out(&draft, Vec::new())
        }
        EpochCommand::List(args) => list(ui, vault, &args),
        EpochCommand::Open(args) => open(ui, vault, &args),
    }
}

fn list(ui: Ui, vault: Option<&Path>, args: &JsonArgs) -> Result<()> {
    let vault = vault_folder::open_trusted(ui, &State::find()?, vault)?;
    let in_force = vault.verified().epoch_in_force().map(keyward_custody::Epoch::number);
    let mut text = String::new();
    for epoch in vault.verified().epochs() {
        let current = Some(epoch.number()) == in_force;
        let policy = vault.key_file(epoch.number()).map(|file| file.policy().to_string());
        if args.json {
            let line = serde_json::json!({
                "epoch": epoch.number(),
                "since": epoch.since().to_string(),
                "recipient": epoch.recipient().to_string(),
                "key_file": epoch.file_name(),
                "policy": policy.as_ref().ok(),
                "in_force": current,
            });
            text.push_str(&format!("{line}\n"));
            continue;
        }
        let mark = if current { ", in force" } else { "" };
        let policy = policy.unwrap_or_else(|failure| failure.facts.join(" "));
        text.push_str(&format!("{epoch}, since {}{mark}: opens with {policy}\n", epoch.since()));
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))
}

fn open(ui: Ui, vault: Option<&Path>, args: &EpochOpenArgs) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    let newest = vault.verified().epoch_in_force().map(keyward_custody::Epoch::number);
    let number = args.number.or(newest).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("Vault `{}` has no epoch. {SAFE}", vault.name()))
    })?;
    if args.export.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Kind::Refused,
            format!("{} exists and is not overwritten. {SAFE}", args.export.display()),
        )
        .hint("Name a new file."));
    }
    let what = format!("epoch {number}");
    let file = vault.key_file(number)?;
    ui.must(format!(
        "{} will open every archive that was ever sealed under {what} of vault `{}`.",
        args.export.display(),
        vault.name()
    ));
    if !args.yes && !ui.confirm("Write it?", false, "--yes")? {
        return Err(Failure::new(Kind::Refused, format!("It was not confirmed. {SAFE}")));
    }
    let holders = vault.holders()?;
    let pins = Pins::find(holders.test)?;
    let company = Company::gather(ui, &vault, &args.with.with)?;
    let unlock = UnlockArgs::default();
    let combining = Combining {
        ui,
        state: &state,
        holders: &holders,
        pins: &pins,
        company: &company,
        args: &unlock,
        what: &what,
    };
    let seed = combining.combine(&file)?;
    let fail = |error| custody_failure(&what, SAFE, error);
    let text = identity_file(&seed.identity().map_err(fail)?).map_err(fail)?;
    papers::write(&args.export, text.expose_secret().as_bytes())?;
    ui.say(format!(
        "Written: {}, readable by its owner alone. Open with: age -d -i {} ARCHIVE",
        args.export.display(),
        args.export.display()
    ));
    Ok(())
}
