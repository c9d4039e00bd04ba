//! Attestation: was a key generated inside a token, and which token, firmware and policies.
//!
//! Yubico, "PIV attestation". The card's key F9 issues a certificate for a generated key; F9's own certificate leads
//! to a root:
//!
//! ```text
//! before 5.7.4   key <- F9 <- Yubico PIV Root CA Serial 263751
//! since 5.7.4    key <- F9 <- Yubico PIV Attestation {A,B,…} 1 <- Yubico Attestation Intermediate {A,B} 1
//!                          <- Yubico Attestation Root 1
//! emulator       key <- F9 <- test root, whose private key is public
//! ```
//!
//! Facts are in extensions below 1.3.6.1.4.1.41482.3, bare bytes but for the serial: 3 firmware (3 bytes), 7 serial
//! (INTEGER), 8 PIN and touch policy (2 bytes). All here works offline on DER and may be given any bytes.
//!
//! Signatures, names, basic constraints and path lengths are checked (RFC 5280 section 6.1), so that an attested
//! key cannot pose as an F9. Validity dates are not: they say when a factory made a batch, and a key that was generated
//! on the token stays so. Yubico publishes no revocation lists.

use der::{Decode, Encode, asn1::ObjectIdentifier};
use p256::ecdsa::signature::{Verifier, hazmat::PrehashVerifier};
use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_cert::{Certificate, ext::pkix::BasicConstraints, spki::SubjectPublicKeyInfoRef};

use crate::{
    Point,
    advisory::Firmware,
    client,
    slot::{PinPolicy, TouchPolicy},
    tlv,
};

const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
pub(crate) const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");

const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const RSA_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The longest path from F9 to a root, both not counted. Yubico's has two.
const MAX_INTERMEDIATES: u8 = 4;

const YUBICO_ROOTS: [&[u8]; 2] = [
    include_bytes!("../roots/yubico-piv-root-ca-serial-263751.der"),
    include_bytes!("../roots/yubico-attestation-root-1.der"),
];
const YUBICO_INTERMEDIATES: [&[u8]; 4] = [
    include_bytes!("../roots/yubico-attestation-intermediate-a-1.der"),
    include_bytes!("../roots/yubico-attestation-intermediate-b-1.der"),
    include_bytes!("../roots/yubico-piv-attestation-a-1.der"),
    include_bytes!("../roots/yubico-piv-attestation-b-1.der"),
];
/// The root of emulated tokens. Whoever wants to can issue under it.
pub const EMULATOR_ROOT: &[u8] = include_bytes!("../roots/keyward-emulator-test-root.der");

/// What the evidence says about a token's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Generated on a token, by the word of its maker.
    Verified,
    /// There is no evidence, or none that leads to a known root.
    Unattested,
    /// The card's issuer put the key there and may have a copy.
    IssuerHeld,
    /// Generated on the emulator: for tests.
    Emulated,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Verified => "verified",
            Self::Unattested => "unattested",
            Self::IssuerHeld => "issuer-held",
            Self::Emulated => "emulated",
        })
    }
}

impl std::str::FromStr for Verdict {
    type Err = NotAVerdict;

    fn from_str(text: &str) -> Result<Self, NotAVerdict> {
        match text {
            "verified" => Ok(Self::Verified),
            "unattested" => Ok(Self::Unattested),
            "issuer-held" => Ok(Self::IssuerHeld),
            "emulated" => Ok(Self::Emulated),
            _ => Err(NotAVerdict),
        }
    }
}

/// The text is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a verdict (verified, unattested, issuer-held, emulated)")]
pub struct NotAVerdict;

/// Why an attestation does not hold. Not the same as having none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationError {
    /// Fewer certificates than keys and their token's.
    #[error("{found} certificates are too few for {keys} keys and their token")]
    Incomplete {
        /// How many there are.
        found: usize,
        /// How many keys.
        keys: usize,
    },
    /// A certificate is not X.509 in DER.
    #[error("certificate {index} is not X.509 in DER")]
    Malformed {
        /// Its place in the chain, from 0.
        index: usize,
    },
    /// An extension is missing, doubled or not in its form.
    #[error("extension {oid} is missing or malformed")]
    Extension {
        /// Which.
        oid: ObjectIdentifier,
    },
    /// A certificate names another issuer than the one it stands under.
    #[error("{subject:?} was not issued by this token")]
    Issuer {
        /// Its subject.
        subject: String,
    },
    /// A signature does not verify, or its algorithm is none that attestations use.
    #[error("the signature of {subject:?} does not verify")]
    Signature {
        /// The subject of the certificate that bears it.
        subject: String,
    },
    /// A certificate that may not issue others stands as an issuer.
    #[error("{subject:?} may not issue certificates here")]
    NotAuthority {
        /// Its subject.
        subject: String,
    },
    /// The attested key is another one.
    #[error("certificate {index} is for another key")]
    OtherKey {
        /// Its place in the chain, from 0.
        index: usize,
    },
    /// The attested token is another one.
    #[error("the attestation is of token {attested}, this is token {expected}")]
    OtherToken {
        /// The serial number in the attestation.
        attested: u32,
        /// The token's.
        expected: u32,
    },
}

/// What an attestation says about one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attestation {
    /// The key.
    pub point: Point,
    /// The token; attestations before firmware 5 may not say.
    pub serial: Option<u32>,
    /// Its firmware.
    pub firmware: Firmware,
    /// The key's PIN policy.
    pub pin_policy: PinPolicy,
    /// The key's touch policy.
    pub touch_policy: TouchPolicy,
}

/// Checks a chain as a statement has it: one certificate for each of `keys`, in order, then the token's F9, then
/// further issuers, if any. An empty chain is no evidence: `unattested`. So is one that leads to no known root.
///
/// `serial` is that of the token, if it is known otherwise.
///
/// # Errors
/// A chain that claims something and does not hold.
pub fn verdict(
    chain: &[Vec<u8>],
    keys: &[Point],
    serial: Option<u32>,
) -> Result<(Verdict, Vec<Attestation>), AttestationError> {
    if chain.is_empty() {
        return Ok((Verdict::Unattested, Vec::new()));
    }
    let parsed: Vec<_> =
        chain.iter().enumerate().map(|(index, der)| Parsed::new(der, index)).collect::<Result<_, _>>()?;
    let incomplete = AttestationError::Incomplete { found: chain.len(), keys: keys.len() };
    let Some((leaves, [token, issuers @ ..])) = parsed.split_at_checked(keys.len()) else {
        return Err(incomplete);
    };
    let mut attestations = Vec::with_capacity(keys.len());
    for (index, (leaf, key)) in leaves.iter().zip(keys).enumerate() {
        if leaf.issuer != token.subject {
            return Err(AttestationError::Issuer { subject: leaf.name() });
        }
        leaf.is_signed_by(token)?;
        let attestation = leaf.attestation()?;
        if attestation.point != *key {
            return Err(AttestationError::OtherKey { index });
        }
        if let (Some(attested), Some(expected)) = (attestation.serial, serial)
            && attested != expected
        {
            return Err(AttestationError::OtherToken { attested, expected });
        }
        attestations.push(attestation);
    }
    Ok((root_of(token, issuers)?, attestations))
}

/// What an attestation certificate claims, unverified: for reading back a slot on firmware without metadata.
pub(crate) fn claims(der: &[u8]) -> Result<Attestation, AttestationError> {
    Parsed::new(der, 0)?.attestation()
}

/// Walks from F9 up to a root.
fn root_of(token: &Parsed<'_>, issuers: &[Parsed<'_>]) -> Result<Verdict, AttestationError> {
    let built_in = |der: &'static [u8]| Parsed::new(der, 0).ok();
    let roots = YUBICO_ROOTS.into_iter().map(|der| (Verdict::Verified, der));
    let roots: Vec<_> = roots
        .chain([(Verdict::Emulated, EMULATOR_ROOT)])
        .filter_map(|(verdict, der)| Some((verdict, built_in(der)?)))
        .collect();
    let known: Vec<_> = YUBICO_INTERMEDIATES.into_iter().filter_map(built_in).collect();

    token.may_issue(0)?;
    let mut current = token;
    for below in 1..=MAX_INTERMEDIATES + 1 {
        if let Some((verdict, root)) = roots.iter().find(|(_, root)| root.subject == current.issuer) {
            current.is_signed_by(root)?;
            root.may_issue(below)?;
            return Ok(*verdict);
        }
        let Some(issuer) = known.iter().chain(issuers).find(|issuer| issuer.subject == current.issuer) else {
            return Ok(Verdict::Unattested);
        };
        current.is_signed_by(issuer)?;
        issuer.may_issue(below)?;
        current = issuer;
    }
    Err(AttestationError::NotAuthority { subject: current.name() })
}

/// A certificate with the bytes that matter kept as they came, since a signature is over bytes.
struct Parsed<'a> {
    certificate: Certificate,
    tbs: &'a [u8],
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

impl<'a> Parsed<'a> {
    fn new(der: &'a [u8], index: usize) -> Result<Self, AttestationError> {
        let parse = || -> Option<Self> {
            let certificate = Certificate::from_der(der).ok()?;
            let body = tlv::only(der, 0x30)?;
            let (_, rest) = tlv::read(body)?;
            let tbs = body.get(..body.len().checked_sub(rest.len())?)?;
            let subject = certificate.tbs_certificate().subject().to_der().ok()?;
            let issuer = certificate.tbs_certificate().issuer().to_der().ok()?;
            Some(Self { certificate, tbs, subject, issuer })
        };
        parse().ok_or(AttestationError::Malformed { index })
    }

    fn name(&self) -> String {
        self.certificate.tbs_certificate().subject().to_string()
    }

    /// The value of an extension that may stand once.
    fn extension(&self, oid: ObjectIdentifier) -> Result<Option<&[u8]>, AttestationError> {
        let extensions =
            self.certificate.tbs_certificate().extensions().map(Vec::as_slice).unwrap_or_default();
        let mut values = extensions.iter().filter(|extension| extension.extn_id == oid);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(extension), None) => Ok(Some(extension.extn_value.as_bytes())),
            _ => Err(AttestationError::Extension { oid }),
        }
    }

    fn attestation(&self) -> Result<Attestation, AttestationError> {
        let bad = |oid| AttestationError::Extension { oid };
        let firmware: [u8; 3] =
            self.extension(FIRMWARE)?.and_then(|value| value.try_into().ok()).ok_or(bad(FIRMWARE))?;
        let serial = match self.extension(SERIAL)? {
            Some(value) => Some(u32::from_der(value).map_err(|_| bad(SERIAL))?),
            None => None,
        };
        let Some(&[pin, touch]) = self.extension(POLICIES)? else { return Err(bad(POLICIES)) };
        let key = self.certificate.tbs_certificate().subject_public_key_info();
        Ok(Attestation {
            // A key of another kind cannot be the expected one.
            point: client::point(key).ok_or(AttestationError::OtherKey { index: 0 })?,
            serial,
            firmware: firmware.into(),
            pin_policy: PinPolicy::from_byte(pin).ok_or(bad(POLICIES))?,
            touch_policy: TouchPolicy::from_byte(touch).ok_or(bad(POLICIES))?,
        })
    }

    /// RFC 5280 section 6.1.4 (k) to (m): a CA, with room for `below` CAs under it.
    fn may_issue(&self, below: u8) -> Result<(), AttestationError> {
        let constraints =
            self.extension(BASIC_CONSTRAINTS)?.and_then(|value| BasicConstraints::from_der(value).ok());
        match constraints {
            Some(BasicConstraints { ca: true, path_len_constraint })
                if path_len_constraint.is_none_or(|n| n >= below) =>
            {
                Ok(())
            }
            _ => Err(AttestationError::NotAuthority { subject: self.name() }),
        }
    }

    fn is_signed_by(&self, issuer: &Parsed<'_>) -> Result<(), AttestationError> {
        let algorithm = self.certificate.signature_algorithm();
        let sound = algorithm == self.certificate.tbs_certificate().signature();
        let signature = self.certificate.signature().as_bytes().filter(|_| sound);
        let verified = signature.and_then(|signature| {
            let key = issuer.certificate.tbs_certificate().subject_public_key_info().to_der().ok()?;
            verify(&key, algorithm.oid, self.tbs, signature)
        });
        verified.ok_or(AttestationError::Signature { subject: self.name() })
    }
}

/// One signature: PKCS#1 v1.5 or ECDSA on P-256 or P-384, by the kinds that attestations use.
fn verify(key: &[u8], algorithm: ObjectIdentifier, message: &[u8], signature: &[u8]) -> Option<()> {
    let key = SubjectPublicKeyInfoRef::try_from(key).ok()?;
    if key.algorithm.oid == RSA_KEY {
        let key = rsa::RsaPublicKey::try_from(key).ok()?;
        let signature = rsa::pkcs1v15::Signature::try_from(signature).ok()?;
        return match algorithm {
            RSA_SHA256 => rsa::pkcs1v15::VerifyingKey::<Sha256>::new(key).verify(message, &signature).ok(),
            RSA_SHA384 => rsa::pkcs1v15::VerifyingKey::<Sha384>::new(key).verify(message, &signature).ok(),
            RSA_SHA512 => rsa::pkcs1v15::VerifyingKey::<Sha512>::new(key).verify(message, &signature).ok(),
            _ => None,
        };
    }
    let digest = match algorithm {
        ECDSA_SHA256 => Sha256::digest(message).to_vec(),
        ECDSA_SHA384 => Sha384::digest(message).to_vec(),
        _ => return None,
    };
    if let Ok(key) = p256::ecdsa::VerifyingKey::try_from(key.clone()) {
        let signature = p256::ecdsa::Signature::from_der(signature).ok()?;
        return key.verify_prehash(&digest, &signature).ok();
    }
    let key = p384::ecdsa::VerifyingKey::try_from(key).ok()?;
    let signature = p384::ecdsa::Signature::from_der(signature).ok()?;
    key.verify_prehash(&digest, &signature).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A YubiKey 5.7.1's attestation of a key in 9C and its F9, from the crate attestation-validator 0.2.0.
    const LEAF: &[u8] = include_bytes!("../tests/attestation/yubikey-9c.der");
    const TOKEN: &[u8] = include_bytes!("../tests/attestation/yubikey-f9.der");

    fn real_key() -> Point {
        client::point(Certificate::from_der(LEAF).unwrap().tbs_certificate().subject_public_key_info())
            .unwrap()
    }

    #[test]
    fn a_real_yubikey_is_verified() {
        let chain = [LEAF.to_vec(), TOKEN.to_vec()];
        let (verdict_, attestations) = verdict(&chain, &[real_key()], None).unwrap();
        assert_eq!(verdict_, Verdict::Verified);
        let [attestation] = &attestations[..] else { panic!("one key") };
        assert!(attestation.firmware >= Firmware::new(5, 0, 0), "{}", attestation.firmware);
        assert_eq!(attestation.point, real_key());
        let serial = attestation.serial.unwrap();
        assert!(verdict(&chain, &[real_key()], Some(serial)).is_ok());
        assert_eq!(
            verdict(&chain, &[real_key()], Some(serial + 1)),
            Err(AttestationError::OtherToken { attested: serial, expected: serial + 1 })
        );
    }

    #[test]
    fn every_built_in_certificate_is_sound() {
        let roots: Vec<_> = YUBICO_ROOTS.iter().map(|der| Parsed::new(der, 0).unwrap()).collect();
        for root in &roots {
            root.is_signed_by(root).unwrap();
        }
        let emulator = Parsed::new(EMULATOR_ROOT, 0).unwrap();
        emulator.is_signed_by(&emulator).unwrap();
        // As if each intermediate were a token's F9: it leads to Yubico's root.
        for der in YUBICO_INTERMEDIATES {
            let intermediate = Parsed::new(der, 0).unwrap();
            assert_eq!(root_of(&intermediate, &[]), Ok(Verdict::Verified), "{}", intermediate.name());
        }
    }

    #[test]
    fn an_attested_key_cannot_pose_as_a_token() {
        // The 9C key's certificate is not a CA: whatever it "issues" is refused, and so is using it as F9.
        let leaf = Parsed::new(LEAF, 0).unwrap();
        assert!(matches!(
            root_of(&leaf, &[Parsed::new(TOKEN, 1).unwrap()]),
            Err(AttestationError::NotAuthority { .. })
        ));
        // F9 has path length 0: no CA may stand below it.
        assert!(matches!(
            Parsed::new(TOKEN, 0).unwrap().may_issue(1),
            Err(AttestationError::NotAuthority { .. })
        ));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let key = real_key();
        for (which, der) in [(0, LEAF), (1, TOKEN)] {
            for at in 0..der.len() {
                let mut chain = vec![LEAF.to_vec(), TOKEN.to_vec()];
                chain[which][at] ^= 0x01;
                let found = verdict(&chain, &[key], None);
                // An edited issuer name leads nowhere; that is no evidence, and never `verified`.
                assert!(!matches!(found, Ok((Verdict::Verified, _))), "certificate {which}, byte {at}");
            }
        }
    }

    #[test]
    fn wrong_key_missing_and_swapped_certificates() {
        let other = [4; 65];
        let chain = [LEAF.to_vec(), TOKEN.to_vec()];
        assert_eq!(verdict(&chain, &[other], None), Err(AttestationError::OtherKey { index: 0 }));
        assert_eq!(verdict(&[], &[real_key()], None), Ok((Verdict::Unattested, vec![])));
        assert_eq!(
            verdict(&chain[..1], &[real_key()], None),
            Err(AttestationError::Incomplete { found: 1, keys: 1 })
        );
        let swapped = [TOKEN.to_vec(), LEAF.to_vec()];
        assert!(matches!(verdict(&swapped, &[real_key()], None), Err(AttestationError::Issuer { .. })));
        let junk = [LEAF.to_vec(), b"junk".to_vec()];
        assert_eq!(verdict(&junk, &[real_key()], None), Err(AttestationError::Malformed { index: 1 }));
    }
}
