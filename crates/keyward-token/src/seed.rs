//! The ML-KEM seeds of a hybrid token: an object behind the PIN, one GET DATA answer.
//!
//! Two independent random seeds, one for each ECDH key, so that the archive key's says nothing about the custody
//! key's. The P-256 half of a hybrid key cannot be copied; this half can be read by whoever has token and PIN.
//! It guards recorded archives against a later quantum computer and is no second factor.
//!
//! Content of the object (inside tag 53), 239 bytes, so that with framing it fits into one short answer:
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 15 | `keyward-seed-v1` in ASCII |
//! | 15 | 32 | archive key: seed d, FIPS 203 section 7.1 |
//! | 47 | 32 | archive key: seed z |
//! | 79 | 32 | SHA-256 of the archive encapsulation key that d and z give (1,184 bytes) |
//! | 111 | 32 | custody key: seed d |
//! | 143 | 32 | custody key: seed z |
//! | 175 | 32 | SHA-256 of the custody encapsulation key |
//! | 207 | 32 | SHA-256 of all bytes before |
//!
//! A reader must refuse another length, another first line, a checksum that does not match (a wrong z would
//! decapsulate silently), and a digest that is not that of the encapsulation key.

use std::fmt;

use ml_kem::{EncodedSizeUser, KemCore, MlKem768};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

const MAGIC: &[u8; 15] = b"keyward-seed-v1";
const SEED: usize = 64;
const DIGEST: usize = 32;
/// The length of the object's content.
pub(crate) const OBJECT: usize = MAGIC.len() + 2 * (SEED + DIGEST) + DIGEST;

/// An ML-KEM-768 encapsulation key.
pub type EncapsulationKey = [u8; 1184];

/// What is wrong with a seed object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SeedError {
    /// There is no such object.
    #[error("there are none")]
    Missing,
    /// The object is somebody else's.
    #[error("the object is not Keyward's")]
    Foreign,
    /// It is Keyward's, and cut or changed.
    #[error("the checksum does not match")]
    Checksum,
    /// The seeds do not give the encapsulation key whose digest stands beside them.
    #[error("the seeds do not belong to their encapsulation keys")]
    EncapsulationKey,
}

/// One ML-KEM-768 seed, d ‖ z. Wiped when dropped.
pub struct MlKemSeed(Zeroizing<[u8; SEED]>);

impl MlKemSeed {
    fn generate() -> Result<Self> {
        let mut seed = Zeroizing::new([0; SEED]);
        getrandom::fill(&mut *seed).map_err(|_| Error::Random)?;
        Ok(Self(seed))
    }

    /// d ‖ z.
    #[must_use]
    pub fn expose(&self) -> &[u8; SEED] {
        &self.0
    }

    fn halves(&self) -> [&[u8; SEED / 2]; 2] {
        const { assert!(SEED == 64) };
        let (halves, _) = self.0.as_chunks::<{ SEED / 2 }>();
        match halves {
            [d, z] => [d, z],
            _ => unreachable!("64 bytes are two chunks of 32"),
        }
    }

    /// The encapsulation key that this seed gives: ML-KEM.KeyGen_internal, FIPS 203 algorithm 16.
    #[must_use]
    pub fn encapsulation_key(&self) -> EncapsulationKey {
        // Borrowed in place, so that no copy is left unwiped.
        let [d, z] = self.halves();
        let (_, key) = MlKem768::generate_deterministic(d.into(), z.into());
        key.as_bytes().into()
    }
}

impl fmt::Debug for MlKemSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKemSeed(…)")
    }
}

/// Both seeds of a token.
#[derive(Debug)]
pub struct Seeds {
    archive: MlKemSeed,
    custody: MlKemSeed,
}

impl Seeds {
    /// New random seeds.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub(crate) fn generate() -> Result<Self> {
        Ok(Self { archive: MlKemSeed::generate()?, custody: MlKemSeed::generate()? })
    }

    /// The archive key's seed.
    #[must_use]
    pub fn archive(&self) -> &MlKemSeed {
        &self.archive
    }

    /// The custody key's seed.
    #[must_use]
    pub fn custody(&self) -> &MlKemSeed {
        &self.custody
    }

    /// Takes them apart.
    #[must_use]
    pub fn into_parts(self) -> (MlKemSeed, MlKemSeed) {
        (self.archive, self.custody)
    }

    /// The object's content.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut object = Zeroizing::new(Vec::with_capacity(OBJECT));
        object.extend_from_slice(MAGIC);
        for seed in [&self.archive, &self.custody] {
            object.extend_from_slice(&*seed.0);
            object.extend_from_slice(&Sha256::digest(seed.encapsulation_key()));
        }
        let checksum = Sha256::digest(&*object);
        object.extend_from_slice(&checksum);
        object
    }

    /// Reads an object's content.
    ///
    /// # Errors
    /// What is wrong with it; see the head of this module.
    pub(crate) fn parse(content: &[u8]) -> Result<Self, SeedError> {
        if !is_ours(content) {
            return Err(SeedError::Foreign);
        }
        let (body, checksum) = content.split_last_chunk::<DIGEST>().ok_or(SeedError::Checksum)?;
        if content.len() != OBJECT || !bool::from(Sha256::digest(body).as_slice().ct_eq(checksum)) {
            return Err(SeedError::Checksum);
        }
        let body = body.get(MAGIC.len()..).ok_or(SeedError::Checksum)?;
        let (archive, custody) = body.split_at_checked(SEED + DIGEST).ok_or(SeedError::Checksum)?;
        Ok(Self { archive: entry(archive)?, custody: entry(custody)? })
    }
}

/// Whether an object begins as ours do.
pub(crate) fn is_ours(content: &[u8]) -> bool {
    content.starts_with(MAGIC)
}

fn entry(bytes: &[u8]) -> Result<MlKemSeed, SeedError> {
    let (from, digest) = bytes.split_first_chunk::<SEED>().ok_or(SeedError::Checksum)?;
    let mut seed = MlKemSeed(Zeroizing::new([0; SEED]));
    seed.0.copy_from_slice(from);
    if Sha256::digest(seed.encapsulation_key()).as_slice() != digest {
        return Err(SeedError::EncapsulationKey);
    }
    Ok(seed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tlv;
    use proptest::prelude::*;

    #[test]
    fn one_object_one_answer() {
        let seeds = Seeds::generate().unwrap();
        let object = seeds.encode();
        assert_eq!(object.len(), 239);
        assert!(tlv::encoded_len(0x53, object.len()) <= 256, "fits one short answer");
        let back = Seeds::parse(&object).unwrap();
        assert_eq!(back.archive.expose(), seeds.archive.expose());
        assert_eq!(back.custody.expose(), seeds.custody.expose());
        assert_ne!(seeds.archive.expose(), seeds.custody.expose());
        assert_eq!(back.archive.encapsulation_key(), seeds.archive.encapsulation_key());
        assert_eq!(format!("{seeds:?}"), "Seeds { archive: MlKemSeed(…), custody: MlKemSeed(…) }");
    }

    #[test]
    fn a_digest_of_another_key_is_refused_even_with_a_good_checksum() {
        let mut object = Seeds::generate().unwrap().encode();
        object[80] ^= 1;
        let checksum = Sha256::digest(&object[..OBJECT - DIGEST]);
        object[OBJECT - DIGEST..].copy_from_slice(&checksum);
        assert_eq!(Seeds::parse(&object).map(|_| ()), Err(SeedError::EncapsulationKey));
    }

    #[test]
    fn foreign_and_cut_objects() {
        let object = Seeds::generate().unwrap().encode();
        assert_eq!(Seeds::parse(b"iris images").map(|_| ()), Err(SeedError::Foreign));
        assert_eq!(Seeds::parse(&[]).map(|_| ()), Err(SeedError::Foreign));
        assert_eq!(Seeds::parse(&object[..OBJECT - 1]).map(|_| ()), Err(SeedError::Checksum));
        assert_eq!(Seeds::parse(MAGIC).map(|_| ()), Err(SeedError::Checksum));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_changed_byte_passes(at in 0..OBJECT, by in 1u8..) {
            let mut object = Seeds::generate().unwrap().encode();
            object[at] ^= by;
            prop_assert!(Seeds::parse(&object).is_err());
        }
    }
}
