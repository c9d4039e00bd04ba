//! This host's name, as receipts give it.

use keyward_custody::Name;

use crate::report::{Result, custody_failure};

const SAFE: &str = "Nothing was changed.";
/// The longest name.
const MAX_LEN: usize = 32;

/// The name that was given, or that of this machine, in the grammar of names.
///
/// # Errors
/// A given name outside of the grammar (2).
pub fn name(given: Option<&str>) -> Result<Name> {
    let text = match given {
        Some(given) => given.to_owned(),
        None => plain(&rustix::system::uname().nodename().to_string_lossy()),
    };
    text.parse().map_err(|error| custody_failure("The host's name", SAFE, error))
}

/// A machine's name in the grammar of names: its first label in lower case, other characters as hyphens.
fn plain(host: &str) -> String {
    let label = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let text: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let text = text.trim_matches('-');
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase());
    let text = match text {
        "" => "host".to_owned(),
        "or" | "and" | "of" => format!("host-{text}"),
        _ if begins => text.to_owned(),
        _ => format!("host-{text}"),
    };
    let cut: String = text.chars().take(MAX_LEN).collect();
    cut.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_machines() {
        for (host, name) in [
            ("mira", "mira"),
            ("Mira.example.org", "mira"),
            ("4f3c2a", "host-4f3c2a"),
            ("", "host"),
            ("-_-", "host"),
            ("or", "host-or"),
            ("of", "host-of"),
            ("my_box", "my-box"),
            ("bücher", "b-cher"),
            (&"x-".repeat(40), "x-x-x-x-x-x-x-x-x-x-x-x-x-x-x-x"),
        ] {
            assert_eq!(plain(host), name);
            assert!(name.parse::<Name>().is_ok());
        }
        assert!(super::name(Some("Mira")).is_err());
        assert!(super::name(None).is_ok());
    }
}
