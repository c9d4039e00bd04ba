//! Taking over a P-256 key that is on a YubiKey already as the archive key: which one, and where the others go beside it.
//!
//! age-plugin-yubikey's keys are in retired slots, with certificates `O=age-plugin-yubikey`; an issuer's is in 9D. The key stays
//! where it is, with its certificate and its policies; what is sealed to it stays readable by the program that made it. Here
//! nothing is changed, only decided. The custody key's certificate names the archive key's slot (`OU=archive-in-8a`), so
//! that a later run goes on from there by itself.

use crate::{
    certificate::{self, Role},
    error::{Error, Result},
    furnish::{Claim, Placed, place},
    inventory::{Key, KnownKey, claim, key_in},
    provision::EnrollOptions,
    slot::{PinPolicy, Slot, TouchPolicy},
    yubico::Device,
};

/// A key that is taken over, and where the others go.
pub(crate) struct Beside {
    pub(crate) archive: Placed,
    pub(crate) custody: Slot,
    pub(crate) signing: Slot,
}

/// The slot that is asked for, or that of an earlier run, by the certificates that `read` finds.
pub(crate) fn slot_to_adopt(
    options: &EnrollOptions,
    mut read: impl FnMut(Slot) -> Result<Option<Vec<u8>>>,
) -> Result<Option<Slot>> {
    let mut slot = options.adopt;
    if slot.is_none() && !options.overwrite {
        for custody in Slot::for_custody() {
            let ours = read(custody)?.as_deref().and_then(certificate::ours);
            slot = slot.or(ours.and_then(|ours| ours.archive_in));
        }
    }
    match slot {
        Some(slot) if !slot.may_be_adopted() => Err(Error::NotAdoptable { slot }),
        slot => Ok(slot),
    }
}

/// Where custody and signing key go beside an archive key in `archive`.
pub(crate) fn places(archive: Slot, of: impl Fn(Slot) -> Claim) -> Result<(Slot, Slot)> {
    let custody: Vec<Slot> = Slot::for_custody().filter(|slot| *slot != archive).collect();
    let custody = place(&custody, Role::Custody, &of).ok_or(Error::NoCustodySlot)?;
    let signing: Vec<Slot> =
        Slot::for_signing().filter(|slot| *slot != archive && *slot != custody).collect();
    let signing = place(&signing, Role::Signing, &of).ok_or(Error::NoSigningSlot)?;
    Ok((custody, signing))
}

/// The key to take over, if that is asked for or was done by an earlier run.
pub(crate) fn beside(device: &Device, options: &EnrollOptions) -> Result<Option<Beside>> {
    device.read(|client| {
        let slot = slot_to_adopt(options, |slot| Ok(client.certificate(slot).unwrap_or(None)))?;
        let Some(slot) = slot else { return Ok(None) };
        let certificate = client.certificate(slot).unwrap_or(None);
        let claimed = certificate.as_deref().and_then(certificate::claimed_policies);
        // What nothing tells counts as the least.
        let least = (PinPolicy::Once, TouchPolicy::Never);
        let archive = match key_in(device, client, slot)? {
            Key::P256(KnownKey { point, policy, .. }) => {
                Placed { slot, point, policy: policy.or(claimed).unwrap_or(least) }
            }
            // Firmware before 5.3 shows an imported key by its certificate alone.
            Key::None if !device.firmware.has_metadata() => {
                let point = certificate.as_deref().and_then(certificate::key).ok_or(Error::NoKey { slot })?;
                Placed { slot, point, policy: claimed.unwrap_or(least) }
            }
            _ => return Err(Error::NoKey { slot }),
        };
        let mut claims = Vec::new();
        for slot in Slot::all() {
            claims.push((slot, claim(device, client, slot)?));
        }
        let of = |slot: Slot| {
            let found = claims.iter().find(|(other, _)| *other == slot);
            found.map_or(Claim::Foreign, |(_, claim)| claim.clone())
        };
        let (custody, signing) = places(slot, of)?;
        Ok(Some(Beside { archive, custody, signing }))
    })
}
