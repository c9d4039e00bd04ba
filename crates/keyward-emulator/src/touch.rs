//! The finger: who touches a token when a key wants it, and how long that takes.
//!
//! A card only asks a [`Finger`] and waits. Behind the finger of a served token is a [`Hand`], which the control
//! socket and the library move. The hand of a token that is pulled out lets go: the wait ends untouched.

use std::{
    fmt,
    str::FromStr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use crate::{Error, Result};

/// How long a YubiKey waits for a touch.
pub const TOUCH_TIMEOUT: Duration = Duration::from_secs(15);

/// What happens when a key wants a touch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Touch {
    /// Every wait for a touch is answered at once.
    #[default]
    Auto,
    /// Nobody touches: each wait ends at once as a time-out does, with 6982.
    Deny,
    /// Somebody is asked; who, says [`Options::ask`](crate::Options). Without anybody it is a time-out.
    Ask,
    /// The token waits for the control socket, at most [`TOUCH_TIMEOUT`].
    Manual,
    /// The touch comes after this time; from [`TOUCH_TIMEOUT`] on it comes too late.
    Delay(Duration),
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Deny => f.write_str("deny"),
            Self::Ask => f.write_str("ask"),
            Self::Manual => f.write_str("manual"),
            Self::Delay(time) => write!(f, "delay={}", time.as_millis()),
        }
    }
}

impl FromStr for Touch {
    type Err = Error;

    /// `auto`, `deny`, `ask`, `manual` or `delay=MILLISECONDS`.
    fn from_str(text: &str) -> Result<Self> {
        let delay = |text: &str| Some(Self::Delay(Duration::from_millis(text.parse().ok()?)));
        match text {
            "auto" => Some(Self::Auto),
            "deny" => Some(Self::Deny),
            "ask" => Some(Self::Ask),
            "manual" => Some(Self::Manual),
            _ => text.strip_prefix("delay=").and_then(delay),
        }
        .ok_or_else(|| Error::Touch { text: text.escape_debug().to_string() })
    }
}

/// What a card asks for a touch.
pub(crate) struct Finger(Box<dyn FnMut() -> bool + Send>);

impl Finger {
    pub(crate) fn new(touches: impl FnMut() -> bool + Send + 'static) -> Self {
        Self(Box::new(touches))
    }

    /// Whether it touches; returns when that is known.
    pub(crate) fn touches(&mut self) -> bool {
        (self.0)()
    }
}

impl Default for Finger {
    fn default() -> Self {
        Self::new(|| true)
    }
}

/// Asks a person whether to touch the token with this serial; it may take up to [`TOUCH_TIMEOUT`].
#[derive(Clone)]
pub struct Ask(Arc<dyn Fn(u32) -> bool + Send + Sync>);

impl Ask {
    /// Asks with this.
    pub fn new(ask: impl Fn(u32) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ask")
    }
}

/// The hand beside one served token.
pub(crate) struct Hand {
    serial: u32,
    ask: Option<Ask>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    touch: Touch,
    asked: bool,
    closed: bool,
    verdict: Option<bool>,
}

impl Hand {
    pub(crate) fn new(serial: u32, touch: Touch, ask: Option<Ask>) -> Self {
        let state = Mutex::new(State { touch, asked: false, closed: false, verdict: None });
        Self { serial, ask, state, changed: Condvar::new() }
    }

    /// The finger that this hand moves.
    pub(crate) fn finger(self: &Arc<Self>) -> Finger {
        let hand = Arc::clone(self);
        Finger::new(move || hand.touches())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn touches(&self) -> bool {
        let mut state = self.state();
        let time = match state.touch {
            Touch::Auto => return true,
            Touch::Deny => return false,
            Touch::Ask => {
                drop(state);
                return self.ask.as_ref().is_some_and(|Ask(ask)| ask(self.serial));
            }
            Touch::Manual => TOUCH_TIMEOUT,
            Touch::Delay(time) => time.min(TOUCH_TIMEOUT),
        };
        let comes = matches!(state.touch, Touch::Delay(time) if time < TOUCH_TIMEOUT);
        (state.asked, state.verdict) = (true, None);
        self.changed.notify_all();
        let deadline = Instant::now() + time;
        while state.verdict.is_none() && !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.asked = false;
        let by_itself = comes && !state.closed;
        state.verdict.take().unwrap_or(by_itself)
    }

    /// Ends a wait for a touch, touched or not; false if nothing waits.
    pub(crate) fn decide(&self, touched: bool) -> bool {
        let mut state = self.state();
        let asked = state.asked && state.verdict.is_none();
        if asked {
            state.verdict = Some(touched);
            self.changed.notify_all();
        }
        asked
    }

    /// What happens from now on; a wait under way ends if nobody has to wait any more.
    pub(crate) fn set(&self, touch: Touch) {
        self.state().touch = touch;
        match touch {
            Touch::Auto => self.decide(true),
            Touch::Deny => self.decide(false),
            Touch::Ask | Touch::Manual | Touch::Delay(_) => false,
        };
    }

    pub(crate) fn touch(&self) -> Touch {
        self.state().touch
    }

    /// Whether the token waits for a touch now.
    pub(crate) fn is_asked(&self) -> bool {
        let state = self.state();
        state.asked && state.verdict.is_none()
    }

    /// Waits until the token asks for a touch; false if it has not by then.
    pub(crate) fn wait_until_asked(&self, limit: Duration) -> bool {
        let nobody = |state: &mut State| !(state.closed || state.asked && state.verdict.is_none());
        let waited = self.changed.wait_timeout_while(self.state(), limit, nobody);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.asked && state.verdict.is_none() && !state.closed
    }

    /// Ends every wait, and those to come.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_touch_is_read_as_it_is_written() {
        for text in ["auto", "deny", "ask", "manual", "delay=250"] {
            assert_eq!(text.parse::<Touch>().unwrap().to_string(), text);
        }
        for text in ["", "Auto", "delay", "delay=", "delay=x", "delay=-1"] {
            let message = text.parse::<Touch>().unwrap_err().to_string();
            assert!(message.contains("auto, deny, ask, manual"), "{message}");
        }
    }

    fn waiting(touch: Touch) -> (Arc<Hand>, std::thread::JoinHandle<bool>) {
        let hand = Arc::new(Hand::new(1, touch, None));
        let mut finger = hand.finger();
        let thread = std::thread::spawn(move || finger.touches());
        assert!(hand.wait_until_asked(Duration::from_secs(20)));
        (hand, thread)
    }

    #[test]
    fn a_manual_touch_waits_for_the_hand() {
        for verdict in [true, false] {
            let (hand, thread) = waiting(Touch::Manual);
            assert!(hand.is_asked());
            assert!(hand.decide(verdict));
            assert_eq!(thread.join().unwrap(), verdict);
            assert!(!hand.decide(true), "nothing waits any more");
        }
    }

    #[test]
    fn another_way_to_touch_ends_a_wait() {
        let (hand, thread) = waiting(Touch::Manual);
        hand.set(Touch::Auto);
        assert!(thread.join().unwrap());
        let (hand, thread) = waiting(Touch::Delay(TOUCH_TIMEOUT));
        hand.set(Touch::Deny);
        assert!(!thread.join().unwrap());
        assert_eq!(hand.touch(), Touch::Deny);
    }

    #[test]
    fn a_delay_touches_in_the_end_and_asking_asks() {
        assert!(Hand::new(1, Touch::Delay(Duration::from_millis(1)), None).touches());
        assert!(!Hand::new(1, Touch::Ask, None).touches(), "nobody is there");
        let ask = Ask::new(|serial| serial == 7);
        assert!(Hand::new(7, Touch::Ask, Some(ask.clone())).touches());
        assert!(!Hand::new(8, Touch::Ask, Some(ask)).touches());
    }
}
