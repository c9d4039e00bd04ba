//! Administering a PIV card that is no YubiKey, by the standard's own commands: SP 800-73-4 part 2 sections 3.2.4 and 3.3,
//! appendix A.1; SP 800-78-4 tables 6-1 and 6-2.
//!
//! ```text
//! mutual     87 A 9B {80 ∅} ──> 80 = E(witness)     87 A 9B {80 witness, 81 challenge} ──> 82 = E(challenge)
//! external   87 A 9B {81 ∅} ──> 81 = challenge      87 A 9B {82 E(challenge)}
//! ```
//!
//! Mutual authentication is tried first, since the card then proves that it has the key, too. The standard has no
//! command that sets the management key, and none that says whether it is the factory's.

use std::fmt;

use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    Point,
    apdu::{Command, Response},
    client::{Client, INS_GENERAL_AUTHENTICATE, P256},
    error::{Error, Result},
    furnish::Administrator,
    slot::{PinPolicy, Slot, TouchPolicy},
    tlv,
};

/// The key reference of the card management key.
const MANAGEMENT: u8 = 0x9B;
const INS_GENERATE: u8 = 0x47;
const GENERAL_AUTHENTICATE: &str = "GENERAL AUTHENTICATE";

/// What most cards come with; SP 800-73-4 names none.
const WELL_KNOWN: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// A card management key (9B): 24 bytes for 3DES, 16, 24 or 32 for AES. Wiped when dropped.
pub struct AdministrationKey(Zeroizing<Vec<u8>>);

impl AdministrationKey {
    /// Takes a key; `None` if no algorithm has keys of this length.
    #[must_use]
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Option<Self> {
        matches!(bytes.len(), 16 | 24 | 32).then_some(Self(bytes))
    }

    /// The key that most cards come with, `0102030405060708` three times. Whoever has such a card in hand knows it.
    #[must_use]
    pub fn well_known() -> Self {
        Self(Zeroizing::new(WELL_KNOWN.to_vec()))
    }

    /// The algorithms that have keys of this length, the likeliest first.
    fn algorithms(&self) -> &'static [Algorithm] {
        match self.0.len() {
            16 => &[Algorithm::Aes128],
            24 => &[Algorithm::TripleDes, Algorithm::Aes192],
            _ => &[Algorithm::Aes256],
        }
    }
}

impl fmt::Debug for AdministrationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdministrationKey(…)")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    TripleDes,
    Aes128,
    Aes192,
    Aes256,
}

impl Algorithm {
    fn byte(self) -> u8 {
        match self {
            Self::TripleDes => 0x03,
            Self::Aes128 => 0x08,
            Self::Aes192 => 0x0A,
            Self::Aes256 => 0x0C,
        }
    }

    fn block(self) -> usize {
        if self == Self::TripleDes { 8 } else { 16 }
    }

    fn encrypt(self, key: &AdministrationKey, block: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        fn with<C: BlockCipherEncrypt + KeyInit>(key: &[u8], input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
            let mut block = Block::<C>::try_from(input).ok()?;
            C::new_from_slice(key).ok()?.encrypt_block(&mut block);
            Some(Zeroizing::new(block.to_vec()))
        }
        match self {
            Self::TripleDes => with::<des::TdesEde3>(&key.0, block),
            Self::Aes128 => with::<aes::Aes128>(&key.0, block),
            Self::Aes192 => with::<aes::Aes192>(&key.0, block),
            Self::Aes256 => with::<aes::Aes256>(&key.0, block),
        }
    }

    fn decrypt(self, key: &AdministrationKey, block: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        fn with<C: BlockCipherDecrypt + KeyInit>(key: &[u8], input: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
            let mut block = Block::<C>::try_from(input).ok()?;
            C::new_from_slice(key).ok()?.decrypt_block(&mut block);
            Some(Zeroizing::new(block.to_vec()))
        }
        match self {
            Self::TripleDes => with::<des::TdesEde3>(&key.0, block),
            Self::Aes128 => with::<aes::Aes128>(&key.0, block),
            Self::Aes192 => with::<aes::Aes192>(&key.0, block),
            Self::Aes256 => with::<aes::Aes256>(&key.0, block),
        }
    }
}

/// A card that has been shown its management key, in one session.
pub(crate) struct Standard<'a, 'c> {
    client: &'a mut Client<'c>,
}

/// Shows the card its management key. A wrong one costs nothing: the standard counts no tries of it.
///
/// # Errors
/// [`Error::ManagementKey`] if it is not the card's, or the card does not prove to have it.
pub(crate) fn authenticate<'a, 'c>(
    client: &'a mut Client<'c>,
    key: &AdministrationKey,
) -> Result<Standard<'a, 'c>> {
    client.shows_secret();
    for algorithm in key.algorithms() {
        if mutual(client, key, *algorithm)? || external(client, key, *algorithm)? {
            return Ok(Standard { client });
        }
    }
    Err(Error::ManagementKey)
}

/// Whether mutual authentication succeeded.
fn mutual(client: &mut Client<'_>, key: &AdministrationKey, algorithm: Algorithm) -> Result<bool> {
    let Some(witness) = asked(client, algorithm, 0x80)? else { return Ok(false) };
    let Some(witness) = algorithm.decrypt(key, &witness) else { return Ok(false) };
    let mut challenge = vec![0; algorithm.block()];
    getrandom::fill(&mut challenge).map_err(|_| Error::Random)?;
    let mut template = Zeroizing::new(Vec::with_capacity(36));
    tlv::write(&mut template, 0x80, &witness);
    tlv::write(&mut template, 0x81, &challenge);
    let answer = send(client, algorithm, &template)?;
    if !answer.status.is_success() {
        return Ok(false);
    }
    let proof = tlv::only(&answer.data, 0x7C).and_then(|template| tlv::find(template, 0x82));
    let proof = proof.ok_or(Error::Malformed { command: GENERAL_AUTHENTICATE })?;
    let expected = algorithm.encrypt(key, &challenge).ok_or(Error::ManagementKey)?;
    if bool::from(expected.as_slice().ct_eq(proof)) { Ok(true) } else { Err(Error::ManagementKey) }
}

/// Whether external authentication succeeded, for cards without the mutual one.
fn external(client: &mut Client<'_>, key: &AdministrationKey, algorithm: Algorithm) -> Result<bool> {
    let Some(challenge) = asked(client, algorithm, 0x81)? else { return Ok(false) };
    let Some(response) = algorithm.encrypt(key, &challenge) else { return Ok(false) };
    Ok(send(client, algorithm, &tlv::encode(0x82, &response))?.status.is_success())
}

/// What the card answers to an empty witness or challenge; `None` if it does not take this algorithm or this way.
fn asked(client: &mut Client<'_>, algorithm: Algorithm, tag: u32) -> Result<Option<Vec<u8>>> {
    let answer = send(client, algorithm, &tlv::encode(tag, &[]))?;
    if !answer.status.is_success() {
        return Ok(None);
    }
    Ok(tlv::only(&answer.data, 0x7C).and_then(|template| tlv::find(template, tag)).map(<[u8]>::to_vec))
}

fn send(client: &mut Client<'_>, algorithm: Algorithm, template: &[u8]) -> Result<Response> {
    let mut data = Zeroizing::new(Vec::with_capacity(tlv::encoded_len(0x7C, template.len())));
    tlv::write(&mut data, 0x7C, template);
    client.send(&Command::new(INS_GENERAL_AUTHENTICATE, algorithm.byte(), MANAGEMENT).data(data).answers())
}

impl Administrator for Standard<'_, '_> {
    fn commands<T>(&mut self, commands: impl FnOnce(&mut Client<'_>) -> Result<T>) -> Result<T> {
        commands(self.client)
    }

    /// The standard's keys have the policies of their slots, so what is asked for is not sent.
    fn generate_overwriting_slot(&mut self, slot: Slot, _: PinPolicy, _: TouchPolicy) -> Result<Point> {
        const GENERATE: &str = "GENERATE ASYMMETRIC KEY PAIR";
        let control = tlv::encode(0xAC, &tlv::encode(0x80, &[P256]));
        let command = Command::new(INS_GENERATE, 0x00, slot.reference()).data(control).answers();
        let answer = self.client.send(&command)?;
        if !answer.status.is_success() {
            return Err(Error::Status { command: GENERATE, status: answer.status });
        }
        let malformed = Error::Malformed { command: GENERATE };
        let point = tlv::only(&answer.data, 0x7F49).and_then(|key| tlv::find(key, 0x86));
        let Some(point) = point.and_then(|point| Point::try_from(point).ok()) else { return Err(malformed) };
        if p256::PublicKey::from_sec1_bytes(&point).is_err() {
            return Err(malformed);
        }
        Ok(point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_emulator::{Card as Emulated, TokenFile};

    use crate::transport::{Card, Transport, TransportError};

    struct InProcess(Emulated);

    impl Transport for InProcess {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
            Ok(self.0.transmit(apdu))
        }
    }

    fn card(firmware: &str) -> Card {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        TokenFile::create(&path, 11110001, firmware.parse().unwrap()).unwrap();
        let card = Emulated::from_json(&std::fs::read(&path).unwrap()).unwrap();
        Card::over("test", Box::new(InProcess(card)))
    }

    /// The commands are the standard's, which a YubiKey knows as well: 3DES before 5.7, AES-192 since.
    #[test]
    fn the_well_known_key_opens_a_card_and_another_does_not() {
        for firmware in ["5.2.7", "5.7.1"] {
            let mut card = card(firmware);
            let mut client = card.begin().unwrap().select_piv().unwrap().into_client();
            let wrong = AdministrationKey::new(Zeroizing::new(vec![7; 24])).unwrap();
            assert!(matches!(authenticate(&mut client, &wrong), Err(Error::ManagementKey)), "{firmware}");
            let other = AdministrationKey::new(Zeroizing::new(vec![7; 32])).unwrap();
            assert!(matches!(authenticate(&mut client, &other), Err(Error::ManagementKey)), "{firmware}");
            let mut admin = authenticate(&mut client, &AdministrationKey::well_known()).unwrap();
            let slot = Slot::ARCHIVE;
            let point = admin.generate_overwriting_slot(slot, PinPolicy::Once, TouchPolicy::Never).unwrap();
            drop(client);
            let mut piv = card.begin().unwrap().select_piv().unwrap();
            if firmware == "5.7.1" {
                assert_eq!(piv.public_key(slot).unwrap(), Some(point));
            }
        }
    }

    #[test]
    fn keys_have_the_lengths_of_their_algorithms() {
        for length in [0, 8, 15, 17, 23, 25, 33] {
            assert!(AdministrationKey::new(Zeroizing::new(vec![1; length])).is_none(), "{length}");
        }
        for (length, algorithm, block) in
            [(16, Algorithm::Aes128, 16), (24, Algorithm::TripleDes, 8), (32, Algorithm::Aes256, 16)]
        {
            let key = AdministrationKey::new(Zeroizing::new(vec![9; length])).unwrap();
            assert_eq!((key.algorithms()[0], algorithm.block()), (algorithm, block));
            let sealed = algorithm.encrypt(&key, &vec![5; block]).unwrap();
            assert_eq!(*algorithm.decrypt(&key, &sealed).unwrap(), vec![5; block]);
            assert_eq!(algorithm.encrypt(&key, &vec![5; block + 1]), None);
            assert_eq!(format!("{key:?}"), "AdministrationKey(…)");
        }
    }

    /// A card that agrees to everything has not proven that it knows the key.
    #[test]
    fn a_card_without_the_key_is_refused() {
        struct Yes(usize);
        impl Transport for Yes {
            fn transmit(&mut self, _: &[u8]) -> Result<Vec<u8>, TransportError> {
                self.0 += 1;
                let tag = if self.0 == 2 { 0x80 } else { 0x82 };
                let mut answer = tlv::encode(0x7C, &tlv::encode(tag, &[3; 8]));
                answer.extend([0x90, 0x00]);
                Ok(answer)
            }
        }
        let mut card = Card::over("test", Box::new(Yes(0)));
        let mut client = card.begin().unwrap().select_piv().unwrap().into_client();
        let refused = authenticate(&mut client, &AdministrationKey::well_known());
        assert!(matches!(refused, Err(Error::ManagementKey)));
    }
}
