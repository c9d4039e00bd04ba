//! The messages of pcsc-lite's client protocol as bytes.
//!
//! `winscard_msg.h`: C structs in the machine's order, no padding beyond natural alignment. A request is
//! `{u32 size, u32 command}` and a struct; the reply is the same struct with its result fields filled, so a
//! message is kept as its bytes and read and patched in place. Offsets stand beside each field's name.

use crate::readers::{ATR, Code, MAX_READERS, ReaderView};

/// Length of the header of a request.
pub(crate) const HEADER: usize = 8;
/// The longest APDU or answer that passes, `MAX_BUFFER_SIZE_EXTENDED`.
pub(crate) const MAX_BUFFER: u32 = 4 + 3 + (1 << 16) + 3 + 2;
/// T=1, the protocol every connection gets.
pub(crate) const PROTOCOL_T1: u32 = 2;
/// Present.
const STATE_PRESENT: u32 = 0x04;
/// Present, powered, protocol negotiated.
const STATE_READY: u32 = STATE_PRESENT | 0x10 | 0x20;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    EstablishContext,
    ReleaseContext,
    Connect,
    Reconnect,
    Disconnect,
    BeginTransaction,
    EndTransaction,
    Transmit,
    Control,
    Status,
    Cancel,
    GetAttribute,
    SetAttribute,
    Version,
    ReaderStates,
    WaitForChange,
    StopWaiting,
    ReaderEvents,
    ReaderStatesSize,
    ReaderStatesArray,
}

impl Command {
    /// The command with this number and the length of its struct.
    pub(crate) fn from_number(number: u32) -> Option<(Self, usize)> {
        Some(match number {
            0x01 => (Self::EstablishContext, 12),
            0x02 => (Self::ReleaseContext, 8),
            0x04 => (Self::Connect, 152),
            0x05 => (Self::Reconnect, 24),
            0x06 => (Self::Disconnect, 12),
            0x07 => (Self::BeginTransaction, 8),
            0x08 => (Self::EndTransaction, 12),
            0x09 => (Self::Transmit, 32),
            0x0A => (Self::Control, 24),
            0x0B => (Self::Status, 8),
            0x0D => (Self::Cancel, 8),
            0x0F => (Self::GetAttribute, 280),
            0x10 => (Self::SetAttribute, 280),
            0x11 => (Self::Version, 12),
            0x12 => (Self::ReaderStates, 0),
            0x13 => (Self::WaitForChange, 0),
            0x14 => (Self::StopWaiting, 0),
            0x15 => (Self::ReaderEvents, 0),
            0x16 => (Self::ReaderStatesSize, 0),
            0x17 => (Self::ReaderStatesArray, 0),
            _ => return None,
        })
    }
}

/// Reads the header of a request: the command, if the size is that of its struct.
pub(crate) fn header(bytes: [u8; HEADER]) -> Option<(Command, usize)> {
    let [s0, s1, s2, s3, c0, c1, c2, c3] = bytes;
    let size = u32::from_ne_bytes([s0, s1, s2, s3]);
    let (command, expected) = Command::from_number(u32::from_ne_bytes([c0, c1, c2, c3]))?;
    (usize::try_from(size) == Ok(expected)).then_some((command, expected))
}

/// A struct, read and patched in place. Reading beyond its end gives 0; lengths were checked with the header.
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    pub(crate) fn u32(&self, offset: usize) -> u32 {
        let bytes = self.0.get(offset..).and_then(|rest| rest.first_chunk());
        u32::from_ne_bytes(bytes.copied().unwrap_or_default())
    }

    pub(crate) fn i32(&self, offset: usize) -> i32 {
        self.u32(offset).cast_signed()
    }

    /// Text in a field of `length` bytes, up to its first NUL; `None` if it is no UTF-8.
    pub(crate) fn text(&self, offset: usize, length: usize) -> Option<&str> {
        let field = self.0.get(offset..offset + length)?;
        std::str::from_utf8(field.split(|&byte| byte == 0).next()?).ok()
    }

    pub(crate) fn set(&mut self, offset: usize, value: u32) {
        self.set_bytes(offset, &value.to_ne_bytes());
    }

    pub(crate) fn set_bytes(&mut self, offset: usize, bytes: &[u8]) {
        if let Some(field) = self.0.get_mut(offset..offset + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// `{u32 timeout, u32 rv}`: ends a client's wait for a change.
pub(crate) fn wait_over(code: Code) -> Vec<u8> {
    [[0; 4], code.0.to_ne_bytes()].concat()
}

/// The sixteen reader states; a reader without token is as if it were not there.
pub(crate) fn reader_states(readers: &[Option<ReaderView>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAX_READERS * 184);
    for place in 0..MAX_READERS {
        match readers.get(place) {
            Some(Some(reader)) => reader_state(&mut out, reader),
            _ => out.resize(out.len() + 184, 0),
        }
    }
    out
}

/// `{char name[128], u32 eventCounter, u32 state, i32 sharing, u8 atr[33], pad[3], u32 atrLen, u32 protocol}`.
fn reader_state(out: &mut Vec<u8>, reader: &ReaderView) {
    let end = out.len() + 128;
    out.extend(reader.name.bytes().take(127));
    out.resize(end, 0);
    out.extend(reader.events.to_ne_bytes());
    out.extend(if reader.powered { STATE_READY } else { STATE_PRESENT }.to_ne_bytes());
    out.extend(reader.sharing.to_ne_bytes());
    out.extend(ATR);
    out.resize(end + 12 + 36, 0);
    out.extend(u32::try_from(ATR.len()).unwrap_or(0).to_ne_bytes());
    out.extend(PROTOCOL_T1.to_ne_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reader_states_have_the_layout_of_the_c_struct() {
        let view = ReaderView { name: "Reader".into(), events: 3, powered: true, sharing: -1 };
        let bytes = reader_states(&[None, Some(view)]);
        assert_eq!(bytes.len(), 16 * 184);
        assert!(bytes[..184].iter().all(|&byte| byte == 0));
        let message = Message::new(bytes[184..368].to_vec());
        assert_eq!(message.text(0, 128), Some("Reader"));
        assert_eq!((message.u32(128), message.u32(132), message.i32(136)), (3, 0x34, -1));
        assert_eq!(&bytes[184 + 140..184 + 140 + 23], ATR);
        assert_eq!((message.u32(176), message.u32(180)), (23, 2));
    }

    #[test]
    fn a_header_with_another_size_is_none() {
        let of = |size: u32, command: u32| {
            header([size.to_ne_bytes(), command.to_ne_bytes()].concat().try_into().unwrap())
        };
        assert_eq!(of(12, 1), Some((Command::EstablishContext, 12)));
        assert_eq!(of(13, 1), None);
        assert_eq!(of(0, 3), None);
        assert_eq!(of(u32::MAX, 9), None);
    }
}
