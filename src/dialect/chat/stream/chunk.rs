//! One event of a stream: where in it the parts stand that mean something.
//!
//! ```text
//!   {"id":…,"model":…,"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}
//!     └ id    └ model                                └ content         └ finish
//! ```
//!
//! Invariants
//! - I1 The whole event is checked before anything of it is handed on.
//! - I2 One pass, no allocation.
//! - I3 Only the choice of index 0 counts; a choice without an index is it.
//!
//! Source: OpenAI API reference, `chat.completion.chunk`; protocols.md, 2.3, 9, 11, 12.

use super::super::usage::{self, members};
use crate::dialect::model::Tokens;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, Value, ValueKind};

/// Where the parts of an event stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub(super) id: Option<Value>,
    pub(super) model: Option<Value>,
    pub(super) object: Option<Value>,
    pub(super) usage: Option<Tokens>,
    /// An error that says something.
    pub(super) has_error: bool,
    /// There are choices, of whatever index.
    pub(super) has_choices: bool,
    /// Of the choice.
    pub(super) said: Said,
}

/// Where the parts of a choice stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said {
    pub(super) content: Option<Value>,
    /// `reasoning_content`, else `reasoning`.
    pub(super) reasoning: Option<Value>,
    pub(super) details: Option<Value>,
    pub(super) refusal: Option<Value>,
    pub(super) calls: Option<Value>,
    pub(super) function: Option<Value>,
    pub(super) annotations: Option<Value>,
    pub(super) finish: Option<Value>,
    pub(super) sequence: Option<Value>,
    has_error: bool,
}

/// Finds the parts of an event.
pub(super) fn look(json: &[u8]) -> Result<Chunk, JsonError> {
    let mut chunk = Chunk::default();
    let mut groq = None;
    let mut cursor = Cursor::new(json, 0);
    let mut room = [0; crate::wire::json::cursor::NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"id" => chunk.id = string(cursor)?,
            b"model" => chunk.model = string(cursor)?,
            b"object" => chunk.object = string(cursor)?,
            b"usage" => chunk.usage = usage::read(json, cursor)?,
            b"x_groq" => groq = usage::read_within(json, cursor)?,
            b"error" => chunk.has_error |= is_trouble(&cursor.skip()?),
            b"choices" => choices(json, cursor, &mut chunk)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    chunk.usage = chunk.usage.or(groq);
    Ok(chunk)
}

fn choices(json: &[u8], cursor: &mut Cursor<'_>, chunk: &mut Chunk) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Array {
        cursor.skip()?;
        return Ok(());
    }
    let mut is_found = false;
    cursor.array(|cursor| {
        let (mut said, mut is_first) = (Said::default(), true);
        members(cursor, |cursor, name| {
            match name {
                b"index" => {
                    let index = cursor.skip()?;
                    let is_number = index.kind == ValueKind::Number;
                    is_first = !is_number || index.span.bytes(json) == b"0";
                }
                b"delta" => delta(cursor, &mut said)?,
                b"finish_reason" => said.finish = string(cursor)?,
                b"stop_reason" | b"matched_stop" => said.sequence = string(cursor)?,
                b"error" => said.has_error |= is_trouble(&cursor.skip()?),
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        chunk.has_choices = true;
        chunk.has_error |= said.has_error;
        if is_first && !is_found {
            is_found = true;
            chunk.said = said; // I3
        }
        Ok(())
    })
}

fn delta(cursor: &mut Cursor<'_>, said: &mut Said) -> Result<(), JsonError> {
    members(cursor, |cursor, name| {
        let value = cursor.skip()?;
        let is_full = matches!(
            value.kind,
            ValueKind::String | ValueKind::Array | ValueKind::Object
        ) && !value.empty;
        let value = is_full.then_some(value);
        match name {
            b"content" => said.content = value,
            b"reasoning" => said.reasoning = said.reasoning.or(value),
            b"reasoning_content" => said.reasoning = value.or(said.reasoning),
            b"reasoning_details" => said.details = value,
            b"refusal" => said.refusal = value,
            b"tool_calls" => said.calls = value,
            b"function_call" => said.function = value,
            b"annotations" => said.annotations = value,
            _ => {}
        }
        Ok(())
    })
}

/// The string under the cursor, unless it is something else or says nothing.
pub(super) fn string(cursor: &mut Cursor<'_>) -> Result<Option<Value>, JsonError> {
    let value = cursor.skip()?;
    Ok((value.kind == ValueKind::String && !value.empty).then_some(value))
}

/// The inside of a string.
pub(super) fn inside<'a>(json: &'a [u8], value: &Value) -> &'a [u8] {
    let raw = value.span.bytes(json);
    raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()
}

/// An error that says something; `openai-python` raises on what Python takes for true.
fn is_trouble(value: &Value) -> bool {
    !value.empty && !matches!(value.kind, ValueKind::Null | ValueKind::False)
}
