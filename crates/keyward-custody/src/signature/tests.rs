use p256::ecdsa::SigningKey;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use proptest::prelude::*;

use super::*;

const MESSAGE: &[u8] = b"a message";

fn card() -> (SigningKey, PublicKey) {
    let key = SigningKey::from_slice(&[7; 32]).unwrap();
    let point: [u8; 65] = key.verifying_key().to_sec1_bytes().as_ref().try_into().unwrap();
    (key, PublicKey::from_p256_point(&point).unwrap())
}

fn signed(namespace: Namespace, message: &[u8]) -> Signature {
    let (key, public) = card();
    let answer: p256::ecdsa::Signature = key.sign_prehash(&signing_digest(namespace, message)).unwrap();
    Signature::from_ecdsa_der(&public, namespace, answer.to_der().as_bytes()).unwrap()
}

/// The inside of an armored file, changed, in armor again.
fn rewired(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut wire = signed(Namespace::Vault, MESSAGE).to_wire();
    change(&mut wire);
    armor(&wire)
}

fn armor(wire: &[u8]) -> String {
    let base64 = BASE64.encode(wire);
    let lines: Vec<&str> = base64.as_bytes().chunks(LINE).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("{BEGIN}{}\n{END}", lines.join("\n"))
}

#[test]
fn there_and_back() {
    let (_, public) = card();
    let signature = signed(Namespace::Vault, MESSAGE);
    let file = signature.to_armored();
    assert_eq!(file, armor(&signature.to_wire()));
    let read = Signature::from_armored(file.as_bytes()).unwrap();
    assert_eq!(read, signature);
    assert_eq!(read.key(), &public);
    assert_eq!(read.verify(Namespace::Vault, MESSAGE, &public), Ok(()));
}

#[test]
fn verifies_nothing_else() {
    let (_, public) = card();
    let signature = signed(Namespace::Vault, MESSAGE);
    assert_eq!(signature.verify(Namespace::Vault, b"another", &public), Err(SignatureError::Mismatch));
    assert_eq!(
        signature.verify(Namespace::Receipt, MESSAGE, &public),
        Err(SignatureError::Namespace { expected: "keyward-receipt" })
    );
    let other = SigningKey::from_slice(&[8; 32]).unwrap();
    let other: [u8; 65] = other.verifying_key().to_sec1_bytes().as_ref().try_into().unwrap();
    let other = PublicKey::from_p256_point(&other).unwrap();
    assert_eq!(signature.verify(Namespace::Vault, MESSAGE, &other), Err(SignatureError::OtherKey));
    // The key named inside is not what counts: put there, it does not help.
    let forged = Signature { key: other, ..signature };
    assert_eq!(forged.verify(Namespace::Vault, MESSAGE, &other), Err(SignatureError::Mismatch));
}

#[test]
fn both_message_hashes_are_read() {
    let (key, public) = card();
    let digest = Sha256::digest(blob("keyward-vault", MessageHash::Sha256, MESSAGE));
    let answer: p256::ecdsa::Signature = key.sign_prehash(&digest).unwrap();
    let value = answer.to_bytes().into();
    let signature =
        Signature { key: public, namespace: "keyward-vault".to_owned(), hash: MessageHash::Sha256, value };
    let read = Signature::from_armored(signature.to_armored().as_bytes()).unwrap();
    assert_eq!(read.verify(Namespace::Vault, MESSAGE, &public), Ok(()));
}

#[test]
fn ed25519() {
    use ed25519_dalek::Signer as _;
    let paper = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let public = PublicKey::from_ed25519(&paper.verifying_key().to_bytes()).unwrap();
    let value = paper.sign(&signed_blob(Namespace::Vault, MESSAGE)).to_bytes();
    let signature = Signature::from_bytes(&public, Namespace::Vault, value);
    let read = Signature::from_armored(signature.to_armored().as_bytes()).unwrap();
    assert_eq!(read.verify(Namespace::Vault, MESSAGE, &public), Ok(()));
    assert_eq!(read.verify(Namespace::Vault, b"another", &public), Err(SignatureError::Mismatch));
    assert!(Signature::from_ecdsa_der(&public, Namespace::Vault, &value).is_err());
}

#[test]
fn a_cards_answer_that_is_none() {
    let (key, public) = card();
    let answer: p256::ecdsa::Signature =
        key.sign_prehash(&signing_digest(Namespace::Vault, MESSAGE)).unwrap();
    let der = answer.to_der().as_bytes().to_vec();
    for bad in [&der[..der.len() - 1], &[&der[..], &[0]].concat(), &[], &answer.to_bytes()] {
        assert!(matches!(
            Signature::from_ecdsa_der(&public, Namespace::Vault, bad),
            Err(Error::Signature(SignatureError::Malformed(_)))
        ));
    }
}

#[test]
fn numbers_with_leading_zeros_and_high_bits() {
    for (number, encoded) in [
        (&[0, 0, 0x7f][..], &[0, 0, 0, 1, 0x7f][..]),
        (&[0, 0x80], &[0, 0, 0, 2, 0, 0x80]),
        (&[0, 0], &[0, 0, 0, 0]),
        (&[0xff, 1], &[0, 0, 0, 3, 0, 0xff, 1]),
    ] {
        let mut wire = Vec::new();
        put_mpint(&mut wire, number);
        assert_eq!(wire, encoded);
        let read = mpint(&mut WireReader(&wire)).unwrap();
        assert!(read.ends_with(number));
    }
    assert_eq!(mpint(&mut WireReader(&[0, 0, 0, 1, 0x80])), None);
    assert_eq!(mpint(&mut WireReader(&[&[0, 0, 0, 34, 0][..], &[1; 33]].concat())), None);
    assert_eq!(mpint(&mut WireReader(&[0, 0, 0, 2, 1])), None);
}

#[test]
fn other_files_are_refused() {
    let file = signed(Namespace::Vault, MESSAGE).to_armored();
    let find = |wire: &[u8], what: &[u8]| wire.windows(what.len()).position(|window| window == what).unwrap();
    let base64: String = file.lines().filter(|line| !line.starts_with('-')).collect();
    for (what, bad) in [
        ("empty", String::new()),
        ("two signatures", format!("{file}{file}")),
        ("something before", format!("\n{file}")),
        ("something after", format!("{file}\n")),
        ("no newline at the end", file.trim_end().to_owned()),
        ("carriage returns", file.replace('\n', "\r\n")),
        ("one long line", format!("{BEGIN}{base64}\n{END}")),
        ("an empty line", file.replacen('\n', "\n\n", 1)),
        ("more padding", file.replacen("\n-----END", "=\n-----END", 1)),
        ("too long", format!("{BEGIN}{}\n{END}", "A".repeat(MAX_LEN))),
        ("version 2", rewired(|wire| wire[9] = 2)),
        ("another magic", rewired(|wire| wire[0] = b'T')),
        ("something left over", rewired(|wire| wire.push(0))),
        ("cut", rewired(|wire| wire.truncate(wire.len() - 1))),
        (
            "another hash",
            rewired(|wire| {
                let at = find(wire, b"sha512");
                wire[at + 3..at + 6].copy_from_slice(b"384");
            }),
        ),
        (
            "a reserved part",
            rewired(|wire| {
                let at = find(wire, b"keyward-vault") + 13;
                wire.splice(at..at + 4, [0, 0, 0, 1, b'x']);
            }),
        ),
        (
            "a type that is not the key's",
            rewired(|wire| {
                let at = wire.windows(19).rposition(|window| window == ECDSA.as_bytes()).unwrap();
                wire[at + 18] = b'7';
            }),
        ),
    ] {
        assert!(
            matches!(Signature::from_armored(bad.as_bytes()), Err(SignatureError::Malformed(_))),
            "{what}"
        );
    }
    assert!(Signature::from_armored(&[0xff, 0xfe]).is_err());
}

const ECDSA: &str = crate::key::ECDSA_P256;

#[test]
fn padded_numbers_are_refused() {
    let (_, public) = card();
    let mut value = Vec::new();
    for number in [[0, 1].as_slice(), &[1]] {
        put_string(&mut value, number);
    }
    let mut signature = Vec::new();
    put_string(&mut signature, ECDSA.as_bytes());
    put_string(&mut signature, &value);
    let mut wire = MAGIC.to_vec();
    wire.extend_from_slice(&VERSION.to_be_bytes());
    for part in [&public.to_wire()[..], b"keyward-vault", b"", b"sha512", &signature] {
        put_string(&mut wire, part);
    }
    assert!(Signature::from_wire(&wire).is_ok());
    let refused = Signature::from_armored(armor(&wire).as_bytes());
    assert_eq!(refused, Err(SignatureError::Malformed("another spelling of the same signature")));
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(Signature::from_armored(&bytes).is_err());
        let in_armor = armor(&bytes);
        if let Ok(signature) = Signature::from_armored(in_armor.as_bytes()) {
            prop_assert_eq!(signature.to_armored(), in_armor);
        }
        let with_magic = [MAGIC, &VERSION.to_be_bytes(), &bytes].concat();
        if let Ok(signature) = Signature::from_wire(&with_magic) {
            prop_assert!(signature.verify(Namespace::Vault, MESSAGE, &card().1).is_err());
        }
    }

    #[test]
    fn a_changed_signature_never_verifies(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let (_, public) = card();
        let mut file = signed(Namespace::Vault, MESSAGE).to_armored().into_bytes();
        let at = at.index(file.len());
        prop_assume!(file[at] != byte);
        file[at] = byte;
        let verified = Signature::from_armored(&file)
            .and_then(|signature| signature.verify(Namespace::Vault, MESSAGE, &public));
        prop_assert!(verified.is_err());
    }
}
