//! `docs/claims.md`: every claim has a command, and the command is there. The tests that it names run in this very
//! suite, so a claim that does not hold fails by its own name.

use std::{fs, path::Path};

use keyward_tests::workspace_root;

#[test]
fn every_claim_has_a_command_that_exists() {
    let text = fs::read_to_string(workspace_root().join("docs/claims.md")).unwrap();
    let mut claims = 0;
    for line in text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| claim")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let [claim, command] = cells[..] else { panic!("not a claim and a command: {line}") };
        assert!(!claim.is_empty(), "{line}");
        let command = command.strip_prefix('`').and_then(|command| command.strip_suffix('`'));
        exists(command.unwrap_or_else(|| panic!("no command: {line}")));
        claims += 1;
    }
    assert!(claims > 20, "{claims} claims");
}

fn exists(command: &str) {
    let words: Vec<&str> = command.split(' ').collect();
    match words[..] {
        [script] => {
            assert!(workspace_root().join(script).is_file(), "there is no {script}");
        }
        ["cargo", "test", "-p", package, ref name @ ..] => {
            let folder = match package {
                "keyward-tests" => workspace_root().join("tests"),
                package => workspace_root().join("crates").join(package),
            };
            assert!(folder.join("Cargo.toml").is_file(), "there is no package {package}");
            let Some(name) = name.first() else { return };
            assert!(names_a_test(&folder, name), "{package} has no test {name}");
        }
        _ => panic!("neither a script nor a test: {command}"),
    }
}

/// Whether a test, or a room of tests, has this name.
fn names_a_test(folder: &Path, name: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return path.file_name().is_some_and(|room| room == name) || names_a_test(&path, name);
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            return false;
        }
        path.file_stem().is_some_and(|room| room == name)
            || fs::read_to_string(&path).unwrap().contains(&format!("fn {name}("))
    })
}
