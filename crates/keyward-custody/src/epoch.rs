//! Epochs: periods with one age identity each, kept under the policy (`docs/formats.md`, "Epoch").
//!
//! A statement lists the public half of every epoch there ever was, and which key file keeps it. Archives are sealed to the
//! highest; older ones are opened with theirs.

use std::fmt;
use std::num::NonZeroU32;

use keyward_age::{Recipient, Suite};
use serde::{Deserialize, Serialize};

use crate::{Digest, Error, Generation, KeyFile, KeyId, Policy, Statement, Timestamp, VaultId, canonical};

/// What a statement says of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Epoch {
    file: Digest,
    generation: Generation,
    number: NonZeroU32,
    #[serde(with = "canonical::text")]
    recipient: Recipient,
    since: Timestamp,
}

impl Epoch {
    /// The epoch that this key file keeps.
    pub(crate) fn of(file: &KeyFile, since: Timestamp) -> Result<Epoch, Error> {
        let id = file.id();
        let number = NonZeroU32::new(id.version).ok_or(Error::NoEpoch { epoch: id.version })?;
        let recipient = file.recipient().clone();
        Ok(Epoch { file: file.digest(), generation: id.generation, number, recipient, since })
    }

    /// The same epoch, kept in another key file.
    pub(crate) fn rewrapped(&self, file: &KeyFile) -> Epoch {
        Epoch { file: file.digest(), generation: file.id().generation, ..self.clone() }
    }

    /// Its number, from 1.
    pub fn number(&self) -> u32 {
        self.number.get()
    }

    /// What archives of this epoch are sealed to.
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// When it began, by the clock of whoever began it.
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The generation that wrote the key file in force.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The digest of the key file in force.
    pub fn digest(&self) -> Digest {
        self.file
    }

    fn id(&self, vault: VaultId) -> Result<KeyId, Error> {
        KeyId::epoch(vault, self.number(), self.generation)
    }

    /// The name of the key file in force, in `keys/`.
    pub fn file_name(&self) -> String {
        format!("epoch-{}.g{}.json", self.number, self.generation)
    }

    /// Reads the key file, if these are its bytes. `policy` is what the file has to be split under, where that is known.
    pub(crate) fn read_file(
        &self,
        vault: VaultId,
        policy: Option<&Policy>,
        bytes: &[u8],
    ) -> Result<KeyFile, Error> {
        let found = Digest::of(bytes);
        let edited = || Error::KeyFileEdited { file: self.file_name(), expected: self.file, found };
        let file = match KeyFile::parse(bytes) {
            Ok(file) => file,
            Err(_) if found != self.file => return Err(edited()),
            Err(error) => return Err(error),
        };
        let another =
            |member, found: String| Err(Error::KeyFileOfAnother { file: self.file_name(), member, found });
        let (id, own) = (file.id(), self.id(vault)?);
        if id.vault != own.vault {
            return another("vault", id.vault.to_string());
        }
        if id.key != own.key {
            return another("key", id.key.to_string());
        }
        if id.version != own.version {
            return another("version", id.version.to_string());
        }
        if id.generation != own.generation {
            return another("generation", id.generation.to_string());
        }
        if found != self.file {
            return Err(edited());
        }
        if *file.recipient() != self.recipient {
            return another("recipient", file.recipient().to_string());
        }
        match policy {
            Some(policy) if file.policy() != policy => another("policy", file.policy().to_string()),
            _ => Ok(file),
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "epoch {}", self.number)
    }
}

/// What a statement's list of epochs has to be by itself.
pub(crate) fn check_epochs(epochs: &[Epoch], suite: Suite, generation: Generation) -> Result<(), Error> {
    for (epoch, expected) in epochs.iter().zip(1..) {
        let number = epoch.number();
        if number != expected {
            return Err(Error::EpochNumber { expected, found: number });
        }
        if epoch.recipient.suite() != suite || epoch.recipient.point().is_some() {
            return Err(Error::EpochRecipient { epoch: number, suite });
        }
        if epoch.generation > generation {
            return Err(Error::EpochFromLater { epoch: number, written: epoch.generation });
        }
    }
    Ok(())
}

/// What the next statement may do to the epochs of the one before: nothing is taken away, a key file is replaced only by
/// one of the new generation, and the epoch in force follows whoever opens.
pub(crate) fn check_succession(before: &Statement, after: &Statement) -> Result<(), Error> {
    let generation = after.generation();
    let (old, new) = (before.claimed_epochs(), after.claimed_epochs());
    let changed =
        |epoch: &Epoch, member| Err(Error::EpochChanged { generation, epoch: epoch.number(), member });
    for (index, epoch) in old.iter().enumerate() {
        let Some(next) = new.get(index) else { return changed(epoch, "place in the list") };
        if next.recipient != epoch.recipient {
            return changed(epoch, "recipient");
        }
        if next.since != epoch.since {
            return changed(epoch, "beginning");
        }
        let same_file = (next.generation, next.file) == (epoch.generation, epoch.file);
        if !same_file && next.generation != generation {
            return changed(epoch, "key file without writing it anew");
        }
    }
    if let Some(epoch) = new.iter().skip(old.len()).find(|epoch| epoch.generation != generation) {
        return changed(epoch, "key file without writing it anew");
    }

    let Some(in_force) = new.last() else { return Ok(()) };
    let stale = |found| Err(Error::EpochStale { generation, found });
    let is_new = new.len() > old.len();
    let leaves = before.claimed_holders().iter().any(|(name, holder)| {
        after
            .claimed_holders()
            .get(name)
            .is_none_or(|now| now.archive() != holder.archive() || now.custody() != holder.custody())
    });
    if !is_new && (leaves || before.policy().opens_more_than(after.policy())) {
        return stale("the one that somebody who leaves can open");
    }
    let joins = after.claimed_holders().keys().any(|name| !before.claimed_holders().contains_key(name));
    if (joins || before.policy() != after.policy()) && in_force.generation != generation {
        return stale("kept under the policy before");
    }
    Ok(())
}
