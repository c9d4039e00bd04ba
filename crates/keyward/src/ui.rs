//! The dialogue with a person: on the terminal and standard error, never on standard output.
//!
//! Standard output carries data alone and is written by the commands. Without a terminal there is no prompt:
//! the caller is told which option answers instead.

use std::fmt::Write as _;
use std::io::{BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{HumanBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use secrecy::SecretString;

use crate::report::{Failure, Kind, Result};

/// How this run talks.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    quiet: bool,
}

impl Ui {
    /// The dialogue of a run; `quiet` keeps to what a person must do.
    pub fn new(quiet: bool) -> Self {
        Ui { quiet }
    }

    /// Whether somebody can answer: both the questions and the answers go through a terminal.
    pub fn interactive(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// A fact.
    pub fn say(&self, line: impl AsRef<str>) {
        if !self.quiet {
            self.must(line);
        }
    }

    /// What a person must see or do, quiet or not.
    pub fn must(&self, line: impl AsRef<str>) {
        let mut out = std::io::stderr().lock();
        // A closed standard error must not end a command half-way.
        let _ = writeln!(out, "{}", line.as_ref());
    }

    /// A warning.
    pub fn warn(&self, line: impl AsRef<str>) {
        self.must(format!("warning: {}", line.as_ref()));
    }

    /// Asks for a line of text; `answer_by` names the option that answers without a terminal.
    pub fn ask(&self, question: &str, answer_by: &str) -> Result<String> {
        if !self.interactive() {
            return Err(no_terminal(question, answer_by));
        }
        let mut err = std::io::stderr().lock();
        let _ = write!(err, "{question} ");
        let _ = err.flush();
        let mut line = String::new();
        let read = std::io::stdin().lock().read_line(&mut line);
        match read {
            Ok(0) => Err(Failure::new(Kind::Interrupted, "The input ended before the answer.")),
            Ok(_) => Ok(line.trim().to_owned()),
            Err(e) => Err(Failure::new(Kind::Other, format!("Reading the answer: {e}."))),
        }
    }

    /// Asks a question that is yes or no.
    pub fn confirm(&self, question: &str, default: bool, answer_by: &str) -> Result<bool> {
        let choices = if default { "[Y/n]" } else { "[y/N]" };
        loop {
            match self.ask(&format!("{question} {choices}"), answer_by)?.to_lowercase().as_str() {
                "" => return Ok(default),
                "y" | "yes" => return Ok(true),
                "n" | "no" => return Ok(false),
                _ => self.must("Answer y or n."),
            }
        }
    }

    /// Asks for a secret without showing it.
    pub fn secret(&self, question: &str, answer_by: &str) -> Result<SecretString> {
        if !self.interactive() {
            return Err(no_terminal(question, answer_by));
        }
        match rpassword::prompt_password(format!("{question} ")) {
            Ok(secret) => Ok(SecretString::from(secret)),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {
                Err(Failure::new(Kind::Interrupted, "Interrupted. Nothing was changed."))
            }
            Err(e) => Err(Failure::new(Kind::Other, format!("Reading from the terminal: {e}."))),
        }
    }

    /// A progress bar on a terminal, and nothing off it.
    pub fn progress(&self) -> Bar {
        Bar::new(!self.quiet && std::io::stderr().is_terminal())
    }
}

fn no_terminal(question: &str, answer_by: &str) -> Failure {
    Failure::new(Kind::Usage, format!("No terminal to ask on: {question}"))
        .hint(format!("Answer with {answer_by}."))
}

/// The progress of a long step: bytes and entries done.
#[derive(Debug)]
pub struct Bar {
    bar: ProgressBar,
    shown: bool,
    entries: AtomicU64,
    found: AtomicU64,
}

impl Bar {
    fn new(shown: bool) -> Self {
        let target =
            if shown { ProgressDrawTarget::stderr_with_hz(10) } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(style("{spinner} {msg}  {bytes}  {binary_bytes_per_sec}  {elapsed}"));
        if shown {
            bar.enable_steady_tick(Duration::from_millis(200));
        }
        Bar { bar, shown, entries: AtomicU64::new(0), found: AtomicU64::new(0) }
    }

    /// The step is over; the bar goes.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl keyward_archive::Progress for Bar {
    fn wants_total(&self) -> bool {
        self.shown
    }

    fn found(&self, _entries: u64, bytes: u64) {
        let before = self.found.fetch_add(bytes, Ordering::Relaxed);
        if before == 0 {
            self.bar.set_style(style(
                "{bar:28} {msg}  {bytes} of {total_bytes}  {binary_bytes_per_sec}  {elapsed}, {eta} left",
            ));
        }
        self.bar.set_length(before.saturating_add(bytes));
    }

    fn done(&self, entries: u64, bytes: u64) {
        self.bar.inc(bytes);
        if entries > 0 {
            let done = self.entries.fetch_add(entries, Ordering::Relaxed).saturating_add(entries);
            if self.shown && done.is_multiple_of(64) {
                self.bar.set_message(count(done, "entry", "entries"));
            }
        }
    }

    fn stopped(&self) -> bool {
        crate::interrupt::asked()
    }
}

fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━━ ")
}

/// A size for people.
pub fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// A count for people, with its noun: `1 file`, `5,012 files`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{} {many}", HumanCount(number)) }
}

/// Names in a sentence: `alice`, `alice or bob`, `alice, bob or carol`.
pub fn list<S: AsRef<str>>(names: &[S], joint: &str) -> String {
    match names {
        [] => "nobody".to_owned(),
        [one] => one.as_ref().to_owned(),
        [head @ .., last] => {
            let head: Vec<&str> = head.iter().map(AsRef::as_ref).collect();
            format!("{} {joint} {}", head.join(", "), last.as_ref())
        }
    }
}

/// Text from outside with its control characters made visible, so that a name cannot move the cursor.
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown() {
        assert_eq!(printable("a\x1b[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(printable("übung 1.txt"), "übung 1.txt");
        assert_eq!(printable("\u{202e}txt"), "\\u{202e}txt");
    }

    #[test]
    fn names_in_a_sentence() {
        assert_eq!(list::<&str>(&[], "or"), "nobody");
        assert_eq!(list(&["alice"], "or"), "alice");
        assert_eq!(list(&["alice", "bob", "carol"], "or"), "alice, bob or carol");
        assert_eq!(count(1, "file", "files"), "1 file");
        assert_eq!(count(5012, "file", "files"), "5,012 files");
    }
}
