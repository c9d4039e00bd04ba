//! The protocol as libpcsclite speaks it, message by message, against a server in this process.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use hex_literal::hex;
use proptest::prelude::*;

use super::peer::*;
use crate::{Options, Server, TokenFile, control, readers::Code};

#[test]
fn versions_4_4_to_4_6_are_answered_alike_and_others_refused() {
    let place = Place::new();
    for minor in 4..=6 {
        Peer::connect(&place, minor);
    }
    for (major, minor) in [(4, 3), (4, 7), (3, 4), (5, 4), (u32::MAX, 4)] {
        let stream = UnixStream::connect(place.socket()).unwrap();
        let version = Peer { stream, context: 0 }.ask(0x11, &[major, minor, 0]);
        assert_eq!(version.u32(8), Code::SERVICE_STOPPED.0, "{major}.{minor}");
    }
}

#[test]
fn several_tokens_are_several_readers() {
    let place = Place::with(3, &Options::default());
    let mut peer = place.peer();
    let states = peer.states();
    let names: Vec<_> = states.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, [READER, "Yubico YubiKey OTP+FIDO+CCID 01 00", "Yubico YubiKey OTP+FIDO+CCID 02 00"]);
    for (index, (name, bits, sharing)) in states.iter().enumerate() {
        assert_eq!((*bits, *sharing), (0x34, 0));
        let handle = peer.open(name, SHARED).unwrap();
        peer.transmit(handle, SELECT).unwrap();
        let serial = peer.transmit(handle, &hex!("00f80000")).unwrap();
        assert_eq!(serial, [0, 0, 0, u8::try_from(index).unwrap() + 1, 0x90, 0]);
    }
    assert_eq!(peer.states()[0].2, 1, "one shares it");
    assert_eq!(peer.open("Yubico YubiKey OTP+FIDO+CCID 03 00", SHARED), Err(Code::UNKNOWN_READER.0));
}

#[test]
fn exclusive_keeps_others_out_and_is_kept_out() {
    let place = Place::new();
    let (mut a, mut b) = (place.peer(), place.peer());
    let shared = a.open(READER, SHARED).unwrap();
    assert_eq!(b.open(READER, EXCLUSIVE), Err(0x8010_000B));
    assert_eq!(a.close(shared, LEAVE), 0);
    let exclusive = b.open(READER, EXCLUSIVE).unwrap();
    assert_eq!(a.states()[0].2, -1);
    assert_eq!(a.open(READER, SHARED), Err(0x8010_000B));
    assert_eq!(b.end(exclusive, LEAVE), Code::NOT_TRANSACTED.0);
    assert_eq!(b.begin(exclusive), 0);
    assert_eq!(b.end(exclusive, LEAVE), 0);
    assert_eq!(b.reconnect(exclusive, SHARED, LEAVE), 0);
    let shared = a.open(READER, SHARED).unwrap();
    assert_eq!(b.reconnect(exclusive, EXCLUSIVE, LEAVE), 0x8010_000B);
    assert_eq!(a.close(shared, LEAVE), 0);
    assert_eq!(b.reconnect(exclusive, EXCLUSIVE, LEAVE), 0);
    assert_eq!(b.close(exclusive, LEAVE), 0);
    assert_eq!(a.states()[0].2, 0);
}

#[test]
fn sharing_and_protocol_must_be_real() {
    let place = Place::new();
    let mut peer = place.peer();
    assert_eq!(peer.open_with(READER, SHARED, 1), Err(Code::PROTO_MISMATCH.0), "no T=0");
    assert_eq!(peer.open_with(READER, 7, 3), Err(Code::INVALID_VALUE.0));
    peer.open_with(READER, DIRECT, 0).unwrap();
    let handle = peer.open(READER, SHARED).unwrap();
    assert_eq!(peer.close(handle, 9), Code::INVALID_VALUE.0);
    assert_eq!(peer.reconnect(handle, SHARED, 3), Code::INVALID_VALUE.0);
}

#[test]
fn leave_keeps_the_verification_and_reset_takes_it() {
    let place = Place::new();
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    assert_eq!(peer.transmit(handle, VERIFY).unwrap(), hex!("9000"));
    assert_eq!(peer.close(handle, LEAVE), 0);
    let handle = peer.open(READER, SHARED).unwrap();
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("9000"));
    let mut handle = handle;
    for disposition in [RESET, UNPOWER] {
        assert_eq!(peer.close(handle, disposition), 0);
        handle = peer.open(READER, SHARED).unwrap();
        assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("6d00"), "nothing is selected");
        peer.transmit(handle, SELECT).unwrap();
        assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("63c3"));
        peer.transmit(handle, VERIFY).unwrap();
    }
}

#[test]
fn a_reset_is_told_to_the_others_until_they_reconnect() {
    let place = Place::new();
    let (mut a, mut b) = (place.peer(), place.peer());
    let (at_a, at_b) = (a.open(READER, SHARED).unwrap(), b.open(READER, SHARED).unwrap());
    a.transmit(at_a, SELECT).unwrap();
    assert_eq!(b.close(at_b, RESET), 0);
    for _ in 0..2 {
        assert_eq!(a.transmit(at_a, SELECT), Err(0x8010_0068));
        assert_eq!(a.begin(at_a), 0x8010_0068);
        assert_eq!(a.status(at_a), 0x8010_0068);
    }
    assert_eq!(a.reconnect(at_a, SHARED, LEAVE), 0);
    assert!(a.transmit(at_a, SELECT).is_ok());
    assert_eq!(a.begin(at_a), 0);
    assert_eq!(a.end(at_a, RESET), 0);
    assert_eq!(a.transmit(at_a, SELECT), Err(0x8010_0068), "one's own reset too, as in pcscd");
}

#[test]
fn a_transaction_keeps_others_out_and_nests() {
    let place = Place::new();
    let (mut a, mut b) = (place.peer(), place.peer());
    let (at_a, at_b) = (a.open(READER, SHARED).unwrap(), b.open(READER, SHARED).unwrap());
    assert_eq!((a.begin(at_a), a.begin(at_a)), (0, 0));
    assert_eq!(b.begin(at_b), 0x8010_000B);
    assert_eq!(b.transmit(at_b, SELECT), Err(0x8010_000B));
    assert_eq!(b.status(at_b), 0x8010_000B);
    assert_eq!(b.end(at_b, RESET), 0x8010_000B);
    assert_eq!(a.end(at_a, LEAVE), 0);
    assert_eq!(b.begin(at_b), 0x8010_000B, "one of two is still open");
    assert_eq!(a.end(at_a, LEAVE), 0);
    assert_eq!(b.begin(at_b), 0);
    assert_eq!(b.end(at_b, LEAVE), 0);
    assert_eq!(b.end(at_b, LEAVE), Code::NOT_TRANSACTED.0);
}

#[test]
fn connecting_waits_for_the_transaction_and_a_killed_client_frees_it() {
    let place = Place::new();
    let (mut a, mut b) = (place.peer(), place.peer());
    let at_a = a.open(READER, SHARED).unwrap();
    a.transmit(at_a, SELECT).unwrap();
    assert_eq!(a.begin(at_a), 0);
    a.transmit(at_a, VERIFY).unwrap();
    let waiting = std::thread::spawn(move || {
        let handle = b.open(READER, SHARED).unwrap();
        (b.transmit(handle, ASK_PIN), b)
    });
    drop(a);
    let (answer, mut b) = waiting.join().unwrap();
    assert_eq!(answer.unwrap(), hex!("6d00"), "a verified PIN does not outlive its dead owner");
    assert_eq!(b.states()[0].2, 1);
    assert_eq!(place.server.tokens()[0].connections, 1);
}

#[test]
fn a_pulled_token_takes_its_reader_and_handles_along() {
    let place = Place::with(2, &Options::default());
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    peer.transmit(handle, VERIFY).unwrap();
    place.server.remove("1").unwrap();
    assert!(place.server.remove("1").is_err());
    assert_eq!(peer.transmit(handle, SELECT), Err(Code::READER_UNAVAILABLE.0));
    assert_eq!(peer.reconnect(handle, SHARED, LEAVE), Code::READER_UNAVAILABLE.0);
    assert_eq!(peer.states().len(), 1);
    assert_eq!(peer.open(READER, SHARED), Err(Code::UNKNOWN_READER.0));
    place.server.insert(READER).unwrap();
    assert_eq!(peer.transmit(handle, SELECT), Err(Code::READER_UNAVAILABLE.0), "an old handle stays dead");
    assert_eq!(peer.close(handle, RESET), 0);
    let handle = peer.open(READER, SHARED).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("63c3"));
}

#[test]
fn a_fault_pulls_the_token_before_a_certain_answer_and_the_trace_says_so() {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let options = Options { remove_at: Some(3), trace: Some(trace.path().to_owned()), ..Options::default() };
    let place = Place::with(2, &options);
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    let other = peer.open("Yubico YubiKey OTP+FIDO+CCID 01 00", SHARED).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    peer.transmit(other, SELECT).unwrap();
    peer.transmit(handle, ASK_PIN).unwrap();
    assert_eq!(peer.transmit(handle, VERIFY), Err(Code::READER_UNAVAILABLE.0));
    assert!(peer.transmit(other, ASK_PIN).is_ok());
    assert!(!place.server.tokens()[0].inserted);

    let text = std::fs::read_to_string(trace.path()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 6);
    assert_eq!((&lines[4]["event"], &lines[4]["serial"]), (&"removed".into(), &1.into()));
    assert_eq!(lines[0]["command"], "00a4040005a000000308");
    assert_eq!(lines[1]["serial"], 2);
    assert_eq!(lines[2]["response"], "63c3");
    assert_eq!(
        (&lines[3]["command"], &lines[3]["response"]),
        (&"00200080(9 bytes)".into(), &serde_json::Value::Null)
    );
    assert!(!text.contains("3132333435"));
}

#[test]
fn who_waits_is_told_of_a_change_once() {
    let place = Place::new();
    for minor in [4, 5, 6] {
        let mut peer = Peer::connect(&place, minor);
        peer.send(0x13, &[]);
        if minor < 6 {
            assert_eq!(peer.read_states().len(), 1);
        } else {
            peer.send(0x16, &[]);
            assert_eq!(peer.receive(4).u32(0), 16);
            peer.send(0x17, &[]);
            assert_eq!(peer.read_states().len(), 1);
        }
        place.server.remove("1").unwrap();
        let over = peer.receive(8);
        assert_eq!(over.u32(4), 0);
        peer.send(0x14, &[]); // no longer registered: no answer to this
        assert!(peer.states().is_empty());
        peer.send(0x13, &[]);
        if minor < 6 {
            assert!(peer.read_states().is_empty());
        }
        peer.send(0x14, &[]);
        assert_eq!(peer.receive(8).u32(4), 0, "taken back");
        peer.send(0x15, &[]);
        let before = peer.receive(8).u32(0);
        place.server.insert("1").unwrap();
        peer.send(0x15, &[]);
        assert_eq!(peer.receive(8).u32(0), before + 1);
    }
}

#[test]
fn waiting_is_cancelled_from_another_connection() {
    let place = Place::new();
    let (mut peer, mut other) = (place.peer(), place.peer());
    peer.send(0x13, &[]);
    peer.read_states();
    assert_eq!(other.ask(0x0D, &[peer.context, 9]).u32(4), 0);
    assert_eq!(peer.receive(8).u32(4), 0x8010_0002);
    assert_eq!(other.ask(0x0D, &[peer.context, 9]).u32(4), 0, "nobody waits, nothing happens");
    assert_eq!(other.ask(0x0D, &[0, 9]).u32(4), Code::INVALID_HANDLE.0);
    assert_eq!(peer.states().len(), 1);
}

#[test]
fn attributes_are_read_and_control_is_refused() {
    let place = Place::new();
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    let attribute = |peer: &mut Peer, command: u32, id: u32, room: u32| {
        let mut body = vec![0; 280];
        body[..4].copy_from_slice(&handle.to_ne_bytes());
        body[4..8].copy_from_slice(&id.to_ne_bytes());
        body[272..276].copy_from_slice(&room.to_ne_bytes());
        peer.send(command, &body);
        let reply = peer.receive(280);
        (reply.u32(276), reply.u32(272), reply.text(8, 264).unwrap_or("").to_owned(), reply.into_bytes())
    };
    let (code, length, _, bytes) = attribute(&mut peer, 0x0F, 0x0009_0303, 264);
    assert_eq!((code, length), (0, 23));
    assert_eq!(bytes[8..31], hex!("3bfd1300008131fe158073c021c057597562694b657940"));
    let (code, length, name, _) = attribute(&mut peer, 0x0F, 0x7FFF_0003, 264);
    assert_eq!((code, length, name.as_str()), (0, 35, READER));
    assert_eq!(attribute(&mut peer, 0x0F, 0x0009_0303, 10).0, Code::INSUFFICIENT_BUFFER.0);
    assert_eq!(attribute(&mut peer, 0x0F, 0x0001_0103, 264).0, Code::UNSUPPORTED_FEATURE.0);
    assert_eq!(attribute(&mut peer, 0x10, 0x0009_0303, 4).0, Code::UNSUPPORTED_FEATURE.0);

    let control = [handle.cast_unsigned(), 0x4200_0D48, 3, 100, 0, 0];
    let body: Vec<u8> = control.iter().flat_map(|field| field.to_ne_bytes()).collect();
    peer.send(0x0A, &body);
    peer.stream.write_all(&[1, 2, 3]).unwrap();
    assert_eq!(peer.receive(24).u32(20), Code::UNSUPPORTED_FEATURE.0);
    assert!(peer.transmit(handle, SELECT).is_ok(), "the conversation goes on");
}

#[test]
fn an_answer_larger_than_the_room_is_not_sent() {
    let place = Place::new();
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    assert_eq!(peer.transmit_into(handle, SELECT, 4), Err(Code::INSUFFICIENT_BUFFER.0));
    assert!(peer.transmit(handle, SELECT).is_ok());
}

#[test]
fn what_pcscd_hangs_up_on_is_hung_up_on() {
    let place = Place::new();
    let mut owner = place.peer();
    let handle = owner.open(READER, SHARED).unwrap().cast_unsigned();
    let requests: [(u32, Vec<u32>); 7] = [
        (0x03, vec![]),
        (0x99, vec![]),
        (0x01, vec![2, 0]),
        (0x0B, vec![handle, 0]),
        (0x0B, vec![1, 0]),
        (0x09, vec![handle, 2, 8, u32::MAX, 2, 8, 10, 0]),
        (0x12, vec![1]),
    ];
    for (command, fields) in requests {
        let mut stranger = place.peer();
        let body: Vec<u8> = fields.iter().flat_map(|field| field.to_ne_bytes()).collect();
        stranger.send(command, &body);
        assert!(stranger.is_closed(), "{command:02x}");
    }
    assert_eq!(owner.status(handle.cast_signed()), 0);
    assert_eq!(owner.ask(0x02, &[owner.context ^ 1, 0]).u32(4), Code::INVALID_HANDLE.0);
    assert_eq!(owner.ask(0x02, &[owner.context, 0]).u32(4), 0);
    assert_eq!(place.server.tokens()[0].connections, 0, "a context takes its connections along");
}

#[test]
fn stopping_hangs_up_and_unlocks_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("1.token");
    let token = TokenFile::create(&path, 1, "5.7.1".parse().unwrap()).unwrap();
    let (socket, control) = (folder.path().join("pcsc"), folder.path().join("control"));
    let server = Server::start(vec![token], &socket, &control, &Options::default()).unwrap();
    assert!(TokenFile::open(&path).is_err());
    let place = Place { server, folder };
    let mut peer = place.peer();
    peer.open(READER, SHARED).unwrap();
    let Place { server, folder: _kept } = place;
    drop(server);
    assert!(peer.is_closed());
    assert!(!socket.exists() && !control.exists());
    TokenFile::open(&path).unwrap();
}

#[test]
fn the_control_socket_does_what_it_is_told_and_names_what_it_knows() {
    let place = Place::new();
    let ctl = |request: &str| control::send(&place.folder.path().join("control"), request);
    let status: serde_json::Value = serde_json::from_str(&ctl("status").unwrap()).unwrap();
    assert_eq!(
        status,
        serde_json::json!({"reader": READER, "serial": 1, "firmware": "5.7.1", "inserted": true,
            "connections": 0, "touch": "auto", "waiting": false, "apdus": 0, "faults": []})
    );
    assert_eq!(ctl("remove 1").unwrap(), "");
    assert_eq!(ctl("remove 1").unwrap_err().to_string(), "1 is out already");
    assert_eq!(ctl(&format!("insert {READER}")).unwrap(), "");
    assert_eq!(ctl("touch deny").unwrap(), "");
    assert!(ctl("status").unwrap().contains("\"touch\":\"deny\""));
    for request in ["touch", "deny", "touch 1"] {
        assert_eq!(ctl(request).unwrap_err().to_string(), "no token waits for a touch");
    }
    for request in
        ["", "remove", "remove 2", "dance", "touch maybe", "remove \u{1b}[2J", "fault 1", "wait-apdus 1 x"]
    {
        let message = ctl(request).unwrap_err().to_string();
        assert!(message.contains("knows: status") || message.contains("no reader or serial"), "{message}");
        assert!(!message.contains('\u{1b}'));
    }
}

#[test]
fn tokens_that_cannot_be_told_apart_and_taken_paths_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token =
        |name: &str| TokenFile::create(&folder.path().join(name), 1, "5.7.1".parse().unwrap()).unwrap();
    let (socket, control) = (folder.path().join("pcsc"), folder.path().join("control"));
    let start =
        |tokens| Server::start(tokens, &socket, &control, &Options::default()).err().map(|e| e.to_string());
    assert_eq!(start(vec![token("a"), token("b")]).unwrap(), "two tokens have serial 1");
    std::fs::write(&socket, "a file").unwrap();
    assert!(start(vec![]).unwrap().contains("it is no socket"));
    assert_eq!(std::fs::read(&socket).unwrap(), b"a file");
    std::fs::remove_file(&socket).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert_eq!(start(vec![]), None, "a socket that nobody answers at is replaced");
}

/// A request with a known command and plausible size, any content.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    (1u32..0x19, any::<bool>(), prop::collection::vec(any::<u8>(), 0..300)).prop_map(
        |(command, right, mut body)| {
            if let (true, Some((_, length))) = (right, super::wire::Command::from_number(command)) {
                body.resize(length, 0);
            }
            let size = u32::try_from(body.len()).unwrap();
            [&size.to_ne_bytes()[..], &command.to_ne_bytes(), &body].concat()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_end_the_conversation_and_nobody_elses(
        requests in prop::collection::vec(prop_oneof![prop::collection::vec(any::<u8>(), 0..400), plausible()], 1..20),
    ) {
        let place = Place::new();
        let mut bystander = place.peer();
        let handle = bystander.open(READER, SHARED).unwrap();
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        for request in requests {
            if stream.write_all(&request).is_err() {
                break; // hung up on already
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write); // the other side may have closed first
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        prop_assert!(ended.is_ok() || ended.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset));
        prop_assert!(bystander.transmit(handle, SELECT).is_ok());
    }
}
