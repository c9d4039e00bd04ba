//! Any bytes, as APDUs or at the socket: a status word or a closed connection, never a panic and never a hang.
//!
//! Runs on stable for a bounded time, from the corpora in `fuzz/corpus`: every saved input first, then what chance makes
//! of them. An input whose answers are of a kind not seen before joins those that chance works on. `scripts/fuzz` runs the
//! same two targets guided by coverage, in a build of their own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test ends by panicking"
)]

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io::{Read, Write},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use keyward_emulator::{Card, VirtualToken};

const LONGEST_INPUT: usize = 4096;
/// No input may keep the card or the server busy for longer.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

fn duration() -> Duration {
    #[allow(clippy::disallowed_methods, reason = "a test asks how long it may take")]
    let long = std::env::var("KEYWARD_TEST_CAMPAIGN").is_ok_and(|campaign| campaign == "all");
    Duration::from_secs(if long { 60 } else { 4 })
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(name);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap() % sides.max(1)
    }

    fn byte(&mut self) -> u8 {
        match self.roll(4) {
            0 => [0, 1, 0x7F, 0x80, 0xFF, 0x5C, 0x53, 0x7C][self.roll(8)],
            _ => u8::try_from(self.roll(256)).unwrap(),
        }
    }
}

/// A few changes: bytes and bits set, pieces cut, doubled, moved, or taken from another input.
fn mutate(dice: &mut Dice, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut input = pool[dice.roll(pool.len())].clone();
    for _ in 0..=dice.roll(4) {
        let at = dice.roll(input.len() + 1);
        let end = at + dice.roll((input.len() - at).min(64) + 1);
        match dice.roll(7) {
            0 if at < input.len() => input[at] = dice.byte(),
            1 if at < input.len() => input[at] ^= 1 << dice.roll(8),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
            4 => {
                let other = &pool[dice.roll(pool.len())];
                let from = dice.roll(other.len() + 1);
                input.splice(at..end, other[from..].iter().copied());
            }
            5 => input.insert(at, dice.byte()),
            _ => input.truncate(at.max(1)),
        }
    }
    input.truncate(LONGEST_INPUT);
    input
}

/// Runs every saved input and then changed ones until the time is over; `run` says what kinds of answers came.
fn fuzz(name: &str, mut run: impl FnMut(&[u8]) -> Vec<u64>) {
    let mut pool = corpus(name);
    assert!(pool.len() >= 8, "{} saved inputs", pool.len());
    let mut dice = Dice(RandomState::new().hash_one(name) | 1);
    let mut seen = HashSet::new();
    let (saved, begun, mut inputs) = (pool.len(), Instant::now(), 0);
    let mut next = pool.clone().into_iter();
    while begun.elapsed() < duration() || next.len() > 0 {
        let input = next.next().unwrap_or_else(|| mutate(&mut dice, &pool));
        let asked = Instant::now();
        let kinds = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&input)))
            .unwrap_or_else(|_| panic!("{name}: {input:02x?}"));
        assert!(asked.elapsed() < LONGEST_ANSWER, "{name}: {:?} for {input:02x?}", asked.elapsed());
        inputs += 1;
        if kinds.into_iter().filter(|kind| seen.insert(*kind)).count() > 0 && pool.len() < 4096 {
            pool.push(input);
        }
    }
    println!(
        "{name}: {inputs} inputs, {} kinds of answers, {} inputs kept beside {saved}",
        seen.len(),
        pool.len() - saved
    );
    assert!(inputs > saved, "{name}: {inputs} inputs");
}

#[test]
fn any_bytes_as_apdus_get_a_status_word() {
    let cards: Vec<_> = ["5.7.1", "5.4.3", "5.2.7"]
        .map(|firmware| Card::new(1, firmware.parse().unwrap()).unwrap().to_json().unwrap())
        .into();
    let mut turn = 0;
    fuzz("apdu", |input| {
        turn += 1;
        let mut card = Card::from_json(&cards[turn % cards.len()]).unwrap();
        let (mut rest, mut kinds) = (input, Vec::new());
        while let Some((length, after)) = rest.split_first_chunk() {
            let (apdu, after) = after.split_at(after.len().min(u16::from_be_bytes(*length).into()));
            let answer = card.transmit(apdu);
            let status = answer.last_chunk::<2>().expect("a status word");
            // Which instruction got which answer.
            kinds.push(u64::from_be_bytes([
                0,
                0,
                0,
                0,
                0,
                apdu.get(1).copied().unwrap_or(0),
                status[0],
                status[1],
            ]));
            rest = after;
        }
        assert!(Card::from_json(&card.to_json().unwrap()).is_ok(), "a state that cannot be read again");
        kinds
    });
}

#[test]
fn any_bytes_at_the_socket_are_answered_or_hung_up_on() {
    let token = VirtualToken::builder().start().unwrap();
    let mut turn = 0usize;
    fuzz("socket", |input| {
        let mut stream = UnixStream::connect(token.socket()).unwrap();
        stream.set_read_timeout(Some(LONGEST_ANSWER)).unwrap();
        let _ = stream.write_all(input); // it may hang up at any moment
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        if let Err(error) = stream.read_to_end(&mut answer) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "it hangs");
        }
        turn += 1;
        if turn.is_multiple_of(64) {
            assert_eq!(token.status().serial, 11_110_001, "the server is whole");
        }
        vec![
            u64::try_from(answer.len()).unwrap(),
            answer.iter().map(|byte| u64::from(*byte)).sum::<u64>() << 16,
        ]
    });
    // Whoever comes afterwards is served: the version is agreed on.
    let mut stream = UnixStream::connect(token.socket()).unwrap();
    let words = [12u32, 0x11, 4, 4, 0].map(u32::to_ne_bytes).concat();
    stream.write_all(&words).unwrap();
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(reply[..], words[8..]);
}
