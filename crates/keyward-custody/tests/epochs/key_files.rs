//! What a key file and a share may not be.

use std::collections::BTreeMap;

use keyward_age::{Error as AgeError, Recipient, SealOptions, SealWriter, Suite};
use keyward_custody::{Class, Combiner, Error, Generation, IdentitySeed, KeyFile, KeyId, Leaf, VaultId};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::io::Write as _;
use std::sync::LazyLock;

use crate::fixed::{name, secret};
use crate::life::{Vault, team};
use crate::people::{Kind, Person, combine, names, recipients};

const SUITE: Suite = Suite::Classic;
const POLICY: &str = "alice or bob or (carol and dave)";

fn edited(file: &KeyFile, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(file.bytes()).unwrap();
    change(&mut value);
    serde_json_canonicalizer::to_vec(&value).unwrap()
}

fn split(id: &KeyId, policy: &str, people: &[Person]) -> KeyFile {
    let seed = IdentitySeed::from_bytes(SUITE, &secret("the epoch"));
    KeyFile::split(id, &seed, &policy.parse().unwrap(), &recipients(people)).unwrap()
}

fn id(vault: u8, version: u32, generation: u32) -> KeyId {
    KeyId::epoch(VaultId::from_bytes([vault; 16]), version, Generation::new(generation).unwrap()).unwrap()
}

/// The leaf of the first place that names this holder.
fn leaf<'a>(file: &'a KeyFile, holder: &str) -> &'a Leaf {
    file.leaves_of(&name(holder)).next().unwrap()
}

fn base64(bytes: &[u8]) -> Value {
    use base64::Engine as _;
    json!(base64::engine::general_purpose::STANDARD.encode(bytes))
}

fn seal(recipient: &Recipient, plain: &[u8]) -> Vec<u8> {
    let mut writer =
        SealWriter::new(std::slice::from_ref(recipient), Vec::new(), SealOptions { threads: 1 }).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

#[test]
fn an_edited_key_file_is_refused_by_name() {
    let people = team(SUITE);
    let vault = Vault::new(&people, POLICY);
    let file = vault.key_file(1);
    let changed = edited(&file, |v| v["leaves"][0]["share"] = json!("00".repeat(32)));
    for bytes in [changed, file.bytes()[1..].to_vec(), Vec::new(), [file.bytes(), b"\n"].concat()] {
        let error = vault.now.key_file(1, &bytes).unwrap_err();
        assert!(matches!(&error, Error::KeyFileEdited { file, .. } if file == "epoch-1.g1.json"), "{error}");
        assert_eq!(error.class(), Class::NotVerified);
    }
    assert!(matches!(vault.now.key_file(2, file.bytes()), Err(Error::NoEpoch { epoch: 2 })));
}

#[test]
fn another_vaults_or_generations_key_file_is_named_as_such() {
    let people = team(SUITE);
    let mut vault = Vault::new(&people, POLICY);
    let first = vault.key_file(1);
    let mut draft = vault.draft();
    draft.new_epoch().unwrap();
    vault.advance(&draft, &[&people[0]]);
    let second = vault.key_file(2);
    let own = second.id();
    let of = |change: fn(&mut KeyId)| {
        let mut id = own.clone();
        change(&mut id);
        split(&id, POLICY, &people).bytes().to_vec()
    };
    let cases = [
        ("vault", of(|id| id.vault = VaultId::from_bytes([9; 16]))),
        ("key", of(|id| id.key = name("restic"))),
        ("version", first.bytes().to_vec()),
        ("generation", of(|id| id.generation = Generation::new(7).unwrap())),
    ];
    for (member, bytes) in cases {
        let error = vault.now.key_file(2, &bytes).unwrap_err();
        assert!(
            matches!(&error, Error::KeyFileOfAnother { member: found, .. } if *found == member),
            "{member}: {error}"
        );
    }
    let same_place = of(|_| {});
    assert!(matches!(vault.now.key_file(2, &same_place), Err(Error::KeyFileEdited { .. })));
}

#[test]
fn leaves_are_those_of_the_policy() {
    let people = team(SUITE);
    let file = split(&id(7, 1, 1), POLICY, &people);
    assert_eq!(KeyFile::parse(file.bytes()).unwrap(), file);
    let cases: [(&str, Vec<u8>); 8] = [
        ("leaf missing", edited(&file, |v| _ = v["leaves"].as_array_mut().unwrap().pop())),
        (
            "leaf twice",
            edited(&file, |v| {
                let leaf = v["leaves"][3].clone();
                v["leaves"].as_array_mut().unwrap().push(leaf);
            }),
        ),
        ("order", edited(&file, |v| v["leaves"].as_array_mut().unwrap().swap(0, 1))),
        ("path", edited(&file, |v| v["leaves"][0]["path"] = json!("2"))),
        ("holder", edited(&file, |v| v["leaves"][0]["holder"] = json!("bob"))),
        ("policy", edited(&file, |v| v["policy"] = json!("alice or bob or (dave and carol)"))),
        ("threshold", edited(&file, |v| v["policy"] = json!("alice or bob or carol or dave"))),
        ("long leaf", edited(&file, |v| v["leaves"][0]["sealed"] = base64(&[0; 8193]))),
    ];
    for (what, bytes) in cases {
        let error = KeyFile::parse(&bytes).unwrap_err();
        assert!(matches!(error, Error::Leaves { .. }), "{what}: {error}");
        assert_eq!(error.class(), Class::NotVerified);
    }
    for (what, bytes) in [
        ("format", edited(&file, |v| v["format"] = json!("keyward-key-file-v2"))),
        ("version 0", edited(&file, |v| v["version"] = json!(0))),
        ("path 0", edited(&file, |v| v["leaves"][0]["path"] = json!("0"))),
        ("path spelling", edited(&file, |v| v["leaves"][2]["path"] = json!("3.01"))),
        ("member", edited(&file, |v| v["comment"] = json!(1))),
        ("recipient", edited(&file, |v| v["recipient"] = json!("age1x"))),
    ] {
        assert!(matches!(KeyFile::parse(&bytes), Err(Error::Malformed { .. })), "{what}");
    }
    let long = vec![b' '; (1 << 20) + 1];
    assert!(matches!(KeyFile::parse(&long), Err(Error::TooLong { .. })));
    let mut custody = recipients(&people);
    custody.remove(&name("dave"));
    let seed = IdentitySeed::from_bytes(SUITE, &[1; 32]);
    let nobody = KeyFile::split(&id(7, 1, 1), &seed, &POLICY.parse().unwrap(), &custody);
    assert!(matches!(nobody, Err(Error::NotAHolder { name }) if name.as_str() == "dave"));
}

#[test]
fn a_share_in_another_leaf_is_told() {
    let people = [
        Person::new("alice", Kind::Token, SUITE),
        Person::new("bob", Kind::Passphrase, SUITE),
        Person::new("carol", Kind::Age, SUITE),
    ];
    let policy = "2 of (alice and carol, alice and bob, carol)";
    let file = split(&id(7, 1, 5), policy, &people);
    let open = |bytes: &[u8], leaf: usize| {
        let file = KeyFile::parse(bytes).unwrap();
        let leaf = &file.leaves()[leaf];
        let person = people.iter().find(|person| person.name() == *leaf.holder()).unwrap();
        person.open(&file, leaf).unwrap_err()
    };
    // alice has leaves at 1.1 and 2.1: one in the other's place opens, and is not what belongs there.
    let swapped = edited(&file, |v| {
        let (one, two) = (v["leaves"][0]["sealed"].clone(), v["leaves"][2]["sealed"].clone());
        (v["leaves"][0]["sealed"], v["leaves"][2]["sealed"]) = (two, one);
    });
    for leaf in [0, 2] {
        let error = open(&swapped, leaf);
        assert!(matches!(&error, Error::ShareOfAnother { member: "path", .. }), "{error}");
    }
    // bob's in carol's place does not even open for her.
    let swapped = edited(&file, |v| v["leaves"][4]["sealed"] = v["leaves"][3]["sealed"].clone());
    let error = open(&swapped, 4);
    assert!(matches!(&error, Error::Leaf { source: AgeError::NoMatch, .. }), "{error}");
    // Leaves of other files to the same people.
    for (member, other) in [
        ("vault", split(&id(8, 1, 5), policy, &people)),
        ("version", split(&id(7, 2, 5), policy, &people)),
        ("generation", split(&id(7, 1, 4), policy, &people)),
    ] {
        let mixed = edited(&file, |v| v["leaves"][0]["sealed"] = base64(other.leaves()[0].sealed()));
        let error = open(&mixed, 0);
        assert!(matches!(&error, Error::ShareOfAnother { member: found, .. } if *found == member), "{error}");
        assert!(error.to_string().contains("the share of alice at 1.1 was made for another"), "{error}");
    }
    let other = split(&id(7, 1, 5), policy, &people);
    let mut combiner = Combiner::new(&file);
    let foreign = people[0].open(&other, &other.leaves()[0]).unwrap();
    assert!(matches!(combiner.add(foreign), Err(Error::ShareOfAnother { member: "key file", .. })));
}

#[test]
fn plaintexts_that_are_no_shares() {
    let people = team(SUITE);
    let file = split(&id(7, 1, 5), POLICY, &people);
    let carol = leaf(&file, "carol");
    let right = format!(
        "keyward-share-v1 of a Keyward vault\nvault {}\nkey epoch\nversion 1\ngeneration 5\npath 3.1\nholder carol\nshare {}\n",
        "07".repeat(16),
        "00".repeat(32)
    );
    // Well-formed, and of that place: but not the share whose digest is in the file.
    let error = file.check_share(carol, right.as_bytes()).unwrap_err();
    assert!(matches!(&error, Error::WrongShare { holder, .. } if holder.as_str() == "carol"), "{error}");
    for plain in [
        String::new(),
        "hello".to_owned(),
        right.replace("v1", "v2"),
        format!("{right}\n"),
        right.replace("share 00", "share 0"),
        right.replace("share 00", "share AA"),
        right.trim_end().to_owned(),
        right.replace('\n', "\r\n"),
        format!("{right}{}", "x".repeat(2000)),
    ] {
        assert!(file.check_share(carol, plain.as_bytes()).is_err(), "{plain}");
    }
    assert!(file.check_share(carol, &[0xff; 100]).is_err());
    // A leaf whose age file is damaged, or none.
    for (what, sealed) in [
        ("truncated", carol.sealed()[..carol.sealed().len() - 1].to_vec()),
        ("extended", [carol.sealed(), b"x"].concat()),
        ("no age file", b"hello".to_vec()),
        ("empty", Vec::new()),
    ] {
        let bytes = edited(&file, |v| v["leaves"][2]["sealed"] = base64(&sealed));
        let file = KeyFile::parse(&bytes).unwrap();
        let leaf = &file.leaves()[2];
        let identity = people[2].paper().identity(SUITE).unwrap();
        let error = file.open_leaf_soft(leaf, &identity).unwrap_err();
        assert!(matches!(&error, Error::Leaf { .. }), "{what}: {error}");
        assert!(error.to_string().contains("the share of carol at 3.1 cannot be opened"), "{error}");
    }
}

#[test]
fn one_wrong_share_among_more_than_needed_is_named_and_survived() {
    let people: Vec<Person> = ["a", "b", "c"].map(|name| Person::new(name, Kind::Age, SUITE)).to_vec();
    let file = split(&id(7, 1, 1), "2 of (a, b, c)", &people);
    let everybody: Vec<&Person> = people.iter().collect();

    // A damaged leaf: named when it is opened, and the others go on.
    let recipient = recipients(&people).remove(&name("b")).unwrap();
    let plain = |share: &str| {
        let vault = "07".repeat(16);
        format!(
            "keyward-share-v1 of a Keyward vault\nvault {vault}\nkey epoch\nversion 1\ngeneration 1\npath 2\nholder b\nshare {share}\n"
        )
    };
    let wrong = plain(&"11".repeat(32));
    let bytes = edited(&file, |v| v["leaves"][1]["sealed"] = base64(&seal(&recipient, wrong.as_bytes())));
    let damaged = KeyFile::parse(&bytes).unwrap();
    let mut combiner = Combiner::new(&damaged);
    for person in &people {
        match person.open(&damaged, leaf(&damaged, &person.name)) {
            Ok(share) => assert!(combiner.add(share).unwrap()),
            Err(error) => assert_eq!(
                error.to_string(),
                "the share of b at 2 is wrong: it is not the one that was made for this key"
            ),
        }
    }
    assert!(combiner.finish().is_ok());

    // A key file made wrong, with a digest to match: found by the commitment, and named where a share can be spared.
    let bytes = edited(&file, |v| {
        v["leaves"][1]["sealed"] = base64(&seal(&recipient, wrong.as_bytes()));
        v["leaves"][1]["share"] = json!(keyward_custody::Digest::of(wrong.as_bytes()).to_string());
    });
    let made_wrong = KeyFile::parse(&bytes).unwrap();
    let combined = combine(&made_wrong, &everybody).unwrap();
    assert_eq!(combined.wrong.len(), 1);
    assert_eq!((combined.wrong[0].0.as_str(), combined.wrong[0].1.to_string()), ("b", "2".to_owned()));
    for pair in [[0, 1], [1, 2]] {
        let error = combine(&made_wrong, &pair.map(|index| &people[index])).unwrap_err();
        assert!(matches!(&error, Error::Commitment { .. }), "{error}");
        assert_eq!(error.class(), Class::NotVerified);
    }
    assert!(combine(&made_wrong, &[&people[0], &people[2]]).unwrap().wrong.is_empty());

    // The recipient is the commitment: another one there, and no share helps.
    let other = IdentitySeed::from_bytes(SUITE, &[1; 32]).recipient().unwrap();
    let bytes = edited(&file, |v| v["recipient"] = json!(other.to_string()));
    let lied = KeyFile::parse(&bytes).unwrap();
    assert!(matches!(combine(&lied, &everybody), Err(Error::Commitment { .. })));
}

#[test]
fn a_leaf_is_no_archive() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let people = team(suite);
        let vault = Vault::new(&people, POLICY);
        let file = vault.key_file(1);
        for person in &people[..2] {
            let (opened, asked) = person.unwrap_as_archive(leaf(&file, &person.name));
            assert!(matches!(opened, Err(AgeError::NoMatch)));
            assert_eq!(asked, 0, "the archive key is not used for it");
        }
    }
}

#[test]
fn what_is_public_says_nothing_of_the_seed() {
    let people = team(SUITE);
    let seed = secret("the epoch");
    let hex: String = seed.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = split(&id(7, 1, 1), POLICY, &people);
    let text = String::from_utf8(file.bytes().to_vec()).unwrap();
    assert!(!text.contains(&hex) && !format!("{file:?}").contains(&hex));
    assert_eq!(format!("{:?}", IdentitySeed::from_bytes(SUITE, &seed)), "IdentitySeed(redacted)");
    let again = split(&id(7, 1, 1), POLICY, &people);
    assert_ne!(file.leaves()[2].digest(), again.leaves()[2].digest(), "each split draws anew");
    assert_eq!(file.leaves()[0].digest(), again.leaves()[0].digest(), "1 of n hands the seed on");
}

static FILE: LazyLock<KeyFile> = LazyLock::new(|| split(&id(7, 1, 5), POLICY, &team(SUITE)));

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(KeyFile::parse(&bytes).is_err());
        prop_assert!(FILE.check_share(&FILE.leaves()[0], &bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_refused_or_opens_nothing_wrong(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = FILE.bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        // Nobody but a statement vouches for the bytes; yet without it a change gives the same identity or an error.
        if let Ok(file) = KeyFile::parse(&bytes) {
            let people = team(SUITE);
            if let Ok(combined) = combine(&file, &[&people[2], &people[3]]) {
                prop_assert_eq!(combined.seed.recipient().unwrap(), FILE.recipient().clone());
            }
        }
    }

    #[test]
    fn any_json_of_that_shape(leaves in prop::collection::vec((any::<prop::sample::Index>(), "[a-d]{1,6}", "[0-9.]{0,5}", prop::collection::vec(any::<u8>(), 0..40)), 0..6)) {
        let names = ["alice", "bob", "carol", "dave"];
        let bytes = edited(&FILE, |v| {
            v["leaves"] = leaves
                .iter()
                .map(|(index, _, path, sealed)| json!({
                    "holder": names[index.index(4)], "path": path, "sealed": base64(sealed), "share": "00".repeat(32),
                }))
                .collect();
        });
        if let Ok(file) = KeyFile::parse(&bytes) {
            for leaf in file.leaves() {
                prop_assert!(leaf.header().is_err());
            }
        }
    }
}

#[test]
fn names_present_are_those_with_all_their_shares() {
    let people: Vec<Person> = ["a", "b", "c"].map(|name| Person::new(name, Kind::Age, SUITE)).to_vec();
    let file = split(&id(7, 1, 1), "(a and b) or (a and c)", &people);
    let mut combiner = Combiner::new(&file);
    let a = name("a");
    let mut leaves = file.leaves_of(&a);
    combiner.add(people[0].open(&file, leaves.next().unwrap()).unwrap()).unwrap();
    assert!(combiner.present().is_empty());
    combiner.add(people[0].open(&file, leaves.next().unwrap()).unwrap()).unwrap();
    assert_eq!(combiner.present(), names("a"));
    let missing = combiner.finish().unwrap_err().to_string();
    assert!(missing.ends_with("; missing: b, or c"), "{missing}");
    let custody: BTreeMap<_, _> = recipients(&people);
    assert_eq!(custody.len(), 3);
}
