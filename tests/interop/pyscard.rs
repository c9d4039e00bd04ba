//! Bare PC/SC clients, with APDUs of their own.

use keyward_tests::{Peer, peer};

use super::pkcs11::token_with_keys;

#[test]
fn pyscard_signs_and_agrees_on_a_key() {
    let sandbox = token_with_keys();
    sandbox
        .emulator()
        .token("alice.token")
        .run_alone(peer(Peer::Ykman).with_file_name("python"))
        .args(["-B", concat!(env!("CARGO_MANIFEST_DIR"), "/interop/pyscard.py")])
        .go()
        .success()
        .stdout_is("signed and agreed\n");
}
