//! `keyward init`: enrol the first tokens, set the policy, sign generation 1. Guided on a terminal; by flags alone
//! elsewhere.

use std::path::{Path, PathBuf};

use keyward_custody::{
    Confirmation, Draft, KeyFile, Name, Namespace, Pending, Policy, Requirements, Statement, Unpinned,
    VaultFile, VaultFiles, VaultId, Words,
};
use keyward_token::Found;
use secrecy::{ExposeSecret, SecretString};

use crate::card_secrets;
use crate::cli::InitArgs;
use crate::enrolling::{self, Enrolling, Fresh, SecretFiles};
use crate::generations::{self, Beside};
use crate::papers::{self, Written};
use crate::pin::Pins;
use crate::present::With;
use crate::proving;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::signing::{self, Signer};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{Holder, Holders};
use crate::{sealing_host, vault_folder, which};

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
    papers: Vec<(With, Option<Written>)>,
    vault_id: VaultId,
}

/// Makes a vault.
///
/// # Errors
/// A folder that is taken; tokens that are absent, occupied or emulated; a policy that loses data with one token.
pub fn run(ui: Ui, vault: Option<PathBuf>, args: InitArgs) -> Result<()> {
    let state = State::find()?;
    ui.say("Keyward makes a vault: who holds your keys, signed by your tokens.");
    let folder = match args.folder.clone().or(vault) {
        Some(folder) => folder,
        None => PathBuf::from(ui.ask("Folder for the vault:", "the argument VAULT or --vault")?),
    };
    if resume(ui, &state, &folder, args.allow_emulated)? {
        return Ok(());
    }
    let host = sealing_host::name(args.sealer.as_deref())?;
    let plan = plan(ui, folder, &args)?;
    let suite = enrolling::suite(args.suite);
    let pins = Pins::find(args.allow_emulated)?;
    let mut secrets = SecretFiles::create(&args.enrol)?;

    ui.say("1 of 4  Tokens");
    let mut fresh = Vec::new();
    for (name, found) in &plan.tokens {
        ui.say(format!("  {name}"));
        let enrolling = Enrolling { name: name.as_str(), reader: &found.reader, suite, adopt: None };
        fresh.push(enrolling::enrol(ui, &pins, enrolling, &args.enrol, &mut secrets)?);
    }
    let names: Vec<Name> = plan.tokens.iter().map(|(name, _)| name.clone()).collect();
    let vault_id = plan.vault_id;
    ui.say("2 of 4  Paper, for the day no token is left");
    let of = papers::Of { vault_name: &plan.name, vault_id, suite, signs: true };
    let mut made = Vec::new();
    let paper_names: Vec<Name> = plan.papers.iter().map(|(with, _)| with.name.clone()).collect();
    for (with, written) in plan.papers {
        match written {
            Some(written) => {
                ui.say(format!("  ✓ {}: the words that an interrupted run wrote", with.name));
                made.push(papers::Made { name: with.name, paper: written.sheet.paper });
            }
            None => made.push(papers::make(ui, &with, of)?),
        }
    }
    if made.is_empty() {
        ui.say("  none");
    }
    let policy = match plan.policy {
        Some(policy) => policy,
        None => ask_policy(ui, &names, &paper_names, &args)?,
    };
    ui.say(format!("3 of 4  Policy   {policy}"));
    what_if(ui, &policy);

    let mut draft =
        Draft::first(vault_id, plan.name, suite, args.allow_emulated, policy, vault_folder::now()?);
    draft.require = plan.require;
    draft.no_recovery = args.no_recovery;
    for (name, fresh) in names.iter().zip(&fresh) {
        draft.add_token(name.clone(), fresh.statement_token(suite)?);
    }
    let fail = |error| custody_failure("The statement", NO_VAULT, error);
    for made in &made {
        let holder = made.paper.holder(suite, true).map_err(fail)?;
        draft.add_holder(made.name.clone(), holder, true).map_err(fail)?;
    }
    let key = state.make_sealer_key(vault_id, host.as_str())?;
    draft.add_sealer(host.clone(), key.public(), None).map_err(fail)?;
    let epoch = draft.new_epoch().map_err(fail)?;
    let statement = draft.build().map_err(fail)?;

    let known: Vec<(String, SecretString)> = fresh
        .iter()
        .map(|token| (token.label(), SecretString::from(token.pin.expose_secret().to_owned())))
        .collect();
    let known = Pins::known(known);
    prove(ui, &state, &statement, &fresh, &known, suite)?;

    ui.say("4 of 4  Sign");
    let mut pending = Pending::first(statement).map_err(fail)?;
    sign(ui, &mut pending, &names, &fresh)?;
    for made in &made {
        let signature = made.paper.sign(Namespace::Vault, pending.statement().bytes()).map_err(fail)?;
        pending.add_signature(&made.name, &signature).map_err(fail)?;
        ui.say(format!("  ✓ {} (paper) signed", made.name));
    }
    finish(ui, &state, &plan.folder, &pending, &epoch, args.allow_emulated)
}

/// Finishes a vault whose writing was interrupted on this host after its commit. Says whether there was one.
///
/// # Errors
/// Refused where the folder holds anything else.
fn resume(ui: Ui, state: &State, folder: &Path, allow_emulated: bool) -> Result<bool> {
    let finished = generations::finish_interrupted(folder)?;
    if !folder.join("statements").join("0001.json").exists() {
        vault_folder::check_free(folder)?;
        return Ok(false);
    }
    let unpinned = vault_folder::open_unpinned(folder)?;
    let statement = unpinned.statement();
    let (id, digest) = (statement.vault_id().to_string(), statement.digest().to_string());
    if finished.is_empty() && !state.was_making(&id, &digest) {
        vault_folder::check_free(folder)?;
    }
    if !state.was_making(&id, &digest) {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "The vault in {} was interrupted while another machine wrote it; it is complete now.",
                folder.display()
            ),
        )
        .hint("Trust it on this machine with keyward vault trust."));
    }
    let statement = statement.clone();
    let words = unpinned.fingerprint().words();
    vault_folder::trust(state, folder, unpinned, &Confirmation::MadeHere, allow_emulated)?;
    state.forget_made(&id);
    ready(ui, &statement, words);
    Ok(true)
}

/// Everything that can be refused before a token is touched.
fn plan(ui: Ui, folder: PathBuf, args: &InitArgs) -> Result<Plan> {
    let name = vault_name(ui, &folder, args)?;
    let parse = |what: &str, error| custody_failure(what, UNCHANGED, error);
    let policy: Option<Policy> = args
        .policy
        .as_deref()
        .map(|text| text.parse().map_err(|error| parse("--policy", keyward_custody::Error::Policy(error))))
        .transpose()?;
    if let Some(policy) = &policy
        && !args.no_recovery
        && let Some(holder) = policy.indispensable().into_iter().next()
    {
        let error = keyward_custody::Error::SingleHolder { holder, policy: policy.to_string() };
        return Err(parse("--policy", error));
    }
    let require: Requirements =
        args.require.as_deref().unwrap_or_default().parse().map_err(|error| parse("--require", error))?;
    let found = which::plugged_in()?;
    let tokens = if args.tokens.is_empty() {
        ask_tokens(ui, &found)?
    } else {
        let mut tokens = Vec::new();
        for (name, token) in &args.tokens {
            let name: Name = name.parse().map_err(|error| parse("--token", error))?;
            let found = token.find(&found)?;
            if tokens
                .iter()
                .any(|(other, token): &(Name, Found)| *other == name || token.reader == found.reader)
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("--token {name}={token}: name or token stands twice. {UNCHANGED}"),
                ));
            }
            tokens.push((name, found.clone()));
        }
        tokens
    };
    for (name, _) in tokens.iter().filter(|(_, token)| token.serial.is_none()) {
        card_secrets::refuse_unfit(name, &require)?;
    }
    let papers = plan_papers(ui, &tokens, args)?;
    let vault_id = planned_id(ui, &papers)?;
    if let Some(policy) = &policy {
        let named = policy.names();
        let is_here = |name: &Name| {
            tokens.iter().any(|(token, _)| token == name)
                || papers.iter().any(|(paper, _)| paper.name == *name)
        };
        if let Some(stranger) = named.iter().find(|name| !is_here(name)) {
            return Err(parse("--policy", keyward_custody::Error::NotAHolder { name: (*stranger).clone() }));
        }
        let all = tokens.iter().map(|(name, _)| name).chain(papers.iter().map(|(paper, _)| &paper.name));
        if let Some(name) = all.into_iter().find(|name| !named.contains(name)) {
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
    if tokens.len() == 1 && papers.is_empty() && !args.no_recovery && policy.is_none() {
        return Err(Failure::new(
            Kind::Refused,
            format!("One token alone: losing it loses the data. {UNCHANGED}"),
        )
        .hint("Plug in a second token, or accept the loss with --no-recovery."));
    }
    Ok(Plan { folder, name, policy, require, tokens, papers, vault_id })
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
        let what = which::describe(token);
        let firmware = token.firmware.map_or_else(String::new, |firmware| format!(", firmware {firmware}"));
        loop {
            let question = format!("Name for {what}{firmware} (empty to leave it out):");
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

/// The vault's id: a new one, or the one for which an interrupted run has written papers.
fn planned_id(ui: Ui, papers: &[(With, Option<Written>)]) -> Result<VaultId> {
    let mut written = papers.iter().filter_map(|(_, written)| written.as_ref());
    let Some(first) = written.next() else {
        return VaultId::random().map_err(|error| custody_failure("The vault", UNCHANGED, error));
    };
    if written.any(|other| other.vault != first.vault) {
        return Err(Failure::new(
            Kind::Refused,
            format!("The papers that exist already are of different vaults. {UNCHANGED}"),
        )
        .hint("Name new files for them."));
    }
    let state = State::find()?;
    if state.pin(&first.vault.to_string())?.is_some() {
        return Err(Failure::new(
            Kind::Refused,
            format!("The papers that exist already are another vault's. {UNCHANGED}"),
        )
        .hint("Name new files for them."));
    }
    ui.say("Papers of an interrupted run are here; it goes on with them.");
    Ok(first.vault)
}

/// The papers to make: those of the options, else those that a person names.
fn plan_papers(ui: Ui, tokens: &[(Name, Found)], args: &InitArgs) -> Result<Vec<(With, Option<Written>)>> {
    let taken = |papers: &[(With, Option<Written>)], name: &Name| {
        tokens.iter().any(|(token, _)| token == name) || papers.iter().any(|(paper, _)| paper.name == *name)
    };
    let mut papers: Vec<(With, Option<Written>)> = Vec::new();
    for paper in &args.papers {
        if taken(&papers, &paper.name) {
            return Err(Failure::new(
                Kind::Usage,
                format!("--paper {}: the name stands twice. {UNCHANGED}", paper.name),
            ));
        }
        let there =
            paper.file.as_deref().filter(|file| file.symlink_metadata().is_ok_and(|meta| meta.len() > 0));
        let written = there
            .map(|file| papers::written(ui, &paper.name, file, enrolling::suite(args.suite)))
            .transpose()?;
        papers.push((paper.clone(), written));
    }
    if !args.papers.is_empty() || !args.tokens.is_empty() || args.enrol.yes || !ui.interactive() {
        return Ok(papers);
    }
    loop {
        let answer =
            ui.ask("Name for a paper, for the day no token is left (empty for none):", "--paper NAME=FILE")?;
        if answer.is_empty() {
            return Ok(papers);
        }
        match answer.parse::<Name>() {
            Ok(name) if taken(&papers, &name) => ui.must(format!("{name} is taken.")),
            Ok(name) => papers.push((With { name, file: None }, None)),
            Err(error) => ui.must(format!("{error}.")),
        }
    }
}

fn ask_policy(ui: Ui, names: &[Name], papers: &[Name], args: &InitArgs) -> Result<Policy> {
    let names: Vec<&str> = names.iter().map(Name::as_str).collect();
    let mut default = names.join(" or ");
    let papers: Vec<&str> = papers.iter().map(Name::as_str).collect();
    match papers.as_slice() {
        [] => {}
        [one] => default = format!("{default} or {one}"),
        papers => default = format!("{default} or ({})", papers.join(" and ")),
    }
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
            serial: token.enrolled.serial,
            emulated: token.enrolled.verdict == keyward_token::Verdict::Emulated,
            card_proof: token.enrolled.card_proof,
            archive: recipient.clone(),
            archive_slot: token.enrolled.archive_slot,
            custody: recipient.clone(),
            custody_slot: token.enrolled.custody_slot,
            seed_object: token.enrolled.seed_object,
            archive_touch: token.enrolled.touch_policy != keyward_token::TouchPolicy::Never,
        };
        let holders = Holders {
            vault_id: statement.vault_id().to_string(),
            vault_name: statement.name().to_string(),
            test: statement.is_test(),
            tokens: vec![holder],
            together: Vec::new(),
        };
        proving::round_trip(ui, state, &holders, pins, &recipient)?;
        ui.say(format!("  ✓ {} opened a test message", token.name));
    }
    Ok(())
}

fn sign(ui: Ui, pending: &mut Pending, names: &[Name], fresh: &[Fresh]) -> Result<()> {
    for (name, token) in names.iter().zip(fresh) {
        let label = token.label();
        let key = pending.statement().admins().get(name).copied().ok_or_else(|| {
            Failure::new(Kind::Other, format!("{name} is no admin of the statement. {NO_VAULT}"))
        })?;
        let signer = Signer {
            name: name.as_str(),
            label: &label,
            reader: &token.reader,
            card_proof: token.enrolled.card_proof,
            slot: token.enrolled.signing.0,
            touch: token.enrolled.serial.is_some(),
            key,
        };
        let signature = signing::sign(ui, &signer, &token.pin, pending.statement(), NO_VAULT)?;
        pending.add_signature(name, &signature).map_err(|error| custody_failure(&label, NO_VAULT, error))?;
        ui.say(format!("  ✓ {name} signed"));
    }
    Ok(())
}

fn finish(
    ui: Ui,
    state: &State,
    folder: &Path,
    pending: &Pending,
    epoch: &KeyFile,
    allow_emulated: bool,
) -> Result<()> {
    // The same checks as a reader's, on the same bytes, before they are written.
    let mut files = VaultFiles::new();
    let statement = pending.statement();
    let generation = statement.generation();
    files.insert(VaultFile::Statement(generation), statement.bytes().to_vec());
    for (name, signature) in pending.signatures() {
        files.insert(VaultFile::Signature(generation, name.clone()), signature.to_vec());
    }
    let unpinned = Unpinned::read(&files).map_err(|error| custody_failure("The vault", NO_VAULT, error))?;
    let words = unpinned.fingerprint().words();
    let beside = Beside { folder: "keys", name: epoch.file_name(), bytes: epoch.bytes().to_vec() };
    let id = statement.vault_id().to_string();
    state.note_made(&id, &statement.digest().to_string())?;
    generations::store_draft(folder, pending, &[beside])?;
    generations::commit(folder, pending)?;
    vault_folder::trust(state, folder, unpinned, &Confirmation::MadeHere, allow_emulated)?;
    state.forget_made(&id);
    ready(ui, statement, words);
    Ok(())
}

/// What a person is told of a vault that was made.
fn ready(ui: Ui, statement: &Statement, words: Words) {
    let generation = statement.generation();
    let suite = match statement.suite() {
        keyward_age::Suite::Hybrid => "hybrid (post-quantum)",
        keyward_age::Suite::Classic => "classic",
    };
    let test = if statement.is_test() { ", a test vault" } else { "" };
    ui.say(format!(
        "Vault `{}` is ready: generation {generation}, epoch 1, {suite}{test}.",
        statement.name()
    ));
    if statement.policy().direct_holders().is_empty() {
        ui.say("Nobody opens alone: each opening exposes the epoch, so end a recovery with a new one.");
    }
    ui.say("Compare these words on every machine that uses it:");
    ui.say(format!("  {words}"));
    ui.say("Next: keyward seal FOLDER -o NAME.age");
}
