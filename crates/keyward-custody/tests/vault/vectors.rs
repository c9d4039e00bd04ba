//! The stored vectors are the ones that are made today, and they verify.

use std::path::Path;

use keyward_custody::{Confirmation, Unpinned, VaultFile, VaultFiles};
use serde_json::Value;

use crate::vector_files::{folder, generate};

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

#[test]
fn the_vectors_are_what_the_code_makes() {
    let generated = generate();
    for (path, bytes) in &generated {
        let stored = std::fs::read(folder().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(stored == *bytes, "{path} is not what is made today");
    }
    let mut found = Vec::new();
    walk(&folder(), "", &mut found);
    let by_hand = ["README.md", "ssh-ecdsa.pub", "ssh-ed25519.pub"];
    let unknown: Vec<&String> = found
        .iter()
        .filter(|path| !generated.contains_key(*path) && !by_hand.contains(&path.as_str()))
        .collect();
    assert!(unknown.is_empty(), "nothing makes {unknown:?}");
    assert!(generated.len() > 60);
}

#[test]
fn the_stored_vaults_verify() {
    for suite in ["hybrid", "classic"] {
        let statements = folder().join(suite).join("statements");
        let mut files = VaultFiles::new();
        for entry in std::fs::read_dir(&statements).unwrap() {
            let entry = entry.unwrap();
            let file = VaultFile::from_file_name(entry.file_name().to_str().unwrap()).unwrap();
            files.insert(file, std::fs::read(entry.path()).unwrap());
        }
        let values: Value =
            serde_json::from_slice(&std::fs::read(folder().join(suite).join("values.json")).unwrap())
                .unwrap();
        let claim = values["words"].as_str().unwrap().parse().unwrap();
        let unpinned = Unpinned::read(&files).unwrap();
        assert_eq!(unpinned.fingerprint().to_string(), values["fingerprint"]);
        let (pins, verified) = unpinned.trust(&Confirmation::Fingerprint(claim), true).unwrap();
        assert_eq!(pins.to_bytes().unwrap(), std::fs::read(folder().join(suite).join("pins.json")).unwrap());
        assert_eq!(verified.statement().digest().to_string(), values["generation_2"]["digest"]);
        assert_eq!(verified.recipients().len(), 1);
    }
}

#[test]
fn the_page_on_formats_shows_these_vectors() {
    let page = std::fs::read_to_string(folder().join("../../../docs/formats.md")).unwrap();
    let values: Value =
        serde_json::from_slice(&std::fs::read(folder().join("classic/values.json")).unwrap()).unwrap();
    for shown in [&values["fingerprint"], &values["words"], &values["generation_1"]["signing_digest"]] {
        assert!(page.contains(shown.as_str().unwrap()), "{shown} is not in docs/formats.md");
    }
    let refused: Value =
        serde_json::from_slice(&std::fs::read(folder().join("refused.json")).unwrap()).unwrap();
    assert!(refused.as_object().unwrap().len() > 50);
}
