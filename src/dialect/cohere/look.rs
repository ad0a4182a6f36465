//! Looks at events and plain answers that pass as they are. One pass, no copies.
//!
//! Invariants
//! - I1 Any bytes give facts; nothing is an error, nothing is allocated.
//!
//! Source: Cohere API reference, `POST /v2/chat`.

use super::event::{self, What, inside};
use super::usage;
use crate::dialect::openai::answer::{AnswerFacts, look_at};
use crate::dialect::openai::chunk::ChunkFacts;
use crate::wire::json::JsonFault;
use crate::wire::json::cursor::ValueKind;

/// Whether a finish reason says that there is no whole answer.
pub(super) fn is_failure(finish: &[u8]) -> bool {
    matches!(finish, b"ERROR" | b"TIMEOUT" | b"USER_CANCEL")
}

/// Looks at one event: its name and its data.
pub fn look(event: Option<&[u8]>, data: &[u8]) -> ChunkFacts {
    let mut facts = ChunkFacts::default();
    if data.trim_ascii() == b"[DONE]" {
        facts.done = true;
        return facts;
    }
    let found = match event::read(event, data) {
        Ok(found) => found,
        Err(error) => {
            let deep = error.what == JsonFault::TooDeep;
            facts.is_json = deep && data.trim_ascii_start().starts_with(b"{");
            return facts;
        }
    };
    facts.is_json = true;
    facts.usage = found.usage;
    let said = |text: Option<&[u8]>| text.is_some_and(|text| !text.is_empty());
    match found.what {
        What::ContentStart | What::ContentDelta => {
            facts.content = said(found.text) || said(found.thinking);
        }
        What::PlanDelta => facts.content = !found.plan.is_empty(),
        What::CallStart | What::CallDelta | What::Citation => facts.content = true,
        What::MessageEnd => {
            facts.error = is_failure(found.finish) || found.error.is_some();
            facts.finished = !facts.error && !found.finish.is_empty();
            facts.done = !facts.error;
        }
        What::Refusal => facts.error = true,
        What::Other | What::MessageStart | What::ContentEnd | What::CallEnd => {}
    }
    facts
}

/// Looks at a plain answer.
pub fn answer(body: &[u8]) -> AnswerFacts {
    look_at(body, |facts, cursor, key| {
        match key {
            b"error" => facts.has_error |= cursor.skip()?.kind != ValueKind::Null,
            // The body of an error has a sentence where an answer has an object.
            b"message" => match cursor.skip()?.kind {
                ValueKind::Object => facts.has_result = true,
                ValueKind::String => facts.has_error = true,
                _ => {}
            },
            b"embeddings" | b"results" => {
                facts.has_result |= cursor.skip()?.kind != ValueKind::Null;
            }
            b"finish_reason" => {
                let finish = inside(body, cursor.skip()?);
                facts.has_error |= finish.is_some_and(is_failure);
            }
            b"usage" => facts.usage = usage::read(body, cursor)?,
            // Embeddings.
            b"meta" => facts.usage = usage::read(body, cursor)?.or(facts.usage),
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::openai::answer::Shape;

    /// Goal: what a relay must know of an event is seen, and nothing else.
    #[test]
    fn events_that_pass_are_seen_for_what_they_are() {
        let of = |data: &str| look(None, data.as_bytes());
        let start = of(r#"{"id":"i","type":"message-start","delta":{"message":{"content":[]}}}"#);
        assert!(start.is_json && !start.content && !start.done);
        assert!(!of(r#"{"type":"content-start","delta":{"message":{"content":{"type":"text","text":""}}}}"#).content);
        for content in [
            r#"{"type":"content-delta","index":0,"delta":{"message":{"content":{"text":"a"}}}}"#,
            r#"{"type":"content-delta","delta":{"message":{"content":{"thinking":"a"}}}}"#,
            r#"{"type":"tool-plan-delta","delta":{"message":{"tool_plan":"I"}}}"#,
            r#"{"type":"tool-call-start","delta":{}}"#,
        ] {
            assert!(of(content).content, "{content}");
        }
        let end = of(
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE",
            "usage":{"tokens":{"input_tokens":5,"output_tokens":2},"cached_tokens":1}}}"#,
        );
        assert!(end.finished && end.done && !end.error);
        assert_eq!(end.usage.unwrap().input, 5);
        for error in [
            r#"{"type":"message-end","delta":{"finish_reason":"ERROR","error":"no"}}"#,
            r#"{"message":"too many requests"}"#,
            r#"{"error":{"message":"x"}}"#,
        ] {
            assert!(of(error).error && !of(error).done, "{error}");
        }
        assert!(look(None, b"[DONE]").done && !look(None, b"x").is_json);
        let named = br#"{"delta":{"message":{"tool_plan":"I"}}}"#;
        assert!(
            look(Some(b"tool-plan-delta"), named).content,
            "the event's name counts too"
        );
    }

    /// Goal: an answer, an error inside a 200 and something else are told apart.
    #[test]
    fn answers_that_pass_are_seen_for_what_they_are() {
        let good =
            answer(br#"{"message":{"role":"assistant"},"usage":{"tokens":{"input_tokens":5}}}"#);
        assert!(good.has_result && !good.has_error && good.usage.unwrap().input == 5);
        assert!(answer(br#"{"id":"x","message":"invalid request"}"#).has_error);
        assert!(answer(br#"{"message":{},"finish_reason":"ERROR"}"#).has_error);
        assert_eq!(answer(b"<html>").shape, Shape::Broken);
        assert_eq!(answer(b"[]").shape, Shape::Other);
    }
}
