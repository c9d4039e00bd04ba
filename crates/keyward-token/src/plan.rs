//! Which keys an enrolment is to make, decided before anything is changed, and how an interrupted one is told.
//!
//! The intent is noted on the token (object 5FFF4B, removed at the end) before keys are generated, 113 bytes:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 16 | `keyward-enrol-v1` in ASCII |
//! | 16 | 1 | reference of the signing key's slot |
//! | 17 | 3 × 32 | SHA-256 of the uncompressed point that was in 82, 83 and the signing slot before; zeros for none |
//!
//! A key that differs from the one noted was made by the interrupted run; one that is the same still has to go.

use sha2::{Digest, Sha256};

use crate::{
    client::Client,
    error::{Error, Result},
    inventory::Inventory,
    slot::{ObjectId, Slot},
    yubico::Device,
};

const INTENT: &[u8; 16] = b"keyward-enrol-v1";

/// What an enrolment has set out to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Intent {
    pub(crate) signing: Slot,
    /// Digests of the keys that were in 82, 83 and the signing slot before.
    pub(crate) before: [[u8; 32]; 3],
}

impl Intent {
    pub(crate) fn encode(&self) -> Vec<u8> {
        [INTENT.as_slice(), &[self.signing.reference()], self.before.as_flattened()].concat()
    }

    fn parse(content: &[u8]) -> Option<Self> {
        let (&reference, digests) = content.strip_prefix(INTENT)?.split_first()?;
        let (digests, []) = digests.as_chunks::<32>() else { return None };
        let signing = Slot::new(reference).filter(|slot| Slot::for_signing().any(|other| other == *slot))?;
        Some(Self { signing, before: digests.try_into().ok()? })
    }

    pub(crate) fn read(client: &mut Client<'_>) -> Result<Option<Self>> {
        let occupied = Error::ObjectOccupied { object: ObjectId::ENROLMENT };
        match client.object(ObjectId::ENROLMENT)? {
            Some(content) => Self::parse(&content).map(Some).ok_or(occupied),
            None => Ok(None),
        }
    }
}

/// Which keys to make.
pub(crate) enum Plan {
    /// The slots are free, or may be overwritten: `clear` names those with something in them.
    Begin { intent: Intent, clear: Vec<Slot> },
    /// An interrupted run goes on.
    Resume(Intent),
    /// All keys are there, by their certificates.
    Enrolled { signing: Slot },
}

impl Plan {
    pub(crate) fn signing(&self) -> Slot {
        match self {
            Self::Begin { intent, .. } | Self::Resume(intent) => intent.signing,
            Self::Enrolled { signing } => *signing,
        }
    }
}

pub(crate) fn plan(device: &Device, inventory: &Inventory, overwrite: bool) -> Result<Plan> {
    if let Some(intent) = device.read(Intent::read)? {
        return Ok(Plan::Resume(intent));
    }
    let find = |slot: Slot| inventory.slots.iter().find(|occupied| occupied.slot == slot);
    let is_ours = |slot: Slot| find(slot).is_some_and(|occupied| occupied.ours);
    let ours = Slot::for_signing().find(|slot| is_ours(*slot));
    if let Some(signing) = ours
        && is_ours(Slot::ARCHIVE)
        && is_ours(Slot::CUSTODY)
        && !overwrite
    {
        return Ok(Plan::Enrolled { signing });
    }
    let occupied: Vec<_> =
        [Slot::ARCHIVE, Slot::CUSTODY].into_iter().filter(|slot| find(*slot).is_some()).collect();
    if !occupied.is_empty() && !overwrite {
        return Err(Error::Occupied { slots: occupied });
    }
    // A signing key of ours whose companions are gone may still be a vault's admin: it goes only with `overwrite`.
    let replaced = ours.filter(|_| overwrite);
    let signing = replaced
        .or_else(|| Slot::for_signing().find(|slot| find(*slot).is_none()))
        .ok_or(Error::NoSigningSlot)?;
    let before = [Slot::ARCHIVE, Slot::CUSTODY, signing].map(|slot| {
        find(slot)
            .and_then(|occupied| occupied.point)
            .map(|point| Sha256::digest(point).into())
            .unwrap_or_default()
    });
    let mut clear = occupied;
    clear.extend(replaced);
    Ok(Plan::Begin { intent: Intent { signing, before }, clear })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intent_has_one_encoding() {
        let intent = Intent { signing: Slot::Signature, before: [[1; 32], [0; 32], [3; 32]] };
        let content = intent.encode();
        assert_eq!(content.len(), 113);
        assert_eq!(Intent::parse(&content), Some(intent));
        for cut in 0..content.len() {
            assert_eq!(Intent::parse(&content[..cut]), None, "{cut}");
        }
        let mut other = content.clone();
        other[16] = 0x82;
        assert_eq!(Intent::parse(&other), None, "82 is no signing slot");
        other.push(0);
        assert_eq!(Intent::parse(&other), None);
    }
}
