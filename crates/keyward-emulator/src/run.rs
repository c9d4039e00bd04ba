//! Runs a program with tokens plugged in and passes on what happens to either.
//!
//! The sockets live in a folder of their own (0700) that goes when the program ends. Signals that would end us go to the
//! program, and we end with it: with its exit code, with 128 + n if signal n ended it, with 127 or 126 if it
//! could not be started, as shells do.

use std::{
    ffi::OsString,
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus},
};

use keyward_emulator::{Error, Result, socket_folder};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

/// Starts what the program is to find at its two sockets, runs it and returns its exit code.
pub(crate) fn run<S>(
    command: &[OsString],
    start: impl FnOnce(&Path, &Path) -> Result<S>,
) -> Result<ExitCode> {
    let folder = socket_folder()?;
    let (socket, control) = (folder.path().join("pcscd.comm"), folder.path().join("control"));
    let server = start(&socket, &control)?;
    let Some((program, arguments)) = command.split_first() else { return Ok(ExitCode::SUCCESS) };

    // Before the program starts, so that no signal finds us alone with its default.
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT]).map_err(at(&socket))?;
    let started = Command::new(program)
        .args(arguments)
        .env("PCSCLITE_CSOCK_NAME", &socket)
        .env("KEYWARD_EMULATOR_CTL", &control)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        Err(error) => {
            eprintln!("error: {}: {error}.", Path::new(program).display());
            let not_found = error.kind() == std::io::ErrorKind::NotFound;
            return Ok(ExitCode::from(if not_found { 127 } else { 126 }));
        }
    };
    let status = wait(&mut child, signals).map_err(at(Path::new(program)))?;
    drop(server);
    Ok(exit_code(status))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

/// Waits for the program while its signals are passed on.
fn wait(child: &mut Child, mut signals: Signals) -> std::io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let handle = signals.handle();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for number in signals.forever() {
                if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(number)) {
                    // From a terminal the program has it already; twice would kill what wants to end in order.
                    let from_keyboard = matches!(number, SIGINT | SIGQUIT) && in_foreground();
                    if !from_keyboard {
                        let _ = kill_process(pid, signal); // it may just have ended
                    }
                }
            }
        });
        let status = child.wait();
        handle.close();
        status
    })
}

/// Whether our process group is the one that the terminal's keys speak to.
fn in_foreground() -> bool {
    std::fs::File::open("/dev/tty")
        .ok()
        .and_then(|terminal| rustix::termios::tcgetpgrp(terminal).ok())
        .is_some_and(|group| group == rustix::process::getpgrp())
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
