//! `docs/cli.md`, made from the command line's own help; a stale page fails the test.

use std::fmt::Write as _;

use clap::CommandFactory;

use crate::cli::Cli;

/// The page as it should be.
fn page() -> String {
    let mut command = Cli::command().term_width(100);
    command.build();
    let mut page = String::from(
        "# Command reference\n\nMade from the program's own help by the test `the_reference_is_fresh` \
         (`KEYWARD_UPDATE=1 cargo test -p keyward reference` writes it anew).\n\n",
    );
    let environment = include_str!("env.rs");
    page.push_str("## Environment\n\n");
    for line in environment.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let _ = writeln!(page, "|{line}");
    }
    chapter(&mut page, &mut command);
    page
}

fn chapter(page: &mut String, command: &mut clap::Command) {
    let name = command.get_bin_name().unwrap_or("keyward").to_owned();
    let help = command.render_long_help().to_string();
    let _ = write!(page, "\n## `{name}`\n\n```text\n");
    for line in help.lines() {
        let _ = writeln!(page, "{}", line.trim_end());
    }
    page.push_str("```\n");
    for inner in command.get_subcommands_mut().filter(|inner| inner.get_name() != "help") {
        chapter(page, inner);
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a test may be told to write the page anew")]
fn the_reference_is_fresh() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");
    let page = page();
    if std::env::var_os("KEYWARD_UPDATE").is_some() {
        std::fs::write(path, &page).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(written == page, "docs/cli.md is stale: KEYWARD_UPDATE=1 cargo test -p keyward reference");
}
