//! What an entry is found by when nobody asked the same: the meaning of its last text.
//!
//! ```text
//!   last text ─► barred? ─► Meaning { vector, sketch } ─► partition: the nearest eight
//!                                                             └─► alike? each ─► the surest
//! ```
//!
//! Invariants
//! - M1 Only what the guard takes for the same is ever [`alike`]; whatever is in doubt, or was made
//!   by another version of table or guard, is not.
//! - M2 An entry of which an audit found that its answer was another one is [demoted](
//!   Meaning::demote): it is found by its own key alone from then on, by all shards at once.
//! - M3 There is no empty partition.
//! - M4 Vectors that say nothing about each other are in [different partitions](apart).

use super::embed::{self, Placed, Scratch, Vector};
use super::guard::{Guard, Point, Sketch, Verdict};
use super::key::{Fold, Key};
use super::near::{FOUND_MAX, Found, Near, Search};
use crate::config::cache::Threshold;
use ahash::AHashMap;
use std::fmt;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Up to this life of entries, words of time ("today") do no harm.
pub const FRESH: Duration = Duration::from_secs(60);

/// Bytes that a shard holds for an entry in a partition with others: its numbers, signs, length
/// and key, in vectors that are half full at worst, and its place in the table.
pub const BESIDE: usize = 768;

/// The same for the first of a partition.
pub const BESIDE_FIRST: usize = 1664;

/// What a text says, as far as it can be compared.
pub struct Meaning {
    vector: Vector,
    sketch: Sketch,
    /// Where the vector is from: [`embed::VERSION`], or [`Placed::space`].
    space: u64,
    is_demoted: AtomicBool,
}

impl fmt::Debug for Meaning {
    /// Nothing of a prompt is ever shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meaning").finish_non_exhaustive()
    }
}

impl Meaning {
    /// Of `text`, the answer to which lives as long as `ttl`. `None`: it is not one to be compared.
    pub fn of(text: &str, ttl: Duration, scratch: &mut Scratch) -> Option<Self> {
        let guard = Guard::builtin();
        let sketch = guard.admit(text, ttl <= FRESH).ok()?;
        let vector = embed::builtin().embed(text, scratch)?;
        (!sketch.is_long()).then_some(Self {
            vector,
            sketch,
            space: embed::VERSION,
            is_demoted: AtomicBool::new(false),
        })
    }

    /// The same, found by a provider's vector of the text in place of the built-in one. The text
    /// is one to be compared all the same: the guard was measured on no others.
    #[must_use]
    pub fn placed(self, placed: Placed) -> Self {
        Self {
            vector: placed.vector,
            space: placed.space,
            ..self
        }
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() - size_of::<Sketch>() + self.sketch.bytes()
    }

    /// M2; whether it was not before.
    pub fn demote(&self) -> bool {
        !self.is_demoted.swap(true, Ordering::Relaxed)
    }

    /// See [`Meaning::demote`].
    pub fn is_demoted(&self) -> bool {
        self.is_demoted.load(Ordering::Relaxed)
    }
}

/// How sure it is that the answer to one serves the other, 0 to 1; `None`: not as sure as
/// `threshold` wants (M1).
pub fn alike(one: &Meaning, other: &Meaning, threshold: Threshold) -> Option<f32> {
    let (point, least) = match threshold {
        Threshold::Auto | Threshold::Strict => (Point::Strict, 0),
        Threshold::Balanced => (Point::Balanced, 0),
        Threshold::At(parts) => (Point::Balanced, parts),
    };
    if one.space != other.space || other.is_demoted() {
        return None;
    }
    let guard = Guard::builtin();
    let p = match guard.verdict(&one.sketch, &other.sketch, point) {
        Verdict::Same { p } => p,
        Verdict::Doubt { p } if matches!(threshold, Threshold::At(_)) => p,
        Verdict::Doubt { .. } | Verdict::Different { .. } => return None,
    };
    (guard.fault().is_none() && f64::from(p) * 10_000.0 >= f64::from(least)).then_some(p)
}

/// Of `others`, at most [`FOUND_MAX`], the one of which it is surest that its answer serves
/// `meaning`, and how sure; of equals the first.
///
/// They are cold, all of them: what is read of each is asked for before the first is judged.
pub fn surest<'m, T: Copy>(
    meaning: &Meaning,
    others: impl Iterator<Item = (T, &'m Meaning)>,
    threshold: Threshold,
) -> Option<(f32, T)> {
    let mut all = [None; FOUND_MAX];
    let mut read = 0;
    for (slot, (key, other)) in all.iter_mut().zip(others) {
        read |= other.sketch.touch();
        *slot = Some((key, other));
    }
    black_box(read);
    let mut best: Option<(f32, T)> = None;
    for (key, other) in all.into_iter().flatten() {
        if let Some(sure) = alike(meaning, other, threshold)
            && best.is_none_or(|(best, _)| sure > best)
        {
            best = Some((sure, key));
            if sure >= 1.0 {
                break; // no other can be surer
            }
        }
    }
    best
}

/// The part of `partition` for vectors of `space` (M4).
pub fn apart(partition: &Key, space: u64) -> Key {
    let mut fold = Fold::new("partition of a space");
    fold.key(partition);
    fold.number(space);
    fold.finish()
}

/// Reads the tables that are compiled in, so that no request waits for it: some 10 ms.
pub fn warm_up() {
    let _vectors = embed::builtin();
    let _guard = Guard::builtin();
}

/// The partitions of a shard.
#[derive(Debug, Default)]
pub struct Partitions {
    all: AHashMap<Key, Near<Key>>,
    search: Search,
    found: Vec<Found<Key>>,
    /// Memory for [`Meaning::of`].
    pub scratch: Scratch,
}

impl Partitions {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Bytes that a shard holds for an entry that would be in `partition`.
    pub fn beside(&self, partition: &Key) -> usize {
        if self.all.contains_key(partition) {
            BESIDE
        } else {
            BESIDE_FIRST
        }
    }

    /// The entry under `key` is found in `partition` from here on.
    pub fn add(&mut self, partition: Key, key: Key, meaning: &Meaning) {
        if meaning.is_demoted() {
            return;
        }
        let near = self.all.entry(partition);
        let near = near.or_insert_with(|| Near::new(embed::DIMS));
        near.insert(key, &meaning.vector.dims);
        if near.is_empty() {
            self.all.remove(&partition); // M3; a vector is never zero
        }
    }

    /// It is not any more.
    pub fn remove(&mut self, partition: &Key, key: &Key) {
        if let Some(near) = self.all.get_mut(partition)
            && near.remove(*key)
            && near.is_empty()
        {
            self.all.remove(partition); // M3
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.all.clear();
    }

    /// Begins a search for the entries of `partition` that are nearest to `meaning`, where that
    /// would take too long at once: [`Partitions::go_on`] until it is over, then
    /// [`Partitions::end`]. `None`: [`Partitions::nearest`] is quick enough.
    pub fn begin(&mut self, partition: &Key, meaning: &Meaning) -> Option<Box<Search>> {
        let near = self.all.get(partition).filter(|near| near.is_large())?;
        let mut search = Box::new(std::mem::take(&mut self.search));
        near.begin(&meaning.vector.dims, &mut search);
        Some(search)
    }

    /// Goes on with it for up to 100 µs; whether it is over.
    pub fn go_on(&self, partition: &Key, search: &mut Search) -> bool {
        let near = self.all.get(partition);
        near.is_none_or(|near| near.step(search))
    }

    /// What it came to: as [`Partitions::nearest`].
    pub fn end(&mut self, partition: &Key, mut search: Box<Search>) -> &[Found<Key>] {
        self.found.clear();
        if let Some(near) = self.all.get(partition) {
            near.end(&mut search, &mut self.found);
        }
        self.search = *search; // its memory is used again
        &self.found
    }

    /// The entries of `partition` that are nearest to `meaning`, nearest first.
    pub fn nearest(&mut self, partition: &Key, meaning: &Meaning) -> &[Found<Key>] {
        self.found.clear();
        if let Some(near) = self.all.get(partition) {
            near.nearest(&meaning.vector.dims, &mut self.search, &mut self.found);
        }
        &self.found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn meaning(text: &str) -> Meaning {
        Meaning::of(text, HOUR, &mut Scratch::default()).unwrap()
    }

    fn key(name: &str) -> Key {
        let mut fold = Fold::new("test");
        fold.text(name);
        fold.finish()
    }

    fn same(a: &str, b: &str, threshold: Threshold) -> bool {
        alike(&meaning(a), &meaning(b), threshold).is_some()
    }

    /// Goal: M1 at each threshold: what is vetoed is not alike however low it is, what is written
    /// alike is however high.
    #[test]
    fn the_guard_decides() {
        let all = [
            Threshold::Auto,
            Threshold::Strict,
            Threshold::Balanced,
            Threshold::At(5000),
            Threshold::At(10_000),
        ];
        for threshold in all {
            let is = |a, b| same(a, b, threshold);
            assert!(is(
                "What is the capital of France?",
                "what is the capital of france"
            ));
            for other in [
                "What is the capital of Germany?",
                "What is not the capital of France?",
            ] {
                assert!(
                    !is("What is the capital of France?", other),
                    "{threshold:?}"
                );
            }
            assert!(!is("Who won in 2023?", "Who won in 2024?"));
        }
    }

    /// Goal: of those that are the same, the surest is found, the first of equals. Method: one
    /// that differs, one in other words, two in the same words.
    #[test]
    fn the_surest_is_found() {
        let texts = [
            "How do I boil two eggs?",
            "What is the best way to boil an egg?",
            "Please, how do I boil an egg?",
            "how do I boil an egg",
        ];
        let asked = meaning("How do I boil an egg?");
        let of = |all: &[&str]| {
            let all: Vec<Meaning> = all.iter().map(|text| meaning(text)).collect();
            surest(&asked, all.iter().enumerate(), Threshold::Balanced)
        };
        assert_eq!(of(&texts), Some((1.0, 2)));
        assert_eq!(of(&[texts[3], texts[2]]), Some((1.0, 0)));
        let (sure, at) = of(&texts[..2]).unwrap();
        assert!(at == 1 && sure < 1.0, "{sure}");
        assert_eq!(of(&texts[..1]), None);
        assert_eq!(of(&[]), None);
    }

    /// Goal: M1 and M2: another version, and what was demoted, are like nothing.
    #[test]
    fn what_is_in_doubt_is_not_alike() {
        let text = "What is the capital of France?";
        let (one, mut other) = (meaning(text), meaning(text));
        assert!(alike(&one, &other, Threshold::Strict).is_some());
        other.space += 1;
        assert_eq!(alike(&one, &other, Threshold::Strict), None);
        let other = meaning(text);
        assert!(other.demote() && !other.demote());
        assert_eq!(alike(&one, &other, Threshold::Balanced), None);
    }

    /// Goal: what is never compared; words of time only where answers live for a minute.
    #[test]
    fn some_texts_have_no_meaning() {
        let of = |text: &str, ttl| Meaning::of(text, ttl, &mut Scratch::default()).is_some();
        assert!(!of("", HOUR) && !of("???…", HOUR));
        assert!(!of(&"word ".repeat(600), HOUR));
        assert!(!of("What is the weather in Rome today?", HOUR));
        assert!(of("What is the weather in Rome today?", FRESH));
    }

    /// Goal: partitions are apart, and none is empty.
    #[test]
    fn partitions_come_and_go() {
        let mut all = Partitions::default();
        let (here, there) = (key("here"), key("there"));
        let text = meaning("How do I boil an egg?");
        assert_eq!(all.beside(&here), BESIDE_FIRST);
        all.add(here, key("a"), &text);
        all.add(here, key("b"), &meaning("How do I fry an egg?"));
        all.add(there, key("c"), &text);
        assert_eq!(all.beside(&here), BESIDE);
        let found = all.nearest(&here, &text);
        assert_eq!(found.first().map(|found| found.key), Some(key("a")));
        assert_eq!(found.len(), 2);
        all.remove(&there, &key("a"));
        all.remove(&there, &key("c"));
        assert_eq!(all.len(), 1);
        assert!(all.nearest(&there, &text).is_empty());
        let gone = meaning("How do I poach an egg?");
        gone.demote();
        all.add(there, key("d"), &gone);
        assert_eq!(all.len(), 1);
    }

    /// Goal: what is charged for an entry is what a shard holds for it, at most.
    #[test]
    fn the_charge_is_enough() {
        for entries in [1, 2, 3, 5, 9, 40, 129, 257, 600] {
            let mut near = Near::new(embed::DIMS);
            let vector = meaning("How do I boil an egg?").vector;
            for index in 0..entries {
                near.insert(key(&index.to_string()), &vector.dims);
            }
            let slot = 2 * (size_of::<Key>() + size_of::<Near<Key>>() + 1);
            let charged = BESIDE_FIRST + (entries - 1) * BESIDE;
            assert!(
                near.bytes() + slot <= charged,
                "{entries}: {}",
                near.bytes()
            );
        }
    }
}
