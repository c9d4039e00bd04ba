//! The layer rule, read from the manifests and sources: who may depend on whom, and what every crate denies.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use keyward_tests::{Run, workspace_root};

/// What each crate may use of the others. Nothing points up, and the emulator stands alone.
fn allowed() -> BTreeMap<&'static str, &'static [&'static str]> {
    BTreeMap::from([
        ("keyward", &["keyward-age", "keyward-archive", "keyward-custody", "keyward-token"][..]),
        ("keyward-archive", &["keyward-age"]),
        ("keyward-custody", &["keyward-age"]),
        ("keyward-age", &[]),
        ("keyward-token", &[]),
        ("keyward-emulator", &[]),
    ])
}

/// The counterpart of the others, which only tests may use.
const EMULATOR: &str = "keyward-emulator";
/// The unpublished crate of the end-to-end tests.
const TESTS: &str = "keyward-tests";
/// The unpublished crate that measures Keyward beside others: it stands outside, as the tests do.
const BENCHES: &str = "keyward-benches";

#[test]
fn dependencies_follow_the_layers() {
    let allowed = allowed();
    let mut seen = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap().to_owned();
        for dependency in package["dependencies"].as_array().unwrap() {
            let on = dependency["name"].as_str().unwrap();
            if !allowed.contains_key(on) && on != TESTS {
                continue;
            }
            let for_tests = dependency["kind"] == "dev";
            let fits = match name.as_str() {
                TESTS => for_tests,
                BENCHES => [TESTS, "keyward-age", "keyward-archive"].contains(&on),
                _ => allowed[name.as_str()].contains(&on) || (for_tests && on == EMULATOR),
            };
            assert!(fits, "{name} may not depend on {on}");
        }
        seen.push(name);
    }
    seen.sort();
    let mut expected: Vec<_> =
        allowed.keys().map(ToString::to_string).chain([BENCHES, TESTS].map(str::to_owned)).collect();
    expected.sort();
    assert_eq!(seen, expected, "a crate without a place in the layers");
}

#[test]
fn only_the_token_layer_speaks_pcsc_and_only_age_layers_speak_age() {
    let places: [(&str, &[&str]); 4] = [
        ("pcsc", &["keyward-token"]),
        ("yubikey", &["keyward-token"]),
        ("age", &["keyward-age"]),
        ("clap", &["keyward", "keyward-emulator"]),
    ];
    for package in packages() {
        let name = package["name"].as_str().unwrap();
        for dependency in package["dependencies"].as_array().unwrap() {
            if dependency["kind"] == "dev" {
                continue;
            }
            for (crate_name, users) in places {
                let uses = dependency["name"] == crate_name;
                assert!(!uses || users.contains(&name), "{name} may not use {crate_name}");
            }
        }
    }
}

#[test]
fn every_crate_has_the_shared_lints() {
    for package in packages() {
        let manifest = fs::read_to_string(package["manifest_path"].as_str().unwrap()).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true"), "{} has lints of its own", package["name"]);
    }
    let workspace = fs::read_to_string(workspace_root().join("Cargo.toml")).unwrap();
    assert!(workspace.contains("unsafe_code = \"forbid\""));
}

#[test]
fn every_root_forbids_unsafe_and_libraries_do_not_print() {
    let mut libraries = 0;
    for package in packages() {
        for target in package["targets"].as_array().unwrap() {
            let kind = target["kind"][0].as_str().unwrap();
            if !["lib", "bin"].contains(&kind) {
                continue;
            }
            let path = target["src_path"].as_str().unwrap();
            let source = fs::read_to_string(path).unwrap();
            assert!(source.contains("#![forbid(unsafe_code)]"), "{path} does not forbid unsafe code");
            if kind == "lib" {
                libraries += 1;
                assert!(
                    source.contains("#![deny(clippy::print_stdout, clippy::print_stderr)]"),
                    "{path} does not deny printing"
                );
            }
        }
    }
    assert!(libraries >= 6, "{libraries} libraries");
}

#[test]
fn rooms_are_named_and_not_too_large() {
    let sources = rust_sources(workspace_root());
    assert!(sources.len() > 30, "{} Rust files", sources.len());
    for path in sources {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let no_room = ["common", "util", "utils", "helpers", "misc"];
        assert!(!no_room.contains(&stem), "{} is no room", path.display());
        let in_source = path.components().skip_while(|part| part.as_os_str() != "src");
        let folder =
            in_source.map(|part| part.as_os_str()).find(|part| no_room.iter().any(|name| part == name));
        assert_eq!(folder, None, "{} is in no room", path.display());
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().count();
        assert!(lines <= 700, "{} has {lines} lines; it is two rooms", path.display());
        // A room's own tests are said by its name.
        assert!(stem == "tests" || text.starts_with("//!"), "{} does not say what it is for", path.display());
    }
}

fn packages() -> Vec<serde_json::Value> {
    let metadata = Run::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(workspace_root())
        .go()
        .success();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

/// The Rust files of the project, build products aside.
fn rust_sources(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        ["crates", "tests", "examples", "benches", "fuzz"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        // benches and fuzz come when there is something in them.
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}
