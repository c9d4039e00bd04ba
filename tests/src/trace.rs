//! The emulator's record of what was exchanged with a token.

use std::path::Path;

/// One command and what the token answered.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The token's serial; 0 before a recording knows it.
    pub serial: u64,
    /// The instruction byte.
    pub instruction: u8,
    /// P1 and P2.
    pub parameters: (u8, u8),
    /// The command in hexadecimal, secrets left out.
    pub command: String,
    /// The status word; none where the token was gone before it answered.
    pub status: Option<u16>,
}

/// Reads a trace file.
pub fn read_trace(path: &Path) -> Vec<Exchange> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter_map(parse).collect()
}

/// An exchange; a line that tells of a reset or of a token's coming and going is none.
fn parse(line: &str) -> Option<Exchange> {
    let value: serde_json::Value = serde_json::from_str(line).unwrap();
    if value["event"].is_string() {
        return None;
    }
    let command = value["command"].as_str().unwrap().to_owned();
    let byte = |at: usize| u8::from_str_radix(&command[2 * at..2 * at + 2], 16).unwrap();
    Some(Exchange {
        serial: value["serial"].as_u64().unwrap_or_default(),
        instruction: byte(1),
        parameters: (byte(2), byte(3)),
        status: value["response"]
            .as_str()
            .map(|response| u16::from_str_radix(&response[response.len() - 4..], 16).unwrap()),
        command,
    })
}
