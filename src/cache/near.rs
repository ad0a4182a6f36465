//! The vectors of one partition, and which eight of them are nearest to another.
//!
//! ```text
//!   block of 256 entries     signs                          numbers             keys
//!     entry 0                1 bit a number, of the         8 bits a number
//!     entry 1                vector after a turn,
//!     …                      eight side by side
//!                            └─ how many differ? ─► the 512 best ─► dot product ─► the 8 best
//!                               skipped for small partitions: dot product of all
//! ```
//!
//! Up to [`EXACT_MAX`] numbers, all entries are compared, 10 ns each, and the answer is exact.
//! Above, signs are compared first, 3 ns each. They are those of the vector after a Hadamard
//! transform, which spreads what a vector says evenly over all its numbers; they keep more than 99
//! of 100 of those that are near enough for the guard ever to take them for the same.
//!
//! Chosen over an approximate index (a graph, lists by centroid): entries come and go all the time,
//! and 100,000 take less than 1 ms. That is not taken at once: above [`AT_ONCE_MAX`] entries a
//! search goes by steps of some 80 µs (signs of 64 blocks, …, numbers of 64 blocks, …), between
//! which others have their turn. Entries that come, go or move meanwhile may be passed over.
//!
//! Invariants
//! - N1 A key has one vector, and a vector has numbers that are not all zero.
//! - N2 Up to [`EXACT_MAX`], the eight are those of a plain comparison with all entries, but for
//!   the order of equals.
//! - N3 Vectors are not copied when a partition grows: blocks stay where they are. A search
//!   allocates only where its [`Search`] is first used for a larger partition.
//! - N4 What is found is an entry at the end of the search, with the cosine of its own vector, also
//!   where the partition has changed between steps.

use super::dot::{GROUP, Group, apart, dot, paired};
use super::signs::{self, EIGHT, Eight, SIGNS, Signs, signs, turn};
use ahash::AHashMap;
use std::hash::Hash;
use std::hint::black_box;
use wide::{i16x8, u16x8};

/// How many are found, at most.
pub const FOUND_MAX: usize = 8;

/// Most numbers (entries × dimensions) in which the search is exact: 4,096 entries of 256, for
/// about 45 µs. See `bench/semantic.rs`.
pub const EXACT_MAX: usize = 1 << 20;

/// How many entries the signs choose, before their numbers are compared: these, and one more for
/// each [`RESCORED_EACH`] entries.
pub const RESCORED: usize = 384;

/// See [`RESCORED`].
pub const RESCORED_EACH: usize = 128;

/// Most entries that are searched at once: some 170 µs.
pub const AT_ONCE_MAX: usize = 30_000;

/// Blocks that a step looks at: 16,384 entries.
const STEP: usize = 64;

/// Most numbers in a vector: their squares sum up to less than 2³¹.
pub const DIMS_MAX: usize = 8192;

/// Chosen entries that are asked for before the first of them is compared: few are near, and many
/// can be on their way at a time.
const AHEAD: usize = 16;

/// Lanes in a line of the processor's cache.
const LINE: usize = 4;

/// Entries in a block.
const BLOCK: usize = 256;

/// The vectors of a partition, by key.
#[derive(Debug)]
pub struct Near<K> {
    /// Numbers in a vector.
    dims: usize,
    /// All but the last are full.
    blocks: Vec<Block<K>>,
    places: AHashMap<K, Place>,
}

/// Up to [`BLOCK`] entries, with as many groups and groups of signs each as their vectors need.
#[derive(Debug)]
struct Block<K> {
    numbers: Vec<Group>,
    /// Of eight entries each.
    signs: Vec<Eight>,
    /// 1 / length of the vector.
    units: Vec<f32>,
    keys: Vec<K>,
}

/// Block, and entry in it.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    block: u32,
    at: u32,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<K> {
    /// Whose vector it is.
    pub key: K,
    /// How like: the cosine of the angle between the vectors.
    pub cosine: f32,
}

/// The memory of a search, to be used again.
#[derive(Debug, Default)]
pub struct Search {
    /// What is searched for: every second number, and the others.
    even: Vec<Group>,
    odd: Vec<Group>,
    turned: Vec<i32>,
    signs: Vec<Signs>,
    /// Its length.
    length: f32,
    stage: Stage,
    /// The block that is next.
    next: usize,
    /// Signs that differ, of each entry.
    differ: Vec<u16>,
    /// How many entries have so many signs that differ.
    times: Vec<u32>,
    /// All that differ in fewer signs are chosen,
    most: u16,
    /// and so many of those that differ in as many.
    left: usize,
    chosen: Vec<Place>,
    top: Top,
}

/// What a search does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    /// Nothing: it is over.
    #[default]
    Over,
    /// It compares all.
    All,
    /// It compares signs.
    Signs,
    /// It compares the numbers of those that the signs have chosen.
    Numbers,
}

/// The best so far, best first: cosines, times the length of what is searched for.
#[derive(Debug, Default)]
struct Top {
    all: [(f32, Place); FOUND_MAX],
    len: usize,
}

impl<K: Copy + Eq + Hash> Near<K> {
    /// An empty partition for vectors of so many numbers, from 1 to [`DIMS_MAX`].
    pub fn new(dims: usize) -> Self {
        debug_assert!((1..=DIMS_MAX).contains(&dims));
        Self {
            dims,
            blocks: Vec::new(),
            places: AHashMap::new(),
        }
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory that this holds, about.
    pub fn bytes(&self) -> usize {
        let slot = size_of::<(K, Place)>() + 1;
        let blocks: usize = self.blocks.iter().map(Block::bytes).sum();
        size_of::<Self>() + blocks + self.places.capacity() * slot * 8 / 7
    }

    /// Adds an entry, in place of the one that has the same key. False, and nothing is changed,
    /// where the vector has another number of dimensions or is zero. About 1 µs.
    pub fn insert(&mut self, key: K, vector: &[i8]) -> bool {
        let square = square(vector);
        if vector.len() != self.dims || square == 0 {
            return false;
        }
        self.remove(key);
        if self.blocks.last().is_none_or(|b| b.keys.len() == BLOCK) {
            self.blocks.push(Block::new());
        }
        let index = self.blocks.len() - 1;
        if let Some(block) = self.blocks.last_mut() {
            self.places.insert(key, Place::of(index, block.keys.len()));
            block.push(key, vector, 1.0 / root(square));
        }
        true
    }

    /// Removes the entry of this key, if there is one; says whether.
    pub fn remove(&mut self, key: K) -> bool {
        let Some(place) = self.places.remove(&key) else {
            return false;
        };
        // The last entry of all takes its place.
        let Some(last) = self.blocks.last_mut().and_then(Block::pop) else {
            return false;
        };
        let moved = last.keys.first().filter(|last| **last != key);
        if let Some(moved) = moved {
            self.places.insert(*moved, place);
            if let Some(block) = self.blocks.get_mut(place.block as usize) {
                block.put(place.at as usize, &last);
            }
        }
        if self.blocks.last().is_some_and(|b| b.keys.is_empty()) {
            self.blocks.pop();
        }
        true
    }

    /// Puts the nearest entries to `vector`, at most [`FOUND_MAX`], into `found`, nearest first.
    /// None where the vector has another number of dimensions or is zero.
    pub fn nearest(&self, vector: &[i8], search: &mut Search, found: &mut Vec<Found<K>>) {
        self.begin(vector, search);
        while !self.step(search) {}
        self.end(search, found);
    }

    /// Whether a search may take longer than a shard may be kept from others: then it goes by
    /// steps.
    pub fn is_large(&self) -> bool {
        self.len() > AT_ONCE_MAX
    }

    /// Begins what [`Near::nearest`] does.
    pub fn begin(&self, vector: &[i8], search: &mut Search) {
        let square = square(vector);
        (search.stage, search.top) = (Stage::Over, Top::default());
        if vector.len() != self.dims || square == 0 {
            return;
        }
        search.take(vector);
        search.length = root(square);
        search.stage = Stage::All;
        if self.len() * self.dims > EXACT_MAX {
            search.turn(vector);
            search.begin();
        }
    }

    /// Goes on with it for up to 100 µs; whether it is over.
    pub fn step(&self, search: &mut Search) -> bool {
        match search.stage {
            Stage::Over => {}
            Stage::All => {
                self.compare_all(search);
                search.stage = Stage::Over;
            }
            Stage::Signs => {
                self.compare_signs(search);
                if search.next >= self.blocks.len() {
                    search.choose(RESCORED + self.len() / RESCORED_EACH);
                }
            }
            Stage::Numbers => {
                search.pick();
                self.compare(search);
                if search.next * BLOCK >= search.differ.len() {
                    search.stage = Stage::Over;
                }
            }
        }
        search.stage == Stage::Over
    }

    /// Puts what it came to into `found`.
    pub fn end(&self, search: &mut Search, found: &mut Vec<Found<K>>) {
        let best = std::mem::take(&mut search.top);
        search.chosen.clear();
        search.chosen.extend(best.best().iter().map(|(_, at)| *at));
        self.compare(search); // N4
        found.clear();
        let unit = 1.0 / search.length;
        found.extend(search.top.best().iter().filter_map(|(score, place)| {
            Some(Found {
                key: *self.block(*place)?.keys.get(place.at as usize)?,
                cosine: score * unit,
            })
        }));
    }

    fn block(&self, place: Place) -> Option<&Block<K>> {
        self.blocks.get(place.block as usize)
    }

    fn compare_all(&self, search: &mut Search) {
        let Search { even, odd, top, .. } = search;
        for (index, block) in self.blocks.iter().enumerate() {
            let rows = block.numbers.chunks_exact(even.len().max(1));
            for (at, (row, unit)) in rows.zip(&block.units).enumerate() {
                let score = whole(product(row, even, odd)) * unit;
                if score > top.least() {
                    top.push(score, Place::of(index, at));
                }
            }
        }
    }

    /// Compares the entries that were chosen.
    fn compare(&self, search: &mut Search) {
        let Search {
            even,
            odd,
            chosen,
            top,
            ..
        } = search;
        for chosen in chosen.chunks(AHEAD) {
            let row = |at: &Place| Some((*at, self.row(*at, even.len())?));
            let rows = || chosen.iter().filter_map(row);
            let groups = rows().flat_map(|(_, (row, _))| row);
            let lines = groups.flat_map(|group| group.iter().step_by(LINE));
            black_box(lines.fold(i16x8::ZERO, |read, line| read | *line));
            for (place, (row, unit)) in rows() {
                top.push(whole(product(row, even, odd)) * unit, place);
            }
        }
    }

    /// The numbers of an entry, and what makes its vector one long.
    fn row(&self, place: Place, groups: usize) -> Option<(&[Group], f32)> {
        let (block, at) = (self.block(place)?, place.at as usize);
        let row = block.numbers.get(at * groups..(at + 1) * groups)?;
        Some((row, *block.units.get(at)?))
    }

    /// Compares the signs of the next blocks.
    fn compare_signs(&self, search: &mut Search) {
        let Search {
            signs,
            differ,
            times,
            next,
            ..
        } = search;
        let blocks = self.blocks.iter().enumerate();
        for (index, block) in blocks.skip(*next).take(STEP) {
            // Of a block that has grown since the step before, the newest are passed over.
            differ.resize(index * BLOCK, u16::MAX);
            for eight in block.signs.chunks_exact(signs.len().max(1)) {
                let sums = eight
                    .iter()
                    .zip(&*signs)
                    .map(|(eight, own)| signs::differing(eight, own));
                differ.extend(sums.fold(u16x8::ZERO, |all, one| all + one).to_array());
            }
            differ.truncate(index * BLOCK + block.keys.len());
        }
        for differ in differ.get(*next * BLOCK..).unwrap_or_default() {
            if let Some(times) = times.get_mut(usize::from(*differ)) {
                *times += 1;
            }
        }
        *next += STEP;
    }
}

impl<K: Copy> Block<K> {
    fn new() -> Self {
        Self {
            numbers: Vec::new(),
            signs: Vec::new(),
            units: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.numbers.capacity() * size_of::<Group>()
            + self.signs.capacity() * size_of::<Eight>()
            + self.units.capacity() * size_of::<f32>()
            + self.keys.capacity() * size_of::<K>()
    }

    fn push(&mut self, key: K, vector: &[i8], unit: f32) {
        let mut turned = Vec::new();
        turn(vector, &mut turned);
        self.numbers.extend(vector.chunks(GROUP).map(paired));
        let own = turned.chunks(SIGNS).map(signs);
        let lane = self.keys.len() % EIGHT;
        if lane == 0 {
            // Twice as much each time, of what is needed: eights are large.
            let more = own.len().max(self.signs.len());
            if self.signs.len() == self.signs.capacity() {
                self.signs.reserve_exact(more);
            }
            self.signs.extend(own.map(|own| signs::first(&own)));
        } else {
            let last = self.signs.len() - own.len();
            let eights = self.signs.get_mut(last..).unwrap_or_default();
            for (eight, own) in eights.iter_mut().zip(own) {
                signs::put(eight, lane, &own);
            }
        }
        self.units.push(unit);
        self.keys.push(key);
    }

    /// Takes the last entry out.
    fn pop(&mut self) -> Option<Self> {
        let last = self.keys.len().checked_sub(1)?;
        let groups = self.numbers.len() / self.keys.len();
        let parts = self.signs.len() / self.keys.len().div_ceil(EIGHT);
        let from = last / EIGHT * parts;
        let eights = self.signs.get(from..).unwrap_or_default().iter();
        let signs = eights.map(|eight| signs::first(&signs::get(eight, last % EIGHT)));
        let signs = signs.collect();
        if last % EIGHT == 0 {
            self.signs.truncate(from);
        }
        Some(Self {
            numbers: self.numbers.split_off(last * groups),
            signs,
            units: self.units.split_off(last),
            keys: self.keys.split_off(last),
        })
    }

    /// Writes a block of one entry over the entry at `at`.
    fn put(&mut self, at: usize, entry: &Self) {
        put(&mut self.numbers, at, &entry.numbers);
        let from = at / EIGHT * entry.signs.len();
        let eights = self.signs.get_mut(from..).unwrap_or_default();
        for (eight, own) in eights.iter_mut().zip(&entry.signs) {
            signs::put(eight, at % EIGHT, &signs::get(own, 0));
        }
        put(&mut self.units, at, &entry.units);
        put(&mut self.keys, at, &entry.keys);
    }
}

impl Search {
    /// Lays out what is searched for.
    fn take(&mut self, vector: &[i8]) {
        self.top = Top::default();
        self.even.clear();
        self.odd.clear();
        for group in vector.chunks(GROUP) {
            let (even, odd) = apart(&paired(group));
            self.even.push(even);
            self.odd.push(odd);
        }
    }

    /// Makes the signs of what is searched for.
    fn turn(&mut self, vector: &[i8]) {
        turn(vector, &mut self.turned);
        self.signs.clear();
        self.signs.extend(self.turned.chunks(SIGNS).map(signs));
    }

    /// Signs are compared first.
    fn begin(&mut self) {
        (self.stage, self.next) = (Stage::Signs, 0);
        self.differ.clear();
        self.times.clear();
        self.times.resize(self.signs.len() * SIGNS + 1, 0);
    }

    /// Chooses the `count` entries of which the fewest signs differ: all that differ in fewer
    /// signs than `most`, and of those with `most` as many as fit.
    fn choose(&mut self, count: usize) {
        (self.most, self.left) = (0, count);
        for times in &self.times {
            match self.left.checked_sub(*times as usize) {
                Some(rest) => (self.most, self.left) = (self.most + 1, rest),
                None => break,
            }
        }
        (self.stage, self.next) = (Stage::Numbers, 0);
    }

    /// Finds those that were chosen in the next blocks.
    fn pick(&mut self) {
        let (most, first) = (self.most, self.next * BLOCK);
        self.next += STEP;
        self.chosen.clear();
        let end = self.differ.len().min(self.next * BLOCK);
        let some = self.differ.get(first..end).unwrap_or_default();
        for (group, some) in some.chunks(8).enumerate() {
            if some.iter().filter(|differ| **differ <= most).count() == 0 {
                continue;
            }
            for (at, differ) in some.iter().enumerate() {
                let is_last = *differ == most;
                if *differ < most || (is_last && self.left > 0) {
                    self.left -= usize::from(is_last);
                    let index = first + group * 8 + at;
                    self.chosen.push(Place::of(index / BLOCK, index % BLOCK));
                }
            }
        }
    }
}

impl Top {
    fn best(&self) -> &[(f32, Place)] {
        self.all.get(..self.len).unwrap_or_default()
    }

    /// What a score must be above to get in.
    fn least(&self) -> f32 {
        let last = self.all.last().filter(|_| self.len == FOUND_MAX);
        last.map_or(f32::NEG_INFINITY, |(score, _)| *score)
    }

    fn push(&mut self, score: f32, place: Place) {
        if score <= self.least() {
            return;
        }
        self.len = FOUND_MAX.min(self.len + 1);
        let better = self.best().iter().take(self.len - 1);
        let at = better.take_while(|(best, _)| *best >= score).count();
        if let Some(rest) = self.all.get_mut(at..self.len) {
            rest.rotate_right(1);
            if let Some(first) = rest.first_mut() {
                *first = (score, place);
            }
        }
    }
}

impl Place {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "2³² blocks fit into no memory"
    )]
    fn of(block: usize, at: usize) -> Self {
        Self {
            block: block as u32,
            at: at as u32,
        }
    }
}

/// Writes `new` as the `at`th of its size.
fn put<T: Copy>(all: &mut [T], at: usize, new: &[T]) {
    let from = at * new.len();
    if let Some(old) = all.get_mut(from..from + new.len()) {
        old.copy_from_slice(new);
    }
}

/// Σ row · what is searched for, which is laid out by [`Search::take`].
#[inline]
fn product(row: &[Group], even: &[Group], odd: &[Group]) -> i32 {
    if let ([row, row2], [even, even2], [odd, odd2]) = (row, even, odd) {
        return dot(row, even, odd) + dot(row2, even2, odd2);
    }
    let groups = row.iter().zip(even).zip(odd);
    groups.map(|((row, even), odd)| dot(row, even, odd)).sum()
}

/// Σ numbers².
fn square(numbers: &[i8]) -> i32 {
    numbers.iter().map(|n| i32::from(*n).pow(2)).sum()
}

fn root(square: i32) -> f32 {
    whole(square).sqrt()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "seven digits are kept, of a cosine"
)]
fn whole(number: i32) -> f32 {
    number as f32
}

#[cfg(test)]
#[path = "near_tests.rs"]
mod tests;
