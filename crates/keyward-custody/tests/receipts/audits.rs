//! Each thing that can be done to a set of archives, and what is said of it.

use keyward_age::Suite;
use keyward_custody::{
    Audit, Auditor, Draft, Finding, FoundArchive, Freshness, Heads, SealerKey, SignedReceipt, Statement,
    Verified,
};

use crate::fixed::{name, put, time};
use crate::hosts::{Home, Host, PLACE, Store, found, key};

/// Five archives of mira, `photos-1.age` to `photos-5.age`.
pub(crate) fn five() -> (Home, Host, Store) {
    let (home, mut mira, mut store) = (Home::new(), Host::new("mira", "photos"), Store::default());
    for number in 1..=5 {
        mira.seal(&mut store, &format!("photos-{number}.age"));
    }
    (home, mira, store)
}

pub(crate) fn audit(now: &Verified<Statement>, heads: &Heads, store: &Store) -> Audit {
    let places = [PLACE.to_owned()];
    Auditor::new(now, heads).all(&places, &store.archives(), &store.receipts(), None)
}

pub(crate) fn heads() -> Heads {
    Heads::new("6b657977617264207661756c74203031".parse().unwrap())
}

/// What is not fine, as `SUBJECT: WORD`, without the folder.
pub(crate) fn wrong(audit: &Audit) -> Vec<String> {
    let wrong = audit.lines.iter().filter(|line| !line.finding.is_fine());
    let mut wrong: Vec<String> = wrong
        .map(|line| {
            let subject = line.subject.strip_prefix(PLACE).unwrap_or(&line.subject);
            format!("{}: {}", subject.trim_start_matches('/'), line.finding.word())
        })
        .collect();
    wrong.sort();
    wrong
}

fn open(now: &Verified<Statement>, heads: &Heads, store: &Store, archive: &str) -> Result<(), Finding> {
    let path = format!("{PLACE}/{archive}");
    let receipt = store.receipts.get(&format!("{path}.receipt")).map(Vec::as_slice);
    Auditor::new(now, heads).archive(&store.archives[&path], receipt).map(|_| ())
}

/// What an audit and opening one archive say after something was done to the store of [`five`], which was seen before.
fn after(change: impl FnOnce(&mut Store)) -> (Vec<String>, impl Fn(&str) -> String) {
    let (home, _, mut store) = five();
    let now = home.now();
    let seen = audit(&now, &heads(), &store).heads;
    change(&mut store);
    let lines = wrong(&audit(&now, &seen, &store));
    let opened = move |archive: &str| match open(&now, &seen, &store, archive) {
        Ok(()) => "ok".to_owned(),
        Err(finding) => finding.word().to_owned(),
    };
    (lines, opened)
}

#[test]
fn what_is_whole_is_fine() {
    let (home, _, store) = five();
    let now = home.now();
    let first = audit(&now, &heads(), &store);
    assert!(first.is_fine(), "{:?}", wrong(&first));
    assert_eq!(first.lines.len(), 5);
    let again = audit(&now, &first.heads, &store);
    assert!(again.is_fine());
    assert_eq!(again.heads, first.heads);
    let head = again.heads.head(&name("mira"), &"photos".parse().unwrap()).unwrap();
    assert_eq!((head.link().sequence.number(), head.place.as_str()), (5, PLACE));
    assert_eq!(Heads::parse(&again.heads.to_bytes().unwrap()).unwrap(), again.heads);
    let found = &store.archives[&format!("{PLACE}/photos-3.age")];
    let receipt = &store.receipts[&format!("{PLACE}/photos-3.age.receipt")];
    let origin = Auditor::new(&now, &again.heads).archive(found, Some(receipt)).unwrap();
    assert_eq!(origin.newer().unwrap().number(), 5);
    assert_eq!(origin.archive().name, "photos-3.age");
    assert_eq!(*origin.finding(), Finding::Ok);
}

#[test]
fn forged() {
    let (lines, open) = after(|store| {
        let receipt = store.receipt("photos-3.age");
        let at = receipt.windows(4).position(|four| four == b"size").unwrap() + 7;
        receipt[at] = b'9';
    });
    assert_eq!(lines, ["photos-3.age: forged", "receipt 3 of series photos by mira: missing"]);
    assert_eq!(open("photos-3.age"), "forged");

    // Signed, but not by mira.
    let (lines, open) = after(|store| {
        let signed = SignedReceipt::parse(store.receipt("photos-5.age")).unwrap();
        let other = SignedReceipt::sign(signed.receipt().clone(), &SealerKey::from_seed(&[9; 32]));
        *store.receipt("photos-5.age") = other.to_bytes();
    });
    assert_eq!(lines, ["photos-5.age: forged", "receipt 5 of series photos by mira: truncated"]);
    assert_eq!(open("photos-5.age"), "forged");
}

#[test]
fn another_archive_in_its_place() {
    let (lines, open) = after(|store| *store.archive("photos-2.age") = found("photos-2.age", "evil"));
    assert_eq!(lines, ["photos-2.age: swapped"]);
    assert_eq!(open("photos-2.age"), "swapped");
    let (lines, open) = after(|store| store.archive("photos-2.age").size -= 1);
    assert_eq!(lines, ["photos-2.age: swapped"]);
    assert_eq!(open("photos-2.age"), "swapped");
    // Only who reads all of it can tell.
    let (lines, open) = after(|store| {
        let evil = found("photos-2.age", "evil").blake3;
        store.archive("photos-2.age").blake3 = evil;
    });
    assert_eq!(lines, ["photos-2.age: swapped"]);
    assert_eq!(open("photos-2.age"), "swapped");
    let (lines, _) = after(|store| store.archive("photos-2.age").blake3 = None);
    assert!(lines.is_empty());
}

#[test]
fn reordered() {
    for with_receipt in [true, false] {
        let (lines, open) = after(|store| store.swap("photos-2.age", "photos-4.age", with_receipt));
        assert_eq!(lines, ["photos-2.age: reordered", "photos-4.age: reordered"]);
        for archive in ["photos-2.age", "photos-4.age"] {
            assert_ne!(open(archive), "ok");
        }
    }
    // A newer one in the place of an older one.
    let (lines, open) = after(|store| store.copy("photos-5.age", "photos-2.age", true));
    assert_eq!(lines, ["photos-2.age: reordered", "receipt 2 of series photos by mira: missing"]);
    assert_eq!(open("photos-2.age"), "reordered");
    // A copy under a new name.
    let (lines, open) = after(|store| store.copy("photos-5.age", "photos-6.age", true));
    assert_eq!(lines, ["photos-6.age: reordered"]);
    assert_eq!(open("photos-6.age"), "reordered");
}

#[test]
fn rolled_back() {
    let (lines, open) = after(|store| store.copy("photos-2.age", "photos-5.age", true));
    assert_eq!(lines, ["photos-5.age: rolled-back", "receipt 5 of series photos by mira: truncated"]);
    assert_eq!(open("photos-5.age"), "rolled-back");
    let (lines, open) = after(|store| store.copy("photos-2.age", "photos-5.age", false));
    assert_eq!(lines, ["photos-5.age: rolled-back"]);
    assert_eq!(open("photos-5.age"), "swapped");
}

#[test]
fn rolled_back_under_one_name() {
    let (home, mut mira, mut store) = (Home::new(), Host::new("mira", "photos"), Store::default());
    mira.seal(&mut store, "photos.age");
    mira.seal(&mut store, "other.age");
    let old = store.clone();
    mira.reseal(&mut store, "photos.age");
    mira.reseal(&mut store, "photos.age");
    let now = home.now();
    let seen = audit(&now, &heads(), &store);
    assert!(seen.is_fine(), "{:?}", wrong(&seen));
    assert_eq!(
        wrong(&audit(&now, &seen.heads, &old)),
        ["photos.age: rolled-back", "receipt 4 of series photos by mira: truncated"]
    );
    assert_eq!(open(&now, &seen.heads, &old, "photos.age").unwrap_err().word(), "rolled-back");
    assert_eq!(open(&now, &seen.heads, &old, "other.age"), Ok(()));
    // Whoever has not seen the newer ones cannot know.
    assert_eq!(open(&now, &heads(), &old, "photos.age"), Ok(()));
}

#[test]
fn truncated_and_missing() {
    let (lines, open) = after(|store| {
        store.delete("photos-4.age");
        store.delete("photos-5.age");
    });
    assert_eq!(lines, ["receipts 4-5 of series photos by mira: truncated"]);
    assert_eq!(open("photos-3.age"), "ok");
    let (lines, _) = after(|store| store.delete("photos-3.age"));
    assert_eq!(lines, ["receipt 3 of series photos by mira: missing"]);
    let (lines, _) = after(|store| _ = store.archives.remove(&format!("{PLACE}/photos-3.age")));
    assert_eq!(lines, ["photos-3.age: missing"]);
    let (lines, open) = after(|store| _ = store.receipts.remove(&format!("{PLACE}/photos-3.age.receipt")));
    assert_eq!(lines, ["photos-3.age: no-receipt", "receipt 3 of series photos by mira: missing"]);
    assert_eq!(open("photos-3.age"), "no-receipt");
    // A whole series taken away is missed where it was seen.
    let (lines, _) = after(|store| *store = Store::default());
    assert_eq!(lines, ["receipts 1-5 of series photos by mira: truncated"]);
    let (home, _, store) = five();
    let now = home.now();
    let seen = audit(&now, &heads(), &store).heads;
    let elsewhere = Auditor::new(&now, &seen).all(&["s3://backup/dail".to_owned()], &[], &[], None);
    assert!(elsewhere.is_fine(), "{:?}", elsewhere.lines);
    let above = Auditor::new(&now, &seen).all(&["s3://backup".to_owned()], &[], &[], None);
    assert!(!above.is_fine());
}

#[test]
fn of_another_vault() {
    let mut other = Host::new("mira", "photos");
    let mut store = Store::default();
    other.seal(&mut store, "photos-1.age");
    let mut home = Home::new();
    // The same files are judged by a vault of another id, whose sealer mira is another host.
    home.files = Default::default();
    let id = keyward_custody::VaultId::from_bytes(*b"keyward vault 02");
    let mut draft = Draft::first(
        id,
        name("home"),
        Suite::Classic,
        true,
        "alice".parse().unwrap(),
        time("2026-11-24T16:00:00Z"),
    );
    draft.add_token(name("alice"), crate::fixed::token(Suite::Classic, "alice", 1));
    draft.add_sealer(name("mira"), key("other mira").public(), None).unwrap();
    draft.no_recovery = true;
    put(&mut home.files, &draft.build().unwrap(), &["alice"]);
    let unpinned = keyward_custody::Unpinned::read(&home.files).unwrap();
    let (_, now) = unpinned.trust(&keyward_custody::Confirmation::MadeHere, true).unwrap();
    let heads = Heads::new(id);
    assert_eq!(wrong(&audit(&now, &heads, &store)), ["photos-1.age: other-vault"]);
    assert_eq!(open(&now, &heads, &store, "photos-1.age").unwrap_err().word(), "other-vault");
}

#[test]
fn of_hosts_that_are_no_sealers() {
    let (mut home, _, mut store) = five();
    // Nora signs before she is certified, and says so.
    let mut nora = Host::new("nora", "photos");
    nora.seal(&mut store, "nora-1.age");
    assert_eq!(wrong(&audit(&home.now(), &heads(), &store)), ["nora-1.age: uncertified"]);
    home.change(|draft| draft.add_sealer(name("nora"), key("nora").public(), None).unwrap());
    let lines = audit(&home.now(), &heads(), &store);
    assert_eq!(wrong(&lines), ["nora-1.age: uncertified"]);
    let line = lines.lines.iter().find(|line| line.subject.ends_with("nora-1.age")).unwrap();
    assert!(line.finding.to_string().contains("older than generation 2"), "{}", line.finding);

    // A generation that this reader has not seen.
    let mut later = Host { generation: 7, ..Host::new("nora", "later") };
    later.seal(&mut store, "later.age");
    let lines = wrong(&audit(&home.now(), &heads(), &store));
    assert_eq!(lines, ["later.age: later-generation", "nora-1.age: uncertified"]);
}

#[test]
fn of_a_removed_sealer() {
    let (mut home, _, _) = five();
    home.change(|draft| draft.add_sealer(name("nora"), key("nora").public(), None).unwrap());
    let mut store = Store::default();
    let mut nora = Host { generation: 2, ..Host::new("nora", "photos") };
    nora.seal(&mut store, "nora-1.age");
    nora.seal(&mut store, "nora-2.age");
    let seen = audit(&home.now(), &heads(), &store).heads;
    let before = nora.clone();
    home.change(|draft| draft.remove_sealer(&name("nora"), seen.of_sealer(&name("nora"))).unwrap());
    let now = home.now();
    assert!(audit(&now, &seen, &store).is_fine());

    // Whoever has her key now goes on, says it was before, or begins another series.
    let whole = store.clone();
    nora.seal(&mut store, "nora-3.age");
    assert_eq!(wrong(&audit(&now, &seen, &store)), ["nora-3.age: removed-sealer"]);
    assert_eq!(open(&now, &seen, &store, "nora-3.age").unwrap_err().word(), "removed-sealer");
    let mut store = whole.clone();
    Host { generation: 2, ..Host::new("nora", "letters") }.seal(&mut store, "letters.age");
    assert_eq!(wrong(&audit(&now, &seen, &store)), ["letters.age: removed-sealer"]);
    // The removal names the last receipt: what was not seen here before is missed all the same.
    let mut store = whole.clone();
    store.delete("nora-2.age");
    assert_eq!(wrong(&audit(&now, &heads(), &store)), ["receipt 2 of series photos by nora: truncated"]);
    // Another receipt 2, and another receipt 1 under it.
    let mut store = whole.clone();
    let mut forger = Host { last: None, epoch: Some(1), ..before };
    forger.seal(&mut store, "nora-1.age");
    assert_eq!(wrong(&audit(&now, &heads(), &store)), ["nora-1.age: forked"]);
    forger.seal(&mut store, "nora-2.age");
    let lines = wrong(&audit(&now, &heads(), &store));
    assert!(lines.contains(&"nora-2.age: forked".to_owned()), "{lines:?}");
    assert_eq!(open(&now, &heads(), &store, "nora-2.age").unwrap_err().word(), "forked");
}

#[test]
fn two_receipts_of_one_number() {
    let (home, _, store) = five();
    let now = home.now();
    let seen = audit(&now, &heads(), &store).heads;
    let forked = |heads: &Heads, at: u32, new: &str| {
        let mut store = store.clone();
        let mut mira = Host::new("mira", "photos");
        for number in 1..at {
            mira.seal(&mut Store::default(), &format!("photos-{number}.age"));
        }
        mira.seal(&mut store, new);
        wrong(&audit(&now, heads, &store))
    };
    // What the next receipt, or this host, knows decides which one is the other.
    assert_eq!(forked(&heads(), 3, "new.age"), ["new.age: forked"]);
    assert_eq!(forked(&seen, 5, "new.age"), ["new.age: forked"]);
    assert_eq!(forked(&heads(), 5, "new.age"), ["new.age: forked", "photos-5.age: forked"]);
    // One that does not follow what is known here.
    let mut store = Store::default();
    let mut mira = Host::new("mira", "photos");
    (1..=5).for_each(|number| mira.seal(&mut store, &format!("other-{number}.age")));
    mira.seal(&mut store, "other-6.age");
    assert_eq!(open(&now, &seen, &store, "other-6.age").unwrap_err().word(), "forked");
}

#[test]
fn replaced_and_retired() {
    let (mut home, mut mira, mut store) = five();
    home.change(|draft| draft.add_sealer(name("nora"), key("nora").public(), None).unwrap());
    let now = home.now();
    // Its own host replaces one, and says that two may be deleted.
    mira.reseal(&mut store, "photos-3.age");
    mira.gone.retire(&name("mira"), &"photos".parse().unwrap(), &"1-2".parse().unwrap());
    let said = mira.sign(None);
    mira.last = Some(said.receipt().link());
    store.receipts.insert(format!("{PLACE}/gone.receipt"), said.to_bytes());
    assert!(audit(&now, &heads(), &store).is_fine());
    store.delete("photos-1.age");
    store.archives.remove(&format!("{PLACE}/photos-2.age"));
    let lines = audit(&now, &heads(), &store);
    assert!(lines.is_fine(), "{:?}", wrong(&lines));
    assert_eq!(lines.lines.iter().filter(|line| line.finding == Finding::Gone).count(), 1);

    // Another host does.
    let mut nora = Host { generation: 2, ..Host::new("nora", "photos") };
    nora.reseal(&mut store, "photos-4.age");
    let lines = audit(&now, &heads(), &store);
    assert!(lines.is_fine(), "{:?}", wrong(&lines));
    // Without her word it is missed.
    store.delete("photos-4.age");
    assert_eq!(wrong(&audit(&now, &heads(), &store)), ["receipt 4 of series photos by mira: missing"]);
    assert_eq!(wrong(&audit(&now, &lines.heads, &store)), ["receipt 1 of series photos by nora: truncated"]);
}

#[test]
fn superseded_and_stale() {
    let mut home = Home::new();
    home.change(|draft| {
        draft.new_epoch().unwrap();
    });
    home.change(|draft| {
        draft.new_epoch().unwrap();
    });
    let now = home.now();
    let mut store = Store::default();
    let mut mira = Host { generation: 2, epoch: Some(1), ..Host::new("mira", "photos") };
    mira.seal(&mut store, "photos-1.age");
    mira.epoch = Some(2);
    mira.generation = 3;
    mira.seal(&mut store, "photos-2.age");
    let lines = audit(&now, &heads(), &store);
    assert!(lines.is_fine());
    let words: Vec<&str> = lines.lines.iter().map(|line| line.finding.word()).collect();
    assert_eq!(words, ["superseded", "ok"]);
    let said = lines.lines[0].finding.to_string();
    assert!(said.contains("generation 2") && said.contains("epoch 1"), "{said}");

    let (mut apart, mut mira) = (Store::default(), Host { own_key: true, ..Host::new("mira", "apart") });
    for (generation, archive) in [(2, "apart-1.age"), (3, "apart-2.age")] {
        mira.generation = generation;
        mira.seal(&mut apart, archive);
    }
    let own = audit(&now, &heads(), &apart);
    assert!(own.is_fine());
    let said: Vec<String> = own.lines.iter().map(|line| line.finding.to_string()).collect();
    let superseded = "superseded: sealed under generation 2 with a key of its own, and epoch 2 is in force";
    assert_eq!(said, [superseded, "ok"]);

    let stale = |now_is: &str| {
        let freshness = Freshness { now: time(now_is), days: 2 };
        let audit =
            Auditor::new(&now, &lines.heads).all(&[], &store.archives(), &store.receipts(), Some(freshness));
        wrong(&audit)
    };
    assert!(stale("2026-11-26T17:00:00Z").is_empty());
    assert_eq!(stale("2026-11-26T17:00:01Z"), ["series photos by mira: stale"]);
    assert!(stale("2026-11-20T17:00:00Z").is_empty(), "a clock that is behind");
}

#[test]
fn paths_are_what_they_say() {
    let (home, mut mira, mut store) = five();
    // The same archives under another folder are the same archives.
    let moved =
        |found: &FoundArchive| FoundArchive { path: found.path.replace(PLACE, "/mnt/usb"), ..found.clone() };
    let archives: Vec<FoundArchive> = store.archives().iter().map(moved).chain(store.archives()).collect();
    let mut receipts = store.receipts();
    receipts.extend(store.receipts().into_iter().map(|mut receipt| {
        receipt.path = receipt.path.replace(PLACE, "/mnt/usb");
        receipt
    }));
    let now = home.now();
    let both = Auditor::new(&now, &heads()).all(&[], &archives, &receipts, None);
    assert!(both.is_fine(), "{:?}", wrong(&both));
    assert_eq!(both.lines.len(), 10);
    // A receipt of no archive beside an archive.
    let said = mira.sign(None);
    mira.last = Some(said.receipt().link());
    *store.receipt("photos-5.age") = said.to_bytes();
    let lines = wrong(&audit(&now, &heads(), &store));
    assert_eq!(lines, ["photos-5.age: forged", "receipt 5 of series photos by mira: missing"]);
}
