//! What a sealer knows of one of its own series (`docs/formats.md`, "Own series"): the last receipt it gave out, and the
//! ones that wait for their archives.
//!
//! A receipt is noted here before its archive gets its name. Whoever is killed in between leaves no archive, or an archive
//! whose receipt is here; never two receipts of one number. The caller holds a lock around all of it.

use serde::{Deserialize, Serialize};

use crate::{
    ArchiveFacts, Error, Generation, GoneMap, Heads, Link, Name, Numbers, Receipt, ReceiptFacts, Sequence,
    Series, SignedReceipt, Timestamp, VaultId, canonical,
};

const FORMAT: &str = "keyward-series-v1";
const WHAT: &str = "file of a series";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    format: String,
    gone: GoneMap,
    last: Option<Stored>,
    sealer: Name,
    series: Series,
    vault: VaultId,
    waiting: Vec<Waiting>,
}

/// A receipt's file, as text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stored(SignedReceipt);

impl std::fmt::Display for Stored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0.to_bytes()))
    }
}

impl std::str::FromStr for Stored {
    type Err = Error;

    fn from_str(text: &str) -> Result<Stored, Error> {
        SignedReceipt::parse(text.as_bytes()).map(Stored)
    }
}

canonical::serde_as_text!(Stored);

/// A receipt that waits until it stands beside its archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiting {
    /// Where the archive goes; where the receipt itself goes, if it is of no archive.
    pub place: String,
    receipt: Stored,
}

impl Waiting {
    /// The receipt.
    pub fn signed(&self) -> &SignedReceipt {
        &self.receipt.0
    }
}

/// A sealer's own series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnSeries(Body);

impl OwnSeries {
    /// A series without any receipt.
    pub fn new(vault: VaultId, sealer: Name, series: Series) -> OwnSeries {
        let format = FORMAT.to_owned();
        OwnSeries(Body {
            format,
            gone: GoneMap::default(),
            last: None,
            sealer,
            series,
            vault,
            waiting: Vec::new(),
        })
    }

    /// Reads the file `series/VAULT/SERIES.json`.
    ///
    /// [`Error::Malformed`], [`Error::NotCanonical`], [`Error::TooLong`]; [`Error::Receipt`] if a receipt in it is another
    /// series'.
    pub fn parse(bytes: &[u8]) -> Result<OwnSeries, Error> {
        let body: Body = canonical::decode(WHAT, bytes)?;
        if body.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        let own = |signed: &SignedReceipt| {
            let receipt = signed.receipt();
            (receipt.vault(), receipt.sealer(), receipt.series()) == (body.vault, &body.sealer, &body.series)
        };
        let last = body.last.iter().map(|stored| &stored.0);
        if !last.chain(body.waiting.iter().map(Waiting::signed)).all(own) {
            return Err(Error::Receipt { reason: "it stands in the file of another series" });
        }
        Ok(OwnSeries(body))
    }

    /// The bytes of that file. [`Error::TooLong`] past 1 MiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        canonical::encode(WHAT, &self.0)
    }

    /// The vault.
    pub fn vault_id(&self) -> VaultId {
        self.0.vault
    }

    /// The sealer.
    pub fn sealer(&self) -> &Name {
        &self.0.sealer
    }

    /// The series.
    pub fn series(&self) -> &Series {
        &self.0.series
    }

    /// The receipts that wait, in the order of their numbers.
    pub fn waiting(&self) -> &[Waiting] {
        &self.0.waiting
    }

    /// The next receipt of this series. What it says to be gone is all that the series said before, what is noted here
    /// since, and `gone`.
    ///
    /// Heads that know a later receipt of this series win: this file may be an old copy.
    ///
    /// [`Error::Receipt`], [`Error::TooLong`].
    pub fn next(
        &self,
        heads: &Heads,
        generation: Generation,
        time: Timestamp,
        archive: Option<ArchiveFacts>,
        gone: &GoneMap,
    ) -> Result<Receipt, Error> {
        let body = &self.0;
        let newest = self.newest();
        let mut after = newest.map(Receipt::link);
        let mut all = newest.map_or_else(GoneMap::default, |receipt| receipt.gone().clone());
        let head = heads.head(&body.sealer, &body.series).map(|head| head.link());
        if let Some(head) = head.filter(|head| after.is_none_or(|after| head.sequence > after.sequence)) {
            after = Some(head);
            all.extend(heads.gone());
        }
        all.extend(&body.gone);
        all.extend(gone);
        Receipt::new(ReceiptFacts {
            vault: body.vault,
            sealer: body.sealer.clone(),
            series: body.series.clone(),
            after,
            generation,
            time,
            archive,
            gone: all,
        })
    }

    /// Notes a receipt, before its archive gets its name.
    pub fn wait(&mut self, place: String, signed: SignedReceipt) {
        self.0.waiting.push(Waiting { place, receipt: Stored(signed) });
    }

    /// The receipt of this number stands beside its archive.
    pub fn published(&mut self, link: Link) {
        let Some(waiting) = self.take(link) else { return };
        let known = self.0.last.as_ref().map(|last| last.0.receipt().sequence());
        if known.is_none_or(|known| known < link.sequence) {
            self.0.last = Some(waiting.receipt);
        }
    }

    /// The archive of this receipt never got its name. The number is free again, if none was given after it; else the next
    /// receipt says that nothing has it.
    pub fn dropped(&mut self, link: Link) {
        if self.take(link).is_none() {
            return;
        }
        if self.newest().is_some_and(|newest| newest.sequence() > link.sequence) {
            let mut number = Numbers::new();
            number.insert(link.sequence);
            self.0.gone.retire(&self.0.sealer, &self.0.series, &number);
        }
    }

    fn take(&mut self, link: Link) -> Option<Waiting> {
        let at = self.0.waiting.iter().position(|waiting| waiting.signed().receipt().link() == link)?;
        Some(self.0.waiting.remove(at))
    }

    fn newest(&self) -> Option<&Receipt> {
        let last = self.0.last.iter().map(|stored| stored.0.receipt());
        last.chain(self.0.waiting.iter().map(|waiting| waiting.signed().receipt()))
            .max_by_key(|receipt| receipt.sequence())
    }

    /// The number of the newest receipt, waiting or not.
    pub fn newest_number(&self) -> Option<Sequence> {
        self.newest().map(Receipt::sequence)
    }
}
