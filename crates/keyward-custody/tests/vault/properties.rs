//! Whatever bytes come: never a panic, never a wrong success.

use std::sync::LazyLock;

use keyward_age::Suite;
use keyward_custody::{
    Confirmation, Draft, FingerprintClaim, Generation, Pins, Statement, Unpinned, VaultFile, VaultFiles,
    verify_chain,
};
use proptest::prelude::*;

use crate::fixed::{first, name, put, time};

/// A vault of two generations, pinned at the first; and its files by name.
struct Fixture {
    files: VaultFiles,
    pins: Pins,
}

fn fixture(suite: Suite) -> Fixture {
    let mut files = VaultFiles::new();
    put(&mut files, &first(suite, &["alice", "bob"]).build().unwrap(), &["alice", "bob"]);
    let (pins, now) = Unpinned::read(&files).unwrap().trust(&Confirmation::MadeHere, true).unwrap();
    put(&mut files, &Draft::after(&now, time("2026-12-24T16:00:00Z")).build().unwrap(), &["alice"]);
    assert_eq!(verify_chain(&files, &pins).unwrap().unfinished(), None);
    Fixture { files, pins }
}

static HYBRID: LazyLock<Fixture> = LazyLock::new(|| fixture(Suite::Hybrid));
static CLASSIC: LazyLock<Fixture> = LazyLock::new(|| fixture(Suite::Classic));

fn statement(number: u32) -> VaultFile {
    VaultFile::Statement(Generation::new(number).unwrap())
}

fn signature(number: u32, signer: &str) -> VaultFile {
    VaultFile::Signature(Generation::new(number).unwrap(), name(signer))
}

fn bytes_of(files: &VaultFiles, file: &VaultFile) -> Vec<u8> {
    match file {
        VaultFile::Statement(generation) => files.statement(*generation).unwrap().to_vec(),
        VaultFile::Signature(generation, signer) => {
            files.signatures(*generation).find(|(by, _)| *by == signer).unwrap().1.to_vec()
        }
    }
}

/// Nothing is verified with `file` changed into `bytes`: not by a host that pinned generation 1, not at first trust.
fn refused(fixture: &Fixture, file: &VaultFile, bytes: Vec<u8>) -> bool {
    let mut files = fixture.files.clone();
    files.insert(file.clone(), bytes);
    // Signatures below the pin are not looked at any more.
    let below_pin = matches!(file, VaultFile::Signature(generation, _) if *generation == Generation::FIRST);
    Unpinned::read(&files).is_err() && (below_pin || verify_chain(&files, &fixture.pins).is_err())
}

/// Every byte of every file, with each of its bits turned in some position: exhaustive in positions.
#[test]
fn one_changed_byte_anywhere_is_refused() {
    let fixture = &*CLASSIC;
    let mut tried = 0;
    for file in
        [statement(1), statement(2), signature(1, "alice"), signature(1, "bob"), signature(2, "alice")]
    {
        let bytes = bytes_of(&fixture.files, &file);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            assert!(refused(fixture, &file, changed), "{file}, byte {at}");
            tried += 1;
        }
    }
    assert!(tried > 5000, "only {tried} bytes were there");
}

fn any_file() -> impl Strategy<Value = VaultFile> {
    prop::sample::select(vec![
        statement(1),
        statement(2),
        signature(1, "alice"),
        signature(1, "bob"),
        signature(2, "alice"),
    ])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn bytes_replaced_inserted_or_cut_are_refused(
        file in any_file(),
        at in any::<prop::sample::Index>(),
        gone in 0..4_usize,
        new in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let fixture = &*HYBRID;
        let bytes = bytes_of(&fixture.files, &file);
        let at = at.index(bytes.len());
        let mut changed = bytes.clone();
        changed.splice(at..(at + gone).min(bytes.len()), new);
        prop_assume!(changed != bytes);
        prop_assert!(refused(fixture, &file, changed), "{} at {}", file, at);
    }

    #[test]
    fn arbitrary_bytes_are_refused(
        file in any_file(),
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        text in "\\{.{0,200}\\}",
    ) {
        prop_assert!(Statement::parse(&bytes).is_err());
        prop_assert!(Pins::parse(&bytes).is_err());
        prop_assert!(Statement::parse(text.as_bytes()).is_err());
        prop_assert!(Pins::parse(text.as_bytes()).is_err());
        prop_assert!(refused(&CLASSIC, &file, bytes));
    }

    #[test]
    fn no_message_carries_control_characters(evil in "[\u{1}-\u{1f}\u{7f}-\u{9f}\u{202e}a-z]{1,12}") {
        let quoted = serde_json::to_string(&evil).unwrap();
        let text = String::from_utf8(bytes_of(&CLASSIC.files, &statement(1))).unwrap();
        let in_value = |member: &str| {
            let from = text.find(&format!("\"{member}\":")).unwrap() + member.len() + 3;
            let to = from + text[from..].find([',', '}']).unwrap();
            format!("{}{quoted}{}", &text[..from], &text[to..])
        };
        let mut changed: Vec<String> =
            ["name", "policy", "require", "suite", "format", "created", "kind", "firmware", "slot", "verdict", "test"]
                .map(in_value)
                .to_vec();
        changed.push(text.replacen("{", &format!("{{{quoted}:1,"), 1));
        for bytes in changed {
            if let Err(error) = Statement::parse(bytes.as_bytes()) {
                let message = error.to_string();
                prop_assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", message);
            }
        }
        for error in [
            evil.parse::<keyward_custody::Policy>().err().map(|error| error.to_string()),
            format!("2 {evil} (").parse::<keyward_custody::Policy>().err().map(|error| error.to_string()),
            evil.parse::<FingerprintClaim>().err().map(|error| error.to_string()),
            evil.parse::<keyward_custody::Requirements>().err().map(|error| error.to_string()),
        ] {
            let message = error.unwrap_or_default();
            prop_assert!(!message.contains(|c: char| c.is_control() || c == '\u{202e}'), "{:?}", message);
        }
    }

    #[test]
    fn a_file_in_anothers_place_is_refused(here in any_file(), there in any_file()) {
        prop_assume!(here != there);
        prop_assert!(refused(&CLASSIC, &here, bytes_of(&CLASSIC.files, &there)));
    }

    #[test]
    fn any_json_value_in_any_place_is_refused_or_canonical(
        member in any::<prop::sample::Index>(),
        new in prop::sample::select(vec!["null", "true", "0", "-1", "1e400", "\"\"", "[]", "{}", "[[[]]]", "4294967296", "\"alice\""]),
    ) {
        let text = String::from_utf8(bytes_of(&CLASSIC.files, &statement(1))).unwrap();
        let values: Vec<usize> = text.match_indices(':').map(|(at, _)| at + 1).collect();
        let from = values[member.index(values.len())];
        let to = from + text[from..].find([',', '}']).unwrap();
        let changed = format!("{}{new}{}", &text[..from], &text[to..]);
        if let Ok(statement) = Statement::parse(changed.as_bytes()) {
            prop_assert_eq!(statement.bytes(), changed.as_bytes());
        }
        prop_assert!(changed == text || refused(&CLASSIC, &statement(1), changed.into_bytes()));
    }

    #[test]
    fn any_file_name_is_known_or_passed_over(text in "[0-9]{0,6}[.a-z0-9-]{0,20}|.{0,30}") {
        if let Some(file) = VaultFile::from_file_name(&text) {
            prop_assert_eq!(file.to_string(), text);
        }
    }

    #[test]
    fn any_claim_of_a_fingerprint_is_read_or_refused(text in "([a-z]{3,8} ){0,9}|.{0,70}|[0-9a-f]{63,65}") {
        if let Ok(claim) = text.parse::<FingerprintClaim>() {
            prop_assert!(!claim.matches(&CLASSIC.pins.fingerprint()));
        }
    }
}
