//! Each thing that a hostile store can do: its own word in `verify`, and a refusal in `open` before any touch.

use std::fs;
use std::time::{Duration, SystemTime};

use keyward_tests::{Sandbox, program};

use super::{findings, five, open, refused, seal, verify};

fn copy(sandbox: &Sandbox, from: &str, to: &str) {
    fs::copy(sandbox.path(from), sandbox.path(to)).unwrap();
}

/// The archive and its receipt.
fn both(sandbox: &Sandbox, from: &str, to: &str) {
    copy(sandbox, from, to);
    copy(sandbox, &format!("{from}.receipt"), &format!("{to}.receipt"));
}

fn delete(sandbox: &Sandbox, archive: &str) {
    fs::remove_file(sandbox.path(archive)).unwrap();
    fs::remove_file(sandbox.path(format!("{archive}.receipt"))).unwrap();
}

#[test]
fn what_is_whole_verifies_and_opens() {
    let sandbox = five();
    assert_eq!(findings(&sandbox), [""; 0]);
    verify(&sandbox)
        .success()
        .stdout_has("store/photos-3.age: ok (receipt 3 of series photos by ")
        .stderr_has("5 archives: all are what their receipts say.");
    sandbox
        .keyward(["verify", "--deep", "store"])
        .go()
        .success()
        .stderr_has("all are what their receipts say, to the last byte");
    sandbox
        .keyward(["verify", "store/photos-2.age"])
        .go()
        .success()
        .stdout_has("photos-2.age: ok")
        .stderr_has("1 archive:");
    open(&sandbox, "store/photos-5.age")
        .go()
        .success()
        .stdout_is("photo 5\n")
        .stderr_has("Sealed ")
        .stderr_has(", receipt 5, checked.");
    open(&sandbox, "store/photos-2.age")
        .go()
        .success()
        .stderr_has("Receipt 5 is the newest of series photos");
    for words in [["cat", "store/photos-2.age", "x"], ["ls", "store/photos-2.age", "--long"]] {
        let outcome = sandbox.emulator().token("alice.token").keyward(words).go();
        let _ = outcome.stderr_has(", receipt 2, checked.");
    }
    sandbox.keyward(["verify", "nowhere"]).go().code(3).no_stdout().calm_error();
    fs::create_dir(sandbox.path("empty")).unwrap();
    sandbox.keyward(["verify", "empty"]).go().code(3).no_stdout().calm_error();
}

#[test]
fn a_receipt_is_what_ssh_keygen_verifies() {
    let sandbox = five();
    let line = "keyward sealer list --allowed-signers > sealers && \
        head -n 1 store/photos-3.age.receipt | ssh-keygen -Y verify -n keyward-receipt \
        -I \"$(cut -d' ' -f1 sealers)\" -f sealers -s <(tail -n +2 store/photos-3.age.receipt)";
    let path = program("keyward").parent().unwrap().display().to_string();
    let verified = sandbox
        .run("bash")
        .args(["-o", "pipefail", "-c", &format!("PATH={path}:$PATH; {line}")])
        .go()
        .success();
    let _ = verified.stdout_has("Good \"keyward-receipt\" signature for ");
}

#[test]
fn forged() {
    let sandbox = five();
    let receipt = String::from_utf8(sandbox.read("store/photos-3.age.receipt")).unwrap();
    sandbox.write(
        "store/photos-3.age.receipt",
        receipt.replace("\"series\":\"photos\"", "\"series\":\"photoz\""),
    );
    assert_eq!(findings(&sandbox), ["photos-3.age: forged", &missing("receipt 3", &sandbox, "missing")]);
    refused(&sandbox, "store/photos-3.age", "its receipt is forged or damaged");
    // Opened all the same where somebody asks for it, and said.
    open(&sandbox, "store/photos-3.age")
        .arg("--unverified")
        .go()
        .success()
        .stdout_is("photo 3\n")
        .stderr_has("It is opened all the same.");
}

#[test]
fn no_receipt_and_another_archive() {
    let sandbox = five();
    fs::remove_file(sandbox.path("store/photos-4.age.receipt")).unwrap();
    assert_eq!(findings(&sandbox), ["photos-4.age: no-receipt", &missing("receipt 4", &sandbox, "missing")]);
    refused(&sandbox, "store/photos-4.age", "no receipt stands beside it");

    // Sealed by somebody to the same holders, which anybody can do.
    let sandbox = five();
    sandbox.keyward(["seal", "photos", "-o", "other.age", "--series", "others"]).go().success();
    copy(&sandbox, "other.age", "store/photos-2.age");
    assert_eq!(findings(&sandbox), ["photos-2.age: swapped"]);
    refused(&sandbox, "store/photos-2.age", "it is not the archive that its receipt names");

    // The same header and length, and other bytes: found by who reads all of it, and then nothing has its name.
    let sandbox = five();
    let mut archive = sandbox.read("store/photos-2.age");
    let last = archive.len() - 1;
    archive[last] ^= 1;
    sandbox.write("store/photos-2.age", archive);
    verify(&sandbox).success();
    sandbox
        .keyward(["verify", "--deep", "store"])
        .go()
        .code(7)
        .stdout_has("photos-2.age: it is not the archive that its receipt names: its content is another");
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "store/photos-2.age", "-o", "out"])
        .go()
        .code(7)
        .calm_error();
    sandbox.absent("out");
}

#[test]
fn reordered() {
    let sandbox = five();
    both(&sandbox, "store/photos-2.age", "spare.age");
    both(&sandbox, "store/photos-4.age", "store/photos-2.age");
    both(&sandbox, "spare.age", "store/photos-4.age");
    assert_eq!(findings(&sandbox), ["photos-2.age: reordered", "photos-4.age: reordered"]);
    refused(&sandbox, "store/photos-4.age", "rolled back: it is photos-2.age");

    // The archives alone, under the receipts of the others.
    let sandbox = five();
    copy(&sandbox, "store/photos-2.age", "spare.age");
    copy(&sandbox, "store/photos-4.age", "store/photos-2.age");
    copy(&sandbox, "spare.age", "store/photos-4.age");
    assert_eq!(findings(&sandbox), ["photos-2.age: reordered", "photos-4.age: reordered"]);
    refused(&sandbox, "store/photos-2.age", "it is not the archive that its receipt names");

    let sandbox = five();
    both(&sandbox, "store/photos-5.age", "store/photos-1.age");
    assert_eq!(findings(&sandbox), ["photos-1.age: reordered", &missing("receipt 1", &sandbox, "missing")]);
    refused(&sandbox, "store/photos-1.age", "reordered: it is photos-5.age, receipt 5 of series photos");
}

#[test]
fn rolled_back() {
    let sandbox = five();
    both(&sandbox, "store/photos-2.age", "store/photos-5.age");
    assert_eq!(
        findings(&sandbox),
        ["photos-5.age: rolled-back", &missing("receipt 5", &sandbox, "truncated")]
    );
    refused(&sandbox, "store/photos-5.age", "rolled back: it is photos-2.age, receipt 2 of series photos");

    // One name for all of them, and yesterday's in today's place.
    let sandbox = five();
    seal(&sandbox, "store/daily.age");
    both(&sandbox, "store/daily.age", "yesterday.age");
    sandbox.keyward(["seal", "photos", "-o", "store/daily.age", "--force"]).go().success();
    assert_eq!(findings(&sandbox), [""; 0]);
    both(&sandbox, "yesterday.age", "store/daily.age");
    assert_eq!(findings(&sandbox), ["daily.age: rolled-back", &missing("receipt 7", &sandbox, "truncated")]);
    refused(&sandbox, "store/daily.age", "rolled back");
}

#[test]
fn truncated_tail_and_a_hole_in_the_middle() {
    let sandbox = five();
    both(&sandbox, "store/photos-5.age", "spare.age");
    delete(&sandbox, "store/photos-4.age");
    delete(&sandbox, "store/photos-5.age");
    assert_eq!(findings(&sandbox), [missing("receipts 4-5", &sandbox, "truncated")]);
    open(&sandbox, "store/photos-5.age").go().code(3).no_stdout().calm_error();
    verify(&sandbox)
        .code(7)
        .stdout_has("missing at the end of its series")
        .stderr_has("receipt retire --missing");

    both(&sandbox, "spare.age", "store/photos-5.age");
    assert_eq!(findings(&sandbox), [missing("receipt 4", &sandbox, "missing")]);
    open(&sandbox, "store/photos-4.age").go().code(3).no_stdout().calm_error();
    // The archive alone is gone.
    fs::remove_file(sandbox.path("store/photos-2.age")).unwrap();
    assert_eq!(findings(&sandbox), ["photos-2.age: missing", &missing("receipt 4", &sandbox, "missing")]);
    open(&sandbox, "store/photos-2.age").go().code(3).no_stdout().calm_error();
    // All of it.
    fs::remove_dir_all(sandbox.path("store")).unwrap();
    fs::create_dir(sandbox.path("store")).unwrap();
    assert_eq!(findings(&sandbox), [missing("receipts 1-5", &sandbox, "truncated")]);
}

#[test]
fn another_vaults_receipts() {
    let sandbox = five();
    let other = Sandbox::with_vault("hybrid");
    other.write("photos", "photo 3\n");
    other.keyward(["seal", "photos", "-o", "photos-3.age"]).go().success();
    for name in ["photos-3.age", "photos-3.age.receipt"] {
        sandbox.write(format!("store/{name}"), other.read(name));
    }
    assert_eq!(findings(&sandbox), ["photos-3.age: other-vault", &missing("receipt 3", &sandbox, "missing")]);
    refused(&sandbox, "store/photos-3.age", "its receipt is of another vault");
}

#[test]
fn stale() {
    let sandbox = five();
    sandbox.keyward(["verify", "store", "--max-age", "1"]).go().success();
    // A receipt is older than no days as soon as the next second has begun.
    let made = SystemTime::now();
    while made.elapsed().unwrap_or_default() < Duration::from_millis(1100) {
        std::thread::yield_now();
    }
    sandbox
        .keyward(["verify", "store", "--max-age", "0"])
        .go()
        .code(7)
        .stdout_has("series photos by ")
        .stdout_has("stale: its newest receipt is of ");
}

/// The line of receipts that are missing.
fn missing(receipts: &str, sandbox: &Sandbox, word: &str) -> String {
    let listed = sandbox.keyward(["sealer", "list"]).go().success().stdout_text();
    let host = listed.split(':').next().unwrap().to_owned();
    format!("{receipts} of series photos by {host}: {word}")
}
