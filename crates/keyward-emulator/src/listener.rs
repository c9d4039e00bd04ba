//! A Unix socket and the threads behind it; stopping it leaves neither.

use std::{
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::{Error, Result};

/// How long a client may take to accept an answer before it counts as gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is done with each connection, on a thread of its own.
pub(crate) type Handler = Box<dyn Fn(UnixStream) + Send + Sync>;

/// A listening socket, open to its owner only; dropping it stops listening.
#[derive(Debug)]
pub(crate) struct Listener {
    path: PathBuf,
    stopping: Arc<AtomicBool>,
    accepting: Option<JoinHandle<Vec<JoinHandle<()>>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Listener {
    /// Binds the path and serves. A socket that nobody answers at is replaced, anything else is not.
    pub(crate) fn start(path: &Path, handler: Handler) -> Result<Self> {
        let listener = bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(Error::io(path))?;
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let handler = Arc::new(handler);
        let accept = move || {
            let mut threads: Vec<JoinHandle<()>> = Vec::new();
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                if stream.set_write_timeout(Some(WRITE_TIMEOUT)).is_err() {
                    continue;
                }
                threads.retain(|thread| !thread.is_finished());
                let handler = Arc::clone(&handler);
                if let Ok(thread) = std::thread::Builder::new().spawn(move || handler(stream)) {
                    threads.push(thread);
                }
            }
            threads
        };
        let accepting = std::thread::Builder::new().spawn(accept).map_err(Error::io(path))?;
        Ok(Self { path: path.to_owned(), stopping, accepting: Some(accepting), threads: Vec::new() })
    }

    /// Takes no more connections; those there are go on.
    pub(crate) fn stop(&mut self) {
        let Some(accepting) = self.accepting.take() else { return };
        self.stopping.store(true, Ordering::SeqCst);
        let woken = UnixStream::connect(&self.path).is_ok();
        let _ = std::fs::remove_file(&self.path); // gone already if its folder is
        if woken {
            self.threads = accepting.join().unwrap_or_default();
        }
    }

    /// Waits for the connections to end; whoever calls this has hung up on them.
    pub(crate) fn finish(mut self) {
        self.stop();
        for thread in std::mem::take(&mut self.threads) {
            let _ = thread.join(); // one that panicked has ended too
        }
    }
}

fn bind(path: &Path) -> Result<UnixListener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            match UnixStream::connect(path) {
                Err(refused) if refused.kind() == std::io::ErrorKind::ConnectionRefused => {}
                _ => return Err(Error::SocketInUse { path: path.to_owned() }),
            }
            let is_socket = std::fs::symlink_metadata(path)
                .is_ok_and(|found| std::os::unix::fs::FileTypeExt::is_socket(&found.file_type()));
            if !is_socket {
                return Err(Error::SocketInUse { path: path.to_owned() });
            }
            std::fs::remove_file(path).map_err(Error::io(path))?;
            UnixListener::bind(path).map_err(Error::io(path))
        }
        result => result.map_err(Error::io(path)),
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop();
    }
}
