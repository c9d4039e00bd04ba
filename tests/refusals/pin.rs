//! Wrong and blocked PINs.

use keyward_tests::{Exchange, PIN, Run, Sandbox, read_trace};

use super::{in_both_suites, letter, refused};

const WRONG: &str = "13572468";

fn open(sandbox: &Sandbox, pin: &str) -> Run {
    sandbox
        .emulator()
        .token("alice.token")
        .trace(sandbox.path("trace.jsonl"))
        .keyward(["open", "letter.age", "-o", "out"])
        .env("KEYWARD_PIN", pin)
}

/// The PINs that were sent to the token in the last run.
fn pins_sent(sandbox: &Sandbox) -> Vec<Exchange> {
    let trace = read_trace(&sandbox.path("trace.jsonl"));
    trace.into_iter().filter(|exchange| exchange.instruction == 0x20 && exchange.command.len() > 10).collect()
}

#[test]
fn a_wrong_pin_costs_one_try_and_says_how_many_are_left() {
    in_both_suites(|suite| {
        let sandbox = letter(suite);
        let outcome = refused(&sandbox, open(&sandbox, WRONG).go(), 4).stderr_has("2 tries left");
        assert!(!outcome.stderr_text().contains(WRONG), "the PIN is shown:\n{outcome}");
        assert_eq!(pins_sent(&sandbox).len(), 1);
        // The right one restores the tries.
        open(&sandbox, PIN).arg("--quiet").go().code(0).no_stdout();
        std::fs::remove_file(sandbox.path("out")).unwrap();
        refused(&sandbox, open(&sandbox, WRONG).go(), 4).stderr_has("2 tries left");
    });
}

#[test]
fn the_last_try_is_used_only_when_that_is_asked_for() {
    let sandbox = letter("hybrid");
    refused(&sandbox, open(&sandbox, WRONG).go(), 4).stderr_has("2 tries left");
    refused(&sandbox, open(&sandbox, WRONG).go(), 4).stderr_has("1 try left");
    // With one left and nobody to ask, even the right PIN is not sent.
    for pin in [WRONG, PIN] {
        let outcome = open(&sandbox, pin).go().failure().calm_error().stderr_has("--last-try");
        assert_eq!(pins_sent(&sandbox).len(), 0, "{outcome}");
    }
    open(&sandbox, PIN).arg("--last-try").go().success().no_stdout();
    std::fs::remove_file(sandbox.path("out")).unwrap();
    refused(&sandbox, open(&sandbox, WRONG).go(), 4).stderr_has("2 tries left");
}

#[test]
fn a_blocked_pin_is_named_as_such_and_the_puk_is_the_way_back() {
    let sandbox = letter("hybrid");
    for _ in 0..2 {
        refused(&sandbox, open(&sandbox, WRONG).go(), 4);
    }
    refused(&sandbox, open(&sandbox, WRONG).arg("--last-try").go(), 4).stderr_has("blocked");
    refused(&sandbox, open(&sandbox, PIN).go(), 4).stderr_has("blocked").stderr_has("PUK");
    // Bob's token opens meanwhile.
    sandbox.emulator().token("bob.token").keyward(["open", "letter.age", "-o", "-"]).go().success();
}

#[test]
fn a_pin_of_impossible_length_is_not_sent() {
    let sandbox = letter("hybrid");
    for pin in ["12345", "123456789"] {
        refused(&sandbox, open(&sandbox, pin).go(), 4);
        assert_eq!(pins_sent(&sandbox).len(), 0, "{pin} was sent");
    }
}

#[test]
fn without_a_pin_and_a_terminal_the_option_is_named() {
    let sandbox = letter("hybrid");
    let outcome = open(&sandbox, "").env_remove("KEYWARD_PIN").go();
    refused(&sandbox, outcome.failure(), 2).stderr_has("KEYWARD_PIN_FILE");
}

#[test]
fn a_pin_file_serves_each_token_by_its_serial() {
    let sandbox = letter("hybrid");
    sandbox.write("user/pins", format!("11110002 {WRONG}\n11110001 {PIN}\n"));
    let pins = sandbox.path("user/pins");
    std::fs::set_permissions(&pins, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    open(&sandbox, "").env_remove("KEYWARD_PIN").env("KEYWARD_PIN_FILE", &pins).go().success().no_stdout();
    assert_eq!(sandbox.read("out"), b"dear alice\n");
}
