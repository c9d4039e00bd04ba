//! A sealer's secret key: Ed25519, in a file that OpenSSH reads too (OpenSSH PROTOCOL.key, RFC 8709).
//!
//! It signs receipts and opens nothing. The file is `openssh-key-v1` without a passphrase: a host that seals by itself has
//! nobody who could type one.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::Signer as _;
use zeroize::Zeroizing;

use crate::key::{ED25519, WireReader, put_string};
use crate::{Error, Name, Namespace, PublicKey, Signature, signed_blob};

const BEGIN: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\n";
const END: &str = "-----END OPENSSH PRIVATE KEY-----\n";
const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Characters of base64 in a line of this armor.
const LINE: usize = 70;
/// No file of one Ed25519 key is near this.
const MAX_LEN: usize = 8192;
/// Without a cipher the private part is padded to a multiple of this.
const BLOCK: usize = 8;

/// The secret half of a sealer's key. Wiped when dropped.
pub struct SealerKey(ed25519_dalek::SigningKey);

impl SealerKey {
    /// A new key from the operating system's randomness.
    ///
    /// [`Error::Random`].
    pub fn random() -> Result<SealerKey, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut()).map_err(Error::Random)?;
        Ok(SealerKey::from_seed(&seed))
    }

    /// The key of this seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> SealerKey {
        SealerKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// The public half, for the statement.
    pub fn public(&self) -> PublicKey {
        PublicKey::Ed25519(self.0.verifying_key().to_bytes())
    }

    pub(crate) fn sign(&self, namespace: Namespace, message: &[u8]) -> Signature {
        let value = self.0.sign(&signed_blob(namespace, message)).to_bytes();
        Signature::from_bytes(&self.public(), namespace, value)
    }

    /// The bytes of a private key file, which `ssh-keygen -y` reads.
    pub fn to_openssh(&self, comment: &str) -> Zeroizing<String> {
        let public = self.0.verifying_key().to_bytes();
        // Room for all at once: a vector that grows would leave unwiped copies.
        let mut private = Zeroizing::new(Vec::with_capacity(256_usize.saturating_add(comment.len())));
        // The two equal numbers tell a wrong passphrase; there is none, so they need not be random.
        private.extend_from_slice(&[0; 8]);
        put_string(&mut private, ED25519.as_bytes());
        put_string(&mut private, &public);
        put_string(&mut private, Zeroizing::new(self.0.to_keypair_bytes()).as_slice());
        put_string(&mut private, comment.as_bytes());
        for padding in 1_u8.. {
            if private.len().is_multiple_of(BLOCK) {
                break;
            }
            private.push(padding);
        }
        let mut wire = Zeroizing::new(Vec::with_capacity(private.len().saturating_add(256)));
        wire.extend_from_slice(MAGIC);
        for none in ["none", "none", ""] {
            put_string(&mut wire, none.as_bytes());
        }
        wire.extend_from_slice(&1_u32.to_be_bytes());
        put_string(&mut wire, &self.public().to_wire());
        put_string(&mut wire, &private);

        let base64 = Zeroizing::new(BASE64.encode(wire.as_slice()));
        let room = base64.len().saturating_add(base64.len() / LINE).saturating_add(128);
        let mut file = Zeroizing::new(String::with_capacity(room));
        file.push_str(BEGIN);
        for (index, character) in base64.chars().enumerate() {
            if index > 0 && index.is_multiple_of(LINE) {
                file.push('\n');
            }
            file.push(character);
        }
        file.push('\n');
        file.push_str(END);
        file
    }

    /// Reads a private key file, ours or one of `ssh-keygen -t ed25519 -N ''`.
    ///
    /// [`Error::SealerKey`].
    pub fn from_openssh(file: &[u8]) -> Result<SealerKey, Error> {
        let refuse = |reason| Error::SealerKey { reason };
        if file.len() > MAX_LEN {
            return Err(refuse("the file is too long"));
        }
        let armor = refuse("it is no private key file of OpenSSH");
        let body = file.strip_prefix(BEGIN.as_bytes()).and_then(|body| body.strip_suffix(END.as_bytes()));
        let Some(body) = body else { return Err(armor) };
        let base64 = Zeroizing::new(body.iter().copied().filter(|byte| *byte != b'\n').collect::<Vec<u8>>());
        let Ok(wire) = BASE64.decode(base64.as_slice()).map(Zeroizing::new) else { return Err(armor) };
        let mut reader = WireReader(&wire);
        if reader.bytes(MAGIC.len()) != Some(MAGIC) {
            return Err(armor);
        }
        if [reader.string(), reader.string(), reader.string()]
            != [Some(&b"none"[..]), Some(b"none"), Some(b"")]
        {
            return Err(refuse("it is locked with a passphrase"));
        }
        let damaged = refuse("its encoding is damaged");
        let (Some(1), Some(public), Some(private)) = (reader.uint32(), reader.string(), reader.string())
        else {
            return Err(damaged);
        };
        let mut inside = WireReader(private);
        let same = inside.uint32().is_some_and(|check| inside.uint32() == Some(check));
        if inside.string() != Some(ED25519.as_bytes()) {
            return Err(refuse("it is no ssh-ed25519 key"));
        }
        let (_, pair) = (inside.string(), inside.string());
        let Some(Ok(pair)) = pair.map(<&[u8; 64]>::try_from) else { return Err(damaged) };
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(pair).map(SealerKey);
        match key {
            Ok(key) if same && key.public().to_wire() == public => Ok(key),
            _ => Err(damaged),
        }
    }
}

impl fmt::Debug for SealerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealerKey({})", self.public())
    }
}

/// One line of an `allowed_signers` file (ssh-keygen(1)): this sealer signs receipts with this key. No newline.
pub fn allowed_sealers_line(name: &Name, key: &PublicKey) -> String {
    format!("{name} namespaces=\"{}\" {key}", Namespace::Receipt.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_back() {
        let key = SealerKey::from_seed(&[7; 32]);
        for comment in ["", "mira", "a longer comment, so that the padding is another"] {
            let file = key.to_openssh(comment);
            assert_eq!(SealerKey::from_openssh(file.as_bytes()).unwrap().public(), key.public());
        }
        assert!(!format!("{key:?}").contains("0707"));
    }

    #[test]
    fn other_files_are_refused() {
        let file = SealerKey::from_seed(&[7; 32]).to_openssh("mira");
        let refused = |bytes: &[u8]| {
            assert!(matches!(SealerKey::from_openssh(bytes), Err(Error::SealerKey { .. })));
        };
        refused(b"");
        refused(&file.as_bytes()[1..]);
        refused(&[b' '; MAX_LEN + 1]);
        for at in BEGIN.len()..file.len() - END.len() {
            let mut changed = file.as_bytes().to_vec();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            // A character of the comment, the check numbers' own or padding may be another; the key may not.
            if let Ok(key) = SealerKey::from_openssh(&changed) {
                assert_eq!(key.public(), SealerKey::from_seed(&[7; 32]).public(), "at {at}");
            }
        }
    }
}
