//! What the documents show is what the programs do, and what they point to is there.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use keyward_tests::{Sandbox, program, update_is_wanted, workspace_root};

const DEMO_BEGINS: &str =
    "<!-- demo: written by KEYWARD_UPDATE=1 cargo test -p keyward-tests documents -->\n```text\n";
const DEMO_ENDS: &str = "```\n<!-- end of demo -->";

#[test]
fn the_readme_shows_what_the_demo_prints() {
    let sandbox = Sandbox::new();
    let programs = program("keyward").parent().unwrap().to_owned();
    let outcome = sandbox
        .run("bash")
        .arg(workspace_root().join("scripts/demo"))
        .arg("--built")
        .arg(programs)
        .limit(Duration::from_secs(300))
        .go()
        .success();
    assert_eq!(sandbox.names("user"), [""; 0], "the demo left something behind");
    let printed = outcome.stdout_text();
    let printed = printed.trim_start_matches('\n');

    let path = workspace_root().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(DEMO_BEGINS).expect("the place of the demo");
    let (shown, after) = rest.split_once(DEMO_ENDS).expect("the end of the demo");
    if update_is_wanted() {
        fs::write(&path, [before, DEMO_BEGINS, printed, DEMO_ENDS, after].concat()).unwrap();
        return;
    }
    let (shown, printed) = (steady(shown), steady(printed));
    for (shown, printed) in shown.iter().zip(&printed) {
        assert_eq!(
            shown, printed,
            "README.md is stale: KEYWARD_UPDATE=1 cargo test -p keyward-tests documents"
        );
    }
    assert_eq!(shown.len(), printed.len(), "README.md shows another number of lines than the demo prints");
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Whether a word is new at every run: a fingerprint, a number, a date, a time, a digest.
fn is_new(word: &str) -> bool {
    let hex = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = |word: &str| word.len() == 20 && word.ends_with('Z') && word.contains('T');
    let word = word.trim_end_matches([',', '.']);
    MONTHS.contains(&word)
        || word.starts_with("SHA256:")
        || word.parse::<f64>().is_ok()
        || hex(word)
        || time(word)
}

/// The lines of the demo, with what is new at every run left out: words, fingerprints, sizes.
fn steady(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    // Dates move on only if the clock did between two steps.
    for line in text.lines().filter(|line| !line.contains(" expires: ")) {
        let words = lines.last().is_some_and(|line| line.starts_with("Compare these words"));
        let kept: Vec<_> = line.split(' ').map(|word| if is_new(word) { "…" } else { word }).collect();
        lines.push(if words { "  (eight words)".to_owned() } else { kept.join(" ") });
    }
    lines
}

#[test]
fn links_between_the_documents_lead_somewhere() {
    let mut links = 0;
    for page in pages(workspace_root()) {
        let text = fs::read_to_string(&page).unwrap();
        for target in
            text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
        {
            if target.contains("://") || target.starts_with('#') || target.contains(char::is_whitespace) {
                continue;
            }
            let path = target.split('#').next().unwrap();
            links += 1;
            assert!(
                page.parent().unwrap().join(path).exists(),
                "{} points to {target}, which is not there",
                page.display()
            );
        }
    }
    assert!(links > 5, "{links} links");
}

/// The project's Markdown pages, build products aside.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            if !["target", ".git", "node_modules"].contains(&&*name) {
                found.extend(pages(&path));
            }
        } else if name.ends_with(".md") {
            found.push(path);
        }
    }
    found
}
