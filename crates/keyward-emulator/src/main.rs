//! The command line: makes tokens, serves them, runs programs under them.
//!
//! This file alone prints. A program that is run gets its sockets through its environment, and its exit code is ours.
#![forbid(unsafe_code)]

mod run;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use keyward_emulator::{Error, Firmware, Options, Result, Server, TokenFile, Touch, control};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// A virtual YubiKey that PC/SC programs cannot tell from a real one. For tests: its keys are in a file.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a token file, as from the factory: PIN 123456, PUK 12345678.
    New {
        /// The file to make; an existing one is not overwritten.
        file: PathBuf,
        /// The serial number, different for each token.
        #[arg(long)]
        serial: u32,
        /// The firmware to behave like: 4.3.x, 5.2.x, 5.4.x or 5.7.x.
        #[arg(long, default_value = "5.7.1", value_parser = parse_firmware)]
        firmware: Firmware,
    },
    /// Run a program with tokens plugged in; its exit code is returned.
    Run {
        #[command(flatten)]
        serving: Serving,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<std::ffi::OsString>,
    },
    /// Serve tokens at a socket until interrupted; clients find it through PCSCLITE_CSOCK_NAME.
    Serve {
        #[command(flatten)]
        serving: Serving,
        /// The PC/SC socket.
        #[arg(long)]
        socket: PathBuf,
        /// The control socket [default: the PC/SC socket's path with .ctl added].
        #[arg(long)]
        control: Option<PathBuf>,
    },
    /// Pull tokens out, plug them in, touch or not, while programs run.
    Ctl {
        /// The control socket.
        #[arg(long, env = "KEYWARD_EMULATOR_CTL", value_name = "SOCKET")]
        socket: PathBuf,
        #[command(subcommand)]
        request: Request,
    },
}

#[derive(Args)]
struct Serving {
    /// A token to plug in; repeat it for several readers.
    #[arg(long = "token", value_name = "FILE", required = true)]
    tokens: Vec<PathBuf>,
    /// What happens when a key wants a touch: at once, or never.
    #[arg(long, value_enum, default_value_t = TouchMode::Auto)]
    touch: TouchMode,
    /// Write each APDU exchange to this file, a line of JSON each, secrets left out.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Pull the first token out right before its N-th answer.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    remove_at: Option<u64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum TouchMode {
    Auto,
    Deny,
}

#[derive(Subcommand)]
enum Request {
    /// Show readers and tokens, a line of JSON each.
    Status,
    /// Pull a token out.
    Remove {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Plug a token in.
    Insert {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Answer touches from now on, or let them time out.
    Touch {
        /// auto or deny.
        #[arg(value_enum)]
        mode: TouchMode,
    },
}

impl Request {
    fn line(&self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Remove { token } => format!("remove {token}"),
            Self::Insert { token } => format!("insert {token}"),
            Self::Touch { mode: TouchMode::Auto } => "touch auto".to_owned(),
            Self::Touch { mode: TouchMode::Deny } => "touch deny".to_owned(),
        }
    }
}

impl Serving {
    fn start(&self, socket: &Path, control: &Path) -> Result<Server> {
        let tokens = self.tokens.iter().map(|path| TokenFile::open(path)).collect::<Result<Vec<_>>>()?;
        let touch = match self.touch {
            TouchMode::Auto => Touch::Auto,
            TouchMode::Deny => Touch::Deny,
        };
        let options = Options { touch, trace: self.trace.clone(), remove_at: self.remove_at };
        Server::start(tokens, socket, control, &options)
    }
}

fn parse_firmware(text: &str) -> std::result::Result<Firmware, String> {
    text.parse().map_err(|error: Error| error.to_string())
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
            return run::run(&command, |socket, ctl| serving.start(socket, ctl));
        }
        Action::Serve { serving, socket, control } => {
            let control = control.unwrap_or_else(|| {
                let mut path = socket.clone().into_os_string();
                path.push(".ctl");
                path.into()
            });
            serve(&serving, &socket, &control)?;
        }
        Action::Ctl { socket, request } => print!("{}", control::send(&socket, &request.line())?),
    }
    Ok(ExitCode::SUCCESS)
}

fn serve(serving: &Serving, socket: &Path, control: &Path) -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|source| Error::Io { path: socket.to_owned(), source })?;
    let server = serving.start(socket, control)?;
    for token in server.tokens() {
        eprintln!("{}: serial {}, firmware {}", token.reader, token.serial, token.firmware);
    }
    eprintln!("Clients reach it with PCSCLITE_CSOCK_NAME={}", socket.display());
    signals.forever().next();
    drop(server);
    Ok(())
}
