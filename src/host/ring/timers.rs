//! The sleeping tasks of a shard, in the order of their deadlines.
//!
//! There are few: one ticker serves all deadlines of the connections (`shard::deadline`).
//!
//! Invariants
//! - I1 A sleeper is woken at or after its deadline, never before.
//! - I2 A sleeper that is dropped leaves nothing behind.

use crate::base::time::Instant;
use crate::host::clock;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Who sleeps, and until when.
#[derive(Debug, Default)]
pub(super) struct Timers {
    asleep: RefCell<BTreeMap<(Instant, u64), Waker>>,
    numbers: Cell<u64>,
}

impl Timers {
    /// When the next sleeper is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.asleep.borrow().keys().next().map(|(at, _)| *at)
    }

    /// Wakes who is due at `now`.
    pub(super) fn fire(&self, now: Instant) {
        loop {
            let mut asleep = self.asleep.borrow_mut();
            let due = asleep.first_entry().filter(|first| first.key().0 <= now); // I1
            let Some(waker) = due.map(std::collections::btree_map::OccupiedEntry::remove) else {
                return;
            };
            drop(asleep);
            waker.wake();
        }
    }
}

/// A task's sleep.
#[derive(Debug)]
pub(super) struct Sleep {
    timers: Rc<Timers>,
    at: Instant,
    number: u64,
}

impl Sleep {
    pub(super) fn until(timers: &Rc<Timers>, at: Instant) -> Self {
        let number = timers.numbers.get();
        timers.numbers.set(number.wrapping_add(1));
        Self {
            timers: Rc::clone(timers),
            at,
            number,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut asleep = self.timers.asleep.borrow_mut();
        if clock::now() >= self.at {
            asleep.remove(&(self.at, self.number));
            return Poll::Ready(());
        }
        asleep.insert((self.at, self.number), cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    /// I2.
    fn drop(&mut self) {
        let key = (self.at, self.number);
        self.timers.asleep.borrow_mut().remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;
    use std::time::Duration;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goal: I1 and I2. Method: two sleepers far ahead and one that is due; the earlier one
    /// is dropped, and only the later one may be woken, not before its time.
    #[test]
    fn sleepers_are_woken_in_time_and_leave_nothing() {
        let timers = Rc::new(Timers::default());
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut cx = Context::from_waker(&waker);
        let (now, hour) = (clock::now(), Duration::from_secs(3600));
        assert!(pin!(Sleep::until(&timers, now)).poll(&mut cx).is_ready());
        let mut later = pin!(Sleep::until(&timers, now + hour + hour));
        let mut earlier = Box::pin(Sleep::until(&timers, now + hour));
        assert!(later.as_mut().poll(&mut cx).is_pending());
        assert!(earlier.as_mut().poll(&mut cx).is_pending());
        assert_eq!(timers.next(), Some(now + hour));
        drop(earlier);
        assert_eq!(timers.next(), Some(now + hour + hour));
        timers.fire(now + hour);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0);
        timers.fire(now + hour + hour);
        assert_eq!((woken.0.load(Ordering::Relaxed), timers.next()), (1, None));
    }
}
