//! Seals a letter to an age identity in software, and opens it again: the smallest use of `keyward-age`.
//!
//! Run it with `cargo run -p keyward-tests --example seal_and_open`. The sealed bytes are a standard age file;
//! with a token instead, `Recipient` is its `age1tagpq1…` line and `Header::unwrap_token` takes its key.

#![forbid(unsafe_code)]

use std::{
    error::Error,
    io::{Read, Write},
};

use keyward_age::{Header, OpenReader, SealOptions, SealWriter, SoftIdentity, Suite};

fn main() -> Result<(), Box<dyn Error>> {
    // Who opens: a new post-quantum identity. Its recipient is public, and is all that sealing needs.
    let identity = SoftIdentity::generate(Suite::Hybrid)?;
    let recipient = identity.recipient()?;

    // Seal. Chunks are encrypted on all cores; `finish` writes the last one.
    let mut writer = SealWriter::new(&[recipient], Vec::new(), SealOptions::default())?;
    writer.write_all(b"The photos are in the usual place.\n")?;
    let sealed = writer.finish()?;

    // Open. The header gives the file key, and its MAC is checked before the key is handed out.
    let mut input = sealed.as_slice();
    let header = Header::read(&mut input)?;
    let file_key = header.unwrap_soft(&identity)?;
    // Only verified chunks come out of the reader.
    let mut letter = String::new();
    OpenReader::new(input, &file_key, 2)?.read_to_string(&mut letter)?;

    println!("{} bytes sealed; opened again: {letter}", sealed.len());
    assert_eq!(letter, "The photos are in the usual place.\n");
    Ok(())
}
