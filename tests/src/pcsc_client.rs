//! A program at a PC/SC service, spoken to without libpcsclite, so that nothing but the service takes time.
//!
//! pcsc-lite's client protocol 4.4, as far as one APDU needs it.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

/// `{char name[128], u32 events, u32 state, i32 sharing, u8 atr[33], pad[3], u32 length, u32 protocol}`.
const READER_STATE: usize = 184;
const CARD_PRESENT: u32 = 0x04;

/// A connection to the first card that a service has.
#[derive(Debug)]
pub struct PcscClient {
    stream: UnixStream,
    handle: u32,
}

impl PcscClient {
    /// Connects as soon as the service answers and has a card.
    pub fn connect(socket: &Path, limit: Duration) -> Self {
        let begun = Instant::now();
        loop {
            if let Some(client) = Self::try_connect(socket) {
                return client;
            }
            assert!(begun.elapsed() < limit, "no card came at {} within {limit:?}", socket.display());
            pause();
        }
    }

    fn try_connect(socket: &Path) -> Option<Self> {
        let mut client = Self { stream: UnixStream::connect(socket).ok()?, handle: 0 };
        client.stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.ask(0x11, &words(&[4, 4, 0]))?;
        let context = word(&client.ask(0x01, &words(&[2, 0, 0]))?, 4);
        client.send(0x12, &[])?;
        let states = client.receive(16 * READER_STATE)?;
        let reader = states.chunks(READER_STATE).find(|state| word(state, 132) & CARD_PRESENT != 0)?;
        let mut connect = words(&[context]);
        connect.extend(&reader[..128]);
        connect.extend(words(&[2, 3, 0, 0, 0]));
        let connected = client.ask(0x04, &connect)?;
        client.handle = word(&connected, 140);
        (word(&connected, 148) == 0).then_some(client)
    }

    /// Sends an APDU and gives back the answer. Panics where the service refuses.
    pub fn transmit(&mut self, apdu: &[u8]) -> Vec<u8> {
        let length = u32::try_from(apdu.len()).unwrap();
        let fields = words(&[self.handle, 2, 8, length, 2, 8, 4096, 0]);
        self.send(0x09, &fields).unwrap();
        self.stream.write_all(apdu).unwrap();
        let reply = self.receive(32).unwrap();
        assert_eq!(word(&reply, 28), 0, "the service refuses an APDU");
        self.receive(word(&reply, 24).try_into().unwrap()).unwrap()
    }

    fn send(&mut self, command: u32, body: &[u8]) -> Option<()> {
        let header = words(&[body.len().try_into().unwrap(), command]);
        self.stream.write_all(&[&header, body].concat()).ok()
    }

    fn receive(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }

    fn ask(&mut self, command: u32, body: &[u8]) -> Option<Vec<u8>> {
        self.send(command, body)?;
        self.receive(body.len())
    }
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Lets the service get on for a millisecond.
fn pause() {
    let limit = rustix::event::Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
    rustix::event::poll(&mut [], Some(&limit)).unwrap();
}
