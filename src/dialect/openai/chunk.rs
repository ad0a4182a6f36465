//! Looks at one event of a streamed answer: content, end, error, usage. One pass, no copies.
//!
//! ```text
//!   {"id":…,"choices":[{"delta":{"content":"Hi"},"finish_reason":null}],"usage":null}
//!                                 └ content        └ finished             └ usage
//! ```
//!
//! The relay has already passed the event on; a wrong guess here mislabels, never corrupts.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//! - I2 UTF-8 is not checked: it is the client's decoder that replaces broken bytes.
//! - I3 An object deeper than [`DEPTH_MAX`](crate::wire::json::scan::DEPTH_MAX) counts as
//!   an object of which only the part before is known.
//!
//! Source: OpenAI API reference, `chat.completion.chunk`; `reasoning_content` (`DeepSeek`,
//! vLLM), `reasoning` and `reasoning_details` (`OpenRouter`), `prompt_filter_results` (Azure),
//! `x_groq.usage` (Groq, where nobody asked for usage).

use super::usage::{self, Usage};
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::{JsonError, JsonFault};

/// What an event says.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts, each of which the relay asks for by name"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkFacts {
    /// The data is a JSON object.
    pub is_json: bool,
    /// The data is `[DONE]`, the end of the stream.
    pub done: bool,
    /// It has a top-level `error` that is not null.
    pub error: bool,
    /// It carries something for the reader: text, a refusal, reasoning, a tool call, audio.
    pub content: bool,
    /// A choice has a `finish_reason`.
    pub finished: bool,
    /// `choices` is there and empty: a chunk of usage or of the provider's own notes.
    pub choices_empty: bool,
    /// The token counts, when it carries them.
    pub usage: Option<Usage>,
}

/// Looks at the data of one event.
pub fn look(data: &[u8]) -> ChunkFacts {
    let mut facts = ChunkFacts::default();
    if data.trim_ascii() == b"[DONE]" {
        facts.done = true;
        return facts;
    }
    let read = top(data, &mut facts);
    facts.is_json = match read {
        Ok(()) => true,
        Err(error) => error.what == JsonFault::TooDeep && starts_object(data), // I3
    };
    if !facts.is_json {
        return ChunkFacts::default();
    }
    facts
}

fn starts_object(data: &[u8]) -> bool {
    data.trim_ascii_start().starts_with(b"{")
}

fn top(json: &[u8], facts: &mut ChunkFacts) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(json, 0);
    let mut groq = None;
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"choices" => choices(cursor, facts)?,
            b"error" => facts.error = cursor.skip()?.kind != ValueKind::Null,
            b"usage" => facts.usage = usage::read(json, cursor)?,
            b"x_groq" => groq = usage::read_within(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    facts.usage = facts.usage.or(groq);
    cursor.end()
}

fn choices(cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Array {
        cursor.skip()?;
        return Ok(());
    }
    facts.choices_empty = true;
    cursor.array(|cursor| {
        facts.choices_empty = false;
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(());
        }
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"delta" | b"message" => delta(cursor, facts)?,
                b"text" => facts.content |= says_something(&cursor.skip()?),
                b"finish_reason" => facts.finished |= is_set(&cursor.skip()?),
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })
    })
}

fn delta(cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        if is_content(key.name(&mut room)) {
            facts.content |= says_something(&value);
        }
        Ok(())
    })
}

/// The members of a delta that reach the reader.
fn is_content(name: &[u8]) -> bool {
    matches!(
        name,
        b"content"
            | b"refusal"
            | b"reasoning"
            | b"reasoning_content"
            | b"reasoning_details"
            | b"tool_calls"
            | b"function_call"
            | b"audio"
            | b"images"
    )
}

/// A string, object or array with something in it.
fn says_something(value: &Value) -> bool {
    use ValueKind::{Array, Object, String};
    matches!(value.kind, String | Object | Array) && !value.empty
}

/// Not null; some servers send an empty string for "not yet".
fn is_set(value: &Value) -> bool {
    value.kind != ValueKind::Null && !(value.kind == ValueKind::String && value.empty)
}
