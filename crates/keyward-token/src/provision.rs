//! Enrolling a token, step by step; each step is safe to interrupt and to run again. Here a YubiKey; a card that is
//! none is enrolled in `generic.rs`.
//!
//! ```text
//! find ─ refuse occupied slots ─ (retries) ─ PIN ─ PUK ─ management key ─ note the intent
//!      ─ card key 9E ─ archive 82 ─ custody 83 ─ signing key ─ seeds ─ certificates ─ Key History ─ attestation
//! ```
//!
//! - Nothing is changed before the slots were looked at, and nothing occupied is touched without `overwrite`.
//! - No private key moves, and no secret is set that only this program knew: a generated PUK is handed out before it
//!   is set, a management key is stored before it is set.
//! - A key in 9E is adopted, never replaced.
//!
//! Run again after an interruption, with the same options, the enrolment goes on where it was: its intent stands on the
//! token, see `plan.rs`. On a token that is enrolled already everything is found done.
//!
//! A key that is there already is **adopted** as the archive key, if that is asked for: it stays where it is, with its
//! certificate and its policies, and the others are made in free slots beside it (`beside.rs`).

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use crate::inventory::{Inventory, Occupied, inspect};
use crate::{
    Point,
    advisory::Firmware,
    apdu::StatusWord,
    attest::{self, Attestation, Verdict},
    beside::{Beside, beside},
    certificate::{self, Role},
    error::{Error, Result},
    furnish::{self, Administrator, Keys, Placed, Policy, Whose},
    generic,
    inventory::{Key, KnownKey, claim, inventory, key_in},
    pin::{Pin, Puk},
    plan::{Intent, Plan, plan},
    seed::{EncapsulationKey, Seeds},
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
    standard::AdministrationKey,
    transport::Card,
    yubico::{self, Admin, Device, ManagementKey},
};

/// What the token's secrets are now, where it cannot tell or they are not the factory's.
#[derive(Debug, Default)]
pub struct CurrentSecrets {
    /// The PIN, to be changed into the new one. Left out when a run is repeated: the new one is in force then.
    pub pin: Option<Pin>,
    /// The PUK.
    pub puk: Option<Puk>,
    /// The management key of a YubiKey.
    pub management_key: Option<ManagementKey>,
    /// The management key of any other card, which enrolling one needs.
    pub card: Option<AdministrationKey>,
}

/// Where the new management key is kept.
#[derive(Debug, Default)]
pub enum KeepManagementKey {
    /// On the token behind the PIN, as `ykman piv access change-management-key --protect` does.
    #[default]
    OnToken,
    /// With the caller, who has already stored it.
    Given(ManagementKey),
}

/// How to enrol. `new` fills in what the design recommends.
#[derive(Debug)]
pub struct EnrollOptions {
    /// The holder's name, for the certificates.
    pub name: String,
    /// The PIN from now on.
    pub new_pin: Pin,
    /// The PUK from now on; a random one if it is the factory's and none is given.
    pub new_puk: Option<Puk>,
    /// What is in force now.
    pub current: CurrentSecrets,
    /// Where the management key goes.
    pub management_key: KeepManagementKey,
    /// Whether the token gets ML-KEM seeds.
    pub hybrid: bool,
    /// Take over the P-256 key in this slot as the archive key. Left out, one that an earlier run took over stays so.
    pub adopt: Option<Slot>,
    /// Replace keys that are in 82 and 83, whoever's they are, and a signing key that Keyward made.
    pub overwrite: bool,
    /// Of archive and custody key. The signing key is always PIN `always`, touch `always`.
    pub pin_policy: PinPolicy,
    /// Of archive and custody key.
    pub touch_policy: TouchPolicy,
    /// Tries of PIN and PUK, each 1 to 255; setting them makes PIN and PUK the factory's first.
    pub retries: Option<(u8, u8)>,
}

impl EnrollOptions {
    /// A hybrid token, PIN and touch `always`, nothing overwritten.
    #[must_use]
    pub fn new(name: impl Into<String>, new_pin: Pin) -> Self {
        Self {
            name: name.into(),
            new_pin,
            new_puk: None,
            current: CurrentSecrets::default(),
            management_key: KeepManagementKey::default(),
            hybrid: true,
            adopt: None,
            overwrite: false,
            pin_policy: PinPolicy::Always,
            touch_policy: TouchPolicy::Always,
            retries: None,
        }
    }
}

/// What enrolment reports while it goes on. An error from the callback stops it there.
#[derive(Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// The token was found; nothing was changed yet.
    Found(&'a Inventory),
    /// This PUK is about to be set. Keep it now: it is not shown to anybody again if the run is interrupted.
    NewPuk(&'a Puk),
    /// A stage is done, now or by an earlier run.
    Done(Stage),
}

/// The stages, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Tries of PIN and PUK.
    Retries,
    /// The PIN.
    Pin,
    /// The PUK.
    Puk,
    /// The management key.
    ManagementKey,
    /// The intent was noted; keys come next.
    Intent,
    /// The card key in 9E.
    CardKey,
    /// The archive key.
    ArchiveKey,
    /// The custody key.
    CustodyKey,
    /// The signing key.
    SigningKey,
    /// The ML-KEM seeds.
    Seeds,
    /// The slots' certificates.
    Certificates,
    /// The Key History object.
    KeyHistory,
    /// Attestations were fetched and verified.
    Attestation,
}

/// An enrolled token.
#[derive(Debug)]
#[non_exhaustive]
pub struct Enrolled {
    /// A YubiKey's serial number.
    pub serial: Option<u32>,
    /// A YubiKey's firmware, the attested one where there is an attestation.
    pub firmware: Option<Firmware>,
    /// The archive key.
    pub archive: Point,
    /// Where it is: 82, unless it was there before.
    pub archive_slot: Slot,
    /// The custody key.
    pub custody: Point,
    /// Where it is: 83, unless the archive key was there before enrolment.
    pub custody_slot: Slot,
    /// The signing key and its slot.
    pub signing: (Slot, Point),
    /// The key in 9E; `None` if there is one that cannot serve.
    pub card_proof: Option<Point>,
    /// The archive key's ML-KEM half, if hybrid.
    pub archive_ek: Option<EncapsulationKey>,
    /// The custody key's ML-KEM half.
    pub custody_ek: Option<EncapsulationKey>,
    /// Where the seeds are.
    pub seed_object: Option<ObjectId>,
    /// The archive key's PIN policy, the attested one where there is an attestation.
    pub pin_policy: PinPolicy,
    /// The archive key's touch policy, likewise.
    pub touch_policy: TouchPolicy,
    /// DER: one certificate each for archive, custody and signing key, then the token's. Empty if it attests nothing.
    pub attestation: Vec<Vec<u8>>,
    /// What the attestation comes to.
    pub verdict: Verdict,
    /// The PUK, if this run set one.
    pub puk: Option<Puk>,
}

/// Enrols the token in a reader. See the head of this module.
///
/// # Errors
/// [`Error::Occupied`], [`Error::NoKey`] and [`Error::NotAdoptable`] before anything is changed; otherwise what the step in question met. Run it again with the same options.
pub fn enroll(
    reader: &str,
    options: &EnrollOptions,
    report: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<Enrolled> {
    certificate::check_name(&options.name)?;
    if options.new_pin.bytes() == yubico::FACTORY_PIN {
        return Err(Error::FactorySecret { secret: "PIN" });
    }
    if options.new_puk.as_ref().is_some_and(|puk| puk.expose() == yubico::FACTORY_PUK) {
        return Err(Error::FactorySecret { secret: "PUK" });
    }
    let device = match Device::find(reader) {
        Err(Error::NotYubiKey { .. }) => return generic::enroll(reader, options, report),
        device => device?,
    };
    let inventory = inventory(&device)?;
    let aim = match beside(&device, options)? {
        Some(beside) => Aim::Adopt(beside),
        None => Aim::Make(plan(&device, &inventory, options.overwrite)?),
    };
    report(Step::Found(&inventory))?;
    let mut enrolment = Enrolment { device, options, report, factory_again: false };
    enrolment.retries()?;
    enrolment.pin()?;
    let puk = enrolment.puk()?;
    let key = enrolment.management_key()?;
    let (mut keys, noted) = match aim {
        Aim::Make(plan) => {
            let intent = enrolment.intent(&plan, &key)?;
            (enrolment.keys(plan.signing(), intent.as_ref(), &key)?, intent.is_some())
        }
        Aim::Adopt(beside) => (enrolment.keys_beside(beside, &key)?, false),
    };
    let seeds = enrolment.seeds(&key)?;
    enrolment.certificates(&keys, &key)?;
    let (attestation, mut verdict, attested) = enrolment.attestation(&keys)?;
    let mut firmware = enrolment.device.firmware;
    if let Some(first) = attested.first() {
        keys.archive.policy = (first.pin_policy, first.touch_policy);
        firmware = first.firmware;
    }
    if keys.adopted && verdict == Verdict::Unattested {
        // Whoever put it there may have a copy.
        verdict = Verdict::IssuerHeld;
    }
    if noted {
        enrolment.administer(&key)?.put(ObjectId::ENROLMENT, &[])?;
    }
    let (seed_object, seeds) = seeds.unzip();
    Ok(Enrolled {
        serial: Some(enrolment.device.serial),
        firmware: Some(firmware),
        archive: keys.archive.point,
        archive_slot: keys.archive.slot,
        custody: keys.custody.point,
        custody_slot: keys.custody.slot,
        signing: (keys.signing.slot, keys.signing.point),
        card_proof: keys.card,
        archive_ek: seeds.as_ref().map(|seeds| seeds.archive().encapsulation_key()),
        custody_ek: seeds.as_ref().map(|seeds| seeds.custody().encapsulation_key()),
        seed_object,
        pin_policy: keys.archive.policy.0,
        touch_policy: keys.archive.policy.1,
        attestation,
        verdict,
        puk,
    })
}

/// The signing key's policies, whatever the others' are.
const STRICT: Policy = (PinPolicy::Always, TouchPolicy::Always);

/// Whether all keys are made, or one is taken over.
enum Aim {
    Make(Plan),
    Adopt(Beside),
}

struct Enrolment<'a> {
    device: Device,
    options: &'a EnrollOptions,
    report: &'a mut dyn FnMut(Step<'_>) -> Result<()>,
    /// SET PIN RETRIES has just made PIN and PUK the factory's.
    factory_again: bool,
}

impl Enrolment<'_> {
    fn done(&mut self, stage: Stage) -> Result<()> {
        (self.report)(Step::Done(stage))
    }

    fn administer(&self, key: &ManagementKey) -> Result<Admin> {
        self.device.administer(Some(&self.options.new_pin), key)
    }

    /// Whether a secret is the factory's: by what was just done, or by what the token says.
    fn is_factory(&self, reference: u8) -> Result<Option<bool>> {
        if self.factory_again { Ok(Some(true)) } else { self.device.is_factory(reference) }
    }

    fn retries(&mut self) -> Result<()> {
        let Some((pin_tries, puk_tries)) = self.options.retries else { return Ok(()) };
        let total = |reference| {
            Ok::<_, Error>(self.device.metadata(reference)?.and_then(|m| m.tries).map(|(all, _)| all))
        };
        if total(yubico::PIN)? != Some(pin_tries) || total(yubico::PUK)? != Some(puk_tries) {
            let factory = Pin::new(yubico::FACTORY_PIN)?;
            let pin = match (self.is_factory(yubico::PIN)?, &self.options.current.pin) {
                (Some(true), _) => &factory,
                (_, Some(pin)) => pin,
                (Some(false), None) => &self.options.new_pin,
                (None, None) => return Err(Error::SecretNeeded { secret: "PIN" }),
            };
            let key = self.key_in_force(pin)?;
            self.device.administer(Some(pin), &key)?.set_retries(pin_tries, puk_tries)?;
            self.factory_again = true;
        }
        self.done(Stage::Retries)
    }

    fn pin(&mut self) -> Result<()> {
        let new = &self.options.new_pin;
        match (self.is_factory(yubico::PIN)?, &self.options.current.pin) {
            (Some(true), _) => self.device.change_pin(yubico::FACTORY_PIN, new)?,
            (_, Some(current)) if !current.equals(new) => self.device.change_pin(current.bytes(), new)?,
            (Some(false), _) | (None, Some(_)) => self.device.verify(new)?,
            (None, None) => return Err(Error::SecretNeeded { secret: "PIN" }),
        }
        self.done(Stage::Pin)
    }

    fn puk(&mut self) -> Result<Option<Puk>> {
        let factory = self.is_factory(yubico::PUK)?;
        self.factory_again = false;
        let current = match (factory, &self.options.current.puk) {
            (Some(true), _) => yubico::FACTORY_PUK,
            (None, None) => return Err(Error::SecretNeeded { secret: "PUK" }),
            // One that its owner chose stays, unless both the old and the new are given; the factory's goes.
            (_, Some(current))
                if self.options.new_puk.is_some() || current.expose() == yubico::FACTORY_PUK =>
            {
                current.expose()
            }
            _ => {
                self.done(Stage::Puk)?;
                return Ok(None);
            }
        };
        let new = match &self.options.new_puk {
            Some(puk) => Puk::new(puk.expose())?,
            None => Puk::generate()?,
        };
        (self.report)(Step::NewPuk(&new))?;
        self.device.change_puk(current, &new)?;
        self.done(Stage::Puk)?;
        Ok(Some(new))
    }

    /// The management key now. `pin` opens the place where one may be stored.
    fn key_in_force(&self, pin: &Pin) -> Result<ManagementKey> {
        let factory = self.device.is_factory(yubico::MANAGEMENT)?;
        if factory == Some(true) {
            return Ok(ManagementKey::factory());
        }
        let given = [
            match &self.options.management_key {
                KeepManagementKey::Given(key) => Some(key),
                KeepManagementKey::OnToken => None,
            },
            self.options.current.management_key.as_ref(),
        ];
        let given = given.into_iter().flatten().map(|key| ManagementKey::new(Zeroizing::new(*key.expose())));
        // A wrong management key costs nothing: there is no counter of tries.
        for key in given.chain(self.device.stored_key(pin)?) {
            match self.device.administer(None, &key) {
                Ok(_) => return Ok(key),
                Err(Error::ManagementKey) => {}
                Err(error) => return Err(error),
            }
        }
        Err(if factory.is_none() {
            Error::SecretNeeded { secret: "management key" }
        } else {
            Error::ManagementKey
        })
    }

    fn management_key(&mut self) -> Result<ManagementKey> {
        let pin = &self.options.new_pin;
        let current = self.key_in_force(pin)?;
        let same = |other: &ManagementKey| bool::from(other.expose().ct_eq(current.expose()));
        let new = match &self.options.management_key {
            KeepManagementKey::Given(key) if same(key) => current,
            KeepManagementKey::Given(key) => {
                self.administer(&current)?.set_given_key(key)?;
                ManagementKey::new(Zeroizing::new(*key.expose()))
            }
            // Stored and in force: a run before this one did it, or ykman.
            KeepManagementKey::OnToken if self.device.stored_key(pin)?.as_ref().is_some_and(same) => current,
            KeepManagementKey::OnToken => self.administer(&current)?.set_protected_key()?,
        };
        // What was set must let us in, before anything is built on it.
        self.administer(&new)?;
        self.done(Stage::ManagementKey)?;
        Ok(new)
    }

    /// Notes what is about to be done. Before that, what is overwritten loses the certificates and seeds by which it would
    /// later be taken for new.
    fn intent(&mut self, plan: &Plan, key: &ManagementKey) -> Result<Option<Intent>> {
        let intent = match plan {
            Plan::Enrolled { .. } => None,
            Plan::Resume(intent) => Some(intent.clone()),
            Plan::Begin { intent, clear } => {
                let mut admin = self.administer(key)?;
                if self.options.hybrid {
                    furnish::find_seeds(&mut admin, self.options.overwrite)?;
                }
                for slot in clear {
                    admin.put(slot.certificate(), &[])?;
                }
                if self.options.overwrite {
                    furnish::clear_seeds(&mut admin)?;
                }
                admin.put(ObjectId::ENROLMENT, &intent.encode())?;
                Some(intent.clone())
            }
        };
        self.done(Stage::Intent)?;
        Ok(intent)
    }

    fn keys(&mut self, signing: Slot, intent: Option<&Intent>, key: &ManagementKey) -> Result<Keys> {
        let card = self.card_key(key)?;
        self.done(Stage::CardKey)?;
        let mine = (self.options.pin_policy, self.options.touch_policy);
        let before = intent.map(|intent| intent.before);
        let before = |index: usize| before.as_ref().and_then(|digests| digests.get(index));
        let archive = self.key(Slot::ARCHIVE, mine, before(0), key)?;
        self.done(Stage::ArchiveKey)?;
        let custody = self.key(Slot::CUSTODY, mine, before(1), key)?;
        self.done(Stage::CustodyKey)?;
        let signing = self.key(signing, STRICT, before(2), key)?;
        self.done(Stage::SigningKey)?;
        Ok(Keys { archive, custody, signing, card, adopted: false })
    }

    /// The keys beside one that is taken over.
    fn keys_beside(&mut self, beside: Beside, key: &ManagementKey) -> Result<Keys> {
        let Beside { archive, custody, signing } = beside;
        let card = self.card_key(key)?;
        self.done(Stage::CardKey)?;
        self.done(Stage::ArchiveKey)?;
        let mine = (self.options.pin_policy, self.options.touch_policy);
        let custody = self.marked(custody, Role::Custody, mine, key)?;
        self.done(Stage::CustodyKey)?;
        let signing = self.marked(signing, Role::Signing, STRICT, key)?;
        self.done(Stage::SigningKey)?;
        Ok(Keys { archive, custody, signing, card, adopted: true })
    }

    /// The key of an earlier run, by its certificate, or a new one in a slot that is free or marked.
    fn marked(&self, slot: Slot, role: Role, policy: Policy, key: &ManagementKey) -> Result<Placed> {
        let ours = self.device.read(|client| Ok(claim(&self.device, client, slot)?.key(role)))?;
        let point = match ours {
            Some(point) => point,
            None => self.whose().make(&mut self.administer(key)?, slot, role, policy)?,
        };
        Ok(Placed { slot, point, policy })
    }

    fn whose(&self) -> Whose<'_> {
        Whose { holder: &self.options.name, serial: Some(self.device.serial) }
    }

    /// The card key: what is there if it is on P-256 and wants neither PIN nor touch; a new one if 9E is surely empty.
    fn card_key(&self, key: &ManagementKey) -> Result<Option<Point>> {
        let slot = Slot::CardAuthentication;
        let (found, empty) = self.device.read(|client| {
            let found = key_in(&self.device, client, slot)?;
            // An unreadable certificate stands for a key, too.
            let bare = matches!(client.certificate(slot), Ok(None));
            // Without metadata an imported key shows only when it is used.
            Ok((
                found,
                bare && (self.device.firmware.has_metadata()
                    || client.refuses_every_algorithm(slot, None, StatusWord::is_no_key)?),
            ))
        })?;
        match found {
            Key::P256(KnownKey { point, policy: Some((PinPolicy::Never, TouchPolicy::Never)), .. }) => {
                Ok(Some(point))
            }
            Key::P256(_) | Key::Other => Ok(None),
            Key::None if !empty => Ok(None),
            Key::None => {
                let mut admin = self.administer(key)?;
                admin.generate_overwriting_slot(slot, PinPolicy::Never, TouchPolicy::Never).map(Some)
            }
        }
    }

    /// A key of this run or of one that was interrupted. `before` is the digest of a key that must go; without it the
    /// token is enrolled and the key stays whatever its policies are.
    fn key(
        &self,
        slot: Slot,
        policy: Policy,
        before: Option<&[u8; 32]>,
        key: &ManagementKey,
    ) -> Result<Placed> {
        let found = self.device.read(|client| key_in(&self.device, client, slot))?;
        match (found.known(), before) {
            (Some(known), None) => {
                return Ok(Placed { slot, point: known.point, policy: known.policy.unwrap_or(policy) });
            }
            (Some(known), Some(before))
                if known.generated
                    && known.policy == Some(policy)
                    && Sha256::digest(known.point).as_slice() != before =>
            {
                return Ok(Placed { slot, point: known.point, policy });
            }
            _ => {}
        }
        let point = self.administer(key)?.generate_overwriting_slot(slot, policy.0, policy.1)?;
        Ok(Placed { slot, point, policy })
    }

    fn seeds(&mut self, key: &ManagementKey) -> Result<Option<(ObjectId, Seeds)>> {
        if !self.options.hybrid {
            return Ok(None);
        }
        let seeds = furnish::seeds(&mut self.administer(key)?)?;
        self.done(Stage::Seeds)?;
        Ok(Some(seeds))
    }

    fn certificates(&mut self, keys: &Keys, key: &ManagementKey) -> Result<()> {
        let mut admin = self.administer(key)?;
        self.whose().certificates(&mut admin, keys)?;
        self.done(Stage::Certificates)?;
        furnish::key_history(&mut admin, keys)?;
        drop(admin);
        self.done(Stage::KeyHistory)
    }

    fn attestation(&mut self, keys: &Keys) -> Result<(Vec<Vec<u8>>, Verdict, Vec<Attestation>)> {
        let placed = keys.placed().map(|(_, placed)| placed);
        let chain = self.device.read(|client| {
            let mut chain = Vec::new();
            for key in placed {
                chain.push(client.attest(key.slot)?);
            }
            chain.push(client.certificate(Slot::Attestation).unwrap_or(None));
            Ok(chain)
        })?;
        // All or nothing: a statement has one for each key.
        let chain: Vec<_> = chain.into_iter().collect::<Option<_>>().unwrap_or_default();
        let (verdict, attested) =
            attest::verdict(&chain, &placed.map(|key| key.point), Some(self.device.serial))?;
        self.done(Stage::Attestation)?;
        Ok((chain, verdict, attested))
    }
}

/// Tests a key with a fresh peer: ECDH on the token and in software must agree. Asks for one touch if the key does.
///
/// # Errors
/// [`Error::RoundTrip`] if they do not; otherwise as for using the token.
pub fn round_trip(reader: &str, slot: Slot, key: &Point, pin: &Pin) -> Result<()> {
    let (peer, expected) = furnish::exchange(key)?;
    let mut card = Card::open(reader)?;
    // The token was enrolled in this reader a moment ago; a proof would have to be checked with a key of the same origin.
    let mut piv = card.begin()?.select_piv()?.accept_card_without_proof().verify(pin)?;
    let computed = piv.ecdh(slot, &peer)?;
    if bool::from(computed.expose().ct_eq(expected.as_slice())) {
        Ok(())
    } else {
        Err(Error::RoundTrip { slot })
    }
}
