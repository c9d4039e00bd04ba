//! For tests: libpcsclite's side of the protocol, message by message, and a server in this process to speak to.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use hex_literal::hex;

use super::wire::Message;
use crate::{Options, Server, TokenFile};

pub(crate) const SELECT: &[u8] = &hex!("00a4040005a000000308");
pub(crate) const VERIFY: &[u8] = &hex!("0020008008313233343536ffff");
pub(crate) const ASK_PIN: &[u8] = &hex!("00200080");
pub(crate) const READER: &str = "Yubico YubiKey OTP+FIDO+CCID 00 00";
pub(crate) const LEAVE: u32 = 0;
pub(crate) const RESET: u32 = 1;
pub(crate) const UNPOWER: u32 = 2;
pub(crate) const EXCLUSIVE: u32 = 1;
pub(crate) const SHARED: u32 = 2;
pub(crate) const DIRECT: u32 = 3;

/// A server in this process with its tokens, gone with the value.
pub(crate) struct Place {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn with(tokens: u32, options: &Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tokens = (1..=tokens).map(|serial| {
            let path = folder.path().join(format!("{serial}.token"));
            TokenFile::create(&path, serial, "5.7.1".parse().unwrap()).unwrap()
        });
        let (socket, control) = (folder.path().join("pcsc"), folder.path().join("control"));
        let server = Server::start(tokens.collect(), &socket, &control, options).unwrap();
        Self { server, folder }
    }

    pub(crate) fn new() -> Self {
        Self::with(1, &Options::default())
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.path().join("pcsc")
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer::connect(self, 4)
    }
}

/// One client with one context.
pub(crate) struct Peer {
    pub(crate) stream: UnixStream,
    pub(crate) context: u32,
}

impl Peer {
    pub(crate) fn connect(place: &Place, minor: u32) -> Self {
        Self::at(&place.socket(), minor)
    }

    pub(crate) fn at(socket: &std::path::Path, minor: u32) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut peer = Self { stream, context: 0 };
        let version = peer.ask(0x11, &[4, minor, 0]);
        assert_eq!((version.u32(0), version.u32(4), version.u32(8)), (4, minor, 0));
        let established = peer.ask(0x01, &[2, 0, 0xFFFF_FFFF]);
        assert_eq!(established.u32(8), 0);
        peer.context = established.u32(4);
        peer
    }

    pub(crate) fn send(&mut self, command: u32, body: &[u8]) {
        let header = [u32::try_from(body.len()).unwrap().to_ne_bytes(), command.to_ne_bytes()].concat();
        self.stream.write_all(&[&header, body].concat()).unwrap();
    }

    pub(crate) fn receive(&mut self, length: usize) -> Message {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).unwrap();
        Message::new(bytes)
    }

    /// Sends a struct of u32 fields and reads it back.
    pub(crate) fn ask(&mut self, command: u32, fields: &[u32]) -> Message {
        let body: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        self.send(command, &body);
        self.receive(body.len())
    }

    pub(crate) fn open(&mut self, reader: &str, share: u32) -> Result<i32, u32> {
        self.open_with(reader, share, 3)
    }

    pub(crate) fn open_with(&mut self, reader: &str, share: u32, protocols: u32) -> Result<i32, u32> {
        let mut body = vec![0; 152];
        body[..4].copy_from_slice(&self.context.to_ne_bytes());
        body[4..4 + reader.len()].copy_from_slice(reader.as_bytes());
        body[132..136].copy_from_slice(&share.to_ne_bytes());
        body[136..140].copy_from_slice(&protocols.to_ne_bytes());
        self.send(0x04, &body);
        let reply = self.receive(152);
        match reply.u32(148) {
            0 => {
                assert_eq!(reply.u32(144), 2, "T=1");
                Ok(reply.i32(140))
            }
            code => Err(code),
        }
    }

    pub(crate) fn reconnect(&mut self, handle: i32, share: u32, init: u32) -> u32 {
        self.ask(0x05, &[handle.cast_unsigned(), share, 3, init, 0, 0]).u32(20)
    }

    pub(crate) fn close(&mut self, handle: i32, disposition: u32) -> u32 {
        self.ask(0x06, &[handle.cast_unsigned(), disposition, 9]).u32(8)
    }

    pub(crate) fn begin(&mut self, handle: i32) -> u32 {
        self.ask(0x07, &[handle.cast_unsigned(), 9]).u32(4)
    }

    pub(crate) fn end(&mut self, handle: i32, disposition: u32) -> u32 {
        self.ask(0x08, &[handle.cast_unsigned(), disposition, 9]).u32(8)
    }

    pub(crate) fn status(&mut self, handle: i32) -> u32 {
        self.ask(0x0B, &[handle.cast_unsigned(), 9]).u32(4)
    }

    pub(crate) fn transmit(&mut self, handle: i32, apdu: &[u8]) -> Result<Vec<u8>, u32> {
        self.transmit_into(handle, apdu, 4096)
    }

    pub(crate) fn transmit_into(&mut self, handle: i32, apdu: &[u8], room: u32) -> Result<Vec<u8>, u32> {
        self.transmit_as(handle, apdu, 2, room)
    }

    /// Sends an APDU and does not wait for its answer.
    pub(crate) fn send_transmit(&mut self, handle: i32, apdu: &[u8]) {
        self.send_transmit_as(handle, apdu, 2, 4096);
    }

    fn send_transmit_as(&mut self, handle: i32, apdu: &[u8], protocol: u32, room: u32) {
        let length = u32::try_from(apdu.len()).unwrap();
        let fields = [handle.cast_unsigned(), protocol, 8, length, 2, 8, room, 0];
        let body: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        self.send(0x09, &body);
        self.stream.write_all(apdu).unwrap();
    }

    pub(crate) fn transmit_as(
        &mut self,
        handle: i32,
        apdu: &[u8],
        protocol: u32,
        room: u32,
    ) -> Result<Vec<u8>, u32> {
        self.send_transmit_as(handle, apdu, protocol, room);
        let reply = self.receive(32);
        match reply.u32(28) {
            0 => Ok(self.receive(reply.u32(24).try_into().unwrap()).into_bytes()),
            code => Err(code),
        }
    }

    pub(crate) fn states(&mut self) -> Vec<(String, u32, i32)> {
        self.send(0x12, &[]);
        self.read_states()
    }

    pub(crate) fn read_states(&mut self) -> Vec<(String, u32, i32)> {
        let all: Vec<Message> = (0..16).map(|_| self.receive(184)).collect();
        let named = all.iter().filter(|state| state.text(0, 128) != Some(""));
        named.map(|state| (state.text(0, 128).unwrap().to_owned(), state.u32(132), state.i32(136))).collect()
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.stream.read(&mut [0]), Ok(0) | Err(_))
    }

    /// Authenticates with the factory's management key of firmware 5.7 and makes a P-256 key in 9A.
    pub(crate) fn make_key(&mut self, handle: i32, touch_policy: u8) {
        use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
        assert!(self.transmit(handle, SELECT).is_ok());
        let challenge = self.transmit(handle, &hex!("00870a9b047c02810000")).unwrap();
        let cipher = aes::Aes192::new_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8].repeat(3)).unwrap();
        let mut block = Block::<aes::Aes192>::try_from(&challenge[4..20]).unwrap();
        cipher.encrypt_block(&mut block);
        let proof = [&hex!("00870a9b147c128210")[..], &block].concat();
        assert_eq!(self.transmit(handle, &proof).unwrap(), hex!("9000"));
        let generate = [&hex!("0047009a0bac09800111aa0101ab01")[..], &[touch_policy]].concat();
        assert!(self.transmit(handle, &generate).unwrap().ends_with(&hex!("9000")));
    }
}

/// GENERAL AUTHENTICATE over 32 bytes with the key in 9A.
pub(crate) fn sign() -> Vec<u8> {
    [&hex!("0087119a267c2482008120")[..], &[7; 32]].concat()
}
