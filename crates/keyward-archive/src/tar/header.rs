//! One member of a tar to header blocks, and header fields back to values.

use super::sparse::{self, Map};
use super::{BLOCK, padding};
use crate::entry::{Kind, Time};

/// What a tar header says of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// As stored, without the slash that ends a folder's name.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    /// Type flag as in the header; tells the special kinds apart.
    pub(crate) flag: u8,
    /// Bytes of contents, holes included.
    pub(crate) size: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Names of the owners; empty where unknown.
    pub(crate) uname: Vec<u8>,
    pub(crate) gname: Vec<u8>,
    pub(crate) mtime: Time,
    pub(crate) link: Vec<u8>,
    /// Where a file with holes has data.
    pub(crate) sparse: Option<Map>,
    /// Extended attributes and ACLs: the pax key after `SCHILY.`, such as `xattr.user.note` or
    /// `acl.access`, and the value.
    pub(crate) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Member {
    /// A member of which only this is known.
    pub(crate) fn new(path: Vec<u8>, kind: Kind) -> Self {
        Self {
            path,
            kind,
            flag: flag(kind),
            size: 0,
            mode: 0,
            uid: 0,
            gid: 0,
            uname: Vec::new(),
            gname: Vec::new(),
            mtime: Time::default(),
            link: Vec::new(),
            sparse: None,
            attributes: Vec::new(),
        }
    }
}

/// Attributes of this many bytes fit into a pax header that this crate reads.
pub(crate) const MOST_ATTRIBUTE_BYTES: usize = 768 * 1024;

const OCTAL_8: u64 = 0o7_777_777;
const OCTAL_12: u64 = 0o77_777_777_777;
/// Longest name of an owner in the old field, which a zero byte ends.
const OWNER: usize = 31;

/// Appends the member's header blocks to `out`: a pax header with whatever the old fields cannot
/// hold (a long name, nanoseconds, 8 GiB and more, attributes), then the ustar header, then the map
/// of a file with holes.
pub(crate) fn encode(member: &Member, out: &mut Vec<u8>) {
    let mut name = member.path.clone();
    if member.kind == Kind::Folder {
        name.push(b'/');
    }
    let mut map = Vec::new();
    let mut stored = member.size;
    if let Some(spans) = &member.sparse {
        sparse::encode(spans, member.size, &mut map);
        stored = map.len() as u64 + sparse::data(spans);
        name = sparse_name(&name);
    }
    let mut records = Vec::new();
    if name.len() > 100 {
        record(&mut records, "path", &name);
    }
    if member.link.len() > 100 {
        record(&mut records, "linkpath", &member.link);
    }
    let old_time = u64::try_from(member.mtime.seconds).ok().filter(|seconds| *seconds <= OCTAL_12);
    if member.mtime.nanos != 0 || old_time.is_none() {
        record(&mut records, "mtime", time_text(member.mtime).as_bytes());
    }
    if stored > OCTAL_12 {
        record(&mut records, "size", stored.to_string().as_bytes());
    }
    for (key, id) in [("uid", member.uid), ("gid", member.gid)] {
        if u64::from(id) > OCTAL_8 {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    for (key, owner) in [("uname", &member.uname), ("gname", &member.gname)] {
        if owner.len() > OWNER || !owner.is_ascii() {
            record(&mut records, key, owner);
        }
    }
    for (key, value) in &member.attributes {
        record(&mut records, attribute_key(key), value);
    }
    if member.sparse.is_some() {
        record(&mut records, "GNU.sparse.major", b"1");
        record(&mut records, "GNU.sparse.minor", b"0");
        record(&mut records, "GNU.sparse.name", &member.path);
        record(&mut records, "GNU.sparse.realsize", member.size.to_string().as_bytes());
    }
    if !records.is_empty() {
        let size = records.len() as u64;
        out.extend_from_slice(
            &Fields { name: b"././@PaxHeader", size, mode: 0o644, flag: b'x', ..Fields::default() }.block(),
        );
        out.extend_from_slice(&records);
        out.resize(out.len() + padding(size), 0);
    }
    let fields = Fields {
        name: &name,
        link: &member.link,
        size: stored,
        mode: member.mode,
        uid: member.uid,
        gid: member.gid,
        uname: &member.uname,
        gname: &member.gname,
        seconds: old_time.unwrap_or(0),
        flag: member.flag,
    };
    out.extend_from_slice(&fields.block());
    out.extend_from_slice(&map);
}

/// The name in the old field of a file with holes, which only a reader that does not know them uses
/// (GNU tar manual, "PAX Format, Version 1.0").
fn sparse_name(path: &[u8]) -> Vec<u8> {
    let at = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let (folder, name) = path.split_at_checked(at).unwrap_or((&[], path));
    [folder, b"GNUSparseFile.0/", name].concat()
}

/// The whole pax key of an attribute. `=` would end it, so GNU tar writes `%3D`, and `%25` for `%`.
fn attribute_key(key: &[u8]) -> Vec<u8> {
    let mut out = b"SCHILY.".to_vec();
    for byte in key {
        match byte {
            b'=' => out.extend_from_slice(b"%3D"),
            b'%' => out.extend_from_slice(b"%25"),
            byte => out.push(*byte),
        }
    }
    out
}

/// The key of an attribute that [`attribute_key`] or GNU tar wrote, without `SCHILY.`.
pub(crate) fn parse_attribute_key(mut key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    while let Some((first, rest)) = key.split_first() {
        (key, _) = match key {
            [b'%', b'3', b'D', rest @ ..] => (rest, out.push(b'=')),
            [b'%', b'2', b'5', rest @ ..] => (rest, out.push(b'%')),
            _ => (rest, out.push(*first)),
        };
    }
    out
}

/// The type flag that this crate writes for a kind.
pub(crate) fn flag(kind: Kind) -> u8 {
    match kind {
        Kind::File | Kind::Special => b'0',
        Kind::Hardlink => b'1',
        Kind::Symlink => b'2',
        Kind::Folder => b'5',
    }
}

/// The fields of one ustar header block that we set.
#[derive(Default)]
struct Fields<'a> {
    name: &'a [u8],
    link: &'a [u8],
    size: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    uname: &'a [u8],
    gname: &'a [u8],
    seconds: u64,
    flag: u8,
}

impl Fields<'_> {
    fn block(&self) -> [u8; BLOCK] {
        let mut block = Vec::with_capacity(BLOCK);
        text(&mut block, self.name, 100);
        octal(&mut block, u64::from(self.mode), 7);
        octal(&mut block, u64::from(self.uid), 7);
        octal(&mut block, u64::from(self.gid), 7);
        if self.size > OCTAL_12 {
            // GNU's base-256 form, for readers that do not know pax.
            block.extend_from_slice(&[0x80, 0, 0, 0]);
            block.extend_from_slice(&self.size.to_be_bytes());
        } else {
            octal(&mut block, self.size, 11);
        }
        octal(&mut block, self.seconds, 11);
        block.extend_from_slice(b"        ");
        block.push(self.flag);
        text(&mut block, self.link, 100);
        block.extend_from_slice(b"ustar\x0000");
        for owner in [self.uname, self.gname] {
            text(&mut block, owner.get(..OWNER).unwrap_or(owner), OWNER + 1);
        }
        block.resize(BLOCK, 0);
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let mut fixed = [0; BLOCK];
        fixed.copy_from_slice(&block);
        if let Some(field) = fixed.get_mut(148..156) {
            let mut digits = Vec::with_capacity(8);
            octal(&mut digits, sum, 6);
            digits.push(b' ');
            field.copy_from_slice(&digits);
        }
        fixed
    }
}

fn text(block: &mut Vec<u8>, value: &[u8], width: usize) {
    let kept = value.get(..width).unwrap_or(value);
    block.extend_from_slice(kept);
    block.resize(block.len() + width - kept.len(), 0);
}

/// `digits` octal digits and a zero byte; a value that does not fit is written as 0 (pax has it).
fn octal(block: &mut Vec<u8>, value: u64, digits: u32) {
    let value = if value >> (3 * digits) == 0 { value } else { 0 };
    block.extend((0..digits).rev().map(|digit| b'0' + ((value >> (3 * digit)) & 7) as u8));
    block.push(0);
}

/// One pax record: its own length in decimal, space, key, `=`, value, line end.
fn record(out: &mut Vec<u8>, key: impl AsRef<[u8]>, value: &[u8]) {
    let key = key.as_ref();
    let rest = 1 + key.len() + 1 + value.len() + 1;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// Decimal seconds with a fraction. The fraction of a pax time counts away from zero.
fn time_text(time: Time) -> String {
    let value = i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let sign = if value < 0 { "-" } else { "" };
    let value = value.unsigned_abs();
    let text = format!("{sign}{}.{:09}", value / 1_000_000_000, value % 1_000_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads a pax time; digits past the ninth are dropped towards the past.
pub(crate) fn parse_time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let mut nanos: i128 = 0;
    for place in 0..9 {
        let digit = fraction.as_bytes().get(place).map_or(0, |byte| byte - b'0');
        nanos = nanos * 10 + i128::from(digit);
    }
    let more = fraction.bytes().skip(9).any(|byte| byte != b'0');
    let mut value = i128::from(whole.parse::<u64>().ok()?) * 1_000_000_000 + nanos;
    if negative {
        value = -value - i128::from(more);
    }
    Some(Time {
        seconds: i64::try_from(value.div_euclid(1_000_000_000)).ok()?,
        nanos: u32::try_from(value.rem_euclid(1_000_000_000)).ok()?,
    })
}

/// The records of a pax header. `None` if one is malformed.
pub(crate) fn parse_records(mut data: &[u8]) -> Option<Vec<(&[u8], &[u8])>> {
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().take(8).position(|byte| *byte == b' ')?;
        let (digits, _) = data.split_at_checked(space)?;
        let length = decimal(digits)?;
        let (whole, rest) = data.split_at_checked(usize::try_from(length).ok()?)?;
        let pair = whole.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (key, value) = pair.split_at_checked(equals)?;
        records.push((key, value.get(1..)?));
        data = rest;
    }
    Some(records)
}

/// An unsigned decimal number, digits only.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A numeric header field: octal text, or GNU's base-256 (first bit set; two's complement).
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let start: i128 =
            if first & 0x40 != 0 { i128::from(*first) - 0x100 } else { i128::from(first & 0x7f) };
        let value = rest.iter().try_fold(start, |value, byte| {
            value.checked_mul(256).map(|shifted| shifted + i128::from(*byte))
        })?;
        return i64::try_from(value).ok();
    }
    let text = field.split(|byte| *byte == 0).next()?.trim_ascii();
    if !text.iter().all(|byte| (b'0'..=b'7').contains(byte)) {
        return None;
    }
    text.iter().try_fold(0_i64, |value, digit| value.checked_mul(8)?.checked_add(i64::from(digit - b'0')))
}

/// Whether the block's checksum is right, counted with unsigned or, as some old tars did, signed
/// bytes.
pub(crate) fn checksum_holds(block: &[u8; BLOCK]) -> bool {
    let Some(stored) = block.get(148..156).and_then(number) else { return false };
    let bytes =
        || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = bytes().map(i64::from).sum();
    let signed: i64 = bytes().map(|byte| i64::from(byte as i8)).sum();
    stored == unsigned || stored == signed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn times_before_1970_count_away_from_zero() {
        for (seconds, nanos, text) in [
            (0, 0, "0"),
            (1, 500_000_000, "1.5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 500_000_000, "-1.5"),
            (-2, 0, "-2"),
            (1_700_000_000, 1, "1700000000.000000001"),
        ] {
            let time = Time { seconds, nanos };
            assert_eq!(time_text(time), text);
            assert_eq!(parse_time(text.as_bytes()), Some(time));
        }
        assert_eq!(parse_time(b"-0.0000000001"), Some(Time { seconds: -1, nanos: 999_999_999 }));
        for bad in [&b""[..], b".5", b"-", b"1e3", b"+1", b"1.-2", b"99999999999999999999"] {
            assert_eq!(parse_time(bad), None);
        }
    }

    #[test]
    fn numbers_in_each_form() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(8 << 30));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"), Some(-2));
        assert_eq!(number(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"), None);
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"-0000644"), None);
    }

    #[test]
    fn a_record_counts_its_own_length() {
        for value in [0, 1, 80, 88, 89, 90, 91, 980, 985, 990, 1000] {
            let mut out = Vec::new();
            record(&mut out, "path", &vec![b'\n'; value]);
            assert_eq!(parse_records(&out), Some(vec![(&b"path"[..], &vec![b'\n'; value][..])]));
        }
        for bad in
            [&b"5 a=b"[..], b"7 a=b\n", b"6 a-b\n", b"x a=b\n", b"6 a=b\n6", b"0 a=b\n", b"99999999999 a=b\n"]
        {
            assert_eq!(parse_records(bad), None);
        }
    }

    #[test]
    fn keys_of_attributes_are_escaped_as_gnu_tar_does() {
        for (key, written) in [
            (&b"xattr.user.a"[..], &b"SCHILY.xattr.user.a"[..]),
            (b"xattr.user.a=%b", b"SCHILY.xattr.user.a%3D%25b"),
        ] {
            assert_eq!(attribute_key(key), written);
            assert_eq!(parse_attribute_key(&written[7..]), key);
        }
        assert_eq!(parse_attribute_key(b"%3d%2"), b"%3d%2");
    }

    proptest! {
        #[test]
        fn any_time_survives(seconds in -(1_i64 << 40)..(1 << 40), nanos in 0_u32..1_000_000_000) {
            let time = Time { seconds, nanos };
            prop_assert_eq!(parse_time(time_text(time).as_bytes()), Some(time));
        }

        #[test]
        fn foreign_fields_never_panic(field in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = number(&field);
            let _ = parse_time(&field);
            let _ = parse_records(&field);
        }
    }
}
