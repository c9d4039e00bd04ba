//! `keyward`: the command line, the only part of Keyward that prints, prompts and reads the environment.
//!
//! `cli.rs` says what can be called, `commands/` does it, `report.rs` words what went wrong and decides the
//! exit code.

#![forbid(unsafe_code)]
#![allow(
    unreachable_pub,
    reason = "in a program nothing is reachable from outside; `pub` marks a room's door"
)]

mod attested;
mod card_secrets;
mod changing;
mod cli;
mod commands;
mod enrolling;
mod env;
mod files;
mod generations;
mod interrupt;
mod lanes;
mod ledger;
mod opening;
mod origin;
mod own_key;
mod papers;
mod pin;
mod places;
mod present;
mod proving;
mod receipts;
#[cfg(test)]
mod reference;
mod report;
mod sealing_host;
mod shares;
mod signing;
mod state;
mod token_key;
mod ui;
mod unlock;
mod vault_folder;
mod which;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::ui::Ui;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help and version go to standard output with code 0, a usage error to standard error with code 2.
            let _ = e.print();
            return if e.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    harden();
    log();
    interrupt::listen();
    let ui = Ui::new(cli.quiet);
    match run(cli, ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            ui.must(failure.to_string().trim_end());
            ExitCode::from(failure.kind.code())
        }
    }
}

fn run(cli: Cli, ui: Ui) -> report::Result<()> {
    let vault = cli.vault;
    match cli.command {
        Command::Init(args) => commands::init::run(ui, vault, args),
        Command::Token(command) => commands::token::run(ui, vault.as_deref(), command),
        Command::Seal(args) => commands::seal::run(ui, vault.as_deref(), args),
        Command::Open(args) => commands::open::run(ui, vault.as_deref(), args),
        Command::Ls(args) => commands::ls::run(ui, vault.as_deref(), args),
        Command::Cat(args) => commands::cat::run(ui, vault.as_deref(), args),
        Command::Vault(command) => commands::vault::run(ui, vault.as_deref(), command),
        Command::Epoch(command) => commands::epoch::run(ui, vault.as_deref(), command),
        Command::Holder(command) => commands::holder::run(ui, vault.as_deref(), command),
        Command::Key(command) => commands::key::run(ui, vault.as_deref(), command),
        Command::Revoke(args) => commands::revoke::run(ui, vault.as_deref(), args),
        Command::Recover(args) => commands::recover::run(ui, vault.as_deref(), args),
        Command::Reseal(args) => commands::reseal::run(ui, vault.as_deref(), args),
        Command::Verify(args) => commands::verify::run(ui, vault.as_deref(), &args),
        Command::Sealer(command) => commands::sealer::run(ui, vault.as_deref(), command),
        Command::Receipt(command) => commands::receipt::run(ui, vault.as_deref(), command),
        Command::Doctor(args) => commands::doctor::run(ui, vault.as_deref(), args),
    }
}

/// No core dumps and no attaching from now on: secrets will be in this process's memory.
fn harden() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};

    // Where the system refuses, there is nothing more to do; the threat model says so.
    let _ = rustix::process::setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Logs on standard error where `KEYWARD_LOG` asks for it. The `log` facade, which the `yubikey` crate uses to
/// trace whole commands with the PIN in them, is never connected.
fn log() {
    let Some(filter) = env::log_filter() else { return };
    let Ok(filter) = tracing_subscriber::EnvFilter::try_new(filter) else { return };
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(!env::no_color())
        .with_writer(std::io::stderr)
        .try_init();
}
