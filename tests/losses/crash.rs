//! A kill at every step on the file system: the generation before or the new one, always openable, and a second run
//! completes.
//!
//! strace counts the steps of a command that is left alone, and then ends it with SIGKILL right before each of them.
//! The long campaign takes every step; everyday some are taken, spread evenly.

use std::{collections::BTreeMap, fs};

use keyward_tests::{Outcome, Run, Sandbox, campaign_is_long};

use super::{generation, opens_with_both_papers, seal, with_both_papers};

/// Steps that change what a file system holds.
pub(crate) const STEPS: [&str; 14] = [
    "write",
    "pwrite64",
    "fsync",
    "fdatasync",
    "ftruncate",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "unlink",
    "unlinkat",
];
/// Everyday, so many steps of each command.
const EVERYDAY: usize = 16;
/// Of the thousands of messages to a token, the long campaign takes so many.
const LONG_MESSAGES: usize = 240;

/// One step: the system call, and the how-many-th of its kind, from 1.
pub(crate) type Step = (String, usize);

/// The steps of a command, in order, as strace sees them in its first thread.
pub(crate) fn steps(
    sandbox: &Sandbox,
    calls: &[&str],
    run: impl FnOnce(&Sandbox, &[String]) -> Run,
) -> Vec<Step> {
    let options = [
        "strace".to_owned(),
        "-qq".into(),
        "-o".into(),
        "steps.txt".into(),
        "-e".into(),
        trace_option(calls),
    ];
    run(sandbox, &options).go().success();
    let text = String::from_utf8_lossy(&sandbox.read("steps.txt")).into_owned();
    let mut counts = BTreeMap::new();
    let mut steps = Vec::new();
    for line in text.lines() {
        let Some((call, _)) = line.split_once('(') else { continue };
        let count = counts.entry(call.to_owned()).or_insert(0);
        *count += 1;
        steps.push((call.to_owned(), *count));
    }
    steps
}

fn trace_option(calls: &[&str]) -> String {
    // A call that this kind of machine does not have is passed over.
    let calls: Vec<String> = calls.iter().map(|call| format!("?{call}")).collect();
    format!("trace={}", calls.join(","))
}

/// Ends the command right before the step.
pub(crate) fn killed_at(
    sandbox: &Sandbox,
    step: &Step,
    run: impl FnOnce(&Sandbox, &[String]) -> Run,
) -> Outcome {
    let (call, count) = step;
    let options = [
        "strace".to_owned(),
        "-qq".into(),
        "-o".into(),
        "/dev/null".into(),
        "-e".into(),
        format!("trace={call}"),
        "-e".into(),
        format!("inject={call}:signal=KILL:when={count}"),
    ];
    run(sandbox, &options).go()
}

/// All of them in the long campaign; else some, the first and the last among them.
fn chosen(steps: &[Step]) -> Vec<Step> {
    spread(steps, if campaign_is_long() { steps.len() } else { EVERYDAY })
}

fn spread(steps: &[Step], wanted: usize) -> Vec<Step> {
    if wanted >= steps.len() {
        return steps.to_vec();
    }
    (0..wanted).map(|at| steps[at * (steps.len() - 1) / (wanted - 1)].clone()).collect()
}

/// `keyward` under strace, with both papers.
fn traced(sandbox: &Sandbox, strace: &[String], command: &[&str]) -> Run {
    let keyward = keyward_tests::program("keyward");
    sandbox
        .run(&strace[0])
        .args(&strace[1..])
        .arg("--")
        .arg(keyward)
        .args(command)
        .args(super::with(&["carol", "dave"]))
}

/// Kills a command of both papers at its steps. `made` is the vault before it, `done` what holds once it is complete.
fn survives(name: &str, made: &Sandbox, command: &[&str], done: impl Fn(&Sandbox)) {
    let run = |sandbox: &Sandbox, strace: &[String]| traced(sandbox, strace, command);
    let whole = made.copy();
    let steps = steps(&whole, &STEPS, run);
    let generation_before = generation(made);
    let generation_after = generation(&whole);
    assert!(generation_after > generation_before);
    done(&whole);
    let chosen = chosen(&steps);
    let (mut old, mut new) = (0, 0);
    for step in &chosen {
        let sandbox = made.copy();
        let outcome = killed_at(&sandbox, step, run);
        assert_ne!(outcome.exit_code(), Some(0), "{step:?} did not kill it:\n{outcome}");
        // Readers come first: nobody has mended anything.
        let now = generation(&sandbox);
        assert!((generation_before..=generation_after).contains(&now), "{step:?}: generation {now}");
        if now == generation_before {
            old += 1
        } else {
            new += 1
        }
        opens_with_both_papers(&sandbox, "before.age");
        seal(&sandbox, "between.age");
        opens_with_both_papers(&sandbox, "between.age");
        // An admin goes on. What is in force already may be refused as done, in words.
        let again = with_both_papers(&sandbox, command).go();
        if again.exit_code() != Some(0) {
            assert_eq!(generation(&sandbox), generation_after, "{step:?}, the second run:\n{again}");
            let _ = again.calm_error();
        }
        assert!(generation(&sandbox) >= generation_after, "{step:?}");
        done(&sandbox);
        seal(&sandbox, "after.age");
        for archive in ["before.age", "between.age", "after.age"] {
            opens_with_both_papers(&sandbox, archive);
        }
        only_leftovers(&sandbox, step);
    }
    println!(
        "{name}: killed at {} of {} steps; the generation before was in force {old} times, a new one {new} times",
        chosen.len(),
        steps.len()
    );
}

/// What a kill may leave is a temporary file or a draft, and nothing that a reader takes for more.
fn only_leftovers(sandbox: &Sandbox, step: &Step) {
    for name in sandbox.names("vault") {
        assert!(["drafts", "holders", "keys", "statements"].contains(&name.as_str()), "{step:?}: {name}");
    }
    for name in sandbox.names("vault/statements") {
        assert!(name.starts_with('0') || name.starts_with(".keyward-"), "{step:?}: {name}");
    }
}

fn sealed(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_papers(suite);
    seal(&sandbox, "before.age");
    sandbox
}

#[test]
fn a_kill_in_revoke_leaves_the_old_or_the_new() {
    survives("revoke", &sealed("hybrid"), &["revoke", "alice", "--yes"], |sandbox| {
        let recipients = sandbox.keyward(["vault", "recipients"]).go().success().stdout_text();
        let shown = sandbox.keyward(["holder", "list"]).go().success().stdout_text();
        assert!(!shown.contains("alice"), "{shown}");
        assert_eq!(
            recipients.lines().filter(|line| line.starts_with("age1tagpq1")).count(),
            1,
            "{recipients}"
        );
    });
}

#[test]
fn a_kill_in_epoch_new_leaves_the_old_or_the_new() {
    survives("epoch new", &sealed("classic"), &["epoch", "new", "--yes"], |sandbox| {
        assert!(super::epochs(sandbox).len() >= 2);
    });
}

#[test]
fn a_kill_in_rewrap_leaves_the_old_or_the_new() {
    let made = sealed("hybrid");
    with_both_papers(&made, &["revoke", "alice", "--yes"]).go().success();
    with_both_papers(&made, &["revoke", "bob", "--yes", "--policy", "carol and dave", "--no-recovery"])
        .go()
        .success();
    // Two epochs are kept under policies of yesterday: two generations in one run.
    survives("key rewrap", &made, &["key", "rewrap", "--yes"], |sandbox| {
        let listed = sandbox.keyward(["epoch", "list", "--json"]).go().success().stdout_text();
        for line in listed.lines() {
            let epoch: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(epoch["policy"], "carol and dave", "{line}");
        }
    });
}

/// `init` under strace, with alice's token, which is enrolled already, and two new papers.
fn traced_init(sandbox: &Sandbox, strace: &[String]) -> Run {
    sandbox
        .emulator()
        .token("alice.token")
        .run(&strace[0])
        .args(&strace[1..])
        .arg("--")
        .arg(keyward_tests::program("keyward"))
        .args(INIT)
}

const INIT: [&str; 11] = [
    "init",
    "--allow-emulated",
    "--yes",
    "--token",
    "alice=11110001",
    "--paper",
    "carol=carol.txt",
    "--paper",
    "dave=dave.txt",
    "--policy",
    "alice or (carol and dave)",
];

#[test]
fn a_kill_in_init_leaves_no_vault_or_a_whole_one() {
    let made = Sandbox::with_vault("hybrid");
    for folder in ["vault", "home"] {
        fs::remove_dir_all(made.path(folder)).unwrap();
    }
    let steps = steps(&made.copy(), &STEPS, traced_init);
    let chosen = chosen(&steps);
    let (mut none, mut whole) = (0, 0);
    for step in &chosen {
        let sandbox = made.copy();
        let outcome = killed_at(&sandbox, step, traced_init);
        assert_ne!(outcome.exit_code(), Some(0), "{step:?} did not kill it:\n{outcome}");
        // Either this host has a vault to seal to, or it says that there is none.
        sandbox.write("letter", "dear alice\n");
        let sealed = sandbox.keyward(["seal", "letter", "-o", "between.age"]).go();
        match sealed.exit_code() {
            Some(0) => whole += 1,
            Some(3 | 7) => none += 1,
            _ => panic!("{step:?}:\n{sealed}"),
        }
        let is_whole = sealed.exit_code() == Some(0);
        let again = sandbox.emulator().token("alice.token").keyward(INIT).go();
        assert!(again.exit_code() == Some(0) || is_whole, "{step:?}, the second run:\n{again}");
        seal(&sandbox, "after.age");
        opens_with_both_papers(&sandbox, "after.age");
        if is_whole {
            opens_with_both_papers(&sandbox, "between.age");
        }
        only_leftovers(&sandbox, step);
    }
    println!(
        "init: killed at {} of {} steps; no vault was there {none} times, a whole one {whole} times",
        chosen.len(),
        steps.len()
    );
}

/// A token from the factory is enrolled, and the program ends between two of the messages that this takes.
#[test]
fn a_kill_while_a_token_is_enrolled_is_made_good_by_a_second_run() {
    const INIT: [&str; 8] = [
        "init",
        "--allow-emulated",
        "--yes",
        "--token",
        "alice=11110001",
        "--policy",
        "alice",
        "--no-recovery",
    ];
    let run = |sandbox: &Sandbox, strace: &[String]| {
        sandbox
            .emulator()
            .token("alice.token")
            .run(&strace[0])
            .args(&strace[1..])
            .arg("--")
            .arg(keyward_tests::program("keyward"))
            .args(INIT)
    };
    let made = Sandbox::new();
    made.new_token("alice.token", 11_110_001);
    let steps = steps(&made.copy(), &["sendto"], run);
    let chosen = spread(&steps, if campaign_is_long() { LONG_MESSAGES } else { EVERYDAY });
    for step in &chosen {
        let sandbox = made.copy();
        let outcome = killed_at(&sandbox, step, run);
        assert_ne!(outcome.exit_code(), Some(0), "{step:?} did not kill it:\n{outcome}");
        let again = sandbox.emulator().token("alice.token").keyward(INIT).go();
        if again.exit_code() != Some(0) {
            // Only a vault that is whole already may refuse it.
            assert_eq!(again.exit_code(), Some(9), "{step:?}, the second run:\n{again}");
        }
        seal(&sandbox, "after.age");
        let opened = sandbox.emulator().token("alice.token").keyward(["open", "after.age", "-o", "-"]).go();
        opened.success().stdout_is("dear alice\n");
    }
    println!("enrolling: killed at {} of {} messages to the token", chosen.len(), steps.len());
}
