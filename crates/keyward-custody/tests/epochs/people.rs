//! Holders of every kind whose secrets anybody can compute, and what they do with a leaf.

use std::collections::{BTreeMap, BTreeSet};

use keyward_age::{
    Error as AgeError, FileKey, MlKemSeed, Recipient, SharedSecret, SoftIdentity, Suite, TokenError, TokenKey,
};
use keyward_custody::{
    AgeHolder, Combined, Combiner, Draft, Error, Holder, IdentitySeed, KeyFile, Leaf, Name, Namespace, Paper,
    Share, Statement, VaultFile, VaultFiles, VaultId, lock_identity,
};
use sha2::{Digest as _, Sha512};

use crate::fixed::{name, secret, sign, time, token};

/// What somebody holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Paper,
    Passphrase,
    Age,
}

pub(crate) const KINDS: [Kind; 4] = [Kind::Token, Kind::Paper, Kind::Passphrase, Kind::Age];

/// Somebody who can open.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) suite: Suite,
}

/// A token's custody key in memory. It counts what it is asked for.
struct MemoryToken {
    key: p256::SecretKey,
    seed: Option<MlKemSeed>,
    asked: u32,
}

impl TokenKey for MemoryToken {
    fn point(&self) -> [u8; 65] {
        self.key.public_key().to_sec1_bytes().as_ref().try_into().unwrap()
    }

    fn ecdh(&mut self, peer: &[u8; 65]) -> Result<SharedSecret, TokenError> {
        self.asked += 1;
        let peer = p256::PublicKey::from_sec1_bytes(peer)?;
        let shared = p256::ecdh::diffie_hellman(self.key.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::init_with(|place| place.copy_from_slice(shared.raw_secret_bytes())))
    }

    fn seed(&mut self) -> Result<MlKemSeed, TokenError> {
        let seed = self.seed.as_ref().ok_or("a classic token has no seed")?;
        Ok(MlKemSeed::init_with(|place| place.copy_from_slice(seed.expose())))
    }
}

impl Person {
    pub(crate) fn new(name: &str, kind: Kind, suite: Suite) -> Person {
        Person { name: name.to_owned(), kind, suite }
    }

    pub(crate) fn name(&self) -> Name {
        name(&self.name)
    }

    pub(crate) fn paper(&self) -> Paper {
        Paper::from_entropy(&secret(&format!("{} paper", self.name)))
    }

    fn seed(&self) -> IdentitySeed {
        IdentitySeed::from_bytes(self.suite, &secret(&format!("{} identity", self.name)))
    }

    /// The passphrase file and the holder.
    pub(crate) fn passphrase_file(&self) -> (Vec<u8>, Holder) {
        lock_identity(&self.seed(), &"a test passphrase".to_owned().into(), 2).unwrap()
    }

    pub(crate) fn holder(&self) -> Holder {
        match self.kind {
            Kind::Token => {
                let serial = 11_110_000 + u32::from(self.name.as_bytes()[0]);
                Holder::Token(Box::new(token(self.suite, &self.name, serial)))
            }
            Kind::Paper => self.paper().holder(self.suite, true).unwrap(),
            Kind::Passphrase => self.passphrase_file().1,
            Kind::Age => Holder::Age(Box::new(AgeHolder { recipient: self.seed().recipient().unwrap() })),
        }
    }

    fn soft_identity(&self) -> Option<SoftIdentity> {
        match self.kind {
            Kind::Token => None,
            Kind::Paper => Some(self.paper().identity(self.suite).unwrap()),
            Kind::Passphrase | Kind::Age => Some(self.seed().identity().unwrap()),
        }
    }

    /// The ML-KEM seed of a token's key of this use, d and z.
    pub(crate) fn ml_kem_seed(&self, which: &str) -> [u8; 64] {
        Sha512::digest(format!("keyward test key: {} {which}", self.name)).into()
    }

    /// The token with its key of this use: `archive` or `custody`.
    fn token(&self, which: &str) -> MemoryToken {
        let label = format!("{} {which}", self.name);
        let seed = self.ml_kem_seed(which);
        MemoryToken {
            key: p256::SecretKey::from_slice(&secret(&label)).unwrap(),
            seed: (self.suite == Suite::Hybrid).then(|| MlKemSeed::init_with(|s| s.copy_from_slice(&seed))),
            asked: 0,
        }
    }

    /// Unwraps a leaf's file key as this holder would.
    pub(crate) fn unwrap(&self, leaf: &Leaf) -> Result<FileKey, AgeError> {
        let header = match leaf.header() {
            Err(Error::Leaf { source, .. }) => return Err(source),
            header => header.unwrap(),
        };
        match self.soft_identity() {
            Some(identity) => header.unwrap_soft(&identity),
            None => {
                let mut token = self.token("custody");
                let file_key = header.unwrap_token(&mut token);
                assert_eq!(
                    token.asked,
                    u32::from(file_key.is_ok()),
                    "one touch for a leaf, none for another's"
                );
                file_key
            }
        }
    }

    /// Tries a leaf with the archive key, as a program would that was handed a leaf as an archive.
    pub(crate) fn unwrap_as_archive(&self, leaf: &Leaf) -> (Result<FileKey, AgeError>, u32) {
        let mut token = self.token("archive");
        let file_key = leaf.header().unwrap().unwrap_token(&mut token);
        (file_key, token.asked)
    }

    pub(crate) fn open(&self, file: &KeyFile, leaf: &Leaf) -> Result<Share, Error> {
        let file_key = self.unwrap(leaf).map_err(|source| Error::Leaf {
            holder: leaf.holder().clone(),
            path: leaf.path().clone(),
            source,
        })?;
        file.open_leaf(leaf, &file_key)
    }

    /// The signature file of this admin over a statement.
    pub(crate) fn sign(&self, statement: &[u8]) -> Vec<u8> {
        match self.kind {
            Kind::Token => sign(&format!("{} signing", self.name), statement),
            Kind::Paper => self.paper().sign(Namespace::Vault, statement).unwrap().to_armored().into_bytes(),
            other => panic!("{other:?} cannot sign"),
        }
    }
}

pub(crate) fn names(text: &str) -> BTreeSet<Name> {
    text.split_whitespace().map(name).collect()
}

pub(crate) fn recipients(people: &[Person]) -> BTreeMap<Name, Recipient> {
    people.iter().map(|person| (person.name(), person.holder().custody().clone())).collect()
}

/// Opens all leaves of these people, and combines.
pub(crate) fn combine(file: &KeyFile, people: &[&Person]) -> Result<Combined, Error> {
    let mut combiner = Combiner::new(file);
    for person in people {
        for leaf in file.leaves_of(&person.name()) {
            assert!(combiner.add(person.open(file, leaf)?)?);
        }
    }
    combiner.finish()
}

/// Generation 1 of a test vault of these people, tokens and papers being admins, with epoch 1.
pub(crate) fn first(people: &[Person], policy: &str) -> Draft {
    let id = VaultId::from_bytes(*b"keyward vault 01");
    let now = time("2026-11-24T16:00:00Z");
    let mut draft = Draft::first(id, name("home"), people[0].suite, true, policy.parse().unwrap(), now);
    for person in people {
        let admin = matches!(person.kind, Kind::Token | Kind::Paper);
        draft.add_holder(person.name(), person.holder(), admin).unwrap();
    }
    draft
}

/// Adds a statement and these people's signatures.
pub(crate) fn put(files: &mut VaultFiles, statement: &Statement, signers: &[&Person]) {
    let generation = statement.generation();
    files.insert(VaultFile::Statement(generation), statement.bytes().to_vec());
    for signer in signers {
        files.insert(VaultFile::Signature(generation, signer.name()), signer.sign(statement.bytes()));
    }
}
