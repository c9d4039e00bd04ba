//! Armored age files (<https://c2sp.org/age>, ASCII armor): a strict PEM around the binary file. Keyward
//! writes none, and reads those that others made.

use std::io::{BufRead, Read};

use age::armor::ArmoredReader;

use crate::error::Error;

/// What an armored file begins with, behind white space.
const BEGIN: u8 = b'-';
/// The most white space that is skipped before it, in bytes.
const MAX_SPACE: usize = 1024;

/// Reads a file that may be armored: gives the binary form of either.
///
/// # Errors
/// [`Error::NotAge`] if white space is followed by something else than armor; malformed armor is an
/// [`std::io::Error`] of the reader.
pub fn dearmor<R: BufRead>(mut input: R) -> Result<impl Read, Error> {
    let mut skipped = 0;
    loop {
        let ready = input.fill_buf()?;
        let space = ready.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let first = ready.get(space).copied();
        let at_end = ready.is_empty();
        input.consume(space);
        skipped += space;
        if skipped > 0 && (at_end || skipped > MAX_SPACE || first.is_some_and(|byte| byte != BEGIN)) {
            return Err(Error::NotAge);
        }
        if at_end || first.is_some() {
            return Ok(ArmoredReader::new(input));
        }
    }
}
