//! Private keys in software: papers, epochs and other age identities.
//!
//! `AGE-SECRET-KEY-PQ-1…` is the 32-byte seed of an X-Wing key, `AGE-SECRET-KEY-1…` an X25519
//! scalar. Both come from 32 uniform bytes, so a seed and a suite are an identity.

use std::fmt;
use std::str::FromStr;

use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::encoding::{Case, bech32_decode, bech32_encode};
use crate::error::Error;
use crate::recipient::{Recipient, Suite};
use crate::stanza::mlkem768x25519;

const HRP_PQ: &str = "AGE-SECRET-KEY-PQ-";
const HRP_X25519: &str = "AGE-SECRET-KEY-";

/// A private key in memory, wiped when dropped.
pub enum SoftIdentity {
    /// `AGE-SECRET-KEY-PQ-1…`, for `age1pq1…`.
    Pq(mlkem768x25519::Identity),
    /// `AGE-SECRET-KEY-1…`, for `age1…`.
    X25519(Box<age::x25519::Identity>),
}

impl SoftIdentity {
    /// The identity of a suite that `seed`, 32 uniformly random bytes, determines.
    pub fn from_seed(suite: Suite, seed: &[u8; 32]) -> Result<SoftIdentity, Error> {
        match suite {
            Suite::Hybrid => Ok(SoftIdentity::Pq(mlkem768x25519::Identity::new(seed))),
            // The age crate makes an identity from its text only.
            Suite::Classic => bech32_encode(HRP_X25519, seed, Case::Upper).parse(),
        }
    }

    /// A new identity from the system's random generator.
    pub fn generate(suite: Suite) -> Result<SoftIdentity, Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(seed.as_mut_slice())
            .map_err(|_| Error::Primitive("the system's random generator"))?;
        SoftIdentity::from_seed(suite, &seed)
    }

    /// The public half.
    pub fn recipient(&self) -> Result<Recipient, Error> {
        match self {
            SoftIdentity::Pq(identity) => Ok(Recipient::Pq(identity.recipient()?)),
            SoftIdentity::X25519(identity) => Ok(Recipient::X25519(identity.to_public())),
        }
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        match self {
            SoftIdentity::Pq(_) => Suite::Hybrid,
            SoftIdentity::X25519(_) => Suite::Classic,
        }
    }

    /// The text that [`SoftIdentity::from_str`] reads.
    pub fn to_secret_string(&self) -> SecretString {
        match self {
            SoftIdentity::Pq(identity) => {
                SecretString::from(bech32_encode(HRP_PQ, identity.seed(), Case::Upper).as_str())
            }
            SoftIdentity::X25519(identity) => identity.to_string(),
        }
    }

    pub(crate) fn as_age(&self) -> &dyn age::Identity {
        match self {
            SoftIdentity::Pq(identity) => identity,
            SoftIdentity::X25519(identity) => identity.as_ref(),
        }
    }
}

impl FromStr for SoftIdentity {
    type Err = Error;

    fn from_str(text: &str) -> Result<SoftIdentity, Error> {
        let (hrp, data) = bech32_decode(text, Case::Upper)
            .ok_or(Error::Identity { reason: "it is not canonical Bech32 in upper case" })?;
        let seed: &[u8; 32] =
            data.as_slice().try_into().map_err(|_| Error::Identity { reason: "its length is wrong" })?;
        match hrp {
            HRP_PQ => Ok(SoftIdentity::Pq(mlkem768x25519::Identity::new(seed))),
            HRP_X25519 => text
                .parse()
                .map(|identity| SoftIdentity::X25519(Box::new(identity)))
                .map_err(|reason| Error::Identity { reason }),
            _ => Err(Error::Identity { reason: "its kind is not known" }),
        }
    }
}

impl fmt::Debug for SoftIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SoftIdentity::Pq(_) => "SoftIdentity::Pq(redacted)",
            SoftIdentity::X25519(_) => "SoftIdentity::X25519(redacted)",
        })
    }
}
