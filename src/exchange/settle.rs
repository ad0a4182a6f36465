//! The end of every exchange: counted once, logged once, also when its task is dropped.
//!
//! [`Settle`] is made when an exchange's head is understood and carries its receipt. Its
//! `Drop` settles; there is no other way. A future that is dropped half way (the client
//! went away, the shard shuts down) therefore leaves a receipt that says "cancelled".

use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::host::Host;
use crate::shard::Shard;
use crate::shard::snapshot::Snapshot;
use crate::stats::receipt::{AttemptEnd, End, Receipt, RequestId};
use std::rc::Rc;

/// An exchange that is under way.
#[derive(Debug)]
pub struct Settle<H: Host> {
    shard: Rc<Shard<H>>,
    /// What it began with; the indices of its receipt point into this.
    snapshot: Rc<Snapshot<H::Stream>>,
    /// What is known so far.
    pub receipt: Receipt,
    counts_stream: bool,
    /// The numbers under which the attempt under way is counted.
    target: Option<(usize, usize)>,
    attempt_end: AttemptEnd,
}

impl<H: Host> Settle<H> {
    /// An exchange begins.
    pub fn new(
        shard: &Rc<Shard<H>>,
        snapshot: &Rc<Snapshot<H::Stream>>,
        id: RequestId,
        began: Instant,
    ) -> Self {
        let mut counters = shard.counters.borrow_mut();
        counters.exchanges += 1;
        counters.exchanges_open += 1;
        drop(counters);
        let receipt = Receipt {
            id,
            began,
            ..Receipt::default()
        };
        Self {
            shard: Rc::clone(shard),
            snapshot: Rc::clone(snapshot),
            receipt,
            counts_stream: false,
            target: None,
            attempt_end: AttemptEnd::Cancelled,
        }
    }

    /// What the exchange began with.
    pub fn snapshot(&self) -> &Rc<Snapshot<H::Stream>> {
        &self.snapshot
    }

    /// A stream was asked for.
    pub fn begin_stream(&mut self) {
        if !self.counts_stream {
            self.counts_stream = true;
            self.receipt.is_stream = true;
            self.shard.counters.borrow_mut().streams_open += 1;
        }
    }

    /// An attempt at a target of `model` begins.
    pub fn begin_attempt(&mut self, model: usize, provider: usize) {
        self.end_attempt(AttemptEnd::Failed);
        self.receipt.attempts = self.receipt.attempts.saturating_add(1);
        self.receipt.provider = Some(provider);
        let places = &self.snapshot.places;
        let target = (places.model(model), places.provider(provider));
        self.target = Some(target);
        self.attempt_end = AttemptEnd::Cancelled;
        self.shard
            .counters
            .borrow_mut()
            .targets
            .entry(target)
            .or_default()
            .in_flight += 1;
    }

    /// The attempt under way, if any, came to `end`.
    pub fn end_attempt(&mut self, end: AttemptEnd) {
        let Some(target) = self.target.take() else {
            return;
        };
        let mut counters = self.shard.counters.borrow_mut();
        let target = counters.targets.entry(target).or_default();
        target.in_flight = target.in_flight.saturating_sub(1);
        if let Some(count) = target.attempts.get_mut(end.index()) {
            *count += 1;
        }
    }

    /// The exchange ended with a fault.
    pub fn fail(&mut self, kind: Kind, status: u16) {
        self.receipt.fault = Some(kind);
        self.receipt.status = status;
        self.receipt.end = if kind == Kind::ClientGone {
            End::Cancelled
        } else {
            End::Error
        };
    }

    /// The exchange ended with a whole answer of this status.
    pub fn done(&mut self, status: u16) {
        self.receipt.status = status;
        self.receipt.end = if status < 400 { End::Done } else { End::Error };
    }
}

impl<H: Host> Drop for Settle<H> {
    fn drop(&mut self) {
        if self.receipt.end == End::Cancelled {
            self.receipt.fault = Some(Kind::ClientGone);
            self.receipt.status = Kind::ClientGone.status();
        }
        self.end_attempt(self.attempt_end);
        self.receipt.ended = self.shard.host.now();
        let mut counters = self.shard.counters.borrow_mut();
        counters.exchanges_open = counters.exchanges_open.saturating_sub(1);
        if self.counts_stream {
            counters.streams_open = counters.streams_open.saturating_sub(1);
        }
        let snapshot = &self.snapshot;
        let model = self.receipt.model.map(|index| snapshot.places.model(index));
        counters.settle(&self.receipt, model);
        drop(counters);
        self.shard.note(&snapshot.config, &self.receipt);
    }
}
