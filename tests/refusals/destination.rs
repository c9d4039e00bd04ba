//! Places that are taken, full or not allowed.

use keyward_tests::{Noise, Peer, Sandbox, assert_same, peer, read_trace, snapshot};

use super::{letter, refused, sealed};

#[test]
fn an_existing_archive_is_not_replaced_without_force() {
    let sandbox = letter("hybrid");
    let before = sandbox.read("letter.age");
    sandbox
        .keyward(["seal", "letter", "-o", "letter.age"])
        .go()
        .code(9)
        .calm_error()
        .no_stdout()
        .stderr_has("letter.age")
        .stderr_has("--force");
    assert_eq!(sandbox.read("letter.age"), before);
    sandbox.keyward(["seal", "letter", "-o", "letter.age", "--force"]).go().success().no_stdout();
    assert_ne!(sandbox.read("letter.age"), before);
}

#[test]
fn a_taken_destination_is_refused_before_the_token_is_used() {
    let sandbox = letter("hybrid");
    std::fs::create_dir(sandbox.path("user/taken")).unwrap();
    sandbox.write("user/taken/mine", "mine");
    sandbox.write("user/file", "mine");
    let trace = sandbox.path("trace.jsonl");
    for arguments in [["-C", "user/taken"], ["-C", "user/file"], ["-o", "user/file"]] {
        sandbox
            .emulator()
            .token("alice.token")
            .trace(trace.clone())
            .keyward(["open", "letter.age"])
            .args(arguments)
            .go()
            .code(9)
            .calm_error()
            .no_stdout()
            .stderr_has(arguments[1]);
        assert!(
            !read_trace(&trace).iter().any(|exchange| exchange.instruction == 0x87),
            "{arguments:?}: a key was used"
        );
    }
    assert_eq!(sandbox.read("user/taken/mine"), b"mine");
    assert_eq!(sandbox.names("user/taken"), ["mine"]);
    assert_eq!(sandbox.read("user/file"), b"mine");

    // A replacement that was asked for is made.
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "letter.age", "-o", "user/file", "--force"])
        .go()
        .success()
        .no_stdout();
    assert_eq!(sandbox.read("user/file"), b"dear alice\n");
}

#[test]
fn an_empty_folder_is_opened_into() {
    let sandbox = sealed("hybrid");
    std::fs::create_dir(sandbox.path("out")).unwrap();
    sandbox
        .emulator()
        .token("bob.token")
        .keyward(["open", "photos.age", "-C", "out"])
        .go()
        .success()
        .no_stdout();
    assert_same(&snapshot(&sandbox.path("photos")), &snapshot(&sandbox.path("out/photos")));
}

#[test]
fn a_missing_source_or_folder_is_named() {
    let sandbox = letter("hybrid");
    sandbox.keyward(["seal", "nowhere", "-o", "other.age"]).go().code(3).calm_error().stderr_has("nowhere");
    sandbox.absent("other.age");
    let outcome =
        sandbox.keyward(["seal", "letter", "-o", "no-folder/other.age"]).go().failure().calm_error();
    assert!(matches!(outcome.exit_code(), Some(3 | 10)), "{outcome}");
    sandbox.absent("no-folder");
}

#[test]
fn a_vault_is_not_made_over_another() {
    let sandbox = letter("hybrid");
    let before = sandbox.read("vault/statements/0001.json");
    sandbox.new_token("eve.token", 33_330_001);
    sandbox
        .emulator()
        .token("eve.token")
        .keyward([
            "init",
            "--allow-emulated",
            "--yes",
            "--no-recovery",
            "--token",
            "eve=33330001",
            "--policy",
            "eve",
        ])
        .go()
        .code(9)
        .calm_error();
    assert_eq!(sandbox.read("vault/statements/0001.json"), before);
    assert_eq!(sandbox.names("vault/statements"), ["0001.alice.sig", "0001.bob.sig", "0001.json"]);
}

#[test]
fn an_occupied_slot_is_not_overwritten_unless_that_is_typed() {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 11_110_001);
    let ykman =
        ["piv", "keys", "generate", "--algorithm", "ECCP256", "--pin-policy", "ALWAYS", "82", "mine.pem"];
    let factory = ["-m", "010203040506070801020304050607080102030405060708", "-P", "123456"];
    let generate = || {
        sandbox.emulator().token("alice.token").run_alone(peer(Peer::Ykman)).args(ykman).args(factory).go()
    };
    generate().success();
    let before = sandbox.read("alice.token");
    let init = |more: &[&str]| {
        sandbox
            .emulator()
            .token("alice.token")
            .keyward([
                "init",
                "--allow-emulated",
                "--yes",
                "--no-recovery",
                "--token",
                "alice=11110001",
                "--policy",
                "alice",
            ])
            .args(more)
            .go()
    };
    init(&[]).code(9).calm_error().no_stdout().stderr_has("82").stderr_has("--overwrite");
    assert_eq!(sandbox.read("alice.token"), before, "a refused enrolment changed the token");
    sandbox.absent("vault");
    init(&["--overwrite"]).success();
}

#[test]
fn a_second_vault_leaves_an_enrolled_token_good_for_the_first() {
    let sandbox = letter("hybrid");
    sandbox
        .emulator()
        .token("alice.token")
        .token("bob.token")
        .keyward([
            "init",
            "--allow-emulated",
            "--yes",
            "--token",
            "alice=11110001",
            "--token",
            "bob=11110002",
        ])
        .env("KEYWARD_VAULT", sandbox.path("user/second-vault"))
        .go()
        .success();
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "letter.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("dear alice\n");
}

#[test]
fn a_full_disk_leaves_nothing_under_a_final_name() {
    let sandbox = Sandbox::with_vault("classic");
    let mut large = vec![0; 6 << 20];
    Noise::new(31).fill(&mut large);
    std::fs::create_dir(sandbox.path("photos")).unwrap();
    sandbox.write("photos/large", &large);
    sandbox.keyward(["seal", "photos", "-o", "photos.age"]).go().success();
    std::fs::create_dir(sandbox.path("user/small")).unwrap();
    // What is in the folder at the end is listed, from inside the run: a mount is seen there alone.
    let [how @ .., prepare] = &small_disk(&sandbox)[..] else { unreachable!() };
    let script = format!("{prepare} || exit 99\n\"$@\"; code=$?; ls -A user/small; exit $code");
    let on_small_disk = || sandbox.run("env").args(how).args(["sh", "-c", &script, "sh"]);
    let full = |outcome: keyward_tests::Outcome| {
        outcome.code(10).calm_error().stdout_is("");
    };
    full(on_small_disk().args(["keyward", "seal", "photos", "-o", "user/small/archive.age"]).go());
    let with_token = || on_small_disk().args(["keyward-emulator", "run", "--token", "bob.token", "--"]);
    full(with_token().args(["keyward", "open", "photos.age", "-o", "user/small/out"]).go());
    full(with_token().args(["keyward", "open", "photos.age", "-C", "user/small/out"]).go());
}

/// How to run under a disk of 2 MB at `user/small`, and the command that prepares it: a mount of its own for root,
/// then for a user who may map himself to root; in a container that allows neither, a limit on the size of files.
fn small_disk(sandbox: &Sandbox) -> Vec<&'static str> {
    let mount = "mount -t tmpfs -o size=2m none user/small";
    for how in [&["unshare", "--mount"][..], &["unshare", "--map-root-user", "--mount"]] {
        if sandbox.run("env").args(how).args(["sh", "-c", mount]).go().exit_code() == Some(0) {
            return [how, &[mount]].concat();
        }
    }
    // In blocks of 512 bytes; writing beyond it is then an error and no signal.
    vec!["trap '' XFSZ; ulimit -f 4096"]
}

#[test]
fn output_that_nobody_reads_is_an_error() {
    let sandbox = Sandbox::with_vault("classic");
    sandbox.write("letter", vec![b'x'; 4 << 20]);
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();
    let outcome = sandbox
        .run("bash")
        .args(["-c", "keyward-emulator run --token bob.token -- keyward open letter.age -o - | head -c 1; exit ${PIPESTATUS[0]}"])
        .go()
        .failure()
        .stdout_is("x");
    assert!(!outcome.stderr_text().contains("panicked"), "{outcome}");
    let outcome = sandbox
        .run("bash")
        .args(["-c", "keyward-emulator run --token bob.token -- keyward open letter.age -o - > /dev/full"])
        .go();
    refused(&sandbox, outcome, 10);
}
