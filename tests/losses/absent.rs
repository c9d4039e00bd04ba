//! Nobody who holds paper or a passphrase has to come when a holder is revoked or an epoch begins.

use keyward_tests::{SUITES, Sandbox};

use super::{epochs, generation, opens_with_both_papers, seal, with};

/// The tokens of alice and bob are the admins; carol and dave have papers that only open, erin a passphrase.
fn with_passphrase(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_vault(suite);
    let add = |name: &str, kind: &str, policy: &str| {
        let file = format!("{name}.txt");
        sandbox
            .emulator()
            .token("alice.token")
            .token("bob.token")
            .keyward(["holder", "add", name, kind, &file, "--yes", "--policy", policy])
            .go()
            .success();
    };
    add("carol", "--paper", "alice or bob or carol");
    add("dave", "--paper", "alice or bob or (carol and dave)");
    add("erin", "--passphrase", "alice or bob or 2 of (carol, dave, erin)");
    sandbox
}

/// Takes the secrets away while `run` is done, and brings them back.
fn absent(sandbox: &Sandbox, run: impl FnOnce()) {
    let secrets = ["carol.txt", "dave.txt", "erin.txt"];
    let away = |name: &str| sandbox.path(format!("away-{name}"));
    for name in secrets {
        std::fs::rename(sandbox.path(name), away(name)).unwrap();
    }
    run();
    for name in secrets {
        std::fs::rename(away(name), sandbox.path(name)).unwrap();
    }
}

fn erin_opens_with(sandbox: &Sandbox, paper: &str, archive: &str) {
    sandbox
        .keyward(["open", archive, "-o", "-"])
        .args(with(&["erin", paper]))
        .go()
        .success()
        .stdout_is("dear alice\n");
}

#[test]
fn a_new_epoch_needs_no_paper_and_no_passphrase() {
    for suite in SUITES {
        let sandbox = with_passphrase(suite);
        seal(&sandbox, "before.age");
        let (generation_before, epochs_before) = (generation(&sandbox), epochs(&sandbox));
        absent(&sandbox, || {
            sandbox
                .emulator()
                .token("bob.token")
                .keyward(["epoch", "new", "--yes"])
                .go()
                .success()
                .no_stdout();
        });
        assert_eq!(generation(&sandbox), generation_before + 1);
        assert_eq!(epochs(&sandbox).len(), epochs_before.len() + 1);
        seal(&sandbox, "after.age");
        for archive in ["before.age", "after.age"] {
            opens_with_both_papers(&sandbox, archive);
            erin_opens_with(&sandbox, "dave", archive);
        }
    }
}

#[test]
fn revoking_needs_no_paper_and_no_passphrase() {
    for suite in SUITES {
        let sandbox = with_passphrase(suite);
        seal(&sandbox, "before.age");
        absent(&sandbox, || {
            // Alice's token is not here either.
            sandbox
                .emulator()
                .token("bob.token")
                .keyward(["revoke", "alice", "--yes"])
                .go()
                .success()
                .no_stdout();
            seal(&sandbox, "after.age");
        });
        for archive in ["before.age", "after.age"] {
            opens_with_both_papers(&sandbox, archive);
            erin_opens_with(&sandbox, "carol", archive);
        }
        let alice = |archive: &str| {
            sandbox.emulator().token("alice.token").keyward(["open", archive, "-o", "out"]).go()
        };
        alice("after.age").code(8).calm_error().no_stdout();
        sandbox.absent("out");
    }
}

#[test]
fn revoking_a_paper_needs_no_paper() {
    let sandbox = with_passphrase("hybrid");
    seal(&sandbox, "before.age");
    absent(&sandbox, || {
        sandbox
            .emulator()
            .token("bob.token")
            .keyward(["revoke", "carol", "--yes"])
            .go()
            .success()
            .no_stdout();
    });
    seal(&sandbox, "after.age");
    erin_opens_with(&sandbox, "dave", "after.age");
    erin_opens_with(&sandbox, "dave", "before.age");
    sandbox
        .keyward(["open", "after.age", "-o", "out"])
        .args(with(&["carol", "dave"]))
        .go()
        .failure()
        .calm_error()
        .stderr_has("carol")
        .no_stdout();
    sandbox.absent("out");
}
