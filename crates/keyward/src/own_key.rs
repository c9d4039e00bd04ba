//! The key file beside an archive that has a key of its own (`docs/formats.md`, "Own key of an archive"): there before the
//! archive is, since the policy's holders open nothing without it, and gone again where the archive does not come to be.

use keyward_archive::{Error, Place};
use keyward_custody::{KeyFile, own_key_suffix};

/// The key file is where it belongs.
#[must_use = "what was written for an archive goes again with `publish`"]
#[derive(Default)]
pub struct Beside {
    /// Where this process wrote it.
    written: Option<Place>,
}

impl Beside {
    /// Writes the key file of an archive that is sealed and has no name yet. One that an earlier run wrote for the same
    /// archive is left as it is.
    ///
    /// # Errors
    /// [`Error::Exists`] if something else has its name; those of the place.
    pub fn write(archive: &Place, file: &KeyFile) -> Result<Beside, Error> {
        let at = archive.sibling(&own_key_suffix(file.digest()));
        match at.create_small(file.bytes()) {
            Ok(()) => Ok(Beside { written: Some(at) }),
            Err(Error::Exists { .. }) if at.read_small(KeyFile::MAX_LEN)? == file.bytes() => {
                Ok(Beside::default())
            }
            Err(error) => Err(error),
        }
    }

    /// Gives the archive its name. Where that cannot have happened and cannot happen any more, the key file goes again, if
    /// this process wrote it.
    ///
    /// # Errors
    /// Those of `publish`.
    pub fn publish<T>(self, publish: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
        let published = publish();
        // A store or a file system that failed may have carried it out all the same, or does so when it is asked again from the
        // spool.
        let nothing =
            matches!(published, Err(Error::Exists { .. } | Error::Digest { .. } | Error::Interrupted));
        if let Some(at) = self.written.filter(|_| nothing) {
            // One that stays opens nothing.
            let _ = at.remove();
        }
        published
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_where_the_archive_may_stand_and_goes_where_it_cannot() {
        let temp = tempfile::tempdir().unwrap();
        let at = Place::from(temp.path().join("key"));
        let told = |error: Error, there: bool| {
            at.replace_small(b"a key file").unwrap();
            let beside = Beside { written: Some(at.clone()) };
            assert!(beside.publish(|| Err::<(), _>(error)).is_err());
            assert_eq!(at.exists().unwrap(), there);
        };
        told(Error::Exists { path: "a".into() }, false);
        told(Error::Digest { found: [0; 32] }, false);
        told(Error::Interrupted, false);
        let (place, reason) = ("a".into(), "gone".into());
        told(Error::Store { place, reason, denied: true, missing: false }, true);
        // It may have its name, and only a step after that failed.
        told(Error::Io { path: "a".into(), source: std::io::Error::other("the disk") }, true);
        at.replace_small(b"a key file").unwrap();
        Beside { written: Some(at.clone()) }.publish(|| Ok(())).unwrap();
        // Another run's is not ours to take.
        assert!(Beside::default().publish(|| Err::<(), _>(Error::Interrupted)).is_err());
        assert!(at.exists().unwrap());
    }
}
