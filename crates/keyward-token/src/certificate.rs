//! Certificates for Keyward's slots and the Key History object, so that other PIV programs list the keys.
//!
//! RFC 5280; SP 800-73-4 part 1 section 3.3.3 and tables 10 and 41. OpenSC and ykman show any certificate in a slot, OpenSC a
//! retired slot only if the Key History counts it; age-plugin-yubikey 0.5.1 lists nothing on a token that has a Key
//! History at all (see `furnish.rs`). The subject is `O=Keyward`: these keys were not made by age-plugin-yubikey, so they do not say so.
//!
//! They prove nothing: whoever has the management key writes what they like. What a key is worth is in its
//! attestation; which keys count is in the vault's statement.

use std::{str::FromStr, time::SystemTime};

use der::{
    Decode, Encode,
    asn1::{BitString, GeneralizedTime, OctetString},
};
use p256::{
    ecdsa::{SigningKey, VerifyingKey, signature::Keypair},
    pkcs8::EncodePublicKey,
};
use sha2::{Digest, Sha256};
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    ext::{
        Extension,
        pkix::{BasicConstraints, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::{
        self, AlgorithmIdentifierOwned, DynSignatureAlgorithmIdentifier, ObjectIdentifier,
        SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef,
    },
    time::{Time, Validity},
};

use crate::{
    Point,
    attest::{BASIC_CONSTRAINTS, POLICIES},
    client,
    error::{Error, Result},
    slot::{PinPolicy, Slot, TouchPolicy},
    tlv,
};

const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ORGANIZATION_NAME: &[u8] = b"Keyward";
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
/// What an organizational unit begins with in the certificate that stands in a slot while its key is being made.
const UNFINISHED: &str = "unfinished-";
/// What a custody certificate's second unit begins with, before the slot of an archive key that was taken over.
const ARCHIVE_IN: &str = "archive-in-";

/// What a slot's key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Archive,
    Custody,
    Signing,
    CardProof,
}

impl Role {
    fn of_unit(unit: &str) -> Option<Self> {
        [Self::Archive, Self::Custody, Self::Signing, Self::CardProof]
            .into_iter()
            .find(|role| role.unit() == unit)
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Archive => "archive",
            Self::Custody => "custody",
            Self::Signing => "signing",
            Self::CardProof => "card-proof",
        }
    }

    fn usage(self) -> KeyUsages {
        match self {
            Self::Archive | Self::Custody => KeyUsages::KeyAgreement,
            Self::Signing | Self::CardProof => KeyUsages::DigitalSignature,
        }
    }
}

/// What a certificate says.
pub(crate) struct Subject<'a> {
    pub(crate) holder: &'a str,
    pub(crate) role: Role,
    pub(crate) key: &'a Point,
    pub(crate) policy: (PinPolicy, TouchPolicy),
    /// The key is not made yet: the certificate, for a key that nobody has, says what the slot is taken for.
    pub(crate) unfinished: bool,
    /// Of a custody certificate: where the archive key is that was taken over.
    pub(crate) archive_in: Option<Slot>,
}

/// Who signs a certificate: the card's 9E key, or a throwaway key where 9E is not usable.
pub(crate) struct Issuer {
    key: VerifyingKey,
}

impl Issuer {
    pub(crate) fn new(key: &Point) -> Result<Self> {
        VerifyingKey::from_sec1_bytes(key).map(|key| Self { key }).map_err(|_| Error::NotOnCurve)
    }
}

impl Keypair for Issuer {
    type VerifyingKey = VerifyingKey;

    fn verifying_key(&self) -> VerifyingKey {
        self.key
    }
}

impl DynSignatureAlgorithmIdentifier for Issuer {
    fn signature_algorithm_identifier(&self) -> spki::Result<AlgorithmIdentifierOwned> {
        Ok(AlgorithmIdentifierOwned { oid: ECDSA_SHA256, parameters: None })
    }
}

/// A fresh key that signs once and is gone. Its type wipes it.
pub(crate) fn throwaway_key() -> Result<SigningKey> {
    loop {
        let mut bytes = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *bytes).map_err(|_| Error::Random)?;
        // All but one in 2^32 strings are below the group order.
        if let Ok(key) = SigningKey::from_slice(&*bytes) {
            return Ok(key);
        }
    }
}

/// Whether a holder's name can stand in a certificate: 1 to 64 letters, digits, spaces, `-`, `_` and `.`.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b" -_.".contains(&byte);
    let edges = name.starts_with(' ') || name.ends_with(' ');
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) && !edges {
        Ok(())
    } else {
        Err(Error::Name { name: name.to_owned() })
    }
}

struct Profile {
    subject: Name,
    issuer: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _subject: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _key: SubjectPublicKeyInfoRef<'_>,
        _issuer_key: SubjectPublicKeyInfoRef<'_>,
        _tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

/// Builds a certificate; `sign` makes the issuer's ECDSA signature, in DER, over a SHA-256 digest.
pub(crate) fn issue(
    subject: &Subject<'_>,
    serial: Option<u32>,
    issuer: &Issuer,
    sign: impl FnOnce(&[u8; 32]) -> Result<Vec<u8>>,
) -> Result<Vec<u8>> {
    check_name(subject.holder)?;
    let mut builder = builder(subject, serial).map_err(failed)?;
    let body = builder.finalize(issuer).map_err(failed)?;
    let signature = sign(&Sha256::digest(body).into())?;
    let signature = BitString::from_bytes(&signature).map_err(failed)?;
    builder.assemble(signature, issuer).map_err(failed)?.to_der().map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::CertificateBuilder { reason: error.to_string() }
}

fn builder(subject: &Subject<'_>, serial: Option<u32>) -> builder::Result<CertificateBuilder<Profile>> {
    let (pin, touch) = subject.policy;
    let card = serial.map_or_else(|| "PIV card".to_owned(), |serial| format!("YubiKey {serial}"));
    let prefix = if subject.unfinished { UNFINISHED } else { "" };
    let beside = subject.archive_in.map_or_else(String::new, |slot| format!(",OU={ARCHIVE_IN}{slot}"));
    let common = if subject.role == Role::CardProof { &card } else { subject.holder };
    let name = format!("CN={common},OU={prefix}{}{beside},O=Keyward", subject.role.unit());
    let profile = Profile {
        subject: Name::from_str(&name)?,
        issuer: Name::from_str(&format!("CN={card},OU={},O=Keyward", Role::CardProof.unit()))?,
        extensions: vec![
            extension(
                BASIC_CONSTRAINTS,
                true,
                BasicConstraints { ca: false, path_len_constraint: None }.to_der()?,
            )?,
            extension(KEY_USAGE, true, KeyUsage(subject.role.usage().into()).to_der()?)?,
            // As in attestations, and in age-plugin-yubikey's certificates.
            extension(POLICIES, false, vec![pin.byte(), touch.byte()])?,
        ],
    };
    let mut number = [0; 16];
    getrandom::fill(&mut number)
        .map_err(|_| builder::Error::from(der::Error::from(der::ErrorKind::Failed)))?;
    // A positive INTEGER without leading zeros.
    if let Some(first) = number.first_mut() {
        *first = *first & 0x3F | 0x40;
    }
    // RFC 5280 section 4.1.2.5: 99991231235959Z means no end. The key serves as long as the token does.
    let end = der::DateTime::new(9999, 12, 31, 23, 59, 59)?;
    let validity = Validity::new(
        Time::try_from(SystemTime::now())?,
        Time::GeneralTime(GeneralizedTime::from_date_time(end)),
    );
    let key = VerifyingKey::from_sec1_bytes(subject.key).map_err(builder::Error::Signature)?;
    let key = SubjectPublicKeyInfoOwned::from_der(key.to_public_key_der().map_err(spki_failed)?.as_bytes())?;
    CertificateBuilder::new(profile, SerialNumber::new(&number)?, validity, key)
}

fn spki_failed(error: spki::Error) -> builder::Error {
    builder::Error::PublicKey(error)
}

fn extension(extn_id: ObjectIdentifier, critical: bool, value: Vec<u8>) -> der::Result<Extension> {
    Ok(Extension { extn_id, critical, extn_value: OctetString::new(value)? })
}

/// A certificate of ours.
pub(crate) struct Ours {
    pub(crate) role: Role,
    /// The key it is for, unless it stands for one that is being made.
    pub(crate) key: Option<Point>,
    /// Of a custody certificate: where the archive key is, if it was taken over.
    pub(crate) archive_in: Option<Slot>,
}

/// What one of our certificates says; `None` if it is not ours. Like all certificates in slots it proves nothing.
pub(crate) fn ours(der: &[u8]) -> Option<Ours> {
    let certificate = Certificate::from_der(der).ok()?;
    let certificate = certificate.tbs_certificate();
    let (mut organization, mut role, mut unfinished, mut archive_in) = (false, None, false, None);
    for attribute in certificate.subject().iter_rdn().flat_map(|rdn| rdn.iter()) {
        let value = attribute.value.value();
        match attribute.oid {
            ORGANIZATION => organization = value == ORGANIZATION_NAME,
            UNIT => {
                let unit = std::str::from_utf8(value).ok()?;
                if let Some(slot) = unit.strip_prefix(ARCHIVE_IN) {
                    archive_in = Some(slot.parse().ok()?);
                } else {
                    unfinished = unit.starts_with(UNFINISHED);
                    role = Role::of_unit(unit.strip_prefix(UNFINISHED).unwrap_or(unit));
                }
            }
            _ => {}
        }
    }
    let role = role.filter(|_| organization)?;
    let key = client::point(certificate.subject_public_key_info())?;
    Some(Ours { role, key: (!unfinished).then_some(key), archive_in })
}

/// Whether a certificate is one of ours for this key.
pub(crate) fn is_ours(der: &[u8], key: &Point) -> bool {
    ours(der).is_some_and(|ours| ours.key.as_ref() == Some(key))
}

/// The P-256 key that a certificate is for.
pub(crate) fn key(der: &[u8]) -> Option<Point> {
    client::point(Certificate::from_der(der).ok()?.tbs_certificate().subject_public_key_info())
}

/// PIN and touch policy as a certificate claims them in Yubico's extension; age-plugin-yubikey's have it.
pub(crate) fn claimed_policies(der: &[u8]) -> Option<(PinPolicy, TouchPolicy)> {
    let certificate = Certificate::from_der(der).ok()?;
    let extensions = certificate.tbs_certificate().extensions()?;
    let value = &extensions.iter().find(|extension| extension.extn_id == POLICIES)?.extn_value;
    match value.as_bytes() {
        &[pin, touch] => Some((PinPolicy::from_byte(pin)?, TouchPolicy::from_byte(touch)?)),
        _ => None,
    }
}

/// A certificate's subject, to show what is in a slot.
pub(crate) fn subject(der: &[u8]) -> Option<String> {
    Some(Certificate::from_der(der).ok()?.tbs_certificate().subject().to_string())
}

/// A certificate as an object's content: table 10 of SP 800-73-4 part 1. 70 certificate, 71 00 not compressed, FE.
pub(crate) fn object(der: &[u8]) -> Vec<u8> {
    let mut content = Vec::with_capacity(der.len() + 9);
    tlv::write(&mut content, 0x70, der);
    tlv::write(&mut content, 0x71, &[0x00]);
    tlv::write(&mut content, 0xFE, &[]);
    content
}

/// The Key History object with at least `on_card` certificates of retired keys on the card. What an object that is
/// there says of off-card certificates is kept. `None` if nothing has to change.
pub(crate) fn key_history(existing: Option<&[u8]>, on_card: u8) -> Option<Vec<u8>> {
    let existing = existing.unwrap_or_default();
    let byte = |tag| tlv::find(existing, tag).and_then(|value| value.first().copied()).unwrap_or(0);
    if byte(0xC1) >= on_card {
        return None;
    }
    let mut content = tlv::encode(0xC1, &[on_card]);
    tlv::write(&mut content, 0xC2, &[byte(0xC2)]);
    if let Some(url) = tlv::find(existing, 0xF3) {
        tlv::write(&mut content, 0xF3, url);
    }
    tlv::write(&mut content, 0xFE, &[]);
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::{
        Signature,
        signature::hazmat::{PrehashSigner, PrehashVerifier},
    };

    fn point(key: &SigningKey) -> Point {
        key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
    }

    #[test]
    fn a_slot_certificate_is_issued_by_the_card_key() {
        let (card, slot) = (throwaway_key().unwrap(), throwaway_key().unwrap());
        let subject = Subject {
            holder: "alice",
            role: Role::Archive,
            key: &point(&slot),
            policy: (PinPolicy::Always, TouchPolicy::Always),
            unfinished: false,
            archive_in: None,
        };
        let issuer = Issuer::new(&point(&card)).unwrap();
        let der = issue(&subject, Some(11110001), &issuer, |digest| {
            let signature: Signature = card.sign_prehash(digest).unwrap();
            Ok(signature.to_der().as_bytes().to_vec())
        })
        .unwrap();
        assert!(is_ours(&der, &point(&slot)));
        assert!(!is_ours(&der, &point(&card)), "another key");
        assert!(!is_ours(b"junk", &point(&slot)));
        assert_eq!(self::subject(&der).as_deref(), Some("CN=alice,OU=archive,O=Keyward"));
        let certificate = Certificate::from_der(&der).unwrap();
        let body = certificate.tbs_certificate().to_der().unwrap();
        let signature = Signature::from_der(certificate.signature().as_bytes().unwrap()).unwrap();
        card.verifying_key().verify_prehash(&Sha256::digest(body), &signature).unwrap();
    }

    #[test]
    fn names_that_would_change_the_subject_are_refused() {
        for name in ["", "alice,O=Yubico", "a=b", "a+b", "käthe", " alice", &"a".repeat(65)] {
            assert!(matches!(check_name(name), Err(Error::Name { .. })), "{name:?}");
        }
        check_name("alice 2").unwrap();
    }

    #[test]
    fn key_history_counts_up_and_keeps_the_rest() {
        assert_eq!(key_history(None, 2), Some(vec![0xC1, 1, 2, 0xC2, 1, 0, 0xFE, 0]));
        let existing = [0xC1, 1, 5, 0xC2, 1, 3, 0xF3, 1, b'u', 0xFE, 0];
        assert_eq!(key_history(Some(&existing), 3), None);
        assert_eq!(
            key_history(Some(&existing), 6),
            Some(vec![0xC1, 1, 6, 0xC2, 1, 3, 0xF3, 1, b'u', 0xFE, 0])
        );
    }
}
