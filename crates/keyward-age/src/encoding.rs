//! The text forms of age: Bech32 without its length limit, and unpadded base64.
//!
//! Both are canonical: a text is accepted only if it is what the decoded bytes encode to.

use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bech32::primitives::decode::CheckedHrpstring;
use bech32::{Bech32, Checksum, Hrp};
use zeroize::{Zeroize, Zeroizing};

/// Bech32 as in BIP 173, for texts of any length. A long text loses the guarantee on how many
/// errors are found, which age accepts.
enum Bech32Long {}

impl Checksum for Bech32Long {
    type MidstateRepr = <Bech32 as Checksum>::MidstateRepr;
    type CorrectionField = <Bech32 as Checksum>::CorrectionField;
    const ROOT_GENERATOR: Self::CorrectionField = Bech32::ROOT_GENERATOR;
    const ROOT_EXPONENTS: core::ops::RangeInclusive<usize> = Bech32::ROOT_EXPONENTS;
    const CODE_LENGTH: usize = usize::MAX;
    const CHECKSUM_LENGTH: usize = Bech32::CHECKSUM_LENGTH;
    const GENERATOR_SH: [Self::MidstateRepr; 5] = Bech32::GENERATOR_SH;
    const TARGET_RESIDUE: Self::MidstateRepr = Bech32::TARGET_RESIDUE;
}

/// The case of a text: age writes recipients in lower case and identities in upper case, and
/// accepts them so only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Case {
    /// `age1…`
    Lower,
    /// `AGE-SECRET-KEY-1…`
    Upper,
}

/// Encodes `data` under the human-readable part `hrp`.
pub(crate) fn bech32_encode(hrp: &str, data: &[u8], case: Case) -> Zeroizing<String> {
    let hrp = Hrp::parse_unchecked(hrp);
    let encoded = match case {
        Case::Lower => bech32::encode_lower::<Bech32Long>(hrp, data),
        Case::Upper => bech32::encode_upper::<Bech32Long>(hrp, data),
    };
    // The only error is a length beyond the code's, and this code has no such length.
    Zeroizing::new(encoded.unwrap_or_default())
}

/// Decodes `text` and gives its human-readable part, as it is written, and its data; `None` if the
/// text is not the canonical one for that data.
pub(crate) fn bech32_decode(text: &str, case: Case) -> Option<(&str, Zeroizing<Vec<u8>>)> {
    let (hrp, _) = text.rsplit_once('1')?;
    let checked = CheckedHrpstring::new::<Bech32Long>(text).ok()?;
    let mut bytes = checked.byte_iter();
    let mut data = Zeroizing::new(Vec::with_capacity(bytes.len() + 1));
    for byte in &mut bytes {
        data.push(byte);
    }
    let again = bech32_encode(hrp, &data, case);
    (*again == text).then_some((hrp, data))
}

/// Encodes bytes as an argument of a stanza.
pub(crate) fn base64_encode(data: &[u8]) -> String {
    BASE64_STANDARD_NO_PAD.encode(data)
}

/// Decodes an argument of a stanza into exactly `N` bytes; `None` for another length, padding, or
/// trailing bits.
pub(crate) fn base64_arg<const N: usize>(arg: &str) -> Option<[u8; N]> {
    let mut decoded = BASE64_STANDARD_NO_PAD.decode(arg).ok()?;
    let array = decoded.as_slice().try_into().ok();
    decoded.zeroize();
    array
}
