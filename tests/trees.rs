//! What of a tree is sealed, and how: the options of `seal` and `open` from outside.

use std::fs;

use keyward_tests::Sandbox;

#[test]
fn what_was_left_out_is_said_and_the_rest_opens() {
    let sandbox = Sandbox::with_vault("classic");
    fs::create_dir_all(sandbox.path("work/target")).unwrap();
    for (file, content) in [
        ("work/main.c", "main"),
        ("work/main.o", "object"),
        ("work/keep.o", "kept"),
        ("work/target/x", "built"),
    ] {
        sandbox.write(file, content);
    }
    sandbox.write("patterns", "# built\n*.o\n/target/\n");
    sandbox
        .keyward([
            "seal",
            "work",
            "-o",
            "work.age",
            "--pad",
            "--exclude-from",
            "patterns",
            "--exclude",
            "!keep.o",
        ])
        .go()
        .success()
        .stderr_has("Left out, as asked: 2 names.");
    let alice = |words: &[&str]| sandbox.emulator().token("alice.token").keyward(words).go();
    alice(&["open", "work.age", "-C", "out"]).success();
    assert_eq!(sandbox.names("out/work"), ["keep.o", "main.c"]);
    // zstd and tar pass over the padding.
    alice(&["open", "work.age", "-o", "work.tar.zst"]).success();
    fs::create_dir(sandbox.path("plain")).unwrap();
    sandbox.run("tar").args(["-x", "--zstd", "-f", "work.tar.zst", "-C", "plain"]).go().success();
    assert_eq!(sandbox.names("plain/work"), ["keep.o", "main.c"]);

    sandbox
        .keyward(["seal", "work", "-o", "other.age", "--exclude", "a{b"])
        .go()
        .code(2)
        .calm_error()
        .stderr_has("\"a{b\" is no pattern");
    sandbox
        .keyward(["seal", "work/main.c", "-o", "other.age", "--pad"])
        .go()
        .code(2)
        .calm_error()
        .stderr_has("sealed as it is and cannot be padded");
    sandbox.absent("other.age");
}
