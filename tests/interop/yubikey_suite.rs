//! The integration tests of the yubikey crate, which are written for a YubiKey with firmware 5.7.

use keyward_tests::{Outcome, Peer, Sandbox, peer};

fn run(which: &str) -> Outcome {
    let sandbox = Sandbox::new();
    sandbox.new_token("suite.token", 11_110_001);
    let suite = peer(Peer::YubikeySuite);
    sandbox
        .emulator()
        .token("suite.token")
        .run(suite.join(which))
        .args(["--ignored", "--test-threads=1"])
        .current_dir(suite.join("source"))
        .go()
}

#[test]
fn the_integration_tests_of_the_yubikey_crate_pass() {
    run("corrected").success().stdout_has("test result: ok. 14 passed; 0 failed; 0 ignored");
}

/// As it is published, the crate hashes what an Ed25519 key is to sign and then checks the signature of the unhashed
/// message: its issue 670. A YubiKey that signs what it is given fails that test, and so does the emulator.
#[test]
fn as_published_they_pass_but_for_their_own_mistake_with_ed25519() {
    run("published")
        .code(101)
        .stdout_has("failures:\n    generate_self_signed_cv_cert\n\n")
        .stdout_has("test result: FAILED. 13 passed; 1 failed; 0 ignored");
}
