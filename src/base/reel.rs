//! Bytes that are kept as they come, in small blocks: what came is never moved, and the blocks are
//! the pool's again at the end.
//!
//! ```text
//!   start                                   end
//!   ├─ 4 KiB ─┼─ 4 KiB ─┼─ 4 KiB ─┼─ tail ───┤
//!   └──────────── full ───────────┘
//! ```
//!
//! Invariants
//! - R1 The bytes from [`Reel::start`] to [`Reel::end`] are those that came there, in order.
//! - R2 Only whole blocks are let go, from the front: every block in `full` is full, and `start` is
//!   where one begins.

use super::bufpool::{Block, BufPool, SMALL};
use super::bytes::RxBuf;
use std::collections::VecDeque;

/// Bytes, from the `start`th that ever came. The order of the fields is that of use: whoever puts
/// an event there finds what it needs side by side.
#[derive(Debug)]
#[repr(C)]
pub struct Reel {
    /// The block that is being filled.
    tail: Block,
    end: usize,
    start: usize,
    full: VecDeque<Block>,
}

impl Reel {
    /// An empty one, of blocks of `pool`.
    pub fn new(pool: &BufPool) -> Self {
        Self {
            tail: pool.take(SMALL),
            end: 0,
            start: 0,
            full: VecDeque::new(),
        }
    }

    /// How many bytes were let go.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How many bytes came.
    pub fn end(&self) -> usize {
        self.end
    }

    /// More comes.
    pub fn put(&mut self, mut bytes: &[u8]) {
        loop {
            let used = self.used();
            let room = self.tail.bytes_mut().get_mut(used..).unwrap_or_default();
            let (now, later) = bytes.split_at(bytes.len().min(room.len()));
            if let Some(room) = room.get_mut(..now.len()) {
                room.copy_from_slice(now);
            }
            self.end += now.len();
            if later.is_empty() {
                return;
            }
            let next = self.tail.pool().take(SMALL);
            self.full.push_back(std::mem::replace(&mut self.tail, next));
            bytes = later;
        }
    }

    /// Bytes in the tail.
    fn used(&self) -> usize {
        self.end - self.start - self.full.len() * SMALL
    }

    /// Copies what is there from the `from`th byte on into `rx`, at most `most` bytes; gives how
    /// many.
    pub fn copy(&self, from: usize, most: usize, rx: &mut RxBuf) -> usize {
        let skipped = from.saturating_sub(self.start);
        let mut left = most;
        let first = skipped / SMALL;
        for (index, piece) in self.pieces().enumerate().skip(first) {
            let seen = if index == first { skipped % SMALL } else { 0 };
            let piece = piece.get(seen..).unwrap_or_default();
            let piece = piece.get(..left).unwrap_or(piece);
            rx.put(piece);
            left -= piece.len();
            if left == 0 {
                break;
            }
        }
        most - left
    }

    /// Lets go of the whole blocks that end before the `before`th byte (R2).
    pub fn let_go(&mut self, before: usize) {
        while self.start + SMALL <= before && self.full.pop_front().is_some() {
            self.start += SMALL;
        }
    }

    /// What is there, piece by piece; the last one may be empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let tail = self.tail.bytes().get(..self.used()).unwrap_or_default();
        let full = self.full.iter().map(Block::bytes);
        full.chain(std::iter::once(tail))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        Put(usize),
        Copy(usize, usize),
        LetGo(usize),
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0_usize..3 * SMALL).prop_map(Act::Put),
            Just(Act::Put(SMALL)),
            (any::<usize>(), 0_usize..4 * SMALL).prop_map(|(at, most)| Act::Copy(at, most)),
            any::<usize>().prop_map(Act::LetGo),
        ]
    }

    proptest! {
        /// Goal: R1, R2, and the blocks come home. Method: any acts beside a plain vector.
        #[test]
        fn a_reel_keeps_what_came(acts in proptest::collection::vec(act(), 0..40)) {
            let pool = BufPool::new();
            let (mut reel, mut all) = (Reel::new(&pool), Vec::new());
            for act in acts {
                match act {
                    Act::Put(count) => {
                        let fresh = (0..=u8::MAX).cycle().skip(all.len() % 251).take(count);
                        let fresh: Vec<u8> = fresh.collect();
                        reel.put(&fresh);
                        all.extend(fresh);
                    }
                    Act::Copy(at, most) => {
                        let from = reel.start() + at % (reel.end() - reel.start() + 1);
                        let mut rx = RxBuf::new(&pool);
                        let count = reel.copy(from, most, &mut rx);
                        let want = &all[from..(from + most).min(all.len())];
                        prop_assert_eq!((count, rx.data()), (want.len(), want));
                    }
                    Act::LetGo(at) => {
                        let before = at % (reel.end() + 1);
                        reel.let_go(before);
                        prop_assert!(reel.start() <= before || before < reel.start() + SMALL);
                        let late = before.saturating_sub(reel.start());
                        prop_assert!(late <= SMALL || reel.end() - reel.start() <= SMALL);
                    }
                }
                prop_assert_eq!(reel.end(), all.len());
                prop_assert_eq!(reel.start() % SMALL, 0);
                prop_assert_eq!(reel.pieces().collect::<Vec<_>>().concat(), &all[reel.start()..]);
            }
            drop(reel);
            prop_assert_eq!(pool.lent(), 0);
        }
    }
}
