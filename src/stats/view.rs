//! What shards tell each other of targets, and how it is joined.
//!
//! ```text
//!   shard 0 ── Digest { seq, cells } ──► View of shard 1:  row 0 │ target a: cell, seq
//!   shard 2 ── Digest { seq, cells } ──►                   row 2 │ target a: cell, seq
//! ```
//!
//! A digest holds the cells that changed, or all of them (a *whole* one, sent now and then,
//! which repairs what was lost).
//!
//! Invariants
//! - V1 Row `s` is written by shard `s` alone; of two cells of a target in it the one with
//!   the larger `seq` stays.
//! - V2 [`View::join`] is commutative, associative and idempotent: loss, doubling and
//!   reordering change nothing once the newest whole digest and those behind it have come.
//! - V3 [`Mark::join`] is the larger one of a total order, hence a join too.

use crate::base::time::Instant;
use ahash::AHashMap;
use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

/// Names a target for as long as its provider, address and model stay the same: also over a
/// reload and between shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TargetId(pub u64);

impl TargetId {
    /// Of a target called `name` whose provider is at `url`: FNV-1a, since every process must
    /// come to the same.
    pub fn of(name: &str, url: &str) -> Self {
        let bytes = name.bytes().chain([0]).chain(url.bytes());
        Self(bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }
}

/// Whether a target is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Yes.
    #[default]
    Closed,
    /// By one attempt, the probe.
    HalfOpen,
    /// No.
    Open,
}

impl State {
    /// Word of the status page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }

    /// Value of `shardgate_breaker_state`.
    pub const fn gauge(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// Where the breaker of a target stands, as its box sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Counts the changes of state; who changes a state adds one to the newest it knows.
    pub generation: u32,
    /// The state.
    pub state: State,
    /// Open: when a probe may be made. Half-open: when another one may.
    pub until: Instant,
    /// The shard that changed it.
    pub by: u32,
    /// How often it opened in a row.
    pub streak: u32,
}

impl Mark {
    /// The newer one; of two that were made at the same time open wins, then the claim of
    /// the lowest shard (V3).
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        let order = |mark: &Self| {
            let Self { until, streak, .. } = *mark;
            (mark.generation, mark.state, Reverse(mark.by), until, streak)
        };
        if order(&other) > order(&self) {
            other
        } else {
            self
        }
    }
}

/// Attempts that were judged, and how many of them failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub attempts: u32,
    /// Those that failed.
    pub failures: u32,
}

impl Tally {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.saturating_add(other.attempts),
            failures: self.failures.saturating_add(other.failures),
        }
    }
}

/// Estimate of a time, as one shard has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimate {
    /// The time in nanoseconds; 0 = none yet.
    pub nanos: u64,
    /// When it was made.
    pub at: Instant,
}

/// What one shard knows of one target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its breaker.
    pub mark: Mark,
    /// Attempts under way.
    pub in_flight: u32,
    /// Estimated tokens of the attempts under way.
    pub tokens: u64,
    /// The time to the first token.
    pub ttft: Estimate,
    /// Until when its provider wants it to be left alone.
    pub cool_until: Instant,
    /// Of the window, within the mark's generation.
    pub window: Tally,
}

/// What a shard sends.
#[derive(Clone, Debug)]
pub struct Digest {
    /// Which shard.
    pub from: usize,
    /// Larger than in every digest it sent before.
    pub seq: u64,
    /// When it was made, by the monotonic clock that the shards of a box share.
    pub at: Instant,
    /// Whether every target it ever asked is in it.
    pub is_whole: bool,
    /// The targets.
    pub cells: Arc<[(TargetId, Cell)]>,
}

/// A cell as it was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Its digest's number.
    pub seq: u64,
    /// When that was made.
    pub at: Instant,
    /// What it says.
    pub cell: Cell,
}

/// What another shard said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The number of its newest whole digest.
    whole: u64,
    /// When its newest digest was made; `None` before the first.
    pub at: Option<Instant>,
    /// By target.
    pub cells: AHashMap<TargetId, Heard>,
}

/// What one shard has heard of the others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    /// By shard; one's own stays empty.
    pub rows: Vec<Row>,
}

impl View {
    /// A view of `shards` that have said nothing.
    pub fn new(shards: usize) -> Self {
        Self {
            rows: vec![Row::default(); shards],
        }
    }

    /// Takes in what a shard said (V1, V2).
    pub fn join(&mut self, digest: &Digest) {
        self.join_with(digest, |_, _, _| ());
    }

    /// The same; `changed` is told what a target's cell was and what it is now.
    pub fn join_with(&mut self, digest: &Digest, mut changed: impl FnMut(TargetId, Cell, Cell)) {
        let Some(row) = self.rows.get_mut(digest.from) else {
            return;
        };
        row.at = row.at.max(Some(digest.at));
        let seq = digest.seq;
        if seq <= row.whole {
            return; // a whole digest that came already is newer
        }
        if digest.is_whole {
            row.whole = seq;
            row.cells.retain(|target, heard| {
                let is_newer = heard.seq > seq;
                if !is_newer {
                    changed(*target, heard.cell, Cell::default());
                }
                is_newer
            });
        }
        for &(target, cell) in &*digest.cells {
            let new = Heard {
                seq,
                at: digest.at,
                cell,
            };
            let heard = row.cells.entry(target).or_default();
            if heard.seq < seq {
                changed(target, heard.cell, cell);
                *heard = new;
            }
        }
    }

    /// What the others counted of `target` in this `generation`, as far as it was said at
    /// `since` or later.
    pub fn tally(&self, target: TargetId, generation: u32, since: Instant) -> Tally {
        let heard = self.rows.iter().filter_map(|row| row.cells.get(&target));
        heard
            .filter(|heard| heard.at >= since && heard.cell.mark.generation == generation)
            .fold(Tally::default(), |sum, heard| sum.plus(heard.cell.window))
    }

    /// How old the oldest row is; `None` before all but `me` have spoken.
    pub fn age(&self, me: usize, now: Instant) -> Option<Duration> {
        let others = self
            .rows
            .iter()
            .enumerate()
            .filter(|(shard, _)| *shard != me);
        let mut oldest = None;
        for (_, row) in others {
            let age = now.since(row.at?);
            oldest = oldest.max(Some(age));
        }
        oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn mark() -> impl Strategy<Value = Mark> {
        let state = prop_oneof![
            Just(State::Closed),
            Just(State::HalfOpen),
            Just(State::Open)
        ];
        (0_u32..3, state, 0_u64..3, 0_u32..3, 0_u32..2).prop_map(
            |(generation, state, until, by, streak)| Mark {
                generation,
                state,
                until: Instant::from_nanos(until),
                by,
                streak,
            },
        )
    }

    /// The digests of three shards, in the order in which each was sent; the last of each is
    /// a whole one.
    fn history() -> impl Strategy<Value = Vec<Digest>> {
        let cells = proptest::collection::vec((0_u64..4, 0_u32..9), 0..4);
        let digest = (0_usize..3, any::<bool>(), cells);
        proptest::collection::vec(digest, 1..24).prop_map(|said| {
            let mut truth: [AHashMap<u64, u32>; 3] = Default::default();
            let mut digests = Vec::new();
            let mut seq = 0;
            let mut say = |from: usize, is_whole: bool, cells: Vec<(u64, u32)>| {
                seq += 1;
                truth[from].extend(cells.iter().copied());
                let told: Vec<_> = if is_whole {
                    truth[from].iter().map(|(t, n)| (*t, *n)).collect()
                } else {
                    cells.iter().map(|(t, _)| (*t, truth[from][t])).collect()
                };
                let cells = told.into_iter().map(|(target, in_flight)| {
                    let cell = Cell {
                        in_flight,
                        ..Cell::default()
                    };
                    (TargetId(target), cell)
                });
                digests.push(Digest {
                    from,
                    seq,
                    at: Instant::from_nanos(seq),
                    is_whole,
                    cells: cells.collect(),
                });
            };
            for (from, is_whole, cells) in said {
                say(from, is_whole, cells);
            }
            for from in 0..3 {
                say(from, true, Vec::new());
            }
            digests
        })
    }

    fn joined<'d>(digests: impl IntoIterator<Item = &'d Digest>) -> View {
        let mut view = View::new(3);
        for digest in digests {
            view.join(digest);
        }
        view
    }

    proptest! {
        /// Goal: V2. Method: what three shards said in any order, each thing once or more
        /// often, and any part of it lost but the last whole digest of each.
        #[test]
        fn loss_doubling_and_order_change_nothing(
            digests in history(),
            order in proptest::collection::vec(any::<proptest::sample::Index>(), 0..64),
            lost in proptest::collection::vec(any::<bool>(), 32),
            shuffle in any::<u64>(),
        ) {
            let want = joined(&digests);
            let mut heard: Vec<&Digest> = digests.iter().collect();
            let doubled: Vec<_> = order.iter().map(|index| *index.get(&heard)).collect();
            heard.extend(doubled);
            heard.sort_by_key(|d| d.seq.wrapping_mul(shuffle | 1));
            prop_assert_eq!(&joined(heard.iter().copied()), &want);
            let last = digests.len() - 3;
            let kept = heard.into_iter().filter(|d| {
                let at = usize::try_from(d.seq).unwrap() - 1;
                at >= last || !lost[at % lost.len()]
            });
            prop_assert_eq!(&joined(kept), &want);
        }

        /// Goal: V3. Method: any three marks; the order of joining and doubling is the same.
        #[test]
        fn marks_join((a, b, c) in (mark(), mark(), mark())) {
            prop_assert_eq!(a.join(b), b.join(a));
            prop_assert_eq!(a.join(b).join(c), a.join(b.join(c)));
            prop_assert_eq!(a.join(a), a);
        }
    }

    /// Goal: the sum leaves out what is old and what belongs to another generation.
    #[test]
    fn a_tally_is_of_this_generation_and_fresh() {
        let mut view = View::new(3);
        for (from, at, generation) in [(0, 10, 1), (1, 20, 1), (2, 30, 0)] {
            let cell = Cell {
                mark: Mark {
                    generation,
                    ..Mark::default()
                },
                window: Tally {
                    attempts: 4,
                    failures: 1,
                },
                ..Cell::default()
            };
            view.join(&Digest {
                from,
                seq: 1,
                at: Instant::from_nanos(at),
                is_whole: false,
                cells: [(TargetId(7), cell)].into(),
            });
        }
        let tally = |since| view.tally(TargetId(7), 1, Instant::from_nanos(since));
        assert_eq!(
            (tally(0).attempts, tally(15).attempts, tally(25).attempts),
            (8, 4, 0)
        );
        let age = |me| view.age(me, Instant::from_nanos(110));
        assert_eq!(age(0), Some(Duration::from_nanos(90)));
        assert_eq!(View::new(2).age(0, Instant::default()), None);
        assert_eq!(View::new(1).age(0, Instant::default()), None);
    }
}
