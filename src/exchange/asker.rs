//! Who asks a provider: the client's connection itself, or an attempt that runs beside another.
//!
//! ```text
//!   attempt ──► arm, wait, fill ──┬─ Down     waits for the client's going away as well;
//!                                 │           the request stays where it arrived
//!                                 └─ Errand   waits by itself; carries a copy of the request
//! ```
//!
//! Invariants
//! - A1 An [`Errand`] borrows nothing of the client's connection: two of them can run at once,
//!   and to drop one is to call it off.

use super::course::{Course, Patience};
use super::down::{Down, Wait};
use super::lease::Lease;
use super::sending::{self, SEND_ROUND};
use crate::base::bytes::TxBuf;
use crate::base::time::Instant;
use crate::host::Host;
use crate::policy::plan::Step;
use crate::shard::deadline::Timer;
use std::cell::Cell;
use std::future::poll_fn;
use std::task::{Context, Poll};

/// What asking a target takes of whoever asks.
pub trait Asker<H: Host> {
    /// The waits that follow end at `until`.
    fn arm(&mut self, until: Instant);

    /// Waits for `poll`, for the client to go away, or for the end set by [`Asker::arm`].
    fn wait<T>(
        &mut self,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> impl Future<Output = Wait<T>>;

    /// How long the beginning of an answer is waited for.
    fn patience(&self, course: &Course<'_, H>) -> Patience;

    /// Puts the next round of the request into `tx`, of which `done` were put before; gives the
    /// new `done`. Nothing is put when all of it was.
    fn fill(
        &mut self,
        to: (&Course<'_, H>, &Step<'_>),
        lease: &mut Lease<H>,
        tx: &mut TxBuf,
        done: usize,
    ) -> usize;
}

impl<H: Host> Asker<H> for Down<H::Stream> {
    fn arm(&mut self, until: Instant) {
        Down::arm(self, until);
    }

    fn wait<T>(
        &mut self,
        poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> impl Future<Output = Wait<T>> {
        Down::wait(self, poll)
    }

    fn patience(&self, course: &Course<'_, H>) -> Patience {
        course.patience(self)
    }

    fn fill(
        &mut self,
        (course, step): (&Course<'_, H>, &Step<'_>),
        lease: &mut Lease<H>,
        tx: &mut TxBuf,
        done: usize,
    ) -> usize {
        sending::fill(course, self, step, lease, tx, done)
    }
}

/// An attempt that runs beside another.
#[derive(Debug)]
pub struct Errand<'r> {
    timer: Timer,
    request: Vec<u8>,
    /// As it was.
    patience: Patience,
    /// Whether anything was sent.
    was_sent: &'r Cell<bool>,
}

impl<'r> Errand<'r> {
    /// With the whole `request`, and a timer of its own.
    pub fn new(
        (request, patience): (Vec<u8>, Patience),
        timer: Timer,
        was_sent: &'r Cell<bool>,
    ) -> Self {
        Self {
            timer,
            request,
            patience,
            was_sent,
        }
    }

    /// The request will not be sent again.
    pub fn drop_request(&mut self) {
        self.request = Vec::new();
    }
}

impl<H: Host> Asker<H> for Errand<'_> {
    fn arm(&mut self, until: Instant) {
        self.timer.arm(until);
    }

    async fn wait<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Wait<T> {
        poll_fn(|cx| match poll(cx) {
            Poll::Ready(value) => Poll::Ready(Wait::Done(value)),
            Poll::Pending => self.timer.poll_fired(cx).map(|()| Wait::Late),
        })
        .await
    }

    fn patience(&self, _course: &Course<'_, H>) -> Patience {
        self.patience
    }

    fn fill(
        &mut self,
        _to: (&Course<'_, H>, &Step<'_>),
        _lease: &mut Lease<H>,
        tx: &mut TxBuf,
        done: usize,
    ) -> usize {
        self.was_sent.set(true);
        let end = self.request.len().min(done + SEND_ROUND);
        tx.put(self.request.get(done..end).unwrap_or_default());
        end
    }
}
