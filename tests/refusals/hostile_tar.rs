//! Tars that want to reach out of the folder they are opened into, sealed by stock age to the vault's
//! recipients: whoever knows a vault can seal to it.

use keyward_tests::{Peer, Sandbox, peer};
use tar::{EntryType, Header};

use super::refused;

/// A member with exactly this name and target, however wrong they are.
fn member(kind: EntryType, name: &[u8], target: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(if kind == EntryType::Directory { 0o755 } else { 0o644 });
    header.set_size(u64::try_from(content.len()).unwrap());
    header.set_mtime(1_700_000_000);
    header.set_uid(0);
    header.set_gid(0);
    if matches!(kind, EntryType::Char | EntryType::Block) {
        header.set_device_major(1).unwrap();
        header.set_device_minor(3).unwrap();
    }
    let fields = header.as_old_mut();
    fields.name[..name.len()].copy_from_slice(name);
    fields.linkname[..target.len()].copy_from_slice(target);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn file(name: &str) -> Vec<u8> {
    member(EntryType::Regular, name.as_bytes(), b"", b"hostile\n")
}

fn folder(name: &str) -> Vec<u8> {
    member(EntryType::Directory, name.as_bytes(), b"", b"")
}

fn link(name: &str, target: &str) -> Vec<u8> {
    member(EntryType::Symlink, name.as_bytes(), target.as_bytes(), b"")
}

fn hard_link(name: &str, target: &str) -> Vec<u8> {
    member(EntryType::Link, name.as_bytes(), target.as_bytes(), b"")
}

/// Seals a tar of these members with stock age, plain or compressed.
fn seal(sandbox: &Sandbox, members: &[Vec<u8>], compressed: bool) {
    let mut tar = members.concat();
    tar.extend_from_slice(&[0; 1024]);
    sandbox.write("hostile.tar", tar);
    let plain = if compressed {
        sandbox.run("zstd").args(["-q", "-f", "hostile.tar", "-o", "hostile.tar.zst"]).go().success();
        "hostile.tar.zst"
    } else {
        "hostile.tar"
    };
    sandbox.run(peer(Peer::Age)).args(["-R", "r.txt", "-o", "other.age", plain]).go().success();
}

fn vault() -> Sandbox {
    let sandbox = Sandbox::with_vault("classic");
    let recipients = sandbox.keyward(["vault", "recipients"]).go().success();
    sandbox.write("r.txt", &recipients.stdout);
    sandbox
}

#[test]
fn a_harmless_tar_sealed_by_age_opens() {
    let sandbox = vault();
    for compressed in [true, false] {
        seal(&sandbox, &[folder("d/"), file("d/f"), link("d/l", "f"), hard_link("d/h", "d/f")], compressed);
        sandbox
            .emulator()
            .token("alice.token")
            .keyward(["open", "other.age", "--unverified", "-C", "out"])
            .go()
            .success()
            .no_stdout();
        assert_eq!(sandbox.read("out/d/f"), b"hostile\n");
        assert_eq!(sandbox.read("out/d/h"), b"hostile\n");
        std::fs::remove_dir_all(sandbox.path("out")).unwrap();
    }
}

#[test]
fn whatever_reaches_out_of_its_folder_is_refused_by_name() {
    let sandbox = vault();
    sandbox.write("letter", "untouched");
    let absolute = sandbox.path("user/absolute");
    let absolute = absolute.to_str().unwrap();
    let device = |kind, name: &str| member(kind, name.as_bytes(), b"", b"");
    // What is sealed, the entry that the message has to name, and whether a link is made first.
    let hostile: Vec<(Vec<Vec<u8>>, &str)> = vec![
        (vec![file("../escape")], "../escape"),
        (vec![file("a/../../escape")], "a/../../escape"),
        (vec![folder("a/"), file("a/../../escape")], "a/../../escape"),
        (vec![file("..")], ".."),
        (vec![file(absolute)], absolute),
        (vec![folder("../escape/")], "../escape"),
        (vec![link("../escape", "x")], "../escape"),
        (vec![link("l", ".."), file("l/escape")], "l"),
        (vec![link("l", "/tmp"), file("l/escape")], "l"),
        (vec![folder("a/"), link("a/l", "../.."), file("a/l/escape")], "a/l"),
        (vec![folder("a/"), link("l", "a"), file("l/through")], "l/through"),
        (vec![link("l", "../letter"), member(EntryType::Regular, b"l", b"", b"changed")], "l"),
        (vec![hard_link("h", "/etc/passwd")], "h"),
        (vec![hard_link("h", "../letter")], "h"),
        (vec![hard_link("h", "nothing")], "h"),
        (vec![folder("a/"), link("l", "a"), hard_link("h", "l/x")], "h"),
        (vec![device(EntryType::Char, "null")], "null"),
        (vec![device(EntryType::Block, "disk")], "disk"),
        (vec![file("f"), file("f")], "f"),
        (vec![file("f"), file("f/below")], "f/below"),
    ];
    for (members, named) in &hostile {
        for compressed in [true, false] {
            seal(&sandbox, members, compressed);
            let outcome = sandbox
                .emulator()
                .token("alice.token")
                .keyward(["open", "other.age", "--unverified", "-C", "out"])
                .go();
            refused(&sandbox, outcome, 9).stderr_has(named);
            assert_eq!(sandbox.read("letter"), b"untouched");
            sandbox.absent("escape");
            assert!(!sandbox.path("").parent().unwrap().join("escape").exists());
        }
    }
}

#[test]
fn a_malformed_tar_is_refused() {
    let sandbox = vault();
    let mut torn = file("f");
    torn.truncate(700);
    let mut wrong_sum = file("f");
    wrong_sum[0] ^= 1;
    for members in [[torn], [wrong_sum]] {
        let mut tar = folder("d/");
        tar.extend_from_slice(&members[0]);
        sandbox.write("hostile.tar", tar);
        sandbox.run(peer(Peer::Age)).args(["-R", "r.txt", "-o", "other.age", "hostile.tar"]).go().success();
        let outcome = sandbox
            .emulator()
            .token("bob.token")
            .keyward(["open", "other.age", "--unverified", "-C", "out"])
            .go();
        refused(&sandbox, outcome, 7);
    }
}

#[test]
fn names_in_messages_do_not_steer_the_terminal() {
    let sandbox = vault();
    seal(&sandbox, &[member(EntryType::Regular, b"../\x1b[2Jred\nerror: all is well", b"", b"x")], true);
    let outcome = sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "other.age", "--unverified", "-C", "out"])
        .go();
    let outcome = refused(&sandbox, outcome, 9);
    assert!(!outcome.stderr.contains(&0x1b), "{outcome}");
    assert!(!outcome.stderr_text().contains("\nerror: all is well"), "{outcome}");
}
