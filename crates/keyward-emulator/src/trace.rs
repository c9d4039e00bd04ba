//! A line of JSON for every APDU exchange, written as it happens, and for what happens to a card between two.
//!
//! Secrets stay out: PINs and keys in commands, results of private-key operations and the content of PIN-guarded objects
//! in either direction become `(n bytes)`. What continues such a command (chaining) or its answer (GET RESPONSE) is
//! treated alike. Of applets that are neither PIV, management nor OTP everything but header and status is left out,
//! since what is secret there is not known here. Rooms: `record` (between a program and a PC/SC service), `replay`
//! (a trace again, and the difference).

pub mod record;
pub mod replay;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::Write,
    path::Path,
};

use serde::{Deserialize, Serialize};

use crate::{Error, Result, card::state::to_hex};

/// So many exchanges are kept in memory; older ones go.
const KEPT: usize = 1 << 16;

/// One command to a token and its answer, secrets left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// The reader's name.
    pub reader: String,
    /// The token's serial, where it is known.
    pub serial: Option<u32>,
    /// The command in hexadecimal; a secret data field is `(n bytes)`.
    pub command: String,
    /// The answer in hexadecimal; none if the token gave none.
    pub response: Option<String>,
}

/// What happens to a card besides APDUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Event {
    /// It was reset, or power went and came.
    Reset,
    /// It was pulled out.
    Removed,
    /// It was plugged in.
    Inserted,
}

#[derive(Serialize)]
struct EventLine<'a> {
    reader: &'a str,
    serial: Option<u32>,
    event: Event,
}

/// A trace being written.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    file: Option<File>,
    kept: Option<VecDeque<Exchange>>,
    redactors: HashMap<String, Redactor>,
    broken: bool,
}

impl Trace {
    /// Begins a new trace: in a file, whose content so far is gone, in memory, both, or neither.
    pub(crate) fn new(path: Option<&Path>, keep: bool) -> Result<Self> {
        let file = path.map(|path| File::create(path).map_err(Error::io(path))).transpose()?;
        Ok(Self { file, kept: keep.then(VecDeque::new), ..Self::default() })
    }

    /// Writes one exchange; without a response the token gave none.
    pub(crate) fn exchange(
        &mut self,
        (reader, serial): (&str, Option<u32>),
        command: &[u8],
        response: Option<&[u8]>,
    ) -> std::io::Result<()> {
        if self.file.is_none() && self.kept.is_none() {
            return Ok(());
        }
        let redactor = match self.redactors.get_mut(reader) {
            Some(known) => known,
            None => self.redactors.entry(reader.to_owned()).or_default(),
        };
        let secrecy = redactor.judge(command, response);
        let exchange = Exchange {
            reader: reader.to_owned(),
            serial,
            command: secrecy.command(command),
            response: response.map(|response| secrecy.response(response)),
        };
        self.line(&exchange);
        if let Some(kept) = &mut self.kept {
            if kept.len() >= KEPT {
                kept.pop_front();
            }
            kept.push_back(exchange);
        }
        if self.broken { Err(std::io::Error::other("the trace lacks lines")) } else { Ok(()) }
    }

    /// Writes what happened to a card.
    pub(crate) fn event(&mut self, reader: &str, serial: Option<u32>, event: Event) {
        self.redactors.remove(reader);
        self.line(&EventLine { reader, serial, event });
    }

    /// The exchanges in memory, oldest first.
    pub(crate) fn kept(&self) -> Vec<Exchange> {
        self.kept.iter().flatten().cloned().collect()
    }

    fn line(&mut self, line: &impl Serialize) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_vec(line).map_err(std::io::Error::from).and_then(|mut text| {
            text.push(b'\n');
            file.write_all(&text)
        });
        self.broken |= written.is_err();
    }
}

/// What of an exchange is secret.
#[derive(Clone, Copy, Default)]
struct Secrecy {
    command: bool,
    response: bool,
}

impl Secrecy {
    fn command(self, apdu: &[u8]) -> String {
        match apdu.split_at_checked(4) {
            Some((header, data)) if self.command && data.len() > 1 => {
                format!("{}({} bytes)", to_hex(header), data.len())
            }
            _ => to_hex(apdu),
        }
    }

    fn response(self, response: &[u8]) -> String {
        match response.len().checked_sub(2).and_then(|at| response.split_at_checked(at)) {
            Some((data, status)) if self.response && !data.is_empty() => {
                format!("({} bytes){}", data.len(), to_hex(status))
            }
            _ => to_hex(response),
        }
    }
}

/// Which applet's rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Applet {
    /// PIV; also where none was selected yet.
    #[default]
    Piv,
    Management,
    Otp,
    Other,
}

impl Applet {
    fn of(aid: &[u8]) -> Self {
        match aid {
            [0xA0, 0, 0, 3, 8, ..] => Self::Piv,
            [0xA0, 0, 0, 5, 0x27, 0x47, 0x11, 0x17, ..] => Self::Management,
            [0xA0, 0, 0, 5, 0x27, 0x20, 0x01, ..] => Self::Otp,
            _ => Self::Other,
        }
    }
}

/// Follows one card's commands, since chained parts do not say what they belong to.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    applet: Applet,
    chain: Option<([u8; 3], bool)>,
    response: bool,
}

impl Redactor {
    /// What is secret in this command and its answer, which says whether a SELECT took effect.
    fn judge(&mut self, apdu: &[u8], response: Option<&[u8]>) -> Secrecy {
        let Some((&[cla, ins, p1, p2], body)) = apdu.split_first_chunk() else { return Secrecy::default() };
        if ins == 0xC0 {
            return Secrecy { command: false, response: self.response };
        }
        if ins == 0xA4 && p1 == 0x04 {
            if matches!(response, Some([.., 0x90, 0x00] | [.., 0x61, _])) {
                self.applet = Applet::of(data_field(body));
            }
            (self.chain, self.response) = (None, false);
            return Secrecy::default();
        }
        let header = [ins, p1, p2];
        let command = match self.chain.take() {
            Some((chained, secret)) if chained == header => secret,
            _ => match (self.applet, ins) {
                (Applet::Piv, 0x20 | 0x24 | 0x2C | 0xFE | 0xFF) => true,
                (Applet::Piv, 0xDB | 0xCB) => names_guarded_object(body),
                (Applet::Piv, _) => false,
                (Applet::Management, 0x1D) => false,
                _ => true,
            },
        };
        if cla & 0x10 != 0 {
            self.chain = Some((header, command));
        }
        self.response = match self.applet {
            Applet::Piv => (ins == 0x87 && p2 != 0x9B) || (ins == 0xCB && command),
            Applet::Management | Applet::Otp => false,
            Applet::Other => true,
        };
        let names_only = self.applet == Applet::Piv && ins == 0xCB;
        Secrecy { command: command && !names_only, response: self.response }
    }
}

/// The data field, as far as its length byte can be told from the first bytes.
fn data_field(body: &[u8]) -> &[u8] {
    match body {
        [0, _, _, data @ ..] if !data.is_empty() => data,
        [_, data @ ..] => data,
        [] => &[],
    }
}

/// Whether the data field begins with a tag list that names an object which the PIN guards.
fn names_guarded_object(body: &[u8]) -> bool {
    matches!(data_field(body), [0x5C, 0x03, 0x5F, 0xC1, 0x03 | 0x08 | 0x09 | 0x21, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn shown(redactor: &mut Redactor, command: &[u8], response: &[u8]) -> (String, String) {
        let secrecy = redactor.judge(command, Some(response));
        (secrecy.command(command), secrecy.response(response))
    }

    #[test]
    fn secrets_do_not_show() {
        let redactor = &mut Redactor::default();
        let cases: [(&[u8], &[u8], &str, &str); 9] = [
            (&hex!("0020008008313233343536ffff"), &hex!("9000"), "00200080(9 bytes)", "9000"),
            (&hex!("00200080"), &hex!("63c3"), "00200080", "63c3"),
            (&hex!("00ffffff030a9b00"), &hex!("9000"), "00ffffff(4 bytes)", "9000"),
            (&hex!("008711820102"), &hex!("aabb9000"), "008711820102", "(2 bytes)9000"),
            (&hex!("00870a9b0102"), &hex!("aabb9000"), "00870a9b0102", "aabb9000"),
            (&hex!("00cb3fff055c035fc12100"), &hex!("aabb6102"), "00cb3fff055c035fc12100", "(2 bytes)6102"),
            (&hex!("00c0000000"), &hex!("aabb9000"), "00c0000000", "(2 bytes)9000"),
            (&hex!("00cb3fff055c035fc10200"), &hex!("aabb9000"), "00cb3fff055c035fc10200", "aabb9000"),
            (&hex!("00c0000000"), &hex!("aabb9000"), "00c0000000", "aabb9000"),
        ];
        for (command, response, shown_command, shown_response) in cases {
            let got = shown(redactor, command, response);
            assert_eq!(got, (shown_command.to_owned(), shown_response.to_owned()));
        }
    }

    #[test]
    fn a_chain_is_as_secret_as_its_beginning() {
        let redactor = &mut Redactor::default();
        for (command, expected) in [
            (&hex!("10db3fff065c035fc121aa")[..], "10db3fff(7 bytes)"),
            (&hex!("10db3fff02aabb"), "10db3fff(3 bytes)"),
            (&hex!("00db3fff02aabb"), "00db3fff(3 bytes)"),
            (&hex!("00db3fff02aabb"), "00db3fff02aabb"),
            (&hex!("00db3fff0000065c035fc121aa"), "00db3fff(9 bytes)"),
        ] {
            assert_eq!(shown(redactor, command, &hex!("9000")).0, expected);
        }
    }

    #[test]
    fn of_other_applets_only_headers_and_status_are_shown() {
        let redactor = &mut Redactor::default();
        for (command, response, shown_command, shown_response) in [
            (&hex!("00a4040006d27600012401")[..], &hex!("6a82")[..], "00a4040006d27600012401", "6a82"),
            (&hex!("00fd0000"), &hex!("0507019000"), "00fd0000", "0507019000"),
            (&hex!("00a4040006d27600012401"), &hex!("9000"), "00a4040006d27600012401", "9000"),
            (&hex!("00db3fff024d00"), &hex!("9000"), "00db3fff(3 bytes)", "9000"),
            (&hex!("00ca006e00"), &hex!("aabb9000"), "00ca006e00", "(2 bytes)9000"),
            (&hex!("00a4040008a000000527471117"), &hex!("9000"), "00a4040008a000000527471117", "9000"),
            (&hex!("001d000000"), &hex!("aabb9000"), "001d000000", "aabb9000"),
            (&hex!("001c000003020a01"), &hex!("9000"), "001c0000(4 bytes)", "9000"),
            (&hex!("00a4040005a000000308"), &hex!("9000"), "00a4040005a000000308", "9000"),
            (&hex!("00cb3fff055c035fc10200"), &hex!("aabb9000"), "00cb3fff055c035fc10200", "aabb9000"),
        ] {
            let got = shown(redactor, command, response);
            assert_eq!(got, (shown_command.to_owned(), shown_response.to_owned()));
        }
    }

    #[test]
    fn what_is_kept_ends_somewhere_and_begins_with_the_oldest() {
        let mut trace = Trace::new(None, true).unwrap();
        for number in 0..KEPT + 2 {
            let command = u32::try_from(number).unwrap().to_be_bytes();
            trace.exchange(("a", Some(1)), &command, None).unwrap();
        }
        assert_eq!(trace.kept().len(), KEPT);
        assert_eq!(trace.kept()[0].command, "00000002");
    }
}
