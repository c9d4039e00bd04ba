//! What a test does to tokens: pulls them out, plugs them in, touches them, arms faults, and looks.
//!
//! A token is named by its reader or its serial.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use super::{Readers, TokenStatus, table::printable};
use crate::{Error, Fault, Result, Touch, touch::Hand};

impl Readers {
    /// Pulls a token out: its reader disappears, its handles are dead, the card is without power.
    pub(crate) fn remove(&self, which: &str) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        if table.readers.get(index).is_some_and(|reader| !reader.inserted) {
            return Err(Error::Control(format!("{} is out already", printable(which))));
        }
        table.remove(index);
        self.announce(table);
        Ok(())
    }

    /// Plugs a token back in.
    pub(crate) fn insert(&self, which: &str) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        if table.readers.get(index).is_some_and(|reader| reader.inserted) {
            return Err(Error::Control(format!("{} is in already", printable(which))));
        }
        table.insert(index);
        self.announce(table);
        Ok(())
    }

    /// Resets the card, as another program might: its users hear of it.
    pub(crate) fn reset_token(&self, which: &str) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        if table.readers.get(index).is_some_and(|reader| !reader.inserted) {
            return Err(Error::Control(format!("{} is out", printable(which))));
        }
        table.reset(index);
        self.announce(table);
        Ok(())
    }

    /// Has somebody else hold the reader exclusively, or let go of it.
    pub(crate) fn occupy(&self, which: &str, occupied: bool) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        let Some(reader) = table.readers.get_mut(index) else { return Ok(()) };
        let reason = match (occupied, reader.occupied) {
            (true, true) => Some("is occupied already"),
            (false, false) => Some("is not occupied"),
            (true, false) if !reader.inserted => Some("is out"),
            (true, false) if reader.exclusive || reader.shared > 0 => Some("has connections open"),
            _ => None,
        };
        if let Some(reason) = reason {
            return Err(Error::Control(format!("{} {reason}", printable(which))));
        }
        reader.occupied = occupied;
        self.announce(table);
        Ok(())
    }

    /// Arms a fault.
    pub(crate) fn arm(&self, which: &str, fault: Fault) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        if let Some(reader) = table.readers.get_mut(index) {
            reader.faults.arm(fault);
        }
        Ok(())
    }

    /// Disarms every fault of a token.
    pub(crate) fn disarm(&self, which: &str) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        if let Some(reader) = table.readers.get_mut(index) {
            reader.faults.clear();
        }
        Ok(())
    }

    /// Lets an answer go that is held back.
    pub(crate) fn release_answer(&self, which: &str) -> Result<()> {
        let mut table = self.table();
        let index = table.find(which)?;
        let held = table.readers.get_mut(index).is_some_and(|reader| std::mem::take(&mut reader.holding));
        drop(table);
        self.changed.notify_all();
        if held { Ok(()) } else { Err(Error::Control(format!("{} holds no answer back", printable(which)))) }
    }

    /// Changes what happens when a key wants a touch, on every token.
    pub(crate) fn set_touch(&self, touch: Touch) {
        for hand in self.hands(None).unwrap_or_default() {
            hand.set(touch);
        }
    }

    /// Ends the waits for a touch of a token, or of all: touched or not.
    pub(crate) fn decide(&self, which: Option<&str>, touched: bool) -> Result<()> {
        // Every hand is told; `any` alone would stop at the first.
        let decided = self.hands(which)?.iter().filter(|hand| hand.decide(touched)).count();
        if decided > 0 { Ok(()) } else { Err(Error::NothingWaits) }
    }

    /// Waits until a token asks for a touch; false if it has not by then.
    pub(crate) fn wait_until_asked(&self, which: &str, limit: Duration) -> Result<bool> {
        let hands = self.hands(Some(which))?;
        Ok(hands.first().is_some_and(|hand| hand.wait_until_asked(limit)))
    }

    /// Waits until so many APDUs were sent to a token; false if not by then.
    pub(crate) fn wait_for_apdus(&self, which: &str, count: u64, limit: Duration) -> Result<bool> {
        let table = self.table();
        let index = table.find(which)?;
        let waited = self.changed.wait_timeout_while(table, limit, |table| {
            !table.closed && table.readers.get(index).is_some_and(|reader| reader.apdus < count)
        });
        let table = waited.unwrap_or_else(PoisonError::into_inner).0;
        Ok(table.readers.get(index).is_some_and(|reader| reader.apdus >= count))
    }

    fn hands(&self, which: Option<&str>) -> Result<Vec<Arc<Hand>>> {
        let table = self.table();
        let only = which.map(|which| table.find(which)).transpose()?;
        let wanted =
            table.readers.iter().enumerate().filter(|(index, _)| only.is_none_or(|only| only == *index));
        Ok(wanted.map(|(_, reader)| Arc::clone(&reader.hand)).collect())
    }

    /// Waits until a token is in, or out; false if the time is over or the server stops.
    pub(crate) fn wait_until_inserted(&self, index: usize, inserted: bool, limit: Duration) -> bool {
        let waits = |table: &mut super::table::Table| {
            !table.closed && table.readers.get(index).is_some_and(|reader| reader.inserted != inserted)
        };
        let waited = self.changed.wait_timeout_while(self.table(), limit, waits);
        let (table, _) = waited.unwrap_or_else(PoisonError::into_inner);
        !table.closed && table.readers.get(index).is_some_and(|reader| reader.inserted == inserted)
    }

    /// A driver takes power away or resets: all it was shown is forgotten.
    pub(crate) fn power_cycle(&self, index: usize) {
        let mut table = self.table();
        if index < table.readers.len() {
            table.reset(index);
        }
    }

    /// Lets go of the token files, which unlocks them.
    pub(crate) fn give_back_tokens(&self) {
        self.table().readers.clear();
    }

    /// Whether the server is being stopped.
    pub(crate) fn is_closed(&self) -> bool {
        self.table().closed
    }

    /// The exchanges that were kept, oldest first.
    pub(crate) fn exchanges(&self) -> Vec<crate::Exchange> {
        self.table().trace.kept()
    }

    /// How things stand, a token after the other.
    pub(crate) fn tokens(&self) -> Vec<TokenStatus> {
        let table = self.table();
        let tokens = table.readers.iter().enumerate().map(|(index, reader)| TokenStatus {
            reader: reader.name.clone(),
            serial: reader.serial,
            firmware: reader.firmware,
            inserted: reader.inserted,
            connections: table.handles.values().filter(|handle| handle.reader == index).count(),
            touch: reader.hand.touch(),
            waiting: reader.hand.is_asked(),
            apdus: reader.apdus,
            faults: reader.faults.armed().collect(),
        });
        tokens.collect()
    }
}
