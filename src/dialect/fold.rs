//! Puts the steps of a stream together to a whole answer.
//!
//! ```text
//!   Begin  Open(Text) Text Text Close  Open(Call{id,name}) Text Close  Usage Stop End
//!     │        └────────┬─────────┘          └───────┬───────┘          └─────┬─────┘
//!     id, model    Block::Text              Block::Call               usage, stop, sequence
//! ```
//!
//! Invariants
//! - I1 Steps that are not in the order and balance of [`super::model`], I3, give no answer, nor
//!   do those of a stream that was cut or that failed.
//! - I2 A text is put together before its escapes are resolved: a pair of surrogates may come in
//!   two pieces. What UTF-8 cannot say gives no answer.
//! - I3 What is open takes one copy of its text.

use super::gemini::places;
use super::model::{Answer, Block, Call, Dialect, Opaque, Open, Step, Stop, Text};
use crate::wire::json::scan::unescape_into;
use serde_json::{Map, Value};

/// Why a stored answer cannot take the other shape: nothing of it would be told wrong, but not
/// all of it could be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unfoldable {
    /// The stream is not complete.
    Cut,
    /// It cannot be read, or its steps make no sense.
    Garbled,
    /// It says that the provider failed.
    Failed,
    /// It has several choices.
    Several,
    /// It tells the probabilities of its tokens.
    Probabilities,
    /// It has images or sound.
    Media,
    /// It has something that only its own dialect can say, in one of the shapes.
    Own,
    /// It is too long for the stream that is to tell it.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// How far the stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Fresh,
    Begun,
    Stopped,
    Over,
}

/// The block that is open.
#[derive(Debug)]
enum Now {
    Text,
    Thinking,
    Refusal,
    Call {
        id: String,
        name: String,
        is_custom: bool,
    },
}

/// Puts an answer together.
#[derive(Debug, Default)]
pub struct Fold {
    stage: Stage,
    open: Option<Now>,
    /// What is open goes on behind something that was put into it.
    is_rest: bool,
    /// The text of the open block, as the inside of a JSON string.
    raw: Vec<u8>,
    citations: Option<Value>,
    opaque: Option<Opaque>,
    answer: Answer,
    fault: Option<Unfoldable>,
}

impl Fold {
    /// Of a stream of a provider that speaks `origin`.
    pub fn new(origin: Option<Dialect>) -> Self {
        Self {
            answer: Answer {
                origin,
                ..Answer::default()
            },
            ..Self::default()
        }
    }

    /// Takes the next step. What is wrong with it is told by [`Fold::finish`].
    pub fn take(&mut self, step: &Step<'_>) {
        if self.fault.is_none()
            && let Err(fault) = self.step(step)
        {
            self.fault = Some(fault);
        }
    }

    /// Takes a block for which there are no steps, where it stands: within a block of text or
    /// thinking it makes two of that.
    pub fn put(&mut self, block: Block) {
        let rest = match &self.open {
            None => None,
            Some(Now::Text) => Some(Now::Text),
            Some(Now::Thinking) => Some(Now::Thinking),
            Some(Now::Refusal | Now::Call { .. }) => {
                self.fault = self.fault.or(Some(Unfoldable::Own));
                return;
            }
        };
        if rest.is_some() && !self.raw.is_empty() {
            let closed = self.close();
            self.fault = self.fault.or(closed.err());
            self.open = rest;
            self.is_rest = true;
        }
        self.answer.blocks.push(block);
    }

    /// Whether the end has been told.
    pub fn is_over(&self) -> bool {
        self.stage == Stage::Over
    }

    /// Something of the answer cannot be told.
    pub fn refuse(&mut self, why: Unfoldable) {
        self.fault = self.fault.or(Some(why));
    }

    /// The answer.
    ///
    /// # Errors
    /// The steps are not those of one whole answer.
    pub fn finish(self) -> Result<Answer, Unfoldable> {
        match (self.fault, self.stage) {
            (Some(fault), _) => Err(fault),
            (None, Stage::Over) => Ok(self.answer),
            (None, _) => Err(Unfoldable::Cut),
        }
    }

    fn step(&mut self, step: &Step<'_>) -> Result<(), Unfoldable> {
        use Unfoldable::{Failed, Garbled};
        match (self.stage, step) {
            (_, Step::Error(_)) => return Err(Failed),
            (Stage::Fresh, Step::Begin { id, model }) => {
                self.answer.id = said(*id)?;
                self.answer.model = said(*model)?;
                self.stage = Stage::Begun;
            }
            (Stage::Begun, Step::Open(open)) if self.open.is_none() => {
                self.open = Some(match *open {
                    Open::Text => Now::Text,
                    Open::Thinking => Now::Thinking,
                    Open::Refusal => Now::Refusal,
                    Open::Call {
                        id,
                        name,
                        is_custom,
                    } => Now::Call {
                        id: said(id)?,
                        name: said(name)?,
                        is_custom,
                    },
                });
            }
            (Stage::Begun, Step::Text(text)) if self.open.is_some() => self.say(*text),
            (Stage::Begun, Step::Opaque(dialect, raw)) => self.seal(*dialect, raw)?,
            (Stage::Begun, Step::Citation(dialect, raw)) => self.cite(*dialect, raw)?,
            (Stage::Begun, Step::Close) if self.open.is_some() => self.close()?,
            (Stage::Begun | Stage::Stopped, Step::Usage(tokens)) => {
                self.answer.usage = Some(*tokens);
            }
            (Stage::Begun, Step::Stop(why, sequence)) if self.open.is_none() => {
                self.stop(*why, *sequence)?;
            }
            (Stage::Stopped, Step::End) => self.stage = Stage::Over,
            _ => return Err(Garbled), // I1
        }
        Ok(())
    }

    fn say(&mut self, text: Text<'_>) {
        match text {
            Text::Escaped(raw) => self.raw.extend_from_slice(raw),
            Text::Plain(text) => {
                let mut parts = text.split('\\');
                let mut put = |part: &str| self.raw.extend_from_slice(part.as_bytes());
                put(parts.next().unwrap_or_default());
                for part in parts {
                    put("\\\\");
                    put(part);
                }
            }
        }
    }

    /// What its provider wants to see again with the open block. Chat's details of thinking are
    /// a list; there is one of anything else.
    fn seal(&mut self, dialect: Dialect, raw: &[u8]) -> Result<(), Unfoldable> {
        let value: Value = serde_json::from_slice(raw).map_err(|_| Unfoldable::Garbled)?;
        let is_list = match self.open {
            Some(Now::Thinking) => dialect == Dialect::Chat,
            Some(Now::Call { .. }) => false,
            _ => return Err(Unfoldable::Garbled),
        };
        match &mut self.opaque {
            None => {
                let value = match value {
                    list @ Value::Array(_) if is_list => list,
                    one if is_list => Value::from([one]),
                    one => one,
                };
                self.opaque = Some(Opaque { dialect, value });
            }
            Some(Opaque {
                dialect: Dialect::Chat,
                value: Value::Array(list),
            }) if is_list => list.push(value),
            Some(before) if before.dialect == dialect && before.value == value => {}
            Some(_) => return Err(Unfoldable::Own),
        }
        Ok(())
    }

    fn cite(&mut self, dialect: Dialect, raw: &[u8]) -> Result<(), Unfoldable> {
        if !matches!(self.open, Some(Now::Text)) || self.answer.origin != Some(dialect) {
            return Err(Unfoldable::Garbled);
        }
        let value: Value = serde_json::from_slice(raw).map_err(|_| Unfoldable::Garbled)?;
        if dialect == Dialect::Gemini {
            let all = self.citations.get_or_insert_with(|| Map::new().into());
            return places::add(all, value).ok_or(Unfoldable::Garbled);
        }
        let all = self
            .citations
            .get_or_insert_with(|| Value::Array(Vec::new()));
        all.as_array_mut().ok_or(Unfoldable::Garbled)?.push(value);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Unfoldable> {
        let text = self.text()?;
        let opaque = self.opaque.take();
        let is_bare = text.is_empty() && opaque.is_none() && self.citations.is_none();
        if std::mem::take(&mut self.is_rest) && is_bare {
            self.open = None;
            return Ok(());
        }
        let block = match self.open.take().ok_or(Unfoldable::Garbled)? {
            Now::Text => Block::Text {
                text,
                citations: self.citations.take(),
                cache: None,
            },
            Now::Thinking => Block::Thinking { text, opaque },
            Now::Refusal => Block::Refusal(text),
            Now::Call {
                id,
                name,
                is_custom,
            } => Block::Call(Call {
                id,
                name,
                arguments: text,
                is_custom,
                opaque,
            }),
        };
        self.answer.blocks.push(block);
        Ok(())
    }

    /// The text of the open block (I2).
    fn text(&mut self) -> Result<String, Unfoldable> {
        let raw = std::mem::take(&mut self.raw);
        let bytes = if memchr::memchr(b'\\', &raw).is_none() {
            raw
        } else {
            let mut bytes = Vec::with_capacity(raw.len());
            if !unescape_into(&raw, &mut bytes) {
                return Err(Unfoldable::Garbled);
            }
            bytes
        };
        String::from_utf8(bytes).map_err(|_| Unfoldable::Garbled)
    }

    fn stop(&mut self, stop: Stop, sequence: Text<'_>) -> Result<(), Unfoldable> {
        self.stage = Stage::Stopped;
        self.answer.stop = stop;
        self.answer.sequence = (!sequence.is_empty()).then(|| said(sequence)).transpose()?;
        Ok(())
    }
}

/// A text that comes in one piece.
fn said(text: Text<'_>) -> Result<String, Unfoldable> {
    let raw = match text {
        Text::Plain(text) => return Ok(text.to_owned()),
        Text::Escaped(raw) => raw,
    };
    let mut bytes = Vec::with_capacity(raw.len());
    if !unescape_into(raw, &mut bytes) {
        return Err(Unfoldable::Garbled);
    }
    String::from_utf8(bytes).map_err(|_| Unfoldable::Garbled)
}
