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
    enroll_card(&mut Card::open(reader)?, options, report)
}

fn enroll_card(
    card: &mut Card,
    options: &EnrollOptions,
    report: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<Enrolled> {
    if options.retries.is_some() {
        return Err(Error::YubiKeyOnly { what: "set how many tries its PIN has" });
    }
    let key = options.current.card.as_ref().ok_or(Error::SecretNeeded { secret: "management key" })?;
    let (keys, seeds) = furnished(card, key, options, report)?;
    if let Some((object, _)) = &seeds
        && shows(card, *object)?
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
    card: &mut Card,
    key: &AdministrationKey,
    options: &EnrollOptions,
    report: &mut dyn FnMut(Step<'_>) -> Result<()>,
) -> Result<(Keys, Option<(ObjectId, crate::seed::Seeds)>)> {
    let reader = card.reader().to_owned();
    let mut client = card.begin()?.select_piv()?.into_client();
    if client.yubikey()?.is_some() {
        return Err(Error::OtherToken { reader });
    }
    let inventory = inventory(&reader, &mut client)?;
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

/// The key in 9E: what is there if it signs without a PIN and on P-256, with or without a certificate; a new one if the
/// slot is surely empty.
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
        (Claim::Empty, _) => return admin.commands(|client| client.recovered_card_key()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyward_emulator::{Card as Emulated, TokenFile};
    use std::sync::{Arc, Mutex};

    use crate::{
        pin::Pin,
        transport::{Ending, Transport, TransportError},
    };

    /// The emulator without what only a YubiKey has: Yubico's commands are not known, or answered with nothing.
    struct Generic {
        card: Arc<Mutex<Emulated>>,
        answer: [u8; 2],
        /// A reset or VERIFY FF does not make it forget the PIN.
        remembers: bool,
    }

    impl Transport for Generic {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
            match apdu {
                [_, 0xF0..=0xFF, ..] => Ok(self.answer.to_vec()),
                [_, 0x20, 0xFF, ..] if self.remembers => Ok(vec![0x6A, 0x86]),
                _ => Ok(self.card.lock().unwrap().transmit(apdu)),
            }
        }

        fn finish(&mut self, ending: Ending) {
            if ending == Ending::Reset && !self.remembers {
                self.card.lock().unwrap().power_cycle();
            }
        }
    }

    struct Bench(Arc<Mutex<Emulated>>);

    impl Bench {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("token");
            TokenFile::create(&path, 11110001, "5.2.7".parse().unwrap()).unwrap();
            let card = Emulated::from_json(&std::fs::read(&path).unwrap()).unwrap();
            Self(Arc::new(Mutex::new(card)))
        }

        fn card(&self, answer: [u8; 2]) -> Card {
            Card::over("test", Box::new(Generic { card: Arc::clone(&self.0), answer, remembers: false }))
        }

        fn enroll(&self, options: &EnrollOptions) -> Result<Enrolled> {
            enroll_card(&mut self.card([0x6D, 0x00]), options, &mut |_| Ok(()))
        }

        /// Another program's key, with its certificate unless it forgot that.
        fn foreign_key(&self, slot: Slot, with_certificate: bool) -> Point {
            let mut card = self.card([0x6D, 0x00]);
            let mut client = card.begin().unwrap().select_piv().unwrap().into_client();
            let mut admin = standard::authenticate(&mut client, &AdministrationKey::well_known()).unwrap();
            let key = admin.generate_overwriting_slot(slot, AGREES.0, AGREES.1).unwrap();
            if with_certificate {
                let subject = certificate::Subject {
                    holder: "issuer",
                    role: Role::Archive,
                    key: &key,
                    policy: AGREES,
                    unfinished: false,
                    archive_in: None,
                };
                let issuer = certificate::throwaway_key().unwrap();
                let issuer =
                    certificate::Issuer::new(&furnish::point(issuer.verifying_key()).unwrap()).unwrap();
                // The signature is nobody's business here.
                let der = certificate::issue(&subject, None, &issuer, |_| {
                    Ok(vec![0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01])
                })
                .unwrap();
                // The issuer stands first, the subject last.
                let at = der.windows(7).rposition(|bytes| bytes == b"Keyward").unwrap();
                let mut der = der;
                der[at..at + 7].copy_from_slice(b"Foreign");
                admin.put(slot.certificate(), &certificate::object(&der)).unwrap();
            }
            key
        }
    }

    fn options() -> EnrollOptions {
        let mut options = EnrollOptions::new("carol", Pin::new(b"24681357").unwrap());
        options.current.pin = Some(Pin::new(b"123456").unwrap());
        options.current.card = Some(AdministrationKey::well_known());
        options
    }

    /// After the first run the new PIN is in force.
    fn again() -> EnrollOptions {
        let mut options = options();
        options.current.pin = None;
        options
    }

    fn keys(token: &Enrolled) -> (Point, Point, (Slot, Point), Option<Point>) {
        (token.archive, token.custody, token.signing, token.card_proof)
    }

    #[test]
    fn a_card_is_enrolled_by_the_standards_commands_and_says_what_it_is_worth() {
        for answer in [[0x6D, 0x00], [0x90, 0x00]] {
            let bench = Bench::new();
            let mut card = bench.card(answer);
            let token = enroll_card(&mut card, &options(), &mut |_| Ok(())).unwrap();
            assert_eq!((token.serial, token.firmware), (None, None));
            assert_eq!((token.archive_slot, token.custody_slot), (Slot::ARCHIVE, Slot::CUSTODY));
            assert_eq!(token.signing.0, Slot::Signature);
            assert_eq!((token.verdict, token.attestation.len()), (Verdict::Unattested, 0));
            assert_eq!((token.pin_policy, token.touch_policy), AGREES);
            assert_eq!(token.seed_object, Some(ObjectId::IRIS));
            let proof = token.card_proof.unwrap();
            let piv = card.begin().unwrap().select_piv().unwrap().card_proof("home", &[proof]).unwrap();
            let pin = Pin::new(b"24681357").unwrap();
            let mut piv = piv.verify(&pin).unwrap();
            let (peer, expected) = furnish::exchange(&token.archive).unwrap();
            assert_eq!(piv.ecdh(Slot::ARCHIVE, &peer).unwrap().expose(), &*expected);
            let seeds = piv.seeds(ObjectId::IRIS, &pin).unwrap();
            assert_eq!(Some(seeds.custody().encapsulation_key()), token.custody_ek);
            drop(piv);
            let mut client = card.begin().unwrap().select_piv().unwrap().into_client();
            let inventory = inventory("test", &mut client).unwrap();
            assert!(inventory.slots.iter().all(|slot| slot.ours) && !inventory.unfinished);
            assert_eq!((inventory.slots.len(), inventory.serial), (4, None));
        }
    }

    #[test]
    fn a_run_that_stops_anywhere_is_finished_by_the_next_which_finds_the_third_all_done() {
        const STAGES: usize = 9;
        for stop in 1..=STAGES {
            let bench = Bench::new();
            let mut seen = 0;
            let stopped = enroll_card(&mut bench.card([0x6D, 0x00]), &options(), &mut |step| {
                seen += usize::from(matches!(step, Step::Done(_)));
                if seen == stop { Err(Error::Interrupted) } else { Ok(()) }
            });
            assert!(matches!(stopped, Err(Error::Interrupted)), "{stop}");
            let next = if stop == 1 { options() } else { again() };
            let token = bench.enroll(&next).unwrap_or_else(|error| panic!("{stop}: {error}"));
            assert_eq!(keys(&bench.enroll(&again()).unwrap()), keys(&token), "{stop}");
        }
    }

    #[test]
    fn what_is_occupied_is_refused_with_or_without_a_certificate() {
        for (with_certificate, slot) in [(true, Slot::ARCHIVE), (false, Slot::CUSTODY)] {
            let bench = Bench::new();
            bench.foreign_key(slot, with_certificate);
            let refused = bench.enroll(&options()).unwrap_err();
            assert!(matches!(&refused, Error::Occupied { slots } if *slots == [slot]), "{refused}");
            let mut overwrite = options();
            overwrite.overwrite = true;
            assert_eq!(bench.enroll(&overwrite).unwrap().archive_slot, Slot::ARCHIVE);
        }
    }

    #[test]
    fn an_issuers_key_is_taken_over_where_it_is_and_called_issuer_held() {
        let bench = Bench::new();
        let key = bench.foreign_key(Slot::KeyManagement, true);
        let mut adopt = options();
        adopt.adopt = Some(Slot::KeyManagement);
        let token = bench.enroll(&adopt).unwrap();
        assert_eq!((token.archive, token.archive_slot), (key, Slot::KeyManagement));
        assert_eq!((token.custody_slot, token.signing.0), (Slot::CUSTODY, Slot::Signature));
        assert_eq!(token.verdict, Verdict::IssuerHeld);
        // A later run knows it by the custody key's certificate.
        let later = bench.enroll(&again()).unwrap();
        assert_eq!((keys(&later), later.verdict), (keys(&token), Verdict::IssuerHeld));
        let mut elsewhere = again();
        elsewhere.adopt = Some(Slot::ARCHIVE);
        assert!(matches!(bench.enroll(&elsewhere), Err(Error::NoKey { slot: Slot::ARCHIVE })));
        elsewhere.adopt = Some(Slot::Signature);
        assert!(matches!(bench.enroll(&elsewhere), Err(Error::NotAdoptable { .. })));
    }

    #[test]
    fn a_card_key_without_a_certificate_is_known_by_its_signatures() {
        let bench = Bench::new();
        let key = bench.foreign_key(Slot::CardAuthentication, false);
        let token = bench.enroll(&options()).unwrap();
        assert_eq!(token.card_proof, Some(key));
        assert_eq!(bench.enroll(&again()).unwrap().card_proof, Some(key));
    }

    #[test]
    fn nothing_is_changed_without_the_right_pin_and_management_key() {
        let bench = Bench::new();
        let mut wrong = options();
        wrong.current.pin = Some(Pin::new(b"999999").unwrap());
        assert!(matches!(bench.enroll(&wrong), Err(Error::WrongPin { tries_left: 2 })));
        let mut wrong = options();
        wrong.current.card = AdministrationKey::new(zeroize::Zeroizing::new(vec![1; 24]));
        assert!(matches!(bench.enroll(&wrong), Err(Error::ManagementKey)));
        let mut missing = options();
        missing.current.card = None;
        assert!(matches!(bench.enroll(&missing), Err(Error::SecretNeeded { secret: "management key" })));
        let mut retries = options();
        retries.retries = Some((5, 5));
        assert!(matches!(bench.enroll(&retries), Err(Error::YubiKeyOnly { .. })));
        let mut client = bench.card([0x6D, 0x00]);
        let mut client = client.begin().unwrap().select_piv().unwrap().into_client();
        assert_eq!(inventory("test", &mut client).unwrap().slots, []);
        drop(client);
        bench.enroll(&options()).unwrap();
    }

    #[test]
    fn a_card_that_shows_the_seeds_to_everybody_keeps_none() {
        let bench = Bench::new();
        let transport = Generic { card: Arc::clone(&bench.0), answer: [0x6D, 0x00], remembers: true };
        let mut card = Card::over("test", Box::new(transport));
        let refused = enroll_card(&mut card, &options(), &mut |_| Ok(())).unwrap_err();
        assert!(matches!(refused, Error::SeedsUnguarded { object: ObjectId::IRIS }), "{refused}");
        let mut client = card.begin().unwrap().select_piv().unwrap().into_client();
        assert!(client.object(ObjectId::IRIS).unwrap().is_none());
    }
}
