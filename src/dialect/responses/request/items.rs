//! Input items to turns.
//!
//! ```text
//!   message(user)  reasoning  message(assistant)  function_call ×2  function_call_output ×2
//!   └─ turn ────┘  └──────────────── one turn of the model ─────┘   └──── one turn ───────┘
//! ```
//!
//! Invariants
//! - I1 Items of the model that follow each other are one turn, but for two messages in a
//!   row; results of tools that follow each other are one turn. Nothing changes its order.
//! - I2 What a provider's own tools did is [`Block::Foreign`]. An item that stands for
//!   something that is not in the request (`item_reference`, `compaction`) or that nobody
//!   knows is that, too, and an [`Extra`] that other dialects cannot honour.
//!
//! Source: OpenAI API reference, "Create a model response", `input`.

use super::super::answer::{call_of, thinking_of};
use super::super::pack;
use super::parts;
use crate::dialect::model::{
    BadAsk, Block, Dialect, Extra, Opaque, Role, ToolResult, Turn, Weight,
};
use crate::dialect::tree::{self, Path};
use serde_json::{Map, Value, json};

/// Kinds of items that tell what a provider's own tools did.
const TOOLS: [&str; 21] = [
    "web_search_call",
    "x_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "computer_call",
    "computer_call_output",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "tool_search_call",
    "tool_search_output",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "program",
    "program_output",
];

/// What a call says that has a place in the model; other members need its whole item.
const CALL_MEMBERS: [&str; 7] = [
    "type",
    "call_id",
    "name",
    "arguments",
    "input",
    "status",
    "object",
];

/// Reads input items.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) system: Vec<Block>,
    pub(super) turns: Vec<Turn>,
    pub(super) extras: Vec<Extra>,
    /// The last item was a message of the model.
    after_message: bool,
}

impl Reader {
    /// Reads `input`: a string, or a list of items.
    pub(super) fn read(&mut self, input: &Value, path: &Path<'_>) -> Result<(), BadAsk> {
        if let Some(text) = input.as_str() {
            self.push_turn(Role::User, vec![Block::text(text)]);
            return Ok(());
        }
        let Some(list) = input.as_array() else {
            return Err(path.bad("must be a string or an array of items"));
        };
        for (index, item) in list.iter().enumerate() {
            let path = path.index(index);
            self.item(path.object(item)?, &path)?;
        }
        Ok(())
    }

    fn item(&mut self, item: &Map<String, Value>, path: &Path<'_>) -> Result<(), BadAsk> {
        let kind = match tree::some(item, "type") {
            Some(kind) => path.key("type").string(kind)?,
            None if item.contains_key("role") => "message",
            None if item.contains_key("id") => "item_reference",
            None => return Err(path.key("type").bad("must be the kind of the item")),
        };
        match kind {
            "message" => return self.message(item, path),
            "reasoning" => self.reasoning(item),
            "function_call" => self.call(item, false, path)?,
            "custom_tool_call" => self.call(item, true, path)?,
            "function_call_output" | "custom_tool_call_output" => self.result(item, path)?,
            kind => {
                if !TOOLS.contains(&kind) {
                    self.extras.push(Extra {
                        field: path.text(),
                        value: json!(kind),
                        weight: Weight::Meaning, // I2
                    });
                }
                self.own(Block::Foreign {
                    dialect: Dialect::Responses,
                    value: Value::Object(item.clone()),
                });
            }
        }
        self.after_message = false;
        Ok(())
    }

    fn message(&mut self, item: &Map<String, Value>, path: &Path<'_>) -> Result<(), BadAsk> {
        let content = path.key("content");
        let blocks = parts::read(item.get("content").unwrap_or(&Value::Null), &content)?;
        let role = path.key("role");
        match role.string(item.get("role").unwrap_or(&Value::Null))? {
            "user" => self.push_turn(Role::User, blocks),
            "system" | "developer" if self.turns.is_empty() => self.system.extend(blocks),
            "system" | "developer" => self.push_turn(Role::System, blocks),
            "assistant" => {
                if self.after_message {
                    self.push_turn(Role::Assistant, blocks);
                } else {
                    for block in blocks {
                        self.own(block);
                    }
                }
                self.after_message = true;
            }
            _ => return Err(role.bad("must be user, assistant, system or developer")),
        }
        Ok(())
    }

    fn push_turn(&mut self, role: Role, blocks: Vec<Block>) {
        self.after_message = false;
        self.turns.push(Turn {
            role,
            name: None,
            blocks,
        });
    }

    /// Something of the model's.
    fn own(&mut self, block: Block) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == Role::Assistant => turn.blocks.push(block),
            _ => self.push_turn(Role::Assistant, vec![block]),
        }
    }

    fn reasoning(&mut self, item: &Map<String, Value>) {
        let text = thinking_of(item);
        let packed = tree::string(item, "encrypted_content").and_then(pack::unpack);
        let opaque = match packed {
            Some(packed) if packed.of_call => {
                if let Some(Block::Call(call)) = self
                    .turns
                    .last_mut()
                    .and_then(|turn| turn.blocks.last_mut())
                {
                    call.opaque = Some(packed.opaque);
                }
                return;
            }
            Some(packed) => packed.opaque,
            None => Opaque {
                dialect: Dialect::Responses,
                value: Value::Object(item.clone()),
            },
        };
        self.own(Block::Thinking {
            text,
            opaque: Some(opaque),
        });
    }

    fn call(
        &mut self,
        item: &Map<String, Value>,
        is_custom: bool,
        path: &Path<'_>,
    ) -> Result<(), BadAsk> {
        let arguments = if is_custom { "input" } else { "arguments" };
        for name in ["call_id", "name", arguments] {
            path.key(name)
                .string(item.get(name).unwrap_or(&Value::Null))?;
        }
        let mut call = call_of(item, is_custom);
        if item.keys().any(|key| !CALL_MEMBERS.contains(&key.as_str())) {
            call.opaque = Some(Opaque {
                dialect: Dialect::Responses,
                value: Value::Object(item.clone()),
            });
        }
        self.own(Block::Call(call));
        Ok(())
    }

    fn result(&mut self, item: &Map<String, Value>, path: &Path<'_>) -> Result<(), BadAsk> {
        let id = path.key("call_id");
        let id = id.string(item.get("call_id").unwrap_or(&Value::Null))?;
        let output = path.key("output");
        let content = parts::read(item.get("output").unwrap_or(&Value::Null), &output)?;
        let block = Block::Result(ToolResult {
            id: id.to_owned(),
            name: None,
            content,
            is_error: false,
            cache: None,
        });
        match self.turns.last_mut() {
            Some(turn)
                if turn.role == Role::User
                    && matches!(turn.blocks.last(), Some(Block::Result(_))) =>
            {
                turn.blocks.push(block);
            }
            _ => self.push_turn(Role::User, vec![block]),
        }
        Ok(())
    }
}
