//! Places in stores: one suite over all of them, faults on the way, kills, and what reads cost.

mod conformance;
mod faults;
mod kills;
mod resumed;

use std::io;
use std::path::Path;
use std::time::Duration;

use keyward_age::{SoftIdentity, Suite};
use keyward_archive::{
    Archive, Error, Overwrite, Patience, Place, SealOptions, SealReport, Sealed, Stores, seal_stream,
};
use keyward_tests::{Noise, Run, Store};

/// Who opens everything here.
struct Holder(SoftIdentity);

impl Holder {
    fn new() -> Self {
        Self(SoftIdentity::generate(Suite::Classic).unwrap())
    }

    fn seal(&self, bytes: &[u8], place: &Place, overwrite: Overwrite) -> Result<SealReport, Error> {
        let options = SealOptions { overwrite, ..SealOptions::default() };
        seal_stream(&mut io::Cursor::new(bytes), &[self.0.recipient().unwrap()], place, &options, &())
    }

    fn open(&self, place: &Place) -> Result<Archive, Error> {
        let sealed = Sealed::open(place)?;
        let key = sealed.header().unwrap_soft(&self.0).map_err(Error::Age)?;
        Ok(sealed.unlock(key))
    }

    fn read(&self, place: &Place) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        self.open(place)?.copy_to(&mut out, 2, &())?;
        Ok(out)
    }
}

/// Stores that lose patience soon, with their notes in `state`.
pub(crate) fn stores(store: &Store, state: &Path) -> Stores {
    let patience =
        Patience { retries: 6, first_wait: Duration::from_millis(5), within: Duration::from_secs(20) };
    Stores::new(store.variables.clone(), state).with_patience(patience)
}

/// A run that finds the store.
pub(crate) fn with_variables(mut run: Run, store: &Store) -> Run {
    for (name, value) in &store.variables {
        run = run.env(name, value);
    }
    run
}

/// Bytes that no compression makes smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Noise::new(7).fill(&mut bytes);
    bytes
}
