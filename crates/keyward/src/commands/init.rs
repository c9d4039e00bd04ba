//! `keyward init`: enrol the first tokens, set the policy, sign generation 1. Guided on a terminal; by flags alone
//! elsewhere.

use std::path::PathBuf;

use keyward_custody::{
    Confirmation, Draft, Name, Policy, Requirements, Statement, Unpinned, VaultFile, VaultFiles, VaultId,
};
use keyward_token::Found;
use secrecy::{ExposeSecret, SecretString};

use crate::cli::InitArgs;
use crate::enrolling::{self, Fresh, SecretFiles};
use crate::pin::Pins;
use crate::proving;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::signing::{self, Signer};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{Holder, Holders};
use crate::vault_folder;

const UNCHANGED: &str = "Nothing was changed.";
/// The tokens are enrolled; the vault does not exist yet.
const NO_VAULT: &str = "The tokens are enrolled and no vault was written; run the command again to go on.";

/// What was decided before anything is changed.
struct Plan {
    folder: PathBuf,
    name: Name,
    policy: Option<Policy>,
    require: Requirements,
    tokens: Vec<(Name, Found)>,
}

/// Makes a vault.
///
/// # Errors
/// A folder that is taken; tokens that are absent, occupied or emulated; a policy that loses data with one token.
pub fn run(ui: Ui, vault: Option<PathBuf>, args: InitArgs) -> Result<()> {
    let state = State::find()?;
    ui.say("Keyward makes a vault: who holds your keys, signed by your tokens.");
    let plan = plan(ui, vault, &args)?;
    let suite = enrolling::suite(args.suite);
    let pins = Pins::find(args.allow_emulated)?;
    let mut secrets = SecretFiles::create(&args.enrol)?;

    ui.say("1 of 3  Tokens");
    let mut fresh = Vec::new();
    for (name, found) in &plan.tokens {
        ui.say(format!("  {name}"));
        fresh.push(enrolling::enrol(
            ui,
            &pins,
            name.as_str(),
            &found.reader,
            suite,
            &args.enrol,
            &mut secrets,
        )?);
    }
    let names: Vec<Name> = plan.tokens.iter().map(|(name, _)| name.clone()).collect();
    let policy = match plan.policy {
        Some(policy) => policy,
        None => ask_policy(ui, &names, &args)?,
    };
    ui.say(format!("2 of 3  Policy   {policy}"));
    what_if(ui, &policy);

    let vault_id = VaultId::random().map_err(|error| custody_failure("The vault", NO_VAULT, error))?;
    let mut draft =
        Draft::first(vault_id, plan.name, suite, args.allow_emulated, policy, vault_folder::now()?);
    draft.require = plan.require;
    draft.no_recovery = args.no_recovery;
    for (name, fresh) in names.iter().zip(&fresh) {
        draft.add_token(name.clone(), fresh.statement_token(suite)?);
    }
    let statement = draft.build().map_err(|error| custody_failure("The statement", NO_VAULT, error))?;

    let known: Vec<(u32, SecretString)> = fresh
        .iter()
        .map(|token| (token.enrolled.serial, SecretString::from(token.pin.expose_secret().to_owned())))
        .collect();
    let known = Pins::known(known);
    prove(ui, &state, &statement, &fresh, &known, suite)?;

    ui.say("3 of 3  Sign");
    let signatures = sign(ui, &statement, &names, &fresh)?;
    finish(ui, &state, &plan.folder, &statement, &signatures, args.allow_emulated)
}

/// Everything that can be refused before a token is touched.
fn plan(ui: Ui, vault: Option<PathBuf>, args: &InitArgs) -> Result<Plan> {
    let folder = match args.folder.clone().or(vault) {
        Some(folder) => folder,
        None => PathBuf::from(ui.ask("Folder for the vault:", "the argument VAULT or --vault")?),
    };
    vault_folder::check_free(&folder)?;
    let name = vault_name(ui, &folder, args)?;
    let parse = |what: &str, error| custody_failure(what, UNCHANGED, error);
    let policy: Option<Policy> = args
        .policy
        .as_deref()
        .map(|text| text.parse().map_err(|error| parse("--policy", keyward_custody::Error::Policy(error))))
        .transpose()?;
    if let Some(part) = policy.as_ref().and_then(Policy::part_that_needs_shares) {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "--policy: `{part}` opens only together, and such policies are not there yet. {UNCHANGED}"
            ),
        )
        .hint("Use holders who each open alone: 'alice or bob'."));
    }
    if let Some(policy) = &policy
        && !args.no_recovery
        && let Some(holder) = policy.indispensable().into_iter().next()
    {
        let error = keyward_custody::Error::SingleHolder { holder, policy: policy.to_string() };
        return Err(parse("--policy", error));
    }
    let require =
        args.require.as_deref().unwrap_or_default().parse().map_err(|error| parse("--require", error))?;
    let found = enrolling::plugged_in()?;
    let tokens = if args.tokens.is_empty() {
        ask_tokens(ui, &found)?
    } else {
        let mut tokens = Vec::new();
        for (name, serial) in &args.tokens {
            let name: Name = name.parse().map_err(|error| parse("--token", error))?;
            if tokens
                .iter()
                .any(|(other, token): &(Name, Found)| *other == name || token.serial == Some(*serial))
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--token {name}={serial}: name or token stands twice. {UNCHANGED}"),
                ));
            }
            tokens.push((name, enrolling::with_serial(&found, *serial)?.clone()));
        }
        tokens
    };
    if let Some(policy) = &policy {
        let named = policy.names();
        if let Some(stranger) = named.iter().find(|name| !tokens.iter().any(|(token, _)| token == **name)) {
            return Err(parse("--policy", keyward_custody::Error::NotAHolder { name: (*stranger).clone() }));
        }
        if let Some((name, _)) = tokens.iter().find(|(token, _)| !named.contains(token)) {
            return Err(parse("--policy", keyward_custody::Error::OutsidePolicy { name: name.clone() }));
        }
    }
    if !args.allow_emulated {
        for (name, found) in &tokens {
            if enrolling::is_emulated(&found.reader)? {
                return Err(parse(
                    "The vault",
                    keyward_custody::Error::EmulatedToken { holder: name.clone() },
                ));
            }
        }
    }
    if tokens.len() == 1 && !args.no_recovery && policy.is_none() {
        return Err(Failure::new(
            Kind::Refused,
            format!("One token alone: losing it loses the data. {UNCHANGED}"),
        )
        .hint("Plug in a second token, or accept the loss with --no-recovery."));
    }
    Ok(Plan { folder, name, policy, require, tokens })
}

fn vault_name(ui: Ui, folder: &std::path::Path, args: &InitArgs) -> Result<Name> {
    if let Some(name) = &args.name {
        return name.parse().map_err(|error| custody_failure("--name", UNCHANGED, error));
    }
    let full = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    match full.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) {
        Some(name) => Ok(name),
        None => ui
            .ask("Name for the vault:", "--name NAME")?
            .parse()
            .map_err(|error| custody_failure("The name", UNCHANGED, error)),
    }
}

/// On a terminal: every token that is plugged in may get a name.
fn ask_tokens(ui: Ui, found: &[Found]) -> Result<Vec<(Name, Found)>> {
    let mut tokens: Vec<(Name, Found)> = Vec::new();
    ui.say("Tokens. Two or more are wise: losing one must not lose data.");
    for token in found.iter().filter(|token| !token.busy) {
        let Some(serial) = token.serial else { continue };
        let firmware = token.firmware.map_or_else(String::new, |firmware| format!(", firmware {firmware}"));
        loop {
            let question = format!("Name for YubiKey {serial}{firmware} (empty to leave it out):");
            let answer = ui.ask(&question, "--token NAME=SERIAL")?;
            if answer.is_empty() {
                break;
            }
            match answer.parse::<Name>() {
                Ok(name) if tokens.iter().any(|(other, _)| *other == name) => {
                    ui.must(format!("{name} is taken."))
                }
                Ok(name) => {
                    tokens.push((name, token.clone()));
                    break;
                }
                Err(error) => ui.must(format!("{error}.")),
            }
        }
    }
    if tokens.is_empty() {
        return Err(Failure::new(Kind::NotFound, format!("No token was named. {UNCHANGED}")));
    }
    Ok(tokens)
}

fn ask_policy(ui: Ui, names: &[Name], args: &InitArgs) -> Result<Policy> {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let default = names.join(" or ");
    let text = if args.enrol.yes || !ui.interactive() {
        default
    } else {
        let answer = ui.ask(&format!("Policy [{default}]:"), "--policy")?;
        if answer.is_empty() { default } else { answer }
    };
    text.parse()
        .map_err(|error| custody_failure("The policy", NO_VAULT, keyward_custody::Error::Policy(error)))
}

/// What each loss leaves: `lost alice   opens with bob`.
fn what_if(ui: Ui, policy: &Policy) {
    let sets = policy.minimal_sets();
    for lost in policy.names() {
        let paths: Vec<String> = sets
            .iter()
            .filter(|set| !set.contains(lost))
            .map(|set| set.iter().map(Name::as_str).collect::<Vec<_>>().join(" and "))
            .collect();
        match paths.as_slice() {
            [] => ui.say(format!("  lost {lost:<12} nothing opens any more")),
            paths => ui.say(format!("  lost {lost:<12} opens with {}", ui::list(paths, "or"))),
        }
    }
}

/// Each token opens a message that was sealed to it.
fn prove(
    ui: Ui,
    state: &State,
    statement: &Statement,
    fresh: &[Fresh],
    pins: &Pins,
    suite: keyward_age::Suite,
) -> Result<()> {
    for token in fresh {
        let recipient = token.archive_recipient(suite)?;
        let holder = Holder {
            name: token.name.clone(),
            serial: Some(token.enrolled.serial),
            emulated: token.enrolled.verdict == keyward_token::Verdict::Emulated,
            card_proof: token.enrolled.card_proof,
            archive: recipient.clone(),
            seed_object: token.enrolled.seed_object,
        };
        let holders = Holders {
            vault_id: statement.vault_id().to_string(),
            vault_name: statement.name().to_string(),
            test: statement.is_test(),
            tokens: vec![holder],
        };
        proving::round_trip(ui, state, &holders, pins, &recipient)?;
        ui.say(format!("  ✓ {} opened a test message", token.name));
    }
    Ok(())
}

fn sign(
    ui: Ui,
    statement: &Statement,
    names: &[Name],
    fresh: &[Fresh],
) -> Result<Vec<(Name, keyward_custody::Signature)>> {
    let mut signatures = Vec::new();
    for (name, token) in names.iter().zip(fresh) {
        let label = token.label();
        let key = statement.admins().get(name).ok_or_else(|| {
            Failure::new(Kind::Other, format!("{name} is no admin of the statement. {NO_VAULT}"))
        })?;
        let signer = Signer {
            name: name.as_str(),
            label: &label,
            reader: &token.reader,
            card_proof: token.enrolled.card_proof,
            slot: token.enrolled.signing.0,
            key: *key,
        };
        signatures.push((name.clone(), signing::sign(ui, &signer, &token.pin, statement, NO_VAULT)?));
        ui.say(format!("  ✓ {name} signed"));
    }
    Ok(signatures)
}

fn finish(
    ui: Ui,
    state: &State,
    folder: &std::path::Path,
    statement: &Statement,
    signatures: &[(Name, keyward_custody::Signature)],
    allow_emulated: bool,
) -> Result<()> {
    // The same checks as a reader's, on the same bytes, before they are written.
    let mut files = VaultFiles::new();
    let generation = statement.generation();
    files.insert(VaultFile::Statement(generation), statement.bytes().to_vec());
    for (name, signature) in signatures {
        files.insert(VaultFile::Signature(generation, name.clone()), signature.to_armored().into_bytes());
    }
    let unpinned = Unpinned::read(&files).map_err(|error| custody_failure("The vault", NO_VAULT, error))?;
    let words = unpinned.fingerprint().words();
    vault_folder::write_generation(folder, statement, signatures)?;
    vault_folder::trust(state, folder, unpinned, &Confirmation::MadeHere, allow_emulated)?;
    let suite = match statement.suite() {
        keyward_age::Suite::Hybrid => "hybrid (post-quantum)",
        keyward_age::Suite::Classic => "classic",
    };
    let test = if statement.is_test() { ", a test vault" } else { "" };
    ui.say(format!("Vault `{}` is ready: generation {generation}, {suite}{test}.", statement.name()));
    ui.say("Compare these words on every machine that uses it:");
    ui.say(format!("  {words}"));
    ui.say("Next: keyward seal FOLDER -o NAME.age");
    Ok(())
}
