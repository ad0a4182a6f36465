//! One timer per connection, moved by writing a number.
//!
//! ```text
//!   Timer.arm(at) ── later than the heap's entry? ── yes ─► only the number changes
//!                                                └─ no ──► a new entry; the ticker wakes earlier
//!   ticker: entry due ─► number later? ── yes ─► entry goes back in at the new time
//!                                     └─ no ──► fired: the connection's task is woken
//! ```
//!
//! Arming a deadline again and again (every event of a stream moves the idle deadline on)
//! costs a store: no heap operation, no system call, no allocation.
//!
//! Invariants
//! - I1 A timer never fires before its deadline, and at most its grain plus the host's
//!   resolution after it: [`GRAIN`], or a 64th of how far ahead it was, up to [`COARSE_MAX`].
//! - I2 A slot is reused only under a new generation, so a stale entry fires nobody.
//! - I3 After [`Deadlines::end`] nothing waits beyond the end, whenever it was armed.

use crate::base::time::Instant;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// Deadlines are rounded up to this, so that neighbours fire together.
pub const GRAIN: Duration = Duration::from_millis(4);

/// Deadlines that are far ahead are rounded up to at most this: thousands of silent streams
/// then wake their shard a few times a second, not hundreds of times.
pub const COARSE_MAX: Duration = Duration::from_nanos(1 << 28);

#[derive(Debug)]
struct Slot {
    generation: u64,
    deadline: Instant,
    /// When the earliest heap entry of this slot is due.
    entry: Instant,
    fired: bool,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct State {
    slots: Vec<Slot>,
    free: Vec<usize>,
    heap: BinaryHeap<Reverse<(Instant, usize, u64)>>,
    /// Until when the ticker sleeps.
    asleep_until: Option<Instant>,
    ticker: Option<Waker>,
    generations: u64,
    /// When `fire` was called last.
    now: Instant,
    /// No deadline is later than this, once all were ended.
    end: Option<Instant>,
    /// Somebody wants the ticker by then, since it last fired.
    wanted: Option<Instant>,
}

impl State {
    fn hurry(&mut self, at: Instant) {
        if self.asleep_until.is_some_and(|until| at < until) {
            self.asleep_until = None;
            if let Some(waker) = self.ticker.take() {
                waker.wake();
            }
        }
    }
}

/// The deadlines of a shard; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Deadlines(Rc<RefCell<State>>);

impl Deadlines {
    /// No deadlines yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A timer for one connection, not armed.
    pub fn timer(&self) -> Timer {
        let mut state = self.0.borrow_mut();
        state.generations += 1;
        let slot = Slot {
            generation: state.generations,
            deadline: Instant::FAR,
            entry: Instant::FAR,
            fired: false,
            waker: None,
        };
        let reused = state.free.pop();
        let index = reused.unwrap_or(state.slots.len());
        match state.slots.get_mut(index) {
            Some(place) => *place = slot,
            None => state.slots.push(slot),
        }
        Timer {
            all: self.clone(),
            index,
        }
    }

    /// Timers that exist.
    pub fn len(&self) -> usize {
        let state = self.0.borrow();
        state.slots.len() - state.free.len()
    }

    /// Whether no timer exists.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fires what is due at `now`; returns when to call again at the latest.
    pub fn fire(&self, now: Instant) -> Instant {
        let mut state = self.0.borrow_mut();
        let state = &mut *state;
        state.now = now;
        state.wanted = None;
        while let Some(&Reverse((due, index, generation))) = state.heap.peek() {
            if due > now {
                return due;
            }
            state.heap.pop();
            let Some(slot) = state.slots.get_mut(index) else {
                continue;
            };
            if slot.generation != generation || slot.entry != due {
                continue; // I2, or an earlier entry took over
            }
            slot.entry = Instant::FAR;
            if slot.deadline == Instant::FAR || slot.fired {
                continue;
            }
            if slot.deadline > now {
                slot.entry = slot.deadline;
                state.heap.push(Reverse((slot.deadline, index, generation)));
                continue;
            }
            slot.fired = true; // I1
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
        Instant::FAR
    }

    /// Wakes whoever waits for a timer, to look at something else.
    pub fn wake_all(&self) {
        for slot in &mut self.0.borrow_mut().slots {
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Every timer that is armed fires now, and none is later than `end` from here on (I3).
    pub fn end(&self, end: Instant) {
        let mut state = self.0.borrow_mut();
        state.end = Some(end);
        for slot in &mut state.slots {
            slot.fired |= slot.deadline != Instant::FAR;
            if let Some(waker) = slot.waker.take() {
                waker.wake();
            }
        }
    }

    /// Wakes the ticker if it means to sleep beyond `at`.
    pub fn hurry(&self, at: Instant) {
        let mut state = self.0.borrow_mut();
        let wanted = state.wanted.map_or(at, |wanted| wanted.min(at));
        state.wanted = Some(wanted);
        state.hurry(at);
    }

    /// The ticker is about to sleep until `until`: ready when a timer was armed that is
    /// due earlier, or when it is wanted earlier.
    pub fn poll_earlier(&self, cx: &mut Context<'_>, until: Instant) -> Poll<()> {
        let mut state = self.0.borrow_mut();
        let armed = state.heap.peek().map(|Reverse((due, _, _))| *due);
        let is_early = |at: Option<Instant>| at.is_some_and(|at| at < until);
        if is_early(armed) || is_early(state.wanted) {
            state.asleep_until = None;
            return Poll::Ready(());
        }
        state.asleep_until = Some(until);
        state.ticker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// The timer of one connection.
#[derive(Debug)]
pub struct Timer {
    all: Deadlines,
    index: usize,
}

impl Timer {
    /// Sets the deadline, replacing the one before; [`Instant::FAR`] means none.
    pub fn arm(&self, at: Instant) {
        let mut state = self.all.0.borrow_mut();
        let state = &mut *state;
        let at = rounded(at, state.now).min(state.end.unwrap_or(Instant::FAR));
        let Some(slot) = state.slots.get_mut(self.index) else {
            return;
        };
        slot.fired = false;
        slot.deadline = at;
        if at >= slot.entry {
            return;
        }
        slot.entry = at;
        state.heap.push(Reverse((at, self.index, slot.generation)));
        state.hurry(at);
    }

    /// Ready once the deadline has passed.
    pub fn poll_fired(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.all.0.borrow_mut();
        let Some(slot) = state.slots.get_mut(self.index) else {
            return Poll::Pending;
        };
        if slot.fired {
            return Poll::Ready(());
        }
        match &mut slot.waker {
            Some(waker) if waker.will_wake(cx.waker()) => {}
            place => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// A deadline at the grain that suits its distance from `now`.
fn rounded(at: Instant, now: Instant) -> Instant {
    if at == Instant::FAR {
        return at;
    }
    let distance = u64::try_from(at.since(now).as_nanos()).unwrap_or(u64::MAX);
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(1);
    let coarse = (distance / 64 + 1).next_power_of_two() / 2;
    let grain = if coarse < 2 * nanos(GRAIN) {
        nanos(GRAIN)
    } else {
        coarse.min(nanos(COARSE_MAX))
    };
    Instant::from_nanos(at.as_nanos().div_ceil(grain).saturating_mul(grain))
}

impl Drop for Timer {
    fn drop(&mut self) {
        let mut state = self.all.0.borrow_mut();
        let state = &mut *state;
        if let Some(slot) = state.slots.get_mut(self.index) {
            slot.generation = 0; // I2
            slot.waker = None;
        }
        state.free.push(self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn is_fired(timer: &Timer) -> bool {
        timer
            .poll_fired(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }

    /// Goal: moving a deadline on keeps it from firing, and it fires once it is due.
    #[test]
    fn a_deadline_that_is_moved_on_fires_at_its_last_place() {
        let all = Deadlines::new();
        let timer = all.timer();
        timer.arm(at(100));
        timer.arm(at(300));
        assert_eq!(all.fire(at(200)), at(300));
        assert!(!is_fired(&timer));
        assert_eq!(all.fire(at(300)), Instant::FAR);
        assert!(is_fired(&timer));
        timer.arm(at(400));
        assert!(!is_fired(&timer));
    }

    /// Goal: the ticker wakes for other work too, once, and only when that comes before the end
    /// of its sleep. Method: it is wanted while it sleeps and while it is about to.
    #[test]
    fn the_ticker_is_woken_for_other_work() {
        let all = Deadlines::new();
        let is_woken = |until| {
            let mut cx = Context::from_waker(Waker::noop());
            all.poll_earlier(&mut cx, at(until)).is_ready()
        };
        assert!(!is_woken(1000));
        all.hurry(at(2000));
        assert!(!is_woken(1000));
        all.hurry(at(500));
        assert!(is_woken(1000));
        all.fire(at(100));
        assert!(!is_woken(500), "it sleeps until then now");
        all.hurry(at(300));
        assert!(is_woken(500));
    }

    /// Goal: the ticker is told when a deadline comes before the end of its sleep.
    #[test]
    fn an_earlier_deadline_wakes_the_ticker() {
        let all = Deadlines::new();
        let timer = all.timer();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(all.poll_earlier(&mut cx, at(1000)).is_pending());
        timer.arm(at(2000));
        assert!(all.poll_earlier(&mut cx, at(1000)).is_pending());
        timer.arm(at(500));
        assert!(all.poll_earlier(&mut cx, at(1000)).is_ready());
    }

    /// Goal: I1, the grains. Method: from 1 ms to a day ahead.
    #[test]
    fn a_deadline_is_rounded_by_its_distance() {
        let now = at(123_457);
        for ahead in [1, 4, 200, 300, 1_000, 10_000, 60_000, 86_400_000] {
            let exact = at(123_457 + ahead);
            let late = rounded(exact, now).since(exact);
            let most = Duration::from_millis(ahead / 64).clamp(GRAIN, COARSE_MAX);
            assert!(
                rounded(exact, now) >= exact && late < most,
                "{ahead}: {late:?}"
            );
        }
        assert_eq!(rounded(Instant::FAR, now), Instant::FAR);
        assert_eq!(rounded(at(122_000), now), at(122_000)); // past, and a multiple of GRAIN
    }

    /// Goal: I2. Method: drop an armed timer, make another in its slot.
    #[test]
    fn a_dropped_timer_fires_nobody() {
        let all = Deadlines::new();
        let first = all.timer();
        first.arm(at(10));
        drop(first);
        let second = all.timer();
        all.fire(at(20));
        assert!(!is_fired(&second));
        second.arm(at(24));
        all.fire(at(24));
        assert!(is_fired(&second));
    }

    /// Goal: I3. Method: one timer that is armed, one that is not yet, one that never is.
    #[test]
    fn nothing_waits_beyond_the_end() {
        let all = Deadlines::new();
        let [armed, later, never] = [all.timer(), all.timer(), all.timer()];
        armed.arm(at(60_000));
        all.end(at(1000));
        assert!(is_fired(&armed) && !is_fired(&later) && !is_fired(&never));
        later.arm(at(90_000));
        armed.arm(at(90_000));
        all.fire(at(999));
        assert!(!is_fired(&armed) && !is_fired(&later));
        all.fire(at(1000));
        assert!(is_fired(&armed) && is_fired(&later) && !is_fired(&never));
    }

    proptest! {
        /// Goal: I1 against a model. Method: random armings and clock steps over a few
        /// timers; a timer has fired exactly when its last deadline has passed.
        #[test]
        fn timers_agree_with_a_plain_list(
            steps in prop::collection::vec((0_usize..4, 0_u64..500, 0_u64..40), 1..200),
        ) {
            let all = Deadlines::new();
            let timers: Vec<_> = (0..4).map(|_| all.timer()).collect();
            let mut model = [Instant::FAR; 4];
            let mut now = 0;
            for (which, ahead, step) in steps {
                let due = at((now + ahead).div_ceil(4) * 4);
                timers[which].arm(due);
                model[which] = due;
                now += step;
                all.fire(at(now));
                for (timer, due) in timers.iter().zip(model) {
                    prop_assert_eq!(is_fired(timer), due <= at(now));
                }
            }
        }
    }
}
