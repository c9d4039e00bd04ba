//! `keyward recover`: what still opens after a loss, what is missing for it, and opening an epoch with who is here.

use std::collections::BTreeSet;
use std::path::Path;

use keyward_custody::{Name, identity_file, ways};
use secrecy::ExposeSecret;

use crate::changing::Changing;
use crate::cli::RecoverArgs;
use crate::commands::vault::after_loss;
use crate::papers;
use crate::present::{Company, With};
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::ui::{self, Ui};
use crate::unlock::present_tokens;

const SAFE: &str = "Nothing was changed.";

/// Recovers.
///
/// # Errors
/// Who is missing (8); a name that is no holder (2); those of tokens and files.
pub fn run(ui: Ui, vault: Option<&Path>, args: RecoverArgs) -> Result<()> {
    let mut changing = Changing::begin(ui, vault, &args.change)?;
    let (lost, after) = after_loss(&changing.vault, &args.lost)?;
    let newest = changing.vault.verified().epoch_in_force().map(keyward_custody::Epoch::number);
    let number = args.epoch.or(newest).ok_or_else(|| {
        Failure::new(Kind::NotFound, format!("Vault `{}` has no epoch. {SAFE}", changing.vault.name()))
    })?;
    let file = changing.vault.key_file(number)?;
    ui.must(format!(
        "Vault `{}`, {}: opens with {}.",
        changing.vault.name(),
        format_args!("epoch {number}"),
        file.policy()
    ));
    if !after.opens() {
        return Err(Failure::new(
            Kind::NotHolder,
            format!("Without {} nothing opens any more. {SAFE}", names(&lost, "and")),
        ));
    }
    paths(&changing, &file, &lost);
    ask_for_more(&mut changing, &file, &lost)?;

    let what = format!("epoch {number}");
    let seed = changing.combine(&file, &what)?;
    ui.say(format!("Epoch {number} is open: its archives can be opened by who is here."));
    if let Some(export) = &args.export {
        let fail = |error| custody_failure(&what, SAFE, error);
        let text = identity_file(&seed.identity().map_err(fail)?).map_err(fail)?;
        papers::write(export, text.expose_secret().as_bytes())?;
        ui.say(format!("Its identity is in {}, readable by its owner alone.", export.display()));
    }
    let with: Vec<String> = args
        .change
        .with
        .with
        .iter()
        .map(|with| match &with.file {
            Some(file) => format!("--with {}={}", with.name, file.display()),
            None => format!("--with {}", with.name),
        })
        .collect();
    let with = with.join(" ");
    ui.say(format!("Open archives with: keyward open ARCHIVE -C DIR {with}"));
    for name in &lost {
        ui.say(format!("{name} is lost: keyward revoke {name} {with}"));
    }
    if lost.is_empty() {
        ui.say(format!("The epoch was exposed here; end with a new one: keyward epoch new {with}"));
    }
    Ok(())
}

/// The ways that remain, the one with the fewest missing first.
fn paths(changing: &Changing, file: &keyward_custody::KeyFile, lost: &BTreeSet<Name>) {
    let here = here(changing);
    for way in ways(file.policy(), &here, lost).iter().take(8) {
        let line = match (way.present.is_empty(), way.missing.is_empty()) {
            (_, true) => format!("  ✓ {}: here", names(&way.present, "and")),
            (true, _) => format!("  · {}: nobody of them is here", names(&way.missing, "and")),
            (false, _) => {
                format!("  · {} is here; missing: {}", names(&way.present, "and"), names(&way.missing, "and"))
            }
        };
        changing.ui.must(line);
    }
}

/// On a terminal: one holder after another, until the policy is satisfied.
fn ask_for_more(
    changing: &mut Changing,
    file: &keyward_custody::KeyFile,
    lost: &BTreeSet<Name>,
) -> Result<()> {
    let ui = changing.ui;
    while ui.interactive() && !file.policy().satisfied_by(&here(changing)) {
        let answer = ui.ask(
            "Another holder, as NAME=FILE, or NAME to type its words (empty when a token was plugged in or to end):",
            "--with NAME=FILE",
        )?;
        if answer.is_empty() {
            if file.policy().satisfied_by(&here(changing)) {
                break;
            }
            if !ui.confirm("Still not enough. Try again?", true, "--with NAME=FILE")? {
                break;
            }
            continue;
        }
        let with: With = match answer.parse() {
            Ok(with) => with,
            Err(error) => {
                ui.must(error);
                continue;
            }
        };
        match Company::gather(ui, &changing.vault, &[with]) {
            Ok(more) => {
                changing.company.present.extend(more.present);
                changing.company.tokens.extend(more.tokens);
            }
            Err(failure) => ui.must(failure.to_string().trim_end()),
        }
        paths(changing, file, lost);
    }
    Ok(())
}

/// Who is here: tokens that proved themselves, and whom `--with` brought.
fn here(changing: &Changing) -> BTreeSet<Name> {
    let tokens = changing.vault.holders().map(|holders| present_tokens(&holders)).unwrap_or_default();
    let tokens = tokens.into_iter().filter_map(|(holder, _)| holder.name.parse().ok());
    tokens.chain(changing.company.present.iter().map(|present| present.name.clone())).collect()
}

fn names(set: &BTreeSet<Name>, joint: &str) -> String {
    let names: Vec<&str> = set.iter().map(Name::as_str).collect();
    ui::list(&names, joint)
}
