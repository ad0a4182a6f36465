//! The seam between what a client has of an answer and what another model says next.
//!
//! ```text
//!   the client has   │ … over the lazy d│          │ … over the lazy    │     │ The quick …  │
//!   the model says                      │og. It …  │ the lazy dog. It … │     │ The quick … dog. It …
//!   what passes                         │og. It …      drop ┘   └ passes      drop ───────┘ └ passes
//!                    prefill: exactly there          it repeats the end      it starts again
//! ```
//!
//! A model that was given the beginning of its answer ([`Way::Prefill`]) goes on exactly where
//! that ended; one that was told to go on ([`Way::Instruction`]) is asked to repeat the last
//! words, and may or may not. White space at the end of what was said is not sent
//! (providers refuse it), so it is what comes first, and what of it the client has is dropped.
//!
//! Invariants
//! - I1 What passes does not depend on how the new text was cut into pieces.
//! - I2 No character and no escape is cut; a pair of surrogates may come in two pieces.
//! - I3 While nothing is decided at most [`OVERLAP_MAX`] bytes and one piece are held: text is
//!   held only as long as it is what was said before. After that pieces pass as they come.
//! - I4 A text that starts again and then says something else is not spliced: [`Diverged`].

use super::model::Text;
use crate::wire::json::scan::unescape_into;

/// Bytes at the end of what was said that may be repeated.
pub const OVERLAP_MAX: usize = 1024;

/// Characters that are enough for a repetition not to be by chance.
const SURE_CHARS: usize = 12;

/// How many of them must differ: rules, tables and rows of zeros go on as they began.
const SURE_KINDS: usize = 5;

/// Characters from the very beginning that are enough for a model to have started again.
const RESTART_CHARS: usize = 32;

/// Characters that are enough when they are all that was said, and the model was asked to
/// repeat them.
const ALL_CHARS: usize = 4;

/// Characters of two words or more that are enough for the same.
const WORDS_CHARS: usize = 8;

/// Letters of a word that is not taken for a part of the one that it would be glued to.
const WORD_LETTERS: usize = 3;

/// How a model was asked to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The conversation ends with the beginning of its own answer.
    Prefill,
    /// It is told to.
    Instruction,
}

impl Way {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prefill => "prefill",
            Self::Instruction => "instruction",
        }
    }
}

/// The new text starts again and then says something else (I4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diverged;

/// Where the new text is, as positions in what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is decided.
    Looking,
    /// It repeats what was said, up to here.
    Repeating { at: usize },
    /// It is at the white space with which that ended.
    Spaces { at: usize },
    /// It is new.
    Through,
}

/// What is known from the text so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    /// More is needed.
    Wait,
    /// It is new from its first byte on.
    New,
    /// So many bytes of it were said before, up to the end of that.
    Overlap(usize),
    /// It starts again; so many bytes of it are before that.
    Restart(usize),
}

/// Drops from a new text what a client has.
#[derive(Debug)]
pub struct Seam {
    way: Way,
    /// What the client has.
    said: String,
    /// Its length without the white space at its end.
    solid: usize,
    /// New text that is held.
    held: String,
    /// The first half of a pair of surrogates, as an escape.
    half: Vec<u8>,
    state: State,
}

impl Seam {
    /// Behind `said`, for a model that was asked to go on in this `way`.
    pub fn new(said: String, way: Way) -> Self {
        let solid = said.trim_end().len();
        let state = match solid {
            0 => State::Spaces { at: 0 },
            _ => State::Looking,
        };
        Self {
            way,
            said,
            solid,
            held: String::new(),
            half: Vec::new(),
            state,
        }
    }

    /// Whether everything passes from here on as it comes.
    pub fn is_through(&self) -> bool {
        self.state == State::Through
    }

    /// Takes the next piece of the new text; `each` gets what passes.
    ///
    /// # Errors
    /// [`Diverged`].
    pub fn push(&mut self, text: Text<'_>, each: &mut dyn FnMut(Text<'_>)) -> Result<(), Diverged> {
        if self.is_through() {
            each(text);
            return Ok(());
        }
        match text {
            Text::Plain(plain) => {
                if !self.half.is_empty() {
                    self.give_up(b"", each);
                    each(text);
                    return Ok(());
                }
                self.held.push_str(plain);
            }
            Text::Escaped(raw) => {
                let mut all = std::mem::take(&mut self.half);
                all.extend_from_slice(raw);
                let half = all.split_off(all.len() - half_of_pair(&all));
                let mut bytes = Vec::with_capacity(all.len());
                let is_text = unescape_into(&all, &mut bytes);
                match String::from_utf8(bytes) {
                    Ok(plain) if is_text => self.held.push_str(&plain),
                    _ => {
                        all.extend_from_slice(&half);
                        self.give_up(&all, each);
                        return Ok(());
                    }
                }
                self.half = half;
            }
        }
        self.advance(false, each)
    }

    /// The new text is over.
    ///
    /// # Errors
    /// [`Diverged`]: it started again and ended before it came to where the client is.
    pub fn end(&mut self, each: &mut dyn FnMut(Text<'_>)) -> Result<(), Diverged> {
        self.advance(true, each)?;
        let half = std::mem::take(&mut self.half);
        if !half.is_empty() {
            each(Text::Escaped(&half));
        }
        Ok(())
    }

    /// Something came that cannot be compared: all passes, with `raw` behind it.
    fn give_up(&mut self, raw: &[u8], each: &mut dyn FnMut(Text<'_>)) {
        self.state = State::Through;
        let (held, half) = (
            std::mem::take(&mut self.held),
            std::mem::take(&mut self.half),
        );
        for text in [Text::Plain(&held), Text::Escaped(&half), Text::Escaped(raw)] {
            if !text.is_empty() {
                each(text);
            }
        }
    }

    fn advance(&mut self, is_over: bool, each: &mut dyn FnMut(Text<'_>)) -> Result<(), Diverged> {
        if self.state == State::Looking {
            let spaces = State::Spaces { at: self.solid };
            self.state = match self.look(is_over) {
                Look::Wait => return Ok(()),
                Look::New => spaces,
                Look::Overlap(len) => {
                    self.held.drain(..len);
                    spaces
                }
                Look::Restart(before) => {
                    self.held.drain(..before);
                    State::Repeating { at: self.start() }
                }
            };
        }
        if let State::Repeating { at } = self.state {
            let rest = self.said.get(at..self.solid).unwrap_or_default();
            let same = common(rest, &self.held);
            let is_at_end = same == rest.len();
            if !is_at_end && (same < self.held.len() || is_over) {
                return Err(Diverged);
            }
            self.held.drain(..same);
            self.state = if is_at_end {
                State::Spaces { at: self.solid }
            } else {
                State::Repeating { at: at + same }
            };
        }
        if let State::Spaces { at } = self.state {
            let rest = self.said.get(at..).unwrap_or_default();
            let same = common(rest, &self.held);
            self.held.drain(..same);
            let is_at_end = same == rest.len();
            self.state = if is_at_end || is_over || !self.held.is_empty() {
                State::Through
            } else {
                State::Spaces { at: at + same }
            };
        }
        if self.is_through() {
            let held = std::mem::take(&mut self.held);
            let half = std::mem::take(&mut self.half);
            for text in [Text::Plain(&held), Text::Escaped(&half)] {
                if !text.is_empty() {
                    each(text);
                }
            }
        }
        Ok(())
    }

    /// Where what was said begins, but for white space.
    fn start(&self) -> usize {
        self.said.len() - self.said.trim_start().len()
    }

    fn look(&self, is_over: bool) -> Look {
        let new = self.held.trim_start();
        let before = self.held.len() - new.len();
        if new.is_empty() {
            let waits = !is_over && before < OVERLAP_MAX;
            return if waits { Look::Wait } else { Look::New };
        }
        let solid = self.said.get(..self.solid).unwrap_or_default();
        let again = solid.get(self.start()..).unwrap_or_default();
        let mut may_come = false;
        if self.way == Way::Instruction {
            let window = last(solid, OVERLAP_MAX);
            let starts = memchr::memmem::find_iter(window.as_bytes(), new);
            may_come = starts.into_iter().any(|at| {
                let rest = window.len() - at;
                rest > new.len() || !self.counts(new.len(), new, false)
            });
            if !may_come || is_over {
                let lengths = (1..=new.len().min(window.len())).rev();
                let mut ends = lengths.filter(|&len| {
                    new.get(..len).is_some_and(|begin| window.ends_with(begin))
                        && self.counts(len, new, is_over)
                });
                if let Some(len) = ends.next() {
                    return Look::Overlap(before + len);
                }
            }
        }
        let same = common(again, new);
        let same_chars = |len: usize| new.get(..len).map_or(0, |text| text.chars().count());
        let is_whole = same == again.len();
        if !may_come || is_over {
            let is_sure = same_chars(same) >= RESTART_CHARS;
            if is_sure || is_whole && self.counts(same, new, is_over) {
                return Look::Restart(before);
            }
        }
        let may_be_whole = is_whole && same == new.len();
        let may_restart = same == new.len() && (same < again.len() || may_be_whole);
        if !is_over && (may_come || may_restart) {
            return Look::Wait;
        }
        Look::New
    }

    /// Whether it is no chance that `new` begins with the last `len` bytes of what was said.
    fn counts(&self, len: usize, new: &str, is_over: bool) -> bool {
        let solid = self.said.get(..self.solid).unwrap_or_default();
        let (Some(same), Some(left)) = (new.get(..len), solid.len().checked_sub(len)) else {
            return false;
        };
        let chars = same.chars().count();
        let is_all = self.way == Way::Instruction && left == self.start();
        let is_sure = chars >= SURE_CHARS && has_kinds(same, SURE_KINDS);
        if is_sure || is_all && chars >= ALL_CHARS {
            return true;
        }
        let after = new.get(len..).and_then(|rest| rest.chars().next());
        if after.is_none() && !is_over {
            return false; // whether a word ends here is not known
        }
        let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        let before = solid
            .get(..left)
            .and_then(|front| front.chars().next_back());
        let (first, last) = (same.chars().next(), same.chars().next_back());
        let cuts_word =
            is_letter(before) && is_letter(first) || is_letter(last) && is_letter(after);
        if cuts_word {
            return false;
        }
        let words = same.split(|c: char| !c.is_alphanumeric());
        let words = words.filter(|word| !word.is_empty()).count();
        let letters = same.chars().filter(|c| c.is_alphabetic()).count();
        let is_glued = is_letter(last) && self.solid == self.said.len();
        words >= 2 && chars >= WORDS_CHARS && has_kinds(same, SURE_KINDS)
            || words == 1 && is_glued && letters >= WORD_LETTERS
    }
}

/// How many bytes both begin with, in whole characters.
fn common(a: &str, b: &str) -> usize {
    let pairs = a.chars().zip(b.chars());
    let same = pairs.take_while(|(a, b)| a == b);
    same.map(|(c, _)| c.len_utf8()).sum()
}

/// Whether there are `count` different characters in `text`, or more.
fn has_kinds(text: &str, count: usize) -> bool {
    let mut rest = text;
    for _ in 1..count {
        let Some(first) = rest.chars().next() else {
            return false;
        };
        rest = rest.trim_start_matches(first);
        // What came before may come again.
        let before = text.get(..text.len() - rest.len()).unwrap_or_default();
        rest = rest.trim_start_matches(|c| before.contains(c));
    }
    !rest.is_empty()
}

/// The last `max` bytes of `text` at the most, in whole characters.
fn last(text: &str, max: usize) -> &str {
    let mut at = text.len().saturating_sub(max);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    text.get(at..).unwrap_or_default()
}

/// The length of the escape of a first surrogate at the end of `raw`; 0 without.
fn half_of_pair(raw: &[u8]) -> usize {
    const LEN: usize = br"\ud83d".len();
    let Some(at) = raw.len().checked_sub(LEN) else {
        return 0;
    };
    let is_first = match raw.get(at..) {
        Some([b'\\', b'u', d, high, _, _]) => {
            d.eq_ignore_ascii_case(&b'd') && matches!(high, b'8' | b'9' | b'a' | b'b' | b'A' | b'B')
        }
        _ => false,
    };
    let front = raw.get(..at).unwrap_or_default();
    let slashes = front.iter().rev().take_while(|&&b| b == b'\\').count();
    if is_first && slashes % 2 == 0 { LEN } else { 0 }
}

#[cfg(test)]
#[path = "seam_tests.rs"]
mod tests;
