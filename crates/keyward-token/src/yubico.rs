//! Provisioning a YubiKey with the `yubikey` crate, and what it leaves open. No other room of this crate names it.
//!
//! The crate generates keys, authenticates with the management key, sets it, and sets the retry counters. Its gaps in
//! 0.9.0-rc.0, read in its source, and what fills them here:
//!
//! | gap | filled by |
//! |---|---|
//! | `set_protected` sets the management key first and returns Ok if storing it then fails: a kill in between leaves a token that nobody can administer | [`Admin::set_protected_key`] stores it first and reads it back after |
//! | `save_object` copies what it writes through a buffer that is not wiped | [`Administrator::put`] over our transport, for seeds and the management key |
//! | it keeps a verified PIN in a plain `Vec` and sends it again after a reset | PIN and PUK go over our transport only |
//! | status words are lost in `GenericError` | what can be told apart by status is asked over our transport |
//! | `attest`, `metadata`, `get_version` and `authenticate` index into answers: a card that answers too little makes them panic | reading is ours; the rest runs inside [`guarded`] |
//! | each of its calls is a transaction of its own | it cannot be helped; what a step wrote is read back |
//! | `MgmKey` is not wiped when dropped, nor are the copies that it sends | it lives for one call; the token is in its owner's hand during enrolment |
//! | it logs whole APDUs at trace level | no logger of it is ever switched on; see the command line's filter |
//!
//! Its handle selects PIV and, when dropped, resets the card, so that PIN and management key are forgotten at the end of
//! every [`Admin`], come what may. Our commands in between run on a second connection without another SELECT,
//! since on a YubiKey that would take the authentication back.

use std::panic::{AssertUnwindSafe, catch_unwind};

use yubikey::{MgmAlgorithmId, MgmKey, YubiKey, piv as yk};
use zeroize::Zeroizing;

use crate::{
    Point,
    advisory::Firmware,
    client::{self, Client, Metadata},
    error::{Error, Result},
    furnish::Administrator,
    pin::{Pin, Puk},
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
    tlv,
    transport::{Card, TransportError},
};

/// Key references of PIN, PUK and management key in CHANGE REFERENCE DATA and GET METADATA.
pub(crate) const PIN: u8 = 0x80;
pub(crate) const PUK: u8 = client::PUK_REFERENCE;
pub(crate) const MANAGEMENT: u8 = 0x9B;

/// What the factory sets, in Yubico's "PIV: default values".
pub(crate) const FACTORY_PIN: &[u8] = b"123456";
pub(crate) const FACTORY_PUK: &[u8] = b"12345678";
const FACTORY_MANAGEMENT_KEY: [u8; 24] =
    [1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 4, 5, 6, 7, 8];

/// 88: what Yubico's tools keep behind the PIN in 5FC109; 89 in it: the management key.
const TAG_PROTECTED: u32 = 0x88;
const TAG_PROTECTED_KEY: u32 = 0x89;

/// A management key of 24 bytes, for AES-192 or 3DES. Wiped when dropped.
pub struct ManagementKey(Zeroizing<[u8; 24]>);

impl ManagementKey {
    /// Takes a key.
    #[must_use]
    pub fn new(bytes: Zeroizing<[u8; 24]>) -> Self {
        Self(bytes)
    }

    /// A new random key.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self> {
        let mut bytes = Zeroizing::new([0; 24]);
        getrandom::fill(&mut *bytes).map_err(|_| Error::Random)?;
        Ok(Self(bytes))
    }

    /// The key, for the file that keeps it.
    #[must_use]
    pub fn expose(&self) -> &[u8; 24] {
        &self.0
    }

    pub(crate) fn factory() -> Self {
        Self(Zeroizing::new(FACTORY_MANAGEMENT_KEY))
    }

    fn copy(bytes: &[u8]) -> Option<Self> {
        let mut copy = Zeroizing::new([0; 24]);
        if bytes.len() != copy.len() {
            return None;
        }
        copy.copy_from_slice(bytes);
        Some(Self(copy))
    }

    fn duplicate(&self) -> Self {
        Self(self.0.clone())
    }

    fn for_crate(&self, algorithm: MgmAlgorithmId) -> Result<MgmKey> {
        MgmKey::from_bytes(*self.0, Some(algorithm)).map_err(|_| Error::ManagementKey)
    }
}

impl std::fmt::Debug for ManagementKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ManagementKey(…)")
    }
}

/// A YubiKey in a reader, without a connection.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) reader: String,
    pub(crate) serial: u32,
    pub(crate) firmware: Firmware,
}

impl Device {
    pub(crate) fn find(reader: &str) -> Result<Self> {
        let mut card = Card::open(reader)?;
        let mut piv = card.begin()?.select_piv()?;
        let (serial, firmware) =
            piv.yubikey()?.ok_or_else(|| Error::NotYubiKey { reader: reader.to_owned() })?;
        Ok(Self { reader: reader.to_owned(), serial, firmware })
    }

    /// A connection of our own. A YubiKey is its own reader: pulled out, it takes the reader along.
    fn connect(&self) -> Result<Card> {
        Card::open(&self.reader).map_err(|error| match error {
            Error::NoReader { reader } => Error::Removed { reader },
            error => error,
        })
    }

    /// Runs commands in a session of our own, after SELECT, on this token and no other.
    pub(crate) fn read<T>(&self, commands: impl FnOnce(&mut Client<'_>) -> Result<T>) -> Result<T> {
        let mut card = self.connect()?;
        let mut client = card.begin()?.select_piv()?.into_client();
        self.check(client.serial()?)?;
        commands(&mut client)
    }

    fn check(&self, serial: Option<u32>) -> Result<()> {
        if serial == Some(self.serial) {
            Ok(())
        } else {
            Err(Error::OtherToken { reader: self.reader.clone() })
        }
    }

    /// GET METADATA of PIN, PUK or management key; `None` before firmware 5.3.
    pub(crate) fn metadata(&self, reference: u8) -> Result<Option<Metadata>> {
        if !self.firmware.has_metadata() {
            return Ok(None);
        }
        self.read(|client| client.metadata(reference))
    }

    /// Whether PIN, PUK or management key is the factory's, where the token can tell.
    pub(crate) fn is_factory(&self, reference: u8) -> Result<Option<bool>> {
        Ok(self.metadata(reference)?.and_then(|metadata| metadata.is_default))
    }

    pub(crate) fn verify(&self, pin: &Pin) -> Result<()> {
        self.read(|client| client.verify(pin))
    }

    /// CHANGE REFERENCE DATA, SP 800-73-4 part 2 section 3.2.2.
    pub(crate) fn change_pin(&self, current: &[u8], new: &Pin) -> Result<()> {
        self.change(PIN, current, new.bytes())
    }

    /// The same for the PUK.
    pub(crate) fn change_puk(&self, current: &[u8], new: &Puk) -> Result<()> {
        self.change(PUK, current, new.expose())
    }

    fn change(&self, reference: u8, current: &[u8], new: &[u8]) -> Result<()> {
        self.read(|client| client.change_reference(reference, current, new))
    }

    /// The management key's algorithm now.
    fn management_algorithm(&self) -> Result<MgmAlgorithmId> {
        match self.metadata(MANAGEMENT)?.and_then(|metadata| metadata.algorithm) {
            Some(byte) => MgmAlgorithmId::try_from(byte).map_err(|_| Error::ManagementKey),
            // Firmware without metadata knows 3DES alone.
            None => Ok(MgmAlgorithmId::ThreeDes),
        }
    }

    /// The management key that is stored behind the PIN, in force or not.
    pub(crate) fn stored_key(&self, pin: &Pin) -> Result<Option<ManagementKey>> {
        self.read(|client| {
            client.verify(pin)?;
            stored_key(client)
        })
    }

    /// Opens the crate's connection, shows it PIN (over our transport) and management key.
    pub(crate) fn administer(&self, pin: Option<&Pin>, key: &ManagementKey) -> Result<Admin> {
        let algorithm = self.management_algorithm()?;
        let yubikey = guarded("finding the token", || {
            let mut context = yubikey::reader::Context::open()?;
            let reader = context.iter()?.find(|reader| reader.name() == self.reader);
            reader.ok_or(yubikey::Error::NotFound)?.open()
        })
        .map_err(|error| self.at(error))?;
        self.check(Some(yubikey.serial().0))?;
        let mut admin = Admin { device: self.clone(), yubikey };
        if let Some(pin) = pin {
            admin.commands(|client| client.verify(pin))?;
        }
        let key = key.for_crate(algorithm)?;
        match guarded("authenticating", || admin.yubikey.authenticate(&key)) {
            Err(Failed { source: yubikey::Error::AuthenticationError, .. }) => Err(Error::ManagementKey),
            result => result.map_err(|error| self.at(error)).map(|()| admin),
        }
    }

    fn at(&self, Failed { step, source }: Failed) -> Error {
        match source {
            yubikey::Error::PcscError { inner: Some(error) } => TransportError::from(error).at(&self.reader),
            // Its list of readers does not have ours any more.
            yubikey::Error::NotFound => TransportError::Removed.at(&self.reader),
            source => Error::Provision { step, source: Box::new(source) },
        }
    }
}

/// An error of the crate, and in what.
struct Failed {
    step: &'static str,
    source: yubikey::Error,
}

/// Runs the crate's code, which panics on answers that are too short: nothing a card says may end the program.
fn guarded<T>(step: &'static str, call: impl FnOnce() -> yubikey::Result<T>) -> Result<T, Failed> {
    let result = catch_unwind(AssertUnwindSafe(call));
    result.unwrap_or(Err(yubikey::Error::ParseError)).map_err(|source| Failed { step, source })
}

/// The key inside `88 { 89 … }` in 5FC109. Another content of that object is somebody else's.
fn stored_key(client: &mut Client<'_>) -> Result<Option<ManagementKey>> {
    let Some(content) = client.object(ObjectId::PRINTED)? else { return Ok(None) };
    let occupied = Error::ObjectOccupied { object: ObjectId::PRINTED };
    let Some(protected) = tlv::find(&content, TAG_PROTECTED) else { return Err(occupied) };
    Ok(tlv::find(protected, TAG_PROTECTED_KEY).and_then(ManagementKey::copy))
}

/// A YubiKey that has been shown its management key. Dropping it resets the card.
pub(crate) struct Admin {
    device: Device,
    yubikey: YubiKey,
}

impl Admin {
    fn run<T>(
        &mut self,
        step: &'static str,
        call: impl FnOnce(&mut YubiKey) -> yubikey::Result<T>,
    ) -> Result<T> {
        guarded(step, || call(&mut self.yubikey)).map_err(|error| self.device.at(error))
    }

    /// Sets how many tries PIN and PUK have. Both become the factory's.
    pub(crate) fn set_retries(&mut self, pin: u8, puk: u8) -> Result<()> {
        self.run("setting PIN retries", |yubikey| yubikey.set_pin_retries(pin, puk))
    }

    fn new_algorithm(&self) -> MgmAlgorithmId {
        if self.device.firmware.has_aes() { MgmAlgorithmId::Aes192 } else { MgmAlgorithmId::ThreeDes }
    }

    /// Sets a management key that its owner has already put away.
    pub(crate) fn set_given_key(&mut self, key: &ManagementKey) -> Result<()> {
        let key = key.for_crate(self.new_algorithm())?;
        self.run("setting the management key", |yubikey| key.set_manual(yubikey, false))
    }

    /// Sets a new management key that is kept behind the PIN, which has to be verified. It is stored before it is
    /// set, so at every moment the key in force is known: the old one, or the one stored. A key stored by a run
    /// that was interrupted in between is taken up.
    pub(crate) fn set_protected_key(&mut self) -> Result<ManagementKey> {
        let key = match self.commands(stored_key)? {
            Some(key) => key,
            None => self.store_new_key()?,
        };
        let for_crate = key.for_crate(self.new_algorithm())?;
        self.run("setting the management key", |yubikey| for_crate.set_protected(yubikey))?;
        // The crate wrote it once more, and says Ok even if that failed.
        let stored = self.commands(stored_key)?;
        if stored.is_none_or(|stored| stored.expose() != key.expose()) {
            return Err(Error::ReadBack { what: "the management key" });
        }
        Ok(key)
    }

    fn store_new_key(&mut self) -> Result<ManagementKey> {
        let key = ManagementKey::generate()?;
        let mut inner = Zeroizing::new(Vec::with_capacity(32));
        tlv::write(&mut inner, TAG_PROTECTED_KEY, key.expose());
        let mut outer = Zeroizing::new(Vec::with_capacity(40));
        tlv::write(&mut outer, TAG_PROTECTED, &inner);
        self.put(ObjectId::PRINTED, &outer)?;
        match self.commands(stored_key)? {
            Some(stored) if stored.expose() == key.expose() => Ok(stored.duplicate()),
            _ => Err(Error::ReadBack { what: "the management key" }),
        }
    }
}

impl Administrator for Admin {
    /// Our own commands between the crate's, with what has been verified still in force.
    fn commands<T>(&mut self, commands: impl FnOnce(&mut Client<'_>) -> Result<T>) -> Result<T> {
        let mut card = self.device.connect()?;
        let mut client = Client::selected_elsewhere(card.begin()?);
        let result = commands(&mut client);
        client.leaves_reset_to_another();
        result
    }

    fn generate_overwriting_slot(&mut self, slot: Slot, pin: PinPolicy, touch: TouchPolicy) -> Result<Point> {
        let id = yk::SlotId::try_from(slot.reference()).map_err(|_| Error::NoKey { slot })?;
        let pin = match pin {
            PinPolicy::Never => yubikey::PinPolicy::Never,
            PinPolicy::Once => yubikey::PinPolicy::Once,
            PinPolicy::Always => yubikey::PinPolicy::Always,
        };
        let touch = match touch {
            TouchPolicy::Never => yubikey::TouchPolicy::Never,
            TouchPolicy::Cached => yubikey::TouchPolicy::Cached,
            TouchPolicy::Always => yubikey::TouchPolicy::Always,
        };
        let key = self.run("generating a key", |yubikey| {
            yk::generate(yubikey, id, yk::AlgorithmId::EccP256, pin, touch)
        })?;
        client::point(&key).ok_or(Error::Malformed { command: "GENERATE ASYMMETRIC KEY PAIR" })
    }
}
