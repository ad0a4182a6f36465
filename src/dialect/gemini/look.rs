//! Looks at what passes as it is: one event of a stream, or a plain answer. One pass, no copies.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//! - I2 There is no end marker, so no event is `done`; `finished` is a `finishReason`, or the
//!   reason why the prompt was blocked.
//!
//! Source: Gemini API reference, `GenerateContentResponse`.

use super::usage;
use crate::dialect::openai::answer::{AnswerFacts, Shape};
use crate::dialect::openai::chunk::ChunkFacts;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::scan::BOM;
use crate::wire::json::{JsonError, JsonFault};

/// Looks at one event.
pub fn look(_event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    let mut facts = ChunkFacts::default();
    let read = each_top(data, |cursor| chunk(data, cursor, &mut facts));
    let starts = data.trim_ascii_start();
    facts.is_json = match read {
        Ok(is_object) => is_object,
        Err(error) => error.what == JsonFault::TooDeep && starts.starts_with(b"{"),
    };
    if facts.is_json {
        facts
    } else {
        ChunkFacts::default()
    }
}

/// Looks at a plain answer. What was asked for: `candidates`, a prompt that was blocked,
/// embeddings, a count of tokens.
pub fn answer(body: &[u8]) -> AnswerFacts {
    let mut facts = AnswerFacts::default();
    let read = each_top(body, |cursor| top(body, cursor, &mut facts));
    facts.shape = match read {
        Ok(true) => Shape::Object,
        Ok(false) => Shape::Other,
        Err(error) if error.what == JsonFault::TooDeep => Shape::TooDeep,
        Err(_) => return AnswerFacts::default(),
    };
    facts
}

/// Goes to the object at the top, or to each in a list at the top (errors come in a list of
/// one). Whether there is one.
fn each_top<'a>(
    json: &'a [u8],
    mut each: impl FnMut(&mut Cursor<'a>) -> Result<(), JsonError>,
) -> Result<bool, JsonError> {
    let start = if json.starts_with(BOM) { BOM.len() } else { 0 };
    let mut cursor = Cursor::new(json, start);
    let mut is_object = false;
    match cursor.peek()? {
        ValueKind::Object => {
            is_object = true;
            each(&mut cursor)?;
        }
        ValueKind::Array => cursor.array(|cursor| {
            if cursor.peek()? != ValueKind::Object {
                cursor.skip()?;
                return Ok(());
            }
            is_object = true;
            each(cursor)
        })?,
        _ => _ = cursor.skip()?,
    }
    cursor.end()?;
    Ok(is_object)
}

fn top<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
    facts: &mut AnswerFacts,
) -> Result<(), JsonError> {
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"error" => facts.has_error |= is_set(&cursor.skip()?),
            b"candidates" | b"promptFeedback" | b"embedding" | b"embeddings" | b"predictions"
            | b"totalTokens" => facts.has_result |= is_set(&cursor.skip()?),
            b"usageMetadata" => {
                let tokens = usage::read(json, cursor)?;
                facts.usage = tokens.map(usage::as_usage).or(facts.usage);
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

fn chunk<'a>(
    json: &'a [u8],
    cursor: &mut Cursor<'a>,
    facts: &mut ChunkFacts,
) -> Result<(), JsonError> {
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"error" => facts.error |= is_set(&cursor.skip()?),
            b"usageMetadata" => {
                let tokens = usage::read(json, cursor)?;
                facts.usage = tokens.map(usage::as_usage).or(facts.usage);
            }
            b"promptFeedback" => within(cursor, |cursor, name| {
                let value = cursor.skip()?;
                facts.finished |= name == b"blockReason" && says_something(&value);
                Ok(())
            })?,
            b"candidates" if cursor.peek()? == ValueKind::Array => {
                facts.choices_empty = true;
                cursor.array(|cursor| {
                    facts.choices_empty = false;
                    candidate(cursor, facts)
                })?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

fn candidate(cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    within(cursor, |cursor, name| match name {
        b"finishReason" => {
            facts.finished |= says_something(&cursor.skip()?);
            Ok(())
        }
        b"content" => within(cursor, |cursor, name| {
            if name != b"parts" || cursor.peek()? != ValueKind::Array {
                cursor.skip()?;
                return Ok(());
            }
            cursor.array(|cursor| part(cursor, facts))
        }),
        _ => {
            cursor.skip()?;
            Ok(())
        }
    })
}

/// Anything but an empty text and its marks reaches the reader.
fn part(cursor: &mut Cursor<'_>, facts: &mut ChunkFacts) -> Result<(), JsonError> {
    within(cursor, |cursor, name| {
        let value = cursor.skip()?;
        facts.content |= match name {
            b"thought" | b"thoughtSignature" => false,
            b"text" => says_something(&value),
            _ => matches!(value.kind, ValueKind::Object),
        };
        Ok(())
    })
}

/// Goes through the members of the object that comes next; steps over anything else.
fn within<'a>(
    cursor: &mut Cursor<'a>,
    mut each: impl FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| each(cursor, key.name(&mut room)))
}

fn is_set(value: &Value) -> bool {
    value.kind != ValueKind::Null
}

fn says_something(value: &Value) -> bool {
    value.kind == ValueKind::String && !value.empty
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: an event's facts. Method: one event for each, as (content, finished, error).
    #[test]
    fn an_events_facts() {
        for (data, want) in [
            (
                r#"{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}"#,
                (true, false, false),
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"text":""}]},"finishReason":"STOP"}]}"#,
                (false, true, false),
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"thoughtSignature":"x","text":""}]}}]}"#,
                (false, false, false),
            ),
            (
                r#"{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f"}}]}}]}"#,
                (true, false, false),
            ),
            (
                r#"{"promptFeedback":{"blockReason":"SAFETY"}}"#,
                (false, true, false),
            ),
            (r#"[{"error":{"code":500}}]"#, (false, false, true)),
            (r#"{"error":null}"#, (false, false, false)),
        ] {
            let facts = look(None, data.as_bytes());
            assert!(facts.is_json && !facts.done, "{data}");
            assert_eq!((facts.content, facts.finished, facts.error), want, "{data}");
        }
        for broken in ["", "x", "7", "{", "{}x", "[1]"] {
            assert_eq!(
                look(None, broken.as_bytes()),
                ChunkFacts::default(),
                "{broken}"
            );
        }
        let usage = look(
            None,
            br#"{"candidates":[],"usageMetadata":{"promptTokenCount":3}}"#,
        );
        assert!(usage.choices_empty);
        assert_eq!(usage.usage.unwrap().input, 3);
    }

    /// Goal: an answer's facts.
    #[test]
    fn an_answers_facts() {
        let body = br#"{"candidates":[{}],"usageMetadata":{"promptTokenCount":3,
            "cachedContentTokenCount":1,"candidatesTokenCount":2,"thoughtsTokenCount":4}}"#;
        let facts = answer(body);
        assert_eq!(facts.shape, Shape::Object);
        assert!(facts.has_result && !facts.has_error);
        let usage = facts.usage.unwrap();
        let all = (usage.input, usage.output, usage.cached, usage.reasoning);
        assert_eq!(all, (3, 6, 1, 4));
        assert!(answer(br#"{"promptFeedback":{}}"#).has_result);
        assert!(answer(br#"[{"error":{}}]"#).has_error);
        assert_eq!(answer(b"7").shape, Shape::Other);
        assert_eq!(answer(b"<html>").shape, Shape::Broken);
    }
}
