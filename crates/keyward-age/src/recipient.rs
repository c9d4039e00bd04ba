//! Whom a file is sealed to: the four kinds of public key that Keyward uses, as age writes them.
//!
//! | text | kind | suite | stanza |
//! |---|---|---|---|
//! | `age1tagpq1…` | token: ML-KEM-768 and P-256 | hybrid | `mlkem768p256tag` |
//! | `age1pq1…` | ML-KEM-768 and X25519 | hybrid | `mlkem768x25519` |
//! | `age1tag1…` | token: P-256 | classic | `p256tag` |
//! | `age1…` | X25519 | classic | `X25519` |
//!
//! A recipient that exists is valid: points are on their curve, ML-KEM keys pass the modulus check
//! of FIPS 203 (section 7.2), and the text is the canonical one.

use std::fmt;
use std::str::FromStr;

use ml_kem::{EncodedSizeUser, KemCore, MlKem768};
use p256::elliptic_curve::sec1::ToSec1Point;
use x25519_dalek::{PublicKey, StaticSecret};

use crate::encoding::{Case, bech32_decode, bech32_encode};
use crate::error::Error;

/// The length of an ML-KEM-768 encapsulation key, in bytes.
pub(crate) const EK_LEN: usize = 1184;
/// The length of an uncompressed P-256 point, in bytes.
pub(crate) const POINT_LEN: usize = 65;

const HRP_TAGPQ: &str = "age1tagpq";
const HRP_TAG: &str = "age1tag";
const HRP_PQ: &str = "age1pq";
const HRP_X25519: &str = "age";

/// A choice of algorithms for a whole vault. The two are never mixed in one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    /// ML-KEM-768 beside an elliptic curve: closed to a later quantum computer.
    Hybrid,
    /// Elliptic curves alone, for age before 1.3.
    Classic,
}

impl FromStr for Suite {
    type Err = Error;

    fn from_str(text: &str) -> Result<Suite, Error> {
        match text {
            "hybrid" => Ok(Suite::Hybrid),
            "classic" => Ok(Suite::Classic),
            _ => Err(Error::Suite),
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Suite::Hybrid => "hybrid",
            Suite::Classic => "classic",
        })
    }
}

/// A public key that a file can be sealed to.
#[derive(Clone, PartialEq, Eq)]
pub enum Recipient {
    /// A token of the hybrid suite: `age1tagpq1…`.
    TagPq(TagPq),
    /// A token of the classic suite: `age1tag1…`.
    Tag(Tag),
    /// A key in software of the hybrid suite: `age1pq1…`.
    Pq(Hybrid),
    /// A key in software of the classic suite: `age1…`.
    X25519(age::x25519::Recipient),
}

/// The public half of a hybrid token: an ML-KEM-768 encapsulation key and a P-256 point.
#[derive(Clone, PartialEq, Eq)]
pub struct TagPq {
    ek: Box<[u8; EK_LEN]>,
    point: [u8; POINT_LEN],
}

/// The public half of a classic token: a P-256 point.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    point: [u8; POINT_LEN],
}

/// The public half of age's native hybrid key: an ML-KEM-768 encapsulation key and an X25519 point.
#[derive(Clone, PartialEq, Eq)]
pub struct Hybrid {
    ek: Box<[u8; EK_LEN]>,
    x25519: [u8; 32],
}

impl Recipient {
    /// The recipient of a token's key: `point` is its P-256 key, uncompressed; `ek`, its ML-KEM-768
    /// encapsulation key, is needed for the hybrid suite and refused for the classic one.
    pub fn token(suite: Suite, point: &[u8; 65], ek: Option<&[u8; 1184]>) -> Result<Recipient, Error> {
        check_point(point)?;
        match (suite, ek) {
            (Suite::Hybrid, Some(ek)) => {
                check_encapsulation_key(ek)?;
                Ok(Recipient::TagPq(TagPq { ek: Box::new(*ek), point: *point }))
            }
            (Suite::Classic, None) => Ok(Recipient::Tag(Tag { point: *point })),
            (Suite::Hybrid, None) => Err(Error::Recipient { reason: "a hybrid token needs an ML-KEM key" }),
            (Suite::Classic, Some(_)) => {
                Err(Error::Recipient { reason: "a classic token has no ML-KEM key" })
            }
        }
    }

    /// Its suite.
    pub fn suite(&self) -> Suite {
        match self {
            Recipient::TagPq(_) | Recipient::Pq(_) => Suite::Hybrid,
            Recipient::Tag(_) | Recipient::X25519(_) => Suite::Classic,
        }
    }

    /// The P-256 point of a token, uncompressed; `None` for a key in software.
    pub fn point(&self) -> Option<[u8; 65]> {
        match self {
            Recipient::TagPq(token) => Some(token.point),
            Recipient::Tag(token) => Some(token.point),
            Recipient::Pq(_) | Recipient::X25519(_) => None,
        }
    }

    /// The ML-KEM-768 encapsulation key of the hybrid suite.
    pub fn encapsulation_key(&self) -> Option<&[u8; 1184]> {
        match self {
            Recipient::TagPq(token) => Some(&token.ek),
            Recipient::Pq(hybrid) => Some(&hybrid.ek),
            Recipient::Tag(_) | Recipient::X25519(_) => None,
        }
    }
}

impl Hybrid {
    pub(crate) fn new(ek: Box<[u8; EK_LEN]>, x25519: [u8; 32]) -> Result<Hybrid, Error> {
        check_encapsulation_key(&ek)?;
        check_x25519(&x25519)?;
        Ok(Hybrid { ek, x25519 })
    }

    pub(crate) fn parts(&self) -> (&[u8; EK_LEN], &[u8; 32]) {
        (&self.ek, &self.x25519)
    }
}

impl FromStr for Recipient {
    type Err = Error;

    fn from_str(text: &str) -> Result<Recipient, Error> {
        let (hrp, data) = bech32_decode(text, Case::Lower)
            .ok_or(Error::Recipient { reason: "it is not canonical Bech32 in lower case" })?;
        let length = Error::Recipient { reason: "its length is wrong" };
        match hrp {
            HRP_TAGPQ => {
                let (ek, point) = split_key::<POINT_LEN>(&data).ok_or(length)?;
                check_encapsulation_key(&ek)?;
                check_point(&point)?;
                Ok(Recipient::TagPq(TagPq { ek, point }))
            }
            HRP_TAG => {
                let compressed: &[u8; 33] = data.as_slice().try_into().map_err(|_| length)?;
                Ok(Recipient::Tag(Tag { point: decompress(compressed)? }))
            }
            HRP_PQ => {
                let (ek, x25519) = split_key::<32>(&data).ok_or(length)?;
                Ok(Recipient::Pq(Hybrid::new(ek, x25519)?))
            }
            HRP_X25519 => {
                let x25519 = data.as_slice().try_into().map_err(|_| length)?;
                check_x25519(x25519)?;
                text.parse().map(Recipient::X25519).map_err(|reason| Error::Recipient { reason })
            }
            _ => Err(Error::Recipient { reason: "its kind is not known" }),
        }
    }
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Recipient::TagPq(TagPq { ek, point }) => {
                write_bech32(f, HRP_TAGPQ, &[ek.as_slice(), point].concat())
            }
            Recipient::Tag(Tag { point }) => {
                let compressed = compress(point).ok_or(fmt::Error)?;
                write_bech32(f, HRP_TAG, &compressed)
            }
            Recipient::Pq(Hybrid { ek, x25519 }) => {
                write_bech32(f, HRP_PQ, &[ek.as_slice(), x25519].concat())
            }
            Recipient::X25519(recipient) => recipient.fmt(f),
        }
    }
}

/// As [`fmt::Display`]: everything in it is public.
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn write_bech32(f: &mut fmt::Formatter<'_>, hrp: &str, data: &[u8]) -> fmt::Result {
    f.write_str(&bech32_encode(hrp, data, Case::Lower))
}

/// `ek ‖ rest`, of exactly these lengths.
fn split_key<const N: usize>(data: &[u8]) -> Option<(Box<[u8; EK_LEN]>, [u8; N])> {
    let (ek, rest) = data.split_first_chunk::<EK_LEN>()?;
    Some((Box::new(*ek), rest.try_into().ok()?))
}

/// Refuses what is not an uncompressed point on P-256.
pub(crate) fn check_point(point: &[u8; POINT_LEN]) -> Result<(), Error> {
    let error = Error::Recipient { reason: "its point is not on P-256" };
    // SEC1 knows other forms of this length; only `04 ‖ x ‖ y` is meant.
    if point.first() != Some(&4) || p256::PublicKey::from_sec1_bytes(point).is_err() {
        return Err(error);
    }
    Ok(())
}

fn decompress(compressed: &[u8; 33]) -> Result<[u8; POINT_LEN], Error> {
    let error = || Error::Recipient { reason: "its point is not on P-256" };
    let key = p256::PublicKey::from_sec1_bytes(compressed).map_err(|_| error())?;
    key.to_sec1_point(false).as_bytes().try_into().map_err(|_| error())
}

/// The compressed form of an uncompressed point.
pub(crate) fn compress(point: &[u8; POINT_LEN]) -> Option<[u8; 33]> {
    let (x, y) = point.get(1..)?.split_at_checked(32)?;
    let mut compressed = [0; 33];
    *compressed.first_mut()? = 2 | (y.last()? & 1);
    compressed.get_mut(1..)?.copy_from_slice(x);
    Some(compressed)
}

/// Refuses a point of low order: a Diffie-Hellman with it is zero whatever the private key, and the
/// age crate panics when it seals to one.
pub(crate) fn check_x25519(point: &[u8; 32]) -> Result<(), Error> {
    let any = StaticSecret::from([0x55; 32]);
    if any.diffie_hellman(&PublicKey::from(*point)).was_contributory() {
        return Ok(());
    }
    Err(Error::Recipient { reason: "its X25519 key has a low order" })
}

/// The modulus check of FIPS 203, section 7.2: every coefficient is below q, so that decoding and
/// encoding again gives the same bytes. The `ml-kem` crate leaves it to its caller.
pub(crate) fn check_encapsulation_key(ek: &[u8; EK_LEN]) -> Result<(), Error> {
    let decoded = <MlKem768 as KemCore>::EncapsulationKey::from_bytes(&(*ek).into());
    if decoded.as_bytes().as_slice() != ek {
        return Err(Error::Recipient { reason: "its ML-KEM key fails the modulus check" });
    }
    Ok(())
}
