//! What bad input gets: its own exit code, a calm message, and nothing half-written under a final name.

mod archive;
mod destination;
mod hostile_tar;
mod pin;
mod token;
mod vault;

use keyward_tests::{Outcome, SUITES, Sandbox, small_tree};

/// A vault and `photos.age`, sealed for alice and bob from a small tree.
fn sealed(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_vault(suite);
    small_tree(&sandbox.path("photos"));
    sandbox.keyward(["seal", "photos", "-o", "photos.age"]).go().success().no_stdout();
    sandbox
}

/// A vault and `letter.age`, sealed from one small file: the quickest archive.
fn letter(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_vault(suite);
    sandbox.write("letter", "dear alice\n");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success().no_stdout();
    sandbox
}

/// The command ended with this code and a calm message, and made no `out`.
#[track_caller]
fn refused(sandbox: &Sandbox, outcome: Outcome, code: i32) -> Outcome {
    let outcome = outcome.code(code).calm_error().no_stdout();
    sandbox.absent("out");
    nothing_left_behind(sandbox);
    outcome
}

/// No temporary file stands beside the results.
#[track_caller]
fn nothing_left_behind(sandbox: &Sandbox) {
    let known = [
        "alice.token",
        "blank.token",
        "bob.token",
        "enrolled.token",
        "eve.token",
        "hostile.tar",
        "hostile.tar.zst",
        "home",
        "letter",
        "letter.age",
        "letter.age.receipt",
        "other.age",
        "other.age.receipt",
        "photos",
        "photos.age",
        "photos.age.receipt",
        "r.txt",
        "trace.jsonl",
        "user",
        "vault",
    ];
    for name in sandbox.names("") {
        assert!(known.contains(&name.as_str()), "{name} was left behind");
    }
    assert_eq!(sandbox.names("user"), [""; 0], "something was left in the home or temporary folder");
}

/// Runs the check in both suites.
fn in_both_suites(check: impl Fn(&str)) {
    SUITES.into_iter().for_each(check);
}
