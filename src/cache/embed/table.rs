//! The rows: for each piece of the vocabulary, what it adds to the meaning of a text.
//!
//! ```text
//!   table.bin   magic, u32 tokens, u32 dims, zeros │ 30,522 × 256 × i8 │ 30,522 × f32
//!               0                                   64                  scale of each row
//! ```

use super::DIMS;
use std::hint::black_box;

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

/// Rows that are asked for before the first of them is needed: few are near, and many can be on
/// their way at a time. Of 300, none near, the sum took 46 µs without, and 26 with it.
const AHEAD: usize = 16;

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// The row of a token, and its scale.
fn row(token: u16) -> Option<(&'static [u8; DIMS], f32)> {
    let token = usize::from(token);
    Some((ROWS.get(token)?, f32::from_le_bytes(*SCALES.get(token)?)))
}

/// The rows of these tokens, summed up.
pub(super) fn sum(tokens: &[u16]) -> [f32; DIMS] {
    let mut sum = [0.0; DIMS];
    for tokens in tokens.chunks(AHEAD) {
        let rows = || tokens.iter().filter_map(|token| row(*token));
        let lines = rows().flat_map(|(row, _)| row.iter().step_by(LINE));
        black_box(lines.fold(0, |read, byte| read | byte));
        for (row, scale) in rows() {
            for (sum, dim) in sum.iter_mut().zip(row) {
                *sum += f32::from(dim.cast_signed()) * scale;
            }
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
