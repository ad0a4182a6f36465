//! One event, taken apart in one pass: spans of what matters, nothing is copied.

use super::super::usage::Counts;
use crate::base::span::Span;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};

/// What an event says. Strings are spans without their quotes, other values whole.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Event {
    pub(super) kind: Option<Span>,
    pub(super) index: Option<u64>,
    /// Of `delta`, `content_block` and `message`.
    pub(super) inner: Inner,
    /// All of `content_block`.
    pub(super) block: Option<Span>,
    pub(super) error: Option<Span>,
    pub(super) counts: Counts,
}

/// What the object within an event says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inner {
    pub(super) kind: Option<Span>,
    pub(super) id: Option<Span>,
    pub(super) name: Option<Span>,
    pub(super) model: Option<Span>,
    pub(super) text: Option<Span>,
    pub(super) partial_json: Option<Span>,
    pub(super) thinking: Option<Span>,
    /// With its quotes.
    pub(super) signature: Option<Span>,
    pub(super) citation: Option<Span>,
    pub(super) citations: Option<Span>,
    /// An object that is not empty.
    pub(super) input: Option<Span>,
    pub(super) stop_reason: Option<Span>,
    pub(super) stop_sequence: Option<Span>,
    pub(super) explanation: Option<Span>,
    /// A list that is not empty.
    pub(super) content: Option<Span>,
}

impl Event {
    /// Takes `data` apart.
    pub(super) fn read(data: &[u8]) -> Result<Self, JsonError> {
        let mut event = Self::default();
        let mut cursor = Cursor::new(data, 0);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"type" => event.kind = string(&cursor.skip()?),
                b"index" => {
                    let digits = cursor.skip()?.span.bytes(data);
                    event.index = std::str::from_utf8(digits)
                        .ok()
                        .and_then(|d| d.parse().ok());
                }
                b"delta" | b"message" => _ = event.inner(data, cursor)?,
                b"content_block" => event.block = event.inner(data, cursor)?,
                b"usage" => event.counts = Counts::read(data, cursor)?.over(event.counts),
                b"error" => {
                    let value = cursor.skip()?;
                    event.error = (value.kind != ValueKind::Null).then_some(value.span);
                }
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.end()?;
        Ok(event)
    }

    /// Goes into the object under the cursor; all of it, if it is one.
    fn inner(&mut self, data: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Span>, JsonError> {
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(None);
        }
        let start = cursor.at();
        let (inner, counts) = (&mut self.inner, &mut self.counts);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            let place = match key.name(&mut room) {
                b"usage" => {
                    *counts = Counts::read(data, cursor)?.over(*counts);
                    return Ok(());
                }
                b"stop_details" => return details(cursor, &mut inner.explanation),
                b"signature" => {
                    let value = cursor.skip()?;
                    let is_there = value.kind == ValueKind::String && !value.empty;
                    inner.signature = is_there.then_some(value.span);
                    return Ok(());
                }
                b"citation" => {
                    let value = cursor.skip()?;
                    inner.citation = (value.kind == ValueKind::Object).then_some(value.span);
                    return Ok(());
                }
                b"citations" => {
                    inner.citations = list(&cursor.skip()?);
                    return Ok(());
                }
                b"content" => {
                    inner.content = list(&cursor.skip()?);
                    return Ok(());
                }
                b"input" => {
                    let value = cursor.skip()?;
                    let is_there = value.kind == ValueKind::Object && !value.empty;
                    inner.input = is_there.then_some(value.span);
                    return Ok(());
                }
                b"type" => &mut inner.kind,
                b"id" => &mut inner.id,
                b"name" => &mut inner.name,
                b"model" => &mut inner.model,
                b"text" => &mut inner.text,
                b"partial_json" => &mut inner.partial_json,
                b"thinking" => &mut inner.thinking,
                b"stop_reason" => &mut inner.stop_reason,
                b"stop_sequence" => &mut inner.stop_sequence,
                _ => {
                    cursor.skip()?;
                    return Ok(());
                }
            };
            *place = string(&cursor.skip()?);
            Ok(())
        })?;
        Ok(Some(Span::new(start, cursor.at())))
    }
}

/// Why the model declined.
fn details(cursor: &mut Cursor<'_>, place: &mut Option<Span>) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        if key.name(&mut room) == b"explanation" {
            *place = string(&value);
        }
        Ok(())
    })
}

/// A list that is not empty.
fn list(value: &Value) -> Option<Span> {
    (value.kind == ValueKind::Array && !value.empty).then_some(value.span)
}

/// The inside of a string.
fn string(value: &Value) -> Option<Span> {
    let span = value.span;
    (value.kind == ValueKind::String).then(|| Span {
        start: span.start + 1,
        end: span.end.saturating_sub(1),
    })
}
