//! The token through PKCS#11: OpenSC's module and Yubico's libykcs11, with the clients that people use them from.
//!
//! On the token are a P-256 key in 9A and RSA-2048 keys in 9C and 9D, each with a certificate, as ykman makes them.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::OnceLock,
};

use keyward_tests::{Files, Peer, Sandbox, peer};

const FACTORY_KEY: &str = "010203040506070801020304050607080102030405060708";

/// The two modules, and how each numbers the keys in 9A and 9D.
const MODULES: [(&str, &str, &str); 2] = [("opensc-pkcs11.so", "1", "3"), ("libykcs11.so", "1", "3")];

/// Where the system keeps a library.
fn library(name: &str) -> PathBuf {
    let mut folders = vec![PathBuf::from("/usr/lib64"), PathBuf::from("/usr/lib")];
    folders.extend(fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path()));
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is not under /usr/lib: run scripts/peers"))
}

fn make_keys(sandbox: &Sandbox) {
    let ykman = |arguments: &[&str]| {
        let ykman = sandbox.emulator().token("alice.token").run_alone(peer(Peer::Ykman));
        ykman.arg("piv").args(arguments).go().success();
    };
    for (slot, algorithm) in [("9a", "ECCP256"), ("9c", "RSA2048"), ("9d", "RSA2048")] {
        let file = format!("{slot}.pem");
        ykman(&["keys", "generate", "-m", FACTORY_KEY, "-a", algorithm, slot, &file]);
        let subject = format!("CN=alice {slot}");
        ykman(&["certificates", "generate", "-m", FACTORY_KEY, "-P", "123456", "-s", &subject, slot, &file]);
    }
}

/// A token of firmware 5.7 with the keys, and their public halves in `9a.pem`, `9c.pem` and `9d.pem`.
pub(super) fn token_with_keys() -> Sandbox {
    static MADE: OnceLock<Files> = OnceLock::new();
    Sandbox::made_once(&MADE, |sandbox| {
        sandbox.new_token("alice.token", 11_110_001);
        make_keys(sandbox);
    })
}

/// The same with firmware 5.4, whose management key is 3DES: OpenSC takes random numbers from a challenge for that alone.
fn older_token_with_keys() -> Sandbox {
    static MADE: OnceLock<Files> = OnceLock::new();
    Sandbox::made_once(&MADE, |sandbox| {
        sandbox.new_token_with_firmware("alice.token", 11_110_001, "5.4.3");
        make_keys(sandbox);
    })
}

#[test]
fn the_test_of_pkcs11_tool_passes_with_either_module() {
    for (module, sandbox) in
        [("opensc-pkcs11.so", older_token_with_keys()), ("libykcs11.so", token_with_keys())]
    {
        let outcome = sandbox
            .emulator()
            .token("alice.token")
            .run("pkcs11-tool")
            .arg("--module")
            .arg(library(module))
            .args(["--login", "--pin", "123456", "--test"])
            .go()
            .success()
            .stdout_has("No errors");
        let shown = outcome.stdout_text();
        for done in ["RSA-PKCS: OK", "SHA256-RSA-PKCS: OK", "RSA-X-509: OK"] {
            assert!(shown.contains(done), "{done} with {module}:\n{outcome}");
        }
        assert!(!shown.contains("ERR"), "{module}:\n{outcome}");
    }
}

#[test]
fn pkcs11_tool_signs_with_a_p256_key_and_openssl_agrees() {
    let sandbox = token_with_keys();
    sandbox.write("digest", [7; 32]);
    for (module, signing, _) in MODULES {
        sandbox
            .emulator()
            .token("alice.token")
            .run("pkcs11-tool")
            .arg("--module")
            .arg(library(module))
            .args(["--login", "--pin", "123456", "--sign", "--mechanism", "ECDSA", "--id", signing])
            .args(["--signature-format", "openssl", "--input-file", "digest", "--output-file", "signature"])
            .go()
            .success();
        sandbox
            .run("openssl")
            .args([
                "pkeyutl",
                "-verify",
                "-pubin",
                "-inkey",
                "9a.pem",
                "-in",
                "digest",
                "-sigfile",
                "signature",
            ])
            .go()
            .success()
            .stdout_has("Signature Verified Successfully");
    }
}

/// `ssh-agent` holds the key, as it would for a login; what it signs, `ssh-keygen` verifies.
#[test]
fn ssh_signs_with_a_key_of_either_module() {
    let sandbox = token_with_keys();
    let ask = sandbox.write("ask", "#!/bin/sh\necho 123456\n");
    fs::set_permissions(&ask, Permissions::from_mode(0o755)).unwrap();
    sandbox.write("message", "signed by the token\n");
    let line = "set -e\nssh-add -q -s \"$1\"\nssh-add -L | grep ecdsa-sha2-nistp256 | head -n 1 > key.pub\n\
        rm -f message.sig\nssh-keygen -q -Y sign -f key.pub -n test message\n\
        printf 'alice %s\\n' \"$(cut -d ' ' -f 1,2 key.pub)\" > allowed\n\
        ssh-keygen -Y verify -f allowed -I alice -n test -s message.sig < message\nssh-add -q -e \"$1\"";
    for (module, ..) in MODULES {
        sandbox
            .emulator()
            .token("alice.token")
            .run("ssh-agent")
            .args(["sh", "-c", line, "sh"])
            .arg(library(module))
            .env("SSH_ASKPASS", &ask)
            .env("SSH_ASKPASS_REQUIRE", "force")
            .go()
            .success()
            .stdout_has("Good \"test\" signature for alice with ECDSA key");
        let listed = sandbox
            .run("ssh-keygen")
            .args(["-i", "-m", "PKCS8", "-f", "9a.pem"])
            .go()
            .success()
            .stdout_text();
        let used = String::from_utf8(sandbox.read("key.pub")).unwrap();
        assert_eq!(used.split(' ').nth(1), listed.trim().split(' ').nth(1), "the key in 9A");
    }
}

#[test]
fn pykcs11_signs_and_decrypts() {
    let sandbox = token_with_keys();
    for (module, signing, deciphering) in MODULES {
        sandbox
            .emulator()
            .token("alice.token")
            .run(peer(Peer::Ykman).with_file_name("python"))
            .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/interop/pkcs11.py")])
            .arg(library(module))
            .args([signing, deciphering])
            .env("PYTHONPATH", peer(Peer::Pkcs11Clients).join("site"))
            .go()
            .success()
            .stdout_is("signed and decrypted\n");
    }
}

#[test]
fn pkcs11js_signs_and_decrypts() {
    let sandbox = token_with_keys();
    for (module, signing, deciphering) in MODULES {
        sandbox
            .emulator()
            .token("alice.token")
            .run(peer(Peer::Node))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/pkcs11.mjs"))
            .arg(library(module))
            .args([signing, deciphering])
            .env("MODULES", peer(Peer::Pkcs11Clients))
            .go()
            .success()
            .stdout_is("signed and decrypted\n");
    }
}

/// piv-tool knows 3DES management keys, so firmware before 5.7. Its exit code is the number of bytes that it wrote, and where
/// it is linked with OpenSSL 3 it makes a key and then fails to write the public half: what is on the token counts here.
#[test]
fn piv_tool_authenticates_generates_and_stores_a_certificate() {
    let sandbox = older_token_with_keys();
    let colons: Vec<&str> =
        FACTORY_KEY.as_bytes().chunks(2).map(|two| str::from_utf8(two).unwrap()).collect();
    let key = sandbox.write("management.key", colons.join(":"));
    let piv_tool = |arguments: &[&str]| {
        let tool = sandbox.emulator().token("alice.token").run("piv-tool");
        tool.args(["--admin", "M:9B:03"]).args(arguments).env("PIV_EXT_AUTH_KEY", &key).go()
    };
    let ykman = |arguments: &[&str]| {
        let ykman = sandbox.emulator().token("alice.token").run_alone(peer(Peer::Ykman));
        ykman.arg("piv").args(arguments).go().success()
    };
    ykman(&["certificates", "export", "9a", "9a.crt"]);
    let _ = piv_tool(&["--cert", "9E", "--in", "9a.crt"]);
    ykman(&["certificates", "export", "9e", "9e.crt"]);
    assert_eq!(sandbox.read("9e.crt"), sandbox.read("9a.crt"));

    let _ = piv_tool(&["--genkey", "9E:07", "--out", "9e.pem"]);
    ykman(&["keys", "info", "9e"]).stdout_has("RSA2048").stdout_has("GENERATED");

    sandbox
        .emulator()
        .token("alice.token")
        .run("pkcs15-tool")
        .args(["--read-certificate", "01"])
        .go()
        .success()
        .stdout_has(String::from_utf8(sandbox.read("9a.crt")).unwrap().trim());
}
