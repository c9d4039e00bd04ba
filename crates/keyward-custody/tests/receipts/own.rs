//! A sealer's own series: numbers are given once, whatever becomes of the archives.

use keyward_custody::{ArchiveFacts, Error, Generation, GoneMap, Link, OwnSeries, SignedReceipt};

use crate::audits::{audit, heads, wrong};
use crate::fixed::{name, time};
use crate::hosts::{Home, Host, PLACE, Store, found, key};

fn own() -> OwnSeries {
    let id = "6b657977617264207661756c74203031".parse().unwrap();
    OwnSeries::new(id, name("mira"), "photos".parse().unwrap())
}

fn facts(archive: &str) -> ArchiveFacts {
    let found = found(archive, archive);
    ArchiveFacts {
        adopted: false,
        blake3: found.blake3.unwrap(),
        epoch: None,
        header: found.header,
        name: archive.to_owned(),
        own_key: None,
        size: found.size,
    }
}

/// Gives out the next number, and notes it.
fn begin(own: &mut OwnSeries, archive: &str) -> SignedReceipt {
    let facts = facts(archive);
    let receipt =
        own.next(&heads(), Generation::FIRST, time("2026-11-24T16:00:00Z"), Some(facts), &GoneMap::default());
    let signed = SignedReceipt::sign(receipt.unwrap(), &key("mira"));
    own.wait(format!("{PLACE}/{archive}"), signed.clone());
    *own = OwnSeries::parse(&own.to_bytes().unwrap()).unwrap();
    signed
}

fn link(signed: &SignedReceipt) -> Link {
    signed.receipt().link()
}

#[test]
fn numbers_follow_each_other() {
    let mut own = own();
    let one = begin(&mut own, "a.age");
    own.published(link(&one));
    let two = begin(&mut own, "b.age");
    assert_eq!(two.receipt().previous(), Some(one.receipt().digest()));
    // Two wait at once, and the first of them is published last.
    let three = begin(&mut own, "c.age");
    own.published(link(&three));
    assert_eq!(own.waiting().len(), 1);
    own.published(link(&two));
    assert!(own.waiting().is_empty());
    assert_eq!(begin(&mut own, "d.age").receipt().sequence().number(), 4);
    assert_eq!(own.newest_number().unwrap().number(), 4);
}

#[test]
fn a_number_without_an_archive_is_free_again_or_gone() {
    let home = Home::new();
    let mut own = own();
    let one = begin(&mut own, "a.age");
    own.dropped(link(&one));
    assert_eq!(own, self::own());
    let one = begin(&mut own, "b.age");
    assert_eq!(one.receipt().sequence().number(), 1);
    let two = begin(&mut own, "c.age");
    own.dropped(link(&one));
    own.published(link(&two));
    let three = begin(&mut own, "d.age");
    own.published(link(&three));
    let mut store = Store::default();
    for signed in [&two, &three] {
        let archive = &signed.receipt().archive().unwrap().name;
        store.archives.insert(format!("{PLACE}/{archive}"), found(archive, archive));
        store.receipts.insert(format!("{PLACE}/{archive}.receipt"), signed.to_bytes());
    }
    let audit = audit(&home.now(), &heads(), &store);
    assert!(audit.is_fine(), "{:?}", wrong(&audit));
    // Done twice, nothing changes.
    let before = own.clone();
    own.published(link(&three));
    own.dropped(link(&three));
    assert_eq!(own, before);
}

#[test]
fn an_old_copy_goes_on_where_the_heads_are() {
    let mut own = own();
    let old = own.clone();
    for archive in ["a.age", "b.age", "c.age"] {
        let signed = begin(&mut own, archive);
        own.published(link(&signed));
    }
    let mut seen = heads();
    let last =
        own.next(&seen, Generation::FIRST, time("2026-11-24T16:00:00Z"), None, &GoneMap::default()).unwrap();
    seen.see(&last, PLACE);
    let next =
        old.next(&seen, Generation::FIRST, time("2026-11-24T16:00:00Z"), None, &GoneMap::default()).unwrap();
    assert_eq!((next.sequence().number(), next.previous()), (5, Some(last.digest())));
}

#[test]
fn the_file_of_another_series_is_refused() {
    let mut own = own();
    begin(&mut own, "a.age");
    let text = String::from_utf8(own.to_bytes().unwrap()).unwrap();
    let other = text.replace("\"series\":\"photos\",\"vault\"", "\"series\":\"letters\",\"vault\"");
    assert_ne!(other, text);
    assert!(matches!(OwnSeries::parse(other.as_bytes()), Err(Error::Receipt { .. })));
    let other = text.replace("keyward-series-v1", "keyward-series-v2");
    assert!(OwnSeries::parse(other.as_bytes()).is_err());
    let mut stranger = Host::new("nora", "photos");
    let mut store = Store::default();
    stranger.seal(&mut store, "a.age");
    let line = String::from_utf8(store.receipt("a.age").clone()).unwrap();
    let stored = serde_json::to_string(&line).unwrap();
    let other = text.replace("\"last\":null", &format!("\"last\":{stored}"));
    assert!(matches!(OwnSeries::parse(other.as_bytes()), Err(Error::Receipt { .. })));
}
