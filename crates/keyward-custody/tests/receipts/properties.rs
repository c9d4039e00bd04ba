//! Whatever is done to a well-formed set: never a panic, and never is it called fine.

use std::sync::LazyLock;

use keyward_custody::{
    Auditor, Finding, Heads, Receipt, SealerKey, SignedReceipt, Statement, Verified, last_component,
};
use proptest::prelude::*;

use crate::audits::{audit, five, heads, wrong};
use crate::hosts::{PLACE, Store, found};

struct Fixture {
    now: Verified<Statement>,
    store: Store,
    seen: Heads,
}

static FIVE: LazyLock<Fixture> = LazyLock::new(|| {
    let (home, _, store) = five();
    let now = home.now();
    let seen = audit(&now, &heads(), &store).heads;
    Fixture { now, store, seen }
});

fn file(number: usize) -> String {
    format!("photos-{number}.age")
}

/// One thing that a hostile store does.
#[derive(Clone, Debug)]
enum Tampering {
    ReceiptByte { of: usize, at: prop::sample::Index, bit: u8 },
    ReceiptCut { of: usize, at: prop::sample::Index },
    ReceiptGone { of: usize },
    ArchiveGone { of: usize },
    BothGone { of: usize },
    TailGone { from: usize },
    Other { of: usize, content: u8 },
    Resized { of: usize, size: u64 },
    Copied { from: usize, to: usize, with_receipt: bool },
    Swapped { one: usize, two: usize, with_receipt: bool },
    ReceiptsSwapped { one: usize, two: usize },
    SignedByAnother { of: usize },
}

fn any_tampering() -> impl Strategy<Value = Tampering> {
    use Tampering::*;
    let of = || 1..=5_usize;
    let two = || (of(), of()).prop_filter("two of them", |(one, two)| one != two);
    prop_oneof![
        (of(), any::<prop::sample::Index>(), 0..8_u8).prop_map(|(of, at, bit)| ReceiptByte { of, at, bit }),
        (of(), any::<prop::sample::Index>()).prop_map(|(of, at)| ReceiptCut { of, at }),
        of().prop_map(|of| ReceiptGone { of }),
        of().prop_map(|of| ArchiveGone { of }),
        of().prop_map(|of| BothGone { of }),
        of().prop_map(|from| TailGone { from }),
        (of(), any::<u8>()).prop_map(|(of, content)| Other { of, content }),
        (of(), any::<u64>()).prop_map(|(of, size)| Resized { of, size }),
        (two(), any::<bool>()).prop_map(|((from, to), with_receipt)| Copied { from, to, with_receipt }),
        (two(), any::<bool>()).prop_map(|((one, two), with_receipt)| Swapped { one, two, with_receipt }),
        two().prop_map(|(one, two)| ReceiptsSwapped { one, two }),
        of().prop_map(|of| SignedByAnother { of }),
    ]
}

/// Does it, and gives the words that may be said of it, the first archive first.
fn tamper(store: &mut Store, how: &Tampering) -> Vec<(String, &'static [&'static str])> {
    use Tampering::*;
    match how {
        ReceiptByte { of, at, bit } => {
            let receipt = store.receipt(&file(*of));
            let at = at.index(receipt.len());
            receipt[at] ^= 1 << bit;
            vec![(file(*of), &["forged", "other-vault", "uncertified", "forked"])]
        }
        ReceiptCut { of, at } => {
            let receipt = store.receipt(&file(*of));
            receipt.truncate(at.index(receipt.len()));
            vec![(file(*of), &["forged"])]
        }
        ReceiptGone { of } => {
            store.receipts.remove(&format!("{PLACE}/{}.receipt", file(*of)));
            vec![(file(*of), &["no-receipt"])]
        }
        ArchiveGone { of } => {
            store.archives.remove(&format!("{PLACE}/{}", file(*of)));
            vec![(file(*of), &["missing"])]
        }
        BothGone { of } => {
            store.delete(&file(*of));
            let word: &'static [&'static str] = if *of == 5 { &["truncated"] } else { &["missing"] };
            vec![(format!("receipt {of} of series photos by mira"), word)]
        }
        TailGone { from } => {
            (*from..=5).for_each(|number| store.delete(&file(number)));
            let subject = if *from == 5 { "receipt 5".to_owned() } else { format!("receipts {from}-5") };
            vec![(format!("{subject} of series photos by mira"), &["truncated"])]
        }
        Other { of, content } => {
            *store.archive(&file(*of)) = found(&file(*of), &format!("another {content}"));
            vec![(file(*of), &["swapped"])]
        }
        Resized { of, size } => {
            store.archive(&file(*of)).size = *size;
            vec![(file(*of), &["swapped"])]
        }
        Copied { from, to, with_receipt } => {
            store.copy(&file(*from), &file(*to), *with_receipt);
            let word: &'static [&'static str] = if from < to { &["rolled-back"] } else { &["reordered"] };
            vec![(file(*to), word)]
        }
        Swapped { one, two, with_receipt } => {
            store.swap(&file(*one), &file(*two), *with_receipt);
            vec![(file(*one), &["reordered"]), (file(*two), &["reordered"])]
        }
        ReceiptsSwapped { one, two } => {
            let first = store.receipt(&file(*one)).clone();
            let second = std::mem::replace(store.receipt(&file(*two)), first);
            *store.receipt(&file(*one)) = second;
            vec![(file(*one), &["reordered"]), (file(*two), &["reordered"])]
        }
        SignedByAnother { of } => {
            let signed = SignedReceipt::parse(store.receipt(&file(*of))).unwrap();
            let other = SignedReceipt::sign(signed.receipt().clone(), &SealerKey::from_seed(&[9; 32]));
            *store.receipt(&file(*of)) = other.to_bytes();
            vec![(file(*of), &["forged"])]
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Any single tampering with a well-formed set has its own verdict, and is never fine: neither to who has seen the set
    /// before, nor to who opens the archive.
    #[test]
    fn any_tampering_is_found_out(how in any_tampering()) {
        let fixture = &*FIVE;
        let mut store = fixture.store.clone();
        let expected = tamper(&mut store, &how);
        prop_assume!(store != fixture.store);
        let audit = audit(&fixture.now, &fixture.seen, &store);
        prop_assert!(!audit.is_fine(), "{:?}", how);
        for (subject, words) in expected {
            let of = |line: &&keyward_custody::AuditLine| last_component(&line.subject) == subject;
            let word = audit.lines.iter().find(of).map(|line| line.finding.word());
            prop_assert!(word.is_some_and(|word| words.contains(&word)), "{:?}: {:?}", word, wrong(&audit));

            let path = format!("{PLACE}/{subject}");
            if let Some(found) = store.archives.get(&path) {
                let receipt = store.receipts.get(&format!("{path}.receipt")).map(Vec::as_slice);
                let opened = Auditor::new(&fixture.now, &fixture.seen).archive(found, receipt);
                prop_assert!(opened.is_err(), "{:?} opens", how);
            }
        }
    }

    /// Nor does a second look forget what was seen: heads only grow.
    #[test]
    fn heads_never_go_back(how in any_tampering()) {
        let fixture = &*FIVE;
        let mut store = fixture.store.clone();
        tamper(&mut store, &how);
        let audit = audit(&fixture.now, &fixture.seen, &store);
        prop_assert_eq!(audit.heads, fixture.seen.clone());
    }

    #[test]
    fn any_bytes_are_forged(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "\\{.{0,200}\\}\n.{0,200}") {
        let fixture = &*FIVE;
        let auditor = Auditor::new(&fixture.now, &fixture.seen);
        for bytes in [bytes, text.into_bytes()] {
            let forged = matches!(auditor.receipt(&bytes), Err(Finding::Forged { .. }));
            prop_assert!(forged);
            prop_assert!(Receipt::parse(&bytes).is_err());
            prop_assert!(Heads::parse(&bytes).is_err());
            prop_assert!(SealerKey::from_openssh(&bytes).is_err());
        }
    }

    #[test]
    fn no_message_carries_control_characters(evil in "[\u{1}-\u{1f}\u{7f}-\u{9f}\u{202e}a-z]{1,12}") {
        let fixture = &*FIVE;
        let auditor = Auditor::new(&fixture.now, &fixture.seen);
        let mut store = fixture.store.clone();
        let line = String::from_utf8(store.receipt("photos-1.age").clone()).unwrap();
        let quoted = serde_json::to_string(&evil).unwrap();
        for member in ["format", "sealer", "series", "vault", "time", "header", "name"] {
            let from = line.find(&format!("\"{member}\":")).unwrap() + member.len() + 3;
            let to = from + line[from..].find([',', '}']).unwrap();
            let changed = format!("{}{quoted}{}", &line[..from], &line[to..]);
            let message = auditor.receipt(changed.as_bytes()).unwrap_err().to_string();
            prop_assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", message);
        }
        // A sealer may give an archive such a name, and it is shown when it stands elsewhere.
        let evil = evil.replace('/', "");
        let mut mira = crate::hosts::Host::new("mira", "photos");
        mira.seal(&mut store, &evil);
        let from = format!("{PLACE}/{evil}");
        let receipt = store.receipts[&format!("{from}.receipt")].clone();
        let elsewhere = keyward_custody::FoundArchive { path: "/Elsewhere".into(), ..store.archives[&from].clone() };
        let message = Auditor::new(&fixture.now, &heads()).archive(&elsewhere, Some(&receipt)).unwrap_err();
        prop_assert!(!message.to_string().contains(|c: char| c.is_control() || c == '\u{202e}'), "{}", message);
    }
}
