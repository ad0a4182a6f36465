//! How strategies choose among the targets of a model that may be asked.
//!
//! ```text
//!   targets that may be asked ─► Set ─┬─ faster    two at random, the one that costs less time
//!                                     ├─ lightest  fewest tokens under way
//!                                     ├─ home      where the conversation was, unless it is full
//!                                     └─ cheapest  least money
//! ```
//!
//! What is known of a target ([`Load`]) is the box's: the shard's own joined with what the
//! others said. Each shard adds its own decisions at once, so between two digests no shard
//! sends more than its own share astray.
//!
//! Invariants
//! - B1 A choice is a place of the set; there is none only for the empty set.
//! - B2 Nothing is allocated, and no loop is longer than the set.
//! - B3 [`home`]: a target that comes or goes moves only the conversations that it takes or had,
//!   while none is full.
//! - B4 [`faster`]: at most one decision of [`EXPLORE_ONE_IN`] goes to a target for having been
//!   left alone.
//!
//! Sources: Mitzenmacher, "The power of two choices in randomized load balancing" (2001);
//! Thaler and Ravishankar, "Using name-based mappings to increase hit rates" (1998), for
//! rendezvous hashing; Mirrokni and others, "Consistent hashing with bounded loads" (2016).

use crate::base::time::Instant;
use std::time::Duration;

/// A target that nobody asked for so long is worth one request.
pub const EXPLORE_AFTER: Duration = Duration::from_secs(2);

/// The share of the decisions that may go to such targets: one of so many.
pub const EXPLORE_ONE_IN: u64 = 32;

/// Attempts under way from which on a target may be too full for a conversation that belongs
/// to it: below, the others' being idle is no reason to lose a warm cache.
pub const ROOM: u64 = 8;

/// Places of targets of one model, as bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set(u64);

impl Set {
    /// The most places that there can be.
    pub const MAX: usize = u64::BITS as usize;

    /// The places below `count`.
    pub const fn below(count: usize) -> Self {
        match count {
            0 => Self(0),
            1..64 => Self((1 << count) - 1),
            _ => Self(u64::MAX),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many there are.
    pub const fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether `place` is one of them.
    pub const fn holds(self, place: usize) -> bool {
        place < Self::MAX && self.0 & (1 << place) != 0
    }

    /// `place` is one of them from here on.
    pub const fn add(&mut self, place: usize) {
        if place < Self::MAX {
            self.0 |= 1 << place;
        }
    }

    /// Those that `other` has not.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those that both have.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// The one before which `n` others come.
    pub fn nth(self, n: usize) -> Option<usize> {
        self.iter().nth(n)
    }

    /// All, in order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let place = left.trailing_zeros();
            left &= left.wrapping_sub(1);
            (place < u64::BITS).then_some(place as usize)
        })
    }

    /// All, in order from `place` on, then those before it.
    pub fn iter_from(self, place: usize) -> impl Iterator<Item = usize> {
        let before = Self::below(place);
        self.without(before).iter().chain(self.and(before).iter())
    }
}

/// What the box knows of a target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Attempts under way.
    pub in_flight: u64,
    /// Their tokens.
    pub tokens: u64,
    /// Estimate of the time to the first token, in nanoseconds; 0 = none yet.
    pub ttft: u64,
    /// When it answered last.
    pub tried: Instant,
}

/// `least_latency`: of two at random, the one with the smaller product of time and attempts
/// under way; now and then one that nobody asked of late (B4).
pub fn faster(from: Set, random: u64, now: Instant, load: impl Fn(usize) -> Load) -> Option<usize> {
    let count = from.count();
    if count < 2 {
        return from.nth(0);
    }
    if random.is_multiple_of(EXPLORE_ONE_IN)
        && let Some(place) = left_alone(from, now, &load)
    {
        return Some(place);
    }
    let first = below(random >> 5, count);
    let second = (first + 1 + below(random >> 35, count - 1)) % count;
    let (a, b) = (from.nth(first)?, from.nth(second)?);
    let (of_a, of_b) = (load(a), load(b));
    // Of which nothing is known counts as fast as the other: else it would be flooded until
    // its first answer comes.
    let unknown = of_a.ttft.max(of_b.ttft).max(1);
    let cost = |it: Load| {
        let time = if it.ttft == 0 { unknown } else { it.ttft };
        u128::from(time) * u128::from(it.in_flight + 1)
    };
    Some(if cost(of_b) < cost(of_a) { b } else { a })
}

/// The target that has answered nobody for the longest time, if that is long enough and nobody
/// is asking it.
fn left_alone(from: Set, now: Instant, load: &impl Fn(usize) -> Load) -> Option<usize> {
    let loads = from.iter().map(|place| (place, load(place)));
    loads
        .filter(|(_, it)| it.in_flight == 0 && now.since(it.tried) >= EXPLORE_AFTER)
        .min_by_key(|(_, it)| it.tried)
        .map(|(place, _)| place)
}

/// A number below `count` made of the lower 30 bits of `random`.
fn below(random: u64, count: usize) -> usize {
    let scaled = ((random & 0x3fff_ffff) * (count as u64)) >> 30;
    usize::try_from(scaled).unwrap_or(0)
}

/// `least_tokens`: the one with the fewest tokens under way, then with the fewest attempts;
/// among equals any.
pub fn lightest(from: Set, random: u64, load: impl Fn(usize) -> Load) -> Option<usize> {
    let start = from.nth(below(random, from.count().max(1)))?;
    from.iter_from(start).min_by_key(|place| {
        let it = load(*place);
        (it.tokens, it.in_flight)
    })
}

/// `prefix_affinity`: where the conversation of `key` belongs, or where it belongs next while
/// that one has more than its part and a quarter of what is under way. `id` names a target for
/// ever, whatever its place.
pub fn home(
    from: Set,
    key: u64,
    id: impl Fn(usize) -> u64,
    in_flight: impl Fn(usize) -> u64,
) -> Option<usize> {
    let all: u64 = from.iter().map(&in_flight).sum();
    let part = ((all + 1) * 5).div_ceil(4 * from.count().max(1) as u64);
    let bound = part.max(ROOM);
    from.iter()
        .max_by_key(|place| (in_flight(*place) < bound, mix(key ^ mix(id(*place)))))
}

/// `cheapest`: the one that costs least, of equals the one with the fewest attempts under way.
pub fn cheapest(
    from: Set,
    cost: impl Fn(usize) -> u64,
    in_flight: impl Fn(usize) -> u64,
) -> Option<usize> {
    from.iter()
        .min_by_key(|place| (cost(*place), in_flight(*place)))
}

/// Every bit of the outcome depends on every bit of `x` (the finalizer of `SplitMix64`).
pub const fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Instant = Instant::from_nanos(1_000_000_000_000);

    /// A busy target that answers in `ms`.
    fn target(ms: u64, in_flight: u64) -> Load {
        Load {
            in_flight,
            tokens: in_flight * 100,
            ttft: ms * 1_000_000,
            tried: NOW,
        }
    }

    /// How often each of `loads` is chosen in 10,000 decisions.
    fn chosen(loads: &[Load], pick: impl Fn(Set, u64) -> Option<usize>) -> Vec<usize> {
        let mut counts = vec![0; loads.len()];
        for n in 0..10_000 {
            counts[pick(Set::below(loads.len()), mix(n)).unwrap()] += 1;
        }
        counts
    }

    /// Goal: sets of places are what they say, at both ends too.
    #[test]
    fn a_set_holds_what_was_added() {
        let mut set = Set::default();
        assert!(set.is_empty() && set.nth(0).is_none());
        for place in [63, 0, 7, 64, 7] {
            set.add(place);
        }
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 7, 63]);
        assert_eq!(set.iter_from(7).collect::<Vec<_>>(), [7, 63, 0]);
        assert_eq!(set.iter_from(63).collect::<Vec<_>>(), [63, 0, 7]);
        assert_eq!((set.count(), set.nth(1), set.nth(3)), (3, Some(7), None));
        assert!(set.holds(63) && !set.holds(64) && !set.holds(1));
        assert_eq!(set.without(Set::below(8)).nth(0), Some(63));
        assert_eq!(Set::below(64).count(), 64);
    }

    /// Goal: equal targets get equal shares, whatever the strategy that draws.
    #[test]
    fn equal_targets_get_equal_shares() {
        let loads = [target(300, 4); 5];
        let fast = chosen(&loads, |set, r| faster(set, r, NOW, |at| loads[at]));
        let light = chosen(&loads, |set, r| lightest(set, r, |at| loads[at]));
        for count in fast.iter().chain(&light) {
            assert!((1850..2150).contains(count), "{fast:?} {light:?}");
        }
    }

    /// Goal: a slow one is avoided until the others are as much busier as it is slower; one of
    /// which nothing is known counts as fast as the other.
    #[test]
    fn a_slow_target_is_avoided() {
        let pick = |loads: [Load; 3]| chosen(&loads, |set, r| faster(set, r, NOW, |at| loads[at]));
        assert_eq!(
            pick([target(3000, 0), target(300, 8), target(300, 8)])[0],
            0
        );
        assert!(pick([target(3000, 0), target(300, 10), target(300, 10)])[0] > 6000);
        let fresh = Load::default();
        assert!(pick([fresh, target(300, 1), target(300, 1)])[0] > 6000);
        assert_eq!(
            pick([
                Load {
                    in_flight: 3,
                    ..fresh
                },
                target(300, 1),
                target(9, 1)
            ])[0],
            0
        );
    }

    /// Goal: B4. Method: a slow target that answered nobody for long, then while it is asked,
    /// and right after it answered.
    #[test]
    fn a_target_that_was_left_alone_is_tried_now_and_then() {
        let pick = |slow: Load| {
            let loads = [target(300, 2), slow, target(300, 2)];
            chosen(&loads, |set, r| faster(set, r, NOW, |at| loads[at]))[1]
        };
        let old = Load {
            tried: Instant::from_nanos(1),
            ..target(9000, 0)
        };
        assert!((1..=10_000 / 32 + 60).contains(&pick(old)));
        assert_eq!(
            pick(Load {
                in_flight: 1,
                ..old
            }),
            0
        );
        assert_eq!(pick(target(9000, 0)), 0);
    }

    /// Goal: a long prompt weighs what it costs.
    #[test]
    fn the_fewest_tokens_win() {
        let loads = [
            Load {
                tokens: 100_000,
                in_flight: 1,
                ..Load::default()
            },
            Load {
                tokens: 900,
                in_flight: 9,
                ..Load::default()
            },
            Load {
                tokens: 900,
                in_flight: 8,
                ..Load::default()
            },
        ];
        assert_eq!(
            chosen(&loads, |set, r| lightest(set, r, |at| loads[at])),
            [0, 0, 10_000]
        );
    }

    /// Goal: the cheapest, and among equals the least busy, then the first.
    #[test]
    fn the_least_money_wins() {
        let pick = |costs: [u64; 3], busy: [u64; 3]| {
            cheapest(Set::below(3), |at| costs[at], |at| busy[at]).unwrap()
        };
        assert_eq!(pick([3, 2, u64::MAX], [0, 9, 0]), 1);
        assert_eq!(pick([2, 2, 2], [5, 4, 4]), 1);
        assert_eq!(pick([u64::MAX; 3], [1, 1, 1]), 0);
    }

    /// Goal: conversations stay, spread evenly, and none floods a target. Method: 10,000 of
    /// them over 5 idle targets; then one conversation alone, that is asked over and over.
    #[test]
    fn conversations_stay_and_no_target_is_flooded() {
        let id = |place: usize| [77, 3, 1 << 60, 12, 0][place];
        let idle = |_: usize| 0;
        let mut counts = [0; 5];
        for key in 0..10_000 {
            let at = home(Set::below(5), key, id, idle).unwrap();
            assert_eq!(
                home(Set::below(5), key, id, |place| [7, 0, 3, 1, 2][place]),
                Some(at)
            );
            counts[at] += 1;
        }
        assert!(
            counts.iter().all(|count| (1850..2150).contains(count)),
            "{counts:?}"
        );
        let mut busy = [0_u64; 5];
        for _ in 0..1000 {
            busy[home(Set::below(5), 5, id, |place| busy[place]).unwrap()] += 1;
        }
        let most = busy.iter().max().unwrap();
        assert!(*most <= 1000 / 4 + 1, "{busy:?}");
    }

    proptest! {
        /// Goal: B1 for every strategy.
        #[test]
        fn a_choice_is_one_of_the_set(
            places in proptest::collection::vec(0_usize..64, 0..9),
            loads in proptest::collection::vec(
                (0_u64..50, 0_u64..5000, 0_u64..9, any::<u32>()),
                64,
            ),
            random in any::<u64>(),
        ) {
            let mut set = Set::default();
            for place in places {
                set.add(place);
            }
            let load = |at: usize| {
                let (in_flight, tokens, ms, ago) = loads[at];
                let tried = Instant::from_nanos(NOW.as_nanos() - u64::from(ago));
                Load { in_flight, tokens, tried, ttft: ms * 1_000_000 }
            };
            let busy = |at: usize| loads[at].0;
            for chosen in [
                faster(set, random, NOW, load),
                lightest(set, random, load),
                home(set, random, |at| at as u64, busy),
                cheapest(set, |at| loads[at].1, busy),
            ] {
                prop_assert_eq!(chosen.is_none(), set.is_empty());
                prop_assert!(chosen.is_none_or(|at| set.holds(at)));
            }
        }

        /// Goal: B3. Method: any key, with and without any one of the targets.
        #[test]
        fn a_target_that_goes_moves_only_its_own(key in any::<u64>(), gone in 0_usize..9) {
            let all = Set::below(9);
            let mut lost = Set::default();
            lost.add(gone);
            let find = |set| home(set, key, |at| at as u64 * 31, |_| 0).unwrap();
            let (before, after) = (find(all), find(all.without(lost)));
            prop_assert!(before == after || before == gone);
        }
    }
}
