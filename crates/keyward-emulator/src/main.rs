//! The command line: makes tokens, serves them, runs programs under them, records and replays.
//!
//! This file and `run` alone print. A program that is run gets its sockets through its environment, and its exit code
//! is ours.
#![forbid(unsafe_code)]

mod ask;
mod cli;
mod run;

use std::{
    net::ToSocketAddrs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;
use keyward_emulator::{
    Ask, Card, Error, Options, Result, Server, TokenFile, Touch, control,
    trace::{
        record::Recorder,
        replay::{Knowledge, Step, Verdict, replay},
    },
};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

use self::cli::{Action, Cli, Serving, TraceAction};

impl Serving {
    fn open(&self) -> Result<(Vec<TokenFile>, Options)> {
        let tokens = self.tokens.iter().map(|path| TokenFile::open(path)).collect::<Result<Vec<_>>>()?;
        let options = Options {
            touch: self.touch,
            ask: (self.touch == Touch::Ask).then(|| Ask::new(ask::on_terminal)),
            trace: self.trace.clone(),
            faults: self.faults.iter().map(|armed| (armed.0, armed.1)).collect(),
            remove_at: self.remove_at,
            occupied: self.occupied,
            ..Options::default()
        };
        Ok((tokens, options))
    }
}

fn main() -> ExitCode {
    match act(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}.");
            ExitCode::FAILURE
        }
    }
}

fn act(action: Action) -> Result<ExitCode> {
    match action {
        Action::New { file, serial, firmware } => {
            TokenFile::create(&file, serial, firmware)?;
            eprintln!(
                "Made {}: serial {serial}, firmware {firmware}, PIN 123456, PUK 12345678.",
                file.display()
            );
        }
        Action::Run { serving, command } => {
            return run::run(&command, |socket, ctl| {
                let (tokens, options) = serving.open()?;
                Server::start(tokens, socket, ctl, &options)
            });
        }
        Action::Serve { serving, socket, vpcd, control } => serve(&serving, socket, vpcd, control)?,
        Action::Ctl { socket, request } => print!("{}", control::send(&socket, &request.line())?),
        Action::Trace { trace: TraceAction::Record { out, service, command } } => {
            return run::run(&command, |socket, _| Recorder::start(socket, &service, &out));
        }
        Action::Trace { trace } => return show_replay(trace),
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(
    serving: &Serving,
    socket: Option<PathBuf>,
    vpcd: Option<String>,
    control: Option<PathBuf>,
) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| Error::Io { path: PathBuf::from("signals"), source })?;
    let (tokens, options) = serving.open()?;
    let (server, place) = match (socket, vpcd) {
        (Some(socket), _) => {
            let beside = || {
                let mut path = socket.clone().into_os_string();
                path.push(".ctl");
                path.into()
            };
            let control = control.unwrap_or_else(beside);
            let server = Server::start(tokens, &socket, &control, &options)?;
            (server, format!("Clients reach it with PCSCLITE_CSOCK_NAME={}", socket.display()))
        }
        (None, address) => {
            let address = address.unwrap_or_default();
            let resolved = address.to_socket_addrs().ok().and_then(|mut found| found.next());
            let first = resolved
                .ok_or_else(|| Error::Control(format!("{} is no HOST:PORT", address.escape_debug())))?;
            let server = Server::attach(tokens, first, control.as_deref(), &options)?;
            (server, format!("Plugging into the vpcd at {first}"))
        }
    };
    for token in server.tokens() {
        eprintln!("{}: serial {}, firmware {}", token.reader, token.serial, token.firmware);
    }
    eprintln!("{place}");
    signals.forever().next();
    drop(server);
    Ok(())
}

fn show_replay(trace: TraceAction) -> Result<ExitCode> {
    let TraceAction::Replay { file, reader, token, firmware, pin, puk, management_key, all } = trace else {
        return Ok(ExitCode::SUCCESS);
    };
    let mut card = match token {
        Some(path) => {
            let json = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone(), source })?;
            Card::from_json(&json).map_err(|error| Error::TokenFile { path, reason: error.to_string() })?
        }
        None => Card::new(11_110_001, firmware)?,
    };
    let management_key = unhex(&management_key)
        .ok_or_else(|| Error::Control("a management key is hexadecimal, two digits a byte".to_owned()))?;
    let knowledge = Knowledge { pin, puk, management_key };
    let steps = replay(&file, reader.as_deref(), &mut card, &knowledge)?;
    let count = |wanted: fn(Verdict) -> bool| steps.iter().filter(|step| wanted(step.verdict)).count();
    for step in steps.iter().filter(|step| all || step.verdict == Verdict::Different) {
        show_step(&file, step);
    }
    let different = count(|verdict| verdict == Verdict::Different);
    println!(
        "{} exchanges: {} the same, {} differ as they must, {different} differ, {} not sent",
        steps.len(),
        count(|verdict| verdict == Verdict::Same),
        count(|verdict| matches!(verdict, Verdict::Tolerated(_))),
        count(|verdict| matches!(verdict, Verdict::NotSent(_))),
    );
    Ok(if different == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show_step(file: &Path, step: &Step) {
    let Step { line, command, recorded, now, verdict } = step;
    let verdict = match verdict {
        Verdict::Same => "the same".to_owned(),
        Verdict::Tolerated(reason) => format!("differs as it must: {reason}"),
        Verdict::Different => "differs".to_owned(),
        Verdict::NotSent(reason) => format!("not sent: {reason}"),
    };
    println!("{}:{line}: {verdict}", file.display());
    println!("  command   {command}");
    println!("  recorded  {}", if recorded.is_empty() { "no answer" } else { recorded });
    if !now.is_empty() {
        println!("  now       {now}");
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
