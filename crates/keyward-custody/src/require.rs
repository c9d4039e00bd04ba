//! The vault's `require` line: what every token has to be (`docs/formats.md`, "Requirements").

use std::fmt;
use std::str::FromStr;

use crate::canonical::serde_as_text;
use crate::{Error, Firmware, Name, PinPolicy, Token, TouchPolicy, Verdict};

/// What every token of a vault has to be. The default requires nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// The weakest PIN policy.
    pub pin: Option<PinPolicy>,
    /// The weakest touch policy.
    pub touch: Option<TouchPolicy>,
    /// The oldest firmware.
    pub firmware: Option<Firmware>,
    /// Whether the keys have to be attested.
    pub attested: bool,
}

impl Requirements {
    /// [`Error::Requirement`] with the first clause that this token fails. In a test vault an emulated token counts as
    /// attested.
    pub(crate) fn check(&self, holder: &Name, token: &Token, test: bool) -> Result<(), Error> {
        let fail = |clause, found: String| Err(Error::Requirement { holder: holder.clone(), clause, found });
        if let Some(pin) = self.pin
            && token.pin_policy < pin
        {
            return fail(format!("pin = {pin}"), format!("PIN policy {}", token.pin_policy));
        }
        if let Some(touch) = self.touch
            && token.touch_policy < touch
        {
            return fail(format!("touch = {touch}"), format!("touch policy {}", token.touch_policy));
        }
        if let Some(oldest) = self.firmware
            && token.firmware.is_none_or(|firmware| firmware < oldest)
        {
            let found =
                token.firmware.map_or("unknown firmware".to_owned(), |found| format!("firmware {found}"));
            return fail(format!("firmware >= {}", Short(oldest)), found);
        }
        let attested = token.verdict == Verdict::Verified || (test && token.verdict == Verdict::Emulated);
        if self.attested && !attested {
            return fail("attested".to_owned(), format!("verdict {}", token.verdict));
        }
        Ok(())
    }
}

/// A firmware in a requirement: without a patch of 0.
struct Short(Firmware);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            [major, minor, 0] => write!(f, "{major}.{minor}"),
            _ => self.0.fmt(f),
        }
    }
}

impl fmt::Display for Requirements {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clauses = [
            self.pin.map(|pin| format!("pin = {pin}")),
            self.touch.map(|touch| format!("touch = {touch}")),
            self.firmware.map(|oldest| format!("firmware >= {}", Short(oldest))),
            self.attested.then(|| "attested".to_owned()),
        ];
        f.write_str(&clauses.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

impl FromStr for Requirements {
    type Err = Error;

    /// Reads clauses in any order, with or without spaces around their parts.
    fn from_str(text: &str) -> Result<Requirements, Error> {
        let mut requirements = Requirements::default();
        if text.trim().is_empty() {
            return Ok(requirements);
        }
        for clause in text.split(',').map(str::trim) {
            let refuse = |reason| Error::Require { clause: clause.chars().take(64).collect(), reason };
            let twice = if let Some((left, firmware)) = clause.split_once(">=") {
                if left.trim() != "firmware" {
                    return Err(refuse("only a firmware can be compared with >="));
                }
                let firmware = firmware.trim();
                let whole = if firmware.matches('.').count() == 1 {
                    format!("{firmware}.0")
                } else {
                    firmware.to_owned()
                };
                let oldest = whole.parse().map_err(|_| refuse("a firmware is written 5.7 or 5.7.1"))?;
                requirements.firmware.replace(oldest).is_some()
            } else if let Some((left, policy)) = clause.split_once('=') {
                let policy = policy.trim();
                match left.trim() {
                    "pin" => {
                        let pin =
                            policy.parse().map_err(|_| refuse("a PIN policy is never, once or always"))?;
                        requirements.pin.replace(pin).is_some()
                    }
                    "touch" => {
                        let touch = policy
                            .parse()
                            .map_err(|_| refuse("a touch policy is never, cached or always"))?;
                        requirements.touch.replace(touch).is_some()
                    }
                    _ => return Err(refuse("only pin and touch can be compared with =")),
                }
            } else if clause == "attested" {
                std::mem::replace(&mut requirements.attested, true)
            } else {
                return Err(refuse("it is none of pin = …, touch = …, firmware >= …, attested"));
            };
            if twice {
                return Err(refuse("it is there twice"));
            }
        }
        Ok(requirements)
    }
}

serde_as_text!(Requirements);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text() {
        for (written, canonical) in [
            ("", ""),
            ("  ", ""),
            ("touch=always,firmware>=5.7", "touch = always, firmware >= 5.7"),
            ("attested , firmware >= 5.7.0, pin = once", "pin = once, firmware >= 5.7, attested"),
            ("firmware >= 5.7.1", "firmware >= 5.7.1"),
        ] {
            let parsed: Requirements = written.parse().unwrap();
            assert_eq!(parsed.to_string(), canonical);
            assert_eq!(canonical.parse::<Requirements>().unwrap(), parsed);
        }
        for bad in [
            ",",
            "touch",
            "touch = maybe",
            "touch > always",
            "pin >= once",
            "firmware = 5.7",
            "firmware >= 5",
            "firmware >= 5.7.1.2",
            "attested, attested",
            "touch = always, touch = never",
            "colour = red",
            "touch = always,",
        ] {
            assert!(matches!(bad.parse::<Requirements>(), Err(Error::Require { .. })), "{bad}");
        }
    }
}
