//! What would still work after a loss: which holders open, and whether the vault can still be changed.

use std::collections::BTreeSet;

use crate::{Error, Name, Statement, Way, ways};

/// A vault after the loss of some holders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhatIf {
    /// Who is lost.
    pub lost: BTreeSet<Name>,
    /// Who still opens archives alone.
    pub alone: BTreeSet<Name>,
    /// The smallest sets that still open together, through the epoch.
    pub together: Vec<BTreeSet<Name>>,
    /// Holders without whom nothing would open any more.
    pub indispensable: BTreeSet<Name>,
    /// Whether the admins who are left suffice for routine changes: new epochs, dates.
    pub routine: bool,
    /// Whether they suffice for root changes: adding holders, revoking an admin.
    pub root: bool,
}

impl WhatIf {
    /// The vault of this statement without those holders.
    ///
    /// [`Error::Nobody`] for a name that is neither holder nor admin.
    pub fn of(statement: &Statement, lost: &BTreeSet<Name>) -> Result<WhatIf, Error> {
        let (holders, admins) = (statement.claimed_holders(), statement.admins());
        let stranger = lost.iter().find(|name| !holders.contains_key(*name) && !admins.contains_key(*name));
        if let Some(name) = stranger {
            return Err(Error::Nobody { name: name.clone() });
        }
        let left = ways(statement.policy(), &BTreeSet::new(), lost);
        let sets: Vec<BTreeSet<Name>> = left.into_iter().map(|Way { missing, .. }| missing).collect();
        let (alone, together): (Vec<_>, Vec<_>) = sets.into_iter().partition(|set| set.len() == 1);
        let mut everybody = alone.iter().chain(&together);
        let indispensable = everybody.next().cloned().map_or_else(BTreeSet::new, |first| {
            everybody.fold(first, |common, set| common.intersection(set).cloned().collect())
        });
        let signers = admins.keys().filter(|name| !lost.contains(*name)).count();
        let suffice = |needed: u32| usize::try_from(needed).is_ok_and(|needed| signers >= needed);
        Ok(WhatIf {
            lost: lost.clone(),
            alone: alone.into_iter().flatten().collect(),
            together,
            indispensable,
            routine: suffice(statement.thresholds().routine),
            root: suffice(statement.thresholds().root),
        })
    }

    /// Whether anything still opens.
    pub fn opens(&self) -> bool {
        !self.alone.is_empty() || !self.together.is_empty()
    }
}
