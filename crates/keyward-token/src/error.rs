//! What can go wrong with a token, as facts: which reader, which slot, how many tries, which status word.
//!
//! Variants differ by what a caller can do about them; the words for people are written elsewhere.

use crate::{
    apdu::StatusWord,
    attest::AttestationError,
    seed::SeedError,
    slot::{ObjectId, Slot},
    transport::TransportError,
};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a token was not found, not used or not provisioned.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // --- Finding
    /// No PC/SC service answers (pcscd is not running or not reachable).
    #[error("no PC/SC service is running")]
    NoService,
    /// The service runs; no reader has a PIV card in it.
    #[error("no token is present")]
    NoToken,
    /// No reader of this name.
    #[error("there is no reader {reader:?}")]
    NoReader {
        /// The name asked for.
        reader: String,
    },
    /// Another program holds the reader exclusively (often GnuPG's scdaemon).
    #[error("reader {reader:?} is held by another program")]
    Busy {
        /// The reader's name.
        reader: String,
    },
    /// The card in the reader has no PIV applet.
    #[error("the card in reader {reader:?} has no PIV applet (status {status})")]
    NotPiv {
        /// The reader's name.
        reader: String,
        /// The answer to SELECT.
        status: StatusWord,
    },

    // --- Talking
    /// The token was pulled out, or lost power, while it was used.
    #[error("the token in reader {reader:?} was removed while in use")]
    Removed {
        /// The reader's name.
        reader: String,
    },
    /// Another program reset the card at a point where nothing may be repeated.
    #[error("the card in reader {reader:?} was reset by another program")]
    Reset {
        /// The reader's name.
        reader: String,
    },
    /// Anything else that PC/SC reports.
    #[error("reader {reader:?}")]
    Transport {
        /// The reader's name.
        reader: String,
        /// What the transport says.
        #[source]
        source: TransportError,
    },
    /// The card refused a command with a status word that has no better name here.
    #[error("the card refused {command} with status {status}")]
    Status {
        /// The command's name in SP 800-73-4, or Yubico's.
        command: &'static str,
        /// Its answer.
        status: StatusWord,
    },
    /// The card's answer is not what the standard says it is.
    #[error("the card's answer to {command} is malformed")]
    Malformed {
        /// The command's name.
        command: &'static str,
    },

    // --- Card proof
    /// The card answered the proof, and none of the expected keys made the signature: not the token that was enrolled.
    #[error("the card is none of the {candidates} tokens it could be")]
    CardProof {
        /// How many keys were tried.
        candidates: usize,
    },
    /// The card has no usable key in 9E, so it cannot prove which one it is.
    #[error("the card cannot prove which token it is (slot 9e, status {status})")]
    NoCardProof {
        /// The answer to the request for a proof.
        status: StatusWord,
    },
    /// A vault id longer than 65,535 bytes.
    #[error("the vault id is too long")]
    VaultId,

    // --- PIN
    /// The PIN or PUK cannot be right by its length; the card was not asked.
    #[error("a PIN or PUK has 6 to 8 bytes, this one has {length}")]
    PinLength {
        /// Its length in bytes.
        length: usize,
    },
    /// The card did not take the PIN.
    #[error("PIN wrong, {tries_left} tries left")]
    WrongPin {
        /// Tries that remain.
        tries_left: u8,
    },
    /// No tries of the PIN remain; the PUK unlocks it.
    #[error("the PIN is blocked")]
    PinBlocked,
    /// The card did not take the PUK.
    #[error("PUK wrong, {tries_left} tries left")]
    WrongPuk {
        /// Tries that remain.
        tries_left: u8,
    },
    /// No tries of the PUK remain.
    #[error("the PUK is blocked")]
    PukBlocked,
    /// The token does not take this as a new PIN or PUK: too simple for its rules, or of a form it does not know.
    #[error("the token refuses the new {secret} (status {status})")]
    SecretRefused {
        /// `PIN` or `PUK`.
        secret: &'static str,
        /// The answer.
        status: StatusWord,
    },
    /// The key or object wants a PIN that was not verified for this use.
    #[error("a PIN is needed for {what}")]
    PinRequired {
        /// The slot or object.
        what: String,
    },
    /// The PIN was right and the card still refused: nobody touched it in time.
    #[error("the token was not touched (slot {slot})")]
    TouchDenied {
        /// The slot that was asked for.
        slot: Slot,
    },

    // --- Keys and objects
    /// No P-256 key that can do this is in the slot.
    #[error("slot {slot} has no usable P-256 key")]
    NoKey {
        /// The slot.
        slot: Slot,
    },
    /// A point that is not on P-256.
    #[error("the peer's public key is not a point on P-256")]
    NotOnCurve,
    /// The slot's certificate cannot be read.
    #[error("the certificate of slot {slot} cannot be read: {reason}")]
    Certificate {
        /// The slot.
        slot: Slot,
        /// Why.
        reason: &'static str,
    },
    /// The ML-KEM seeds are missing or spoilt.
    #[error("ML-KEM seeds in object {object}")]
    Seed {
        /// The object.
        object: ObjectId,
        /// What is wrong with them.
        #[source]
        source: SeedError,
    },

    // --- Provisioning
    /// The slots hold something already, and overwriting was not asked for.
    #[error("occupied: {}", list_slots(slots))]
    Occupied {
        /// The occupied slots.
        slots: Vec<Slot>,
    },
    /// Neither 9C nor a retired slot from 84 on is free for a signing key.
    #[error("no slot is free for a signing key")]
    NoSigningSlot,
    /// No retired slot is free for a custody key beside a key that was taken over.
    #[error("no retired slot is free for a custody key")]
    NoCustodySlot,
    /// A slot whose key cannot be taken over as an archive key.
    #[error("a key in slot {slot} cannot become an archive key")]
    NotAdoptable {
        /// The slot.
        slot: Slot,
    },
    /// The card gives the seeds to whoever asks, without the PIN. They were removed again.
    #[error("the card does not guard object {object} with the PIN")]
    SeedsUnguarded {
        /// The object.
        object: ObjectId,
    },
    /// Something that only a YubiKey can do was asked of another card.
    #[error("a card that is no YubiKey cannot {what}")]
    YubiKeyOnly {
        /// What was asked for.
        what: &'static str,
    },
    /// Both objects that could hold the seeds are occupied by something else.
    #[error("objects 5fc121 and 5fc108 are both occupied")]
    SeedObjectsOccupied,
    /// An object that enrolment has to write holds something else.
    #[error("object {object} is occupied")]
    ObjectOccupied {
        /// The object.
        object: ObjectId,
    },
    /// A new secret that is the factory's.
    #[error("the new {secret} is the factory's")]
    FactorySecret {
        /// `PIN` or `PUK`.
        secret: &'static str,
    },
    /// A test message came out of the token differently than it went in.
    #[error("slot {slot} does not compute what its public key promises")]
    RoundTrip {
        /// The slot.
        slot: Slot,
    },
    /// The firmware cannot tell whether this secret is the factory's, and it was not given.
    #[error("the token cannot tell whether its {secret} is the factory's; it has to be given")]
    SecretNeeded {
        /// `PIN`, `PUK` or `management key`.
        secret: &'static str,
    },
    /// The management key that was given or stored is not the token's.
    #[error("the management key is not the token's")]
    ManagementKey,
    /// What was written is not what is read back.
    #[error("{what} reads back differently from what was written")]
    ReadBack {
        /// The thing written.
        what: &'static str,
    },
    /// The token in the reader is another one than at the start.
    #[error("the token in reader {reader:?} is another one than before")]
    OtherToken {
        /// The reader's name.
        reader: String,
    },
    /// The token is no YubiKey, so it cannot be provisioned this way.
    #[error("the card in reader {reader:?} is no YubiKey with PIV")]
    NotYubiKey {
        /// The reader's name.
        reader: String,
    },
    /// The name does not fit into a certificate.
    #[error("the name {name:?} does not fit into a certificate")]
    Name {
        /// The name.
        name: String,
    },
    /// A provisioning step failed inside the `yubikey` crate.
    #[error("{step} failed")]
    Provision {
        /// The step.
        step: &'static str,
        /// What the crate says; its status words are lost.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A certificate could not be built.
    #[error("a certificate could not be built: {reason}")]
    CertificateBuilder {
        /// Why.
        reason: String,
    },
    /// The caller stopped the enrolment between two steps.
    #[error("stopped before the next step")]
    Interrupted,
    /// An attestation does not hold.
    #[error("the attestation does not hold")]
    Attestation(#[from] AttestationError),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

fn list_slots(slots: &[Slot]) -> String {
    slots.iter().map(Slot::to_string).collect::<Vec<_>>().join(", ")
}
