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
use super::sketch::{Sketch, Word};

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
    if pair.matched.is_sorted_by(|(_, one), (_, next)| one < next) {
        return Order::Same;
    }
    // A word that occurs twice could be either of them.
    let is_sure = |&&(i, j): &&(u16, u16)| !a.keys.is_twice(i) && !b.keys.is_twice(j);
    let matched: Vec<(u16, u16)> = pair.matched.iter().filter(is_sure).copied().collect();
    let all: Vec<u16> = matched.iter().map(|&(_, at)| at).collect();
    if is_sorted(&all) {
        return Order::Same;
    }
    let mut sorted = all.clone();
    sorted.sort_unstable();
    let moved = || all.iter().zip(&sorted).map(|(x, y)| x == y);
    let head = moved().take_while(|same| *same).count();
    let tail = moved().rev().take_while(|same| *same).count();
    let middle = matched.get(head..matched.len() - tail).unwrap_or_default();
    let is_whole = head == 0 && tail == 0;
    Sides { a, b, lexicon }.of_middle(middle, is_whole)
}

fn is_sorted(places: &[u16]) -> bool {
    places.windows(2).all(|two| two.first() < two.get(1))
}

struct Sides<'s> {
    a: &'s Sketch,
    b: &'s Sketch,
    lexicon: &'s Lexicon,
}

impl Sides<'_> {
    /// Of the places that are not in order, from the first to the last of them.
    fn of_middle(&self, middle: &[(u16, u16)], is_whole: bool) -> Order {
        let places: Vec<u16> = middle.iter().map(|&(_, at)| at).collect();
        let descent = places.windows(2).position(|two| two.first() > two.get(1));
        let (one, two) = middle.split_at(descent.map_or(0, |at| at + 1));
        let (tail_one, tail_two) = places.split_at(one.len());
        // Two blocks, and in `b` the second one comes first.
        let is_rotation =
            is_sorted(tail_one) && is_sorted(tail_two) && tail_two.last() < tail_one.first();
        if is_rotation {
            return self.of_blocks(one, two, is_whole);
        }
        // Two single words with one between them: A and x B.
        let ([first, inner @ .., last], true) = (middle, middle.len() == 3) else {
            return Order::Swapped;
        };
        let mended = [
            &[last.1][..],
            &inner.iter().map(|&(_, at)| at).collect::<Vec<_>>(),
            &[first.1],
        ];
        let joins = self.joins(self.a, first.0, last.0) && self.joins(self.b, last.1, first.1);
        if is_sorted(&mended.concat()) && joins {
            Order::Equals
        } else {
            Order::Swapped
        }
    }

    fn of_blocks(&self, one: &[(u16, u16)], two: &[(u16, u16)], is_whole: bool) -> Order {
        let (Some(head_one), Some(tail_one)) = (one.first(), one.last()) else {
            return Order::Swapped;
        };
        let (Some(head_two), Some(tail_two)) = (two.first(), two.last()) else {
            return Order::Swapped;
        };
        let joins_a = self.joins(self.a, tail_one.0, head_two.0);
        if joins_a && self.joins(self.b, tail_two.1, head_one.1) {
            return Order::Equals;
        }
        // One block opens a prompt and closes the other, with its preposition both times.
        let governed =
            |of: &Sketch, at: u16| of.keys.gist(at).is_some_and(|gist| gist.governor() != 0);
        let moves = |block: &[(u16, u16)], head: (u16, u16)| {
            block.len() <= ADJUNCT_MAX && governed(self.a, head.0) && governed(self.b, head.1)
        };
        if is_whole && (moves(one, *head_one) || moves(two, *head_two)) {
            return Order::Moved;
        }
        Order::Swapped
    }

    /// Are the words from one place to another equals, joined by `and` or a comma?
    fn joins(&self, of: &Sketch, from: u16, to: u16) -> bool {
        let words = of
            .words
            .get(usize::from(from)..=usize::from(to))
            .unwrap_or_default();
        let directed = |word: &Word| word.has(mark::BIND) && self.lexicon.is_directed(word.bind);
        words.iter().skip(1).any(|word| word.joined) && !words.iter().any(directed)
    }
}

/// Most content words of a part that may move as a whole.
const ADJUNCT_MAX: usize = 3;
