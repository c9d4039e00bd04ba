//! What a statement may not say, and what it may.

use keyward_age::Suite;
use keyward_custody::{Draft, Error, Name, Policy, SlotId, Statement, Thresholds, Verdict};
use serde_json::{Value, json};

use crate::cases::{base, cases, mixed, set, with};
use crate::fixed::{first, name, public_key, time, token};

#[test]
fn each_rule_refuses_and_says_why() {
    for (case, bytes, expected) in cases() {
        match Statement::parse(&bytes) {
            Ok(_) => panic!("{case} was accepted"),
            Err(error) => assert!(error.to_string().contains(expected), "{case}: {error}"),
        }
    }
    let long = vec![b' '; (1 << 20) + 1];
    assert!(matches!(Statement::parse(&long), Err(Error::TooLong { max: 1_048_576, .. })));
}

#[test]
fn what_is_right_is_accepted() {
    for suite in [Suite::Hybrid, Suite::Classic] {
        let built = base(suite);
        let read = Statement::parse(built.bytes()).unwrap();
        assert_eq!(read, built);
        assert_eq!(read.generation().number(), 1);
        assert_eq!(read.expires(), time("2027-11-24T16:00:00Z"));
        assert_eq!(read.policy().to_string(), "alice or bob");
        assert_eq!(read.thresholds(), Thresholds { root: 1, routine: 1 });
        assert_eq!(read.suite(), suite);
    }
    let required = set("/require", json!("pin = always, touch = always, firmware >= 5.7, attested"));
    assert!(Statement::parse(&required).is_ok(), "an emulated token counts as attested in a test vault");
    let mixed = Statement::parse(&mixed(|_| {})).unwrap();
    assert_eq!(mixed.policy().minimal_sets().len(), 5);
    let flat = with(|v| v["admins"]["zoe"] = json!(public_key("zoe signing").to_string()));
    assert!(Statement::parse(&flat).is_ok(), "an admin need be no holder");
    let generic = with(|v| {
        v["holders"]["bob"]["firmware"] = Value::Null;
        v["holders"]["bob"]["serial"] = Value::Null;
        v["holders"]["bob"]["card_proof"] = Value::Null;
        v["holders"]["bob"]["attestation"] = json!([]);
    });
    assert!(Statement::parse(&generic).is_ok(), "a generic card has none of these");
}

fn build(change: impl FnOnce(&mut Draft)) -> Result<Statement, Error> {
    let mut draft = first(Suite::Classic, &["alice", "bob"]);
    change(&mut draft);
    draft.build()
}

#[test]
fn building_refuses_too() {
    let policy = |text: &str| text.parse::<Policy>().unwrap();
    let needs = build(|draft| draft.policy = policy("alice or 2 of (alice, bob)")).unwrap_err();
    assert!(matches!(needs, Error::NeedsKeyFiles { part } if part == "alice and bob"));

    let single = |draft: &mut Draft| {
        draft.policy = policy("alice");
        draft.holders.remove(&name("bob"));
    };
    let alone = build(single).unwrap_err();
    assert!(matches!(&alone, Error::SingleHolder { holder, .. } if holder.as_str() == "alice"));
    assert_eq!(alone.class(), keyward_custody::Class::Refused);
    let wanted = build(|draft| {
        single(draft);
        draft.no_recovery = true;
    });
    assert_eq!(wanted.unwrap().policy().to_string(), "alice");

    let admins = |count: usize| {
        build(|draft| {
            draft.admins = (0..count)
                .map(|i| (format!("n{i}").parse::<Name>().unwrap(), public_key(&format!("n{i}"))))
                .collect();
        })
    };
    assert_eq!(admins(64).unwrap().thresholds(), Thresholds { root: 2, routine: 1 });
    assert!(matches!(admins(65), Err(Error::AdminCount { count: 65 })));
    assert!(matches!(admins(0), Err(Error::AdminCount { count: 0 })));
    assert!(matches!(build(|d| d.expires = time("2026-11-24T15:59:59Z")), Err(Error::Dates { .. })));
}

#[test]
fn a_real_vault_refuses_emulated_tokens_when_built() {
    let id = keyward_custody::VaultId::from_bytes([1; 16]);
    let policy = "alice or bob".parse().unwrap();
    let mut draft =
        Draft::first(id, name("home"), Suite::Hybrid, false, policy, time("2026-11-24T16:00:00Z"));
    for (holder, serial) in [("alice", 1), ("bob", 2)] {
        let mut real = token(Suite::Hybrid, holder, serial);
        real.verdict = Verdict::Verified;
        draft.add_token(name(holder), real);
    }
    assert!(!draft.build().unwrap().is_test());
    draft.add_token(name("bob"), token(Suite::Hybrid, "bob", 2));
    let refused = draft.build().unwrap_err();
    assert!(matches!(&refused, Error::EmulatedToken { holder } if holder.as_str() == "bob"));
    assert_eq!(refused.class(), keyward_custody::Class::Refused);
}

#[test]
fn keys_in_other_slots_are_said_and_the_usual_ones_are_not() {
    let usual = base(Suite::Classic);
    assert!(!String::from_utf8_lossy(usual.bytes()).contains("_slot\""), "82 and 83 have no member");
    let mut draft = first(Suite::Classic, &["alice", "bob"]);
    let mut adopted = token(Suite::Classic, "alice", 11_110_001);
    (adopted.archive_slot, adopted.custody_slot) = (SlotId(0x9d), SlotId(0x84));
    adopted.verdict = Verdict::IssuerHeld;
    draft.add_token(name("alice"), adopted.clone());
    let statement = draft.build().unwrap();
    let text = String::from_utf8_lossy(statement.bytes()).into_owned();
    assert!(text.contains(r#""archive_slot":"9d""#) && text.contains(r#""custody_slot":"84""#), "{text}");
    assert_eq!(Statement::parse(statement.bytes()).unwrap(), statement);
}
