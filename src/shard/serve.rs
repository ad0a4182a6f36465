//! Accepting connections, each in its own task that may fail alone.

use super::{IDLE_TICK, Shard, TICK};
use crate::exchange::connection::connection;
use crate::host::{Host, STALL_MIN};
use futures_lite::FutureExt;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How long accepting pauses when the kernel refuses (no descriptors left).
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// How late a timer may be without anybody being to blame.
const TIMER_LATE: Duration = Duration::from_millis(5);

/// Accepts connections until the shard drains, each in a task of its own.
pub async fn accept_loop<H: Host>(shard: Rc<Shard<H>>, listener: H::Listener) {
    while !shard.is_draining() {
        match shard.host.accept(&listener).await {
            Ok(link) => accepted(&shard, link),
            // Anything but a shortage is a client that left the queue.
            Err(error) if !is_shortage(&error) => shard.host.breathe().await,
            // The listener lives on, but must not spin.
            Err(_) => {
                shard
                    .host
                    .sleep_until(shard.host.now() + ACCEPT_PAUSE)
                    .await;
            }
        }
    }
}

/// `ENOMEM`, `ENFILE`, `EMFILE`, `ENOBUFS`: nothing left to accept into.
fn is_shortage(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

/// Runs `task` on the shard; a panic in it is counted and goes no further.
///
/// The task is boxed here: awaited as it is, it would be stored twice, as what the block
/// below captures and as what it awaits.
pub fn guarded<H: Host>(shard: &Rc<Shard<H>>, task: impl Future<Output = ()> + 'static) {
    let mine = Rc::clone(shard);
    let task = Box::pin(task);
    shard.host.spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            mine.counters.borrow_mut().panics += 1;
        }
    });
}

/// Serves one connection in a task of its own. A panic ends this task, is counted, and
/// leaves every other connection alone.
pub fn accepted<H: Host>(shard: &Rc<Shard<H>>, link: H::Stream) {
    let mut counters = shard.counters.borrow_mut();
    if counters.connections_open >= shard.connections_max {
        counters.connections_shed += 1;
        return; // dropping the link closes it
    }
    counters.connections += 1;
    counters.connections_open += 1;
    drop(counters);
    let mine = Rc::clone(shard);
    let task = Box::pin(connection(Rc::clone(shard), link)); // as in `guarded`
    shard.host.spawn(async move {
        let served = AssertUnwindSafe(task).catch_unwind().await;
        let mut counters = mine.counters.borrow_mut();
        counters.connections_open -= 1;
        if served.is_err() {
            counters.panics += 1;
        }
    });
}

/// Fires deadlines and does the shard's regular work, for as long as the shard lives.
pub async fn ticker<H: Host>(shard: Rc<Shard<H>>) {
    shard.next_tick.set(shard.host.now() + TICK);
    loop {
        let now = shard.host.now();
        if now >= shard.next_tick.get() {
            shard.next_tick.set(now + IDLE_TICK);
            shard.tick(now);
        }
        if now >= shard.gossip.due() {
            shard.gossip(now);
        }
        let next = shard.next_tick.get().min(shard.gossip.due());
        let until = shard.deadlines.fire(now).min(next);
        let mut sleep = pin!(shard.host.sleep_until(until));
        poll_fn(|cx| match sleep.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => shard.deadlines.poll_earlier(cx, until),
        })
        .await;
        let late = shard.host.now().since(until);
        if late > STALL_MIN + TIMER_LATE {
            shard.stalls.borrow_mut().record(late);
        }
    }
}
