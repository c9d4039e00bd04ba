//! What this host has seen of a vault (`docs/formats.md`, "Pins"): the anchor that a hostile store cannot move.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Error, Fingerprint, Generation, Name, PublicKey, Statement, VaultId, Verified, canonical,
};

const FORMAT: &str = "keyward-pins-v1";
const WHAT: &str = "file of pins";

/// The vault that a host trusts, and the newest generation it has verified. Made by [`crate::Unpinned::trust`], or read
/// from the host's own state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pins {
    admins: BTreeMap<Name, PublicKey>,
    allow_emulated: bool,
    digest: Digest,
    fingerprint: Fingerprint,
    format: String,
    generation: Generation,
    name: Name,
    vault: VaultId,
}

impl Pins {
    pub(crate) fn of(fingerprint: Fingerprint, statement: &Statement, allow_emulated: bool) -> Pins {
        Pins {
            admins: statement.admins().clone(),
            allow_emulated,
            digest: statement.digest(),
            fingerprint,
            format: FORMAT.to_owned(),
            generation: statement.generation(),
            name: statement.name().clone(),
            vault: statement.vault_id(),
        }
    }

    /// Reads the file `pins/VAULT.json`.
    pub fn parse(bytes: &[u8]) -> Result<Pins, Error> {
        let pins: Pins = canonical::decode(WHAT, bytes)?;
        if pins.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        if pins.generation == Generation::FIRST && pins.digest != pins.fingerprint.digest() {
            return Err(Error::Pins { reason: "the digest of generation 1 is not the fingerprint" });
        }
        Ok(pins)
    }

    /// The bytes of that file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        canonical::encode(WHAT, self)
    }

    /// The pins after this statement has been verified with them; none if they know it already.
    ///
    /// [`Error::OtherVault`] or [`Error::RolledBack`] if the statement was verified with other pins than these.
    pub fn advance(&self, verified: &Verified<Statement>) -> Result<Option<Pins>, Error> {
        let statement = verified.statement();
        if statement.vault_id() != self.vault {
            return Err(Error::OtherVault { pinned: self.vault, found: statement.vault_id() });
        }
        if statement.generation() < self.generation {
            return Err(Error::RolledBack { pinned: self.generation, found: statement.generation() });
        }
        let newer = statement.generation() > self.generation;
        Ok(newer.then(|| Pins::of(self.fingerprint, statement, self.allow_emulated)))
    }

    /// Checks what these pins say beside the digest against the statement that has it.
    pub(crate) fn agree_with(&self, statement: &Statement) -> Result<(), Error> {
        if self.vault != statement.vault_id() || self.name != *statement.name() {
            return Err(Error::Pins { reason: "the pinned statement has another name" });
        }
        if self.admins != *statement.admins() {
            return Err(Error::Pins { reason: "the pinned statement has other admins" });
        }
        if statement.is_test() && !self.allow_emulated {
            return Err(Error::TestVault { name: self.name.clone() });
        }
        Ok(())
    }

    /// The vault.
    pub fn vault_id(&self) -> VaultId {
        self.vault
    }

    /// The vault's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// What was compared at first trust.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The newest generation that has been verified here.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The digest of its statement.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its admins.
    pub fn admins(&self) -> &BTreeMap<Name, PublicKey> {
        &self.admins
    }

    /// Whether a test vault was allowed at first trust.
    pub fn allow_emulated(&self) -> bool {
        self.allow_emulated
    }
}
