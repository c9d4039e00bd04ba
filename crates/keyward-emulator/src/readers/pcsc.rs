//! The words of the PC/SC interface: result codes, sharing, dispositions, and how a reader looks.
//!
//! `pcsclite.h` and `winscard.h`; numbers as they go over the wire are read in `pcsclite`.

use crate::{Fault, Firmware, Touch};

/// A result code of the PC/SC interface, `pcsclite.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(pub(crate) u32);

impl Code {
    pub(crate) const SUCCESS: Code = Code(0);
    pub(crate) const CANCELLED: Code = Code(0x8010_0002);
    pub(crate) const INVALID_HANDLE: Code = Code(0x8010_0003);
    pub(crate) const INSUFFICIENT_BUFFER: Code = Code(0x8010_0008);
    pub(crate) const UNKNOWN_READER: Code = Code(0x8010_0009);
    pub(crate) const SHARING_VIOLATION: Code = Code(0x8010_000B);
    pub(crate) const PROTO_MISMATCH: Code = Code(0x8010_000F);
    pub(crate) const INVALID_VALUE: Code = Code(0x8010_0011);
    pub(crate) const NOT_TRANSACTED: Code = Code(0x8010_0016);
    pub(crate) const READER_UNAVAILABLE: Code = Code(0x8010_0017);
    pub(crate) const SERVICE_STOPPED: Code = Code(0x8010_001E);
    pub(crate) const UNSUPPORTED_FEATURE: Code = Code(0x8010_001F);
    pub(crate) const RESET_CARD: Code = Code(0x8010_0068);
}

/// How a handle shares its card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    Exclusive,
    Shared,
    Direct,
}

/// What happens to the card at a disconnect, a reconnect or a transaction's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Leave,
    Reset,
    Unpower,
    Eject,
}

impl Disposition {
    /// Reset and power loss are one to a card: all it was shown is forgotten.
    pub(super) fn resets(self) -> bool {
        matches!(self, Self::Reset | Self::Unpower)
    }
}

/// A reader as clients see it.
#[derive(Clone, Debug)]
pub(crate) struct ReaderView {
    pub(crate) name: String,
    pub(crate) events: u32,
    /// Not after UNPOWER, until somebody connects.
    pub(crate) powered: bool,
    /// −1: held exclusively; else how many share it.
    pub(crate) sharing: i32,
}

/// A reader as the test's hand sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenStatus {
    /// The reader's name while the token is in.
    pub reader: String,
    /// The token's serial number.
    pub serial: u32,
    /// The token's firmware.
    pub firmware: Firmware,
    /// Whether it is plugged in.
    pub inserted: bool,
    /// How many connections are open to it.
    pub connections: usize,
    /// What happens when a key wants a touch.
    pub touch: Touch,
    /// Whether it waits for a touch now.
    pub waiting: bool,
    /// How many APDUs were sent to it.
    pub apdus: u64,
    /// The faults that have not struck yet, with the APDUs left to each.
    pub faults: Vec<Fault>,
}

/// Names a client for as long as its socket lives.
pub(crate) type ClientId = u64;

/// What an operation of the interface gives.
pub(crate) type Outcome<T> = std::result::Result<T, Code>;
