//! Members of a tar, found in a stream. Memory is bounded whatever the stream claims: extension
//! records are read up to a limit, contents only as far as the caller asks.

use std::io::{self, BufRead};

use super::header::{
    Member, checksum_holds, decimal, number, parse_attribute_key, parse_records, parse_time,
};
use super::sparse::{self, Builder, Lines, Map, Records, Told};
use super::{BLOCK, padding};
use crate::entry::{Kind, Time};
use crate::error::{Error, Unsafe};

/// Longest path or link target, in bytes.
pub(crate) const LONGEST_PATH: usize = 64 * 1024;
/// Most bytes of extension records before one member.
const LONGEST_RECORDS: u64 = 1024 * 1024;

/// Reads members one after another; between two calls of [`next`](Self::next) the contents of the
/// member can be taken with [`piece`](Self::piece), or what is stored of them with
/// [`chunk`](Self::chunk).
pub(crate) struct Reader<R> {
    input: R,
    position: u64,
    /// Contents of the current member not yet read.
    left: u64,
    /// Zeros after the contents.
    padding: u64,
    /// The current member's map and size, if it has holes, and how far its pieces were taken.
    sparse: Option<(Map, u64)>,
    span: usize,
    at: u64,
}

/// Contents of a member, in order.
pub(crate) enum Piece<'a> {
    Data(&'a [u8]),
    /// So many bytes that are zeros and were not stored.
    Hole(u64),
}

/// A member and where its first header block begins.
pub(crate) struct Found {
    pub(crate) member: Member,
    pub(crate) offset: u64,
}

/// What extension headers said about the member that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<Time>,
    uid: Option<u32>,
    gid: Option<u32>,
    uname: Option<Vec<u8>>,
    gname: Option<Vec<u8>>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Records,
    bytes: u64,
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R) -> Self {
        Self::at(input, 0)
    }

    /// Begins at a member's first header block, which is at byte `position` of the tar.
    pub(crate) fn at(input: R, position: u64) -> Self {
        Self { input, position, left: 0, padding: 0, sparse: None, span: 0, at: 0 }
    }

    /// The next member, or `None` after the end mark, when the rest of the stream has been read
    /// and found to be zeros.
    pub(crate) fn next(&mut self) -> Result<Option<Found>, Error> {
        self.skip(self.left)?;
        self.left = 0;
        self.skip(self.padding)?;
        self.padding = 0;
        let offset = self.position;
        let mut extended = Extended::default();
        loop {
            let at = self.position;
            let Some(block) = self.block()? else {
                return Err(self.malformed("it ends without its end mark"));
            };
            if block.iter().all(|byte| *byte == 0) {
                if at != offset {
                    return Err(self.malformed("an extension header without a member"));
                }
                return self.end().map(|()| None);
            }
            if !checksum_holds(&block) {
                return Err(Error::Tar { offset: at, reason: "a header's checksum is wrong" });
            }
            let header = Header { block: &block, at };
            match header.flag() {
                b'x' | b'X' => self.pax(&header, &mut extended, false)?,
                b'g' => self.pax(&header, &mut extended, true)?,
                b'L' => extended.path = Some(self.long(&header, &mut extended.bytes)?),
                b'K' => extended.link = Some(self.long(&header, &mut extended.bytes)?),
                _ => {
                    let told = std::mem::take(&mut extended.sparse);
                    extended.path = told.name.clone().or(extended.path);
                    let mut member = header.member(extended)?;
                    self.left = member.size;
                    self.padding = padding(member.size) as u64;
                    self.holes(&header, &mut member, told)?;
                    return Ok(Some(Found { member, offset }));
                }
            }
        }
    }

    /// Finds the map of a file with holes, in records, in the header or before its data.
    fn holes(&mut self, header: &Header<'_>, member: &mut Member, records: Records) -> Result<(), Error> {
        let refused =
            |member: &Member| Error::UnsafeEntry { entry: member.path.clone(), reason: Unsafe::Holes };
        (self.span, self.at, self.sparse) = (0, 0, None);
        let told = match (member.kind, member.flag) {
            (Kind::File, b'S') => {
                self.old_map(header).map_err(|error| error.unwrap_or_else(|| refused(member)))?
            }
            (Kind::File, _) => records.told().ok_or_else(|| refused(member))?,
            _ => Told::Plain,
        };
        let (builder, size) = match told {
            Told::Plain => return Ok(()),
            Told::Here(builder, size) => (builder, size),
            Told::InData(size) => {
                let mut lines = Lines::default();
                loop {
                    // The map is part of what the header counts as stored.
                    let block = match self.left.checked_sub(BLOCK as u64) {
                        Some(left) => (self.left = left, self.block()?).1,
                        None => return Err(refused(member)),
                    };
                    let block = block.ok_or_else(|| self.malformed("it ends inside a member"))?;
                    if lines.block(&block).ok_or_else(|| refused(member))? {
                        break (lines.builder(), size);
                    }
                }
            }
        };
        let size = Some(size).filter(|size| *size <= i64::MAX as u64).ok_or_else(|| refused(member))?;
        let map = builder.finish(size, self.left).ok_or_else(|| refused(member))?;
        member.size = size;
        self.sparse = Some((map.clone(), size));
        member.sparse = Some(map);
        Ok(())
    }

    /// The map of GNU's oldest form, in the header and the blocks after it. The error is `None` if it
    /// is no map.
    fn old_map(&mut self, header: &Header<'_>) -> Result<Told, Option<Error>> {
        let mut builder = Builder::default();
        sparse::old_fields(header.field(386..482), &mut builder).ok_or(None)?;
        let size = header.unsigned(483..495)?;
        let mut more = header.field(482..483) != [0];
        while more {
            let block = self.block()?.ok_or_else(|| self.malformed("it ends inside a member"))?;
            let (fields, rest) = block.split_at_checked(21 * 24).ok_or(None)?;
            sparse::old_fields(fields, &mut builder).ok_or(None)?;
            more = rest.first() != Some(&0);
        }
        Ok(Told::Here(builder, size))
    }

    /// Hands the next piece of the current member's contents to `take`; false at their end.
    pub(crate) fn piece(&mut self, take: impl FnOnce(Piece<'_>) -> Result<(), Error>) -> Result<bool, Error> {
        let Some((map, size)) = &self.sparse else {
            return self.chunk(|bytes| take(Piece::Data(bytes)));
        };
        let (at, span) = (self.at, map.get(self.span).copied());
        let hole = span.map_or(*size, |span| span.offset).saturating_sub(at);
        if hole > 0 {
            self.at += hole;
            return take(Piece::Hole(hole)).map(|()| true);
        }
        let Some(span) = span else { return Ok(false) };
        let end = span.offset + span.length;
        let most = usize::try_from(end - at).unwrap_or(usize::MAX);
        let count = self.pass(most, |bytes| take(Piece::Data(bytes)))?;
        if count == 0 {
            return Err(self.malformed("it ends inside a member"));
        }
        self.left = self.left.saturating_sub(count as u64);
        self.at += count as u64;
        self.span += usize::from(self.at == end);
        Ok(true)
    }

    /// Hands the next piece of what is stored of the current member to `take`; false at its end.
    pub(crate) fn chunk(&mut self, take: impl FnOnce(&[u8]) -> Result<(), Error>) -> Result<bool, Error> {
        if self.left == 0 {
            return Ok(false);
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let count = self.pass(most, take)?;
        if count == 0 {
            return Err(self.malformed("it ends inside a member"));
        }
        self.left -= count as u64;
        Ok(true)
    }

    /// Hands what the input has at hand, at most `most` bytes, to `take`; 0 at the end of input.
    fn pass(&mut self, most: usize, take: impl FnOnce(&[u8]) -> Result<(), Error>) -> Result<usize, Error> {
        let available = loop {
            match self.input.fill_buf() {
                Ok(available) => break available.len(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io("", error)),
            }
        };
        let count = available.min(most);
        let buffered = self.input.fill_buf().map_err(|error| Error::io("", error))?;
        take(buffered.get(..count).unwrap_or_default())?;
        self.input.consume(count);
        self.position += count as u64;
        Ok(count)
    }

    fn malformed(&self, reason: &'static str) -> Error {
        Error::Tar { offset: self.position, reason }
    }

    /// One whole block, or `None` at the end of the stream.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, Error> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let count = self.pass(rest.len(), |bytes| {
                if let Some(begin) = rest.get_mut(..bytes.len()) {
                    begin.copy_from_slice(bytes);
                }
                Ok(())
            })?;
            match count {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.malformed("it ends inside a block")),
                count => filled += count,
            }
        }
        Ok(Some(block))
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            match self.pass(usize::try_from(count).unwrap_or(usize::MAX), |_| Ok(()))? {
                0 => return Err(self.malformed("it ends inside a member")),
                passed => count -= passed as u64,
            }
        }
        Ok(())
    }

    /// After the first zero block: the second one, and nothing but zeros to the end.
    fn end(&mut self) -> Result<(), Error> {
        match self.block()? {
            Some(block) if block.iter().all(|byte| *byte == 0) => {}
            _ => return Err(self.malformed("its end mark is not whole")),
        }
        let mut zeros = true;
        while self.pass(usize::MAX, |rest| {
            zeros = rest.iter().all(|byte| *byte == 0);
            Ok(())
        })? > 0
        {
            if !zeros {
                return Err(self.malformed("there is something after its end mark"));
            }
        }
        Ok(())
    }

    /// The data of an extension header, bounded.
    fn extension(&mut self, header: &Header<'_>, most: u64, spent: &mut u64) -> Result<Vec<u8>, Error> {
        let size = header.unsigned(124..136)?;
        *spent = spent.saturating_add(size);
        if size > most || *spent > LONGEST_RECORDS {
            return Err(header.malformed("an extension header is too long"));
        }
        let mut data = Vec::with_capacity(size as usize);
        self.left = size;
        while self.chunk(|bytes| {
            data.extend_from_slice(bytes);
            Ok(())
        })? {}
        self.skip(padding(size) as u64)?;
        Ok(data)
    }

    /// GNU's long name: the data up to the first zero byte.
    fn long(&mut self, header: &Header<'_>, spent: &mut u64) -> Result<Vec<u8>, Error> {
        let mut data = self.extension(header, LONGEST_PATH as u64 + 1, spent)?;
        if let Some(end) = data.iter().position(|byte| *byte == 0) {
            data.truncate(end);
        }
        Ok(data)
    }

    fn pax(&mut self, header: &Header<'_>, extended: &mut Extended, global: bool) -> Result<(), Error> {
        let data = self.extension(header, LONGEST_RECORDS, &mut extended.bytes)?;
        let malformed = || header.malformed("a pax record is malformed");
        for (key, value) in parse_records(&data).ok_or_else(malformed)? {
            let known = matches!(key, b"path" | b"linkpath" | b"size" | b"mtime" | b"uid" | b"gid");
            if global {
                // A global record would be the default of every later member. git writes a comment
                // there; one that changes names or sizes is not worth its risk.
                if known || key.starts_with(b"GNU.sparse.") {
                    return Err(header.malformed("a global pax record changes names, sizes or times"));
                }
                continue;
            }
            match key {
                b"path" => extended.path = Some(value.to_vec()),
                b"linkpath" => extended.link = Some(value.to_vec()),
                b"size" => extended.size = Some(decimal(value).ok_or_else(malformed)?),
                b"mtime" => extended.mtime = Some(parse_time(value).ok_or_else(malformed)?),
                b"uid" => extended.uid = Some(id(value).ok_or_else(malformed)?),
                b"gid" => extended.gid = Some(id(value).ok_or_else(malformed)?),
                b"uname" => extended.uname = Some(value.to_vec()),
                b"gname" => extended.gname = Some(value.to_vec()),
                _ => {
                    if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                        extended.sparse.take(key, value).ok_or_else(malformed)?;
                    } else if let Some(key) = key.strip_prefix(b"SCHILY.")
                        && (key.starts_with(b"xattr.") || key.starts_with(b"acl."))
                    {
                        extended.attributes.push((parse_attribute_key(key), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }
}

fn id(value: &[u8]) -> Option<u32> {
    u32::try_from(decimal(value)?).ok()
}

/// A header block whose checksum holds.
struct Header<'a> {
    block: &'a [u8; BLOCK],
    at: u64,
}

impl Header<'_> {
    fn malformed(&self, reason: &'static str) -> Error {
        Error::Tar { offset: self.at, reason }
    }

    fn field(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.block.get(range).unwrap_or_default()
    }

    fn text(&self, range: std::ops::Range<usize>) -> &[u8] {
        self.field(range).split(|byte| *byte == 0).next().unwrap_or_default()
    }

    fn flag(&self) -> u8 {
        self.block.get(156).copied().unwrap_or_default()
    }

    fn signed(&self, range: std::ops::Range<usize>) -> Result<i64, Error> {
        number(self.field(range)).ok_or_else(|| self.malformed("a number in a header is malformed"))
    }

    fn unsigned(&self, range: std::ops::Range<usize>) -> Result<u64, Error> {
        let value = self.signed(range)?;
        u64::try_from(value).map_err(|_| self.malformed("a number in a header is negative"))
    }

    /// The path in the old fields; POSIX archives may put its beginning in a prefix field.
    fn path(&self) -> Vec<u8> {
        let name = self.text(0..100);
        let prefix = self.text(345..500);
        if self.field(257..263) == b"ustar\0" && !prefix.is_empty() {
            [prefix, b"/", name].concat()
        } else {
            name.to_vec()
        }
    }

    fn member(&self, extended: Extended) -> Result<Member, Error> {
        let mut path = extended.path.unwrap_or_else(|| self.path());
        let link = extended.link.unwrap_or_else(|| self.text(157..257).to_vec());
        if path.len() > LONGEST_PATH || link.len() > LONGEST_PATH {
            return Err(self.malformed("a path is too long"));
        }
        let flag = self.flag();
        let slash = path.ends_with(b"/");
        let kind = match flag {
            // Before POSIX, a folder was a file whose name ends in a slash.
            b'0' | 0 if slash => Kind::Folder,
            b'0' | 0 | b'7' | b'S' => Kind::File,
            b'1' => Kind::Hardlink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Folder,
            _ => Kind::Special,
        };
        while path.len() > 1 && path.ends_with(b"/") {
            path.pop();
        }
        let size = match extended.size {
            Some(size) => size,
            None => self.unsigned(124..136)?,
        };
        if size > i64::MAX as u64 {
            return Err(self.malformed("a size is too large"));
        }
        // Devices and fifos have no contents, whatever their size field says.
        let size = if matches!(flag, b'3' | b'4' | b'6') { 0 } else { size };
        if size != 0 && matches!(kind, Kind::Folder | Kind::Symlink | Kind::Hardlink) {
            return Err(self.malformed("a folder or link has contents"));
        }
        let id = |given: Option<u32>, range| match given {
            Some(id) => Ok(id),
            None => u32::try_from(self.unsigned(range)?)
                .map_err(|_| self.malformed("an owner's number is too large")),
        };
        Ok(Member {
            kind,
            flag,
            size,
            mode: (self.unsigned(100..108)? & 0o7777) as u32,
            uid: id(extended.uid, 108..116)?,
            gid: id(extended.gid, 116..124)?,
            uname: extended.uname.unwrap_or_else(|| self.text(265..297).to_vec()),
            gname: extended.gname.unwrap_or_else(|| self.text(297..329).to_vec()),
            mtime: match extended.mtime {
                Some(time) => time,
                None => Time { seconds: self.signed(136..148)?, nanos: 0 },
            },
            link: if matches!(kind, Kind::Symlink | Kind::Hardlink) { link } else { Vec::new() },
            sparse: None,
            attributes: extended.attributes,
            path,
        })
    }
}

/// Whether a stream that begins with this block can be a tar.
pub(crate) fn looks_like_tar(block: &[u8; BLOCK]) -> bool {
    checksum_holds(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::header::encode;
    use proptest::prelude::*;

    fn member() -> impl Strategy<Value = Member> {
        let kind =
            prop_oneof![Just(Kind::File), Just(Kind::Folder), Just(Kind::Symlink), Just(Kind::Hardlink)];
        let path = proptest::collection::vec(1_u8..=255, 1..300).prop_map(|path| {
            path.into_iter().map(|byte| if byte == b'/' { b'_' } else { byte }).collect::<Vec<u8>>()
        });
        let time = (-(1_i64 << 35)..(1 << 35), 0_u32..1_000_000_000);
        (kind, path.clone(), path, any::<u64>(), 0_u32..0o10000, any::<u32>(), any::<u32>(), time).prop_map(
            |(kind, path, link, size, mode, uid, gid, (seconds, nanos))| Member {
                size: if kind == Kind::File { size >> 20 } else { 0 },
                mode,
                uid,
                gid,
                mtime: Time { seconds, nanos },
                link: if matches!(kind, Kind::Symlink | Kind::Hardlink) { link } else { Vec::new() },
                ..Member::new(path, kind)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_read(member in member()) {
            let mut stream = Vec::new();
            encode(&member, &mut stream);
            prop_assert_eq!(stream.len() % BLOCK, 0);
            let found = Reader::new(stream.as_slice()).next().unwrap().unwrap();
            prop_assert_eq!(found.offset, 0);
            prop_assert_eq!(&found.member, &member);
        }

        #[test]
        fn foreign_bytes_never_panic(mut stream in proptest::collection::vec(any::<u8>(), 0..2048), flag in any::<u8>()) {
            if let Some(block) = stream.first_chunk_mut::<BLOCK>() {
                block[156] = flag;
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            let mut reader = Reader::new(stream.as_slice());
            while let Ok(Some(_)) = reader.next() {}
        }
    }

    #[test]
    fn a_claim_of_a_huge_extension_allocates_nothing() {
        for flag in [b'x', b'L', b'K', b'g'] {
            let mut stream = Vec::new();
            let mut giant = Member { flag, size: 1 << 60, ..Member::new(b"a".to_vec(), Kind::File) };
            encode(&giant, &mut stream);
            // `encode` adds a pax record for the size; the header itself is the last block.
            let header = stream.split_off(stream.len() - BLOCK);
            assert!(matches!(Reader::new(header.as_slice()).next(), Err(Error::Tar { offset: 0, .. })));
            giant.size = LONGEST_RECORDS + 1;
            let mut header = Vec::new();
            encode(&giant, &mut header);
            assert!(matches!(Reader::new(header.as_slice()).next(), Err(Error::Tar { offset: 0, .. })));
        }
    }

    #[test]
    fn gnu_tar_reads_a_size_of_more_than_eight_gib() {
        let mut stream = Vec::new();
        encode(&Member { size: 9 << 30, ..Member::new(b"big".to_vec(), Kind::File) }, &mut stream);
        let temp = tempfile::tempdir().unwrap();
        std::fs::write(temp.path().join("t.tar"), stream).unwrap();
        let listed = std::process::Command::new("tar")
            .args(["tvf", "t.tar"])
            .current_dir(temp.path())
            .output()
            .unwrap();
        let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
        assert!(listed.contains(" 9663676416 ") && listed.trim_end().ends_with(" big"), "{listed}");
    }

    #[test]
    fn an_end_mark_is_two_blocks_and_then_zeros() {
        let read = |stream: &[u8]| Reader::new(stream).next().map(|found| found.is_none());
        assert!(read(&[0; 1024]).unwrap());
        assert!(read(&[0; 10240]).unwrap());
        assert!(read(&[0; 1025]).unwrap());
        assert!(read(&[0; 512]).is_err());
        assert!(read(&[]).is_err());
        assert!(read(&[0; 700]).is_err());
        assert!(read(&[&[0; 1024][..], b"x"].concat()).is_err());
    }
}
