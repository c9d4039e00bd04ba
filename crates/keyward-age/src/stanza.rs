//! The stanzas of a header that this crate opens, and those it makes.
//!
//! A stanza's first job is to say whether it is for a given token without any secret: its tag. Only
//! then is the token asked for a Diffie-Hellman, since that may cost a person a touch.

pub(crate) mod mlkem768p256tag;
pub(crate) mod mlkem768x25519;
pub(crate) mod p256tag;
pub(crate) mod piv_p256;

use std::cell::RefCell;
use std::collections::HashSet;

use age_core::format::Stanza;
use hkdf::Hkdf;
use sha2::{Digest, Sha256};

use crate::error::Error;
use crate::file_key::FileKey;
use crate::recipient::{POINT_LEN, Recipient, check_point};
use crate::token_key::TokenKey;

/// The length of a stanza's body: a file key and an AEAD tag.
pub(crate) const BODY_LEN: usize = 32;

/// A stanza that carries the tag of a token, parsed and with its point validated.
pub(crate) enum Addressed {
    Hybrid(Box<mlkem768p256tag::Parsed>),
    Classic(p256tag::Parsed),
    Yubikey(piv_p256::Parsed),
}

impl Addressed {
    /// The best stanza for the token whose P-256 key is `point`: hybrid before classic, first in
    /// the header before later ones. A stanza of a token's kind that is malformed is an error, as it
    /// is in age, whomever it is for.
    pub(crate) fn find(stanzas: &[Stanza], point: &[u8; POINT_LEN]) -> Result<Option<Addressed>, Error> {
        let mut best = None;
        for stanza in stanzas {
            let found = match stanza.tag.as_str() {
                mlkem768p256tag::KIND => mlkem768p256tag::parse(stanza, point)?.map(Addressed::Hybrid),
                p256tag::KIND => p256tag::parse(stanza, point)?.map(Addressed::Classic),
                piv_p256::KIND => piv_p256::parse(stanza, point)?.map(Addressed::Yubikey),
                _ => None,
            };
            if let Some(found) = found
                && best.as_ref().is_none_or(|best: &Addressed| found.rank() < best.rank())
            {
                best = Some(found);
            }
        }
        Ok(best)
    }

    fn rank(&self) -> u8 {
        match self {
            Addressed::Hybrid(_) => 0,
            Addressed::Classic(_) => 1,
            Addressed::Yubikey(_) => 2,
        }
    }

    /// Unwraps the file key with one Diffie-Hellman of the token.
    pub(crate) fn unwrap(&self, key: &mut dyn TokenKey) -> Result<FileKey, Error> {
        match self {
            Addressed::Hybrid(parsed) => parsed.unwrap(key),
            Addressed::Classic(parsed) => parsed.unwrap(key),
            Addressed::Yubikey(parsed) => parsed.unwrap(key),
        }
    }
}

/// The tag of the tag recipients: `HKDF-Extract-SHA256(ikm = enc ‖ SHA-256(key)[..4], salt)[..4]`.
fn recipient_tag(enc: &[u8], key: &[u8], salt: &str) -> Option<[u8; 4]> {
    let ikm = [enc, &key_digest(key)?].concat();
    let (prk, _) = Hkdf::<Sha256>::extract(Some(salt.as_bytes()), &ikm);
    prk.as_slice().first_chunk().copied()
}

/// `SHA-256(key)[..4]`.
fn key_digest(key: &[u8]) -> Option<[u8; 4]> {
    Sha256::digest(key).as_slice().first_chunk().copied()
}

/// Refuses an ephemeral point that is not on the curve, before it could reach a token.
fn check_ephemeral(point: &[u8; POINT_LEN]) -> Result<(), Error> {
    check_point(point).map_err(|_| Error::Header("an ephemeral key is not on P-256"))
}

/// A stanza's arguments, exactly `N` of them.
fn args<const N: usize>(stanza: &Stanza) -> Result<&[String; N], Error> {
    stanza.args.as_slice().try_into().map_err(|_| Error::Header("a stanza has the wrong number of arguments"))
}

/// A stanza's body, of the only length that holds a file key. The fixed length also keeps out
/// ciphertexts made to open under several keys.
fn body(stanza: &Stanza) -> Result<[u8; BODY_LEN], Error> {
    stanza.body.as_slice().try_into().map_err(|_| Error::Header("a stanza has a body of the wrong length"))
}

/// A copy of a stanza, which the age crate does not offer.
pub(crate) fn copy_of(stanza: &Stanza) -> Stanza {
    Stanza { tag: stanza.tag.clone(), args: stanza.args.clone(), body: stanza.body.clone() }
}

/// Seals through the age crate and listens: every recipient of a file is shown the file key.
pub(crate) struct Listening<'a> {
    recipient: Box<dyn age::Recipient + 'a>,
    heard: &'a RefCell<Option<FileKey>>,
}

impl<'a> Listening<'a> {
    pub(crate) fn new(
        recipient: &'a Recipient,
        heard: &'a RefCell<Option<FileKey>>,
    ) -> Result<Listening<'a>, Error> {
        let invalid = |_| Error::Recipient { reason: "the age crate refuses it" };
        let recipient: Box<dyn age::Recipient + 'a> = match recipient {
            Recipient::TagPq(_) => {
                Box::new(recipient.to_string().parse::<age::tagpq::Recipient>().map_err(invalid)?)
            }
            Recipient::Tag(_) => {
                Box::new(recipient.to_string().parse::<age::tag::Recipient>().map_err(invalid)?)
            }
            Recipient::Pq(hybrid) => Box::new(mlkem768x25519::Sealing(hybrid)),
            Recipient::X25519(x25519) => Box::new(x25519.clone()),
        };
        Ok(Listening { recipient, heard })
    }

    pub(crate) fn to_passphrase(
        recipient: &'a age::scrypt::Recipient,
        heard: &'a RefCell<Option<FileKey>>,
    ) -> Listening<'a> {
        Listening { recipient: Box::new(Borrowed(recipient)), heard }
    }
}

/// A passphrase recipient that stays its owner's: the age crate's cannot be copied.
struct Borrowed<'a>(&'a age::scrypt::Recipient);

impl age::Recipient for Borrowed<'_> {
    fn wrap_file_key(
        &self,
        file_key: &age_core::format::FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        self.0.wrap_file_key(file_key)
    }
}

impl age::Recipient for Listening<'_> {
    fn wrap_file_key(
        &self,
        file_key: &age_core::format::FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), age::EncryptError> {
        self.heard.borrow_mut().get_or_insert_with(|| FileKey::copy_of(file_key));
        self.recipient.wrap_file_key(file_key)
    }
}
