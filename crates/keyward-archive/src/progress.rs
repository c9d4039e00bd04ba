//! How a caller watches and stops long work. The crate itself prints nothing.

/// Told of progress, from any of the working threads. Every method has a default, so `()` is a
/// `Progress` that watches nothing.
pub trait Progress: Sync {
    /// Whether the totals are worth a count of the tree beside the sealing. Asked once.
    fn wants_total(&self) -> bool {
        false
    }

    /// More work was found: entries of a tree, and bytes of file contents. Calls add up; the
    /// total may grow while the work is on.
    fn found(&self, entries: u64, bytes: u64) {
        let _ = (entries, bytes);
    }

    /// Work was done: entries, and bytes of file contents. Calls add up.
    fn done(&self, entries: u64, bytes: u64) {
        let _ = (entries, bytes);
    }

    /// Whether to stop. Asked at least once a MiB; the work then ends with
    /// [`Error::Interrupted`](crate::Error::Interrupted) and leaves nothing behind.
    fn stopped(&self) -> bool {
        false
    }
}

impl Progress for () {}
