//! `keyward doctor`: what on this machine helps or hinders, each with the next step. It changes nothing and sends
//! no PIN.

use std::io::{self, Write};
use std::path::Path;

use keyward_token::Error;

use crate::cli::DoctorArgs;
use crate::report::{Failure, Kind, Result};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::{env, vault_folder};

/// One thing looked at.
struct Finding {
    good: bool,
    what: String,
    hint: Option<String>,
}

impl Finding {
    fn good(what: impl Into<String>) -> Self {
        Finding { good: true, what: what.into(), hint: None }
    }

    fn bad(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Finding { good: false, what: what.into(), hint: Some(hint.into()) }
    }
}

/// Looks, and reports.
///
/// # Errors
/// Exit code 1 where something hinders.
pub fn run(ui: Ui, vault: Option<&Path>, args: DoctorArgs) -> Result<()> {
    let mut findings = vec![Finding::good(format!("keyward {}", env!("CARGO_PKG_VERSION")))];
    tokens(&mut findings);
    home(&mut findings);
    pin_source(&mut findings);
    match vault {
        None => findings.push(Finding::good("no vault is named (--vault, KEYWARD_VAULT)")),
        Some(folder) => {
            match State::find().and_then(|state| vault_folder::open_trusted(ui, &state, Some(folder))) {
                Ok(vault) => findings.push(Finding::good(format!(
                    "vault `{}` is verified: generation {}, opens with {}",
                    vault.name(),
                    vault.generation(),
                    ui::list(&vault.sealed_to(), "or")
                ))),
                Err(failure) => findings.push(Finding::bad(failure.facts.join(" "), failure.hints.join(" "))),
            }
        }
    }
    let bad = findings.iter().filter(|finding| !finding.good).count();
    let mut text = String::new();
    if args.json.json {
        let list: Vec<_> = findings
            .iter()
            .map(|finding| serde_json::json!({ "good": finding.good, "what": finding.what, "hint": finding.hint }))
            .collect();
        text = format!("{}\n", serde_json::json!({ "problems": bad, "findings": list }));
    } else {
        for finding in &findings {
            text.push_str(&format!(
                "{} {}\n",
                if finding.good { '✓' } else { '✗' },
                ui::printable(&finding.what)
            ));
            if let Some(hint) = finding.hint.as_ref().filter(|hint| !hint.is_empty()) {
                text.push_str(&format!("  {hint}\n"));
            }
        }
    }
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))?;
    if bad > 0 {
        return Err(Failure::new(
            Kind::Other,
            format!("{} found.", ui::count(bad as u64, "problem was", "problems were")),
        ));
    }
    Ok(())
}

fn tokens(findings: &mut Vec<Finding>) {
    if let Some(socket) = env::pcsc_socket() {
        findings.push(Finding::good(format!("smart card service at {}", socket.display())));
    }
    match keyward_token::list() {
        Ok(found) => {
            for token in found {
                let name =
                    token.serial.map_or_else(|| "PIV card".to_owned(), |serial| format!("YubiKey {serial}"));
                if token.busy {
                    findings.push(Finding::bad(
                        format!("{} is held by another program", token.reader),
                        "Often it is GnuPG's scdaemon: gpgconf --kill scdaemon",
                    ));
                    continue;
                }
                let firmware =
                    token.firmware.map_or_else(String::new, |firmware| format!(", firmware {firmware}"));
                findings.push(Finding::good(format!("{name}{firmware} in {}", token.reader)));
                for advisory in token.firmware.map(keyward_token::advisory::advisories).unwrap_or_default() {
                    findings.push(Finding::bad(
                        format!("{name} has {} ({}): {}", advisory.name, advisory.yubico, advisory.effect),
                        "Firmware cannot be updated; replace the token when its keys matter.",
                    ));
                }
            }
        }
        Err(Error::NoService) => findings.push(Finding::bad(
            "no smart card service runs",
            "Start pcscd (Debian: apt install pcscd), or use keyward-emulator run.",
        )),
        Err(Error::NoToken) => {
            findings.push(Finding::good("smart card service runs; no token is plugged in"))
        }
        Err(error) => findings.push(Finding::bad(error.to_string(), "Plug the token in again.")),
    }
}

fn home(findings: &mut Vec<Finding>) {
    use std::os::unix::fs::MetadataExt;

    let state = match State::find() {
        Ok(state) => state,
        Err(failure) => {
            findings.push(Finding::bad(failure.facts.join(" "), failure.hints.join(" ")));
            return;
        }
    };
    let root = state.root().display();
    match state.root().join("pins").metadata() {
        Ok(meta) if meta.mode() & 0o022 != 0 => findings.push(Finding::bad(
            format!("others can write the pins in {root}"),
            format!("chmod 700 {root}/pins"),
        )),
        Ok(_) => findings.push(Finding::good(format!(
            "{} trusted, pinned in {root}",
            ui::count(state.pinned().len() as u64, "vault is", "vaults are")
        ))),
        Err(_) => findings.push(Finding::good(format!("no vault is pinned yet in {root}"))),
    }
}

fn pin_source(findings: &mut Vec<Finding>) {
    match (env::pin_file(), env::pin()) {
        (Some(path), _) => findings.push(Finding::good(format!("PINs come from {}", path.display()))),
        (None, Some(_)) => {
            findings.push(Finding::good("the PIN comes from KEYWARD_PIN, for test vaults only"))
        }
        (None, None) => findings.push(Finding::good("the PIN is asked for on the terminal")),
    }
}
