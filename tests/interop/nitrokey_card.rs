//! A PIV card that none of ours wrote: Nitrokey's, in software, in vsmartcard's reader under a pcscd of its own.
//!
//! It is enrolled by the standard's commands, takes part in a vault, and opens by PIN. It knows some of Yubico's commands by
//! name: it makes up a version and a serial number and answers GET METADATA with nothing, and none of that makes it a YubiKey.

use std::process::Command;

use keyward_tests::{Outcome, PIN, Pcscd, Peer, Run, SUITES, Sandbox, Service, campaign_is_long, peer};

/// The card in its reader; it is pulled out with the value.
struct Card {
    pcscd: Pcscd,
    _card: Service,
}

impl Card {
    fn plug_in(sandbox: &Sandbox) -> Self {
        let pcscd = Pcscd::start_named(sandbox, "Virtual PCD");
        let card = Service::start(Command::new(peer(Peer::NitrokeyCard)).arg(pcscd.port().to_string()));
        pcscd.wait_for("Card ATR");
        Self { pcscd, _card: card }
    }

    fn keyward(&self, sandbox: &Sandbox, arguments: &[&str]) -> Run {
        sandbox.keyward(arguments).env("PCSCLITE_CSOCK_NAME", self.pcscd.socket())
    }
}

/// A sandbox with the factory's PIN in a file, as its owner would have it.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("factory-pin", "123456\n");
    sandbox.write("plain", "for a card of another make\n");
    sandbox
}

const ENROL: [&str; 4] = ["--present-pin", "factory-pin", "--default-management-key", "--yes"];

fn init(card: &Card, sandbox: &Sandbox, suite: &str) -> Outcome {
    card.keyward(sandbox, &["init", "--token", "carol=card", "--paper", "dave=paper", "--suite", suite])
        .args(["--allow-emulated"])
        .args(ENROL)
        .go()
}

#[test]
fn a_card_of_another_make_is_enrolled_by_the_standard_and_opens_by_pin() {
    // An enrolment takes this card some ten seconds; everyday the default suite is enough.
    let suites = if campaign_is_long() { &SUITES[..] } else { &["hybrid"] };
    for suite in suites {
        let sandbox = sandbox();
        let card = Card::plug_in(&sandbox);
        card.keyward(&sandbox, &["token", "list"]).go().success().stdout_has("PIV card, in Virtual PCD");
        card.keyward(&sandbox, &["token", "show"])
            .env_remove("KEYWARD_VAULT")
            .go()
            .success()
            .stdout_has("3 tries left")
            .stdout_has("All slots are free")
            .stdout_has("neither where its keys are made nor a touch");
        init(&card, &sandbox, suite).success().no_stdout().stderr_has("carol opened a test message");
        card.keyward(&sandbox, &["vault", "show"])
            .go()
            .success()
            .stdout_has("PIV card")
            .stdout_has("unattested");
        card.keyward(&sandbox, &["token", "check"])
            .go()
            .success()
            .stderr_has("carol (PIV card) proved itself");

        sandbox.keyward(["seal", "plain", "-o", "sealed.age"]).go().success();
        card.keyward(&sandbox, &["open", "sealed.age", "-o", "-"])
            .go()
            .success()
            .stderr_lacks("Touch")
            .stdout_is("for a card of another make\n");
        // Its share of an epoch is the custody key's.
        card.keyward(&sandbox, &["epoch", "open", "--export", "epoch.key", "--yes", "--with", "carol"])
            .go()
            .success();

        card.keyward(&sandbox, &["open", "sealed.age", "-o", "-"])
            .env("KEYWARD_PIN", "99999999")
            .go()
            .code(4)
            .calm_error()
            .no_stdout()
            .stderr_has("carol (PIV card): PIN wrong, 2 tries left");
        card.keyward(&sandbox, &["open", "sealed.age", "-o", "again"]).env("KEYWARD_PIN", PIN).go().success();
    }
}

#[test]
fn a_card_of_another_make_is_refused_where_it_falls_short() {
    let sandbox = sandbox();
    let card = Card::plug_in(&sandbox);
    // Nobody said which management key it has, and none is tried.
    card.keyward(&sandbox, &["token", "enroll", "card", "--name", "carol", "--allow-emulated", "--yes"])
        .go()
        .code(2)
        .calm_error()
        .stderr_has("--default-management-key");
    sandbox.write("key", "00".repeat(24));
    card.keyward(&sandbox, &["token", "enroll", "card", "--name", "carol", "--allow-emulated", "--yes"])
        .args(["--present-pin", "factory-pin", "--management-key", "key"])
        .go()
        .code(9)
        .calm_error()
        .stderr_has("not the card's");
    card.keyward(&sandbox, &["token", "adopt", "9d", "--name", "carol", "--allow-emulated"])
        .args(ENROL)
        .go()
        .failure()
        .calm_error()
        .stderr_has("slot 9d has no usable P-256 key");
    card.keyward(&sandbox, &["init", "--token", "carol=card", "--paper", "dave=paper"])
        .args(["--allow-emulated", "--require", "touch = always"])
        .args(ENROL)
        .go()
        .failure()
        .calm_error()
        .stderr_has("carol")
        .stderr_has("touch = always");
    card.keyward(&sandbox, &["token", "show"])
        .env_remove("KEYWARD_VAULT")
        .go()
        .success()
        .stdout_has("All slots are free");
    init(&card, &sandbox, "classic").success();
    // Enrolled once, it is not enrolled over.
    card.keyward(&sandbox, &["token", "enroll", "card", "--name", "carol", "--suite", "classic"])
        .args(["--allow-emulated", "--default-management-key", "--yes"])
        .go()
        .success()
        .stderr_has("its keys are kept");
}
