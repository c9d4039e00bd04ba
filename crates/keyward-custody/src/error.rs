//! What can be wrong, with the facts. What is safe and what to do next is the command line's to say.

mod class;

pub use class::Class;

use crate::{Digest, Generation, Name, PolicyError, SharePath, SignatureError, Timestamp, VaultId};

/// Everything this crate refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- a value that is none
    /// A name outside the grammar.
    #[error("'{}' is no name: {reason}", name.escape_debug())]
    Name {
        /// The text, cut at 64 characters.
        name: String,
        /// What the grammar says.
        reason: &'static str,
    },
    /// No time between 1970 and 9999 in the one accepted form.
    #[error("'{}' is no time of the form 2026-11-24T16:00:00Z", text.escape_debug())]
    Timestamp {
        /// The text, cut at 64 characters.
        text: String,
    },
    /// Not the hexadecimal digits that were expected.
    #[error("{what} is {digits} lower-case hexadecimal digits")]
    Hex {
        /// What was to be read.
        what: &'static str,
        /// How many digits it has.
        digits: usize,
    },
    /// Neither a digest nor eight words of the list.
    #[error("a fingerprint is 64 hexadecimal digits or eight words of the BIP-39 list: {reason}")]
    Fingerprint {
        /// What is wrong with it.
        reason: String,
    },
    /// A policy text that is none.
    #[error("the policy cannot be read: {0}")]
    Policy(#[from] PolicyError),
    /// A requirement that is none.
    #[error("the requirement '{}' cannot be read: {reason}", clause.escape_debug())]
    Require {
        /// The clause, cut at 64 characters.
        clause: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// One of the words or numbers that describe a token.
    #[error("'{}' is no {what}", text.escape_debug())]
    TokenWord {
        /// What was to be read.
        what: &'static str,
        /// The text, cut at 64 characters.
        text: String,
    },
    /// A public key that is none.
    #[error("the public key cannot be used: {reason}")]
    PublicKey {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A card's answer or a signature file.
    #[error("the signature cannot be used: {0}")]
    Signature(SignatureError),
    /// No random bytes from the operating system.
    #[error("the operating system gave no random bytes: {0}")]
    Random(getrandom::Error),

    // --- a file that is none
    /// Not the JSON it should be.
    #[error("the {what} cannot be read: {reason}")]
    Malformed {
        /// Which kind of file.
        what: &'static str,
        /// What the JSON reader says.
        reason: String,
    },
    /// The right content in another spelling than the canonical one.
    #[error("the {what} is not in canonical form")]
    NotCanonical {
        /// Which kind of file.
        what: &'static str,
    },
    /// A longer file than any of its kind.
    #[error("the {what} has {len} bytes, more than {max}")]
    TooLong {
        /// Which kind of file.
        what: &'static str,
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },

    // --- a statement that contradicts itself or the design; building and reading refuse alike
    /// Generation 1 has no predecessor, any other has one.
    #[error("generation {generation} and its `previous` contradict each other")]
    Previous {
        /// The statement's own number.
        generation: Generation,
    },
    /// The expiry date is not after the date of creation.
    #[error("it expires on {expires}, not after its creation on {created}")]
    Dates {
        /// Date of creation.
        created: Timestamp,
        /// Date of expiry.
        expires: Timestamp,
    },
    /// No admin, or more than 64.
    #[error("a vault has 1 to 64 admins, not {count}")]
    AdminCount {
        /// How many there are.
        count: usize,
    },
    /// Not 1 ≤ routine ≤ root ≤ admins.
    #[error("the thresholds routine {routine} and root {root} do not fit {admins} admins")]
    Thresholds {
        /// Signatures for a routine change.
        routine: u32,
        /// Signatures for any other.
        root: u32,
        /// How many admins there are.
        admins: usize,
    },
    /// One key in two places that have to be different keys.
    #[error("{first} and {second} are the same key")]
    KeyTwice {
        /// Where it stands first, as `alice's archive key`.
        first: String,
        /// Where it stands again.
        second: String,
    },
    /// An admin with a token's or paper's name and another key than its signing key, or with the name of a holder who has
    /// none.
    #[error("admin {name} has another key than the holder of that name")]
    AdminIsAnother {
        /// The name.
        name: Name,
    },
    /// The policy names somebody who is no holder.
    #[error("the policy names {name}, who is no holder")]
    NotAHolder {
        /// The name.
        name: Name,
    },
    /// A holder whom the policy does not name.
    #[error("{name} is a holder and has no part in the policy")]
    OutsidePolicy {
        /// The name.
        name: Name,
    },
    /// A part of the policy needs shares in key files, which come with epochs; there is none.
    #[error(
        "'{part}' is no holder who opens alone: it needs key files under an epoch, and the statement has no epoch"
    )]
    NeedsKeyFiles {
        /// The first such part.
        part: String,
    },
    /// A recipient that does not belong in this vault.
    #[error("the {which} recipient of {holder} is no token recipient of suite {suite}")]
    Recipient {
        /// Whose.
        holder: Name,
        /// `archive` or `custody`.
        which: &'static str,
        /// The vault's suite.
        suite: keyward_age::Suite,
    },
    /// A recipient of a holder who is no token that does not belong in this vault.
    #[error("the recipient of {holder} is a token's, or not of suite {suite}")]
    SoftRecipient {
        /// Whose.
        holder: Name,
        /// The vault's suite.
        suite: keyward_age::Suite,
    },
    /// A paper with another kind of signing key than Ed25519.
    #[error("the signing key of {holder} is no ssh-ed25519 key, and {holder} is paper")]
    PaperKey {
        /// Whose.
        holder: Name,
    },
    /// A seed object in suite classic, or none in suite hybrid.
    #[error("the seed object of {holder} does not fit suite {suite}")]
    SeedObject {
        /// Whose.
        holder: Name,
        /// The vault's suite.
        suite: keyward_age::Suite,
    },
    /// An archive or custody key in a slot that cannot hold it, or that holds another of the token's keys.
    #[error("the {which} key of {holder} cannot be in slot {slot}")]
    KeySlot {
        /// Whose.
        holder: Name,
        /// `archive` or `custody`.
        which: &'static str,
        /// The slot, in hexadecimal.
        slot: crate::SlotId,
    },
    /// A signing slot that is none.
    #[error("{holder} cannot sign with slot {slot}")]
    SigningSlot {
        /// Whose.
        holder: Name,
        /// The slot, in hexadecimal.
        slot: crate::SlotId,
    },
    /// A token that the vault's `require` line excludes.
    #[error("{holder} fails the requirement '{clause}': it has {found}")]
    Requirement {
        /// Whose token.
        holder: Name,
        /// The clause, canonical.
        clause: String,
        /// What the token has instead.
        found: String,
    },
    /// A software token in a vault that is no test vault.
    #[error("{holder} is an emulated token, and this is no test vault")]
    EmulatedToken {
        /// Whose token.
        holder: Name,
    },
    /// A new policy that the loss of one holder makes unsatisfiable.
    #[error("without {holder} nothing opens under the policy '{policy}'")]
    SingleHolder {
        /// The first such holder.
        holder: Name,
        /// The policy.
        policy: String,
    },

    // --- epochs in a statement
    /// Epochs are numbered 1, 2, 3 …
    #[error("epoch {found} stands where epoch {expected} belongs")]
    EpochNumber {
        /// What should stand there.
        expected: u32,
        /// What stands there.
        found: u32,
    },
    /// An epoch's recipient that does not belong in this vault.
    #[error("the recipient of epoch {epoch} is a token's, or not of suite {suite}")]
    EpochRecipient {
        /// Which epoch.
        epoch: u32,
        /// The vault's suite.
        suite: keyward_age::Suite,
    },
    /// A key file from after the statement that names it.
    #[error("epoch {epoch} was written by generation {written}, after this statement")]
    EpochFromLater {
        /// Which epoch.
        epoch: u32,
        /// The generation that it says wrote its key file.
        written: Generation,
    },
    /// An epoch with another key than before, or none any more.
    #[error("generation {generation} changes the {member} of epoch {epoch}, which never changes")]
    EpochChanged {
        /// Which statement.
        generation: Generation,
        /// Which epoch.
        epoch: u32,
        /// Which member.
        member: &'static str,
    },
    /// Who opens changes, and the epoch in force does not follow.
    #[error("generation {generation} changes who opens, and the epoch in force is {found}")]
    EpochStale {
        /// Which statement.
        generation: Generation,
        /// What the epoch in force is, as `the old one`.
        found: &'static str,
    },
    /// There is no such epoch.
    #[error("there is no epoch {epoch}")]
    NoEpoch {
        /// Its number.
        epoch: u32,
    },

    // --- sealers and receipts
    /// A sealer that contradicts its statement.
    #[error("sealer {name} {reason}")]
    Sealer {
        /// Its name.
        name: Name,
        /// What is wrong.
        reason: &'static str,
    },
    /// A sealer that is not what it was.
    #[error("generation {generation} changes the {member} of sealer {name}")]
    SealerChanged {
        /// Which statement.
        generation: Generation,
        /// Its name.
        name: Name,
        /// Which member.
        member: &'static str,
    },
    /// A sealer has, or had, that name.
    #[error("{name} is, or was, a sealer already")]
    SealerTaken {
        /// The name.
        name: Name,
    },
    /// No sealer in force has that name.
    #[error("{name} is no sealer in force")]
    NoSealer {
        /// The name.
        name: Name,
    },
    /// A private key file that cannot be used.
    #[error("the key of the sealer cannot be used: {reason}")]
    SealerKey {
        /// Why.
        reason: &'static str,
    },
    /// A name of a series outside the grammar.
    #[error("'{}' is no series: it has 1 to 64 letters, digits, points, hyphens and underscores, a letter or digit first", text.escape_debug())]
    Series {
        /// The text, cut at 64 characters.
        text: String,
    },
    /// Not a set of numbers in its one spelling.
    #[error("'{}' is no set of numbers such as 1-16,18", text.escape_debug())]
    Numbers {
        /// The text, cut at 64 characters.
        text: String,
    },
    /// A receipt that contradicts itself.
    #[error("the receipt contradicts itself: {reason}")]
    Receipt {
        /// How.
        reason: &'static str,
    },

    // --- a draft
    /// A holder or admin of that name is there already.
    #[error("{name} is a holder or admin already")]
    NameTaken {
        /// The name.
        name: Name,
    },
    /// Nobody of that name is there.
    #[error("{name} is neither holder nor admin")]
    Nobody {
        /// The name.
        name: Name,
    },
    /// What is left of a policy opens nothing, or not for somebody who had a part in it.
    #[error("without {gone} the policy '{policy}' {what}")]
    Unsatisfiable {
        /// Who leaves.
        gone: Name,
        /// The policy as it is.
        policy: String,
        /// What would be left of it.
        what: String,
    },
    /// More signatures than admins would be left.
    #[error("without {gone} there are {admins} admins, and root changes need {root} signatures")]
    TooFewAdmins {
        /// Who leaves.
        gone: Name,
        /// How many admins would be left.
        admins: usize,
        /// The root threshold.
        root: u32,
    },

    // --- key files and shares
    /// A key file with other bytes than the statement says.
    #[error("key file {file} is not the one of the statement: it was edited")]
    KeyFileEdited {
        /// Its name.
        file: String,
        /// The digest in the statement.
        expected: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// A key file that belongs somewhere else.
    #[error("key file {file} is of another {member}: {found}")]
    KeyFileOfAnother {
        /// Its name.
        file: String,
        /// What it belongs to: `vault`, `key`, `version`, `generation`, `recipient`.
        member: &'static str,
        /// What the file says.
        found: String,
    },
    /// A key file whose leaves are not those of its policy.
    #[error("the leaves of the key file are not those of its policy: {reason}")]
    Leaves {
        /// What is wrong.
        reason: String,
    },
    /// A leaf that cannot be opened as an age file.
    #[error("the share of {holder} at {path} cannot be opened: {source}")]
    Leaf {
        /// Whose.
        holder: Name,
        /// Its place in the policy.
        path: SharePath,
        /// Why.
        source: keyward_age::Error,
    },
    /// A share that was made for another place.
    #[error("the share of {holder} at {path} was made for another {member}")]
    ShareOfAnother {
        /// Whose leaf it was in.
        holder: Name,
        /// The place it was opened for.
        path: SharePath,
        /// What differs: `vault`, `key`, `version`, `generation`, `path`, `holder`.
        member: &'static str,
    },
    /// A share that is not the one that was made.
    #[error("the share of {holder} at {path} is wrong: it is not the one that was made for this key")]
    WrongShare {
        /// Whose.
        holder: Name,
        /// Its place in the policy.
        path: SharePath,
    },
    /// Too few shares.
    #[error("the holders present do not satisfy the policy '{policy}'; {missing}")]
    NotSatisfied {
        /// The policy.
        policy: String,
        /// What is missing, as `missing: dave, or bob`.
        missing: String,
    },
    /// The shares give another key than the one in the statement.
    #[error("the shares of {key} version {version} give another key than the statement names")]
    Commitment {
        /// Which key.
        key: String,
        /// Its version.
        version: u32,
    },
    /// Something in age failed.
    #[error("{0}")]
    Age(#[from] keyward_age::Error),
    /// A holder file with other bytes than the statement says.
    #[error("the file of holder {holder} is not the one of the statement: it was edited")]
    HolderFileEdited {
        /// Whose.
        holder: Name,
    },

    // --- paper and passphrases
    /// A holder of another kind than what was brought for it.
    #[error("{holder} is no {wanted}: it is a holder of kind {kind}")]
    HolderKind {
        /// Who.
        holder: Name,
        /// The kind it is, as the statement names it.
        kind: &'static str,
        /// The kind that was meant.
        wanted: &'static str,
    },
    /// Not 24 words.
    #[error("a paper has 24 words, and here are {found}")]
    PaperWords {
        /// How many there are.
        found: usize,
    },
    /// A word that is not in the list. The word itself is not repeated: it is nearly a secret.
    #[error("word {place} is not in the list of words")]
    PaperWord {
        /// Counted from 1.
        place: usize,
    },
    /// 24 words of the list that are not those of any paper.
    #[error("the 24 words do not belong together: one is another word, or two have changed places")]
    PaperChecksum,
    /// A sheet that cannot be read.
    #[error("the sheet cannot be read: {reason}")]
    PaperSheet {
        /// Why.
        reason: &'static str,
    },
    /// Words that are not those of the sheet or the statement.
    #[error("these words are not those of {of}: they give another {member}")]
    PaperIsAnother {
        /// Whose words they should be: a holder's name, or `this sheet`.
        of: String,
        /// What differs, as `recipient`.
        member: &'static str,
    },
    /// An age identity that is not the holder's.
    #[error("the identity that was brought for {holder} is another one")]
    IdentityIsAnother {
        /// Whose it should be.
        holder: Name,
    },
    /// A passphrase that can be guessed.
    #[error("the passphrase is worth about {bits} bits; {needed} are asked for")]
    WeakPassphrase {
        /// The estimate.
        bits: u32,
        /// How many are enough.
        needed: u32,
    },
    /// Not the passphrase of that file.
    #[error("the passphrase is not that of this holder")]
    WrongPassphrase,
    /// Shamir's arithmetic refused its input, which no caller can bring about.
    #[error("a secret could not be split or combined: {reason}")]
    Sharing {
        /// What the crate says.
        reason: String,
    },

    // --- the chain of generations; all of it means: not verified
    /// There is no statement at all.
    #[error("there is no statement here")]
    NoStatement,
    /// The files are another vault's.
    #[error("this is vault {found}, not the pinned vault {pinned}")]
    OtherVault {
        /// Vault id in the pins.
        pinned: VaultId,
        /// Vault id in the statement.
        found: VaultId,
    },
    /// The newest statement is older than one already seen.
    #[error(
        "the newest statement is generation {found}, but generation {pinned} has been seen before: rolled back below generation {pinned}"
    )]
    RolledBack {
        /// The generation seen before.
        pinned: Generation,
        /// The highest that is here.
        found: Generation,
    },
    /// A generation is missing among the ones to verify.
    #[error("generation {missing} is missing, and generation {above} is here")]
    Gap {
        /// The first that is missing.
        missing: Generation,
        /// The highest that is here.
        above: Generation,
    },
    /// Another successor of the same parent than the one already seen, signed too.
    #[error(
        "generation {generation} is another one than was seen before, and signed: the vault's history forks"
    )]
    Fork {
        /// The generation that exists twice, or whose predecessor does.
        generation: Generation,
        /// The digest that was expected of the generation, or of its predecessor.
        expected: Digest,
        /// The digest found.
        found: Digest,
    },
    /// The statement already seen has been changed.
    #[error("generation {generation} is not the statement that was seen before: it was edited")]
    Edited {
        /// The pinned generation.
        generation: Generation,
        /// Its digest in the pins.
        expected: Digest,
        /// The digest of the file.
        found: Digest,
    },
    /// A file with another generation in it than in its name.
    #[error("the file of generation {file} has generation {inside} in it")]
    WrongNumber {
        /// By its name.
        file: Generation,
        /// By its content.
        inside: Generation,
    },
    /// A statement that is refused for what it says.
    #[error("statement {generation} is refused: {source}")]
    Statement {
        /// Which one.
        generation: Generation,
        /// Why.
        source: Box<Error>,
    },
    /// A signature file that does not verify.
    #[error("the signature of {signer} on generation {generation} is refused: {reason}")]
    BadSignature {
        /// Of which statement.
        generation: Generation,
        /// Whose, by the file's name.
        signer: Name,
        /// Why.
        reason: SignatureError,
    },
    /// A signature by nobody who could sign.
    #[error("generation {generation} has a signature of {signer}, who is no admin")]
    UnknownSigner {
        /// Of which statement.
        generation: Generation,
        /// Whose, by the file's name.
        signer: Name,
    },
    /// Too few signatures.
    #[error("generation {generation} has {have} of the {needed} signatures it needs from {of}")]
    Unsigned {
        /// Which statement.
        generation: Generation,
        /// Valid signatures by distinct keys.
        have: usize,
        /// How many it needs.
        needed: usize,
        /// From whom, as `the admins before`.
        of: &'static str,
    },
    /// A change of what never changes.
    #[error("generation {generation} changes the vault's {member}, which never changes")]
    FixedMember {
        /// Which statement.
        generation: Generation,
        /// Which member.
        member: &'static str,
    },

    // --- trust
    /// The fingerprint is not the one that was given.
    #[error("the vault's fingerprint is {found}, not the one that was given")]
    OtherFingerprint {
        /// That of the vault.
        found: crate::Fingerprint,
    },
    /// A test vault where none was allowed.
    #[error("{name} is a test vault: its tokens may be software that anybody can copy")]
    TestVault {
        /// The vault's name.
        name: Name,
    },
    /// Pins that contradict themselves.
    #[error("the pins contradict themselves: {reason}")]
    Pins {
        /// How.
        reason: &'static str,
    },
}

impl Error {
    pub(crate) fn malformed(what: &'static str, source: impl std::fmt::Display) -> Error {
        // A parser's message may quote the file, which may be hostile to a terminal.
        let plain = |c: char| c.is_ascii_graphic() || c == ' ';
        let mut reason = String::new();
        for character in source.to_string().chars().take(500) {
            if plain(character) { reason.push(character) } else { reason.extend(character.escape_unicode()) }
        }
        Error::Malformed { what, reason }
    }
}
