//! Where one JSON token ends: strings, numbers, literals, whitespace.
//!
//! Strings are the bulk of a prompt: they are read 16 bytes at a time, and by memchr once they
//! have shown to be long.
//!
//! Source: RFC 8259, sections 2 (whitespace), 3 (literals), 6 (numbers), 7 (strings).

use memchr::memchr2;
use multiversion::multiversion;

use super::fault::{JsonError, JsonFault, Wanted};
use crate::wire::lanes::{LANES, Lanes};

/// The byte at `at`, or 0 beyond the end (0 starts no token and is legal nowhere).
#[inline]
pub(super) fn byte(json: &[u8], at: usize) -> u8 {
    json.get(at).copied().unwrap_or(0)
}

/// The first position at or after `at` that is no whitespace.
#[inline]
pub(super) fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(byte(json, at), b' ' | b'\n' | b'\r' | b'\t') {
        at += 1;
    }
    at
}

/// `at` is behind the opening quote: the position of the closing one, and whether there
/// was an escape on the way. Lone surrogates (`\ud800`) pass: they are grammatical. Every
/// byte of the string is added to `bits`.
#[inline]
pub(super) fn string_end(
    json: &[u8],
    at: usize,
    bits: &mut Bits,
) -> Result<(usize, bool), JsonError> {
    let mut at = at;
    // Most end here: keys, roles, tokens.
    if let Some(block) = json.get(at..).and_then(<[u8]>::first_chunk) {
        at += first_special(block, bits);
        if byte(json, at) == b'"' {
            return Ok((at, false));
        }
    }
    any_string_end(json, at, bits)
}

fn any_string_end(json: &[u8], at: usize, bits: &mut Bits) -> Result<(usize, bool), JsonError> {
    let mut at = run(json, at, bits);
    let mut escaped = false;
    loop {
        match byte(json, at) {
            b'"' => return Ok((at, escaped)),
            b'\\' => {
                escaped = true;
                at = escape_end(json, at)?;
                if byte(json, at) != b'\\' {
                    at = run(json, at, bits);
                }
            }
            _ if at < json.len() => return Err(JsonError::new(JsonFault::ControlInString, at)),
            _ => return Err(JsonError::expected(Wanted::ClosingQuote, json, at)),
        }
    }
}

/// `at` is on a backslash: the position behind its escape.
fn escape_end(json: &[u8], at: usize) -> Result<usize, JsonError> {
    match byte(json, at + 1) {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Ok(at + 2),
        b'u' => match json.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(JsonError::new(JsonFault::BadEscape, at)),
        },
        _ => Err(JsonError::new(JsonFault::BadEscape, at)),
    }
}

/// The first position at or after `from` that is a quote, a backslash or a control
/// character, or the end.
#[inline]
pub fn plain_run(json: &[u8], from: usize) -> usize {
    run(json, from, &mut Bits::default())
}

/// [`plain_run`]; what was looked at is added to `bits`, and perhaps some of what follows.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "40 instructions of a relayed event's 300, counted"
)]
fn run(json: &[u8], from: usize, bits: &mut Bits) -> usize {
    let rest = json.get(from..).unwrap_or_default();
    // Most strings end in the first block: keys, roles, tokens.
    let (blocks, _) = rest.as_chunks::<LANES>();
    match blocks {
        [first, second, ..] => match first_special(first, bits) {
            LANES => match first_special(second, bits) {
                LANES => long_run(json, from + BLOCK, bits),
                found => from + LANES + found,
            },
            found => from + found,
        },
        _ => from + last_special(rest, bits),
    }
}

/// The same, for strings that have shown to be long: the next quote or backslash by memchr,
/// then one pass for the smallest byte before it, and for all bits. Both are vector code;
/// a piece is still in the first cache when it is read again.
fn long_run(json: &[u8], from: usize, bits: &mut Bits) -> usize {
    let mut at = from;
    for piece in json.get(from..).unwrap_or_default().chunks(PIECE) {
        let stop = memchr2(b'"', b'\\', piece);
        let run = stop.and_then(|stop| piece.get(..stop)).unwrap_or(piece);
        let (least, all) = least_and_all(run);
        bits.0 |= u32::from(all & 0x80);
        if least < 0x20 {
            return at + last_special(run, bits);
        }
        if stop.is_some() {
            return at + run.len();
        }
        at += piece.len();
    }
    at
}

/// The least byte of `run`, and all bits that are in it. There is no branch in here, so that it
/// becomes vector instructions: twice as wide where the machine has AVX2. (No closure either: it
/// would be told of AVX2, and what calls it would not, so that neither gets into the other.)
#[multiversion(targets("x86_64+avx2"))]
fn least_and_all(run: &[u8]) -> (u8, u8) {
    let (mut least, mut all) = (u8::MAX, 0);
    for &byte in run {
        (least, all) = (least.min(byte), all | byte);
    }
    (least, all)
}

/// The highest bits of bytes of strings; outside of them JSON is ASCII.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits(u32);

impl Bits {
    /// Whether no byte was beyond ASCII.
    pub(super) fn are_ascii(self) -> bool {
        self.0 == 0
    }
}

/// What is looked at before a string counts as long.
const BLOCK: usize = 2 * LANES;

/// What a long string is read by: an eighth of the smallest first cache in use (32 KiB).
const PIECE: usize = 4096;

/// The place of the first quote, backslash or control character, or [`LANES`].
#[inline]
fn first_special(block: &[u8; LANES], bits: &mut Bits) -> usize {
    let lanes = Lanes::of(block);
    bits.0 |= lanes.tops();
    let quotes = lanes.equal(b'"').or(lanes.equal(b'\\'));
    let marks = quotes.or(lanes.up_to(0x1f)).tops();
    (marks | 1 << LANES).trailing_zeros() as usize
}

/// The same of any number of bytes, or their number.
fn last_special(bytes: &[u8], bits: &mut Bits) -> usize {
    let (blocks, rest) = bytes.as_chunks::<LANES>();
    for (index, block) in blocks.iter().enumerate() {
        let found = first_special(block, bits);
        if found < LANES {
            return index * LANES + found;
        }
    }
    for (index, &byte) in rest.iter().enumerate() {
        bits.0 |= u32::from(byte & 0x80);
        if byte < 0x20 || byte == b'"' || byte == b'\\' {
            return blocks.len() * LANES + index;
        }
    }
    bytes.len()
}

/// `at` is on the first byte of a number: the position behind it.
pub(super) fn number_end(json: &[u8], at: usize) -> Result<usize, JsonError> {
    let mut at = at + usize::from(byte(json, at) == b'-');
    at = match byte(json, at) {
        b'0' => at + 1,
        _ => digits_end(json, at)?,
    };
    if byte(json, at) == b'.' {
        at = digits_end(json, at + 1)?;
    }
    if matches!(byte(json, at), b'e' | b'E') {
        at += 1 + usize::from(matches!(byte(json, at + 1), b'+' | b'-'));
        at = digits_end(json, at)?;
    }
    Ok(at)
}

/// Behind one or more digits.
fn digits_end(json: &[u8], from: usize) -> Result<usize, JsonError> {
    let mut at = from;
    while byte(json, at).is_ascii_digit() {
        at += 1;
    }
    if at == from {
        return Err(JsonError::expected(Wanted::Digit, json, at));
    }
    Ok(at)
}

/// Behind `word`, if it stands at `at`.
#[inline]
pub(super) fn literal_end(json: &[u8], at: usize, word: &'static str) -> Result<usize, JsonError> {
    match json.get(at..at + word.len()) {
        Some(bytes) if bytes == word.as_bytes() => Ok(at + word.len()),
        _ => Err(JsonError::expected(Wanted::Literal, json, at)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the fast paths find what a plain loop finds. Method: one special byte at every
    /// place of strings of every length up to three blocks.
    #[test]
    fn the_fast_string_scan_finds_the_first_special_byte() {
        for len in 0..(3 * BLOCK) {
            for fill in [b'a', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xa2, 0xff] {
                let mut text = vec![fill; len];
                assert_eq!(plain_run(&text, 0), len);
                for place in 0..len {
                    for special in [0, 0x1f, b'"', b'\\'] {
                        let kept = std::mem::replace(&mut text[place], special);
                        assert_eq!(plain_run(&text, 0), place, "{len} {fill} {special}");
                        text[place] = kept;
                    }
                }
            }
        }
    }

    /// Goal: long strings end where a plain loop ends them, also at the edges of pieces, and
    /// a control character before the quote is found before it. Method: two special bytes at
    /// places around every edge.
    #[test]
    fn long_strings_end_at_the_first_special_byte() {
        let edges = [BLOCK, BLOCK + PIECE, BLOCK + 2 * PIECE];
        let places: Vec<usize> = edges.iter().flat_map(|&e| e - 2..e + 3).collect();
        let mut text = vec![b'a'; BLOCK + 2 * PIECE + 7];
        assert_eq!(plain_run(&text, 0), text.len());
        for &first in &places {
            for &second in places.iter().filter(|&&p| p > first) {
                for (one, two) in [(b'"', 0), (0, b'"'), (0x1f, b'\\'), (b'\\', b'"')] {
                    (text[first], text[second]) = (one, two);
                    assert_eq!(plain_run(&text, 0), first, "{one} {two} {second}");
                    (text[first], text[second]) = (b'a', b'a');
                }
            }
        }
    }

    /// Goal: every byte value is classed alike by lanes and by the plain way, at every place,
    /// and a byte beyond ASCII is noted where it was looked at.
    #[test]
    fn every_byte_value_is_classed_alike() {
        for b in 0..=u8::MAX {
            for fill in [b'a', 0x20, 0x21, 0x23, 0x5b, 0x5d, 0x80, 0xff, b'"'] {
                for (place, len) in (0..40).flat_map(|place| [(place, 40), (place, 64)]) {
                    let mut bytes = vec![fill; len];
                    bytes[place] = b;
                    let plain = bytes
                        .iter()
                        .position(|&b| matches!(b, 0..0x20 | b'"' | b'\\'));
                    let end = plain.unwrap_or(len);
                    let mut bits = Bits::default();
                    assert_eq!(run(&bytes, 0, &mut bits), end, "{b:#x} {fill:#x}");
                    assert!(bytes[..end].is_ascii() || !bits.are_ascii());
                }
            }
        }
    }

    /// Goal: numbers by the grammar of section 6, nothing more.
    #[test]
    fn numbers_follow_the_grammar() {
        for good in [
            "0",
            "-0",
            "10",
            "1.5",
            "1e9",
            "1E+9",
            "1e-9",
            "-0.0e0",
            "123.456e7",
        ] {
            assert_eq!(number_end(good.as_bytes(), 0), Ok(good.len()), "{good}");
        }
        for bad in ["-", "", "1.", "1e", "1e+", ".5", "+1", "-a", "1.e1"] {
            assert!(number_end(bad.as_bytes(), 0).is_err(), "{bad}");
        }
        assert_eq!(
            number_end(b"012", 0),
            Ok(1),
            "a leading zero ends the number"
        );
    }
}
