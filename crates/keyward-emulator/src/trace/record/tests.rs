use std::path::PathBuf;

use hex_literal::hex;

use super::*;
use crate::{
    Card,
    pcsclite::peer::*,
    trace::replay::{Knowledge, Step, Verdict, replay},
};

struct Recorded {
    place: Place,
    recorder: Recorder,
    socket: PathBuf,
    trace: PathBuf,
}

fn recording() -> Recorded {
    let place = Place::new();
    let (socket, trace) = (place.folder.path().join("front"), place.folder.path().join("trace"));
    let recorder = Recorder::start(&socket, &place.socket(), &trace).unwrap();
    Recorded { place, recorder, socket, trace }
}

fn lines(path: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What a program does to a token: reads, a wrong PIN, the right one, a key, a signature, a reset.
fn session(peer: &mut Peer) {
    let handle = peer.open(READER, SHARED).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    peer.transmit(handle, &hex!("00f80000")).unwrap();
    peer.transmit(handle, &hex!("00fd0000")).unwrap();
    assert_eq!(peer.transmit(handle, &hex!("0020008008ffffffffffffffff")).unwrap(), hex!("63c2"));
    assert_eq!(peer.transmit(handle, VERIFY).unwrap(), hex!("9000"));
    peer.make_key(handle, 1);
    assert!(peer.transmit(handle, &sign()).unwrap().ends_with(&hex!("9000")));
    peer.transmit(handle, &hex!("00f7009a")).unwrap();
    peer.transmit(handle, &hex!("00db3fff0a5c035fc1015303aabbcc")).unwrap();
    peer.transmit(handle, &hex!("00cb3fff055c035fc10100")).unwrap();
    assert_eq!(peer.close(handle, RESET), 0);
    let handle = peer.open(READER, SHARED).unwrap();
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("6d00"));
}

#[test]
fn everything_passes_and_secrets_are_left_out() {
    let recorded = recording();
    for minor in 4..=6 {
        let mut peer = Peer::at(&recorded.socket, minor);
        if minor < 6 {
            assert_eq!(peer.states().len(), 1);
            peer.send(0x13, &[]);
            assert_eq!(peer.read_states().len(), 1);
        } else {
            peer.send(0x13, &[]);
            peer.send(0x16, &[]);
            assert_eq!(peer.receive(4).u32(0), 16);
            peer.send(0x17, &[]);
            assert_eq!(peer.read_states().len(), 1);
        }
        recorded.place.server.remove("1").unwrap();
        assert_eq!(peer.receive(8).u32(4), 0, "{minor}: told of the change");
        recorded.place.server.insert("1").unwrap();
        peer.send(0x13, &[]);
        if minor < 6 {
            peer.read_states();
        }
        peer.send(0x14, &[]);
        assert_eq!(peer.receive(8).u32(4), 0, "{minor}: taken back");
        if minor == 4 {
            session(&mut peer);
        }
    }
    let lines = lines(&recorded.trace);
    let commands: Vec<_> = lines.iter().filter_map(|line| line["command"].as_str()).collect();
    assert_eq!(
        commands[..5],
        ["00a4040005a000000308", "00f80000", "00fd0000", "00200080(9 bytes)", "00200080(9 bytes)"]
    );
    assert_eq!((&lines[0]["serial"], &lines[1]["serial"]), (&serde_json::Value::Null, &1.into()));
    assert_eq!(lines[lines.len() - 2]["event"], "reset");
    let text = std::fs::read_to_string(&recorded.trace).unwrap();
    assert!(!text.contains("313233343536"), "{text}");
    assert!(text.contains(" bytes)9000"), "the signature is left out: {text}");
}

#[test]
fn a_service_that_is_not_there_is_named_and_an_end_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere");
    let refused =
        Recorder::start(&folder.path().join("front"), &nowhere, &folder.path().join("trace")).unwrap_err();
    assert!(refused.to_string().contains("no PC/SC service answers at"), "{refused}");
    let Recorded { place, recorder, socket, .. } = recording();
    let mut peer = Peer::at(&socket, 4);
    peer.open(READER, SHARED).unwrap();
    drop(recorder);
    assert!(peer.is_closed() && !socket.exists());
    assert!(place.peer().open(READER, SHARED).is_ok(), "the service goes on");
}

fn played(trace: &Path, firmware: &str) -> Vec<Step> {
    let mut card = Card::new(2, firmware.parse().unwrap()).unwrap();
    replay(trace, None, &mut card, &Knowledge::default()).unwrap()
}

#[test]
fn a_replay_shows_what_differs_and_tolerates_what_must() {
    let recorded = recording();
    session(&mut Peer::at(&recorded.socket, 4));
    let steps = played(&recorded.trace, "5.7.1");
    let verdicts: Vec<_> = steps.iter().map(|step| step.verdict).collect();
    assert!(!verdicts.contains(&Verdict::Different), "{steps:?}");
    for reason in ["serial", "nonce", "new key", "public key"] {
        assert!(verdicts.contains(&Verdict::Tolerated(reason)), "{reason}: {steps:?}");
    }
    // The wrong PIN was wrong again and the right one right, and the object came back.
    assert_eq!((&*steps[3].now, &*steps[4].now), ("63c2", "9000"));
    assert!(steps.iter().any(|step| step.now == "5303aabbcc9000"), "{steps:?}");

    // Another firmware has another version, and another management key.
    let steps = played(&recorded.trace, "5.4.3");
    let different: Vec<_> = steps
        .iter()
        .filter(|step| step.verdict == Verdict::Different)
        .map(|step| &step.command[..4])
        .collect();
    assert!(different.contains(&"00fd") && different.contains(&"0087"), "{different:?}");
}

#[test]
fn what_is_no_trace_is_named_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    let line = |command: &str| {
        format!("{{\"reader\":\"r\",\"serial\":1,\"command\":\"{command}\",\"response\":\"9000\"}}")
    };
    for bad in ["", "{}", "[]", &line("0x"), &line("00(")] {
        std::fs::write(&path, format!("{}\n{bad}\n", line("00fd0000"))).unwrap();
        let mut card = Card::new(2, "5.7.1".parse().unwrap()).unwrap();
        let refused = replay(&path, None, &mut card, &Knowledge::default()).unwrap_err();
        assert!(refused.to_string().ends_with("line 2 is none of its lines"), "{bad}: {refused}");
    }
    // A secret that cannot be put back is not sent.
    std::fs::write(&path, line("00ffffff(28 bytes)")).unwrap();
    let steps = played(&path, "5.7.1");
    assert!(matches!(steps[0].verdict, Verdict::NotSent(_)) && steps[0].now.is_empty());
}
