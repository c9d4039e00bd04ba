//! Signatures as `ssh-keygen -Y sign` makes and `ssh-keygen -Y verify` checks them (OpenSSH PROTOCOL.sshsig).
//!
//! The private key is elsewhere: [`signing_digest`] gives what a card signs, [`Signature::from_ecdsa_der`] takes what it
//! answered. A file holds one signature and nothing else, in the one armor that OpenSSH writes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use sha2::{Digest, Sha256, Sha512};

use crate::key::{PublicKey, WireReader, put_string};
use crate::{Error, Name};

const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----\n";
const END: &str = "-----END SSH SIGNATURE-----\n";
/// Characters of base64 in a line of OpenSSH's armor.
const LINE: usize = 70;
/// No signature of ours is near this; a longer file is refused unread.
const MAX_LEN: usize = 4096;

/// What a signature is for. One made for one namespace is refused in another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// Statements.
    Vault,
    /// Receipts of archives.
    Receipt,
    /// Requests for a share.
    Request,
}

impl Namespace {
    /// The namespace as `ssh-keygen -n` wants it.
    pub fn as_str(self) -> &'static str {
        match self {
            Namespace::Vault => "keyward-vault",
            Namespace::Receipt => "keyward-receipt",
            Namespace::Request => "keyward-request",
        }
    }
}

/// Hash of the message inside the signed blob. Both are accepted; ours is the one that `ssh-keygen` takes by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MessageHash {
    Sha256,
    Sha512,
}

impl MessageHash {
    const OURS: MessageHash = MessageHash::Sha512;

    fn as_str(self) -> &'static str {
        match self {
            MessageHash::Sha256 => "sha256",
            MessageHash::Sha512 => "sha512",
        }
    }

    fn hash(self, message: &[u8]) -> Vec<u8> {
        match self {
            MessageHash::Sha256 => Sha256::digest(message).to_vec(),
            MessageHash::Sha512 => Sha512::digest(message).to_vec(),
        }
    }
}

/// Why bytes are no valid signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The file is not one armored signature, or its inside is damaged.
    #[error("it is not one SSH signature as ssh-keygen writes it: {0}")]
    Malformed(&'static str),
    /// Made for something else.
    #[error("it was made for another purpose than {expected}")]
    Namespace {
        /// The namespace that was asked for.
        expected: &'static str,
    },
    /// Made by another key than the signer's.
    #[error("it was made by another key")]
    OtherKey,
    /// The mathematics says no: the message or the signature was changed.
    #[error("it does not match what it signs: one of the two was changed")]
    Mismatch,
}

/// A signature, taken apart. Holding one says nothing: [`Signature::verify`] does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    key: PublicKey,
    namespace: String,
    hash: MessageHash,
    /// ECDSA: r ‖ s, 32 bytes each. Ed25519: R ‖ S.
    value: [u8; 64],
}

/// What is signed in place of `message`: the blob of PROTOCOL.sshsig. An Ed25519 key signs it as it is.
pub fn signed_blob(namespace: Namespace, message: &[u8]) -> Vec<u8> {
    blob(namespace.as_str(), MessageHash::OURS, message)
}

/// The SHA-256 of [`signed_blob`]: what a card signs with ECDSA on P-256.
pub fn signing_digest(namespace: Namespace, message: &[u8]) -> [u8; 32] {
    Sha256::digest(signed_blob(namespace, message)).into()
}

/// One line of an `allowed_signers` file (ssh-keygen(1)): this name signs statements with this key. No newline.
pub fn allowed_signers_line(name: &Name, key: &PublicKey) -> String {
    format!("{name} namespaces=\"{}\" {key}", Namespace::Vault.as_str())
}

fn blob(namespace: &str, hash: MessageHash, message: &[u8]) -> Vec<u8> {
    let mut blob = MAGIC.to_vec();
    put_string(&mut blob, namespace.as_bytes());
    put_string(&mut blob, b"");
    put_string(&mut blob, hash.as_str().as_bytes());
    put_string(&mut blob, &hash.hash(message));
    blob
}

impl Signature {
    /// A card's answer over [`signing_digest`]: ECDSA-Sig-Value in DER (RFC 3279 section 2.2.3). The key is a P-256 key.
    ///
    /// [`Error::Signature`] if the DER is none or the key is another kind. The signature is not checked here; verify it
    /// before it is stored.
    pub fn from_ecdsa_der(key: &PublicKey, namespace: Namespace, der: &[u8]) -> Result<Signature, Error> {
        let malformed =
            Error::Signature(SignatureError::Malformed("the card's answer is no ECDSA signature"));
        let Ok(signature) = p256::ecdsa::Signature::from_der(der) else { return Err(malformed) };
        match key {
            PublicKey::EcdsaP256(_) => Ok(Signature::new(key, namespace, signature.to_bytes().into())),
            PublicKey::Ed25519(_) => Err(malformed),
        }
    }

    /// A signature of 64 bytes: r ‖ s of ECDSA over [`signing_digest`], or Ed25519 over [`signed_blob`].
    pub fn from_bytes(key: &PublicKey, namespace: Namespace, value: [u8; 64]) -> Signature {
        Signature::new(key, namespace, value)
    }

    fn new(key: &PublicKey, namespace: Namespace, value: [u8; 64]) -> Signature {
        Signature { key: *key, namespace: namespace.as_str().to_owned(), hash: MessageHash::OURS, value }
    }

    /// The key that the signature says made it.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks that `key` made this signature over `message` in this namespace.
    pub fn verify(
        &self,
        namespace: Namespace,
        message: &[u8],
        key: &PublicKey,
    ) -> Result<(), SignatureError> {
        if self.key != *key {
            return Err(SignatureError::OtherKey);
        }
        if self.namespace != namespace.as_str() {
            return Err(SignatureError::Namespace { expected: namespace.as_str() });
        }
        let blob = blob(&self.namespace, self.hash, message);
        let verified = match key {
            PublicKey::EcdsaP256(point) => {
                p256::ecdsa::VerifyingKey::from_sec1_bytes(point).is_ok_and(|key| {
                    p256::ecdsa::Signature::from_slice(&self.value)
                        .is_ok_and(|signature| key.verify_prehash(&Sha256::digest(&blob), &signature).is_ok())
                })
            }
            PublicKey::Ed25519(bytes) => ed25519_dalek::VerifyingKey::from_bytes(bytes).is_ok_and(|key| {
                key.verify_strict(&blob, &ed25519_dalek::Signature::from_bytes(&self.value)).is_ok()
            }),
        };
        if verified { Ok(()) } else { Err(SignatureError::Mismatch) }
    }

    /// The file `ssh-keygen -Y sign` would have written.
    pub fn to_armored(&self) -> String {
        let base64 = BASE64.encode(self.to_wire());
        let mut armored = BEGIN.to_owned();
        for (index, character) in base64.chars().enumerate() {
            if index > 0 && index % LINE == 0 {
                armored.push('\n');
            }
            armored.push(character);
        }
        armored.push('\n');
        armored.push_str(END);
        armored
    }

    /// Reads such a file. Any other spelling of the same signature is refused.
    pub fn from_armored(file: &[u8]) -> Result<Signature, SignatureError> {
        let malformed = SignatureError::Malformed;
        if file.len() > MAX_LEN {
            return Err(malformed("the file is too long"));
        }
        let text = str::from_utf8(file).map_err(|_| malformed("the file is not text"))?;
        let body =
            text.strip_prefix(BEGIN).ok_or(malformed("its first line is not that of an SSH signature"))?;
        let body =
            body.strip_suffix(END).ok_or(malformed("its last line is not that of an SSH signature"))?;
        let wire = BASE64.decode(body.replace('\n', "")).map_err(|_| malformed("its base64 is damaged"))?;
        let signature = Signature::from_wire(&wire)?;
        if signature.to_armored().as_bytes() != file {
            return Err(malformed("another spelling of the same signature"));
        }
        Ok(signature)
    }

    fn to_wire(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(72);
        match self.key {
            PublicKey::EcdsaP256(_) => {
                self.value.chunks_exact(32).for_each(|half| put_mpint(&mut value, half))
            }
            PublicKey::Ed25519(_) => value.extend_from_slice(&self.value),
        }
        let mut signature = Vec::with_capacity(104);
        put_string(&mut signature, self.key.kind().as_bytes());
        put_string(&mut signature, &value);

        let mut wire = MAGIC.to_vec();
        wire.extend_from_slice(&VERSION.to_be_bytes());
        put_string(&mut wire, &self.key.to_wire());
        put_string(&mut wire, self.namespace.as_bytes());
        put_string(&mut wire, b"");
        put_string(&mut wire, self.hash.as_str().as_bytes());
        put_string(&mut wire, &signature);
        wire
    }

    fn from_wire(wire: &[u8]) -> Result<Signature, SignatureError> {
        let malformed = SignatureError::Malformed;
        let short = malformed("it ends too early");
        let mut reader = WireReader(wire);
        if reader.bytes(MAGIC.len()) != Some(MAGIC) || reader.uint32() != Some(VERSION) {
            return Err(malformed("it is not version 1"));
        }
        let key = PublicKey::from_wire(reader.string().ok_or(short)?)
            .map_err(|_| malformed("its key is damaged"))?;
        let namespace =
            str::from_utf8(reader.string().ok_or(short)?).map_err(|_| malformed("its purpose is no text"))?;
        if !reader.string().ok_or(short)?.is_empty() {
            return Err(malformed("its reserved part is not empty"));
        }
        let hash = match reader.string().ok_or(short)? {
            b"sha256" => MessageHash::Sha256,
            b"sha512" => MessageHash::Sha512,
            _ => return Err(malformed("its hash is neither sha256 nor sha512")),
        };
        let mut signature = WireReader(reader.string().ok_or(short)?);
        if !reader.is_empty() {
            return Err(malformed("something follows it"));
        }
        if signature.string().ok_or(short)? != key.kind().as_bytes() {
            return Err(malformed("its type is not that of its key"));
        }
        let bytes = signature.string().ok_or(short)?;
        if !signature.is_empty() {
            return Err(malformed("something follows it"));
        }
        let value = match key {
            PublicKey::EcdsaP256(_) => {
                let mut numbers = WireReader(bytes);
                let (r, s) = (mpint(&mut numbers), mpint(&mut numbers));
                let (Some(r), Some(s), true) = (r, s, numbers.is_empty()) else {
                    return Err(malformed("its numbers are damaged"));
                };
                let mut value = [0; 64];
                for (place, byte) in value.iter_mut().zip(r.iter().chain(&s)) {
                    *place = *byte;
                }
                value
            }
            PublicKey::Ed25519(_) => bytes.try_into().map_err(|_| malformed("it has not 64 bytes"))?,
        };
        Ok(Signature { key, namespace: namespace.to_owned(), hash, value })
    }
}

/// Appends a non-negative mpint of RFC 4251 section 5: no leading zero but the one that keeps the sign bit clear.
fn put_mpint(wire: &mut Vec<u8>, number: &[u8]) {
    let mut digits: Vec<u8> = number.iter().copied().skip_while(|byte| *byte == 0).collect();
    if digits.first().is_some_and(|first| first & 0x80 != 0) {
        digits.insert(0, 0);
    }
    put_string(wire, &digits);
}

/// A non-negative mpint of at most 32 significant bytes, filled with zeros to 32. Padding is found when the whole
/// signature is encoded again and compared.
fn mpint(reader: &mut WireReader<'_>) -> Option<[u8; 32]> {
    let bytes = reader.string()?;
    if bytes.first().is_some_and(|first| first & 0x80 != 0) {
        return None;
    }
    let digits = bytes.strip_prefix(&[0]).unwrap_or(bytes);
    let mut number = [0; 32];
    let skipped = number.len().checked_sub(digits.len())?;
    for (place, byte) in number.iter_mut().skip(skipped).zip(digits) {
        *place = *byte;
    }
    Some(number)
}

#[cfg(test)]
mod tests;
