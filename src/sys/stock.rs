//! The blocks that wait for bytes on behalf of every connection: a provided-buffer ring.
//!
//! ```text
//!            tail (ours)                       head (the kernel's)
//!              ▼                                 ▼
//!   entries  [ ··· | addr len bid | addr len bid | ··· ]     bid ──► held[bid]: Block
//!
//!   receive completes with bid ──► take(bid): the block leaves, its bid is vacant
//!   before the next call       ──► fill(): vacant bids get blocks, as few as seldom run dry
//! ```
//!
//! A connection that waits owns no memory: the kernel picks a block when the bytes are there.
//!
//! How many blocks are on offer follows what is taken. The kernel takes them in turn, so each one
//! on offer is another piece of memory that has left the cache when its turn comes. With too few
//! a receive ends and must be asked again, which costs more: 1,000 busy connections on 32 blocks
//! took twice the CPU. So there are as few as seldom run dry ([`Demand`]). Against twice as many
//! as one call took lately, that is 7 to 10 % less CPU an event of 64 streams at full speed.
//!
//! Invariants
//! - I1 `held[bid]` owns the block whose address is in the entry for `bid`, for as long as the
//!   kernel may pick it: from `offer` until a completion that names `bid`.
//! - I2 A `bid` is in the ring at most once,
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
const OFFERED_MIN: usize = 8;

/// Receives after which the demand is judged anew, some hundredths of a second of a busy shard.
const WINDOW: u32 = 1024;

/// When more receives of a window than this find no block, there are too few.
const DRY_MOST: u32 = WINDOW / 32;

/// When no more than this do, there may be fewer.
const DRY_FEW: u32 = WINDOW / 128;

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

/// How many blocks are to be on offer: half as many again as soon as too many receives of a
/// window found none, an eighth less after one in which next to none did.
#[derive(Debug)]
struct Demand {
    goal: usize,
    /// Receives of this window that found a block.
    met: u32,
    /// Those that found none.
    dry: u32,
}

impl Demand {
    const fn new() -> Self {
        Self {
            goal: OFFERED_MIN,
            met: 0,
            dry: 0,
        }
    }

    fn met(&mut self) {
        self.met += 1;
        if self.met >= WINDOW {
            let spare = if self.dry <= DRY_FEW {
                self.goal / 8
            } else {
                0
            };
            self.begin((self.goal - spare).max(OFFERED_MIN));
        }
    }

    fn missed(&mut self) {
        self.dry += 1;
        if self.dry > DRY_MOST {
            self.begin((self.goal + self.goal / 2).min(STOCK));
        }
    }

    /// Begins another window.
    fn begin(&mut self, goal: usize) {
        (self.goal, self.met, self.dry) = (goal, 0, 0);
    }
}

impl Stock {
    /// A page without any block; [`Stock::fill`] offers some of `pool`.
    pub(super) fn new(pool: &BufPool) -> Self {
        Self {
            page: Box::new(Page([const { [const { AtomicU64::new(0) }; 2] }; STOCK])),
            held: (0..STOCK).map(|_| None).collect(),
            vacant: (0..u16::try_from(STOCK).unwrap_or(0)).rev().collect(),
            demand: Demand::new(),
            pool: pool.clone(),
            tail: 0,
            first: 0,
        }
    }

    /// Blocks that the kernel may fill or has filled, those left out that were taken.
    pub(super) fn offered(&self) -> usize {
        STOCK - self.vacant.len()
    }

    /// Offers as many blocks as the demand is. What was read in the meantime has come home to
    /// the pool, so these are the ones that were in use last.
    pub(super) fn fill(&mut self) {
        while self.offered() < self.demand.goal
            && let Some(bid) = self.vacant.pop()
        {
            let block = self.pool.take(SIZE);
            self.offer(bid, block);
        }
    }

    /// A receive found no block.
    pub(super) fn ran_out(&mut self) {
        self.demand.missed();
    }

    /// Where the page is; it does not move (I3).
    pub(super) fn address(&self) -> u64 {
        std::ptr::from_ref::<Page>(&self.page) as u64
    }

    /// The block that the kernel filled.
    pub(super) fn take(&mut self, bid: u16) -> Option<Block> {
        let block = self.held.get_mut(usize::from(bid))?.take()?;
        self.vacant.push(bid);
        self.demand.met();
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
        while stock.demand.goal < STOCK {
            stock.ran_out();
        }
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

    /// Goal: what is on offer follows the demand: up at once where receives find none, about as
    /// many as a steady load takes, down in the end. Method: receives that take a block each, as
    /// long as there is one; between calls the ring is filled up.
    #[test]
    fn what_is_on_offer_follows_the_demand() {
        let mut stock = Stock::new(&BufPool::new());
        stock.fill();
        assert_eq!(stock.offered(), OFFERED_MIN);
        let mut head = 0;
        let mut call = |stock: &mut Stock, wanted: usize| {
            for _ in 0..wanted {
                if stock.offered() == 0 {
                    stock.ran_out();
                    continue;
                }
                let bid = u16::try_from(bids(stock)[head % STOCK]).unwrap();
                assert!(stock.take(bid).is_some());
                head += 1;
            }
            stock.fill();
            stock.offered()
        };
        // A burst, far more than there are: all of them within a few calls.
        assert_eq!((0..8).map(|_| call(&mut stock, 1000)).max(), Some(STOCK));
        // Always the same: as many as it takes, with the little that may be missed.
        for _ in 0..WINDOW {
            call(&mut stock, 40);
        }
        let steady = stock.offered();
        assert!((38..=60).contains(&steady), "{steady}");
        // Hardly ever more than a few: those that find none are too few to matter.
        for round in 0..8 * WINDOW {
            call(&mut stock, if round % 1000 == 0 { 20 } else { 3 });
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
