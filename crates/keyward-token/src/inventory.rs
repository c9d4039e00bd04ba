//! What is on a token before anything is changed: slots, certificates, whose they are.

use crate::{
    Point,
    advisory::{Advisory, Firmware, advisories},
    attest, certificate,
    client::Client,
    error::{Error, Result},
    furnish::Claim,
    generic,
    plan::Intent,
    slot::{PinPolicy, Slot, TouchPolicy},
    transport::Card,
    yubico::{self, Device},
};

/// What is on a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inventory {
    /// The reader it is in.
    pub reader: String,
    /// A YubiKey's serial number; no other card tells one that is its own.
    pub serial: Option<u32>,
    /// A YubiKey's firmware.
    pub firmware: Option<Firmware>,
    /// Weaknesses published for that firmware.
    pub advisories: Vec<Advisory>,
    /// The slots that hold something.
    pub slots: Vec<Occupied>,
    /// Whether the PIN is the factory's, if the token can tell.
    pub factory_pin: Option<bool>,
    /// Whether the PUK is.
    pub factory_puk: Option<bool>,
    /// Whether the management key is.
    pub factory_management_key: Option<bool>,
    /// Tries of the PIN: in all, and left.
    pub pin_tries: Option<(u8, u8)>,
    /// Tries of the PIN that are left, which every card tells.
    pub pin_tries_left: Option<u8>,
    /// An enrolment was interrupted on this token.
    pub unfinished: bool,
}

/// A slot that holds something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupied {
    /// The slot.
    pub slot: Slot,
    /// Its P-256 key, if it is one and the token tells.
    pub point: Option<Point>,
    /// Its certificate's subject, if there is one that can be read.
    pub subject: Option<String>,
    /// Whether Keyward made key and certificate.
    pub ours: bool,
}

/// Looks at a token and changes nothing.
///
/// # Errors
/// [`Error::NotPiv`], [`Error::Busy`] and what else finding a token can meet.
pub fn inspect(reader: &str) -> Result<Inventory> {
    match Device::find(reader) {
        Ok(device) => inventory(&device),
        Err(Error::NotYubiKey { .. }) => {
            let mut card = Card::open(reader)?;
            let mut client = card.begin()?.select_piv()?.into_client();
            generic::inventory(reader, &mut client)
        }
        Err(error) => Err(error),
    }
}

pub(crate) fn inventory(device: &Device) -> Result<Inventory> {
    let slots = device.read(|client| {
        let mut slots = Vec::new();
        for slot in Slot::all() {
            slots.extend(content(device, client, slot)?);
        }
        Ok(slots)
    })?;
    let pin_tries = device.metadata(yubico::PIN)?.and_then(|metadata| metadata.tries);
    Ok(Inventory {
        reader: device.reader.clone(),
        serial: Some(device.serial),
        firmware: Some(device.firmware),
        advisories: advisories(device.firmware),
        slots,
        factory_pin: device.is_factory(yubico::PIN)?,
        factory_puk: device.is_factory(yubico::PUK)?,
        factory_management_key: device.is_factory(yubico::MANAGEMENT)?,
        pin_tries,
        pin_tries_left: match pin_tries {
            Some((_, left)) => Some(left),
            None => device.read(|client| client.tries_left())?,
        },
        unfinished: device.read(|client| Ok(Intent::read(client)?.is_some()))?,
    })
}

fn content(device: &Device, client: &mut Client<'_>, slot: Slot) -> Result<Option<Occupied>> {
    let key = key_in(device, client, slot)?;
    let certificate = match client.certificate(slot) {
        Ok(certificate) => certificate,
        // There is something; what it says cannot be read.
        Err(Error::Certificate { .. }) => Some(Vec::new()),
        Err(error) => return Err(error),
    };
    if matches!(key, Key::None) && certificate.is_none() {
        return Ok(None);
    }
    let point = key.known().map(|key| key.point);
    let ours = match (&point, &certificate) {
        (Some(point), Some(der)) => certificate::is_ours(der, point),
        _ => false,
    };
    Ok(Some(Occupied { slot, point, subject: certificate.as_deref().and_then(certificate::subject), ours }))
}

/// What stands in a slot of a YubiKey, as far as taking over another slot's key has to know.
pub(crate) fn claim(device: &Device, client: &mut Client<'_>, slot: Slot) -> Result<Claim> {
    let key = key_in(device, client, slot)?;
    let der = match client.certificate(slot) {
        Err(Error::Certificate { .. }) => Some(Vec::new()),
        result => result?,
    };
    let point = key.known().map(|key| key.point);
    Ok(Claim::of(der.as_deref(), point.as_ref(), !matches!(key, Key::None)))
}

/// What is known of a slot's key.
pub(crate) enum Key {
    None,
    /// A P-256 key.
    P256(KnownKey),
    /// Of another kind, or nothing tells.
    Other,
}

pub(crate) struct KnownKey {
    pub(crate) point: Point,
    pub(crate) policy: Option<(PinPolicy, TouchPolicy)>,
    pub(crate) generated: bool,
}

impl Key {
    pub(crate) fn known(&self) -> Option<&KnownKey> {
        match self {
            Self::P256(key) => Some(key),
            _ => None,
        }
    }
}

/// Firmware since 5.3 tells by GET METADATA; before, an attestation shows a generated key, and an imported one cannot be seen
/// at all but for its certificate.
pub(crate) fn key_in(device: &Device, client: &mut Client<'_>, slot: Slot) -> Result<Key> {
    if device.firmware.has_metadata() {
        let Some(metadata) = client.metadata(slot.reference())? else { return Ok(Key::None) };
        return Ok(match (metadata.is_p256(), metadata.point) {
            (true, Some(point)) => Key::P256(KnownKey {
                point,
                policy: metadata.policy,
                generated: metadata.generated == Some(true),
            }),
            _ => Key::Other,
        });
    }
    let Some(der) = client.attest(slot)? else { return Ok(Key::None) };
    Ok(match attest::claims(&der) {
        Ok(claims) => Key::P256(KnownKey {
            point: claims.point,
            policy: Some((claims.pin_policy, claims.touch_policy)),
            generated: true,
        }),
        Err(_) => Key::Other,
    })
}
