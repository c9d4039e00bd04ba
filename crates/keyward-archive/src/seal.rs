//! Trees and streams to sealed archives.
//!
//! ```text
//! walk ─> tar ─> blocks of 1 MiB ─> zstd on each core ─> age on each core ─> temporary file
//!           └─> index records ──────────── after the last frame ─┘   then its final name
//! ```
//!
//! Sealing needs public keys only. A tree may change while it is read: what was seen is reported,
//! never hidden. Memory does not grow with the tree, but for its index (about 20 bytes an entry)
//! and its hard links.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use keyward_age::{FillError, Header, NONCE_LEN, Recipient, SealWriter};
use rustix::fs::{FileType, Stat, fstat};
use sha2::{Digest, Sha256};

use crate::ahead::Ahead;
use crate::attributes::Attributes;
use crate::digest::Digesting;
use crate::entry::{Entry, Kind, Time};
use crate::error::Error;
use crate::extract::leads_out;
use crate::filter::Filter;
use crate::frames::write::{Blocks, compress};
use crate::holes;
use crate::index::Recorder;
use crate::owners::Owners;
use crate::place::{Overwrite, Pending, Place};
use crate::progress::Progress;
use crate::tar::header::{Member, encode};
use crate::tar::sparse::{self, Span};
use crate::tar::{BLOCK, padding};
use crate::walk::{Met, Source, count, walk};

/// How to seal.
#[derive(Debug, Clone)]
pub struct SealOptions {
    /// Threads that compress, and as many that encrypt. At most 8 of each are used.
    pub threads: usize,
    /// zstd's level.
    pub level: i32,
    /// Whether the archive may replace an existing file.
    pub overwrite: Overwrite,
    /// What of the sources is left out.
    pub filter: Filter,
    /// Which extended attributes are sealed.
    pub attributes: Attributes,
    /// Pads a tree, so that the archive's size tells little more than its magnitude (Padmé: at most
    /// 12 % larger). A single file or stream is refused.
    pub pad: bool,
}

impl Default for SealOptions {
    /// All cores, level 3, nothing overwritten, nothing left out, no attributes, no padding.
    fn default() -> Self {
        let threads = thread::available_parallelism().map_or(1, usize::from);
        Self {
            threads,
            level: 3,
            overwrite: Overwrite::Refuse,
            filter: Filter::default(),
            attributes: Attributes::None,
            pad: false,
        }
    }
}

/// What was sealed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SealReport {
    /// Entries of the tree; 0 if a single file or stream was sealed as it is.
    pub entries: u64,
    /// Bytes of file contents, holes included, or of the stream.
    pub bytes: u64,
    /// Names that the filter left out; a folder with all below it counts as one.
    pub excluded: u64,
    /// Size of the archive, in bytes.
    pub sealed: u64,
    /// SHA-256 of the age header's bytes and the payload's nonce (16 bytes) after it.
    pub header: [u8; 32],
    /// BLAKE3 of the whole archive.
    pub blake3: [u8; 32],
    /// What somebody should know of, in the order of the walk; at most 1,000 are kept.
    pub notices: Vec<Notice>,
    /// Notices that were not kept.
    pub more_notices: u64,
}

/// One thing that is not in the archive as somebody may expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Path in the archive.
    pub path: Vec<u8>,
    /// What is the matter.
    pub what: Noticed,
}

/// What a [`Notice`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Noticed {
    /// The file was written to while it was read; its contents may be of no single moment.
    Changed,
    /// The file became shorter while it was read; the rest is zeros.
    Shrunk,
    /// Gone or replaced before it was read; not in the archive.
    Gone,
    /// A fifo, socket or device; not in the archive.
    Special(&'static str),
    /// A symbolic link whose target lies outside the tree. It is stored; opening refuses it unless
    /// told to keep such links.
    LinkOut,
    /// The folder is on another file system than its source; what is in it is not in the archive.
    Elsewhere,
    /// A line of this ignore file is no pattern, or the file cannot be read.
    IgnoreFile,
    /// Some of its extended attributes are not in the archive: they are more than a tar header holds.
    Attributes,
}

/// Notices kept in a report.
const MOST_NOTICES: usize = 1000;

/// An archive that is complete but has no name yet. Dropped, it is gone.
///
/// What speaks of the archive, as a receipt does, can be written from [`report`](Self::report)
/// before the archive appears.
pub struct Prepared {
    pending: Pending,
    report: SealReport,
}

impl Prepared {
    fn new(pending: Pending, report: SealReport) -> Result<Self, Error> {
        pending.sealed(report.blake3)?;
        Ok(Self { pending, report })
    }

    /// What was sealed.
    pub fn report(&self) -> &SealReport {
        &self.report
    }

    /// Leaves an archive that is in a spool ([`Place::spooled`]) there, to be finished by another
    /// run; any other is gone.
    pub fn leave(self) {
        self.pending.leave();
    }

    /// Makes the archive durable and gives it its name.
    ///
    /// # Errors
    /// [`Error::Exists`] if the name was taken meanwhile; [`Error::Io`]. After any of them there is
    /// no new file.
    pub fn publish(self) -> Result<SealReport, Error> {
        self.pending.publish()?;
        Ok(self.report)
    }
}

/// Seals folders and files into the new file `destination`. A single file is sealed as it is;
/// anything else becomes a tar in zstd frames with an index, each source under its own name.
///
/// # Errors
/// [`Error::Exists`] if the destination is taken; [`Error::Missing`], [`Error::NoName`],
/// [`Error::SourceKind`], [`Error::SameName`], [`Error::NoSource`] for sources;
/// [`Error::NotPadded`] for a single file that was to be padded; [`Error::Age`] for
/// recipients; [`Error::Io`] naming the file in use. After any of them there is no new file.
pub fn seal_tree(
    sources: &[PathBuf],
    recipients: &[Recipient],
    destination: impl Into<Place>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<SealReport, Error> {
    prepare_tree(sources, recipients, destination, options, progress)?.publish()
}

/// Seals like [`seal_tree`], up to the point where the archive would get its name.
///
/// # Errors
/// As [`seal_tree`].
pub fn prepare_tree(
    sources: &[PathBuf],
    recipients: &[Recipient],
    destination: impl Into<Place>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<Prepared, Error> {
    let sources = resolve(sources)?;
    let mut pending = Pending::create(&destination.into(), options.overwrite)?;
    let out = pending.writer()?;
    let own = pending.identity()?;
    let (_, report) = seal_sources(&sources, recipients, out, own, options, progress)?;
    Prepared::new(pending, report)
}

/// Seals folders and files like [`seal_tree`], into a writer that the caller owns.
///
/// # Errors
/// As [`seal_tree`]; what was written until then is no archive.
pub fn seal_tree_to<W: Write + Send>(
    sources: &[PathBuf],
    recipients: &[Recipient],
    out: W,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<(W, SealReport), Error> {
    seal_sources(&resolve(sources)?, recipients, out, None, options, progress)
}

/// Seals a stream as it is into the new file `destination`.
///
/// # Errors
/// [`Error::Exists`] if the destination is taken; [`Error::Age`] for recipients; [`Error::Io`].
pub fn seal_stream(
    input: &mut dyn Read,
    recipients: &[Recipient],
    destination: impl Into<Place>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<SealReport, Error> {
    prepare_stream(input, recipients, destination, options, progress)?.publish()
}

/// Seals like [`seal_stream`], up to the point where the archive would get its name.
///
/// # Errors
/// As [`seal_stream`].
pub fn prepare_stream(
    input: &mut dyn Read,
    recipients: &[Recipient],
    destination: impl Into<Place>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<Prepared, Error> {
    let mut pending = Pending::create(&destination.into(), options.overwrite)?;
    let out = pending.writer()?;
    let (_, report) = seal_stream_to(input, recipients, out, options, progress)?;
    Prepared::new(pending, report)
}

/// Seals a stream as it is into a writer that the caller owns.
///
/// # Errors
/// [`Error::Age`] for recipients; [`Error::Io`].
pub fn seal_stream_to<W: Write + Send>(
    input: &mut dyn Read,
    recipients: &[Recipient],
    out: W,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<(W, SealReport), Error> {
    seal_plain(input, Path::new(""), recipients, out, options, progress)
}

fn resolve(sources: &[PathBuf]) -> Result<Vec<Source>, Error> {
    let mut resolved: Vec<Source> = Vec::new();
    for given in sources {
        let source = Source::new(given)?;
        if resolved.iter().any(|other| other.name == source.name) {
            return Err(Error::SameName { name: source.name });
        }
        resolved.push(source);
    }
    if resolved.is_empty() { Err(Error::NoSource) } else { Ok(resolved) }
}

fn sealing<W: Write + Send>(
    recipients: &[Recipient],
    out: W,
    options: &SealOptions,
) -> Result<SealWriter<Digesting<W>>, Error> {
    let threads = options.threads.clamp(1, 8);
    SealWriter::new(recipients, Digesting::new(out), keyward_age::SealOptions { threads })
        .map_err(|error| Error::io("", io::Error::from(error)))
}

/// Ends the sealing, and adds to the report what is known then.
fn sealed<W: Write + Send>(
    writer: SealWriter<Digesting<W>>,
    report: SealReport,
) -> Result<(W, SealReport), Error> {
    let header = header_digest(writer.header(), writer.payload_nonce());
    let out = writer.finish().map_err(|error| Error::io("", io::Error::from(error)))?;
    let (out, sealed, blake3) = out.finish();
    Ok((out, SealReport { sealed, header, blake3, ..report }))
}

/// What tells one archive's beginning from every other's.
pub(crate) fn header_digest(header: &Header, nonce: &[u8; NONCE_LEN]) -> [u8; 32] {
    Sha256::new().chain_update(header.as_bytes()).chain_update(nonce).finalize().into()
}

fn seal_sources<W: Write + Send>(
    sources: &[Source],
    recipients: &[Recipient],
    out: W,
    own: Option<(u64, u64)>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<(W, SealReport), Error> {
    if let [single] = sources
        && !single.folder
    {
        let mut file = File::open(&single.given).map_err(|error| Error::io(&single.given, error))?;
        let before = fstat(&file).map_err(|error| Error::io(&single.given, error))?;
        progress.found(0, before.st_size as u64);
        let (out, mut report) = seal_plain(&mut file, &single.given, recipients, out, options, progress)?;
        let after = fstat(&file).map_err(|error| Error::io(&single.given, error))?;
        if changed(&before, &after) {
            report.notice(&single.name, Noticed::Changed);
        }
        return Ok((out, report));
    }
    let writer = sealing(recipients, out, options)?;
    let header = options.pad.then(|| (writer.header().as_bytes().len() + NONCE_LEN) as u64);
    let end = AtomicBool::new(false);
    let (writer, report) = thread::scope(|scope| {
        if progress.wants_total() {
            scope.spawn(|| count(sources, &options.filter, progress, &end));
        }
        let written = write_tree(sources, writer, own, header, options, progress);
        end.store(true, Ordering::Relaxed);
        written
    })?;
    sealed(writer, report)
}

fn seal_plain<W: Write + Send>(
    input: &mut dyn Read,
    path: &Path,
    recipients: &[Recipient],
    out: W,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<(W, SealReport), Error> {
    if options.pad {
        return Err(Error::NotPadded);
    }
    let mut writer = sealing(recipients, out, options)?;
    let mut bytes = 0;
    loop {
        if progress.stopped() {
            return Err(Error::Interrupted);
        }
        let count = writer.fill_from(input).map_err(|error| match error {
            FillError::Input(error) => Error::io(path, error),
            FillError::Output(error) => Error::io("", error),
        })?;
        if count == 0 {
            break;
        }
        bytes += count as u64;
        progress.done(0, count as u64);
    }
    sealed(writer, SealReport { bytes, ..SealReport::default() })
}

/// Writes the sources as tar in frames with index and seek table; with `padded`, also with padding to
/// a size that counts so many bytes before the payload.
pub(crate) fn write_tree<W: Write + Send>(
    sources: &[Source],
    out: W,
    own: Option<(u64, u64)>,
    padded: Option<u64>,
    options: &SealOptions,
    progress: &dyn Progress,
) -> Result<(W, SealReport), Error> {
    let (framed, (report, index)) = compress(out, options.threads, options.level, progress, |blocks| {
        let recorder = Recorder::compressing(options.level).map_err(|error| Error::io("", error))?;
        let ahead = Ahead::default();
        let mut tree = Tree {
            ahead: &ahead,
            blocks,
            recorder,
            links: HashMap::new(),
            headers: Vec::new(),
            owners: Owners::default(),
            attributes: options.attributes,
            own,
            report: SealReport::default(),
            progress,
        };
        for source in sources {
            walk(source, &options.filter, &ahead, &mut |path, met| tree.met(source, path, met))?;
        }
        tree.blocks.put_zeros(2 * BLOCK as u64)?;
        Ok((tree.report, tree.recorder.finish()?))
    })?;
    let out = framed.finish(&index, padded).map_err(|error| Error::io("", error))?;
    Ok((out, report))
}

/// A tree on its way into the tar.
struct Tree<'a, 'b> {
    ahead: &'a Ahead,
    blocks: &'a mut Blocks<'b>,
    recorder: Recorder<zstd::stream::write::Encoder<'static, Vec<u8>>>,
    /// First path of a file with several names, by device and inode, and how many more names there
    /// can be.
    links: HashMap<(u64, u64), (Vec<u8>, u64)>,
    headers: Vec<u8>,
    owners: Owners,
    attributes: Attributes,
    /// The archive itself, which may lie in the tree.
    own: Option<(u64, u64)>,
    report: SealReport,
    progress: &'a dyn Progress,
}

impl Tree<'_, '_> {
    fn met(&mut self, source: &Source, path: &[u8], met: Met<'_>) -> Result<(), Error> {
        match met {
            Met::Folder(stat, folder) => {
                let mut member = self.member(path, Kind::Folder, stat);
                self.attributes(source, &mut member, folder)?;
                self.put(member)
            }
            Met::File(stat, file) => self.file(source, path, stat, file),
            Met::Symlink(stat, target) => {
                if self.link_to_earlier(path, stat)? {
                    return Ok(());
                }
                if leads_out(path, &target) {
                    self.report.notice(path, Noticed::LinkOut);
                }
                let member = self.member(path, Kind::Symlink, stat);
                self.put(Member { link: target, ..member })
            }
            Met::Special(stat) => {
                let what = match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Fifo => "a fifo",
                    FileType::Socket => "a socket",
                    _ => "a device",
                };
                self.report.notice(path, Noticed::Special(what));
                Ok(())
            }
            Met::Gone => {
                self.report.notice(path, Noticed::Gone);
                Ok(())
            }
            Met::Elsewhere => {
                self.report.notice(path, Noticed::Elsewhere);
                Ok(())
            }
            Met::IgnoreFile => {
                self.report.notice(path, Noticed::IgnoreFile);
                Ok(())
            }
            Met::Excluded(names) => {
                self.report.excluded += names;
                Ok(())
            }
        }
    }

    fn file(&mut self, source: &Source, path: &[u8], stat: &Stat, file: &File) -> Result<(), Error> {
        if self.own == Some((stat.st_dev, stat.st_ino)) || self.link_to_earlier(path, stat)? {
            return Ok(());
        }
        let failed = |error: io::Error| Error::io(source.real(path), error);
        let mut member = self.member(path, Kind::File, stat);
        self.attributes(source, &mut member, file.as_fd())?;
        member.sparse = holes::map(file, stat).map_err(|errno| failed(errno.into()))?;
        let size = member.size;
        let whole = [Span { offset: 0, length: size }];
        let map = member.sparse.clone();
        let spans = map.as_deref().unwrap_or(&whole);
        let stored = sparse::data(spans);
        self.put(member)?;
        self.progress.done(0, size.saturating_sub(stored));
        let mut shrunk = false;
        for span in spans {
            let (mut at, end) = (span.offset, span.offset + span.length);
            while at < end && !shrunk {
                let space = self.blocks.space();
                let most = space.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
                let space = space.get_mut(..most).unwrap_or_default();
                let count = match self.ahead.watch(|count| *count, || file.read_at(space, at)) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    read => read.map_err(failed)?,
                };
                shrunk = count == 0;
                self.blocks.advance(count)?;
                self.progress.done(0, count as u64);
                at += count as u64;
            }
            self.blocks.put_zeros(end - at)?;
        }
        self.blocks.put_zeros(padding(stored) as u64)?;
        if shrunk {
            self.report.notice(path, Noticed::Shrunk);
        } else if changed(stat, &fstat(file).map_err(|errno| failed(errno.into()))?) {
            self.report.notice(path, Noticed::Changed);
        }
        Ok(())
    }

    fn member(&mut self, path: &[u8], kind: Kind, stat: &Stat) -> Member {
        Member {
            size: if kind == Kind::File { stat.st_size as u64 } else { 0 },
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            uname: self.owners.user(stat.st_uid).to_vec(),
            gname: self.owners.group(stat.st_gid).to_vec(),
            mtime: Time { seconds: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 },
            ..Member::new(path.to_vec(), kind)
        }
    }

    fn attributes(
        &mut self,
        source: &Source,
        member: &mut Member,
        file: BorrowedFd<'_>,
    ) -> Result<(), Error> {
        let read = self.attributes.read(file, &mut self.owners);
        let (attributes, left_out) = read.map_err(|errno| Error::io(source.real(&member.path), errno))?;
        if left_out {
            self.report.notice(&member.path, Noticed::Attributes);
        }
        member.attributes = attributes;
        Ok(())
    }

    /// Stores a further name of an inode that is in the archive already.
    fn link_to_earlier(&mut self, path: &[u8], stat: &Stat) -> Result<bool, Error> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        let Some((first, more)) = self.links.get_mut(&inode) else {
            self.links.insert(inode, (path.to_vec(), stat.st_nlink - 1));
            return Ok(false);
        };
        let link = first.clone();
        *more = more.saturating_sub(1);
        if *more == 0 {
            self.links.remove(&inode);
        }
        let member = self.member(path, Kind::Hardlink, stat);
        self.put(Member { link, ..member })?;
        Ok(true)
    }

    fn put(&mut self, member: Member) -> Result<(), Error> {
        let offset = self.blocks.position();
        self.headers.clear();
        encode(&member, &mut self.headers);
        self.blocks.put(&self.headers)?;
        let Member { path, kind, size, mode, mtime, link, .. } = member;
        let entry = Entry { path, kind, size, mode, mtime, link, offset };
        self.recorder.push(&entry).map_err(|error| Error::io("", error))?;
        self.report.entries += 1;
        self.report.bytes += size;
        self.progress.done(1, 0);
        Ok(())
    }
}

/// Whether a file was written to. The time of its last change of any kind tells of a writer who set
/// the time of modification back.
fn changed(before: &Stat, after: &Stat) -> bool {
    let seen =
        |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec, stat.st_ctime, stat.st_ctime_nsec);
    seen(before) != seen(after)
}

impl SealReport {
    fn notice(&mut self, path: &[u8], what: Noticed) {
        if self.notices.len() < MOST_NOTICES {
            self.notices.push(Notice { path: path.to_vec(), what });
        } else {
            self.more_notices += 1;
        }
    }
}
