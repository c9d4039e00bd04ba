//! 64 clients at four tokens at once, while a hand pulls, resets, breaks and some clients die: nothing hangs, no
//! acknowledged write is lost, no answer is wrong.
//!
//! Each client keeps an object of its own on each token. It knows what it wrote last and was told of, and what it
//! wrote since without being told; one of these must be there whenever it looks. Everyday 4,000 transactions
//! are completed, in the long campaign 20,000.

#![allow(clippy::print_stdout, reason = "a campaign says how it went")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use aes::cipher::{Block, BlockCipherEncrypt, KeyInit};
use hex_literal::hex;

use crate::{Cut, Fault, FaultKind, Options, TokenFile, pcsclite::peer::*, readers::Code};

const CLIENTS: u8 = 64;
const TOKENS: u32 = 4;
const OK: &[u8] = &hex!("9000");
const LIMIT: Duration = Duration::from_secs(600);

fn transactions() -> i64 {
    #[allow(clippy::disallowed_methods, reason = "a test asks how long it may take")]
    let long = std::env::var("KEYWARD_TEST_CAMPAIGN").is_ok_and(|campaign| campaign == "all");
    if long { 20_000 } else { 4_000 }
}

/// xorshift64*, enough to choose.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }
}

/// What a client knows of its object on one token.
#[derive(Clone, Default)]
struct Known {
    /// Any of these may be there; the last acknowledged, and what was sent since. `None`: no object yet.
    possible: Vec<Option<u64>>,
}

impl Known {
    fn new() -> Self {
        Self { possible: vec![None] }
    }

    #[track_caller]
    fn check(&mut self, found: Option<u64>) {
        assert!(self.possible.contains(&found), "{found:?} is there, known is {:?}", self.possible);
        self.possible = vec![found];
    }
}

/// What ended a transaction early: a fault, never a wrong answer.
#[derive(Debug)]
struct Interrupted;

struct Client<'a> {
    place: &'a Place,
    number: u8,
    dice: Dice,
    peer: Peer,
    known: Vec<Known>,
    counter: u64,
    tally: &'a Tally,
}

#[derive(Default)]
struct Tally {
    left: AtomicI64,
    completed: AtomicU64,
    interrupted: AtomicU64,
    killed: AtomicU64,
    writes: AtomicU64,
    over: AtomicBool,
}

fn reader(token: usize) -> String {
    format!("Yubico YubiKey OTP+FIDO+CCID {token:02X} 00")
}

impl Client<'_> {
    fn transmit(&mut self, handle: i32, apdu: &[u8]) -> Result<Vec<u8>, Interrupted> {
        self.peer.transmit(handle, apdu).map_err(|code| {
            let known = [Code::RESET_CARD, Code::READER_UNAVAILABLE, Code::NOT_TRANSACTED];
            assert!(known.contains(&Code(code)), "{code:08x} in a transaction");
            Interrupted
        })
    }

    #[track_caller]
    fn expect(&mut self, handle: i32, apdu: &[u8], expected: &[u8]) -> Result<(), Interrupted> {
        let answer = self.transmit(handle, apdu)?;
        assert_eq!(answer, expected, "to {apdu:02x?}");
        Ok(())
    }

    /// Opens a connection to a token that may come and go.
    fn connect(&mut self, token: usize) -> i32 {
        loop {
            let share = if self.dice.roll(8) == 0 { EXCLUSIVE } else { SHARED };
            match self.peer.open(&reader(token), share) {
                Ok(handle) => return handle,
                Err(code) => {
                    let known = [Code::UNKNOWN_READER, Code::SHARING_VIOLATION];
                    assert!(known.contains(&Code(code)), "{code:08x} at connecting");
                    std::thread::yield_now();
                }
            }
        }
    }

    fn begin(&mut self, handle: i32) -> Result<(), Interrupted> {
        loop {
            match Code(self.peer.begin(handle)) {
                Code::SUCCESS => return Ok(()),
                Code::SHARING_VIOLATION => {} // another's transaction: asked again, as libpcsclite does
                Code::RESET_CARD | Code::READER_UNAVAILABLE => return Err(Interrupted),
                code => panic!("{code:?} at the beginning of a transaction"),
            }
        }
    }

    fn transaction(&mut self, token: usize) {
        let handle = self.connect(token);
        let done = self.begin(handle).and_then(|()| {
            self.expect(handle, SELECT, &hex!("61114f0600001000010079074f05a0000003089000"))?;
            match self.dice.roll(10) {
                0..4 => self.verify(handle, token)?,
                4..7 => self.write(handle, token)?,
                7..9 => self.look(handle, token)?,
                _ => {
                    self.die(handle, token);
                    return Ok(false);
                }
            }
            let disposition = if self.dice.roll(4) == 0 { RESET } else { LEAVE };
            match Code(self.peer.end(handle, disposition)) {
                Code::SUCCESS => Ok(true),
                Code::RESET_CARD | Code::READER_UNAVAILABLE => Err(Interrupted),
                code => panic!("{code:?} at the end of a transaction"),
            }
        });
        match done {
            Ok(true) => {
                self.tally.left.fetch_sub(1, Ordering::Relaxed);
                self.tally.completed.fetch_add(1, Ordering::Relaxed);
                assert_eq!(self.peer.close(handle, LEAVE), 0);
            }
            Ok(false) => {
                self.tally.killed.fetch_add(1, Ordering::Relaxed);
            }
            Err(Interrupted) => {
                self.tally.interrupted.fetch_add(1, Ordering::Relaxed);
                assert_eq!(self.peer.close(handle, LEAVE), 0);
            }
        }
    }

    /// A PIN verified in a transaction stays so, and the token is the one that was asked for.
    fn verify(&mut self, handle: i32, token: usize) -> Result<(), Interrupted> {
        let serial = [0, 0, 0, u8::try_from(token).unwrap() + 1, 0x90, 0];
        self.expect(handle, &hex!("00f80000"), &serial)?;
        self.expect(handle, VERIFY, OK)?;
        self.expect(handle, ASK_PIN, OK)
    }

    fn authenticate(&mut self, handle: i32) -> Result<(), Interrupted> {
        let challenge = self.transmit(handle, &hex!("00870a9b047c02810000"))?;
        assert_eq!(challenge.len(), 22, "{challenge:02x?}");
        let cipher = aes::Aes192::new_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8].repeat(3)).unwrap();
        let mut block = Block::<aes::Aes192>::try_from(&challenge[4..20]).unwrap();
        cipher.encrypt_block(&mut block);
        self.expect(handle, &[&hex!("00870a9b147c128210")[..], &block].concat(), OK)
    }

    fn put(&mut self, token: usize) -> Vec<u8> {
        self.counter += 1;
        self.known[token].possible.push(Some(self.counter));
        [&hex!("00db3fff0f5c035f00")[..], &[self.number, 0x53, 8], &self.counter.to_be_bytes()].concat()
    }

    fn write(&mut self, handle: i32, token: usize) -> Result<(), Interrupted> {
        self.authenticate(handle)?;
        let put = self.put(token);
        self.expect(handle, &put, OK)?;
        self.known[token].possible = vec![Some(self.counter)]; // it was told so
        self.tally.writes.fetch_add(1, Ordering::Relaxed);
        self.look(handle, token)
    }

    fn look(&mut self, handle: i32, token: usize) -> Result<(), Interrupted> {
        let answer = self.transmit(handle, &[&hex!("00cb3fff055c035f00")[..], &[self.number, 0]].concat())?;
        let found = match &answer[..] {
            [0x6A, 0x82] => None,
            [0x53, 8, value @ .., 0x90, 0] => Some(u64::from_be_bytes(value.try_into().unwrap())),
            other => panic!("{other:02x?} is no object"),
        };
        self.known[token].check(found);
        Ok(())
    }

    /// Ends in the middle of a write that nobody hears the answer to.
    fn die(&mut self, handle: i32, token: usize) {
        if self.authenticate(handle).is_ok() {
            let put = self.put(token);
            self.peer.send_transmit(handle, &put);
        }
        self.peer = self.place.peer();
    }

    fn live(mut self) -> Vec<Known> {
        while self.tally.left.load(Ordering::Relaxed) > 0 {
            let token = usize::try_from(self.dice.roll(TOKENS.into())).unwrap();
            self.transaction(token);
        }
        self.known
    }
}

/// Pulls, plugs in, resets and breaks until it is over, then leaves everything plugged in and whole.
fn break_things(place: &Place, mut dice: Dice, tally: &Tally) -> u64 {
    let mut broken = 0;
    while !tally.over.load(Ordering::Relaxed) {
        let serial = (dice.roll(TOKENS.into()) + 1).to_string();
        let server = &place.server;
        let status = server.tokens();
        let index: usize = serial.parse::<usize>().unwrap() - 1;
        let arm = |kind| server.fault(&serial, Fault::nth(kind, 1 + broken % 7)).unwrap();
        match dice.roll(9) {
            0 => {
                let _ = server.remove(&serial); // a fault may have been quicker
                server.wait_for_apdus("1", status[0].apdus + 2, Duration::from_millis(5)).unwrap();
                let _ = server.insert(&serial);
            }
            1 => {
                let _ = server.reset(&serial);
            }
            2 => arm(FaultKind::Reinsert),
            3 => arm(FaultKind::Reset),
            4 => arm(FaultKind::PowerBefore),
            5 => arm(FaultKind::PowerAfter),
            6 => arm(FaultKind::PowerInWrite([Cut::Half, Cut::Whole, Cut::Renamed][index % 3])),
            7 => arm(FaultKind::Delay(Duration::from_millis(2))),
            _ => arm(FaultKind::PowerInWrite(Cut::Renamed)),
        }
        broken += 1;
        let pause = status[index].apdus + 20 + dice.roll(60);
        server.wait_for_apdus(&serial, pause, Duration::from_millis(50)).unwrap();
    }
    for token in place.server.tokens() {
        place.server.clear_faults(&token.serial.to_string()).unwrap();
        if !token.inserted {
            place.server.insert(&token.serial.to_string()).unwrap();
        }
    }
    broken
}

fn storm() -> (u64, Arc<Tally>, Duration) {
    let seed = getrandom::u64().unwrap() | 1;
    println!("seed {seed:016x}");
    let place = Arc::new(Place::with(TOKENS, &Options::default()));
    let tally = Arc::new(Tally { left: AtomicI64::new(transactions()), ..Tally::default() });
    let begun = Instant::now();
    let (clients, broken) = std::thread::scope(|scope| {
        let (place, tally) = (&*place, &*tally);
        let breaking = scope.spawn(move || break_things(place, Dice(seed), tally));
        let clients: Vec<_> = (1..=CLIENTS)
            .map(|number| {
                let dice = Dice(seed.rotate_left(number.into()) ^ u64::from(number));
                let known = vec![Known::new(); TOKENS.try_into().unwrap()];
                let peer = place.peer();
                scope.spawn(move || Client { place, number, dice, peer, known, counter: 0, tally }.live())
            })
            .collect();
        // Over for the hand too, whether the clients ended well or not.
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        tally.over.store(true, Ordering::Relaxed);
        let known: Vec<Vec<Known>> = ended.into_iter().map(|known| known.unwrap()).collect();
        (known, breaking.join().unwrap())
    });
    let took = begun.elapsed();

    // What is in the files is what the clients were told, and no PIN try was lost.
    let Place { server, folder } = Arc::into_inner(place).unwrap();
    drop(server);
    for token in 0..TOKENS {
        let mut file = TokenFile::open(&folder.path().join(format!("{}.token", token + 1))).unwrap();
        file.transmit(SELECT);
        assert_eq!(file.transmit(ASK_PIN), hex!("63c3"));
        for (number, mut known) in (1u8..).zip(clients.clone()) {
            let get = [&hex!("00cb3fff055c035f00")[..], &[number, 0]].concat();
            let answer = file.transmit(&get);
            let value = answer.get(2..10).filter(|_| answer[0] == 0x53);
            let token = usize::try_from(token).unwrap();
            known[token].check(value.map(|value| u64::from_be_bytes(value.try_into().unwrap())));
        }
    }
    (broken, tally, took)
}

#[test]
fn many_clients_and_a_wild_hand_lose_nothing() {
    let (done, over) = mpsc::channel();
    std::thread::spawn(move || {
        let outcome = std::panic::catch_unwind(storm);
        let _ = done.send(outcome);
    });
    let outcome = over.recv_timeout(LIMIT).expect("it hangs");
    let (broken, tally, took) =
        outcome.unwrap_or_else(|_| panic!("a client was answered wrongly; see above"));
    let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
    let (completed, interrupted, killed) =
        (count(&tally.completed), count(&tally.interrupted), count(&tally.killed));
    assert!(completed >= u64::try_from(transactions()).unwrap(), "{completed}");
    assert!(killed > 20 && interrupted > 20, "{interrupted} interrupted, {killed} killed");
    println!(
        "{CLIENTS} clients, {completed} transactions completed, {interrupted} interrupted, {killed} clients killed, \
         {} writes acknowledged, {broken} blows of the hand, {:.1} s",
        count(&tally.writes),
        took.as_secs_f64(),
    );
}
