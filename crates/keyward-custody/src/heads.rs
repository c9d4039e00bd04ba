//! What this host has seen of a vault's receipts (`docs/formats.md`, "Heads"): the newest of each series, and what was
//! replaced since. A store that takes the newest archives away, or puts an older one back, is found out by it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Digest, Error, GoneMap, Link, Name, Receipt, Sequence, Series, VaultId, canonical};

const FORMAT: &str = "keyward-heads-v1";
const WHAT: &str = "file of heads";

/// The newest receipt of a series that this host has seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    digest: Digest,
    /// The folder or prefix where it was seen.
    pub place: String,
    sequence: Sequence,
}

impl Head {
    /// Its number and digest.
    pub fn link(&self) -> Link {
        Link { digest: self.digest, sequence: self.sequence }
    }
}

/// The newest receipts that a host has seen of one vault, by sealer and series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heads {
    chains: BTreeMap<Name, BTreeMap<Series, Head>>,
    format: String,
    gone: GoneMap,
    vault: VaultId,
}

impl Heads {
    /// Nothing seen yet.
    pub fn new(vault: VaultId) -> Heads {
        Heads { chains: BTreeMap::new(), format: FORMAT.to_owned(), gone: GoneMap::default(), vault }
    }

    /// Reads the file `heads/VAULT.json`.
    ///
    /// [`Error::Malformed`], [`Error::NotCanonical`], [`Error::TooLong`].
    pub fn parse(bytes: &[u8]) -> Result<Heads, Error> {
        let heads: Heads = canonical::decode(WHAT, bytes)?;
        if heads.format != FORMAT {
            return Err(Error::Malformed { what: WHAT, reason: format!("its format is not {FORMAT}") });
        }
        if heads.gone.has_empty_entry() || heads.chains.values().any(BTreeMap::is_empty) {
            return Err(Error::NotCanonical { what: WHAT });
        }
        Ok(heads)
    }

    /// The bytes of that file. [`Error::TooLong`] past 1 MiB.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        canonical::encode(WHAT, self)
    }

    /// The vault.
    pub fn vault_id(&self) -> VaultId {
        self.vault
    }

    /// The head of a series.
    pub fn head(&self, sealer: &Name, series: &Series) -> Option<&Head> {
        self.chains.get(sealer)?.get(series)
    }

    /// The newest receipt of each series of a sealer.
    pub fn of_sealer(&self, sealer: &Name) -> BTreeMap<Series, Link> {
        let chains = self.chains.get(sealer).into_iter().flatten();
        chains.map(|(series, head)| (series.clone(), head.link())).collect()
    }

    /// Every series: sealer, series, head.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Series, &Head)> {
        self.chains.iter().flat_map(|(name, all)| all.iter().map(move |(series, head)| (name, series, head)))
    }

    /// What receipts have said to be gone.
    pub fn gone(&self) -> &GoneMap {
        &self.gone
    }

    /// Takes over all that another one has seen of the same vault.
    pub fn merge(&mut self, other: &Heads) {
        self.gone.extend(&other.gone);
        for (sealer, series, head) in other.iter() {
            let chain = self.chains.entry(sealer.clone()).or_default();
            if chain.get(series).is_none_or(|known| known.sequence < head.sequence) {
                chain.insert(series.clone(), head.clone());
            }
        }
    }

    /// Notes a receipt that was found to count, in this folder or prefix.
    pub fn see(&mut self, receipt: &Receipt, place: &str) {
        self.gone.extend(receipt.gone());
        let chain = self.chains.entry(receipt.sealer().clone()).or_default();
        let known = chain.get(receipt.series()).map(|head| head.sequence);
        if known.is_none_or(|known| receipt.sequence() > known) {
            let (digest, sequence) = (receipt.digest(), receipt.sequence());
            chain.insert(receipt.series().clone(), Head { digest, place: place.to_owned(), sequence });
        }
    }
}
