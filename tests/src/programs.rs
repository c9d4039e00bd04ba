//! Where the programs are: Keyward's own beside the test binary, peers where `scripts/peers` put them.
//!
//! The one room that reads the environment.

#![allow(clippy::disallowed_methods, reason = "this is the room that reads the environment")]

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// Another project's program or library.
#[derive(Debug, Clone, Copy)]
pub enum Peer {
    /// age 1.3 or later.
    Age,
    /// age of before 1.3, which knows the classic suite alone.
    ClassicAge,
    /// Yubico's command line.
    Ykman,
    /// The Node.js that `NodeModules` was installed for.
    Node,
    /// The folder with npm's `age-encryption`.
    NodeModules,
    /// An S3 server.
    Moto,
    /// Azure's storage emulator, a script for `Node`.
    Azurite,
    /// The sources of ykman with their tests, and what runs these in `site`.
    YkmanSuite,
    /// The integration tests of the yubikey crate, `published` and `corrected`, and its `source`.
    YubikeySuite,
    /// str4d's plugin of age for YubiKeys.
    AgePluginYubikey,
    /// The folder with PyKCS11 (in `site`) and pkcs11js (in `node_modules`).
    Pkcs11Clients,
    /// The folder with Debian's pcscd, vsmartcard's driver vpcd and its card vicc.
    Pcscd,
    /// The folder with pytest, and with the ciphers that vicc imports.
    PythonModules,
    /// Nitrokey's PIV card in software, for a vpcd.
    NitrokeyCard,
}

impl Peer {
    fn variable(self) -> &'static str {
        match self {
            Self::Age => "KEYWARD_TEST_AGE",
            Self::ClassicAge => "KEYWARD_TEST_CLASSIC_AGE",
            Self::Ykman => "KEYWARD_TEST_YKMAN",
            Self::Node => "KEYWARD_TEST_NODE",
            Self::NodeModules => "KEYWARD_TEST_NODE_MODULES",
            Self::Moto => "KEYWARD_TEST_MOTO",
            Self::Azurite => "KEYWARD_TEST_AZURITE",
            Self::YkmanSuite => "KEYWARD_TEST_YKMAN_SUITE",
            Self::YubikeySuite => "KEYWARD_TEST_YUBIKEY_SUITE",
            Self::AgePluginYubikey => "KEYWARD_TEST_AGE_PLUGIN_YUBIKEY",
            Self::Pkcs11Clients => "KEYWARD_TEST_PKCS11_CLIENTS",
            Self::Pcscd => "KEYWARD_TEST_PCSCD",
            Self::PythonModules => "KEYWARD_TEST_PYTHON_MODULES",
            Self::NitrokeyCard => "KEYWARD_TEST_NITROKEY_CARD",
        }
    }
}

/// Where a peer is. Panics, with what to do, where it is not installed.
pub fn peer(peer: Peer) -> PathBuf {
    let variable = peer.variable();
    let path = env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{variable} is not set: run scripts/test, which installs the peers, or source the peers.env that scripts/peers writes")
    });
    assert!(path.exists(), "{variable} names {}, which is not there: run scripts/peers", path.display());
    path
}

/// Whether the long campaigns were asked for (`scripts/test --all`).
pub fn campaign_is_long() -> bool {
    env::var("KEYWARD_TEST_CAMPAIGN").is_ok_and(|campaign| campaign == "all")
}

/// Whether written pages are to be made anew instead of compared (`KEYWARD_UPDATE=1`).
pub fn update_is_wanted() -> bool {
    env::var_os("KEYWARD_UPDATE").is_some()
}

/// The PATH that the tests themselves were started with.
pub(crate) fn own_path() -> OsString {
    env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into())
}

/// The PATH that programs of a sandbox get: this one, with Keyward's own programs and age before it.
pub(crate) fn search_path() -> OsString {
    let own = own_path();
    let folders = [binaries(), peer(Peer::Age).parent().unwrap().to_owned()];
    env::join_paths(folders.into_iter().chain(env::split_paths(&own)))
        .expect("a PATH with a colon in a folder")
}

/// Where cargo keeps the sources of dependencies, if it is known.
pub(crate) fn cargo_registry() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))?;
    Some(home.join("registry/src"))
}

/// The top of the checkout.
pub fn workspace_root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn binaries() -> PathBuf {
    let test = env::current_exe().expect("the path of the test binary");
    test.ancestors().nth(2).expect("a test binary lies in a profile's `deps`").to_owned()
}

/// One of Keyward's programs, built before the tests. Panics where it is missing or older than its sources.
pub fn program(name: &str) -> PathBuf {
    let path = binaries().join(name);
    let built = fs::metadata(&path).and_then(|metadata| metadata.modified()).unwrap_or_else(|error| {
        panic!("{}: {error}. Run scripts/test, which builds the programs first", path.display())
    });
    let crates: &[&str] = match name {
        "keyward-emulator" => &["keyward-emulator"],
        _ => &["keyward", "keyward-age", "keyward-archive", "keyward-custody", "keyward-token"],
    };
    for package in crates {
        let sources = workspace_root().join("crates").join(package).join("src");
        if let Some(newer) = newer_source(&sources, built) {
            panic!(
                "{} is older than {}. Run scripts/test, which builds the programs first",
                path.display(),
                newer.display()
            );
        }
    }
    path
}

/// A Rust source under `folder` that was changed after `built`.
fn newer_source(folder: &Path, built: SystemTime) -> Option<PathBuf> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).find_map(|path| {
        if path.is_dir() {
            newer_source(&path, built)
        } else {
            let is_source = path.extension().is_some_and(|extension| extension == "rs");
            (is_source && fs::metadata(&path).unwrap().modified().unwrap() > built).then_some(path)
        }
    })
}
