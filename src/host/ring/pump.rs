//! The task that enters a shard's ring.
//!
//! The picture and the invariants stand in the parent module.

use super::{Notices, SETTLE_MAX, Shared, VISIT};
use crate::base::time::Instant;
use crate::host::STALL_MIN;
use crate::host::bell::Bell;
use crate::host::clock;
use crate::sys::ring::Reaped;
use glommio::timer::Timer;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// The task that enters the ring.
pub(super) struct Pump {
    shared: Weak<Shared>,
    notices: Rc<Notices>,
    bell: Bell,
    /// Nothing came since the alarm before the last one.
    is_idle: bool,
    /// Something came since the last alarm.
    is_busy: bool,
    /// When glommio last looked at its channels.
    visited: Instant,
    awake: Vec<Waker>,
}

impl Pump {
    /// The pump of `shared`, which it does not keep alive.
    pub(super) fn new(shared: &Rc<Shared>, notices: Rc<Notices>, bell: Bell) -> Self {
        Self {
            shared: Rc::downgrade(shared),
            notices,
            bell,
            is_idle: false,
            is_busy: false,
            visited: clock::now(),
            awake: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ring.borrow_mut().ring_bell(false);
        }
        while !self.notices.over.get() {
            self.settle().await;
            if self.is_idle {
                self.park().await;
                continue;
            }
            let at_rest = self.notices.breathing.get() == 0;
            let reaped = self.enter(at_rest);
            self.is_busy |= reaped.count > 0;
            let is_due = reaped.alarm && self.look_at_the_clock();
            if reaped.rung || is_due {
                self.visit().await;
            }
        }
    }

    /// Wakes the sleepers that are due, and sees whether there is still traffic. Returns
    /// whether a visit is due.
    fn look_at_the_clock(&mut self) -> bool {
        let now = clock::now();
        self.notices.timers.fire(now);
        self.is_idle = !std::mem::take(&mut self.is_busy);
        now.since(self.visited) >= VISIT
    }

    /// Lets the other tasks run until they do nothing new.
    async fn settle(&self) {
        let mut began = clock::now();
        self.notices.seen.set(Some(began));
        for _ in 0..SETTLE_MAX {
            let before = self.notices.asked.get();
            glommio::executor().yield_now().await;
            let now = clock::now();
            self.notices.seen.set(Some(now));
            let took = now.since(std::mem::replace(&mut began, now));
            if took > STALL_MIN {
                self.notices.stalls.borrow_mut().record(took);
            }
            if self.notices.asked.get() == before {
                break;
            }
        }
    }

    /// Lets glommio come to the end of its queues and look at its channels and files: a
    /// timer that is due fires when it has done so, and does not let it sleep. (A timer that
    /// is made with no time to run is ready at once, without that look.)
    async fn visit(&mut self) {
        let mut timer = Timer::new(VISIT);
        let mut asked = false;
        poll_fn(|cx| {
            let due = Pin::new(&mut timer).poll(cx);
            if !asked {
                asked = true;
                timer.reset(Duration::ZERO);
            }
            due
        })
        .await;
        self.visited = clock::now();
    }

    /// Submits, waits for a completion if `wait` says so, reaps and wakes.
    fn enter(&mut self, wait: bool) -> Reaped {
        let Some(shared) = self.shared.upgrade() else {
            return Reaped::default();
        };
        let mut ring = shared.ring.borrow_mut();
        // Without an alarm there must be no wait: sleepers would be forgotten.
        let wait = wait && ring.set_alarm().is_ok();
        self.notices.seen.set(None);
        // A ring that cannot be entered is tried again; nothing else can be done here.
        drop(ring.enter(wait));
        let reaped = ring.reap(&mut self.awake);
        drop(ring);
        shared.crowd.set(reaped.count);
        for waker in self.awake.drain(..) {
            waker.wake();
        }
        reaped
    }

    /// Sleeps in glommio until the bell rings, a sleeper is due, or something is asked for
    /// (I3).
    async fn park(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ring.borrow_mut().ring_bell(true);
        }
        // What came before the bell was on did not ring it.
        let came = self.enter(false);
        let came_any = came != Reaped::default() || self.sleep().await;
        if let Some(shared) = self.shared.upgrade() {
            shared.ring.borrow_mut().ring_bell(false);
        }
        (self.is_idle, self.is_busy) = (!came_any, came.count > 0);
        self.visited = clock::now();
        self.notices.timers.fire(self.visited);
        if came.rung {
            self.visit().await;
        }
    }

    /// Sleeps; returns whether it was the bell that ended it.
    async fn sleep(&mut self) -> bool {
        let (notices, bell) = (&self.notices, &mut self.bell);
        let now = clock::now();
        let next = notices.timers.next();
        let mut due = next.map(|next| Timer::new(next.since(now)));
        let heard = poll_fn(|cx| {
            let due = due.as_mut();
            let is_due = due.is_some_and(|due| Pin::new(due).poll(cx).is_ready());
            if notices.over.get() || notices.kicked.take() || is_due {
                return Poll::Ready(false);
            }
            notices.parked.set(Some(cx.waker().clone()));
            bell.poll_heard(cx).map(|()| true)
        })
        .await;
        notices.parked.set(None);
        heard
    }
}
