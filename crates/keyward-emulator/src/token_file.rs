//! A token in one file: locked while it is in use, replaced as a whole when it changes.
//!
//! A change is written to a file beside it, synced and renamed before the answer goes out, so that a kill at any point leaves
//! the old state or the new one. The lock (flock) moves along: the new file is locked before it takes the name,
//! and who opens the name afterwards checks that what it locked still has the name.

use std::{
    ffi::OsString,
    fmt,
    fs::File,
    io::{Read, Write},
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{Card, Error, Firmware, Result, Touch, card::status::Sw, touch::Finger};

/// Where a write of the state is cut by a loss of power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Half of the new state is beside the old one.
    Half,
    /// The new state is beside the old one, whole.
    Whole,
    /// The new state has taken the name; nobody was told.
    Renamed,
}

/// A card and the file that keeps it; mode 0600, since test keys are in it.
pub struct TokenFile {
    path: PathBuf,
    lock: File,
    card: Card,
    saved: Zeroizing<Vec<u8>>,
}

impl TokenFile {
    /// Makes a new token and its file.
    ///
    /// # Errors
    /// [`Error::Exists`] if the path is taken; nothing is changed then.
    pub fn create(path: &Path, serial: u32, firmware: Firmware) -> Result<Self> {
        let card = Card::new(serial, firmware)?;
        let saved = card.to_json()?;
        let lock = written_beside(path, &saved)?.persist_noclobber(path).map_err(|refused| match refused
            .error
            .kind()
        {
            std::io::ErrorKind::AlreadyExists => Error::Exists { path: path.to_owned() },
            _ => Error::io(path)(refused.error),
        })?;
        sync_folder(path)?;
        Ok(Self { path: path.to_owned(), lock, card, saved })
    }

    /// Opens a token for use and locks it until this value is dropped.
    ///
    /// # Errors
    /// [`Error::InUse`] if another process has it, [`Error::TokenFile`] if it is none.
    pub fn open(path: &Path) -> Result<Self> {
        let in_use = || Error::InUse { path: path.to_owned() };
        // A file that was replaced while we waited is no longer the token; each round is a fresh look.
        for _ in 0..16 {
            let mut file = File::open(path).map_err(Error::io(path))?;
            if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(in_use());
            }
            let locked = file.metadata().map_err(Error::io(path))?;
            let named = std::fs::metadata(path).map_err(Error::io(path))?;
            if (locked.dev(), locked.ino()) != (named.dev(), named.ino()) {
                continue;
            }
            let mut saved = Zeroizing::new(Vec::new());
            file.read_to_end(&mut saved).map_err(Error::io(path))?;
            let card = Card::from_json(&saved)
                .map_err(|error| Error::TokenFile { path: path.to_owned(), reason: error.to_string() })?;
            remove_leftovers(path);
            return Ok(Self { path: path.to_owned(), lock: file, card, saved });
        }
        Err(in_use())
    }

    /// The serial number.
    pub fn serial(&self) -> u32 {
        self.card.serial()
    }

    /// The firmware version.
    pub fn firmware(&self) -> Firmware {
        self.card.firmware()
    }

    /// What happens when a key wants a touch; see [`Card::set_touch`].
    pub fn set_touch(&mut self, touch: Touch) {
        self.card.set_touch(touch);
    }

    /// Whether the token wants to be pulled out and plugged in again; see [`Card::take_reboot`].
    pub fn take_reboot(&mut self) -> bool {
        self.card.take_reboot()
    }

    /// Puts a finger on the token.
    pub(crate) fn put_finger(&mut self, finger: Finger) {
        self.card.put_finger(finger);
    }

    /// Power off and on, or a reset.
    pub fn power_cycle(&mut self) {
        self.card.power_cycle();
    }

    /// Answers one APDU; what it changed is on disk before this returns. If that fails the change is
    /// taken back, the card is as after power-on and the answer is 6581.
    pub fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let answer = self.card.transmit(apdu);
        if !self.card.take_changed() || self.save().is_ok() {
            return answer;
        }
        if let Ok(card) = Card::from_json(&self.saved) {
            self.replace_card(card);
        }
        Sw::MEMORY_FAILURE.bytes().to_vec()
    }

    /// As [`TokenFile::transmit`], except that power is lost while the state is written. The token comes back with
    /// what its file says and `None` is the answer. A command that changes nothing is answered as ever.
    pub(crate) fn transmit_cut(&mut self, apdu: &[u8], cut: Cut) -> Option<Vec<u8>> {
        let answer = self.card.transmit(apdu);
        if !self.card.take_changed() {
            return Some(answer);
        }
        // A write that fails before its cut leaves the old state, which is one of the two that may be left.
        let _ = self.write_cut(cut);
        self.power_on();
        None
    }

    fn write_cut(&mut self, cut: Cut) -> Result<()> {
        let json = self.card.to_json()?;
        let written = match cut {
            Cut::Half => json.get(..json.len() / 2).unwrap_or_default(),
            Cut::Whole | Cut::Renamed => &json,
        };
        let file = written_beside(&self.path, written)?;
        if cut == Cut::Renamed {
            self.lock = file.persist(&self.path).map_err(|refused| Error::io(&self.path)(refused.error))?;
        } else {
            file.keep().map_err(|refused| Error::io(&self.path)(refused.error))?;
        }
        Ok(())
    }

    /// Takes the state from the file, as an opening does.
    fn power_on(&mut self) {
        let read = std::fs::read(&self.path).map(Zeroizing::new);
        if let Ok(json) = read
            && let Ok(card) = Card::from_json(&json)
        {
            self.saved = json;
            self.replace_card(card);
        } else if let Ok(card) = Card::from_json(&self.saved) {
            self.replace_card(card);
        }
        remove_leftovers(&self.path);
    }

    fn replace_card(&mut self, card: Card) {
        let finger = self.card.take_finger();
        self.card = card;
        self.card.put_finger(finger);
    }

    fn save(&mut self) -> Result<()> {
        let json = self.card.to_json()?;
        let file = written_beside(&self.path, &json)?;
        self.lock = file.persist(&self.path).map_err(|refused| Error::io(&self.path)(refused.error))?;
        self.saved = json;
        sync_folder(&self.path)
    }
}

impl fmt::Debug for TokenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenFile")
            .field("path", &self.path)
            .field("card", &self.card)
            .finish_non_exhaustive()
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// How the name of a file ends that is not yet the token.
const UNFINISHED: &str = ".unfinished";

fn unfinished_prefix(path: &Path) -> OsString {
    let mut prefix = OsString::from(".");
    prefix.push(path.file_name().unwrap_or_default());
    prefix.push(".");
    prefix
}

/// Removes what killed writers of this token left. Its lock is ours, so nobody is writing one now; what cannot be
/// removed does no harm.
fn remove_leftovers(path: &Path) {
    let prefix = unfinished_prefix(path);
    for entry in std::fs::read_dir(folder(path)).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(prefix.as_bytes()) && name.as_bytes().ends_with(UNFINISHED.as_bytes())
        {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// A locked, synced file in the same folder, still without the name.
fn written_beside(path: &Path, content: &[u8]) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new()
        .prefix(&unfinished_prefix(path))
        .suffix(UNFINISHED)
        .tempfile_in(folder(path))
        .map_err(Error::io(path))?;
    flock(file.as_file(), FlockOperation::NonBlockingLockExclusive)
        .map_err(|errno| Error::io(path)(errno.into()))?;
    file.write_all(content).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    Ok(file)
}

fn sync_folder(path: &Path) -> Result<()> {
    File::open(folder(path)).and_then(|folder| folder.sync_all()).map_err(Error::io(folder(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;
    use std::os::unix::fs::PermissionsExt;

    const SELECT: &[u8] = &hex!("00a4040005a000000308");
    const WRONG_PIN: &[u8] = &hex!("0020008008ffffffffffffffff");

    fn firmware() -> Firmware {
        "5.7.1".parse().unwrap()
    }

    #[test]
    fn a_change_is_in_the_file_before_the_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.token");
        let mut token = TokenFile::create(&path, 1, firmware()).unwrap();
        token.transmit(SELECT);
        assert_eq!(token.transmit(WRONG_PIN), hex!("63c2"));
        let mut copy = Card::from_json(&std::fs::read(&path).unwrap()).unwrap();
        copy.transmit(SELECT);
        assert_eq!(copy.transmit(&hex!("00200080")), hex!("63c2"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_token_in_use_stays_locked_through_changes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.token");
        let mut token = TokenFile::create(&path, 1, firmware()).unwrap();
        assert!(matches!(TokenFile::open(&path), Err(Error::InUse { .. })));
        token.transmit(SELECT);
        token.transmit(WRONG_PIN);
        assert!(matches!(TokenFile::open(&path), Err(Error::InUse { .. })));
        drop(token);
        assert_eq!(TokenFile::open(&path).unwrap().transmit(&hex!("00fd0000")), hex!("6d00"));
    }

    #[test]
    fn what_a_killed_writer_left_is_removed_at_the_next_opening() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.token");
        drop(TokenFile::create(&path, 1, firmware()).unwrap());
        let (left, kept) =
            (folder.path().join(".a.token.x1.unfinished"), folder.path().join(".b.token.x1.unfinished"));
        std::fs::write(&left, "half").unwrap();
        std::fs::write(&kept, "another's").unwrap();
        TokenFile::open(&path).unwrap();
        assert!(!left.exists() && kept.exists() && path.exists());
    }

    #[test]
    fn what_is_printed_of_a_token_is_public() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.token");
        let token = TokenFile::create(&path, 1, firmware()).unwrap();
        let shown = format!("{token:?}");
        assert!(shown.contains("a.token") && shown.contains("serial: 1"), "{shown}");
        assert!(shown.len() < 300, "{shown}");
    }

    #[test]
    fn an_existing_file_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.token");
        std::fs::write(&path, "precious").unwrap();
        assert!(matches!(TokenFile::create(&path, 1, firmware()), Err(Error::Exists { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
        assert!(matches!(TokenFile::open(&path), Err(Error::TokenFile { .. })));
    }

    #[test]
    fn a_write_that_is_cut_leaves_the_old_state_or_the_new() {
        for (cut, tries) in [(Cut::Half, 3), (Cut::Whole, 3), (Cut::Renamed, 2)] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.token");
            let mut token = TokenFile::create(&path, 1, firmware()).unwrap();
            token.transmit(SELECT);
            assert!(token.transmit_cut(&hex!("00200080"), cut).is_some(), "nothing is written");
            assert_eq!(token.transmit_cut(WRONG_PIN, cut), None);
            assert_eq!(token.transmit(&hex!("00200080")), hex!("6d00"), "{cut:?}: power was off");
            token.transmit(SELECT);
            assert_eq!(token.transmit(&hex!("00200080")), [0x63, 0xC0 + tries], "{cut:?}");
            assert!(matches!(TokenFile::open(&path), Err(Error::InUse { .. })), "{cut:?}: still locked");
            drop(token);
            let mut again = TokenFile::open(&path).unwrap();
            again.transmit(SELECT);
            assert_eq!(again.transmit(&hex!("00200080")), [0x63, 0xC0 + tries], "{cut:?}");
            assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "{cut:?}");
        }
    }

    #[test]
    fn a_change_that_cannot_be_written_did_not_happen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone").join("a.token");
        std::fs::create_dir(folder.path().join("gone")).unwrap();
        let mut token = TokenFile::create(&path, 1, firmware()).unwrap();
        std::fs::remove_dir_all(folder.path().join("gone")).unwrap();
        token.transmit(SELECT);
        assert_eq!(token.transmit(WRONG_PIN), hex!("6581"));
        token.transmit(SELECT);
        assert_eq!(token.transmit(&hex!("00200080")), hex!("63c3"));
    }
}
