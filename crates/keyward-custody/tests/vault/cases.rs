//! Every rule of `docs/formats.md`, "Statement": one statement that breaks it, and what the reader says. The same
//! statements are in `tests/vectors/vault/refused`.

use keyward_age::Suite;
use keyward_custody::{IdentitySeed, Paper, SealerKey, Statement};
use serde_json::{Value, json};

use crate::fixed::{edited, first, public_key, recipient, secret};

/// Name of the case, its bytes, the reader's message.
pub(crate) type Case = (&'static str, Vec<u8>, &'static str);

pub(crate) fn base(suite: Suite) -> Statement {
    first(suite, &["alice", "bob"]).build().unwrap()
}

pub(crate) fn text(change: impl FnOnce(String) -> String) -> Vec<u8> {
    change(String::from_utf8(base(Suite::Classic).bytes().to_vec()).unwrap()).into_bytes()
}

/// A classic statement with a change in its JSON, canonical again.
pub(crate) fn with(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    edited(&base(Suite::Classic), change)
}

/// Sets the member at this pointer (RFC 6901).
pub(crate) fn set(pointer: &str, new: Value) -> Vec<u8> {
    with(|value| *value.pointer_mut(pointer).unwrap() = new)
}

pub(crate) fn remove(parent: &str, member: &str) -> Vec<u8> {
    with(|value| {
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(member).unwrap();
    })
}

pub(crate) fn add(parent: &str, member: &str, new: Value) -> Vec<u8> {
    with(|value| {
        value.pointer_mut(parent).unwrap().as_object_mut().unwrap().insert(member.to_owned(), new);
    })
}

pub(crate) fn hybrid(pointer: &str, new: Value) -> Vec<u8> {
    edited(&base(Suite::Hybrid), |value| *value.pointer_mut(pointer).unwrap() = new)
}

fn soft_recipient(suite: Suite, byte: u8) -> Value {
    let seed = IdentitySeed::from_bytes(suite, &[byte; 32]);
    json!(seed.recipient().unwrap().to_string())
}

/// A classic statement with a holder of every kind and an epoch, whose key file does not matter here.
pub(crate) fn mixed(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with(|v| {
        let paper = Paper::from_entropy(&[7; 32]);
        let key = json!(paper.signing_key().unwrap().to_string());
        let words = json!(paper.recipient(Suite::Classic).unwrap().to_string());
        v["admins"]["carol"] = key.clone();
        v["holders"]["carol"] = json!({"kind": "paper", "recipient": words, "signing": key});
        v["holders"]["dave"] = json!({
            "file": "11".repeat(32), "kind": "passphrase", "recipient": soft_recipient(Suite::Classic, 1),
        });
        v["holders"]["erin"] = json!({"kind": "age", "recipient": soft_recipient(Suite::Classic, 2)});
        v["policy"] = json!("alice or bob or 2 of (carol, dave, erin)");
        v["epochs"] = json!([{
            "file": "22".repeat(32),
            "generation": 1,
            "number": 1,
            "recipient": soft_recipient(Suite::Classic, 3),
            "since": "2026-11-24T16:00:00Z",
        }]);
        change(v);
    })
}

/// Sets a member of [`mixed`].
fn mixed_set(pointer: &str, new: Value) -> Vec<u8> {
    mixed(|v| *v.pointer_mut(pointer).unwrap() = new)
}

/// A classic statement of generation 3 with a sealer in force and one that was removed.
pub(crate) fn sealing(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    with(|v| {
        let key = |name| SealerKey::from_seed(&secret(name)).public().to_string();
        v["generation"] = json!(3);
        v["previous"] = json!("11".repeat(32));
        v["sealers"] = json!({
            "mira": {"added": 1, "by": "alice", "key": key("mira"), "removed": null},
            "nora": {"added": 2, "by": null, "key": key("nora"), "removed": {
                "generation": 3,
                "last": {"photos": {"digest": "22".repeat(32), "sequence": 17}},
            }},
        });
        change(v);
    })
}

/// What is refused of sealers.
fn sealer_cases() -> Vec<Case> {
    let set = |pointer: &str, new: Value| sealing(|v| *v.pointer_mut(pointer).unwrap() = new);
    let not_between = "sealer nora was not removed between its certification and this statement";
    vec![
        // 1
        (
            "sealer-member-unknown",
            sealing(|v| v["sealers"]["mira"]["comment"] = json!(1)),
            "unknown field `comment`",
        ),
        (
            "sealer-without-by",
            sealing(|v| _ = v["sealers"]["mira"].as_object_mut().unwrap().remove("by")),
            "the statement is not in canonical form",
        ),
        (
            "sealer-name",
            sealing(|v| v["sealers"]["Mira"] = v["sealers"]["mira"].clone()),
            "'Mira' is no name",
        ),
        (
            "sealer-series",
            sealing(|v| {
                v["sealers"]["nora"]["removed"]["last"]["a/b"] =
                    v["sealers"]["nora"]["removed"]["last"]["photos"].clone()
            }),
            "'a/b' is no series",
        ),
        (
            "sealer-last-0",
            set("/sealers/nora/removed/last/photos/sequence", json!(0)),
            "invalid value: integer `0`",
        ),
        // 7
        (
            "sealer-key-twice",
            sealing(|v| v["sealers"]["nora"]["key"] = v["sealers"]["mira"]["key"].clone()),
            "the key of sealer mira and the key of sealer nora are the same key",
        ),
        (
            "sealer-is-admin",
            sealing(|v| v["admins"]["zoe"] = v["sealers"]["mira"]["key"].clone()),
            "the signing key of admin zoe and the key of sealer mira are the same key",
        ),
        (
            "sealer-has-archive-key",
            set("/sealers/mira/key", json!(public_key("alice archive").to_string())),
            "the archive key of alice and the key of sealer mira are the same key",
        ),
        // 12
        (
            "sealer-from-later",
            set("/sealers/mira/added", json!(4)),
            "sealer mira was certified by a generation after this statement",
        ),
        ("sealer-removed-at-once", set("/sealers/nora/removed/generation", json!(2)), not_between),
        ("sealer-removed-later", set("/sealers/nora/removed/generation", json!(4)), not_between),
    ]
}

/// What is refused of epochs and of holders who are no tokens.
fn mixed_cases() -> Vec<Case> {
    let classic = |label: &str| json!(recipient(Suite::Classic, label).to_string());
    let erin = || soft_recipient(Suite::Classic, 2);
    vec![
        // 1
        ("epoch-member-unknown", mixed(|v| v["epochs"][0]["comment"] = json!(1)), "unknown field `comment`"),
        ("epoch-0", mixed_set("/epochs/0/number", json!(0)), "invalid value: integer `0`"),
        (
            "paper-member-unknown",
            mixed(|v| v["holders"]["carol"]["comment"] = json!(1)),
            "unknown field `comment`",
        ),
        (
            "paper-without-signing",
            mixed(|v| {
                v["holders"]["carol"].as_object_mut().unwrap().remove("signing");
                v["admins"].as_object_mut().unwrap().remove("carol");
            }),
            "the statement is not in canonical form",
        ),
        (
            "passphrase-without-file",
            mixed(|v| _ = v["holders"]["dave"].as_object_mut().unwrap().remove("file")),
            "missing field `file`",
        ),
        // 5
        ("no-epoch-for-shares", mixed_set("/epochs", json!([])), "needs key files under an epoch"),
        // 6
        (
            "paper-of-other-suite",
            mixed_set("/holders/carol/recipient", soft_recipient(Suite::Hybrid, 1)),
            "the recipient of carol is a token's, or not of suite classic",
        ),
        (
            "age-with-token-recipient",
            mixed_set("/holders/erin/recipient", classic("erin archive")),
            "the recipient of erin is a token's, or not of suite classic",
        ),
        (
            "paper-signs-with-p256",
            mixed(|v| {
                v["holders"]["carol"]["signing"] = json!(public_key("carol signing").to_string());
                v["admins"].as_object_mut().unwrap().remove("carol");
            }),
            "the signing key of carol is no ssh-ed25519 key",
        ),
        // 7
        (
            "one-recipient-two-holders",
            mixed_set("/holders/dave/recipient", erin()),
            "the recipient of dave and the recipient of erin are the same key",
        ),
        (
            "epoch-with-holders-recipient",
            mixed_set("/epochs/0/recipient", erin()),
            "the recipient of erin and the recipient of epoch 1 are the same key",
        ),
        (
            "two-epochs-one-recipient",
            mixed(|v| {
                let mut second = v["epochs"][0].clone();
                second["number"] = json!(2);
                v["epochs"].as_array_mut().unwrap().push(second);
            }),
            "the recipient of epoch 1 and the recipient of epoch 2 are the same key",
        ),
        (
            "one-signing-key-two-papers",
            mixed(|v| {
                v["holders"]["erin"]["kind"] = json!("paper");
                v["holders"]["erin"]["signing"] = v["holders"]["carol"]["signing"].clone();
            }),
            "the signing key of carol and the signing key of erin are the same key",
        ),
        (
            "admin-with-papers-key",
            mixed(|v| {
                let key = v["admins"].as_object_mut().unwrap().remove("carol").unwrap();
                v["admins"]["zoe"] = key;
            }),
            "the signing key of carol and the signing key of admin zoe are the same key",
        ),
        // 8
        (
            "paper-admin-is-another",
            mixed_set(
                "/holders/carol/signing",
                json!(Paper::from_entropy(&[8; 32]).signing_key().unwrap().to_string()),
            ),
            "admin carol has another key than the holder of that name",
        ),
        (
            "passphrase-as-admin",
            mixed(|v| {
                let key = v["admins"].as_object_mut().unwrap().remove("carol").unwrap();
                v["admins"]["dave"] = key;
            }),
            "admin dave has another key than the holder of that name",
        ),
        // 11
        ("epoch-numbers", mixed_set("/epochs/0/number", json!(2)), "epoch 2 stands where epoch 1 belongs"),
        (
            "epoch-with-token-recipient",
            mixed_set("/epochs/0/recipient", classic("epoch")),
            "the recipient of epoch 1 is a token's, or not of suite classic",
        ),
        (
            "epoch-of-other-suite",
            mixed_set("/epochs/0/recipient", soft_recipient(Suite::Hybrid, 1)),
            "the recipient of epoch 1 is a token's, or not of suite classic",
        ),
        (
            "epoch-from-later",
            mixed_set("/epochs/0/generation", json!(2)),
            "epoch 1 was written by generation 2, after this statement",
        ),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = token_cases();
    cases.extend(mixed_cases());
    cases.extend(sealer_cases());
    cases
}

fn token_cases() -> Vec<Case> {
    let not_canonical = "the statement is not in canonical form";
    let key = |label: &str| json!(public_key(label).to_string());
    let classic = |label: &str| json!(recipient(Suite::Classic, label).to_string());
    let digest = json!("00".repeat(32));
    vec![
        // 1: bytes
        ("empty", Vec::new(), "the statement cannot be read: EOF while parsing a value at line 1 column 0"),
        ("newline-at-end", text(|t| t + "\n"), not_canonical),
        ("space", text(|t| t.replacen(',', ", ", 1)), not_canonical),
        (
            "byte-order-mark",
            text(|t| format!("\u{feff}{t}")),
            "the statement cannot be read: expected value at line 1 column 1",
        ),
        (
            "member-order",
            text(|t| t.replacen(r#""keys":[],"name":"home""#, r#""name":"home","keys":[]"#, 1)),
            not_canonical,
        ),
        (
            "member-twice",
            text(|t| t.replacen(r#""keys":[]"#, r#""keys":[],"keys":[]"#, 1)),
            "duplicate field `keys`",
        ),
        (
            "admin-twice",
            text(|t| {
                let admin = format!(r#""alice":"{}","#, public_key("alice signing"));
                t.replacen(&admin, &admin.repeat(2), 1)
            }),
            not_canonical,
        ),
        ("escaped-letter", text(|t| t.replacen(r#""home""#, r#""\u0068ome""#, 1)), not_canonical),
        (
            "number-spelling",
            text(|t| t.replacen(r#""generation":1"#, r#""generation":1.0"#, 1)),
            "invalid type: floating point `1.0`",
        ),
        ("policy-spelling", set("/policy", json!("alice  or bob")), not_canonical),
        ("policy-as-number", set("/policy", json!("1 of (alice, bob)")), not_canonical),
        ("requirement-spelling", set("/require", json!("touch=always")), not_canonical),
        (
            "digest-in-capitals",
            set("/previous", json!("AB".repeat(32))),
            "a digest is 64 lower-case hexadecimal digits",
        ),
        (
            "recipient-in-capitals",
            with(|v| {
                let r = v["holders"]["alice"]["archive"].as_str().unwrap().to_uppercase();
                v["holders"]["alice"]["archive"] = json!(r);
            }),
            "the statement",
        ),
        (
            "key-with-comment",
            with(|v| {
                let k = format!("{} alice@host", v["admins"]["alice"].as_str().unwrap());
                v["admins"]["alice"] = json!(k);
            }),
            "the public key cannot be used",
        ),
        ("member-missing", remove("", "require"), "missing field `require`"),
        ("optional-member-missing", remove("", "previous"), not_canonical),
        ("member-unknown", add("", "comment", json!("hello")), "unknown field `comment`"),
        ("token-member-unknown", add("/holders/alice", "comment", json!(1)), "unknown field `comment`"),
        ("holder-kind-unknown", set("/holders/alice/kind", json!("friend")), "unknown variant `friend`"),
        (
            "format-unknown",
            set("/format", json!("keyward-statement-v2")),
            "its format is not keyward-statement-v1",
        ),
        ("epochs-unknown", set("/epochs", json!([{"recipient": "age1…"}])), "the recipient is not valid"),
        (
            "keys-unknown",
            set("/keys", json!([1])),
            "a list has entries that this version of Keyward does not know",
        ),
        ("sealers-unknown", set("/sealers", json!(["mira"])), "invalid type: sequence, expected a map"),
        ("no-object", b"[]".to_vec(), "the statement cannot be read"),
        ("name-with-slash", set("/name", json!("../home")), "'../home' is no name"),
        ("time-with-offset", set("/created", json!("2026-11-24T16:00:00+00:00")), "is no time of the form"),
        ("vault-id-short", set("/vault", json!("6b65")), "a vault id is 32 lower-case hexadecimal digits"),
        (
            "attestation-not-base64",
            set("/holders/alice/attestation/0", json!("=")),
            "the statement cannot be read",
        ),
        // 2
        ("generation-0", set("/generation", json!(0)), "invalid value: integer `0`"),
        (
            "first-with-previous",
            set("/previous", digest),
            "generation 1 and its `previous` contradict each other",
        ),
        (
            "second-without-previous",
            set("/generation", json!(2)),
            "generation 2 and its `previous` contradict each other",
        ),
        // 3
        (
            "expires-at-once",
            set("/expires", json!("2026-11-24T16:00:00Z")),
            "it expires on 2026-11-24T16:00:00Z, not after",
        ),
        // 4
        ("no-admin", set("/admins", json!({})), "a vault has 1 to 64 admins, not 0"),
        (
            "threshold-0",
            set("/thresholds/routine", json!(0)),
            "the thresholds routine 0 and root 1 do not fit 2 admins",
        ),
        (
            "threshold-above-root",
            set("/thresholds/routine", json!(2)),
            "the thresholds routine 2 and root 1 do not fit 2 admins",
        ),
        (
            "threshold-above-admins",
            set("/thresholds/root", json!(3)),
            "the thresholds routine 1 and root 3 do not fit 2 admins",
        ),
        (
            "one-key-two-admins",
            add("/admins", "carol", key("alice signing")),
            "the signing key of admin alice and the signing key of admin carol are the same key",
        ),
        // 5
        (
            "policy-names-nobody",
            set("/policy", json!("alice or bob or carol")),
            "the policy names carol, who is no holder",
        ),
        (
            "holder-outside-policy",
            set("/policy", json!("alice")),
            "bob is a holder and has no part in the policy",
        ),
        (
            "policy-needs-epoch",
            set("/policy", json!("alice and bob")),
            "'alice and bob' is no holder who opens alone",
        ),
        (
            "policy-part-needs-epoch",
            set("/policy", json!("alice or (alice and bob)")),
            "'alice and bob' is no holder who opens alone",
        ),
        (
            "policy-mixed",
            set("/policy", json!("alice or bob and alice")),
            "`and` and `or` stand side by side",
        ),
        // 6
        (
            "recipient-of-other-suite",
            set("/suite", json!("hybrid")),
            "the archive recipient of alice is no token recipient of suite hybrid",
        ),
        (
            "recipient-no-token",
            set(
                "/holders/bob/custody",
                json!("age1lggyhqrw2nlhcxprm67z43rta597azn8gknawjehu9d9dl0jq3yqqvfafg"),
            ),
            "the custody recipient of bob is no token recipient of suite classic",
        ),
        (
            "classic-with-seeds",
            set("/holders/alice/seed_object", json!("5fc121")),
            "the seed object of alice does not fit suite classic",
        ),
        (
            "hybrid-without-seeds",
            hybrid("/holders/alice/seed_object", Value::Null),
            "the seed object of alice does not fit suite hybrid",
        ),
        (
            "signing-with-archive-slot",
            set("/holders/alice/signing/slot", json!("82")),
            "alice cannot sign with slot 82",
        ),
        (
            "signing-with-no-slot",
            set("/holders/alice/signing/slot", json!("9e")),
            "alice cannot sign with slot 9e",
        ),
        (
            "archive-slot-82-spelled-out",
            add("/holders/alice", "archive_slot", json!("82")),
            "the statement is not in canonical form",
        ),
        (
            "custody-slot-83-spelled-out",
            add("/holders/alice", "custody_slot", json!("83")),
            "the statement is not in canonical form",
        ),
        (
            "archive-slot-9c",
            add("/holders/alice", "archive_slot", json!("9c")),
            "the archive key of alice cannot be in slot 9c",
        ),
        (
            "custody-slot-9d",
            add("/holders/alice", "custody_slot", json!("9d")),
            "the custody key of alice cannot be in slot 9d",
        ),
        (
            "custody-in-the-archive-slot",
            add("/holders/alice", "archive_slot", json!("83")),
            "the custody key of alice cannot be in slot 83",
        ),
        (
            "signing-in-the-custody-slot",
            with(|v| {
                v["holders"]["alice"]["custody_slot"] = json!("84");
                v["holders"]["alice"]["signing"]["slot"] = json!("84");
            }),
            "alice cannot sign with slot 84",
        ),
        // 7
        (
            "archive-key-is-custody-key",
            set("/holders/alice/custody", classic("alice archive")),
            "the archive key of alice and the custody key of alice are the same key",
        ),
        (
            "one-archive-key-two-holders",
            set("/holders/bob/archive", classic("alice archive")),
            "the archive key of alice and the archive key of bob are the same key",
        ),
        (
            "card-proof-is-signing-key",
            set("/holders/alice/card_proof", key("alice signing")),
            "the signing key of alice and the card proof key of alice are the same key",
        ),
        (
            "admin-signs-with-archive-key",
            add("/admins", "carol", key("alice archive")),
            "the archive key of alice and the signing key of admin carol are the same key",
        ),
        // 8
        (
            "admin-is-another",
            set("/admins/alice", key("mallory signing")),
            "admin alice has another key than the holder of that name",
        ),
        // 9
        (
            "requirement-touch",
            with(|v| {
                v["require"] = json!("touch = always");
                v["holders"]["bob"]["touch_policy"] = json!("cached");
            }),
            "bob fails the requirement 'touch = always': it has touch policy cached",
        ),
        (
            "requirement-pin",
            with(|v| {
                v["require"] = json!("pin = once");
                v["holders"]["bob"]["pin_policy"] = json!("never");
            }),
            "bob fails the requirement 'pin = once': it has PIN policy never",
        ),
        (
            "requirement-firmware",
            set("/require", json!("firmware >= 5.7.2")),
            "alice fails the requirement 'firmware >= 5.7.2': it has firmware 5.7.1",
        ),
        (
            "requirement-firmware-unknown",
            with(|v| {
                v["require"] = json!("firmware >= 5.7");
                v["holders"]["alice"]["firmware"] = Value::Null;
            }),
            "alice fails the requirement 'firmware >= 5.7': it has unknown firmware",
        ),
        (
            "requirement-attested",
            with(|v| {
                v["require"] = json!("attested");
                v["holders"]["bob"]["verdict"] = json!("issuer-held");
            }),
            "bob fails the requirement 'attested': it has verdict issuer-held",
        ),
        // 10
        (
            "emulated-in-real-vault",
            set("/test", json!(false)),
            "alice is an emulated token, and this is no test vault",
        ),
    ]
}
