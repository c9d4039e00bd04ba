//! The command line's grammar; what it does is in `main` and `run`.

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};
use keyward_emulator::{Error, Fault, Firmware, Touch};

/// A virtual YubiKey that PC/SC programs cannot tell from a real one. For tests: its keys are in a file.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Action,
}

#[derive(Subcommand)]
pub(crate) enum Action {
    /// Make a token file, as from the factory: PIN 123456, PUK 12345678.
    New {
        /// The file to make; an existing one is not overwritten.
        file: PathBuf,
        /// The serial number, different for each token.
        #[arg(long)]
        serial: u32,
        /// The firmware to behave like: 5.2.x, 5.4.x or 5.7.x.
        #[arg(long, default_value = "5.7.1", value_parser = parse::<Firmware>)]
        firmware: Firmware,
    },
    /// Run a program with tokens plugged in; its exit code is returned.
    Run {
        #[command(flatten)]
        serving: Serving,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Serve tokens until interrupted: at a socket, which clients find through PCSCLITE_CSOCK_NAME, or to a system's pcscd.
    Serve {
        #[command(flatten)]
        serving: Serving,
        /// The PC/SC socket.
        #[arg(long, required_unless_present = "vpcd", conflicts_with = "vpcd")]
        socket: Option<PathBuf>,
        /// Plug into a pcscd with vsmartcard's driver vpcd, whose first slot listens here; 35963 is its own port.
        #[arg(long, value_name = "HOST:PORT")]
        vpcd: Option<String>,
        /// The control socket [default: the PC/SC socket's path with .ctl added; none with --vpcd].
        #[arg(long)]
        control: Option<PathBuf>,
    },
    /// Pull tokens out, plug them in, touch them, break them, while programs run.
    Ctl {
        /// The control socket.
        #[arg(long, env = "KEYWARD_EMULATOR_CTL", value_name = "SOCKET")]
        socket: PathBuf,
        #[command(subcommand)]
        request: Request,
    },
    /// Record what a program says to a token, and play it again.
    Trace {
        #[command(subcommand)]
        trace: TraceAction,
    },
}

#[derive(Args)]
pub(crate) struct Serving {
    /// A token to plug in; repeat it for several readers.
    #[arg(long = "token", value_name = "FILE", required = true)]
    pub(crate) tokens: Vec<PathBuf>,
    /// What happens when a key wants a touch: auto (at once), deny (never), ask (on this terminal), manual (ctl touch), delay=MS.
    #[arg(long, default_value = "auto", value_name = "HOW", value_parser = parse::<Touch>)]
    pub(crate) touch: Touch,
    /// Write each APDU exchange to this file, a line of JSON each, secrets left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Arm a fault of the first token, or of the one with this serial; see `ctl fault --help`.
    #[arg(long = "fault", value_name = "[SERIAL:]KIND[@N]", value_parser = parse::<ArmedFault>)]
    pub(crate) faults: Vec<ArmedFault>,
    /// Pull the first token out right before its N-th answer; short for --fault remove@N.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) remove_at: Option<u64>,
    /// Somebody else holds the readers exclusively, until `ctl vacate`.
    #[arg(long)]
    pub(crate) occupied: bool,
}

/// A fault and whose it is.
#[derive(Clone)]
pub(crate) struct ArmedFault(pub(crate) Option<u32>, pub(crate) Fault);

impl FromStr for ArmedFault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once(':') {
            Some((serial, fault)) => match serial.parse() {
                Ok(serial) => Ok(Self(Some(serial), fault.parse()?)),
                Err(_) => Err(Error::Control(format!("{} is no serial", serial.escape_debug()))),
            },
            None => Ok(Self(None, text.parse()?)),
        }
    }
}

fn parse<T: FromStr<Err = Error>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: Error| error.to_string())
}

#[derive(Subcommand)]
pub(crate) enum Request {
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
    /// Reset a card, as another program might.
    Reset {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Touch what waits for it; or say what happens from now on.
    Touch {
        /// auto, deny, ask, manual or delay=MS for all from now on; a token, to touch it alone.
        how: Option<String>,
    },
    /// Let a token's wait for a touch end as a time-out would.
    Deny {
        /// A reader's name or a token's serial [default: whatever waits].
        token: Option<String>,
    },
    /// Wait, at most 30 seconds, until a token asks for a touch.
    WaitTouch {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Wait, at most 30 seconds, until so many APDUs have been sent to a token.
    WaitApdus {
        /// A reader's name or a token's serial.
        token: String,
        /// How many, since the server began.
        count: u64,
    },
    /// Arm a fault of a token, or disarm all with `clear`.
    ///
    /// KIND is remove (right before the answer), reinsert (and in again at once), insert (a token that is out, at the
    /// N-th APDU of others), reset, power-before, power-after, power-in-write=half|whole|renamed (the next write of the
    /// state is cut there), corrupt (one bit of the answer), truncate=BYTES, delay=MS or hold (until `ctl release`).
    /// N counts the token's APDUs from now on; without it, it is the next.
    #[command(verbatim_doc_comment)]
    Fault {
        /// A reader's name or a token's serial.
        token: String,
        /// KIND, KIND@N or clear.
        fault: String,
    },
    /// Let an answer go that the fault `hold` holds back.
    Release {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Have somebody else hold a reader exclusively.
    Occupy {
        /// A reader's name or a token's serial.
        token: String,
    },
    /// Let somebody else let go of a reader.
    Vacate {
        /// A reader's name or a token's serial.
        token: String,
    },
}

impl Request {
    /// The request as the control socket reads it.
    pub(crate) fn line(&self) -> String {
        match self {
            Self::Status => "status".to_owned(),
            Self::Remove { token } => format!("remove {token}"),
            Self::Insert { token } => format!("insert {token}"),
            Self::Reset { token } => format!("reset {token}"),
            Self::Touch { how } => format!("touch {}", how.as_deref().unwrap_or_default()),
            Self::Deny { token } => format!("deny {}", token.as_deref().unwrap_or_default()),
            Self::WaitTouch { token } => format!("wait-touch {token}"),
            Self::WaitApdus { token, count } => format!("wait-apdus {token} {count}"),
            Self::Fault { token, fault } => format!("fault {token} {fault}"),
            Self::Release { token } => format!("release {token}"),
            Self::Occupy { token } => format!("occupy {token}"),
            Self::Vacate { token } => format!("vacate {token}"),
        }
    }
}

#[derive(Subcommand)]
pub(crate) enum TraceAction {
    /// Run a program with a real reader, or another emulator's, and write down what it says to tokens.
    Record {
        /// The file to write; PINs, keys and what private keys do are left out.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// The PC/SC service's socket.
        #[arg(long, value_name = "SOCKET", default_value = keyward_emulator::trace::record::SYSTEM_SERVICE)]
        service: PathBuf,
        /// The program and its arguments.
        #[arg(last = true, required = true, value_name = "COMMAND")]
        command: Vec<OsString>,
    },
    /// Play a trace on an emulated token, from the factory unless a file is given, and show what differs.
    Replay {
        /// The trace.
        file: PathBuf,
        /// The reader whose exchanges are played [default: the first].
        #[arg(long)]
        reader: Option<String>,
        /// A token file to begin with; it is not changed.
        #[arg(long, value_name = "FILE", conflicts_with = "firmware")]
        token: Option<PathBuf>,
        /// The firmware of a token from the factory.
        #[arg(long, default_value = "5.7.1", value_parser = parse::<Firmware>)]
        firmware: Firmware,
        /// The emulated token's PIN, sent where the recorded one was right.
        #[arg(long, default_value = "123456")]
        pin: String,
        /// The emulated token's PUK.
        #[arg(long, default_value = "12345678")]
        puk: String,
        /// The emulated token's management key in hexadecimal.
        #[arg(long, value_name = "HEX", default_value = "010203040506070801020304050607080102030405060708")]
        management_key: String,
        /// Show every exchange, not only those that differ.
        #[arg(long)]
        all: bool,
    },
}
