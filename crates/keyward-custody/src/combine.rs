//! Shares, one after another, until they give the identity back; and what is still missing until then.
//!
//! A share comes in checked against its key file, so a wrong one has been named before. What remains is a key file whose
//! shares do not fit together although its digests are right: whoever made it made it wrong. The recipient in the signed
//! statement finds that out, and where there are more shares than needed, which of them it is.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::Node;
use crate::secret::Secret;
use crate::{Error, IdentitySeed, KeyFile, Name, Policy, Share, SharePath, shamir};

/// Collects the shares of one key file.
#[derive(Debug)]
pub struct Combiner<'a> {
    file: &'a KeyFile,
    shares: BTreeMap<SharePath, Share>,
}

/// An identity that was combined, and what was found out on the way.
#[derive(Debug)]
pub struct Combined {
    /// The identity: its recipient is the one of the key file.
    pub seed: IdentitySeed,
    /// Shares that had to be left out for it: they are wrong, and whoever made the key file made them so.
    pub wrong: Vec<(Name, SharePath)>,
}

/// A way to open: who of a minimal set is here, and who is not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Who is missing.
    pub missing: BTreeSet<Name>,
    /// Who is here and belongs to it.
    pub present: BTreeSet<Name>,
}

impl<'a> Combiner<'a> {
    /// No shares yet.
    pub fn new(file: &'a KeyFile) -> Combiner<'a> {
        Combiner { file, shares: BTreeMap::new() }
    }

    /// Adds a share of this key file; `false` if that place has one already.
    ///
    /// [`Error::ShareOfAnother`] for a share of another key file.
    pub fn add(&mut self, share: Share) -> Result<bool, Error> {
        if share.file != self.file.digest() {
            return Err(Error::ShareOfAnother { holder: share.holder, path: share.path, member: "key file" });
        }
        if self.shares.contains_key(&share.path) {
            return Ok(false);
        }
        self.shares.insert(share.path.clone(), share);
        Ok(true)
    }

    /// Whether the shares suffice.
    pub fn is_complete(&self) -> bool {
        satisfied(self.file.policy().root(), &self.root_path(), &|path| self.shares.contains_key(path))
    }

    /// The holders all of whose shares are here.
    pub fn present(&self) -> BTreeSet<Name> {
        let absent: BTreeSet<&Name> = self
            .file
            .leaves()
            .iter()
            .filter(|leaf| !self.shares.contains_key(leaf.path()))
            .map(|leaf| leaf.holder())
            .collect();
        self.shares
            .values()
            .map(|share| &share.holder)
            .filter(|name| !absent.contains(name))
            .cloned()
            .collect()
    }

    /// The ways that remain when the holders in `lost` cannot be had; the ones with the fewest missing first. None: nothing
    /// opens this key any more.
    pub fn ways(&self, lost: &BTreeSet<Name>) -> Vec<Way> {
        ways(self.file.policy(), &self.present(), lost)
    }

    /// Combines.
    ///
    /// [`Error::NotSatisfied`] with who is missing; [`Error::Commitment`] if the shares give another identity than the
    /// key file's recipient, with or without any one of them.
    pub fn finish(&self) -> Result<Combined, Error> {
        if !self.is_complete() {
            let missing = missing_text(&self.ways(&BTreeSet::new()));
            return Err(Error::NotSatisfied { policy: self.file.policy().to_string(), missing });
        }
        if let Some(seed) = self.combine_without(None)? {
            return Ok(Combined { seed, wrong: Vec::new() });
        }
        for share in self.shares.values() {
            if let Some(seed) = self.combine_without(Some(&share.path))? {
                return Ok(Combined { seed, wrong: vec![(share.holder.clone(), share.path.clone())] });
            }
        }
        let id = self.file.id();
        Err(Error::Commitment { key: id.key.to_string(), version: id.version })
    }

    /// The identity that all shares but one give; none if they do not suffice, or give another one.
    fn combine_without(&self, left_out: Option<&SharePath>) -> Result<Option<IdentitySeed>, Error> {
        let share = |path: &SharePath| {
            self.shares.get(path).filter(|share| left_out != Some(&share.path)).map(|share| &share.secret)
        };
        let Some(secret) = combine(self.file.policy().root(), &self.root_path(), &share)? else {
            return Ok(None);
        };
        let seed = IdentitySeed::new(self.file.recipient().suite(), secret);
        Ok((seed.recipient()? == *self.file.recipient()).then_some(seed))
    }

    fn root_path(&self) -> SharePath {
        match self.file.policy().root() {
            Node::Holder(_) => SharePath::root().part(0),
            Node::Threshold { .. } => SharePath::root(),
        }
    }
}

/// The ways to open under a policy with these holders present and those lost; the ones with the fewest missing first, and
/// of those the ones that more of the present belong to.
pub fn ways(policy: &Policy, present: &BTreeSet<Name>, lost: &BTreeSet<Name>) -> Vec<Way> {
    let mut ways: Vec<Way> = policy
        .minimal_sets()
        .into_iter()
        .map(|set| {
            let (here, missing) = set.into_iter().partition(|name| present.contains(name));
            Way { missing, present: here }
        })
        .filter(|way: &Way| way.missing.is_disjoint(lost))
        .collect();
    ways.sort_by(|a, b| {
        let size = |way: &Way| (way.missing.len(), usize::MAX - way.present.len());
        size(a).cmp(&size(b)).then_with(|| a.cmp(b))
    });
    ways
}

/// Who is missing, for the end of a sentence: `missing: dave`, `missing: dave, or bob, or erin and frank`.
pub(crate) fn missing_text(ways: &[Way]) -> String {
    /// Ways that are told; the rest is counted.
    const TOLD: usize = 4;
    let mut told: Vec<&BTreeSet<Name>> = Vec::new();
    // Ways come with the fewest missing first. One that misses more than another says nothing new.
    for Way { missing, .. } in ways {
        if !told.iter().any(|fewer| fewer.is_subset(missing)) {
            told.push(missing);
        }
    }
    let text: Vec<String> = told.iter().take(TOLD).map(|names| join(names.iter())).collect();
    match told.len() {
        0 => "nothing opens it any more".to_owned(),
        few if few <= TOLD => format!("missing: {}", text.join(", or ")),
        many => format!("missing: {}, or one of {} other sets", text.join(", or "), many - TOLD),
    }
}

/// `carol`, `carol and dave`, `carol, dave and erin`.
pub(crate) fn join<'a>(names: impl IntoIterator<Item = &'a Name>) -> String {
    let mut names: Vec<&str> = names.into_iter().map(Name::as_str).collect();
    match names.pop() {
        Some(last) if names.is_empty() => last.to_owned(),
        Some(last) => format!("{} and {last}", names.join(", ")),
        None => String::new(),
    }
}

fn satisfied(node: &Node, path: &SharePath, has: &impl Fn(&SharePath) -> bool) -> bool {
    match node {
        Node::Holder(_) => has(path),
        Node::Threshold { needed, parts } => {
            let met =
                parts.iter().enumerate().filter(|(index, part)| satisfied(part, &path.part(*index), has));
            met.take(*needed).count() == *needed
        }
    }
}

/// The secret of a part; none if the shares below it do not suffice.
fn combine<'s>(
    node: &Node,
    path: &SharePath,
    share: &impl Fn(&SharePath) -> Option<&'s Secret>,
) -> Result<Option<Secret>, Error> {
    let (needed, parts) = match node {
        Node::Holder(_) => return Ok(share(path).map(Secret::duplicate)),
        Node::Threshold { needed, parts } => (*needed, parts),
    };
    let mut found: Vec<(u8, Secret)> = Vec::with_capacity(needed);
    for (index, part) in parts.iter().enumerate() {
        if found.len() == needed {
            break;
        }
        if let Some(secret) = combine(part, &path.part(index), share)? {
            found.push((u8::try_from(index + 1).unwrap_or(u8::MAX), secret));
        }
    }
    if found.len() < needed {
        return Ok(None);
    }
    match needed {
        1 => Ok(found.pop().map(|(_, secret)| secret)),
        _ => shamir::combine(found.iter().map(|(x, secret)| (*x, secret))).map(Some),
    }
}
