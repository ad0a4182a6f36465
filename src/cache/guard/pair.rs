//! Lays two sketches side by side: which words have their like, and how.
//!
//! ```text
//!  a  buy    cheap   flights  from Paris  to Rome
//!     │same    ┆        │exact      │exact    │exact
//!  b  purchase         flights  to  Paris from Rome       left: cheap | from/to
//! ```
//!
//! Invariants
//! - I1 The exact likes of `lay(a, b)` are those of `lay(b, a)`, sides changed. Which of two
//!   equally near words a word is tied to depends on the side: the guard lays a pair in one order.
//! - I2 Its work grows with the words, not with their product: what has no exact like is at most
//!   [`LEFT_MAX`] words a side, or the prompts are different.

use super::cut::Kind;
use super::keys::Gist;
use super::lexicon::mark;
use super::sketch::{Sketch, Word};

/// Most words of a side without an exact like.
pub(super) const LEFT_MAX: usize = 16;

/// How words that differ belong together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tie {
    /// They mean the same nearly everywhere.
    Same,
    /// Their commonest senses are one.
    Sense,
    /// One is a misspelling of the other.
    Typo,
    /// One is the other in two words.
    Joined,
    /// They share their stem.
    Derived,
}

/// Two sketches side by side.
#[derive(Debug, Default)]
pub(super) struct Pair {
    /// Places of words that are exactly or nearly the same, in the order of `a`: at least one of
    /// the two is a content word (`to` binds, the identifier `tO` does not).
    pub(super) matched: Vec<(u16, u16)>,
    /// Of these, the ones that are only nearly the same.
    pub(super) tied: Vec<(u16, u16)>,
    /// Content words without a like.
    pub(super) left: [Vec<u16>; 2],
    /// Binding words without a like.
    pub(super) bound: [Vec<u16>; 2],
    /// How many ties of each kind: Same, Sense, Typo, Joined, Derived.
    pub(super) ties: [u8; 5],
    /// How many words both begin with.
    pub(super) head: usize,
    /// More than [`LEFT_MAX`] words of a side had no exact like.
    pub(super) is_far: bool,
}

/// Lays `a` and `b` side by side.
pub(super) fn lay(a: &Sketch, b: &Sketch) -> Pair {
    let mut pair = Pair::default();
    if !pair.exact(a, b) {
        pair.is_far = true;
        return pair;
    }
    if !pair.left[0].is_empty() && !pair.left[1].is_empty() {
        pair.join(a, b);
        pair.tie(a, b);
    }
    // Those of the head are in order, and before the rest.
    let head = pair
        .matched
        .partition_point(|&(at, _)| usize::from(at) < pair.head);
    if let Some(rest) = pair.matched.get_mut(head..) {
        rest.sort_unstable();
    }
    for left in &mut pair.left {
        left.sort_unstable();
    }
    pair
}

/// Is the word at `at` a content word?
fn is_content(of: &Sketch, at: u16) -> bool {
    of.keys.gist(at).is_some_and(Gist::is_content)
}

/// Has `one` so many more words than `other` that too many of them must be without a like?
fn is_longer(one: &Sketch, other: &Sketch) -> bool {
    let most = other.keys.len() + LEFT_MAX;
    one.keys.len() > most && one.keys.content() > most
}

impl Pair {
    /// What both begin with has its like in its own place, the rest is walked in the order of its
    /// keys: equal ones have their likes in the order in which they stand, here and there.
    #[expect(
        clippy::many_single_char_names,
        reason = "sides a and b, x and y of them, at i and j"
    )]
    fn exact(&mut self, a: &Sketch, b: &Sketch) -> bool {
        if is_longer(a, b) || is_longer(b, a) {
            return false;
        }
        let both = a.keys.all().iter().zip(b.keys.all());
        self.head = both.take_while(|(x, y)| x == y).count();
        self.matched.reserve(a.keys.len().min(b.keys.len()));
        let places = (0..).zip(a.keys.gists().zip(b.keys.gists()));
        let content = places
            .take(self.head)
            .filter(|(_, (one, other))| one.is_content() || other.is_content());
        self.matched.extend(content.map(|(at, _)| (at, at)));
        if self.head == a.keys.len().max(b.keys.len()) {
            return true;
        }
        let (mut of_a, mut of_b) = (a.keys.sorted(self.head), b.keys.sorted(self.head));
        let (mut x, mut y) = (of_a.next(), of_b.next());
        loop {
            match (x, y) {
                (Some((i, one)), Some((j, other))) if one == other => {
                    if is_content(a, i) || is_content(b, j) {
                        self.matched.push((i, j));
                    }
                    (x, y) = (of_a.next(), of_b.next());
                }
                (Some((i, one)), y) if y.is_none_or(|(_, other)| one < other) => {
                    self.alone(0, (a, i));
                    x = of_a.next();
                }
                (_, Some((j, _))) => {
                    self.alone(1, (b, j));
                    y = of_b.next();
                }
                _ => break,
            }
            if self.left.iter().any(|left| left.len() > LEFT_MAX) {
                return false;
            }
        }
        true
    }

    fn alone(&mut self, side: usize, (of, at): (&Sketch, u16)) {
        let list = if is_content(of, at) {
            &mut self.left
        } else {
            &mut self.bound
        };
        if let Some(list) = list.get_mut(side) {
            list.push(at);
        }
    }

    /// `web site` and `website`.
    fn join(&mut self, a: &Sketch, b: &Sketch) {
        for (one, two, side) in [(a, b, 0), (b, a, 1)] {
            let [left_a, left_b] = &self.left;
            let (whole, parts) = if side == 0 {
                (left_a, left_b)
            } else {
                (left_b, left_a)
            };
            let found = whole.iter().find_map(|&at| {
                let text = one.of(one.words.get(usize::from(at))?);
                parts.iter().find_map(|&first| {
                    let head = two.of(two.words.get(usize::from(first))?);
                    let tail = two.of(two.words.get(usize::from(first) + 1)?);
                    let rest = text.strip_prefix(head)?;
                    let next = parts.contains(&(first + 1));
                    (next && same_stem(rest, tail)).then_some((at, first))
                })
            });
            let Some((at, first)) = found else { continue };
            let [left_a, left_b] = &mut self.left;
            let (whole, parts) = if side == 0 {
                (left_a, left_b)
            } else {
                (left_b, left_a)
            };
            whole.retain(|&other| other != at);
            parts.retain(|&other| other != first && other != first + 1);
            let two = if side == 0 { (at, first) } else { (first, at) };
            self.matched.push(two);
            self.tied.push(two);
            self.count(Tie::Joined);
        }
    }

    fn count(&mut self, tie: Tie) {
        if let Some(count) = self.ties.get_mut(tie as usize) {
            *count += 1;
        }
    }

    /// Ties what is left, the strongest ties first.
    fn tie(&mut self, a: &Sketch, b: &Sketch) {
        for tie in [Tie::Same, Tie::Typo, Tie::Sense, Tie::Derived] {
            let [left_a, left_b] = &mut self.left;
            left_a.retain(|&i| {
                let Some(x) = a.words.get(usize::from(i)) else {
                    return true;
                };
                let like = left_b.iter().position(|&j| {
                    b.words
                        .get(usize::from(j))
                        .is_some_and(|y| is_tied(tie, (a, x), (b, y)))
                });
                let Some(like) = like else { return true };
                let j = left_b.remove(like);
                self.matched.push((i, j));
                self.tied.push((i, j));
                if let Some(count) = self.ties.get_mut(tie as usize) {
                    *count += 1;
                }
                false
            });
        }
    }
}

fn is_tied(tie: Tie, (a, x): (&Sketch, &Word), (b, y): (&Sketch, &Word)) -> bool {
    if x.kind != Kind::Word || y.kind != Kind::Word {
        return false;
    }
    let are_units = x.has(mark::UNIT | mark::DATE) && y.has(mark::UNIT | mark::DATE);
    match tie {
        Tie::Same => {
            let shared = |group: &u16| *group != 0 && y.same.contains(group);
            !are_units && x.same.iter().any(shared)
        }
        Tie::Sense => {
            let named = mark::NAMING | mark::CAPITAL;
            x.sense != 0 && x.sense == y.sense && !x.has(named) && !y.has(named) && !are_units
        }
        Tie::Typo => is_typo(a.of(x), b.of(y), (x, y)),
        Tie::Derived => {
            let named = mark::NAMING | mark::CAPITAL | mark::UNIT | mark::DATE;
            !x.has(named) && !y.has(named) && same_stem(a.of(x), b.of(y))
        }
        Tie::Joined => false,
    }
}

/// Is one the other mistyped? Both known words are two words, and so are both unknown ones
/// unless letters only changed places or one was typed twice.
#[expect(clippy::many_single_char_names, reason = "two words, letter by letter")]
fn is_typo(a: &str, b: &str, (x, y): (&Word, &Word)) -> bool {
    let known = (x.has(mark::KNOWN), y.has(mark::KNOWN));
    if known == (true, true) || !a.is_ascii() || !b.is_ascii() {
        return false;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len().min(b.len()) < 4 || a.len().max(b.len()) < 5 || a.first() != b.first() {
        return false;
    }
    let same = a.iter().zip(b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (
        a.get(same..).unwrap_or_default(),
        b.get(same..).unwrap_or_default(),
    );
    let swapped = match (rest_a, rest_b) {
        ([p, q, a @ ..], [r, s, b @ ..]) => p == s && q == r && a == b,
        _ => false,
    };
    if swapped {
        return true;
    }
    let (long, short) = if a.len() > b.len() {
        (rest_a, rest_b)
    } else {
        (rest_b, rest_a)
    };
    let dropped = long.split_first().is_some_and(|(_, rest)| rest == short) && a.len() != b.len();
    let doubled = dropped && long.first() == a.get(same.wrapping_sub(1));
    if known == (false, false) {
        return doubled;
    }
    let replaced = a.len() == b.len() && a.len() >= 6 && rest_a.get(1..) == rest_b.get(1..);
    // A letter more or less at the very end is grammar or another name.
    dropped && short.len() + 1 == long.len() && !short.is_empty() || doubled || replaced
}

/// Do two words share a stem of five letters, with short endings?
pub(super) fn same_stem(a: &str, b: &str) -> bool {
    if a == b {
        return true;
    }
    if !a.is_ascii() || !b.is_ascii() {
        return false;
    }
    let same = a.bytes().zip(b.bytes()).take_while(|(x, y)| x == y).count();
    let ending = |word: &str| {
        let end = word.get(same..).unwrap_or_default();
        ENDINGS.contains(&end)
    };
    same >= 5 && ending(a) && ending(b)
}

/// Endings that leave a word's topic alone.
const ENDINGS: [&str; 34] = [
    "", "s", "es", "ed", "d", "ing", "e", "er", "or", "r", "ers", "ors", "ion", "ions", "tion",
    "ation", "ations", "ment", "ments", "ly", "al", "ally", "ity", "y", "ies", "ic", "ical", "ive",
    "ant", "ance", "ence", "ent", "able", "ist",
];

/// The length of the longest run of words, gaps allowed, that both have in one order, over the
/// longer of the two. Long middles are looked at in part.
pub(super) fn order_share(a: &Sketch, b: &Sketch, pair: &Pair) -> f32 {
    const MIDDLE_MAX: usize = 40;
    let (x, y) = (a.keys.all(), b.keys.all());
    let longer = x.len().max(y.len());
    if longer == 0 {
        return 1.0;
    }
    let place = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
    let alike =
        |i: usize, j: usize| x.get(i) == y.get(j) || pair.tied.contains(&(place(i), place(j)));
    let shorter = x.len().min(y.len());
    let rest = (pair.head..shorter).take_while(|&at| alike(at, at));
    let head = pair.head + rest.count();
    let ends = |back: usize| alike(x.len() - 1 - back, y.len() - 1 - back);
    let tail = (0..shorter - head).take_while(|&back| ends(back)).count();
    let end = |len: usize| (len - tail).min(head + MIDDLE_MAX);
    let mut row = [0_u8; MIDDLE_MAX + 1];
    for i in head..end(x.len()) {
        let mut diagonal = 0;
        for (j, cell) in (head..end(y.len())).zip(row.iter_mut().skip(1)) {
            let above = *cell;
            if alike(i, j) {
                *cell = diagonal + 1;
            }
            diagonal = above;
        }
        let mut best = 0;
        for cell in &mut row {
            best = best.max(*cell);
            *cell = best;
        }
    }
    let middle = usize::from(row.iter().copied().max().unwrap_or(0));
    let count = |number: usize| f32::from(u16::try_from(number).unwrap_or(u16::MAX));
    count(head + tail + middle) / count(longer)
}
