//! A line of JSON for every APDU exchange, written as it happens.
//!
//! Secrets stay out: PINs and keys in commands, results of private-key operations and the content of PIN-guarded objects
//! in either direction become `(n bytes)`. What continues such a command (chaining) or its
//! answer (GET RESPONSE) is treated alike.

use std::{fs::File, io::Write, path::Path};

use serde::Serialize;

use crate::{Error, Result, card::state::to_hex};

/// A trace file.
#[derive(Debug)]
pub(crate) struct Trace {
    file: File,
}

#[derive(Serialize)]
struct Line<'a> {
    reader: &'a str,
    serial: u32,
    command: String,
    response: Option<String>,
}

impl Trace {
    /// Begins a new trace; what the file held before is gone.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(Self { file: File::create(path).map_err(Error::io(path))? })
    }

    /// Writes one exchange; without a response the token was gone before it answered.
    pub(crate) fn write(
        &mut self,
        redactor: &mut Redactor,
        (reader, serial): (&str, u32),
        command: &[u8],
        response: Option<&[u8]>,
    ) -> std::io::Result<()> {
        let secrecy = redactor.judge(command);
        let line = Line {
            reader,
            serial,
            command: secrecy.command(command),
            response: response.map(|response| secrecy.response(response)),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        self.file.write_all(&text)
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

/// Follows one card's commands, since chained parts do not say what they belong to.
#[derive(Debug, Default)]
pub(crate) struct Redactor {
    chain: Option<([u8; 3], bool)>,
    response: bool,
}

impl Redactor {
    fn judge(&mut self, apdu: &[u8]) -> Secrecy {
        let Some((&[cla, ins, p1, p2], body)) = apdu.split_first_chunk() else { return Secrecy::default() };
        if ins == 0xC0 {
            return Secrecy { command: false, response: self.response };
        }
        let header = [ins, p1, p2];
        let command = match self.chain.take() {
            Some((chained, secret)) if chained == header => secret,
            _ => match ins {
                0x20 | 0x24 | 0x2C | 0xFE | 0xFF => true,
                0xDB | 0xCB => names_guarded_object(body),
                _ => false,
            },
        };
        if cla & 0x10 != 0 {
            self.chain = Some((header, command));
        }
        self.response = (ins == 0x87 && p2 != 0x9B) || (ins == 0xCB && command);
        Secrecy { command: command && ins != 0xCB, response: self.response }
    }
}

/// Whether the data field begins with a tag list that names an object which the PIN guards.
fn names_guarded_object(body: &[u8]) -> bool {
    let data = match body {
        [0, _, _, data @ ..] if !data.is_empty() => data,
        [_, data @ ..] => data,
        [] => return false,
    };
    matches!(data, [0x5C, 0x03, 0x5F, 0xC1, 0x03 | 0x08 | 0x09 | 0x21, ..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hex_literal::hex;

    fn shown(redactor: &mut Redactor, command: &[u8], response: &[u8]) -> (String, String) {
        let secrecy = redactor.judge(command);
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
}
