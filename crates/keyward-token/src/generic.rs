//! Enrolling a PIV card that is no YubiKey, through the standard's commands alone, in one session.
//!
//! ```text
//! look ─ refuse what is occupied ─ PIN ─ probe ─ management key ─ (new PIN) ─ card key 9E ─ keys ─ seeds
//!      ─ certificates ─ Key History ─ test each key ─ a look without the PIN: the seeds must not show
//! ```
//!
//! - Such a card tells neither serial number nor firmware, nor what its slots hold: a key shows by its certificate, or
//!   by answering when it is used. So free slots are probed, with the PIN, before anything is changed.
//! - PIN policies are the standard's for the slots (SP 800-73-4 part 1 table 4b), and there is no touch.
//! - Nothing proves where a key was made: keys made here are `unattested`; one that was there before is `issuer-held`.
//! - The management key stays, since the standard has no command to set it. So does the PUK.

use crate::{
    Point,
    apdu::StatusWord,
    attest::Verdict,
    beside::{places, slot_to_adopt},
    certificate::{self, Role},
    client::Client,
    error::{Error, Result},
    furnish::{self, Administrator, Claim, Keys, Placed, Policy, Whose, agrees, place},
    inventory::{Inventory, Occupied},
    provision::{EnrollOptions, Enrolled, Stage, Step},
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
    standard::{self, AdministrationKey},
    transport::Card,
};

/// SP 800-73-4 part 1 table 4b: key management keys want the PIN once a session.
const AGREES: Policy = (PinPolicy::Once, TouchPolicy::Never);
/// The digital signature key wants it each time; the standard knows no touch.
const SIGNS: Policy = (PinPolicy::Always, TouchPolicy::Never);

/// What is on a card, by its certificates.
pub(crate) fn inventory(reader: &str, client: &mut Client<'_>) -> Result<Inventory> {
    let mut slots = Vec::new();
    let mut unfinished = false;
    for slot in Slot::all() {
        let Some(der) = der(client, slot)? else { continue };
        let ours = certificate::ours(&der);
        unfinished |= ours.as_ref().is_some_and(|ours| ours.key.is_none());
        slots.push(Occupied {
            slot,
            point: ours.as_ref().map_or_else(|| certificate::key(&der), |ours| ours.key),
            subject: certificate::subject(&der),
            ours: ours.is_some_and(|ours| ours.key.is_some()),
        });
    }
    Ok(Inventory {
        reader: reader.to_owned(),
        serial: None,
        firmware: None,
        advisories: Vec::new(),
        slots,
        factory_pin: None,
        factory_puk: None,
        factory_management_key: None,
        pin_tries: None,
        pin_tries_left: client.tries_left().unwrap_or(None),
        unfinished,
    })
}

/// A slot's certificate; empty if there is one that cannot be read.
fn der(client: &mut Client<'_>, slot: Slot) -> Result<Option<Vec<u8>>> {
    match client.certificate(slot) {
        Err(Error::Certificate { .. }) => Ok(Some(Vec::new())),
        // Cards differ in how they refuse to know an object.
        Err(Error::Status { status, .. }) if status.is_no_key() => Ok(None),
        result => result,
    }
}

fn claim(client: &mut Client<'_>, slot: Slot) -> Result<Claim> {
    let der = der(client, slot)?;
    let key = der.as_deref().and_then(certificate::key);
    Ok(Claim::of(der.as_deref(), key.as_ref(), false))
}

/// Which keys stay, which are made, and where.
struct Targets {
    archive: Target,
    custody: Target,
    signing: Target,
    adopted: bool,
}

#[derive(Clone, Copy)]
struct Target {
    slot: Slot,
    role: Role,
    /// The key that stays; none is made then.
    point: Option<Point>,
    /// Nothing is known to be there: it has to be probed.
    empty: bool,
}

impl Targets {
    fn all(&self) -> [&Target; 3] {
        [&self.archive, &self.custody, &self.signing]
    }
}

fn targets(client: &mut Client<'_>, options: &EnrollOptions) -> Result<Targets> {
    let mut claims = Vec::new();
    for slot in Slot::all() {
        claims.push((slot, claim(client, slot)?));
    }
    let of = |slot: Slot| {
        claims.iter().find(|(other, _)| *other == slot).map_or(Claim::Foreign, |(_, claim)| claim.clone())
    };
    let target = |slot: Slot, role: Role| {
        let claim = of(slot);
        let point = claim.key(role).filter(|_| !options.overwrite);
        Target { slot, role, point, empty: claim == Claim::Empty }
    };
    if let Some(slot) = slot_to_adopt(options, |slot| der(client, slot))? {
        let der =
            der(client, slot)?.filter(|der| certificate::ours(der).is_none_or(|ours| ours.key.is_some()));
        let point = der.as_deref().and_then(certificate::key).ok_or(Error::NoKey { slot })?;
        let (custody, signing) = places(slot, of)?;
        let archive = Target { slot, role: Role::Archive, point: Some(point), empty: false };
        let (custody, signing) = (target(custody, Role::Custody), target(signing, Role::Signing));
        return Ok(Targets { archive, custody, signing, adopted: true });
    }
    let signing: Vec<Slot> = Slot::for_signing().collect();
    let signing = place(&signing, Role::Signing, of).ok_or(Error::NoSigningSlot)?;
    let (archive, custody) = (target(Slot::ARCHIVE, Role::Archive), target(Slot::CUSTODY, Role::Custody));
    let occupied: Vec<Slot> = [&archive, &custody]
        .into_iter()
        .filter(|target| target.point.is_none() && !of(target.slot).is_free_for(target.role))
        .map(|target| target.slot)
        .collect();
    if !occupied.is_empty() && !options.overwrite {
        return Err(Error::Occupied { slots: occupied });
    }
    Ok(Targets { archive, custody, signing: target(signing, Role::Signing), adopted: false })
}

/// Enrols the card. See the head of this module.
pub(crate) fn enroll(
    reader: &str,
    options: &EnrollOptions,
    report: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<Enrolled> {
    if options.retries.is_some() {
        return Err(Error::YubiKeyOnly { what: "set how many tries its PIN has" });
    }
    let key = options.current.card.as_ref().ok_or(Error::SecretNeeded { secret: "management key" })?;
    let mut card = Card::open(reader)?;
    let (keys, seeds) = furnished(reader, &mut card, key, options, report)?;
    if let Some((object, _)) = &seeds
        && shows(&mut card, *object)?
    {
        let mut client = card.begin()?.select_piv()?.into_client();
        standard::authenticate(&mut client, key)?.put(*object, &[])?;
        return Err(Error::SeedsUnguarded { object: *object });
    }
    let (seed_object, seeds) = seeds.unzip();
    Ok(Enrolled {
        serial: None,
        firmware: None,
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
        attestation: Vec::new(),
        verdict: if keys.adopted { Verdict::IssuerHeld } else { Verdict::Unattested },
        puk: None,
    })
}

/// The session with PIN and management key, which ends with a reset.
fn furnished(
    reader: &str,
    card: &mut Card,
    key: &AdministrationKey,
    options: &EnrollOptions,
    report: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<(Keys, Option<(ObjectId, crate::seed::Seeds)>)> {
    let mut client = card.begin()?.select_piv()?.into_client();
    if client.yubikey()?.is_some() {
        return Err(Error::OtherToken { reader: reader.to_owned() });
    }
    let inventory = inventory(reader, &mut client)?;
    let targets = targets(&mut client, options)?;
    report(Step::Found(&inventory))?;

    let present = options.current.pin.as_ref().unwrap_or(&options.new_pin);
    client.verify(present)?;
    for target in targets.all().into_iter().filter(|target| target.empty && !options.overwrite) {
        let pin = Some(present);
        if !client.refuses_every_algorithm(target.slot, pin, StatusWord::is_no_key_of_a_generic_card)? {
            return Err(Error::Occupied { slots: vec![target.slot] });
        }
    }
    let whose = Whose { holder: &options.name, serial: None };
    let mut admin = standard::authenticate(&mut client, key)?;
    report(Step::Done(Stage::ManagementKey))?;
    admin.commands(|client| {
        if !present.equals(&options.new_pin) {
            client.change_pin(present, &options.new_pin)?;
        }
        client.verify(&options.new_pin)
    })?;
    report(Step::Done(Stage::Pin))?;
    let card = card_key(&mut admin, &whose)?;
    report(Step::Done(Stage::CardKey))?;
    let mut placed = |target: &Target, policy: Policy, stage| -> Result<Placed> {
        let point = match target.point {
            Some(point) => point,
            None => whose.make(&mut admin, target.slot, target.role, policy)?,
        };
        report(Step::Done(stage))?;
        Ok(Placed { slot: target.slot, point, policy })
    };
    let keys = Keys {
        archive: placed(&targets.archive, AGREES, Stage::ArchiveKey)?,
        custody: placed(&targets.custody, AGREES, Stage::CustodyKey)?,
        signing: placed(&targets.signing, SIGNS, Stage::SigningKey)?,
        card,
        adopted: targets.adopted,
    };
    for key in [&keys.archive, &keys.custody] {
        admin.commands(|client| agrees(client, key, &options.new_pin))?;
    }
    let seeds = if options.hybrid {
        if options.overwrite {
            furnish::clear_seeds(&mut admin)?;
        }
        let seeds = furnish::seeds(&mut admin)?;
        report(Step::Done(Stage::Seeds))?;
        Some(seeds)
    } else {
        None
    };
    whose.certificates(&mut admin, &keys)?;
    report(Step::Done(Stage::Certificates))?;
    furnish::key_history(&mut admin, &keys)?;
    report(Step::Done(Stage::KeyHistory))?;
    Ok((keys, seeds))
}

/// The key in 9E: what is there if it signs without a PIN and on P-256, a new one if the slot is surely empty.
fn card_key(admin: &mut impl Administrator, whose: &Whose<'_>) -> Result<Option<Point>> {
    let slot = Slot::CardAuthentication;
    let (claim, key, empty) = admin.commands(|client| {
        let claim = claim(client, slot)?;
        let key = der(client, slot)?.as_deref().and_then(certificate::key);
        let empty = claim == Claim::Empty
            && client.refuses_every_algorithm(slot, None, StatusWord::is_no_key_of_a_generic_card)?;
        Ok((claim, key, empty))
    })?;
    match (claim, key) {
        (Claim::Unfinished(Role::CardProof), _) => {}
        (_, Some(key)) => {
            return Ok(admin.commands(|client| client.proves(&key))?.then_some(key));
        }
        _ if empty => {}
        _ => return Ok(None),
    }
    let policy = (PinPolicy::Never, TouchPolicy::Never);
    let key = whose.make(admin, slot, Role::CardProof, policy)?;
    Ok(admin.commands(|client| client.proves(&key))?.then_some(key))
}

/// Whether an object can be read without the PIN.
fn shows(card: &mut Card, object: ObjectId) -> Result<bool> {
    let mut client = card.begin()?.select_piv()?.into_client();
    client.forget_pin()?;
    Ok(client.get_data(object)?.status.is_success())
}
