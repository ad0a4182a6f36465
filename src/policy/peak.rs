//! How long a target takes to its first token, as all shards of a box have seen it together.
//!
//! ```text
//!   ns │  ╷ slow answer: up at once
//!      │  │╲
//!      │  │ ╲__ fast answers: down with DECAY       no answers: stays where the newest one was
//!      │──┘    ╲______
//!      └──────────────── time
//! ```
//!
//! Each shard keeps the estimate that it made with its own newest answer, and tells it to the
//! others. All estimates fade at the same rate, so which of two is the larger never changes:
//! the joint one is the largest, or the newest where all have faded below that. So each shard
//! comes, within the gossip's tick, to what one shard would that saw all answers.
//!
//! Invariants
//! - P1 [`Peak::hear`] is a join: order and repetition change nothing.
//! - P2 An answer slower than the estimate becomes it; none makes it smaller than itself.
//!
//! Source: Finagle's peak EWMA load metric, for the shape and the ten seconds.

use crate::base::time::Instant;
use crate::stats::view::Estimate;
use std::time::Duration;

/// How fast an estimate forgets.
pub const DECAY: Duration = Duration::from_secs(10);

/// Estimates of a time, joined.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peak {
    own: Estimate,
    /// The one that was made last.
    newest: Estimate,
    /// The one that is largest, faded to the same instant.
    largest: Estimate,
}

impl Peak {
    /// This shard got an answer that took `took`.
    pub fn add(&mut self, took: Duration, now: Instant) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).max(1);
        let since = self.newest.at;
        let before = self.nanos(since);
        let nanos = if nanos >= before {
            nanos
        } else {
            nanos + scaled(before - nanos, kept(now.since(since))) // P2
        };
        self.own = Estimate { nanos, at: now };
        self.hear(self.own);
    }

    /// Takes in what another shard says (P1).
    pub fn hear(&mut self, heard: Estimate) {
        if heard.nanos == 0 {
            return;
        }
        let order = |it: &Estimate| (it.at, it.nanos);
        if order(&heard) > order(&self.newest) {
            self.newest = heard;
        }
        let later = heard.at.max(self.largest.at);
        let (mine, theirs) = (faded(self.largest, later), faded(heard, later));
        if (theirs, order(&heard)) > (mine, order(&self.largest)) {
            self.largest = heard;
        }
    }

    /// What this shard tells the others.
    pub fn own(&self) -> Estimate {
        self.own
    }

    /// When the last answer came, at any shard.
    pub fn at(&self) -> Instant {
        self.newest.at
    }

    /// The estimate in nanoseconds; 0 = none yet.
    pub fn nanos(&self, now: Instant) -> u64 {
        if self.largest == self.newest {
            return self.newest.nanos;
        }
        self.newest.nanos.max(faded(self.largest, now))
    }
}

/// What is left of `it` at `now`.
fn faded(it: Estimate, now: Instant) -> u64 {
    let past = now.since(it.at);
    if past.is_zero() {
        return it.nanos;
    }
    scaled(it.nanos, kept(past))
}

/// The share that is left after `past`.
fn kept(past: Duration) -> f64 {
    (-past.as_secs_f64() / DECAY.as_secs_f64()).exp()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of an estimate: not negative, and no larger than it"
)]
fn scaled(nanos: u64, share: f64) -> u64 {
    (nanos as f64 * share) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    fn ms(peak: &Peak, now: u64) -> u64 {
        peak.nanos(at(now)) / 1_000_000
    }

    /// Goal: P2 and the picture: up at once, down with the decay, and silence changes nothing.
    #[test]
    fn a_slow_answer_counts_at_once_and_is_forgotten_slowly() {
        let mut peak = Peak::default();
        assert_eq!(peak.nanos(at(5)), 0);
        peak.add(Duration::from_millis(100), at(1000));
        peak.add(Duration::from_secs(1), at(2000));
        assert_eq!(ms(&peak, 2000), 1000);
        peak.add(Duration::from_millis(100), at(12_000));
        assert_eq!(ms(&peak, 12_000), 431, "100 + 900 / e");
        assert_eq!(ms(&peak, 600_000), 431);
        for second in 13..100 {
            peak.add(Duration::from_millis(100), at(second * 1000));
        }
        assert_eq!(ms(&peak, 100_000), 100);
    }

    /// Goal: one shard's slow answer is known to another, and does not outlive what it would
    /// be to the shard itself.
    #[test]
    fn what_another_shard_saw_fades_like_ones_own() {
        let (mut here, mut there) = (Peak::default(), Peak::default());
        there.add(Duration::from_secs(3), at(1000));
        here.hear(there.own());
        assert_eq!(ms(&here, 1000), 3000);
        let mut alone = here;
        for second in 2..=21 {
            // the other one sees nothing; this one only fast answers
            here.add(Duration::from_millis(100), at(second * 1000));
            alone.add(Duration::from_millis(100), at(second * 1000));
            there.hear(here.own());
        }
        assert_eq!(here, alone);
        assert!(ms(&here, 21_000) < 3000 / 7 + 100);
        assert_eq!(ms(&here, 21_000), ms(&there, 21_000));
    }

    proptest! {
        /// Goal: P1. Method: shards' estimates, told in any order, some of them twice.
        #[test]
        fn hearing_is_a_join(
            told in proptest::collection::vec((1_u64..5_000_000_000, 0_u64..60_000), 1..20),
            turns in proptest::collection::vec(any::<prop::sample::Index>(), 0..20),
        ) {
            let estimate = |&(nanos, ms): &(u64, u64)| Estimate { nanos, at: at(ms) };
            let all: Vec<_> = told.iter().map(estimate).collect();
            let mut once = Peak::default();
            for it in &all {
                once.hear(*it);
            }
            let mut mixed = Peak::default();
            for turn in turns {
                mixed.hear(all[turn.index(all.len())]);
            }
            for it in all.iter().rev() {
                mixed.hear(*it);
            }
            prop_assert_eq!(once.newest, mixed.newest);
            let now = at(60_000);
            let (a, b) = (once.nanos(now), mixed.nanos(now));
            prop_assert!(a.abs_diff(b) <= 2, "{} {}", a, b);
        }

        /// Goal: shards that hear each other come to what one shard would that saw all.
        /// Method: answers at random shards; after each, everybody hears.
        #[test]
        fn shards_agree_with_one_that_sees_all(
            answers in proptest::collection::vec((0_usize..3, 1_u64..3000, 0_u64..2000), 1..60),
        ) {
            let mut shards = [Peak::default(); 3];
            let mut oracle = Peak::default();
            let mut now = 1000;
            for (shard, took, step) in answers {
                now += step;
                shards[shard].add(Duration::from_millis(took), at(now));
                oracle.add(Duration::from_millis(took), at(now));
                let said = shards[shard].own();
                for it in &mut shards {
                    it.hear(said);
                }
                for it in shards {
                    let (is, want) = (it.nanos(at(now)), oracle.nanos(at(now)));
                    prop_assert!(is.abs_diff(want) <= 1000, "{} {}", is, want);
                }
            }
        }
    }
}
