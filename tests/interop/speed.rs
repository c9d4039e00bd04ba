//! How soon the first APDU is answered, and how many a second, beside pcscd with vsmartcard's driver and card.
//!
//! All are spoken to by the same client, without libpcsclite. The clock runs from the start of the first program to the
//! first answer.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use keyward_tests::{PcscClient, Pcscd, Sandbox, Service, campaign_is_long, program};

const LIMIT: Duration = Duration::from_secs(30);
/// SELECT of the master file without its control parameters, which both cards answer in their way (Debian 12's vicc
/// ends when it is asked for those).
const APDU: [u8; 7] = [0x00, 0xA4, 0x00, 0x0C, 0x02, 0x3F, 0x00];

struct Measured {
    first: Duration,
    per_second: f64,
}

/// Asks the card that comes at `socket`; `begun` is when its service was started.
fn measure(socket: &Path, begun: Instant) -> Measured {
    let mut client = PcscClient::connect(socket, LIMIT);
    assert!(client.transmit(&APDU).len() >= 2);
    let first = begun.elapsed();
    let (begun, mut count) = (Instant::now(), 0u32);
    while begun.elapsed() < Duration::from_millis(300) {
        client.transmit(&APDU);
        count += 1;
    }
    Measured { first, per_second: f64::from(count) / begun.elapsed().as_secs_f64() }
}

fn emulator() -> Measured {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 1);
    let socket = sandbox.path("pcsc");
    let begun = Instant::now();
    let _emulator = Service::start(
        Command::new(program("keyward-emulator"))
            .args(["serve", "--token"])
            .arg(sandbox.path("alice.token"))
            .arg("--socket")
            .arg(&socket),
    );
    measure(&socket, begun)
}

fn vicc() -> Measured {
    let sandbox = Sandbox::new();
    let begun = Instant::now();
    let pcscd = Pcscd::start(&sandbox);
    let _card = pcscd.plug_in_vicc();
    measure(pcscd.socket(), begun)
}

fn emulator_under_pcscd() -> Measured {
    let sandbox = Sandbox::new();
    sandbox.new_token("alice.token", 1);
    let begun = Instant::now();
    let pcscd = Pcscd::start(&sandbox);
    let _card = pcscd.plug_in(&sandbox, "alice.token");
    measure(pcscd.socket(), begun)
}

/// The median of so many runs, each number by itself.
fn median(runs: usize, run: impl Fn() -> Measured) -> Measured {
    let all: Vec<Measured> = (0..runs).map(|_| run()).collect();
    let mut first: Vec<_> = all.iter().map(|measured| measured.first).collect();
    let mut per_second: Vec<_> = all.iter().map(|measured| measured.per_second).collect();
    first.sort();
    per_second.sort_by(f64::total_cmp);
    Measured { first: first[runs / 2], per_second: per_second[runs / 2] }
}

#[test]
fn the_first_apdu_is_answered_in_a_tenth_of_the_time_of_pcscd_and_vicc() {
    let runs = if campaign_is_long() { 9 } else { 3 };
    let (ours, theirs) = (median(runs, emulator), median(runs, vicc));
    let between = median(runs, emulator_under_pcscd);
    let ratio = theirs.first.as_secs_f64() / ours.first.as_secs_f64();
    let show = |name: &str, measured: &Measured| {
        let milliseconds = measured.first.as_secs_f64() * 1000.0;
        println!("{name:<36}{milliseconds:>10.1} ms{:>12.0} APDU/s", measured.per_second);
    };
    println!("start to first answer, and answers to one client; medians of {runs}");
    show("keyward-emulator at its socket", &ours);
    show("keyward-emulator, vpcd, pcscd", &between);
    show("vsmartcard's vicc, vpcd, pcscd", &theirs);
    println!("first answer: {ratio:.0} times sooner than pcscd with vpcd and vicc");
    println!("answers: {:.0} times as many", ours.per_second / theirs.per_second);
    assert!(ratio >= 10.0, "{ratio:.1} times sooner, not ten");
}
