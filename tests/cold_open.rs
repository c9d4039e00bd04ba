//! What is exchanged with a token at one cold open, and what a look-alike gets.

use keyward_tests::{Exchange, Sandbox, read_trace};

const SELECT: u8 = 0xa4;
const VERIFY: u8 = 0x20;
const GENERAL_AUTHENTICATE: u8 = 0x87;
const GET_DATA: u8 = 0xcb;

fn traced_open(suite: &str) -> Vec<Exchange> {
    let sandbox = Sandbox::with_vault(suite);
    sandbox.write("letter", "dear alice");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();
    let trace = sandbox.path("trace.jsonl");
    sandbox
        .emulator()
        .token("alice.token")
        .trace(trace.clone())
        .keyward(["open", "letter.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("dear alice");
    read_trace(&trace)
}

fn instructions(trace: &[Exchange]) -> Vec<u8> {
    assert!(trace.iter().all(|exchange| exchange.status == Some(0x9000)), "{trace:#?}");
    trace.iter().map(|exchange| exchange.instruction).collect()
}

/// A PIN was sent: VERIFY with data, not the empty one that asks how many tries are left.
fn pin_was_sent(trace: &[Exchange]) -> bool {
    trace.iter().any(|exchange| exchange.instruction == VERIFY && exchange.command.len() > 10)
}

#[test]
fn a_hybrid_open_takes_five_round_trips_and_proves_the_card_first() {
    let trace = traced_open("hybrid");
    assert_eq!(
        instructions(&trace),
        [SELECT, GENERAL_AUTHENTICATE, VERIFY, GENERAL_AUTHENTICATE, GET_DATA],
        "{trace:#?}"
    );
    assert_eq!(trace[1].parameters, (0x11, 0x9e), "the card proof comes first");
    assert_eq!(trace[3].parameters, (0x11, 0x82), "the archive key opens");
    assert!(pin_was_sent(&trace));
}

#[test]
fn a_classic_open_takes_four_round_trips_and_proves_the_card_first() {
    let trace = traced_open("classic");
    assert_eq!(
        instructions(&trace),
        [SELECT, GENERAL_AUTHENTICATE, VERIFY, GENERAL_AUTHENTICATE],
        "{trace:#?}"
    );
    assert_eq!(trace[1].parameters, (0x11, 0x9e), "the card proof comes first");
    assert_eq!(trace[3].parameters, (0x11, 0x82), "the archive key opens");
}

#[test]
fn an_impostor_with_alices_serial_gets_no_pin() {
    let sandbox = Sandbox::with_vault("hybrid");
    sandbox.write("letter", "dear alice");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();
    // One fresh from the factory, and one that was enrolled as alice into a vault of somebody else.
    sandbox.new_token("blank.token", 11_110_001);
    let other = Sandbox::new();
    other.init("hybrid", "alice.token", "bob.token");
    std::fs::copy(other.path("alice.token"), sandbox.path("enrolled.token")).unwrap();

    for impostor in ["blank.token", "enrolled.token"] {
        let trace = sandbox.path("trace.jsonl");
        let outcome = sandbox
            .emulator()
            .token(impostor)
            .trace(trace.clone())
            .keyward(["open", "letter.age", "-o", "out"])
            .go()
            .failure()
            .calm_error()
            .no_stdout();
        assert!(matches!(outcome.exit_code(), Some(7 | 8)), "{impostor}: {outcome}");
        sandbox.absent("out");
        let trace = read_trace(&trace);
        assert!(!trace.is_empty(), "{impostor} was not even looked at");
        assert!(!pin_was_sent(&trace), "{impostor} got the PIN: {trace:#?}");
    }
}
