//! Attestation: the token's own key F9 under the published test root, and certificates it issues for slots.
//!
//! Yubico's "PIV attestation": a slot certificate carries firmware, serial, policies and form factor in
//! extensions under 1.3.6.1.4.1.41482.3, as bare bytes but for the serial, which is an INTEGER; serial and form factor since 5.0. The chain is
//! slot <- token's F9 <- test root. The root's private key is in this crate for all to read, so nobody
//! can mistake what it vouches for; see the crate's README.

use der::{
    DateTime, Decode, Encode,
    asn1::{ObjectIdentifier, OctetString, UtcTime},
    flagset::FlagSet,
};
use p256::{ecdsa::SigningKey, pkcs8::DecodePrivateKey};
use serde::{Deserialize, Serialize};
use std::str::FromStr;
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    certificate::Rfc5280,
    ext::{
        Extension, ToExtension,
        pkix::{BasicConstraints, KeyUsage, KeyUsages},
    },
    name::Name,
    serial_number::SerialNumber,
    spki::SubjectPublicKeyInfoRef,
    time::{Time, Validity},
};

use super::{
    firmware::Firmware,
    key::{Algorithm, Key},
    policy::{PinPolicy, TouchPolicy},
    slot::Slot,
    state::Bytes,
    status::Sw,
};
use crate::{Error, Result};

/// The certificate of the test root, DER. Chains that end here come from an emulator.
pub const TEST_ROOT_CERTIFICATE: &[u8] = include_bytes!("../../attestation/test-root.der");

/// Its private key, deliberately public.
const TEST_ROOT_KEY: &str = include_str!("../../attestation/test-root.key.pem");

/// 01: USB-A, keychain. Also tag 04 of the device information.
pub(crate) const FORM_FACTOR: u8 = 0x01;

const FIRMWARE_VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const FORM_FACTOR_ID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.9");

/// The attestation key and its certificate; both stay as they are through a RESET.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Attestation {
    pub(crate) key: Key,
    pub(crate) certificate: Bytes,
}

impl Attestation {
    /// Whether a state that was read makes sense.
    pub(crate) fn is_sound(&self) -> bool {
        self.key.is_sound()
            && self.key.algorithm == Algorithm::P256
            && Certificate::from_der(&self.certificate.0).is_ok()
    }
}

/// What a factory does once: a key F9 and its certificate under the root.
pub(crate) fn new_attestation(serial: u32, firmware: Firmware) -> Result<Attestation> {
    let key = Key::generate(Algorithm::P256, PinPolicy::Never, TouchPolicy::Never)
        .map_err(|_| Error::Random(getrandom::Error::UNEXPECTED))?;
    let certificate =
        token_certificate(serial, firmware, &key).map_err(|error| Error::Certificate(error.to_string()))?;
    Ok(Attestation { key, certificate: Bytes(certificate) })
}

fn token_certificate(serial: u32, firmware: Firmware, key: &Key) -> builder::Result<Vec<u8>> {
    let root = SigningKey::from_pkcs8_pem(TEST_ROOT_KEY)
        .map_err(|_| builder::Error::from(der::Error::incomplete(0u8.into())))?;
    let root_certificate = Certificate::from_der(TEST_ROOT_CERTIFICATE)?;
    let profile = Profile {
        issuer: root_certificate.tbs_certificate().subject().clone(),
        subject: Name::from_str(&format!("CN=Keyward Emulator PIV Attestation {serial},O=Keyward"))?,
        authority: true,
        extensions: vec![bare(FIRMWARE_VERSION, &firmware.bytes())?],
    };
    issue(profile, key, &root)
}

/// Answers ATTEST: a certificate by F9 for a key that was generated in this slot.
pub(crate) fn slot_certificate(
    attestation: &Attestation,
    serial: u32,
    firmware: Firmware,
    slot: Slot,
    key: &Key,
) -> std::result::Result<Vec<u8>, Sw> {
    let signer = attestation.key.signer()?;
    let certificate = || -> builder::Result<Vec<u8>> {
        let issuer = Certificate::from_der(&attestation.certificate.0)?;
        let mut extensions = vec![
            bare(FIRMWARE_VERSION, &firmware.bytes())?,
            bare(POLICIES, &[key.pin_policy.byte(), key.touch_policy.byte()])?,
        ];
        if firmware.has_form_factor() {
            extensions.insert(1, bare(SERIAL_NUMBER, &serial.to_der()?)?);
            extensions.push(bare(FORM_FACTOR_ID, &[FORM_FACTOR])?);
        }
        let profile = Profile {
            issuer: issuer.tbs_certificate().subject().clone(),
            subject: Name::from_str(&format!("CN=Keyward Emulator PIV Attestation {slot}"))?,
            authority: false,
            extensions,
        };
        issue(profile, key, &signer)
    };
    certificate().map_err(|_| Sw::INTERNAL)
}

/// An extension whose value is these bytes and no ASN.1, as Yubico encodes them.
fn bare(id: ObjectIdentifier, value: &[u8]) -> der::Result<Extension> {
    Ok(Extension { extn_id: id, critical: false, extn_value: OctetString::new(value)? })
}

struct Profile {
    issuer: Name,
    subject: Name,
    authority: bool,
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
        _spk: SubjectPublicKeyInfoRef<'_>,
        _issuer_spk: SubjectPublicKeyInfoRef<'_>,
        tbs: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        let mut all = Vec::new();
        if self.authority {
            let constraints = BasicConstraints { ca: true, path_len_constraint: Some(0) };
            all.push((true, &constraints).to_extension(tbs.subject(), &all)?);
            let usage = KeyUsage(FlagSet::from(KeyUsages::KeyCertSign));
            all.push((true, &usage).to_extension(tbs.subject(), &all)?);
        }
        all.extend(self.extensions.iter().cloned());
        Ok(all)
    }
}

fn issue(profile: Profile, key: &Key, signer: &SigningKey) -> builder::Result<Vec<u8>> {
    let failed = |_| builder::Error::from(der::Error::incomplete(0u8.into()));
    let public = key.public_info().map_err(failed)?;
    let mut number = [0; 16];
    getrandom::fill(&mut number).map_err(|_| builder::Error::from(der::Error::incomplete(0u8.into())))?;
    number[0] = number[0] & 0x7F | 0x01; // positive and of full length
    let validity: Validity<Rfc5280> = Validity::new(
        Time::UtcTime(UtcTime::from_date_time(DateTime::new(2025, 1, 1, 0, 0, 0)?)?),
        Time::UtcTime(UtcTime::from_date_time(DateTime::new(2049, 12, 31, 23, 59, 59)?)?),
    );
    let builder = CertificateBuilder::new(profile, SerialNumber::new(&number)?, validity, public)?;
    let certificate = builder.build::<_, p256::ecdsa::DerSignature>(signer)?;
    Ok(certificate.to_der()?)
}
