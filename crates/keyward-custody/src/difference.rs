//! What changes from one statement to another, as lines for whoever is asked to sign.
//!
//! Every member of a statement is in a line, so that nothing changes unseen: where a line cannot show all of a thing, it
//! ends in the thing's digest.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::{Digest, Holder, PublicKey, Statement, canonical};

/// A line of a difference; displayed with its sign before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DifferenceLine {
    /// Whether it is added, or taken away.
    pub added: bool,
    /// What it says.
    pub text: String,
}

impl fmt::Display for DifferenceLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", if self.added { '+' } else { '−' }, self.text)
    }
}

/// The lines that differ, what is taken away before what is added. Empty if only generation and dates of creation differ.
pub fn difference(before: &Statement, after: &Statement) -> Vec<DifferenceLine> {
    let (old, new) = (lines(before), lines(after));
    let mut places: Vec<&(u8, String)> = old.keys().chain(new.keys()).collect();
    places.sort();
    places.dedup();
    let mut difference = Vec::new();
    for place in places {
        let (was, is) = (old.get(place), new.get(place));
        if was != is {
            difference.extend(was.map(|text| DifferenceLine { added: false, text: text.clone() }));
            difference.extend(is.map(|text| DifferenceLine { added: true, text: text.clone() }));
        }
    }
    difference
}

/// What a statement says, by what each line is about, in the order of importance.
fn lines(statement: &Statement) -> BTreeMap<(u8, String), String> {
    let mut lines = BTreeMap::new();
    let mut put = |order: u8, about: String, text: String| {
        lines.insert((order, about), text);
    };
    let only = String::new;
    put(0, only(), format!("policy: {}", statement.policy()));
    for (name, holder) in statement.claimed_holders() {
        put(1, name.to_string(), format!("holder {name}: {}", holder_text(holder)));
    }
    for (name, key) in statement.admins() {
        put(2, name.to_string(), format!("admin {name}: {}", key.fingerprint()));
    }
    let (thresholds, admins) = (statement.thresholds(), statement.admins().len());
    put(3, only(), format!("root changes: {} of {admins} signatures", thresholds.root));
    put(4, only(), format!("routine changes: {} of {admins} signatures", thresholds.routine));
    let require = match statement.requirements().to_string() {
        none if none.is_empty() => "requirements: none".to_owned(),
        some => format!("requirements: {some}"),
    };
    put(5, only(), require);
    for epoch in statement.claimed_epochs() {
        let recipient = short(Digest::of(epoch.recipient().to_string().as_bytes()));
        put(
            6,
            format!("{:010}", epoch.number()),
            format!(
                "{epoch}: since {}, recipient {recipient}, key file {} {}",
                epoch.since(),
                epoch.file_name(),
                short(epoch.digest())
            ),
        );
    }
    for (name, sealer) in statement.claimed_sealers() {
        let by = sealer.by().map_or(String::new(), |by| format!(", of {by}"));
        let removed = sealer.removed().map_or(String::new(), |removed| {
            let last: Vec<String> = removed
                .last()
                .iter()
                .map(|(series, link)| format!("{series} {} {}", link.sequence, short(link.digest)))
                .collect();
            let last = if last.is_empty() { "none".to_owned() } else { last.join(", ") };
            format!(", removed in generation {}, last receipts {last}", removed.generation())
        });
        let (key, added) = (sealer.key().fingerprint(), sealer.added());
        put(7, name.to_string(), format!("sealer {name}: {key}, since generation {added}{by}{removed}"));
    }
    put(8, only(), format!("expires: {}", statement.expires()));
    let kind = if statement.is_test() { ", a test vault" } else { "" };
    put(
        9,
        only(),
        format!("vault {} {}, suite {}{kind}", statement.name(), statement.vault_id(), statement.suite()),
    );
    lines
}

fn holder_text(holder: &Holder) -> String {
    let digest = match canonical::encode("holder", holder) {
        Ok(bytes) => short(Digest::of(&bytes)),
        Err(_) => "(no digest)".to_owned(),
    };
    match holder {
        Holder::Token(token) => {
            let serial = token.serial.map_or("without serial number".to_owned(), |serial| serial.to_string());
            let firmware = token.firmware.map_or("unknown".to_owned(), |firmware| firmware.to_string());
            format!(
                "token {serial}, firmware {firmware}, {}, PIN {}, touch {}, {digest}",
                token.verdict, token.pin_policy, token.touch_policy
            )
        }
        Holder::Paper(paper) if paper.signing.is_some() => format!("paper that can sign, {digest}"),
        other => format!("{}, {digest}", other.kind()),
    }
}

/// The first 64 bits, for telling things apart.
fn short(digest: Digest) -> String {
    digest.to_string().chars().take(16).collect()
}

impl PublicKey {
    /// The key's fingerprint as `ssh-keygen -l` shows it: `SHA256:` and base64.
    pub fn fingerprint(&self) -> String {
        format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(self.to_wire())))
    }
}
