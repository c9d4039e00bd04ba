//! 32 secret bytes: an identity's seed, or a share of one. Kept on the heap in one place and wiped when dropped; never
//! copied but by name, never shown.

use std::fmt;

use keyward_age::{Recipient, SoftIdentity, Suite};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::Error;

/// 32 secret bytes.
pub(crate) struct Secret(Box<Zeroizing<[u8; 32]>>);

impl Secret {
    pub(crate) fn init_with(fill: impl FnOnce(&mut [u8; 32])) -> Secret {
        let mut bytes = Box::new(Zeroizing::new([0; 32]));
        fill(&mut bytes);
        Secret(bytes)
    }

    pub(crate) fn random() -> Result<Secret, Error> {
        let mut result = Ok(());
        let secret = Secret::init_with(|bytes| result = getrandom::fill(bytes));
        result.map_err(Error::Random)?;
        Ok(secret)
    }

    pub(crate) fn duplicate(&self) -> Secret {
        Secret::init_with(|bytes| bytes.copy_from_slice(self.expose()))
    }

    /// Sets one byte; a place beyond the end is passed over.
    pub(crate) fn set(&mut self, place: usize, byte: u8) {
        if let Some(slot) = self.0.get_mut(place) {
            *slot = byte;
        }
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Secret) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }
}

/// The seed of an age identity that is kept under a policy: of an epoch. Whoever has it opens what was sealed to it.
pub struct IdentitySeed {
    secret: Secret,
    suite: Suite,
}

impl IdentitySeed {
    /// A new one from the operating system's randomness.
    pub fn random(suite: Suite) -> Result<IdentitySeed, Error> {
        Ok(IdentitySeed { secret: Secret::random()?, suite })
    }

    /// The seed with these bytes.
    pub fn from_bytes(suite: Suite, bytes: &[u8; 32]) -> IdentitySeed {
        IdentitySeed { secret: Secret::init_with(|place| place.copy_from_slice(bytes)), suite }
    }

    pub(crate) fn new(suite: Suite, secret: Secret) -> IdentitySeed {
        IdentitySeed { secret, suite }
    }

    pub(crate) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The identity, to open with or to write out.
    pub fn identity(&self) -> Result<SoftIdentity, Error> {
        Ok(SoftIdentity::from_seed(self.suite, self.secret.expose())?)
    }

    /// Its public half.
    pub fn recipient(&self) -> Result<Recipient, Error> {
        Ok(self.identity()?.recipient()?)
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        self.suite
    }
}

impl fmt::Debug for IdentitySeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentitySeed(redacted)")
    }
}
