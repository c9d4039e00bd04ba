//! A trace of another project's program at one emulator, played on another, and what that shows.

use keyward_tests::{Peer, Sandbox, peer, program, read_trace};

const SERIAL: u32 = 11_110_001;
const KEY: &str = "010203040506070801020304050607080102030405060708";

/// Records what ykman says when it makes a key and a certificate on firmware 5.7.1.
fn recorded() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", SERIAL);
    let piv = format!("'{}' piv", peer(Peer::Ykman).display());
    let emulator = program("keyward-emulator");
    let script = format!(
        "set -e
         exec '{}' trace record --out trace.jsonl --service \"$PCSCLITE_CSOCK_NAME\" -- sh -ec '
         {piv} keys generate -a ECCP256 -m {KEY} -P 123456 9a 9a.pem
         {piv} certificates generate -s CN=alice -m {KEY} -P 123456 9a 9a.pem'",
        emulator.display()
    )
    .replace("'/", "\"/")
    .replace("' piv", "\" piv")
    .replace("' trace", "\" trace");
    sandbox.emulator().token("alice.token").run("sh").args(["-c", &script]).go().success();
    sandbox
}

#[test]
fn ykman_is_recorded_without_secrets_and_plays_the_same_on_another_token() {
    let sandbox = recorded();
    let text = String::from_utf8(sandbox.read("trace.jsonl")).unwrap();
    assert!(!text.contains("313233343536"), "the PIN is in the trace");
    let exchanges = read_trace(&sandbox.path("trace.jsonl"));
    assert!(exchanges.iter().any(|exchange| exchange.instruction == 0x47), "a key was made");
    let replay = |arguments: &[&str]| {
        sandbox.run(program("keyward-emulator")).args(["trace", "replay", "trace.jsonl"]).args(arguments).go()
    };
    replay(&[]).success().stdout_has(" 0 differ, ");
    replay(&["--all"])
        .success()
        .stdout_has("differs as it must: nonce")
        .stdout_has("differs as it must: new key");
    // Another firmware is another card, and each difference is shown with both answers.
    replay(&["--firmware", "5.4.3"])
        .code(1)
        .stdout_has(": differs\n")
        .stdout_has("  recorded  ")
        .stdout_has("  now  ");
    replay(&["--reader", "No such reader"]).success().stdout_has("0 exchanges");
}
