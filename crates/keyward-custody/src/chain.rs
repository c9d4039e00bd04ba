//! From files that anybody may have written to a statement that is true: every generation verified from the pinned one
//! up (`docs/formats.md`, "Chain of generations").
//!
//! Signatures of the admins before are checked over the bytes of a statement, and only then are those bytes read. Nothing
//! else in this crate makes a [`Verified`] value.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use keyward_age::Recipient;

use crate::{
    Candidate, Change, Confirmation, Epoch, Error, Fingerprint, Generation, Holder, KeyFile, Name, Namespace,
    Pins, PublicKey, Sealer, Signature, SignatureError, Statement, VaultFiles,
};

/// Whom an archive is sealed to; displayed as `alice`, `epoch 2` or `its own key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SealedTo {
    /// A direct holder.
    Holder(Name),
    /// The epoch of this number.
    Epoch(u32),
    /// A key that this archive alone has.
    OwnKey,
}

impl fmt::Display for SealedTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SealedTo::Holder(name) => name.fmt(f),
            SealedTo::Epoch(number) => f.pad(&format!("epoch {number}")),
            SealedTo::OwnKey => f.pad("its own key"),
        }
    }
}

/// Something whose signatures have been verified against pins or explicit trust. Made here and nowhere else.
#[derive(Clone, Debug)]
pub struct Verified<T> {
    value: T,
    unfinished: Option<Generation>,
}

impl Verified<Statement> {
    /// The statement in force.
    pub fn statement(&self) -> &Statement {
        &self.value
    }

    /// A generation above the one in force that has not enough signatures: its writer was interrupted, or its signatures
    /// were taken away.
    pub fn unfinished(&self) -> Option<Generation> {
        self.unfinished
    }

    /// The holders, by name.
    pub fn holders(&self) -> &BTreeMap<Name, Holder> {
        self.value.claimed_holders()
    }

    /// What an archive is sealed to: each direct holder's archive recipient, by name, and the epoch in force.
    pub fn recipients(&self) -> Vec<(SealedTo, Recipient)> {
        let holders = self
            .direct_holders()
            .map(|(name, holder)| (SealedTo::Holder(name.clone()), holder.archive().clone()));
        let epoch =
            self.epoch_in_force().map(|epoch| (SealedTo::Epoch(epoch.number()), epoch.recipient().clone()));
        holders.chain(epoch).collect()
    }

    /// The epochs, from the first to the one in force.
    pub fn epochs(&self) -> &[Epoch] {
        self.value.claimed_epochs()
    }

    /// The epoch that archives are sealed to; none in a vault that has none.
    pub fn epoch_in_force(&self) -> Option<&Epoch> {
        self.epochs().last()
    }

    /// The sealers, in force and removed.
    pub fn sealers(&self) -> &BTreeMap<Name, Sealer> {
        self.value.claimed_sealers()
    }

    /// Reads the key file that keeps an epoch; `bytes` are those of the file that [`Epoch::file_name`] names.
    ///
    /// [`Error::NoEpoch`], [`Error::KeyFileEdited`], [`Error::KeyFileOfAnother`].
    pub fn key_file(&self, number: u32, bytes: &[u8]) -> Result<KeyFile, Error> {
        let epoch = self.epochs().iter().find(|epoch| epoch.number() == number);
        let epoch = epoch.ok_or(Error::NoEpoch { epoch: number })?;
        let in_force = self.epoch_in_force().is_some_and(|last| last.number() == number);
        epoch.read_file(self.value.vault_id(), in_force.then(|| self.value.policy()), bytes)
    }

    /// All tokens among the holders, whatever part they have: for opening shares, and for signing.
    pub fn token_candidates(&self) -> Vec<Candidate> {
        self.holders().iter().filter_map(|(name, holder)| Candidate::of(name, holder.token()?)).collect()
    }

    /// The tokens that open an archive alone, for finding out which of them is here.
    pub fn opener_candidates(&self) -> Vec<Candidate> {
        self.direct_holders().filter_map(|(name, holder)| Candidate::of(name, holder.token()?)).collect()
    }

    fn direct_holders(&self) -> impl Iterator<Item = (&Name, &Holder)> {
        let direct = self.value.policy().direct_holders();
        self.holders().iter().filter(move |(name, _)| direct.contains(name))
    }
}

/// Verifies a vault's files against what has been seen of it before, and gives the statement in force.
///
/// [`Error::OtherVault`], [`Error::RolledBack`], [`Error::Gap`], [`Error::Edited`], [`Error::Fork`],
/// [`Error::BadSignature`], [`Error::UnknownSigner`], [`Error::Unsigned`], [`Error::Statement`], [`Error::WrongNumber`]
/// and [`Error::FixedMember`] each name what is wrong; [`Error::NoStatement`] if nothing is there; [`Error::TestVault`] if
/// these pins do not allow one.
pub fn verify_chain(files: &VaultFiles, pins: &Pins) -> Result<Verified<Statement>, Error> {
    let highest = files.highest().ok_or(Error::NoStatement)?;
    let pinned = pins.generation();
    refuse_other_vault(files, pinned.min(highest), pins)?;
    if highest < pinned {
        return Err(Error::RolledBack { pinned, found: highest });
    }
    let bytes = files.statement(pinned).ok_or(Error::Gap { missing: pinned, above: highest })?;
    let found = crate::Digest::of(bytes);
    if found != pins.digest() {
        let expected = pins.digest();
        let signed = files.signatures(pinned).any(|(signer, file)| {
            pins.admins().get(signer).is_some_and(|key| check_file(file, bytes, key).is_ok())
        });
        return Err(match signed {
            true => Error::Fork { generation: pinned, expected, found },
            false => Error::Edited { generation: pinned, expected, found },
        });
    }
    let base = parse(pinned, bytes)?;
    pins.agree_with(&base)?;
    climb(files, base)
}

/// Says that this is another vault rather than an edited one, where the file itself says so.
fn refuse_other_vault(files: &VaultFiles, generation: Generation, pins: &Pins) -> Result<(), Error> {
    let claimed = files.statement(generation).and_then(|bytes| Statement::parse(bytes).ok());
    match claimed.map(|statement| statement.vault_id()) {
        Some(found) if found != pins.vault_id() => Err(Error::OtherVault { pinned: pins.vault_id(), found }),
        _ => Ok(()),
    }
}

/// A vault that agrees with itself and that nobody here has trusted yet.
#[derive(Clone, Debug)]
pub struct Unpinned {
    fingerprint: Fingerprint,
    verified: Verified<Statement>,
}

impl Unpinned {
    /// Verifies every generation from the first. Generation 1 has to be signed by every admin it names.
    pub fn read(files: &VaultFiles) -> Result<Unpinned, Error> {
        let highest = files.highest().ok_or(Error::NoStatement)?;
        let generation = Generation::FIRST;
        let bytes = files.statement(generation).ok_or(Error::Gap { missing: generation, above: highest })?;
        let first = parse(generation, bytes)?;
        let mut keys = BTreeSet::new();
        for (signer, file) in files.signatures(generation) {
            let key = first
                .admins()
                .get(signer)
                .ok_or_else(|| Error::UnknownSigner { generation, signer: signer.clone() })?;
            check_file(file, bytes, key).map_err(|reason| bad_signature(generation, signer, reason))?;
            keys.insert(*key);
        }
        let needed = first.admins().len();
        if keys.len() < needed {
            return Err(Error::Unsigned { generation, have: keys.len(), needed, of: "all of its admins" });
        }
        let fingerprint = Fingerprint::of(&first)?;
        Ok(Unpinned { fingerprint, verified: climb(files, first)? })
    }

    /// What is to be compared.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The newest statement, as a claim.
    pub fn statement(&self) -> &Statement {
        self.verified.statement()
    }

    /// Trusts it, for the reason given.
    ///
    /// [`Error::OtherFingerprint`] if a fingerprint was given and is another; [`Error::TestVault`] for a test vault without
    /// `allow_emulated`.
    pub fn trust(
        self,
        how: &Confirmation,
        allow_emulated: bool,
    ) -> Result<(Pins, Verified<Statement>), Error> {
        match how {
            Confirmation::Fingerprint(claim) if !claim.matches(&self.fingerprint) => {
                return Err(Error::OtherFingerprint { found: self.fingerprint });
            }
            Confirmation::Fingerprint(_) | Confirmation::ComparedByPerson | Confirmation::MadeHere => {}
        }
        let statement = self.verified.statement();
        if statement.is_test() && !allow_emulated {
            return Err(Error::TestVault { name: statement.name().clone() });
        }
        let pins = Pins::of(self.fingerprint, statement, allow_emulated);
        Ok((pins, self.verified))
    }
}

/// Verifies one generation after another above `base`, which is trusted.
fn climb(files: &VaultFiles, base: Statement) -> Result<Verified<Statement>, Error> {
    let highest = files.highest().unwrap_or(base.generation());
    let mut in_force = base;
    while in_force.generation() < highest {
        let generation = in_force.generation().next();
        let bytes = files.statement(generation).ok_or(Error::Gap { missing: generation, above: highest })?;
        in_force = match successor(files, &in_force, generation, bytes) {
            Ok(next) => next,
            // Its writer was interrupted before the signatures were copied: the generation below is in force.
            Err(Error::Unsigned { .. }) if generation == highest => {
                return Ok(Verified { value: in_force, unfinished: Some(generation) });
            }
            Err(other) => return Err(other),
        };
    }
    Ok(Verified { value: in_force, unfinished: None })
}

/// The statement in `bytes`, if it may follow `before` and is signed by whoever has to.
fn successor(
    files: &VaultFiles,
    before: &Statement,
    generation: Generation,
    bytes: &[u8],
) -> Result<Statement, Error> {
    let ballot = Ballot::open(before, generation, bytes, files.signatures(generation))?;

    let after = parse(generation, bytes)?;
    let change = may_follow(before, &after)?;
    let counted = ballot.close(before, &after)?;

    let threshold = change.needs.of(before.thresholds());
    require_keys(generation, counted.old.len(), threshold, "the admins before")?;
    if change.admins {
        require_keys(generation, counted.new.len(), after.thresholds().root, "its new admins")?;
    }
    Ok(after)
}

/// Whether a statement may follow another, whoever signs it; and what it changes.
pub(crate) fn may_follow(before: &Statement, after: &Statement) -> Result<Change, Error> {
    if after.vault_id() != before.vault_id() {
        return Err(Error::OtherVault { pinned: before.vault_id(), found: after.vault_id() });
    }
    if let Some(found) = after.previous().filter(|previous| *previous != before.digest()) {
        return Err(Error::Fork { generation: after.generation(), expected: before.digest(), found });
    }
    Change::between(before, after)
}

/// The signatures on a statement as they are counted. Those of the admins before are checked over its bytes, before
/// anybody reads what the bytes say.
pub(crate) struct Ballot<'a> {
    generation: Generation,
    bytes: &'a [u8],
    old: BTreeSet<PublicKey>,
    undecided: Vec<(&'a Name, &'a [u8])>,
}

/// The distinct keys that signed.
pub(crate) struct Counted {
    /// Of the admins before.
    pub(crate) old: BTreeSet<PublicKey>,
    /// Of the admins that the statement names.
    pub(crate) new: BTreeSet<PublicKey>,
}

impl<'a> Ballot<'a> {
    pub(crate) fn open(
        before: &Statement,
        generation: Generation,
        bytes: &'a [u8],
        signatures: impl Iterator<Item = (&'a Name, &'a [u8])>,
    ) -> Result<Ballot<'a>, Error> {
        let mut old: BTreeSet<PublicKey> = BTreeSet::new();
        let mut undecided = Vec::new();
        for (signer, file) in signatures {
            match before.admins().get(signer).map(|key| (key, check_file(file, bytes, key))) {
                Some((key, Ok(()))) => {
                    old.insert(*key);
                }
                // The signer may get another key with this very statement.
                None | Some((_, Err(SignatureError::OtherKey))) => undecided.push((signer, file)),
                Some((_, Err(reason))) => return Err(bad_signature(generation, signer, reason)),
            }
        }
        Ok(Ballot { generation, bytes, old, undecided })
    }

    pub(crate) fn close(self, before: &Statement, after: &Statement) -> Result<Counted, Error> {
        let Ballot { generation, bytes, mut old, undecided } = self;
        let mut new: BTreeSet<PublicKey> =
            after.admins().values().filter(|key| old.contains(key)).copied().collect();
        for (signer, file) in undecided {
            let Some(key) = after.admins().get(signer) else {
                return Err(match before.admins().contains_key(signer) {
                    true => bad_signature(generation, signer, SignatureError::OtherKey),
                    false => Error::UnknownSigner { generation, signer: signer.clone() },
                });
            };
            check_file(file, bytes, key).map_err(|reason| bad_signature(generation, signer, reason))?;
            new.insert(*key);
            // A key that changes its name is still one of the keys before.
            if before.admins().values().any(|known| known == key) {
                old.insert(*key);
            }
        }
        Ok(Counted { old, new })
    }
}

fn require_keys(generation: Generation, have: usize, threshold: u32, of: &'static str) -> Result<(), Error> {
    let needed = usize::try_from(threshold).unwrap_or(usize::MAX);
    if have < needed { Err(Error::Unsigned { generation, have, needed, of }) } else { Ok(()) }
}

pub(crate) fn parse(generation: Generation, bytes: &[u8]) -> Result<Statement, Error> {
    let statement = Statement::parse(bytes)
        .map_err(|source| Error::Statement { generation, source: Box::new(source) })?;
    match statement.generation() {
        inside if inside != generation => Err(Error::WrongNumber { file: generation, inside }),
        _ => Ok(statement),
    }
}

pub(crate) fn check_file(file: &[u8], message: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    Signature::from_armored(file)?.verify(Namespace::Vault, message, key)
}

pub(crate) fn bad_signature(generation: Generation, signer: &Name, reason: SignatureError) -> Error {
    Error::BadSignature { generation, signer: signer.clone(), reason }
}
