//! A statement in the making: the first of a vault, or the next one of a verified vault.
//!
//! Everything here needs public keys only. What a draft changes, whose signatures it needs and what it writes beside the
//! statement, it says before anybody signs.

use std::collections::BTreeMap;

use keyward_age::{Recipient, Suite};

use crate::statement::Body;
use crate::{
    Change, Digest, Epoch, Error, Generation, Holder, IdentitySeed, KeyFile, KeyId, Link, Name, Policy,
    PublicKey, Requirements, Sealer, Series, Statement, Thresholds, Timestamp, Token, VaultId, Verified,
};

/// A statement in the making.
#[derive(Clone, Debug)]
pub struct Draft {
    vault: VaultId,
    name: Name,
    generation: Generation,
    created: Timestamp,
    suite: Suite,
    test: bool,
    before: Option<Box<Statement>>,
    epochs: Vec<Epoch>,
    sealers: BTreeMap<Name, Sealer>,
    written: BTreeMap<u32, Written>,
    /// When it expires; a year from now, unless changed.
    pub expires: Timestamp,
    /// What every token has to be.
    pub require: Requirements,
    /// Who opens.
    pub policy: Policy,
    /// The holders the policy names.
    pub holders: BTreeMap<Name, Holder>,
    /// Who signs the next generation.
    pub admins: BTreeMap<Name, PublicKey>,
    /// How many of them have to; none for [`Thresholds::for_admins`].
    pub thresholds: Option<Thresholds>,
    /// That a new policy which some one holder's loss makes unsatisfiable is what is wanted.
    pub no_recovery: bool,
}

/// A key file that this draft brings along, and what it was split for.
#[derive(Clone, Debug)]
struct Written {
    file: KeyFile,
    custody: BTreeMap<Name, Recipient>,
}

/// How a holder leaves.
#[derive(Clone, Debug, Default)]
pub struct Removal {
    /// The policy from then on; none for the one before without that holder.
    pub policy: Option<Policy>,
    /// Whether thresholds may sink, of the policy and of signatures, where too few are left.
    pub shrink: bool,
}

/// What a holder's leaving changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether the one who leaves was a holder.
    pub holder: bool,
    /// Whether the one who leaves was an admin.
    pub admin: bool,
    /// The policy before.
    pub policy_before: Policy,
    /// The policy from then on.
    pub policy: Policy,
    /// The thresholds of signatures before.
    pub thresholds_before: Thresholds,
    /// The thresholds of signatures from then on.
    pub thresholds: Thresholds,
}

impl Draft {
    /// Generation 1 of a new vault, without holders and admins yet.
    pub fn first(
        vault: VaultId,
        name: Name,
        suite: Suite,
        test: bool,
        policy: Policy,
        now: Timestamp,
    ) -> Draft {
        Draft {
            vault,
            name,
            generation: Generation::FIRST,
            created: now,
            suite,
            test,
            before: None,
            epochs: Vec::new(),
            sealers: BTreeMap::new(),
            written: BTreeMap::new(),
            expires: now.plus_year(),
            require: Requirements::default(),
            policy,
            holders: BTreeMap::new(),
            admins: BTreeMap::new(),
            thresholds: None,
            no_recovery: false,
        }
    }

    /// The generation after the one in force, the same but for its dates.
    pub fn after(before: &Verified<Statement>, now: Timestamp) -> Draft {
        let statement = before.statement();
        let Body {
            name,
            policy,
            require,
            holders,
            admins,
            thresholds,
            vault,
            generation,
            suite,
            test,
            epochs,
            sealers,
            ..
        } = statement.body().clone();
        Draft {
            vault,
            name,
            generation: generation.next(),
            created: now,
            suite,
            test,
            before: Some(Box::new(statement.clone())),
            epochs,
            sealers,
            written: BTreeMap::new(),
            expires: now.plus_year(),
            require,
            policy,
            holders,
            admins,
            thresholds: Some(thresholds),
            no_recovery: false,
        }
    }

    /// The generation it will be.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Adds a token as holder and, by its signing key, as admin.
    pub fn add_token(&mut self, name: Name, token: Token) {
        self.admins.insert(name.clone(), token.signing.key);
        self.holders.insert(name, Holder::Token(Box::new(token)));
    }

    /// Adds a holder of any kind, as admin too if that is wanted; the policy has to name it from now on.
    ///
    /// [`Error::NameTaken`]; [`Error::AdminIsAnother`] if it shall be an admin and has no key that signs. Afterwards who
    /// opens is another question than before: [`Draft::new_epoch`], or [`Draft::rewrap`] of the epoch in force.
    pub fn add_holder(&mut self, name: Name, holder: Holder, admin: bool) -> Result<(), Error> {
        if self.holders.contains_key(&name) || self.admins.contains_key(&name) {
            return Err(Error::NameTaken { name });
        }
        if admin {
            let key = holder.signing_key().ok_or_else(|| Error::AdminIsAnother { name: name.clone() })?;
            self.admins.insert(name.clone(), *key);
        }
        self.holders.insert(name, holder);
        Ok(())
    }

    /// Takes a holder or admin out: out of the policy, and its right to sign with it. The draft stays as it was if that is
    /// refused. A new epoch is still to be made: see [`Draft::revoke`].
    ///
    /// [`Error::Nobody`]; [`Error::Unsatisfiable`] if nothing is left of the policy, or no part for somebody else;
    /// [`Error::TooFewAdmins`].
    pub fn remove_holder(&mut self, name: &Name, how: &Removal) -> Result<Removed, Error> {
        let (holder, admin) = (self.holders.contains_key(name), self.admins.contains_key(name));
        if !holder && !admin {
            return Err(Error::Nobody { name: name.clone() });
        }
        let policy = if holder { self.policy_without(name, how)? } else { self.policy.clone() };
        let thresholds_before = self.thresholds();
        let thresholds = if admin { self.thresholds_without(name, how.shrink)? } else { thresholds_before };
        let policy_before = std::mem::replace(&mut self.policy, policy.clone());
        self.thresholds = Some(thresholds);
        self.holders.remove(name);
        self.admins.remove(name);
        Ok(Removed { holder, admin, policy_before, policy, thresholds_before, thresholds })
    }

    /// Takes a holder out of all that comes: as [`Draft::remove_holder`], and a new epoch, whose key file is given back. None
    /// if the one who leaves was an admin and no holder.
    pub fn revoke(&mut self, name: &Name, how: &Removal) -> Result<(Removed, Option<KeyFile>), Error> {
        let removed = self.remove_holder(name, how)?;
        let file = removed.holder.then(|| self.new_epoch()).transpose()?;
        Ok((removed, file))
    }

    /// Begins a new epoch, under the policy and for the holders as they are now: to be called when both are final. Its key
    /// file is to be written before the statement; nobody has to be present.
    pub fn new_epoch(&mut self) -> Result<KeyFile, Error> {
        // One that this draft has begun already is begun anew: no file of it has been signed.
        let begun = self.before.as_ref().map_or(0, |before| before.claimed_epochs().len());
        self.epochs.truncate(begun);
        let number = u32::try_from(begun).unwrap_or(u32::MAX).saturating_add(1);
        let file = self.write(number, &IdentitySeed::random(self.suite)?)?;
        self.epochs.push(Epoch::of(&file, self.created)?);
        Ok(file)
    }

    /// Keeps an epoch that was opened under the policy and for the holders as they are now.
    ///
    /// [`Error::NoEpoch`]; [`Error::Commitment`] if the identity is not that epoch's.
    pub fn rewrap(&mut self, number: u32, seed: &IdentitySeed) -> Result<KeyFile, Error> {
        let index = number.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let index =
            index.filter(|index| *index < self.epochs.len()).ok_or(Error::NoEpoch { epoch: number })?;
        let recipient = seed.recipient()?;
        if self.epochs.get(index).is_none_or(|epoch| *epoch.recipient() != recipient) {
            return Err(Error::Commitment { key: "epoch".to_owned(), version: number });
        }
        let file = self.write(number, seed)?;
        if let Some(epoch) = self.epochs.get_mut(index) {
            *epoch = epoch.rewrapped(&file);
        }
        Ok(file)
    }

    /// Certifies a host as a sealer; `by` is the person who controls it, where that is known.
    ///
    /// [`Error::SealerTaken`] if a sealer has or had that name; a key that is in use is refused when the draft is built.
    pub fn add_sealer(&mut self, name: Name, key: PublicKey, by: Option<Name>) -> Result<(), Error> {
        if self.sealers.contains_key(&name) {
            return Err(Error::SealerTaken { name });
        }
        self.sealers.insert(name, Sealer::new(key, self.generation, by));
        Ok(())
    }

    /// Removes a sealer. It stays listed; of each series in `last` the receipts up to that one count, of others none.
    ///
    /// [`Error::NoSealer`] if there is none in force of that name.
    pub fn remove_sealer(&mut self, name: &Name, last: BTreeMap<Series, Link>) -> Result<(), Error> {
        match self.sealers.get_mut(name).filter(|sealer| sealer.removed().is_none()) {
            Some(sealer) => {
                sealer.remove(self.generation, last);
                Ok(())
            }
            None => Err(Error::NoSealer { name: name.clone() }),
        }
    }

    /// The key files to write before the statement, in the order of their epochs.
    pub fn key_files(&self) -> impl Iterator<Item = &KeyFile> {
        self.written.values().map(|written| &written.file)
    }

    /// What it changes, and whose signatures that needs; none for generation 1, which every admin signs.
    pub fn change(&self) -> Result<Option<Change>, Error> {
        let statement = self.build()?;
        self.before.as_deref().map(|before| Change::between(before, &statement)).transpose()
    }

    /// The statement, if it agrees with itself and may follow the one before.
    ///
    /// [`Error::SingleHolder`] if the policy is new, somebody's loss alone makes it unsatisfiable, and that was not said
    /// to be wanted; [`Error::EpochStale`] if who opens has changed and no epoch was made since; otherwise the same errors as
    /// reading it would give.
    pub fn build(&self) -> Result<Statement, Error> {
        let body = Body {
            admins: self.admins.clone(),
            created: self.created,
            epochs: self.epochs.clone(),
            expires: self.expires,
            format: crate::statement::FORMAT.to_owned(),
            generation: self.generation,
            holders: self.holders.clone(),
            keys: Default::default(),
            name: self.name.clone(),
            policy: self.policy.clone(),
            previous: self.previous(),
            require: self.require.clone(),
            sealers: self.sealers.clone(),
            suite: self.suite,
            test: self.test,
            thresholds: self.thresholds(),
            vault: self.vault,
        };
        let statement = Statement::from_body(body)?;
        if self.before.as_ref().map(|before| before.policy()) != Some(&self.policy)
            && !self.no_recovery
            && let Some(holder) = self.policy.indispensable().into_iter().next()
        {
            return Err(Error::SingleHolder { holder, policy: self.policy.to_string() });
        }
        let custody = self.custody();
        if self.written.values().any(|w| *w.file.policy() != self.policy || w.custody != custody) {
            let found = "split under another policy or for other holders";
            return Err(Error::EpochStale { generation: self.generation, found });
        }
        if let Some(before) = &self.before {
            Change::between(before, &statement)?;
        }
        Ok(statement)
    }

    fn previous(&self) -> Option<Digest> {
        self.before.as_ref().map(|before| before.digest())
    }

    fn thresholds(&self) -> Thresholds {
        self.thresholds.unwrap_or_else(|| Thresholds::for_admins(self.admins.len()))
    }

    fn custody(&self) -> BTreeMap<Name, Recipient> {
        self.holders.iter().map(|(name, holder)| (name.clone(), holder.custody().clone())).collect()
    }

    fn write(&mut self, number: u32, seed: &IdentitySeed) -> Result<KeyFile, Error> {
        let id = KeyId::epoch(self.vault, number, self.generation)?;
        let custody = self.custody();
        let file = KeyFile::split(&id, seed, &self.policy, &custody)?;
        self.written.insert(number, Written { file: file.clone(), custody });
        Ok(file)
    }

    fn policy_without(&self, name: &Name, how: &Removal) -> Result<Policy, Error> {
        let refuse =
            |what| Error::Unsatisfiable { gone: name.clone(), policy: self.policy.to_string(), what };
        if let Some(policy) = &how.policy {
            return match policy.names().contains(name) {
                true => Err(Error::Unsatisfiable {
                    gone: name.clone(),
                    policy: policy.to_string(),
                    what: "still names them".to_owned(),
                }),
                false => Ok(policy.clone()),
            };
        }
        let left = self.policy.without(name, how.shrink)?;
        let left = left.ok_or_else(|| refuse("cannot be satisfied any more".to_owned()))?;
        let before = self.policy.names();
        let stranded: Vec<&Name> = before
            .iter()
            .filter(|other| **other != name && !left.names().contains(**other))
            .copied()
            .collect();
        match stranded.is_empty() {
            true => Ok(left),
            false => {
                Err(refuse(format!("is '{left}', which has no part for {}", crate::combine::join(stranded))))
            }
        }
    }

    fn thresholds_without(&self, name: &Name, shrink: bool) -> Result<Thresholds, Error> {
        let Thresholds { root, routine } = self.thresholds();
        let admins = self.admins.keys().filter(|admin| *admin != name).count();
        let left = u32::try_from(admins).unwrap_or(u32::MAX);
        if root <= left {
            return Ok(Thresholds { root, routine });
        }
        if !shrink || left == 0 {
            return Err(Error::TooFewAdmins { gone: name.clone(), admins, root });
        }
        Ok(Thresholds { root: left, routine: routine.min(left) })
    }
}
