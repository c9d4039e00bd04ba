//! A temporary folder in which a test runs programs as a person would, with a home, a vault and no token.

use std::{
    ffi::OsStr,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use tempfile::TempDir;

use crate::{Emulator, Run, program, programs};

/// The PIN that tokens of the tests get.
pub const PIN: &str = "24681357";

/// The suites of a vault, as `--suite` names them.
pub const SUITES: [&str; 2] = ["hybrid", "classic"];

/// Every file of a sandbox, to make more of the same: path, mode and content.
#[derive(Debug)]
pub struct Files(Vec<(PathBuf, u32, Vec<u8>)>);

/// A temporary folder, removed with the value.
#[derive(Debug)]
pub struct Sandbox {
    folder: TempDir,
}

impl Sandbox {
    /// An empty sandbox.
    #[allow(clippy::new_without_default, reason = "it makes a folder")]
    pub fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("keyward-test-").tempdir().unwrap();
        fs::create_dir(folder.path().join("user")).unwrap();
        Self { folder }
    }

    /// The sandbox, or a place in it.
    pub fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(relative)
    }

    /// Writes a file and returns its place.
    pub fn write(&self, relative: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(relative);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file.
    pub fn read(&self, relative: impl AsRef<Path>) -> Vec<u8> {
        let path = self.path(relative);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names in a folder of the sandbox, sorted.
    pub fn names(&self, relative: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.path(relative))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// Asserts that nothing stands there.
    #[track_caller]
    pub fn absent(&self, relative: &str) {
        let path = self.path(relative);
        assert!(fs::symlink_metadata(&path).is_err(), "{} exists", path.display());
    }

    /// A program of the PATH, in the sandbox's folder and environment, with no token anywhere near.
    pub fn run(&self, name: impl AsRef<OsStr>) -> Run {
        Run::new(name)
            .current_dir(self.path(""))
            .env("PATH", programs::search_path())
            .env("HOME", self.path("user"))
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
            .env("TMPDIR", self.path("user"))
            .env("PCSCLITE_CSOCK_NAME", self.path("no-token.socket"))
            .env("KEYWARD_VAULT", self.path("vault"))
            .env("KEYWARD_HOME", self.path("home"))
            .env("KEYWARD_PIN", PIN)
    }

    /// `keyward` with no token anywhere near.
    pub fn keyward<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Run {
        self.run(program("keyward")).args(arguments)
    }

    /// `keyward-emulator`, to be told which tokens are plugged in and what runs under it.
    pub fn emulator(&self) -> Emulator<'_> {
        Emulator::new(self)
    }

    /// Makes the file of a software token, as from the factory, with firmware 5.7.1.
    pub fn new_token(&self, file: &str, serial: u32) {
        self.new_token_with_firmware(file, serial, "5.7.1");
    }

    /// Makes the file of a software token, as from the factory.
    pub fn new_token_with_firmware(&self, file: &str, serial: u32, firmware: &str) {
        self.run(program("keyward-emulator"))
            .args(["new", file, "--serial", &serial.to_string(), "--firmware", firmware])
            .go()
            .success()
            .no_stdout();
    }

    /// A sandbox with a vault of alice and bob, both with emulated tokens, in one of [`SUITES`].
    ///
    /// A vault is made once for each suite and then copied: what a test does to its own stays there.
    pub fn with_vault(suite: &str) -> Self {
        static MADE: [OnceLock<Files>; 2] = [const { OnceLock::new() }; 2];
        Self::made_once(&MADE[suite_number(suite)], |sandbox| sandbox.init(suite, "alice.token", "bob.token"))
    }

    /// The vault of the losses, in one of [`SUITES`]: the tokens of alice and bob, carol and dave with a paper each
    /// in `carol.txt` and `dave.txt`, and the policy `alice or bob or (carol and dave)`.
    pub fn with_papers(suite: &str) -> Self {
        static MADE: [OnceLock<Files>; 2] = [const { OnceLock::new() }; 2];
        Self::made_once(&MADE[suite_number(suite)], |sandbox| {
            sandbox.new_token("alice.token", 11_110_001);
            sandbox.new_token("bob.token", 11_110_002);
            let tokens = ["--token", "alice=11110001", "--token", "bob=11110002"];
            let papers = ["--paper", "carol=carol.txt", "--paper", "dave=dave.txt"];
            sandbox
                .emulator()
                .token("alice.token")
                .token("bob.token")
                .keyward(["init", "--allow-emulated", "--yes", "--suite", suite])
                .args(tokens)
                .args(papers)
                .args(["--policy", "alice or bob or (carol and dave)"])
                .go()
                .success();
        })
    }

    /// A sandbox like the one that `make` fills, which is done once for all who name the same `made`.
    pub fn made_once(made: &OnceLock<Files>, make: impl FnOnce(&Self)) -> Self {
        let files = made.get_or_init(|| {
            let sandbox = Self::new();
            make(&sandbox);
            sandbox.files()
        });
        Self::of_files(files)
    }

    /// Another sandbox with the same files.
    pub fn copy(&self) -> Self {
        Self::of_files(&self.files())
    }

    fn of_files(files: &Files) -> Self {
        let sandbox = Self::new();
        for (path, mode, bytes) in &files.0 {
            let path = sandbox.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
        }
        sandbox
    }

    /// Makes two tokens with the serials of alice and bob in new files, and a vault of both.
    pub fn init(&self, suite: &str, alice: &str, bob: &str) {
        self.new_token(alice, 11_110_001);
        self.new_token(bob, 11_110_002);
        let holders = ["--token", "alice=11110001", "--token", "bob=11110002", "--policy", "alice or bob"];
        self.emulator()
            .token(alice)
            .token(bob)
            .keyward(["init", "--allow-emulated", "--yes", "--suite", suite])
            .args(holders)
            .go()
            .success();
    }

    /// Every file of the sandbox by its path in it, with mode and content.
    fn files(&self) -> Files {
        let mut files = Vec::new();
        let mut folders = vec![self.path("")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = fs::symlink_metadata(&path).unwrap();
                if metadata.is_dir() {
                    folders.push(path);
                } else if metadata.is_file() {
                    let relative = path.strip_prefix(self.path("")).unwrap().to_owned();
                    files.push((relative, metadata.permissions().mode(), fs::read(&path).unwrap()));
                }
            }
        }
        Files(files)
    }
}

fn suite_number(suite: &str) -> usize {
    SUITES.iter().position(|known| *known == suite).expect("one of SUITES")
}
