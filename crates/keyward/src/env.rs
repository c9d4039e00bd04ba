//! The environment: the one room that reads it.
//!
//! | variable | meaning |
//! |---|---|
//! | `KEYWARD_VAULT` | the vault's folder (read by `cli.rs`) |
//! | `KEYWARD_HOME` | this host's own state; else `$XDG_STATE_HOME/keyward` or `~/.local/state/keyward` |
//! | `KEYWARD_PIN_FILE` | a file with lines `SERIAL PIN`, or one PIN for every token |
//! | `KEYWARD_PIN` | a PIN; for test vaults only |
//! | `KEYWARD_LOG` | what to log on standard error, in `tracing`'s filter form |
//! | `NO_COLOR` | no colour |
//! | `AWS_*`, `AZURE_*`, `AZURITE_BLOB_STORAGE_URL`, `GOOGLE_*`, `STORAGE_EMULATOR_HOST` | how stores are reached: `docs/places.md` |

#![allow(clippy::disallowed_methods, reason = "this is the room that reads the environment")]

use std::path::PathBuf;

use secrecy::SecretString;

/// The folder of this host's own state, or nothing where neither it nor a home folder is known.
pub fn home() -> Option<PathBuf> {
    if let Some(home) = path("KEYWARD_HOME") {
        return Some(home);
    }
    if let Some(state) = path("XDG_STATE_HOME") {
        return Some(state.join("keyward"));
    }
    Some(path("HOME")?.join(".local/state/keyward"))
}

/// The value of `KEYWARD_PIN`.
pub fn pin() -> Option<SecretString> {
    std::env::var("KEYWARD_PIN").ok().filter(|pin| !pin.is_empty()).map(SecretString::from)
}

/// The path in `KEYWARD_PIN_FILE`.
pub fn pin_file() -> Option<PathBuf> {
    path("KEYWARD_PIN_FILE")
}

/// The filter in `KEYWARD_LOG`.
pub fn log_filter() -> Option<String> {
    std::env::var("KEYWARD_LOG").ok().filter(|filter| !filter.is_empty())
}

/// Whether colour is unwanted (<https://no-color.org>).
pub fn no_color() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// The socket that the PC/SC library was told to use, where it is not the system service.
pub fn pcsc_socket() -> Option<PathBuf> {
    path("PCSCLITE_CSOCK_NAME")
}

/// The variables by which the clouds' own programs reach a store.
pub fn store_variables() -> impl Iterator<Item = (String, String)> {
    const PREFIXES: [&str; 3] = ["AWS_", "AZURE_", "GOOGLE_"];
    const OTHERS: [&str; 2] = ["AZURITE_BLOB_STORAGE_URL", "STORAGE_EMULATOR_HOST"];
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let theirs =
            PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || OTHERS.contains(&name.as_str());
        theirs.then(|| value.into_string().ok().map(|value| (name, value)))?
    })
}

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
