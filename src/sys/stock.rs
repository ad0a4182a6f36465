//! The blocks that wait for bytes on behalf of every connection: a provided-buffer ring.
//!
//! ```text
//!            tail (ours)                       head (the kernel's)
//!              ▼                                 ▼
//!   entries  [ ··· | addr len bid | addr len bid | ··· ]     bid ──► held[bid]: Block
//!
//!   receive completes with bid ──► take(bid): the block leaves, its bid is vacant
//!   before the next call       ──► fill(): vacant bids get blocks, as many as are likely to do
//! ```
//!
//! A connection that waits owns no memory: the kernel picks a block when the bytes are there.
//!
//! How many blocks are on offer follows the demand. The kernel takes them in turn, so each one
//! on offer is another piece of memory that has left the cache when its turn comes: 16 instead
//! of 128 take 4 % off an exchange of 32 KiB. With too few a receive ends and must be asked
//! again, which costs more: 1,000 busy connections on 32 blocks took twice the CPU. So there
//! are twice as many as one call has lately taken, and all when they ran out.
//!
//! Invariants
//! - I1 `held[bid]` owns the block whose address is in the entry for `bid`, for as long as the
//!   kernel may pick it: from `offer` until a completion that names `bid`.
//! - I2 A `bid` is in the ring at most once.
//!   and `vacant` has exactly those that are not.
//! - I3 The page of entries stays where it is until the ring is unregistered.
//!
//! The page is made of atomics, so that writing what the kernel reads needs no `unsafe`.
//!
//! Source: `io_uring_register_buf_ring(3)`, `struct io_uring_buf` (16 bytes: address `u64`,
//! length `u32`, id `u16`, and a `u16` that in the first entry is the tail).

use crate::base::bufpool::{Block, BufPool};
use std::sync::atomic::{AtomicU64, Ordering};

/// Most blocks in the ring: how many receives one call into the kernel can complete. When
/// they run out the rest is told so and asks again.
pub(super) const STOCK: usize = 128;

/// Fewest blocks in the ring.
const OFFERED_MIN: usize = 16;

/// Calls into the kernel after which an earlier demand begins to be forgotten: some tenths of
/// a second of a busy shard.
const WINDOW: u32 = 4096;

/// Size of a block in bytes: a long prompt fits, so that it is not put together from pieces.
/// What is small leaves its block before its reader waits ([`RxBuf::take_in`],
/// [`RxBuf::settle`]), so few pages are ever used.
///
/// [`RxBuf::take_in`]: crate::base::bytes::RxBuf::take_in
/// [`RxBuf::settle`]: crate::base::bytes::RxBuf::settle
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
    /// Ids without a block.
    vacant: Vec<u16>,
    demand: Demand,
    pool: BufPool,
    /// Entries offered so far, modulo 2^16.
    tail: u16,
    /// Length and id of the first entry, whose last two bytes are the tail.
    first: u64,
}

/// How many blocks one call takes: the most in this window and in the one before it.
#[derive(Default)]
struct Demand {
    now: usize,
    most: usize,
    before: usize,
    calls: u32,
}

impl Demand {
    /// A call is over: how many blocks are to be on offer in the next one.
    fn settle(&mut self) -> usize {
        self.most = self.most.max(std::mem::take(&mut self.now));
        self.calls += 1;
        if self.calls >= WINDOW {
            (self.before, self.most, self.calls) = (self.most, 0, 0);
        }
        (2 * self.most.max(self.before)).clamp(OFFERED_MIN, STOCK)
    }
}

impl Stock {
    /// A page without any block; [`Stock::fill`] offers some of `pool`.
    pub(super) fn new(pool: &BufPool) -> Self {
        Self {
            page: Box::new(Page([const { [const { AtomicU64::new(0) }; 2] }; STOCK])),
            held: (0..STOCK).map(|_| None).collect(),
            vacant: (0..u16::try_from(STOCK).unwrap_or(0)).rev().collect(),
            demand: Demand::default(),
            pool: pool.clone(),
            tail: 0,
            first: 0,
        }
    }

    /// Blocks that the kernel may fill or has filled, those left out that were taken.
    pub(super) fn offered(&self) -> usize {
        STOCK - self.vacant.len()
    }

    /// Offers as many blocks as the next call is likely to take. What was read in the
    /// meantime has come home to the pool, so these are the ones that were in use last.
    pub(super) fn fill(&mut self) {
        let goal = self.demand.settle();
        while self.offered() < goal
            && let Some(bid) = self.vacant.pop()
        {
            let block = self.pool.take(SIZE);
            self.offer(bid, block);
        }
    }

    /// A receive found no block.
    pub(super) fn ran_out(&mut self) {
        self.demand.now = STOCK;
    }

    /// Where the page is; it does not move (I3).
    pub(super) fn address(&self) -> u64 {
        std::ptr::from_ref::<Page>(&self.page) as u64
    }

    /// The block that the kernel filled.
    pub(super) fn take(&mut self, bid: u16) -> Option<Block> {
        let block = self.held.get_mut(usize::from(bid))?.take()?;
        self.vacant.push(bid);
        self.demand.now += 1;
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
    /// entries; every entry on offer must name a block that is held, and each id must be there
    /// once.
    #[test]
    fn every_entry_names_a_block_that_is_held() {
        let pool = BufPool::new();
        let mut stock = Stock::new(&pool);
        stock.ran_out();
        stock.fill();
        assert_eq!(stock.offered(), STOCK);
        let mut first = 0; // the kernel's
        for round in 0..5 * STOCK {
            let bid = u16::try_from(bids(&stock)[first % STOCK]).unwrap();
            first += 1;
            if round % 3 == 0 {
                stock.put_back(bid);
            } else {
                assert_eq!(stock.take(bid).unwrap().size(), SIZE);
                if round % 2 == 0 {
                    stock.fill();
                }
            }
            let offered = (first..first + stock.offered()).map(|place| place % STOCK);
            let mut seen = Vec::new();
            for place in offered {
                let [at, _] = &stock.page.0[place];
                let bid = bids(&stock)[place];
                let held = stock.held[usize::try_from(bid).unwrap()].as_ref().unwrap();
                let address = held.bytes().as_ptr() as u64;
                assert_eq!(address, at.load(Ordering::Relaxed), "round {round}");
                seen.push(bid);
            }
            seen.extend(stock.vacant.iter().map(|&bid| u64::from(bid)));
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..STOCK as u64), "round {round}");
            let tail = stock.page.0[0][1].load(Ordering::Relaxed) >> 48;
            assert_eq!(tail, u64::from(stock.tail));
            assert_eq!(pool.lent(), stock.offered() * SIZE);
        }
        drop(stock);
        assert_eq!(pool.lent(), 0);
    }

    /// Goal: what is on offer follows the demand, up at once and down in the end. Method:
    /// calls that take as many as they find, up to a number; then the ring runs dry; then rest.
    #[test]
    fn what_is_on_offer_follows_the_demand() {
        let mut stock = Stock::new(&BufPool::new());
        stock.fill();
        assert_eq!(stock.offered(), OFFERED_MIN);
        let mut head = 0;
        let mut call = |stock: &mut Stock, takes: usize| {
            for _ in 0..takes {
                let bid = u16::try_from(bids(stock)[head % STOCK]).unwrap();
                assert!(stock.take(bid).is_some());
                head += 1;
            }
            stock.fill();
            stock.offered()
        };
        assert_eq!(call(&mut stock, 3), OFFERED_MIN);
        assert_eq!(call(&mut stock, 12), 24);
        stock.ran_out();
        assert_eq!(call(&mut stock, 24), STOCK);
        for _ in 0..3 * WINDOW {
            call(&mut stock, 1);
        }
        assert_eq!(call(&mut stock, 1), OFFERED_MIN);
    }

    /// Goal: an id that the kernel cannot have given takes nothing.
    #[test]
    fn an_unknown_id_takes_nothing() {
        let mut stock = Stock::new(&BufPool::new());
        assert!(stock.take(u16::MAX).is_none());
        stock.put_back(u16::MAX);
    }
}
