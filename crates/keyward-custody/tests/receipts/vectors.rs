//! The stored vectors are the ones that are made today, and they say of themselves what they should.

use std::path::Path;

use keyward_custody::{
    Auditor, Confirmation, FoundArchive, FoundReceipt, Heads, SealerKey, Unpinned, VaultFile, VaultFiles,
};
use serde_json::Value;

use crate::hosts::{PLACE, key};
use crate::vector_files::{archive, folder, generate, reads_back};

fn walk(folder: &Path, below: &str, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{path}/"), found);
        } else {
            found.push(path);
        }
    }
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn json(path: &str) -> Value {
    serde_json::from_slice(&read(path)).unwrap()
}

#[test]
fn the_vectors_are_what_the_code_makes() {
    let generated = generate();
    for (path, bytes) in &generated {
        assert!(read(path) == *bytes, "{path} is not what is made today");
    }
    let mut found = Vec::new();
    walk(&folder(), "", &mut found);
    let unknown: Vec<&String> =
        found.iter().filter(|path| !generated.contains_key(*path) && *path != "README.md").collect();
    assert!(unknown.is_empty(), "nothing makes {unknown:?}");
}

#[test]
fn the_stored_receipts_are_judged_as_they_say() {
    let mut files = VaultFiles::new();
    for entry in std::fs::read_dir(folder().join("statements")).unwrap() {
        let entry = entry.unwrap();
        let file = VaultFile::from_file_name(entry.file_name().to_str().unwrap()).unwrap();
        files.insert(file, std::fs::read(entry.path()).unwrap());
    }
    let (_, now) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
    let heads = Heads::parse(&read("heads.json")).unwrap();
    let values = json("values.json");
    assert_eq!(now.statement().allowed_sealers(), values["allowed_sealers"]);

    let archives = values["archives"].as_object().unwrap();
    let archives: Vec<FoundArchive> = archives.iter().map(|(name, values)| archive(name, values)).collect();
    let receipts = values["receipts"].as_object().unwrap();
    let receipts: Vec<FoundReceipt> = receipts
        .iter()
        .map(|(name, values)| {
            let bytes = read(&format!("store/{name}"));
            assert!(reads_back(&bytes), "{name}");
            let line = bytes.iter().position(|byte| *byte == b'\n').unwrap() + 1;
            assert_eq!(keyward_custody::Digest::of(&bytes[..line]).to_string(), values["digest"]);
            FoundReceipt { path: format!("{PLACE}/{name}"), bytes }
        })
        .collect();
    let auditor = Auditor::new(&now, &heads);
    let audit = auditor.all(&[PLACE.to_owned()], &archives, &receipts, None);
    assert_eq!(audit.lines.len(), values["audit"].as_object().unwrap().len());
    for line in &audit.lines {
        let subject = line.subject.strip_prefix(PLACE).unwrap().trim_start_matches('/');
        assert_eq!(line.finding.word(), values["audit"][subject], "{subject}");
    }
    assert_eq!(audit.heads, heads);

    let refused = json("refused.json");
    for (case, answer) in refused.as_object().unwrap() {
        let finding = auditor.receipt(&read(&format!("refused/{case}.receipt"))).unwrap_err();
        assert_eq!(finding.word(), answer["finding"], "{case}");
        assert_eq!(finding.to_string(), answer["message"].as_str().unwrap(), "{case}");
    }
    assert!(refused.as_object().unwrap().len() > 30);
    assert_eq!(SealerKey::from_openssh(&read("mira.key")).unwrap().public(), key("mira").public());
}

#[test]
fn the_page_on_formats_shows_these_vectors() {
    let page = std::fs::read_to_string(folder().join("../../../docs/formats.md")).unwrap();
    let digest = &json("values.json")["receipts"]["photos-2.age.receipt"]["digest"];
    assert!(page.contains(digest.as_str().unwrap()), "{digest} is not in docs/formats.md");
}
