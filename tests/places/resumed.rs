//! The receipt of an archive that a later run finished says what it would have said without the kill.

use std::fs;

use keyward_tests::{Kind, Run, Sandbox, Store, program};

use super::kills::killed_at;
use super::{stores, with_variables};
use crate::own_key::two_of_three;

fn words<'a>(name: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["seal", "note", "-o", name, "--resume", "--series", "diary"], more].concat()
}

fn strace(sandbox: &Sandbox, store: &Store, options: &[&str], words: &[&str]) -> Run {
    let run = sandbox.run("strace").args(["-qq", "-o", "steps.txt", "-e"]).args(options).arg("--");
    with_variables(run.arg(program("keyward")).args(words), store)
}

fn receipt(sandbox: &Sandbox, store: &Store, archive: &str) -> serde_json::Value {
    let place = stores(store, &sandbox.path("look")).place(format!("{archive}.receipt")).unwrap();
    let bytes = place.read_small(1 << 20).unwrap();
    serde_json::from_slice(bytes.split(|byte| *byte == b'\n').next().unwrap()).unwrap()
}

fn opens(sandbox: &Sandbox, store: &Store, archive: &str, more: &[&str]) {
    let open = sandbox.emulator().token("alice.token").token("carol.token");
    let open = open.keyward(["open", archive, "-o", "-"]).args(more);
    with_variables(open, store).go().success().stdout_is("about one\n");
}

/// All that the archives' receipts say holds, to the last byte.
fn verifies(sandbox: &Sandbox, store: &Store) {
    with_variables(sandbox.keyward(["verify", "--deep", store.root]), store).go().success();
}

#[test]
fn a_kill_once_it_is_sealed_takes_nothing_from_its_receipt() {
    for more in [&[][..], &["--own-key"]] {
        let (sandbox, store) = (two_of_three(), Store::start(Kind::Google));
        let (whole, cut) = (format!("{}/whole.age", store.root), format!("{}/cut.age", store.root));
        strace(&sandbox, &store, &["trace=write,fdatasync"], &words(&whole, more)).go().success();
        // The notes of the upload say that all of it is in the spool: the run ends before they are known to be on the disk.
        let steps = String::from_utf8_lossy(&sandbox.read("steps.txt")).into_owned();
        let sealed =
            steps.find("\"{\\\"size\\\"").unwrap_or_else(|| panic!("no note that it is sealed: {steps}"));
        let point = steps[..sealed].matches("fdatasync(").count() + 1;
        let end = format!("inject=fdatasync:signal=KILL:when={point}");
        let killed = strace(&sandbox, &store, &["trace=fdatasync", "-e", &end], &words(&cut, more)).go();
        assert_ne!(killed.exit_code(), Some(0), "{killed}");
        let noted: Vec<_> = fs::read_dir(sandbox.path("home/uploads")).unwrap().collect();
        assert_eq!(noted.len(), 1, "{noted:?}");

        // Meanwhile another epoch begins: what is sealed is of the time before.
        sandbox.emulator().token("alice.token").keyward(["epoch", "new", "--yes"]).go().success();
        let resumed = with_variables(sandbox.keyward(words(&cut, more)), &store).go().success();
        let _ = resumed.stderr_has("An earlier run had sealed to the end").stderr_has("of series diary");
        let (expected, found) = (receipt(&sandbox, &store, &whole), receipt(&sandbox, &store, &cut));
        assert_eq!(found["series"], "diary");
        assert_eq!(found["sequence"], 2);
        assert_eq!(found["generation"], expected["generation"], "{more:?}");
        assert_eq!(found["archive"]["epoch"], expected["archive"]["epoch"], "{more:?}");
        assert_eq!(found["archive"]["own_key"].is_string(), expected["archive"]["own_key"].is_string());
        assert_eq!(found["archive"]["adopted"], expected["archive"]["adopted"]);
        verifies(&sandbox, &store);
        with_variables(sandbox.keyward(["verify", &cut]), &store)
            .go()
            .success()
            .stdout_has("superseded: sealed under generation 1");
        let through = if more.is_empty() { &["--through-epoch"][..] } else { &[] };
        opens(&sandbox, &store, &cut, through);
        assert!(fs::read_dir(sandbox.path("home/uploads")).unwrap().next().is_none(), "no notes are left");
    }
}

/// Ended at each of its requests in turn: no archive whose key file is not there, and the same command again ends it.
#[test]
fn an_archive_with_its_own_key_never_stands_without_it() {
    let (sandbox, store) = (two_of_three(), Store::start(Kind::Google));
    let mut killed = 0;
    for point in 0.. {
        let name = format!("{}/{point}.age", store.root);
        let seal = || with_variables(sandbox.keyward(words(&name, &["--own-key"])), &store);
        let (ended, _) = killed_at(&store, point, seal());
        if ended.success() {
            break;
        }
        killed += 1;
        let look = stores(&store, &sandbox.path("look"));
        let names: Vec<String> =
            look.place(store.root).unwrap().list().unwrap().iter().map(|one| one.place.to_string()).collect();
        let key = names.iter().any(|one| one.starts_with(&format!("{name}.key-")));
        assert!(key || !names.contains(&name), "{point}: an archive without its key file: {names:?}");
        // Where the archive stands, its receipt waits on this host; else it is sent or sealed anew.
        let stands = names.contains(&name);
        if !stands || point % 2 == 1 {
            let again = seal().go();
            assert!(again.exit_code() == Some(0) || stands && again.exit_code() == Some(9), "{again}");
        }
        with_variables(sandbox.keyward(["receipt", "finish"]), &store).go().success();
        assert!(receipt(&sandbox, &store, &name)["archive"]["own_key"].is_string(), "{point}");
        opens(&sandbox, &store, &name, &[]);
    }
    assert!(killed >= 8, "{killed}");
    verifies(&sandbox, &store);
}
