//! Hosts that seal: certified by `init` and by admins, removed, and not certified at all.

use std::fs;

use keyward_tests::{Run, Sandbox};

use super::{findings, five, open, refused, verify};

/// A command on another host, which trusts the vault.
fn elsewhere(sandbox: &Sandbox, words: &[&str]) -> Run {
    sandbox.keyward(words).env("KEYWARD_HOME", sandbox.path("nora"))
}

fn with_nora() -> Sandbox {
    let sandbox = five();
    let words = sandbox.keyward(["vault", "show", "--json"]).go().success().stdout_text();
    assert!(words.contains("\"sealers\":{"), "{words}");
    let shown = sandbox.keyward(["vault", "show"]).go().success().stdout_text();
    assert!(shown.contains("Sealers"), "{shown}");
    let digest = sandbox.run("sha256sum").arg("vault/statements/0001.json").go().success().stdout_text();
    let fingerprint = digest.split(' ').next().unwrap().to_owned();
    elsewhere(&sandbox, &["vault", "trust", "--allow-emulated", "--fingerprint", &fingerprint])
        .go()
        .success();
    sandbox
}

fn alice(sandbox: &Sandbox, words: &[&str]) -> Run {
    sandbox.emulator().token("alice.token").keyward(words)
}

fn certify_nora(sandbox: &Sandbox) {
    let key = elsewhere(sandbox, &["sealer", "key"]).go().success().stdout_text();
    assert!(key.starts_with("ssh-ed25519 "), "{key}");
    sandbox.write("nora.pub", &key);
    alice(sandbox, &["sealer", "add", "nora", "--key", "nora.pub", "--by", "bob", "--yes"])
        .go()
        .success()
        .no_stdout()
        .stderr_has("+ sealer nora: SHA256:");
}

#[test]
fn a_host_that_is_not_certified_seals_without_a_receipt() {
    let sandbox = with_nora();
    elsewhere(&sandbox, &["seal", "photos", "-o", "store/nora.age"])
        .go()
        .success()
        .stderr_has("This host is no sealer")
        .stderr_has("without a receipt");
    sandbox.absent("store/nora.age.receipt");
    assert_eq!(findings(&sandbox), ["nora.age: no-receipt"]);
    refused(&sandbox, "store/nora.age", "no receipt stands beside it");
    // It does not take the place of one that has a receipt.
    elsewhere(&sandbox, &["seal", "photos", "-o", "store/photos-1.age", "--force"]).go().code(9).calm_error();
    assert_eq!(findings(&sandbox), ["nora.age: no-receipt"]);
    // Nor does it vouch for anything.
    elsewhere(&sandbox, &["receipt", "adopt", "store/nora.age"]).go().code(9).calm_error();
    sandbox.keyward(["receipt", "adopt", "store/nora.age"]).go().success().stderr_has("vouches for it");
    assert_eq!(findings(&sandbox), [""; 0]);
    open(&sandbox, "store/nora.age").go().success().stderr_has("did not make it");
    sandbox.keyward(["receipt", "adopt", "store/nora.age"]).go().success().stderr_has("already");
}

#[test]
fn a_host_is_certified_and_removed() {
    let sandbox = with_nora();
    certify_nora(&sandbox);
    elsewhere(&sandbox, &["seal", "photos", "-o", "store/nora-1.age"])
        .go()
        .success()
        .stderr_has("receipt 1 of series photos");
    assert_eq!(findings(&sandbox), [""; 0]);
    open(&sandbox, "store/nora-1.age").go().success().stderr_has("by host nora, receipt 1, checked.");
    sandbox.keyward(["sealer", "list"]).go().success().stdout_has("nora: since generation 2, of bob");

    alice(&sandbox, &["sealer", "remove", "nora", "--yes"])
        .go()
        .success()
        .stderr_has("receipt 1 of series photos");
    assert_eq!(findings(&sandbox), [""; 0]);
    open(&sandbox, "store/nora-1.age").go().success();
    // Her own host knows, and gives no receipt any more.
    elsewhere(&sandbox, &["seal", "photos", "-o", "plain.age"]).go().success().stderr_has("no sealer");
    alice(&sandbox, &["sealer", "add", "nora", "--key", "nora.pub", "--yes"]).go().code(9).calm_error();
    alice(&sandbox, &["sealer", "remove", "nora", "--yes"]).go().code(3).calm_error();
    sandbox.keyward(["sealer", "list"]).go().success().stdout_has("removed in generation 3");
}

#[test]
fn a_removed_sealers_later_receipts() {
    let sandbox = with_nora();
    certify_nora(&sandbox);
    elsewhere(&sandbox, &["seal", "photos", "-o", "store/nora-1.age"]).go().success();
    verify(&sandbox).success();
    // Whoever has her key goes on with the vault as it was before she was removed.
    let before = sandbox.copy();
    alice(&sandbox, &["sealer", "remove", "nora", "--yes"]).go().success();
    elsewhere(&before, &["seal", "photos", "-o", "store/nora-2.age"]).go().success();
    for name in ["store/nora-2.age", "store/nora-2.age.receipt"] {
        sandbox.write(name, before.read(name));
    }
    assert_eq!(findings(&sandbox), ["nora-2.age: removed-sealer"]);
    refused(&sandbox, "store/nora-2.age", "by nora, removed in generation 3");
    open(&sandbox, "store/nora-1.age").go().success();
}

#[test]
fn what_a_person_controls_is_named_when_they_leave() {
    let sandbox = with_nora();
    certify_nora(&sandbox);
    alice(&sandbox, &["revoke", "bob", "--yes", "--no-recovery"])
        .go()
        .success()
        .stderr_has("bob controls host nora")
        .stderr_has("keyward sealer remove nora");
    // Archives from before are superseded: said, and not wrong.
    sandbox
        .keyward(["verify", "store"])
        .go()
        .success()
        .stdout_has("superseded: sealed under generation 1 to epoch 1");
}

#[test]
fn the_key_is_private_and_openssh_reads_it() {
    use std::os::unix::fs::PermissionsExt;

    let sandbox = five();
    let folder = sandbox.path("home/sealer");
    let key = fs::read_dir(&folder).unwrap().next().unwrap().unwrap().path();
    assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o7777, 0o600);
    for folder in ["home/heads", "home/series"] {
        assert_eq!(fs::metadata(sandbox.path(folder)).unwrap().permissions().mode() & 0o7777, 0o700);
    }
    let shown = sandbox.run("ssh-keygen").arg("-y").arg("-f").arg(&key).go().success().stdout_text();
    let ours = sandbox.keyward(["sealer", "key"]).go().success().stdout_text();
    assert!(shown.starts_with(ours.trim_end()), "{shown}{ours}");
}
