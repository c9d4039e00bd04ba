//! Tokens that are not touched, are pulled out, or are somebody else's.

use keyward_tests::{Sandbox, read_trace};

use super::{in_both_suites, letter, refused, sealed};

#[test]
fn an_untouched_token_opens_nothing() {
    in_both_suites(|suite| {
        let sandbox = sealed(suite);
        let outcome = sandbox
            .emulator()
            .token("alice.token")
            .deny_touch()
            .keyward(["open", "photos.age", "-C", "out"])
            .go();
        refused(&sandbox, outcome, 5).stderr_has("alice");
        let outcome = sandbox.emulator().token("alice.token").deny_touch().keyward(["ls", "photos.age"]).go();
        refused(&sandbox, outcome, 5);
    });
}

#[test]
fn a_token_may_be_pulled_out_at_any_moment() {
    in_both_suites(|suite| {
        let sandbox = letter(suite);
        let trace = sandbox.path("trace.jsonl");
        sandbox
            .emulator()
            .token("alice.token")
            .trace(trace.clone())
            .keyward(["open", "letter.age", "-o", "-"])
            .go()
            .success()
            .stdout_is("dear alice\n");
        let answers = u64::try_from(read_trace(&trace).len()).unwrap();
        for answer in 1..=answers {
            let outcome = sandbox
                .emulator()
                .token("alice.token")
                .remove_at(answer)
                .keyward(["open", "letter.age", "-o", "out"])
                .go();
            refused(&sandbox, outcome, 6);
        }
        // It was pulled out after the last answer: everything needed had been said.
        sandbox
            .emulator()
            .token("alice.token")
            .remove_at(answers + 1)
            .keyward(["open", "letter.age", "-o", "-"])
            .go()
            .success()
            .stdout_is("dear alice\n");
    });
}

#[test]
fn a_foreign_token_is_told_from_a_holders() {
    let sandbox = letter("hybrid");
    sandbox.new_token("blank.token", 22_220_001);
    let other = Sandbox::new();
    other.init("hybrid", "alice.token", "eve.token");
    std::fs::copy(other.path("eve.token"), sandbox.path("eve.token")).unwrap();
    for token in ["blank.token", "eve.token"] {
        let trace = sandbox.path("trace.jsonl");
        let outcome = sandbox
            .emulator()
            .token(token)
            .trace(trace.clone())
            .keyward(["open", "letter.age", "-o", "out"])
            .go();
        // Eve's token has bob's serial, so it is a holder by its number and fails the proof.
        let code = if token == "eve.token" { 7 } else { 8 };
        refused(&sandbox, outcome, code);
        let pin = read_trace(&trace)
            .into_iter()
            .any(|exchange| exchange.instruction == 0x20 && exchange.command.len() > 10);
        assert!(!pin, "{token} got the PIN");
    }
}

#[test]
fn a_holder_beside_a_foreign_token_opens() {
    let sandbox = letter("hybrid");
    sandbox.new_token("blank.token", 22_220_001);
    sandbox
        .emulator()
        .token("blank.token")
        .token("bob.token")
        .keyward(["open", "letter.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("dear alice\n");
}

#[test]
fn no_token_at_all_names_the_holders() {
    let sandbox = letter("hybrid");
    let outcome = sandbox.keyward(["open", "letter.age", "-o", "out"]).go();
    refused(&sandbox, outcome, 3).stderr_has("alice").stderr_has("bob");
}
