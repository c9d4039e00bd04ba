//! A statement that waits for signatures: in `drafts/DIGEST/` of a vault until they suffice (`docs/formats.md`, "Drafts").
//!
//! It counts as a reader will count: what is complete here is in force once it is put in place.

use std::collections::{BTreeMap, BTreeSet};

use crate::chain::{Ballot, Counted, bad_signature, check_file, may_follow};
use crate::{
    Change, Digest, Error, Generation, Name, PublicKey, Signature, SignatureError, Statement, Verified,
};

/// A statement and the signatures on it so far.
#[derive(Clone, Debug)]
pub struct Pending {
    statement: Statement,
    before: Option<Statement>,
    change: Option<Change>,
    signatures: BTreeMap<Name, Vec<u8>>,
}

/// A set of admins of whom so many have to sign, and who has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// Which admins, as `the admins before`.
    pub of: &'static str,
    /// How many of them have to sign.
    pub needed: u32,
    /// Who has.
    pub signed: BTreeSet<Name>,
    /// Who has not and could.
    pub open: BTreeMap<Name, PublicKey>,
}

impl Quorum {
    /// How many signatures are missing.
    pub fn missing(&self) -> u32 {
        self.needed.saturating_sub(u32::try_from(self.signed.len()).unwrap_or(u32::MAX))
    }
}

impl Pending {
    /// Generation 1 of a vault: every admin it names has to sign.
    ///
    /// [`Error::Previous`] if it is another generation.
    pub fn first(statement: Statement) -> Result<Pending, Error> {
        match statement.generation() {
            Generation::FIRST => {
                Ok(Pending { statement, before: None, change: None, signatures: BTreeMap::new() })
            }
            generation => Err(Error::Previous { generation }),
        }
    }

    /// The bytes of a draft, if they may follow the statement in force, whoever signs them.
    ///
    /// [`Error::Statement`], [`Error::WrongNumber`] and [`Error::Fork`] if it was made for an older statement than the one in
    /// force, [`Error::OtherVault`], [`Error::FixedMember`], [`Error::EpochChanged`], [`Error::EpochStale`].
    pub fn next(before: &Verified<Statement>, bytes: &[u8]) -> Result<Pending, Error> {
        let before = before.statement();
        let statement = crate::chain::parse(before.generation().next(), bytes)?;
        let change = may_follow(before, &statement)?;
        let before = Some(before.clone());
        Ok(Pending { statement, before, change: Some(change), signatures: BTreeMap::new() })
    }

    /// The statement that waits. A claim, like any other.
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The name of its folder in `drafts/`.
    pub fn digest(&self) -> Digest {
        self.statement.digest()
    }

    /// What it changes; none for generation 1.
    pub fn change(&self) -> Option<Change> {
        self.change
    }

    /// Key files that have to be in `keys/` before it is put in place, by name, with their digests.
    pub fn key_files(&self) -> BTreeMap<String, Digest> {
        let generation = self.statement.generation();
        let written = self.statement.claimed_epochs().iter().filter(|epoch| epoch.generation() == generation);
        written.map(|epoch| (epoch.file_name(), epoch.digest())).collect()
    }

    /// Adds a signature file; `false` if that signer's is there already.
    ///
    /// [`Error::UnknownSigner`], [`Error::BadSignature`]: as a reader would refuse it.
    pub fn add(&mut self, signer: &Name, file: &[u8]) -> Result<bool, Error> {
        let generation = self.statement.generation();
        let bytes = self.statement.bytes();
        match &self.before {
            None => {
                let key = self.statement.admins().get(signer);
                let key = key.ok_or_else(|| Error::UnknownSigner { generation, signer: signer.clone() })?;
                check_file(file, bytes, key).map_err(|reason| bad_signature(generation, signer, reason))?;
            }
            Some(before) => {
                Ballot::open(before, generation, bytes, std::iter::once((signer, file)))?
                    .close(before, &self.statement)?;
            }
        }
        if self.signatures.contains_key(signer) {
            return Ok(false);
        }
        self.signatures.insert(signer.clone(), file.to_vec());
        Ok(true)
    }

    /// Adds a signature that was just made, under the name whose key made it.
    ///
    /// As [`Pending::add`]; [`SignatureError::OtherKey`] if that name has another key.
    pub fn add_signature(&mut self, signer: &Name, signature: &Signature) -> Result<bool, Error> {
        if !self.keys_of(signer).any(|key| key == signature.key()) {
            let generation = self.statement.generation();
            return Err(bad_signature(generation, signer, SignatureError::OtherKey));
        }
        self.add(signer, signature.to_armored().as_bytes())
    }

    /// The signature files, by signer.
    pub fn signatures(&self) -> impl Iterator<Item = (&Name, &[u8])> {
        self.signatures.iter().map(|(signer, file)| (signer, file.as_slice()))
    }

    /// Whose signatures it needs: of the admins before, and, if admins or thresholds change, of the new ones too.
    pub fn quorums(&self) -> Result<Vec<Quorum>, Error> {
        let counted = self.count()?;
        let quorum = |of, needed, admins: &BTreeMap<Name, PublicKey>, keys: &BTreeSet<PublicKey>| {
            let (signed, open): (BTreeMap<_, _>, BTreeMap<_, _>) =
                admins.clone().into_iter().partition(|(_, key)| keys.contains(key));
            Quorum { of, needed, signed: signed.into_keys().collect(), open }
        };
        let after = self.statement.admins();
        let (Some(before), Some(change)) = (&self.before, self.change) else {
            let all = u32::try_from(after.len()).unwrap_or(u32::MAX);
            return Ok(vec![quorum("all of its admins", all, after, &counted.new)]);
        };
        let needed = change.needs.of(before.thresholds());
        let mut quorums = vec![quorum("the admins before", needed, before.admins(), &counted.old)];
        if change.admins {
            let root = self.statement.thresholds().root;
            quorums.push(quorum("its new admins", root, after, &counted.new));
        }
        Ok(quorums)
    }

    /// Whether the signatures suffice: put in place, it is in force.
    pub fn is_complete(&self) -> Result<bool, Error> {
        Ok(self.quorums()?.iter().all(|quorum| quorum.missing() == 0))
    }

    /// The admins whose signature would still help, with the key that it is made with.
    pub fn wanted(&self) -> Result<BTreeMap<Name, PublicKey>, Error> {
        let short = self.quorums()?.into_iter().filter(|quorum| quorum.missing() > 0);
        Ok(short.flat_map(|quorum| quorum.open).collect())
    }

    fn keys_of<'a>(&'a self, signer: &'a Name) -> impl Iterator<Item = &'a PublicKey> {
        let before = self.before.as_ref().and_then(|before| before.admins().get(signer));
        before.into_iter().chain(self.statement.admins().get(signer))
    }

    fn count(&self) -> Result<Counted, Error> {
        let Some(before) = &self.before else {
            let signed = self.signatures.keys().filter_map(|signer| self.statement.admins().get(signer));
            return Ok(Counted { old: BTreeSet::new(), new: signed.copied().collect() });
        };
        Ballot::open(before, self.statement.generation(), self.statement.bytes(), self.signatures())?
            .close(before, &self.statement)
    }
}
