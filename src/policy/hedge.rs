//! Hedging: when a second attempt starts beside a slow one, and whether it may.
//!
//! ```text
//!   attempts ── time to first content ──► Times, per target ── after = "p95" ──► when
//!   exchanges ── extra_max of each ─────► Purse, per model ── has one? ────────► whether
//! ```
//!
//! Times are counted in buckets a thirtieth apart or less, streams and plain answers each for
//! themselves, and what is old counts half after each [`WINDOW`] / 2 new ones. An attempt that
//! lost to its hedge counts with the time after which it was given up: it took longer than what
//! was waited for, so the percentile stays what it would be without hedges.
//!
//! Each shard counts for itself: its share of a box's extra attempts is that of its exchanges.
//!
//! Invariants
//! - H1 A model's extra attempts on a shard are never more than `extra_max` of its exchanges
//!   there and [`RESERVE`]; among exchanges that follow each other, [`SAVED_MAX`].
//! - H2 No percentile is told before there are [`samples_min`] times.
//! - H3 Only models that hedge cost anything here.
//!
//! Source: Dean and Barroso, "The Tail at Scale" (2013): the 95th percentile, 5 %.

use crate::config::model::{After, Hedge};
use ahash::AHashMap;
use std::time::Duration;

/// Extra attempts that a model may make before it earned one.
pub const RESERVE: u64 = 1;

/// Extra attempts that are saved up for a bad time.
pub const SAVED_MAX: u64 = 10;

/// Times that are remembered, at most.
pub const WINDOW: u64 = 1024;

/// The cost of an extra attempt in the purse's unit, which an exchange adds `extra_max` to.
const ONE: u64 = 100;

/// What one time counts; halved, it is not lost at once.
const WEIGHT: u32 = 256;

/// The shortest and the longest time that are told apart: 2¹⁰ and 2³⁰ µs.
const OCTAVES: std::ops::Range<u32> = 10..30;

/// Buckets of an octave: 2⁵. What a percentile is off by is waited for in vain.
const PARTS: usize = 1 << PART_BITS;

const PART_BITS: u32 = 5;

const BUCKETS: usize = (OCTAVES.end - OCTAVES.start) as usize * PARTS;

/// How many times make a percentile: two beyond it, and twenty at the least.
pub fn samples_min(percent: u32) -> u64 {
    let beyond = u64::from(100_u32.saturating_sub(percent)).max(1);
    (2 * 100_u64.div_ceil(beyond)).max(20)
}

/// How long answers take that a target gave of late.
#[derive(Clone, Debug)]
struct Times {
    buckets: [u32; BUCKETS],
    sum: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum: 0,
        }
    }
}

impl Times {
    fn add(&mut self, took: Duration) {
        if let Some(bucket) = self.buckets.get_mut(place(took)) {
            *bucket += WEIGHT;
            self.sum += u64::from(WEIGHT);
        }
        if self.sum >= WINDOW * u64::from(WEIGHT) {
            for bucket in &mut self.buckets {
                *bucket /= 2;
            }
            let buckets = self.buckets.iter();
            self.sum = buckets.map(|bucket| u64::from(*bucket)).sum();
        }
    }

    /// The time that `percent` of a hundred did not exceed (H2).
    fn percentile(&self, percent: u32) -> Option<Duration> {
        if self.sum < samples_min(percent) * u64::from(WEIGHT) {
            return None;
        }
        let rank = (self.sum * u64::from(percent)).div_ceil(100);
        let mut below = 0;
        let place = self.buckets.iter().position(|bucket| {
            below += u64::from(*bucket);
            below >= rank
        });
        place.map(end)
    }
}

/// The bucket of a time.
fn place(took: Duration) -> usize {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    let micros = micros.clamp(1 << OCTAVES.start, (1 << OCTAVES.end) - 1);
    let octave = micros.ilog2();
    let part = usize::try_from(micros >> (octave - PART_BITS)).unwrap_or(PARTS) - PARTS;
    (octave - OCTAVES.start) as usize * PARTS + part
}

/// The end of a bucket.
fn end(place: usize) -> Duration {
    let (octave, part) = (place / PARTS, place % PARTS);
    let octave = u32::try_from(octave).unwrap_or(0) + OCTAVES.start;
    Duration::from_micros(((PARTS + part + 1) as u64) << (octave - PART_BITS))
}

/// What a model may still spend on extra attempts.
#[derive(Clone, Copy, Debug)]
struct Purse {
    left: u64,
}

impl Default for Purse {
    fn default() -> Self {
        Self {
            left: RESERVE * ONE,
        }
    }
}

/// What a shard knows of the models that hedge, and of their targets, by number.
#[derive(Clone, Debug, Default)]
pub struct Hedging {
    purses: AHashMap<usize, Purse>,
    times: AHashMap<usize, [Times; 2]>,
}

impl Hedging {
    /// The `target` gave its first content after `took`; of a plain answer the whole.
    pub fn note(&mut self, (target, is_stream): (usize, bool), took: Duration) {
        let [plain, stream] = self.times.entry(target).or_default();
        let times = if is_stream { stream } else { plain };
        times.add(took);
    }

    /// How long answers of `target` take, but for the slowest; `None`: not known yet.
    pub fn percentile(&self, (target, is_stream): (usize, bool), percent: u32) -> Option<Duration> {
        let [plain, stream] = self.times.get(&target)?;
        let times = if is_stream { stream } else { plain };
        times.percentile(percent)
    }

    /// The 95th percentiles by target, of plain answers and of streams, for whoever looks.
    pub fn known(&self) -> Vec<(usize, [Option<Duration>; 2])> {
        let all = self.times.iter();
        let known = |times: &[Times; 2]| times.each_ref().map(|times| times.percentile(95));
        all.map(|(target, times)| (*target, known(times))).collect()
    }

    /// How long an attempt at `target` has before another one starts beside it.
    pub fn after(&self, hedge: &Hedge, (target, is_stream): (usize, bool)) -> Option<Duration> {
        match hedge.after {
            After::Time(time) => Some(time),
            After::Percentile(percent) => self.percentile((target, is_stream), percent),
        }
    }

    /// An exchange of `model` begins.
    pub fn earn(&mut self, model: usize, hedge: &Hedge) {
        let purse = self.purses.entry(model).or_default();
        let left = purse.left + u64::from(hedge.extra_percent);
        purse.left = left.min(SAVED_MAX * ONE);
    }

    /// Whether `model` may make an extra attempt.
    pub fn has_one(&self, model: usize) -> bool {
        self.purses
            .get(&model)
            .is_some_and(|purse| purse.left >= ONE)
    }

    /// It was made.
    pub fn spend(&mut self, model: usize) {
        debug_assert!(self.has_one(model), "ask first");
        if let Some(purse) = self.purses.get_mut(&model) {
            purse.left = purse.left.saturating_sub(ONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const AT: (usize, bool) = (3, true);

    fn hedge(percent: u32) -> Hedge {
        Hedge {
            after: After::Percentile(95),
            extra_percent: percent,
        }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Goal: every time is within its bucket, and a bucket is a share of what it stands for.
    #[test]
    fn a_bucket_ends_just_behind_what_is_in_it() {
        for micros in (1024..5_000_000).step_by(777) {
            let took = Duration::from_micros(micros);
            let end = end(place(took));
            assert!(end > took, "{micros}");
            assert!(
                end <= took + took / 32 + Duration::from_micros(1),
                "{micros}"
            );
        }
        assert_eq!(place(Duration::ZERO), 0);
        assert_eq!(place(Duration::MAX), BUCKETS - 1);
    }

    /// Goal: H2, and the percentile of a slow tail: the body's when the tail is below it.
    #[test]
    fn a_percentile_is_told_once_there_are_enough() {
        let mut all = Hedging::default();
        for n in 1..=400 {
            assert_eq!(all.percentile(AT, 95).is_some(), n > 40, "{n}");
            assert_eq!(all.percentile(AT, 99).is_some(), n > 200, "{n}");
            all.note(AT, ms(if n % 50 == 0 { 5000 } else { 50 }));
        }
        let p95 = all.percentile(AT, 95).unwrap();
        assert!((ms(50)..ms(60)).contains(&p95), "{p95:?}");
        let p99 = all.percentile(AT, 99).unwrap();
        assert!((ms(5000)..ms(5700)).contains(&p99), "{p99:?}");
        assert_eq!(all.percentile((3, false), 50), None, "plain answers apart");
        assert_eq!(all.percentile((4, true), 50), None, "targets apart");
    }

    /// Goal: a target that became slower is known for it, and a rare tail is not forgotten.
    #[test]
    fn what_is_old_counts_less() {
        let mut all = Hedging::default();
        (0..100_000).for_each(|n| all.note(AT, ms(if n % 50 == 0 { 900 } else { 20 })));
        let p99 = all.percentile(AT, 99).unwrap();
        assert!(p99 >= ms(900), "{p99:?}");
        (0..2000).for_each(|_| all.note(AT, ms(300)));
        let p50 = all.percentile(AT, 50).unwrap();
        assert!((ms(300)..ms(340)).contains(&p50), "{p50:?}");
    }

    /// Goal: what loses counts with the time it was given, so that cutting the tail off does
    /// not draw the percentile down. Method: a tenth is slow, of which all are cut off.
    #[test]
    fn cutting_the_tail_off_does_not_lower_the_percentile() {
        let mut all = Hedging::default();
        for n in 0..5000_u64 {
            let took = if n % 10 == 0 {
                ms(2000)
            } else {
                ms(40 + n % 20)
            };
            let after = all.percentile(AT, 95).unwrap_or(ms(60_000));
            all.note(AT, took.min(after + ms(20))); // the hedge answers 20 ms later
        }
        let p95 = all.percentile(AT, 95).unwrap();
        assert!(p95 >= ms(1000), "{p95:?}");
        let p50 = all.percentile(AT, 50).unwrap();
        assert!(p50 < ms(60), "{p50:?}");
    }

    /// Goal: few exchanges may hedge, too, and models are told apart.
    #[test]
    fn the_first_slow_exchange_may_hedge() {
        let mut all = Hedging::default();
        assert!(!all.has_one(1), "it has not begun any");
        all.earn(1, &hedge(5));
        assert!(all.has_one(1));
        all.spend(1);
        assert!(!all.has_one(1));
        all.earn(2, &hedge(5));
        assert!(all.has_one(2));
    }

    proptest! {
        /// Goal: H1. Method: exchanges of which any may want one, at any share.
        #[test]
        fn extra_attempts_stay_within_their_share(
            percent in 1_u32..=100,
            wishes in proptest::collection::vec(any::<bool>(), 1..2000),
        ) {
            let mut all = Hedging::default();
            let mut made = vec![0_u64];
            for wish in wishes {
                all.earn(7, &hedge(percent));
                let may = wish && all.has_one(7);
                if may {
                    all.spend(7);
                }
                made.push(made[made.len() - 1] + u64::from(may));
            }
            let share = |exchanges: usize| exchanges as u64 * u64::from(percent);
            for (exchanges, made) in made.iter().enumerate() {
                prop_assert!(made * 100 <= RESERVE * 100 + share(exchanges));
            }
            for from in (0..made.len()).step_by(37) {
                for to in from..made.len() {
                    let most = SAVED_MAX * 100 + share(to - from);
                    prop_assert!((made[to] - made[from]) * 100 <= most);
                }
            }
        }
    }
}
