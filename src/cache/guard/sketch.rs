//! A prompt as far as the guard needs it: its body in words, its dress in a few marks.
//!
//! ```text
//!  "Hi, what's the best way to lose 5 kg in two weeks? Thanks!"
//!   frame HowTo · lose #5 unit:kg in #2 unit:week · tense none · persons none
//! ```
//!
//! Invariants
//! - I1 The same prompt gives the same sketch, on every machine; a change to how sketches are
//!   made changes [`FORMAT`](super::FORMAT).
//! - I2 Free words and politeness are not stored; all else of the prompt is.

use super::cut::Kind;
use super::frame::Frame;
use super::keys::Keys;
use super::lexicon::{GROUPS, mark};
use super::marks::Marks;

/// Which kind of answer is asked for.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Wh {
    /// No question: an order, a statement.
    #[default]
    None,
    Who,
    When,
    Where,
    Why,
    What,
    HowTo,
    /// How … (in what state or manner).
    How,
    /// How many, how long, how far.
    Quantity,
    /// Yes or no.
    YesNo,
}

/// When it is asked about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Tense {
    #[default]
    None,
    Past,
    Present,
    Future,
}

/// What a yes or a no would be about.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub(super) enum Modal {
    /// None, or `be`, `do`, `have`.
    #[default]
    Plain,
    Can,
    Should,
    Must,
    Will,
}

/// A stored word, without its key and what binds it: see [`Keys`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Word {
    /// [`mark`]s.
    pub(super) marks: u32,
    /// The short hash of its text as written: identifiers alone are told apart by case.
    pub(super) exact: u32,
    pub(super) at: u16,
    pub(super) len: u8,
    pub(super) kind: Kind,
    pub(super) same: [u16; GROUPS],
    pub(super) sense: u16,
    pub(super) rarity: u8,
    pub(super) class: u8,
    /// Which binding word it is, 0 for none.
    pub(super) bind: u8,
    /// A comma or a joining word stands before it.
    pub(super) joined: bool,
}

impl Word {
    pub(super) fn has(&self, marks: u32) -> bool {
        self.marks & marks != 0
    }

    /// Is it a word whose absence counts in full?
    pub(super) fn is_content(&self) -> bool {
        !self.has(mark::BIND | mark::FREE)
    }

    /// Its text, in what it was cut from.
    pub(super) fn of<'t>(&self, text: &'t str) -> &'t str {
        let at = usize::from(self.at);
        text.get(at..at + usize::from(self.len)).unwrap_or_default()
    }

    /// How much it says, 0 to 1.
    pub(super) fn weight(&self) -> f32 {
        f32::from(self.rarity + 1) / 16.0
    }
}

/// A prompt, ready to be compared. About 0.5 kB for 30 tokens; made by
/// [`Guard::sketch`](super::Guard::sketch).
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent marks of what it is"
)]
pub struct Sketch {
    /// The lower-case text that the words lie in.
    pub(super) text: Box<str>,
    /// In order, without free words and dress.
    pub(super) words: Box<[Word]>,
    /// What is read of each of them.
    pub(super) keys: Keys,
    /// The hash of all words without politeness.
    pub(super) whole: u64,
    /// The hash of frame and body.
    pub(super) body: u64,
    pub(super) frames: [Frame; 2],
    pub(super) wh: Wh,
    /// Of a question for what: is one thing to be explained (1), or several to be listed (2)?
    pub(super) number: u8,
    pub(super) tense: Tense,
    pub(super) modal: Modal,
    /// A bit for each of I, you, he, she, they, we.
    pub(super) persons: u8,
    /// How many auxiliaries of the past, the present, the future.
    pub(super) times: [u8; 3],
    /// A bit for each of can, should, must, will, outside the frame.
    pub(super) moods: u8,
    /// How many of `this`, `these`, `those`.
    pub(super) shown: u8,
    /// How many of `people`, `someone`, `thing`, ….
    pub(super) vague: u8,
    pub(super) scripts: u16,
    pub(super) negations: u8,
    /// The sum of the keys that negations stand before.
    pub(super) negated: u64,
    pub(super) sentences: u16,
    /// The marks between its words that tell.
    pub(super) marks: Marks,
    pub(super) asks: bool,
    /// A number is among the words.
    pub(super) has_number: bool,
    /// It uses capital letters as they are due.
    pub(super) has_capital: bool,
    /// How many free words were left out.
    pub(super) free: u16,
    /// What [`Guard::mark`](super::Guard::mark) was when it was made.
    pub(super) mark: u64,
    /// It is too long to be compared.
    pub(super) is_long: bool,
}

impl Sketch {
    /// The text of a stored word, in lower case.
    pub(super) fn of(&self, word: &Word) -> &str {
        word.of(&self.text)
    }

    /// Bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.text.len() + size_of_val::<[Word]>(&self.words) + self.keys.bytes()
    }

    /// Reads what most verdicts need of it, so that it is near: see [`Keys::touch`].
    pub(in super::super) fn touch(&self) -> u8 {
        self.keys.touch()
    }

    /// How many words of it negate.
    pub fn negations(&self) -> u8 {
        self.negations
    }

    /// Too many words or bytes to be compared: never the same as anything.
    pub fn is_long(&self) -> bool {
        self.is_long
    }

    pub(super) fn long(mark: u64) -> Self {
        Self {
            text: Box::default(),
            words: Box::default(),
            keys: Keys::default(),
            whole: 0,
            body: 0,
            frames: [Frame::Bare; 2],
            wh: Wh::None,
            number: 0,
            tense: Tense::None,
            modal: Modal::Plain,
            persons: 0,
            times: [0; 3],
            moods: 0,
            shown: 0,
            vague: 0,
            scripts: 0,
            negations: 0,
            negated: 0,
            sentences: 0,
            marks: Marks::default(),
            asks: false,
            has_number: false,
            has_capital: false,
            free: 0,
            mark,
            is_long: true,
        }
    }
}
