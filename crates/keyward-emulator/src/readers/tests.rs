//! What a hand and a fault do to clients, and how nothing is left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hex_literal::hex;

use crate::{Cut, Fault, FaultKind, Options, Touch, VirtualToken, control, pcsclite::peer::*, readers::Code};

const LIMIT: Duration = Duration::from_secs(20);

fn connected(place: &Place) -> (Peer, i32) {
    let mut peer = place.peer();
    let handle = peer.open(READER, SHARED).unwrap();
    (peer, handle)
}

fn manual() -> Options {
    Options { touch: Touch::Manual, ..Options::default() }
}

#[test]
fn a_key_waits_for_the_hand_and_others_do_not() {
    let place = Place::with(2, &manual());
    let (mut peer, handle) = connected(&place);
    peer.make_key(handle, 2);
    let (mut other, at_other) = (place.peer(), "Yubico YubiKey OTP+FIDO+CCID 01 00");
    let at_other = other.open(at_other, SHARED).unwrap();
    for (touched, expected) in [(true, hex!("9000")), (false, hex!("6982"))] {
        let answer = std::thread::scope(|scope| {
            let signing = scope.spawn(|| peer.transmit(handle, &sign()).unwrap());
            assert!(place.server.wait_for_touch("1", LIMIT).unwrap());
            assert!(other.transmit(at_other, SELECT).is_ok(), "another token answers meanwhile");
            assert!(place.server.tokens()[0].waiting && !place.server.tokens()[1].waiting);
            match touched {
                true => place.server.touch("1").unwrap(),
                false => place.server.deny("1").unwrap(),
            }
            signing.join().unwrap()
        });
        assert!(answer.ends_with(&expected), "{answer:02x?}");
    }
    assert!(place.server.touch("1").is_err());
}

#[test]
fn a_token_pulled_out_while_it_waits_lets_go() {
    let place = Place::with(1, &manual());
    let (mut peer, handle) = connected(&place);
    peer.make_key(handle, 2);
    let answer = std::thread::scope(|scope| {
        let signing = scope.spawn(|| peer.transmit(handle, &sign()));
        assert!(place.server.wait_for_touch("1", LIMIT).unwrap());
        place.server.remove("1").unwrap();
        signing.join().unwrap()
    });
    assert_eq!(answer, Err(Code::READER_UNAVAILABLE.0));
    place.server.insert("1").unwrap();
    let (mut peer, handle) = connected(&place);
    assert!(peer.transmit(handle, SELECT).is_ok());
}

#[test]
fn stopping_does_not_wait_for_a_touch() {
    let place = Place::with(1, &manual());
    let (mut peer, handle) = connected(&place);
    peer.make_key(handle, 2);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(move || peer.transmit(handle, &sign()));
        assert!(place.server.wait_for_touch("1", LIMIT).unwrap());
        drop(place);
    });
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_dies_while_its_key_waits_frees_the_card() {
    let place = Place::with(1, &manual());
    let (mut dying, handle) = connected(&place);
    dying.make_key(handle, 2);
    assert_eq!(dying.begin(handle), 0);
    dying.send_transmit(handle, &sign());
    assert!(place.server.wait_for_touch("1", LIMIT).unwrap());
    drop(dying);
    place.server.deny("1").unwrap();
    let (mut peer, handle) = connected(&place);
    assert_eq!(peer.begin(handle), 0);
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("6d00"), "the card was reset");
}

#[test]
fn power_before_after_and_in_a_write() {
    // What a wrong PIN leaves of three tries: 3 where it was not counted, 2 where it was.
    let cases = [
        (FaultKind::PowerBefore, 3),
        (FaultKind::PowerAfter, 2),
        (FaultKind::PowerInWrite(Cut::Half), 3),
        (FaultKind::PowerInWrite(Cut::Whole), 3),
        (FaultKind::PowerInWrite(Cut::Renamed), 2),
    ];
    for (kind, left) in cases {
        let place = Place::new();
        let (mut peer, handle) = connected(&place);
        let (mut other, at_other) = connected(&place);
        peer.transmit(handle, SELECT).unwrap();
        place.server.fault("1", Fault::nth(kind, 2)).unwrap();
        assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("63c3"));
        let wrong = hex!("0020008008ffffffffffffffff");
        assert_eq!(peer.transmit(handle, &wrong), Err(Code::NOT_TRANSACTED.0), "{kind}");
        assert_eq!(peer.transmit(handle, SELECT), Err(Code::RESET_CARD.0), "{kind}");
        assert_eq!(other.status(at_other), Code::RESET_CARD.0, "{kind}");
        assert_eq!(peer.reconnect(handle, SHARED, LEAVE), 0);
        assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("6d00"), "{kind}: nothing is selected");
        peer.transmit(handle, SELECT).unwrap();
        assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), [0x63, 0xC0 + left], "{kind}");
        assert!(place.server.tokens()[0].faults.is_empty());
    }
}

#[test]
fn a_write_that_is_cut_waits_for_a_write() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    place.server.fault("1", Fault::next(FaultKind::PowerInWrite(Cut::Half))).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("63c3"));
    assert_eq!(place.server.tokens()[0].faults.len(), 1);
    assert!(peer.transmit(handle, &hex!("0020008008ffffffffffffffff")).is_err());
    assert!(place.server.tokens()[0].faults.is_empty());
}

#[test]
fn a_reset_by_another_comes_before_its_command() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    peer.transmit(handle, SELECT).unwrap();
    place.server.fault("1", Fault::next(FaultKind::Reset)).unwrap();
    assert_eq!(peer.transmit(handle, VERIFY), Err(Code::RESET_CARD.0));
    assert_eq!(peer.reconnect(handle, SHARED, LEAVE), 0);
    peer.transmit(handle, SELECT).unwrap();
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("63c3"), "VERIFY was not carried out");
    place.server.reset("1").unwrap();
    assert_eq!(peer.transmit(handle, SELECT), Err(Code::RESET_CARD.0));
}

#[test]
fn answers_are_corrupted_and_cut() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    let right = peer.transmit(handle, SELECT).unwrap();
    place.server.fault("1", Fault::next(FaultKind::Corrupt)).unwrap();
    let wrong = peer.transmit(handle, SELECT).unwrap();
    let bits: u32 = right.iter().zip(&wrong).map(|(a, b)| (a ^ b).count_ones()).sum();
    assert_eq!((wrong.len(), bits), (right.len(), 1));
    for length in [5, 1, 0] {
        place.server.fault("1", Fault::next(FaultKind::Truncate(length))).unwrap();
        assert_eq!(peer.transmit(handle, SELECT).unwrap(), right[..length]);
    }
    assert_eq!(peer.transmit(handle, SELECT).unwrap(), right);
}

#[test]
fn an_answer_is_held_until_it_is_released() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    place.server.fault("1", Fault::next(FaultKind::Hold)).unwrap();
    let (mut next, at_next) = connected(&place);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        let first = Arc::clone(&order);
        let held = scope.spawn(move || {
            let answer = peer.transmit(handle, SELECT);
            first.lock().unwrap().push("held");
            answer
        });
        assert!(place.server.wait_for_apdus("1", 1, LIMIT).unwrap());
        let second = Arc::clone(&order);
        let behind = scope.spawn(move || {
            let answer = next.transmit(at_next, SELECT);
            second.lock().unwrap().push("behind");
            answer
        });
        assert!(
            !place.server.wait_for_apdus("1", 2, Duration::from_millis(50)).unwrap(),
            "it keeps the card"
        );
        assert!(order.lock().unwrap().is_empty());
        place.server.release("1").unwrap();
        assert!(held.join().unwrap().is_ok() && behind.join().unwrap().is_ok());
    });
    assert!(place.server.release("1").is_err(), "nothing is held");
    let (mut peer, handle) = connected(&place);
    place.server.fault("1", Fault::next(FaultKind::Delay(Duration::from_millis(30)))).unwrap();
    let begun = Instant::now();
    assert!(peer.transmit(handle, SELECT).is_ok());
    assert!(begun.elapsed() >= Duration::from_millis(30));
}

#[test]
fn a_token_is_pulled_and_plugged_in_again_and_another_comes() {
    let place = Place::with(2, &Options::default());
    let (mut peer, handle) = connected(&place);
    place.server.fault("1", Fault::next(FaultKind::Reinsert)).unwrap();
    assert_eq!(peer.transmit(handle, SELECT), Err(Code::READER_UNAVAILABLE.0));
    assert!(place.server.tokens()[0].inserted);
    assert_eq!(peer.transmit(handle, SELECT), Err(Code::READER_UNAVAILABLE.0));
    let handle = peer.open(READER, SHARED).unwrap();
    place.server.remove("2").unwrap();
    place.server.fault("2", Fault::nth(FaultKind::Insert, 2)).unwrap();
    peer.transmit(handle, SELECT).unwrap();
    assert!(!place.server.tokens()[1].inserted);
    peer.transmit(handle, SELECT).unwrap();
    assert!(place.server.tokens()[1].inserted);
    place.server.fault("2", Fault::next(FaultKind::Remove)).unwrap();
    place.server.clear_faults("2").unwrap();
    assert!(place.server.tokens()[1].faults.is_empty());
}

#[test]
fn a_reader_held_by_somebody_else_is_a_sharing_violation() {
    let options = Options { occupied: true, ..Options::default() };
    let place = Place::with(1, &options);
    let mut peer = place.peer();
    assert_eq!(peer.states()[0].2, -1);
    for share in [SHARED, EXCLUSIVE, DIRECT] {
        assert_eq!(peer.open(READER, share), Err(Code::SHARING_VIOLATION.0));
    }
    assert!(place.server.occupy("1").is_err());
    place.server.vacate("1").unwrap();
    assert!(place.server.vacate("1").is_err());
    peer.open(READER, SHARED).unwrap();
    assert!(place.server.occupy("1").is_err(), "a connection is open");
}

#[test]
fn every_fault_and_hand_can_be_asked_for_at_the_control_socket() {
    let token = VirtualToken::builder().serial(7).touch(Touch::Manual).start().unwrap();
    let ctl = |request: &str| control::send(token.control_socket(), request);
    for request in [
        "fault 7 reset@5",
        "fault Yubico YubiKey OTP+FIDO+CCID 00 00 power-in-write=half@9",
        "touch delay=20",
        "occupy 7",
        "vacate 7",
        "reset 7",
        "remove 7",
        "insert 7",
        "wait-apdus 7 0",
    ] {
        assert_eq!(ctl(request).unwrap(), "", "{request}");
    }
    assert_eq!(token.status().touch, Touch::Delay(Duration::from_millis(20)));
    let armed: Vec<_> = token.status().faults.iter().map(ToString::to_string).collect();
    assert_eq!(armed, ["reset@5", "power-in-write=half@9"]);
    assert!(ctl("status").unwrap().contains(r#""faults":["reset@5","power-in-write=half@9"]"#));
    ctl("fault 7 clear").unwrap();
    assert!(token.status().faults.is_empty());
    assert!(ctl("fault 7 explode").unwrap_err().to_string().contains("power-before"));
    for request in ["release 7", "vacate 7", "touch 7", "deny 8", "insert 7"] {
        assert!(ctl(request).is_err(), "{request}");
    }
}

#[test]
fn unpower_is_seen_until_somebody_connects() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    assert_eq!(peer.states()[0].1, 0x34);
    assert_eq!(peer.close(handle, UNPOWER), 0);
    assert_eq!(peer.states()[0].1, 0x04, "present, without power");
    peer.open(READER, SHARED).unwrap();
    assert_eq!(peer.states()[0].1, 0x34);
}

#[test]
fn eject_leaves_the_card_as_it_is() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    peer.transmit(handle, SELECT).unwrap();
    peer.transmit(handle, VERIFY).unwrap();
    assert_eq!(peer.begin(handle), 0);
    assert_eq!(peer.end(handle, 3), 0);
    assert_eq!(peer.transmit(handle, ASK_PIN).unwrap(), hex!("9000"));
}

#[test]
fn a_transaction_of_another_counts_before_what_happened_to_the_card() {
    let place = Place::new();
    let (mut a, at_a) = connected(&place);
    let (mut b, at_b) = connected(&place);
    assert_eq!(a.begin(at_a), 0);
    place.server.reset("1").unwrap();
    assert_eq!(b.transmit(at_b, SELECT), Err(Code::SHARING_VIOLATION.0));
    assert_eq!(b.status(at_b), Code::SHARING_VIOLATION.0);
    assert_eq!(a.transmit(at_a, SELECT), Err(Code::RESET_CARD.0));
}

#[test]
fn a_protocol_the_card_does_not_speak_and_no_room_for_a_status_are_refused() {
    let place = Place::new();
    let (mut peer, handle) = connected(&place);
    assert_eq!(peer.transmit_as(handle, SELECT, 1, 300), Err(Code::PROTO_MISMATCH.0));
    assert_eq!(peer.transmit_as(handle, SELECT, 2, 1), Err(Code::INSUFFICIENT_BUFFER.0));
    assert!(peer.transmit_as(handle, SELECT, 4, 300).is_ok(), "raw");
}

fn threads_and_files() -> (usize, usize) {
    let count = |what: &str| std::fs::read_dir(format!("/proc/self/{what}")).unwrap().count();
    (count("task"), count("fd"))
}

/// Runs in a process of its own, since the tests beside it open files too.
#[test]
fn hundreds_of_clients_come_and_go_and_leave_nothing() {
    const ALONE: &str = "readers::tests::hundreds_of_clients_come_and_go_and_leave_nothing";
    if !std::env::args().any(|argument| argument == "--exact") {
        let alone = std::process::Command::new(std::env::current_exe().unwrap())
            .args([ALONE, "--exact", "--test-threads=1"])
            .output()
            .unwrap();
        assert!(alone.status.success(), "{}", String::from_utf8_lossy(&alone.stdout));
        return;
    }
    let place = Place::new();
    let round = |n: usize| {
        let mut peers: Vec<_> = (0..n).map(|_| connected(&place)).collect();
        for (peer, handle) in &mut peers {
            assert!(peer.transmit(*handle, SELECT).is_ok());
        }
        assert_eq!(place.server.tokens()[0].connections, n);
        for (number, (mut peer, handle)) in peers.into_iter().enumerate() {
            match number % 3 {
                0 => assert_eq!(peer.close(handle, LEAVE), 0),
                1 => assert_eq!(peer.ask(0x02, &[peer.context, 0]).u32(4), 0),
                _ => {} // killed
            }
        }
        settled(&place);
    };
    round(1);
    let before = threads_and_files();
    for _ in 0..4 {
        round(150);
    }
    round(1);
    // The last client of the settling may still be on its way out.
    let after = threads_and_files();
    assert!(after.0 <= before.0 + 2 && after.1 <= before.1 + 6, "{after:?}, {before:?} before");
}

/// Waits until no connection is left and the threads of dead clients are gone.
fn settled(place: &Place) {
    let begun = Instant::now();
    loop {
        let busy = place.server.tokens()[0].connections;
        // Whoever connects now finds the dead threads collected.
        let (threads, _) = threads_and_files();
        let mut peer = place.peer();
        assert_eq!(peer.states().len(), 1);
        if busy == 0 && threads <= 8 {
            return;
        }
        assert!(begun.elapsed() < LIMIT, "{busy} connections, {threads} threads");
        std::thread::yield_now();
    }
}
