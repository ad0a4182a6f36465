//! Cuts a word into pieces of the vocabulary: the longest that fits, again and again.
//!
//! ```text
//!   unaffable ─► una │ ##ffa │ ##ble          ##: inside a word
//!
//!   slots  ··│ check, id │····│ check, id │···   found by a hash that grows byte by byte, so one
//!                                                pass gives it for every beginning of a word
//! ```
//!
//! Invariants
//! - W1 A word has at least one token: [`UNKNOWN`] where the vocabulary does not cover it.
//! - W2 The cost of a word is linear in its length: a piece has at most [`PIECE_MAX`] bytes.

/// One piece a line; the line's number is its token.
const VOCABULARY: &str = include_str!("data/vocab.txt");

/// The token of a word that has no pieces.
pub(super) const UNKNOWN: u16 = 100;

/// Longer words, in characters, are unknown.
const WORD_MAX: usize = 100;

/// Bytes of the longest piece, without its `##`.
const PIECE_MAX: usize = 18;

/// Slots, a power of two: about twice the pieces.
const SLOTS: usize = 1 << 16;

/// Where hashes begin, for the first piece of a word and for the others.
const FIRST: u64 = 0x243f_6a88_85a3_08d3;
const INSIDE: u64 = 0x1319_8a2e_0370_7344;

/// A piece's place in the vocabulary.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// Bits of the hash that do not choose the slot.
    check: u16,
    /// 0 where the slot is empty: that token is no piece.
    token: u16,
}

/// The vocabulary, ready to be searched.
#[derive(Debug)]
pub(super) struct Pieces {
    slots: Box<[Slot]>,
    /// The pieces by token, without their `##`.
    texts: Vec<&'static [u8]>,
}

impl Pieces {
    pub(super) fn new() -> Self {
        let empty = Slot { check: 0, token: 0 };
        let mut made = Self {
            slots: vec![empty; SLOTS].into(),
            texts: Vec::with_capacity(super::table::TOKENS),
        };
        for (token, line) in (0_u16..).zip(VOCABULARY.lines()) {
            // "[MASK]" and its like; a lone bracket is a piece
            let is_special = line.len() > 1 && line.starts_with('[');
            let inside = line.strip_prefix("##").filter(|piece| !piece.is_empty());
            let piece = inside.unwrap_or(line).as_bytes();
            made.texts.push(piece);
            if !is_special {
                let start = if inside.is_some() { INSIDE } else { FIRST };
                made.put(hash_of(piece, start), token);
            }
        }
        made
    }

    fn put(&mut self, hash: u64, token: u16) {
        let (at, check) = parts(hash);
        let (before, after) = self.slots.split_at_mut(at);
        let free = after.iter_mut().chain(before).find(|s| s.token == 0);
        if let Some(slot) = free {
            *slot = Slot { check, token };
        }
    }

    /// The token of the piece with this hash and these bytes.
    fn find(&self, hash: u64, piece: &[u8]) -> Option<u16> {
        let (at, check) = parts(hash);
        let (before, after) = self.slots.split_at(at);
        let mut full = after.iter().chain(before).take_while(|s| s.token != 0);
        let is_it =
            |s: &&Slot| s.check == check && self.texts.get(usize::from(s.token)) == Some(&piece);
        full.find(is_it).map(|slot| slot.token)
    }

    /// Adds the tokens of `word`.
    pub(super) fn cut(&self, word: &[u8], tokens: &mut Vec<u16>) {
        let before = tokens.len();
        let (mut rest, mut start) = (word, FIRST);
        let is_long = word.len() > WORD_MAX && characters(word) > WORD_MAX;
        while !rest.is_empty() && !is_long {
            let Some((token, len)) = self.longest(rest, start) else {
                break;
            };
            tokens.push(token);
            rest = rest.get(len..).unwrap_or_default();
            start = INSIDE;
        }
        if !rest.is_empty() {
            tokens.truncate(before);
            tokens.push(UNKNOWN);
        }
    }

    /// The longest piece that `rest` begins with, and its length.
    #[inline]
    fn longest(&self, rest: &[u8], start: u64) -> Option<(u16, usize)> {
        let (mut hashes, mut hash) = ([0; PIECE_MAX], start);
        for (place, byte) in hashes.iter_mut().zip(rest) {
            hash = step(hash, *byte);
            *place = hash;
        }
        let ends = hashes.iter().enumerate().take(rest.len()).rev();
        ends.into_iter().find_map(|(last, hash)| {
            let token = self.find(*hash, rest.get(..=last)?)?;
            Some((token, last + 1))
        })
    }
}

/// The hash of a piece.
fn hash_of(piece: &[u8], start: u64) -> u64 {
    piece.iter().fold(start, |hash, byte| step(hash, *byte))
}

/// The hash of a piece that is one byte longer.
fn step(hash: u64, byte: u8) -> u64 {
    (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Slot and check.
#[expect(clippy::cast_possible_truncation, reason = "sixteen bits each")]
fn parts(hash: u64) -> (usize, u16) {
    ((hash >> 48) as usize, (hash >> 32) as u16)
}

/// How many characters these bytes of UTF-8 are.
fn characters(word: &[u8]) -> usize {
    word.iter().filter(|byte| **byte & 0xc0 != 0x80).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: W2, and no piece was left out for want of a slot. Method: every piece is found,
    /// as a whole.
    #[test]
    fn every_piece_is_found() {
        let pieces = Pieces::new();
        let longest = pieces.texts.iter().zip(VOCABULARY.lines());
        let longest = longest.filter(|(_, line)| line.len() == 1 || !line.starts_with('['));
        assert_eq!(longest.map(|(p, _)| p.len()).max(), Some(PIECE_MAX));
        for (token, line) in (0_u16..).zip(VOCABULARY.lines()) {
            if line.len() == 1 || !line.starts_with('[') {
                let inside = line.strip_prefix("##").filter(|p| !p.is_empty());
                let start = if inside.is_some() { INSIDE } else { FIRST };
                let piece = inside.unwrap_or(line).as_bytes();
                let hash = hash_of(piece, start);
                assert_eq!(pieces.find(hash, piece), Some(token), "{line}");
            }
        }
    }

    /// Goal: W1. Method: words without pieces, too long ones, and one of exactly the limit.
    #[test]
    fn what_has_no_pieces_is_unknown() {
        let pieces = Pieces::new();
        let tokens = |word: &str| {
            let mut tokens = vec![7];
            pieces.cut(word.as_bytes(), &mut tokens);
            assert_eq!(tokens.remove(0), 7, "what was there stays");
            tokens
        };
        assert_eq!(tokens("🍕"), [UNKNOWN]);
        assert_eq!(tokens("word🍕"), [UNKNOWN], "not even in part");
        assert_eq!(tokens(&"a".repeat(WORD_MAX + 1)), [UNKNOWN]);
        assert!(tokens(&"a".repeat(WORD_MAX)).len() > 10);
        assert!(tokens(&"ж".repeat(WORD_MAX)).len() > 10, "characters count");
    }
}
