//! An admin's signature on a statement, by PIN and touch.
//!
//! The card proves itself first, as for opening. The statement that is signed is known in full before; nothing
//! here decides what it says.

use keyward_custody::{Namespace, PublicKey, Signature, Statement};
use keyward_token::{Card, Pin, Point, Slot};
use secrecy::{ExposeSecret, SecretString};

use crate::report::{Failure, Kind, Result, custody_failure, token_failure};
use crate::ui::Ui;

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
    /// The key that the statement gives this admin.
    pub key: PublicKey,
}

/// Signs a statement; one touch.
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
    ui.must(format!(
        "Touch {} to sign generation {} of vault `{}` …",
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
