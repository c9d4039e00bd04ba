//! The round trip that shows a token opens what is sealed to it: a message in memory, sealed and opened by PIN and
//! touch.

use std::io::{Read, Write};

use keyward_age::{Header, OpenReader, Recipient, SealOptions, SealWriter};

use crate::cli::UnlockArgs;
use crate::pin::Pins;
use crate::report::{Failure, Kind, Result, age_failure};
use crate::state::State;
use crate::ui::Ui;
use crate::unlock::{Holders, Purpose, Unlock};

const SAFE: &str = "Nothing was changed.";
const MESSAGE: &[u8] = b"A message that only this token opens.";

/// Seals a message to the recipient and has a token of `holders` open it.
///
/// # Errors
/// Those of unlocking; a message that comes back as another.
pub fn round_trip(
    ui: Ui,
    state: &State,
    holders: &Holders,
    pins: &Pins,
    recipient: &Recipient,
) -> Result<()> {
    let what = "a test message";
    let fail = |error| age_failure(what, SAFE, error);
    let options = SealOptions { threads: 1 };
    let mut writer = SealWriter::new(std::slice::from_ref(recipient), Vec::new(), options).map_err(fail)?;
    writer.write_all(MESSAGE).map_err(|error| fail(keyward_age::Error::from_io(error)))?;
    let sealed = writer.finish().map_err(fail)?;
    let mut input = sealed.as_slice();
    let header = Header::read(&mut input).map_err(fail)?;
    let args = UnlockArgs::default();
    let unlock = Unlock { ui, state, pins, header: &header, purpose: Purpose::Archive, what, args: &args };
    let key = unlock.file_key(Some(holders))?;
    let mut opened = Vec::new();
    let payload = input.to_vec();
    OpenReader::new(std::io::Cursor::new(payload), &key, 1)
        .map_err(fail)?
        .read_to_end(&mut opened)
        .map_err(|error| fail(keyward_age::Error::from_io(error)))?;
    if opened != MESSAGE {
        return Err(Failure::new(Kind::NotVerified, "The test message came back as another one."));
    }
    Ok(())
}
