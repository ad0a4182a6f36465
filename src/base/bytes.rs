//! The two buffers of a connection: [`RxBuf`] for bytes that arrived, [`TxBuf`] for bytes to go.
//!
//! ```text
//!   RxBuf   [ consumed | data ───────────── | room ]      TxBuf   [ sent | unsent ──── | room ]
//!             start ───┘          end ──────┘                       start ┘     end ───┘
//! ```
//!
//! Both hold a block of the shard's pool only while there is something in them; a
//! connection that waits holds none. Progress (`start`, `end`) lives here and not in a
//! future, so a read or write that is cut off half way loses nothing.
//!
//! Invariants
//! - I1 An empty buffer at rest holds no block.
//! - I2 `start <= end <= block size`.

use super::bufpool::{BLOCK, Block, BufPool, LEAST, SMALL};

#[derive(Debug)]
struct Held {
    pool: BufPool,
    block: Option<Block>,
    start: usize,
    end: usize,
}

impl Held {
    fn new(pool: &BufPool) -> Self {
        Self {
            pool: pool.clone(),
            block: None,
            start: 0,
            end: 0,
        }
    }

    fn data(&self) -> &[u8] {
        self.block
            .as_ref()
            .and_then(|b| b.bytes().get(self.start..self.end))
            .unwrap_or_default()
    }

    fn data_mut(&mut self) -> &mut [u8] {
        let (start, end) = (self.start, self.end);
        self.block
            .as_mut()
            .and_then(|b| b.bytes_mut().get_mut(start..end))
            .unwrap_or_default()
    }

    fn len(&self) -> usize {
        self.end - self.start
    }

    /// Drops the first `n` bytes; the block goes home when nothing is left.
    fn advance(&mut self, n: usize) {
        debug_assert!(n <= self.len()); // I2
        self.start = (self.start + n).min(self.end);
        if self.start == self.end {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.block = None; // I1
        (self.start, self.end) = (0, 0);
    }

    /// Makes room for `room` more bytes behind the data, moving it if that is enough and
    /// into a larger block if not.
    #[inline]
    fn make_room(&mut self, room: usize, first: usize) {
        let size = self.block.as_ref().map_or(0, Block::size);
        if size - self.end < room || size == 0 {
            self.move_for_room(room, first);
        }
    }

    #[cold]
    #[inline(never)]
    fn move_for_room(&mut self, room: usize, first: usize) {
        let (len, size) = (self.len(), self.block.as_ref().map_or(0, Block::size));
        if size >= len + room
            && let Some(block) = &mut self.block
        {
            block.bytes_mut().copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, len);
        } else {
            // Half as much again at least: growing byte by byte must not copy byte by byte.
            self.move_to((len + room).max(size + size / 2).max(first));
        }
    }

    /// Moves the data into another block, of at least `size` bytes.
    fn move_to(&mut self, size: usize) {
        let len = self.len();
        let mut other = self.pool.take(size.max(len));
        if let Some(to) = other.bytes_mut().get_mut(..len) {
            to.copy_from_slice(self.data());
        }
        self.block = Some(other);
        (self.start, self.end) = (0, len);
    }

    /// Appends a copy of `bytes`; a first block has at least `first` bytes.
    fn append(&mut self, bytes: &[u8], first: usize) {
        if bytes.is_empty() {
            return;
        }
        self.make_room(bytes.len(), first);
        if let Some(to) = self.room_mut().get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        self.end += bytes.len();
    }

    /// Appends copies of `parts`, one after another: room is made once.
    #[inline]
    fn append_all<const N: usize>(&mut self, parts: [&[u8]; N], first: usize) {
        let len = parts.iter().map(|part| part.len()).sum();
        if len == 0 {
            return;
        }
        self.make_room(len, first);
        let mut room = self.room_mut();
        for part in parts {
            let Some((to, rest)) = room.split_at_mut_checked(part.len()) else {
                return debug_assert!(false, "room was made"); // I2
            };
            to.copy_from_slice(part);
            room = rest;
        }
        self.end += len;
    }

    /// `n` bytes of the room hold data now.
    fn fill(&mut self, n: usize) {
        let size = self.block.as_ref().map_or(0, Block::size);
        debug_assert!(self.end + n <= size); // I2
        self.end = (self.end + n).min(size);
        if self.len() == 0 {
            self.clear();
        }
    }

    fn room_mut(&mut self) -> &mut [u8] {
        let end = self.end;
        self.block
            .as_mut()
            .and_then(|b| b.bytes_mut().get_mut(end..))
            .unwrap_or_default()
    }
}

/// Bytes that have arrived and are not yet consumed.
#[derive(Debug)]
pub struct RxBuf(Held);

impl RxBuf {
    /// An empty buffer that will borrow from `pool`.
    pub fn new(pool: &BufPool) -> Self {
        Self(Held::new(pool))
    }

    /// What has arrived and is not consumed.
    pub fn data(&self) -> &[u8] {
        self.0.data()
    }

    /// The same, to be edited in place (chunk framing is taken out this way).
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.0.data_mut()
    }

    /// Number of bytes that are not consumed.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing to consume.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// Consumes the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.0.advance(n);
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Keeps the first `n` bytes and throws the rest away.
    pub fn truncate(&mut self, n: usize) {
        self.0.end = self.0.end.min(self.0.start + n);
        if self.is_empty() {
            self.0.clear();
        }
    }

    /// Makes sure that at least `room` more bytes fit behind the data.
    pub fn reserve(&mut self, room: usize) {
        self.0.make_room(room, BLOCK);
    }

    /// The room behind the data, at least one byte, taking or enlarging a block as needed.
    /// Follow it with [`RxBuf::commit`], also when nothing came.
    pub fn space(&mut self) -> &mut [u8] {
        self.0.make_room(1, BLOCK);
        self.0.room_mut()
    }

    /// `n` bytes of [`RxBuf::space`] were filled.
    pub fn commit(&mut self, n: usize) {
        self.0.fill(n);
    }

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.append(bytes, BLOCK);
    }

    /// Takes what a host received into a block of its own: what is large becomes the data as
    /// it is, what is small (or comes behind other data) is copied, so that a large block is
    /// not held for a few bytes.
    pub fn take_in(&mut self, block: Block, len: usize) {
        let bytes = block.bytes().get(..len).unwrap_or_default();
        if self.is_empty() && bytes.len() > SMALL {
            (self.0.start, self.0.end) = (0, len);
            self.0.block = Some(block);
        } else {
            self.0.append(bytes, LEAST);
        }
    }

    /// The same for a reader that consumes what came before it waits again: also what is small
    /// stays where it came, without a copy. What is left then is for [`RxBuf::settle`].
    pub fn adopt(&mut self, block: Block, len: usize) {
        if self.is_empty() && len > 0 {
            (self.0.start, self.0.end) = (0, len.min(block.size()));
            self.0.block = Some(block);
        } else {
            self.take_in(block, len);
        }
    }

    /// Before a wait: a large block is not held for a few bytes.
    #[inline]
    pub fn settle(&mut self) {
        if self.0.block.as_ref().is_some_and(|b| b.size() > SMALL) && self.len() <= SMALL {
            self.0.move_to(LEAST);
        }
    }

    /// The pool that this buffer borrows from.
    pub fn pool(&self) -> &BufPool {
        &self.0.pool
    }
}

/// Bytes that are to be sent.
#[derive(Debug)]
pub struct TxBuf(Held);

impl TxBuf {
    /// An empty buffer that will borrow from `pool`.
    pub fn new(pool: &BufPool) -> Self {
        Self(Held::new(pool))
    }

    /// What is still to be sent.
    pub fn unsent(&self) -> &[u8] {
        self.0.data()
    }

    /// Number of bytes still to be sent.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether everything is sent.
    pub fn is_empty(&self) -> bool {
        self.0.len() == 0
    }

    /// The first `n` unsent bytes went out.
    pub fn sent(&mut self, n: usize) {
        self.0.advance(n);
    }

    /// Throws everything away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.0.append(bytes, LEAST);
    }

    /// Appends copies of `parts`, one after another.
    #[inline]
    pub fn put_all<const N: usize>(&mut self, parts: [&[u8]; N]) {
        self.0.append_all(parts, LEAST);
    }

    /// Appends `number` in decimal digits.
    pub fn put_decimal(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Makes sure that at least `room` more bytes fit, so that [`TxBuf::put`] does not move.
    pub fn reserve(&mut self, room: usize) {
        self.0.make_room(room, LEAST);
    }

    /// At least `room` bytes behind the data. Follow it with [`TxBuf::commit`], also when
    /// nothing was written.
    pub fn space(&mut self, room: usize) -> &mut [u8] {
        self.0.make_room(room.max(1), LEAST);
        self.0.room_mut()
    }

    /// `n` bytes of [`TxBuf::space`] were filled.
    pub fn commit(&mut self, n: usize) {
        self.0.fill(n);
    }

    /// The pool that this buffer borrows from.
    pub fn pool(&self) -> &BufPool {
        &self.0.pool
    }

    /// Takes block and bounds out, for a host that must own what the kernel reads:
    /// `(block, start, end)`. The buffer is empty until [`TxBuf::restore`].
    pub fn lend(&mut self) -> Option<(Block, usize, usize)> {
        let block = self.0.block.take()?;
        let (start, end) = (self.0.start, self.0.end);
        (self.0.start, self.0.end) = (0, 0);
        Some((block, start, end))
    }

    /// Gives back what [`TxBuf::lend`] took, with `start` moved on by what was sent.
    pub fn restore(&mut self, block: Block, start: usize, end: usize) {
        debug_assert!(self.is_empty());
        let end = end.min(block.size());
        if start < end {
            (self.0.block, self.0.start, self.0.end) = (Some(block), start, end);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1 of both buffers. Method: fill, drain, ask the pool.
    #[test]
    fn an_empty_buffer_holds_no_block() {
        let pool = BufPool::new();
        let (mut rx, mut tx) = (RxBuf::new(&pool), TxBuf::new(&pool));
        assert!(!rx.space().is_empty());
        rx.commit(0);
        assert_eq!(pool.lent(), 0);
        rx.put(b"hello");
        tx.put(b"world");
        rx.consume(5);
        tx.sent(5);
        assert_eq!(pool.lent(), 0);
    }

    /// Goal: growing and moving keep every byte. Method: put and consume in odd steps and
    /// compare with a plain vector.
    #[test]
    fn growing_and_moving_keep_every_byte() {
        let pool = BufPool::new();
        let mut rx = RxBuf::new(&pool);
        let mut model = Vec::new();
        for round in 0..200_usize {
            let piece: Vec<u8> = (0..round * 7)
                .map(|i| u8::try_from((i + round) % 251).unwrap())
                .collect();
            rx.put(&piece);
            model.extend_from_slice(&piece);
            let eat = (round * 3).min(model.len());
            rx.consume(eat);
            model.drain(..eat);
            assert_eq!(rx.data(), model);
        }
        rx.truncate(3);
        assert_eq!(rx.data(), &model[..3]);
        rx.clear();
        assert_eq!(pool.lent(), 0);
    }

    /// Goal: what a host received is taken in: large as it is, small and later pieces copied,
    /// every byte in order.
    #[test]
    fn what_a_host_received_is_taken_in() {
        let (pool, theirs) = (BufPool::new(), BufPool::new());
        let mut model = Vec::new();
        for first in [1, SMALL, SMALL + 1, 20_000] {
            let mut rx = RxBuf::new(&pool);
            model.clear();
            for len in [first, 7, 30_000, 0, SMALL] {
                let mut block = theirs.take(64 << 10);
                let fill = u8::try_from(len % 251).unwrap();
                block.bytes_mut()[..len].fill(fill);
                rx.take_in(block, len);
                model.resize(model.len() + len, fill);
                assert_eq!(rx.data(), model);
                assert_eq!(theirs.lent() > 0, first > SMALL, "{first} {len}");
            }
            rx.clear();
            assert_eq!((pool.lent(), theirs.lent()), (0, 0));
        }
    }

    /// Goal: what is adopted stays in its block until it is consumed or settled, and then only
    /// what is large; every byte in order.
    #[test]
    fn what_is_adopted_stays_until_it_is_settled() {
        let (pool, theirs) = (BufPool::new(), BufPool::new());
        for (first, used, then) in [(7, 7, 0), (300, 100, 0), (300, 0, 900), (9000, 1, 9000)] {
            let mut rx = RxBuf::new(&pool);
            for (len, fill) in [(first, 1), (then, 2)] {
                let mut block = theirs.take(64 << 10);
                block.bytes_mut()[..len].fill(fill);
                rx.adopt(block, len);
                assert_eq!((theirs.lent(), pool.lent()), (64 << 10, 0));
            }
            rx.consume(used);
            let left = first + then - used;
            rx.settle();
            assert_eq!(theirs.lent() > 0, left > SMALL, "{first} {used} {then}");
            assert_eq!(pool.lent() > 0, (1..=SMALL).contains(&left));
            assert_eq!(rx.len(), left);
            let model = [vec![1; first], vec![2; then]].concat();
            assert_eq!(rx.data(), &model[used..]);
        }
    }

    /// Goal: what is lent to a host comes back where it was.
    #[test]
    fn a_lent_block_comes_back_where_it_was() {
        let pool = BufPool::new();
        let mut tx = TxBuf::new(&pool);
        tx.put(b"0123456789");
        tx.sent(2);
        let (block, start, end) = tx.lend().unwrap();
        assert!(tx.is_empty());
        tx.restore(block, start + 3, end);
        assert_eq!(tx.unsent(), b"56789");
    }
}
