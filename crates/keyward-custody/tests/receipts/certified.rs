//! Sealers in the statement: who is certified and removed, by whose signatures, and what never changes.

use std::collections::BTreeMap;

use keyward_age::Suite;
use keyward_custody::{Change, Draft, Error, Needs, Statement, difference};
use serde_json::{Value, json};

use crate::fixed::{edited, first, name, time};
use crate::hosts::{Home, key};

fn next(home: &Home, change: impl FnOnce(&mut Draft)) -> Result<Statement, Error> {
    let mut draft = Draft::after(&home.now(), time("2026-12-24T16:00:00Z"));
    change(&mut draft);
    draft.build()
}

#[test]
fn it_is_a_routine_change_and_shown() {
    let mut home = Home::with_nora();
    let now = home.now();
    assert_eq!(now.sealers()[&name("mira")].by(), Some(&name("alice")));
    assert_eq!(now.sealers()[&name("nora")].added().number(), 2);
    let last = json!({"photos": {"digest": "22".repeat(32), "sequence": 17}});
    let removed = next(&home, |draft| {
        draft.remove_sealer(&name("nora"), serde_json::from_value(last.clone()).unwrap()).unwrap();
    })
    .unwrap();
    let change = Change::between(now.statement(), &removed).unwrap();
    assert_eq!((change.needs, change.admins), (Needs::Routine, false));
    let lines: Vec<String> = difference(now.statement(), &removed).iter().map(ToString::to_string).collect();
    let line = lines.iter().find(|line| line.starts_with("+ sealer nora: SHA256:")).unwrap();
    assert!(
        line.ends_with(
            "since generation 2, removed in generation 3, last receipts photos 17 2222222222222222"
        )
    );
    assert_eq!(lines.len(), 2, "{lines:?}");

    home.change(|draft| draft.remove_sealer(&name("nora"), BTreeMap::new()).unwrap());
    let nora = &home.now().sealers()[&name("nora")].clone();
    assert_eq!(nora.removed().unwrap().generation().number(), 3);
    assert!(nora.removed().unwrap().last().is_empty());
    // She stays listed, and neither her name nor her key comes back.
    let again = next(&home, |draft| {
        assert!(matches!(
            draft.add_sealer(name("nora"), key("nora 2").public(), None),
            Err(Error::SealerTaken { .. })
        ));
        assert!(matches!(draft.remove_sealer(&name("nora"), BTreeMap::new()), Err(Error::NoSealer { .. })));
        assert!(matches!(draft.remove_sealer(&name("zoe"), BTreeMap::new()), Err(Error::NoSealer { .. })));
        draft.add_sealer(name("olga"), key("nora").public(), None).unwrap();
    });
    assert!(matches!(again, Err(Error::KeyTwice { .. })), "{again:?}");
    let signers = home.now().statement().allowed_sealers();
    assert!(signers.starts_with("mira namespaces=\"keyward-receipt\" ssh-ed25519 AAAA"), "{signers}");
    assert_eq!(signers.lines().count(), 2);
}

/// What the next generation may not do to a sealer, by its JSON.
#[test]
fn what_never_changes() {
    let mut home = Home::with_nora();
    home.change(|draft| draft.remove_sealer(&name("nora"), BTreeMap::new()).unwrap());
    let now = home.now();
    let after = next(&home, |_| {}).unwrap();
    let refused = |change: fn(&mut Value)| {
        let bytes = edited(&after, change);
        let after = Statement::parse(&bytes).unwrap();
        Change::between(now.statement(), &after).unwrap_err().to_string()
    };
    let of = |member: &str, who: &str| format!("generation 4 changes the {member} of sealer {who}");
    assert_eq!(
        refused(|v| _ = v["sealers"].as_object_mut().unwrap().remove("mira")),
        of("place in the list", "mira")
    );
    assert_eq!(
        refused(|v| v["sealers"]["mira"]["key"] = json!(key("mallory").public().to_string())),
        of("key", "mira")
    );
    assert_eq!(refused(|v| v["sealers"]["mira"]["added"] = json!(2)), of("certification", "mira"));
    assert_eq!(refused(|v| v["sealers"]["mira"]["by"] = json!("bob")), of("certification", "mira"));
    assert_eq!(refused(|v| v["sealers"]["nora"]["removed"] = Value::Null), of("removal", "nora"));
    assert_eq!(refused(|v| v["sealers"]["nora"]["removed"]["generation"] = json!(4)), of("removal", "nora"));
    assert_eq!(
        refused(|v| v["sealers"]["mira"]["removed"] = json!({"generation": 3, "last": {}})),
        of("removal", "mira")
    );
    let new = |added: u32, removed: Value| json!({"added": added, "by": null, "key": key("olga").public().to_string(), "removed": removed});
    let own = "certification, which was to be its own";
    let bytes = edited(&after, |v| v["sealers"]["olga"] = new(3, Value::Null));
    let early = Change::between(now.statement(), &Statement::parse(&bytes).unwrap()).unwrap_err();
    assert_eq!(early.to_string(), of(own, "olga"));
    let bytes = edited(&after, |v| v["sealers"]["olga"] = new(3, json!({"generation": 4, "last": {}})));
    let removed = Change::between(now.statement(), &Statement::parse(&bytes).unwrap()).unwrap_err();
    assert_eq!(removed.to_string(), of(own, "olga"));
}

#[test]
fn the_first_generation_certifies_its_host() {
    let mut draft = first(Suite::Hybrid, &["alice", "bob"]);
    assert!(draft.build().unwrap().allowed_sealers().is_empty());
    draft.add_sealer(name("mira"), key("mira").public(), None).unwrap();
    let statement = draft.build().unwrap();
    assert_eq!(Statement::parse(statement.bytes()).unwrap(), statement);
    assert_eq!(statement.allowed_sealers().lines().count(), 1);
}
