//! Nearness against a plain comparison of all with all.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers of a test, all of them small"
)]

use super::*;
use proptest::prelude::*;

/// Numbers from a seed.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// A vector with more in its first numbers than in the last, as the table's are.
    fn vector(&mut self, dims: usize) -> Vec<i8> {
        let spread = |at: usize| 127 * dims / (dims + 4 * at);
        (0..dims)
            .map(|at| {
                let spread = spread(at) as i64;
                let sum: i64 = (0..3)
                    .map(|_| self.below(2 * spread as u64 + 1) as i64)
                    .sum();
                (sum / 3 - spread).clamp(-127, 127) as i8
            })
            .collect()
    }

    /// One that is near to `vector`.
    fn beside(&mut self, vector: &[i8]) -> Vec<i8> {
        let moved = |n: i8, by: u64| n.saturating_add(by as i8 - 20).max(-127);
        vector.iter().map(|n| moved(*n, self.below(41))).collect()
    }
}

fn cosine(a: &[i8], b: &[i8]) -> f32 {
    let dot = |a: &[i8], b: &[i8]| -> f32 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f32::from(*a) * f32::from(*b))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The eight best cosines of a plain comparison.
fn plain<'v>(all: impl Iterator<Item = &'v Vec<i8>>, vector: &[i8]) -> Vec<f32> {
    let mut scores: Vec<f32> = all.map(|other| cosine(other, vector)).collect();
    scores.sort_by(|a, b| b.total_cmp(a));
    scores.truncate(FOUND_MAX);
    scores
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Goal: N1, N2. Method: entries come, go and are replaced at random, in partitions of several
    /// blocks and of every number of dimensions; what is found has the cosines of a plain
    /// comparison, each of the entry that it names.
    #[test]
    fn finds_what_a_plain_comparison_finds(
        seed in 1_u64.., dims in 1_usize..600, count in 0_usize..900,
    ) {
        let mut dice = Dice(seed);
        let mut near = Near::new(dims);
        let mut all = std::collections::BTreeMap::new();
        for _ in 0..count {
            let key = dice.below(700) as u32;
            if dice.below(4) == 0 {
                prop_assert_eq!(near.remove(key), all.remove(&key).is_some());
                continue;
            }
            let seen: Option<&Vec<i8>> = all.values().next();
            let vector = match seen.filter(|_| dice.below(3) == 0).cloned() {
                Some(seen) => dice.beside(&seen),
                None => dice.vector(dims),
            };
            if near.insert(key, &vector) {
                all.insert(key, vector);
            } else {
                prop_assert_eq!(square(&vector), 0);
            }
        }
        prop_assert_eq!(near.len(), all.len());
        let (mut search, mut found) = (Search::default(), Vec::new());
        for _ in 0..5 {
            let vector = dice.vector(dims);
            near.nearest(&vector, &mut search, &mut found);
            let want = if square(&vector) == 0 { Vec::new() } else { plain(all.values(), &vector) };
            prop_assert_eq!(found.len(), want.len());
            for (found, want) in found.iter().zip(want) {
                prop_assert!((found.cosine - want).abs() < 1e-5, "{} {}", found.cosine, want);
                prop_assert!((found.cosine - cosine(&all[&found.key], &vector)).abs() < 1e-5);
            }
        }
    }

    /// Goal: sums do not leave their lanes. Method: the largest numbers, in as many dimensions as
    /// there may be.
    #[test]
    fn the_largest_numbers_fit(dims in 2000..=DIMS_MAX) {
        let (most, least) = (vec![127; dims], vec![-127; dims]);
        let mut near = Near::new(dims);
        prop_assert!(near.insert('+', &most) && near.insert('-', &least));
        let mut found = Vec::new();
        near.nearest(&most, &mut Search::default(), &mut found);
        let found: Vec<_> = found.iter().map(|f| (f.key, f.cosine.round() as i32)).collect();
        prop_assert_eq!(found, [('+', 1), ('-', -1)]);
    }
}

/// Goal: the signs find nearly all of the eight. Method: 4,000 entries in groups; of the eight
/// that an exact search finds, the share that signs find.
#[test]
fn signs_find_nearly_all() {
    let (mut dice, mut near) = (Dice(7), Near::new(256));
    let centres: Vec<_> = (0..100).map(|_| dice.vector(256)).collect();
    for key in 0..4000_u32 {
        let vector = dice.beside(&centres[key as usize % 100]);
        assert!(near.insert(key, &vector));
    }
    let (mut search, mut kept) = (Search::default(), 0);
    for centre in &centres {
        let vector = dice.beside(centre);
        let mut exact = Vec::new();
        near.nearest(&vector, &mut search, &mut exact);
        search.take(&vector);
        search.turn(&vector);
        near.choose(&mut search, RESCORED);
        assert_eq!(search.chosen.len(), RESCORED);
        near.compare(&mut search);
        let keys: Vec<_> = search
            .top
            .best()
            .iter()
            .map(|(_, place)| near.block(*place).unwrap().keys[place.at as usize])
            .collect();
        kept += exact
            .iter()
            .filter(|found| keys.contains(&found.key))
            .count();
    }
    assert!(kept > 95 * FOUND_MAX, "{kept} of {}", 100 * FOUND_MAX);
}

/// Goal: the signs are used above the limit, and what they find is named rightly. Method: a
/// partition of wide vectors just above the limit, each of which is asked for.
#[test]
fn large_partitions_are_searched_by_signs() {
    let dims = 4096;
    let count = EXACT_MAX / dims + 1;
    let (mut dice, mut near) = (Dice(9), Near::new(dims));
    let all: Vec<_> = (0..count).map(|_| dice.vector(dims)).collect();
    for (key, vector) in all.iter().enumerate() {
        assert!(near.insert(key, vector));
    }
    let (mut search, mut found) = (Search::default(), Vec::new());
    for key in (0..count).step_by(97) {
        near.nearest(&all[key], &mut search, &mut found);
        assert_eq!(search.apart.len(), count, "signs were compared");
        assert_eq!((found.len(), found[0].key), (FOUND_MAX, key));
        assert!((found[0].cosine - 1.0).abs() < 1e-5);
    }
    assert!(near.bytes() > count * dims && near.bytes() < count * dims * 3 / 2);
}

/// Goal: N1. Method: what cannot be an entry or a question.
#[test]
fn odd_vectors_are_refused() {
    let mut near = Near::new(3);
    assert!(near.insert(1, &[1, 0, 0]));
    assert!(!near.insert(2, &[0, 0, 0]), "zero");
    assert!(!near.insert(1, &[1, 0]), "another number of dimensions");
    assert_eq!((near.len(), near.is_empty()), (1, false));
    let (mut search, mut found) = (Search::default(), Vec::new());
    for odd in [&[0, 0, 0][..], &[1, 0], &[]] {
        near.nearest(odd, &mut search, &mut found);
        assert_eq!(found, []);
    }
    near.nearest(&[2, 0, 0], &mut search, &mut found);
    assert_eq!(
        found,
        [Found {
            key: 1,
            cosine: 1.0
        }]
    );
    assert!(near.remove(1) && !near.remove(1) && near.is_empty());
}
