//! Looks at what passes from a Bedrock provider to a Bedrock client: facts, no copies.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//!
//! Source: Amazon Bedrock Runtime API, `ConverseStreamOutput` and `ConverseResponse`.

use super::stream::is_failure;
use super::usage;
use crate::dialect::openai::answer::{AnswerFacts, Shape};
use crate::dialect::openai::chunk::ChunkFacts;
use crate::dialect::openai::usage::whole_number;
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::{JsonError, JsonFault};

/// Looks at one event: the type in its frame, and its payload. Without a type the payload is
/// taken as the whole union: `{"messageStop":{…}}`.
pub fn look(event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    let mut facts = ChunkFacts::default();
    let mut cursor = Cursor::new(data, 0);
    let read = match event {
        Some(event) => member(event, data, &mut cursor, &mut facts),
        None => union(data, &mut cursor, &mut facts),
    };
    facts.is_json = match read.and_then(|()| cursor.end()) {
        Ok(()) => true,
        Err(error) => error.what == JsonFault::TooDeep && data.trim_ascii_start().starts_with(b"{"),
    };
    let error = event.is_some_and(is_failure);
    if facts.is_json {
        facts.error |= error;
        return facts;
    }
    // A failure is one, whatever its payload looks like.
    ChunkFacts {
        error,
        ..ChunkFacts::default()
    }
}

fn union(data: &[u8], cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    cursor.object(|cursor, key| {
        let mut room = [0; NAME_MAX];
        let name = key.name(&mut room);
        facts.error |= is_failure(name);
        if cursor.peek()? == ValueKind::Object {
            member(name, data, cursor, facts)
        } else {
            cursor.skip().map(|_| ())
        }
    })
}

fn member(
    event: &[u8],
    data: &[u8],
    cursor: &mut Cursor<'_>,
    facts: &mut ChunkFacts,
) -> Result<(), JsonError> {
    match event {
        b"messageStop" => facts.finished = true,
        b"metadata" => facts.done = true,
        _ => {}
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match (event, key.name(&mut room)) {
            (b"metadata", b"usage") => {
                facts.usage = usage::read(data, cursor)?.as_ref().map(usage::facts);
            }
            (b"contentBlockStart", b"start") => facts.content |= !cursor.skip()?.empty,
            (b"contentBlockDelta", b"delta") => says(cursor, facts)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

/// Whether a delta carries something for the reader.
fn says(cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let filled = |value: &Value| value.kind != ValueKind::Null && !value.empty;
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let name = key.name(&mut room);
        if matches!(name, b"toolUse" | b"reasoningContent") && cursor.peek()? == ValueKind::Object {
            return cursor.object(|cursor, _| {
                facts.content |= filled(&cursor.skip()?);
                Ok(())
            });
        }
        let value = cursor.skip()?;
        facts.content |= filled(&value);
        Ok(())
    })
}

/// Looks at a whole answer.
pub fn answer(body: &[u8]) -> AnswerFacts {
    let mut facts = AnswerFacts::default();
    let mut usage = None;
    facts.shape = match top(body, &mut facts, &mut usage) {
        Ok(shape) => shape,
        Err(error) if error.what == JsonFault::TooDeep => Shape::TooDeep,
        Err(_) => return AnswerFacts::default(),
    };
    facts.usage = usage;
    facts
}

fn top(
    json: &[u8],
    facts: &mut AnswerFacts,
    usage: &mut Option<Usage>,
) -> Result<Shape, JsonError> {
    let mut cursor = Cursor::new(json, 0);
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        cursor.end()?;
        return Ok(Shape::Other);
    }
    let mut told = false;
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"output" => facts.has_result |= cursor.skip()?.kind == ValueKind::Object,
            b"message" | b"Message" | b"__type" | b"Output" => {
                told |= cursor.skip()?.kind != ValueKind::Null;
            }
            b"usage" => *usage = usage::read(json, cursor)?.as_ref().map(usage::facts),
            b"embedding" | b"embeddings" | b"embeddingsByType" => {
                facts.has_result |= cursor.skip()?.kind != ValueKind::Null;
            }
            b"inputTextTokenCount" => {
                let digits = cursor.skip()?.span.bytes(json);
                let tokens = whole_number(digits).filter(|&n| n <= TOKENS_MAX);
                *usage = tokens.map(|input| Usage {
                    input,
                    ..Usage::default()
                });
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    cursor.end()?;
    facts.has_error = told && !facts.has_result;
    Ok(Shape::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every event says what it is.
    #[test]
    fn every_event_says_what_it_is() {
        type Want = (bool, bool, bool, bool, bool);
        let cases: [(Option<&str>, &str, Want); 12] = [
            // is_json, content, finished, done, error
            (
                Some("messageStart"),
                r#"{"role":"assistant"}"#,
                (true, false, false, false, false),
            ),
            (
                Some("contentBlockDelta"),
                r#"{"contentBlockIndex":0,"delta":{"text":""},"p":"ab"}"#,
                (true, false, false, false, false),
            ),
            (
                Some("contentBlockDelta"),
                r#"{"contentBlockIndex":0,"delta":{"text":"a"}}"#,
                (true, true, false, false, false),
            ),
            (
                Some("contentBlockDelta"),
                r#"{"delta":{"reasoningContent":{"signature":"x"}}}"#,
                (true, true, false, false, false),
            ),
            (
                Some("contentBlockDelta"),
                r#"{"delta":{"toolUse":{"input":""}}}"#,
                (true, false, false, false, false),
            ),
            (
                Some("contentBlockStart"),
                r#"{"start":{}}"#,
                (true, false, false, false, false),
            ),
            (
                Some("contentBlockStart"),
                r#"{"start":{"toolUse":{"name":"a"}}}"#,
                (true, true, false, false, false),
            ),
            (
                Some("messageStop"),
                r#"{"stopReason":"end_turn"}"#,
                (true, false, true, false, false),
            ),
            (Some("metadata"), "{}", (true, false, false, true, false)),
            (
                Some("throttlingException"),
                r#"{"message":"slow"}"#,
                (true, false, false, false, true),
            ),
            (
                Some("throttlingException"),
                "",
                (false, false, false, false, true),
            ),
            (
                None,
                r#"{"contentBlockDelta":{"delta":{"text":"a"}}}"#,
                (true, true, false, false, false),
            ),
        ];
        for (event, data, want) in cases {
            let f = look(event.map(str::as_bytes), data.as_bytes());
            let got = (f.is_json, f.content, f.finished, f.done, f.error);
            assert_eq!(got, want, "{event:?} {data}");
        }
    }

    /// Goal: counts include what was cached; a whole answer is told from an error.
    #[test]
    fn counts_include_what_was_cached() {
        let counts = r#"{"inputTokens":3,"outputTokens":5,"totalTokens":19,
            "cacheReadInputTokens":4,"cacheWriteInputTokens":7}"#;
        let want = Usage {
            input: 14,
            output: 5,
            cached: 4,
            reasoning: 0,
        };
        let data = format!("{{\"usage\":{counts},\"metrics\":{{}}}}");
        assert_eq!(look(Some(b"metadata"), data.as_bytes()).usage, Some(want));
        let facts = answer(format!("{{\"output\":{{}},\"usage\":{counts}}}").as_bytes());
        assert!(facts.has_result && !facts.has_error && facts.is_json_object());
        assert_eq!(facts.usage, Some(want));
        let facts = answer(br#"{"message":"no"}"#);
        assert!(facts.has_error && !facts.has_result);
        assert_eq!(answer(b"<html>").shape, Shape::Broken);
    }
}
