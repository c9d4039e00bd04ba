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

fn path(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
