//! What enrolling a card that is no YubiKey asks for: the PIN now in force and the one from now on, and the management key.
//!
//! Such a card cannot tell whether a secret is the factory's, so nothing is tried that was not given: the well-known
//! management key only where the person says so. A file with a secret is read whole into memory that is wiped.

use std::path::Path;

use keyward_custody::{Name, PinPolicy, Requirements, TouchPolicy};
use keyward_token::{AdministrationKey, Pin};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::cli::EnrolArgs;
use crate::pin::{self, Pins};
use crate::present::read_secret;
use crate::report::{Failure, Kind, Result, custody_failure, token_failure};
use crate::ui::Ui;

const UNCHANGED: &str = "Nothing was changed.";

/// The PIN in force, where it is to be changed, and the PIN from now on.
///
/// # Errors
/// A PIN that is none; no terminal to ask on.
pub fn pins(ui: Ui, pins: &Pins, label: &str, args: &EnrolArgs) -> Result<(Option<Pin>, SecretString)> {
    let parse = |secret: &SecretString| {
        Pin::new(secret.expose_secret().as_bytes()).map_err(|error| token_failure(label, UNCHANGED, error))
    };
    if let Some(file) = &args.present_pin {
        let present = present_pin(ui, file)?;
        return Ok((Some(parse(&present)?), pins.new_pin(ui, None, label)?));
    }
    if !pins.asks() {
        return Ok((None, pins.pin(ui, None, label)?));
    }
    let by = "--present-pin FILE, and KEYWARD_PIN_FILE for the new PIN";
    let present = ui.secret(&format!("Present PIN of {label}:"), by)?;
    if ui.confirm("Change it?", true, by)? {
        return Ok((Some(parse(&present)?), pins.new_pin(ui, None, label)?));
    }
    pin::check_new(&present)?;
    Ok((None, present))
}

/// A PIN alone in a file, for the secret that is in force now.
///
/// # Errors
/// Those of the file.
pub fn present_pin(ui: Ui, file: &Path) -> Result<SecretString> {
    let text = read_secret(ui, file)?;
    Ok(SecretString::from(text.trim().to_owned()))
}

/// The bytes of the management key that an option names: hexadecimal, alone or behind a serial number as enrolment writes it.
///
/// # Errors
/// A file that holds none.
pub fn management_key(ui: Ui, file: &Path, serial: Option<u32>) -> Result<Zeroizing<Vec<u8>>> {
    let text = read_secret(ui, file)?;
    let own = serial.map(|serial| serial.to_string());
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut keys = lines.filter_map(|line| match line.split_once(char::is_whitespace) {
        None => Some(line),
        Some((serial, key)) => (Some(serial) == own.as_deref()).then_some(key.trim()),
    });
    let key = keys.next().and_then(hex).filter(|key| matches!(key.len(), 16 | 24 | 32));
    key.ok_or_else(|| {
        Failure::new(Kind::Usage, format!("{} holds no management key. {UNCHANGED}", file.display()))
            .hint("Write it in hexadecimal: 48 digits for 3DES or AES-192, 32 for AES-128, 64 for AES-256.")
    })
}

/// Two digits a byte; every buffer is of its final size at once.
fn hex(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = text.as_bytes();
    let mut key = Zeroizing::new(Vec::with_capacity(digits.len() / 2));
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    for [high, low] in pairs {
        let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        key.push(digit(high)? << 4 | digit(low)?);
    }
    Some(key)
}

/// The management key of a card that is no YubiKey.
///
/// # Errors
/// None was given (2).
pub fn administration_key(ui: Ui, label: &str, args: &EnrolArgs) -> Result<AdministrationKey> {
    if let Some(file) = &args.management_key {
        let key = AdministrationKey::new(management_key(ui, file, None)?);
        return key.ok_or_else(|| Failure::new(Kind::Usage, format!("{} holds none.", file.display())));
    }
    if args.default_management_key
        || (ui.interactive()
            && !args.yes
            && ui.confirm(
                "Is its management key the well-known one (0102030405060708, three times)?",
                false,
                "--management-key FILE",
            )?)
    {
        return Ok(AdministrationKey::well_known());
    }
    Err(Failure::new(
        Kind::Usage,
        format!("{label}: enrolling a card that is no YubiKey takes its management key. {UNCHANGED}"),
    )
    .hint("Name the file that holds it, in hexadecimal, with --management-key FILE;")
    .hint("or, if it is still the well-known one, say --default-management-key."))
}

/// Whether a vault's requirements exclude every card that is no YubiKey: it proves no touch, no firmware and no origin.
///
/// # Errors
/// The first clause that such a card cannot fulfil, before anything is changed.
pub fn refuse_unfit(name: &Name, require: &Requirements) -> Result<()> {
    let clause = if let Some(touch) = require.touch.filter(|touch| *touch > TouchPolicy::Never) {
        (format!("touch = {touch}"), "touch policy never")
    } else if let Some(pin) = require.pin.filter(|pin| *pin > PinPolicy::Once) {
        (format!("pin = {pin}"), "PIN policy once")
    } else if let Some(firmware) = require.firmware {
        (format!("firmware >= {firmware}"), "unknown firmware")
    } else if require.attested {
        ("attested".to_owned(), "verdict unattested")
    } else {
        return Ok(());
    };
    let (clause, found) = (clause.0, clause.1.to_owned());
    let error = keyward_custody::Error::Requirement { holder: name.clone(), clause, found };
    Err(custody_failure("The vault", UNCHANGED, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_management_key_is_read_alone_or_behind_its_serial_number() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let read = |text: &str, serial| {
            std::fs::write(&path, text).unwrap();
            management_key(Ui::new(true), &path, serial).map(|key| key.to_vec()).map_err(|f| f.kind)
        };
        let key = "0102030405060708".repeat(3);
        assert_eq!(read(&format!("{key}\n"), None).unwrap().len(), 24);
        assert_eq!(read(&format!("# card\n7 {}\n8 {key}\n", "ff".repeat(24)), Some(8)).unwrap()[1], 2);
        assert_eq!(read(&"aB".repeat(16), None).unwrap(), vec![0xAB; 16]);
        for bad in ["", "xyz", "0102", &key[1..], &format!("7 {key}")] {
            assert_eq!(read(bad, Some(8)), Err(Kind::Usage), "{bad:?}");
        }
    }

    #[test]
    fn requirements_that_no_generic_card_meets() {
        let name: Name = "carol".parse().unwrap();
        for require in ["touch = always", "touch = cached", "pin = always", "firmware >= 5.7", "attested"] {
            let failure = refuse_unfit(&name, &require.parse().unwrap()).unwrap_err();
            assert!(failure.to_string().contains("carol"), "{failure}");
        }
        for require in ["", "pin = once", "touch = never"] {
            refuse_unfit(&name, &require.parse().unwrap()).unwrap();
        }
    }
}
