//! One APDU: the token is taken out of its reader, works, and is put back.
//!
//! While it is out the table is free, since a command may wait for a touch: other readers go on, and the token can
//! be pulled out or be touched. Whoever wants the same token waits until it is back, as for a reader that is busy.
//! Faults strike here.

use std::{
    sync::{MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{ClientId, Code, Outcome, Readers, table::Table};
use crate::{fault::FaultKind, token_file::TokenFile};

/// How long an answer is held back at most, so that nothing hangs for ever on a release that never comes.
const LONGEST_HOLD: Duration = Duration::from_secs(60);

/// A token out of its reader; it goes back however the work ends.
struct Loan<'a> {
    readers: &'a Readers,
    index: usize,
    token: Option<TokenFile>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        if let Some(token) = self.token.take() {
            put_back(&mut self.readers.table(), self.index, token);
            self.readers.changed.notify_all();
        }
    }
}

fn put_back(table: &mut Table, index: usize, mut token: TokenFile) {
    let Some(reader) = table.readers.get_mut(index) else { return };
    if std::mem::take(&mut reader.cycle) {
        token.power_cycle();
    }
    reader.token = Some(token);
}

/// What became of a command.
struct Worked {
    outcome: Outcome<Vec<u8>>,
    /// The card lost its session; its other users hear of it.
    reset: bool,
    /// The fault found nothing to strike and waits for the next command.
    rearm: Option<FaultKind>,
}

impl Readers {
    /// SCardTransmit.
    pub(crate) fn transmit(&self, client: ClientId, handle: i32, apdu: &[u8]) -> Outcome<Vec<u8>> {
        let mut table = self.table();
        loop {
            // In pcscd's order: somebody else's transaction, then what happened to the card.
            let index = table.index_of(client, handle)?;
            table.check_lock(index, handle)?;
            table.use_handle(client, handle)?;
            match table.readers.get_mut(index).and_then(|reader| reader.token.take()) {
                Some(token) => return self.exchange(table, index, token, apdu),
                None => table = self.wait_for_change(table)?,
            }
        }
    }

    /// An APDU from whoever is not a PC/SC client: a driver that has the token for itself.
    pub(crate) fn transmit_direct(&self, index: usize, apdu: &[u8]) -> Outcome<Vec<u8>> {
        let mut table = self.table();
        loop {
            let reader = table.readers.get_mut(index).filter(|reader| reader.inserted);
            match reader.ok_or(Code::READER_UNAVAILABLE)?.token.take() {
                Some(token) => return self.exchange(table, index, token, apdu),
                None => table = self.wait_for_change(table)?,
            }
        }
    }

    fn exchange(
        &self,
        mut table: MutexGuard<'_, Table>,
        index: usize,
        token: TokenFile,
        apdu: &[u8],
    ) -> Outcome<Vec<u8>> {
        let mut loan = Loan { readers: self, index, token: Some(token) };
        let Some(reader) = table.readers.get_mut(index) else {
            drop(table); // the loan takes it to go back
            return Err(Code::READER_UNAVAILABLE);
        };
        reader.apdus = reader.apdus.saturating_add(1);
        let fault = reader.faults.strike();
        reader.holding = fault == Some(FaultKind::Hold);
        let plugged = reader.events;
        drop(table);
        self.changed.notify_all(); // somebody may count APDUs

        let Some(token) = loan.token.as_mut() else { return Err(Code::READER_UNAVAILABLE) };
        let Worked { mut outcome, reset, rearm } = work(token, apdu, fault);
        let mut table = match fault {
            Some(FaultKind::Hold) => self.hold(index),
            Some(FaultKind::Delay(time)) => self.delay(index, plugged, time),
            _ => self.table(),
        };

        let reboot = loan.token.as_mut().is_some_and(TokenFile::take_reboot);
        if let Some(token) = loan.token.take() {
            put_back(&mut table, index, token);
        }
        let Some(reader) = table.readers.get_mut(index) else { return Err(Code::READER_UNAVAILABLE) };
        if let Some(kind) = rearm {
            reader.faults.arm(crate::Fault::next(kind));
        }
        let gone = reader.events != plugged;
        let pulled = !gone && matches!(fault, Some(FaultKind::Remove | FaultKind::Reinsert));
        if gone || pulled {
            outcome = Err(Code::READER_UNAVAILABLE);
        }
        let (name, serial) = (reader.name.clone(), reader.serial);
        let answer = outcome.as_deref().ok();
        if table.trace.exchange((&name, Some(serial)), apdu, answer).is_err() {
            outcome = Err(Code::NOT_TRANSACTED); // a trace that lacks lines would count wrong
        }
        if reset && !gone {
            table.reset(index);
        }
        if pulled {
            table.remove(index);
            if fault == Some(FaultKind::Reinsert) {
                table.insert(index);
            }
        }
        let reboot = reboot && !gone && !pulled;
        if reboot {
            table.reboot(index);
        }
        let inserted = insert_those_due(&mut table, index);
        if pulled || reboot || inserted {
            self.announce(table);
        } else {
            drop(table);
            self.changed.notify_all();
        }
        outcome
    }

    /// Waits until the answer is released, the token is pulled out or the server stops.
    fn hold(&self, index: usize) -> MutexGuard<'_, Table> {
        let held = |table: &mut Table| {
            !table.closed && table.readers.get(index).is_some_and(|reader| reader.holding)
        };
        let waited = self.changed.wait_timeout_while(self.table(), LONGEST_HOLD, held);
        let mut table = waited.unwrap_or_else(PoisonError::into_inner).0;
        if let Some(reader) = table.readers.get_mut(index) {
            reader.holding = false;
        }
        table
    }

    /// Waits this long, or until the token is pulled out or the server stops.
    fn delay(&self, index: usize, plugged: u32, time: Duration) -> MutexGuard<'_, Table> {
        let begun = Instant::now();
        let waits = |table: &mut Table| {
            let there = table.readers.get(index).is_some_and(|reader| reader.events == plugged);
            there && !table.closed && begun.elapsed() < time
        };
        let waited = self.changed.wait_timeout_while(self.table(), time, waits);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Lets the card work, under a fault or none.
fn work(token: &mut TokenFile, apdu: &[u8], fault: Option<FaultKind>) -> Worked {
    let answered = |outcome| Worked { outcome: Ok(outcome), reset: false, rearm: None };
    let lost = |code| Worked { outcome: Err(code), reset: true, rearm: None };
    match fault {
        Some(FaultKind::Reset) => lost(Code::RESET_CARD),
        Some(FaultKind::PowerBefore) => lost(Code::NOT_TRANSACTED),
        Some(FaultKind::PowerAfter) => {
            token.transmit(apdu);
            lost(Code::NOT_TRANSACTED)
        }
        Some(FaultKind::PowerInWrite(cut)) => match token.transmit_cut(apdu, cut) {
            Some(answer) => Worked { rearm: fault, ..answered(answer) },
            None => lost(Code::NOT_TRANSACTED),
        },
        Some(FaultKind::Corrupt) => {
            let mut answer = token.transmit(apdu);
            let middle = answer.len() / 2;
            if let Some(byte) = answer.get_mut(middle) {
                *byte ^= 1;
            }
            answered(answer)
        }
        Some(FaultKind::Truncate(length)) => {
            let mut answer = token.transmit(apdu);
            answer.truncate(length);
            answered(answer)
        }
        _ => answered(token.transmit(apdu)),
    }
}

/// Plugs in what counts the APDUs of others and has counted enough.
fn insert_those_due(table: &mut Table, answered: usize) -> bool {
    let due: Vec<usize> = table
        .readers
        .iter_mut()
        .enumerate()
        .filter(|(index, reader)| *index != answered && !reader.inserted)
        .filter_map(|(index, reader)| reader.faults.strike_insert().then_some(index))
        .collect();
    for &index in &due {
        table.insert(index);
    }
    !due.is_empty()
}
