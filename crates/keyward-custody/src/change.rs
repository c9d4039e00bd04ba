//! What a new generation changes, and so whose signatures it needs (`docs/formats.md`, "Chain of generations").

use crate::epoch::check_succession;
use crate::sealer::check_sealer_succession;
use crate::{Error, Statement, Thresholds};

/// Which threshold of the admins before a change has to meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Needs {
    /// Dates, epochs, sealers, and whatever only takes away from holders who are no admins.
    Routine,
    /// Everything else.
    Root,
}

impl Needs {
    /// How many signatures that is.
    pub fn of(self, thresholds: Thresholds) -> u32 {
        match self {
            Needs::Routine => thresholds.routine,
            Needs::Root => thresholds.root,
        }
    }
}

/// The difference between a statement and the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which threshold of the admins before it has to meet.
    pub needs: Needs,
    /// Whether admins or thresholds change, so that the new admins' root threshold has to be met as well.
    pub admins: bool,
}

impl Change {
    /// Compares a statement and its successor. [`Error::FixedMember`], [`Error::EpochChanged`], [`Error::SealerChanged`]
    /// and [`Error::EpochStale`] if
    /// something changes that never does, or the epoch in force does not follow who opens.
    pub fn between(before: &Statement, after: &Statement) -> Result<Change, Error> {
        if let Some(member) = before.fixed_member_changed(after) {
            return Err(Error::FixedMember { generation: after.generation(), member });
        }
        check_succession(before, after)?;
        check_sealer_succession(before, after)?;
        let admins = before.admins() != after.admins() || before.thresholds() != after.thresholds();
        let new_holder = after
            .claimed_holders()
            .iter()
            .any(|(name, holder)| before.claimed_holders().get(name).is_none_or(|known| known != holder));
        // An admin who stops being a holder and stays an admin is no routine matter.
        let admin_leaves = before
            .claimed_holders()
            .keys()
            .any(|name| !after.claimed_holders().contains_key(name) && before.admins().contains_key(name));
        let root = admins
            || new_holder
            || admin_leaves
            || before.requirements() != after.requirements()
            || after.policy().opens_more_than(before.policy());
        Ok(Change { needs: if root { Needs::Root } else { Needs::Routine }, admins })
    }
}
