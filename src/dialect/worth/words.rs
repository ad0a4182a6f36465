//! The words in which providers say why an answer ended.
//!
//! Source: `stop.rs` of the dialects, mapping.md, 8. Here a word that nobody knows is none that is
//! good.

use super::Why;
use crate::dialect::model::Dialect;

/// What a reason to end says; `None`: that the provider failed.
#[expect(clippy::match_same_arms, reason = "a table, dialect by dialect")]
pub(super) fn why(dialect: Dialect, word: &[u8]) -> Option<Why> {
    use Why::{Context, Filtered, Length, Other, Refusal, Stop, Tool};
    Some(match (dialect, word) {
        (Dialect::Chat, _) => return chat(word),
        (Dialect::Responses, b"max_output_tokens" | b"max_messages") => Length,
        (Dialect::Responses, b"content_filter") => Filtered,
        (Dialect::Anthropic | Dialect::Bedrock, b"end_turn" | b"stop_sequence") => Stop,
        (Dialect::Anthropic | Dialect::Bedrock, b"tool_use") => Tool,
        (Dialect::Anthropic | Dialect::Bedrock, b"max_tokens") => Length,
        (Dialect::Anthropic | Dialect::Bedrock, b"model_context_window_exceeded") => Context,
        (Dialect::Anthropic, b"refusal") => Refusal,
        (Dialect::Bedrock, b"guardrail_intervened" | b"content_filtered") => Filtered,
        (Dialect::Gemini, b"STOP") => Stop,
        (Dialect::Gemini, b"MAX_TOKENS") => Length,
        (
            Dialect::Gemini,
            b"SAFETY"
            | b"RECITATION"
            | b"LANGUAGE"
            | b"BLOCKLIST"
            | b"PROHIBITED_CONTENT"
            | b"SPII"
            | b"MODEL_ARMOR",
        ) => Filtered,
        (Dialect::Gemini, image) if image.starts_with(b"IMAGE_") => Filtered,
        (Dialect::Cohere, b"COMPLETE" | b"STOP_SEQUENCE") => Stop,
        (Dialect::Cohere, b"MAX_TOKENS") => Length,
        (Dialect::Cohere, b"TOOL_CALL") => Tool,
        (Dialect::Cohere, b"ERROR_TOXIC") => Filtered,
        (Dialect::Cohere, b"ERROR" | b"TIMEOUT" | b"USER_CANCEL") => return None,
        _ => Other,
    })
}

/// The same for the words of all engines that speak Chat.
fn chat(word: &[u8]) -> Option<Why> {
    use Why::{Context, Filtered, Length, Refusal, Stop, Tool};
    const WORDS: [(&str, Option<Why>); 22] = [
        ("stop", Some(Stop)),
        ("eos", Some(Stop)),
        ("eos_token", Some(Stop)),
        ("end_turn", Some(Stop)),
        ("stop_sequence", Some(Stop)),
        ("length", Some(Length)),
        ("max_tokens", Some(Length)),
        ("model_length", Some(Context)),
        ("tool_calls", Some(Tool)),
        ("tool_use", Some(Tool)),
        ("function_call", Some(Tool)),
        ("content_filter", Some(Filtered)),
        ("sensitive", Some(Filtered)),
        ("safety", Some(Filtered)),
        ("guardrail_intervened", Some(Filtered)),
        ("refusal", Some(Refusal)),
        ("error", None),
        ("network_error", None),
        ("abort", None),
        ("timeout", None),
        ("insufficient_system_resource", None),
        ("cancelled", None),
    ];
    let known = WORDS
        .iter()
        .find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(word));
    known.map_or(Some(Why::Other), |(_, why)| *why)
}
