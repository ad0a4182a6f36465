//! Bytes that are kept as they come, events like one another as what is different
//! ([`super::alike`]), in small blocks: what is kept is never moved, and the blocks are the pool's
//! again at the end.
//!
//! ```text
//!   came    event │ event │ event │ …
//!              ▼      ▼       ▼         Writer
//!   kept    start                                   end
//!           ├─ 4 KiB ─┼─ 4 KiB ─┼─ 4 KiB ─┼─ tail ───┤
//!           └──────────── full ───────────┘
//! ```
//!
//! Invariants
//! - R1 What a [`Reader`] tells are the bytes that came, in order.
//! - R2 Only whole blocks are let go, from the front, and none that a reader needs: every block
//!   in `full` is full, and `start` is where one begins.

use super::alike::{Alike, Keeping, Kept, Reader, Writer};
use super::bufpool::{Block, BufPool, SMALL};
use super::bytes::RxBuf;
use std::borrow::Cow;
use std::collections::VecDeque;

/// What came.
#[derive(Debug)]
pub struct Reel {
    came: usize,
    writer: Writer,
    shelf: Shelf,
}

/// What is kept of it, from the `start`th byte that ever was. The order of the fields is that of
/// use: whoever puts an event there finds what it needs side by side.
#[derive(Debug)]
#[repr(C)]
struct Shelf {
    /// The block that is being filled.
    tail: Block,
    end: usize,
    start: usize,
    full: VecDeque<Block>,
}

impl Shelf {
    /// Bytes in the tail.
    fn used(&self) -> usize {
        self.end - self.start - self.full.len() * SMALL
    }
}

impl Kept for Shelf {
    fn row(&self, at: usize) -> &[u8] {
        let Some(seen) = at.checked_sub(self.start) else {
            return &[];
        };
        let row = match self.full.get(seen / SMALL) {
            Some(block) => block.bytes(),
            None if seen / SMALL > self.full.len() => b"",
            None => self.tail.bytes().get(..self.used()).unwrap_or_default(),
        };
        row.get(seen % SMALL..).unwrap_or_default()
    }
}

impl Keeping for Shelf {
    fn end(&self) -> usize {
        self.end
    }

    fn put(&mut self, mut bytes: &[u8]) {
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

    fn fit(&mut self, len: usize) {
        let room = SMALL - self.used();
        if room < len
            && let Some(filler) = [0; SMALL].get(..room)
        {
            self.put(filler);
        }
    }
}

impl Reel {
    /// An empty one, of blocks of `pool`.
    pub fn new(pool: &BufPool) -> Self {
        Self {
            came: 0,
            writer: Writer::default(),
            shelf: Shelf {
                tail: pool.take(SMALL),
                end: 0,
                start: 0,
                full: VecDeque::new(),
            },
        }
    }

    /// How many bytes came.
    pub fn came(&self) -> usize {
        self.came
    }

    /// Whether nothing of it was let go.
    pub fn is_whole(&self) -> bool {
        self.shelf.start == 0
    }

    /// More comes; gives what it is, where that is known ([`Writer::put`]).
    pub fn put(&mut self, bytes: &[u8]) -> Option<Alike> {
        self.came += bytes.len();
        self.writer.put(&mut self.shelf, bytes)
    }

    /// Who has read everything.
    pub fn reader(&self) -> Reader {
        Reader::behind(&self.writer, &self.shelf, self.came)
    }

    /// Copies what is there from the `from`th byte on into `rx`, at most `most` bytes; gives how
    /// many. `reader` stands there, or before.
    pub fn copy(&self, reader: &mut Reader, from: usize, most: usize, rx: &mut RxBuf) -> usize {
        reader.read(&self.shelf, from, most, |bytes| rx.put(bytes))
    }

    /// All that is kept, a [`Reader`]'s; nothing, where some of it was let go.
    pub fn kept(&self) -> Cow<'_, [u8]> {
        if self.shelf.full.is_empty() {
            return self.shelf.row(0).into();
        }
        let mut kept = Vec::with_capacity(self.shelf.end);
        while let row @ [_, ..] = self.shelf.row(kept.len()) {
            kept.extend_from_slice(row);
        }
        kept.into()
    }

    /// All that came; nothing, where some of it was let go.
    pub fn all(&self) -> Vec<u8> {
        Reader::all(&self.shelf, self.came)
    }

    /// Lets go of the whole blocks that no reader needs which needs nothing before `needed`
    /// ([`Reader::needs`]), nor one that has read everything (R2).
    pub fn let_go(&mut self, needed: usize) {
        let needed = needed.min(self.reader().needs());
        let Shelf { start, full, .. } = &mut self.shelf;
        while *start + SMALL <= needed && full.pop_front().is_some() {
            *start += SMALL;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::alike::{REACH, tests::arrivals};
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Act {
        /// One of some who listen joins at the beginning, or takes so much.
        Listen(usize, usize),
        /// What nobody needs is let go.
        LetGo,
    }

    fn act() -> impl Strategy<Value = Act> {
        prop_oneof![
            4 => (0_usize..3, 0_usize..40_000).prop_map(|(who, most)| Act::Listen(who, most)),
            1 => Just(Act::LetGo),
        ]
    }

    proptest! {
        /// Goal: R1, R2, and the blocks come home. Method: streams of alike and other events,
        /// long ones, too; three who listen at any pace beside a plain vector.
        #[test]
        fn a_reel_keeps_what_came(
            arrivals in arrivals(),
            acts in proptest::collection::vec(act(), 0..40),
        ) {
            let pool = BufPool::new();
            let (mut reel, mut all) = (Reel::new(&pool), Vec::new());
            let mut readers = [(Reader::default(), 0_usize); 3];
            let mut acts = acts.iter().cycle();
            for bytes in &arrivals {
                for (reader, at) in &mut readers {
                    if *at == all.len() && *at % 2 == 1 {
                        *reader = reel.reader(); // as good as its own
                    }
                }
                reel.put(bytes);
                all.extend_from_slice(bytes);
                match acts.next() {
                    Some(Act::Listen(who, most)) => {
                        let (reader, at) = &mut readers[*who];
                        let mut rx = RxBuf::new(&pool);
                        let count = reel.copy(reader, *at, *most, &mut rx);
                        let want = &all[*at..(*at + most).min(all.len())];
                        prop_assert_eq!((count, rx.data()), (want.len(), want));
                        *at += count;
                    }
                    Some(Act::LetGo) => {
                        let needed = readers.iter().map(|(reader, _)| reader.needs()).min();
                        reel.let_go(needed.unwrap());
                        let late = needed.unwrap().saturating_sub(reel.shelf.start);
                        prop_assert!(late < REACH + SMALL, "{late}");
                    }
                    None => {}
                }
                prop_assert_eq!(reel.came(), all.len());
                let whole = reel.all();
                prop_assert!(whole == all || !reel.is_whole());
            }
            drop(reel);
            prop_assert_eq!(pool.lent(), 0);
        }
    }

    /// Goal: of a stream that never ends, and that everybody hears, little is kept. Method: ten
    /// thousand events alike, and as many that are too long for a base.
    #[test]
    fn what_all_have_heard_is_let_go() {
        let pool = BufPool::new();
        let mut reel = Reel::new(&pool);
        for at in 0..20_000 {
            let long = if at < 10_000 { 9 } else { 3_000 };
            let event = format!(
                "data: {{\"{}\":{{\"text\":\"{at:>long$}\"}}}}\n\n",
                "x".repeat(100)
            );
            reel.put(event.as_bytes());
            reel.let_go(reel.reader().needs());
            assert!(reel.shelf.full.len() <= 1 + REACH / SMALL);
        }
    }
}
