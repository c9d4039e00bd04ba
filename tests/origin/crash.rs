//! A kill at every step of `seal`: no archive, or one whose receipt the next run puts in place; never two receipts of one
//! number.

use std::collections::BTreeMap;

use keyward_tests::{Run, Sandbox, campaign_is_long, program};

use super::{findings, five, open, seal};
use crate::losses::crash::{STEPS, killed_at, steps};

/// Everyday, so many steps.
const EVERYDAY: usize = 24;

fn traced(sandbox: &Sandbox, strace: &[String]) -> Run {
    sandbox.run(&strace[0]).args(&strace[1..]).arg("--").arg(program("keyward")).args([
        "seal",
        "photos",
        "-o",
        "store/photos-6.age",
    ])
}

fn numbers(sandbox: &Sandbox) -> Vec<u64> {
    let mut numbers = Vec::new();
    for name in sandbox.names("store").iter().filter(|name| name.ends_with(".receipt")) {
        let receipt = sandbox.read(format!("store/{name}"));
        let line = receipt.split(|byte| *byte == b'\n').next().unwrap();
        let receipt: serde_json::Value = serde_json::from_slice(line).unwrap();
        numbers.push(receipt["sequence"].as_u64().unwrap());
    }
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_kill_in_seal_leaves_no_archive_or_one_that_gets_its_receipt() {
    let made = five();
    let steps = steps(&made.copy(), &STEPS, traced);
    let wanted = if campaign_is_long() { steps.len() } else { EVERYDAY };
    // The receipt is made at the end: everyday the last steps are taken.
    let chosen = &steps[steps.len().saturating_sub(wanted)..];
    let mut left: BTreeMap<&str, u32> = BTreeMap::new();
    for step in chosen {
        let sandbox = made.copy();
        let outcome = killed_at(&sandbox, step, traced);
        assert_ne!(outcome.exit_code(), Some(0), "{step:?} did not kill it:\n{outcome}");
        let stands = sandbox.path("store/photos-6.age").exists();
        let has_receipt = sandbox.path("store/photos-6.age.receipt").exists();
        assert!(stands || !has_receipt, "{step:?}: a receipt without its archive");
        *left
            .entry(if has_receipt {
                "archive and receipt"
            } else if stands {
                "archive"
            } else {
                "nothing"
            })
            .or_default() += 1;

        // Whoever comes next finds all in order, and nobody gives a number twice.
        assert_eq!(findings(&sandbox), [""; 0], "{step:?}");
        assert_eq!(sandbox.path("store/photos-6.age.receipt").exists(), stands, "{step:?}");
        seal(&sandbox, "store/photos-7.age");
        let expected: Vec<u64> = if stands { (1..=7).collect() } else { (1..=6).collect() };
        assert_eq!(numbers(&sandbox), expected, "{step:?}");
        assert_eq!(findings(&sandbox), [""; 0], "{step:?}");
        if stands {
            open(&sandbox, "store/photos-6.age").go().success().stdout_is("photo 5\n");
        }
    }
    println!("seal: killed at {} of {} steps; left behind: {left:?}", chosen.len(), steps.len());
    assert!(left.len() >= 2, "{left:?}");
}
