//! Where an archive comes from: its receipt is checked before anybody is asked for a PIN or a touch.

use keyward_archive::{Place, Sealed};
use keyward_custody::{
    Auditor, Digest, Finding, FoundArchive, Origin, RECEIPT_SUFFIX, SignedReceipt, Timestamp,
};

use crate::receipts::{self, Scribe, address};
use crate::report::{Failure, Kind, Result, archive_failure};
use crate::state::State;
use crate::ui::Ui;
use crate::vault_folder::Trusted;

const SAFE: &str = "Nothing was written.";
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Checks an archive by its receipt and says what it is. Where `unverified` accepts an archive whose origin cannot be
/// checked, there may be none.
///
/// # Errors
/// Not verified (7), with what is wrong.
pub fn check(
    ui: Ui,
    state: &State,
    vault: &Trusted,
    place: &Place,
    sealed: &Sealed,
    unverified: bool,
) -> Result<Option<Origin>> {
    let id = vault.statement().vault_id();
    let mut receipt = read_receipt(place)?;
    if receipt.is_none()
        && let Some(scribe) = Scribe::find(ui, state, vault)?
    {
        // This host may have been interrupted between the two.
        scribe.settle_all()?;
        receipt = read_receipt(place)?;
    }
    let heads = state.heads(id)?;
    let found = found(place, sealed);
    match Auditor::new(vault.verified(), &heads).archive(&found, receipt.as_deref()) {
        Ok(origin) => {
            ui.say(said(&origin));
            if let Some(newer) = origin.newer() {
                let series = origin.receipt().series();
                ui.say(format!("Receipt {newer} is the newest of series {series} that this host has seen."));
            }
            state.see(origin.receipt(), receipts::folder(&found.path))?;
            Ok(Some(origin))
        }
        Err(finding) if unverified => {
            ui.warn(format!("{place}: {finding}. It is opened all the same."));
            Ok(None)
        }
        Err(finding) => Err(refused(place, &finding)),
    }
}

/// An archive as an audit takes it. The content is not read for it.
pub fn found(place: &Place, sealed: &Sealed) -> FoundArchive {
    FoundArchive {
        path: address(place),
        header: Digest::from_bytes(sealed.header_digest()),
        size: sealed.size(),
        blake3: None,
    }
}

/// The receipt beside an archive; none if there is none. One that is too large for a receipt is read as an empty one, which
/// is refused.
///
/// # Errors
/// Those of the place.
pub fn read_receipt(place: &Place) -> Result<Option<Vec<u8>>> {
    let at = place.sibling(RECEIPT_SUFFIX);
    match at.read_small(SignedReceipt::MAX_LEN) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(keyward_archive::Error::Missing { .. }) => Ok(None),
        Err(keyward_archive::Error::TooLarge { .. } | keyward_archive::Error::NotAnArchive { .. }) => {
            Ok(Some(Vec::new()))
        }
        Err(error) => Err(archive_failure(&at.to_string(), SAFE, error)),
    }
}

/// What a person is told before the PIN.
fn said(origin: &Origin) -> String {
    let receipt = origin.receipt();
    let (day, host, number) = (day(receipt.time()), receipt.sealer(), receipt.sequence());
    match origin.archive().adopted {
        false => format!("Sealed {day} by host {host}, receipt {number}, checked."),
        true => format!(
            "Adopted {day} by host {host}, receipt {number}, checked; {host} vouches for it and did not make it."
        ),
    }
}

/// A date as people write it: `24 November 2026`, in UTC.
pub fn day(time: Timestamp) -> String {
    let text = time.to_string();
    let mut parts = text.get(..10).unwrap_or_default().split('-');
    let (year, month, day) = (parts.next(), parts.next(), parts.next());
    let month = month
        .and_then(|month| month.parse::<usize>().ok())
        .and_then(|month| MONTHS.get(month.checked_sub(1)?));
    match (year, month, day) {
        (Some(year), Some(month), Some(day)) => format!("{} {month} {year}", day.trim_start_matches('0')),
        _ => text,
    }
}

/// The refusal of an archive, with what to do next.
fn refused(place: &Place, finding: &Finding) -> Failure {
    let failure = Failure::new(Kind::NotVerified, format!("{place}: {finding}. {SAFE}"));
    match finding {
        Finding::NoReceipt => failure
            .fact("So it is not known who made it, or whether it is the one that was made.")
            .hint("If its receipt was left behind, fetch it too. Files of another program: keyward receipt adopt.")
            .hint("--unverified opens it all the same."),
        Finding::LaterGeneration { .. } => {
            failure.hint("The vault on this machine is an old copy. Fetch it anew and run the command again.")
        }
        Finding::OtherVault { .. } => failure.hint("Name its vault with --vault. --unverified opens it all the same."),
        Finding::Uncertified { .. } => failure
            .hint("If that host is one of yours, an admin certifies it with keyward sealer add.")
            .hint("--unverified opens it all the same."),
        Finding::RemovedSealer { .. } => failure
            .hint("Whoever has the key of that host may have made it. --unverified opens it all the same."),
        Finding::Reordered { .. } => failure
            .hint("If you renamed it yourself, name it back. keyward verify says what else is wrong there."),
        _ => failure
            .hint("Somebody with access to the store may have changed it. Fetch another copy, or look with keyward verify.")
            .hint("--unverified opens it all the same."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (time, said) in [
            ("2026-11-24T16:00:00Z", "24 November 2026"),
            ("1970-01-01T00:00:00Z", "1 January 1970"),
            ("9999-12-31T23:59:59Z", "31 December 9999"),
        ] {
            assert_eq!(day(time.parse().unwrap()), said);
        }
    }
}
