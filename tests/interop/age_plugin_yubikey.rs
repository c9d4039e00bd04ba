//! age-plugin-yubikey, whole: it makes keys on the token, age seals to them, and the token opens by PIN and touch.
//!
//! Its version 0.5.1 knows 3DES management keys alone. Firmware 5.7 comes with another, as real keys do, and works after
//! ykman has changed it.

use std::path::Path;

use keyward_tests::{Dialog, Emulator, Peer, Run, Sandbox, peer};

const SERIAL: u32 = 11_110_001;
const NEW_PIN: &str = "24681357";
const FACTORY_KEY: &str = "010203040506070801020304050607080102030405060708";

fn token(firmware: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.new_token_with_firmware("alice.token", SERIAL, firmware);
    sandbox.write("plain", "opened by touch");
    sandbox
}

/// A shell line with the plugin in reach, and a token under it.
fn line(emulator: Emulator<'_>, line: &str) -> Run {
    let plugin = peer(Peer::AgePluginYubikey);
    let folder = plugin.parent().map(Path::display).unwrap();
    emulator.token("alice.token").run_alone("sh").args(["-ec", &format!("PATH={folder}:$PATH\n{line}")])
}

fn generate_line(pin: &str, touch: &str) -> String {
    format!(
        "age-plugin-yubikey --generate --name alice --pin-policy {pin} --touch-policy {touch} > identity.txt"
    )
}

/// Makes a key with these policies and seals `plain` to it, as `sealed.age`.
fn generate(sandbox: &Sandbox, pin: &str, touch: &str) {
    let mut dialog = Dialog::start(&line(sandbox.emulator(), &generate_line(pin, touch)));
    dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", "123456");
    dialog.answer_hidden("Enter current PUK", "12345678");
    dialog.answer_hidden("Choose a new PIN/PUK", NEW_PIN);
    dialog.answer_hidden("Repeat the PIN/PUK", NEW_PIN);
    dialog.wait_for("Success!");
    if pin == "always" {
        dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", NEW_PIN);
    }
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    seal(sandbox);
}

fn seal(sandbox: &Sandbox) {
    let recipient = recipient(sandbox);
    line(sandbox.emulator(), &format!("age -r {recipient} -o sealed.age plain")).go().success();
}

/// The recipient in the identity file.
fn recipient(sandbox: &Sandbox) -> String {
    let identity = String::from_utf8(sandbox.read("identity.txt")).unwrap();
    let found = identity.split_whitespace().find(|word| word.starts_with("age1yubikey1"));
    found.unwrap_or_else(|| panic!("no recipient:\n{identity}")).to_owned()
}

const OPEN_TWICE: &str =
    "age -d -i identity.txt -o first sealed.age\nage -d -i identity.txt -o second sealed.age";

/// Opens twice while the token is plugged in, and is asked for the PIN this many times.
fn opens_twice_with_pins(sandbox: &Sandbox, pins: usize) {
    let mut dialog = Dialog::start(&line(sandbox.emulator(), OPEN_TWICE));
    for _ in 0..pins {
        dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", NEW_PIN);
    }
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    for file in ["first", "second"] {
        assert_eq!(sandbox.read(file), b"opened by touch");
    }
}

/// Nobody touches: nothing opens, or it does, as the policy says.
fn untouched(sandbox: &Sandbox, opens: bool) {
    let open = line(sandbox.emulator().deny_touch(), "age -d -i identity.txt -o untouched sealed.age");
    let mut dialog = Dialog::start(&open);
    dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", NEW_PIN);
    let (code, shown) = dialog.end();
    assert_eq!(code == Some(0), opens, "{shown}");
    if opens {
        assert_eq!(sandbox.read("untouched"), b"opened by touch");
    } else {
        sandbox.absent("untouched");
    }
}

#[test]
fn age_plugin_yubikey_generates_lists_and_opens() {
    let sandbox = token("5.4.3");
    generate(&sandbox, "once", "always");
    let recipient = recipient(&sandbox);
    line(sandbox.emulator(), "age-plugin-yubikey --list")
        .go()
        .success()
        .stdout_has("Serial: 11110001, Slot: 1")
        .stdout_has("Name: alice")
        .stdout_has("PIN policy: Once")
        .stdout_has("Touch policy: Always")
        .stdout_has(&recipient);
    let made = String::from_utf8(sandbox.read("identity.txt")).unwrap();
    line(sandbox.emulator(), "age-plugin-yubikey --identity --slot 1").go().success().stdout_is(&made);
    opens_twice_with_pins(&sandbox, 1);
    untouched(&sandbox, false);
}

#[test]
fn age_plugin_yubikey_asks_each_time_where_the_policy_is_always() {
    let sandbox = token("5.2.7");
    generate(&sandbox, "always", "never");
    opens_twice_with_pins(&sandbox, 2);
    untouched(&sandbox, true);
}

#[test]
fn age_plugin_yubikey_asks_for_no_pin_where_the_policy_is_never() {
    let sandbox = token("5.4.3");
    generate(&sandbox, "never", "cached");
    opens_twice_with_pins(&sandbox, 0);
    let open = "age -d -i identity.txt -o untouched sealed.age";
    let (code, shown) = Dialog::start(&line(sandbox.emulator().deny_touch(), open)).end();
    assert_ne!(code, Some(0), "{shown}");
}

#[test]
fn age_plugin_yubikey_works_on_firmware_5_7_with_the_management_key_it_knows() {
    let sandbox = token("5.7.1");
    let mut dialog = Dialog::start(&line(sandbox.emulator(), &generate_line("once", "always")));
    dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", "123456");
    dialog.answer_hidden("Enter current PUK", "12345678");
    dialog.answer_hidden("Choose a new PIN/PUK", NEW_PIN);
    dialog.answer_hidden("Repeat the PIN/PUK", NEW_PIN);
    dialog.wait_for("Custom unprotected non-TDES management keys are not supported");
    let (code, shown) = dialog.end();
    assert_ne!(code, Some(0), "{shown}");

    sandbox
        .emulator()
        .token("alice.token")
        .run_alone(peer(Peer::Ykman))
        .args(["piv", "access", "change-management-key", "--algorithm", "TDES", "--force"])
        .args(["--management-key", FACTORY_KEY, "--new-management-key", FACTORY_KEY])
        .go()
        .success();
    let mut dialog = Dialog::start(&line(sandbox.emulator(), &generate_line("once", "always")));
    dialog.answer_hidden("Enter PIN for YubiKey with serial 11110001", NEW_PIN);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    seal(&sandbox);
    opens_twice_with_pins(&sandbox, 1);
}

/// `keyward` with the token plugged in.
fn keyward(sandbox: &Sandbox, arguments: &[&str]) -> Run {
    sandbox.emulator().token("alice.token").keyward(arguments)
}

/// A key that the plugin made becomes a vault's archive key and stays the plugin's: what was sealed to it before opens with
/// `keyward`, and what is sealed to it after opens with the plugin.
#[test]
fn a_key_of_age_plugin_yubikey_is_taken_over_and_opens_what_it_opened() {
    let sandbox = token("5.4.3");
    generate(&sandbox, "once", "cached");
    // Without a vault, before anything is changed on the token.
    let pin = sandbox.write("pin", NEW_PIN);
    std::fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    keyward(&sandbox, &["open", "sealed.age", "-o", "-", "--unverified"])
        .env_remove("KEYWARD_VAULT")
        .env_remove("KEYWARD_PIN")
        .env("KEYWARD_PIN_FILE", pin)
        .go()
        .success()
        .stdout_is("opened by touch");
    keyward(&sandbox, &["init", "--token", "alice=11110001", "--allow-emulated", "--no-recovery", "--yes"])
        .go()
        .code(9)
        .calm_error()
        .stderr_has("slot 82 is already in use");

    let adopted = keyward(&sandbox, &["token", "adopt", "82", "--name", "alice", "--suite", "classic"])
        .args(["--allow-emulated", "--yes"])
        .go()
        .success()
        .stderr_has("archive key 82")
        .stderr_has("custody key 83")
        .stderr_has("keyward holder add alice");
    let tagged = adopted.stdout_text();
    assert!(tagged.starts_with("age1tag1"), "{tagged}");
    let made = String::from_utf8(sandbox.read("identity.txt")).unwrap();
    line(sandbox.emulator(), "age-plugin-yubikey --identity --slot 1").go().success().stdout_is(&made);

    keyward(&sandbox, &["init", "--token", "alice=11110001", "--suite", "classic"])
        .args(["--allow-emulated", "--no-recovery", "--yes"])
        .go()
        .success();
    keyward(&sandbox, &["vault", "show"]).go().success().stdout_has("PIN once, touch cached");
    // The vault's own, the plugin's from before, and age's to the new recipient.
    sandbox.keyward(["seal", "plain", "-o", "ours.age"]).go().success();
    keyward(&sandbox, &["open", "ours.age", "-o", "-"]).go().success().stdout_is("opened by touch");
    sandbox.run("age").args(["-r", tagged.trim(), "-o", "tagged.age", "plain"]).go().success();
    for file in ["sealed.age", "tagged.age"] {
        keyward(&sandbox, &["open", file, "-o", "-", "--unverified"])
            .go()
            .success()
            .stdout_is("opened by touch");
    }
    opens_twice_with_pins(&sandbox, 1);
}
