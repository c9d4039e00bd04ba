//! Status words, the last two bytes of every response.
//!
//! ISO/IEC 7816-4 section 5.6; SP 800-73-4 part 2 section 4.1.3 names those that PIV uses. Which of
//! them a YubiKey gives where is noted at the command that gives it.

/// A status word other than success: why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sw(u16);

impl Sw {
    /// 9000, success.
    pub(crate) const SUCCESS: Sw = Sw(0x9000);
    /// 6581, memory failure: the change could not be written to the state file.
    pub(crate) const MEMORY_FAILURE: Sw = Sw(0x6581);
    /// 6700, wrong length.
    pub(crate) const WRONG_LENGTH: Sw = Sw(0x6700);
    /// 6982, security status not satisfied: PIN, touch or management key is missing.
    pub(crate) const SECURITY_STATUS: Sw = Sw(0x6982);
    /// 6983, authentication method blocked: no tries are left.
    pub(crate) const BLOCKED: Sw = Sw(0x6983);
    /// 6985, conditions of use not satisfied.
    pub(crate) const CONDITIONS: Sw = Sw(0x6985);
    /// 6A80, incorrect parameter in the data field.
    pub(crate) const WRONG_DATA: Sw = Sw(0x6A80);
    /// 6A82, application, file or object not found.
    pub(crate) const NOT_FOUND: Sw = Sw(0x6A82);
    /// 6A84, not enough memory.
    pub(crate) const NO_SPACE: Sw = Sw(0x6A84);
    /// 6A86, incorrect parameter in P1 or P2.
    pub(crate) const WRONG_P1_P2: Sw = Sw(0x6A86);
    /// 6A88, referenced data not found: no such key reference, or the slot is empty.
    pub(crate) const NO_REFERENCE: Sw = Sw(0x6A88);
    /// 6D00, instruction not supported.
    pub(crate) const WRONG_INS: Sw = Sw(0x6D00);
    /// 6E00, class not supported.
    pub(crate) const WRONG_CLA: Sw = Sw(0x6E00);
    /// 6F00, no precise diagnosis: the machine gave no randomness.
    pub(crate) const INTERNAL: Sw = Sw(0x6F00);

    /// 63Cx, wrong PIN or PUK with x tries left (15 stands for 15 or more).
    pub(crate) fn tries_left(tries: u8) -> Sw {
        Sw(0x63C0 | u16::from(tries.min(15)))
    }

    /// 61xx, more bytes wait for GET RESPONSE (00 stands for 256 or more).
    pub(crate) fn more(remaining: usize) -> Sw {
        Sw(0x6100 | u16::from(u8::try_from(remaining).unwrap_or(0)))
    }

    /// The two bytes as they are sent.
    pub(crate) fn bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}
