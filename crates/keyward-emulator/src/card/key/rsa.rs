//! RSA keys: two primes, and the private operation on a block that the client has padded.
//!
//! SP 800-73-4 part 2 section 3.2.4: the card raises what it is given to the private exponent (PKCS #1, RFC 8017
//! section 5), for signing and for decrypting alike. A private key is kept as its primes, P ‖ Q of equal length; the public
//! exponent is 65537, as on every YubiKey. The keys here are test keys: the operation is not blinded.

use rand::{SeedableRng, rngs::StdRng};
use rsa::{
    BoxedUint, RsaPrivateKey,
    hazmat::rsa_decrypt_and_check,
    traits::{PrivateKeyParts, PublicKeyParts},
};
use zeroize::Zeroizing;

use crate::card::{
    status::Sw,
    tlv::{self, Tlv},
};

/// 65537, big-endian.
pub(super) const EXPONENT: [u8; 3] = [1, 0, 1];

/// Finds two primes for a modulus of `length` bytes.
pub(super) fn generate(length: usize) -> Result<Zeroizing<Vec<u8>>, Sw> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|_| Sw::INTERNAL)?;
    let mut random = StdRng::from_seed(*seed);
    let key = RsaPrivateKey::new(&mut random, length * 8).map_err(|_| Sw::INTERNAL)?;
    let mut primes = Zeroizing::new(Vec::with_capacity(length));
    for prime in key.primes() {
        let bytes = Zeroizing::new(prime.to_be_bytes());
        let at = bytes.len().checked_sub(length / 2).ok_or(Sw::INTERNAL)?;
        primes.extend_from_slice(bytes.get(at..).unwrap_or_default());
    }
    if private(&primes, length).is_some() { Ok(primes) } else { Err(Sw::INTERNAL) }
}

/// Reads IMPORT's tags: 01 P, 02 Q, 03 and 04 the exponents of each, 05 the inverse of Q; each of half the modulus' length,
/// the last three without their leading zeros if the client likes. They follow from the first two, and the card
/// computes them anew.
pub(super) fn import(length: usize, tags: &[Tlv<'_>]) -> Result<Zeroizing<Vec<u8>>, Sw> {
    let mut primes = Zeroizing::new(Vec::with_capacity(length));
    for tag in 1..=5 {
        let part = tlv::find(tags, tag).filter(|part| part.len() <= length / 2).ok_or(Sw::WRONG_DATA)?;
        if tag <= 2 {
            primes.extend_from_slice(part);
        }
    }
    if private(&primes, length).is_some() { Ok(primes) } else { Err(Sw::WRONG_DATA) }
}

/// The key of these primes, if their product is a modulus of `length` bytes.
fn private(primes: &[u8], length: usize) -> Option<RsaPrivateKey> {
    let half = length / 2;
    let (p, q) = primes.split_at_checked(half).filter(|(_, q)| q.len() == half)?;
    let number = |bytes: &[u8]| {
        let wide = bytes.first().is_some_and(|first| first & 0x80 != 0);
        let odd = bytes.last().is_some_and(|last| last & 1 != 0);
        if wide && odd { BoxedUint::from_be_slice(bytes, u32::try_from(half * 8).ok()?).ok() } else { None }
    };
    let exponent = BoxedUint::from_be_slice(&EXPONENT, 64).ok()?;
    let key = RsaPrivateKey::from_p_q(number(p)?, number(q)?, exponent).ok()?;
    (usize::try_from(key.n().bit_width()).ok()? == length * 8).then_some(key)
}

/// Whether the primes make a key whose modulus has `length` bytes.
pub(super) fn is_sound(primes: &[u8], length: usize) -> bool {
    private(primes, length).is_some()
}

/// The modulus, `length` bytes.
pub(super) fn modulus(primes: &[u8], length: usize) -> Result<Vec<u8>, Sw> {
    let key = private(primes, length).ok_or(Sw::INTERNAL)?;
    Ok(key.n().to_be_bytes().into_vec())
}

/// The private operation on a block as long as the modulus and smaller than it.
pub(super) fn compute(primes: &[u8], length: usize, block: &[u8]) -> Result<Zeroizing<Vec<u8>>, Sw> {
    if block.len() != length {
        return Err(Sw::WRONG_DATA);
    }
    let key = private(primes, length).ok_or(Sw::INTERNAL)?;
    let bits = u32::try_from(length * 8).map_err(|_| Sw::INTERNAL)?;
    let block = BoxedUint::from_be_slice(block, bits).map_err(|_| Sw::WRONG_DATA)?;
    if block >= **key.n() {
        return Err(Sw::WRONG_DATA);
    }
    let result = rsa_decrypt_and_check(&key, None::<&mut StdRng>, &block).map_err(|_| Sw::INTERNAL)?;
    Ok(Zeroizing::new(result.to_be_bytes().into_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rsa::{Pkcs1v15Encrypt, Pkcs1v15Sign, RsaPublicKey};

    fn public(primes: &[u8], length: usize) -> RsaPublicKey {
        let n = BoxedUint::from_be_slice(&modulus(primes, length).unwrap(), length as u32 * 8).unwrap();
        RsaPublicKey::new(n, BoxedUint::from(65537u64)).unwrap()
    }

    #[test]
    fn every_length_signs_and_decrypts_what_software_padded() {
        for length in [128, 256, 384, 512] {
            let primes = generate(length).unwrap();
            assert_eq!(primes.len(), length);
            let public = public(&primes, length);

            // EMSA-PKCS1-v1_5 without a hash's name: 00 01 FF… 00, then the digest.
            let digest = [7; 32];
            let mut block = vec![0xFF; length];
            block[0] = 0;
            block[1] = 1;
            block[length - 33] = 0;
            block[length - 32..].copy_from_slice(&digest);
            let signature = compute(&primes, length, &block).unwrap();
            assert_eq!(signature.len(), length);
            public.verify(Pkcs1v15Sign::new_unprefixed(), &digest, &signature).unwrap();

            let mut random = StdRng::from_seed([3; 32]);
            let sealed = public.encrypt(&mut random, Pkcs1v15Encrypt, b"a secret").unwrap();
            let block = compute(&primes, length, &sealed).unwrap();
            assert_eq!(block[..2], [0, 2]);
            assert!(block.ends_with(b"\0a secret"));
        }
    }

    #[test]
    fn blocks_of_another_length_or_past_the_modulus_are_refused() {
        let primes = generate(128).unwrap();
        for block in [&[][..], &[1; 127], &[1; 129], &[0xFF; 128]] {
            assert_eq!(compute(&primes, 128, block).err(), Some(Sw::WRONG_DATA));
        }
    }

    #[test]
    fn what_makes_no_modulus_of_the_length_is_not_imported() {
        let primes = generate(128).unwrap();
        let (p, q) = primes.split_at(64);
        let import_of = |p: &[u8], q: &[u8], rest: usize| {
            let rest = vec![1; rest];
            let parts = [p, q, &rest, &rest, &rest];
            let tags: Vec<_> = (1u16..).zip(parts).map(|(tag, value)| Tlv { tag, value }).collect();
            import(128, &tags)
        };
        assert_eq!(*import_of(p, q, 64).unwrap(), *primes);
        let mut even = q.to_vec();
        even[63] &= 0xFE;
        for (p, q, rest) in
            [(p, q, 65), (p, &q[1..], 64), (p, p, 64), (p, &even, 64), (&[0; 64], q, 64), (&[1; 64], q, 64)]
        {
            assert_eq!(import_of(p, q, rest).err(), Some(Sw::WRONG_DATA));
        }
        let tags = [Tlv { tag: 1, value: p }, Tlv { tag: 2, value: q }];
        assert_eq!(import(128, &tags).err(), Some(Sw::WRONG_DATA), "the other three are missing");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn numbers_that_are_no_primes_end_in_a_status(mut primes in prop::collection::vec(any::<u8>(), 128), block in prop::collection::vec(any::<u8>(), 128)) {
            for at in [0, 64] {
                primes[at] |= 0xC0;
                primes[at + 63] |= 1;
            }
            // A product of two composites may pass as a key; it then computes what no public key undoes.
            if is_sound(&primes, 128) {
                let result = compute(&primes, 128, &block);
                prop_assert!(matches!(result, Err(Sw::INTERNAL | Sw::WRONG_DATA) | Ok(_)));
            } else {
                prop_assert!(modulus(&primes, 128).is_err());
            }
        }
    }
}
