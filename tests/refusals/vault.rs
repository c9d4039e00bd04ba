//! A vault that somebody changed: nothing is sealed for it, and nothing is opened under it.

use keyward_tests::{Noise, Outcome, Sandbox, campaign_is_long};

use super::{letter, nothing_left_behind};

const STATEMENT: &str = "vault/statements/0001.json";

#[track_caller]
fn seal_is_refused(sandbox: &Sandbox) -> Outcome {
    let outcome =
        sandbox.keyward(["seal", "letter", "-o", "other.age"]).go().code(7).calm_error().no_stdout();
    sandbox.absent("other.age");
    nothing_left_behind(sandbox);
    outcome
}

#[test]
fn an_untouched_vault_seals() {
    let sandbox = letter("hybrid");
    sandbox.keyward(["seal", "letter", "-o", "other.age"]).go().success().no_stdout();
}

#[test]
fn a_statement_edited_by_one_byte_is_refused_by_every_command() {
    let sandbox = letter("hybrid");
    let original = String::from_utf8(sandbox.read(STATEMENT)).unwrap();
    let edited = original.replacen("alice or bob", "alice or eve", 1);
    assert_ne!(edited, original);
    sandbox.write(STATEMENT, edited);
    let _ = seal_is_refused(&sandbox);
    for command in [&["vault", "show"][..], &["vault", "recipients"], &["vault", "show", "--allowed-signers"]]
    {
        let outcome = sandbox.keyward(command).go().code(7).calm_error().no_stdout();
        assert!(!outcome.stderr_text().is_empty());
    }
    let outcome = sandbox.emulator().token("alice.token").keyward(["open", "letter.age", "-o", "out"]).go();
    super::refused(&sandbox, outcome, 7);
    sandbox.write(STATEMENT, original);
    sandbox.keyward(["seal", "letter", "-o", "other.age"]).go().success();
}

#[test]
fn random_changes_of_the_statement_never_pass() {
    let sandbox = letter("classic");
    let original = sandbox.read(STATEMENT);
    let rounds = if campaign_is_long() { 4000 } else { 120 };
    let mut noise = Noise::new(11);
    for round in 0..rounds {
        let mut changed = original.clone();
        match round % 4 {
            0 => changed[noise.below(original.len())] ^= 1 << noise.below(8),
            1 => changed.truncate(noise.below(original.len())),
            2 => changed.insert(noise.below(original.len()), b' '),
            _ => drop(changed.remove(noise.below(original.len()))),
        }
        sandbox.write(STATEMENT, &changed);
        let _ = seal_is_refused(&sandbox);
    }
}

#[test]
fn a_signature_that_is_changed_missing_or_swapped_is_refused_at_first_trust() {
    let sandbox = letter("hybrid");
    let fingerprint = fingerprint(&sandbox);
    let trust_is_refused = || {
        trust(&sandbox, &fingerprint, &["--allow-emulated"]).code(7).calm_error().no_stdout();
        sandbox.absent("user/home/pins");
    };
    let alice = "vault/statements/0001.alice.sig";
    let original = sandbox.read(alice);
    let mut noise = Noise::new(12);
    for _ in 0..20 {
        let mut changed = original.clone();
        changed[noise.below(original.len())] ^= 1 << noise.below(8);
        sandbox.write(alice, changed);
        trust_is_refused();
    }
    sandbox.write(alice, sandbox.read("vault/statements/0001.bob.sig"));
    trust_is_refused();
    // Generation 1 is signed by every admin.
    std::fs::remove_file(sandbox.path(alice)).unwrap();
    trust_is_refused();
    sandbox.write(alice, original);
    trust(&sandbox, &fingerprint, &["--allow-emulated"]).success();
}

/// Trusts the vault on a machine that has not seen it, whose home is `user/home`.
fn trust(sandbox: &Sandbox, fingerprint: &str, more: &[&str]) -> Outcome {
    sandbox
        .keyward(["vault", "trust", "--fingerprint", fingerprint])
        .args(more)
        .env("KEYWARD_HOME", sandbox.path("user/home"))
        .go()
}

fn fingerprint(sandbox: &Sandbox) -> String {
    sandbox.run("sha256sum").arg(STATEMENT).go().success().stdout_text()[..64].to_owned()
}

#[test]
fn an_older_generation_than_the_last_seen_is_refused() {
    let sandbox = letter("hybrid");
    let pins = sandbox.names("home/pins");
    assert_eq!(pins.len(), 1, "{pins:?}");
    let path = format!("home/pins/{}", pins[0]);
    // This machine has seen generation 2; the vault's folder has only the first.
    let text = String::from_utf8(sandbox.read(&path)).unwrap();
    let later = text.replace("\"generation\":1", "\"generation\":2");
    assert_ne!(later, text);
    let digest = |text: &str| text.split_once("\"digest\":\"").unwrap().1[..64].to_owned();
    let later = later.replacen(
        &format!("\"digest\":\"{}\"", digest(&later)),
        &format!("\"digest\":\"{}\"", "5".repeat(64)),
        1,
    );
    sandbox.write(&path, later);
    let _ = seal_is_refused(&sandbox).stderr_has("older");
    let outcome = sandbox.emulator().token("alice.token").keyward(["open", "letter.age", "-o", "out"]).go();
    super::refused(&sandbox, outcome, 7);
}

#[test]
fn another_vault_in_the_same_place_is_not_trusted() {
    let sandbox = letter("hybrid");
    let other = Sandbox::new();
    other.init("hybrid", "alice.token", "bob.token");
    std::fs::remove_dir_all(sandbox.path("vault")).unwrap();
    std::process::Command::new("cp")
        .arg("-a")
        .arg(other.path("vault"))
        .arg(sandbox.path("vault"))
        .status()
        .unwrap();
    let outcome =
        sandbox.keyward(["seal", "letter", "-o", "other.age"]).go().failure().calm_error().no_stdout();
    assert!(matches!(outcome.exit_code(), Some(7 | 9)), "{outcome}");
    sandbox.absent("other.age");
}

#[test]
fn a_machine_trusts_a_vault_only_when_it_is_told_to() {
    let sandbox = letter("hybrid");
    let stranger = sandbox.path("user/home");
    let seal = || sandbox.keyward(["seal", "letter", "-o", "other.age"]).env("KEYWARD_HOME", &stranger).go();
    let outcome = seal().failure().calm_error().no_stdout().stderr_has("vault trust");
    assert!(matches!(outcome.exit_code(), Some(7 | 9)), "{outcome}");
    sandbox.absent("other.age");

    let fingerprint = fingerprint(&sandbox);
    let wrong = format!("{}{}", &fingerprint[..63], if fingerprint.ends_with('0') { '1' } else { '0' });
    trust(&sandbox, &wrong, &["--allow-emulated"]).code(7).calm_error().no_stdout();
    trust(&sandbox, &fingerprint, &[]).code(9).calm_error().stderr_has("--allow-emulated");
    seal().failure();
    trust(&sandbox, &fingerprint, &["--allow-emulated"]).success();
    seal().success().no_stdout();
}
