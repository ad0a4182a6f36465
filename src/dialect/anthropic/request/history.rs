//! Turns as messages.
//!
//! ```text
//!   assistant  text, call a, call b         assistant  text, tool_use a, tool_use b
//!   user       result b                  →  user       tool_result a (no result), tool_result b,
//!   user       text, result x                          text, "result of x" as text
//! ```
//!
//! Source: protocols.md 6.1 (each call answered in the next user message, results first),
//! mapping.md 2.

use super::ids::{self, Ids};
use super::put::Target;
use crate::dialect::model::{Block, Notes, Role, ToolResult, Turn, Unfit};
use serde_json::{Value, json};

/// What stands where a provider insists on something and there is nothing.
const NOTHING: &str = ".";

/// What a call without a result is answered with.
const UNANSWERED: &str = "No result: this call was not answered.";

/// The turns of a request of this dialect, as they came. What is left out is null, so that
/// everything else keeps its place.
pub(super) fn as_it_came(target: &Target<'_>, notes: &mut Notes) -> Result<Vec<Value>, Unfit> {
    let mut messages = Vec::with_capacity(target.request.turns.len());
    for turn in &target.request.turns {
        let mut content = Vec::with_capacity(turn.blocks.len());
        for block in &turn.blocks {
            let id = ids::plain(match block {
                Block::Call(call) => &call.id,
                Block::Result(result) => &result.id,
                _ => "none",
            });
            content.push(target.block(block, &id, notes)?.unwrap_or_default());
        }
        let role = match turn.role {
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::System => "system",
        };
        messages.push(json!({"role": role, "content": content}));
    }
    Ok(messages)
}

/// Takes the nulls of [`as_it_came`] out, and messages that hold nothing else.
pub(super) fn close_ranks(messages: &mut Vec<Value>) {
    messages.retain_mut(|message| {
        let Some(Value::Array(content)) = message.get_mut("content") else {
            return true;
        };
        let before = content.len();
        content.retain(|value| !value.is_null());
        for block in content.iter_mut() {
            if let Some(Value::Array(inner)) = block.get_mut("content") {
                inner.retain(|value| !value.is_null());
            }
        }
        before == 0 || !content.is_empty()
    });
}

/// The turns of a request of another dialect, in the order that this one insists on.
pub(super) fn mended(target: &Target<'_>, notes: &mut Notes) -> Result<Vec<Value>, Unfit> {
    let mut history = History {
        target,
        ids: Ids::default(),
        pending: Vec::new(),
        messages: Vec::new(),
    };
    let mut turns = target.request.turns.as_slice();
    if turns.iter().any(|turn| turn.name.is_some()) {
        notes.drop("name");
    }
    while let Some(first) = turns.first() {
        let is_model = first.role == Role::Assistant;
        let same = |turn: &&Turn| (turn.role == Role::Assistant) == is_model;
        let count = turns.iter().take_while(same).count();
        let (group, rest) = turns.split_at_checked(count).unwrap_or((turns, &[]));
        turns = rest;
        if is_model {
            history.model(group, notes)?;
        } else {
            history.user(group, notes)?;
        }
    }
    history.end()
}

/// A call that waits for its result.
struct Pending {
    theirs: String,
    ours: String,
    answer: Option<Value>,
}

struct History<'a> {
    target: &'a Target<'a>,
    ids: Ids,
    pending: Vec<Pending>,
    messages: Vec<Value>,
}

impl History<'_> {
    fn push(&mut self, role: &str, content: Vec<Value>) {
        let content = Value::Array(content);
        self.messages
            .push(json!({"role": role, "content": content}));
    }

    fn model(&mut self, turns: &[Turn], notes: &mut Notes) -> Result<(), Unfit> {
        let mut content = Vec::new();
        for block in turns.iter().flat_map(|turn| &turn.blocks) {
            let mut id = String::new();
            match block {
                Block::Call(call) => {
                    id = self.ids.next(&call.id);
                    self.pending.push(Pending {
                        theirs: call.id.clone(),
                        ours: id.clone(),
                        answer: None,
                    });
                }
                Block::Media(_) => {
                    return Err(self
                        .target
                        .unfit("hold media that a model made, which this provider does not take"));
                }
                Block::Result(_) => {
                    return Err(self
                        .target
                        .unfit("hold a tool's result in the model's own turn"));
                }
                _ => {}
            }
            content.extend(self.target.block(block, &id, notes)?);
        }
        if content.is_empty() {
            return Ok(());
        }
        if self.messages.is_empty() {
            self.push("user", vec![text(NOTHING)]);
        }
        self.push("assistant", content);
        Ok(())
    }

    fn user(&mut self, turns: &[Turn], notes: &mut Notes) -> Result<(), Unfit> {
        let mut rest = Vec::new();
        for turn in turns {
            for block in &turn.blocks {
                match block {
                    Block::Result(result) => self.result(result, &mut rest, notes)?,
                    Block::Call(_) => {
                        return Err(self
                            .target
                            .unfit("hold a call outside the model's own turn"));
                    }
                    Block::Text {
                        text: words, cache, ..
                    } if turn.role == Role::System && !words.is_empty() => {
                        let block = Block::Text {
                            text: format!("<system>\n{words}\n</system>"),
                            citations: None,
                            cache: cache.clone(),
                        };
                        rest.extend(self.target.block(&block, "", notes)?);
                    }
                    block => rest.extend(self.target.block(block, "", notes)?),
                }
            }
        }
        let mut content = self.answers();
        content.append(&mut rest);
        if content.is_empty() {
            content.push(text(NOTHING));
        }
        self.push("user", content);
        Ok(())
    }

    /// Puts `result` to the call that it answers; one that answers none becomes text.
    fn result(
        &mut self,
        result: &ToolResult,
        rest: &mut Vec<Value>,
        notes: &mut Notes,
    ) -> Result<(), Unfit> {
        let waits = |p: &&mut Pending| p.theirs == result.id && p.answer.is_none();
        if let Some(pending) = self.pending.iter_mut().find(waits) {
            let block = Block::Result(result.clone());
            pending.answer = self.target.block(&block, &pending.ours, notes)?;
            return Ok(());
        }
        let name = result.name.as_deref().unwrap_or(&result.id);
        rest.push(text(&format!("Result of the tool call {name}:")));
        for block in &result.content {
            rest.extend(self.target.block(block, "", notes)?);
        }
        Ok(())
    }

    /// The results of all calls that waited, in the order of the calls.
    fn answers(&mut self) -> Vec<Value> {
        let answer = |pending: Pending| {
            pending.answer.unwrap_or_else(|| {
                json!({
                    "type": "tool_result",
                    "tool_use_id": pending.ours,
                    "content": [{"type": "text", "text": UNANSWERED}],
                    "is_error": true,
                })
            })
        };
        self.pending.drain(..).map(answer).collect()
    }

    /// All messages. The last one may be the beginning of an answer, where the model goes on
    /// from one.
    fn end(mut self) -> Result<Vec<Value>, Unfit> {
        let answers = self.answers();
        if !answers.is_empty() {
            self.push("user", answers);
        }
        if self.messages.is_empty() {
            self.push("user", vec![text(NOTHING)]);
        }
        trim_prefill(&mut self.messages);
        let ends_with_model = self
            .messages
            .last()
            .is_some_and(|m| is_from(m, "assistant"));
        if ends_with_model && !self.target.abilities.prefill {
            return Err(self.target.unfit(
                "end with the beginning of an answer, from which this model does not go on",
            ));
        }
        Ok(self.messages)
    }
}

/// White space at the end of the beginning of an answer is refused: takes it off.
fn trim_prefill(messages: &mut Vec<Value>) {
    let Some(last) = messages.last_mut().filter(|m| is_from(m, "assistant")) else {
        return;
    };
    let Some(Value::Array(content)) = last.get_mut("content") else {
        return;
    };
    if let Some(Value::String(words)) = content.last_mut().and_then(|b| b.get_mut("text")) {
        words.truncate(words.trim_end().len());
        if words.is_empty() {
            content.pop();
        }
    }
    if content.is_empty() {
        messages.pop();
    }
}

/// Whether `message` is from `role`.
pub(super) fn is_from(message: &Value, role: &str) -> bool {
    message.get("role").and_then(Value::as_str) == Some(role)
}

/// Whether the model is to go on with a turn of its own that does not begin with thinking: in
/// the middle of calls, or from the beginning of an answer. With a budget, the provider
/// refuses that ("a final assistant message must start with a thinking block").
pub(super) fn goes_on_without_thinking(messages: &[Value]) -> bool {
    let kind = |message: &Value| {
        let first = message.get("content")?.as_array()?.first()?;
        Some(first.get("type")?.as_str()?.to_owned())
    };
    let mut back = messages.iter().rev();
    let Some(last) = back.next() else {
        return false;
    };
    let own = if is_from(last, "assistant") {
        Some(last)
    } else if kind(last).as_deref() == Some("tool_result") {
        back.next()
    } else {
        None
    };
    own.is_some_and(|own| !kind(own).is_some_and(|kind| kind.ends_with("thinking")))
}

fn text(words: &str) -> Value {
    json!({"type": "text", "text": words})
}
