//! What this crate asks of a token.
//!
//! A token holds a P-256 key that never leaves it and, for the hybrid suite, an ML-KEM-768 seed
//! that it hands out after its PIN. An adapter elsewhere gives a real token this face; a test gives
//! it to a key in memory.

use std::fmt;

use ml_kem::{EncodedSizeUser, KemCore, MlKem768};
use zeroize::{Zeroize, Zeroizing};

use crate::error::Error;

/// Whatever the token or the way to it reports.
pub type TokenError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// One key of a token, ready to be used.
pub trait TokenKey {
    /// The public key: an uncompressed SEC1 point (`04 ‖ x ‖ y`).
    fn point(&self) -> [u8; 65];

    /// The Diffie-Hellman of this key and `peer`, a validated uncompressed SEC1 point; the result
    /// is the x coordinate. A person may be asked to touch the token: it is called once for a file.
    fn ecdh(&mut self, peer: &[u8; 65]) -> Result<SharedSecret, TokenError>;

    /// The ML-KEM seed that belongs to this key. It is called after [`TokenKey::ecdh`] succeeded.
    fn seed(&mut self) -> Result<MlKemSeed, TokenError>;
}

/// The x coordinate that a Diffie-Hellman gave: 32 bytes, wiped when dropped.
pub struct SharedSecret(Box<Zeroizing<[u8; 32]>>);

impl SharedSecret {
    /// Makes a secret whose bytes `fill` writes in place.
    pub fn init_with(fill: impl FnOnce(&mut [u8; 32])) -> SharedSecret {
        let mut bytes = Box::new(Zeroizing::new([0; 32]));
        fill(&mut bytes);
        SharedSecret(bytes)
    }

    /// Lends the bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(redacted)")
    }
}

/// The seed of an ML-KEM-768 key: `d ‖ z`, 64 bytes (FIPS 203, section 7.1), wiped when dropped.
pub struct MlKemSeed(Box<Zeroizing<[u8; 64]>>);

impl MlKemSeed {
    /// Makes a seed whose bytes `fill` writes in place.
    pub fn init_with(fill: impl FnOnce(&mut [u8; 64])) -> MlKemSeed {
        let mut bytes = Box::new(Zeroizing::new([0; 64]));
        fill(&mut bytes);
        MlKemSeed(bytes)
    }

    /// A new seed from the system's random generator.
    pub fn generate() -> Result<MlKemSeed, Error> {
        let mut result = Ok(());
        let seed = MlKemSeed::init_with(|bytes| result = getrandom::fill(bytes));
        result.map_err(|_| Error::Primitive("the system's random generator"))?;
        Ok(seed)
    }

    /// Lends the bytes.
    pub fn expose(&self) -> &[u8; 64] {
        &self.0
    }

    /// The encapsulation key that belongs to this seed.
    pub fn encapsulation_key(&self) -> [u8; 1184] {
        self.expand().1.as_bytes().into()
    }

    /// ML-KEM.KeyGen_internal (FIPS 203, algorithm 16).
    pub(crate) fn expand(
        &self,
    ) -> (<MlKem768 as KemCore>::DecapsulationKey, <MlKem768 as KemCore>::EncapsulationKey) {
        let mut d = ml_kem::B32::default();
        let mut z = ml_kem::B32::default();
        let (d_bytes, z_bytes) = self.0.split_at(32);
        d.copy_from_slice(d_bytes);
        z.copy_from_slice(z_bytes);
        let pair = MlKem768::generate_deterministic(&d, &z);
        d.as_mut_slice().zeroize();
        z.as_mut_slice().zeroize();
        pair
    }
}

impl fmt::Debug for MlKemSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MlKemSeed(redacted)")
    }
}
