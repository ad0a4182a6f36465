//! Token counts: out of the `usage` of any engine that speaks Chat, and as `OpenAI` says them.
//!
//! ```text
//!   prompt_tokens      = fresh + read + written            (cached ones included)
//!   completion_tokens  = output + thinking                 (xAI: without thinking; the total tells)
//! ```
//!
//! Invariants
//! - I1 The parts add up to what the provider says of prompt and answer.
//! - I2 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//!
//! Source: OpenAI API reference, `CompletionUsage`; `DeepSeek` (`prompt_cache_hit_tokens`),
//! Moonshot (`cached_tokens`), Mistral (`num_cached_tokens`), Groq (`x_groq.usage`); mapping.md,
//! 7.

use crate::base::bytes::TxBuf;
use crate::dialect::model::Tokens;
use crate::dialect::openai::TOKENS_MAX;
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// What the fields say.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    prompt: Option<u64>,
    completion: Option<u64>,
    total: Option<u64>,
    cached: Option<u64>,
    cached_elsewhere: Option<u64>,
    written: Option<u64>,
    reasoning: Option<u64>,
    reasoning_elsewhere: Option<u64>,
}

impl Counts {
    fn tokens(self) -> Option<Tokens> {
        if self.prompt.is_none() && self.completion.is_none() {
            return None;
        }
        let (prompt, completion) = (self.prompt.unwrap_or(0), self.completion.unwrap_or(0));
        // Some count a token as read and as written, or more of them than there are.
        let read = self.cached.or(self.cached_elsewhere).unwrap_or(0);
        let read = read.min(prompt);
        let write = self.written.unwrap_or(0).min(prompt - read);
        let thinking = self.reasoning.or(self.reasoning_elsewhere).unwrap_or(0);
        // xAI leaves thinking out of `completion_tokens`; the total has it.
        let is_apart = match self.total {
            Some(total) => thinking > 0 && total == prompt + completion + thinking,
            None => thinking > completion,
        };
        let (output, thinking) = if is_apart {
            (completion, thinking)
        } else {
            let thinking = thinking.min(completion);
            (completion - thinking, thinking)
        };
        Some(Tokens {
            fresh: prompt - read - write,
            read,
            write,
            write_1h: 0,
            output,
            thinking,
        })
    }
}

/// Reads the value of `usage`, on which the cursor stands. `None` unless it is an object with
/// a readable count of prompt or answer.
pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<Tokens>, JsonError> {
    let mut counts = Counts::default();
    members(cursor, |cursor, name| {
        match name {
            b"prompt_tokens" => counts.prompt = count(json, cursor)?,
            b"completion_tokens" => counts.completion = count(json, cursor)?,
            b"total_tokens" => counts.total = count(json, cursor)?,
            b"reasoning_tokens" => counts.reasoning_elsewhere = count(json, cursor)?,
            b"prompt_cache_hit_tokens" | b"cached_tokens" | b"num_cached_tokens" => {
                counts.cached_elsewhere = count(json, cursor)?;
            }
            b"prompt_tokens_details" => members(cursor, |cursor, name| {
                match name {
                    b"cached_tokens" => counts.cached = count(json, cursor)?,
                    b"cache_write_tokens" => counts.written = count(json, cursor)?,
                    _ => _ = cursor.skip()?,
                }
                Ok(())
            })?,
            b"completion_tokens_details" => members(cursor, |cursor, name| {
                match name {
                    b"reasoning_tokens" => counts.reasoning = count(json, cursor)?,
                    _ => _ = cursor.skip()?,
                }
                Ok(())
            })?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(counts.tokens())
}

/// Reads the `usage` inside the object on which the cursor stands (`x_groq`).
pub(super) fn read_within(
    json: &[u8],
    cursor: &mut Cursor<'_>,
) -> Result<Option<Tokens>, JsonError> {
    let mut found = None;
    members(cursor, |cursor, name| {
        match name {
            b"usage" => found = read(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    Ok(found)
}

/// The counts of a whole body.
pub(super) fn find(json: &[u8]) -> Option<Tokens> {
    let (mut usage, mut groq) = (None, None);
    let mut cursor = Cursor::new(json, 0);
    members(&mut cursor, |cursor, name| {
        match name {
            b"usage" => usage = read(json, cursor)?,
            b"x_groq" => groq = read_within(json, cursor)?,
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })
    .ok()?;
    usage.or(groq)
}

/// Goes through the members of the object on which the cursor stands, or steps over what is
/// no object.
pub(super) fn members<'a, F>(cursor: &mut Cursor<'a>, mut each: F) -> Result<(), JsonError>
where
    F: FnMut(&mut Cursor<'a>, &[u8]) -> Result<(), JsonError>,
{
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(());
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| each(cursor, key.name(&mut room)))
}

/// The value under the cursor, if it is a count (I2).
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let value = cursor.skip()?;
    let digits = value.span.bytes(json);
    let is_plain = digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok();
    Ok(number
        .filter(|_| is_plain)
        .and_then(|digits| digits.parse().ok())
        .filter(|&number| number <= TOKENS_MAX))
}

/// Appends the value of `usage`.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    let (prompt, answer) = (tokens.prompt(), tokens.answer());
    tx.put(b"{\"prompt_tokens\":");
    tx.put_decimal(prompt);
    tx.put(b",\"completion_tokens\":");
    tx.put_decimal(answer);
    tx.put(b",\"total_tokens\":");
    tx.put_decimal(prompt.saturating_add(answer));
    tx.put(b",\"prompt_tokens_details\":{\"cached_tokens\":");
    tx.put_decimal(tokens.read);
    let written = tokens.write.saturating_add(tokens.write_1h);
    if written > 0 {
        tx.put(b",\"cache_write_tokens\":");
        tx.put_decimal(written);
    }
    tx.put(b"},\"completion_tokens_details\":{\"reasoning_tokens\":");
    tx.put_decimal(tokens.thinking);
    tx.put(b"}}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn tokens(usage: &str) -> Option<Tokens> {
        find(format!("{{\"usage\":{usage}}}").as_bytes())
    }

    /// Goal: the counts of every engine come to the same parts.
    #[test]
    fn counts_of_every_engine_are_understood() {
        let want = Tokens {
            fresh: 6,
            read: 4,
            output: 5,
            thinking: 3,
            ..Tokens::default()
        };
        for usage in [
            r#"{"prompt_tokens":10,"completion_tokens":8,"total_tokens":18,
                "prompt_tokens_details":{"cached_tokens":4},
                "completion_tokens_details":{"reasoning_tokens":3}}"#,
            // xAI: thinking apart.
            r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":18,
                "prompt_tokens_details":{"cached_tokens":4},
                "completion_tokens_details":{"reasoning_tokens":3}}"#,
            // DeepSeek.
            r#"{"prompt_tokens":10,"completion_tokens":8,"total_tokens":18,
                "prompt_cache_hit_tokens":4,"prompt_cache_miss_tokens":6,
                "completion_tokens_details":{"reasoning_tokens":3}}"#,
            // Perplexity and Moonshot.
            r#"{"prompt_tokens":10,"completion_tokens":8,"cached_tokens":4,"reasoning_tokens":3}"#,
        ] {
            assert_eq!(tokens(usage), Some(want), "{usage}");
        }
        let groq = br#"{"x_groq":{"id":"r","usage":{"prompt_tokens":7}}}"#;
        assert_eq!(find(groq).map(|tokens| tokens.fresh), Some(7));
    }

    /// Goal: I1 and I2.
    #[test]
    fn hostile_counts_are_absent() {
        for usage in [
            "null",
            "[]",
            "{}",
            r#"{"prompt_tokens":-1}"#,
            r#"{"prompt_tokens":1.5,"completion_tokens":"7"}"#,
            r#"{"prompt_tokens":99999999999999999999999}"#,
        ] {
            assert_eq!(tokens(usage), None, "{usage}");
        }
        let more = r#"{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4,
            "prompt_tokens_details":{"cached_tokens":2,"cache_write_tokens":2},
            "completion_tokens_details":{"reasoning_tokens":9}}"#;
        let more = tokens(more).unwrap();
        assert_eq!((more.prompt(), more.answer()), (3, 1));
        assert_eq!((more.read, more.write, more.thinking), (2, 1, 1));
    }

    /// Goal: what is written reads as what it was.
    #[test]
    fn written_counts_read_back() {
        let want = Tokens {
            fresh: 1,
            read: 20,
            write: 300,
            write_1h: 0,
            output: 4000,
            thinking: 50_000,
        };
        let mut tx = TxBuf::new(&BufPool::new());
        put(&mut tx, &want);
        let text = String::from_utf8(tx.unsent().to_vec()).unwrap();
        assert_eq!(tokens(&text), Some(want));
    }
}
