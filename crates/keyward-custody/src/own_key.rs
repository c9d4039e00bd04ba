//! An archive with a key of its own instead of the epoch (`docs/formats.md`, "Own key of an archive").
//!
//! In a vault without direct holders every opening through the epoch brings the epoch's identity into a memory. An archive
//! sealed to an identity of its own, split under the same policy in a key file beside it, exposes nothing but itself. Making
//! one needs public keys only. Whether a key file is the one that the sealer made, the archive's receipt says.

use keyward_age::Recipient;

use crate::{Digest, Error, IdentitySeed, KeyFile, KeyId, SealedTo, Statement, Verified};

/// The `key` of such key files.
const KEY: &str = "archive";
/// There is one version: another archive has another identity.
const VERSION: u32 = 1;
/// Hexadecimal digits of the key file's digest in its name.
const DIGITS: usize = 16;

/// What an archive with a key of its own is sealed to, and the key file that goes beside it.
#[derive(Clone, Debug)]
pub struct OwnKey {
    /// Each direct holder, if there are any, and the archive's own recipient.
    pub recipients: Vec<(SealedTo, Recipient)>,
    /// The archive's identity, split under the policy in force.
    pub file: KeyFile,
}

impl Verified<Statement> {
    /// Makes a new one. Its secret is forgotten at once: only the policy's holders open it again.
    ///
    /// [`Error::Random`]; the errors of [`KeyFile::split`].
    pub fn own_key(&self) -> Result<OwnKey, Error> {
        let statement = self.statement();
        let id = KeyId {
            vault: statement.vault_id(),
            key: KEY.parse()?,
            version: VERSION,
            generation: statement.generation(),
        };
        let custody =
            self.holders().iter().map(|(name, holder)| (name.clone(), holder.custody().clone())).collect();
        let file =
            KeyFile::split(&id, &IdentitySeed::random(statement.suite())?, statement.policy(), &custody)?;
        let mut recipients = self.recipients();
        recipients.retain(|(to, _)| matches!(to, SealedTo::Holder(_)));
        recipients.push((SealedTo::OwnKey, file.recipient().clone()));
        Ok(OwnKey { recipients, file })
    }

    /// Reads the key file beside an archive, whichever generation wrote it.
    ///
    /// [`Error::KeyFileOfAnother`] if it is another vault's or no archive's, and the errors of [`KeyFile::parse`].
    pub fn own_key_file(&self, bytes: &[u8]) -> Result<KeyFile, Error> {
        let file = KeyFile::parse(bytes)?;
        let (id, own) = (file.id(), self.statement());
        let another = |member, found: String| {
            Err(Error::KeyFileOfAnother { file: own_name(file.digest()), member, found })
        };
        if id.vault != own.vault_id() {
            return another("vault", id.vault.to_string());
        }
        if id.key.as_str() != KEY || id.version != VERSION {
            return another("key", format!("{} {}", id.key, id.version));
        }
        if id.generation > own.generation() {
            return another("generation", id.generation.to_string());
        }
        let recipient = file.recipient();
        if recipient.suite() != own.suite() || recipient.point().is_some() {
            return another("recipient", recipient.to_string());
        }
        Ok(file)
    }
}

/// What is added to the archive's name for the name of its key file: `.key-5f0c9e21aa3b4d10.json`. It has digits of the
/// file's digest, so that two sealers who write to one name never take each other's key away.
pub fn own_key_suffix(digest: Digest) -> String {
    format!(".{}", own_name(digest))
}

fn own_name(digest: Digest) -> String {
    let digest = digest.to_string();
    format!("key-{}.json", digest.get(..DIGITS).unwrap_or(&digest))
}
