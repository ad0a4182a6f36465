//! Whose place is given up: S3-FIFO, weighed in bytes.
//!
//! ```text
//!           new ──► small (a tenth) ──asked for again──► main ──asked for──► main again
//!                     └──not──► ghost: only that it was here      └──not──► out
//!   was a ghost ────────────────────────────────────────► main
//! ```
//!
//! What is asked for once passes through the small queue without pushing anything out of the main
//! one: that is what scans and one-off prompts are. Chosen over a crate: the well-kept ones
//! (`quick_cache`, `moka`) lock, keep their own clock or own what they store, while here a shard
//! needs no lock, time comes in, and other shards must be told what goes.
//!
//! A place that was given up otherwise (purged, replaced, over) leaves its name in a queue; it is
//! passed over when its turn comes.
//!
//! Invariants
//! - Q1 After [`Queues::shrink`] the bytes of what is kept are within the limit.
//! - Q2 Ghosts are no more than what is kept, and [`GHOSTS_MIN`].
//!
//! Source: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023, 4.

use super::key::Key;
use ahash::AHashSet;
use std::collections::VecDeque;

/// How often one is counted as asked for, at most.
const HEAT_MAX: u8 = 3;

/// The share of the small queue: one in so many bytes.
const SMALL: usize = 10;

/// Ghosts that are always remembered.
const GHOSTS_MIN: usize = 64;

/// Which queue something is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// For what is new.
    Small,
    /// For what was asked for again.
    Main,
}

/// What the queues know of something that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where it is.
    pub(super) queue: Queue,
    /// Tells what is kept under a key from what was before.
    pub(super) turn: u32,
    /// How often it was asked for, up to [`HEAT_MAX`].
    pub(super) heat: u8,
}

impl Place {
    /// It was asked for `times` times.
    pub(super) fn warm(&mut self, times: u8) {
        self.heat = self.heat.saturating_add(times).min(HEAT_MAX);
    }
}

/// A name in a queue.
#[derive(Clone, Copy, Debug)]
struct Name {
    key: Key,
    turn: u32,
}

/// The queues of one shard.
#[derive(Debug, Default)]
pub(super) struct Queues {
    small: VecDeque<Name>,
    main: VecDeque<Name>,
    small_bytes: usize,
    main_bytes: usize,
    kept: usize,
    turn: u32,
    ghosts: AHashSet<u64>,
    ghosts_in_order: VecDeque<u64>,
    /// Where the next look for what is over begins.
    hand: usize,
}

impl Queues {
    /// Bytes of what is kept.
    pub(super) const fn bytes(&self) -> usize {
        self.small_bytes + self.main_bytes
    }

    /// Something new is kept under `key`, which somebody `is_asked` for: that a ghost comes back
    /// says nothing where nobody has.
    pub(super) fn add(&mut self, key: Key, bytes: usize, is_asked: bool) -> Place {
        self.turn = self.turn.wrapping_add(1);
        let was_here = is_asked && self.ghosts.remove(&key.word(0));
        let queue = if was_here { Queue::Main } else { Queue::Small };
        let place = Place {
            queue,
            turn: self.turn,
            heat: 0,
        };
        self.kept += 1;
        self.push(key, place, bytes);
        place
    }

    fn push(&mut self, key: Key, place: Place, bytes: usize) {
        let name = Name {
            key,
            turn: place.turn,
        };
        match place.queue {
            Queue::Small => {
                self.small.push_back(name);
                self.small_bytes += bytes;
            }
            Queue::Main => {
                self.main.push_back(name);
                self.main_bytes += bytes;
            }
        }
    }

    /// What had `place`, of so many `bytes`, is not kept any more.
    pub(super) fn remove(&mut self, place: Place, bytes: usize) {
        self.kept -= 1;
        self.take(place, bytes);
    }

    fn take(&mut self, place: Place, bytes: usize) {
        match place.queue {
            Queue::Small => self.small_bytes -= bytes,
            Queue::Main => self.main_bytes -= bytes,
        }
    }

    /// Makes room until no more than `limit` bytes are kept. `place` gives what is known of a key
    /// that may be kept; `out` is told which go.
    pub(super) fn shrink(&mut self, limit: usize, table: &mut impl Table) {
        while self.bytes() > limit {
            let is_small = self.small_bytes > limit / SMALL || self.main.is_empty();
            let name = if is_small {
                self.small.pop_front()
            } else {
                self.main.pop_front()
            };
            let Some(Name { key, turn }) = name else {
                debug_assert!(self.bytes() == 0, "bytes that nobody keeps");
                return;
            };
            let found = table.place(&key).filter(|(place, _)| place.turn == turn);
            let Some((place, bytes)) = found else {
                continue; // it went otherwise
            };
            let mut moved = *place;
            if is_small && place.heat > 1 {
                (moved.queue, moved.heat) = (Queue::Main, 0);
            } else if !is_small && place.heat > 0 {
                moved.heat -= 1;
            } else {
                self.remove(moved, bytes);
                if is_small {
                    self.haunt(&key);
                }
                table.out(&key);
                continue;
            }
            self.take(*place, bytes);
            *place = moved;
            self.push(key, moved, bytes);
        }
    }

    fn haunt(&mut self, key: &Key) {
        let ghost = key.word(0);
        if self.ghosts.insert(ghost) {
            self.ghosts_in_order.push_back(ghost);
        }
        let most = self.kept.max(GHOSTS_MIN);
        while self.ghosts_in_order.len() > most {
            if let Some(oldest) = self.ghosts_in_order.pop_front() {
                self.ghosts.remove(&oldest);
            }
        }
    }

    /// The next `count` names, one after the other, in a round over both queues.
    pub(super) fn round(&mut self, count: usize) -> impl Iterator<Item = (Key, u32)> + use<> {
        let all = self.small.len() + self.main.len();
        let count = count.min(all);
        let at = |at: usize| {
            let at = at % all.max(1);
            let name = self
                .small
                .get(at)
                .or_else(|| self.main.get(at - self.small.len()));
            name.map(|name| (name.key, name.turn))
        };
        let names: Vec<_> = (self.hand..self.hand + count).filter_map(at).collect();
        self.hand = (self.hand + count) % all.max(1);
        names.into_iter()
    }

    /// Whether names without a place are no more than those with one.
    fn is_tidy(&self) -> bool {
        self.small.len() + self.main.len() <= 2 * self.kept + GHOSTS_MIN
    }

    /// Drops the names without a place when they are many.
    pub(super) fn sweep(&mut self, table: &mut impl Table) {
        if self.is_tidy() {
            return;
        }
        let mut is_kept = |name: &Name| {
            let found = table.place(&name.key);
            found.is_some_and(|(place, _)| place.turn == name.turn)
        };
        self.small.retain(&mut is_kept);
        self.main.retain(&mut is_kept);
    }
}

/// Where what is kept can be found.
pub(super) trait Table {
    /// What the queues know of what is kept under `key`, and its bytes.
    fn place(&mut self, key: &Key) -> Option<(&mut Place, usize)>;

    /// What is kept under `key` goes.
    fn out(&mut self, key: &Key);
}
