//! Who does what to whom: do the words that two prompts share stand in one order?
//!
//! ```text
//!  in india how to learn java  |  how to learn java in india      an adjunct moved: fine
//!  cats and dogs               |  dogs and cats                   equals changed places: fine
//!  does a lion eat a tiger     |  does a tiger eat a lion         roles changed: different
//! ```
//!
//! Invariants
//! - I1 One order is [`Order::Same`]; what moved and is not known to be harmless is
//!   [`Order::Swapped`].

use super::lexicon::{Lexicon, mark};
use super::pair::Pair;
use super::sketch::Sketch;

/// How the shared words stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Order {
    Same,
    /// Sides of an `and`, or of a question of difference.
    Equals,
    /// A part with its preposition went from one end to the other.
    Moved,
    Swapped,
}

/// How the words that `pair` matched stand in `b` compared to `a`.
pub(super) fn order(a: &Sketch, b: &Sketch, pair: &Pair, lexicon: &Lexicon) -> Order {
    // A word that occurs twice could be either of them.
    let key = |of: &Sketch, at: u16| of.words.get(usize::from(at)).map_or(0, |word| word.key);
    let twice = |of: &Sketch, at: u16| {
        let same = |&&other: &&u16| key(of, other) == key(of, at);
        of.order.iter().filter(same).nth(1).is_some()
    };
    let is_sure = |&&(i, j): &&(u16, u16)| !twice(a, i) && !twice(b, j);
    let in_order = pair
        .matched
        .windows(2)
        .all(|two| two.first().map(|x| x.1) < two.get(1).map(|x| x.1));
    if in_order {
        return Order::Same;
    }
    let matched: Vec<(u16, u16)> = pair.matched.iter().filter(is_sure).copied().collect();
    let places: Vec<u16> = matched.iter().map(|&(_, at)| at).collect();
    let is_sorted = |part: &[u16]| part.windows(2).all(|two| two.first() < two.get(1));
    if is_sorted(&places) {
        return Order::Same;
    }
    // The first descent cuts two blocks; in `b` the second one comes first.
    let mut sorted = places.clone();
    sorted.sort_unstable();
    let head = places
        .iter()
        .zip(&sorted)
        .take_while(|(x, y)| x == y)
        .count();
    let tail = places
        .iter()
        .rev()
        .zip(sorted.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let middle = places
        .get(head..places.len().saturating_sub(tail))
        .unwrap_or_default();
    let descent = middle
        .windows(2)
        .position(|two| two.first() > two.get(1))
        .map_or(0, |at| at + 1);
    let (one, two) = middle.split_at(descent.min(middle.len()));
    let is_rotation = is_sorted(one) && is_sorted(two) && two.last() < one.first();
    let between = |of: &Sketch, from: u16, to: u16| {
        let words = of
            .words
            .get(usize::from(from)..=usize::from(to))
            .unwrap_or_default();
        words.iter().skip(1).any(|word| word.joined)
            && words.iter().all(|word| !points(word, lexicon))
    };
    if is_rotation {
        let of_a = |at: usize| matched.get(head + at).map_or(0, |&(at, _)| at);
        let last_b = two.last().copied().unwrap_or(0);
        let first_b = one.first().copied().unwrap_or(0);
        let edge_a = (of_a(descent.saturating_sub(1)), of_a(descent));
        let joins = between(a, edge_a.0, edge_a.1) && between(b, last_b, first_b);
        if joins {
            return Order::Equals;
        }
        let ends = head == 0 && tail == 0;
        let governed = |of: &Sketch, at: u16| {
            of.words
                .get(usize::from(at))
                .is_some_and(|word| word.governor != 0)
        };
        // One block opens a prompt and closes the other, with its preposition both times.
        let moved_one = governed(a, of_a(0)) && governed(b, first_b);
        let moved_two =
            governed(a, of_a(descent)) && governed(b, two.first().copied().unwrap_or(0));
        if ends && (moved_one && one.len() <= 3 || moved_two && two.len() <= 3) {
            return Order::Moved;
        }
        return Order::Swapped;
    }
    // Two single words with others between them: A and x B.
    if let ([first, inner @ .., last], true) = (middle, middle.len() > 1) {
        let mut mended = Vec::with_capacity(middle.len());
        mended.push(*last);
        mended.extend_from_slice(inner);
        mended.push(*first);
        let from = matched.get(head).map_or(0, |&(at, _)| at);
        let to = pair
            .matched
            .get(head + middle.len() - 1)
            .map_or(0, |&(at, _)| at);
        if is_sorted(&mended)
            && inner.len() <= 1
            && between(a, from, to)
            && between(b, *last, *first)
        {
            return Order::Equals;
        }
    }
    Order::Swapped
}

/// Does this word give its neighbours unlike parts? `than`, `from`, `to`, …
fn points(word: &super::sketch::Word, lexicon: &Lexicon) -> bool {
    word.has(mark::BIND) && lexicon.is_directed(word.bind)
}
