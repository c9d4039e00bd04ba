//! What a person answers on a terminal: no flag, no variable, no file.

use std::collections::BTreeMap;

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
    dialog.answer("Name for a paper", "");
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
    elsewhere(sandbox.keyward(["vault", "show"])).go().success().stdout_has(words);
}

/// The words of a paper, as a terminal shows them: rows of `13. rent`.
fn words(shown: &str) -> BTreeMap<usize, String> {
    let start = shown.find("24 words, shown once").unwrap_or_else(|| panic!("no words are shown:\n{shown}"));
    let fields: Vec<&str> = shown[start..].split_whitespace().collect();
    let word = |pair: &[&str]| {
        let place = pair[0].strip_suffix('.')?.parse().ok()?;
        Some((place, pair[1].to_owned()))
    };
    let words: BTreeMap<usize, String> = fields.windows(2).filter_map(word).collect();
    assert_eq!(words.len(), 24, "{shown}");
    words
}

/// A vault of alice's token and the papers of carol and dave, whose words were read on the terminal.
fn made_with_papers() -> (Sandbox, [BTreeMap<usize, String>; 2]) {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 11_110_001);
    let mut dialog =
        on_terminal(sandbox.emulator().token("alice.token").keyward(["init", "--allow-emulated"]));
    dialog.answer("Name for YubiKey 11110001", "alice");
    dialog.answer("Name for a paper", "carol");
    dialog.answer("Name for a paper", "alice");
    dialog.answer("alice is taken.", "dave");
    dialog.answer("Name for a paper", "");
    dialog.answer_hidden("New PIN for alice", ALICES);
    dialog.answer_hidden("The same again:", ALICES);
    let papers = ["carol", "dave"].map(|name| {
        dialog.wait_for(&format!("{name}: 24 words, shown once"));
        dialog.wait_for(&format!("Word 4 of {name}, from the paper:"));
        let shown = dialog.shown();
        let words = words(&shown[shown.find(&format!("{name}: 24 words")).unwrap()..]);
        dialog.answer_hidden("", &words[&4]);
        dialog.answer_hidden(&format!("Word 13 of {name}"), &words[&13]);
        dialog.answer_hidden(&format!("Word 22 of {name}"), &words[&22]);
        words
    });
    dialog.answer("Policy [alice or (carol and dave)]:", "");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    (sandbox, papers)
}

fn typed(words: &BTreeMap<usize, String>) -> String {
    words.values().map(String::as_str).collect::<Vec<_>>().join(" ")
}

#[test]
fn papers_that_were_shown_once_recover_the_epoch() {
    let (sandbox, [carols, daves]) = made_with_papers();
    sandbox.write("letter", "Dear carol,\n");
    sandbox.keyward(["seal", "letter", "-o", "letter.age"]).go().success();

    // Alice's token is lost. Nobody else is here at first; the words come one paper after another.
    let mut dialog = on_terminal(sandbox.keyward(["recover", "--lost", "alice", "--export", "epoch.txt"]));
    dialog.wait_for("opens with alice or (carol and dave)");
    dialog.answer("Another holder", "carol");
    let mut swapped = carols.clone();
    let third = swapped[&3].clone();
    swapped.insert(3, swapped[&4].clone());
    swapped.insert(4, third);
    dialog.answer_hidden("The 24 words of carol:", &typed(&swapped));
    dialog.answer("Another holder", "carol");
    dialog.answer_hidden("The 24 words of carol:", &typed(&carols));
    dialog.wait_for("carol is here; missing: dave");
    dialog.answer("Another holder", "dave");
    dialog.answer_hidden("The 24 words of dave:", &typed(&daves));
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("carol and dave: here"), "{shown}");
    assert!(shown.contains("keyward revoke alice"), "{shown}");
    for words in [&carols, &daves] {
        assert!(!shown.contains(&typed(words)), "the words of a paper are shown:\n{shown}");
    }
    let opened = sandbox.run("age").args(["-d", "-i", "epoch.txt", "letter.age"]).go().success();
    assert_eq!(opened.stdout, b"Dear carol,\n");

    // Typed again, they open the archive itself.
    let open = ["open", "letter.age", "-o", "opened", "--with", "carol", "--with", "dave"];
    let mut dialog = on_terminal(sandbox.keyward(open));
    dialog.answer_hidden("The 24 words of carol:", &typed(&carols));
    dialog.answer_hidden("The 24 words of dave:", &typed(&daves));
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(sandbox.read("opened"), b"Dear carol,\n");
}

#[test]
fn a_word_typed_back_wrong_makes_no_vault() {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 11_110_001);
    let init = ["init", "--allow-emulated", "--token", "alice=11110001", "--paper", "carol"];
    let mut dialog = on_terminal(sandbox.emulator().token("alice.token").keyward(init));
    dialog.answer_hidden("New PIN for alice", ALICES);
    dialog.answer_hidden("The same again:", ALICES);
    dialog.wait_for("Word 4 of carol, from the paper:");
    let words = words(&dialog.shown());
    let other = if words[&4] == words[&5] { "zoo" } else { &words[&5] };
    dialog.answer_hidden("", other);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(9), "{shown}");
    assert!(shown.contains("Word 4 is another one"), "{shown}");
    sandbox.absent("vault/statements");
}

#[test]
fn without_a_terminal_recover_says_who_is_missing() {
    let sandbox = Sandbox::with_papers("classic");
    let recover = ["recover", "--lost", "alice,bob", "--with", "carol=carol.txt"];
    sandbox
        .keyward(recover)
        .go()
        .code(8)
        .calm_error()
        .stderr_has("carol is here; missing: dave")
        .stderr_has("dave is missing")
        .no_stdout();
    sandbox.keyward(["recover", "--lost", "alice,bob,carol"]).go().code(8).calm_error().no_stdout();
    sandbox.keyward(["recover", "--lost", "mallory"]).go().failure().calm_error().stderr_has("mallory");
    sandbox
        .keyward(recover)
        .args(["--with", "dave=dave.txt", "--export", "epoch.txt"])
        .go()
        .success()
        .stderr_has("revoke alice")
        .no_stdout();
    // What was written is not overwritten.
    sandbox
        .keyward(recover)
        .args(["--with", "dave=dave.txt", "--export", "epoch.txt"])
        .go()
        .code(9)
        .calm_error();
}
