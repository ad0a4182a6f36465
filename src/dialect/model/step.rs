//! The steps of an answer that is being made, one after the other.
//!
//! ```text
//!   Begin  Open(Text) Text Text Close  Open(Call{id,name}) Text Text Close  Usage Stop End
//!          └── one block at a time ─┘
//! ```
//!
//! Text travels in the form in which it stands in the provider's JSON, escapes and all: most
//! dialects carry it in a JSON string again, so a delta costs one copy of its bytes and no
//! allocation.

use super::{Dialect, Refused, Stop, Tokens};
use crate::base::bytes::TxBuf;
use crate::wire::json::scan::unescape_into;
use crate::wire::json::write::put_inside;

/// Text within a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// The inside of a JSON string, its escapes unresolved. It obeys the grammar.
    Escaped(&'a [u8]),
    /// As it is; UTF-8.
    Plain(&'a str),
}

impl Text<'_> {
    /// No text.
    pub const EMPTY: Self = Self::Plain("");

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        match self {
            Self::Escaped(raw) => raw.is_empty(),
            Self::Plain(text) => text.is_empty(),
        }
    }

    /// How many bytes it has, in the form in which it is here.
    pub const fn len(self) -> usize {
        match self {
            Self::Escaped(raw) => raw.len(),
            Self::Plain(text) => text.len(),
        }
    }

    /// Appends it to `tx` as the inside of a JSON string.
    pub fn put_inside(self, tx: &mut TxBuf) {
        match self {
            Self::Escaped(raw) => tx.put(raw),
            Self::Plain(text) => put_inside(tx, text),
        }
    }

    /// Appends what it says to `out`. A lone surrogate, which UTF-8 cannot say, makes this text
    /// a replacement character.
    pub fn say(self, out: &mut String) {
        match self {
            Self::Plain(text) => out.push_str(text),
            Self::Escaped(raw) => {
                let mut bytes = Vec::with_capacity(raw.len());
                if unescape_into(raw, &mut bytes) {
                    out.push_str(&String::from_utf8_lossy(&bytes));
                } else {
                    out.push(char::REPLACEMENT_CHARACTER);
                }
            }
        }
    }

    /// What it says.
    pub fn to_text(self) -> String {
        let mut out = String::new();
        self.say(&mut out);
        out
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self::Plain(text)
    }
}

/// What kind of block begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open<'a> {
    /// Text.
    Text,
    /// Thinking.
    Thinking,
    /// The model declines.
    Refusal,
    /// A call of a tool; its text is the arguments.
    Call {
        /// Its name in this conversation.
        id: Text<'a>,
        /// The tool.
        name: Text<'a>,
        /// Its text is plain, not JSON.
        is_custom: bool,
    },
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The provider has begun; nothing is said yet.
    Begin {
        /// Its name for the answer; may be empty.
        id: Text<'a>,
        /// The model, as the provider calls it; may be empty.
        model: Text<'a>,
    },
    /// A block begins.
    Open(Open<'a>),
    /// More of the block that is open.
    Text(Text<'a>),
    /// What its provider wants to see again with the block that is open: a signature or
    /// encrypted thinking, as a JSON value in the text of its dialect.
    Opaque(Dialect, &'a [u8]),
    /// A place that the open text block's words come from, as a JSON value of its dialect.
    Citation(Dialect, &'a [u8]),
    /// The block ends.
    Close,
    /// The token counts so far; the last one counts.
    Usage(Tokens),
    /// Why the answer ended, and at which sequence.
    Stop(Stop, Text<'a>),
    /// The provider gives up. Nothing follows.
    Error(Refused),
    /// The provider is done: the stream is whole. Nothing follows.
    End,
}
