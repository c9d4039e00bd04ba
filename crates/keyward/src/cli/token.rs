//! The command line of tokens: what can be called and told about enrolling, showing and proving one.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use keyward_token::Slot;

use super::{JsonArgs, SuiteArg, TouchArg};
use crate::which::Which;

/// What enrolling a token may be told.
#[derive(Debug, Clone, Args)]
pub struct EnrolArgs {
    /// Do not ask; what needs an answer is then refused.
    #[arg(long)]
    pub yes: bool,
    /// Replace keys and certificates that occupy the slots Keyward needs. They are lost.
    #[arg(long)]
    pub overwrite: bool,
    /// Write each new PUK as a line `SERIAL PUK` into this new file (0600) instead of showing it.
    #[arg(long, value_name = "FILE")]
    pub puk_file: Option<PathBuf>,
    /// Write each management key as a line `SERIAL HEX` into this new file (0600) instead of keeping it on the
    /// token behind the PIN.
    #[arg(long, value_name = "FILE")]
    pub management_key_file: Option<PathBuf>,
    /// When the archive and custody keys ask for a touch.
    #[arg(long, value_enum, default_value_t = TouchArg::Always)]
    pub touch_policy: TouchArg,
    /// The file with the management key that the token has now, in hexadecimal. A card that is no YubiKey needs it, or
    /// --default-management-key; a YubiKey only where it cannot tell its own.
    #[arg(long, value_name = "FILE")]
    pub management_key: Option<PathBuf>,
    /// The management key of a card that is no YubiKey is still the well-known one.
    #[arg(long, conflicts_with = "management_key")]
    pub default_management_key: bool,
    /// The file with the PIN that the token has now, to be changed into the new one. Without it a card that is no
    /// YubiKey keeps the PIN it is given.
    #[arg(long, value_name = "FILE")]
    pub present_pin: Option<PathBuf>,
    /// Set the retry counters of PIN and PUK first; this resets both to the factory's values.
    #[arg(long, value_name = "PIN,PUK", value_parser = parse_retries)]
    pub pin_retries: Option<(u8, u8)>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// List the tokens that are plugged in.
    List(JsonArgs),
    /// Show one token: its keys, policies, attestation and the tries that are left.
    Show(TokenArgs),
    /// Enrol a token without a vault; `init` does this by itself.
    Enroll(EnrollArgs),
    /// Take over the key in a slot as the archive key, without moving or replacing it: age-plugin-yubikey's, or an
    /// issuer's. The other keys are made in free slots beside it.
    Adopt(TokenAdoptArgs),
    /// Prove a token: card proof, PIN, touch and a round trip with its archive key.
    Check(TokenArgs),
}

#[derive(Debug, Args)]
pub struct EnrollArgs {
    /// The token: a YubiKey's serial number, `card` or a reader's name; may be left out when one token is plugged in.
    #[arg(value_name = "SERIAL|card|READER")]
    pub token: Option<Which>,
    #[command(flatten)]
    pub with: EnrollWith,
}

#[derive(Debug, Args)]
pub struct TokenAdoptArgs {
    /// The slot of the P-256 key: 82 to 95, or 9d.
    #[arg(value_name = "SLOT")]
    pub slot: Slot,
    /// The token: a YubiKey's serial number, `card` or a reader's name; may be left out when one token is plugged in.
    #[arg(value_name = "SERIAL|card|READER")]
    pub token: Option<Which>,
    #[command(flatten)]
    pub with: EnrollWith,
}

/// What `token enroll` and `token adopt` may be told.
#[derive(Debug, Args)]
pub struct EnrollWith {
    /// The holder's name, written into the certificates.
    #[arg(long)]
    pub name: String,
    /// The suite of the vault that the token is for.
    #[arg(long, value_enum, default_value_t = SuiteArg::Hybrid)]
    pub suite: SuiteArg,
    /// Enrol an emulated token; KEYWARD_PIN is then read.
    #[arg(long)]
    pub allow_emulated: bool,
    #[command(flatten)]
    pub enrol: EnrolArgs,
}

#[derive(Debug, Args)]
pub struct TokenArgs {
    /// The token's serial number, its holder's name, `card` or a reader's name; may be left out when one token is plugged
    /// in.
    #[arg(value_name = "SERIAL|NAME|card|READER")]
    pub token: Option<String>,
    #[command(flatten)]
    pub json: JsonArgs,
}

fn parse_retries(text: &str) -> Result<(u8, u8), String> {
    let wrong = || format!("`{text}` is not two counts from 1 to 255, for example 5,3");
    let (pin, puk) = text.split_once(',').ok_or_else(wrong)?;
    match (pin.trim().parse(), puk.trim().parse()) {
        (Ok(pin @ 1..), Ok(puk @ 1..)) => Ok((pin, puk)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries() {
        assert_eq!(parse_retries("5,3"), Ok((5, 3)));
        assert!(parse_retries("0,3").is_err());
    }
}
