//! The files of a vault's `statements/`, as somebody else read them.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Generation, Name};

/// One of the files that a reader knows, by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VaultFile {
    /// `0041.json`.
    Statement(Generation),
    /// `0041.alice.sig`.
    Signature(Generation, Name),
}

impl VaultFile {
    /// What a file of this name is. Any other name means nothing here: the file may be somebody's half-made one.
    pub fn from_file_name(file_name: &str) -> Option<VaultFile> {
        let mut parts = file_name.split('.');
        let generation = Generation::new(parts.next()?.parse().ok()?)?;
        let file = match (parts.next()?, parts.next(), parts.next()) {
            ("json", None, None) => VaultFile::Statement(generation),
            (signer, Some("sig"), None) => VaultFile::Signature(generation, signer.parse().ok()?),
            _ => return None,
        };
        (file.to_string() == file_name).then_some(file)
    }
}

impl fmt::Display for VaultFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VaultFile::Statement(generation) => write!(f, "{:04}.json", generation.number()),
            VaultFile::Signature(generation, signer) => write!(f, "{:04}.{signer}.sig", generation.number()),
        }
    }
}

/// A vault's statements and signatures: bytes that nobody has judged yet.
#[derive(Clone, Debug, Default)]
pub struct VaultFiles {
    statements: BTreeMap<Generation, Vec<u8>>,
    signatures: BTreeMap<Generation, BTreeMap<Name, Vec<u8>>>,
}

impl VaultFiles {
    /// No files.
    pub fn new() -> VaultFiles {
        VaultFiles::default()
    }

    /// Adds a file; one of the same name is replaced.
    pub fn insert(&mut self, file: VaultFile, bytes: Vec<u8>) {
        match file {
            VaultFile::Statement(generation) => self.statements.insert(generation, bytes),
            VaultFile::Signature(generation, signer) => {
                self.signatures.entry(generation).or_default().insert(signer, bytes)
            }
        };
    }

    /// The bytes of a generation's statement.
    pub fn statement(&self, generation: Generation) -> Option<&[u8]> {
        self.statements.get(&generation).map(Vec::as_slice)
    }

    /// The signature files of a generation, by signer.
    pub fn signatures(&self, generation: Generation) -> impl Iterator<Item = (&Name, &[u8])> {
        let files = self.signatures.get(&generation).into_iter().flatten();
        files.map(|(signer, bytes)| (signer, bytes.as_slice()))
    }

    /// The highest generation that is here.
    pub fn highest(&self) -> Option<Generation> {
        self.statements.last_key_value().map(|(generation, _)| *generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names() {
        for name in ["0001.json", "0041.alice.sig", "9999.json", "10000.json", "4294967295.x-1.sig"] {
            assert_eq!(VaultFile::from_file_name(name).unwrap().to_string(), name);
        }
        for other in [
            "",
            "0000.json",
            "1.json",
            "00001.json",
            "+001.json",
            "4294967296.json",
            "0001.json.tmp",
            ".0001.json",
            "0001.JSON",
            "0001.sig",
            "0001.Alice.sig",
            "0001.or.sig",
            "0001.alice.bob.sig",
            "0001.alice.json",
        ] {
            assert_eq!(VaultFile::from_file_name(other), None, "{other}");
        }
    }

    #[test]
    fn files_by_generation() {
        let mut files = VaultFiles::new();
        assert_eq!(files.highest(), None);
        for name in ["0001.json", "0001.bob.sig", "0002.alice.sig", "0001.alice.sig", "0003.json"] {
            files.insert(VaultFile::from_file_name(name).unwrap(), name.as_bytes().to_vec());
        }
        assert_eq!(files.highest(), Generation::new(3));
        assert_eq!(files.statement(Generation::FIRST), Some(&b"0001.json"[..]));
        assert_eq!(files.statement(Generation::FIRST.next()), None);
        let signers: Vec<&str> = files.signatures(Generation::FIRST).map(|(name, _)| name.as_str()).collect();
        assert_eq!(signers, ["alice", "bob"]);
    }
}
