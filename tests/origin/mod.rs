//! Where an archive comes from: receipts, the hosts that give them, and what `verify` and `open` say when somebody with
//! access to the store has been at work.

mod crash;
mod findings;
mod hosts;
mod numbers;
mod stores;

use keyward_tests::{Outcome, Run, Sandbox, read_trace};

/// A vault, and `photos-1.age` to `photos-5.age` in the folder `store`, receipts 1 to 5 of series photos, which this host
/// has verified.
fn five() -> Sandbox {
    let sandbox = Sandbox::with_vault("classic");
    std::fs::create_dir(sandbox.path("store")).unwrap();
    for number in 1..=5 {
        sandbox.write("photos", format!("photo {number}\n"));
        seal(&sandbox, &format!("store/photos-{number}.age"));
    }
    verify(&sandbox).success();
    sandbox
}

fn seal(sandbox: &Sandbox, archive: &str) {
    sandbox.keyward(["seal", "photos", "-o", archive]).go().success().no_stdout();
}

fn verify(sandbox: &Sandbox) -> Outcome {
    sandbox.keyward(["verify", "store"]).go()
}

fn open(sandbox: &Sandbox, archive: &str) -> Run {
    sandbox.emulator().token("alice.token").keyward(["open", archive, "-o", "-"])
}

/// What `verify` finds wrong, as `SUBJECT: WORD`, sorted.
fn findings(sandbox: &Sandbox) -> Vec<String> {
    let outcome = sandbox.keyward(["verify", "store", "--json"]).go();
    let mut wrong: Vec<String> = Vec::new();
    for line in outcome.stdout_text().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        if line["fine"] == false {
            let (subject, word) = (line["subject"].as_str().unwrap(), line["finding"].as_str().unwrap());
            wrong.push(format!("{}: {word}", subject.trim_start_matches("store/")));
        }
    }
    let code = if wrong.is_empty() { 0 } else { 7 };
    assert_eq!(outcome.exit_code(), Some(code), "{outcome}");
    wrong.sort();
    wrong
}

/// `open` refuses the archive, says so, and asks no token for anything; `--unverified` opens it, or what it is refuses it.
#[track_caller]
fn refused(sandbox: &Sandbox, archive: &str, says: &str) {
    let trace = sandbox.path("trace.jsonl");
    let outcome = sandbox
        .emulator()
        .token("alice.token")
        .trace(trace.clone())
        .keyward(["open", archive, "-o", "-"])
        .go()
        .code(7)
        .no_stdout()
        .calm_error()
        .stderr_has(says);
    let traced = if trace.exists() { read_trace(&trace) } else { Vec::new() };
    assert_eq!(traced.len(), 0, "a token was used:\n{outcome}");
    let _ = std::fs::remove_file(trace);
}
