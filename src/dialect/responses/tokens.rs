//! Token counts as Responses says them.
//!
//! ```text
//!   {"input_tokens":9,"input_tokens_details":{"cached_tokens":4,"cache_write_tokens":2,…},
//!    "output_tokens":5,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":14}
//! ```
//!
//! Invariants
//! - I1 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//!
//! Source: OpenAI API reference, `ResponseUsage`; mapping.md, 7: cached tokens and tokens
//! that are written to the cache are part of the input, reasoning is part of the output.

use crate::base::bytes::TxBuf;
use crate::dialect::model::Tokens;
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// Reads the value of `"usage"`, on which the cursor stands. `None` unless it is an object
/// with a readable count of input or output.
pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Tokens>, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut input, mut output) = (None, None);
    let mut inside = Details::default();
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"input_tokens" => input = count(json, cursor)?,
            b"output_tokens" => output = count(json, cursor)?,
            b"input_tokens_details" | b"output_tokens_details" => {
                details(json, cursor, &mut inside)?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    let (input, output) = (input.unwrap_or(0), output.unwrap_or(0));
    let write_1h = inside.long.min(inside.write);
    // Some servers count more reasoning than output; the output is what is paid for.
    let thinking = inside.reasoning.min(output);
    Ok(Some(Tokens {
        fresh: input
            .saturating_sub(inside.cached)
            .saturating_sub(inside.write),
        read: inside.cached,
        write: inside.write - write_1h,
        write_1h,
        output: output - thinking,
        thinking,
    }))
}

/// What the details say.
#[derive(Default)]
struct Details {
    cached: u64,
    write: u64,
    long: u64,
    reasoning: u64,
}

fn details(json: &[u8], cursor: &mut Cursor<'_>, found: &mut Details) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"cached_tokens" => found.cached = count(json, cursor)?.unwrap_or(0),
            b"cache_write_tokens" => found.write = count(json, cursor)?.unwrap_or(0),
            b"ttl_12h_tokens" => found.long = count(json, cursor)?.unwrap_or(0),
            b"reasoning_tokens" => found.reasoning = count(json, cursor)?.unwrap_or(0),
            b"cache_write_tokens_details" => long(json, cursor, found)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
}

/// The tokens that are written to the cache for long, inside the details of the details.
fn long(json: &[u8], cursor: &mut Cursor<'_>, found: &mut Details) -> Result<(), JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        if key.name(&mut room) == b"ttl_12h_tokens" {
            found.long = count(json, cursor)?.unwrap_or(0);
        } else {
            cursor.skip()?;
        }
        Ok(())
    })
}

/// The value under the cursor, if it is a count (I1).
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let value = cursor.skip()?;
    let digits = value.span.bytes(json);
    if value.kind != ValueKind::Number || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|text| text.parse().ok());
    Ok(number.filter(|&n| n <= TOKENS_MAX))
}

/// The same counts as the relay's log wants them.
pub(super) fn usage_of(tokens: &Tokens) -> Usage {
    Usage {
        input: tokens.prompt(),
        output: tokens.answer(),
        cached: tokens.read,
        reasoning: tokens.thinking,
    }
}

/// Appends `tokens` as the value of `"usage"`.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    let numbers = [
        (&b"{\"input_tokens\":"[..], tokens.prompt()),
        (
            b",\"input_tokens_details\":{\"cached_tokens\":",
            tokens.read,
        ),
        (
            b",\"cache_write_tokens\":",
            tokens.write.saturating_add(tokens.write_1h),
        ),
        (b"},\"output_tokens\":", tokens.answer()),
        (
            b",\"output_tokens_details\":{\"reasoning_tokens\":",
            tokens.thinking,
        ),
        (
            b"},\"total_tokens\":",
            tokens.prompt().saturating_add(tokens.answer()),
        ),
    ];
    for (name, number) in numbers {
        if name.starts_with(b",\"cache_write") && tokens.write_1h > 0 {
            tx.put(b",\"cache_write_tokens_details\":{\"ttl_30m_tokens\":");
            tx.put_decimal(tokens.write);
            tx.put(b",\"ttl_12h_tokens\":");
            tx.put_decimal(tokens.write_1h);
            tx.put(b"}");
        }
        tx.put(name);
        tx.put_decimal(number);
    }
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn tokens(text: &str) -> Option<Tokens> {
        read(text.as_bytes(), &mut Cursor::new(text.as_bytes(), 0)).unwrap()
    }

    /// Goal: what is written reads back as it was, and its sums are what `OpenAI` means.
    #[test]
    fn counts_that_are_written_read_back() {
        for write_1h in [0, 7] {
            let want = Tokens {
                fresh: 1,
                read: 20,
                write: 300,
                write_1h,
                output: 4000,
                thinking: 50_000,
            };
            let mut tx = TxBuf::new(&BufPool::new());
            put(&mut tx, &want);
            let text = std::str::from_utf8(tx.unsent()).unwrap();
            assert_eq!(tokens(text), Some(want), "{text}");
            let value: serde_json::Value = serde_json::from_str(text).unwrap();
            assert_eq!(value["input_tokens"], 321 + write_1h);
            assert_eq!(value["total_tokens"], 54_321 + write_1h);
        }
    }

    /// Goal: I1.
    #[test]
    fn hostile_counts_are_no_counts() {
        for text in [
            "null",
            "7",
            "{}",
            r#"{"input_tokens":-1}"#,
            r#"{"input_tokens":1.5}"#,
            r#"{"input_tokens":"9"}"#,
            r#"{"input_tokens":99999999999999999999999}"#,
            r#"{"output_tokens":1099511627777}"#,
        ] {
            assert_eq!(tokens(text), None, "{text}");
        }
        let text = r#"{"input_tokens":1,"output_tokens":2,"input_tokens_details":
            {"cached_tokens":9},"output_tokens_details":{"reasoning_tokens":9}}"#;
        let found = tokens(text).unwrap();
        assert_eq!((found.fresh, found.output, found.answer()), (0, 0, 2));
    }
}
