//! Who waits for room when a shard has all the exchanges that it may have, and whose turn is next.
//!
//! ```text
//!   enter ─┬─ fewer than `max` wait ─► at the back        full: refused at once
//!          │
//!   next ──┼─ the oldest has waited less than half of `wait` ─► the oldest
//!          └─ else: late                                     ─► the newest
//! ```
//!
//! In a short burst everybody has their turn in order. When more comes than goes, whoever has
//! waited for long will hardly be served in time, nor do they always still want it; who came last
//! is served well.
//!
//! Invariants
//! - Q1 Never more than `max` wait.
//! - Q2 Who has left, or had their turn, is not in it any more.
//!
//! Source: Facebook, "Fail at Scale" (2015): adaptive LIFO.

use crate::base::time::Instant;
use std::collections::VecDeque;
use std::time::Duration;

/// The queue; `T` is how somebody is told.
#[derive(Debug)]
pub struct Queue<T> {
    /// By number, which grows.
    waiting: VecDeque<Waiting<T>>,
    next: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    since: Instant,
    who: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::new(),
            next: 0,
        }
    }
}

impl<T> Queue<T> {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A place at the back, by its number; `None` when `max` wait already.
    pub fn enter(&mut self, max: usize, now: Instant, who: T) -> Option<u64> {
        if self.waiting.len() >= max {
            return None; // Q1
        }
        let number = self.next;
        self.next += 1;
        self.waiting.push_back(Waiting {
            number,
            since: now,
            who,
        });
        Some(number)
    }

    /// Who has the place `number`; `None` once it is given up or had its turn.
    pub fn place(&mut self, number: u64) -> Option<&mut T> {
        let at = self.find(number)?;
        self.waiting.get_mut(at).map(|waiting| &mut waiting.who)
    }

    /// The place `number` is given up; whether there was one.
    pub fn leave(&mut self, number: u64) -> bool {
        let found = self.find(number);
        found.is_some_and(|at| self.waiting.remove(at).is_some())
    }

    /// Whose turn it is at `now`, when nobody waits for longer than `wait`.
    pub fn next(&mut self, now: Instant, wait: Duration) -> Option<T> {
        let is_late = now.since(self.waiting.front()?.since) >= wait / 2;
        let waiting = if is_late {
            self.waiting.pop_back()
        } else {
            self.waiting.pop_front()
        };
        waiting.map(|waiting| waiting.who)
    }

    fn find(&self, number: u64) -> Option<usize> {
        let by = |waiting: &Waiting<T>| waiting.number;
        self.waiting.binary_search_by_key(&number, by).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAIT: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    /// Goal: the picture. Method: three wait; the oldest goes first until it is late, then the
    /// newest.
    #[test]
    fn the_oldest_goes_first_until_it_is_late() {
        let mut queue = Queue::default();
        for ms in [0, 10, 20, 30] {
            assert!(queue.enter(4, at(ms), ms).is_some());
        }
        assert_eq!(queue.enter(4, at(31), 31), None);
        assert_eq!(queue.next(at(49), WAIT), Some(0));
        assert_eq!(queue.next(at(60), WAIT), Some(30));
        assert_eq!(queue.next(at(59), WAIT), Some(10));
        assert_eq!(queue.next(at(99), WAIT), Some(20));
        assert_eq!(queue.next(at(99), WAIT), None);
    }

    proptest! {
        /// Goal: Q1, Q2. Method: steps at random against a list of who waits.
        #[test]
        fn nobody_is_lost_or_served_twice(
            steps in proptest::collection::vec((0..4_u8, 0..20_usize, 0..40_u64), 1..80),
            max in 0..6_usize,
        ) {
            let mut queue = Queue::default();
            let (mut here, mut numbers, mut now) = (Vec::new(), Vec::new(), 0);
            for (step, which, ms) in steps {
                now += ms;
                match step {
                    0 | 1 => {
                        let name = numbers.len();
                        let number = queue.enter(max, at(now), name);
                        prop_assert_eq!(number.is_some(), here.len() < max);
                        if let Some(number) = number {
                            here.push(name);
                            numbers.push(number);
                        }
                    }
                    2 if !numbers.is_empty() => {
                        let name = which % numbers.len();
                        let was_here = here.contains(&name);
                        let place = queue.place(numbers[name]).copied();
                        prop_assert_eq!(place, was_here.then_some(name));
                        prop_assert_eq!(queue.leave(numbers[name]), was_here);
                        here.retain(|other| *other != name);
                    }
                    _ => {
                        let next = queue.next(at(now), WAIT);
                        prop_assert_eq!(next.is_some(), !here.is_empty());
                        if let Some(next) = next {
                            prop_assert!(Some(&next) == here.first() || Some(&next) == here.last());
                            here.retain(|other| *other != next);
                        }
                    }
                }
                prop_assert_eq!(queue.len(), here.len());
                prop_assert!(queue.len() <= max);
            }
        }
    }
}
