//! `keyward holder`: who holds. Adding one makes a new epoch under the new policy; nobody else has to be present to
//! open anything.

use std::io::{self, Write};
use std::path::Path;

use keyward_custody::{
    AgeHolder, Holder, IdentitySeed, Name, PASSPHRASE_WORK, Policy, check_passphrase, generate_passphrase,
    lock_identity,
};
use secrecy::{ExposeSecret, SecretString};

use crate::card_secrets;
use crate::changing::Changing;
use crate::cli::{ChangeArgs, HolderAddArgs, HolderCommand, JsonArgs};
use crate::commands::vault::describe_holder;
use crate::enrolling::{self, Enrolling, SecretFiles};
use crate::generations::{Beside, draft_failure};
use crate::papers;
use crate::present::With;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::state::State;
use crate::ui::Ui;
use crate::which::{self, Which};
use crate::{files, vault_folder};

const SAFE: &str = "Nothing was changed.";

/// Runs one of the holder's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: HolderCommand) -> Result<()> {
    match command {
        HolderCommand::List(args) => list(ui, vault, &args),
        HolderCommand::Add(args) => add(ui, vault, &args),
        HolderCommand::Remove(args) => super::revoke::run(ui, vault, args),
    }
}

fn list(ui: Ui, vault: Option<&Path>, args: &JsonArgs) -> Result<()> {
    let vault = vault_folder::open_trusted(ui, &State::find()?, vault)?;
    let direct = vault.statement().policy().direct_holders();
    let mut text = String::new();
    for (name, holder) in vault.verified().holders() {
        let (alone, admin) = (direct.contains(name), vault.statement().admins().contains_key(name));
        if args.json {
            let line = serde_json::json!({
                "name": name.as_str(),
                "kind": holder.kind(),
                "opens_alone": alone,
                "admin": admin,
                "recipient": holder.archive().to_string(),
                "serial": holder.token().and_then(|token| token.serial),
            });
            text.push_str(&format!("{line}\n"));
            continue;
        }
        let alone = if alone { "opens alone" } else { "opens together with others" };
        let admin = if admin { ", admin" } else { "" };
        text.push_str(&format!("{:<11} {}; {alone}{admin}\n", name.as_str(), describe_holder(holder)));
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))
}

fn add(ui: Ui, vault: Option<&Path>, args: &HolderAddArgs) -> Result<()> {
    let change = ChangeArgs { yes: args.enrol.yes, with: args.with.clone() };
    let changing = Changing::begin(ui, vault, &change)?;
    let fail = |error| custody_failure(&args.name, SAFE, error);
    let name: Name = args.name.parse().map_err(fail)?;
    if changing.vault.verified().holders().contains_key(&name) {
        return Err(fail(keyward_custody::Error::NameTaken { name }));
    }
    let statement = changing.vault.statement();
    // The policy is known before a token is enrolled or a word is shown.
    let policy: Policy = match &args.policy {
        Some(text) => text.parse(),
        None => format!("{} or {name}", parenthesised(&statement.policy().to_string())).parse(),
    }
    .map_err(|error| fail(keyward_custody::Error::Policy(error)))?;
    if !policy.names().contains(&name) {
        return Err(fail(keyward_custody::Error::OutsidePolicy { name }));
    }
    let mut draft = changing.draft()?;
    let mut beside = Vec::new();
    let holder = match (&args.token, &args.paper, &args.passphrase, &args.recipient) {
        (Some(which), ..) => token(ui, &changing, &name, which, args)?,
        (None, Some(file), ..) => {
            let of = papers::Of {
                vault_name: statement.name(),
                vault_id: statement.vault_id(),
                suite: statement.suite(),
                signs: args.admin,
            };
            let with = With { name: name.clone(), file: Some(file.clone()) };
            papers::make(ui, &with, of)?.paper.holder(statement.suite(), args.admin).map_err(fail)?
        }
        (None, None, Some(file), _) => {
            let (locked, holder) = passphrase(ui, &changing, file, args)?;
            beside.push(Beside { folder: "holders", name: format!("{name}.age"), bytes: locked });
            holder
        }
        (None, None, None, Some(recipient)) => {
            let recipient = recipient
                .parse()
                .map_err(|error: keyward_age::Error| fail(keyward_custody::Error::Age(error)))?;
            Holder::Age(Box::new(AgeHolder { recipient }))
        }
        (None, None, None, None) => {
            return Err(Failure::new(Kind::Usage, format!("What is {name}? {SAFE}")).hint(
                "Use --token SERIAL (or card), --paper FILE, --passphrase FILE or --recipient RECIPIENT.",
            ));
        }
    };
    draft.add_holder(name, holder, args.admin).map_err(fail)?;
    draft.policy = policy;
    draft.new_epoch().map_err(draft_failure)?;
    changing.carry_out(&draft, beside)
}

/// A policy that an `or` can follow.
fn parenthesised(policy: &str) -> String {
    if policy.contains(" and ") && !policy.contains('(') { format!("({policy})") } else { policy.to_owned() }
}

fn token(ui: Ui, changing: &Changing, name: &Name, which: &Which, args: &HolderAddArgs) -> Result<Holder> {
    let statement = changing.vault.statement();
    let found = which::plugged_in()?;
    let token = which.find(&found)?;
    if token.serial.is_none() {
        card_secrets::refuse_unfit(name, statement.requirements())?;
    }
    if !statement.is_test() && enrolling::is_emulated(&token.reader)? {
        let error = keyward_custody::Error::EmulatedToken { holder: name.clone() };
        return Err(custody_failure("The vault", SAFE, error));
    }
    let mut secrets = SecretFiles::create(&args.enrol)?;
    let suite = statement.suite();
    let enrolling = Enrolling { name: name.as_str(), reader: &token.reader, suite, adopt: None };
    let fresh = enrolling::enrol(ui, &changing.pins, enrolling, &args.enrol, &mut secrets)?;
    Ok(Holder::Token(Box::new(fresh.statement_token(suite)?)))
}

/// The locked identity and the holder; a passphrase that does not exist yet is generated into the file.
fn passphrase(ui: Ui, changing: &Changing, file: &Path, args: &HolderAddArgs) -> Result<(Vec<u8>, Holder)> {
    let fail = |error| custody_failure(&args.name, SAFE, error);
    let passphrase = if file.symlink_metadata().is_ok() {
        let bytes = zeroize::Zeroizing::new(files::read(file).map_err(|e| Failure::io("Reading", file, &e))?);
        let text = std::str::from_utf8(&bytes)
            .map_err(|_| Failure::new(Kind::Usage, format!("{} is no text. {SAFE}", file.display())))?;
        SecretString::from(text.trim_end_matches(['\r', '\n']))
    } else {
        let passphrase = generate_passphrase().map_err(fail)?;
        papers::write(file, passphrase.expose_secret().as_bytes())?;
        ui.say(format!("  ✓ a passphrase of eight words is in {}", file.display()));
        passphrase
    };
    if !args.weak_passphrase {
        check_passphrase(&passphrase)
            .map_err(|error| fail(error).hint("--weak-passphrase accepts it all the same."))?;
    }
    let seed = IdentitySeed::random(changing.vault.statement().suite()).map_err(fail)?;
    lock_identity(&seed, &passphrase, PASSPHRASE_WORK).map_err(fail)
}
