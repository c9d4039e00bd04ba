//! Where a PIN comes from: a file, a variable (test vaults only), or the terminal; never an argument.
//!
//! A PIN lives in a `SecretString` from here to the token. This room knows serial numbers and nothing else of
//! tokens.

use std::cell::RefCell;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::env;
use crate::files;
use crate::report::{Failure, Kind, Result};
use crate::ui::Ui;

/// A source of PINs for a run.
#[derive(Debug)]
pub struct Pins {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Lines(Vec<(Option<u32>, SecretString)>),
    Variable(SecretString),
    /// Asked for; each is kept for the run, until its token refuses it.
    Terminal(RefCell<Vec<(Option<u32>, SecretString)>>),
    /// Set by this very run, so that nobody types it again.
    Known(Vec<(String, SecretString)>),
}

impl Pins {
    /// Looks at `KEYWARD_PIN_FILE`, then at `KEYWARD_PIN`, then at the terminal.
    ///
    /// `test` says whether the vault at hand is a test vault: only for one is `KEYWARD_PIN` used.
    ///
    /// # Errors
    /// Refused where `KEYWARD_PIN` is set for a real vault; an unreadable or malformed PIN file.
    pub fn find(test: bool) -> Result<Self> {
        if let Some(path) = env::pin_file() {
            return Ok(Pins { source: Source::Lines(read_lines(&path)?) });
        }
        match env::pin() {
            Some(pin) if test => Ok(Pins { source: Source::Variable(pin) }),
            Some(_) => Err(Failure::new(
                Kind::Refused,
                "KEYWARD_PIN is set, and it is read for test vaults only. Nothing was changed.",
            )
            .hint("Unset it, and type the PIN or name a file in KEYWARD_PIN_FILE.")),
            None => Ok(Pins { source: Source::Terminal(RefCell::default()) }),
        }
    }

    /// The PINs that this run has just given to tokens, each with its token's label.
    pub fn known(pins: Vec<(String, SecretString)>) -> Self {
        Pins { source: Source::Known(pins) }
    }

    /// Whether a person is asked: then the PIN is taken before a card transaction begins.
    pub fn asks(&self) -> bool {
        matches!(self.source, Source::Terminal(_))
    }

    /// The PIN of one token. `label` names the token in the question.
    ///
    /// # Errors
    /// No terminal to ask on; no line for this token in the PIN file.
    pub fn pin(&self, ui: Ui, serial: Option<u32>, label: &str) -> Result<SecretString> {
        match &self.source {
            Source::Variable(pin) => Ok(copy(pin)),
            Source::Lines(lines) => {
                let own = lines.iter().find(|(s, _)| s.is_some() && *s == serial);
                let any = lines.iter().find(|(s, _)| s.is_none());
                own.or(any).map(|(_, pin)| copy(pin)).ok_or_else(|| {
                    Failure::new(
                        Kind::Pin,
                        format!("KEYWARD_PIN_FILE has no line for {label}. No PIN was sent."),
                    )
                    .hint("Write a line `SERIAL PIN`.")
                })
            }
            Source::Known(pins) => {
                let known = pins.iter().find(|(known, _)| known == label);
                known.map(|(_, pin)| copy(pin)).ok_or_else(|| {
                    Failure::new(Kind::Pin, format!("The PIN of {label} is not known here. No PIN was sent."))
                })
            }
            Source::Terminal(typed) => {
                // Tokens without a serial number cannot be told apart: each use is asked for.
                if let Some((_, pin)) = typed.borrow().iter().find(|(s, _)| s.is_some() && *s == serial) {
                    return Ok(copy(pin));
                }
                let by = "KEYWARD_PIN_FILE (a file with a line `SERIAL PIN`)";
                let pin = ui.secret(&format!("PIN for {label}:"), by)?;
                typed.borrow_mut().push((serial, copy(&pin)));
                Ok(pin)
            }
        }
    }

    /// Erases what was typed for a token that refused it: no PIN that failed is sent a second time.
    pub fn forget(&self, serial: Option<u32>) {
        if let Source::Terminal(typed) = &self.source {
            typed.borrow_mut().retain(|(s, _)| *s != serial);
        }
    }

    /// A new PIN for a token that is being enrolled, typed twice on a terminal.
    ///
    /// # Errors
    /// As [`Pins::pin`]; a PIN that is not 6 to 8 characters, or typed differently the second time.
    pub fn new_pin(&self, ui: Ui, serial: Option<u32>, label: &str) -> Result<SecretString> {
        let pin = match self.source {
            Source::Terminal(_) => {
                let by = "KEYWARD_PIN_FILE (a file with a line `SERIAL PIN`)";
                let pin = ui.secret(&format!("New PIN for {label}, 6 to 8 characters:"), by)?;
                let again = ui.secret("The same again:", by)?;
                if pin.expose_secret() != again.expose_secret() {
                    return Err(Failure::new(Kind::Pin, "The two PINs differ. Nothing was changed."));
                }
                pin
            }
            _ => self.pin(ui, serial, label)?,
        };
        check_new(&pin)?;
        Ok(pin)
    }
}

/// A PIN has 6 to 8 printable ASCII characters (SP 800-73-4 asks for digits; YubiKeys take any byte), and the
/// factory's own is no new PIN.
///
/// # Errors
/// What is wrong with it, before it is set.
pub fn check_new(pin: &SecretString) -> Result<()> {
    let pin = pin.expose_secret();
    if !(6..=8).contains(&pin.len()) || !pin.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Failure::new(
            Kind::Pin,
            "A PIN has 6 to 8 letters, digits or signs. Nothing was changed.",
        ));
    }
    if pin == "123456" {
        return Err(Failure::new(Kind::Pin, "123456 is the factory's PIN. Nothing was changed.")
            .hint("Choose another."));
    }
    Ok(())
}

fn copy(pin: &SecretString) -> SecretString {
    SecretString::from(pin.expose_secret().to_owned())
}

fn read_lines(path: &Path) -> Result<Vec<(Option<u32>, SecretString)>> {
    use std::os::unix::fs::MetadataExt;

    let fail = |e: std::io::Error| Failure::io("Reading KEYWARD_PIN_FILE", path, &e);
    let mode = std::fs::metadata(path).map_err(fail)?.mode();
    if mode & 0o077 != 0 {
        return Err(Failure::new(
            Kind::Refused,
            format!(
                "{} can be read by others (mode {:04o}). No PIN was sent.",
                path.display(),
                mode & 0o7777
            ),
        )
        .hint(format!("chmod 600 {}", path.display())));
    }
    let bytes = Zeroizing::new(files::read(path).map_err(fail)?);
    parse_lines(&bytes).map_err(|line| {
        Failure::new(Kind::Pin, format!("{}, line {line}: neither `SERIAL PIN` nor one PIN.", path.display()))
    })
}

/// Lines `SERIAL PIN`, or a PIN alone; empty lines and lines that begin with `#` are passed over.
fn parse_lines(bytes: &[u8]) -> std::result::Result<Vec<(Option<u32>, SecretString)>, usize> {
    let mut lines = Vec::new();
    for (number, line) in bytes.split(|&b| b == b'\n').enumerate() {
        let number = number.saturating_add(1);
        let line = std::str::from_utf8(line).map_err(|_| number)?.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some(pin), None, None) => lines.push((None, SecretString::from(pin.to_owned()))),
            (Some(serial), Some(pin), None) => {
                let serial = serial.parse().map_err(|_| number)?;
                lines.push((Some(serial), SecretString::from(pin.to_owned())));
            }
            _ => return Err(number),
        }
    }
    if lines.is_empty() { Err(1) } else { Ok(lines) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_pin_file() {
        let lines = parse_lines(b"# two tokens\n11110001 24681357\n\n11110002 abcdef12\n").unwrap();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].0, Some(11110002));
        assert_eq!(lines[1].1.expose_secret(), "abcdef12");
        assert_eq!(parse_lines(b"24681357").unwrap()[0].0, None);
        assert_eq!(parse_lines(b"").unwrap_err(), 1);
        assert_eq!(parse_lines(b"1 2 3\n").unwrap_err(), 1);
        assert_eq!(parse_lines(b"\nalice 123456\n").unwrap_err(), 2);
        assert_eq!(parse_lines(&[0xff, 0xfe]).unwrap_err(), 1);
    }

    #[test]
    fn new_pins() {
        let check = |pin: &str| check_new(&SecretString::from(pin.to_owned())).is_ok();
        assert!(check("24681357"));
        assert!(!check("12345"));
        assert!(!check("123456789"));
        assert!(!check("123456"));
        assert!(!check("1234 56"));
    }
}
