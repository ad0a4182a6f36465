//! Looks at what passes as it is: one event, one plain answer. One pass, no copies.
//!
//! The relay has already passed the bytes on; a wrong guess here mislabels, never corrupts.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//! - I2 UTF-8 is not checked: it is the client's decoder that replaces broken bytes.
//! - I3 What is nested too deeply counts as an object of which only the part before is known.
//!
//! Source: protocols.md 6.2 and 6.3.

use super::usage::Counts;
use crate::dialect::openai::answer::{AnswerFacts, look_at};
use crate::dialect::openai::chunk::ChunkFacts;
use crate::wire::json::cursor::{Cursor, NAME_MAX, Value, ValueKind};
use crate::wire::json::{JsonError, JsonFault};

/// Looks at one event, its name and its data.
///
/// The prompt's tokens come with `message_start`, and older servers do not repeat them in
/// `message_delta`: what is kept of a stream is [`after`] of both.
///
/// [`after`]: crate::dialect::openai::Usage::after
pub fn look(event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    let mut seen = Seen::default();
    let read = seen.top(data);
    let is_json = match read {
        Ok(()) => true,
        Err(error) => error.what == JsonFault::TooDeep && data.trim_ascii_start().starts_with(b"{"),
    };
    if !is_json {
        return ChunkFacts::default();
    }
    let kind = seen.kind.or(event).unwrap_or_default();
    ChunkFacts {
        is_json,
        done: kind == b"message_stop",
        error: kind == b"error" || seen.has_error,
        content: match kind {
            // A message may begin with calls that a tool of the provider makes.
            b"content_block_delta" | b"message_start" => seen.says,
            // Text and thinking say nothing yet; a call, or what a tool gave, does.
            b"content_block_start" => seen.says || !matches!(seen.block, b"text" | b"thinking"),
            _ => false,
        },
        finished: kind == b"message_delta" && seen.stops,
        choices_empty: false,
        usage: match kind {
            b"message_start" | b"message_delta" => seen.counts.usage(),
            _ => None,
        },
    }
}

/// What was seen in an event.
#[derive(Default)]
struct Seen<'a> {
    kind: Option<&'a [u8]>,
    /// The type of the inner object.
    block: &'a [u8],
    has_error: bool,
    says: bool,
    stops: bool,
    counts: Counts,
}

impl<'a> Seen<'a> {
    fn top(&mut self, json: &'a [u8]) -> Result<(), JsonError> {
        let mut cursor = Cursor::new(json, 0);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"type" => self.kind = Some(inside(json, &cursor.skip()?)),
                b"delta" | b"content_block" | b"message" => self.inner(json, cursor)?,
                b"usage" => self.counts = Counts::read(json, cursor)?.over(self.counts),
                b"error" => self.has_error = cursor.skip()?.kind != ValueKind::Null,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        cursor.end()
    }

    fn inner(&mut self, json: &'a [u8], cursor: &mut Cursor<'a>) -> Result<(), JsonError> {
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(());
        }
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"type" => self.block = inside(json, &cursor.skip()?),
                b"text" | b"thinking" | b"partial_json" | b"signature" | b"citation"
                | b"content" => {
                    let value = cursor.skip()?;
                    self.says |= value.kind != ValueKind::Null && !value.empty;
                }
                b"stop_reason" => self.stops = cursor.skip()?.kind != ValueKind::Null,
                b"usage" => self.counts = Counts::read(json, cursor)?.over(self.counts),
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })
    }
}

/// What a string says, as it stands; nothing for other values.
fn inside<'a>(json: &'a [u8], value: &Value) -> &'a [u8] {
    let raw = value.span.bytes(json);
    let raw = raw
        .strip_prefix(b"\"")
        .and_then(|raw| raw.strip_suffix(b"\""));
    raw.unwrap_or_default()
}

/// Looks at the body of a plain answer.
pub fn answer(body: &[u8]) -> AnswerFacts {
    look_at(body, |facts, cursor, key| {
        match key {
            b"error" => facts.has_error |= cursor.skip()?.kind != ValueKind::Null,
            b"type" => facts.has_error |= inside(body, &cursor.skip()?) == b"error",
            b"content" | b"input_tokens" => {
                facts.has_result |= cursor.skip()?.kind != ValueKind::Null;
            }
            b"usage" => facts.usage = Counts::read(body, cursor)?.usage(),
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::answer::Shape;

    /// Goal: each kind of event gives the facts that the relay asks for.
    #[test]
    fn each_event_gives_its_facts() {
        let facts = |data: &str| {
            let f = look(None, data.as_bytes());
            (f.is_json, f.done, f.error, f.content, f.finished)
        };
        for (data, want) in [
            (r#"{"type":"message_start","message":{"content":[]}}"#, "j"),
            (r#"{"type":"ping"}"#, "j"),
            (
                r#"{"type":"content_block_start","content_block":{"type":"text","text":""}}"#,
                "j",
            ),
            (
                r#"{"type":"content_block_start","content_block":{"type":"tool_use"}}"#,
                "jc",
            ),
            (
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"a"}}"#,
                "jc",
            ),
            (
                r#"{"type":"content_block_delta","delta":{"partial_json":""}}"#,
                "j",
            ),
            (
                r#"{"type":"content_block_delta","delta":{"signature":"c2ln"}}"#,
                "jc",
            ),
            (
                r#"{"delta":{"thinking":"x"},"type":"content_block_delta"}"#,
                "jc",
            ),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
                "jf",
            ),
            (
                r#"{"type":"message_delta","delta":{"stop_reason":null}}"#,
                "j",
            ),
            (r#"{"type":"message_stop"}"#, "jd"),
            (
                r#"{"type":"error","error":{"type":"overloaded_error"}}"#,
                "je",
            ),
            (r#"{"error":"x"}"#, "je"),
            (r#"{"type":"ping""#, ""),
            ("[]", ""),
        ] {
            let want = ['j', 'd', 'e', 'c', 'f'].map(|c| want.contains(c));
            assert_eq!(<[bool; 5]>::from(facts(data)), want, "{data}");
        }
        assert!(look(Some(b"message_stop"), b"{}").done);
    }

    /// Goal: the counts of a stream are those of its last event, and what that leaves out.
    #[test]
    fn counts_are_kept_over_the_stream() {
        let start = br#"{"type":"message_start","message":{"usage":{"input_tokens":17,
            "cache_read_input_tokens":3,"output_tokens":1}}}"#;
        let delta = br#"{"type":"message_delta","usage":{"output_tokens":227}}"#;
        let first = look(None, start).usage.unwrap().after(None);
        let last = look(None, delta).usage.unwrap().after(Some(first));
        assert_eq!((last.input, last.cached, last.output), (20, 3, 227));
    }

    /// Goal: a plain answer tells shape, error, result and usage.
    #[test]
    fn a_plain_answer_gives_its_facts() {
        let good = answer(br#"{"content":[],"usage":{"input_tokens":2,"output_tokens":3}}"#);
        assert!(good.has_result && !good.has_error && good.is_json_object());
        assert_eq!(good.usage.map(|u| (u.input, u.output)), Some((2, 3)));
        let bad = answer(br#"{"type":"error","error":{"type":"api_error"}}"#);
        assert!(bad.has_error && !bad.has_result);
        assert_eq!(answer(b"<html>").shape, Shape::Broken);
        assert_eq!(answer(b"[1]").shape, Shape::Other);
    }
}
