//! Which of the tokens that are plugged in: a YubiKey by its serial number, any other PIV card by its reader.
//!
//! A card that is no YubiKey has no number that is its own. Where it is the only one, `card` says it; else the name of its
//! reader, or a part that no other reader's name has.

use std::fmt;
use std::str::FromStr;

use keyward_token::{Error, Found};

use crate::report::{Failure, Kind, Result, token_failure};
use crate::ui;

const UNCHANGED: &str = "Nothing was changed.";

/// A token as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// A YubiKey.
    Serial(u32),
    /// The one PIV card that is no YubiKey.
    Card,
    /// The card in this reader.
    Reader(String),
}

impl FromStr for Which {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(match text.parse() {
            Ok(serial) => Self::Serial(serial),
            Err(_) if text == "card" => Self::Card,
            Err(_) => Self::Reader(text.to_owned()),
        })
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serial(serial) => serial.fmt(f),
            Self::Card => f.write_str("card"),
            Self::Reader(reader) => f.write_str(&ui::printable(reader)),
        }
    }
}

/// A token in a word or two, whoever holds it.
pub fn describe(token: &Found) -> String {
    match token.serial {
        Some(serial) => format!("YubiKey {serial}"),
        None => format!("PIV card in {}", ui::printable(&token.reader)),
    }
}

/// The tokens that are plugged in.
///
/// # Errors
/// No service or no token (3).
pub fn plugged_in() -> Result<Vec<Found>> {
    keyward_token::list().map_err(|error| match error {
        Error::NoToken => token_failure("", UNCHANGED, Error::NoToken).hint("Plug in a token."),
        error => token_failure("The smart card service", UNCHANGED, error),
    })
}

impl Which {
    /// The token that is meant.
    ///
    /// # Errors
    /// It is not plugged in (3), its reader is busy (6), or several are meant (2).
    pub fn find<'f>(&self, found: &'f [Found]) -> Result<&'f Found> {
        let fits: Vec<&Found> = found.iter().filter(|token| self.means(token, found)).collect();
        match fits.as_slice() {
            [token] if token.busy => {
                Err(token_failure("The token", UNCHANGED, Error::Busy { reader: token.reader.clone() }))
            }
            [token] => Ok(token),
            [] => self.absent(found),
            several => {
                let several: Vec<String> = several.iter().map(|token| describe(token)).collect();
                Err(Failure::new(
                    Kind::Usage,
                    format!("`{self}` means more than one: {}. {UNCHANGED}", ui::list(&several, "and")),
                )
                .hint("Name the reader in full."))
            }
        }
    }

    fn means(&self, token: &Found, all: &[Found]) -> bool {
        match self {
            Self::Serial(serial) => token.serial == Some(*serial),
            Self::Card => token.serial.is_none() && !token.busy,
            // The whole name is exact even where it is part of another.
            Self::Reader(name) if all.iter().any(|other| other.reader == *name) => token.reader == *name,
            Self::Reader(name) => token.reader.to_ascii_lowercase().contains(&name.to_ascii_lowercase()),
        }
    }

    fn absent(&self, found: &[Found]) -> Result<&'static Found> {
        if let Some(busy) = found.iter().find(|token| token.busy) {
            return Err(token_failure("The token", UNCHANGED, Error::Busy { reader: busy.reader.clone() }));
        }
        let what = match self {
            Self::Serial(serial) => format!("YubiKey {serial} is not plugged in."),
            Self::Card => "No PIV card other than a YubiKey is here.".to_owned(),
            Self::Reader(_) => format!("No reader `{self}` has a PIV card in it."),
        };
        let here: Vec<String> = found.iter().map(describe).collect();
        Err(Failure::new(Kind::NotFound, format!("{what} {UNCHANGED}"))
            .hint(format!("Plugged in: {}.", ui::list(&here, "and"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(reader: &str, serial: Option<u32>) -> Found {
        Found { reader: reader.to_owned(), serial, firmware: None, atr: Vec::new(), busy: false }
    }

    #[test]
    fn tokens_are_found_by_serial_reader_and_kind() {
        let found = [
            token("Yubico YubiKey 00 00", Some(7)),
            token("Virtual PCD 00 00", None),
            token("ACS ACR39U 00 00", None),
        ];
        let find = |text: &str, found: &[Found]| {
            let which: Which = text.parse().unwrap();
            which.find(found).map(|token| token.reader.clone()).map_err(|failure| failure.kind)
        };
        assert_eq!(find("7", &found).unwrap(), "Yubico YubiKey 00 00");
        assert_eq!(find("acr39", &found).unwrap(), "ACS ACR39U 00 00");
        assert_eq!(find("Virtual PCD 00 00", &found).unwrap(), "Virtual PCD 00 00");
        assert_eq!(find("card", &found[..2]).unwrap(), "Virtual PCD 00 00");
        assert_eq!(find("card", &found), Err(Kind::Usage));
        assert_eq!(find("00 00", &found), Err(Kind::Usage));
        assert_eq!(find("8", &found), Err(Kind::NotFound));
        assert_eq!(find("card", &found[..1]), Err(Kind::NotFound));
        assert_eq!(find("nowhere", &found), Err(Kind::NotFound));
    }

    /// A reader whose whole name is the beginning of another's.
    #[test]
    fn a_whole_name_is_exact() {
        let found = [token("ACS", None), token("ACS 2", None)];
        assert_eq!("ACS".parse::<Which>().unwrap().find(&found).unwrap().reader, "ACS");
    }
}
