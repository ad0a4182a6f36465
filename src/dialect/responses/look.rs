//! Looks at a body and at events of Responses that pass as they are. One pass, no copies.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//! - I2 UTF-8 is not checked, and what is nested too deeply is unknown, not wrong.
//!
//! Source: OpenAI API reference, "Streaming events".

use super::tokens;
use crate::dialect::openai::answer::{AnswerFacts, look_at};
use crate::dialect::openai::chunk::ChunkFacts;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};
use crate::wire::json::{JsonError, JsonFault};

/// Looks at one event: its name and its data. `done` is set by the event that ends a whole
/// answer (`response.completed`, `response.incomplete`) and by `[DONE]`.
pub fn look(event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    let mut facts = ChunkFacts::default();
    if data.trim_ascii() == b"[DONE]" {
        facts.done = true;
        return facts;
    }
    let mut says = Says {
        kind: event.unwrap_or_default(),
        ..Says::default()
    };
    facts.is_json = match top(data, &mut says, &mut facts) {
        Ok(()) => true,
        Err(error) => error.what == JsonFault::TooDeep && data.trim_ascii_start().starts_with(b"{"),
    };
    if !facts.is_json {
        return ChunkFacts::default();
    }
    let kind = says.kind;
    facts.error |= kind == b"error" || kind == b"response.failed";
    facts.done = kind == b"response.completed" || kind == b"response.incomplete";
    facts.finished = facts.done;
    facts.content = (kind.ends_with(b".delta") && says.delta)
        || kind == b"response.output_item.done"
        || kind == b"response.image_generation_call.partial_image";
    facts
}

/// What decides about an event.
#[derive(Default)]
struct Says<'a> {
    kind: &'a [u8],
    delta: bool,
}

fn top<'a>(json: &'a [u8], says: &mut Says<'a>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    let mut cursor = Cursor::new(json, 0);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"type" => {
                let value = cursor.skip()?;
                let text = value.span.bytes(json);
                if value.kind == ValueKind::String && text.len() > 2 {
                    says.kind = text.get(1..text.len() - 1).unwrap_or_default();
                }
            }
            b"delta" => {
                let value = cursor.skip()?;
                says.delta =
                    matches!(value.kind, ValueKind::String | ValueKind::Object) && !value.empty;
            }
            b"error" => facts.error |= cursor.skip()?.kind != ValueKind::Null,
            b"response" => response(json, cursor, facts)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()
}

fn response(json: &[u8], cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"usage" => facts.usage = tokens::read(json, cursor)?.as_ref().map(tokens::usage_of),
            b"error" => facts.error |= cursor.skip()?.kind != ValueKind::Null,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

/// The response that the event `data`, which ends a whole answer, says again: that has items.
pub(in crate::dialect) fn own_answer<'a>(event: Option<&[u8]>, data: &'a [u8]) -> Option<&'a [u8]> {
    let (mut whole, mut kind) = (None, event);
    let mut cursor = Cursor::new(data, 0);
    let mut room = [0; NAME_MAX];
    let read = cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        match key.name(&mut room) {
            b"type" => kind = quoted(value.span.bytes(data)).or(kind),
            b"response" if value.kind == ValueKind::Object => whole = Some(value.span.bytes(data)),
            _ => {}
        }
        Ok(())
    });
    read.and_then(|()| cursor.end()).ok()?;
    let is_last = matches!(kind, Some(b"response.completed" | b"response.incomplete"));
    let whole = whole.filter(|_| is_last)?;
    let mut has_items = false;
    let mut cursor = Cursor::new(whole, 0);
    let read = cursor.object(|cursor, key| {
        let value = cursor.skip()?;
        let is_output = key.name(&mut room) == b"output";
        has_items |= is_output && value.kind == ValueKind::Array && !value.empty;
        Ok(())
    });
    read.ok()?;
    has_items.then_some(whole)
}

fn quoted(text: &[u8]) -> Option<&[u8]> {
    text.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Looks at a plain answer.
pub fn answer(body: &[u8]) -> AnswerFacts {
    look_at(body, |facts, cursor, key| {
        match key {
            b"error" => facts.has_error = cursor.skip()?.kind != ValueKind::Null,
            b"output" => facts.has_result |= cursor.skip()?.kind != ValueKind::Null,
            b"usage" => facts.usage = tokens::read(body, cursor)?.as_ref().map(tokens::usage_of),
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::answer::Shape;

    /// Goal: what decides about a stream is seen, with or without the event's name.
    #[test]
    fn events_are_told_apart() {
        let delta = look(
            None,
            br#"{"type":"response.output_text.delta","delta":"x"}"#,
        );
        assert!(delta.content && delta.is_json && !delta.done && !delta.error);
        let empty = look(None, br#"{"type":"response.output_text.delta","delta":""}"#);
        assert!(!empty.content && empty.is_json);
        let end = look(
            Some(b"response.completed"),
            br#"{"response":{"error":null,"usage":{"input_tokens":9,"output_tokens":5,
                "input_tokens_details":{"cached_tokens":4},
                "output_tokens_details":{"reasoning_tokens":3}}}}"#,
        );
        assert!(end.done && end.finished && !end.error);
        let usage = end.usage.unwrap();
        assert_eq!(
            (usage.input, usage.output, usage.cached, usage.reasoning),
            (9, 5, 4, 3)
        );
        for data in [
            &br#"{"type":"error","code":"x","message":"y"}"#[..],
            br#"{"error":{"message":"y"}}"#,
            br#"{"type":"response.failed","response":{"error":{"code":"x"}}}"#,
        ] {
            let facts = look(None, data);
            assert!(facts.error && !facts.done);
        }
        assert!(look(None, b"[DONE]").done);
        assert_eq!(look(None, b"{"), ChunkFacts::default());
    }

    /// Goal: a plain answer's result, error and usage are seen.
    #[test]
    fn plain_answers_are_told_apart() {
        let facts = answer(br#"{"error":null,"output":[],"usage":{"input_tokens":2}}"#);
        assert!(facts.has_result && !facts.has_error && facts.is_json_object());
        assert_eq!(facts.usage.map(|u| u.input), Some(2));
        assert!(answer(br#"{"error":{"message":"x"}}"#).has_error);
        assert_eq!(answer(b"[]").shape, Shape::Other);
        assert_eq!(answer(b"<html>").shape, Shape::Broken);
    }
}
