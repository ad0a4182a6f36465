//! Turns a text into 256 small numbers, such that like texts point in like directions.
//!
//! ```text
//!   "Größe, please"
//!      │ chars   lower case, accents off, what is not printed dropped; cut at spaces, at marks
//!      ▼
//!   grosse │ , │ please
//!      │ pieces  the longest piece of a vocabulary of 30,522 that fits, again and again
//!      ▼
//!   [24665, 12113] │ [1010] │ [3531]
//!      │ table   one row of 256 a piece, summed up; common pieces have short rows
//!      ▼
//!   Vector { dims: [i8; 256], unit }
//! ```
//!
//! The rows are distilled from a sentence encoder by `scripts/embedder` and compiled in; nothing
//! is read or fetched at run time. `data/NOTICE` says what they were made from.
//!
//! Where the operator names a provider instead, [`asked`] says what it is asked and reads what it
//! answers, [`narrow`] makes 256 numbers of that, and [`known`] keeps them for a while.
//!
//! Invariants
//! - E1 Pieces are those of the package `tokenizers` with BERT's uncased vocabulary
//!   (`cases.jsonl` was made by it); only that a text which says `[CLS]` is taken by its letters.
//! - E2 The same text has the same vector on every machine and in every shard.
//! - E3 With a [`Scratch`] that has seen a text as long, nothing is allocated.
//!
//! Source: Devlin et al. 2019 (BERT's `WordPiece`), Arora et al. 2017 (weights), all-MiniLM-L6-v2
//! (the encoder).

pub mod asked;
mod chars;
pub mod known;
pub mod narrow;
mod pieces;
mod table;
mod vector;

pub use asked::Placed;
pub use vector::{DIMS, Vector};

use chars::Chars;
use pieces::Pieces;
use std::sync::LazyLock;

/// Changes when the same text may get another vector: with the data, or with [`RULES`].
/// Vectors of different versions say nothing about each other.
pub const VERSION: u64 = version();

/// To be raised when the code makes other vectors of the same data.
const RULES: u8 = 1;

/// The data's checksums, which `tests` compares with the data.
const SUMS: &str = include_str!("data/SHA256SUMS");

/// The built-in embedder: two tables of what is compiled in, made when first asked for and never
/// changed.
static BUILTIN: LazyLock<Embedder> = LazyLock::new(|| Embedder {
    chars: Chars::new(),
    pieces: Pieces::new(),
});

/// Makes vectors of texts.
#[derive(Debug)]
pub struct Embedder {
    chars: Chars,
    pieces: Pieces,
}

/// The memory that embedding needs, to be used again.
#[derive(Debug, Default)]
pub struct Scratch {
    word: Vec<u8>,
    tokens: Vec<u16>,
}

/// The built-in embedder. The first call takes 1.5 ms: better made before there are requests.
pub fn builtin() -> &'static Embedder {
    &BUILTIN
}

impl Embedder {
    /// The direction of `text`; None where it has no piece at all, or pieces that cancel out.
    ///
    /// The whole text is read: the caller limits its length. About 2 µs for 30
    /// pieces, 20 µs for 300.
    pub fn embed(&self, text: &str, scratch: &mut Scratch) -> Option<Vector> {
        let Scratch { word, tokens } = scratch;
        tokens.clear();
        self.chars
            .split(text, word, |word| self.pieces.cut(word, tokens));
        Self::vector(tokens)
    }

    /// Calls `take` with each word of `text` as it is compared (lower case, without accents;
    /// each mark is a word) and with the word's tokens, of which there is at least one.
    ///
    /// Tokens may be kept and given to [`Self::vector`] later, by the same [`VERSION`].
    pub fn words(&self, text: &str, scratch: &mut Scratch, mut take: impl FnMut(&str, &[u16])) {
        let Scratch { word, tokens } = scratch;
        self.chars.split(text, word, |word| {
            tokens.clear();
            self.pieces.cut(word, tokens);
            if let Ok(word) = std::str::from_utf8(word) {
                take(word, tokens);
            }
        });
    }

    /// The direction of what these tokens say together. None where there are none.
    ///
    /// Numbers that are no token's count as nothing.
    pub fn vector(tokens: &[u16]) -> Option<Vector> {
        Vector::of(&table::sum(tokens))
    }
}

/// FNV-1a over what vectors depend on.
const fn version() -> u64 {
    let (mut hash, mut rest) = (0xcbf2_9ce4_8422_2325 ^ RULES as u64, SUMS.as_bytes());
    while let Some((&byte, tail)) = rest.split_first() {
        hash = (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests;
