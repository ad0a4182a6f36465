//! Why an answer ended, in Gemini's words.
//!
//! Source: Gemini API reference, `FinishReason`; mapping.md, 8. New values appear: what is not
//! known is the end.

use crate::dialect::model::Stop;

/// What `reason` says. `has_call`: the answer calls a tool, for which Gemini says STOP.
/// `None`: it says that there is no reason yet.
pub(super) fn read(reason: &[u8], has_call: bool) -> Option<Stop> {
    Some(match reason {
        b"" | b"FINISH_REASON_UNSPECIFIED" => return None,
        b"MAX_TOKENS" => Stop::Length,
        b"SAFETY"
        | b"RECITATION"
        | b"LANGUAGE"
        | b"BLOCKLIST"
        | b"PROHIBITED_CONTENT"
        | b"SPII"
        | b"MODEL_ARMOR" => Stop::Filtered,
        b"MALFORMED_FUNCTION_CALL"
        | b"UNEXPECTED_TOOL_CALL"
        | b"TOO_MANY_TOOL_CALLS"
        | b"MISSING_THOUGHT_SIGNATURE"
        | b"MALFORMED_RESPONSE" => Stop::Malformed,
        image if image.starts_with(b"IMAGE_") => Stop::Filtered,
        _ if has_call => Stop::Tool,
        _ => Stop::End,
    })
}

/// Gemini's word for `stop`.
pub(super) const fn word(stop: Stop) -> &'static str {
    match stop {
        Stop::End | Stop::Sequence | Stop::Tool | Stop::Pause => "STOP",
        Stop::Length | Stop::Context => "MAX_TOKENS",
        Stop::Filtered => "SAFETY",
        Stop::Malformed => "MALFORMED_FUNCTION_CALL",
    }
}
