//! PIN and PUK: secrets of 6 to 8 bytes, SP 800-73-4 part 2 section 2.4.3, padded with FF as the commands want them.
//!
//! They are never shown, copied or compared in variable time, and wiped when dropped. Their length is checked here, before
//! any card could count a try.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A PIN of 6 to 8 bytes, padded as VERIFY wants it. Wiped when dropped.
pub struct Pin(Secret);

/// A PUK of 6 to 8 bytes. Wiped when dropped.
pub struct Puk(Secret);

struct Secret {
    padded: Zeroizing<[u8; 8]>,
    length: usize,
}

impl Secret {
    fn new(bytes: &[u8]) -> Result<Self> {
        let length = bytes.len();
        let mut padded = Zeroizing::new([0xFF; 8]);
        match padded.get_mut(..length) {
            Some(start) if length >= 6 => start.copy_from_slice(bytes),
            _ => return Err(Error::PinLength { length }),
        }
        Ok(Self { padded, length })
    }

    fn bytes(&self) -> &[u8] {
        self.padded.get(..self.length).unwrap_or_default()
    }
}

impl Pin {
    /// Takes a PIN, checking nothing but its length: what a PIN consists of is the card's matter.
    ///
    /// # Errors
    /// [`Error::PinLength`], before any card is asked.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        Secret::new(bytes).map(Self)
    }

    /// The eight bytes of VERIFY.
    pub(crate) fn padded(&self) -> &[u8; 8] {
        &self.0.padded
    }

    /// Its bytes, without padding.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// Whether both are the same, in constant time.
    pub(crate) fn equals(&self, other: &Pin) -> bool {
        bool::from(self.0.padded.ct_eq(&*other.0.padded))
    }
}

impl Puk {
    /// Takes a PUK.
    ///
    /// # Errors
    /// [`Error::PinLength`].
    pub fn new(bytes: &[u8]) -> Result<Self> {
        Secret::new(bytes).map(Self)
    }

    /// Eight random digits.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn generate() -> Result<Self> {
        let mut digits = Zeroizing::new([0u8; 8]);
        for digit in digits.iter_mut() {
            *digit = loop {
                let mut byte = [0];
                getrandom::fill(&mut byte).map_err(|_| Error::Random)?;
                // 250 is the largest multiple of ten in a byte: no digit is likelier than another.
                if let [value @ 0..250] = byte {
                    break b'0' + value % 10;
                }
            };
        }
        Self::new(&*digits)
    }

    /// The bytes, for the person who has to write them down.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.0.bytes()
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pin(…)")
    }
}

impl fmt::Debug for Puk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Puk(…)")
    }
}
