//! Enrolling one token with a person watching: what is asked, shown and kept, around `keyward-token`'s steps.

use std::path::Path;

use keyward_age::{Recipient, Suite};
use keyward_custody::{PublicKey, SeedObject, SigningKey, SlotId, Token};
use keyward_token::attest::{self, Verdict};
use keyward_token::provision::{
    self, CurrentSecrets, EnrollOptions, Enrolled, Inventory, KeepManagementKey, Step,
};
use keyward_token::{Card, Error, Found, ManagementKey, Pin, Point, Puk, Slot, TouchPolicy};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::cli::{EnrolArgs, SuiteArg, TouchArg};
use crate::files::PrivateFile;
use crate::pin::Pins;
use crate::report::{Failure, Kind, Result, custody_failure, token_failure};
use crate::ui::{self, Ui};
use crate::unlock::label;

/// What every step so far leaves behind.
const SAFE: &str = "Run the command again to go on from here.";
const UNCHANGED: &str = "Nothing was changed.";

/// Files that take secrets, created before anything is changed on a token.
#[derive(Debug, Default)]
pub struct SecretFiles {
    puk: Option<PrivateFile>,
    management_key: Option<PrivateFile>,
}

impl SecretFiles {
    /// Creates the files that the options name; an existing one is never touched.
    ///
    /// # Errors
    /// Refused where one exists; those of the file system.
    pub fn create(args: &EnrolArgs) -> Result<Self> {
        let create = |path: &Option<std::path::PathBuf>| -> Result<Option<PrivateFile>> {
            path.as_deref()
                .map(|path| PrivateFile::create(path).map_err(|e| Failure::io("Creating", path, &e)))
                .transpose()
        };
        Ok(SecretFiles { puk: create(&args.puk_file)?, management_key: create(&args.management_key_file)? })
    }
}

/// A token that was enrolled just now, still in its reader.
#[derive(Debug)]
pub struct Fresh {
    pub name: String,
    pub reader: String,
    pub enrolled: Enrolled,
    pub pin: SecretString,
}

impl Fresh {
    /// The token in a sentence.
    pub fn label(&self) -> String {
        label(&self.name, Some(self.enrolled.serial), self.enrolled.verdict == Verdict::Emulated)
    }

    /// The recipient that archives are sealed to.
    ///
    /// # Errors
    /// Keys that are none.
    pub fn archive_recipient(&self, suite: Suite) -> Result<Recipient> {
        recipient(&self.label(), suite, &self.enrolled.archive, self.enrolled.archive_ek.as_ref())
    }

    /// The token as a statement records it.
    ///
    /// # Errors
    /// Keys that are none.
    pub fn statement_token(&self, suite: Suite) -> Result<Token> {
        let enrolled = &self.enrolled;
        let label = self.label();
        let key = |point: &Point| {
            PublicKey::from_p256_point(point).map_err(|e| custody_failure(&label, UNCHANGED, e))
        };
        let firmware = keyward_custody::Firmware([
            enrolled.firmware.major,
            enrolled.firmware.minor,
            enrolled.firmware.patch,
        ]);
        let (slot, signing) = &enrolled.signing;
        Ok(Token {
            serial: Some(enrolled.serial),
            firmware: Some(firmware),
            archive: self.archive_recipient(suite)?,
            custody: recipient(&label, suite, &enrolled.custody, enrolled.custody_ek.as_ref())?,
            card_proof: enrolled.card_proof.as_ref().map(key).transpose()?,
            signing: SigningKey { slot: SlotId(slot.reference()), key: key(signing)? },
            pin_policy: word(&label, &enrolled.pin_policy)?,
            touch_policy: word(&label, &enrolled.touch_policy)?,
            seed_object: enrolled
                .seed_object
                .map(|object| word::<SeedObject>(&label, &object))
                .transpose()?,
            verdict: word(&label, &enrolled.verdict)?,
            attestation: enrolled.attestation.clone(),
        })
    }
}

fn recipient(label: &str, suite: Suite, point: &Point, ek: Option<&[u8; 1184]>) -> Result<Recipient> {
    Recipient::token(suite, point, ek)
        .map_err(|error| Failure::new(Kind::NotVerified, format!("{label}: {error}. {UNCHANGED}")))
}

/// The same word in the vocabulary of the statement.
fn word<T: std::str::FromStr<Err = keyward_custody::Error>>(label: &str, word: &impl ToString) -> Result<T> {
    word.to_string().parse().map_err(|error| custody_failure(label, UNCHANGED, error))
}

/// The suite that an option names.
pub fn suite(arg: SuiteArg) -> Suite {
    match arg {
        SuiteArg::Hybrid => Suite::Hybrid,
        SuiteArg::Classic => Suite::Classic,
    }
}

/// The tokens that are plugged in.
///
/// # Errors
/// No service or no token (3).
pub fn plugged_in() -> Result<Vec<Found>> {
    keyward_token::list().map_err(|error| match error {
        Error::NoToken => token_failure("", UNCHANGED, Error::NoToken).hint("Plug in a token."),
        error => token_failure("The smart card service", UNCHANGED, error),
    })
}

/// The token with this serial number.
///
/// # Errors
/// It is not plugged in (3), or its reader is busy (6).
pub fn with_serial(found: &[Found], serial: u32) -> Result<&Found> {
    if let Some(token) = found.iter().find(|token| token.serial == Some(serial)) {
        return Ok(token);
    }
    if let Some(busy) = found.iter().find(|token| token.busy) {
        return Err(token_failure("The token", UNCHANGED, Error::Busy { reader: busy.reader.clone() }));
    }
    let here: Vec<String> =
        found.iter().filter_map(|token| token.serial).map(|serial| serial.to_string()).collect();
    Err(Failure::new(Kind::NotFound, format!("YubiKey {serial} is not plugged in. {UNCHANGED}"))
        .hint(format!("Plugged in: {}.", ui::list(&here, "and"))))
}

/// Whether the token's attestation key leads to the emulator's published root.
///
/// # Errors
/// Those of the token.
pub fn is_emulated(reader: &str) -> Result<bool> {
    let fail = |error| token_failure(reader, UNCHANGED, error);
    let mut card = Card::open(reader).map_err(fail)?;
    let mut piv = card.begin().and_then(|session| session.select_piv()).map_err(fail)?;
    let Some(certificate) = piv.certificate(Slot::Attestation).map_err(fail)? else { return Ok(false) };
    Ok(matches!(attest::verdict(&[certificate], &[], None), Ok((Verdict::Emulated, _))))
}

/// Shows what is on a token before anything is changed.
pub fn show(ui: Ui, inventory: &Inventory) {
    let slots: Vec<String> =
        inventory.slots.iter().map(|slot| slot.slot.to_string().to_uppercase()).collect();
    let content = match slots.as_slice() {
        [] => "All slots are free.".to_owned(),
        [slot] => format!("Slot {slot} is in use."),
        slots => format!("Slots {} are in use.", ui::list(slots, "and")),
    };
    ui.say(format!("  YubiKey {}, firmware {}. {content}", inventory.serial, inventory.firmware));
    for advisory in inventory.advisories.iter().filter(|advisory| advisory.concerns_p256) {
        ui.warn(format!(
            "firmware {} has {} ({}): {}.",
            inventory.firmware, advisory.name, advisory.yubico, advisory.effect
        ));
    }
}

/// Enrols the token in a reader for a holder.
///
/// # Errors
/// Those of the token; an answer that was needed and not given; a refusal.
pub fn enrol(
    ui: Ui,
    pins: &Pins,
    name: &str,
    reader: &str,
    suite: Suite,
    args: &EnrolArgs,
    secrets: &mut SecretFiles,
) -> Result<Fresh> {
    let inventory = provision::inspect(reader).map_err(|error| token_failure(reader, UNCHANGED, error))?;
    let emulated = is_emulated(reader)?;
    let label = label(name, Some(inventory.serial), emulated);
    show(ui, &inventory);
    if args.overwrite && !inventory.slots.is_empty() {
        confirm_overwrite(ui, &label, &inventory, args)?;
    }
    let secret = if inventory.factory_pin == Some(false) && inventory.pin_tries.is_some() && pins.asks() {
        // The PIN is somebody's already; it stays, and is asked for as it is.
        ui.say("  Its PIN is not the factory's and is kept.");
        pins.pin(ui, Some(inventory.serial), &label)?
    } else {
        pins.new_pin(ui, inventory.serial, &label)?
    };
    let new_pin = pin(&label, &secret)?;
    let mut options = EnrollOptions::new(name, new_pin);
    options.hybrid = suite == Suite::Hybrid;
    options.overwrite = args.overwrite;
    options.retries = args.pin_retries;
    options.touch_policy = match args.touch_policy {
        TouchArg::Always => TouchPolicy::Always,
        TouchArg::Cached => TouchPolicy::Cached,
    };
    options.current = current(ui, &label, &inventory, pins)?;
    options.management_key = keep_management_key(&label, &inventory, secrets)?;
    if inventory.factory_puk != Some(false) && secrets.puk.is_none() && !emulated && !ui.interactive() {
        return Err(Failure::new(
            Kind::Usage,
            format!("{label}: the new PUK has nowhere to go. {UNCHANGED}"),
        )
        .hint("Name a file for it with --puk-file FILE."));
    }
    let serial = inventory.serial;
    let puk_file = &mut secrets.puk;
    let mut stages = Vec::new();
    let mut lost = None;
    let enrolled = provision::enroll(reader, &options, &mut |step| {
        match step {
            Step::NewPuk(puk) => {
                if let Err(error) = keep_puk(ui, &label, serial, puk, puk_file.as_mut()) {
                    lost = Some(error);
                    return Err(Error::Interrupted);
                }
            }
            Step::Done(stage) => stages.push(stage),
            _ => {}
        }
        if crate::interrupt::asked() { Err(Error::Interrupted) } else { Ok(()) }
    });
    let enrolled = match (enrolled, lost) {
        (Err(_), Some(failure)) => return Err(failure),
        (result, _) => result.map_err(|error| {
            let safe = if stages.is_empty() { UNCHANGED } else { SAFE };
            token_failure(&label, safe, error)
        })?,
    };
    let kept = inventory.slots.iter().any(|slot| slot.point == Some(enrolled.archive));
    summary(ui, &enrolled, inventory.factory_pin == Some(true), kept);
    Ok(Fresh { name: name.to_owned(), reader: reader.to_owned(), enrolled, pin: secret })
}

/// What the token has now; `kept` where an earlier enrolment made its keys.
fn summary(ui: Ui, enrolled: &Enrolled, was_factory: bool, kept: bool) {
    if was_factory {
        ui.say("  ✓ PIN, PUK and management key are no longer the factory's");
    }
    let proof = if enrolled.card_proof.is_some() { "   ✓ card proof 9E" } else { "" };
    if kept {
        ui.say("  It was enrolled before; its keys are kept.");
    }
    ui.say(format!(
        "  ✓ archive key 82   ✓ custody key 83   ✓ signing key {}{proof}",
        enrolled.signing.0.to_string().to_uppercase()
    ));
    if enrolled.card_proof.is_none() {
        ui.warn("its key in 9E cannot prove the card before the PIN; a look-alike would go unnoticed.");
    }
    let policies = format!("PIN {}, touch {}", enrolled.pin_policy, enrolled.touch_policy);
    ui.say(match enrolled.verdict {
        Verdict::Verified => format!("  ✓ attested by Yubico: generated on the token, {policies}"),
        Verdict::Emulated => {
            format!("  ✓ attested under the emulator's test root: an emulated token, {policies}")
        }
        Verdict::Unattested => format!("  ! nothing attests where its keys were generated; {policies}"),
        Verdict::IssuerHeld => format!("  ! its issuer may have a copy of its key; {policies}"),
    });
}

fn pin(label: &str, secret: &SecretString) -> Result<Pin> {
    Pin::new(secret.expose_secret().as_bytes()).map_err(|error| token_failure(label, UNCHANGED, error))
}

/// Secrets in force that the token cannot tell to be the factory's.
fn current(ui: Ui, label: &str, inventory: &Inventory, pins: &Pins) -> Result<CurrentSecrets> {
    let mut current = CurrentSecrets::default();
    if inventory.factory_pin.is_none() && pins.asks() {
        let by = "a token with firmware 5.3 or later, which tells by itself";
        let secret = ui.secret(&format!("Present PIN of {label} (the factory's is 123456):"), by)?;
        current.pin = Some(pin(label, &secret)?);
    }
    if inventory.factory_puk.is_none() && pins.asks() {
        let by = "a token with firmware 5.3 or later, which tells by itself";
        let secret = ui.secret(&format!("Present PUK of {label} (the factory's is 12345678):"), by)?;
        let puk =
            Puk::new(secret.expose_secret().as_bytes()).map_err(|e| token_failure(label, UNCHANGED, e))?;
        current.puk = Some(puk);
    }
    Ok(current)
}

fn keep_management_key(
    label: &str,
    inventory: &Inventory,
    secrets: &mut SecretFiles,
) -> Result<KeepManagementKey> {
    let Some(file) = secrets.management_key.as_mut() else { return Ok(KeepManagementKey::OnToken) };
    let key = ManagementKey::generate().map_err(|error| token_failure(label, UNCHANGED, error))?;
    let mut line = Zeroizing::new(format!("{} ", inventory.serial).into_bytes());
    line.reserve_exact(48);
    for byte in key.expose() {
        for nibble in [byte >> 4, byte & 15] {
            line.push(char::from_digit(u32::from(nibble), 16).map_or(b'0', |digit| digit as u8));
        }
    }
    file.line(&line).map_err(|e| Failure::io("Writing", Path::new("the management key's file"), &e))?;
    Ok(KeepManagementKey::Given(key))
}

fn keep_puk(ui: Ui, label: &str, serial: u32, puk: &Puk, file: Option<&mut PrivateFile>) -> Result<()> {
    match file {
        Some(file) => {
            let mut line = Zeroizing::new(format!("{serial} ").into_bytes());
            line.reserve_exact(8);
            line.extend_from_slice(puk.expose());
            file.line(&line).map_err(|e| Failure::io("Writing", Path::new("the PUK's file"), &e))
        }
        None => {
            let text = Zeroizing::new(String::from_utf8_lossy(puk.expose()).into_owned());
            ui.must(format!("  PUK of {label}, shown once; it unlocks a blocked PIN. Write it down:"));
            ui.must(format!("    {}", text.as_str()));
            Ok(())
        }
    }
}

/// `--overwrite` alone is not enough: the word is typed in full, or `--yes` stands beside it.
fn confirm_overwrite(ui: Ui, label: &str, inventory: &Inventory, args: &EnrolArgs) -> Result<()> {
    if args.yes {
        return Ok(());
    }
    for slot in &inventory.slots {
        let subject = slot.subject.as_deref().unwrap_or("without a certificate");
        ui.must(format!("  slot {}: {}", slot.slot.to_string().to_uppercase(), ui::printable(subject)));
    }
    let answer = ui.ask(
        &format!("Keys in 82 and 83 of {label} are lost for good. Type overwrite to go on:"),
        "--yes beside --overwrite",
    )?;
    if answer == "overwrite" {
        return Ok(());
    }
    Err(Failure::new(Kind::Refused, format!("{label} was left as it is. {UNCHANGED}")))
}
