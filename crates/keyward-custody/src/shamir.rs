//! Shamir's scheme over GF(256), reduced by x^8 + x^4 + x^3 + x + 1 (`docs/formats.md`, "Shares").
//!
//! Field, polynomial and interpolation are those of the `vsss-rs` crate, whose field arithmetic uses no table and no
//! branch on a secret. Two of its habits are answered here: its own splitting leaves the polynomial in freed memory, so
//! it is evaluated here on one that is wiped; and it wants a random generator that cannot fail, so the coefficients are
//! drawn beforehand, where a failure can still be reported.

use std::convert::Infallible;

use rand_core::{TryCryptoRng, TryRng};
use vsss_rs::{DefaultShare, Gf256, IdentifierGf256, Polynomial};
use zeroize::{Zeroize, Zeroizing};

use crate::Error;
use crate::secret::Secret;

/// The most shares of one secret: the x coordinates from 1.
pub(crate) const MAX_SHARES: usize = 255;

type Coefficient = DefaultShare<IdentifierGf256, IdentifierGf256>;

/// Splits `secret` into `count` shares of which any `needed` give it back. The share at index i belongs to x = i + 1.
///
/// [`Error::Sharing`] unless 2 ≤ `needed` ≤ `count` ≤ 255; [`Error::Random`].
pub(crate) fn split(needed: usize, count: usize, secret: &Secret) -> Result<Vec<Secret>, Error> {
    let drawn = needed.saturating_sub(1).min(MAX_SHARES) * DRAWN_PER_COEFFICIENT * secret.expose().len();
    let mut random = Zeroizing::new(vec![0; drawn]);
    getrandom::fill(&mut random).map_err(Error::Random)?;
    split_with(needed, count, secret, &mut Drawn { bytes: &random, exhausted: false })
}

/// As [`split`], with the coefficients taken from `random`.
fn split_with(
    needed: usize,
    count: usize,
    secret: &Secret,
    random: &mut Drawn<'_>,
) -> Result<Vec<Secret>, Error> {
    if needed < 2 || needed > count || count > MAX_SHARES {
        return Err(Error::Sharing { reason: format!("{needed} of {count} is out of range") });
    }
    let mut shares: Vec<Secret> = (0..count).map(|_| Secret::init_with(|_| {})).collect();
    let mut polynomial: Zeroizing<Vec<Coefficient>> = Zeroizing::new(Polynomial::create(needed));
    for (place, byte) in secret.expose().iter().enumerate() {
        polynomial.fill(&IdentifierGf256(Gf256(*byte)), &mut *random, needed).map_err(refused)?;
        for (share, x) in shares.iter_mut().zip(1..=u8::MAX) {
            let mut y = polynomial.evaluate(&IdentifierGf256(Gf256(x)), needed);
            share.set(place, y.0.0);
            y.zeroize();
        }
    }
    // Never reached; but a short supply of random bytes must not go unnoticed.
    if random.exhausted {
        return Err(Error::Sharing { reason: "too few random bytes were drawn".to_owned() });
    }
    Ok(shares)
}

/// The secret that these shares, each with its x, lie on. Any set of at least two gives something: only as many as were
/// asked for when splitting give the secret.
pub(crate) fn combine<'a>(shares: impl IntoIterator<Item = (u8, &'a Secret)>) -> Result<Secret, Error> {
    let points: Vec<Zeroizing<Vec<u8>>> = shares
        .into_iter()
        .map(|(x, share)| {
            let mut point = Zeroizing::new(Vec::with_capacity(33));
            point.push(x);
            point.extend_from_slice(share.expose());
            point
        })
        .collect();
    // The crate takes plain vectors: they are wiped as soon as it has answered.
    let mut plain: Vec<Vec<u8>> = points.iter().map(|point| point.to_vec()).collect();
    let combined = Gf256::combine_bytes(&plain);
    plain.zeroize();
    let combined = Zeroizing::new(combined.map_err(refused)?);
    let bytes: &[u8; 32] = combined
        .as_slice()
        .try_into()
        .map_err(|_| Error::Sharing { reason: "the secret has not 32 bytes".to_owned() })?;
    Ok(Secret::init_with(|place| place.copy_from_slice(bytes)))
}

fn refused(error: vsss_rs::Error) -> Error {
    Error::Sharing { reason: error.to_string() }
}

/// Random bytes that the crate may draw for one coefficient.
const DRAWN_PER_COEFFICIENT: usize = 8;

/// Random bytes drawn beforehand.
struct Drawn<'a> {
    bytes: &'a [u8],
    exhausted: bool,
}

impl TryRng for Drawn<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, place: &mut [u8]) -> Result<(), Infallible> {
        match self.bytes.split_at_checked(place.len()) {
            Some((taken, rest)) => {
                place.copy_from_slice(taken);
                self.bytes = rest;
            }
            None => self.exhausted = true,
        }
        Ok(())
    }
}

impl TryCryptoRng for Drawn<'_> {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Multiplication in GF(256) by shifting, as FIPS 197 section 4.2 writes it: the other party in these tests.
    fn times(mut a: u8, mut b: u8) -> u8 {
        let mut product = 0;
        while b != 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = if a & 0x80 == 0 { a << 1 } else { a << 1 ^ 0x1b };
            b >>= 1;
        }
        product
    }

    fn secret(bytes: [u8; 32]) -> Secret {
        Secret::init_with(|place| *place = bytes)
    }

    #[test]
    fn the_field_is_that_of_aes() {
        assert_eq!(times(0x57, 0x83), 0xc1); // FIPS 197, section 4.2
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!((Gf256(a) * Gf256(b)).0, times(a, b));
            }
        }
    }

    #[test]
    fn out_of_range() {
        for (needed, count) in [(0, 2), (1, 2), (3, 2), (2, 256)] {
            assert!(matches!(split(needed, count, &secret([7; 32])), Err(Error::Sharing { .. })));
        }
        let shares = split(2, 3, &secret([7; 32])).unwrap();
        assert!(combine([(1, &shares[0])]).is_err(), "one share is no set");
        assert!(combine([(1, &shares[0]), (1, &shares[0])]).is_err(), "one x twice");
        assert!(combine([(0, &shares[0]), (1, &shares[1])]).is_err(), "x = 0 is the secret's place");
        let short = &mut Drawn { bytes: &[0; 31], exhausted: false };
        assert!(split_with(2, 3, &secret([7; 32]), short).is_err());
    }

    #[test]
    fn all_255_shares() {
        let shares = split(255, 255, &secret([0xa5; 32])).unwrap();
        assert!(combine((1..=255).zip(&shares)).unwrap() == secret([0xa5; 32]));
        assert!(combine((1..=254).zip(&shares)).unwrap() != secret([0xa5; 32]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_that_suffice_and_no_fewer(
            bytes in any::<[u8; 32]>(),
            count in 2_usize..10,
            needed in any::<prop::sample::Index>(),
            order in Just((0..10_usize).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let needed = needed.index(count - 1) + 2;
            let shares = split(needed, count, &secret(bytes)).unwrap();
            let chosen: Vec<(u8, &Secret)> = order
                .iter()
                .filter(|index| **index < count)
                .map(|index| (u8::try_from(index + 1).unwrap(), &shares[*index]))
                .collect();
            for taken in 2..=count {
                let same = combine(chosen[..taken].iter().copied()).unwrap() == secret(bytes);
                prop_assert_eq!(same, taken >= needed, "{} of {} with {}", needed, count, taken);
            }
        }

        #[test]
        fn shares_lie_on_the_polynomial_that_was_drawn(byte in any::<u8>(), random in any::<[u8; 512]>()) {
            let shares =
                split_with(3, 5, &secret([byte; 32]), &mut Drawn { bytes: &random, exhausted: false }).unwrap();
            // Three points determine it: the other two must agree with the interpolation by hand.
            for place in 0..32 {
                let (y1, y2, y3) = (shares[0].expose()[place], shares[1].expose()[place], shares[2].expose()[place]);
                // Through x = 0, 1, 2, 3 in GF(2^8): y(0) = y(1) + y(2) + y(3), since 1 + 2 = 3.
                prop_assert_eq!(y1 ^ y2 ^ y3, byte);
            }
        }
    }
}
