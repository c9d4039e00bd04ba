//! Faults on command. At present one: the token is pulled out before a certain answer.

/// Counts APDUs and says when the hand comes.
#[derive(Debug)]
pub(crate) struct RemoveAt {
    left: Option<u64>,
}

impl RemoveAt {
    /// Pulls the first reader's token before its `n`-th answer since the server began; never with `None`.
    pub(crate) fn new(n: Option<u64>) -> Self {
        Self { left: n.filter(|&n| n > 0) }
    }

    /// Counts one exchange; true if this one gets no answer.
    pub(crate) fn strikes(&mut self) -> bool {
        let Some(left) = self.left else { return false };
        self.left = left.checked_sub(1).filter(|&left| left > 0);
        self.left.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_strikes_once_at_the_nth() {
        let mut fault = RemoveAt::new(Some(3));
        assert_eq!([(); 5].map(|()| fault.strikes()), [false, false, true, false, false]);
        assert_eq!([(); 2].map(|()| RemoveAt::new(None).strikes()), [false, false]);
    }
}
