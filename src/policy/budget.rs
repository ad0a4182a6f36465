//! How many attempts beyond the first ones a shard may make, so that an outage of providers
//! is not multiplied by the gateway.
//!
//! ```text
//!   exchanges ── a share of each ──┐
//!   time ── RESERVE, if more ──────┴─► bucket ── one for each further attempt ──► made
//!                                        └── what is older than WINDOW runs out
//! ```
//!
//! Nothing is done when an exchange begins: how many there were is told when somebody asks.
//!
//! Invariants
//! - G1 Over any time of [`WINDOW`] no more further attempts are made than twice the larger of
//!   the share of the exchanges and the reserve of that time; in the long run, than once.
//! - G2 Nothing is allocated.
//!
//! Source: Finagle's retry budget (20 % and a reserve of 10 a second over 10 s); Google, "Site
//! Reliability Engineering", chapter 21.

use crate::base::time::Instant;
use std::time::Duration;

/// What was not used for so long is lost.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Further attempts a second, of the whole box, that few exchanges are enough for.
pub const RESERVE: u64 = 10;

/// The cost of one attempt in the bucket's unit.
const ONE: u64 = 1_000_000;

/// The bucket of one shard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    left: u64,
    /// When it was looked at last; `None` never.
    at: Option<Instant>,
    /// How many exchanges there had been then.
    exchanges: u64,
}

impl Budget {
    /// Whether one more may be made, on one of `shards` that has begun `exchanges` so far, each
    /// of which is good for `percent` hundredths of one.
    pub fn has_one(
        &mut self,
        percent: u32,
        (exchanges, shards): (u64, usize),
        now: Instant,
    ) -> bool {
        let past = self.at.map_or(WINDOW, |at| now.since(at));
        if past.is_zero() {
            return self.left >= ONE; // nothing new, and what has come since counts later
        }
        let within = past.min(WINDOW);
        let arrived = exchanges.saturating_sub(self.exchanges);
        // Of a longer time only the part counts that is not lost yet.
        let arrived = part(arrived.saturating_mul(ONE), within, past);
        let earned = arrived.saturating_mul(u64::from(percent)) / 100;
        let reserve = part(RESERVE * ONE, within, Duration::from_secs(1));
        let reserve = reserve / (shards.max(1) as u64);
        let kept = part(self.left, WINDOW.saturating_sub(within), WINDOW);
        *self = Self {
            left: kept.saturating_add(earned.max(reserve)),
            at: Some(now),
            exchanges,
        };
        self.left >= ONE
    }

    /// It was made.
    pub fn spend(&mut self) {
        debug_assert!(self.left >= ONE, "ask first");
        self.left = self.left.saturating_sub(ONE);
    }
}

/// The part `of` / `all` of `sum`.
fn part(sum: u64, of: Duration, all: Duration) -> u64 {
    let part = u128::from(sum) * of.as_nanos() / all.as_nanos().max(1);
    u64::try_from(part).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    /// Makes one if it may.
    fn take(budget: &mut Budget, exchanges: u64, ms: u64) -> bool {
        let has_one = budget.has_one(20, (exchanges, 1), at(ms));
        if has_one {
            budget.spend();
        }
        has_one
    }

    /// Goal: an outage is not multiplied. Method: every exchange of a minute, 1000 a second,
    /// wants one more attempt.
    #[test]
    fn an_outage_is_not_multiplied() {
        let mut budget = Budget::default();
        let made = (1..=60_000).filter(|n| take(&mut budget, *n, *n)).count();
        assert!((11_500..=12_200).contains(&made), "{made}");
    }

    /// Goal: who is asked little may try again nearly always.
    #[test]
    fn few_exchanges_have_the_reserve() {
        let mut budget = Budget::default();
        let made = (1..=300).filter(|n| take(&mut budget, *n, n * 200)).count();
        assert_eq!(made, 300, "five a second");
        let burst = (1..=500).filter(|_| take(&mut budget, 300, 60_001)).count();
        assert!((40..=101).contains(&burst), "{burst}");
    }

    /// Goal: what was saved up long ago is lost.
    #[test]
    fn what_was_saved_is_lost_in_time() {
        let mut budget = Budget::default();
        assert!(take(&mut budget, 1_000_000, 0));
        let made = (0..1000)
            .filter(|_| take(&mut budget, 1_000_000, 60_000))
            .count();
        assert_eq!(made, 100, "the reserve of ten seconds");
    }

    proptest! {
        /// Goal: G1 in the long run. Method: exchanges and wishes at any times.
        #[test]
        fn it_is_never_overdrawn(
            steps in proptest::collection::vec((0_u64..3000, 0_u64..200, 0_u64..60), 1..60),
        ) {
            let mut budget = Budget::default();
            let (mut now, mut exchanges, mut made) = (0, 0, 0);
            for (ms, more, wishes) in steps {
                now += ms;
                exchanges += more;
                made += (0..wishes).filter(|_| take(&mut budget, exchanges, now)).count() as u64;
                let most = exchanges / 5 + (now + 10_000) * RESERVE / 1000;
                prop_assert!(made <= most + 1, "{} of {}", made, most);
            }
        }
    }
}
