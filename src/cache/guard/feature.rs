//! What the trees see of a pair: numbers that do not depend on which prompt is first.
//!
//! ```text
//!  sketches, Pair, Order ──► [f32; FEATURES] ──► trees
//! ```
//!
//! Invariants
//! - I1 Symmetric: the features of (a, b) are those of (b, a).
//! - I2 The trees' file carries the hash of [`NAMES`]; trees for other names are refused.

use super::frame::Frame;
use super::lexicon::mark;
use super::order::Order;
use super::pair::{Pair, order_share};
use super::sketch::{Sketch, Tense, Word};
use super::veto::of;

/// Number of features.
pub const FEATURES: usize = 43;

/// Their names, in order.
pub const NAMES: [&str; FEATURES] = [
    "same_body",
    "same_whole",
    "shared",
    "jaccard",
    "contained",
    "left_max",
    "left_sum",
    "left_low",
    "left_high",
    "tie_same",
    "tie_sense",
    "tie_typo",
    "tie_joined",
    "tie_derived",
    "filler",
    "bound_low",
    "bound_high",
    "bound_place",
    "frame",
    "wh",
    "order",
    "order_share",
    "length",
    "content_low",
    "has_number",
    "persons",
    "tense",
    "modal",
    "siblings",
    "run",
    "sentences",
    "asks",
    "free",
    "governor",
    "past",
    "negated",
    "unknown",
    "soft",
    "owner",
    "moods",
    "shown",
    "vague",
    "ing",
];

/// The hash of the names.
pub(super) fn hash() -> u32 {
    crc32fast::hash(NAMES.join(",").as_bytes())
}

fn count(number: usize) -> f32 {
    u16::try_from(number).map_or(f32::MAX, f32::from)
}

fn low_high(x: f32, y: f32) -> (f32, f32) {
    (x.min(y), x.max(y))
}

fn flag(is: bool) -> f32 {
    f32::from(u8::from(is))
}

/// The features of a pair.
#[expect(clippy::too_many_lines, reason = "one entry a feature")]
pub(super) fn features(a: &Sketch, b: &Sketch, pair: &Pair, order: Order) -> [f32; FEATURES] {
    let counts = |word: &&Word| !word.has(mark::FILLER | mark::SOFT);
    let weight = |sketch: &Sketch, side: &[u16]| -> (f32, f32, usize) {
        let left = || of(sketch, side).filter(counts);
        let sum = left().map(Word::weight).sum();
        (
            sum,
            left().map(Word::weight).fold(0.0, f32::max),
            left().count(),
        )
    };
    let (sum_a, max_a, n_a) = weight(a, &pair.left[0]);
    let (sum_b, max_b, n_b) = weight(b, &pair.left[1]);
    let likes = Likes::of(a, b, pair);
    let shared = likes.weight;
    let part = |own: f32| {
        if shared + own > 0.0 {
            shared / (shared + own)
        } else {
            1.0
        }
    };
    let whole = shared + sum_a + sum_b;
    let (left_low, left_high) = low_high(count(n_a), count(n_b));
    let bound = |side: usize| pair.bound.get(side).map_or(0.0, |list| count(list.len()));
    let (bound_low, bound_high) = low_high(bound(0), bound(1));
    let fillers = |sketch: &Sketch, side: &[u16]| {
        of(sketch, side)
            .filter(|word| word.has(mark::FILLER))
            .count()
    };
    let content = |s: &Sketch| count(s.keys.content());
    let (content_low, _) = low_high(content(a), content(b));
    let (short, long) = low_high(count(a.keys.len() + 1), count(b.keys.len() + 1));
    let tie = |at: usize| pair.ties.get(at).copied().map_or(0.0, f32::from);
    let unknown = |sketch: &Sketch, side: &[u16]| {
        of(sketch, side)
            .filter(|word| !word.has(mark::KNOWN))
            .count()
    };
    let places = places(a, b, pair);
    [
        flag(a.body == b.body),
        flag(a.whole == b.whole),
        shared,
        if whole > 0.0 { shared / whole } else { 1.0 },
        part(sum_a).min(part(sum_b)),
        max_a.max(max_b),
        sum_a + sum_b,
        left_low,
        left_high,
        tie(0),
        tie(1),
        tie(2),
        tie(3),
        tie(4),
        count(fillers(a, &pair.left[0]) + fillers(b, &pair.left[1])),
        bound_low,
        bound_high,
        places,
        frame(a, b),
        flag(a.wh == b.wh),
        match order {
            Order::Same => 0.0,
            Order::Equals => 1.0,
            Order::Moved => 2.0,
            Order::Swapped => 3.0,
        },
        // Equals that changed places stand where they stood.
        if matches!(order, Order::Equals | Order::Moved) {
            count(pair.matched.len()) / content(a).max(content(b)).max(1.0)
        } else {
            order_share(a, b, pair)
        },
        short / long,
        content_low,
        flag(a.has_number || b.has_number),
        count((a.persons ^ b.persons).count_ones() as usize),
        tense(a, b),
        flag(a.modal != b.modal),
        siblings(a, b, pair),
        run(pair),
        count(usize::from(a.sentences.abs_diff(b.sentences))),
        flag(a.asks != b.asks),
        count(usize::from(a.free.abs_diff(b.free))),
        if order == Order::Equals {
            0.0
        } else {
            count(likes.governor)
        },
        count(likes.past),
        flag(a.negated != b.negated),
        count(unknown(a, &pair.left[0]) + unknown(b, &pair.left[1])),
        count(soft(a, &pair.left[0]) + soft(b, &pair.left[1])),
        count(owners(a, &pair.bound[0]) + owners(b, &pair.bound[1])),
        count((a.moods ^ b.moods).count_ones() as usize),
        count(usize::from(a.shown.abs_diff(b.shown))),
        count(usize::from(a.vague.abs_diff(b.vague))),
        count(likes.ing),
    ]
}

/// Of the words that have their likes.
struct Likes {
    /// What those of the first prompt say together.
    weight: f32,
    /// How many of them are governed by other words than their likes,
    governor: usize,
    /// are past forms where their likes are not, or the other way round,
    past: usize,
    /// are `ing` forms where their likes are not, or the other way round.
    ing: usize,
}

impl Likes {
    fn of(a: &Sketch, b: &Sketch, pair: &Pair) -> Self {
        let mut weight = 0;
        let (mut governor, mut past, mut ing) = (0, 0, 0);
        for &(i, j) in &pair.matched {
            let (Some(x), Some(y)) = (a.keys.gist(i), b.keys.gist(j)) else {
                continue;
            };
            weight += usize::from(x.weight());
            if x != y {
                governor += usize::from(x.governor() != y.governor());
                past += usize::from(x.is_past() != y.is_past());
                ing += usize::from(x.is_ing() != y.is_ing());
            }
        }
        Self {
            weight: count(weight) / 16.0,
            governor,
            past,
            ing,
        }
    }
}

fn soft(sketch: &Sketch, side: &[u16]) -> usize {
    of(sketch, side).filter(|word| word.has(mark::SOFT)).count()
}

fn owners(sketch: &Sketch, side: &[u16]) -> usize {
    let owns = |word: &&Word| {
        matches!(
            sketch.of(word),
            "my" | "your" | "his" | "her" | "our" | "their" | "its"
        )
    };
    of(sketch, side).filter(owns).count()
}

/// Binding words without a like that are neither pronouns nor joining words.
fn places(a: &Sketch, b: &Sketch, pair: &Pair) -> f32 {
    const PLACES: [&str; 12] = [
        "of", "to", "in", "on", "at", "for", "with", "by", "from", "about", "into", "as",
    ];
    let side = |sketch: &Sketch, side: &[u16]| {
        of(sketch, side)
            .filter(|word| !PLACES.contains(&sketch.of(word)))
            .count()
    };
    count(side(a, &pair.bound[0]) + side(b, &pair.bound[1]))
}

/// 1 for the same dress, 0.5 where one has none, else 0.
fn frame(a: &Sketch, b: &Sketch) -> f32 {
    if a.frames == b.frames {
        1.0
    } else if a.frames.contains(&Frame::Bare) || b.frames.contains(&Frame::Bare) {
        0.5
    } else {
        0.0
    }
}

fn tense(a: &Sketch, b: &Sketch) -> f32 {
    if a.tense == b.tense {
        0.0
    } else if a.tense == Tense::None || b.tense == Tense::None {
        0.5
    } else {
        1.0
    }
}

/// Words left on both sides that are of one kind: two animals, two illnesses.
fn siblings(a: &Sketch, b: &Sketch, pair: &Pair) -> f32 {
    let of_class = |x: &Word, (other, left): (&Sketch, &[u16])| {
        of(other, left).any(|y| x.class != 0 && x.class == y.class)
    };
    let (left_a, left_b) = (&pair.left[0], &pair.left[1]);
    let in_a = of(a, left_a).filter(|x| of_class(x, (b, left_b))).count();
    let in_b = of(b, left_b).filter(|y| of_class(y, (a, left_a))).count();
    count(in_a.min(in_b))
}

/// The longest row of words without a like.
fn run(pair: &Pair) -> f32 {
    let longest = |places: &[u16]| {
        let mut best = usize::from(!places.is_empty());
        let mut now = best;
        for two in places.windows(2) {
            let next = matches!(two, [x, y] if x + 1 == *y);
            now = if next { now + 1 } else { 1 };
            best = best.max(now);
        }
        best
    };
    count(longest(&pair.left[0]).max(longest(&pair.left[1])))
}
