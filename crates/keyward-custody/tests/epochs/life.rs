//! A vault's life: made, sealed to, a token lost, revoked, recovered. All of it with public keys and signatures alone.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write};

use keyward_age::{Header, OpenReader, Recipient, SealOptions, SealWriter, Suite};
use keyward_custody::{
    Class, Combiner, Confirmation, Draft, Error, KeyFile, Needs, Pending, Pins, Removal, Statement,
    Thresholds, Timestamp, Unpinned, VaultFiles, Verified, WhatIf, difference, verify_chain,
};

use crate::fixed::{name, time, token};
use crate::people::{Kind, Person, combine, first, names, put};

const POLICY: &str = "alice or bob or (carol and dave)";

/// A vault with its files, as a host sees it.
pub(crate) struct Vault {
    pub(crate) files: VaultFiles,
    pub(crate) pins: Pins,
    pub(crate) now: Verified<Statement>,
    pub(crate) keys: Vec<KeyFile>,
}

pub(crate) fn team(suite: Suite) -> Vec<Person> {
    [("alice", Kind::Token), ("bob", Kind::Token), ("carol", Kind::Paper), ("dave", Kind::Paper)]
        .map(|(name, kind)| Person::new(name, kind, suite))
        .to_vec()
}

impl Vault {
    pub(crate) fn new(people: &[Person], policy: &str) -> Vault {
        let mut draft = first(people, policy);
        let key = draft.new_epoch().unwrap();
        let statement = draft.build().unwrap();
        let mut pending = Pending::first(statement.clone()).unwrap();
        for person in people.iter().filter(|person| statement.admins().contains_key(&person.name())) {
            assert!(!pending.is_complete().unwrap());
            assert!(pending.add(&person.name(), &person.sign(statement.bytes())).unwrap());
        }
        assert!(pending.is_complete().unwrap());
        let mut files = VaultFiles::new();
        let signers: Vec<&Person> =
            people.iter().filter(|person| statement.admins().contains_key(&person.name())).collect();
        put(&mut files, &statement, &signers);
        let (pins, now) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
        Vault { files, pins, now, keys: vec![key] }
    }

    pub(crate) fn draft(&self) -> Draft {
        Draft::after(&self.now, later())
    }

    /// Puts the next generation in place, and its key files.
    pub(crate) fn advance(&mut self, draft: &Draft, signers: &[&Person]) {
        let statement = draft.build().unwrap();
        put(&mut self.files, &statement, signers);
        self.now = verify_chain(&self.files, &self.pins).unwrap();
        assert_eq!(self.now.unfinished(), None, "too few signatures");
        self.keys.extend(draft.key_files().cloned());
    }

    pub(crate) fn key_file(&self, epoch: u32) -> KeyFile {
        let wanted = self.now.epochs()[epoch as usize - 1].file_name();
        let file = self.keys.iter().find(|file| file.file_name() == wanted).unwrap();
        self.now.key_file(epoch, file.bytes()).unwrap()
    }
}

pub(crate) fn later() -> Timestamp {
    time("2026-12-24T16:00:00Z")
}

fn seal(vault: &Vault, text: &str) -> Vec<u8> {
    let recipients: Vec<Recipient> =
        vault.now.recipients().into_iter().map(|(_, recipient)| recipient).collect();
    let mut writer = SealWriter::new(&recipients, Vec::new(), SealOptions { threads: 1 }).unwrap();
    writer.write_all(text.as_bytes()).unwrap();
    writer.finish().unwrap()
}

/// Opens an archive through an epoch with these people.
fn open(vault: &Vault, archive: &[u8], epoch: u32, people: &[&Person]) -> Result<String, Error> {
    let combined = combine(&vault.key_file(epoch), people)?;
    let mut rest = Cursor::new(archive);
    let header = Header::read(&mut rest)?;
    let file_key = header.unwrap_soft(&combined.seed.identity()?)?;
    let mut text = String::new();
    OpenReader::new(rest, &file_key, 1)?.read_to_string(&mut text).unwrap();
    Ok(text)
}

fn sealed_to(vault: &Vault) -> Vec<String> {
    vault.now.recipients().iter().map(|(to, _)| to.to_string()).collect()
}

fn a_token_is_lost(suite: Suite) {
    let people = team(suite);
    let [alice, bob, carol, dave] = &people[..] else { panic!("four people") };
    let mut vault = Vault::new(&people, POLICY);
    assert_eq!(vault.now.statement().thresholds(), Thresholds { root: 2, routine: 1 });
    assert_eq!(sealed_to(&vault), ["alice", "bob", "epoch 1"]);
    let photos = seal(&vault, "photos");

    let what_if = WhatIf::of(vault.now.statement(), &names("alice bob")).unwrap();
    assert_eq!(what_if.together, [names("carol dave")]);
    assert!(what_if.alone.is_empty() && what_if.root);

    assert_eq!(open(&vault, &photos, 1, &[carol, dave]).unwrap(), "photos");
    let refused = open(&vault, &photos, 1, &[carol]).unwrap_err();
    assert_eq!(refused.class(), Class::NotSatisfied);
    assert_eq!(
        refused.to_string(),
        format!("the holders present do not satisfy the policy '{POLICY}'; missing: dave, or alice, or bob")
    );
    assert!(matches!(&refused, Error::NotSatisfied { missing, .. } if missing.contains("dave")));

    // bob and carol revoke alice; dave is not needed, and alice neither.
    let mut draft = vault.draft();
    let (removed, file) = draft.revoke(&alice.name(), &Removal::default()).unwrap();
    assert!(removed.admin && removed.holder);
    assert_eq!(removed.policy.to_string(), "bob or (carol and dave)");
    assert_eq!(file.unwrap().file_name(), "epoch-2.g2.json");
    let change = draft.change().unwrap().unwrap();
    assert!(change.admins && change.needs == Needs::Root);
    let lines: Vec<String> =
        difference(vault.now.statement(), &draft.build().unwrap()).iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "− policy: alice or bob or (carol and dave)");
    assert_eq!(lines[1], "+ policy: bob or (carol and dave)");
    assert!(
        lines.iter().any(|line| line.starts_with("− holder alice: token 11110097, firmware 5.7.1, emulated"))
    );
    assert!(lines.iter().any(|line| line.starts_with("− admin alice: SHA256:")));
    assert!(lines.iter().any(|line| line.starts_with("+ epoch 2: since 2026-12-24T16:00:00Z")));

    let statement = draft.build().unwrap();
    let mut pending = Pending::next(&vault.now, statement.bytes()).unwrap();
    assert_eq!(pending.key_files().into_keys().collect::<Vec<_>>(), ["epoch-2.g2.json"]);
    assert_eq!(pending.wanted().unwrap().into_keys().collect::<BTreeSet<_>>(), names("alice bob carol dave"));
    assert!(pending.add(&bob.name(), &bob.sign(statement.bytes())).unwrap());
    assert!(!pending.add(&bob.name(), &bob.sign(statement.bytes())).unwrap(), "one signature counts once");
    assert!(!pending.is_complete().unwrap());
    let missing: Vec<u32> = pending.quorums().unwrap().iter().map(keyward_custody::Quorum::missing).collect();
    assert_eq!(missing, [1, 1]);
    let signature = carol.paper().sign(keyward_custody::Namespace::Vault, statement.bytes()).unwrap();
    assert!(pending.add_signature(&dave.name(), &signature).is_err(), "carol's is not dave's");
    assert!(pending.add_signature(&carol.name(), &signature).unwrap());
    assert!(pending.is_complete().unwrap());

    let before = vault.files.clone();
    vault.advance(&draft, &[bob, carol]);
    let pins = vault.pins.advance(&vault.now).unwrap().unwrap();
    assert_eq!(sealed_to(&vault), ["bob", "epoch 2"]);
    let photos2 = seal(&vault, "photos again");
    assert!(vault.now.opener_candidates().iter().all(|candidate| candidate.name.as_str() == "bob"));
    assert!(open(&vault, &photos2, 2, &[alice]).is_err());
    assert_eq!(open(&vault, &photos2, 2, &[carol, dave]).unwrap(), "photos again");
    assert_eq!(open(&vault, &photos2, 2, &[bob]).unwrap(), "photos again");
    assert_eq!(open(&vault, &photos, 1, &[carol, dave]).unwrap(), "photos", "old archives still open");
    assert!(open(&vault, &photos2, 1, &[carol, dave]).is_err(), "one epoch opens its own archives only");

    let error = verify_chain(&before, &pins).unwrap_err();
    assert!(error.to_string().contains("rolled back below generation 2"), "{error}");
}

#[test]
fn a_token_is_lost_hybrid() {
    a_token_is_lost(Suite::Hybrid);
}

#[test]
fn a_token_is_lost_classic() {
    a_token_is_lost(Suite::Classic);
}

#[test]
fn a_replacement_joins_and_old_epochs_are_rewrapped() {
    let suite = Suite::Classic;
    let people = team(suite);
    let [alice, bob, carol, dave] = &people[..] else { panic!("four people") };
    let mut vault = Vault::new(&people, POLICY);
    let mut draft = vault.draft();
    draft.revoke(&alice.name(), &Removal::default()).unwrap();
    vault.advance(&draft, &[bob, carol]);

    let erin = Person::new("erin", Kind::Token, suite);
    let mut draft = vault.draft();
    assert!(matches!(draft.add_holder(bob.name(), erin.holder(), true), Err(Error::NameTaken { .. })));
    draft.add_holder(erin.name(), erin.holder(), true).unwrap();
    assert!(matches!(draft.build(), Err(Error::OutsidePolicy { .. })));
    draft.policy = "bob or erin or (carol and dave)".parse().unwrap();
    let stale = draft.build().unwrap_err();
    assert!(matches!(&stale, Error::EpochStale { .. }), "{stale}");

    // Whoever opens the epoch in force may keep it: here bob opens it, and epoch 1 as well.
    for epoch in [2, 1] {
        let seed = combine(&vault.key_file(epoch), &[bob]).unwrap().seed;
        let other = if epoch == 1 { 2 } else { 1 };
        assert!(matches!(draft.rewrap(other, &seed), Err(Error::Commitment { .. })));
        let file = draft.rewrap(epoch, &seed).unwrap();
        assert_eq!(file.file_name(), format!("epoch-{epoch}.g3.json"));
    }
    assert!(matches!(
        draft.rewrap(3, &combine(&vault.key_file(1), &[bob]).unwrap().seed),
        Err(Error::NoEpoch { epoch: 3 })
    ));
    let change = draft.change().unwrap().unwrap();
    assert_eq!(change.needs, Needs::Root);
    vault.advance(&draft, &[bob, &erin, dave]);
    assert_eq!(sealed_to(&vault), ["bob", "erin", "epoch 2"]);
    for epoch in [1, 2] {
        assert!(combine(&vault.key_file(epoch), &[&erin]).is_ok(), "epoch {epoch}");
        assert!(combine(&vault.key_file(epoch), &[carol, dave]).is_ok());
        assert_eq!(vault.key_file(epoch).leaves_of(&alice.name()).count(), 0);
    }

    // A new epoch alone is a routine matter, with all paper absent.
    let mut draft = vault.draft();
    draft.new_epoch().unwrap();
    let again = draft.new_epoch().unwrap();
    assert_eq!(again.file_name(), "epoch-3.g4.json", "begun twice, it is one epoch");
    assert_eq!(draft.change().unwrap().unwrap().needs, Needs::Routine);
    vault.advance(&draft, &[&erin]);
    assert!(combine(&vault.key_file(3), &[carol, dave]).is_ok());
}

#[test]
fn leaving_is_refused_where_something_would_break() {
    let suite = Suite::Classic;
    let people = team(suite);
    let vault = Vault::new(&people, POLICY);
    let unsatisfiable = |who: &str, how: &Removal| {
        let mut draft = vault.draft();
        let before = draft.policy.clone();
        let error = draft.remove_holder(&name(who), how).unwrap_err();
        assert_eq!((draft.policy, draft.holders.len()), (before, 4), "a refused draft stays as it was");
        error
    };
    let error = unsatisfiable("carol", &Removal::default());
    assert_eq!(error.class(), Class::Refused);
    assert!(error.to_string().contains("which has no part for dave"), "{error}");
    assert!(matches!(unsatisfiable("zoe", &Removal::default()), Error::Nobody { .. }));
    let kept = Removal { policy: Some(POLICY.parse().unwrap()), shrink: false };
    assert!(matches!(unsatisfiable("alice", &kept), Error::Unsatisfiable { .. }));

    let mut draft = vault.draft();
    let removed = draft.remove_holder(&name("carol"), &Removal { policy: None, shrink: true }).unwrap();
    assert_eq!(removed.policy.to_string(), "alice or bob or dave");
    assert!(matches!(draft.build(), Err(Error::EpochStale { .. })), "whoever leaves ends the epoch");
    draft.new_epoch().unwrap();
    assert!(draft.build().is_ok());
    let seed = combine(&vault.key_file(1), &[&people[0]]).unwrap().seed;
    let mut draft = vault.draft();
    draft.remove_holder(&name("carol"), &Removal { policy: None, shrink: true }).unwrap();
    draft.rewrap(1, &seed).unwrap();
    let stale = draft.build().unwrap_err();
    assert!(stale.to_string().contains("somebody who leaves"), "{stale}");

    // Signatures: two of two admins stay two, unless they may sink.
    let two = Vault::new(&people[..2], "alice or bob");
    let mut draft = two.draft();
    draft.thresholds = Some(Thresholds { root: 2, routine: 2 });
    let too_few = draft.remove_holder(&name("bob"), &Removal::default()).unwrap_err();
    assert!(matches!(&too_few, Error::TooFewAdmins { admins: 1, root: 2, .. }), "{too_few}");
    let removed = draft.remove_holder(&name("bob"), &Removal { policy: None, shrink: true }).unwrap();
    assert_eq!(removed.thresholds, Thresholds { root: 1, routine: 1 });
    draft.new_epoch().unwrap();
    assert!(matches!(draft.build(), Err(Error::SingleHolder { .. })));
    assert!(draft.remove_holder(&name("alice"), &Removal { policy: None, shrink: true }).is_err());

    // An admin who is no holder leaves without a new epoch.
    let mut draft = vault.draft();
    let admin = token(suite, "frank", 9).signing.key;
    draft.admins.insert(name("frank"), admin);
    let (removed, file) = draft.revoke(&name("frank"), &Removal::default()).unwrap();
    assert!(!removed.holder && removed.admin && file.is_none());
}

#[test]
fn drafts_that_came_too_late() {
    let people = team(Suite::Classic);
    let mut vault = Vault::new(&people, POLICY);
    let (mut one, mut other) = (vault.draft(), vault.draft());
    one.new_epoch().unwrap();
    other.new_epoch().unwrap();
    let late = other.build().unwrap();
    assert!(Pending::next(&vault.now, late.bytes()).is_ok());
    vault.advance(&one, &[&people[0]]);
    let error = Pending::next(&vault.now, late.bytes()).unwrap_err();
    assert!(matches!(&error, Error::WrongNumber { .. }), "{error}");
    // And the other winner of the same race, pinned here, forks.
    let pins = vault.pins.advance(&vault.now).unwrap().unwrap();
    let mut files = vault.files.clone();
    put(&mut files, &late, &[&people[1]]);
    assert!(matches!(verify_chain(&files, &pins), Err(Error::Fork { .. })));
}

#[test]
fn shares_come_one_after_another() {
    let people = team(Suite::Classic);
    let vault = Vault::new(&people, POLICY);
    let file = vault.key_file(1);
    let [alice, _, carol, dave] = &people[..] else { panic!("four people") };
    let share = |person: &Person| person.open(&file, file.leaves_of(&person.name()).next().unwrap()).unwrap();
    let mut combiner = Combiner::new(&file);
    let ways = combiner.ways(&names("alice bob"));
    assert_eq!(ways.len(), 1);
    assert_eq!(ways[0].missing, names("carol dave"));
    assert!(combiner.ways(&names("alice bob dave")).is_empty(), "nothing opens any more");
    assert!(combiner.add(share(carol)).unwrap());
    assert!(!combiner.add(share(carol)).unwrap());
    let ways = combiner.ways(&names("alice bob"));
    assert_eq!((&ways[0].present, &ways[0].missing), (&names("carol"), &names("dave")));
    assert_eq!(combiner.present(), names("carol"));
    assert!(!combiner.is_complete());
    assert!(combiner.add(share(dave)).unwrap());
    assert!(combiner.is_complete());
    assert_eq!(combiner.finish().unwrap().seed.recipient().unwrap(), *file.recipient());
    assert!(combiner.add(share(alice)).unwrap());
    assert_eq!(format!("{:?}", share(alice)), "Share(alice at 1, redacted)");
    // Touches are saved: with a token and two papers here, the papers cost nothing.
    let cost = |name: &keyward_custody::Name| Some(u32::from(name.as_str() == "alice"));
    let plan: Vec<&str> = file.plan(cost).unwrap().iter().map(|leaf| leaf.holder().as_str()).collect();
    assert_eq!(plan, ["bob"]);
    let cost = |name: &keyward_custody::Name| match name.as_str() {
        "alice" => Some(1),
        "bob" => None,
        _ => Some(0),
    };
    let plan: Vec<&str> = file.plan(cost).unwrap().iter().map(|leaf| leaf.holder().as_str()).collect();
    assert_eq!(plan, ["carol", "dave"]);
}
