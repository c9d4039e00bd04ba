//! One generation of the vault's truth (`docs/formats.md`, "Statement").
//!
//! A [`Statement`] says nothing that contradicts itself: parsing and building end in the same checks. It is a claim all
//! the same, until its signatures have been verified (`chain.rs`); so it shows what a person needs to judge it, and lends
//! nobody a recipient.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::str::FromStr;

use keyward_age::Suite;
use serde::{Deserialize, Serialize};

use crate::canonical::{self, EmptyList, serde_as_text};
use crate::epoch::check_epochs;
use crate::sealer::check_sealers;
use crate::{
    Digest, Epoch, Error, Expiry, Holder, Name, Namespace, Policy, PublicKey, Requirements, Sealer,
    Timestamp, Token, Verdict, allowed_sealers_line, allowed_signers_line, signing_digest,
};

pub(crate) const FORMAT: &str = "keyward-statement-v1";
const WHAT: &str = "statement";

/// The most admins of a vault.
const MAX_ADMINS: usize = 64;

/// The random number that a vault is, whatever its name; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VaultId([u8; 16]);

impl VaultId {
    /// A new one from the operating system's randomness.
    pub fn random() -> Result<VaultId, Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(Error::Random)?;
        Ok(VaultId(bytes))
    }

    /// The vault id with these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> VaultId {
        VaultId(bytes)
    }
}

impl fmt::Display for VaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        canonical::write_hex(f, &self.0)
    }
}

impl FromStr for VaultId {
    type Err = Error;

    fn from_str(text: &str) -> Result<VaultId, Error> {
        canonical::parse_hex(text).map(VaultId).ok_or(Error::Hex { what: "a vault id", digits: 32 })
    }
}

serde_as_text!(VaultId);

/// The number of a statement, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(std::num::NonZeroU32);

impl Generation {
    /// The first.
    pub const FIRST: Generation = Generation(std::num::NonZeroU32::MIN);

    /// The generation with this number; none for 0.
    pub fn new(number: u32) -> Option<Generation> {
        std::num::NonZeroU32::new(number).map(Generation)
    }

    /// Its number.
    pub fn number(self) -> u32 {
        self.0.get()
    }

    /// The one after it. The last one there can be is its own successor, and no chain gets past it.
    pub fn next(self) -> Generation {
        Generation(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many admins have to sign a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thresholds {
    /// For whatever changes who may change the vault, or lets more people open.
    pub root: u32,
    /// For the rest.
    pub routine: u32,
}

impl Thresholds {
    /// What a vault with so many admins gets if nobody says otherwise: 1, and 2 at the root from three admins on.
    pub fn for_admins(admins: usize) -> Thresholds {
        Thresholds { root: if admins >= 3 { 2 } else { 1 }, routine: 1 }
    }
}

/// The members of a statement, as JSON has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Body {
    pub(crate) admins: BTreeMap<Name, PublicKey>,
    pub(crate) created: Timestamp,
    pub(crate) epochs: Vec<Epoch>,
    pub(crate) expires: Timestamp,
    pub(crate) format: String,
    pub(crate) generation: Generation,
    pub(crate) holders: BTreeMap<Name, Holder>,
    pub(crate) keys: EmptyList,
    pub(crate) name: Name,
    pub(crate) policy: Policy,
    pub(crate) previous: Option<Digest>,
    pub(crate) require: Requirements,
    pub(crate) sealers: BTreeMap<Name, Sealer>,
    #[serde(with = "canonical::text")]
    pub(crate) suite: Suite,
    pub(crate) test: bool,
    pub(crate) thresholds: Thresholds,
    pub(crate) vault: VaultId,
}

/// A statement that agrees with itself. Whether it is true, its signatures say.
#[derive(Clone, PartialEq, Eq)]
pub struct Statement {
    body: Body,
    bytes: Vec<u8>,
    digest: Digest,
}

impl Statement {
    /// Reads the file `statements/NNNN.json`.
    ///
    /// [`Error::Malformed`], [`Error::NotCanonical`] and [`Error::TooLong`] for bytes that are no statement; the errors
    /// of its content otherwise.
    pub fn parse(bytes: &[u8]) -> Result<Statement, Error> {
        let body: Body = canonical::decode(WHAT, bytes)?;
        body.check()?;
        Ok(Statement { body, bytes: bytes.to_vec(), digest: Digest::of(bytes) })
    }

    pub(crate) fn from_body(body: Body) -> Result<Statement, Error> {
        body.check()?;
        let bytes = canonical::encode(WHAT, &body)?;
        let digest = Digest::of(&bytes);
        Ok(Statement { body, bytes, digest })
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// The bytes of its file, which are what is signed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What an admin's card signs: 32 bytes, with ECDSA on P-256.
    pub fn signing_digest(&self) -> [u8; 32] {
        signing_digest(Namespace::Vault, &self.bytes)
    }

    /// The vault it belongs to.
    pub fn vault_id(&self) -> VaultId {
        self.body.vault
    }

    /// The vault's name.
    pub fn name(&self) -> &Name {
        &self.body.name
    }

    /// Its number.
    pub fn generation(&self) -> Generation {
        self.body.generation
    }

    /// The digest of the statement before; none in generation 1.
    pub fn previous(&self) -> Option<Digest> {
        self.body.previous
    }

    /// When it was made, by the clock of whoever made it.
    pub fn created(&self) -> Timestamp {
        self.body.created
    }

    /// When it expires.
    pub fn expires(&self) -> Timestamp {
        self.body.expires
    }

    /// How it stands to its expiry date. Only sealing asks.
    pub fn expiry(&self, now: Timestamp) -> Expiry {
        Expiry::at(now, self.body.expires)
    }

    /// The suite of all of the vault's recipients.
    pub fn suite(&self) -> Suite {
        self.body.suite
    }

    /// Whether this is a test vault, which may have emulated tokens.
    pub fn is_test(&self) -> bool {
        self.body.test
    }

    /// What every token has to be.
    pub fn requirements(&self) -> &Requirements {
        &self.body.require
    }

    /// Who opens.
    pub fn policy(&self) -> &Policy {
        &self.body.policy
    }

    /// Who signs the next generation, and with which key.
    pub fn admins(&self) -> &BTreeMap<Name, PublicKey> {
        &self.body.admins
    }

    /// How many of them have to.
    pub fn thresholds(&self) -> Thresholds {
        self.body.thresholds
    }

    /// The content of an `allowed_signers` file for `ssh-keygen -Y verify -n keyward-vault`: a line for each admin.
    pub fn allowed_signers(&self) -> String {
        self.body.admins.iter().map(|(name, key)| allowed_signers_line(name, key) + "\n").collect()
    }

    /// The content of an `allowed_signers` file for `ssh-keygen -Y verify -n keyward-receipt`: a line for each sealer, removed
    /// ones too. It knows nothing of which receipts of a removed one count.
    pub fn allowed_sealers(&self) -> String {
        self.body
            .sealers
            .iter()
            .map(|(name, sealer)| allowed_sealers_line(name, sealer.key()) + "\n")
            .collect()
    }

    /// What the statement says of the holders. For showing; whoever seals or opens asks a [`Verified`] one.
    pub(crate) fn claimed_holders(&self) -> &BTreeMap<Name, Holder> {
        &self.body.holders
    }

    /// What the statement says of the epochs, from the first.
    pub(crate) fn claimed_epochs(&self) -> &[Epoch] {
        &self.body.epochs
    }

    /// What the statement says of the sealers, in force and removed.
    pub(crate) fn claimed_sealers(&self) -> &BTreeMap<Name, Sealer> {
        &self.body.sealers
    }

    /// The first member that never changes and differs between the two.
    pub(crate) fn fixed_member_changed(&self, next: &Statement) -> Option<&'static str> {
        let (old, new) = (&self.body, &next.body);
        [
            ("vault id", old.vault == new.vault),
            ("name", old.name == new.name),
            ("suite", old.suite == new.suite),
            ("test mark", old.test == new.test),
        ]
        .into_iter()
        .find_map(|(member, same)| (!same).then_some(member))
    }
}

impl fmt::Debug for Statement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Statement({} generation {} {})", self.body.vault, self.body.generation, self.digest)
    }
}

impl Body {
    /// The rules 2 to 12 of `docs/formats.md`, "Statement".
    fn check(&self) -> Result<(), Error> {
        if self.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        if (self.generation == Generation::FIRST) != self.previous.is_none() {
            return Err(Error::Previous { generation: self.generation });
        }
        if self.expires <= self.created {
            return Err(Error::Dates { created: self.created, expires: self.expires });
        }
        self.check_admins()?;
        self.check_policy()?;
        check_epochs(&self.epochs, self.suite, self.generation)?;
        check_sealers(&self.sealers, self.generation)?;
        for (name, holder) in &self.holders {
            holder.check(name, self.suite)?;
            if let Some(token) = holder.token() {
                self.check_token(name, token)?;
            }
        }
        self.check_keys_differ()
    }

    fn check_admins(&self) -> Result<(), Error> {
        let admins = self.admins.len();
        if admins == 0 || admins > MAX_ADMINS {
            return Err(Error::AdminCount { count: admins });
        }
        let Thresholds { root, routine } = self.thresholds;
        if routine == 0 || routine > root || usize::try_from(root).is_ok_and(|root| root > admins) {
            return Err(Error::Thresholds { routine, root, admins });
        }
        let mut seen: HashMap<&PublicKey, &Name> = HashMap::new();
        for (name, key) in &self.admins {
            if let Some(first) = seen.insert(key, name) {
                let place = |name: &Name| format!("the signing key of admin {name}");
                return Err(Error::KeyTwice { first: place(first), second: place(name) });
            }
            if self.holders.get(name).is_some_and(|holder| holder.signing_key() != Some(key)) {
                return Err(Error::AdminIsAnother { name: name.clone() });
            }
        }
        Ok(())
    }

    fn check_policy(&self) -> Result<(), Error> {
        let named = self.policy.names();
        if let Some(name) = named.iter().find(|name| !self.holders.contains_key(**name)) {
            return Err(Error::NotAHolder { name: (*name).clone() });
        }
        if let Some(name) = self.holders.keys().find(|name| !named.contains(name)) {
            return Err(Error::OutsidePolicy { name: name.clone() });
        }
        // Without an epoch, whatever is reached through shares could not be opened.
        match self.policy.part_that_needs_shares() {
            Some(part) if self.epochs.is_empty() => Err(Error::NeedsKeyFiles { part }),
            _ => Ok(()),
        }
    }

    fn check_token(&self, name: &Name, token: &Token) -> Result<(), Error> {
        if token.verdict == Verdict::Emulated && !self.test {
            return Err(Error::EmulatedToken { holder: name.clone() });
        }
        self.require.check(name, token, self.test)
    }

    /// No key has two uses, and no two holders share one: an archive made to look like a share cannot be opened, and two
    /// names that a policy asks for are two keys.
    fn check_keys_differ(&self) -> Result<(), Error> {
        let twice = |first: &String, second| Err(Error::KeyTwice { first: first.clone(), second });
        let mut points: HashMap<[u8; 65], String> = HashMap::new();
        let mut recipients: HashMap<String, String> = HashMap::new();
        let mut signing: HashMap<&PublicKey, String> = HashMap::new();
        for (name, holder) in &self.holders {
            let Some(token) = holder.token() else {
                let place = format!("the recipient of {name}");
                if let Some(first) = recipients.insert(holder.archive().to_string(), place.clone()) {
                    return twice(&first, place);
                }
                let place = format!("the signing key of {name}");
                if let Some(first) = holder.signing_key().and_then(|key| signing.insert(key, place.clone())) {
                    return twice(&first, place);
                }
                continue;
            };
            for (which, point) in token.points() {
                let place = format!("the {which} of {name}");
                if let Some(first) = points.insert(point, place.clone()) {
                    return twice(&first, place);
                }
            }
        }
        for epoch in &self.epochs {
            let place = format!("the recipient of {epoch}");
            if let Some(first) = recipients.insert(epoch.recipient().to_string(), place.clone()) {
                return twice(&first, place);
            }
        }
        // An admin who is no holder, or another one, does not sign with somebody's opening key.
        for (name, key) in &self.admins {
            let own = format!("the signing key of {name}");
            let known = key.p256_point().and_then(|point| points.get(point)).or_else(|| signing.get(key));
            if let Some(first) = known
                && *first != own
            {
                return twice(first, format!("the signing key of admin {name}"));
            }
        }
        // A host's key signs receipts and nothing else.
        let mut sealing: HashMap<&PublicKey, &Name> = HashMap::new();
        for (name, sealer) in &self.sealers {
            let key = sealer.key();
            let own = format!("the key of sealer {name}");
            if let Some(first) = sealing.insert(key, name) {
                return twice(&format!("the key of sealer {first}"), own);
            }
            if let Some(first) =
                key.p256_point().and_then(|point| points.get(point)).or_else(|| signing.get(key))
            {
                return twice(first, own);
            }
            if let Some((admin, _)) = self.admins.iter().find(|(_, signs)| *signs == key) {
                return twice(&format!("the signing key of admin {admin}"), own);
            }
        }
        Ok(())
    }
}
