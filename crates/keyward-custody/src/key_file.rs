//! An identity split under a policy, as a file that everybody may read (`docs/formats.md`, "Key file").
//!
//! A leaf for each place of the policy: a small age file to its holder's custody recipient. Making one needs public keys
//! only. Opening a leaf is the caller's business (a token does its part elsewhere): here is what the header says, and what
//! may come out of it. What was split is checked at the end against the recipient that the signed statement names.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read as _, Write as _};
use std::str::FromStr;

use keyward_age::{FileKey, Header, OpenReader, Recipient, SealOptions, SealWriter, SoftIdentity};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::canonical::{self, serde_as_text};
use crate::policy::Node;
use crate::secret::Secret;
use crate::{Digest, Error, Generation, IdentitySeed, Name, Policy, VaultId, shamir};

const FORMAT: &str = "keyward-key-file-v1";
const WHAT: &str = "key file";
/// What a leaf's plaintext begins with.
const SHARE_FORMAT: &str = "keyward-share-v1";
/// The most bytes of a sealed leaf; a hybrid one has about 2,500.
const MAX_SEALED: usize = 8192;
/// The most bytes of a leaf's plaintext; it has about 280.
const MAX_PLAIN: usize = 1024;

/// A place in a policy: the numbers of the parts on the way to it, from 1, joined by points. A policy that is one name
/// alone has the place `1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePath(Vec<u8>);

impl SharePath {
    pub(crate) fn root() -> SharePath {
        SharePath(Vec::new())
    }

    /// The path of the part at `index` from 0.
    pub(crate) fn part(&self, index: usize) -> SharePath {
        let mut path = self.0.clone();
        // Policies have at most 64 parts.
        path.push(u8::try_from(index + 1).unwrap_or(u8::MAX));
        SharePath(path)
    }

    /// The places of a policy in its order, each with its holder.
    pub(crate) fn all(policy: &Policy) -> Vec<(SharePath, &Name)> {
        fn collect<'a>(node: &'a Node, path: &SharePath, places: &mut Vec<(SharePath, &'a Name)>) {
            match node {
                Node::Holder(name) => places.push((path.clone(), name)),
                Node::Threshold { parts, .. } => {
                    for (index, part) in parts.iter().enumerate() {
                        collect(part, &path.part(index), places);
                    }
                }
            }
        }
        let mut places = Vec::new();
        match policy.root() {
            Node::Holder(name) => places.push((SharePath::root().part(0), name)),
            root => collect(root, &SharePath::root(), &mut places),
        }
        places
    }
}

impl fmt::Display for SharePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, part) in self.0.iter().enumerate() {
            write!(f, "{}{part}", if index == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

impl FromStr for SharePath {
    type Err = Error;

    fn from_str(text: &str) -> Result<SharePath, Error> {
        let path: Option<Vec<u8>> = text.split('.').map(|part| part.parse().ok()).collect();
        let path = path.map(SharePath).filter(|path| path.to_string() == text && !path.0.contains(&0));
        path.ok_or_else(|| Error::Leaves { reason: "a path is numbers from 1 joined by points".to_owned() })
    }
}

serde_as_text!(SharePath);

/// Which key a key file keeps, and which of its versions, of which vault, written by which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyId {
    /// The vault.
    pub vault: VaultId,
    /// The key's name; `epoch` for epochs.
    pub key: Name,
    /// The version; an epoch's number.
    pub version: u32,
    /// The generation that writes it.
    pub generation: Generation,
}

impl KeyId {
    /// The id of an epoch's key file.
    pub fn epoch(vault: VaultId, number: u32, generation: Generation) -> Result<KeyId, Error> {
        Ok(KeyId { vault, key: "epoch".parse()?, version: number, generation })
    }

    /// The file's name in `keys/`: `epoch-3.g41.json`.
    pub fn file_name(&self) -> String {
        let v = if self.key.as_str() == "epoch" { "" } else { "v" };
        format!("{}-{v}{}.g{}.json", self.key, self.version, self.generation)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    format: String,
    generation: Generation,
    key: Name,
    leaves: Vec<Leaf>,
    policy: Policy,
    #[serde(with = "canonical::text")]
    recipient: Recipient,
    vault: VaultId,
    version: std::num::NonZeroU32,
}

/// A share, sealed to its holder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leaf {
    holder: Name,
    path: SharePath,
    #[serde(with = "base64_text")]
    sealed: Vec<u8>,
    share: Digest,
}

impl Leaf {
    /// Who opens it.
    pub fn holder(&self) -> &Name {
        &self.holder
    }

    /// Its place in the policy.
    pub fn path(&self) -> &SharePath {
        &self.path
    }

    /// The digest of its plaintext.
    pub fn digest(&self) -> Digest {
        self.share
    }

    /// The age file.
    pub fn sealed(&self) -> &[u8] {
        &self.sealed
    }

    /// The header of the age file, to be unwrapped with the holder's custody key. [`Error::Leaf`] if it has none.
    pub fn header(&self) -> Result<Header, Error> {
        Header::read(&mut self.sealed.as_slice()).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: keyward_age::Error) -> Error {
        Error::Leaf { holder: self.holder.clone(), path: self.path.clone(), source }
    }
}

/// A key file whose parts fit together. That it is the one of a statement, `Verified<Statement>::key_file` says.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyFile {
    body: Body,
    bytes: Vec<u8>,
    digest: Digest,
}

impl KeyFile {
    /// The most bytes of a key file.
    pub const MAX_LEN: usize = canonical::MAX_LEN;

    /// Splits an identity under a policy, each share sealed to the custody recipient of its holder.
    ///
    /// [`Error::NotAHolder`] if the policy names somebody who has no recipient.
    pub fn split(
        id: &KeyId,
        seed: &IdentitySeed,
        policy: &Policy,
        custody: &BTreeMap<Name, Recipient>,
    ) -> Result<KeyFile, Error> {
        let version = std::num::NonZeroU32::new(id.version).ok_or(Error::NoEpoch { epoch: 0 })?;
        let mut shares = BTreeMap::new();
        match policy.root() {
            Node::Holder(_) => {
                shares.insert(SharePath::root().part(0), seed.secret().duplicate());
            }
            root => split_node(root, seed.secret(), &SharePath::root(), &mut shares)?,
        }
        let mut leaves = Vec::with_capacity(shares.len());
        for (path, holder) in SharePath::all(policy) {
            let recipient = custody.get(holder).ok_or_else(|| Error::NotAHolder { name: holder.clone() })?;
            let share =
                shares.get(&path).ok_or_else(|| Error::Leaves { reason: format!("none at {path}") })?;
            let plain = plaintext(id, holder, &path, share);
            let mut writer = SealWriter::new(
                std::slice::from_ref(recipient),
                Vec::with_capacity(4096),
                SealOptions { threads: 1 },
            )?;
            writer.write_all(plain.as_bytes()).map_err(keyward_age::Error::from_io)?;
            let sealed = writer.finish()?;
            leaves.push(Leaf { holder: holder.clone(), path, sealed, share: Digest::of(plain.as_bytes()) });
        }
        let body = Body {
            format: FORMAT.to_owned(),
            generation: id.generation,
            key: id.key.clone(),
            leaves,
            policy: policy.clone(),
            recipient: seed.recipient()?,
            vault: id.vault,
            version,
        };
        let bytes = canonical::encode(WHAT, &body)?;
        let digest = Digest::of(&bytes);
        Ok(KeyFile { body, bytes, digest })
    }

    /// Reads a key file.
    ///
    /// [`Error::Malformed`], [`Error::NotCanonical`], [`Error::TooLong`]; [`Error::Leaves`] if its leaves are not exactly
    /// those of its policy, in the policy's order.
    pub fn parse(bytes: &[u8]) -> Result<KeyFile, Error> {
        let body: Body = canonical::decode(WHAT, bytes)?;
        if body.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        let places = SharePath::all(&body.policy);
        if places.len() != body.leaves.len() {
            let reason = format!("{} for {} places", body.leaves.len(), places.len());
            return Err(Error::Leaves { reason });
        }
        for (leaf, (path, holder)) in body.leaves.iter().zip(&places) {
            if leaf.path != *path || leaf.holder != **holder {
                let reason = format!("{}'s at {} where {holder}'s at {path} belongs", leaf.holder, leaf.path);
                return Err(Error::Leaves { reason });
            }
            if leaf.sealed.len() > MAX_SEALED {
                return Err(Error::Leaves { reason: format!("{holder}'s at {path} is too long") });
            }
        }
        Ok(KeyFile { digest: Digest::of(bytes), bytes: bytes.to_vec(), body })
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their digest, which the statement names.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it keeps.
    pub fn id(&self) -> KeyId {
        KeyId {
            vault: self.body.vault,
            key: self.body.key.clone(),
            version: self.body.version.get(),
            generation: self.body.generation,
        }
    }

    /// The file's name in `keys/`.
    pub fn file_name(&self) -> String {
        self.id().file_name()
    }

    /// The policy under which it was split.
    pub fn policy(&self) -> &Policy {
        &self.body.policy
    }

    /// The recipient that the combined identity has to have.
    pub fn recipient(&self) -> &Recipient {
        &self.body.recipient
    }

    /// All leaves in the policy's order.
    pub fn leaves(&self) -> &[Leaf] {
        &self.body.leaves
    }

    /// The leaves of a holder: one for each place where the policy names it.
    pub fn leaves_of(&self, holder: &Name) -> impl Iterator<Item = &Leaf> {
        self.body.leaves.iter().filter(move |leaf| leaf.holder == *holder)
    }

    /// The leaves to open so that the identity can be combined, the cheapest way; none if these holders do not suffice.
    ///
    /// `cost` says what opening one leaf of a holder costs (a touch: 1, a paper that is here: 0), none for one who is absent.
    pub fn plan(&self, cost: impl Fn(&Name) -> Option<u32>) -> Option<Vec<&Leaf>> {
        let leaves: BTreeMap<&SharePath, &Leaf> =
            self.body.leaves.iter().map(|leaf| (&leaf.path, leaf)).collect();
        let (_, paths) = match self.body.policy.root() {
            Node::Holder(name) => (cost(name)?, vec![SharePath::root().part(0)]),
            root => cheapest(root, &SharePath::root(), &cost)?,
        };
        paths.iter().map(|path| leaves.get(path).copied()).collect()
    }

    /// Opens a leaf with the file key that its holder unwrapped.
    ///
    /// [`Error::Leaf`], and the errors of [`KeyFile::check_share`].
    pub fn open_leaf(&self, leaf: &Leaf, file_key: &FileKey) -> Result<Share, Error> {
        let mut rest = leaf.sealed.as_slice();
        Header::read(&mut rest).map_err(|source| leaf.failed(source))?;
        let mut plain = Zeroizing::new(Vec::with_capacity(MAX_SEALED));
        OpenReader::new(rest, file_key, 1)
            .and_then(|mut reader| reader.read_to_end(&mut plain).map_err(keyward_age::Error::from_io))
            .map_err(|source| leaf.failed(source))?;
        self.check_share(leaf, &plain)
    }

    /// Opens a leaf with the identity of a holder who is no token.
    ///
    /// As [`KeyFile::open_leaf`]; [`Error::Leaf`] with [`keyward_age::Error::NoMatch`] if it is another's.
    pub fn open_leaf_soft(&self, leaf: &Leaf, identity: &SoftIdentity) -> Result<Share, Error> {
        let file_key = leaf.header()?.unwrap_soft(identity).map_err(|source| leaf.failed(source))?;
        self.open_leaf(leaf, &file_key)
    }

    /// Checks that this plaintext, from this file or from a holder elsewhere, is the share that was made for that place.
    ///
    /// [`Error::ShareOfAnother`] with what it was made for otherwise, [`Error::WrongShare`] if it is not the share itself.
    pub fn check_share(&self, leaf: &Leaf, plain: &[u8]) -> Result<Share, Error> {
        let wrong = || Error::WrongShare { holder: leaf.holder.clone(), path: leaf.path.clone() };
        if plain.len() > MAX_PLAIN {
            return Err(wrong());
        }
        let text = str::from_utf8(plain).map_err(|_| wrong())?;
        let mut lines = text.split('\n');
        for (member, expected) in facts(&self.id(), &leaf.holder, &leaf.path) {
            let found = lines.next().and_then(|line| line.strip_prefix(member)?.strip_prefix(' '));
            if found != Some(expected.as_str()) {
                return Err(match member {
                    SHARE_FORMAT => wrong(),
                    member => {
                        Error::ShareOfAnother { holder: leaf.holder.clone(), path: leaf.path.clone(), member }
                    }
                });
            }
        }
        let digits = lines.next().and_then(|line| line.strip_prefix("share ")).ok_or_else(wrong)?;
        let share: Zeroizing<[u8; 32]> = Zeroizing::new(canonical::parse_hex(digits).ok_or_else(wrong)?);
        let secret = Secret::init_with(|place| place.copy_from_slice(share.as_slice()));
        let again = plaintext(&self.id(), &leaf.holder, &leaf.path, &secret);
        let same: bool = again.as_bytes().ct_eq(plain).into();
        if !same || Digest::of(plain) != leaf.share {
            return Err(wrong());
        }
        Ok(Share { secret, holder: leaf.holder.clone(), path: leaf.path.clone(), file: self.digest })
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({} {})", self.file_name(), self.digest)
    }
}

/// A holder's share, checked against its key file. Made by [`KeyFile::check_share`] alone.
pub struct Share {
    pub(crate) secret: Secret,
    pub(crate) holder: Name,
    pub(crate) path: SharePath,
    pub(crate) file: Digest,
}

impl Share {
    /// Whose it is.
    pub fn holder(&self) -> &Name {
        &self.holder
    }

    /// Its place in the policy.
    pub fn path(&self) -> &SharePath {
        &self.path
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} at {}, redacted)", self.holder, self.path)
    }
}

/// The lines of a leaf's plaintext before the share, in order.
fn facts(id: &KeyId, holder: &Name, path: &SharePath) -> [(&'static str, String); 7] {
    [
        (SHARE_FORMAT, "of a Keyward vault".to_owned()),
        ("vault", id.vault.to_string()),
        ("key", id.key.to_string()),
        ("version", id.version.to_string()),
        ("generation", id.generation.to_string()),
        ("path", path.to_string()),
        ("holder", holder.to_string()),
    ]
}

/// A leaf's plaintext.
fn plaintext(id: &KeyId, holder: &Name, path: &SharePath, share: &Secret) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(MAX_PLAIN));
    for (member, value) in facts(id, holder, path) {
        for part in [member, " ", &value, "\n"] {
            text.push_str(part);
        }
    }
    text.push_str("share ");
    for byte in share.expose() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text.push('\n');
    text
}

/// Gives each place below `node` its share of `secret`.
fn split_node(
    node: &Node,
    secret: &Secret,
    path: &SharePath,
    shares: &mut BTreeMap<SharePath, Secret>,
) -> Result<(), Error> {
    match node {
        Node::Holder(_) => {
            shares.insert(path.clone(), secret.duplicate());
        }
        Node::Threshold { needed: 1, parts } => {
            for (index, part) in parts.iter().enumerate() {
                split_node(part, secret, &path.part(index), shares)?;
            }
        }
        Node::Threshold { needed, parts } => {
            let split = shamir::split(*needed, parts.len(), secret)?;
            for (index, (part, share)) in parts.iter().zip(&split).enumerate() {
                split_node(part, share, &path.part(index), shares)?;
            }
        }
    }
    Ok(())
}

/// What opening a part costs at least, and the places to open for it.
fn cheapest(
    node: &Node,
    path: &SharePath,
    cost: &impl Fn(&Name) -> Option<u32>,
) -> Option<(u32, Vec<SharePath>)> {
    match node {
        Node::Holder(name) => Some((cost(name)?, vec![path.clone()])),
        Node::Threshold { needed, parts } => {
            let mut ways: Vec<(u32, Vec<SharePath>)> = parts
                .iter()
                .enumerate()
                .filter_map(|(index, part)| cheapest(part, &path.part(index), cost))
                .collect();
            if ways.len() < *needed {
                return None;
            }
            ways.sort_by_key(|(cost, places)| (*cost, places.len()));
            ways.truncate(*needed);
            let total = ways.iter().fold(0_u32, |sum, (cost, _)| sum.saturating_add(*cost));
            Some((total, ways.into_iter().flat_map(|(_, places)| places).collect()))
        }
    }
}

/// Bytes as padded base64 in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}
