//! What a statement says of a token, held against the evidence that the statement carries: offline, before sealing.
//!
//! The admins' signatures say who holds; the token's maker says what kind of key that is. A statement whose words
//! go beyond its evidence is not used to seal.

use keyward_custody::{Statement, Token, Verdict, Verified};
use keyward_token::Point;
use keyward_token::attest;

use crate::report::{Failure, Kind, Result};

/// Checks every token of a verified statement.
///
/// # Errors
/// Not verified (7), naming the holder, where words and evidence differ.
pub fn check_all(verified: &Verified<Statement>) -> Result<()> {
    for (name, holder) in verified.holders() {
        let Some(token) = holder.token() else { continue };
        check(token).map_err(|reason| {
            Failure::new(Kind::NotVerified, format!("The token of {name}: {reason}. Nothing was written."))
                .hint("An admin enrols it again; until then do not seal for this vault.")
        })?;
    }
    Ok(())
}

/// Checks one token; says in words what differs.
///
/// # Errors
/// The difference.
pub fn check(token: &Token) -> std::result::Result<(), String> {
    let keys: Vec<Point> =
        [token.archive.point(), token.custody.point(), token.signing.key.p256_point().copied()]
            .into_iter()
            .flatten()
            .collect();
    let (verdict, attestations) = attest::verdict(&token.attestation, &keys, token.serial)
        .map_err(|error| format!("its attestation does not hold: {error}"))?;
    let recorded = token.verdict;
    // An issuer-held key is one that nothing attests; that the issuer has it only people know.
    let same = match recorded {
        Verdict::IssuerHeld => verdict == attest::Verdict::Unattested,
        other => other.to_string() == verdict.to_string(),
    };
    if !same {
        return Err(format!("the statement calls it {recorded}, and its attestation says {verdict}"));
    }
    let Some(archive) = attestations.first() else { return Ok(()) };
    let firmware = token.firmware.map(|firmware| firmware.to_string());
    for (what, said, attested) in [
        ("PIN policy", token.pin_policy.to_string(), archive.pin_policy.to_string()),
        ("touch policy", token.touch_policy.to_string(), archive.touch_policy.to_string()),
        ("firmware", firmware.unwrap_or_else(|| archive.firmware.to_string()), archive.firmware.to_string()),
    ] {
        if said != attested {
            return Err(format!("the statement gives it {what} {said}, and its attestation says {attested}"));
        }
    }
    Ok(())
}
