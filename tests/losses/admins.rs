//! Several admins: at once on one folder, and one after another on a draft that waits.

use std::{fs, thread};

use keyward_tests::{Dialog, Outcome, Run, Sandbox, campaign_is_long};

use super::{generation, opens_with_both_papers, seal, with, with_both_papers};

/// A second host that trusts the vault, with the home `other-home`.
fn with_second_host(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_papers(suite);
    let fingerprint = sandbox.run("sha256sum").arg("vault/statements/0001.json").go().success().stdout_text();
    elsewhere(&sandbox, sandbox.keyward(["vault", "trust", "--allow-emulated"]))
        .args(["--fingerprint", &fingerprint[..64]])
        .go()
        .success();
    sandbox
}

fn elsewhere(sandbox: &Sandbox, run: Run) -> Run {
    run.env("KEYWARD_HOME", sandbox.path("other-home"))
}

/// A change that both see as the next one: each is asked before either answers.
fn asked_at_once(sandbox: &Sandbox, commands: [&[&str]; 2]) -> [(Option<i32>, String); 2] {
    let start = |run: Run| {
        let mut dialog = Dialog::start(&run.env("TERM", "xterm"));
        dialog.wait_for("Sign this?");
        dialog
    };
    let mut here = start(with_both_papers(sandbox, commands[0]));
    let mut there = start(elsewhere(sandbox, with_both_papers(sandbox, commands[1])));
    here.answer("", "y");
    there.answer("", "y");
    [here.end(), there.end()]
}

#[test]
fn of_two_admins_at_once_one_wins_and_the_other_goes_on() {
    let sandbox = with_second_host("hybrid");
    seal(&sandbox, "letter.age");
    let rounds = if campaign_is_long() { 40 } else { 6 };
    let mut at_home = 0;
    for round in 0..rounds {
        let before = generation(&sandbox);
        let results = asked_at_once(&sandbox, [&["epoch", "new"], &["epoch", "new"]]);
        let won = results.iter().filter(|(code, _)| *code == Some(0)).count();
        assert_eq!(won, 1, "round {round}: {results:#?}");
        let loser = results.iter().position(|(code, _)| *code != Some(0)).unwrap();
        let (code, shown) = &results[loser];
        assert_eq!(*code, Some(9), "{shown}");
        assert!(shown.contains("error: ") && shown.contains("faster"), "{shown}");
        assert!(shown.contains("Nothing was changed"), "{shown}");
        assert_eq!(generation(&sandbox), before + 1);
        at_home += usize::from(loser == 1);

        // The other runs the same again, and it builds on what is there now.
        let again = with_both_papers(&sandbox, &["epoch", "new", "--yes"]);
        let again = if loser == 1 { elsewhere(&sandbox, again) } else { again };
        again.go().success().no_stdout();
        assert_eq!(generation(&sandbox), before + 2);
    }
    opens_with_both_papers(&sandbox, "letter.age");
    println!("{rounds} rounds, each with one winner; {at_home} of them by the first");
}

#[test]
fn different_changes_at_once_do_not_mix() {
    let sandbox = with_second_host("classic");
    seal(&sandbox, "letter.age");
    let results = asked_at_once(&sandbox, [&["revoke", "alice"], &["revoke", "bob"]]);
    let mut codes = results.clone().map(|(code, _)| code);
    codes.sort();
    assert_eq!(codes, [Some(0), Some(9)], "{results:#?}");
    let (gone, stays) = if results[0].0 == Some(0) { ("alice", "bob") } else { ("bob", "alice") };
    seal(&sandbox, "after.age");
    let open = |who: &str| {
        let token = format!("{who}.token");
        sandbox.emulator().token(&token).keyward(["open", "after.age", "-o", "-"]).go()
    };
    open(gone).code(8).calm_error().no_stdout();
    open(stays).success().stdout_is("dear alice\n");
    opens_with_both_papers(&sandbox, "after.age");
    opens_with_both_papers(&sandbox, "letter.age");
}

#[test]
fn processes_in_parallel_leave_one_line_of_generations() {
    let sandbox = with_second_host("classic");
    seal(&sandbox, "letter.age");
    let rounds = if campaign_is_long() { 60 } else { 8 };
    let (mut won, mut told) = (0, 0);
    for _ in 0..rounds {
        let before = generation(&sandbox);
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let started = [0, 1].map(|host| {
                let run = with_both_papers(&sandbox, &["epoch", "new", "--yes"]);
                let run = if host == 1 { elsewhere(&sandbox, run) } else { run };
                scope.spawn(move || run.go())
            });
            started.map(|thread| thread.join().unwrap()).into()
        });
        let mut successes = 0;
        for outcome in outcomes {
            match outcome.exit_code() {
                Some(0) => successes += 1,
                Some(9) => {
                    let _ = outcome.calm_error().stderr_has("faster").no_stdout();
                    told += 1;
                }
                _ => panic!("neither done nor told:\n{outcome}"),
            }
        }
        assert!(successes >= 1);
        won += successes;
        // The slower of the two may have built on the faster.
        assert_eq!(generation(&sandbox), before + successes);
        opens_with_both_papers(&sandbox, "letter.age");
    }
    println!("{rounds} rounds of two processes: {won} changes in force, {told} told to run again");
    elsewhere(&sandbox, sandbox.keyward(["vault", "show"])).go().success();
}

/// Carol wants alice out, alone; the draft waits for another of the four admins.
fn carol_asks(sandbox: &Sandbox) {
    sandbox
        .keyward(["revoke", "alice", "--yes"])
        .args(with(&["carol"]))
        .go()
        .code(8)
        .calm_error()
        .stderr_has("1 of")
        .stderr_has("vault sign")
        .no_stdout();
    assert_eq!(generation(sandbox), 1);
}

#[test]
fn a_draft_waits_until_another_admin_signs() {
    let sandbox = with_second_host("hybrid");
    seal(&sandbox, "letter.age");
    carol_asks(&sandbox);
    // Until then alice opens what is sealed.
    seal(&sandbox, "waiting.age");
    let alice =
        |archive: &str| sandbox.emulator().token("alice.token").keyward(["open", archive, "-o", "-"]).go();
    alice("waiting.age").success().stdout_is("dear alice\n");

    // Bob is elsewhere, sees what it changes, says no, and then yes.
    let sign = || {
        let run = sandbox.emulator().token("bob.token").keyward(["vault", "sign"]);
        Dialog::start(&elsewhere(&sandbox, run).env("TERM", "xterm"))
    };
    let mut dialog = sign();
    dialog.wait_for("Generation 2 waits, signed by carol.");
    dialog.answer("Sign this?", "n");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(9), "{shown}");
    assert_eq!(generation(&sandbox), 1);
    let mut dialog = sign();
    dialog.answer("Sign this?", "y");
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    for line in ["alice", "bob or (carol and dave)", "Generation 2 of vault `vault` is in force."] {
        assert!(shown.contains(line), "{line:?} is not shown:\n{shown}");
    }
    assert_eq!(generation(&sandbox), 2);
    sandbox.absent("vault/drafts");

    seal(&sandbox, "after.age");
    alice("after.age").code(8).calm_error().no_stdout();
    opens_with_both_papers(&sandbox, "after.age");
    opens_with_both_papers(&sandbox, "letter.age");
    elsewhere(&sandbox, with_both_papers(&sandbox, &["vault", "sign", "--yes"])).go().code(3).calm_error();
}

#[test]
fn a_draft_with_another_key_file_is_not_signed() {
    let sandbox = with_second_host("hybrid");
    carol_asks(&sandbox);
    let drafts = sandbox.names("vault/drafts");
    assert_eq!(drafts.len(), 1, "{drafts:?}");
    let keys = format!("vault/drafts/{}/keys", drafts[0]);
    let names = sandbox.names(&keys);
    assert_eq!(names, ["epoch-2.g2.json"]);
    let file = format!("{keys}/{}", names[0]);
    let original = sandbox.read(&file);
    let mut edited = original.clone();
    let last = edited.len() - 3;
    edited[last] ^= 1;
    let sign = || sandbox.emulator().token("bob.token").keyward(["vault", "sign", "--yes"]).go();
    for other in [edited, sandbox.read("vault/keys/epoch-1.g1.json"), Vec::new()] {
        sandbox.write(&file, other);
        sign().code(7).calm_error().stderr_has("epoch-2.g2.json").no_stdout();
        assert_eq!(generation(&sandbox), 1);
        let signatures = sandbox.names(format!("vault/drafts/{}", drafts[0]));
        assert!(!signatures.iter().any(|name| name.contains("bob")), "bob signed it: {signatures:?}");
    }
    fs::remove_file(sandbox.path(&file)).unwrap();
    sign().failure().calm_error().stderr_has("epoch-2.g2.json");
    sandbox.write(&file, original);
    sign().success();
    assert_eq!(generation(&sandbox), 2);
}

#[test]
fn an_edited_draft_is_nobodys() {
    let sandbox = with_second_host("classic");
    carol_asks(&sandbox);
    let draft = format!("vault/drafts/{}", sandbox.names("vault/drafts")[0]);
    let file = format!("{draft}/0002.json");
    let original = String::from_utf8(sandbox.read(&file)).unwrap();
    let edited = original.replace("bob or (carol and dave)", "bob or (carol and bob)");
    assert_ne!(edited, original);
    let sign = || sandbox.emulator().token("bob.token").keyward(["vault", "sign", "--yes"]).go();
    sandbox.write(&file, edited);
    sign().failure().calm_error().no_stdout();
    assert_eq!(generation(&sandbox), 1);
    // Carol's signature is on other words: with it alone bob's is not enough.
    let edited = original.replace("\"expires\":\"2", "\"expires\":\"3");
    assert_ne!(edited, original);
    sandbox.write(&file, edited);
    sign().failure().calm_error().no_stdout();
    assert_eq!(generation(&sandbox), 1);
}

#[test]
fn an_abandoned_draft_blocks_nobody() {
    let sandbox = with_second_host("classic");
    carol_asks(&sandbox);
    with_both_papers(&sandbox, &["epoch", "new", "--yes"]).go().success();
    assert_eq!(generation(&sandbox), 2);
    // It is of yesterday now.
    with_both_papers(&sandbox, &["vault", "sign", "--yes"]).go().code(3).calm_error();
    with_both_papers(&sandbox, &["revoke", "alice", "--yes"]).go().success();
    assert_eq!(generation(&sandbox), 3);
}
