//! Command and response APDUs: ISO/IEC 7816-3 section 12, 7816-4 section 5.
//!
//! Short APDUs only, with command chaining (CLA 10) for longer data and GET RESPONSE for longer answers:
//! what every PIV card understands. Both directions may carry secrets, so both buffers are wiped.

use std::fmt;

use zeroize::Zeroizing;

use crate::transport::{Transport, TransportError};

/// The most bytes that one short APDU carries.
const MAX_DATA: usize = 255;
/// No answer of a PIV card is longer; a card that goes on is cut off.
const MAX_ANSWER: usize = 0x1_0000;
const INS_GET_RESPONSE: u8 = 0xC0;
const CLA_CHAINING: u8 = 0x10;

/// The two bytes at the end of every answer: ISO/IEC 7816-4 section 5.6, SP 800-73-4 part 2 section 3.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatusWord(pub u16);

impl StatusWord {
    /// 9000: done.
    pub const SUCCESS: Self = Self(0x9000);
    /// 6700: wrong length.
    pub const WRONG_LENGTH: Self = Self(0x6700);
    /// 6982: security status not satisfied; a PIN, a touch or the management key is missing.
    pub const SECURITY_STATUS: Self = Self(0x6982);
    /// 6983: authentication method blocked.
    pub const BLOCKED: Self = Self(0x6983);
    /// 6985: conditions of use not satisfied.
    pub const CONDITIONS: Self = Self(0x6985);
    /// 6A80: incorrect parameter in the data field.
    pub const WRONG_DATA: Self = Self(0x6A80);
    /// 6A81: function not supported.
    pub const NOT_SUPPORTED: Self = Self(0x6A81);
    /// 6A82: data object or application not found.
    pub const NOT_FOUND: Self = Self(0x6A82);
    /// 6A86: incorrect parameter in P1 or P2.
    pub const WRONG_P1_P2: Self = Self(0x6A86);
    /// 6A88: referenced data not found.
    pub const NO_REFERENCE: Self = Self(0x6A88);
    /// 6B00: parameters outside of what there is.
    pub const WRONG_PARAMETERS: Self = Self(0x6B00);
    /// 6D00: instruction not supported.
    pub const WRONG_INS: Self = Self(0x6D00);

    /// Whether this is 9000.
    #[must_use]
    pub fn is_success(self) -> bool {
        self == Self::SUCCESS
    }

    /// Whether GENERAL AUTHENTICATE answers so for a slot that has no key of that algorithm. Cards differ in which of
    /// these they choose; YubiKeys say 6A80.
    pub(crate) fn is_no_key(self) -> bool {
        matches!(
            self,
            Self::WRONG_DATA
                | Self::WRONG_P1_P2
                | Self::NO_REFERENCE
                | Self::NOT_FOUND
                | Self::NOT_SUPPORTED
                | Self::WRONG_PARAMETERS
        )
    }

    /// The same for a card that is no YubiKey: some answer 6985, which a YubiKey says of a key that was not touched.
    pub(crate) fn is_no_key_of_a_generic_card(self) -> bool {
        self.is_no_key() || self == Self::CONDITIONS
    }

    /// The tries in `63Cx`.
    #[must_use]
    pub fn tries_left(self) -> Option<u8> {
        let [_, low] = self.0.to_be_bytes();
        (self.0 & 0xFFF0 == 0x63C0).then_some(low & 0x0F)
    }

    /// The bytes that wait, in `61xx`; 00 means 256 or more.
    fn more(self) -> Option<u8> {
        let [high, low] = self.0.to_be_bytes();
        (high == 0x61).then_some(low)
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04X}", self.0)
    }
}

impl fmt::Debug for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatusWord({:04X})", self.0)
    }
}

/// A command of any length. No Debug: its data may be a PIN.
pub(crate) struct Command {
    ins: u8,
    p1: u8,
    p2: u8,
    data: Zeroizing<Vec<u8>>,
    /// Whether an answer is expected beyond the status word.
    answers: bool,
}

impl Command {
    pub(crate) fn new(ins: u8, p1: u8, p2: u8) -> Self {
        Self { ins, p1, p2, data: Zeroizing::new(Vec::new()), answers: false }
    }

    /// With this data field.
    pub(crate) fn data(mut self, data: impl Into<Zeroizing<Vec<u8>>>) -> Self {
        self.data = data.into();
        self
    }

    /// With Le 00: up to 256 bytes at once.
    pub(crate) fn answers(mut self) -> Self {
        self.answers = true;
        self
    }

    /// The short APDUs that make up this command, in order.
    fn encode(&self) -> Vec<Zeroizing<Vec<u8>>> {
        let mut parts: Vec<&[u8]> = self.data.chunks(MAX_DATA).collect();
        let last = parts.pop().unwrap_or(&[]);
        let mut apdus: Vec<_> = parts.into_iter().map(|part| self.apdu(CLA_CHAINING, part, false)).collect();
        apdus.push(self.apdu(0x00, last, self.answers));
        apdus
    }

    fn apdu(&self, cla: u8, data: &[u8], answers: bool) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(6 + data.len()));
        bytes.extend([cla, self.ins, self.p1, self.p2]);
        if let (Ok(length), false) = (u8::try_from(data.len()), data.is_empty()) {
            bytes.push(length);
            bytes.extend_from_slice(data);
        }
        if answers {
            bytes.push(0x00);
        }
        bytes
    }

    /// Sends the command and collects its answer. A transport error ends it; nothing is ever sent twice.
    pub(crate) fn send(&self, transport: &mut dyn Transport) -> Result<Response, TransportError> {
        let apdus = self.encode();
        let mut answer = Response::empty();
        for apdu in apdus {
            // A chained part that is refused ends the command with that status.
            if answer.status.more().is_some() {
                return Err(TransportError::Answer);
            }
            if !answer.status.is_success() {
                return Ok(answer);
            }
            answer = Response::parse(transport.transmit(&apdu)?)?;
        }
        while let Some(length) = answer.status.more() {
            let next = Response::parse(transport.transmit(&[0x00, INS_GET_RESPONSE, 0x00, 0x00, length])?)?;
            if next.data.is_empty() && next.status.more().is_some() || answer.data.len() > MAX_ANSWER {
                return Err(TransportError::Answer);
            }
            // Grown by hand: a Vec that grows by itself leaves its old bytes behind.
            let mut data = Zeroizing::new(Vec::with_capacity(answer.data.len() + next.data.len()));
            data.extend_from_slice(&answer.data);
            data.extend_from_slice(&next.data);
            answer = Response { data, status: next.status };
        }
        Ok(answer)
    }
}

/// What a card answered. No Debug: the data may be a shared secret.
pub(crate) struct Response {
    pub(crate) data: Zeroizing<Vec<u8>>,
    pub(crate) status: StatusWord,
}

impl Response {
    fn empty() -> Self {
        Self { data: Zeroizing::new(Vec::new()), status: StatusWord::SUCCESS }
    }

    fn parse(bytes: Vec<u8>) -> Result<Self, TransportError> {
        let mut data = Zeroizing::new(bytes);
        let (rest, status) = data.split_last_chunk::<2>().ok_or(TransportError::Answer)?;
        let (length, status) = (rest.len(), StatusWord(u16::from_be_bytes(*status)));
        data.truncate(length);
        Ok(Self { data, status })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Answers in order; remembers what was sent.
    struct Script {
        answers: Vec<Vec<u8>>,
        sent: Vec<Vec<u8>>,
    }

    impl Script {
        fn new(answers: &[&[u8]]) -> Self {
            Self { answers: answers.iter().rev().map(|a| a.to_vec()).collect(), sent: Vec::new() }
        }
    }

    impl Transport for Script {
        fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
            self.sent.push(apdu.to_vec());
            self.answers.pop().ok_or(TransportError::Removed)
        }
    }

    #[test]
    fn the_four_cases_of_a_short_apdu() {
        let encode = |command: Command| command.encode().into_iter().map(|a| a.to_vec()).collect::<Vec<_>>();
        assert_eq!(encode(Command::new(0x20, 0, 0x80)), [[0, 0x20, 0, 0x80]]);
        assert_eq!(encode(Command::new(0xFD, 0, 0).answers()), [[0, 0xFD, 0, 0, 0]]);
        assert_eq!(
            encode(Command::new(0xCB, 0x3F, 0xFF).data(vec![0x5C, 0])),
            [[0, 0xCB, 0x3F, 0xFF, 2, 0x5C, 0]]
        );
        assert_eq!(
            encode(Command::new(0xCB, 0x3F, 0xFF).data(vec![0x5C, 0]).answers()),
            [[0, 0xCB, 0x3F, 0xFF, 2, 0x5C, 0, 0]]
        );
    }

    #[test]
    fn long_data_is_chained_and_a_refusal_ends_it() {
        let mut script = Script::new(&[&[0x90, 0], &[0x69, 0x82]]);
        let answer = Command::new(0xDB, 0x3F, 0xFF).data(vec![7; 600]).send(&mut script).unwrap();
        assert_eq!(answer.status, StatusWord::SECURITY_STATUS);
        assert_eq!(script.sent.len(), 2, "the third part is not sent");
        assert_eq!(script.sent[0][..5], [0x10, 0xDB, 0x3F, 0xFF, 255]);
    }

    #[test]
    fn a_part_of_a_command_has_no_answer_to_fetch() {
        let mut script = Script::new(&[&[0x61, 0x00], &[0x90, 0]]);
        let refused = Command::new(0xDB, 0x3F, 0xFF).data(vec![7; 300]).send(&mut script).map(|_| ());
        assert!(matches!(refused, Err(TransportError::Answer)));
        assert_eq!(script.sent.len(), 1);
    }

    #[test]
    fn long_answers_are_collected() {
        let mut script = Script::new(&[&[1, 2, 0x61, 2], &[3, 4, 0x61, 1], &[5, 0x90, 0]]);
        let answer = Command::new(0xCB, 0x3F, 0xFF).answers().send(&mut script).unwrap();
        assert_eq!((answer.status, &answer.data[..]), (StatusWord::SUCCESS, &[1, 2, 3, 4, 5][..]));
        assert_eq!(script.sent[1], [0, 0xC0, 0, 0, 2]);
    }

    #[test]
    fn an_answer_without_end_is_refused() {
        let mut script = Script::new(&[&[0x61, 0], &[0x61, 0], &[0x61, 0]]);
        let refused = Command::new(0xCB, 0x3F, 0xFF).answers().send(&mut script).map(|_| ());
        assert!(matches!(refused, Err(TransportError::Answer)));
        assert_eq!(script.sent.len(), 2);
    }

    #[test]
    fn tries_are_read_from_63cx_alone() {
        assert_eq!(StatusWord(0x63C2).tries_left(), Some(2));
        assert_eq!(StatusWord(0x63C0).tries_left(), Some(0));
        assert_eq!(StatusWord(0x6300).tries_left(), None);
        assert_eq!(StatusWord::BLOCKED.tries_left(), None);
        assert_eq!(StatusWord(0x6A82).to_string(), "6A82");
    }

    proptest! {
        #[test]
        fn any_answers_end_in_a_result(answers in proptest::collection::vec(
            proptest::collection::vec(any::<u8>(), 0..40), 0..12)) {
            let mut script = Script::new(&answers.iter().map(Vec::as_slice).collect::<Vec<_>>());
            if let Ok(answer) = Command::new(0xCB, 0x3F, 0xFF).data(vec![0; 300]).answers().send(&mut script) {
                prop_assert_eq!(answer.status.more(), None);
            }
        }
    }
}
