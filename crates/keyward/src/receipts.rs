//! Receipts for what this host seals.
//!
//! ```text
//! lock of the series ─> what waits is settled ─> number, receipt signed and noted ─> archive published ─> receipt beside it
//! ```
//!
//! Killed anywhere in between, there is no archive, or one whose receipt is noted here: the next run of this host that seals
//! in the series or verifies puts it in place.

use std::num::NonZeroU32;
use std::path::Path;

use keyward_age::Recipient;
use keyward_archive::{Place, Prepared, SealReport, Sealed};
use keyward_custody::{
    ArchiveFacts, Auditor, Blake3, Digest, Generation, GoneMap, KeyFile, Name, RECEIPT_SUFFIX, Receipt,
    Sealer, SealerKey, Sequence, Series, SignedReceipt,
};

use crate::ledger::Ledger;
use crate::own_key::Beside;
use crate::report::{Failure, Kind, Result, archive_failure, custody_failure};
use crate::state::State;
use crate::ui::Ui;
use crate::vault_folder::{self, Trusted};
use crate::{origin, places};

/// This host as a sealer of a vault.
pub struct Scribe<'a> {
    ui: Ui,
    state: &'a State,
    vault: &'a Trusted,
    name: Name,
    key: SealerKey,
}

/// The receipt that an archive got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    pub sealer: Name,
    pub series: Series,
    pub sequence: Sequence,
}

impl Given {
    fn of(receipt: &Receipt) -> Given {
        Given {
            sealer: receipt.sealer().clone(),
            series: receipt.series().clone(),
            sequence: receipt.sequence(),
        }
    }
}

/// What an upload that can be finished after a kill keeps for its receipt from before its first byte on. The rest is known
/// when the archive is sealed, and stands in it.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noted {
    series: Series,
    /// The one it is sealed under.
    generation: Generation,
    epoch: Option<NonZeroU32>,
    /// The text of the archive's own key file.
    key_file: Option<String>,
}

impl Noted {
    /// Reads what a killed run noted; nothing where it was no run with `--resume`.
    ///
    /// # Errors
    /// A note that is none (7).
    pub fn parse(place: &Place, note: &[u8]) -> Result<Option<Noted>> {
        if note.is_empty() {
            return Ok(None);
        }
        let parsed = serde_json::from_slice(note);
        parsed.map(Some).map_err(|error| {
            let what = format!("What was noted of {place} on this host cannot be read: {error}.");
            Failure::new(Kind::NotVerified, what).hint("Without --resume it is sealed anew.")
        })
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        // A list of plain members has no value that could not be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The archive's own key file, if it has one.
    ///
    /// # Errors
    /// One that is not of this vault.
    pub fn key_file(&self, vault: &Trusted) -> Result<Option<KeyFile>> {
        let file = self.key_file.as_ref().map(|text| vault.verified().own_key_file(text.as_bytes()));
        file.transpose().map_err(|error| custody_failure("The noted key file", "Nothing was sent.", error))
    }
}

impl std::fmt::Display for Given {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "receipt {} of series {}", self.sequence, self.series)
    }
}

/// What waits, looked at.
enum Found {
    /// The receipt's archive stands there.
    It,
    /// Nothing is there, or something else.
    Not,
}

impl<'a> Scribe<'a> {
    /// This host, if it is a sealer of the vault.
    ///
    /// # Errors
    /// A key that cannot be read.
    pub fn find(ui: Ui, state: &'a State, vault: &'a Trusted) -> Result<Option<Scribe<'a>>> {
        let Some(key) = state.sealer_key(vault.statement().vault_id())? else { return Ok(None) };
        let public = key.public();
        let sealers = vault.verified().sealers().iter();
        let mut own = sealers.filter(|(_, sealer)| sealer.removed().is_none() && *sealer.key() == public);
        let name = own.next().map(|(name, _)| name.clone());
        Ok(name.map(|name| Scribe { ui, state, vault, name, key }))
    }

    /// The name that the statement gives this host.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Gives an archive its name and its receipt: `publish` does the former, between noting the receipt and writing it.
    ///
    /// # Errors
    /// Those of `publish`; of the place and of this host's own state. The message says whether the archive stands.
    pub fn publish(
        &self,
        series: &Series,
        place: &Place,
        facts: ArchiveFacts,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<Given> {
        self.publish_under(self.vault.statement().generation(), series, place, facts, publish)
    }

    fn publish_under(
        &self,
        generation: Generation,
        series: &Series,
        place: &Place,
        facts: ArchiveFacts,
        publish: impl FnOnce() -> Result<()>,
    ) -> Result<Given> {
        let mut ledger = self.ledger(series)?;
        let gone = self.replaced_at(place)?;
        let link = self.note(&mut ledger, generation, address(place), Some(facts), &gone)?;
        if let Err(failure) = publish() {
            // Whether it stands there all the same is looked at, not guessed: a store may have answered too late.
            self.settle(&mut ledger)?;
            return Err(failure);
        }
        self.write(&mut ledger, link)
    }

    /// Writes a receipt without an archive into `folder`: what may be deleted from now on. It takes the place of the one
    /// before.
    ///
    /// # Errors
    /// Those of the place and of this host's own state.
    pub fn retire(&self, series: &Series, folder: &Place, gone: &GoneMap) -> Result<Given> {
        let mut ledger = self.ledger(series)?;
        let place = within(folder, &format!("{}.{series}.retired{RECEIPT_SUFFIX}", self.name));
        let mut gone = gone.clone();
        if let Some(before) = self.counting(&place)? {
            gone.replace(before.sealer(), before.series(), before.sequence());
        }
        let link =
            self.note(&mut ledger, self.vault.statement().generation(), address(&place), None, &gone)?;
        self.write(&mut ledger, link)
    }

    /// The receipt of an archive that an interrupted run had sealed, and that stands at its place now: the one which that run
    /// gave it, or a new one that says the same.
    ///
    /// # Errors
    /// Those of the place and of this host's own state.
    pub fn finish(&self, place: &Place, resumed: &places::Resumed) -> Result<Given> {
        self.settle_all()?;
        let fail =
            |error| archive_failure(&place.to_string(), "The archive stands, without a receipt.", error);
        let sealed = Sealed::open(place).map_err(fail)?;
        let header = Digest::from_bytes(sealed.header_digest());
        if let Some(receipt) = self.counting(&place.sibling(RECEIPT_SUFFIX))?
            && receipt.archive().is_some_and(|facts| facts.header == header)
        {
            return Ok(Given::of(&receipt));
        }
        let noted = resumed.noted.as_ref();
        let own_key = noted.map(|noted| noted.key_file(self.vault)).transpose()?.flatten();
        let blake3 = match resumed.sealed {
            Some((_, blake3)) => blake3,
            None => sealed.digest(&()).map_err(fail)?,
        };
        let facts = ArchiveFacts {
            adopted: false,
            blake3: Blake3::from_bytes(blake3),
            epoch: noted.and_then(|noted| noted.epoch),
            header,
            name: object_name(place),
            own_key: own_key.as_ref().map(KeyFile::digest),
            size: sealed.size(),
        };
        let series = noted.map_or_else(|| series_of(place), |noted| noted.series.clone());
        // A host that has become a sealer since then cannot vouch for a time before.
        let certified = self.vault.verified().sealers().get(&self.name).map(Sealer::added);
        let sealed_under = noted.map_or(self.vault.statement().generation(), |noted| noted.generation);
        let generation = certified.map_or(sealed_under, |certified| certified.max(sealed_under));
        self.publish_under(generation, &series, place, facts, || Ok(()))
    }

    /// Puts every receipt of this host in place whose archive stands there without it.
    ///
    /// # Errors
    /// Those of this host's own state.
    pub fn settle_all(&self) -> Result<()> {
        for series in self.state.own_series(self.vault.statement().vault_id()) {
            self.ledger(&series)?;
        }
        Ok(())
    }

    /// Takes a series, and settles what waits in it.
    fn ledger(&self, series: &Series) -> Result<Ledger> {
        let mut ledger = self.state.ledger(self.vault.statement().vault_id(), &self.name, series)?;
        self.settle(&mut ledger)?;
        Ok(ledger)
    }

    fn settle(&self, ledger: &mut Ledger) -> Result<()> {
        for waiting in ledger.own.waiting().to_vec() {
            let receipt = waiting.signed().receipt();
            let place = places::place(self.state, Path::new(&waiting.place))?;
            let found = match receipt.archive() {
                None => Found::It,
                Some(facts) => match Sealed::open(&place) {
                    Ok(sealed) => match sealed.size() == facts.size
                        && sealed.header_digest() == *facts.header.as_bytes()
                    {
                        true => Found::It,
                        false => Found::Not,
                    },
                    Err(
                        keyward_archive::Error::Missing { .. }
                        | keyward_archive::Error::NotAnArchive { .. }
                        | keyward_archive::Error::Age(_),
                    ) => Found::Not,
                    Err(error) => {
                        // It stays noted: its number is not given again.
                        self.ui.warn(format!(
                            "Receipt {} of series {} waits for {}, which cannot be looked at: {error}.",
                            receipt.sequence(),
                            receipt.series(),
                            waiting.place
                        ));
                        continue;
                    }
                },
            };
            match found {
                Found::It => {
                    let given = self.write(ledger, receipt.link())?;
                    self.ui.say(format!("{} was left without {given}; it has it now.", waiting.place));
                }
                Found::Not => {
                    ledger.own.dropped(receipt.link());
                    ledger.save()?;
                }
            }
        }
        Ok(())
    }

    /// Gives out the next number, and writes it down.
    fn note(
        &self,
        ledger: &mut Ledger,
        generation: Generation,
        place: String,
        archive: Option<ArchiveFacts>,
        gone: &GoneMap,
    ) -> Result<keyward_custody::Link> {
        let heads = self.state.heads(self.vault.statement().vault_id())?;
        let receipt = ledger.own.next(&heads, generation, vault_folder::now()?, archive, gone);
        let receipt =
            receipt.map_err(|error| custody_failure("The receipt", "Nothing was written.", error))?;
        let link = receipt.link();
        ledger.own.wait(place, SignedReceipt::sign(receipt, &self.key));
        ledger.save()?;
        Ok(link)
    }

    /// Writes a noted receipt to its place.
    fn write(&self, ledger: &mut Ledger, link: keyward_custody::Link) -> Result<Given> {
        let waiting = ledger.own.waiting().iter().find(|waiting| waiting.signed().receipt().link() == link);
        let Some(waiting) = waiting.cloned() else {
            return Err(Failure::new(Kind::Other, "The receipt was noted and is gone again."));
        };
        let receipt = waiting.signed().receipt();
        let place = places::place(self.state, Path::new(&waiting.place))?;
        let at = if receipt.archive().is_some() { place.sibling(RECEIPT_SUFFIX) } else { place };
        at.replace_small(&waiting.signed().to_bytes()).map_err(|error| {
            let safe = "The archive stands; its receipt is noted here, and the next run writes it.";
            archive_failure(&at.to_string(), safe, error)
        })?;
        self.state.see(receipt, folder(&waiting.place))?;
        ledger.own.published(link);
        ledger.save()?;
        Ok(Given::of(receipt))
    }

    /// What an archive at this place replaces: the one whose receipt stands there.
    fn replaced_at(&self, place: &Place) -> Result<GoneMap> {
        let mut gone = GoneMap::default();
        if let Some(before) = self.counting(&place.sibling(RECEIPT_SUFFIX))? {
            gone.replace(before.sealer(), before.series(), before.sequence());
        }
        Ok(gone)
    }

    /// The receipt at a place, if one stands there and counts.
    fn counting(&self, at: &Place) -> Result<Option<Receipt>> {
        let bytes = match at.read_small(SignedReceipt::MAX_LEN) {
            Ok(bytes) => bytes,
            Err(keyward_archive::Error::Missing { .. } | keyward_archive::Error::TooLarge { .. }) => {
                return Ok(None);
            }
            Err(error) => return Err(archive_failure(&at.to_string(), "Nothing was written.", error)),
        };
        let heads = self.state.heads(self.vault.statement().vault_id())?;
        Ok(Auditor::new(self.vault.verified(), &heads).receipt(&bytes).ok())
    }
}

/// Whom an archive is about to be sealed to.
pub struct Audience {
    /// `alice`, `epoch 1`, `its own key`.
    pub names: Vec<String>,
    pub recipients: Vec<Recipient>,
    own: Option<KeyFile>,
}

impl Audience {
    /// The holders and the epoch in force, or a key of the archive's own instead of the epoch.
    ///
    /// # Errors
    /// Those of making a key.
    pub fn of(vault: &Trusted, own_key: bool) -> Result<Audience> {
        let (sealed_to, own) = if own_key {
            let own = vault.verified().own_key();
            let own = own.map_err(|error| custody_failure("--own-key", "Nothing was written.", error))?;
            (own.recipients, Some(own.file))
        } else {
            (vault.verified().recipients(), None)
        };
        let (names, recipients) = sealed_to.into_iter().map(|(to, key)| (to.to_string(), key)).unzip();
        Ok(Audience { names, recipients, own })
    }

    /// Refuses a key of its own on a host that is no sealer, whose receipt could not name it.
    ///
    /// # Errors
    /// Refused (9).
    pub fn check(&self, scribe: Option<&Scribe<'_>>) -> Result<()> {
        if self.own.is_none() || scribe.is_some() {
            return Ok(());
        }
        Err(Failure::new(
            Kind::Refused,
            "This host is no sealer, and it is the receipt that names an archive's own key. Nothing was written.",
        )
        .hint("keyward sealer key shows how it becomes one."))
    }

    /// Gives a sealed archive its name, right after its key file, if it has one.
    ///
    /// # Errors
    /// Those of the place.
    pub fn publish(
        &self,
        place: &Place,
        prepared: Prepared,
    ) -> std::result::Result<(), keyward_archive::Error> {
        let beside = self.own.as_ref().map_or_else(|| Ok(Beside::default()), |own| Beside::write(place, own));
        match beside {
            Ok(beside) => beside.publish(|| prepared.publish().map(drop)),
            Err(error) => {
                // What is sealed is not lost for it, where it can be gone on with.
                prepared.leave();
                Err(error)
            }
        }
    }

    /// What is known for the receipt before anything is sealed to them.
    pub fn noted(&self, vault: &Trusted, series: &Series) -> Noted {
        let key_file = self.own.as_ref().map(|file| String::from_utf8_lossy(file.bytes()).into_owned());
        Noted {
            series: series.clone(),
            generation: vault.statement().generation(),
            epoch: self.epoch(vault),
            key_file,
        }
    }

    fn epoch(&self, vault: &Trusted) -> Option<NonZeroU32> {
        let in_force = vault.verified().epoch_in_force().filter(|_| self.own.is_none());
        in_force.and_then(|epoch| NonZeroU32::new(epoch.number()))
    }

    /// What a receipt says of an archive that was sealed to them.
    pub fn facts(&self, vault: &Trusted, place: &Place, report: &SealReport) -> ArchiveFacts {
        ArchiveFacts {
            adopted: false,
            blake3: Blake3::from_bytes(report.blake3),
            epoch: self.epoch(vault),
            header: Digest::from_bytes(report.header),
            name: object_name(place),
            own_key: self.own.as_ref().map(KeyFile::digest),
            size: report.sealed,
        }
    }
}

/// Whether the receipt of the archive that stands there names a key of its own.
///
/// # Errors
/// Those of the place.
pub fn has_own_key(place: &Place) -> Result<bool> {
    let receipt = origin::read_receipt(place)?.and_then(|bytes| SignedReceipt::parse(&bytes).ok());
    Ok(receipt.is_some_and(|signed| signed.receipt().archive().is_some_and(|facts| facts.own_key.is_some())))
}

/// A series by its name.
///
/// # Errors
/// A name outside of the grammar (2).
pub fn series(name: &str) -> Result<Series> {
    name.parse().map_err(|error| custody_failure("--series", "Nothing was written.", error))
}

/// The series of an archive that stands there: that of its receipt, or its name without its ending.
///
/// # Errors
/// Those of the place.
pub fn series_at(place: &Place) -> Result<Series> {
    let receipt = origin::read_receipt(place)?.and_then(|bytes| SignedReceipt::parse(&bytes).ok());
    Ok(match receipt {
        Some(signed) => signed.receipt().series().clone(),
        None => series_of(place),
    })
}

/// The series that an archive's name gives.
pub fn series_of(place: &Place) -> Series {
    let name = object_name(place);
    Series::of_source(name.strip_suffix(".age").unwrap_or(&name))
}

/// Lets a host seal that is no sealer, with a warning; but not where a receipt stands that would then be another archive's.
///
/// # Errors
/// Refused (9) where a receipt stands.
pub fn allow_none(ui: Ui, vault: &Trusted, place: &Place) -> Result<()> {
    let at = place.sibling(RECEIPT_SUFFIX);
    match at.read_small(SignedReceipt::MAX_LEN) {
        Err(keyward_archive::Error::Missing { .. }) => {
            warn_no_sealer(ui, vault);
            Ok(())
        }
        Err(error) if !matches!(error, keyward_archive::Error::TooLarge { .. }) => {
            Err(archive_failure(&at.to_string(), "Nothing was written.", error))
        }
        _ => Err(Failure::new(
            Kind::Refused,
            format!("{at} stands there, and this host, which is no sealer, cannot write another. Nothing was written."),
        )
        .hint("Choose another name, or make this host a sealer: keyward sealer key, then keyward sealer add.")),
    }
}

/// What a person is told of a host that is no sealer.
fn warn_no_sealer(ui: Ui, vault: &Trusted) {
    ui.warn(format!(
        "This host is no sealer of vault `{}`: the archive gets no receipt. keyward sealer key shows how it becomes one.",
        vault.name()
    ));
}

/// The last component of a place's name.
pub fn object_name(place: &Place) -> String {
    place.name().to_string_lossy().into_owned()
}

/// A place's name by which it is known wherever this host calls it from: a local path is made absolute.
pub fn address(place: &Place) -> String {
    match place.path() {
        Some(path) => {
            std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).to_string_lossy().into_owned()
        }
        None => place.to_string(),
    }
}

/// What stands before the last slash of an address.
pub fn folder(address: &str) -> &str {
    address.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// The folder or prefix in which a place is.
///
/// # Errors
/// Those of naming a place.
pub fn folder_of(state: &State, place: &Place) -> Result<Place> {
    let address = address(place);
    places::place(state, Path::new(folder(&address)))
}

/// A name in a folder or prefix.
fn within(folder: &Place, name: &str) -> Place {
    match folder.path() {
        Some(path) => path.join(name).into(),
        None => folder.sibling(&format!("/{name}")),
    }
}
