//! `keyward vault`: show, trust and check the signed truth about who holds the keys.

use std::io::{self, Write};
use std::path::Path;

use std::collections::BTreeSet;

use keyward_custody::{
    Confirmation, Expiry, Holder, Name, Pending, Requirements, Thresholds, Token, Verdict, WhatIf, difference,
};

use crate::changing::Changing;
use crate::cli::{
    ChangeArgs, ExpireArgs, JsonArgs, PolicyArgs, ShowArgs, TrustArgs, VaultCommand, WhatifArgs,
};
use crate::commands::sealer;
use crate::generations;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder::{self, Trusted};

const SAFE: &str = "Nothing was changed.";

/// Runs one of the vault's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: VaultCommand) -> Result<()> {
    let state = State::find()?;
    match command {
        VaultCommand::Show(args) => show(&vault_folder::open_trusted(ui, &state, vault)?, &args),
        VaultCommand::Trust(args) => trust(ui, &state, vault, &args),
        VaultCommand::Check(args) => check(&vault_folder::open_trusted(ui, &state, vault)?, &args),
        VaultCommand::Sign(args) => sign(ui, vault, &args),
        VaultCommand::Policy(args) => policy(ui, vault, &args),
        VaultCommand::Expire(args) => expire(ui, vault, &args),
        VaultCommand::Whatif(args) => whatif(&vault_folder::open_trusted(ui, &state, vault)?, &args),
        VaultCommand::Map => map(&vault_folder::open_trusted(ui, &state, vault)?),
        VaultCommand::Recipients => {
            let vault = vault_folder::open_trusted(ui, &state, vault)?;
            let mut text = String::new();
            for (name, recipient) in vault.verified().recipients() {
                text.push_str(&format!("# {name}\n{recipient}\n"));
            }
            data(&text)
        }
    }
}

fn show(vault: &Trusted, args: &ShowArgs) -> Result<()> {
    let statement = vault.statement();
    if args.allowed_signers {
        return data(&statement.allowed_signers());
    }
    if args.json {
        let mut bytes = statement.bytes().to_vec();
        bytes.push(b'\n');
        return io::stdout().write_all(&bytes).map_err(stdout_failed);
    }
    let mut text = format!(
        "Vault `{}`: generation {}, {}{}\n",
        vault.name(),
        vault.generation(),
        statement.suite(),
        if statement.is_test() { ", a test vault" } else { "" },
    );
    text.push_str(&format!("  id          {}\n", vault.id()));
    text.push_str(&format!("  words       {}\n", vault.fingerprint().words()));
    text.push_str(&format!("  policy      {}\n", statement.policy()));
    let thresholds = statement.thresholds();
    let admins: Vec<String> = statement.admins().keys().map(ToString::to_string).collect();
    text.push_str(&format!(
        "  admins      {}; {} sign{} routine changes, {} all others\n",
        ui::list(&admins, "and"),
        thresholds.routine,
        if thresholds.routine == 1 { "s" } else { "" },
        thresholds.root
    ));
    if *statement.requirements() != Requirements::default() {
        text.push_str(&format!("  requires    {}\n", statement.requirements()));
    }
    text.push_str(&format!("  signed      {}, expires {}\n", statement.created(), statement.expires()));
    if let Some(epoch) = vault.verified().epoch_in_force() {
        text.push_str(&format!("  epoch       {}, since {}\n", epoch.number(), epoch.since()));
    }
    text.push_str("Holders\n");
    for (name, holder) in vault.verified().holders() {
        text.push_str(&format!("  {:<11} {}\n", name.as_str(), describe_holder(holder)));
    }
    if !vault.verified().sealers().is_empty() {
        text.push_str("Sealers\n");
    }
    for (name, sealer) in vault.verified().sealers() {
        text.push_str(&format!("  {:<11} {}\n", name.as_str(), sealer::describe(sealer)));
    }
    data(&text)
}

/// A holder in a line.
pub fn describe_holder(holder: &Holder) -> String {
    match holder {
        Holder::Token(token) => describe(token),
        Holder::Paper(paper) if paper.signing.is_some() => "paper, can sign".to_owned(),
        other => other.kind().to_owned(),
    }
}

fn describe(token: &Token) -> String {
    let mut words = Vec::new();
    match token.serial {
        Some(serial) => words.push(format!("YubiKey {serial}")),
        None => words.push("PIV card".to_owned()),
    }
    if let Some(firmware) = token.firmware {
        words.push(format!("firmware {firmware}"));
    }
    words.push(format!("PIN {}", token.pin_policy));
    words.push(format!("touch {}", token.touch_policy));
    words.push(token.verdict.to_string());
    words.join(", ")
}

/// Signs a draft that waits, after showing what it changes from what this host has verified.
fn sign(ui: Ui, vault: Option<&Path>, args: &ChangeArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, args)?;
    let folder = changing.vault.folder();
    let mut waiting = Vec::new();
    for draft in generations::drafts(folder)? {
        // A draft for another generation than the next is of yesterday, or of nobody's use.
        let Ok(mut pending) = Pending::next(changing.vault.verified(), &draft.statement) else { continue };
        for (signer, file) in draft.signatures {
            if let Err(error) = pending.add(&signer, &file) {
                ui.warn(format!("draft {}: {error}.", pending.digest()));
            }
        }
        waiting.push(pending);
    }
    if waiting.is_empty() {
        return Err(Failure::new(Kind::NotFound, "No change waits for signatures. Nothing was changed."));
    }
    for pending in waiting {
        let signed: Vec<String> = pending.signatures().map(|(name, _)| name.to_string()).collect();
        ui.must(format!(
            "Generation {} waits, signed by {}. It changes:",
            pending.statement().generation(),
            ui::list(&signed, "and")
        ));
        for line in difference(changing.vault.statement(), pending.statement()) {
            ui.must(format!("  {}", ui::printable(&line.to_string())));
        }
        generations::check_key_files(folder, &pending)?;
        if !args.yes && !ui.confirm("Sign this?", false, "--yes")? {
            continue;
        }
        return changing.admins().carry_out(pending, &[]);
    }
    Err(Failure::new(Kind::Refused, "Nothing was signed."))
}

/// Another policy or other thresholds.
fn policy(ui: Ui, vault: Option<&Path>, args: &PolicyArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, &args.change)?;
    let mut draft = changing.draft()?;
    draft.no_recovery = args.no_recovery;
    if args.policy.is_none() && args.root.is_none() && args.routine.is_none() {
        return Err(Failure::new(Kind::Usage, "Nothing was said to change. Nothing was changed.")
            .hint("Name a policy, --root COUNT or --routine COUNT."));
    }
    if let Some(text) = &args.policy {
        let fail = |error| custody_failure("The policy", SAFE, keyward_custody::Error::Policy(error));
        draft.policy = text.parse().map_err(fail)?;
        draft.new_epoch().map_err(generations::draft_failure)?;
    }
    if args.root.is_some() || args.routine.is_some() {
        let now = changing.vault.statement().thresholds();
        draft.thresholds = Some(Thresholds {
            root: args.root.unwrap_or(now.root),
            routine: args.routine.unwrap_or(now.routine),
        });
    }
    changing.carry_out(&draft, Vec::new())
}

/// Another date of expiry; each change moves it a year on anyway.
fn expire(ui: Ui, vault: Option<&Path>, args: &ExpireArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, &args.change)?;
    let mut draft = changing.draft()?;
    if let Some(time) = &args.time {
        draft.expires = time.parse().map_err(|error| custody_failure("The time", SAFE, error))?;
    }
    changing.carry_out(&draft, Vec::new())
}

/// The holders that `--lost` names, and the vault without them.
///
/// # Errors
/// A name that is none, or nobody's.
pub fn after_loss(vault: &Trusted, lost: &[String]) -> Result<(BTreeSet<Name>, WhatIf)> {
    let fail = |error| custody_failure("--lost", SAFE, error);
    let lost: BTreeSet<Name> =
        lost.iter().map(|name| name.trim().parse()).collect::<std::result::Result<_, _>>().map_err(fail)?;
    let after = WhatIf::of(vault.statement(), &lost).map_err(fail)?;
    Ok((lost, after))
}

fn whatif(vault: &Trusted, args: &WhatifArgs) -> Result<()> {
    let (lost, after) = after_loss(vault, &args.lost)?;
    let together: Vec<String> = after.together.iter().map(|set| names(set, "and")).collect();
    if args.json.json {
        let sets: Vec<Vec<&str>> =
            after.together.iter().map(|set| set.iter().map(Name::as_str).collect()).collect();
        let alone: Vec<&str> = after.alone.iter().map(Name::as_str).collect();
        let line = serde_json::json!({
            "opens": after.opens(), "alone": alone, "together": sets,
            "routine_changes": after.routine, "root_changes": after.root,
        });
        data(&format!("{line}\n"))?;
    } else {
        let mut text = format!("Without {}:\n", names(&lost, "and"));
        text.push_str(&loss_lines(&after, &together));
        data(&text)?;
    }
    if after.opens() {
        return Ok(());
    }
    Err(Failure::new(Kind::NotHolder, format!("Without {} nothing opens any more.", names(&lost, "and"))))
}

fn loss_lines(after: &WhatIf, together: &[String]) -> String {
    let mut text = String::new();
    match (after.alone.is_empty(), together.is_empty()) {
        (true, true) => text.push_str("  ✗ nothing opens any more\n"),
        (false, _) => text.push_str(&format!("  ✓ still opens: {}\n", names(&after.alone, "or"))),
        (true, false) => {}
    }
    if !together.is_empty() {
        text.push_str(&format!("  ✓ still opens: {}, through the epoch\n", ui::list(together, "or")));
    }
    for name in &after.indispensable {
        text.push_str(&format!("  ! then {name} is the last one without whom nothing opens\n"));
    }
    if !after.root {
        let what = if after.routine {
            "holders and admins cannot be changed"
        } else {
            "the vault cannot be changed"
        };
        text.push_str(&format!("  ! {what} any more: too few admins are left\n"));
    }
    text
}

/// Who opens now, and after each single loss.
fn map(vault: &Trusted) -> Result<()> {
    let fail = |error| custody_failure("The map", SAFE, error);
    let mut text = format!("Vault `{}` opens with {}\n", vault.name(), vault.statement().policy());
    let holders: Vec<&Name> = vault.verified().holders().keys().collect();
    for holder in holders {
        let lost = BTreeSet::from([holder.clone()]);
        let after = WhatIf::of(vault.statement(), &lost).map_err(fail)?;
        let together: Vec<String> = after.together.iter().map(|set| names(set, "and")).collect();
        text.push_str(&format!("lost {holder}\n{}", loss_lines(&after, &together)));
    }
    data(&text)
}

fn names(set: &BTreeSet<Name>, joint: &str) -> String {
    let names: Vec<&str> = set.iter().map(Name::as_str).collect();
    ui::list(&names, joint)
}

fn trust(ui: Ui, state: &State, vault: Option<&Path>, args: &TrustArgs) -> Result<()> {
    let folder = vault.ok_or_else(|| {
        Failure::new(Kind::Usage, "No vault is named.").hint("Use --vault VAULT or set KEYWARD_VAULT.")
    })?;
    let unpinned = vault_folder::open_unpinned(folder)?;
    let statement = unpinned.statement().clone();
    let id = statement.vault_id().to_string();
    let how = match &args.fingerprint {
        Some(text) => Confirmation::Fingerprint(
            text.parse().map_err(|error| custody_failure("--fingerprint", SAFE, error))?,
        ),
        None => {
            let signers: Vec<String> = statement.admins().keys().map(ToString::to_string).collect();
            ui.must(format!(
                "Vault `{}`, generation {}, signed by {}.",
                statement.name(),
                statement.generation(),
                ui::list(&signers, "and")
            ));
            ui.must("Compare these words with those shown where it was made:");
            ui.must(format!("  {}", unpinned.fingerprint().words()));
            if !ui.confirm("Are they the same?", false, "--fingerprint WORDS")? {
                return Err(Failure::new(
                    Kind::NotVerified,
                    "The words differ, so the vault is not trusted. Nothing was changed.",
                )
                .hint("Ask whoever made the vault for its words again."));
            }
            Confirmation::ComparedByPerson
        }
    };
    // A host that knows this vault may have seen a newer generation; trust must not be a way back.
    if state.pin(&id)?.is_some() {
        vault_folder::open_trusted(ui, state, Some(folder))?;
    }
    vault_folder::trust(state, folder, unpinned, &how, args.allow_emulated)?;
    ui.say(format!(
        "Vault `{}` is trusted on this machine from generation {}.",
        statement.name(),
        statement.generation()
    ));
    Ok(())
}

/// How a finding counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Good,
    Warning,
    Error,
}

fn check(vault: &Trusted, args: &JsonArgs) -> Result<()> {
    let statement = vault.statement();
    let mut findings: Vec<(Level, String)> = Vec::new();
    let admins: Vec<String> = statement.admins().keys().map(ToString::to_string).collect();
    findings.push((
        Level::Good,
        format!("statement {} is in force; {} may change it", vault.generation(), ui::list(&admins, "or")),
    ));
    let expires = statement.expires();
    findings.push(match statement.expiry(vault_folder::now()?) {
        Expiry::Fresh => (Level::Good, format!("it expires {expires}")),
        Expiry::Warn { days_left } => {
            (Level::Warning, format!("it expires in {}", ui::count(days_left.into(), "day", "days")))
        }
        Expiry::Grace { days_left } => (
            Level::Error,
            format!("it expired {expires}; sealing ends in {}", ui::count(days_left.into(), "day", "days")),
        ),
        Expiry::Expired { .. } => (Level::Error, format!("it expired {expires}; sealing is refused")),
    });
    if let Some(unfinished) = vault.verified().unfinished() {
        findings.push((Level::Warning, format!("generation {unfinished} lacks signatures")));
    }
    match statement.policy().indispensable().into_iter().next() {
        Some(name) => findings.push((Level::Error, format!("losing {name} alone loses the data"))),
        None => findings.push((Level::Good, "no single lost holder loses data".to_owned())),
    }
    if statement.policy().direct_holders().is_empty() {
        findings.push((Level::Warning, "nobody opens alone: each opening exposes an epoch".to_owned()));
    }
    match vault.verified().epoch_in_force() {
        None => {
            findings.push((Level::Warning, "no epoch: only holders who open alone open archives".to_owned()))
        }
        Some(epoch) => findings.push(match vault.key_file(epoch.number()) {
            Ok(_) => {
                (Level::Good, format!("{epoch} is in force, and its key file is the one that was signed"))
            }
            Err(failure) => (Level::Error, failure.facts.join(" ")),
        }),
    }
    for (name, holder) in vault.verified().holders() {
        match holder {
            Holder::Token(token) => check_token(name.as_str(), token, &mut findings),
            Holder::Passphrase(known) => findings.push(match vault.holder_file(name) {
                Ok(bytes) if keyward_custody::Digest::of(&bytes) == known.file => {
                    (Level::Good, format!("{name}: a passphrase; its file is the one that was signed"))
                }
                Ok(_) => {
                    (Level::Error, format!("{name}: holders/{name}.age is not the file that was signed"))
                }
                Err(failure) => (Level::Error, failure.facts.join(" ")),
            }),
            other => findings.push((Level::Good, format!("{name}: {}", other.kind()))),
        }
    }
    let errors = findings.iter().filter(|(level, _)| *level == Level::Error).count();
    let warnings = findings.iter().filter(|(level, _)| *level == Level::Warning).count();
    let mut text = String::new();
    if args.json {
        let list: Vec<_> = findings
            .iter()
            .map(|(level, what)| {
                let level = match level {
                    Level::Good => "good",
                    Level::Warning => "warning",
                    Level::Error => "error",
                };
                serde_json::json!({ "level": level, "what": what })
            })
            .collect();
        text =
            format!("{}\n", serde_json::json!({ "errors": errors, "warnings": warnings, "findings": list }));
    } else {
        for (level, what) in &findings {
            let mark = match level {
                Level::Good => '✓',
                Level::Warning => '!',
                Level::Error => '✗',
            };
            text.push_str(&format!("{mark} {what}\n"));
        }
        text.push_str(&format!(
            "{}, {}.\n",
            ui::count(errors as u64, "error", "errors"),
            ui::count(warnings as u64, "warning", "warnings")
        ));
    }
    data(&text)?;
    if errors > 0 {
        return Err(Failure::new(Kind::Other, format!("Vault `{}` needs attention.", vault.name())));
    }
    Ok(())
}

fn check_token(name: &str, token: &Token, findings: &mut Vec<(Level, String)>) {
    if let Err(reason) = crate::attested::check(token) {
        findings.push((Level::Error, format!("{name}: {reason}")));
        return;
    }
    findings.push(match token.verdict {
        Verdict::Verified => {
            (Level::Good, format!("{name}: attested by Yubico, touch {}", token.touch_policy))
        }
        Verdict::Emulated => (Level::Warning, format!("{name}: an emulated token, for tests only")),
        Verdict::Unattested => {
            (Level::Warning, format!("{name}: nothing attests that its keys were made on the token"))
        }
        _ => (Level::Warning, format!("{name}: its issuer may hold a copy of its key")),
    });
    if token.card_proof.is_none() {
        findings.push((Level::Warning, format!("{name}: the card cannot prove itself before the PIN")));
    }
    if let Some(firmware) = token.firmware {
        let [major, minor, patch] = firmware.0;
        for advisory in keyward_token::advisory::advisories(keyward_token::Firmware::new(major, minor, patch))
        {
            findings.push((
                Level::Warning,
                format!(
                    "{name}: firmware {firmware} has {} ({}): {}",
                    advisory.name, advisory.yubico, advisory.effect
                ),
            ));
        }
    }
}

fn data(text: &str) -> Result<()> {
    io::stdout().write_all(text.as_bytes()).map_err(stdout_failed)
}

fn stdout_failed(error: io::Error) -> Failure {
    Failure::io("Writing to", Path::new("standard output"), &error)
}
