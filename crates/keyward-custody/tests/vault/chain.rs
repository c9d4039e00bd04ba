//! Generations, forks, gaps, rollbacks and signatures: `docs/formats.md`, "Chain of generations".

use keyward_age::Suite;
use keyward_custody::{
    Class, Confirmation, Draft, Error, Generation, Name, Pins, SignatureError, Statement, Thresholds,
    Timestamp, Unpinned, VaultFile, VaultFiles, Verified, verify_chain,
};
use serde_json::json;

use crate::fixed::{edited, first, name, public_key, put, put_bytes, sign, time, token};

const SUITE: Suite = Suite::Classic;

fn later() -> Timestamp {
    time("2026-12-24T16:00:00Z")
}

fn generation(number: u32) -> Generation {
    Generation::new(number).unwrap()
}

/// A vault of these holders, generation 1 signed by all of them, trusted.
struct Vault {
    files: VaultFiles,
    pins: Pins,
    now: Verified<Statement>,
}

impl Vault {
    fn new(holders: &[&str]) -> Vault {
        Vault::from(&first(SUITE, holders), holders)
    }

    fn from(draft: &Draft, signers: &[&str]) -> Vault {
        let mut files = VaultFiles::new();
        put(&mut files, &draft.build().unwrap(), signers);
        let (pins, now) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
        Vault { files, pins, now }
    }

    /// The next generation, changed like this.
    fn next(&self, change: impl FnOnce(&mut Draft)) -> Statement {
        let mut draft = Draft::after(&self.now, later());
        change(&mut draft);
        draft.build().unwrap()
    }

    fn verify(&self) -> Result<Verified<Statement>, Error> {
        verify_chain(&self.files, &self.pins)
    }

    /// Adds this generation and goes on from it.
    fn advance(&mut self, statement: &Statement, signers: &[&str]) {
        put(&mut self.files, statement, signers);
        self.now = self.verify().unwrap();
        assert_eq!(self.now.statement(), statement);
    }

    /// What a reader says of this next generation with these signatures.
    fn try_next(&self, statement: &Statement, signers: &[&str]) -> Result<Verified<Statement>, Error> {
        let mut files = self.files.clone();
        put(&mut files, statement, signers);
        verify_chain(&files, &self.pins)
    }
}

fn remove(draft: &mut Draft, holder: &str) {
    draft.holders.remove(&name(holder));
    draft.policy = draft.holders.keys().map(Name::as_str).collect::<Vec<_>>().join(" or ").parse().unwrap();
    draft.no_recovery = true;
}

fn without(files: &VaultFiles, gone: &[&str]) -> VaultFiles {
    let mut kept = VaultFiles::new();
    for number in 1..10 {
        let generation = generation(number);
        let statement = VaultFile::Statement(generation);
        if let Some(bytes) =
            files.statement(generation).filter(|_| !gone.contains(&statement.to_string().as_str()))
        {
            kept.insert(statement, bytes.to_vec());
        }
        for (signer, bytes) in files.signatures(generation) {
            let file = VaultFile::Signature(generation, signer.clone());
            if !gone.contains(&file.to_string().as_str()) {
                kept.insert(file, bytes.to_vec());
            }
        }
    }
    kept
}

#[test]
fn a_vault_of_three_generations() {
    let mut vault = Vault::new(&["alice", "bob"]);
    let candidates = vault.now.opener_candidates();
    assert_eq!(candidates.iter().map(|c| c.name.as_str()).collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(candidates[1].archive_point, crate::fixed::point("bob archive"));
    assert_eq!(candidates[1].card_proof, Some(crate::fixed::point("bob card proof")));
    assert_eq!(candidates[1].serial, Some(11_110_002));
    assert_eq!(vault.now.recipients()[0].1, token(SUITE, "alice", 1).archive);
    assert_eq!(vault.now.holders().len(), 2);

    let second = vault.next(|_| {});
    vault.advance(&second, &["bob"]);
    let third = vault.next(|draft| remove(draft, "bob"));
    // bob is an admin, who would stay one: that is no routine matter, and root is 1 here.
    vault.advance(&third, &["alice"]);
    assert_eq!(vault.now.statement().generation(), generation(3));
    assert_eq!(vault.now.recipients().len(), 1);

    let newer = vault.pins.advance(&vault.now).unwrap().unwrap();
    assert_eq!((newer.generation(), newer.digest()), (generation(3), third.digest()));
    assert_eq!(newer.fingerprint(), vault.pins.fingerprint());
    assert!(newer.advance(&vault.now).unwrap().is_none());
    // What was verified before needs neither its signatures nor the generations below.
    let rest = without(&vault.files, &["0001.json", "0002.json", "0003.alice.sig"]);
    assert_eq!(verify_chain(&rest, &newer).unwrap().statement(), &third);
}

#[test]
fn first_trust() {
    let draft = first(SUITE, &["alice", "bob"]);
    let statement = draft.build().unwrap();
    let mut files = VaultFiles::new();
    assert!(matches!(Unpinned::read(&files), Err(Error::NoStatement)));
    put(&mut files, &statement, &["alice"]);
    let missing = Unpinned::read(&files).unwrap_err();
    assert!(matches!(missing, Error::Unsigned { have: 1, needed: 2, .. }), "{missing}");
    put(&mut files, &statement, &["bob"]);

    let unpinned = Unpinned::read(&files).unwrap();
    assert_eq!(unpinned.fingerprint().digest(), statement.digest());
    for right in [unpinned.fingerprint().to_string(), unpinned.fingerprint().words().to_string()] {
        let claim = Confirmation::Fingerprint(right.parse().unwrap());
        assert!(unpinned.clone().trust(&claim, true).is_ok());
        let refused = unpinned.clone().trust(&claim, false).unwrap_err();
        assert!(matches!(refused, Error::TestVault { .. }));
        assert_eq!(refused.class(), Class::Refused);
    }
    for wrong in ["0".repeat(64), "zoo ".repeat(8)] {
        let claim = Confirmation::Fingerprint(wrong.parse().unwrap());
        assert!(matches!(unpinned.clone().trust(&claim, true), Err(Error::OtherFingerprint { .. })));
    }
    assert!(unpinned.trust(&Confirmation::ComparedByPerson, true).is_ok());

    let wrong_signer = |signer: &str, label: &str| {
        let mut files = files.clone();
        files.insert(VaultFile::Signature(Generation::FIRST, name(signer)), sign(label, statement.bytes()));
        Unpinned::read(&files).unwrap_err()
    };
    assert!(matches!(wrong_signer("mallory", "mallory signing"), Error::UnknownSigner { .. }));
    let reason = |error| match error {
        Error::BadSignature { reason, .. } => reason,
        other => panic!("{other}"),
    };
    assert_eq!(reason(wrong_signer("bob", "alice signing")), SignatureError::OtherKey);
    let no_first = without(&files, &["0001.json"]);
    assert!(matches!(Unpinned::read(&no_first), Err(Error::NoStatement)));
}

#[test]
fn rolled_back() {
    let mut vault = Vault::new(&["alice", "bob"]);
    let old = vault.files.clone();
    vault.advance(&vault.next(|_| {}), &["alice"]);
    let pins = vault.pins.advance(&vault.now).unwrap().unwrap();
    let error = verify_chain(&old, &pins).unwrap_err();
    assert!(
        matches!(&error, Error::RolledBack { pinned, found } if (pinned.number(), found.number()) == (2, 1))
    );
    assert_eq!(error.class(), Class::NotVerified);
    assert!(error.to_string().contains("rolled back below generation 2"), "{error}");
    assert!(matches!(verify_chain(&VaultFiles::new(), &pins), Err(Error::NoStatement)));
}

#[test]
fn gaps() {
    let mut vault = Vault::new(&["alice", "bob"]);
    for _ in 0..3 {
        vault.advance(&vault.next(|_| {}), &["alice"]);
    }
    for (gone, number) in [("0001.json", 1), ("0002.json", 2), ("0003.json", 3)] {
        let files = without(&vault.files, &[gone]);
        let error = verify_chain(&files, &vault.pins).unwrap_err();
        assert!(
            matches!(&error, Error::Gap { missing, above } if (missing.number(), above.number()) == (number, 4)),
            "{gone}: {error}"
        );
        assert!(matches!(Unpinned::read(&files), Err(Error::Gap { .. })));
    }
}

#[test]
fn edited_statements() {
    let mut vault = Vault::new(&["alice", "bob"]);
    let one = vault.now.statement().clone();
    let two = vault.next(|_| {});
    vault.advance(&two, &["alice"]);
    let later_expiry =
        |statement: &Statement| edited(statement, |v| v["expires"] = json!("2099-01-01T00:00:00Z"));

    // The pinned one, edited: without a signature over it, and with one.
    let mut files = vault.files.clone();
    files.insert(VaultFile::Statement(generation(1)), later_expiry(&one));
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(matches!(&error, Error::Edited { expected, .. } if *expected == one.digest()), "{error}");
    put_bytes(&mut files, 1, &later_expiry(&one), &["bob"]);
    assert!(matches!(verify_chain(&files, &vault.pins), Err(Error::Fork { .. })));

    // A later one, edited.
    let mut files = vault.files.clone();
    files.insert(VaultFile::Statement(generation(2)), later_expiry(&two));
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(
        matches!(&error, Error::BadSignature { signer, reason: SignatureError::Mismatch, .. } if signer.as_str() == "alice"),
        "{error}"
    );
}

#[test]
fn forks() {
    let mut vault = Vault::new(&["alice", "bob"]);
    let mut other = Vault::new(&["alice", "bob"]);
    vault.advance(&vault.next(|_| {}), &["alice"]);
    other.advance(&other.next(|draft| draft.expires = time("2030-01-01T00:00:00Z")), &["alice"]);
    let pins = vault.pins.advance(&vault.now).unwrap().unwrap();

    // Another generation 2, signed as well.
    let error = verify_chain(&other.files, &pins).unwrap_err();
    assert!(matches!(&error, Error::Fork { generation, .. } if generation.number() == 2), "{error}");
    // A generation 3 that follows it.
    let third = other.next(|_| {});
    let error = vault.try_next(&third, &["alice"]).unwrap_err();
    assert!(
        matches!(&error, Error::Fork { generation, expected, .. }
            if generation.number() == 3 && *expected == vault.now.statement().digest()),
        "{error}"
    );
}

#[test]
fn another_vault() {
    let vault = Vault::new(&["alice", "bob"]);
    let foreign = edited(vault.now.statement(), |v| v["vault"] = json!("00".repeat(16)));
    let mut files = VaultFiles::new();
    put_bytes(&mut files, 1, &foreign, &["alice", "bob"]);
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(
        matches!(&error, Error::OtherVault { found, .. } if found.to_string() == "00".repeat(16)),
        "{error}"
    );

    let two = vault.next(|_| {});
    let mut files = vault.files.clone();
    put_bytes(&mut files, 2, &edited(&two, |v| v["vault"] = json!("00".repeat(16))), &["alice"]);
    assert!(matches!(verify_chain(&files, &vault.pins), Err(Error::OtherVault { .. })));
}

#[test]
fn what_never_changes() {
    let vault = Vault::new(&["alice", "bob"]);
    let mut real = vault.next(|_| {});
    for (member, new, said) in [("name", json!("house"), "name"), ("test", json!(false), "test mark")] {
        let bytes = edited(&real, |v| {
            v[member] = new;
            for holder in ["alice", "bob"] {
                v["holders"][holder]["verdict"] = json!("verified");
            }
        });
        let mut files = vault.files.clone();
        put_bytes(&mut files, 2, &bytes, &["alice", "bob"]);
        let error = verify_chain(&files, &vault.pins).unwrap_err();
        assert!(matches!(&error, Error::FixedMember { member, .. } if *member == said), "{error}");
    }
    // The suite: every recipient of the other kind with it.
    let mut hybrid = first(Suite::Hybrid, &["alice", "bob"]);
    hybrid.expires = later();
    real = hybrid.build().unwrap();
    let bytes = edited(&real, |v| {
        v["generation"] = json!(2);
        v["previous"] = json!(vault.now.statement().digest().to_string());
    });
    let mut files = vault.files.clone();
    put_bytes(&mut files, 2, &bytes, &["alice", "bob"]);
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(matches!(&error, Error::FixedMember { member: "suite", .. }), "{error}");
}

#[test]
fn misplaced_and_unreadable_statements() {
    let vault = Vault::new(&["alice", "bob"]);
    let two = vault.next(|_| {});
    let mut files = vault.files.clone();
    put_bytes(&mut files, 2, &edited(&two, |v| v["generation"] = json!(3)), &["alice"]);
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(
        matches!(&error, Error::WrongNumber { file, inside } if (file.number(), inside.number()) == (2, 3))
    );
    for (what, bytes) in [
        ("text", b"hello".to_vec()),
        ("emulated", edited(&two, |v| v["test"] = json!(false))),
        ("holder", edited(&two, |v| v["policy"] = json!("alice"))),
    ] {
        let mut files = vault.files.clone();
        put_bytes(&mut files, 2, &bytes, &["alice"]);
        let error = verify_chain(&files, &vault.pins).unwrap_err();
        assert!(
            matches!(&error, Error::Statement { generation, .. } if generation.number() == 2),
            "{what}: {error}"
        );
        assert_eq!(error.class(), Class::NotVerified);
    }
}

#[test]
fn an_unfinished_generation_above() {
    let vault = Vault::new(&["alice", "bob"]);
    let two = vault.next(|_| {});
    let unsigned = vault.try_next(&two, &[]).unwrap();
    assert_eq!(unsigned.statement().generation(), generation(1));
    assert_eq!(unsigned.unfinished(), Some(generation(2)));
    assert_eq!(vault.try_next(&two, &["alice"]).unwrap().unfinished(), None);
    // Below another one it is no leftover.
    let mut chained = Vault::new(&["alice", "bob"]);
    chained.advance(&two, &["alice"]);
    chained.advance(&chained.next(|_| {}), &["alice"]);
    let files = without(&chained.files, &["0002.alice.sig"]);
    let error = verify_chain(&files, &chained.pins).unwrap_err();
    assert!(
        matches!(&error, Error::Unsigned { generation, have: 0, needed: 1, .. } if generation.number() == 2)
    );
}

#[test]
fn who_has_to_sign() {
    let mut draft = first(SUITE, &["alice", "bob", "carol", "dave"]);
    draft.thresholds = Some(Thresholds { root: 3, routine: 2 });
    draft.admins.remove(&name("dave"));
    let vault = Vault::from(&draft, &["alice", "bob", "carol"]);
    type Edit = fn(&mut Draft);
    let routine: [(&str, Edit); 2] = [("dates", |_| {}), ("dave leaves", |draft| remove(draft, "dave"))];
    let root: [(&str, Edit); 6] = [
        ("requirements", |draft| draft.require = "touch = always".parse().unwrap()),
        ("an admin leaves", |draft| remove(draft, "carol")),
        ("a holder's token is another", |draft| {
            draft.holders.remove(&name("dave"));
            let admin = draft.admins.clone();
            draft.add_token(name("dave"), token(SUITE, "erin", 5));
            draft.admins = admin;
        }),
        ("a holder more", |draft| {
            let admin = draft.admins.clone();
            draft.add_token(name("erin"), token(SUITE, "erin", 5));
            draft.admins = admin;
            draft.policy = "alice or bob or carol or dave or erin".parse().unwrap();
        }),
        ("thresholds", |draft| draft.thresholds = Some(Thresholds { root: 2, routine: 1 })),
        ("an admin more", |draft| {
            draft.admins.insert(name("dave"), draft.holders[&name("dave")].token().unwrap().signing.key);
        }),
    ];
    let in_force = |statement: &Statement, signers: &[&str]| {
        vault.try_next(statement, signers).unwrap().unfinished().is_none()
    };
    for (what, edit) in routine {
        let next = vault.next(edit);
        assert!(!in_force(&next, &["alice"]), "{what}");
        assert!(in_force(&next, &["alice", "carol"]), "{what}");
    }
    for (what, edit) in root {
        let next = vault.next(edit);
        assert!(!in_force(&next, &["alice", "carol"]), "{what}");
        assert!(in_force(&next, &["alice", "bob", "carol"]), "{what}");
    }
}

#[test]
fn new_admins_sign_too() {
    let mut draft = first(SUITE, &["alice", "bob"]);
    draft.thresholds = Some(Thresholds { root: 2, routine: 1 });
    let vault = Vault::from(&draft, &["alice", "bob"]);
    // erin and frank take over: the old admins have to agree, and the new ones to hold their keys.
    let next = vault.next(|draft| {
        for leaving in ["alice", "bob"] {
            draft.holders.remove(&name(leaving));
            draft.admins.remove(&name(leaving));
        }
        draft.add_token(name("erin"), token(SUITE, "erin", 5));
        draft.add_token(name("frank"), token(SUITE, "frank", 6));
        draft.policy = "erin or frank".parse().unwrap();
    });
    for (signers, in_force) in [
        (&["erin", "frank"][..], false),
        (&["alice", "bob"], false),
        (&["alice", "erin", "frank"], false),
        (&["alice", "bob", "erin"], false),
        (&["alice", "bob", "erin", "frank"], true),
    ] {
        assert_eq!(vault.try_next(&next, signers).unwrap().unfinished().is_none(), in_force, "{signers:?}");
    }
    let error = vault.try_next(&next, &["alice", "bob", "erin", "frank", "mallory"]).unwrap_err();
    assert!(matches!(&error, Error::UnknownSigner { signer, .. } if signer.as_str() == "mallory"), "{error}");
}

#[test]
fn a_name_that_gets_another_key() {
    let vault = Vault::new(&["alice", "bob"]);
    // alice's token is replaced under her name; her signature file can be made with the new key only.
    let next = vault.next(|draft| {
        draft.add_token(name("alice"), token(SUITE, "alice2", 7));
    });
    let mut files = vault.files.clone();
    put(&mut files, &next, &["bob"]);
    files.insert(VaultFile::Signature(generation(2), name("alice")), sign("alice2 signing", next.bytes()));
    let verified = verify_chain(&files, &vault.pins).unwrap();
    assert_eq!(verified.statement().admins()[&name("alice")], public_key("alice2 signing"));
    // Alone, it is no signature of the admins before.
    let alone = without(&files, &["0002.bob.sig"]);
    assert_eq!(verify_chain(&alone, &vault.pins).unwrap().unfinished(), Some(generation(2)));
}

#[test]
fn one_signature_counts_once() {
    let mut draft = first(SUITE, &["alice", "bob"]);
    draft.thresholds = Some(Thresholds { root: 2, routine: 2 });
    let vault = Vault::from(&draft, &["alice", "bob"]);
    let next = vault.next(|_| {});
    let mut files = vault.files.clone();
    put(&mut files, &next, &["alice"]);
    files.insert(VaultFile::Signature(generation(2), name("bob")), sign("alice signing", next.bytes()));
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(
        matches!(&error, Error::BadSignature { signer, reason: SignatureError::OtherKey, .. } if signer.as_str() == "bob"),
        "{error}"
    );
    let twice = [sign("alice signing", next.bytes()), sign("bob signing", next.bytes())].concat();
    files.insert(VaultFile::Signature(generation(2), name("bob")), twice);
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(matches!(&error, Error::BadSignature { reason: SignatureError::Malformed(_), .. }), "{error}");
}

#[test]
fn a_signature_for_something_else() {
    let vault = Vault::new(&["alice", "bob"]);
    let next = vault.next(|_| {});
    let mut files = vault.files.clone();
    put(&mut files, &next, &[]);
    let one = sign("alice signing", vault.now.statement().bytes());
    files.insert(VaultFile::Signature(generation(2), name("alice")), one);
    let error = verify_chain(&files, &vault.pins).unwrap_err();
    assert!(matches!(&error, Error::BadSignature { reason: SignatureError::Mismatch, .. }), "{error}");
}

#[test]
fn pins_that_lie() {
    let vault = Vault::new(&["alice", "bob"]);
    let bytes = vault.pins.to_bytes().unwrap();
    assert_eq!(Pins::parse(&bytes).unwrap(), vault.pins);
    let lie = |pointer: &str, new: serde_json::Value| {
        let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        *value.pointer_mut(pointer).unwrap() = new;
        Pins::parse(&serde_json_canonicalizer::to_vec(&value).unwrap())
    };
    assert!(matches!(lie("/fingerprint", json!("00".repeat(32))), Err(Error::Pins { .. })));
    assert!(matches!(lie("/format", json!("keyward-pins-v2")), Err(Error::Malformed { .. })));
    assert!(matches!(Pins::parse(&[&bytes[..], b"\n"].concat()), Err(Error::NotCanonical { .. })));
    let verify = |pins: Pins| verify_chain(&vault.files, &pins).unwrap_err();
    assert!(matches!(verify(lie("/name", json!("house")).unwrap()), Error::Pins { .. }));
    let admins = json!({"alice": public_key("mallory signing").to_string()});
    assert!(matches!(verify(lie("/admins", admins).unwrap()), Error::Pins { .. }));
    assert!(matches!(verify(lie("/vault", json!("11".repeat(16))).unwrap()), Error::OtherVault { .. }));
    assert!(matches!(verify(lie("/allow_emulated", json!(false)).unwrap()), Error::TestVault { .. }));

    let other = Vault::from(&first(SUITE, &["erin", "frank"]), &["erin", "frank"]);
    let elsewhere = lie("/vault", json!("11".repeat(16))).unwrap();
    assert!(matches!(elsewhere.advance(&other.now), Err(Error::OtherVault { .. })));
}

#[test]
fn the_state_of_expiry() {
    use keyward_custody::Expiry;
    let vault = Vault::new(&["alice", "bob"]);
    let at = |text: &str| vault.now.statement().expiry(time(text));
    assert_eq!(at("2026-11-24T16:00:00Z"), Expiry::Fresh);
    assert_eq!(at("2027-11-14T16:00:00Z"), Expiry::Warn { days_left: 10 });
    assert_eq!(at("2027-12-14T16:00:00Z"), Expiry::Grace { days_left: 10 });
    assert_eq!(at("2028-01-03T16:00:00Z"), Expiry::Expired { days_ago: 40 });
}
