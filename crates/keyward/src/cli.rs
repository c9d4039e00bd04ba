//! The command line: every command, option and help text, and nothing that acts.
//!
//! Options that a script needs have long names; nothing secret is ever an argument. The variables named here
//! are read by `clap` for the vault alone; all others are read in `env.rs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::present::With;
use crate::which::Which;

mod origin;
mod token;

pub use origin::{
    AdoptArgs, ReceiptCommand, RetireArgs, SealerAddArgs, SealerCommand, SealerListArgs, SealerRemoveArgs,
    VerifyArgs,
};
pub use token::{EnrolArgs, EnrollWith, TokenArgs, TokenCommand};

/// Key custody with PIV smartcards and YubiKeys.
#[derive(Debug, Parser)]
#[command(
    name = "keyward",
    version,
    about = "Keeps the keys that open your cloud data on hardware tokens that you hold.",
    after_help = "Exit codes: 0 done · 1 other · 2 usage · 3 nothing found · 4 PIN · 5 touch · 6 token removed or busy\n\
                  7 not verified · 8 not a holder · 9 refused for safety · 10 files or store · 130 interrupted",
    max_term_width = 100
)]
pub struct Cli {
    /// The vault's folder.
    #[arg(long, global = true, env = "KEYWARD_VAULT", hide_env_values = true, value_name = "VAULT")]
    pub vault: Option<PathBuf>,
    /// Say nothing on the terminal but errors and what a person must do.
    #[arg(long, short, global = true)]
    pub quiet: bool,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a vault: enrol tokens, set the policy, sign the first statement.
    Init(InitArgs),
    /// Find, enrol and test tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Seal files or folders for the vault's holders; needs no token.
    Seal(SealArgs),
    /// Open an archive by PIN and touch.
    Open(OpenArgs),
    /// List what is in an archive, by PIN and touch.
    Ls(LsArgs),
    /// Write one file out of an archive to standard output, by PIN and touch.
    Cat(CatArgs),
    /// Show, trust and check the vault.
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Epochs: periods with one identity each, kept under the policy.
    #[command(subcommand)]
    Epoch(EpochCommand),
    /// Who holds: add, list and remove holders.
    #[command(subcommand)]
    Holder(HolderCommand),
    /// Keys kept under the policy.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Take a holder out of all that comes: new policy, new epoch; needs public keys and signatures only.
    Revoke(RevokeArgs),
    /// Walk through what still opens after a loss, and open an epoch with who is here.
    Recover(RecoverArgs),
    /// Seal an archive anew: another file key, for the holders and the epoch of today.
    Reseal(ResealArgs),
    /// Check archives and their receipts: forged, missing, reordered or rolled back, each by name.
    Verify(VerifyArgs),
    /// Hosts whose archives get receipts: certify, list and remove them.
    #[command(subcommand)]
    Sealer(SealerCommand),
    /// Receipts: adopt archives that have none, and say which may be deleted.
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Look at this machine: the smart card service, readers, tokens, vault and pins.
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder for the new vault; the same as --vault.
    #[arg(value_name = "VAULT")]
    pub folder: Option<PathBuf>,
    /// The vault's name; else its folder's.
    #[arg(long)]
    pub name: Option<String>,
    /// A token to enrol, with its holder's name; may be given several times.
    /// A YubiKey by its serial number, another PIV card as `card` or by its reader.
    #[arg(long = "token", value_name = "NAME=SERIAL|card|READER", value_parser = parse_name_token)]
    pub tokens: Vec<(String, Which)>,
    /// A paper to make, with its holder's name: 24 words, written into this new file (0600) or, without FILE, shown
    /// once; may be given several times.
    #[arg(long = "paper", value_name = "NAME[=FILE]")]
    pub papers: Vec<With>,
    /// Who opens: for example 'alice or bob or (carol and dave)'. Else every token alone, or all papers together.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// Post-quantum hybrid keys, or classic ones for age before 1.3.
    #[arg(long, value_enum, default_value_t = SuiteArg::Hybrid)]
    pub suite: SuiteArg,
    /// What each token must prove: for example 'touch = always, firmware >= 5.7'.
    #[arg(long, value_name = "RULES")]
    pub require: Option<String>,
    /// Make a test vault: emulated tokens may hold it, and KEYWARD_PIN is read.
    #[arg(long)]
    pub allow_emulated: bool,
    /// Accept a policy with a single holder, whose loss loses the data.
    #[arg(long)]
    pub no_recovery: bool,
    /// The name of this host in receipts; else its own.
    #[arg(long, value_name = "NAME")]
    pub sealer: Option<String>,
    #[command(flatten)]
    pub enrol: EnrolArgs,
}

#[derive(Debug, Args)]
pub struct JsonArgs {
    /// Print JSON for a script.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SealArgs {
    /// Files or folders to seal; `-` is standard input.
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Where the archive goes: a path, s3://BUCKET/KEY, az://CONTAINER/KEY or gs://BUCKET/KEY. It appears there only
    /// when it is complete.
    #[arg(short, long, value_name = "DEST")]
    pub output: PathBuf,
    /// Replace what stands at DEST.
    #[arg(long)]
    pub force: bool,
    /// Keep the sealed bytes until they are in the store, and go on with the upload that a killed run of the same
    /// command left.
    #[arg(long)]
    pub resume: bool,
    /// Keep them in this folder; else beside this host's state.
    #[arg(long, value_name = "DIR", requires = "resume")]
    pub spool: Option<PathBuf>,
    /// The zstd level of a folder.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,
    #[command(flatten)]
    pub tree: TreeArgs,
    /// Give the archive a key of its own instead of the epoch's, kept under the policy in a file beside the archive: opening
    /// it exposes no other archive. For vaults whose holders open only together.
    #[arg(long)]
    pub own_key: bool,
    /// The series that the archive's receipt is numbered in; else the first source's name.
    #[arg(long, value_name = "NAME")]
    pub series: Option<String>,
    /// Print a JSON report on standard output.
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct TreeArgs {
    /// Leave out what matches, as gitignore's patterns do, relative to each SRC; `!PATTERN` keeps it.
    #[arg(long, value_name = "PATTERN")]
    pub exclude: Vec<String>,
    /// Leave out what matches the patterns in this file, one a line; those of --exclude come after them.
    #[arg(long, value_name = "FILE")]
    pub exclude_from: Vec<PathBuf>,
    /// Leave out what the `.keywardignore`, `.ignore` and `.gitignore` files in the folders name.
    #[arg(long)]
    pub ignore_files: bool,
    /// Leave out what is in folders with a valid `CACHEDIR.TAG`, but for that file.
    #[arg(long)]
    pub exclude_caches: bool,
    /// Leave out what is in folders on another file system than SRC.
    #[arg(short = 'x', long)]
    pub one_file_system: bool,
    /// Seal extended attributes and POSIX ACLs: those of users, or all that can be read.
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "user"
    )]
    pub xattrs: Option<Xattrs>,
    /// Pad the archive of a folder, so that its size tells little; it grows by 12 % at most.
    #[arg(long)]
    pub pad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Xattrs {
    /// `user.…` and POSIX ACLs.
    User,
    /// Those of the system too, such as `security.…` and `trusted.…`; for root.
    All,
}

impl Xattrs {
    /// What an option asks for.
    pub fn attributes(asked: Option<Self>) -> keyward_archive::Attributes {
        match asked {
            None => keyward_archive::Attributes::None,
            Some(Self::User) => keyward_archive::Attributes::User,
            Some(Self::All) => keyward_archive::Attributes::All,
        }
    }
}

#[derive(Debug, Args)]
pub struct OpenArgs {
    /// The sealed archive: a path, s3://BUCKET/KEY, az://CONTAINER/KEY or gs://BUCKET/KEY.
    pub archive: PathBuf,
    /// Unpack these alone, by their paths as `ls` shows them; a folder with all that is in it.
    #[arg(value_name = "PATH", requires = "directory", conflicts_with = "output")]
    pub paths: Vec<PathBuf>,
    /// Open every archive (`*.age`) that is in this folder, each into a folder of its own in DIR. Archives that have one there
    /// already are passed over, so an interrupted run goes on where it stopped.
    #[arg(long, requires = "directory", conflicts_with = "paths")]
    pub all: bool,
    /// Open this archive as well, each into a folder of its own in DIR; may be given several times.
    #[arg(long, value_name = "ARCHIVE", requires = "directory", conflicts_with = "paths")]
    pub also: Vec<PathBuf>,
    /// Unpack into this folder, which is absent or empty.
    #[arg(
        short = 'C',
        long = "directory",
        value_name = "DIR",
        required_unless_present = "output",
        conflicts_with = "output"
    )]
    pub directory: Option<PathBuf>,
    /// Write the decrypted bytes as they are to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace what stands at FILE.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// Make symbolic links whose targets lie outside DIR, instead of refusing the archive; none is followed.
    #[arg(long)]
    pub links_out: bool,
    /// Give files to the owners that the archive names, by name where it is known here, else by number; for
    /// root.
    #[arg(long)]
    pub owners: bool,
    /// Set extended attributes and POSIX ACLs: those of users, or all that we may set.
    #[arg(
        long,
        value_name = "WHICH",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "user"
    )]
    pub xattrs: Option<Xattrs>,
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub struct LsArgs {
    /// The sealed archive: a path, s3://BUCKET/KEY, az://CONTAINER/KEY or gs://BUCKET/KEY.
    pub archive: PathBuf,
    /// Show kind, mode, size and time as well.
    #[arg(short, long)]
    pub long: bool,
    #[command(flatten)]
    pub json: JsonArgs,
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

#[derive(Debug, Args)]
pub struct CatArgs {
    /// The sealed archive: a path, s3://BUCKET/KEY, az://CONTAINER/KEY or gs://BUCKET/KEY.
    pub archive: PathBuf,
    /// The file's path inside the archive, as `ls` shows it.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

/// How an archive may be unlocked.
#[derive(Debug, Clone, Default, Args)]
pub struct UnlockArgs {
    /// Accept an archive whose origin cannot be checked; without a vault, also a card that cannot be checked.
    #[arg(long)]
    pub unverified: bool,
    /// Use a PIN from a file or variable even when it is the token's last try.
    #[arg(long)]
    pub last_try: bool,
    /// The key file of an archive that has a key of its own, where no receipt names it.
    #[arg(long, value_name = "FILE", requires = "unverified")]
    pub key_file: Option<PathBuf>,
    /// Open the epoch of the archive with the tokens that are here: fewer touches for many archives, and every archive of
    /// that epoch could be opened with what is in memory until the run ends.
    #[arg(long)]
    pub through_epoch: bool,
    #[command(flatten)]
    pub with: WithArgs,
}

/// Who helps beside the tokens that are plugged in.
#[derive(Debug, Clone, Default, Args)]
pub struct WithArgs {
    /// A holder who is here: a paper, passphrase or age identity with its FILE, or a token that is to give its share;
    /// may be given several times. Holders who open only together open through the epoch.
    #[arg(long, value_name = "HOLDER[=FILE]")]
    pub with: Vec<With>,
}

/// What a command that changes the vault may be told.
#[derive(Debug, Clone, Default, Args)]
pub struct ChangeArgs {
    /// Do not ask; the change is still shown.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub with: WithArgs,
}

#[derive(Debug, Subcommand)]
pub enum EpochCommand {
    /// Begin a new epoch; archives are sealed to it from then on. No holder has to be present.
    New(ChangeArgs),
    /// List the epochs.
    List(JsonArgs),
    /// Open an epoch with who is here, and write its age identity into a new file (0600).
    Open(EpochOpenArgs),
}

#[derive(Debug, Args)]
pub struct EpochOpenArgs {
    /// The epoch's number; else the newest.
    pub number: Option<u32>,
    /// The new file for the identity. Whoever has it opens every archive of the epoch.
    #[arg(long, value_name = "FILE")]
    pub export: PathBuf,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
    #[command(flatten)]
    pub with: WithArgs,
}

#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List what is kept under the policy.
    List(JsonArgs),
    /// Keep old epochs under today's policy: the same keys, for today's holders. Goes on where it was interrupted.
    Rewrap(RewrapArgs),
}

#[derive(Debug, Args)]
pub struct RewrapArgs {
    /// Numbers of epochs; else all that another policy or other tokens keep.
    pub epochs: Vec<u32>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Subcommand)]
pub enum HolderCommand {
    /// List the holders and how each opens.
    List(JsonArgs),
    /// Add a holder, who has a part in the policy from now on.
    Add(HolderAddArgs),
    /// Take a holder out; the same as `revoke`.
    Remove(RevokeArgs),
}

#[derive(Debug, Args)]
pub struct HolderAddArgs {
    /// The holder's name.
    pub name: String,
    /// A token to enrol: a replacement, or one more. A YubiKey's serial number, `card` or a reader's name.
    #[arg(long, value_name = "SERIAL|card|READER", group = "kind")]
    pub token: Option<Which>,
    /// A paper to make: 24 words into this new file (0600).
    #[arg(long, value_name = "FILE", group = "kind")]
    pub paper: Option<PathBuf>,
    /// A passphrase: read from this file, or generated into it where it does not exist.
    #[arg(long, value_name = "FILE", group = "kind")]
    pub passphrase: Option<PathBuf>,
    /// Another age recipient: age1pq1… in a hybrid vault, age1… in a classic one.
    #[arg(long, value_name = "RECIPIENT", group = "kind")]
    pub recipient: Option<String>,
    /// Accept a passphrase that can be guessed.
    #[arg(long)]
    pub weak_passphrase: bool,
    /// The policy from now on; else `or NAME` is added.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// Make a token or paper an admin as well.
    #[arg(long)]
    pub admin: bool,
    #[command(flatten)]
    pub enrol: EnrolArgs,
    #[command(flatten)]
    pub with: WithArgs,
}

#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The holder.
    pub name: String,
    /// Somebody else may have the token: say what it still opens.
    #[arg(long)]
    pub stolen: bool,
    /// The policy from now on; else the one before without that holder.
    #[arg(long, value_name = "POLICY")]
    pub policy: Option<String>,
    /// Let thresholds sink where too few are left.
    #[arg(long)]
    pub shrink: bool,
    /// Accept a policy with a single holder, whose loss loses the data.
    #[arg(long)]
    pub no_recovery: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct RecoverArgs {
    /// Holders who are lost, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    pub lost: Vec<String>,
    /// The epoch to open; else the newest.
    #[arg(long)]
    pub epoch: Option<u32>,
    /// The new file for the epoch's identity.
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct ResealArgs {
    /// Archives to seal anew; each is replaced when the new one is complete.
    #[arg(required = true)]
    pub archives: Vec<PathBuf>,
    /// The series of the new receipt; else that of the archive's receipt, or its name without its ending.
    #[arg(long, value_name = "NAME")]
    pub series: Option<String>,
    #[command(flatten)]
    pub unlock: UnlockArgs,
}

#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Show the statement in force.
    Show(ShowArgs),
    /// Trust a vault on this machine after comparing its words.
    Trust(TrustArgs),
    /// Check the vault; fails where something must be mended.
    Check(JsonArgs),
    /// Sign a change that waits for more signatures.
    Sign(ChangeArgs),
    /// Change who opens, or how many admins have to sign. A new policy begins a new epoch.
    Policy(PolicyArgs),
    /// Move the date on which the statement expires.
    Expire(ExpireArgs),
    /// Say what would still open if these holders were lost.
    Whatif(WhatifArgs),
    /// Draw which holders open, alone and together, after each loss.
    Map,
    /// Print the recipients that archives are sealed to, one a line, for `age -R`.
    Recipients,
}

#[derive(Debug, Args)]
pub struct PolicyArgs {
    /// Who opens from now on: for example 'alice or 2 of (bob, carol, dave)'. It names every holder.
    pub policy: Option<String>,
    /// How many admins sign a change of who holds.
    #[arg(long, value_name = "COUNT")]
    pub root: Option<u32>,
    /// How many admins sign a change that lets nobody new in.
    #[arg(long, value_name = "COUNT")]
    pub routine: Option<u32>,
    /// Accept a policy with a single holder, whose loss loses the data.
    #[arg(long)]
    pub no_recovery: bool,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct ExpireArgs {
    /// The time, such as 2027-11-24T16:00:00Z; else a year from now.
    pub time: Option<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct WhatifArgs {
    /// Holders who are lost, separated by commas.
    #[arg(long, value_delimiter = ',', required = true, value_name = "NAMES")]
    pub lost: Vec<String>,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Print the admins' keys as an allowed-signers file for `ssh-keygen -Y verify`.
    #[arg(long, conflicts_with = "json")]
    pub allowed_signers: bool,
    /// Print the statement itself, as it was signed.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The fingerprint to compare with, in words or hexadecimal, for machines without a person.
    #[arg(long, value_name = "WORDS|HEX")]
    pub fingerprint: Option<String>,
    /// Trust a test vault, whose tokens may be emulated.
    #[arg(long)]
    pub allow_emulated: bool,
}

#[derive(Debug, Args)]
pub struct DoctorArgs {
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SuiteArg {
    Hybrid,
    Classic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TouchArg {
    Always,
    Cached,
}

fn parse_name_token(text: &str) -> Result<(String, Which), String> {
    let (name, token) = text.split_once('=').ok_or("write NAME=SERIAL, for example alice=12345678")?;
    if name.is_empty() {
        return Err("the name before `=` is empty".into());
    }
    if token.is_empty() {
        return Err("the token behind `=` is missing".into());
    }
    let Ok(which) = token.parse();
    Ok((name.to_owned(), which))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn names_and_serials() {
        assert_eq!(parse_name_token("alice=7"), Ok(("alice".into(), Which::Serial(7))));
        assert_eq!(parse_name_token("alice=card"), Ok(("alice".into(), Which::Card)));
        assert_eq!(parse_name_token("alice=ACS 00"), Ok(("alice".into(), Which::Reader("ACS 00".into()))));
        assert!(parse_name_token("alice").is_err());
        assert!(parse_name_token("=7").is_err());
        assert!(parse_name_token("alice=").is_err());
    }
}
