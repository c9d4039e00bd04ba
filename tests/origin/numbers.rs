//! Numbers of receipts: given once, whoever seals at the same time, and said to be gone when they are.

use std::collections::BTreeSet;
use std::fs;

use super::{findings, five, open, seal};

#[test]
fn many_seals_at_once_get_different_numbers() {
    let sandbox = five();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let sandbox = &sandbox;
            scope.spawn(move || seal(sandbox, &format!("store/at-once-{number}.age")));
        }
    });
    let mut numbers = BTreeSet::new();
    for number in 0..8 {
        let receipt = sandbox.read(format!("store/at-once-{number}.age.receipt"));
        let line = receipt.split(|byte| *byte == b'\n').next().unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(line).unwrap();
        numbers.insert(receipt["sequence"].as_u64().unwrap());
    }
    assert_eq!(numbers, (6..=13).collect());
    assert_eq!(findings(&sandbox), [""; 0]);
}

#[test]
fn a_series_has_a_name_of_its_own() {
    let sandbox = five();
    sandbox
        .keyward(["seal", "photos", "-o", "store/a.age", "--series", "letters"])
        .go()
        .success()
        .stderr_has("receipt 1 of series letters");
    let report = sandbox.keyward(["seal", "-", "-o", "store/b.age", "--json"]).stdin("x").go().success();
    let report: serde_json::Value = serde_json::from_str(&report.stdout_text()).unwrap();
    assert_eq!(report["receipt"]["series"], "stdin");
    assert_eq!(report["receipt"]["sequence"], 1);
    sandbox.keyward(["seal", "photos", "-o", "c.age", "--series", "a/b"]).go().code(2).calm_error();
    sandbox.absent("c.age");
    assert_eq!(findings(&sandbox), [""; 0]);
}

#[test]
fn what_is_pruned_is_said_to_be_gone() {
    let sandbox = five();
    sandbox
        .keyward(["receipt", "retire", "store/photos-1.age", "store/photos-2.age", "--yes"])
        .go()
        .success()
        .stderr_has("receipts 1-2 of series photos")
        .stderr_has("Nothing was deleted.");
    assert_eq!(findings(&sandbox), [""; 0]);
    for name in ["photos-1.age", "photos-1.age.receipt", "photos-2.age"] {
        fs::remove_file(sandbox.path("store").join(name)).unwrap();
    }
    assert_eq!(findings(&sandbox), [""; 0]);
    // Deleted first, and said afterwards; the record of before is replaced.
    for name in ["photos-3.age", "photos-4.age"] {
        fs::remove_file(sandbox.path("store").join(name)).unwrap();
    }
    fs::remove_file(sandbox.path("store/photos-3.age.receipt")).unwrap();
    assert_eq!(findings(&sandbox).len(), 2);
    sandbox.keyward(["receipt", "retire", "store", "--missing"]).go().code(2).calm_error();
    assert_eq!(findings(&sandbox).len(), 2);
    sandbox.keyward(["receipt", "retire", "store", "--missing", "--yes"]).go().success();
    assert_eq!(findings(&sandbox), [""; 0]);
    let retired = sandbox.names("store").into_iter().filter(|name| name.contains(".retired.")).count();
    assert_eq!(retired, 1);
    // Another host that has seen none of it believes the newest receipt.
    fs::remove_dir_all(sandbox.path("home/heads")).unwrap();
    assert_eq!(findings(&sandbox), [""; 0]);
    seal(&sandbox, "store/photos-6.age");
    assert_eq!(findings(&sandbox), [""; 0]);
}

#[test]
fn a_resealed_archive_has_the_next_receipt() {
    let sandbox = five();
    let before = sandbox.read("store/photos-2.age");
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["reseal", "store/photos-2.age"])
        .go()
        .success()
        .stderr_has("receipt 6 of series photos");
    assert_ne!(sandbox.read("store/photos-2.age"), before);
    assert_eq!(findings(&sandbox), [""; 0]);
    open(&sandbox, "store/photos-2.age")
        .go()
        .success()
        .stdout_is("photo 2\n")
        .stderr_has(", receipt 6, checked.");
}
