//! Every minimal set of holders opens, every maximal insufficient one fails and names what is missing.

use std::collections::BTreeSet;

use keyward_age::Suite;
use keyward_custody::{
    Class, Combiner, Error, Generation, IdentitySeed, KeyFile, KeyId, Name, Policy, Statement, VaultId,
    WhatIf,
};

use crate::fixed::secret;
use crate::people::{KINDS, Person, combine, first, recipients};

/// Flat, nested, with one to nine holders; a holder's kind goes by its place in the alphabet.
const POLICIES: [&str; 38] = [
    "a",
    "b",
    "c",
    "d",
    "a or b",
    "c and d",
    "a and b",
    "a or b or c",
    "b and c and d",
    "2 of (a, b, c)",
    "a or b or (c and d)",
    "a and (b or c)",
    "a and (b or c) and d",
    "a or (b and c)",
    "(a and b) or (a and c)",
    "(a and b) or (c and d)",
    "(a or b) and (c or d)",
    "2 of (a, b, c, d)",
    "3 of (a, b, c, d)",
    "a or 2 of (b, c, d)",
    "a and 2 of (b, c, d)",
    "2 of (a, b and c, d)",
    "2 of (a, b or c, d or e)",
    "2 of (a and b, b and c, c and d)",
    "a or (b and (c or (d and e)))",
    "a and (b or (c and (d or e)))",
    "3 of (a, b, c, d, e)",
    "2 of (a, b, c) and 2 of (d, e, f)",
    "2 of (2 of (a, b, c), 2 of (c, d, e), f)",
    "a or 3 of (b, c, d, e, f)",
    "(a and b) or (b and c) or (c and a)",
    "4 of (a, b, c, d, e, f, g)",
    "a or b or (c and d) or 3 of (e, f, g, h)",
    "2 of (a, 2 of (b, c, d), 2 of (e, f, g))",
    "5 of (a, b, c, d, e, f, g, h)",
    "3 of (a or b, c or d, e or f, g or h)",
    "2 of (a, b, c, d, e, f, g, h, i)",
    "a or 2 of (b and c, d and e, 2 of (f, g, h, i))",
];

fn people(policy: &Policy, suite: Suite) -> Vec<Person> {
    policy
        .names()
        .iter()
        .map(|name| {
            let place = usize::from(name.as_str().as_bytes()[0] - b'a');
            Person::new(name.as_str(), KINDS[place % KINDS.len()], suite)
        })
        .collect()
}

/// The largest sets of holders that do not open, by looking at all sets.
fn maximal_insufficient(policy: &Policy) -> Vec<BTreeSet<Name>> {
    let everybody: Vec<Name> = policy.names().into_iter().cloned().collect();
    let sets = (0..1_u32 << everybody.len()).map(|mask| {
        let chosen = everybody.iter().enumerate().filter(|(index, _)| mask >> index & 1 == 1);
        chosen.map(|(_, name)| name.clone()).collect::<BTreeSet<Name>>()
    });
    sets.filter(|set| {
        !policy.satisfied_by(set)
            && everybody.iter().filter(|name| !set.contains(*name)).all(|name| {
                let mut more = set.clone();
                more.insert(name.clone());
                policy.satisfied_by(&more)
            })
    })
    .collect()
}

fn split(policy: &Policy, people: &[Person], suite: Suite) -> (KeyFile, IdentitySeed) {
    let seed = IdentitySeed::from_bytes(suite, &secret("the epoch"));
    let id = KeyId::epoch(VaultId::from_bytes([7; 16]), 3, Generation::FIRST).unwrap();
    let file = KeyFile::split(&id, &seed, policy, &recipients(people)).unwrap();
    (KeyFile::parse(file.bytes()).unwrap(), seed)
}

fn table(suite: Suite) {
    let (mut policies, mut opened, mut refused, mut unwrapped) = (0, 0, 0, 0);
    for text in POLICIES {
        let policy: Policy = text.parse().unwrap();
        let people = people(&policy, suite);
        let (file, seed) = split(&policy, &people, suite);
        assert_eq!(file.policy().to_string(), text);
        let who = |set: &BTreeSet<Name>| -> Vec<&Person> {
            people.iter().filter(|person| set.contains(&person.name())).collect()
        };

        for set in policy.minimal_sets() {
            let combined = combine(&file, &who(&set)).unwrap_or_else(|e| panic!("{text}, {set:?}: {e}"));
            assert_eq!(combined.seed.recipient().unwrap(), seed.recipient().unwrap(), "{text}, {set:?}");
            assert!(combined.wrong.is_empty());
            // The plan opens no more leaves than it has to, and its leaves suffice.
            let plan = file.plan(|name| set.contains(name).then_some(1)).unwrap();
            let mut combiner = Combiner::new(&file);
            for leaf in &plan {
                assert!(!combiner.is_complete(), "{text}: a leaf too many");
                let person = people.iter().find(|person| person.name() == *leaf.holder()).unwrap();
                combiner.add(person.open(&file, leaf).unwrap()).unwrap();
                unwrapped += 1;
            }
            assert!(combiner.finish().is_ok(), "{text}, {set:?}");
            opened += 1;
        }
        for set in maximal_insufficient(&policy) {
            let error = combine(&file, &who(&set)).unwrap_err();
            assert_eq!(error.class(), Class::NotSatisfied);
            let Error::NotSatisfied { missing, .. } = &error else { panic!("{text}, {set:?}: {error}") };
            // Whoever is left out would help, since the set is maximal; each is a way of its own.
            let absent: Vec<&Person> = people.iter().filter(|person| !set.contains(&person.name())).collect();
            for person in absent.iter().take(4) {
                let told = missing.split([' ', ',']).any(|word| word == person.name);
                assert!(
                    told || absent.len() > 4,
                    "{text} with {set:?}: '{missing}' names no {}",
                    person.name
                );
            }
            assert!(file.plan(|name| set.contains(name).then_some(1)).is_none(), "{text}, {set:?}");
            refused += 1;
        }
        policies += 1;
    }
    println!(
        "{suite}: {policies} policies, {opened} minimal sets open ({unwrapped} leaves), {refused} maximal insufficient sets are refused"
    );
    assert!(policies >= 30 && opened >= 300 && refused >= 200, "{policies}, {opened}, {refused}");
}

#[test]
fn every_minimal_set_opens_and_no_insufficient_one_classic() {
    table(Suite::Classic);
}

#[test]
fn every_minimal_set_opens_and_no_insufficient_one_hybrid() {
    table(Suite::Hybrid);
}

#[test]
fn the_table_has_every_kind_and_size() {
    let sizes: BTreeSet<usize> =
        POLICIES.iter().map(|text| text.parse::<Policy>().unwrap().names().len()).collect();
    assert_eq!(sizes, (1..=9).collect());
}

fn statement(policy: &str) -> Statement {
    let people = people(&policy.parse().unwrap(), Suite::Classic);
    let mut draft = first(&people, policy);
    draft.no_recovery = true;
    draft.new_epoch().unwrap();
    draft.build().unwrap()
}

#[test]
fn what_if_agrees_with_the_policy() {
    // Whoever has a token or paper is an admin: a, b, e, f, i.
    let (mut asked, mut open) = (0, 0);
    for text in ["a or b or (c and d)", "2 of (a, b and c, d)", "a or 2 of (b and e, 2 of (c, d, f))"] {
        let statement = statement(text);
        let policy = statement.policy();
        let everybody: Vec<Name> = policy.names().into_iter().cloned().collect();
        for mask in 0..1_u32 << everybody.len() {
            let (lost, left): (Vec<_>, Vec<_>) =
                everybody.iter().enumerate().partition(|(index, _)| mask >> index & 1 == 1);
            let set = |side: Vec<(usize, &Name)>| -> BTreeSet<Name> {
                side.into_iter().map(|(_, n)| n.clone()).collect()
            };
            let (lost, left) = (set(lost), set(left));
            let what_if = WhatIf::of(&statement, &lost).unwrap();
            assert_eq!(what_if.opens(), policy.satisfied_by(&left), "{text} without {lost:?}");
            for name in &left {
                let mut fewer = left.clone();
                fewer.remove(name);
                let needed = what_if.opens() && !policy.satisfied_by(&fewer);
                assert_eq!(
                    what_if.indispensable.contains(name),
                    needed,
                    "{text} without {lost:?}, then {name}"
                );
                let alone = policy.satisfied_by(&BTreeSet::from([name.clone()]));
                assert_eq!(what_if.alone.contains(name), alone);
            }
            assert!(what_if.together.iter().all(|set| set.is_subset(&left) && policy.satisfied_by(set)));
            let admins = statement.admins().keys().filter(|name| !lost.contains(*name)).count();
            assert_eq!(what_if.root, admins >= statement.thresholds().root as usize);
            asked += 1;
            open += usize::from(what_if.opens());
        }
    }
    assert!(asked == 16 + 16 + 64 && open > 40 && open < asked);
    let stranger = WhatIf::of(&statement("a or b"), &BTreeSet::from(["zoe".parse().unwrap()]));
    assert!(matches!(stranger, Err(Error::Nobody { .. })));
}
