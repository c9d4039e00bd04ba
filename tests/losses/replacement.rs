//! After a loss: a new token in the place of a stolen one, old archives sealed anew, old epochs kept for who is there now.

use keyward_tests::{Outcome, SUITES, Sandbox};

use super::{epochs, opens_with_both_papers, seal, with, with_both_papers};

fn open(sandbox: &Sandbox, token: &str, archive: &str) -> Outcome {
    sandbox.emulator().token(token).keyward(["open", archive, "-o", "-"]).go()
}

/// Alice's token is stolen, and revoked; `before.age` was sealed to it.
fn stolen(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_papers(suite);
    seal(&sandbox, "before.age");
    with_both_papers(&sandbox, &["revoke", "alice", "--stolen", "--yes"])
        .go()
        .success()
        .stderr_has("reseal")
        .no_stdout();
    sandbox
}

/// Alice gets another token, under another name.
fn replaced(suite: &str) -> Sandbox {
    let sandbox = stolen(suite);
    sandbox.new_token("new.token", 11_110_003);
    sandbox
        .emulator()
        .token("new.token")
        .keyward(["holder", "add", "alice2", "--token", "11110003", "--yes"])
        .args(with(&["carol", "dave"]))
        .go()
        .success()
        .no_stdout();
    sandbox
}

#[test]
fn a_replacement_token_opens_what_comes_and_the_stolen_one_does_not() {
    for suite in SUITES {
        let sandbox = replaced(suite);
        assert_eq!(epochs(&sandbox), [1, 2, 3]);
        seal(&sandbox, "after.age");
        for token in ["new.token", "bob.token"] {
            open(&sandbox, token, "after.age").success().stdout_is("dear alice\n");
        }
        open(&sandbox, "alice.token", "after.age").code(8).calm_error().no_stdout();
        opens_with_both_papers(&sandbox, "after.age");
        // What was sealed before is bob's and the papers', and not the new token's.
        open(&sandbox, "new.token", "before.age").code(8).calm_error().no_stdout();
        open(&sandbox, "bob.token", "before.age").success().stdout_is("dear alice\n");
        opens_with_both_papers(&sandbox, "before.age");
    }
}

#[test]
fn the_stolen_token_cannot_join_again_under_another_name_unseen() {
    let sandbox = stolen("hybrid");
    // It is enrolled and known; to join again, two admins have to want it.
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["holder", "add", "mallory", "--token", "11110001", "--yes"])
        .go()
        .code(8)
        .calm_error()
        .no_stdout();
    seal(&sandbox, "after.age");
    open(&sandbox, "alice.token", "after.age").code(8).calm_error().no_stdout();
}

#[test]
fn resealing_shuts_the_stolen_token_out_of_an_old_archive() {
    for suite in SUITES {
        let sandbox = replaced(suite);
        // Whoever copied it keeps what the stolen token opens; that is said, and true.
        std::fs::copy(sandbox.path("before.age"), sandbox.path("copied.age")).unwrap();
        sandbox.emulator().token("bob.token").keyward(["reseal", "before.age"]).go().success().no_stdout();
        assert_ne!(sandbox.read("before.age"), sandbox.read("copied.age"));
        open(&sandbox, "alice.token", "before.age").code(8).calm_error().no_stdout();
        for token in ["new.token", "bob.token"] {
            open(&sandbox, token, "before.age").success().stdout_is("dear alice\n");
        }
        opens_with_both_papers(&sandbox, "before.age");
        // The copy has no receipt, which is what its thief does not ask for.
        with_both_papers(&sandbox, &["open", "copied.age", "-o", "-", "--unverified"])
            .go()
            .success()
            .stdout_is("dear alice\n");
    }
}

#[test]
fn rewrapping_gives_an_old_epoch_to_todays_holders() {
    for suite in SUITES {
        let sandbox = replaced(suite);
        let through_the_epoch = || {
            sandbox
                .emulator()
                .token("new.token")
                .keyward(["open", "before.age", "-o", "-", "--with", "alice2"])
                .go()
        };
        through_the_epoch().failure().calm_error().no_stdout();
        // Opened by papers: no touch. Signed by a paper.
        with_both_papers(&sandbox, &["key", "rewrap", "--yes"])
            .go()
            .success()
            .stderr_has("0 touches")
            .no_stdout();
        through_the_epoch().success().stdout_is("dear alice\n");
        let listed = sandbox.keyward(["epoch", "list", "--json"]).go().success().stdout_text();
        for line in listed.lines() {
            assert!(line.contains("alice2"), "{line}");
        }
        // The stolen token holds a share of the old file alone, which is in force no more.
        sandbox
            .emulator()
            .token("alice.token")
            .keyward(["epoch", "open", "1", "--export", "out", "--yes"])
            .go()
            .failure()
            .calm_error();
        sandbox.absent("out");
        with_both_papers(&sandbox, &["key", "rewrap", "--yes"]).go().success().stderr_has("Nothing to do");
    }
}

#[test]
fn what_would_leave_nobody_is_refused() {
    let sandbox = Sandbox::with_papers("classic");
    for (arguments, code) in [
        (&["revoke", "alice", "--yes", "--policy", "bob and (carol or dave)"][..], 9),
        (&["revoke", "alice", "--yes", "--policy", "bob"], 2),
        (&["revoke", "mallory", "--yes"], 2),
        (&["revoke", "alice", "--yes", "--policy", "bob or alice"], 9),
    ] {
        with_both_papers(&sandbox, arguments).go().code(code).calm_error().no_stdout();
        assert_eq!(super::generation(&sandbox), 1);
    }
    let whatif = |lost: &str| sandbox.keyward(["vault", "whatif", "--lost", lost]).go();
    whatif("alice,bob").success().stdout_has("carol and dave");
    whatif("alice,bob,carol").code(8);
    whatif("carol").success().stdout_has("alice").stdout_has("bob");
    whatif("mallory").failure().calm_error().no_stdout();
}

#[test]
fn a_new_token_under_the_old_name_and_policy_gets_the_old_epochs_too() {
    let sandbox = stolen("classic");
    sandbox.new_token("new.token", 11_110_003);
    let policy = "alice or bob or (carol and dave)";
    sandbox
        .emulator()
        .token("new.token")
        .keyward(["holder", "add", "alice", "--token", "11110003", "--policy", policy, "--yes"])
        .args(with(&["carol", "dave"]))
        .go()
        .success();
    let open_first = |file| {
        sandbox.emulator().token("new.token").keyward(["epoch", "open", "1", "--yes", "--export", file]).go()
    };
    // The share of epoch 1 is the stolen token's, though policy and name are those of today.
    open_first("before.txt").failure().calm_error();
    with_both_papers(&sandbox, &["key", "rewrap", "--yes"]).go().success().stderr_has("epoch 1");
    open_first("after.txt").success();
    with_both_papers(&sandbox, &["key", "rewrap", "--yes"]).go().success().stderr_has("Nothing to do");
}

/// A vault and an archive of several chunks.
fn with_large_archive() -> Sandbox {
    let sandbox = Sandbox::with_vault("hybrid");
    let mut noise = keyward_tests::Noise::new(31);
    let mut file = std::fs::File::create(sandbox.path("noise")).unwrap();
    noise.write(&mut file, 1 << 20).unwrap();
    sandbox.keyward(["seal", "noise", "-o", "noise.age"]).go().success();
    sandbox
}

#[test]
fn a_damaged_archive_is_not_sealed_anew() {
    let sandbox = with_large_archive();
    let mut bytes = sandbox.read("noise.age");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    sandbox.write("noise.age", &bytes);
    sandbox
        .emulator()
        .token("bob.token")
        .keyward(["reseal", "noise.age"])
        .go()
        .code(7)
        .calm_error()
        .no_stdout();
    assert_eq!(sandbox.read("noise.age"), bytes);
}

#[test]
fn a_full_disk_leaves_the_archive_as_it_was() {
    let sandbox = with_large_archive();
    let bytes = sandbox.read("noise.age");
    // Blocks of 1,024 bytes; the signal that would end the program is ignored, so the write fails.
    let line = "trap '' XFSZ; ulimit -f 300; exec keyward reseal noise.age";
    sandbox
        .emulator()
        .token("bob.token")
        .run("bash")
        .args(["-c", line])
        .go()
        .code(10)
        .calm_error()
        .no_stdout();
    assert_eq!(sandbox.read("noise.age"), bytes);
}
