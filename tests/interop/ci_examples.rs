//! The examples that others copy into their CI do what they say.

use std::{ffi::OsString, fs, time::Duration};

use keyward_tests::{Peer, Sandbox, peer, program, workspace_root};

#[test]
fn the_pytest_example_passes() {
    let sandbox = Sandbox::new();
    let emulator = program("keyward-emulator");
    assert!(emulator.is_absolute());
    sandbox
        .run(peer(Peer::Ykman).with_file_name("python"))
        .env("PYTHONPATH", peer(Peer::PythonModules))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp"])
        .arg(sandbox.path("pytest"))
        .arg(workspace_root().join("examples/ci/test_piv.py"))
        .limit(Duration::from_secs(60))
        .go()
        .success()
        .stdout_has("3 passed");
}

/// The steps of the workflow are shell; those that need no network are run as they are written.
#[test]
fn the_workflow_runs_a_program_under_a_token() {
    let workflow = fs::read_to_string(workspace_root().join("examples/ci/github-actions.yml")).unwrap();
    assert!(workflow.contains("pytest examples/ci/test_piv.py"), "{workflow}");
    let (_, last) = workflow.split_once("for as long as it runs").expect("the last step");
    let script: Vec<&str> = last.lines().map(str::trim).filter(|line| line.starts_with("keyward-")).collect();
    assert_eq!(script.len(), 2, "{last}");
    let sandbox = Sandbox::new();
    let ykman = peer(Peer::Ykman);
    let mut path = OsString::from(ykman.parent().unwrap());
    path.push(":");
    path.push(program("keyward-emulator").parent().unwrap());
    path.push(":/usr/bin:/bin");
    sandbox
        .run("sh")
        .env("PATH", path)
        .args(["-ec", &script.join("\n")])
        .go()
        .success()
        .stdout_has("PIV version:              5.7.1");
}
