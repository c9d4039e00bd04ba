//! The device tests that ykman is released with, run against the emulator as against a YubiKey on Yubico's desk.
//!
//! What the suite itself skips is listed in `docs/emulator.md` for each firmware, by name and with the suite's own reason;
//! a test here fails if one more is skipped, or one less. `KEYWARD_UPDATE=1` writes the lists.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use keyward_tests::{Peer, Sandbox, campaign_is_long, peer, update_is_wanted, workspace_root};

/// The files of the suite that apply to a PIV key.
const FILES: [&str; 5] = [
    "tests/device/test_piv.py",
    "tests/device/cli/piv",
    "tests/device/test_ccid.py",
    "tests/device/cli/test_misc.py",
    "tests/device/cli/test_config.py",
];

/// What everyday runs of the older firmware take of it: the whole takes half a minute each.
const CORE: [&str; 4] = [
    "tests/device/test_piv.py::TestKeyAgreement",
    "tests/device/test_piv.py::TestUnblockPin",
    "tests/device/cli/piv/test_misc.py",
    "tests/device/test_ccid.py",
];

/// What became of a test.
struct Test {
    outcome: String,
    reason: String,
}

fn run(firmware: &str, selection: &[&str]) -> BTreeMap<String, Test> {
    let sandbox = Sandbox::new();
    sandbox.new_token_with_firmware("suite.token", 11_110_001, firmware);
    let suite = peer(Peer::YkmanSuite);
    let report = sandbox.path("report.json");
    let plugins = concat!(env!("CARGO_MANIFEST_DIR"), "/interop");
    let outcome = sandbox
        .emulator()
        .token("suite.token")
        .run_alone(peer(Peer::Ykman).with_file_name("python"))
        .args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "suite_report"])
        .args(["--tb=short", "--device", "11110001"])
        .args(selection)
        .env("PYTHONPATH", format!("{}:{plugins}", suite.join("site").display()))
        .env("SUITE_REPORT", &report)
        // The token is there again by the time that it answers; the suite waits two seconds for a real one.
        .env("REBOOT_TIME", "0")
        .current_dir(&suite)
        .limit(Duration::from_secs(600))
        .go()
        .success();
    let report: serde_json::Value = serde_json::from_slice(&sandbox.read("report.json")).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let tests: BTreeMap<_, _> = report
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, test)| {
            let test = Test { outcome: text(&test["outcome"]), reason: text(&test["reason"]) };
            (name.trim_start_matches("tests/device/").to_owned(), test)
        })
        .collect();
    assert!(!tests.is_empty(), "no test was run:\n{outcome}");
    tests
}

/// Every test passes, or is skipped as the document says for this firmware.
#[track_caller]
fn passes(firmware: &str, profile: &str, selection: &[&str], at_least: usize) {
    let tests = run(firmware, selection);
    for (name, test) in &tests {
        assert!(["passed", "skipped"].contains(&test.outcome.as_str()), "{name}:\n{}", test.reason);
    }
    let passed = tests.values().filter(|test| test.outcome == "passed").count();
    assert!(passed >= at_least, "{passed} tests of ykman passed, {at_least} are expected at least");
    let skipped: BTreeSet<(String, String)> = tests
        .iter()
        .filter(|(_, test)| test.outcome == "skipped")
        .map(|(name, test)| (test.reason.clone(), name.clone()))
        .collect();
    if update_is_wanted() && selection == FILES {
        write_skips(profile, &skipped);
    }
    let documented: BTreeSet<_> =
        documented(profile).into_iter().filter(|(_, name)| tests.contains_key(name)).collect();
    assert_eq!(
        skipped, documented,
        "docs/emulator.md is stale: KEYWARD_UPDATE=1 KEYWARD_TEST_CAMPAIGN=all cargo test -p keyward-tests ykman_suite"
    );
    let page = page();
    for (reason, _) in &skipped {
        assert!(page.contains(&format!("| `{reason}` |")), "docs/emulator.md does not explain: {reason}");
    }
}

fn page() -> String {
    fs::read_to_string(workspace_root().join("docs/emulator.md")).unwrap()
}

fn marks(profile: &str) -> (String, &'static str) {
    (format!("<!-- ykman skips on {profile} -->\n```text\n"), "```\n<!-- end -->")
}

/// The list of a profile: reasons at the margin, below each the tests.
fn documented(profile: &str) -> Vec<(String, String)> {
    let page = page();
    let (begin, end) = marks(profile);
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no list for {profile}"));
    let (list, _) = rest.split_once(end).unwrap();
    let mut reason = "";
    let mut all = Vec::new();
    for line in list.lines() {
        match line.strip_prefix("  ") {
            Some(name) => all.push((reason.to_owned(), name.to_owned())),
            None => reason = line,
        }
    }
    all
}

fn write_skips(profile: &str, skipped: &BTreeSet<(String, String)>) {
    static PAGE: Mutex<()> = Mutex::new(());
    let _one_at_a_time = PAGE.lock().unwrap_or_else(PoisonError::into_inner);
    let page = page();
    let (begin, end) = marks(profile);
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no list for {profile}"));
    let (_, after) = rest.split_once(end).unwrap();
    let mut list = String::new();
    let mut last = "";
    for (reason, name) in skipped {
        if reason != last {
            list.push_str(&format!("{reason}\n"));
            last = reason;
        }
        list.push_str(&format!("  {name}\n"));
    }
    let text = format!("{before}{begin}{list}{end}{after}");
    fs::write(workspace_root().join("docs/emulator.md"), text).unwrap();
}

#[test]
fn firmware_5_7_passes_the_device_tests_of_ykman() {
    passes("5.7.1", "5.7", &FILES, 170);
}

#[test]
fn firmware_5_4_passes_the_device_tests_of_ykman() {
    if campaign_is_long() {
        passes("5.4.3", "5.4", &FILES, 150);
    } else {
        passes("5.4.3", "5.4", &CORE, 14);
    }
}

#[test]
fn firmware_5_2_passes_the_device_tests_of_ykman() {
    if campaign_is_long() {
        passes("5.2.7", "5.2", &FILES, 130);
    } else {
        passes("5.2.7", "5.2", &CORE, 14);
    }
}

#[test]
fn firmware_4_3_passes_the_device_tests_of_ykman() {
    if campaign_is_long() {
        passes("4.3.5", "4.3", &FILES, 120);
    } else {
        passes("4.3.5", "4.3", &CORE, 14);
    }
}
