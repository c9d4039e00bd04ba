//! The management key, reference 9B: what it is, and how a client proves to have it.
//!
//! SP 800-73-4 part 2 section 3.2.4 and appendix A.1: single authentication (the card's challenge comes back
//! encrypted) and mutual authentication (a witness goes first). One block of the cipher each.

#[cfg(test)]
use aes::cipher::BlockCipherDecrypt;
use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{firmware::Firmware, policy::TouchPolicy, state::Secret, status::Sw};

const FACTORY_KEY: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// Algorithms of the management key, SP 800-78-4 table 6-2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MgmAlgorithm {
    /// 03, three-key triple DES.
    #[serde(rename = "3DES")]
    TripleDes,
    /// 08.
    #[serde(rename = "AES-128")]
    Aes128,
    /// 0A.
    #[serde(rename = "AES-192")]
    Aes192,
    /// 0C.
    #[serde(rename = "AES-256")]
    Aes256,
}

impl MgmAlgorithm {
    /// Reads P1 or the first byte of SET MANAGEMENT KEY; 00 stands for 3DES.
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x00 | 0x03 => Some(Self::TripleDes),
            0x08 => Some(Self::Aes128),
            0x0A => Some(Self::Aes192),
            0x0C => Some(Self::Aes256),
            _ => None,
        }
    }

    /// The algorithm's number.
    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::TripleDes => 0x03,
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0A,
            Self::Aes256 => 0x0C,
        }
    }

    fn key_length(self) -> usize {
        match self {
            Self::TripleDes | Self::Aes192 => 24,
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    fn block_length(self) -> usize {
        if self == Self::TripleDes { 8 } else { 16 }
    }
}

/// The key, its algorithm and whether using it takes a touch.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ManagementKey {
    pub(crate) algorithm: MgmAlgorithm,
    pub(crate) touch_policy: TouchPolicy,
    key: Secret,
}

impl ManagementKey {
    /// 01…08 three times, 3DES or AES-192 by firmware.
    pub(crate) fn factory(firmware: Firmware) -> Self {
        Self {
            algorithm: firmware.default_management_algorithm(),
            touch_policy: TouchPolicy::Never,
            key: Secret::new(&FACTORY_KEY),
        }
    }

    /// Reads SET MANAGEMENT KEY: `algorithm 9B length key`; Yubico's PIV extensions.
    pub(crate) fn from_command(firmware: Firmware, p2: u8, data: &[u8]) -> Result<Self, Sw> {
        let touch_policy = match p2 {
            0xFF => TouchPolicy::Never,
            0xFE => TouchPolicy::Always,
            0xFD => TouchPolicy::Cached,
            _ => return Err(Sw::WRONG_P1_P2),
        };
        let &[algorithm, 0x9B, length, ref key @ ..] = data else { return Err(Sw::WRONG_DATA) };
        let algorithm = MgmAlgorithm::from_byte(algorithm)
            .filter(|&algorithm| firmware.allows(algorithm))
            .ok_or(Sw::WRONG_DATA)?;
        if key.len() != usize::from(length) || key.len() != algorithm.key_length() {
            return Err(Sw::WRONG_DATA);
        }
        Ok(Self { algorithm, touch_policy, key: Secret::new(key) })
    }

    /// Whether a state that was read makes sense.
    pub(crate) fn is_sound(&self, firmware: Firmware) -> bool {
        self.key.expose().len() == self.algorithm.key_length() && firmware.allows(self.algorithm)
    }

    /// Whether it still is the factory's.
    pub(crate) fn is_factory(&self, firmware: Firmware) -> bool {
        self.algorithm == firmware.default_management_algorithm() && self.key.is(&FACTORY_KEY)
    }

    /// A random block, for a challenge or a witness.
    pub(crate) fn random_block(&self) -> Result<Zeroizing<Vec<u8>>, Sw> {
        let mut block = Zeroizing::new(vec![0; self.algorithm.block_length()]);
        getrandom::fill(&mut block).map_err(|_| Sw::INTERNAL)?;
        Ok(block)
    }

    /// Encrypts one block; anything but one block is refused.
    pub(crate) fn encrypt(&self, block: &[u8]) -> Result<Vec<u8>, Sw> {
        let key = self.key.expose();
        match self.algorithm {
            MgmAlgorithm::TripleDes => encrypt::<des::TdesEde3>(key, block),
            MgmAlgorithm::Aes128 => encrypt::<aes::Aes128>(key, block),
            MgmAlgorithm::Aes192 => encrypt::<aes::Aes192>(key, block),
            MgmAlgorithm::Aes256 => encrypt::<aes::Aes256>(key, block),
        }
    }

    #[cfg(test)]
    pub(crate) fn decrypt(&self, block: &[u8]) -> Vec<u8> {
        fn with<C: BlockCipherDecrypt + KeyInit>(key: &[u8], input: &[u8]) -> Vec<u8> {
            let mut block = Block::<C>::try_from(input).unwrap();
            C::new_from_slice(key).unwrap().decrypt_block(&mut block);
            block.to_vec()
        }
        let key = self.key.expose();
        match self.algorithm {
            MgmAlgorithm::TripleDes => with::<des::TdesEde3>(key, block),
            MgmAlgorithm::Aes128 => with::<aes::Aes128>(key, block),
            MgmAlgorithm::Aes192 => with::<aes::Aes192>(key, block),
            MgmAlgorithm::Aes256 => with::<aes::Aes256>(key, block),
        }
    }
}

fn encrypt<C: BlockCipherEncrypt + KeyInit>(key: &[u8], input: &[u8]) -> Result<Vec<u8>, Sw> {
    let mut block = Block::<C>::try_from(input).map_err(|_| Sw::WRONG_DATA)?;
    C::new_from_slice(key).map_err(|_| Sw::INTERNAL)?.encrypt_block(&mut block);
    Ok(block.to_vec())
}
