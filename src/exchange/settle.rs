//! The end of every exchange: counted once, logged once, also when its task is dropped.
//!
//! [`Settle`] is made when an exchange's head is understood and carries its receipt. Its
//! `Drop` settles; there is no other way. A future that is dropped half way (the client
//! went away, the shard shuts down) therefore leaves a receipt that says "cancelled".

use super::keep::Cached;
use crate::base::fault::Kind;
use crate::base::time::Instant;
use crate::config::model::defaults::ATTEMPTS_MAX;
use crate::config::model::{Model, Strategy, Target};
use crate::dialect::tokens::Weight;
use crate::host::Host;
use crate::policy::breaker::{Outcome, Turn};
use crate::policy::plan::Step;
use crate::policy::targets::{Running, Targets};
use crate::shard::Shard;
use crate::shard::snapshot::Snapshot;
use crate::stats::receipt::{AttemptEnd, EARLIER_MAX, End, HedgeEnd, Receipt, RequestId, Try, Why};
use std::rc::Rc;
use std::time::Duration;

const _: () = assert!(EARLIER_MAX + 1 >= ATTEMPTS_MAX);

/// An exchange that is under way.
#[derive(Debug)]
pub struct Settle<H: Host> {
    shard: Rc<Shard<H>>,
    /// What it began with; the indices of its receipt point into this.
    snapshot: Rc<Snapshot<H::Stream>>,
    /// What is known so far.
    pub receipt: Receipt,
    running: Option<Running>,
    /// What it has to do with the cache, where its model has one.
    pub cached: Option<Box<Cached<H>>>,
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
            running: None,
            cached: None,
            weight: None,
        }
    }

    /// What the exchange began with.
    pub fn snapshot(&self) -> &Rc<Snapshot<H::Stream>> {
        &self.snapshot
    }

    /// A stream was asked for.
    pub fn begin_stream(&mut self) {
        if !self.receipt.is_stream {
            self.receipt.is_stream = true;
            self.shard.counters.borrow_mut().streams_open += 1;
        }
    }

    /// The attempt `step` begins at `now`, of an estimated number of tokens.
    pub fn begin_attempt(&mut self, step: &Step<'_>, tokens: u64, now: Instant) {
        self.end_attempt(AttemptEnd::Failed, Why::Nothing, Outcome::Neutral);
        self.receipt.begin_try(step.model_index, step.target_index);
        self.running = self.run(step, tokens, now);
    }

    /// Counts the attempt `step` as one that is under way.
    pub(super) fn run(&self, step: &Step<'_>, tokens: u64, now: Instant) -> Option<Running> {
        let places = &self.snapshot.places;
        let target = places.target(step.model_index, step.target_index);
        let running = target.map(|target| Running {
            target,
            permit: step.permits.target,
            tokens,
            began: now,
        });
        if let Some(running) = running {
            self.shard.targets.borrow_mut().begin(running);
        }
        self.shard.gossip_soon();
        running
    }

    /// What is under way is `running` from here on, of which `one` is known; these give way
    /// to it.
    pub(super) fn change_places(&mut self, running: &mut Option<Running>, one: &mut Try) {
        std::mem::swap(&mut self.running, running);
        if let Some(last) = &mut self.receipt.last {
            std::mem::swap(last, one);
        }
    }

    /// How long attempts take is of use for hedging.
    pub fn watch(&mut self) {
        self.receipt.hedges = true;
    }

    /// What came of a hedge.
    pub fn hedged(&mut self, end: HedgeEnd) {
        self.receipt.hedge = Some(end);
        self.shard.counters.borrow_mut().hedge(end);
    }

    /// An attempt took so long to its first content, or at least that.
    pub(super) fn note_time(&self, running: Running, took: Duration) {
        if self.receipt.hedges {
            let whose = (running.target, self.receipt.is_stream);
            self.shard.hedging.borrow_mut().note(whose, took);
        }
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
        self.receipt.has_content = true;
        let Some(running) = self.running else {
            return;
        };
        self.note_time(running, now.since(running.began));
        let changed = self
            .shard
            .with_turn(now, |targets, turn| targets.content(running, took, turn));
        if changed {
            self.shard.gossip_now();
        }
    }

    /// The attempt under way, if any, came to `end`, for the reason `why`, which says `outcome`
    /// of its target.
    pub fn end_attempt(&mut self, end: AttemptEnd, why: Why, outcome: Outcome) {
        let Some(running) = self.running.take() else {
            return;
        };
        let now = self.shard.host.now();
        self.receipt.end_try(end, why, now.since(running.began));
        if end == AttemptEnd::Done {
            self.learn(running.target);
            self.time_plain(running, now);
        }
        close(&self.shard, running, end, outcome);
    }

    /// An attempt got a whole answer: how long that took, where it was a plain one.
    fn time_plain(&self, running: Running, now: Instant) {
        if self.receipt.has_content {
            return;
        }
        self.note_time(running, now.since(running.began));
        if self.is_timed() {
            let tokens = self.receipt.usage.map_or(0, |usage| usage.output);
            self.shard.targets.borrow_mut().whole(running, tokens, now);
        }
    }

    /// The model that was asked for.
    pub fn asked(&self) -> Option<&Model> {
        self.snapshot.config.models.get(self.receipt.model()?)
    }

    /// The model and the target of the last attempt.
    pub fn tried(&self) -> Option<(&Model, &Target)> {
        self.snapshot.config.tried(&self.receipt.last?)
    }

    /// Whether the time of a plain answer is of use to the model's strategy.
    fn is_timed(&self) -> bool {
        let tried = self.tried();
        tried.is_some_and(|(model, _)| model.strategy == Strategy::LeastLatency)
    }

    /// The provider says how many tokens the prompt had.
    fn learn(&self, target: usize) {
        if self.receipt.continued.count() > 0 {
            return; // these are the tokens of several
        }
        let config = &self.snapshot.config;
        let provider = self.tried().and_then(|(_, target)| config.provider(target));
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

/// An attempt came to `end`, which says `outcome` of its target.
pub(super) fn close<H: Host>(
    shard: &Rc<Shard<H>>,
    running: Running,
    end: AttemptEnd,
    outcome: Outcome,
) {
    let mut counters = shard.counters.borrow_mut();
    let attempts = counters.attempts.entry(running.target).or_default();
    if let Some(count) = attempts.get_mut(end.index()) {
        *count += 1;
    }
    drop(counters);
    let now = shard.host.lately();
    let changed = shard.with_turn(now, |targets, turn| targets.end(running, outcome, turn));
    if changed {
        shard.gossip_now();
    } else {
        shard.gossip_soon();
    }
}

impl<H: Host> Drop for Settle<H> {
    fn drop(&mut self) {
        if self.receipt.end == End::Cancelled {
            self.receipt.fault = Some(Kind::ClientGone);
            self.receipt.status = Kind::ClientGone.status();
        }
        // Who left after content saw a target that works.
        let outcome = if self.receipt.has_content {
            Outcome::Success
        } else {
            Outcome::Neutral
        };
        self.end_attempt(AttemptEnd::Cancelled, Why::Nothing, outcome);
        self.receipt.ended = self.shard.host.now();
        let mut counters = self.shard.counters.borrow_mut();
        counters.exchanges_open = counters.exchanges_open.saturating_sub(1);
        if self.receipt.is_stream {
            counters.streams_open = counters.streams_open.saturating_sub(1);
        }
        let snapshot = &self.snapshot;
        let (places, receipt) = (&snapshot.places, &self.receipt);
        let model = receipt.model().map(|index| places.model(index));
        let provider = self
            .tried()
            .map(|(_, target)| places.provider(target.provider));
        counters.settle(receipt, (model, provider));
        drop(counters);
        self.shard
            .let_in(snapshot.exchanges_max, snapshot.config.limits.queue_wait);
        self.shard.note(&snapshot.config, &self.receipt);
    }
}
