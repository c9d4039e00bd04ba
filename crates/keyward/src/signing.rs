//! Admins' signatures on a statement: of tokens by PIN and touch, of papers from their words; as many as it needs.
//!
//! The card proves itself first, as for opening. The statement that is signed is known in full before, and shown as
//! a difference; nothing here decides what it says.

use std::path::Path;

use keyward_custody::{Name, Namespace, Pending, PublicKey, Signature, Statement};
use keyward_token::{Card, Pin, Point, Slot};
use secrecy::{ExposeSecret, SecretString};

use crate::generations::{self, Beside};
use crate::pin::Pins;
use crate::present::Company;
use crate::report::{Failure, Kind, Result, custody_failure, token_failure};
use crate::state::State;
use crate::ui::{self, Ui};
use crate::unlock::{label, present_tokens};
use crate::vault_folder::{self, Trusted};

/// The draft is stored; nothing is in force yet.
const WAITS: &str = "The generation before stays in force.";

/// An admin's token that is here.
#[derive(Debug)]
pub struct Signer<'a> {
    pub name: &'a str,
    /// The token in a sentence.
    pub label: &'a str,
    pub reader: &'a str,
    /// The public key in 9E; none for a card that cannot prove itself.
    pub card_proof: Option<Point>,
    pub slot: Slot,
    /// Whether the key waits for a touch: a YubiKey's does, another card knows none.
    pub touch: bool,
    /// The key that the statement gives this admin.
    pub key: PublicKey,
}

/// Signs a statement with a token; one touch.
///
/// # Errors
/// Those of the token; a signature that is not the key's.
pub fn sign(
    ui: Ui,
    signer: &Signer<'_>,
    pin: &SecretString,
    statement: &Statement,
    safe: &str,
) -> Result<Signature> {
    let fail = |error| token_failure(signer.label, safe, error);
    let pin = Pin::new(pin.expose_secret().as_bytes()).map_err(fail)?;
    let vault_id = statement.vault_id().to_string();
    let mut card = Card::open(signer.reader).map_err(fail)?;
    let piv = card.begin().and_then(|session| session.select_piv()).map_err(fail)?;
    let piv = match signer.card_proof {
        Some(point) => piv.card_proof(&vault_id, &[point]).map_err(fail)?,
        None => piv.accept_card_without_proof(),
    };
    let mut piv = piv.verify(&pin).map_err(fail)?;
    let touch = if signer.touch { "Touch" } else { "Using" };
    ui.must(format!(
        "{touch} {} to sign generation {} of vault `{}` …",
        signer.name,
        statement.generation(),
        statement.name()
    ));
    let der = piv.sign(signer.slot, &statement.signing_digest()).map_err(fail)?;
    let signature = Signature::from_ecdsa_der(&signer.key, Namespace::Vault, &der)
        .map_err(|error| custody_failure(signer.label, safe, error))?;
    // A card that signed something else would make a generation that nobody accepts.
    signature.verify(Namespace::Vault, statement.bytes(), &signer.key).map_err(|error| {
        Failure::new(
            Kind::NotVerified,
            format!("{}: its signature does not verify: {error}. {safe}", signer.label),
        )
    })?;
    Ok(signature)
}

/// What a change of the vault is carried out with.
#[derive(Debug)]
pub struct Admins<'a> {
    pub ui: Ui,
    pub state: &'a State,
    /// The vault's folder.
    pub folder: &'a Path,
    pub vault: &'a Trusted,
    pub pins: &'a Pins,
    pub company: &'a Company,
}

impl Admins<'_> {
    /// Stores a draft, collects signatures from who is here, and puts it in force when they suffice.
    ///
    /// # Errors
    /// Signatures that are missing (8): the draft then waits. Those of the tokens and the file system.
    pub fn carry_out(&self, mut pending: Pending, beside: &[Beside]) -> Result<()> {
        generations::store_draft(self.folder, &pending, beside)?;
        self.papers(&mut pending)?;
        self.tokens(&mut pending)?;
        generations::store_signatures(self.folder, &pending)?;
        if !pending.is_complete().map_err(generations::draft_failure)? {
            return Err(waits(&pending)?);
        }
        generations::commit(self.folder, &pending)?;
        // The same checks as any reader's, on the same files; and the pin moves on.
        let vault = vault_folder::open_trusted(self.ui, self.state, Some(self.folder))?;
        self.ui.say(format!("Generation {} of vault `{}` is in force.", vault.generation(), vault.name()));
        Ok(())
    }

    fn papers(&self, pending: &mut Pending) -> Result<()> {
        for present in &self.company.present {
            let wanted = pending.wanted().map_err(generations::draft_failure)?;
            let (Some(paper), Some(key)) = (&present.paper, wanted.get(&present.name)) else { continue };
            let fail = |error| custody_failure(present.name.as_str(), WAITS, error);
            if paper.signing_key().map_err(fail)? != *key {
                continue;
            }
            let signature = paper.sign(Namespace::Vault, pending.statement().bytes()).map_err(fail)?;
            pending.add_signature(&present.name, &signature).map_err(fail)?;
            self.ui.say(format!("  ✓ {} (paper) signed", present.name));
        }
        Ok(())
    }

    fn tokens(&self, pending: &mut Pending) -> Result<()> {
        if pending.is_complete().map_err(generations::draft_failure)? {
            return Ok(());
        }
        for (holder, reader) in present_tokens(&self.vault.holders()?) {
            let wanted = pending.wanted().map_err(generations::draft_failure)?;
            let Ok(name) = holder.name.parse::<Name>() else { continue };
            let Some(key) = wanted.get(&name) else { continue };
            let Some(token) = self.vault.verified().holders().get(&name).and_then(|holder| holder.token())
            else {
                continue;
            };
            let label = label(&holder.name, holder.serial, holder.emulated);
            let slot = Slot::new(token.signing.slot.0).ok_or_else(|| {
                Failure::new(
                    Kind::NotVerified,
                    format!("{label}: slot {} is none. {WAITS}", token.signing.slot),
                )
            })?;
            let signer = Signer {
                name: name.as_str(),
                label: &label,
                reader: &reader,
                card_proof: holder.card_proof,
                slot,
                touch: holder.serial.is_some(),
                key: *key,
            };
            let pin = self.pins.pin(self.ui, holder.serial, &label)?;
            let signature = sign(self.ui, &signer, &pin, pending.statement(), WAITS)?;
            pending.add_signature(&name, &signature).map_err(generations::draft_failure)?;
            self.ui.say(format!("  ✓ {name} signed"));
        }
        Ok(())
    }
}

/// Words for a draft that lacks signatures.
fn waits(pending: &Pending) -> Result<Failure> {
    let mut failure = Failure::new(
        Kind::NotHolder,
        format!("Generation {} waits for signatures. {WAITS}", pending.statement().generation()),
    );
    for quorum in pending.quorums().map_err(generations::draft_failure)? {
        if quorum.missing() > 0 {
            let open: Vec<String> = quorum.open.keys().map(ToString::to_string).collect();
            failure = failure.fact(format!(
                "{} of {}: still {} of {}.",
                ui::count(u64::from(quorum.needed), "signature", "signatures"),
                quorum.of,
                quorum.missing(),
                ui::list(&open, "or")
            ));
        }
    }
    Ok(failure.hint("Another admin runs keyward vault sign, or run this again with --with NAME=FILE."))
}
