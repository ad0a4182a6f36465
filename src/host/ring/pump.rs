//! The task that enters a shard's ring, and the bell that wakes it.
//!
//! The picture and the invariants stand in the parent module.

use super::{LINGER, Notices, SETTLE_MAX, Shared, VISIT};
use crate::base::time::Instant;
use crate::host::clock;
use glommio::io::BufferedFile;
use glommio::timer::Timer;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// The ring's bell, read through glommio. The read stays in flight across parkings.
pub(super) struct Bell {
    file: Rc<BufferedFile>,
    reading: Option<Pin<Box<dyn Future<Output = ()>>>>,
}

impl Bell {
    pub(super) fn new(file: BufferedFile) -> Self {
        Self {
            file: Rc::new(file),
            reading: None,
        }
    }

    fn poll_heard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let file = &self.file;
        let reading = self.reading.get_or_insert_with(|| {
            let file = Rc::clone(file);
            Box::pin(async move {
                // Whatever it says, the pump goes and looks.
                drop(file.read_at(0, size_of::<u64>()).await);
            })
        });
        std::task::ready!(reading.as_mut().poll(cx));
        self.reading = None;
        Poll::Ready(())
    }
}

/// The task that enters the ring.
pub(super) struct Pump {
    shared: Weak<Shared>,
    notices: Rc<Notices>,
    bell: Bell,
    /// When the last completion came.
    last: Instant,
    /// When glommio last looked at its timers and channels.
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
            last: clock::now(),
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
            let now = clock::now();
            let rest = LINGER.saturating_sub(now.since(self.last));
            if rest.is_zero() {
                self.park().await;
            } else if now.since(self.visited) >= VISIT {
                self.visit().await;
            } else {
                let until_visit = VISIT.saturating_sub(now.since(self.visited));
                let at_rest = self.notices.breathing.get() == 0;
                self.enter(at_rest.then(|| rest.min(until_visit)));
            }
        }
    }

    /// Lets the other tasks run until they ask for nothing new.
    async fn settle(&self) {
        for _ in 0..SETTLE_MAX {
            let before = self.notices.asked.get();
            glommio::executor().yield_now().await;
            if self.notices.asked.get() == before {
                break;
            }
        }
    }

    /// Lets glommio come to the end of its queues and look at timers and channels: a timer
    /// that is due fires when it has done so, and does not let it sleep. (A timer that is
    /// made with no time to run is ready at once, without that look.)
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

    /// Submits, waits, reaps and wakes. Returns whether anything completed.
    fn enter(&mut self, wait: Option<Duration>) -> bool {
        let Some(shared) = self.shared.upgrade() else {
            return false;
        };
        let mut ring = shared.ring.borrow_mut();
        let entered = ring.enter(wait);
        let count = ring.reap(&mut self.awake);
        drop(ring);
        shared.crowd.set(count);
        for waker in self.awake.drain(..) {
            waker.wake();
        }
        if count > 0 {
            self.last = clock::now();
        }
        // A ring that cannot be entered is tried again; nothing else can be done here.
        entered.is_ok() && count > 0
    }

    /// Sleeps in glommio until the bell rings or something is asked for (I3).
    async fn park(&mut self) {
        if let Some(shared) = self.shared.upgrade() {
            shared.ring.borrow_mut().ring_bell(true);
        }
        // What came before the bell was on did not ring it.
        if !self.enter(None) {
            let notices = Rc::clone(&self.notices);
            let bell = &mut self.bell;
            poll_fn(|cx| {
                if notices.over.get() || notices.kicked.take() {
                    notices.parked.set(None);
                    return Poll::Ready(());
                }
                notices.parked.set(Some(cx.waker().clone()));
                let heard = bell.poll_heard(cx);
                if heard.is_ready() {
                    notices.parked.set(None);
                }
                heard
            })
            .await;
        }
        if let Some(shared) = self.shared.upgrade() {
            shared.ring.borrow_mut().ring_bell(false);
        }
        self.last = clock::now();
        self.visited = self.last;
    }
}
