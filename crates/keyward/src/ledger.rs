//! What this host knows of receipts, below `KEYWARD_HOME`: its own key, what it has seen, and its own series.
//!
//! ```text
//! sealer/VAULT                  the key that signs this host's receipts (0600)
//! heads/VAULT.json, .lock       the newest receipt of each series that was ever seen here
//! series/VAULT/SERIES.json      this host's own series: the last receipt, and those that wait for their archives
//! series/VAULT/SERIES.lock      held from giving a number until its archive and receipt stand
//! ```
//!
//! A lock is the file's own (`flock`): it ends with the process that holds it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keyward_custody::{Heads, Name, OwnSeries, Receipt, SealerKey, Series, VaultId};

use crate::files;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::state::State;

const SAFE: &str = "Nothing was changed.";

/// One of this host's own series; while this value lives, no other process gives out its numbers.
#[derive(Debug)]
pub struct Ledger {
    /// What is known of the series; [`Ledger::save`] writes it down.
    pub own: OwnSeries,
    path: PathBuf,
    _lock: File,
}

impl Ledger {
    /// Writes down what is known of the series.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self) -> Result<()> {
        let bytes = self.own.to_bytes().map_err(|error| custody_failure("The series", SAFE, error))?;
        files::replace(&self.path, &bytes, 0o600).map_err(|e| Failure::io("Writing", &self.path, &e))
    }
}

impl State {
    /// This host's key for a vault, if it has one.
    ///
    /// # Errors
    /// A file that holds no such key; those of the file system.
    pub fn sealer_key(&self, vault: VaultId) -> Result<Option<SealerKey>> {
        let path = self.sealer_path(vault);
        let bytes = match files::read(&path) {
            Ok(bytes) => zeroize::Zeroizing::new(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Failure::io("Reading", &path, &e)),
        };
        let key = SealerKey::from_openssh(&bytes);
        key.map(Some).map_err(|error| custody_failure(&path.display().to_string(), SAFE, error))
    }

    /// This host's key for a vault; made now if there is none.
    ///
    /// # Errors
    /// As [`State::sealer_key`].
    pub fn make_sealer_key(&self, vault: VaultId, host: &str) -> Result<SealerKey> {
        if let Some(key) = self.sealer_key(vault)? {
            return Ok(key);
        }
        let key = SealerKey::random().map_err(|error| custody_failure("The sealer's key", SAFE, error))?;
        let path = self.sealer_path(vault);
        self.make_folder_of(&path)?;
        match files::create(&path, key.to_openssh(host).as_bytes(), 0o600) {
            Ok(()) => Ok(key),
            // Another process made it at the same time.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                self.sealer_key(vault)?.ok_or_else(|| Failure::io("Reading", &path, &e))
            }
            Err(e) => Err(Failure::io("Writing", &path, &e)),
        }
    }

    /// What this host has seen of a vault's receipts.
    ///
    /// # Errors
    /// A file that holds something else; those of the file system.
    pub fn heads(&self, vault: VaultId) -> Result<Heads> {
        let path = self.heads_path(vault);
        let bytes = match files::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Heads::new(vault)),
            Err(e) => return Err(Failure::io("Reading", &path, &e)),
        };
        let what = path.display().to_string();
        let heads = Heads::parse(&bytes).map_err(|error| custody_failure(&what, SAFE, error))?;
        match heads.vault_id() == vault {
            true => Ok(heads),
            false => Err(Failure::new(Kind::NotVerified, format!("{what} is of another vault. {SAFE}"))),
        }
    }

    /// Remembers what was seen of a vault's receipts, beside what was seen before.
    ///
    /// # Errors
    /// As [`State::heads`].
    pub fn remember(&self, seen: &Heads) -> Result<()> {
        let vault = seen.vault_id();
        let path = self.heads_path(vault);
        let _lock = self.lock(&path.with_extension("lock"))?;
        let before = self.heads(vault)?;
        let mut heads = before.clone();
        heads.merge(seen);
        if heads == before {
            return Ok(());
        }
        let bytes = heads.to_bytes().map_err(|error| custody_failure("The heads", SAFE, error))?;
        files::replace(&path, &bytes, 0o600).map_err(|e| Failure::io("Writing", &path, &e))
    }

    /// Remembers a receipt that was found to count, in this folder or prefix.
    ///
    /// # Errors
    /// As [`State::heads`].
    pub fn see(&self, receipt: &Receipt, place: &str) -> Result<()> {
        let mut seen = Heads::new(receipt.vault());
        seen.see(receipt, place);
        self.remember(&seen)
    }

    /// Takes one of this host's own series, and waits while another process has it.
    ///
    /// # Errors
    /// A file that holds something else; those of the file system.
    pub fn ledger(&self, vault: VaultId, sealer: &Name, series: &Series) -> Result<Ledger> {
        let path = self.series_folder(vault).join(format!("{series}.json"));
        let lock = self.lock(&self.series_folder(vault).join(format!("{series}.lock")))?;
        let what = path.display().to_string();
        let own = match files::read(&path) {
            Ok(bytes) => OwnSeries::parse(&bytes).map_err(|error| custody_failure(&what, SAFE, error))?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                OwnSeries::new(vault, sealer.clone(), series.clone())
            }
            Err(e) => return Err(Failure::io("Reading", &path, &e)),
        };
        let own = match (own.vault_id(), own.sealer(), own.series()) == (vault, sealer, series) {
            true => own,
            // The host was certified anew, under another name and with another key: its numbers begin anew.
            false if own.vault_id() == vault && own.series() == series => {
                OwnSeries::new(vault, sealer.clone(), series.clone())
            }
            false => {
                return Err(Failure::new(
                    Kind::NotVerified,
                    format!("{what} is of another vault or series. {SAFE}"),
                ));
            }
        };
        Ok(Ledger { own, path, _lock: lock })
    }

    /// The names of this host's own series of a vault.
    pub fn own_series(&self, vault: VaultId) -> Vec<Series> {
        let Ok(entries) = self.series_folder(vault).read_dir() else { return Vec::new() };
        let mut series: Vec<Series> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| name.strip_suffix(".json")?.parse().ok())
            .collect();
        series.sort();
        series
    }

    fn sealer_path(&self, vault: VaultId) -> PathBuf {
        self.root().join("sealer").join(vault.to_string())
    }

    fn heads_path(&self, vault: VaultId) -> PathBuf {
        self.root().join("heads").join(format!("{vault}.json"))
    }

    fn series_folder(&self, vault: VaultId) -> PathBuf {
        self.root().join("series").join(vault.to_string())
    }

    fn make_folder_of(&self, path: &Path) -> Result<()> {
        let folder = path.parent().unwrap_or(self.root());
        files::make_folder(folder, 0o700).map_err(|e| Failure::io("Making", folder, &e))
    }

    fn lock(&self, path: &Path) -> Result<File> {
        self.make_folder_of(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path);
        let lock = lock.map_err(|e| Failure::io("Opening", path, &e))?;
        lock.lock().map_err(|e| Failure::io("Locking", path, &e))?;
        Ok(lock)
    }
}
