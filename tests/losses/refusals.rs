//! What somebody gets who may write to the vault's folder, or who holds less than the policy asks for.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use keyward_tests::{Emulator, Noise, Outcome, PIN, Run, SUITES, Sandbox, campaign_is_long, read_trace};
use serde_json::Value;

use super::{epochs, generation, opens_with_both_papers, seal, with, with_both_papers};

const GENERAL_AUTHENTICATE: u8 = 0x87;
const VERIFY: u8 = 0x20;
const CUSTODY: u8 = 0x83;

#[track_caller]
fn seal_is_refused(sandbox: &Sandbox) -> Outcome {
    sandbox.write("letter", "dear alice\n");
    let outcome = sandbox.keyward(["seal", "letter", "-o", "x.age"]).go().code(7).calm_error().no_stdout();
    sandbox.absent("x.age");
    outcome
}

#[track_caller]
fn papers_are_refused(sandbox: &Sandbox, archive: &str) -> Outcome {
    let outcome =
        with_both_papers(sandbox, &["open", archive, "-o", "out"]).go().code(7).calm_error().no_stdout();
    sandbox.absent("out");
    outcome
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// Canonical JSON, as far as a vault's files have it: sorted members and no space.
fn canonical(value: &Value) -> Vec<u8> {
    fn sorted(value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let mut names: Vec<_> = members.keys().collect();
                names.sort();
                Value::Object(names.into_iter().map(|name| (name.clone(), sorted(&members[name]))).collect())
            }
            Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
            other => other.clone(),
        }
    }
    serde_json::to_vec(&sorted(value)).unwrap()
}

fn digest(sandbox: &Sandbox, file: &str) -> String {
    sandbox.run("sha256sum").arg(file).go().success().stdout_text()[..64].to_owned()
}

fn copy_folder(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn replace_vault(sandbox: &Sandbox, other: &Path) {
    fs::remove_dir_all(sandbox.path("vault")).unwrap();
    copy_folder(other, &sandbox.path("vault"));
}

/// Another host that trusts the vault, of generation 1, with a home of its own.
fn first_trust(sandbox: &Sandbox, home: &str, fingerprint: &str) -> Outcome {
    sandbox
        .keyward(["vault", "trust", "--allow-emulated", "--fingerprint", fingerprint])
        .env("KEYWARD_HOME", sandbox.path(home))
        .go()
}

/// A key that an attacker makes with OpenSSH, and the line that a statement gives an admin.
fn mallory(sandbox: &Sandbox) -> String {
    sandbox
        .run("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-C", "", "-f", "mallory"])
        .go()
        .success();
    String::from_utf8(sandbox.read("mallory.pub")).unwrap().trim().to_owned()
}

/// Signs a statement of the vault as mallory, under this admin's name.
fn sign_as_mallory(sandbox: &Sandbox, statement: &str, admin: &str) {
    let path = format!("vault/statements/{statement}.json");
    sandbox
        .run("ssh-keygen")
        .args(["-q", "-Y", "sign", "-n", "keyward-vault", "-f", "mallory", &path])
        .go()
        .success();
    fs::rename(
        sandbox.path(format!("{path}.sig")),
        sandbox.path(format!("vault/statements/{statement}.{admin}.sig")),
    )
    .unwrap();
}

/// A recipient of which the attacker has the identity.
fn mallorys_recipient(sandbox: &Sandbox, suite: &str) -> String {
    let kind: &[&str] = if suite == "hybrid" { &["-pq"] } else { &[] };
    sandbox.run("age-keygen").args(kind).args(["-o", "mallory.age-key"]).go().success();
    sandbox.run("age-keygen").args(["-y", "mallory.age-key"]).go().success().stdout_text().trim().to_owned()
}

#[test]
fn an_attackers_vault_made_to_the_real_tokens_is_refused() {
    for (suite, same_id) in [("hybrid", false), ("hybrid", true), ("classic", true)] {
        let sandbox = Sandbox::with_papers(suite);
        let real = digest(&sandbox, "vault/statements/0001.json");
        let mut statement = json(&sandbox.read("vault/statements/0001.json"));
        let key = mallory(&sandbox);
        // The tokens, papers and policy of the real one; the attacker's admin and epoch.
        statement["admins"] = serde_json::json!({ "mallory": key });
        statement["thresholds"] = serde_json::json!({ "root": 1, "routine": 1 });
        statement["epochs"][0]["recipient"] = mallorys_recipient(&sandbox, suite).into();
        if !same_id {
            statement["vault"] = "00112233445566778899aabbccddeeff".into();
        }
        for name in sandbox.names("vault/statements") {
            fs::remove_file(sandbox.path("vault/statements").join(name)).unwrap();
        }
        sandbox.write("vault/statements/0001.json", canonical(&statement));
        sign_as_mallory(&sandbox, "0001", "mallory");
        let _ = seal_is_refused(&sandbox);

        // It is a vault that agrees with itself: only its fingerprint tells it from the real one.
        let theirs = digest(&sandbox, "vault/statements/0001.json");
        first_trust(&sandbox, "other-home", &real).code(7).calm_error().no_stdout();
        sandbox.absent("other-home/pins");
        first_trust(&sandbox, "careless-home", &theirs).success();
    }
}

#[test]
fn an_attackers_vault_made_with_the_program_is_refused() {
    let sandbox = Sandbox::with_papers("hybrid");
    let theirs = Sandbox::new();
    theirs.init("hybrid", "alice.token", "bob.token");
    replace_vault(&sandbox, &theirs.path("vault"));
    let _ = seal_is_refused(&sandbox);
}

#[test]
fn an_older_generation_is_refused() {
    for suite in SUITES {
        let sandbox = Sandbox::with_papers(suite);
        seal(&sandbox, "letter.age");
        copy_folder(&sandbox.path("vault"), &sandbox.path("old"));
        with_both_papers(&sandbox, &["revoke", "alice", "--yes"]).go().success();
        replace_vault(&sandbox, &sandbox.path("old"));
        seal_is_refused(&sandbox).stderr_has("older").stderr_has("generation 2");
        papers_are_refused(&sandbox, "letter.age").stderr_has("older");
        let outcome =
            sandbox.emulator().token("alice.token").keyward(["open", "letter.age", "-o", "out"]).go();
        outcome.code(7).calm_error().no_stdout();
        // Nor can an admin be led to build on it.
        with_both_papers(&sandbox, &["epoch", "new", "--yes"]).go().code(7).calm_error();
        assert_eq!(sandbox.names("vault/statements").len(), 5);
    }
}

#[test]
fn two_forks_of_one_parent_are_told_apart() {
    let sandbox = Sandbox::with_papers("hybrid");
    seal(&sandbox, "letter.age");
    let fork = sandbox.copy();
    with_both_papers(&sandbox, &["revoke", "alice", "--yes"]).go().success();
    with_both_papers(&fork, &["epoch", "new", "--yes"]).go().success();
    let ours = sandbox.path("ours");
    copy_folder(&sandbox.path("vault"), &ours);
    replace_vault(&sandbox, &fork.path("vault"));
    let _ = seal_is_refused(&sandbox);
    let _ = papers_are_refused(&sandbox, "letter.age");

    // A fork that has grown longer is still a fork.
    with_both_papers(&fork, &["epoch", "new", "--yes"]).go().success();
    replace_vault(&sandbox, &fork.path("vault"));
    let _ = seal_is_refused(&sandbox);

    // And a generation of the fork on top of ours does not follow it.
    replace_vault(&sandbox, &ours);
    for name in fork.names("vault/statements").iter().filter(|name| name.starts_with("0003")) {
        let name = Path::new("vault/statements").join(name);
        sandbox.write(&name, fork.read(&name));
    }
    let _ = seal_is_refused(&sandbox);
}

#[test]
fn a_gap_in_the_generations_is_refused() {
    let sandbox = Sandbox::with_papers("classic");
    let stranger = digest(&sandbox, "vault/statements/0001.json");
    for _ in 0..2 {
        with_both_papers(&sandbox, &["epoch", "new", "--yes"]).go().success();
    }
    for name in sandbox.names("vault/statements").iter().filter(|name| name.starts_with("0002")) {
        fs::remove_file(sandbox.path("vault/statements").join(name)).unwrap();
    }
    // Who has seen generation 3 misses nothing; who comes new cannot follow the chain.
    first_trust(&sandbox, "other-home", &stranger).code(7).calm_error().no_stdout();
    sandbox.absent("other-home/pins");
}

/// The vault's first key file.
const KEY_FILE: &str = "vault/keys/epoch-1.g1.json";

#[test]
fn an_edited_key_file_is_refused() {
    let sandbox = Sandbox::with_papers("hybrid");
    seal(&sandbox, "letter.age");
    let original = sandbox.read(KEY_FILE);
    let mut noise = Noise::new(41);
    for round in 0..if campaign_is_long() { 400 } else { 16 } {
        let mut changed = original.clone();
        match round % 4 {
            0 => changed[noise.below(original.len())] ^= 1 << noise.below(8),
            1 => changed.truncate(noise.below(original.len())),
            2 => changed.insert(noise.below(original.len()), b' '),
            _ => drop(changed.remove(noise.below(original.len()))),
        }
        sandbox.write(KEY_FILE, changed);
        let _ = papers_are_refused(&sandbox, "letter.age");
    }
    // Who opens alone needs no key file.
    sandbox
        .emulator()
        .token("bob.token")
        .keyward(["open", "letter.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("dear alice\n");
    sandbox.write(KEY_FILE, original);
    opens_with_both_papers(&sandbox, "letter.age");
}

#[test]
fn shares_that_changed_places_are_refused() {
    let sandbox = Sandbox::with_papers("classic");
    seal(&sandbox, "letter.age");
    let file = json(&sandbox.read(KEY_FILE));
    let leaves = file["leaves"].as_array().unwrap();
    assert_eq!(leaves.len(), 4);
    for (one, other) in [(2, 3), (0, 1), (0, 2)] {
        for members in [&["sealed", "share"][..], &["sealed"], &["share"]] {
            let mut changed = file.clone();
            for member in members {
                changed["leaves"][one][*member] = leaves[other][*member].clone();
                changed["leaves"][other][*member] = leaves[one][*member].clone();
            }
            sandbox.write(KEY_FILE, canonical(&changed));
            let _ = papers_are_refused(&sandbox, "letter.age");
        }
    }
    // The file itself is in the form that was written here.
    sandbox.write(KEY_FILE, canonical(&file));
    opens_with_both_papers(&sandbox, "letter.age");
}

#[test]
fn a_key_file_of_another_vault_or_generation_is_refused() {
    let sandbox = Sandbox::with_papers("hybrid");
    seal(&sandbox, "letter.age");
    with_both_papers(&sandbox, &["epoch", "new", "--yes"]).go().success();
    assert_eq!(sandbox.names("vault/keys"), ["epoch-1.g1.json", "epoch-2.g2.json"]);
    let original = sandbox.read(KEY_FILE);
    let second = sandbox.read("vault/keys/epoch-2.g2.json");
    let others = Sandbox::with_papers("classic");
    for other in [&second, &others.read(KEY_FILE)] {
        sandbox.write(KEY_FILE, other);
        sandbox.write("vault/keys/epoch-2.g2.json", &original);
        let _ = papers_are_refused(&sandbox, "letter.age");
        sandbox
            .keyward(["epoch", "open", "1", "--export", "out", "--yes"])
            .args(with(&["carol", "dave"]))
            .go()
            .code(7)
            .calm_error();
        sandbox.absent("out");
    }
    // One that is gone is named.
    sandbox.write("vault/keys/epoch-2.g2.json", &second);
    fs::remove_file(sandbox.path(KEY_FILE)).unwrap();
    with_both_papers(&sandbox, &["open", "letter.age", "-o", "out"])
        .go()
        .failure()
        .calm_error()
        .stderr_has("epoch-1.g1.json")
        .no_stdout();
    sandbox.write(KEY_FILE, &original);
    opens_with_both_papers(&sandbox, "letter.age");
}

#[test]
fn one_key_under_two_names_is_refused() {
    let sandbox = Sandbox::with_papers("classic");
    let statement = json(&sandbox.read("vault/statements/0001.json"));
    let carols = statement["holders"]["carol"]["recipient"].as_str().unwrap();
    let refused = |run: Run| {
        let outcome = run.args(with(&["carol", "dave"])).go().failure().calm_error().no_stdout();
        assert!(matches!(outcome.exit_code(), Some(2 | 7 | 9)), "{outcome}");
        assert_eq!(generation(&sandbox), 1);
        assert!(!sandbox.names("vault").contains(&"drafts".to_owned()), "a draft was left");
        outcome
    };
    refused(sandbox.keyward(["holder", "add", "erin", "--yes", "--recipient", carols]))
        .stderr_has("same key")
        .stderr_has("carol")
        .stderr_has("erin");
    // A token that is bob's already is no second holder.
    refused(
        sandbox
            .emulator()
            .token("bob.token")
            .keyward(["holder", "add", "erin", "--yes", "--token", "11110002"]),
    )
    .stderr_has("bob");
    // An age identity twice.
    let kind = mallorys_recipient(&sandbox, "classic");
    with_both_papers(&sandbox, &["holder", "add", "erin", "--yes", "--recipient", &kind]).go().success();
    let outcome = with_both_papers(&sandbox, &["holder", "add", "frank", "--yes", "--recipient", &kind])
        .go()
        .failure()
        .calm_error()
        .stderr_has("same key");
    assert!(matches!(outcome.exit_code(), Some(2 | 7 | 9)), "{outcome}");
}

/// The draft that waits, and its folder.
fn draft(sandbox: &Sandbox) -> String {
    let drafts = sandbox.names("vault/drafts");
    assert_eq!(drafts.len(), 1, "{drafts:?}");
    format!("vault/drafts/{}", drafts[0])
}

/// Carol alone wants alice out, which asks for two of the four admins.
fn one_signature_of_two(sandbox: &Sandbox) -> String {
    sandbox
        .keyward(["revoke", "alice", "--yes"])
        .args(with(&["carol"]))
        .go()
        .code(8)
        .calm_error()
        .stderr_has("vault sign");
    assert_eq!(generation(sandbox), 1);
    draft(sandbox)
}

/// Puts the draft's files where generation 2 belongs, without regard for what is missing.
fn force(sandbox: &Sandbox, draft: &str) {
    for name in sandbox.names(draft) {
        if name.starts_with("0002") {
            sandbox.write(format!("vault/statements/{name}"), sandbox.read(format!("{draft}/{name}")));
        }
    }
    for name in sandbox.names(format!("{draft}/keys")) {
        sandbox.write(format!("vault/keys/{name}"), sandbox.read(format!("{draft}/keys/{name}")));
    }
}

/// Generation 2 is there and counts for nothing: alice still opens what is sealed.
fn still_generation_1(sandbox: &Sandbox) {
    let shown = sandbox.keyward(["vault", "show", "--json"]).go();
    if shown.exit_code() == Some(0) {
        assert_eq!(json(&shown.stdout)["generation"], 1, "{shown}");
        seal(sandbox, "forced.age");
        sandbox
            .emulator()
            .token("alice.token")
            .keyward(["open", "forced.age", "-o", "-"])
            .go()
            .success()
            .stdout_is("dear alice\n");
        fs::remove_file(sandbox.path("forced.age")).unwrap();
    } else {
        shown.code(7).calm_error().no_stdout();
        let _ = seal_is_refused(sandbox);
    }
}

#[test]
fn a_change_of_admins_without_the_old_threshold_is_not_in_force() {
    let sandbox = Sandbox::with_papers("hybrid");
    let draft = one_signature_of_two(&sandbox);
    force(&sandbox, &draft);
    still_generation_1(&sandbox);
}

#[test]
fn a_signature_counts_once() {
    let sandbox = Sandbox::with_papers("hybrid");
    let draft = one_signature_of_two(&sandbox);
    let carols = sandbox.read(format!("{draft}/0002.carol.sig"));
    for second in ["dave", "bob", "alice"] {
        let copy = format!("{draft}/0002.{second}.sig");
        sandbox.write(&copy, &carols);
        // Signing again as carol adds nothing.
        let outcome =
            sandbox.keyward(["vault", "sign", "--yes"]).args(with(&["carol"])).go().failure().calm_error();
        assert!(matches!(outcome.exit_code(), Some(7 | 8)), "{outcome}");
        assert_eq!(generation(&sandbox), 1);
        fs::remove_file(sandbox.path(&copy)).unwrap();
    }
    sandbox.write(format!("{draft}/0002.dave.sig"), &carols);
    force(&sandbox, &draft);
    still_generation_1(&sandbox);
}

#[test]
fn a_new_admin_set_that_signs_itself_is_not_in_force() {
    let sandbox = Sandbox::with_papers("hybrid");
    let key = mallory(&sandbox);
    let mut statement = json(&sandbox.read("vault/statements/0001.json"));
    statement["previous"] = digest(&sandbox, "vault/statements/0001.json").into();
    statement["generation"] = 2.into();
    statement["admins"] = serde_json::json!({ "mallory": key });
    statement["thresholds"] = serde_json::json!({ "root": 1, "routine": 1 });
    sandbox.write("vault/statements/0002.json", canonical(&statement));
    sign_as_mallory(&sandbox, "0002", "mallory");
    still_generation_1(&sandbox);
    // Under an admin's name it is no better.
    fs::rename(
        sandbox.path("vault/statements/0002.mallory.sig"),
        sandbox.path("vault/statements/0002.alice.sig"),
    )
    .unwrap();
    still_generation_1(&sandbox);
}

#[test]
fn a_share_made_to_look_like_an_archive_does_not_reach_the_custody_key() {
    for suite in SUITES {
        let sandbox = Sandbox::with_papers(suite);
        let file = json(&sandbox.read(KEY_FILE));
        let leaf = &file["leaves"][0];
        assert_eq!(leaf["holder"], "alice");
        sandbox.write("leaf.base64", leaf["sealed"].as_str().unwrap());
        let sealed = sandbox.run("base64").args(["-d", "leaf.base64"]).go().success();
        assert!(sealed.stdout.starts_with(b"age-encryption.org/v1\n"));
        sandbox.write("photos.age", &sealed.stdout);
        // The token whose custody key it is sealed to, with and without a vault, and as its own share.
        let commands: [&[&str]; 5] = [
            &["open", "photos.age", "-o", "out"],
            &["open", "photos.age", "-C", "out", "--unverified"],
            &["open", "photos.age", "-o", "out", "--unverified"],
            &["ls", "photos.age", "--unverified"],
            &["reseal", "photos.age", "--unverified"],
        ];
        for command in commands {
            custody_key_rests(&sandbox, sandbox.emulator().token("alice.token"), command, true);
        }
        // Without a vault it is no test vault either, and the PIN comes from a file.
        custody_key_rests(&sandbox, sandbox.emulator().token("alice.token"), commands[2], false);

        // The token does open its share when the epoch is asked for, and then the trace shows it.
        let trace = sandbox.path("trace.jsonl");
        sandbox
            .emulator()
            .token("alice.token")
            .trace(trace.clone())
            .keyward(["epoch", "open", "--export", "epoch.txt", "--yes"])
            .go()
            .success();
        assert!(read_trace(&trace).iter().any(|exchange| {
            exchange.instruction == GENERAL_AUTHENTICATE && exchange.parameters.1 == CUSTODY
        }));
    }
}

/// The command is refused, and the token is asked neither for its custody key nor given a PIN.
#[track_caller]
fn custody_key_rests(sandbox: &Sandbox, token: Emulator<'_>, command: &[&str], vault: bool) {
    let trace = sandbox.path("trace.jsonl");
    // Each command is looked at by itself.
    let _ = fs::remove_file(&trace);
    let mut run = token.trace(trace.clone()).keyward(command);
    if !vault {
        let pin = sandbox.write("pin.txt", PIN);
        fs::set_permissions(&pin, Permissions::from_mode(0o600)).unwrap();
        run = run.env_remove("KEYWARD_VAULT").env_remove("KEYWARD_PIN").env("KEYWARD_PIN_FILE", pin);
    }
    let outcome = run.go().failure().calm_error().no_stdout();
    assert!(matches!(outcome.exit_code(), Some(7 | 8)), "{outcome}");
    sandbox.absent("out");
    // A token that was not even asked leaves no trace.
    if trace.exists() {
        for exchange in read_trace(&trace) {
            let uses_custody =
                exchange.instruction == GENERAL_AUTHENTICATE && exchange.parameters.1 == CUSTODY;
            let sends_pin = exchange.instruction == VERIFY && exchange.command.len() > 10;
            assert!(!uses_custody && !sends_pin, "{command:?}: {exchange:?}");
        }
    }
}

#[test]
fn holders_of_an_older_epoch_still_open_what_was_sealed_under_it() {
    let sandbox = Sandbox::with_papers("classic");
    seal(&sandbox, "letter.age");
    let recipient = mallorys_recipient(&sandbox, "classic");
    // From now on two papers and erin are needed together.
    with_both_papers(&sandbox, &["holder", "add", "erin", "--yes", "--recipient", &recipient])
        .args(["--policy", "alice or bob or (carol and dave and erin)"])
        .go()
        .success();
    assert_eq!(epochs(&sandbox), [1, 2]);
    opens_with_both_papers(&sandbox, "letter.age");
    seal(&sandbox, "later.age");
    with_both_papers(&sandbox, &["open", "later.age", "-o", "out"])
        .go()
        .code(8)
        .calm_error()
        .stderr_has("erin is missing")
        .no_stdout();
    sandbox.absent("out");
}

/// Puts an epoch in force whose key file was made wrong: two leaves of it have changed places, and the statement, which
/// an admin signed in good faith, names the file as it is.
fn epoch_with_swapped_leaves(sandbox: &Sandbox, one: &str, other: &str) {
    let fork = sandbox.copy();
    with_both_papers(&fork, &["epoch", "new", "--yes"]).go().success();
    let number = format!("{:04}", generation(&fork));
    let mut statement = json(&fork.read(format!("vault/statements/{number}.json")));
    let epoch = statement["epochs"].as_array().unwrap().len();
    let name = format!("epoch-{epoch}.g{}.json", generation(&fork));
    let mut file = json(&fork.read(format!("vault/keys/{name}")));
    let place =
        |who: &str| file["leaves"].as_array().unwrap().iter().position(|leaf| leaf["holder"] == who).unwrap();
    let (one, other) = (place(one), place(other));
    let sealed = [one, other].map(|at| file["leaves"][at]["sealed"].clone());
    file["leaves"][one]["sealed"] = sealed[1].clone();
    file["leaves"][other]["sealed"] = sealed[0].clone();
    fs::create_dir_all(sandbox.path("vault/drafts/made")).unwrap();
    sandbox.write("vault/drafts/made/key", canonical(&file));
    statement["epochs"][epoch - 1]["file"] = digest(sandbox, "vault/drafts/made/key").into();
    sandbox.write("vault/drafts/made/statement", canonical(&statement));
    let draft = format!("vault/drafts/{}", digest(sandbox, "vault/drafts/made/statement"));
    fs::create_dir_all(sandbox.path(format!("{draft}/keys"))).unwrap();
    let rename = |from: &str, to: String| {
        fs::rename(sandbox.path(format!("vault/drafts/made/{from}")), sandbox.path(to)).unwrap();
    };
    rename("key", format!("{draft}/keys/{name}"));
    rename("statement", format!("{draft}/{number}.json"));
    fs::remove_dir(sandbox.path("vault/drafts/made")).unwrap();
    with_both_papers(sandbox, &["vault", "sign", "--yes"]).go().success();
}

/// Two of carol, dave and erin open together; erin is an age identity.
fn two_of_three() -> Sandbox {
    let sandbox = Sandbox::with_papers("classic");
    let recipient = mallorys_recipient(&sandbox, "classic");
    fs::rename(sandbox.path("mallory.age-key"), sandbox.path("erin.txt")).unwrap();
    with_both_papers(&sandbox, &["holder", "add", "erin", "--yes", "--recipient", &recipient])
        .args(["--policy", "alice or bob or 2 of (carol, dave, erin)"])
        .go()
        .success();
    sandbox
}

#[test]
fn a_share_in_another_holders_place_is_named_even_if_it_was_signed() {
    let sandbox = two_of_three();
    epoch_with_swapped_leaves(&sandbox, "carol", "alice");
    seal(&sandbox, "letter.age");
    let outcome =
        with_both_papers(&sandbox, &["open", "letter.age", "-o", "out"]).go().calm_error().no_stdout();
    assert!(matches!(outcome.exit_code(), Some(7 | 8)), "{outcome}");
    sandbox.absent("out");
    let said = outcome.stderr_text();
    assert!(said.contains("share of carol") && !said.contains("share of dave"), "{outcome}");
    // Alice's own place has carol's share; the archive is sealed to her token all the same.
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["epoch", "open", "--export", "out", "--yes"])
        .go()
        .failure()
        .calm_error();
    sandbox.absent("out");
    sandbox
        .emulator()
        .token("alice.token")
        .keyward(["open", "letter.age", "-o", "-"])
        .go()
        .success()
        .stdout_is("dear alice\n");
}

#[test]
fn a_wrong_share_among_more_than_enough_is_named_and_survived() {
    let sandbox = two_of_three();
    epoch_with_swapped_leaves(&sandbox, "carol", "alice");
    seal(&sandbox, "letter.age");
    sandbox
        .keyward(["open", "letter.age", "-o", "-"])
        .args(with(&["carol", "dave", "erin"]))
        .go()
        .success()
        .stderr_has("share of carol")
        .stderr_lacks("share of dave")
        .stderr_lacks("share of erin")
        .stdout_is("dear alice\n");
}
