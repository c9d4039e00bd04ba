//! `verify` of what is in a store: what it costs, and what it says when somebody with access to the store has been at
//! work, or the store has a bad day.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use keyward_archive::Place;
use keyward_tests::{Fault, Kind, Message, Outcome, Run, Sandbox, Store, assert_same, snapshot};
use rustix::process::{Pid, Signal, kill_process};

use crate::places::{stores, with_variables};

/// A vault, and archives of this host's series photos in a store, with their receipts.
struct InStore {
    sandbox: Sandbox,
    store: Store,
    prefix: String,
    count: usize,
}

impl InStore {
    /// `photos-01.age` and so on, sealed one after another.
    fn sealed(kind: Kind, count: usize) -> Self {
        let (sandbox, store) = (Sandbox::with_vault("classic"), Store::start(kind));
        let made = Self { sandbox, prefix: format!("{}/dir", store.root), store, count };
        for number in 1..=count {
            made.sandbox.write("photos", format!("photo {number}\n"));
            made.seal(&format!("{}/photos-{number:02}.age", made.prefix), "photos");
        }
        made
    }

    fn seal(&self, name: &str, series: &str) {
        self.keyward(&["seal", "photos", "-o", name, "--series", series]).go().success().no_stdout();
    }

    fn keyward(&self, words: &[&str]) -> Run {
        with_variables(self.sandbox.keyward(words), &self.store)
    }

    fn verify(&self, more: &[&str]) -> Outcome {
        self.keyward(&["verify", &self.prefix]).args(more).go()
    }

    /// What `verify` finds wrong, as `SUBJECT: WORD`, sorted.
    fn findings(&self, more: &[&str]) -> Vec<String> {
        let outcome = self.verify(&[more, &["--json"]].concat());
        let mut wrong = Vec::new();
        for line in outcome.stdout_text().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if line["fine"] == false {
                let (subject, word) = (line["subject"].as_str().unwrap(), line["finding"].as_str().unwrap());
                // The host's name stands at the end of what is missing.
                let subject = subject.split(" by ").next().unwrap();
                wrong.push(format!("{}: {word}", subject.trim_start_matches(&format!("{}/", self.prefix))));
            }
        }
        let code = if wrong.is_empty() { 0 } else { 7 };
        assert_eq!(outcome.exit_code(), Some(code), "{outcome}");
        wrong.sort();
        wrong
    }

    /// What is at the server, reached as somebody else would.
    fn at(&self, name: &str) -> Place {
        self.place(&format!("{}/{name}", self.prefix))
    }

    fn place(&self, name: &str) -> Place {
        stores(&self.store, &self.sandbox.path("look")).place(name).unwrap()
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        self.at(name).read_small(1 << 20).unwrap()
    }

    /// Puts the server back to where it was, whatever was done to it.
    fn restore(&self, before: &BTreeMap<String, Vec<u8>>) {
        for (name, bytes) in before {
            self.at(name).replace_small(bytes).unwrap();
        }
    }

    fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let archives = (1..=self.count).map(|number| format!("photos-{number:02}.age"));
        archives
            .flat_map(|name| [format!("{name}.receipt"), name])
            .map(|name| (name.clone(), self.bytes(&name)))
            .collect()
    }
}

/// Where requests wait for each other, three by three.
#[derive(Default)]
struct Meeting {
    come: Mutex<usize>,
    more: Condvar,
}

impl Meeting {
    /// Waits for two others, but not for ever: what reads one after another is then found to.
    fn of_three(&self) {
        let mut come = self.come.lock().unwrap();
        *come += 1;
        let all = come.next_multiple_of(3);
        self.more.notify_all();
        drop(self.more.wait_timeout_while(come, Duration::from_secs(20), |come| *come < all).unwrap());
    }
}

/// The object that a request reads; none for a listing. Google's client sends a name's punctuation encoded.
fn object(target: &str) -> Option<String> {
    let path = target.split('?').next().unwrap();
    let path = path.replace("%2F", "/").replace("%2D", "-").replace("%2E", ".");
    let (_, name) = path.rsplit_once('/').unwrap();
    name.starts_with("photos-").then(|| name.to_owned())
}

fn busy() -> Fault {
    let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    Fault::Answer(Message::answer(503, body))
}

fn denied() -> Fault {
    let body = "<Error><Code>AccessDenied</Code><Message>Not for you.</Message></Error>";
    Fault::Answer(Message::answer(403, body))
}

/// Sound archives: all are fine, each costs one read and its receipt another, and several are under way at a time.
fn what_is_whole(kind: Kind, count: usize) {
    let all = InStore::sealed(kind, count);
    // Nobody gets an answer before three ask, or a time in which they would have; and never are there more than eight.
    let (meeting, now, most) =
        (Arc::new(Meeting::default()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen_at_once = Arc::clone(&most);
    all.store.proxy.plan(move |request| {
        if object(request.target()).is_none() {
            return Fault::Pass;
        }
        seen_at_once.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let (meeting, now) = (Arc::clone(&meeting), Arc::clone(&now));
        Fault::Change(Box::new(move |_| {
            meeting.of_three();
            now.fetch_sub(1, Ordering::SeqCst);
        }))
    });
    let outcome = all.verify(&[]).success();
    let seen = all.store.proxy.seen();
    let outcome = outcome.stderr_has(&format!("{count} archives: all are what their receipts say."));
    assert!(seen.iter().all(|one| one.method == "GET"), "{seen:?}");
    let reads_of =
        |name: &str| seen.iter().filter(|one| object(&one.target).as_deref() == Some(name)).count();
    for number in 1..=count {
        let name = format!("photos-{number:02}.age");
        let reads = (reads_of(&name), reads_of(&format!("{name}.receipt")));
        assert_eq!(reads, (1, 1), "{kind:?}: reads of {name} and of its receipt: {seen:?}");
    }
    let listings = seen.iter().filter(|one| object(&one.target).is_none()).count();
    assert_eq!(listings, 1, "{kind:?}: {seen:?}");
    assert_eq!(seen.len(), 2 * count + 1, "{kind:?}: {seen:?}");
    let most = most.load(Ordering::SeqCst);
    assert!((3..=8).contains(&most), "{kind:?}: {most} reads at a time");
    // One line each, in the order of the names.
    let subjects: Vec<String> =
        outcome.stdout_text().lines().map(|line| line.split(": ok").next().unwrap().to_owned()).collect();
    let expected: Vec<String> =
        (1..=count).map(|number| format!("{}/photos-{number:02}.age", all.prefix)).collect();
    assert_eq!(subjects, expected);

    all.store.proxy.plan(|_| Fault::Pass);
    let deep = all.verify(&["--deep"]).success();
    let _ = deep.stderr_has("all are what their receipts say, to the last byte");
    // One by name: it is listed, looked at, and read like the others.
    all.store.proxy.plan(|_| Fault::Pass);
    let one = all.keyward(&["verify", &format!("{}/photos-02.age", all.prefix)]).go().success();
    let _ = one.stdout_has("photos-02.age: ok").stderr_has("1 archive:");
    assert!(all.store.proxy.seen().len() <= 4, "{:?}", all.store.proxy.seen());
    let nothing = all.keyward(&["verify", &format!("{}/nothing", all.store.root)]).go().code(3);
    let _ = nothing.no_stdout().calm_error();
}

#[test]
fn verify_reads_what_is_in_s3_once() {
    what_is_whole(Kind::S3, 12);
}

#[test]
fn verify_reads_what_is_in_azure_once() {
    what_is_whole(Kind::Azure, 3);
}

#[test]
fn verify_reads_what_is_in_google_once() {
    what_is_whole(Kind::Google, 3);
}

/// What was done at the server is found, each by its name.
fn what_was_done(kind: Kind, count: usize) {
    let all = InStore::sealed(kind, count);
    let before = all.everything();
    assert_eq!(all.findings(&["--deep"]), [""; 0]);

    // Two archives in each other's place.
    all.at("photos-01.age").replace_small(&before["photos-02.age"]).unwrap();
    all.at("photos-02.age").replace_small(&before["photos-01.age"]).unwrap();
    assert_eq!(all.findings(&[]), ["photos-01.age: reordered", "photos-02.age: reordered"]);
    all.restore(&before);

    // Another one in its place, sealed to the same holders.
    let elsewhere = format!("{}/elsewhere/other.age", all.store.root);
    all.seal(&elsewhere, "others");
    let other = all.place(&elsewhere).read_small(1 << 20).unwrap();
    all.at("photos-02.age").replace_small(&other).unwrap();
    assert_eq!(all.findings(&[]), ["photos-02.age: swapped"]);
    all.restore(&before);

    all.at("photos-02.age.receipt").remove().unwrap();
    assert_eq!(all.findings(&[]), ["photos-02.age: no-receipt", "receipt 2 of series photos: missing"]);
    all.restore(&before);

    all.at("photos-01.age").remove().unwrap();
    assert_eq!(all.findings(&[]), ["photos-01.age: missing"]);
    all.restore(&before);

    // Both are gone, in the middle and at the end.
    for name in ["photos-02.age", "photos-02.age.receipt"] {
        all.at(name).remove().unwrap();
    }
    assert_eq!(all.findings(&[]), ["receipt 2 of series photos: missing"]);
    all.restore(&before);
    let last = format!("photos-{count:02}.age");
    for name in [last.clone(), format!("{last}.receipt")] {
        all.at(&name).remove().unwrap();
    }
    assert_eq!(all.findings(&[]), [format!("receipt {count} of series photos: truncated")]);
    all.restore(&before);

    // The same beginning and length, and other bytes: who reads all of it sees that.
    let mut changed = before["photos-02.age"].clone();
    *changed.last_mut().unwrap() ^= 1;
    all.at("photos-02.age").replace_small(&changed).unwrap();
    assert_eq!(all.findings(&[]), [""; 0]);
    assert_eq!(all.findings(&["--deep"]), ["photos-02.age: swapped"]);
    let said = all.verify(&["--deep"]).code(7).calm_error();
    let _ = said
        .stdout_has("photos-02.age: it is not the archive that its receipt names: its content is another");
    all.restore(&before);
    // Shorter, which the listing shows; and nothing of it left.
    for left in [changed.len() - 1, 0] {
        all.at("photos-02.age").replace_small(&changed[..left]).unwrap();
        assert_eq!(all.findings(&[]), ["photos-02.age: swapped"], "{kind:?}: {left} bytes");
    }
    all.restore(&before);
    assert_eq!(all.findings(&["--deep"]), [""; 0]);
}

#[test]
fn verify_finds_what_was_done_in_s3() {
    what_was_done(Kind::S3, 12);
}

#[test]
fn verify_finds_what_was_done_in_azure() {
    what_was_done(Kind::Azure, 3);
}

#[test]
fn verify_finds_what_was_done_in_google() {
    what_was_done(Kind::Google, 3);
}

/// A store that is busy for a while, or drops connections, is asked again; one that says no is said to.
#[test]
fn verify_survives_a_burst_of_503_and_changes_nothing_where_a_store_fails() {
    let all = InStore::sealed(Kind::S3, 12);
    assert_eq!(all.findings(&[]), [""; 0]);
    let before = snapshot(&all.sandbox.path("home"));
    for (what, fault) in [("busy", busy as fn() -> Fault), ("dropped", || Fault::Drop)] {
        let met = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&met);
        // The listing, then a burst over all that are under way at a time, then one now and then.
        all.store.proxy.plan(move |_| match count.fetch_add(1, Ordering::SeqCst) {
            0 | 2..=9 | 20 | 25 | 30 => fault(),
            _ => Fault::Pass,
        });
        all.verify(&[]).success().stderr_has("12 archives: all are what their receipts say.");
        assert!(met.load(Ordering::SeqCst) >= 25 + 12, "{what}");
    }

    // Refused in the middle: the earliest of them is named, whichever answer came first.
    for name in ["photos-04.age", "photos-07.age.receipt"] {
        all.store.proxy.plan(move |request| match object(request.target()) {
            Some(found) if found == name || found == "photos-09.age" => denied(),
            _ => Fault::Pass,
        });
        let refused = all.verify(&[]).code(10).no_stdout().calm_error();
        let _ = refused.stderr_has(&format!("/dir/{name}: ")).stderr_has("Nothing was changed.");
    }
    all.store.proxy.plan(|_| Fault::Pass);

    // Nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let unreachable = all
        .keyward(&["verify", &all.prefix])
        .env("AWS_ENDPOINT_URL_S3", format!("http://{nobody}"))
        .go()
        .code(10)
        .no_stdout()
        .calm_error();
    let _ = unreachable.stderr_has("Nothing was changed.");
    assert_same(&before, &snapshot(&all.sandbox.path("home")));
}

/// Ctrl-C ends it: at once while it waits for a store that does not answer, and after the read under way with `--deep`.
#[test]
fn verify_of_a_store_ends_when_it_is_interrupted() {
    let all = InStore::sealed(Kind::S3, 12);
    for (deep, gone_for_good) in [(false, true), (true, false)] {
        let process = Arc::new(AtomicI32::new(0));
        let to_end = Arc::clone(&process);
        let mut met = 0;
        all.store.proxy.plan(move |_| {
            met += 1;
            if met < 6 {
                return Fault::Pass;
            }
            if met == 6 {
                let process = loop {
                    match Pid::from_raw(to_end.load(Ordering::SeqCst)) {
                        Some(process) => break process,
                        None => std::thread::yield_now(),
                    }
                };
                kill_process(process, Signal::INT).unwrap();
            }
            if gone_for_good { busy() } else { Fault::Pass }
        });
        let words: &[&str] = if deep { &["verify", "--deep", &all.prefix] } else { &["verify", &all.prefix] };
        let mut child = all.keyward(words).start();
        process.store(child.id().cast_signed(), Ordering::SeqCst);
        assert_eq!(child.wait().unwrap().code(), Some(130), "deep: {deep}");
    }
    all.store.proxy.plan(|_| Fault::Pass);
    all.verify(&[]).success();
}
