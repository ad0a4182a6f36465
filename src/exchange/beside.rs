//! The second attempt of a race, for the books: counted where it began, settled once.
//!
//! ```text
//!   Settle: the attempt under way ◄── change_places ──► Beside: the other one
//!      └─ delivered, or failed                             └─ lost, failed; dropped: cancelled
//! ```
//!
//! Kept with the race, not with the exchange: an exchange without one has no room for it.
//!
//! Invariants
//! - V1 A [`Beside`] ends once: by [`Beside::end`], or with its drop. So does its hedge: by
//!   [`Beside::hedged`], or with its drop.

use super::settle::{Settle, close};
use crate::base::time::Instant;
use crate::host::Host;
use crate::policy::breaker::Outcome;
use crate::policy::plan::Step;
use crate::policy::targets::Running;
use crate::shard::Shard;
use crate::stats::receipt::{AttemptEnd, HedgeEnd, Try, Why};
use std::rc::Rc;

/// The attempt beside the one that is the exchange's.
#[derive(Debug)]
pub struct Beside<H: Host> {
    shard: Rc<Shard<H>>,
    running: Option<Running>,
    one: Try,
    /// It began first.
    is_first: bool,
    /// What came of the hedge was not told yet.
    is_open: bool,
}

impl<H: Host> Beside<H> {
    /// The attempt `step` of an estimated number of tokens begins at `now` beside the one of
    /// `settle`.
    pub fn begin(
        shard: &Rc<Shard<H>>,
        settle: &mut Settle<H>,
        (step, tokens): (&Step<'_>, u64),
        now: Instant,
    ) -> Self {
        settle.receipt.attempts = settle.receipt.attempts.saturating_add(1);
        settle.receipt.hedge = Some(HedgeEnd::Cancelled); // unless it comes to something
        Self {
            shard: Rc::clone(shard),
            running: settle.run(step, tokens, now),
            one: Try::new(step.model_index, step.target_index),
            is_first: false,
            is_open: true,
        }
    }

    /// The other one is the attempt of `settle` from here on, and that one is this.
    pub fn change_places(&mut self, settle: &mut Settle<H>) {
        settle.change_places(&mut self.running, &mut self.one);
        self.is_first = !self.is_first;
    }

    /// It came to `end`, for the reason `why`, which says `outcome` of its target.
    pub fn end(&mut self, settle: &mut Settle<H>, end: AttemptEnd, why: Why, outcome: Outcome) {
        let Some(running) = self.running.take() else {
            return;
        };
        let took = self.shard.host.now().since(running.began);
        let one = Try {
            end,
            why,
            ..self.one
        };
        settle.receipt.end_beside(one, took);
        close(&self.shard, running, end, outcome);
    }

    /// The other one was faster; the prompt of this one, of so many tokens, is paid for.
    pub fn lose(&mut self, settle: &mut Settle<H>, tokens: u64) {
        let Some(running) = self.running else {
            return;
        };
        let mut counters = self.shard.counters.borrow_mut();
        *counters.lost_tokens.entry(running.target).or_default() += tokens;
        drop(counters);
        if self.is_first {
            // The second one was perhaps given up soon after it began: that says nothing.
            let now = self.shard.host.now();
            let took = now.since(running.began);
            let mut targets = self.shard.targets.borrow_mut();
            targets.gave_way(running, took, now);
            drop(targets);
            settle.note_time(running, took);
        }
        self.end(settle, AttemptEnd::Lost, Why::Nothing, Outcome::Neutral);
    }

    /// What came of the hedge.
    pub fn hedged(&mut self, settle: &mut Settle<H>, end: HedgeEnd) {
        self.is_open = false;
        settle.hedged(end);
    }
}

impl<H: Host> Drop for Beside<H> {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            let end = AttemptEnd::Cancelled;
            close(&self.shard, running, end, Outcome::Neutral);
        }
        if self.is_open {
            let mut counters = self.shard.counters.borrow_mut();
            counters.hedge(HedgeEnd::Cancelled);
        }
    }
}
