//! Signs of vectors: a bit a number, to see quickly which vectors can be near each other.
//!
//! ```text
//!   vector ──turn──► numbers that say as much as each other ──signs──► 256 bits, 16 a word
//!
//!   Eight    word 0   e0 e1 e2 e3 e4 e5 e6 e7     a lane an entry: what differs is counted for
//!            …                                    eight at once, by full adders: 1.6 ns an entry
//!            word 15  e0 e1 e2 e3 e4 e5 e6 e7     (a row an entry, by bytes: 2.9 ns)
//! ```
//!
//! Source: Harley and Seal's count of bits (Warren, Hacker's Delight, 5-1).

use wide::u16x8;

/// Bits in a group of signs.
pub(super) const SIGNS: usize = 256;

const WORDS: usize = SIGNS / 16;

/// Signs of a vector, or of a part of it.
pub(super) type Signs = [u16; WORDS];

/// Entries side by side.
pub(super) const EIGHT: usize = 8;

/// Signs of eight vectors, or of a part of each.
pub(super) type Eight = [u16x8; WORDS];

/// The vector, turned so that each number says as much as another: signs are changed here and
/// there, always in the same places, and a Hadamard transform follows. The length is not kept.
pub(super) fn turn(vector: &[i8], all: &mut Vec<i32>) {
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
pub(super) fn signs(numbers: &[i32]) -> Signs {
    let mut bits = [0; WORDS];
    for (bits, numbers) in bits.iter_mut().zip(numbers.chunks(16)) {
        let negative = numbers.iter().enumerate();
        *bits = negative.fold(0, |bits, (at, n)| bits | u16::from(*n < 0) << at);
    }
    bits
}

/// Signs of which the first entry has these, and the others none.
pub(super) fn first(signs: &Signs) -> Eight {
    signs.map(|word| u16x8::new([word, 0, 0, 0, 0, 0, 0, 0]))
}

/// Sets those of the entry in this lane.
pub(super) fn put(eight: &mut Eight, lane: usize, signs: &Signs) {
    for (words, word) in eight.iter_mut().zip(signs) {
        let mut lanes = words.to_array();
        if let Some(place) = lanes.get_mut(lane) {
            *place = *word;
        }
        *words = u16x8::new(lanes);
    }
}

/// Those of the entry in this lane.
pub(super) fn get(eight: &Eight, lane: usize) -> Signs {
    eight.map(|words| words.to_array().get(lane).copied().unwrap_or_default())
}

/// Three bits of one weight are one of it and one of twice it.
#[inline]
fn add(a: u16x8, b: u16x8, c: u16x8) -> (u16x8, u16x8) {
    let either = a ^ b;
    (either ^ c, (a & b) | (either & c))
}

/// How many bits are set, in each four of them.
#[inline]
fn fours(bits: u16x8) -> u16x8 {
    let twos = bits - ((bits >> 1_i32) & u16x8::splat(0x5555));
    let mask = u16x8::splat(0x3333);
    (twos & mask) + ((twos >> 2_i32) & mask)
}

/// Sums of fours, summed up in each eight.
#[inline]
fn eights(fours: u16x8) -> u16x8 {
    let mask = u16x8::splat(0x0f0f);
    (fours & mask) + ((fours >> 4_i32) & mask)
}

/// How many signs of each of the eight differ from these.
#[inline]
#[expect(clippy::many_single_char_names, reason = "sixteen words")]
pub(super) fn differing(eight: &Eight, signs: &Signs) -> u16x8 {
    let mut bits = *eight;
    for (bits, word) in bits.iter_mut().zip(signs) {
        *bits ^= u16x8::splat(*word);
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, last] = bits;
    let ((a, two_a), (b, two_b), (c, two_c)) = (add(a, b, c), add(d, e, f), add(g, h, i));
    let ((d, two_d), (e, two_e)) = (add(j, k, l), add(m, n, o));
    let ((a, two_f), (b, two_g)) = (add(a, b, c), add(d, e, last));
    let ((two_a, four_a), (two_b, four_b)) = (add(two_a, two_b, two_c), add(two_d, two_e, two_f));
    let (two, four_c) = add(two_a, two_b, two_g);
    let (four, eight) = add(four_a, four_b, four_c);
    // 16 + 16 + 32 + 64 at most in a byte.
    let (ones, twos) = (eights(fours(a) + fours(b)), eights(fours(two)));
    let more = eights(fours(four)) + eights(fours(eight)) * u16x8::splat(2);
    let bytes = ones + (twos + more * u16x8::splat(2)) * u16x8::splat(2);
    (bytes & u16x8::splat(0xff)) + (bytes >> 8_i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: what differs is counted in each lane, and is what a plain count says.
        #[test]
        fn what_differs_is_counted(
            eight in any::<[Signs; EIGHT]>(),
            one in prop_oneof![any::<Signs>(), Just([0; WORDS]), Just([u16::MAX; WORDS])],
        ) {
            let mut all = first(&eight[0]);
            for (lane, own) in eight.iter().enumerate() {
                put(&mut all, lane, own);
            }
            let plain = |own: &Signs| {
                let words = own.iter().zip(&one);
                u16::try_from(words.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>()).unwrap()
            };
            prop_assert_eq!(differing(&all, &one).to_array(), eight.map(|own| plain(&own)));
            for (lane, own) in eight.iter().enumerate() {
                prop_assert_eq!(get(&all, lane), *own);
            }
        }
    }

    /// Goal: the largest count fits.
    #[test]
    fn all_may_differ() {
        let all = [u16x8::splat(u16::MAX); WORDS];
        assert_eq!(differing(&all, &[0; WORDS]).to_array(), [256; EIGHT]);
    }
}
