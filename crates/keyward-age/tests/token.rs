//! Recipients and headers: what is sealed to a token opens with that token, once asked, and with no
//! other; the age crate is the other side of every stanza that it knows.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may fail")]

mod common;

use std::collections::HashSet;
use std::io::{Read, Write};
use std::iter;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD as BASE64;
use common::SoftToken;
use hkdf::Hkdf;
use keyward_age::{
    Error, Header, MlKemSeed, OpenReader, Recipient, SealOptions, SealWriter, SoftIdentity, Suite, TokenKey,
    age,
};
use p256::elliptic_curve::sec1::ToSec1Point;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

const MESSAGE: &[u8] = b"only a test";

fn seal(recipients: &[Recipient]) -> Vec<u8> {
    let mut writer = SealWriter::new(recipients, Vec::new(), SealOptions::default()).unwrap();
    writer.write_all(MESSAGE).unwrap();
    writer.finish().unwrap()
}

/// Seals with the age crate alone.
fn seal_with_age(recipient: &dyn age::Recipient) -> Vec<u8> {
    let encryptor = age::Encryptor::with_recipients(iter::once(recipient)).unwrap();
    let mut file = Vec::new();
    let mut writer = encryptor.wrap_output(&mut file).unwrap();
    writer.write_all(MESSAGE).unwrap();
    writer.finish().unwrap();
    file
}

fn read_header(file: &[u8]) -> Header {
    Header::read(&mut &*file).unwrap()
}

fn open_token(file: &[u8], token: &mut SoftToken) -> Result<Vec<u8>, Error> {
    let header = Header::read(&mut &*file)?;
    let file_key = header.unwrap_token(token)?;
    let mut plaintext = Vec::new();
    OpenReader::new(&file[header.len()..], &file_key, 1)?
        .read_to_end(&mut plaintext)
        .map_err(Error::from_io)?;
    Ok(plaintext)
}

/// A file with one stanza of our making.
struct Handmade(Vec<(&'static str, Vec<String>, Vec<u8>)>);

impl age::Recipient for Handmade {
    fn wrap_file_key(
        &self,
        _: &age_core::format::FileKey,
    ) -> Result<(Vec<age_core::format::Stanza>, HashSet<String>), age::EncryptError> {
        let stanza = |(tag, args, body): &(&str, Vec<String>, Vec<u8>)| age_core::format::Stanza {
            tag: (*tag).to_owned(),
            args: args.clone(),
            body: body.clone(),
        };
        Ok((self.0.iter().map(stanza).collect(), HashSet::new()))
    }
}

#[test]
fn several_hundred_hybrid_files_of_the_age_crate_open() {
    for _ in 0..300 {
        let mut token = SoftToken::new(Suite::Hybrid);
        let recipient: age::tagpq::Recipient = token.recipient().to_string().parse().unwrap();
        let file = seal_with_age(&recipient);
        assert!(read_header(&file).addressed_to(&token.recipient()));
        assert_eq!(open_token(&file, &mut token).unwrap(), MESSAGE);
        assert_eq!((token.ecdh_count, token.seed_count), (1, 1));
    }
}

#[test]
fn a_hundred_classic_files_of_the_age_crate_open() {
    for _ in 0..100 {
        let mut token = SoftToken::new(Suite::Classic);
        let recipient: age::tag::Recipient = token.recipient().to_string().parse().unwrap();
        let file = seal_with_age(&recipient);
        assert!(read_header(&file).addressed_to_point(&token.point()));
        assert_eq!(open_token(&file, &mut token).unwrap(), MESSAGE);
        assert_eq!((token.ecdh_count, token.seed_count), (1, 0));
    }
}

#[test]
fn one_of_many_recipients_is_enough() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let mut tokens = [(); 3].map(|()| SoftToken::new(suite));
        let identity = SoftIdentity::generate(suite).unwrap();
        let mut recipients: Vec<_> = tokens.iter().map(SoftToken::recipient).collect();
        recipients.push(identity.recipient().unwrap());
        let file = seal(&recipients);
        for token in &mut tokens {
            assert_eq!(open_token(&file, token).unwrap(), MESSAGE);
            assert_eq!(token.ecdh_count, 1);
        }
        let header = read_header(&file);
        assert!(header.unwrap_soft(&identity).is_ok());
        assert!(!header.addressed_to(&recipients[3]), "a key in software has no tag");
        let kinds: Vec<_> = header.stanza_kinds().filter(|kind| !kind.ends_with("-grease")).collect();
        let expected = match suite {
            Suite::Hybrid => ["mlkem768p256tag", "mlkem768p256tag", "mlkem768p256tag", "mlkem768x25519"],
            Suite::Classic => ["p256tag", "p256tag", "p256tag", "X25519"],
        };
        assert_eq!(kinds, expected);
        let digest: [u8; 32] = Sha256::digest(&file[..header.len()]).into();
        assert_eq!(header.digest(), digest);
    }
}

#[test]
fn a_foreign_token_is_not_asked() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let file = seal(&[SoftToken::new(suite).recipient()]);
        let mut stranger = SoftToken::new(suite);
        assert!(!read_header(&file).addressed_to(&stranger.recipient()));
        assert!(matches!(open_token(&file, &mut stranger), Err(Error::NoMatch)));
        assert_eq!(stranger.ecdh_count, 0);
        let other = SoftIdentity::generate(suite).unwrap();
        assert!(matches!(read_header(&file).unwrap_soft(&other), Err(Error::NoMatch)));
    }
}

#[test]
fn a_wrong_seed_is_an_error_of_its_own() {
    let mut token = SoftToken::new(Suite::Hybrid);
    let file = seal(&[token.recipient()]);
    // Either half: d gives another key, z alone only another implicit rejection.
    let right = *token.seed.as_ref().unwrap().expose();
    token.seed = Some(MlKemSeed::init_with(|bytes| {
        *bytes = right;
        bytes[0] ^= 1;
    }));
    assert!(matches!(open_token(&file, &mut token), Err(Error::Seed)));
    assert_eq!(token.ecdh_count, 1, "it is not tried again");
    token.seed = None;
    assert!(matches!(open_token(&file, &mut token), Err(Error::Token(_))));
}

#[test]
fn a_refusal_of_the_token_comes_through() {
    let mut token = SoftToken::new(Suite::Hybrid);
    let file = seal(&[token.recipient()]);
    token.refusal = Some("not touched");
    let Err(Error::Token(error)) = open_token(&file, &mut token) else { panic!("it opened") };
    assert_eq!(error.to_string(), "not touched");
    assert_eq!((token.ecdh_count, token.seed_count), (1, 0));
}

/// A file sealed in several ways to one token costs one touch; hybrid goes before classic.
#[test]
fn one_touch_whatever_the_header_says() {
    struct Both(age::tag::Recipient, age::tagpq::Recipient);
    impl age::Recipient for Both {
        fn wrap_file_key(
            &self,
            file_key: &age_core::format::FileKey,
        ) -> Result<(Vec<age_core::format::Stanza>, HashSet<String>), age::EncryptError> {
            let (mut stanzas, _) = self.0.wrap_file_key(file_key)?;
            stanzas.extend(self.0.wrap_file_key(file_key)?.0);
            stanzas.extend(self.1.wrap_file_key(file_key)?.0);
            Ok((stanzas, HashSet::new()))
        }
    }
    let mut token = SoftToken::new(Suite::Hybrid);
    let classic = Recipient::token(Suite::Classic, &token.point(), None).unwrap();
    let both = Both(classic.to_string().parse().unwrap(), token.recipient().to_string().parse().unwrap());
    let file = seal_with_age(&both);
    assert_eq!(open_token(&file, &mut token).unwrap(), MESSAGE);
    assert_eq!((token.ecdh_count, token.seed_count), (1, 1));
}

#[test]
fn a_changed_header_is_noticed() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let mut token = SoftToken::new(suite);
        let file = seal(&[token.recipient(), SoftToken::new(suite).recipient()]);
        let header = read_header(&file);
        // Another stanza is put in front; what was sealed stays as it was.
        let first_line = b"age-encryption.org/v1\n".len();
        let mut changed = file[..first_line].to_vec();
        changed.extend_from_slice(b"-> something else\n\n");
        changed.extend_from_slice(&file[first_line..]);
        assert!(matches!(open_token(&changed, &mut token), Err(Error::HeaderMac)));
        assert_eq!(token.ecdh_count, 1);
        // Whatever bit is flipped, it never opens and never panics.
        for at in 0..header.len() {
            let mut flipped = file.clone();
            flipped[at] ^= 1 << (at % 8);
            assert!(open_token(&flipped, &mut token).is_err(), "byte {at}");
        }
        for end in 0..header.len() {
            assert!(Header::read(&mut &file[..end]).is_err(), "cut at {end}");
        }
    }
}

/// A stanza of age-plugin-yubikey, made as its source describes it.
#[test]
fn files_of_age_plugin_yubikey_open() {
    struct Yubikey([u8; 65]);
    impl age::Recipient for Yubikey {
        fn wrap_file_key(
            &self,
            file_key: &age_core::format::FileKey,
        ) -> Result<(Vec<age_core::format::Stanza>, HashSet<String>), age::EncryptError> {
            let to = p256::PublicKey::from_sec1_bytes(&self.0).unwrap();
            let own = to.to_sec1_point(true);
            let ephemeral = p256::SecretKey::from_slice(&[7; 32]).unwrap();
            let epk = ephemeral.public_key().to_sec1_point(true);
            let dh = p256::ecdh::diffie_hellman(ephemeral.to_nonzero_scalar(), to.as_affine());
            let salt = [epk.as_bytes(), own.as_bytes()].concat();
            let mut key = [0; 32];
            Hkdf::<Sha256>::new(Some(&salt), dh.raw_secret_bytes()).expand(b"piv-p256", &mut key).unwrap();
            let key = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key).unwrap());
            let mut body = file_key.expose_secret().to_vec();
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            key.seal_in_place_append_tag(nonce, Aad::empty(), &mut body).unwrap();
            let tag = BASE64.encode(&Sha256::digest(own.as_bytes())[..4]);
            let args = vec![tag, BASE64.encode(epk.as_bytes())];
            let stanza = age_core::format::Stanza { tag: "piv-p256".to_owned(), args, body };
            Ok((vec![stanza], HashSet::new()))
        }
    }
    let mut token = SoftToken::new(Suite::Classic);
    let file = seal_with_age(&Yubikey(token.point()));
    assert!(read_header(&file).addressed_to_point(&token.point()));
    assert_eq!(open_token(&file, &mut token).unwrap(), MESSAGE);
    let mut stranger = SoftToken::new(Suite::Classic);
    assert!(matches!(open_token(&file, &mut stranger), Err(Error::NoMatch)));
    assert_eq!(stranger.ecdh_count, 0);
}

/// A stanza with the right tag and a point that is not on the curve: the token never sees it.
#[test]
fn an_invalid_point_never_reaches_a_token() {
    let mut token = SoftToken::new(Suite::Classic);
    let own = p256::PublicKey::from_sec1_bytes(&token.point()).unwrap().to_sec1_point(true);
    let mut enc = token.point();
    enc[64] ^= 1;
    let salt = b"age-encryption.org/p256tag";
    let ikm = [enc.as_slice(), &Sha256::digest(own.as_bytes())[..4]].concat();
    let (tag, _) = Hkdf::<Sha256>::extract(Some(salt), &ikm);
    let args = vec![BASE64.encode(&tag[..4]), BASE64.encode(enc)];
    let file = seal_with_age(&Handmade(vec![("p256tag", args, vec![0; 32])]));
    assert!(matches!(open_token(&file, &mut token), Err(Error::Header(_))));
    assert_eq!(token.ecdh_count, 0);
}

#[test]
fn malformed_token_stanzas_are_refused() {
    let tag = || BASE64.encode([0; 4]);
    let cases: Vec<(&'static str, Vec<String>, Vec<u8>)> = vec![
        ("p256tag", vec![], vec![0; 32]),
        ("p256tag", vec![tag(), BASE64.encode([4; 64])], vec![0; 32]),
        ("p256tag", vec![tag(), BASE64.encode([4; 65])], vec![0; 33]),
        ("p256tag", vec![BASE64.encode([0; 5]), BASE64.encode([4; 65])], vec![0; 32]),
        ("p256tag", vec!["AAAAA_".to_owned(), BASE64.encode([4; 65])], vec![0; 32]),
        ("mlkem768p256tag", vec![tag()], vec![0; 32]),
        ("mlkem768p256tag", vec![tag(), BASE64.encode([0; 1152])], vec![0; 32]),
        ("mlkem768p256tag", vec![tag(), BASE64.encode([0; 1153]), tag()], vec![0; 32]),
        ("mlkem768p256tag", vec![tag(), BASE64.encode([0; 1153])], vec![0; 31]),
        ("piv-p256", vec![tag(), BASE64.encode([2; 65])], vec![0; 32]),
        ("piv-p256", vec![tag(), BASE64.encode([2; 33])], vec![0; 48]),
    ];
    for case in cases {
        let mut token = SoftToken::new(Suite::Hybrid);
        let name = format!("{case:?}");
        let file = seal_with_age(&Handmade(vec![case]));
        assert!(matches!(open_token(&file, &mut token), Err(Error::Header(_))), "{name}");
        assert!(!read_header(&file).addressed_to_point(&token.point()));
        assert_eq!(token.ecdh_count, 0);
    }
}

#[test]
fn suites_are_never_mixed() {
    let hybrid = SoftToken::new(Suite::Hybrid).recipient();
    let classic = SoftIdentity::generate(Suite::Classic).unwrap().recipient().unwrap();
    let mixed = SealWriter::new(&[hybrid, classic], Vec::new(), SealOptions::default());
    assert!(matches!(mixed, Err(Error::MixedSuites)));
    assert!(matches!(SealWriter::new(&[], Vec::new(), SealOptions::default()), Err(Error::NoRecipients)));
    assert!("hybrid".parse::<Suite>().is_ok_and(|suite| suite == Suite::Hybrid));
    assert_eq!(Suite::Classic.to_string(), "classic");
    assert!("Hybrid".parse::<Suite>().is_err());
}

#[test]
fn recipients_are_canonical() {
    let classic = "age1tag1qt8lw0ual6avlwmwatk888yqnmdamm7xfd0wak53ut6elz5c4swx2yqdj4e";
    let recipients = [
        classic.parse().unwrap(),
        SoftToken::new(Suite::Hybrid).recipient(),
        SoftIdentity::generate(Suite::Hybrid).unwrap().recipient().unwrap(),
        SoftIdentity::generate(Suite::Classic).unwrap().recipient().unwrap(),
    ];
    for (recipient, (start, length)) in
        recipients.iter().zip([("age1tag1", 67), ("age1tagpq1", 2015), ("age1pq1", 1959), ("age1", 62)])
    {
        let text = recipient.to_string();
        assert!(text.starts_with(start) && text.len() == length, "{text}");
        assert_eq!(&text.parse::<Recipient>().unwrap(), recipient);
        assert_eq!(format!("{recipient:?}"), text);
        let mut broken = text.clone().into_bytes();
        *broken.last_mut().unwrap() = if broken.ends_with(b"q") { b"p" } else { b"q" }[0];
        for wrong in [
            text.to_uppercase(),
            format!(" {text}"),
            format!("{text}\n"),
            text[..text.len() - 1].to_owned(),
            String::from_utf8(broken).unwrap(),
            String::new(),
        ] {
            assert!(matches!(wrong.parse::<Recipient>(), Err(Error::Recipient { .. })), "{wrong}");
        }
    }
    let unknown = "age1yubikey1qt8lw0ual6avldmd6hdqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzv6w4h";
    let Err(Error::Recipient { reason }) = unknown.parse::<Recipient>() else { panic!("accepted") };
    assert_eq!(reason, "its kind is not known");
}

#[test]
fn invalid_public_keys_are_refused() {
    let token = SoftToken::new(Suite::Hybrid);
    let ek = token.seed.as_ref().unwrap().encapsulation_key();
    let point = token.point();
    let refused = |suite, point: &[u8; 65], ek: Option<&[u8; 1184]>| {
        matches!(Recipient::token(suite, point, ek), Err(Error::Recipient { .. }))
    };
    assert!(Recipient::token(Suite::Hybrid, &point, Some(&ek)).is_ok());
    assert!(refused(Suite::Hybrid, &point, None));
    assert!(refused(Suite::Classic, &point, Some(&ek)));
    let mut off_curve = point;
    off_curve[40] ^= 1;
    assert!(refused(Suite::Classic, &off_curve, None));
    let mut form = point;
    form[0] = 6 | (point[64] & 1);
    assert!(refused(Suite::Classic, &form, None), "SEC1's hybrid form");
    // The first coefficient becomes 4095, which is not below q = 3329.
    let mut modulus = ek;
    modulus[0] = 0xff;
    modulus[1] |= 0x0f;
    assert!(refused(Suite::Hybrid, &point, Some(&modulus)));
    // The age crate panics when it seals to such a one.
    let low = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z";
    let Err(Error::Recipient { reason }) = low.parse::<Recipient>() else { panic!("accepted") };
    assert_eq!(reason, "its X25519 key has a low order");
}

#[test]
fn identities_have_one_text() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let identity = SoftIdentity::from_seed(suite, &[42; 32]).unwrap();
        let text = identity.to_secret_string();
        let text = text.expose_secret();
        let again: SoftIdentity = text.parse().unwrap();
        assert_eq!(again.recipient().unwrap(), identity.recipient().unwrap());
        assert_eq!(again.suite(), suite);
        assert!(!format!("{identity:?}").contains(&text[18..]), "Debug is redacted");
        assert!(text.to_lowercase().parse::<SoftIdentity>().is_err());
        assert!(text[..text.len() - 1].parse::<SoftIdentity>().is_err());
        // A file sealed to its recipient opens, and by the age crate too where it knows the kind.
        let file = seal(&[identity.recipient().unwrap()]);
        assert!(read_header(&file).unwrap_soft(&again).is_ok());
        if suite == Suite::Classic {
            let identity: age::x25519::Identity = text.parse().unwrap();
            let mut plaintext = Vec::new();
            let decryptor = age::Decryptor::new(&*file).unwrap();
            let mut reader = decryptor.decrypt(iter::once(&identity as &dyn age::Identity)).unwrap();
            reader.read_to_end(&mut plaintext).unwrap();
            assert_eq!(plaintext, MESSAGE);
        }
    }
}

#[test]
fn headers_are_bounded() {
    assert!(matches!(Header::read(&mut std::io::empty()), Err(Error::NotAge)));
    assert!(matches!(Header::read(&mut &b"PK\x03\x04"[..]), Err(Error::NotAge)));
    assert!(matches!(Header::read(&mut &b"age-encryption.org/v2\nmore"[..]), Err(Error::Header(_))));
    // Input without end, as one line, as many lines, and as many stanzas.
    for endless in ["x", "-> x\n", "-> a\n\n"] {
        let mut endless =
            b"age-encryption.org/v1\n".chain(Repeat { text: endless.as_bytes().to_vec(), at: 0 });
        assert!(matches!(Header::read(&mut endless), Err(Error::Header(_))));
    }
    let mut many = b"age-encryption.org/v1\n".to_vec();
    many.extend(b"-> a\n\n".repeat(5000));
    many.extend_from_slice(format!("--- {}\n", BASE64.encode([0; 32])).as_bytes());
    assert!(matches!(Header::read(&mut &*many), Err(Error::Header("it has too many stanzas"))));
}

struct Repeat {
    text: Vec<u8>,
    at: usize,
}

impl Read for Repeat {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        for byte in buf.iter_mut() {
            *byte = self.text[self.at];
            self.at = (self.at + 1) % self.text.len();
        }
        Ok(buf.len())
    }
}
