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

/// While the shard drains: for how long nobody must have come for the queue to count as empty.
const QUEUE_QUIET: Duration = Duration::from_millis(20);

/// For how long a draining shard accepts, at most.
const QUEUE_MAX: Duration = Duration::from_secs(1);

/// How late a timer may be without anybody being to blame.
const TIMER_LATE: Duration = Duration::from_millis(5);

/// Connections that are taken at most when it is over: who keeps coming must not keep the
/// socket open.
const LAST_MAX: usize = 8192;

/// Accepts connections, each in a task of its own, until the shard drains and the queue is
/// empty; then the listener is closed. When another process accepts on the same socket, what
/// was accepted here is served, and the queue is emptied once: who came while both waited may
/// have woken this one only.
pub async fn accept_loop<H: Host>(shard: Rc<Shard<H>>, listener: H::Listener) {
    shard.accepting.set(shard.accepting.get() + 1);
    accept_until_drained(&shard, &listener).await;
    for _ in 0..LAST_MAX {
        match shard.host.accept_last(&listener).await {
            Some(link) => accepted(&shard, link),
            None => break,
        }
    }
    shard.accepting.set(shard.accepting.get() - 1);
    // A host that cannot take an accept back brings one more; it must not be lost.
    if shard.is_handed_over()
        && let Ok(link) = shard.host.accept(&listener).await
    {
        accepted(&shard, link);
    }
}

/// Accepts until the shard drains; then what is queued, unless a successor does.
async fn accept_until_drained<H: Host>(shard: &Rc<Shard<H>>, listener: &H::Listener) {
    let mut last_call = None;
    loop {
        let came = if shard.is_draining() {
            if shard.is_handed_over() {
                return;
            }
            // What the kernel has accepted for us already is not thrown away.
            let now = shard.host.now();
            let until = (now + QUEUE_QUIET).min(*last_call.get_or_insert(now + QUEUE_MAX));
            let quiet = async {
                shard.host.sleep_until(until).await;
                None
            };
            async { Some(shard.host.accept(listener).await) }
                .or(quiet)
                .await
        } else {
            let draining = async {
                poll_fn(|cx| shard.poll_draining(cx)).await;
                None
            };
            async { Some(shard.host.accept(listener).await) }
                .or(draining)
                .await
        };
        match came {
            Some(Ok(link)) => accepted(shard, link),
            // Anything else is a client that left the queue.
            Some(Err(error)) if !lasts(&error) => shard.host.breathe().await,
            // The listener lives on, but must not spin.
            Some(Err(_)) => {
                let later = shard.host.now() + ACCEPT_PAUSE;
                shard.host.sleep_until(later).await;
            }
            None if last_call.is_some() => return,
            None => {}
        }
        if last_call.is_some_and(|last| shard.host.now() >= last) {
            return;
        }
    }
}

/// `ENOMEM`, `ENFILE`, `EMFILE`, `ENOBUFS`: nothing left to accept into. `EINVAL`: another
/// process that has the same socket has shut it.
fn lasts(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 22 | 23 | 24 | 105))
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
    if counters.connections_open >= shard.snapshot().connections_max {
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
