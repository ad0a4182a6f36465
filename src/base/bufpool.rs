//! Blocks of memory that a shard lends to its connections.
//!
//! ```text
//!   BufPool ── take(n) ──► Block ── dropped ──► back to the pool (or freed when it is full)
//!             classes: 1 KiB   4 KiB   16 KiB   64 KiB   256 KiB   1 MiB   then exact, never kept
//! ```
//!
//! Invariants
//! - I1 A block comes home exactly once, however its owner ends: `Drop` does it.
//! - I2 The pool keeps at most [`KEPT_MAX`] bytes in each class; the rest is freed.
//! - I3 [`BufPool::lent`] counts the bytes that are out; at rest it is zero.

use crate::sys::room::Room;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Block sizes that are kept for reuse: [`LEAST`], then four times the one before.
const CLASSES: usize = 6;

/// Most bytes that each class keeps for reuse. None in a build that hunts memory errors
/// (`scripts/asan`): a block that is used after its end is then memory that was freed.
const KEPT_MAX: usize = if cfg!(hunt) { 0 } else { 4 << 20 };

/// The block size that a connection reads into: one TLS record and most heads and prompts fit.
pub const BLOCK: usize = 16 << 10;

/// What is longer stays in the block that it came in; what is not leaves it for a smaller one.
pub const SMALL: usize = 4 << 10;

/// The least block size: an event, or a head. Hundreds of them are under way at once when many
/// streams speak at the same time.
pub const LEAST: usize = 1 << 10;

/// The least class whose blocks have `bytes` bytes; one that there is not, for too many.
fn class_of(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes.max(LEAST) - 1).leading_zeros();
    (bits - LEAST.trailing_zeros()).div_ceil(2) as usize
}

/// The size of the blocks of a class, in bytes.
fn size_of_class(class: usize) -> usize {
    LEAST << (2 * class)
}

#[derive(Debug, Default)]
struct Shelves {
    free: RefCell<[Vec<Room>; CLASSES]>,
    lent: Cell<usize>,
}

/// A shard's store of blocks; clones share it.
#[derive(Clone, Debug, Default)]
pub struct BufPool(Rc<Shelves>);

impl BufPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lends a block of at least `bytes` bytes, its content unspecified.
    pub fn take(&self, bytes: usize) -> Block {
        let class = class_of(bytes);
        let kept = self.0.free.borrow_mut().get_mut(class).map(Vec::pop);
        let data = match kept {
            Some(Some(data)) => data,
            Some(None) => Room::new(size_of_class(class)),
            None => Room::new(bytes),
        };
        self.0.lent.set(self.0.lent.get() + data.len());
        Block {
            data,
            home: self.clone(),
        }
    }

    /// Bytes that are lent out right now.
    pub fn lent(&self) -> usize {
        self.0.lent.get()
    }

    fn give_back(&self, data: Room) {
        debug_assert!(self.0.lent.get() >= data.len()); // I1
        self.0
            .lent
            .set(self.0.lent.get().saturating_sub(data.len()));
        if let Some(shelf) = self.0.free.borrow_mut().get_mut(class_of(data.len()))
            && (shelf.len() + 1) * data.len() <= KEPT_MAX
        {
            shelf.push(data);
        }
    }
}

/// A lent block; goes home when dropped.
#[derive(Debug)]
pub struct Block {
    data: Room,
    home: BufPool,
}

impl Block {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Its bytes, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }

    /// Where it goes home to.
    pub fn pool(&self) -> &BufPool {
        &self.home
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.data.len()
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        self.home.give_back(std::mem::take(&mut self.data));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1, I3.
    #[test]
    fn blocks_come_home() {
        let pool = BufPool::new();
        let (small, large, odd) = (pool.take(1), pool.take(20 << 10), pool.take(3 << 20));
        assert_eq!(
            (small.size(), large.size(), odd.size()),
            (1 << 10, 64 << 10, 3 << 20)
        );
        assert_eq!(pool.lent(), (1 << 10) + (64 << 10) + (3 << 20));
        drop((small, large, odd));
        assert_eq!(pool.lent(), 0);
    }

    /// Goal: the least class that is large enough, whatever is asked for; beyond the largest the
    /// size that was asked for.
    #[test]
    fn a_block_has_the_least_size_that_will_do() {
        let pool = BufPool::new();
        let sizes = [1, 4, 16, 64, 256, 1024].map(|kib| kib << 10);
        for asked in (0..23).flat_map(|bits| [(1_usize << bits) - 1, 1 << bits, (1 << bits) + 1]) {
            let least = sizes.into_iter().find(|&size| size >= asked);
            assert_eq!(pool.take(asked).size(), least.unwrap_or(asked), "{asked}");
        }
    }

    #[cfg(not(hunt))]
    /// Goal: I2. Method: lend more than a class may keep, give all back, look at the shelf.
    #[test]
    fn a_full_shelf_frees_what_comes_back() {
        let pool = BufPool::new();
        let lent: Vec<_> = (0..10).map(|_| pool.take(1 << 20)).collect();
        drop(lent);
        assert_eq!(pool.0.free.borrow().last().map(Vec::len), Some(4));
    }
}
