//! The rows: for each piece of the vocabulary, what it adds to the meaning of a text.
//!
//! ```text
//!   table.bin   magic, u32 tokens, u32 dims, zeros │ 30,522 × 256 × i8 │ 30,522 × f32
//!               0                                   64                  scale of each row
//! ```

use super::DIMS;

/// Pieces in the vocabulary.
pub(super) const TOKENS: usize = 30_522;

const HEAD: usize = 64;
const ROWS_END: usize = HEAD + TOKENS * DIMS;
const SIZE: usize = ROWS_END + TOKENS * size_of::<f32>();

/// So that a row is four lines of the processor's cache, not five.
#[repr(align(64))]
struct Aligned([u8; SIZE]);

static TABLE: Aligned = Aligned(*include_bytes!("data/table.bin"));

static ROWS: &[[u8; DIMS]] = TABLE.0.split_at(ROWS_END).0.split_at(HEAD).1.as_chunks().0;
static SCALES: &[[u8; 4]] = TABLE.0.split_at(ROWS_END).1.as_chunks().0;

/// The rows of these tokens, summed up.
pub(super) fn sum(tokens: &[u16]) -> [f32; DIMS] {
    let mut sum = [0.0; DIMS];
    for token in tokens {
        let token = usize::from(*token);
        let (Some(row), Some(scale)) = (ROWS.get(token), SCALES.get(token)) else {
            continue;
        };
        let scale = f32::from_le_bytes(*scale);
        for (sum, dim) in sum.iter_mut().zip(row) {
            *sum += f32::from(dim.cast_signed()) * scale;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the file is what is read here. Method: its head, and a row for every token.
    #[test]
    fn the_head_says_what_follows() {
        assert_eq!(&TABLE.0[..8], b"SGTABLE1");
        let number = |at: usize| u32::from_le_bytes(TABLE.0[at..at + 4].try_into().unwrap());
        assert_eq!((number(8) as usize, number(12) as usize), (TOKENS, DIMS));
        assert_eq!((ROWS.len(), SCALES.len()), (TOKENS, TOKENS));
    }

    /// Goal: a token that is none counts as nothing.
    #[test]
    fn strange_tokens_are_left_out() {
        let bits = |tokens: &[u16]| sum(tokens).map(f32::to_bits);
        assert_eq!(bits(&[2054, u16::MAX, 2003]), bits(&[2054, 2003]));
        assert_eq!(bits(&[]), [0; DIMS]);
    }
}
