//! BER-TLV as PIV cards use it: ISO/IEC 7816-4 section 5.2.2, SP 800-73-4 part 2.
//!
//! Reading takes any bytes and never panics. Definite lengths of up to two bytes and tags of up to three:
//! nothing on a PIV card needs more, so more is refused.

/// One element: its tag as it stands in the bytes (`7F49` is 0x7F49) and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u32,
    pub(crate) value: &'a [u8],
}

/// The first element and what follows it.
pub(crate) fn read(input: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (&first, mut rest) = input.split_first()?;
    let mut tag = u32::from(first);
    if first & 0x1F == 0x1F {
        let mut more = true;
        while more {
            let (&next, after) = rest.split_first()?;
            tag = tag.checked_mul(0x100)? | u32::from(next);
            rest = after;
            more = next & 0x80 != 0;
            if tag > 0xFF_FFFF {
                return None;
            }
        }
    }
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        0x00..=0x7F => (usize::from(length), rest),
        0x81 => rest.split_first().map(|(&byte, rest)| (usize::from(byte), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(bytes, rest)| (usize::from(u16::from_be_bytes(*bytes)), rest))?
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((Tlv { tag, value }, rest))
}

/// The value of the one element that `input` consists of, if it has this tag.
pub(crate) fn only(input: &[u8], tag: u32) -> Option<&[u8]> {
    read(input).filter(|(tlv, rest)| tlv.tag == tag && rest.is_empty()).map(|(tlv, _)| tlv.value)
}

/// The value of the first element with this tag; `None` too if anything before it cannot be read.
pub(crate) fn find(mut input: &[u8], tag: u32) -> Option<&[u8]> {
    while !input.is_empty() {
        let (tlv, rest) = read(input)?;
        if tlv.tag == tag {
            return Some(tlv.value);
        }
        input = rest;
    }
    None
}

/// How many bytes [`write`] appends for a value of this length.
pub(crate) fn encoded_len(tag: u32, length: usize) -> usize {
    let tag_len = match tag {
        0..=0xFF => 1,
        0x100..=0xFFFF => 2,
        _ => 3,
    };
    let length_len = match length {
        0..=0x7F => 1,
        0x80..=0xFF => 2,
        _ => 3,
    };
    tag_len + length_len + length
}

/// Appends an element. Values are far below 64 KiB here; a longer one would be cut off, so it is not written at all.
pub(crate) fn write(output: &mut Vec<u8>, tag: u32, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    output.extend(tag.to_be_bytes().into_iter().skip_while(|&byte| byte == 0));
    let [high, low] = length.to_be_bytes();
    match length {
        0..=0x7F => output.push(low),
        0x80..=0xFF => output.extend([0x81, low]),
        _ => output.extend([0x82, high, low]),
    }
    output.extend_from_slice(value);
}

/// One element by itself; not for secrets, since it copies.
pub(crate) fn encode(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(encoded_len(tag, value.len()));
    write(&mut output, tag, value);
    output
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_cards_send() {
        let answer = [0x7F, 0x49, 0x05, 0x86, 0x03, 1, 2, 3];
        let inner = only(&answer, 0x7F49).unwrap();
        assert_eq!(only(inner, 0x86), Some(&[1, 2, 3][..]));
        assert_eq!(find(&[0x70, 1, 9, 0x71, 1, 0], 0x71), Some(&[0][..]));
        assert_eq!(find(&[0x70, 1, 9], 0x71), None);
    }

    #[test]
    fn refuses_cut_indefinite_and_oversized() {
        for bytes in [
            &[][..],
            &[0x53],
            &[0x53, 0x02, 1],
            &[0x53, 0x80, 0, 0],
            &[0x53, 0x81],
            &[0x53, 0x82, 1],
            &[0x53, 0x83, 0, 0, 1, 7],
            &[0x1F],
            &[0x1F, 0x81, 0x82, 0x83, 0x04, 0],
        ] {
            assert_eq!(read(bytes), None, "{bytes:02x?}");
        }
        assert_eq!(only(&[0x53, 1, 7, 0], 0x53), None, "bytes left over");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some((tlv, rest)) = read(&bytes) {
                prop_assert!(bytes.ends_with(rest));
                prop_assert!(tlv.value.len() + rest.len() < bytes.len());
            }
            let _ = find(&bytes, 0x53);
        }

        #[test]
        fn what_is_written_is_read(
            tag in prop_oneof![Just(0x53u32), Just(0x7F49), Just(0x5FC109), Just(0xC1)],
            value in proptest::collection::vec(any::<u8>(), 0..3000),
        ) {
            let bytes = encode(tag, &value);
            prop_assert_eq!(bytes.len(), encoded_len(tag, value.len()));
            prop_assert_eq!(only(&bytes, tag), Some(&value[..]));
        }
    }
}
