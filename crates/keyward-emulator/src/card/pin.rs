//! PIN and PUK: eight bytes, padded with FF, and tries that run out.
//!
//! SP 800-73-4 part 2 sections 3.2.1 to 3.2.3 (VERIFY, CHANGE REFERENCE DATA, RESET RETRY COUNTER).
//! A wrong value of any content counts, all-FF too: that is how clients block both before a reset.

use serde::{Deserialize, Serialize};

use super::{firmware::Firmware, state::Secret, status::Sw};

const FACTORY_TRIES: u8 = 3;
const FACTORY_PIN: &[u8; 8] = b"123456\xFF\xFF";
const FACTORY_PUK: &[u8; 8] = b"12345678";

/// A secret with a retry counter.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Counted {
    value: Secret,
    tries_left: u8,
    tries: u8,
}

impl Counted {
    fn new(value: &[u8; 8], tries: u8) -> Self {
        Self { value: Secret::new(value), tries_left: tries, tries }
    }

    fn is_sound(&self) -> bool {
        self.value.expose().len() == 8 && self.tries > 0 && self.tries_left <= self.tries
    }

    /// Compares and counts.
    fn check(&mut self, given: &[u8]) -> Result<(), Sw> {
        if self.tries_left == 0 {
            return Err(Sw::BLOCKED);
        }
        if self.value.is(given) {
            self.tries_left = self.tries;
            return Ok(());
        }
        self.tries_left -= 1;
        Err(Sw::tries_left(self.tries_left))
    }

    /// A new value; the counter is full again.
    fn set(&mut self, value: &[u8]) {
        self.value = Secret::new(value);
        self.tries_left = self.tries;
    }
}

macro_rules! counted {
    ($(#[$doc:meta])* $name:ident, $factory:ident) => {
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(Counted);

        impl $name {
            /// The factory's value and three tries.
            pub(crate) fn factory() -> Self {
                Self::with_tries(FACTORY_TRIES)
            }

            /// The factory's value and this many tries.
            pub(crate) fn with_tries(tries: u8) -> Self {
                Self(Counted::new($factory, tries))
            }

            /// Whether a state that was read makes sense.
            pub(crate) fn is_sound(&self) -> bool {
                self.0.is_sound()
            }

            /// Compares eight bytes; a wrong value costs a try, the right one gives all back.
            pub(crate) fn check(&mut self, given: &[u8]) -> Result<(), Sw> {
                self.0.check(given)
            }

            /// Puts a new value, eight padded bytes, in place.
            pub(crate) fn set(&mut self, value: &[u8]) {
                self.0.set(value);
            }

            /// Tries left and tries at most.
            pub(crate) fn tries(&self) -> (u8, u8) {
                (self.0.tries_left, self.0.tries)
            }

            /// Whether it still is the factory's.
            pub(crate) fn is_factory(&self) -> bool {
                self.0.value.is($factory)
            }
        }
    };
}

counted! {
    /// The PIN, key reference 80.
    Pin, FACTORY_PIN
}
counted! {
    /// The PUK, key reference 81.
    Puk, FACTORY_PUK
}

/// The value before its padding, if it is six to eight bytes and then only FF.
fn unpadded(value: &[u8]) -> Option<&[u8]> {
    let length = value.iter().position(|&byte| byte == 0xFF).unwrap_or(value.len());
    let (value, padding) = value.split_at_checked(length)?;
    let fits = length >= 6 && length + padding.len() == 8 && padding.iter().all(|&byte| byte == 0xFF);
    fits.then_some(value)
}

/// Whether eight bytes can become a PIN: six to eight of ASCII, padded.
pub(crate) fn is_pin(value: &[u8]) -> bool {
    unpadded(value).is_some_and(<[u8]>::is_ascii)
}

/// Whether eight bytes can become a PUK: six to eight bytes, padded; of ASCII alone since firmware 5.7.
pub(crate) fn is_puk(value: &[u8], firmware: Firmware) -> bool {
    unpadded(value).is_some_and(|value| value.is_ascii() || firmware.allows_any_puk())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_values_count_down_to_blocked() {
        let mut pin = Pin::factory();
        assert_eq!(pin.check(&[0xFF; 8]), Err(Sw::tries_left(2)));
        assert_eq!(pin.check(b"123456\xFF\xFF"), Ok(()));
        assert_eq!(pin.tries(), (3, 3));
        for left in [2, 1, 0] {
            assert_eq!(pin.check(b"654321\xFF\xFF"), Err(Sw::tries_left(left)));
        }
        assert_eq!(pin.check(b"123456\xFF\xFF"), Err(Sw::BLOCKED));
    }

    #[test]
    fn new_values_are_six_to_eight_bytes() {
        let (old, new) = ("5.4.3".parse().unwrap(), "5.7.1".parse().unwrap());
        for value in [b"123456\xFF\xFF", b"12345678"] {
            assert!(is_pin(value) && is_puk(value, old) && is_puk(value, new));
        }
        for value in [&b"12345\xFF\xFF\xFF"[..], b"12345\xFF78", b"123456", b"123456789", &[0xFF; 8]] {
            assert!(!is_pin(value) && !is_puk(value, old) && !is_puk(value, new), "{value:?}");
        }
        let beyond = b"1234567\x80";
        assert!(!is_pin(beyond) && is_puk(beyond, old) && !is_puk(beyond, new));
    }
}
