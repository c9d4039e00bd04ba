//! The stored vectors of `tests/vectors/keys`: opened, taken apart, and compared with a second reader of shares.

use keyward_age::Suite;
use keyward_custody::{Combiner, Digest, Error, Name, Policy, Statement, unlock_identity};
use serde_json::Value;

use crate::vector_files::{PASSPHRASE, SUITES, Stored, TEAM_POLICY, derived, folder, people};

#[test]
fn the_vectors_are_what_the_code_says_of_them() {
    let mut known: Vec<String> = vec!["README.md".to_owned()];
    let mut compared = 0;
    for (path, bytes) in derived(&Stored::read()) {
        let stored = std::fs::read(folder().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(stored == bytes, "{path} is not what is made today");
        known.push(path);
        compared += 1;
    }
    assert!(compared > 15);
    known.extend(Stored::read().paths());
    let mut unknown = Vec::new();
    let mut folders = vec![folder()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder()).unwrap().to_str().unwrap().to_owned();
                unknown.extend((!known.contains(&below)).then_some(below));
            }
        }
    }
    assert!(unknown.is_empty(), "nothing makes {unknown:?}");
}

#[test]
fn every_minimal_set_opens_the_stored_key_files() {
    for suite in SUITES {
        let stored = Stored::read();
        let verified = stored.verified(suite);
        let file = verified.key_file(1, stored.file(suite, "keys/epoch-1.g1.json")).unwrap();
        let policy: Policy = TEAM_POLICY.parse().unwrap();
        assert_eq!(file.policy(), &policy);
        let sets = policy.minimal_sets();
        for set in &sets {
            let mut combiner = Combiner::new(&file);
            for person in people(suite).iter().filter(|person| set.contains(&person.name())) {
                for leaf in file.leaves_of(&person.name()) {
                    combiner.add(person.open(&file, leaf).unwrap()).unwrap();
                }
            }
            let seed = combiner.finish().unwrap().seed;
            assert_eq!(seed.recipient().unwrap(), *verified.epoch_in_force().unwrap().recipient());
        }
        assert!(sets.len() >= 5);
    }
}

#[test]
fn the_stored_passphrase_opens_its_file() {
    for suite in SUITES {
        let stored = Stored::read();
        let erin: Name = "erin".parse().unwrap();
        let verified = stored.verified(suite);
        let (holder, file) = (&verified.holders()[&erin], stored.file(suite, "holders/erin.age"));
        let identity = unlock_identity(&erin, holder, file, &PASSPHRASE.to_owned().into()).unwrap();
        assert_eq!(identity.recipient().unwrap(), *holder.archive());
        let carol: Name = "carol".parse().unwrap();
        let wrong = unlock_identity(&carol, &verified.holders()[&carol], file, &PASSPHRASE.to_owned().into());
        assert!(matches!(wrong, Err(Error::HolderKind { kind: "paper", .. })));
    }
}

#[test]
fn new_ones_would_have_the_same_files() {
    let (fresh, stored) = (Stored::fresh(), Stored::read());
    assert_eq!(fresh.paths().collect::<Vec<_>>(), stored.paths().collect::<Vec<_>>());
    assert!(fresh.files() != stored.files(), "key files are sealed with fresh randomness");
    let paths = |stored: &Stored| derived(stored).into_keys().collect::<Vec<_>>();
    assert_eq!(paths(&fresh), paths(&stored));
}

/// Multiplication in GF(256) as FIPS 197 section 4.2 writes it.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        if b & 1 == 1 {
            product ^= a;
        }
        a = if a & 0x80 == 0 { a << 1 } else { a << 1 ^ 0x1b };
        b >>= 1;
    }
    product
}

/// The value at x = 0 of the polynomial through these points (Lagrange), a byte at a time.
fn interpolate(points: &[(u8, Vec<u8>)]) -> Vec<u8> {
    (0..32)
        .map(|place| {
            points.iter().fold(0, |sum, (x, y)| {
                let mut term = y[place];
                for (other, _) in points.iter().filter(|(other, _)| other != x) {
                    // Division is multiplication by the 254th power.
                    let quotient = (0..254).fold(1, |power, _| times(power, other ^ x));
                    term = times(term, times(*other, quotient));
                }
                sum ^ term
            })
        })
        .collect()
}

/// Follows `docs/formats.md` alone: no share is taken from the code under test.
#[test]
fn a_second_reader_gets_the_same_seed() {
    for suite in SUITES {
        let values: Value =
            serde_json::from_slice(&std::fs::read(folder().join(format!("{suite}/values.json"))).unwrap())
                .unwrap();
        let bytes = |text: &Value| -> Vec<u8> {
            let text = text.as_str().unwrap();
            (0..text.len() / 2).map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap()).collect()
        };
        let share = |path: &str| {
            let leaf = values["leaves"].as_array().unwrap().iter().find(|leaf| leaf["path"] == path).unwrap();
            let plain = leaf["plaintext"].as_str().unwrap();
            assert_eq!(Digest::of(plain.as_bytes()).to_string(), leaf["share_digest"].as_str().unwrap());
            assert!(plain.ends_with(&format!("share {}\n", leaf["share"].as_str().unwrap())));
            bytes(&leaf["share"])
        };
        // alice or (bob and carol) or 2 of (carol, dave, erin)
        let seed = bytes(&values["seed"]);
        assert_eq!(share("1"), seed, "1 of n hands it on");
        assert_eq!(interpolate(&[(1, share("2.1")), (2, share("2.2"))]), seed);
        for (one, two) in [(1, 2), (1, 3), (2, 3)] {
            let point = |x: u8| (x, share(&format!("3.{x}")));
            assert_eq!(interpolate(&[point(one), point(two)]), seed);
        }
        assert_ne!(share("3.1"), seed);
    }
}

#[test]
fn the_stored_statement_names_the_stored_key_file() {
    for suite in SUITES {
        let stored = Stored::read();
        let statement = Statement::parse(stored.file(suite, "statements/0001.json")).unwrap();
        assert_eq!(statement.suite(), suite);
        let json: Value = serde_json::from_slice(statement.bytes()).unwrap();
        let digest = Digest::of(stored.file(suite, "keys/epoch-1.g1.json")).to_string();
        assert_eq!(json["epochs"][0]["file"].as_str(), Some(digest.as_str()));
        let names: Vec<Name> = people(suite).iter().map(|person| person.name()).collect();
        assert_eq!(names.len(), json["holders"].as_object().unwrap().len());
    }
    assert_eq!(SUITES, [Suite::Hybrid, Suite::Classic]);
}

#[test]
fn the_page_on_formats_shows_these_vectors() {
    let page = std::fs::read_to_string(folder().join("../../../docs/formats.md")).unwrap();
    let values: Value =
        serde_json::from_slice(&std::fs::read(folder().join("classic/values.json")).unwrap()).unwrap();
    let papers: Value = serde_json::from_slice(&std::fs::read(folder().join("paper.json")).unwrap()).unwrap();
    let leaf = values["leaves"].as_array().unwrap().iter().find(|leaf| leaf["path"] == "2.1").unwrap();
    let shown = leaf["plaintext"].as_str().unwrap().lines().chain([
        papers[1]["words"].as_str().unwrap(),
        papers[1]["classic_seed"].as_str().unwrap(),
        papers[1]["signing_seed"].as_str().unwrap(),
        values["recipient"].as_str().unwrap(),
    ]);
    for text in shown {
        assert!(page.contains(text), "{text} is not in docs/formats.md");
    }
}
