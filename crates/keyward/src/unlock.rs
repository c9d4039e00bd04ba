//! From an age header to its file key, by PIN and touch: an archive's with the archive key, a policy share's with the
//! custody key. A share made to look like an archive, or the reverse, finds the wrong key and is not asked for.
//!
//! ```text
//! header ──> holders it is sealed to ──> a token that proves to be one of them ──> PIN ──> touch ──> file key
//! ```
//!
//! With a person at the terminal the PIN is asked for between two transactions: one finds out which token is
//! there, the second uses it, and it proves itself again there. A PIN from a file or a variable needs the second
//! alone: SELECT, proof, VERIFY, ECDH and, for a hybrid token, GET DATA.

use keyward_age::{FileKey, Header, Recipient};
use keyward_token::{Card, Error, Locked, ObjectId, Pin, Piv, Point, Proven, Reader, Slot};
use secrecy::{ExposeSecret, SecretString};

use crate::cli::UnlockArgs;
use crate::pin::Pins;
use crate::report::{Failure, Kind, Result, token_failure};
use crate::state::State;
use crate::token_key::TokenSlot;
use crate::ui::{self, Ui};

/// Nothing was written yet wherever this room fails.
const SAFE: &str = "Nothing was written.";

/// A token that may open: what the vault says of it.
#[derive(Debug, Clone)]
pub struct Holder {
    pub name: String,
    pub serial: Option<u32>,
    pub emulated: bool,
    /// The public key in 9E, with which the card proves itself.
    pub card_proof: Option<Point>,
    pub archive: Recipient,
    /// Where the archive key is: 82, unless it was there before enrolment.
    pub archive_slot: Slot,
    pub custody: Recipient,
    /// Where the custody key is.
    pub custody_slot: Slot,
    pub seed_object: Option<ObjectId>,
    /// Whether the archive key asks for a touch.
    pub archive_touch: bool,
}

/// Which of a token's two keys is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Opening an archive: the archive key.
    Archive,
    /// Opening a policy share: the custody key.
    Share,
}

impl Holder {
    /// The public half of the key for this purpose.
    fn recipient(&self, purpose: Purpose) -> &Recipient {
        match purpose {
            Purpose::Archive => &self.archive,
            Purpose::Share => &self.custody,
        }
    }

    /// Where the key for this purpose is.
    fn slot(&self, purpose: Purpose) -> Slot {
        match purpose {
            Purpose::Archive => self.archive_slot,
            Purpose::Share => self.custody_slot,
        }
    }

    /// Whether the key for this purpose may wait for a touch. A card that is no YubiKey knows none.
    fn touch(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Archive => self.archive_touch,
            Purpose::Share => self.serial.is_some(),
        }
    }

    /// The token in a sentence: `alice (YubiKey 11110001)`.
    pub fn label(&self) -> String {
        label(&self.name, self.serial, self.emulated)
    }
}

/// A token in a sentence.
pub fn label(name: &str, serial: Option<u32>, emulated: bool) -> String {
    let kind = if emulated { "emulated YubiKey" } else { "YubiKey" };
    match serial {
        Some(serial) => format!("{name} ({kind} {serial})"),
        None => format!("{name} (PIV card)"),
    }
}

/// The vault as this room needs it.
#[derive(Debug)]
pub struct Holders {
    pub vault_id: String,
    pub vault_name: String,
    pub test: bool,
    /// All tokens that hold, whether or not an archive is sealed to them.
    pub tokens: Vec<Holder>,
    /// Who opens only together, through the epoch: `carol and dave`.
    pub together: Vec<String>,
}

impl Holders {
    /// Who opens, in a sentence. `alone` are the holders that an archive is sealed to.
    fn who(&self, alone: &[&str]) -> String {
        let together = ui::list(&self.together, "or");
        match (alone.is_empty(), self.together.is_empty()) {
            (_, true) => format!("It opens with: {}.", ui::list(alone, "or")),
            (true, false) => format!("It opens through the epoch, with: {together}."),
            (false, false) => {
                format!("It opens with: {}; or, through the epoch, {together}.", ui::list(alone, "or"))
            }
        }
    }

    /// The keys by which tokens prove themselves, each with its holder.
    fn proofs(&self) -> Vec<(Point, &Holder)> {
        self.tokens.iter().filter_map(|holder| Some((holder.card_proof?, holder))).collect()
    }
}

/// The holders whose tokens are here, by their own proof; no PIN is asked for. A reader that cannot be asked is passed over.
pub fn present_tokens(holders: &Holders) -> Vec<(Holder, String)> {
    let proofs = holders.proofs();
    let points: Vec<Point> = proofs.iter().map(|(point, _)| *point).collect();
    let mut present = Vec::new();
    for reader in keyward_token::readers().unwrap_or_default() {
        if reader.held {
            continue;
        }
        let Ok(mut card) = Card::open(&reader.name) else { continue };
        if let Ok(Some(holder)) = unproven(&mut card, holders) {
            present.push((holder.clone(), reader.name));
            continue;
        }
        let proven = card
            .begin()
            .and_then(|session| session.select_piv())
            .and_then(|piv| piv.card_proof(&holders.vault_id, &points))
            .map(|piv| piv.candidate());
        if let Ok(Some((_, holder))) = proven.map(|candidate| candidate.and_then(|index| proofs.get(index))) {
            present.push(((*holder).clone(), reader.name));
        }
    }
    present
}

/// The holder whose card has nothing to prove itself with and is here, by the archive key that the card shows: anybody could
/// make a card that shows it. One APDU is sent only where the vault has such a holder.
fn unproven<'h>(card: &mut Card, holders: &'h Holders) -> keyward_token::Result<Option<&'h Holder>> {
    let mut without = holders.tokens.iter().filter(|holder| holder.card_proof.is_none()).peekable();
    if without.peek().is_none() {
        return Ok(None);
    }
    let mut piv = card.begin()?.select_piv()?;
    for holder in without {
        match piv.public_key(holder.archive_slot) {
            Ok(point) if point.is_some() && point == holder.archive.point() => return Ok(Some(holder)),
            Ok(_) | Err(Error::NoKey { .. } | Error::Certificate { .. } | Error::Status { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// What is to be unlocked, and for what.
pub struct Unlock<'a> {
    pub ui: Ui,
    pub state: &'a State,
    pub pins: &'a Pins,
    pub header: &'a Header,
    pub purpose: Purpose,
    /// What the person is told it is: a file's name, or a share.
    pub what: &'a str,
    pub args: &'a UnlockArgs,
}

/// What a reader that did not open the archive holds.
enum Other {
    /// A holder's token, to which the archive is not sealed.
    NotSealedTo(String),
    /// Somebody else's token.
    Foreign(String),
    /// A card with a holder's serial number that does not prove to be that holder's.
    Impostor(String),
    Busy(String),
    NotPiv(String),
}

impl Unlock<'_> {
    /// The file key, from a token that is here.
    ///
    /// # Errors
    /// Each with its exit code: no token 3, PIN 4, touch 5, removed or busy 6, a card that does not prove itself 7, no
    /// holder among the tokens 8.
    pub fn file_key(&self, holders: Option<&Holders>) -> Result<FileKey> {
        match holders {
            Some(holders) => self.with_vault(holders),
            None => self.without_vault(),
        }
    }

    fn with_vault(&self, holders: &Holders) -> Result<FileKey> {
        let opens: Vec<&Holder> = holders
            .tokens
            .iter()
            .filter(|holder| self.header.addressed_to(holder.recipient(self.purpose)))
            .collect();
        if opens.is_empty() {
            let failure = Failure::new(
                Kind::NotHolder,
                format!("{} is sealed to no token of vault `{}`. {SAFE}", self.what, holders.vault_name),
            );
            return Err(if holders.together.is_empty() {
                failure.hint("Name the vault it was sealed for with --vault.")
            } else {
                failure.fact(holders.who(&[])).hint("Bring them with --with NAME=FILE.")
            });
        }
        let names: Vec<&str> = opens.iter().map(|holder| holder.name.as_str()).collect();
        let readers = self.readers(Some((holders, &names)))?;
        let mut others = Vec::new();
        for reader in &readers {
            match self.try_reader(reader, holders)? {
                Ok(key) => return Ok(key),
                Err(other) => others.push(other),
            }
        }
        Err(self.nobody(&others, Some((holders, &names))))
    }

    /// The readers with a card, or the failure that names who opens.
    fn readers(&self, names: Option<(&Holders, &[&str])>) -> Result<Vec<Reader>> {
        keyward_token::readers().map_err(|error| {
            let what = match names {
                Some(_) => format!("No holder of {} is here. {SAFE}", self.what),
                None => format!("No token is here that could open {}. {SAFE}", self.what),
            };
            let mut failure = Failure::new(Kind::NotFound, what);
            if let Some((holders, names)) = names {
                failure = failure.fact(holders.who(names));
            }
            match error {
                Error::NoService => {
                    failure.hint("No smart card service runs. Start pcscd (Debian: apt install pcscd).")
                }
                Error::NoToken => match names {
                    Some((_, names)) => {
                        failure.hint(format!("Plug in the token of {}.", ui::list(names, "or")))
                    }
                    None => failure.hint("Plug in a token."),
                },
                other => token_failure("The smart card service", SAFE, other),
            }
        })
    }

    fn try_reader(&self, reader: &Reader, holders: &Holders) -> Result<std::result::Result<FileKey, Other>> {
        if reader.held {
            return Ok(Err(Other::Busy(reader.name.clone())));
        }
        let proofs = holders.proofs();
        let points: Vec<Point> = proofs.iter().map(|(point, _)| *point).collect();
        let mut card = match Card::open(&reader.name) {
            Ok(card) => card,
            Err(error) => return other(reader, error, holders, None).map(Err),
        };
        let unproven = match unproven(&mut card, holders) {
            Ok(found) => found,
            Err(error) => return other(reader, error, holders, None).map(Err),
        };
        if let Some(holder) = unproven {
            if !self.header.addressed_to(holder.recipient(self.purpose)) {
                return Ok(Err(Other::NotSealedTo(holder.label())));
            }
            return self.open_unproven(&mut card, holder).map(Ok);
        }
        let mut asked = None;
        if self.pins.asks() {
            // A person may take their time, so the PIN is asked for outside of any transaction.
            let found = card.begin().and_then(|session| session.select_piv()).and_then(|mut piv| {
                let tries = piv.tries_left()?;
                let piv = piv.card_proof(&holders.vault_id, &points)?;
                Ok((piv.candidate(), tries))
            });
            let (candidate, tries) = match found {
                Ok(found) => found,
                Err(error) => {
                    let serial = serial(&reader.name);
                    return other(reader, error, holders, serial).map(Err);
                }
            };
            let holder = self.sealed_to(&proofs, candidate);
            match holder {
                Ok(holder) => asked = Some(self.ask(holder, tries)?),
                Err(name) => return Ok(Err(Other::NotSealedTo(name))),
            }
        }
        let proven = card
            .begin()
            .and_then(|session| session.select_piv())
            .and_then(|piv| piv.card_proof(&holders.vault_id, &points));
        let piv = match proven {
            Ok(piv) => piv,
            Err(error) => {
                let serial = serial(&reader.name);
                return other(reader, error, holders, serial).map(Err);
            }
        };
        let holder = match self.sealed_to(&proofs, piv.candidate()) {
            Ok(holder) => holder,
            Err(name) => return Ok(Err(Other::NotSealedTo(name))),
        };
        let secret = match asked {
            Some(secret) => secret,
            None => self.pins.pin(self.ui, holder.serial, &holder.label())?,
        };
        self.open(piv, &self.key_of(holder)?, &secret).map(Ok)
    }

    /// What is asked of a holder's token.
    fn key_of(&self, holder: &Holder) -> Result<Asked> {
        let point = holder.recipient(self.purpose).point().ok_or_else(|| {
            Failure::new(Kind::NotVerified, format!("The recipient of {} is no token's.", holder.name))
        })?;
        Ok(Asked {
            serial: holder.serial,
            label: holder.label(),
            name: holder.name.clone(),
            slot: holder.slot(self.purpose),
            point,
            seed_objects: holder.seed_object.into_iter().collect(),
            touch: holder.touch(self.purpose),
        })
    }

    /// A holder's card that the vault records without a proof: said before the PIN is sent.
    fn open_unproven(&self, card: &mut Card, holder: &Holder) -> Result<FileKey> {
        let label = holder.label();
        let fail = |error| token_failure(&label, SAFE, error);
        self.ui.warn(format!(
            "{label} cannot prove itself before the PIN is sent; a look-alike would go unnoticed."
        ));
        let tries = card
            .begin()
            .and_then(|session| session.select_piv())
            .and_then(|mut piv| piv.tries_left())
            .map_err(fail)?;
        let secret = match self.pins.asks() {
            true => self.ask(holder, tries)?,
            false if tries == Some(0) => return Err(fail(Error::PinBlocked)),
            false => self.pins.pin(self.ui, holder.serial, &label)?,
        };
        let piv = card.begin().and_then(|session| session.select_piv()).map_err(fail)?;
        self.open(piv.accept_card_without_proof(), &self.key_of(holder)?, &secret)
    }

    /// The holder that proved to be there, if the archive is sealed to it; else its name.
    fn sealed_to<'h>(
        &self,
        proofs: &[(Point, &'h Holder)],
        candidate: Option<usize>,
    ) -> std::result::Result<&'h Holder, String> {
        match candidate.and_then(|index| proofs.get(index)) {
            Some((_, holder)) if self.header.addressed_to(holder.recipient(self.purpose)) => Ok(holder),
            Some((_, holder)) => Err(holder.label()),
            None => Err("The token".to_owned()),
        }
    }

    /// Asks a person for the PIN, after a word where a wrong one would block the token.
    fn ask(&self, holder: &Holder, tries: Option<u8>) -> Result<SecretString> {
        let label = holder.label();
        match tries {
            Some(0) => return Err(token_failure(&label, SAFE, Error::PinBlocked)),
            Some(1) if !self.args.last_try => {
                self.ui.must(format!("{label}: one try is left. A wrong PIN blocks the token."));
                if !self.ui.confirm("Use it?", false, "--last-try")? {
                    return Err(Failure::new(Kind::Pin, format!("{label}: the last try was kept. {SAFE}")));
                }
            }
            _ => {}
        }
        self.pins.pin(self.ui, holder.serial, &label)
    }

    /// VERIFY, ECDH and the seeds in the transaction in which the card proved itself.
    fn open(&self, mut piv: Piv<'_, Proven>, asked: &Asked, secret: &SecretString) -> Result<FileKey> {
        let (label, serial) = (asked.label.as_str(), asked.serial);
        let fail = |error| token_failure(label, SAFE, error);
        if !self.pins.asks()
            && !self.args.last_try
            && serial.is_some_and(|serial| self.state.pin_was_refused(serial))
        {
            // The last unattended PIN was wrong. Running again and again must not block the token.
            let tries = piv.tries_left().map_err(fail)?;
            if tries == Some(1) {
                return Err(Failure::new(
                    Kind::Pin,
                    format!("{label}: one try is left, and the last PIN was wrong. No PIN was sent. {SAFE}"),
                )
                .hint("Correct the PIN, then add --last-try."));
            }
        }
        let pin = Pin::new(secret.expose_secret().as_bytes()).map_err(fail)?;
        let verified = piv.verify(&pin);
        if let Some(serial) = serial {
            match &verified {
                Ok(_) => self.state.note_pin(serial, false),
                Err(Error::WrongPin { .. } | Error::PinBlocked) => self.state.note_pin(serial, true),
                Err(_) => {}
            }
        }
        if verified.is_err() {
            self.pins.forget(serial);
        }
        let mut piv = verified.map_err(fail)?;
        let touch = asked.touch.then(|| format!("Touch {} to open {} …", asked.name, self.what));
        let mut key = TokenSlot {
            piv: &mut piv,
            pin: &pin,
            slot: asked.slot,
            purpose: self.purpose,
            point: asked.point,
            seed_objects: &asked.seed_objects,
            ui: self.ui,
            touch: touch.as_deref(),
        };
        self.header.unwrap_token(&mut key).map_err(|error| match error {
            keyward_age::Error::Token(inner) => match inner.downcast::<Error>() {
                Ok(inner) => token_failure(label, SAFE, *inner),
                Err(other) => Failure::new(Kind::Other, format!("{label}: {other}. {SAFE}")),
            },
            other => crate::report::age_failure(self.what, SAFE, other),
        })
    }

    /// No vault is at hand: the token tells by its own archive key whether the archive is sealed to it.
    fn without_vault(&self) -> Result<FileKey> {
        let readers = self.readers(None)?;
        let mut others = Vec::new();
        for reader in readers.iter().filter(|reader| !reader.held) {
            let mut card = match Card::open(&reader.name) {
                Ok(card) => card,
                Err(error) => return Err(token_failure(&reader.name, SAFE, error)),
            };
            let facts = card
                .begin()
                .and_then(|session| session.select_piv())
                .and_then(|mut piv| facts(&mut piv, self.header));
            let facts = match facts {
                Ok(facts) => facts,
                Err(Error::NotPiv { reader, .. }) => {
                    others.push(Other::NotPiv(reader));
                    continue;
                }
                Err(error) => return Err(token_failure(&reader.name, SAFE, error)),
            };
            let name =
                facts.serial.map_or_else(|| "the token".to_owned(), |serial| format!("YubiKey {serial}"));
            let Some((slot, point)) = facts.opens else {
                others.push(Other::Foreign(name));
                continue;
            };
            self.ui.warn(format!("No vault is at hand, so {name} cannot be checked before the PIN is sent."));
            if facts.tries == Some(0) {
                return Err(token_failure(&name, SAFE, Error::PinBlocked));
            }
            let secret = self.pins.pin(self.ui, facts.serial, &name)?;
            let piv = card
                .begin()
                .and_then(|session| session.select_piv())
                .map_err(|error| token_failure(&name, SAFE, error))?
                .accept_card_without_proof();
            let asked = Asked {
                serial: facts.serial,
                label: name.clone(),
                name,
                slot,
                point,
                seed_objects: vec![ObjectId::IRIS, ObjectId::FACIAL_IMAGE],
                // Nothing says whether this key waits for one; a card that is no YubiKey does not.
                touch: facts.serial.is_some(),
            };
            return self.open(piv, &asked, &secret);
        }
        Err(self.nobody(&others, None))
    }

    /// Words for the case that no token that is here opens the archive.
    fn nobody(&self, others: &[Other], names: Option<(&Holders, &[&str])>) -> Failure {
        let impostor = others.iter().find_map(|other| match other {
            Other::Impostor(label) => Some(label),
            _ => None,
        });
        if let Some(label) = impostor {
            return Failure::new(
                Kind::NotVerified,
                format!("A card says it is {label}, and does not prove it. No PIN was sent. {SAFE}"),
            )
            .hint("Do not use this card. If it is yours and was reset, enrol it as a new token.");
        }
        let busy = others.iter().find_map(|other| match other {
            Other::Busy(reader) => Some(reader),
            _ => None,
        });
        let mut failure = match busy {
            Some(reader) => token_failure("The token", SAFE, Error::Busy { reader: reader.clone() }),
            None => {
                Failure::new(Kind::NotHolder, format!("No token that is here opens {}. {SAFE}", self.what))
            }
        };
        for other in others {
            failure = match other {
                Other::NotSealedTo(label) => {
                    failure.fact(format!("{label} is here; the archive is not sealed to it."))
                }
                Other::Foreign(label) => failure.fact(format!("{label} is here; it is no holder.")),
                Other::NotPiv(reader) => failure.fact(format!("The card in {reader} is no PIV card.")),
                Other::Impostor(_) | Other::Busy(_) => failure,
            };
        }
        match names {
            Some((holders, names)) => failure.fact(holders.who(names)),
            None => failure,
        }
    }
}

/// The key of a token that is asked for, and how it is spoken of.
struct Asked {
    serial: Option<u32>,
    /// The token in a sentence.
    label: String,
    /// The token in a word.
    name: String,
    slot: Slot,
    point: Point,
    /// Where the ML-KEM seeds may be, the likeliest first.
    seed_objects: Vec<ObjectId>,
    /// Whether it may wait for a touch.
    touch: bool,
}

struct Facts {
    serial: Option<u32>,
    /// The slot whose key the file is sealed to.
    opens: Option<(Slot, Point)>,
    tries: Option<u8>,
}

/// What an unknown card tells. A file may be sealed to a key that was never Keyward's: age-plugin-yubikey's are in any retired
/// slot, an issuer's is in 9D.
fn facts(piv: &mut Piv<'_, Locked>, header: &Header) -> keyward_token::Result<Facts> {
    let mut opens = None;
    for slot in std::iter::once(Slot::ARCHIVE).chain(Slot::all().filter(|slot| slot.may_be_adopted())) {
        let point = match piv.public_key(slot) {
            Ok(point) => point,
            Err(Error::NoKey { .. } | Error::Certificate { .. } | Error::Status { .. }) => None,
            Err(error) => return Err(error),
        };
        // A share that was made to look like an archive does not reach the custody key, wherever that is.
        if let Some(point) = point.filter(|point| header.addressed_to_point(point))
            && !piv.is_for_no_archive(slot)?
        {
            opens = Some((slot, point));
            break;
        }
    }
    let serial = piv.yubikey()?.map(|(serial, _)| serial);
    Ok(Facts { serial, opens, tries: piv.tries_left()? })
}

/// The serial number a card gives; only asked of a card that did not prove itself.
fn serial(reader: &str) -> Option<u32> {
    let mut card = Card::open(reader).ok()?;
    card.begin()
        .and_then(|session| session.select_piv())
        .and_then(|mut piv| piv.yubikey())
        .ok()
        .flatten()
        .map(|(serial, _)| serial)
}

/// What a card is that failed before its PIN was used; an error that ends the search stays one.
fn other(reader: &Reader, error: Error, holders: &Holders, serial: Option<u32>) -> Result<Other> {
    match error {
        Error::Busy { reader } => Ok(Other::Busy(reader)),
        Error::NotPiv { reader, .. } => Ok(Other::NotPiv(reader)),
        Error::CardProof { .. } | Error::NoCardProof { .. } => {
            let claimed = holders.tokens.iter().find(|holder| serial.is_some() && holder.serial == serial);
            Ok(match (claimed, serial) {
                (Some(holder), _) => Other::Impostor(holder.label()),
                (None, Some(serial)) => Other::Foreign(format!("YubiKey {serial}")),
                (None, None) => Other::Foreign(format!("The card in {}", reader.name)),
            })
        }
        error => Err(token_failure(&reader.name, SAFE, error)),
    }
}
