//! The blocks that wait for bytes on behalf of every connection: a provided-buffer ring.
//!
//! ```text
//!            tail (ours)                       head (the kernel's)
//!              ▼                                 ▼
//!   entries  [ ··· | addr len bid | addr len bid | ··· ]     bid ──► held[bid]: Block
//!
//!   receive completes with bid ──► take(bid): the block leaves, a fresh one takes its place
//! ```
//!
//! A connection that waits owns no memory: the kernel picks a block when the bytes are there.
//!
//! Invariants
//! - I1 `held[bid]` owns the block whose address is in the entry for `bid`, for as long as the
//!   kernel may pick it: from `offer` until a completion that names `bid`.
//! - I2 A `bid` is in the ring at most once.
//! - I3 The page of entries stays where it is until the ring is unregistered.
//!
//! The page is made of atomics, so that writing what the kernel reads needs no `unsafe`.
//!
//! Source: `io_uring_register_buf_ring(3)`, `struct io_uring_buf` (16 bytes: address `u64`,
//! length `u32`, id `u16`, and a `u16` that in the first entry is the tail).

use crate::base::bufpool::{Block, BufPool};
use std::sync::atomic::{AtomicU64, Ordering};

/// Blocks in the ring: how many receives one call into the kernel can complete. When they
/// run out the rest is told so and asks again.
pub(super) const STOCK: usize = 128;

/// Size of a block in bytes: a long prompt fits, so that it is not put together from pieces.
/// What is small leaves its block at once ([`RxBuf::take_in`]), so few pages are ever used.
///
/// [`RxBuf::take_in`]: crate::base::bytes::RxBuf::take_in
pub(super) const SIZE: usize = 64 << 10;

const _: () = assert!(STOCK.is_power_of_two() && STOCK <= 256);
const _: () = assert!(cfg!(target_endian = "little"), "entries are packed by hand");

/// The entries, on a page of their own as the kernel wants them.
#[repr(C, align(4096))]
struct Page([[AtomicU64; 2]; STOCK]);

/// The blocks and the page that names them to the kernel.
pub(super) struct Stock {
    page: Box<Page>,
    held: Vec<Option<Block>>,
    pool: BufPool,
    /// Entries offered so far, modulo 2^16.
    tail: u16,
    /// Length and id of the first entry, whose last two bytes are the tail.
    first: u64,
}

impl Stock {
    /// A page without any block, and `STOCK` blocks of `pool` when `filled`.
    pub(super) fn new(pool: &BufPool, filled: bool) -> Self {
        let mut stock = Self {
            page: Box::new(Page([const { [const { AtomicU64::new(0) }; 2] }; STOCK])),
            held: Vec::new(),
            pool: pool.clone(),
            tail: 0,
            first: 0,
        };
        if filled {
            for bid in 0..u16::try_from(STOCK).unwrap_or(0) {
                stock.held.push(None);
                stock.offer(bid, pool.take(SIZE));
            }
        }
        stock
    }

    /// Where the page is; it does not move (I3).
    pub(super) fn address(&self) -> u64 {
        std::ptr::from_ref::<Page>(&self.page) as u64
    }

    /// The block that the kernel filled, a fresh one taking its place.
    pub(super) fn take(&mut self, bid: u16) -> Option<Block> {
        let block = self.held.get_mut(usize::from(bid))?.take()?;
        let fresh = self.pool.take(SIZE);
        self.offer(bid, fresh);
        Some(block)
    }

    /// The kernel picked a block and put nothing in: it is offered again.
    pub(super) fn put_back(&mut self, bid: u16) {
        if let Some(block) = self.held.get_mut(usize::from(bid)).and_then(Option::take) {
            self.offer(bid, block);
        }
    }

    /// Gives the kernel a block to fill, under a `bid` that is not in the ring (I2).
    fn offer(&mut self, bid: u16, mut block: Block) {
        let Some(held) = self.held.get_mut(usize::from(bid)) else {
            return;
        };
        debug_assert!(held.is_none()); // I2
        let (at, len) = (block.bytes_mut().as_mut_ptr() as u64, block.size() as u64);
        *held = Some(block); // I1
        let place = usize::from(self.tail) % STOCK;
        let shape = len | u64::from(bid) << 32;
        self.tail = self.tail.wrapping_add(1);
        if let Some([first_word, second_word]) = self.page.0.get(place) {
            first_word.store(at, Ordering::Relaxed);
            if place > 0 {
                second_word.store(shape, Ordering::Relaxed);
            } else {
                self.first = shape;
            }
        }
        if let Some([_, second_word]) = self.page.0.first() {
            second_word.store(self.first | u64::from(self.tail) << 48, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bids(stock: &Stock) -> Vec<u64> {
        stock
            .page
            .0
            .iter()
            .map(|entry| entry[1].load(Ordering::Relaxed) >> 32 & 0xffff)
            .collect()
    }

    /// Goal: I1 and I2. Method: take blocks in an odd order, more often than there are
    /// entries; every entry must name a block that is held, and each id must be there once.
    #[test]
    fn every_entry_names_a_block_that_is_held() {
        let pool = BufPool::new();
        let mut stock = Stock::new(&pool, true);
        for round in 0..5 * STOCK {
            let place = usize::from(stock.tail) % STOCK;
            let bid = u16::try_from(bids(&stock)[place]).unwrap();
            if round % 3 == 0 {
                stock.put_back(bid);
            } else {
                assert_eq!(stock.take(bid).unwrap().size(), SIZE);
            }
            let mut seen = bids(&stock);
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..STOCK as u64), "round {round}");
            for entry in &stock.page.0 {
                let bid = entry[1].load(Ordering::Relaxed) >> 32 & 0xffff;
                let held = stock.held[usize::try_from(bid).unwrap()].as_ref().unwrap();
                assert_eq!(
                    held.bytes().as_ptr() as u64,
                    entry[0].load(Ordering::Relaxed)
                );
            }
            let tail = stock.page.0[0][1].load(Ordering::Relaxed) >> 48;
            assert_eq!(tail, u64::from(stock.tail));
        }
        assert_eq!(pool.lent(), STOCK * SIZE);
        drop(stock);
        assert_eq!(pool.lent(), 0);
    }

    /// Goal: an id that the kernel cannot have given takes nothing.
    #[test]
    fn an_unknown_id_takes_nothing() {
        let mut stock = Stock::new(&BufPool::new(), true);
        assert!(stock.take(u16::MAX).is_none());
        stock.put_back(u16::MAX);
    }
}
