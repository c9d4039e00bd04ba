//! A vault with three hosts that seal, and what they leave in a store. Every value here is one that anybody can compute.

use std::collections::BTreeMap;

use keyward_age::Suite;
use keyward_custody::{
    ArchiveFacts, Blake3, Confirmation, Digest, Draft, FoundArchive, FoundReceipt, Generation, GoneMap, Link,
    Pins, Receipt, ReceiptFacts, SealerKey, SignedReceipt, Statement, Unpinned, VaultFiles, Verified,
    verify_chain,
};

use crate::fixed::{first, name, put, secret, time};

/// The folder in which everything stands.
pub(crate) const PLACE: &str = "s3://backup/daily";

pub(crate) fn key(host: &str) -> SealerKey {
    SealerKey::from_seed(&secret(host))
}

/// The vault `home`: mira seals from generation 1, nora from 2 to 3, which removes her.
pub(crate) struct Home {
    pub(crate) files: VaultFiles,
    pub(crate) pins: Pins,
}

impl Home {
    pub(crate) fn new() -> Home {
        let mut files = VaultFiles::new();
        let mut draft = first(Suite::Classic, &["alice", "bob"]);
        draft.add_sealer(name("mira"), key("mira").public(), Some(name("alice"))).unwrap();
        put(&mut files, &draft.build().unwrap(), &["alice", "bob"]);
        let (pins, _) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
        Home { files, pins }
    }

    pub(crate) fn now(&self) -> Verified<Statement> {
        verify_chain(&self.files, &self.pins).unwrap()
    }

    /// Signs one more generation as alice.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Draft)) {
        let mut draft = Draft::after(&self.now(), time("2026-12-24T16:00:00Z"));
        change(&mut draft);
        put(&mut self.files, &draft.build().unwrap(), &["alice"]);
        self.now();
    }

    /// With nora as well.
    pub(crate) fn with_nora() -> Home {
        let mut home = Home::new();
        home.change(|draft| draft.add_sealer(name("nora"), key("nora").public(), None).unwrap());
        home
    }
}

/// A host that seals one series.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) series: &'static str,
    pub(crate) generation: u32,
    pub(crate) epoch: Option<u32>,
    pub(crate) own_key: bool,
    pub(crate) last: Option<Link>,
    pub(crate) gone: GoneMap,
}

/// What stands in a store.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Store {
    pub(crate) archives: BTreeMap<String, FoundArchive>,
    pub(crate) receipts: BTreeMap<String, Vec<u8>>,
}

impl Host {
    pub(crate) fn new(name: &'static str, series: &'static str) -> Host {
        Host {
            name,
            series,
            generation: 1,
            epoch: None,
            own_key: false,
            last: None,
            gone: GoneMap::default(),
        }
    }

    /// The receipt of an archive with this name, and its number in the series as content.
    pub(crate) fn receipt(&self, archive: &str) -> SignedReceipt {
        let number = self.last.map_or(1, |link| link.sequence.number() + 1);
        let found = found(archive, &format!("{} {} {number}", self.name, self.series));
        self.sign(Some(ArchiveFacts {
            adopted: false,
            blake3: found.blake3.unwrap(),
            epoch: self.epoch.and_then(std::num::NonZeroU32::new),
            header: found.header,
            name: archive.to_owned(),
            own_key: self.own_key.then(|| Digest::of(b"a key file")),
            size: found.size,
        }))
    }

    pub(crate) fn sign(&self, archive: Option<ArchiveFacts>) -> SignedReceipt {
        let receipt = Receipt::new(ReceiptFacts {
            vault: "6b657977617264207661756c74203031".parse().unwrap(),
            sealer: name(self.name),
            series: self.series.parse().unwrap(),
            after: self.last,
            generation: Generation::new(self.generation).unwrap(),
            time: time("2026-11-24T17:00:00Z"),
            archive,
            gone: self.gone.clone(),
        });
        SignedReceipt::sign(receipt.unwrap(), &key(self.name))
    }

    /// Seals once more, into a store.
    pub(crate) fn seal(&mut self, store: &mut Store, archive: &str) {
        let signed = self.receipt(archive);
        let number = signed.receipt().sequence();
        let path = format!("{PLACE}/{archive}");
        let content = format!("{} {} {number}", self.name, self.series);
        store.archives.insert(path.clone(), found(archive, &content));
        store.receipts.insert(path + ".receipt", signed.to_bytes());
        self.last = Some(signed.receipt().link());
    }

    /// Seals once more, in the place of an archive of its own series.
    pub(crate) fn reseal(&mut self, store: &mut Store, archive: &str) {
        let before = &store.receipts[&format!("{PLACE}/{archive}.receipt")];
        let before = SignedReceipt::parse(before).unwrap();
        let before = before.receipt();
        self.gone.replace(before.sealer(), before.series(), before.sequence());
        self.seal(store, archive);
    }
}

/// An archive of this content.
pub(crate) fn found(archive: &str, content: &str) -> FoundArchive {
    FoundArchive {
        path: format!("{PLACE}/{archive}"),
        header: Digest::of(format!("header of {content}").as_bytes()),
        size: 1000,
        blake3: Some(Blake3::from_bytes(*Digest::of(content.as_bytes()).as_bytes())),
    }
}

impl Store {
    pub(crate) fn archives(&self) -> Vec<FoundArchive> {
        self.archives.values().cloned().collect()
    }

    pub(crate) fn receipts(&self) -> Vec<FoundReceipt> {
        let receipts = self.receipts.iter();
        receipts.map(|(path, bytes)| FoundReceipt { path: path.clone(), bytes: bytes.clone() }).collect()
    }

    /// Takes an archive and its receipt away.
    pub(crate) fn delete(&mut self, archive: &str) {
        self.archives.remove(&format!("{PLACE}/{archive}")).unwrap();
        self.receipts.remove(&format!("{PLACE}/{archive}.receipt")).unwrap();
    }

    /// Puts a copy of what stands under one name under another: the archive, and its receipt if that is wanted.
    pub(crate) fn copy(&mut self, from: &str, to: &str, with_receipt: bool) {
        let mut archive = self.archives[&format!("{PLACE}/{from}")].clone();
        archive.path = format!("{PLACE}/{to}");
        self.archives.insert(archive.path.clone(), archive);
        if with_receipt {
            let receipt = self.receipts[&format!("{PLACE}/{from}.receipt")].clone();
            self.receipts.insert(format!("{PLACE}/{to}.receipt"), receipt);
        }
    }

    /// Lets two names change places.
    pub(crate) fn swap(&mut self, one: &str, two: &str, with_receipt: bool) {
        let before = self.clone();
        let mut other = before.clone();
        other.copy(two, one, with_receipt);
        self.copy(one, two, with_receipt);
        let path = format!("{PLACE}/{one}");
        self.archives.insert(path.clone(), other.archives[&path].clone());
        if with_receipt {
            let path = path + ".receipt";
            self.receipts.insert(path.clone(), other.receipts[&path].clone());
        }
    }

    /// Changes an archive.
    pub(crate) fn archive(&mut self, name: &str) -> &mut FoundArchive {
        self.archives.get_mut(&format!("{PLACE}/{name}")).unwrap()
    }

    /// Changes a receipt.
    pub(crate) fn receipt(&mut self, name: &str) -> &mut Vec<u8> {
        self.receipts.get_mut(&format!("{PLACE}/{name}.receipt")).unwrap()
    }
}
