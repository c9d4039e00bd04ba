//! `keyward sealer`: the hosts whose receipts count.

use std::io::{self, Read, Write};
use std::path::Path;

use keyward_custody::{Name, PublicKey, Sealer};

use crate::changing::Changing;
use crate::cli::{SealerAddArgs, SealerCommand, SealerListArgs, SealerRemoveArgs};
use crate::files;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::sealing_host;
use crate::state::State;
use crate::ui::{self, Ui};
use crate::vault_folder;

const SAFE: &str = "Nothing was changed.";

/// Runs one of the sealer's commands.
///
/// # Errors
/// Those of the command.
pub fn run(ui: Ui, vault: Option<&Path>, command: SealerCommand) -> Result<()> {
    match command {
        SealerCommand::Key => key(ui, vault),
        SealerCommand::Add(args) => add(ui, vault, &args),
        SealerCommand::List(args) => list(ui, vault, &args),
        SealerCommand::Remove(args) => remove(ui, vault, &args),
    }
}

/// A sealer in a line.
pub fn describe(sealer: &Sealer) -> String {
    let mut words = vec![format!("since generation {}", sealer.added())];
    words.extend(sealer.by().map(|by| format!("of {by}")));
    if let Some(removed) = sealer.removed() {
        let last: Vec<String> =
            removed.last().iter().map(|(series, link)| format!("{} of {series}", link.sequence)).collect();
        let last = match last.as_slice() {
            [] => "none of its receipts counts".to_owned(),
            last => format!("its last receipts are {}", ui::list(last, "and")),
        };
        words.push(format!("removed in generation {}; {last}", removed.generation()));
    }
    words.join(", ")
}

fn key(ui: Ui, vault: Option<&Path>) -> Result<()> {
    let state = State::find()?;
    let vault = vault_folder::open_trusted(ui, &state, vault)?;
    let host = sealing_host::name(None)?;
    let key = state.make_sealer_key(vault.statement().vault_id(), host.as_str())?.public();
    let known = vault.verified().sealers().iter().find(|(_, sealer)| *sealer.key() == key);
    match known {
        Some((name, sealer)) if sealer.removed().is_none() => {
            ui.say(format!("This host is sealer {name} of vault `{}`.", vault.name()));
        }
        Some((name, _)) => ui.say(format!(
            "This host was sealer {name} of vault `{}`. It comes back with a new key: move {} away first.",
            vault.name(),
            state.root().join("sealer").join(vault.id()).display()
        )),
        None => ui.say(format!("An admin certifies this host with: keyward sealer add {host} --key FILE")),
    }
    data(&format!("{key}\n"))
}

fn add(ui: Ui, vault: Option<&Path>, args: &SealerAddArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, &args.change)?;
    let name = sealing_host::name(args.name.as_deref())?;
    let key = match &args.key {
        Some(file) => read_key(file)?,
        None => {
            changing.state.make_sealer_key(changing.vault.statement().vault_id(), name.as_str())?.public()
        }
    };
    let fail = |error| custody_failure(name.as_str(), SAFE, error);
    let by = args.by.as_deref().map(str::parse).transpose().map_err(fail)?;
    let mut draft = changing.draft()?;
    draft.add_sealer(name.clone(), key, by).map_err(fail)?;
    draft.build().map_err(fail)?;
    ui.say(format!("Receipts of host {name} count from now on; its key is {}.", key.fingerprint()));
    changing.carry_out(&draft, Vec::new())
}

fn remove(ui: Ui, vault: Option<&Path>, args: &SealerRemoveArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, &args.change)?;
    let fail = |error| custody_failure(&args.name, SAFE, error);
    let name: Name = args.name.parse().map_err(fail)?;
    let last = changing.state.heads(changing.vault.statement().vault_id())?.of_sealer(&name);
    let mut draft = changing.draft()?;
    draft.remove_sealer(&name, last.clone()).map_err(fail)?;
    ui.say(format!("Host {name} is no sealer any more. Its archives stay verifiable up to:"));
    for (series, link) in &last {
        ui.say(format!("  receipt {} of series {series}", link.sequence));
    }
    if last.is_empty() {
        ui.warn(format!(
            "This host has seen no receipt of {name}, so none will count. keyward verify sees them."
        ));
    }
    changing.carry_out(&draft, Vec::new())
}

fn list(ui: Ui, vault: Option<&Path>, args: &SealerListArgs) -> Result<()> {
    let vault = vault_folder::open_trusted(ui, &State::find()?, vault)?;
    if args.allowed_signers {
        return data(&vault.statement().allowed_sealers());
    }
    let mut text = String::new();
    for (name, sealer) in vault.verified().sealers() {
        if !args.json {
            let key = sealer.key().fingerprint();
            text.push_str(&format!("{name}: {}, {key}\n", describe(sealer)));
            continue;
        }
        let last = sealer.removed().map(|removed| {
            let last = removed.last().iter();
            last.map(|(series, link)| (series.to_string(), link.sequence.number().into()))
                .collect::<serde_json::Map<String, serde_json::Value>>()
        });
        let line = serde_json::json!({
            "sealer": name.as_str(),
            "key": sealer.key().to_string(),
            "added": sealer.added().number(),
            "by": sealer.by().map(Name::as_str),
            "removed": sealer.removed().map(|removed| removed.generation().number()),
            "last": last,
        });
        text.push_str(&format!("{line}\n"));
    }
    data(&text)
}

/// A public key, with or without a comment after it, as `ssh-keygen` and `sealer key` write it.
fn read_key(file: &Path) -> Result<PublicKey> {
    let bytes = match file == Path::new("-") {
        true => {
            let mut bytes = Vec::new();
            let read = io::stdin().lock().take(files::LARGEST).read_to_end(&mut bytes);
            read.map(|_| bytes).map_err(|e| Failure::io("Reading", Path::new("standard input"), &e))?
        }
        false => files::read(file).map_err(|e| Failure::io("Reading", file, &e))?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    match (words.next(), words.next()) {
        (Some(kind), Some(base64)) => {
            let key = format!("{kind} {base64}").parse();
            key.map_err(|error| custody_failure(&file.display().to_string(), SAFE, error))
        }
        _ => Err(Failure::new(Kind::Usage, format!("{} holds no public key. {SAFE}", file.display()))
            .hint("On the host: keyward sealer key >FILE")),
    }
}

fn data(text: &str) -> Result<()> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|e| Failure::io("Writing to", Path::new("standard output"), &e))
}
