//! Firmware versions with published weaknesses in what Keyward uses, as facts to warn about.
//!
//! A warning never stops anything here; a vault's `require` line does.

use std::{fmt, str::FromStr};

/// A YubiKey's firmware version, as GET VERSION and attestations give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Firmware {
    /// Major.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Patch.
    pub patch: u8,
}

impl Firmware {
    /// `major.minor.patch`.
    #[must_use]
    pub const fn new(major: u8, minor: u8, patch: u8) -> Self {
        Self { major, minor, patch }
    }

    /// GET METADATA (F7) is there since 5.3.
    pub(crate) fn has_metadata(self) -> bool {
        self >= Self::new(5, 3, 0)
    }

    /// The management key can be AES-192 since 5.4.2.
    pub(crate) fn has_aes(self) -> bool {
        self >= Self::new(5, 4, 2)
    }
}

impl From<[u8; 3]> for Firmware {
    fn from([major, minor, patch]: [u8; 3]) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Firmware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Firmware {
    type Err = NotAFirmware;

    fn from_str(text: &str) -> Result<Self, NotAFirmware> {
        let mut parts = text.split('.').map(|part| {
            let plain = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            if plain && (part == "0" || !part.starts_with('0')) { part.parse::<u8>().ok() } else { None }
        });
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(NotAFirmware),
        }
    }
}

/// The text is not `MAJOR.MINOR.PATCH`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a firmware version (MAJOR.MINOR.PATCH)")]
pub struct NotAFirmware;

/// A published weakness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advisory {
    /// The name it is known by.
    pub name: &'static str,
    /// Yubico's advisory.
    pub yubico: &'static str,
    /// The CVE number.
    pub cve: &'static str,
    /// What it means for keys on the token.
    pub effect: &'static str,
    /// Whether P-256 keys, which is what Keyward makes, are concerned; else only RSA keys are.
    pub concerns_p256: bool,
}

const ROCA: Advisory = Advisory {
    name: "ROCA",
    yubico: "YSA-2017-01",
    cve: "CVE-2017-15361",
    effect: "RSA keys generated on the token can be computed from their public keys",
    concerns_p256: false,
};

const EUCLEAK: Advisory = Advisory {
    name: "EUCLEAK",
    yubico: "YSA-2024-03",
    cve: "CVE-2024-45678",
    effect: "someone who has the token in a laboratory can extract its ECDSA keys",
    concerns_p256: true,
};

/// The advisories that concern this firmware.
#[must_use]
pub fn advisories(firmware: Firmware) -> Vec<Advisory> {
    let mut found = Vec::new();
    // YSA-2017-01: 4.2.6 up to and with 4.3.4.
    if (Firmware::new(4, 2, 6)..=Firmware::new(4, 3, 4)).contains(&firmware) {
        found.push(ROCA);
    }
    // YSA-2024-03: everything before 5.7.0.
    if firmware < Firmware::new(5, 7, 0) {
        found.push(EUCLEAK);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(firmware: &str) -> Vec<&'static str> {
        advisories(firmware.parse().unwrap()).into_iter().map(|advisory| advisory.name).collect()
    }

    #[test]
    fn the_bounds_of_each_advisory() {
        assert_eq!(names("4.2.5"), ["EUCLEAK"]);
        assert_eq!(names("4.2.6"), ["ROCA", "EUCLEAK"]);
        assert_eq!(names("4.3.4"), ["ROCA", "EUCLEAK"]);
        assert_eq!(names("4.3.5"), ["EUCLEAK"]);
        assert_eq!(names("5.4.3"), ["EUCLEAK"]);
        assert_eq!(names("5.6.9"), ["EUCLEAK"]);
        assert_eq!(names("5.7.0"), [""; 0]);
        assert_eq!(names("5.7.4"), [""; 0]);
    }

    #[test]
    fn versions_have_one_spelling() {
        assert_eq!("5.7.1".parse(), Ok(Firmware::new(5, 7, 1)));
        for text in ["", "5", "5.7", "5.7.1.0", "05.7.1", "5.+7.1", "5.7.256", "5.7.x", " 5.7.1"] {
            assert_eq!(text.parse::<Firmware>(), Err(NotAFirmware), "{text:?}");
        }
    }
}
