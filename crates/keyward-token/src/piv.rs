//! Using a token: our own small client for SP 800-73-4 part 2, with the states in the types.
//!
//! ```text
//! Session ── select_piv ──> Piv<Locked> ── card_proof ──────────────────┐
//!                               │                                       v
//!                               ├── accept_card_without_proof ──> Piv<Proven> ── verify ──> Piv<Unlocked>
//!                               │
//!                               └── use_without_pin ──────────────────> Piv<PinFree>
//! ```
//!
//! - A cold hybrid unwrap is five round trips: SELECT, 9E proof, VERIFY, ECDH, GET DATA; a classic one four.
//! - A PIN is sent only by a card that has proven itself, or one that the caller accepted in so many words.
//! - VERIFY and private-key commands are never repeated. A reset by another program before them is
//!   reconnected once, and SELECT and the proof are done again.
//!
//! `ecdh`, `sign` and `seeds` are of SP 800-73-4; `serial`, `firmware`, `metadata` and `attest` are Yubico's and
//! answer `None` on other cards.

use std::{fmt, marker::PhantomData};

use der::Decode;
use p256::ecdsa::{Signature, VerifyingKey, signature::hazmat::PrehashVerifier};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::{
    Point,
    advisory::Firmware,
    apdu::{Response, StatusWord},
    client::{Client, Metadata, authentication_response, point, signature},
    error::{Error, Result},
    pin::Pin,
    seed::{SeedError, Seeds},
    slot::{ObjectId, Slot},
    tlv,
    transport::{Session, TransportError},
};

const CARD_PROOF_LABEL: &[u8] = b"keyward-card-proof-v1";

/// The x coordinate of an ECDH on P-256. Wiped when dropped.
pub struct SharedSecret(Zeroizing<[u8; 32]>);

impl SharedSecret {
    /// The 32 bytes.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(…)")
    }
}

/// Selected; nothing is known about the card and no PIN was sent.
#[derive(Debug)]
pub struct Locked(());
/// The card has proven itself, or was accepted without.
#[derive(Debug)]
pub struct Proven {
    candidate: Option<usize>,
}
/// The PIN was verified.
#[derive(Debug)]
pub struct Unlocked {
    /// Whether no private-key operation has used the PIN up yet.
    fresh: bool,
}
/// For keys with PIN policy `never`: a state of its own, in which no PIN is ever sent.
#[derive(Debug)]
pub struct PinFree(());

/// The states in which a private key can be asked for.
pub trait UsesKeys: private::UsesKeys {}
impl UsesKeys for Unlocked {}
impl UsesKeys for PinFree {}

mod private {
    pub trait UsesKeys {
        /// Notes a private-key operation; says whether a refusal now means a missing touch.
        fn take_fresh(&mut self) -> bool;
    }
}

impl private::UsesKeys for Unlocked {
    fn take_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }
}

impl private::UsesKeys for PinFree {
    // Nothing but a touch can be missing for a key that wants no PIN.
    fn take_fresh(&mut self) -> bool {
        true
    }
}

/// The PIV applet, selected, in one session.
pub struct Piv<'c, S> {
    client: Client<'c>,
    state: S,
    marker: PhantomData<S>,
}

impl<S: fmt::Debug> fmt::Debug for Piv<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Piv").field("session", self.client.session()).field("state", &self.state).finish()
    }
}

impl<'c> Session<'c> {
    /// SELECTs the PIV applet. A reset by another program is reconnected once.
    ///
    /// # Errors
    /// [`Error::NotPiv`], [`Error::Removed`], [`Error::Reset`].
    pub fn select_piv(self) -> Result<Piv<'c, Locked>> {
        let mut client = Client::over(self);
        client.select_reconnecting()?;
        Ok(Piv { client, state: Locked(()), marker: PhantomData })
    }
}

/// What the card signs to prove itself: SHA-256 of the label, the vault id's length in two bytes (big-endian), the
/// vault id, and 32 random bytes.
#[must_use]
pub(crate) fn card_proof_digest(vault_id: &str, nonce: &[u8; 32]) -> Option<[u8; 32]> {
    let length = u16::try_from(vault_id.len()).ok()?;
    let hash = Sha256::new()
        .chain_update(CARD_PROOF_LABEL)
        .chain_update(length.to_be_bytes())
        .chain_update(vault_id)
        .chain_update(nonce);
    Some(hash.finalize().into())
}

impl<'c> Piv<'c, Locked> {
    /// Has the card prove with its 9E key which token it is: one of `candidates`, the 9E keys that the vault
    /// names. [`Piv::candidate`] then tells which.
    ///
    /// # Errors
    /// [`Error::CardProof`] if none of them made the signature; [`Error::NoCardProof`] if the card makes none.
    pub fn card_proof(mut self, vault_id: &str, candidates: &[Point]) -> Result<Piv<'c, Proven>> {
        let mut nonce = [0; 32];
        getrandom::fill(&mut nonce).map_err(|_| Error::Random)?;
        let digest = card_proof_digest(vault_id, &nonce).ok_or(Error::VaultId)?;
        let answer = match self.client.card_proof(&digest) {
            Err(TransportError::Reset) if self.client.reconnect_once() => {
                self.client.select()?;
                self.client.card_proof(&digest)
            }
            answer => answer,
        };
        let answer = answer.map_err(|error| self.client.at(error))?;
        if !answer.status.is_success() {
            return Err(Error::NoCardProof { status: answer.status });
        }
        let made_by = |point: &Point| {
            let signature = authentication_response(&answer).and_then(|der| Signature::from_der(der).ok())?;
            VerifyingKey::from_sec1_bytes(point).ok()?.verify_prehash(&digest, &signature).ok()
        };
        let candidate = candidates.iter().position(|point| made_by(point).is_some());
        let candidate = candidate.ok_or(Error::CardProof { candidates: candidates.len() })?;
        Ok(Piv { client: self.client, state: Proven { candidate: Some(candidate) }, marker: PhantomData })
    }

    /// Goes on with a card that proves nothing: a token recorded with `card_proof: none`, or a use without a
    /// vault, which the person asked for. It may be a look-alike that keeps the PIN it is sent.
    #[must_use]
    pub fn accept_card_without_proof(self) -> Piv<'c, Proven> {
        Piv { client: self.client, state: Proven { candidate: None }, marker: PhantomData }
    }

    /// For keys whose PIN policy is `never`. Another key answers [`Error::TouchDenied`], since the card does not
    /// tell what it misses.
    #[must_use]
    pub fn use_without_pin(self) -> Piv<'c, PinFree> {
        Piv { client: self.client, state: PinFree(()), marker: PhantomData }
    }
}

impl<'c> Piv<'c, Proven> {
    /// Which of the candidates the card is; `None` if it was accepted without proof.
    #[must_use]
    pub fn candidate(&self) -> Option<usize> {
        self.state.candidate
    }

    /// Verifies the PIN, once.
    ///
    /// # Errors
    /// [`Error::WrongPin`] with the tries left; [`Error::PinBlocked`].
    pub fn verify(mut self, pin: &Pin) -> Result<Piv<'c, Unlocked>> {
        self.client.verify(pin)?;
        Ok(Piv { client: self.client, state: Unlocked { fresh: true }, marker: PhantomData })
    }
}

impl Piv<'_, Unlocked> {
    /// Verifies the PIN again, for the next use of a key whose PIN policy is `always`.
    ///
    /// # Errors
    /// As for [`Piv::verify`].
    pub fn verify_again(&mut self, pin: &Pin) -> Result<()> {
        self.client.verify(pin)?;
        self.state.fresh = true;
        Ok(())
    }

    /// Reads the ML-KEM seeds from `object`, where enrolment put them. A card that counts this as another use of the
    /// PIN gets VERIFY and GET DATA once more; that is the one place where the PIN is sent again unasked,
    /// and it has just been right.
    ///
    /// # Errors
    /// [`Error::Seed`] if they are missing or spoilt; [`Error::WrongPin`].
    pub fn seeds(&mut self, object: ObjectId, pin: &Pin) -> Result<Seeds> {
        let mut answer = self.client.get_data(object)?;
        if answer.status == StatusWord::SECURITY_STATUS {
            self.verify_again(pin)?;
            answer = self.client.get_data(object)?;
        }
        let failed = |source| Error::Seed { object, source };
        match answer.status {
            StatusWord::SUCCESS => {
                let content =
                    tlv::only(&answer.data, 0x53).ok_or(Error::Malformed { command: "GET DATA" })?;
                Seeds::parse(content).map_err(failed)
            }
            StatusWord::NOT_FOUND => Err(failed(SeedError::Missing)),
            StatusWord::SECURITY_STATUS => Err(Error::PinRequired { what: object.to_string() }),
            status => Err(Error::Status { command: "GET DATA", status }),
        }
    }
}

impl<S: UsesKeys> Piv<'_, S> {
    /// ECDH of the slot's key with `peer`: GENERAL AUTHENTICATE, SP 800-73-4 part 2 section 3.2.4. One touch at most.
    ///
    /// # Errors
    /// [`Error::NotOnCurve`] before the card is asked; [`Error::TouchDenied`], [`Error::NoKey`],
    /// [`Error::PinRequired`] if the PIN was used up by an earlier call.
    pub fn ecdh(&mut self, slot: Slot, peer: &Point) -> Result<SharedSecret> {
        p256::PublicKey::from_sec1_bytes(peer).map_err(|_| Error::NotOnCurve)?;
        let answer = self.use_key(slot, 0x85, peer)?;
        let secret =
            authentication_response(&answer).ok_or(Error::Malformed { command: "GENERAL AUTHENTICATE" })?;
        let mut copy = Zeroizing::new([0; 32]);
        if secret.len() != copy.len() {
            return Err(Error::Malformed { command: "GENERAL AUTHENTICATE" });
        }
        copy.copy_from_slice(secret);
        Ok(SharedSecret(copy))
    }

    /// ECDSA of the slot's key over a SHA-256 digest, in DER.
    ///
    /// # Errors
    /// As for [`Piv::ecdh`].
    pub fn sign(&mut self, slot: Slot, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let answer = self.use_key(slot, 0x81, digest)?;
        signature(&answer)
    }

    fn use_key(&mut self, slot: Slot, tag: u32, input: &[u8]) -> Result<Response> {
        let fresh = self.state.take_fresh();
        let answer =
            self.client.general_authenticate(slot, tag, input).map_err(|error| self.client.at(error))?;
        match answer.status {
            StatusWord::SUCCESS => Ok(answer),
            // YubiKeys answer alike when the PIN is missing and when nobody touches; after a good VERIFY it is the touch.
            StatusWord::SECURITY_STATUS if fresh => Err(Error::TouchDenied { slot }),
            StatusWord::SECURITY_STATUS => Err(Error::PinRequired { what: format!("slot {slot}") }),
            status if status.is_no_key() => Err(Error::NoKey { slot }),
            status => Err(Error::Status { command: "GENERAL AUTHENTICATE", status }),
        }
    }
}

impl<S> Piv<'_, S> {
    /// Tries of the PIN that remain; `None` if the PIN is verified, since the card then does not say.
    ///
    /// # Errors
    /// [`Error::Status`] if the card does not answer the question.
    pub fn tries_left(&mut self) -> Result<Option<u8>> {
        self.client.tries_left()
    }

    /// A YubiKey's serial number; `None` if the card has no such command (so before firmware 5 too).
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn serial(&mut self) -> Result<Option<u32>> {
        self.client.serial()
    }

    /// A YubiKey's firmware version; `None` if the card has no such command.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn firmware(&mut self) -> Result<Option<Firmware>> {
        self.client.firmware()
    }

    /// Serial number and firmware of a YubiKey; `None` for any other card, whatever it answers to Yubico's commands.
    ///
    /// # Errors
    /// [`Error::Removed`] and the like.
    pub fn yubikey(&mut self) -> Result<Option<(u32, Firmware)>> {
        self.client.yubikey()
    }

    /// What the card says about a slot; `None` if the slot is empty or the card does not know the command.
    ///
    /// # Errors
    /// [`Error::Malformed`].
    pub fn metadata(&mut self, slot: Slot) -> Result<Option<Metadata>> {
        self.client.metadata(slot.reference())
    }

    /// The slot's public P-256 key, from metadata or else from its certificate; `None` if there is neither.
    ///
    /// # Errors
    /// [`Error::Certificate`] if there is a certificate and it cannot be read, or is for another kind of key.
    pub fn public_key(&mut self, slot: Slot) -> Result<Option<Point>> {
        if let Some(metadata) = self.client.metadata(slot.reference())? {
            return match metadata.point {
                Some(point) => Ok(Some(point)),
                None => Err(Error::NoKey { slot }),
            };
        }
        let Some(certificate) = self.client.certificate(slot)? else { return Ok(None) };
        let failed = |reason| Error::Certificate { slot, reason };
        let certificate =
            x509_cert::Certificate::from_der(&certificate).map_err(|_| failed("it is not X.509"))?;
        let key = certificate.tbs_certificate().subject_public_key_info();
        point(key).map(Some).ok_or(failed("its key is not on P-256"))
    }

    /// The certificate stored for a slot, DER.
    ///
    /// # Errors
    /// [`Error::Certificate`] if it is compressed or not in the form of SP 800-73-4 part 1 table 10.
    pub fn certificate(&mut self, slot: Slot) -> Result<Option<Vec<u8>>> {
        self.client.certificate(slot)
    }

    /// Whether the slot's key is one that Keyward made for something else than archives, by its certificate: whoever opens a
    /// file without a vault at hand leaves such a key alone.
    ///
    /// # Errors
    /// [`Error::Removed`] and the like.
    pub fn is_for_no_archive(&mut self, slot: Slot) -> Result<bool> {
        let certificate = self.client.certificate(slot)?;
        let ours = certificate.as_deref().and_then(crate::certificate::ours);
        Ok(ours.is_some_and(|ours| ours.role != crate::certificate::Role::Archive))
    }

    /// Has the card attest that the slot's key was generated on it (Yubico): a certificate in DER. `None` if it
    /// cannot: no key, an imported one, or a card without the command.
    ///
    /// # Errors
    /// [`Error::Removed`] and the like.
    pub fn attest(&mut self, slot: Slot) -> Result<Option<Vec<u8>>> {
        self.client.attest(slot)
    }
}

impl<'c, S> Piv<'c, S> {
    /// Leaves the states behind, for provisioning.
    pub(crate) fn into_client(self) -> Client<'c> {
        self.client
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        client::{INS_GENERAL_AUTHENTICATE, P256},
        slot::{PinPolicy, TouchPolicy},
        transport::{Card, Transport},
    };
    use p256::ecdsa::{SigningKey, signature::hazmat::PrehashSigner};
    use proptest::prelude::*;

    /// A card that answers by rote, in this order, and has nothing to say after that.
    struct Rote(Vec<Vec<u8>>);

    impl Transport for Rote {
        fn transmit(&mut self, _apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
            if self.0.is_empty() { Err(TransportError::Removed) } else { Ok(self.0.remove(0)) }
        }
    }

    /// A card with a 9E key that says 9000 to everything else.
    struct Signer(SigningKey);

    impl Transport for Signer {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
            let mut answer = Vec::new();
            if let [0x00, INS_GENERAL_AUTHENTICATE, P256, 0x9E, _, rest @ .., 0x00] = apdu {
                let digest = tlv::find(tlv::only(rest, 0x7C).unwrap(), 0x81).unwrap();
                let signature: Signature = self.0.sign_prehash(digest).unwrap();
                answer = tlv::encode(0x7C, &tlv::encode(0x82, signature.to_der().as_bytes()));
            }
            answer.extend([0x90, 0x00]);
            Ok(answer)
        }
    }

    fn card(answers: &[&[u8]]) -> Card {
        Card::over("test", Box::new(Rote(answers.iter().map(|answer| answer.to_vec()).collect())))
    }

    fn peer() -> Point {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        key.verifying_key().to_sec1_point(false).as_bytes().try_into().unwrap()
    }

    #[test]
    fn the_proof_binds_label_vault_and_nonce() {
        // (printf 'keyward-card-proof-v1\x00\x04home'; printf '%.0s*' $(seq 32)) | sha256sum
        let digest = card_proof_digest("home", &[b'*'; 32]).unwrap();
        let expected = [
            0xE5, 0xAA, 0xD4, 0x09, 0x9A, 0x44, 0x77, 0xE9, 0x38, 0x80, 0x1E, 0x5D, 0x92, 0x41, 0xF3, 0x34,
            0x1A, 0x83, 0x75, 0x13, 0x44, 0xBE, 0xB0, 0x90, 0x6C, 0xA2, 0x27, 0x45, 0x1D, 0xDC, 0xC8, 0xF4,
        ];
        assert_eq!(digest, expected);
        assert_ne!(card_proof_digest("hom", &[b'*'; 32]), Some(digest));
        assert_eq!(card_proof_digest(&"v".repeat(65_536), &[0; 32]), None);
    }

    #[test]
    fn a_software_card_proves_itself_and_a_stranger_does_not() {
        let key = SigningKey::from_slice(&[7; 32]).unwrap();
        let mut card = Card::over("test", Box::new(Signer(key)));
        let piv = card.begin().unwrap().select_piv().unwrap().card_proof("home", &[[4; 65], peer()]).unwrap();
        assert_eq!(piv.candidate(), Some(1), "a candidate that is no point is passed over");
        drop(piv);
        let piv = card.begin().unwrap().select_piv().unwrap();
        assert!(matches!(piv.card_proof("home", &[]), Err(Error::CardProof { candidates: 0 })));
    }

    #[test]
    fn a_card_without_piv_is_named() {
        for status in [[0x6A, 0x82], [0x69, 0x99]] {
            let refused = card(&[&status]).begin().unwrap().select_piv().map(|_| ());
            assert!(matches!(refused, Err(Error::NotPiv { reader, .. }) if reader == "test"));
        }
    }

    #[test]
    fn empty_successes_are_no_facts() {
        // As a card that answers 9000 to commands it does not know.
        let mut card = card(&[&[0x90, 0][..]; 5]);
        let mut piv = card.begin().unwrap().select_piv().unwrap();
        assert_eq!(piv.firmware().unwrap(), None);
        assert_eq!(piv.metadata(Slot::ARCHIVE).unwrap(), None);
        assert_eq!(piv.attest(Slot::ARCHIVE).unwrap(), None);
        assert!(matches!(piv.serial(), Err(Error::Malformed { command: "GET SERIAL" })));
    }

    #[test]
    fn an_answer_of_another_form_is_no_secret() {
        for answer in [
            &[0x90, 0][..],
            &[0x7C, 0x02, 0x82, 0x00, 0x90, 0],
            &[0x7C, 0x03, 0x82, 0x01, 0x05, 0x90, 0],
            &[0x7C, 0x03, 0x85, 0x01, 0x05, 0x90, 0],
            &[0x7C, 0x30, 0x90, 0],
        ] {
            let mut card = card(&[&[0x90, 0], answer, answer]);
            let mut piv = card.begin().unwrap().select_piv().unwrap().use_without_pin();
            let failed = piv.ecdh(Slot::ARCHIVE, &peer()).unwrap_err();
            assert!(matches!(failed, Error::Malformed { .. }), "{answer:02x?}: {failed:?}");
            assert!(matches!(piv.sign(Slot::ARCHIVE, &[0; 32]), Err(Error::Malformed { .. })));
        }
    }

    #[test]
    fn every_status_of_verify_has_its_fact() {
        let verify = |status: [u8; 2]| {
            let mut card = card(&[&[0x90, 0], &status]);
            let piv = card.begin().unwrap().select_piv().unwrap().accept_card_without_proof();
            piv.verify(&Pin::new(b"123456").unwrap()).map(|_| ())
        };
        assert!(verify([0x90, 0x00]).is_ok());
        assert!(matches!(verify([0x63, 0xC5]), Err(Error::WrongPin { tries_left: 5 })));
        assert!(matches!(verify([0x63, 0xC0]), Err(Error::PinBlocked)));
        assert!(matches!(verify([0x69, 0x83]), Err(Error::PinBlocked)));
        assert!(matches!(verify([0x6A, 0x80]), Err(Error::Status { status: StatusWord::WRONG_DATA, .. })));
    }

    #[test]
    fn seeds_after_6982_are_asked_for_once_more_with_the_pin() {
        let seeds = Seeds::generate().unwrap();
        let mut object = tlv::encode(0x53, &seeds.encode());
        object.extend([0x90, 0]);
        let ok = [0x90, 0];
        let mut card = card(&[&ok, &ok, &[0x69, 0x82], &ok, &object]);
        let pin = Pin::new(b"123456").unwrap();
        let piv = card.begin().unwrap().select_piv().unwrap().accept_card_without_proof();
        let read = piv.verify(&pin).unwrap().seeds(ObjectId::IRIS, &pin).unwrap();
        assert_eq!(read.archive().expose(), seeds.archive().expose());
    }

    #[test]
    fn certificates_in_their_wrapping() {
        let read = |content: &[u8]| {
            let mut answer = tlv::encode(0x53, content);
            answer.extend([0x90, 0]);
            let mut card = card(&[&[0x90, 0], &answer]);
            card.begin().unwrap().select_piv().unwrap().certificate(Slot::ARCHIVE)
        };
        assert_eq!(read(&[0x70, 1, 9, 0x71, 1, 0, 0xFE, 0]).unwrap(), Some(vec![9]));
        assert!(matches!(
            read(&[0x70, 1, 9, 0x71, 1, 1]),
            Err(Error::Certificate { reason: "it is compressed", .. })
        ));
        assert!(matches!(read(&[0x71, 1, 0]), Err(Error::Certificate { .. })));
        assert_eq!(read(&[]).unwrap(), None, "an empty object is none");
    }

    #[test]
    fn metadata_of_keys_and_pins() {
        let key = [&[0x01, 1, 0x11, 0x02, 2, 3, 2, 0x03, 1, 1, 0x04, 67, 0x86, 65][..], &peer()].concat();
        let metadata = Metadata::parse(&key).unwrap();
        assert!(metadata.is_p256());
        assert_eq!(metadata.policy, Some((PinPolicy::Always, TouchPolicy::Always)));
        assert_eq!((metadata.generated, metadata.point), (Some(true), Some(peer())));
        let pin = Metadata::parse(&[0x01, 1, 0xFF, 0x05, 1, 1, 0x06, 2, 3, 2]).unwrap();
        assert_eq!((pin.is_default, pin.tries, pin.is_p256()), (Some(true), Some((3, 2)), false));
        assert_eq!(Metadata::parse(&[0x01, 1]), None);
    }

    proptest! {
        #[test]
        fn whatever_a_card_answers_nothing_breaks(
            answers in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..24),
            good in any::<bool>(),
        ) {
            let mut answers = answers;
            // Half of the runs get past the status words.
            for answer in answers.iter_mut().filter(|_| good) {
                answer.extend([0x90, 0x00]);
            }
            answers.insert(0, vec![0x90, 0x00]);
            let mut card = Card::over("test", Box::new(Rote(answers)));
            let pin = Pin::new(b"123456").unwrap();
            let mut piv = card.begin().unwrap().select_piv().unwrap();
            let _ = (piv.firmware(), piv.serial(), piv.metadata(Slot::ARCHIVE), piv.public_key(Slot::ARCHIVE));
            let _ = (piv.certificate(Slot::ARCHIVE), piv.attest(Slot::ARCHIVE), piv.tries_left());
            if let Ok(mut piv) = piv.accept_card_without_proof().verify(&pin) {
                prop_assert!(piv.sign(Slot::Signature, &[0; 32]).is_err() || !good);
                let _ = (piv.ecdh(Slot::ARCHIVE, &peer()), piv.seeds(ObjectId::IRIS, &pin));
            }
        }
    }
}
