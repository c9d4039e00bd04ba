//! What Ctrl-C and SIGTERM do: end a prompt at once, and a long step cleanly.
//!
//! A long step writes under a temporary name. While one runs, the first signal only asks it to stop, so that the
//! temporary name is removed; a second signal, or one at any other time, ends the process with code 130.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::report::Kind;

static LONG_STEP: AtomicBool = AtomicBool::new(false);
static ASKED: AtomicBool = AtomicBool::new(false);

/// Listens for the signals from now on.
pub fn listen() {
    // A second listener cannot exist, and without one the default action ends the process as well.
    let _ = ctrlc::set_handler(|| {
        if !LONG_STEP.load(Ordering::SeqCst) || ASKED.swap(true, Ordering::SeqCst) {
            std::process::exit(i32::from(Kind::Interrupted.code()));
        }
    });
}

/// Whether the long step that runs was asked to stop.
pub fn asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Marks a long step for as long as it lives.
#[derive(Debug)]
pub struct LongStep(());

impl LongStep {
    /// The step begins.
    pub fn begin() -> Self {
        LONG_STEP.store(true, Ordering::SeqCst);
        LongStep(())
    }
}

impl Drop for LongStep {
    fn drop(&mut self) {
        LONG_STEP.store(false, Ordering::SeqCst);
    }
}
