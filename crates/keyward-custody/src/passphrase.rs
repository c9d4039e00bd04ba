//! Passphrases: generated or judged, and the file that one opens (`docs/formats.md`, "Passphrase holder").
//!
//! The file is what `age -p` makes of an identity file: `age -d holders/dave.age` gives the identity back. The passphrase
//! guards a file that everybody who reads the vault has, so it must be one that nobody can try out.

use std::io::{Read as _, Write as _};

use bip39::Language;
use keyward_age::age::scrypt;
use keyward_age::{Header, OpenReader, Recipient, SealOptions, SealWriter, SoftIdentity};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::{Digest, Error, Holder, IdentitySeed, Name, PassphraseHolder};

/// Bits that a passphrase is worth at least, unless its user insists.
pub const PASSPHRASE_BITS: u32 = 80;
/// The work that trying one passphrase costs: scrypt with N = 2^18, as age itself takes.
pub const PASSPHRASE_WORK: u8 = 18;

/// The most work that a file may ask for: N = 2^22.
const MAX_WORK: u8 = 22;
/// Words of a generated passphrase: 88 bits.
const WORDS: usize = 8;
const WORD_BITS: u32 = 11;
/// No holder file is near this many bytes.
const MAX_LEN: usize = 1 << 16;

/// A new passphrase: eight random words of BIP-39's English list, joined by hyphens.
///
/// One draw in seventy repeats a word, which [`check_passphrase`] would call weak when it is read back; it is drawn anew.
/// That costs a fiftieth of one bit of the 88.
pub fn generate_passphrase() -> Result<SecretString, Error> {
    loop {
        let passphrase = draw_passphrase()?;
        if check_passphrase(&passphrase).is_ok() {
            return Ok(passphrase);
        }
    }
}

fn draw_passphrase() -> Result<SecretString, Error> {
    let mut random = Zeroizing::new([0_u8; WORDS * 2]);
    getrandom::fill(random.as_mut_slice()).map_err(Error::Random)?;
    let list = Language::English.word_list();
    let mut passphrase = Zeroizing::new(String::with_capacity(WORDS * 9));
    for pair in random.chunks_exact(2) {
        // 2048 divides 65536: every word is as likely as any other.
        let index = pair.iter().fold(0, |index, byte| index << 8 | usize::from(*byte)) % list.len();
        if !passphrase.is_empty() {
            passphrase.push('-');
        }
        passphrase.push_str(list.get(index).copied().unwrap_or_default());
    }
    Ok(SecretString::from(passphrase.as_str()))
}

/// About how many bits a passphrase is worth to somebody who guesses; an estimate that errs low.
///
/// Different words of BIP-39's list count 11 bits each. In anything else a letter inside a word of four or more counts 2,
/// a character that repeats or continues the one before (`aaa`, `1234`) nothing, any other one the logarithm of as many
/// characters as its kinds have.
pub fn passphrase_bits(passphrase: &SecretString) -> u32 {
    let text = passphrase.expose_secret();
    let list = Language::English.word_list();
    let words: std::collections::BTreeSet<&str> = text
        .split(|c: char| c.is_whitespace() || "-_.,".contains(c))
        .filter(|word| !word.is_empty())
        .collect();
    if !words.is_empty() && words.iter().all(|word| list.contains(word)) {
        return u32::try_from(words.len()).unwrap_or(u32::MAX).saturating_mul(WORD_BITS);
    }
    let any = |is: fn(&char) -> bool| text.chars().any(|c| is(&c));
    let kinds = [
        (26, any(char::is_ascii_lowercase)),
        (26, any(char::is_ascii_uppercase)),
        (10, any(char::is_ascii_digit)),
        (33, any(|c| !c.is_ascii_alphanumeric())),
    ];
    let pool: u32 = kinds.iter().filter(|(_, there)| *there).map(|(size, _)| size).sum();
    let each = f64::from(pool.max(1)).log2();
    let (mut bits, mut before) = (0.0, None);
    // Runs of letters, and single characters between them.
    let mut rest = text.chars().peekable();
    while let Some(first) = rest.next() {
        let mut run = Zeroizing::new(vec![first]);
        while first.is_alphabetic()
            && let Some(letter) = rest.next_if(|c| c.is_alphabetic())
        {
            run.push(letter);
        }
        let worth = if run.len() >= 4 { 2.0_f64.min(each) } else { each };
        for character in run.iter() {
            let step = before.map(|before| u32::from(*character).abs_diff(before));
            if step.is_none_or(|step| step > 1) {
                bits += worth;
            }
            before = Some(u32::from(*character));
        }
    }
    // A floor of a finite, positive number that small.
    bits.floor() as u32
}

/// Refuses a passphrase that can be guessed. [`Error::WeakPassphrase`] with the estimate.
pub fn check_passphrase(passphrase: &SecretString) -> Result<(), Error> {
    match passphrase_bits(passphrase) {
        enough if enough >= PASSPHRASE_BITS => Ok(()),
        bits => Err(Error::WeakPassphrase { bits, needed: PASSPHRASE_BITS }),
    }
}

/// Makes a passphrase holder: the bytes of `holders/NAME.age`, and the holder for the statement.
///
/// `work` is the base-2 logarithm of scrypt's N, from 1 to 22: [`PASSPHRASE_WORK`] unless this is a test.
/// The passphrase is not judged here: see [`check_passphrase`].
pub fn lock_identity(
    seed: &IdentitySeed,
    passphrase: &SecretString,
    work: u8,
) -> Result<(Vec<u8>, Holder), Error> {
    if work == 0 || work > MAX_WORK {
        return Err(Error::Age(keyward_age::Error::ExcessiveWork { required: work, allowed: MAX_WORK }));
    }
    let recipient = seed.recipient()?;
    let identity = seed.identity()?.to_secret_string();
    let mut plain = Zeroizing::new(String::with_capacity(4096));
    plain.push_str("# public key: ");
    plain.push_str(&recipient.to_string());
    plain.push('\n');
    plain.push_str(identity.expose_secret());
    plain.push('\n');

    let mut locking = scrypt::Recipient::new(copy_of(passphrase));
    locking.set_work_factor(work);
    let mut writer = SealWriter::to_passphrase(&locking, Vec::new(), SealOptions { threads: 1 })?;
    writer.write_all(plain.as_bytes()).map_err(keyward_age::Error::from_io)?;
    let file = writer.finish()?;
    let holder = PassphraseHolder { file: Digest::of(&file), recipient };
    Ok((file, Holder::Passphrase(Box::new(holder))))
}

/// Opens a `holders/NAME.age` with its passphrase, after checking that it is the one that the statement means.
///
/// [`Error::HolderFileEdited`], [`Error::WrongPassphrase`]; [`Error::IdentityIsAnother`] if the identity in it is not the one
/// of the statement; [`Error::HolderKind`] if that holder is no passphrase.
pub fn unlock_identity(
    name: &Name,
    holder: &Holder,
    file: &[u8],
    passphrase: &SecretString,
) -> Result<SoftIdentity, Error> {
    let Holder::Passphrase(known) = holder else {
        let (holder, kind) = (name.clone(), holder.kind());
        return Err(Error::HolderKind { holder, kind, wanted: "passphrase" });
    };
    if Digest::of(file) != known.file || file.len() > MAX_LEN {
        return Err(Error::HolderFileEdited { holder: name.clone() });
    }
    let mut rest = file;
    let header = Header::read(&mut rest)?;
    let mut unlocking = scrypt::Identity::new(copy_of(passphrase));
    unlocking.set_max_work_factor(MAX_WORK);
    let file_key = header.unwrap_identity(&unlocking).map_err(|error| match error {
        keyward_age::Error::NoMatch | keyward_age::Error::Age(_) => Error::WrongPassphrase,
        other => Error::Age(other),
    })?;
    let mut plain = Zeroizing::new(String::with_capacity(MAX_LEN));
    OpenReader::new(rest, &file_key, 1)?
        .read_to_string(&mut plain)
        .map_err(|error| Error::Age(keyward_age::Error::from_io(error)))?;
    let identity = first_identity(&plain)?;
    holder.check_identity(name, &identity)?;
    Ok(identity)
}

/// The one identity of an age identity file: comments, empty lines and `AGE-SECRET-KEY-…`.
///
/// [`Error::Age`] if there is none, more than one, or one of a kind that is not Keyward's.
pub fn first_identity(file: &str) -> Result<SoftIdentity, Error> {
    let mut lines = file.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let reason = |reason| Error::Age(keyward_age::Error::Identity { reason });
    let identity: SoftIdentity = lines.next().ok_or(reason("there is none in the file"))?.parse()?;
    match lines.next() {
        Some(_) => Err(reason("there is more than one in the file")),
        None => Ok(identity),
    }
}

/// The age identity file that stock age reads: `age -d -i FILE`.
pub fn identity_file(identity: &SoftIdentity) -> Result<SecretString, Error> {
    let recipient: Recipient = identity.recipient()?;
    let secret = identity.to_secret_string();
    let mut file = Zeroizing::new(String::with_capacity(4096));
    for part in ["# public key: ", &recipient.to_string(), "\n", secret.expose_secret(), "\n"] {
        file.push_str(part);
    }
    Ok(SecretString::from(file.as_str()))
}

fn copy_of(passphrase: &SecretString) -> SecretString {
    SecretString::from(passphrase.expose_secret())
}

#[cfg(test)]
mod tests {
    use keyward_age::Suite;

    use super::*;

    fn secret(text: &str) -> SecretString {
        SecretString::from(text)
    }

    #[test]
    fn a_generated_passphrase_passes_the_check() {
        for _ in 0..2_000 {
            assert!(check_passphrase(&generate_passphrase().unwrap()).is_ok());
        }
    }

    #[test]
    fn generated_ones_are_strong() {
        let words: std::collections::BTreeSet<String> =
            (0..20).map(|_| generate_passphrase().unwrap().expose_secret().to_owned()).collect();
        assert_eq!(words.len(), 20);
        for text in &words {
            assert_eq!(text.split('-').count(), WORDS);
            // One word in 73 passphrases stands twice; it then counts once.
            assert!(passphrase_bits(&secret(text)) >= 66, "{text}");
        }
    }

    #[test]
    fn weak_ones_are_told() {
        for weak in [
            "",
            "a",
            "password",
            "correct horse battery staple",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "zoo zoo zoo zoo zoo zoo zoo zoo zoo",
            "Tr0ub4dor&3",
            "ability-able-about-above-absent-absorb-abstract",
        ] {
            let refused = check_passphrase(&secret(weak)).unwrap_err();
            assert!(matches!(refused, Error::WeakPassphrase { bits, .. } if bits < 80), "{weak}: {refused}");
            assert!(weak.len() < 2 || !refused.to_string().contains(weak));
        }
        for strong in [
            "ability able about above absent absorb abstract absurd",
            "q7X-p2L-v9R-m4T-w8B-z3K",
            "the quick brown fox jumps over the lazy dog while nine more dogs watch it, bored",
        ] {
            assert!(check_passphrase(&secret(strong)).is_ok(), "{strong}");
        }
    }

    #[test]
    fn locked_and_unlocked() {
        let dave: Name = "dave".parse().unwrap();
        for suite in [Suite::Hybrid, Suite::Classic] {
            let seed = IdentitySeed::from_bytes(suite, &[9; 32]);
            let (file, holder) = lock_identity(&seed, &secret("a passphrase"), 4).unwrap();
            let identity = unlock_identity(&dave, &holder, &file, &secret("a passphrase")).unwrap();
            assert_eq!(identity.recipient().unwrap(), *holder.archive());
            let refused = |file: &[u8], passphrase: &str| {
                unlock_identity(&dave, &holder, file, &secret(passphrase)).unwrap_err()
            };
            assert!(matches!(refused(&file, "another"), Error::WrongPassphrase));
            assert!(matches!(refused(&file[1..], "a passphrase"), Error::HolderFileEdited { .. }));
            // A file that was swapped for another with a digest to match: the identity in it is another.
            let (other, Holder::Passphrase(mut lied)) =
                lock_identity(&IdentitySeed::from_bytes(suite, &[8; 32]), &secret("a passphrase"), 4)
                    .unwrap()
            else {
                panic!("no passphrase holder")
            };
            lied.recipient = holder.archive().clone();
            let lied = Holder::Passphrase(lied);
            let error = unlock_identity(&dave, &lied, &other, &secret("a passphrase")).unwrap_err();
            assert!(matches!(error, Error::IdentityIsAnother { .. }), "{error}");
        }
        let seed = IdentitySeed::from_bytes(Suite::Classic, &[9; 32]);
        for work in [0, 23, 64, 255] {
            assert!(lock_identity(&seed, &secret("x"), work).is_err());
        }
    }

    #[test]
    fn identity_files() {
        for suite in [Suite::Hybrid, Suite::Classic] {
            let identity = IdentitySeed::from_bytes(suite, &[9; 32]).identity().unwrap();
            let file = identity_file(&identity).unwrap();
            let read = first_identity(file.expose_secret()).unwrap();
            assert_eq!(read.recipient().unwrap(), identity.recipient().unwrap());
            let twice = format!("{0}{0}", file.expose_secret());
            assert!(first_identity(&twice).is_err());
        }
        assert!(first_identity("# nothing\n").is_err());
    }
}
