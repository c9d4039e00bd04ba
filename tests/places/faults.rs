//! Bad days: connections that break, stores that are busy or wrong, objects that are exchanged. What
//! can be asked for again is; everything else is refused. Never is a wrong file taken for a right one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use keyward_archive::{Error, Overwrite, Place, SealOptions, Sealed, seal_tree};
use keyward_tests::{Fault, Kind, Message, Store};

use super::{Holder, noise, stores};

const LARGE: usize = (17 << 20) + 3;

fn slow_down() -> Message {
    let body = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
    Message::answer(503, body)
}

/// Every `nth` request of those that are `meant` has a fault, `times` of them in all.
fn some(
    nth: usize,
    times: usize,
    meant: impl Fn(&Message) -> bool + Send + 'static,
    fault: impl Fn() -> Fault + Send + 'static,
) -> (impl FnMut(&Message) -> Fault + Send + 'static, Arc<AtomicUsize>) {
    let (mut met, count) = (0, Arc::new(AtomicUsize::new(0)));
    let done = Arc::clone(&count);
    let plan = move |request: &Message| {
        if !meant(request) {
            return Fault::Pass;
        }
        met += 1;
        if met % nth != 0 || done.load(Ordering::SeqCst) == times {
            return Fault::Pass;
        }
        done.fetch_add(1, Ordering::SeqCst);
        fault()
    };
    (plan, count)
}

fn is_read(request: &Message) -> bool {
    request.method() == "GET" && (request.header("range").is_some() || request.header("x-ms-range").is_some())
}

fn writes(kind: Kind) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::start(kind);
    let holder = Holder::new();
    let data = noise(LARGE);
    let place = |name: &str| -> Place {
        stores(&store, temp.path()).place(format!("{}/{name}", store.root)).unwrap()
    };
    type Make = fn() -> Fault;
    let faults: [(&str, usize, usize, Make); 5] = [
        ("busy", 2, 6, || Fault::Answer(slow_down())),
        ("broken inside", 2, 4, || {
            Fault::Answer(Message::answer(500, "<Error><Code>InternalError</Code></Error>"))
        }),
        ("too many", 3, 4, || Fault::Answer(Message::answer(429, "slower"))),
        ("connections that break", 3, 4, || Fault::Drop),
        ("answers that are lost", 2, 5, || Fault::Swallow),
    ];
    for (what, nth, times, fault) in faults {
        for (size, bytes) in [("large", &data[..]), ("small", &data[..100])] {
            let place = place(&format!("{what} {size}.age"));
            let (plan, _) = some(nth, times, |request| request.method() != "GET", fault);
            store.proxy.plan(plan);
            let sealed = holder.seal(bytes, &place, Overwrite::Refuse);
            store.proxy.plan(|_| Fault::Pass);
            // A request that is lost may be one that cannot be repeated, such as the one that begins
            // an upload; then there is nothing.
            match sealed {
                Ok(_) => assert!(holder.read(&place).unwrap() == bytes, "{what} {size}"),
                Err(error) => {
                    assert!(matches!(error, Error::Store { .. }), "{what} {size}: {error}");
                    assert!(what.contains("lost") || what.contains("break"), "{what} {size}: {error}");
                    assert!(!place.exists().unwrap(), "{what} {size}: {error}");
                }
            }
        }
    }
    // A store that is gone for good is said to be, with its own words.
    store
        .proxy
        .plan(|request| if request.method() == "GET" { Fault::Pass } else { Fault::Answer(slow_down()) });
    let refused = holder.seal(&data[..100], &place("never.age"), Overwrite::Refuse);
    assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    store.proxy.plan(|_| Fault::Pass);
    assert!(!place("never.age").exists().unwrap());
}

fn reads(kind: Kind) {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::start(kind);
    let holder = Holder::new();
    let (data, other) = (noise(LARGE), vec![1; LARGE]);
    let place = stores(&store, temp.path()).place(format!("{}/read.age", store.root)).unwrap();
    holder.seal(&data, &place, Overwrite::Refuse).unwrap();

    type Make = fn() -> Fault;
    let faults: [(&str, Make); 7] = [
        ("busy", || Fault::Answer(slow_down())),
        ("broken inside", || Fault::Answer(Message::answer(500, ""))),
        ("dropped", || Fault::Drop),
        ("cut at once", || Fault::Cut(0)),
        ("cut", || Fault::Cut(70_000)),
        ("another range", || {
            Fault::Change(Box::new(|answer| {
                let range = answer.header("content-range").unwrap().replace("bytes ", "bytes 1");
                answer.set("content-range", range);
            }))
        }),
        ("another length", || {
            Fault::Change(Box::new(|answer| {
                answer.body.truncate(answer.body.len() / 2);
                let length = answer.body.len().to_string();
                answer.set("content-length", length);
            }))
        }),
    ];
    for (what, fault) in faults {
        let (plan, count) = some(2, 4, is_read, fault);
        store.proxy.plan(plan);
        let read = holder.read(&place).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(read == data, "{what}");
        assert!(count.load(Ordering::SeqCst) >= 2, "{what}");
        // For good: refused, and nothing is passed for the whole.
        let mut first = true;
        store.proxy.plan(
            move |request| {
                if !is_read(request) || std::mem::take(&mut first) { Fault::Pass } else { fault() }
            },
        );
        let refused = holder.read(&place);
        assert!(matches!(refused, Err(Error::Store { .. })), "{what}: {:?}", refused.err());
    }

    // Another object under the same name in the middle of the reading.
    store.proxy.plan(|_| Fault::Pass);
    let archive = holder.open(&place).unwrap();
    holder.seal(&other, &place, Overwrite::Replace).unwrap();
    let mut out = Vec::new();
    let read = archive.copy_to(&mut out, 2, &());
    assert!(matches!(read, Err(Error::Changed { .. })), "{read:?}");

    // A store that serves other bytes under the old tag: they do not verify.
    store.proxy.plan(|request| {
        if !is_read(request) {
            return Fault::Pass;
        }
        Fault::Change(Box::new(|answer| {
            let last = answer.body.len() - 1;
            answer.body[last] ^= 1;
        }))
    });
    let read = holder.read(&place);
    assert!(matches!(read, Err(Error::Age(_))), "{:?}", read.err());
}

/// Digits in an answer that look like a status are none: who reads is told what the status says.
#[test]
fn a_number_in_an_answer_is_no_status() {
    let temp = tempfile::tempdir().unwrap();
    for kind in Kind::ALL {
        let store = Store::start(kind);
        let place =
            stores(&store, temp.path()).place(format!("{}/416/InvalidRange.age", store.root)).unwrap();
        let body =
            "<Error><Code>NotThere</Code><Message>in 416 ms</Message><RequestId>04160</RequestId></Error>";
        for (status, missing) in [(404, true), (403, false), (400, false)] {
            store.proxy.plan(move |_| Fault::Answer(Message::answer(status, body)));
            let refused = Sealed::open(&place).err();
            match missing {
                true => assert!(matches!(refused, Some(Error::Missing { .. })), "{kind:?}: {refused:?}"),
                false => {
                    assert!(matches!(refused, Some(Error::Store { .. })), "{kind:?} {status}: {refused:?}");
                }
            }
        }
        // An object without a first byte is no archive.
        store.proxy.plan(|_| Fault::Pass);
        place.create_small(b"").unwrap();
        let refused = Sealed::open(&place).err();
        assert!(matches!(refused, Some(Error::NotAnArchive { .. })), "{kind:?}: {refused:?}");
    }
}

#[test]
fn writing_to_s3() {
    writes(Kind::S3);
}

#[test]
fn writing_to_azure() {
    writes(Kind::Azure);
}

#[test]
fn writing_to_google() {
    writes(Kind::Google);
}

#[test]
fn reading_from_s3() {
    reads(Kind::S3);
}

#[test]
fn reading_from_azure() {
    reads(Kind::Azure);
}

#[test]
fn reading_from_google() {
    reads(Kind::Google);
}

/// What a listing and one file cost, counted at the store.
#[test]
fn reads_of_a_hundred_thousand_files_are_counted() {
    let temp = tempfile::tempdir_in("/dev/shm").unwrap();
    let folder = temp.path().join("tree");
    std::fs::create_dir(&folder).unwrap();
    for number in 0..100_000_u32 {
        if number % 1000 == 0 {
            std::fs::create_dir(folder.join(format!("{:03}", number / 1000))).unwrap();
        }
        let name = format!("{:03}/a file {number:06}.txt", number / 1000);
        std::fs::write(folder.join(name), number.to_le_bytes()).unwrap();
    }
    let holder = Holder::new();
    for kind in [Kind::S3, Kind::Azure, Kind::Google] {
        let store = Store::start(kind);
        let place =
            stores(&store, &temp.path().join("state")).place(format!("{}/tree.age", store.root)).unwrap();
        let recipients = [holder.0.recipient().unwrap()];
        seal_tree(std::slice::from_ref(&folder), &recipients, &place, &SealOptions::default(), &()).unwrap();
        let cost = |work: &dyn Fn()| {
            store.proxy.plan(|_| Fault::Pass);
            work();
            let seen = store.proxy.seen();
            assert!(seen.iter().all(|one| one.method == "GET" && one.range.is_some()), "{seen:?}");
            seen.len()
        };
        let ls =
            cost(&|| assert_eq!(holder.open(&place).unwrap().index(&()).unwrap().entries.len(), 100_101));
        assert!(ls <= 3, "{kind:?}: ls {ls}");
        for number in [0_u32, 50_000, 77_777, 99_999] {
            let cat = cost(&|| {
                let path = format!("tree/{:03}/a file {number:06}.txt", number / 1000);
                let mut out = Vec::new();
                holder.open(&place).unwrap().cat(path.as_bytes(), &mut out, &()).unwrap();
                assert_eq!(out, number.to_le_bytes());
            });
            assert!(cat <= 4, "{kind:?}: cat {number} {cat}");
        }
        let some = cost(&|| {
            let only = vec![b"tree/042".to_vec()];
            let options = keyward_archive::ExtractOptions { only, ..Default::default() };
            let restored = tempfile::tempdir_in(temp.path()).unwrap();
            let report =
                holder.open(&place).unwrap().extract(&restored.path().join("x"), &options, &()).unwrap();
            assert!(report.entries >= 1001);
        });
        assert!(some <= 5, "{kind:?}: some paths {some}");
    }
}
