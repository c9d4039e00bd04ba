//! The PIV commands, one function each, without states: SP 800-73-4 part 2 section 3, and Yubico's extensions.
//!
//! What may be sent when is the matter of `piv.rs` (using) and `yubico.rs` (provisioning). Nothing here repeats a command.

use der::Encode;
use p256::{
    ecdsa::{RecoveryId, Signature, VerifyingKey, signature::hazmat::PrehashVerifier},
    elliptic_curve::sec1::ToSec1Point,
};
use zeroize::Zeroizing;

use crate::{
    Point,
    advisory::Firmware,
    apdu::{Command, Response, StatusWord},
    error::{Error, Result},
    pin::Pin,
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
    tlv,
    transport::{Session, TransportError},
};

/// PIV's application identifier without its version: SP 800-73-4 part 1 section 2.2. YubiKeys take it cut off further; other
/// cards (Nitrokey's) do not.
const AID: [u8; 9] = [0xA0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00];
/// The algorithm identifier of P-256: SP 800-78-4 table 6-2.
pub(crate) const P256: u8 = 0x11;
/// The key reference of the PIV card application PIN.
const PIN_REFERENCE: u8 = 0x80;
/// The key reference of the PUK.
pub(crate) const PUK_REFERENCE: u8 = 0x81;

const INS_VERIFY: u8 = 0x20;
const INS_CHANGE_REFERENCE: u8 = 0x24;
pub(crate) const INS_GENERAL_AUTHENTICATE: u8 = 0x87;
const INS_SELECT: u8 = 0xA4;
pub(crate) const INS_GET_DATA: u8 = 0xCB;
pub(crate) const INS_PUT_DATA: u8 = 0xDB;
const INS_GET_METADATA: u8 = 0xF7; // Yubico, as are all below
const INS_GET_SERIAL: u8 = 0xF8;
const INS_ATTEST: u8 = 0xF9;
const INS_GET_VERSION: u8 = 0xFD;

/// What GET METADATA says about a slot, PIN, PUK or management key (Yubico, firmware 5.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The algorithm's byte; 11 is P-256.
    pub algorithm: Option<u8>,
    /// A key's policies.
    pub policy: Option<(PinPolicy, TouchPolicy)>,
    /// Whether the key was generated on the card; imported otherwise.
    pub generated: Option<bool>,
    /// The public key of a P-256 key.
    pub point: Option<Point>,
    /// Whether a PIN, PUK or management key is still the factory's.
    pub is_default: Option<bool>,
    /// Tries in all, and tries left, of a PIN or PUK.
    pub tries: Option<(u8, u8)>,
}

impl Metadata {
    /// Whether this is a P-256 key.
    #[must_use]
    pub fn is_p256(&self) -> bool {
        self.algorithm == Some(P256)
    }

    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let byte = |tag| tlv::find(data, tag).and_then(|value| value.first().copied());
        let pair = |tag| match tlv::find(data, tag) {
            Some(&[a, b]) => Some((a, b)),
            _ => None,
        };
        // Everything must be readable, even what is not looked for.
        let mut rest = data;
        while !rest.is_empty() {
            rest = tlv::read(rest)?.1;
        }
        Some(Self {
            algorithm: byte(0x01),
            policy: pair(0x02)
                .and_then(|(pin, touch)| Some((PinPolicy::from_byte(pin)?, TouchPolicy::from_byte(touch)?))),
            generated: byte(0x03).map(|origin| origin == 1),
            point: tlv::find(data, 0x04)
                .and_then(|key| tlv::only(key, 0x86))
                .and_then(|point| point.try_into().ok()),
            is_default: byte(0x05).map(|is_default| is_default == 1),
            tries: pair(0x06),
        })
    }
}

/// The commands, without states; the rooms of this crate that provision use it directly.
pub(crate) struct Client<'c> {
    session: Session<'c>,
}

impl<'c> Client<'c> {
    pub(crate) fn over(session: Session<'c>) -> Self {
        Self { session }
    }

    pub(crate) fn session(&self) -> &Session<'c> {
        &self.session
    }

    /// For a card whose PIV applet another connection of ours has selected, and will reset.
    pub(crate) fn selected_elsewhere(session: Session<'c>) -> Self {
        Self { session }
    }

    /// Ends without a reset although secrets were shown: the other connection needs what they unlocked and resets
    /// the card itself.
    pub(crate) fn leaves_reset_to_another(mut self) {
        self.session.leaves_reset_to_another();
    }
}

impl Client<'_> {
    pub(crate) fn at(&self, error: TransportError) -> Error {
        error.at(self.session.reader)
    }

    pub(crate) fn send(&mut self, command: &Command) -> Result<Response> {
        command.send(self.session.transport()).map_err(|error| error.at(self.session.reader))
    }

    /// Connects again, once a session; see [`Session::reconnect_once`].
    pub(crate) fn reconnect_once(&mut self) -> bool {
        self.session.reconnect_once()
    }

    /// As [`Client::send`], for a command without answer.
    pub(crate) fn run(&mut self, name: &'static str, command: &Command) -> Result<()> {
        let status = self.send(command)?.status;
        if status.is_success() { Ok(()) } else { Err(Error::Status { command: name, status }) }
    }

    /// From here on the session ends with a reset.
    pub(crate) fn shows_secret(&mut self) {
        self.session.shows_secret();
    }

    fn select_command() -> Command {
        Command::new(INS_SELECT, 0x04, 0x00).data(AID.to_vec()).answers()
    }

    pub(crate) fn select_reconnecting(&mut self) -> Result<()> {
        match Self::select_command().send(self.session.transport()) {
            Err(TransportError::Reset) if self.session.reconnect_once() => self.select(),
            answer => {
                let answer = answer.map_err(|error| self.at(error))?;
                self.selected(&answer)
            }
        }
    }

    pub(crate) fn select(&mut self) -> Result<()> {
        let answer = self.send(&Self::select_command())?;
        self.selected(&answer)
    }

    fn selected(&self, answer: &Response) -> Result<()> {
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(Error::NotPiv { reader: self.session.reader.to_owned(), status: answer.status })
        }
    }

    pub(crate) fn card_proof(&mut self, digest: &[u8; 32]) -> Result<Response, TransportError> {
        self.general_authenticate(Slot::CardAuthentication, 0x81, digest)
    }

    /// A signature by 9E, which needs no PIN.
    pub(crate) fn sign_with_card_key(&mut self, digest: &[u8; 32]) -> Result<Vec<u8>> {
        let answer = self.card_proof(digest).map_err(|error| self.at(error))?;
        if !answer.status.is_success() {
            return Err(Error::NoCardProof { status: answer.status });
        }
        signature(&answer)
    }

    /// Whether 9E signs, without a PIN, with this key.
    pub(crate) fn proves(&mut self, key: &Point) -> Result<bool> {
        let mut digest = [0; 32];
        getrandom::fill(&mut digest).map_err(|_| Error::Random)?;
        let der = match self.sign_with_card_key(&digest) {
            Ok(der) => der,
            Err(Error::NoCardProof { .. } | Error::Malformed { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let verified = VerifyingKey::from_sec1_bytes(key)
            .and_then(|key| key.verify_prehash(&digest, &Signature::from_der(&der)?));
        Ok(verified.is_ok())
    }

    /// The public half of a P-256 key in 9E that signs without a PIN and has no certificate, by two of its signatures: each is
    /// by one of at most four keys (SEC 1 section 4.1.6), and one key alone made both. Nitrokey's cards leave the
    /// factory so.
    pub(crate) fn recovered_card_key(&mut self) -> Result<Option<Point>> {
        let mut digest = [0; 32];
        getrandom::fill(&mut digest).map_err(|_| Error::Random)?;
        let der = match self.sign_with_card_key(&digest) {
            Ok(der) => der,
            Err(Error::NoCardProof { .. } | Error::Malformed { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(signature) = Signature::from_der(&der) else { return Ok(None) };
        for id in (0..4).filter_map(RecoveryId::from_byte) {
            let key = VerifyingKey::recover_from_prehash(&digest, &signature, id).ok();
            let point = key.and_then(|key| Point::try_from(key.to_sec1_point(false).as_bytes()).ok());
            if let Some(point) = point
                && self.proves(&point)?
            {
                return Ok(Some(point));
            }
        }
        Ok(None)
    }

    /// GENERAL AUTHENTICATE with P-256: the challenge (81) or the peer's point (85).
    pub(crate) fn general_authenticate(
        &mut self,
        slot: Slot,
        tag: u32,
        input: &[u8],
    ) -> Result<Response, TransportError> {
        let mut template = vec![0x82, 0x00];
        tlv::write(&mut template, tag, input);
        let command = Command::new(INS_GENERAL_AUTHENTICATE, P256, slot.reference());
        command.data(tlv::encode(0x7C, &template)).answers().send(self.session.transport())
    }

    /// Whether a slot is surely empty, on a card without metadata: it refuses to use a key of any algorithm that SP 800-78-4
    /// table 6-2 has. A key that is there answers, or wants PIN or touch. `pin` is shown before each try, for slots whose keys
    /// want it; `is_no_key` says which answers mean that there is none.
    pub(crate) fn refuses_every_algorithm(
        &mut self,
        slot: Slot,
        pin: Option<&Pin>,
        is_no_key: fn(StatusWord) -> bool,
    ) -> Result<bool> {
        // P-256, P-384, RSA 1024, RSA 2048, each with the length of what it signs or decrypts.
        for (algorithm, length) in [(P256, 32), (0x14, 48), (0x06, 128), (0x07, 256)] {
            let mut challenge = vec![0; length];
            // Not zero, and below any modulus.
            if let Some(last) = challenge.last_mut() {
                *last = 1;
            }
            let agrees = matches!(slot, Slot::KeyManagement | Slot::Retired(_));
            let (tag, input) = match algorithm {
                P256 if agrees => {
                    (0x85, p256::AffinePoint::GENERATOR.to_sec1_point(false).as_bytes().to_vec())
                }
                0x14 if agrees => {
                    (0x85, p384::AffinePoint::GENERATOR.to_sec1_point(false).as_bytes().to_vec())
                }
                _ => (0x81, challenge),
            };
            let mut template = vec![0x82, 0x00];
            tlv::write(&mut template, tag, &input);
            if let Some(pin) = pin {
                self.verify(pin)?;
            }
            let command = Command::new(INS_GENERAL_AUTHENTICATE, algorithm, slot.reference());
            let status = self.send(&command.data(tlv::encode(0x7C, &template)).answers())?.status;
            if !is_no_key(status) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Changes the PIN.
    pub(crate) fn change_pin(&mut self, current: &Pin, new: &Pin) -> Result<()> {
        match self.change_reference(PIN_REFERENCE, current.bytes(), new.bytes()) {
            // Some cards say 6300 without a count.
            Err(Error::Status { status: StatusWord(0x6300), .. }) => match self.tries_left()? {
                Some(0) => Err(Error::PinBlocked),
                Some(tries_left) => Err(Error::WrongPin { tries_left }),
                None => Err(Error::Status { command: "CHANGE REFERENCE DATA", status: StatusWord(0x6300) }),
            },
            result => result,
        }
    }

    /// CHANGE REFERENCE DATA of PIN (80) or PUK (81): SP 800-73-4 part 2 section 3.2.2.
    pub(crate) fn change_reference(&mut self, reference: u8, current: &[u8], new: &[u8]) -> Result<()> {
        let mut data = Zeroizing::new(vec![0xFF; 16]);
        let (first, second) = data.split_at_mut(8);
        for (half, secret) in [(first, current), (second, new)] {
            half.get_mut(..secret.len())
                .ok_or(Error::PinLength { length: secret.len() })?
                .copy_from_slice(secret);
        }
        self.session.shows_secret();
        let status = self.send(&Command::new(INS_CHANGE_REFERENCE, 0x00, reference).data(data))?.status;
        match (status, status.tries_left(), reference) {
            (StatusWord::SUCCESS, ..) => Ok(()),
            (StatusWord::BLOCKED, _, PUK_REFERENCE) | (_, Some(0), PUK_REFERENCE) => Err(Error::PukBlocked),
            (StatusWord::BLOCKED, ..) | (_, Some(0), _) => Err(Error::PinBlocked),
            (_, Some(tries_left), PUK_REFERENCE) => Err(Error::WrongPuk { tries_left }),
            (_, Some(tries_left), _) => Err(Error::WrongPin { tries_left }),
            (StatusWord::WRONG_DATA | StatusWord::CONDITIONS, ..) => {
                let secret = if reference == PUK_REFERENCE { "PUK" } else { "PIN" };
                Err(Error::SecretRefused { secret, status })
            }
            _ => Err(Error::Status { command: "CHANGE REFERENCE DATA", status }),
        }
    }

    pub(crate) fn verify(&mut self, pin: &Pin) -> Result<()> {
        self.session.shows_secret();
        let command = Command::new(INS_VERIFY, 0x00, PIN_REFERENCE).data(pin.padded().to_vec());
        let status = self.send(&command)?.status;
        match status {
            StatusWord::SUCCESS => Ok(()),
            StatusWord::BLOCKED => Err(Error::PinBlocked),
            status => match status.tries_left() {
                Some(0) => Err(Error::PinBlocked),
                Some(tries_left) => Err(Error::WrongPin { tries_left }),
                None => Err(Error::Status { command: "VERIFY", status }),
            },
        }
    }

    /// VERIFY with P1 FF: the PIN is no longer verified, SP 800-73-4 part 2 section 3.2.1. Cards that do not know it
    /// forget the PIN when they are reset.
    pub(crate) fn forget_pin(&mut self) -> Result<()> {
        self.send(&Command::new(INS_VERIFY, 0xFF, PIN_REFERENCE)).map(|_| ())
    }

    /// VERIFY without data: how many tries remain, `None` if the PIN is verified.
    pub(crate) fn tries_left(&mut self) -> Result<Option<u8>> {
        let answer = self.send(&Command::new(INS_VERIFY, 0x00, PIN_REFERENCE))?;
        match answer.status {
            StatusWord::SUCCESS => Ok(None),
            StatusWord::BLOCKED => Ok(Some(0)),
            status => status.tries_left().map(Some).ok_or(Error::Status { command: "VERIFY", status }),
        }
    }

    pub(crate) fn get_data(&mut self, object: ObjectId) -> Result<Response> {
        let list = tlv::encode(0x5C, &object.tag());
        self.send(&Command::new(INS_GET_DATA, 0x3F, 0xFF).data(list).answers())
    }

    /// An object's content; `None` if there is no such object or it is empty.
    pub(crate) fn object(&mut self, object: ObjectId) -> Result<Option<Zeroizing<Vec<u8>>>> {
        let answer = self.get_data(object)?;
        match answer.status {
            StatusWord::SUCCESS => {
                let content =
                    tlv::only(&answer.data, 0x53).ok_or(Error::Malformed { command: "GET DATA" })?;
                Ok((!content.is_empty()).then(|| Zeroizing::new(content.to_vec())))
            }
            StatusWord::NOT_FOUND => Ok(None),
            StatusWord::SECURITY_STATUS => Err(Error::PinRequired { what: object.to_string() }),
            status => Err(Error::Status { command: "GET DATA", status }),
        }
    }

    pub(crate) fn certificate(&mut self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let Some(content) = self.object(slot.certificate())? else { return Ok(None) };
        let failed = |reason| Error::Certificate { slot, reason };
        let certificate = tlv::find(&content, 0x70).ok_or(failed("it has no tag 70"))?;
        if tlv::find(&content, 0x71).is_some_and(|info| info.first().is_some_and(|flags| flags & 0x01 != 0)) {
            return Err(failed("it is compressed"));
        }
        Ok(Some(certificate.to_vec()))
    }

    pub(crate) fn serial(&mut self) -> Result<Option<u32>> {
        let answer = self.send(&Command::new(INS_GET_SERIAL, 0, 0).answers())?;
        if !answer.status.is_success() {
            return Ok(None);
        }
        let bytes: [u8; 4] =
            answer.data.as_slice().try_into().map_err(|_| Error::Malformed { command: "GET SERIAL" })?;
        Ok(Some(u32::from_be_bytes(bytes)))
    }

    /// A card that is no YubiKey may answer FD with 9000 and nothing: that is no version either.
    pub(crate) fn firmware(&mut self) -> Result<Option<Firmware>> {
        let answer = self.send(&Command::new(INS_GET_VERSION, 0, 0).answers())?;
        match (answer.status.is_success(), answer.data.as_slice()) {
            (true, &[major, minor, patch]) => Ok(Some(Firmware { major, minor, patch })),
            (true, [_, ..]) => Err(Error::Malformed { command: "GET VERSION" }),
            _ => Ok(None),
        }
    }

    /// Serial number and firmware, if this is a YubiKey that tells them. Other cards know some of Yubico's commands, answer
    /// them with nothing, or make something up (Nitrokey's has a version and the same serial number on each card):
    /// a YubiKey whose version says that it has metadata has them.
    pub(crate) fn yubikey(&mut self) -> Result<Option<(u32, Firmware)>> {
        fn told<T>(answer: Result<Option<T>>) -> Result<Option<T>> {
            match answer {
                Err(Error::Malformed { .. }) => Ok(None),
                answer => answer,
            }
        }
        let Some(firmware) = told(self.firmware())? else { return Ok(None) };
        if firmware.has_metadata() && told(self.metadata(PIN_REFERENCE))?.is_none() {
            return Ok(None);
        }
        Ok(told(self.serial())?.map(|serial| (serial, firmware)))
    }

    /// GET METADATA of a slot, 80 (PIN), 81 (PUK) or 9B (management key). An empty 9000, as some cards answer
    /// to anything, counts as not known.
    pub(crate) fn metadata(&mut self, reference: u8) -> Result<Option<Metadata>> {
        let answer = self.send(&Command::new(INS_GET_METADATA, 0x00, reference).answers())?;
        if !answer.status.is_success() || answer.data.is_empty() {
            return Ok(None);
        }
        Metadata::parse(&answer.data).map(Some).ok_or(Error::Malformed { command: "GET METADATA" })
    }

    pub(crate) fn attest(&mut self, slot: Slot) -> Result<Option<Vec<u8>>> {
        let answer = self.send(&Command::new(INS_ATTEST, slot.reference(), 0x00).answers())?;
        Ok((answer.status.is_success() && !answer.data.is_empty()).then(|| answer.data.to_vec()))
    }
}

/// The point of a P-256 key in a certificate.
pub(crate) fn point(key: &x509_cert::spki::SubjectPublicKeyInfoOwned) -> Option<Point> {
    let key = VerifyingKey::try_from(
        x509_cert::spki::SubjectPublicKeyInfoRef::try_from(key.to_der().ok()?.as_slice()).ok()?,
    );
    key.ok()?.to_sec1_point(false).as_bytes().try_into().ok()
}

/// The value of `7C { 82 … }`.
pub(crate) fn authentication_response(answer: &Response) -> Option<&[u8]> {
    tlv::find(tlv::only(&answer.data, 0x7C)?, 0x82)
}

pub(crate) fn signature(answer: &Response) -> Result<Vec<u8>> {
    let malformed = Error::Malformed { command: "GENERAL AUTHENTICATE" };
    let Some(der) = authentication_response(answer) else { return Err(malformed) };
    if Signature::from_der(der).is_err() {
        return Err(malformed);
    }
    Ok(der.to_vec())
}
