//! Whether a provider ended an answer for what it says, or for what was asked: as a stop of the
//! answer, in any dialect. (As an error it is [`Trouble::ContentPolicy`](super::model::Trouble).)
//!
//! Asked only for models that want another one to be asked then, and only before there is any
//! content: so everything is read anew here.
//!
//! Source: as the `stop` of each dialect.

use super::model::{Block, Dialect, Stop};
use super::speak;
use serde_json::Value;

/// Whether the event with this data ends the answer of `dialect` so.
pub fn by_event(dialect: Dialect, data: &[u8]) -> bool {
    let Ok(event) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    let word = |path| event.pointer(path).and_then(Value::as_str);
    let is = |path, words: &[&str]| word(path).is_some_and(|word| words.contains(&word));
    match dialect {
        Dialect::Chat => {
            let choices = event.get("choices").and_then(Value::as_array);
            let mut choices = choices.into_iter().flatten();
            choices.any(|choice| {
                let word = choice.get("finish_reason").and_then(Value::as_str);
                word.is_some_and(|word| {
                    ["content_filter", "sensitive", "safety", "refusal"].contains(&word)
                        || word == "guardrail_intervened"
                })
            })
        }
        Dialect::Responses => is("/response/incomplete_details/reason", &["content_filter"]),
        Dialect::Anthropic => is("/delta/stop_reason", &["refusal"]),
        Dialect::Gemini => {
            let why = word("/candidates/0/finishReason").unwrap_or_default();
            word("/promptFeedback/blockReason").is_some()
                || why.starts_with("IMAGE_")
                || GEMINI.contains(&why)
        }
        Dialect::Cohere => is("/delta/finish_reason", &["ERROR_TOXIC"]),
        Dialect::Bedrock => is("/stopReason", &["guardrail_intervened", "content_filtered"]),
    }
}

/// Gemini's words for it.
const GEMINI: [&str; 7] = [
    "SAFETY",
    "RECITATION",
    "LANGUAGE",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "MODEL_ARMOR",
];

/// Whether the whole answer `body` of `dialect` ended so before it said anything.
pub fn is_all(dialect: Dialect, body: &[u8]) -> bool {
    let Ok(answer) = speak::answer(dialect, body) else {
        return false;
    };
    let says_nothing = |block: &Block| match block {
        Block::Text { text, .. } | Block::Thinking { text, .. } => text.is_empty(),
        Block::Refusal(_) => true, // that it says nothing
        _ => false,
    };
    answer.stop == Stop::Filtered && answer.blocks.iter().all(says_nothing)
}
