//! What a person types, from the first token to an opened archive, on thousands of real files.

use std::{os::unix::fs::PermissionsExt, time::Duration};

use keyward_tests::{
    EVERYDAY_FILES, Outcome, PIN, Peer, SUITES, Sandbox, assert_same, links_out, peer, real_tree, small_tree,
    snapshot,
};

/// A whole main job with 5,000 files may take this long on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

fn main_job(suite: &str) {
    let sandbox = Sandbox::new();
    real_tree(&sandbox.path("photos"));
    let photos = snapshot(&sandbox.path("photos"));
    assert!(photos.len() > EVERYDAY_FILES, "{} entries", photos.len());

    let outcome = sandbox
        .run("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts/main-job.sh"))
        .env("SUITE", suite)
        .limit(LIMIT)
        .go()
        .success()
        .stdout_has("Good \"keyward-vault\" signature for alice");
    keeps_its_secrets(&outcome);

    assert_same(&photos, &snapshot(&sandbox.path("out1/photos")));
    assert_same(&photos, &snapshot(&sandbox.path("out2/photos")));
    assert_eq!(sandbox.names("out1"), ["photos"]);
    sandbox.absent("out3");
    sandbox.absent("out4");

    let said = String::from_utf8(sandbox.read("ls-vault.txt")).unwrap();
    assert!(said.starts_with("error: "), "{said}");
    let said = String::from_utf8(sandbox.read("no-token.txt")).unwrap();
    assert!(said.contains("alice") && said.contains("bob"), "the holders are not named: {said}");
    let recipients = String::from_utf8(sandbox.read("r.txt")).unwrap();
    let kind = if suite == "hybrid" { "age1tagpq1" } else { "age1tag1" };
    assert_eq!(recipients.lines().filter(|line| line.starts_with(kind)).count(), 2, "{recipients}");
    // GNU tar quotes odd names, so that each entry is one line.
    let listed = sandbox.read("listing.txt").iter().filter(|byte| **byte == b'\n').count();
    assert_eq!(listed, photos.len());

    // The archive is tar in zstd in age: other people's programs open what is inside.
    sandbox
        .run("bash")
        .args(["-o", "pipefail", "-c"])
        .arg("mkdir other && keyward-emulator run --token bob.token -- keyward open photos.age -o - | zstd -d | tar x -C other")
        .limit(LIMIT)
        .go()
        .success();
    assert_same(&photos, &snapshot(&sandbox.path("other/photos")));
}

fn keeps_its_secrets(outcome: &Outcome) {
    for stream in [outcome.stdout_text(), outcome.stderr_text()] {
        assert!(!stream.contains(PIN), "the PIN was shown:\n{outcome}");
    }
}

#[test]
fn main_job_hybrid() {
    main_job("hybrid");
}

#[test]
fn main_job_classic() {
    main_job("classic");
}

fn losses(suite: &str) {
    let sandbox = Sandbox::new();
    small_tree(&sandbox.path("photos"));
    let photos = snapshot(&sandbox.path("photos"));
    let age = peer(if suite == "hybrid" { Peer::Age } else { Peer::ClassicAge });
    let outcome = sandbox
        .run("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/transcripts/losses.sh"))
        .env("SUITE", suite)
        .env("AGE_FOLDER", age.parent().unwrap())
        .limit(LIMIT)
        .go()
        .success();
    keeps_its_secrets(&outcome);

    for opened in ["out1", "out4", "out5", "out6"] {
        assert_same(&photos, &snapshot(&sandbox.path(opened).join("photos")));
    }
    for refused in ["out2", "out3", "x.age"] {
        sandbox.absent(refused);
    }
    let said = |file: &str| String::from_utf8(sandbox.read(file)).unwrap();
    assert!(said("whatif.txt").contains("carol and dave"), "{}", said("whatif.txt"));
    assert!(said("out2.txt").contains("dave is missing"), "{}", said("out2.txt"));
    // Alice is no holder any more; bob is whom it opens with.
    let out3 = said("out3.txt");
    assert!(out3.contains("11110001") && out3.contains("It opens with: bob"), "{out3}");
    assert!(said("x.txt").contains('2') && said("x.txt").contains("older"), "{}", said("x.txt"));

    let epoch = said("epoch.txt");
    let kind = if suite == "hybrid" { "AGE-SECRET-KEY-PQ-1" } else { "AGE-SECRET-KEY-1" };
    assert!(epoch.lines().any(|line| line.starts_with(kind)), "no identity of this suite is in epoch.txt");
    for secret in ["epoch.txt", "carol.txt", "dave.txt"] {
        let mode = std::fs::metadata(sandbox.path(secret)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{secret}");
    }
}

#[test]
fn losses_hybrid() {
    losses("hybrid");
}

#[test]
fn losses_classic() {
    losses("classic");
}

#[test]
fn links_out_of_the_tree_come_back_when_they_are_asked_for() {
    let sandbox = Sandbox::with_vault("classic");
    small_tree(&sandbox.path("photos"));
    links_out(&sandbox.path("photos"));
    let photos = snapshot(&sandbox.path("photos"));
    sandbox.keyward(["seal", "photos", "-o", "photos.age"]).go().success().no_stdout();
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "photos.age", "-C", "refused"])
        .go()
        .code(9)
        .calm_error()
        .stderr_has("--links-out");
    sandbox.absent("refused");
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "photos.age", "-C", "out", "--links-out"])
        .go()
        .success()
        .no_stdout();
    assert_same(&photos, &snapshot(&sandbox.path("out/photos")));
}

#[test]
fn files_and_streams_come_back_as_they_were() {
    for suite in SUITES {
        let sandbox = Sandbox::with_vault(suite);
        for (name, bytes) in
            [("empty", Vec::new()), ("small", b"a letter\n".to_vec()), ("chunks", vec![7; 3 * 65_536])]
        {
            let archive = format!("{name}.age");
            sandbox.write(name, &bytes);
            sandbox.keyward(["seal", name, "-o", &archive]).go().success().no_stdout();
            sandbox
                .emulator()
                .token("bob.token")
                .keyward(["open", &archive, "-o", "-"])
                .go()
                .success()
                .stdout_is(&bytes);

            let archive = format!("{name}-stream.age");
            sandbox.keyward(["seal", "-", "-o", &archive]).stdin(bytes.clone()).go().success().no_stdout();
            let result = format!("{name}-again");
            sandbox
                .emulator()
                .token("alice.token")
                .keyward(["open", &archive, "-o", &result])
                .go()
                .success()
                .no_stdout();
            assert_eq!(sandbox.read(&result), bytes);
        }
    }
}

#[test]
fn ls_lists_what_is_inside() {
    let sandbox = Sandbox::with_vault("hybrid");
    small_tree(&sandbox.path("photos"));
    sandbox.keyward(["seal", "photos", "-o", "photos.age"]).go().success();
    let listed = sandbox.emulator().token("alice.token").keyward(["ls", "photos.age"]).go().success();
    let text = listed.stdout_text();
    for name in ["photos/letter.txt", "photos/picture.raw", "photos/odd/links/dangling", "two\\nlines"] {
        assert!(text.contains(name), "{name} is not listed:\n{listed}");
    }
    assert!(!text.contains('\x1b'), "a name steers the terminal:\n{listed}");
}

#[test]
fn cat_and_open_take_some_paths_out() {
    let sandbox = Sandbox::with_vault("hybrid");
    small_tree(&sandbox.path("photos"));
    sandbox.keyward(["seal", "photos", "-o", "photos.age"]).go().success();
    let alice = |words: &[&str]| sandbox.emulator().token("alice.token").keyward(words).go();
    alice(&["cat", "photos.age", "photos/picture.raw"])
        .success()
        .stdout_is(sandbox.read("photos/picture.raw"));
    alice(&["cat", "photos.age", "photos/gone"])
        .code(3)
        .no_stdout()
        .calm_error()
        .stderr_has("photos/gone is not in the archive")
        .stderr_has("keyward ls");
    alice(&["cat", "photos.age", "photos/odd"]).code(2).no_stdout().calm_error().stderr_has("a folder");

    alice(&["open", "photos.age", "photos/letter.txt", "photos/gone", "-C", "out"]).code(3).calm_error();
    sandbox.absent("out");
    alice(&["open", "photos.age", "photos/letter.txt", "photos/odd", "-C", "out"]).success().no_stdout();
    assert_same(&snapshot(&sandbox.path("photos/odd")), &snapshot(&sandbox.path("out/photos/odd")));
    assert_eq!(sandbox.names("out/photos"), ["letter.txt", "odd"]);
    alice(&["open", "photos.age", "photos/odd", "-o", "file"]).code(2);
    sandbox.absent("file");
}
