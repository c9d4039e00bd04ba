//! Padding, so that an archive's size tells little of what is in it.
//!
//! Padmé (Nikitin, Barman, Lueks, Underwood, Hubaux, Ford: "Reducing Metadata Leakage from Encrypted
//! Files and Communication with PURBs", PoPETs 2019, section 4) rounds a length L up so that only the
//! first bits of it can be set: as many as the length of its own length, so a size tells
//! O(log log L) bits, and grows by 12 % at most.
//!
//! The size that counts is that of the whole archive, as a store sees it. Zeros in skippable frames
//! (RFC 8878, 3.1.2) between the data and the index make it such a size.

use std::io::{self, Write};

/// Magic of a skippable frame of padding.
pub(crate) const MAGIC: u32 = 0x184D_2A5C;
/// Most zeros in one frame.
const MOST_ZEROS: u64 = 1 << 30;
/// What a frame costs besides its zeros: its own head, and its entry in the seek table.
const COST: u64 = 8 + super::TABLE_ENTRY as u64;

/// Plaintext and tag of an age chunk (C2SP age.md, "Payload").
const CHUNK: u64 = 65_536;
const TAG: u64 = 16;

/// The smallest Padmé size from `length` on.
pub(crate) fn padme(length: u64) -> u64 {
    let Some(exponent @ 1..) = length.checked_ilog2() else { return length };
    let free = exponent.saturating_sub(exponent.ilog2() + 1);
    let mask = (1_u64 << free) - 1;
    length.checked_add(mask).map_or(length, |sum| sum & !mask)
}

/// Size of an archive with so many bytes before its chunks and so many of plaintext in them.
fn sealed(before: u64, plain: u64) -> u64 {
    before + plain + TAG * plain.div_ceil(CHUNK).max(1)
}

/// The plaintext with which an archive has just this size, if there is one.
fn plain(before: u64, sealed: u64) -> Option<u64> {
    let payload = sealed.checked_sub(before)?;
    let last = payload % (CHUNK + TAG);
    // A chunk that holds nothing but its tag, or not even that, is none.
    let chunks = payload / (CHUNK + TAG) + u64::from(last > 0);
    (last == 0 || last > TAG).then(|| payload - TAG * chunks)
}

/// Numbers of zeros in the frames of padding that bring an archive to a Padmé size, where `before`
/// bytes come before its chunks and `unpadded` of plaintext are in them.
pub(crate) fn frames(before: u64, unpadded: u64) -> Vec<u32> {
    let mut least = sealed(before, unpadded);
    loop {
        let size = padme(least);
        match plain(before, size).and_then(|plain| plain.checked_sub(unpadded)) {
            Some(0) => return Vec::new(),
            Some(room) if room >= COST => return split(room),
            _ => least = size + 1,
        }
    }
}

fn split(room: u64) -> Vec<u32> {
    let count = room.div_ceil(MOST_ZEROS + COST);
    let mut zeros = room - count * COST;
    (0..count)
        .map(|_| {
            let now = zeros.min(MOST_ZEROS);
            zeros -= now;
            now as u32
        })
        .collect()
}

/// Writes a frame of padding.
pub(crate) fn write(out: &mut impl Write, zeros: u32) -> io::Result<()> {
    out.write_all(&MAGIC.to_le_bytes())?;
    out.write_all(&zeros.to_le_bytes())?;
    io::copy(&mut io::Read::take(io::repeat(0), u64::from(zeros)), out)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_of_the_paper() {
        for (length, padded) in
            [(0, 0), (1, 1), (2, 2), (7, 7), (8, 8), (9, 10), (10, 10), (15, 16), (129, 144), (1000, 1024)]
        {
            assert_eq!(padme(length), padded, "{length}");
        }
        assert_eq!(padme(u64::MAX), u64::MAX);
        // Nothing near it is far away, and the number of sizes below 1 TiB is small.
        let (mut sizes, mut at) = (0, 256);
        while at < 1 << 40 {
            let next = padme(at + 1);
            assert!((next - at) * 100 <= at * 12, "{at} {next}");
            (sizes, at) = (sizes + 1, next);
        }
        assert!(sizes < 1200, "{sizes}");
    }

    proptest! {
        #[test]
        fn every_archive_gets_a_size_of_padme(before in 100_u64..5000, exponent in 6_u32..48, low in any::<u64>()) {
            let unpadded = (1_u64 << exponent) + low % (1 << exponent);
            let frames = frames(before, unpadded);
            let padded = unpadded + frames.iter().map(|zeros| u64::from(*zeros) + COST).sum::<u64>();
            let size = sealed(before, padded);
            prop_assert_eq!(size, padme(size));
            prop_assert!((size - sealed(before, unpadded)) * 100 <= 12 * sealed(before, unpadded));
            prop_assert!(frames.iter().all(|zeros| u64::from(*zeros) <= MOST_ZEROS));
        }

        #[test]
        fn sizes_are_those_of_age(before in 0_u64..1000, length in 1_u64..1 << 40) {
            prop_assert_eq!(plain(before, sealed(before, length)), Some(length));
        }
    }
}
