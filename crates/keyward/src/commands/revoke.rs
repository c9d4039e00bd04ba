//! `keyward revoke`: a holder leaves all that comes. Public keys and signatures suffice; nobody who stays has to be
//! present to open anything.

use std::path::Path;

use keyward_custody::{Name, Removal};

use crate::changing::Changing;
use crate::cli::RevokeArgs;
use crate::report::{Result, custody_failure};
use crate::ui::{self, Ui};

const SAFE: &str = "Nothing was changed.";

/// Revokes.
///
/// # Errors
/// Nobody of that name (2); a policy that cannot be satisfied any more or rests on one holder (9); signatures that are
/// missing (8).
pub fn run(ui: Ui, vault: Option<&Path>, args: RevokeArgs) -> Result<()> {
    let changing = Changing::begin(ui, vault, &args.change)?;
    let fail = |error| custody_failure(&args.name, SAFE, error);
    let name: Name = args.name.parse().map_err(fail)?;
    let policy = args
        .policy
        .as_deref()
        .map(|text| text.parse().map_err(|error| fail(keyward_custody::Error::Policy(error))))
        .transpose()?;
    let mut draft = changing.draft()?;
    draft.no_recovery = args.no_recovery;
    let removal = Removal { policy, shrink: args.shrink };
    let (removed, epoch) = draft.revoke(&name, &removal).map_err(fail)?;
    // What cannot be done is refused before it is announced.
    draft.build().map_err(fail)?;
    let vault_name = changing.vault.name();
    if removed.holder {
        ui.say(format!(
            "{name} leaves vault `{vault_name}`. From now on new archives open with: {}.",
            removed.policy
        ));
    } else {
        ui.say(format!("{name} is no admin of vault `{vault_name}` any more."));
    }
    if let Some(file) = &epoch {
        ui.say(format!("New epoch {}.", file.id().version));
    }
    let was_direct = changing.vault.sealed_to().iter().any(|to| *to == name.as_str());
    if removed.admin && removed.thresholds != removed.thresholds_before {
        ui.say(format!(
            "{} now suffice for a change of who holds.",
            ui::count(removed.thresholds.root.into(), "signature", "signatures")
        ));
    }
    let hosts = changing.vault.verified().sealers().iter();
    let hosts = hosts.filter(|(_, sealer)| sealer.removed().is_none() && sealer.by() == Some(&name));
    let hosts: Vec<String> = hosts.map(|(host, _)| host.to_string()).collect();
    changing.carry_out(&draft, Vec::new())?;
    if removed.holder {
        let still = if was_direct {
            format!(
                "{name}'s key still opens every archive that was sealed until now, wherever a copy of it is."
            )
        } else {
            format!(
                "{name}'s share, together with the others', still opens archives that were sealed until now."
            )
        };
        ui.say(still);
        ui.say("Replace those that matter with: keyward reseal ARCHIVE…");
        if args.stolen {
            ui.say("If the PIN may be known, treat what those archives hold as read.");
        }
    }
    for host in hosts {
        ui.say(format!(
            "{name} controls host {host}, whose receipts still count. Take it out with: keyward sealer remove {host}"
        ));
    }
    Ok(())
}
