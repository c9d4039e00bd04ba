//! What OpenSSH's own program makes of our signatures, and we of its.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use keyward_age::Suite;
use keyward_custody::{Namespace, Paper, PublicKey, Signature, SignatureError, allowed_signers_line};

use crate::fixed::{first, name, sign};

#[must_use]
fn ssh_keygen(folder: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new("ssh-keygen")
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ssh-keygen, of the package openssh-client, is needed");
    child.stdin.take().unwrap().write_all(stdin).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn it_verifies_what_a_card_signed() {
    let folder = tempfile::tempdir().unwrap();
    for suite in [Suite::Hybrid, Suite::Classic] {
        let statement = first(suite, &["alice", "bob"]).build().unwrap();
        std::fs::write(folder.path().join("signers"), statement.allowed_signers()).unwrap();
        let signature = sign("alice signing", statement.bytes());
        std::fs::write(folder.path().join("alice.sig"), signature).unwrap();
        let verify = |namespace, identity, message| {
            let args = ["-Y", "verify", "-n", namespace, "-I", identity, "-f", "signers", "-s", "alice.sig"];
            ssh_keygen(folder.path(), &args, message).status.success()
        };
        assert!(verify("keyward-vault", "alice", statement.bytes()));
        assert!(!verify("keyward-vault", "bob", statement.bytes()));
        assert!(!verify("keyward-receipt", "alice", statement.bytes()));
        let mut changed = statement.bytes().to_vec();
        changed[100] ^= 1;
        assert!(!verify("keyward-vault", "alice", &changed));
    }
}

#[test]
fn it_verifies_what_paper_signed() {
    let folder = tempfile::tempdir().unwrap();
    let paper = Paper::from_entropy(&[7; 32]);
    let line = allowed_signers_line(&name("carol"), &paper.signing_key().unwrap());
    std::fs::write(folder.path().join("signers"), line + "\n").unwrap();
    let signature = paper.sign(Namespace::Vault, b"a statement").unwrap();
    std::fs::write(folder.path().join("carol.sig"), signature.to_armored()).unwrap();
    let args = ["-Y", "verify", "-n", "keyward-vault", "-I", "carol", "-f", "signers", "-s", "carol.sig"];
    assert!(ssh_keygen(folder.path(), &args, b"a statement").status.success());
    assert!(!ssh_keygen(folder.path(), &args, b"another statement").status.success());

    // The fingerprint that a difference shows is the one that OpenSSH shows.
    std::fs::write(folder.path().join("carol.pub"), paper.signing_key().unwrap().to_string() + "\n").unwrap();
    let shown = ssh_keygen(folder.path(), &["-l", "-f", "carol.pub"], b"");
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains(&paper.signing_key().unwrap().fingerprint()), "{shown}");
}

#[test]
fn we_verify_what_it_signed() {
    let folder = tempfile::tempdir().unwrap();
    let message = first(Suite::Classic, &["alice", "bob"]).build().unwrap().bytes().to_vec();
    for (kind, hash) in
        [("ecdsa", "sha512"), ("ecdsa", "sha256"), ("ed25519", "sha512"), ("ed25519", "sha256")]
    {
        let file = format!("{kind}-{hash}");
        let made = ssh_keygen(folder.path(), &["-q", "-t", kind, "-N", "", "-C", "", "-f", &file], b"");
        assert!(made.status.success(), "{made:?}");
        let line = std::fs::read_to_string(folder.path().join(format!("{file}.pub"))).unwrap();
        let key: PublicKey = line.trim_end().parse().unwrap();
        let option = format!("hashalg={hash}");
        let args = ["-q", "-Y", "sign", "-n", "keyward-vault", "-O", &option, "-f", &file];
        let signed = ssh_keygen(folder.path(), &args, &message);
        assert!(signed.status.success(), "{signed:?}");

        let signature = Signature::from_armored(&signed.stdout).unwrap();
        assert_eq!(signature.to_armored().as_bytes(), signed.stdout, "the armor is OpenSSH's");
        assert_eq!(signature.verify(Namespace::Vault, &message, &key), Ok(()));
        assert_eq!(signature.verify(Namespace::Vault, b"another", &key), Err(SignatureError::Mismatch));
        assert!(signature.verify(Namespace::Request, &message, &key).is_err());
        let listed = allowed_signers_line(&name("alice"), &key);
        assert_eq!(listed, format!("alice namespaces=\"keyward-vault\" {}", line.trim_end()));
    }
}
