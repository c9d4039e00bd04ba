//! Who opens: a threshold tree over holders, as text that people write and read (`docs/formats.md`, "Policy").
//!
//! Parsing gives one canonical tree: flat where nesting means nothing, in the order in which it was written (shares are
//! numbered by it). Its size is bounded when it is parsed, so that every question about it has a quick answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::Name;
use crate::canonical::serde_as_text;

mod parse;

/// The longest policy text, in bytes.
const MAX_TEXT: usize = 2048;
/// The most levels of a policy; a name alone has one.
const MAX_DEPTH: usize = 8;
/// The most places for names in a policy.
const MAX_NAMES: usize = 64;
/// The most ways to open, counted before supersets are dropped.
const MAX_WAYS: u64 = 4096;

/// A policy: which holders together open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    root: Node,
}

/// A part of a policy. Made by [`Node::threshold`] alone, which keeps it canonical.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Node {
    Holder(Name),
    /// `needed` of the two or more `parts`.
    Threshold {
        needed: usize,
        parts: Vec<Node>,
    },
}

/// A policy's tree, for showing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyPart<'a> {
    /// A holder.
    Holder(&'a Name),
    /// So many of two or more parts: 1 for `or`, all for `and`.
    Of {
        /// How many.
        needed: usize,
        /// The parts, in order.
        parts: Vec<PolicyPart<'a>>,
    },
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The text ends where a part is missing, or something stands where it cannot.
    #[error("{expected} is expected at character {position}, not {found}")]
    Expected {
        /// What could stand there.
        expected: &'static str,
        /// What stands there.
        found: String,
        /// Counted from 1.
        position: usize,
    },
    /// A word that is no name.
    #[error("'{}' is no name: {reason}", name.escape_debug())]
    Name {
        /// The word.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `and` beside `or`.
    #[error("`and` and `or` stand side by side at character {position}: parentheses say which is meant")]
    Mixed {
        /// Of the second kind of word, counted from 1.
        position: usize,
    },
    /// `0 of (…)`, or more than there are.
    #[error("{needed} of {parts} parts cannot be asked for")]
    Threshold {
        /// How many are asked for.
        needed: usize,
        /// How many there are.
        parts: usize,
    },
    /// One part twice in one list.
    #[error("'{part}' stands twice in one list")]
    Twice {
        /// The part.
        part: String,
    },
    /// Beyond a limit.
    #[error("the policy has more than {max} {what}")]
    TooLarge {
        /// What is counted.
        what: &'static str,
        /// The limit.
        max: u64,
    },
}

impl Policy {
    /// Whether these holders together open.
    pub fn satisfied_by(&self, holders: &BTreeSet<Name>) -> bool {
        self.root.satisfied_by(holders)
    }

    /// Every name in the policy.
    pub fn names(&self) -> BTreeSet<&Name> {
        let mut names = BTreeSet::new();
        self.root.collect_names(&mut names);
        names
    }

    /// The holders who open alone.
    pub fn direct_holders(&self) -> BTreeSet<Name> {
        let alone = |name: &&Name| self.satisfied_by(&BTreeSet::from([(*name).clone()]));
        self.names().into_iter().filter(alone).cloned().collect()
    }

    /// The sets of holders that open and of which nobody can be spared: the smaller ones first, then by name.
    pub fn minimal_sets(&self) -> Vec<BTreeSet<Name>> {
        let names: BTreeMap<&Name, u32> = self.names().into_iter().zip(0..64).collect();
        let chosen = |set: &u64| {
            names.iter().filter(|(_, bit)| set >> **bit & 1 == 1).map(|(name, _)| (*name).clone()).collect()
        };
        let mut sets: Vec<BTreeSet<Name>> = self.root.minimal_sets(&names).iter().map(chosen).collect();
        sets.sort_by(|a, b| a.len().cmp(&b.len()).then_with(|| a.cmp(b)));
        sets
    }

    /// The holders without whom nothing opens: each is a single point of failure. None, if the policy survives the loss
    /// of any one holder.
    pub fn indispensable(&self) -> BTreeSet<Name> {
        let names: BTreeSet<Name> = self.names().into_iter().cloned().collect();
        let needed = |name: &&Name| {
            let others = names.iter().filter(|other| other != name).cloned().collect();
            !self.satisfied_by(&others)
        };
        names.iter().filter(needed).cloned().collect()
    }

    /// Whether some holders open under this policy who do not under `other`.
    pub fn opens_more_than(&self, other: &Policy) -> bool {
        self.minimal_sets().iter().any(|set| !other.satisfied_by(set))
    }

    /// The first part, as text, that is reached through shares only: one that is no holder who opens alone. None for
    /// `alice` and for `alice or bob`.
    pub fn part_that_needs_shares(&self) -> Option<String> {
        match &self.root {
            Node::Holder(_) => None,
            Node::Threshold { needed: 1, parts } => {
                parts.iter().find(|part| matches!(part, Node::Threshold { .. })).map(Node::to_string)
            }
            all => Some(all.to_string()),
        }
    }

    /// The policy without a holder who leaves: every threshold stays, and a part that cannot be satisfied any more falls
    /// away; with `shrink` a threshold sinks to the number of parts that are left instead. None if nothing is left.
    ///
    /// Names that had a part beside the one who leaves may have none in what is left: compare [`Policy::names`].
    pub fn without(&self, gone: &Name, shrink: bool) -> Result<Option<Policy>, PolicyError> {
        self.root.without(gone, shrink)?.map(Policy::bounded).transpose()
    }

    /// The tree.
    pub fn tree(&self) -> PolicyPart<'_> {
        fn part(node: &Node) -> PolicyPart<'_> {
            match node {
                Node::Holder(name) => PolicyPart::Holder(name),
                Node::Threshold { needed, parts } => {
                    PolicyPart::Of { needed: *needed, parts: parts.iter().map(part).collect() }
                }
            }
        }
        part(&self.root)
    }

    pub(crate) fn root(&self) -> &Node {
        &self.root
    }

    /// Checks the limits of a tree that is otherwise well-formed.
    fn bounded(root: Node) -> Result<Policy, PolicyError> {
        let too_large = |what, max| Err(PolicyError::TooLarge { what, max });
        if root.depth() > MAX_DEPTH {
            return too_large("levels", MAX_DEPTH as u64);
        }
        if root.leaves() > MAX_NAMES {
            return too_large("names", MAX_NAMES as u64);
        }
        if root.ways() > MAX_WAYS {
            return too_large("ways to open", MAX_WAYS);
        }
        Ok(Policy { root })
    }
}

impl Node {
    /// `needed` of `parts`, canonical: a part alone is itself, `or` in `or` and `and` in `and` are flat.
    fn threshold(needed: usize, mut parts: Vec<Node>) -> Result<Node, PolicyError> {
        let count = parts.len();
        if needed == 0 || needed > count {
            return Err(PolicyError::Threshold { needed, parts: count });
        }
        if let Some(alone) = parts.pop_if(|_| count == 1) {
            return Ok(alone);
        }
        let (any, all) = (needed == 1, needed == count);
        let mut flat = Vec::with_capacity(count);
        for part in parts {
            match part {
                Node::Threshold { needed: 1, parts } if any => flat.extend(parts),
                Node::Threshold { needed, parts } if all && needed == parts.len() => flat.extend(parts),
                other => flat.push(other),
            }
        }
        for (index, part) in flat.iter().enumerate() {
            if flat.iter().take(index).any(|earlier| earlier == part) {
                return Err(PolicyError::Twice { part: part.to_string() });
            }
        }
        let needed = if all { flat.len() } else { needed };
        Ok(Node::Threshold { needed, parts: flat })
    }

    fn without(&self, gone: &Name, shrink: bool) -> Result<Option<Node>, PolicyError> {
        match self {
            Node::Holder(name) => Ok((name != gone).then(|| self.clone())),
            Node::Threshold { needed, parts } => {
                let mut left: Vec<Node> = Vec::with_capacity(parts.len());
                for part in parts {
                    // What is left of two parts may be the same.
                    left.extend(
                        part.without(gone, shrink)?.filter(|part| *needed > 1 || !left.contains(part)),
                    );
                }
                let needed = if shrink { (*needed).min(left.len()) } else { *needed };
                if left.is_empty() || left.len() < needed {
                    return Ok(None);
                }
                Node::threshold(needed, left).map(Some)
            }
        }
    }

    fn satisfied_by(&self, holders: &BTreeSet<Name>) -> bool {
        match self {
            Node::Holder(name) => holders.contains(name),
            Node::Threshold { needed, parts } => {
                parts.iter().filter(|part| part.satisfied_by(holders)).take(*needed).count() == *needed
            }
        }
    }

    fn collect_names<'a>(&'a self, names: &mut BTreeSet<&'a Name>) {
        match self {
            Node::Holder(name) => {
                names.insert(name);
            }
            Node::Threshold { parts, .. } => parts.iter().for_each(|part| part.collect_names(names)),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Node::Holder(_) => 1,
            Node::Threshold { parts, .. } => 1 + parts.iter().map(Node::depth).max().unwrap_or(0),
        }
    }

    fn leaves(&self) -> usize {
        match self {
            Node::Holder(_) => 1,
            Node::Threshold { parts, .. } => parts.iter().map(Node::leaves).sum(),
        }
    }

    /// How many combinations of names open, before supersets are dropped: the elementary symmetric polynomial of the
    /// parts' counts, of degree `needed`.
    fn ways(&self) -> u64 {
        match self {
            Node::Holder(_) => 1,
            Node::Threshold { needed, parts } => {
                // ways.get(k): combinations that use exactly k of the parts seen so far.
                let mut ways = vec![0_u64; needed + 1];
                if let Some(none) = ways.first_mut() {
                    *none = 1;
                }
                for part in parts {
                    let count = part.ways();
                    let with_part = ways.iter().map(|w| w.saturating_mul(count)).collect::<Vec<_>>();
                    for (target, added) in ways.iter_mut().skip(1).zip(with_part) {
                        *target = target.saturating_add(added);
                    }
                }
                ways.last().copied().unwrap_or(0)
            }
        }
    }

    /// The minimal sets as bits, one for each name in `names`, of which there are at most 64.
    fn minimal_sets(&self, names: &BTreeMap<&Name, u32>) -> Vec<u64> {
        match self {
            Node::Holder(name) => names.get(name).map(|index| 1_u64 << index).into_iter().collect(),
            Node::Threshold { needed, parts } => {
                // by_count.get(k): unions of minimal sets of exactly k of the parts seen so far. Where too few parts
                // follow to reach `needed`, the unions are dropped: so none of these lists outgrows the last one.
                let mut by_count: Vec<Vec<u64>> = vec![Vec::new(); needed + 1];
                if let Some(none) = by_count.first_mut() {
                    none.push(0);
                }
                for (index, part) in parts.iter().enumerate() {
                    let sets = part.minimal_sets(names);
                    let following = parts.len() - index - 1;
                    let mut fewer: Vec<u64> = Vec::new();
                    for (count, known) in by_count.iter_mut().enumerate() {
                        let joined =
                            fewer.iter().flat_map(|one| sets.iter().map(move |set| one | set)).collect();
                        fewer = std::mem::replace(known, joined);
                        if count + following >= *needed {
                            known.extend_from_slice(&fewer);
                        } else {
                            known.clear();
                        }
                    }
                }
                without_supersets(by_count.pop().unwrap_or_default())
            }
        }
    }
}

fn without_supersets(mut sets: Vec<u64>) -> Vec<u64> {
    sets.sort_unstable_by_key(|set| (set.count_ones(), *set));
    let mut kept: Vec<u64> = Vec::new();
    for set in sets {
        if !kept.iter().any(|smaller| smaller & set == *smaller) {
            kept.push(set);
        }
    }
    kept
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (needed, parts) = match self {
            Node::Holder(name) => return name.fmt(f),
            Node::Threshold { needed, parts } => (*needed, parts),
        };
        let word = match needed {
            1 => Some(" or "),
            all if all == parts.len() => Some(" and "),
            _ => None,
        };
        if word.is_none() {
            write!(f, "{needed} of (")?;
        }
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                f.write_str(word.unwrap_or(", "))?;
            }
            if word.is_some() && part.is_joined_by_word() {
                write!(f, "({part})")?;
            } else {
                part.fmt(f)?;
            }
        }
        f.write_str(if word.is_none() { ")" } else { "" })
    }
}

impl Node {
    /// Whether this is written with `or` or `and`, not with `of` or as a name.
    fn is_joined_by_word(&self) -> bool {
        matches!(self, Node::Threshold { needed, parts } if *needed == 1 || *needed == parts.len())
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Policy, PolicyError> {
        if text.len() > MAX_TEXT {
            return Err(PolicyError::TooLarge { what: "bytes", max: MAX_TEXT as u64 });
        }
        Policy::bounded(parse::parse(text)?)
    }
}

serde_as_text!(Policy);

#[cfg(test)]
mod tests;
