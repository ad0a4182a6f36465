//! The end of every exchange: counted once, logged once, also when its task is dropped.
//!
//! [`Settle`] is made when an exchange's head is understood and carries its receipt. Its
//! `Drop` settles; there is no other way. A future that is dropped half way (the client
//! went away, the shard shuts down) therefore leaves a receipt that says "cancelled".

use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::model::Strategy;
use crate::dialect::tokens::Weight;
use crate::host::Host;
use crate::policy::breaker::{Outcome, Turn};
use crate::policy::plan::Step;
use crate::policy::targets::{Running, Targets};
use crate::shard::Shard;
use crate::shard::snapshot::Snapshot;
use crate::stats::receipt::{AttemptEnd, End, Receipt, RequestId};
use std::rc::Rc;
use std::time::Duration;

/// An exchange that is under way.
#[derive(Debug)]
pub struct Settle<H: Host> {
    shard: Rc<Shard<H>>,
    /// What it began with; the indices of its receipt point into this.
    snapshot: Rc<Snapshot<H::Stream>>,
    /// What is known so far.
    pub receipt: Receipt,
    counts_stream: bool,
    running: Option<Running>,
    has_content: bool,
    attempt_end: AttemptEnd,
    /// Whether the time of a plain answer is of use to the model's strategy.
    is_timed: bool,
    /// What the request weighs, when it was read for a target of another dialect.
    pub weight: Option<Box<Weight>>,
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
            running: None,
            has_content: false,
            attempt_end: AttemptEnd::Cancelled,
            is_timed: false,
            weight: None,
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

    /// The attempt `step` begins at `now`, of an estimated number of tokens.
    pub fn begin_attempt(&mut self, step: &Step<'_>, tokens: u64, now: Instant) {
        self.end_attempt(AttemptEnd::Failed, Outcome::Neutral);
        self.receipt.attempts = self.receipt.attempts.saturating_add(1);
        self.receipt.provider = Some(step.provider_index);
        self.attempt_end = AttemptEnd::Cancelled;
        self.has_content = false;
        self.is_timed = step.model.strategy == Strategy::LeastLatency;
        let places = &self.snapshot.places;
        let target = places.target(step.model_index, step.target_index);
        self.running = target.map(|target| Running {
            target,
            permit: step.permits.target,
            tokens,
            began: now,
        });
        if let Some(running) = self.running {
            self.shard.targets.borrow_mut().begin(running);
        }
        self.shard.gossip_soon();
    }

    /// The target of `step` is not asked after all: what was claimed of it is given back.
    pub fn pass_over(&self, step: &Step<'_>) {
        let places = &self.snapshot.places;
        let Some(target) = places.target(step.model_index, step.target_index) else {
            return;
        };
        let now = self.shard.host.now();
        let running = Running {
            target,
            permit: step.permits.target,
            tokens: 0,
            began: now,
        };
        self.shard.targets.borrow_mut().begin(running);
        let host = places.host(step.model_index, step.target_index);
        let host = host.filter(|_| step.permits.host.is_probe());
        let neutral = |targets: &mut Targets, turn: &Turn<'_>| {
            let nothing = (step.permits.host, Outcome::Neutral);
            let is_given_back = host.is_some_and(|host| targets.judge(host, nothing, turn));
            targets.end(running, Outcome::Neutral, turn) || is_given_back
        };
        if self.shard.with_turn(now, neutral) {
            self.shard.gossip_now();
        }
    }

    /// The attempt got its first content, `took` after its request was sent.
    pub fn content(&mut self, took: Duration, now: Instant) {
        self.has_content = true;
        let Some(running) = self.running else {
            return;
        };
        let changed = self
            .shard
            .with_turn(now, |targets, turn| targets.content(running, took, turn));
        if changed {
            self.shard.gossip_now();
        }
    }

    /// The attempt under way, if any, came to `end`, which says `outcome` of its target.
    pub fn end_attempt(&mut self, end: AttemptEnd, outcome: Outcome) {
        let Some(running) = self.running.take() else {
            return;
        };
        let mut counters = self.shard.counters.borrow_mut();
        let attempts = counters.attempts.entry(running.target).or_default();
        if let Some(count) = attempts.get_mut(end.index()) {
            *count += 1;
        }
        drop(counters);
        if end == AttemptEnd::Done {
            self.learn(running.target);
        }
        let now = self.shard.host.now();
        if self.is_timed && end == AttemptEnd::Done && !self.has_content {
            let tokens = self.receipt.usage.map_or(0, |usage| usage.output);
            self.shard.targets.borrow_mut().whole(running, tokens, now);
        }
        let changed = self
            .shard
            .with_turn(now, |targets, turn| targets.end(running, outcome, turn));
        if changed {
            self.shard.gossip_now();
        } else {
            self.shard.gossip_soon();
        }
    }

    /// The provider says how many tokens the prompt had.
    fn learn(&self, target: usize) {
        let provider = self.receipt.provider;
        let provider = provider.and_then(|at| self.snapshot.config.providers.get(at));
        if let (Some(usage), Some(provider)) = (self.receipt.usage, provider) {
            let asked = (self.receipt.bytes_in, self.weight.as_deref());
            let came_to = (usage.input, provider.dialect.speaks());
            self.shard
                .targets
                .borrow_mut()
                .learn(target, asked, came_to);
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
        // Who left after content saw a target that works.
        let outcome = if self.has_content {
            Outcome::Success
        } else {
            Outcome::Neutral
        };
        self.end_attempt(self.attempt_end, outcome);
        self.receipt.ended = self.shard.host.now();
        let mut counters = self.shard.counters.borrow_mut();
        counters.exchanges_open = counters.exchanges_open.saturating_sub(1);
        if self.counts_stream {
            counters.streams_open = counters.streams_open.saturating_sub(1);
        }
        let snapshot = &self.snapshot;
        let (places, receipt) = (&snapshot.places, &self.receipt);
        let model = receipt.model.map(|index| places.model(index));
        let provider = receipt.provider.map(|index| places.provider(index));
        counters.settle(receipt, (model, provider));
        drop(counters);
        self.shard
            .let_in(snapshot.exchanges_max, snapshot.config.limits.queue_wait);
        self.shard.note(&snapshot.config, &self.receipt);
    }
}
