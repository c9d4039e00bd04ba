//! Policies from outside: every holder kind, every minimal set opens, and one who is missing is named.
//!
//! The table of dozens in one process is keyward-custody's own. Here each policy is a vault of its own, made and opened
//! by the program, and what satisfies it is said a second time, as a closure that knows nothing of Keyward.

use keyward_tests::{Outcome, SUITES, Sandbox, campaign_is_long};

use super::{seal, with};

/// Everyday, so many sets of each kind are tried for each policy.
const EVERYDAY: usize = 4;

type Here<'a> = &'a dyn Fn(&str) -> bool;

/// A policy and what satisfies it.
struct Case {
    policy: &'static str,
    satisfied: fn(Here<'_>) -> bool,
}

fn count(here: Here<'_>, names: &[&str]) -> usize {
    names.iter().filter(|name| here(name)).count()
}

/// Alice and bob are tokens, carol and dave have papers, erin a passphrase, frank and grace age identities.
const CASES: &[Case] = &[
    Case { policy: "alice or carol", satisfied: |h| h("alice") || h("carol") },
    Case {
        policy: "alice or bob or (carol and dave)",
        satisfied: |h| h("alice") || h("bob") || h("carol") && h("dave"),
    },
    Case { policy: "2 of (alice, carol, dave)", satisfied: |h| count(h, &["alice", "carol", "dave"]) >= 2 },
    Case {
        policy: "3 of (alice, bob, carol, dave)",
        satisfied: |h| count(h, &["alice", "bob", "carol", "dave"]) >= 3,
    },
    Case { policy: "alice and (carol or dave)", satisfied: |h| h("alice") && (h("carol") || h("dave")) },
    Case { policy: "alice and carol and dave", satisfied: |h| h("alice") && h("carol") && h("dave") },
    Case {
        policy: "(alice and carol) or (bob and dave)",
        satisfied: |h| h("alice") && h("carol") || h("bob") && h("dave"),
    },
    Case {
        policy: "(alice or carol) and (bob or dave)",
        satisfied: |h| (h("alice") || h("carol")) && (h("bob") || h("dave")),
    },
    Case { policy: "2 of (alice, erin, frank)", satisfied: |h| count(h, &["alice", "erin", "frank"]) >= 2 },
    Case {
        policy: "alice or 2 of (carol, dave, erin)",
        satisfied: |h| h("alice") || count(h, &["carol", "dave", "erin"]) >= 2,
    },
    Case {
        policy: "2 of (alice or bob, carol or dave, erin)",
        satisfied: |h| {
            [h("alice") || h("bob"), h("carol") || h("dave"), h("erin")]
                .into_iter()
                .filter(|part| *part)
                .count()
                >= 2
        },
    },
    Case {
        policy: "2 of (carol and dave, erin and frank, alice)",
        satisfied: |h| {
            [h("carol") && h("dave"), h("erin") && h("frank"), h("alice")]
                .into_iter()
                .filter(|part| *part)
                .count()
                >= 2
        },
    },
    Case {
        policy: "frank or (erin and carol) or (alice and dave)",
        satisfied: |h| h("frank") || h("erin") && h("carol") || h("alice") && h("dave"),
    },
    Case {
        policy: "alice or 3 of (carol, dave, erin, frank, grace)",
        satisfied: |h| h("alice") || count(h, &["carol", "dave", "erin", "frank", "grace"]) >= 3,
    },
    Case {
        policy: "2 of (alice and bob, 2 of (carol, dave, erin), frank or grace)",
        satisfied: |h| {
            [h("alice") && h("bob"), count(h, &["carol", "dave", "erin"]) >= 2, h("frank") || h("grace")]
                .into_iter()
                .filter(|part| *part)
                .count()
                >= 2
        },
    },
];

const ALL: [&str; 7] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace"];

fn is_token(name: &str) -> bool {
    ["alice", "bob"].contains(&name)
}

/// The vault of a case; its last epoch is kept under the case's policy.
fn vault(suite: &str, case: &Case) -> (Sandbox, Vec<&'static str>) {
    let named: Vec<&str> = ALL.into_iter().filter(|name| case.policy.contains(name)).collect();
    let sandbox = Sandbox::with_vault(suite);
    // The tokens are enrolled already; the vault is another.
    for folder in ["vault", "home"] {
        std::fs::remove_dir_all(sandbox.path(folder)).unwrap();
    }
    let first: Vec<&str> = named.iter().copied().filter(|name| is_token(name) || name[..1] < *"e").collect();
    let added: Vec<&str> = named[first.len()..].to_vec();
    let mut arguments = Vec::new();
    for name in &first {
        match *name {
            "alice" => arguments.extend(["--token".into(), "alice=11110001".into()]),
            "bob" => arguments.extend(["--token".into(), "bob=11110002".into()]),
            paper => arguments.extend(["--paper".into(), format!("{paper}={paper}.txt")]),
        }
    }
    let policy = if added.is_empty() { case.policy.to_owned() } else { first.join(" or ") };
    plugged_in(&sandbox, &first, &["init", "--allow-emulated", "--yes", "--suite", suite, "--no-recovery"])
        .args(arguments)
        .args(["--policy", &policy])
        .go()
        .success();
    for name in &added {
        let mut arguments: Vec<String> = match *name {
            "erin" => vec!["--passphrase".into(), "erin.txt".into()],
            name => vec!["--recipient".into(), age_identity(&sandbox, suite, name)],
        };
        if added.last() == Some(name) {
            arguments.extend(["--policy".into(), case.policy.into()]);
        }
        let papers: Vec<&str> = first.iter().copied().filter(|name| !is_token(name)).collect();
        plugged_in(&sandbox, &first, &["holder", "add", name, "--yes"])
            .args(arguments)
            .args(with(&papers))
            .go()
            .success();
    }
    seal(&sandbox, "letter.age");
    (sandbox, named)
}

/// Makes an age identity with stock age, and returns its recipient.
fn age_identity(sandbox: &Sandbox, suite: &str, name: &str) -> String {
    let file = format!("{name}.txt");
    let kind: &[&str] = if suite == "hybrid" { &["-pq"] } else { &[] };
    sandbox.run("age-keygen").args(kind).args(["-o", &file]).go().success();
    let shown = sandbox.run("age-keygen").args(["-y", &file]).go().success();
    shown.stdout_text().trim().to_owned()
}

/// A command with the tokens of those who have one.
fn plugged_in(sandbox: &Sandbox, who: &[&str], command: &[&str]) -> keyward_tests::Run {
    let tokens: Vec<String> =
        who.iter().filter(|name| is_token(name)).map(|name| format!("{name}.token")).collect();
    if tokens.is_empty() {
        return sandbox.keyward(command);
    }
    tokens.iter().fold(sandbox.emulator(), |emulator, token| emulator.token(token)).keyward(command)
}

fn open(sandbox: &Sandbox, who: &[&str]) -> Outcome {
    let with = who.iter().flat_map(|name| {
        let value = if is_token(name) { (*name).to_owned() } else { format!("{name}={name}.txt") };
        ["--with".to_owned(), value]
    });
    plugged_in(sandbox, who, &["open", "letter.age", "-o", "-"]).args(with).go()
}

fn members<'a>(named: &[&'a str], set: usize) -> Vec<&'a str> {
    named.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1).map(|(_, name)| *name).collect()
}

/// The minimal sets, and the maximal sets that do not suffice, by trying all.
fn extremes(case: &Case, named: &[&str]) -> (Vec<usize>, Vec<usize>) {
    let satisfied = |set: usize| {
        let members = members(named, set);
        (case.satisfied)(&|name| members.contains(&name))
    };
    let bits = || (0..named.len()).map(|at| 1 << at);
    let sets = 0..1_usize << named.len();
    let minimal = sets
        .clone()
        .filter(|set| satisfied(*set) && bits().all(|bit| set & bit == 0 || !satisfied(set & !bit)))
        .collect();
    let maximal = sets
        .filter(|set| !satisfied(*set) && bits().all(|bit| set & bit != 0 || satisfied(set | bit)))
        .collect();
    (minimal, maximal)
}

/// All of them in the long campaign; else a few, spread evenly.
fn spread(sets: &[usize]) -> Vec<usize> {
    let wanted = if campaign_is_long() { sets.len() } else { sets.len().min(EVERYDAY) };
    (0..wanted).map(|at| sets[at * sets.len() / wanted]).collect()
}

fn check(suite: &str, case: &Case) -> [usize; 2] {
    let (sandbox, named) = vault(suite, case);
    let (minimal, maximal) = extremes(case, &named);
    let (minimal, maximal) = (spread(&minimal), spread(&maximal));
    for set in &minimal {
        let who = members(&named, *set);
        let outcome = open(&sandbox, &who);
        assert!(
            outcome.exit_code() == Some(0) && outcome.stdout == b"dear alice\n",
            "{}: {who:?} do not open:\n{outcome}",
            case.policy
        );
    }
    // With nobody at all there is nothing to ask for: another exit code, tried elsewhere.
    for set in maximal.iter().filter(|set| **set != 0) {
        let who = members(&named, *set);
        let outcome = open(&sandbox, &who).code(8).calm_error().no_stdout();
        let said = outcome.stderr_text();
        // Each who is absent would suffice, and up to four are named.
        let absent = named.iter().filter(|name| !who.contains(name));
        let missing = absent.clone().filter(|name| said.contains(&format!("{name} is missing"))).count();
        assert_eq!(missing, absent.count().min(4), "{}: with {who:?}\n{outcome}", case.policy);
        for name in &who {
            assert!(
                !said.contains(&format!("{name} is missing")),
                "{}: {name} is here\n{outcome}",
                case.policy
            );
        }
    }
    [minimal.len(), maximal.len()]
}

#[test]
fn policies_open_with_every_minimal_set_and_name_who_is_missing() {
    let mut counts = [0; 2];
    for (number, case) in CASES.iter().enumerate() {
        // Everyday the suites take turns.
        let suites = if campaign_is_long() { &SUITES[..] } else { &SUITES[number % 2..][..1] };
        for suite in suites {
            let [minimal, maximal] = check(suite, case);
            counts = [counts[0] + minimal, counts[1] + maximal];
        }
    }
    println!(
        "{} policies: {} minimal sets opened, {} insufficient sets were refused and named who is missing",
        CASES.len(),
        counts[0],
        counts[1]
    );
    assert!(counts[0] >= 2 * CASES.len() && counts[1] >= 2 * CASES.len(), "{counts:?}");
}
