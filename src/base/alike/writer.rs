//! Writes events as what is different.

use super::{
    AGAIN, Alike, BASE, CHUNK, GAPPED, Keeping, Known, NUMBER, PLAIN, REACH, is_size_line, narrow,
    size, tail,
};
use memchr::{memchr, memchr_iter};
use smallvec::SmallVec;

/// Bytes of the longest event that is compared with the base.
const EVENT_MAX: usize = 4096;

/// Most gaps in one event.
const GAPS: usize = 8;

/// Fresh bytes of one gap that are no reason to look for a better base.
const NEAR: usize = 16;

/// Fresh bytes of the longest gap that is looked for without looking at the whole event.
const FAR: usize = 512;

/// The first line of what arrives is a chunk's size, where it ends within so many bytes.
const SIZE_LINE: usize = 8;

/// A place where an event is not like the base.
#[derive(Clone, Copy, Debug)]
struct Gap {
    /// Bytes before it that are.
    same: usize,
    /// Bytes in it.
    fresh: usize,
    /// Bytes of the base in their place.
    skipped: usize,
}

type Gaps = SmallVec<[Gap; GAPS]>;

/// Writes tokens.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    pub(super) known: Known,
    /// How many more events that are far from the base may become the base.
    trials: u8,
    /// How many were put up with since there were none left, and how many will be.
    far: u16,
    patience: u16,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            known: Known::default(),
            trials: 3,
            far: 0,
            patience: 16,
        }
    }
}

impl Writer {
    /// Puts `bytes` there, which came together. Gives what they are where they are no more than an
    /// event whose shape is that of one before.
    pub fn put(&mut self, kept: &mut impl Keeping, bytes: &[u8]) -> Option<Alike> {
        self.look_back(kept);
        match self.put_chunk(kept, bytes) {
            None => self.put_any(kept, bytes),
            alike => alike,
        }
    }

    /// Puts all of `bytes` as a chunk of its own that has no more fresh bytes in the last gap than
    /// a word has, as nearly always; `None`: they are something else.
    #[inline]
    fn put_chunk(&self, kept: &mut impl Keeping, bytes: &[u8]) -> Option<Alike> {
        let (before, behind) = self.known.around(kept)?;
        let around = before.len() + behind.len();
        let (first, event) = bytes.split_at_checked(size_line(bytes))?;
        let fresh = event.len().checked_sub(around).filter(|it| *it < NEAR)?;
        let is_alike = event.starts_with(before) && event.ends_with(behind);
        let is_capital = is_size_line(first, size(around, fresh)).filter(|_| is_alike)?;
        let text = event.get(before.len()..before.len() + fresh)?;
        let count = fresh << 1 | usize::from(is_capital);
        put_token(kept, count << 2 | CHUNK, text);
        Some(Alike {
            line: short(first.len()),
            fresh: narrow(fresh),
            is_chunk: true,
            shape: self.known.shape(),
        })
    }

    /// Puts whatever came, piece by piece.
    #[inline(never)]
    fn put_any(&mut self, kept: &mut impl Keeping, bytes: &[u8]) -> Option<Alike> {
        let mut rest = bytes;
        let mut plain = 0; // so many of `rest` are no event
        loop {
            if plain == 0 {
                let (again, is_chunk) = self.put_again(kept, rest);
                if again > 0 && again == bytes.len() {
                    return Some(self.alike(bytes, is_chunk));
                }
                rest = tail(rest, again);
                if rest.is_empty() {
                    return None;
                }
                if again > 0 {
                    continue;
                }
            }
            let ahead = tail(rest, plain);
            let len = piece(ahead);
            let is_event = len >= *BASE.start();
            if len > 0 && !is_event {
                plain += len;
                continue;
            }
            if let Some((before, _)) = rest.split_at_checked(plain)
                && plain > 0
            {
                self.put_plain(kept, before);
            }
            let (event, behind) = ahead.split_at_checked(len).filter(|_| is_event)?;
            self.put_event(kept, event);
            (rest, plain) = (behind, 0);
        }
    }

    /// Puts the event that `bytes` begin with, and a chunk's size before it, where the event has
    /// its gap where the last one had it. Gives their length, 0: it has not; and whether they are
    /// a chunk of its own. It does not give the whole [`Alike`], as nobody asks for that of events
    /// that came together: with it one of them costs 1,026 instructions instead of 960.
    fn put_again(&mut self, kept: &mut impl Keeping, bytes: &[u8]) -> (usize, bool) {
        self.look_back(kept);
        let Some((before, behind)) = self.known.around(kept) else {
            return (0, false);
        };
        let line = size_line(bytes);
        let Some(after) = tail(bytes, line).strip_prefix(before) else {
            return (0, false);
        };
        let most = if self.trials == 0 { FAR } else { NEAR };
        let Some(end) = end_of_gap(after, behind, most) else {
            return (0, false);
        };
        let around = before.len() + behind.len();
        self.bear(end > NEAR);
        let fresh = after.get(..end).unwrap_or_default();
        let first = bytes.get(..line).unwrap_or_default();
        let case = is_size_line(first, size(around, end));
        if let Some(is_capital) = case {
            let count = end << 1 | usize::from(is_capital);
            put_token(kept, count << 2 | CHUNK, fresh);
        } else {
            if line > 0 {
                put_token(kept, line << 2 | PLAIN, first);
            }
            put_token(kept, end << 2 | AGAIN, fresh);
        }
        (line + around + end, case.is_some())
    }

    /// What `bytes` are, which were put as an event like the last one.
    fn alike(&self, bytes: &[u8], is_chunk: bool) -> Alike {
        let (line, shape) = (size_line(bytes), self.known.shape());
        let around = line + usize::from(shape.before) + usize::from(shape.behind);
        Alike {
            line: short(line),
            fresh: narrow(bytes.len().saturating_sub(around)),
            is_chunk,
            shape,
        }
    }

    /// Puts an event that has `fresh` in its gap, where the last one had it; false: there is no
    /// such gap any more.
    pub fn again(&mut self, kept: &mut impl Keeping, fresh: &[u8]) -> bool {
        self.look_back(kept);
        let is_known = self.known.around(kept).is_some();
        if is_known {
            put_token(kept, fresh.len() << 2 | AGAIN, fresh);
        }
        is_known
    }

    /// The base around the last gap; `None`: there is no such.
    pub fn around<'a>(&self, kept: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        self.known.around(kept)
    }

    /// Forgets a base that is too far back for the next token (A2).
    fn look_back(&mut self, kept: &impl Keeping) {
        if kept.end() - self.known.base_at > REACH - EVENT_MAX {
            self.known.base_len = 0;
        }
    }

    fn put_event(&mut self, kept: &mut impl Keeping, event: &[u8]) {
        self.look_back(kept);
        if self.known.base_len == 0 || event.len() > EVENT_MAX {
            return self.put_plain(kept, event);
        }
        let base = self.known.base(kept);
        let one = gap(base, event);
        // While there are trials nothing will do but one short gap.
        let gaps = if self.trials > 0 || one.fresh <= 2 * NEAR {
            SmallVec::from_slice(&[one])
        } else {
            gaps(base, event, one)
        };
        let fresh: usize = gaps.iter().map(|gap| gap.fresh + 4).sum();
        let is_far = gaps.len() > 1 || fresh > NEAR + 4;
        if fresh * 2 > event.len() || is_far && self.trials > 0 {
            self.trials = self.trials.saturating_sub(1);
            return self.put_plain(kept, event);
        }
        self.bear(is_far);
        self.put_gapped(kept, event, &gaps);
    }

    /// An event that is far from the base was put up with; after some there is another try.
    fn bear(&mut self, is_far: bool) {
        self.far += u16::from(is_far);
        if self.far >= self.patience {
            self.trials = 2;
            self.far = 0;
            self.patience = self.patience.saturating_mul(2);
        }
    }

    fn put_plain(&mut self, kept: &mut impl Keeping, bytes: &[u8]) {
        if BASE.contains(&bytes.len()) {
            kept.fit(bytes.len() + 2);
            put_token(kept, bytes.len() << 2 | PLAIN, bytes);
            let at = kept.end() - bytes.len();
            self.known.set_base(at, bytes.len());
        } else {
            put_token(kept, bytes.len() << 2 | PLAIN, bytes);
        }
    }

    fn put_gapped(&mut self, kept: &mut impl Keeping, event: &[u8], gaps: &Gaps) {
        put_number(kept, gaps.len() << 2 | GAPPED);
        let mut rest = event;
        for gap in gaps {
            for number in [gap.same, gap.fresh, gap.skipped] {
                put_number(kept, number);
            }
            let fresh = rest.get(gap.same..gap.same + gap.fresh);
            kept.put(fresh.unwrap_or_default());
            rest = rest.get(gap.same + gap.fresh..).unwrap_or_default();
        }
        if let [gap] = &gaps[..] {
            self.known.set_gap(gap.same, gap.skipped);
        }
    }
}

/// Length of the piece that `bytes` begin with: an event with the blank line that ends it and the
/// end of its chunk, or a first line that is too short to be of one.
fn piece(bytes: &[u8]) -> usize {
    for at in memchr_iter(b'\n', bytes) {
        if at < SIZE_LINE {
            return at + 1;
        }
        let Some([b'\n', behind @ ..] | [b'\r', b'\n', behind @ ..]) = bytes.get(at + 1..) else {
            continue;
        };
        // A chunk ends with it.
        let behind = behind.strip_prefix(b"\r\n").unwrap_or(behind);
        return bytes.len() - behind.len();
    }
    bytes.len()
}

/// Length of the line that these begin with, where it is short enough for a chunk's size.
fn size_line(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; SIZE_LINE]);
    let Some(first) = bytes.first_chunk() else {
        return 0;
    };
    // All of its bytes at once: the lowest that is zero has its highest bit alone set below.
    let others = u64::from_le_bytes(*first) ^ (ONES * u64::from(b'\n'));
    let ends = others.wrapping_sub(ONES) & !others & (ONES << 7);
    if ends == 0 {
        return 0;
    }
    ends.trailing_zeros() as usize / 8 + 1
}

/// The length of a [`size_line`].
fn short(length: usize) -> u8 {
    u8::try_from(length).unwrap_or(u8::MAX)
}

/// Where `event` is not like `base`: between two gaps both have the same strings, or there is `one`
/// gap, outside which they are alike.
fn gaps(base: &[u8], event: &[u8], one: Gap) -> Gaps {
    let mut gaps = Gaps::new();
    let (mut base, mut event) = (base, event);
    loop {
        let same = common(base, event);
        (base, event) = (tail(base, same), tail(event, same));
        if base.is_empty() && event.is_empty() {
            break;
        }
        // Both go on with the next string.
        let (fresh, skipped) = match (memchr(b'"', event), memchr(b'"', base)) {
            (Some(fresh), Some(skipped)) => (fresh, skipped),
            _ => (event.len(), base.len()),
        };
        (base, event) = (tail(base, skipped), tail(event, fresh));
        if gaps.len() == GAPS {
            return SmallVec::from_slice(&[one]);
        }
        gaps.push(Gap {
            same,
            fresh,
            skipped,
        });
    }
    let cost = |gaps: &[Gap]| gaps.iter().map(|gap| gap.fresh + 4).sum::<usize>();
    if cost(&gaps) < cost(&[one]) {
        gaps
    } else {
        SmallVec::from_slice(&[one])
    }
}

/// The one gap outside which they are alike.
fn gap(base: &[u8], event: &[u8]) -> Gap {
    let same = common(base, event);
    let (base, event) = (tail(base, same), tail(event, same));
    let behind = common_end(base, event);
    Gap {
        same,
        fresh: event.len() - behind,
        skipped: base.len() - behind,
    }
}

/// Bytes that are compared at once.
const STEP: usize = 16;

/// How many bytes both begin with.
fn common(one: &[u8], other: &[u8]) -> usize {
    let steps = one.chunks_exact(STEP).zip(other.chunks_exact(STEP));
    let whole = steps.take_while(|(one, other)| one == other).count() * STEP;
    let rest = tail(one, whole).iter().zip(tail(other, whole));
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// How many bytes both end with.
pub(super) fn common_end(one: &[u8], other: &[u8]) -> usize {
    let steps = one.rchunks_exact(STEP).zip(other.rchunks_exact(STEP));
    let whole = steps.take_while(|(one, other)| one == other).count() * STEP;
    let rest = front(one, whole)
        .iter()
        .rev()
        .zip(front(other, whole).iter().rev());
    whole + rest.take_while(|(one, other)| one == other).count()
}

/// All but the last `behind` bytes.
fn front(bytes: &[u8], behind: usize) -> &[u8] {
    let len = bytes.len().saturating_sub(behind);
    bytes.get(..len).unwrap_or_default()
}

/// How many bytes are before `behind` at the front of `bytes`, at most `most`.
fn end_of_gap(bytes: &[u8], behind: &[u8], most: usize) -> Option<usize> {
    // An event that came alone ends where it should.
    let rest = bytes.len().checked_sub(behind.len())?;
    if rest <= most && bytes.ends_with(behind) {
        return Some(rest);
    }
    let first = behind.first().copied().unwrap_or_default();
    let near = bytes.get(..=most).unwrap_or(bytes);
    memchr_iter(first, near).find(|at| tail(bytes, *at).starts_with(behind))
}

/// A token of this head and these bytes; a short one at once.
fn put_token(kept: &mut impl Keeping, head: usize, bytes: &[u8]) {
    let mut short = [0; 1 + NEAR];
    if let (Ok(head @ ..0x80), Some(room)) = (u8::try_from(head), short.get_mut(..=bytes.len())) {
        if let [first, rest @ ..] = room {
            *first = head;
            rest.copy_from_slice(bytes);
        }
        return kept.put(room);
    }
    put_number(kept, head);
    kept.put(bytes);
}

fn put_number(kept: &mut impl Keeping, mut number: usize) {
    let mut bytes = [0; NUMBER];
    let mut len = 0;
    for byte in &mut bytes {
        len += 1;
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        *byte = low | u8::from(number > 0) << 7;
        if number == 0 {
            break;
        }
    }
    kept.put(bytes.get(..len).unwrap_or_default());
}
