//! Many archives in one run: one PIN, and a touch each or the epoch once.

use std::path::Path;

use keyward_tests::{Dialog, PIN, Sandbox, read_trace};

const NAMES: [&str; 4] = ["apples", "bread", "cheese", "dates"];
/// VERIFY and GENERAL AUTHENTICATE (SP 800-73-4, part 2).
const VERIFY: u8 = 0x20;
const AUTHENTICATE: u8 = 0x87;
/// The slots of the archive key and the custody key.
const ARCHIVE: u8 = 0x82;
const CUSTODY: u8 = 0x83;

/// A vault, a folder `cloud` of four archives, and something in it that is none.
fn with_archives() -> Sandbox {
    let sandbox = Sandbox::with_vault("hybrid");
    std::fs::create_dir(sandbox.path("cloud")).unwrap();
    for name in NAMES {
        std::fs::create_dir(sandbox.path(name)).unwrap();
        sandbox.write(format!("{name}/note"), format!("about {name}\n"));
        sandbox.keyward(["seal", name, "-o", &format!("cloud/{name}.age")]).go().success();
    }
    sandbox.write("cloud/README", "no archive");
    sandbox
}

fn all_opened(sandbox: &Sandbox) {
    assert_eq!(sandbox.names("out"), NAMES);
    for name in NAMES {
        let note = sandbox.read(format!("out/{name}/{name}/note"));
        assert_eq!(note, format!("about {name}\n").into_bytes());
    }
}

/// How often a PIN was sent, and how often each of the two keys was used.
fn counts(trace: &Path) -> (usize, usize, usize) {
    let exchanges = read_trace(trace);
    let used = |slot: u8| {
        exchanges.iter().filter(|e| e.instruction == AUTHENTICATE && e.parameters.1 == slot).count()
    };
    // An empty VERIFY asks for the tries.
    let pins = exchanges.iter().filter(|e| e.instruction == VERIFY && e.command.len() > 10).count();
    (pins, used(ARCHIVE), used(CUSTODY))
}

#[test]
fn one_pin_and_a_touch_for_each() {
    let sandbox = with_archives();
    let trace = sandbox.path("trace");
    let run = sandbox
        .emulator()
        .token("alice.token")
        .trace(trace.clone())
        .keyward(["open", "--all", "cloud", "-C", "out"])
        .env_remove("KEYWARD_PIN")
        .env("TERM", "xterm");
    let mut dialog = Dialog::start(&run);
    dialog.answer("Open epoch 1? [y/N]", "n");
    dialog.answer_hidden("PIN for alice", PIN);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    assert_eq!(shown.matches("PIN for alice").count(), 1, "{shown}");
    assert_eq!(shown.matches("Touch alice to open cloud/").count(), 4, "{shown}");
    assert!(
        shown.contains("1 touch opens epoch 1 (4 archives here, and every other of it), or 4 touches"),
        "{shown}"
    );
    all_opened(&sandbox);
    let (_, archive, custody) = counts(&trace);
    assert_eq!((archive, custody), (4, 0));

    // Once more: nothing is left to do, and nobody is asked.
    sandbox
        .keyward(["open", "--all", "cloud", "-C", "out"])
        .go()
        .success()
        .stderr_has("There is nothing left to open.");
}

#[test]
fn the_epoch_by_one_touch() {
    let sandbox = with_archives();
    let trace = sandbox.path("trace");
    let run = sandbox
        .emulator()
        .token("alice.token")
        .trace(trace.clone())
        .keyward(["open", "--all", "cloud", "-C", "out"])
        .env_remove("KEYWARD_PIN")
        .env("TERM", "xterm");
    let mut dialog = Dialog::start(&run);
    dialog.answer("Open epoch 1? [y/N]", "y");
    dialog.answer_hidden("PIN for alice", PIN);
    let (code, shown) = dialog.end();
    assert_eq!(code, Some(0), "{shown}");
    all_opened(&sandbox);
    assert_eq!(counts(&trace), (1, 0, 1));
}

#[test]
fn off_a_terminal_the_option_says_it() {
    let sandbox = with_archives();
    let trace = sandbox.path("trace");
    let also = ["--also", "cloud/bread.age", "--also", "cloud/cheese.age", "--also", "cloud/dates.age"];
    sandbox
        .emulator()
        .token("bob.token")
        .trace(trace.clone())
        .keyward(["open", "cloud/apples.age", "-C", "out", "--through-epoch"])
        .args(also)
        .go()
        .success()
        .no_stdout();
    all_opened(&sandbox);
    assert_eq!(counts(&trace), (1, 0, 1));
    sandbox
        .emulator()
        .token("bob.token")
        .keyward(["open", "--all", "cloud", "-C", "each"])
        .go()
        .success()
        .stderr_has(
            "Epoch 1: 4 touches, one for each archive; --through-epoch opens them through the epoch.",
        );
}

#[test]
fn a_run_that_stops_goes_on_where_it_stopped() {
    let sandbox = with_archives();
    sandbox.write("cloud/bread.age", "no archive at all");
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "--all", "cloud", "-C", "out"])
        .go()
        .code(7)
        .calm_error()
        .stderr_has("1 archive was opened before it, of 4.");
    assert_eq!(sandbox.names("out"), ["apples"]);
    std::fs::remove_file(sandbox.path("cloud/bread.age")).unwrap();
    sandbox.keyward(["seal", "bread", "-o", "cloud/bread.age"]).go().success();
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "--all", "cloud", "-C", "out"])
        .go()
        .success()
        .stderr_has("out/apples is there; cloud/apples.age is passed over.");
    all_opened(&sandbox);
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let sandbox = with_archives();
    let open = |arguments: &[&str]| sandbox.keyward(["open"]).args(arguments).go();
    open(&["--all", "cloud/apples.age", "-C", "out"]).code(2).calm_error().stderr_has("--all");
    open(&["cloud/apples.age", "--also", "./cloud/apples.age", "-C", "out"])
        .code(2)
        .calm_error()
        .stderr_has("Two archives would go to out/apples.");
    open(&["--all", "cloud", "-o", "out"]).code(2);
    open(&["--all", "apples", "-C", "out"]).code(3).calm_error().stderr_has("no archive in apples");
    sandbox.absent("out");
}
