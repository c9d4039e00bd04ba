//! A program on a terminal of its own: what it asks is waited for, and answered as a person would.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Command,
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, tcgetattr},
};

use crate::Run;

/// How long a question may let one wait.
const LIMIT: Duration = Duration::from_secs(60);

/// A program that runs on a terminal.
#[derive(Debug)]
pub struct Dialog {
    terminal: File,
    output: Receiver<Vec<u8>>,
    /// All that was shown.
    shown: String,
    /// Where in it the last question ended.
    seen: usize,
    child: std::process::Child,
}

impl Dialog {
    /// Starts it. The terminal is the program's controlling one, as a shell would arrange it.
    pub fn start(run: &Run) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&terminal).unwrap();
        unlockpt(&terminal).unwrap();
        let name = ptsname(&terminal, Vec::new()).unwrap();
        let other_end: OwnedFd =
            File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]);
        run.describe(&mut command);
        let child = command
            .stdin(other_end.try_clone().unwrap())
            .stdout(other_end.try_clone().unwrap())
            .stderr(other_end)
            .spawn()
            .unwrap();
        // The command holds the other end; the terminal must close when the program's last end does.
        drop(command);
        let terminal = File::from(terminal);
        let mut source = terminal.try_clone().unwrap();
        let (sender, output) = channel();
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose other end is gone reads as an error.
            while let Ok(count @ 1..) = source.read(&mut bytes) {
                if sender.send(bytes[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { terminal, output, shown: String::new(), seen: 0, child }
    }

    /// Waits for a text, and answers nothing yet.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) {
        self.find(text);
    }

    /// Waits for a question, and answers it with a line.
    #[track_caller]
    pub fn answer(&mut self, question: &str, answer: &str) {
        self.find(question);
        writeln!(self.terminal, "{answer}").unwrap();
    }

    /// Waits for a question that hides what is typed, and answers it once the terminal no longer echoes.
    #[track_caller]
    pub fn answer_hidden(&mut self, question: &str, answer: &str) {
        self.find(question);
        let begun = Instant::now();
        while tcgetattr(&self.terminal).unwrap().local_modes.contains(LocalModes::ECHO) {
            assert!(begun.elapsed() < LIMIT, "{question:?} does not hide what is typed:\n{}", self.shown);
            thread::yield_now();
        }
        writeln!(self.terminal, "{answer}").unwrap();
    }

    /// All that was shown until the last question that was waited for.
    pub fn shown(&self) -> String {
        self.shown[..self.seen].replace("\r\n", "\n")
    }

    #[track_caller]
    fn find(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("waited in vain for {text:?}:\n{}", self.shown),
            }
        }
    }

    /// Waits for its end, and returns the exit code and all that was shown.
    #[must_use = "a dialog says nothing until it is asserted"]
    pub fn end(mut self) -> (Option<i32>, String) {
        loop {
            match self.output.recv_timeout(LIMIT) {
                Ok(bytes) => self.shown.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    // It hangs; the test fails with what it has shown.
                    let _ = self.child.kill();
                    panic!("not done in time:\n{}", self.shown);
                }
            }
        }
        let status = self.child.wait().unwrap();
        (status.code(), self.shown.replace("\r\n", "\n"))
    }
}
