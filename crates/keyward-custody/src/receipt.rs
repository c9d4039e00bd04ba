//! Receipts: a sealer's signed, numbered record of one archive, chained to the one before (`docs/formats.md`, "Receipt").
//!
//! A [`Receipt`] that was read is a claim. Whether it counts, `audit.rs` says with a verified statement in hand.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::canonical::{self, serde_as_text};
use crate::{
    Digest, Error, Generation, Link, Name, Namespace, Numbers, PublicKey, SealerKey, Sequence, Series,
    Signature, SignatureError, Timestamp, VaultId,
};

const FORMAT: &str = "keyward-receipt-v1";
const WHAT: &str = "receipt";
/// The most bytes of a receipt's line.
const MAX_LINE: usize = 60 << 10;
/// The longest name of an archive, in bytes.
const MAX_NAME: usize = 1024;
/// JSON numbers are exact up to here (RFC 8785 section 3.2.2.3).
const MAX_SIZE: u64 = (1 << 53) - 1;

/// A BLAKE3 hash; as text 64 lower-case hexadecimal digits, the output of `b3sum`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blake3([u8; 32]);

impl Blake3 {
    /// The hash with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Blake3 {
        Blake3(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        canonical::write_hex(f, &self.0)
    }
}

impl fmt::Debug for Blake3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        canonical::write_hex(f, &self.0)
    }
}

impl std::str::FromStr for Blake3 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Blake3, Error> {
        canonical::parse_hex(text).map(Blake3).ok_or(Error::Hex { what: "a BLAKE3 hash", digits: 64 })
    }
}

serde_as_text!(Blake3);

/// What a receipt says of its archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFacts {
    /// That the sealer found the archive and vouches for it; it did not make it.
    pub adopted: bool,
    /// BLAKE3 of the whole archive.
    pub blake3: Blake3,
    /// The epoch it was sealed to; none where that is not known, or the vault has none.
    pub epoch: Option<NonZeroU32>,
    /// SHA-256 of the age header and the 16-byte payload nonce behind it.
    pub header: Digest,
    /// The last component of the archive's path or key.
    pub name: String,
    /// The digest of the key file beside an archive that has a key of its own; none for any other.
    pub own_key: Option<Digest>,
    /// Its size in bytes.
    pub size: u64,
}

/// Numbers of a series whose archives need not be there any more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gone {
    /// Another archive took their place.
    pub replaced: Numbers,
    /// They may be deleted.
    pub retired: Numbers,
}

/// What is gone, by sealer and series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GoneMap(BTreeMap<Name, BTreeMap<Series, Gone>>);

impl GoneMap {
    /// What is gone of a series.
    pub fn of(&self, sealer: &Name, series: &Series) -> Option<&Gone> {
        self.0.get(sealer)?.get(series)
    }

    /// Whether the archive of that receipt was replaced.
    pub fn is_replaced(&self, sealer: &Name, series: &Series, number: Sequence) -> bool {
        self.of(sealer, series).is_some_and(|gone| gone.replaced.contains(number))
    }

    /// Whether the archive of that receipt need not be there.
    pub fn excuses(&self, sealer: &Name, series: &Series, number: Sequence) -> bool {
        self.of(sealer, series)
            .is_some_and(|gone| gone.replaced.contains(number) || gone.retired.contains(number))
    }

    /// Says that the archive of that receipt was replaced.
    pub fn replace(&mut self, sealer: &Name, series: &Series, number: Sequence) {
        self.entry(sealer, series).replaced.insert(number);
    }

    /// Says that the archives of these receipts may be deleted.
    pub fn retire(&mut self, sealer: &Name, series: &Series, numbers: &Numbers) {
        if !numbers.is_empty() {
            self.entry(sealer, series).retired.extend(numbers);
        }
    }

    /// Adds all that another map says.
    pub fn extend(&mut self, other: &GoneMap) {
        for (sealer, series, gone) in other.iter() {
            let entry = self.entry(sealer, series);
            entry.replaced.extend(&gone.replaced);
            entry.retired.extend(&gone.retired);
        }
    }

    /// Every entry: sealer, series, numbers.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Series, &Gone)> {
        self.0.iter().flat_map(|(sealer, all)| all.iter().map(move |(series, gone)| (sealer, series, gone)))
    }

    fn entry(&mut self, sealer: &Name, series: &Series) -> &mut Gone {
        self.0.entry(sealer.clone()).or_default().entry(series.clone()).or_default()
    }

    /// Whether there is an entry that says nothing: another spelling of none.
    pub(crate) fn has_empty_entry(&self) -> bool {
        self.0.values().any(|all| {
            all.is_empty() || all.values().any(|gone| gone.replaced.is_empty() && gone.retired.is_empty())
        })
    }
}

/// What a receipt says; [`Receipt::new`] makes one of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFacts {
    /// The vault.
    pub vault: VaultId,
    /// The sealer.
    pub sealer: Name,
    /// The series.
    pub series: Series,
    /// The receipt before it in the series; none for the first.
    pub after: Option<Link>,
    /// The generation in force.
    pub generation: Generation,
    /// When it was made, by the sealer's clock.
    pub time: Timestamp,
    /// The archive; none for a receipt that only says what is gone.
    pub archive: Option<ArchiveFacts>,
    /// All that this series has ever said to be gone.
    pub gone: GoneMap,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    archive: Option<ArchiveFacts>,
    format: String,
    generation: Generation,
    gone: GoneMap,
    previous: Option<Digest>,
    sealer: Name,
    sequence: Sequence,
    series: Series,
    time: Timestamp,
    vault: VaultId,
}

/// A receipt that agrees with itself. Whether it is true, its signature and the statement say.
#[derive(Clone, PartialEq, Eq)]
pub struct Receipt {
    body: Body,
    line: Vec<u8>,
    digest: Digest,
}

impl Receipt {
    /// The receipt that says this, one number above the receipt before it.
    ///
    /// [`Error::Receipt`] for facts that contradict each other, and past the last number that there can be.
    pub fn new(facts: ReceiptFacts) -> Result<Receipt, Error> {
        let ReceiptFacts { vault, sealer, series, after, generation, time, archive, gone } = facts;
        let sequence = match after {
            None => Sequence::FIRST,
            Some(link) => link.sequence.next().ok_or(Error::Receipt { reason: "the series is full" })?,
        };
        let previous = after.map(|link| link.digest);
        let format = FORMAT.to_owned();
        let body =
            Body { archive, format, generation, gone, previous, sealer, sequence, series, time, vault };
        body.check()?;
        let mut line = canonical::encode(WHAT, &body)?;
        line.push(b'\n');
        if line.len() > MAX_LINE {
            return Err(Error::TooLong { what: WHAT, len: line.len(), max: MAX_LINE });
        }
        let digest = Digest::of(&line);
        Ok(Receipt { body, line, digest })
    }

    /// Reads a receipt's line, which ends in a newline.
    ///
    /// [`Error::Malformed`], [`Error::NotCanonical`], [`Error::TooLong`], [`Error::Receipt`].
    pub fn parse(line: &[u8]) -> Result<Receipt, Error> {
        if line.len() > MAX_LINE {
            return Err(Error::TooLong { what: WHAT, len: line.len(), max: MAX_LINE });
        }
        let json = line.strip_suffix(b"\n").ok_or(Error::Receipt { reason: "its line has no end" })?;
        let body: Body = canonical::decode(WHAT, json)?;
        body.check()?;
        Ok(Receipt { body, line: line.to_vec(), digest: Digest::of(line) })
    }

    /// The line that is signed: canonical JSON and a newline.
    pub fn line(&self) -> &[u8] {
        &self.line
    }

    /// The digest of that line, newline included.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Number and digest.
    pub fn link(&self) -> Link {
        Link { digest: self.digest, sequence: self.body.sequence }
    }

    /// The vault.
    pub fn vault(&self) -> VaultId {
        self.body.vault
    }

    /// The sealer.
    pub fn sealer(&self) -> &Name {
        &self.body.sealer
    }

    /// The series.
    pub fn series(&self) -> &Series {
        &self.body.series
    }

    /// The number in the series.
    pub fn sequence(&self) -> Sequence {
        self.body.sequence
    }

    /// The digest of the receipt before; none for the first.
    pub fn previous(&self) -> Option<Digest> {
        self.body.previous
    }

    /// The generation that was in force.
    pub fn generation(&self) -> Generation {
        self.body.generation
    }

    /// When it was made, by the sealer's clock.
    pub fn time(&self) -> Timestamp {
        self.body.time
    }

    /// The archive; none for a receipt that only says what is gone.
    pub fn archive(&self) -> Option<&ArchiveFacts> {
        self.body.archive.as_ref()
    }

    /// All that this series had said to be gone.
    pub fn gone(&self) -> &GoneMap {
        &self.body.gone
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} {} {} {})", self.sealer(), self.series(), self.sequence(), self.digest)
    }
}

impl Body {
    /// The rules 2 to 5 of `docs/formats.md`, "Receipt".
    fn check(&self) -> Result<(), Error> {
        let refuse = |reason| Err(Error::Receipt { reason });
        if self.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        if (self.sequence == Sequence::FIRST) != self.previous.is_none() {
            return refuse("its number and its `previous` contradict each other");
        }
        if let Some(archive) = &self.archive {
            let name = archive.name.as_str();
            if matches!(name, "" | "." | "..") || name.len() > MAX_NAME || name.contains(['/', '\0']) {
                return refuse("its archive has no possible name");
            }
            if archive.own_key.is_some() && archive.epoch.is_some() {
                return refuse("its archive is sealed to an epoch and to a key of its own");
            }
            if archive.size > MAX_SIZE {
                return refuse("its archive is larger than any");
            }
        }
        if self.gone.has_empty_entry() {
            return refuse("it names a series of which nothing is gone");
        }
        let own = self.gone.of(&self.sealer, &self.series);
        let highest = own.and_then(|gone| gone.replaced.highest().max(gone.retired.highest()));
        if highest.is_some_and(|highest| highest >= self.sequence) {
            return refuse("it says that itself or a later one is gone");
        }
        Ok(())
    }
}

/// A receipt and its signature, as the file `NAME.receipt` holds them. Holding one says nothing: see `audit.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedReceipt {
    receipt: Receipt,
    signature: Signature,
}

impl SignedReceipt {
    /// The most bytes that the file of a receipt may have.
    pub const MAX_LEN: usize = 64 << 10;

    /// Signs a receipt with the sealer's key.
    pub fn sign(receipt: Receipt, key: &SealerKey) -> SignedReceipt {
        let signature = key.sign(Namespace::Receipt, receipt.line());
        SignedReceipt { receipt, signature }
    }

    /// Reads such a file: the line, then the armored signature, and nothing else.
    ///
    /// Those of [`Receipt::parse`]; [`Error::Signature`].
    pub fn parse(file: &[u8]) -> Result<SignedReceipt, Error> {
        if file.len() > SignedReceipt::MAX_LEN {
            return Err(Error::TooLong { what: WHAT, len: file.len(), max: SignedReceipt::MAX_LEN });
        }
        let end = file.iter().position(|byte| *byte == b'\n').map_or(file.len(), |at| at.saturating_add(1));
        let (line, armor) = file.split_at_checked(end).unwrap_or((file, &[]));
        let receipt = Receipt::parse(line)?;
        let signature = Signature::from_armored(armor).map_err(Error::Signature)?;
        Ok(SignedReceipt { receipt, signature })
    }

    /// The bytes of that file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.receipt.line().to_vec();
        bytes.extend_from_slice(self.signature.to_armored().as_bytes());
        bytes
    }

    /// What it says, as a claim.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        self.signature.verify(Namespace::Receipt, self.receipt.line(), key)
    }
}
