//! Token counts as Gemini reports them in `usageMetadata`.
//!
//! ```text
//!   total = prompt (cached included) + toolUsePrompt + candidates (no thoughts) + thoughts
//! ```
//!
//! Invariants
//! - I1 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//!
//! Source: Gemini API reference, `UsageMetadata`; mapping.md, 7.

use crate::base::bytes::TxBuf;
use crate::dialect::model::Tokens;
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// Reads the value of `usageMetadata`, on which the cursor stands. `None` unless it is an
/// object with a readable count of prompt, answer or all.
pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Tokens>, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut prompt, mut cached, mut tools) = (None, None, None);
    let (mut said, mut thought, mut total) = (None, None, None);
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        let place = match key.name(&mut room) {
            b"promptTokenCount" => &mut prompt,
            b"cachedContentTokenCount" => &mut cached,
            b"toolUsePromptTokenCount" => &mut tools,
            b"candidatesTokenCount" => &mut said,
            b"thoughtsTokenCount" => &mut thought,
            b"totalTokenCount" => &mut total,
            _ => {
                cursor.skip()?;
                return Ok(());
            }
        };
        let value = cursor.skip()?;
        *place = count(value.span.bytes(json));
        Ok(())
    })?;
    if prompt.is_none() && said.is_none() && total.is_none() {
        return Ok(None);
    }
    let (prompt, cached) = (prompt.unwrap_or(0), cached.unwrap_or(0));
    Ok(Some(Tokens {
        fresh: prompt.saturating_sub(cached) + tools.unwrap_or(0),
        read: cached.min(prompt),
        write: 0,
        write_1h: 0,
        output: said.unwrap_or(0),
        thinking: thought.unwrap_or(0),
    }))
}

/// The same, as the relay counts it.
pub(super) const fn as_usage(tokens: Tokens) -> Usage {
    Usage {
        input: tokens.prompt(),
        output: tokens.answer(),
        cached: tokens.read,
        reasoning: tokens.thinking,
    }
}

/// Appends `tokens` as the value of `usageMetadata`.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    tx.put(b"{\"promptTokenCount\":");
    tx.put_decimal(tokens.prompt());
    if tokens.read > 0 {
        tx.put(b",\"cachedContentTokenCount\":");
        tx.put_decimal(tokens.read);
    }
    tx.put(b",\"candidatesTokenCount\":");
    tx.put_decimal(tokens.output);
    if tokens.thinking > 0 {
        tx.put(b",\"thoughtsTokenCount\":");
        tx.put_decimal(tokens.thinking);
    }
    tx.put(b",\"totalTokenCount\":");
    tx.put_decimal(tokens.prompt().saturating_add(tokens.answer()));
    tx.put(b"}");
}

/// A JSON number that is a count (I1).
fn count(digits: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok()?;
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| is_plain)?;
    (number <= TOKENS_MAX).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the parts of a prompt and of an answer are told apart; hostile numbers are absent.
    #[test]
    fn counts_are_told_apart() {
        for (json, want) in [
            (
                r#"{"promptTokenCount":10,"cachedContentTokenCount":4,"toolUsePromptTokenCount":3,
                    "candidatesTokenCount":5,"thoughtsTokenCount":2,"totalTokenCount":20}"#,
                Some([9, 4, 5, 2]),
            ),
            (
                r#"{"promptTokenCount":3,"cachedContentTokenCount":9}"#,
                Some([0, 3, 0, 0]),
            ),
            (
                r#"{"promptTokenCount":-3,"totalTokenCount":1}"#,
                Some([0, 0, 0, 0]),
            ),
            (
                r#"{"promptTokenCount":1e9,"candidatesTokenCount":"7"}"#,
                None,
            ),
            (r#"{"promptTokenCount":99999999999999999999}"#, None),
            (r#"{"trafficType":"ON_DEMAND"}"#, None),
            ("null", None),
        ] {
            let read = read(json.as_bytes(), &mut Cursor::new(json.as_bytes(), 0)).unwrap();
            let got = read.map(|t| [t.fresh, t.read, t.output, t.thinking]);
            assert_eq!(got, want, "{json}");
        }
    }
}
