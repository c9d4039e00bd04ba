//! Faults on command: what goes wrong with which exchange.
//!
//! A fault is armed with a count and strikes at the so-many-th APDU of its token from then on, once. What it does to
//! the exchange is done in `readers`; here is only what there is, how it is written, and when it is due.

use std::{fmt, str::FromStr, time::Duration};

use crate::{Error, Result, token_file::Cut};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// The token is pulled out right before its answer; the command was carried out.
    Remove,
    /// As [`FaultKind::Remove`], and the token is plugged in again at once.
    Reinsert,
    /// A token that is out is plugged in. It counts the APDUs of the other tokens.
    Insert,
    /// The card is reset before the command, as by another program.
    Reset,
    /// Power is lost before the command: it was not carried out.
    PowerBefore,
    /// Power is lost after the command and before its answer.
    PowerAfter,
    /// Power is lost in the middle of writing the state. Commands that change nothing pass.
    PowerInWrite(Cut),
    /// One bit of the answer is wrong.
    Corrupt,
    /// The answer ends after this many bytes.
    Truncate(usize),
    /// The answer takes this long.
    Delay(Duration),
    /// The answer comes when it is released.
    Hold,
}

/// Every way to write a kind.
const KNOWN: &str = "remove, reinsert, insert, reset, power-before, power-after, power-in-write=half|whole|renamed, \
     corrupt, truncate=BYTES, delay=MILLISECONDS and hold, each with @N for the N-th APDU";

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remove => f.write_str("remove"),
            Self::Reinsert => f.write_str("reinsert"),
            Self::Insert => f.write_str("insert"),
            Self::Reset => f.write_str("reset"),
            Self::PowerBefore => f.write_str("power-before"),
            Self::PowerAfter => f.write_str("power-after"),
            Self::PowerInWrite(Cut::Half) => f.write_str("power-in-write=half"),
            Self::PowerInWrite(Cut::Whole) => f.write_str("power-in-write=whole"),
            Self::PowerInWrite(Cut::Renamed) => f.write_str("power-in-write=renamed"),
            Self::Corrupt => f.write_str("corrupt"),
            Self::Truncate(bytes) => write!(f, "truncate={bytes}"),
            Self::Delay(time) => write!(f, "delay={}", time.as_millis()),
            Self::Hold => f.write_str("hold"),
        }
    }
}

fn kind(text: &str) -> Option<FaultKind> {
    Some(match text {
        "remove" => FaultKind::Remove,
        "reinsert" => FaultKind::Reinsert,
        "insert" => FaultKind::Insert,
        "reset" => FaultKind::Reset,
        "power-before" => FaultKind::PowerBefore,
        "power-after" => FaultKind::PowerAfter,
        "power-in-write=half" => FaultKind::PowerInWrite(Cut::Half),
        "power-in-write=whole" => FaultKind::PowerInWrite(Cut::Whole),
        "power-in-write=renamed" => FaultKind::PowerInWrite(Cut::Renamed),
        "corrupt" => FaultKind::Corrupt,
        "hold" => FaultKind::Hold,
        _ => match text.split_once('=')? {
            ("truncate", bytes) => FaultKind::Truncate(bytes.parse().ok()?),
            ("delay", time) => FaultKind::Delay(Duration::from_millis(time.parse().ok()?)),
            _ => return None,
        },
    })
}

/// What goes wrong, and at which APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    kind: FaultKind,
    at: u64,
}

impl Fault {
    /// A fault of the next APDU.
    pub fn next(kind: FaultKind) -> Self {
        Self::nth(kind, 1)
    }

    /// A fault of the `n`-th APDU from its arming on; 0 counts as 1.
    pub fn nth(kind: FaultKind, n: u64) -> Self {
        Self { kind, at: n.max(1) }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.kind, self.at)
    }
}

impl FromStr for Fault {
    type Err = Error;

    /// `KIND@N`, or `KIND` for the next APDU.
    fn from_str(text: &str) -> Result<Self> {
        let (name, at) = text.split_once('@').unwrap_or((text, "1"));
        let at = at.parse().ok().filter(|&at| at > 0);
        match (kind(name), at) {
            (Some(kind), Some(at)) => Ok(Self { kind, at }),
            _ => Err(Error::Fault { text: text.escape_debug().to_string(), known: KNOWN }),
        }
    }
}

/// The faults armed for one token.
#[derive(Debug, Default)]
pub(crate) struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn arm(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Those that have not struck, with the APDUs that are left.
    pub(crate) fn armed(&self) -> impl Iterator<Item = Fault> + '_ {
        self.0.iter().copied()
    }

    /// Counts an APDU of this token, and takes out what strikes now: one fault, the first that was armed.
    pub(crate) fn strike(&mut self) -> Option<FaultKind> {
        self.count(|kind| kind != FaultKind::Insert)
    }

    /// Counts an APDU of another token; true if this one is plugged in now.
    pub(crate) fn strike_insert(&mut self) -> bool {
        self.count(|kind| kind == FaultKind::Insert).is_some()
    }

    fn count(&mut self, concerned: impl Fn(FaultKind) -> bool) -> Option<FaultKind> {
        for fault in self.0.iter_mut().filter(|fault| concerned(fault.kind)) {
            fault.at = fault.at.saturating_sub(1);
        }
        let due = self.0.iter().position(|fault| concerned(fault.kind) && fault.at == 0)?;
        // Others that were due at the same APDU strike at the next.
        for fault in self.0.iter_mut() {
            fault.at = fault.at.max(1);
        }
        Some(self.0.remove(due).kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_as_it_is_written() {
        for text in [
            "remove@1",
            "reinsert@3",
            "insert@2",
            "reset@9",
            "power-before@1",
            "power-after@1",
            "power-in-write=half@1",
            "power-in-write=whole@2",
            "power-in-write=renamed@3",
            "corrupt@1",
            "truncate=4@2",
            "delay=250@1",
            "hold@18446744073709551615",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!("remove".parse::<Fault>().unwrap(), Fault::next(FaultKind::Remove));
    }

    #[test]
    fn what_is_no_fault_is_told_what_there_is() {
        for text in
            ["", "explode@1", "remove@0", "remove@", "remove@x", "truncate", "delay=-1", "@2", "\u{1b}[2J"]
        {
            let message = text.parse::<Fault>().unwrap_err().to_string();
            assert!(message.contains("power-in-write=half|whole|renamed"), "{message}");
            assert!(!message.contains('\u{1b}'));
        }
    }

    #[test]
    fn each_strikes_once_at_its_apdu() {
        let mut faults = Faults::default();
        faults.arm(Fault::nth(FaultKind::Reset, 3));
        faults.arm(Fault::nth(FaultKind::Corrupt, 3));
        faults.arm(Fault::nth(FaultKind::Insert, 1));
        let struck: Vec<_> = (0..5).map(|_| faults.strike()).collect();
        assert_eq!(struck, [None, None, Some(FaultKind::Reset), Some(FaultKind::Corrupt), None]);
        assert_eq!(faults.armed().map(|fault| fault.to_string()).collect::<Vec<_>>(), ["insert@1"]);
        assert!(faults.strike_insert() && !faults.strike_insert());
        faults.arm(Fault::next(FaultKind::Hold));
        faults.clear();
        assert_eq!(faults.strike(), None);
    }
}
