//! A direction in 256 whole numbers.
//!
//! ```text
//!   sum    0.031 -1.270  0.634 …      largest is 1.27, so times 100
//!   dims       3   -127     63 …      unit = 1 / length of dims
//!
//!   cosine(a, b) = Σ a.dims·b.dims × a.unit × b.unit
//! ```
//!
//! Invariants
//! - V1 The dot product is exact: 256 × 127² is far below 2³¹.
//! - V2 A vector is not zero, so its unit is finite.

/// Numbers in a vector.
pub const DIMS: usize = 256;

/// Added to a small f32, this leaves it rounded in the lowest bits: 1.5 × 2²³.
const ROUNDER: f32 = 12_582_912.0;

/// A direction: how like two texts are is the cosine of the angle between theirs.
#[derive(Clone, Debug, PartialEq)]
pub struct Vector {
    /// The components, the largest of which is ±127.
    pub dims: [i8; DIMS],
    /// What makes its length one: 1 / √Σ dims².
    pub unit: f32,
}

impl Vector {
    /// The direction of `sum`, rounded. None where it has none: zero, or not finite.
    pub fn of(sum: &[f32; DIMS]) -> Option<Self> {
        let largest = sum.iter().fold(0.0_f32, |most, dim| most.max(dim.abs()));
        let scale = 127.0 / largest;
        if !(scale.is_finite() && sum.iter().all(|dim| dim.is_finite())) {
            return None;
        }
        let dims = sum.map(|dim| rounded(dim * scale));
        let square: i32 = dims.iter().map(|dim| i32::from(*dim).pow(2)).sum();
        Some(Self {
            dims,
            unit: unit(square),
        })
    }

    /// How like: 1 the same direction, 0 nothing in common, −1 opposite.
    #[expect(clippy::cast_precision_loss, reason = "below 2²⁴, all but same ones")]
    pub fn cosine(&self, other: &Self) -> f32 {
        let pairs = self.dims.iter().zip(&other.dims);
        let dot: i32 = pairs.map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
        dot as f32 * self.unit * other.unit
    }
}

/// 1 / √square.
#[expect(clippy::cast_precision_loss, reason = "one part in ten million")]
fn unit(square: i32) -> f32 {
    1.0 / (square as f32).sqrt()
}

/// To the nearest whole number, of one between −127 and 127.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the number is in the lowest byte"
)]
fn rounded(dim: f32) -> i8 {
    ((dim + ROUNDER).to_bits() as u8).cast_signed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Goal: rounding loses little. Method: cosines of vectors and of the numbers that they
        /// were made from.
        #[test]
        fn cosines_stay(a in proptest::collection::vec(-3.0_f32..3.0, DIMS),
                        b in proptest::collection::vec(-3.0_f32..3.0, DIMS)) {
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
            let want = dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt();
            let of = |v: &Vec<f32>| Vector::of(&v.as_slice().try_into().unwrap()).unwrap();
            let (a, b) = (of(&a), of(&b));
            prop_assert!((a.cosine(&b) - want).abs() < 0.005);
            prop_assert!((a.cosine(&a) - 1.0).abs() < 1e-5);
        }

        /// Goal: the quick rounding is rounding.
        #[test]
        fn rounds_to_the_nearest(dim in -127.0_f32..=127.0) {
            prop_assert!((f32::from(rounded(dim)) - dim.round_ties_even()).abs() < f32::EPSILON);
        }
    }

    /// Goal: V2. Method: what has no direction.
    #[test]
    fn nothing_has_no_direction() {
        assert_eq!(Vector::of(&[0.0; DIMS]), None);
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut sum = [1.0; DIMS];
            sum[3] = odd;
            assert_eq!(Vector::of(&sum), None, "{odd}");
        }
    }
}
