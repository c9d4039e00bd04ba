//! `keyward seal … --resume` ended with SIGKILL at its requests, before and after the store carries
//! them out: the bucket never shows a part of an archive under its name, and the same command again
//! ends the work.

use std::fs;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};

use keyward_archive::Sealed;
use keyward_tests::{Fault, Kind, Run, Sandbox, Store, campaign_is_long};
use rustix::process::{Pid, Signal, kill_process};

use super::{noise, stores, with_variables};

/// What stands in the bucket under the archive's name: its BLAKE3, after a look that it is whole.
fn there(store: &Store, sandbox: &Sandbox, name: &str) -> Option<[u8; 32]> {
    let place = stores(store, &sandbox.path("look")).place(name).unwrap();
    place.exists().unwrap().then(|| Sealed::open(&place).unwrap().digest(&()).unwrap())
}

/// Runs it and ends it with SIGKILL at the request with the number `point / 2`, which the store carries out only if `point` is odd.
/// Says how it ended, and whether it came so far.
pub(super) fn killed_at(store: &Store, point: usize, run: Run) -> (ExitStatus, bool) {
    let process = Arc::new(AtomicI32::new(0));
    let count = Arc::new(AtomicUsize::new(0));
    let (to_kill, met) = (Arc::clone(&process), Arc::clone(&count));
    store.proxy.plan(move |_| {
        if met.fetch_add(1, Ordering::SeqCst) != point / 2 {
            return Fault::Pass;
        }
        let process = loop {
            match Pid::from_raw(to_kill.load(Ordering::SeqCst)) {
                Some(process) => break process,
                None => std::thread::yield_now(),
            }
        };
        kill_process(process, Signal::KILL).unwrap();
        if point.is_multiple_of(2) { Fault::Drop } else { Fault::Swallow }
    });
    let mut child = run.start();
    process.store(child.id().cast_signed(), Ordering::SeqCst);
    let ended = child.wait().unwrap();
    store.proxy.plan(|_| Fault::Pass);
    (ended, count.load(Ordering::SeqCst) > point / 2)
}

fn killed_at_its_requests(kind: Kind, megabytes: usize, points: usize) {
    let sandbox = Sandbox::with_vault("classic");
    sandbox.write("data", noise(megabytes << 20));
    let mut store = Store::start(kind);
    let (mut finished, mut sealed_anew) = (0, 0);
    for point in 0..points {
        // The servers keep everything in memory, and some also what was deleted.
        if point > 0 && point % 10 == 0 {
            nothing_but_empty_uploads_is_left(&store, kind);
            store = Store::start(kind);
        }
        let name = format!("{}/dir/{point}.age", store.root);
        let seal = || with_variables(sandbox.keyward(["seal", "data", "-o", &name, "--resume"]), &store);
        let (ended, reached) = killed_at(&store, point, seal());
        assert!(!ended.success() || !reached, "{kind:?} {point}");

        let before = there(&store, &sandbox, &name);
        let outcome = seal().go().success();
        if outcome.stderr_text().contains("earlier run had") {
            finished += 1;
        } else {
            sealed_anew += 1;
        }
        let after = there(&store, &sandbox, &name).expect("the same command again ends it");
        assert!(before.is_none_or(|before| before == after), "{kind:?} {point}: what was there was whole");
        // And once more: it is done, and says so.
        seal().go().code(9);
        assert_eq!(there(&store, &sandbox, &name), Some(after));
        assert!(fs::read_dir(sandbox.path("home/uploads")).unwrap().next().is_none(), "no notes are left");
        if point + 1 < points {
            stores(&store, &sandbox.path("look")).place(&name).unwrap().remove().unwrap();
        }
    }
    assert!(finished > 0 && sealed_anew > 0, "{kind:?}: {finished} finished, {sealed_anew} sealed anew");
    let last = format!("{}/dir/{}.age", store.root, points - 1);
    let open = sandbox.emulator().token("alice.token").keyward(["open", &last, "-o", "opened"]);
    with_variables(open, &store).go().success();
    assert!(sandbox.read("opened") == sandbox.read("data"));
    nothing_but_empty_uploads_is_left(&store, kind);
}

/// Killed between the store's answer to the first request and its note: an upload that never gets a part.
fn nothing_but_empty_uploads_is_left(store: &Store, kind: Kind) {
    match kind {
        Kind::S3 => assert!(store.s3_uploads().iter().all(|parts| *parts == 0), "{:?}", store.s3_uploads()),
        Kind::Google => {
            let all = store.google_has().unwrap();
            let rest = |name: &String| name.contains(".keyward-") && !name.starts_with("0 parts of ");
            assert!(!all.iter().any(rest), "{all:?}");
        }
        // Azure drops blocks of no blob by itself.
        Kind::Azure => {}
    }
}

#[test]
fn a_killed_upload_to_s3_is_ended_by_the_same_command() {
    let (megabytes, points) = if campaign_is_long() { (170, 50) } else { (20, 14) };
    killed_at_its_requests(Kind::S3, megabytes, points);
}

#[test]
fn a_killed_upload_to_azure_is_ended_by_the_same_command() {
    let (megabytes, points) = if campaign_is_long() { (170, 50) } else { (20, 12) };
    killed_at_its_requests(Kind::Azure, megabytes, points);
}

#[test]
fn a_killed_upload_to_google_is_ended_by_the_same_command() {
    let (megabytes, points) = if campaign_is_long() { (170, 50) } else { (20, 16) };
    killed_at_its_requests(Kind::Google, megabytes, points);
}
