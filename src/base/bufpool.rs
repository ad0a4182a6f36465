//! Blocks of memory that a shard lends to its connections.
//!
//! ```text
//!   BufPool ── take(n) ──► Block ── dropped ──► back to the pool (or freed when it is full)
//!             classes: 4 KiB   16 KiB   64 KiB   256 KiB   1 MiB   then exact, never kept
//! ```
//!
//! Invariants
//! - I1 A block comes home exactly once, however its owner ends: `Drop` does it.
//! - I2 The pool keeps at most [`KEPT_MAX`] bytes in each class; the rest is freed.
//! - I3 [`BufPool::lent`] counts the bytes that are out; at rest it is zero.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

/// Block sizes that are kept for reuse, in bytes.
const CLASSES: [usize; 5] = [4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// Most bytes that each class keeps for reuse. None in a build that hunts memory errors
/// (`scripts/asan`): a block that is used after its end is then memory that was freed.
const KEPT_MAX: usize = if cfg!(hunt) { 0 } else { 4 << 20 };

/// The block size that a connection reads into: one TLS record and most heads and prompts fit.
pub const BLOCK: usize = 16 << 10;

/// The block size for what is small and short-lived: response heads, single events.
pub const SMALL: usize = 4 << 10;

#[derive(Debug, Default)]
struct Shelves {
    free: RefCell<[Vec<Box<[u8]>>; CLASSES.len()]>,
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
        let class = CLASSES.iter().position(|&size| size >= bytes);
        let kept = class.and_then(|class| self.0.free.borrow_mut().get_mut(class)?.pop());
        let size = class
            .and_then(|class| CLASSES.get(class).copied())
            .unwrap_or(bytes);
        let data = kept.unwrap_or_else(|| vec![0; size].into_boxed_slice());
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

    fn give_back(&self, data: Box<[u8]>) {
        debug_assert!(self.0.lent.get() >= data.len()); // I1
        self.0
            .lent
            .set(self.0.lent.get().saturating_sub(data.len()));
        let Some(class) = CLASSES.iter().position(|&size| size == data.len()) else {
            return;
        };
        if let Some(shelf) = self.0.free.borrow_mut().get_mut(class)
            && (shelf.len() + 1) * data.len() <= KEPT_MAX
        {
            shelf.push(data);
        }
    }
}

/// A lent block; goes home when dropped.
#[derive(Debug)]
pub struct Block {
    data: Box<[u8]>,
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
            (4 << 10, 64 << 10, 3 << 20)
        );
        assert_eq!(pool.lent(), (4 << 10) + (64 << 10) + (3 << 20));
        drop((small, large, odd));
        assert_eq!(pool.lent(), 0);
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
