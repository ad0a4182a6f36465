//! Turns to input items.
//!
//! ```text
//!   turn of the model:  Thinking  Text Text  Call  Text      → reasoning, message, function_call,
//!                       └ own state, else nothing              message
//!   turn of the user:   Result Result Text                   → two outputs, then a message
//! ```
//!
//! Invariants
//! - I1 Blocks keep their order; texts and media next to each other are one message.
//! - I2 State of another provider goes nowhere, and neither does the thinking that it belongs
//!   to; what another provider's own tools did is left out.
//! - I3 The same id in gives the same id out, in calls and in results.
//!
//! Source: OpenAI API reference, "Create a model response", `input`; mapping.md, 2.

use super::parts::Parts;
use crate::dialect::model::{Block, Call, Dialect, Opaque, Role, ToolResult, Turn, Unfit};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// The longest name of a call that `OpenAI` takes, in bytes.
const ID_MAX: usize = 64;

/// Writes input items.
pub(super) struct Items<'a> {
    pub(super) parts: Parts<'a>,
    /// What the operator's turns are called: `system`, or `developer` where a model wants it.
    pub(super) system: &'static str,
    pub(super) list: Vec<Value>,
    /// The parts of the message that is being made.
    content: Vec<Value>,
    /// Calls of custom tools: their results are another kind of item.
    custom: BTreeSet<String>,
}

impl<'a> Items<'a> {
    pub(super) fn new(parts: Parts<'a>, system: &'static str) -> Self {
        Self {
            parts,
            system,
            list: Vec::new(),
            content: Vec::new(),
            custom: BTreeSet::new(),
        }
    }

    pub(super) fn turn(&mut self, turn: &Turn) -> Result<(), Unfit> {
        for block in &turn.blocks {
            match block {
                Block::Thinking {
                    opaque: Some(opaque),
                    ..
                } if is_own(opaque) => self.item(turn.role, opaque.value.clone()),
                Block::Foreign {
                    dialect: Dialect::Responses,
                    value,
                } => self.item(turn.role, value.clone()),
                Block::Call(call) => self.call(turn.role, call),
                Block::Result(result) => self.result(turn.role, result)?,
                Block::Thinking { .. } | Block::Foreign { .. } => {} // I2
                Block::Text { .. } | Block::Media(_) | Block::Refusal(_) => {
                    let part = self.parts.put(block, turn.role == Role::Assistant)?;
                    self.content.extend(part);
                }
            }
        }
        self.end_message(turn.role);
        Ok(())
    }

    /// The operator's words before the conversation, as one message.
    pub(super) fn system(&mut self, blocks: &[Block]) -> Result<(), Unfit> {
        for block in blocks {
            let part = self.parts.put(block, false)?;
            self.content.extend(part);
        }
        self.end_message(Role::System);
        Ok(())
    }

    fn item(&mut self, role: Role, item: Value) {
        self.end_message(role);
        self.list.push(item);
    }

    /// Ends the message that is being made, if any.
    fn end_message(&mut self, role: Role) {
        let content = std::mem::take(&mut self.content);
        if content.is_empty() {
            return;
        }
        let role = match role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => self.system,
        };
        let content = plain(content);
        // Without a type it is the form that every server of this dialect knows.
        self.list.push(json!({"role": role, "content": content}));
    }

    fn call(&mut self, role: Role, call: &Call) {
        let id = id_of(&call.id);
        if call.is_custom {
            self.custom.insert(id.clone().into_owned());
        }
        if let Some(opaque) = call.opaque.as_ref().filter(|opaque| is_own(opaque)) {
            return self.item(role, opaque.value.clone());
        }
        let (kind, member) = if call.is_custom {
            ("custom_tool_call", "input")
        } else {
            ("function_call", "arguments")
        };
        let arguments = match call.arguments.as_str() {
            "" if !call.is_custom && !self.parts.is_own => "{}",
            arguments => arguments,
        };
        let mut item = Map::new();
        item.insert("type".to_owned(), json!(kind));
        item.insert("call_id".to_owned(), json!(id));
        item.insert("name".to_owned(), json!(call.name));
        item.insert(member.to_owned(), json!(arguments));
        self.item(role, Value::Object(item));
    }

    fn result(&mut self, role: Role, result: &ToolResult) -> Result<(), Unfit> {
        self.end_message(role);
        let mut content = Vec::new();
        for block in &result.content {
            content.extend(self.parts.put(block, false)?);
        }
        if let (Some(cache), Some(Value::Object(last))) = (&result.cache, content.last_mut()) {
            self.parts.mark(cache, last);
        }
        let mut output = plain(content);
        if result.is_error {
            // There is no field for it.
            match &mut output {
                Value::String(text) => text.insert_str(0, "Error: "),
                Value::Array(parts) => {
                    parts.insert(0, json!({"type": "input_text", "text": "Error: "}));
                }
                _ => {}
            }
        }
        let id = id_of(&result.id);
        let kind = if self.custom.contains(id.as_ref()) {
            "custom_tool_call_output"
        } else {
            "function_call_output"
        };
        self.list
            .push(json!({"type": kind, "call_id": id, "output": output}));
        Ok(())
    }
}

fn is_own(opaque: &Opaque) -> bool {
    opaque.dialect == Dialect::Responses && opaque.value.is_object()
}

/// A string if that says all, else the list.
fn plain(mut content: Vec<Value>) -> Value {
    if content.is_empty() {
        return json!("");
    }
    if let [Value::Object(only)] = content.as_mut_slice() {
        let is_text = matches!(
            only.get("type").and_then(Value::as_str),
            Some("input_text" | "output_text")
        );
        let is_bare = only
            .iter()
            .all(|(name, value)| matches!(name.as_str(), "type" | "text") || value == &json!([]));
        if is_text
            && is_bare
            && let Some(text) = only.remove("text")
        {
            return text;
        }
    }
    Value::Array(content)
}

/// The name of a call, made shorter where `OpenAI` would refuse it: 128 bits of a hash (FNV-1a)
/// instead.
fn id_of(id: &str) -> Cow<'_, str> {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    if id.len() <= ID_MAX {
        return Cow::Borrowed(id);
    }
    let hash = id.bytes().fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    Cow::Owned(format!("call_{hash:032x}"))
}
