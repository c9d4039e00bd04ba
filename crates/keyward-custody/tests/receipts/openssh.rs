//! What OpenSSH's own program makes of a receipt and of a sealer's key.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use keyward_custody::SealerKey;

use crate::hosts::{Home, Host, Store, key};

#[must_use]
fn shell(folder: &Path, line: &str) -> Output {
    Command::new("bash").args(["-o", "pipefail", "-c", line]).current_dir(folder).output().unwrap()
}

/// The command of `docs/formats.md`, "Receipt".
#[test]
fn it_verifies_a_receipt() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::default();
    Host::new("mira", "photos").seal(&mut store, "photos.age");
    let receipt = store.receipt("photos.age").clone();
    std::fs::write(folder.path().join("sealers"), Home::new().now().statement().allowed_sealers()).unwrap();
    let line = "head -n 1 photos.age.receipt | ssh-keygen -Y verify -n keyward-receipt -I mira -f sealers -s <(tail -n +2 photos.age.receipt)";
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/formats.md");
    let page = std::fs::read_to_string(page).unwrap();
    for part in line.split(" -s ") {
        assert!(page.contains(part), "{part} is not in docs/formats.md");
    }
    let file = folder.path().join("photos.age.receipt");
    std::fs::write(&file, &receipt).unwrap();
    let verified = shell(folder.path(), line);
    assert!(verified.status.success(), "{verified:?}");
    for at in [20, receipt.len() - 60] {
        let mut changed = receipt.clone();
        changed[at] = if changed[at] == b'a' { b'b' } else { b'a' };
        std::fs::write(&file, &changed).unwrap();
        assert!(!shell(folder.path(), line).status.success(), "changed at {at}");
    }
}

#[test]
fn it_reads_a_sealers_key_and_we_read_its() {
    let folder = tempfile::tempdir().unwrap();
    let private = |file: &str, bytes: &[u8]| {
        let path = folder.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    };
    for comment in ["", "mira", "vault home, host mira"] {
        private("mira", key("mira").to_openssh(comment).as_bytes());
        let shown = shell(folder.path(), "ssh-keygen -y -f mira");
        let shown = String::from_utf8(shown.stdout).unwrap();
        assert_eq!(shown.trim_end(), format!("{} {comment}", key("mira").public()).trim_end());
    }
    // What it signs with that key is what we sign.
    private("message", b"a receipt\n");
    let signed = shell(folder.path(), "ssh-keygen -q -Y sign -n keyward-receipt -f mira < message");
    assert!(signed.status.success(), "{signed:?}");

    let made = shell(folder.path(), "ssh-keygen -q -t ed25519 -N '' -C 'a comment' -f made");
    assert!(made.status.success(), "{made:?}");
    let read = |file: &str| SealerKey::from_openssh(&std::fs::read(folder.path().join(file)).unwrap());
    let line = std::fs::read_to_string(folder.path().join("made.pub")).unwrap();
    assert_eq!(format!("{} a comment", read("made").unwrap().public()), line.trim_end());

    let others = "ssh-keygen -q -t ed25519 -N secret -f locked; ssh-keygen -q -t ecdsa -N '' -f ecdsa";
    assert!(shell(folder.path(), others).status.success());
    assert!(read("locked").unwrap_err().to_string().contains("passphrase"));
    assert!(read("ecdsa").unwrap_err().to_string().contains("no ssh-ed25519 key"));
}
