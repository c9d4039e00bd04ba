//! `tests/vectors/keys`: a vault with an epoch in each suite, and everything between its files and its seed.
//!
//! Key files are sealed with fresh randomness, so they are stored and not made again: `cargo run -p keyward-custody
//! --example key_vectors` makes new ones. All the rest follows from them and from keys that anybody can compute.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use keyward_age::{Header, OpenReader, Suite};
use keyward_custody::{
    Confirmation, KeyFile, Namespace, Paper, SheetFacts, Statement, Unpinned, VaultFile, VaultFiles, VaultId,
    Verified, signed_blob,
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::fixed::{name, secret};
use crate::people::{Kind, Person, first, put};

pub(crate) const SUITES: [Suite; 2] = [Suite::Hybrid, Suite::Classic];
pub(crate) const TEAM_POLICY: &str = "alice or (bob and carol) or 2 of (carol, dave, erin)";
pub(crate) const PASSPHRASE: &str = "a test passphrase";

pub(crate) fn people(suite: Suite) -> Vec<Person> {
    [
        ("alice", Kind::Token),
        ("bob", Kind::Token),
        ("carol", Kind::Paper),
        ("dave", Kind::Age),
        ("erin", Kind::Passphrase),
    ]
    .map(|(name, kind)| Person::new(name, kind, suite))
    .to_vec()
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/keys")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text.into_bytes()
}

/// The files that hold randomness, by their path below the folder.
pub(crate) struct Stored(BTreeMap<String, Vec<u8>>);

impl Stored {
    pub(crate) fn read() -> Stored {
        let paths = SUITES.iter().flat_map(|suite| {
            let mut paths = ["keys/epoch-1.g1.json", "holders/erin.age", "statements/0001.json"]
                .map(str::to_owned)
                .to_vec();
            paths.extend(["alice", "bob", "carol"].map(|signer| format!("statements/0001.{signer}.sig")));
            paths.into_iter().map(move |path| format!("{suite}/{path}"))
        });
        let read = |path: String| {
            let bytes = std::fs::read(folder().join(&path)).unwrap_or_else(|error| panic!("{path}: {error}"));
            (path, bytes)
        };
        Stored(paths.map(read).collect())
    }

    pub(crate) fn fresh() -> Stored {
        let mut all = BTreeMap::new();
        for suite in SUITES {
            let people = people(suite);
            let erin = people.last().unwrap();
            let (file, holder) = erin.passphrase_file();
            let mut draft = first(&people, TEAM_POLICY);
            draft.holders.insert(erin.name(), holder);
            let key = draft.new_epoch().unwrap();
            let statement = draft.build().unwrap();
            let mut files = VaultFiles::new();
            put(&mut files, &statement, &people.iter().take(3).collect::<Vec<_>>());
            all.insert(format!("{suite}/keys/{}", key.file_name()), key.bytes().to_vec());
            all.insert(format!("{suite}/holders/erin.age"), file);
            let generation = statement.generation();
            let file = VaultFile::Statement(generation);
            all.insert(format!("{suite}/statements/{file}"), statement.bytes().to_vec());
            for (signer, bytes) in files.signatures(generation) {
                let file = VaultFile::Signature(generation, signer.clone());
                all.insert(format!("{suite}/statements/{file}"), bytes.to_vec());
            }
        }
        Stored(all)
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = String> {
        self.0.keys().cloned()
    }

    pub(crate) fn files(&self) -> &BTreeMap<String, Vec<u8>> {
        &self.0
    }

    pub(crate) fn file(&self, suite: Suite, path: &str) -> &[u8] {
        &self.0[&format!("{suite}/{path}")]
    }

    pub(crate) fn verified(&self, suite: Suite) -> Verified<Statement> {
        let mut files = VaultFiles::new();
        let below = format!("{suite}/statements/");
        for (path, bytes) in &self.0 {
            if let Some(file) = path.strip_prefix(&below) {
                files.insert(VaultFile::from_file_name(file).unwrap(), bytes.clone());
            }
        }
        let (_, verified) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
        verified
    }
}

/// The files that follow from the stored ones.
pub(crate) fn derived(stored: &Stored) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::from([("paper.json".to_owned(), pretty(&papers()))]);
    for suite in SUITES {
        all.insert(format!("{suite}/values.json"), pretty(&values(stored, suite)));
    }
    let mut messages = serde_json::Map::new();
    let verified = stored.verified(Suite::Classic);
    for (case, bytes) in refused(stored) {
        let message = verified.key_file(1, &bytes).unwrap_err().to_string();
        let alone = KeyFile::parse(&bytes).err().map(|error| error.to_string());
        messages.insert(case.to_owned(), json!({"as epoch 1 of the vault": message, "by itself": alone}));
        all.insert(format!("refused/{case}.json"), bytes);
    }
    all.insert("refused.json".to_owned(), pretty(&Value::Object(messages)));
    all
}

/// What HKDF-SHA256 gives for a label, made without the code under test.
fn derive(entropy: &[u8; 32], label: &str) -> String {
    let mut seed = [0; 32];
    Hkdf::<Sha256>::new(None, entropy).expand(label.as_bytes(), &mut seed).unwrap();
    hex(&seed)
}

fn papers() -> Value {
    let carol = name("carol");
    let entropies = [[0; 32], secret("carol paper"), [0xff; 32]];
    let paper = |entropy: &[u8; 32]| {
        let paper = Paper::from_entropy(entropy);
        let facts = |suite| SheetFacts {
            holder: &carol,
            vault_name: &carol,
            vault_id: VaultId::from_bytes(*b"keyward vault 01"),
            suite,
            signs: true,
        };
        let message = b"a statement";
        json!({
            "entropy": hex(entropy),
            "words": paper.words().expose_secret(),
            "hybrid_seed": derive(entropy, "keyward-paper-v1 age hybrid"),
            "hybrid_recipient": paper.recipient(Suite::Hybrid).unwrap().to_string(),
            "classic_seed": derive(entropy, "keyward-paper-v1 age classic"),
            "classic_identity": paper.identity(Suite::Classic).unwrap().to_secret_string().expose_secret(),
            "classic_recipient": paper.recipient(Suite::Classic).unwrap().to_string(),
            "signing_seed": derive(entropy, "keyward-paper-v1 ed25519"),
            "signing_key": paper.signing_key().unwrap().to_string(),
            "message": "a statement",
            "signed_blob": hex(&signed_blob(Namespace::Vault, message)),
            "signature": paper.sign(Namespace::Vault, message).unwrap().to_armored(),
            "classic_sheet": paper.sheet(&facts(Suite::Classic)).unwrap().expose_secret(),
        })
    };
    entropies.iter().map(paper).collect()
}

fn values(stored: &Stored, suite: Suite) -> Value {
    let verified = stored.verified(suite);
    let file = verified.key_file(1, stored.file(suite, "keys/epoch-1.g1.json")).unwrap();
    let people = people(suite);
    let secrets: serde_json::Map<String, Value> = people
        .iter()
        .map(|person| {
            let value = match person.kind {
                Kind::Token => {
                    let label = format!("{} custody", person.name);
                    json!({"kind": "token", "custody_p256": hex(&secret(&label)), "custody_ml_kem": hex(&person.ml_kem_seed("custody"))})
                }
                Kind::Paper => json!({"kind": "paper", "entropy": hex(&secret(&format!("{} paper", person.name)))}),
                Kind::Age => json!({"kind": "age", "seed": hex(&secret(&format!("{} identity", person.name)))}),
                Kind::Passphrase => json!({"kind": "passphrase", "passphrase": PASSPHRASE, "seed": hex(&secret(&format!("{} identity", person.name)))}),
            };
            (person.name.clone(), value)
        })
        .collect();
    let leaf = |leaf: &keyward_custody::Leaf| {
        let person = people.iter().find(|person| person.name() == *leaf.holder()).unwrap();
        let file_key = person.unwrap(leaf).unwrap();
        let mut rest = leaf.sealed();
        Header::read(&mut rest).unwrap();
        let mut plaintext = String::new();
        OpenReader::new(rest, &file_key, 1).unwrap().read_to_string(&mut plaintext).unwrap();
        let share = plaintext.trim_end().rsplit(' ').next().unwrap().to_owned();
        json!({
            "holder": leaf.holder().to_string(),
            "path": leaf.path().to_string(),
            "file_key": hex(file_key.expose()),
            "plaintext": plaintext,
            "share": share,
            "share_digest": leaf.digest().to_string(),
        })
    };
    let leaves: Vec<Value> = file.leaves().iter().map(leaf).collect();
    json!({
        "about": "P-256 keys are SHA-256 of `keyward test key: LABEL`, ML-KEM seeds SHA-512 of it; the policy's first part hands the seed on.",
        "holders": secrets,
        "policy": TEAM_POLICY,
        "minimal_sets": file.policy().minimal_sets().iter().map(|set| set.iter().map(ToString::to_string).collect::<Vec<_>>()).collect::<Vec<_>>(),
        "key_file_digest": file.digest().to_string(),
        "leaves": leaves,
        "seed": leaves[0]["share"],
        "recipient": file.recipient().to_string(),
        "statement_digest": verified.statement().digest().to_string(),
    })
}

/// The classic key file, changed: a reader of that vault refuses each.
fn refused(stored: &Stored) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = stored.file(Suite::Classic, "keys/epoch-1.g1.json");
    let edit = |change: &dyn Fn(&mut Value)| {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        change(&mut value);
        serde_json_canonicalizer::to_vec(&value).unwrap()
    };
    let swap = |v: &mut Value, one: usize, two: usize| {
        let (first, second) = (v["leaves"][one]["sealed"].clone(), v["leaves"][two]["sealed"].clone());
        (v["leaves"][one]["sealed"], v["leaves"][two]["sealed"]) = (second, first);
    };
    vec![
        ("newline-at-end", [bytes, b"\n"].concat()),
        ("format-unknown", edit(&|v| v["format"] = json!("keyward-key-file-v2"))),
        ("member-unknown", edit(&|v| v["comment"] = json!("hello"))),
        ("version-0", edit(&|v| v["version"] = json!(0))),
        ("another-vault", edit(&|v| v["vault"] = json!("00".repeat(16)))),
        ("another-key", edit(&|v| v["key"] = json!("restic"))),
        ("another-version", edit(&|v| v["version"] = json!(2))),
        ("another-generation", edit(&|v| v["generation"] = json!(2))),
        ("leaf-missing", edit(&|v| _ = v["leaves"].as_array_mut().unwrap().pop())),
        (
            "leaf-twice",
            edit(&|v| {
                let leaf = v["leaves"][0].clone();
                v["leaves"].as_array_mut().unwrap().push(leaf);
            }),
        ),
        ("leaves-out-of-order", edit(&|v| v["leaves"].as_array_mut().unwrap().swap(1, 2))),
        ("path-with-zero", edit(&|v| v["leaves"][0]["path"] = json!("01"))),
        ("leaf-of-another-holder", edit(&|v| v["leaves"][0]["holder"] = json!("bob"))),
        ("policy-of-another", edit(&|v| v["policy"] = json!("alice or bob"))),
        ("shares-swapped", edit(&|v| swap(v, 2, 3))),
        ("share-digest", edit(&|v| v["leaves"][0]["share"] = json!("00".repeat(32)))),
        ("sealed-too-long", edit(&|v| v["leaves"][0]["sealed"] = json!("AAAA".repeat(3000)))),
        (
            "recipient-of-another",
            edit(&|v| {
                v["recipient"] = json!(people(Suite::Classic)[3].holder().archive().to_string());
            }),
        ),
    ]
}
