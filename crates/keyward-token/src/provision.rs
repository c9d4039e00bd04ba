//! Enrolling a YubiKey, step by step; each step is safe to interrupt and to run again.
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

use p256::{SecretKey, ecdsa::signature::hazmat::PrehashSigner, elliptic_curve::sec1::ToSec1Point};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

pub use crate::inventory::{Inventory, Occupied, inspect};
use crate::{
    Point,
    advisory::Firmware,
    attest::{self, Attestation, Verdict},
    certificate::{self, Issuer, Role, Subject},
    error::{Error, Result},
    inventory::{Key, KnownKey, inventory, key_in},
    pin::{Pin, Puk},
    plan::{Intent, Plan, plan},
    seed::{EncapsulationKey, SeedError, Seeds},
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
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
    /// The management key.
    pub management_key: Option<ManagementKey>,
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
    /// The serial number.
    pub serial: u32,
    /// The firmware, the attested one where there is an attestation.
    pub firmware: Firmware,
    /// The archive key, in 82.
    pub archive: Point,
    /// The custody key, in 83.
    pub custody: Point,
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

/// Enrols the YubiKey in a reader. See the head of this module.
///
/// # Errors
/// [`Error::Occupied`] before anything is changed; otherwise what the step in question met. Run it again with the same options.
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
    let device = Device::find(reader)?;
    let inventory = inventory(&device)?;
    let plan = plan(&device, &inventory, options.overwrite)?;
    report(Step::Found(&inventory))?;
    let mut enrolment = Enrolment { device, options, report, factory_again: false };
    enrolment.retries()?;
    enrolment.pin()?;
    let puk = enrolment.puk()?;
    let key = enrolment.management_key()?;
    let intent = enrolment.intent(&plan, &key)?;
    let mut keys = enrolment.keys(plan.signing(), intent.as_ref(), &key)?;
    let seeds = enrolment.seeds(&key)?;
    enrolment.certificates(&keys, &key)?;
    let (attestation, verdict, attested) = enrolment.attestation(&keys)?;
    let mut firmware = enrolment.device.firmware;
    if let Some(first) = attested.first() {
        keys.policy = (first.pin_policy, first.touch_policy);
        firmware = first.firmware;
    }
    if intent.is_some() {
        enrolment.administer(&key)?.put(ObjectId::ENROLMENT, &[])?;
    }
    let (seed_object, seeds) = seeds.unzip();
    Ok(Enrolled {
        serial: enrolment.device.serial,
        firmware,
        archive: keys.archive,
        custody: keys.custody,
        signing: keys.signing,
        card_proof: keys.card,
        archive_ek: seeds.as_ref().map(|seeds| seeds.archive().encapsulation_key()),
        custody_ek: seeds.as_ref().map(|seeds| seeds.custody().encapsulation_key()),
        seed_object,
        pin_policy: keys.policy.0,
        touch_policy: keys.policy.1,
        attestation,
        verdict,
        puk,
    })
}

struct Keys {
    archive: Point,
    custody: Point,
    signing: (Slot, Point),
    card: Option<Point>,
    policy: (PinPolicy, TouchPolicy),
}

impl Keys {
    fn slots(&self) -> [(Slot, Role, &Point); 3] {
        [
            (Slot::ARCHIVE, Role::Archive, &self.archive),
            (Slot::CUSTODY, Role::Custody, &self.custody),
            (self.signing.0, Role::Signing, &self.signing.1),
        ]
    }
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
                    find_seeds(&mut admin, self.options.overwrite)?;
                }
                for slot in clear {
                    admin.put(slot.certificate(), &[])?;
                }
                if self.options.overwrite {
                    clear_seeds(&mut admin)?;
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
        let strict = (PinPolicy::Always, TouchPolicy::Always);
        let before = intent.map(|intent| intent.before);
        let before = |index: usize| before.as_ref().and_then(|digests| digests.get(index));
        let (archive, policy) = self.key(Slot::ARCHIVE, mine, before(0), key)?;
        self.done(Stage::ArchiveKey)?;
        let (custody, _) = self.key(Slot::CUSTODY, mine, before(1), key)?;
        self.done(Stage::CustodyKey)?;
        let (signer, _) = self.key(signing, strict, before(2), key)?;
        self.done(Stage::SigningKey)?;
        Ok(Keys { archive, custody, signing: (signing, signer), card, policy })
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
                bare && (self.device.firmware.has_metadata() || client.refuses_every_algorithm(slot)?),
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
        policy: (PinPolicy, TouchPolicy),
        before: Option<&[u8; 32]>,
        key: &ManagementKey,
    ) -> Result<(Point, (PinPolicy, TouchPolicy))> {
        let found = self.device.read(|client| key_in(&self.device, client, slot))?;
        match (found.known(), before) {
            (Some(known), None) => return Ok((known.point, known.policy.unwrap_or(policy))),
            (Some(known), Some(before))
                if known.generated
                    && known.policy == Some(policy)
                    && Sha256::digest(known.point).as_slice() != before =>
            {
                return Ok((known.point, policy));
            }
            _ => {}
        }
        let point = self.administer(key)?.generate_overwriting_slot(slot, policy.0, policy.1)?;
        Ok((point, policy))
    }

    fn seeds(&mut self, key: &ManagementKey) -> Result<Option<(ObjectId, Seeds)>> {
        if !self.options.hybrid {
            return Ok(None);
        }
        let mut admin = self.administer(key)?;
        let (object, found) = find_seeds(&mut admin, false)?;
        let seeds = match found {
            Some(seeds) => seeds,
            None => {
                let seeds = Seeds::generate()?;
                let content = seeds.encode();
                admin.put(object, &content)?;
                match admin.get(object)? {
                    Some(read) if bool::from(read.ct_eq(&content)) => seeds,
                    _ => return Err(Error::ReadBack { what: "the seed object" }),
                }
            }
        };
        drop(admin);
        self.done(Stage::Seeds)?;
        Ok(Some((object, seeds)))
    }

    fn certificates(&mut self, keys: &Keys, key: &ManagementKey) -> Result<()> {
        let mut admin = self.administer(key)?;
        let policy = |role| match role {
            Role::Archive | Role::Custody => keys.policy,
            Role::Signing => (PinPolicy::Always, TouchPolicy::Always),
            Role::CardProof => (PinPolicy::Never, TouchPolicy::Never),
        };
        let card = keys.card.as_ref().map(|point| (Slot::CardAuthentication, Role::CardProof, point));
        for (slot, role, point) in keys.slots().into_iter().chain(card) {
            let present = match admin.commands(|client| client.certificate(slot)) {
                Err(Error::Certificate { .. }) => Some(Vec::new()),
                result => result?,
            };
            let keep = match &present {
                Some(_) if role == Role::CardProof => true,
                Some(der) => certificate::is_ours(der, point),
                None => false,
            };
            if keep {
                continue;
            }
            let subject = Subject { holder: &self.options.name, role, key: point, policy: policy(role) };
            let der = self.issue(&mut admin, &subject, keys.card.as_ref())?;
            admin.put(slot.certificate(), &certificate::object(&der))?;
        }
        self.done(Stage::Certificates)?;
        let on_card = keys.slots().into_iter().filter_map(|(slot, ..)| match slot {
            Slot::Retired(retired) => Some(retired.number()),
            _ => None,
        });
        let history = admin.get(ObjectId::KEY_HISTORY)?;
        let history =
            certificate::key_history(history.as_deref().map(Vec::as_slice), on_card.max().unwrap_or(0));
        if let Some(content) = history {
            admin.put(ObjectId::KEY_HISTORY, &content)?;
        }
        drop(admin);
        self.done(Stage::KeyHistory)
    }

    fn issue(&self, admin: &mut Admin, subject: &Subject<'_>, card: Option<&Point>) -> Result<Vec<u8>> {
        let serial = self.device.serial;
        if let Some(card) = card {
            return certificate::issue(subject, serial, &Issuer::new(card)?, |digest| {
                admin.commands(|client| client.sign_with_card_key(digest))
            });
        }
        let throwaway = certificate::throwaway_key()?;
        certificate::issue(subject, serial, &Issuer::new(&point(throwaway.verifying_key())?)?, |digest| {
            let signature: p256::ecdsa::Signature = throwaway
                .sign_prehash(digest)
                .map_err(|error| Error::CertificateBuilder { reason: error.to_string() })?;
            Ok(signature.to_der().as_bytes().to_vec())
        })
    }

    fn attestation(&mut self, keys: &Keys) -> Result<(Vec<Vec<u8>>, Verdict, Vec<Attestation>)> {
        let slots = keys.slots();
        let chain = self.device.read(|client| {
            let mut chain = Vec::new();
            for (slot, ..) in slots {
                chain.push(client.attest(slot)?);
            }
            chain.push(client.certificate(Slot::Attestation).unwrap_or(None));
            Ok(chain)
        })?;
        // All or nothing: a statement has one for each key.
        let chain: Vec<_> = chain.into_iter().collect::<Option<_>>().unwrap_or_default();
        let (verdict, attested) =
            attest::verdict(&chain, &slots.map(|(.., point)| *point), Some(self.device.serial))?;
        self.done(Stage::Attestation)?;
        Ok((chain, verdict, attested))
    }
}

/// The object that holds our seeds, or else the one they go into: 5FC121, or 5FC108 if that is occupied.
fn find_seeds(admin: &mut Admin, may_be_spoilt: bool) -> Result<(ObjectId, Option<Seeds>)> {
    let mut free = None;
    for object in [ObjectId::IRIS, ObjectId::FACIAL_IMAGE] {
        match admin.get(object)?.as_deref().map(|content| Seeds::parse(content)) {
            Some(Ok(seeds)) => return Ok((object, Some(seeds))),
            Some(Err(SeedError::Foreign)) => {}
            Some(Err(_)) if may_be_spoilt => return Ok((object, None)),
            Some(Err(source)) => return Err(Error::Seed { object, source }),
            None => free = free.or(Some(object)),
        }
    }
    free.map(|object| (object, None)).ok_or(Error::SeedObjectsOccupied)
}

/// Removes seeds of ours, which belong to keys that are overwritten.
fn clear_seeds(admin: &mut Admin) -> Result<()> {
    for object in [ObjectId::IRIS, ObjectId::FACIAL_IMAGE] {
        if admin.get(object)?.is_some_and(|content| crate::seed::is_ours(&content)) {
            admin.put(object, &[])?;
        }
    }
    Ok(())
}

fn point(key: &p256::ecdsa::VerifyingKey) -> Result<Point> {
    key.to_sec1_point(false).as_bytes().try_into().map_err(|_| Error::NotOnCurve)
}

/// Tests a key with a fresh peer: ECDH on the token and in software must agree. Asks for one touch if the key does.
///
/// # Errors
/// [`Error::RoundTrip`] if they do not; otherwise as for using the token.
pub fn round_trip(reader: &str, slot: Slot, key: &Point, pin: &Pin) -> Result<()> {
    let secret: SecretKey = certificate::throwaway_key()?.into();
    let peer =
        secret.public_key().to_sec1_point(false).as_bytes().try_into().map_err(|_| Error::NotOnCurve)?;
    let public = p256::PublicKey::from_sec1_bytes(key).map_err(|_| Error::NotOnCurve)?;
    let expected = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    let mut card = Card::open(reader)?;
    // The token was enrolled in this reader a moment ago; a proof would have to be checked with a key of the same origin.
    let mut piv = card.begin()?.select_piv()?.accept_card_without_proof().verify(pin)?;
    let computed = piv.ecdh(slot, &peer)?;
    if bool::from(computed.expose().ct_eq(expected.raw_secret_bytes().as_slice())) {
        Ok(())
    } else {
        Err(Error::RoundTrip { slot })
    }
}
