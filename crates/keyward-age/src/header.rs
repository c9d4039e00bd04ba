//! The header of an age file: read without opening it, then opened by whoever holds a key.
//!
//! Parsing and the MAC are the age crate's. This room delimits the header first, so that a hostile
//! input costs a bounded amount of memory and time, and afterwards insists that the header is the
//! canonical encoding of what was parsed: the age crate still takes a stanza form of its early betas
//! that the format forbids.

use std::cell::RefCell;
use std::io::{self, BufRead, Read};
use std::iter;

use age_core::format::Stanza;
use sha2::{Digest, Sha256};

use crate::encoding::base64_encode;
use crate::error::Error;
use crate::file_key::FileKey;
use crate::identity::SoftIdentity;
use crate::recipient::Recipient;
use crate::stanza::{Addressed, copy_of};
use crate::token_key::TokenKey;

/// The first line, with its end.
const MAGIC: &[u8] = b"age-encryption.org/v1\n";
/// What every version's first line begins with.
const ANY_VERSION: &[u8] = b"age-encryption.org/";
/// What the last line begins with.
const END: &[u8] = b"---";
/// The last line: `--- `, 43 characters of base64, a newline.
const LAST_LINE_LEN: usize = 48;
/// The largest header that is read, in bytes: some 600 hybrid recipients.
const MAX_LEN: usize = 1 << 20;
/// The most stanzas that are read.
const MAX_STANZAS: usize = 4096;

/// A header, parsed and not yet opened: nothing in it is authenticated until a file key is.
pub struct Header {
    bytes: Vec<u8>,
    stanzas: Vec<Stanza>,
}

impl Header {
    /// Reads a header and nothing beyond it: the payload's nonce is what `input` gives next.
    ///
    /// # Errors
    /// [`Error::NotAge`] if the input begins otherwise, [`Error::Header`] if it breaks the format,
    /// ends early, is larger than 1 MiB or has more than 4,096 stanzas, [`Error::Io`] of `input`.
    pub fn read(input: &mut impl Read) -> Result<Header, Error> {
        let bytes = delimit(input)?;
        let stanzas = RefCell::new(Vec::new());
        let found = with_stanzas(&bytes, &|all| {
            if all.len() > MAX_STANZAS {
                return Err(Error::Header("it has too many stanzas"));
            }
            stanzas.replace(all.iter().map(copy_of).collect());
            Ok(None)
        });
        match found {
            Err(Error::NoMatch) => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::Header("it opened without a key")),
        }
        let header = Header { bytes, stanzas: stanzas.into_inner() };
        if !header.is_canonical() {
            return Err(Error::Header("it is not in its canonical form"));
        }
        Ok(header)
    }

    /// The header's length, in bytes; the payload's nonce begins there.
    #[expect(clippy::len_without_is_empty, reason = "a header is never empty")]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The header as it was read.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// SHA-256 of the header's bytes.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.bytes).into()
    }

    /// The types of the stanzas, in order, as the header has them; one made to confuse strict
    /// readers (`…-grease`) is among them.
    pub fn stanza_kinds(&self) -> impl Iterator<Item = &str> {
        self.stanzas.iter().map(|stanza| stanza.tag.as_str())
    }

    /// Whether a stanza carries the tag of this token. A tag is 4 bytes and not secret: it says whom
    /// to ask, not who sealed. Recipients that are no tokens have no tags, so for them it is `false`.
    pub fn addressed_to(&self, recipient: &Recipient) -> bool {
        recipient.point().is_some_and(|point| self.addressed_to_point(&point))
    }

    /// As [`Header::addressed_to`], for a P-256 key (uncompressed) read from a token.
    pub fn addressed_to_point(&self, point: &[u8; 65]) -> bool {
        matches!(Addressed::find(&self.stanzas, point), Ok(Some(_)))
    }

    /// Unwraps the file key with a token, and checks the header's MAC. The token makes one
    /// Diffie-Hellman at most.
    ///
    /// # Errors
    /// [`Error::NoMatch`] or [`Error::Header`] before the token was asked for anything;
    /// [`Error::Token`] as the token reports it; [`Error::Seed`], [`Error::Stanza`],
    /// [`Error::HeaderMac`] after.
    pub fn unwrap_token(&self, key: &mut dyn TokenKey) -> Result<FileKey, Error> {
        let addressed = Addressed::find(&self.stanzas, &key.point())?.ok_or(Error::NoMatch)?;
        let file_key = addressed.unwrap(key)?;
        with_stanzas(&self.bytes, &|_| Ok(Some(file_key.to_age())))
    }

    /// Unwraps the file key with a key in software, and checks the header's MAC.
    ///
    /// # Errors
    /// [`Error::NoMatch`], [`Error::Header`], [`Error::HeaderMac`].
    pub fn unwrap_soft(&self, identity: &SoftIdentity) -> Result<FileKey, Error> {
        self.unwrap_identity(identity.as_age())
    }

    /// Unwraps the file key with any identity of the age crate (a passphrase, a plugin), and checks
    /// the header's MAC.
    ///
    /// # Errors
    /// As [`Header::unwrap_soft`], [`Error::ExcessiveWork`], and [`Error::Age`] for what else that
    /// identity reports.
    pub fn unwrap_identity(&self, identity: &dyn age::Identity) -> Result<FileKey, Error> {
        with_stanzas(&self.bytes, &|stanzas| identity.unwrap_stanzas(stanzas).transpose().map_err(refused))
    }

    /// Whether encoding the stanzas again gives the header's bytes.
    fn is_canonical(&self) -> bool {
        let mut again = Vec::with_capacity(self.bytes.len());
        again.extend_from_slice(MAGIC);
        for stanza in &self.stanzas {
            again.extend_from_slice(b"->");
            for word in iter::once(&stanza.tag).chain(&stanza.args) {
                again.push(b' ');
                again.extend_from_slice(word.as_bytes());
            }
            again.push(b'\n');
            let body = base64_encode(&stanza.body);
            let lines = body.as_bytes().chunks(64);
            for line in lines {
                again.extend_from_slice(line);
                again.push(b'\n');
            }
            // The last line is shorter than 64 characters, if need be empty.
            if body.len().is_multiple_of(64) {
                again.push(b'\n');
            }
        }
        self.bytes.strip_suffix(last_line(&self.bytes)) == Some(again.as_slice())
    }
}

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("len", &self.len())
            .field("stanzas", &self.stanza_kinds().collect::<Vec<_>>())
            .finish()
    }
}

fn last_line(bytes: &[u8]) -> &[u8] {
    bytes.last_chunk::<LAST_LINE_LEN>().map_or(&[], |line| line)
}

/// Reads from the first line to the end of the line that begins with `---`, without ever reading
/// past it: as long as that line has not begun, at least a whole one must follow.
fn delimit(input: &mut impl Read) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity(4096);
    read_more(input, &mut bytes, MAGIC.len())?;
    if !bytes.starts_with(MAGIC) {
        return Err(if bytes.starts_with(ANY_VERSION) {
            match bytes.len() {
                len if len < MAGIC.len() => Error::Header("it ends early"),
                _ => Error::Header("its version is not known"),
            }
        } else {
            Error::NotAge
        });
    }
    // Where the line under way begins.
    let mut line = bytes.len();
    loop {
        let under_way = bytes.get(line..).unwrap_or_default();
        // A line break completes a line; what follows it may be the last one.
        if let Some(end) = under_way.iter().position(|&byte| byte == b'\n') {
            if under_way.starts_with(END) {
                return Ok(bytes);
            }
            line += end + 1;
            continue;
        }
        let could_be_last = under_way.starts_with(END) || END.starts_with(under_way);
        let missing = match LAST_LINE_LEN.checked_sub(under_way.len()) {
            Some(missing) if could_be_last && missing > 0 => missing,
            _ if could_be_last => return Err(Error::Header("its last line is malformed")),
            // The line under way needs its end, and then the last line follows.
            _ => LAST_LINE_LEN + 1,
        };
        if bytes.len() + missing > MAX_LEN {
            return Err(Error::Header("it is larger than 1 MiB"));
        }
        if read_more(input, &mut bytes, missing)? < missing {
            return Err(Error::Header("it ends early"));
        }
    }
}

/// Appends up to `count` bytes and says how many there were.
fn read_more(input: &mut impl Read, bytes: &mut Vec<u8>, count: usize) -> Result<usize, Error> {
    Ok(input.take(count as u64).read_to_end(bytes)?)
}

type Unwrap<'a> = &'a dyn Fn(&[Stanza]) -> Result<Option<age_core::format::FileKey>, Error>;

/// Gives the stanzas of a header to `unwrap`, by way of the age crate, which checks the MAC with the
/// file key that it answers with. The file key is handed out only after that check.
fn with_stanzas(header: &[u8], unwrap: Unwrap<'_>) -> Result<FileKey, Error> {
    let tap = Tap { unwrap, heard: RefCell::new(None), failed: RefCell::new(None) };
    let opened = age::Decryptor::new_buffered(Whole { header, at: 0 })
        .and_then(|decryptor| decryptor.decrypt(iter::once(&tap as &dyn age::Identity)));
    if let Some(error) = tap.failed.take() {
        return Err(error);
    }
    // The age crate's payload reader is dropped unused.
    opened.map_err(refused)?;
    tap.heard.take().ok_or(Error::NoMatch)
}

/// An identity that passes the stanzas on and listens.
struct Tap<'a> {
    unwrap: Unwrap<'a>,
    heard: RefCell<Option<FileKey>>,
    failed: RefCell<Option<Error>>,
}

impl age::Identity for Tap<'_> {
    fn unwrap_stanza(&self, _: &Stanza) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        None
    }

    fn unwrap_stanzas(
        &self,
        stanzas: &[Stanza],
    ) -> Option<Result<age_core::format::FileKey, age::DecryptError>> {
        match (self.unwrap)(stanzas) {
            Ok(key) => key.map(|key| {
                self.heard.replace(Some(FileKey::copy_of(&key)));
                Ok(key)
            }),
            Err(error) => {
                self.failed.replace(Some(error));
                Some(Err(age::DecryptError::DecryptionFailed))
            }
        }
    }
}

fn refused(error: age::DecryptError) -> Error {
    match error {
        age::DecryptError::InvalidHeader => Error::Header("it breaks the format"),
        age::DecryptError::UnknownFormat => Error::Header("its version is not known"),
        age::DecryptError::InvalidMac => Error::HeaderMac,
        // The latter is how a wrong passphrase is reported.
        age::DecryptError::NoMatchingKeys | age::DecryptError::DecryptionFailed => Error::NoMatch,
        age::DecryptError::ExcessiveWork { required, target } => {
            Error::ExcessiveWork { required, allowed: target }
        }
        age::DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Error::Header("it breaks the format")
        }
        other => Error::Age(other),
    }
}

/// A delimited header as the age crate's parser wants its input: followed by a payload nonce, here
/// zeros that nobody uses. That parser starts over after every line it is given, so it is given the
/// whole header as one; otherwise many lines would cost their square.
struct Whole<'a> {
    header: &'a [u8],
    at: usize,
}

impl Read for Whole<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.fill_buf()?;
        if rest.is_empty() {
            buf.fill(0);
            return Ok(buf.len());
        }
        let count = rest.read(buf)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Whole<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Ok(self.header.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        self.at += count;
    }

    fn read_until(&mut self, _: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        let rest = self.fill_buf()?;
        buf.extend_from_slice(rest);
        let count = rest.len();
        self.consume(count);
        Ok(count)
    }
}
