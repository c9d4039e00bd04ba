//! A pcscd of its own for a test, with vsmartcard's driver and nothing of the machine's readers.
//!
//! pcscd's socket has a fixed place, so it runs where that place is a folder of the sandbox (a mount namespace); from
//! outside the same socket is in the folder.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use crate::{Peer, Sandbox, peer, program};

const LIMIT: Duration = Duration::from_secs(30);
/// The place of pcscd's socket, in a mount namespace: the folder `$1` stands there, the driver's configuration is `$2`.
const PLACE: &str = "mount --make-rprivate / && mkdir -p /run/pcscd && mount --bind \"$1\" /run/pcscd && \
     exec \"$3\" --foreground --info --config \"$2\"";

/// A program that runs beside a test and is ended with the value.
#[derive(Debug)]
pub struct Service {
    child: Child,
    lines: Receiver<String>,
}

impl Service {
    /// Starts it; what it prints, on either output, can be waited for.
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (line, lines) = channel();
        let (out, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let more = line.clone();
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|read| line.send(read))
        });
        std::thread::spawn(move || {
            BufReader::new(error).lines().map_while(Result::ok).try_for_each(|read| more.send(read))
        });
        Self { child, lines }
    }

    /// Waits until a line with this text comes, from those not waited for yet. Panics with all that came instead.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        let (begun, mut seen) = (Instant::now(), Vec::new());
        loop {
            match self.lines.recv_timeout(LIMIT.saturating_sub(begun.elapsed())) {
                Ok(line) if line.contains(text) => return,
                Ok(line) => seen.push(line),
                Err(_) => panic!("{text:?} did not come, but:\n{}", seen.join("\n")),
            }
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

/// A running pcscd whose first slot waits for a card.
#[derive(Debug)]
pub struct Pcscd {
    service: Service,
    socket: PathBuf,
    port: u16,
}

impl Pcscd {
    /// Starts it with slots that are called as a YubiKey's reader; it is ended with the value.
    pub fn start(sandbox: &Sandbox) -> Self {
        // ykman goes by the reader's name.
        Self::start_named(sandbox, "Yubico YubiKey OTP+FIDO+CCID")
    }

    /// Starts it with slots of this name.
    pub fn start_named(sandbox: &Sandbox, reader: &str) -> Self {
        let folder = peer(Peer::Pcscd);
        let port = two_free_ports();
        let (run, configuration) = (sandbox.path("pcscd"), sandbox.path("reader.conf.d"));
        std::fs::create_dir(&run).unwrap();
        std::fs::create_dir(&configuration).unwrap();
        let drivers = folder.join("usr/lib/pcsc/drivers/serial");
        let driver = std::fs::read_dir(drivers).unwrap().map(|entry| entry.unwrap().path()).next().unwrap();
        let lines = format!(
            "FRIENDLYNAME \"{reader}\"\nDEVICENAME /dev/null:0x{port:X}\nLIBPATH {}\nCHANNELID 0x{port:X}\n",
            driver.display()
        );
        std::fs::write(configuration.join("vpcd"), lines).unwrap();
        let mut place = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            place.arg("--map-root-user");
        }
        place.args(["--mount", "sh", "-c", PLACE, "sh"]).args([&run, &configuration]);
        let service = Service::start(place.arg(folder.join("usr/sbin/pcscd")));
        service.wait_for("daemon ready");
        Self { service, socket: run.join("pcscd.comm"), port }
    }

    /// Its socket, for `PCSCLITE_CSOCK_NAME`.
    pub fn socket(&self) -> &PathBuf {
        &self.socket
    }

    /// The port that the driver's first slot listens at.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub fn wait_for(&self, text: &str) {
        self.service.wait_for(text);
    }

    /// Plugs a token of the sandbox in; it is pulled out with the value. Its control socket is `control`.
    pub fn plug_in(&self, sandbox: &Sandbox, token: &str) -> Service {
        let emulator = Service::start(
            Command::new(program("keyward-emulator"))
                .arg("serve")
                .arg("--token")
                .arg(sandbox.path(token))
                .arg("--control")
                .arg(sandbox.path("control"))
                .args(["--vpcd", &format!("127.0.0.1:{}", self.port)]),
        );
        emulator.wait_for("Plugging into the vpcd");
        emulator
    }

    /// vsmartcard's own virtual card, an ISO 7816 card in Python, plugged in in the same way.
    pub fn plug_in_vicc(&self) -> Service {
        let folder = peer(Peer::Pcscd);
        let modules =
            [folder.join("usr/lib/python3/site-packages/virtualsmartcard"), peer(Peer::PythonModules)];
        Service::start(
            Command::new(peer(Peer::Ykman).with_file_name("python"))
                .arg(folder.join("usr/bin/vicc"))
                .args(["--type", "iso7816", "--hostname", "127.0.0.1", "--port", &self.port.to_string()])
                .env("PYTHONPATH", std::env::join_paths(modules).unwrap())
                .env("PYTHONDONTWRITEBYTECODE", "1"),
        )
    }
}

/// The driver's two slots listen at a port and the one after it.
fn two_free_ports() -> u16 {
    for _ in 0..64 {
        let first = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = first.local_addr().unwrap().port();
        if port < u16::MAX && TcpListener::bind(("127.0.0.1", port + 1)).is_ok() {
            return port;
        }
    }
    panic!("no two free ports beside each other");
}
