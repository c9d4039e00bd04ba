//! Files that other implementations of age sealed to a vault's recipients open by touch.

use std::fs;

use keyward_tests::{Noise, Peer, SUITES, Sandbox, peer};

fn vault_with_recipients(suite: &str) -> Sandbox {
    let sandbox = Sandbox::with_vault(suite);
    let recipients = sandbox.keyward(["vault", "recipients"]).go().success();
    sandbox.write("r.txt", &recipients.stdout);
    sandbox
}

/// Around one chunk, several, none, and with an empty last line.
fn contents() -> Vec<Vec<u8>> {
    let mut sizes: Vec<_> = [0, 1, 65_535, 65_536, 65_537, 1_000_003].map(|size| vec![0; size]).into();
    let mut noise = Noise::new(4);
    sizes.iter_mut().for_each(|content| noise.fill(content));
    sizes
}

#[track_caller]
fn opens_with_each_token(sandbox: &Sandbox, archive: &str, content: &[u8]) {
    for token in ["alice.token", "bob.token"] {
        sandbox
            .emulator()
            .token(token)
            .keyward(["open", archive, "--unverified", "-o", "-"])
            .go()
            .success()
            .stdout_is(content);
    }
}

#[test]
fn what_age_seals_opens_by_touch() {
    for suite in SUITES {
        let sandbox = vault_with_recipients(suite);
        for content in contents() {
            sandbox.write("plain", &content);
            sandbox
                .run(peer(Peer::Age))
                .args(["-R", "r.txt", "-o", "stock.age", "plain"])
                .go()
                .success()
                .no_stdout();
            opens_with_each_token(&sandbox, "stock.age", &content);
        }
    }
}

#[test]
fn what_age_encryption_for_typescript_seals_opens_by_touch() {
    for suite in SUITES {
        let sandbox = vault_with_recipients(suite);
        for content in contents() {
            sandbox.write("plain", &content);
            sandbox
                .run(peer(Peer::Node))
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/interop/seal.mjs"))
                .env("MODULES", peer(Peer::NodeModules).parent().unwrap())
                .go()
                .success()
                .no_stdout();
            opens_with_each_token(&sandbox, "stock.age", &content);
        }
    }
}

/// The other way round: without Keyward, the padding of a folder's archive is passed over by zstd.
#[test]
fn a_padded_archive_opens_with_age_zstd_and_tar() {
    for suite in SUITES {
        let sandbox = Sandbox::with_papers(suite);
        let mut noise = Noise::new(5);
        fs::create_dir_all(sandbox.path("work/notes")).unwrap();
        for (file, size) in [("work/large", 3_000_001), ("work/notes/small", 10), ("work/none", 0)] {
            let mut content = vec![0; size];
            noise.fill(&mut content);
            sandbox.write(file, content);
        }
        for (archive, more) in [("plain.age", &[][..]), ("padded.age", &["--pad"])] {
            sandbox.keyward(["seal", "work", "-o", archive]).args(more).go().success();
        }
        assert!(sandbox.read("padded.age").len() > sandbox.read("plain.age").len() + 1000, "it is padded");
        sandbox
            .keyward(["epoch", "open", "--export", "epoch.key", "--yes"])
            .args(["--with", "carol=carol.txt", "--with", "dave=dave.txt"])
            .go()
            .success();
        let classic = (suite == "classic").then(|| peer(Peer::ClassicAge));
        for age in classic.into_iter().chain([peer(Peer::Age)]) {
            let line = |tar: &str| {
                let line = format!("{} -d -i epoch.key padded.age | zstd -d | {tar}", age.display());
                sandbox.run("bash").args(["-o", "pipefail", "-c", &line]).go().success()
            };
            let listed = line("tar t").stdout_text();
            let mut names: Vec<&str> = listed.lines().collect();
            names.sort_unstable();
            assert_eq!(names, ["work/", "work/large", "work/none", "work/notes/", "work/notes/small"]);
            let _ = line("tar xO work/large").stdout_is(sandbox.read("work/large"));
        }
    }
}

#[test]
fn what_is_sealed_to_somebody_else_does_not_open() {
    for suite in SUITES {
        let sandbox = Sandbox::with_vault(suite);
        let stranger = sandbox.run("age-keygen").go().success().stdout_text();
        let recipient =
            stranger.lines().find_map(|line| line.split_once("public key: ")).unwrap().1.to_owned();
        sandbox.write("plain", "not for you");
        sandbox.run(peer(Peer::Age)).args(["-r", &recipient, "-o", "other.age", "plain"]).go().success();
        sandbox
            .emulator()
            .token("alice.token")
            .keyward(["open", "other.age", "--unverified", "-o", "out"])
            .go()
            .code(8)
            .calm_error()
            .no_stdout();
        sandbox.absent("out");
    }
}
