//! Changing who opens, how many sign, and until when a statement holds.

use keyward_tests::Sandbox;

use super::{epochs, generation, opens_with_both_papers, seal, with, with_both_papers};

#[test]
fn a_new_policy_begins_an_epoch_and_says_who_opens() {
    let sandbox = Sandbox::with_papers("classic");
    seal(&sandbox, "before.age");
    // The policy names every holder, and needs root's two signatures where it lets more people open.
    sandbox.keyward(["vault", "policy", "alice or bob", "--yes"]).go().failure().calm_error().no_stdout();
    sandbox
        .keyward(["vault", "policy", "alice or bob or carol or dave", "--yes"])
        .args(with(&["carol"]))
        .go()
        .code(8)
        .stderr_has("waits for signatures")
        .calm_error();
    assert_eq!(generation(&sandbox), 1);
    with_both_papers(&sandbox, &["vault", "policy", "alice or bob or carol or dave", "--yes"])
        .go()
        .success()
        .no_stdout();
    assert_eq!((generation(&sandbox), epochs(&sandbox)), (2, vec![1, 2]));
    seal(&sandbox, "after.age");
    sandbox
        .keyward(["open", "after.age", "-o", "-", "--with", "carol=carol.txt"])
        .go()
        .success()
        .stdout_is("dear alice\n");
    // What was sealed before still needs both.
    sandbox.keyward(["open", "before.age", "-o", "-", "--with", "carol=carol.txt"]).go().code(8).calm_error();
    opens_with_both_papers(&sandbox, "before.age");
}

#[test]
fn a_policy_that_rests_on_one_holder_is_refused_unless_that_is_wanted() {
    let sandbox = Sandbox::with_papers("classic");
    let policy = "alice and (bob or carol or dave)";
    with_both_papers(&sandbox, &["vault", "policy", policy, "--yes"])
        .go()
        .code(9)
        .stderr_has("alice")
        .calm_error();
    assert_eq!(generation(&sandbox), 1);
    with_both_papers(&sandbox, &["vault", "policy", policy, "--yes", "--no-recovery"]).go().success();
    sandbox.keyward(["vault", "check"]).go().code(1).stdout_has("losing alice alone loses the data");
    sandbox.keyward(["vault", "whatif", "--lost", "alice"]).go().code(8).stdout_has("nothing opens any more");
}

#[test]
fn thresholds_are_kept_by_the_admins_before_and_after() {
    let sandbox = Sandbox::with_papers("classic");
    with_both_papers(&sandbox, &["vault", "policy", "--root", "3", "--yes"]).go().code(8).calm_error();
    sandbox
        .emulator()
        .token("bob.token")
        .keyward(["vault", "policy", "--root", "3", "--yes"])
        .args(with(&["carol", "dave"]))
        .go()
        .success();
    // From now on two signatures do not add anybody.
    with_both_papers(&sandbox, &["holder", "add", "erin", "--paper", "erin.txt", "--yes"])
        .go()
        .code(8)
        .stderr_has("still 1 of")
        .calm_error();
    with_both_papers(&sandbox, &["vault", "policy", "--root", "9", "--yes"]).go().failure().calm_error();
    sandbox.keyward(["vault", "policy", "--yes"]).go().code(2).calm_error();
}

#[test]
fn sealing_warns_before_a_statement_expires() {
    let sandbox = Sandbox::with_papers("classic");
    let expire = |time: &str| with_both_papers(&sandbox, &["vault", "expire", time, "--yes"]).go();
    expire("tomorrow").failure().calm_error();
    // A statement cannot be over before it begins.
    expire("2020-01-01T00:00:00Z").failure().calm_error();
    assert_eq!(generation(&sandbox), 1);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    expire(&utc(now + 10 * 86_400)).success();
    seal(&sandbox, "soon.age");
    sandbox.keyward(["seal", "letter", "-o", "warned.age"]).go().success().stderr_has("expires in");
    with_both_papers(&sandbox, &["vault", "expire", "--yes"]).go().success();
    sandbox.keyward(["seal", "letter", "-o", "later.age"]).go().success().stderr_lacks("expires in");
}

/// Seconds since 1970 as statements write a time; `date` knows the calendar.
fn utc(seconds: u64) -> String {
    let shown = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{seconds}"), "+%Y-%m-%dT%H:%M:%SZ"])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap().trim().to_owned()
}
