//! The file key: 16 random bytes from which age derives the header's MAC key and the payload's key.

use age_core::format::FILE_KEY_BYTES;
use secrecy::ExposeSecret;

/// A file key. It is made in its place on the heap, wiped when dropped, and neither copied nor
/// shown.
pub struct FileKey(age_core::format::FileKey);

impl FileKey {
    /// Makes a file key whose bytes `fill` writes in place.
    pub fn init_with(fill: impl FnOnce(&mut [u8; FILE_KEY_BYTES])) -> FileKey {
        FileKey(age_core::format::FileKey::init_with_mut(fill))
    }

    /// Lends the bytes. Whoever copies them answers for wiping the copy.
    pub fn expose(&self) -> &[u8; FILE_KEY_BYTES] {
        self.0.expose_secret()
    }

    /// A copy of a key that the `age` crate holds, for use by this crate.
    pub(crate) fn copy_of(key: &age_core::format::FileKey) -> FileKey {
        FileKey::init_with(|bytes| bytes.copy_from_slice(key.expose_secret()))
    }

    /// A copy for the `age` crate.
    pub(crate) fn to_age(&self) -> age_core::format::FileKey {
        age_core::format::FileKey::init_with_mut(|bytes| bytes.copy_from_slice(self.expose()))
    }

    /// The key from the plaintext of a stanza's body.
    pub(crate) fn from_plaintext(plaintext: &[u8]) -> Option<FileKey> {
        let bytes: &[u8; FILE_KEY_BYTES] = plaintext.try_into().ok()?;
        Some(FileKey::init_with(|key| key.copy_from_slice(bytes)))
    }
}
