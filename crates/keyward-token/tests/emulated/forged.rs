//! Chains of our own making under the emulator's root, whose key is public: what a stranger could try, and what Yubico's
//! deeper chains look like.

use std::str::FromStr;

use der::{
    Decode, Encode,
    asn1::{ObjectIdentifier, OctetString},
};
use keyward_token::{
    Point, Verdict,
    attest::{AttestationError, EMULATOR_ROOT, verdict},
};
use p256::pkcs8::{DecodePrivateKey, EncodePublicKey};
use x509_cert::{
    Certificate, TbsCertificate,
    builder::{self, Builder, CertificateBuilder, profile::BuilderProfile},
    ext::{Extension, pkix::BasicConstraints},
    name::Name,
    serial_number::SerialNumber,
    spki::{
        DynSignatureAlgorithmIdentifier, SignatureBitStringEncoding, SubjectPublicKeyInfoOwned,
        SubjectPublicKeyInfoRef,
    },
    time::Validity,
};

const ROOT_KEY: &str = include_str!("../../../keyward-emulator/attestation/test-root.key.pem");

struct Profile {
    issuer: Name,
    subject: Name,
    extensions: Vec<Extension>,
}

impl BuilderProfile for Profile {
    fn get_issuer(&self, _: &Name) -> Name {
        self.issuer.clone()
    }

    fn get_subject(&self) -> Name {
        self.subject.clone()
    }

    fn build_extensions(
        &self,
        _: SubjectPublicKeyInfoRef<'_>,
        _: SubjectPublicKeyInfoRef<'_>,
        _: &TbsCertificate,
    ) -> builder::Result<Vec<Extension>> {
        Ok(self.extensions.clone())
    }
}

fn extension(oid: &str, value: &[u8]) -> Extension {
    let extn_id = ObjectIdentifier::new_unwrap(oid);
    Extension { extn_id, critical: false, extn_value: OctetString::new(value).unwrap() }
}

/// A CA with room for so many CAs below it.
fn authority(below: u8) -> Vec<Extension> {
    let constraints = BasicConstraints { ca: true, path_len_constraint: Some(below) };
    vec![extension("2.5.29.19", &constraints.to_der().unwrap())]
}

/// Firmware, serial 7, policies: what an attestation says.
fn claims(firmware: &[u8]) -> Vec<Extension> {
    vec![
        extension("1.3.6.1.4.1.41482.3.3", firmware),
        extension("1.3.6.1.4.1.41482.3.7", &[0x02, 1, 7]),
        extension("1.3.6.1.4.1.41482.3.8", &[3, 2]),
    ]
}

fn issue<S, Signature>(
    signer: &S,
    issuer: &str,
    subject: &str,
    key: &impl EncodePublicKey,
    extensions: Vec<Extension>,
) -> Vec<u8>
where
    S: p256::ecdsa::signature::Signer<Signature>
        + p256::ecdsa::signature::Keypair
        + DynSignatureAlgorithmIdentifier,
    S::VerifyingKey: EncodePublicKey,
    Signature: SignatureBitStringEncoding,
{
    let root = Certificate::from_der(EMULATOR_ROOT).unwrap();
    let issuer = match issuer {
        "root" => root.tbs_certificate().subject().clone(),
        name => Name::from_str(name).unwrap(),
    };
    let profile = Profile { issuer, subject: Name::from_str(subject).unwrap(), extensions };
    let key = SubjectPublicKeyInfoOwned::from_der(key.to_public_key_der().unwrap().as_bytes()).unwrap();
    let validity: Validity = *root.tbs_certificate().validity();
    let builder = CertificateBuilder::new(profile, SerialNumber::from(1u32), validity, key).unwrap();
    builder.build::<S, Signature>(signer).unwrap().to_der().unwrap()
}

fn root_key() -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_pkcs8_pem(ROOT_KEY).unwrap()
}

fn p256_key(byte: u8) -> p256::ecdsa::SigningKey {
    p256::ecdsa::SigningKey::from_slice(&[byte; 32]).unwrap()
}

fn p384_key(byte: u8) -> p384::ecdsa::SigningKey {
    p384::ecdsa::SigningKey::from_slice(&[byte; 48]).unwrap()
}

fn point(key: &p256::ecdsa::SigningKey) -> Point {
    key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
}

type Der256 = p256::ecdsa::DerSignature;
type Der384 = p384::ecdsa::DerSignature;

/// Root, a P-384 intermediate, a P-384 F9, a P-256 key.
fn deep_chain(intermediate: Vec<Extension>) -> Vec<Vec<u8>> {
    let (between, token, key) = (p384_key(2), p384_key(3), p256_key(4));
    vec![
        issue::<_, Der384>(&token, "CN=F9", "CN=key", key.verifying_key(), claims(&[5, 7, 4])),
        issue::<_, Der384>(&between, "CN=between", "CN=F9", token.verifying_key(), authority(0)),
        issue::<_, Der256>(&root_key(), "root", "CN=between", between.verifying_key(), intermediate),
    ]
}

#[test]
fn a_p384_token_is_verified() {
    let (token, key) = (p384_key(3), p256_key(4));
    let chain = [
        issue::<_, Der384>(&token, "CN=F9", "CN=key", key.verifying_key(), claims(&[5, 7, 4])),
        issue::<_, Der256>(&root_key(), "root", "CN=F9", token.verifying_key(), authority(0)),
    ];
    let (found, attested) = verdict(&chain, &[point(&key)], Some(7)).unwrap();
    assert_eq!((found, attested[0].firmware.to_string()), (Verdict::Emulated, "5.7.4".to_owned()));
}

#[test]
fn issuers_that_come_with_the_chain_are_followed_and_held_to_their_room() {
    let key = point(&p256_key(4));
    let refused_at = |intermediate| match verdict(&deep_chain(intermediate), &[key], None) {
        Err(AttestationError::NotAuthority { subject }) => subject,
        other => panic!("{other:?}"),
    };
    // Every signature up to the root holds; but the emulator's root has room for F9 alone.
    assert!(refused_at(authority(1)).starts_with("CN=Keyward Emulator Test Root"));
    assert_eq!(refused_at(authority(0)), "CN=between", "no room for F9 below");
    assert_eq!(refused_at(claims(&[5, 7, 4])), "CN=between", "no authority at all");
    // Without the one in between it leads nowhere.
    assert_eq!(verdict(&deep_chain(authority(1))[..2], &[key], None).unwrap().0, Verdict::Unattested);
}

/// Whoever has a token can have a key in it sign anything. A certificate for a key outside, signed by such a key, with
/// its attestation in F9's place and the real F9 as an issuer:
#[test]
fn an_attested_key_in_the_place_of_f9_is_refused() {
    let (token, inside, outside) = (p256_key(5), p256_key(6), p256_key(8));
    let f9 = issue::<_, Der256>(&root_key(), "root", "CN=F9", token.verifying_key(), authority(0));
    let attested =
        issue::<_, Der256>(&token, "CN=F9", "CN=inside", inside.verifying_key(), claims(&[5, 7, 1]));
    let forged =
        issue::<_, Der256>(&inside, "CN=inside", "CN=key", outside.verifying_key(), claims(&[5, 7, 1]));
    let honest = [attested.clone(), f9.clone()];
    assert_eq!(verdict(&honest, &[point(&inside)], None).unwrap().0, Verdict::Emulated);
    let refused = verdict(&[forged, attested, f9], &[point(&outside)], None);
    assert!(matches!(refused, Err(AttestationError::NotAuthority { .. })), "{refused:?}");
}

#[test]
fn claims_that_are_missing_doubled_or_malformed() {
    let (token, key) = (p256_key(5), p256_key(6));
    let f9 = issue::<_, Der256>(&root_key(), "root", "CN=F9", token.verifying_key(), authority(0));
    let all = || claims(&[5, 7, 1]);
    let without = |index: usize| {
        let mut some = all();
        some.remove(index);
        some
    };
    let with = |oid: &str, value: &[u8]| {
        let mut more = all();
        more.retain(|extension| extension.extn_id.to_string() != oid);
        more.push(extension(oid, value));
        more
    };
    let doubled = [all(), claims(&[5, 7, 9])].concat();
    for extensions in [
        without(0),
        without(2),
        doubled,
        claims(&[5, 7]),
        with("1.3.6.1.4.1.41482.3.7", &[0x02, 2, 0, 7]),
        with("1.3.6.1.4.1.41482.3.8", &[0, 2]),
        with("1.3.6.1.4.1.41482.3.8", &[3, 2, 0]),
    ] {
        let leaf = issue::<_, Der256>(&token, "CN=F9", "CN=key", key.verifying_key(), extensions.clone());
        let refused = verdict(&[leaf, f9.clone()], &[point(&key)], None);
        assert!(matches!(refused, Err(AttestationError::Extension { .. })), "{extensions:?}: {refused:?}");
    }
    // Attestations before firmware 5 have no serial: that is no error.
    let leaf = issue::<_, Der256>(&token, "CN=F9", "CN=key", key.verifying_key(), without(1));
    assert_eq!(verdict(&[leaf, f9], &[point(&key)], Some(7)).unwrap().1[0].serial, None);
}
