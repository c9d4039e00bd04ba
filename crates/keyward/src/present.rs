//! Who is here besides the tokens: holders that `--with NAME=FILE` brings, as papers, passphrases or age identities.
//!
//! What a file holds is secret: it is read whole into memory that is wiped, checked against what the signed statement
//! says of that holder, and never written anywhere.

use std::path::{Path, PathBuf};

use keyward_age::SoftIdentity;
use keyward_custody::{Holder, Name, Paper, Sheet, first_identity, unlock_identity};
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::files;
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::ui::Ui;
use crate::vault_folder::Trusted;

const SAFE: &str = "Nothing was changed.";

/// `--with NAME` or `--with NAME=FILE`, as it was given.
#[derive(Debug, Clone)]
pub struct With {
    pub name: Name,
    pub file: Option<PathBuf>,
}

impl std::str::FromStr for With {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let (name, file) = match text.split_once('=') {
            Some((name, file)) if !file.is_empty() => (name, Some(PathBuf::from(file))),
            Some(_) => return Err("the file behind `=` is missing".into()),
            None => (text, None),
        };
        Ok(With { name: name.parse().map_err(|error: keyward_custody::Error| error.to_string())?, file })
    }
}

/// A holder who is here without a token.
#[derive(Debug)]
pub struct Present {
    pub name: Name,
    /// What opens, for this holder.
    pub identity: SoftIdentity,
    /// The paper, which may sign as well.
    pub paper: Option<Paper>,
}

/// Everybody that the options bring: holders with an identity in software, and the names of tokens that are to help.
#[derive(Debug, Default)]
pub struct Company {
    pub present: Vec<Present>,
    pub tokens: Vec<Name>,
}

impl Company {
    /// Reads what the options name.
    ///
    /// # Errors
    /// A name that is no holder (8); a file that is missing (3), or is another holder's (7).
    pub fn gather(ui: Ui, vault: &Trusted, with: &[With]) -> Result<Company> {
        let mut company = Company::default();
        for with in with {
            let Some(holder) = vault.verified().holders().get(&with.name) else {
                return Err(Failure::new(
                    Kind::NotHolder,
                    format!("{} is no holder of vault `{}`. {SAFE}", with.name, vault.name()),
                ));
            };
            if company.has(&with.name) {
                return Err(Failure::new(Kind::Usage, format!("--with {} stands twice. {SAFE}", with.name)));
            }
            match (holder, &with.file) {
                (Holder::Token(_), None) => company.tokens.push(with.name.clone()),
                (Holder::Token(_), Some(_)) => {
                    return Err(Failure::new(
                        Kind::Usage,
                        format!("{} is a token: --with {} takes no file. {SAFE}", with.name, with.name),
                    ));
                }
                (_, file) => company.present.push(present(ui, vault, &with.name, holder, file.as_deref())?),
            }
        }
        Ok(company)
    }

    /// Whether somebody of this name was brought.
    pub fn has(&self, name: &Name) -> bool {
        self.tokens.contains(name) || self.identity(name).is_some()
    }

    /// The identity of a holder without a token.
    pub fn identity(&self, name: &Name) -> Option<&SoftIdentity> {
        self.present.iter().find(|present| present.name == *name).map(|present| &present.identity)
    }
}

fn present(ui: Ui, vault: &Trusted, name: &Name, holder: &Holder, file: Option<&Path>) -> Result<Present> {
    let fail = |error| custody_failure(&format!("--with {name}"), SAFE, error);
    let suite = vault.statement().suite();
    match holder {
        Holder::Paper(_) => {
            let text = match file {
                Some(file) => read_secret(ui, file)?,
                None => typed(ui, &format!("The 24 words of {name}:"), &format!("--with {name}=FILE"))?,
            };
            let sheet = Sheet::parse(&text).map_err(fail)?;
            if sheet.holder.as_ref().is_some_and(|other| other != name) {
                return Err(Failure::new(
                    Kind::NotVerified,
                    format!("--with {name}: the sheet is another holder's. {SAFE}"),
                ));
            }
            sheet.paper.check(name, holder).map_err(fail)?;
            let identity = sheet.paper.identity(suite).map_err(fail)?;
            Ok(Present { name: name.clone(), identity, paper: Some(sheet.paper) })
        }
        Holder::Passphrase(_) => {
            let passphrase = match file {
                Some(file) => read_secret(ui, file)?,
                None => typed(ui, &format!("Passphrase of {name}:"), &format!("--with {name}=FILE"))?,
            };
            let passphrase = SecretString::from(passphrase.trim_end_matches(['\r', '\n']));
            let locked = vault.holder_file(name)?;
            let identity = unlock_identity(name, holder, &locked, &passphrase).map_err(fail)?;
            Ok(Present { name: name.clone(), identity, paper: None })
        }
        Holder::Age(age) => {
            let Some(file) = file else {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("{name} is an age identity: use --with {name}=FILE. {SAFE}"),
                ));
            };
            let identity = first_identity(&read_secret(ui, file)?).map_err(fail)?;
            if identity.recipient().ok().as_ref() != Some(&age.recipient) {
                return Err(Failure::new(
                    Kind::NotVerified,
                    format!(
                        "--with {name}: the identity in {} is another one than the statement names. {SAFE}",
                        file.display()
                    ),
                ));
            }
            Ok(Present { name: name.clone(), identity, paper: None })
        }
        _ => Err(Failure::new(Kind::Usage, format!("{name} takes no file. {SAFE}"))),
    }
}

fn typed(ui: Ui, question: &str, answer_by: &str) -> Result<Zeroizing<String>> {
    use secrecy::ExposeSecret;

    ui.secret(question, answer_by).map(|secret| Zeroizing::new(secret.expose_secret().to_owned()))
}

/// Reads a file with a secret; says so where others can read it too.
///
/// # Errors
/// Those of the file system; a file that is no text.
pub fn read_secret(ui: Ui, path: &Path) -> Result<Zeroizing<String>> {
    use std::os::unix::fs::MetadataExt;

    let fail = |e: std::io::Error| Failure::io("Reading", path, &e);
    if std::fs::metadata(path).map_err(fail)?.mode() & 0o077 != 0 {
        ui.warn(format!("{} can be read by others; chmod 600 {}", path.display(), path.display()));
    }
    let bytes = Zeroizing::new(files::read(path).map_err(fail)?);
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(Failure::new(Kind::Usage, format!("{} is no text. {SAFE}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_options() {
        let with: With = "carol=a=b.txt".parse().unwrap();
        assert_eq!((with.name.as_str(), with.file.unwrap().to_str().unwrap()), ("carol", "a=b.txt"));
        assert!("bob".parse::<With>().unwrap().file.is_none());
        assert!("carol=".parse::<With>().is_err());
        assert!("Carol=x".parse::<With>().is_err());
    }
}
