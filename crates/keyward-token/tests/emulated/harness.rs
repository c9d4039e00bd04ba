//! Tokens for tests.
//!
//! libpcsclite finds its server by an environment variable, read at connect time, and a program must not change its own
//! environment while threads run. So a test serves its tokens and runs itself once more as a child under them:
//! [`under`] is the parent's half, and its `body` runs in the child alone.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock},
};

use keyward_emulator::{Card as Emulated, Options, Server, TokenFile, Touch, control};
use keyward_token::{
    Card, Pin, Point, TransportError,
    provision::{EnrollOptions, Enrolled, Step, enroll},
    transport::{Ending, Transport},
};
use p256::{SecretKey, elliptic_curve::sec1::ToSec1Point};

pub(crate) const PIN: &[u8] = b"24681357";
pub(crate) const SERIAL: u32 = 11110001;
/// As statements have it.
pub(crate) const VAULT: &str = "6b657977617264207661756c74203031";

const FOLDER: &str = "KEYWARD_TOKEN_TEST_FOLDER";

/// Which tokens to plug in.
pub(crate) struct Tokens<'a> {
    pub(crate) firmware: &'a str,
    pub(crate) count: u32,
    pub(crate) options: Options,
}

impl Default for Tokens<'_> {
    fn default() -> Self {
        Self { firmware: "5.7.1", count: 1, options: Options::default() }
    }
}

/// Runs `body` in a child process that sees these tokens and no others. Serials count up from [`SERIAL`].
pub(crate) fn under(tokens: &Tokens<'_>, body: impl FnOnce(&Hand)) {
    if let Some(hand) = child() {
        return body(&hand);
    }
    let folder = tempfile::tempdir().unwrap();
    serve(folder.path(), tokens);
}

/// As [`under`], once for each variant; the child's body is told which one it is in.
pub(crate) fn under_each(variants: impl IntoIterator<Item = Options>, body: impl FnOnce(&Hand)) {
    if let Some(hand) = child() {
        return body(&hand);
    }
    for options in variants {
        let folder = tempfile::tempdir().unwrap();
        serve(folder.path(), &Tokens { options, ..Tokens::default() });
    }
}

fn child() -> Option<Hand> {
    #[expect(clippy::disallowed_methods, reason = "how the parent half of a test speaks to its child")]
    std::env::var_os(FOLDER).map(|folder| Hand { folder: folder.into() })
}

/// Serves tokens in a folder while the test runs as a child.
fn serve(folder: &Path, tokens: &Tokens<'_>) {
    let files = (0..tokens.count)
        .map(|n| {
            let path = folder.join(format!("{n}.token"));
            TokenFile::create(&path, SERIAL + n, tokens.firmware.parse().unwrap()).unwrap()
        })
        .collect();
    let (socket, hand) = (folder.join("pcscd"), folder.join("control"));
    let server = Server::start(files, &socket, &hand, &tokens.options).unwrap();
    let thread = std::thread::current();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([thread.name().unwrap(), "--exact", "--nocapture"])
        .env("PCSCLITE_CSOCK_NAME", &socket)
        .env(FOLDER, folder)
        .output()
        .unwrap();
    drop(server);
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{:?}:\n{text}", tokens.options);
}

/// The hand that pulls tokens and touches them, in the child.
pub(crate) struct Hand {
    folder: PathBuf,
}

impl Hand {
    pub(crate) fn does(&self, what: &str) {
        control::send(&self.folder.join("control"), what).unwrap();
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }
}

pub(crate) fn pin() -> Pin {
    Pin::new(PIN).unwrap()
}

pub(crate) fn options() -> EnrollOptions {
    EnrollOptions::new("alice", pin())
}

/// The name of the reader with the n-th token.
pub(crate) fn reader(n: usize) -> String {
    keyward_token::readers().unwrap()[n].name.clone()
}

/// Enrols without a word.
pub(crate) fn enrolled(reader: &str, options: &EnrollOptions) -> keyward_token::Result<Enrolled> {
    enroll(reader, options, &mut |_: Step<'_>| Ok(()))
}

/// A fresh peer for ECDH, and what it computes with a point.
pub(crate) struct Peer(SecretKey);

impl Peer {
    pub(crate) fn new() -> Self {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).unwrap();
        bytes[0] = 1;
        Self(SecretKey::from_slice(&bytes).unwrap())
    }

    pub(crate) fn point(&self) -> Point {
        self.0.public_key().to_sec1_point(false).as_bytes().try_into().unwrap()
    }

    pub(crate) fn secret_with(&self, point: &Point) -> [u8; 32] {
        let public = p256::PublicKey::from_sec1_bytes(point).unwrap();
        (*p256::ecdh::diffie_hellman(self.0.to_nonzero_scalar(), public.as_affine()).raw_secret_bytes())
            .into()
    }
}

/// What a test token in process is enrolled with.
pub(crate) struct Fixture {
    pub(crate) state: Vec<u8>,
    pub(crate) archive: Point,
    pub(crate) signing: (keyward_token::Slot, Point),
    pub(crate) card_proof: Point,
    pub(crate) archive_ek: [u8; 1184],
    pub(crate) seed_object: keyward_token::ObjectId,
}

/// A token that was enrolled once, over the socket, by the test `cold::makes_a_token`.
pub(crate) fn fixture() -> &'static Fixture {
    static FIXTURE: OnceLock<Fixture> = OnceLock::new();
    FIXTURE.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        // The child is the test of this name, whichever test asks first.
        std::thread::Builder::new()
            .name("cold::makes_a_token".to_owned())
            .spawn(move || serve(&path, &Tokens::default()))
            .unwrap()
            .join()
            .unwrap();
        let read = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
        let slot = String::from_utf8(read("slot")).unwrap();
        Fixture {
            state: read("0.token"),
            archive: read("archive").try_into().unwrap(),
            signing: (slot.parse().unwrap(), read("signing").try_into().unwrap()),
            card_proof: read("card_proof").try_into().unwrap(),
            archive_ek: read("archive_ek").try_into().unwrap(),
            seed_object: String::from_utf8(read("seed_object")).unwrap().parse().unwrap(),
        }
    })
}

/// What happens to a card in process.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) apdus: Vec<Vec<u8>>,
    pub(crate) reconnects: usize,
    pub(crate) endings: Vec<Ending>,
}

impl Log {
    /// INS of each APDU.
    pub(crate) fn instructions(&self) -> Vec<u8> {
        self.apdus.iter().map(|apdu| apdu[1]).collect()
    }
}

/// A fault before the n-th APDU, counted from 0.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    Reset(usize),
    Removed(usize),
}

/// An emulated card without PC/SC, its log, and a fault if wanted.
pub(crate) struct InProcess {
    card: Emulated,
    log: Arc<Mutex<Log>>,
    fault: Option<Fault>,
    /// After a reset nothing goes until somebody connects again.
    reset: bool,
}

impl InProcess {
    pub(crate) fn card(state: &[u8], touch: Touch, fault: Option<Fault>) -> (Card, Arc<Mutex<Log>>) {
        let mut card = Emulated::from_json(state).unwrap();
        card.set_touch(touch);
        Self::over(card, fault)
    }

    pub(crate) fn over(card: Emulated, fault: Option<Fault>) -> (Card, Arc<Mutex<Log>>) {
        let log = Arc::<Mutex<Log>>::default();
        let transport = Self { card, log: Arc::clone(&log), fault, reset: false };
        (Card::over("in process", Box::new(transport)), log)
    }
}

impl Transport for InProcess {
    fn transmit(&mut self, apdu: &[u8]) -> Result<Vec<u8>, TransportError> {
        let mut log = self.log.lock().unwrap();
        match self.fault {
            Some(Fault::Reset(n)) if log.apdus.len() == n => {
                self.card.power_cycle();
                self.reset = true;
                self.fault = None;
            }
            Some(Fault::Removed(n)) if log.apdus.len() == n => return Err(TransportError::Removed),
            _ => {}
        }
        if self.reset {
            return Err(TransportError::Reset);
        }
        log.apdus.push(apdu.to_vec());
        Ok(self.card.transmit(apdu))
    }

    fn reconnect(&mut self) -> Result<(), TransportError> {
        self.log.lock().unwrap().reconnects += 1;
        self.reset = false;
        Ok(())
    }

    fn finish(&mut self, ending: Ending) {
        self.log.lock().unwrap().endings.push(ending);
        if ending == Ending::Reset {
            self.card.power_cycle();
        }
    }
}
