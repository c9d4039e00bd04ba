//! Any bytes at the PC/SC socket: the conversation ends, and the next client is served.
#![no_main]

use std::{
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    sync::OnceLock,
    time::Duration,
};

use keyward_emulator::VirtualToken;
use libfuzzer_sys::fuzz_target;

static TOKEN: OnceLock<VirtualToken> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let token = TOKEN.get_or_init(|| VirtualToken::builder().start().expect("a token"));
    let mut stream = UnixStream::connect(token.socket()).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    // It may hang up at any moment, which is an answer.
    let _ = stream.write_all(input);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it hangs");
    }
});
