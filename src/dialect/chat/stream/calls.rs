//! Calls out of fragments: which call a fragment belongs to, and when a call is whole.
//!
//! ```text
//!   index 0 id a name f   ""          ─► call 0
//!   index 0               "{\"x\":"    ─► call 0
//!   index 1 id b name g   "{}"         ─► call 1
//!   index 0               "1}"         ─► call 0, whole from here on
//! ```
//!
//! Source: OpenAI API reference; protocols.md, 12 (Ollama gives every call the index 0, some
//! give none, some repeat the name).

use super::chunk::{inside, string};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, Value, ValueKind};
use crate::wire::json::text::{Piece, pieces};

use super::super::usage::members;

/// Where the parts of a fragment stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fragment {
    pub(super) index: Option<u64>,
    pub(super) id: Option<Value>,
    pub(super) name: Option<Value>,
    /// A string, or (some engines) the arguments themselves.
    pub(super) arguments: Option<Value>,
    pub(super) extra: Option<Value>,
    pub(super) is_custom: bool,
}

impl Fragment {
    /// Reads the item of `tool_calls` on which the cursor stands.
    pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut fragment = Self::default();
        members(cursor, |cursor, name| {
            match name {
                b"index" => fragment.index = small_number(json, &cursor.skip()?),
                b"id" => fragment.id = string(cursor)?,
                b"function" => fragment.tool(cursor, false)?,
                b"custom" => fragment.tool(cursor, true)?,
                b"extra_content" => {
                    let extra = cursor.skip()?;
                    fragment.extra = (extra.kind == ValueKind::Object).then_some(extra);
                }
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        Ok(fragment)
    }

    /// Reads the value of `function`, `custom` or `function_call`, on which the cursor stands.
    pub(super) fn tool(
        &mut self,
        cursor: &mut Cursor<'_>,
        is_custom: bool,
    ) -> Result<(), JsonError> {
        members(cursor, |cursor, name| {
            match name {
                b"name" => self.name = string(cursor)?,
                b"arguments" | b"input" => {
                    let value = cursor.skip()?;
                    let says = matches!(value.kind, ValueKind::String | ValueKind::Object);
                    let is_empty = value.empty && value.kind == ValueKind::String;
                    self.arguments = (says && !is_empty).then_some(value);
                    self.is_custom |= is_custom;
                }
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        Ok(())
    }
}

fn small_number(json: &[u8], value: &Value) -> Option<u64> {
    let digits = value.span.bytes(json);
    let is_plain = value.kind == ValueKind::Number && digits.len() < 10;
    let digits = std::str::from_utf8(digits).ok()?;
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// Where a call is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its turn has not come; its arguments are held.
    #[default]
    Waiting,
    /// It is the block that is open.
    Open,
    /// It is over.
    Closed,
}

/// A call so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Slot {
    pub(super) index: Option<u64>,
    /// The insides of strings.
    pub(super) id: Vec<u8>,
    pub(super) name: Vec<u8>,
    /// Arguments that wait, as the inside of a string.
    pub(super) held: Vec<u8>,
    /// `extra_content`, as JSON.
    pub(super) extra: Vec<u8>,
    pub(super) is_custom: bool,
    pub(super) phase: Phase,
    /// How far its arguments are.
    pub(super) braces: Braces,
}

/// Which of `slots` a fragment belongs to; `None`: a new one.
///
/// An index that is used already means the same call, unless the fragment brings a name and an
/// id that is not its id (Ollama). Without an index the id decides, then the name: who names a
/// tool begins a call.
pub(super) fn find(json: &[u8], fragment: &Fragment, slots: &[Slot]) -> Option<usize> {
    let id = fragment.id.as_ref().map(|id| inside(json, id));
    let is_named = fragment.name.is_some();
    if let Some(index) = fragment.index {
        let at = slots.iter().rposition(|slot| slot.index == Some(index))?;
        let slot = slots.get(at)?;
        let is_other = id.is_some_and(|id| !slot.id.is_empty() && slot.id != id);
        return (!(is_other && is_named)).then_some(at);
    }
    if let Some(id) = id {
        let same = slots.iter().rposition(|slot| slot.id == id);
        return same.or_else(|| (!is_named).then_some(slots.len().checked_sub(1)?));
    }
    if is_named {
        return None;
    }
    slots.len().checked_sub(1)
}

/// Where in the arguments the next character stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    #[default]
    Outside,
    InString,
    /// Behind a backslash.
    Escaped,
}

/// Whether the arguments so far are a whole JSON object or array.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Braces {
    depth: u32,
    place: Place,
    is_whole: bool,
    /// A part could not be read; whether they are whole is not known any more.
    is_lost: bool,
}

impl Braces {
    /// More arguments, as the inside of a string.
    pub(super) fn feed(&mut self, raw: &[u8]) {
        for piece in pieces(raw) {
            match piece {
                Piece::Plain(bytes) => bytes.iter().for_each(|&b| self.step(b)),
                Piece::Char(c) => self.step(u8::try_from(c).unwrap_or(b'x')),
                Piece::Broken => self.is_lost = true,
            }
        }
    }

    fn step(&mut self, b: u8) {
        match (self.place, b) {
            (Place::Escaped, _) => {
                self.place = Place::InString;
                return;
            }
            (Place::InString, b'\\') => self.place = Place::Escaped,
            (Place::InString, b'"') => self.place = Place::Outside,
            (Place::Outside, b'"') => self.place = Place::InString,
            _ => {}
        }
        if self.place != Place::Outside {
            return;
        }
        match b {
            b'{' | b'[' => {
                self.depth = self.depth.saturating_add(1);
                self.is_whole = false;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_whole = self.depth == 0;
            }
            _ => {}
        }
    }

    /// Nothing can follow.
    pub(super) const fn is_whole(self) -> bool {
        self.is_whole && !self.is_lost
    }
}

/// Whether the inside of a string says nothing but white space.
pub(super) fn is_blank(raw: &[u8]) -> bool {
    pieces(raw).all(|piece| match piece {
        Piece::Plain(bytes) => bytes.trim_ascii().is_empty(),
        Piece::Char(c) => c.is_ascii_whitespace(),
        Piece::Broken => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: arguments are whole with their last brace and not before, however they are cut.
    #[test]
    fn arguments_are_whole_with_their_last_brace() {
        let raw = br#"{\"a\":\"}\\\"}\",\"b\":[{}],\"\u007b\":1}"#;
        let mut braces = Braces::default();
        let mut at = 0;
        while at < raw.len() {
            assert!(!braces.is_whole(), "at {at}");
            let len = match raw[at..] {
                [b'\\', b'u', ..] => 6,
                [b'\\', ..] => 2,
                _ => 1,
            };
            braces.feed(&raw[at..at + len]);
            at += len;
        }
        assert!(braces.is_whole());
        let mut lost = Braces::default();
        lost.feed(br"{\ud800}");
        lost.feed(b"}");
        assert!(!lost.is_whole());
    }
}
