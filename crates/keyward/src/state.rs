//! This host's own state below `KEYWARD_HOME`: which vaults it trusts, and which tokens refused a PIN.
//!
//! ```text
//! pins/VAULT.json        a vault's pin: its first statement, its admins, the last generation seen
//! made/VAULT             the digest of a vault that this host is writing just now
//! sealer/, heads/, series/    receipts: see `ledger.rs`
//! pin-refused/SERIAL     an unattended PIN was wrong: the next unattended run looks at the tries first
//! ```
//!
//! Nothing here is secret but the sealer's key; what is here decides what this host believes, so the folders are 0700 and the files
//! 0600.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::env;
use crate::files;
use crate::report::{Failure, Kind, Result};

/// The state folder.
#[derive(Debug)]
pub struct State {
    root: PathBuf,
}

impl State {
    /// Finds the folder; it is made when something is first written.
    ///
    /// # Errors
    /// Where neither `KEYWARD_HOME` nor a home folder is known.
    pub fn find() -> Result<Self> {
        let root = env::home().ok_or_else(|| {
            Failure::new(Kind::Usage, "There is no folder for this host's own state: HOME is not set.")
                .hint("Set KEYWARD_HOME to a folder of your own.")
        })?;
        Ok(State { root })
    }

    /// The folder's path.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The bytes of a vault's pin, or nothing where this host does not trust that vault.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn pin(&self, vault_id: &str) -> Result<Option<Vec<u8>>> {
        let path = self.pin_path(vault_id);
        match files::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Failure::io("Reading the pin", &path, &e)),
        }
    }

    /// Writes a vault's pin, replacing an older one in one step.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn set_pin(&self, vault_id: &str, bytes: &[u8]) -> Result<()> {
        let path = self.pin_path(vault_id);
        self.folder("pins")?;
        files::replace(&path, bytes, 0o600).map_err(|e| Failure::io("Writing the pin", &path, &e))
    }

    /// The ids of all pinned vaults.
    pub fn pinned(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.root.join("pins")) else { return Vec::new() };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| Some(name.strip_suffix(".json")?.to_owned()))
            .filter(|name| !name.starts_with('.'))
            .collect();
        ids.sort();
        ids
    }

    /// Whether the last unattended PIN for this token was wrong.
    pub fn pin_was_refused(&self, serial: u32) -> bool {
        self.root.join("pin-refused").join(serial.to_string()).exists()
    }

    /// Remembers whether an unattended PIN was wrong. A note that cannot be written costs no more than an
    /// early look at the tries, so errors are passed over.
    pub fn note_pin(&self, serial: u32, refused: bool) {
        let path = self.root.join("pin-refused").join(serial.to_string());
        if refused {
            if self.folder("pin-refused").is_ok() {
                let _ = files::replace(&path, b"", 0o600);
            }
        } else if path.exists() {
            let _ = fs::remove_file(&path);
        }
    }

    /// Remembers that this host makes a vault whose generation 1 has this digest, until [`State::forget_made`].
    ///
    /// # Errors
    /// Those of the file system.
    pub fn note_made(&self, vault_id: &str, digest: &str) -> Result<()> {
        self.folder("made")?;
        let path = self.made_path(vault_id);
        files::replace(&path, digest.as_bytes(), 0o600).map_err(|e| Failure::io("Writing", &path, &e))
    }

    /// Whether this host was making the vault with this digest when it was interrupted.
    pub fn was_making(&self, vault_id: &str, digest: &str) -> bool {
        files::read(&self.made_path(vault_id)).is_ok_and(|noted| noted == digest.as_bytes())
    }

    /// The vault is made. A note that stays behind says nothing that is not true.
    pub fn forget_made(&self, vault_id: &str) {
        let _ = fs::remove_file(self.made_path(vault_id));
    }

    fn made_path(&self, vault_id: &str) -> PathBuf {
        self.root.join("made").join(plain(vault_id))
    }

    fn pin_path(&self, vault_id: &str) -> PathBuf {
        self.root.join("pins").join(format!("{}.json", plain(vault_id)))
    }

    fn folder(&self, name: &str) -> Result<()> {
        let path = self.root.join(name);
        files::make_folder(&path, 0o700).map_err(|e| Failure::io("Making", &path, &e))
    }
}

/// A vault id is parsed before it comes here, yet a path is never built from anything but plain characters.
fn plain(vault_id: &str) -> String {
    vault_id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_and_refusals() {
        let folder = tempfile::tempdir().unwrap();
        let state = State { root: folder.path().join("home") };
        assert!(state.pinned().is_empty());
        assert_eq!(state.pin("abc").unwrap(), None);
        state.set_pin("abc", b"one").unwrap();
        state.set_pin("abc", b"two").unwrap();
        assert_eq!(state.pin("abc").unwrap().unwrap(), b"two");
        assert_eq!(state.pinned(), ["abc"]);
        assert!(state.pin_path("../../etc/x").starts_with(state.root.join("pins")));
        state.note_made("abc", "12").unwrap();
        assert!(
            state.was_making("abc", "12") && !state.was_making("abc", "13") && !state.was_making("b", "12")
        );
        state.forget_made("abc");
        assert!(!state.was_making("abc", "12"));
        assert!(!state.pin_was_refused(7));
        state.note_pin(7, true);
        assert!(state.pin_was_refused(7));
        state.note_pin(7, false);
        assert!(!state.pin_was_refused(7));
    }
}
