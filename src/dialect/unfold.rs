//! Takes a whole answer apart into the steps of a stream.
//!
//! ```text
//!   Block::Text "The quick brown fox …"   →   Open(Text)  "The quick brown"  " fox …"  Close
//!                                                          └─ cut before a space ─┘
//! ```
//!
//! Invariants
//! - I1 The steps are in the order and balance of [`super::model`], I3, with usage where the
//!   answer has it.
//! - I2 The pieces of a text together are the text; each is at most [`PIECE_MAX`] bytes long.
//! - I3 One step at a time: nothing of the answer is copied but the state of providers.
//!
//! For what has no step (media, what only one dialect understands) see [`super::retell`]: it is
//! left out here.

use super::model::{Answer, Block, Dialect, Open, Step, Text};
use serde_json::Value;

/// Bytes after which a piece of text ends before the next word: some tokens.
pub const PIECE_MIN: usize = 16;

/// The most bytes of a piece: text without spaces is cut between characters.
pub const PIECE_MAX: usize = 48;

/// The first of the characters of which scripts without spaces are made.
const FIRST_CJK: char = '\u{2E80}';

/// Makes one character of two emoji.
const JOINER: char = '\u{200D}';

/// What comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Begin,
    /// Of the block that is next.
    Open,
    /// From this byte of its text.
    Text(usize),
    /// From this one of its citations.
    Citation(usize),
    /// From this part of what its provider wants to see again.
    Opaque(usize),
    Close,
    Usage,
    Stop,
    End,
    Over,
}

/// Where in an answer the steps are. The answer is given each time, and must be the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfold {
    block: usize,
    place: Place,
    /// Chat's details of thinking are one step each, as its streams have them; else they are one
    /// together, since other dialects have one place for what is given back.
    has_details: bool,
}

impl Unfold {
    /// At the beginning of an answer, for a client that speaks `front`.
    pub fn new(front: Dialect) -> Self {
        Self {
            has_details: front == Dialect::Chat,
            ..Self::default()
        }
    }

    /// The block whose steps are told, or that is next.
    pub const fn block(&self) -> usize {
        self.block
    }

    /// Tells the next step to `each`; `false`: all have been told.
    pub fn step(&mut self, answer: &Answer, each: &mut dyn FnMut(&Step<'_>)) -> bool {
        // A place may have nothing to say.
        loop {
            match self.place {
                Place::Over => return false,
                Place::Begin | Place::Usage | Place::Stop | Place::End => {
                    if self.around(answer, each) {
                        return true;
                    }
                }
                _ => {
                    if self.within(answer, each) {
                        return true;
                    }
                }
            }
        }
    }

    /// The steps around the blocks; whether there was one.
    fn around(&mut self, answer: &Answer, each: &mut dyn FnMut(&Step<'_>)) -> bool {
        let (step, next) = match self.place {
            Place::Begin => (
                Step::Begin {
                    id: Text::Plain(&answer.id),
                    model: Text::Plain(&answer.model),
                },
                Place::Open,
            ),
            Place::Usage => {
                self.place = Place::Stop;
                let Some(tokens) = answer.usage else {
                    return false;
                };
                (Step::Usage(tokens), Place::Stop)
            }
            Place::Stop => {
                let sequence = answer.sequence.as_deref().unwrap_or_default();
                let step = Step::Stop(answer.stop, Text::Plain(sequence));
                (step, Place::End)
            }
            _ => (Step::End, Place::Over),
        };
        self.place = next;
        each(&step);
        true
    }

    /// The steps of the blocks; whether there was one.
    fn within(&mut self, answer: &Answer, each: &mut dyn FnMut(&Step<'_>)) -> bool {
        let Some(block) = answer.blocks.get(self.block) else {
            self.place = Place::Usage;
            return false;
        };
        let Some((open, text)) = of(block) else {
            self.block += 1; // it has no steps
            return false;
        };
        match self.place {
            Place::Text(at) => {
                let rest = text.get(at..).unwrap_or_default();
                let (piece, _) = rest.split_at_checked(piece(rest)).unwrap_or((rest, ""));
                self.place = if piece.is_empty() {
                    Place::Citation(0)
                } else {
                    Place::Text(at + piece.len())
                };
                return tell(&Step::Text(Text::Plain(piece)), !piece.is_empty(), each);
            }
            Place::Citation(at) => {
                if let (Some(dialect), Some(value)) = (answer.origin, citation(block, at)) {
                    self.place = Place::Citation(at + 1);
                    let raw = value.to_string();
                    return tell(&Step::Citation(dialect, raw.as_bytes()), true, each);
                }
                self.place = Place::Opaque(0);
            }
            Place::Opaque(at) => {
                if let Some((dialect, value)) = opaque(block, at, self.has_details) {
                    self.place = Place::Opaque(at + 1);
                    let raw = value.to_string();
                    return tell(&Step::Opaque(dialect, raw.as_bytes()), true, each);
                }
                self.place = Place::Close;
            }
            Place::Close => {
                self.block += 1;
                self.place = Place::Open;
                return tell(&Step::Close, true, each);
            }
            _ => {
                self.place = Place::Text(0);
                return tell(&Step::Open(open), true, each);
            }
        }
        false
    }
}

fn tell(step: &Step<'_>, is_there: bool, each: &mut dyn FnMut(&Step<'_>)) -> bool {
    if is_there {
        each(step);
    }
    is_there
}

/// How a block begins and what it says; `None`: it has no steps.
fn of(block: &Block) -> Option<(Open<'_>, &str)> {
    Some(match block {
        Block::Text { text, .. } => (Open::Text, text),
        Block::Thinking { text, .. } => (Open::Thinking, text),
        Block::Refusal(text) => (Open::Refusal, text),
        Block::Call(call) => {
            let open = Open::Call {
                id: Text::Plain(&call.id),
                name: Text::Plain(&call.name),
                is_custom: call.is_custom,
            };
            (open, &call.arguments)
        }
        Block::Result(_) | Block::Media(_) | Block::Foreign { .. } => return None,
    })
}

/// The citation `at` of a text: lists have them, and Gemini has them by name.
fn citation(block: &Block, at: usize) -> Option<&Value> {
    let Block::Text {
        citations: Some(citations),
        ..
    } = block
    else {
        return None;
    };
    match citations {
        Value::Array(list) => list.get(at),
        Value::Object(places) => places.values().nth(at),
        _ => None,
    }
}

/// The part `at` of what a provider wants to see again: Chat's details of thinking are a list.
/// What only says in which field Chat's thinking stood is no state, and has no step.
fn opaque(block: &Block, at: usize, has_details: bool) -> Option<(Dialect, &Value)> {
    let (opaque, is_thinking) = match block {
        Block::Thinking { opaque, .. } => (opaque.as_ref()?, true),
        Block::Call(call) => (call.opaque.as_ref()?, false),
        _ => return None,
    };
    let value = match &opaque.value {
        Value::Array(list) if has_details && is_thinking && opaque.dialect == Dialect::Chat => {
            list.get(at)?
        }
        Value::Object(part) if part.contains_key("part") && opaque.dialect == Dialect::Chat => {
            return None;
        }
        Value::String(_) if is_thinking && opaque.dialect == Dialect::Chat => return None,
        one if at == 0 => one,
        _ => return None,
    };
    Some((opaque.dialect, value))
}

/// How long the next piece of `text` is, in bytes: some tokens, up to the beginning of a word.
pub fn piece(text: &str) -> usize {
    if text.len() <= PIECE_MIN {
        return text.len();
    }
    let (mut last, mut before) = (0, ' ');
    for (at, c) in text.char_indices() {
        if at > PIECE_MAX {
            break;
        }
        // Scripts without spaces have words as short as a character; emoji may be joined.
        let is_word =
            c.is_whitespace() && !before.is_whitespace() || c >= FIRST_CJK && before != JOINER;
        if at >= PIECE_MIN && is_word {
            return at;
        }
        (last, before) = (at, c);
    }
    let all = text.len();
    if all <= PIECE_MAX { all } else { last.max(1) }
}

#[cfg(test)]
#[path = "unfold_tests.rs"]
mod tests;
