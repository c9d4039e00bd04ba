//! What a person is told when a command ends without success, and the exit code.
//!
//! Libraries state facts; this room says what happened, what is safe and what to do next. The kind alone
//! decides the exit code (the table in `docs/exit-codes.md`). It may not do anything but word things.

use std::fmt;

/// Why a command failed, by what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// 1: anything else.
    Other,
    /// 2: the words of the call are off.
    Usage,
    /// 3: no vault, archive, holder or token.
    NotFound,
    /// 4: the PIN is wrong or blocked.
    Pin,
    /// 5: touch was denied or timed out.
    Touch,
    /// 6: the token was removed in use, or its reader is busy.
    Removed,
    /// 7: a statement, receipt, archive or share is not verified.
    NotVerified,
    /// 8: the holders present do not satisfy the policy.
    NotHolder,
    /// 9: refused for safety.
    Refused,
    /// 10: the store or file system.
    Files,
    /// 130: interrupted.
    Interrupted,
}

impl Kind {
    /// The process's exit code.
    pub fn code(self) -> u8 {
        match self {
            Kind::Other => 1,
            Kind::Usage => 2,
            Kind::NotFound => 3,
            Kind::Pin => 4,
            Kind::Touch => 5,
            Kind::Removed => 6,
            Kind::NotVerified => 7,
            Kind::NotHolder => 8,
            Kind::Refused => 9,
            Kind::Files => 10,
            Kind::Interrupted => 130,
        }
    }
}

/// A failure as it is shown: one calm sentence a fact, then hints.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    /// Facts, a sentence a line; the first stands behind `error:`.
    pub facts: Vec<String>,
    /// What to do next, a sentence a line.
    pub hints: Vec<String>,
}

/// The result of everything in the command line.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// A failure with its first fact.
    pub fn new(kind: Kind, fact: impl Into<String>) -> Self {
        Failure { kind, facts: vec![fact.into()], hints: Vec::new() }
    }

    /// Adds a fact.
    pub fn fact(mut self, fact: impl Into<String>) -> Self {
        self.facts.push(fact.into());
        self
    }

    /// Adds the next step.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// A failure of the file system.
    pub fn io(doing: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => Kind::NotFound,
            std::io::ErrorKind::AlreadyExists => Kind::Refused,
            _ => Kind::Files,
        };
        Failure::new(kind, format!("{doing} {}: {}.", path.display(), plain(error)))
    }
}

/// The system's own words for an error, without its number.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text.get(..end).unwrap_or(&text).to_owned(),
        None => text,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut label = "error: ";
        for fact in &self.facts {
            for line in fact.lines() {
                writeln!(f, "{label}{}", crate::ui::printable(line))?;
                label = "       ";
            }
        }
        let mut label = "hint:  ";
        for hint in &self.hints {
            writeln!(f, "{label}{hint}")?;
            label = "       ";
        }
        Ok(())
    }
}

/// Words for an error of a token. `label` names the token, `safe` says what was not done.
pub fn token_failure(label: &str, safe: &str, error: keyward_token::Error) -> Failure {
    use keyward_token::Error;

    match error {
        Error::NoService => Failure::new(Kind::NotFound, format!("No smart card service runs. {safe}"))
            .hint("Start pcscd (Debian: apt install pcscd)."),
        Error::NoToken => Failure::new(Kind::NotFound, format!("No token is plugged in. {safe}")),
        Error::NoReader { reader } => {
            Failure::new(Kind::NotFound, format!("The reader {reader} is gone. {safe}"))
        }
        Error::Busy { reader } => {
            Failure::new(Kind::Removed, format!("Another program holds the reader {reader}. {safe}"))
                .hint("Often it is GnuPG's scdaemon: gpgconf --kill scdaemon, then try again.")
        }
        Error::Removed { .. } => {
            Failure::new(Kind::Removed, format!("{label} was removed while in use. {safe}"))
                .hint("Plug it in and run the command again.")
        }
        Error::Reset { .. } => {
            Failure::new(Kind::Removed, format!("{label} was reset by another program. {safe}"))
                .hint("Run the command again.")
        }
        Error::WrongPin { tries_left: 0 } | Error::PinBlocked => {
            Failure::new(Kind::Pin, format!("{label}: the PIN is blocked. {safe}"))
                .hint("The PUK unlocks it: ykman piv access unblock-pin.")
        }
        Error::WrongPin { tries_left } => {
            let tries = if tries_left == 1 { "1 try".to_owned() } else { format!("{tries_left} tries") };
            Failure::new(Kind::Pin, format!("{label}: PIN wrong, {tries} left. {safe}"))
                .hint("At 0 tries the PIN locks; the PUK unlocks it.")
        }
        Error::PinLength { length } => Failure::new(
            Kind::Pin,
            format!("{label}: a PIN has 6 to 8 characters, this one {length}. No PIN was sent. {safe}"),
        ),
        Error::WrongPuk { tries_left } => {
            Failure::new(Kind::Pin, format!("{label}: PUK wrong, {tries_left} tries left. {safe}"))
        }
        Error::PukBlocked => Failure::new(Kind::Pin, format!("{label}: the PUK is blocked. {safe}")),
        Error::TouchDenied { .. } => {
            Failure::new(Kind::Touch, format!("{label} was not touched in time. {safe}"))
                .hint("Run the command again and touch the token when it blinks.")
        }
        Error::CardProof { .. } | Error::NoCardProof { .. } => Failure::new(
            Kind::NotVerified,
            format!("{label} does not prove to be the enrolled token. No PIN was sent. {safe}"),
        ),
        Error::NotPiv { reader, .. } => {
            Failure::new(Kind::NotFound, format!("The card in {reader} is no PIV card. {safe}"))
        }
        Error::NotYubiKey { reader } => {
            Failure::new(Kind::NotFound, format!("The card in {reader} is no YubiKey with PIV. {safe}"))
        }
        Error::Occupied { slots } => {
            let slots: Vec<String> = slots.iter().map(|slot| slot.to_string().to_uppercase()).collect();
            Failure::new(
                Kind::Refused,
                format!(
                    "{label}: {} already in use. {safe}",
                    match slots.as_slice() {
                        [slot] => format!("slot {slot} is"),
                        slots => format!("slots {} are", crate::ui::list(slots, "and")),
                    }
                ),
            )
            .hint("--overwrite replaces what is there, and it is lost.")
        }
        Error::SecretNeeded { secret } => Failure::new(
            Kind::Refused,
            format!("{label}: this firmware cannot tell whether its {secret} is the factory's. {safe}"),
        )
        .hint("Set PIN, PUK and management key to the factory's values with ykman, then enrol."),
        Error::ManagementKey => Failure::new(
            Kind::Refused,
            format!("{label}: its management key is not the factory's and not stored behind the PIN. {safe}"),
        )
        .hint("Set it back with ykman piv access change-management-key, then enrol."),
        Error::Attestation(reason) => Failure::new(
            Kind::NotVerified,
            format!("{label}: the attestation does not hold: {reason}. {safe}"),
        ),
        Error::OtherToken { .. } => {
            Failure::new(Kind::Removed, format!("{label} was exchanged for another token. {safe}"))
        }
        Error::Interrupted => Failure::new(Kind::Interrupted, format!("Interrupted. {safe}")),
        error => {
            let mut text = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(inner) = source {
                text = format!("{text}: {inner}");
                source = inner.source();
            }
            Failure::new(Kind::Other, format!("{label}: {text}. {safe}"))
        }
    }
}

/// Words for an error of an age file. `what` names the file.
pub fn age_failure(what: &str, safe: &str, error: keyward_age::Error) -> Failure {
    use keyward_age::Error;

    match error {
        Error::NotAge => Failure::new(
            Kind::NotVerified,
            format!("{what} is not an archive: it does not begin as an age file. {safe}"),
        ),
        Error::NoMatch => {
            Failure::new(Kind::NotHolder, format!("{what} is not sealed to this token. {safe}"))
        }
        Error::Io(error) => Failure::new(Kind::Files, format!("{what}: {}. {safe}", plain(&error))),
        Error::MixedSuites | Error::NoRecipients | Error::Recipient { .. } => {
            Failure::new(Kind::NotVerified, format!("{what}: {error}. {safe}"))
        }
        Error::Token(inner) => Failure::new(Kind::Other, format!("{what}: {inner}. {safe}")),
        Error::Primitive(_) => Failure::new(Kind::Other, format!("{what}: {error}. {safe}")),
        error => Failure::new(Kind::NotVerified, format!("{what}: {error}. {safe}"))
            .hint("It was changed or damaged since it was sealed. Fetch another copy."),
    }
}

/// Words for an error of an archive.
pub fn archive_failure(what: &str, safe: &str, error: keyward_archive::Error) -> Failure {
    use keyward_archive::Error;

    match error {
        Error::Age(error) => age_failure(what, safe, error),
        Error::Exists { .. } => Failure::new(Kind::Refused, format!("{error}. It was not touched."))
            .hint("Choose another name, or add --force."),
        Error::DestinationNotEmpty { .. } | Error::DestinationNotFolder { .. } => {
            Failure::new(Kind::Refused, format!("{error}. It was not touched."))
                .hint("Name a folder that is absent or empty.")
        }
        Error::Place { .. } => Failure::new(Kind::Usage, format!("{error}. {safe}"))
            .hint("docs/places.md lists the places and the variables."),
        Error::Store { denied, .. } => {
            let failure = Failure::new(Kind::Files, format!("{error}. {safe}"));
            if denied {
                failure.hint(
                    "Check the credentials and the region in the store's own variables: docs/places.md.",
                )
            } else {
                failure
            }
        }
        Error::Changed { .. } => Failure::new(Kind::NotVerified, format!("{error}. {safe}"))
            .hint("Somebody replaced it meanwhile. Run the command again to read the new one."),
        Error::Missing { .. } => Failure::new(Kind::NotFound, format!("{error}. {safe}")),
        Error::NotAnArchive { .. } => Failure::new(Kind::NotVerified, format!("{error}. {safe}")),
        Error::NotATree { .. } => {
            Failure::new(Kind::Other, format!("{error}. {safe}")).hint("Write it to a file with -o FILE.")
        }
        Error::NoName { .. } | Error::SourceKind { .. } | Error::SameName { .. } | Error::NoSource => {
            Failure::new(Kind::Usage, format!("{error}. {safe}"))
        }
        Error::Pattern { .. } => Failure::new(Kind::Usage, format!("{error}. {safe}"))
            .hint("Patterns are those of gitignore; put a backslash before a bracket or brace that is meant as itself."),
        Error::NotPadded => Failure::new(Kind::Usage, format!("{error}. {safe}"))
            .hint("Leave out --pad, or seal a folder that holds it."),
        Error::NoEntry { .. } => Failure::new(Kind::NotFound, format!("{what}: {error}. {safe}"))
            .hint("keyward ls lists the paths."),
        Error::NotAFile { .. } => Failure::new(Kind::Usage, format!("{what}: {error}. {safe}"))
            .hint("keyward open ARCHIVE PATH -C DIR unpacks it."),
        Error::UnsafeEntry { reason: keyward_archive::Unsafe::LinkOut, .. } => {
            Failure::new(Kind::Refused, format!("{what}: {error}. {safe}"))
                .hint("--links-out makes such links as they are; none is followed.")
        }
        Error::UnsafeEntry { .. } | Error::Unsupported { .. } => {
            Failure::new(Kind::Refused, format!("{what}: {error}. {safe}"))
                .hint("-o FILE writes the decrypted bytes as they are, to look at them.")
        }
        Error::Interrupted => Failure::new(Kind::Interrupted, format!("Interrupted. {safe}")),
        Error::Io { path, source } => {
            let kind =
                if source.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Files };
            Failure::new(kind, format!("{}: {}. {safe}", path.display(), plain(&source)))
        }
        error => Failure::new(Kind::NotVerified, format!("{what}: {error}. {safe}")),
    }
}

/// Words for an error of the vault's files. `what` names the vault.
pub fn custody_failure(what: &str, safe: &str, error: keyward_custody::Error) -> Failure {
    use keyward_custody::{Class, Error};

    let kind = match error.class() {
        Class::Input => Kind::Usage,
        Class::NotFound => Kind::NotFound,
        Class::NotVerified => Kind::NotVerified,
        Class::Refused => Kind::Refused,
        Class::NotSatisfied => Kind::NotHolder,
        Class::WrongSecret => Kind::Pin,
        Class::System => Kind::Other,
    };
    let failure = Failure::new(kind, format!("{what}: {error}. {safe}"));
    match error {
        Error::RolledBack { .. } => failure
            .hint("Somebody put an older state in place, or this is an old copy. Fetch the vault anew."),
        Error::Fork { .. } => {
            failure.hint("Two histories of this vault exist. Ask the other admins which one is theirs.")
        }
        Error::Edited { .. } | Error::BadSignature { .. } | Error::Gap { .. } => {
            failure.hint("Fetch the vault from another copy; opening an archive needs none of it changed.")
        }
        Error::SingleHolder { .. } => {
            failure.hint("Add a holder to the policy, or accept the loss with --no-recovery.")
        }
        Error::TestVault { .. } | Error::EmulatedToken { .. } => {
            failure.hint("For a test vault add --allow-emulated.")
        }
        Error::OtherFingerprint { .. } => {
            failure.hint("Do not trust it. Ask whoever made the vault for its words again.")
        }
        _ => failure,
    }
}
