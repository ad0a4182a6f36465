//! Token counts as Anthropic reports them in `"usage"`.
//!
//! Invariants
//! - I1 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//! - I2 A count that a later event leaves out keeps the value of an earlier one: older
//!   servers tell the prompt in `message_start` only.
//!
//! Source: protocols.md, 6.2 and 6.3: `input_tokens` is the uncached rest, `output_tokens`
//! includes thinking, `message_delta` is cumulative.

use crate::base::bytes::TxBuf;
use crate::dialect::model::Tokens;
use crate::dialect::openai::{TOKENS_MAX, Usage};
use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// What one or several `usage` objects say; `None`: not told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    input: Option<u64>,
    read: Option<u64>,
    write: Option<u64>,
    write_5m: Option<u64>,
    write_1h: Option<u64>,
    output: Option<u64>,
    thinking: Option<u64>,
}

impl Counts {
    /// Reads the value of `"usage"`, on which the cursor stands.
    pub(super) fn read(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Self, JsonError> {
        let mut counts = Self::default();
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(counts);
        }
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"input_tokens" => counts.input = count(json, cursor)?,
                b"cache_read_input_tokens" => counts.read = count(json, cursor)?,
                b"cache_creation_input_tokens" => counts.write = count(json, cursor)?,
                b"output_tokens" => counts.output = count(json, cursor)?,
                b"cache_creation" | b"output_tokens_details" => counts.details(json, cursor)?,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })?;
        Ok(counts)
    }

    /// The objects inside: how long cached tokens live, and how many tokens were thinking.
    fn details(&mut self, json: &[u8], cursor: &mut Cursor<'_>) -> Result<(), JsonError> {
        if cursor.peek()? != ValueKind::Object {
            cursor.skip()?;
            return Ok(());
        }
        let mut room = [0; NAME_MAX];
        cursor.object(|cursor, key| {
            match key.name(&mut room) {
                b"ephemeral_5m_input_tokens" => self.write_5m = count(json, cursor)?,
                b"ephemeral_1h_input_tokens" => self.write_1h = count(json, cursor)?,
                b"thinking_tokens" => self.thinking = count(json, cursor)?,
                _ => _ = cursor.skip()?,
            }
            Ok(())
        })
    }

    /// These counts, and those of `earlier` where these do not tell (I2).
    pub(super) fn over(self, earlier: Self) -> Self {
        Self {
            input: self.input.or(earlier.input),
            read: self.read.or(earlier.read),
            write: self.write.or(earlier.write),
            write_5m: self.write_5m.or(earlier.write_5m),
            write_1h: self.write_1h.or(earlier.write_1h),
            output: self.output.or(earlier.output),
            thinking: self.thinking.or(earlier.thinking),
        }
    }

    /// The counts without overlap; `None` when neither prompt nor answer is told.
    pub(super) fn tokens(self) -> Option<Tokens> {
        if self.input.is_none() && self.output.is_none() {
            return None;
        }
        let parts = self.write_5m.unwrap_or(0) + self.write_1h.unwrap_or(0);
        let write = self.write.unwrap_or(parts);
        let write_1h = self.write_1h.unwrap_or(0).min(write);
        let output = self.output.unwrap_or(0);
        let thinking = self.thinking.unwrap_or(0).min(output);
        Some(Tokens {
            fresh: self.input.unwrap_or(0),
            read: self.read.unwrap_or(0),
            write: write - write_1h,
            write_1h,
            output: output - thinking,
            thinking,
        })
    }

    /// The counts as the bytes-pass path knows them.
    pub(super) fn usage(self) -> Option<Usage> {
        let tokens = self.tokens()?;
        Some(Usage {
            input: tokens.prompt(),
            output: tokens.answer(),
            cached: tokens.read,
            reasoning: tokens.thinking,
        })
    }
}

/// The value under the cursor, if it is a count (I1).
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let value = cursor.skip()?;
    let digits = value.span.bytes(json);
    if digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return Ok(None);
    }
    let number = std::str::from_utf8(digits)
        .ok()
        .and_then(|d| d.parse().ok());
    Ok(number.filter(|&n| n <= TOKENS_MAX))
}

/// Appends `tokens` as a `usage` object.
pub(super) fn put(tx: &mut TxBuf, tokens: &Tokens) {
    tx.put(b"{\"input_tokens\":");
    tx.put_decimal(tokens.fresh);
    tx.put(b",\"cache_creation_input_tokens\":");
    tx.put_decimal(tokens.write.saturating_add(tokens.write_1h));
    tx.put(b",\"cache_read_input_tokens\":");
    tx.put_decimal(tokens.read);
    if tokens.write_1h > 0 {
        tx.put(b",\"cache_creation\":{\"ephemeral_5m_input_tokens\":");
        tx.put_decimal(tokens.write);
        tx.put(b",\"ephemeral_1h_input_tokens\":");
        tx.put_decimal(tokens.write_1h);
        tx.put(b"}");
    }
    tx.put(b",\"output_tokens\":");
    tx.put_decimal(tokens.answer());
    if tokens.thinking > 0 {
        tx.put(b",\"output_tokens_details\":{\"thinking_tokens\":");
        tx.put_decimal(tokens.thinking);
        tx.put(b"}");
    }
    tx.put(b"}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::bufpool::BufPool;

    fn counts(json: &str) -> Counts {
        Counts::read(json.as_bytes(), &mut Cursor::new(json.as_bytes(), 0)).unwrap()
    }

    /// Goal: I1 and the sums: parts do not overlap, hostile numbers are absent.
    #[test]
    fn counts_do_not_overlap() {
        let told = counts(
            r#"{"input_tokens":4,"cache_creation_input_tokens":100,"cache_read_input_tokens":30,
                "cache_creation":{"ephemeral_5m_input_tokens":60,"ephemeral_1h_input_tokens":40},
                "output_tokens":50,"output_tokens_details":{"thinking_tokens":20}}"#,
        );
        let want = Tokens {
            fresh: 4,
            read: 30,
            write: 60,
            write_1h: 40,
            output: 30,
            thinking: 20,
        };
        assert_eq!(told.tokens(), Some(want));
        let usage = told.usage().unwrap();
        assert_eq!((usage.input, usage.output), (134, 50));
        assert_eq!((usage.cached, usage.reasoning), (30, 20));
        let mut tx = TxBuf::new(&BufPool::new());
        put(&mut tx, &want);
        let back = counts(std::str::from_utf8(tx.unsent()).unwrap());
        assert_eq!(back.tokens(), Some(want));
        for hostile in [
            r#"{"input_tokens":-1,"output_tokens":"7"}"#,
            r#"{"input_tokens":1.5,"output_tokens":99999999999999999999}"#,
            "null",
            "[]",
        ] {
            assert_eq!(counts(hostile).tokens(), None, "{hostile}");
        }
    }

    /// Goal: I2. A later event that leaves the prompt out does not zero it.
    #[test]
    fn a_count_that_is_left_out_keeps_its_value() {
        let start = counts(r#"{"input_tokens":17,"cache_read_input_tokens":3,"output_tokens":1}"#);
        let later = counts(r#"{"output_tokens":227}"#)
            .over(start)
            .tokens()
            .unwrap();
        assert_eq!((later.fresh, later.read, later.output), (17, 3, 227));
    }
}
