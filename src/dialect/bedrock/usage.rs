//! Stop reasons and token counts.
//!
//! Source: Amazon Bedrock Runtime API, `StopReason` and `TokenUsage`; mapping.md, 7 and 8.

use crate::base::bytes::TxBuf;
use crate::dialect::model::{Stop, Tokens};
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// The stop that a reason says; what nobody knows is an end.
pub(super) fn stop(reason: &[u8]) -> Stop {
    match reason {
        b"tool_use" => Stop::Tool,
        b"max_tokens" => Stop::Length,
        b"stop_sequence" => Stop::Sequence,
        b"guardrail_intervened" | b"content_filtered" => Stop::Filtered,
        b"model_context_window_exceeded" => Stop::Context,
        b"malformed_tool_use" | b"malformed_model_output" => Stop::Malformed,
        _ => Stop::End,
    }
}

/// The reason that says a stop.
pub(super) const fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Pause => "end_turn",
        Stop::Sequence => "stop_sequence",
        Stop::Tool => "tool_use",
        Stop::Length => "max_tokens",
        Stop::Context => "model_context_window_exceeded",
        Stop::Filtered => "content_filtered",
        Stop::Malformed => "malformed_model_output",
    }
}

/// The stop of an answer in which the client was asked for a call, or was not: a call that was
/// made counts more than a plain end.
pub(super) const fn with_calls(stop: Stop, has_calls: bool) -> Stop {
    match stop {
        Stop::End if has_calls => Stop::Tool,
        _ => stop,
    }
}

/// Reads the value of `"usage"`, on which the cursor stands. `None` unless it is an object with
/// a readable count of prompt or answer.
pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Tokens>, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut input, mut output) = (None, None);
    let mut tokens = Tokens::default();
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"inputTokens" => input = count(json, cursor)?,
            b"outputTokens" => output = count(json, cursor)?,
            b"cacheReadInputTokens" => tokens.read = count(json, cursor)?.unwrap_or(0),
            b"cacheWriteInputTokens" => tokens.write = count(json, cursor)?.unwrap_or(0),
            b"cacheDetails" => tokens.write_1h = written_for_an_hour(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    tokens.fresh = input.unwrap_or(0);
    tokens.output = output.unwrap_or(0);
    // The details divide the total of what was written.
    tokens.write_1h = tokens.write_1h.min(tokens.write);
    tokens.write -= tokens.write_1h;
    Ok(Some(tokens))
}

/// The tokens of `cacheDetails` that live for an hour.
fn written_for_an_hour(json: &[u8], cursor: &mut Cursor<'_>) -> Result<u64, JsonError> {
    let mut sum: u64 = 0;
    if cursor.peek()? != ValueKind::Array {
        cursor.skip()?;
        return Ok(0);
    }
    cursor.array(|cursor| {
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(());
        }
        let (mut is_hour, mut tokens) = (false, 0);
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"ttl" => is_hour = cursor.skip()?.span.bytes(json) == b"\"1h\"",
                b"inputTokens" => tokens = count(json, cursor)?.unwrap_or(0),
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        if is_hour {
            sum = sum.saturating_add(tokens);
        }
        Ok(())
    })?;
    Ok(sum)
}

/// The value under the cursor, if it is a believable count; what is hostile is absent.
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let digits = cursor.skip()?.span.bytes(json);
    // A sign, a point or an exponent is no digit.
    let number = std::str::from_utf8(digits)
        .ok()
        .filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok());
    Ok(number.filter(|&n| n <= TOKENS_MAX))
}

/// The counts as receipts have them.
pub(super) fn facts(tokens: &Tokens) -> Usage {
    Usage {
        input: tokens.prompt(),
        output: tokens.answer(),
        cached: tokens.read,
        reasoning: tokens.thinking,
    }
}

/// Appends the counts as an object.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    let written = tokens.write.saturating_add(tokens.write_1h);
    let total = tokens.prompt().saturating_add(tokens.answer());
    for (name, count) in [
        (&b"{\"inputTokens\":"[..], tokens.fresh),
        (b",\"outputTokens\":", tokens.answer()),
        (b",\"totalTokens\":", total),
        (b",\"cacheReadInputTokens\":", tokens.read),
        (b",\"cacheWriteInputTokens\":", written),
    ] {
        tx.put(name);
        tx.put_decimal(count);
    }
    if tokens.write_1h > 0 {
        tx.put(b",\"cacheDetails\":[{\"ttl\":\"1h\",\"inputTokens\":");
        tx.put_decimal(tokens.write_1h);
        tx.put(b"}]");
    }
    tx.put(b"}");
}
