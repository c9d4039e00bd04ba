//! A system's pcscd, through vsmartcard's driver `vpcd`: the token calls the driver's port and is a card there.
//!
//! Messages in both directions are a length of two bytes, big-endian, and so many bytes. From the driver one byte is a
//! command to the slot (0 power off, 1 power on, 2 reset, 4 send the ATR), anything longer an APDU. A token that is
//! pulled out hangs up; plugged in, it calls again. vsmartcard `virtualsmartcard/src/vpcd/vpcd.c`.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use crate::{
    Error, Result,
    readers::{ATR, Readers},
};

const POWER_OFF: u8 = 0;
const POWER_ON: u8 = 1;
const RESET: u8 = 2;
const SEND_ATR: u8 = 4;

/// How long a driver that does not answer is left alone before it is called again.
const CALL_AGAIN: Duration = Duration::from_millis(50);
/// How long a call may take.
const CALL: Duration = Duration::from_secs(5);
/// How often a silent line is looked at, to hang up once the token is out.
const LOOK: Duration = Duration::from_millis(50);

/// The threads that speak with the driver, one for each token; they end with the server.
pub(crate) struct Vpcd(Vec<JoinHandle<()>>);

impl Vpcd {
    /// Plugs each token of the table in at a port of its own.
    pub(crate) fn start(first: SocketAddr, readers: &Arc<Readers>) -> Result<Self> {
        let mut threads = Vec::new();
        for index in 0..readers.tokens().len() {
            let offset = u16::try_from(index).ok();
            let port = offset.and_then(|offset| first.port().checked_add(offset));
            let port =
                port.ok_or_else(|| Error::Control(format!("there is no port {index} above {first}")))?;
            let address = SocketAddr::new(first.ip(), port);
            let readers = Arc::clone(readers);
            let thread = std::thread::Builder::new().spawn(move || stay_attached(address, &readers, index));
            threads.push(thread.map_err(Error::io("a thread for vpcd"))?);
        }
        Ok(Self(threads))
    }
}

impl Drop for Vpcd {
    fn drop(&mut self) {
        for thread in self.0.drain(..) {
            let _ = thread.join(); // one that panicked has ended too
        }
    }
}

fn stay_attached(address: SocketAddr, readers: &Readers, index: usize) {
    while !readers.is_closed() {
        if !readers.wait_until_inserted(index, true, CALL_AGAIN) {
            continue;
        }
        match TcpStream::connect_timeout(&address, CALL) {
            Ok(stream) => {
                readers.power_cycle(index);
                let _ = converse(&stream, readers, index); // a line that breaks is called again
                let _ = stream.shutdown(Shutdown::Both);
            }
            // Nobody is there yet: wait a little, which a pulled token ends.
            Err(_) => {
                readers.wait_until_inserted(index, false, CALL_AGAIN);
            }
        }
    }
}

fn converse(mut stream: &TcpStream, readers: &Readers, index: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(LOOK))?;
    stream.set_write_timeout(Some(CALL))?;
    let here = || readers.wait_until_inserted(index, true, Duration::ZERO);
    loop {
        // The driver sends a length and its message apart, and holds the second back until the first is acknowledged.
        rustix::net::sockopt::set_tcp_quickack(stream, true)?;
        let mut length = [0; 2];
        read(stream, &mut length, &here)?;
        rustix::net::sockopt::set_tcp_quickack(stream, true)?;
        let mut message = zeroize::Zeroizing::new(vec![0; usize::from(u16::from_be_bytes(length))]);
        read(stream, &mut message, &here)?;
        let answer = match message[..] {
            [] => continue,
            [POWER_OFF | POWER_ON | RESET] => {
                readers.power_cycle(index);
                continue;
            }
            [SEND_ATR] => ATR.to_vec(),
            [_] => continue,
            ref apdu => match readers.transmit_direct(index, apdu) {
                Ok(answer) => answer,
                Err(_) => return Ok(()), // the token is gone, or was without power: it comes back by a new call
            },
        };
        let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), &answer[..]].concat())?;
    }
}

/// Reads the whole of `bytes`, for as long as the token is in.
fn read(mut stream: &TcpStream, bytes: &mut [u8], here: &impl Fn() -> bool) -> std::io::Result<()> {
    use std::io::ErrorKind::{Interrupted, TimedOut, UnexpectedEof, WouldBlock};
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => return Err(UnexpectedEof.into()),
            Ok(more) => filled += more,
            Err(error) if matches!(error.kind(), WouldBlock | TimedOut | Interrupted) => {}
            Err(error) => return Err(error),
        }
        if !here() {
            return Err(UnexpectedEof.into());
        }
    }
    Ok(())
}
