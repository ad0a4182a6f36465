//! Token counts as Cohere reports them.
//!
//! ```text
//!   "usage":{"billed_units":{"input_tokens":12,"output_tokens":7},
//!            "tokens":{"input_tokens":507,"output_tokens":10},"cached_tokens":448}
//! ```
//!
//! `tokens` is what the model read and wrote, `cached_tokens` included in its input; where it
//! is missing, `billed_units` counts. Thinking is not told apart.
//!
//! Invariants
//! - I1 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//!
//! Source: `cohere` 7.3.1, `Usage`, whose numbers are floats; recordings.

use crate::base::bytes::TxBuf;
use crate::dialect::model::Tokens;
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// A pair of counts: of the prompt and of the answer.
type Pair = (Option<u64>, Option<u64>);

/// Reads the value of `"usage"`, on which the cursor stands. `None` unless it is an object
/// with a readable count of prompt or answer.
pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Usage>, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut tokens, mut billed, mut cached): (Pair, Pair, _) = Default::default();
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"tokens" => tokens = pair(json, cursor)?,
            b"billed_units" => billed = pair(json, cursor)?,
            b"cached_tokens" => cached = count(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    let (input, output) = if tokens == (None, None) {
        billed
    } else {
        tokens
    };
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    let input = input.unwrap_or(0);
    Ok(Some(Usage {
        input,
        output: output.unwrap_or(0),
        cached: cached.unwrap_or(0).min(input),
        reasoning: 0,
    }))
}

fn pair(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Pair, JsonError> {
    let mut found = (None, None);
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(found);
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"input_tokens" => found.0 = count(json, cursor)?,
            b"output_tokens" => found.1 = count(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// The value under the cursor, if it is a count (I1); `7.0` is one.
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let value = cursor.skip()?;
    if value.kind != ValueKind::Number {
        return Ok(None);
    }
    let digits = value.span.bytes(json);
    let whole = digits
        .iter()
        .position(|&b| b == b'.')
        .filter(|&point| {
            digits
                .get(point + 1..)
                .is_some_and(|rest| rest.iter().all(|&b| b == b'0'))
        })
        .and_then(|point| digits.get(..point))
        .unwrap_or(digits);
    Ok(std::str::from_utf8(whole)
        .ok()
        .and_then(|whole| whole.parse().ok())
        .filter(|&n| n <= TOKENS_MAX))
}

/// The counts as the model has them: in parts that do not overlap.
pub(super) fn parts(usage: Usage) -> Tokens {
    let read = usage.cached.min(usage.input);
    Tokens {
        fresh: usage.input - read,
        read,
        output: usage.output,
        ..Tokens::default()
    }
}

/// Appends the value of `"usage"`.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    let pair = |tx: &mut TxBuf, name: &[u8]| {
        tx.put(name);
        tx.put(b":{\"input_tokens\":");
        tx.put_decimal(tokens.prompt());
        tx.put(b",\"output_tokens\":");
        tx.put_decimal(tokens.answer());
        tx.put(b"},");
    };
    tx.put(b"{");
    pair(tx, b"\"billed_units\"");
    pair(tx, b"\"tokens\"");
    tx.put(b"\"cached_tokens\":");
    tx.put_decimal(tokens.read);
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Option<Usage> {
        read(json.as_bytes(), &mut Cursor::new(json.as_bytes(), 0)).unwrap()
    }

    /// Goal: `tokens` counts before `billed_units`, floats are read, hostile numbers are not.
    #[test]
    fn counts_are_read_and_hostile_ones_are_not() {
        let usage = of(r#"{"billed_units":{"input_tokens":1,"output_tokens":2},
            "tokens":{"input_tokens":10.0,"output_tokens":5},"cached_tokens":4}"#)
        .unwrap();
        assert_eq!((usage.input, usage.output, usage.cached), (10, 5, 4));
        let billed = of(r#"{"billed_units":{"input_tokens":1,"output_tokens":2}}"#).unwrap();
        assert_eq!((billed.input, billed.output, billed.cached), (1, 2, 0));
        for hostile in [
            "-1",
            "1.5",
            "1e3",
            "\"7\"",
            "99999999999999999999999",
            "null",
            "[]",
        ] {
            let json = format!(r#"{{"tokens":{{"input_tokens":{hostile}}}}}"#);
            assert_eq!(of(&json), None, "{hostile}");
        }
        let more = of(r#"{"tokens":{"input_tokens":3},"cached_tokens":9}"#).unwrap();
        assert_eq!(parts(more).prompt(), 3, "cached is part of the prompt");
    }
}
