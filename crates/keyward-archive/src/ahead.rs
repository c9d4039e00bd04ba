//! Reading ahead of a walk, where files come slowly: from a disk that has not been asked for them yet, or over a network.
//!
//! One thread reads a tree in order, and what it waits for is one file at a time. So when files turn out to be slow, scouts
//! open those that come next and tell the system that they will be read; folders are listed, no further. Nothing that scouts
//! see is used: the walk opens and reads everything itself, as if they were not there. Where files come at once, from
//! memory, no scout is started and no call is made.

use std::cell::{Cell, OnceCell};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::{Dir, FileType, Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// How far scouts are ahead of the walk, in names. What they have the system read stays bounded, too: it is in memory when
/// the walk comes by, and not gone again.
pub(crate) const WINDOW: usize = 128;
/// Names that wait for a scout at most. Each can hold a folder open.
const WAITING: usize = 32;

const SCOUTS: usize = 8;
/// Of a file, so much is asked for; the system itself reads ahead in what is longer.
const BEGINNING: u64 = 1 << 20;
/// Names of a folder that are listed at most.
const LISTED: usize = 4096;

/// Whether files come slowly, by those of late.
#[derive(Debug, Default)]
struct Pace(Cell<u32>);

impl Pace {
    const SLOW: u32 = 8;
    const WORTH_IT: u32 = 3 * Self::SLOW;
    /// So many fast files in a row end it, whatever was before.
    const MOST: u32 = 256;

    /// Takes the time that a look at a file took, and how many bytes it gave.
    fn saw(&self, took: Duration, bytes: usize) {
        // From memory, a look takes a few microseconds, and reading about 100 for a MiB.
        let fast = Duration::from_micros(50 + (bytes / 4096) as u64);
        let now = self.0.get();
        self.0.set(if took > fast { Self::MOST.min(now + Self::SLOW) } else { now.saturating_sub(1) });
    }

    fn is_slow(&self) -> bool {
        self.0.get() >= Self::WORTH_IT
    }
}

/// What comes next in a walk.
struct Next {
    folder: Arc<OwnedFd>,
    name: Vec<u8>,
    kind: FileType,
}

/// Scouts, once there is a reason for them.
#[derive(Default)]
pub(crate) struct Ahead {
    pace: Pace,
    scouts: OnceCell<Scouts>,
}

impl Ahead {
    /// Does something that has to wait for a file, and sees how long that takes. What comes out is told with the number of
    /// bytes that were read.
    pub(crate) fn watch<T, E>(
        &self,
        bytes: impl Fn(&T) -> usize,
        look: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let begin = Instant::now();
        let seen = look()?;
        self.pace.saw(begin.elapsed(), bytes(&seen));
        Ok(seen)
    }

    /// Whether reading ahead is worth anything now.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.pace.is_slow()
    }

    /// Has a scout look at what comes next; false if they have enough to do.
    pub(crate) fn send(&self, folder: &Arc<OwnedFd>, name: &[u8], kind: FileType) -> bool {
        let next = Next { folder: Arc::clone(folder), name: name.to_vec(), kind };
        self.scouts
            .get_or_init(Scouts::start)
            .names
            .as_ref()
            .is_some_and(|names| names.try_send(next).is_ok())
    }
}

#[cfg(test)]
impl Ahead {
    /// One for which files have been slow.
    pub(crate) fn slow() -> Self {
        let ahead = Self::default();
        ahead.pace.0.set(Pace::MOST);
        ahead
    }

    /// Whether scouts were ever sent out.
    pub(crate) fn has_scouts(&self) -> bool {
        self.scouts.get().is_some()
    }
}

struct Scouts {
    /// Dropped first, which ends the threads.
    names: Option<SyncSender<Next>>,
    threads: Vec<JoinHandle<()>>,
}

impl Scouts {
    /// Starts them; with fewer than there should be, or none, it is only slower.
    fn start() -> Self {
        let (names, inbox) = sync_channel(WAITING);
        let inbox = Arc::new(Mutex::new(inbox));
        let threads = (0..SCOUTS).filter_map(|number| {
            let inbox = Arc::clone(&inbox);
            let scout = std::thread::Builder::new().name(format!("keyward-ahead-{number}"));
            scout.spawn(move || look_at_all(&inbox)).ok()
        });
        let threads = threads.collect();
        Self { names: Some(names), threads }
    }
}

impl Drop for Scouts {
    /// Ends the threads. What they wait for is what the walk would have waited for.
    fn drop(&mut self) {
        self.names = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn look_at_all(inbox: &Mutex<Receiver<Next>>) {
    loop {
        let Ok(next) = inbox.lock().map(|inbox| inbox.recv()) else { return };
        let Ok(next) = next else { return };
        // Whatever is wrong with it, the walk will meet it and say so.
        let _ = look_at(&next);
    }
}

fn look_at(next: &Next) -> Result<(), Errno> {
    // As the walk opens it: no link is followed, and a fifo holds nobody.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    match next.kind {
        FileType::RegularFile => {
            let file = openat(&*next.folder, next.name.as_slice(), flags, Mode::empty())?;
            will_be_read(&File::from(file))
        }
        FileType::Directory => {
            let folder =
                openat(&*next.folder, next.name.as_slice(), flags | OFlags::DIRECTORY, Mode::empty())?;
            // What is mounted there may not be the walk's to look at.
            if fstat(&folder)?.st_dev == fstat(&*next.folder)?.st_dev {
                Dir::new(folder)?.take(LISTED).for_each(drop);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Asks for the beginning of a file without waiting for it.
#[cfg(not(target_vendor = "apple"))]
fn will_be_read(file: &File) -> Result<(), Errno> {
    rustix::fs::fadvise(file, 0, std::num::NonZeroU64::new(BEGINNING), rustix::fs::Advice::WillNeed)
}

/// Asks for the beginning of a file without waiting for it.
#[cfg(target_vendor = "apple")]
fn will_be_read(file: &File) -> Result<(), Errno> {
    rustix::fs::fcntl_rdadvise(file, 0, BEGINNING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    const FAST: Duration = Duration::from_micros(5);
    const SLOW: Duration = Duration::from_millis(1);

    #[test]
    fn some_slow_files_are_chance_and_many_are_not() {
        let pace = Pace::default();
        for _ in 0..1000 {
            pace.saw(SLOW, 0);
            (0..20).for_each(|_| pace.saw(FAST, 0));
            assert!(!pace.is_slow());
        }
        (0..3).for_each(|_| pace.saw(SLOW, 0));
        assert!(pace.is_slow());
        (0..10_000).for_each(|_| pace.saw(SLOW, 0));
        (0..Pace::MOST).for_each(|_| pace.saw(FAST, 0));
        assert!(!pace.is_slow());
    }

    #[test]
    fn what_is_long_may_take_longer() {
        let pace = Pace::default();
        (0..10).for_each(|_| pace.saw(Duration::from_micros(250), 1 << 20));
        assert!(!pace.is_slow());
        (0..10).for_each(|_| pace.saw(Duration::from_micros(250), 1 << 10));
        assert!(pace.is_slow());
    }

    #[cfg(target_os = "linux")]
    fn opened(watch: &OwnedFd) -> Vec<String> {
        use rustix::fs::inotify::Reader;
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = Reader::new(watch, &mut buffer);
        let mut names = Vec::new();
        while let Ok(event) = reader.next() {
            names.extend(event.file_name().map(|name| name.to_string_lossy().into_owned()));
        }
        names.sort();
        names
    }

    #[cfg(target_os = "linux")]
    fn watch(folder: &Path) -> OwnedFd {
        use rustix::fs::inotify::{CreateFlags, WatchFlags, add_watch, init};
        let watch = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).unwrap();
        add_watch(&watch, folder, WatchFlags::OPEN).unwrap();
        watch
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn scouts_open_files_and_folders_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "x").unwrap();
        fs::create_dir_all(temp.path().join("folder/deeper")).unwrap();
        fs::write(temp.path().join("folder/inner"), "x").unwrap();
        std::os::unix::fs::symlink("file", temp.path().join("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, temp.path().join("fifo"), Mode::RWXU).unwrap();
        let (watch, inside) = (watch(temp.path()), watch(&temp.path().join("folder")));
        let folder: Arc<OwnedFd> = Arc::new(File::open(temp.path()).unwrap().into());
        let ahead = Ahead::default();
        for (name, kind) in [
            ("file", FileType::RegularFile),
            ("folder", FileType::Directory),
            ("gone", FileType::RegularFile),
            // As if it had taken a file's place since it was listed.
            ("link", FileType::RegularFile),
            ("link", FileType::Symlink),
            ("fifo", FileType::Fifo),
        ] {
            assert!(ahead.send(&folder, name.as_bytes(), kind));
        }
        // Dropped, it has seen everything.
        drop(ahead);
        assert_eq!(opened(&watch), ["file", "folder"]);
        // A filter may leave it out, which only the walk knows.
        assert_eq!(opened(&inside), [""; 0]);
    }
}
