//! A trace again, said to an emulated card, and the difference.
//!
//! What a trace leaves out is put back where that is possible: PINs and PUKs that were right become those of this
//! card, wrong ones become wrong ones, and management key authentication is done anew, since its nonces differ. Commands
//! whose secret is gone (imported keys, a new management key, guarded objects) are not sent. Then status words must be
//! the same and data too, but for what a [`Verdict::Tolerated`] names.

use std::path::Path;

use aes::cipher::{Block, BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};
use serde::Deserialize;

use super::{Event, data_field};
use crate::{
    Card, Error, Result,
    card::{
        state::{to_hex, unhex},
        tlv,
    },
};

/// What this card's user knows.
#[derive(Debug)]
pub struct Knowledge {
    /// The PIN.
    pub pin: String,
    /// The PUK.
    pub puk: String,
    /// The management key.
    pub management_key: Vec<u8>,
}

impl Default for Knowledge {
    /// As from the factory.
    fn default() -> Self {
        let management_key = [1, 2, 3, 4, 5, 6, 7, 8].repeat(3);
        Self { pin: "123456".to_owned(), puk: "12345678".to_owned(), management_key }
    }
}

/// How an answer compares with the recorded one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The same.
    Same,
    /// Different, as it must be: why.
    Tolerated(&'static str),
    /// Different.
    Different,
    /// Not sent: why.
    NotSent(&'static str),
}

/// One exchange of the trace, played again.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line of the trace, from 1.
    pub line: usize,
    /// The command as it was recorded.
    pub command: String,
    /// The recorded answer.
    pub recorded: String,
    /// The answer now; empty where nothing was sent.
    pub now: String,
    /// How the two compare.
    pub verdict: Verdict,
}

#[derive(Deserialize)]
struct Line {
    reader: String,
    command: Option<String>,
    response: Option<String>,
    event: Option<Event>,
}

/// Plays what a trace file recorded of one reader, the first unless named, on a card.
///
/// # Errors
/// [`Error::Trace`] names the first line that is none of a trace's, [`Error::Io`] a file that cannot be read.
pub fn replay(
    trace: &Path,
    reader: Option<&str>,
    card: &mut Card,
    knowledge: &Knowledge,
) -> Result<Vec<Step>> {
    let text = std::fs::read_to_string(trace).map_err(Error::io(trace))?;
    let mut player = Player { card, knowledge, nonce: None, class: Class::Exact, skipping: false };
    let mut only = reader.map(str::to_owned);
    let mut steps = Vec::new();
    for (at, text) in text.lines().enumerate() {
        let unreadable = || Error::Trace { path: trace.to_owned(), line: at + 1 };
        let line: Line = serde_json::from_str(text).map_err(|_| unreadable())?;
        if *only.get_or_insert_with(|| line.reader.clone()) != line.reader {
            continue;
        }
        match (line.event, line.command) {
            (Some(_), None) => player.power_cycle(),
            (None, Some(command)) => {
                let recorded = line.response.unwrap_or_default();
                let step = player.play(at + 1, command, recorded).ok_or_else(unreadable)?;
                steps.push(step);
            }
            _ => return Err(unreadable()),
        }
    }
    Ok(steps)
}

/// A data field or an answer as a trace shows it: bytes, or how many there were.
enum Shown {
    Bytes(Vec<u8>),
    Length(usize),
}

/// `HEX`, or `HEX(n bytes)` with or without hexadecimal after it: what is before, inside and after.
fn parts(text: &str) -> Option<(Vec<u8>, Option<usize>, Vec<u8>)> {
    match text.split_once('(') {
        None => Some((unhex(text)?, None, Vec::new())),
        Some((before, rest)) => {
            let (length, after) = rest.split_once(" bytes)")?;
            Some((unhex(before)?, Some(length.parse().ok()?), unhex(after)?))
        }
    }
}

/// What may differ in an answer, by the command that it answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Exact,
    Tolerated(&'static str),
    /// Only in the public key.
    Metadata,
}

fn tolerated(command: &[u8]) -> Class {
    match command {
        [_, 0x87, _, 0x9B, ..] => Class::Tolerated("nonce"),
        [_, 0x87, ..] => Class::Tolerated("result of a private key"),
        [_, 0x47, ..] => Class::Tolerated("new key"),
        [_, 0xF9, ..] => Class::Tolerated("attestation of another token"),
        [_, 0xF8, ..] => Class::Tolerated("serial"),
        [_, 0x1D, ..] => Class::Tolerated("device information"),
        [_, 0x01, 0x10, ..] => Class::Tolerated("serial"),
        [_, 0xCB, 0x3F, 0xFF, body @ ..] if data_field(body).starts_with(&[0x5C, 0x03, 0x5F, 0xFF, 0x01]) => {
            Class::Tolerated("attestation of another token")
        }
        [_, 0xF7, ..] => Class::Metadata,
        _ => Class::Exact,
    }
}

struct Player<'a> {
    card: &'a mut Card,
    knowledge: &'a Knowledge,
    /// The last block that this card gave in management key authentication.
    nonce: Option<Vec<u8>>,
    class: Class,
    /// A chain whose secret is gone is being passed over.
    skipping: bool,
}

impl Player<'_> {
    fn power_cycle(&mut self) {
        self.card.power_cycle();
        (self.nonce, self.class, self.skipping) = (None, Class::Exact, false);
    }

    fn play(&mut self, line: usize, command: String, recorded: String) -> Option<Step> {
        let (sent, hidden, _) = parts(&command)?;
        let apdu = match hidden {
            Some(_) => self.fill_in(&sent, &recorded),
            None if sent.get(1) == Some(&0x87) && sent.get(3) == Some(&0x9B) => Ok(self.authenticate(&sent)),
            None => Ok(sent.clone()),
        };
        let is_continuation = sent.get(1) == Some(&0xC0);
        if !is_continuation {
            self.class = tolerated(&sent);
        }
        let (now, verdict) = match apdu {
            Err(reason) => (String::new(), Verdict::NotSent(reason)),
            Ok(apdu) => {
                let answer = self.card.transmit(&apdu);
                self.remember_nonce(&sent, &answer);
                (to_hex(&answer), self.compare(&recorded, &answer)?)
            }
        };
        Some(Step { line, command, recorded, now, verdict })
    }

    /// Puts a secret back: the right PIN where the recorded one was right, a wrong one where it was wrong.
    fn fill_in(&self, header: &[u8], recorded: &str) -> std::result::Result<Vec<u8>, &'static str> {
        const GONE: &str = "its secret is not in the trace";
        let &[0, ins, p1, p2] = header else { return Err(GONE) };
        let right = recorded == "9000";
        let secret = |text: &str| {
            let mut padded = [0xFF; 8];
            let bytes = if right { text.as_bytes() } else { b"!wrong!!" };
            for (to, from) in padded.iter_mut().zip(bytes) {
                *to = *from;
            }
            padded
        };
        let (pin, puk) = (&*self.knowledge.pin, &*self.knowledge.puk);
        let data = match (ins, p2) {
            (0x20, 0x80) => secret(pin).to_vec(),
            // Changed to what it is already, so that the rest of the trace finds it.
            (0x24, 0x80) => secret(pin).repeat(2),
            (0x24, 0x81) => secret(puk).repeat(2),
            (0x2C, 0x80) => [secret(puk), secret(pin)].concat(),
            _ => return Err(GONE),
        };
        let length = u8::try_from(data.len()).map_err(|_| GONE)?;
        Ok([&[0, ins, p1, p2, length], &data[..]].concat())
    }

    /// Management key authentication, SP 800-73-4 part 2 appendix A.1, with the nonces of this card.
    fn authenticate(&self, recorded: &[u8]) -> Vec<u8> {
        let answered = || -> Option<Vec<u8>> {
            let (&[cla, ins, algorithm, reference], body) = recorded.split_first_chunk()?;
            let (template, _) = tlv::read(data_field(body))?;
            let all = tlv::read_all(template.value)?;
            let nonce = self.nonce.as_deref()?;
            let key = &*self.knowledge.management_key;
            let answer = match (tlv::find(&all, 0x80), tlv::find(&all, 0x81), tlv::find(&all, 0x82)) {
                (Some(witness), Some(challenge), _) if !witness.is_empty() => {
                    [tlv::encode(0x80, &block(algorithm, key, nonce, false)?), tlv::encode(0x81, challenge)]
                        .concat()
                }
                (None, None, Some(response)) if !response.is_empty() => {
                    tlv::encode(0x82, &block(algorithm, key, nonce, true)?)
                }
                _ => return None,
            };
            let data = tlv::encode(0x7C, &answer);
            let header = [cla, ins, algorithm, reference];
            let length = u8::try_from(data.len()).ok()?;
            // As long or as short as it was recorded.
            let length = if body.first() == Some(&0) { vec![0, 0, length] } else { vec![length] };
            Some([&header[..], &length, &data].concat())
        };
        answered().unwrap_or_else(|| recorded.to_vec())
    }

    fn remember_nonce(&mut self, command: &[u8], answer: &[u8]) {
        if !matches!(command, [_, 0x87, _, 0x9B, ..]) {
            return;
        }
        let template = answer.len().checked_sub(2).and_then(|at| answer.get(..at)).and_then(tlv::read);
        self.nonce = template.and_then(|(template, _)| {
            let (element, _) = tlv::read(template.value)?;
            matches!(element.tag, 0x80 | 0x81).then(|| element.value.to_vec())
        });
    }

    fn compare(&self, recorded: &str, answer: &[u8]) -> Option<Verdict> {
        if recorded.is_empty() {
            return Some(Verdict::Tolerated("the recorded token gave no answer"));
        }
        let (before, hidden, after) = parts(recorded)?;
        let (shown, status) = match hidden {
            Some(length) => (Shown::Length(length), after),
            None => {
                let at = before.len().checked_sub(2)?;
                let (data, status) = before.split_at_checked(at)?;
                (Shown::Bytes(data.to_vec()), status.to_vec())
            }
        };
        let (data, now) = answer.split_at_checked(answer.len().checked_sub(2)?)?;
        let may_differ = self.class != Class::Exact;
        // More to come is more to come, where lengths may differ.
        let same_status =
            status == now || (may_differ && status.first() == Some(&0x61) && now.first() == Some(&0x61));
        Some(match (shown, self.class) {
            _ if !same_status => Verdict::Different,
            (Shown::Bytes(bytes), _) if bytes == data && status == now => Verdict::Same,
            (Shown::Length(length), _) if length == data.len() => Verdict::Same,
            (Shown::Bytes(bytes), Class::Metadata)
                if without_public_key(&bytes) == without_public_key(data) =>
            {
                Verdict::Tolerated("public key")
            }
            (_, Class::Tolerated(reason)) => Verdict::Tolerated(reason),
            _ => Verdict::Different,
        })
    }
}

/// GET METADATA's elements but the public key in tag 04.
fn without_public_key(data: &[u8]) -> Option<Vec<(u16, Vec<u8>)>> {
    let all = tlv::read_all(data)?;
    Some(all.iter().filter(|tlv| tlv.tag != 0x04).map(|tlv| (tlv.tag, tlv.value.to_vec())).collect())
}

/// One block of a management key's cipher, by the algorithm's number of SP 800-78-4 table 6-2.
fn block(algorithm: u8, key: &[u8], input: &[u8], encrypt: bool) -> Option<Vec<u8>> {
    fn with<C: BlockCipherEncrypt + BlockCipherDecrypt + KeyInit>(
        key: &[u8],
        input: &[u8],
        encrypt: bool,
    ) -> Option<Vec<u8>> {
        let cipher = C::new_from_slice(key).ok()?;
        let mut block = Block::<C>::try_from(input).ok()?;
        if encrypt {
            cipher.encrypt_block(&mut block)
        } else {
            cipher.decrypt_block(&mut block)
        }
        Some(block.to_vec())
    }
    match algorithm {
        0x03 => with::<des::TdesEde3>(key, input, encrypt),
        0x08 => with::<aes::Aes128>(key, input, encrypt),
        0x0A => with::<aes::Aes192>(key, input, encrypt),
        0x0C => with::<aes::Aes256>(key, input, encrypt),
        _ => None,
    }
}
