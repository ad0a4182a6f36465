//! Whole answers, read and written.
//!
//! ```text
//!   {"output":{"message":{"role":"assistant","content":[…]}},"stopReason":…,"usage":…,"metrics":…}
//! ```
//!
//! Source: Amazon Bedrock Runtime API, `ConverseResponse`; mapping.md, 6 to 8.

use super::block::{call_value, text_value, thinking_value};
use super::{block, media, usage};
use crate::base::bytes::TxBuf;
use crate::base::fault::Kind;
use crate::dialect::model::{Abilities, Answer, Block, Call, Dialect, Names, Stop, Tokens};
use crate::dialect::tree::{Path, some, string};
use crate::wire::json::cursor::Cursor;
use crate::wire::json::write::put_string;
use serde_json::{Map, Value, json};

/// Reads an answer.
///
/// # Errors
/// It is none: [`Kind::UpstreamGarbled`]; or it is an error: [`Kind::UpstreamError`].
pub fn read(body: &[u8]) -> Result<Answer, Kind> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Kind::UpstreamGarbled)?;
    let top = value.as_object().ok_or(Kind::UpstreamGarbled)?;
    let Some(output) = some(top, "output").and_then(Value::as_object) else {
        return Err(if is_error(top) {
            Kind::UpstreamError
        } else {
            Kind::UpstreamGarbled
        });
    };
    let message = some(output, "message").and_then(Value::as_object);
    let content = message.ok_or(Kind::UpstreamGarbled)?;
    let content = match some(content, "content") {
        Some(content) => content.as_array().ok_or(Kind::UpstreamGarbled)?.as_slice(),
        None => &[],
    };
    let mut ignored = Vec::new();
    let blocks =
        block::read(content, &Path::TOP, &mut ignored).map_err(|_| Kind::UpstreamGarbled)?;
    let has_calls = blocks.iter().any(|block| matches!(block, Block::Call(_)));
    let stop = usage::stop(string(top, "stopReason").unwrap_or("").as_bytes());
    let fields = some(top, "additionalModelResponseFields").and_then(Value::as_object);
    Ok(Answer {
        id: String::new(),
        model: String::new(),
        blocks,
        stop: usage::with_calls(stop, has_calls),
        sequence: fields
            .and_then(|fields| string(fields, "stop_sequence"))
            .map(str::to_owned),
        usage: some(top, "usage").and_then(tokens),
        logprobs: None,
        origin: Some(Dialect::Bedrock),
    })
}

fn is_error(top: &Map<String, Value>) -> bool {
    ["message", "Message", "__type", "Output"]
        .iter()
        .any(|key| some(top, key).is_some())
}

/// The counts, by the one reader that there is for them.
fn tokens(value: &Value) -> Option<Tokens> {
    let text = value.to_string();
    usage::read(text.as_bytes(), &mut Cursor::new(text.as_bytes(), 0)).ok()?
}

/// Appends the body of an answer.
pub fn write(answer: &Answer, names: &Names<'_>, tx: &mut TxBuf) {
    let is_own = answer.origin == Some(Dialect::Bedrock);
    tx.put(b"{\"output\":{\"message\":{\"role\":\"assistant\",\"content\":");
    let mut content = Vec::with_capacity(answer.blocks.len());
    for (i, block) in answer.blocks.iter().enumerate() {
        content.extend(value_of(block, is_own, i, names));
    }
    tx.put(Value::Array(content).to_string().as_bytes());
    tx.put(b"}},\"stopReason\":");
    put_string(tx, usage::reason(answer.stop));
    tx.put(b",\"usage\":");
    // The official SDKs count on it: no counts are zeros.
    usage::put(tx, &answer.usage.unwrap_or_default());
    tx.put(b",\"metrics\":{\"latencyMs\":0}");
    if let (Stop::Sequence, Some(sequence)) = (answer.stop, &answer.sequence) {
        tx.put(b",\"additionalModelResponseFields\":{\"stop_sequence\":");
        put_string(tx, sequence);
        tx.put(b"}");
    }
    tx.put(b"}");
}

fn value_of(block: &Block, is_own: bool, i: usize, names: &Names<'_>) -> Option<Value> {
    Some(match block {
        Block::Text {
            text, citations, ..
        } => text_value(text, citations.as_ref().filter(|_| is_own)),
        Block::Refusal(text) => text_value(text, None),
        Block::Thinking { text, opaque } => thinking_value(text, opaque.as_ref()),
        Block::Call(call) if call.id.is_empty() => call_value(&Call {
            id: made_id(names, i),
            ..call.clone()
        }),
        Block::Call(call) => {
            let mut value = call_value(call);
            // The client gets the provider's own name back and sends it again.
            if let Some(inner) = value.get_mut("toolUse").and_then(Value::as_object_mut) {
                inner.insert("toolUseId".to_owned(), json!(call.id));
            }
            value
        }
        Block::Foreign { dialect, value } if *dialect == Dialect::Bedrock => value.clone(),
        // An image that was made; what is of no known format has no place.
        Block::Media(media) => {
            return media::write(media, &Abilities::default(), &mut Vec::new()).ok();
        }
        Block::Foreign { .. } | Block::Result(_) => return None,
    })
}

/// A name for a call that came without one.
pub(super) fn made_id(names: &Names<'_>, nth: usize) -> String {
    format!("call_{}_{nth}", names.id)
}
