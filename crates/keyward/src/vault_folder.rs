//! A vault's folder: its files read, its statement verified against this host's pin.
//!
//! This room moves bytes. What they mean is `keyward-custody`'s to say, and only a statement that it has verified
//! leaves here. Writing is the room of `generations.rs`.

use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use keyward_custody::{
    Confirmation, Expiry, Fingerprint, KeyFile, Name, Pins, Statement, Timestamp, Unpinned, VaultFile,
    VaultFiles, Verdict, Verified, verify_chain,
};

use crate::files;
use crate::generations;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{Holder, Holders};

const SAFE: &str = "Nothing was changed.";
/// More statement and signature files than this are not read.
const MOST_FILES: usize = 20_000;

/// A vault that this host trusts, verified.
#[derive(Debug)]
pub struct Trusted {
    folder: PathBuf,
    verified: Verified<Statement>,
    fingerprint: Fingerprint,
}

/// Reads and verifies the named vault, and moves the pin to the newest generation.
///
/// # Errors
/// No vault named or found (3); not trusted here, or not verified (7).
pub fn open_trusted(ui: Ui, state: &State, vault: Option<&Path>) -> Result<Trusted> {
    let folder = vault.ok_or_else(|| {
        Failure::new(Kind::Usage, "No vault is named.").hint("Use --vault VAULT or set KEYWARD_VAULT.")
    })?;
    let files = read_files(folder)?;
    let pins = pins_for(state, folder, &files)?;
    let verified =
        verify_chain(&files, &pins).map_err(|error| custody_failure(&shown(folder), SAFE, error))?;
    if let Some(unfinished) = verified.unfinished() {
        ui.warn(format!(
            "Generation {unfinished} of vault `{}` lacks signatures; generation {} is in force.",
            pins.name(),
            verified.statement().generation()
        ));
    }
    let advanced = pins.advance(&verified).map_err(|error| custody_failure(&shown(folder), SAFE, error))?;
    if let Some(advanced) = advanced {
        save(state, &advanced)?;
    }
    Ok(Trusted { folder: folder.to_path_buf(), verified, fingerprint: pins.fingerprint() })
}

/// As [`open_trusted`], for a command that changes the vault: a commit that was cut short is finished first.
///
/// # Errors
/// As [`open_trusted`]; those of the file system.
pub fn open_to_change(ui: Ui, state: &State, vault: Option<&Path>) -> Result<Trusted> {
    if let Some(folder) = vault {
        // What is copied was signed before the commit; whether it counts is checked right after.
        for generation in generations::finish_interrupted(folder)? {
            ui.say(format!(
                "Generation {generation} was interrupted while it was written; it is complete now."
            ));
        }
    }
    open_trusted(ui, state, vault)
}

/// As [`open_trusted`], but without a named vault `None` where `unverified` accepts that.
///
/// # Errors
/// As [`open_trusted`].
pub fn open_if_named(
    ui: Ui,
    state: &State,
    vault: Option<&Path>,
    unverified: bool,
) -> Result<Option<Trusted>> {
    match vault {
        None if unverified => Ok(None),
        None => Err(Failure::new(
            Kind::Usage,
            "No vault is named, so neither the card nor the archive can be checked.",
        )
        .hint("Use --vault VAULT or set KEYWARD_VAULT; --unverified opens without.")),
        some => open_trusted(ui, state, some).map(Some),
    }
}

/// A vault's files as a claim that agrees with itself, for first trust.
///
/// # Errors
/// No vault there; files that do not verify among themselves.
pub fn open_unpinned(folder: &Path) -> Result<Unpinned> {
    let files = read_files(folder)?;
    Unpinned::read(&files).map_err(|error| custody_failure(&shown(folder), SAFE, error))
}

/// Trusts a vault from now on.
///
/// # Errors
/// A fingerprint that is another; a test vault that was not allowed; those of the file system.
pub fn trust(
    state: &State,
    folder: &Path,
    unpinned: Unpinned,
    how: &Confirmation,
    allow_emulated: bool,
) -> Result<()> {
    let (pins, _) =
        unpinned.trust(how, allow_emulated).map_err(|error| custody_failure(&shown(folder), SAFE, error))?;
    save(state, &pins)
}

/// Whether a folder is free for a new vault: absent, or empty but for what an interrupted run left.
///
/// # Errors
/// Refused where something is there; those of the file system.
pub fn check_free(folder: &Path) -> Result<()> {
    let entries = match folder.read_dir() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Failure::io("Looking at", folder, &e)),
        Ok(entries) => entries,
    };
    let is_file = |entry: io::Result<std::fs::DirEntry>| {
        // What a killed writer left under a temporary name is no statement.
        entry.is_ok_and(|entry| !entry.file_name().to_string_lossy().starts_with(".keyward-"))
    };
    if folder.join("statements").read_dir().is_ok_and(|mut files| files.any(is_file)) {
        return Err(Failure::new(Kind::Refused, format!("{} is a vault already. {SAFE}", folder.display()))
            .hint("Name another folder."));
    }
    for entry in entries {
        let entry = entry.map_err(|e| Failure::io("Looking at", folder, &e))?;
        if !matches!(entry.file_name().to_str(), Some("statements" | "drafts" | "keys" | "holders")) {
            return Err(Failure::new(Kind::Refused, format!("{} is not empty. {SAFE}", folder.display()))
                .hint("Name a folder that is absent or empty."));
        }
    }
    Ok(())
}

/// The slot that a statement names.
fn slot(holder: &Name, slot: keyward_custody::SlotId) -> Result<keyward_token::Slot> {
    keyward_token::Slot::new(slot.0).ok_or_else(|| {
        Failure::new(Kind::NotVerified, format!("The statement gives {holder} slot {slot}, which is none."))
    })
}

impl Trusted {
    /// The verified statement.
    pub fn statement(&self) -> &Statement {
        self.verified.statement()
    }

    /// The verified statement with what it lends.
    pub fn verified(&self) -> &Verified<Statement> {
        &self.verified
    }

    /// The vault's name.
    pub fn name(&self) -> &str {
        self.statement().name().as_str()
    }

    /// The vault's id in hexadecimal.
    pub fn id(&self) -> String {
        self.statement().vault_id().to_string()
    }

    /// What is compared on every machine that uses the vault.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The generation in force.
    pub fn generation(&self) -> u32 {
        self.statement().generation().number()
    }

    /// The vault's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whom archives are sealed to: `alice`, `bob`, `epoch 1`.
    pub fn sealed_to(&self) -> Vec<String> {
        self.verified.recipients().into_iter().map(|(to, _)| to.to_string()).collect()
    }

    /// The key file of an epoch.
    ///
    /// # Errors
    /// No such epoch or file (3); a file that is not the one that the statement names (7).
    pub fn key_file(&self, number: u32) -> Result<KeyFile> {
        let epoch =
            self.verified.epochs().iter().find(|epoch| epoch.number() == number).ok_or_else(|| {
                Failure::new(Kind::NotFound, format!("Vault `{}` has no epoch {number}. {SAFE}", self.name()))
            })?;
        let path = self.folder.join("keys").join(epoch.file_name());
        let bytes = files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?;
        let fail = |error| custody_failure(&path.display().to_string(), SAFE, error);
        self.verified.key_file(number, &bytes).map_err(fail)
    }

    /// The locked identity of a passphrase holder.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn holder_file(&self, name: &Name) -> Result<Vec<u8>> {
        let path = self.folder.join("holders").join(format!("{name}.age"));
        files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))
    }

    /// The tokens that hold, as unlocking needs them.
    ///
    /// # Errors
    /// A seed object that this build cannot name.
    pub fn holders(&self) -> Result<Holders> {
        let statement = self.statement();
        let mut tokens = Vec::new();
        for (name, holder) in self.verified.holders() {
            let Some(token) = holder.token() else { continue };
            let seed_object = match &token.seed_object {
                None => None,
                Some(object) => Some(object.to_string().parse().map_err(|_| {
                    Failure::new(
                        Kind::NotVerified,
                        format!("The seed object {object} of {name} is no PIV object."),
                    )
                })?),
            };
            tokens.push(Holder {
                name: name.to_string(),
                serial: token.serial,
                emulated: token.verdict == Verdict::Emulated,
                card_proof: token.card_proof.and_then(|key| key.p256_point().copied()),
                archive: token.archive.clone(),
                archive_slot: slot(name, token.archive_slot)?,
                custody: token.custody.clone(),
                custody_slot: slot(name, token.custody_slot)?,
                seed_object,
                archive_touch: token.touch_policy != keyward_custody::TouchPolicy::Never,
            });
        }
        Ok(Holders {
            vault_id: self.id(),
            vault_name: self.name().to_owned(),
            test: statement.is_test(),
            tokens,
            together: statement
                .policy()
                .minimal_sets()
                .iter()
                .filter(|set| set.len() > 1)
                .take(4)
                .map(|set| set.iter().map(Name::as_str).collect::<Vec<_>>().join(" and "))
                .collect(),
        })
    }

    /// Warns of a statement that expires, and refuses one past its grace.
    ///
    /// # Errors
    /// Refused after the grace.
    pub fn check_expiry_for_sealing(&self, ui: Ui) -> Result<()> {
        let name = self.name();
        match self.statement().expiry(now()?) {
            Expiry::Fresh => {}
            Expiry::Warn { days_left } => {
                ui.warn(format!(
                    "The statement of vault `{name}` expires in {}.",
                    ui::count(days_left.into(), "day", "days")
                ));
            }
            Expiry::Grace { days_left } => ui.warn(format!(
                "The statement of vault `{name}` has expired; sealing goes on for {} more.",
                ui::count(days_left.into(), "day", "days")
            )),
            Expiry::Expired { .. } => {
                return Err(Failure::new(
                    Kind::Refused,
                    format!(
                        "The statement of vault `{name}` expired on {}. Nothing was written.",
                        self.statement().expires()
                    ),
                )
                .hint("An admin signs a new generation. Opening still works."));
            }
        }
        Ok(())
    }
}

/// The time now, as statements write it.
///
/// # Errors
/// A clock outside of 1970 to 9999.
pub fn now() -> Result<Timestamp> {
    Timestamp::from_system(SystemTime::now())
        .map_err(|_| Failure::new(Kind::Other, "This machine's clock shows no year from 1970 to 9999."))
}

fn save(state: &State, pins: &Pins) -> Result<()> {
    let bytes = pins.to_bytes().map_err(|error| custody_failure("The pin", SAFE, error))?;
    state.set_pin(&pins.vault_id().to_string(), &bytes)
}

fn shown(folder: &Path) -> String {
    format!("Vault {}", folder.display())
}

/// The pin of the vault that the folder claims to be.
fn pins_for(state: &State, folder: &Path, files: &VaultFiles) -> Result<Pins> {
    let pinned = state.pinned();
    let parse = |bytes: Vec<u8>| {
        Pins::parse(&bytes).map_err(|error| custody_failure("The pin on this machine", SAFE, error))
    };
    // Any statement that can be read says which vault the folder claims to be; which one is true is checked with
    // the pin in hand.
    let mut generation = files.highest();
    let mut claimed = None;
    while let Some(current) = generation {
        claimed = files.statement(current).and_then(|bytes| Statement::parse(bytes).ok());
        generation = keyward_custody::Generation::new(current.number().saturating_sub(1));
        if claimed.is_some() {
            break;
        }
    }
    if let Some(statement) = &claimed
        && let Some(bytes) = state.pin(&statement.vault_id().to_string())?
    {
        return parse(bytes);
    }
    match (&claimed, pinned.as_slice()) {
        // Nothing readable, and one vault known here: its pin says what is wrong with the files.
        (None, [only]) => match state.pin(only)? {
            Some(bytes) => parse(bytes),
            None => Err(not_trusted(folder)),
        },
        (None, _) if files.highest().is_some() => Err(Failure::new(
            Kind::NotVerified,
            format!("No statement in {} can be read. {SAFE}", folder.display()),
        )),
        _ => Err(not_trusted(folder)),
    }
}

fn not_trusted(folder: &Path) -> Failure {
    Failure::new(
        Kind::NotVerified,
        format!("The vault in {} is not trusted on this machine. {SAFE}", folder.display()),
    )
    .hint("Compare its words with keyward vault trust.")
}

fn read_files(folder: &Path) -> Result<VaultFiles> {
    let statements = folder.join("statements");
    let entries = statements.read_dir().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Failure::new(Kind::NotFound, format!("There is no vault in {}. {SAFE}", folder.display()))
                .hint("Name the vault's folder with --vault, or make one with keyward init.")
        }
        _ => Failure::io("Reading", &statements, &e),
    })?;
    let mut found = VaultFiles::new();
    let mut count = 0_usize;
    for entry in entries {
        let entry = entry.map_err(|e| Failure::io("Reading", &statements, &e))?;
        let Some(file) = entry.file_name().to_str().and_then(VaultFile::from_file_name) else { continue };
        count = count.saturating_add(1);
        if count > MOST_FILES {
            return Err(Failure::new(
                Kind::NotVerified,
                format!("{} has more than {MOST_FILES} statement files. {SAFE}", statements.display()),
            ));
        }
        let path = entry.path();
        let bytes = files::read(&path).map_err(|e| Failure::io("Reading", &path, &e))?;
        found.insert(file, bytes);
    }
    if found.highest().is_none() {
        return Err(Failure::new(
            Kind::NotFound,
            format!("There is no statement in {}. {SAFE}", statements.display()),
        ));
    }
    Ok(found)
}
