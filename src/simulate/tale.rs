//! A long text that is always the same, with which a model goes on where it was cut off.
//!
//! ```text
//!   tale 7      Qavoru "zimela" \ kutané … 漢字rofi 🦊 …      words by seed, none of them twice
//!   pieces        ─┴───────┴──────┴─                          cut within words, by seed
//!   asked to go on behind "Qavoru "zi"  ─►  mela" \ kutané …
//!                     overlap-2         ─►  Qavoru "zimela" \ …     again  ─►  from the beginning
//! ```
//!
//! Invariants
//! - I1 The same seed and number of pieces give the same text.
//! - I2 Two words of a text are never the same, so that what is lost or doubled is seen.

use super::behave::Behaviour;
use crate::dialect::model::{Block, Dialect, Extra, Request, Role, Turn};

/// What may stand behind a word.
const ENDS: [&str; 10] = [
    " ",
    " ",
    " ",
    " ",
    ", ",
    ". ",
    "\n",
    "\n\n",
    " \"and\\so\" ",
    " 🦊 ",
];

/// What words are made of.
const SYLLABLES: [&str; 16] = [
    "ka", "zi", "mé", "lo", "ru", "ta", "vö", "ni", "su", "pe", "漢", "fa", "gi", "да", "ho", "wé",
];

/// The field by which servers of Chat are made to go on from the beginning of an answer.
const CONTINUE: &str = "continue_final_message";

/// The text of a `seed` in so many pieces.
pub(super) fn pieces(seed: u32, count: u32) -> Vec<String> {
    let mut dice = Dice(u64::from(seed));
    let mut pieces = Vec::new();
    let mut rest = String::new();
    for k in 0..count {
        let mut word = std::mem::take(&mut rest);
        let name = k.wrapping_mul(2_654_435_761) >> 16 | 1 << 16;
        for place in 0..4 {
            let syllable = (name >> (4 * place) & 15) as usize ^ dice.below(2);
            word.push_str(SYLLABLES.get(syllable).unwrap_or(&""));
        }
        for digit in k.to_string().bytes() {
            word.push(char::from(b'h' + digit % 10));
        }
        word.push_str(ENDS.get(dice.below(ENDS.len())).unwrap_or(&" "));
        let cut = 1 + dice.below(word.chars().count());
        let at = word
            .char_indices()
            .nth(cut)
            .map_or(word.len(), |(at, _)| at);
        if k + 1 < count {
            rest = word.split_off(at);
        }
        pieces.push(word);
    }
    pieces
}

/// What is said to `request` of the text of `how`, in pieces, by a provider of `dialect`.
pub(super) fn tell(request: &Request, dialect: Dialect, how: &Behaviour) -> Vec<String> {
    let seed = how.recite.unwrap_or_default();
    let all = pieces(seed, how.events);
    let text = all.concat();
    let said = said(request, dialect, &text);
    let mut skip = said.map_or(0, str::len);
    if how.again {
        skip = 0;
    }
    let repeats = said.map_or(0, |_| how.overlap);
    for _ in 0..repeats {
        let before = text.get(..skip).unwrap_or_default().trim_end();
        skip = before.rfind(char::is_whitespace).map_or(0, |at| {
            at + before
                .get(at..)
                .and_then(|s| s.chars().next())
                .map_or(0, char::len_utf8)
        });
    }
    let mut left = skip;
    let mut rest = Vec::new();
    for piece in all {
        let gone = left.min(piece.len());
        left -= gone;
        if let Some(piece) = piece.get(gone..).filter(|piece| !piece.is_empty()) {
            rest.push(piece.to_owned());
        }
    }
    rest
}

/// Whether `request` asks to go on with the text of `how`, if it has one.
pub(super) fn goes_on(request: &Request, dialect: Dialect, how: &Behaviour) -> bool {
    how.recite.is_some_and(|seed| {
        let text = pieces(seed, how.events).concat();
        said(request, dialect, &text).is_some()
    })
}

/// Whether the conversation ends with the beginning of an answer.
pub(super) fn is_prefilled(request: &Request) -> bool {
    let last = request.turns.last();
    last.is_some_and(|turn| turn.role == Role::Assistant)
}

/// How much of `text` was said before, when the request asks to go on with it: a last turn of
/// the assistant's, or one with a turn of the user's behind it.
fn said<'r>(request: &'r Request, dialect: Dialect, text: &str) -> Option<&'r str> {
    let is_assistants = |turn: &&Turn| turn.role == Role::Assistant;
    let mut back = request.turns.iter().rev();
    let last = back.next()?;
    let turn = if is_assistants(&last) {
        // As `OpenAI` does it, a last message begins another answer unless it is told not to.
        let is_told = |extra: &Extra| extra.field == CONTINUE;
        let goes_on = dialect != Dialect::Chat || request.extras.iter().any(is_told);
        Some(last).filter(|_| goes_on)
    } else {
        back.next().filter(is_assistants)
    };
    let Block::Text { text: said, .. } = turn?.blocks.last()? else {
        return None;
    };
    (!said.is_empty() && text.starts_with(said.as_str())).then_some(said)
}

/// Numbers by seed: splitmix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators").
struct Dice(u64);

impl Dice {
    fn below(&mut self, max: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        let word = word ^ word >> 31;
        usize::try_from(word % max.max(1) as u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: I1 and I2.
    #[test]
    fn a_tale_is_always_the_same_and_says_nothing_twice() {
        for seed in 0..20 {
            let told = pieces(seed, 60);
            assert_eq!(told, pieces(seed, 60));
            assert_eq!(told.len(), 60);
            assert!(told.iter().all(|piece| !piece.is_empty()), "{told:?}");
            let text = told.concat();
            let mut words: Vec<&str> = text.split_whitespace().collect();
            words.retain(|word| !word.contains("and") && *word != "🦊");
            let all = words.len();
            words.sort_unstable();
            words.dedup();
            assert_eq!((words.len(), all), (60, 60), "{text}");
        }
        assert_ne!(pieces(1, 60), pieces(2, 60));
    }
}
