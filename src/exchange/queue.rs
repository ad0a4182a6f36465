//! Waits for room when the shard has all the exchanges that it may have: before the body is read,
//! for `limits.queue_wait` at most.
//!
//! ```text
//!   full ─► place in the queue ─┬─ an exchange ends ─► its room is this one's
//!                               ├─ too late ─────────► 503
//!                               ├─ the shard drains ─► 503
//!                               └─ the client leaves ► nobody is told
//! ```
//!
//! Invariants
//! - P1 Exchanges that run are never touched: only who waits is refused.
//! - P2 Room that is given counts as taken at once, so nobody else gets it too; who does not come
//!   for it any more gives it on by ending.
//! - P3 Who waits has no body in memory but for what came along with the head.

use super::down::{Down, Wait};
use super::request::Broken;
use crate::base::fault::Kind;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::snapshot::Served;
use crate::stats::queued::Queued;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// A place in the queue, which is given up when dropped.
struct Place<'a, H: Host> {
    shard: &'a Shard<H>,
    number: u64,
}

impl<H: Host> Drop for Place<'_, H> {
    fn drop(&mut self) {
        self.shard.queue.borrow_mut().leave(self.number);
    }
}

impl<H: Host> Place<'_, H> {
    /// Ready when it has its turn: true, or when nobody has any more.
    fn poll_turn(&self, cx: &Context<'_>) -> Poll<bool> {
        match self.shard.queue.borrow_mut().place(self.number) {
            None => Poll::Ready(true), // P2
            Some(_) if self.shard.is_draining() => Poll::Ready(false),
            Some(waker) => {
                waker.clone_from(cx.waker());
                Poll::Pending
            }
        }
    }
}

/// Waits for room.
///
/// # Errors
/// [`Kind::Overloaded`]: there was none in time, or too many wait; [`Kind::Draining`]; or the
/// client is gone.
pub async fn await_turn<H: Host>(
    (shard, snapshot): Served<'_, H>,
    down: &mut Down<H::Stream>,
) -> Result<(), Broken> {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let now = shard.host.now();
    let max = if shard.is_draining() {
        0
    } else {
        snapshot.queue_max
    };
    let entered = shard.queue.borrow_mut().enter(max, now, waker);
    let outcome = if let Some(number) = entered {
        let place = Place { shard, number };
        down.arm(now + snapshot.config.limits.queue_wait);
        let waited = down.wait(|cx| place.poll_turn(cx)).await;
        down.rejoin();
        match waited {
            Wait::Done(true) => Queued::Admitted,
            Wait::Done(false) => Queued::Draining,
            Wait::Late if shard.is_draining() => Queued::Draining,
            Wait::Late => Queued::Late,
            Wait::Gone => Queued::Gone,
        }
    } else {
        Queued::Full
    };
    shard.counters.borrow_mut().queued.note(outcome);
    match outcome {
        Queued::Admitted => Ok(()),
        Queued::Late | Queued::Full => Err(Broken::Refused(Kind::Overloaded)),
        Queued::Draining => Err(Broken::Refused(Kind::Draining)),
        Queued::Gone => Err(Broken::Closed),
    }
}
