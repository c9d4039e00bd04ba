//! A token in memory: the oracle's side of [`TokenKey`].

use keyward_age::{MlKemSeed, Recipient, SharedSecret, Suite, TokenError, TokenKey};
use p256::elliptic_curve::sec1::ToSec1Point;

/// A P-256 key and a seed in software, which count how often they are asked.
pub(crate) struct SoftToken {
    key: p256::SecretKey,
    pub(crate) seed: Option<MlKemSeed>,
    pub(crate) ecdh_count: usize,
    pub(crate) seed_count: usize,
    /// What the token refuses with, if it does.
    pub(crate) refusal: Option<&'static str>,
}

impl SoftToken {
    pub(crate) fn new(suite: Suite) -> SoftToken {
        let key = loop {
            let mut scalar = [0; 32];
            getrandom::fill(&mut scalar).unwrap();
            if let Ok(key) = p256::SecretKey::from_slice(&scalar) {
                break key;
            }
        };
        let seed = (suite == Suite::Hybrid).then(|| MlKemSeed::generate().unwrap());
        SoftToken { key, seed, ecdh_count: 0, seed_count: 0, refusal: None }
    }

    pub(crate) fn recipient(&self) -> Recipient {
        let suite = if self.seed.is_some() { Suite::Hybrid } else { Suite::Classic };
        let ek = self.seed.as_ref().map(MlKemSeed::encapsulation_key);
        Recipient::token(suite, &self.point(), ek.as_ref()).unwrap()
    }
}

impl TokenKey for SoftToken {
    fn point(&self) -> [u8; 65] {
        self.key.public_key().to_sec1_point(false).as_bytes().try_into().unwrap()
    }

    fn ecdh(&mut self, peer: &[u8; 65]) -> Result<SharedSecret, TokenError> {
        self.ecdh_count += 1;
        if let Some(refusal) = self.refusal {
            return Err(refusal.into());
        }
        let peer = p256::PublicKey::from_sec1_bytes(peer)?;
        let shared = p256::ecdh::diffie_hellman(self.key.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::init_with(|bytes| bytes.copy_from_slice(shared.raw_secret_bytes())))
    }

    fn seed(&mut self) -> Result<MlKemSeed, TokenError> {
        assert_eq!(self.ecdh_count, self.seed_count + 1, "the Diffie-Hellman comes before the seed");
        self.seed_count += 1;
        let seed = self.seed.as_ref().ok_or("the token has no seed")?;
        Ok(MlKemSeed::init_with(|bytes| *bytes = *seed.expose()))
    }
}
