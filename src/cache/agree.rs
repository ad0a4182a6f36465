//! Whether two answers say the same, as far as that can be told without a model.
//!
//! ```text
//!   words alike ─► yes
//!   else: numbers in common? ─► of short ones: as many negations, even or odd? ─► near? ─► yes
//! ```
//!
//! It is asked in audits. To say no where two samples of one model only differ in words costs a
//! hit; to say yes to another answer leaves an entry where it is until the next audit.
//!
//! Invariants
//! - A1 Symmetric, and a text agrees with itself.

use super::embed::{self, Scratch};
use super::guard::Guard;
use ahash::AHashSet;

/// Bytes of an answer that are looked at; the rest costs more than it would tell.
const BYTES_MAX: usize = 16 << 10;

/// The least cosine of answers that say the same.
const NEAR: f32 = 0.8;

/// Up to so many words, a negation turns an answer as a whole.
const SHORT: usize = 40;

/// See [the module](self).
pub fn agree(one: &str, other: &str, scratch: &mut Scratch) -> bool {
    let (one, other) = (head(one), head(other));
    let (mine, theirs) = (words(one), words(other));
    if mine == theirs {
        return true;
    }
    let is_short = mine.len() <= SHORT && theirs.len() <= SHORT;
    if !share_numbers(&mine, &theirs) || is_short && negates(one) != negates(other) {
        return false;
    }
    let mut vector = |text| embed::builtin().embed(text, scratch);
    let pair = vector(one).zip(vector(other));
    pair.is_some_and(|(one, other)| one.cosine(&other) >= NEAR)
}

fn head(text: &str) -> &str {
    // A letter has at most four bytes.
    let ends = (0..4).filter_map(|back| text.get(..BYTES_MAX - back));
    ends.into_iter().next().unwrap_or(text)
}

/// Lower case, without the marks around words; a sign stays.
fn words(text: &str) -> Vec<String> {
    let bare = |word: &str| {
        let word = word.trim_end_matches(|c: char| !c.is_alphanumeric() && c != '%');
        let inner = word.trim_start_matches(|c: char| !c.is_alphanumeric());
        let is_minus = word
            .strip_suffix(inner)
            .is_some_and(|marks| marks.ends_with(['-', '−']));
        let sign = if is_minus && inner.starts_with(|c: char| c.is_ascii_digit()) {
            "-"
        } else {
            ""
        };
        format!("{sign}{}", inner.to_lowercase())
    };
    let all = text.split_whitespace().map(bare);
    all.filter(|word| !word.is_empty()).collect()
}

/// Where both have numbers: at least half of those of the one that has fewer.
fn share_numbers(mine: &[String], theirs: &[String]) -> bool {
    let of = |words: &[String]| -> AHashSet<String> {
        let is_number = |word: &&String| word.bytes().any(|byte| byte.is_ascii_digit());
        words.iter().filter(is_number).cloned().collect()
    };
    let (mine, theirs) = (of(mine), of(theirs));
    let both = mine.intersection(&theirs).count();
    both * 2 >= mine.len().min(theirs.len())
}

fn negates(text: &str) -> bool {
    Guard::builtin().sketch(text).negations() % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: A1, and what is another answer although it is written nearly alike.
    #[test]
    fn answers_that_say_something_else_do_not_agree() {
        for (one, other, want) in [
            ("Paris.", "paris", true),
            (
                "The capital of France is Paris.",
                "Paris is the capital of France.",
                true,
            ),
            (
                "The capital of France is Paris.",
                "The capital of Germany is Berlin.",
                false,
            ),
            (
                "It has 68 million people.",
                "It has 84 million people.",
                false,
            ),
            ("It is 5 degrees.", "It is -5 degrees.", false),
            (
                "Yes, this is safe to eat.",
                "No, this is not safe to eat.",
                false,
            ),
            ("You can eat it raw.", "You can not eat it raw.", false),
            ("", "", true),
            ("", "Paris.", false),
        ] {
            let is = |one, other| agree(one, other, &mut Scratch::default());
            assert_eq!(is(one, other), want, "{one} | {other}");
            assert_eq!(is(other, one), want, "{other} | {one}");
            assert!(is(one, one));
        }
    }

    /// Goal: a long text is looked at up to a limit, and not cut in mid-letter.
    #[test]
    fn long_answers_are_looked_at_in_part() {
        let one = "ü".repeat(BYTES_MAX);
        assert!(agree(&one, &format!("{one} 7"), &mut Scratch::default()));
    }
}
