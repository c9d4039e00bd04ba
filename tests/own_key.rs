//! Archives with a key of their own: what opening one exposes is that one.

use keyward_tests::{Fault, Kind, Message, Sandbox, Store, read_trace};

use crate::places::{stores, with_variables};

const CUSTODY: u8 = 0x83;

/// A vault that two of three open together, and a note to seal.
pub(crate) fn two_of_three() -> Sandbox {
    let sandbox = Sandbox::new();
    for (file, serial) in
        [("alice.token", 11_110_001), ("bob.token", 11_110_002), ("carol.token", 11_110_003)]
    {
        sandbox.new_token(file, serial);
    }
    sandbox
        .emulator()
        .token("alice.token")
        .token("bob.token")
        .token("carol.token")
        .keyward([
            "init",
            "--allow-emulated",
            "--yes",
            "--token",
            "alice=11110001",
            "--token",
            "bob=11110002",
        ])
        .args(["--token", "carol=11110003", "--policy", "2 of (alice, bob, carol)"])
        .go()
        .success();
    sandbox.write("note", "about one\n");
    sandbox
}

/// The same with an archive that has its own key and one that has not.
fn with_archives() -> Sandbox {
    let sandbox = two_of_three();
    sandbox.keyward(["seal", "note", "-o", "own.age", "--own-key"]).go().success().stderr_has("its own key");
    sandbox.keyward(["seal", "note", "-o", "epoch.age"]).go().success().stderr_has("epoch 1");
    sandbox
}

fn key_files(sandbox: &Sandbox) -> Vec<String> {
    sandbox.names(".").into_iter().filter(|name| name.starts_with("own.age.key-")).collect()
}

fn key_file(sandbox: &Sandbox) -> String {
    let names = key_files(sandbox);
    assert_eq!(names.len(), 1, "one key file beside the archive: {names:?}");
    names[0].clone()
}

#[test]
fn two_of_three_open_it_and_the_epoch_stays_closed() {
    let sandbox = with_archives();
    let trace = sandbox.path("trace");
    // Those whose tokens are here need not be named: nothing else opens.
    sandbox
        .emulator()
        .token("alice.token")
        .token("carol.token")
        .trace(trace.clone())
        .keyward(["open", "own.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("about one\n")
        .stderr_lacks("epoch");
    let shares =
        read_trace(&trace).iter().filter(|e| e.instruction == 0x87 && e.parameters.1 == CUSTODY).count();
    assert_eq!(shares, 2, "two shares, and no other use of a custody key");
    // The other one waits for the explicit request.
    let both = || sandbox.emulator().token("alice.token").token("bob.token");
    both().keyward(["open", "epoch.age", "-o", "-"]).go().code(8).calm_error();
    both()
        .keyward(["open", "epoch.age", "-o", "-", "--through-epoch"])
        .go()
        .success()
        .stdout_is("about one\n");
    sandbox.emulator().token("bob.token").keyward(["open", "own.age", "-o", "-"]).go().code(8).calm_error();
    sandbox.keyward(["verify", "own.age"]).go().success();

    // Sealed anew it still has a key of its own, another one.
    let before = key_files(&sandbox);
    both().keyward(["reseal", "own.age"]).go().success().stderr_has("its own key").stderr_lacks("epoch");
    assert_eq!(key_files(&sandbox).len(), before.len() + 1);
    both()
        .keyward(["open", "own.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("about one\n")
        .stderr_lacks("epoch");

    // With a new epoch it is of a time before, like any other: said, and not wrong.
    sandbox.emulator().token("alice.token").keyward(["epoch", "new", "--yes"]).go().success();
    sandbox
        .keyward(["verify", "own.age"])
        .go()
        .success()
        .stdout_has("superseded: sealed under generation 1 with a key of its own, and epoch 2 is in force");
}

#[test]
fn another_key_file_is_refused_by_name() {
    let sandbox = with_archives();
    let file = key_file(&sandbox);
    let good = sandbox.read(&file);
    let open = |arguments: &[&str]| {
        sandbox
            .emulator()
            .token("alice.token")
            .token("bob.token")
            .keyward(["open", "own.age", "-o", "-"])
            .args(arguments)
            .go()
    };
    let epoch = std::fs::read(sandbox.path("vault/keys/epoch-1.g1.json")).unwrap();
    sandbox.write(&file, &epoch);
    open(&[]).code(7).calm_error().no_stdout();
    sandbox.keyward(["seal", "note", "-o", "other.age", "--own-key"]).go().success();
    let other = sandbox.names(".").into_iter().find(|name| name.starts_with("other.age.key-")).unwrap();
    sandbox.write(&file, sandbox.read(other));
    open(&[])
        .code(7)
        .calm_error()
        .no_stdout()
        .stderr_has("is not the key file that the receipt of own.age names");
    std::fs::remove_file(sandbox.path(&file)).unwrap();
    open(&[]).code(3).calm_error().no_stdout();

    // Without a receipt the file is named.
    sandbox.write("kept.json", &good);
    std::fs::remove_file(sandbox.path("own.age.receipt")).unwrap();
    open(&[]).code(7).calm_error();
    open(&["--unverified", "--key-file", "kept.json"]).success().stdout_is("about one\n");
}

#[test]
fn a_host_that_is_no_sealer_makes_none() {
    let sandbox = with_archives();
    let elsewhere = sandbox.path("elsewhere");
    let digest = sandbox.run("sha256sum").arg("vault/statements/0001.json").go().success().stdout_text();
    sandbox
        .keyward(["vault", "trust", "--allow-emulated", "--fingerprint", &digest[..64]])
        .env("KEYWARD_HOME", &elsewhere)
        .go()
        .success();
    sandbox
        .keyward(["seal", "note", "-o", "there.age", "--own-key"])
        .env("KEYWARD_HOME", &elsewhere)
        .go()
        .code(9)
        .calm_error()
        .stderr_has("no sealer");
    assert!(sandbox.names(".").iter().all(|name| !name.starts_with("there.age")));
}

/// What stands beside `NAME.age` of a sealing that failed, and the archive itself.
fn of(sandbox: &Sandbox, name: &str) -> Vec<String> {
    sandbox.names(".").into_iter().filter(|one| one.starts_with(name)).collect()
}

#[test]
fn a_seal_that_fails_leaves_no_key_file() {
    let sandbox = with_archives();
    let own = of(&sandbox, "own.age");
    // The destination exists; the source is missing; a single file cannot be padded; the folder is not there.
    sandbox.keyward(["seal", "note", "-o", "own.age", "--own-key"]).go().code(9).calm_error();
    assert_eq!(of(&sandbox, "own.age"), own);
    sandbox.keyward(["seal", "nothing", "-o", "new.age", "--own-key"]).go().code(3).calm_error();
    sandbox.keyward(["seal", "note", "-o", "new.age", "--own-key", "--pad"]).go().code(2).calm_error();
    sandbox.keyward(["seal", "note", "-o", "no/new.age", "--own-key"]).go().failure().calm_error();
    assert_eq!(of(&sandbox, "new.age"), [""; 0]);
    sandbox.absent("no");

    // The archive that is to be sealed anew does not verify: it stays as it is, with the key that it has.
    let mut archive = sandbox.read("own.age");
    *archive.last_mut().unwrap() ^= 1;
    sandbox.write("own.age", &archive);
    let both = sandbox.emulator().token("alice.token").token("bob.token");
    both.keyward(["reseal", "own.age"]).go().code(7).calm_error();
    assert_eq!(of(&sandbox, "own.age"), own);
    assert_eq!(sandbox.read("own.age"), archive);
}

#[test]
fn a_seal_that_loses_its_name_takes_its_key_file_back() {
    let (sandbox, store) = (two_of_three(), Store::start(Kind::Google));
    let seal = |name: &str, more: &[&str]| {
        let run = sandbox.keyward(["seal", "note", "-o", name, "--own-key"]).args(more);
        with_variables(run, &store).go()
    };
    let look = stores(&store, &sandbox.path("look"));
    let names = || -> Vec<String> {
        let found = look.place(store.root).unwrap().list().unwrap();
        found.iter().map(|one| one.place.name().to_string_lossy().into_owned()).collect()
    };
    let is_key = |request: &Message| request.method() == "PUT" && request.target().contains("key");

    // Somebody else takes the name once the key file is there.
    let taken = look.place(format!("{}/taken.age", store.root)).unwrap();
    let theirs = taken.clone();
    store.proxy.plan(move |request| match is_key(request) {
        true => {
            let theirs = theirs.clone();
            Fault::Change(Box::new(move |_| theirs.create_small(b"theirs").unwrap()))
        }
        false => Fault::Pass,
    });
    seal(&taken.to_string(), &[]).code(9).calm_error();
    store.proxy.plan(|_| Fault::Pass);
    assert_eq!(taken.read_small(10).unwrap(), b"theirs");
    assert_eq!(names(), ["taken.age"]);

    // The key file cannot be written: no archive; and with --resume what is sealed is not lost.
    for more in [&[][..], &["--resume"]] {
        store.proxy.plan(move |request| match is_key(request) {
            true => Fault::Answer(Message::answer(403, "<Error><Code>AccessDenied</Code></Error>")),
            false => Fault::Pass,
        });
        let name = format!("{}/new.age", store.root);
        seal(&name, more).code(10).calm_error();
        store.proxy.plan(|_| Fault::Pass);
        assert_eq!(names(), ["taken.age"], "{more:?}");
        if !more.is_empty() {
            seal(&name, more).success().stderr_has("An earlier run had sealed to the end");
            let there = names();
            assert_eq!(there.len(), 4, "archive, key file and receipt: {there:?}");
        }
    }
}
