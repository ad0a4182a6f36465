//! The vectors of one partition, and which eight of them are nearest to another.
//!
//! ```text
//!   block of 256 entries     signs                          numbers             keys
//!     entry 0                1 bit a number, of the         8 bits a number
//!     entry 1                vector after a turn
//!     …                      └─ how many differ? ─► the 512 best ─► dot product ─► the 8 best
//!                               skipped for small partitions: dot product of all
//! ```
//!
//! Up to [`EXACT_MAX`] numbers, all entries are compared, 10 ns each, and the answer is exact.
//! Above, signs are compared first, 3 ns each. They are those of the vector after a Hadamard
//! transform, which spreads what a vector says evenly over all its numbers; at 20,000 entries, they
//! keep 99 of 100 of the eight.
//!
//! Sixteen numbers are multiplied at once with what every x86-64 has. Two lie in 16 bits; there
//! they are not taken apart, but shifted and masked to 256 times one of them:
//!
//! ```text
//!   x = odd, even     x << 8 = 256·even      x & 0xff00 = 256·odd      (all with their sign)
//! ```
//!
//! Invariants
//! - N1 A key has one vector, and a vector has numbers that are not all zero.
//! - N2 Up to [`EXACT_MAX`], the eight are those of a plain comparison with all entries, but for
//!   the order of equals.
//! - N3 Vectors are not copied when a partition grows: blocks stay where they are. A search
//!   allocates only where its [`Search`] is first used for a larger partition.

use ahash::AHashMap;
use std::hash::Hash;
use wide::{i16x8, i32x4};

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

/// Most numbers in a vector: their squares sum up to less than 2³¹.
pub const DIMS_MAX: usize = 8192;

/// Entries in a block.
const BLOCK: usize = 256;

/// Numbers in a group: what is compared in one go. Their sum, times 256, fits into 32 bits.
const GROUP: usize = 128;

/// Bits in a group of signs.
const SIGNS: usize = 256;

/// [`GROUP`] numbers, two in a lane.
type Group = [i16x8; GROUP / 16];

/// Signs of a vector, or of a part of it.
type Signs = [u64; SIGNS / 64];

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
    signs: Vec<Signs>,
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
    /// Signs that differ, of each entry.
    apart: Vec<u16>,
    /// How many entries have so many signs that differ.
    times: Vec<u32>,
    chosen: Vec<Place>,
    top: Top,
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
        found.clear();
        let square = square(vector);
        if vector.len() != self.dims || square == 0 {
            return;
        }
        search.take(vector);
        if self.len() * self.dims > EXACT_MAX {
            search.turn(vector);
            self.choose(search, RESCORED + self.len() / RESCORED_EACH);
            self.compare(search);
        } else {
            self.compare_all(search);
        }
        let unit = 1.0 / root(square);
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
                let score = whole(dot(row, even, odd)) * unit;
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
        for place in chosen.iter() {
            let Some(block) = self.block(*place) else {
                continue;
            };
            let at = place.at as usize;
            let row = block.numbers.get(at * even.len()..(at + 1) * even.len());
            if let (Some(row), Some(unit)) = (row, block.units.get(at)) {
                top.push(whole(dot(row, even, odd)) * unit, *place);
            }
        }
    }

    /// Chooses the `count` entries of which the fewest signs differ.
    fn choose(&self, search: &mut Search, count: usize) {
        let Search {
            signs,
            apart,
            times,
            chosen,
            ..
        } = search;
        apart.clear();
        for block in &self.blocks {
            if let [signs] = signs.as_slice() {
                apart.extend(block.signs.iter().map(|row| differing(row, signs)));
            } else {
                let rows = block.signs.chunks_exact(signs.len().max(1));
                let sum = |row: &[Signs]| {
                    row.iter()
                        .zip(&*signs)
                        .map(|(a, b)| differing(a, b))
                        .sum::<u16>()
                };
                apart.extend(rows.map(sum));
            }
        }
        times.clear();
        times.resize(signs.len() * SIGNS + 1, 0);
        for apart in apart.iter() {
            if let Some(times) = times.get_mut(usize::from(*apart)) {
                *times += 1;
            }
        }
        // All that differ in fewer signs than `most`, and of those with `most` as many as fit.
        let (mut most, mut left) = (0, count);
        for times in times.iter() {
            match left.checked_sub(*times as usize) {
                Some(rest) => (most, left) = (most + 1, rest),
                None => break,
            }
        }
        chosen.clear();
        for (group, some) in apart.chunks(8).enumerate() {
            if some.iter().filter(|apart| **apart <= most).count() == 0 {
                continue;
            }
            for (at, apart) in some.iter().enumerate() {
                let is_last = *apart == most;
                if *apart < most || (is_last && left > 0) {
                    left -= usize::from(is_last);
                    let index = group * 8 + at;
                    chosen.push(Place::of(index / BLOCK, index % BLOCK));
                }
            }
        }
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
            + self.signs.capacity() * size_of::<Signs>()
            + self.units.capacity() * size_of::<f32>()
            + self.keys.capacity() * size_of::<K>()
    }

    fn push(&mut self, key: K, vector: &[i8], unit: f32) {
        let mut turned = Vec::new();
        turn(vector, &mut turned);
        self.numbers.extend(vector.chunks(GROUP).map(paired));
        self.signs.extend(turned.chunks(SIGNS).map(signs));
        self.units.push(unit);
        self.keys.push(key);
    }

    /// Takes the last entry out.
    fn pop(&mut self) -> Option<Self> {
        let last = self.keys.len().checked_sub(1)?;
        let groups = self.numbers.len() / self.keys.len();
        let signs = self.signs.len() / self.keys.len();
        Some(Self {
            numbers: self.numbers.split_off(last * groups),
            signs: self.signs.split_off(last * signs),
            units: self.units.split_off(last),
            keys: self.keys.split_off(last),
        })
    }

    /// Writes a block of one entry over the entry at `at`.
    fn put(&mut self, at: usize, entry: &Self) {
        put(&mut self.numbers, at, &entry.numbers);
        put(&mut self.signs, at, &entry.signs);
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
        for group in vector.chunks(GROUP).map(paired) {
            let evens = group.map(|pairs| (pairs << 8_i32) >> 8_i32);
            self.even.push(evens);
            self.odd.push(group.map(|pairs| pairs >> 8_i32));
        }
    }

    /// Makes the signs of what is searched for.
    fn turn(&mut self, vector: &[i8]) {
        turn(vector, &mut self.turned);
        self.signs.clear();
        self.signs.extend(self.turned.chunks(SIGNS).map(signs));
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

/// Two numbers in each lane; zeros where there are fewer.
fn paired(numbers: &[i8]) -> Group {
    let mut pairs = numbers.chunks(2);
    let mut lane = || {
        let mut pair = [0; 2];
        let numbers = pairs.next().unwrap_or_default();
        for (byte, number) in pair.iter_mut().zip(numbers) {
            *byte = number.cast_unsigned();
        }
        i16::from_le_bytes(pair)
    };
    std::array::from_fn(|_| i16x8::new(std::array::from_fn(|_| lane())))
}

/// The vector, turned so that each number says as much as another: signs are changed here and
/// there, always in the same places, and a Hadamard transform follows. The length is not kept.
fn turn(vector: &[i8], all: &mut Vec<i32>) {
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    let flipped = vector.iter().map(|number| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        i32::from(*number) * if dice & 1 == 0 { 1 } else { -1 }
    });
    let len = vector.len().next_power_of_two().max(SIGNS);
    all.clear();
    all.extend(flipped);
    all.resize(len, 0);
    let mut half = len / 2;
    while half > 0 {
        for pair in all.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (left, right) in left.iter_mut().zip(right) {
                (*left, *right) = (*left + *right, *left - *right);
            }
        }
        half /= 2;
    }
}

/// A bit for each number: whether it is negative.
fn signs(numbers: &[i32]) -> Signs {
    let mut bits = [0; SIGNS / 64];
    for (bits, numbers) in bits.iter_mut().zip(numbers.chunks(64)) {
        let negative = numbers.iter().enumerate();
        *bits = negative.fold(0, |bits, (at, n)| bits | u64::from(*n < 0) << at);
    }
    bits
}

/// How many signs differ.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "at most 256")]
fn differing(a: &Signs, b: &Signs) -> u16 {
    let words = a.iter().zip(b);
    words.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>() as u16
}

/// Σ row · what is searched for, which is laid out by [`Search::take`].
#[inline]
fn dot(row: &[Group], even: &[Group], odd: &[Group]) -> i32 {
    if let ([row, row2], [even, even2], [odd, odd2]) = (row, even, odd) {
        return of_group(row, even, odd) + of_group(row2, even2, odd2);
    }
    let groups = row.iter().zip(even).zip(odd);
    groups
        .map(|((row, even), odd)| of_group(row, even, odd))
        .sum()
}

#[inline]
fn of_group(row: &Group, even: &Group, odd: &Group) -> i32 {
    let high = i16x8::splat(-256);
    let (mut evens, mut odds) = (i32x4::ZERO, i32x4::ZERO);
    for ((pairs, even), odd) in row.iter().zip(even).zip(odd) {
        evens += (*pairs << 8_i32).dot(*even);
        odds += (*pairs & high).dot(*odd);
    }
    (evens + odds).to_array().iter().sum::<i32>() >> 8
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
