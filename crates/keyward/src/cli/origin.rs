//! The commands about where archives come from: `verify`, `sealer`, `receipt`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ChangeArgs, JsonArgs};

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Archives, or folders of archives at any depth.
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<PathBuf>,
    /// Read every archive to its end and compare its content with its receipt.
    #[arg(long)]
    pub deep: bool,
    /// Fail where the newest receipt of a series is older than this.
    #[arg(long, value_name = "DAYS")]
    pub max_age: Option<u32>,
    #[command(flatten)]
    pub json: JsonArgs,
}

#[derive(Debug, Subcommand)]
pub enum SealerCommand {
    /// Print this host's public key for the vault; it is made where there is none.
    Key,
    /// Certify a host: its receipts count from the new generation on.
    Add(SealerAddArgs),
    /// List the sealers, in force and removed.
    List(SealerListArgs),
    /// Remove a sealer: of its receipts those count that this host has seen until now.
    Remove(SealerRemoveArgs),
}

#[derive(Debug, Args)]
pub struct SealerAddArgs {
    /// The host's name in receipts; else, for this host, its own.
    pub name: Option<String>,
    /// The host's public key, as `sealer key` prints it there: a file, or `-` for standard input; else this host's.
    #[arg(long, value_name = "FILE", requires = "name")]
    pub key: Option<PathBuf>,
    /// The person who controls the host; `revoke` names the host then.
    #[arg(long, value_name = "NAME")]
    pub by: Option<String>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Args)]
pub struct SealerListArgs {
    /// Print the sealers' keys as an allowed-signers file for `ssh-keygen -Y verify`.
    #[arg(long, conflicts_with = "json")]
    pub allowed_signers: bool,
    /// Print JSON for a script.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Args)]
pub struct SealerRemoveArgs {
    /// The sealer.
    pub name: String,
    #[command(flatten)]
    pub change: ChangeArgs,
}

#[derive(Debug, Subcommand)]
pub enum ReceiptCommand {
    /// Vouch for archives that have no receipt, such as files of stock age: all of each is read.
    Adopt(AdoptArgs),
    /// Say that archives may be deleted, so that verify does not miss them. Nothing is deleted.
    Retire(RetireArgs),
    /// Put receipts in place that an interrupted run of this host left out.
    Finish,
}

#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// The archives.
    #[arg(required = true)]
    pub archives: Vec<PathBuf>,
    /// The series that the receipts are numbered in; else each archive's name without its ending.
    #[arg(long, value_name = "NAME")]
    pub series: Option<String>,
}

#[derive(Debug, Args)]
pub struct RetireArgs {
    /// Archives that may be deleted; with --missing folders that are looked through.
    #[arg(required = true, value_name = "PLACE")]
    pub places: Vec<PathBuf>,
    /// Everything that verify misses in these folders, with the archives or the receipts gone already.
    #[arg(long)]
    pub missing: bool,
    /// The series of this host in which it is said; else that of the first archive.
    #[arg(long, value_name = "NAME")]
    pub series: Option<String>,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}
