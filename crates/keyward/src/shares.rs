//! From a key file to the identity that was split in it, with whoever is here: papers and other identities first,
//! tokens by PIN and touch, as few touches as the policy allows.

use std::collections::BTreeSet;

use keyward_custody::{Combiner, IdentitySeed, KeyFile, Leaf, Name, Share, SharePath, ways};

use crate::cli::UnlockArgs;
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{Holders, Purpose, Unlock, present_tokens};

const SAFE: &str = "Nothing was written.";

/// What combining needs to know beside the key file.
#[derive(Debug)]
pub struct Combining<'a> {
    pub ui: Ui,
    pub state: &'a State,
    pub holders: &'a Holders,
    pub pins: &'a Pins,
    pub company: &'a Company,
    pub args: &'a UnlockArgs,
    /// What the person is told it is for: `epoch 3`.
    pub what: &'a str,
}

impl Combining<'_> {
    /// The touches that it costs those who are here, or `None` if they do not suffice.
    pub fn touches(&self, file: &KeyFile) -> Option<u32> {
        let tokens = self.tokens();
        let plan = file.plan(|name| match self.company.identity(name) {
            Some(_) => Some(0),
            None => tokens.contains(name).then_some(1),
        })?;
        let touched = plan.iter().filter(|leaf| self.company.identity(leaf.holder()).is_none());
        u32::try_from(touched.count()).ok()
    }

    /// The holders whose tokens are plugged in or promised.
    fn tokens(&self) -> BTreeSet<Name> {
        present_tokens(self.holders)
            .into_iter()
            .filter_map(|(holder, _)| holder.name.parse().ok())
            .chain(self.company.tokens.iter().cloned())
            .collect()
    }

    /// Collects shares until the policy is satisfied, and combines them. Shares that cost no touch are all opened, so
    /// that a wrong one among more than enough is found out; tokens give theirs only where they are needed.
    ///
    /// # Errors
    /// Who is missing (8); shares or a key file that are wrong (7); those of a token.
    pub fn combine(&self, file: &KeyFile) -> Result<IdentitySeed> {
        let fail = |error| custody_failure(self.what, SAFE, error);
        let tokens = self.tokens();
        let mut combiner = Combiner::new(file);
        let mut opened: BTreeSet<SharePath> = BTreeSet::new();
        let mut wrong: BTreeSet<Name> = BTreeSet::new();
        loop {
            let cost = |name: &Name| match self.company.identity(name) {
                _ if wrong.contains(name) => None,
                Some(_) => Some(0),
                None => tokens.contains(name).then_some(1),
            };
            let Some(plan) = file.plan(cost) else {
                return Err(not_enough(self.what, file, |name| cost(name).is_some(), &wrong));
            };
            let free = file.leaves().iter().filter(|leaf| cost(leaf.holder()) == Some(0));
            let next = free.chain(plan).find(|leaf| !opened.contains(leaf.path()));
            let Some(leaf) = next else { break };
            opened.insert(leaf.path().clone());
            match self.open(file, leaf)? {
                Ok(share) => {
                    combiner.add(share).map_err(fail)?;
                }
                Err(error) => {
                    self.ui.warn(format!("{}: {error}.", self.what));
                    wrong.insert(leaf.holder().clone());
                }
            }
        }
        let combined = combiner.finish().map_err(fail)?;
        for (name, path) in &combined.wrong {
            self.ui.warn(format!(
                "{}: the share of {name} (place {path}) is wrong; it was left out.",
                self.what
            ));
        }
        Ok(combined.seed)
    }

    /// Opens one leaf: a share, or what is wrong with it.
    fn open(
        &self,
        file: &KeyFile,
        leaf: &Leaf,
    ) -> Result<std::result::Result<Share, keyward_custody::Error>> {
        let fail = |error| custody_failure(self.what, SAFE, error);
        let share = match self.company.identity(leaf.holder()) {
            Some(identity) => file.open_leaf_soft(leaf, identity),
            None => {
                let what = format!("its share of {}", self.what);
                let header = leaf.header().map_err(fail)?;
                let unlock = Unlock {
                    ui: self.ui,
                    state: self.state,
                    pins: self.pins,
                    header: &header,
                    purpose: Purpose::Share,
                    what: &what,
                    args: self.args,
                };
                let key = unlock.file_key(Some(self.holders))?;
                file.open_leaf(leaf, &key)
            }
        };
        match share {
            Err(error) if error.class() != keyward_custody::Class::NotVerified => Err(fail(error)),
            share => Ok(share),
        }
    }
}

/// Too few are here; or enough, and too many of their shares are wrong.
fn not_enough(
    what: &str,
    file: &KeyFile,
    is_here: impl Fn(&Name) -> bool,
    wrong: &BTreeSet<Name>,
) -> Failure {
    let here: BTreeSet<Name> =
        file.policy().names().into_iter().filter(|name| is_here(name)).cloned().collect();
    let failure = missing(what, file, &here);
    if wrong.is_empty() {
        return failure;
    }
    let names: Vec<&str> = wrong.iter().map(Name::as_str).collect();
    let verb = if names.len() > 1 { "are" } else { "is" };
    Failure::new(
        Kind::NotVerified,
        format!(
            "The share of {} {verb} wrong, and without it {what} does not open. {SAFE}",
            ui::list(&names, "and")
        ),
    )
    .fact(format!("The policy is: {}.", file.policy()))
    .hint("Bring other holders with --with NAME=FILE, or plug in their tokens.")
}

/// The failure that says who is here and who is missing.
fn missing(what: &str, file: &KeyFile, here: &BTreeSet<Name>) -> Failure {
    let ways = ways(file.policy(), here, &BTreeSet::new());
    let names = |set: &BTreeSet<Name>| set.iter().map(ToString::to_string).collect::<Vec<_>>();
    let here: Vec<String> = names(here);
    let present = if here.is_empty() { "Nobody".to_owned() } else { ui::list(&here, "and") };
    let verb = if here.len() > 1 { "do" } else { "does" };
    let mut failure =
        Failure::new(Kind::NotHolder, format!("{present} alone {verb} not open {what}. {SAFE}"));
    // Several ways may lack the same people, or more than another way does: each smallest set is said once.
    let mut lacking: Vec<&BTreeSet<Name>> = Vec::new();
    for way in &ways {
        if !lacking.iter().any(|said| said.is_subset(&way.missing)) {
            lacking.push(&way.missing);
        }
    }
    for set in lacking.into_iter().take(4) {
        let missing = names(set);
        let verb = if missing.len() > 1 { "are" } else { "is" };
        failure = failure.fact(format!("{} {verb} missing.", ui::list(&missing, "and")));
    }
    failure
        .fact(format!("The policy is: {}.", file.policy()))
        .hint("Bring them with --with NAME=FILE, or plug in their tokens.")
}
