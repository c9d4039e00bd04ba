//! BER-TLV as PIV uses it: tags of one or two bytes, definite lengths up to three length bytes.
//!
//! SP 800-73-4 part 2 section 2.1.3; ISO/IEC 7816-4 annex E. Reading never panics; what does not fit is `None`.

/// One element: its tag and the bytes of its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tlv<'a> {
    /// The tag as a number, `0x7F49` for the two bytes 7F 49.
    pub(crate) tag: u16,
    /// The value, without tag and length.
    pub(crate) value: &'a [u8],
}

/// Reads one element and returns it with what follows it.
pub(crate) fn read(input: &[u8]) -> Option<(Tlv<'_>, &[u8])> {
    let (&first, mut rest) = input.split_first()?;
    let mut tag = u16::from(first);
    if first & 0x1F == 0x1F {
        let (&second, after) = rest.split_first()?;
        if second & 0x80 != 0 {
            return None;
        }
        tag = tag << 8 | u16::from(second);
        rest = after;
    }
    let (&length, mut rest) = rest.split_first()?;
    let length = match length {
        0..=0x7F => usize::from(length),
        0x81..=0x83 => {
            let (bytes, after) = rest.split_at_checked(usize::from(length & 0x7F))?;
            rest = after;
            bytes.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte))
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    Some((Tlv { tag, value }, rest))
}

/// Reads elements until the input ends; `None` if the last one is cut short.
pub(crate) fn read_all(mut input: &[u8]) -> Option<Vec<Tlv<'_>>> {
    let mut all = Vec::new();
    while !input.is_empty() {
        let (tlv, rest) = read(input)?;
        all.push(tlv);
        input = rest;
    }
    Some(all)
}

/// The value of the first element with this tag.
pub(crate) fn find<'a>(all: &[Tlv<'a>], tag: u16) -> Option<&'a [u8]> {
    all.iter().find(|tlv| tlv.tag == tag).map(|tlv| tlv.value)
}

/// Appends one element; a value beyond 65,535 bytes does not occur on a card.
pub(crate) fn write(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    let [high, low] = tag.to_be_bytes();
    if high != 0 {
        out.push(high);
    }
    out.push(low);
    let [.., b2, b1, b0] = value.len().to_be_bytes();
    match value.len() {
        0..=0x7F => out.push(b0),
        0x80..=0xFF => out.extend_from_slice(&[0x81, b0]),
        0x100..=0xFFFF => out.extend_from_slice(&[0x82, b1, b0]),
        _ => out.extend_from_slice(&[0x83, b2, b1, b0]),
    }
    out.extend_from_slice(value);
}

/// One element on its own.
pub(crate) fn encode(tag: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 6);
    write(&mut out, tag, value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_every_form_survive() {
        for length in [0, 1, 127, 128, 255, 256, 3052, 65535, 65536] {
            let value = vec![0xA5; length];
            let encoded = encode(0x7F49, &value);
            let (tlv, rest) = read(&encoded).unwrap();
            assert_eq!((tlv.tag, tlv.value.len(), rest.len()), (0x7F49, length, 0));
        }
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let encoded = encode(0x53, &[7; 300]);
        for cut in 0..encoded.len() {
            assert_eq!(read(&encoded[..cut]), None, "cut at {cut}");
        }
        assert_eq!(read(&[0x53, 0x80]), None, "indefinite length");
        assert_eq!(read(&[0x53, 0x84, 0, 0, 0, 0]), None, "four length bytes");
    }
}
