//! `tests/vectors/vault`: files that another implementation can check itself against. Here they are made again, byte
//! for byte; `cargo run -p keyward-custody --example vault_vectors` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyward_age::Suite;
use keyward_custody::{
    Confirmation, Draft, Namespace, Statement, Unpinned, VaultFile, VaultFiles, signed_blob, signing_digest,
    verify_chain,
};
use serde_json::{Value, json};

use crate::cases;
use crate::fixed::{first, name, put, secret, time};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/vault")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All generated files by their path below the folder.
pub(crate) fn generate() -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for suite in [Suite::Hybrid, Suite::Classic] {
        add_vault(&mut all, suite);
    }
    let mut messages = serde_json::Map::new();
    for (case, bytes, _) in cases::cases() {
        let message = Statement::parse(&bytes).unwrap_err().to_string();
        messages.insert(case.to_owned(), json!(message));
        all.insert(format!("refused/{case}.json"), bytes);
    }
    all.insert("refused.json".to_owned(), pretty(&Value::Object(messages)));
    all
}

/// Two generations, signed, with pins of the second and the values in between.
fn add_vault(all: &mut BTreeMap<String, Vec<u8>>, suite: Suite) {
    let mut files = VaultFiles::new();
    let one = first(suite, &["alice", "bob"]).build().unwrap();
    put(&mut files, &one, &["alice", "bob"]);
    let (pins, verified) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
    let two = {
        let mut draft = Draft::after(&verified, time("2026-12-24T16:00:00Z"));
        draft.holders.remove(&name("bob"));
        draft.admins.remove(&name("bob"));
        draft.policy = "alice".parse().unwrap();
        draft.no_recovery = true;
        draft.build().unwrap()
    };
    put(&mut files, &two, &["alice"]);
    let pins = pins.advance(&verify_chain(&files, &pins).unwrap()).unwrap().unwrap();

    let values = |statement: &Statement| {
        json!({
            "digest": statement.digest().to_string(),
            "signed_blob": hex(&signed_blob(Namespace::Vault, statement.bytes())),
            "signing_digest": hex(&signing_digest(Namespace::Vault, statement.bytes())),
            "allowed_signers": statement.allowed_signers(),
        })
    };
    let secrets: serde_json::Map<String, Value> = ["alice", "bob"]
        .iter()
        .flat_map(|holder| {
            ["archive", "custody", "card proof", "signing"].map(|key| format!("{holder} {key}"))
        })
        .map(|label| (label.clone(), json!(hex(&secret(&label)))))
        .collect();
    let values = json!({
        "about": "P-256 private keys are SHA-256 of `keyward test key: LABEL`; signatures are deterministic (RFC 6979).",
        "private_keys": secrets,
        "fingerprint": pins.fingerprint().to_string(),
        "words": pins.fingerprint().words().to_string(),
        "generation_1": values(&one),
        "generation_2": values(&two),
        "changes_of_generation_2": "bob is no holder and no admin any more: root, and signed by the new admins too",
    });
    all.insert(format!("{suite}/values.json"), pretty(&values));
    all.insert(format!("{suite}/pins.json"), pins.to_bytes().unwrap());
    for statement in [&one, &two] {
        let generation = statement.generation();
        let file = VaultFile::Statement(generation);
        all.insert(format!("{suite}/statements/{file}"), statement.bytes().to_vec());
        for (signer, bytes) in files.signatures(generation) {
            let file = VaultFile::Signature(generation, signer.clone());
            all.insert(format!("{suite}/statements/{file}"), bytes.to_vec());
        }
    }
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text.into_bytes()
}
