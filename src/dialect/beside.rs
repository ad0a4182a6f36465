//! What a stored body says besides what the model has a place for: added to the answer, or
//! refused.
//!
//! ```text
//!   Chat       the text of a completion
//!              reasoning_details in pieces → one list     several choices, logprobs, images,
//!              (index, text + text, signature)            members nobody knows → refused
//!   Anthropic  blocks of tools that the provider runs     container → refused
//!   Gemini     parts: media, code                         several candidates, … → refused
//!   Cohere, Bedrock                                       logprobs; a guard's trace, … → refused
//! ```
//!
//! Invariants
//! - I1 What is nothing (null, false, 0, empty) is not missed.
//!
//! Source: `openai-python`, `_accumulate_delta`; Anthropic API reference, "Streaming"; Gemini API
//! reference, `Part`; Amazon Bedrock Runtime API.

use super::chat::request::parts::KNOWN;
use super::fold::{Fold, Unfoldable};
use super::gemini;
use super::model::{Answer, Block, Dialect, Opaque};
use super::retell::says_something;
use serde_json::{Map, Value};

/// Members of Chat's deltas and messages beside those that the readers know that say how what is
/// said was made: Groq's channel, the numbers of tokens.
const MADE: [&str; 3] = ["channel", "token_id", "token_ids"];

/// Members of a Chat body beside its choices that are what was asked for (Perplexity).
const FOUND: [&str; 5] = [
    "citations",
    "search_results",
    "images",
    "videos",
    "related_questions",
];

/// Watches one stream.
#[derive(Debug)]
pub(super) struct Beside {
    dialect: Dialect,
    /// Chat: the text of a completion, which has no deltas.
    text: String,
    /// Chat's details of thinking.
    details: Vec<Value>,
    /// Anthropic: the block that has no steps, and the input of its tool.
    block: Option<(Value, String)>,
}

type Object = Map<String, Value>;

fn items<'v>(object: &'v Object, key: &str) -> &'v [Value] {
    let list = object.get(key).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

fn says(object: &Object, key: &str) -> bool {
    object.get(key).is_some_and(says_something)
}

fn within<'v>(object: &'v Object, key: &str) -> Option<&'v Object> {
    object.get(key)?.as_object()
}

impl Beside {
    pub(super) const fn new(dialect: Dialect) -> Self {
        Self {
            dialect,
            text: String::new(),
            details: Vec::new(),
            block: None,
        }
    }

    /// Looks at an event before its steps are taken; whether it says nothing but these.
    pub(super) fn before(
        &mut self,
        name: Option<&[u8]>,
        data: &[u8],
        fold: &mut Fold,
    ) -> Result<bool, Unfoldable> {
        let Ok(Value::Object(event)) = serde_json::from_slice(data) else {
            return Ok(true); // an end marker, or the reader will tell
        };
        match self.dialect {
            Dialect::Chat => self.chat(&event),
            Dialect::Anthropic => self.anthropic(name, &event, fold),
            Dialect::Gemini => gemini_event(&event, fold),
            Dialect::Cohere => {
                let message = within(&event, "delta").and_then(|delta| within(delta, "message"));
                let has = |object| says(object, "logprobs");
                none(
                    has(&event) || message.is_some_and(has),
                    Unfoldable::Probabilities,
                )
            }
            Dialect::Bedrock => bedrock(name, &event),
            Dialect::Responses => Ok(true), // items that have no steps are told again at the end
        }
    }

    /// Adds to the answer what was gathered.
    pub(super) fn end(self, answer: &mut Answer) -> Result<(), Unfoldable> {
        if self.block.is_some() {
            return Err(Unfoldable::Cut);
        }
        if !self.text.is_empty() {
            answer.blocks.push(Block::text(self.text));
        }
        if self.details.is_empty() {
            return Ok(());
        }
        let is_thinking = |block: &Block| matches!(block, Block::Thinking { .. });
        if !answer.blocks.iter().any(is_thinking) {
            let (text, opaque) = (String::new(), None);
            answer.blocks.insert(0, Block::Thinking { text, opaque });
        }
        // They are all in the one list, as in a plain answer.
        let mut all = Some(Opaque {
            dialect: Dialect::Chat,
            value: Value::Array(self.details),
        });
        for block in &mut answer.blocks {
            if let Block::Thinking { opaque, .. } = block {
                *opaque = all.take();
            }
        }
        Ok(())
    }

    fn chat(&mut self, event: &Object) -> Result<bool, Unfoldable> {
        none(FOUND.iter().any(|key| says(event, key)), Unfoldable::Own)?;
        let mut is_plain = true;
        for choice in items(event, "choices").iter().filter_map(Value::as_object) {
            choice_of_chat(choice)?;
            if let Some(text) = completion(choice) {
                is_plain = false;
                self.text.push_str(text);
            }
            let Some(delta) = within(choice, "delta") else {
                continue;
            };
            said_by_chat(delta)?;
            for detail in items(delta, "reasoning_details") {
                is_plain = false;
                self.detail(detail);
            }
        }
        Ok(is_plain)
    }

    /// Adds a piece of a detail of thinking to the one that it belongs to.
    fn detail(&mut self, piece: &Value) {
        let Some(new) = piece.as_object() else {
            return;
        };
        let is_same = |known: &&mut Value| {
            ["index", "type"]
                .iter()
                .all(|key| known.get(key) == piece.get(key))
        };
        let last = self.details.last_mut().filter(is_same);
        let Some(known) = last.and_then(Value::as_object_mut) else {
            self.details.push(piece.clone());
            return;
        };
        for (key, value) in new {
            match (known.get_mut(key), value) {
                (Some(Value::String(text)), Value::String(more))
                    if matches!(key.as_str(), "text" | "summary" | "data") =>
                {
                    text.push_str(more);
                }
                (Some(before), _) if says_something(before) && !says_something(value) => {}
                _ => drop(known.insert(key.clone(), value.clone())),
            }
        }
    }

    fn anthropic(
        &mut self,
        name: Option<&[u8]>,
        event: &Object,
        fold: &mut Fold,
    ) -> Result<bool, Unfoldable> {
        let kind = event.get("type").and_then(Value::as_str);
        let kind = kind.map(str::as_bytes).or(name).unwrap_or_default();
        let delta = within(event, "delta");
        match kind {
            b"content_block_start" => {
                let block = event.get("content_block").unwrap_or(&Value::Null);
                let kind = block.get("type").and_then(Value::as_str);
                let known = ["text", "thinking", "redacted_thinking", "tool_use"];
                if !kind.is_some_and(|kind| known.contains(&kind)) {
                    self.block = Some((block.clone(), String::new()));
                    return Ok(false);
                }
            }
            b"content_block_delta" => {
                let Some((_, input)) = &mut self.block else {
                    return Ok(true);
                };
                let more = delta.and_then(|delta| delta.get("partial_json")?.as_str());
                input.push_str(more.ok_or(Unfoldable::Own)?);
                return Ok(false);
            }
            b"content_block_stop" => {
                let Some((mut value, input)) = self.block.take() else {
                    return Ok(true);
                };
                if let Some(tool) = value.as_object_mut().filter(|_| !input.is_empty()) {
                    let input = serde_json::from_str(&input).map_err(|_| Unfoldable::Garbled)?;
                    tool.insert("input".to_owned(), input);
                }
                fold.put(Block::Foreign {
                    dialect: Dialect::Anthropic,
                    value,
                });
                return Ok(false);
            }
            b"message_delta" => {
                none(
                    delta.is_some_and(|delta| says(delta, "container")),
                    Unfoldable::Own,
                )?;
            }
            _ => {}
        }
        Ok(true)
    }
}

fn none(is_there: bool, why: Unfoldable) -> Result<bool, Unfoldable> {
    if is_there { Err(why) } else { Ok(true) }
}

/// A choice of Chat, of a stream or of a plain answer.
fn choice_of_chat(choice: &Object) -> Result<(), Unfoldable> {
    let index = choice.get("index").and_then(Value::as_u64).unwrap_or(0);
    none(index != 0, Unfoldable::Several)?;
    none(says(choice, "logprobs"), Unfoldable::Probabilities)?;
    Ok(())
}

/// The text of a choice that is a completion, and has no message.
fn completion(choice: &Object) -> Option<&str> {
    let is_chat = ["delta", "message"].iter().any(|key| says(choice, key));
    let text = choice.get("text")?.as_str();
    text.filter(|text| !is_chat && !text.is_empty())
}

/// A delta or a message of Chat.
fn said_by_chat(said: &Object) -> Result<(), Unfoldable> {
    none(
        says(said, "images") || says(said, "audio"),
        Unfoldable::Media,
    )?;
    let is_known = |key: &str| KNOWN.contains(&key) || MADE.contains(&key);
    let is_unknown = |(key, value): (&String, &Value)| !is_known(key) && says_something(value);
    none(said.iter().any(is_unknown), Unfoldable::Own)?;
    Ok(())
}

fn gemini_event(event: &Object, fold: &mut Fold) -> Result<bool, Unfoldable> {
    let candidates = items(event, "candidates");
    none(candidates.len() > 1, Unfoldable::Several)?;
    let Some(candidate) = candidates.first().and_then(Value::as_object) else {
        return Ok(true);
    };
    candidate_of_gemini(candidate)?;
    let parts = within(candidate, "content").map_or(&[][..], |content| items(content, "parts"));
    let mut is_plain = true;
    let mut has_steps = false;
    for part in parts.iter().filter_map(Value::as_object) {
        if part.contains_key("text") || part.contains_key("functionCall") {
            has_steps |= says(part, "text") || part.contains_key("functionCall");
            continue;
        }
        if part.is_empty() {
            continue;
        }
        none(has_steps, Unfoldable::Own)?; // It would stand in another place.
        is_plain = false;
        fold.put(gemini::answer::block_of(part));
    }
    Ok(is_plain)
}

/// A candidate of Gemini, of a stream or of a plain answer.
fn candidate_of_gemini(candidate: &Object) -> Result<(), Unfoldable> {
    let index = candidate.get("index").and_then(Value::as_u64).unwrap_or(0);
    none(index != 0, Unfoldable::Several)?;
    none(says(candidate, "logprobsResult"), Unfoldable::Probabilities)?;
    none(says(candidate, "urlContextMetadata"), Unfoldable::Own)?;
    Ok(())
}

fn bedrock(name: Option<&[u8]>, event: &Object) -> Result<bool, Unfoldable> {
    let (name, event) = match (name, event.iter().next()) {
        (Some(name), _) => (name, event),
        (None, Some((key, Value::Object(inner)))) => (key.as_bytes(), inner),
        (None, _) => return Ok(true),
    };
    let has_other = |key: &str, known: &[&str]| {
        let inner = within(event, key).into_iter().flatten();
        let mut inner = inner.filter(|(_, value)| !value.is_null());
        inner.any(|(key, _)| !known.contains(&key.as_str()))
    };
    let is_own = match name {
        b"contentBlockStart" => {
            let start = within(event, "start").and_then(|start| within(start, "toolUse"));
            let is_server = start.is_some_and(|start| says(start, "type"));
            is_server || has_other("start", &["toolUse"])
        }
        b"contentBlockDelta" => has_other(
            "delta",
            &["text", "toolUse", "reasoningContent", "citation"],
        ),
        b"metadata" => says(event, "trace"),
        _ => false,
    };
    none(is_own, Unfoldable::Own)
}

/// Looks at the plain `body` that gave `answer`.
pub(super) fn of_plain(
    dialect: Dialect,
    body: &[u8],
    answer: &mut Answer,
) -> Result<(), Unfoldable> {
    let value = serde_json::from_slice(body).map_err(|_| Unfoldable::Garbled)?;
    let Value::Object(top) = &value else {
        return Ok(()); // Gemini's list of one, which its reader takes
    };
    match dialect {
        Dialect::Chat => {
            none(FOUND.iter().any(|key| says(top, key)), Unfoldable::Own)?;
            let choices = items(top, "choices");
            none(choices.len() > 1, Unfoldable::Several)?;
            for choice in choices.iter().filter_map(Value::as_object) {
                choice_of_chat(choice)?;
                answer.blocks.extend(completion(choice).map(Block::text));
                if let Some(message) = within(choice, "message") {
                    said_by_chat(message)?;
                }
            }
            // What is left of the message is nothing.
            answer.blocks.retain(
                |block| !matches!(block, Block::Foreign { value, .. } if !says_something(value)),
            );
        }
        Dialect::Anthropic => {
            none(says(top, "container"), Unfoldable::Own)?;
        }
        Dialect::Gemini => {
            let candidates = items(top, "candidates");
            none(candidates.len() > 1, Unfoldable::Several)?;
            if let Some(candidate) = candidates.first().and_then(Value::as_object) {
                candidate_of_gemini(candidate)?;
            }
        }
        Dialect::Bedrock => {
            none(says(top, "trace"), Unfoldable::Own)?;
        }
        Dialect::Cohere | Dialect::Responses => {}
    }
    Ok(())
}
