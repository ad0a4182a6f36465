//! The one source of chance in a world: splitmix64, so that a seed says everything.
//!
//! Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.

use std::cell::Cell;

/// A seeded stream of numbers; shared by reference, never by copy.
#[derive(Debug)]
pub(crate) struct Rng(Cell<u64>);

impl Rng {
    /// The stream that `seed` names.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Cell::new(seed ^ 0x5368_6172_6467_6174))
    }

    /// The next 64 bits.
    pub(crate) fn next(&self) -> u64 {
        self.0.set(self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        let mut z = self.0.get();
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `low..=high`.
    pub(crate) fn range(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// A position in `0..len`.
    pub(crate) fn index(&self, len: usize) -> usize {
        usize::try_from(self.next() % len as u64).unwrap()
    }

    /// True `permille` times in a thousand.
    pub(crate) fn chance(&self, permille: u64) -> bool {
        permille > 0 && self.next() % 1000 < permille
    }

    /// A length in `1..=most`: all of it, a few bytes, or anything, each a third of the time.
    pub(crate) fn cut(&self, most: usize) -> usize {
        match self.next() % 3 {
            0 => most,
            1 => 1 + self.index(most.min(4)),
            _ => 1 + self.index(most),
        }
    }

    /// One of `of`, by reference.
    pub(crate) fn pick_ref<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// One of `of`.
    pub(crate) fn pick<T: Copy>(&self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}
