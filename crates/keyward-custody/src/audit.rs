//! Whether archives are what certified sealers made, and whether all of them are there.
//!
//! ```text
//! Verified<Statement> + Heads ──Auditor──┬──archive(found, receipt)──> Origin          before an archive is opened
//!                                        └──all(what was found)─────> lines, Heads     `keyward verify`
//! ```
//!
//! Pure: what stands in a store is brought here. Nothing else in this crate makes an [`Origin`].

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

use crate::{
    ArchiveFacts, Blake3, Differs, Digest, Finding, GoneMap, Heads, Name, Numbers, Receipt, Sequence, Series,
    SignedReceipt, Statement, Timestamp, Verified,
};

/// What the file name of a receipt adds to that of its archive.
pub const RECEIPT_SUFFIX: &str = ".receipt";

const DAY: i64 = 86_400;

/// An archive as it was found in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundArchive {
    /// The whole path, for naming it and for pairing it with its receipt.
    pub path: String,
    /// SHA-256 of its age header and payload nonce.
    pub header: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// BLAKE3 of all of it, if all of it was read.
    pub blake3: Option<Blake3>,
}

/// A receipt as it was found in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundReceipt {
    /// The whole path; that of its archive, and [`RECEIPT_SUFFIX`].
    pub path: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// How new the newest receipt of each series has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// The time it is.
    pub now: Timestamp,
    /// The most days that may have passed.
    pub days: u32,
}

/// A receipt that counts, and that the archive before the reader is the one it names.
#[derive(Clone, Debug)]
pub struct Origin {
    receipt: Receipt,
    facts: ArchiveFacts,
    finding: Finding,
    newest: Option<Sequence>,
}

impl Origin {
    /// The receipt.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// What it says of the archive.
    pub fn archive(&self) -> &ArchiveFacts {
        &self.facts
    }

    /// [`Finding::Ok`] or [`Finding::Superseded`].
    pub fn finding(&self) -> &Finding {
        &self.finding
    }

    /// The newest number of the series that this host has seen, if that is a later one.
    pub fn newer(&self) -> Option<Sequence> {
        self.newest.filter(|newest| *newest > self.receipt.sequence())
    }
}

/// A line of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditLine {
    /// The archive's path, or `receipts 5-7 of series photos by mira`, or `series photos by mira`.
    pub subject: String,
    /// What was found.
    pub finding: Finding,
    /// Whose receipt it is about, where one counts.
    pub receipt: Option<(Name, Series, Sequence)>,
}

/// What an audit found.
#[derive(Clone, Debug)]
pub struct Audit {
    /// A line for each archive, then for each receipt without one, then for what is missing, by name.
    pub lines: Vec<AuditLine>,
    /// The numbers that are missing, as they would be said to be gone: `retired`.
    pub missing: GoneMap,
    /// What this host has seen from now on.
    pub heads: Heads,
}

impl Audit {
    /// Whether nothing is wrong.
    pub fn is_fine(&self) -> bool {
        self.lines.iter().all(|line| line.finding.is_fine())
    }
}

/// Judges receipts by a verified statement and by what this host has seen.
#[derive(Clone, Copy, Debug)]
pub struct Auditor<'a> {
    statement: &'a Verified<Statement>,
    heads: &'a Heads,
}

type Chain = (Name, Series);

impl<'a> Auditor<'a> {
    /// Judges by these.
    pub fn new(statement: &'a Verified<Statement>, heads: &'a Heads) -> Auditor<'a> {
        Auditor { statement, heads }
    }

    /// Whether a receipt counts by itself: made by a sealer of this vault, while it was one, and the one that was seen
    /// before under its number.
    ///
    /// # Errors
    /// The verdict if it does not.
    pub fn receipt(&self, bytes: &[u8]) -> Result<Receipt, Finding> {
        let signed =
            SignedReceipt::parse(bytes).map_err(|error| Finding::Forged { reason: error.to_string() })?;
        let receipt = signed.receipt();
        let statement = self.statement.statement();
        if receipt.vault() != statement.vault_id() {
            return Err(Finding::OtherVault { found: receipt.vault() });
        }
        let name = receipt.sealer();
        let uncertified = |added| Finding::Uncertified { sealer: name.clone(), added };
        let sealer = self.statement.sealers().get(name).ok_or_else(|| uncertified(None))?;
        signed.verify(sealer.key()).map_err(|error| Finding::Forged { reason: error.to_string() })?;
        if receipt.generation() < sealer.added() {
            return Err(uncertified(Some(sealer.added())));
        }
        if receipt.generation() > statement.generation() {
            let (found, in_force) = (receipt.generation(), statement.generation());
            return Err(Finding::LaterGeneration { found, in_force });
        }
        let forked = || Finding::Forked { sequence: receipt.sequence(), series: receipt.series().clone() };
        if let Some(removed) = sealer.removed() {
            let last = removed.last().get(receipt.series());
            let counts = last.is_some_and(|last| receipt.sequence() <= last.sequence);
            if !counts || receipt.generation() >= removed.generation() {
                let (generation, last) = (removed.generation(), last.map(|last| last.sequence));
                return Err(Finding::RemovedSealer { sealer: name.clone(), generation, last });
            }
            if last.is_some_and(|last| last.sequence == receipt.sequence() && last.digest != receipt.digest())
            {
                return Err(forked());
            }
        }
        if let Some(head) = self.heads.head(name, receipt.series()).map(|head| head.link()) {
            let same = receipt.sequence() == head.sequence && receipt.digest() != head.digest;
            let next =
                receipt.sequence().before() == Some(head.sequence) && receipt.previous() != Some(head.digest);
            if same || next {
                return Err(forked());
            }
        }
        Ok(signed.receipt().clone())
    }

    /// Whether an archive is what a certified sealer made, by its receipt alone: before it is opened.
    ///
    /// # Errors
    /// The verdict if it is not.
    pub fn archive(&self, found: &FoundArchive, receipt: Option<&[u8]>) -> Result<Origin, Finding> {
        let receipt = self.receipt(receipt.ok_or(Finding::NoReceipt)?)?;
        let facts = receipt
            .archive()
            .cloned()
            .ok_or(Finding::Forged { reason: "it is the receipt of no archive".to_owned() })?;
        let (sealer, series, sequence) = (receipt.sealer(), receipt.series(), receipt.sequence());
        let newest = self.heads.head(sealer, series).map(|head| head.link().sequence);
        if facts.name != last_component(&found.path) {
            return Err(match newest {
                Some(newest) if newest > sequence => rolled_back(&receipt, &facts, newest),
                _ => reordered(&receipt, &facts),
            });
        }
        if let Some(what) = differs(&facts, found) {
            return Err(Finding::Swapped { what });
        }
        let gone = |map: &GoneMap| map.is_replaced(sealer, series, sequence);
        if gone(self.heads.gone()) {
            return Err(rolled_back(&receipt, &facts, newest.unwrap_or(sequence)));
        }
        let finding = self.in_force(&receipt, &facts);
        Ok(Origin { receipt, facts, finding, newest })
    }

    /// Audits all that was found in some folders or prefixes: every archive, and whether every receipt is there from the
    /// first to the newest that this host knows.
    ///
    /// `places` are those folders and prefixes: series that this host has seen there and of which nothing is left are
    /// missed, too.
    pub fn all(
        &self,
        places: &[String],
        archives: &[FoundArchive],
        receipts: &[FoundReceipt],
        freshness: Option<Freshness>,
    ) -> Audit {
        let judged: BTreeMap<&str, Result<Receipt, Finding>> =
            receipts.iter().map(|found| (found.path.as_str(), self.receipt(&found.bytes))).collect();
        let mut scene = Scene::of(self.heads, &judged);
        scene.find_missing(self, places);

        let mut lines = Vec::new();
        let by_path: BTreeMap<&str, &FoundArchive> =
            archives.iter().map(|found| (found.path.as_str(), found)).collect();
        scene.in_place = judged
            .iter()
            .filter_map(|(path, receipt)| {
                let receipt = receipt.as_ref().ok()?;
                let facts = receipt.archive()?;
                let found = by_path.get(path.strip_suffix(RECEIPT_SUFFIX)?)?;
                let here = facts.name == last_component(&found.path) && differs(facts, found).is_none();
                here.then(|| receipt.digest())
            })
            .collect();

        for (path, found) in &by_path {
            let receipt = judged.get(format!("{path}{RECEIPT_SUFFIX}").as_str());
            let finding = match receipt {
                None => Finding::NoReceipt,
                Some(Err(finding)) => finding.clone(),
                Some(Ok(receipt)) => self.one_of_all(&scene, found, receipt),
            };
            let receipt = receipt.and_then(|judged| judged.as_ref().ok()).map(number_of);
            lines.push(AuditLine { subject: (*path).to_owned(), finding, receipt });
        }
        for (path, receipt) in &judged {
            let archive = path.strip_suffix(RECEIPT_SUFFIX).unwrap_or(path);
            if by_path.contains_key(archive) {
                continue;
            }
            let line = match receipt {
                Err(finding) => {
                    AuditLine { subject: (*path).to_owned(), finding: finding.clone(), receipt: None }
                }
                Ok(receipt) => AuditLine {
                    subject: archive.to_owned(),
                    finding: scene.without_archive(receipt),
                    receipt: Some(number_of(receipt)),
                },
            };
            lines.push(line);
        }
        lines.extend(scene.missing_lines());
        lines.extend(freshness.into_iter().flat_map(|freshness| scene.stale_lines(freshness)));

        let mut missing = GoneMap::default();
        for ((sealer, series), numbers) in &scene.missing {
            missing.retire(sealer, series, numbers);
        }
        let mut heads = self.heads.clone();
        for (path, receipt) in &judged {
            if let Ok(receipt) = receipt
                && !scene.is_forked(receipt)
            {
                heads.see(receipt, folder(path));
            }
        }
        for line in lines.iter().filter(|line| line.finding == Finding::Missing) {
            if let Some((sealer, series, number)) = &line.receipt {
                let mut one = Numbers::new();
                one.insert(*number);
                missing.retire(sealer, series, &one);
            }
        }
        Audit { lines, missing, heads }
    }

    fn one_of_all(&self, scene: &Scene<'_>, found: &FoundArchive, receipt: &Receipt) -> Finding {
        let Some(facts) = receipt.archive() else {
            return Finding::Forged { reason: "it is the receipt of no archive".to_owned() };
        };
        if scene.is_forked(receipt) {
            return Finding::Forked { sequence: receipt.sequence(), series: receipt.series().clone() };
        }
        let newest = scene.newest(receipt);
        if facts.name != last_component(&found.path) {
            // A receipt that lacks in the series stood here: is it a later one than this?
            return match scene.missing_above(receipt) {
                true => rolled_back(receipt, facts, newest),
                false => reordered(receipt, facts),
            };
        }
        if let Some(what) = differs(facts, found) {
            return match scene.with_header(found.header).find(|other| other.digest() != receipt.digest()) {
                None => Finding::Swapped { what },
                Some(other) => match other.archive() {
                    None => Finding::Swapped { what },
                    Some(facts) if scene.is_older_copy(other, receipt) => rolled_back(other, facts, newest),
                    Some(facts) => reordered(other, facts),
                },
            };
        }
        if scene.gone.is_replaced(receipt.sealer(), receipt.series(), receipt.sequence()) {
            return rolled_back(receipt, facts, newest);
        }
        self.in_force(receipt, facts)
    }

    fn in_force(&self, receipt: &Receipt, facts: &ArchiveFacts) -> Finding {
        let Some(in_force) = self.statement.epoch_in_force() else { return Finding::Ok };
        let epoch = facts.epoch.map(NonZeroU32::get);
        let is_older = match epoch {
            Some(epoch) => epoch < in_force.number(),
            // Its own key file has the policy of the generation that it was sealed under.
            None => facts.own_key.is_some() && receipt.generation() < in_force.generation(),
        };
        match is_older {
            true => {
                let generation = receipt.generation();
                Finding::Superseded { generation, epoch, in_force: in_force.number() }
            }
            false => Finding::Ok,
        }
    }
}

/// All receipts that count by themselves, seen together.
struct Scene<'a> {
    chains: BTreeMap<Chain, BTreeMap<Sequence, Vec<&'a Receipt>>>,
    forked: BTreeSet<Digest>,
    gone: GoneMap,
    heads: &'a Heads,
    missing: BTreeMap<Chain, Numbers>,
    /// Receipts whose archives are where they belong.
    in_place: BTreeSet<Digest>,
}

impl<'a> Scene<'a> {
    fn of(heads: &'a Heads, judged: &'a BTreeMap<&str, Result<Receipt, Finding>>) -> Scene<'a> {
        let mut chains: BTreeMap<Chain, BTreeMap<Sequence, Vec<&Receipt>>> = BTreeMap::new();
        for receipt in judged.values().filter_map(|judged| judged.as_ref().ok()) {
            let chain = (receipt.sealer().clone(), receipt.series().clone());
            let same = chains.entry(chain).or_default().entry(receipt.sequence()).or_default();
            if same.iter().all(|other| other.digest() != receipt.digest()) {
                same.push(receipt);
            }
        }
        let forked = chains.iter().flat_map(|(chain, all)| forked(heads, chain, all)).collect();
        let mut scene = Scene {
            chains,
            forked,
            gone: heads.gone().clone(),
            heads,
            missing: BTreeMap::new(),
            in_place: BTreeSet::new(),
        };
        let counting: Vec<&Receipt> = scene.receipts().filter(|receipt| !scene.is_forked(receipt)).collect();
        counting.into_iter().for_each(|receipt| scene.gone.extend(receipt.gone()));
        scene
    }

    fn receipts(&self) -> impl Iterator<Item = &'a Receipt> + '_ {
        self.chains.values().flat_map(BTreeMap::values).flatten().copied()
    }

    fn is_forked(&self, receipt: &Receipt) -> bool {
        self.forked.contains(&receipt.digest())
    }

    fn with_header(&self, header: Digest) -> impl Iterator<Item = &'a Receipt> + '_ {
        self.receipts().filter(move |receipt| receipt.archive().is_some_and(|facts| facts.header == header))
    }

    /// Whether `other` is an older one of the same series whose archive is, or was, somewhere else: a copy of it stands in
    /// the place of `receipt`'s.
    fn is_older_copy(&self, other: &Receipt, receipt: &Receipt) -> bool {
        let (sealer, series) = (other.sealer(), other.series());
        (sealer, series) == (receipt.sealer(), receipt.series())
            && other.sequence() < receipt.sequence()
            && (self.in_place.contains(&other.digest())
                || self.gone.excuses(sealer, series, other.sequence()))
    }

    fn find_missing(&mut self, auditor: &Auditor<'_>, places: &[String]) {
        let here = |place: &str| places.iter().any(|folder| is_in(place, folder));
        let mut chains: BTreeSet<Chain> = self.chains.keys().cloned().collect();
        for (sealer, series, head) in self.heads.iter() {
            if here(&head.place) {
                chains.insert((sealer.clone(), series.clone()));
            }
        }
        for chain in chains {
            let (sealer, series) = &chain;
            let mut present = Numbers::new();
            let found = self.chains.get(&chain).into_iter().flat_map(BTreeMap::keys);
            found.for_each(|number| present.insert(*number));
            let removed = auditor.statement.sealers().get(sealer).and_then(|sealer| sealer.removed());
            let last = [
                present.highest(),
                self.heads.head(sealer, series).map(|head| head.link().sequence),
                removed.and_then(|removed| removed.last().get(series)).map(|last| last.sequence),
            ];
            let Some(last) = last.into_iter().flatten().max() else { continue };
            if let Some(gone) = self.gone.of(sealer, series) {
                present.extend(&gone.replaced);
                present.extend(&gone.retired);
            }
            let missing = present.missing_below(last);
            if !missing.is_empty() {
                self.missing.insert(chain, missing);
            }
        }
    }

    fn newest(&self, receipt: &Receipt) -> Sequence {
        let chain = (receipt.sealer().clone(), receipt.series().clone());
        let found = self.chains.get(&chain).and_then(|all| all.last_key_value()).map(|(number, _)| *number);
        let head = self.heads.head(&chain.0, &chain.1).map(|head| head.link().sequence);
        found.max(head).unwrap_or(receipt.sequence())
    }

    fn missing_above(&self, receipt: &Receipt) -> bool {
        let chain = (receipt.sealer().clone(), receipt.series().clone());
        let missing = self.missing.get(&chain).and_then(Numbers::highest);
        missing.is_some_and(|highest| highest > receipt.sequence())
    }

    /// The verdict on a receipt beside which no archive stands.
    fn without_archive(&self, receipt: &Receipt) -> Finding {
        let (sealer, series, sequence) = (receipt.sealer(), receipt.series(), receipt.sequence());
        if self.is_forked(receipt) {
            return Finding::Forked { sequence, series: series.clone() };
        }
        match receipt.archive() {
            None => Finding::Ok,
            Some(_) if self.gone.excuses(sealer, series, sequence) => Finding::Gone,
            Some(_) if self.in_place.contains(&receipt.digest()) => Finding::Gone,
            Some(_) => Finding::Missing,
        }
    }

    fn missing_lines(&self) -> impl Iterator<Item = AuditLine> + '_ {
        self.missing.iter().flat_map(|((sealer, series), missing)| {
            let chain = (sealer.clone(), series.clone());
            let highest =
                self.chains.get(&chain).and_then(|all| all.last_key_value()).map(|(number, _)| *number);
            missing.ranges().map(move |(first, last)| {
                let at_the_end = highest.is_none_or(|highest| first > highest);
                let receipts = match first == last {
                    true => format!("receipt {first}"),
                    false => format!("receipts {first}-{last}"),
                };
                AuditLine {
                    subject: format!("{receipts} of series {series} by {sealer}"),
                    finding: if at_the_end { Finding::Truncated } else { Finding::Missing },
                    receipt: Some((sealer.clone(), series.clone(), first)),
                }
            })
        })
    }

    fn stale_lines(&self, freshness: Freshness) -> impl Iterator<Item = AuditLine> + '_ {
        self.chains.iter().filter_map(move |((sealer, series), all)| {
            let (sequence, newest) = all.last_key_value()?;
            let newest = newest.first()?.time();
            let seconds = freshness.now.unix().saturating_sub(newest.unix());
            let days = u32::try_from(seconds / DAY).unwrap_or(0);
            (seconds > i64::from(freshness.days).saturating_mul(DAY)).then(|| AuditLine {
                subject: format!("series {series} by {sealer}"),
                finding: Finding::Stale { newest, days },
                receipt: Some((sealer.clone(), series.clone(), *sequence)),
            })
        })
    }
}

/// The receipts of a series that are not the ones that the next one, or this host, knows under their numbers.
fn forked(
    heads: &Heads,
    (sealer, series): &Chain,
    all: &BTreeMap<Sequence, Vec<&Receipt>>,
) -> BTreeSet<Digest> {
    let head = heads.head(sealer, series).map(|head| head.link());
    let mut forked = BTreeSet::new();
    // From the newest down: what a receipt that counts says of the one before it decides.
    let mut expected: Option<(Sequence, Digest)> = None;
    for (number, same) in all.iter().rev() {
        if let Some(head) = head.filter(|head| head.sequence == *number) {
            expected = Some((*number, head.digest));
        }
        let known = expected.filter(|(at, _)| at == number).map(|(_, digest)| digest);
        let (counting, others): (Vec<&Receipt>, Vec<&Receipt>) = match known {
            Some(digest) => same.iter().partition(|receipt| receipt.digest() == digest),
            None if same.len() > 1 => (Vec::new(), same.clone()),
            None => (same.clone(), Vec::new()),
        };
        forked.extend(others.iter().map(|receipt| receipt.digest()));
        let before = counting.first().and_then(|receipt| Some((number.before()?, receipt.previous()?)));
        expected = before;
    }
    forked
}

fn differs(facts: &ArchiveFacts, found: &FoundArchive) -> Option<Differs> {
    if facts.size != found.size {
        return Some(Differs::Size { expected: facts.size, found: found.size });
    }
    if facts.header != found.header {
        return Some(Differs::Header);
    }
    found.blake3.filter(|blake3| *blake3 != facts.blake3).map(|_| Differs::Content)
}

fn reordered(receipt: &Receipt, facts: &ArchiveFacts) -> Finding {
    Finding::Reordered {
        name: facts.name.clone(),
        sequence: receipt.sequence(),
        series: receipt.series().clone(),
    }
}

fn rolled_back(receipt: &Receipt, facts: &ArchiveFacts, newest: Sequence) -> Finding {
    Finding::RolledBack {
        name: facts.name.clone(),
        sequence: receipt.sequence(),
        newest,
        series: receipt.series().clone(),
    }
}

fn number_of(receipt: &Receipt) -> (Name, Series, Sequence) {
    (receipt.sealer().clone(), receipt.series().clone(), receipt.sequence())
}

/// What stands behind the last slash.
pub fn last_component(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, last)| last)
}

/// What stands before the last slash.
fn folder(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn is_in(place: &str, folder: &str) -> bool {
    let folder = folder.trim_end_matches('/');
    place
        .strip_prefix(folder)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || folder.is_empty())
}
