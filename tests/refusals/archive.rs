//! Archives that were changed: no byte of them reaches a final name. They are opened without asking where they come from, so
//! that age's own checks are what refuses them; what receipts say of them is in `origin`.

use keyward_tests::{Noise, Outcome, Sandbox, campaign_is_long};

use super::{letter, refused, sealed};

/// What lies behind a chunk of 64 KiB.
const SEALED_CHUNK: usize = 65_536 + 16;
const NONCE: usize = 16;

fn open(sandbox: &Sandbox, archive: &[u8]) -> Outcome {
    sandbox.write("other.age", archive);
    sandbox.emulator().token("alice.token").keyward(["open", "other.age", "-o", "out", "--unverified"]).go()
}

fn header_length(archive: &[u8]) -> usize {
    let mac = archive.windows(5).position(|window| window == b"\n--- ").unwrap() + 1;
    mac + archive[mac..].iter().position(|byte| *byte == b'\n').unwrap() + 1
}

#[test]
fn a_truncated_archive_is_refused_at_every_kind_of_length() {
    let sandbox = sealed("hybrid");
    let archive = sandbox.read("photos.age");
    let header = header_length(&archive);
    let payload = header + NONCE;
    let lengths = [
        payload,
        payload + 1,
        payload + 16,
        payload + SEALED_CHUNK - 1,
        payload + SEALED_CHUNK,
        payload + SEALED_CHUNK + 1,
        payload + 2 * SEALED_CHUNK,
        archive.len() - SEALED_CHUNK,
        archive.len() - 17,
        archive.len() - 1,
        header + 3,
        header,
        header - 1,
        header / 2,
        21,
        7,
        0,
    ];
    for length in lengths {
        refused(&sandbox, open(&sandbox, &archive[..length]), 7);
    }
}

#[test]
fn an_extended_archive_is_refused() {
    let sandbox = sealed("classic");
    let archive = sandbox.read("photos.age");
    for extra in [&b"\0"[..], b"\n", &[0; 16], &[7; SEALED_CHUNK]] {
        refused(&sandbox, open(&sandbox, &[&archive, extra].concat()), 7);
    }
    // A second copy behind the first, and the last chunk twice.
    refused(&sandbox, open(&sandbox, &[archive.clone(), archive.clone()].concat()), 7);
    let last = (archive.len() - header_length(&archive) - NONCE) % SEALED_CHUNK;
    refused(&sandbox, open(&sandbox, &[&archive[..], &archive[archive.len() - last..]].concat()), 7);
}

#[test]
fn reordered_and_repeated_chunks_are_refused() {
    let sandbox = sealed("hybrid");
    let archive = sandbox.read("photos.age");
    let start = header_length(&archive) + NONCE;
    let chunk = |number: usize| start + number * SEALED_CHUNK..start + (number + 1) * SEALED_CHUNK;
    assert!(archive.len() > chunk(8).end, "too few chunks");
    for (one, other) in [(0, 1), (3, 7)] {
        let mut changed = archive.clone();
        changed[chunk(one)].copy_from_slice(&archive[chunk(other)]);
        refused(&sandbox, open(&sandbox, &changed), 7);
        changed[chunk(other)].copy_from_slice(&archive[chunk(one)]);
        refused(&sandbox, open(&sandbox, &changed), 7);
    }
    let mut shorter = archive.clone();
    shorter.drain(chunk(4));
    refused(&sandbox, open(&sandbox, &shorter), 7);
}

#[test]
fn chunks_of_another_archive_are_refused() {
    let sandbox = sealed("classic");
    let archive = sandbox.read("photos.age");
    sandbox.keyward(["seal", "photos", "-o", "other.age"]).go().success();
    let other = sandbox.read("other.age");
    let (start, other_start) = (header_length(&archive), header_length(&other));
    refused(&sandbox, open(&sandbox, &[&archive[..start], &other[other_start..]].concat()), 7);
    let mut mixed = archive.clone();
    let first_chunk = |start: usize| start + NONCE..start + NONCE + SEALED_CHUNK;
    mixed[first_chunk(start)].copy_from_slice(&other[first_chunk(other_start)]);
    refused(&sandbox, open(&sandbox, &mixed), 7);
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let rounds = if campaign_is_long() { 1500 } else { 40 };
    for (suite, seed) in [("hybrid", 21), ("classic", 22)] {
        let sandbox = letter(suite);
        let archive = sandbox.read("letter.age");
        let header = header_length(&archive);
        let mut noise = Noise::new(seed);
        for round in 0..rounds {
            // The header is much larger than this payload: both are met equally often.
            let at = if round % 2 == 0 {
                noise.below(header)
            } else {
                header + noise.below(archive.len() - header)
            };
            let mut changed = archive.clone();
            changed[at] ^= 1 << noise.below(8);
            let outcome = open(&sandbox, &changed).failure();
            // In the header a change can also make it somebody else's archive.
            let code = outcome.exit_code().unwrap();
            assert!(code == 7 || (code == 8 && at < header), "byte {at} of {}: {outcome}", archive.len());
            refused(&sandbox, outcome, code);
        }
    }
}

#[test]
fn random_changes_of_a_folders_archive_are_refused() {
    let rounds = if campaign_is_long() { 1000 } else { 40 };
    let sandbox = sealed("classic");
    let archive = sandbox.read("photos.age");
    let mut noise = Noise::new(23);
    for round in 0..rounds {
        let at = noise.below(archive.len());
        let mut changed = archive.clone();
        match round % 5 {
            0 => changed[at] ^= 1 << noise.below(8),
            1 => changed.truncate(at),
            2 => changed.insert(at, b'k'),
            3 => drop(changed.remove(at)),
            // Two stretches of a thousand bytes change places.
            _ => {
                let (one, other) = (at.min(archive.len() - 3000), noise.below(archive.len() - 1000));
                let stretch = changed[one..one + 1000].to_vec();
                changed.copy_within(other..other + 1000, one);
                changed[other..other + 1000].copy_from_slice(&stretch);
            }
        }
        if changed == archive {
            continue;
        }
        sandbox.write("other.age", &changed);
        let outcome = sandbox
            .emulator()
            .token("bob.token")
            .keyward(["open", "other.age", "-C", "out", "--unverified"])
            .go()
            .failure();
        let code = outcome.exit_code().unwrap();
        assert!(matches!(code, 7 | 8), "round {round}, byte {at} of {}: {outcome}", archive.len());
        refused(&sandbox, outcome, code);
    }
}

#[test]
fn what_is_no_archive_is_named_as_such() {
    let sandbox = Sandbox::with_vault("hybrid");
    for (content, code) in
        [(&b""[..], 7), (b"a letter\n", 7), (b"age-encryption.org/v2\n", 7), (&[0; 4096], 7)]
    {
        refused(&sandbox, open(&sandbox, content), code);
    }
    let outcome = sandbox.emulator().token("alice.token").keyward(["open", "nowhere.age", "-C", "out"]).go();
    refused(&sandbox, outcome, 3).stderr_has("nowhere.age");
    let outcome = sandbox.emulator().token("alice.token").keyward(["open", "vault", "-C", "out"]).go();
    refused(&sandbox, outcome, 7).stderr_has("folder");
}

#[test]
fn a_damaged_archive_on_standard_output_ends_with_an_error() {
    let sandbox = sealed("hybrid");
    let archive = sandbox.read("photos.age");
    let whole =
        sandbox.emulator().token("bob.token").keyward(["open", "photos.age", "-o", "-"]).go().success();
    let mut damaged = archive.clone();
    *damaged.last_mut().unwrap() ^= 1;
    sandbox.write("other.age", damaged);
    let part = sandbox
        .emulator()
        .token("bob.token")
        .keyward(["open", "other.age", "-o", "-", "--unverified"])
        .go()
        .code(7)
        .calm_error();
    // Verified chunks came as they were; the one that does not verify did not.
    assert!(part.stdout.len() < whole.stdout.len());
    assert!(whole.stdout.starts_with(&part.stdout));
}
