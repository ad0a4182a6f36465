//! Token counts as providers report them in `"usage"`.
//!
//! Invariants
//! - I1 A hostile number (negative, fractional, a string, beyond [`TOKENS_MAX`]) reads as
//!   absent; nothing ever wraps.
//!
//! Source: OpenAI API reference, `CompletionUsage`; `DeepSeek`'s `prompt_cache_hit_tokens`
//! and Moonshot's `cached_tokens` say what OpenAI says in `prompt_tokens_details`.

use crate::wire::json::JsonError;
use crate::wire::json::cursor::{Cursor, NAME_MAX, ValueKind};

/// The largest count that is believed: 2^40 is beyond any request, and 2^24 of them still
/// add up in 64 bits.
pub const TOKENS_MAX: u64 = 1 << 40;

/// Tokens of one exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub input: u64,
    /// Tokens of the answer, reasoning included.
    pub output: u64,
    /// Of `input`: read from the provider's cache.
    pub cached: u64,
    /// Of `output`: reasoning.
    pub reasoning: u64,
}

impl Usage {
    /// The counts after these, which came later than `before`: a count that is left out (0)
    /// stays. Some dialects tell those of the prompt and those of the answer apart.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        let before = before.unwrap_or_default();
        let keep = |now: u64, before: u64| if now == 0 { before } else { now };
        Self {
            input: keep(self.input, before.input),
            output: keep(self.output, before.output),
            cached: keep(self.cached, before.cached),
            reasoning: keep(self.reasoning, before.reasoning),
        }
    }
}

/// Reads the value of `"usage"`, on which the cursor stands. `None` unless it is an object
/// with a readable count of prompt or answer.
pub(in crate::dialect) fn read(
    json: &[u8],
    cursor: &mut Cursor<'_>,
) -> Result<Option<Usage>, JsonError> {
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let (mut input, mut output, mut cached, mut reasoning) = (None, None, None, None);
    let mut cached_elsewhere = None;
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        match key.name(&mut room) {
            b"prompt_tokens" => input = count(json, cursor)?,
            b"completion_tokens" => output = count(json, cursor)?,
            b"prompt_tokens_details" => cached = detail(json, cursor, b"cached_tokens")?,
            b"completion_tokens_details" => {
                reasoning = detail(json, cursor, b"reasoning_tokens")?;
            }
            b"prompt_cache_hit_tokens" | b"cached_tokens" => {
                cached_elsewhere = count(json, cursor)?;
            }
            _ => _ = cursor.skip()?,
        }
        Ok(())
    })?;
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    Ok(Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        cached: cached.or(cached_elsewhere).unwrap_or(0),
        reasoning: reasoning.unwrap_or(0),
    }))
}

/// Reads the `"usage"` inside the object on which the cursor stands.
pub(super) fn read_within(
    json: &[u8],
    cursor: &mut Cursor<'_>,
) -> Result<Option<Usage>, JsonError> {
    let mut found = None;
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        if key.name(&mut room) == b"usage" {
            found = read(json, cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// One count inside a `…_details` object.
fn detail(json: &[u8], cursor: &mut Cursor<'_>, name: &[u8]) -> Result<Option<u64>, JsonError> {
    let mut found = None;
    if cursor.peek()? != ValueKind::Object {
        cursor.skip()?;
        return Ok(None);
    }
    let mut room = [0; NAME_MAX];
    cursor.object(|cursor, key| {
        if key.name(&mut room) == name {
            found = count(json, cursor)?;
        } else {
            cursor.skip()?;
        }
        Ok(())
    })?;
    Ok(found)
}

/// The value under the cursor, if it is a count (I1).
fn count(json: &[u8], cursor: &mut Cursor<'_>) -> Result<Option<u64>, JsonError> {
    let value = cursor.skip()?;
    Ok(whole_number(value.span.bytes(json)).filter(|&n| n <= TOKENS_MAX))
}

/// A JSON number that is written as plain digits and fits.
pub(in crate::dialect) fn whole_number(digits: &[u8]) -> Option<u64> {
    // 20 digits hold every u64; `parse` refuses what overflows. A sign, a point or an
    // exponent is no digit.
    if digits.is_empty() || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
