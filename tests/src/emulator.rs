//! Tokens plugged in: `keyward-emulator run` with its options, around another program.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use crate::{Run, Sandbox, program};

/// Emulated tokens about to be plugged in.
#[derive(Debug)]
pub struct Emulator<'a> {
    sandbox: &'a Sandbox,
    options: Vec<OsString>,
}

impl<'a> Emulator<'a> {
    pub(crate) fn new(sandbox: &'a Sandbox) -> Self {
        Self { sandbox, options: Vec::new() }
    }

    fn option(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.options.extend([name.into(), value.into()]);
        self
    }

    /// Plugs in the token of this file of the sandbox.
    pub fn token(self, file: &str) -> Self {
        let path = self.sandbox.path(file);
        self.option("--token", path)
    }

    /// Nobody touches the tokens.
    pub fn deny_touch(self) -> Self {
        self.option("--touch", "deny")
    }

    /// Pulls the first token out right before its `answer`-th answer, from 1.
    pub fn remove_at(self, answer: u64) -> Self {
        self.option("--remove-at", answer.to_string())
    }

    /// Records what is exchanged with the tokens; see [`crate::read_trace`].
    pub fn trace(self, file: PathBuf) -> Self {
        self.option("--trace", file)
    }

    /// A program of the PATH, run with the tokens.
    pub fn run(self, name: impl AsRef<OsStr>) -> Run {
        self.sandbox.run(program("keyward-emulator")).arg("run").args(self.options).arg("--").arg(name)
    }

    /// As [`Emulator::run`], where the program sees no process but its own: ykman and age-plugin-yubikey end or interrupt
    /// every scdaemon that they find. Where the system allows no such place, the run fails and says so.
    pub fn run_alone(self, name: impl AsRef<OsStr>) -> Run {
        let mut place = vec!["--pid", "--fork", "--kill-child", "--mount-proc"];
        if !rustix::process::geteuid().is_root() {
            place.insert(0, "--map-root-user");
        }
        self.run("unshare").args(place).arg(name)
    }

    /// `keyward`, run with the tokens.
    pub fn keyward<A: AsRef<OsStr>>(self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.run(program("keyward")).args(arguments)
    }
}
