//! Enrolling one token with a person watching: what is asked, shown and kept, around `keyward-token`'s steps.

use std::path::Path;

use keyward_age::{Recipient, Suite};
use keyward_custody::{PublicKey, SeedObject, SigningKey, SlotId, Token};
use keyward_token::attest::{self, Verdict};
use keyward_token::provision::{
    self, CurrentSecrets, EnrollOptions, Enrolled, Inventory, KeepManagementKey, Step,
};
use keyward_token::{Card, Error, ManagementKey, Pin, Point, Puk, Slot, TouchPolicy};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::card_secrets;
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
        label(&self.name, self.enrolled.serial, self.enrolled.verdict == Verdict::Emulated)
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
        let (slot, signing) = &enrolled.signing;
        Ok(Token {
            serial: enrolled.serial,
            firmware: enrolled.firmware.map(|f| keyward_custody::Firmware([f.major, f.minor, f.patch])),
            archive_slot: SlotId(enrolled.archive_slot.reference()),
            custody_slot: SlotId(enrolled.custody_slot.reference()),
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

/// Whether the token's attestation key leads to the emulator's published root.
///
/// # Errors
/// Those of the token.
pub fn is_emulated(reader: &str) -> Result<bool> {
    let fail = |error| token_failure(reader, UNCHANGED, error);
    let mut card = Card::open(reader).map_err(fail)?;
    let mut piv = card.begin().and_then(|session| session.select_piv()).map_err(fail)?;
    let certificate = match piv.certificate(Slot::Attestation) {
        // A card that is no YubiKey has no such object, and says so in its own way.
        Err(Error::Status { .. } | Error::Certificate { .. }) => None,
        result => result.map_err(fail)?,
    };
    let Some(certificate) = certificate else { return Ok(false) };
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
    ui.say(format!("  {}. {content}", model(inventory)));
    if inventory.serial.is_none() {
        ui.say("  It proves neither where its keys are made nor a touch.");
    }
    for advisory in inventory.advisories.iter().filter(|advisory| advisory.concerns_p256) {
        let firmware =
            inventory.firmware.map_or_else(String::new, |firmware| format!("firmware {firmware} "));
        ui.warn(format!("{firmware}has {} ({}): {}.", advisory.name, advisory.yubico, advisory.effect));
    }
}

/// What kind of token it is: `YubiKey 11110001, firmware 5.7.1`.
pub fn model(inventory: &Inventory) -> String {
    match (inventory.serial, inventory.firmware) {
        (Some(serial), Some(firmware)) => format!("YubiKey {serial}, firmware {firmware}"),
        (Some(serial), None) => format!("YubiKey {serial}"),
        (None, _) => "PIV card".to_owned(),
    }
}

/// Which token becomes whose, for which suite, and whose key it takes over.
#[derive(Debug, Clone, Copy)]
pub struct Enrolling<'a> {
    pub name: &'a str,
    pub reader: &'a str,
    pub suite: Suite,
    /// The slot whose key becomes the archive key.
    pub adopt: Option<Slot>,
}

/// Enrols the token in a reader for a holder.
///
/// # Errors
/// Those of the token; an answer that was needed and not given; a refusal.
pub fn enrol(
    ui: Ui,
    pins: &Pins,
    enrolling: Enrolling<'_>,
    args: &EnrolArgs,
    secrets: &mut SecretFiles,
) -> Result<Fresh> {
    let Enrolling { name, reader, suite, adopt } = enrolling;
    let inventory = provision::inspect(reader).map_err(|error| token_failure(reader, UNCHANGED, error))?;
    let emulated = is_emulated(reader)?;
    let label = label(name, inventory.serial, emulated);
    let is_card = inventory.serial.is_none();
    show(ui, &inventory);
    if args.overwrite && !inventory.slots.is_empty() {
        confirm_overwrite(ui, &label, &inventory, args)?;
    }
    let mut present = None;
    let secret = if is_card {
        let (before, secret) = card_secrets::pins(ui, pins, &label, args)?;
        present = before;
        secret
    } else if inventory.factory_pin == Some(false) && inventory.pin_tries.is_some() && pins.asks() {
        // The PIN is somebody's already; it stays, and is asked for as it is.
        ui.say("  Its PIN is not the factory's and is kept.");
        pins.pin(ui, inventory.serial, &label)?
    } else {
        pins.new_pin(ui, inventory.serial, &label)?
    };
    let new_pin = pin(&label, &secret)?;
    let mut options = EnrollOptions::new(name, new_pin);
    options.hybrid = suite == Suite::Hybrid;
    options.adopt = adopt;
    options.overwrite = args.overwrite;
    options.retries = args.pin_retries;
    options.touch_policy = match args.touch_policy {
        TouchArg::Always => TouchPolicy::Always,
        TouchArg::Cached => TouchPolicy::Cached,
    };
    if is_card {
        options.current.pin = present;
        options.current.card = Some(card_secrets::administration_key(ui, &label, args)?);
    } else {
        options.current = current(ui, &label, &inventory, pins, args)?;
        options.management_key = keep_management_key(&label, &inventory, secrets)?;
    }
    if !is_card
        && inventory.factory_puk != Some(false)
        && secrets.puk.is_none()
        && !emulated
        && !ui.interactive()
    {
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
            match error {
                Error::ManagementKey if is_card => Failure::new(
                    Kind::Refused,
                    format!("{label}: the management key that was given is not the card's. {safe}"),
                )
                .hint("Whoever issued the card has it: --management-key FILE."),
                error => token_failure(&label, safe, error),
            }
        })?,
    };
    let kept = inventory.slots.iter().any(|slot| slot.point == Some(enrolled.archive));
    summary(ui, &enrolled, inventory.factory_pin == Some(true), kept && adopt.is_none());
    if is_card {
        ui.say(
            "  Its PUK and its management key stay as they are; change them with your card's own program.",
        );
    }
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
    let slot = |slot: Slot| slot.to_string().to_uppercase();
    ui.say(format!(
        "  ✓ archive key {}   ✓ custody key {}   ✓ signing key {}{proof}",
        slot(enrolled.archive_slot),
        slot(enrolled.custody_slot),
        slot(enrolled.signing.0)
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
        Verdict::IssuerHeld => {
            format!("  ! whoever put its archive key there may have a copy of it; {policies}")
        }
    });
}

fn pin(label: &str, secret: &SecretString) -> Result<Pin> {
    Pin::new(secret.expose_secret().as_bytes()).map_err(|error| token_failure(label, UNCHANGED, error))
}

/// Secrets in force that the token cannot tell to be the factory's.
fn current(
    ui: Ui,
    label: &str,
    inventory: &Inventory,
    pins: &Pins,
    args: &EnrolArgs,
) -> Result<CurrentSecrets> {
    let mut current = CurrentSecrets::default();
    if let Some(file) = &args.management_key {
        let bytes = card_secrets::management_key(ui, file, inventory.serial)?;
        let key = <[u8; 24]>::try_from(bytes.as_slice()).map(Zeroizing::new).map_err(|_| {
            Failure::new(
                Kind::Usage,
                format!("{label}: the management key of a YubiKey has 24 bytes here. {UNCHANGED}"),
            )
        })?;
        current.management_key = Some(ManagementKey::new(key));
    }
    if let Some(file) = &args.present_pin {
        current.pin = Some(pin(label, &card_secrets::present_pin(ui, file)?)?);
    } else if inventory.factory_pin.is_none() && pins.asks() {
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
    let Some(serial) = inventory.serial else { return Ok(KeepManagementKey::OnToken) };
    let mut line = Zeroizing::new(format!("{serial} ").into_bytes());
    line.reserve_exact(48);
    for byte in key.expose() {
        for nibble in [byte >> 4, byte & 15] {
            line.push(char::from_digit(u32::from(nibble), 16).map_or(b'0', |digit| digit as u8));
        }
    }
    file.line(&line).map_err(|e| Failure::io("Writing", Path::new("the management key's file"), &e))?;
    Ok(KeepManagementKey::Given(key))
}

fn keep_puk(
    ui: Ui,
    label: &str,
    serial: Option<u32>,
    puk: &Puk,
    file: Option<&mut PrivateFile>,
) -> Result<()> {
    match file {
        Some(file) => {
            let serial = serial.map_or_else(String::new, |serial| format!("{serial} "));
            let mut line = Zeroizing::new(serial.into_bytes());
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
