//! Epochs and holders of every kind in a statement: what is refused of it alone, and what of its successor.

use keyward_age::Suite;
use keyward_custody::{
    Class, Error, Generation, IdentitySeed, Statement, Thresholds, VaultFile, Verified, verify_chain,
};
use serde_json::{Value, json};

use crate::fixed::{edited, name};
use crate::life::{Vault, team};
use crate::people::{KINDS, Kind, Person, first, names};

const SUITE: Suite = Suite::Classic;
const POLICY: &str = "alice or bob or (carol and dave)";

fn all_kinds() -> Vec<Person> {
    ["alice", "bob", "carol", "dave"]
        .iter()
        .zip(KINDS)
        .map(|(name, kind)| Person::new(name, kind, SUITE))
        .collect()
}

fn built(people: &[Person], policy: &str) -> Statement {
    let mut draft = first(people, policy);
    draft.new_epoch().unwrap();
    draft.build().unwrap()
}

fn recipient(suite: Suite, byte: u8) -> Value {
    json!(IdentitySeed::from_bytes(suite, &[byte; 32]).recipient().unwrap().to_string())
}

#[test]
fn holders_of_every_kind_may_open_alone_or_together() {
    for policy in [
        "alice or bob or carol or dave",
        "alice or bob or (carol and dave)",
        "2 of (alice, bob, carol, dave)",
    ] {
        let statement = built(&all_kinds(), policy);
        let read = Statement::parse(statement.bytes()).unwrap();
        assert_eq!(read, statement);
        assert_eq!(read.admins().len(), 2, "a passphrase and an age identity cannot sign");
        let json: Value = serde_json::from_slice(read.bytes()).unwrap();
        let kinds = ["token", "paper", "passphrase", "age"];
        for (person, kind) in ["alice", "bob", "carol", "dave"].iter().zip(kinds) {
            assert_eq!(json["holders"][person]["kind"], kind);
        }
    }
}

#[test]
fn an_identity_is_its_holders() {
    let people = all_kinds();
    let identity = |byte| IdentitySeed::from_bytes(SUITE, &[byte; 32]).identity().unwrap();
    let own = people[1].paper().identity(SUITE).unwrap();
    assert!(people[1].holder().check_identity(&name("bob"), &own).is_ok());
    for person in &people {
        let error = person.holder().check_identity(&person.name(), &identity(1)).unwrap_err();
        assert!(matches!(&error, Error::IdentityIsAnother { holder } if *holder == person.name()));
        assert_eq!(error.class(), Class::WrongSecret);
    }
}

/// What a reader says of this change of the next generation, signed by everybody.
fn next(
    vault: &Vault,
    people: &[Person],
    change: impl FnOnce(&mut Value),
) -> Result<Verified<Statement>, Error> {
    let mut draft = vault.draft();
    draft.expires = crate::fixed::time("2028-01-01T00:00:00Z");
    let bytes = edited(&draft.build().unwrap(), change);
    let generation = vault.now.statement().generation().next();
    let mut files = vault.files.clone();
    files.insert(VaultFile::Statement(generation), bytes.clone());
    for person in people {
        files.insert(VaultFile::Signature(generation, person.name()), person.sign(&bytes));
    }
    verify_chain(&files, &vault.pins)
}

#[test]
fn what_a_successor_may_not_do_to_epochs() {
    let people = team(SUITE);
    let vault = Vault::new(&people, POLICY);
    let epoch = |number: u32, generation: u32, byte: u8| json!({"file": "00".repeat(32), "generation": generation, "number": number, "recipient": recipient(SUITE, byte), "since": "2026-12-24T16:00:00Z"});
    let changed = |change: &dyn Fn(&mut Value)| match next(&vault, &people, change) {
        Err(Error::EpochChanged { member, .. }) => member,
        other => panic!("{other:?}"),
    };
    assert_eq!(changed(&|v| v["epochs"][0]["recipient"] = recipient(SUITE, 1)), "recipient");
    assert_eq!(changed(&|v| v["epochs"][0]["since"] = json!("2026-11-24T16:00:01Z")), "beginning");
    assert_eq!(
        changed(&|v| v["epochs"][0]["file"] = json!("00".repeat(32))),
        "key file without writing it anew"
    );
    assert_eq!(
        changed(&|v| v["epochs"].as_array_mut().unwrap().push(epoch(2, 1, 1))),
        "key file without writing it anew"
    );
    // The same, said to be written now: a rewrap, and a new epoch.
    assert!(
        next(&vault, &people, |v| {
            v["epochs"][0]["file"] = json!("00".repeat(32));
            v["epochs"][0]["generation"] = json!(2);
        })
        .is_ok()
    );
    assert!(next(&vault, &people, |v| v["epochs"].as_array_mut().unwrap().push(epoch(2, 2, 1))).is_ok());
    let flat = Vault::new(&people[..2], "alice or bob");
    let error = next(&flat, &people[..2], |v| v["epochs"] = json!([])).unwrap_err();
    assert!(matches!(&error, Error::EpochChanged { member: "place in the list", .. }), "{error}");
    assert_eq!(error.class(), Class::NotVerified);
}

#[test]
fn the_epoch_follows_who_opens() {
    let people = team(SUITE);
    let vault = Vault::new(&people, POLICY);
    let stale = |change: &dyn Fn(&mut Value)| match next(&vault, &people, change) {
        Err(Error::EpochStale { found, .. }) => found,
        other => panic!("{other:?}"),
    };
    let (leaver, policy) = ("the one that somebody who leaves can open", "kept under the policy before");
    assert_eq!(
        stale(&|v| {
            v["policy"] = json!("alice or (carol and dave)");
            v["holders"].as_object_mut().unwrap().remove("bob");
        }),
        leaver
    );
    // The holder's name stays, the key is another.
    assert_eq!(stale(&|v| v["holders"]["dave"]["recipient"] = recipient(SUITE, 1)), leaver);
    // Narrower: whoever could open alone cannot any more, and the old epoch would still let them.
    assert_eq!(stale(&|v| v["policy"] = json!("alice or (bob and carol and dave)")), leaver);
    // Rewrapping is no answer to that, only a new epoch is.
    let rewrap = |v: &mut Value| {
        v["epochs"][0]["file"] = json!("00".repeat(32));
        v["epochs"][0]["generation"] = json!(2);
    };
    assert_eq!(
        stale(&|v| {
            v["policy"] = json!("alice or (bob and carol and dave)");
            rewrap(v);
        }),
        leaver
    );
    // Wider: the key file has to follow.
    assert_eq!(stale(&|v| v["policy"] = json!("alice or bob or carol or dave")), policy);
    assert!(
        next(&vault, &people, |v| {
            v["policy"] = json!("alice or bob or carol or dave");
            rewrap(v);
        })
        .is_ok()
    );
}

#[test]
fn admins_of_every_kind_are_counted_by_key() {
    let people = team(SUITE);
    let [alice, bob, carol, dave] = &people[..] else { panic!("four people") };
    let mut draft = first(&people, POLICY);
    draft.thresholds = Some(Thresholds { root: 3, routine: 2 });
    draft.new_epoch().unwrap();
    let statement = draft.build().unwrap();
    let mut files = keyward_custody::VaultFiles::new();
    crate::people::put(&mut files, &statement, &[alice, bob, carol, dave]);
    let unpinned = keyward_custody::Unpinned::read(&files).unwrap();
    let (pins, now) = unpinned.trust(&keyward_custody::Confirmation::MadeHere, true).unwrap();
    let in_force = |draft: &keyward_custody::Draft, signers: &[&Person]| {
        let mut files = files.clone();
        crate::people::put(&mut files, &draft.build().unwrap(), signers);
        verify_chain(&files, &pins).map(|verified| verified.unfinished().is_none())
    };

    let mut routine = keyward_custody::Draft::after(&now, crate::life::later());
    routine.new_epoch().unwrap();
    assert!(!in_force(&routine, &[carol]).unwrap());
    assert!(in_force(&routine, &[carol, dave]).unwrap(), "two papers are two admins");
    assert!(in_force(&routine, &[alice, dave]).unwrap());

    // The admin set, changed without the old threshold: refused however many of the new ones sign.
    let mut coup = keyward_custody::Draft::after(&now, crate::life::later());
    for person in [bob, carol, dave] {
        coup.admins.remove(&person.name());
    }
    coup.thresholds = Some(Thresholds { root: 1, routine: 1 });
    assert!(!in_force(&coup, &[alice]).unwrap());
    assert!(!in_force(&coup, &[alice, bob]).unwrap());
    assert!(in_force(&coup, &[alice, bob, carol]).unwrap());

    // carol's signature under dave's name counts for nobody.
    let bytes = routine.build().unwrap().bytes().to_vec();
    let mut twice = files.clone();
    crate::people::put(&mut twice, &routine.build().unwrap(), &[carol]);
    twice.insert(VaultFile::Signature(Generation::new(2).unwrap(), name("dave")), carol.sign(&bytes));
    let error = verify_chain(&twice, &pins).unwrap_err();
    assert!(matches!(&error, Error::BadSignature { signer, .. } if signer.as_str() == "dave"), "{error}");
    let mut pending = keyward_custody::Pending::next(&now, &bytes).unwrap();
    assert!(pending.add(&name("carol"), &carol.sign(&bytes)).unwrap());
    assert!(matches!(pending.add(&name("dave"), &carol.sign(&bytes)), Err(Error::BadSignature { .. })));
    assert!(matches!(pending.add(&name("zoe"), &carol.sign(&bytes)), Err(Error::UnknownSigner { .. })));
    let quorums = pending.quorums().unwrap();
    assert_eq!((quorums.len(), quorums[0].needed, quorums[0].missing()), (1, 2, 1));
    assert_eq!(quorums[0].signed, names("carol"));
    assert_eq!(
        pending.wanted().unwrap().keys().cloned().collect::<std::collections::BTreeSet<_>>(),
        names("alice bob dave")
    );
}

/// What `Pending` calls complete is what a reader accepts, for every set of signers and kind of change.
#[test]
fn pending_counts_as_a_reader_does() {
    let mut people = team(SUITE);
    people.push(Person::new("erin", Kind::Token, SUITE));
    let mut draft = first(&people[..4], POLICY);
    draft.thresholds = Some(Thresholds { root: 2, routine: 1 });
    draft.new_epoch().unwrap();
    let vault = Vault::new(&people[..4], POLICY);
    let dates = vault.draft();
    let mut revoked = vault.draft();
    revoked.revoke(&name("alice"), &Default::default()).unwrap();
    let mut joined = vault.draft();
    joined.add_holder(name("erin"), people[4].holder(), true).unwrap();
    joined.policy = "alice or bob or erin or (carol and dave)".parse().unwrap();
    joined.new_epoch().unwrap();
    let mut thresholds = vault.draft();
    thresholds.thresholds = Some(Thresholds { root: 3, routine: 2 });
    let (mut complete, mut tried) = (0, 0);
    for draft in [dates, revoked, joined, thresholds] {
        let statement = draft.build().unwrap();
        for mask in 0..32_u32 {
            let signers: Vec<&Person> =
                people.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1).map(|(_, p)| p).collect();
            let mut files = vault.files.clone();
            crate::people::put(&mut files, &statement, &signers);
            let reader = verify_chain(&files, &vault.pins).map(|verified| verified.unfinished().is_none());
            let mut pending = keyward_custody::Pending::next(&vault.now, statement.bytes()).unwrap();
            let added: Result<Vec<bool>, Error> =
                signers.iter().map(|p| pending.add(&p.name(), &p.sign(statement.bytes()))).collect();
            match reader {
                Ok(in_force) => {
                    assert!(added.is_ok());
                    assert_eq!(pending.is_complete().unwrap(), in_force);
                    assert_eq!(pending.wanted().unwrap().is_empty(), in_force);
                    complete += u32::from(in_force);
                }
                Err(error) => assert_eq!(added.unwrap_err().to_string(), error.to_string()),
            }
            tried += 1;
        }
    }
    assert!(tried == 128 && complete > 40, "{complete}");
}
