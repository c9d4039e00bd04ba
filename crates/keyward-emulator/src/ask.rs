//! Asks on the terminal whether to touch a token; the program that runs keeps its own input and output.

use std::{
    fs::File,
    io::{Read, Write},
};

use keyward_emulator::TOUCH_TIMEOUT;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, open},
};

/// Enter touches; anything else before it, or no answer in time, does not. Without a terminal nobody touches.
pub(crate) fn on_terminal(serial: u32) -> bool {
    ask(serial).unwrap_or(false)
}

fn ask(serial: u32) -> std::io::Result<bool> {
    let mut terminal: File = open("/dev/tty", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?.into();
    let seconds = TOUCH_TIMEOUT.as_secs();
    write!(terminal, "Token {serial} wants a touch. Enter touches it, n Enter does not ({seconds} s): ")?;
    let limit = Timespec { tv_sec: i64::try_from(seconds).unwrap_or(15), tv_nsec: 0 };
    let mut ready = [PollFd::new(&terminal, PollFlags::IN)];
    if poll(&mut ready, Some(&limit))? == 0 {
        writeln!(terminal, "\nNobody touched token {serial}.")?;
        return Ok(false);
    }
    let mut answer = [0; 64];
    let length = terminal.read(&mut answer)?;
    Ok(answer.get(..length).is_some_and(|answer| answer.trim_ascii().is_empty() && length > 0))
}
