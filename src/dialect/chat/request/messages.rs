//! Writes the conversation of a request.
//!
//! ```text
//!   User[Result a, Result b, Text]  ─►  tool a · tool b · user
//!   Assistant[Thinking, Text, Call] ─►  assistant { reasoning_content, content, tool_calls }
//! ```
//!
//! Invariants
//! - I1 Where the request came in another dialect, every call is followed by its result and
//!   every result by its call, as Chat's servers demand.
//! - I2 The thinking of another dialect's provider goes to nobody (mapping.md, 6.3).
//!
//! Source: OpenAI API reference, "Create chat completion"; mapping.md, 2, 3 and 6.

use super::parts::{REASONING, details_text, media_part};
use super::write::{Target, put};
use crate::dialect::model::{
    Block, Call, Dialect, Media, MediaKind, Notes, Role, Thinking, ToolResult, Turn, Unfit,
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// The longest id of a call that `OpenAI` takes.
const ID_MAX: usize = 64;

/// What a call gets that has no result.
const NO_RESULT: &str = "Error: there is no result.";

/// Writes the conversation.
pub(super) fn messages(target: &Target<'_>, notes: &mut Notes) -> Result<Vec<Value>, Unfit> {
    let turns = &target.request.turns;
    let ends_with_model = turns
        .last()
        .is_some_and(|turn| turn.role == Role::Assistant);
    if ends_with_model && !target.abilities.prefill && !target.is_own {
        let why = "ends with the beginning of an answer, which this model does not go on from";
        return Err(Unfit::new("messages", why));
    }
    let mut conversation = Conversation {
        target,
        notes,
        out: Vec::new(),
        asked: Vec::new(),
    };
    if !target.request.system.is_empty() {
        let content = conversation.content(&target.request.system)?;
        let role = conversation.system();
        conversation
            .out
            .push(json!({"role": role, "content": content}));
    }
    for (at, turn) in turns.iter().enumerate() {
        conversation.turn(at, turn)?;
    }
    Ok(conversation.out)
}

struct Conversation<'a, 'n> {
    target: &'a Target<'a>,
    notes: &'n mut Notes,
    out: Vec<Value>,
    /// Calls without a result so far: the id that they have, and the one that is written.
    asked: Vec<(String, String)>,
}

impl Conversation<'_, '_> {
    /// The role of the operator.
    const fn system(&self) -> &'static str {
        if self.target.abilities.is_reasoner {
            "developer"
        } else {
            "system"
        }
    }

    fn turn(&mut self, at: usize, turn: &Turn) -> Result<(), Unfit> {
        match turn.role {
            Role::Assistant => {
                self.settle();
                self.assistant(at, turn)
            }
            Role::System => {
                self.settle();
                let content = self.content(&turn.blocks)?;
                let role = self.system();
                self.message(role, turn, content);
                Ok(())
            }
            Role::User => self.user(turn),
        }
    }

    /// Calls that are still without a result get one (I1).
    fn settle(&mut self) {
        for (_, id) in self.asked.drain(..) {
            if !self.target.is_own {
                self.out
                    .push(json!({"role": "tool", "tool_call_id": id, "content": NO_RESULT}));
            }
        }
    }

    fn message(&mut self, role: &str, turn: &Turn, content: Value) {
        let mut message = Map::new();
        put(&mut message, "role", role);
        put(&mut message, "content", content);
        if let Some(name) = &turn.name {
            put(&mut message, "name", name.as_str());
        }
        merge(&mut message, &turn.blocks);
        self.out.push(Value::Object(message));
    }

    fn user(&mut self, turn: &Turn) -> Result<(), Unfit> {
        let mut rest: Vec<Block> = Vec::new();
        let mut shown = Vec::new();
        for block in &turn.blocks {
            match block {
                Block::Result(result) => self.result(result, &mut rest, &mut shown)?,
                other => rest.push(other.clone()),
            }
        }
        if rest.is_empty() && shown.is_empty() {
            if turn.blocks.is_empty() {
                self.message("user", turn, Value::from(""));
            }
            return Ok(());
        }
        self.settle();
        if !shown.is_empty() {
            self.out.push(json!({"role": "user", "content": shown}));
        }
        if !rest.is_empty() {
            let content = self.content(&rest)?;
            self.message("user", turn, content);
        }
        Ok(())
    }

    /// Writes a result; what a tool message cannot say goes to `shown` (media) or `rest` (a
    /// result of no call).
    fn result(
        &mut self,
        result: &ToolResult,
        rest: &mut Vec<Block>,
        shown: &mut Vec<Value>,
    ) -> Result<(), Unfit> {
        let found = self.asked.iter().position(|(id, _)| *id == result.id);
        let id = match found {
            Some(at) => self.asked.remove(at).1,
            None if self.target.is_own => result.id.clone(),
            None => {
                rest.extend(result.content.iter().cloned()); // I1
                return Ok(());
            }
        };
        let is_media = |block: &&Block| matches!(block, Block::Media(_));
        let has_media = result.content.iter().any(|block| is_media(&block));
        let mut content = if self.target.is_own {
            self.content(&result.content)?
        } else {
            Value::from(joined(&result.content, "\n"))
        };
        if has_media && !self.target.is_own {
            shown.push(json!({"type": "text", "text": format!("Result of tool call {id}:")}));
            for block in result.content.iter().filter(is_media) {
                shown.push(self.part(block)?);
            }
            if content == "" {
                content = Value::from("The result is in the next message.");
            }
        }
        if result.is_error {
            let text = content.as_str().unwrap_or_default();
            content = Value::from(format!("Error: {text}"));
        }
        let mut message = Map::new();
        put(&mut message, "role", "tool");
        put(&mut message, "tool_call_id", id);
        if let Some(name) = result.name.as_deref().filter(|_| self.target.is_own) {
            put(&mut message, "name", name);
        }
        put(&mut message, "content", content);
        let mark = result.cache.as_ref();
        self.target.mark(&mut message, mark, self.notes);
        self.out.push(Value::Object(message));
        Ok(())
    }

    fn assistant(&mut self, at: usize, turn: &Turn) -> Result<(), Unfit> {
        let mut message = Map::new();
        put(&mut message, "role", "assistant");
        put(&mut message, "content", Value::Null);
        if let Some(name) = &turn.name {
            put(&mut message, "name", name.as_str());
        }
        let (mut said, mut calls) = (Vec::new(), Vec::new());
        for block in &turn.blocks {
            match block {
                Block::Thinking { .. } => self.thinking(block, &mut message, &mut said),
                Block::Refusal(text) => {
                    let before = message.get("refusal").and_then(Value::as_str);
                    let refusal = [before.unwrap_or_default(), text].concat();
                    put(&mut message, "refusal", refusal);
                }
                Block::Call(call) => calls.push(self.call(at, calls.len(), call)),
                Block::Media(_) => {
                    let why = "cannot be shown to this target as the model's own";
                    return Err(Unfit::new("media", why));
                }
                Block::Text { .. } | Block::Foreign { .. } => said.push(block.clone()),
                Block::Result(_) => {}
            }
        }
        let has_text =
            |block: &Block| matches!(block, Block::Text { text, .. } if !text.is_empty());
        let is_instead = !calls.is_empty() || message.contains_key("refusal");
        if said
            .iter()
            .any(|block| has_text(block) || part_of(block).is_some())
        {
            put(&mut message, "content", self.content(&said)?);
        } else if !is_instead {
            put(&mut message, "content", "");
        }
        let cited = turn.blocks.iter().find_map(|block| match block {
            Block::Text { citations, .. } => citations.as_ref(),
            _ => None,
        });
        if let Some(cited) = cited.filter(|_| self.target.is_own) {
            put(&mut message, "annotations", cited.clone());
        }
        if !calls.is_empty() {
            put(&mut message, "tool_calls", calls);
        }
        merge(&mut message, &turn.blocks);
        self.out.push(Value::Object(message));
        Ok(())
    }

    fn thinking(&self, block: &Block, message: &mut Map<String, Value>, said: &mut Vec<Block>) {
        let Block::Thinking { text, opaque } = block else {
            return;
        };
        let is_theirs = |of: &crate::dialect::model::Opaque| of.dialect != Dialect::Chat;
        let abilities = self.target.abilities;
        let is_useless = abilities.is_reasoner || abilities.thinking == Thinking::Never;
        if opaque.as_ref().is_some_and(is_theirs) || (is_useless && !self.target.is_own) {
            return; // I2
        }
        let value = opaque.as_ref().map(|opaque| &opaque.value);
        if value.is_some_and(|value| value.get("part").is_some()) {
            said.push(block.clone());
            return;
        }
        let key = match value {
            None => "reasoning_content",
            Some(_) => REASONING,
        };
        let details = value.and_then(Value::as_array);
        if details.is_none_or(|details| details_text(details) != *text) {
            let before = message.get(key).and_then(Value::as_str);
            put(message, key, [before.unwrap_or_default(), text].concat());
        }
        let more = match value {
            None | Some(Value::String(_)) => return,
            Some(Value::Array(items)) => items.clone(),
            Some(item) => vec![item.clone()],
        };
        match message.get_mut("reasoning_details") {
            Some(Value::Array(items)) => items.extend(more),
            _ => put(message, "reasoning_details", more),
        }
    }

    fn call(&mut self, turn: usize, index: usize, call: &Call) -> Value {
        let id = if self.target.is_own {
            call.id.clone()
        } else {
            chat_id(&call.id, turn, index)
        };
        self.asked.push((call.id.clone(), id.clone()));
        let mut out = Map::new();
        put(&mut out, "id", id);
        if call.is_custom {
            put(&mut out, "type", "custom");
            let custom = json!({"name": call.name, "input": call.arguments});
            put(&mut out, "custom", custom);
        } else {
            put(&mut out, "type", "function");
            let is_empty = call.arguments.trim().is_empty();
            let arguments = if is_empty { "{}" } else { &call.arguments };
            let function = json!({"name": call.name, "arguments": arguments});
            put(&mut out, "function", function);
        }
        if let Some(opaque) = &call.opaque
            && opaque.dialect == Dialect::Chat
        {
            put(&mut out, "extra_content", opaque.value.clone());
        }
        Value::Object(out)
    }

    /// Content: a string where one says it all, else parts.
    fn content(&mut self, blocks: &[Block]) -> Result<Value, Unfit> {
        let is_plain = |block: &Block| match block {
            Block::Text { cache, .. } => cache.is_none(),
            Block::Foreign { .. } => part_of(block).is_none(),
            _ => false,
        };
        let texts = blocks.iter().filter(|b| matches!(b, Block::Text { .. }));
        if blocks.iter().all(is_plain) && texts.count() <= 1 {
            return Ok(Value::from(joined(blocks, "")));
        }
        let mut parts = Vec::new();
        for block in blocks {
            let is_members = matches!(block, Block::Foreign { .. }) && part_of(block).is_none();
            if !is_members {
                parts.push(self.part(block)?);
            }
        }
        Ok(Value::Array(parts))
    }

    fn part(&mut self, block: &Block) -> Result<Value, Unfit> {
        if let Some(part) = part_of(block) {
            return Ok(part.clone());
        }
        match block {
            Block::Media(media) => self.media(media),
            Block::Text { text, cache, .. } => {
                let mut part = Map::new();
                put(&mut part, "type", "text");
                put(&mut part, "text", text.as_str());
                self.target.mark(&mut part, cache.as_ref(), self.notes);
                Ok(Value::Object(part))
            }
            Block::Refusal(text) => Ok(json!({"type": "text", "text": text})),
            _ => Ok(json!({"type": "text", "text": ""})),
        }
    }

    fn media(&mut self, media: &Media) -> Result<Value, Unfit> {
        let abilities = self.target.abilities;
        let (can, what) = match media.kind {
            MediaKind::Image => (abilities.images, "image"),
            MediaKind::Document => (abilities.documents, "document"),
            MediaKind::Audio => (abilities.audio, "audio"),
            MediaKind::Video => (true, "video"),
        };
        if !can {
            return Err(Unfit::new(what, "cannot be shown to this model"));
        }
        let mut part = media_part(media, self.target.is_own)?;
        if let Some(part) = part.as_object_mut() {
            self.target.mark(part, media.cache.as_ref(), self.notes);
        }
        Ok(part)
    }
}

/// The part as which the block came, where Chat's model has no other place for it.
fn part_of(block: &Block) -> Option<&Value> {
    let value = match block {
        Block::Foreign {
            dialect: Dialect::Chat,
            value,
        } => value,
        Block::Thinking {
            opaque: Some(opaque),
            ..
        } if opaque.dialect == Dialect::Chat => &opaque.value,
        _ => return None,
    };
    value.get("part")
}

/// Puts back the members that have no place in the model.
fn merge(message: &mut Map<String, Value>, blocks: &[Block]) {
    for block in blocks {
        if let Block::Foreign {
            dialect: Dialect::Chat,
            value: Value::Object(members),
        } = block
            && part_of(block).is_none()
        {
            for (key, value) in members {
                put(message, key, value.clone());
            }
        }
    }
}

/// The texts of `blocks`.
fn joined(blocks: &[Block], by: &str) -> String {
    let texts: Vec<&str> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } | Block::Refusal(text) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join(by)
}

/// An id that Chat's servers take; the same for the same call.
fn chat_id(id: &str, turn: usize, index: usize) -> String {
    if id.is_empty() {
        return format!("call_{turn}_{index}");
    }
    if id.len() <= ID_MAX {
        return id.to_owned();
    }
    let mut out = "call_".to_owned();
    for byte in Sha256::digest(id.as_bytes()).iter().take(12) {
        // Writing to a string does not fail.
        _ = write!(out, "{byte:02x}");
    }
    out
}
