//! Programs written for real YubiKeys, run against the emulator as they come.

use keyward_tests::{Peer, Sandbox, peer};

const SERIAL: u32 = 11_110_001;
/// What a token has when it comes from the factory.
const FACTORY_PIN: &str = "123456";
const FACTORY_MANAGEMENT_KEY: &str = "010203040506070801020304050607080102030405060708";

fn factory_token() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", SERIAL);
    sandbox
}

/// Firmware with a 3DES management key, the only one that Debian 12's yubico-piv-tool can use.
fn older_token() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.new_token_with_firmware("alice.token", SERIAL, "5.4.3");
    sandbox
}

#[test]
fn ykman_lists_the_token() {
    let sandbox = factory_token();
    let ykman = peer(Peer::Ykman);
    sandbox
        .emulator()
        .token("alice.token")
        .run_alone(&ykman)
        .arg("list")
        .go()
        .success()
        .stdout_has("Serial: 11110001")
        .stdout_has("5.7.1");
}

#[test]
fn ykman_lists_two_tokens_side_by_side() {
    let sandbox = factory_token();
    sandbox.new_token("bob.token", 11_110_002);
    sandbox
        .emulator()
        .token("alice.token")
        .token("bob.token")
        .run_alone(peer(Peer::Ykman))
        .args(["list", "--serials"])
        .go()
        .success()
        .stdout_has("11110001")
        .stdout_has("11110002");
}

#[test]
fn ykman_reads_the_piv_applet() {
    let sandbox = factory_token();
    sandbox
        .emulator()
        .token("alice.token")
        .run_alone(peer(Peer::Ykman))
        .args(["piv", "info"])
        .go()
        .success()
        .stdout_has("PIV version:              5.7.1")
        .stdout_has("PIN tries remaining:      3/3")
        .stdout_has("Management key algorithm: AES192")
        .stdout_has("WARNING: Using default PIN!")
        .stdout_has("WARNING: Using default Management key!");
}

#[test]
fn ykman_changes_pin_and_makes_an_attested_key() {
    let sandbox = factory_token();
    let ykman = |arguments: &[&str]| {
        sandbox
            .emulator()
            .token("alice.token")
            .run_alone(peer(Peer::Ykman))
            .args(["piv"])
            .args(arguments)
            .go()
    };
    ykman(&["access", "change-pin", "--pin", FACTORY_PIN, "--new-pin", "24681357"]).success();
    ykman(&[
        "keys",
        "generate",
        "--algorithm",
        "ECCP256",
        "--pin-policy",
        "ALWAYS",
        "--touch-policy",
        "ALWAYS",
        "--management-key",
        FACTORY_MANAGEMENT_KEY,
        "--pin",
        "24681357",
        "82",
        "public.pem",
    ])
    .success();
    assert!(sandbox.read("public.pem").starts_with(b"-----BEGIN PUBLIC KEY-----"));
    ykman(&["keys", "info", "82"])
        .success()
        .stdout_has("ECCP256")
        .stdout_has("GENERATED")
        .stdout_has("ALWAYS");
    ykman(&["keys", "attest", "82", "attestation.pem"]).success();
    ykman(&["certificates", "export", "f9", "issuer.pem"]).success();
    // The attestation is signed by the token's own attestation key, as OpenSSL sees it.
    sandbox
        .run("openssl")
        .args(["verify", "-partial_chain", "-trusted", "issuer.pem", "attestation.pem"])
        .go()
        .success()
        .stdout_has("attestation.pem: OK");
    let text =
        sandbox.run("openssl").args(["x509", "-in", "attestation.pem", "-noout", "-text"]).go().success();
    for extension in ["1.3.6.1.4.1.41482.3.3", "1.3.6.1.4.1.41482.3.7", "1.3.6.1.4.1.41482.3.8"] {
        assert!(text.stdout_text().contains(extension), "{extension} is missing:\n{text}");
    }
}

#[test]
fn ykman_counts_wrong_pins_and_unblocks_with_the_puk() {
    let sandbox = factory_token();
    let ykman = |arguments: &[&str]| {
        sandbox
            .emulator()
            .token("alice.token")
            .run_alone(peer(Peer::Ykman))
            .args(["piv"])
            .args(arguments)
            .go()
    };
    for _ in 0..3 {
        ykman(&["access", "change-pin", "--pin", "999999", "--new-pin", "24681357"]).failure();
    }
    ykman(&["info"]).success().stdout_has("PIN tries remaining:      0/3");
    ykman(&["access", "unblock-pin", "--puk", "12345678", "--new-pin", "24681357"]).success();
    ykman(&["info"]).success().stdout_has("PIN tries remaining:      3/3");
    ykman(&["reset", "--force"]).success();
    ykman(&["info"]).success().stdout_has("WARNING: Using default PIN!");
}

#[test]
fn yubico_piv_tool_reads_firmware_5_7() {
    let sandbox = factory_token();
    sandbox
        .emulator()
        .token("alice.token")
        .run("yubico-piv-tool")
        .args(["-a", "status", "-a", "version"])
        .go()
        .success()
        .stdout_has("Serial Number:\t11110001")
        .stdout_has("PIN tries left:\t3")
        .stdout_has("5.7.1");
}

#[test]
fn yubico_piv_tool_generates_signs_and_agrees_on_keys() {
    let sandbox = older_token();
    let tool = |arguments: &[&str]| {
        sandbox.emulator().token("alice.token").run("yubico-piv-tool").args(arguments).go()
    };
    tool(&["-a", "generate", "-s", "9a", "-A", "ECCP256", "--pin-policy=once", "-o", "9a.pem"]).success();
    certify(&sandbox);
    tool(&["-a", "status"]).success().stdout_has("Version:\t5.4.3").stdout_has("CN=alice");
    tool(&["-a", "verify-pin", "-P", FACTORY_PIN, "-a", "test-signature", "-s", "9a", "-i", "9a.crt"])
        .success()
        .stderr_has("Successful ECDSA verification.");
    tool(&["-a", "verify-pin", "-P", FACTORY_PIN, "-a", "test-decipher", "-s", "9a", "-i", "9a.crt"])
        .success()
        .stderr_has("Successfully performed ECDH exchange with card.");
    // OpenSSL checks the card's signature on its certificate.
    sandbox
        .run("openssl")
        .args(["verify", "-check_ss_sig", "-trusted", "9a.crt", "9a.crt"])
        .go()
        .success()
        .stdout_has("9a.crt: OK");
}

/// Lets ykman have the card sign a certificate for the key of `9a.pem`, and writes it to `9a.crt`.
fn certify(sandbox: &Sandbox) {
    let ykman = |arguments: &[&str]| {
        sandbox
            .emulator()
            .token("alice.token")
            .run_alone(peer(Peer::Ykman))
            .args(["piv", "certificates"])
            .args(arguments)
            .go()
    };
    ykman(&["generate", "-s", "CN=alice", "-m", FACTORY_MANAGEMENT_KEY, "-P", FACTORY_PIN, "9a", "9a.pem"])
        .success();
    ykman(&["export", "9a", "9a.crt"]).success();
}

#[test]
fn opensc_sees_the_card_and_its_objects() {
    let sandbox = older_token();
    let run = |program: &str, arguments: &[&str]| {
        sandbox.emulator().token("alice.token").run(program).args(arguments).go().success()
    };
    run("opensc-tool", &["-l"]).stdout_has("Yubico YubiKey");
    run("yubico-piv-tool", &["-a", "generate", "-s", "9a", "-A", "ECCP256", "-o", "9a.pem"]);
    certify(&sandbox);
    run("pkcs15-tool", &["-D"])
        .stdout_has("Private EC Key [PIV AUTH key]")
        .stdout_has("X.509 Certificate [Certificate for PIV Authentication]");
}

#[test]
fn an_enrolled_token_shows_its_keys_to_other_programs() {
    let sandbox = Sandbox::with_vault("hybrid");
    let run = |program: &std::path::Path, arguments: &[&str]| {
        sandbox.emulator().token("alice.token").run(program).args(arguments).go().success()
    };
    run(&peer(Peer::Ykman), &["piv", "info"])
        .stdout_has("Slot 82 (RETIRED1)")
        .stdout_has("Slot 83 (RETIRED2)")
        .stdout_has("Slot 9C (SIGNATURE)")
        .stdout_has("Slot 9E (CARD_AUTH)");
    run(&peer(Peer::Ykman), &["piv", "keys", "info", "82"]).stdout_has("ALWAYS").stdout_has("GENERATED");
    run("yubico-piv-tool".as_ref(), &["-a", "status"]).stdout_has("Slot 82:");
    run("pkcs15-tool".as_ref(), &["-D"])
        .stdout_has("Retired")
        .stdout_has("Certificate for Card Authentication");
}

#[test]
fn a_command_under_the_emulator_hands_on_its_exit_code() {
    let sandbox = factory_token();
    sandbox.emulator().token("alice.token").run("sh").args(["-c", "exit 41"]).go().code(41).no_stdout();
}

#[test]
fn a_new_token_overwrites_nothing() {
    let sandbox = factory_token();
    let before = sandbox.read("alice.token");
    sandbox
        .run(keyward_tests::program("keyward-emulator"))
        .args(["new", "alice.token", "--serial", "5"])
        .go()
        .failure()
        .calm_error();
    assert_eq!(sandbox.read("alice.token"), before);
}
