//! How large the parts of an upload are, when nobody knows how much will come.
//!
//! Every store takes 10,000 parts, so parts grow: 8 MiB at first, twice as much after each 1,000,
//! 2 GiB at last. Most archives never leave the first row:
//!
//! | parts | each | up to |
//! |---|---|---|
//! | 1 to 1,000 | 8 MiB | 7.8 GiB |
//! | to 2,000 | 16 MiB | 23 GiB |
//! | to 4,000 | 32, 64 MiB | 117 GiB |
//! | to 10,000 | 128 MiB to 2 GiB | 5.8 TiB |
//!
//! What is in memory is the part that fills and those under way: 32 MiB in the first row, and from
//! the second on no more than two parts.

/// The most parts of one upload.
pub(super) const MOST_PARTS: usize = 10_000;
/// The first parts, in bytes.
pub(super) const FIRST: u64 = 8 << 20;
/// Parts of one size.
const STEP: usize = 1000;
/// The last parts, in bytes.
const LAST: u64 = 2 << 30;
/// Bytes that are under way at a time, but for at least one part.
const UNDER_WAY: u64 = 24 << 20;

/// The size of part `index`, counted from 0; `None` beyond the last.
pub(super) fn size(index: usize) -> Option<u64> {
    if index >= MOST_PARTS {
        return None;
    }
    Some((FIRST << (index / STEP).min(20)).min(LAST))
}

/// How many parts of this size are under way at a time.
pub(super) fn at_a_time(size: u64) -> usize {
    usize::try_from(UNDER_WAY / size.max(1)).unwrap_or(1).clamp(1, 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_the_largest_object_of_a_store() {
        let all: u64 = (0..).map_while(size).sum();
        assert_eq!((0..).map_while(size).count(), 10_000);
        assert!(all > 5 << 40, "{all}");
        assert_eq!((size(0), size(999), size(1000)), (Some(8 << 20), Some(8 << 20), Some(16 << 20)));
        assert_eq!((size(9999), size(10_000)), (Some(2 << 30), None));
        // A part is at least 5 MiB and at most 5 GiB (S3, Google), at most 4,000 MiB (Azure).
        assert!((0..).map_while(size).all(|part| (5 << 20..4000 << 20).contains(&part)));
        assert_eq!((at_a_time(8 << 20), at_a_time(16 << 20), at_a_time(2 << 30)), (3, 1, 1));
        let rows = [999, 1999, 3999, 9999].map(|last| (0..=last).filter_map(size).sum::<u64>() >> 30);
        assert_eq!(rows, [7, 23, 117, 5992]);
    }
}
