//! What a loss leaves: who still opens, what an attacker with the vault's folder gets, and where a kill may fall.

mod absent;
mod admins;
pub(crate) mod crash;
mod policies;
mod policy;
mod refusals;
mod replacement;

use keyward_tests::{Run, Sandbox};

/// The options that bring these papers, each in a file of its name.
fn with(papers: &[&str]) -> Vec<String> {
    papers.iter().flat_map(|name| ["--with".to_owned(), format!("{name}={name}.txt")]).collect()
}

/// `keyward` with carol's and dave's papers, which are two signatures and a way to open.
fn with_both_papers(sandbox: &Sandbox, command: &[&str]) -> Run {
    sandbox.keyward(command).args(with(&["carol", "dave"]))
}

/// Seals one small file, the quickest archive, without a token.
#[track_caller]
fn seal(sandbox: &Sandbox, archive: &str) {
    sandbox.write("letter", "dear alice\n");
    sandbox.keyward(["seal", "letter", "-o", archive]).go().success().no_stdout();
}

/// Carol and dave open an archive with their papers.
#[track_caller]
fn opens_with_both_papers(sandbox: &Sandbox, archive: &str) {
    with_both_papers(sandbox, &["open", archive, "-o", "-"]).go().success().stdout_is("dear alice\n");
}

/// The generation in force, as `vault show` says it.
#[track_caller]
fn generation(sandbox: &Sandbox) -> u64 {
    let shown = sandbox.keyward(["vault", "show", "--json"]).go().success();
    let statement: serde_json::Value = serde_json::from_slice(&shown.stdout).unwrap();
    statement["generation"].as_u64().unwrap()
}

/// The numbers of the epochs in force and before.
#[track_caller]
fn epochs(sandbox: &Sandbox) -> Vec<u64> {
    let listed = sandbox.keyward(["epoch", "list", "--json"]).go().success();
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["epoch"].as_u64();
    listed.stdout_text().lines().map(|text| line(text).unwrap()).collect()
}
