//! Running a program with a bound on its time, and what came of it.
//!
//! A program runs in a session of its own: it has no terminal to ask at, and it is ended with all that it
//! started when its time is up.

use std::{
    ffi::{OsStr, OsString},
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process_group};

use crate::programs;

/// What a program that answers at all needs on a busy machine with two cores.
const LIMIT: Duration = Duration::from_secs(120);
/// How long output may stay open after the program has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(20);

/// A program about to be run.
#[derive(Debug)]
pub struct Run {
    line: Vec<OsString>,
    folder: Option<std::path::PathBuf>,
    environment: Vec<(OsString, Option<OsString>)>,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Run {
    /// The program, with a PATH and whatever else of an environment it is given here.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            line: vec![program.as_ref().to_owned()],
            folder: None,
            environment: vec![("PATH".into(), Some(programs::own_path()))],
            stdin: Vec::new(),
            limit: LIMIT,
        }
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.line.push(argument.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.line.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets a variable.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    /// Takes a variable away.
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), None));
        self
    }

    /// Runs it in this folder.
    pub fn current_dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// What it reads from standard input; nothing else.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take before it is ended and the test fails.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Gives a command the program, its folder and its environment.
    pub(crate) fn describe(&self, command: &mut Command) {
        command.args(&self.line).env_clear();
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
    }

    /// Starts it and does not wait; its output goes nowhere. For tests that end it themselves.
    pub fn start(self) -> Child {
        let mut command = Command::new("setsid");
        self.describe(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    /// Runs it to its end.
    #[must_use = "a run says nothing until it is asserted"]
    pub fn go(self) -> Outcome {
        let shown = self.line.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
        let mut command = Command::new("setsid");
        self.describe(&mut command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("$ {shown}\n{error}"));
        let group = Pid::from_child(&child);
        feed(&mut child, self.stdin);
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let ended = wait(child);

        let status = ended.recv_timeout(self.limit);
        let in_time = status.is_ok();
        if !in_time {
            end(group);
        }
        let take = |output: Receiver<Vec<u8>>| {
            output.recv_timeout(OUTPUT_LIMIT).unwrap_or_else(|_| {
                end(group);
                panic!("$ {shown}\nended, and something that it started still holds its output open")
            })
        };
        let (stdout, stderr) = (take(stdout), take(stderr));
        let outcome = Outcome { shown, status: status.unwrap_or_default(), stdout, stderr };
        assert!(in_time, "not done after {} s:\n{outcome}", self.limit.as_secs());
        outcome
    }
}

fn end(group: Pid) {
    // It may have ended by itself in between.
    let _ = kill_process_group(group, Signal::KILL);
}

/// Writes standard input beside the program's run; a program that does not read it is not waited for.
fn feed(child: &mut Child, bytes: Vec<u8>) {
    let mut stdin = child.stdin.take().unwrap();
    thread::spawn(move || {
        // The program may have closed it.
        let _ = stdin.write_all(&bytes);
    });
}

fn collect(mut source: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        source.read_to_end(&mut bytes).unwrap();
        // The test may have given up.
        let _ = sender.send(bytes);
    });
    receiver
}

fn wait(mut child: Child) -> Receiver<ExitStatus> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let status = child.wait().unwrap();
        // The test may have given up.
        let _ = sender.send(status);
    });
    receiver
}

/// What came of a run; each assertion returns it, so that the next can follow.
#[derive(Debug)]
pub struct Outcome {
    shown: String,
    status: ExitStatus,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let excerpt = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            match text.char_indices().nth(6000) {
                Some((at, _)) => format!("{}… ({} bytes)", &text[..at], bytes.len()),
                None => text.into_owned(),
            }
        };
        writeln!(f, "$ {}\n{}", self.shown, self.status)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", excerpt(&self.stdout), excerpt(&self.stderr))
    }
}

impl Outcome {
    /// It returned this exit code.
    #[track_caller]
    pub fn code(self, expected: i32) -> Self {
        assert_eq!(self.exit_code(), Some(expected), "expected exit code {expected}:\n{self}");
        self
    }

    /// It returned 0.
    #[track_caller]
    pub fn success(self) -> Self {
        self.code(0)
    }

    /// It returned something else than 0.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert!(self.exit_code().is_some_and(|code| code != 0), "expected a failure:\n{self}");
        self
    }

    /// Its exit code, none if a signal ended it.
    pub fn exit_code(&self) -> Option<i32> {
        debug_assert!(self.status.code().is_some() || self.status.signal().is_some());
        self.status.code()
    }

    /// Standard output is exactly this.
    #[track_caller]
    pub fn stdout_is(self, expected: impl AsRef<[u8]>) -> Self {
        assert!(
            self.stdout == expected.as_ref(),
            "expected on standard output: {:?}\n{self}",
            String::from_utf8_lossy(expected.as_ref())
        );
        self
    }

    /// Standard output has this text.
    #[track_caller]
    pub fn stdout_has(self, text: &str) -> Self {
        assert!(self.stdout_text().contains(text), "expected on standard output: {text:?}\n{self}");
        self
    }

    /// Standard error has this text, in any case of its letters.
    #[track_caller]
    pub fn stderr_has(self, text: &str) -> Self {
        let said = self.stderr_text().to_lowercase();
        assert!(said.contains(&text.to_lowercase()), "expected on standard error: {text:?}\n{self}");
        self
    }

    /// Standard error does not have this text.
    #[track_caller]
    pub fn stderr_lacks(self, text: &str) -> Self {
        assert!(!self.stderr_text().contains(text), "unwanted on standard error: {text:?}\n{self}");
        self
    }

    /// Nothing on standard output.
    #[track_caller]
    pub fn no_stdout(self) -> Self {
        self.stdout_is("")
    }

    /// An error as the project words them: `error:` first on a line, no word of a panic or a debug print.
    #[track_caller]
    pub fn calm_error(self) -> Self {
        let said = self.stderr_text();
        assert!(said.lines().any(|line| line.starts_with("error: ")), "no line says `error: …`:\n{self}");
        for word in ["panicked", "RUST_BACKTRACE", "Os {", "Error {", "Err("] {
            assert!(!said.contains(word), "{word:?} is no calm sentence:\n{self}");
        }
        self
    }

    /// Standard output as text.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn stderr_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }
}
