//! `keyward key`: what is kept under the policy, and keeping old keys for today's holders.

use std::collections::BTreeSet;
use std::path::Path;

use keyward_custody::{KeyFile, Name};

use crate::changing::Changing;
use crate::cli::{EpochCommand, KeyCommand, RewrapArgs};
use crate::generations::draft_failure;
use crate::report::{Failure, Kind, Result};
use crate::ui::{self, Ui};
use crate::unlock::present_tokens;

const SAFE: &str = "Nothing was changed.";

/// Runs one of the key's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: KeyCommand) -> Result<()> {
    match command {
        KeyCommand::List(args) => super::epoch::run(ui, vault, EpochCommand::List(args)),
        KeyCommand::Rewrap(args) => rewrap(ui, vault, &args),
    }
}

/// Each epoch is a generation of its own: a run that is interrupted leaves those that are done, and the next run
/// goes on with the rest.
fn rewrap(ui: Ui, vault: Option<&Path>, args: &RewrapArgs) -> Result<()> {
    let first = Changing::begin(ui, vault, &args.change)?;
    let numbers = chosen(&first, &args.epochs)?;
    if numbers.is_empty() {
        ui.say("Every epoch is kept under today's policy for today's holders. Nothing to do.");
        return Ok(());
    }
    let touches = touches(&first, &numbers)?;
    let shown: Vec<String> = numbers.iter().map(|number| format!("epoch {number}")).collect();
    ui.say(format!(
        "{} to keep under today's policy: {}. That takes {} to open, and the signatures of {}.",
        ui::count(numbers.len() as u64, "epoch", "epochs"),
        ui::list(&shown, "and"),
        ui::count(touches, "touch", "touches"),
        ui::count(numbers.len() as u64, "generation", "generations"),
    ));
    first.confirm("Go on?")?;
    let mut change = args.change.clone();
    change.yes = true;
    for number in numbers {
        let changing = Changing::begin(ui, vault, &change)?;
        let file = changing.vault.key_file(number)?;
        let seed = changing.combine(&file, &format!("epoch {number}"))?;
        let mut draft = changing.draft()?;
        draft.rewrap(number, &seed).map_err(draft_failure)?;
        changing.carry_out(&draft, Vec::new())?;
    }
    Ok(())
}

/// The epochs that are named, or all that another policy or other tokens keep. A share tells by its tag which token it
/// was made for; other holders have no tags, and one who got new keys under the old name is rewrapped by number.
fn chosen(changing: &Changing, named: &[u32]) -> Result<Vec<u32>> {
    let verified = changing.vault.verified();
    if !named.is_empty() {
        for number in named {
            if !verified.epochs().iter().any(|epoch| epoch.number() == *number) {
                return Err(Failure::new(
                    Kind::NotFound,
                    format!("Vault `{}` has no epoch {number}. {SAFE}", changing.vault.name()),
                ));
            }
        }
        return Ok(named.to_vec());
    }
    let mut stale = Vec::new();
    for epoch in verified.epochs() {
        let file = changing.vault.key_file(epoch.number())?;
        if file.policy() != changing.vault.statement().policy() || made_for_other_tokens(changing, &file) {
            stale.push(epoch.number());
        }
    }
    Ok(stale)
}

/// Whether a share is sealed to another token than the one that has its holder's name today.
fn made_for_other_tokens(changing: &Changing, file: &KeyFile) -> bool {
    file.leaves().iter().any(|leaf| {
        let holder = changing.vault.verified().holders().get(leaf.holder());
        let token = holder.and_then(|holder| holder.token());
        token.is_some_and(|token| leaf.header().is_ok_and(|header| !header.addressed_to(&token.custody)))
    })
}

/// How many touches opening these epochs takes with who is here.
fn touches(changing: &Changing, numbers: &[u32]) -> Result<u64> {
    let tokens: BTreeSet<Name> = present_tokens(&changing.vault.holders()?)
        .into_iter()
        .filter_map(|(holder, _)| holder.name.parse().ok())
        .collect();
    let mut touches = 0_u64;
    for number in numbers {
        let file = changing.vault.key_file(*number)?;
        let cost = |name: &Name| match changing.company.identity(name) {
            Some(_) => Some(0),
            None => tokens.contains(name).then_some(1),
        };
        let leaves = file.plan(cost).unwrap_or_default();
        let asked = leaves.iter().filter(|leaf| changing.company.identity(leaf.holder()).is_none()).count();
        touches = touches.saturating_add(asked as u64);
    }
    Ok(touches)
}
