//! Making a paper: 24 words that are shown or written once, and typed back in part where a person is there.

use std::path::Path;

use keyward_age::Suite;
use keyward_custody::{Name, PAPER_WORDS, Paper, Sheet, SheetFacts, VaultId};
use secrecy::ExposeSecret;

use crate::files::PrivateFile;
use crate::present::{With, read_secret};
use crate::report::{Failure, Kind, Result, custody_failure};
use crate::ui::Ui;

const SAFE: &str = "Nothing was changed.";
/// Words that are asked for after a paper was shown.
const ASKED: [usize; 3] = [4, 13, 22];

/// A paper whose words are in somebody's hands already.
#[derive(Debug)]
pub struct Made {
    pub name: Name,
    pub paper: Paper,
}

/// A sheet that an interrupted run wrote: its words are used, since somebody may have put it away already.
#[derive(Debug)]
pub struct Written {
    pub sheet: Sheet,
    pub vault: VaultId,
}

/// Reads the sheet that is in the way of a new one, if it is this holder's of a vault of this suite.
///
/// # Errors
/// Refused (9) where the file is something else.
pub fn written(ui: Ui, name: &Name, file: &Path, suite: Suite) -> Result<Written> {
    let sheet = Sheet::parse(&read_secret(ui, file)?).ok();
    let sheet = sheet.filter(|sheet| sheet.holder.as_ref() == Some(name) && sheet.suite == Some(suite));
    match sheet.and_then(|sheet| Some((sheet.vault?, sheet))) {
        Some((vault, sheet)) => Ok(Written { sheet, vault }),
        None => Err(Failure::new(
            Kind::Refused,
            format!("{} exists and is not overwritten. {SAFE}", file.display()),
        )
        .hint("Name a new file.")),
    }
}

/// Of which vault a paper will be.
#[derive(Debug, Clone, Copy)]
pub struct Of<'a> {
    pub vault_name: &'a Name,
    pub vault_id: VaultId,
    pub suite: Suite,
    pub signs: bool,
}

/// Makes a paper and hands its words out before anything else is done with it.
///
/// # Errors
/// A file that exists (9); no file and no terminal to show it on (2); words typed back wrong.
pub fn make(ui: Ui, with: &With, of: Of<'_>) -> Result<Made> {
    let fail = |error| custody_failure(with.name.as_str(), SAFE, error);
    let paper = Paper::generate().map_err(fail)?;
    let facts = SheetFacts {
        holder: &with.name,
        vault_name: of.vault_name,
        vault_id: of.vault_id,
        suite: of.suite,
        signs: of.signs,
    };
    match &with.file {
        Some(file) => {
            write(file, paper.sheet(&facts).map_err(fail)?.expose_secret().as_bytes())?;
            ui.say(format!(
                "  ✓ {}: 24 words in {}. Keep it where no computer is.",
                with.name,
                file.display()
            ));
        }
        None => show(ui, &with.name, &paper)?,
    }
    Ok(Made { name: with.name.clone(), paper })
}

/// Writes a secret into a new file that only its owner reads.
///
/// # Errors
/// Refused where it exists; those of the file system.
pub fn write(path: &Path, secret: &[u8]) -> Result<()> {
    let mut file = PrivateFile::create(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::new(Kind::Refused, format!("{} exists and is not overwritten. {SAFE}", path.display()))
                .hint("Name a new file.")
        }
        _ => Failure::io("Creating", path, &e),
    })?;
    let line = secret.strip_suffix(b"\n").unwrap_or(secret);
    file.line(line).map_err(|e| Failure::io("Writing", path, &e))
}

fn show(ui: Ui, name: &Name, paper: &Paper) -> Result<()> {
    let by = format!("--paper {name}=FILE");
    if !ui.interactive() {
        return Err(Failure::new(Kind::Usage, format!("The 24 words of {name} have nowhere to go. {SAFE}"))
            .hint(format!("Name a file for them with {by}.")));
    }
    ui.must(format!("  {name}: 24 words, shown once. Write them on paper:"));
    for row in 0..PAPER_WORDS / 4 {
        let words: Vec<String> = (1..=4)
            .map(|column| row * 4 + column)
            .map(|place| format!("{place:>2}. {:<9}", paper.word(place).unwrap_or_default()))
            .collect();
        ui.must(format!("    {}", words.join(" ")));
    }
    for place in ASKED {
        let typed = ui.secret(&format!("  Word {place} of {name}, from the paper:"), &by)?;
        if !paper.has_word(place, typed.expose_secret()) {
            return Err(Failure::new(Kind::Refused, format!("Word {place} is another one. {SAFE}"))
                .hint("Run the command again; it makes a new paper."));
        }
    }
    Ok(())
}
