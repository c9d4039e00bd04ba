//! The rules of PC/SC, through libpcsclite: the emulator's socket gives what a pcscd gives.
//!
//! `pcsc_rules.py` makes the calls, `pcsc_rules.txt` is what they give. The long campaign has a real pcscd give it too,
//! with the same card behind vsmartcard's driver.

use keyward_tests::{Pcscd, Peer, Run, Sandbox, campaign_is_long, peer, program, workspace_root};

const SERIAL: u32 = 11_110_001;

fn python() -> std::path::PathBuf {
    peer(Peer::Ykman).with_file_name("python")
}

fn rules() -> std::path::PathBuf {
    workspace_root().join("tests/interop/pcsc_rules.py")
}

fn what_they_give() -> String {
    std::fs::read_to_string(workspace_root().join("tests/interop/pcsc_rules.txt")).unwrap()
}

fn factory_token() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", SERIAL);
    sandbox
}

#[test]
fn calls_at_the_emulators_socket_give_what_pcscd_gives() {
    let sandbox = factory_token();
    sandbox
        .emulator()
        .token("alice.token")
        .run(python())
        .arg(rules())
        .go()
        .success()
        .stdout_is(what_they_give());
}

/// A program at a pcscd instead of an emulator.
fn at(pcscd: &Pcscd, run: Run) -> Run {
    run.env("PCSCLITE_CSOCK_NAME", pcscd.socket())
}

#[test]
fn a_system_pcscd_gives_the_same_and_its_programs_find_the_token() {
    if !campaign_is_long() {
        // Everyday the plug alone is tried: one APDU through pcscd and the driver.
        let sandbox = factory_token();
        let pcscd = Pcscd::start(&sandbox);
        let _token = pcscd.plug_in(&sandbox, "alice.token");
        pcscd.wait_for("Card ATR");
        at(&pcscd, sandbox.run("yubico-piv-tool")).args(["-a", "version"]).go().success().stdout_has("5.7.1");
        return;
    }
    let sandbox = factory_token();
    let pcscd = Pcscd::start(&sandbox);
    let token = pcscd.plug_in(&sandbox, "alice.token");
    pcscd.wait_for("Card ATR");
    at(&pcscd, sandbox.run(python())).arg(rules()).go().success().stdout_is(what_they_give());

    let ykman = |arguments: &[&str]| {
        at(&pcscd, sandbox.run(peer(Peer::Ykman))).args(["--device", "11110001", "piv"]).args(arguments).go()
    };
    ykman(&["info"]).success().stdout_has("PIV version:              5.7.1");
    let key = "010203040506070801020304050607080102030405060708";
    ykman(&["keys", "generate", "-a", "ECCP256", "-m", key, "-P", "123456", "9a", "9a.pem"]).success();
    ykman(&["certificates", "generate", "-s", "CN=alice", "-m", key, "-P", "123456", "9a", "9a.pem"])
        .success();

    // Pulled out and plugged in again while pcscd looks.
    let ctl = |arguments: &[&str]| {
        sandbox
            .run(program("keyward-emulator"))
            .args(["ctl", "--socket"])
            .arg(sandbox.path("control"))
            .args(arguments)
            .go()
            .success();
    };
    ctl(&["remove", "11110001"]);
    pcscd.wait_for("Card Removed From");
    ykman(&["info"]).failure();
    ctl(&["insert", "11110001"]);
    pcscd.wait_for("Card ATR");
    ykman(&["info"]).success().stdout_has("CN=alice");
    drop(token);
    pcscd.wait_for("Card Removed From");
}
