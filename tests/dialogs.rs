//! What a person answers on a terminal: no flag, no variable, no file.

use keyward_tests::{Dialog, Run, Sandbox};

const ALICES: &str = "86421357";
const BOBS: &str = "bob-7531";

fn on_terminal(run: Run) -> Dialog {
    Dialog::start(&run.env_remove("KEYWARD_PIN").env("TERM", "xterm"))
}

/// A vault made by answering questions, as the first one of most people is.
fn made_by_answering() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 11110001);
    sandbox.new_token("bob.token", 11110002);
    let mut dialog = on_terminal(
        sandbox.emulator().token("alice.token").token("bob.token").keyward(["init", "--allow-emulated"]),
    );
    dialog.answer("Name for YubiKey 11110001", "alice");
    dialog.answer("Name for YubiKey 11110002", "bob");
    dialog.answer_hidden("New PIN for alice", ALICES);
    dialog.answer_hidden("The same again:", ALICES);
    dialog.answer_hidden("New PIN for bob", BOBS);
    dialog.answer_hidden("The same again:", BOBS);
    dialog.answer("Policy [alice or bob]:", "");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    (sandbox, shown)
}

#[test]
fn a_vault_is_made_by_answering() {
    let (sandbox, shown) = made_by_answering();
    assert!(shown.contains("Compare these words on every machine that uses it:"), "{shown}");
    for secret in [ALICES, BOBS, "123456\n"] {
        assert!(!shown.contains(secret), "a PIN is shown:\n{shown}");
    }

    sandbox.write("letter", "Dear bob,\n");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();
    let mut dialog =
        on_terminal(sandbox.emulator().token("bob.token").keyward(["open", "letter.age", "-o", "opened"]));
    dialog.answer_hidden("PIN for bob", BOBS);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(sandbox.read("opened"), b"Dear bob,\n");
    assert!(shown.contains("Touch bob to open letter.age"), "{shown}");
}

#[test]
fn the_last_try_is_asked_for() {
    let sandbox = Sandbox::with_vault("hybrid");
    sandbox.write("letter", "Dear alice,\n");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();
    let open = || {
        on_terminal(sandbox.emulator().token("alice.token").keyward(["open", "letter.age", "-o", "opened"]))
    };
    for left in ["2 tries left", "1 try left"] {
        let mut dialog = open();
        dialog.answer_hidden("PIN for alice", "00000000");
        let (code, shown) = dialog.end();
        assert_eq!(code, Some(4), "{shown}");
        assert!(shown.contains(left), "{shown}");
    }
    let mut dialog = open();
    dialog.answer("Use it? [y/N]", "n");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(4), "{shown}");
    let mut dialog = open();
    dialog.answer("Use it? [y/N]", "y");
    dialog.answer_hidden("PIN for alice", keyward_tests::PIN);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(sandbox.read("opened"), b"Dear alice,\n");
}

#[test]
fn a_vault_is_trusted_after_its_words_were_compared() {
    let (sandbox, made) = made_by_answering();
    let words = made.lines().skip_while(|line| !line.contains("Compare these words")).nth(1).unwrap().trim();
    assert_eq!(words.split(' ').count(), 8, "{made}");
    let elsewhere = |run: Run| run.env("KEYWARD_HOME", sandbox.path("elsewhere"));

    let mut dialog = on_terminal(elsewhere(sandbox.keyward(["vault", "trust", "--allow-emulated"])));
    dialog.answer("Are they the same? [y/N]", "n");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(7), "{shown}");
    assert!(shown.contains(words), "{shown}");
    elsewhere(sandbox.keyward(["vault", "show"])).go().code(7).calm_error();

    let mut dialog = on_terminal(elsewhere(sandbox.keyward(["vault", "trust", "--allow-emulated"])));
    dialog.answer("Are they the same? [y/N]", "y");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    elsewhere(sandbox.keyward(["vault", "show"])).go().success();
}
