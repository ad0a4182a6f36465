//! Blocks as the provider takes them.

use super::super::seal;
use super::fields::Field;
use super::{ids, media};
use crate::dialect::model::{
    Abilities, Block, CacheMark, Call, Dialect, Notes, Request, ToolResult, Unfit,
};
use serde_json::{Map, Value, json};

/// What a block is written for.
#[derive(Debug)]
pub(super) struct Target<'a> {
    /// The request.
    pub(super) request: &'a Request,
    /// What the model can.
    pub(super) abilities: &'a Abilities,
}

impl Target<'_> {
    /// Whether the request came in this dialect.
    pub(super) fn is_ours(&self) -> bool {
        self.request.origin == Some(Dialect::Anthropic)
    }

    /// `block` as a value; `None` when it is left out. Calls and results are named by `id`.
    pub(super) fn block(
        &self,
        block: &Block,
        id: &str,
        notes: &mut Notes,
    ) -> Result<Option<Value>, Unfit> {
        Ok(match block {
            Block::Text {
                text,
                citations,
                cache,
            } => self.text(text, citations.as_ref(), cache.as_ref()),
            Block::Refusal(text) => self.text(text, None, None),
            Block::Thinking { text, opaque } => {
                let own = opaque.as_ref().filter(|o| o.dialect == Dialect::Anthropic);
                own.and_then(|own| match &own.value {
                    Value::String(signature) if seal::is_ours(signature) => None,
                    Value::String(signature) => Some(json!({
                        "type": "thinking", "thinking": text, "signature": signature,
                    })),
                    Value::Object(_) => Some(own.value.clone()),
                    _ => None,
                })
            }
            Block::Call(call) => Some(self.call(call, id)),
            Block::Result(result) => Some(self.result(result, id, notes)?),
            Block::Media(item) => {
                let origin = self.request.origin;
                Some(media::block(item, origin, self.abilities, notes)?)
            }
            Block::Foreign { dialect, value } => {
                (*dialect == Dialect::Anthropic).then(|| value.clone())
            }
        })
    }

    fn text(
        &self,
        text: &str,
        citations: Option<&Value>,
        cache: Option<&CacheMark>,
    ) -> Option<Value> {
        if text.is_empty() && !self.is_ours() {
            return None;
        }
        let mut out = Map::new();
        out.insert("type".into(), "text".into());
        out.insert("text".into(), text.into());
        if let Some(citations) = citations.filter(|_| self.is_ours()) {
            out.insert("citations".into(), citations.clone());
        }
        mark(&mut out, cache);
        Some(Value::Object(out))
    }

    fn call(&self, call: &Call, id: &str) -> Value {
        let name = if self.is_ours() {
            call.name.clone()
        } else {
            ids::tool_name(&call.name)
        };
        json!({"type": "tool_use", "id": id, "name": name, "input": input(call)})
    }

    fn result(&self, result: &ToolResult, id: &str, notes: &mut Notes) -> Result<Value, Unfit> {
        let mut out = Map::new();
        out.insert("type".into(), "tool_result".into());
        out.insert("tool_use_id".into(), id.into());
        let mut content = Vec::with_capacity(result.content.len());
        for block in &result.content {
            content.push(self.block(block, "", notes)?.unwrap_or_default());
        }
        if !self.is_ours() {
            content.retain(|value| !value.is_null());
        }
        if !content.is_empty() {
            out.insert("content".into(), content.into());
        }
        if result.is_error {
            out.insert("is_error".into(), true.into());
        }
        mark(&mut out, result.cache.as_ref());
        Ok(Value::Object(out))
    }

    /// The fault of what cannot stand in a message.
    pub(super) fn unfit(&self, why: &'static str) -> Unfit {
        Unfit::new(Field::Messages.name(self.request.origin), why)
    }
}

/// The arguments of `call` as the object that this dialect wants. What a model broke stays
/// readable: a history must never fail for it.
pub(in crate::dialect::anthropic) fn input(call: &Call) -> Value {
    if call.is_custom {
        return json!({"input": call.arguments});
    }
    if call.arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(&call.arguments) {
        Ok(Value::Object(object)) => Value::Object(object),
        _ => json!({"_raw": call.arguments}),
    }
}

/// Puts a cache mark on `out`.
pub(super) fn mark(out: &mut Map<String, Value>, cache: Option<&CacheMark>) {
    let Some(cache) = cache else { return };
    let mut mark = Map::new();
    mark.insert("type".into(), "ephemeral".into());
    if let Some(ttl) = &cache.ttl {
        mark.insert("ttl".into(), ttl.as_str().into());
    }
    out.insert("cache_control".into(), Value::Object(mark));
}
