//! A provider's vector, of any length, in the 256 whole numbers that are compared.
//!
//! ```text
//!   up to 256 numbers   as they are, zeros behind them
//!   more                number i ──► ± it is added to one place in each of 8 parts of 32
//!                                    which, and the sign, by a hash of i      ──► Vector::of
//! ```
//!
//! Such a sum keeps angles, about: of two vectors with the cosine c, that of what is made of them
//! is c ± (1 − c²) / 16, so that what is nearest stays so (of the eight nearest of 1,600 in
//! clusters, 7.3 are found: see the test), whatever model it comes from. That is enough here:
//! vectors choose candidates, and the guard decides. The first 256 numbers alone would be right
//! only for models that were trained for that (Matryoshka), and room for all of them would be
//! six to sixteen times as much for each entry, in each shard and on the way between boxes. So
//! partitions, entries and what boxes tell each other are the same whoever makes the vectors.
//!
//! Invariants
//! - N1 The same numbers give the same vector on every machine: sums are made in one order.
//! - N2 What has no direction (nothing, zeros, infinities, not a number) has no vector.
//!
//! Source: Johnson and Lindenstrauss 1984; Kane and Nelson 2014, "Sparser Johnson-Lindenstrauss
//! transforms" (the block construction).

use super::vector::{DIMS, Vector};

/// Most numbers in a provider's vector.
pub const NUMBERS_MAX: usize = 4096;

/// Places that each number is added to, each in a part of its own.
const TIMES: usize = 8;

/// Places in a part.
const PART: usize = DIMS / TIMES;

/// To be raised when the code makes other vectors of the same numbers.
pub(super) const RULES: u64 = 1;

/// The direction of `numbers`; `None` where they have none, or are more than [`NUMBERS_MAX`].
/// About 11 µs for 1,536.
pub fn narrow(numbers: &[f32]) -> Option<Vector> {
    if numbers.len() > NUMBERS_MAX {
        return None;
    }
    let mut sum = [0.0_f32; DIMS];
    if numbers.len() <= DIMS {
        for (place, number) in sum.iter_mut().zip(numbers) {
            *place = *number;
        }
        return Vector::of(&sum);
    }
    let (parts, _) = sum.as_chunks_mut::<PART>();
    for (at, number) in (0_u64..).zip(numbers) {
        let mut hash = mixed(at);
        for part in parts.iter_mut() {
            let place = usize::try_from(hash % PART as u64).unwrap_or(0);
            let sign = u32::try_from(hash & 0x20).unwrap_or(0) << 26; // without a branch
            if let Some(place) = part.get_mut(place) {
                *place += f32::from_bits(number.to_bits() ^ sign);
            }
            hash >>= 6;
        }
    }
    Vector::of(&sum)
}

/// `SplitMix64` (Steele, Lea, Flood 2014): 48 bits of it are used.
fn mixed(at: u64) -> u64 {
    let mut hash = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::near::{FOUND_MAX, Near, Search};
    use proptest::prelude::*;

    /// Numbers that are spread like a bell, about: four even ones summed up.
    struct Luck(u64);

    impl Luck {
        fn next(&mut self) -> f32 {
            self.0 += 1;
            let word = mixed(self.0 ^ 0x5eed);
            let parts = [0, 16, 32, 48].map(|at| u16::try_from(word >> at & 0xffff).unwrap());
            let even = |at: usize| f32::from(parts[at]) / 65_536.0;
            (even(0) + even(1) + even(2) + even(3) - 2.0) * 3.0_f32.sqrt()
        }

        fn vector(&mut self, dims: usize) -> Vec<f32> {
            (0..dims).map(|_| self.next()).collect()
        }
    }

    fn cosine(a: &[f32], b: &[f32]) -> f32 {
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
        dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
    }

    /// A vector near `of`: the cosine is about 1 / √(1 + `far`²).
    fn beside(of: &[f32], far: f32, luck: &mut Luck) -> Vec<f32> {
        of.iter().map(|number| number + far * luck.next()).collect()
    }

    /// Goal: what the header says of the eight nearest. Method: 1,024 vectors in 64 clusters
    /// around a common direction, as those of encoders are; 24 that are searched for lie beside
    /// one of them, as a rewording does: that one is found always, and of the eight that are
    /// nearest by all numbers most. Measured with 1,600: 0.93, 0.91, and 0.92 for 4,096 numbers.
    #[test]
    fn the_nearest_stay_near() {
        for dims in [384, 1536] {
            let mut luck = Luck(dims as u64);
            let common = luck.vector(dims);
            let mut all: Vec<Vec<f32>> = Vec::new();
            let mut near = Near::new(DIMS);
            for _ in 0..64 {
                let middle = beside(&common, 1.2, &mut luck);
                for _ in 0..16 {
                    let spread = 0.3 + luck.next().abs() * 0.3;
                    let one = beside(&middle, spread, &mut luck);
                    assert!(near.insert(all.len(), &narrow(&one).unwrap().dims));
                    all.push(one);
                }
            }
            let (mut same, mut first) = (0, 0);
            let (mut search, mut found) = (Search::default(), Vec::new());
            for at in 0..24 {
                let like = at * 41;
                let asked = beside(&all[like], 0.3, &mut luck);
                let cosines = all.iter().map(|one| cosine(&asked, one));
                let mut want: Vec<(f32, usize)> = cosines.zip(0..).collect();
                want.sort_by(|a, b| b.0.total_cmp(&a.0));
                want.truncate(FOUND_MAX);
                near.nearest(&narrow(&asked).unwrap().dims, &mut search, &mut found);
                let is_found = |at: usize| found.iter().any(|found| found.key == at);
                first += usize::from(is_found(like));
                same += want.iter().filter(|(_, at)| is_found(*at)).count();
            }
            assert_eq!(first, 24, "{dims}");
            assert!(same * 10 >= 24 * FOUND_MAX * 8, "{dims}: {same}");
        }
    }

    proptest! {
        /// Goal: angles stay, about, for vectors of any length. Method: six times what the header
        /// says of the deviation, and what rounding costs.
        #[test]
        fn angles_stay(dims in 1_usize..=NUMBERS_MAX, far in 0.0_f32..4.0, seed: u64) {
            let mut luck = Luck(seed >> 1);
            let one = luck.vector(dims);
            let other = beside(&one, far, &mut luck);
            let want = cosine(&one, &other);
            let (one, other) = (narrow(&one), narrow(&other));
            let got = one.zip(other).map(|(a, b)| a.cosine(&b));
            let off = 6.0 * (1.0 - want * want) / 16.0 + 0.02;
            prop_assert!((got.unwrap() - want).abs() < off, "{want} {got:?}");
        }

        /// Goal: N1, and that length says nothing.
        #[test]
        fn only_the_direction_counts(dims in 1_usize..=600, seed: u64, power in -20_i32..20) {
            let one = Luck(seed >> 1).vector(dims);
            let scale = 2.0_f32.powi(power);
            let longer: Vec<f32> = one.iter().map(|number| number * scale).collect();
            prop_assert_eq!(narrow(&one), narrow(&one.clone()));
            prop_assert_eq!(narrow(&one).unwrap().dims, narrow(&longer).unwrap().dims);
        }
    }

    /// Goal: N2, and the limit.
    #[test]
    fn what_has_no_direction_has_no_vector() {
        for dims in [0, 1, 256, 257, 1536] {
            assert_eq!(narrow(&vec![0.0; dims]), None);
        }
        for odd in [f32::NAN, f32::INFINITY, f32::MAX] {
            let all = [odd; 300];
            assert_eq!(narrow(&all), None, "{odd}");
        }
        assert!(narrow(&vec![1.0; NUMBERS_MAX]).is_some());
        assert_eq!(narrow(&vec![1.0; NUMBERS_MAX + 1]), None);
    }

    /// Goal: N1 over versions: what was stored is still right. Method: the sum of one vector's
    /// places by their weights, as it was when [`RULES`] was last raised.
    #[test]
    fn vectors_are_what_they_were() {
        let numbers: Vec<f32> = (0..777).map(|at: i16| f32::from(at % 13 - 6)).collect();
        let vector = narrow(&numbers).unwrap();
        let sum: i32 = (1..)
            .zip(vector.dims)
            .map(|(at, dim)| at * i32::from(dim))
            .sum();
        assert_eq!((RULES, sum), (1, -84_243));
    }
}
