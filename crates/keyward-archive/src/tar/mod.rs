//! tar as GNU tar and POSIX `pax` have it (POSIX.1-2017, pax, "ustar Interchange Format" and "pax
//! Header Block"; GNU tar manual, "Basic Tar Format"), as a stream of members.
//!
//! The rooms below know bytes and bounds, not files: [`header`] turns one member into header
//! blocks and back, [`reader`] finds members in a stream, [`sparse`] knows files with holes. Names are bytes throughout. The codec is
//! our own because the `tar` crate splits pax records at line ends (a name may contain one), reads
//! times before 1970 as far in the future, and buffers extension records without a bound; it
//! serves as the oracle in the tests.

pub(crate) mod header;
pub(crate) mod reader;
pub(crate) mod sparse;

/// tar's unit, in bytes.
pub(crate) const BLOCK: usize = 512;

/// The zeros that fill `size` bytes of contents up to a whole block.
pub(crate) fn padding(size: u64) -> usize {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { 0 } else { BLOCK - over }
}
