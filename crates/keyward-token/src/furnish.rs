//! What a token gets at enrolment whatever kind of card it is: keys in free slots, seeds, certificates, Key History.
//!
//! SP 800-73-4 part 1 section 3.3 and part 2 section 3.3. How a card is administered is its [`Administrator`]'s matter;
//! what is done with it is the same: nothing occupied is written over here, and each step can be run again.
//!
//! Where nothing else on a card can say which keys an enrolment made, a slot is marked before its key is made, by a
//! certificate for a key that nobody has:
//!
//! ```text
//! free ──> OU=unfinished-custody ──> key made, its certificate still the old ──> OU=custody, for the key
//! ```
//!
//! A run that finds the mark makes the key again: nothing can have been sealed to it.

use p256::{SecretKey, ecdsa::signature::hazmat::PrehashSigner, elliptic_curve::sec1::ToSec1Point};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::{
    Point,
    apdu::Command,
    certificate::{self, Issuer, Ours, Role, Subject},
    client::{Client, INS_PUT_DATA, authentication_response},
    error::{Error, Result},
    pin::Pin,
    seed::{SeedError, Seeds},
    slot::{ObjectId, PinPolicy, Slot, TouchPolicy},
    tlv,
};

/// When a key wants PIN and touch.
pub(crate) type Policy = (PinPolicy, TouchPolicy);

/// A card that has been shown PIN and management key.
pub(crate) trait Administrator {
    /// Our own commands, with what has been verified in force.
    fn commands<T>(&mut self, commands: impl FnOnce(&mut Client<'_>) -> Result<T>) -> Result<T>;

    /// Generates a P-256 key, whatever the slot held.
    fn generate_overwriting_slot(&mut self, slot: Slot, pin: PinPolicy, touch: TouchPolicy) -> Result<Point>;

    /// PUT DATA, SP 800-73-4 part 2 section 3.3.1; an empty content deletes the object. Every buffer is wiped.
    fn put(&mut self, object: ObjectId, content: &[u8]) -> Result<()> {
        let mut data = Zeroizing::new(Vec::with_capacity(5 + tlv::encoded_len(0x53, content.len())));
        tlv::write(&mut data, 0x5C, &object.tag());
        tlv::write(&mut data, 0x53, content);
        self.commands(|client| client.run("PUT DATA", &Command::new(INS_PUT_DATA, 0x3F, 0xFF).data(data)))
    }

    /// An object's content.
    fn get(&mut self, object: ObjectId) -> Result<Option<Zeroizing<Vec<u8>>>> {
        self.commands(|client| client.object(object))
    }
}

/// A key in its place.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub(crate) slot: Slot,
    pub(crate) point: Point,
    pub(crate) policy: Policy,
}

/// The keys of a token.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) archive: Placed,
    pub(crate) custody: Placed,
    pub(crate) signing: Placed,
    /// In 9E, if it can prove the card.
    pub(crate) card: Option<Point>,
    /// The archive key was there before; neither it nor its certificate is touched.
    pub(crate) adopted: bool,
}

impl Keys {
    pub(crate) fn placed(&self) -> [(Role, &Placed); 3] {
        [(Role::Archive, &self.archive), (Role::Custody, &self.custody), (Role::Signing, &self.signing)]
    }
}

/// What stands in a slot, as far as enrolment has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing that shows.
    Empty,
    /// An interrupted enrolment marked it for a key with this role.
    Unfinished(Role),
    /// A key that enrolment made.
    Ours(Role, Point),
    /// Somebody else's.
    Foreign,
}

impl Claim {
    /// From a slot's certificate and what is known of its key. `der` is empty for one that cannot be read.
    pub(crate) fn of(der: Option<&[u8]>, key: Option<&Point>, has_key: bool) -> Self {
        match der.map(certificate::ours) {
            None if !has_key => Self::Empty,
            Some(Some(Ours { role, key: None, .. })) => Self::Unfinished(role),
            Some(Some(Ours { role, key: Some(point), .. })) if key == Some(&point) => Self::Ours(role, point),
            _ => Self::Foreign,
        }
    }

    /// The key, if the slot has one of ours with this role.
    pub(crate) fn key(&self, role: Role) -> Option<Point> {
        match self {
            Self::Ours(own, point) if *own == role => Some(*point),
            _ => None,
        }
    }

    /// Whether a key with this role may be made here.
    pub(crate) fn is_free_for(&self, role: Role) -> bool {
        *self == Self::Empty || *self == Self::Unfinished(role)
    }
}

/// The first of `slots` that has our key of this role, else one that an interrupted run marked, else a free one.
pub(crate) fn place(slots: &[Slot], role: Role, claim: impl Fn(Slot) -> Claim) -> Option<Slot> {
    let find = |fits: &dyn Fn(&Claim) -> bool| slots.iter().copied().find(|slot| fits(&claim(*slot)));
    find(&|claim| claim.key(role).is_some())
        .or_else(|| find(&|claim| *claim == Claim::Unfinished(role)))
        .or_else(|| find(&|claim| *claim == Claim::Empty))
}

/// Who enrols what.
pub(crate) struct Whose<'a> {
    pub(crate) holder: &'a str,
    /// The token's serial number.
    pub(crate) serial: Option<u32>,
}

impl Whose<'_> {
    /// Marks a slot, makes a key there and leaves the mark until the certificates are written.
    pub(crate) fn make(
        &self,
        admin: &mut impl Administrator,
        slot: Slot,
        role: Role,
        policy: Policy,
    ) -> Result<Point> {
        let stand_in = point(certificate::throwaway_key()?.verifying_key())?;
        let subject =
            Subject { holder: self.holder, role, key: &stand_in, policy, unfinished: true, archive_in: None };
        let der = self.issue(admin, &subject, None)?;
        admin.put(slot.certificate(), &certificate::object(&der))?;
        admin.generate_overwriting_slot(slot, policy.0, policy.1)
    }

    /// Writes the certificates that are missing, and counts the keys in the Key History object.
    pub(crate) fn certificates(&self, admin: &mut impl Administrator, keys: &Keys) -> Result<()> {
        let card = keys.card.map(|point| Placed {
            slot: Slot::CardAuthentication,
            point,
            policy: (PinPolicy::Never, TouchPolicy::Never),
        });
        let card = card.as_ref().map(|placed| (Role::CardProof, placed));
        for (role, Placed { slot, point, policy }) in keys.placed().into_iter().chain(card) {
            if role == Role::Archive && keys.adopted {
                continue;
            }
            let present = match admin.commands(|client| client.certificate(*slot)) {
                Err(Error::Certificate { .. }) => Some(Vec::new()),
                result => result?,
            };
            let keep = match &present {
                // An unfinished one is for another key; any other in 9E is its owner's.
                Some(der) if role == Role::CardProof => {
                    certificate::ours(der).is_none_or(|o| o.key.is_some())
                }
                Some(der) => certificate::is_ours(der, point),
                None => false,
            };
            if keep {
                continue;
            }
            let archive_in = (role == Role::Custody && keys.adopted).then_some(keys.archive.slot);
            let subject = Subject {
                holder: self.holder,
                role,
                key: point,
                policy: *policy,
                unfinished: false,
                archive_in,
            };
            let der = self.issue(admin, &subject, keys.card.as_ref())?;
            admin.put(slot.certificate(), &certificate::object(&der))?;
        }
        Ok(())
    }

    fn issue(
        &self,
        admin: &mut impl Administrator,
        subject: &Subject<'_>,
        card: Option<&Point>,
    ) -> Result<Vec<u8>> {
        if let Some(card) = card {
            return certificate::issue(subject, self.serial, &Issuer::new(card)?, |digest| {
                admin.commands(|client| client.sign_with_card_key(digest))
            });
        }
        let throwaway = certificate::throwaway_key()?;
        certificate::issue(
            subject,
            self.serial,
            &Issuer::new(&point(throwaway.verifying_key())?)?,
            |digest| {
                let signature: p256::ecdsa::Signature = throwaway
                    .sign_prehash(digest)
                    .map_err(|error| Error::CertificateBuilder { reason: error.to_string() })?;
                Ok(signature.to_der().as_bytes().to_vec())
            },
        )
    }
}

/// Counts the keys in retired slots in the Key History object, where it counts fewer.
///
/// Beside a key that was taken over none is begun: age-plugin-yubikey 0.5.1 reads that object as a certificate (in yubikey
/// 0.8.0-pre.0 a slot has its number), fails, and no longer opens what it made. OpenSC then does not show the retired slots.
pub(crate) fn key_history(admin: &mut impl Administrator, keys: &Keys) -> Result<()> {
    let on_card = keys.placed().into_iter().filter_map(|(_, placed)| match placed.slot {
        Slot::Retired(retired) => Some(retired.number()),
        _ => None,
    });
    let history = admin.get(ObjectId::KEY_HISTORY)?;
    if keys.adopted && history.is_none() {
        return Ok(());
    }
    let history = certificate::key_history(history.as_deref().map(Vec::as_slice), on_card.max().unwrap_or(0));
    match history {
        Some(content) => admin.put(ObjectId::KEY_HISTORY, &content),
        None => Ok(()),
    }
}

/// The seeds that are there, or new ones, written and read back.
pub(crate) fn seeds(admin: &mut impl Administrator) -> Result<(ObjectId, Seeds)> {
    let (object, found) = find_seeds(admin, false)?;
    if let Some(seeds) = found {
        return Ok((object, seeds));
    }
    let seeds = Seeds::generate()?;
    let content = seeds.encode();
    admin.put(object, &content)?;
    match admin.get(object)? {
        Some(read) if bool::from(read.ct_eq(&content)) => Ok((object, seeds)),
        _ => Err(Error::ReadBack { what: "the seed object" }),
    }
}

/// The object that holds our seeds, or else the one they go into: 5FC121, or 5FC108 if that is occupied.
pub(crate) fn find_seeds(
    admin: &mut impl Administrator,
    may_be_spoilt: bool,
) -> Result<(ObjectId, Option<Seeds>)> {
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
pub(crate) fn clear_seeds(admin: &mut impl Administrator) -> Result<()> {
    for object in [ObjectId::IRIS, ObjectId::FACIAL_IMAGE] {
        if admin.get(object)?.is_some_and(|content| crate::seed::is_ours(&content)) {
            admin.put(object, &[])?;
        }
    }
    Ok(())
}

pub(crate) fn point(key: &p256::ecdsa::VerifyingKey) -> Result<Point> {
    key.to_sec1_point(false).as_bytes().try_into().map_err(|_| Error::NotOnCurve)
}

/// A fresh peer, and what ECDH with `key` gives: what a token that has `key` computes too.
pub(crate) fn exchange(key: &Point) -> Result<(Point, Zeroizing<[u8; 32]>)> {
    let secret: SecretKey = certificate::throwaway_key()?.into();
    let peer =
        secret.public_key().to_sec1_point(false).as_bytes().try_into().map_err(|_| Error::NotOnCurve)?;
    let public = p256::PublicKey::from_sec1_bytes(key).map_err(|_| Error::NotOnCurve)?;
    let shared = p256::ecdh::diffie_hellman(secret.to_nonzero_scalar(), public.as_affine());
    let mut copy = Zeroizing::new([0; 32]);
    copy.copy_from_slice(shared.raw_secret_bytes());
    Ok((peer, copy))
}

/// Tests a key in a session in which this PIN is in force: the token must compute what its public key promises.
pub(crate) fn agrees(client: &mut Client<'_>, placed: &Placed, pin: &Pin) -> Result<()> {
    let (peer, expected) = exchange(&placed.point)?;
    client.verify(pin)?;
    let answer = client.general_authenticate(placed.slot, 0x85, &peer).map_err(|error| client.at(error))?;
    let computed = authentication_response(&answer).filter(|_| answer.status.is_success());
    match computed {
        Some(computed) if bool::from(computed.ct_eq(expected.as_slice())) => Ok(()),
        _ => Err(Error::RoundTrip { slot: placed.slot }),
    }
}
