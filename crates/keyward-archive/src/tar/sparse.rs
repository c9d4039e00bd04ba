//! Files with holes (GNU tar manual, "Storing Sparse Files"). We write PAX format 1.0, where a map
//! of the data in decimal lines comes before it, and read that, 0.0, 0.1 and GNU's oldest form.
//!
//! A map is another's word: it is taken only if its spans lie in order, within the file, and are as
//! long together as the data that follows. So no map makes a reader write more than was sent.

use std::sync::Arc;

use super::BLOCK;
use super::header::{decimal, number};

/// Most spans of data in one file. A file in more pieces is sealed with the later holes as zeros.
pub(crate) const MOST_SPANS: usize = 1 << 19;

/// A run of data in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Where a file has data; all else of it is a hole.
pub(crate) type Map = Arc<[Span]>;

/// Bytes of data in a map.
pub(crate) fn data(map: &[Span]) -> u64 {
    map.iter().fold(0, |sum, span| sum.saturating_add(span.length))
}

/// Appends the map in form 1.0, in whole blocks, for a file of `size` bytes.
pub(crate) fn encode(map: &[Span], size: u64, out: &mut Vec<u8>) {
    let start = out.len();
    // A hole at the end is told by a span of nothing there.
    let end = map.last().map_or(0, |span| span.offset + span.length);
    let last = (end < size).then_some(Span { offset: size, length: 0 });
    let mut line = |value: u64| {
        out.extend_from_slice(value.to_string().as_bytes());
        out.push(b'\n');
    };
    line(map.len() as u64 + u64::from(last.is_some()));
    for span in map.iter().copied().chain(last) {
        line(span.offset);
        line(span.length);
    }
    let length = (out.len() - start).next_multiple_of(BLOCK);
    out.resize(start + length, 0);
}

/// Takes numbers of a map one after another.
#[derive(Default)]
pub(crate) struct Builder {
    spans: Vec<Span>,
    offset: Option<u64>,
    end: u64,
}

impl Builder {
    /// An offset or, after it, a length. `None` if the map cannot be one.
    pub(crate) fn push(&mut self, value: u64) -> Option<()> {
        let Some(offset) = self.offset.take() else {
            self.offset = Some(value);
            return Some(());
        };
        let end = offset.checked_add(value)?;
        if offset < self.end || self.spans.len() >= MOST_SPANS {
            return None;
        }
        self.end = end;
        if value > 0 {
            self.spans.push(Span { offset, length: value });
        }
        Some(())
    }

    /// The map of a file of `size` bytes, of which `stored` follow.
    pub(crate) fn finish(self, size: u64, stored: u64) -> Option<Map> {
        let whole = self.offset.is_none() && self.end <= size && data(&self.spans) == stored;
        whole.then(|| self.spans.into())
    }
}

/// Reads a map in form 1.0, block by block.
#[derive(Default)]
pub(crate) struct Lines {
    builder: Builder,
    digits: Vec<u8>,
    /// Numbers still to come; `None` before their count.
    left: Option<u64>,
}

impl Lines {
    /// Takes a block; true when the map ended in it.
    pub(crate) fn block(&mut self, block: &[u8]) -> Option<bool> {
        for byte in block {
            if *byte != b'\n' {
                self.digits.push(*byte);
                // The longest number of 64 bits.
                if self.digits.len() > 20 {
                    return None;
                }
                continue;
            }
            let value = decimal(&self.digits)?;
            self.digits.clear();
            match &mut self.left {
                None => self.left = Some(value.checked_mul(2)?),
                Some(left) => {
                    self.builder.push(value)?;
                    *left -= 1;
                }
            }
            if self.left == Some(0) {
                return Some(true);
            }
        }
        Some(false)
    }

    pub(crate) fn builder(self) -> Builder {
        self.builder
    }
}

/// What pax records of forms 0.0, 0.1 and 1.0 say.
#[derive(Default)]
pub(crate) struct Records {
    pub(crate) name: Option<Vec<u8>>,
    size: Option<u64>,
    version: [Option<u64>; 2],
    builder: Builder,
    seen: bool,
    /// Spans are out of order, overlap, or are too many. By now the file has no name yet.
    wrong: bool,
}

/// Where the map of a member is.
pub(crate) enum Told {
    /// There is none: an ordinary file.
    Plain,
    /// In the records.
    Here(Builder, u64),
    /// Before the data, in form 1.0.
    InData(u64),
}

impl Records {
    /// Takes the record `GNU.sparse.KEY`. `None` if it is malformed.
    pub(crate) fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.seen = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.size = Some(decimal(value)?),
            b"major" => self.version[0] = Some(decimal(value)?),
            b"minor" => self.version[1] = Some(decimal(value)?),
            b"offset" | b"numbytes" => self.number(decimal(value)?),
            b"map" if value.is_empty() => {}
            b"map" => {
                for value in value.split(|byte| *byte == b',') {
                    self.number(decimal(value)?);
                }
            }
            // How many spans there are is plain from the spans.
            b"numblocks" => {}
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self, value: u64) {
        self.wrong |= self.builder.push(value).is_none();
    }

    /// Where the map is; `None` if it cannot be one, or is of a form that is not known.
    pub(crate) fn told(self) -> Option<Told> {
        if !self.seen {
            return Some(Told::Plain);
        }
        if self.wrong {
            return None;
        }
        let size = self.size?;
        match self.version {
            [None, None] | [Some(0), Some(0 | 1)] => Some(Told::Here(self.builder, size)),
            [Some(1), Some(0)] => Some(Told::InData(size)),
            _ => None,
        }
    }
}

/// Takes spans of GNU's oldest form: fields of 12 bytes, offset and length in turn, up to an empty one.
pub(crate) fn old_fields(fields: &[u8], builder: &mut Builder) -> Option<()> {
    for field in fields.chunks_exact(24) {
        let (offset, length) = field.split_at_checked(12)?;
        if length.first() == Some(&0) {
            break;
        }
        builder.push(u64::try_from(number(offset)?).ok()?)?;
        builder.push(u64::try_from(number(length)?).ok()?)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Option<Builder> {
        let mut lines = Lines::default();
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            if lines.block(block)? {
                assert_eq!((at + 1) * BLOCK, bytes.len());
                return Some(lines.builder());
            }
        }
        None
    }

    proptest! {
        #[test]
        fn a_map_survives(steps in proptest::collection::vec((0_u64..1 << 40, 1_u64..1 << 40), 0..200), rest in 0_u64..2) {
            let mut at = 0;
            let map: Vec<Span> = steps.into_iter().map(|(hole, length)| {
                let offset = at + hole;
                at = offset + length;
                Span { offset, length }
            }).collect();
            let size = at + rest * 77;
            let mut bytes = Vec::new();
            encode(&map, size, &mut bytes);
            prop_assert_eq!(bytes.len() % BLOCK, 0);
            prop_assert_eq!(&*read(&bytes).unwrap().finish(size, data(&map)).unwrap(), &*map);
        }

        #[test]
        fn foreign_maps_never_panic(bytes in proptest::collection::vec(prop_oneof![Just(b'\n'), b'0'..=b'9', any::<u8>()], 0..2000)) {
            let mut lines = Lines::default();
            for block in bytes.chunks(BLOCK) {
                if lines.block(block) != Some(false) {
                    break;
                }
            }
            let _ = old_fields(&bytes, &mut Builder::default());
        }
    }

    #[test]
    fn spans_lie_in_order_within_the_file_and_are_all_there() {
        let built = |numbers: &[u64], size, stored| {
            let mut builder = Builder::default();
            numbers.iter().try_for_each(|number| builder.push(*number))?;
            builder.finish(size, stored)
        };
        assert!(built(&[0, 5, 5, 5, 20, 0], 20, 10).is_some());
        assert!(built(&[], 1 << 60, 0).is_some());
        assert!(built(&[0, 5, 4, 5], 20, 10).is_none());
        assert!(built(&[10, 5, 0, 5], 20, 10).is_none());
        assert!(built(&[10, 5], 14, 5).is_none());
        assert!(built(&[10, 5], 20, 4).is_none());
        assert!(built(&[10, 5], 20, 6).is_none());
        assert!(built(&[10], 20, 0).is_none());
        assert!(built(&[u64::MAX, 2], u64::MAX, 2).is_none());
    }
}
