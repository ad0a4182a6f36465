//! Events like one another, kept as what is different.
//!
//! ```text
//!   data: {"id":"c1","delta":{"content":" is"}}     as it is: the base
//!   data: {"id":"c1","delta":{"content":" blue"}}   base up to here, "blue", base from there on
//!   data: {"id":"c1","delta":{"content":"."}}       the same shape again: "." alone
//! ```
//!
//! A stream of a provider repeats a quarter of a KiB for each word. What is kept here is a few
//! bytes for each event, and every byte comes out again as it came in.
//!
//! What is kept is a row of tokens, each led by a number of seven bits a byte, lowest first, whose
//! two lowest bits are its kind and whose others are `n`:
//!
//! - 0: `n` bytes as they are; none: filler. From 64 to 2,048 of them become the base.
//! - 1: the base with `n` gaps. Each is three numbers, so many bytes of the base before it, so many
//!   fresh ones in it, so many of the base in their place, and the fresh bytes.
//! - 2: the base with the gap of the last token that had one alone, and `n` fresh bytes in it.
//! - 3: the same as a chunk of its own: before it stands the line with its size, the last two
//!   bytes (the chunk's end) not counted. `n` is twice the fresh bytes, and one more where that
//!   line has capital letters.
//!
//! Invariants
//! - A1 What is read is what was put, whole, in order.
//! - A2 A token needs nothing but itself, the base, and the last gap; the base begins at most
//!   [`REACH`] bytes before the token and lies in a row.

mod writer;

#[cfg(test)]
pub(super) mod tests;

pub use writer::Writer;

/// How far back the base of a token may begin, in kept bytes.
pub const REACH: usize = 16 << 10;

/// Lengths of what may be a base, in bytes: what is shorter saves nothing, what is longer is no
/// event of a few words.
const BASE: std::ops::RangeInclusive<usize> = 64..=2048;

const PLAIN: usize = 0;
const GAPPED: usize = 1;
const AGAIN: usize = 2;
const CHUNK: usize = 3;

/// Bytes of the line that ends a chunk.
pub const END_OF_CHUNK: u16 = 2;

/// Bytes of the longest line with a chunk's size.
const LINE_MAX: usize = size_of::<usize>() * 2 + 2;

/// Most bytes of a number.
const NUMBER: usize = 10;

/// Where tokens are kept, to be read.
pub trait Kept {
    /// Those from the `at`th byte on that lie in a row; empty at the end.
    fn row(&self, at: usize) -> &[u8];
}

/// Where more tokens may be put.
pub trait Keeping: Kept {
    /// How many bytes came.
    fn end(&self) -> usize;

    /// More comes.
    fn put(&mut self, bytes: &[u8]);

    /// The next `len` bytes, at most 2,060, will lie in a row: filler comes before them where
    /// they would not.
    fn fit(&mut self, len: usize);
}

impl Kept for [u8] {
    fn row(&self, at: usize) -> &[u8] {
        self.get(at..).unwrap_or_default()
    }
}

impl Kept for Vec<u8> {
    fn row(&self, at: usize) -> &[u8] {
        self.as_slice().row(at)
    }
}

impl Keeping for Vec<u8> {
    fn end(&self) -> usize {
        self.len()
    }

    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn fit(&mut self, _len: usize) {}
}

/// The base around a gap. Those of one writer that are equal are the same bytes, if there are not
/// four billion bases between them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    base: u32,
    /// Bytes before the gap.
    pub before: u16,
    /// Bytes behind it.
    pub behind: u16,
}

/// What came at once: an event of a known shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alike {
    /// Bytes of the short line before it, perhaps a chunk's size, with its end; none: no such.
    pub line: u8,
    /// Bytes in the gap.
    pub fresh: u16,
    /// Whether that line is the size of all that follows but for the last two bytes.
    pub is_chunk: bool,
    /// What is around it.
    pub shape: Shape,
}

impl Alike {
    /// Bytes that came.
    pub fn bytes(&self) -> usize {
        let Shape { before, behind, .. } = self.shape;
        let around = [before, self.fresh, behind].map(usize::from);
        around.iter().sum::<usize>() + usize::from(self.line)
    }
}

/// What a token may refer to.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Where the base begins.
    base_at: usize,
    base_len: usize,
    /// The last gap: so much of the base before it, so much from its end on.
    before: u16,
    behind: u16,
    /// How many bases there were.
    bases: u32,
}

impl Known {
    fn base<'a>(&self, kept: &'a (impl Kept + ?Sized)) -> &'a [u8] {
        kept.row(self.base_at)
            .get(..self.base_len)
            .unwrap_or_default()
    }

    fn set_base(&mut self, at: usize, len: usize) {
        *self = Self {
            base_at: at,
            base_len: len,
            bases: self.bases.wrapping_add(1),
            ..Self::default()
        };
    }

    /// The only gap of a token was this one.
    fn set_gap(&mut self, same: usize, skipped: usize) {
        let behind = self.base_len.saturating_sub(same.saturating_add(skipped));
        self.before = narrow(same);
        self.behind = narrow(behind);
    }

    fn shape(&self) -> Shape {
        Shape {
            base: self.bases,
            before: self.before,
            behind: self.behind,
        }
    }

    /// The base around the last gap; `None`: there is no such.
    fn around<'a>(&self, kept: &'a (impl Kept + ?Sized)) -> Option<(&'a [u8], &'a [u8])> {
        let base = self.base(kept);
        let (before, behind) = (usize::from(self.before), usize::from(self.behind));
        let from = base.len().checked_sub(behind).filter(|_| before > 0)?;
        Some((base.get(..before)?, base.get(from..)?))
    }
}

/// What the chunk's size is of an event with `fresh` bytes in its gap and `around` around it.
fn size(around: usize, fresh: usize) -> usize {
    around
        .saturating_add(fresh)
        .saturating_sub(END_OF_CHUNK.into())
}

/// A line with a chunk's size, as nearly everybody writes it: no zeroes before it, nothing behind.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLine {
    bytes: [u8; LINE_MAX],
    len: usize,
}

impl SizeLine {
    fn of(size: usize, is_capital: bool) -> Self {
        let digits: &[u8; 16] = if is_capital {
            b"0123456789ABCDEF"
        } else {
            b"0123456789abcdef"
        };
        let places = (size.checked_ilog2().unwrap_or(0) / 4 + 1) as usize;
        let mut line = Self::default();
        for (place, byte) in (0..places).rev().zip(&mut line.bytes) {
            let digit = digits.get(size >> (place * 4) & 15);
            *byte = digit.copied().unwrap_or_default();
        }
        let end = line.bytes.iter_mut().skip(places).zip(b"\r\n");
        end.for_each(|(byte, end)| *byte = *end);
        line.len = places + 2;
        line
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Whether `line` is a [`SizeLine`] of `size`: with capital letters or not.
fn is_size_line(line: &[u8], size: usize) -> Option<bool> {
    let digits = line.strip_suffix(b"\r\n")?;
    if let [] | [b'0', ..] = digits {
        return None;
    }
    let (mut told, mut has_small, mut has_capital) = (0_usize, false, false);
    for &digit in digits {
        let low = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            b'A'..=b'F' => digit - b'A' + 10,
            _ => return None,
        };
        has_small |= digit >= b'a';
        has_capital |= (b'A'..b'a').contains(&digit);
        told = told << 4 | usize::from(low);
    }
    (told == size && !(has_small && has_capital)).then_some(has_capital)
}

/// A base is at most 2,048 bytes.
fn narrow(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

fn tail(bytes: &[u8], from: usize) -> &[u8] {
    bytes.get(from..).unwrap_or_default()
}

/// Reads tokens; where the next one begins, and what it may refer to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reader {
    at: usize,
    /// How many bytes came out of those before.
    told: usize,
    known: Known,
}

impl Reader {
    /// Behind everything that `writer` put into `kept`, `told` bytes.
    pub fn behind(writer: &Writer, kept: &impl Keeping, told: usize) -> Self {
        Self {
            at: kept.end(),
            told,
            known: writer.known,
        }
    }

    /// Where the next token begins.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Reads one token, whatever it is. Who goes on so, token by token, does not [`Reader::read`].
    pub fn next(&mut self, kept: &[u8], tell: impl FnMut(&[u8])) {
        self.token(kept, tell);
    }

    /// Reads a token with the last gap, as a chunk of its own or not, and gives what is in it;
    /// `None`: it is another.
    pub fn again<'a>(&mut self, kept: &'a [u8], is_chunk: bool) -> Option<&'a [u8]> {
        let head = self.number(kept);
        let (kind, count) = if is_chunk {
            (CHUNK, head >> 3)
        } else {
            (AGAIN, head >> 2)
        };
        let bytes = tail(kept, self.at).get(..count)?;
        self.at += bytes.len();
        (head & 3 == kind).then_some(bytes)
    }

    /// The base around the last gap; `None`: there is no such.
    pub fn around<'a>(&self, kept: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        self.known.around(kept)
    }

    /// The first kept byte that it needs.
    pub fn needs(&self) -> usize {
        if self.known.base_len == 0 {
            self.at
        } else {
            self.known.base_at.max(self.at.saturating_sub(REACH)) // A2
        }
    }

    /// Calls `tell` with what came from the `from`th byte on, piece by piece, at most `most`
    /// bytes; gives how many. `from` is no less than where it stood, and it stands behind what
    /// was told then.
    pub fn read(
        &mut self,
        kept: &(impl Kept + ?Sized),
        from: usize,
        most: usize,
        mut tell: impl FnMut(&[u8]),
    ) -> usize {
        let (mut skip, mut left) = (from.saturating_sub(self.told), most);
        while left > 0 && !kept.row(self.at).is_empty() {
            let mut next = *self;
            let mut is_whole = true;
            let len = next.token(kept, |bytes| {
                let seen = skip.min(bytes.len());
                skip -= seen;
                let bytes = tail(bytes, seen);
                let now = bytes.get(..left).unwrap_or(bytes);
                is_whole &= now.len() == bytes.len();
                left -= now.len();
                if !now.is_empty() {
                    tell(now);
                }
            });
            if !is_whole {
                break;
            }
            next.told += len;
            *self = next;
        }
        most - left
    }

    /// All that `kept` tells, `told` bytes.
    pub fn all(kept: &(impl Kept + ?Sized), told: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(told);
        Self::default().read(kept, 0, usize::MAX, |bytes| all.extend_from_slice(bytes));
        all
    }

    /// Reads one token; gives how many bytes come of it.
    fn token(&mut self, kept: &(impl Kept + ?Sized), mut tell: impl FnMut(&[u8])) -> usize {
        let head = self.number(kept);
        let count = head >> 2;
        match head & 3 {
            PLAIN => {
                if BASE.contains(&count) {
                    self.known.set_base(self.at, count);
                }
                self.fresh(kept, count, &mut tell)
            }
            GAPPED => {
                let base = self.known.base(kept);
                let mut rest = base;
                let mut len = 0;
                for _ in 0..count {
                    if kept.row(self.at).is_empty() {
                        break; // what was never put
                    }
                    let [same, fresh, skipped] = [(); 3].map(|()| self.number(kept));
                    let before = rest.get(..same).unwrap_or(rest);
                    tell(before);
                    len += before.len() + self.fresh(kept, fresh, &mut tell);
                    rest = tail(rest, same.saturating_add(skipped));
                    if count == 1 {
                        self.known.set_gap(same, skipped);
                    }
                }
                tell(rest);
                len + rest.len()
            }
            kind => {
                let (before, behind) = self.known.around(kept).unwrap_or_default();
                let around = before.len() + behind.len();
                let (mut line, mut count) = (SizeLine::default(), count);
                if kind == CHUNK {
                    let is_capital = count & 1 == 1;
                    count >>= 1;
                    line = SizeLine::of(size(around, count), is_capital);
                    tell(line.bytes());
                }
                tell(before);
                let fresh = self.fresh(kept, count, &mut tell);
                tell(behind);
                line.bytes().len() + around + fresh
            }
        }
    }

    /// Tells the next `count` kept bytes as they are.
    fn fresh(
        &mut self,
        kept: &(impl Kept + ?Sized),
        count: usize,
        tell: &mut impl FnMut(&[u8]),
    ) -> usize {
        let mut left = count;
        while left > 0 {
            let row = kept.row(self.at);
            let row = row.get(..left).unwrap_or(row);
            if row.is_empty() {
                break;
            }
            tell(row);
            self.at += row.len();
            left -= row.len();
        }
        count - left
    }

    fn number(&mut self, kept: &(impl Kept + ?Sized)) -> usize {
        let mut number = 0;
        for shift in (0..usize::BITS).step_by(7) {
            let Some(byte) = kept.row(self.at).first() else {
                break;
            };
            self.at += 1;
            let low = usize::from(byte & 0x7f);
            number |= low << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }
}
