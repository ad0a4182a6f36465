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
        near.begin(&vector, &mut search);
        search.turn(&vector);
        search.begin();
        near.compare_signs(&mut search);
        search.choose(RESCORED);
        search.pick();
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
        assert_eq!(search.differ.len(), count, "signs were compared");
        assert_eq!((found.len(), found[0].key), (FOUND_MAX, key));
        assert!((found[0].cosine - 1.0).abs() < 1e-5);
    }
    assert!(near.bytes() > count * dims && near.bytes() < count * dims * 3 / 2);
}

/// Goal: a search by steps is the search at once; N4 where entries come, go, and move to the places
/// of others between its steps. Method: a partition of many blocks, with one that is like what is
/// asked for in each; between two steps entries of all of it are taken out and put in.
#[test]
fn a_search_by_steps_bears_changes() {
    let (mut dice, mut near) = (Dice(11), Near::new(32));
    let asked = dice.vector(32);
    let count = 3 * STEP * BLOCK + 77;
    let mut all: Vec<_> = (0..count)
        .map(|at| match at % 5000 {
            0 => dice.beside(&asked),
            _ => dice.vector(32),
        })
        .collect();
    for (key, vector) in all.iter().enumerate() {
        assert!(near.insert(key, vector));
    }
    assert!(near.is_large());
    let (mut search, mut at_once, mut found) = (Search::default(), Vec::new(), Vec::new());
    near.nearest(&asked, &mut search, &mut at_once);
    near.begin(&asked, &mut search);
    let mut steps = 1;
    while !near.step(&mut search) {
        steps += 1;
    }
    near.end(&mut search, &mut found);
    assert_eq!(found, at_once);
    assert_eq!(steps, 8, "four for signs, four for numbers");

    let likely = at_once.iter().filter(|it| it.key % 5000 == 0).count();
    assert!(likely >= FOUND_MAX - 1, "{at_once:?}");
    near.begin(&asked, &mut search);
    while !near.step(&mut search) {
        for _ in 0..200 {
            let key = dice.below(count as u64) as usize;
            if !key.is_multiple_of(5000) && !near.remove(key) {
                all[key] = dice.vector(32);
                assert!(near.insert(key, &all[key]));
            }
        }
    }
    near.end(&mut search, &mut found);
    assert_eq!(found.len(), FOUND_MAX);
    let mut kept = 0;
    for (at, one) in found.iter().enumerate() {
        assert!((one.cosine - cosine(&all[one.key], &asked)).abs() < 1e-5);
        assert!(at == 0 || found[at - 1].cosine >= one.cosine, "in order");
        kept += usize::from(at_once.iter().any(|it| it.key == one.key));
    }
    assert!(kept >= likely - 1, "{kept} of {at_once:?}");
    for key in 0..count {
        near.remove(key);
    }
    near.begin(&asked, &mut search);
    while !near.step(&mut search) {}
    near.end(&mut search, &mut found);
    assert_eq!((found.len(), near.len()), (0, 0));
}

/// The cosine below which the guard takes no two texts for the same: the least of 385 pairs that it
/// does among 11,526 of people's questions is 0.68.
const FLOOR: f32 = 0.65;

/// Goal: of the eight nearest of an exact search those that the guard may take for the same are
/// kept, 99 of 100. Method: texts of the table's words in groups whose texts share most of their
/// words, above [`EXACT_MAX`]; what is asked for is another text of a group.
#[test]
fn what_may_be_the_same_is_found() {
    let vocab = include_str!("embed/data/vocab.txt").lines();
    let is_word = |word: &&str| word.len() > 3 && word.bytes().all(|b| b.is_ascii_lowercase());
    let vocab: Vec<_> = vocab.filter(is_word).collect();
    let (mut dice, mut scratch) = (Dice(13), crate::cache::embed::Scratch::default());
    let mut word = || vocab[dice.below(vocab.len() as u64) as usize];
    let groups: Vec<Vec<_>> = (0..900)
        .map(|at| (0..5 + at % 12).map(|_| word()).collect())
        .collect();
    let mut text = |group: usize, seed: usize| {
        let mut words = groups[group].clone();
        let (one, other) = (seed % words.len(), (seed * 7 + 3) % words.len());
        words.swap(one, other);
        words[other] = word();
        let vector = crate::cache::embed::builtin().embed(&words.join(" "), &mut scratch);
        vector.unwrap().dims.to_vec()
    };
    let all: Vec<_> = (0..6 * groups.len())
        .map(|at| text(at / 6, at % 6))
        .collect();
    let mut near = Near::new(all[0].len());
    for (key, vector) in all.iter().enumerate() {
        assert!(near.insert(key, vector));
    }
    assert!(near.len() * all[0].len() > EXACT_MAX, "signs are compared");
    let (mut search, mut found) = (Search::default(), Vec::new());
    let (mut wanted, mut kept) = (0, 0);
    for group in (0..groups.len()).step_by(9) {
        let vector = text(group, 11);
        near.nearest(&vector, &mut search, &mut found);
        let length = |vector: &[i8]| root(square(vector));
        let score = |other: &Vec<i8>| {
            let product = super::super::dot::product(other, &vector);
            whole(product) / length(other) / length(&vector)
        };
        let mut exact: Vec<_> = all.iter().map(score).enumerate().collect();
        exact.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (key, score) in exact.into_iter().take(FOUND_MAX) {
            if score >= FLOOR {
                wanted += 1;
                kept += usize::from(found.iter().any(|it| it.key == key));
            }
        }
    }
    assert!(wanted > 300, "{wanted}");
    assert!(kept * 100 >= wanted * 99, "{kept} of {wanted}");
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
