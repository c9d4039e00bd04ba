//! `keyward token`: find, look at, enrol and prove tokens.

use std::io::{self, Write};
use std::path::Path;

use keyward_token::provision::{self, Inventory};
use keyward_token::{Found, Slot, Verdict};

use crate::cli::{EnrollWith, JsonArgs, TokenArgs, TokenCommand};
use crate::enrolling::{self, Enrolling, SecretFiles};
use crate::pin::Pins;
use crate::proving;
use crate::report::{Failure, Kind, Result, token_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{Holders, present_tokens};
use crate::vault_folder::{self, Trusted};
use crate::which::{self, Which};

const SAFE: &str = "Nothing was changed.";

/// Runs one of the token's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: TokenCommand) -> Result<()> {
    match command {
        TokenCommand::List(args) => list(ui, vault, &args),
        TokenCommand::Show(args) => show(ui, vault, &args),
        TokenCommand::Enroll(args) => enroll(ui, args.token.as_ref(), None, &args.with),
        TokenCommand::Adopt(args) => enroll(ui, args.token.as_ref(), Some(args.slot), &args.with),
        TokenCommand::Check(args) => check(ui, vault, &args),
    }
}

/// The vault, if one is named and trusted: it gives tokens their names.
fn named_vault(ui: Ui, vault: Option<&Path>) -> Result<Option<Trusted>> {
    let Some(folder) = vault else { return Ok(None) };
    vault_folder::open_trusted(ui, &State::find()?, Some(folder)).map(Some)
}

fn holder_name(vault: Option<&Trusted>, serial: Option<u32>) -> Option<String> {
    let serial = serial?;
    vault?
        .verified()
        .holders()
        .iter()
        .find_map(|(name, holder)| (holder.token()?.serial == Some(serial)).then(|| name.to_string()))
}

fn list(ui: Ui, vault: Option<&Path>, args: &JsonArgs) -> Result<()> {
    // A vault that cannot be read is no reason to hide the tokens.
    let vault = named_vault(ui, vault).ok().flatten();
    let found = which::plugged_in()?;
    let mut text = String::new();
    for token in &found {
        let name = holder_name(vault.as_ref(), token.serial);
        if args.json {
            let line = serde_json::json!({
                "serial": token.serial,
                "firmware": token.firmware.map(|firmware| firmware.to_string()),
                "reader": token.reader,
                "busy": token.busy,
                "holder": name,
            });
            text.push_str(&format!("{line}\n"));
            continue;
        }
        let what = token.serial.map_or_else(|| "PIV card".to_owned(), |serial| format!("YubiKey {serial}"));
        let firmware = token.firmware.map_or_else(String::new, |firmware| format!(", firmware {firmware}"));
        let holder = name.map_or_else(String::new, |name| format!(", {name}"));
        let busy = if token.busy { ", held by another program" } else { "" };
        text.push_str(&format!("{what}{firmware}{holder}{busy}, in {}\n", ui::printable(&token.reader)));
    }
    data(&text)
}

/// The token that an argument means, or the only one.
fn chosen(found: &[Found], vault: Option<&Trusted>, which: Option<&str>) -> Result<Found> {
    let Some(which) = which else {
        return match found {
            [only] => Ok(only.clone()),
            _ => {
                let here: Vec<String> = found.iter().map(which::describe).collect();
                Err(Failure::new(
                    Kind::Usage,
                    format!("More than one token is plugged in: {}.", ui::list(&here, "and")),
                )
                .hint("Name one by its serial number, as card, or by its reader."))
            }
        };
    };
    let holder = vault.and_then(|vault| {
        let holders = vault.verified().holders();
        holders.iter().find(|(name, _)| name.as_str() == which)?.1.token()
    });
    let named = match holder {
        Some(token) => match token.serial {
            Some(serial) => Which::Serial(serial),
            None => Which::Card,
        },
        None => {
            let Ok(named) = which.parse();
            named
        }
    };
    match named {
        Which::Reader(_) if !found.iter().any(|token| !token.busy && named.find(found).is_ok()) => {
            Err(Failure::new(
                Kind::NotFound,
                format!(
                    "`{which}` is neither a serial number, nor a holder with a token, nor a reader with a PIV card."
                ),
            ))
        }
        named => named.find(found).cloned(),
    }
}

fn show(ui: Ui, vault: Option<&Path>, args: &TokenArgs) -> Result<()> {
    let vault = named_vault(ui, vault)?;
    let found = which::plugged_in()?;
    let token = chosen(&found, vault.as_ref(), args.token.as_deref())?;
    let inventory = provision::inspect(&token.reader).map_err(|e| token_failure(&token.reader, SAFE, e))?;
    let emulated = enrolling::is_emulated(&token.reader)?;
    if args.json.json {
        return data(&format!("{}\n", json(&inventory, emulated)));
    }
    let mut text = format!(
        "{}{}, in {}\n",
        if emulated { "Emulated " } else { "" },
        enrolling::model(&inventory),
        ui::printable(&inventory.reader)
    );
    if let Some(name) = holder_name(vault.as_ref(), inventory.serial) {
        text.push_str(&format!("  holder      {name}\n"));
    }
    if let Some((all, left)) = inventory.pin_tries {
        let factory = if inventory.factory_pin == Some(true) { ", the factory's" } else { "" };
        text.push_str(&format!("  PIN         {left} of {all} tries left{factory}\n"));
    } else if let Some(left) = inventory.pin_tries_left {
        text.push_str(&format!("  PIN         {left} tries left\n"));
    }
    for slot in &inventory.slots {
        let subject = slot.subject.as_deref().map_or_else(|| "no certificate".to_owned(), ui::printable);
        let ours = if slot.ours { " (Keyward's)" } else { "" };
        text.push_str(&format!("  slot {}     {subject}{ours}\n", slot.slot.to_string().to_uppercase()));
    }
    if inventory.slots.is_empty() {
        text.push_str("  All slots are free.\n");
    }
    if inventory.serial.is_none() {
        text.push_str("  It proves neither where its keys are made nor a touch; it tells a key by its certificate alone.\n");
    }
    if inventory.unfinished {
        text.push_str("  An enrolment was interrupted; run it again to finish it.\n");
    }
    for advisory in &inventory.advisories {
        text.push_str(&format!("  ! {} ({}): {}\n", advisory.name, advisory.yubico, advisory.effect));
    }
    data(&text)
}

fn json(inventory: &Inventory, emulated: bool) -> serde_json::Value {
    let slots: Vec<_> = inventory
        .slots
        .iter()
        .map(|slot| {
            serde_json::json!({ "slot": slot.slot.to_string(), "subject": slot.subject, "keyward": slot.ours })
        })
        .collect();
    serde_json::json!({
        "serial": inventory.serial,
        "firmware": inventory.firmware.map(|firmware| firmware.to_string()),
        "reader": inventory.reader,
        "emulated": emulated,
        "pin_tries_left": inventory.pin_tries_left,
        "factory_pin": inventory.factory_pin,
        "slots": slots,
        "unfinished": inventory.unfinished,
    })
}

/// Enrols a token, all keys new or one taken over.
fn enroll(ui: Ui, which: Option<&Which>, adopt: Option<Slot>, args: &EnrollWith) -> Result<()> {
    let found = which::plugged_in()?;
    let token = match which {
        Some(which) => which.find(&found)?.clone(),
        None => chosen(&found, None, None)?,
    };
    let name: keyward_custody::Name =
        args.name.parse().map_err(|error| crate::report::custody_failure("--name", SAFE, error))?;
    if !args.allow_emulated && enrolling::is_emulated(&token.reader)? {
        return Err(crate::report::custody_failure(
            "The token",
            SAFE,
            keyward_custody::Error::EmulatedToken { holder: name },
        ));
    }
    let pins = Pins::find(args.allow_emulated)?;
    let suite = enrolling::suite(args.suite);
    let mut secrets = SecretFiles::create(&args.enrol)?;
    let enrolling = Enrolling { name: name.as_str(), reader: &token.reader, suite, adopt };
    let fresh = enrolling::enrol(ui, &pins, enrolling, &args.enrol, &mut secrets)?;
    ui.say(format!("{} is enrolled. Archives for it alone are sealed to this recipient:", fresh.label()));
    data(&format!("{}\n", fresh.archive_recipient(suite)?))?;
    if adopt.is_some() {
        let token = token.serial.map_or_else(|| "card".to_owned(), |serial| serial.to_string());
        ui.say("What was sealed to its key before opens with: keyward open FILE -o FILE --unverified");
        ui.say(format!("It becomes a holder with: keyward holder add {name} --token {token}"));
    }
    Ok(())
}

fn check(ui: Ui, vault: Option<&Path>, args: &TokenArgs) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    let found = which::plugged_in()?;
    let token = chosen(&found, Some(&vault), args.token.as_deref())?;
    let holders = vault.holders()?;
    let holder = match token.serial {
        Some(_) => holders.tokens.iter().find(|holder| holder.serial == token.serial).cloned(),
        // A card without a number of its own is who it proves to be.
        None => present_tokens(&holders)
            .into_iter()
            .find_map(|(holder, reader)| (reader == token.reader).then_some(holder)),
    };
    let Some(holder) = holder else {
        return Err(Failure::new(
            Kind::NotHolder,
            format!("The token in {} is no holder of vault `{}`. {SAFE}", token.reader, vault.name()),
        ));
    };
    let pins = Pins::find(holders.test)?;
    let recipient = holder.archive.clone();
    let only = Holders { tokens: vec![holder.clone()], ..holders };
    proving::round_trip(ui, &state, &only, &pins, &recipient)?;
    if args.json.json {
        return data(&format!(
            "{}\n",
            serde_json::json!({ "holder": holder.name, "serial": holder.serial, "opens": true })
        ));
    }
    let proved = if holder.card_proof.is_some() { "proved itself, " } else { "" };
    ui.say(format!("✓ {} {proved}took the PIN and opened a test message.", holder.label()));
    if holder.emulated {
        ui.say(format!("  Its verdict is {}: for tests only.", Verdict::Emulated));
    }
    Ok(())
}

fn data(text: &str) -> Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))
}
