//! The parts of turns and answers, read and written.
//!
//! ```text
//!   {"text":…} {"image":…} {"toolUse":…} {"toolResult":…} {"reasoningContent":…} {"cachePoint":…}
//!     Text       Media       Call          Result           Thinking               mark on the
//!                                                                                  block before
//! ```
//!
//! Source: Amazon Bedrock Runtime API, `ContentBlock`; mapping.md, 2 to 7.

use super::media;
use crate::dialect::model::{
    Abilities, BadAsk, Block, CacheMark, Call, Dialect, Extra, Notes, Opaque, ToolResult, Unfit,
    Weight,
};
use crate::dialect::tree::{Path, some, string};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Reads the parts of a turn or an answer. What only this dialect has and what the answer
/// depends on is told in `extras`.
pub(super) fn read(
    values: &[Value],
    path: &Path<'_>,
    extras: &mut Vec<Extra>,
) -> Result<Vec<Block>, BadAsk> {
    let mut blocks = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        let path = path.index(i);
        let object = path.object(value)?;
        let Some((key, inner)) = member(object) else {
            return Err(path.bad("must say what it is: text, image, toolUse, …"));
        };
        let here = path.key(key);
        match key.as_str() {
            "text" => blocks.push(Block::text(here.string(inner)?)),
            "cachePoint" => mark(&mut blocks, inner, value),
            "toolUse" => blocks.push(call(inner, value, &here)?),
            // A result of a tool that the provider itself runs says which.
            "toolResult" if inner.get("type").is_some() => blocks.push(foreign(value)),
            "toolResult" => blocks.push(result(inner, &here, extras)?),
            "reasoningContent" => blocks.push(thinking(inner, &here)?),
            "citationsContent" => blocks.push(cited(inner, &here)?),
            key => {
                if let Some(kind) = media::kind(key) {
                    blocks.push(Block::Media(media::read(kind, inner, &here)?));
                } else {
                    extras.push(foreign_extra(here.text()));
                    blocks.push(foreign(value));
                }
            }
        }
    }
    Ok(blocks)
}

/// Blocks that have a place in the model.
const KNOWN: [&str; 10] = [
    "text",
    "image",
    "document",
    "audio",
    "video",
    "toolUse",
    "toolResult",
    "reasoningContent",
    "citationsContent",
    "cachePoint",
];

/// What a block is: its one member. Where there are several, the one that is known.
fn member(object: &Map<String, Value>) -> Option<(&String, &Value)> {
    let mut members = object.iter().filter(|(_, value)| !value.is_null());
    let mut known = members
        .clone()
        .filter(|(key, _)| KNOWN.contains(&key.as_str()));
    known.next().or_else(|| members.next())
}

/// What only this dialect can ask: other dialects cannot honour it.
fn foreign_extra(field: String) -> Extra {
    Extra {
        field,
        value: Value::Null,
        weight: Weight::Meaning,
    }
}

fn foreign(value: &Value) -> Block {
    Block::Foreign {
        dialect: Dialect::Bedrock,
        value: value.clone(),
    }
}

/// A cache point marks the block before it; where that has no room for a mark, it stays a block
/// of its own, for this dialect only.
fn mark(blocks: &mut Vec<Block>, inner: &Value, value: &Value) {
    let slot = match blocks.last_mut() {
        Some(Block::Text { cache, .. }) => cache,
        Some(Block::Media(media)) => &mut media.cache,
        Some(Block::Result(result)) => &mut result.cache,
        _ => {
            blocks.push(foreign(value));
            return;
        }
    };
    if slot.is_none() {
        *slot = Some(media::cache_mark(inner));
    } else {
        blocks.push(foreign(value));
    }
}

fn required<'v>(
    object: &'v Map<String, Value>,
    key: &str,
    path: &Path<'_>,
) -> Result<&'v str, BadAsk> {
    let path = path.key(key);
    path.string(some(object, key).ok_or_else(|| path.bad("is missing"))?)
}

fn call(inner: &Value, value: &Value, path: &Path<'_>) -> Result<Block, BadAsk> {
    let object = path.object(inner)?;
    if some(object, "type").is_some_and(|kind| kind == "server_tool_use") {
        return Ok(foreign(value));
    }
    let input = match some(object, "input") {
        Some(input) => input.to_string(),
        None => "{}".to_owned(),
    };
    Ok(Block::Call(Call {
        id: required(object, "toolUseId", path)?.to_owned(),
        name: required(object, "name", path)?.to_owned(),
        arguments: input,
        is_custom: false,
        opaque: None,
    }))
}

fn result(inner: &Value, path: &Path<'_>, extras: &mut Vec<Extra>) -> Result<Block, BadAsk> {
    let object = path.object(inner)?;
    let here = path.key("content");
    let values = match some(object, "content") {
        Some(content) => here.array(content)?,
        None => &[],
    };
    let mut content = Vec::with_capacity(values.len());
    for (i, value) in values.iter().enumerate() {
        // What a tool gives as JSON is text for the model too.
        if let Some(json) = value.get("json") {
            content.push(Block::text(json.to_string()));
        } else {
            let here = here.index(i);
            let one = read_one(value, &here, extras)?;
            content.extend(one);
        }
    }
    Ok(Block::Result(ToolResult {
        id: required(object, "toolUseId", path)?.to_owned(),
        name: None,
        content,
        is_error: some(object, "status").is_some_and(|status| status == "error"),
        cache: None,
    }))
}

/// A part of a tool's result.
fn read_one(
    value: &Value,
    path: &Path<'_>,
    extras: &mut Vec<Extra>,
) -> Result<Option<Block>, BadAsk> {
    let object = path.object(value)?;
    let Some((key, inner)) = member(object) else {
        return Ok(None);
    };
    let here = path.key(key);
    if key == "text" {
        return Ok(Some(Block::text(here.string(inner)?)));
    }
    if let Some(kind) = media::kind(key) {
        return Ok(Some(Block::Media(media::read(kind, inner, &here)?)));
    }
    extras.push(foreign_extra(here.text()));
    Ok(Some(foreign(value)))
}

fn thinking(inner: &Value, path: &Path<'_>) -> Result<Block, BadAsk> {
    let object = path.object(inner)?;
    let opaque = |value| {
        Some(Opaque {
            dialect: Dialect::Bedrock,
            value,
        })
    };
    if some(object, "redactedContent").is_some() {
        return Ok(Block::Thinking {
            text: String::new(),
            opaque: opaque(inner.clone()),
        });
    }
    let here = path.key("reasoningText");
    let reasoning = some(object, "reasoningText").ok_or_else(|| here.bad("is missing"))?;
    let reasoning = here.object(reasoning)?;
    Ok(Block::Thinking {
        text: string(reasoning, "text").unwrap_or("").to_owned(),
        opaque: some(reasoning, "signature").cloned().and_then(opaque),
    })
}

fn cited(inner: &Value, path: &Path<'_>) -> Result<Block, BadAsk> {
    let object = path.object(inner)?;
    let here = path.key("content");
    let mut text = String::new();
    if let Some(content) = some(object, "content") {
        for part in here.array(content)? {
            text.push_str(part.get("text").and_then(Value::as_str).unwrap_or(""));
        }
    }
    Ok(Block::Text {
        text,
        citations: some(object, "citations").cloned(),
        cache: None,
    })
}

/// Writes blocks.
pub(super) struct Writer<'a> {
    pub(super) abilities: &'a Abilities,
    /// They come from this dialect.
    pub(super) is_own: bool,
    pub(super) names: Vec<String>,
    /// Cache points that may still be set.
    pub(super) marks: usize,
}

/// Most cache points of a request. Source: Amazon Bedrock User Guide, "Prompt caching".
const MARKS_MAX: usize = 4;

impl<'a> Writer<'a> {
    pub(super) fn new(abilities: &'a Abilities, is_own: bool) -> Self {
        Self {
            abilities,
            is_own,
            names: Vec::new(),
            marks: if is_own { usize::MAX } else { MARKS_MAX },
        }
    }

    /// Appends a cache point behind what is marked.
    pub(super) fn put_mark(
        &mut self,
        mark: Option<&CacheMark>,
        out: &mut Vec<Value>,
        notes: &mut Notes,
    ) {
        let Some(mark) = mark else { return };
        if self.marks == 0 {
            notes.drop("cache_control");
            return;
        }
        self.marks -= 1;
        out.push(media::cache_point(mark));
    }

    /// Appends one block of a conversation, and the cache point behind it.
    pub(super) fn put(
        &mut self,
        block: &Block,
        out: &mut Vec<Value>,
        notes: &mut Notes,
    ) -> Result<(), Unfit> {
        let cache = match block {
            Block::Text {
                text,
                citations,
                cache,
            } => {
                out.push(text_value(text, citations.as_ref().filter(|_| self.is_own)));
                cache.as_ref()
            }
            Block::Refusal(text) => {
                out.push(json!({ "text": text }));
                None
            }
            Block::Thinking { text, opaque } => {
                out.push(thinking_value(text, opaque.as_ref()));
                None
            }
            Block::Call(call) => {
                out.push(call_value(call));
                None
            }
            Block::Result(result) => {
                let value = self.result_value(result)?;
                out.push(value);
                result.cache.as_ref()
            }
            Block::Media(media) => {
                out.push(media::write(media, self.abilities, &mut self.names)?);
                media.cache.as_ref()
            }
            Block::Foreign { dialect, value } => {
                if *dialect == Dialect::Bedrock {
                    out.push(value.clone());
                }
                None
            }
        };
        self.put_mark(cache, out, notes);
        Ok(())
    }

    fn result_value(&mut self, result: &ToolResult) -> Result<Value, Unfit> {
        let mut content = Vec::new();
        for block in &result.content {
            match block {
                Block::Text { text, .. } | Block::Refusal(text) if !text.is_empty() => {
                    content.push(json!({ "text": text }));
                }
                Block::Media(media) => {
                    content.push(media::write(media, self.abilities, &mut self.names)?);
                }
                Block::Foreign { dialect, value } if *dialect == Dialect::Bedrock => {
                    content.push(value.clone());
                }
                _ => {}
            }
        }
        if content.is_empty() {
            // An empty result is refused.
            content.push(json!({ "text": "." }));
        }
        let mut value = json!({ "toolUseId": wire_id(&result.id), "content": content });
        if let (true, Some(object)) = (result.is_error, value.as_object_mut()) {
            object.insert("status".to_owned(), json!("error"));
        }
        Ok(json!({ "toolResult": value }))
    }
}

/// Text, or text with the places that it comes from.
pub(super) fn text_value(text: &str, citations: Option<&Value>) -> Value {
    match citations {
        Some(citations) => json!({
            "citationsContent": { "content": [{ "text": text }], "citations": citations }
        }),
        None => json!({ "text": text }),
    }
}

/// Thinking, with what the provider wants to see again.
pub(super) fn thinking_value(text: &str, opaque: Option<&Opaque>) -> Value {
    let own = opaque.filter(|opaque| opaque.dialect == Dialect::Bedrock);
    let inner = match own.map(|opaque| &opaque.value) {
        Some(value @ Value::Object(_)) => value.clone(),
        Some(signature) => json!({ "reasoningText": { "text": text, "signature": signature } }),
        None => json!({ "reasoningText": { "text": text } }),
    };
    json!({ "reasoningContent": inner })
}

/// A call; what is no object is wrapped, since the provider takes nothing else.
pub(super) fn call_value(call: &Call) -> Value {
    let input = if call.is_custom {
        json!({ "input": call.arguments })
    } else if call.arguments.trim().is_empty() {
        json!({})
    } else {
        match serde_json::from_str(&call.arguments) {
            Ok(value @ Value::Object(_)) => value,
            _ => json!({ "_raw": call.arguments }),
        }
    };
    json!({ "toolUse": { "toolUseId": wire_id(&call.id), "name": call.name, "input": input } })
}

/// The name of a call as the provider takes it: itself, or, where it is too long or holds other
/// characters, always the same other one. Source: API model, `ToolUseId`.
pub(super) fn wire_id(id: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-');
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.to_owned();
    }
    let hash = Sha256::digest(id.as_bytes());
    let hex = hash.iter().take(20).flat_map(|b| [b >> 4, b & 15]);
    let digits = hex.filter_map(|nibble| char::from_digit(u32::from(nibble), 16));
    "call_".chars().chain(digits).collect()
}
