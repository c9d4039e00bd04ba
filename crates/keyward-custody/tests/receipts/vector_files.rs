//! `tests/vectors/receipts`: files that another implementation can check itself against. Here they are made again, byte
//! for byte; `cargo run -p keyward-custody --example receipt_vectors` writes them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use keyward_custody::{
    Audit, Auditor, FoundArchive, Generation, Heads, Namespace, Receipt, SealerKey, SignedReceipt, Statement,
    VaultFile, Verified, signed_blob,
};
use serde_json::{Value, json};

use crate::fixed::{name, secret};
use crate::hosts::{Home, Host, PLACE, Store, key};

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/receipts")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn file_name(path: &str) -> &str {
    path.strip_prefix(PLACE).unwrap().trim_start_matches('/')
}

/// A vault of three generations, what two hosts left in a store, and what a reader has seen of it.
pub(crate) struct Scene {
    pub(crate) home: Home,
    pub(crate) store: Store,
    pub(crate) heads: Heads,
    pub(crate) mira: Host,
}

impl Scene {
    pub(crate) fn new() -> Scene {
        let mut home = Home::with_nora();
        let mut store = Store::default();
        let mut mira = Host::new("mira", "photos");
        mira.seal(&mut store, "photos-1.age");
        mira.generation = 2;
        mira.seal(&mut store, "photos-2.age");
        mira.seal(&mut store, "photos-3.age");
        let mut nora = Host { generation: 2, ..Host::new("nora", "photos") };
        nora.reseal(&mut store, "photos-2.age");
        nora.seal(&mut store, "photos-4.age");
        mira.gone.retire(&name("mira"), &"photos".parse().unwrap(), &"1".parse().unwrap());
        let said = mira.sign(None);
        mira.last = Some(said.receipt().link());
        store.receipts.insert(format!("{PLACE}/mira.photos.retired.receipt"), said.to_bytes());
        store.delete("photos-1.age");
        let heads = Heads::new(home.now().statement().vault_id());
        let heads = all(&home.now(), &heads, &store).heads;
        home.change(|draft| {
            draft.remove_sealer(&name("nora"), heads.of_sealer(&name("nora"))).unwrap();
        });
        Scene { home, store, heads, mira }
    }
}

fn all(now: &Verified<Statement>, heads: &Heads, store: &Store) -> Audit {
    Auditor::new(now, heads).all(&[PLACE.to_owned()], &store.archives(), &store.receipts(), None)
}

/// All generated files by their path below the folder.
pub(crate) fn generate() -> BTreeMap<String, Vec<u8>> {
    let scene = Scene::new();
    let now = scene.home.now();
    let audit = all(&now, &scene.heads, &scene.store);
    assert!(audit.is_fine());

    let mut files = BTreeMap::new();
    for generation in (1..=3).filter_map(Generation::new) {
        let statement = VaultFile::Statement(generation);
        let bytes = scene.home.files.statement(generation).unwrap().to_vec();
        files.insert(format!("statements/{statement}"), bytes);
        for (signer, bytes) in scene.home.files.signatures(generation) {
            let signature = VaultFile::Signature(generation, signer.clone());
            files.insert(format!("statements/{signature}"), bytes.to_vec());
        }
    }
    for (path, bytes) in &scene.store.receipts {
        files.insert(format!("store/{}", file_name(path)), bytes.clone());
    }
    files.insert("heads.json".to_owned(), scene.heads.to_bytes().unwrap());
    files.insert("mira.key".to_owned(), key("mira").to_openssh("mira").as_bytes().to_vec());
    files.insert("values.json".to_owned(), values(&scene, &audit));

    let mut answers = serde_json::Map::new();
    for (case, bytes) in cases(&scene) {
        let finding = Auditor::new(&now, &scene.heads).receipt(&bytes).unwrap_err();
        answers.insert(case.to_owned(), json!({"finding": finding.word(), "message": finding.to_string()}));
        files.insert(format!("refused/{case}.receipt"), bytes);
    }
    files.insert("refused.json".to_owned(), pretty(&Value::Object(answers)));
    files
}

fn values(scene: &Scene, audit: &Audit) -> Vec<u8> {
    let archive = |found: &FoundArchive| {
        json!({
            "blake3": found.blake3.map(|blake3| blake3.to_string()),
            "header": found.header.to_string(),
            "size": found.size,
        })
    };
    let archives: serde_json::Map<String, Value> = scene
        .store
        .archives()
        .iter()
        .map(|found| (file_name(&found.path).to_owned(), archive(found)))
        .collect();
    let receipts: serde_json::Map<String, Value> = scene
        .store
        .receipts
        .iter()
        .map(|(path, bytes)| {
            let signed = SignedReceipt::parse(bytes).unwrap();
            let receipt = signed.receipt();
            let values = json!({
                "digest": receipt.digest().to_string(),
                "signed_blob": hex(&signed_blob(Namespace::Receipt, receipt.line())),
            });
            (file_name(path).to_owned(), values)
        })
        .collect();
    let audit: serde_json::Map<String, Value> = audit
        .lines
        .iter()
        .map(|line| (file_name(&line.subject).to_owned(), json!(line.finding.word())))
        .collect();
    pretty(&json!({
        "about": "Seeds of Ed25519 keys are SHA-256 of `keyward test key: NAME`. The archives are given by their values alone.",
        "archives": archives,
        "audit": audit,
        "place": PLACE,
        "receipts": receipts,
        "allowed_sealers": scene.home.now().statement().allowed_sealers(),
        "seeds": {"mira": hex(&secret("mira")), "nora": hex(&secret("nora"))},
    }))
}

/// A receipt for each rule of `docs/formats.md`, "Receipt": signed by whoever can, so that the rule alone refuses it.
fn cases(scene: &Scene) -> Vec<(&'static str, Vec<u8>)> {
    let next = scene.mira.receipt("photos-5.age");
    let edited = |change: fn(&mut Value)| {
        let line = next.receipt().line();
        let mut value: Value = serde_json::from_slice(line).unwrap();
        change(&mut value);
        signed_text(
            &key("mira"),
            &[serde_json_canonicalizer::to_vec(&value).unwrap(), b"\n".to_vec()].concat(),
        )
    };
    let text = |change: fn(String) -> String| {
        let line = String::from_utf8(next.receipt().line().to_vec()).unwrap();
        signed_text(&key("mira"), change(line).as_bytes())
    };
    let file =
        |change: fn(String) -> String| change(String::from_utf8(next.to_bytes()).unwrap()).into_bytes();
    let nora = |last: Option<keyward_custody::Link>, generation| {
        Host { generation, last, ..Host::new("nora", "photos") }.receipt("photos-5.age").to_bytes()
    };
    let of_nora = |file: &str| {
        let signed = SignedReceipt::parse(&scene.store.receipts[&format!("{PLACE}/{file}.receipt")]).unwrap();
        signed.receipt().link()
    };
    let mut other = scene.mira.clone();
    other.last.as_mut().unwrap().digest = keyward_custody::Digest::of(b"another receipt");
    vec![
        // 1
        ("white-space", text(|line| line.replacen("{", "{ ", 1))),
        (
            "members-in-another-order",
            text(|line| {
                let from = line.find(",\"vault\"").unwrap();
                let vault = line[from + 1..line.len() - 2].to_owned();
                line[..from].replacen('{', &format!("{{{vault},"), 1) + "}\n"
            }),
        ),
        ("no-newline", text(|line| line.trim_end().to_owned())),
        ("two-lines", text(|line| format!("{line}\n"))),
        ("no-signature", next.receipt().line().to_vec()),
        (
            "two-signatures",
            file(|file| {
                let armor = file.split_once('\n').unwrap().1.to_owned();
                file + &armor
            }),
        ),
        ("member-unknown", edited(|v| v["comment"] = json!("hello"))),
        ("member-missing", edited(|v| _ = v.as_object_mut().unwrap().remove("gone"))),
        ("archive-member-unknown", edited(|v| v["archive"]["comment"] = json!(1))),
        ("format-unknown", edited(|v| v["format"] = json!("keyward-receipt-v2"))),
        ("series-with-slash", edited(|v| v["series"] = json!("a/b"))),
        ("header-upper-case", edited(|v| v["archive"]["header"] = json!("AA".repeat(32)))),
        ("gone-in-another-spelling", edited(|v| v["gone"]["mira"]["photos"]["retired"] = json!("1,2"))),
        // 2
        ("sequence-0", edited(|v| v["sequence"] = json!(0))),
        ("first-with-previous", edited(|v| v["sequence"] = json!(1))),
        ("later-without-previous", edited(|v| v["previous"] = Value::Null)),
        // 3
        ("name-empty", edited(|v| v["archive"]["name"] = json!(""))),
        ("name-dots", edited(|v| v["archive"]["name"] = json!(".."))),
        ("name-with-slash", edited(|v| v["archive"]["name"] = json!("a/b"))),
        ("name-long", edited(|v| v["archive"]["name"] = json!("a".repeat(1025)))),
        ("size-not-exact", edited(|v| v["archive"]["size"] = json!(1_u64 << 53))),
        (
            "epoch-and-own-key",
            edited(|v| {
                v["archive"]["epoch"] = json!(1);
                v["archive"]["own_key"] = json!("22".repeat(32));
            }),
        ),
        // 4
        ("gone-nothing", edited(|v| v["gone"]["mira"]["photos"]["retired"] = json!(""))),
        ("gone-no-series", edited(|v| v["gone"]["nora"] = json!({}))),
        // 5
        (
            "gone-itself",
            edited(|v| v["gone"]["mira"]["photos"]["replaced"] = v["sequence"].to_string().into()),
        ),
        // 6
        ("other-vault", edited(|v| v["vault"] = json!("6b657977617264207661756c74203032"))),
        // 7
        ("no-sealer", edited(|v| v["sealer"] = json!("olga"))),
        ("before-certified", nora(None, 1)),
        // 8
        ("other-key", SignedReceipt::sign(next.receipt().clone(), &key("mallory")).to_bytes()),
        ("edited", file(|file| file.replace("photos-5.age", "photos-6.age"))),
        ("other-namespace", {
            let mut file = next.receipt().line().to_vec();
            file.extend(sign_in(Namespace::Vault, &key("mira"), next.receipt().line()).into_bytes());
            file
        }),
        // 9
        ("later-generation", edited(|v| v["generation"] = json!(4))),
        // 10
        ("removed-sealer", nora(Some(of_nora("photos-4.age")), 2)),
        ("removed-sealer-other-series", {
            Host { generation: 2, ..Host::new("nora", "letters") }.receipt("letters.age").to_bytes()
        }),
        ("removed-sealer-after-removal", nora(Some(of_nora("photos-2.age")), 3)),
        ("removed-sealer-other-last", nora(Some(of_nora("photos-2.age")), 2)),
        // 11
        ("another-of-that-number", {
            let (mut store, mut again) = (Store::default(), Host::new("mira", "photos"));
            (1..=4).for_each(|number| again.seal(&mut store, &format!("other-{number}.age")));
            assert_eq!(again.last.unwrap().sequence, scene.mira.last.unwrap().sequence);
            store.receipt("other-4.age").clone()
        }),
        ("after-another", other.receipt("photos-5.age").to_bytes()),
    ]
}

/// A line and the signature that this key makes over it, whatever the line says.
fn signed_text(key: &SealerKey, line: &[u8]) -> Vec<u8> {
    [line.to_vec(), sign_in(Namespace::Receipt, key, line).into_bytes()].concat()
}

/// The crate signs receipts alone with such a key; here it signs anything.
fn sign_in(namespace: Namespace, key: &SealerKey, message: &[u8]) -> String {
    use ed25519_dalek::Signer as _;

    let seed = ["mira", "nora", "mallory"].map(secret);
    let seed = seed.iter().find(|seed| SealerKey::from_seed(seed).public() == key.public()).unwrap();
    let value = ed25519_dalek::SigningKey::from_bytes(seed).sign(&signed_blob(namespace, message)).to_bytes();
    keyward_custody::Signature::from_bytes(&key.public(), namespace, value).to_armored()
}

fn pretty(value: &Value) -> Vec<u8> {
    let mut text = serde_json::to_string_pretty(value).unwrap();
    text.push('\n');
    text.into_bytes()
}

/// The line of a receipt that agrees with itself comes back as it was.
pub(crate) fn reads_back(bytes: &[u8]) -> bool {
    let signed = SignedReceipt::parse(bytes).unwrap();
    let line = signed.receipt().line();
    signed.to_bytes() == bytes && Receipt::parse(line).unwrap() == *signed.receipt()
}

/// An archive of this name with the values of the vectors.
pub(crate) fn archive(name: &str, values: &Value) -> FoundArchive {
    let text = |member: &str| values[member].as_str().unwrap();
    FoundArchive {
        path: format!("{PLACE}/{name}"),
        header: text("header").parse().unwrap(),
        size: values["size"].as_u64().unwrap(),
        blake3: Some(text("blake3").parse().unwrap()),
    }
}
